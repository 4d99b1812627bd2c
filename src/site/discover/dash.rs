//! DASH manifests (ISO/IEC 23009-1): which form of a film is fetched, and its pieces.
//!
//! Only films that are whole (`type="static"`) and in the clear (no `ContentProtection`). Addresses come from `SegmentTemplate`
//! (`$Number$`, `$Time$`, `SegmentTimeline`), `SegmentList` and `SegmentBase`; pieces that are ranges of one file mean the file, which
//! is fetched whole. A manifest is served with only the forms that are here, for the reason told in `hls`.

use crate::base::target::Target;
use crate::site::discover::media::{Form, MAX_ADDRESS, MAX_FORMS, Policy, Title, choose};
use crate::site::discover::xml::Element;
use std::collections::HashSet;
use std::ops::Range;

/// Most of a manifest that is read.
pub const MAX_BYTES: u64 = 4 << 20;
/// Most pieces of one film.
const MAX_PIECES: usize = 50_000;
/// Most bits per second of sound that is taken where there is a choice: speech needs 64 kbit/s.
const SOUND: u64 = 160_000;
const TOO_MANY: &str = "the film has more than 50,000 pieces";
const TOO_LONG: &str = "its addresses are longer than 4096 bytes";

/// What a manifest needs next.
pub fn read(base: &Target, bytes: &[u8], policy: &Policy) -> Title {
    let text = String::from_utf8_lossy(bytes);
    let Some(root) = Element::parse(&text).filter(|root| root.name == "MPD") else {
        return Title::Refused("it is no DASH manifest, or damaged");
    };
    if root.attribute("type").is_some_and(|kind| kind != "static") {
        return Title::Refused("it is a broadcast that has not ended (type=\"dynamic\")");
    }
    if root.holds("ContentProtection") {
        return Title::Refused("the film is protected (ContentProtection); its key may not be kept");
    }
    // Pieces as they are named, also those that several forms share: each is worked out.
    let (mut seen, mut pieces, mut named) = (HashSet::new(), Vec::new(), 0_usize);
    let periods = match periods(base, &root) {
        Ok(periods) => periods,
        Err(why) => return Title::Refused(why),
    };
    for period in periods {
        if period.element.attribute("href").is_some() {
            return Title::Refused("parts of the manifest lie elsewhere (xlink)");
        }
        for form in period.chosen(policy) {
            match form.pieces(&period, Reach::All(MAX_PIECES.saturating_sub(named))) {
                Ok(more) => {
                    named += more.len();
                    pieces.extend(more.into_iter().filter(|target| seen.insert(target.clone())));
                }
                Err(why) => return Title::Refused(why),
            }
        }
    }
    if pieces.is_empty() { Title::Refused("the manifest names no pieces") } else { Title::Pieces(pieces) }
}

/// Bytes of what is taken of a film, by the rates and lengths that its manifest tells.
pub fn weight(base: &Target, bytes: &[u8], policy: &Policy) -> Option<f64> {
    let root = Element::parse(&String::from_utf8_lossy(bytes)).filter(|root| root.name == "MPD")?;
    let of = |period: &Period<'_>| {
        let rate = |shape: &&Shape<'_>| shape.element.number("bandwidth").and_then(|rate| u32::try_from(rate).ok()).map(f64::from);
        let rates = period.chosen(policy).iter().filter_map(rate).sum::<f64>();
        period.seconds.map(|seconds| seconds.clamp(0.0, 86_400.0) * rates / 8.0)
    };
    periods(base, &root).ok()?.iter().map(of).sum::<Option<f64>>().filter(|bytes| *bytes > 0.0)
}

