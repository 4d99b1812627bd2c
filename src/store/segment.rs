//! The log: appends records to the open segment, syncs in groups, seals a full segment with its footer. Every new record goes
//! into the RAM table under the log's lock, so that table and log have one order. Store.md section 6.
//!
//! # Why
//! A body above a quarter of a segment gets a segment of its own and is written beside the log, so that a film does not hold
//! up the class. An old segment is never appended to after a start, and a sync that failed is never repeated and believed:
//! what it covered is read back and written to a new segment.

/// Which segments there are.
mod ledger;

/// The table and the log at one moment.
mod freeze;

/// Records on their way into another segment.
mod copy;

/// Whole segments that go.
mod room;

/// A store that breaks its promise, so that the tests can be seen to fail.
#[cfg(test)]
mod resume;

/// The end of a segment.
mod seal;

/// Group commit.
mod sync;

pub(crate) use copy::{Output, weight};
pub(crate) use ledger::{Segment, Standing};
pub(crate) use seal::finish;

use crate::base::clock::{Clock, Time};
use crate::base::digest::Digest;
use crate::store::Error;
use crate::store::disk::{Disk, DiskFile, create_within};
use crate::store::evict::Gate;
use crate::store::pack::delta;
use crate::store::pack::dict::Dicts;
use crate::store::record::{self, Codec, Header, Kind, Line, SegmentHeader};
use crate::store::recover;
use crate::store::segment::ledger::Ledger;
use crate::store::table::{Place, Table};
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Files held open for reading: well below the usual limit of 1024 descriptors.
const OPEN_FILES: usize = 128;
/// Records in one segment, so that the lines of the open one stay below 5 MB.
const LINES_MAX: usize = 65_536;
/// Copied at a time.
const STEP: usize = 256 << 10;
/// The largest segment that a place in the RAM table can point into.
pub(crate) const SEGMENT_MAX: u64 = 255 << 20;
/// The smallest: a footer and a page are little beside it.
const SEGMENT_MIN: u64 = 64 << 10;
/// Segments are at least so many in a full store, so that one more of them fits into the reserve for rewriting.
const SEGMENTS_LEAST: u64 = 64;
/// A place in the RAM table has 20 bits for the number of a segment.
const NUMBER_END: u32 = 1 << 20;

/// What bytes are written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// Bodies and parts as they come in, below `tmp/` too.
    Fill,
    /// Copies in rewritten segments.
    Rewrite,
    /// Bodies in a smaller form.
    Repack,
    /// Answers, pins, TOMBs, footers.
    Meta,
}

impl Written {
    /// All of them, in the order of their declaration.
    pub(crate) const ALL: [Written; 4] = [Written::Fill, Written::Rewrite, Written::Repack, Written::Meta];

    /// The word in counters.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Written::Fill => "fill",
            Written::Rewrite => "rewrite",
            Written::Repack => "repack",
            Written::Meta => "meta",
        }
    }
}

/// A record about to be written.
pub(crate) struct New {
    pub(crate) kind: Kind,
    pub(crate) codec: Codec,
    pub(crate) flags: u16,
    /// The header's key.
    pub(crate) key: [u8; 32],
    /// The footer's key.
    pub(crate) line_key: [u8; 32],
    /// The header's.
    pub(crate) base: u32,
    pub(crate) crc: u32,
    pub(crate) whole: u64,
    pub(crate) link: u64,
    /// The payload: bytes, or the start of a file and bytes after it.
    pub(crate) head: Bytes,
    pub(crate) file: Option<(Arc<dyn DiskFile>, u64)>,
    pub(crate) tail: Bytes,
}

impl New {
    /// A record whose payload is these bytes.
    pub(crate) fn small(kind: Kind, key: [u8; 32], line_key: [u8; 32], whole: u64, link: u64, payload: Vec<u8>) -> New {
        New {
            kind,
            codec: Codec::Raw,
            flags: 0,
            key,
            line_key,
            base: 0,
            crc: crc32c::crc32c(&payload),
            whole,
            link,
            head: payload.into(),
            file: None,
            tail: Bytes::new(),
        }
    }

