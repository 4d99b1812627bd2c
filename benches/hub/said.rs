//! What a node says of a day: 24 hours, a ping every quarter of an hour, three tests, one outage.

use bulak::base::clock::Time;
use bulak::report::schema;
use serde_json::{Value, json};

/// 2026-11-24T05:00:00Z, in the morning after the newest of these days.
pub(crate) const NOW: Time = Time::from_secs(1_795_496_400);

/// What a node says of a day: number, from, until, record.
pub(crate) fn records(node: &str, back: i64) -> Vec<(i64, Time, Time, Value)> {
    let begin = NOW.secs() - (back + 1) * 86_400;
    let mut all = Vec::new();
    let mut say = |from: i64, until: i64, kind: &str, payload: &Value| {
        let seq = (10_000 - back) * 1_000 + i64::try_from(all.len()).unwrap_or(0);
        let (start, end) = (Time::from_secs(begin + from), Time::from_secs(begin + until));
        let record = json!({
            "v": 1, "school": "aksukent-7", "node": node, "boot_id": "0b7c5c9e-1f0a-4d43-9d0a-6a2d3c9f1b77", "epoch": 5, "seq": seq, "kind": kind,
            "start": start.to_rfc3339(), "end": end.to_rfc3339(), "clock_ok": true, "payload": payload,
        });
        assert_eq!(schema::complaints(&record), Vec::<String>::new(), "no node sends this");
        all.push((seq, start, end, record));
    };
    for hour in 0..24 {
        say(hour * 3_600, (hour + 1) * 3_600, "hour", &hour_payload(hour));
        for quarter in 0..4 {
            let at = hour * 3_600 + quarter * 900 + 7;
            let wiggle = hour + quarter;
            let ping = json!({ "ping": { "reach": "domestic", "sent": 20, "received": 20 - quarter / 3, "late": 0, "doubled": 0,
                "rtt_min_ms": 40.125 + float(wiggle), "rtt_median_ms": 44.5, "rtt_p95_ms": 81.375, "jitter_ms": 3.25 } });
            say(at, at + 2, "ping", &ping);
        }
    }
    for slot in [9, 13, 17] {
        let way = |rate: i64| {
            json!({ "ndt7_bps": rate, "estimate_bps": rate + 200_000, "low_bps": rate - 300_000, "high_bps": rate + 500_000,
            "method": "streams", "congestion": "bbr", "streams": 4, "early": true, "took_ms": 4210.5, "moved_bytes": 4_100_000, "rtt_min_ms": 41.0,
            "rtt_loaded_ms": 90.0, "retransmitted_ratio": 0.0125 })
        };
        let test = json!({ "test": { "id": "0b7c5c9e1f0a4d43", "trigger": "daily", "end": "ok", "trouble": "none", "reach": "domestic", "busy": false,
            "cross_rx_bytes": 120_000, "cross_tx_bytes": 9_000, "cost_bytes": 8_200_000, "left_today_bytes": 30_000_000,
            "download": way(7_800_000 + slot), "upload": way(1_900_000 + slot) } });
        say(slot * 3_600 + 1_234, slot * 3_600 + 1_244, "speedtest", &test);
    }
    say(50_000, 50_300, "event", &json!({ "event": { "what": "line_down", "seconds": 300, "open": false } }));
    all
}

fn hour_payload(hour: i64) -> Value {
    let used = |bytes: i64| json!({ "requests": 300 + hour, "bytes": bytes });
    let way = json!({ "hit": used(31_000_000), "revalidated": used(900_000), "miss": used(12_000_000 + hour), "bypass": used(400_000) });
    let cache = json!({ "by_way": { "http": way, "mirror": way, "intercept": way }, "collapsed": 12, "upstream_bytes": 13_000_000 + hour });
    json!({
        "line": { "state": "up", "up_seconds": 3_300, "slow_seconds": 120, "down_seconds": 60, "no_data_seconds": 120, "off_seconds": 0, "clock_seconds": 0,
            "rx_bytes": 512_000_000 + hour, "tx_bytes": 31_000_000, "background_rx_bytes": 1_200_000, "rtt_min_ms": 39.5, "rtt_median_ms": 52.25,
            "rtt_p95_ms": 120.5, "first_byte_median_ms": 210.0, "download_p95_bps": 7_600_000 + hour, "attempts": 1_200,
            "failures": 3 },
        "cache": cache, "total": cache,
        "store": { "objects": 120_000, "entries": 150_000, "pinned_entries": 30_000, "object_bytes": 41_000_000_000_i64, "disk_bytes": 18_000_000_000_i64,
            "quota_bytes": 20_000_000_000_i64, "spared_dedup_bytes": 2_000_000_000, "spared_zstd_bytes": 9_000_000_000_i64, "damaged": 0, "admitting": true,
            "writable": true, "index": "ready" },
        "night": { "done": 12_000, "failed": 20, "waiting": 100, "bytes": 4_000_000_000_i64, "brought_bytes": 40_000_000_000_i64, "used_bytes": 31_000_000_000_i64 },
        "health": { "version": "0.1.0", "uptime_seconds": 86_400 * 9 + hour, "outbox_records": 0, "outbox_dropped": 0, "outbox_parked": 0 },
    })
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn float(value: i64) -> f64 {
    value as f64
}
