//! The RAM table: where every stored answer and body is, found by fingerprint. Pure. 48 B a URL with its body, at 73-87 % fill
//! 55-66 B; full keys stay on disk and are compared on every read, so that a wrong guess costs a read and never a wrong answer.
//! The layout follows HashCache (NSDI 2009); parts and pins are few and live in plain maps.

/// What is alive, by weight.
pub(crate) mod weigh;

use crate::base::digest::Digest;
use crate::base::target::UrlKey;
use crate::store::record::{Codec, Kind, Line, fingerprint};
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

/// Where a record is: segment number below 2^20, offset below 256 MiB and a multiple of 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(crate) segment: u32,
    pub(crate) at: u64,
}

/// Bits of a packed place; those above are flags.
const PLACE_BITS: u32 = 45;
const PLACE_MASK: u64 = (1 << PLACE_BITS) - 1;
/// Where the codec stands in a body's word, and where its references begin.
const CODEC_MASK: u64 = 7;
const REFS_AT: u32 = PLACE_BITS + 3;
/// SIEVE's bit in an answer's word: used since the hand came by.
const USED: u64 = 1 << 63;
/// Most references that a body's slot counts; beyond, the count stays (the body is then never thought unused).
const REFS_MAX: u64 = 0xffff;

impl Place {
    /// In 45 bits.
    pub(crate) fn pack(self) -> u64 {
        (u64::from(self.segment) << 25 | (self.at / 8) & 0x1ff_ffff) & PLACE_MASK
    }

    /// Out of 45 bits.
    pub(crate) fn unpack(word: u64) -> Place {
        Place { segment: u32::try_from((word & PLACE_MASK) >> 25).unwrap_or(0), at: (word & 0x1ff_ffff) * 8 }
    }
}

/// One part of a body that is not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) place: Place,
}

/// The parts of one entry, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) url: [u8; 16],
    pub(crate) total: u64,
    pub(crate) spans: Vec<Span>,
}

impl Parts {
    /// What is here, sorted and disjoint, neighbours merged.
    pub(crate) fn have(&self) -> Vec<Range<u64>> {
        let mut spans: Vec<Range<u64>> = self.spans.iter().map(|span| span.offset..span.offset + span.length).collect();
        spans.sort_by_key(|span| span.start);
        let mut have: Vec<Range<u64>> = Vec::new();
        for span in spans {
            match have.last_mut() {
                Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
                _ => have.push(span),
            }
        }
        have
    }

    /// The span that holds byte `at` and reaches furthest.
    pub(crate) fn holding(&self, at: u64) -> Option<Span> {
        let holds = self.spans.iter().filter(|span| span.offset <= at && at < span.offset + span.length);
        holds.max_by_key(|span| span.offset + span.length).copied()
    }
}

/// What is known of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Blob {
    pub(crate) place: Place,
    pub(crate) codec: Codec,
    /// Identity and stored length, each capped at 4 GiB (figures only; true lengths stand in the record).
    pub(crate) length: u32,
    pub(crate) stored: u32,
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

/// Sums over bodies that are in use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) objects: u64,
    pub(crate) object_bytes: u64,
    pub(crate) entry_bytes: u64,
    pub(crate) stored_bytes: u64,
    /// Objects and stored bytes by codec, in the order of its numbers.
    pub(crate) codecs: [(u64, u64); Codec::ALL.len()],
}

/// All of it.
pub(crate) struct Table {
    urls: Slots,
    blobs: Slots,
    parts: HashMap<[u8; 16], Parts>,
    pins: BTreeSet<([u8; 16], u64)>,
    dicts: HashMap<u32, Place>,
    /// The bodies that deltas point to.
    bases: HashMap<u64, u64>,
    sums: Sums,
    /// References are counted as they come; off while a start replays segments in any order.
    counting: bool,
}

/// The low bits of a URL slot's fingerprint tell variants of one URL apart.
const VARIANT_MASK: u64 = 0x00ff_ffff;

fn url_print(url: &UrlKey) -> u64 {
    (fingerprint(&url.0) & !VARIANT_MASK).max(VARIANT_MASK + 1)
}

