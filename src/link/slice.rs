//! Five minutes of the line, summed up; the raw material of reports. Pure: the shell feeds it seconds and samples, each with
//! its moment. Finished slices stay for a day, which is longer than any report waits to be composed.

use crate::base::clock::Time;
use crate::link::State;
use crate::link::estimate::{BUSY, Usual, quantile};
use crate::link::passive::{Passive, Samples, count, millis, whole};
use crate::link::reach::Reach;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::VecDeque;
use std::time::Duration;

/// Length of a slice, seconds; slices start at multiples of it.
pub const SECONDS: i64 = 300;
/// Slices kept: 24 h.
const KEPT: usize = 288;
/// Slices that tell what is usual: half an hour.
const ENOUGH: usize = 6;
/// Samples of one kind kept per slice.
const MOST: usize = 4096;

/// What happened on the line in up to five minutes (less when the node started or the clock jumped within them).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Slice {
    /// First moment.
    pub start: Time,
    /// First moment after.
    pub end: Time,
    /// Seconds in which the line was up.
    pub up_seconds: u32,
    /// Seconds in which it was slow.
    pub slow_seconds: u32,
    /// Seconds in which it was down.
    pub down_seconds: u32,
    /// Seconds in which nothing was known, those that nobody counted (a suspended machine) among them.
    pub unknown_seconds: u32,
    /// Body bytes received, all classes.
    pub rx_bytes: u64,
    /// Body bytes sent, all classes.
    pub tx_bytes: u64,
    /// Body bytes received that nobody waited for.
    pub background_rx_bytes: u64,
    /// Shortest TCP connect, milliseconds.
    pub rtt_min_ms: Option<f64>,
    /// Median TCP connect, milliseconds.
    pub rtt_median_ms: Option<f64>,
    /// 95th percentile of TCP connects, milliseconds.
    pub rtt_p95_ms: Option<f64>,
    /// Median time to first byte, milliseconds.
    pub first_byte_median_ms: Option<f64>,
    /// 95th percentile of busy seconds, bits per second.
    pub download_p95_bps: Option<u64>,
    /// Connections tried.
    pub attempts: u32,
    /// Of which failed.
    pub failures: u32,
    /// Names, TLS, latency under load, hosts near and far.
    #[serde(flatten)]
    pub passive: Passive,
}

/// A slice as a year of them is kept: a row of numbers without names. A row that an older program wrote as an object is read as well,
/// and figures that come to it are added at its end.
#[derive(Clone, Debug)]
pub struct Packed(pub Slice);

impl Serialize for Packed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let slice = &self.0;
        let seconds = [slice.up_seconds, slice.slow_seconds, slice.down_seconds, slice.unknown_seconds];
        let mut row: Vec<Option<f64>> = [slice.start, slice.end].map(moment).to_vec();
        row.extend(seconds.map(|seconds| count(seconds.into())));
        row.extend([slice.rx_bytes, slice.tx_bytes, slice.background_rx_bytes].map(count));
        row.extend([slice.rtt_min_ms, slice.rtt_median_ms, slice.rtt_p95_ms, slice.first_byte_median_ms]);
        row.extend([slice.download_p95_bps.and_then(count), count(slice.attempts.into()), count(slice.failures.into())]);
        row.extend(slice.passive.row());
        serializer.collect_seq(row.into_iter().map(short))
    }
}

/// A moment of a row: 2^53 µs are the year 2255.
pub(super) fn moment(time: Time) -> Option<f64> {
    u64::try_from(time.micros()).ok().and_then(count)
}

/// Whole numbers without a point, and nothing for what is not known.
pub(super) fn short(value: Option<f64>) -> serde_json::Value {
    match value {
        Some(value) if value.fract() == 0.0 && value >= 0.0 => whole(value).into(),
        Some(value) => value.into(),
        None => serde_json::Value::Null,
    }
}