/// The manifest with only the forms that `keep` says, by their first piece; `None`: it is none, nothing of it is kept, or all is.
pub fn reduce(base: &Target, text: &str, keep: impl Fn(&Target) -> bool) -> Option<String> {
    let root = Element::parse(text).filter(|root| root.name == "MPD")?;
    let mut out: Vec<Range<usize>> = Vec::new();
    let mut kept = 0;
    for period in periods(base, &root).ok()? {
        for set in &period.sets {
            let here: Vec<bool> = set
                .forms
                .iter()
                .map(|form| form.pieces(&period, Reach::First).is_ok_and(|first| first.first().is_some_and(&keep)))
                .collect();
            let count = here.iter().filter(|here| **here).count();
            kept += count;
            if count == 0 {
                out.push(set.element.place.clone());
            } else {
                let gone = set.forms.iter().zip(here).filter(|(_, here)| !here);
                out.extend(gone.map(|(form, _)| form.element.place.clone()));
            }
        }
    }
    if kept == 0 || out.is_empty() {
        return None;
    }
    let (mut reduced, mut at) = (String::with_capacity(text.len()), 0);
    out.sort_by_key(|range| range.start);
    for range in out {
        reduced.push_str(text.get(at..range.start)?);
        at = range.end;
    }
    reduced.push_str(text.get(at..)?);
    Some(reduced)
}

/// A period with what it passes on.
struct Period<'e> {
    element: &'e Element,
    /// Its length, if it is told.
    seconds: Option<f64>,
    sets: Vec<Set<'e>>,
}

/// What belongs together: one picture, one sound, one set of subtitles, each in several forms.
struct Set<'e> {
    element: &'e Element,
    kind: Kind,
    forms: Vec<Shape<'e>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Picture,
    Sound,
    Text,
    Other,
}

/// One form, with the elements that tell its addresses, the nearest first.
struct Shape<'e> {
    element: &'e Element,
    base: Target,
    levels: [&'e Element; 3],
}

/// How many addresses are asked for.
#[derive(Clone, Copy, Debug)]
enum Reach {
    /// The first one, that tells a form.
    First,
    /// All of them, and no more than so many.
    All(usize),
}

/// Addresses as they are found.
struct Gathered {
    reach: Reach,
    named: usize,
    found: Vec<Target>,
}

impl Gathered {
    fn new(reach: Reach) -> Gathered {
        Gathered { reach, named: 0, found: Vec::new() }
    }

    /// Takes one more; what leads nowhere counts, too, so that a short text cannot name it without end. Whether that is enough.
    fn add(&mut self, target: Option<Target>) -> Result<bool, &'static str> {
        if matches!(self.reach, Reach::All(most) if self.named >= most) {
            return Err(TOO_MANY);
        }
        self.named += 1;
        if target.as_ref().is_some_and(|target| target.url().len() > MAX_ADDRESS) {
            return Err(TOO_LONG);
        }
        self.found.extend(target);
        Ok(match self.reach {
            Reach::First => !self.found.is_empty() || self.named > 1,
            Reach::All(_) => false,
        })
    }
}

fn periods<'e>(base: &Target, root: &'e Element) -> Result<Vec<Period<'e>>, &'static str> {
    let base = below(base, root)?;
    let all: Vec<&Element> = root.all("Period").collect();
    let whole = root.attribute("mediaPresentationDuration").and_then(duration);
    let start = |period: &Element| period.attribute("start").and_then(duration);
    // Each form keeps where its addresses begin: as many as can be told apart, and no more.
    let forms = all.iter().flat_map(|period| period.all("AdaptationSet")).flat_map(|set| set.all("Representation")).count();
    if forms > MAX_FORMS {
        return Err("the film has more than 500 forms");
    }
    let of = |(at, element): (usize, &&'e Element)| {
        let element = *element;
        let next = all.get(at + 1).and_then(|next| start(next)).or(whole.filter(|_| at + 1 == all.len()));
        let begins = start(element).or((at == 0).then_some(0.0));
        let seconds = element.attribute("duration").and_then(duration).or(next.zip(begins).map(|(end, begin)| end - begin));
        let base = below(&base, element)?;
        let sets = element.all("AdaptationSet").map(|set| Set::of(&base, element, set)).collect::<Result<_, _>>()?;
        Ok(Period { element, seconds, sets })
    };
    all.iter().enumerate().map(of).collect()
}

