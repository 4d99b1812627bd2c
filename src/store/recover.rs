//! Opening after a crash: what is kept, what is dropped, what is said. Footers of sealed segments and a scan of unsealed ones
//! build the RAM table; sled is never waited for. A bad record is skipped to the next header that verifies; what is after the
//! last good one is cut off when the segment is sealed.

use crate::base::clock::Time;
use crate::base::digest::Digest;
use crate::base::target::UrlKey;
use crate::store::Error;
use crate::store::dates::Dates;
use crate::store::disk::{Disk, DiskFile, Guard, is_full, is_read_only};
use crate::store::meta;
use crate::store::record::{self, BLOCK, BLOCK_BYTES, BadSegment, Codec, Header, Kind, Line, PART_HEAD, PartHead, SegmentHeader};
use crate::store::segment::{self, Lane};
use crate::store::table::Table;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

/// Read at a time while scanning.
const WINDOW: u64 = 1 << 20;

/// A store's folder, opened.
pub(crate) struct Recovered {
    pub(crate) uuid: [u8; 16],
    pub(crate) table: Table,
    /// The segments of parts.
    pub(crate) parts: BTreeSet<u32>,
    /// All records but BLOBs, until every BLOB is in the table.
    waiting: Vec<(Line, u32)>,
    /// The segments of one large body each.
    pub(crate) alone: BTreeMap<u32, Digest>,
    pub(crate) seq: u64,
    pub(crate) next_number: u32,
    pub(crate) bytes: u64,
    pub(crate) dates: Dates,
    /// Held as long as the store is open; `None` in a folder that cannot be written and has no lock file.
    pub(crate) lock: Option<Guard>,
    pub(crate) read_only: bool,
    /// Segments that were scanned, and records that did not verify.
    pub(crate) scanned: u64,
    pub(crate) damaged: u64,
}

/// Opens the folder and reads it into a table. Blocking.
pub(crate) fn open(disk: &dyn Disk, folder: &Path, segment_size: u64, now: Time) -> Result<Recovered, Error> {
    let seg = folder.join("seg");
    let mut read_only = false;
    for dir in [folder.to_owned(), seg.clone(), folder.join("tmp")] {
        match disk.make_dir(&dir) {
            Err(error) if is_read_only(&error) || is_full(&error) => read_only |= is_read_only(&error),
            done => done.map_err(|error| Error::Unusable(format!("cannot make {}: {error}; choose another store.path", dir.display())))?,
        }
    }
    let lock = lock(disk, folder, &mut read_only)?;
    let files = segments(disk, &seg)?;
    let uuid = identity(disk, folder, segment_size, now, read_only)?;
    if !read_only {
        for (leftover, _) in disk.list(&folder.join("tmp"))? {
            disk.remove(&leftover).unwrap_or_else(|error| tracing::warn!(%error, "cannot remove a leftover in tmp"));
        }
    }
    let mut out = Recovered {
        uuid,
        table: Table::new(),
        parts: BTreeSet::new(),
        waiting: Vec::new(),
        alone: BTreeMap::new(),
        seq: 0,
        next_number: files.last().map_or(0, |file| file.number) + 1,
        bytes: 0,
        dates: Dates::default(),
        lock,
        read_only,
        scanned: 0,
        damaged: 0,
    };
    for file in files.iter().filter(|file| file.lane == Lane::Parts) {
        out.parts.insert(file.number);
    }
    for file in &files {
        out.take_in(disk, &seg, file, now)?;
    }
    let dangling = out.apply_waiting() + out.table.count();
    if out.scanned + out.damaged + dangling > 0 {
        tracing::info!(segments = out.scanned, damaged = out.damaged, dangling, "recovered unsealed segments");
    }
    Ok(out)
}

/// A segment's file.
pub(crate) struct Found {
    pub(crate) lane: Lane,
    pub(crate) number: u32,
    pub(crate) sealed: bool,
    pub(crate) path: PathBuf,
    pub(crate) length: u64,
}

