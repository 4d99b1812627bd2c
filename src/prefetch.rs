//! The night: what is fetched before anyone asks.
//!
//! Packs say what, windows say when, the frontier remembers how far, and the crawl does it through the cache. This file keeps the
//! packs in force and the scheduler; decisions are in the pure rooms (`window`, `schedule`, `plan`, `gate`, `aim`).

/// What a wish is wanted as, and what it names in turn.
pub mod aim;

/// The routes of the API.
pub mod api;

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

/// robots.txt of every origin.
pub mod robots;

/// Which pack is due.
pub mod schedule;

/// The web as the crawl sees it.
pub mod web;

/// When the work may run.
pub mod window;

pub use gate::Manners;
pub use packs::{Origin, Refused};
pub use plan::Plan;
pub use progress::{Listed, Progress};
pub use window::{Window, Windows};

use crate::base::clock::{Clock, Time};
use crate::base::count::{IntCounter, Metrics};
use crate::base::unit::BitRate;
use crate::cache::Cache;
use crate::life::Life;
use crate::link::{Link, pace::Pace};
use crate::prefetch::crawl::{Crawl, End};
use crate::prefetch::packs::{Held, Shelf};
use crate::prefetch::schedule::Candidate;
use crate::prefetch::web::{Reach, Web};
use crate::site::Sites;
use crate::state::State;
use crate::state::frontier::Run;
use crate::store::Store;
use http::HeaderValue;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};

/// The longest sleep of the scheduler: a clock that jumps is noticed within a minute.
const LOOK: Duration = Duration::from_secs(60);

/// `[packs]`, `[night]`, `[manners]`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Folders (or files) with packs from outside.
    pub paths: Vec<PathBuf>,
    /// The node's own packs, `<state>/packs.d`; they need no signature.
    pub own: Option<PathBuf>,
    /// minisign public keys whose packs are taken.
    pub trusted_keys: Vec<String>,
    /// Take unsigned packs from `paths` too. For trials; a bad signature is refused all the same.
    pub unsigned: bool,
    /// When the work may run, with the school's time zone.
    pub windows: Windows,
    /// Cap on background bytes; `None`: no cap.
    pub rate: Option<BitRate>,
    /// Transfers at once.
    pub max_transfers: usize,
    /// Manners towards hosts.
    pub manners: Manners,
    /// Who answers for this node, for the User-Agent: a URL or an address; empty: nobody named.
    pub contact: String,
}

impl Default for Settings {
    fn default() -> Settings {
        // Kazakhstan has had one time zone, UTC+5, since 2024-03-01: what a machine without zone data falls back to.
        let zone = jiff::tz::TimeZone::get("Asia/Almaty").unwrap_or_else(|_| jiff::tz::TimeZone::fixed(jiff::tz::offset(5)));
        let night = "mon-sun 22:00-07:00".parse().expect("a constant window");
        Settings {
            paths: vec![PathBuf::from("/etc/bulak/packs.d")],
            own: None,
            trusted_keys: Vec::new(),
            unsigned: false,
            windows: Windows { list: vec![night], zone },
            rate: None,
            max_transfers: 2,
            manners: Manners::default(),
            contact: String::new(),
        }
    }
}

/// What the night is doing, for status, reports and pages.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// `idle` (nothing due), `waiting` (for the window), `running` or `paused` (line down, store full).
    pub state: String,
    /// Why it is paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When the open window closes (RFC 3339).
    pub window_closes: Option<String>,
    /// When the next window opens.
    pub window_opens: Option<String>,
    /// The pack under way.
    pub running: Option<String>,
    /// Packs that a person asked for and that wait for their turn.
    pub queued: Vec<String>,
    /// Packs in force with how far they are, the most important first.
    pub packs: Vec<Listed>,
    /// Files that are no packs for us.
    pub refused: Vec<Refused>,
    /// Bytes that the night has brought over the line since start.
    pub transferred_bytes: u64,
}

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
    #[error("there is no pack \"{0}\"; see: bulak pack list")]
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
    settings: Settings,
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
}

