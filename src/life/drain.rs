//! One stop signal, many watchers, one grace period.

use std::future::Future;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Spawns tasks and ends them. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Life {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Life {
    /// Runs `task` until it ends by itself. It should watch [`Life::stopping`] if it would otherwise run on.
    #[expect(clippy::disallowed_methods, reason = "the one place that starts tasks")]
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        tokio::spawn(self.tasks.track_future(task));
    }

    /// Runs `task` until the node stops, then drops it at its next await.
    pub fn spawn_until_stop<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = self.stop.clone();
        self.spawn(async move {
            stop.run_until_cancelled(task).await;
        });
    }

    /// Resolves when the node begins to stop. May be dropped at any await.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// Whether the node has begun to stop.
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Tells every task to stop.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Stops and waits for all tasks, at most `grace`. Whether all had ended by then.
    pub async fn end(&self, grace: Duration) -> bool {
        self.stop();
        self.tasks.close();
        tokio::time::timeout(grace, self.tasks.wait()).await.is_ok()
    }
}

/// hyper's own tasks are ours too.
impl<F> hyper::rt::Executor<F> for Life
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.spawn(task);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn tasks_end_within_the_grace_or_are_told_on() {
        let life = Life::default();
        let watcher = life.clone();
        life.spawn(async move { watcher.stopping().await });
        life.spawn_until_stop(std::future::pending());
        assert!(life.end(Duration::from_secs(1)).await);

        let life = Life::default();
        life.spawn(std::future::pending());
        assert!(!life.end(Duration::from_secs(1)).await);
    }
}