/// The segments of a folder by number. Files that are not segments are left alone.
pub(crate) fn segments(disk: &dyn Disk, seg: &Path) -> io::Result<Vec<Found>> {
    let mut found: Vec<Found> = Vec::new();
    for (path, length) in disk.list(seg)? {
        let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or("");
        let lane = [Lane::Main, Lane::Parts].into_iter().find(|lane| lane.endings().0 == ending || lane.endings().1 == ending);
        if let (Some(number), Some(lane)) = (number, lane) {
            let sealed = lane.endings().1 == ending;
            found.push(Found { lane, number, sealed, path, length });
        }
    }
    found.sort_by_key(|file| (file.number, file.sealed));
    Ok(found)
}

impl Recovered {
    fn take_in(&mut self, disk: &dyn Disk, seg: &Path, found: &Found, now: Time) -> Result<(), Error> {
        let file = disk.open(&found.path, false)?;
        if found.sealed
            && let Some(lines) = footer(&*file, found.length)
        {
            if let [Line { kind: Kind::Blob, key, .. }] = lines[..] {
                self.alone.insert(found.number, Digest(key));
            }
            self.apply(found, &lines);
            self.bytes += found.length;
            return Ok(());
        }
        self.scanned += 1;
        let mut lines = Vec::new();
        let scan = scan(&*file, found.length, &self.uuid, |line, _, holds, _| {
            if holds {
                lines.push(line);
            }
        })?;
        self.damaged += scan.damaged;
        self.apply(found, &lines);
        self.bytes += found.length;
        if !self.read_only && !found.sealed {
            let sealed = match (lines.is_empty(), found.length > record::SEGMENT_HEADER && !self.is_ours(&*file)) {
                (true, false) => disk.remove(&found.path),
                // Nothing in it can be read, and nothing shows that it is of this store: left for whoever wants to look.
                (true, true) => Ok(()),
                (false, _) => seal(disk, seg, found, &self.uuid, scan.end, &lines, now),
            };
            match sealed {
                Ok(()) => {}
                // A full or failing disk must not keep the school from what is stored: tried again at the next start.
                Err(error) => tracing::warn!(segment = found.number, %error, "cannot seal an old segment"),
            }
        }
        Ok(())
    }

    /// Whether a segment's header names this store: then what does not verify in it was never written to its end.
    fn is_ours(&self, file: &dyn DiskFile) -> bool {
        let mut head = [0; record::SEGMENT_HEADER_BYTES];
        file.read_at(&mut head, 0).is_ok() && SegmentHeader::decode(&head).is_ok_and(|header| header.uuid == self.uuid)
    }

    fn apply(&mut self, found: &Found, lines: &[Line]) {
        for line in lines {
            self.seq = self.seq.max(line.seq);
            self.dates.add(Time::from_micros(line.time));
            match line.kind {
                Kind::Blob => self.table.apply(line, found.number),
                _ => self.waiting.push((*line, found.number)),
            }
        }
    }

    /// Puts everything but BLOBs into the table, in the order of seq. An answer whose body is not here was cut short and is as if
    /// it had never come: what it would replace stays, or a power cut would take what had been promised. How many of those.
    fn apply_waiting(&mut self) -> u64 {
        self.waiting.sort_unstable_by_key(|(line, _)| line.seq);
        let mut dangling = 0;
        for (line, number) in std::mem::take(&mut self.waiting) {
            if line.kind == Kind::Meta && line.link != 0 && !self.table.has_blob(line.link) {
                dangling += 1;
            } else {
                self.table.apply(&line, number);
            }
        }
        dangling
    }
}

/// Seals a scanned segment at the end of its last valid record.
pub(crate) fn seal(disk: &dyn Disk, seg: &Path, found: &Found, uuid: &[u8; 16], end: u64, lines: &[Line], now: Time) -> io::Result<()> {
    let file = disk.open(&found.path, true)?;
    segment::finish(disk, seg, &*file, uuid, (found.lane, found.number), end, lines, now.micros()).map(|_| ())
}

