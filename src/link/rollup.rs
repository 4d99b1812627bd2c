//! Five minutes -> hour -> day -> month: what the line was like over a window, with every second accounted for.
//!
//! Pure. Seconds without a measurement are explained, not guessed: the box was off, its clock was wrong, or it ran and nothing was
//! tried. All windows are UTC, so no day has 23 hours. Keeping rollups is the business of `state`, filling them that of `report`.
//!
//! # Why percentiles of percentiles
//! A node keeps no raw samples. The median of a long window is the median of its parts' medians weighted by the connections that came
//! about, and its 95th percentile that of their 95th percentiles: exact for steady lines, never below the lowest nor above the highest
//! part. Attempts that failed took no time that anybody knows: five minutes of an outage, with one slow connect among hundreds in vain,
//! must not speak for the hour.

use crate::base::clock::Time;
use crate::link::Slice;
use crate::link::passive::{Passive, count, share, whole};
use crate::link::slice::{moment, short};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::time::Duration;

/// How long a rollup's window is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// One slice.
    Five,
    /// Twelve slices.
    Hour,
    /// Twenty-four hours, UTC.
    Day,
}

impl Level {
    /// The word in the database and in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Level::Five => "five",
            Level::Hour => "hour",
            Level::Day => "day",
        }
    }

    /// The window's length.
    pub const fn length(self) -> Duration {
        Duration::from_secs(match self {
            Level::Five => 300,
            Level::Hour => 3_600,
            Level::Day => 86_400,
        })
    }

    /// The start of the window that holds `moment`.
    pub fn window(self, moment: Time) -> Time {
        let length = i64::try_from(self.length().as_secs()).unwrap_or(i64::MAX);
        Time::from_secs(moment.secs().div_euclid(length) * length)
    }
}

/// A stretch of time in which the node is known to have been running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// From.
    pub start: Time,
    /// Until.
    pub end: Time,
    /// Whether its clock was right all the while.
    pub clock_ok: bool,
}

/// The line over one window. The six kinds of seconds add up to its length, always.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rollup {
    /// From (µs since 1970).
    pub start: Time,
    /// Until, not included.
    pub end: Time,
    /// Seconds in which the line worked.
    pub up_seconds: u64,
    /// Seconds in which it worked badly.
    pub slow_seconds: u64,
    /// Seconds in which nothing got through.
    pub down_seconds: u64,
    /// Seconds in which the box ran and nothing was tried.
    pub no_data_seconds: u64,
    /// Seconds in which the box was off.
    pub off_seconds: u64,
    /// Seconds in which the box ran with a wrong clock, so that what it saw cannot be dated.
    pub clock_seconds: u64,
    /// Bytes received, all classes.
    pub rx_bytes: u64,
    /// Bytes sent, all classes.
    pub tx_bytes: u64,
    /// Of the bytes received, those nobody waited for.
    pub background_rx_bytes: u64,
    /// Shortest connect time, milliseconds.
    pub rtt_min_ms: Option<f64>,
    /// Median connect time, milliseconds.
    pub rtt_median_ms: Option<f64>,
    /// 95th percentile of the connect time, milliseconds.
    pub rtt_p95_ms: Option<f64>,
    /// Median wait for a first byte, milliseconds.
    pub first_byte_median_ms: Option<f64>,
    /// 95th percentile of busy seconds, bits per second.
    pub download_p95_bps: Option<u64>,
    /// Connections tried.
    pub attempts: u64,
    /// Of these, failed.
    pub failures: u64,
    /// Names, TLS, latency under load, hosts near and far.
    #[serde(flatten)]
    pub passive: Passive,
}

/// A rollup as years of them are kept: a row of numbers without names, like a slice's ([`crate::link::slice::Packed`]). With names it has
/// more than a thousand bytes, and SQLite would give each a page of 4 KiB of its own. What an older program wrote with names is read.
#[derive(Clone, Debug, PartialEq)]
pub struct Folded(pub Rollup);

/// Numbers of a row before the passive ones.
const OWN: usize = 18;

impl Serialize for Folded {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let rollup = &self.0;
        let mut row: Vec<Option<f64>> = [rollup.start, rollup.end].map(moment).to_vec();
        row.extend([rollup.up_seconds, rollup.slow_seconds, rollup.down_seconds].map(count));
        row.extend([rollup.no_data_seconds, rollup.off_seconds, rollup.clock_seconds].map(count));
        row.extend([rollup.rx_bytes, rollup.tx_bytes, rollup.background_rx_bytes].map(count));
        row.extend([rollup.rtt_min_ms, rollup.rtt_median_ms, rollup.rtt_p95_ms, rollup.first_byte_median_ms]);
        row.extend([rollup.download_p95_bps.and_then(count), count(rollup.attempts), count(rollup.failures)]);
        row.extend(rollup.passive.row());
        serializer.collect_seq(row.into_iter().map(short))
    }
}

