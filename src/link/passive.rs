//! What real traffic shows beside rates and connects: how long names and TLS take, latency while the line is full, what the kernel
//! counts of segments, and all of it by where hosts are. Pure. Each figure comes with the count that it rests on; none costs a byte.
//!
//! # Why two ratios, and what neither of them is
//! A school downloads. What it sends is requests and acknowledgements, and only data is ever sent again: `tcpi_total_retrans` over
//! `tcpi_data_segs_out` (RFC 4898, `SegsRetrans` and `DataSegsOut`) tells of loss on the way out; over `tcpi_segs_out`, in which every
//! acknowledgement counts, it would tell nothing. Of the way in a receiver sees no loss, only its trace: segments that come while one
//! before them is missing, `tcpi_rcv_ooopack` over `tcpi_data_segs_in` (counted in `tcp_data_queue_ofo` since Linux 5.4). One lost
//! segment leaves as many of them as were under way behind it, so that this is no loss ratio but the share of what came that had to
//! wait for a repeat, or overtook something: 0 on a line that loses nothing, and growing with what it loses.

use crate::link::estimate::{BUSY, quantile};
use crate::link::reach::Reach;
use crate::link::slice::Second;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Samples of one kind kept per window.
const MOST: usize = 1_024;

/// The figures of a window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Passive {
    /// Lookups that were answered.
    pub names: u64,
    /// Their median, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name_median_ms: Option<f64>,
    /// TLS handshakes.
    pub handshakes: u64,
    /// Their median, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_median_ms: Option<f64>,
    /// Connections that came about while the line was full.
    pub loaded_connects: u64,
    /// Their median, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loaded_rtt_median_ms: Option<f64>,
    /// 95th percentile of busy seconds towards the world, bits per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upload_p95_bps: Option<u64>,
    /// Segments with data that were sent.
    pub sent_segments: u64,
    /// Of these, the share that was a repeat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retransmitted_ratio: Option<f64>,
    /// Segments with data that came, where the kernel tells which of them were out of order.
    pub received_segments: u64,
    /// Of these, the share that was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disordered_ratio: Option<f64>,
    /// Looks at an open connection that found a new round trip.
    pub round_trips: u64,
    /// Their median, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round_trip_median_ms: Option<f64>,
    /// Connections by where their hosts are.
    pub reach: ByReach,
}

/// What the kernel has counted of a connection since it was asked last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segments {
    /// With data, sent; repeats included.
    pub sent: u64,
    /// Of these, repeats.
    pub repeated: u64,
    /// With data, received. 0 where the kernel does not tell which were out of order.
    pub received: u64,
    /// Of these, out of order.
    pub disordered: u64,
}

/// Connections by where their hosts are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ByReach {
    /// In the country.
    #[serde(skip_serializing_if = "Connects::is_none")]
    pub domestic: Connects,
    /// Elsewhere.
    #[serde(skip_serializing_if = "Connects::is_none")]
    pub foreign: Connects,
    /// It is not known.
    #[serde(skip_serializing_if = "Connects::is_none")]
    pub unknown: Connects,
}

/// Connections.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Connects {
    /// Tried.
    pub attempts: u64,
    /// Of these, failed.
    pub failures: u64,
    /// Median time to connect, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_median_ms: Option<f64>,
    /// Bytes that came over them, what is around bodies included.
    pub rx_bytes: u64,
    /// 95th percentile of seconds that were busy with these alone, bits per second. What others used meanwhile is missing from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub download_p95_bps: Option<u64>,
}

impl Connects {
    fn is_none(&self) -> bool {
        self.attempts == 0 && self.rx_bytes == 0
    }
}

impl ByReach {
    /// In the order of [`Reach::ALL`].
    pub fn all(&self) -> [&Connects; 3] {
        [&self.domestic, &self.foreign, &self.unknown]
    }

    /// The same, to change.
    pub fn all_mut(&mut self) -> [&mut Connects; 3] {
        [&mut self.domestic, &mut self.foreign, &mut self.unknown]
    }
}

