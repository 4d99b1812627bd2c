//! The table and the log at one moment, for a snapshot.

use crate::base::digest::Digest;
use crate::store::segment::ledger::Standing;
use crate::store::segment::{Lane, Log};
use crate::store::table::Table;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

/// A sealed segment: lane, bytes, and the large body that it holds and nothing else.
pub(crate) type Whole = (Lane, u64, Option<Digest>);

/// What a snapshot tells of.
pub(crate) struct Frozen {
    pub(crate) table: Table,
    pub(crate) seq: u64,
    pub(crate) next_number: u32,
    /// Sealed segments of which the table leads to all that is of use.
    pub(crate) segments: BTreeMap<u32, Whole>,
    /// How often records had to be written anew.
    pub(crate) rescues: u64,
}

impl Log {
    /// After a start: files that are not of this store are not counted and not touched; the table leads to what is in the others.
    pub(crate) fn adopt(&self, strangers: &BTreeSet<u32>) {
        for number in strangers {
            let bytes = self.ledger.strike(*number).map_or(0, |segment| segment.bytes);
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        self.settled.lock().extend(self.segments().into_iter().map(|(number, _)| number));
    }

    /// The table leads to all that is of use in a segment: a start from a snapshot need not read it.
    pub(crate) fn settle(&self, number: u32) {
        self.settled.lock().insert(number);
    }

    /// How often records had to be written anew after a failed sync.
    pub(crate) fn rescues(&self) -> u64 {
        self.rescues.load(Ordering::Relaxed)
    }

    /// Copies the table (40 MB for a million objects, some ten milliseconds) while nothing is appended. No answers may be moved
    /// meanwhile.
    pub(crate) fn freeze(&self) -> Frozen {
        let open = self.open.lock();
        let rescues = self.rescues();
        // Before the table: what is settled now is in it.
        let settled = self.settled.lock().clone();
        let whole = self.segments().into_iter().filter(|(number, one)| one.standing == Standing::Sealed && settled.contains(number));
        let segments = whole.map(|(number, one)| (number, (one.lane, one.bytes, one.alone))).collect();
        let (seq, next_number) = (open.seq, self.next_number.load(Ordering::Relaxed));
        Frozen { table: self.table.read().clone(), seq, next_number, segments, rescues }
    }
}