/// Resolved against the first `BaseURL`: others are spare hosts.
fn below(base: &Target, element: &Element) -> Result<Target, &'static str> {
    let address = element.first("BaseURL").and_then(|address| base.join(address.text()));
    let target = address.unwrap_or_else(|| base.clone());
    if target.url().len() > MAX_ADDRESS { Err(TOO_LONG) } else { Ok(target) }
}

impl<'e> Set<'e> {
    fn of(base: &Target, period: &'e Element, set: &'e Element) -> Result<Set<'e>, &'static str> {
        let base = below(base, set)?;
        let shape = |element: &'e Element| below(&base, element).map(|base| Shape { element, base, levels: [element, set, period] });
        let forms: Vec<Shape<'e>> = set.all("Representation").map(shape).collect::<Result<_, _>>()?;
        let first = forms.first().map(|form| form.element);
        let told = [set.attribute("contentType"), set.attribute("mimeType"), first.and_then(|form| form.attribute("mimeType"))];
        let codecs = set.attribute("codecs").or(first.and_then(|form| form.attribute("codecs"))).unwrap_or_default();
        let kind = match told.into_iter().flatten().next().unwrap_or_default() {
            // Pictures to search a film by are a form of their own that nobody needs offline.
            _ if set.first("EssentialProperty").is_some() => Kind::Other,
            kind if kind.starts_with("video") => Kind::Picture,
            kind if kind.starts_with("audio") => Kind::Sound,
            kind if kind.starts_with("text") || kind == "application/ttml+xml" => Kind::Text,
            kind if kind.starts_with("application") && (codecs.starts_with("stpp") || codecs.starts_with("wvtt")) => Kind::Text,
            _ => Kind::Other,
        };
        Ok(Set { element: set, kind, forms })
    }

    fn language(&self) -> &str {
        self.element.attribute("lang").unwrap_or_default()
    }

    fn has_role(&self, wanted: &str) -> bool {
        self.element.all("Role").any(|role| role.attribute("value") == Some(wanted))
    }
}

impl<'e> Period<'e> {
    /// One picture, the default sound, the wanted subtitles.
    fn chosen<'p>(&'p self, policy: &Policy) -> Vec<&'p Shape<'e>> {
        let of = |kind| self.sets.iter().filter(move |set| set.kind == kind && !set.forms.is_empty());
        let has_main = of(Kind::Picture).any(|set| set.has_role("main"));
        let pictures: Vec<&Shape<'e>> =
            of(Kind::Picture).filter(|set| !has_main || set.has_role("main")).flat_map(|set| &set.forms).collect();
        let forms: Vec<Form> = pictures.iter().map(|shape| shape.form()).collect();
        let mut chosen: Vec<&Shape<'e>> = choose(&forms, policy).map(|at| pictures[at]).into_iter().collect();
        let sound = of(Kind::Sound)
            .find(|set| set.has_role("main"))
            .or_else(|| policy.languages.iter().find_map(|language| of(Kind::Sound).find(|set| speaks(set, language))))
            .or_else(|| of(Kind::Sound).next());
        if let Some(sound) = sound {
            let forms: Vec<Form> = sound.forms.iter().map(Shape::form).collect();
            let speech = Policy { bitrate: SOUND, ..policy.clone() };
            chosen.extend(choose(&forms, &speech).map(|at| &sound.forms[at]));
        }
        chosen.extend(of(Kind::Text).filter(|set| policy.reads(set.language())).filter_map(|set| set.forms.first()));
        chosen
    }
}

fn speaks(set: &Set<'_>, language: &str) -> bool {
    Policy { languages: vec![language.to_owned()], ..Policy::default() }.reads(set.language())
}

