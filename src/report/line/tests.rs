//! A year of the line as it lies on the card.

use super::*;
use crate::link::passive::{ByReach, Connects, Passive};
use crate::state::State;
use crate::state::outage::Row as Outage;
use crate::state::ping::Row as Ping;

/// 2026-09-01T00:00:00Z: a school year begins.
const START: Time = Time::from_secs(1_788_220_800);

/// What a year may take.
const MOST: u64 = 50_000_000;

/// Numbers with as many digits as real ones have, from a step to the next.
struct Figures(u64);

impl Figures {
    fn next(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }

    fn millis(&mut self) -> f64 {
        f64::from(u32::try_from(self.next(900_000)).expect("small")) / 1000.0
    }

    /// Five minutes of a line that is never quiet.
    fn slice(&mut self, start: Time) -> Slice {
        let connects = |of: &mut Figures| Connects {
            attempts: of.next(900),
            failures: of.next(90),
            rtt_median_ms: Some(of.millis()),
            rx_bytes: of.next(300_000_000),
            download_p95_bps: Some(of.next(20_000_000)),
        };
        let down = u32::try_from(self.next(60)).expect("small");
        Slice {
            start,
            end: start.plus(Duration::from_secs(300)),
            up_seconds: 300 - down,
            slow_seconds: 0,
            down_seconds: down,
            unknown_seconds: 0,
            rx_bytes: self.next(300_000_000),
            tx_bytes: self.next(30_000_000),
            background_rx_bytes: self.next(100_000_000),
            rtt_min_ms: Some(self.millis()),
            rtt_median_ms: Some(self.millis()),
            rtt_p95_ms: Some(self.millis()),
            first_byte_median_ms: Some(self.millis()),
            download_p95_bps: Some(self.next(20_000_000)),
            attempts: u32::try_from(self.next(2_000)).expect("small"),
            failures: u32::try_from(self.next(200)).expect("small"),
            passive: Passive {
                names: self.next(900),
                name_median_ms: Some(self.millis()),
                handshakes: self.next(900),
                tls_median_ms: Some(self.millis()),
                loaded_connects: self.next(900),
                loaded_rtt_median_ms: Some(self.millis()),
                upload_p95_bps: Some(self.next(5_000_000)),
                sent_segments: self.next(200_000),
                retransmitted_ratio: Some(self.millis() / 1000.0),
                received_segments: self.next(900_000),
                disordered_ratio: Some(self.millis() / 1000.0),
                round_trips: self.next(900),
                round_trip_median_ms: Some(self.millis()),
                reach: ByReach { domestic: connects(self), foreign: connects(self), unknown: connects(self) },
            },
        }
    }
}

