//! HLS playlists (RFC 8216): which form of a film is fetched, and the pieces of one.
//!
//! Only films that end are fetched (`EXT-X-ENDLIST`) and only those in the clear: a title with a key is left alone, for its key is
//! somebody's licence. Pieces that are ranges of one file (`EXT-X-BYTERANGE`) mean the file: it is fetched whole, once.
//!
//! # Why
//!
//! **A master playlist is served with only the forms that are here.** It names up to ten; the night fetches one. A player chooses by
//! its own measure, which on a school's Wi-Fi is the best: with the line up, thirty tablets would then pull a form that nobody
//! fetched over the thin line, and with the line down each asks in vain, waits, and tries the next (hls.js about ten seconds for each,
//! Safari gives up). A player that sees one form plays it at once. So `reduce` takes out what no pack keeps. Nothing else
//! changes; where nothing of a title is kept, or its answer says `no-transform`, it stays as it was sent.
//!
//! **A reader of our own** rather than a crate: lines must be taken out while all others stay byte for byte, also tags that are
//! newer than any crate, and that is most of the work of reading them.

use crate::base::target::Target;
use crate::site::discover::media::{Form, MAX_ADDRESS, MAX_FORMS, Policy, Title, choose};
use std::collections::HashSet;

/// Most of a playlist that is read: a film of 12 hours in pieces of 2 s has 21,600 pairs of lines, about 2 MB.
pub const MAX_BYTES: u64 = 4 << 20;
/// Most pieces of one playlist.
pub const MAX_PIECES: usize = 50_000;
/// Most lines of one playlist: its pieces with four tags each. Empty ones would else cost a hundred times their length.
const MAX_LINES: usize = 5 * MAX_PIECES;

/// What a playlist needs next.
pub fn read(base: &Target, bytes: &[u8], policy: &Policy) -> Title {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_start_matches('\u{feff}');
    if !text.starts_with("#EXTM3U") {
        return Title::Refused("it is no playlist: it does not begin with #EXTM3U");
    }
    let lines: Vec<Line<'_>> = lines(text).take(MAX_LINES + 1).collect();
    if lines.len() > MAX_LINES {
        return Title::Refused("the playlist has more than 250,000 lines");
    }
    if base.url().len() > MAX_ADDRESS {
        return Title::Refused("its addresses are longer than 4096 bytes");
    }
    if text.contains("{$") {
        return Title::Refused("its addresses are made of variables (EXT-X-DEFINE), which are not filled in here");
    }
    if lines.iter().any(Line::has_key) {
        return Title::Refused("the film is encrypted (EXT-X-KEY); its key may not be kept");
    }
    let entries = entries(&lines);
    if entries.is_empty() { pieces(base, &lines) } else { master(base, &entries, &lines, policy) }
}

/// The master playlist with only what `keep` says; `None`: it is none, nothing of it is kept, or all of it is.
pub fn reduce(base: &Target, text: &str, keep: impl Fn(&Target) -> bool) -> Option<String> {
    if !text.trim_start_matches('\u{feff}').starts_with("#EXTM3U") || base.url().len() > MAX_ADDRESS {
        return None;
    }
    let lines: Vec<Line<'_>> = lines(text).take(MAX_LINES + 1).collect();
    if lines.len() > MAX_LINES {
        return None;
    }
    let is_kept = |address: &str| base.join(address).is_some_and(|target| keep(&target));
    let entries = entries(&lines);
    let (kept, gone): (Vec<&Entry<'_>>, Vec<&Entry<'_>>) = entries.iter().partition(|entry| is_kept(entry.address));
    if kept.is_empty() {
        return None;
    }
    let mut out: HashSet<usize> = gone.iter().flat_map(|entry| [entry.line, entry.uri]).collect();
    let kept: HashSet<usize> = kept.iter().map(|entry| entry.line).collect();
    // Groups that a kept form names, and which of them still have a member.
    let mut empty: HashSet<(&str, &str)> = HashSet::new();
    for (attribute, kind) in GROUPS {
        let mut unmet: HashSet<&str> = kept.iter().filter_map(|line| lines[*line].attribute(attribute)).collect();
        let names = unmet.clone();
        for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.is_rendition(kind)) {
            let group = line.attribute("GROUP-ID").filter(|group| names.contains(group));
            // Without an address it is within the form itself.
            match group.filter(|_| line.attribute("URI").is_none_or(is_kept)) {
                Some(group) => _ = unmet.remove(group),
                None => _ = out.insert(at),
            }
        }
        empty.extend(unmet.into_iter().map(|name| (attribute, name)));
    }
    for (at, line) in lines.iter().enumerate() {
        let spare = match line.tag {
            "#EXT-X-I-FRAME-STREAM-INF" => !line.attribute("URI").is_some_and(is_kept),
            // Would send players to a host that tells them to change over.
            "#EXT-X-CONTENT-STEERING" => true,
            _ => false,
        };
        if spare {
            out.insert(at);
        }
    }
    if out.is_empty() && empty.is_empty() {
        return None;
    }
    let mut reduced = String::with_capacity(text.len());
    for (at, line) in lines.iter().enumerate().filter(|(at, _)| !out.contains(at)) {
        let bare = kept.contains(&at).then(|| without(line, &empty)).flatten();
        reduced.push_str(bare.as_deref().unwrap_or(line.text));
        reduced.push_str(line.end);
    }
    Some(reduced)
}

