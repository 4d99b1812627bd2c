//! What packs wish for, how far each run has come, and which hosts gave trouble today. Survives a kill: what a page needs is
//! written in the same transaction as the page's own end, so nothing is forgotten and little is asked twice.
//!
//! A *run* is one pass over a pack, over as many nights as it takes. This room keeps facts; what to fetch is `prefetch`'s business.

use crate::base::clock::Time;
use crate::state::{Error, State};
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use std::time::Duration;

/// Most wishes of one pack: four full sitemaps. What comes after is not taken up.
pub const MAX_WISHES: i64 = 200_000;

/// One thing to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
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
}

impl Wish {
    /// A new wish.
    pub fn new(url: impl Into<String>, kind: impl Into<String>, depth: u8) -> Wish {
        Wish { url: url.into(), kind: kind.into(), depth, tries: 0, bytes: None, fetched: None, changed: None }
    }
}

/// How a wish ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is here.
    Done {
        /// Length of the body.
        bytes: u64,
        /// When.
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
    /// Wishes that stayed unfulfilled.
    pub failed: u64,
    /// Bytes over the line.
    pub transferred: u64,
    /// Time spent fetching.
    pub busy: Duration,
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

impl State {
    /// The pack's run, if there ever was one.
    pub async fn run(&self, pack: &str) -> Result<Option<Run>, Error> {
        let row = sqlx::query("SELECT run, digest, started, finished, failed, transferred, busy FROM run WHERE pack = ?").bind(pack);
        Ok(row.fetch_optional(self.pool()).await?.as_ref().map(read_run))
    }

    /// Begins a new run with these wishes; those of earlier runs stay known until it finishes.
    pub async fn begin_run(&self, pack: &str, digest: &str, now: Time, seeds: &[Wish]) -> Result<Run, Error> {
        let mut change = self.pool().begin().await?;
        sqlx::query(
            "INSERT INTO run (pack, run, digest, started) VALUES (?1, 1, ?2, ?3)
             ON CONFLICT (pack) DO UPDATE SET run = run + 1, digest = ?2, started = ?3, finished = NULL, failed = 0, transferred = 0, busy = 0",
        )
        .bind(pack)
        .bind(digest)
        .bind(now.micros())
        .execute(&mut *change)
        .await?;
        let row = sqlx::query("SELECT run, digest, started, finished, failed, transferred, busy FROM run WHERE pack = ?").bind(pack);
        let run = read_run(&row.fetch_one(&mut *change).await?);
        add(&mut change, pack, run.run, seeds).await?;
        change.commit().await?;
        Ok(run)
    }

    /// Open wishes that may be tried now: requisites before pages, near before far.
    pub async fn next_wishes(&self, pack: &str, run: i64, now: Time, most: u32) -> Result<Vec<Wish>, Error> {
        let rows = sqlx::query(
            "SELECT url, kind, depth, tries, bytes, fetched, changed FROM wish
             WHERE pack = ? AND state = 'open' AND run = ? AND next_try <= ?
             ORDER BY rank, depth, url LIMIT ?",
        )
        .bind(pack)
        .bind(run)
        .bind(now.micros())
        .bind(most)
        .fetch_all(self.pool())
        .await?;
        Ok(rows.iter().map(read_wish).collect())
    }

    /// When the next open wish may be tried; `None` when none is open.
    pub async fn next_try(&self, pack: &str, run: i64) -> Result<Option<Time>, Error> {
        let row = sqlx::query("SELECT min(next_try) AS next FROM wish WHERE pack = ? AND state = 'open' AND run = ?").bind(pack).bind(run);
        let next: Option<i64> = row.fetch_one(self.pool()).await?.get("next");
        Ok(next.map(Time::from_micros))
    }

    /// Writes down how a wish ended and what it needs in turn, in one transaction.
    pub async fn end_wish(&self, pack: &str, run: i64, url: &str, fate: &Fate, found: &[Wish], cost: Cost) -> Result<(), Error> {
        let mut change = self.pool().begin().await?;
        let wish = match fate {
            Fate::Done { bytes, at } => {
                sqlx::query("UPDATE wish SET state = 'done', bytes = ?3, fetched = ?4, why = NULL WHERE pack = ?1 AND url = ?2")
                    .bind(pack)
                    .bind(url)
                    .bind(clip(*bytes))
                    .bind(at.micros())
            }
            Fate::Gone => sqlx::query("UPDATE wish SET state = 'gone', bytes = NULL WHERE pack = ?1 AND url = ?2").bind(pack).bind(url),
            Fate::Failed(why) => {
                sqlx::query("UPDATE wish SET state = 'failed', why = ?3 WHERE pack = ?1 AND url = ?2").bind(pack).bind(url).bind(why)
            }
            Fate::Skipped(why) => {
                sqlx::query("UPDATE wish SET state = 'skipped', why = ?3 WHERE pack = ?1 AND url = ?2").bind(pack).bind(url).bind(why)
            }
            Fate::Later { at, failed } => sqlx::query("UPDATE wish SET next_try = ?3, tries = tries + ?4 WHERE pack = ?1 AND url = ?2")
                .bind(pack)
                .bind(url)
                .bind(at.micros())
                .bind(i64::from(*failed)),
        };
        wish.execute(&mut *change).await?;
        add(&mut change, pack, run, found).await?;
        sqlx::query("UPDATE run SET transferred = transferred + ?, busy = busy + ? WHERE pack = ?")
            .bind(clip(cost.transferred))
            .bind(i64::try_from(cost.busy.as_micros()).unwrap_or(i64::MAX))
            .bind(pack)
            .execute(&mut *change)
            .await?;
        change.commit().await?;
        Ok(())
    }

    /// Takes a finished run up again for what failed in it.
    pub async fn reopen_failed(&self, pack: &str, run: i64) -> Result<(), Error> {
        let mut change = self.pool().begin().await?;
        let wish = "UPDATE wish SET state = 'open', tries = 0, next_try = 0 WHERE pack = ? AND run = ? AND state = 'failed'";
        sqlx::query(wish).bind(pack).bind(run).execute(&mut *change).await?;
        sqlx::query("UPDATE run SET finished = NULL, failed = 0 WHERE pack = ? AND run = ?")
            .bind(pack)
            .bind(run)
            .execute(&mut *change)
            .await?;
        change.commit().await?;
        Ok(())
    }

    /// Opens those of `urls` again that were fetched in this run, and with them the run. How many.
    pub async fn reopen(&self, pack: &str, run: i64, urls: &[String]) -> Result<u64, Error> {
        let (mut change, mut opened) = (self.pool().begin().await?, 0);
        for url in urls {
            let wish = "UPDATE wish SET state = 'open', tries = 0, next_try = 0 WHERE pack = ? AND run = ? AND url = ? AND state = 'done'";
            opened += sqlx::query(wish).bind(pack).bind(run).bind(url).execute(&mut *change).await?.rows_affected();
        }
        if opened > 0 {
            let run = sqlx::query("UPDATE run SET finished = NULL WHERE pack = ? AND run = ?").bind(pack).bind(run);
            run.execute(&mut *change).await?;
        }
        change.commit().await?;
        Ok(opened)
    }

    /// Ends every open wish of a run at once (size cap reached).
    pub async fn skip_open(&self, pack: &str, run: i64, why: &str) -> Result<u64, Error> {
        let query = sqlx::query("UPDATE wish SET state = 'skipped', why = ? WHERE pack = ? AND run = ? AND state = 'open'");
        Ok(query.bind(why).bind(pack).bind(run).execute(self.pool()).await?.rows_affected())
    }

    /// How far a run is.
    pub async fn count(&self, pack: &str, run: i64) -> Result<Count, Error> {
        let row = sqlx::query(
            "SELECT count(*) AS total, coalesce(sum(state <> 'open'), 0) AS ended, coalesce(sum(state = 'done'), 0) AS done,
                    coalesce(sum(state = 'failed'), 0) AS failed, coalesce(sum(state = 'skipped'), 0) AS skipped,
                    coalesce(sum(CASE WHEN state = 'done' THEN bytes END), 0) AS done_bytes,
                    coalesce(sum(state = 'open' AND bytes IS NOT NULL), 0) AS known,
                    coalesce(sum(CASE WHEN state = 'open' THEN bytes END), 0) AS known_bytes
             FROM wish WHERE pack = ? AND run = ?",
        )
        .bind(pack)
        .bind(run)
        .fetch_one(self.pool())
        .await?;
        let of = |name: &str| natural(row.get(name));
        Ok(Count {
            total: of("total"),
            ended: of("ended"),
            done: of("done"),
            failed: of("failed"),
            skipped: of("skipped"),
            done_bytes: of("done_bytes"),
            known: of("known"),
            known_bytes: of("known_bytes"),
        })
    }

    /// What went wrong in a run: address and reason, at most `most`.
    pub async fn trouble(&self, pack: &str, run: i64, most: u32) -> Result<Vec<(String, String)>, Error> {
        let rows = sqlx::query(
            "SELECT url, coalesce(why, '') AS why FROM wish WHERE pack = ? AND run = ? AND state IN ('failed', 'skipped') ORDER BY state, url LIMIT ?",
        )
        .bind(pack)
        .bind(run)
        .bind(most)
        .fetch_all(self.pool())
        .await?;
        Ok(rows.iter().map(|row| (row.get("url"), row.get("why"))).collect())
    }

    /// Marks the run as through.
    pub async fn finish_run(&self, pack: &str, run: i64, now: Time) -> Result<u64, Error> {
        let failed = self.count(pack, run).await?.failed;
        let query = sqlx::query("UPDATE run SET finished = ?, failed = ? WHERE pack = ? AND run = ?");
        query.bind(now.micros()).bind(clip(failed)).bind(pack).bind(run).execute(self.pool()).await?;
        Ok(failed)
    }

    /// What the pack no longer wants: known from earlier runs but not named in this one, or gone at the origin. At most `most`.
    pub async fn outdated(&self, pack: &str, run: i64, most: u32) -> Result<Vec<String>, Error> {
        let query = sqlx::query("SELECT url FROM wish WHERE pack = ?1 AND (run < ?2 OR (state = 'gone' AND next_try >= 0)) LIMIT ?3");
        let rows = query.bind(pack).bind(run).bind(most).fetch_all(self.pool()).await?;
        Ok(rows.iter().map(|row| row.get("url")).collect())
    }

    /// Forgets one wish of an earlier run; one that is gone in this run stays counted but is no longer outdated.
    pub async fn forget_wish(&self, pack: &str, run: i64, url: &str) -> Result<(), Error> {
        let mut change = self.pool().begin().await?;
        sqlx::query("DELETE FROM wish WHERE pack = ? AND url = ? AND run < ?").bind(pack).bind(url).bind(run).execute(&mut *change).await?;
        sqlx::query("UPDATE wish SET next_try = -1 WHERE pack = ? AND url = ? AND state = 'gone'")
            .bind(pack)
            .bind(url)
            .execute(&mut *change)
            .await?;
        change.commit().await?;
        Ok(())
    }

    /// Packs that have wishes or runs.
    pub async fn frontier_packs(&self) -> Result<Vec<String>, Error> {
        let rows = sqlx::query("SELECT pack FROM run ORDER BY pack").fetch_all(self.pool()).await?;
        Ok(rows.iter().map(|row| row.get("pack")).collect())
    }

    /// Forgets all of a pack.
    pub async fn forget_frontier(&self, pack: &str) -> Result<(), Error> {
        let mut change = self.pool().begin().await?;
        sqlx::query("DELETE FROM wish WHERE pack = ?").bind(pack).execute(&mut *change).await?;
        sqlx::query("DELETE FROM run WHERE pack = ?").bind(pack).execute(&mut *change).await?;
        change.commit().await?;
        Ok(())
    }

    /// One more error of a host on this day; how many that makes. Older days are forgotten.
    pub async fn host_error(&self, host: &str, day: &str) -> Result<u32, Error> {
        let mut change = self.pool().begin().await?;
        sqlx::query("DELETE FROM host_error WHERE day < ?").bind(day).execute(&mut *change).await?;
        sqlx::query(
            "INSERT INTO host_error (host, day, errors) VALUES (?, ?, 1) ON CONFLICT (host, day) DO UPDATE SET errors = errors + 1",
        )
        .bind(host)
        .bind(day)
        .execute(&mut *change)
        .await?;
        let row = sqlx::query("SELECT errors FROM host_error WHERE host = ? AND day = ?").bind(host).bind(day);
        let errors: i64 = row.fetch_one(&mut *change).await?.get("errors");
        change.commit().await?;
        Ok(u32::try_from(errors).unwrap_or(u32::MAX))
    }

    /// Hosts with at least `errors` errors on this day.
    pub async fn stopped_hosts(&self, day: &str, errors: u32) -> Result<Vec<String>, Error> {
        let query = sqlx::query("SELECT host FROM host_error WHERE day = ? AND errors >= ?").bind(day).bind(errors);
        Ok(query.fetch_all(self.pool()).await?.iter().map(|row| row.get("host")).collect())
    }
}

/// What one fetch cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Bytes over the line.
    pub transferred: u64,
    /// Time spent.
    pub busy: Duration,
}

