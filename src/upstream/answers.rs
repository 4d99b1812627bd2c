//! What is known of names, shared by all clients: answers with their time to live, denials, silence. Pure.
//!
//! Old answers outlive their time and are used when no server answers (RFC 8767): most hosts keep their addresses for months, and
//! a line that is down must not make every name hang. Silence has two sizes: one name's, and that of all servers, in which new
//! names are not asked for at all until a probe hears something.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Addresses of a name, in the order of the answer.
pub(super) type Addrs = Arc<[IpAddr]>;

/// An answer lives this long at least (a TTL of 0 would ask for every image of a page) and at most.
const LIFE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_hours(24));
/// A denial likewise; RFC 2308 section 5 allows up to 3 h, but teachers retry.
const DENIAL: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(5));
/// How long after its end an answer may still be used (RFC 8767 section 5 suggests 1 to 3 days; a weekend without power is longer).
const STALE: Duration = Duration::from_hours(7 * 24);
/// A name that nobody answered for is not waited for again for this long; doubles up to [`SILENT_MOST`].
const SILENT: Duration = Duration::from_secs(30);
/// See [`SILENT`].
const SILENT_MOST: Duration = Duration::from_mins(5);
/// Names remembered; a school meets some thousand a day.
const NAMES: usize = 8192;
/// So many go at once where room is needed: looking for the oldest each time would cost more than a few names.
const BATCH: usize = NAMES / 8;

/// What to do about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Use these.
    Known(Addrs),
    /// There is no such name.
    Denied(String),
    /// No server answers, now or a moment ago; the name need not be waited for. The addresses are old ones, where there are any.
    Silent(Option<Addrs>),
    /// Ask. With old addresses, or after silence, the caller waits only a little.
    Ask { stale: Option<Addrs>, was_silent: bool },
}

/// So many names that were answered for fail, and it is more than one broken zone.
const SEVERAL: usize = 2;
/// A failure counts for so long after it is asked about again.
const LATELY: Duration = Duration::from_mins(1);

#[derive(Debug)]
struct Entry {
    addrs: Option<Addrs>,
    fresh: Instant,
    denied: Option<(String, Instant)>,
    silences: u32,
    silent: Instant,
}

/// The memory.
#[derive(Debug, Default)]
pub(super) struct Answers {
    names: HashMap<Box<str>, Entry>,
    all_silent: bool,
}

impl Answers {
    /// What is known of `name`.
    pub(super) fn look(&self, name: &str, now: Instant) -> Look {
        let Some(entry) = self.names.get(name) else {
            return if self.all_silent { Look::Silent(None) } else { Look::Ask { stale: None, was_silent: false } };
        };
        if now < entry.fresh
            && let Some(addrs) = &entry.addrs
        {
            return Look::Known(addrs.clone());
        }
        let stale = entry.addrs.clone().filter(|_| now < entry.fresh + STALE);
        if let Some((why, until)) = &entry.denied
            && now < *until
        {
            return match stale {
                Some(addrs) => Look::Known(addrs),
                None => Look::Denied(why.clone()),
            };
        }
        if self.all_silent || now < entry.silent {
            return Look::Silent(stale);
        }
        Look::Ask { stale, was_silent: entry.silences > 0 }
    }

    /// A server gave addresses.
    pub(super) fn answered(&mut self, name: &str, addrs: Addrs, ttl: Duration, now: Instant) {
        let entry = self.entry(name, now);
        *entry = Entry { addrs: Some(addrs), fresh: now + ttl.clamp(LIFE.0, LIFE.1), denied: None, silences: 0, silent: now };
    }

    /// A server said that there are none. `keep_old`: it had trouble of its own (SERVFAIL), so that an old answer still counts.
    pub(super) fn denied(&mut self, name: &str, why: String, ttl: Duration, keep_old: bool, now: Instant) {
        let entry = self.entry(name, now);
        let addrs = entry.addrs.take().filter(|_| keep_old);
        let denied = Some((why, now + ttl.clamp(DENIAL.0, DENIAL.1)));
        *entry = Entry { addrs, fresh: entry.fresh.min(now), denied, silences: 0, silent: now };
    }