/// Seconds that the pieces of a playlist play, by their tags; nothing for a list of forms.
pub fn seconds(bytes: &[u8]) -> f64 {
    let text = String::from_utf8_lossy(bytes);
    let told = |line: Line<'_>| line.rest.split(',').next()?.trim().parse::<f64>().ok().filter(|_| line.tag == "#EXTINF");
    // A day is longer than any lesson.
    lines(&text).take(MAX_LINES).filter_map(told).filter(|seconds| (0.0..=86_400.0).contains(seconds)).sum::<f64>().min(86_400.0)
}

/// Bits per second of the form that is taken, with its sound: as the list of forms has it, its mean where that is told.
pub fn bitrate(bytes: &[u8], policy: &Policy) -> Option<u64> {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<Line<'_>> = lines(&text).take(MAX_LINES).collect();
    let entries = entries(&lines);
    let forms: Vec<Form> = entries.iter().map(|entry| entry.form.clone()).collect();
    let chosen = &entries[choose(&forms, policy)?];
    let mean = lines[chosen.line].attribute("AVERAGE-BANDWIDTH").and_then(|text| text.parse().ok());
    mean.or(Some(chosen.form.bandwidth)).filter(|rate| *rate > 0)
}

/// Attributes of a form that name a group, and the type of its members.
const GROUPS: [(&str, &str); 3] = [("AUDIO", "AUDIO"), ("SUBTITLES", "SUBTITLES"), ("VIDEO", "VIDEO")];

/// One line: a tag with its rest, a comment, an address, or nothing.
#[derive(Clone, Copy, Debug)]
struct Line<'t> {
    /// Without its end.
    text: &'t str,
    /// `\n`, `\r\n` or, at the end of the text, nothing.
    end: &'t str,
    /// `#EXT-X-KEY`; empty for addresses and blanks.
    tag: &'t str,
    /// What follows the colon.
    rest: &'t str,
}

fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    text.split_inclusive('\n').map(|whole| {
        let text = whole.trim_end_matches(['\n', '\r']);
        let bare = text.trim_start_matches('\u{feff}').trim();
        let (tag, rest) = if bare.starts_with('#') { bare.split_once(':').unwrap_or((bare, "")) } else { ("", bare) };
        Line { text, end: &whole[text.len()..], tag, rest }
    })
}

impl<'t> Line<'t> {
    /// The value of an attribute, without its quotes.
    fn attribute(&self, name: &str) -> Option<&'t str> {
        attributes(self.rest).find(|(key, ..)| *key == name).map(|(_, value, _)| value)
    }

    fn is_rendition(&self, kind: &str) -> bool {
        self.tag == "#EXT-X-MEDIA" && self.attribute("TYPE") == Some(kind)
    }

    fn has_key(&self) -> bool {
        matches!(self.tag, "#EXT-X-KEY" | "#EXT-X-SESSION-KEY") && self.attribute("METHOD") != Some("NONE")
    }

    fn address(&self) -> Option<&'t str> {
        (self.tag.is_empty() && !self.rest.is_empty()).then_some(self.rest)
    }
}

