//! Who waits for the line right now: every transfer that a person asked for, as it begins, moves and ends. While one is under way, and
//! a moment after its last byte, background stays at its floor (`pace`). Told by events: the first byte of a request shuts the gate,
//! not the next tick of a clock.
//!
//! A transfer that stays silent for long (a poll that waits for news, a paused film) does not count until it moves again: with one tab
//! left open the night would never begin. What is passed on unopened counts while it moves more than a chat does.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio_util::sync::CancellationToken;

/// After its last byte a transfer counts for so long: a page asks for its next piece well within it.
pub const LINGER: Duration = Duration::from_secs(1);
/// A transfer under way that moves nothing for so long does not count: five round trips of a satellite line, and more than a slow
/// page thinks.
pub const SILENT: Duration = Duration::from_secs(5);
/// What a tunnel moves in a second without counting, bytes: greetings, chats, keep-alives.
const CHAT: u64 = 10_000;
/// Over which that is counted.
const SECOND: Duration = Duration::from_secs(1);

/// The transfers that people wait for. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Foreground(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    board: Mutex<Board>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Board {
    under_way: HashMap<u64, Known>,
    next: u64,
    /// Shut at least until then.
    until: Option<Instant>,
}

#[derive(Debug)]
struct Known {
    spark: Arc<AtomicU8>,
    /// When it was last seen to have moved.
    moved: Instant,
}

/// It has moved since it was looked at.
const MOVED: u8 = 1;
/// It has not.
const STILL: u8 = 0;
/// It has been silent for so long that it does not count.
const ASLEEP: u8 = 2;

impl Foreground {
    /// A transfer begins: it counts from now on, until a moment after it is dropped.
    pub fn begin(&self) -> Busy {
        let spark = Arc::new(AtomicU8::new(STILL));
        let mut board = self.0.board.lock();
        let number = board.next;
        board.next += 1;
        board.under_way.insert(number, Known { spark: Arc::clone(&spark), moved: now() });
        drop(board);
        self.0.changed.notify_waiters();
        Busy { foreground: self.clone(), number, spark }
    }

    /// Bytes are about to be passed on unopened.
    pub fn tunnel(&self) -> Tunnel {
        Tunnel { foreground: self.clone(), began: None, bytes: 0 }
    }

    /// Whether background is to stay silent, and until when at least: it is to look again then, or when told by
    /// [`Foreground::changed`].
    pub fn shut(&self) -> Option<Instant> {
        self.0.board.lock().shut(now())
    }

    /// Resolves when [`Foreground::shut`] may say something else, seen from the call on.
    pub fn changed(&self) -> Notified<'_> {
        self.0.changed.notified()
    }

    /// Transfers under way that count: silent ones do not.
    pub fn awake(&self) -> usize {
        let now = now();
        let mut board = self.0.board.lock();
        board.shut(now);
        board.under_way.values().filter(|known| known.moved + SILENT > now).count()
    }

    /// Transfers under way.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.0.board.lock().under_way.len()
    }

    /// Counts for a moment.
    fn touch(&self) {
        let now = now();
        let mut board = self.0.board.lock();
        let was_open = board.until.is_none_or(|until| until <= now);
        board.until = Some(now + LINGER);
        drop(board);
        if was_open {
            self.0.changed.notify_waiters();
        }
    }
}

impl Board {
    /// Looks at all transfers as of `now`.
    fn shut(&mut self, now: Instant) -> Option<Instant> {
        let mut until = self.until.filter(|until| *until > now);
        for known in self.under_way.values_mut() {
            if known.spark.compare_exchange(MOVED, STILL, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                known.moved = now;
            }
            let sleeps = known.moved + SILENT;
            if sleeps > now {
                until = until.max(Some(sleeps));
            } else {
                // One that has moved this very moment stays awake.
                let _ = known.spark.compare_exchange(STILL, ASLEEP, Ordering::Relaxed, Ordering::Relaxed);
            }
        }
        until
    }
}

/// A foreground transfer under way; dropping it ends it.
#[derive(Debug)]
pub struct Busy {
    foreground: Foreground,
    number: u64,
    spark: Arc<AtomicU8>,
}

