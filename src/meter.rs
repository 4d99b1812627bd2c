//! The line, measured on purpose: speed tests that cost little and say how sure they are.
//!
//! ```text
//! schedule (when) ─┐
//! a person ────────┴-> Meter::test -> budget (how much) -> course (what is run) -> carrier (ndt7)
//!                                                            settle (enough?)  ->  estimate (which figure) -> state::measure
//! ```
//!
//! While a test runs background gives way to it as it does to people (`link::foreground`), and what others move is counted beside it.
//! Nothing of a test is lost: one that is broken off, by a person or a power cut, is kept and paid for.

/// Speed tests as M-Lab's ndt7 has them: client and server.
pub mod ndt7;

/// What is kept and told of a test.
pub mod test;

/// When a test knows enough.
pub mod settle;

/// What has crossed the line, in order or not.
mod segments;

/// From what runs have shown to figures.
pub mod estimate;

/// What tests may cost.
pub mod budget;

/// When tests run by themselves.
pub mod schedule;

/// `[meter]`.
pub mod settings;

/// What carries a test.
mod carrier;

/// A test from the first byte to the figures.
mod course;

/// Which servers are tried.
mod choice;

/// Who starts tests by the schedule.
mod clerk;

/// The log of outages.
pub mod outages;

/// Bursts of pings.
pub mod echo;

/// Tests as the API has them.
pub mod api;

/// For `/metrics`.
mod gauges;

pub use settings::{BENCHMARK, Contract, Server, Settings};
pub use test::{Kept, Test, Trigger};

use crate::base::clock::{Clock, Time};
use crate::base::count::Metrics;
use crate::base::target::Target;
use crate::life::{Jobs, Life, supervise};
use crate::link::{Class, Link};
use crate::meter::budget::{Budget, Spent};
use crate::meter::carrier::Carrier;
use crate::meter::choice::Known;
use crate::meter::course::{Found, Sight};
use crate::meter::gauges::Gauges;
use crate::meter::schedule::Row;
use crate::meter::test::{End, Reach, Trouble};
use crate::state::State;
use crate::state::measure::Measure;
use crate::upstream::Upstream;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

/// Tests that a view shows.
const SHOWN: u32 = 12;

/// A test may find a line so many times faster than it is known.
const SURPRISE: u64 = 2;

/// A capacity that was measured so long ago says nothing of today's line.
const KNOWN_FOR: Duration = Duration::from_hours(31 * 24);

/// What a test is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Why.
    pub trigger: Trigger,
    /// The whole ten seconds, whatever the figure says, and up to all that is left of the day.
    pub full: bool,
    /// The slot that it is for.
    pub slot: Option<i64>,
}

/// Why there is no test.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody to test with.
    #[error("there is no server to test the line with; set hub.url, or name one in meter.servers")]
    NoServer,
    /// One at a time.
    #[error("another test is running; wait for it, it takes half a minute")]
    Busy,
    /// The database.
    #[error(transparent)]
    State(#[from] crate::state::Error),
}

/// What tests rest on.
#[derive(Clone)]
pub struct Parts {
    /// What the configuration says.
    pub settings: Settings,
    /// Time.
    pub clock: Clock,
    /// How tasks end.
    pub life: Life,
    /// The line: background gives way by it, others are counted by it.
    pub link: Link,
    /// By which servers are reached.
    pub upstream: Upstream,
    /// Where a test that a person asked for is watched.
    pub jobs: Jobs,
}

/// Tests of the line. Cheap to clone.
#[derive(Clone)]
pub struct Meter(Arc<Inner>);

struct Inner {
    settings: ArcSwap<Settings>,
    clock: Clock,
    life: Life,
    link: Link,
    jobs: Jobs,
    carrier: Box<dyn Carrier>,
    /// For servers that have to be asked for.
    upstream: Upstream,
    /// M-Lab is not asked again before this.
    not_before: Mutex<Time>,
    measure: Measure,
    gauges: Gauges,
    /// One test at a time.
    turn: tokio::sync::Mutex<()>,
    /// Woken when there may be something to do.
    changed: tokio::sync::Notify,
    /// Tells that a test was kept.
    told: tokio::sync::Notify,
}

