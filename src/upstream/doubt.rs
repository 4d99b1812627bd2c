//! A connection that has lain idle and says nothing: does the origin think, or is it gone?

use crate::upstream::body::Progress;
use crate::upstream::{Approach, Error, Failed, Target, Upstream};
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long a new connection is tried for where an old one is silent: a SYN is sent four times in that time, and whoever waits has
/// waited for 10 s in all.
const PROBE: Duration = Duration::from_millis(7500);

impl Upstream {
    /// An exchange on a connection that has lain idle. Silence may mean that the origin thinks, or that it is gone and the connection with
    /// it, as behind a cut cable: so it is tried whether a new one can be had, and when that takes too long, it is gone.
    pub(super) async fn doubted<T>(
        &self,
        target: &Target,
        (approach, progress): (&Approach, &Progress),
        exchange: impl Future<Output = Result<T, Failed>>,
    ) -> Result<T, Failed> {
        let mut exchange = pin!(exchange);
        // An upload that goes on, or an interim answer, is no silence; and what an own upload holds up is no proof.
        let steps = || progress.steps.load(Ordering::Relaxed);
        let probe = async {
            let before = loop {
                let before = steps();
                approach.is_doubtful().await;
                if steps() == before {
                    break before;
                }
            };
            let reached = approach.of(self.0.dial.probe(target));
            let probed = tokio::time::timeout(PROBE, reached).await;
            (probed, steps() != before)
        };
        tokio::select! {
            biased;
            done = exchange.as_mut() => {
                if done.is_ok() {
                    self.0.dial.answered(target);
                }
                return done;
            }
            (probed, goes_on) = probe => match probed {
                _ if goes_on => {}
                Ok(Err(error @ (Error::ConnectTimeout(..) | Error::Unavailable(..)))) => return Err(Failed { error, unsent: None }),
                Err(_) => return Err(Failed { error: Error::ConnectTimeout(target.host().to_owned(), PROBE), unsent: None }),
                // It is there, or says itself what is wrong.
                Ok(_) => {}
            },
        }
        exchange.await
    }
}
