//! The log: appends records to the open segment, syncs in groups, seals a full segment with its footer. Every new record goes
//! into the RAM table under the log's lock, so that table and log have one order. Store.md section 6.
//!
//! # Why
//! A body above a quarter of a segment gets a segment of its own and is written beside the log, so that a film does not hold
//! up the class. An old segment is never appended to after a start, and a sync that failed is never repeated and believed:
//! what it covered is read back and written to a new segment.

/// Whole segments that go.
mod room;

use crate::base::clock::Clock;
use crate::base::digest::Digest;
use crate::store::Error;
use crate::store::disk::{Disk, DiskFile};
use crate::store::evict::Gate;
use crate::store::pack::delta;
use crate::store::pack::dict::Dicts;
use crate::store::record::{self, Codec, Header, Kind, Line, SegmentHeader};
use crate::store::table::{Place, Table};
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Files held open for reading: well below the usual limit of 1024 descriptors.
const OPEN_FILES: usize = 128;
/// Records in one segment, so that the lines of the open one stay below 5 MB.
const LINES_MAX: usize = 65_536;
/// Copied at a time.
const STEP: usize = 256 << 10;
/// The largest segment that a place in the RAM table can point into.
pub(crate) const SEGMENT_MAX: u64 = 255 << 20;

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
    /// The segments of parts.
    parts: Mutex<BTreeSet<u32>>,
    /// The segments of one large body each, and its name.
    alone: Mutex<BTreeMap<u32, Digest>>,
    next_number: AtomicU32,
    bytes: AtomicU64,
    unsynced: AtomicU64,
    syncs: AtomicU64,
    /// What decoding keeps at hand: dictionaries, and bodies made of two.
    pub(crate) dicts: Dicts,
    pub(crate) deltas: delta::Open,
}

