//! What is amiss, and what of it is the cause of the rest. Pure: what dials, lookups and looks at interfaces have found comes in with
//! its moment, one sign comes out.
//!
//! ```text
//! interface_lost   the way out is gone; or nobody answers and there has been none since the start
//! line_down        the judge says so (`state`): nobody answers
//! names_down       no DNS server gives answers, and since then some address did
//! origin_down      a host that had answered is silent, and since then another one answered
//! ```
//!
//! The first that holds hides those below it. Names of hosts stay in memory, bounded, and go nowhere: of a host only the class is told.

use crate::link::outage::{CONFIRM, FORGET, Sign, What};
use crate::link::way::Out;
use std::collections::HashMap;
use std::time::Instant;

/// Hosts remembered; a class opens a few dozen in an hour.
const HOSTS: usize = 512;

/// Fewer attempts in vain are a lost packet.
const ENOUGH: u32 = 2;

/// Signs of the way out.
#[derive(Debug, Default)]
pub struct Causes {
    interface: Option<Instant>,
    /// There is no way out, and there was none when the node started.
    missing: bool,
    /// When a way out came back: what is dead from then on is the line.
    back: Option<Instant>,
    line: Option<Instant>,
    names: Option<Trouble>,
    hosts: HashMap<Box<str>, Host>,
    /// The last time that any address answered.
    answered: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Trouble {
    since: Instant,
    seen: Instant,
}

impl Trouble {
    /// It is seen now. What nobody has seen for long was another one.
    fn again(before: Option<Trouble>, now: Instant) -> Trouble {
        let since = before.filter(|before| before.is_fresh(now)).map_or(now, |before| before.since);
        Trouble { since, seen: now }
    }

    fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.seen) <= FORGET
    }
}

#[derive(Debug)]
struct Host {
    /// It has answered before: a name that was mistyped is no outage.
    proven: bool,
    used: Instant,
    failing: Option<(Trouble, u32)>,
}

impl Causes {
    /// `host` answered.
    pub fn answered(&mut self, host: &str, now: Instant) {
        self.answered = Some(now);
        let known = self.host(host, now);
        (known.proven, known.failing) = (true, None);
    }

    /// `host` did not answer.
    pub fn silent(&mut self, host: &str, now: Instant) {
        let known = self.host(host, now);
        let (before, times) = known.failing.filter(|(before, _)| before.is_fresh(now)).unzip();
        known.failing = Some((Trouble::again(before, now), times.map_or(1, |times: u32| times.saturating_add(1))));
    }

    /// Some DNS server gives answers, or none does.
    pub fn names(&mut self, heard: bool, now: Instant) {
        self.names = (!heard).then(|| Trouble::again(self.names, now));
    }

