//! What a flight tells those who wait for it.

use crate::policy::Failure;
use crate::store::{Entry, Meta, Tail};
use crate::upstream;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How far a flight has come.
#[derive(Clone)]
pub(crate) enum Stage {
    /// Nothing has arrived.
    Asking,
    /// A head that may be shared; the body follows behind.
    Live(Arc<Live>),
    /// The stored answer stands, or the new one is stored: look there.
    Stored(Arc<Entry>, Outcome),
    /// The answer belongs to one request alone; everyone else asks for themselves, or for each other.
    Apart(Ground),
    /// The origin failed; a stale answer may do.
    Failed(Failure, Option<upstream::Error>),
    /// The body did not come whole (its readers know).
    Broken(Arc<str>, Cut),
}

/// Why a body did not come whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The origin or the line broke it off, or nobody wanted the rest.
    Short,
    /// It was longer than so many bytes.
    TooLong(u64),
    /// Our own store failed.
    Store,
}

/// Why an answer belongs to one request alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ground {
    /// Who asked did so with a cookie: those without one may still get an answer that is for all of them.
    Asker,
    /// What was answered: the next one would be told the same.
    Answer,
}

/// How a stored answer came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// 304.
    Confirmed,
    /// A new body, complete.
    Filled,
}

/// A shared answer whose body is on its way.
pub(crate) struct Live {
    pub(crate) meta: Meta,
    /// Length of the whole identity body, when known in advance.
    pub(crate) total: Option<u64>,
    /// What of the body the tail carries; `None`: all of it.
    pub(crate) part: Option<Range<u64>>,
    /// The origin sends it from beginning to end, whatever range it is asked for: nothing of it comes sooner by another question.
    pub(crate) in_order: bool,
    pub(crate) tail: Tail,
    /// One is held by everyone who reads along.
    pub(crate) readers: Readers,
    /// Tells when it is stored. Readers get their last piece only then: whoever has the whole answer and asks again finds it.
    pub(crate) landing: Landing,
}

/// Counts those who read along.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readers(Arc<()>);

impl Readers {
    /// One more; it counts until it is dropped.
    pub(crate) fn join(&self) -> Readers {
        self.clone()
    }

    /// Whether nobody reads; `holders` only keep the count. Who is about to holds the flight, see [`super::Pilot::leave`].
    pub(crate) fn are_gone(&self, holders: usize) -> bool {
        Arc::strong_count(&self.0) <= holders
    }
}

/// Waits for a flight's last word. On a channel of its own: the stages hold this, and would hold themselves, with the whole body, when a
/// flight ends without a last word.
#[derive(Clone)]
pub(crate) struct Landing(watch::Receiver<bool>);

impl Landing {
    pub(super) fn new(landed: watch::Receiver<bool>) -> Landing {
        Landing(landed)
    }

    /// May be dropped at any await.
    pub(crate) async fn done(&mut self) {
        let landed = self.0.wait_for(|landed| *landed);
        // Over in any case: landed, ended without a word, or so slow (a stalled card) that the reader is not kept waiting.
        let _ = tokio::time::timeout(LANDING, landed).await;
    }
}

/// Longest that a reader's last piece waits for the store: far more than a commit takes, far less than a person notices twice.
const LANDING: Duration = Duration::from_millis(250);
