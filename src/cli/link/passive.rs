//! What real traffic and pings show, for `bulak link show`: each figure with what it rests on.

use crate::cli::link::rate;
use serde_json::Value;
use std::fmt::Write;

/// The figures as lines of text. The last 24 hours; what was not seen is left out.
pub(super) fn page(told: &Value) -> String {
    let mut page = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(page, "{name:<20}{value}");
    };
    let day = &told["recent"]["day"];
    let figures = [
        ("names", "name_median_ms", "names", "lookups"),
        ("TLS", "tls_median_ms", "handshakes", "handshakes"),
        ("on a full line", "loaded_rtt_median_ms", "loaded_connects", "connections"),
        ("in use", "round_trip_median_ms", "round_trips", "looks at open connections"),
    ];
    for (name, figure, count, what) in figures {
        if let Some(millis) = day[figure].as_f64() {
            line(name, format!("{millis:.0} ms (median of {} {what})", day[count].as_u64().unwrap_or(0)));
        }
    }
    // What came behind a gap was lost or overtaken on the way in; only data of ours is ever sent again.
    for (name, figure, count, what) in [
        ("sent again", "retransmitted_ratio", "sent_segments", "segments sent"),
        ("behind a gap", "disordered_ratio", "received_segments", "segments received"),
    ] {
        if let Some(share) = day[figure].as_f64() {
            line(name, format!("{:.2} % (of {} {what})", share * 100.0, day[count].as_u64().unwrap_or(0)));
        }
    }
    for (reach, name) in [("domestic", "in the country"), ("foreign", "abroad"), ("unknown", "elsewhere")] {
        let connects = &day["reach"][reach];
        if let Some(bits) = connects["download_p95_bps"].as_u64() {
            line("download seen", format!("{} {name}", rate(Some(bits))));
        }
        let Some(attempts) = connects["attempts"].as_u64().filter(|attempts| *attempts > 0) else { continue };
        let millis = connects["rtt_median_ms"].as_f64().map_or_else(|| "–".to_owned(), |millis| format!("{millis:.0} ms"));
        line(name, format!("{millis} ({attempts} connections, {} failed)", connects["failures"].as_u64().unwrap_or(0)));
    }
    if let Some(bits) = day["upload_p95_bps"].as_u64() {
        line("upload seen", rate(Some(bits)));
    }
    let pings = &told["pings"];
    if let Some(sent) = pings["sent"].as_u64().filter(|sent| *sent > 0) {
        let received = pings["received"].as_u64().unwrap_or(0);
        let newest = &pings["pings"][0]["ping"];
        let figure = |name: &str, word: &str| newest[name].as_f64().map_or_else(String::new, |millis| format!(", {word} {millis:.0} ms"));
        let (trip, jitter) = (figure("rtt_median_ms", "round trip"), figure("jitter_ms", "jitter"));
        line("pings", format!("{} of {sent} lost{trip}{jitter}", sent.saturating_sub(received)));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_figure_says_what_it_rests_on() {
        let told = json!({
            "recent": {"day": {"names": 40, "name_median_ms": 12.4, "handshakes": 9, "tls_median_ms": 81.0, "loaded_connects": 0, "upload_p95_bps": 900_000,
                "sent_segments": 4_000, "retransmitted_ratio": 0.0025, "received_segments": 90_000, "disordered_ratio": 0.031, "round_trips": 70,
                "round_trip_median_ms": 44.0,
                "reach": {"domestic": {"attempts": 30, "failures": 1, "rtt_median_ms": 23.0, "download_p95_bps": 8_200_000}, "foreign": {"attempts": 2, "failures": 2}}}},
            "pings": {"sent": 960, "received": 951, "pings": [{"ping": {"rtt_median_ms": 41.0, "jitter_ms": 2.2}}]},
        });
        let page = page(&told);
        for wanted in [
            "names               12 ms (median of 40 lookups)",
            "TLS                 81 ms (median of 9 handshakes)",
            "in the country      23 ms (30 connections, 1 failed)",
            "abroad              – (2 connections, 2 failed)",
            "pings               9 of 960 lost, round trip 41 ms, jitter 2 ms",
            "upload seen         900.0 kbit/s",
            "download seen       8.2 Mbit/s in the country",
            "sent again          0.25 % (of 4000 segments sent)",
            "behind a gap        3.10 % (of 90000 segments received)",
            "in use              44 ms (median of 70 looks at open connections)",
        ] {
            assert!(page.contains(wanted), "{wanted} in\n{page}");
        }
        assert!(!page.contains("full line") && !page.contains("elsewhere"), "{page}");
        assert_eq!(super::page(&Value::Null), "");
    }
}
