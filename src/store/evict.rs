//! Who may come in, and who leaves first (`evict/hand.rs`). The limit is the quota, or what the file system leaves when others
//! fill it: the cache then shrinks. At 90 % of the limit room is made, at 95 % nothing is admitted; what is above is the
//! reserve for rewriting.

/// SIEVE over the log.
mod hand;

/// Making room.
mod reclaim;

#[cfg(test)]
mod tests;

pub(crate) use reclaim::Reclaim;

use crate::base::clock::Clock;
use crate::store::Error;
use crate::store::disk::{is_full, is_read_only};
use parking_lot::Mutex;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// After the disk said that it is full, try again after this long: somebody may have made room.
const FULL_FOR: Duration = Duration::from_secs(30);
/// After everything turned out to be pinned, look again after this long; letting a pin go or forgetting ends it sooner.
const STUCK_FOR: Duration = Duration::from_mins(10);
/// Percent of the limit at which nothing new is admitted, at which room is made, and to which.
const ADMIT: u64 = 95;
const TIGHT: u64 = 90;
const GOAL: u64 = 88;
/// One in so many bytes of the file system is left free for others.
const LEFT_FREE: u64 = 20;
/// One in so many bytes of the room more, and it is worth while to look again: logs come and go.
const MORE: u64 = 100;
/// After the disk said that it is read-only, try again after this long: somebody may have remounted it.
const READ_ONLY_FOR: Duration = Duration::from_mins(1);

#[derive(Default)]
struct State {
    full_until: Option<Instant>,
    read_only_until: Option<Instant>,
    /// Opened without being able to write, or the disk failed a sync twice: stays so.
    read_only: bool,
    /// Most bytes that the file system lets the store have, when last looked at.
    room: Option<u64>,
    /// (free, total) bytes of the file system then.
    space: Option<(u64, u64)>,
    stuck_until: Option<Instant>,
    /// Said that everything is pinned, and nothing has been evicted since.
    said: bool,
}

/// Keeps the verdict on writing.
pub(crate) struct Gate {
    clock: Clock,
    quota: u64,
    state: Mutex<State>,
    /// Said that the disk is full, and nothing has been written since.
    full_said: AtomicBool,
}

impl Gate {
    /// A gate for a store of at most `quota` bytes.
    pub(crate) fn new(clock: Clock, quota: u64, read_only: bool) -> Gate {
        Gate { clock, quota, state: Mutex::new(State { read_only, ..State::default() }), full_said: AtomicBool::new(false) }
    }

    /// Whether the folder can be written.
    pub(crate) fn writable(&self) -> Result<(), Error> {
        let state = self.state.lock();
        if state.read_only || state.read_only_until.is_some_and(|until| self.clock.steady() < until) {
            Err(Error::ReadOnly)
        } else {
            Ok(())
        }
    }

    /// Most bytes that the store may take.
    pub(crate) fn limit(&self) -> u64 {
        self.state.lock().room.map_or(self.quota, |room| room.min(self.quota))
    }

    /// How many bytes would be admitted beside the `used` ones.
    pub(crate) fn room(&self, used: u64) -> u64 {
        percent(self.limit(), ADMIT).saturating_sub(used)
    }

    /// Whether `expected` bytes may come in beside the `used` bytes on disk.
    pub(crate) fn admit(&self, used: u64, expected: u64) -> Result<(), Error> {
        self.writable()?;
        if self.is_latched() || used.saturating_add(expected) > percent(self.limit(), ADMIT) { Err(Error::Full) } else { Ok(()) }
    }

    /// The disk has just said that it is full.
    pub(crate) fn is_latched(&self) -> bool {
        let state = self.state.lock();
        state.full_until.is_some_and(|until| self.clock.steady() < until)
    }

    /// Whether room should be made beside `used` bytes.
    pub(crate) fn is_tight(&self, used: u64) -> bool {
        used > percent(self.limit(), TIGHT) || self.is_latched()
    }

    /// Bytes down to which room is made, so that `wanted` bytes fit.
    pub(crate) fn goal(&self, wanted: u64) -> u64 {
        let limit = self.limit();
        percent(limit, GOAL).min(percent(limit, ADMIT).saturating_sub(wanted))
    }

    /// Whether making room has lately come to nothing.
    pub(crate) fn is_stuck(&self) -> bool {
        self.state.lock().stuck_until.is_some_and(|until| self.clock.steady() < until)
    }

    /// Everything that is here is pinned. Whether that has to be said.
    pub(crate) fn stick(&self) -> bool {
        let mut state = self.state.lock();
        state.stuck_until = Some(self.clock.steady() + STUCK_FOR);
        !std::mem::replace(&mut state.said, true)
    }

    /// Something may be evicted again.
    pub(crate) fn loosen(&self) {
        self.state.lock().stuck_until = None;
    }

    /// Room was made.
    pub(crate) fn freed(&self) {
        let mut state = self.state.lock();
        (state.stuck_until, state.full_until, state.said) = (None, None, false);
    }

    /// The file system has `space` = (free, total) bytes (total 0: not known) while the store takes `used`.
    pub(crate) fn look(&self, space: (u64, u64), used: u64) {
        let (free, total) = space;
        let room = (total > 0).then(|| used.saturating_add(free).saturating_sub(total / LEFT_FREE));
        let mut state = self.state.lock();
        if room.zip(state.room).is_some_and(|(room, before)| room > before.saturating_add(before / MORE)) {
            // Others have made room: what could not be written for lack of it can be now.
            state.stuck_until = None;
        }
        state.room = room;
        state.space = Some(space).filter(|(_, total)| *total > 0);
    }

    /// (free, total) bytes of the file system, when last looked at.
    pub(crate) fn space(&self) -> Option<(u64, u64)> {
        self.state.lock().space
    }

    /// Nothing is written from now on.
    pub(crate) fn freeze(&self) {
        self.state.lock().read_only = true;
    }

    /// Something was written.
    pub(crate) fn wrote(&self) {
        if self.full_said.load(Ordering::Relaxed) && self.full_said.swap(false, Ordering::Relaxed) {
            tracing::info!("there is room on the disk again");
        }
    }

    /// Learns from an error of the disk, and says it in the store's words.
    pub(crate) fn note(&self, error: io::Error) -> Error {
        if is_full(&error) {
            self.state.lock().full_until = Some(self.clock.steady() + FULL_FOR);
            // Once, however often it is tried again.
            if !self.full_said.swap(true, Ordering::Relaxed) {
                tracing::warn!("the disk is full: nothing new is kept until there is room");
            }
            return Error::Full;
        }
        if is_read_only(&error) {
            self.state.lock().read_only_until = Some(self.clock.steady() + READ_ONLY_FOR);
            return Error::ReadOnly;
        }
        Error::Disk(error)
    }
}

fn percent(whole: u64, share: u64) -> u64 {
    whole / 100 * share + whole % 100 * share / 100
}
