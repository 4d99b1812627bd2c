//! The log of outages for `bulak link show`: what is amiss, the sums by cause, the newest entries.

use crate::cli::link::span;
use crate::cli::table::moment;
use jiff::tz::TimeZone;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Entries that are shown; `--json` has all.
const SHOWN: usize = 10;

/// Every cause in words, in the order in which they are told.
const WORDS: [(&str, &str); 6] = [
    ("line_down", "line down"),
    ("names_down", "no DNS server answers"),
    ("origin_down", "a host is silent"),
    ("box_off", "box off"),
    ("clock_wrong", "clock wrong"),
    ("interface_lost", "no interface"),
];

/// The log as lines of text.
pub(super) fn page(log: &Value, zone: &TimeZone) -> String {
    let mut page = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(page, "{name:<20}{value}");
    };
    let entries = |name: &str| log[name].as_array().map(Vec::as_slice).unwrap_or_default();
    let at = |value: &Value| value.as_str().map_or_else(|| "–".to_owned(), |stamp| moment(zone, stamp));
    for kept in entries("open") {
        line("now", format!("{} since {}", word(kept), at(&kept["start"])));
    }
    let mut sums: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for kept in entries("outages") {
        let sum = sums.entry(word(kept)).or_default();
        sum.0 += kept["joined"].as_u64().unwrap_or(0) + 1;
        sum.1 += kept["event"]["seconds"].as_u64().unwrap_or(0);
    }
    let told = WORDS.iter().filter_map(|(_, word)| Some((word, sums.get(word)?)));
    let told: Vec<String> = told.map(|(word, (count, seconds))| format!("{word} {count}× {}", span(*seconds))).collect();
    line("outages in 31 days", if told.is_empty() { "none".to_owned() } else { told.join(", ") });
    for kept in entries("outages").iter().take(SHOWN) {
        let joined = match kept["joined"].as_u64() {
            None | Some(0) => String::new(),
            Some(more) => format!(", {} in all until {}", more + 1, at(&kept["end"])),
        };
        let length = match kept["event"]["seconds"].as_u64().unwrap_or(0) {
            0 if kept["event"]["what"] == "clock_wrong" => "was set".to_owned(),
            seconds => span(seconds),
        };
        line(&format!("  {}", at(&kept["start"])), format!("{}, {length}{joined}", word(kept)));
    }
    page
}

fn word(kept: &Value) -> &'static str {
    let what = kept["event"]["what"].as_str().unwrap_or_default();
    WORDS.iter().find(|(name, _)| *name == what).map_or("unknown", |(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::outage::What;
    use serde_json::json;

    #[test]
    fn a_log_for_people() {
        assert_eq!(WORDS.map(|(name, _)| name), What::ALL.map(What::word));
        let kept = |what: &str, start: &str, seconds: u64, open: bool, joined: u64| {
            json!({"number": 1, "start": start, "end": "2026-11-24T05:30:00Z", "joined": joined,
                   "event": {"what": what, "seconds": seconds, "open": open}})
        };
        let open = kept("names_down", "2026-11-24T06:00:00.000000Z", 60, true, 0);
        let log = json!({"open": [open], "outages": [
            open, kept("line_down", "2026-11-24T05:00:00.000000Z", 300, false, 4), kept("clock_wrong", "2026-11-24T04:00:00.000000Z", 0, false, 0)
        ]});
        let page = page(&log, &TimeZone::UTC);
        for wanted in [
            "now                 no DNS server answers since 24.11.2026 06:00",
            "line down 5× 5 min, no DNS server answers 1× 60 s",
            "24.11.2026 05:00  line down, 5 min, 5 in all until 24.11.2026 05:30",
            "clock wrong, was set",
        ] {
            assert!(page.contains(wanted), "{wanted} in\n{page}");
        }
        assert!(super::page(&Value::Null, &TimeZone::UTC).contains("none"));
    }
}
