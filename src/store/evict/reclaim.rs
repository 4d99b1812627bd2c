//! Making room: what is mostly dead is rewritten, else the hand moves on. Started when more than 90 % of the limit is taken, in
//! the background; whoever needs room at once waits for it.

use crate::store::evict::hand::Hand;
use crate::store::segment::{Lane, Segment};
use crate::store::{Error, Inner};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Dead share from which a segment is rewritten to make room, in percent: at 50 % each byte that comes in costs one more of
/// copying.
const MOSTLY_DEAD: u64 = 50;
/// Segments that go into one rewrite, so that their lines stay below 100 MB.
const TOGETHER: usize = 16;
/// A segment whose rewrite failed is left alone for so long.
const SORE_FOR: Duration = Duration::from_mins(10);
/// A segment whose rewrite freed nothing is left alone for so long: a TOMB that must stay weighs less than what is around it.
const SPARE_FOR: Duration = Duration::from_hours(1);
/// Rounds of the hand without any eviction after which everything is pinned: the first clears the bits, the second finds nothing,
/// the third has seen what was sealed meanwhile.
const IDLE_ROUNDS: u32 = 3;

/// What making room remembers. Its lock is held by whoever rewrites.
#[derive(Default)]
pub(crate) struct Reclaim {
    hand: Hand,
    /// Segments that could not be rewritten or would free nothing, and until when they are left alone.
    sore: HashMap<u32, Instant>,
}

