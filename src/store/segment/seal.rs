//! The end of a segment: footer, sync, the name of a sealed one.
//!
//! # Why
//! Each step that fails leaves something else. Without room for the footer the segment stays open. After a failed sync nothing of
//! it is believed that was not synced before. Once it is synced, the name is for the next start only, which seals what it finds.

use crate::store::disk::{Disk, DiskFile};
use crate::store::record::{self, Codec, Header, Kind, Line};
use crate::store::segment::ledger::Gauge;
use crate::store::segment::{Current, Lane, Log, Open, Segment, Standing, Written, path};
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;

/// Why a segment is not sealed.
#[derive(Debug)]
pub(super) enum Unsealed {
    /// The footer could not be written.
    Open(io::Error),
    /// The sync failed.
    Poisoned(io::Error),
}

impl From<Unsealed> for io::Error {
    fn from(why: Unsealed) -> io::Error {
        match why {
            Unsealed::Open(error) | Unsealed::Poisoned(error) => error,
        }
    }
}

impl Log {
    /// Seals the open segment of a lane.
    pub(super) fn seal(&self, open: &mut Open, lane: Lane) -> io::Result<()> {
        let Some(current) = open.lane(lane).take() else { return Ok(()) };
        let done = match self.finish(&current) {
            Ok(()) => {
                self.settle(current.number);
                Ok(())
            }
            Err(Unsealed::Open(error)) => {
                *open.lane(lane) = Some(current);
                Err(error)
            }
            Err(Unsealed::Poisoned(error)) => self.rescue(open, &current, &error),
        };
        self.unsynced.store(open.unsynced(), Ordering::Relaxed);
        done
    }

    /// Footer, sync, name.
    pub(super) fn finish(&self, current: &Current) -> Result<(), Unsealed> {
        self.finish_then(current, || {})
    }

    /// [`Log::finish`], with what must be done when it is on the medium and before anybody sees it among the sealed.
    pub(super) fn finish_then(&self, current: &Current, then: impl FnOnce()) -> Result<(), Unsealed> {
        let (at, file) = (current.end, &*current.file);
        let footer = footer(&self.uuid, at, &current.lines, 0, self.clock.now().micros());
        if let Err(error) = file.write_at(&footer, at).and_then(|()| file.truncate(at + footer.len() as u64)) {
            // Best effort: the next record overwrites what is left.
            let _ = file.truncate(at);
            return Err(Unsealed::Open(error));
        }
        self.syncs.fetch_add(1, Ordering::Relaxed);
        file.sync().map_err(Unsealed::Poisoned)?;
        let standing = match name(&*self.disk, &self.folder, (current.lane, current.number)) {
            Ok(()) => Standing::Sealed,
            Err(error) => {
                tracing::warn!(segment = current.number, %error, "a segment keeps the name of an open one until the next start");
                Standing::Left
            }
        };
        let length = footer.len() as u64;
        self.bytes.fetch_add(length, Ordering::Relaxed);
        self.count(Written::Meta, length);
        let (bytes, first) = (at + length, current.lines.first().map(|line| line.seq));
        let gauge = Some(Gauge::of(&current.lines, current.copies));
        then();
        self.ledger.change(current.number, |segment| *segment = Segment { standing, bytes, first, gauge, ..*segment });
        Ok(())
    }
}

/// Seals after a crash: writes the footer at `at`, syncs, renames, syncs the name. Gives the footer's length.
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
    let bytes = footer(uuid, at, lines, record::MENDED, time);
    file.write_at(&bytes, at)?;
    file.truncate(at + bytes.len() as u64)?;
    file.sync()?;
    name(disk, folder, (lane, number))?;
    Ok(bytes.len() as u64)
}

/// Gives a synced segment the name of a sealed one. Should the new name be lost in a power cut, the old one is there.
fn name(disk: &dyn Disk, folder: &Path, (lane, number): (Lane, u32)) -> io::Result<()> {
    let (open, sealed) = lane.endings();
    disk.rename(&path(folder, number, open), &path(folder, number, sealed))?;
    if let Err(error) = disk.sync_dir(folder) {
        tracing::warn!(segment = number, %error, "the folder of segments could not be synced");
    }
    Ok(())
}

/// The FOOTER record.
fn footer(uuid: &[u8; 16], at: u64, lines: &[Line], flags: u16, time: i64) -> Vec<u8> {
    let payload = record::encode_footer(at, lines);
    let header = Header {
        kind: Kind::Footer,
        codec: Codec::Raw,
        flags,
        seq: lines.last().map_or(0, |line| line.seq),
        length: payload.len() as u64,
        extra: time.cast_unsigned(),
        key: [0; 32],
        base: 0,
        crc: crc32c::crc32c(&payload),
    };
    [&header.encode(uuid)[..], &payload].concat()
}