    /// The judge's verdict.
    pub fn line(&mut self, down: bool, now: Instant) {
        match (down, self.line) {
            (true, None) => self.line = Some(now),
            (false, Some(since)) => {
                self.line = None;
                if now.saturating_duration_since(since) >= CONFIRM {
                    // What was learned on a dead line counts no more.
                    self.names = None;
                    self.hosts.values_mut().for_each(|host| host.failing = None);
                }
            }
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// Whether there is a way out.
    pub fn interface(&mut self, out: Out, now: Instant) {
        if out == Out::There && (self.missing || self.interface.is_some()) {
            self.back = Some(now);
        }
        self.interface = if out == Out::Lost { self.interface.or(Some(now)) } else { None };
        self.missing = out == Out::Missing;
    }

    /// The cause of everything that is amiss now.
    pub fn sign(&self, now: Instant) -> Option<Sign<Instant>> {
        let sign = |what, since, seen| Sign { what, since, seen };
        if let Some(since) = self.interface {
            return Some(sign(What::InterfaceLost, since, now));
        }
        if let Some(since) = self.line {
            return Some(if self.missing {
                sign(What::InterfaceLost, since, now)
            } else {
                sign(What::LineDown, self.back.map_or(since, |back| back.max(since)), now)
            });
        }
        let counts = |trouble: &Trouble| trouble.is_fresh(now) && self.answered.is_some_and(|answered| answered >= trouble.since);
        if let Some(Trouble { since, seen }) = self.names.filter(counts) {
            return Some(sign(What::NamesDown, since, seen));
        }
        let troubles = self.hosts.values().filter(|host| host.proven).filter_map(|host| host.failing);
        let origins = troubles.filter(|(trouble, times)| *times >= ENOUGH && counts(trouble)).map(|(trouble, _)| trouble);
        let sum = |a: Trouble, b: Trouble| Trouble { since: a.since.min(b.since), seen: a.seen.max(b.seen) };
        origins.reduce(sum).map(|Trouble { since, seen }| sign(What::OriginDown, since, seen))
    }

    /// Whether anything points to trouble, sure or not: then it is worth looking more often.
    pub fn doubts(&self, now: Instant) -> bool {
        let names = self.names.is_some_and(|names| names.is_fresh(now));
        self.interface.is_some() || self.line.is_some() || names || self.sign(now).is_some()
    }

    fn host(&mut self, host: &str, now: Instant) -> &mut Host {
        if !self.hosts.contains_key(host) && self.hosts.len() >= HOSTS {
            // The half that was used last stays.
            let mut used: Vec<Instant> = self.hosts.values().map(|host| host.used).collect();
            used.sort_unstable();
            let middle = used[HOSTS / 2];
            self.hosts.retain(|_, host| host.used > middle);
            if self.hosts.len() >= HOSTS {
                self.hosts.clear();
            }
        }
        let known = self.hosts.entry(host.into()).or_insert(Host { proven: false, used: now, failing: None });
        known.used = now;
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::{Clock, Time};
    use std::time::Duration;

    fn start() -> Instant {
        Clock::manual(Time::BUILT).steady()
    }

    fn what(causes: &Causes, now: Instant) -> Option<What> {
        causes.sign(now).map(|sign| sign.what)
    }

    #[test]
    fn one_host_down_is_not_the_line_and_a_mistyped_name_is_nothing() {
        let (t, second) = (start(), Duration::from_secs(1));
        let mut causes = Causes::default();
        causes.answered("a.kz", t);
        causes.answered("b.kz", t);
        for step in 1..=3 {
            causes.silent("b.kz", t + second * step);
            causes.silent("mistyped.kz", t + second * step);
        }
        assert_eq!(what(&causes, t + second * 3), None, "nobody else has answered since");
        causes.answered("a.kz", t + second * 4);
        let sign = causes.sign(t + second * 5).expect("a sign");
        assert_eq!(sign, Sign { what: What::OriginDown, since: t + second, seen: t + second * 3 });
        causes.answered("b.kz", t + second * 6);
        assert_eq!(what(&causes, t + second * 6), None, "and the mistyped one never answered");
        causes.silent("b.kz", t + second * 7);
        causes.answered("a.kz", t + second * 8);
        assert_eq!(what(&causes, t + second * 8), None, "once is a lost packet");
        causes.silent("b.kz", t + second * 9);
        assert_eq!(what(&causes, t + second * 9), Some(What::OriginDown));
        assert_eq!(what(&causes, t + second * 10 + FORGET), None, "nobody has asked for long");
    }

    #[test]
    fn what_nobody_has_seen_for_long_is_not_the_beginning_of_what_is_seen_now() {
        let (t, second) = (start(), Duration::from_secs(1));
        let mut causes = Causes::default();
        causes.answered("a.kz", t);
        causes.answered("b.kz", t);
        causes.silent("b.kz", t + second);
        let later = t + second * 2 + FORGET;
        causes.silent("b.kz", later);
        causes.answered("a.kz", later + second);
        assert_eq!(what(&causes, later + second), None, "two lost packets hours apart");
        causes.silent("b.kz", later + second * 2);
        causes.answered("a.kz", later + second * 3);
        assert_eq!(causes.sign(later + second * 3).map(|sign| (sign.what, sign.since)), Some((What::OriginDown, later)));
        causes.names(false, t);
        causes.names(false, later + second * 4);
        causes.answered("b.kz", later + second * 5);
        assert_eq!(causes.sign(later + second * 5).map(|sign| (sign.what, sign.since)), Some((What::NamesDown, later + second * 4)));
    }

    #[test]
    fn dead_names_on_a_living_line_are_told_from_a_dead_line() {
        let (t, second) = (start(), Duration::from_secs(1));
        let mut causes = Causes::default();
        causes.answered("a.kz", t);
        causes.names(false, t + second);
        assert_eq!(what(&causes, t + second), None, "it may be the line");
        assert!(causes.doubts(t + second));
        causes.line(true, t + second * 2);
        assert_eq!(what(&causes, t + second * 2), Some(What::LineDown));
        // An address that answers shows that it was not; so short a time on a line that is taken for down changes nothing.
        causes.answered("a.kz", t + second * 4);
        causes.line(false, t + second * 4);
        assert_eq!(causes.sign(t + second * 5).map(|sign| (sign.what, sign.since)), Some((What::NamesDown, t + second)));
        causes.names(true, t + second * 6);
        assert_eq!(what(&causes, t + second * 6), None);
        // On a dead line names fail as well, and are not to blame when it is back.
        causes.names(false, t + second * 10);
        causes.line(true, t + second * 11);
        causes.silent("a.kz", t + second * 12);
        causes.silent("a.kz", t + second * 13);
        causes.answered("b.kz", t + second * 30);
        causes.line(false, t + second * 30);
        assert_eq!(what(&causes, t + second * 31), None);
        assert!(!causes.doubts(t + second * 31));
    }

    #[test]
    fn a_lost_interface_explains_everything() {
        let (t, second) = (start(), Duration::from_secs(1));
        let mut causes = Causes::default();
        causes.line(true, t);
        causes.interface(Out::Lost, t + second);
        causes.interface(Out::Lost, t + second * 9);
        assert_eq!(causes.sign(t + second * 9).map(|sign| (sign.what, sign.since)), Some((What::InterfaceLost, t + second)));
        causes.interface(Out::There, t + second * 10);
        assert_eq!(what(&causes, t + second * 10), Some(What::LineDown), "the way is back, and still nobody answers");
    }

    #[test]
    fn an_interface_that_is_missing_since_the_start_explains_a_dead_line_and_nothing_else() {
        let (t, second) = (start(), Duration::from_secs(1));
        let mut causes = Causes::default();
        causes.interface(Out::Missing, t);
        assert_eq!(what(&causes, t), None, "nobody has tried anything: it may be as it should");
        causes.line(true, t + second);
        causes.interface(Out::Missing, t + second * 2);
        assert_eq!(causes.sign(t + second * 2).map(|sign| (sign.what, sign.since)), Some((What::InterfaceLost, t + second)));
        causes.line(false, t + second * 3);
        assert_eq!(what(&causes, t + second * 3), None, "it works without");
        causes.line(true, t + second * 4);
        causes.interface(Out::There, t + second * 5);
        // The cable was not all of it: from then on it is the line.
        assert_eq!(causes.sign(t + second * 7).map(|sign| (sign.what, sign.since)), Some((What::LineDown, t + second * 5)));
    }

    #[test]
    fn hosts_are_bounded() {
        let t = start();
        let mut causes = Causes::default();
        for number in 0..HOSTS * 4 {
            causes.silent(&format!("{number}.kz"), t + Duration::from_millis(number as u64));
            assert!(causes.hosts.len() <= HOSTS);
        }
        let mut causes = Causes::default();
        for number in 0..HOSTS * 2 {
            causes.silent(&format!("{number}.kz"), t);
            assert!(causes.hosts.len() <= HOSTS, "all at once");
        }
    }
}