/// What is shown.
#[derive(Default)]
struct Board {
    shelf: Shelf,
    queue: VecDeque<String>,
    running: Option<String>,
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
        Ok(night)
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
            settings,
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
        }))
    }

    /// Reads the packs anew, hands their rules to the cache, and lets go of packs that are no more.
    ///
    /// # Errors
    /// The database's.
    pub async fn reload(&self) -> Result<(), Error> {
        let settings = self.0.settings.clone();
        let shelf = tokio::task::spawn_blocking(move || packs::load(&settings)).await.unwrap_or_default();
        for refused in &shelf.refused {
            tracing::warn!(file = refused.file, why = refused.why.join("; "), "pack refused");
        }
        let rules: Vec<_> = shelf.held.iter().map(|held| Arc::clone(&held.pack)).collect();
        (self.0.rules)(Arc::new(Sites::new(&rules)));
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
        let asked = self.0.board.lock().queue.pop_front();
        if let Some(id) = asked {
            let end = self.work(&id, None, &|_| {}).await?;
            return Ok(Tick::Worked(id, end));
        }
        let windows = &self.0.settings.windows;
        let Some(until) = windows.open_at(now) else {
            return Ok(Tick::Idle(windows.next_open(now).unwrap_or_else(|| now.plus(LOOK))));
        };
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
        self.0.make_way.store(true, Ordering::Relaxed);
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
                self.0.make_way.store(board.running.is_some(), Ordering::Relaxed);
            }
        }
        self.0.wake.notify_one();
        self.progress(id).ok_or_else(|| Error::Unknown(id.to_owned()))
    }

    async fn work(&self, id: &str, until: Option<Time>, tell: &(dyn Fn(Progress) + Sync)) -> Result<End, Error> {
        let inner = &*self.0;
        let _turn = inner.turn.acquire().await.expect("the semaphore is never closed");
        inner.make_way.store(false, Ordering::Relaxed);
        let pack = {
            let mut board = inner.board.lock();
            let held = board.shelf.held.iter().find(|held| held.pack.id == id).map(|held| Arc::clone(&held.pack));
            let pack = held.ok_or_else(|| Error::Unknown(id.to_owned()))?;
            board.running = Some(id.to_owned());
            board.trouble = None;
            pack
        };
        // Whatever ends this, also being dropped, takes the pack off the board.
        let _running = Running(inner);
        tracing::info!(pack = id, "fetching");
        let crawl = Crawl {
            web: &inner.web,
            state: &inner.state,
            clock: &inner.clock,
            pack: &pack,
            book: &inner.book,
            manners: &inner.settings.manners,
            windows: &inner.settings.windows,
            max_transfers: inner.settings.max_transfers,
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

    /// How far a pack is; `None` when there is no such pack.
    pub fn progress(&self, id: &str) -> Option<Progress> {
        self.packs().into_iter().find(|listed| listed.id == id).map(|listed| listed.progress)
    }

    /// The packs in force, the most important first.
    pub fn packs(&self) -> Vec<Listed> {
        let down = self.0.web.is_down();
        let board = self.0.board.lock();
        let listed = |held: &Held| {
            let id = &held.pack.id;
            let idle = || Progress { id: id.clone(), state: String::from("idle"), ..Progress::default() };
            let mut progress = board.progress.get(id).cloned().unwrap_or_else(idle);
            if board.queue.contains(id) {
                progress.state = String::from("queued");
            } else if board.running.as_ref() == Some(id) {
                progress.state = String::from(if down { "paused" } else { "running" });
                progress.reason = down.then(|| String::from("the line is down"));
            }
            Listed::of(held, board.runs.get(id), progress)
        };
        board.shelf.held.iter().map(listed).collect()
    }

    /// What fetching a pack will take, before a byte moves.
    ///
    /// # Errors
    /// When there is no such pack, and the database's.
    pub async fn plan(&self, id: &str) -> Result<Plan, Error> {
        let held = self.0.board.lock().shelf.held.iter().find(|held| held.pack.id == id).map(|held| Arc::clone(&held.pack));
        let pack = held.ok_or_else(|| Error::Unknown(id.to_owned()))?;
        let now = self.0.clock.now();
        let run = self.0.state.run(id).await?;
        let count = match &run {
            Some(run) => self.0.state.count(id, run.run).await?,
            None => crate::state::frontier::Count::default(),
        };
        let (rate, rate_basis) = self.rate(run.as_ref());
        let windows = &self.0.settings.windows;
        let window = match windows.open_at(now) {
            Some(until) => Some((None, until)),
            None => windows.next_open(now).and_then(|opens| Some((Some(opens), windows.open_at(opens)?))),
        };
        let given = plan::Given {
            count,
            under_way: run.as_ref().is_some_and(|run| run.finished.is_none()),
            seeds: u64::try_from(aim::seeds(&pack).len()).unwrap_or(u64::MAX),
            max_bytes: pack.scope.max_bytes,
            rate,
            window,
            now,
        };
        let (id, version) = (pack.id.clone(), pack.version.clone());
        Ok(Plan { id, version, rate_basis: rate_basis.into(), seeds_not_fetched: progress::not_fetched(&pack), ..plan::plan(&given) })
    }

    /// The rate to reckon with: what the line was measured at, else what the last run reached; never above the cap.
    fn rate(&self, run: Option<&Run>) -> (Option<BitRate>, &'static str) {
        let line = self.0.link.as_ref().and_then(|link| link.view().download).filter(|rate| rate.0 > 0);
        // Less than a second of fetching tells nothing about the line.
        let past = run.filter(|run| run.busy >= Duration::from_secs(1) && run.transferred > 0);
        let past =
            past.map(|run| BitRate(u64::try_from(u128::from(run.transferred) * 8_000 / run.busy.as_millis().max(1)).unwrap_or(u64::MAX)));
        let (rate, basis) = match (line, past) {
            (Some(line), _) => (Some(line), "line"),
            (None, Some(past)) => (Some(past), "last_night"),
            (None, None) => (None, "unknown"),
        };
        match (rate, self.0.settings.rate) {
            (Some(rate), Some(cap)) if cap < rate => (Some(cap), "cap"),
            (None, Some(cap)) => (Some(cap), "cap"),
            _ => (rate, basis),
        }
    }

    /// What could not be fetched in the last run of a pack, with reasons; at most `most`.
    ///
    /// # Errors
    /// The database's.
    pub async fn trouble(&self, id: &str, most: u32) -> Result<Vec<(String, String)>, Error> {
        match self.0.state.run(id).await? {
            Some(run) => Ok(self.0.state.trouble(id, run.run, most).await?),
            None => Ok(Vec::new()),
        }
    }

    /// What is going on.
    pub fn status(&self) -> Status {
        let now = self.0.clock.now();
        let windows = &self.0.settings.windows;
        let open = windows.open_at(now);
        let packs = self.packs();
        let down = self.0.web.is_down();
        let board = self.0.board.lock();
        let trouble = board.trouble.clone().or_else(|| (down && board.running.is_some()).then(|| String::from("the line is down")));
        let state = match (&board.running, &trouble, open) {
            (_, Some(_), _) => "paused",
            (Some(_), None, _) => "running",
            (None, None, None) => "waiting",
            (None, None, Some(_)) => "idle",
        };
        Status {
            state: state.into(),
            reason: trouble,
            window_closes: open.map(Time::to_rfc3339),
            window_opens: windows.next_open(now).map(Time::to_rfc3339),
            running: board.running.clone(),
            queued: board.queue.iter().cloned().collect(),
            packs,
            refused: board.shelf.refused.clone(),
            transferred_bytes: self.0.transferred.get(),
        }
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
