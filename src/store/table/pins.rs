//! Which packs keep which URLs: 24 B a pin, sorted in rows, with sets as small numbers. The record's place stands in the pin too, so
//! that a copy which nothing leads to is known as such.

use crate::base::target::UrlKey;
use crate::store::table::parts::{PLACE_BITS, Place};
use std::collections::HashMap;

/// Rows, by the first byte of the URL's key.
const ROWS: usize = 256;
/// Sets have numbers below this: 19 bits beside a place. More packs than any school has.
const SET_END: u64 = 1 << (64 - PLACE_BITS);

/// One URL in one set; in the order of URL and set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pin {
    pub(super) url: [u8; 16],
    /// The set's small number above, the place below.
    word: u64,
}

impl Pin {
    fn order(&self) -> ([u8; 16], u64) {
        (self.url, self.word >> PLACE_BITS)
    }

    pub(super) fn place(&self) -> Place {
        Place::unpack(self.word)
    }
}

/// All pins.
#[derive(Clone)]
pub(super) struct Pins {
    /// The sets' own numbers, in the order of their small ones, and the way back.
    sets: Vec<u64>,
    small: HashMap<u64, u64>,
    rows: Vec<Vec<Pin>>,
}

impl Pins {
    pub(super) fn new() -> Pins {
        Pins { sets: Vec::new(), small: HashMap::new(), rows: vec![Vec::new(); ROWS] }
    }

    pub(super) fn bytes(&self) -> usize {
        let rows = self.rows.iter().map(|row| row.capacity() * size_of::<Pin>()).sum::<usize>();
        rows + ROWS * size_of::<Vec<Pin>>() + self.sets.capacity() * 8 + self.small.capacity() * 17
    }

    fn row(url: &UrlKey) -> usize {
        usize::from(url.0[0])
    }

    /// The pins of a URL.
    fn of(&self, url: &UrlKey) -> &[Pin] {
        let row = &self.rows[Pins::row(url)];
        let from = row.partition_point(|pin| pin.url < url.0);
        let to = from + row[from..].partition_point(|pin| pin.url == url.0);
        &row[from..to]
    }

    fn find(&self, url: &UrlKey, set: u64) -> Option<Result<usize, usize>> {
        let small = *self.small.get(&set)?;
        Some(self.rows[Pins::row(url)].binary_search_by_key(&(url.0, small), Pin::order))
    }

    /// Where the record of a pin is.
    pub(super) fn get(&self, url: &UrlKey, set: u64) -> Option<Place> {
        let at = self.find(url, set)?.ok()?;
        Some(self.rows[Pins::row(url)][at].place())
    }

    pub(super) fn set(&mut self, url: &UrlKey, set: u64, place: Place) {
        let next = self.sets.len() as u64;
        let small = *self.small.entry(set).or_insert(next);
        if small == next {
            self.sets.push(set);
        }
        let pin = Pin { url: url.0, word: place.pack() | small.min(SET_END - 1) << PLACE_BITS };
        let row = &mut self.rows[Pins::row(url)];
        match row.binary_search_by_key(&pin.order(), Pin::order) {
            Ok(at) => row[at] = pin,
            Err(at) => {
                if row.len() == row.capacity() {
                    // By a sixteenth: a row that doubles would be half empty.
                    row.reserve_exact(row.len() / 16 + 1);
                }
                row.insert(at, pin);
            }
        }
    }

    pub(super) fn remove(&mut self, url: &UrlKey, set: u64) {
        if let Some(Ok(at)) = self.find(url, set) {
            self.rows[Pins::row(url)].remove(at);
        }
    }

    /// Removes all pins of a URL.
    pub(super) fn remove_url(&mut self, url: &UrlKey) {
        self.rows[Pins::row(url)].retain(|pin| pin.url != url.0);
    }

    /// Removes a whole set.
    pub(super) fn remove_set(&mut self, set: u64) {
        let Some(small) = self.small.get(&set).copied() else { return };
        self.rows.iter_mut().for_each(|row| row.retain(|pin| pin.order().1 != small));
    }

    /// Whether there is one.
    pub(super) fn any(&self, url: &UrlKey) -> bool {
        !self.of(url).is_empty()
    }

    /// The sets that keep this URL.
    pub(super) fn sets_of(&self, url: &UrlKey) -> Vec<u64> {
        self.of(url).iter().map(|pin| self.set_of(pin)).collect()
    }

    pub(super) fn set_of(&self, pin: &Pin) -> u64 {
        usize::try_from(pin.order().1).ok().and_then(|small| self.sets.get(small)).copied().unwrap_or(0)
    }

    /// All pins, in the order of their URLs.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Pin> {
        self.rows.iter().flatten()
    }

    /// Takes out the pins whose records are gone; what they were.
    pub(super) fn lose_where(&mut self, gone: impl Fn(Place) -> bool) -> Vec<(UrlKey, u64)> {
        let lost: Vec<(UrlKey, u64)> = self.iter().filter(|pin| gone(pin.place())).map(|pin| (UrlKey(pin.url), self.set_of(pin))).collect();
        for (url, set) in &lost {
            self.remove(url, *set);
        }
        lost
    }
}
