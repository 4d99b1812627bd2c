//! Answers and small bodies in memory, ready for the wire; the hit path ends here. Sharded by URL; each shard is a SIEVE (Zhang
//! and others, NSDI 2024): a hit sets one bit under a read lock, eviction walks a hand from old to new and takes the first
//! without the bit. Weighed by bytes, meta and fields included.
//!
//! Larger bodies lie in an arena, from where a socket takes them without a copy.

use crate::base::arena::Arena;
use crate::base::target::UrlKey;
use crate::store::{Entry, Variants};
use bytes::Bytes;
use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Enough that two cores seldom meet in one.
const SHARDS: usize = 16;
/// What an entry weighs beside its texts: its struct, its map places, allocator overhead, the seat's likely content.
const OVERHEAD: u64 = 1536;
/// Maps of fields that an entry in use comes to: its own, and two that the floor above derives from it and puts on the seat.
const MAPS: usize = 3;
/// A field's slot in such a map: name, value, hash, links, and its share of what the map keeps free.
const FIELD: usize = 136;
/// Bodies from here on lie in the arena. At 32 KiB a copy costs 9 µs and sendfile 6 to 8, a second system call included; below, the
/// rest of a last page would weigh more than is won.
const PLACED: usize = 32 << 10;
/// Addresses of the arena, in limits: bodies that have left but are still being sent, and gaps between slots. Costs no memory.
const ADDRESSES: u64 = 2;
/// Marks the end of a list.
const NONE: u32 = u32::MAX;

/// The hot tier.
pub(crate) struct Hot {
    shards: [RwLock<Shard>; SHARDS],
    bytes: AtomicU64,
    limit: u64,
    arena: Option<Arena>,
}

struct Node {
    url: UrlKey,
    variants: Option<Variants>,
    weight: u64,
    used: AtomicBool,
    /// Used since the store's own hand asked last (`evict/hand.rs`).
    hit: AtomicBool,
    older: u32,
    newer: u32,
}

struct Shard {
    places: HashMap<UrlKey, u32>,
    nodes: Vec<Node>,
    free: Vec<u32>,
    oldest: u32,
    newest: u32,
    hand: u32,
}

impl Hot {
    /// A tier of at most `limit` bytes.
    pub(crate) fn new(limit: u64) -> Hot {
        let addresses = usize::try_from(limit.saturating_mul(ADDRESSES)).ok().filter(|_| limit > 0);
        let arena = addresses.and_then(|length| match Arena::new(length) {
            Ok(arena) => Some(arena),
            Err(error) => {
                tracing::info!(%error, "bodies in memory are sent by copying: the kernel has no room for anything else");
                None
            }
        });
        Hot { shards: std::array::from_fn(|_| RwLock::new(Shard::new())), bytes: AtomicU64::new(0), limit, arena }
    }

    /// The body where it can be sent from best. A copy, if it is not there already.
    pub(crate) fn settle(&self, body: Bytes) -> Bytes {
        let arena = self.arena.as_ref().filter(|arena| body.len() >= PLACED && arena.place(&body).is_none());
        arena.and_then(|arena| arena.keep(&body)).unwrap_or(body)
    }

    /// Where larger bodies lie.
    pub(crate) fn bodies(&self) -> Option<&Arena> {
        self.arena.as_ref()
    }

