//! Records on their way into another segment: each is verified before it is copied, and keeps its seq. The copies stand in a
//! segment of their own, which counts only when it is sealed.

use crate::store::disk::DiskFile;
use crate::store::record::{self, Line};
use crate::store::recover;
use crate::store::segment::ledger::{Segment, Standing};
use crate::store::segment::{Current, Lane, Log, New, STEP, Written, path, too_large};
use std::io;
use std::sync::atomic::Ordering;

/// A segment of copies that is being written.
pub(crate) struct Output(Current);

impl Output {
    /// Its number.
    pub(crate) fn number(&self) -> u32 {
        self.0.number
    }
}

impl Log {
    /// A segment for copies.
    pub(crate) fn output(&self, lane: Lane) -> io::Result<Output> {
        Ok(Output(Current { copies: true, ..self.start(lane)? }))
    }

    /// Whether `line` is too much for an output.
    pub(crate) fn is_over(&self, out: &Output, line: &Line) -> bool {
        let footer = (out.0.lines.len() as u64 + 2) * record::ENTRY as u64;
        !out.0.lines.is_empty() && out.0.end + weight(line) + footer > self.segment || out.0.lines.len() >= super::LINES_MAX
    }

    /// Copies the record that `line` tells of; its line in the output and its payload if it is short, or `None` when it does not
    /// verify.
    pub(crate) fn copy(&self, from: &dyn DiskFile, line: &Line, out: &mut Output) -> io::Result<Option<(Line, Option<Vec<u8>>)>> {
        let Some((end, payload)) = copy_record(from, line, &self.uuid, &*out.0.file, out.0.end)? else { return Ok(None) };
        Ok(Some((self.copied(out, Line { at: out.0.end, ..*line }, end, Written::Rewrite), payload)))
    }

    /// Writes a record in the place of one of this seq.
    pub(crate) fn put(&self, new: &New, seq: u64, out: &mut Output, what: Written) -> io::Result<Line> {
        let (line, end) = self.write(&*out.0.file, out.0.end, new, seq)?;
        Ok(self.copied(out, line, end, what))
    }

    fn copied(&self, out: &mut Output, line: Line, end: u64, what: Written) -> Line {
        self.bytes.fetch_add(end - out.0.end, Ordering::Relaxed);
        self.count(what, end - out.0.end);
        out.0.end = end;
        out.0.lines.push(line);
        line
    }

    /// Seals an output: it is on the medium when this returns.
    pub(crate) fn seal_output(&self, out: &Output) -> io::Result<()> {
        Ok(self.finish(&out.0)?)
    }

    /// Gives an output up that will not be used. What cannot be removed stays in the ledger, so that whoever asks what records
    /// there are learns of it.
    pub(crate) fn give_up(&self, out: &Output) {
        self.leave(out.0.number, out.0.lane, out.0.end);
    }

    /// Removes the file of a segment that failed while it was written, under either name.
    pub(super) fn leave(&self, number: u32, lane: Lane, end: u64) {
        let (open, sealed) = lane.endings();
        self.files.lock().remove(&number);
        let gone = |ending| match self.disk.remove(&path(&self.folder, number, ending)) {
            Err(error) => error.kind() == io::ErrorKind::NotFound,
            Ok(()) => true,
        };
        self.loose.store(true, Ordering::Relaxed);
        if gone(open) & gone(sealed) {
            let bytes = self.ledger.strike(number).map_or(0, |segment| match segment.standing {
                Standing::Sealed => segment.bytes,
                _ => end,
            });
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        } else {
            self.ledger.change(number, |segment| *segment = Segment { standing: Standing::Left, bytes: end, ..*segment });
        }
    }

    /// A segment whose sync failed is poisoned: reads back what was not synced before and writes what is valid to a new one.
    /// When that fails too, nothing is written any more until the next start.
    pub(super) fn rescue(&self, open: &mut super::Open, poisoned: &Current, why: &io::Error) -> io::Result<()> {
        tracing::warn!(segment = poisoned.number, error = %why, "a sync failed, writing its records anew");
        self.ledger.change(poisoned.number, |segment| {
            *segment = Segment { standing: Standing::Left, bytes: poisoned.end, ..*segment };
        });
        let done = self.write_anew(poisoned.lane, poisoned.number, &*poisoned.file, &poisoned.lines[poisoned.synced_lines..]);
        match done {
            Ok(fresh) => {
                // What the failed sync covered still reads back, but is not on the medium: a start must not take it for good.
                if poisoned.file.truncate(poisoned.synced_end).is_ok() {
                    self.bytes.fetch_sub(poisoned.end - poisoned.synced_end, Ordering::Relaxed);
                    self.ledger.change(poisoned.number, |segment| segment.bytes = poisoned.synced_end);
                }
                *open.lane(poisoned.lane) = Some(fresh);
                self.unsynced.store(open.unsynced(), Ordering::Relaxed);
                Ok(())
            }
            Err(error) => Err(self.lose(open, error)),
        }
    }

