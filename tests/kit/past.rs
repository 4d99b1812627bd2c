//! A node with a past: speed tests and hours of the line in its database, as it would have kept them itself.

use bulak::base::clock::{Clock, Time};
use bulak::link::rollup::{Level, Rollup};
use bulak::meter::Kept;
use bulak::state::State;
use bulak::state::history::Ran;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// A past of so many days, up to now: a test at every eighth hour, hours with a break of ten minutes a day, and a night without power.
///
/// The folder is that of the node: its state lies below.
pub(crate) fn give(folder: &Path, days: u64) {
    let state = folder.join("state");
    std::fs::create_dir_all(&state).expect("a folder");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let state = State::open(Some(&state.join("node.sqlite"))).await.expect("opens");
        let running = Level::Hour.window(Clock::system().now());
        let begin = running.minus(Duration::from_hours(24 * days));
        for number in 0..24 * days {
            let start = begin.plus(Duration::from_hours(number));
            state.history().put(Level::Hour.word(), start, &hour(number, start)).await.expect("keeps");
            if number % 8 == 3 {
                let kept = kept(number, start.plus(Duration::from_secs(700)));
                state.measure().keep(kept.start, &Kept { raw: Value::Null, ..kept.clone() }, &kept.raw.to_string()).await.expect("keeps");
            }
        }
        state.history().ran("before", Ran { start: begin, seen: running, clock_ok: true }).await.expect("keeps");
        state.close().await;
    });
}

fn hour(number: u64, start: Time) -> Rollup {
    let (off, down) = match number % 24 {
        2..6 if number < 24 => (3_600, 0),
        9 => (0, 600),
        _ => (0, 0),
    };
    let end = start.plus(Duration::from_hours(1));
    let (attempts, rx_bytes) = (40, 90_000_000);
    let rollup = Rollup { start, end, up_seconds: 3_600 - off - down, down_seconds: down, off_seconds: off, ..Rollup::default() };
    Rollup { attempts, rx_bytes, rtt_median_ms: Some(45.5), download_p95_bps: Some(6_000_000), ..rollup }
}

/// A test as the meter keeps it, with the messages of its server.
pub(crate) fn kept(number: u64, start: Time) -> Kept {
    let rate = 7_000_000 + 100_000 * (number % 9);
    let way = |rate: u64| {
        json!({
            "ndt7_bps": rate - 300_000, "estimate_bps": rate, "low_bps": rate - 100_000, "high_bps": rate + 100_000, "method": "ndt7",
            "congestion": "bbr", "streams": 1, "early": true, "took_ms": 4_200.5, "moved_bytes": rate / 8 * 4, "rtt_min_ms": 41.4,
            "rtt_loaded_ms": 170.25,
        })
    };
    let server = |test: &str, rate: u64| {
        let count = rate / 8 * 4;
        json!({
            "ConnectionInfo": { "Client": "", "Server": "", "UUID": format!("uuid-{test}-{number}"), "StartTime": start.to_rfc3339() },
            "Origin": "server", "Test": test, "AppInfo": { "ElapsedTime": 4_200_500, "NumBytes": count },
            "BBRInfo": { "BW": rate / 8, "MinRTT": 41_400, "ElapsedTime": 4_200_500 },
            "TCPInfo": { "BytesAcked": count, "BytesReceived": count, "MinRTT": 41_400, "RTT": 90_000, "ElapsedTime": 4_200_500 },
        })
    };
    let client = |test: &str, rate: u64| json!({ "Origin": "client", "Test": test, "AppInfo": { "ElapsedTime": 4_200_500, "NumBytes": rate / 8 * 4 } });
    let document = json!({
        "number": 0, "start": start.to_rfc3339(), "finish": start.plus(Duration::from_secs(9)).to_rfc3339(), "clock_ok": true,
        "server": "wss://speed.example.kz",
        "test": {
            "id": format!("{number:08x}-0000-4000-8000-000000000000"), "trigger": "daily", "end": "ok", "trouble": "none", "reach": "domestic", "busy": false,
            "cross_rx_bytes": 12_000, "cross_tx_bytes": 800, "cost_bytes": 5_000_000, "left_today_bytes": 30_000_000,
            "download": way(rate), "upload": way(2_000_000),
        },
        "raw": {
            "download": { "server": server("download", rate), "client": client("download", rate) },
            "upload": { "server": server("upload", 2_000_000), "client": client("upload", 2_000_000) },
        },
    });
    serde_json::from_value(document).expect("as the meter keeps it")
}
