//! What bodies there are: 16 B each in chunks that never move, found through an index of 4 B a body. A body has a number as long as
//! an answer leads to it, so that an answer needs 28 bits for it. Lengths are kept in classes, about 1.5 % apart, rounded up or down
//! by chance, so that sums over many are right.

use crate::store::record::Codec;
use crate::store::table::answers::BODY_END;
use crate::store::table::ordered::{Ordered, Shape};
use crate::store::table::parts::{PLACE_BITS, PLACE_MASK, Place};
use std::collections::HashMap;

/// Rows of the index.
pub(super) const ROWS: usize = 1 << ROW_BITS;
const ROW_BITS: u32 = 6;
/// Bits of a body's fingerprint that its word holds; six more are told by the row.
const PRINT_BITS: u32 = 52;
const PRINT_MASK: u64 = (1 << PRINT_BITS) - 1;
const SHAPE: Shape = Shape { shift: 0, width: PRINT_BITS };
/// Bodies in one chunk: 16 KiB.
const CHUNK: usize = 1024;
/// Where in a word its parts stand; the fingerprint is above.
const CODEC_AT: u32 = PLACE_BITS;
const REFS_AT: u32 = CODEC_AT + 3;
const LENGTH_AT: u32 = REFS_AT + 8;
const STORED_AT: u32 = LENGTH_AT + CLASS_BITS;
const PRINT_AT: u32 = STORED_AT + CLASS_BITS;
const CLASS_BITS: u32 = 10;
/// Most references that are counted; beyond, the count stays until the next start (the body is then never thought unused).
const REFS_MAX: u8 = u8::MAX;

/// Sums over bodies that are in use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) objects: u64,
    pub(crate) object_bytes: u64,
    pub(crate) entry_bytes: u64,
    pub(crate) stored_bytes: u64,
    /// Objects and stored bytes by codec, in the order of its numbers.
    pub(crate) codecs: [(u64, u64); Codec::ALL.len()],
    /// Decoded bytes by codec.
    pub(crate) decoded: [u64; Codec::ALL.len()],
}

impl Sums {
    /// Bytes that one codec spares.
    pub(crate) fn spared(&self, codec: Codec) -> u64 {
        self.decoded[codec as usize].saturating_sub(self.codecs[codec as usize].1)
    }

    fn change(&mut self, body: &Body, more: bool) {
        let change = |sum: &mut u64, by: u64| *sum = if more { sum.saturating_add(by) } else { sum.saturating_sub(by) };
        let codec = &mut self.codecs[body.codec as usize];
        change(&mut self.objects, 1);
        change(&mut self.object_bytes, value(body.length));
        change(&mut self.stored_bytes, value(body.stored));
        change(&mut codec.0, 1);
        change(&mut codec.1, value(body.stored));
        change(&mut self.decoded[body.codec as usize], value(body.length));
    }
}

/// A body's word, unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Body {
    /// `None`: an answer leads to it, but it is not here.
    pub(super) place: Option<Place>,
    pub(super) codec: Codec,
    pub(super) refs: u8,
    length: u16,
    stored: u16,
    print: u64,
}

impl Body {
    fn pack(self) -> u128 {
        let place = u128::from(self.place.map_or(0, Place::pack));
        let low = place | (self.codec as u128) << CODEC_AT | u128::from(self.refs) << REFS_AT;
        low | u128::from(self.length) << LENGTH_AT | u128::from(self.stored) << STORED_AT | u128::from(self.print) << PRINT_AT
    }

    fn unpack(word: u128) -> Body {
        let part = |at: u32, bits: u32| u64::try_from(word >> at & ((1 << bits) - 1)).unwrap_or(0);
        let class = |at| u16::try_from(part(at, CLASS_BITS)).unwrap_or(0);
        Body {
            place: Some(word).filter(|word| word & u128::from(PLACE_MASK) != 0).map(|_| Place::unpack(part(0, PLACE_BITS))),
            codec: Codec::of(u8::try_from(part(CODEC_AT, 3)).unwrap_or(0)).unwrap_or(Codec::Raw),
            refs: u8::try_from(part(REFS_AT, 8)).unwrap_or(0),
            length: class(LENGTH_AT),
            stored: class(STORED_AT),
            print: part(PRINT_AT, PRINT_BITS),
        }
    }

    /// Identity and stored bytes, about.
    pub(super) fn lengths(&self) -> (u64, u64) {
        (value(self.length), value(self.stored))
    }
}

/// What a record says of a body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    pub(super) place: Place,
    pub(super) codec: Codec,
    pub(super) length: u64,
    pub(super) stored: u64,
    /// Fingerprint of the body that it is a delta against; 0: none.
    pub(super) base: u64,
}

