//! The line over time and when the node ran: rows of the node's database, nothing else.
//!
//! Figures are kept as JSON, so that a new figure needs no migration; what they mean is the business of `link::rollup`, and who
//! fills them that of `report`. A row of a newer program that cannot be read counts as absent.

use crate::base::clock::Time;
use crate::state::{Error, State};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::sqlite::SqlitePool;

/// The most rows that one question gets: 35 days of five minutes, 13 months of hours.
const MOST_ROWS: i64 = 10_080;

/// The history. Cheap to clone.
#[derive(Clone, Debug)]
pub struct History(SqlitePool);

/// A stretch of time in which the node ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ran {
    /// From.
    pub start: Time,
    /// Last heartbeat.
    pub seen: Time,
    /// Whether the clock was right.
    pub clock_ok: bool,
}

impl State {
    /// The history's queries.
    pub fn history(&self) -> History {
        History(self.pool().clone())
    }
}

impl History {
    /// Keeps the figures of one window, in place of older ones.
    ///
    /// # Errors
    /// The database's.
    pub async fn put<T: Serialize + Sync>(&self, level: &str, start: Time, figures: &T) -> Result<(), Error> {
        let text = serde_json::to_string(figures)?;
        sqlx::query("INSERT INTO rollup (level, start, figures) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET figures = ?3")
            .bind(level)
            .bind(start.micros())
            .bind(text)
            .execute(&self.0)
            .await?;
        Ok(())
    }

    /// The same for several windows at once, all or none of them.
    ///
    /// # Errors
    /// The database's.
    pub async fn put_all<T: Serialize + Sync>(&self, level: &str, windows: &[(Time, T)]) -> Result<(), Error> {
        let mut change = self.0.begin().await?;
        for (start, figures) in windows {
            let text = serde_json::to_string(figures)?;
            sqlx::query("INSERT INTO rollup (level, start, figures) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET figures = ?3")
                .bind(level)
                .bind(start.micros())
                .bind(text)
                .execute(&mut *change)
                .await?;
        }
        change.commit().await?;
        Ok(())
    }

    /// The figures of all windows that begin in `from..until`, oldest first.
    ///
    /// # Errors
    /// The database's.
    pub async fn span<T: DeserializeOwned>(&self, level: &str, from: Time, until: Time) -> Result<Vec<T>, Error> {
        let rows: Vec<(String,)> =
            sqlx::query_as("SELECT figures FROM rollup WHERE level = ?1 AND start >= ?2 AND start < ?3 ORDER BY start LIMIT ?4")
                .bind(level)
                .bind(from.micros())
                .bind(until.micros())
                .bind(MOST_ROWS)
                .fetch_all(&self.0)
                .await?;
        Ok(rows.iter().filter_map(|(text,)| serde_json::from_str(text).ok()).collect())
    }

    /// The start of the newest window that begins before `before`.
    ///
    /// # Errors
    /// The database's.
    pub async fn newest(&self, level: &str, before: Time) -> Result<Option<Time>, Error> {
        let newest = sqlx::query_as("SELECT max(start) FROM rollup WHERE level = ?1 AND start < ?2");
        let (start,): (Option<i64>,) = newest.bind(level).bind(before.micros()).fetch_one(&self.0).await?;
        Ok(start.map(Time::from_micros))
    }

    /// Forgets the oldest windows that begin before `before`, at most so many at once. How many.
    ///
    /// # Errors
    /// The database's.
    pub async fn prune(&self, level: &str, before: Time, most: u32) -> Result<u64, Error> {
        let sql = "DELETE FROM rollup WHERE level = ?1 AND start IN \
            (SELECT start FROM rollup WHERE level = ?1 AND start < ?2 ORDER BY start LIMIT ?3)";
        Ok(sqlx::query(sql).bind(level).bind(before.micros()).bind(most).execute(&self.0).await?.rows_affected())
    }

    /// Forgets windows that begin after `after`: a clock that was ahead has written them. How many.
    ///
    /// # Errors
    /// The database's.
    pub async fn forget_after(&self, level: &str, after: Time) -> Result<u64, Error> {
        let done = sqlx::query("DELETE FROM rollup WHERE level = ?1 AND start > ?2").bind(level).bind(after.micros()).execute(&self.0);
        Ok(done.await?.rows_affected())
    }

