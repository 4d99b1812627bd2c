//! What packs wish for, how far each run has come, and which hosts gave trouble. Made for a million addresses, and for boxes that
//! lose power: what a page needs is written in the same transaction as the page's own end, so nothing is forgotten and little is
//! asked twice.
//!
//! A *run* is one pass over a pack, over as many nights as it takes. This room keeps facts; what to fetch is `prefetch`'s business.
//!
//! # Why
//! - A *queue* for each origin of a pack: what may go next is read host by host, so that one host that must wait hides nobody.
//! - Ends come in batches, one transaction and one sync for many. A power cut loses the last batch: what was in it is asked again,
//!   as it is still open; no address is lost.
//! - Sums are kept with the run, in the same transaction: nobody counts a million rows to draw a bar.
//! - What is no longer named, or is gone at its origin, is outdated after two complete runs in different nights, not after one. A start
//!   page that comes without its links, or a site that answers 404 to everything, is repaired by the next night; a shelf that was emptied
//!   for it is not, where the line is dead by then. What is really gone stays one run longer.
//! - A run is complete when nothing failed that may come yet. One address that fails for good would else keep everything on the shelf
//!   for ever, until it is full.

/// What a clock that was ahead has written down.
mod ahead;

/// How wishes end, and what they name in turn.
mod ends;

/// What may go next.
mod queue;

/// Hosts that gave trouble, and their robots.txt.
mod host;

/// What leaves a shelf.
mod shelf;

pub use ahead::LONGEST;
pub use ends::{Added, Ending, rank};
pub use host::{Pause, RobotsFile};
pub use queue::{Origin, host};
pub use shelf::Outdated;

use crate::base::clock::Time;
use crate::state::summary::Told;
use crate::state::{Error, State};
use ends::Ledger;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use std::time::Duration;

/// Most wishes of one pack: twenty full sitemaps, some 250 MB on disk. What comes after is not taken up, and counted.
pub const MAX_WISHES: i64 = 1_000_000;

/// Most origins of one pack: a name that makes up hosts as it goes is no library.
pub const MAX_ORIGINS: i64 = 1_000;

/// One thing to fetch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Its row; 0: not written yet.
    pub id: i64,
    /// Canonical URL.
    pub url: String,
    /// What it is (`page`, `style`, `sitemap` …).
    pub kind: String,
    /// Links away from a seed.
    pub depth: u8,
    /// Failed tries in this run.
    pub tries: u32,
    /// Length when it was last here.
    pub bytes: Option<u64>,
    /// When the origin last confirmed it.
    pub fetched: Option<Time>,
    /// Last change by the sitemap.
    pub changed: Option<Time>,
    /// Redirects on the way to it.
    pub hops: u8,
    /// Checks in a row that found nothing new.
    pub still: u32,
    /// Of its content when it was last here.
    pub print: Option<i64>,
    /// Times in a row that it was given up.
    pub strikes: u32,
    /// Of how many like it a run may hold only so many; for new ones.
    pub alike: Vec<Alike>,
}

/// A pattern of addresses, of which a run takes up only so many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alike {
    /// Of the pattern.
    pub key: i64,
    /// How many a run may hold.
    pub most: u32,
    /// For people.
    pub pattern: String,
}

impl Wish {
    /// A new wish.
    pub fn new(url: impl Into<String>, kind: impl Into<String>, depth: u8) -> Wish {
        Wish { url: url.into(), kind: kind.into(), depth, ..Wish::default() }
    }
}

/// How a wish ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is here.
    Done {
        /// Length of the body.
        bytes: u64,
        /// When the origin confirmed it.
        at: Time,
    },
    /// The origin has it no more.
    Gone,
    /// Not in this run; the reason is for people.
    Failed(String),
    /// Left out on purpose; the reason is for people.
    Skipped(String),
    /// Again, not before.
    Later {
        /// Not before.
        at: Time,
        /// Whether this was a failed try.
        failed: bool,
    },
}

