//! The rounds: every minute, and at once when the line is back or a person asks.

use crate::life::{Life, Next, Worker};
use crate::link::State;
use crate::report::giga::{Giga, Inner};
use crate::state::giga::Check;
use std::time::Duration;
use tokio::sync::watch;

/// New tests are told within this long.
const ROUND: Duration = Duration::from_mins(1);

/// Until the node stops.
pub(super) struct Round {
    pub(super) giga: Giga,
    pub(super) life: Life,
    /// Whether what waits has been shown.
    pub(super) shown: bool,
    pub(super) watch: watch::Receiver<State>,
}

impl Worker for Round {
    fn name(&self) -> &'static str {
        "giga"
    }

    /// A server that hangs must not hold up the node's end: what was under way may have arrived, and is asked about next time.
    async fn work(&mut self) -> anyhow::Result<Next> {
        if !std::mem::replace(&mut self.shown, true) {
            self.giga.show().await?;
        }
        let turned = tokio::select! {
            () = self.life.stopping() => return Ok(Next::Done),
            () = tokio::time::sleep(ROUND) => false,
            changed = self.watch.changed() => changed.is_ok(),
        };
        tokio::select! {
            () = self.life.stopping() => return Ok(Next::Done),
            done = async {
                self.giga.observe(turned).await?;
                self.giga.round(false).await
            } => done?,
        }
        Ok(Next::Busy)
    }
}

/// Notes whether the line is there, every quarter of an hour and when that has changed. Where nobody knows, nothing is noted.
pub(super) async fn observe(inner: &Inner, turned: bool) -> anyhow::Result<()> {
    let (view, now) = (inner.link.view(), inner.clock.steady());
    let connected = match view.state {
        State::Up | State::Slow => true,
        State::Down => false,
        State::Unknown => return Ok(()),
    };
    {
        let mut memory = inner.memory.lock();
        let due = memory.made.is_none_or(|made| now.saturating_duration_since(made) >= inner.pace.make_checks);
        if !(due || turned) || !inner.clock.trusted() {
            return Ok(());
        }
        memory.made = Some(now);
        memory.back |= turned && connected;
        if turned && connected {
            // What was waited for is here: no reason to wait longer.
            memory.not_before = None;
        }
    }
    let check = Check { connected, latency: view.rtt_seconds.and_then(micros), id: uuid::Uuid::new_v4().to_string() };
    inner.state.giga().queue_check(inner.clock.now(), &check).await?;
    Ok(())
}

#[expect(clippy::cast_possible_truncation, reason = "a round trip of some seconds; `as` saturates")]
fn micros(seconds: f64) -> Option<i64> {
    (seconds.is_finite() && seconds >= 0.0).then(|| (seconds * 1e6).round() as i64)
}
