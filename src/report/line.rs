//! The line's history: the link's five-minute slices are kept as they end, hours and days rolled up from them, and a heartbeat says
//! when the node ran, so that a gap can be explained.
//!
//! Nothing is dated by a wrong clock: while it is not trusted nothing is kept; once it is, the time since the node's start is
//! entered as "ran with a wrong clock". A box that loses power before that leaves a gap that looks like "off".
//!
//! A clock that is trusted may still be ahead. What it wrote is forgotten once it is right again, and what is too old goes in small steps:
//! years of history never for one wrong date.
//!
//! Before its first run there was no box, and nothing to call off: the first hour, day and month begin with it.

use crate::base::clock::{Clock, Look, STEP, Time};
use crate::link::Slice;
use crate::link::rollup::{Folded, Level, Rollup, Run, merge, months, roll};
use crate::link::slice::Packed;
use crate::report::Inner;
use crate::state::history::{History, Ran};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};
use utoipa::ToSchema;

/// Slices are kept for a year and a bit, in short rows: about 35 MB of a line that is never quiet (a test writes such a year).
const KEEP_FIVE: Duration = Duration::from_hours(400 * 24);

/// Hours are kept for a school year and the one before.
const KEEP_HOURS: Duration = Duration::from_hours(800 * 24);

/// Days, and with them months, for five years: 2 MB.
const KEEP_DAYS: Duration = Duration::from_hours(1_830 * 24);

/// Of a level as much goes at once as comes in so many of its turns: a clock that is ahead costs twice the time that it was, at the far
/// end, and after a long time off what is too old is gone in as long again.
const TURNS: u64 = 2;

/// A box without a battery begins at most so far behind what it kept last: systems note the time each hour.
const AHEAD: Duration = Duration::from_hours(1);

/// Windows that one question gets: two months of hours.
const MOST_WINDOWS: usize = 1_500;

/// What is remembered between rounds.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Where the current run with a right clock began; `None` while it is wrong.
    run: Option<Time>,
    /// The same in steady time.
    run_steady: Option<Instant>,
    /// The last look at a clock that could be believed.
    look: Option<Look>,
    begun: Time,
    begun_steady: Option<Instant>,
    /// Slices before this are kept.
    kept: Option<Time>,
    /// The running slice as the last record told it.
    told: Option<Slice>,
}

impl Memory {
    /// The node starts.
    pub(crate) fn begin(clock: &Clock) -> Memory {
        let look = clock.look();
        let (run, begun_steady) = (clock.trusted().then_some(look.now), Some(look.steady));
        Memory { run, run_steady: begun_steady, look: run.map(|_| look), begun: look.now, begun_steady, kept: None, told: None }
    }

    /// Looks whether time has leapt since the last look. A clock that could be believed and was behind (a box without a battery, its
    /// power back after a night) and is set now has not seen the node run through all that time: it began as long ago as it has really
    /// lasted. Nor did it run while the machine slept.
    fn heed(&mut self, clock: &Clock) {
        let look = clock.look();
        if let (Some(_), Some(last)) = (self.run, self.look) {
            let (passed, slept) = look.since(&last);
            let was_set = look.now.since(last.now) > passed + slept + STEP;
            let lasted = if was_set { self.run_steady.map(|begun| look.steady.saturating_duration_since(begun)) } else { Some(passed) };
            if let Some(lasted) = lasted.filter(|_| was_set || slept > STEP) {
                self.run = Some(look.now.minus(lasted).max(last.now));
                self.run_steady = look.steady.checked_sub(lasted);
            }
        }
        self.look = Some(look);
    }

    /// When the node started, by the clock of that time.
    pub(crate) fn begun(&self) -> Time {
        self.begun
    }

    /// A record was made; `running` is the slice that had not ended.
    pub(crate) fn reported(&mut self, running: Option<Slice>) {
        self.told = running;
    }
}

