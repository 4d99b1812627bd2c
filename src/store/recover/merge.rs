//! The lines of all segments in the order of their seq. A rewritten record keeps its seq and stands in a newer segment, so the
//! order of segments says nothing.
//!
//! # Why
//! A footer is read twice: first for its checksum and its range, then in chunks while the merge is within that range. So a start
//! holds one chunk for each segment whose range overlaps with others, and never all lines of a large store (2 M objects: 400 MB).

use crate::store::disk::{Disk, DiskFile};
use crate::store::record::{self, Header, Kind, Line};
use crate::store::recover::Found;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::io;
use std::path::PathBuf;
use std::vec;

/// Lines of one segment that are held at a time: 320 KiB on disk, a few reads for the largest footer.
const CHUNK: usize = 4096;

/// The lines of one segment, with what a first look at them showed.
pub(super) struct Run {
    number: u32,
    /// The lowest seq.
    first: u64,
    lines: Lines,
}

enum Lines {
    /// In memory, sorted: those of a scanned segment, or of a footer out of order.
    Held(vec::IntoIter<Line>),
    /// Still in the footer, sorted there.
    Footer { path: PathBuf, at: u64, left: usize, chunk: vec::IntoIter<Line> },
}

impl Run {
    /// Lines that are in memory.
    pub(super) fn held(number: u32, mut lines: Vec<Line>) -> Run {
        lines.sort_by_key(|line| line.seq);
        Run { number, first: lines.first().map_or(u64::MAX, |line| line.seq), lines: Lines::Held(lines.into_iter()) }
    }

    /// Looks through the footer of a sealed segment: its lines as they stand there, the footer's flags, and the run; `None` when it
    /// does not verify or is another store's.
    pub(super) fn footer(file: &dyn DiskFile, found: &Found, uuid: &[u8; 16]) -> Option<(Vec<Line>, u16, Run)> {
        let (at, count, crc) = trailer(file, found.length)?;
        let mut head = [0; record::HEADER_BYTES];
        file.read_at(&mut head, at.checked_sub(record::HEADER)?).ok()?;
        let flags = Header::decode(&head, uuid).filter(|header| header.kind == Kind::Footer)?.flags;
        let lines = record::decode_lines(&read_lines(file, at, count).ok()?, crc)?;
        // What cannot be where the footer says would make a place that means nothing.
        if lines.iter().any(|line| line.at < record::SEGMENT_HEADER || line.at >= found.length) {
            return None;
        }
        if !lines.is_sorted_by_key(|line| line.seq) {
            return Some((lines.clone(), flags, Run::held(found.number, lines)));
        }
        let footer = Lines::Footer { path: found.path.clone(), at, left: count, chunk: Vec::new().into_iter() };
        let first = lines.first().map_or(u64::MAX, |line| line.seq);
        Some((lines, flags, Run { number: found.number, first, lines: footer }))
    }

    fn next(&mut self, disk: &dyn Disk) -> io::Result<Option<Line>> {
        let (path, at, left, chunk) = match &mut self.lines {
            Lines::Held(lines) => return Ok(lines.next()),
            Lines::Footer { path, at, left, chunk } => (path, at, left, chunk),
        };
        if chunk.len() == 0 && *left > 0 {
            let bytes = read_lines(&*disk.open(path, false)?, *at, CHUNK.min(*left))?;
            let lines = record::decode_some(&bytes).ok_or_else(|| io::Error::other("a footer changed while it was read"))?;
            *left -= lines.len();
            *at += bytes.len() as u64;
            *chunk = lines.into_iter();
        }
        Ok(chunk.next())
    }
}

/// Where the lines of a sealed segment start, how many there are, and their checksum; `None` when it has no footer.
fn trailer(file: &dyn DiskFile, length: u64) -> Option<(u64, usize, u32)> {
    let tail_at = length.checked_sub(record::TRAILER as u64)?;
    let mut tail = [0; record::TRAILER];
    file.read_at(&mut tail, tail_at).ok()?;
    let (at, count, crc) = record::decode_trailer(&tail)?;
    let lines_at = at.checked_add(record::HEADER)?;
    if lines_at.checked_add(u64::try_from(count).ok()?.checked_mul(record::ENTRY as u64)?)? != tail_at {
        return None;
    }
    Some((lines_at, count, crc))
}

fn read_lines(file: &dyn DiskFile, at: u64, count: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; count * record::ENTRY];
    file.read_at(&mut bytes, at)?;
    Ok(bytes)
}

/// Whether the footer of a segment says that it was sealed in its time.
pub(crate) fn is_sound(file: &dyn DiskFile, length: u64, uuid: &[u8; 16]) -> bool {
    let header = || {
        let mut head = [0; record::HEADER_BYTES];
        file.read_at(&mut head, trailer(file, length)?.0.checked_sub(record::HEADER)?).ok()?;
        Header::decode(&head, uuid).filter(|header| header.kind == Kind::Footer)
    };
    header().is_some_and(|header| header.flags & record::MENDED == 0)
}

/// All lines of a sealed segment as they stand in its footer; `None` when it does not verify.
pub(crate) fn footer(file: &dyn DiskFile, length: u64) -> Option<Vec<Line>> {
    let (at, count, crc) = trailer(file, length)?;
    record::decode_lines(&read_lines(file, at, count).ok()?, crc)
}

/// A run that has begun, ordered so that the lowest seq is the greatest, and of equal ones the oldest segment.
struct Head {
    line: Line,
    run: Run,
}

impl Head {
    fn order(&self) -> Reverse<(u64, u32)> {
        Reverse((self.line.seq, self.run.number))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Head) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Head {}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Head) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Head) -> Ordering {
        self.order().cmp(&other.order())
    }
}

/// Gives every line with its segment's number in the order of seq; of equal ones that of the newest segment comes last.
pub(super) fn merge(disk: &dyn Disk, mut runs: Vec<Run>, mut each: impl FnMut(&Line, u32)) -> io::Result<()> {
    runs.sort_by_key(|run| Reverse(run.first));
    let mut heads: BinaryHeap<Head> = BinaryHeap::new();
    loop {
        while let Some(mut run) = runs.pop_if(|run| heads.peek().is_none_or(|head| run.first <= head.line.seq)) {
            if let Some(line) = run.next(disk)? {
                heads.push(Head { line, run });
            }
        }
        let Some(mut head) = heads.peek_mut() else { return Ok(()) };
        let number = head.run.number;
        each(&head.line, number);
        match head.run.next(disk)? {
            Some(line) => head.line = line,
            None => drop(PeekMut::pop(head)),
        }
    }
}
