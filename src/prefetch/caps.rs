//! The purse: how many bytes the night may still bring. Whoever fetches ahead of people spends from it as the bytes arrive.
//!
//! Bodies count, as they come over the line. The sums are kept in memory and written down after every `SAVE_AFTER` bytes, so a
//! power cut forgets less than a piece of a large body, and no frame of one waits for a disk.

use crate::base::clock::{Clock, Time};
use crate::life::Life;
use crate::prefetch::window::Windows;
use crate::state::{Error, State};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Nights, months, sums.
pub mod ledger;

pub use ledger::{Caps, Which};
use ledger::{Ledger, Page};

/// Written down after so many bytes: a quarter of a piece, so that with what comes while the disk is busy it stays below a piece.
const SAVE_AFTER: u64 = 1 << 20;
/// And after so long.
const SAVE_LATEST: Duration = Duration::from_secs(10);

/// What the caps say now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Bytes of this night.
    pub night: u64,
    /// Bytes of this month.
    pub month: u64,
    /// The caps in force.
    pub caps: Caps,
    /// The cap that is reached, and when it opens again.
    pub reached: Option<(Which, Time)>,
}

/// How many bytes the night may still bring. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Purse(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    book: Mutex<Book>,
    /// A cap was reached, or changed.
    news: Notify,
    /// There is enough to write down.
    due: Notify,
}

#[derive(Debug)]
struct Book {
    ledger: Ledger,
    windows: Windows,
    /// The page in use holds for times in this range, by a clock that was as trusted as this.
    holds: (Time, Time, bool),
}

/// No time at all.
const NEVER: (Time, Time, bool) = (Time::from_micros(i64::MAX), Time::from_micros(i64::MAX), false);

impl Purse {
    /// A purse with these caps; `windows` know which night and month it is.
    pub fn new(clock: Clock, windows: Windows, caps: Caps) -> Purse {
        let ledger = Ledger::new(caps);
        let book = Mutex::new(Book { ledger, windows, holds: NEVER });
        Purse(Arc::new(Inner { clock, book, news: Notify::new(), due: Notify::new() }))
    }

    /// Takes over other caps and another zone.
    pub fn set(&self, caps: Caps, windows: Windows) {
        {
            let mut book = self.0.book.lock();
            (book.ledger.caps, book.windows, book.holds) = (caps, windows, NEVER);
        }
        self.0.news.notify_waiters();
    }

    /// Takes up the sums that are on disk.
    ///
    /// # Errors
    /// The database's.
    pub async fn recall(&self, state: &State) -> Result<(), Error> {
        let sums = state.night_sums().await?;
        let mut book = self.0.book.lock();
        book.ledger.recall(sums);
        book.holds = NEVER;
        Ok(())
    }

    /// Bytes that the night may still bring: the least of night and month; `u64::MAX` without caps.
    pub fn left(&self, now: Time) -> u64 {
        self.0.open(now).ledger.left()
    }

    /// These bytes have come. Called for every frame of a body; waits for nothing.
    pub fn spend(&self, bytes: u64) {
        let (reached, grown) = {
            let mut book = self.0.open(self.0.clock.now());
            let before = book.ledger.left();
            book.ledger.spend(bytes);
            (before > 0 && book.ledger.left() == 0, book.ledger.grown())
        };
        if reached {
            self.0.news.notify_waiters();
        }
        if reached || grown >= SAVE_AFTER {
            self.0.due.notify_one();
        }
    }

    /// The cap that is reached, if one is.
    pub fn reached(&self, now: Time) -> Option<Which> {
        self.0.open(now).ledger.reached()
    }

    /// Resolves when a cap is reached, at once if one is. May be dropped at any await.
    pub async fn emptied(&self) -> Which {
        loop {
            let mut news = std::pin::pin!(self.0.news.notified());
            // Listening before looking, so that nothing is missed in between.
            news.as_mut().enable();
            if let Some(which) = self.reached(self.0.clock.now()) {
                return which;
            }
            news.await;
        }
    }

    /// What the caps say now.
    pub fn view(&self, now: Time) -> View {
        let book = self.0.open(now);
        let (night, month) = book.ledger.spent();
        let reached = book.ledger.reached().map(|which| match which {
            Which::Night => (which, book.windows.next_night(now)),
            Which::Month => (which, book.windows.next_month(now)),
        });
        View { night, month, caps: book.ledger.caps, reached }
    }