/// Adds wishes to a run: a new one is opened, one of an earlier run is opened again, a shorter way to a page opens it again.
async fn add(change: &mut SqliteConnection, pack: &str, run: i64, wishes: &[Wish]) -> Result<(), Error> {
    if wishes.is_empty() {
        return Ok(());
    }
    let row =
        sqlx::query("SELECT count(*) AS held FROM wish WHERE pack = ? AND run = ?").bind(pack).bind(run).fetch_one(&mut *change).await?;
    let mut room = MAX_WISHES - row.get::<i64, _>("held");
    for wish in wishes {
        if room <= 0 {
            break;
        }
        let done = sqlx::query(
            "INSERT INTO wish (pack, url, kind, depth, run, state, changed, rank) VALUES (?1, ?2, ?3, ?4, ?5, 'open', ?6, ?7)
             ON CONFLICT (pack, url) DO UPDATE SET
                 run = ?5, state = 'open', tries = 0, next_try = 0, depth = ?4, kind = ?3, rank = ?7, why = NULL, changed = coalesce(?6, changed)
             WHERE run < ?5 OR (kind = 'page' AND ?3 = 'page' AND depth > ?4)",
        )
        .bind(pack)
        .bind(&wish.url)
        .bind(&wish.kind)
        .bind(i64::from(wish.depth))
        .bind(run)
        .bind(wish.changed.map(Time::micros))
        .bind(rank(&wish.kind))
        .execute(&mut *change)
        .await?;
        room -= i64::try_from(done.rows_affected()).unwrap_or(1);
    }
    Ok(())
}