/// Name, value, and where the pair stands in the text.
fn attributes(text: &str) -> impl Iterator<Item = (&str, &str, std::ops::Range<usize>)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at;
        let rest = text.get(start..).filter(|rest| !rest.is_empty())?;
        let (name, after) = rest.split_once('=')?;
        let value_at = text.len() - after.len();
        let (value, end) = if let Some(quoted) = after.strip_prefix('"') {
            let length = quoted.find('"').unwrap_or(quoted.len());
            (&quoted[..length], (value_at + length + 2).min(text.len()))
        } else {
            let length = after.find(',').unwrap_or(after.len());
            (after[..length].trim(), value_at + length)
        };
        let comma = text[end..].find(',').map_or(text.len(), |comma| end + comma + 1);
        at = comma;
        Some((name.trim(), value, start..comma))
    })
}

/// A form of the film in a master playlist.
struct Entry<'t> {
    /// The line of its tag.
    line: usize,
    /// The line of its address.
    uri: usize,
    /// Its address.
    address: &'t str,
    /// What it is like.
    form: Form,
}

fn entries<'t>(lines: &[Line<'t>]) -> Vec<Entry<'t>> {
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.tag == "#EXT-X-STREAM-INF") {
        // Comments may stand between.
        let uri = lines.iter().enumerate().skip(at + 1).find_map(|(at, line)| line.address().map(|address| (at, address)));
        // Nor is there one behind a later tag.
        let Some((uri, address)) = uri else { break };
        let number = |name| line.attribute(name).and_then(|text| text.parse().ok());
        let height = line.attribute("RESOLUTION").and_then(|size| size.split_once(['x', 'X'])?.1.parse().ok());
        let form = Form {
            bandwidth: number("BANDWIDTH").unwrap_or(0),
            height: height.unwrap_or(0),
            codecs: line.attribute("CODECS").unwrap_or_default().to_owned(),
            hdr: line.attribute("VIDEO-RANGE").is_some_and(|range| range != "SDR"),
        };
        found.push(Entry { line: at, uri, address, form });
        if found.len() >= MAX_FORMS {
            break;
        }
    }
    found
}

fn master(base: &Target, entries: &[Entry<'_>], lines: &[Line<'_>], policy: &Policy) -> Title {
    let forms: Vec<Form> = entries.iter().map(|entry| entry.form.clone()).collect();
    let Some(chosen) = choose(&forms, policy).map(|at| &entries[at]) else {
        return Title::Refused("the playlist names no form of the film");
    };
    let mut addresses = vec![chosen.address];
    for (attribute, kind) in GROUPS {
        let Some(group) = lines[chosen.line].attribute(attribute) else { continue };
        let members: Vec<&Line<'_>> =
            lines.iter().filter(|line| line.is_rendition(kind) && line.attribute("GROUP-ID") == Some(group)).collect();
        if kind == "SUBTITLES" {
            let wanted = members.iter().filter(|line| line.attribute("LANGUAGE").is_some_and(|language| policy.reads(language)));
            addresses.extend(wanted.filter_map(|line| line.attribute("URI")));
            continue;
        }
        let says = |name: &'static str| members.iter().find(move |line| line.attribute(name) == Some("YES"));
        let default = says("DEFAULT").or_else(|| says("AUTOSELECT")).or(members.first());
        addresses.extend(default.and_then(|line| line.attribute("URI")));
    }
    let mut seen = HashSet::new();
    let playlists = addresses.iter().filter_map(|address| base.join(address)).filter(|target| seen.insert(target.clone())).collect();
    Title::Playlists(playlists)
}

