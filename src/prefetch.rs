//! The night: what is fetched before anyone asks.
//!
//! Packs say what, windows say when, the frontier remembers how far, and the crawl does it through the cache. This file keeps the
//! packs in force and the scheduler; decisions are in the pure rooms (`window`, `permit`, `schedule`, `plan`, `gate`, `aim`).

/// What a wish is wanted as, and what it names in turn.
pub mod aim;

/// The routes of the API.
pub mod api;

/// Days without school.
pub mod calendar;

/// How many bytes the night may still bring.
pub mod caps;

/// What the class asks for.
pub mod class;

/// One pass over one pack.
pub mod crawl;

/// What happens, as it happens.
pub mod event;

/// Plans, surveys and how right they were.
mod foresee;

/// Manners towards hosts.
pub mod gate;

/// The night in figures.
mod gauges;

/// What ends a crawl from outside.
mod halt;

/// Runs as jobs and events.
mod job;

/// Windows in which the box was off.
pub mod missed;

/// What people order.
mod orders;

/// The packs of this node.
pub mod packs;

/// Whether the night may work now.
pub mod permit;

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

/// The frontier as a crawl works on it.
pub mod queues;

/// How often what is here is asked about.
mod rhythm;

/// robots.txt of every origin.
pub mod robots;

/// Which pack is due.
pub mod schedule;

/// What single hosts may hold of a pack.
pub mod share;

/// What the night brought, told in the morning.
pub mod summary;

/// Asking the line a little, so that the plan knows.
pub mod survey;

/// From one pack to the one that takes its place.
mod switch;

/// What is worked on now.
mod scheduler;

/// One stretch of work on one pack.
mod stint;

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

pub use calendar::{Calendar, Holiday};
pub use caps::{Caps, Purse};
pub use class::{Refusal, Wished};
pub use event::{Event, Events};
pub use gate::Manners;
pub use packs::{Origin, Refused};
pub use plan::Plan;
pub use progress::{Listed, Progress};
pub use settings::Settings;
pub use summary::{Brief, Summary};
pub use view::Status;
pub use window::{Window, Windows};
pub use worth::Worth;

use crate::base::clock::{Clock, Time};
use crate::base::count::{IntCounter, Metrics};
use crate::cache::{Cache, Toll};
use crate::life::{Jobs, Life, keep_up};
use crate::link::Link;
use crate::prefetch::class::Class;
use crate::prefetch::crawl::{End, Tally};
use crate::prefetch::gauges::Gauges;
use crate::prefetch::halt::Halt;
use crate::prefetch::missed::Missed;
use crate::prefetch::packs::Shelf;
use crate::prefetch::web::{Reach, Web};
use crate::site::Sites;
use crate::state::State;
use crate::state::frontier::Run;
use crate::state::night::{Asked, Pause};
use crate::store::Store;
use arc_swap::ArcSwap;
use http::HeaderValue;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};

/// How often the figures for `/metrics` are brought up to date.
const SHOW: Duration = Duration::from_secs(5);

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
    /// The text is no moment to come.
    #[error("{0:?} is no time to come")]
    Moment(String),
    /// The text is no date.
    #[error("{0:?} is no date of a night")]
    Date(String),
    /// Nothing is known of this night.
    #[error("there is no summary of the night of {0}")]
    Untold(String),
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
    /// Held by whoever reads packs or wishes and puts them on the board, and by a run's end: nobody puts back what he read before.
    reading: tokio::sync::Mutex<()>,
    /// One crawl at a time: the line is thin.
    turn: Semaphore,
    wake: Notify,
    /// Ends the crawl under way.
    halt: Halt,
    /// What may still come.
    purse: Purse,
    gauges: Gauges,
    transferred: IntCounter,
    tally: Tally,
    events: Events,
    jobs: Jobs,
    class: Class,
    surveys: foresee::Orders,
}

/// What is shown.
#[derive(Default)]
struct Board {
    shelf: Shelf,
    /// What people asked for, until it is through; the pack under way may be among it.
    queue: Vec<Asked>,
    /// What a person ordered last; it may be over.
    pause: Option<Pause>,
    /// Whether the last window was missed, and the end of the window that this was asked of.
    missed: Option<Missed>,
    looked_back: Option<Time>,
    /// The time at the last step: before it, the clock went back.
    seen: Option<Time>,
    /// The last night that was told; the number of the night whose windows are known to be over.
    last_night: Option<Brief>,
    told_night: Option<i64>,
    /// When the schedule may first try again what is left of the runs under way: no host can be asked before.
    next_try: Option<Time>,
    running: Option<String>,
    /// Whether what the class uses is being asked about.
    renewing: bool,
    /// Open jobs by pack.
    jobs: BTreeMap<String, String>,
    /// Packs whose run a person ended: the schedule leaves them alone until then.
    left: BTreeMap<String, Time>,
    /// Packs of which the store took nothing more, and until when they let others go first.
    full: BTreeMap<String, Time>,
    /// Whether a window was open at the last look.
    open: Option<bool>,
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
        link.pace().set(settings.rate);
        let purse = Purse::new(clock.clone(), settings.windows.clone(), settings.caps);
        let toll = {
            let purse = purse.clone();
            Toll::new(move |bytes| purse.spend(bytes))
        };
        let web = Reach { cache: cache.clone(), store, link: link.clone(), toll, agent };
        let night =
            Night::over(settings, clock, purse.clone(), metrics, state.clone(), web, Some(link), move |sites| cache.set_sites(sites));
        night.recall().await?;
        night.reload().await?;
        night.know_wishes().await?;
        night.open_nights(life).await?;
        purse.keep(life, &state);
        keep_up(life, "scheduler", &night, |night: Night| async move { night.live().await });
        keep_up(life, "surveyor", &night, |night: Night| async move { night.survey_all().await });
        keep_up(life, "bookkeeper", &night, |night: Night| async move { night.bookkeeper().await });
        keep_up(life, "night's figures", &night, |night: Night| async move {
            loop {
                night.0.gauges.show(&night.status());
                tokio::time::sleep(SHOW).await;
            }
        });
        Ok(night)
    }

    /// Takes over other settings and reads the packs anew. What the schedule began is looked at again by them; `contact` counts from
    /// the next start.
    ///
    /// # Errors
    /// The database's.
    pub async fn adopt(&self, mut settings: Settings) -> Result<(), Error> {
        // Where the node's state lies and whose addresses are its own counts from the next start.
        let now = self.0.settings.load_full();
        settings.own.clone_from(&now.own);
        settings.manners.own.clone_from(&now.manners.own);
        self.0.web.link.pace().set(settings.rate);
        self.take_over(settings).await
    }
}

