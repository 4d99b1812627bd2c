//! The log of outages, by cause: looks at what the line knows every few seconds, keeps what has to be told, tells it by number.
//!
//! ```text
//! dials, lookups ─> link::cause ─┐
//! interfaces ─────> link::way ───┴> link::outage (what is told) -> book (time, what is kept) -> state::outage
//! ```
//!
//! No host has a name in it: of a host that is silent only that there was one is told.

/// Between two looks.
mod book;

/// The log as the API has it.
pub mod api;

use crate::base::clock::{Clock, Time};
use crate::base::count::{IntCounter, IntGauge, Metrics};
use crate::life::{Life, Next, Worker, news, supervise};
use crate::link::outage::{Event, What};
use crate::link::way::{Out, Way, Ways};
use crate::link::{self, Link};
use crate::meter::test::moment;
use crate::state::outage::Row;
use crate::state::{self, State};
use book::Book;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use utoipa::ToSchema;

/// Looks while nothing is amiss.
const CALM: Duration = Duration::from_secs(5);
/// And while something may be.
const WARY: Duration = Duration::from_secs(2);

/// Rows that are remembered from earlier lives: those of the last day, and behind them the newest of each kind.
const REMEMBERED: u32 = 300;

/// Lives that are looked through for the last sign of one: longer than a summer without school.
const RUNS: Duration = Duration::from_hours(200 * 24);

/// An outage as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Outage)]
pub struct Kept {
    /// Grows with every change: an outage that is over is told once more. 0: not written down yet.
    pub number: i64,
    /// From.
    #[schema(value_type = String)]
    #[serde(with = "moment")]
    pub start: Time,
    /// Until, as far as it is known.
    #[schema(value_type = String)]
    #[serde(with = "moment")]
    pub end: Time,
    /// What happened: what leaves the school of it.
    pub event: Event,
    /// How many further outages were joined to it.
    pub joined: u32,
}

/// The log. Cheap to clone.
#[derive(Clone)]
pub struct Outages(Arc<Inner>);

struct Inner {
    clock: Clock,
    life: Life,
    link: Link,
    kept: state::outage::Outages,
    book: Mutex<Book>,
    way: Mutex<Way>,
    /// That there was a default route is written down.
    way_is_kept: AtomicBool,
    /// The newest number.
    newest: watch::Sender<i64>,
    gauges: BTreeMap<What, (IntGauge, IntCounter)>,
}

impl Outages {
    /// Closes what a power cut left open and starts looking. Registers `bulak_link_outage*`.
    ///
    /// # Errors
    /// The database's.
    pub async fn new(clock: &Clock, life: &Life, link: &Link, metrics: &Metrics, state: &State) -> Result<Outages, state::Error> {
        let outages = Outages::open(clock, life, link, metrics, state).await?;
        supervise(life, Watch(outages.clone()));
        Ok(outages)
    }

    /// Without the looking.
    async fn open(clock: &Clock, life: &Life, link: &Link, metrics: &Metrics, state: &State) -> Result<Outages, state::Error> {
        let kept = state.outages();
        kept.recover().await?;
        let remembered = kept.had_way().await?;
        let mut rows = kept.within(Time::from_micros(0)..Time::MAX, REMEMBERED).await?;
        rows.reverse();
        // What was written down or counted before this life began is a sign of an earlier one.
        let begun = clock.now().minus(clock.age());
        let runs = state.history().runs(begun.minus(RUNS), begun).await?;
        let seen = runs.iter().filter(|run| run.start < begun).map(|run| run.seen);
        let alive = seen.chain(rows.iter().map(|row| row.end)).filter(|seen| !clock.trusted() || *seen <= begun).max();
        let open = metrics.gauges("bulak_link_outage", "1 while this is amiss, 0 while it is not.", &["what"]);
        let count = metrics.counters("bulak_link_outages_total", "Outages since start by cause; short ones are joined.", &["what"]);
        let gauge = |what: What| (what, (open.with_label_values(&[what.word()]), count.with_label_values(&[what.word()])));
        Ok(Outages(Arc::new(Inner {
            clock: clock.clone(),
            life: life.clone(),
            link: link.clone(),
            kept,
            book: Mutex::new(Book::new(clock.clone(), &rows, alive)),
            way: Mutex::new(Way::new(remembered)),
            way_is_kept: AtomicBool::new(remembered),
            newest: watch::Sender::new(rows.iter().map(|row| row.number).max().unwrap_or(0)),
            gauges: What::ALL.into_iter().map(gauge).collect(),
        })))
    }

    /// Outages that were kept or changed after this number, the lowest first: what reports read. An outage that is open is told, and once
    /// more under another number when it is over.
    ///
    /// # Errors
    /// The database's.
    pub async fn after(&self, number: i64, most: u32) -> Result<Vec<Kept>, state::Error> {
        Ok(self.0.kept.after(number, most).await?.iter().filter_map(kept).collect())
    }

