//! `table.ckpt`: the RAM table as it was, so that a start need not read every footer. Derived: without it, or when anything in it
//! is odd, the same table is made from the footers (`recover.rs`); what a start takes in beside it is told in `table/lost.rs`.
//! On disk: a head, the segments it answers for, the table (`table/image.rs`), a checksum over all of it.

use crate::base::clock::Time;
use crate::base::digest::Digest;
use crate::store::Error;
use crate::store::dates::Dates;
use crate::store::disk::{Disk, DiskFile};
use crate::store::recover::Found;
use crate::store::segment::Lane;
use crate::store::table::Table;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

pub(crate) const NAME: &str = "table.ckpt";
const TEMPORARY: &str = "table.ckpt.tmp";
const MAGIC: [u8; 8] = *b"BULAKTBL";
/// Another version is not read: the footers are.
const VERSION: u32 = 2;
/// Read and written at a time.
const STEP: usize = 256 << 10;
/// The checksum at the end.
const CRC: u64 = size_of::<u32>() as u64;

/// A segment that a snapshot answers for: sealed, and the table leads to all that is of use in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) lane: Lane,
    pub(crate) length: u64,
    /// The large body that it holds and nothing else.
    pub(crate) alone: Option<Digest>,
}

/// What a snapshot says beside the table.
pub(crate) struct Head {
    pub(crate) uuid: [u8; 16],
    /// No later record is in the table.
    pub(crate) seq: u64,
    pub(crate) next_number: u32,
    pub(crate) dates: Dates,
    pub(crate) segments: BTreeMap<u32, Known>,
}

/// Writes a snapshot. `durable` runs before it gets its name and says whether all that it tells of is on the medium. Whether it was
/// written. Blocking.
pub(crate) fn write(
    disk: &dyn Disk,
    folder: &Path,
    head: &Head,
    table: &Table,
    durable: impl FnOnce() -> Result<bool, Error>,
) -> Result<bool, Error> {
    let temporary = folder.join(TEMPORARY);
    // Left by one that was cut short.
    let _ = disk.remove(&temporary);
    let file = disk.create(&temporary)?;
    let mut pen = Pen { file: Arc::clone(&file), at: 0, buffer: Vec::with_capacity(STEP), crc: 0 };
    let done = head.write(&mut pen).and_then(|()| table.write(&mut pen)).and_then(|()| pen.finish()).and_then(|()| file.sync());
    let good = done.map_err(Error::from).and_then(|()| durable());
    if !matches!(good, Ok(true)) {
        // The next one removes it too.
        let _ = disk.remove(&temporary);
        return good;
    }
    disk.rename(&temporary, &folder.join(NAME))?;
    disk.sync_dir(folder)?;
    Ok(true)
}

/// Reads the snapshot of the store `uuid` whose segments are `files`; `None` when there is none. The segments in it are those that
/// are as they were. Blocking.
///
/// # Errors
/// Why it cannot be used.
pub(crate) fn load(disk: &dyn Disk, folder: &Path, uuid: &[u8; 16], files: &[Found]) -> Result<Option<(Head, Table)>, String> {
    let file = match disk.open(&folder.join(NAME), false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(|error| error.to_string())?,
    };
    let length = file.length().map_err(|error| error.to_string())?;
    let mut lens = Lens { file: Arc::clone(&file), at: 0, end: length.saturating_sub(CRC), buffer: Vec::new(), taken: 0, crc: 0 };
    let mut head = Head::read(&mut lens, uuid).map_err(|error| error.to_string())?;
    let table = Table::read(&mut lens).map_err(|error| error.to_string())?;
    let mut crc = [0; size_of::<u32>()];
    file.read_at(&mut crc, lens.end).map_err(|error| error.to_string())?;
    if lens.at != lens.end || lens.taken != lens.buffer.len() || u32::from_le_bytes(crc) != lens.crc {
        return Err(String::from("its checksum is wrong"));
    }
    let mut there = BTreeMap::new();
    for found in files.iter().filter(|found| found.sealed) {
        if let Some(known) = head.segments.get(&found.number) {
            if (known.lane, known.length) != (found.lane, found.length) {
                return Err(format!("segment {} is not as it was", found.number));
            }
            there.insert(found.number, *known);
        }
    }
    head.segments = there;
    Ok(Some((head, table)))
}

