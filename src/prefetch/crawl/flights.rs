//! What is under way in a crawl. It lies apart from what the crawl works on, so that an end from outside drops it at once, while the
//! crawl itself gets to the end of the step it is in: no byte comes late, and nothing that has come is lost.

use super::{End, Landed};
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, Stream};
use parking_lot::Mutex;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use tokio::sync::Notify;

/// The fetches under way.
#[derive(Default)]
pub(super) struct Flights<'f> {
    flying: Mutex<FuturesUnordered<BoxFuture<'f, Landed>>>,
    end: Mutex<Option<End>>,
    ending: Notify,
}

impl<'f> Flights<'f> {
    /// One more; after the end it does not begin.
    pub(super) fn push(&self, flight: BoxFuture<'f, Landed>) {
        if self.end.lock().is_none() {
            self.flying.lock().push(flight);
        }
    }

    /// The next that lands; never while nothing is under way. May be dropped at any await.
    pub(super) async fn next(&self) -> Landed {
        poll_fn(|context| match Pin::new(&mut *self.flying.lock()).poll_next(context) {
            Poll::Ready(Some(landed)) => Poll::Ready(landed),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        })
        .await
    }

    pub(super) fn len(&self) -> usize {
        self.flying.lock().len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.flying.lock().is_empty()
    }

    /// Drops all of them: the crawl must end, and this is why.
    pub(super) fn end(&self, why: End) {
        self.end.lock().get_or_insert(why);
        self.flying.lock().clear();
        self.ending.notify_one();
    }

    /// Why the crawl must end, if it must.
    pub(super) fn ended(&self) -> Option<End> {
        self.end.lock().clone()
    }

    /// Resolves when it must.
    pub(super) async fn ending(&self) {
        self.ending.notified().await;
    }
}