/// Keeps new slices, the heartbeat, and the rollups that they complete.
pub(crate) async fn keep(inner: &Inner) -> anyhow::Result<()> {
    if !inner.clock.trusted() {
        return Ok(());
    }
    let history = inner.state.history();
    let now = inner.clock.now();
    let boot = &inner.who.boot_id;
    let (run, kept, begun_steady) = {
        let mut memory = inner.memory.lock();
        memory.line.heed(&inner.clock);
        (memory.line.run, memory.line.kept, memory.line.begun_steady.unwrap_or(inner.begun))
    };
    // What lies ahead of now was dated by a clock that was ahead.
    let (run, kept) = (run.filter(|run| *run <= now), kept.filter(|kept| *kept <= now));
    if kept.is_none() {
        forget_ahead(&history, now).await?;
    }
    let start = if let Some(start) = run {
        start
    } else {
        // The clock has been set: what came before cannot be dated, but its length is known.
        let blind = inner.clock.steady().saturating_duration_since(begun_steady);
        history.ran(boot, Ran { start: now.minus(blind), seen: now, clock_ok: false }).await?;
        now
    };
    history.ran(boot, Ran { start, seen: now, clock_ok: true }).await?;
    let since = kept.unwrap_or(start);
    // A slice of the time before the clock was set would be misdated.
    let slices: Vec<Slice> = inner.world.slices(since).into_iter().filter(|slice| slice.end > start && slice.start <= now).collect();
    let rows: Vec<(Time, Packed)> = slices.into_iter().map(|slice| (slice.start, Packed(slice))).collect();
    history.put_all(Level::Five.word(), &rows).await?;
    let hour = Level::Hour.window(now);
    if kept.is_none_or(|kept| Level::Hour.window(kept) < hour) {
        complete(&history, hour).await?;
        prune(&history, kept, now).await?;
    }
    let mut memory = inner.memory.lock();
    if memory.line.run != Some(start) {
        (memory.line.run, memory.line.run_steady) = (Some(start), Some(inner.clock.steady()));
    }
    memory.line.kept = Some(Level::Five.window(now));
    Ok(())
}

/// Forgets what a clock that was ahead has written. Hours and days that have not ended yet are rolled up again from what they rest on.
async fn forget_ahead(history: &History, now: Time) -> anyhow::Result<()> {
    let far = now.plus(AHEAD);
    history.forget_after(Level::Five.word(), far).await?;
    for level in [Level::Hour, Level::Day] {
        history.forget_after(level.word(), now.minus(level.length())).await?;
    }
    history.bring_back_runs(now, far).await?;
    Ok(())
}

/// Lets go of what is too old, [`TURNS`]' worth at most.
async fn prune(history: &History, kept: Option<Time>, now: Time) -> anyhow::Result<()> {
    let rows = |of: Level, turn: Level| u32::try_from(TURNS * turn.length().as_secs() / of.length().as_secs()).unwrap_or(u32::MAX);
    for (level, keep) in [(Level::Five, KEEP_FIVE), (Level::Hour, KEEP_HOURS), (Level::Day, KEEP_DAYS)] {
        let turn = level.max(Level::Hour);
        if kept.is_none_or(|kept| turn.window(kept) < turn.window(now)) {
            history.prune(level.word(), now.minus(keep), rows(level, turn)).await?;
        }
    }
    history.prune_runs(now.minus(KEEP_FIVE), rows(Level::Five, Level::Hour)).await?;
    Ok(())
}

