//! A connection that has lain idle and says nothing: does the origin think, or is it gone?

use crate::upstream::{Approach, Error, Failed, Target, Upstream};
use std::pin::pin;
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
        approach: &Approach,
        exchange: impl Future<Output = Result<T, Failed>>,
    ) -> Result<T, Failed> {
        let mut exchange = pin!(exchange);
        let probe = async {
            approach.is_doubtful().await;
            let reached = approach.of(async {
                match self.0.dial.parent() {
                    Some(parent) => self.0.dial.to_parent(parent, false).await,
                    None => self.0.dial.stream(target.host(), target.port(), false).await,
                }
            });
            tokio::time::timeout(PROBE, reached).await
        };
        tokio::select! {
            biased;
            done = exchange.as_mut() => return done,
            probed = probe => match probed {
                Ok(Err(error @ Error::ConnectTimeout(..))) => return Err(Failed { error, unsent: None }),
                Err(_) => return Err(Failed { error: Error::ConnectTimeout(target.host().to_owned(), PROBE), unsent: None }),
                // It is there, or says itself what is wrong.
                Ok(_) => {}
            },
        }
        exchange.await
    }
}