    /// The same for one that was sealed while the sync failed: what it held since the last good sync is written anew and sealed.
    pub(super) fn rescue_sealed(
        &self,
        open: &mut super::Open,
        (lane, number): (Lane, u32),
        synced: u64,
        why: &io::Error,
    ) -> io::Result<()> {
        tracing::warn!(segment = number, error = %why, "a sync failed, writing its records anew");
        let done = self.file(number).and_then(|file| {
            let lines =
                recover::footer(&*file, file.length()?).ok_or_else(|| io::Error::other("the segment's footer does not read back"))?;
            let from = lines.partition_point(|line| line.at < synced);
            Ok(self.finish(&self.write_anew(lane, number, &*file, &lines[from..])?)?)
        });
        done.map_err(|error| self.lose(open, error))
    }

    fn lose(&self, open: &mut super::Open, error: io::Error) -> io::Error {
        tracing::error!(%error, "the disk does not keep what is written: the store is read-only until the next start");
        self.gate.freeze();
        open.lost = true;
        error
    }

    fn write_anew(&self, lane: Lane, number: u32, file: &dyn DiskFile, lines: &[Line]) -> io::Result<Current> {
        self.rescues.fetch_add(1, Ordering::Relaxed);
        let mut out = self.output(lane)?;
        let done = self.copy_all(number, file, lines, &mut out);
        done.inspect_err(|_| self.give_up(&out))?;
        let mut fresh = Current { copies: false, ..out.0 };
        (fresh.synced_lines, fresh.synced_end) = (fresh.lines.len(), fresh.end);
        Ok(fresh)
    }

    /// Copies what reads back, syncs, and lets the table lead to the copies.
    fn copy_all(&self, number: u32, file: &dyn DiskFile, lines: &[Line], out: &mut Output) -> io::Result<()> {
        let mut moved = Vec::with_capacity(lines.len());
        for line in lines {
            if let Some((new, _)) = self.copy(file, line, out)? {
                moved.push((*line, new));
            } else {
                tracing::error!(segment = number, at = line.at, "a record did not read back after a failed sync");
            }
        }
        // A last record may end in padding that was never written.
        let length = out.0.file.length()?;
        if length < out.0.end {
            out.0.file.truncate(out.0.end)?;
        }
        out.0.file.sync()?;
        let mut table = self.table.write();
        for (old, new) in moved {
            table.relocate(&old, number, &new, out.0.number);
        }
        Ok(())
    }
}

/// Bytes that a record takes on disk, at most.
pub(crate) fn weight(line: &Line) -> u64 {
    // A part's line tells of the body without its table of checksums: 4 B for each block.
    let tables = if line.flags & record::TABLED == 0 { 0 } else { (line.length / record::BLOCK + 1) * 4 };
    let page = if line.flags & record::PAGED == 0 { 0 } else { record::PAGE };
    record::HEADER + page + line.length.saturating_add(tables).saturating_add(record::ALIGN)
}

/// Copies a record into `to` at `at`; where the next one starts. `None` when it does not verify or is another one.
fn copy_record(
    from: &dyn DiskFile,
    line: &Line,
    uuid: &[u8; 16],
    to: &dyn DiskFile,
    at: u64,
) -> io::Result<Option<(u64, Option<Vec<u8>>)>> {
    let Some((header, payload)) = recover::verified(from, line, uuid)? else { return Ok(None) };
    let end = header.next_at(at).ok_or_else(too_large)?;
    let (source, target, bytes) = (header.payload_at(line.at), header.payload_at(at), header.encode(uuid));
    if let Some(payload) = payload {
        let mut whole = vec![0; usize::try_from(end - at).map_err(io::Error::other)?];
        whole[..record::HEADER_BYTES].copy_from_slice(&bytes);
        let start = usize::try_from(target - at).map_err(io::Error::other)?;
        whole[start..start + payload.len()].copy_from_slice(&payload);
        to.write_at(&whole, at)?;
        return Ok(Some((end, Some(payload))));
    }
    copy_bytes(from, source, to, target, header.length)?;
    to.write_at(&bytes, at)?;
    Ok(Some((end, None)))
}

/// Copies bytes in steps.
pub(super) fn copy_bytes(from: &dyn DiskFile, source: u64, to: &dyn DiskFile, target: u64, length: u64) -> io::Result<()> {
    let mut buffer = vec![0; usize::try_from(length.min(STEP as u64)).unwrap_or(STEP)];
    let mut done = 0;
    while done < length {
        let n = usize::try_from((length - done).min(STEP as u64)).unwrap_or(STEP);
        from.read_at(&mut buffer[..n], source + done)?;
        to.write_at(&buffer[..n], target + done)?;
        done += n as u64;
    }
    Ok(())
}