impl<'de> Deserialize<'de> for Packed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Packed, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Row(Vec<Option<f64>>),
            Whole(Box<Slice>),
        }
        let row = match Form::deserialize(deserializer)? {
            Form::Whole(slice) => return Ok(Packed(*slice)),
            Form::Row(row) => row,
        };
        let at = |index: usize| row.get(index).copied().flatten();
        let natural = |index: usize| at(index).map_or(0, whole);
        let small = |index: usize| u32::try_from(natural(index)).unwrap_or(u32::MAX);
        let time = |index: usize| Time::from_micros(i64::try_from(natural(index)).unwrap_or(i64::MAX));
        if row.len() < OWN {
            return Err(serde::de::Error::custom("too short a row"));
        }
        Ok(Packed(Slice {
            start: time(0),
            end: time(1),
            up_seconds: small(2),
            slow_seconds: small(3),
            down_seconds: small(4),
            unknown_seconds: small(5),
            rx_bytes: natural(6),
            tx_bytes: natural(7),
            background_rx_bytes: natural(8),
            rtt_min_ms: at(9),
            rtt_median_ms: at(10),
            rtt_p95_ms: at(11),
            first_byte_median_ms: at(12),
            download_p95_bps: at(13).map(whole),
            attempts: small(14),
            failures: small(15),
            passive: Passive::read(row.get(OWN..).unwrap_or_default()),
        }))
    }
}

/// Numbers of a row before the passive ones.
const OWN: usize = 16;

/// The slice being filled and those that are finished.
#[derive(Debug)]
pub struct Slices {
    open: Slice,
    connects: Vec<f64>,
    first_bytes: Vec<f64>,
    busy: Vec<u64>,
    passive: Samples,
    done: VecDeque<Slice>,
}

/// What one second brought.
#[derive(Clone, Copy, Debug, Default)]
pub struct Second {
    /// How long it was in truth: a beat may come late, ms.
    pub millis: u64,
    /// Bytes received.
    pub rx: u64,
    /// Bytes sent.
    pub tx: u64,
    /// Bytes received that nobody waited for.
    pub background_rx: u64,
    /// Bytes received by measurements.
    pub measure_rx: u64,
    /// Bytes sent by measurements.
    pub measure_tx: u64,
    /// Bytes that came without a test, in the order of [`Reach::ALL`].
    pub came: [u64; 3],
}

impl Second {
    /// What came without a test: only that is a speed seen without one.
    pub fn unasked(&self) -> u64 {
        self.rx.saturating_sub(self.measure_rx)
    }

    /// What came that somebody waits for.
    pub fn awaited(&self) -> u64 {
        self.unasked().saturating_sub(self.background_rx)
    }

    /// Bytes that moved in it, as bytes a second.
    pub fn speed(&self, bytes: u64) -> u64 {
        bytes.saturating_mul(1000) / self.millis.max(1000)
    }
}

impl Slices {
    /// Begins at `now`.
    pub fn new(now: Time) -> Slices {
        Slices {
            open: empty(now),
            connects: Vec::new(),
            first_bytes: Vec::new(),
            busy: Vec::new(),
            passive: Samples::default(),
            done: VecDeque::new(),
        }
    }

    /// A connection came about.
    pub fn connected(&mut self, took: Duration, reach: Reach, full: bool) {
        self.open.attempts = self.open.attempts.saturating_add(1);
        keep(&mut self.connects, millis(took));
        self.passive.connected(reach, took, full);
    }

    /// A connection did not come about.
    pub fn failed(&mut self, reach: Reach) {
        self.passive.failed(reach);
        self.open.attempts = self.open.attempts.saturating_add(1);
        self.open.failures = self.open.failures.saturating_add(1);
    }

    /// An answer began.
    pub fn first_byte(&mut self, took: Duration) {
        keep(&mut self.first_bytes, millis(took));
    }

    /// Names and TLS.
    pub fn passive(&mut self) -> &mut Samples {
        &mut self.passive
    }

    /// A second ended at `now`. `missed`: whole seconds before it that nobody counted.
    pub fn second(&mut self, state: State, second: Second, missed: u32, now: Time) {
        let open = &mut self.open;
        open.rx_bytes += second.rx;
        open.tx_bytes += second.tx;
        open.background_rx_bytes += second.background_rx;
        open.unknown_seconds = open.unknown_seconds.saturating_add(missed);
        match state {
            State::Up => open.up_seconds += 1,
            State::Slow => open.slow_seconds += 1,
            State::Down => open.down_seconds += 1,
            State::Unknown => open.unknown_seconds += 1,
        }
        self.passive.second(&second);
        let speed = second.speed(second.unasked());
        if speed >= BUSY {
            self.busy.push(speed);
        }
        let back = now < open.start;
        let same = open.start.secs().div_euclid(SECONDS) == now.secs().div_euclid(SECONDS);
        if !same || self.busy.len() >= MOST {
            self.finish(now);
        }
        if back {
            // A clock that was ahead has dated them: when that time comes they would be told once more.
            self.done.retain(|slice| slice.start <= now);
        }
    }

