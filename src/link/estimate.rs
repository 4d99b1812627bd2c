//! Samples in, figures out. Pure: every moment is an argument.
//!
//! * Download rate: the 95th percentile of *busy seconds* over an hour, where a busy second is one in which at least
//!   `BUSY` bytes came in. A free estimate of what the line can do, since busy seconds near the top are those in which the
//!   line and not the origin was the limit.
//! * Latency: the median TCP connect time (one round trip) over `RECENT`.
//! * Failures: failed / attempted connections over `RECENT`.
//! * Slow: connections come about far later than usual; or little comes while people wait for something, and the line shows it otherwise
//!   as well.
//!
//! # Why little alone is not slow
//! A radio, one far server or the night's own low rate fill second after second with very little, on a line of any speed. So only seconds
//! count in which people's bytes came, with all that came beside them; and besides, connections or answers must be late, or several
//! transfers under way at once: on a line that is thin all of them are.
//!
//! Percentiles are nearest-rank (Hyndman and Fan 1996, definition 1): always a value that was really seen.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Fewer bytes than this in a second are keep-alives and handshakes, not a transfer.
pub const BUSY: u64 = 4096;
/// Latency and failures look this far back.
pub const RECENT: Duration = Duration::from_mins(5);
/// Rates look this far back.
const HOUR: Duration = Duration::from_hours(1);
/// Samples of one kind kept at most; a class makes some hundred connections in five minutes.
const MOST: usize = 2048;
/// Latency this many times the usual is slow; below [`SLOW_EXTRA`] more than usual nobody notices.
const SLOW_TIMES: f64 = 4.0;
/// See [`SLOW_TIMES`], seconds.
const SLOW_EXTRA: f64 = 0.3;
/// A busy line whose best seconds stay below this share of the usual is slow.
const SLOW_SHARE: f64 = 0.1;
/// Of the last minute this many seconds must be busy before the rate says anything.
const SLOW_BUSY: usize = 45;
/// Where little comes, connections and answers this many times as late as usual show that it is the line: its queue is full.
const LATE_TIMES: f64 = 2.0;
/// Fewer connections or answers of a minute are one server's.
const LATE_LEAST: usize = 3;
/// So many transfers under way in most busy seconds fill any line: a page alone has as many, and hardly anybody hears four radios.
const SEVERAL: usize = 4;
/// What looks slow does so within so long.
const MINUTE: Duration = Duration::from_mins(1);

/// What is usual on this line, as far as anybody knows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usual {
    /// Connect time, seconds.
    pub rtt: Option<f64>,
    /// Time to first byte, seconds.
    pub first_byte: Option<f64>,
    /// Bytes per second.
    pub rate: Option<u64>,
}

/// What came in a second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Came {
    /// Bytes, those of measurements left out.
    pub bytes: u64,
    /// Of these, what people wait for.
    pub awaited: u64,
    /// Transfers under way that people wait for.
    pub transfers: usize,
}

/// Samples of the last hour.
#[derive(Debug, Default)]
pub struct Estimate {
    connects: VecDeque<(Instant, f64)>,
    first_bytes: VecDeque<(Instant, f64)>,
    attempts: VecDeque<(Instant, bool)>,
    busy: VecDeque<(Instant, u64)>,
    /// Busy seconds by what people wait for: all that came in each, and how many transfers were under way.
    awaited: VecDeque<(Instant, (u64, usize))>,
}

impl Estimate {
    /// A connection came about.
    pub fn connected(&mut self, took: Duration, now: Instant) {
        push(&mut self.connects, took.as_secs_f64(), now, RECENT);
        push(&mut self.attempts, true, now, RECENT);
    }

    /// A connection did not come about.
    pub fn failed(&mut self, now: Instant) {
        push(&mut self.attempts, false, now, RECENT);
    }

    /// An answer began.
    pub fn first_byte(&mut self, took: Duration, now: Instant) {
        push(&mut self.first_bytes, took.as_secs_f64(), now, RECENT);
    }

