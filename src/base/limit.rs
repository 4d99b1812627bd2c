//! How often a client may fail to show a token or a code that counts: a handful at once, then one now and then (the generic cell
//! rate algorithm, ITU-T I.371, one moment a client). Pure: time comes in as an argument.
//!
//! # Why a token that counts is never held up
//!
//! Tokens have 256 random bits: no number of tries finds one. The limit spares work and the log, and it must not let one careless
//! script lock out a colleague behind the same address.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Failures that are answered one by one.
const BURST: u32 = 10;

/// After them, one so often.
const PAUSE: Duration = Duration::from_secs(6);

/// Clients that are remembered: more than a school has devices. Past it, whoever would be forgiven next is.
const CLIENTS: usize = 1024;

/// Failures by client, or by whatever else they are counted.
#[derive(Debug)]
pub struct Failures<K = IpAddr>(HashMap<K, Instant>);

impl<K> Default for Failures<K> {
    fn default() -> Failures<K> {
        Failures(HashMap::new())
    }
}

impl Failures {
    /// Notes a failure of a client's household. `Err`: one too many; how long until the next is answered.
    ///
    /// # Errors
    /// See above: it is the outcome, not a fault.
    pub fn note(&mut self, client: IpAddr, now: Instant) -> Result<(), Duration> {
        self.note_as(household(client), now)
    }
}

impl<K: Copy + Eq + Hash> Failures<K> {
    /// The same under any key.
    ///
    /// # Errors
    /// See [`Failures::note`].
    pub fn note_as(&mut self, client: K, now: Instant) -> Result<(), Duration> {
        if !self.0.contains_key(&client) && self.0.len() >= CLIENTS {
            self.make_room(now);
        }
        let free = self.0.get(&client).map_or(now, |free| now.max(*free));
        let ahead = free.saturating_duration_since(now);
        let most = PAUSE * (BURST - 1);
        if ahead > most {
            return Err(ahead.saturating_sub(most));
        }
        self.0.insert(client, free + PAUSE);
        Ok(())
    }

    /// Takes the newest note under a key back: it was no failure.
    pub fn take_back(&mut self, client: &K) {
        if let Some(free) = self.0.get_mut(client) {
            *free = free.checked_sub(PAUSE).unwrap_or(*free);
        }
    }

    /// Forgets the failures under a key.
    pub fn forgive(&mut self, client: &K) {
        self.0.remove(client);
    }

    /// Forgets everybody whose failures are forgiven, else whoever would be next.
    fn make_room(&mut self, now: Instant) {
        self.0.retain(|_, free| *free > now);
        if self.0.len() >= CLIENTS
            && let Some(next) = self.0.iter().min_by_key(|(_, free)| **free).map(|(client, _)| *client)
        {
            self.0.remove(&next);
        }
    }
}

/// The client as one household: an IPv6 device has a whole /64 of addresses.
pub fn household(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => IpAddr::from((u128::from(address) >> 64 << 64).to_be_bytes()),
        four @ IpAddr::V4(_) => four,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::{Clock, Time};
    use std::net::Ipv6Addr;

    #[test]
    fn a_handful_at_once_then_now_and_then() {
        let (mut failures, clock) = (Failures::default(), Clock::manual(Time::BUILT));
        let (one, other) = (IpAddr::from([10, 0, 0, 7]), IpAddr::from([10, 0, 0, 8]));
        for _ in 0..BURST {
            assert_eq!(failures.note(one, clock.steady()), Ok(()));
        }
        assert_eq!(failures.note(one, clock.steady()), Err(PAUSE));
        assert_eq!(failures.note(other, clock.steady()), Ok(()), "nobody pays for another");
        clock.advance(PAUSE / 2);
        assert_eq!(failures.note(one, clock.steady()), Err(PAUSE / 2), "what was not answered does not count");
        clock.advance(PAUSE / 2);
        assert_eq!(failures.note(one, clock.steady()), Ok(()));
        clock.advance(PAUSE * BURST);
        for _ in 0..BURST {
            assert_eq!(failures.note(one, clock.steady()), Ok(()), "forgiven");
        }
        failures.take_back(&one);
        assert_eq!(failures.note(one, clock.steady()), Ok(()), "one was none");
        assert_eq!(failures.note(one, clock.steady()), Err(PAUSE), "and no more than that one");
    }

    #[test]
    fn many_clients_take_bounded_room_and_a_prefix_is_one_client() {
        let (mut failures, clock) = (Failures::default(), Clock::manual(Time::BUILT));
        let six = |net: u16, host: u16| IpAddr::from(Ipv6Addr::new(0xfd00, 0, 0, net, 0, 0, 0, host));
        for host in 0..100 {
            let said = failures.note(six(1, host), clock.steady());
            assert_eq!(said.is_ok(), host < 10, "{host}");
        }
        for net in 0..5000 {
            let _ = failures.note(six(net, 1), clock.steady());
        }
        assert_eq!(failures.0.len(), CLIENTS);
        clock.advance(PAUSE * 20);
        assert_eq!(failures.note(six(9999, 1), clock.steady()), Ok(()));
        assert_eq!(failures.0.len(), 1, "the forgiven are forgotten");
    }
}
