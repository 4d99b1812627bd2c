//! What the school tells the region: composes, signs, keeps and sends reports; keeps the line's history on the way.
//!
//! `Reporter` is the front door. A record is made every hour whether or not there is a hub, signed, and kept in the outbox until
//! the hub has it; what may be in it is `schema`'s list and nothing else. A hub that is away costs nothing: records wait, the next
//! try comes later, nobody is bothered.
//!
//! Read in this order: `compose` (pure), `source` (what else is told), `sign`, `coding` (at rest), `gather` (into the outbox), `batch`
//! (the wire), `verdict` (what an answer means), `send`, `line`, `worker`.

use crate::base::backoff::Backoff;
use crate::base::clock::{Clock, Time};
use crate::base::count::{Gauge, IntCounter, IntGauge, Metrics};
use crate::base::target::Target;
use crate::cache::Cache;
use crate::life::{Life, supervise};
use crate::link::Link;
use crate::prefetch::Night;
use crate::report::source::Source;
use crate::state::State;
use crate::state::outbox::{Count, Label, Parked};
use crate::store::Store;
use crate::upstream::Upstream;
use anyhow::Context;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, Semaphore};

/// Everything that may leave a school.
pub mod schema;

/// What the parts say -> one record.
pub mod compose;

/// Who else finds something that is to leave.
pub mod source;

/// The node's key.
pub mod sign;

/// Records on the wire.
pub mod batch;

/// Records at rest.
pub mod coding;

/// How a node gets onto the hub's roll.
pub mod enrol;

/// What an answer of the hub means.
pub mod verdict;

/// The local API.
pub mod api;

/// The line's history: slices in, hours and days out.
pub mod line;

/// From findings to the outbox.
mod gather;

/// Tables for a spreadsheet.
pub mod sheet;

/// The statement of service.
pub mod statement;

/// A Giga Meter server.
pub mod giga;

/// A receiver of Prometheus remote-write.
pub mod remote;

/// Asking to be enrolled.
mod join;

/// One upload after another.
mod send;

/// What the reporter needs of the node.
mod world;

/// The hourly round.
mod worker;

use world::World;

/// `[hub]` and the node's key.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where reports go; `None`: they are kept (for a stick), nothing is sent.
    pub hub_url: Option<Target>,
    /// The school's name or number as the region knows it; empty: left out. See [`schema::is_label`].
    pub school: String,
    /// The code by which the node enrols when the hub does not know it; empty: none.
    pub code: String,
    /// The node's key; `None`: a new one in memory (ephemeral nodes, tests).
    pub key_file: Option<PathBuf>,
    /// How often a record is made.
    pub every: Duration,
    /// Waits after a failed upload.
    pub retry: Backoff,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            hub_url: None,
            school: String::new(),
            code: String::new(),
            key_file: None,
            every: Duration::from_hours(1),
            retry: Backoff { first: Duration::from_secs(30), most: Duration::from_hours(1) },
        }
    }
}

/// A record that ends later than this after the program was made is no proof of time but of a clock that once was far ahead: 15 years.
const BELIEVABLE: Duration = Duration::from_hours(15 * 366 * 24);

/// The outbox and the way to the hub, for status and pages.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// The hub's origin; `None`: not configured.
    pub hub: Option<String>,
    /// This node's id.
    pub node: String,
    /// This node's public key, for the hub's `[[node]]` list.
    pub key: String,
    /// The school's name, when set.
    pub school: Option<String>,
    /// Figures of the outbox.
    pub outbox: Count,
    /// How long the oldest record has been waiting, seconds.
    pub oldest_seconds: u64,
    /// When the next record is due (RFC 3339).
    pub next_report: Option<String>,
    /// When the hub last took something (RFC 3339).
    pub last_delivered: Option<String>,
    /// Why the last upload did not work; `None` after one that did.
    pub trouble: Option<String>,
    /// What a person must mend before reports reach the hub, and how; `None` when there is nothing, or waiting is enough.
    pub by_hand: Option<String>,
    /// Records that the hub refused for good.
    pub parked: Vec<Parked>,
}

/// What came of a round of uploads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flushed {
    /// Records that the hub now has.
    pub delivered: u64,
    /// Records that it refused for good.
    pub parked: u64,
    /// Records that still wait.
    pub waiting: u64,
    /// Why they do.
    pub trouble: Option<String>,
}

/// Composes, signs, keeps and sends reports. Cheap to clone.
#[derive(Clone)]
pub struct Reporter(Arc<Inner>);

