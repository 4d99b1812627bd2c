//! The RAM table: where every stored answer and body is, found by fingerprint. Pure. 39 B for a URL with its body; full keys stay
//! on disk and are compared on every read, so that a wrong guess costs a read and never a wrong answer. The idea is HashCache's
//! (NSDI 2009). Parts and dictionaries are few and live in plain maps.

/// Rows of slots.
mod ordered;

/// Answers by URL and variant.
mod answers;

/// Bodies by name.
mod bodies;

/// Pins by URL and set.
mod pins;

/// Places, and parts of bodies.
mod parts;

/// The table as bytes.
mod image;

/// What a snapshot no longer leads to.
mod lost;

/// What is alive, by weight.
pub(crate) mod weigh;

#[cfg(test)]
mod tests;

pub(crate) use bodies::Sums;
pub(crate) use lost::Lost;
pub(crate) use parts::{Parts, Place, SEGMENT_END, Span};

use crate::base::digest::Digest;
use crate::base::target::UrlKey;
use crate::store::record::{Codec, Kind, Line, fingerprint};
use crate::store::table::answers::{Answer, Answers, Key};
use crate::store::table::bodies::{Bodies, Told};
use crate::store::table::pins::Pins;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What is known of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Blob {
    pub(crate) place: Place,
    pub(crate) codec: Codec,
    /// Identity and stored length, about (figures only; true lengths stand in the record).
    pub(crate) length: u64,
    pub(crate) stored: u64,
    /// Answers and deltas that lead to it, and calls that hold it; at 255 the count stays.
    pub(crate) refs: u64,
}

/// What the hand finds of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Not there any more, or elsewhere.
    Gone,
    /// A pack keeps it: outside of eviction.
    Pinned,
    /// Used since the hand came by last; its bit is cleared now.
    Used,
    /// May be evicted.
    Cold,
}

/// All of it.
#[derive(Clone)]
pub(crate) struct Table {
    answers: Answers,
    bodies: Bodies,
    parts: HashMap<[u8; 16], Parts>,
    pins: Pins,
    dicts: BTreeMap<u32, Place>,
    /// Changes so far.
    changes: u64,
}

impl Table {
    /// An empty table that does not count yet; [`Table::count`] when all is in.
    pub(crate) fn new() -> Table {
        Table {
            answers: Answers::new(),
            bodies: Bodies::new(),
            parts: HashMap::new(),
            pins: Pins::new(),
            dicts: BTreeMap::new(),
            changes: 0,
        }
    }

    /// Takes in one record. Records must come in the order of their seq, but for BLOBs.
    pub(crate) fn apply(&mut self, line: &Line, segment: u32) {
        self.changes += 1;
        let place = Place { segment, at: line.at };
        if place.pack() == 0 {
            return;
        }
        let url = line.url();
        match line.kind {
            Kind::Blob => self.set_blob(line, place),
            Kind::Meta => {
                self.set_answer(line, place);
                if line.link != 0 {
                    self.parts.remove(&line.entry());
                }
            }
            Kind::Part => self.add_part(line, place),
            Kind::Tomb if line.entry() == [0; 16] => {
                for key in self.keys(&url) {
                    self.remove(key);
                }
                self.parts.retain(|_, parts| parts.url != url.0);
                self.pins.remove_url(&url);
            }
            Kind::Tomb => {
                self.remove(Key::of(&url, &line.entry()));
                self.parts.remove(&line.entry());
            }
            Kind::Pin => self.pins.set(&url, line.link, place),
            Kind::Unpin if url.0 == [0; 16] => self.pins.remove_set(line.link),
            Kind::Unpin => self.pins.remove(&url, line.link),
            Kind::Dict => {
                self.dicts.insert(u32::try_from(line.link).unwrap_or(0), place);
            }
            Kind::Footer => {}
        }
    }

    /// Without a word on the parts that an answer with a whole body replaces.
    fn set_answer(&mut self, line: &Line, place: Place) {
        let key = Key::of(&line.url(), &line.entry());
        let body = if line.link == 0 { 0 } else { self.bodies.reserve(line.link) };
        let used = self.answers.get(key).is_some_and(|answer| answer.used);
        let old = self.answers.set(key, Answer { place, used, body });
        self.bodies.link(body);
        if let Some(old) = old {
            self.bodies.unlink(old.body);
        }
    }

