//! The reporter's round: at least every five minutes the line's slices are kept and what sources have found goes into the outbox; at
//! the node's own minute an hour's record is made and all that waits is sent; tests and events go soon after they were found; after a
//! failure again when the backoff says.
//!
//! A large backlog goes upload by upload, none while a class uses the line (the gate of `link::foreground`), each as gently as
//! background goes.

use crate::life::{Life, Next, Worker};
use crate::report::compose::next_slot;
use crate::report::send::{self, BACKLOG, Step};
use crate::report::{Flushed, Inner, Reporter};
use futures_util::future::{BoxFuture, select_all};
use std::time::Duration;

/// The link cuts its slices every five minutes.
const ROUND: Duration = Duration::from_mins(5);

/// At least this long between rounds, whatever clocks say.
const SHORTEST: Duration = Duration::from_secs(1);

/// While a class uses the line it is looked at again after so long.
const LOOK: Duration = Duration::from_secs(10);

/// As long as a box may need to learn the time after a start: until then its records wait, for then their dates can be mended.
const BLIND_PATIENCE: Duration = Duration::from_mins(30);

/// Runs until the node stops.
pub(crate) struct Round {
    pub(crate) reporter: Reporter,
    pub(crate) life: Life,
}

impl Worker for Round {
    fn name(&self) -> &'static str {
        "report"
    }

    /// An upload to a hub that hangs must not hold up the node's end: cut short, it leaves every record where it was.
    async fn work(&mut self) -> anyhow::Result<Next> {
        let sources = self.reporter.sources();
        // From here on: what is found while the round is under way has a round of its own.
        let changed: Vec<BoxFuture<'_, ()>> = sources.iter().map(|source| source.changed()).chain([self.reporter.heard()]).collect();
        let round = async {
            let pause = step(&self.reporter).await?;
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = select_all(changed) => {}
            }
            Ok(Next::Busy)
        };
        tokio::select! {
            next = round => next,
            () = self.life.stopping() => {
                // The last heartbeat: what comes now is "off", to the second.
                self.reporter.keep_line().await?;
                Ok(Next::Done)
            }
        }
    }
}

/// One round; when the next one is due.
pub(crate) async fn step(reporter: &Reporter) -> anyhow::Result<Duration> {
    let inner = &*reporter.0;
    reporter.keep_line().await?;
    reporter.collect().await?;
    if is_due(inner) {
        reporter.report_now().await?;
        schedule(inner);
    }
    let sent = send(inner).await?;
    reporter.refresh_metrics().await?;
    Ok(match sent {
        Sent::One => SHORTEST,
        Sent::PutOff => LOOK,
        Sent::Nothing => pause(inner),
    })
}

/// What came of sending.
enum Sent {
    /// There may be more.
    One,
    /// A class uses the line.
    PutOff,
    /// There is nothing, or it is not time.
    Nothing,
}

async fn send(inner: &Inner) -> anyhow::Result<Sent> {
    if !may_send(inner) {
        return Ok(Sent::Nothing);
    }
    let waits = inner.state.outbox().count().await?.waiting_bytes;
    if waits > BACKLOG && inner.world.is_busy() {
        inner.put_off.inc();
        return Ok(Sent::PutOff);
    }
    let step = send::one(inner, &mut Flushed::default()).await?;
    Ok(if step == Step::More { Sent::One } else { Sent::Nothing })
}

fn is_due(inner: &Inner) -> bool {
    let now = inner.clock.now();
    let mut memory = inner.memory.lock();
    // Not yet planned, or the clock was set: a slot more than a round away is no slot of ours.
    let due = *memory.due.get_or_insert_with(|| next_slot(&inner.who.node, inner.settings.every, now));
    if due.since(now) > inner.settings.every {
        memory.due = Some(next_slot(&inner.who.node, inner.settings.every, now));
        return false;
    }
    due <= now
}

fn schedule(inner: &Inner) {
    let next = next_slot(&inner.who.node, inner.settings.every, inner.clock.now());
    inner.memory.lock().due = Some(next);
}

/// Whether something is to leave and the wait is over. After a start the first try is spread over five minutes: when a village gets its
/// power back, all its boxes start at once.
fn may_send(inner: &Inner) -> bool {
    let now = inner.clock.steady();
    let up = now.saturating_duration_since(inner.begun);
    let mut memory = inner.memory.lock();
    let first = || now + ROUND.mul_f64(rand::random_range(0.0..=1.0));
    if memory.not_before.is_none() && memory.tries == 0 && memory.last_delivered.is_none() {
        memory.not_before = Some(first());
        return false;
    }
    let blind = !inner.clock.trusted() && up < BLIND_PATIENCE;
    inner.settings.hub_url.is_some() && memory.wants && !blind && memory.not_before.is_none_or(|moment| moment <= now)
}

fn pause(inner: &Inner) -> Duration {
    let memory = inner.memory.lock();
    let due = memory.due.map_or(ROUND, |due| due.since(inner.clock.now()));
    let retry = memory.not_before.map_or(ROUND, |moment| moment.saturating_duration_since(inner.clock.steady()));
    let retry = if inner.settings.hub_url.is_some() && memory.wants && !retry.is_zero() { retry } else { ROUND };
    due.min(retry).clamp(SHORTEST, ROUND)
}