pub(crate) struct Inner {
    settings: Settings,
    clock: Clock,
    state: State,
    key: sign::Key,
    who: compose::Who,
    world: Box<dyn World>,
    /// Started at this steady moment.
    begun: Instant,
    /// One composes at a time.
    turn: Semaphore,
    /// One sends at a time: an upload over a thin line must not hold up an hour.
    sending: Semaphore,
    /// Who else finds something.
    sources: Mutex<Vec<Arc<dyn Source>>>,
    heard: Notify,
    memory: Mutex<Memory>,
    queue_records: IntGauge,
    oldest_seconds: Gauge,
    put_off: IntCounter,
}

/// What is remembered between rounds.
#[derive(Default)]
pub(crate) struct Memory {
    /// The cache's totals at the last record.
    before: compose::Cache,
    line: line::Memory,
    /// When the next record is due.
    due: Option<Time>,
    blind: gather::Blind,
    /// Something waits that is to leave now, and not with the next hour.
    wants: bool,
    way: send::Way,
    /// Failed uploads in a row.
    tries: u32,
    /// No upload before this steady moment.
    not_before: Option<Instant>,
    last_delivered: Option<Time>,
    trouble: Option<String>,
    /// Why waiting alone does not help.
    by_hand: Option<String>,
    /// Until then the hub is told what an earlier program knew: it has one.
    plain_until: Option<Instant>,
}

impl Reporter {
    /// Reads or makes the node's key, starts the hourly report and the sender.
    ///
    /// # Errors
    /// When the key is damaged or cannot be written, the school's name holds more than a name may, or the database fails.
    #[expect(clippy::too_many_arguments, reason = "it sums up every part")]
    pub async fn new(
        settings: Settings,
        clock: Clock,
        life: &Life,
        metrics: &Metrics,
        state: State,
        store: Store,
        link: Link,
        upstream: Upstream,
        cache: Cache,
        night: Night,
    ) -> anyhow::Result<Reporter> {
        let world = Box::new(world::Node { store, link, upstream, cache, night });
        let reporter = Reporter::over(settings, clock, metrics, state, world).await?;
        supervise(life, worker::Round { reporter: reporter.clone(), life: life.clone() });
        Ok(reporter)
    }

    /// The same over any world, without the hourly round.
    async fn over(settings: Settings, clock: Clock, metrics: &Metrics, state: State, world: Box<dyn World>) -> anyhow::Result<Reporter> {
        let school = settings.school.trim().to_owned();
        anyhow::ensure!(
            school.is_empty() || schema::is_label(&school),
            "hub.school \"{school}\" is not a name of at most 64 letters, digits, '-', '_' and spaces; choose one without dots or signs"
        );
        let key = match settings.key_file.clone() {
            None => sign::Key::make(),
            Some(file) => tokio::task::spawn_blocking(move || sign::Key::open(&file)).await.context("reading the node's key")??,
        };
        // Proof of time from the newest record, for a box whose clock forgot.
        if let Some(ended) = state.outbox().ended().await?.filter(|ended| *ended < Time::BUILT.plus(BELIEVABLE)) {
            clock.raise_floor(ended);
        }
        let who = compose::Who {
            school: Some(school).filter(|school| !school.is_empty()),
            node: key.node(),
            boot_id: uuid::Uuid::new_v4().to_string(),
        };
        // What is left of an earlier start leaves soon.
        let memory = Memory { line: line::Memory::begin(&clock), wants: true, ..Memory::default() };
        let begun = clock.steady();
        Ok(Reporter(Arc::new(Inner {
            settings,
            clock,
            state,
            key,
            who,
            world,
            begun,
            turn: Semaphore::new(1),
            sending: Semaphore::new(1),
            sources: Mutex::default(),
            heard: Notify::new(),
            memory: Mutex::new(memory),
            queue_records: metrics.gauge("bulak_report_queue_records", "Reports that wait for the hub."),
            oldest_seconds: metrics.gauge_f64("bulak_report_oldest_seconds", "Age of the oldest report that waits for the hub."),
            put_off: metrics.counter("bulak_report_put_off_total", "Uploads of a large backlog that waited since a class used the line."),
        })))
    }

    /// Whatever this source finds leaves with the reports from now on.
    pub fn hear(&self, source: Arc<dyn Source>) {
        self.0.sources.lock().push(source);
        self.0.heard.notify_one();
    }

