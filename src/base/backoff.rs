//! Waits between tries: doubling, capped, with full jitter from a given random share (AWS architecture blog, "Exponential
//! backoff and jitter", 2015).

use crate::base::clock::Time;
use std::time::Duration;

/// How long to wait between tries.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// The ceiling of the first wait.
    pub first: Duration,
    /// The ceiling of every later wait.
    pub most: Duration,
}

impl Backoff {
    /// The wait before try number `tries` (0 is the first repeat); `share` in 0..=1 is the jitter, from a seed in tests.
    pub fn wait(self, tries: u32, share: f64) -> Duration {
        let ceiling = self.first.saturating_mul(2_u32.saturating_pow(tries.min(30))).min(self.most);
        ceiling.mul_f64(share.clamp(0.0, 1.0))
    }
}

/// What `Retry-After` asks for (RFC 9110 section 10.2.3): seconds, or a date, counted from the answer's own `Date`; a date alone says
/// nothing, for clocks differ.
pub fn retry_after(text: &str, date: Option<Time>) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number holds ask for very long.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    Time::parse_http(text).zip(date).map(|(until, date)| until.since(date))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_stop_at_the_cap() {
        let backoff = Backoff { first: Duration::from_secs(30), most: Duration::from_hours(1) };
        let waits: Vec<u64> = (0..9).map(|tries| backoff.wait(tries, 1.0).as_secs()).collect();
        assert_eq!(waits, [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]);
        assert_eq!(backoff.wait(u32::MAX, 0.5).as_secs(), 1800);
        assert_eq!(backoff.wait(3, f64::NAN.max(0.0)), Duration::ZERO);
    }

    #[test]
    fn retry_after_in_both_forms() {
        let now = Time::parse_http("Wed, 25 Nov 2026 17:00:00 GMT").expect("a date");
        let table = [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Wed, 25 Nov 2026 17:05:00 GMT", Some(300)),
            ("Wed, 25 Nov 2026 16:05:00 GMT", Some(0)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("soon", None),
            ("-5", None),
            ("", None),
        ];
        for (text, wanted) in table {
            assert_eq!(retry_after(text, Some(now)), wanted.map(Duration::from_secs), "{text}");
        }
        assert_eq!(retry_after("Wed, 25 Nov 2026 17:05:00 GMT", None), None);
    }
}