fn entry_print(url: &UrlKey, entry: &[u8]) -> u64 {
    url_print(url) | (fingerprint(entry) & VARIANT_MASK)
}

impl Table {
    /// An empty table that does not count yet; [`Table::count`] when all is in.
    pub(crate) fn new() -> Table {
        Table {
            urls: Slots::new(!VARIANT_MASK),
            blobs: Slots::new(u64::MAX),
            parts: HashMap::new(),
            pins: BTreeSet::new(),
            dicts: HashMap::new(),
            bases: HashMap::new(),
            sums: Sums::default(),
            counting: false,
        }
    }

    /// Takes in one record. Records must come in the order of their seq, but for BLOBs.
    pub(crate) fn apply(&mut self, line: &Line, segment: u32) {
        let place = Place { segment, at: line.at };
        let url = line.url();
        match line.kind {
            Kind::Blob => self.set_blob(line, place),
            Kind::Meta => {
                let print = entry_print(&url, &line.entry());
                let used = self.urls.get(print).map_or(0, |(word, _)| word & USED);
                let old = self.urls.set(print, place.pack() | used, line.link);
                if let Some((_, link)) = old {
                    self.unlink(link);
                }
                self.link(line.link);
                if line.link != 0 {
                    self.parts.remove(&line.entry());
                }
            }
            Kind::Part => {
                let parts = self.parts.entry(line.entry()).or_default();
                if parts.total != line.whole {
                    *parts = Parts { url: url.0, total: line.whole, spans: Vec::new() };
                }
                let length = line.length_of_part();
                parts.spans.retain(|old| old.offset < line.link || old.offset + old.length > line.link + length);
                parts.spans.push(Span { offset: line.link, length, place });
            }
            Kind::Tomb if line.entry() == [0; 16] => {
                for (print, _, _) in self.urls.of(url_print(&url)) {
                    self.remove_print(print);
                }
                self.parts.retain(|_, parts| parts.url != url.0);
                let pins: Vec<_> = self.pins.range((url.0, 0)..=(url.0, u64::MAX)).copied().collect();
                for pin in pins {
                    self.pins.remove(&pin);
                }
            }
            Kind::Tomb => {
                self.remove_print(entry_print(&url, &line.entry()));
                self.parts.remove(&line.entry());
            }
            Kind::Pin => {
                self.pins.insert((url.0, line.link));
            }
            Kind::Unpin if url.0 == [0; 16] => self.pins.retain(|pin| pin.1 != line.link),
            Kind::Unpin => {
                self.pins.remove(&(url.0, line.link));
            }
            Kind::Dict => {
                self.dicts.insert(u32::try_from(line.link).unwrap_or(0), place);
            }
            Kind::Footer => {}
        }
    }

    /// Where the dictionary of this number is.
    pub(crate) fn dict(&self, number: u32) -> Option<Place> {
        self.dicts.get(&number).copied()
    }

    /// All records are in: counts references from now on, and drops answers whose body is gone. How many were dropped.
    pub(crate) fn count(&mut self) -> u64 {
        self.counting = true;
        self.urls.settle();
        self.blobs.settle();
        let mut dangling = 0;
        for (print, _, link) in self.urls.all() {
            if link == 0 || self.blobs.get(link).is_some() {
                self.link(link);
            } else {
                self.urls.remove(print);
                dangling += 1;
            }
        }
        let bases: Vec<u64> = self.bases.values().copied().collect();
        for base in bases {
            self.link(base);
        }
        dangling
    }

