//! A record -> what of it goes into columns. Pure.
//!
//! It runs after the schema's check, so every field is what the list says; whole numbers are cut to `MOST`, times to what a school's
//! box can have seen. What the hub does not know (a kind of a newer program) is kept as it was signed and has no facts.

use crate::base::clock::Time;
use crate::hub::figures::{Figures, Glance, Hour, MOST, Outage, Ping, Test};
use crate::report::schema::WAYS;
use serde_json::Value;
use std::time::Duration;

/// Outcomes whose bytes did not cross the line.
const FROM_CACHE: &[&str] = &["hit", "stale", "offline", "revalidated"];

/// How far back a record may tell: hours are kept so long, and a box that was off longer has been replaced.
pub const OLDEST: Duration = Duration::from_hours(400 * 24);

/// How far ahead of the hub's a clock may be: what is later is dated wrongly.
pub const AHEAD: Duration = Duration::from_hours(24);

/// The longest time that one record tells of in days: a box that was off over the summer. What lies before is left untold.
pub const LONGEST: Duration = Duration::from_hours(100 * 24);

/// What of a record goes into columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Facts {
    /// Nothing.
    #[default]
    None,
    /// An hour.
    Hour(Box<Hour>, Box<Glance>),
    /// A speed test.
    Test(Box<Test>),
    /// A burst of pings.
    Ping(Box<Ping>),
    /// Something that happened.
    Event(Box<Outage>),
}

/// Whose record it is and when it was.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Node id.
    pub node: &'a str,
    /// Its school.
    pub school: &'a str,
    /// With `seq`: the record's name.
    pub epoch: i64,
    /// See `epoch`.
    pub seq: i64,
    /// From.
    pub start: Time,
    /// Until.
    pub end: Time,
    /// Whether the node believed its clock.
    pub clock_ok: bool,
}

/// Reads a record that the schema has passed.
pub fn read(frame: Frame<'_>, kind: &str, record: &Value) -> Facts {
    let payload = &record["payload"];
    match kind {
        "hour" => Facts::Hour(Box::new(hour(frame, payload)), Box::new(glance(frame, payload))),
        "speedtest" => Facts::Test(Box::new(test(frame, &payload["test"]))),
        "ping" => Facts::Ping(Box::new(ping(frame, &payload["ping"]))),
        "event" => Facts::Event(Box::new(event(frame, &payload["event"]))),
        _ => Facts::None,
    }
}

/// When the hub takes something: by its own clock, and as far as schools had told until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// By the clock.
    pub now: Time,
    /// The end of what schools have told, not after `now`: from here one looks back, so that a clock that is years ahead makes nothing old.
    pub told: Time,
}

impl From<Time> for Moment {
    /// A moment of which nobody has told anything else.
    fn from(now: Time) -> Moment {
        Moment { now, told: now }
    }
}

/// Whether the times of a record may be believed enough to stand in a day.
pub fn plausible(clock_ok: bool, end: Time, at: Moment) -> bool {
    clock_ok && end >= at.told.minus(OLDEST) && end <= at.now.plus(AHEAD)
}

fn whole(value: &Value) -> Option<i64> {
    value.as_u64().map(|number| i64::try_from(number.min(MOST)).unwrap_or(i64::MAX))
}

fn count(value: &Value) -> i64 {
    whole(value).unwrap_or_default()
}

