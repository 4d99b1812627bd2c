//! Which stored addresses devices have used today, in memory: an address once a day, never who asked. Nothing is written for a hit;
//! whoever keeps the days fetches the marks now and then.
//!
//! A hit from memory costs one comparison: the entry remembers on which day it was marked (`Prepared`).

use crate::base::target::UrlKey;
use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};

/// Enough that two cores seldom meet in one.
const SHARDS: usize = 16;
/// Most marks of one shard: together some 10 MB. What comes beyond in one hour is not marked.
const MOST: usize = 8192;

/// The marks.
pub(crate) struct Uses {
    /// Counts days, from 1, so that what was never marked has another.
    day: AtomicU32,
    shards: [Mutex<HashSet<UrlKey>>; SHARDS],
}

impl Default for Uses {
    fn default() -> Uses {
        Uses { day: AtomicU32::new(1), shards: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl Uses {
    /// Marks an address.
    pub(crate) fn mark(&self, key: &UrlKey) {
        let mut shard = self.shards[usize::from(key.0[0]) % SHARDS].lock();
        if shard.len() < MOST {
            shard.insert(*key);
        }
    }

    /// Marks an address whose entry is in memory and remembers in `marked` when it was.
    pub(crate) fn mark_once(&self, marked: &AtomicU32, key: &UrlKey) {
        let day = self.day.load(Ordering::Relaxed);
        if marked.load(Ordering::Relaxed) != day {
            marked.store(day, Ordering::Relaxed);
            self.mark(key);
        }
    }

    /// The marks since this was asked last.
    pub(crate) fn take(&self) -> Vec<UrlKey> {
        self.shards.iter().flat_map(|shard| std::mem::take(&mut *shard.lock())).collect()
    }

    /// A new day: every entry may be marked again.
    pub(crate) fn turn(&self) {
        self.day.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_marked_once_a_day_and_marks_are_bounded() {
        let (uses, entry, key) = (Uses::default(), AtomicU32::new(0), UrlKey([7; 16]));
        for _ in 0..3 {
            uses.mark_once(&entry, &key);
        }
        assert_eq!(uses.take(), [key]);
        uses.mark_once(&entry, &key);
        assert_eq!(uses.take(), [], "the same day");
        uses.turn();
        uses.mark_once(&entry, &key);
        assert_eq!(uses.take(), [key]);
        for number in 0..u32::try_from(MOST * 3).expect("small") {
            let mut key = [0; 16];
            key[4..8].copy_from_slice(&number.to_le_bytes());
            uses.mark(&UrlKey(key));
        }
        assert_eq!(uses.take().len(), MOST);
    }
}