/// The lines of a sealed segment; `None` when its footer does not verify.
pub(crate) fn footer(file: &dyn DiskFile, length: u64) -> Option<Vec<Line>> {
    let tail_at = length.checked_sub(record::TRAILER as u64)?;
    let mut tail = [0; record::TRAILER];
    file.read_at(&mut tail, tail_at).ok()?;
    let (at, count, crc) = record::decode_trailer(&tail)?;
    let lines_at = at.checked_add(record::HEADER)?;
    let bytes = u64::try_from(count).ok()?.checked_mul(record::ENTRY as u64)?;
    if lines_at.checked_add(bytes)? != tail_at {
        return None;
    }
    let mut lines = vec![0; usize::try_from(bytes).ok()?];
    file.read_at(&mut lines, lines_at).ok()?;
    record::decode_lines(&lines, crc)
}

/// What a scan saw.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scan {
    /// Where the record after the last valid one would start.
    pub(crate) end: u64,
    pub(crate) damaged: u64,
}

/// Reads all records of a segment. `visit` gets the line, the header, whether the payload verified, and a small payload.
pub(crate) fn scan(
    file: &dyn DiskFile,
    length: u64,
    uuid: &[u8; 16],
    mut visit: impl FnMut(Line, &Header, bool, &[u8]),
) -> io::Result<Scan> {
    let mut window = Window { file, length, buffer: Vec::new(), start: 0 };
    let mut scan = Scan { end: record::SEGMENT_HEADER, damaged: 0 };
    // A gap before a valid record is damage; what is left after the last one is a write that was cut short.
    let (mut at, mut gap) = (record::SEGMENT_HEADER, false);
    while at + record::HEADER <= length {
        let header = Header::decode(window.get(at, record::HEADER)?, uuid);
        let Some((header, next)) = header.and_then(|header| Some((header, header.next_at(at)?))).filter(|found| {
            // The padding of the last record may be missing.
            found.0.payload_at(at).saturating_add(found.0.length) <= length
        }) else {
            gap |= window.get(at, 8)?.iter().any(|byte| *byte != 0);
            at += record::ALIGN;
            continue;
        };
        scan.damaged += u64::from(std::mem::take(&mut gap));
        if header.kind == Kind::Footer {
            at = next;
            continue;
        }
        let payload =
            if header.length <= record::SMALL_MAX { window.get(header.payload_at(at), header.length)?.to_vec() } else { Vec::new() };
        let holds = if payload.is_empty() { verify(&mut window, &header, at)? } else { payload_holds(&header, &payload) };
        match line_of(&header, at, &payload, &mut window)? {
            Some(line) => {
                scan.damaged += u64::from(!holds);
                visit(line, &header, holds, &payload);
                if holds {
                    scan.end = next;
                }
            }
            None => scan.damaged += 1,
        }
        at = next;
    }
    Ok(scan)
}

/// The footer's line of a record.
fn line_of(header: &Header, at: u64, payload: &[u8], window: &mut Window<'_>) -> io::Result<Option<Line>> {
    let time = header.extra.cast_signed();
    let line = Line {
        kind: header.kind,
        codec: header.codec,
        flags: header.flags,
        at,
        seq: header.seq,
        key: header.key,
        length: header.length,
        whole: 0,
        link: 0,
        time,
    };
    Ok(match header.kind {
        Kind::Blob if header.codec == Codec::Delta => {
            let base = if header.length < 32 { None } else { Some(window.get(header.payload_at(at), 32)?.to_vec()) };
            base.map(|base| Line { whole: header.extra, link: record::fingerprint(&base), time: 0, ..line })
        }
        Kind::Blob | Kind::Dict => Some(Line { whole: header.extra, link: u64::from(header.base), time: 0, ..line }),
        Kind::Meta => meta::decode(payload).map(|kept| Line {
            key: record::pair(&url_key(&kept.meta.url), &header.key),
            whole: kept.length,
            link: kept.object.map_or(0, |object| record::fingerprint(&object.0)),
            ..line
        }),
        Kind::Part => {
            let head = if header.length < PART_HEAD as u64 {
                None
            } else {
                PartHead::decode(window.get(header.payload_at(at), PART_HEAD as u64)?)
            };
            head.and_then(|head| {
                let length = header.body_length()?;
                Some(Line { key: record::pair(&head.url, &header.key), length, whole: head.total, link: head.offset, ..line })
            })
        }
        // Their header's key is the line's.
        Kind::Pin | Kind::Unpin => record::decode_pin(payload).map(|(_, set)| Line { link: set, ..line }),
        Kind::Tomb => Some(line),
        Kind::Footer => None,
    })
}

