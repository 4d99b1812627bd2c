//! How much one node may have kept: what a school makes and a generous backlog, so that a box in wrong hands cannot fill the hub's disk.
//! Pure: time comes in as an argument.
//!
//! A school makes some 130 records a day, and after 90 days without a line it brings 12,000 at once. Whoever has spent more is told when
//! to come again, and loses nothing: records wait in the node's outbox. What was kept before costs nothing, so repeating is free.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Records of one node that are taken at once: four times what 90 days without a line leave.
const BACKLOG: u32 = 50_000;

/// After them, one so often: 5,000 a day, forty times what a school makes.
const EACH: Duration = Duration::from_millis(17_280);

/// Nodes are looked through for those that owe nothing after so many new ones.
const SWEEP: usize = 1_024;

/// What each node has spent, as the moment at which it will owe nothing.
#[derive(Debug, Default)]
pub(crate) struct Allowance {
    clear: HashMap<String, Instant>,
    /// How many there were after the last look.
    swept: usize,
}

impl Allowance {
    /// Whether a node may send. `Err`: how long until it may.
    pub(crate) fn ask(&self, node: &str, now: Instant) -> Result<(), Duration> {
        let ahead = self.clear.get(node).map_or(Duration::ZERO, |clear| clear.saturating_duration_since(now));
        let most = EACH * BACKLOG;
        if ahead >= most { Err(ahead.saturating_sub(most) + EACH) } else { Ok(()) }
    }

    /// Gives back what was noted and not kept.
    pub(crate) fn give_back(&mut self, node: &str, records: u64) {
        let cost = EACH.saturating_mul(u32::try_from(records).unwrap_or(u32::MAX));
        if let Some(clear) = self.clear.get_mut(node) {
            *clear = clear.checked_sub(cost).unwrap_or(*clear);
        }
    }

    /// Notes what is kept of a node, beforehand: whoever hangs up meanwhile has spent it. Only nodes of the roll come here, so there are no more of them than that holds.
    pub(crate) fn spend(&mut self, node: &str, records: u64, now: Instant) {
        if records == 0 {
            return;
        }
        let cost = EACH.saturating_mul(u32::try_from(records).unwrap_or(u32::MAX));
        let clear = self.clear.get(node).map_or(now, |clear| now.max(*clear));
        self.clear.insert(node.to_owned(), clear.checked_add(cost).unwrap_or(clear));
        if self.clear.len() >= self.swept + SWEEP {
            self.clear.retain(|_, clear| *clear > now);
            self.swept = self.clear.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::{Clock, Time};

    #[test]
    fn what_was_not_kept_is_given_back() {
        let (mut allowance, clock) = (Allowance::default(), Clock::manual(Time::BUILT));
        allowance.spend("n", u64::from(BACKLOG), clock.steady());
        assert!(allowance.ask("n", clock.steady()).is_err(), "spent before anything is kept");
        allowance.give_back("n", u64::from(BACKLOG));
        assert!(allowance.ask("n", clock.steady()).is_ok());
        allowance.give_back("stranger", 7);
        assert!(allowance.ask("stranger", clock.steady()).is_ok());
    }

    #[test]
    fn a_backlog_at_once_then_forty_times_what_a_school_makes() {
        let (mut allowance, clock) = (Allowance::default(), Clock::manual(Time::BUILT));
        for _ in 0..12 {
            assert_eq!(allowance.ask("a", clock.steady()), Ok(()));
            allowance.spend("a", 4_096, clock.steady());
        }
        assert_eq!(allowance.ask("a", clock.steady()), Ok(()), "49,152 are within it");
        allowance.spend("a", 4_096, clock.steady());
        let wait = allowance.ask("a", clock.steady()).expect_err("spent");
        assert_eq!(wait, EACH * (53_248 - BACKLOG + 1));
        assert_eq!(allowance.ask("b", clock.steady()), Ok(()), "nobody pays for another");
        clock.advance(EACH * (53_248 - BACKLOG));
        assert!(allowance.ask("a", clock.steady()).is_err());
        clock.advance(EACH);
        assert_eq!(allowance.ask("a", clock.steady()), Ok(()));
        // Every day forty times what a school makes, for a month.
        for day in 0..30 {
            clock.advance(Duration::from_hours(24));
            assert_eq!(allowance.ask("a", clock.steady()), Ok(()), "{day}");
            allowance.spend("a", 5_000, clock.steady());
        }
    }

    #[test]
    fn whoever_owes_nothing_is_forgotten() {
        let (mut allowance, clock) = (Allowance::default(), Clock::manual(Time::BUILT));
        for number in 0..100_000_u32 {
            allowance.spend(&number.to_string(), 1, clock.steady());
            if number % 100 == 99 {
                clock.advance(EACH);
            }
        }
        assert!(allowance.clear.len() <= 2 * SWEEP, "{}", allowance.clear.len());
        allowance.spend("idle", 0, clock.steady());
        assert!(!allowance.clear.contains_key("idle"));
    }
}
