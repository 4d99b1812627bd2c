//! What time it is, by what the schools have told: a server whose battery is flat believes any year.
//!
//! An hour that a node told, and that the hub took at that time by its own clock, has been: two clocks agree. The second newest such hour
//! (so that no single box can move it) is where one looks back from when old records are let go, and the hub's clock is never a day
//! before it. While it is, uploads wait at the schools: what would be taken now would be dated wrongly for good.

use crate::base::clock::{Clock, Time};
use crate::hub::facts::{AHEAD, Moment};
use crate::hub::keep::{self, Keep, Latest};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// Of how many nodes the newest is believed alone: where there are but two, one of them may be gone for good.
const FEW: usize = 2;

/// Remembers the end of what has been told. Cheap to clone; clones share it.
#[derive(Clone)]
pub(crate) struct Witness {
    clock: Clock,
    /// µs since 1970.
    told: Arc<AtomicI64>,
}

impl Witness {
    /// Of a hub that is about to start.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn open(keep: &dyn Keep, clock: Clock) -> Result<Witness, keep::Error> {
        let witness = Witness { clock, told: Arc::new(AtomicI64::new(Time::MAX.micros())) };
        witness.refresh(keep).await?;
        Ok(witness)
    }

    /// Reads what has been told since.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn refresh(&self, keep: &dyn Keep) -> Result<(), keep::Error> {
        let Some(told) = told(&keep.latest().await?) else { return Ok(()) };
        self.told.store(told.micros(), Ordering::Relaxed);
        self.clock.raise_floor(told.minus(AHEAD));
        Ok(())
    }

    /// Now, and from where one looks back.
    pub(crate) fn moment(&self) -> Moment {
        let now = self.clock.now();
        Moment { now, told: now.min(Time::from_micros(self.told.load(Ordering::Relaxed))) }
    }

    /// Whether the clock is not before what has been told.
    pub(crate) fn is_right(&self) -> bool {
        self.clock.trusted()
    }
}

/// Until when schools have told, by two clocks each; `None`: nobody has told an hour.
fn told(latest: &[Latest]) -> Option<Time> {
    let both = |latest: &Latest| {
        let glance = latest.glance.as_ref().filter(|glance| glance.clock_ok)?;
        Some(latest.heard.min(Time::from_micros(glance.ended)))
    };
    let mut told: Vec<Time> = latest.iter().filter_map(both).collect();
    told.sort_unstable_by(|a, b| b.cmp(a));
    told.get(usize::from(told.len() > FEW)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::figures::Glance;
    use std::time::Duration;

    const NOW: Time = Time::from_secs(1_795_496_400);

    /// Heard, and its hour ended, so many hours from now.
    fn node(heard: i64, ended: i64, clock_ok: bool) -> Latest {
        let at = |hours: i64| Time::from_secs(NOW.secs() + hours * 3_600);
        let glance = Glance { ended: at(ended).micros(), clock_ok, ..Glance::default() };
        Latest { node: String::new(), heard: at(heard), records: 1, glance: Some(glance) }
    }

    #[test]
    fn two_clocks_and_two_boxes_must_agree() {
        let hours = |latest: &[Latest]| told(latest).map(|told| (told.secs() - NOW.secs()) / 3_600);
        let silent = Latest { glance: None, ..node(0, 0, true) };
        assert_eq!(hours(&[]), None);
        assert_eq!(hours(std::slice::from_ref(&silent)), None);
        assert_eq!(hours(&[node(0, -1, true)]), Some(-1));
        assert_eq!(hours(&[node(-3, 90_000, true)]), Some(-3), "a box that is ahead");
        assert_eq!(hours(&[node(90_000, -2, true)]), Some(-2), "a hub that was ahead");
        assert_eq!(hours(&[node(0, -1, false), node(-9, -10, true), silent]), Some(-10), "a box that does not believe itself");
        assert_eq!(hours(&[node(0, -1, true), node(-900, -900, true)]), Some(-1), "one of two is gone for good");
        assert_eq!(hours(&[node(90_000, 90_000, true), node(0, -1, true), node(-5, -6, true)]), Some(-1), "both were ahead once");
    }

    #[tokio::test]
    async fn a_clock_behind_is_not_believed_and_one_ahead_makes_nothing_old() {
        let keep = keep::open(&keep::Place::Memory).await.expect("opens");
        let clock = Clock::manual(NOW);
        let witness = Witness::open(&*keep, clock.clone()).await.expect("reads");
        assert_eq!((witness.moment(), witness.is_right()), (NOW.into(), true), "nobody has told anything");
        witness.told.store(NOW.micros(), Ordering::Relaxed);
        clock.raise_floor(NOW.minus(AHEAD));
        let day = i64::try_from(AHEAD.as_micros()).expect("fits");
        clock.jump(9 * day);
        assert_eq!(witness.moment(), Moment { now: NOW.plus(AHEAD * 9), told: NOW });
        clock.jump(-10 * day);
        assert_eq!((witness.moment(), witness.is_right()), (NOW.minus(AHEAD).into(), true));
        clock.jump(-day);
        assert!(!witness.is_right());
        assert_eq!(witness.moment(), NOW.minus(AHEAD).plus(Duration::ZERO).into(), "it goes on from what is known");
    }
}
