//! The log of outages between two looks: which time it is written in, what of it is in the database already.
//!
//! Entries are dated by steady time that began at a wall time which could be believed, so that a clock which is set does not stretch
//! them. Wall time that leaps ahead of steady time was sleep, if the machine's time since boot says so, and a clock that was set
//! otherwise. While the clock cannot be believed nothing is written down; once it can, what was seen is dated by how long ago it was.

use crate::base::clock::{Clock, Look, STEP, Time};
use crate::link::outage::{CONFIRM, Entry, Event, Log, Sign, What};
use crate::state::outage::Row;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// A node that did not run for less than this may have been updated, or its last sign of life was not written down: that is written
/// every five minutes. A machine that has booted since then was off for sure.
const RESTART: Duration = Duration::from_mins(6);

/// A clock that is set forward so soon after the machine's start was behind when the power came back.
const EARLY: Duration = Duration::from_hours(1);

/// How often an entry that goes on is written down. The opening is at once; a card that wears out by the outages that it tells is none.
const EVERY: Duration = Duration::from_mins(5);

/// Entries that wait to be written: the database has failed for days, then the oldest go.
const MOST_LEFT: usize = 1_000;

/// The log and what of it is kept.
pub(super) struct Book {
    clock: Clock,
    log: Log,
    /// By kind and start: the rows that may still change.
    kept: HashMap<(What, Time), Written>,
    /// Entries that are over for good and not written down yet.
    left: Vec<Entry>,
    /// The last look, in the log's time.
    last: Look,
    /// Whether the time in which the log is written could ever be believed.
    dated: bool,
    /// The node's last sign of life before this one's, or until when it is told that there was none.
    alive: Option<Time>,
}

/// A row as it was last written.
struct Written {
    number: i64,
    event: Event,
    joined: u32,
    end: Time,
    at: Instant,
}

/// What is to be written.
#[derive(Debug)]
pub(super) struct Change {
    key: (What, Time),
    pub(super) row: Row,
    /// It is only longer than before: nobody need be told anew.
    pub(super) same: bool,
}

impl Book {
    /// `rows`: those of the last day and the newest of each kind, oldest first. `alive`: when an earlier life of the node was last seen.
    pub(super) fn new(clock: Clock, rows: &[Row], alive: Option<Time>) -> Book {
        let last = clock.look();
        let mut book = Book { clock, log: Log::default(), kept: HashMap::new(), left: Vec::new(), last, dated: false, alive };
        for row in rows {
            let Some(what) = What::read(&row.what) else { continue };
            let entry = Entry::kept(what, row.start, row.end, row.seconds, row.joined);
            book.kept.retain(|(other, _), _| *other != what);
            book.written((what, row.start), row.number, &entry);
            book.log.remember(entry);
        }
        book
    }

    /// One look: what is amiss now, if anything is.
    pub(super) fn look(&mut self, sign: Option<Sign<Instant>>) {
        let look = self.clock.look();
        let (passed, slept) = look.since(&self.last);
        let mut now = self.last.now.plus(passed);
        if slept >= STEP {
            let asleep = now;
            now = now.plus(slept);
            self.log.cut(asleep, now);
            self.log.past(What::BoxOff, asleep, now);
        }
        if self.clock.trusted() {
            now = self.believe(now, look.now);
        } else {
            self.log.begin(What::ClockWrong, now, now);
        }
        self.last = Look { now, ..look };
        let dated = |when: Instant| now.minus(look.steady.saturating_duration_since(when));
        self.log.step(sign.map(|Sign { what, since, seen }| Sign { what, since: dated(since), seen: dated(seen) }), now);
        if self.dated {
            for entry in self.log.take_done() {
                if self.change(&entry, None).is_some() {
                    self.left.push(entry);
                } else {
                    // It is written as it is.
                    self.kept.remove(&(entry.what, entry.start));
                }
            }
        }
        let surplus = self.left.len().saturating_sub(MOST_LEFT);
        self.left.drain(..surplus);
    }