    fn set_blob(&mut self, line: &Line, place: Place) {
        let print = fingerprint(&line.key);
        if let Some(base) = self.bases.remove(&print) {
            self.unlink(base);
        }
        if line.codec == Codec::Delta {
            self.bases.insert(print, line.link);
            self.link(line.link);
        }
        let refs = self.blobs.get(print).map_or(0, |(word, _)| word >> REFS_AT);
        let cap = |length: u64| length.min(u64::from(u32::MAX));
        let word = place.pack() | (line.codec as u64) << PLACE_BITS | refs << REFS_AT;
        let old = self.blob_at(print).filter(|_| self.counting && refs > 0);
        self.blobs.set(print, word, cap(line.whole) | cap(line.length) << 32);
        if let Some(old) = old {
            // The same body in another form.
            let stored = u64::from(old.stored);
            self.sums.stored_bytes = self.sums.stored_bytes.saturating_sub(stored) + cap(line.length);
            let codecs = &mut self.sums.codecs;
            let was = &mut codecs[old.codec as usize];
            (was.0, was.1) = (was.0.saturating_sub(1), was.1.saturating_sub(stored));
            let is = &mut codecs[line.codec as usize];
            (is.0, is.1) = (is.0 + 1, is.1 + cap(line.length));
        }
    }

    fn blob_at(&self, print: u64) -> Option<Blob> {
        let (word, lengths) = self.blobs.get(print)?;
        Some(Blob {
            place: Place::unpack(word),
            codec: Codec::of(u8::try_from((word >> PLACE_BITS) & CODEC_MASK).unwrap_or(0)).unwrap_or(Codec::Raw),
            length: u32::try_from(lengths & 0xffff_ffff).unwrap_or(u32::MAX),
            stored: u32::try_from(lengths >> 32).unwrap_or(u32::MAX),
            refs: word >> REFS_AT,
        })
    }

    fn link(&mut self, print: u64) {
        self.refer(print, true);
    }

    fn unlink(&mut self, print: u64) {
        self.refer(print, false);
    }

    fn refer(&mut self, print: u64, more: bool) {
        if !self.counting || print == 0 {
            return;
        }
        let Some(blob) = self.blob_at(print) else { return };
        let (length, stored) = (u64::from(blob.length), u64::from(blob.stored));
        let refs = match (more, blob.refs) {
            (_, REFS_MAX) => REFS_MAX,
            (true, refs) => refs + 1,
            (false, refs) => refs.saturating_sub(1),
        };
        let sums = &mut self.sums;
        let codec = &mut sums.codecs[blob.codec as usize];
        match (blob.refs, refs) {
            (0, 1) => {
                (sums.objects, sums.object_bytes, sums.stored_bytes) =
                    (sums.objects + 1, sums.object_bytes + length, sums.stored_bytes + stored);
                (codec.0, codec.1) = (codec.0 + 1, codec.1 + stored);
            }
            (1, 0) => {
                sums.objects = sums.objects.saturating_sub(1);
                sums.object_bytes = sums.object_bytes.saturating_sub(length);
                sums.stored_bytes = sums.stored_bytes.saturating_sub(stored);
                (codec.0, codec.1) = (codec.0.saturating_sub(1), codec.1.saturating_sub(stored));
            }
            _ => {}
        }
        sums.entry_bytes = if more { sums.entry_bytes + length } else { sums.entry_bytes.saturating_sub(length) };
        if let Some((word, lengths)) = self.blobs.get(print) {
            let low = word & ((1 << REFS_AT) - 1);
            self.blobs.set(print, low | refs << REFS_AT, lengths);
        }
    }

    fn remove_print(&mut self, print: u64) -> bool {
        match self.urls.remove(print) {
            Some((_, link)) => {
                self.unlink(link);
                true
            }
            None => false,
        }
    }

    /// Where the answers of a URL may be.
    pub(crate) fn find(&self, url: &UrlKey) -> Vec<Place> {
        self.urls.of(url_print(url)).into_iter().map(|(_, word, _)| Place::unpack(word)).collect()
    }

    /// Whether there may be an answer under this URL.
    pub(crate) fn may_have(&self, url: &UrlKey) -> bool {
        self.urls.any(url_print(url))
    }

    /// Where an entry's newest META is.
    pub(crate) fn entry(&self, url: &UrlKey, entry: &[u8]) -> Option<Place> {
        self.urls.get(entry_print(url, entry)).map(|(word, _)| Place::unpack(word))
    }