    fn add_part(&mut self, line: &Line, place: Place) {
        let parts = self.parts.entry(line.entry()).or_default();
        if parts.total != line.whole {
            *parts = Parts { url: line.url().0, total: line.whole, spans: Vec::new() };
        }
        let length = line.length_of_part();
        let end = line.link.saturating_add(length);
        parts.spans.retain(|old| old.offset < line.link || old.offset.saturating_add(old.length) > end);
        parts.spans.push(Span { offset: line.link, length, place });
    }

    /// All records are in: counts references from now on, and drops answers whose body is not here, and parts whose answer is not. How
    /// many answers were dropped.
    pub(crate) fn count(&mut self) -> u64 {
        let (before, here) = (self.answers.len(), self.bodies.start_counting());
        self.answers.retain(|_, answer| answer.body == 0 || here.has(answer.body));
        self.answers.settle();
        self.drop_lost_parts();
        self.bodies.count(self.answers.iter().map(|(_, answer)| answer.body));
        self.bodies.settle();
        (before - self.answers.len()) as u64
    }

    fn set_blob(&mut self, line: &Line, place: Place) {
        let base = if line.codec == Codec::Delta { line.link } else { 0 };
        let told = Told { place, codec: line.codec, length: line.whole, stored: line.length, base };
        self.bodies.set(fingerprint(&line.key), &told);
    }

    fn keys(&self, url: &UrlKey) -> Vec<Key> {
        self.answers.of(url).map(|(key, _)| key).collect()
    }

    fn remove(&mut self, key: Key) -> bool {
        let old = self.answers.remove(key);
        old.inspect(|old| self.bodies.unlink(old.body)).is_some()
    }

    /// Where the answers of a URL may be.
    pub(crate) fn find(&self, url: &UrlKey) -> Vec<Place> {
        self.answers.of(url).map(|(_, answer)| answer.place).collect()
    }

    /// Whether there may be an answer under this URL.
    pub(crate) fn may_have(&self, url: &UrlKey) -> bool {
        self.answers.of(url).next().is_some()
    }

    /// Where an entry's newest META is.
    pub(crate) fn entry(&self, url: &UrlKey, entry: &[u8]) -> Option<Place> {
        self.answers.get(Key::of(url, entry)).map(|answer| answer.place)
    }

    /// Drops an entry that turned out damaged, if it still is at `place`, with its parts: nothing else leads to them.
    pub(crate) fn drop_entry(&mut self, place: Place) {
        self.changes += 1;
        self.drop_where(|answer| answer.place == place);
        self.drop_lost_parts();
    }

    fn drop_where(&mut self, which: impl Fn(&Answer) -> bool) {
        let keys: Vec<Key> = self.answers.iter().filter(|(_, answer)| which(answer)).map(|(key, _)| key).collect();
        for key in keys {
            self.remove(key);
        }
    }

    /// Parts whose answer is not here are of no use, and the hand, which comes by answers, would never let them go.
    fn drop_lost_parts(&mut self) {
        let answers = &self.answers;
        self.parts.retain(|entry, parts| answers.get(Key::of(&UrlKey(parts.url), entry)).is_some());
    }

    /// Where a body may be.
    pub(crate) fn blob(&self, object: &Digest) -> Option<Blob> {
        let body = self.bodies.get(self.bodies.number(fingerprint(&object.0))?);
        let (length, stored) = body.lengths();
        Some(Blob { place: body.place?, codec: body.codec, length, stored, refs: u64::from(body.refs) })
    }

    /// Whether there is a body of this fingerprint.
    pub(crate) fn has_blob(&self, print: u64) -> bool {
        self.bodies.number(print).is_some_and(|number| self.bodies.get(number).place.is_some())
    }

    /// Where the dictionary of this number is.
    pub(crate) fn dict(&self, number: u32) -> Option<Place> {
        self.dicts.get(&number).copied()
    }

    /// A hit: the hand spares these answers once (SIEVE, NSDI 2024).
    pub(crate) fn mark(&mut self, url: &UrlKey) {
        self.changes += 1;
        let fresh: Vec<(Key, Answer)> = self.answers.of(url).filter(|(_, answer)| !answer.used).collect();
        for (key, answer) in fresh {
            self.answers.set(key, Answer { used: true, ..answer });
        }
    }

    /// The hand comes by an answer, the META `line` in `segment`: clears its bit, or says that it may go.
    pub(crate) fn judge(&mut self, line: &Line, segment: u32) -> Verdict {
        let key = Key::of(&line.url(), &line.entry());
        let place = Place { segment, at: line.at };
        let Some(answer) = self.answers.get(key).filter(|answer| answer.place == place) else { return Verdict::Gone };
        if self.pinned(&line.url()) {
            return Verdict::Pinned;
        }
        if !answer.used {
            return Verdict::Cold;
        }
        self.changes += 1;
        self.answers.set(key, Answer { used: false, ..answer });
        Verdict::Used
    }

