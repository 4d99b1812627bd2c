//! Samples in, figures out. Pure: every moment is an argument.
//!
//! * Download rate: the 95th percentile of *busy seconds* over an hour, where a busy second is one in which at least
//!   `BUSY` bytes came in. A free estimate of what the line can do, since busy seconds near the top are those in which the
//!   line and not the origin was the limit.
//! * Latency: the median TCP connect time (one round trip) over `RECENT`.
//! * Failures: failed / attempted connections over `RECENT`.
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

/// Samples of the last hour.
#[derive(Debug, Default)]
pub struct Estimate {
    connects: VecDeque<(Instant, f64)>,
    first_bytes: VecDeque<(Instant, f64)>,
    attempts: VecDeque<(Instant, bool)>,
    busy: VecDeque<(Instant, u64)>,
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

    /// A second passed in which `bytes` came in.
    pub fn second(&mut self, bytes: u64, now: Instant) {
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

    /// Whether the last minute looks slow against what is usual: `usual_rtt` in seconds, `usual_rate` in bytes per second.
    #[expect(clippy::cast_precision_loss, reason = "rates fit a double")]
    pub fn looks_slow(&self, usual_rtt: Option<f64>, usual_rate: Option<u64>, now: Instant) -> bool {
        let minute = Duration::from_mins(1);
        let connects = recent(&self.connects, now, minute);
        let late = match (quantile(connects.clone(), 0.5), usual_rtt) {
            (Some(rtt), Some(usual)) if connects.len() >= 3 => rtt > usual * SLOW_TIMES && rtt > usual + SLOW_EXTRA,
            _ => false,
        };
        let busy = recent(&self.busy, now, minute);
        let thin = busy.len() >= SLOW_BUSY
            && matches!((quantile(busy, 0.95), usual_rate), (Some(rate), Some(usual)) if (rate as f64) < usual as f64 * SLOW_SHARE);
        late || thin
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
        estimate.second(BUSY - 1, now);
        assert_eq!(estimate.download(now), None, "not a busy second");
        for second in 0..100 {
            estimate.second(100_000 + second, now);
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
        assert!(!estimate.looks_slow(Some(0.04), Some(1_000_000), now), "idle is not slow");
        for _ in 0..3 {
            estimate.connected(Duration::from_millis(250), now);
        }
        assert!(!estimate.looks_slow(Some(0.04), None, now), "six times as long, but nobody notices");
        for _ in 0..4 {
            estimate.connected(Duration::from_millis(900), now);
        }
        assert!(estimate.looks_slow(Some(0.04), None, now));
        assert!(!estimate.looks_slow(Some(0.6), None, now), "a satellite line is always like this");
        let mut estimate = Estimate::default();
        for _ in 0..SLOW_BUSY {
            estimate.second(20_000, now);
        }
        assert!(estimate.looks_slow(None, Some(1_000_000), now));
        assert!(!estimate.looks_slow(None, Some(100_000), now));
    }
}