    /// The clock can be believed: what time it is in the log from now on.
    fn believe(&mut self, now: Time, wall: Time) -> Time {
        let step = wall.micros().saturating_sub(now.micros());
        let large = step.unsigned_abs() >= u64::try_from(STEP.as_micros()).unwrap_or(u64::MAX);
        if !self.dated {
            self.dated = true;
            let kept = &self.kept;
            self.log.shift(step, |entry| !kept.contains_key(&(entry.what, entry.start)));
            self.tell_off(wall);
        } else if large {
            let wrong = self.log.entries().any(|entry| entry.what == What::ClockWrong && entry.open);
            self.log.cut(now, wall);
            if !wrong {
                self.log.past(What::ClockWrong, wall, wall);
            }
            if step > 0 && self.clock.since_boot() < EARLY {
                self.tell_off(wall);
            }
        }
        self.log.end(What::ClockWrong, wall);
        wall
    }

    /// The node has not run since it was last seen alive.
    fn tell_off(&mut self, wall: Time) {
        let begun = wall.minus(self.clock.age());
        let Some(alive) = self.alive else { return };
        let gap = begun.since(alive);
        let booted = wall.minus(self.clock.since_boot()) > alive;
        if gap >= RESTART || booted && gap >= CONFIRM {
            self.log.past(What::BoxOff, alive, begun);
            // Should the clock have been behind, the rest follows.
            self.alive = Some(begun);
        }
    }

    /// Whether anything may be dated.
    fn may_write(&self) -> bool {
        self.dated && self.clock.trusted()
    }

    /// What is to be written now; `all`: the node ends.
    pub(super) fn changes(&self, all: bool) -> Vec<Change> {
        if !self.may_write() {
            return Vec::new();
        }
        let steady = self.clock.steady();
        let over = self.left.iter().filter_map(|entry| self.change(entry, None));
        let live = self.log.entries().filter_map(|entry| self.change(entry, Some(steady).filter(|_| !all)));
        over.chain(live).collect()
    }

    /// `now`: not sooner than `EVERY` after the last time.
    fn change(&self, entry: &Entry, now: Option<Instant>) -> Option<Change> {
        let (key, event) = ((entry.what, entry.start), entry.event());
        let written = self.kept.get(&key);
        if let Some(written) = written {
            let early = now.is_some_and(|now| now.saturating_duration_since(written.at) < EVERY);
            if early || (written.event, written.joined, written.end) == (event, entry.joined, entry.end) {
                return None;
            }
        }
        let same = written.is_some_and(|written| written.event.open && event.open);
        let row = Row {
            number: written.map_or(0, |written| written.number),
            what: entry.what.word().to_owned(),
            start: entry.start,
            end: entry.end,
            seconds: event.seconds,
            open: event.open,
            joined: entry.joined,
        };
        Some(Change { key, row, same })
    }

    /// It was written, under this number.
    pub(super) fn done(&mut self, change: &Change, number: i64) {
        let (row, what) = (&change.row, change.key.0);
        let event = Event { what, seconds: row.seconds, open: row.open };
        let written = Written { number, event, joined: row.joined, end: row.end, at: self.clock.steady() };
        if let Some(index) = self.left.iter().position(|entry| (entry.what, entry.start) == change.key && entry.end <= row.end) {
            self.left.swap_remove(index);
            self.kept.remove(&change.key);
        } else {
            self.kept.insert(change.key, written);
        }
    }

    fn written(&mut self, key: (What, Time), number: i64, entry: &Entry) {
        let written = Written { number, event: entry.event(), joined: entry.joined, end: entry.end, at: self.clock.steady() };
        self.kept.insert(key, written);
    }

    /// What is open now, and the newest of each kind as they are now, with their numbers (0: not written down).
    pub(super) fn newest(&self) -> Vec<Row> {
        let fresh = |entry: &Entry| {
            let number = self.kept.get(&(entry.what, entry.start)).map_or(0, |written| written.number);
            let event = entry.event();
            let (what, start, end) = (entry.what.word().to_owned(), entry.start, entry.end);
            Row { number, what, start, end, seconds: event.seconds, open: event.open, joined: entry.joined }
        };
        self.left.iter().chain(self.log.entries()).map(fresh).collect()
    }
}