    /// Writes down what is not on disk yet.
    ///
    /// # Errors
    /// The database's; what could not be written is tried again next time.
    pub async fn save(&self, state: &State) -> Result<(), Error> {
        let sums = self.0.book.lock().ledger.save();
        if sums.is_empty() {
            return Ok(());
        }
        // Sums, not differences: writing them twice, or in the middle of a power cut, changes nothing. Dropped here, the sums are
        // written with the next bytes.
        let done = state.add_night_sums(&sums).await;
        if done.is_err() {
            self.0.book.lock().ledger.not_saved(sums);
        }
        done
    }

    /// Keeps the disk up to date until the node stops.
    pub(crate) fn keep(&self, life: &Life, state: &State) {
        let (purse, state, watch) = (self.clone(), state.clone(), life.clone());
        life.spawn(async move {
            while !watch.is_stopping() {
                tokio::select! {
                    () = watch.stopping() => {}
                    () = purse.0.due.notified() => {}
                    () = tokio::time::sleep(SAVE_LATEST) => {}
                }
                if let Err(error) = purse.save(&state).await {
                    tracing::warn!(%error, "what the night has brought could not be written down, will try again");
                }
            }
        });
    }
}

impl Inner {
    /// The book, open at the page of `now`.
    fn open(&self, now: Time) -> parking_lot::MutexGuard<'_, Book> {
        let trusted = self.clock.trusted();
        let mut book = self.book.lock();
        let (from, until, by) = book.holds;
        if now < from || now >= until || trusted != by {
            let windows = &book.windows;
            let page = Page { night: windows.night(now), month: windows.month(now) };
            // A page that was turned for a time holds from then on only: a clock put back is looked at again.
            book.holds = (now, windows.next_night(now).min(windows.next_month(now)), trusted);
            book.ledger.turn(page, trusted);
        }
        book
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-25 22:30 in Almaty.
    const LATE: Time = Time::from_secs(1_795_627_800);

    fn purse(clock: &Clock, night: u64, month: u64) -> Purse {
        let windows = crate::prefetch::Settings::default().windows;
        Purse::new(clock.clone(), windows, Caps { night: Some(night), month: Some(month) })
    }

    #[tokio::test]
    async fn what_was_spent_survives_a_kill() {
        let (clock, state) = (Clock::manual(LATE), State::open(None).await.expect("opens"));
        let first = purse(&clock, 100, 150);
        first.recall(&state).await.expect("reads");
        first.spend(80);
        first.save(&state).await.expect("writes");
        first.spend(3);
        let second = purse(&clock, 100, 150);
        second.recall(&state).await.expect("reads");
        assert_eq!(second.left(LATE), 20, "what was not written down is forgotten, no more");
        // An older sum never replaces a newer one.
        first.save(&state).await.expect("writes");
        second.spend(1);
        second.save(&state).await.expect("writes");
        let third = purse(&clock, 100, 150);
        third.recall(&state).await.expect("reads");
        assert_eq!(third.left(LATE), 17);
        let noon = LATE.plus(Duration::from_mins(13 * 60 + 30));
        assert_eq!((third.left(noon), third.view(noon).month), (67, 83));
    }

    #[tokio::test]
    async fn who_waits_for_the_end_hears_of_it_at_once() {
        let clock = Clock::manual(LATE);
        let purse = purse(&clock, 100, 1000);
        let (heard, ()) = tokio::join!(purse.emptied(), async {
            purse.spend(99);
            tokio::task::yield_now().await;
            purse.spend(1);
        });
        assert_eq!(heard, Which::Night);
        assert_eq!(purse.view(LATE).reached, Some((Which::Night, LATE.plus(Duration::from_mins(13 * 60 + 30)))));
        assert_eq!(purse.emptied().await, Which::Night, "and at once if it is so");
        purse.set(Caps { night: None, month: Some(100) }, crate::prefetch::Settings::default().windows);
        assert_eq!(purse.reached(LATE), Some(Which::Month));
    }

    #[tokio::test]
    async fn a_clock_at_1970_spends_where_it_was() {
        let (clock, state) = (Clock::manual(LATE), State::open(None).await.expect("opens"));
        let first = purse(&clock, 100, 1000);
        first.spend(60);
        first.save(&state).await.expect("writes");
        // The node's floor is the program's own birth, a month that has long passed by the ledger.
        let wrong = Clock::manual(Time::from_secs(0));
        wrong.raise_floor(Time::BUILT.minus(Duration::from_hours(48)));
        let second = purse(&wrong, 100, 1000);
        second.recall(&state).await.expect("reads");
        second.spend(30);
        assert_eq!(second.left(wrong.now()), 10);
        second.save(&state).await.expect("writes");
        let sums = state.night_sums().await.expect("reads");
        assert_eq!(sums, [("2026-11".to_owned(), 90), ("2026-11-25".to_owned(), 90)]);
    }
}
