//! How much of an echo a network gets: a bucket for each /24 and /56, one for all hellos, bounded memory. Pure.
//!
//! A provider may hide a thousand schools behind one network: at ten pings each quarter of an hour that is a dozen packets a second.
//! Hellos may carry anybody's address, so they get less, and all of them together no more than 80 kB/s.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Pings with a right cookie: a second, and at once.
const PINGS: (f64, f64) = (100.0, 400.0);
/// Hellos of a network.
const HELLOS: (f64, f64) = (8.0, 32.0);
/// Hellos of everybody.
const ALL_HELLOS: (f64, f64) = (2_000.0, 4_000.0);
/// A network that was not seen for so long has its buckets full again.
const IDLE: Duration = Duration::from_secs(8);

/// A bucket of packets.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    fn full(rate: (f64, f64), now: Instant) -> Bucket {
        Bucket { left: rate.1, at: now }
    }

    fn take(&mut self, rate: (f64, f64), now: Instant) -> bool {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + since * rate.0).min(rate.1);
        self.at = now;
        let may = self.left >= 1.0;
        if may {
            self.left -= 1.0;
        }
        may
    }
}

/// The buckets.
pub(super) struct Limit {
    most: usize,
    hellos: Bucket,
    /// Those for whom there is no room of their own share one.
    others: (Bucket, Bucket),
    /// By network: hellos, pings.
    blocks: HashMap<u64, (Bucket, Bucket)>,
    /// When it was last looked for idle ones.
    swept: Instant,
}

impl Limit {
    /// With room for so many networks.
    pub(super) fn new(most: usize, now: Instant) -> Limit {
        let pair = (Bucket::full(HELLOS, now), Bucket::full(PINGS, now));
        Limit { most, hellos: Bucket::full(ALL_HELLOS, now), others: pair, blocks: HashMap::new(), swept: now }
    }

    /// Whether one more answer may go there; `proven`: it was shown that somebody there asked.
    pub(super) fn take(&mut self, client: IpAddr, proven: bool, now: Instant) -> bool {
        let block = block(client);
        if self.blocks.len() >= self.most && !self.blocks.contains_key(&block) && now.saturating_duration_since(self.swept) >= IDLE {
            self.swept = now;
            self.blocks.retain(|_, (hellos, pings)| now.saturating_duration_since(hellos.at.max(pings.at)) < IDLE);
        }
        let room = self.blocks.len() < self.most;
        let buckets = match self.blocks.get_mut(&block) {
            Some(buckets) => buckets,
            None if room => self.blocks.entry(block).or_insert((Bucket::full(HELLOS, now), Bucket::full(PINGS, now))),
            None => &mut self.others,
        };
        if proven { buckets.1.take(PINGS, now) } else { buckets.0.take(HELLOS, now) && self.hellos.take(ALL_HELLOS, now) }
    }
}

/// The network of an address: a /24 of IPv4, a /56 of IPv6.
fn block(client: IpAddr) -> u64 {
    match client.to_canonical() {
        IpAddr::V4(ip) => u64::from(u32::from(ip) >> 8) | 1 << 63,
        IpAddr::V6(ip) => u64::try_from(u128::from(ip) >> 72).unwrap_or(0) & !(1 << 63),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::{Clock, Time};

    fn start() -> Instant {
        Clock::manual(Time::BUILT).steady()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_network_gets_its_share_and_gets_it_again() {
        let t = start();
        let mut limit = Limit::new(8, t);
        let taken = |limit: &mut Limit, proven, now| (0..1_000).filter(|_| limit.take(ip("192.0.2.1"), proven, now)).count();
        assert_eq!(taken(&mut limit, false, t), 32);
        assert!(!limit.take(ip("192.0.2.200"), false, t), "the same network");
        assert!(limit.take(ip("192.0.3.1"), false, t) && limit.take(ip("2001:db8::1"), false, t));
        assert_eq!(taken(&mut limit, true, t), 400, "pings have their own");
        assert_eq!(taken(&mut limit, false, t + Duration::from_secs(1)), 8);
        assert_eq!(taken(&mut limit, true, t + Duration::from_secs(2)), 200);
    }

    #[test]
    fn forged_addresses_take_no_memory_and_everybody_together_gets_a_bounded_rest() {
        let t = start();
        let mut limit = Limit::new(64, t);
        let forged = |number: u32| IpAddr::from(std::net::Ipv4Addr::from(number << 8));
        let answered = (0..100_000).filter(|number| limit.take(forged(*number), false, t)).count();
        assert!(limit.blocks.len() <= 64 && answered <= 4_000, "{answered}, {}", limit.blocks.len());
        // A school that came before the flood keeps its own share, one that comes later finds it once the flood is over.
        assert!(limit.take(forged(7), true, t));
        let later = t + IDLE;
        assert!(limit.take(ip("203.0.113.5"), true, later));
        assert!(limit.blocks.len() <= 64 && limit.blocks.contains_key(&block(ip("203.0.113.5"))));
    }

    #[test]
    fn networks_are_told_apart() {
        assert_eq!(block(ip("192.0.2.1")), block(ip("::ffff:192.0.2.9")));
        assert_ne!(block(ip("192.0.2.1")), block(ip("192.0.3.1")));
        assert_eq!(block(ip("2001:db8:0:1::1")), block(ip("2001:db8:0:ff::1")));
        assert_ne!(block(ip("2001:db8:0:100::1")), block(ip("2001:db8:0:200::1")));
    }
}
