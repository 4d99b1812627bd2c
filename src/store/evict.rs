//! Who may come in. Until eviction is here, the answer at the quota and at 95 % of the file system is: nobody new; what is
//! stored goes on being served. This is also the seam for who leaves first.

use crate::base::clock::Clock;
use crate::store::Error;
use crate::store::disk::{is_full, is_read_only};
use parking_lot::Mutex;
use std::io;
use std::time::{Duration, Instant};

/// After the disk said that it is full, try again after this long: somebody may have made room.
const FULL_FOR: Duration = Duration::from_secs(30);
/// After the disk said that it is read-only, try again after this long: somebody may have remounted it.
const READ_ONLY_FOR: Duration = Duration::from_mins(1);

#[derive(Default)]
struct State {
    full_until: Option<Instant>,
    read_only_until: Option<Instant>,
    /// Opened without being able to write, or the disk failed a sync twice: stays so.
    read_only: bool,
    /// (free, total) bytes of the file system when last looked at.
    space: (u64, u64),
}

/// Keeps the verdict on writing.
pub(crate) struct Gate {
    clock: Clock,
    quota: u64,
    state: Mutex<State>,
}

impl Gate {
    /// A gate for a store of at most `quota` bytes.
    pub(crate) fn new(clock: Clock, quota: u64, read_only: bool) -> Gate {
        Gate { clock, quota, state: Mutex::new(State { read_only, ..State::default() }) }
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

    /// Whether a body of `expected` bytes may come in beside the `used` bytes on disk.
    pub(crate) fn admit(&self, used: u64, expected: u64) -> Result<(), Error> {
        self.writable()?;
        let state = self.state.lock();
        let latched = state.full_until.is_some_and(|until| self.clock.steady() < until);
        if latched || !fits(used, expected, self.quota, state.space) { Err(Error::Full) } else { Ok(()) }
    }

    /// How many bytes would be admitted beside the `used` ones.
    pub(crate) fn room(&self, used: u64) -> u64 {
        let (free, total) = self.state.lock().space;
        let quota = self.quota.saturating_sub(used).saturating_sub(1);
        if total == 0 { quota } else { quota.min(free.saturating_sub(total / 20)) }
    }

    /// The file system was looked at.
    pub(crate) fn look(&self, space: (u64, u64)) {
        self.state.lock().space = space;
    }

    /// Nothing is written from now on.
    pub(crate) fn freeze(&self) {
        self.state.lock().read_only = true;
    }

    /// Learns from an error of the disk, and says it in the store's words.
    pub(crate) fn note(&self, error: io::Error) -> Error {
        if is_full(&error) {
            self.state.lock().full_until = Some(self.clock.steady() + FULL_FOR);
            return Error::Full;
        }
        if is_read_only(&error) {
            self.state.lock().read_only_until = Some(self.clock.steady() + READ_ONLY_FOR);
            return Error::ReadOnly;
        }
        Error::Disk(error)
    }
}

/// Below the quota and below 95 % of the file system (`space` is (free, total); total 0: not known).
fn fits(used: u64, expected: u64, quota: u64, space: (u64, u64)) -> bool {
    let (free, total) = space;
    used.saturating_add(expected) < quota && (total == 0 || free.saturating_sub(expected) >= total / 20)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Time;

    #[test]
    fn nothing_comes_in_at_the_quota_or_at_95_percent() {
        for (used, expected, space, wanted) in [
            (0, 10, (0, 0), true),
            (90, 10, (0, 0), false),
            (0, 10, (60, 1000), true),
            (0, 11, (60, 1000), false),
            (0, 0, (49, 1000), false),
            (u64::MAX, 10, (0, 0), false),
        ] {
            assert_eq!(fits(used, expected, 100, space), wanted, "{used} {expected} {space:?}");
        }
    }

    #[test]
    fn a_full_disk_and_a_read_only_one_are_tried_again_later() {
        let clock = Clock::manual(Time::from_secs(0));
        let gate = Gate::new(clock.clone(), 1000, false);
        assert!(matches!(gate.note(io::Error::from(io::ErrorKind::StorageFull)), Error::Full));
        assert!(matches!(gate.admit(0, 1), Err(Error::Full)));
        clock.advance(FULL_FOR);
        assert!(gate.admit(0, 1).is_ok());
        assert!(matches!(gate.note(io::Error::from(io::ErrorKind::ReadOnlyFilesystem)), Error::ReadOnly));
        assert!(matches!(gate.admit(0, 1), Err(Error::ReadOnly)));
        clock.advance(READ_ONLY_FOR);
        assert!(gate.admit(0, 1).is_ok());
        assert!(matches!(gate.note(io::Error::other("x")), Error::Disk(_)));
    }
}
