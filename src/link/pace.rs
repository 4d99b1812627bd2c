//! A cap on background bytes: a token bucket kept as one moment, the *virtual finish* of everything granted so far (the
//! generic cell rate algorithm, ITU-T I.371). Each taker reserves its place under a short lock and then sleeps until its bytes
//! fit, so takers are served in the order they came, nobody spins, and a dropped taker only wastes its own share.

use crate::base::unit::BitRate;
use parking_lot::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// What may pass at once after a pause: one second's worth.
const BURST: Duration = Duration::from_secs(1);

/// A token bucket shared by all background transfers.
#[derive(Debug)]
pub struct Pace(Mutex<Bucket>);

#[derive(Debug)]
struct Bucket {
    /// Bytes per second; `None`: no cap.
    rate: Option<u64>,
    /// When all that was granted would have passed at exactly `rate`.
    finish: Option<Instant>,
}

impl Pace {
    /// `None`: no cap. A rate below 8 bit/s counts as 8 bit/s.
    pub fn new(rate: Option<BitRate>) -> Pace {
        Pace(Mutex::new(Bucket { rate: rate.map(|rate| rate.bytes_per_second().max(1)), finish: None }))
    }

    /// Changes the cap for all that is taken from now on.
    pub fn set(&self, rate: Option<BitRate>) {
        self.0.lock().rate = rate.map(|rate| rate.bytes_per_second().max(1));
    }

    /// Waits until `bytes` may pass. May be dropped at any await; the share is then lost.
    pub async fn take(&self, bytes: u64) {
        let ready = self.0.lock().reserve(bytes, Instant::now());
        if let Some(ready) = ready {
            tokio::time::sleep_until(ready).await;
        }
    }
}

impl Bucket {
    /// When `bytes` may pass; `None`: now.
    fn reserve(&mut self, bytes: u64, now: Instant) -> Option<Instant> {
        let rate = self.rate?;
        let cost = Duration::from_nanos(u64::try_from(u128::from(bytes) * 1_000_000_000 / u128::from(rate)).unwrap_or(u64::MAX));
        // A day is longer than any honest reservation, and keeps the sum inside what an instant can hold.
        let finish = self.finish.map_or(now, |finish| finish.max(now)) + cost.min(Duration::from_secs(86_400));
        self.finish = Some(finish);
        let ready = finish.checked_sub(BURST)?;
        (ready > now).then_some(ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test(start_paused = true)]
    async fn a_second_may_pass_at_once_and_then_the_rate_holds() {
        let pace = Pace::new(Some(BitRate(80_000)));
        let start = Instant::now();
        pace.take(10_000).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        for _ in 0..10 {
            pace.take(5_000).await;
        }
        assert_eq!(start.elapsed().as_secs(), 5);
        pace.set(None);
        pace.take(u64::MAX).await;
        assert_eq!(start.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn takers_are_served_in_order() {
        let pace = Arc::new(Pace::new(Some(BitRate(8_000))));
        let order = Arc::new(Mutex::new(Vec::new()));
        let takers = (0..6).map(|name| {
            let (pace, order) = (pace.clone(), order.clone());
            async move {
                for round in 0..3 {
                    pace.take(1_000).await;
                    order.lock().push((round, name));
                }
            }
        });
        futures_util::future::join_all(takers).await;
        let order = order.lock().clone();
        let wanted: Vec<_> = (0..3).flat_map(|round| (0..6).map(move |name| (round, name))).collect();
        assert_eq!(order, wanted);
    }
}