    /// Nobody answered for this name.
    pub(super) fn silent(&mut self, name: &str, now: Instant) {
        let entry = self.entry(name, now);
        entry.silent = now + SILENT.saturating_mul(1 << entry.silences.min(8)).min(SILENT_MOST);
        entry.silences += 1;
    }

    /// A name that was answered for, and whose answer no server remembers any more: what has to be looked up anew. The latest.
    pub(super) fn past(&self, now: Instant) -> Option<Box<str>> {
        // One that fails now says nothing of the others.
        let over = self.names.iter().filter(|(_, entry)| entry.addrs.is_some() && entry.denied.is_none() && entry.fresh <= now);
        over.max_by_key(|(_, entry)| entry.fresh).map(|(name, _)| name.clone())
    }

    /// Whether what was answered for before says that servers fail altogether: several such names fail now, or none holds any more.
    pub(super) fn fails(&self, now: Instant) -> bool {
        let known = || self.names.values().filter(|entry| entry.addrs.is_some());
        let failed = |entry: &&Entry| entry.denied.as_ref().is_some_and(|(_, until)| now < *until + LATELY);
        known().filter(failed).count() >= SEVERAL || !known().any(|entry| entry.denied.is_none() && now < entry.fresh)
    }

    /// Nobody answers for anything.
    pub(super) fn all_silent(&mut self) {
        self.all_silent = true;
    }

    /// A server answered, or the line is back: silence is over.
    pub(super) fn heard(&mut self, now: Instant) {
        if std::mem::take(&mut self.all_silent) {
            for entry in self.names.values_mut() {
                (entry.silent, entry.silences) = (now, 0);
            }
        }
    }

    /// The line is back: no name's silence counts any more.
    pub(super) fn forget_silence(&mut self, now: Instant) {
        self.all_silent = true;
        self.heard(now);
    }

    fn entry(&mut self, name: &str, now: Instant) -> &mut Entry {
        if self.names.len() >= NAMES && !self.names.contains_key(name) {
            self.make_room();
        }
        let unknown = || Entry { addrs: None, fresh: now, denied: None, silences: 0, silent: now };
        self.names.entry(name.into()).or_insert_with(unknown)
    }

