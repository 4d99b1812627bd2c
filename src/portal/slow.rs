//! "What is slow?": this Wi-Fi, the line, or that site. Three figures side by side and a sentence; no script: the device fetches a picture
//! that is as large as a test, the node times it, and the page looks again by itself, once.

use crate::link::State;
use crate::portal::frame::Frame;
use crate::portal::words::Words;
use askama::Template;

/// The page looks again after so many seconds: the picture takes three, a site's name and connection as long.
pub const LOOK: u8 = 6;

/// A Wi-Fi that is not faster than this many times the line is what is slow: it has the whole class to carry, and what it repeats.
const WIFI: f64 = 1.2;

/// Of the line, this much in use leaves nothing.
const USED: f64 = 0.8;

/// A site whose connection takes this many times the line's usual round trip, and so many milliseconds more, is far off or slow itself.
const SITE: (f64, f64) = (3.0, 300.0);

/// What was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Finding {
    /// What this device got from the node, bit/s.
    pub wifi_bps: Option<u64>,
    /// The line's capacity as last measured, bit/s.
    pub line_bps: Option<u64>,
    /// What of the line is in use now, bit/s.
    pub used_bps: Option<u64>,
    /// How the line is.
    pub line: Option<State>,
    /// Its usual round trip now, milliseconds.
    pub rtt_ms: Option<f64>,
    /// The site that was asked about.
    pub site: Option<Site>,
}

/// A site.
#[derive(Clone, Debug, PartialEq)]
pub struct Site {
    /// Its host.
    pub host: String,
    /// How long a connection took, milliseconds; `None`: it came to nothing.
    pub took_ms: Option<f64>,
    /// There is nobody of that name.
    pub nameless: bool,
}

/// What is slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slow {
    /// This Wi-Fi.
    Wifi,
    /// The line: down, or worse than usual.
    Line,
    /// The line, since the school uses it.
    Used,
    /// That site.
    Site,
    /// Nothing, as far as can be seen.
    Nothing,
    /// Nobody knows.
    Unknown,
}

impl Finding {
    /// What is slow; a cause hides its consequences.
    #[expect(clippy::cast_precision_loss, reason = "rates fit a double")]
    pub fn slow(&self) -> Slow {
        let share = |part: Option<u64>, whole: Option<u64>| Some(part? as f64 / whole.filter(|whole| *whole > 0)? as f64);
        if matches!(self.line, Some(State::Down)) {
            return Slow::Line;
        }
        if share(self.wifi_bps, self.line_bps).is_some_and(|share| share < WIFI) {
            return Slow::Wifi;
        }
        if share(self.used_bps, self.line_bps).is_some_and(|share| share > USED) {
            return Slow::Used;
        }
        if matches!(self.line, Some(State::Slow)) {
            return Slow::Line;
        }
        if let Some(site) = self.site.as_ref().filter(|site| !site.nameless) {
            let usual = self.rtt_ms.unwrap_or(100.0);
            if site.took_ms.is_none_or(|took| took > usual * SITE.0 && took > usual + SITE.1) {
                return Slow::Site;
            }
        }
        if self.wifi_bps.is_none() || self.line_bps.is_none() { Slow::Unknown } else { Slow::Nothing }
    }
}

/// What the page shows.
#[derive(Clone, Copy, Debug)]
pub enum Step<'p> {
    /// Nothing was looked at yet.
    Begin,
    /// It is being looked at: the number of the look.
    Looking(u64),
    /// What was found.
    Found(&'p Finding),
}

/// The page.
#[derive(Clone, Copy)]
pub struct SlowPage<'p> {
    /// The frame.
    pub frame: Frame<'p>,
    /// How far it is.
    pub step: Step<'p>,
}

#[derive(Template)]
#[template(path = "slow.html", config = ".askama.toml")]
struct Page<'p> {
    frame: Frame<'p>,
    words: &'static Words,
    number: Option<String>,
    look: u8,
    verdict: Option<&'static str>,
    rows: Vec<(String, String)>,
}

impl SlowPage<'_> {
    /// The page.
    ///
    /// # Errors
    /// Only when memory for the text cannot be had.
    pub fn render(&self) -> Result<String, askama::Error> {
        let words = self.frame.words;
        let (number, verdict, rows) = match &self.step {
            Step::Begin => (None, None, Vec::new()),
            Step::Looking(number) => (Some(format!("{number:016x}")), None, Vec::new()),
            Step::Found(finding) => (None, Some(sentence(words, finding.slow())), rows(words, finding)),
        };
        Page { frame: self.frame, words, number, look: LOOK, verdict, rows }.render()
    }
}

