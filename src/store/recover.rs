//! Opening after a crash: what is kept, what is dropped, what is said. Footers of sealed segments and a scan of unsealed ones
//! build the RAM table, in the order of seq (`recover/merge.rs`); sled is never waited for. A bad record is skipped to the next header that verifies; what is after the
//! last good one is cut off when the segment is sealed.

/// The lines of all segments in one order.
mod merge;

/// What the folder is, and whose.
mod folder;

/// What a rewrite that was cut short has left.
mod spare;

/// Reading past what the medium does not give.
mod window;

pub(crate) use folder::known_identity;
pub(crate) use merge::{footer, is_sound};

use crate::base::clock::Time;
use crate::base::digest::Digest;
use crate::base::target::UrlKey;
use crate::store::Error;
use crate::store::dates::Dates;
use crate::store::disk::{Disk, DiskFile, Guard, is_full, is_read_only};
use crate::store::meta;
use crate::store::record::{self, BLOCK, BLOCK_BYTES, BadSegment, Codec, Header, Kind, Line, PART_HEAD, PartHead, SegmentHeader};
use crate::store::recover::folder::{identity, refuse_strange};
use crate::store::recover::merge::{Run, merge};
use crate::store::recover::window::Window;
use crate::store::segment::{self, Lane};
use crate::store::snapshot;
use crate::store::table::{Lost, SEGMENT_END, Table};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

/// Read at a time while scanning.
const WINDOW: u64 = 1 << 20;

/// A store's folder, opened.
pub(crate) struct Recovered {
    pub(crate) uuid: [u8; 16],
    pub(crate) table: Table,
    /// The segments of one large body each.
    pub(crate) alone: BTreeMap<u32, Digest>,
    pub(crate) seq: u64,
    pub(crate) next_number: u32,
    pub(crate) dates: Dates,
    /// Held as long as the store is open; `None` in a folder that cannot be written and has no lock file.
    pub(crate) lock: Option<Guard>,
    pub(crate) read_only: bool,
    /// Segments that were scanned, and records that did not verify.
    pub(crate) scanned: u64,
    pub(crate) damaged: u64,
    /// Files among the segments that are not of this store: left alone, and their numbers are not used.
    pub(crate) strangers: BTreeSet<u32>,
    /// Segments that were sealed in their time: whatever their answers lead to had arrived by then.
    sound: BTreeSet<u32>,
}