/// The key of a canonical URL, as `base::target` makes it.
pub(crate) fn url_key(url: &str) -> UrlKey {
    let mut key = [0; 16];
    key.copy_from_slice(&Digest::of(url.as_bytes()).0[..16]);
    UrlKey(key)
}

/// Whether a payload in memory is what its header says.
pub(crate) fn payload_holds(header: &Header, payload: &[u8]) -> bool {
    let Ok(length) = usize::try_from(header.length) else { return false };
    if payload.len() != length {
        return false;
    }
    if header.codec == Codec::Frames {
        let Some(seek) = length.checked_sub(8).and_then(|at| record::seek_length(&payload[at..], header.extra)) else { return false };
        let Some(split) = usize::try_from(seek).ok().and_then(|seek| length.checked_sub(seek)) else { return false };
        let (frames, table) = payload.split_at(split);
        return crc32c::crc32c(table) == header.crc
            && record::decode_seek(table, split as u64).is_some_and(|seek| {
                seek.iter().all(|(at, length, crc)| {
                    let from = usize::try_from(*at).unwrap_or(usize::MAX);
                    frames.get(from..from.saturating_add(*length as usize)).is_some_and(|frame| crc32c::crc32c(frame) == *crc)
                })
            });
    }
    if header.flags & record::TABLED == 0 {
        return crc32c::crc32c(payload) == header.crc;
    }
    let Some(body) = header.body_length().and_then(|body| usize::try_from(body).ok()) else { return false };
    let (body, table) = payload.split_at(body);
    let crcs = record::decode_crcs(table);
    crc32c::crc32c(table) == header.crc && body.chunks(BLOCK_BYTES).zip(&crcs).all(|(block, crc)| crc32c::crc32c(block) == *crc)
}

/// Payloads up to this length are verified in memory; longer ones are read in pieces.
const AT_ONCE: u64 = 1 << 20;

/// The record that `line` tells of, verified: its header, and its payload when it is short. `None` when it is damaged.
pub(crate) fn verified(file: &dyn DiskFile, line: &Line, uuid: &[u8; 16]) -> io::Result<Option<(Header, Option<Vec<u8>>)>> {
    match verify_record(file, line, uuid) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        done => done,
    }
}

fn verify_record(file: &dyn DiskFile, line: &Line, uuid: &[u8; 16]) -> io::Result<Option<(Header, Option<Vec<u8>>)>> {
    let mut bytes = [0; record::HEADER_BYTES];
    file.read_at(&mut bytes, line.at)?;
    let header = Header::decode(&bytes, uuid).filter(|header| (header.kind, header.seq) == (line.kind, line.seq));
    let Some(header) = header else { return Ok(None) };
    if header.length <= AT_ONCE {
        let mut payload = vec![0; usize::try_from(header.length).map_err(io::Error::other)?];
        file.read_at(&mut payload, header.payload_at(line.at))?;
        return Ok(payload_holds(&header, &payload).then_some((header, Some(payload))));
    }
    let mut window = Window { file, length: file.length()?, buffer: Vec::new(), start: 0 };
    Ok(verify(&mut window, &header, line.at)?.then_some((header, None)))
}

