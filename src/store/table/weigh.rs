//! What is alive, by weight: for choosing what to rewrite and for the share of pins. Pure. Each question walks the whole table
//! (about 20 ms for a million objects on a PC), so it is asked once a pass and not for each request.

use crate::base::digest::Digest;
use crate::base::target::UrlKey;
use crate::store::record::{HEADER, Kind, Line};
use crate::store::table::{Place, Table, url_print};
use std::collections::{HashMap, HashSet};

/// Bytes of an answer's record, about: the table does not know its length.
const META: u64 = 512;

/// What the table says of a record when it is alive.
pub(crate) fn of_line(line: &Line) -> u64 {
    match line.kind {
        Kind::Blob => line.length.min(u64::from(u32::MAX)) + HEADER,
        Kind::Meta => META,
        Kind::Part => line.length_of_part() + HEADER,
        Kind::Pin | Kind::Unpin | Kind::Tomb | Kind::Dict | Kind::Footer => 0,
    }
}

impl Table {
    /// Bytes alive in each segment, about.
    pub(crate) fn live_bytes(&self) -> HashMap<u32, u64> {
        let mut live: HashMap<u32, u64> = HashMap::new();
        let mut add = |place: Place, bytes: u64| *live.entry(place.segment).or_default() += bytes;
        for (print, _, _) in self.blobs.all() {
            if let Some(blob) = self.blob_at(print).filter(|blob| blob.refs > 0) {
                add(blob.place, u64::from(blob.stored) + HEADER);
            }
        }
        for (_, word, _) in self.urls.all() {
            add(Place::unpack(word), META);
        }
        for span in self.parts.values().flat_map(|parts| &parts.spans) {
            add(span.place, span.length + HEADER);
        }
        live
    }

    /// Bytes of the bodies that packs keep, each once.
    pub(crate) fn pinned_bytes(&self) -> u64 {
        let urls: HashSet<[u8; 16]> = self.pins.iter().map(|pin| pin.0).collect();
        let slots = urls.into_iter().flat_map(|url| self.urls.of(url_print(&UrlKey(url))));
        let objects: HashSet<u64> = slots.map(|slot| slot.2).collect();
        objects.into_iter().filter_map(|print| self.blob_at(print)).map(|blob| u64::from(blob.stored)).sum()
    }

    /// Bytes of the bodies that a URL's answers lead to.
    pub(crate) fn bytes_of(&self, url: &UrlKey) -> u64 {
        let slots = self.urls.of(url_print(url)).into_iter();
        slots.filter_map(|slot| self.blob_at(slot.2)).map(|blob| u64::from(blob.stored)).sum()
    }

    /// Drops a body that turned out damaged, and every answer that leads to it, if it still is at `place`. Whether it was.
    pub(crate) fn drop_blob_at(&mut self, object: &Digest, place: Place) -> bool {
        let here = self.blob(object).is_some_and(|blob| blob.place == place);
        if here {
            self.drop_blob(object);
        }
        here
    }

    /// Forgets a body at this place to which no answer leads. From then on it is not here for whoever asks.
    pub(crate) fn drop_dead(&mut self, object: &Digest, place: Place) {
        if self.blob(object).is_some_and(|blob| blob.place == place && blob.refs == 0) {
            self.drop_unused(object, place.segment);
        }
    }
}