impl Passive {
    /// Windows in one. Medians are those of the parts' medians by the samples that they rest on (see `rollup`).
    pub fn sum(parts: &[&Passive]) -> Passive {
        let total = |count: fn(&Passive) -> u64| parts.iter().map(|part| count(part)).fold(0, u64::saturating_add);
        let median = |value: fn(&Passive) -> Option<f64>, count: fn(&Passive) -> u64| {
            share(0.5, parts.iter().filter_map(|part| Some((value(part)?, count(part)))).collect())
        };
        let mut sum = Passive {
            names: total(|part| part.names),
            name_median_ms: median(|part| part.name_median_ms, |part| part.names),
            handshakes: total(|part| part.handshakes),
            tls_median_ms: median(|part| part.tls_median_ms, |part| part.handshakes),
            loaded_connects: total(|part| part.loaded_connects),
            loaded_rtt_median_ms: median(|part| part.loaded_rtt_median_ms, |part| part.loaded_connects),
            upload_p95_bps: quantile(parts.iter().filter_map(|part| part.upload_p95_bps).collect(), 0.95),
            sent_segments: total(|part| part.sent_segments),
            retransmitted_ratio: mean(parts.iter().filter_map(|part| Some((part.retransmitted_ratio?, part.sent_segments)))),
            received_segments: total(|part| part.received_segments),
            disordered_ratio: mean(parts.iter().filter_map(|part| Some((part.disordered_ratio?, part.received_segments)))),
            round_trips: total(|part| part.round_trips),
            round_trip_median_ms: median(|part| part.round_trip_median_ms, |part| part.round_trips),
            reach: ByReach::default(),
        };
        for (index, connects) in sum.reach.all_mut().into_iter().enumerate() {
            let of = || parts.iter().map(move |part| part.reach.all()[index]);
            connects.attempts = of().map(|part| part.attempts).fold(0, u64::saturating_add);
            connects.failures = of().map(|part| part.failures).fold(0, u64::saturating_add);
            connects.rtt_median_ms =
                share(0.5, of().filter_map(|part| Some((part.rtt_median_ms?, part.attempts.saturating_sub(part.failures)))).collect());
            connects.rx_bytes = of().map(|part| part.rx_bytes).fold(0, u64::saturating_add);
            let rates = of().filter_map(|part| Some((count(part.download_p95_bps?)?, part.rx_bytes)));
            connects.download_p95_bps = share(0.95, rates.collect()).map(whole);
        }
        sum
    }

    /// Without what was told of it before: counts that is; a median or a share has no parts.
    pub fn fresh(&mut self, told: &Passive) {
        let less = |count: &mut u64, told: u64| *count = count.saturating_sub(told);
        less(&mut self.names, told.names);
        less(&mut self.handshakes, told.handshakes);
        less(&mut self.loaded_connects, told.loaded_connects);
        less(&mut self.sent_segments, told.sent_segments);
        less(&mut self.received_segments, told.received_segments);
        less(&mut self.round_trips, told.round_trips);
        for (own, told) in self.reach.all_mut().into_iter().zip(told.reach.all()) {
            less(&mut own.attempts, told.attempts);
            less(&mut own.failures, told.failures);
            less(&mut own.rx_bytes, told.rx_bytes);
        }
    }

    /// As a row of numbers; `None` stands for what is not known.
    pub(super) fn row(&self) -> Vec<Option<f64>> {
        let mut row = vec![
            count(self.names),
            self.name_median_ms,
            count(self.handshakes),
            self.tls_median_ms,
            count(self.loaded_connects),
            self.loaded_rtt_median_ms,
            self.upload_p95_bps.and_then(count),
        ];
        for connects in self.reach.all() {
            row.extend([count(connects.attempts), count(connects.failures), connects.rtt_median_ms]);
        }
        for connects in self.reach.all() {
            row.extend([count(connects.rx_bytes), connects.download_p95_bps.and_then(count)]);
        }
        row.extend([count(self.sent_segments), self.retransmitted_ratio, count(self.received_segments), self.disordered_ratio]);
        row.extend([count(self.round_trips), self.round_trip_median_ms]);
        row
    }