impl<W: Web> Night<W> {
    /// Over any web; no scheduler runs, [`Night::tick`] is called by hand.
    #[expect(clippy::too_many_arguments, reason = "as `new`")]
    fn over(
        settings: Settings,
        clock: Clock,
        purse: Purse,
        metrics: &Metrics,
        state: State,
        web: W,
        link: Option<Link>,
        rules: impl Fn(Arc<Sites>) + Send + Sync + 'static,
    ) -> Night<W> {
        let (events, now) = (Events::default(), clock.clone());
        let heard = events.clone();
        let jobs = Jobs::new(clock.clone(), move |view| {
            heard.tell(now.now(), Event::JobChanged { job: view.id.clone(), what: view.what.clone(), state: view.state });
        });
        Night(Arc::new(Inner {
            settings: ArcSwap::from_pointee(settings),
            clock,
            book: robots::Book::default(),
            state,
            web,
            link,
            rules: Box::new(rules),
            board: Mutex::default(),
            reading: tokio::sync::Mutex::default(),
            turn: Semaphore::new(1),
            wake: Notify::new(),
            halt: Halt::default(),
            purse,
            gauges: Gauges::new(metrics),
            transferred: metrics.counter("bulak_prefetch_bytes_total", "Bytes that the night brought over the line."),
            tally: Tally::default(),
            events,
            jobs,
            class: Class::new(metrics),
            surveys: foresee::Orders::default(),
        }))
    }

    /// All that [`Night::adopt`] does, over any web.
    async fn take_over(&self, settings: Settings) -> Result<(), Error> {
        let old = self.0.settings.swap(Arc::new(settings));
        let new = self.0.settings.load_full();
        if (&old.windows, old.caps, old.metered) != (&new.windows, new.caps, new.metered) {
            self.0.purse.set(new.caps, new.windows.clone());
            self.0.board.lock().looked_back = None;
            // It may have to end, or may go on: the scheduler decides anew.
            self.make_way(&self.0.board.lock());
        }
        self.reload().await
    }

    /// Reads the packs anew and hands their rules to the cache. Content of a pack that is no more stays pinned: a folder that is not
    /// mounted for once must not empty the shelf.
    ///
    /// # Errors
    /// The database's.
    pub async fn reload(&self) -> Result<(), Error> {
        let _reading = self.0.reading.lock().await;
        self.read_packs().await?;
        if self.switch_over().await? {
            self.read_packs().await?;
        }
        Ok(())
    }

    /// Called by whoever holds `reading`.
    async fn read_packs(&self) -> Result<(), Error> {
        let settings = self.0.settings.load_full();
        let refused = settings.refused.clone();
        let (folders, own) = (Arc::clone(&settings), Arc::clone(&settings));
        let shelf = match tokio::task::spawn_blocking(move || packs::load(&folders)).await {
            Ok(shelf) => shelf,
            // An empty shelf would say that every pack was taken away.
            Err(error) => {
                tracing::error!(%error, "the packs could not be read: those that were in force stay");
                return Ok(());
            }
        };
        let mut shelf = packs::settle::settle(&self.0.state, &settings, shelf, self.0.clock.now()).await?;
        class::put(&mut shelf, &self.0.state.tonight().await?, &own);
        for refused in &shelf.refused {
            tracing::warn!(file = refused.file, why = refused.why.join("; "), "pack refused");
        }
        // A wish is no review: it opens, mirrors and permits nothing.
        let reviewed = shelf.held.iter().filter(|held| held.pack.id != wish::TONIGHT);
        let rules: Vec<_> = reviewed.map(|held| Arc::clone(&held.pack)).collect();
        self.0.web.shelve(packs::archives(&shelf));
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
        let count = |list: usize| u64::try_from(list).unwrap_or(u64::MAX);
        let read = Event::PacksRead { packs: count(shelf.held.len()), refused: count(shelf.refused.len()) };
        {
            let mut board = self.0.board.lock();
            let digests = |shelf: &Shelf| shelf.held.iter().map(|held| held.pack.digest).collect::<Vec<_>>();
            if digests(&board.shelf) != digests(&shelf) {
                // Another may go first now.
                self.make_way(&board);
            }
            board.shelf = shelf;
            board.runs = runs;
            board.progress = progress;
        }
        self.tell(read);
        self.told();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