/// Whether a long payload on disk is what its header says; reads it in pieces.
fn verify(window: &mut Window<'_>, header: &Header, at: u64) -> io::Result<bool> {
    let start = header.payload_at(at);
    if header.codec == Codec::Frames {
        let Some(last) = header.length.checked_sub(8) else { return Ok(false) };
        let Some(seek) = record::seek_length(window.get(start + last, 8)?, header.extra).filter(|seek| *seek <= header.length) else {
            return Ok(false);
        };
        let table = window.get(start + header.length - seek, seek)?.to_vec();
        let Some(frames) = record::decode_seek(&table, header.length - seek) else { return Ok(false) };
        for (from, length, crc) in frames {
            if crc32c::crc32c(window.get(start + from, u64::from(length))?) != crc {
                return Ok(false);
            }
        }
        return Ok(crc32c::crc32c(&table) == header.crc);
    }
    let Some(body) = header.body_length() else { return Ok(false) };
    let table = window.get(start + body, header.length - body)?.to_vec();
    let (tabled, crcs) = (header.flags & record::TABLED != 0, record::decode_crcs(&table));
    let (mut from, mut block, mut sum) = (0, 0, 0);
    while from < body {
        let n = BLOCK.min(body - from);
        let bytes = window.get(start + from, n)?;
        if !tabled {
            sum = crc32c::crc32c_append(sum, bytes);
        } else if crcs.get(block) != Some(&crc32c::crc32c(bytes)) {
            return Ok(false);
        }
        (from, block) = (from + n, block + 1);
    }
    Ok(if tabled { crc32c::crc32c(&table) } else { sum } == header.crc)
}

/// A part of a file, read ahead.
struct Window<'f> {
    file: &'f dyn DiskFile,
    length: u64,
    buffer: Vec<u8>,
    start: u64,
}

impl Window<'_> {
    /// `n` bytes at `at`; both lie within the file, or the file shrinks under us, which is an error.
    fn get(&mut self, at: u64, n: u64) -> io::Result<&[u8]> {
        let eof = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let held = self.start + self.buffer.len() as u64;
        if at < self.start || at + n > held {
            let want = WINDOW.max(n).min(self.length.checked_sub(at).ok_or_else(eof)?);
            if want < n {
                return Err(eof());
            }
            self.buffer.resize(usize::try_from(want).map_err(io::Error::other)?, 0);
            self.start = at;
            if let Err(error) = self.file.read_at(&mut self.buffer, at) {
                self.buffer.clear();
                return Err(error);
            }
        }
        let from = usize::try_from(at - self.start).map_err(io::Error::other)?;
        self.buffer.get(from..from + usize::try_from(n).map_err(io::Error::other)?).ok_or_else(eof)
    }
}

/// Takes the folder's lock; `None` in one that cannot be written and has no lock file.
pub(crate) fn lock(disk: &dyn Disk, folder: &Path, read_only: &mut bool) -> Result<Option<Guard>, Error> {
    let path = folder.join("LOCK");
    let taken = match disk.lock(&path, true) {
        Err(error) if is_read_only(&error) => {
            *read_only = true;
            disk.lock(&path, false)
        }
        taken => taken,
    };
    match taken {
        Ok(guard) => Ok(Some(guard)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(Error::Unusable(format!("{} is open in another process; stop it, or choose another store.path", folder.display())))
        }
        Err(_) if *read_only => Ok(None),
        Err(error) => Err(Error::Disk(error)),
    }
}

/// The store's uuid: as it is known, else new. FORMAT is written again when it was lost.
fn identity(disk: &dyn Disk, folder: &Path, segment_size: u64, now: Time, read_only: bool) -> Result<[u8; 16], Error> {
    let (told, found) = look_for_identity(disk, folder)?;
    if let Some(uuid) = told {
        return Ok(uuid);
    }
    let uuid = found.unwrap_or_else(|| *uuid::Uuid::new_v4().as_bytes());
    if !read_only {
        let name = uuid::Uuid::from_bytes(uuid);
        let text = format!("bulak store\nversion {}\nuuid {name}\nsegment {segment_size}\nmade {}\n", record::VERSION, now.secs());
        let written = write_format(disk, folder, text.as_bytes());
        // Not fatal: the uuid also stands in every segment.
        written.or_else(|error| if is_full(&error) || is_read_only(&error) { Ok(()) } else { Err(error) })?;
    }
    Ok(uuid)
}

