//! What time it is, by what the schools have told: a server whose battery is flat believes any year.
//!
//! An hour that a node told, and that the hub took at that time by its own clock, has been: two clocks agree. The second newest such hour
//! (so that no single box can move it) is where one looks back from when old records are let go, and the hub's clock is never a day
//! before it. While it is, uploads wait at the schools: what would be taken now would be dated wrongly for good.
//!
//! That hour says nothing of the time since: a server that was off for days goes on with the clock of its last shutdown. So those that
//! speak now are heard too. What a node tells of a day that by the hub's clock has not come waits at that node, for long when most do so.
//! Where one or two nodes are all there are, what they say now counts and not what they said: once wrong would be wrong for ever.

use crate::base::clock::{Clock, Time};
use crate::hub::accept::Judged;
use crate::hub::facts::{AHEAD, Moment};
use crate::hub::keep::{self, Keep, Latest};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

/// Of how many nodes the newest is believed alone: where there are but two, one of them may be gone for good.
const FEW: usize = 2;

/// How long a node waits whose clock seems to be ahead: nodes report hourly, so by then most others have shown whose clock is wrong.
const DOUBT: Duration = Duration::from_hours(2);

/// How long nodes wait where most seem to be ahead: a month less than their outboxes hold.
const PATIENCE: Duration = Duration::from_hours(60 * 24);

/// Remembers the end of what has been told. Cheap to clone; clones share it.
#[derive(Clone)]
pub(crate) struct Witness {
    clock: Clock,
    /// µs since 1970.
    told: Arc<AtomicI64>,
    voices: Arc<Mutex<Voices>>,
}

/// What nodes say of the time since the start. Only nodes of the roll are heard, so there are no more of them than that holds.
#[derive(Default)]
struct Voices {
    /// Whether all that have ever told are [`FEW`].
    few: bool,
    ahead: HashMap<String, Ahead>,
    fitting: HashSet<String>,
}

/// A node that tells of a day that has not come.
struct Ahead {
    end: Time,
    since: Instant,
}

impl Voices {
    /// Hears until when a node tells. Whether that must wait.
    fn hear(&mut self, node: &str, end: Time, (now, steady): (Time, Instant)) -> bool {
        self.ahead.retain(|_, ahead| is_ahead(ahead.end, now));
        if !is_ahead(end, now) {
            self.ahead.remove(node);
            self.fitting.insert(node.to_owned());
            return false;
        }
        self.fitting.remove(node);
        let ahead = self.ahead.entry(node.to_owned()).or_insert(Ahead { end, since: steady });
        ahead.end = end;
        let waited = steady.saturating_duration_since(ahead.since);
        waited < if self.are_ahead(now) { PATIENCE } else { DOUBT }
    }

    /// Whether most are ahead, and more than one where there are more.
    fn are_ahead(&self, now: Time) -> bool {
        let ahead = self.ahead.values().filter(|ahead| is_ahead(ahead.end, now)).count();
        ahead > self.fitting.len() && (ahead > 1 || self.few)
    }
}

fn is_ahead(end: Time, now: Time) -> bool {
    end > now.plus(AHEAD)
}