/// One pass over a pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its number, from 1.
    pub run: i64,
    /// Digest of the pack that it was started for.
    pub digest: String,
    /// When it began.
    pub started: Time,
    /// When it was through, if it is.
    pub finished: Option<Time>,
    /// When it was through first: what failed may have been taken up since.
    pub through: Option<Time>,
    /// Wishes that stayed unfulfilled.
    pub failed: u64,
    /// Those among them that may come yet, and so may hide what they name: with none the run is complete.
    pub doubtful: u64,
    /// Wishes for which there was no room.
    pub no_room: u64,
    /// Bytes over the line.
    pub transferred: u64,
    /// Time spent fetching.
    pub busy: Duration,
}

impl Run {
    /// Whether what it brought is older than this, or not here yet.
    pub fn is_old(&self, refresh: Duration, now: Time) -> bool {
        self.through.is_none_or(|through| through.plus(refresh) <= now)
    }
}

/// How far a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Wishes of this run.
    pub total: u64,
    /// Through, one way or another.
    pub ended: u64,
    /// Fulfilled.
    pub done: u64,
    /// Failed.
    pub failed: u64,
    /// Left out on purpose.
    pub skipped: u64,
    /// Bytes of what is fulfilled.
    pub done_bytes: u64,
    /// Open wishes whose length is known from an earlier run, and their bytes.
    pub known: u64,
    /// See `known`.
    pub known_bytes: u64,
}

/// What one fetch cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Bytes over the line.
    pub transferred: u64,
    /// Time spent.
    pub busy: Duration,
}

/// What a row's `state` says.
mod is {
    pub(super) const OPEN: i64 = 0;
    pub(super) const LATER: i64 = 1;
    pub(super) const DONE: i64 = 2;
    pub(super) const GONE: i64 = 3;
    pub(super) const FAILED: i64 = 4;
    pub(super) const SKIPPED: i64 = 5;
    pub(super) const LET_GO: i64 = 6;
}

/// Complete runs count as two nights' word when one began so long after the other ended: a person who fetches a pack twice while its
/// site is being mended has seen one night.
const APART: Duration = Duration::from_hours(12);

/// Rows that a mass change takes in one transaction: a tenth of a second, so that nobody waits long for the database.
const STEP: i64 = 5_000;

const RUN: &str = "SELECT run, digest, started, finished, through, failed, doubtful, no_room, transferred, busy FROM run WHERE pack = ?";

impl State {
    /// The pack's run, if there ever was one.
    pub async fn run(&self, pack: &str) -> Result<Option<Run>, Error> {
        Ok(sqlx::query(RUN).bind(pack).fetch_optional(self.pool()).await?.as_ref().map(read_run))
    }

    /// Begins a new run with these wishes; those of earlier runs stay known until it finishes. Of the run before it stays known whether
    /// it was complete: through, with nothing that is doubtful and something that came.
    pub async fn begin_run(&self, pack: &str, digest: &str, now: Time, seeds: &[Wish]) -> Result<Run, Error> {
        let mut change = self.pool().begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query(
            "INSERT INTO run (pack, run, digest, started) VALUES (?1, 1, ?2, ?3)
             ON CONFLICT (pack) DO UPDATE SET
                 whole = CASE WHEN finished <= ?4 AND doubtful = 0 AND done > 0 THEN run WHEN young_end <= ?4 THEN young ELSE whole END,
                 young = iif(finished > ?4 AND doubtful = 0 AND done > 0 AND coalesce(young_end, 0) <= ?4, run, young),
                 young_end = CASE WHEN finished > ?4 AND doubtful = 0 AND done > 0 AND coalesce(young_end, 0) <= ?4 THEN finished
                     WHEN young_end <= ?4 OR (finished <= ?4 AND doubtful = 0 AND done > 0) THEN NULL ELSE young_end END,
                 run = run + 1, digest = ?2, started = ?3, finished = NULL, through = NULL, failed = 0, doubtful = 0, no_room = 0, transferred = 0,
                 busy = 0, total = 0, done = 0, gone = 0, skipped = 0, done_bytes = 0, known = 0, known_bytes = 0, left_out = 0",
        )
        .bind(pack)
        .bind(digest)
        .bind(now.micros())
        .bind(now.minus(APART).micros())
        .execute(&mut *change)
        .await?;
        let run = read_run(&sqlx::query(RUN).bind(pack).fetch_one(&mut *change).await?);
        let mut ledger = Ledger::open(&mut change, pack, run.run).await?;
        ledger.add(&mut change, seeds).await?;
        ledger.close(&mut change, Cost::default()).await?;
        change.commit().await?;
        Ok(run)
    }