impl<'de> Deserialize<'de> for Folded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Folded, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Row(Vec<Option<f64>>),
            Whole(Box<Rollup>),
        }
        let row = match Form::deserialize(deserializer)? {
            Form::Whole(rollup) => return Ok(Folded(*rollup)),
            Form::Row(row) => row,
        };
        if row.len() < OWN {
            return Err(serde::de::Error::custom("too short a row"));
        }
        let at = |index: usize| row.get(index).copied().flatten();
        let natural = |index: usize| at(index).map_or(0, whole);
        let time = |index: usize| Time::from_micros(i64::try_from(natural(index)).unwrap_or(i64::MAX));
        Ok(Folded(Rollup {
            start: time(0),
            end: time(1),
            up_seconds: natural(2),
            slow_seconds: natural(3),
            down_seconds: natural(4),
            no_data_seconds: natural(5),
            off_seconds: natural(6),
            clock_seconds: natural(7),
            rx_bytes: natural(8),
            tx_bytes: natural(9),
            background_rx_bytes: natural(10),
            rtt_min_ms: at(11),
            rtt_median_ms: at(12),
            rtt_p95_ms: at(13),
            first_byte_median_ms: at(14),
            download_p95_bps: at(15).map(whole),
            attempts: natural(16),
            failures: natural(17),
            passive: Passive::read(row.get(OWN..).unwrap_or_default()),
        }))
    }
}

/// Sums up the slices that begin in `start..end`, and explains the rest of the window by what is known of the node's `runs`.
pub fn roll(start: Time, end: Time, slices: &[Slice], runs: &[Run]) -> Rollup {
    let inside: Vec<&Slice> = slices.iter().filter(|slice| slice.start >= start && slice.start < end).collect();
    let mut rollup = Rollup { start, end, ..Rollup::default() };
    let mut room = Room(end.since(start).as_secs());
    // A slice that tells more seconds than its window has (a clock that jumped) is cut to size.
    for slice in &inside {
        rollup.up_seconds += room.take(slice.up_seconds);
        rollup.slow_seconds += room.take(slice.slow_seconds);
        rollup.down_seconds += room.take(slice.down_seconds);
        rollup.no_data_seconds += room.take(slice.unknown_seconds);
        rollup.rx_bytes = rollup.rx_bytes.saturating_add(slice.rx_bytes);
        rollup.tx_bytes = rollup.tx_bytes.saturating_add(slice.tx_bytes);
        rollup.background_rx_bytes = rollup.background_rx_bytes.saturating_add(slice.background_rx_bytes);
        rollup.attempts += u64::from(slice.attempts);
        rollup.failures += u64::from(slice.failures);
    }
    let told = end.since(start).as_secs() - room.0;
    let ran = |clock_ok| covered(start, end, runs.iter().filter(|run| run.clock_ok == clock_ok));
    rollup.clock_seconds = room.take(ran(false));
    rollup.no_data_seconds += room.take(ran(true).saturating_sub(told));
    rollup.off_seconds = room.0;
    let weigh = |value: fn(&Slice) -> Option<f64>| -> Vec<(f64, u64)> {
        inside.iter().filter_map(|slice| Some((value(slice)?, u64::from(slice.attempts.saturating_sub(slice.failures))))).collect()
    };
    rollup.rtt_min_ms = smallest(inside.iter().filter_map(|slice| slice.rtt_min_ms));
    rollup.rtt_median_ms = share(0.5, weigh(|slice| slice.rtt_median_ms));
    rollup.rtt_p95_ms = share(0.95, weigh(|slice| slice.rtt_p95_ms));
    rollup.first_byte_median_ms = share(0.5, weigh(|slice| slice.first_byte_median_ms));
    rollup.download_p95_bps = rate(inside.iter().filter_map(|slice| Some((slice.download_p95_bps?, slice.rx_bytes))));
    rollup.passive = Passive::sum(&inside.iter().map(|slice| &slice.passive).collect::<Vec<_>>());
    rollup
}