    /// A second passed.
    pub fn second(&mut self, came: Came, now: Instant) {
        let Came { bytes, awaited, transfers } = came;
        if awaited >= BUSY {
            push(&mut self.awaited, (bytes, transfers), now, MINUTE);
        }
        if bytes >= BUSY {
            while self.busy.front().is_some_and(|(when, _)| now.saturating_duration_since(*when) > HOUR) || self.busy.len() >= 3600 {
                self.busy.pop_front();
            }
            self.busy.push_back((now, bytes));
        }
    }

    /// Median connect time, seconds.
    pub fn rtt(&self, now: Instant) -> Option<f64> {
        quantile(recent(&self.connects, now, RECENT), 0.5)
    }

    /// Median time to first byte, seconds.
    pub fn first_byte_median(&self, now: Instant) -> Option<f64> {
        quantile(recent(&self.first_bytes, now, RECENT), 0.5)
    }

    /// Share of failed attempts.
    #[expect(clippy::cast_precision_loss, reason = "at most a few thousand attempts")]
    pub fn failed_ratio(&self, now: Instant) -> Option<f64> {
        let seen = recent(&self.attempts, now, RECENT);
        let failed = seen.iter().filter(|worked| !**worked).count();
        (!seen.is_empty()).then(|| failed as f64 / seen.len() as f64)
    }

    /// 95th percentile of the busy seconds of the last hour, bytes per second.
    pub fn download(&self, now: Instant) -> Option<u64> {
        quantile(recent(&self.busy, now, HOUR), 0.95)
    }

    /// Whether the last minute looks slow against what is usual.
    #[expect(clippy::cast_precision_loss, reason = "rates fit a double")]
    pub fn looks_slow(&self, usual: Usual, now: Instant) -> bool {
        if late(&self.connects, usual.rtt, SLOW_TIMES, now) {
            return true;
        }
        let (rates, transfers): (Vec<u64>, Vec<usize>) = recent(&self.awaited, now, MINUTE).into_iter().unzip();
        let is_thin = rates.len() >= SLOW_BUSY
            && matches!((quantile(rates, 0.95), usual.rate), (Some(rate), Some(usual)) if (rate as f64) < usual as f64 * SLOW_SHARE);
        is_thin
            && (late(&self.connects, usual.rtt, LATE_TIMES, now)
                || late(&self.first_bytes, usual.first_byte, LATE_TIMES, now)
                || quantile(transfers, 0.5).is_some_and(|several| several >= SEVERAL))
    }
}

/// Whether waits of the last minute are `times` as long as usual, and so much that it is noticed.
fn late(waits: &VecDeque<(Instant, f64)>, usual: Option<f64>, times: f64, now: Instant) -> bool {
    let waits = recent(waits, now, MINUTE);
    match (waits.len() >= LATE_LEAST, quantile(waits, 0.5), usual) {
        (true, Some(wait), Some(usual)) => wait > usual * times && wait > usual + SLOW_EXTRA,
        _ => false,
    }
}

/// The nearest-rank quantile; `None` when nothing was seen.
pub fn quantile<T: PartialOrd + Copy>(mut values: Vec<T>, share: f64) -> Option<T> {
    values.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small, positive counts")]
    let rank = (share * values.len() as f64).ceil() as usize;
    values.get(rank.max(1) - 1).copied()
}

fn push<T>(list: &mut VecDeque<(Instant, T)>, value: T, now: Instant, keep: Duration) {
    while list.front().is_some_and(|(when, _)| now.saturating_duration_since(*when) > keep) || list.len() >= MOST {
        list.pop_front();
    }
    list.push_back((now, value));
}