/// What tests have found and what they may still cost, for pages and commands.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Tests)]
pub struct View {
    /// Whether there is a server to test with.
    pub has_server: bool,
    /// The servers, as people see them.
    pub servers: Vec<String>,
    /// What tests have taken today, bytes.
    pub spent_today_bytes: u64,
    /// What they may take a day.
    pub day_bytes: u64,
    /// What they have taken this month.
    pub spent_month_bytes: u64,
    /// What they may take a month.
    pub month_bytes: u64,
    /// What is left today.
    pub left_today_bytes: u64,
    /// When the next test is due (RFC 3339).
    pub next: Option<String>,
    /// The capacity as last estimated, bit/s: towards the school.
    pub down_bps: Option<u64>,
    /// And towards the world.
    pub up_bps: Option<u64>,
    /// What the provider has promised.
    pub contract_down_bps: Option<u64>,
    /// See `contract_down_bps`.
    pub contract_up_bps: Option<u64>,
    /// What the 2030 target of ITU and UN asks for a school.
    pub benchmark_bps: u64,
    /// Pupils of the school, by which a large one's target is counted.
    pub pupils: Option<u64>,
    /// The newest tests first.
    pub tests: Vec<Kept>,
}

impl Meter {
    /// Starts the schedule. Registers `bulak_link_test_*`.
    ///
    /// # Errors
    /// The database's.
    pub async fn new(parts: Parts, metrics: &Metrics, state: &State) -> Result<Meter, Error> {
        let carrier = Box::new(carrier::Ndt7 { upstream: parts.upstream.clone(), clock: parts.clock.clone() });
        let life = parts.life.clone();
        let meter = Meter::with(parts, carrier, metrics, state).await?;
        supervise(&life, clerk::Clerk::new(meter.clone()));
        Ok(meter)
    }

    /// Without the schedule.
    async fn with(parts: Parts, carrier: Box<dyn Carrier>, metrics: &Metrics, state: &State) -> Result<Meter, Error> {
        let Parts { settings, clock, life, link, upstream, jobs } = parts;
        let measure = state.measure();
        let recovered = measure.recover().await?;
        if recovered > 0 {
            tracing::info!(bytes = recovered, "a test was cut off by the last stop; what it might have taken counts as spent");
        }
        let inner = Inner {
            settings: ArcSwap::from_pointee(settings),
            clock,
            life,
            link,
            jobs,
            carrier,
            upstream,
            not_before: Mutex::new(Time::from_secs(0)),
            measure,
            gauges: Gauges::new(metrics),
            turn: tokio::sync::Mutex::new(()),
            changed: tokio::sync::Notify::new(),
            told: tokio::sync::Notify::new(),
        };
        let meter = Meter(Arc::new(inner));
        if let Some(kept) = meter.newest(1).await?.first() {
            meter.0.gauges.show(kept);
        }
        let (down, up) = meter.known().await?;
        meter.0.link.capacity(down, up);
        Ok(meter)
    }

    /// Takes over changed settings.
    pub fn adopt(&self, settings: Settings) {
        let mut settings = settings;
        // Where reports go counts from the next start, and tests go with them.
        settings.hub.clone_from(&self.0.settings.load().hub);
        self.0.settings.store(Arc::new(settings));
        self.0.changed.notify_one();
    }

    /// Tests that were kept after this number, the oldest first: what reports and adapters read.
    ///
    /// # Errors
    /// The database's.
    pub async fn after(&self, number: i64, most: u32) -> Result<Vec<Kept>, Error> {
        Ok(self.0.measure.after(number, most).await?.into_iter().map(whole).collect())
    }