    /// Drops an entry that turned out damaged, if it still is at `place`.
    pub(crate) fn drop_entry(&mut self, place: Place) {
        let prints: Vec<u64> = self.urls.all().into_iter().filter(|slot| Place::unpack(slot.1) == place).map(|slot| slot.0).collect();
        for print in prints {
            self.remove_print(print);
        }
    }

    /// Where a body may be.
    pub(crate) fn blob(&self, object: &Digest) -> Option<Blob> {
        self.blob_at(fingerprint(&object.0))
    }

    /// Whether there is a body of this fingerprint.
    pub(crate) fn has_blob(&self, print: u64) -> bool {
        self.blobs.get(print).is_some()
    }

    /// A hit: the hand spares these answers once (SIEVE, NSDI 2024).
    pub(crate) fn mark(&mut self, url: &UrlKey) {
        for (print, word, link) in self.urls.of(url_print(url)) {
            if word & USED == 0 {
                self.urls.set(print, word | USED, link);
            }
        }
    }

    /// The hand comes by an answer, the META `line` in `segment`: clears its bit, or says that it may go.
    pub(crate) fn judge(&mut self, line: &Line, segment: u32) -> Verdict {
        let print = entry_print(&line.url(), &line.entry());
        let place = Place { segment, at: line.at };
        let Some((word, link)) = self.urls.get(print).filter(|(word, _)| Place::unpack(*word) == place) else { return Verdict::Gone };
        if self.pinned(&line.url()) {
            return Verdict::Pinned;
        }
        if word & USED == 0 {
            return Verdict::Cold;
        }
        self.urls.set(print, word & !USED, link);
        Verdict::Used
    }

    /// Evicts an answer that is still at this place: nothing is written, at worst it is back after a crash.
    pub(crate) fn evict(&mut self, line: &Line, segment: u32) -> bool {
        let here = self.is_live(line, segment);
        if here {
            self.remove_print(entry_print(&line.url(), &line.entry()));
            self.parts.remove(&line.entry());
        }
        here
    }

    /// Whether the record that a footer's line tells of is of use at this place: an answer, a body that an answer or a delta leads
    /// to, a part, a pin. Never for TOMB, UNPIN and DICT: what they are good for depends on other segments.
    pub(crate) fn is_live(&self, line: &Line, segment: u32) -> bool {
        let place = Place { segment, at: line.at };
        match line.kind {
            Kind::Blob => self.blob_at(fingerprint(&line.key)).is_some_and(|blob| blob.place == place && blob.refs > 0),
            Kind::Meta => self.entry(&line.url(), &line.entry()) == Some(place),
            Kind::Part => self.parts.get(&line.entry()).is_some_and(|parts| parts.spans.iter().any(|span| span.place == place)),
            Kind::Pin => self.has_pin(&line.url(), line.link),
            Kind::Unpin | Kind::Tomb | Kind::Dict | Kind::Footer => false,
        }
    }

    /// A live record has been copied: `old` in segment `from` is now `new` in `to` (a body perhaps in another codec). Whether it
    /// still was where it was copied from; if not, the copy is dead.
    pub(crate) fn relocate(&mut self, old: &Line, from: u32, new: &Line, to: u32) -> bool {
        if old.kind == Kind::Dict {
            let was = Place { segment: from, at: old.at };
            let kept = u32::try_from(old.link).ok().and_then(|number| self.dicts.get_mut(&number)).filter(|place| **place == was);
            return kept.map(|place| *place = Place { segment: to, at: new.at }).is_some();
        }
        if !self.is_live(old, from) {
            return false;
        }
        let place = Place { segment: to, at: new.at };
        match old.kind {
            Kind::Meta => {
                let print = entry_print(&old.url(), &old.entry());
                if let Some((word, link)) = self.urls.get(print) {
                    self.urls.set(print, (word & !PLACE_MASK) | place.pack(), link);
                }
            }
            Kind::Part => {
                let was = Place { segment: from, at: old.at };
                let spans = self.parts.get_mut(&old.entry()).into_iter().flat_map(|parts| &mut parts.spans);
                for span in spans.filter(|span| span.place == was) {
                    span.place = place;
                }
            }
            Kind::Blob => self.set_blob(new, place),
            Kind::Pin | Kind::Unpin | Kind::Tomb | Kind::Dict | Kind::Footer => {}
        }
        true
    }

