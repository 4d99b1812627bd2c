//! Which stored bodies have been verified since the node started, block by block: only those go to a socket unread. And which parts of them
//! were in memory a moment ago, so that nobody waits for a disk who sends them.
//!
//! # Why
//! A class that sees a film of 100 MiB had it read, verified and copied anew for each pupil: 2.4 times the CPU of nginx, which verifies
//! nothing; lent, half of that. What it costs: what has left the page cache and come back within a day, by the kernel's reading ahead, is
//! not verified once more, so a bit that flips on the medium meanwhile is not seen before the day is over.
//!
//! Asking the kernel for each piece whether its pages are in memory (mincore(2)) was a fifth of what a lent film costs, since it looks up
//! page by page. A class sees the same film within the same minutes, so what was there a second ago is taken to be there. And with pieces
//! of 256 KiB 400 calls of sendfile made a film, where nginx makes 88: lent up to 2 MiB at a time it takes 8.0 to 8.8 ms instead of 10 to 11.5,
//! nginx 7.0 to 8.3 in the same runs (CUBIC, loopback). What is left is the kernel's (perf: the page cache 11 %, pipes of splice 15 %, the
//! rest TCP), no function of ours has half a percent.

use crate::base::arena::Lender;
use crate::base::digest::Digest;
use crate::store::disk::DiskFile;
use crate::store::record::{BLOCK, FRAME};
use crate::store::table::Place;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Bodies of which it is known; a school sees fewer films at a time. A body of 1 GB takes 18 KB.
const BODIES: usize = 64;
/// After so long a body is read and verified again.
const VALID: Duration = Duration::from_hours(24);
/// So long after it was seen in memory a part is taken to be there still. Where that is wrong, a worker waits for a disk once.
const PRESENT: Duration = Duration::from_secs(1);
/// Bits of a word.
const BITS: u64 = 64;

/// What is known of one body at one place.
#[derive(Debug)]
pub(crate) struct Verified {
    since: Instant,
    length: u64,
    blocks: Box<[AtomicU64]>,
    whole: AtomicBool,
    /// For each piece of [`FRAME`] bytes the milliseconds from `since` until it was last seen in memory, and one; 0: never.
    seen: Box<[AtomicU32]>,
}

impl Verified {
    fn new(length: u64, since: Instant) -> Verified {
        let words = length.div_ceil(BLOCK).div_ceil(BITS);
        let blocks = (0..words).map(|_| AtomicU64::new(0)).collect();
        let seen = (0..length.div_ceil(FRAME)).map(|_| AtomicU32::new(0)).collect();
        Verified { since, length, blocks, whole: AtomicBool::new(false), seen }
    }