    /// Resolves when something new was kept, seen from the call on. May be dropped at any await.
    pub fn changed(&self) -> impl Future<Output = ()> + Send + use<> {
        news(&self.0.newest)
    }

    /// Outages of which a part lies in a span, as they are now, the newest first.
    ///
    /// # Errors
    /// The database's.
    pub async fn within(&self, span: Range<Time>, most: u32) -> Result<Vec<Kept>, state::Error> {
        let fresh = self.0.book.lock().newest();
        let same = |row: &Row| fresh.iter().any(|fresh| (&fresh.what, fresh.start) == (&row.what, row.start));
        let rows = self.0.kept.within(span.clone(), most).await?;
        let mut all: Vec<Row> = rows.into_iter().filter(|row| !same(row)).collect();
        all.extend(fresh.iter().filter(|row| (row.open || row.end >= span.start) && row.start < span.end).cloned());
        all.sort_by_key(|row| std::cmp::Reverse((row.start, row.number)));
        all.truncate(usize::try_from(most).unwrap_or(usize::MAX));
        Ok(all.iter().filter_map(kept).collect())
    }

    /// What is open now.
    pub fn open_now(&self) -> Vec<Kept> {
        self.0.book.lock().newest().iter().filter(|row| row.open).filter_map(kept).collect()
    }

    /// One look, and what it says to write.
    async fn look(&self, all: bool) -> Result<(), state::Error> {
        self.look_at(all, ways().as_ref()).await
    }

    /// `ways`: `None` where nobody can tell.
    async fn look_at(&self, all: bool, ways: Option<&Ways>) -> Result<(), state::Error> {
        let inner = &*self.0;
        if let Some(ways) = ways {
            let (out, has) = {
                let mut way = inner.way.lock();
                if way.look(ways) == Out::Missing && inner.link.state() == link::State::Up {
                    way.forget();
                }
                (way.look(ways), way.has_default())
            };
            inner.link.interface(out);
            if has != inner.way_is_kept.load(Ordering::Relaxed) {
                inner.kept.keep_way(has).await?;
                inner.way_is_kept.store(has, Ordering::Relaxed);
            }
        }
        let changes = {
            let mut book = inner.book.lock();
            book.look(inner.link.amiss().0);
            book.changes(all)
        };
        for change in changes {
            let number = if change.same {
                inner.kept.touch(&change.row).await?;
                change.row.number
            } else {
                let number = inner.kept.put(&change.row).await?;
                if change.row.number == 0 {
                    tracing::info!(what = change.row.what, "an outage");
                    self.count(&change.row.what);
                }
                number
            };
            inner.book.lock().done(&change, number);
            if !change.same {
                inner.newest.send_replace(number);
            }
        }
        let open: BTreeSet<What> = self.open_now().iter().map(|kept| kept.event.what).collect();
        for (what, (gauge, _)) in &inner.gauges {
            gauge.set(i64::from(open.contains(what)));
        }
        Ok(())
    }

    fn count(&self, what: &str) {
        if let Some((_, count)) = What::read(what).and_then(|what| self.0.gauges.get(&what)) {
            count.inc();
        }
    }
}

/// A row that a newer program wrote may be of a kind that this one does not know.
fn kept(row: &Row) -> Option<Kept> {
    let what = What::read(&row.what)?;
    let event = Event { what, seconds: row.seconds, open: row.open };
    Some(Kept { number: row.number, start: row.start, end: row.end, event, joined: row.joined })
}

/// The interfaces that lead out now; `None` when the table cannot be read. The kernel's tables are read like files, and cost no disk.
fn ways() -> Option<Ways> {
    let table = |name: &str| std::fs::read_to_string(format!("/proc/self/net/{name}"));
    // A kernel without IPv6 has no such table.
    let ways = Ways::read(&table("route").ok()?, &table("ipv6_route").unwrap_or_default());
    // "0": no cable, no radio. An interface that is down cannot be asked, and has no routes either.
    let carrier = |name: &str| std::fs::read_to_string(format!("/sys/class/net/{name}/carrier"));
    let dead = ways.any.iter().filter(|name| carrier(name).is_ok_and(|text| text.trim() == "0")).cloned().collect();
    Some(ways.but(&dead))
}

/// Looks until the node ends.
struct Watch(Outages);

impl Worker for Watch {
    fn name(&self) -> &'static str {
        "outages"
    }

    async fn work(&mut self) -> anyhow::Result<Next> {
        let inner = &*self.0.0;
        let mut verdict = inner.link.watch();
        self.0.look(false).await?;
        let wait = if inner.link.amiss().1 { WARY } else { CALM };
        tokio::select! {
            () = inner.life.stopping() => {
                self.0.look(true).await?;
                return Ok(Next::Done);
            }
            _ = verdict.changed() => {}
            () = tokio::time::sleep(wait) => {}
        }
        Ok(Next::Busy)
    }
}

#[cfg(test)]
mod tests;