impl Shape<'_> {
    fn form(&self) -> Form {
        let of = |name| self.levels.iter().find_map(|level| level.attribute(name));
        Form {
            bandwidth: self.element.number("bandwidth").unwrap_or(0),
            height: of("height").and_then(|text| text.parse().ok()).unwrap_or(0),
            codecs: of("codecs").unwrap_or_default().to_owned(),
            hdr: false,
        }
    }

    /// What tells the addresses: the nearest element of this name, and further ones for what it leaves out.
    fn told<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s Element> + Clone {
        self.levels.iter().filter_map(move |level| level.first(name))
    }

    /// Its addresses.
    fn pieces(&self, period: &Period<'_>, reach: Reach) -> Result<Vec<Target>, &'static str> {
        if self.told("SegmentTemplate").next().is_some() {
            return self.by_template(period, reach);
        }
        let start = |list: &Element| list.first("Initialization").and_then(|start| start.attribute("sourceURL")).map(str::to_owned);
        if let Some(list) = self.told("SegmentList").next() {
            let begin = self.told("SegmentList").find_map(start);
            // A piece without an address of its own is a range of the file.
            let media = list.all("SegmentURL").map(|piece| piece.attribute("media").unwrap_or_default().to_owned());
            return self.joined(begin.into_iter().chain(media), reach);
        }
        let begin = self.told("SegmentBase").find_map(start);
        self.joined(begin.into_iter().chain(std::iter::once(String::new())), reach)
    }

    fn joined(&self, addresses: impl Iterator<Item = String>, reach: Reach) -> Result<Vec<Target>, &'static str> {
        let (mut gathered, mut last) = (Gathered::new(reach), None);
        for address in addresses {
            // Ranges of one file, one after the other, are one piece.
            if last.as_ref() == Some(&address) {
                continue;
            }
            if gathered.add(if address.is_empty() { Some(self.base.clone()) } else { self.base.join(&address) })? {
                break;
            }
            last = Some(address);
        }
        Ok(gathered.found)
    }

    fn by_template(&self, period: &Period<'_>, reach: Reach) -> Result<Vec<Target>, &'static str> {
        let of = |name: &'static str| self.told("SegmentTemplate").find_map(move |template| template.attribute(name));
        let number = |name: &'static str| of(name).and_then(|text| text.trim().parse::<u64>().ok());
        let mut gathered = Gathered::new(reach);
        let mut add = |template: &str, number: u64, time: u64| gathered.add(self.base.join(&self.fill(template, number, time)?));
        if let Some(template) = of("initialization")
            && add(template, 0, 0)?
        {
            return Ok(gathered.found);
        }
        let Some(media) = of("media") else { return Ok(gathered.found) };
        let scale = number("timescale").filter(|scale| *scale > 0).unwrap_or(1);
        let first = number("startNumber").unwrap_or(1);
        let mut at = first;
        if let Some(line) = self.told("SegmentTemplate").find_map(|template| template.first("SegmentTimeline")) {
            let end = period.seconds.map(|seconds| ticks(seconds, scale).saturating_add(number("presentationTimeOffset").unwrap_or(0)));
            let steps: Vec<&Element> = line.all("S").collect();
            let mut time = 0_u64;
            for (index, step) in steps.iter().enumerate() {
                time = step.number("t").unwrap_or(time);
                let length = step.number("d").filter(|length| *length > 0).ok_or("its time-line is damaged")?;
                let until = steps.get(index + 1).and_then(|next| next.number("t")).or(end);
                let times = match step.attribute("r").map_or(Some(0), |text| text.trim().parse::<i64>().ok()) {
                    // As often as there is time: until the next step, or the end.
                    Some(..0) => until.ok_or("its length is not told")?.saturating_sub(time).div_ceil(length),
                    Some(more) => more.unsigned_abs().saturating_add(1),
                    None => return Err("its time-line is damaged"),
                };
                for _ in 0..times {
                    if add(media, at, time)? {
                        return Ok(gathered.found);
                    }
                    at = at.saturating_add(1);
                    time = time.saturating_add(length);
                }
            }
            return Ok(gathered.found);
        }
        let length = number("duration").filter(|length| *length > 0);
        let count = match (number("endNumber"), length, period.seconds) {
            (Some(last), ..) => last.saturating_add(1).saturating_sub(first),
            (None, Some(length), Some(seconds)) => ticks(seconds, scale).div_ceil(length),
            (None, None, _) => 1,
            (None, Some(_), None) => return Err("its length is not told"),
        };
        for step in 0..count {
            if add(media, first.saturating_add(step), step.saturating_mul(length.unwrap_or(0)))? {
                break;
            }
        }
        Ok(gathered.found)
    }

    /// An address from a template. An identifier may stand in it as often as a text is long, and be empty: neither the template nor what
    /// it becomes is longer than the longest address.
    fn fill(&self, template: &str, number: u64, time: u64) -> Result<String, &'static str> {
        if template.len() > MAX_ADDRESS {
            return Err(TOO_LONG);
        }
        let mut out = String::new();
        let whole = self.fill_parts(template, number, time, |part| {
            let fits = out.len() + part.len() <= MAX_ADDRESS;
            out.push_str(if fits { part } else { "" });
            fits
        });
        match whole {
            Some(true) => Ok(out),
            Some(false) => Err(TOO_LONG),
            None => Err("its addresses are written in a way that is not known here"),
        }
    }

    /// Gives the parts of a filled template, and whether all were taken; `None`: an identifier that is not known.
    fn fill_parts(&self, template: &str, number: u64, time: u64, mut take: impl FnMut(&str) -> bool) -> Option<bool> {
        let mut parts = template.split('$');
        if !take(parts.next()?) {
            return Some(false);
        }
        while let Some(name) = parts.next() {
            // What follows the closing dollar.
            let rest = parts.next()?;
            let (word, width) = match name.split_once("%0") {
                Some((word, width)) => (word, width.strip_suffix(['d', 'x', 'u'])?.parse::<usize>().ok().filter(|width| *width <= 32)?),
                None => (name, 1),
            };
            let padded = |number: u64| format!("{number:0width$}");
            let taken = match word {
                "" => take("$"),
                "RepresentationID" => take(self.element.attribute("id")?),
                "Bandwidth" => take(&padded(self.element.number("bandwidth")?)),
                "Number" => take(&padded(number)),
                "Time" => take(&padded(time)),
                _ => return None,
            };
            if !taken || !take(rest) {
                return Some(false);
            }
        }
        Some(true)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "bounded and not negative; `as` saturates"
)]
fn ticks(seconds: f64, scale: u64) -> u64 {
    // A thousandth less: a length written with three places must not count a piece that does not exist.
    ((seconds - 0.001).max(0.0) * scale as f64).ceil() as u64
}