    /// Slices that end after `since`, oldest first; the last is the open one as far as it has come, once it has counted a second.
    pub fn since(&self, since: Time, now: Time) -> Vec<Slice> {
        let open = Some(self.so_far(now)).filter(|open| open.up_seconds + open.slow_seconds + open.down_seconds + open.unknown_seconds > 0);
        self.done.iter().cloned().chain(open).filter(|slice| slice.end > since).collect()
    }

    /// What is usual: medians over the finished slices, given at least half an hour of them.
    pub fn usual(&self) -> Usual {
        fn median<T: PartialOrd + Copy>(values: impl Iterator<Item = T>) -> Option<T> {
            let values: Vec<T> = values.collect();
            if values.len() >= ENOUGH { quantile(values, 0.5) } else { None }
        }
        let seconds = |millis: f64| millis / 1000.0;
        Usual {
            rtt: median(self.done.iter().filter_map(|slice| slice.rtt_median_ms)).map(seconds),
            first_byte: median(self.done.iter().filter_map(|slice| slice.first_byte_median_ms)).map(seconds),
            rate: median(self.done.iter().filter_map(|slice| slice.download_p95_bps)).map(|bits| bits / 8),
        }
    }

    fn finish(&mut self, now: Time) {
        let slice = self.so_far(now);
        self.open = empty(now);
        self.connects.clear();
        self.first_bytes.clear();
        self.busy.clear();
        self.passive.clear();
        if self.done.len() >= KEPT {
            self.done.pop_front();
        }
        self.done.push_back(slice);
    }

    /// The open slice as if it ended at `now`.
    fn so_far(&self, now: Time) -> Slice {
        let mut slice = self.open.clone();
        // After a jump of the wall clock backwards the slice ends where its seconds say.
        let counted = slice.up_seconds + slice.slow_seconds + slice.down_seconds + slice.unknown_seconds;
        let longest = slice.start.plus(Duration::from_secs(u64::from(counted).max(1)));
        slice.end = if now > slice.start && now < longest.plus(Duration::from_secs(2)) { now } else { longest };
        slice.rtt_min_ms = quantile(self.connects.clone(), 0.0);
        slice.rtt_median_ms = quantile(self.connects.clone(), 0.5);
        slice.rtt_p95_ms = quantile(self.connects.clone(), 0.95);
        slice.first_byte_median_ms = quantile(self.first_bytes.clone(), 0.5);
        slice.passive = self.passive.figures();
        slice.download_p95_bps = quantile(self.busy.clone(), 0.95).map(|bytes| bytes.saturating_mul(8));
        slice
    }
}

fn empty(now: Time) -> Slice {
    Slice {
        start: now,
        end: now,
        up_seconds: 0,
        slow_seconds: 0,
        down_seconds: 0,
        unknown_seconds: 0,
        rx_bytes: 0,
        tx_bytes: 0,
        background_rx_bytes: 0,
        rtt_min_ms: None,
        rtt_median_ms: None,
        rtt_p95_ms: None,
        first_byte_median_ms: None,
        download_p95_bps: None,
        attempts: 0,
        failures: 0,
        passive: Passive::default(),
    }
}

