//! The statement of service: one printable page on what was promised, what was measured, and what was out of order, signed by the node.
//!
//! ```text
//! meter (tests) ─┐
//! history (hours) ┼-> figures -> paper (signed) -> page (kk, ru, en)
//! log of outages ─┘                     └-> check: the same page again?
//! ```

/// What a statement says.
pub mod figures;

/// Which days it is about.
pub mod period;

/// Signed, and checked.
pub mod paper;

/// As a page.
pub mod page;

/// In three languages.
mod words;

/// Over the API.
pub mod api;

use crate::base::calendar::Calendar;
use crate::base::clock::Time;
use crate::link::rollup::Rollup;
use crate::meter::outages::{self, Outages};
use crate::meter::{Kept, Meter};
use crate::report::{Reporter, line};
use arc_swap::ArcSwap;
use figures::{About, Outage, sum};
use paper::Document;
use period::Period;
use std::sync::Arc;

/// Tests that are read at once.
const PAGE: u32 = 500;

/// Outages that are read of a span: as many as the log keeps, for a statement of a year is to leave none out.
const OUTAGES: u32 = 10_000;

/// What a node's statements rest on.
#[derive(Clone)]
pub struct Desk {
    /// The line's history, the clock, and the key.
    pub reporter: Reporter,
    /// The tests.
    pub meter: Meter,
    /// The log of outages.
    pub outages: Outages,
    /// The school as people call it.
    pub title: String,
    /// The school's time zone, an IANA name; it may change while the node runs.
    pub zone: Arc<ArcSwap<String>>,
}

impl Desk {
    /// The days at the school.
    pub fn calendar(&self) -> Calendar {
        Calendar::of(&self.zone.load()).unwrap_or_default()
    }

    /// Whether anybody knows what day it is.
    pub fn is_dated(&self) -> bool {
        self.reporter.0.clock.trusted()
    }

    /// Today, by its number.
    pub fn today(&self) -> i32 {
        self.calendar().day(self.reporter.0.clock.now())
    }

    /// Makes and signs a statement.
    ///
    /// # Errors
    /// The database's.
    pub async fn statement(&self, period: Period) -> anyhow::Result<Document> {
        let inner = &*self.reporter.0;
        let (calendar, now) = (self.calendar(), inner.clock.now());
        let (start, end) = (calendar.span(period.from).0, calendar.span(period.to).1);
        let view = self.meter.view().await?;
        let about = About {
            school: self.title.clone(),
            school_id: inner.settings.school.clone(),
            zone: self.zone.load().to_string(),
            contract: (view.contract_down_bps, view.contract_up_bps),
            pupils: view.pupils,
            benchmark: view.benchmark_bps,
            // A month without an outage is one, though its first entry comes late.
            logged: !self.outages.within(Time::default()..start, 1).await?.is_empty(),
        };
        let tests = self.tests(start, end).await?;
        let hours = self.hours(start, end).await?;
        let outages = self.outages(start, end.min(now)).await?;
        let figures = sum(&about, &calendar, period, now, &tests, &hours, &outages);
        Ok(Document::sign(&inner.key, now.to_rfc3339(), figures)?)
    }

    /// The hours of `start..end`, what the last minutes saw included.
    pub(crate) async fn hours(&self, start: Time, end: Time) -> anyhow::Result<Vec<Rollup>> {
        self.reporter.keep_line().await?;
        let inner = &*self.reporter.0;
        let now = inner.clock.now();
        line::hours(&inner.state.history(), start, end.min(now), now).await
    }

    /// Outages of which a part lies in `start..end`, oldest first.
    pub(crate) async fn log(&self, start: Time, end: Time) -> anyhow::Result<Vec<outages::Kept>> {
        let mut kept = self.outages.within(start..end, OUTAGES).await?;
        kept.reverse();
        Ok(kept)
    }

    /// What was out of order in `start..end`, as far as it lies in there, oldest first.
    async fn outages(&self, start: Time, end: Time) -> anyhow::Result<Vec<Outage>> {
        let kept = self.log(start, end).await?;
        let inside = |kept: &outages::Kept| {
            let (from, to) = (kept.start.max(start), kept.end.min(end));
            // What was joined to it has breaks between: it lasted as long as it lasted.
            let seconds = kept.event.seconds.min(to.since(from).as_secs());
            (from < to).then(|| Outage { what: kept.event.what.word(), start: from, seconds, times: u64::from(kept.joined) + 1 })
        };
        Ok(kept.iter().filter_map(inside).collect())
    }

    /// The tests that began in `start..end`, oldest first.
    pub(crate) async fn tests(&self, start: Time, end: Time) -> anyhow::Result<Vec<Kept>> {
        let mut found = Vec::new();
        let mut number = 0;
        loop {
            let page = self.meter.after(number, PAGE).await?;
            let Some(last) = page.last() else { return Ok(found) };
            number = last.number;
            found.extend(page.into_iter().filter(|kept| kept.start >= start && kept.start < end));
        }
    }
}