fn recent<T: Copy>(list: &VecDeque<(Instant, T)>, now: Instant, keep: Duration) -> Vec<T> {
    list.iter().rev().take_while(|(when, _)| now.saturating_duration_since(*when) <= keep).map(|(_, value)| *value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::{Clock, Time};

    #[test]
    fn quantiles_are_values_that_were_seen() {
        assert_eq!(quantile(Vec::<u64>::new(), 0.5), None);
        assert_eq!(quantile(vec![7], 0.95), Some(7));
        assert_eq!(quantile(vec![3, 1, 2], 0.5), Some(2));
        assert_eq!(quantile((1..=100).rev().collect(), 0.95), Some(95));
        assert_eq!(quantile(vec![4, 3, 2, 1], 0.0), Some(1));
    }

    #[test]
    fn figures_forget_what_is_old() {
        let now = Clock::manual(Time::BUILT).steady();
        let mut estimate = Estimate::default();
        assert_eq!((estimate.rtt(now), estimate.failed_ratio(now), estimate.download(now)), (None, None, None));
        for millis in [100, 300, 200] {
            estimate.connected(Duration::from_millis(millis), now);
        }
        estimate.failed(now);
        estimate.first_byte(Duration::from_millis(500), now);
        estimate.second(alone(BUSY - 1), now);
        assert_eq!(estimate.download(now), None, "not a busy second");
        for second in 0..100 {
            estimate.second(alone(100_000 + second), now);
        }
        assert_eq!(estimate.rtt(now), Some(0.2));
        assert_eq!(estimate.first_byte_median(now), Some(0.5));
        assert_eq!(estimate.failed_ratio(now), Some(0.25));
        assert_eq!(estimate.download(now), Some(100_094));
        let later = now + RECENT + Duration::from_secs(1);
        assert_eq!((estimate.rtt(later), estimate.failed_ratio(later)), (None, None));
        assert!(estimate.download(later).is_some());
        assert_eq!(estimate.download(now + HOUR * 2), None);
    }

    #[test]
    fn slow_is_far_from_the_usual_and_not_just_idle() {
        let now = Clock::manual(Time::BUILT).steady();
        let mut estimate = Estimate::default();
        let usual = |rtt, rate| Usual { rtt, rate, first_byte: None };
        assert!(!estimate.looks_slow(usual(Some(0.04), Some(1_000_000)), now), "idle is not slow");
        for _ in 0..3 {
            estimate.connected(Duration::from_millis(250), now);
        }
        assert!(!estimate.looks_slow(usual(Some(0.04), None), now), "six times as long, but nobody notices");
        for _ in 0..4 {
            estimate.connected(Duration::from_millis(900), now);
        }
        assert!(estimate.looks_slow(usual(Some(0.04), None), now));
        assert!(!estimate.looks_slow(usual(Some(0.6), None), now), "a satellite line is always like this");
        let class = Came { bytes: 20_000, awaited: 20_000, transfers: SEVERAL };
        let mut estimate = minute(class, now);
        assert!(estimate.looks_slow(usual(None, Some(1_000_000)), now));
        assert!(!estimate.looks_slow(usual(None, Some(100_000)), now));
        estimate.second(Came { bytes: 400_000, ..class }, now);
        estimate.second(Came { bytes: 400_000, ..class }, now);
        estimate.second(Came { bytes: 400_000, ..class }, now);
        assert!(!estimate.looks_slow(usual(None, Some(1_000_000)), now), "what else came counts as well");
    }

    #[test]
    fn a_radio_or_a_night_is_no_slow_line() {
        let now = Clock::manual(Time::BUILT).steady();
        let usual = Usual { rtt: Some(0.2), first_byte: Some(0.3), rate: Some(1_000_000) };
        let mut night = minute(Came { bytes: 20_000, awaited: 0, transfers: 0 }, now);
        let radio = minute(alone(20_000), now);
        assert!(!night.looks_slow(usual, now) && !radio.looks_slow(usual, now));
        for (connect, answer, slow) in [(250, 400, false), (550, 400, true), (250, 700, true)] {
            let mut estimate = minute(alone(20_000), now);
            for estimate in [&mut night, &mut estimate] {
                for _ in 0..LATE_LEAST {
                    estimate.connected(Duration::from_millis(connect), now);
                    estimate.first_byte(Duration::from_millis(answer), now);
                }
            }
            assert_eq!(estimate.looks_slow(usual, now), slow, "{connect} {answer}");
            assert!(!night.looks_slow(usual, now));
        }
    }

    /// One transfer, which a person waits for.
    fn alone(bytes: u64) -> Came {
        Came { bytes, awaited: bytes, transfers: 1 }
    }

    /// As many seconds of it as a minute needs.
    fn minute(came: Came, now: Instant) -> Estimate {
        let mut estimate = Estimate::default();
        for _ in 0..SLOW_BUSY {
            estimate.second(came, now);
        }
        estimate
    }
}