    /// Evicts an answer that is still at this place: nothing is written, at worst it is back after a crash. The bytes of its parts,
    /// if it has any; `None`: it is not there.
    pub(crate) fn evict(&mut self, line: &Line, segment: u32) -> Option<u64> {
        self.is_live(line, segment).then(|| {
            self.changes += 1;
            self.remove(Key::of(&line.url(), &line.entry()));
            let parts = self.parts.remove(&line.entry());
            parts.map_or(0, |parts| parts.spans.iter().map(|span| span.length).sum())
        })
    }

    /// Whether the record that a footer's line tells of is of use at this place: an answer, a body that an answer or a delta leads
    /// to, a part, a pin. Never for TOMB, UNPIN and DICT: what they are good for depends on other segments.
    pub(crate) fn is_live(&self, line: &Line, segment: u32) -> bool {
        let place = Place { segment, at: line.at };
        match line.kind {
            Kind::Blob => self.blob(&Digest(line.key)).is_some_and(|blob| blob.place == place && blob.refs > 0),
            Kind::Meta => self.entry(&line.url(), &line.entry()) == Some(place),
            Kind::Part => self.parts.get(&line.entry()).is_some_and(|parts| parts.spans.iter().any(|span| span.place == place)),
            Kind::Pin => self.pins.get(&line.url(), line.link) == Some(place),
            Kind::Unpin | Kind::Tomb | Kind::Dict | Kind::Footer => false,
        }
    }

    /// A live record has been copied: `old` in segment `from` is now `new` in `to` (a body perhaps in another codec). Whether it
    /// still was where it was copied from; if not, the copy is dead. A dictionary counts as live where [`Table::dict`] finds it.
    pub(crate) fn relocate(&mut self, old: &Line, from: u32, new: &Line, to: u32) -> bool {
        let (was, place) = (Place { segment: from, at: old.at }, Place { segment: to, at: new.at });
        let is_dict = old.kind == Kind::Dict && u32::try_from(old.link).ok().and_then(|number| self.dict(number)) == Some(was);
        if !is_dict && !self.is_live(old, from) {
            return false;
        }
        self.changes += 1;
        match old.kind {
            Kind::Meta => {
                let key = Key::of(&old.url(), &old.entry());
                if let Some(answer) = self.answers.get(key) {
                    self.answers.set(key, Answer { place, ..answer });
                }
            }
            Kind::Part => {
                let spans = self.parts.get_mut(&old.entry()).into_iter().flat_map(|parts| &mut parts.spans);
                for span in spans.filter(|span| span.place == was) {
                    span.place = place;
                }
            }
            Kind::Blob => self.set_blob(new, place),
            Kind::Pin => self.pins.set(&old.url(), old.link, place),
            Kind::Dict => self.apply(new, to),
            Kind::Unpin | Kind::Tomb | Kind::Footer => {}
        }
        true
    }

    /// Counts a reference to a body that is here, so that it is not thought unused while an answer to it is being written.
    /// Whether it is here. [`Table::release`] takes the reference back.
    pub(crate) fn hold(&mut self, object: &Digest) -> bool {
        let number = self.bodies.number(fingerprint(&object.0)).filter(|number| self.bodies.get(*number).place.is_some());
        let Some(number) = number else { return false };
        if self.bodies.has_lost_its_base(number) {
            // Nothing led to the delta, so nothing kept its base.
            self.changes += 1;
            self.bodies.lose(number);
            return false;
        }
        self.bodies.hold(number);
        true
    }

    /// See [`Table::hold`].
    pub(crate) fn release(&mut self, object: &Digest) {
        if let Some(number) = self.bodies.number(fingerprint(&object.0)) {
            self.bodies.release(number);
        }
    }

    /// Whether the copy of a body in this segment is of no use: no answer leads to it, or it is kept elsewhere.
    pub(crate) fn is_unused(&self, object: &Digest, segment: u32) -> bool {
        self.blob(object).is_none_or(|blob| blob.refs == 0 || blob.place.segment != segment)
    }

    /// Forgets the copy of a body in this segment, if nothing leads to it.
    pub(crate) fn drop_unused(&mut self, object: &Digest, segment: u32) {
        if self.blob(object).is_some_and(|blob| blob.place.segment == segment && blob.refs == 0) {
            self.changes += 1;
            if let Some(number) = self.bodies.number(fingerprint(&object.0)) {
                self.bodies.lose(number);
            }
        }
    }