/// Sums up the shorter rollups that begin in `start..end`; a window without one counts as off (when the box ran there is one).
pub fn merge(start: Time, end: Time, parts: &[Rollup]) -> Rollup {
    let inside: Vec<&Rollup> = parts.iter().filter(|part| part.start >= start && part.start < end).collect();
    let mut rollup = Rollup { start, end, ..Rollup::default() };
    let mut room = Room(end.since(start).as_secs());
    for part in &inside {
        rollup.up_seconds += room.take(part.up_seconds);
        rollup.slow_seconds += room.take(part.slow_seconds);
        rollup.down_seconds += room.take(part.down_seconds);
        rollup.no_data_seconds += room.take(part.no_data_seconds);
        rollup.clock_seconds += room.take(part.clock_seconds);
        rollup.rx_bytes = rollup.rx_bytes.saturating_add(part.rx_bytes);
        rollup.tx_bytes = rollup.tx_bytes.saturating_add(part.tx_bytes);
        rollup.background_rx_bytes = rollup.background_rx_bytes.saturating_add(part.background_rx_bytes);
        rollup.attempts = rollup.attempts.saturating_add(part.attempts);
        rollup.failures = rollup.failures.saturating_add(part.failures);
    }
    rollup.off_seconds = room.0;
    let weigh = |value: fn(&Rollup) -> Option<f64>| -> Vec<(f64, u64)> {
        inside.iter().filter_map(|part| Some((value(part)?, part.attempts.saturating_sub(part.failures)))).collect()
    };
    rollup.rtt_min_ms = smallest(inside.iter().filter_map(|part| part.rtt_min_ms));
    rollup.rtt_median_ms = share(0.5, weigh(|part| part.rtt_median_ms));
    rollup.rtt_p95_ms = share(0.95, weigh(|part| part.rtt_p95_ms));
    rollup.first_byte_median_ms = share(0.5, weigh(|part| part.first_byte_median_ms));
    rollup.download_p95_bps = rate(inside.iter().filter_map(|part| Some((part.download_p95_bps?, part.rx_bytes))));
    rollup.passive = Passive::sum(&inside.iter().map(|part| &part.passive).collect::<Vec<_>>());
    rollup
}

/// Days in their months (UTC), oldest first. A month reaches from its first kept day to the end of its last one: before it there was no
/// node, and nothing to call off.
pub fn months(days: &[Rollup]) -> Vec<Rollup> {
    let month = |time: Time| {
        let stamp = jiff::Timestamp::from_microsecond(time.micros()).unwrap_or_default();
        let date = stamp.to_zoned(jiff::tz::TimeZone::UTC).date();
        (date.year(), date.month())
    };
    let same = days.chunk_by(|a, b| month(a.start) == month(b.start));
    same.filter_map(|days| Some(merge(days.first()?.start, days.last()?.end, days))).collect()
}

/// Seconds of a window that nobody has claimed yet.
struct Room(u64);

impl Room {
    fn take(&mut self, wanted: impl Into<u64>) -> u64 {
        let taken = wanted.into().min(self.0);
        self.0 -= taken;
        taken
    }
}

/// Seconds of `start..end` that the runs cover, overlaps counted once.
fn covered<'a>(start: Time, end: Time, runs: impl Iterator<Item = &'a Run>) -> u64 {
    let mut spans: Vec<(Time, Time)> = runs.map(|run| (run.start.max(start), run.end.min(end))).filter(|(from, to)| from < to).collect();
    spans.sort_unstable();
    let mut reached = start;
    let mut micros = Duration::ZERO;
    for (from, to) in spans {
        micros += to.since(from.max(reached));
        reached = reached.max(to);
    }
    micros.as_secs()
}

fn smallest(values: impl Iterator<Item = f64>) -> Option<f64> {
    values.filter(|value| value.is_finite()).min_by(f64::total_cmp)
}