    /// Resolves when there is another source.
    fn heard(&self) -> futures_util::future::BoxFuture<'_, ()> {
        Box::pin(self.0.heard.notified())
    }

    /// Puts what sources have found into the outbox. How many records of those that leave soon.
    ///
    /// # Errors
    /// When the database fails; whatever is not in the outbox then is found again.
    pub async fn collect(&self) -> anyhow::Result<usize> {
        let _turn = self.0.turn.acquire().await.context("the reporter has ended")?;
        gather::correct(&self.0).await?;
        let prompt = gather::collect(&self.0, &self.sources()).await?;
        if prompt > 0 {
            self.0.memory.lock().wants = true;
        }
        Ok(prompt)
    }

    fn sources(&self) -> Vec<Arc<dyn Source>> {
        self.0.sources.lock().clone()
    }

    /// Makes a record of the time since the last one and keeps it: it survives a power cut once this returns. Its (epoch, seq).
    ///
    /// # Errors
    /// When the database fails, or something outside the schema would leave.
    pub async fn report_now(&self) -> anyhow::Result<(i64, i64)> {
        let inner = &*self.0;
        let _turn = inner.turn.acquire().await.context("the reporter has ended")?;
        let now = inner.clock.now();
        let clock_ok = inner.clock.trusted();
        self.keep_line().await?;
        gather::correct(inner).await?;
        let start = inner.state.outbox().ended().await?.unwrap_or_else(|| inner.memory.lock().line.begun()).min(now);
        let (rollup, partial) = line::between(inner, start, now, clock_ok).await?;
        let count = inner.state.outbox().count().await?;
        let figures = inner.world.figures();
        let health = compose::Health {
            version: env!("CARGO_PKG_VERSION").into(),
            uptime_seconds: inner.clock.steady().saturating_duration_since(inner.begun).as_secs(),
            outbox_records: count.waiting,
            outbox_dropped: count.dropped,
            outbox_parked: count.parked,
        };
        let payload = compose::hour(&figures, &inner.memory.lock().before, &rollup, health);
        let total = payload.total.clone();
        let seal = |epoch, seq| {
            let record = compose::record(&inner.who, "hour", (epoch, seq), (start, now), clock_ok, payload);
            let bytes = compose::bytes(&record).map_err(crate::state::Error::Refused)?;
            Ok(gather::seal(inner, &mut coding::Packer::new(), &bytes))
        };
        let label = Label { kind: "hour", made: now, blind: !clock_ok };
        let name = inner.state.outbox().add(now.secs(), label, now, seal).await?;
        {
            let mut memory = inner.memory.lock();
            memory.before = total;
            memory.line.reported(partial);
            memory.wants = true;
        }
        self.refresh_metrics().await?;
        Ok(name)
    }

    /// Sends what waits, until nothing does or the hub says to come later. Nothing is lost when it fails: `trouble` says why.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn flush(&self) -> anyhow::Result<Flushed> {
        let flushed = send::flush(&self.0).await?;
        self.refresh_metrics().await?;
        Ok(flushed)
    }

    /// Enrols this node at its hub by a code that a person was given.
    ///
    /// # Errors
    /// What the hub says, or why it was not reached.
    pub async fn join(&self, code: &str) -> Result<enrol::Told, crate::base::problem::Problem> {
        join::join(&self.0, code).await
    }

    /// What is going on. Empty figures when the database fails.
    pub async fn status(&self) -> Status {
        let inner = &*self.0;
        let outbox = inner.state.outbox();
        let (count, parked) = match (outbox.count().await, outbox.parked().await) {
            (Ok(count), Ok(parked)) => (count, parked),
            (Err(error), _) | (_, Err(error)) => {
                tracing::warn!(%error, "the outbox cannot be read");
                (Count::default(), Vec::new())
            }
        };
        let memory = inner.memory.lock();
        Status {
            hub: inner.settings.hub_url.as_ref().map(|hub| hub.origin().to_owned()),
            node: inner.who.node.clone(),
            key: inner.key.public(),
            school: inner.who.school.clone(),
            oldest_seconds: count.oldest.map_or(0, |oldest| inner.clock.now().since(oldest).as_secs()),
            outbox: count,
            next_report: memory.due.map(Time::to_rfc3339),
            last_delivered: memory.last_delivered.map(Time::to_rfc3339),
            trouble: memory.trouble.clone(),
            by_hand: memory.by_hand.clone(),
            parked,
        }
    }

    async fn keep_line(&self) -> anyhow::Result<()> {
        line::keep(&self.0).await
    }

    async fn refresh_metrics(&self) -> anyhow::Result<()> {
        let count = self.0.state.outbox().count().await?;
        self.0.queue_records.set(i64::try_from(count.waiting).unwrap_or(i64::MAX));
        self.0.oldest_seconds.set(count.oldest.map_or(0.0, |oldest| self.0.clock.now().since(oldest).as_secs_f64()));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
