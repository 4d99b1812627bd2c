//! What an upload changes beside its records: rows of columns, days that must be made anew, a node's newest news. Pure.

use crate::base::calendar::Calendar;
use crate::hub::accept::{Fresh, Judged};
use crate::hub::facts::{Facts, LONGEST, Moment, plausible};
use crate::hub::figures::{Glance, Hour, Outage, Ping, Test};
use crate::hub::keep::Fate;
use crate::report::sign;
use std::collections::BTreeSet;

/// The longest stretch of days that one record touches: [`LONGEST`] and its two ends.
const MOST_DAYS: i32 = 102;

/// How far the clocks of one box may differ before and after a restart.
const SLACK_SECS: i64 = 600;

/// What an upload changes.
#[derive(Debug, Default)]
pub(super) struct Columns<'a> {
    pub(super) hours: Vec<&'a Hour>,
    pub(super) pings: Vec<&'a Ping>,
    pub(super) tests: Vec<&'a Test>,
    pub(super) outages: Vec<&'a Outage>,
    pub(super) days: BTreeSet<i32>,
    /// How many records are new.
    pub(super) stored: i64,
    /// The newest of them.
    pub(super) newest: Option<i64>,
    /// The newest hour of them.
    pub(super) told: Option<Told>,
}

/// A node's newest hour.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) seq: i64,
    pub(super) record: String,
    pub(super) glance: Glance,
}

impl<'a> Columns<'a> {
    /// Of the records that were stored.
    pub(super) fn of(judged: &'a Judged, fates: &[Fate], calendar: &Calendar, at: Moment) -> Columns<'a> {
        let mut columns = Columns::default();
        for (fresh, _) in judged.fresh.iter().zip(fates).filter(|(_, fate)| **fate == Fate::Stored) {
            columns.stored += 1;
            columns.newest = columns.newest.max(Some(fresh.seq));
            columns.tell(fresh);
            columns.add(fresh, calendar, at);
        }
        columns
    }

    fn tell(&mut self, fresh: &Fresh) {
        let Facts::Hour(_, glance) = &fresh.facts else { return };
        if self.told.as_ref().is_none_or(|told| told.seq < fresh.seq) {
            let record = String::from_utf8_lossy(sign::peel(&fresh.sealed).unwrap_or_default()).into_owned();
            self.told = Some(Told { seq: fresh.seq, record, glance: Glance::clone(glance) });
        }
    }

    fn add(&mut self, fresh: &'a Fresh, calendar: &Calendar, at: Moment) {
        let (start, end) = (fresh.start, fresh.end);
        let dated = plausible(fresh.clock_ok, end, at);
        match &fresh.facts {
            // Tests are kept even when their day is not known: the figure is right all the same.
            Facts::Test(test) => self.tests.push(test),
            Facts::Hour(hour, _) if dated => self.hours.push(hour),
            Facts::Ping(ping) if dated => self.pings.push(ping),
            Facts::Event(outage) if dated => self.happened(outage),
            _ => return,
        }
        if dated {
            self.days.extend(calendar.days(start.max(end.minus(LONGEST)), end, MOST_DAYS));
        }
    }
}

impl<'a> Columns<'a> {
    /// One row a trouble: told when it began and again when it was over, perhaps in one upload.
    fn happened(&mut self, outage: &'a Outage) {
        let key = |outage: &Outage| (outage.what.clone(), outage.started);
        match self.outages.iter_mut().find(|other| key(other) == key(outage)) {
            None => self.outages.push(outage),
            Some(other) if (!outage.open, outage.seconds) > (!other.open, other.seconds) => *other = outage,
            Some(_) => {}
        }
    }
}

/// Whether a record shows that two boxes use one key. A box that was restored from a copy begins a new epoch, named by its second, and
/// never again speaks in an old one of what came after. Where both go on, there are two.
pub(super) fn is_twin(judged: &Judged, fates: &[Fate], newest_epoch: i64) -> bool {
    judged.epoch < newest_epoch
        && judged
            .fresh
            .iter()
            .zip(fates)
            .any(|(fresh, fate)| *fate == Fate::Stored && fresh.clock_ok && fresh.end.secs() > newest_epoch.saturating_add(SLACK_SECS))
}
