//! A row of slots in the order of their fingerprints with gaps between: open addressing whose home is the fingerprint in proportion
//! (Lemire's fast range), and in which a newcomer takes the place where it belongs and moves the others on. So a search for what is
//! not there ends at the first greater fingerprint: about six steps at 90 % fill, where plain probing takes fifty.

/// A row grows when it is fuller than this ...
const FULL: (usize, usize) = (9, 10);
/// ... by one part in so many: fill then stays between 85 and 90 %.
const STEP: usize = 16;
/// Fill after a start, and after a row that was mostly empty has shrunk.
const SETTLED: (usize, usize) = (7, 8);
/// Slots beyond the last home, for those that are moved on; more are added when they are needed.
const TAIL: usize = 16;
/// Homes at least.
const LEAST: usize = 8;

/// How a fingerprint gives its home: the `width` bits above `shift`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) shift: u32,
    pub(super) width: u32,
}

/// The row. A slot of the default value is empty. Whoever calls says how the fingerprint of a slot is found.
#[derive(Clone, Debug)]
pub(super) struct Ordered<W> {
    slots: Vec<W>,
    homes: usize,
    len: usize,
    shape: Shape,
}

impl<W: Copy + Default + PartialEq> Ordered<W> {
    pub(super) fn new(shape: Shape) -> Ordered<W> {
        Ordered { slots: vec![W::default(); LEAST + TAIL], homes: LEAST, len: 0, shape }
    }

    /// From slots in order.
    pub(super) fn from_sorted(shape: Shape, filled: &[W], print: impl Fn(W) -> u64) -> Ordered<W> {
        let mut row = Ordered { slots: Vec::new(), homes: LEAST, len: filled.len(), shape };
        row.spread(settled(filled.len()), filled.iter().map(|slot| (*slot, print(*slot))));
        row
    }

    /// The same with fingerprints that are at hand.
    pub(super) fn from_pairs(shape: Shape, filled: impl ExactSizeIterator<Item = (W, u64)>) -> Ordered<W> {
        let mut row = Ordered { slots: Vec::new(), homes: LEAST, len: filled.len(), shape };
        row.spread(settled(row.len), filled);
        row
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes in memory.
    pub(super) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<W>()
    }

    fn is_empty_at(&self, at: usize) -> bool {
        self.slots[at] == W::default()
    }

    fn home(&self, print: u64) -> usize {
        let place = (u128::from(print >> self.shape.shift) * self.homes as u128) >> self.shape.width;
        // A fingerprint has no more bits than the shape says; a home too far would only be slow.
        usize::try_from(place).unwrap_or(usize::MAX).min(self.homes - 1)
    }

    /// The first slot from its home on that is empty or whose fingerprint is not below `wanted`.
    fn seek(&self, wanted: u64, print: impl Fn(W) -> u64) -> usize {
        let mut at = self.home(wanted);
        while at < self.slots.len() && !self.is_empty_at(at) && print(self.slots[at]) < wanted {
            at += 1;
        }
        at
    }

    /// Where `wanted` is.
    pub(super) fn find(&self, wanted: u64, print: impl Fn(W) -> u64) -> Option<usize> {
        let at = self.seek(wanted, &print);
        (at < self.slots.len() && !self.is_empty_at(at) && print(self.slots[at]) == wanted).then_some(at)
    }

