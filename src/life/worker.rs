//! Background work in small finished steps, run by name: a step is never cut short, the wait between steps may be (the idea
//! is garage's `background/worker.rs`). An error is logged once and backed off from; a panic ends only the step.

use crate::base::backoff::Backoff;
use crate::life::Life;
use futures_util::FutureExt;
use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
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
            // What a step leaves behind is consistent by contract, so the next one may go on after a panic as after an error.
            let step = AssertUnwindSafe(worker.work()).catch_unwind().await;
            let pause = match step.unwrap_or_else(|panic| Err(anyhow::anyhow!("panicked: {}", words(&*panic)))) {
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

/// Runs an endless task of somebody's until the node stops, and begins it anew where it panics: the night must not end for good by one
/// odd page.
pub fn keep_up<T, F>(life: &Life, name: &'static str, whose: &T, task: impl Fn(T) -> F + Send + 'static)
where
    T: Clone + Send + 'static,
    F: Future<Output = ()> + Send,
{
    let whose = whose.clone();
    life.spawn_until_stop(async move {
        let mut failures = 0;
        // What it shares is consistent at every await, by the contract of whatever may be dropped there.
        while let Err(panic) = AssertUnwindSafe(task(whose.clone())).catch_unwind().await {
            tracing::warn!(task = name, error = words(&*panic), "panicked, will begin anew");
            tokio::time::sleep(AFTER_ERROR.wait(failures, 1.0)).await;
            failures += 1;
        }
    });
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without words")
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use std::sync::Arc;

    /// Fails and panics in turn, then is done; notes when each step ran.
    struct Clumsy(Arc<Mutex<Vec<Duration>>>, tokio::time::Instant);

    impl Worker for Clumsy {
        fn name(&self) -> &'static str {
            "clumsy"
        }

        async fn work(&mut self) -> anyhow::Result<Next> {
            self.0.lock().push(self.1.elapsed());
            tokio::task::yield_now().await;
            let step = self.0.lock().len();
            match step {
                1 => panic!("with words"),
                2 => panic!("step {step}"),
                3 => anyhow::bail!("an error"),
                4 => Ok(Next::Busy),
                _ => Ok(Next::Done),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_ends_the_step_and_not_the_worker() {
        let (life, seen) = (Life::default(), Arc::<Mutex<Vec<Duration>>>::default());
        supervise(&life, Clumsy(Arc::clone(&seen), tokio::time::Instant::now()));
        while seen.lock().len() < 5 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let seconds: Vec<u64> = seen.lock().iter().map(Duration::as_secs).collect();
        assert_eq!(seconds, [0, 1, 3, 7, 7], "waits double, success needs none");
        assert_eq!((words(&"a"), words(&String::from("b")), words(&1)), ("a", "b", "without words"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_endless_task_that_panics_begins_anew() {
        let (life, begun) = (Life::default(), Arc::new(Mutex::new(0)));
        keep_up(&life, "endless", &begun, |count: Arc<Mutex<u32>>| async move {
            *count.lock() += 1;
            let begun = *count.lock();
            assert!(begun > 2, "once more");
            std::future::pending::<()>().await;
        });
        tokio::time::sleep(Duration::from_hours(1)).await;
        assert_eq!(*begun.lock(), 3, "and what goes on is left alone");
        life.end(Duration::from_secs(1)).await;
    }
}