/// What goes first: what pages need, then sound and film, then further pages.
fn rank(kind: &str) -> i64 {
    match kind {
        "page" => 2,
        "media" => 1,
        _ => 0,
    }
}

fn read_run(row: &SqliteRow) -> Run {
    Run {
        run: row.get("run"),
        digest: row.get("digest"),
        started: Time::from_micros(row.get("started")),
        finished: row.get::<Option<i64>, _>("finished").map(Time::from_micros),
        failed: natural(row.get("failed")),
        transferred: natural(row.get("transferred")),
        busy: Duration::from_micros(natural(row.get("busy"))),
    }
}

fn read_wish(row: &SqliteRow) -> Wish {
    Wish {
        url: row.get("url"),
        kind: row.get("kind"),
        depth: u8::try_from(row.get::<i64, _>("depth")).unwrap_or(u8::MAX),
        tries: u32::try_from(row.get::<i64, _>("tries")).unwrap_or(u32::MAX),
        bytes: row.get::<Option<i64>, _>("bytes").map(natural),
        fetched: row.get::<Option<i64>, _>("fetched").map(Time::from_micros),
        changed: row.get::<Option<i64>, _>("changed").map(Time::from_micros),
    }
}

/// SQLite counts in i64.
fn clip(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn natural(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_secs(1_800_000_000);

    async fn end(state: &State, run: i64, url: &str, fate: Fate, found: &[Wish]) {
        state.end_wish("p", run, url, &fate, found, Cost { transferred: 10, busy: Duration::from_secs(1) }).await.expect("writes");
    }

    #[tokio::test]
    async fn a_run_from_seed_to_outdated() {
        let state = State::open(None).await.expect("opens");
        let seeds = [Wish::new("http://a/", "page", 0), Wish::new("http://a/old", "page", 0)];
        let run = state.begin_run("p", "d1", NOW, &seeds).await.expect("begins").run;
        let needs = [Wish::new("http://a/x.css", "style", 0), Wish::new("http://a/2", "page", 1)];
        end(&state, run, "http://a/", Fate::Done { bytes: 100, at: NOW }, &needs).await;
        let urls: Vec<String> = state.next_wishes("p", run, NOW, 10).await.expect("reads").into_iter().map(|wish| wish.url).collect();
        assert_eq!(urls, ["http://a/x.css", "http://a/old", "http://a/2"]);
        end(&state, run, "http://a/x.css", Fate::Later { at: NOW.plus(Duration::from_secs(30)), failed: true }, &[]).await;
        assert_eq!(state.next_wishes("p", run, NOW, 10).await.expect("reads").len(), 2);
        for url in ["http://a/x.css", "http://a/old"] {
            end(&state, run, url, Fate::Done { bytes: 50, at: NOW }, &[]).await;
        }
        end(&state, run, "http://a/2", Fate::Failed("500".into()), &[]).await;
        let count = state.count("p", run).await.expect("counts");
        assert_eq!((count.total, count.ended, count.done, count.failed, count.done_bytes), (4, 4, 3, 1, 200));
        assert_eq!(state.next_try("p", run).await.expect("reads"), None);
        assert_eq!(state.finish_run("p", run, NOW).await.expect("finishes"), 1);
        assert_eq!(state.trouble("p", run, 5).await.expect("reads"), [("http://a/2".to_owned(), "500".to_owned())]);

        state.reopen_failed("p", run).await.expect("opens again");
        assert_eq!(state.next_wishes("p", run, NOW, 9).await.expect("reads").len(), 1);
        assert_eq!(state.run("p").await.expect("reads").and_then(|run| run.finished), None);

        let run = state.begin_run("p", "d2", NOW, &seeds[..1]).await.expect("begins").run;
        end(&state, run, "http://a/", Fate::Gone, &needs).await;
        let known = state.count("p", run).await.expect("counts");
        assert_eq!((known.total, known.known, known.known_bytes), (3, 1, 50));
        let outdated = state.outdated("p", run, 10).await.expect("reads");
        assert_eq!(outdated, ["http://a/", "http://a/old"]);
        for url in &outdated {
            state.forget_wish("p", run, url).await.expect("forgets");
        }
        assert!(state.outdated("p", run, 10).await.expect("reads").is_empty());
    }

    #[tokio::test]
    async fn hosts_are_counted_by_day() {
        let state = State::open(None).await.expect("opens");
        for wanted in 1..=3 {
            assert_eq!(state.host_error("a.kz", "2026-11-25").await.expect("counts"), wanted);
        }
        assert_eq!(state.stopped_hosts("2026-11-25", 3).await.expect("reads"), ["a.kz"]);
        assert_eq!(state.host_error("a.kz", "2026-11-26").await.expect("counts"), 1);
        assert!(state.stopped_hosts("2026-11-25", 1).await.expect("reads").is_empty());
    }
}