impl Head {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(&MAGIC)?;
        out.write_all(&VERSION.to_le_bytes())?;
        out.write_all(&self.uuid)?;
        out.write_all(&self.seq.to_le_bytes())?;
        out.write_all(&self.next_number.to_le_bytes())?;
        let days: Vec<Time> = self.dates.days().collect();
        out.write_all(&(days.len() as u64).to_le_bytes())?;
        for day in days {
            out.write_all(&day.micros().to_le_bytes())?;
        }
        out.write_all(&(self.segments.len() as u64).to_le_bytes())?;
        for (number, known) in &self.segments {
            out.write_all(&number.to_le_bytes())?;
            out.write_all(&[u8::from(known.lane == Lane::Parts), u8::from(known.alone.is_some())])?;
            out.write_all(&known.length.to_le_bytes())?;
            out.write_all(&known.alone.unwrap_or(Digest([0; 32])).0)?;
        }
        Ok(())
    }

    fn read(from: &mut dyn Read, uuid: &[u8; 16]) -> io::Result<Head> {
        if take::<8>(from)? != MAGIC || u32::from_le_bytes(take(from)?) != VERSION {
            return Err(io::Error::other("it is of another version"));
        }
        if take::<16>(from)? != *uuid {
            return Err(io::Error::other("it is of another store"));
        }
        let (seq, next_number) = (u64::from_le_bytes(take(from)?), u32::from_le_bytes(take(from)?));
        let mut head = Head { uuid: *uuid, seq, next_number, dates: Dates::default(), segments: BTreeMap::new() };
        for _ in 0..u64::from_le_bytes(take(from)?) {
            head.dates.add(Time::from_micros(i64::from_le_bytes(take(from)?)));
        }
        for _ in 0..u64::from_le_bytes(take(from)?) {
            let (number, [parts, alone]) = (u32::from_le_bytes(take(from)?), take::<2>(from)?);
            let (length, object) = (u64::from_le_bytes(take(from)?), Digest(take(from)?));
            let lane = if parts == 0 { Lane::Main } else { Lane::Parts };
            head.segments.insert(number, Known { lane, length, alone: (alone != 0).then_some(object) });
        }
        Ok(head)
    }
}

fn take<const N: usize>(from: &mut dyn Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Writes a file from its start and sums it up.
struct Pen {
    file: Arc<dyn DiskFile>,
    at: u64,
    buffer: Vec<u8>,
    crc: u32,
}

impl Pen {
    fn finish(&mut self) -> io::Result<()> {
        self.flush()?;
        self.file.write_at(&self.crc.to_le_bytes(), self.at)
    }
}

impl Write for Pen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + bytes.len() > STEP {
            self.flush()?;
        }
        self.buffer.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.crc = crc32c::crc32c_append(self.crc, &self.buffer);
        self.file.write_at(&self.buffer, self.at)?;
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

/// Reads a file from its start and sums it up.
struct Lens {
    file: Arc<dyn DiskFile>,
    at: u64,
    end: u64,
    buffer: Vec<u8>,
    taken: usize,
    crc: u32,
}

impl Read for Lens {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.buffer.len() {
            let n = usize::try_from(self.end - self.at).unwrap_or(STEP).min(STEP);
            self.buffer.resize(n, 0);
            self.file.read_at(&mut self.buffer, self.at)?;
            self.crc = crc32c::crc32c_append(self.crc, &self.buffer);
            (self.at, self.taken) = (self.at + n as u64, 0);
        }
        let n = into.len().min(self.buffer.len() - self.taken);
        into[..n].copy_from_slice(&self.buffer[self.taken..self.taken + n]);
        self.taken += n;
        Ok(n)
    }
}
