//! Work for quiet hours: dead bytes given back, content made smaller, bodies read and verified. Small steps with pauses; each asks
//! before it begins whether the line and the class are quiet, and leaves everything consistent.

use crate::base::clock::Clock;
use crate::life::{Next, Worker};
use crate::store::scrub::Round;
use crate::store::shrink::{Night, Pace};
use crate::store::{Error, Inner};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Whether nobody minds work on the disk now.
pub type Permit = Arc<dyn Fn() -> bool + Send + Sync>;

/// Dead share from which a segment is rewritten when there is time, in percent.
const PARTLY_DEAD: u64 = 25;
/// Between two steps, so that whoever comes meanwhile finds the disk free: a step takes a tenth of it on an SSD.
const PAUSE: Duration = Duration::from_secs(1);
/// Until it is asked again whether it is quiet, and whether there is anything to do.
const LATER: Duration = Duration::from_secs(30);
/// From the end of a night to the next: it begins with all footers, which is a minute's reading on a slow disk.
const NIGHT_EVERY: Duration = Duration::from_hours(1);

/// The worker; see `Store::tend`.
pub struct Tend {
    inner: Weak<Inner>,
    permit: Permit,
    clock: Clock,
    night: Option<Night>,
    /// No other night begins before.
    rested: Instant,
    round: Option<Round>,
}

impl Tend {
    pub(super) fn new(inner: &Arc<Inner>, permit: Permit) -> Tend {
        let (clock, rested) = (inner.clock(), inner.clock().steady());
        Tend { inner: Arc::downgrade(inner), permit, clock, night: None, rested, round: None }
    }

    /// One step of the night, if there is one. Whether there was.
    async fn shrink(&mut self, inner: &Arc<Inner>) -> Result<bool, Error> {
        if self.night.is_none() && self.clock.steady() < self.rested || inner.gate.writable().is_err() || inner.gate.is_latched() {
            return Ok(false);
        }
        let permit = Arc::clone(&self.permit);
        let mut night = self.night.take().unwrap_or_else(|| Night::new(Pace::Night).with_permit(permit));
        // Should the step fail, that night is over.
        self.rested = self.clock.steady() + NIGHT_EVERY;
        let (night, sum) = inner.run_write(move |inner| night.step(inner).map(|sum| (night, sum))).await?;
        if !sum.done {
            self.night = Some(night);
        } else if sum.tried > 0 {
            let (bodies, before, after, written) = (sum.tried, sum.before_bytes, sum.after_bytes, sum.written_bytes);
            tracing::info!(bodies, before, after, written, "the night made the store smaller");
        }
        Ok(!sum.done)
    }
}

impl Worker for Tend {
    fn name(&self) -> &'static str {
        "store"
    }

    async fn work(&mut self) -> anyhow::Result<Next> {
        let Some(inner) = self.inner.upgrade() else { return Ok(Next::Done) };
        if !(self.permit)() {
            return Ok(Next::Wait(LATER));
        }
        if inner.run_write(Inner::rewrite_at_leisure).await? {
            return Ok(Next::Wait(PAUSE));
        }
        if self.shrink(&inner).await? {
            return Ok(Next::Wait(PAUSE));
        }
        let round = self.round.take();
        let (round, busy) = inner.run_write(move |inner| Ok(inner.scrub(round))).await?;
        self.round = Some(round);
        Ok(Next::Wait(if busy { PAUSE } else { LATER }))
    }
}

impl Inner {
    /// One rewrite of what is partly dead. Whether there was any.
    pub(crate) fn rewrite_at_leisure(&self) -> Result<bool, Error> {
        if self.gate.writable().is_err() || self.gate.is_latched() {
            return Ok(false);
        }
        // Whoever makes room goes first.
        let Some(mut reclaim) = self.rewriting.try_lock() else { return Ok(false) };
        self.remove_whole()?;
        self.rewrite_some(&mut reclaim, PARTLY_DEAD)
    }
}