/// All bodies.
#[derive(Clone)]
pub(super) struct Bodies {
    /// Words by number; number 0 is none. A free one has no fingerprint, and the next free number in place of the rest.
    chunks: Vec<Vec<u128>>,
    free: u32,
    rows: Vec<Ordered<u32>>,
    /// Fingerprints of what deltas are against, by the number of the delta. A delta in use holds a reference to it.
    bases: HashMap<u32, u64>,
    pub(super) sums: Sums,
    /// References are counted as they come; off while a start loads.
    counting: bool,
}

fn split(fingerprint: u64) -> (usize, u64) {
    let row = usize::try_from(fingerprint >> (64 - ROW_BITS)).unwrap_or(0) % ROWS;
    (row, (fingerprint >> (64 - ROW_BITS - PRINT_BITS) & PRINT_MASK).max(1))
}

fn word(chunks: &[Vec<u128>], number: u32) -> u128 {
    let number = number as usize;
    chunks.get(number / CHUNK).and_then(|chunk| chunk.get(number % CHUNK)).copied().unwrap_or(0)
}

fn print(chunks: &[Vec<u128>], number: u32) -> u64 {
    u64::try_from(word(chunks, number) >> PRINT_AT).unwrap_or(0)
}

impl Bodies {
    pub(super) fn new() -> Bodies {
        Bodies {
            chunks: vec![first_chunk()],
            free: 0,
            rows: (0..ROWS).map(|_| Ordered::new(SHAPE)).collect(),
            bases: HashMap::new(),
            sums: Sums::default(),
            counting: false,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let chunks = self.chunks.iter().map(|chunk| chunk.capacity() * size_of::<u128>()).sum::<usize>();
        let rows = self.rows.iter().map(Ordered::bytes).sum::<usize>();
        chunks + self.chunks.capacity() * size_of::<Vec<u128>>() + rows + self.bases.capacity() * (size_of::<(u32, u64)>() + 1)
    }

    /// The number of a body that is known.
    pub(super) fn number(&self, fingerprint: u64) -> Option<u32> {
        let (row, wanted) = split(fingerprint);
        let row = &self.rows[row];
        row.find(wanted, |number| print(&self.chunks, number)).map(|at| row.at(at))
    }

    /// The number of a body, be it here or not; 0 when there are no more numbers.
    pub(super) fn reserve(&mut self, fingerprint: u64) -> u32 {
        if let Some(number) = self.number(fingerprint) {
            return number;
        }
        let (row, wanted) = split(fingerprint);
        let body = Body { place: None, codec: Codec::Raw, refs: 0, length: 0, stored: 0, print: wanted };
        let number = self.take_number();
        if number != 0 {
            self.put(number, body);
            let chunks = &self.chunks;
            self.rows[row].insert(number, !self.counting, |number| print(chunks, number));
        }
        number
    }

    fn take_number(&mut self) -> u32 {
        if self.free != 0 {
            let number = self.free;
            self.free = u32::try_from(word(&self.chunks, number) & u128::from(u32::MAX)).unwrap_or(0);
            return number;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let before = (self.chunks.len() - 1) * CHUNK;
        let Some(chunk) = self.chunks.last_mut() else { return 0 };
        let number = u32::try_from(before + chunk.len()).unwrap_or(BODY_END);
        if number >= BODY_END {
            return 0;
        }
        chunk.push(0);
        number
    }

    pub(super) fn get(&self, number: u32) -> Body {
        Body::unpack(word(&self.chunks, number))
    }

    fn put(&mut self, number: u32, body: Body) {
        self.set_word(number, body.pack());
    }

    fn set_word(&mut self, number: u32, word: u128) {
        let number = number as usize;
        if let Some(slot) = self.chunks.get_mut(number / CHUNK).and_then(|chunk| chunk.get_mut(number % CHUNK)) {
            *slot = word;
        }
    }

    /// Takes in what a record says of a body.
    pub(super) fn set(&mut self, fingerprint: u64, told: &Told) {
        let number = self.reserve(fingerprint);
        if number == 0 {
            return;
        }
        let old = self.get(number);
        let length = class(told.length, fingerprint);
        let stored = class(told.stored, fingerprint.swap_bytes());
        let new = Body { place: Some(told.place), codec: told.codec, length, stored, ..old };
        self.put(number, new);
        let was = if told.base == 0 { self.bases.remove(&number) } else { self.bases.insert(number, told.base) };
        if self.counting && old.refs > 0 {
            if old.place.is_some() {
                self.sums.change(&old, false);
            } else {
                self.sums.entry_bytes += value(length) * u64::from(old.refs);
            }
            self.sums.change(&new, true);
            self.hold_base(told.base);
            self.release_base(was.unwrap_or(0));
        }
    }

    /// A body is not here any more; who leads to it keeps its number.
    pub(super) fn lose(&mut self, number: u32) {
        let old = self.get(number);
        if old.place.is_none() {
            return;
        }
        self.put(number, Body { place: None, codec: Codec::Raw, length: 0, stored: 0, ..old });
        let base = self.bases.remove(&number).unwrap_or(0);
        if self.counting && old.refs > 0 {
            self.sums.change(&old, false);
            self.sums.entry_bytes = self.sums.entry_bytes.saturating_sub(value(old.length) * u64::from(old.refs));
            self.release_base(base);
        } else if self.counting {
            self.forget(number);
        }
    }

    /// Gives a number back.
    fn forget(&mut self, number: u32) {
        let wanted = print(&self.chunks, number);
        let chunks = &self.chunks;
        let found = self.rows.iter_mut().find_map(|row| {
            let at = row.find(wanted, |number| print(chunks, number)).filter(|at| row.at(*at) == number)?;
            Some((row, at))
        });
        let Some((row, at)) = found else { return };
        row.remove(at, |number| print(chunks, number));
        self.bases.remove(&number);
        self.set_word(number, u128::from(self.free));
        self.free = number;
    }

    /// One more answer leads to it.
    pub(super) fn link(&mut self, number: u32) {
        if self.counting && number != 0 {
            self.sums.entry_bytes += value(self.get(number).length);
            self.hold(number);
        }
    }

    /// One answer less leads to it.
    pub(super) fn unlink(&mut self, number: u32) {
        if self.counting && number != 0 {
            self.sums.entry_bytes = self.sums.entry_bytes.saturating_sub(value(self.get(number).length));
            self.release(number);
        }
    }

    /// Counts a reference.
    pub(super) fn hold(&mut self, number: u32) {
        let body = self.get(number);
        self.put(number, Body { refs: body.refs.saturating_add(1), ..body });
        if body.refs == 0 && body.place.is_some() {
            self.sums.change(&body, true);
            self.hold_base(self.bases.get(&number).copied().unwrap_or(0));
        }
    }

    /// Takes a reference back.
    pub(super) fn release(&mut self, number: u32) {
        let body = self.get(number);
        if body.refs == 0 || body.refs == REFS_MAX {
            return;
        }
        self.put(number, Body { refs: body.refs - 1, ..body });
        if body.refs > 1 {
            return;
        }
        match body.place {
            Some(_) => {
                self.sums.change(&body, false);
                self.release_base(self.bases.get(&number).copied().unwrap_or(0));
            }
            None => self.forget(number),
        }
    }

    /// A base is never a delta itself; where damage makes it one the chain ends here.
    fn hold_base(&mut self, base: u64) {
        if base == 0 {
            return;
        }
        let number = self.reserve(base);
        let body = self.get(number);
        if number != 0 {
            self.put(number, Body { refs: body.refs.saturating_add(1), ..body });
            if body.refs == 0 && body.place.is_some() {
                self.sums.change(&body, true);
            }
        }
    }

    fn release_base(&mut self, base: u64) {
        let Some(number) = Some(base).filter(|base| *base != 0).and_then(|base| self.number(base)) else { return };
        let body = self.get(number);
        if body.refs == 0 || body.refs == REFS_MAX {
            return;
        }
        self.put(number, Body { refs: body.refs - 1, ..body });
        match body.place {
            Some(_) if body.refs == 1 => self.sums.change(&body, false),
            None if body.refs == 1 => self.forget(number),
            _ => {}
        }
    }

    /// Whether it is a delta against a body that is not here.
    pub(super) fn has_lost_its_base(&self, number: u32) -> bool {
        let base = self.bases.get(&number).copied().unwrap_or(0);
        base != 0 && self.number(base).is_none_or(|base| self.get(base).place.is_none())
    }

    /// The numbers of deltas against this body.
    pub(super) fn deltas_of(&self, fingerprint: u64) -> Vec<u32> {
        self.bases.iter().filter(|base| *base.1 == fingerprint).map(|base| *base.0).collect()
    }

    /// All bodies, here or not.
    pub(super) fn iter(&self) -> impl Iterator<Item = Body> + '_ {
        self.rows.iter().flat_map(Ordered::iter).map(|number| self.get(number))
    }

    /// Every body that is here and not in one of the segments that stay is lost; the fingerprints of these, as far as they are kept.
    pub(super) fn lose_where(&mut self, gone: impl Fn(Place) -> bool) -> Vec<u64> {
        let gone = self.marked(|body| body.place.is_some_and(&gone));
        if gone.none() {
            return Vec::new();
        }
        let mut lost = Vec::new();
        for (row, numbers) in self.rows.iter().enumerate() {
            for number in numbers.iter().filter(|number| gone.has(*number)) {
                lost.push((print(&self.chunks, number) | (row as u64) << PRINT_BITS, number));
            }
        }
        for (_, number) in &lost {
            self.lose(*number);
        }
        lost.into_iter().map(|lost| lost.0).collect()
    }

    /// The bodies of which this holds. Words are read in their own order: by the rows each one would be elsewhere in memory.
    fn marked(&self, which: impl Fn(&Body) -> bool) -> Marks {
        let words = self.chunks.iter().flatten().map(|word| word >> PRINT_AT != 0 && which(&Body::unpack(*word)));
        Marks::of(words)
    }

    /// What [`Bodies::lose_where`] calls a body.
    pub(super) fn name(fingerprint: u64) -> u64 {
        let (row, print) = split(fingerprint);
        print | (row as u64) << PRINT_BITS
    }

    /// All is loaded: a delta whose base is not here is not here either. Which bodies are here.
    pub(super) fn start_counting(&mut self) -> Marks {
        let orphans = self.bases.iter().filter(|base| self.number(*base.1).is_none_or(|number| self.get(number).place.is_none()));
        for number in orphans.map(|base| *base.0).collect::<Vec<u32>>() {
            self.lose(number);
        }
        self.marked(|body| body.place.is_some())
    }

    /// References are counted from now on; `answers` gives the body of each answer.
    pub(super) fn count(&mut self, answers: impl Iterator<Item = u32>) {
        // First by number, in a few megabytes, then word by word: to go to each word for each answer takes five times as long.
        let mut counts = vec![0_u32; self.end() as usize];
        for number in answers {
            if let Some(count) = counts.get_mut(number as usize) {
                *count = count.saturating_add(1);
            }
        }
        (self.counting, self.sums) = (true, Sums::default());
        for (word, count) in self.chunks.iter_mut().flatten().zip(&counts).skip(1).filter(|(word, _)| **word >> PRINT_AT != 0) {
            let body = Body { refs: u8::try_from(*count).unwrap_or(REFS_MAX), ..Body::unpack(*word) };
            *word = body.pack();
            if *count > 0 && body.place.is_some() {
                self.sums.change(&body, true);
                self.sums.entry_bytes += value(body.length) * u64::from(*count);
            }
        }
        for base in self.bases.iter().filter(|base| self.get(*base.0).refs > 0).map(|base| *base.1).collect::<Vec<u64>>() {
            self.hold_base(base);
        }
    }

    /// Gives back the numbers to which nothing leads and that are not here; called when all references are counted.
    pub(super) fn settle(&mut self) {
        let free = self.marked(|body| body.refs == 0 && body.place.is_none());
        let chunks = &self.chunks;
        for row in &mut self.rows {
            if !free.none() {
                row.retain(|number| !free.has(number), |number| print(chunks, number));
            }
            row.settle(|number| print(chunks, number));
        }
        for number in free.all() {
            self.bases.remove(&number);
            self.set_word(number, u128::from(self.free));
            self.free = number;
        }
    }

    /// For a snapshot: the words row by row in the order of the index, and the bases.
    pub(super) fn rows(&self) -> impl Iterator<Item = (usize, impl Iterator<Item = u128> + '_)> + '_ {
        self.rows.iter().map(|row| (row.len(), row.iter().map(|number| word(&self.chunks, number))))
    }

    pub(super) fn bases(&self) -> &HashMap<u32, u64> {
        &self.bases
    }

    /// The numbers that the bodies of a snapshot have: those of the order in which [`Bodies::rows`] gives them.
    pub(super) fn renumbered(&self) -> Vec<u32> {
        let mut new = vec![0; self.end() as usize];
        for (old, next) in self.rows.iter().flat_map(Ordered::iter).zip(1..) {
            if let Some(new) = new.get_mut(old as usize) {
                *new = next;
            }
        }
        new
    }

    /// Puts back a row of a snapshot, whose words follow those of the row before; whether it can be one. References are counted anew.
    pub(super) fn set_row(&mut self, row: usize, words: &[u128]) -> bool {
        let of = |word: &u128| u64::try_from(word >> PRINT_AT).unwrap_or(0);
        let (first, end) = (self.end(), BODY_END as usize);
        let sound =
            first as usize + words.len() < end && words.is_sorted_by(|a, b| of(a) < of(b)) && words.iter().all(|word| of(word) != 0);
        if !sound {
            return false;
        }
        for word in words {
            if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
                self.chunks.push(Vec::with_capacity(CHUNK));
            }
            self.chunks.last_mut().expect("pushed above").push(word & !(u128::from(u8::MAX) << REFS_AT));
        }
        if let Some(row) = self.rows.get_mut(row) {
            *row =
                Ordered::from_pairs(SHAPE, words.iter().enumerate().map(|(at, word)| (first + u32::try_from(at).unwrap_or(0), of(word))));
        }
        true
    }

    /// Puts back a base; whether its delta is one.
    pub(super) fn set_base(&mut self, number: u32, base: u64) -> bool {
        let sound = base != 0 && print(&self.chunks, number) != 0;
        if sound {
            self.bases.insert(number, base);
        }
        sound
    }

    /// One above the highest number.
    pub(super) fn end(&self) -> u32 {
        u32::try_from(self.chunks.iter().map(Vec::len).sum::<usize>()).unwrap_or(BODY_END)
    }
}

/// One bit for each number of a body.
pub(super) struct Marks(Vec<u64>);

impl Marks {
    fn of(all: impl Iterator<Item = bool>) -> Marks {
        let mut words = Vec::new();
        for (at, one) in all.enumerate() {
            if at.is_multiple_of(64) {
                words.push(0);
            }
            if let Some(last) = words.last_mut() {
                *last |= u64::from(one) << (at % 64);
            }
        }
        Marks(words)
    }

