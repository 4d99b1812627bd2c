//! Background work in small finished steps, run by name: a step is never cut short, the wait between steps may be (the idea
//! is garage's `background/worker.rs`). An error is logged once and backed off from; a panic ends only the step.

use crate::base::backoff::Backoff;
use crate::life::Life;
use std::future::Future;
use std::time::Duration;

/// What a worker wants after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// There is more: go on at once.
    Busy,
    /// Look again after this long.
    Wait(Duration),
    /// Nothing will ever be left to do.
    Done,
}

/// Work that is done in steps.
pub trait Worker: Send + 'static {
    /// The name for logs and status.
    fn name(&self) -> &'static str;

    /// One small step that leaves everything consistent. Not dropped midway, but for the end of the grace period.
    fn work(&mut self) -> impl Future<Output = anyhow::Result<Next>> + Send;
}

/// Waits after a failed step: 1 s, doubling to 10 min.
const AFTER_ERROR: Backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_mins(10) };

/// Runs `worker` until it is done or the node stops.
pub fn supervise<W: Worker>(life: &Life, mut worker: W) {
    let watch = life.clone();
    life.spawn(async move {
        let mut failures = 0;
        while !watch.is_stopping() {
            let pause = match worker.work().await {
                Ok(Next::Busy) => {
                    failures = 0;
                    tokio::task::yield_now().await;
                    continue;
                }
                Ok(Next::Wait(pause)) => {
                    failures = 0;
                    pause
                }
                Ok(Next::Done) => return,
                Err(error) => {
                    tracing::warn!(worker = worker.name(), error = format!("{error:#}"), "step failed, will try again");
                    failures += 1;
                    AFTER_ERROR.wait(failures - 1, 1.0)
                }
            };
            tokio::select! {
                () = watch.stopping() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    });
}
