//! The last few URLs of which something was learned: whatever is asked for, no more is remembered.

use crate::base::target::UrlKey;
use std::collections::{HashMap, VecDeque};

/// How many URLs are remembered: 4,096 × about 60 B.
const REMEMBERED: usize = 4096;

/// The last few URLs of which something is known.
pub(super) struct Memory<T> {
    order: VecDeque<UrlKey>,
    known: HashMap<UrlKey, T>,
}

impl<T> Default for Memory<T> {
    fn default() -> Memory<T> {
        Memory { order: VecDeque::new(), known: HashMap::new() }
    }
}

impl<T> Memory<T> {
    /// What is remembered of a URL.
    pub(super) fn get(&self, url: &UrlKey) -> Option<&T> {
        self.known.get(url)
    }

    /// Remembers this; the oldest is forgotten.
    pub(super) fn put(&mut self, url: UrlKey, value: T) {
        if self.known.insert(url, value).is_none() {
            self.order.push_back(url);
            while self.order.len() > REMEMBERED {
                if let Some(oldest) = self.order.pop_front() {
                    self.known.remove(&oldest);
                }
            }
        }
    }

    /// Forgets it.
    pub(super) fn forget(&mut self, url: &UrlKey) {
        if self.known.remove(url).is_some() {
            self.order.retain(|known| known != url);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut memory = Memory::default();
        let url = |number: usize| {
            let mut url = [0; 16];
            url[..8].copy_from_slice(&(number as u64).to_le_bytes());
            UrlKey(url)
        };
        for number in 0..=REMEMBERED {
            memory.put(url(number), number);
        }
        assert_eq!((memory.get(&url(0)), memory.get(&url(1)), memory.known.len()), (None, Some(&1), REMEMBERED));
        memory.forget(&url(REMEMBERED));
        assert_eq!((memory.get(&url(REMEMBERED)), memory.order.len()), (None, REMEMBERED - 1));
    }
}
