//! up | slow | down, with hysteresis. Pure: events and the steady time come in, a verdict comes out.
//!
//! Without a check list hosts decide: *down* when every host tried within `WINDOW` failed and there were at least `ENOUGH` attempts, *up*
//! at the first success. A host's latest attempt is what counts for it. With a check list only whole rounds bring the line down
//! (`ROUNDS` in a row without any answer), while any success brings it up.
//!
//! # Whose failure counts
//! Anybody can name hosts that do not answer, and as many as he likes. Once some have answered, a fetch that fails only makes the line
//! suspect, and those that answered lately are asked ([`Judge::failed`]); fetches alone say *down* where `ENOUGH` of these have failed
//! ([`Judge::missed`]).

use crate::link::State;
use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// Attempts older than this say nothing about now.
pub const WINDOW: Duration = Duration::from_secs(5);
/// Fewer failures than this are one host's bad moment.
pub const ENOUGH: usize = 2;
/// Check rounds in a row that must fail as a whole: one lost packet per host is ordinary on a satellite line.
pub const ROUNDS: u32 = 2;
/// How long a line must look slow before it is called so, and fine before it is no longer: pages must not flap.
pub const SLOW_AFTER: Duration = Duration::from_secs(30);
/// See [`SLOW_AFTER`].
pub const FINE_AFTER: Duration = Duration::from_mins(1);
/// At most this many attempts are remembered; a class opening pages makes a few dozen in [`WINDOW`].
const MOST: usize = 64;

/// What came of trying a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Worked,
    /// It had answered lately.
    Failed,
    /// It had not, so that its silence may be all its own.
    Missed,
}

#[derive(Debug)]
struct Attempt {
    when: Instant,
    host: Box<str>,
    outcome: Outcome,
}

/// Judges the line.
#[derive(Debug)]
pub struct Judge {
    state: State,
    since: Instant,
    attempts: VecDeque<Attempt>,
    /// Whether rounds decide about *down*.
    checked: bool,
    failed_rounds: u32,
    slow_since: Option<Instant>,
    fine_since: Option<Instant>,
}

impl Judge {
    /// Nothing known yet; `checked` when there is a check list.
    pub fn new(checked: bool, now: Instant) -> Judge {
        let attempts = VecDeque::new();
        Judge { state: State::Unknown, since: now, attempts, checked, failed_rounds: 0, slow_since: None, fine_since: None }
    }

    /// The verdict.
    pub fn state(&self) -> State {
        self.state
    }

    /// `host` answered.
    pub fn worked(&mut self, host: &str, now: Instant) {
        self.note(host, now, Outcome::Worked);
        self.failed_rounds = 0;
        if matches!(self.state, State::Unknown | State::Down) {
            self.turn(State::Up, now);
        }
    }

    /// `host` was asked how the line is, or there is none that could be, and did not answer.
    pub fn failed(&mut self, host: &str, now: Instant) {
        self.note(host, now, Outcome::Failed);
        let failures = self.attempts.iter().filter(|attempt| attempt.outcome != Outcome::Worked).count();
        self.weigh(failures, now);
    }

    /// A fetch from `host` failed, while there are hosts that answered lately; `known`: it is one of them.
    pub fn missed(&mut self, host: &str, known: bool, now: Instant) {
        self.note(host, now, if known { Outcome::Failed } else { Outcome::Missed });
        let failed = self.attempts.iter().filter(|attempt| attempt.outcome == Outcome::Failed);
        let hosts = failed.map(|attempt| &*attempt.host).collect::<BTreeSet<_>>().len();
        self.weigh(hosts, now);
    }

    fn weigh(&mut self, failures: usize, now: Instant) {
        let latest = |host: &str| self.attempts.iter().rev().find(|attempt| &*attempt.host == host).map(|attempt| attempt.outcome);
        let any_works = self.attempts.iter().any(|attempt| latest(&attempt.host) == Some(Outcome::Worked));
        if !self.checked && !any_works && failures >= ENOUGH {
            self.turn(State::Down, now);
        }
    }

    /// A round over the whole check list is over; `answered`: at least one did.
    pub fn round(&mut self, answered: bool, now: Instant) {
        if answered {
            self.worked("check", now);
            return;
        }
        self.failed_rounds += 1;
        if self.failed_rounds >= ROUNDS {
            self.turn(State::Down, now);
        }
    }