    pub(crate) fn length(&self) -> u64 {
        self.head.len() as u64 + self.file.as_ref().map_or(0, |file| file.1) + self.tail.len() as u64
    }
}

/// The two rows of segments. Parts have segments of their own: when a body is whole its parts are of no more use, and a segment
/// of nothing but parts can then be removed, since no other record depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    Main,
    Parts,
}

impl Lane {
    /// What files end in while they are open, and when they are sealed.
    pub(crate) fn endings(self) -> (&'static str, &'static str) {
        match self {
            Lane::Main => ("log", "seg"),
            Lane::Parts => ("plog", "pseg"),
        }
    }
}

struct Current {
    lane: Lane,
    number: u32,
    file: Arc<dyn DiskFile>,
    end: u64,
    lines: Vec<Line>,
    /// Of copies of what is needed.
    copies: bool,
    /// Lines and bytes known to be on the medium.
    synced_lines: usize,
    synced_end: u64,
}

struct Open {
    main: Option<Current>,
    parts: Option<Current>,
    seq: u64,
    /// Records were lost to a failing disk: nothing can be promised any more.
    lost: bool,
}

impl Open {
    fn lane(&mut self, lane: Lane) -> &mut Option<Current> {
        match lane {
            Lane::Main => &mut self.main,
            Lane::Parts => &mut self.parts,
        }
    }

    fn unsynced(&self) -> u64 {
        self.main.iter().chain(&self.parts).map(|now| now.end - now.synced_end).sum()
    }
}

/// The segment log.
pub(crate) struct Log {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    uuid: [u8; 16],
    segment: u64,
    clock: Clock,
    table: Arc<RwLock<Table>>,
    gate: Arc<Gate>,
    open: Mutex<Open>,
    /// One sync at a time.
    syncing: Mutex<()>,
    files: Mutex<HashMap<u32, Arc<dyn DiskFile>>>,
    ledger: Ledger,
    /// Segments of which the table leads to all that is of use.
    settled: Mutex<BTreeSet<u32>>,
    /// Times that records were written anew after a failed sync.
    rescues: AtomicU64,
    /// Whether files have been removed that a power cut would bring back.
    loose: AtomicBool,
    next_number: AtomicU32,
    bytes: AtomicU64,
    written: [AtomicU64; Written::ALL.len()],
    unsynced: AtomicU64,
    syncs: AtomicU64,
    /// What decoding keeps at hand: dictionaries, and bodies made of two.
    pub(crate) dicts: Dicts,
    pub(crate) deltas: delta::Open,
}