impl Witness {
    /// Of a hub that is about to start.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn open(keep: &dyn Keep, clock: Clock) -> Result<Witness, keep::Error> {
        let voices = Arc::new(Mutex::new(Voices { few: true, ..Voices::default() }));
        let witness = Witness { clock, told: Arc::new(AtomicI64::new(Time::MAX.micros())), voices };
        witness.refresh(keep).await?;
        Ok(witness)
    }

    /// Reads what has been told since.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn refresh(&self, keep: &dyn Keep) -> Result<(), keep::Error> {
        let Some((told, few)) = told(&keep.latest().await?) else { return Ok(()) };
        self.told.store(told.micros(), Ordering::Relaxed);
        self.voices.lock().few = few;
        if !few {
            self.clock.raise_floor(told.minus(AHEAD));
        }
        Ok(())
    }

    /// Now, and from where one looks back.
    pub(crate) fn moment(&self) -> Moment {
        let now = self.clock.now();
        Moment { now, told: now.min(self.told()) }
    }

    /// Whether the clock is neither before what has been told nor before what most tell now.
    pub(crate) fn is_right(&self) -> bool {
        let (now, told, voices) = (self.clock.now(), self.told(), self.voices.lock());
        let doubtful = told != Time::MAX && is_ahead(told, now) && voices.fitting.is_empty();
        self.clock.trusted() && !doubtful && !voices.are_ahead(now)
    }

    /// Whether nothing at all may be taken: several have told of a later day.
    pub(crate) fn is_refuted(&self) -> bool {
        !self.clock.trusted()
    }

    /// Hears an upload. Whether it must wait: the clock is behind, or its node's is ahead.
    pub(crate) fn must_wait(&self, judged: &Judged) -> bool {
        if self.is_refuted() {
            return true;
        }
        let end = judged.fresh.iter().filter(|fresh| fresh.clock_ok).map(|fresh| fresh.end).max();
        end.is_some_and(|end| self.voices.lock().hear(&judged.node, end, (self.clock.now(), self.clock.steady())))
    }

    fn told(&self) -> Time {
        Time::from_micros(self.told.load(Ordering::Relaxed))
    }
}

/// Until when schools have told, by two clocks each, and whether they are few; `None`: nobody has told an hour.
fn told(latest: &[Latest]) -> Option<(Time, bool)> {
    let both = |latest: &Latest| {
        let glance = latest.glance.as_ref().filter(|glance| glance.clock_ok)?;
        Some(latest.heard.min(Time::from_micros(glance.ended)))
    };
    let mut told: Vec<Time> = latest.iter().filter_map(both).collect();
    told.sort_unstable_by(|a, b| b.cmp(a));
    let few = told.len() <= FEW;
    told.get(usize::from(!few)).map(|told| (*told, few))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::figures::Glance;

    const NOW: Time = Time::from_secs(1_795_496_400);

    /// Heard, and its hour ended, so many hours from now.
    fn node(heard: i64, ended: i64, clock_ok: bool) -> Latest {
        let at = |hours: i64| Time::from_secs(NOW.secs() + hours * 3_600);
        let glance = Glance { ended: at(ended).micros(), clock_ok, ..Glance::default() };
        Latest { node: String::new(), heard: at(heard), records: 1, glance: Some(glance) }
    }

    #[test]
    fn two_clocks_and_two_boxes_must_agree() {
        let hours = |latest: &[Latest]| told(latest).map(|(told, _)| (told.secs() - NOW.secs()) / 3_600);
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

    #[test]
    fn a_node_that_is_ahead_waits_until_the_others_have_spoken() {
        let hours = |hours: u64| Duration::from_hours(hours);
        let clock = Clock::manual(NOW);
        let mut voices = Voices::default();
        let mut hear = |node: &str, ahead: u64| {
            let now = (clock.now(), clock.steady());
            (voices.hear(node, now.0.plus(hours(ahead)), now), voices.are_ahead(now.0))
        };
        assert_eq!(hear("a", 24), (false, false), "a day is believed");
        assert_eq!(hear("b", 72), (true, false));
        assert_eq!(hear("c", 0), (false, false));
        clock.advance(DOUBT);
        assert_eq!(hear("b", 72), (false, false), "it is alone with its date");
        assert_eq!(hear("a", 72), (true, true), "two of three: it is the hub");
        assert_eq!(hear("c", 72), (true, true));
        clock.advance(hours(24));
        assert_eq!(hear("c", 72), (true, true));
        assert_eq!(hear("d", 0), (false, true), "what fits is taken");
        clock.jump(i64::try_from(hours(48).as_micros()).expect("fits"));
        assert_eq!(hear("a", 1), (false, false), "the clock was set");
        let mut few = Voices { few: true, ..Voices::default() };
        assert!(few.hear("a", NOW.plus(hours(72)), (NOW, clock.steady())) && few.are_ahead(NOW), "there is nobody else");
        clock.advance(PATIENCE);
        assert!(!few.hear("a", NOW.plus(hours(72)), (NOW, clock.steady())), "its outbox must not overflow");
    }
}