    /// Counts a reference to a body that is here, so that it is not thought unused while an answer to it is being written.
    /// Whether it is here. [`Table::release`] takes the reference back.
    pub(crate) fn hold(&mut self, object: &Digest) -> bool {
        let print = fingerprint(&object.0);
        let here = self.blobs.get(print).is_some();
        if here {
            self.link(print);
        }
        here
    }

    /// See [`Table::hold`].
    pub(crate) fn release(&mut self, object: &Digest) {
        self.unlink(fingerprint(&object.0));
    }

    /// Whether the copy of a body in this segment is of no use: no answer leads to it, or it is kept elsewhere.
    pub(crate) fn is_unused(&self, object: &Digest, segment: u32) -> bool {
        self.blob(object).is_none_or(|blob| blob.refs == 0 || blob.place.segment != segment)
    }

    /// Forgets the copy of a body in this segment.
    pub(crate) fn drop_unused(&mut self, object: &Digest, segment: u32) {
        if self.blob(object).is_some_and(|blob| blob.place.segment == segment) {
            self.blobs.remove(fingerprint(&object.0));
        }
    }

    /// Drops a body that turned out damaged, and every answer that leads to it.
    pub(crate) fn drop_blob(&mut self, object: &Digest) {
        let print = fingerprint(&object.0);
        for (entry, _, _) in self.urls.all().into_iter().filter(|slot| slot.2 == print) {
            self.remove_print(entry);
        }
        self.blobs.remove(print);
    }

    /// Where the answers of an object may be.
    pub(crate) fn of_object(&self, object: &Digest) -> Vec<Place> {
        let print = fingerprint(&object.0);
        self.urls.all().into_iter().filter(|slot| slot.2 == print).map(|slot| Place::unpack(slot.1)).collect()
    }

    /// Every answer's place, in the order of the disk.
    pub(crate) fn places(&self) -> Vec<Place> {
        let mut places: Vec<Place> = self.urls.all().into_iter().map(|(_, word, _)| Place::unpack(word)).collect();
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
        self.parts.remove(entry);
    }

    /// Whether any set keeps this URL.
    pub(crate) fn pinned(&self, url: &UrlKey) -> bool {
        self.pins.range((url.0, 0)..=(url.0, u64::MAX)).next().is_some()
    }

    /// Whether this set keeps this URL.
    pub(crate) fn has_pin(&self, url: &UrlKey, set: u64) -> bool {
        self.pins.contains(&(url.0, set))
    }

    /// The sets that keep this URL.
    pub(crate) fn sets_of(&self, url: &UrlKey) -> Vec<u64> {
        self.pins.range((url.0, 0)..=(url.0, u64::MAX)).map(|pin| pin.1).collect()
    }

    /// The URLs of a set.
    pub(crate) fn set(&self, set: u64) -> Vec<UrlKey> {
        self.pins.iter().filter(|pin| pin.1 == set).map(|pin| UrlKey(pin.0)).collect()
    }

    /// Number of stored answers.
    pub(crate) fn entries(&self) -> u64 {
        self.urls.len as u64
    }

    /// Number of stored answers whose URL is pinned.
    pub(crate) fn pinned_entries(&self) -> u64 {
        let urls: BTreeSet<[u8; 16]> = self.pins.iter().map(|pin| pin.0).collect();
        urls.into_iter().map(|url| self.urls.of(url_print(&UrlKey(url))).len() as u64).sum()
    }

    /// Figures of bodies in use.
    pub(crate) fn sums(&self) -> &Sums {
        &self.sums
    }
}

impl Line {
    /// Body bytes of a PART: the payload without its head and its checksum table.
    pub(crate) fn length_of_part(&self) -> u64 {
        self.length.saturating_sub(super::record::PART_HEAD as u64)
    }
}