    /// Resolves when the next test is kept, seen from the call on.
    pub fn kept(&self) -> tokio::sync::futures::Notified<'_> {
        self.0.told.notified()
    }

    /// Whether a test is under way.
    pub(crate) fn is_testing(&self) -> bool {
        self.0.turn.try_lock().is_err()
    }

    /// Tests that began at `since` or later, the newest first.
    ///
    /// # Errors
    /// The database's.
    pub async fn since(&self, since: Time, most: u32) -> Result<Vec<Kept>, Error> {
        Ok(self.0.measure.newest(since, most).await?.into_iter().map(whole).collect())
    }

    /// What a measurement of another kind rests on.
    fn ways(&self) -> (Clock, Link, Upstream) {
        (self.0.clock.clone(), self.0.link.clone(), self.0.upstream.clone())
    }

    fn life(&self) -> Life {
        self.0.life.clone()
    }

    /// The hub, where there is one.
    fn hub(&self) -> Option<Target> {
        echo::target(&self.0.settings.load())
    }

    /// Whether so many bytes are left of what tests may take today. What a day's last test may still take is not asked: this is a
    /// hundredth of it.
    async fn may_spend(&self, bytes: u64) -> Result<bool, crate::state::Error> {
        let settings = self.0.settings.load_full();
        let budget = self.budget(&settings, &[], None, false, self.known().await?).await?;
        Ok(bytes <= budget.left(budget.capacity))
    }

    /// So many bytes of today were taken.
    async fn spend(&self, bytes: u64) -> Result<(), crate::state::Error> {
        let day = self.0.settings.load().schedule.day(self.0.clock.now());
        self.0.measure.spend(&day, bytes).await
    }

    async fn newest(&self, most: u32) -> Result<Vec<Kept>, Error> {
        self.since(Time::from_secs(0), most).await
    }

    /// Figures for pages and commands.
    ///
    /// # Errors
    /// The database's.
    pub async fn view(&self) -> Result<View, Error> {
        let (inner, settings, now) = (&self.0, self.0.settings.load(), self.0.clock.now());
        let tests = self.newest(SHOWN).await?;
        let known = self.known().await?;
        let rows = self.rows(&settings.schedule.day(now)).await?;
        let budget = self.budget(&settings, &rows, None, false, known).await?;
        let mut servers: Vec<String> = settings.known().iter().map(Server::name).collect();
        servers.extend(settings.mlab.iter().map(|_| String::from("M-Lab")));
        let capacity = budget.capacity;
        Ok(View {
            has_server: settings.has_server(),
            servers,
            spent_today_bytes: budget.spent.today,
            day_bytes: budget.caps.day(capacity),
            spent_month_bytes: budget.spent.month,
            month_bytes: budget.caps.month(capacity),
            left_today_bytes: budget.left(capacity),
            next: settings.schedule.due(&rows, now).filter(|_| inner.clock.trusted()).map(Time::to_rfc3339),
            down_bps: known.0,
            up_bps: known.1,
            contract_down_bps: settings.contract.down,
            contract_up_bps: settings.contract.up,
            benchmark_bps: settings.benchmark(),
            pupils: settings.pupils,
            tests,
        })
    }

    /// A test now, as if a person had asked for it.
    ///
    /// # Errors
    /// When there is no server, another test runs, or the database says no.
    pub async fn now(&self, full: bool) -> Result<Kept, Error> {
        self.test(&Order { trigger: Trigger::Manual, full, slot: None }, &CancellationToken::new(), &|_| ()).await
    }

    /// What a test would be: its server, what it may take, and whether that is worth it.
    ///
    /// # Errors
    /// The database's, or when there is no server.
    pub(crate) async fn plan(&self, order: &Order) -> Result<(String, u64, bool), Error> {
        let settings = self.0.settings.load();
        let server = settings.known().first().map(Server::name).or_else(|| settings.mlab.as_ref().map(|_| String::from("M-Lab")));
        let known = self.known().await?;
        let rows = self.rows(&settings.schedule.day(self.0.clock.now())).await?;
        let budget = self.budget(&settings, &rows, order.slot, order.full, known).await?;
        let rate = self.0.link.view().download.map(|rate| rate.0).max(self.got().await?);
        Ok((server.ok_or(Error::NoServer)?, budget.allowance(known.0), budget.suffices(rate)))
    }

    /// One test; it is kept before this returns, however it ended. `stop` ends it at once.
    ///
    /// # Errors
    /// When there is no server, another test runs, or the database says no.
    async fn test(&self, order: &Order, stop: &CancellationToken, tell: &(dyn Fn(&Sight) + Send + Sync)) -> Result<Kept, Error> {
        let inner = &self.0;
        let _turn = inner.turn.try_lock().map_err(|_| Error::Busy)?;
        let settings = inner.settings.load_full();
        if !settings.has_server() {
            return Err(Error::NoServer);
        }
        let day = settings.schedule.day(inner.clock.now());
        let known = self.known().await?;
        let rows = self.rows(&day).await?;
        let budget = self.budget(&settings, &rows, order.slot, order.full, known).await?;
        let (began, clock_ok) = (inner.clock.steady(), inner.clock.trusted());
        let found = Mutex::new(Found::default());
        let passive = inner.link.view().download.map(|rate| rate.0);
        let mut server = None;
        let suffices = budget.suffices(passive.max(self.got().await?));
        if suffices {
            // What it may come to: a line that nobody knows may be fast, one that is known is not all at once far faster.
            let seen = budget.capacity.map_or(u64::MAX, |known| known.saturating_mul(SURPRISE));
            inner.measure.open(&day, budget.allowance(Some(seen))).await?;
            // Background gives way as it does to people; a test moves all the time, so it never sleeps.
            let busy = inner.link.foreground().begin();
            let told = |sight: &Sight| {
                busy.moved();
                tell(sight);
            };
            let known = Known { down: known.0, up: known.1, passive };
            let tried = Box::pin(self.try_servers(&settings, budget, known, &told, &found, &mut server));
            if stop.run_until_cancelled(tried).await.is_none() {
                found.lock().trouble = Trouble::Cancelled;
            }
        } else {
            found.lock().trouble = Trouble::Budget;
        }
        let found = found.into_inner();
        let took = inner.clock.steady().saturating_duration_since(began);
        let finish = inner.clock.now();
        // By the end and the length: the clock may have been set meanwhile.
        let start = finish.minus(took);
        let server = server.unwrap_or_else(|| settings.known().into_iter().next().unwrap_or_else(choice::mlab));
        // A line that has shown to be faster has a larger day.
        let shown = [&found.download, &found.upload].into_iter().flatten().filter_map(|figures| figures.estimate_bps).max();
        let left = budget.left(budget.capacity.max(shown)).saturating_sub(found.spent);
        let test = told(order, found.clone(), passive.filter(|_| !suffices), server.reach, left);
        let mut kept =
            Kept { number: 0, start, finish, clock_ok: clock_ok && inner.clock.trusted(), server: server.name(), test, raw: Value::Null };
        inner.measure.close(&day, found.spent).await?;
        let raw = Value::Object(found.raw);
        kept.number = inner.measure.keep(start, &kept, &raw.to_string()).await?;
        inner.told.notify_waiters();
        kept.raw = raw;
        inner.gauges.count(&kept);
        inner.link.capacity(kept.test.estimate(false), kept.test.estimate(true));
        tracing::info!(
            end = ?kept.test.end, trouble = ?kept.test.trouble, down = kept.test.estimate(false), up = kept.test.estimate(true),
            cost = kept.test.cost_bytes, "the line was tested"
        );
        Ok(kept)
    }

    /// Both directions' capacity as last estimated.
    pub(crate) async fn known(&self) -> Result<(Option<u64>, Option<u64>), crate::state::Error> {
        let since = self.0.clock.now().minus(KNOWN_FOR);
        let tests: Vec<Kept> = self.0.measure.newest(since, SHOWN).await?.into_iter().map(whole).collect();
        let of = |upload| tests.iter().find_map(|kept| kept.test.estimate(upload));
        Ok((of(false), of(true)))
    }

    /// The most that a run has got of the line lately, sure or not.
    async fn got(&self) -> Result<Option<u64>, Error> {
        let tests = self.since(self.0.clock.now().minus(KNOWN_FOR), SHOWN).await?;
        Ok(tests.iter().flat_map(|kept| [&kept.test.download, &kept.test.upload]).flatten().filter_map(|figures| figures.ndt7_bps).max())
    }

    async fn rows(&self, day: &str) -> Result<Vec<Row>, Error> {
        Ok(self.0.measure.slots(day).await?.into_iter().map(clerk::row).collect())
    }

    async fn budget(
        &self,
        settings: &Settings,
        rows: &[Row],
        own: Option<i64>,
        full: bool,
        known: (Option<u64>, Option<u64>),
    ) -> Result<Budget, crate::state::Error> {
        let now = self.0.clock.now();
        let (today, month) = self.0.measure.spent(&settings.schedule.day(now)).await?;
        let capacity = known.0.max(known.1);
        let shares = settings.schedule.shares(rows, now, own);
        Ok(Budget { caps: settings.caps, spent: Spent { today, month }, shares, full, capacity })
    }

    /// Whether a class uses the line, looking for so long.
    async fn is_busy(&self, look: Duration) -> bool {
        let link = &self.0.link;
        let (clock, before) = (&self.0.clock, link.moved(Class::Interactive));
        let began = clock.steady();
        tokio::time::sleep(look).await;
        let after = link.moved(Class::Interactive);
        let known = self.known().await.unwrap_or_default();
        let bits = |from: u64, to: u64| u128::from(to.saturating_sub(from)) * 8_000_000;
        let micros = clock.steady().saturating_duration_since(began).as_micros().max(1);
        let over = |moved: u128, capacity: Option<u64>| {
            capacity.is_some_and(|capacity| {
                let share = u128::from(capacity) / 5;
                moved / micros > share
            })
        };
        match known {
            // Nobody knows how much of it that is: any transfer counts.
            (None, None) => link.foreground().shut().is_some(),
            (down, up) => over(bits(before.0, after.0), down) || over(bits(before.1, after.1), up),
        }
    }
}

