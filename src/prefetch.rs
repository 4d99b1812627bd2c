//! The night: what is fetched before anyone asks.
//!
//! Packs say what, windows say when, the frontier remembers how far, and the crawl does it through the cache. This file keeps the
//! packs in force and the scheduler; decisions are in the pure rooms (`window`, `schedule`, `plan`, `gate`, `aim`).

/// What a wish is wanted as, and what it names in turn.
pub mod aim;

/// The routes of the API.
pub mod api;

/// What the class asks for.
pub mod class;

/// One pass over one pack.
pub mod crawl;

/// Manners towards hosts.
pub mod gate;

/// The packs of this node.
pub mod packs;

/// What a night will take.
pub mod plan;

/// How far a pack is.
pub mod progress;

/// What many devices missed.
pub mod proposal;

/// A lesson, recorded by browsing it once.
pub mod record;

/// What the class uses, asked about before school.
mod renew;

/// robots.txt of every origin.
pub mod robots;

/// Which pack is due.
pub mod schedule;

/// The web as the crawl sees it.
pub mod web;

/// What a school sets.
pub mod settings;

/// What can be seen of the night.
mod view;

/// When the work may run.
pub mod window;

/// "Fetch tonight": what may be wished for.
pub mod wish;

/// Used against wasted.
pub mod worth;

pub use class::{Refusal, Seen, Wished};
pub use gate::Manners;
pub use packs::{Origin, Refused};
pub use plan::Plan;
pub use progress::{Listed, Progress};
pub use settings::Settings;
pub use view::Status;
pub use window::{Window, Windows};
pub use worth::Worth;

use crate::base::clock::{Clock, Time};
use crate::base::count::{IntCounter, Metrics};
use crate::cache::Cache;
use crate::life::Life;
use crate::link::{Link, pace::Pace};
use crate::prefetch::class::Class;
use crate::prefetch::crawl::{Crawl, End, Tally};
use crate::prefetch::packs::{Held, Shelf};
use crate::prefetch::schedule::Candidate;
use crate::prefetch::web::{Reach, Web};
use crate::site::Sites;
use crate::state::State;
use crate::state::frontier::Run;
use crate::store::Store;
use arc_swap::ArcSwap;
use http::HeaderValue;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};

/// The longest sleep of the scheduler: a clock that jumps is noticed within a minute.
const LOOK: Duration = Duration::from_mins(1);

/// What one step of the scheduler did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tick {
    /// Worked on this pack, which ended so.
    Worked(String, End),
    /// Nothing to do before then.
    Idle(Time),
}

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such pack.
    #[error("there is no pack \"{0}\"")]
    Unknown(String),
    /// The database said no.
    #[error(transparent)]
    State(#[from] crate::state::Error),
}

/// The night: packs, plan, schedule, crawl. Cheap to clone.
pub struct Night<W: Web + 'static = Reach>(Arc<Inner<W>>);

impl<W: Web> Clone for Night<W> {
    fn clone(&self) -> Night<W> {
        Night(Arc::clone(&self.0))
    }
}

struct Inner<W> {
    settings: ArcSwap<Settings>,
    clock: Clock,
    state: State,
    web: W,
    link: Option<Link>,
    rules: Box<dyn Fn(Arc<Sites>) + Send + Sync>,
    board: Mutex<Board>,
    book: robots::Book,
    /// One crawl at a time: the line is thin.
    turn: Semaphore,
    wake: Notify,
    /// Tells the crawl under way to make room for one that a person asked for.
    make_way: AtomicBool,
    transferred: IntCounter,
    tally: Tally,
    class: Class,
}

/// What is shown.
#[derive(Default)]
struct Board {
    shelf: Shelf,
    queue: VecDeque<String>,
    running: Option<String>,
    /// Whether the schedule, not a person, began what is running.
    scheduled: bool,
    trouble: Option<String>,
    progress: BTreeMap<String, Progress>,
    runs: BTreeMap<String, Run>,
}