/// Rolls up every hour and day that has ended and is not kept yet, from the newest kept one on; at most what the slices cover.
async fn complete(history: &History, this_hour: Time) -> anyhow::Result<()> {
    let oldest = this_hour.minus(KEEP_FIVE);
    let mut hour = match history.newest(Level::Hour.word(), this_hour).await? {
        Some(newest) => newest.plus(Level::Hour.length()).max(oldest),
        None => match first_run(history, oldest, this_hour).await? {
            Some(first) => Level::Hour.window(first).max(oldest),
            None => return Ok(()),
        },
    };
    while hour < this_hour {
        let end = hour.plus(Level::Hour.length());
        history.put(Level::Hour.word(), hour, &Folded(window(history, hour, end).await?)).await?;
        hour = end;
    }
    let today = Level::Day.window(this_hour);
    let (mut day, first) = match history.newest(Level::Day.word(), today).await? {
        Some(newest) => (newest.plus(Level::Day.length()), None),
        None => match kept(history, Level::Hour, oldest, today).await?.first() {
            Some(first) => (Level::Day.window(first.start), Some(first.start)),
            None => return Ok(()),
        },
    };
    while day < today {
        let end = day.plus(Level::Day.length());
        let hours = kept(history, Level::Hour, day, end).await?;
        let start = first.map_or(day, |first| first.max(day));
        history.put(Level::Day.word(), day, &Folded(merge(start, end, &hours))).await?;
        day = end;
    }
    Ok(())
}

async fn first_run(history: &History, from: Time, until: Time) -> anyhow::Result<Option<Time>> {
    Ok(history.runs(from, until).await?.first().map(|ran| ran.start))
}

/// One window from kept slices and heartbeats, as far as it lies behind the node's first run; without any it is empty.
async fn window(history: &History, start: Time, end: Time) -> anyhow::Result<Rollup> {
    let slices = slices(history, start, end).await?;
    // The first slice begins a moment before its node is noted to run.
    let first = history.first_run().await?.into_iter().chain(slices.first().map(|slice| slice.start)).min();
    let start = first.map_or(end, |first| first.clamp(start, end.max(start)));
    Ok(roll(start, end, &slices, &runs(history, start, end).await?))
}

/// Hours or days that begin in `start..end` and are kept, oldest first.
pub(crate) async fn kept(history: &History, level: Level, start: Time, end: Time) -> anyhow::Result<Vec<Rollup>> {
    Ok(history.span::<Folded>(level.word(), start, end).await?.into_iter().map(|folded| folded.0).collect())
}

async fn slices(history: &History, start: Time, end: Time) -> anyhow::Result<Vec<Slice>> {
    Ok(history.span::<Packed>(Level::Five.word(), start, end).await?.into_iter().map(|packed| packed.0).collect())
}

async fn runs(history: &History, start: Time, end: Time) -> anyhow::Result<Vec<Run>> {
    let runs = history.runs(start, end).await?;
    Ok(runs.into_iter().map(|ran| Run { start: ran.start, end: ran.seen, clock_ok: ran.clock_ok }).collect())
}

/// The line from `start` to `now`, for a record, and the slice that is still running: what this record tells of it, the next one
/// must not tell again.
pub(crate) async fn between(inner: &Inner, start: Time, now: Time, clock_ok: bool) -> anyhow::Result<(Rollup, Option<Slice>)> {
    let history = inner.state.history();
    let told = inner.memory.lock().line.told.clone();
    let begun = inner.memory.lock().line.begun;
    let live = inner.world.slices(Level::Five.window(start));
    // What this start of the node no longer holds in memory comes from the history.
    let until = live.first().map_or(begun, |first| first.start.min(begun));
    let mut slices = slices(&history, start, until).await?;
    let running = live.last().cloned();
    slices.extend(live.into_iter().filter(|slice| slice.end > start).map(|slice| fresh(slice, told.as_ref(), start)));
    let mut runs = runs(&history, start, now).await?;
    // What came before the clock could be believed, or was set, is among those.
    let run = inner.memory.lock().line.run.filter(|run| clock_ok && *run <= now).unwrap_or(begun);
    runs.push(Run { start: run.max(start), end: now, clock_ok });
    Ok((roll(start, now.max(start), &slices, &runs), running))
}