    /// The blocks that these bytes touch have been compared with their checksums.
    pub(crate) fn note(&self, bytes: &Range<u64>) {
        for (word, bit) in self.bits(bytes) {
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// All of it has been compared with its name.
    pub(crate) fn note_whole(&self) {
        self.whole.store(true, Ordering::Relaxed);
    }

    /// Nothing is known any more, also to who holds it.
    fn clear(&self) {
        self.whole.store(false, Ordering::Relaxed);
        self.blocks.iter().for_each(|word| word.store(0, Ordering::Relaxed));
    }

    /// Whether all blocks that these bytes touch have been noted; with `whole` also the body as a whole.
    pub(crate) fn holds(&self, bytes: &Range<u64>, whole: bool) -> bool {
        (!whole || self.whole.load(Ordering::Relaxed)) && self.bits(bytes).all(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
    }

    /// All of these bytes are in memory now.
    pub(crate) fn note_present(&self, bytes: &Range<u64>, now: Instant) {
        let end = if bytes.end == self.length { bytes.end.next_multiple_of(FRAME) } else { bytes.end };
        for piece in bytes.start.div_ceil(FRAME)..end / FRAME {
            if let Some(seen) = usize::try_from(piece).ok().and_then(|piece| self.seen.get(piece)) {
                seen.store(self.stamp(now), Ordering::Relaxed);
            }
        }
    }

    /// Whether all of these bytes were in memory a moment ago.
    pub(crate) fn is_present(&self, bytes: &Range<u64>, now: Instant) -> bool {
        let oldest = self.stamp(now).saturating_sub(u32::try_from(PRESENT.as_millis()).unwrap_or(u32::MAX)).max(1);
        (bytes.start / FRAME..bytes.end.div_ceil(FRAME)).all(|piece| {
            usize::try_from(piece).ok().and_then(|piece| self.seen.get(piece)).is_some_and(|seen| seen.load(Ordering::Relaxed) >= oldest)
        })
    }

    /// Never 0.
    fn stamp(&self, now: Instant) -> u32 {
        u32::try_from(now.saturating_duration_since(self.since).as_millis()).unwrap_or(u32::MAX).saturating_add(1)
    }

    fn bits(&self, bytes: &Range<u64>) -> impl Iterator<Item = (&AtomicU64, u64)> {
        let blocks = bytes.start / BLOCK..bytes.end.min(self.length).div_ceil(BLOCK);
        blocks.filter_map(|block| {
            let word = self.blocks.get(usize::try_from(block / BITS).ok()?)?;
            Some((word, 1 << (block % BITS)))
        })
    }
}

/// The bodies that were read last.
#[derive(Debug, Default)]
pub(crate) struct Register(Mutex<VecDeque<(Digest, Place, Arc<Verified>)>>);

impl Register {
    /// What is known of a body at a place.
    pub(crate) fn of(&self, object: &Digest, place: Place, length: u64, now: Instant) -> Arc<Verified> {
        let mut known = self.0.lock();
        known.retain(|(_, _, verified)| now.saturating_duration_since(verified.since) < VALID);
        let at = known.iter().position(|(name, here, verified)| (name, *here, verified.length) == (object, place, length));
        let found = at.and_then(|at| known.remove(at)).unwrap_or_else(|| (*object, place, Arc::new(Verified::new(length, now))));
        known.truncate(BODIES - 1);
        let verified = Arc::clone(&found.2);
        known.push_front(found);
        verified
    }

    /// A body did not verify.
    pub(crate) fn forget(&self, object: &Digest) {
        self.0.lock().retain(|(name, _, verified)| {
            if name == object {
                verified.clear();
            }
            name != object
        });
    }
}

/// A segment's file, for the arena.
pub(crate) struct SegmentFile(Arc<dyn DiskFile>);

impl SegmentFile {
    /// `None` when it is no file of the kernel's.
    pub(crate) fn of(file: &Arc<dyn DiskFile>) -> Option<Arc<dyn Lender>> {
        file.fd().map(|_| Arc::new(SegmentFile(Arc::clone(file))) as Arc<dyn Lender>)
    }
}

impl Lender for SegmentFile {
    fn fd(&self) -> BorrowedFd<'_> {
        self.0.fd().expect("it has had one")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Clock;

    #[test]
    fn blocks_are_noted_as_they_are_verified() {
        let now = Clock::system().steady();
        let length = 70 * BLOCK + 1;
        let verified = Verified::new(length, now);
        assert!(!verified.holds(&(0..1), false));
        verified.note(&(0..4 * BLOCK));
        verified.note(&(68 * BLOCK..length));
        assert!(verified.holds(&(1..4 * BLOCK), false) && verified.holds(&(68 * BLOCK + 9..length), false));
        assert!(!verified.holds(&(1..4 * BLOCK + 1), false) && !verified.holds(&(67 * BLOCK..length), false));
        verified.note(&(4 * BLOCK..68 * BLOCK));
        assert!(verified.holds(&(0..length), false) && !verified.holds(&(0..length), true));
        verified.note_whole();
        assert!(verified.holds(&(0..length), true));
    }

    #[test]
    fn what_was_in_memory_is_taken_to_be_there_for_a_moment() {
        let now = Clock::system().steady();
        let length = 3 * FRAME + 1;
        let verified = Verified::new(length, now);
        assert!(!verified.is_present(&(0..1), now));
        verified.note_present(&(1..2 * FRAME + 5), now);
        assert!(verified.is_present(&(FRAME..2 * FRAME), now) && verified.is_present(&(FRAME + 7..FRAME + 8), now + PRESENT));
        assert!(!verified.is_present(&(FRAME - 1..2 * FRAME), now) && !verified.is_present(&(FRAME..2 * FRAME + 1), now), "seen in part");
        assert!(!verified.is_present(&(FRAME..2 * FRAME), now + PRESENT + Duration::from_millis(1)));
        let later = now + PRESENT * 2;
        verified.note_present(&(2 * FRAME..length), later);
        assert!(verified.is_present(&(2 * FRAME..length), later) && !verified.is_present(&(FRAME..length), later));
        // What a body has no bytes for is never there.
        assert!(!verified.is_present(&(2 * FRAME..9 * FRAME), later));
    }

    #[test]
    fn a_body_is_known_where_it_lies_for_a_day_and_while_it_is_in_use() {
        let (register, now) = (Register::default(), Clock::system().steady());
        let (one, at) = (Digest::of(b"1"), |segment| Place { segment, at: 64 });
        register.of(&one, at(1), 9, now).note_whole();
        assert!(register.of(&one, at(1), 9, now).holds(&(0..0), true));
        assert!(!register.of(&one, at(2), 9, now).holds(&(0..0), true), "moved");
        assert!(register.of(&one, at(1), 9, now + VALID / 2).holds(&(0..0), true));
        assert!(!register.of(&one, at(1), 9, now + VALID).holds(&(0..0), true), "a day has gone");
        register.of(&one, at(1), 9, now + VALID).note_whole();
        for n in 0..BODIES - 1 {
            register.of(&Digest::of(&n.to_le_bytes()), at(3), 9, now + VALID);
        }
        assert!(register.of(&one, at(1), 9, now + VALID).holds(&(0..0), true), "one of the last");
        for n in 0..BODIES {
            register.of(&Digest::of(&n.to_le_bytes()), at(3), 9, now + VALID);
        }
        assert!(!register.of(&one, at(1), 9, now + VALID).holds(&(0..0), true));
        let held = register.of(&one, at(1), 9, now + VALID);
        held.note_whole();
        register.forget(&one);
        assert!(!held.holds(&(0..0), true), "nor by who has it at hand");
        assert!(!register.of(&one, at(1), 9, now + VALID).holds(&(0..0), true));
    }
}