impl Night {
    /// Reads and verifies packs, hands their rules to the cache, starts the scheduler.
    ///
    /// # Errors
    /// When the database cannot be read. Bad packs are no error: they are refused and shown.
    #[expect(clippy::too_many_arguments, reason = "everything that a night stands on, once, from `app`")]
    pub async fn new(
        settings: Settings,
        clock: Clock,
        life: &Life,
        metrics: &Metrics,
        state: State,
        store: Store,
        link: Link,
        cache: Cache,
    ) -> anyhow::Result<Night> {
        let contact = if settings.contact.is_empty() { String::new() } else { format!(" (+{})", settings.contact) };
        let agent = HeaderValue::from_str(&format!("bulak/{}{contact}", env!("CARGO_PKG_VERSION")))
            .unwrap_or_else(|_| HeaderValue::from_static(concat!("bulak/", env!("CARGO_PKG_VERSION"))));
        let pace = Arc::new(Pace::new(settings.rate));
        let web = Reach { cache: cache.clone(), store, link: link.clone(), pace, agent };
        let night = Night::over(settings, clock, metrics, state, web, Some(link), move |sites| cache.set_sites(sites));
        night.reload().await?;
        let scheduler = night.clone();
        life.spawn_until_stop(async move { scheduler.live().await });
        let bookkeeper = night.clone();
        life.spawn_until_stop(async move { bookkeeper.bookkeeper().await });
        Ok(night)
    }

    /// Takes over other settings and reads the packs anew. A crawl under way ends by the old ones; `contact` counts from the next
    /// start.
    ///
    /// # Errors
    /// The database's.
    pub async fn adopt(&self, settings: Settings) -> Result<(), Error> {
        self.0.web.pace.set(settings.rate);
        self.0.settings.store(Arc::new(settings));
        self.reload().await
    }
}

impl<W: Web> Night<W> {
    /// Over any web; no scheduler runs, [`Night::tick`] is called by hand.
    fn over(
        settings: Settings,
        clock: Clock,
        metrics: &Metrics,
        state: State,
        web: W,
        link: Option<Link>,
        rules: impl Fn(Arc<Sites>) + Send + Sync + 'static,
    ) -> Night<W> {
        Night(Arc::new(Inner {
            settings: ArcSwap::from_pointee(settings),
            clock,
            state,
            web,
            link,
            rules: Box::new(rules),
            board: Mutex::default(),
            book: robots::Book::default(),
            turn: Semaphore::new(1),
            wake: Notify::new(),
            make_way: AtomicBool::new(false),
            transferred: metrics.counter("bulak_prefetch_bytes_total", "Bytes that the night brought over the line."),
            tally: Tally::default(),
            class: Class::new(metrics),
        }))
    }

    /// Reads the packs anew and hands their rules to the cache. Content of a pack that is no more stays pinned: a folder that is not
    /// mounted for once must not empty the shelf.
    ///
    /// # Errors
    /// The database's.
    pub async fn reload(&self) -> Result<(), Error> {
        let settings = self.0.settings.load_full();
        let refused = settings.refused.clone();
        let own = Arc::clone(&settings);
        let mut shelf = tokio::task::spawn_blocking(move || packs::load(&settings)).await.unwrap_or_default();
        class::put(&mut shelf, &self.0.state.tonight().await?, &own);
        for refused in &shelf.refused {
            tracing::warn!(file = refused.file, why = refused.why.join("; "), "pack refused");
        }
        // A wish is no review: it opens, mirrors and permits nothing.
        let reviewed = shelf.held.iter().filter(|held| held.pack.id != wish::TONIGHT);
        let rules: Vec<_> = reviewed.map(|held| Arc::clone(&held.pack)).collect();
        let sites = Arc::new(Sites::with_refused(&rules, &refused));
        self.0.class.sites.store(Arc::clone(&sites));
        (self.0.rules)(sites);
        let mut runs = BTreeMap::new();
        let mut progress = BTreeMap::new();
        for held in &shelf.held {
            if let Some(run) = self.0.state.run(&held.pack.id).await? {
                let count = self.0.state.count(&held.pack.id, run.run).await?;
                let mut known = Progress::of(&held.pack, &count, run.transferred, None, None);
                known.state = String::from(if run.finished.is_some() { "done" } else { "paused" });
                progress.insert(held.pack.id.clone(), known);
                runs.insert(held.pack.id.clone(), run);
            }
        }
        {
            let mut board = self.0.board.lock();
            board.shelf = shelf;
            board.runs = runs;
            board.progress = progress;
        }
        self.0.wake.notify_one();
        Ok(())
    }