/// The uuid of a store that exists.
pub(crate) fn known_identity(disk: &dyn Disk, folder: &Path) -> Result<[u8; 16], Error> {
    let (told, found) = look_for_identity(disk, folder)?;
    // A store without FORMAT and segments is empty: any uuid will do.
    Ok(told.or(found).unwrap_or_default())
}

type Uuid = [u8; 16];

/// What FORMAT says, and what most segments say. FORMAT is not believed when no segment agrees with it and some agree on another:
/// one bit of it must not make all records unreadable.
fn look_for_identity(disk: &dyn Disk, folder: &Path) -> Result<(Option<Uuid>, Option<Uuid>), Error> {
    let mut told = None;
    if let Ok(file) = disk.open(&folder.join("FORMAT"), false) {
        let length = file.length()?.min(4096);
        let mut text = vec![0; usize::try_from(length).unwrap_or(0)];
        file.read_at(&mut text, 0)?;
        told = parse_format(&String::from_utf8_lossy(&text))?;
    }
    let mut votes: BTreeMap<Uuid, u32> = BTreeMap::new();
    for found in segments(disk, &folder.join("seg"))? {
        let mut head = [0; record::SEGMENT_HEADER_BYTES];
        let file = disk.open(&found.path, false)?;
        if file.read_at(&mut head, 0).is_err() {
            continue;
        }
        match SegmentHeader::decode(&head) {
            // One that agrees is enough; the others are then damaged or strangers.
            Ok(header) if Some(header.uuid) == told => return Ok((told, None)),
            Ok(header) => *votes.entry(header.uuid).or_default() += 1,
            Err(BadSegment::Newer(version)) if told.is_none() => return Err(newer(version)),
            Err(_) => {}
        }
    }
    let Some(found) = votes.into_iter().max_by_key(|vote| vote.1).map(|vote| vote.0) else { return Ok((told, None)) };
    if told.is_some() {
        tracing::warn!("FORMAT names another store than its segments do; the segments are believed");
    }
    Ok((None, Some(found)))
}

fn write_format(disk: &dyn Disk, folder: &Path, text: &[u8]) -> io::Result<()> {
    let temporary = folder.join("FORMAT.tmp");
    // Left by a start that was cut short.
    let _ = disk.remove(&temporary);
    let file = disk.create(&temporary)?;
    file.write_at(text, 0)?;
    file.sync()?;
    disk.rename(&temporary, &folder.join("FORMAT"))?;
    disk.sync_dir(folder)
}

/// `None` when the text is no FORMAT (it is then made again).
fn parse_format(text: &str) -> Result<Option<[u8; 16]>, Error> {
    let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let Some(version) = value("version ").and_then(|version| version.parse::<u32>().ok()) else { return Ok(None) };
    if version > record::VERSION {
        return Err(newer(version));
    }
    Ok(value("uuid ").and_then(|uuid| uuid::Uuid::parse_str(uuid).ok()).map(|uuid| *uuid.as_bytes()))
}

fn newer(version: u32) -> Error {
    Error::Unusable(format!("the store has format {version} and this program knows {}; use the newer program", record::VERSION))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_read_and_a_newer_one_refused() {
        let uuid = uuid::Uuid::from_bytes([3; 16]);
        assert_eq!(parse_format(&format!("bulak store\nversion 1\nuuid {uuid}\n")).unwrap(), Some([3; 16]));
        assert_eq!(parse_format("garbage").unwrap(), None);
        assert!(matches!(parse_format("version 2\n"), Err(Error::Unusable(_))));
    }
}
