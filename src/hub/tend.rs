//! What looks after the kept: days are made anew where records touched them, what is too old goes, the roll is read again.
//!
//! Small steps: a step makes the days of some schools, or lets go of some rows, and leaves everything consistent. A hub that was off
//! for a week finds the days that it owes in its database and makes them. Of several hubs on one database one does so (`Keep::leads`).

use crate::base::calendar::Calendar;
use crate::base::clock::{Clock, Time};
use crate::base::count::{IntGauge, Metrics};
use crate::hub::Settings;
use crate::hub::day::roll;
use crate::hub::enrol::{Book, REMEMBERED};
use crate::hub::facts::{AHEAD, Moment};
use crate::hub::figures::Day;
use crate::hub::keep::{Cutoffs, Keep, Stale};
use crate::hub::session::{IDLE, LONGEST};
use crate::hub::witness::Witness;
use crate::life::{Life, Next, Worker};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Days of one step: some hundred reads, under a second.
const MOST_DAYS: u32 = 200;

/// Between rounds when nothing comes.
const ROUND: Duration = Duration::from_secs(30);

/// After something has come: what comes with it is made in the same step, and a page is hardly older than that.
const GATHER: Duration = Duration::from_secs(1);

/// Between looks for what is too old.
const PRUNE: Duration = Duration::from_mins(10);

/// Pings are kept until every school that was offline for 90 days has told all, so that its days can be made.
const KEEP_PINGS: Duration = Duration::from_hours(100 * 24);

/// Runs until the hub stops.
pub(crate) struct Tend {
    calendar: Calendar,
    keep: Arc<dyn Keep>,
    book: Book,
    clock: Clock,
    witness: Witness,
    /// Whether the clock was right when it was looked at last.
    is_right: bool,
    life: Life,
    /// Something has come.
    woken: Arc<Notify>,
    keep_records: Duration,
    keep_hours: Duration,
    pruned: Option<std::time::Instant>,
    /// When the roll was.
    read: Option<std::time::Instant>,
    owed: IntGauge,
    twins: IntGauge,
    clock_ok: IntGauge,
}

impl Tend {
    pub(crate) fn new(
        settings: &Settings,
        keep: Arc<dyn Keep>,
        book: Book,
        (clock, witness): (&Clock, &Witness),
        (life, woken): (&Life, &Arc<Notify>),
        metrics: &Metrics,
    ) -> Tend {
        Tend {
            calendar: settings.calendar.clone(),
            keep,
            book,
            clock: clock.clone(),
            witness: witness.clone(),
            is_right: true,
            life: life.clone(),
            woken: Arc::clone(woken),
            keep_records: settings.keep_records,
            keep_hours: settings.keep_hours,
            pruned: None,
            read: None,
            owed: metrics.gauge("bulak_hub_stale_days", "Days of schools that must be made anew, of one step."),
            clock_ok: metrics.gauge("bulak_hub_clock_ok", "1: this machine's clock is not behind what schools have told."),
            twins: metrics.gauge("bulak_hub_twin_nodes", "Nodes whose key two boxes use."),
        }
    }

    fn cutoffs(&self) -> Cutoffs {
        let Moment { now, told } = self.witness.moment();
        Cutoffs {
            ahead: now.plus(AHEAD),
            records: told.minus(self.keep_records),
            pings: told.minus(KEEP_PINGS),
            hours: told.minus(self.keep_hours),
            codes: told.minus(REMEMBERED),
            sessions: (now.minus(IDLE), now.minus(LONGEST)),
        }
    }

    /// Looks what has been told, and whether the clock fits it.
    async fn look(&mut self) -> anyhow::Result<()> {
        self.witness.refresh(&*self.keep).await?;
        let is_right = self.witness.is_right();
        if is_right != self.is_right {
            let floor = self.witness.moment().told.to_rfc3339();
            if is_right {
                tracing::info!("the clock is right again");
            } else {
                tracing::error!(not_before = floor, "this machine's clock is behind what schools have told; uploads wait: set it");
            }
        }
        self.is_right = is_right;
        self.clock_ok.set(i64::from(is_right));
        Ok(())
    }
}