/// The figures of a test, from what was found.
fn told(order: &Order, found: Found, passive: Option<u64>, reach: Reach, left: u64) -> Test {
    let estimates = [&found.download, &found.upload].map(|figures| figures.as_ref().is_some_and(|figures| figures.estimate_bps.is_some()));
    // What a run had got by the end of its bytes is little, and not nothing.
    let short = found.is_short && [&found.download, &found.upload].into_iter().flatten().any(|figures| figures.ndt7_bps.is_some());
    let nothing = found.download.is_none() && found.upload.is_none() && found.trouble == Trouble::Budget && found.spent == 0;
    let end = match (nothing, estimates, found.trouble) {
        (true, ..) => End::Passive,
        (_, [true, true], Trouble::None) => End::Ok,
        (_, [true, true], Trouble::Budget) if !found.is_short => End::Ok,
        (_, [false, false], _) if !short => End::Failed,
        _ => End::Partial,
    };
    let download = if nothing { passive.map(estimate::passive) } else { found.download };
    // A server may write anything there, a device's address as well: what is no plain random id does not leave the school.
    let plain = |id: &String| {
        let is_random = |id: &uuid::Uuid| matches!(id.get_version_num(), 4 | 7);
        id.len() == 36 && id.bytes().all(|byte| !byte.is_ascii_uppercase()) && uuid::Uuid::try_parse(id).as_ref().is_ok_and(is_random)
    };
    Test {
        id: found.id.filter(plain).unwrap_or_else(|| uuid::Uuid::new_v4().to_string()),
        trigger: order.trigger,
        end,
        trouble: found.trouble,
        reach,
        busy: found.busy,
        cross_rx_bytes: found.cross.0,
        cross_tx_bytes: found.cross.1,
        cost_bytes: found.spent,
        left_today_bytes: left,
        download,
        upload: found.upload,
    }
}

fn whole((number, mut kept, raw): (i64, Kept, String)) -> Kept {
    kept.number = number;
    kept.raw = serde_json::from_str(&raw).unwrap_or(Value::Null);
    kept
}

#[cfg(test)]
mod tests;