fn pieces(base: &Target, lines: &[Line<'_>]) -> Title {
    let (mut seen, mut pieces) = (HashSet::new(), Vec::new());
    let (mut ended, mut gap) = (false, false);
    for line in lines {
        let address = match line.tag {
            "" => line.address().filter(|_| !std::mem::take(&mut gap)),
            "#EXT-X-MAP" => line.attribute("URI"),
            "#EXT-X-GAP" => {
                gap = true;
                None
            }
            "#EXT-X-ENDLIST" => {
                ended = true;
                None
            }
            _ => None,
        };
        if let Some(target) = address.and_then(|address| base.join(address)).filter(|target| seen.insert(target.clone())) {
            pieces.push(target);
        }
        if pieces.len() > MAX_PIECES {
            return Title::Refused("the film has more than 50,000 pieces");
        }
    }
    match ended {
        true if pieces.is_empty() => Title::Refused("the playlist names no pieces"),
        true => Title::Pieces(pieces),
        false => Title::Refused("it is a broadcast that has not ended (no EXT-X-ENDLIST)"),
    }
}

/// A form's line without the attributes that name empty groups.
fn without(line: &Line<'_>, empty: &HashSet<(&str, &str)>) -> Option<String> {
    // A name that stands twice, which is no playlist's right, goes with all it says: else the second would count from now on. Asked once
    // for each name and not for each attribute: a line may hold a million of them.
    let is_empty = |key: &&str| line.attribute(key).is_some_and(|value| empty.contains(&(*key, value)));
    let gone: Vec<&str> = GROUPS.iter().map(|(attribute, _)| *attribute).filter(is_empty).collect();
    if gone.is_empty() {
        return None;
    }
    let kept: Vec<&str> = attributes(line.rest)
        .filter(|(key, _, _)| !gone.contains(key))
        .map(|(_, _, range)| line.rest[range].trim_end_matches(','))
        .collect();
    Some(format!("{}:{}", line.tag, kept.join(",")))
}

/// For the fuzzing corpus: any bytes, no panic, and a reduced playlist is read like another.
pub fn fuzz(bytes: &[u8]) {
    let base = Target::parse("http://a.kz/b/c.m3u8").expect("a valid address");
    let policy = Policy::default();
    std::hint::black_box(read(&base, bytes, &policy));
    let text = String::from_utf8_lossy(bytes);
    if let Some(less) = reduce(&base, &text, |target| target.url().len() % 2 == 0) {
        assert!(less.len() <= text.len(), "a reduced playlist grew");
        std::hint::black_box(read(&base, less.as_bytes(), &policy));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASTER: &str = "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-INDEPENDENT-SEGMENTS\n\
        #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"Қазақша\",LANGUAGE=\"kk\",DEFAULT=YES,AUTOSELECT=YES,URI=\"a/kk.m3u8\"\n\
        #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"English, plain\",LANGUAGE=\"en\",DEFAULT=NO,URI=\"a/en.m3u8\"\n\
        #EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"s\",NAME=\"ru\",LANGUAGE=\"ru\",URI=\"s/ru.m3u8\"\n\
        #EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"s\",NAME=\"fr\",LANGUAGE=\"fr\",URI=\"s/fr.m3u8\"\n\
        #EXT-X-STREAM-INF:BANDWIDTH=600000,RESOLUTION=640x360,CODECS=\"avc1.4d401e,mp4a.40.2\",AUDIO=\"a\",SUBTITLES=\"s\"\n\
        v/360.m3u8\r\n\
        #EXT-X-STREAM-INF:BANDWIDTH=1150000,RESOLUTION=854x480,AUDIO=\"a\",SUBTITLES=\"s\"\n\
        v/480.m3u8\n\
        #EXT-X-STREAM-INF:BANDWIDTH=4000000,RESOLUTION=1920x1080,AUDIO=\"a\",SUBTITLES=\"s\"\n\
        # a comment\n\
        https://cdn.a.kz/v/1080.m3u8\n\
        #EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=90000,URI=\"v/i.m3u8\"\n";

    fn base() -> Target {
        Target::parse("https://a.kz/film/master.m3u8?x=1").expect("valid")
    }

    fn urls(targets: &[Target]) -> Vec<&str> {
        targets.iter().map(Target::url).collect()
    }

    #[test]
    fn one_form_the_default_sound_the_wanted_subtitles() {
        let Title::Playlists(found) = read(&base(), MASTER.as_bytes(), &Policy::default()) else { panic!("a master") };
        assert_eq!(urls(&found), ["https://a.kz/film/v/480.m3u8", "https://a.kz/film/a/kk.m3u8", "https://a.kz/film/s/ru.m3u8"]);
        let thin = Policy { bitrate: 700_000, languages: vec!["fr".into()], ..Policy::default() };
        let Title::Playlists(found) = read(&base(), MASTER.as_bytes(), &thin) else { panic!("a master") };
        assert_eq!(urls(&found), ["https://a.kz/film/v/360.m3u8", "https://a.kz/film/a/kk.m3u8", "https://a.kz/film/s/fr.m3u8"]);
    }

    #[test]
    fn pieces_with_map_ranges_and_gaps() {
        let list = "#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXT-X-KEY:METHOD=NONE\n#EXT-X-MAP:URI=\"init.mp4\",BYTERANGE=\"718@0\"\n\
            #EXTINF:6,\n#EXT-X-BYTERANGE:1000@718\nall.mp4\n#EXTINF:6,\n#EXT-X-BYTERANGE:900\nall.mp4\n#EXT-X-GAP\n#EXTINF:6,\nlost.mp4\n\
            #EXT-X-DISCONTINUITY\n#EXTINF:2.5,title\n  /other/last.ts?v=1  \n#EXT-X-ENDLIST\n";
        let Title::Pieces(found) = read(&base(), list.as_bytes(), &Policy::default()) else { panic!("pieces") };
        assert_eq!(urls(&found), ["https://a.kz/film/init.mp4", "https://a.kz/film/all.mp4", "https://a.kz/other/last.ts?v=1"]);
    }

    #[test]
    fn what_is_encrypted_without_end_or_no_playlist_is_refused_in_words() {
        let whole = |text: &str| format!("#EXTM3U\n{text}#EXTINF:6,\na.ts\n#EXT-X-ENDLIST\n");
        let table = [
            (whole("#EXT-X-KEY:METHOD=AES-128,URI=\"k\"\n"), "encrypted"),
            (whole("#EXT-X-KEY:METHOD=SAMPLE-AES,URI=\"skd://k\",KEYFORMAT=\"com.apple.streamingkeydelivery\"\n"), "encrypted"),
            (MASTER.replace("#EXT-X-VERSION:6", "#EXT-X-SESSION-KEY:METHOD=SAMPLE-AES,URI=\"k\""), "encrypted"),
            ("#EXTM3U\n#EXTINF:6,\na.ts\n".into(), "not ended"),
            ("#EXTM3U\n#EXT-X-ENDLIST\n".into(), "no pieces"),
            ("<html>".into(), "no playlist"),
            (whole("#EXT-X-DEFINE:NAME=\"p\",VALUE=\"x\"\n#EXTINF:6,\n{$p}/a.ts\n"), "variables"),
            (whole(&"\n".repeat(300_000)), "250,000 lines"),
            (whole(&"#EXTINF:2,\na\n".repeat(3)).replace("#EXT-X-ENDLIST", ""), "not ended"),
        ];
        for (text, word) in table {
            let title = read(&base(), text.as_bytes(), &Policy::default());
            assert!(matches!(title, Title::Refused(why) if why.contains(word)), "{word}: {title:?}");
        }
        // A playlist that never ends is read as far as the limit, and is a broadcast then.
        let endless = (0..60_000).fold(String::from("#EXTM3U\n"), |text, piece| text + &format!("#EXTINF:6,\n{piece}.ts\n"));
        assert!(matches!(read(&base(), endless.as_bytes(), &Policy::default()), Title::Refused(why) if why.contains("50,000")));
    }

    #[test]
    fn forms_without_an_address_are_looked_for_once() {
        // The square of so many lines would be hours.
        let text = format!("#EXTM3U\n{}", "#EXT-X-STREAM-INF:\n".repeat(200_000));
        assert!(matches!(read(&base(), text.as_bytes(), &Policy::default()), Title::Refused(_)));
        assert_eq!(reduce(&base(), &text, |_| true), None);
        assert_eq!(reduce(&base(), &format!("#EXTM3U\n#EXT-X-STREAM-INF:\na\n{}", "\n".repeat(300_000)), |_| false), None);
    }

    #[test]
    fn a_master_is_served_with_what_is_here() {
        let here = ["https://a.kz/film/v/480.m3u8", "https://a.kz/film/a/kk.m3u8", "https://a.kz/film/s/ru.m3u8"];
        let less = reduce(&base(), MASTER, |target| here.contains(&target.url())).expect("less");
        assert_eq!(
            less,
            "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-INDEPENDENT-SEGMENTS\n\
             #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"Қазақша\",LANGUAGE=\"kk\",DEFAULT=YES,AUTOSELECT=YES,URI=\"a/kk.m3u8\"\n\
             #EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"s\",NAME=\"ru\",LANGUAGE=\"ru\",URI=\"s/ru.m3u8\"\n\
             #EXT-X-STREAM-INF:BANDWIDTH=1150000,RESOLUTION=854x480,AUDIO=\"a\",SUBTITLES=\"s\"\n\
             v/480.m3u8\n# a comment\n"
        );
        // What is left is read like any other, and is already as small as it gets.
        let Title::Playlists(found) = read(&base(), less.as_bytes(), &Policy::default()) else { panic!("a master") };
        assert_eq!(urls(&found), here);
        assert_eq!(reduce(&base(), &less, |target| here.contains(&target.url())), None);
        // Groups without a member are no longer named.
        let silent = reduce(&base(), MASTER, |target| target.url().ends_with("360.m3u8")).expect("less");
        assert!(
            silent.contains("#EXT-X-STREAM-INF:BANDWIDTH=600000,RESOLUTION=640x360,CODECS=\"avc1.4d401e,mp4a.40.2\"\nv/360.m3u8\r\n"),
            "{silent}"
        );
        assert!(!silent.contains("TYPE=AUDIO") && !silent.contains("SUBTITLES"), "{silent}");
        // Nothing of it is here, all of it is, or it is no master.
        assert_eq!(reduce(&base(), MASTER, |_| false), None);
        assert_eq!(reduce(&base(), "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8\n", |_| true), None);
        assert_eq!(reduce(&base(), "#EXTM3U\n#EXTINF:6,\na.ts\n#EXT-X-ENDLIST\n", |_| true), None);
        // A group stays named as long as one of its members is here, wherever forms and members stand.
        let mixed = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO=\"a\"\n1\n#EXT-X-STREAM-INF:BANDWIDTH=2,AUDIO=\"b\"\n2\n\
            #EXT-X-STREAM-INF:BANDWIDTH=3,AUDIO=\"a\"\n3\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",URI=\"4\"\n\
            #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",URI=\"5\"\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"b\",URI=\"6\"\n";
        assert_eq!(
            reduce(&base(), mixed, |target| !target.url().ends_with(['5', '6'])).expect("less"),
            "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO=\"a\"\n1\n#EXT-X-STREAM-INF:BANDWIDTH=2\n2\n\
             #EXT-X-STREAM-INF:BANDWIDTH=3,AUDIO=\"a\"\n3\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",URI=\"4\"\n"
        );
        fuzz(MASTER.as_bytes());
        fuzz(b"#EXTM3U\n#EXT-X-STREAM-INF:A=\"\n\xff\n#EXT-X-MEDIA:=,=\"=,");
    }

    #[test]
    fn a_form_of_a_million_attributes_is_read_a_few_times() {
        // The square of so many attributes would be hours.
        let many = (0..300_000).map(|n| format!(",K{n}=1")).collect::<Vec<_>>().concat();
        let text = format!("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1{many},AUDIO=\"a\"\nv.m3u8\n");
        let less = reduce(&base(), &text, |_| true).expect("less");
        assert_eq!(less, format!("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1{many}\nv.m3u8\n"));
    }

    #[test]
    fn a_group_that_is_named_twice_is_gone_at_once() {
        let text = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO=\"a\",AUDIO=\"b\"\nv.m3u8\n";
        let less = reduce(&base(), text, |_| true).expect("less");
        assert_eq!(less, "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nv.m3u8\n");
        assert_eq!(reduce(&base(), &less, |_| true), None);
    }

    #[test]
    fn how_long_a_film_is_and_at_what_rate() {
        let pieces = b"#EXTM3U\n#EXTINF:6,\na.ts\n#EXTINF:2.5,title\nb.ts\n#EXTINF:nonsense,\nc.ts\n#EXTINF:1e300,\nd.ts\n#EXT-X-ENDLIST\n";
        assert!((seconds(pieces) - 8.5).abs() < 1e-9);
        let forms = b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=900000,AVERAGE-BANDWIDTH=700000\nlow.m3u8\n#EXT-X-STREAM-INF:BANDWIDTH=9000000\nhigh.m3u8\n";
        assert_eq!((bitrate(forms, &Policy::default()), bitrate(pieces, &Policy::default())), (Some(700_000), None));
    }
}