fn sentence(words: &Words, slow: Slow) -> &'static str {
    match slow {
        Slow::Wifi => words.slow_is_wifi,
        Slow::Line => words.slow_is_line,
        Slow::Used => words.slow_is_used,
        Slow::Site => words.slow_is_site,
        Slow::Nothing => words.slow_is_nothing,
        Slow::Unknown => words.slow_is_unknown,
    }
}

/// Names and figures.
fn rows(words: &Words, finding: &Finding) -> Vec<(String, String)> {
    let mbit = |bits: Option<u64>| bits.map_or_else(|| words.unknown.to_owned(), |bits| mbit(words, bits));
    let millis = |millis: f64| format!("{millis:.0} {}", words.slow_millis);
    let mut rows = vec![
        (words.slow_wifi.to_owned(), mbit(finding.wifi_bps)),
        (words.slow_line.to_owned(), mbit(finding.line_bps)),
        (words.slow_used.to_owned(), mbit(finding.used_bps)),
        (words.slow_trip.to_owned(), finding.rtt_ms.map_or_else(|| words.unknown.to_owned(), millis)),
    ];
    if let Some(site) = &finding.site {
        let nothing = if site.nameless { words.slow_nameless } else { words.slow_silent };
        rows.push((site.host.clone(), site.took_ms.map_or_else(|| nothing.to_owned(), millis)));
    }
    rows
}

/// One decimal, with the comma of Kazakh and Russian.
fn mbit(words: &Words, bits: u64) -> String {
    let tenths = bits / 100_000;
    format!("{}{}{} {}", tenths / 10, words.slow_comma, tenths % 10, words.slow_mbit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::portal::Language;

    #[test]
    fn a_cause_hides_its_consequences() {
        let site = |took_ms| Some(Site { host: "a.kz".into(), took_ms, nameless: false });
        let good = Finding {
            wifi_bps: Some(60_000_000),
            line_bps: Some(8_000_000),
            used_bps: Some(1_000_000),
            rtt_ms: Some(60.0),
            ..Finding::default()
        };
        let table = [
            ("nothing known", Finding::default(), Slow::Unknown),
            ("all well", good.clone(), Slow::Nothing),
            ("no figure of the Wi-Fi", Finding { wifi_bps: None, ..good.clone() }, Slow::Unknown),
            ("no figure of the line", Finding { line_bps: None, ..good.clone() }, Slow::Unknown),
            ("a weak Wi-Fi", Finding { wifi_bps: Some(5_000_000), ..good.clone() }, Slow::Wifi),
            ("a class downloads", Finding { used_bps: Some(7_500_000), ..good.clone() }, Slow::Used),
            ("the line is cut", Finding { line: Some(State::Down), wifi_bps: Some(5_000_000), ..good.clone() }, Slow::Line),
            ("the line is bad", Finding { line: Some(State::Slow), ..good.clone() }, Slow::Line),
            ("a site far off", Finding { site: site(Some(900.0)), ..good.clone() }, Slow::Site),
            ("a site that is silent", Finding { site: site(None), ..good.clone() }, Slow::Site),
            ("a site like others", Finding { site: site(Some(180.0)), ..good.clone() }, Slow::Nothing),
            ("a satellite's site", Finding { rtt_ms: Some(620.0), site: site(Some(1_300.0)), ..good.clone() }, Slow::Nothing),
            ("a weak Wi-Fi and a silent site", Finding { wifi_bps: Some(1), site: site(None), ..good }, Slow::Wifi),
        ];
        for (name, finding, slow) in table {
            assert_eq!(finding.slow(), slow, "{name}");
        }
    }

    #[test]
    fn the_page_begins_looks_once_and_says() {
        for language in Language::ALL {
            let frame = Frame::new(language, "/slow", "Abay");
            let page = |step| SlowPage { frame, step }.render().expect("renders");
            let begin = page(Step::Begin);
            assert!(begin.contains("name=\"site\"") && !begin.contains("refresh"), "{begin}");
            let looking = page(Step::Looking(0xab));
            assert!(looking.contains("/slow/load.bmp?v=00000000000000ab") && looking.contains("url=/slow?v=00000000000000ab"), "{looking}");
            let site = Site { host: "<b>.kz".into(), took_ms: Some(41.6), nameless: false };
            let finding = Finding { wifi_bps: Some(61_250_000), site: Some(site), ..Finding::default() };
            let found = page(Step::Found(&finding));
            assert!(found.contains("42 ") && !found.contains("<b>.kz") && !found.contains("refresh"), "{found}");
            assert!(found.contains(if language == Language::En { "61.2 " } else { "61,2 " }), "{found}");
        }
    }
}
