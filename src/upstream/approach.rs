//! Whether a connection to an origin is being opened, and for how long: whoever has a stored answer at hand need not wait for an origin
//! that has vanished as long as one who has nothing. An origin that was reached and thinks is another matter, and not told here.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// After this long a person wonders. Two round trips of a satellite fit in, a name among them; a lost packet does not, and what it costs
/// is a stored answer.
const LONG: Duration = Duration::from_millis(1500);

/// An answer on a connection that lay idle is doubted after this long where a stored one is at hand ...
const DOUBT: Duration = Duration::from_millis(700);

/// ... and else after this: on a full line many answers take a second.
const DOUBT_WITHOUT: Duration = Duration::from_secs(2);

/// In the extensions of a request: told by who reaches out, read by who waits. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Approach(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// Somebody with a stored answer waits.
    wanted: AtomicBool,
    opening: AtomicBool,
    /// It has taken long.
    long: AtomicBool,
}

impl Approach {
    /// The same work, which opens a connection. May be dropped at any await.
    pub(super) async fn of<T>(&self, work: impl Future<Output = T>) -> T {
        let _open = Opening::begin(&self.0);
        work.await
    }

    /// Resolves when an answer on a connection that lay idle should have begun. May be dropped at any await.
    pub(super) async fn is_doubtful(&self) {
        tokio::time::sleep(DOUBT).await;
        if !self.0.wanted.load(Ordering::Relaxed) {
            tokio::time::sleep(DOUBT_WITHOUT.saturating_sub(DOUBT)).await;
        }
    }

    /// Resolves when a connection has been coming for long, at once if that is known already. May be dropped at any await.
    pub async fn is_long(&self) {
        self.0.wanted.store(true, Ordering::Relaxed);
        while !self.0.long.load(Ordering::Relaxed) {
            tokio::time::sleep(LONG).await;
            // Those who come after this one need not wait to find out.
            self.0.long.store(self.0.opening.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }
}

/// While a connection is being opened.
struct Opening(Arc<State>);

impl Opening {
    fn begin(state: &Arc<State>) -> Opening {
        state.opening.store(true, Ordering::Relaxed);
        Opening(Arc::clone(state))
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.0.opening.store(false, Ordering::Relaxed);
        self.0.long.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use tokio::time::{sleep, timeout};

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn only_a_connection_that_is_coming_takes_long() {
        let approach = Approach::default();
        assert!(timeout(SECOND * 60, approach.is_long()).await.is_err(), "nothing is being opened");
        let work = approach.of(sleep(SECOND));
        let (done, ()) = tokio::join!(timeout(SECOND * 60, approach.is_long()), work);
        assert!(done.is_err(), "it was there in time");
        let mut work = Box::pin(approach.of(sleep(SECOND * 10)));
        assert!((&mut work).now_or_never().is_none());
        approach.is_long().await;
        assert!(approach.is_long().now_or_never().is_some(), "who comes later knows at once");
        work.await;
        assert!(approach.is_long().now_or_never().is_none(), "it is there at last");
        assert!(timeout(DOUBT * 2, approach.is_doubtful()).await.is_ok(), "where a copy is at hand doubt comes early");
        assert!(timeout(DOUBT * 2, Approach::default().is_doubtful()).await.is_err());
    }
}
