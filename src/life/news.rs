//! Waiting for something new without missing what comes before the first poll.

use std::future::Future;
use tokio::sync::watch;

/// Resolves when something is sent, seen from the call on and not from the first poll. May be dropped at any await.
pub fn news<T: Send + Sync + 'static>(of: &watch::Sender<T>) -> impl Future<Output = ()> + Send + use<T> {
    let mut news = of.subscribe();
    async move {
        // Whoever sends no more has no news.
        if news.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn what_comes_between_call_and_poll_is_news() {
        let sender = watch::Sender::new(0);
        let waiting = news(&sender);
        sender.send_replace(1);
        assert!(waiting.now_or_never().is_some());
        let silent = news(&sender);
        drop(sender);
        assert!(silent.now_or_never().is_none(), "the end is no news");
    }
}