    /// Runs the scheduler until dropped.
    async fn live(&self) {
        loop {
            let now = self.0.clock.now();
            let pause = match self.tick(now).await {
                Ok(Tick::Worked(_, End::Full(_))) => LOOK,
                Ok(Tick::Worked(..)) => Duration::from_millis(100),
                Ok(Tick::Idle(next)) => next.since(now).clamp(Duration::from_millis(100), LOOK),
                Err(error) => {
                    tracing::warn!(error = error.to_string(), "the night's step failed, will try again");
                    LOOK
                }
            };
            tokio::select! {
                () = self.0.wake.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// One step of the scheduler as if it were `now`: works on what a person asked for, else, inside a window, on what is due.
    /// May be dropped at any await: what was under way goes on at the next call.
    ///
    /// # Errors
    /// The database's.
    pub async fn tick(&self, now: Time) -> Result<Tick, Error> {
        self.reopen_lost().await?;
        // It leaves the queue when its work begins, so that whoever watches never sees it neither queued nor running.
        let asked = self.0.board.lock().queue.front().cloned();
        if let Some(id) = asked {
            let end = self.work(&id, None, &|_| {}).await?;
            return Ok(Tick::Worked(id, end));
        }
        let windows = self.0.settings.load().windows.clone();
        let Some(until) = windows.open_at(now) else {
            return Ok(Tick::Idle(windows.next_open(now).unwrap_or_else(|| now.plus(LOOK))));
        };
        self.tend_wishes(now).await?;
        if self.renew_before_school(now, until).await? {
            return Ok(Tick::Idle(now));
        }
        let candidates = self.candidates().await?;
        let Some(due) = schedule::due(&candidates, now) else {
            let next = candidates.iter().map(|one| schedule::at(one, now)).min();
            return Ok(Tick::Idle(next.unwrap_or_else(|| now.plus(LOOK)).max(now.plus(Duration::from_secs(1)))));
        };
        // The window's end as the clock will see it, also where `now` is a test's.
        let end = self.0.clock.now().plus(until.since(now));
        let end = self.work(&due.id, Some(end), &|_| {}).await?;
        Ok(Tick::Worked(due.id.clone(), end))
    }

    /// What the disk has lost of a pack is wanted again: its run goes on in the next window.
    async fn reopen_lost(&self) -> Result<(), Error> {
        let lost = self.0.web.lost();
        if lost.is_empty() {
            return Ok(());
        }
        let held = self.0.board.lock().shelf.held.clone();
        for Held { pack, .. } in held {
            if let Some(run) = self.0.state.run(&pack.id).await? {
                let again = self.0.state.reopen(&pack.id, run.run, &lost).await?;
                if again > 0 {
                    tracing::info!(pack = pack.id, again, "damaged on disk, will be fetched again");
                }
            }
        }
        Ok(())
    }

    async fn candidates(&self) -> Result<Vec<Candidate>, Error> {
        let held = self.0.board.lock().shelf.held.clone();
        let mut candidates = Vec::with_capacity(held.len());
        for Held { pack, .. } in held {
            let run = self.0.state.run(&pack.id).await?;
            let next_try = match &run {
                Some(run) if run.finished.is_none() => self.0.state.next_try(&pack.id, run.run).await?,
                _ => None,
            };
            candidates.push(Candidate { id: pack.id.clone(), digest: pack.digest.to_string(), refresh: pack.refresh, run, next_try });
        }
        Ok(candidates)
    }

    /// Fetches a pack now, whatever the windows say: a person asked. `progress` is called about once a second.
    ///
    /// # Errors
    /// When there is no such pack, and the database's.
    pub async fn run_now(&self, id: &str, progress: impl Fn(Progress) + Sync) -> Result<End, Error> {
        self.make_way(&self.0.board.lock());
        self.work(id, None, &progress).await
    }

    /// Puts a pack first in the queue: the scheduler fetches it at once, whatever the windows say. Watch [`Night::progress`].
    ///
    /// # Errors
    /// When there is no such pack.
    pub fn start(&self, id: &str) -> Result<Progress, Error> {
        {
            let mut board = self.0.board.lock();
            if !board.shelf.held.iter().any(|held| held.pack.id == id) {
                return Err(Error::Unknown(id.to_owned()));
            }
            if board.running.as_deref() != Some(id) && !board.queue.iter().any(|queued| queued == id) {
                board.queue.push_back(id.to_owned());
                self.make_way(&board);
            }
        }
        self.0.wake.notify_one();
        self.progress(id).ok_or_else(|| Error::Unknown(id.to_owned()))
    }

    /// What the schedule began makes way for what a person asked for; people wait for each other.
    fn make_way(&self, board: &Board) {
        if board.running.is_some() && board.scheduled {
            self.0.make_way.store(true, Ordering::Relaxed);
        }
    }

    async fn work(&self, id: &str, until: Option<Time>, tell: &(dyn Fn(Progress) + Sync)) -> Result<End, Error> {
        let inner = &*self.0;
        let _turn = inner.turn.acquire().await.expect("the semaphore is never closed");
        inner.make_way.store(false, Ordering::Relaxed);
        let pack = {
            let mut board = inner.board.lock();
            board.queue.retain(|queued| queued != id);
            let held = board.shelf.held.iter().find(|held| held.pack.id == id).map(|held| Arc::clone(&held.pack));
            let pack = held.ok_or_else(|| Error::Unknown(id.to_owned()))?;
            board.running = Some(id.to_owned());
            board.scheduled = until.is_some();
            board.trouble = None;
            pack
        };
        // Whatever ends this, also being dropped, takes the pack off the board.
        let _running = Running(inner);
        tracing::info!(pack = id, "fetching");
        let settings = inner.settings.load_full();
        let crawl = Crawl {
            web: &inner.web,
            state: &inner.state,
            clock: &inner.clock,
            pack: &pack,
            book: &inner.book,
            manners: &settings.manners,
            windows: &settings.windows,
            max_transfers: settings.max_transfers,
            anew: until.is_none(),
            tally: &inner.tally,
        };
        let counted = Mutex::new(inner.board.lock().progress.get(id).map_or(0, |known| known.transferred));
        let show = |progress: Progress| {
            let mut before = counted.lock();
            // A new run counts from zero.
            inner.transferred.inc_by(progress.transferred.checked_sub(*before).unwrap_or(progress.transferred));
            *before = progress.transferred;
            inner.board.lock().progress.insert(id.to_owned(), progress.clone());
            tell(progress);
        };
        let end = crawl.run(until, &inner.make_way, &show).await?;
        self.ended(id, &end).await?;
        Ok(end)
    }

    async fn ended(&self, id: &str, end: &End) -> Result<(), Error> {
        let run = self.0.state.run(id).await?;
        let (state, reason) = match end {
            End::Done(0) => ("done", None),
            End::Done(failed) => ("done", Some(format!("{failed} could not be fetched"))),
            End::Window => ("paused", Some(String::from("the window has closed"))),
            End::Asked => ("paused", Some(String::from("another pack goes first"))),
            End::Waiting(until) => ("paused", Some(format!("a host asked to wait until {}", until.to_rfc3339()))),
            End::Full(why) => ("paused", Some(format!("the store takes nothing: {why}"))),
        };
        tracing::info!(pack = id, state, reason, "fetching ended");
        let mut board = self.0.board.lock();
        if let End::Full(why) = end {
            board.trouble = Some(why.clone());
        }
        if let Some(progress) = board.progress.get_mut(id) {
            progress.state = state.into();
            progress.reason = reason;
            progress.current = None;
            progress.rate_bytes_per_second = None;
            progress.eta_s = None;
        }
        if let Some(run) = run {
            board.runs.insert(id.to_owned(), run);
        }
        Ok(())
    }
}

/// Takes the pack off the board when dropped.
struct Running<'a, W>(&'a Inner<W>);

impl<W> Drop for Running<'_, W> {
    fn drop(&mut self) {
        self.0.board.lock().running = None;
    }
}

#[cfg(test)]
mod tests;
