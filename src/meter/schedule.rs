//! When tests run by themselves: one in each slot of the school's day, at an instant drawn once and kept, so that neither a reboot nor a
//! flapping power supply draws again; one more after a start. Pure: the rows that are kept, the time and a draw come in.
//!
//! The rules are those of the measuring community (protocols.md section 1): jitter always, never on the hour, three more tries within a slot
//! a quarter of an hour apart, put off while a class uses the line, and run all the same (marked) where no quiet moment comes.

use crate::base::clock::Time;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The row of the test after a start stands beside those of the slots.
pub const STARTUP: i64 = -1;

/// Tries of a slot: the first and three more.
pub const TRIES: u32 = 4;

/// Between two tries.
pub const AGAIN: Duration = Duration::from_mins(15);

/// A test after a start comes within this, but not before the line has had time to come up.
const AFTER_START: (Duration, Duration) = (Duration::from_mins(1), Duration::from_mins(15));

/// After a test so fresh a start needs none of its own.
const FRESH: Duration = Duration::from_hours(3);

/// Left of a slot for its test, with tries put off by a class: after that it runs all the same.
const LAST_CALL: Duration = Duration::from_mins(10);

/// A busy class is looked at so often.
const LOOK: Duration = Duration::from_secs(30);

/// Longest wait before looking again: the wall clock may be set meanwhile.
const NAP: Duration = Duration::from_mins(10);

/// Around the full hour, when everybody's jobs run, nothing is measured: seconds before and after.
const HOUR: (i64, i64) = (60, 60);

/// Slots of a day at most.
pub const MOST: usize = 12;

/// A part of the school's day, minutes after midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    from: i16,
    to: i16,
}

/// The text is no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write it like \"08:00-12:00\", half an hour or more within one day")]
pub struct BadSlot;

impl Slot {
    /// Its beginning, minutes after midnight.
    pub fn from(&self) -> i16 {
        self.from
    }

    /// Its end.
    pub fn to(&self) -> i16 {
        self.to
    }
}

impl FromStr for Slot {
    type Err = BadSlot;

    fn from_str(text: &str) -> Result<Slot, BadSlot> {
        let (from, to) = text.trim().split_once('-').ok_or(BadSlot)?;
        let slot = Slot { from: minutes(from).ok_or(BadSlot)?, to: minutes(to).ok_or(BadSlot)? };
        if slot.to - slot.from >= 30 { Ok(slot) } else { Err(BadSlot) }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}-{:02}:{:02}", self.from / 60, self.from % 60, self.to / 60, self.to % 60)
    }
}

fn minutes(text: &str) -> Option<i16> {
    let (hour, minute) = text.trim().split_once(':')?;
    let digits = |text: &str| (text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse::<i16>().ok())?;
    let (hour, minute) = (digits(hour)?, digits(minute)?);
    (minute < 60 && (hour < 24 || (hour == 24 && minute == 0))).then_some(hour * 60 + minute)
}

/// How a slot stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its test is to come.
    Waiting,
    /// It has been tested.
    Done,
    /// It was let go: no server, no line, or the box was off.
    Skipped,
}

/// What is kept of a slot of a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// `2026-11-27`, at the school.
    pub day: String,
    /// Its number from 0, or [`STARTUP`].
    pub slot: i64,
    /// When its test is due.
    pub at: Time,
    /// Tries so far.
    pub tries: u32,
    /// How it stands.
    pub state: State,
}

/// What is to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing until then, or until something changes.
    Wait(Duration),
    /// This row is to be kept.
    Keep(Row),
    /// This row's test is to run.
    Run(Row),
}

/// The slots, in the school's time.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// In order, without overlap.
    pub slots: Vec<Slot>,
    /// The school's time zone.
    pub zone: TimeZone,
    /// Whether a start has a test of its own.
    pub startup: bool,
}

/// What of the node's life the schedule looks at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Now {
    /// The time.
    pub now: Time,
    /// When the node started.
    pub boot: Time,
    /// When the newest test with a figure was.
    pub last: Option<Time>,
    /// A class uses the line.
    pub busy: bool,
    /// A number from 0 to below 1, for whatever is drawn now.
    pub draw: f64,
}

impl Schedule {
    /// The school's day, as rows and sums are named.
    pub fn day(&self, now: Time) -> String {
        self.date(now).to_string()
    }

