//! What goes into the log of outages: how long a trouble must last to be told, which short ones are one, how many a day may be kept.
//! Pure: what is amiss comes in with its moments (from `cause`), lines of the log come out.
//!
//! At most one trouble of the way out is told at a time, the one that explains the others. It is told once it has lasted `CONFIRM`; a
//! line that fails for less than that is a bad line and no outage: its seconds are in the rollups. What comes back within `JOIN` is
//! the same outage, and after `MOST_A_DAY` of a kind everything further is joined to the last. An entry says how often that was, and
//! its seconds are those in which it really lasted.

use crate::base::clock::Time;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use utoipa::ToSchema;

/// Shorter troubles are not told: names alone that fail take the line for down for two seconds at a time, a satellite modem that looks
/// for its satellite anew takes five.
pub const CONFIRM: Duration = Duration::from_secs(10);

/// What comes back sooner is the same outage.
pub const JOIN: Duration = Duration::from_mins(10);

/// Without a sign for so long nobody knows any more: the trouble ended with its last sign.
pub const FORGET: Duration = Duration::from_mins(10);

/// So many entries of a kind in 24 hours; one an hour tells a bad line from a good one.
pub const MOST_A_DAY: usize = 24;

/// For [`MOST_A_DAY`].
const DAY: Duration = Duration::from_hours(24);

/// What happened. Each is another trouble, and only the first is the line's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = OutageWhat)]
pub enum What {
    /// Nothing gets through.
    LineDown,
    /// Addresses answer, and no DNS server gives answers.
    NamesDown,
    /// A host that had answered does not, while others do.
    OriginDown,
    /// The box was off, asleep, or its program did not run.
    BoxOff,
    /// The clock was wrong, or was set by more than a minute (an entry without length).
    ClockWrong,
    /// The way out has no interface: a cable, a modem, a radio.
    InterfaceLost,
}

impl What {
    /// All of them.
    pub const ALL: [What; 6] = [What::LineDown, What::NamesDown, What::OriginDown, What::BoxOff, What::ClockWrong, What::InterfaceLost];

    /// The word in database, API and reports.
    pub const fn word(self) -> &'static str {
        match self {
            What::LineDown => "line_down",
            What::NamesDown => "names_down",
            What::OriginDown => "origin_down",
            What::BoxOff => "box_off",
            What::ClockWrong => "clock_wrong",
            What::InterfaceLost => "interface_lost",
        }
    }

    /// Reads the word.
    pub fn read(word: &str) -> Option<What> {
        What::ALL.into_iter().find(|what| what.word() == word)
    }
}

/// What leaves the school of an outage: exactly the names of `payload.event.*` in the report's schema (a test of `meter` holds each
/// against the other).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = OutageEvent)]
pub struct Event {
    /// What happened.
    pub what: What,
    /// How long it really lasted: where short ones were joined, without the time between them.
    pub seconds: u64,
    /// It is not over.
    pub open: bool,
}

/// What is amiss at a moment, and the cause of everything else that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sign<T> {
    /// What.
    pub what: What,
    /// Its first sign.
    pub since: T,
    /// Its last one.
    pub seen: T,
}

/// A line of the log, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What.
    pub what: What,
    /// From.
    pub start: Time,
    /// Until; of an open one, as far as it is known.
    pub end: Time,
    /// It is not over.
    pub open: bool,
    /// How many further outages were joined to it.
    pub joined: u32,
    /// What earlier stretches lasted.
    before: Duration,
    /// From when the last stretch lasts.
    stretch: Time,
}

impl Entry {
    /// One that is kept, with what it lasted until now.
    pub fn kept(what: What, start: Time, end: Time, seconds: u64, joined: u32) -> Entry {
        Entry { what, start, end, open: false, joined, before: Duration::from_secs(seconds), stretch: end }
    }

    /// What of it may leave the school.
    pub fn event(&self) -> Event {
        Event { what: self.what, seconds: (self.before + self.end.since(self.stretch)).as_secs(), open: self.open }
    }

    fn new(what: What, start: Time, end: Time) -> Entry {
        Entry { what, start, end: end.max(start), open: true, joined: 0, before: Duration::ZERO, stretch: start }
    }

    fn again(&mut self, since: Time, now: Time) {
        self.before += self.end.since(self.stretch);
        self.stretch = since.max(self.end);
        (self.end, self.open) = (now.max(self.stretch), true);
        self.joined = self.joined.saturating_add(1);
    }

    fn close(&mut self, at: Time) {
        self.end = at.max(self.stretch);
        self.open = false;
    }

    fn moved(&mut self, micros: i64) {
        for time in [&mut self.start, &mut self.end, &mut self.stretch] {
            *time = Time::from_micros(time.micros().saturating_add(micros));
        }
    }
}