    /// From such a row; a shorter one is of an older program.
    pub(super) fn read(row: &[Option<f64>]) -> Passive {
        let at = |index: usize| row.get(index).copied().flatten();
        let natural = |index: usize| at(index).map_or(0, whole);
        let mut passive = Passive {
            names: natural(0),
            name_median_ms: at(1),
            handshakes: natural(2),
            tls_median_ms: at(3),
            loaded_connects: natural(4),
            loaded_rtt_median_ms: at(5),
            upload_p95_bps: at(6).map(whole),
            sent_segments: natural(22),
            retransmitted_ratio: at(23),
            received_segments: natural(24),
            disordered_ratio: at(25),
            round_trips: natural(26),
            round_trip_median_ms: at(27),
            reach: ByReach::default(),
        };
        for (number, connects) in passive.reach.all_mut().into_iter().enumerate() {
            let (first, second) = (7 + number * 3, 16 + number * 2);
            *connects = Connects {
                attempts: natural(first),
                failures: natural(first + 1),
                rtt_median_ms: at(first + 2),
                rx_bytes: natural(second),
                download_p95_bps: at(second + 1).map(whole),
            };
        }
        passive
    }
}

/// A count as a number of a row; beyond 2^53 nobody counts.
#[expect(clippy::cast_precision_loss, reason = "counts of a window")]
#[expect(clippy::unnecessary_wraps, reason = "one form for rows")]
pub(super) fn count(number: u64) -> Option<f64> {
    Some(number as f64)
}

/// And back.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts of a window, saturating")]
pub(super) fn whole(number: f64) -> u64 {
    number as u64
}

/// The value below which `wanted` of the weight lies. A value without weight counts as one.
#[expect(clippy::cast_precision_loss, reason = "weights are counts far below 2^52")]
pub(super) fn share(wanted: f64, mut values: Vec<(f64, u64)>) -> Option<f64> {
    values.retain(|(value, _)| value.is_finite());
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    let all: f64 = values.iter().map(|(_, weight)| (*weight).max(1) as f64).sum();
    let mut sum = 0.0;
    values.into_iter().find_map(|(value, weight)| {
        sum += weight.max(1) as f64;
        (sum >= wanted * all).then_some(value)
    })
}

/// The mean of shares by what each is a share of, to the millionth: more digits are noise.
#[expect(clippy::cast_precision_loss, reason = "weights are counts far below 2^52")]
fn mean(shares: impl Iterator<Item = (f64, u64)>) -> Option<f64> {
    let (sum, all) = shares.fold((0.0, 0.0), |(sum, all), (share, weight)| (sum + share * weight as f64, all + weight as f64));
    (all > 0.0).then(|| (sum / all * 1e6).round() / 1e6)
}

/// A part of a whole, at most all of it.
fn ratio(part: u64, whole: u64) -> Option<f64> {
    mean(std::iter::once((1.0, part.min(whole))).chain([(0.0, whole.saturating_sub(part))]))
}

/// Milliseconds, to the microsecond: more digits are noise that a year of rows would keep.
pub(super) fn millis(took: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52 µs")]
    let micros = took.as_micros() as f64;
    micros / 1000.0
}

/// The samples of the window that is being filled.
#[derive(Debug, Default)]
pub struct Samples {
    names: Vec<f64>,
    handshakes: Vec<f64>,
    loaded: Vec<f64>,
    uploads: Vec<u64>,
    segments: Segments,
    trips: Vec<f64>,
    reach: [Reached; 3],
}

/// Those of a reach.
#[derive(Debug, Default)]
struct Reached {
    attempts: u64,
    failures: u64,
    connects: Vec<f64>,
    bytes: u64,
    busy: Vec<u64>,
}

impl Samples {
    /// A name was answered for.
    pub fn named(&mut self, took: Duration) {
        keep(&mut self.names, millis(took));
    }

    /// A TLS handshake was done.
    pub fn secured(&mut self, took: Duration) {
        keep(&mut self.handshakes, millis(took));
    }

