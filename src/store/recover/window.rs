//! A file read ahead, in order; where the medium fails, sector by sector.

use crate::store::disk::{DiskFile, is_unreadable};
use crate::store::recover::WINDOW;
use std::collections::BTreeSet;
use std::io;

/// Read at a time where the medium fails: what it loses at once, as a rule.
const SECTOR: u64 = 4096;
/// Sectors of a segment that are asked for alone: a dying medium takes seconds for each, and the class waits for the start.
const SECTORS_TRIED: usize = 64;

/// A part of a file, read ahead.
pub(super) struct Window<'f> {
    file: &'f dyn DiskFile,
    pub(super) length: u64,
    buffer: Vec<u8>,
    start: u64,
    /// Sectors that cannot be read, by number; where there is none of this, they are an error.
    gaps: Option<BTreeSet<u64>>,
}

impl<'f> Window<'f> {
    /// What cannot be read is an error.
    pub(super) fn new(file: &'f dyn DiskFile, length: u64) -> Window<'f> {
        Window { file, length, buffer: Vec::new(), start: 0, gaps: None }
    }

    /// What the medium does not give is zeros.
    pub(super) fn around(file: &'f dyn DiskFile, length: u64) -> Window<'f> {
        Window { gaps: Some(BTreeSet::new()), ..Window::new(file, length) }
    }

    /// Bytes that the medium did not give.
    pub(super) fn unreadable(&self) -> u64 {
        self.gaps.as_ref().map_or(0, |gaps| gaps.len() as u64 * SECTOR)
    }

    /// `n` bytes at `at`; both lie within the file, or the file shrinks under us, which is an error.
    pub(super) fn get(&mut self, at: u64, n: u64) -> io::Result<&[u8]> {
        let eof = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let held = self.start + self.buffer.len() as u64;
        if at < self.start || at + n > held {
            let want = WINDOW.max(n).min(self.length.checked_sub(at).ok_or_else(eof)?);
            if want < n {
                return Err(eof());
            }
            self.buffer.resize(usize::try_from(want).map_err(io::Error::other)?, 0);
            self.start = at;
            if let Err(error) = self.fill() {
                self.buffer.clear();
                return Err(error);
            }
        }
        let from = usize::try_from(at - self.start).map_err(io::Error::other)?;
        self.buffer.get(from..from + usize::try_from(n).map_err(io::Error::other)?).ok_or_else(eof)
    }

    /// Reads the buffer's length at its start; what the medium does not give becomes zeros, if gaps are kept.
    fn fill(&mut self) -> io::Result<()> {
        let Window { file, buffer, start, gaps, .. } = self;
        let end = *start + buffer.len() as u64;
        let known = gaps.as_ref().is_some_and(|gaps| gaps.range(*start / SECTOR..end.div_ceil(SECTOR)).next().is_some());
        if !known {
            match file.read_at(buffer, *start) {
                Err(error) if is_unreadable(&error) && gaps.is_some() => {}
                done => return done,
            }
        }
        let Some(gaps) = gaps else { return Ok(()) };
        let mut at = *start;
        while at < end {
            let sector = at / SECTOR;
            let next = ((sector + 1) * SECTOR).min(end);
            let place =
                usize::try_from(at - *start).map_err(io::Error::other)?..usize::try_from(next - *start).map_err(io::Error::other)?;
            let read = if gaps.contains(&sector) || gaps.len() >= SECTORS_TRIED {
                false
            } else {
                match file.read_at(&mut buffer[place.clone()], at) {
                    Err(error) if !is_unreadable(&error) => return Err(error),
                    read => read.is_ok(),
                }
            };
            if !read {
                gaps.insert(sector);
                buffer[place].fill(0);
            }
            at = next;
        }
        Ok(())
    }
}