    /// Drops a body that turned out damaged, every answer that leads to it, and with it every delta against it, if it still is at
    /// `place`. Whether it was.
    pub(crate) fn drop_blob_at(&mut self, object: &Digest, place: Place) -> bool {
        let name = fingerprint(&object.0);
        let number = self.bodies.number(name).filter(|number| self.bodies.get(*number).place == Some(place));
        let Some(number) = number else { return false };
        self.changes += 1;
        let mut gone = self.bodies.deltas_of(name);
        gone.push(number);
        // First what leads to them, then they: a number is given back when the last has gone.
        self.drop_where(|answer| gone.contains(&answer.body));
        for number in gone {
            self.bodies.lose(number);
        }
        true
    }

    /// Forgets a body at this place to which nothing leads. From then on it is not here for whoever asks.
    pub(crate) fn drop_dead(&mut self, object: &Digest, place: Place) {
        if self.blob(object).is_some_and(|blob| blob.place == place && blob.refs == 0) {
            self.drop_unused(object, place.segment);
        }
    }

    /// Where the answers of an object may be.
    pub(crate) fn of_object(&self, object: &Digest) -> Vec<Place> {
        let Some(number) = self.bodies.number(fingerprint(&object.0)) else { return Vec::new() };
        self.answers.iter().filter(|(_, answer)| answer.body == number).map(|(_, answer)| answer.place).collect()
    }

    /// Every answer's place, in the order of the disk.
    pub(crate) fn places(&self) -> Vec<Place> {
        let mut places: Vec<Place> = self.answers.iter().map(|(_, answer)| answer.place).collect();
        places.sort_unstable();
        places
    }

    /// The parts of an entry.
    pub(crate) fn parts(&self, entry: &[u8; 16]) -> Option<&Parts> {
        self.parts.get(entry)
    }

    /// The segments in which there are parts of use.
    pub(crate) fn part_segments(&self) -> BTreeSet<u32> {
        self.parts.values().flat_map(|parts| &parts.spans).map(|span| span.place.segment).collect()
    }

    /// Drops the parts of an entry that turned out damaged.
    pub(crate) fn drop_parts(&mut self, entry: &[u8; 16]) {
        self.changes += 1;
        self.parts.remove(entry);
    }

    /// Whether any set keeps this URL.
    pub(crate) fn pinned(&self, url: &UrlKey) -> bool {
        self.pins.any(url)
    }

    /// Whether this set keeps this URL.
    pub(crate) fn has_pin(&self, url: &UrlKey, set: u64) -> bool {
        self.pins.get(url, set).is_some()
    }

    /// The sets that keep this URL.
    pub(crate) fn sets_of(&self, url: &UrlKey) -> Vec<u64> {
        self.pins.sets_of(url)
    }

    /// The URLs of a set.
    pub(crate) fn set(&self, set: u64) -> Vec<UrlKey> {
        self.pins.iter().filter(|pin| self.pins.set_of(pin) == set).map(|pin| UrlKey(pin.url)).collect()
    }

    /// Number of stored answers.
    pub(crate) fn entries(&self) -> u64 {
        self.answers.len() as u64
    }

    /// Number of stored answers whose URL is pinned.
    pub(crate) fn pinned_entries(&self) -> u64 {
        let mut urls: Vec<[u8; 16]> = self.pins.iter().map(|pin| pin.url).collect();
        urls.dedup();
        urls.into_iter().map(|url| self.answers.of(&UrlKey(url)).count() as u64).sum()
    }

    /// Figures of bodies in use; bytes are sums of classes, right to a few in a thousand where there are many.
    pub(crate) fn sums(&self) -> &Sums {
        &self.bodies.sums
    }

    /// Bytes that it takes in memory.
    pub(crate) fn bytes(&self) -> usize {
        let spans = self.parts.values().map(|parts| parts.spans.capacity() * size_of::<Span>()).sum::<usize>();
        let parts = self.parts.capacity() * (size_of::<([u8; 16], Parts)>() + 1) + spans;
        self.answers.bytes() + self.bodies.bytes() + self.pins.bytes() + parts + self.dicts.len() * 2 * size_of::<(u32, Place)>()
    }

    /// Changes so far: when it has not moved, a snapshot is still good.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }
}

impl Line {
    /// Body bytes of a PART: the payload without its head and its checksum table.
    pub(crate) fn length_of_part(&self) -> u64 {
        self.length.saturating_sub(super::record::PART_HEAD as u64)
    }
}
