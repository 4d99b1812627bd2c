//! The hourly round: every five minutes the line's slices are kept; at the node's own minute a record is made and what waits is
//! sent; after a failure again when the backoff says.

use crate::life::{Next, Worker};
use crate::report::compose::next_slot;
use crate::report::{Inner, Reporter};
use std::time::Duration;

/// The link cuts its slices every five minutes.
const ROUND: Duration = Duration::from_secs(300);

/// At least this long between rounds, whatever clocks say.
const SHORTEST: Duration = Duration::from_secs(1);

/// Runs until the node stops.
pub(crate) struct Round(pub(crate) Reporter);

impl Worker for Round {
    fn name(&self) -> &'static str {
        "report"
    }

    async fn work(&mut self) -> anyhow::Result<Next> {
        let inner = &*self.0.0;
        self.0.keep_line().await?;
        if is_due(inner) {
            self.0.report_now().await?;
            schedule(inner);
            // A fresh record goes at once, unless the hub asked for peace.
            if inner.memory.lock().tries == 0 {
                self.0.flush().await?;
            }
        }
        if may_send(inner) && self.0.0.state.outbox().count().await?.waiting > 0 {
            self.0.flush().await?;
        }
        self.0.refresh_metrics().await?;
        Ok(Next::Wait(pause(inner)))
    }
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

/// Whether the wait is over. After a start with waiting records the first try is spread over five minutes: when a village gets its
/// power back, all its boxes start at once.
fn may_send(inner: &Inner) -> bool {
    let now = inner.clock.steady();
    let mut memory = inner.memory.lock();
    let first = || now + ROUND.mul_f64(rand::random_range(0.0..=1.0));
    if memory.not_before.is_none() && memory.tries == 0 && memory.last_delivered.is_none() {
        memory.not_before = Some(first());
        return false;
    }
    inner.settings.hub_url.is_some() && memory.not_before.is_none_or(|moment| moment <= now)
}

fn pause(inner: &Inner) -> Duration {
    let memory = inner.memory.lock();
    let due = memory.due.map_or(ROUND, |due| due.since(inner.clock.now()));
    let retry = memory.not_before.map_or(ROUND, |moment| moment.saturating_duration_since(inner.clock.steady()));
    let retry = if inner.settings.hub_url.is_some() && !retry.is_zero() { retry } else { ROUND };
    due.min(retry).clamp(SHORTEST, ROUND)
}
