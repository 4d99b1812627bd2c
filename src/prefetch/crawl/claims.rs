//! What is under way and will count: against the pack's cap and its hosts' shares it counts from the moment when it is asked for, so
//! that what flies side by side does not each take the room that is there once.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that are on their way, by wish.
#[derive(Debug, Default)]
pub(super) struct Claims(HashMap<i64, Claim>);

#[derive(Debug)]
struct Claim {
    host: String,
    /// Its length when it was last here; 0: nobody knows.
    expected: u64,
    /// What has come of it so far.
    arrived: Arc<AtomicU64>,
}

impl Claims {
    /// A wish goes; gives where to count what arrives of it.
    pub(super) fn add(&mut self, wish: i64, host: &str, expected: Option<u64>) -> Arc<AtomicU64> {
        let arrived = Arc::<AtomicU64>::default();
        let claim = Claim { host: host.to_owned(), expected: expected.unwrap_or(0), arrived: Arc::clone(&arrived) };
        self.0.insert(wish, claim);
        arrived
    }

    /// It has ended.
    pub(super) fn drop(&mut self, wish: i64) {
        self.0.remove(&wish);
    }

    /// Bytes that are claimed at hosts for which `counts`: of each the length that it had, or what has come where that is more.
    pub(super) fn sum(&self, counts: impl Fn(&str) -> bool) -> u64 {
        let claimed = |claim: &Claim| claim.expected.max(claim.arrived.load(Ordering::Relaxed));
        self.0.values().filter(|claim| counts(&claim.host)).map(claimed).fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_expected_counts_and_what_has_come_where_it_is_more() {
        let mut claims = Claims::default();
        let (known, unknown) = (claims.add(1, "a.kz", Some(100)), claims.add(2, "b.kz", None));
        assert_eq!((claims.sum(|_| true), claims.sum(|host| host == "b.kz")), (100, 0));
        known.store(40, Ordering::Relaxed);
        unknown.store(30, Ordering::Relaxed);
        assert_eq!((claims.sum(|_| true), claims.sum(|host| host == "b.kz")), (130, 30));
        known.store(140, Ordering::Relaxed);
        claims.drop(2);
        assert_eq!(claims.sum(|_| true), 140);
    }
}