impl Log {
    /// A log that goes on after `seq`, with new segments from `number`, where `bytes` are on disk already, some of them in the
    /// segments `parts` and `alone`.
    #[expect(clippy::too_many_arguments, reason = "what a log goes on from; two callers")]
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        folder: PathBuf,
        uuid: [u8; 16],
        segment: u64,
        clock: Clock,
        gate: Arc<Gate>,
        table: Table,
        (parts, alone): (BTreeSet<u32>, BTreeMap<u32, Digest>),
        (seq, number, bytes): (u64, u32, u64),
    ) -> Log {
        Log {
            disk,
            folder,
            uuid,
            segment: segment.clamp(64 << 10, SEGMENT_MAX),
            clock,
            table: Arc::new(RwLock::new(table)),
            gate,
            open: Mutex::new(Open { main: None, parts: None, seq, lost: false }),
            syncing: Mutex::new(()),
            files: Mutex::new(HashMap::new()),
            parts: Mutex::new(parts),
            alone: Mutex::new(alone),
            next_number: AtomicU32::new(number),
            bytes: AtomicU64::new(bytes),
            unsynced: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            dicts: Dicts::default(),
            deltas: delta::Open::default(),
        }
    }

    /// The RAM table.
    pub(crate) fn table(&self) -> &RwLock<Table> {
        &self.table
    }

    /// Bytes on disk in segments.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
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

    /// Appends one record and puts it into the table. `then` runs under the log's lock. Blocking.
    pub(crate) fn append(&self, new: &New, then: impl FnOnce(Place)) -> Result<Place, Error> {
        self.gate.writable()?;
        let place =
            if new.kind == Kind::Blob && new.length() > self.segment / 4 { self.append_alone(new) } else { self.append_open(new, then) };
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
        self.table.write().apply(&line, place.segment);
        then(place);
        Ok(place)
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
            self.finish(&Current { end, lines: vec![line], ..current })?;
            Ok((line, end))
        });
        match written {
            Ok((line, end)) => {
                self.bytes.fetch_add(end - record::SEGMENT_HEADER, Ordering::Relaxed);
                self.table.write().apply(&line, number);
                self.alone.lock().insert(number, Digest(new.key));
                Ok(Place { segment: number, at: line.at })
            }
            Err(error) => {
                self.files.lock().remove(&number);
                // Either name; what cannot be removed is sealed or dropped by the next start.
                let _ = self.disk.remove(&path(&self.folder, number, Lane::Main.endings().0));
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
        let end = header.next_at(at).ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
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
            let mut buffer = vec![0; STEP];
            let mut from = 0;
            while from < *length {
                let n = usize::try_from((*length - from).min(STEP as u64)).unwrap_or(STEP);
                source.read_at(&mut buffer[..n], from)?;
                file.write_at(&buffer[..n], to)?;
                from += n as u64;
                to += n as u64;
            }
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
        let path = path(&self.folder, number, lane.endings().0);
        let file = self.disk.create(&path)?;
        let header = SegmentHeader { uuid: self.uuid, number, made: self.clock.now().micros() };
        let made = file.write_at(&header.encode(), 0).and_then(|()| file.sync()).and_then(|()| self.disk.sync_dir(&self.folder));
        if let Err(error) = made {
            // An empty segment does no harm; a start drops it.
            let _ = self.disk.remove(&path);
            return Err(error);
        }
        self.bytes.fetch_add(record::SEGMENT_HEADER, Ordering::Relaxed);
        self.keep_open(number, &file);
        if lane == Lane::Parts {
            self.parts.lock().insert(number);
        }
        Ok(Current {
            lane,
            number,
            file,
            end: record::SEGMENT_HEADER,
            lines: Vec::new(),
            synced_lines: 0,
            synced_end: record::SEGMENT_HEADER,
        })
    }

    /// Seals the open segment of a lane.
    fn seal(&self, open: &mut Open, lane: Lane) -> io::Result<()> {
        let Some(current) = open.lane(lane).take() else { return Ok(()) };
        self.unsynced.store(open.unsynced(), Ordering::Relaxed);
        match self.finish(&current) {
            Ok(()) => Ok(()),
            Err(error) => self.rescue(open, &current, &error),
        }
    }

    /// Footer, sync, rename, sync of the name.
    fn finish(&self, current: &Current) -> io::Result<()> {
        let at = current.end;
        let length = finish(
            &*self.disk,
            &self.folder,
            &*current.file,
            &self.uuid,
            (current.lane, current.number),
            at,
            &current.lines,
            self.clock.now().micros(),
        )?;
        self.bytes.fetch_add(length, Ordering::Relaxed);
        self.syncs.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Everything appended before the call is on the medium when this returns. Blocking.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        let _one = self.syncing.lock();
        self.sync_lane(Lane::Parts)?;
        self.sync_lane(Lane::Main)
    }

    fn sync_lane(&self, lane: Lane) -> Result<(), Error> {
        let Some((number, file, lines, end)) = ({
            let mut open = self.open.lock();
            if open.lost {
                return Err(Error::ReadOnly);
            }
            open.lane(lane)
                .as_ref()
                .filter(|now| now.synced_end < now.end)
                .map(|now| (now.number, Arc::clone(&now.file), now.lines.len(), now.end))
        }) else {
            return Ok(());
        };
        let synced = file.sync();
        self.syncs.fetch_add(1, Ordering::Relaxed);
        let mut open = self.open.lock();
        let Some(current) = open.lane(lane).as_mut().filter(|now| now.number == number) else {
            // Sealed meanwhile, and with that synced; but after a failed sync a later one proves nothing.
            return synced.map_err(|error| self.gate.note(error));
        };
        match synced {
            Ok(()) => {
                (current.synced_lines, current.synced_end) = (lines, end);
                self.unsynced.store(open.unsynced(), Ordering::Relaxed);
                Ok(())
            }
            Err(error) => {
                let current = open.lane(lane).take().expect("seen above");
                self.rescue(&mut open, &current, &error).map_err(|error| self.gate.note(error))
            }
        }
    }

    /// A segment whose sync failed is poisoned: reads back what was not synced before and writes what is valid to a new one.
    /// When that fails too, nothing is written any more until the next start.
    fn rescue(&self, open: &mut Open, poisoned: &Current, why: &io::Error) -> io::Result<()> {
        tracing::warn!(segment = poisoned.number, error = %why, "a sync failed, writing its records anew");
        let done = self.write_anew(open, poisoned);
        if let Err(error) = &done {
            tracing::error!(%error, "the disk does not keep what is written: the store is read-only until the next start");
            self.gate.freeze();
            open.lost = true;
        }
        done
    }

    fn write_anew(&self, open: &mut Open, poisoned: &Current) -> io::Result<()> {
        let mut fresh = self.start(poisoned.lane)?;
        for line in &poisoned.lines[poisoned.synced_lines..] {
            let Some((header, payload)) = read_record(&*poisoned.file, line.at, &self.uuid)? else {
                tracing::error!(segment = poisoned.number, at = line.at, "a record did not read back after a failed sync");
                continue;
            };
            let start = header.payload_at(fresh.end);
            fresh.file.write_at(&payload, start)?;
            fresh.file.write_at(&header.encode(&self.uuid), fresh.end)?;
            let moved = Line { at: fresh.end, ..*line };
            fresh.end = header.next_at(fresh.end).ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
            fresh.lines.push(moved);
        }
        // A last record may end in padding that was never written.
        if fresh.file.length()? < fresh.end {
            fresh.file.write_at(&[0; 8][..usize::try_from(fresh.end - fresh.file.length()?).unwrap_or(0).min(8)], fresh.file.length()?)?;
        }
        fresh.file.sync()?;
        let mut table = self.table.write();
        for line in &fresh.lines {
            table.apply(line, fresh.number);
        }
        (fresh.synced_lines, fresh.synced_end) = (fresh.lines.len(), fresh.end);
        self.bytes.fetch_add(fresh.end - record::SEGMENT_HEADER, Ordering::Relaxed);
        *open.lane(poisoned.lane) = Some(fresh);
        self.unsynced.store(open.unsynced(), Ordering::Relaxed);
        Ok(())
    }

    /// Seals and syncs what is open. The log may go on: the next record starts a new segment.
    pub(crate) fn close(&self) -> Result<(), Error> {
        let mut open = self.open.lock();
        if open.lost {
            return Err(Error::ReadOnly);
        }
        for lane in [Lane::Parts, Lane::Main] {
            if open.lane(lane).as_ref().is_some_and(|now| !now.lines.is_empty()) {
                self.seal(&mut open, lane).map_err(|error| self.gate.note(error))?;
            }
        }
        Ok(())
    }

    /// The file of a segment.
    pub(crate) fn file(&self, number: u32) -> io::Result<Arc<dyn DiskFile>> {
        if let Some(file) = self.files.lock().get(&number) {
            return Ok(Arc::clone(file));
        }
        let lane = if self.parts.lock().contains(&number) { Lane::Parts } else { Lane::Main };
        let (open, sealed) = lane.endings();
        let file = self.disk.open(&path(&self.folder, number, sealed), false);
        let file = file.or_else(|_| self.disk.open(&path(&self.folder, number, open), false))?;
        self.keep_open(number, &file);
        Ok(file)
    }

    fn keep_open(&self, number: u32, file: &Arc<dyn DiskFile>) {
        let mut files = self.files.lock();
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

/// Writes the footer at `at`, syncs, renames, syncs the name. Gives the footer's length.
#[expect(clippy::too_many_arguments, reason = "all that a sealed segment is made of")]
pub(crate) fn finish(
    disk: &dyn Disk,
    folder: &Path,
    file: &dyn DiskFile,
    uuid: &[u8; 16],
    (lane, number): (Lane, u32),
    at: u64,
    lines: &[Line],
    time: i64,
) -> io::Result<u64> {
    let payload = record::encode_footer(at, lines);
    let seq = lines.last().map_or(0, |line| line.seq);
    let header = Header {
        kind: Kind::Footer,
        codec: Codec::Raw,
        flags: 0,
        seq,
        length: payload.len() as u64,
        extra: time.cast_unsigned(),
        key: [0; 32],
        base: 0,
        crc: crc32c::crc32c(&payload),
    };
    let bytes = [&header.encode(uuid)[..], &payload].concat();
    file.write_at(&bytes, at)?;
    file.truncate(at + bytes.len() as u64)?;
    file.sync()?;
    let (open, sealed) = lane.endings();
    disk.rename(&path(folder, number, open), &path(folder, number, sealed))?;
    disk.sync_dir(folder)?;
    Ok(bytes.len() as u64)
}

/// A whole record, verified; `None` when it is damaged.
fn read_record(file: &dyn DiskFile, at: u64, uuid: &[u8; 16]) -> io::Result<Option<(Header, Vec<u8>)>> {
    let mut bytes = [0; record::HEADER_BYTES];
    file.read_at(&mut bytes, at)?;
    let Some(header) = Header::decode(&bytes, uuid) else { return Ok(None) };
    let mut payload = vec![0; usize::try_from(header.length.min(SEGMENT_MAX)).unwrap_or(0)];
    file.read_at(&mut payload, header.payload_at(at))?;
    Ok(super::recover::payload_holds(&header, &payload).then_some((header, payload)))
}

/// The name of a segment's file.
pub(crate) fn path(folder: &Path, number: u32, ending: &str) -> PathBuf {
    folder.join(format!("{number:08}.{ending}"))
}