    /// Bytes that an entry takes in memory, about.
    fn weigh(&self, entry: &Entry) -> u64 {
        let fields: usize = entry.meta.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + MAPS * FIELD).sum();
        let vary: usize = entry.meta.vary.iter().map(|(name, value)| name.len() + value.len() + 32).sum();
        let held = |bytes: &Bytes| match self.arena.as_ref().filter(|arena| arena.place(bytes).is_some()) {
            Some(arena) => arena.weight(bytes.len()),
            None => bytes.len(),
        };
        let body: usize = entry.body.iter().chain(entry.forms.made()).map(held).sum();
        OVERHEAD + (fields + vary + body + entry.meta.url.len()) as u64
    }

    fn shard(&self, url: &UrlKey) -> &RwLock<Shard> {
        &self.shards[usize::from(url.0[0]) % SHARDS]
    }

    /// The variants of a URL, for whoever changes them: that is no use of them.
    pub(crate) fn look(&self, url: &UrlKey) -> Option<Variants> {
        let shard = self.shard(url).read();
        shard.nodes[*shard.places.get(url)? as usize].variants.clone()
    }

    /// The variants of a URL; marks them used.
    pub(crate) fn get(&self, url: &UrlKey) -> Option<Variants> {
        let shard = self.shard(url).read();
        let node = &shard.nodes[*shard.places.get(url)? as usize];
        if !node.used.load(Ordering::Relaxed) {
            node.used.store(true, Ordering::Relaxed);
        }
        if !node.hit.load(Ordering::Relaxed) {
            node.hit.store(true, Ordering::Relaxed);
        }
        node.variants.clone()
    }

    /// Whether a URL was used since this was asked last.
    pub(crate) fn was_used(&self, url: &UrlKey) -> bool {
        let shard = self.shard(url).read();
        shard.places.get(url).is_some_and(|at| shard.nodes[*at as usize].hit.swap(false, Ordering::Relaxed))
    }

    /// Puts the variants of a URL in the place of what was there; makes room. The URLs that had to leave and were used.
    #[must_use]
    pub(crate) fn put(&self, url: &UrlKey, variants: Variants) -> Vec<UrlKey> {
        let weight = variants.iter().map(|entry| self.weigh(entry)).sum();
        if variants.is_empty() || weight > self.limit {
            self.remove(url);
            return Vec::new();
        }
        let old = self.shard(url).write().put(url, variants, weight);
        self.bytes.fetch_add(weight, Ordering::Relaxed);
        self.bytes.fetch_sub(old, Ordering::Relaxed);
        self.make_room(url)
    }

    /// Evicts until the tier is within its limit, the shard of this URL first. The URLs that had to leave and were used.
    fn make_room(&self, url: &UrlKey) -> Vec<UrlKey> {
        let mut used = Vec::new();
        let mut at = usize::from(url.0[0]) % SHARDS;
        let mut empty = 0;
        while self.bytes.load(Ordering::Relaxed) > self.limit && empty < SHARDS {
            let freed = self.shards[at].write().evict(&mut used);
            self.bytes.fetch_sub(freed, Ordering::Relaxed);
            // Shards take turns, so that each gives in proportion to how often it is filled.
            empty = if freed == 0 { empty + 1 } else { 0 };
            at = (at + 1) % SHARDS;
        }
        used
    }

    /// Weighs an entry again that has grown, if it is still here. The URLs that had to leave and were used.
    #[must_use]
    pub(crate) fn reweigh(&self, url: &UrlKey, entry: &Arc<Entry>) -> Vec<UrlKey> {
        let (more, less) = {
            let mut shard = self.shard(url).write();
            let Some(&at) = shard.places.get(url) else { return Vec::new() };
            let node = &mut shard.nodes[at as usize];
            let Some(variants) = node.variants.as_ref().filter(|variants| variants.iter().any(|one| Arc::ptr_eq(one, entry))) else {
                return Vec::new();
            };
            let weight = variants.iter().map(|entry| self.weigh(entry)).sum();
            (weight, std::mem::replace(&mut node.weight, weight))
        };
        self.bytes.fetch_add(more, Ordering::Relaxed);
        self.bytes.fetch_sub(less, Ordering::Relaxed);
        self.make_room(url)
    }

    /// Forgets a URL.
    pub(crate) fn remove(&self, url: &UrlKey) {
        let freed = self.shard(url).write().remove(url);
        self.bytes.fetch_sub(freed, Ordering::Relaxed);
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Shard {
    fn new() -> Shard {
        Shard { places: HashMap::new(), nodes: Vec::new(), free: Vec::new(), oldest: NONE, newest: NONE, hand: NONE }
    }

    /// The weight of what was replaced.
    fn put(&mut self, url: &UrlKey, variants: Variants, weight: u64) -> u64 {
        if let Some(&at) = self.places.get(url) {
            let node = &mut self.nodes[at as usize];
            node.variants = Some(variants);
            return std::mem::replace(&mut node.weight, weight);
        }
        let node = Node {
            url: *url,
            variants: Some(variants),
            weight,
            used: AtomicBool::new(false),
            hit: AtomicBool::new(false),
            older: self.newest,
            newer: NONE,
        };
        let at = if let Some(at) = self.free.pop() {
            self.nodes[at as usize] = node;
            at
        } else {
            self.nodes.push(node);
            u32::try_from(self.nodes.len() - 1).expect("fewer than 2^32 entries of 1 KiB and more")
        };
        match self.newest {
            NONE => self.oldest = at,
            newest => self.nodes[newest as usize].newer = at,
        }
        self.newest = at;
        self.places.insert(*url, at);
        0
    }

    fn remove(&mut self, url: &UrlKey) -> u64 {
        self.places.remove(url).map_or(0, |at| self.unlink(at))
    }

    fn unlink(&mut self, at: u32) -> u64 {
        let node = &mut self.nodes[at as usize];
        node.variants = None;
        let (older, newer, weight) = (node.older, node.newer, node.weight);
        match older {
            NONE => self.oldest = newer,
            older => self.nodes[older as usize].newer = newer,
        }
        match newer {
            NONE => self.newest = older,
            newer => self.nodes[newer as usize].older = older,
        }
        if self.hand == at {
            self.hand = newer;
        }
        self.free.push(at);
        weight
    }

    /// Evicts one; its weight, 0 when there is none. Its URL goes to `used` if it was hit.
    fn evict(&mut self, used: &mut Vec<UrlKey>) -> u64 {
        let mut at = if self.hand == NONE { self.oldest } else { self.hand };
        while at != NONE && self.nodes[at as usize].used.swap(false, Ordering::Relaxed) {
            let newer = self.nodes[at as usize].newer;
            at = if newer == NONE { self.oldest } else { newer };
        }
        if at == NONE {
            return 0;
        }
        self.hand = self.nodes[at as usize].newer;
        let url = self.nodes[at as usize].url;
        if self.nodes[at as usize].hit.load(Ordering::Relaxed) {
            used.push(url);
        }
        self.places.remove(&url);
        self.unlink(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::kit::entry;

    fn variants(n: usize) -> Variants {
        Arc::from([Arc::new(entry("http://a.kz/", &vec![0; n]))])
    }

    fn key(n: u16) -> UrlKey {
        let mut key = [0; 16];
        key[..2].copy_from_slice(&n.to_le_bytes());
        UrlKey(key)
    }

    #[test]
    fn what_is_used_stays_and_the_weight_is_kept() {
        let hot = Hot::new(100_000);
        let mut left_used = hot.put(&key(0), variants(1000)).len();
        for n in 1..400 {
            assert!(hot.get(&key(0)).is_some(), "after {n}");
            left_used += hot.put(&key(n), variants(1000)).len();
            assert!(hot.bytes() <= 100_000);
        }
        assert!(hot.get(&key(1)).is_none());
        assert_eq!(left_used, 0, "only the first was used, and it is still here");
        assert!(hot.was_used(&key(0)) && !hot.was_used(&key(0)));
        let left: u64 = (0..400).filter_map(|n| hot.get(&key(n))).map(|variants| hot.weigh(&variants[0])).sum();
        assert_eq!(left, hot.bytes());
        for n in 0..400 {
            hot.remove(&key(n));
        }
        assert_eq!(hot.bytes(), 0);
    }

    #[test]
    fn larger_bodies_lie_in_the_arena_and_weigh_whole_pages() {
        let hot = Hot::new(1 << 20);
        let arena = hot.bodies().expect("this kernel has one");
        let small = hot.settle(Bytes::from(vec![1; PLACED - 1]));
        let large = hot.settle(Bytes::from(vec![2; PLACED + 1]));
        assert!(arena.place(&small).is_none() && arena.place(&large).is_some());
        assert_eq!(hot.settle(large.clone()).as_ptr(), large.as_ptr(), "it stays where it is");
        let (heap, placed) = (entry("http://a.kz/", &large), Entry { body: Some(large.clone()), ..entry("http://a.kz/", &large) });
        assert_eq!(hot.weigh(&placed) - hot.weigh(&heap), (arena.weight(large.len()) - large.len()) as u64);
        drop(placed);
        // Full, it is no longer used, and nothing fails.
        let mut held = vec![large];
        while arena.place(held.last().expect("one")).is_some() {
            held.push(hot.settle(Bytes::from(vec![3; 300_000])));
        }
        assert!(held.len() > 6 && held.iter().skip(1).all(|body| body.len() == 300_000 && body.iter().all(|byte| *byte == 3)));
    }

    #[test]
    fn an_entry_that_grows_is_weighed_again() {
        let hot = Hot::new(100_000);
        assert_eq!(hot.put(&key(0), variants(30_000)), []);
        assert_eq!(hot.put(&key(16), variants(30_000)), []);
        let before = hot.bytes();
        let grown = hot.get(&key(16)).expect("here")[0].clone();
        let form = grown.forms.of(crate::store::Form::Gzip);
        form.set(Some(Bytes::from(vec![0; 20_000]))).expect("the first");
        assert_eq!(hot.reweigh(&key(0), &grown), []);
        assert_eq!(hot.bytes(), before, "another's entry");
        assert_eq!(hot.reweigh(&key(16), &grown), []);
        assert_eq!(hot.bytes(), before + 20_000);
        grown.forms.of(crate::store::Form::Zstd).set(Some(Bytes::from(vec![0; 20_000]))).expect("the first");
        assert_eq!(hot.reweigh(&key(16), &grown), [], "the one that leaves was not used");
        assert!(hot.bytes() <= 100_000 && hot.get(&key(16)).is_some(), "the one that was not used makes room");
        assert!(hot.get(&key(0)).is_none());
        for n in [0, 16] {
            hot.remove(&key(n));
        }
        assert_eq!(hot.bytes(), 0);
    }

    #[test]
    fn one_that_is_too_large_is_not_taken_and_replaces_what_was_there() {
        let hot = Hot::new(10_000);
        assert_eq!(hot.put(&key(1), variants(10)), []);
        assert_eq!(hot.put(&key(1), variants(20_000)), []);
        assert!(hot.get(&key(1)).is_none());
        assert_eq!(hot.bytes(), 0);
    }
}