/// What of a slice has not been told yet, moved into the record's time.
fn fresh(mut slice: Slice, told: Option<&Slice>, start: Time) -> Slice {
    if let Some(told) = told.filter(|told| told.start == slice.start) {
        slice.up_seconds = slice.up_seconds.saturating_sub(told.up_seconds);
        slice.slow_seconds = slice.slow_seconds.saturating_sub(told.slow_seconds);
        slice.down_seconds = slice.down_seconds.saturating_sub(told.down_seconds);
        slice.unknown_seconds = slice.unknown_seconds.saturating_sub(told.unknown_seconds);
        slice.rx_bytes = slice.rx_bytes.saturating_sub(told.rx_bytes);
        slice.tx_bytes = slice.tx_bytes.saturating_sub(told.tx_bytes);
        slice.background_rx_bytes = slice.background_rx_bytes.saturating_sub(told.background_rx_bytes);
        slice.attempts = slice.attempts.saturating_sub(told.attempts);
        slice.failures = slice.failures.saturating_sub(told.failures);
        slice.passive.fresh(&told.passive);
    }
    slice.start = slice.start.max(start);
    slice
}

/// The hours that begin in `start..end`, oldest first; the one that is running at `now` as far as it has come.
pub(crate) async fn hours(history: &History, start: Time, end: Time, now: Time) -> anyhow::Result<Vec<Rollup>> {
    let running = Level::Hour.window(now);
    let mut hours = kept(history, Level::Hour, start, end.min(running)).await?;
    // Where no hour is kept and the node has not run in this one either (its clock is wrong), nothing is known.
    let ran = !hours.is_empty() || first_run(history, running, now).await?.is_some();
    if ran && start <= running && running < end {
        hours.push(window(history, running, now).await?);
    }
    Ok(hours)
}

/// The line as pages and commands show it.
#[derive(Clone, Debug, Serialize)]
pub struct Recent {
    /// The last 24 hours in one.
    pub day: Rollup,
    /// The last 24 hours, hour by hour (UTC), the running one included.
    pub hours: Vec<Rollup>,
    /// The last 30 finished days (UTC).
    pub days: Vec<Rollup>,
}

/// How long the windows of a history are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = LineWindow)]
pub enum By {
    /// Five minutes: kept for a year.
    Five,
    /// Hours: for two years.
    Hour,
    /// Days (UTC): for five years.
    #[default]
    Day,
    /// Months (UTC), from their days.
    Month,
}

/// The newest `most` windows of the line's history that have ended, and the running one of a month; oldest first.
///
/// # Errors
/// The database's.
pub async fn history(history: &History, by: By, most: usize, now: Time) -> anyhow::Result<Vec<Rollup>> {
    let most = most.clamp(1, MOST_WINDOWS);
    let back = |level: Level| {
        let count = u32::try_from(most).unwrap_or(u32::MAX);
        level.window(now).minus(level.length().saturating_mul(count))
    };
    Ok(match by {
        By::Five => {
            let slices = slices(history, back(Level::Five), Level::Five.window(now)).await?;
            slices.iter().map(|slice| roll(slice.start, slice.end.max(slice.start), std::slice::from_ref(slice), &[])).collect()
        }
        By::Hour => kept(history, Level::Hour, back(Level::Hour), now).await?,
        By::Day => kept(history, Level::Day, back(Level::Day), now).await?,
        By::Month => {
            let days = kept(history, Level::Day, now.minus(KEEP_DAYS), now).await?;
            let mut all = months(&days);
            all.drain(..all.len().saturating_sub(most));
            all
        }
    })
}

/// Reads the history.
///
/// # Errors
/// The database's.
pub async fn recent(history: &History, now: Time) -> anyhow::Result<Recent> {
    let this_hour = Level::Hour.window(now);
    let from = this_hour.minus(Duration::from_hours(23));
    let mut hours = kept(history, Level::Hour, from, this_hour).await?;
    hours.push(window(history, this_hour, now).await?);
    // Hours without power are kept too; before the first kept hour there was no node, and nothing to call off.
    let day = merge(hours.first().map_or(from, |first| first.start), now, &hours);
    let days = kept(history, Level::Day, now.minus(Duration::from_hours(31 * 24)), now).await?;
    Ok(Recent { day, hours, days })
}

#[cfg(test)]
mod tests;
