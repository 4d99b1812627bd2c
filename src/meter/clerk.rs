//! Who starts tests by the schedule: looks at what is kept, waits, puts off while a class uses the line, and writes down what came of it.

use crate::life::{Next, Worker};
use crate::link;
use crate::meter::schedule::{Now, Row, STARTUP, State, Step};
use crate::meter::test::{End, Trigger, Trouble};
use crate::meter::{Meter, Order};
use crate::state::measure::Due;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A class is watched for so long before it is called busy.
const LOOK: Duration = Duration::from_secs(5);

/// A clock that is not trusted is looked at again after so long: without it nobody knows which slot it is.
const CLOCKLESS: Duration = Duration::from_mins(1);

/// Runs tests by the schedule.
pub(super) struct Clerk {
    meter: Meter,
    /// How long a class is watched.
    watch: Duration,
}

impl Clerk {
    pub(super) fn new(meter: Meter) -> Clerk {
        Clerk { meter, watch: LOOK }
    }

    /// One look at the schedule, and what it says.
    async fn look(&self) -> anyhow::Result<Next> {
        let inner = &self.meter.0;
        let settings = inner.settings.load_full();
        if !inner.clock.trusted() {
            return Ok(Next::Wait(CLOCKLESS));
        }
        let schedule = &settings.schedule;
        let now = inner.clock.now();
        let rows = self.meter.rows(&schedule.day(now)).await?;
        let last = self.meter.newest(8).await?.into_iter().find(|kept| kept.test.end != End::Failed).map(|kept| kept.finish);
        let mut life = Now { now, boot: now.minus(inner.clock.age()), last, busy: false, draw: rand::random() };
        if let Step::Run(_) = schedule.next(&rows, &life) {
            // Only who would run looks at the class.
            life.busy = self.meter.is_busy(self.watch).await;
            life.now = inner.clock.now();
        }
        match schedule.next(&rows, &life) {
            Step::Wait(time) => Ok(Next::Wait(time)),
            Step::Keep(row) => {
                inner.measure.put_slot(&due(&row)).await?;
                Ok(Next::Busy)
            }
            Step::Run(row) => self.test(row).await,
        }
    }

    async fn test(&self, row: Row) -> anyhow::Result<Next> {
        let inner = &self.meter.0;
        let settings = inner.settings.load_full();
        let skip = |row: &Row| Row { state: State::Skipped, ..row.clone() };
        let row = if !settings.has_server() {
            // Nobody to test with is no failure of the line, and nobody is nagged.
            skip(&row)
        } else if inner.link.state() == link::State::Down {
            settings.schedule.again(&row, inner.clock.now())
        } else {
            let trigger = if row.slot == STARTUP { Trigger::Startup } else { Trigger::Daily };
            let order = Order { trigger, full: false, slot: Some(row.slot).filter(|slot| *slot != STARTUP) };
            let stop = CancellationToken::new();
            let mut test = std::pin::pin!(self.meter.test(&order, &stop, &|_| ()));
            let tested = tokio::select! {
                tested = &mut test => tested,
                () = inner.life.stopping() => {
                    // What it has taken is written down before the node ends.
                    stop.cancel();
                    test.await
                }
            };
            match tested {
                Ok(kept) if kept.test.end == End::Failed && kept.test.trouble.may_pass() => {
                    settings.schedule.again(&row, inner.clock.now())
                }
                // Only the node's end cancels it: the slot goes on waiting.
                Ok(kept) if kept.test.trouble == Trouble::Cancelled => return Ok(Next::Busy),
                Ok(_) => Row { state: State::Done, tries: row.tries + 1, ..row },
                Err(crate::meter::Error::Busy) => return Ok(Next::Wait(Duration::from_secs(30))),
                Err(error) => return Err(error.into()),
            }
        };
        inner.measure.put_slot(&due(&row)).await?;
        Ok(Next::Busy)
    }
}

impl Worker for Clerk {
    fn name(&self) -> &'static str {
        "meter"
    }

    async fn work(&mut self) -> anyhow::Result<Next> {
        let next = self.look().await?;
        let Next::Wait(time) = next else { return Ok(next) };
        // Changed settings are looked at at once.
        tokio::select! {
            () = self.meter.0.changed.notified() => {}
            () = self.meter.0.life.stopping() => return Ok(Next::Done),
            () = tokio::time::sleep(time) => {}
        }
        Ok(Next::Busy)
    }
}

/// From what is kept.
pub(super) fn row(due: Due) -> Row {
    let state = match due.state.as_str() {
        "waiting" => State::Waiting,
        "done" => State::Done,
        _ => State::Skipped,
    };
    Row { day: due.day, slot: due.slot, at: due.at, tries: due.tries, state }
}

/// To what is kept.
pub(super) fn due(row: &Row) -> Due {
    let state = match row.state {
        State::Waiting => "waiting",
        State::Done => "done",
        State::Skipped => "skipped",
    };
    Due { day: row.day.clone(), slot: row.slot, at: row.at, tries: row.tries, state: state.to_owned() }
}

#[cfg(test)]
impl Clerk {
    /// One step, without the wait for a class.
    pub(super) async fn step(&mut self) {
        self.watch = Duration::ZERO;
        self.look().await.expect("a look");
    }
}