/// Open addressing with linear probing and backward-shift deletion; a slot is three words in three arrays, a zero
/// fingerprint is an empty slot. The home of a fingerprint is its place in proportion (Lemire's fast range), so the capacity
/// may be any number and grows by a fifth: fill stays between 73 and 87 %.
struct Slots {
    prints: Vec<u64>,
    words: Vec<u64>,
    links: Vec<u64>,
    len: usize,
    /// Bits of the fingerprint that decide its home.
    home: u64,
    /// While a start loads, the capacity doubles.
    loading: bool,
}

impl Slots {
    fn new(home: u64) -> Slots {
        Slots { prints: vec![0; 64], words: vec![0; 64], links: vec![0; 64], len: 0, home, loading: true }
    }

    fn home(&self, print: u64) -> usize {
        let place = (u128::from(print & self.home) * self.prints.len() as u128) >> 64;
        usize::try_from(place).expect("less than the capacity")
    }

    fn next(&self, at: usize) -> usize {
        if at + 1 == self.prints.len() { 0 } else { at + 1 }
    }

    /// The slot of `print`, or the empty one where it would go.
    fn seek(&self, print: u64) -> usize {
        let mut at = self.home(print);
        while self.prints[at] != 0 && self.prints[at] != print {
            at = self.next(at);
        }
        at
    }

    fn get(&self, print: u64) -> Option<(u64, u64)> {
        let at = self.seek(print);
        (self.prints[at] == print && print != 0).then(|| (self.words[at], self.links[at]))
    }

    fn set(&mut self, print: u64, word: u64, link: u64) -> Option<(u64, u64)> {
        let at = self.seek(print);
        let old = (self.prints[at] == print).then(|| (self.words[at], self.links[at]));
        (self.prints[at], self.words[at], self.links[at]) = (print, word, link);
        if old.is_none() {
            self.len += 1;
            if self.len * 8 > self.prints.len() * 7 {
                let more = if self.loading { self.prints.len() } else { self.prints.len() / 5 + 8 };
                self.resize(self.prints.len() + more);
            }
        }
        old
    }

    /// A start is over: from now on grows by small steps.
    fn settle(&mut self) {
        self.loading = false;
        self.resize((self.len * 5 / 4).max(64));
    }

    fn resize(&mut self, capacity: usize) {
        let words = || vec![0; capacity];
        let fresh = Slots { prints: words(), words: words(), links: words(), ..*self };
        let old = std::mem::replace(self, fresh);
        for (at, print) in old.prints.iter().enumerate().filter(|(_, print)| **print != 0) {
            let to = self.seek(*print);
            (self.prints[to], self.words[to], self.links[to]) = (*print, old.words[at], old.links[at]);
        }
    }

    fn remove(&mut self, print: u64) -> Option<(u64, u64)> {
        let mut hole = self.seek(print);
        if print == 0 || self.prints[hole] != print {
            return None;
        }
        let old = (self.words[hole], self.links[hole]);
        self.len -= 1;
        let mut at = hole;
        loop {
            at = self.next(at);
            if self.prints[at] == 0 {
                break;
            }
            let home = self.home(self.prints[at]);
            let stays = if hole <= at { hole < home && home <= at } else { hole < home || home <= at };
            if !stays {
                (self.prints[hole], self.words[hole], self.links[hole]) = (self.prints[at], self.words[at], self.links[at]);
                hole = at;
            }
        }
        self.prints[hole] = 0;
        Some(old)
    }

    /// All slots whose home bits equal those of `print`.
    fn of(&self, print: u64) -> Vec<(u64, u64, u64)> {
        let mut found = Vec::new();
        let mut at = self.home(print);
        while self.prints[at] != 0 {
            if self.prints[at] & self.home == print & self.home {
                found.push((self.prints[at], self.words[at], self.links[at]));
            }
            at = self.next(at);
        }
        found
    }

    fn any(&self, print: u64) -> bool {
        let mut at = self.home(print);
        while self.prints[at] != 0 {
            if self.prints[at] & self.home == print & self.home {
                return true;
            }
            at = self.next(at);
        }
        false
    }

