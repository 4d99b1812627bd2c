//! Waits between tries: doubling, capped, with full jitter from a given random share (AWS architecture blog, "Exponential
//! backoff and jitter", 2015).

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
}