impl Log {
    /// A log that goes on after `seq`, with new segments from `number`; `alone` are those that hold one large body each. What is
    /// in the folder already counts.
    #[expect(clippy::too_many_arguments, reason = "what a log goes on from; two callers")]
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        folder: PathBuf,
        uuid: [u8; 16],
        segment: u64,
        clock: Clock,
        gate: Arc<Gate>,
        table: Table,
        alone: &BTreeMap<u32, Digest>,
        (seq, number): (u64, u32),
    ) -> io::Result<Log> {
        let (ledger, mut bytes) = (Ledger::default(), 0);
        for found in recover::segments(&*disk, &folder)? {
            let standing = if found.sealed { Standing::Sealed } else { Standing::Left };
            let alone = alone.get(&found.number).copied();
            bytes += found.length;
            ledger.set(found.number, Segment { lane: found.lane, standing, bytes: found.length, alone, first: None, gauge: None, lap: 0 });
        }
        let log = Log {
            disk,
            folder,
            uuid,
            segment: segment.clamp(SEGMENT_MIN, SEGMENT_MAX),
            clock,
            table: Arc::new(RwLock::new(table)),
            gate,
            open: Mutex::new(Open { main: None, parts: None, seq, lost: false }),
            syncing: Mutex::new(()),
            files: Mutex::new(HashMap::new()),
            ledger,
            settled: Mutex::default(),
            rescues: AtomicU64::new(0),
            // A start may have removed some.
            loose: AtomicBool::new(true),
            next_number: AtomicU32::new(number),
            bytes: AtomicU64::new(bytes),
            written: Default::default(),
            unsynced: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            dicts: Dicts::default(),
            deltas: delta::Open::default(),
        };
        Ok(log)
    }

    /// The RAM table.
    pub(crate) fn table(&self) -> &RwLock<Table> {
        &self.table
    }

    /// What time it is.
    pub(crate) fn now(&self) -> Time {
        self.clock.now()
    }

    /// Bytes on disk in segments.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Bytes written since the start, for each purpose.
    pub(crate) fn written(&self, what: Written) -> u64 {
        self.written[what as usize].load(Ordering::Relaxed)
    }

    /// Counts bytes that were written.
    pub(crate) fn count(&self, what: Written, bytes: u64) {
        self.written[what as usize].fetch_add(bytes, Ordering::Relaxed);
    }

    /// Size of a segment in bytes.
    pub(crate) fn segment_size(&self) -> u64 {
        self.segment
    }

    /// Bytes appended since the last sync.
    pub(crate) fn unsynced(&self) -> u64 {
        self.unsynced.load(Ordering::Relaxed)
    }

    /// Syncs so far.
    pub(crate) fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    /// The segments that are being written now: lane, number, end, lines.
    pub(crate) fn open_segments(&self) -> Vec<(Lane, u32, u64, Vec<Line>)> {
        let open = self.open.lock();
        open.main.iter().chain(&open.parts).map(|now| (now.lane, now.number, now.end, now.lines.clone())).collect()
    }

    /// Whose segments they are.
    pub(crate) fn uuid(&self) -> &[u8; 16] {
        &self.uuid
    }

    /// Where the segments are.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Appends one record and puts it into the table; a BLOB comes in held ([`Table::hold`]), for the caller to release. `then` runs
    /// under the log's lock. Blocking.
    pub(crate) fn append(&self, new: &New, then: impl FnOnce(Place)) -> Result<Place, Error> {
        self.gate.writable()?;
        let place =
            if new.kind == Kind::Blob && new.length() > self.segment / 4 { self.append_alone(new) } else { self.append_open(new, then) };
        if place.is_ok() {
            self.gate.wrote();
        }
        place.map_err(|error| self.gate.note(error))
    }

    fn append_open(&self, new: &New, then: impl FnOnce(Place)) -> io::Result<Place> {
        let lane = if new.kind == Kind::Part { Lane::Parts } else { Lane::Main };
        let mut open = self.open.lock();
        let room = new.length() + record::HEADER + record::PAGE;
        let full = open.lane(lane).as_ref().is_some_and(|now| {
            now.end + room + (now.lines.len() as u64 + 2) * record::ENTRY as u64 > self.segment || now.lines.len() >= LINES_MAX
        });
        if full {
            self.seal(&mut open, lane)?;
        }
        if open.lane(lane).is_none() {
            *open.lane(lane) = Some(self.start(lane)?);
        }
        open.seq += 1;
        let seq = open.seq;
        let current = open.lane(lane).as_mut().expect("started above");
        let (line, end) = match self.write(&*current.file, current.end, new, seq) {
            Ok(written) => written,
            Err(error) => {
                // Best effort: leftovers are overwritten by the next record, and skipped by a scan for lack of a header.
                let _ = current.file.truncate(current.end);
                return Err(error);
            }
        };
        let place = Place { segment: current.number, at: line.at };
        self.bytes.fetch_add(end - current.end, Ordering::Relaxed);
        self.unsynced.fetch_add(end - current.end, Ordering::Relaxed);
        current.end = end;
        current.lines.push(line);
        self.take_in(&line, new, place.segment, end - place.at);
        then(place);
        Ok(place)
    }

    /// Puts a new record into the table and counts its bytes.
    fn take_in(&self, line: &Line, new: &New, segment: u32, bytes: u64) {
        let body = matches!(new.kind, Kind::Blob | Kind::Part);
        self.count(if body { Written::Fill } else { Written::Meta }, bytes);
        let mut table = self.table.write();
        table.apply(line, segment);
        if new.kind == Kind::Blob {
            table.hold(&Digest(new.key));
        }
    }

    /// Writes a large body into a segment of its own, sealed and synced when this returns.
    fn append_alone(&self, new: &New) -> io::Result<Place> {
        let current = self.start(Lane::Main)?;
        let number = current.number;
        let seq = {
            let mut open = self.open.lock();
            open.seq += 1;
            open.seq
        };
        let written = self.write(&*current.file, current.end, new, seq).and_then(|(line, end)| {
            // Held in the table before it is told: whoever makes room would take it for unused.
            self.finish_then(&Current { end, lines: vec![line], ..current }, || {
                self.bytes.fetch_add(end - record::SEGMENT_HEADER, Ordering::Relaxed);
                self.take_in(&line, new, number, end - line.at);
                self.ledger.change(number, |segment| segment.alone = Some(Digest(new.key)));
            })?;
            Ok(line.at)
        });
        match written {
            Ok(at) => {
                self.settle(number);
                Ok(Place { segment: number, at })
            }
            Err(error) => {
                self.leave(number, Lane::Main, record::SEGMENT_HEADER);
                Err(error)
            }
        }
    }

    /// Writes payload, then header. Gives the line and where the next record starts.
    fn write(&self, file: &dyn DiskFile, at: u64, new: &New, seq: u64) -> io::Result<(Line, u64)> {
        let time = self.clock.now().micros();
        let blob = matches!(new.kind, Kind::Blob | Kind::Dict);
        let header = Header {
            kind: new.kind,
            codec: new.codec,
            flags: new.flags,
            seq,
            length: new.length(),
            extra: if blob { new.whole } else { time.cast_unsigned() },
            key: new.key,
            base: new.base,
            crc: new.crc,
        };
        let line = Line {
            kind: new.kind,
            codec: new.codec,
            flags: new.flags,
            at,
            seq,
            key: new.line_key,
            length: if new.kind == Kind::Part { header.body_length().unwrap_or(header.length) } else { header.length },
            whole: new.whole,
            link: new.link,
            time: if blob { 0 } else { time },
        };
        let end = header.next_at(at).ok_or_else(too_large)?;
        let start = header.payload_at(at);
        let bytes = header.encode(&self.uuid);
        if new.file.is_none() && new.flags & record::PAGED == 0 {
            let mut whole = Vec::with_capacity(usize::try_from(end - at).unwrap_or(0));
            whole.extend_from_slice(&bytes);
            whole.extend_from_slice(&new.head);
            whole.extend_from_slice(&new.tail);
            whole.resize(usize::try_from(end - at).unwrap_or(whole.len()), 0);
            file.write_at(&whole, at)?;
            return Ok((line, end));
        }
        let mut to = start;
        file.write_at(&new.head, to)?;
        to += new.head.len() as u64;
        if let Some((source, length)) = &new.file {
            copy::copy_bytes(&**source, 0, file, to, *length)?;
            to += length;
        }
        let mut tail = new.tail.to_vec();
        tail.resize(tail.len() + usize::try_from(end - to - new.tail.len() as u64).unwrap_or(0), 0);
        file.write_at(&tail, to)?;
        file.write_at(&bytes, at)?;
        Ok((line, end))
    }

    /// A new segment: file, header, file synced, name synced, before its first use.
    fn start(&self, lane: Lane) -> io::Result<Current> {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        if number >= NUMBER_END {
            return Err(io::Error::other("all numbers of segments are used; move the store to a new folder"));
        }
        let path = path(&self.folder, number, lane.endings().0);
        let file = create_within(&*self.disk, &path)?;
        let header = SegmentHeader { uuid: self.uuid, number, made: self.clock.now().micros() };
        let made = file.write_at(&header.encode(), 0).and_then(|()| file.sync()).and_then(|()| self.disk.sync_dir(&self.folder));
        if let Err(error) = made {
            // An empty segment does no harm; a start drops it.
            let _ = self.disk.remove(&path);
            return Err(error);
        }
        self.bytes.fetch_add(record::SEGMENT_HEADER, Ordering::Relaxed);
        self.count(Written::Meta, record::SEGMENT_HEADER);
        let (standing, bytes) = (Standing::Open, record::SEGMENT_HEADER);
        self.ledger.set(number, Segment { lane, standing, bytes, alone: None, first: None, gauge: None, lap: 0 });
        self.keep_open(number, &file);
        Ok(Current {
            lane,
            number,
            file,
            end: record::SEGMENT_HEADER,
            lines: Vec::new(),
            copies: false,
            synced_lines: 0,
            synced_end: record::SEGMENT_HEADER,
        })
    }

    /// The file of a segment.
    pub(crate) fn file(&self, number: u32) -> io::Result<Arc<dyn DiskFile>> {
        if let Some(file) = self.files.lock().get(&number) {
            return Ok(Arc::clone(file));
        }
        let lane = self.ledger.get(number).map_or(Lane::Main, |segment| segment.lane);
        let (open, sealed) = lane.endings();
        let file = self.disk.open(&path(&self.folder, number, sealed), false);
        let file = file.or_else(|_| self.disk.open(&path(&self.folder, number, open), false))?;
        self.keep_open(number, &file);
        Ok(file)
    }

    fn keep_open(&self, number: u32, file: &Arc<dyn DiskFile>) {
        let mut files = self.files.lock();
        if self.ledger.get(number).is_none() {
            // Removed since it was opened: a handle kept would keep its bytes on disk.
            return;
        }
        if files.len() >= OPEN_FILES {
            let drop: Vec<u32> = files.keys().take(OPEN_FILES / 4).copied().collect();
            for number in drop {
                files.remove(&number);
            }
        }
        files.insert(number, Arc::clone(file));
    }

    /// The header of a record and its file; `None` when there is none of this kind and key.
    pub(crate) fn header(&self, place: Place, kind: Kind) -> io::Result<Option<(Header, Arc<dyn DiskFile>)>> {
        let file = self.file(place.segment)?;
        let mut bytes = [0; record::HEADER_BYTES];
        file.read_at(&mut bytes, place.at)?;
        Ok(Header::decode(&bytes, &self.uuid).filter(|header| header.kind == kind).map(|header| (header, file)))
    }

    /// A small record's header and payload, verified. One read where the payload is as short as most.
    pub(crate) fn small(&self, place: Place, kind: Kind) -> io::Result<Option<(Header, Vec<u8>)>> {
        let Some((header, file)) = self.header(place, kind)? else { return Ok(None) };
        if header.length > record::SMALL_MAX {
            return Ok(None);
        }
        let mut payload = vec![0; usize::try_from(header.length).unwrap_or(0)];
        file.read_at(&mut payload, header.payload_at(place.at))?;
        Ok((crc32c::crc32c(&payload) == header.crc).then_some((header, payload)))
    }
}

fn too_large() -> io::Error {
    io::Error::from(io::ErrorKind::FileTooLarge)
}

/// The size of a segment in a store of this quota.
pub(crate) fn size_for(quota: u64, wished: u64) -> u64 {
    wished.min(quota / SEGMENTS_LEAST).clamp(SEGMENT_MIN, SEGMENT_MAX)
}

/// The name of a segment's file.
pub(crate) fn path(folder: &Path, number: u32, ending: &str) -> PathBuf {
    folder.join(format!("{number:08}.{ending}"))
}