    /// The slots from `first` to `last`, whose homes are the same.
    pub(super) fn range<'r, P: Fn(W) -> u64 + Copy + 'r>(&'r self, first: u64, last: u64, print: P) -> impl Iterator<Item = W> + 'r {
        let from = self.seek(first, print);
        self.slots[from..].iter().copied().take_while(move |slot| *slot != W::default() && print(*slot) <= last)
    }

    pub(super) fn at(&self, at: usize) -> W {
        self.slots[at]
    }

    /// Changes a slot; its fingerprint must stay.
    pub(super) fn put(&mut self, at: usize, slot: W) {
        self.slots[at] = slot;
    }

    /// Adds a slot whose fingerprint is not there yet. `fast`: many follow, so grows by as much as there is.
    pub(super) fn insert(&mut self, slot: W, fast: bool, print: impl Fn(W) -> u64) {
        if (self.len + 1) * FULL.1 > self.homes * FULL.0 {
            let more = if fast { self.homes } else { self.homes / STEP + LEAST };
            self.resize(self.homes + more, &print);
        }
        let at = self.seek(print(slot), &print);
        let mut end = at;
        while end < self.slots.len() && !self.is_empty_at(end) {
            end += 1;
        }
        if end == self.slots.len() {
            self.slots.reserve_exact(TAIL);
            self.slots.resize(end + TAIL, W::default());
        }
        self.slots.copy_within(at..end, at + 1);
        self.slots[at] = slot;
        self.len += 1;
    }

    /// Takes a slot out; those behind it move back as far as their homes.
    pub(super) fn remove(&mut self, at: usize, print: impl Fn(W) -> u64) {
        let mut end = at + 1;
        while end < self.slots.len() && !self.is_empty_at(end) && self.home(print(self.slots[end])) < end {
            end += 1;
        }
        self.slots.copy_within(at + 1..end, at);
        self.slots[end - 1] = W::default();
        self.len -= 1;
        if self.homes > 2 * LEAST && self.len * 2 < self.homes {
            self.resize(settled(self.len), &print);
        }
    }

    /// Takes out all slots but those that stay.
    pub(super) fn retain(&mut self, mut stays: impl FnMut(W) -> bool, print: impl Fn(W) -> u64) {
        // Mostly all of them stay: then nothing is copied.
        let Some(first) = self.iter().position(|slot| !stays(slot)) else { return };
        let rest = self.iter().skip(first + 1).filter(|slot| stays(*slot));
        let kept: Vec<W> = self.iter().take(first).chain(rest).collect();
        *self = Ordered::from_sorted(self.shape, &kept, print);
    }

    /// No more are loaded: gives back what was taken for them.
    pub(super) fn settle(&mut self, print: impl Fn(W) -> u64) {
        // As full as it would get by small steps: left as it is.
        let wanted = settled(self.len);
        if self.homes < wanted || self.homes > wanted + wanted / STEP {
            self.resize(wanted, print);
        }
    }

    /// All slots in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = W> + '_ {
        self.slots.iter().copied().filter(|slot| *slot != W::default())
    }

    fn resize(&mut self, homes: usize, print: impl Fn(W) -> u64) {
        let old = std::mem::take(&mut self.slots);
        self.spread(homes, old.into_iter().filter(|slot| *slot != W::default()).map(|slot| (slot, print(slot))));
    }

    fn spread(&mut self, homes: usize, filled: impl Iterator<Item = (W, u64)>) {
        (self.homes, self.slots) = (homes, vec![W::default(); homes + TAIL]);
        let mut next = 0;
        for (slot, print) in filled {
            let at = self.home(print).max(next);
            if at >= self.slots.len() {
                self.slots.reserve_exact(TAIL);
                self.slots.resize(at + TAIL, W::default());
            }
            self.slots[at] = slot;
            next = at + 1;
        }
    }
}

fn settled(len: usize) -> usize {
    (len * SETTLED.1 / SETTLED.0).max(LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Fingerprints that lie close together at the end too, where others are moved beyond the last home.
    #[test]
    fn a_row_agrees_with_a_map_under_random_use() {
        for crowd in [1_u64, 50, 4000] {
            let print = |slot: u64| slot >> 20;
            let mut row: Ordered<u64> = Ordered::new(Shape { shift: 0, width: 44 });
            let (mut map, mut state) = (BTreeMap::new(), crowd);
            for step in 1..20_000_u64 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let wanted = if crowd == 4000 { (1 << 44) - 1 - (state >> 52) } else { (state >> 50) * ((1 << 30) / crowd) };
                match (row.find(wanted, print), state.is_multiple_of(3)) {
                    (Some(at), true) => {
                        assert_eq!(map.remove(&wanted), Some(row.at(at)));
                        row.remove(at, print);
                    }
                    (Some(at), false) => {
                        row.put(at, wanted << 20 | step);
                        map.insert(wanted, wanted << 20 | step);
                    }
                    (None, gone) => {
                        assert!(!map.contains_key(&wanted), "step {step}");
                        if !gone {
                            row.insert(wanted << 20 | step, step.is_multiple_of(1000), print);
                            map.insert(wanted, wanted << 20 | step);
                        }
                    }
                }
                if step.is_multiple_of(5000) {
                    row.settle(print);
                }
            }
            assert_eq!(row.len(), map.len());
            assert!(row.iter().eq(map.values().copied()), "in order");
            let (first, last) = (map.keys().nth(3).copied().unwrap(), map.keys().nth(3).copied().unwrap());
            assert_eq!(row.range(first, last, print).count(), 1);
            row.retain(|slot| slot % 2 == 0, print);
            assert!(row.iter().eq(map.values().copied().filter(|slot| slot % 2 == 0)));
        }
    }
}
