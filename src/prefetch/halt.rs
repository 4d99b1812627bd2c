//! What ends a crawl from outside: the window's end, a cap, a person. Looked at beside the crawl and not within it, so that no
//! slow disk and no long answer makes the last byte late.

use crate::base::clock::{Clock, Time};
use crate::prefetch::caps::Purse;
use crate::prefetch::crawl::End;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// The longest sleep before the wall clock is looked at again: it may have been put right meanwhile.
const LOOK: Duration = Duration::from_millis(250);

/// A call to stop, with its reason.
#[derive(Debug, Default)]
pub(super) struct Halt {
    /// For the crawl itself, between two steps.
    flag: AtomicBool,
    why: Mutex<Option<End>>,
    told: Notify,
}

impl Halt {
    /// Nobody has called yet.
    pub(super) fn clear(&self) {
        *self.why.lock() = None;
        self.flag.store(false, Ordering::Relaxed);
    }

    /// Stop. The first reason counts, but what a person wants counts before all, and before that, that the line be left alone.
    pub(super) fn call(&self, end: End) {
        {
            let mut why = self.why.lock();
            if why.is_none() || end == End::Paused || (end == End::Cancelled && *why != Some(End::Paused)) {
                *why = Some(end);
            }
        }
        self.flag.store(true, Ordering::Relaxed);
        self.told.notify_waiters();
    }

    /// What the crawl looks at.
    pub(super) fn flag(&self) -> &AtomicBool {
        &self.flag
    }

    /// The reason of a call, if there was one.
    pub(super) fn why(&self) -> Option<End> {
        self.why.lock().clone()
    }

    /// Resolves when the work must end, whatever it is doing. May be dropped at any await.
    pub(super) async fn due(&self, clock: &Clock, purse: &Purse, until: Option<Time>) -> End {
        tokio::select! {
            end = self.called() => end,
            which = purse.emptied() => End::Cap(which),
            () = passed(clock, until) => End::Window,
        }
    }

    async fn called(&self) -> End {
        loop {
            let mut told = std::pin::pin!(self.told.notified());
            // Listening before looking, so that nothing is missed in between.
            told.as_mut().enable();
            if let Some(end) = self.why() {
                return end;
            }
            told.await;
        }
    }
}

/// Resolves when the clock says so; never without a time.
async fn passed(clock: &Clock, until: Option<Time>) {
    let Some(until) = until else { return std::future::pending().await };
    loop {
        let left = until.since(clock.now());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LOOK)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prefetch::caps::{Caps, Which};

    #[tokio::test(start_paused = true)]
    async fn whatever_comes_first_ends_it() {
        let start = Time::from_secs(1_795_627_800);
        let clock = Clock::manual(start);
        let windows = crate::prefetch::Settings::default().windows;
        let purse = Purse::new(clock.clone(), windows, Caps { night: Some(10), month: None });
        let halt = Halt::default();
        let until = Some(start.plus(Duration::from_mins(5)));
        // A clock that jumps to the end is seen at once, though the sleep would have lasted minutes.
        let (end, ()) = tokio::join!(halt.due(&clock, &purse, until), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            clock.advance(Duration::from_mins(5));
        });
        assert_eq!(end, End::Window);
        let (end, ()) = tokio::join!(halt.due(&clock, &purse, None), async {
            halt.call(End::Asked);
            halt.call(End::Paused);
        });
        assert!(matches!(end, End::Asked | End::Paused));
        assert_eq!((halt.why(), halt.flag().load(Ordering::Relaxed)), (Some(End::Paused), true));
        halt.clear();
        purse.spend(10);
        assert_eq!(halt.due(&clock, &purse, None).await, End::Cap(Which::Night));
    }
}