    /// Called every second: whether the figures look slow right now. Down stays down until something works: who has nothing to
    /// probe with has learned nothing, and the class must not wait anew every few seconds.
    pub fn tick(&mut self, looks_slow: bool, now: Instant) {
        match self.state {
            State::Up if looks_slow => {
                let since = *self.slow_since.get_or_insert(now);
                if now.saturating_duration_since(since) >= SLOW_AFTER {
                    self.turn(State::Slow, now);
                }
            }
            State::Slow if !looks_slow => {
                let since = *self.fine_since.get_or_insert(now);
                if now.saturating_duration_since(since) >= FINE_AFTER {
                    self.turn(State::Up, now);
                }
            }
            _ => (self.slow_since, self.fine_since) = (None, None),
        }
    }

    fn note(&mut self, host: &str, now: Instant, outcome: Outcome) {
        let old = |when: Instant| now.saturating_duration_since(when) > WINDOW;
        while self.attempts.front().is_some_and(|attempt| old(attempt.when)) || self.attempts.len() >= MOST {
            self.attempts.pop_front();
        }
        self.attempts.push_back(Attempt { when: now, host: host.into(), outcome });
    }

    fn turn(&mut self, state: State, now: Instant) {
        if self.state != state {
            (self.state, self.since) = (state, now);
            (self.slow_since, self.fine_since) = (None, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::{Clock, Time};

    fn start() -> Instant {
        Clock::manual(Time::BUILT).steady()
    }

    #[test]
    fn two_failures_within_five_seconds_and_nothing_else_mean_down() {
        let (now, second) = (start(), Duration::from_secs(1));
        let mut judge = Judge::new(false, now);
        judge.failed("a", now);
        assert_eq!(judge.state(), State::Unknown, "one failure is one host");
        judge.failed("a", now + second * 6);
        assert_eq!(judge.state(), State::Unknown, "too far apart");
        judge.failed("a", now + second * 7);
        assert_eq!(judge.state(), State::Down);
        judge.worked("b", now + second * 8);
        assert_eq!(judge.state(), State::Up, "up at the first success");
        judge.failed("a", now + second * 9);
        judge.failed("a", now + second * 10);
        assert_eq!(judge.state(), State::Up, "a success within the window speaks against it");
        judge.failed("a", now + second * 14);
        assert_eq!(judge.state(), State::Down, "the success is too old now");
        judge.worked("a", now + second * 15);
        judge.failed("a", now + second * 16);
        assert_eq!(judge.state(), State::Down, "the one host that worked does not any more");
    }

    #[test]
    fn fetches_alone_need_two_hosts_that_answered_lately() {
        let (now, second) = (start(), Duration::from_secs(1));
        let mut judge = Judge::new(false, now);
        judge.worked("a", now);
        let later = now + WINDOW + second;
        for host in ["x", "x", "y", "z"] {
            judge.missed(host, false, later);
        }
        for _ in 0..10 {
            judge.missed("a", true, later);
        }
        assert_eq!(judge.state(), State::Up, "whoever never answered says nothing, and one host is one host");
        judge.missed("b", true, later);
        assert_eq!(judge.state(), State::Down);

        let mut judge = Judge::new(false, now);
        judge.worked("a", now);
        judge.missed("x", false, later);
        judge.failed("a", later + second);
        assert_eq!(judge.state(), State::Down, "who was asked for a second opinion has none either");
    }

    #[test]
    fn down_stays_down_until_something_works() {
        let now = start();
        let mut judge = Judge::new(false, now);
        judge.failed("a", now);
        judge.failed("a", now);
        for minute in 0..60 {
            judge.tick(minute % 2 == 0, now + Duration::from_mins(minute));
            assert_eq!(judge.state(), State::Down);
        }
        judge.worked("b", now + Duration::from_hours(1));
        assert_eq!(judge.state(), State::Up);
    }

    #[test]
    fn with_a_check_list_rounds_decide() {
        let now = start();
        let mut judge = Judge::new(true, now);
        judge.round(true, now);
        for _ in 0..10 {
            judge.failed("a", now);
        }
        assert_eq!(judge.state(), State::Up);
        judge.round(false, now);
        assert_eq!(judge.state(), State::Up);
        judge.round(false, now);
        assert_eq!(judge.state(), State::Down);
        judge.worked("b", now);
        judge.round(false, now);
        assert_eq!(judge.state(), State::Up, "a success starts the count again");
    }

    #[test]
    fn slow_needs_to_last_and_so_does_fine() {
        let (mut now, second) = (start(), Duration::from_secs(1));
        let mut judge = Judge::new(false, now);
        judge.worked("b", now);
        let mut seen = Vec::new();
        for step in 0..200_u32 {
            // A spell of 20 s that must not count, then 60 s that must.
            judge.tick((10..30).contains(&step) || (40..100).contains(&step), now);
            if seen.last().is_none_or(|(_, state)| *state != judge.state()) {
                seen.push((step, judge.state()));
            }
            now += second;
        }
        assert_eq!(seen, [(0, State::Up), (70, State::Slow), (160, State::Up)]);
    }
}
