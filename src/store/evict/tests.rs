//! The gate.

use super::*;
use crate::base::clock::Time;

#[test]
fn the_limit_follows_the_file_system_and_five_percent_are_left() {
    let gate = Gate::new(Clock::manual(Time::from_secs(0)), 1000, false);
    for (used, space, limit) in
        [(0, (0, 0), 1000), (400, (5_000, 10_000), 1000), (400, (800, 10_000), 700), (400, (100, 10_000), 0), (u64::MAX, (9, 10), 1000)]
    {
        gate.look(space, used);
        assert_eq!(gate.limit(), limit, "{used} {space:?}");
    }
    gate.look((0, 0), 0);
    for (used, expected, wanted) in [(0, 950, true), (0, 951, false), (940, 10, true), (u64::MAX, 10, false)] {
        assert_eq!(gate.admit(used, expected).is_ok(), wanted, "{used} {expected}");
    }
    assert_eq!((gate.is_tight(900), gate.is_tight(901)), (false, true));
    assert_eq!((gate.goal(0), gate.goal(70), gate.goal(100), gate.goal(2000)), (880, 880, 850, 0));
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

#[test]
fn that_everything_is_pinned_is_said_once_until_something_is_not() {
    let clock = Clock::manual(Time::from_secs(0));
    let gate = Gate::new(clock.clone(), 1000, false);
    assert!(gate.stick() && gate.is_stuck());
    clock.advance(STUCK_FOR);
    assert!(!gate.is_stuck() && !gate.stick());
    gate.loosen();
    assert!(!gate.is_stuck() && !gate.stick(), "looked again, still all pinned");
    gate.freed();
    assert!(gate.stick());
    // Somebody deletes files on the same disk: a little is not worth a look, much is.
    for (free, stuck) in [(10_000, true), (10_050, true), (9_000, true), (9_500, false)] {
        gate.look((free, 10_000), 0);
        assert_eq!(gate.is_stuck(), stuck, "{free} bytes are free");
    }
}
