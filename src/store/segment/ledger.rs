//! The ledger: which segments there are, what they weigh, and what their footers say. Kept by the log.

use crate::base::digest::Digest;
use crate::store::disk::DiskFile;
use crate::store::record::{self, Header, Line};
use crate::store::recover;
use crate::store::segment::{Current, Lane, Log, weight};
use crate::store::table::weigh;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;

/// How a segment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Being written.
    Open,
    /// With its footer, never to change.
    Sealed,
    /// Left without a footer by a failing disk; a start seals it.
    Left,
}

/// A segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) lane: Lane,
    pub(crate) standing: Standing,
    /// Bytes on disk; of an open one, when last looked at.
    pub(crate) bytes: u64,
    /// The large body that it holds and nothing else.
    pub(crate) alone: Option<Digest>,
    /// The seq of its first record, once it has been read.
    pub(crate) first: Option<u64>,
    /// What its records weigh, once they have been read.
    pub(crate) gauge: Option<Gauge>,
    /// The last round of the hand that came by (`evict/hand.rs`).
    pub(crate) lap: u64,
}

/// What the records of a segment weigh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gauge {
    /// As the table weighs them: what it would say if all of them were alive.
    table: u64,
    /// Of copies: records that the table does not weigh and that are needed (TOMB, UNPIN, PIN, DICT).
    fixed: u64,
}

impl Gauge {
    /// Weighs records, of a segment of copies when `copies`.
    pub(super) fn of(lines: &[Line], copies: bool) -> Gauge {
        let fixed = |line: &&Line| weigh::of_line(line) == 0;
        Gauge {
            table: lines.iter().map(weigh::of_line).sum(),
            fixed: if copies { lines.iter().filter(fixed).map(|line| weight(line) + record::ENTRY as u64).sum() } else { 0 },
        }
    }
}

impl Segment {
    /// Whether it will not change any more.
    pub(crate) fn is_done(&self) -> bool {
        self.standing != Standing::Open
    }

    /// Bytes that are of use, when the table says that `live` are.
    pub(crate) fn alive(&self, live: u64) -> u64 {
        let gauge = self.gauge.unwrap_or_default();
        let fixed = gauge.fixed.min(self.bytes);
        let share = u128::from(live.min(gauge.table)) * u128::from(self.bytes - fixed) / u128::from(gauge.table.max(1));
        fixed + u64::try_from(share).unwrap_or(self.bytes)
    }
}

/// All segments by number.
#[derive(Default)]
pub(super) struct Ledger(Mutex<BTreeMap<u32, Segment>>);

impl Ledger {
    /// Notes a segment.
    pub(super) fn set(&self, number: u32, segment: Segment) {
        self.0.lock().insert(number, segment);
    }

    /// Changes what is noted of a segment.
    pub(super) fn change(&self, number: u32, change: impl FnOnce(&mut Segment)) {
        if let Some(segment) = self.0.lock().get_mut(&number) {
            change(segment);
        }
    }

    /// Strikes a segment out; what was noted of it.
    pub(super) fn strike(&self, number: u32) -> Option<Segment> {
        self.0.lock().remove(&number)
    }

    /// What is noted of a segment.
    pub(super) fn get(&self, number: u32) -> Option<Segment> {
        self.0.lock().get(&number).copied()
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<(u32, Segment)> {
        self.0.lock().iter().map(|(number, segment)| (*number, *segment)).collect()
    }
}

impl Log {
    /// All segments, by number.
    pub(crate) fn segments(&self) -> Vec<(u32, Segment)> {
        self.ledger.all()
    }

    /// Whether a segment will not change any more.
    pub(crate) fn is_done(&self, number: u32) -> bool {
        self.ledger.get(number).is_some_and(|segment| segment.is_done())
    }

    /// The records of a segment: from memory while it is open, from its footer when it is sealed, else by a scan of what verifies.
    pub(crate) fn lines(&self, number: u32) -> io::Result<Vec<Line>> {
        self.read_lines(number, false)
    }

    /// The same, as far as the medium gives them: see [`recover::scan_around`].
    pub(crate) fn lines_around(&self, number: u32) -> io::Result<Vec<Line>> {
        self.read_lines(number, true)
    }

    fn read_lines(&self, number: u32, around: bool) -> io::Result<Vec<Line>> {
        {
            let open = self.open.lock();
            let current = open.main.iter().chain(&open.parts).find(|now| now.number == number);
            if let Some(Current { lines, .. }) = current {
                return Ok(lines.clone());
            }
        }
        let file = self.file(number)?;
        let length = file.length()?;
        if let Some(lines) = recover::footer(&*file, length) {
            return Ok(lines);
        }
        let mut lines = Vec::new();
        let keep = |line, _: &Header, holds, _: &[u8]| lines.extend(Some(line).filter(|_| holds));
        if around {
            recover::scan_around(&*file, length, &self.uuid, keep)?;
        } else {
            recover::scan(&*file, length, &self.uuid, keep)?;
        }
        Ok(lines)
    }

    /// Whether a segment was sealed in its time, not by a start after a crash.
    pub(crate) fn is_sound(&self, number: u32, segment: &Segment) -> io::Result<bool> {
        Ok(segment.standing == Standing::Sealed && recover::is_sound(&*self.file(number)?, segment.bytes, &self.uuid))
    }

    /// The hand has come by in this round.
    pub(crate) fn lapped(&self, number: u32, lap: u64) {
        self.ledger.change(number, |segment| segment.lap = lap);
    }

    /// The seq of a segment's first record, which is its lowest; `u64::MAX` when there is none to be read.
    pub(crate) fn first_seq(&self, number: u32) -> io::Result<u64> {
        if let Some(first) = self.ledger.get(number).and_then(|segment| segment.first) {
            return Ok(first);
        }
        let file = self.file(number)?;
        let first =
            if let Some(seq) = first_of(&*file, &self.uuid)? { seq } else { self.lines(number)?.first().map_or(u64::MAX, |line| line.seq) };
        self.ledger.change(number, |segment| segment.first = Some(first));
        Ok(first)
    }
}

impl Log {
    /// What is noted of a segment, its weight too.
    pub(crate) fn weighed(&self, number: u32) -> io::Result<Option<Segment>> {
        if self.ledger.get(number).is_some_and(|segment| segment.gauge.is_none()) {
            let gauge = Gauge::of(&self.lines(number)?, false);
            self.ledger.change(number, |segment| segment.gauge = Some(gauge));
        }
        Ok(self.ledger.get(number))
    }
}

/// The seq of the record that stands right after the segment's header.
fn first_of(file: &dyn DiskFile, uuid: &[u8; 16]) -> io::Result<Option<u64>> {
    let mut bytes = [0; record::HEADER_BYTES];
    match file.read_at(&mut bytes, record::SEGMENT_HEADER) {
        Ok(()) => Ok(Header::decode(&bytes, uuid).map(|header| header.seq)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}