/// Seconds of an ISO 8601 duration without months and years: `PT1H2M3.5S`.
fn duration(text: &str) -> Option<f64> {
    let (mut seconds, mut number, mut in_time) = (0.0, String::new(), false);
    for letter in text.trim().strip_prefix('P')?.chars() {
        let unit = match (letter, in_time) {
            ('0'..='9' | '.', _) => {
                number.push(letter);
                continue;
            }
            ('T', false) => {
                in_time = true;
                continue;
            }
            ('D', false) => 86_400.0,
            ('H', true) => 3600.0,
            ('M', true) => 60.0,
            ('S', true) => 1.0,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * unit;
        number.clear();
    }
    (seconds.is_finite() && seconds < 1e9).then_some(seconds)
}

/// For the fuzzing corpus: any bytes, no panic.
pub fn fuzz(bytes: &[u8]) {
    let base = Target::parse("http://a.kz/b/c.mpd").expect("a valid address");
    std::hint::black_box(read(&base, bytes, &Policy::default()));
    std::hint::black_box(reduce(&base, &String::from_utf8_lossy(bytes), |target| target.url().len() % 2 == 0));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Target {
        Target::parse("https://a.kz/film/m.mpd").expect("valid")
    }

    fn pieces(text: &str) -> Vec<String> {
        match read(&base(), text.as_bytes(), &Policy::default()) {
            Title::Pieces(found) => found.iter().map(|target| target.url().trim_start_matches("https://a.kz/film/").to_owned()).collect(),
            other => panic!("{other:?}"),
        }
    }

    const FILM: &str = "<?xml version=\"1.0\"?><MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" type=\"static\" mediaPresentationDuration=\"PT9.5S\">\
        <Period><AdaptationSet contentType=\"video\"><SegmentTemplate timescale=\"1000\" duration=\"4000\" media=\"v/$RepresentationID$/$Number%03d$.m4s\" initialization=\"v/$RepresentationID$/i.mp4\"/>\
        <Representation id=\"low\" bandwidth=\"300000\" height=\"240\"/><Representation id=\"mid\" bandwidth=\"900000\" height=\"480\"></Representation>\
        <Representation id=\"high\" bandwidth=\"5000000\" height=\"1080\"/></AdaptationSet>\
        <AdaptationSet mimeType=\"audio/mp4\" lang=\"en\"><Representation id=\"en\" bandwidth=\"64000\"><BaseURL>en.mp4</BaseURL><SegmentBase indexRange=\"0-9\"/></Representation></AdaptationSet>\
        <AdaptationSet mimeType=\"audio/mp4\" lang=\"kk\"><Representation id=\"kk\" bandwidth=\"64000\"><BaseURL>kk.mp4?a=1&amp;b=2</BaseURL></Representation></AdaptationSet>\
        <AdaptationSet mimeType=\"text/vtt\" lang=\"ru\"><Representation id=\"ru\" bandwidth=\"1\"><BaseURL>ru.vtt</BaseURL></Representation></AdaptationSet>\
        <AdaptationSet mimeType=\"text/vtt\" lang=\"fr\"><Representation id=\"fr\" bandwidth=\"1\"><BaseURL>fr.vtt</BaseURL></Representation></AdaptationSet>\
        </Period></MPD>";

    const CHOSEN: [&str; 6] = ["v/mid/i.mp4", "v/mid/001.m4s", "v/mid/002.m4s", "v/mid/003.m4s", "kk.mp4?a=1&b=2", "ru.vtt"];

    #[test]
    fn one_picture_one_sound_wanted_subtitles() {
        assert_eq!(pieces(FILM), CHOSEN);
    }

    #[test]
    fn time_lines_and_lists() {
        let of = |inner: &str| {
            format!(
                "<MPD mediaPresentationDuration=\"PT10S\"><Period><AdaptationSet mimeType=\"video/mp4\"><Representation id=\"v\" bandwidth=\"9\">{inner}</Representation></AdaptationSet></Period></MPD>"
            )
        };
        let line = "<SegmentTemplate timescale=\"10\" media=\"$Time$-$Number$-$Bandwidth$-$$.m4s\" startNumber=\"5\"><SegmentTimeline><S t=\"100\" d=\"20\" r=\"1\"/><S d=\"30\"/></SegmentTimeline></SegmentTemplate>";
        assert_eq!(pieces(&of(line)), ["100-5-9-$.m4s", "120-6-9-$.m4s", "140-7-9-$.m4s"]);
        let open = "<SegmentTemplate timescale=\"10\" media=\"$Time$\"><SegmentTimeline><S d=\"40\" r=\"-1\"/></SegmentTimeline></SegmentTemplate>";
        assert_eq!(pieces(&of(open)), ["0", "40", "80"]);
        let list = "<SegmentList><Initialization sourceURL=\"i\"/><SegmentURL media=\"1\"/><SegmentURL media=\"/x/2\"/></SegmentList>";
        assert_eq!(pieces(&of(list)), ["i", "1", "https://a.kz/x/2"]);
        let ranges =
            "<BaseURL>all.mp4</BaseURL><SegmentList><SegmentURL mediaRange=\"0-9\"/><SegmentURL mediaRange=\"10-19\"/></SegmentList>";
        assert_eq!(pieces(&of(ranges)), ["all.mp4"]);
    }

    #[test]
    fn what_cannot_be_kept_is_refused_in_words() {
        let endless = FILM.replace("duration=\"4000\"", "duration=\"1\"").replace("PT9.5S", "P300D");
        let exactly = |last: usize| FILM.replace("<SegmentTemplate", &format!("<SegmentTemplate startNumber=\"1\" endNumber=\"{last}\""));
        let table = [
            (FILM.replace("static", "dynamic"), "broadcast"),
            (FILM.replace("<SegmentTemplate", "<ContentProtection schemeIdUri=\"urn:x\"/><SegmentTemplate"), "protected"),
            (FILM.replace("$Number%03d$", "$SubNumber$"), "not known here"),
            (FILM.replace("mediaPresentationDuration", "x"), "length is not told"),
            (FILM.replace("<Period>", "<Period xlink:href=\"http://b/\">"), "elsewhere"),
            (endless, "50,000"),
            // The start of a film is a piece, too; a film is never cut.
            (exactly(50_000), "50,000"),
            (FILM.replace(" duration=\"4000\"", " endNumber=\"18446744073709551615\""), "50,000"),
            (FILM.replace("id=\"mid\"", &format!("id=\"{}\"", "a".repeat(5000))), "longer than 4096"),
            (FILM.replace("$Number%03d$", &"$RepresentationID$".repeat(2000)), "longer than 4096"),
            // With an empty name nothing becomes longer.
            (FILM.replace("id=\"mid\"", "id=\"\"").replace("$Number%03d$", &"$RepresentationID$".repeat(200_000)), "longer than 4096"),
            (FILM.replace("en.mp4", &"e".repeat(5000)), "longer than 4096"),
            (FILM.replace("<Representation id=\"low\"", &"<Representation id=\"x\"/>".repeat(500)), "500 forms"),
            ("<MPD></MPD>".into(), "no pieces"),
            ("<html></html>".into(), "no DASH manifest"),
            (FILM[..300].into(), "damaged"),
        ];
        for (text, word) in table {
            let title = read(&base(), text.as_bytes(), &Policy::default());
            assert!(matches!(title, Title::Refused(why) if why.contains(word)), "{word}: {title:?}");
        }
    }

    #[test]
    fn the_last_number_there_is() {
        let of = |template: &str| {
            format!(
                "<MPD><Period><AdaptationSet mimeType=\"video/mp4\"><Representation id=\"v\">{template}</Representation></AdaptationSet></Period></MPD>"
            )
        };
        let max = u64::MAX;
        let line = format!(
            "<SegmentTemplate media=\"$Number$\" startNumber=\"{max}\"><SegmentTimeline><S t=\"{max}\" d=\"{max}\" r=\"1\"/></SegmentTimeline></SegmentTemplate>"
        );
        assert_eq!(pieces(&of(&line)), [max.to_string()]);
        let end = format!("<SegmentTemplate media=\"$Number$\" startNumber=\"{}\" endNumber=\"{}\"/>", max - 2, max - 1);
        assert_eq!(pieces(&of(&end)), [(max - 2).to_string(), (max - 1).to_string()]);
        // What leads nowhere is not followed for ever.
        let nowhere = "<SegmentTemplate media=\"http://[\"><SegmentTimeline><S d=\"1\" r=\"9000000000000000000\"/></SegmentTimeline></SegmentTemplate>";
        assert!(matches!(read(&base(), of(nowhere).as_bytes(), &Policy::default()), Title::Refused(why) if why.contains("50,000")));
        assert_eq!(reduce(&base(), &of(nowhere), |_| true), None);
    }

    #[test]
    fn a_manifest_is_served_with_what_is_here() {
        let keep = |target: &Target| CHOSEN.contains(&target.url().trim_start_matches("https://a.kz/film/"));
        let less = reduce(&base(), FILM, keep).expect("less");
        assert_eq!(less.matches("<Representation").count(), 3, "{less}");
        assert!(less.contains("id=\"mid\"") && less.contains("lang=\"kk\"") && less.contains("lang=\"ru\""), "{less}");
        assert_eq!(pieces(&less), CHOSEN);
        assert_eq!(reduce(&base(), &less, keep), None);
        assert_eq!(reduce(&base(), FILM, |_| false), None);
        fuzz(FILM.as_bytes());
    }

    #[test]
    fn durations() {
        let table =
            [("PT9.5S", Some(9.5)), ("PT1H2M3S", Some(3723.0)), ("P1DT1S", Some(86_401.0)), ("P1Y", None), ("9", None), ("PTS", None)];
        for (text, wanted) in table {
            assert_eq!(duration(text), wanted, "{text}");
        }
    }
}