/// Room that was promised to somebody, until it is dropped.
pub(crate) struct Reserved {
    bytes: u64,
    all: Arc<AtomicU64>,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Inner {
    /// Bytes taken on disk, arriving, and promised.
    pub(crate) fn used(&self) -> u64 {
        self.log.bytes().saturating_add(self.drafts.load(Ordering::Relaxed)).saturating_add(self.reserved.load(Ordering::Relaxed))
    }

    /// Whether `more` bytes may come in beside what is stored and what is arriving. Wakes whoever makes room.
    pub(crate) fn admit(&self, more: u64) -> Result<(), Error> {
        let used = self.used();
        if self.gate.is_tight(used.saturating_add(more)) {
            self.wanted.fetch_max(more, Ordering::Relaxed);
            self.wake.notify_one();
        }
        self.gate.admit(used, more)
    }

    /// Whether `more` bytes may come in, perhaps after room has been made for them.
    pub(crate) fn may_admit(&self, more: u64) -> Result<(), Error> {
        match self.admit(more) {
            Err(Error::Full) if !self.gate.is_latched() && !self.gate.is_stuck() && self.gate.admit(0, more).is_ok() => Ok(()),
            admitted => admitted,
        }
    }

    /// Promises room for `more` bytes, making it when there is none. Blocking.
    ///
    /// # Errors
    /// `Full` when everything else is pinned; `ReadOnly`.
    pub(crate) fn make_room(&self, more: u64) -> Result<Reserved, Error> {
        loop {
            match self.try_reserve(|used| self.gate.admit(used, more), more) {
                Err(Error::Full) => {}
                done => return done,
            }
            let mut reclaim = self.rewriting.lock();
            // Another may have made it meanwhile.
            if self.gate.admit(self.used(), more).is_err()
                && (self.gate.admit(0, more).is_err() || !self.reclaim_with(&mut reclaim, more)?)
            {
                return Err(Error::Full);
            }
        }
    }

    /// Promises room for copies, which may use the reserve.
    pub(crate) fn reserve_for_copies(&self, bytes: u64) -> Result<Reserved, Error> {
        self.try_reserve(|used| if used.saturating_add(bytes) > self.gate.limit() { Err(Error::Full) } else { Ok(()) }, bytes)
    }

    fn try_reserve(&self, fits: impl FnOnce(u64) -> Result<(), Error>, bytes: u64) -> Result<Reserved, Error> {
        let _one = self.reserving.lock();
        fits(self.used())?;
        self.reserved.fetch_add(bytes, Ordering::Relaxed);
        Ok(Reserved { bytes, all: Arc::clone(&self.reserved) })
    }

    /// Makes room when it is tight. Whether anything was freed. Blocking.
    ///
    /// # Errors
    /// `Disk`, `ReadOnly`.
    pub(crate) fn reclaim(&self) -> Result<bool, Error> {
        let wanted = self.wanted.swap(0, Ordering::Relaxed);
        if self.gate.writable().is_err() || !self.gate.is_tight(self.used().saturating_add(wanted)) || self.gate.is_stuck() {
            return Ok(false);
        }
        self.reclaim_with(&mut self.rewriting.lock(), wanted)
    }

    /// Frees until the goal is reached or everything left is pinned. Whether there is more room than before.
    fn reclaim_with(&self, reclaim: &mut Reclaim, wanted: u64) -> Result<bool, Error> {
        if self.gate.is_stuck() {
            return Ok(false);
        }
        let before = self.log.bytes();
        reclaim.hand.idle = 0;
        self.remove_whole()?;
        while self.used() > self.gate.goal(wanted) {
            if self.rewrite_some(reclaim, MOSTLY_DEAD)? {
                continue;
            }
            if !self.evict_some(reclaim) {
                if self.log.bytes() >= before && self.gate.stick() {
                    tracing::warn!(
                        "the store is full and nothing in it can go: nothing new is kept; let a pack go, raise store.quota, or make room on the disk"
                    );
                }
                break;
            }
            self.remove_whole()?;
        }
        let freed = self.log.bytes() < before;
        if freed {
            self.gate.freed();
        }
        Ok(freed)
    }

    /// Evicts as much as a segment holds. Whether the hand may still find something.
    fn evict_some(&self, reclaim: &mut Reclaim) -> bool {
        let enough = self.log.segment_size();
        let (mut freed, mut moves) = (0_u64, 0);
        loop {
            let moved = self.move_hand(&mut reclaim.hand, enough.saturating_sub(freed));
            freed += moved.map_or(0, |(_, bytes)| bytes);
            if reclaim.hand.idle >= IDLE_ROUNDS {
                // All that a small store holds may be less than is enough: what has just been evicted is there to be rewritten.
                return freed > 0;
            }
            moves += 1;
            if freed >= enough || moves >= TOGETHER && moved.is_some_and(|(evicted, _)| evicted > 0) {
                return true;
            }
        }
    }

    /// Rewrites those sealed segments of which at least `dead` percent are dead, as many as make one. Whether there were any.
    ///
    /// # Errors
    /// `Disk`, `ReadOnly`.
    pub(crate) fn rewrite_some(&self, reclaim: &mut Reclaim, dead: u64) -> Result<bool, Error> {
        for lane in [Lane::Main, Lane::Parts] {
            let mut picked = self.pick(reclaim, lane, dead);
            // Without room for all that is alive in them, fewer.
            while !picked.is_empty() {
                match self.rewrite_alone(&picked, None) {
                    Ok(done) if done.written < done.removed => return Ok(true),
                    // A TOMB that still hides something stays: alone it would be rewritten for ever.
                    Ok(done) => {
                        let until = self.clock.steady() + SPARE_FOR;
                        reclaim.sore.extend(picked.iter().chain(&done.outputs).map(|number| (*number, until)));
                        picked = self.pick(reclaim, lane, dead);
                    }
                    Err(Error::Full) if self.free_ballast() => {}
                    Err(Error::Full) => picked.truncate(picked.len() / 2),
                    Err(Error::ReadOnly) => return Err(Error::ReadOnly),
                    Err(error) => {
                        let until = self.clock.steady() + SORE_FOR;
                        reclaim.sore.extend(picked.iter().map(|number| (*number, until)));
                        tracing::warn!(%error, segments = ?picked, "segments could not be rewritten and are left for now");
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
    }

    fn pick(&self, reclaim: &mut Reclaim, lane: Lane, dead: u64) -> Vec<u32> {
        let now = self.clock.steady();
        reclaim.sore.retain(|_, until| *until > now);
        let live = self.log.table().read().live_bytes();
        let alive = |number: u32, segment: &Segment| segment.alive(live.get(&number).copied().unwrap_or(0));
        let mut picked: Vec<(u32, u64, u64)> = Vec::new();
        for (number, segment) in self.log.segments() {
            let apart = segment.lane != lane || segment.alone.is_some() || reclaim.sore.contains_key(&number);
            if apart || !segment.is_done() {
                continue;
            }
            // What cannot be read now cannot be rewritten either.
            let Ok(Some(segment)) = self.log.weighed(number) else { continue };
            let (alive, bytes) = (alive(number, &segment), segment.bytes.max(1));
            if (bytes - alive.min(bytes)) * 100 >= bytes * dead {
                picked.push((number, alive, bytes));
            }
        }
        picked.sort_by_key(|(_, alive, bytes)| alive.saturating_mul(1000) / bytes);
        let (mut sum, most) = (0, self.log.segment_size());
        let fits = |(n, picked): &(usize, (u32, u64, u64))| {
            sum += picked.1;
            *n == 0 || *n < TOGETHER && sum <= most
        };
        picked.into_iter().enumerate().take_while(fits).map(|(_, (number, ..))| number).collect()
    }

    /// Removes segments of parts that have become whole and of large bodies out of use. The caller holds the lock of whoever
    /// rewrites, since copies that nothing leads to yet look the same.
    pub(crate) fn remove_whole(&self) -> Result<(), Error> {
        let (dead, unused) = (self.log.dead(), self.log.unused());
        if dead.is_empty() && unused.is_empty() {
            return Ok(());
        }
        self.log.sync()?;
        self.log.remove(&dead)?;
        match self.keep_hidden(&unused) {
            // They stay until there is room to say what they hide.
            Err(Error::Full) => return Ok(()),
            done => done?,
        }
        for (number, object) in unused {
            let bytes = self.log.bytes();
            if self.log.remove_unused(number, &object)? {
                self.meters.reclaimed.inc_by(bytes.saturating_sub(self.log.bytes()));
            }
        }
        Ok(())
    }
}