    fn none(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// Whether this number is marked.
    pub(super) fn has(&self, number: u32) -> bool {
        self.0.get(number as usize / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    fn all(&self) -> impl Iterator<Item = u32> + '_ {
        (0..u32::try_from(self.0.len() * 64).unwrap_or(BODY_END)).filter(|number| self.has(*number))
    }
}

fn first_chunk() -> Vec<u128> {
    let mut chunk = Vec::with_capacity(CHUNK);
    chunk.push(0);
    chunk
}

/// The class of a length: five bits of exponent and five of mantissa; rounded up as often as it is near, by `chance`.
fn class(length: u64, chance: u64) -> u16 {
    let length = length.min(LONGEST);
    let bits = u64::BITS - length.leading_zeros();
    let Some(drop) = bits.checked_sub(6) else { return u16::try_from(length).unwrap_or(0) };
    let rest = length & ((1 << drop) - 1);
    let up = u64::from(chance & ((1 << drop) - 1) < rest);
    // 63 and one more is 32 of the next exponent: the two fields carry over by themselves.
    u16::try_from(u64::from(drop + 1) * 32 + (length >> drop) - 32 + up).unwrap_or(u16::MAX)
}

/// The longest length that has a class of its own: 63 · 2^30.
const LONGEST: u64 = 63 << 30;

fn value(class: u16) -> u64 {
    let (exponent, mantissa) = (u32::from(class >> 5), u64::from(class & 31));
    if exponent == 0 { mantissa } else { (32 + mantissa) << (exponent - 1) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::digest::Digest;
    use crate::store::record::fingerprint;

    #[test]
    fn classes_are_exact_when_small_near_when_large_and_right_on_average() {
        for length in 0..64 {
            assert_eq!(value(class(length, length * 77)), length);
        }
        for length in [65, 1000, 10_240, 123_457, 5 << 30, LONGEST - 1, LONGEST, u64::MAX] {
            let wanted = length.min(LONGEST);
            let (mut sum, n) = (0_u64, 4000);
            for seed in 0..n {
                let near = value(class(length, fingerprint(&Digest::of(&u64::to_le_bytes(seed)).0)));
                assert!(near.abs_diff(wanted) * 32 <= wanted, "{length}: {near}");
                sum += near;
            }
            assert!((sum / n).abs_diff(wanted) * 1000 <= wanted, "{length}: {}", sum / n);
        }
    }

    #[test]
    fn a_word_reads_back() {
        let place = Some(Place { segment: 1_048_575, at: 268_435_448 });
        let body = Body { place, codec: Codec::Delta, refs: 255, length: 1023, stored: 512, print: PRINT_MASK };
        assert_eq!(Body::unpack(body.pack()), body);
        let none = Body { place: None, codec: Codec::Raw, refs: 0, length: 0, stored: 0, print: 1 };
        assert_eq!(Body::unpack(none.pack()), none);
    }
}
