//! What is alive, by weight: for choosing what to rewrite and for the share of pins. Pure. Each question walks the whole table
//! (about 20 ms for a million objects on a PC), so it is asked once a pass and not for each request.

use crate::base::target::UrlKey;
use crate::store::record::{HEADER, Kind, Line};
use crate::store::table::{Place, Table};
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
        for body in self.bodies.iter().filter(|body| body.refs > 0) {
            body.place.into_iter().for_each(|place| add(place, body.lengths().1 + HEADER));
        }
        self.answers.iter().for_each(|(_, answer)| add(answer.place, META));
        for span in self.parts.values().flat_map(|parts| &parts.spans) {
            add(span.place, span.length + HEADER);
        }
        live
    }

    /// Bytes of the bodies that packs keep, each once.
    pub(crate) fn pinned_bytes(&self) -> u64 {
        let urls: HashSet<[u8; 16]> = self.pins.iter().map(|pin| pin.url).collect();
        let bodies: HashSet<u32> = urls.into_iter().flat_map(|url| self.answers.of(&UrlKey(url)).map(|found| found.1.body)).collect();
        bodies.into_iter().map(|number| self.bodies.get(number).lengths().1).sum()
    }

    /// Bytes of the bodies that a URL's answers lead to.
    pub(crate) fn bytes_of(&self, url: &UrlKey) -> u64 {
        self.answers.of(url).map(|(_, answer)| self.bodies.get(answer.body).lengths().1).sum()
    }
}