    /// A connection came about; `full`: while the line was.
    pub fn connected(&mut self, reach: Reach, took: Duration, full: bool) {
        if full {
            keep(&mut self.loaded, millis(took));
        }
        let reached = &mut self.reach[reach as usize];
        reached.attempts += 1;
        keep(&mut reached.connects, millis(took));
    }

    /// A connection did not come about.
    pub fn failed(&mut self, reach: Reach) {
        let reached = &mut self.reach[reach as usize];
        reached.attempts += 1;
        reached.failures += 1;
    }

    /// What a connection has counted.
    pub fn segments(&mut self, segments: Segments, rtt: Option<Duration>) {
        self.segments.sent += segments.sent;
        self.segments.repeated += segments.repeated;
        self.segments.received += segments.received;
        self.segments.disordered += segments.disordered;
        if let Some(rtt) = rtt {
            keep(&mut self.trips, millis(rtt));
        }
    }

    /// A second passed.
    pub fn second(&mut self, second: &Second) {
        let sent = second.speed(second.tx.saturating_sub(second.measure_tx));
        if sent >= BUSY {
            keep(&mut self.uploads, sent);
        }
        for (reached, bytes) in self.reach.iter_mut().zip(second.came) {
            reached.bytes += bytes;
            let speed = second.speed(bytes);
            if speed >= BUSY {
                keep(&mut reached.busy, speed);
            }
        }
    }

    /// The figures so far.
    pub fn figures(&self) -> Passive {
        let median = |list: &Vec<f64>| quantile(list.clone(), 0.5);
        let fastest = |seconds: &Vec<u64>| quantile(seconds.clone(), 0.95).map(|bytes| bytes.saturating_mul(8));
        let mut passive = Passive {
            names: self.names.len() as u64,
            name_median_ms: median(&self.names),
            handshakes: self.handshakes.len() as u64,
            tls_median_ms: median(&self.handshakes),
            loaded_connects: self.loaded.len() as u64,
            loaded_rtt_median_ms: median(&self.loaded),
            upload_p95_bps: fastest(&self.uploads),
            sent_segments: self.segments.sent,
            retransmitted_ratio: ratio(self.segments.repeated, self.segments.sent),
            received_segments: self.segments.received,
            disordered_ratio: ratio(self.segments.disordered, self.segments.received),
            round_trips: self.trips.len() as u64,
            round_trip_median_ms: median(&self.trips),
            reach: ByReach::default(),
        };
        for (connects, reached) in passive.reach.all_mut().into_iter().zip(&self.reach) {
            *connects = Connects {
                attempts: reached.attempts,
                failures: reached.failures,
                rtt_median_ms: median(&reached.connects),
                rx_bytes: reached.bytes,
                download_p95_bps: fastest(&reached.busy),
            };
        }
        passive
    }

    /// The next window begins.
    pub fn clear(&mut self) {
        *self = Samples::default();
    }
}