fn word(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn hour(frame: Frame<'_>, payload: &Value) -> Hour {
    let line = &payload["line"];
    let started = frame.start.max(frame.end.minus(LONGEST));
    let room = i64::try_from(frame.end.since(started).as_secs()).unwrap_or(i64::MAX);
    let mut left = room;
    // No more seconds than the record has, whatever it says.
    let mut seconds = |name: &str| {
        let taken = count(&line[name]).min(left);
        left -= taken;
        taken
    };
    let number = |name: &str| line[name].as_f64();
    let reach = |reach: &str, name: &str| &line["reach"][reach][name];
    let cached = |way: &str| share(&payload["cache"]["by_way"][way]);
    let ((http_cached, http_all, _), (mirror_cached, mirror_all, _), (intercept_cached, intercept_all, _)) =
        (cached("http"), cached("mirror"), cached("intercept"));
    let figures = Figures {
        up_seconds: seconds("up_seconds"),
        slow_seconds: seconds("slow_seconds"),
        down_seconds: seconds("down_seconds"),
        no_data_seconds: seconds("no_data_seconds"),
        off_seconds: seconds("off_seconds"),
        clock_seconds: seconds("clock_seconds"),
        rx_bytes: count(&line["rx_bytes"]),
        tx_bytes: count(&line["tx_bytes"]),
        background_rx_bytes: count(&line["background_rx_bytes"]),
        upstream_bytes: count(&payload["cache"]["upstream_bytes"]),
        http_cached_bytes: http_cached,
        http_client_bytes: http_all,
        mirror_cached_bytes: mirror_cached,
        mirror_client_bytes: mirror_all,
        intercept_cached_bytes: intercept_cached,
        intercept_client_bytes: intercept_all,
        attempts: count(&line["attempts"]),
        failures: count(&line["failures"]),
        rtt_min_ms: number("rtt_min_ms"),
        rtt_median_ms: number("rtt_median_ms"),
        rtt_p95_ms: number("rtt_p95_ms"),
        loaded_rtt_median_ms: number("loaded_rtt_median_ms"),
        first_byte_median_ms: number("first_byte_median_ms"),
        name_median_ms: number("name_median_ms"),
        tls_median_ms: number("tls_median_ms"),
        retransmitted_ratio: number("retransmitted_ratio"),
        download_p95_bps: whole(&line["download_p95_bps"]),
        upload_p95_bps: whole(&line["upload_p95_bps"]),
        domestic_rtt_ms: reach("domestic", "rtt_median_ms").as_f64(),
        domestic_bps: whole(reach("domestic", "download_p95_bps")),
        foreign_rtt_ms: reach("foreign", "rtt_median_ms").as_f64(),
        foreign_bps: whole(reach("foreign", "download_p95_bps")),
    };
    Hour { node: frame.node.to_owned(), started: started.micros(), ended: frame.end.micros(), school: frame.school.to_owned(), figures }
}

/// Bytes from the cache, bytes in all, requests.
fn share(outcomes: &Value) -> (i64, i64, i64) {
    let most = i64::try_from(MOST).unwrap_or(i64::MAX);
    outcomes.as_object().into_iter().flatten().fold((0, 0, 0), |(cached, all, requests), (outcome, used)| {
        let bytes = count(&used["bytes"]);
        let from_cache = if FROM_CACHE.contains(&outcome.as_str()) { bytes } else { 0 };
        let sum = |a: i64, b: i64| a.saturating_add(b).min(most);
        (sum(cached, from_cache), sum(all, bytes), sum(requests, count(&used["requests"])))
    })
}

/// What a page shows of a node's newest hour.
pub fn glance(frame: Frame<'_>, payload: &Value) -> Glance {
    let by_way = &payload["total"]["by_way"];
    let ways = WAYS.iter().filter(|way| by_way[**way].is_object()).map(|way| {
        let (cached, all, requests) = share(&by_way[*way]);
        (String::from(*way), cached, all, requests)
    });
    Glance {
        ended: frame.end.micros(),
        clock_ok: frame.clock_ok,
        state: word(&payload["line"]["state"]).unwrap_or_default(),
        download_bps: whole(&payload["line"]["download_p95_bps"]),
        rtt_ms: payload["line"]["rtt_median_ms"].as_f64(),
        disk_bytes: count(&payload["store"]["disk_bytes"]),
        quota_bytes: count(&payload["store"]["quota_bytes"]),
        waiting: count(&payload["health"]["outbox_records"]),
        version: word(&payload["health"]["version"]).unwrap_or_default(),
        ways: ways.collect(),
    }
}

fn test(frame: Frame<'_>, told: &Value) -> Test {
    let (down, up) = (&told["download"], &told["upload"]);
    Test {
        node: frame.node.to_owned(),
        epoch: frame.epoch,
        seq: frame.seq,
        school: frame.school.to_owned(),
        started: frame.start.micros(),
        ended: frame.end.micros(),
        clock_ok: frame.clock_ok,
        id: word(&told["id"]),
        cause: word(&told["trigger"]),
        outcome: word(&told["end"]),
        trouble: word(&told["trouble"]),
        reach: word(&told["reach"]),
        busy: told["busy"].as_bool().unwrap_or_default(),
        cross_rx_bytes: whole(&told["cross_rx_bytes"]),
        cross_tx_bytes: whole(&told["cross_tx_bytes"]),
        cost_bytes: whole(&told["cost_bytes"]),
        download_ndt7_bps: whole(&down["ndt7_bps"]),
        download_bps: whole(&down["estimate_bps"]),
        download_low_bps: whole(&down["low_bps"]),
        download_high_bps: whole(&down["high_bps"]),
        download_method: word(&down["method"]),
        download_streams: whole(&down["streams"]),
        download_early: down["early"].as_bool(),
        download_took_ms: down["took_ms"].as_f64(),
        download_moved_bytes: whole(&down["moved_bytes"]),
        download_rtt_min_ms: down["rtt_min_ms"].as_f64(),
        download_rtt_loaded_ms: down["rtt_loaded_ms"].as_f64(),
        download_retransmitted_ratio: down["retransmitted_ratio"].as_f64(),
        upload_ndt7_bps: whole(&up["ndt7_bps"]),
        upload_bps: whole(&up["estimate_bps"]),
        upload_low_bps: whole(&up["low_bps"]),
        upload_high_bps: whole(&up["high_bps"]),
        upload_method: word(&up["method"]),
        upload_streams: whole(&up["streams"]),
        upload_early: up["early"].as_bool(),
        upload_took_ms: up["took_ms"].as_f64(),
        upload_moved_bytes: whole(&up["moved_bytes"]),
        upload_rtt_min_ms: up["rtt_min_ms"].as_f64(),
        upload_rtt_loaded_ms: up["rtt_loaded_ms"].as_f64(),
        upload_retransmitted_ratio: up["retransmitted_ratio"].as_f64(),
    }
}

fn ping(frame: Frame<'_>, told: &Value) -> Ping {
    Ping {
        node: frame.node.to_owned(),
        started: frame.start.max(frame.end.minus(LONGEST)).micros(),
        school: frame.school.to_owned(),
        reach: word(&told["reach"]).unwrap_or_else(|| "unknown".into()),
        sent: count(&told["sent"]),
        received: count(&told["received"]).min(count(&told["sent"])),
        late: count(&told["late"]),
        doubled: count(&told["doubled"]),
        rtt_min_ms: told["rtt_min_ms"].as_f64(),
        rtt_median_ms: told["rtt_median_ms"].as_f64(),
        rtt_p95_ms: told["rtt_p95_ms"].as_f64(),
        jitter_ms: told["jitter_ms"].as_f64(),
    }
}

fn event(frame: Frame<'_>, told: &Value) -> Outage {
    Outage {
        node: frame.node.to_owned(),
        what: word(&told["what"]).unwrap_or_default(),
        started: frame.start.micros(),
        ended: frame.end.micros(),
        school: frame.school.to_owned(),
        seconds: count(&told["seconds"]),
        open: told["open"].as_bool().unwrap_or_default(),
        clock_ok: frame.clock_ok,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: Time = Time::from_secs(1_795_500_000);

    fn frame() -> Frame<'static> {
        Frame { node: "n", school: "s", epoch: 1, seq: 2, start: NOW.minus(Duration::from_hours(1)), end: NOW, clock_ok: true }
    }

    #[test]
    fn an_hour_is_read_into_columns_and_a_glance() {
        let record = json!({"payload": {
            "line": {"state": "up", "up_seconds": 3000, "down_seconds": 900, "off_seconds": 5, "rx_bytes": u64::MAX, "download_p95_bps": 7,
                     "reach": {"foreign": {"rtt_median_ms": 90.5}}},
            "cache": {"by_way": {"http": {"hit": {"requests": 1, "bytes": 30}, "miss": {"requests": 1, "bytes": 10}}}, "upstream_bytes": 10},
            "total": {"by_way": {"mirror": {"offline": {"requests": 4, "bytes": u64::MAX}, "stale": {"requests": 1, "bytes": 5}}}},
            "store": {"disk_bytes": 8, "quota_bytes": 9}, "health": {"version": "0.1.0", "outbox_records": 3},
        }});
        let Facts::Hour(hour, glance) = read(frame(), "hour", &record) else { panic!("an hour") };
        let figures = &hour.figures;
        assert_eq!((figures.up_seconds, figures.down_seconds, figures.off_seconds), (3_000, 600, 0), "an hour has 3,600 seconds");
        assert_eq!((figures.rx_bytes, figures.http_cached_bytes, figures.http_client_bytes), (1 << 53, 30, 40));
        assert_eq!((figures.foreign_rtt_ms, figures.domestic_bps, figures.download_p95_bps), (Some(90.5), None, Some(7)));
        assert_eq!(glance.ways, [("mirror".to_owned(), 1 << 53, 1 << 53, 5)]);
        assert_eq!((glance.state.as_str(), glance.waiting, glance.version.as_str()), ("up", 3, "0.1.0"));
    }

    #[test]
    fn tests_pings_and_events_are_read_and_others_are_not() {
        let record = json!({"payload": {"test": {"id": "00ab", "trigger": "daily", "end": "ok", "busy": true, "cost_bytes": 9,
            "download": {"estimate_bps": 8_000_000, "early": true, "rtt_min_ms": 41.0}}}});
        let Facts::Test(test) = read(frame(), "speedtest", &record) else { panic!("a test") };
        assert_eq!((test.download_bps, test.upload_bps, test.download_early, test.busy), (Some(8_000_000), None, Some(true), true));
        assert_eq!((test.cause.as_deref(), test.outcome.as_deref(), test.cost_bytes), (Some("daily"), Some("ok"), Some(9)));
        let record = json!({"payload": {"ping": {"sent": 20, "received": 25, "rtt_median_ms": 40.0}}});
        let Facts::Ping(ping) = read(frame(), "ping", &record) else { panic!("a ping") };
        assert_eq!((ping.sent, ping.received, ping.reach.as_str()), (20, 20, "unknown"));
        let record = json!({"payload": {"event": {"what": "line_down", "seconds": 60, "open": true}}});
        let Facts::Event(event) = read(frame(), "event", &record) else { panic!("an event") };
        assert_eq!((event.what.as_str(), event.seconds, event.open), ("line_down", 60, true));
        assert_eq!(read(frame(), "poem", &record), Facts::None);
        assert_eq!(read(frame(), "hour", &json!({})).clone(), read(frame(), "hour", &json!({"payload": {}})), "empty is no error");
    }

    #[test]
    fn what_no_box_can_have_seen_is_not_dated() {
        let day = Duration::from_hours(24);
        let table = [
            (NOW, true, true),
            (NOW.plus(day), true, true),
            (NOW.plus(day * 2), true, false),
            (NOW.minus(day * 90), true, true),
            (NOW.minus(day * 401), true, false),
            (NOW, false, false),
        ];
        for (end, clock_ok, wanted) in table {
            assert_eq!(plausible(clock_ok, end, NOW.into()), wanted, "{end:?} {clock_ok}");
        }
        let ahead = Moment { now: NOW.plus(day * 2_000), told: NOW };
        assert!(plausible(true, NOW, ahead), "a clock that is years ahead makes nothing old");
        let Facts::Hour(hour, _) = read(Frame { start: NOW.minus(day * 300), ..frame() }, "hour", &json!({})) else { panic!("an hour") };
        assert_eq!(hour.started, NOW.minus(LONGEST).micros());
        // A box that was off over a long summer and has run for two hours since.
        let (whole, ran) = (day.as_secs() * 110, 7_200);
        let record = json!({"payload": {"line": {"up_seconds": ran, "off_seconds": whole - ran}}});
        let Facts::Hour(hour, _) = read(Frame { start: NOW.minus(day * 110), ..frame() }, "hour", &record) else { panic!("an hour") };
        let all = u64::try_from(hour.figures.up_seconds + hour.figures.off_seconds).expect("natural");
        assert_eq!((hour.figures.up_seconds, all), (7_200, LONGEST.as_secs()), "no more seconds than the time that is told of");
    }
}
