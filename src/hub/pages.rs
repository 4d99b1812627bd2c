//! Pages for people: a region on one, a school on another. No script; everything that came from a node, a file or a person is escaped.

use crate::base::calendar::Calendar;
use crate::base::clock::Time;
use crate::hub::summary::{School, Share, Standing};
use crate::hub::words::Tongue;
use std::fmt::Write;

/// A row a school.
pub(crate) mod region;

/// One school.
pub(crate) mod school;

/// Where people sign in.
pub(crate) mod sign_in;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:1.5rem auto;max-width:82rem;padding:0 1rem;color:#1a1a1a;background:#fff}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.4rem .6rem;border-bottom:1px solid #ccc;vertical-align:top}\
th{font-weight:600}nav a{margin-right:1rem;display:inline-block;min-height:24px}.box{overflow-x:auto}\
.mark{display:inline-block;padding:.1rem .5rem;border:1px solid #555;border-radius:.3rem;color:#1a1a1a}\
.dropped_off,.at_risk,.silent_week,.silent,.line_down{background:#fbdcd6}.late,.never_reported{background:#fdf1c8}.live{background:#dcefdc}\
.unknown{background:#eee}.old{color:#595959}dl{display:grid;grid-template-columns:max-content auto;gap:.2rem 1rem}dt{font-weight:600}dd{margin:0}\
.event{border-left:.4rem solid #b3261e;padding:.3rem .8rem;margin:.6rem 0}input,button{font:inherit;padding:.2rem .5rem;min-height:24px}\
.lines label,.lines button{display:block;margin:.8rem 0}.out{float:right}\
.chart{width:100%;max-width:60rem;height:auto;font:11px system-ui,sans-serif}.chart text{fill:currentColor}.grid{stroke:#bbb;stroke-width:.5;fill:none}\
.strip{vertical-align:middle}.up{fill:#2e7d32}.part{fill:#b28704}.down{fill:#b3261e}.off{fill:#555}.quiet{fill:#9aa5b1}.none{fill:#999}\
.gap{opacity:.25}.line{stroke:#1558b0;stroke-width:2;fill:none}.contract{stroke:#b3261e;stroke-dasharray:6 4;fill:none}\
.point{fill:#1558b0}.busy{fill:#fff;stroke:#1558b0}\
@media (prefers-color-scheme:dark){body{color:#eee;background:#161616}a{color:#9cf}.old{color:#aaa}.line{stroke:#8ab4f8}.point{fill:#8ab4f8}\
.busy{fill:#161616;stroke:#8ab4f8}.up{fill:#66bb6a}.down,.event{border-color:#f28b82;fill:#f28b82}.off{fill:#aaa}}";

/// What both pages show of a school.
struct Row {
    link: String,
    name: String,
    provider: String,
    class: &'static str,
    standing: &'static str,
    heard: String,
    stale: bool,
    twin: bool,
    line: &'static str,
    speed: String,
    contract: String,
    wait: String,
    ways: Vec<String>,
    store: String,
}

fn row(tongue: Tongue, school: &School) -> Row {
    let glance = school.glance.as_ref();
    let dash = || String::from("–");
    Row {
        link: format!("/schools/{}", percent(&school.id)),
        name: school.name.clone(),
        provider: school.provider.clone(),
        class: school.standing.word(),
        standing: tongue.say(school.standing.word()),
        heard: school.heard_seconds_ago.map_or_else(dash, |seconds| tongue.span(seconds)),
        stale: !matches!(school.standing, Standing::Live | Standing::LineDown),
        twin: school.twin,
        line: glance.map_or("–", |glance| state(tongue, &glance.state)),
        speed: rate(tongue, glance.and_then(|glance| glance.download_bps)),
        contract: school.contract_bps.map(|contract| tongue.rate(contract)).unwrap_or_default(),
        wait: wait(tongue, glance.and_then(|glance| glance.rtt_ms)),
        ways: school.by_way.iter().map(|(way, share)| way_text(tongue, way, *share)).collect(),
        store: glance.map_or_else(dash, |glance| format!("{} / {}", tongue.bytes(glance.disk_bytes), tongue.bytes(glance.quota_bytes))),
    }
}

fn state(tongue: Tongue, word: &str) -> &'static str {
    match word {
        "up" => tongue.say("up"),
        "slow" => tongue.say("slow"),
        "down" => tongue.say("line_down"),
        _ => tongue.say("unknown"),
    }
}

fn way_text(tongue: Tongue, way: &str, share: Share) -> String {
    let name = match way {
        "mirror" => tongue.say("mirror"),
        "intercept" => tongue.say("intercept"),
        _ => tongue.say("http"),
    };
    let bytes = |bytes: u64| tongue.bytes(i64::try_from(bytes).unwrap_or(i64::MAX));
    format!("{name}: {} / {}", bytes(share.cached_bytes), bytes(share.client_bytes))
}

fn rate(tongue: Tongue, rate: Option<i64>) -> String {
    rate.map_or_else(|| "–".into(), |rate| tongue.rate(rate))
}

fn wait(tongue: Tongue, rtt: Option<f64>) -> String {
    rtt.map_or_else(|| "–".into(), |rtt| format!("{} {}", tongue.number(rtt, 0), tongue.say("ms")))
}

/// A moment of a record as the region's people read it.
fn clock(calendar: &Calendar, text: &str) -> String {
    let stamp = text.parse::<jiff::Timestamp>();
    stamp.map_or_else(|_| String::from("–"), |stamp| calendar.clock(Time::from_micros(stamp.as_microsecond())))
}

/// A text as one path segment or one value of a query (RFC 3986 section 3.3).
pub(crate) fn percent(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::figures::Test;
    use std::collections::{BTreeMap, HashMap};

    #[test]
    fn names_are_escaped_in_text_and_in_links() {
        let evil = "<script>alert(1)</script>\"><img src=x>";
        let school = School {
            id: "мектеп 7/\"><script>".into(),
            name: evil.into(),
            provider: evil.into(),
            contract_bps: Some(1),
            standing: Standing::NeverReported,
            heard: None,
            heard_seconds_ago: None,
            records: 0,
            nodes: vec![evil.into()],
            former: vec![],
            shown: None,
            twin: true,
            by_way: BTreeMap::new(),
            glance: None,
            last: None,
        };
        let event = crate::hub::summary::Event { provider: evil.into(), away: 3, of: 3, schools: vec![evil.into()] };
        let test = Test { outcome: Some(evil.into()), ..Test::default() };
        let calendar = Calendar::default();
        for tongue in [Tongue::Kk, Tongue::Ru, Tongue::En] {
            let region = region::Region {
                schools: std::slice::from_ref(&school),
                counts: &BTreeMap::from([(Standing::NeverReported, 1)]),
                events: std::slice::from_ref(&event),
                strips: &HashMap::new(),
                found: 1,
                asked: &region::Asked { state: None, text: evil.into(), page: 0 },
                now: Time::from_secs(0),
                astray: false,
                signed: Some(evil),
            };
            let told = school::Told {
                days: &[],
                tests: std::slice::from_ref(&test),
                outages: &[],
                records: &[],
                span: (0, 30),
                signed: Some(evil),
            };
            let pages = [region::render(tongue, &calendar, &region), school::render(tongue, &calendar, &school, &told)];
            for text in pages.map(|page| page.expect("renders")) {
                assert!(!text.contains("<script") && !text.contains("<img"), "{text}");
                assert!(text.contains("%D0%BC") && text.contains("%22%3E%3Cscript%3E"), "{text}");
                assert!(
                    text.contains(tongue.say("never_reported"))
                        && (text.contains(tongue.say("search")) || text.contains(tongue.say("twin")))
                );
            }
        }
    }

    #[test]
    fn moments_are_those_of_the_region() {
        let almaty = Calendar::of("Asia/Almaty").expect("known");
        assert_eq!(clock(&almaty, "2026-11-24T05:00:00.000000Z"), "24.11.2026 10:00");
        assert_eq!(clock(&almaty, "unknown"), "–");
    }
}