    /// What is to be done, given the rows of today.
    pub fn next(&self, rows: &[Row], life: &Now) -> Step {
        let (date, now) = (self.date(life.now), life.now);
        let day = date.to_string();
        let row = |slot: i64| rows.iter().find(|row| row.day == day && row.slot == slot);
        let mut wait = NAP;
        if self.startup {
            match row(STARTUP) {
                None => return Step::Keep(after_start(day, life)),
                Some(row) if row.state == State::Waiting => match due(row, now, row.at.plus(AFTER_START.1), life.busy) {
                    Due::In(time) => wait = wait.min(time),
                    Due::Now => return Step::Run(row.clone()),
                    // The box was off, or a class has the line: the slots have their own.
                    Due::Over => return Step::Keep(Row { state: State::Skipped, ..row.clone() }),
                },
                Some(_) => {}
            }
        }
        for (slot, span) in (0_i64..).zip(&self.slots) {
            let (from, to) = self.span(date, *span);
            match row(slot) {
                None if now >= to.minus(LAST_CALL) => {
                    return Step::Keep(Row { day, slot, at: now, tries: 0, state: State::Skipped });
                }
                None => {
                    let at = self.instant(from.max(now), to.minus(LAST_CALL), life.draw);
                    return Step::Keep(Row { day, slot, at, tries: 0, state: State::Waiting });
                }
                Some(row) if row.state == State::Waiting => match due(row, now, to, life.busy) {
                    Due::In(time) => wait = wait.min(time),
                    Due::Now => return Step::Run(row.clone()),
                    Due::Over => return Step::Keep(Row { state: State::Skipped, ..row.clone() }),
                },
                Some(_) => {}
            }
        }
        Step::Wait(wait.max(Duration::from_secs(1)))
    }

    /// Tests that today is still to pay for by the rows that are kept, one that runs now for whatever reason included.
    pub fn shares(&self, rows: &[Row], now: Time, own: Option<i64>) -> u64 {
        let date = self.date(now);
        let day = date.to_string();
        let open = (0_i64..).zip(&self.slots).filter(|(slot, span)| {
            let kept = rows.iter().find(|row| row.day == day && row.slot == *slot).map_or(State::Waiting, |row| row.state);
            kept == State::Waiting && Some(*slot) != own && self.span(date, **span).1 > now
        });
        open.count() as u64 + 1
    }

    /// The row after a try that gave no figure.
    pub fn again(&self, row: &Row, now: Time) -> Row {
        let (tries, at) = (row.tries + 1, now.plus(AGAIN));
        let end = usize::try_from(row.slot).ok().and_then(|slot| self.slots.get(slot)).map(|slot| self.span(self.date(now), *slot).1);
        let goes_on = tries < TRIES && end.is_some_and(|end| at < end);
        Row { at, tries, state: if goes_on { State::Waiting } else { State::Skipped }, ..row.clone() }
    }

    /// When the next test is due by the rows that are kept.
    pub fn due(&self, rows: &[Row], now: Time) -> Option<Time> {
        let day = self.day(now);
        rows.iter().filter(|row| row.day == day && row.state == State::Waiting).map(|row| row.at).min()
    }

    /// An instant of a stretch, never around the full hour.
    fn instant(&self, from: Time, to: Time, draw: f64) -> Time {
        let at = from.plus(to.since(from).mul_f64(draw.clamp(0.0, 1.0)));
        let second = self.zone.to_datetime(stamp(at));
        let second = i64::from(second.minute()) * 60 + i64::from(second.second());
        if second < HOUR.1 {
            at.plus(Duration::from_secs((HOUR.1 - second).unsigned_abs()))
        } else if second >= 3600 - HOUR.0 {
            at.minus(Duration::from_secs((second - (3600 - HOUR.0) + 1).unsigned_abs()))
        } else {
            at
        }
    }

    fn date(&self, now: Time) -> Date {
        self.zone.to_datetime(stamp(now)).date()
    }

    /// From when to when a slot is on a day.
    fn span(&self, date: Date, slot: Slot) -> (Time, Time) {
        let at = |minutes: i16| {
            let midnight = DateTime::from_parts(date, jiff::civil::Time::midnight());
            let moment = midnight.saturating_add(SignedDuration::from_mins(i64::from(minutes)));
            self.zone.to_timestamp(moment).map_or(Time::from_secs(0), |stamp| Time::from_micros(stamp.as_microsecond()))
        };
        (at(slot.from), at(slot.to))
    }
}

/// The row of the test after a start.
fn after_start(day: String, life: &Now) -> Row {
    let fresh = life.last.is_some_and(|last| life.now.since(last) < FRESH);
    // Without a start near by there is nothing to test after: the day has turned, and the box has run on.
    let old = life.now.since(life.boot) > AFTER_START.1;
    let state = if fresh || old { State::Skipped } else { State::Waiting };
    let spread = AFTER_START.1.saturating_sub(AFTER_START.0).mul_f64(life.draw.clamp(0.0, 1.0));
    Row { day, slot: STARTUP, at: life.boot.plus(AFTER_START.0 + spread), tries: 0, state }
}

enum Due {
    In(Duration),
    Now,
    Over,
}

/// How a row stands that waits, in a slot that ends at `end`.
fn due(row: &Row, now: Time, end: Time, busy: bool) -> Due {
    if now >= end {
        Due::Over
    } else if now < row.at {
        Due::In(row.at.since(now))
    } else if busy && now < end.minus(LAST_CALL) {
        Due::In(LOOK)
    } else {
        Due::Now
    }
}

fn stamp(time: Time) -> Timestamp {
    Timestamp::from_microsecond(time.micros()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