impl Worker for Tend {
    fn name(&self) -> &'static str {
        "hub"
    }

    async fn work(&mut self) -> anyhow::Result<Next> {
        // What is older than the hours that are left cannot be made anew: it stays as it is.
        let cutoffs = self.cutoffs();
        let oldest = self.calendar.day(cutoffs.hours).saturating_add(2);
        let leads = self.keep.leads().await?;
        let made = if leads { make(&*self.keep, &self.calendar, (oldest, cutoffs.pings)).await? } else { 0 };
        self.owed.set(i64::try_from(made).unwrap_or(i64::MAX));
        let now = self.clock.steady();
        if self.pruned.is_none_or(|last| now.saturating_duration_since(last) >= PRUNE) {
            self.look().await?;
            if leads && self.is_right && self.keep.prune(self.cutoffs()).await? {
                return Ok(Next::Busy);
            }
            self.pruned = Some(now);
        }
        // Whoever enrols, revokes or meets a stranger reads the roll at once.
        if self.read.is_none_or(|last| now.saturating_duration_since(last) >= ROUND) {
            self.book.refresh().await?;
            self.twins.set(i64::try_from(self.keep.twins().await?.len()).unwrap_or(i64::MAX));
            self.read = Some(now);
        }
        // What else is due does not wait for the end of these: one node could owe days for ever.
        if made >= MOST_DAYS as usize {
            return Ok(Next::Busy);
        }
        Ok(tokio::select! {
            () = self.woken.notified() => Next::Wait(GATHER),
            () = tokio::time::sleep(ROUND) => Next::Busy,
            () = self.life.stopping() => Next::Done,
        })
    }
}

/// Makes some of the days that are owed, from the oldest that can be made anew; what their pings say stays where the pings are gone. How
/// many.
///
/// # Errors
/// The database's.
pub(crate) async fn make(keep: &dyn Keep, calendar: &Calendar, since: (i32, Time)) -> anyhow::Result<usize> {
    let stale = keep.stale(MOST_DAYS).await?;
    let mut days = Vec::with_capacity(stale.len());
    for of_school in stale.chunk_by(|a, b| a.school == b.school) {
        for run in of_school.chunk_by(|a, b| a.day.abs_diff(b.day) <= 1) {
            days.extend(of_run(keep, calendar, run, since).await?);
        }
    }
    keep.put_days(&days, &stale).await?;
    Ok(stale.len())
}

/// Days of one school that follow one another: one read.
async fn of_run(keep: &dyn Keep, calendar: &Calendar, run: &[Stale], (oldest, pings): (i32, Time)) -> anyhow::Result<Vec<Day>> {
    let (Some(first), Some(last)) = (run.first(), run.last()) else { return Ok(Vec::new()) };
    let (from, until) = (calendar.span(first.day).0, calendar.span(last.day).1);
    let kept = keep.kept(&first.school, from, until).await?;
    // Of those whose pings are no longer here.
    let before = if from < pings { keep.days(Some(std::slice::from_ref(&first.school)), first.day, last.day).await? } else { Vec::new() };
    let fresh: Vec<(Stale, (Time, Time))> =
        run.iter().filter(|stale| stale.day >= oldest).map(|stale| (stale.clone(), calendar.span(stale.day))).collect();
    let rolls = move || {
        let day = |(stale, span): &(Stale, (Time, Time))| {
            let day = roll(&stale.school, stale.day, *span, &kept);
            match before.iter().find(|known| known.day == stale.day && span.0 < pings) {
                Some(known) => day.with_pings_of(known),
                None => day,
            }
        };
        fresh.iter().map(day).collect()
    };
    // A node may have sent so much of these days that others would wait.
    Ok(tokio::task::spawn_blocking(rolls).await?)
}