/// The newest entry of each kind, and which of them is running.
#[derive(Debug, Default)]
pub struct Log {
    entries: BTreeMap<What, Entry>,
    /// Entries that newer ones have replaced, for whoever keeps them.
    done: Vec<Entry>,
    opened: BTreeMap<What, VecDeque<Time>>,
    /// The trouble of the way out that is told now.
    current: Option<What>,
    /// The one that may take its place, and since when.
    next: Option<(What, Time)>,
    /// The last sign of the current one.
    seen: Time,
    /// When the last one ended: nothing else began before.
    ended: Time,
}

impl Log {
    /// An entry of an earlier life of the node, the oldest first: new ones may be joined to it.
    pub fn remember(&mut self, entry: Entry) {
        self.opened.entry(entry.what).or_default().push_back(entry.start);
        self.entries.insert(entry.what, entry);
    }

    /// What is amiss now, if anything is; called every few seconds.
    pub fn step(&mut self, sign: Option<Sign<Time>>, now: Time) {
        match (self.current, sign) {
            (Some(current), Some(sign)) if current == sign.what => {
                (self.next, self.seen) = (None, sign.seen);
                self.lasts(current, now);
            }
            (Some(current), Some(sign)) => {
                let since = self.challenge(sign.what, now);
                self.lasts(current, now);
                if now.since(since) >= CONFIRM {
                    self.end(current, since);
                    self.begin(sign.what, since, now);
                    (self.current, self.next, self.seen) = (Some(sign.what), None, sign.seen);
                }
            }
            (Some(current), None) => {
                // Nobody has looked for long: it is known to have lasted until the last sign, and no longer.
                let at = if now.since(self.seen) > FORGET { self.seen } else { now };
                self.end(current, at);
                (self.current, self.next, self.ended) = (None, None, at);
            }
            (None, Some(sign)) => {
                let since = self.challenge(sign.what, sign.since.max(self.ended));
                if now.since(since) >= CONFIRM {
                    self.begin(sign.what, since, now);
                    (self.current, self.next, self.seen) = (Some(sign.what), None, sign.seen);
                }
            }
            (None, None) => self.next = None,
        }
    }

    /// Since when this has been the next one; it is from `since` on if it was not.
    fn challenge(&mut self, what: What, since: Time) -> Time {
        match self.next {
            Some((next, since)) if next == what => since,
            _ => {
                self.next = Some((what, since));
                since
            }
        }
    }

    fn lasts(&mut self, what: What, now: Time) {
        if let Some(entry) = self.entries.get_mut(&what).filter(|entry| entry.open) {
            entry.end = now.max(entry.stretch);
        }
    }

    /// Something begins, or began, and is sure: an entry, or an earlier one that goes on.
    pub fn begin(&mut self, what: What, since: Time, now: Time) {
        let opened = self.opened.entry(what).or_default();
        // Either way: a clock that was set back has opened some of them later.
        opened.retain(|start| since.since(*start).max(start.since(since)) < DAY);
        let full = opened.len() >= MOST_A_DAY;
        match self.entries.get_mut(&what) {
            Some(entry) if entry.open => entry.end = now.max(entry.end),
            Some(entry) if full || since.since(entry.end) <= JOIN => entry.again(since, now),
            // Nothing is left to join it to, and the day has enough of them.
            None if full => {}
            _ => {
                opened.push_back(since);
                self.done.extend(self.entries.insert(what, Entry::new(what, since, now)));
            }
        }
    }

    /// Something is over.
    pub fn end(&mut self, what: What, at: Time) {
        if let Some(entry) = self.entries.get_mut(&what).filter(|entry| entry.open) {
            entry.close(at);
        }
    }

    /// Something that is over already when it is found.
    pub fn past(&mut self, what: What, start: Time, end: Time) {
        self.begin(what, start, end);
        self.end(what, end);
    }

    /// Time itself has a gap or a step: what runs ends `at`, and what goes on behind it is another entry.
    pub fn cut(&mut self, at: Time, now: Time) {
        let whats: Vec<What> = self.entries.keys().copied().collect();
        for what in whats {
            self.end(what, at);
        }
        // What ended by another clock is nothing to be joined to.
        self.done.extend(std::mem::take(&mut self.entries).into_values());
        (self.current, self.next, self.ended) = (None, None, now);
    }

    /// The clock has become right: what was seen while it was wrong was so much later (µs) than it said.
    pub fn shift(&mut self, micros: i64, of: impl Fn(&Entry) -> bool) {
        for entry in self.entries.values_mut().chain(&mut self.done).filter(|entry| of(entry)) {
            entry.moved(micros);
        }
        for time in [&mut self.seen, &mut self.ended] {
            *time = Time::from_micros(time.micros().saturating_add(micros));
        }
        self.next = self.next.map(|(what, since)| (what, Time::from_micros(since.micros().saturating_add(micros))));
    }

    /// Entries that nothing will be joined to any more, once each.
    pub fn take_done(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.done)
    }

    /// The newest entry of each kind.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }
}

#[cfg(test)]
mod tests;