    fn all(&self) -> Vec<(u64, u64, u64)> {
        let filled = (0..self.prints.len()).filter(|at| self.prints[*at] != 0);
        filled.map(|at| (self.prints[at], self.words[at], self.links[at])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::record::pair;

    fn line(kind: Kind, key: [u8; 32], whole: u64, link: u64) -> Line {
        Line { kind, codec: Codec::Zstd, flags: 0, at: 64, seq: 1, key, length: 40, whole, link, time: 0 }
    }

    #[test]
    fn slots_agree_with_a_map_under_random_use() {
        let mut slots = Slots::new(u64::MAX);
        let mut map = std::collections::HashMap::new();
        let mut state = 1_u64;
        for step in 0..60_000_u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let print = fingerprint(&(state >> 50).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
            if state.is_multiple_of(3) {
                assert_eq!(slots.remove(print), map.remove(&print), "step {step}");
            } else {
                assert_eq!(slots.set(print, step, step + 1), map.insert(print, (step, step + 1)), "step {step}");
            }
        }
        assert_eq!(slots.len, map.len());
        assert!(map.iter().all(|(print, value)| slots.get(*print) == Some(*value)));
        assert_eq!(slots.all().len(), map.len());
    }

    #[test]
    fn two_urls_of_one_body_count_it_once() {
        let mut table = Table::new();
        table.count();
        let object = Digest::of(b"o");
        table.apply(&line(Kind::Blob, object.0, 100, 0), 1);
        for url in [1, 2] {
            table.apply(&line(Kind::Meta, pair(&UrlKey([url; 16]), &[url; 16]), 100, fingerprint(&object.0)), 1);
        }
        assert_eq!((table.sums().objects, table.sums().object_bytes, table.sums().entry_bytes), (1, 100, 200));
        table.apply(&line(Kind::Tomb, pair(&UrlKey([1; 16]), &[]), 0, 0), 1);
        table.apply(&line(Kind::Tomb, pair(&UrlKey([2; 16]), &[2; 16]), 0, 0), 1);
        assert_eq!((table.sums().objects, table.sums().entry_bytes, table.entries()), (0, 0, 0));
    }

    #[test]
    fn variants_of_one_url_stay_apart_and_replace_their_own_kind() {
        let (mut table, url) = (Table::new(), UrlKey([5; 16]));
        for entry in 0..40_u8 {
            table.apply(&line(Kind::Meta, pair(&url, &[entry + 1; 16]), 1, 0), u32::from(entry));
            table.apply(&line(Kind::Meta, pair(&url, &[entry + 1; 16]), 1, 0), u32::from(entry) + 100);
        }
        assert_eq!(table.find(&url).len(), 40);
        assert_eq!(table.entry(&url, &[3; 16]), Some(Place { segment: 102, at: 64 }));
        assert!(!table.may_have(&UrlKey([6; 16])));
    }

    #[test]
    fn parts_merge_and_pins_come_and_go() {
        let (mut table, url) = (Table::new(), UrlKey([5; 16]));
        let part = |offset: u64, length: u64| Line { length: length + 48, ..line(Kind::Part, pair(&url, &[1; 16]), 100, offset) };
        for (offset, length) in [(50, 10), (0, 20), (20, 5), (52, 3)] {
            table.apply(&part(offset, length), 1);
        }
        let parts = table.parts(&[1; 16]).unwrap();
        assert_eq!(parts.have(), [0..25, 50..60]);
        assert_eq!(parts.holding(21).unwrap().offset, 20);
        assert!(parts.holding(30).is_none());
        table.apply(&line(Kind::Pin, pair(&url, &[]), 0, 7), 1);
        assert!(table.pinned(&url));
        assert_eq!(table.set(7), [url]);
        table.apply(&line(Kind::Unpin, [0; 32], 0, 7), 1);
        assert!(!table.pinned(&url));
    }

    #[test]
    fn an_answer_whose_body_is_gone_is_dropped_when_counting() {
        let mut table = Table::new();
        table.apply(&line(Kind::Meta, [1; 32], 1, 99), 1);
        assert_eq!(table.count(), 1);
        assert_eq!(table.entries(), 0);
    }
}
