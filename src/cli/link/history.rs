//! Days and months of the line, a line of text each: every second of them is told. They are UTC days.

use crate::base::unit::Bytes;
use crate::cli::link::{rate, span};
use serde_json::Value;
use std::fmt::Write;

/// Kinds of seconds in the order in which they are told.
const SECONDS: [(&str, &str); 6] = [
    ("up", "up_seconds"),
    ("slow", "slow_seconds"),
    ("down", "down_seconds"),
    ("nothing tried", "no_data_seconds"),
    ("box off", "off_seconds"),
    ("clock wrong", "clock_seconds"),
];

/// The windows as text, the newest last.
pub(super) fn page(told: &Value, months: bool) -> String {
    let windows = told["windows"].as_array().map(Vec::as_slice).unwrap_or_default();
    if windows.is_empty() {
        return String::from("nothing yet: a day is told when it is over (UTC)");
    }
    let mut page = String::new();
    for window in windows {
        let start = window["start"].as_str().unwrap_or("–");
        let name = if months { start.get(..7) } else { start.get(..10) }.unwrap_or(start);
        let seconds = SECONDS.iter().filter_map(|(name, key)| {
            let count = window[*key].as_u64().filter(|count| *count > 0)?;
            Some(format!("{name} {}", span(count)))
        });
        let seconds: Vec<String> = seconds.collect();
        let received = Bytes(window["rx_bytes"].as_u64().unwrap_or(0)).human();
        let trip = window["rtt_median_ms"].as_f64().map_or_else(String::new, |millis| format!(", {millis:.0} ms"));
        // Writing to a String cannot fail.
        let _ = writeln!(page, "{name:<12}{}; {received}, {}{trip}", seconds.join(", "), rate(window["download_p95_bps"].as_u64()));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn days_and_months_explain_their_gaps() {
        let window = json!({"start": "2026-11-24T00:00:00.000000Z", "up_seconds": 36_000, "down_seconds": 600, "off_seconds": 49_800,
                            "rx_bytes": 5_000_000_000_u64, "download_p95_bps": 8_000_000, "rtt_median_ms": 41.2});
        let told = json!({ "windows": [window] });
        assert_eq!(page(&told, false), "2026-11-24  up 10.0 h, down 10 min, box off 13.8 h; 5.0 GB, 8.0 Mbit/s, 41 ms\n");
        assert!(page(&told, true).starts_with("2026-11     up 10.0 h"));
        assert!(page(&Value::Null, false).contains("nothing yet"));
    }
}