    /// What holds no addresses goes first, since it is soon asked for again; then the oldest. Never all: old answers are what a school
    /// lives on whose resolver is gone.
    fn make_room(&mut self) {
        self.names.retain(|_, entry| entry.addrs.is_some());
        let surplus = (self.names.len() + BATCH).saturating_sub(NAMES);
        let mut ages: Vec<(Instant, &str)> = self.names.iter().map(|(name, entry)| (entry.fresh, &**name)).collect();
        if surplus == 0 || surplus >= ages.len() {
            return;
        }
        let (older, _, _) = ages.select_nth_unstable(surplus);
        let oldest: Vec<Box<str>> = older.iter().map(|(_, name)| Box::from(*name)).collect();
        for name in oldest {
            self.names.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::{Clock, Time};

    const SECOND: Duration = Duration::from_secs(1);

    fn start() -> (Instant, Answers, Addrs) {
        (Clock::manual(Time::BUILT).steady(), Answers::default(), Arc::from([IpAddr::from([1, 2, 3, 4])]))
    }

    #[test]
    fn answers_live_their_time_and_serve_longer_when_nobody_answers() {
        let (now, mut answers, addrs) = start();
        let ask = |stale, was_silent| Look::Ask { stale, was_silent };
        assert_eq!(answers.look("a", now), ask(None, false));
        answers.answered("a", addrs.clone(), SECOND * 60, now);
        assert_eq!(answers.look("a", now + SECOND * 59), Look::Known(addrs.clone()));
        let later = now + SECOND * 60;
        assert_eq!(answers.look("a", later), ask(Some(addrs.clone()), false));
        answers.silent("a", later);
        assert_eq!(answers.look("a", later + SECOND * 29), Look::Silent(Some(addrs.clone())));
        assert_eq!(answers.look("a", later + SECOND * 30), ask(Some(addrs.clone()), true));
        answers.silent("a", later + SECOND * 30);
        assert_eq!(answers.look("a", later + SECOND * 89), Look::Silent(Some(addrs.clone())), "twice as long");
        assert_eq!(answers.look("a", now + STALE + SECOND * 100), ask(None, true), "too old for anything");
        answers.answered("a", addrs.clone(), Duration::ZERO, later);
        assert_eq!(answers.look("a", later + SECOND * 4), Look::Known(addrs.clone()));
        answers.answered("b", addrs, SECOND * 9, later);
        let past = |after: u32| answers.past(later + SECOND * after).as_deref().map(str::to_owned);
        assert_eq!((past(4), past(5), past(60)), (None, Some("a".into()), Some("b".into())));
    }

    #[test]
    fn denials_are_remembered_too() {
        let (now, mut answers, addrs) = start();
        answers.denied("a", "NXDomain".into(), SECOND * 3600, false, now);
        assert_eq!(answers.look("a", now + SECOND * 299), Look::Denied("NXDomain".into()));
        assert_eq!(answers.look("a", now + SECOND * 300), Look::Ask { stale: None, was_silent: false });
        answers.answered("a", addrs.clone(), SECOND * 10, now);
        let later = now + SECOND * 20;
        answers.denied("a", "ServFail".into(), SECOND, true, later);
        assert_eq!(answers.look("a", later), Look::Known(addrs), "its server's trouble does not undo an answer");
        answers.denied("a", "NXDomain".into(), SECOND, false, later);
        assert_eq!(answers.look("a", later), Look::Denied("NXDomain".into()));
    }

    #[test]
    fn when_all_are_silent_no_name_is_waited_for_until_something_is_heard() {
        let (now, mut answers, addrs) = start();
        answers.answered("old", addrs.clone(), SECOND * 5, now);
        let later = now + SECOND * 10;
        answers.silent("a", later);
        answers.all_silent();
        assert_eq!(answers.look("new", later), Look::Silent(None));
        assert_eq!(answers.look("old", later), Look::Silent(Some(addrs.clone())));
        assert_eq!(answers.look("a", later + SECOND * 60), Look::Silent(None));
        answers.heard(later);
        for name in ["new", "a"] {
            assert_eq!(answers.look(name, later), Look::Ask { stale: None, was_silent: false });
        }
        answers.silent("a", later);
        answers.heard(later);
        assert_eq!(answers.look("a", later), Look::Silent(None), "one name may be silent while others are heard");
        answers.forget_silence(later);
        assert_eq!(answers.look("a", later), Look::Ask { stale: None, was_silent: false });
    }

    #[test]
    fn the_memory_is_bounded_and_what_a_dead_resolver_is_replaced_by_stays_longest() {
        let (now, mut answers, addrs) = start();
        let later = now + SECOND * 100;
        for name in 0..NAMES / 2 {
            answers.answered(&format!("old{name}"), addrs.clone(), SECOND * 60, now);
        }
        for name in 0..NAMES {
            answers.denied(&format!("none{name}"), "NXDomain".into(), SECOND * 60, false, later);
        }
        let held = |answers: &Answers, stem: &str| answers.names.keys().filter(|name| name.starts_with(stem)).count();
        assert!(answers.names.len() <= NAMES);
        assert_eq!(held(&answers, "old"), NAMES / 2, "denials made room for denials");
        for name in 0..NAMES / 2 {
            answers.answered(&format!("new{name}"), addrs.clone(), SECOND * 60, later);
        }
        assert_eq!((held(&answers, "old"), held(&answers, "none"), held(&answers, "new")), (NAMES / 2, 0, NAMES / 2));
        answers.answered("one more", addrs.clone(), SECOND * 60, later);
        assert_eq!((held(&answers, "old"), held(&answers, "new")), (NAMES / 2 - BATCH, NAMES / 2), "the oldest go, some of them");
        for name in 0..NAMES * 2 {
            answers.answered(&name.to_string(), addrs.clone(), SECOND * 60, later);
            assert!(answers.names.len() <= NAMES && answers.names.len() > NAMES / 2, "of one age: never all");
        }
    }
}