/// The 95th percentile of rates by the bytes that moved at them.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rates are far below 2^52 bit/s")]
fn rate(values: impl Iterator<Item = (u64, u64)>) -> Option<u64> {
    share(0.95, values.map(|(rate, bytes)| (rate as f64, bytes)).collect()).map(|rate| rate as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-24T00:00:00Z.
    const DAY: i64 = 1_795_478_400;

    fn at(seconds: i64) -> Time {
        Time::from_secs(DAY + seconds)
    }

    fn slice(start: i64, up: u32, slow: u32, down: u32, unknown: u32) -> Slice {
        Slice {
            start: at(start),
            end: at(start + 300),
            up_seconds: up,
            slow_seconds: slow,
            down_seconds: down,
            unknown_seconds: unknown,
            rx_bytes: 1_000,
            tx_bytes: 100,
            background_rx_bytes: 10,
            rtt_min_ms: Some(40.0),
            rtt_median_ms: Some(50.0),
            rtt_p95_ms: Some(90.0),
            first_byte_median_ms: None,
            download_p95_bps: Some(8_000_000),
            attempts: 4,
            failures: 1,
            passive: Passive { names: 2, name_median_ms: Some(12.0), ..Passive::default() },
        }
    }

    fn run(start: i64, end: i64, clock_ok: bool) -> Run {
        Run { start: at(start), end: at(end), clock_ok }
    }

    fn seconds(rollup: &Rollup) -> [u64; 6] {
        [rollup.up_seconds, rollup.slow_seconds, rollup.down_seconds, rollup.no_data_seconds, rollup.off_seconds, rollup.clock_seconds]
    }

    #[test]
    fn every_second_of_an_hour_is_explained() {
        type Case = (&'static str, Vec<Slice>, Vec<Run>, [u64; 6]);
        let whole: Vec<Slice> = (0..12).map(|step| slice(step * 300, 300, 0, 0, 0)).collect();
        let table: Vec<Case> = vec![
            ("a whole hour", whole.clone(), vec![run(-60, 4_000, true)], [3_600, 0, 0, 0, 0, 0]),
            ("a whole hour whose heartbeat lags", whole, vec![run(-60, 3_400, true)], [3_600, 0, 0, 0, 0, 0]),
            ("nothing known", vec![], vec![], [0, 0, 0, 0, 3_600, 0]),
            ("on, but nothing was measured", vec![], vec![run(0, 3_600, true)], [0, 0, 0, 3_600, 0, 0]),
            (
                "off after ten minutes",
                vec![slice(0, 300, 0, 0, 0), slice(300, 0, 200, 100, 0)],
                vec![run(0, 600, true)],
                [300, 200, 100, 0, 3_000, 0],
            ),
            ("started in the middle of a slice", vec![slice(0, 100, 0, 0, 20)], vec![run(180, 300, true)], [100, 0, 0, 20, 3_480, 0]),
            (
                "clock wrong, then right",
                vec![slice(1_800, 300, 0, 0, 0)],
                vec![run(0, 1_800, false), run(1_800, 2_100, true)],
                [300, 0, 0, 0, 1_500, 1_800],
            ),
            ("runs that overlap count once", vec![], vec![run(0, 600, true), run(300, 900, true)], [0, 0, 0, 900, 2_700, 0]),
            ("a slice that tells too much", vec![slice(3_300, 9_000, 0, 0, 0)], vec![], [3_600, 0, 0, 0, 0, 0]),
            ("slices of other hours", vec![slice(-300, 300, 0, 0, 0), slice(3_600, 300, 0, 0, 0)], vec![], [0, 0, 0, 0, 3_600, 0]),
        ];
        for (name, slices, runs, wanted) in table {
            let rollup = roll(at(0), at(3_600), &slices, &runs);
            assert_eq!(seconds(&rollup), wanted, "{name}");
            assert_eq!(seconds(&rollup).iter().sum::<u64>(), 3_600, "{name}");
        }
    }

    #[test]
    fn a_day_is_its_hours_and_what_is_missing_was_off() {
        let hour = |number: i64| {
            roll(
                at(number * 3_600),
                at(number * 3_600 + 3_600),
                &[slice(number * 3_600, 300, 0, 0, 0)],
                &[run(number * 3_600, number * 3_600 + 3_600, true)],
            )
        };
        let hours: Vec<Rollup> = [0, 1, 23].into_iter().map(hour).collect();
        let day = merge(at(0), at(86_400), &hours);
        assert_eq!(seconds(&day), [900, 0, 0, 9_900, 75_600, 0]);
        assert_eq!((day.rx_bytes, day.tx_bytes, day.background_rx_bytes, day.attempts, day.failures), (3_000, 300, 30, 12, 3));
        assert_eq!(day.rtt_median_ms, Some(50.0));
        assert_eq!((day.passive.names, day.passive.name_median_ms), (6, Some(12.0)));
        let today = merge(at(0), at(7_200), &hours);
        assert_eq!(seconds(&today).iter().sum::<u64>(), 7_200, "an unfinished day has no hours yet to come");
    }

    #[test]
    fn months_are_their_days_whatever_their_length() {
        let day = |number: i64| {
            let start = number * 86_400;
            let hour = roll(at(start), at(start + 3_600), &[slice(start, 300, 0, 0, 0)], &[run(start, start + 3_600, true)]);
            merge(at(start), at(start + 86_400), &[hour])
        };
        // From 24 November to 1 March, but for one day in January of which nothing is left.
        let days: Vec<Rollup> = (0..98).filter(|number| *number != 50).map(day).collect();
        let months = months(&days);
        let told: Vec<(String, u64, u64)> = months
            .iter()
            .map(|month| {
                (month.start.to_rfc3339()[..10].to_owned(), month.end.since(month.start).as_secs() / 86_400, month.up_seconds / 300)
            })
            .collect();
        let wanted = [("2026-11-24", 7, 7), ("2026-12-01", 31, 31), ("2027-01-01", 31, 30), ("2027-02-01", 28, 28), ("2027-03-01", 1, 1)];
        assert_eq!(told, wanted.map(|(start, days, up)| (start.to_owned(), days, up)));
        for month in &months {
            assert_eq!(seconds(month).iter().sum::<u64>(), month.end.since(month.start).as_secs(), "every second is explained");
        }
    }

    #[test]
    fn an_outage_with_one_slow_connect_does_not_speak_for_the_hour() {
        let mut hour: Vec<Slice> = (0..12).map(|step| slice(step * 300, 300, 0, 0, 0)).collect();
        for slice in &mut hour {
            (slice.attempts, slice.failures, slice.first_byte_median_ms) = (20, 0, Some(200.0));
            slice.passive.reach.foreign.attempts = 20;
            slice.passive.reach.foreign.rtt_median_ms = Some(50.0);
        }
        let outage = &mut hour[5];
        (outage.attempts, outage.failures, outage.rtt_median_ms, outage.first_byte_median_ms) = (900, 899, Some(2_900.0), Some(5_000.0));
        (outage.rtt_p95_ms, outage.passive.reach.foreign.rtt_median_ms) = (Some(2_900.0), Some(2_900.0));
        (outage.passive.reach.foreign.attempts, outage.passive.reach.foreign.failures) = (900, 899);
        let told = roll(at(0), at(3_600), &hour, &[]);
        let figures = |told: &Rollup| {
            (told.rtt_median_ms, told.rtt_p95_ms, told.first_byte_median_ms, told.passive.reach.foreign.rtt_median_ms, told.attempts)
        };
        let wanted = (Some(50.0), Some(90.0), Some(200.0), Some(50.0), 1_120);
        assert_eq!(figures(&told), wanted);
        let calm = roll(at(3_600), at(7_200), &[], &[]);
        assert_eq!(figures(&merge(at(0), at(7_200), &[told, calm])), wanted);
    }

    #[test]
    fn windows_are_utc_and_every_day_has_24_hours() {
        // Around the days on which Europe and, once, Kazakhstan changed their clocks.
        for day in [1_774_742_400_i64, 1_792_886_400, 1_709_164_800] {
            assert_eq!(Level::Day.window(Time::from_secs(day + 86_399)), Time::from_secs(day));
            assert_eq!(Level::Day.window(Time::from_secs(day + 86_400)), Time::from_secs(day + 86_400));
        }
        assert_eq!(Level::Hour.window(Time::from_micros(-1)), Time::from_secs(-3_600));
        assert_eq!(Level::Five.window(at(299)), at(0));
    }

    #[test]
    fn a_rollup_is_kept_as_a_short_row_and_one_with_names_is_read() {
        let mut rollup = roll(at(0), at(3_600), &[slice(0, 300, 200, 100, 0)], &[run(0, 1_200, true), run(1_200, 1_500, false)]);
        rollup.passive = crate::link::passive::tests::full();
        let text = serde_json::to_string(&Folded(rollup.clone())).expect("JSON");
        assert!(text.len() < 400 && text.starts_with("[1795478400000000,1795482000000000,300,200,100,"), "{text}");
        let named = serde_json::to_string(&rollup).expect("JSON");
        for text in [&text, &named, &text.replace(']', ",1,2]")] {
            assert_eq!(serde_json::from_str::<Folded>(text).expect("reads back"), Folded(rollup.clone()), "{text}");
        }
        for wrong in ["[1,2]", "7", "[1795478400000000,\"a\"]"] {
            assert!(serde_json::from_str::<Folded>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn weighted_shares() {
        assert_eq!(share(0.5, vec![]), None);
        assert_eq!(share(0.5, vec![(10.0, 1), (20.0, 98), (30.0, 1)]), Some(20.0));
        assert_eq!(share(0.95, vec![(10.0, 90), (400.0, 10)]), Some(400.0));
        assert_eq!(share(0.5, vec![(f64::NAN, 9), (7.0, 0)]), Some(7.0));
        assert_eq!(rate([(8_000_000, 100), (1_000, 1)].into_iter()), Some(8_000_000));
    }
}