    /// Takes a finished run up again for what failed in it, as far as its pause is over.
    pub async fn reopen_failed(&self, pack: &str, run: i64, now: Time) -> Result<(), Error> {
        // First the run: what a power cut leaves undone of the rest stays failed, and is taken up the next time.
        let query = sqlx::query("UPDATE run SET finished = NULL WHERE pack = ? AND run = ?");
        query.bind(pack).bind(run).execute(self.pool()).await?;
        for origin in self.origins(pack).await? {
            self.reset(pack, run, &origin, Reset::Failed(now)).await?;
        }
        Ok(())
    }

    /// Opens those of `urls` again that were fetched in this run, and with them the run. How many.
    pub async fn reopen(&self, pack: &str, run: i64, urls: &[String]) -> Result<u64, Error> {
        let mut change = self.pool().begin_with("BEGIN IMMEDIATE").await?;
        let mut ledger = Ledger::open(&mut change, pack, run).await?;
        let mut opened = 0;
        for url in urls {
            opened += u64::from(ledger.reopen(&mut change, url).await?);
        }
        if opened > 0 {
            let run = sqlx::query("UPDATE run SET finished = NULL WHERE pack = ? AND run = ?").bind(pack).bind(run);
            run.execute(&mut *change).await?;
        }
        ledger.close(&mut change, Cost::default()).await?;
        change.commit().await?;
        Ok(opened)
    }

    /// Ends every open wish of a run at once (size cap reached).
    pub async fn skip_open(&self, pack: &str, run: i64, why: impl Into<Told<'_>>) -> Result<u64, Error> {
        let (why, mut ended) = (why.into(), 0);
        for origin in self.origins(pack).await? {
            ended += self.reset(pack, run, &origin, Reset::Skip(why)).await?;
        }
        Ok(ended)
    }

    /// Gives up every open wish of an origin in this run.
    pub async fn fail_queue(&self, pack: &str, run: i64, queue: i64, why: impl Into<Told<'_>>) -> Result<u64, Error> {
        let origin = sqlx::query("SELECT origin FROM queue WHERE id = ?").bind(queue).fetch_optional(self.pool()).await?;
        let Some(origin) = origin.map(|row| row.get("origin")) else { return Ok(0) };
        self.reset(pack, run, &Origin { id: queue, origin, until: Time::default() }, Reset::Fail(why.into())).await
    }

    /// Moves many rows of a queue to another state, some thousands in a transaction.
    async fn reset(&self, pack: &str, run: i64, origin: &Origin, what: Reset<'_>) -> Result<u64, Error> {
        let queue = origin.id;
        let (from, to, told, most_try) = match what {
            Reset::Failed(now) => ([is::FAILED, is::FAILED], is::OPEN, None, now.micros()),
            Reset::Skip(told) => ([is::OPEN, is::LATER], is::SKIPPED, Some(told), i64::MAX),
            Reset::Fail(told) => ([is::OPEN, is::LATER], is::FAILED, Some(told), i64::MAX),
        };
        let counted = told.and_then(|told| told.counted);
        // One statement for each state, with the state written out: only so does SQLite use the small indexes.
        let pick = |state: i64| {
            let index = match state {
                is::OPEN => "state = 0",
                is::LATER => "state = 1",
                _ => "why IS NOT NULL AND state = 4",
            };
            format!("SELECT id FROM wish WHERE queue = ?1 AND run = ?2 AND {index} AND next_try <= ?3 LIMIT {STEP}")
        };
        let mut all = 0;
        for (at, state) in from.into_iter().enumerate() {
            if at > 0 && from[0] == state {
                break;
            }
            loop {
                let mut change = self.pool().begin_with("BEGIN IMMEDIATE").await?;
                let mut ledger = Ledger::open(&mut change, pack, run).await?;
                let sums = format!(
                    "SELECT count(*) AS many, count(bytes) AS known, coalesce(sum(bytes), 0) AS bytes, coalesce(sum(night <> ?4), 0) AS fresh
                     FROM wish WHERE id IN ({})",
                    pick(state)
                );
                let night = counted.map_or(0, |counted| counted.night);
                let sums = sqlx::query(sqlx::AssertSqlSafe(sums)).bind(queue).bind(run).bind(most_try).bind(night);
                let row = sums.fetch_one(&mut *change).await?;
                let many: i64 = row.get("many");
                if many == 0 {
                    break;
                }
                // What counts in this night already stays what it is.
                let sql = format!(
                    "UPDATE wish SET state = ?4, why = ?5, tries = 0, next_try = 0, strikes = strikes + {}, came = iif(?6 IN (0, night), came, ?7),
                         night = iif(?6 = 0, night, ?6) WHERE id IN ({})",
                    u8::from(to == is::FAILED),
                    pick(state)
                );
                let update = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(queue).bind(run).bind(most_try).bind(to);
                let update = update.bind(told.map(|told| told.why)).bind(night).bind(counted.map(|counted| counted.word));
                update.execute(&mut *change).await?;
                ledger.moved(state, to, many, row.get("known"), row.get("bytes"));
                if let Some(counted) = counted {
                    ledger.counted(counted, row.get("fresh"), &origin.origin);
                }
                ledger.close(&mut change, Cost::default()).await?;
                change.commit().await?;
                all += natural(many);
            }
        }
        Ok(all)
    }

