//! Where the answers are: 16 B a slot, of which 44 bits tell the URL, 16 bits the variant, 45 the place and 28 the body. Six bits of
//! the URL's stand for the row that the slot is in.

use crate::base::target::UrlKey;
use crate::store::record::fingerprint;
use crate::store::table::ordered::{Ordered, Shape};
use crate::store::table::parts::{PLACE_BITS, PLACE_MASK, Place};

/// Rows; each grows on its own, so that no growing takes long or much.
pub(super) const ROWS: usize = 1 << ROW_BITS;
const ROW_BITS: u32 = 6;
const VARIANT_BITS: u32 = 16;
const VARIANT_MASK: u64 = (1 << VARIANT_BITS) - 1;
/// Bits of a URL's fingerprint that a slot holds.
const URL_BITS: u32 = 38;
const PRINT_BITS: u32 = URL_BITS + VARIANT_BITS;
const PRINT_MASK: u64 = (1 << PRINT_BITS) - 1;
const SHAPE: Shape = Shape { shift: VARIANT_BITS, width: URL_BITS };
/// Where in a slot its parts stand; the fingerprint is above.
const USED_AT: u32 = PLACE_BITS;
const BODY_AT: u32 = USED_AT + 1;
const BODY_BITS: u32 = 28;
const PRINT_AT: u32 = BODY_AT + BODY_BITS;
/// Bodies have numbers below this.
pub(super) const BODY_END: u32 = 1 << BODY_BITS;

/// What names an answer: row, URL, variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key(u64);

impl Key {
    /// An answer's.
    pub(super) fn of(url: &UrlKey, entry: &[u8]) -> Key {
        Key(Key::first(url).0 | (fingerprint(entry) & VARIANT_MASK))
    }

    /// The first that an answer of this URL can have.
    fn first(url: &UrlKey) -> Key {
        let print = fingerprint(&url.0) >> (64 - ROW_BITS - URL_BITS);
        Key(print << VARIANT_BITS)
    }

    /// Whether the answer is one of this URL.
    pub(super) fn is_of(self, url: &UrlKey) -> bool {
        self.0 & !VARIANT_MASK == Key::first(url).0
    }

    fn row(self) -> usize {
        usize::try_from(self.0 >> PRINT_BITS).unwrap_or(0) % ROWS
    }

    fn print(self) -> u64 {
        self.0 & PRINT_MASK
    }
}

/// What is known of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) place: Place,
    /// SIEVE's bit: used since the hand came by.
    pub(super) used: bool,
    /// The body's number; 0: none.
    pub(super) body: u32,
}

fn print(slot: u128) -> u64 {
    u64::try_from(slot >> PRINT_AT).unwrap_or(u64::MAX)
}

fn pack(print: u64, answer: Answer) -> u128 {
    let low = u128::from(answer.place.pack()) | u128::from(answer.used) << USED_AT | u128::from(answer.body) << BODY_AT;
    low | u128::from(print) << PRINT_AT
}

/// A slot whose body has another number.
pub(super) fn renumbered(slot: u128, new: impl Fn(u32) -> u32) -> u128 {
    pack(print(slot), Answer { body: new(unpack(slot).body), ..unpack(slot) })
}

fn unpack(slot: u128) -> Answer {
    Answer {
        place: Place::unpack(u64::try_from(slot & u128::from(PLACE_MASK)).unwrap_or(0)),
        used: slot >> USED_AT & 1 == 1,
        body: u32::try_from(slot >> BODY_AT & u128::from(BODY_END - 1)).unwrap_or(0),
    }
}

/// All answers.
#[derive(Clone)]
pub(super) struct Answers {
    rows: Vec<Ordered<u128>>,
    /// A start loads.
    pub(super) loading: bool,
}

impl Answers {
    pub(super) fn new() -> Answers {
        Answers { rows: (0..ROWS).map(|_| Ordered::new(SHAPE)).collect(), loading: true }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.iter().map(Ordered::len).sum()
    }

    pub(super) fn bytes(&self) -> usize {
        self.rows.iter().map(Ordered::bytes).sum()
    }

    pub(super) fn get(&self, key: Key) -> Option<Answer> {
        let row = &self.rows[key.row()];
        row.find(key.print(), print).map(|at| unpack(row.at(at)))
    }

    /// Sets an answer; what it was before.
    pub(super) fn set(&mut self, key: Key, answer: Answer) -> Option<Answer> {
        let (row, slot) = (&mut self.rows[key.row()], pack(key.print(), answer));
        if let Some(at) = row.find(key.print(), print) {
            let old = unpack(row.at(at));
            row.put(at, slot);
            return Some(old);
        }
        row.insert(slot, self.loading, print);
        None
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<Answer> {
        let row = &mut self.rows[key.row()];
        let at = row.find(key.print(), print)?;
        let old = unpack(row.at(at));
        row.remove(at, print);
        Some(old)
    }

    /// The answers of a URL, and of others with its fingerprint.
    pub(super) fn of(&self, url: &UrlKey) -> impl Iterator<Item = (Key, Answer)> + use<'_> {
        let first = Key::first(url);
        let row = first.row();
        let found = self.rows[row].range(first.print(), first.print() | VARIANT_MASK, print);
        found.map(move |slot| (key(row, slot), unpack(slot)))
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, Answer)> + '_ {
        let row = |(number, row)| Ordered::iter(row).map(move |slot| (key(number, slot), unpack(slot)));
        self.rows.iter().enumerate().flat_map(row)
    }

    pub(super) fn retain(&mut self, mut stays: impl FnMut(Key, Answer) -> bool) {
        for (number, row) in self.rows.iter_mut().enumerate() {
            row.retain(|slot| stays(key(number, slot), unpack(slot)), print);
        }
    }

    /// A start is over: from now on grows by small steps.
    pub(super) fn settle(&mut self) {
        self.loading = false;
        self.rows.iter_mut().for_each(|row| row.settle(print));
    }

    /// The slots of each row in order, for a snapshot.
    pub(super) fn rows(&self) -> impl Iterator<Item = (usize, impl Iterator<Item = u128> + '_)> + '_ {
        self.rows.iter().map(|row| (row.len(), row.iter()))
    }

    /// Puts back a row of a snapshot; whether it can be one: in order, each with a place, and with a body below `end`.
    pub(super) fn set_row(&mut self, number: usize, slots: &[u128], end: u32) -> bool {
        let sound = slots.is_sorted_by(|a, b| print(*a) < print(*b))
            && slots.iter().all(|slot| slot & u128::from(PLACE_MASK) != 0 && unpack(*slot).body < end);
        if let (true, Some(row)) = (sound, self.rows.get_mut(number)) {
            *row = Ordered::from_sorted(SHAPE, slots, print);
        }
        sound
    }
}

fn key(row: usize, slot: u128) -> Key {
    Key((row as u64) << PRINT_BITS | print(slot))
}