impl Busy {
    /// Something came or went. Called for every piece: one load where nothing changes.
    pub fn moved(&self) {
        if self.spark.load(Ordering::Relaxed) != MOVED && self.spark.swap(MOVED, Ordering::Relaxed) == ASLEEP {
            self.foreground.0.changed.notify_waiters();
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let inner = &self.foreground.0;
        let now = now();
        let mut board = inner.board.lock();
        let was = board.under_way.remove(&self.number);
        // Who had been silent for long, and ends so, says nothing about the next second.
        let awake = was.is_some_and(|known| known.spark.load(Ordering::Relaxed) == MOVED || known.moved + SILENT > now);
        if awake {
            board.until = board.until.max(Some(now + LINGER));
        }
        drop(board);
        // The gate may open earlier than those who wait believe.
        inner.changed.notify_waiters();
    }
}

/// Counts what a tunnel moves: above a chat's rate it is a transfer that somebody waits for.
#[derive(Debug)]
pub struct Tunnel {
    foreground: Foreground,
    /// The second that is counted.
    began: Option<Instant>,
    bytes: u64,
}

impl Tunnel {
    /// These many bytes were passed on, either way.
    pub fn moved(&mut self, bytes: u64) {
        let now = now();
        if self.began.is_none_or(|began| now.saturating_duration_since(began) >= SECOND) {
            (self.began, self.bytes) = (Some(now), 0);
        }
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > CHAT {
            self.foreground.touch();
        }
    }
}

/// Whether a person waits for a transfer that began as background. Once set it stays; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Raise(CancellationToken);

impl Raise {
    /// One that is set from the start: somebody waits.
    pub fn now() -> Raise {
        let raise = Raise::default();
        raise.raise();
        raise
    }

    /// Somebody waits from now on.
    pub fn raise(&self) {
        self.0.cancel();
    }

    /// Whether somebody waits.
    pub fn is_raised(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Resolves when somebody waits, at once if so already. May be dropped at any await.
    pub async fn raised(&self) {
        self.0.cancelled().await;
    }

    /// The same, owned.
    pub fn into_raised(self) -> impl Future<Output = ()> + Send + 'static {
        self.0.cancelled_owned()
    }
}

/// Steady time, which a test's paused runtime moves.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use tokio::time::advance;

    const MOMENT: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn shut_while_somebody_waits_and_a_second_longer() {
        let foreground = Foreground::default();
        assert_eq!(foreground.shut(), None);
        let (one, other) = (foreground.begin(), foreground.begin());
        for _ in 0..20 {
            advance(SECOND).await;
            one.moved();
            assert!(foreground.shut().is_some());
        }
        drop((one, other));
        advance(LINGER.saturating_sub(MOMENT)).await;
        assert!(foreground.shut().is_some());
        advance(MOMENT).await;
        assert_eq!(foreground.shut(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_transfer_sleeps_and_its_next_byte_wakes_those_who_wait() {
        let foreground = Foreground::default();
        let poll = foreground.begin();
        assert_eq!((foreground.shut().is_some(), foreground.awake()), (true, 1));
        advance(SILENT).await;
        assert_eq!((foreground.shut(), foreground.awake()), (None, 0), "a poll without news");
        let mut changed = std::pin::pin!(foreground.changed());
        assert!((&mut changed).now_or_never().is_none());
        poll.moved();
        assert!(changed.now_or_never().is_some(), "told at once");
        assert!(foreground.shut().is_some());
        advance(SILENT).await;
        assert_eq!(foreground.shut(), None);
        drop(poll);
        assert_eq!(foreground.shut(), None, "it ended in silence");
    }

    #[tokio::test(start_paused = true)]
    async fn a_tunnel_counts_while_it_moves_more_than_a_chat() {
        let foreground = Foreground::default();
        let mut tunnel = foreground.tunnel();
        for _ in 0..20 {
            tunnel.moved(CHAT);
            assert_eq!(foreground.shut(), None);
            advance(SECOND).await;
        }
        let mut changed = std::pin::pin!(foreground.changed());
        assert!((&mut changed).now_or_never().is_none());
        tunnel.moved(CHAT);
        tunnel.moved(1);
        assert!(changed.now_or_never().is_some());
        assert!(foreground.shut().is_some());
        advance(LINGER).await;
        assert_eq!(foreground.shut(), None);
    }

    #[tokio::test]
    async fn raised_once_is_raised_for_all() {
        let raise = Raise::default();
        let same = raise.clone();
        assert!(!same.is_raised() && same.raised().now_or_never().is_none());
        raise.raise();
        assert!(same.is_raised() && same.into_raised().now_or_never().is_some());
        assert!(Raise::now().is_raised());
    }
}