    /// How far a run is.
    pub async fn count(&self, pack: &str, run: i64) -> Result<Count, Error> {
        let query =
            sqlx::query("SELECT total, done, gone, failed, skipped, done_bytes, known, known_bytes FROM run WHERE pack = ? AND run = ?");
        let Some(row) = query.bind(pack).bind(run).fetch_optional(self.pool()).await? else { return Ok(Count::default()) };
        let of = |name: &str| natural(row.get(name));
        Ok(Count {
            total: of("total"),
            ended: of("done") + of("gone") + of("failed") + of("skipped"),
            done: of("done"),
            failed: of("failed"),
            skipped: of("skipped"),
            done_bytes: of("done_bytes"),
            known: of("known"),
            known_bytes: of("known_bytes"),
        })
    }

    /// Forgets all of a pack.
    pub async fn forget_frontier(&self, pack: &str) -> Result<(), Error> {
        let mut change = self.pool().begin_with("BEGIN IMMEDIATE").await?;
        for sql in [
            "DELETE FROM wish WHERE queue IN (SELECT id FROM queue WHERE pack = ?)",
            "DELETE FROM queue WHERE pack = ?",
            "DELETE FROM alike WHERE pack = ?",
            "DELETE FROM run WHERE pack = ?",
            "DELETE FROM survey WHERE pack = ?",
        ] {
            sqlx::query(sql).bind(pack).execute(&mut *change).await?;
        }
        change.commit().await?;
        Ok(())
    }
}

/// A change of many rows at once.
#[derive(Clone, Copy)]
enum Reset<'a> {
    /// What failed, and whose pause is over by then, is opened.
    Failed(Time),
    /// What is open is left out.
    Skip(Told<'a>),
    /// What is open is given up.
    Fail(Told<'a>),
}

fn read_run(row: &SqliteRow) -> Run {
    Run {
        run: row.get("run"),
        digest: row.get("digest"),
        started: Time::from_micros(row.get("started")),
        finished: row.get::<Option<i64>, _>("finished").map(Time::from_micros),
        through: row.get::<Option<i64>, _>("through").map(Time::from_micros),
        failed: natural(row.get("failed")),
        doubtful: natural(row.get("doubtful")),
        no_room: natural(row.get("no_room")),
        transferred: natural(row.get("transferred")),
        busy: Duration::from_micros(natural(row.get("busy"))),
    }
}

/// Origin, and path with query, of a canonical URL.
pub(super) fn split(url: &str) -> Option<(&str, &str)> {
    let after = url.find("://")? + 3;
    Some(url.split_at(after + url[after..].find('/')?))
}

/// SQLite counts in i64.
fn clip(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn natural(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests;
