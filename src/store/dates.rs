//! What time the records prove. Pure.
//!
//! # Why
//! The newest record is the clock's floor after a power cut. One record written while the system's clock was far ahead would
//! hold time there for good, and with it the age of all that is stored. A store in use writes every day; so the dates of its
//! records form a chain, and what stands behind a gap of more than `GAP` is not believed. To believe too little costs only
//! what the network's time gives back.

use crate::base::clock::Time;
use std::collections::BTreeMap;
use std::time::Duration;

/// The longest gap that is believed: a year in which a school was closed, and a month more.
const GAP: Duration = Duration::from_hours(400 * 24);
/// Seconds of one step of the chain: a day, so that years of records are a few thousand steps.
const STEP: i64 = 86_400;

/// The dates of records, by day.
#[derive(Clone, Default)]
pub(crate) struct Dates {
    days: BTreeMap<i64, Time>,
    /// The day seen last; most records follow one of the same day.
    last: Option<(i64, Time)>,
}

impl Dates {
    /// Takes in a record's date.
    pub(crate) fn add(&mut self, time: Time) {
        let day = time.secs().div_euclid(STEP);
        if self.last.is_some_and(|(last, newest)| last == day && time <= newest) {
            return;
        }
        let newest = self.days.entry(day).or_insert(time);
        *newest = time.max(*newest);
        self.last = Some((day, *newest));
    }

    /// The newest of each day.
    pub(crate) fn days(&self) -> impl Iterator<Item = Time> + '_ {
        self.days.values().copied()
    }

    /// The newest date that can be believed, from `start` on: what is known to be past without the records.
    pub(crate) fn newest(&self, start: Time) -> Time {
        let mut newest = start;
        for time in self.days.values().copied().filter(|time| *time > start) {
            if time > newest.plus(GAP) {
                tracing::warn!(days = time.since(newest).as_secs() / 86_400, "records are dated far ahead; their dates are not believed");
                break;
            }
            newest = newest.max(time);
        }
        newest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_of_dates_is_believed_and_a_leap_is_not() {
        let day = |n: i64| Time::from_secs(Time::BUILT.secs() + n * STEP);
        for (days, wanted) in [
            (vec![], 0),
            (vec![-700, -1], 0),
            (vec![3, 1, 2], 3),
            (vec![1, 36_500], 1),
            (vec![36_500, 36_501], 0),
            (vec![399, 790, 1_180, 5_000], 1_180),
        ] {
            let mut dates = Dates::default();
            for n in &days {
                dates.add(day(*n));
            }
            assert_eq!(dates.newest(Time::BUILT), day(wanted), "{days:?}");
        }
    }

    #[test]
    fn the_latest_of_a_day_counts() {
        let (mut dates, at) = (Dates::default(), |secs: i64| Time::from_secs(Time::BUILT.secs() + secs));
        for secs in [100, 900, 500, 899] {
            dates.add(at(secs));
        }
        assert_eq!(dates.newest(Time::BUILT), at(900));
    }
}