/// Opens the folder and reads it into a table. `ready` is called before anything is written, when the folder is ours and can be
/// written. Blocking.
pub(crate) fn open(disk: &dyn Disk, folder: &Path, segment_size: u64, now: Time, ready: impl FnOnce()) -> Result<Recovered, Error> {
    refuse_strange(disk, folder)?;
    let seg = folder.join("seg");
    let mut read_only = false;
    for dir in [folder.to_owned(), seg.clone(), folder.join("tmp")] {
        match disk.make_dir(&dir) {
            Err(error) if is_read_only(&error) || is_full(&error) => read_only |= is_read_only(&error),
            done => done.map_err(|error| Error::Unusable(format!("cannot make {}: {error}; choose another store.path", dir.display())))?,
        }
    }
    let lock = lock(disk, folder, &mut read_only)?;
    if !read_only {
        ready();
    }
    let files = segments(disk, &seg)?;
    let uuid = identity(disk, folder, segment_size, now, read_only)?;
    if !read_only {
        for (leftover, _) in disk.list(&folder.join("tmp"))? {
            disk.remove(&leftover).unwrap_or_else(|error| tracing::warn!(%error, "cannot remove a leftover in tmp"));
        }
    }
    let snapshot = snapshot::load(disk, folder, &uuid, &files).unwrap_or_else(|why| {
        tracing::info!(why, "table.ckpt cannot be used, the footers of all segments are read");
        None
    });
    let mut out = Recovered {
        uuid,
        table: Table::new(),
        alone: BTreeMap::new(),
        seq: 0,
        next_number: files.last().map_or(0, |file| file.number) + 1,
        dates: Dates::default(),
        lock,
        read_only,
        scanned: 0,
        damaged: 0,
        strangers: BTreeSet::new(),
        sound: BTreeSet::new(),
    };
    let (mut known, mut lost) = (BTreeMap::new(), Lost::default());
    if let Some((head, table)) = snapshot {
        (out.table, out.seq, out.dates, known) = (table, head.seq, head.dates, head.segments);
        out.next_number = out.next_number.max(head.next_number);
        lost = out.table.lose_where(head.seq, |number| !known.contains_key(&number));
    }
    let mut runs = Vec::new();
    for found in &files {
        match known.get(&found.number).filter(|_| found.sealed) {
            Some(known) => out.alone.extend(known.alone.map(|object| (found.number, object))),
            None => runs.extend(out.survey(disk, &files, found, &lost, now)?),
        }
    }
    let mut dangling = 0;
    merge(disk, runs, |line, number| {
        if line.kind != Kind::Blob && !out.table.apply_after(&lost, line, number) {
            dangling += 1;
            if out.sound.contains(&number) {
                // Its body was here and has gone since, evicted or damaged: nothing older is current for that.
                out.table.apply_after(&lost, &Line { kind: Kind::Tomb, ..*line }, number);
            }
        }
    })?;
    dangling += out.table.count();
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

/// The segments of a folder by number. Files that are not segments, or have a name or number that we would not give, are left alone.
pub(crate) fn segments(disk: &dyn Disk, seg: &Path) -> io::Result<Vec<Found>> {
    let mut found: Vec<Found> = Vec::new();
    for (path, length) in disk.list(seg)? {
        let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or("");
        let lane = [Lane::Main, Lane::Parts].into_iter().find(|lane| lane.endings().0 == ending || lane.endings().1 == ending);
        if let (Some(number), Some(lane)) = (number, lane)
            && (1..SEGMENT_END).contains(&number)
            && path == segment::path(seg, number, ending)
        {
            let sealed = lane.endings().1 == ending;
            found.push(Found { lane, number, sealed, path, length });
        }
    }
    found.sort_by_key(|file| (file.number, file.sealed));
    Ok(found)
}

impl Recovered {
    /// Looks at one segment: its footer, or, where there is none that verifies, its records. Puts its bodies into the table, so that
    /// all of them are known before any answer. Seals what was left open. `None` for a stranger.
    fn survey(&mut self, disk: &dyn Disk, files: &[Found], found: &Found, lost: &Lost, now: Time) -> Result<Option<Run>, Error> {
        let file = disk.open(&found.path, false)?;
        let whose = self.whose(&*file, found.number);
        if let Whose::Stranger(why) = whose {
            let path = found.path.display();
            tracing::warn!("{path} {why}; it is left alone, move it out of the folder");
            self.strangers.insert(found.number);
            return Ok(None);
        }
        let footer = if found.sealed { Run::footer(&*file, found, &self.uuid) } else { None };
        if let Some((lines, flags, run)) = footer {
            if flags & record::MENDED == 0 {
                self.sound.insert(found.number);
            }
            if let [Line { kind: Kind::Blob, key, .. }] = lines[..] {
                self.alone.insert(found.number, Digest(key));
            }
            self.look(found.number, &lines, lost);
            return Ok(Some(run));
        }
        let lines = self.scan(disk, files, &*file, found, whose == Whose::Ours, now)?;
        self.look(found.number, &lines, lost);
        Ok(Some(Run::held(found.number, lines)))
    }

    fn look(&mut self, number: u32, lines: &[Line], lost: &Lost) {
        for line in lines {
            self.seq = self.seq.max(line.seq);
            self.dates.add(Time::from_micros(line.time));
            if line.kind == Kind::Blob {
                self.table.apply_after(lost, line, number);
            }
        }
    }

    /// Reads the records of a segment without a good footer.
    fn scan(
        &mut self,
        disk: &dyn Disk,
        files: &[Found],
        file: &dyn DiskFile,
        found: &Found,
        ours: bool,
        now: Time,
    ) -> Result<Vec<Line>, Error> {
        self.scanned += 1;
        let mut lines = Vec::new();
        let scan = scan_around(file, found.length, &self.uuid, |line, _, holds, _| {
            if holds {
                lines.push(line);
            }
        })?;
        self.damaged += scan.damaged;
        if scan.unreadable > 0 {
            tracing::warn!(
                segment = found.number,
                bytes = scan.unreadable,
                "a part of a segment cannot be read; what is in the rest is here"
            );
            // It stays as it is, and nothing is cut off: one without a footer is looked at again at each start, and what could be read
            // by then is here again.
            if !self.read_only {
                file.sync()?;
            }
            return Ok(lines);
        }
        if !self.read_only && !found.sealed {
            let seg = found.path.parent().unwrap_or(Path::new(""));
            if ours && scan.damaged == 0 && spare::stand_elsewhere(disk, files, &self.uuid, &lines) && disk.remove(&found.path).is_ok() {
                // For good, before anything else is written: what hides its records may go at any time.
                disk.sync_dir(seg)?;
                tracing::info!(segment = found.number, "a rewrite was cut short; its copies are not needed");
                return Ok(Vec::new());
            }
            let sealed = match (lines.is_empty(), found.length > record::SEGMENT_HEADER && !ours) {
                (true, false) => disk.remove(&found.path),
                // Nothing in it can be read, and nothing shows that it is of this store: left for whoever wants to look.
                (true, true) => Ok(()),
                (false, _) => seal(disk, seg, found, &self.uuid, scan.end, &lines, now),
            };
            match sealed {
                Ok(()) => {}
                // A full or failing disk must not keep the school from what is stored: tried again at the next start. But what is
                // in it counts as stored from now on, so it has to be on the medium.
                Err(error) => {
                    tracing::warn!(segment = found.number, %error, "cannot seal an old segment");
                    if !is_full(&error) && !is_read_only(&error) {
                        write_again(disk, found, scan.end)?;
                    }
                    file.sync()?;
                }
            }
        }
        Ok(lines)
    }

    /// Whose a segment is by its header.
    fn whose(&self, file: &dyn DiskFile, number: u32) -> Whose {
        let mut head = [0; record::SEGMENT_HEADER_BYTES];
        if file.read_at(&mut head, 0).is_err() {
            return Whose::Unknown;
        }
        match SegmentHeader::decode(&head) {
            Ok(header) if header.uuid != self.uuid => Whose::Stranger("is a segment of another store"),
            Ok(header) if header.number != number => Whose::Stranger("is a segment under a number that is not its own"),
            Ok(_) => Whose::Ours,
            Err(BadSegment::Newer(_)) => Whose::Stranger("was written by a newer program"),
            Err(BadSegment::Damaged) => Whose::Unknown,
        }
    }
}

/// Whose a segment is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// Its header names this store: what does not verify in it was never written to its end.
    Ours,
    /// Its header cannot be read.
    Unknown,
    /// Not to be touched, and why.
    Stranger(&'static str),
}

/// A sync that failed may have let go of what it covered, and the next one says nothing of that: the same bytes are written to the
/// same place once more, so that the next sync can be believed.
fn write_again(disk: &dyn Disk, found: &Found, end: u64) -> io::Result<()> {
    let file = match disk.open(&found.path, true) {
        // Sealed already, and with that synced: its new name alone may be lost.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    let mut buffer = vec![0; usize::try_from(WINDOW).map_err(io::Error::other)?];
    let (mut at, end) = (0, end.min(file.length()?));
    while at < end {
        let n = usize::try_from(WINDOW.min(end - at)).map_err(io::Error::other)?;
        file.read_at(&mut buffer[..n], at)?;
        file.write_at(&buffer[..n], at)?;
        at += n as u64;
    }
    Ok(())
}

/// Seals a scanned segment at the end of its last valid record.
pub(crate) fn seal(disk: &dyn Disk, seg: &Path, found: &Found, uuid: &[u8; 16], end: u64, lines: &[Line], now: Time) -> io::Result<()> {
    let file = disk.open(&found.path, true)?;
    segment::finish(disk, seg, &*file, uuid, (found.lane, found.number), end, lines, now.micros()).map(|_| ())
}

/// What a scan saw.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scan {
    /// Where the record after the last valid one would start.
    pub(crate) end: u64,
    pub(crate) damaged: u64,
    /// Bytes that the medium does not give.
    pub(crate) unreadable: u64,
}

/// Reads all records of a segment. `visit` gets the line, the header, whether the payload verified, and a small payload.
pub(crate) fn scan(file: &dyn DiskFile, length: u64, uuid: &[u8; 16], visit: impl FnMut(Line, &Header, bool, &[u8])) -> io::Result<Scan> {
    scan_window(Window::new(file, length), uuid, visit)
}

/// The same of a segment that the medium may not give in full: what it does not give counts as zeros. Only for whoever removes no answers
/// because of what is not there.
pub(crate) fn scan_around(
    file: &dyn DiskFile,
    length: u64,
    uuid: &[u8; 16],
    visit: impl FnMut(Line, &Header, bool, &[u8]),
) -> io::Result<Scan> {
    scan_window(Window::around(file, length), uuid, visit)
}

fn scan_window(mut window: Window<'_>, uuid: &[u8; 16], mut visit: impl FnMut(Line, &Header, bool, &[u8])) -> io::Result<Scan> {
    let length = window.length;
    let mut scan = Scan { end: record::SEGMENT_HEADER, ..Scan::default() };
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
    let unreadable = window.unreadable();
    scan.damaged += u64::from(unreadable > 0 && scan.damaged == 0);
    Ok(Scan { unreadable, ..scan })
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
    let mut window = Window::new(file, file.length()?);
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