fn keep<T>(list: &mut Vec<T>, value: T) {
    if list.len() < MOST {
        list.push(value);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Every figure is there.
    pub(crate) fn full() -> Passive {
        let mut samples = Samples::default();
        samples.named(ms(1));
        samples.secured(ms(1));
        samples.second(&second(BUSY, [BUSY; 3]));
        samples.segments(Segments { sent: 100, repeated: 1, received: 1_000, disordered: 7 }, Some(ms(41)));
        for reach in Reach::ALL {
            samples.connected(reach, ms(1), true);
        }
        samples.figures()
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn second(tx: u64, came: [u64; 3]) -> Second {
        Second { millis: 1000, tx, came, ..Second::default() }
    }

    #[test]
    fn samples_become_figures_with_their_counts() {
        let mut samples = Samples::default();
        for took in [10, 30, 20] {
            samples.named(ms(took));
            samples.connected(Reach::Foreign, ms(took * 10), took == 30);
        }
        samples.secured(ms(80));
        samples.connected(Reach::Domestic, ms(25), false);
        samples.failed(Reach::Domestic);
        samples.second(&second(100_000, [200_000, 5_000_000, 0]));
        samples.second(&second(10, [10, 500_000, 3]));
        samples.segments(Segments { sent: 90, repeated: 2, received: 1_000, disordered: 30 }, Some(ms(40)));
        samples.segments(Segments { sent: 10, repeated: 0, received: 0, disordered: 0 }, None);
        let told = samples.figures();
        assert_eq!((told.names, told.name_median_ms, told.handshakes, told.tls_median_ms), (3, Some(20.0), 1, Some(80.0)));
        assert_eq!((told.loaded_connects, told.loaded_rtt_median_ms, told.upload_p95_bps), (1, Some(300.0), Some(800_000)));
        assert_eq!((told.sent_segments, told.retransmitted_ratio), (100, Some(0.02)));
        assert_eq!((told.received_segments, told.disordered_ratio), (1_000, Some(0.03)));
        assert_eq!((told.round_trips, told.round_trip_median_ms), (1, Some(40.0)));
        let near = Connects { attempts: 2, failures: 1, rtt_median_ms: Some(25.0), rx_bytes: 200_010, download_p95_bps: Some(1_600_000) };
        assert_eq!(told.reach.domestic, near);
        let far =
            Connects { attempts: 3, failures: 0, rtt_median_ms: Some(200.0), rx_bytes: 5_500_000, download_p95_bps: Some(40_000_000) };
        assert_eq!(told.reach.foreign, far);
        assert_eq!(told.reach.unknown, Connects { rx_bytes: 3, ..Connects::default() }, "too little to be a speed");
        assert_eq!(Passive::read(&told.row()), told);
        assert_eq!(Passive::read(&told.row()[..2]), Passive { names: 3, name_median_ms: Some(20.0), ..Passive::default() });
        let text = serde_json::to_string(&told).expect("JSON");
        assert_eq!(serde_json::from_str::<Passive>(&text).expect("reads back"), told);
        // As an older program has kept it.
        let older = Passive::read(&told.row()[..16]);
        assert_eq!((older.reach.foreign.attempts, older.reach.foreign.rx_bytes, older.retransmitted_ratio), (3, 0, None));
        assert_eq!(told.row().len(), 28);
        let quiet = serde_json::to_string(&Passive::default()).expect("JSON");
        assert!(!quiet.contains("unknown"), "what nobody tried is not told: {quiet}");
        samples.clear();
        assert_eq!(samples.figures(), Passive::default());
    }

    #[test]
    fn windows_are_summed_by_what_they_rest_on() {
        let part = |names, median| Passive { names, name_median_ms: Some(median), ..Passive::default() };
        let (many, few) = (part(90, 10.0), part(10, 500.0));
        let sum = Passive::sum(&[&many, &few]);
        assert_eq!((sum.names, sum.name_median_ms), (100, Some(10.0)));
        let mut fresh = sum;
        fresh.fresh(&many);
        assert_eq!(fresh.names, 10);
        let lossy = |sent_segments, ratio| Passive { sent_segments, retransmitted_ratio: Some(ratio), ..Passive::default() };
        let sum = Passive::sum(&[&lossy(900, 0.0), &lossy(100, 0.02), &Passive::default()]);
        assert_eq!((sum.sent_segments, sum.retransmitted_ratio, sum.disordered_ratio), (1_000, Some(0.002), None));
        let rated = |rx_bytes, rate| Passive {
            reach: ByReach { foreign: Connects { rx_bytes, download_p95_bps: Some(rate), ..Connects::default() }, ..ByReach::default() },
            ..Passive::default()
        };
        let foreign = Passive::sum(&[&rated(99_000_000, 8_000_000), &rated(1_000, 400_000)]).reach.foreign;
        assert_eq!((foreign.rx_bytes, foreign.download_p95_bps), (99_001_000, Some(8_000_000)));
        assert_eq!(Passive::sum(&[]), Passive::default());
    }

    #[test]
    fn samples_are_bounded() {
        let mut samples = Samples::default();
        for _ in 0..MOST * 3 {
            samples.named(ms(1));
            samples.connected(Reach::Unknown, ms(1), true);
        }
        assert_eq!((samples.figures().names, samples.names.capacity() < MOST * 3), (MOST as u64, true));
        assert_eq!(samples.figures().reach.unknown.attempts, MOST as u64 * 3, "counts go on");
    }
}