    /// A heartbeat: this start of the node ran from `start` until `seen`.
    ///
    /// # Errors
    /// The database's.
    pub async fn ran(&self, boot: &str, ran: Ran) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO uptime (boot, clock_ok, start, seen) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET seen = max(seen, ?4)",
        )
        .bind(boot)
        .bind(ran.clock_ok)
        .bind(ran.start.micros())
        .bind(ran.seen.micros())
        .execute(&self.0)
        .await?;
        Ok(())
    }

    /// When the node ran, as far as it touches `from..until`.
    ///
    /// # Errors
    /// The database's.
    pub async fn runs(&self, from: Time, until: Time) -> Result<Vec<Ran>, Error> {
        let rows: Vec<(i64, i64, bool)> =
            sqlx::query_as("SELECT start, seen, clock_ok FROM uptime WHERE seen >= ?1 AND start < ?2 ORDER BY start LIMIT ?3")
                .bind(from.micros())
                .bind(until.micros())
                .bind(MOST_ROWS)
                .fetch_all(&self.0)
                .await?;
        Ok(rows
            .into_iter()
            .map(|(start, seen, clock_ok)| Ran { start: Time::from_micros(start), seen: Time::from_micros(seen), clock_ok })
            .collect())
    }

    /// When the node ran for the first time, as far as runs are kept.
    ///
    /// # Errors
    /// The database's.
    pub async fn first_run(&self) -> Result<Option<Time>, Error> {
        let (start,): (Option<i64>,) = sqlx::query_as("SELECT min(start) FROM uptime").fetch_one(&self.0).await?;
        Ok(start.map(Time::from_micros))
    }

    /// Forgets the runs that ended first, before `before`, at most so many at once. How many.
    ///
    /// # Errors
    /// The database's.
    pub async fn prune_runs(&self, before: Time, most: u32) -> Result<u64, Error> {
        let sql = "DELETE FROM uptime WHERE (boot, clock_ok, start) IN \
            (SELECT boot, clock_ok, start FROM uptime WHERE seen < ?1 ORDER BY seen LIMIT ?2)";
        Ok(sqlx::query(sql).bind(before.micros()).bind(most).execute(&self.0).await?.rows_affected())
    }

    /// What a clock that was ahead says of runs: those that begin after `far` never were, those that were seen after it have been until
    /// `now`.
    ///
    /// # Errors
    /// The database's.
    pub async fn bring_back_runs(&self, now: Time, far: Time) -> Result<(), Error> {
        let mut change = self.0.begin().await?;
        sqlx::query("DELETE FROM uptime WHERE start > ?1").bind(far.micros()).execute(&mut *change).await?;
        let seen = sqlx::query("UPDATE uptime SET seen = max(start, ?1) WHERE seen > ?2");
        seen.bind(now.micros()).bind(far.micros()).execute(&mut *change).await?;
        change.commit().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn rollups_and_runs_are_kept_replaced_and_pruned() {
        let state = State::open(None).await.expect("opens");
        let history = state.history();
        let at = Time::from_secs;
        assert_eq!(history.newest("hour", Time::MAX).await.expect("reads"), None);
        for (start, value) in [(0, 1_u32), (3_600, 2), (7_200, 3), (3_600, 20)] {
            history.put("hour", at(start), &value).await.expect("writes");
        }
        history.put("hour", at(10_800), &"not a number").await.expect("writes");
        assert_eq!(history.span::<u32>("hour", at(0), at(7_200)).await.expect("reads"), [1, 20]);
        assert_eq!(history.span::<u32>("hour", at(7_200), at(99_999)).await.expect("reads"), [3], "what cannot be read counts as absent");
        for (before, newest) in [(Time::MAX, 10_800), (at(10_800), 7_200)] {
            assert_eq!(history.newest("hour", before).await.expect("reads"), Some(at(newest)));
        }
        assert_eq!(history.forget_after("hour", at(7_200)).await.expect("forgets"), 1);
        assert_eq!(history.prune("hour", at(7_200), 1).await.expect("prunes"), 1);
        assert_eq!(history.span::<u32>("hour", at(0), at(99_999)).await.expect("reads"), [20, 3], "the oldest first");
        assert_eq!(history.prune("hour", at(3_600), 9).await.expect("prunes"), 0);
        assert_eq!(history.span::<u32>("day", at(0), at(99_999)).await.expect("reads"), Vec::<u32>::new());

        let ran = |seen| Ran { start: at(100), seen: at(seen), clock_ok: true };
        for seen in [200, 500, 300] {
            history.ran("a", ran(seen)).await.expect("writes");
        }
        history.ran("a", Ran { start: at(0), seen: at(100), clock_ok: false }).await.expect("writes");
        assert_eq!(history.runs(at(150), at(160)).await.expect("reads"), [ran(500)]);
        assert_eq!(history.runs(at(0), at(1_000)).await.expect("reads").len(), 2);
        history.ran("b", Ran { start: at(900), seen: at(5_000), clock_ok: true }).await.expect("writes");
        history.ran("c", Ran { start: at(3_000), seen: at(5_000), clock_ok: true }).await.expect("writes");
        history.bring_back_runs(at(1_000), at(2_000)).await.expect("writes");
        let runs = history.runs(at(0), at(9_000)).await.expect("reads");
        assert_eq!(runs.iter().map(|ran| ran.seen).collect::<Vec<_>>(), [100, 500, 1_000].map(at));
        assert_eq!(history.prune_runs(at(501), 1).await.expect("prunes"), 1);
        assert_eq!(history.first_run().await.expect("reads"), Some(at(100)), "the oldest first");
    }
}