fn keep(list: &mut Vec<f64>, value: f64) {
    if list.len() < MOST {
        list.push(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_end_on_the_five_minutes_and_hold_what_was_seen() {
        let mut now = Time::from_secs(1_800_000_000 + 290);
        let mut slices = Slices::new(now);
        slices.connected(Duration::from_millis(80), Reach::Unknown, false);
        slices.connected(Duration::from_millis(40), Reach::Unknown, false);
        slices.failed(Reach::Unknown);
        slices.first_byte(Duration::from_millis(200));
        for step in 0..10 {
            now = now.plus(Duration::from_secs(1));
            let state = if step < 7 { State::Up } else { State::Down };
            slices.second(state, Second { rx: 10_000, tx: 10, background_rx: 5_000, ..Second::default() }, 0, now);
        }
        let done = slices.since(Time::from_secs(0), now);
        assert_eq!(done.len(), 1);
        let slice = &done[0];
        assert_eq!((slice.start.secs() % SECONDS, slice.end), (290, Time::from_secs(1_800_000_300)));
        assert_eq!((slice.up_seconds, slice.down_seconds, slice.unknown_seconds), (7, 3, 0));
        assert_eq!((slice.rx_bytes, slice.tx_bytes, slice.background_rx_bytes), (100_000, 100, 50_000));
        assert_eq!((slice.rtt_min_ms, slice.rtt_median_ms, slice.rtt_p95_ms), (Some(40.0), Some(40.0), Some(80.0)));
        assert_eq!((slice.attempts, slice.failures, slice.download_p95_bps), (3, 1, Some(80_000)));
        assert!(slices.since(slice.end, now).is_empty(), "the open one has counted nothing yet");
        now = now.plus(Duration::from_secs(1));
        slices.second(State::Up, Second { rx: 7, ..Second::default() }, 0, now);
        let open = slices.since(slice.end, now);
        assert_eq!((open.len(), open[0].rx_bytes, open[0].end), (1, 7, now));
    }

    #[test]
    fn a_clock_that_jumps_ends_the_slice_where_its_seconds_say() {
        let start = Time::from_secs(1_800_000_000);
        let mut slices = Slices::new(start);
        slices.second(State::Up, Second::default(), 0, start.plus(Duration::from_secs(1)));
        slices.second(State::Up, Second::default(), 0, Time::from_secs(1_900_000_000));
        let slice = &slices.since(Time::from_secs(0), start)[0];
        assert_eq!(slice.end, start.plus(Duration::from_secs(2)));
        for _ in 0..400 {
            slices.second(State::Up, Second::default(), 300, Time::from_secs(1_900_000_000).plus(Duration::from_secs(1)));
        }
        assert!(slices.since(Time::from_secs(0), start).len() <= KEPT + 1);
        // Set right again: what was dated ahead never was.
        slices.second(State::Up, Second { rx: 7, ..Second::default() }, 0, start.plus(Duration::from_hours(1)));
        let all = slices.since(Time::from_secs(0), start.plus(Duration::from_hours(2)));
        assert!(all.iter().all(|slice| slice.start <= start.plus(Duration::from_hours(1))), "{all:?}");
    }

    #[test]
    fn a_slice_is_kept_as_a_short_row_and_older_forms_are_read() {
        let mut slice = Slice { up_seconds: 300, rx_bytes: 123_456, rtt_min_ms: Some(40.125), ..empty(Time::from_secs(1_800_000_000)) };
        slice.passive.reach.foreign.attempts = 7;
        slice.passive.reach.foreign.rx_bytes = 9_000_000;
        slice.passive.retransmitted_ratio = Some(0.0125);
        let text = serde_json::to_string(&Packed(slice.clone())).expect("JSON");
        assert!(text.starts_with("[1800000000000000,1800000000000000,300,0,0,0,123456,0,0,40.125,null,"), "{text}");
        let same = |text: &str| {
            let Packed(read) = serde_json::from_str(text).expect("reads back");
            assert_eq!(serde_json::to_value(&read).expect("JSON"), serde_json::to_value(&slice).expect("JSON"), "{text}");
        };
        same(&text);
        same(&serde_json::to_string(&slice).expect("JSON"));
        same(&text.replace(']', ",1,2,3]"));
        for wrong in ["[1,2]", "{}", "7", "[1800000000000000,\"a\"]"] {
            assert!(serde_json::from_str::<Packed>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_usual_needs_half_an_hour() {
        let mut slices = Slices::new(Time::from_secs(0));
        for count in 1..=6_i64 {
            assert_eq!(slices.usual(), Usual::default());
            slices.first_byte(Duration::from_millis(90));
            slices.connected(Duration::from_millis(50), Reach::Unknown, false);
            slices.second(State::Up, Second { rx: 80_000, ..Second::default() }, 0, Time::from_secs(count * SECONDS));
        }
        assert_eq!(slices.usual(), Usual { rtt: Some(0.05), first_byte: Some(0.09), rate: Some(80_000) });
    }
}