#[tokio::test]
async fn a_year_of_a_line_that_is_never_quiet_takes_less_than_50_mb() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("state.sqlite");
    let state = State::open(Some(&file)).await.expect("opens");
    let history = state.history();
    let mut figures = Figures(7);
    let day = Duration::from_hours(24);
    for number in 0..365 {
        let start = START.plus(day * number);
        let slices: Vec<(Time, Packed)> = (0..288)
            .map(|step| start.plus(Duration::from_secs(300) * step))
            // Two hours a day without power.
            .filter(|start| (start.secs() / 3_600) % 24 > 1)
            .map(|start| (start, Packed(figures.slice(start))))
            .collect();
        history.put_all(Level::Five.word(), &slices).await.expect("writes");
        let ran = Ran { start: start.plus(Duration::from_hours(2)), seen: start.plus(day), clock_ok: true };
        history.ran(&format!("boot {number}"), ran).await.expect("writes");
    }
    // The node's own way: hours from slices, days from hours; as if it had slept through the year.
    let end = START.plus(day * 365);
    complete(&history, end).await.expect("rolls up");
    // A bad year beside it: 24 outages a day, a burst of pings each quarter of an hour. A month of these is written, and counted twelvefold.
    let before = written(&state, &file).await;
    for number in 0..30_u32 {
        for hour in 0..24_u32 {
            let start = START.plus(Duration::from_hours(u64::from(number * 24 + hour)));
            let row = Outage {
                number: 0,
                what: "interface_lost".into(),
                start,
                end: start.plus(day),
                seconds: 3_600,
                open: false,
                joined: 1_000,
            };
            state.outages().put(&row).await.expect("writes");
            for _ in 0..4 {
                let times = [Some(figures.millis()), Some(figures.millis()), Some(figures.millis()), Some(figures.millis())];
                let row = Ping {
                    number: 0,
                    start,
                    finish: start.plus(day),
                    clock_ok: true,
                    reach: "domestic".into(),
                    counts: [10, 9, 1, 0],
                    times,
                };
                state.pings().keep(&row).await.expect("writes");
            }
        }
    }
    let month = written(&state, &file).await - before;
    let year = before + month * 365 / 30;
    eprintln!("a year: {before} bytes of slices, hours and days, {} of outages and pings", year - before);
    assert!(year < MOST, "{year} bytes");
    assert!(before > 10_000_000, "{before} bytes are no year");

    // And it is all there, every second of it explained.
    let months = super::history(&history, By::Month, 100, end).await.expect("reads");
    assert_eq!(months.len(), 12);
    for month in &months {
        let seconds = month.end.since(month.start).as_secs();
        let told =
            month.up_seconds + month.slow_seconds + month.down_seconds + month.no_data_seconds + month.off_seconds + month.clock_seconds;
        // The first two hours of all were no box's.
        let before = if month.start == START.plus(Duration::from_hours(2)) { 7_200 } else { 0 };
        assert_eq!((told, month.off_seconds), (seconds, (seconds + before) / 12 - before), "two hours of 24 were without power");
        assert!(month.rx_bytes > 0 && month.passive.names > 0 && month.passive.reach.foreign.attempts > 0);
    }
    // Also in the middle of a window.
    let later = end.plus(Duration::from_mins(33));
    for (by, most, wanted) in [(By::Five, 6, 0), (By::Hour, 48, 48), (By::Day, 31, 31)] {
        assert_eq!(super::history(&history, by, most, later).await.expect("reads").len(), wanted, "{by:?}");
    }
    for (by, most, wanted) in [(By::Five, 24, 24), (By::Hour, 48, 48), (By::Day, 31, 31), (By::Day, 1_000_000, 365), (By::Month, 2, 2)] {
        assert_eq!(super::history(&history, by, most, end).await.expect("reads").len(), wanted, "{by:?}");
    }
}

/// What the database takes on the disk once everything is in it.
async fn written(state: &State, file: &std::path::Path) -> u64 {
    let (_, _, _): (i64, i64, i64) = sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(state.pool()).await.expect("writes back");
    std::fs::metadata(file).expect("a file").len()
}

#[tokio::test]
async fn before_its_first_run_the_box_was_not_off() {
    let state = State::open(None).await.expect("opens");
    let history = state.history();
    let fresh = super::recent(&history, START).await.expect("reads");
    assert_eq!((fresh.day.off_seconds, fresh.hours.iter().map(|hour| hour.off_seconds).sum::<u64>()), (0, 0), "a fresh folder");
    // Set up at twenty past two on a school day, and pulled out for ten minutes the hour after.
    let first = START.plus(Duration::from_mins(14 * 60 + 20));
    let cut = first.plus(Duration::from_hours(1));
    let seen = first.plus(Duration::from_hours(20));
    history.ran("boot 1", Ran { start: first, seen: cut, clock_ok: true }).await.expect("writes");
    history.ran("boot 2", Ran { start: cut.plus(Duration::from_mins(10)), seen, clock_ok: true }).await.expect("writes");
    let now = first.plus(Duration::from_mins(5));
    let recent = super::recent(&history, now).await.expect("reads");
    assert_eq!((recent.day.start, recent.day.off_seconds, recent.day.no_data_seconds), (first, 0, 300));
    complete(&history, Level::Hour.window(seen)).await.expect("rolls up");
    let end = START.plus(Level::Day.length());
    let hours = hours(&history, START, end, seen).await.expect("reads");
    assert_eq!((hours[0].start, hours[0].end, hours[0].off_seconds), (first, START.plus(Duration::from_hours(15)), 0));
    assert_eq!(hours.iter().map(|hour| hour.off_seconds).sum::<u64>(), 600, "what was really off is told");
    for by in [By::Day, By::Month] {
        let windows = super::history(&history, by, 100, seen).await.expect("reads");
        assert_eq!(windows.len(), 1);
        assert_eq!((windows[0].start, windows[0].end, windows[0].off_seconds), (first, end, 600), "{by:?}");
    }
}
