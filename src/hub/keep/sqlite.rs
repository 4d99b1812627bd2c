//! The embedded database: one file, one writer at a time.

use crate::base::calendar::Calendar;
use crate::base::clock::Time;
use crate::base::digest::Digest;
use crate::base::sqlite;
use crate::hub::accept::Judged;
use crate::hub::day::Kept;
use crate::hub::facts::{AHEAD, Moment};
use crate::hub::figures::{Day, Outage, Test};
use crate::hub::keep::columns::{Columns, is_twin};
use crate::hub::keep::register::{CodeRow, Enrolment, Listed, NodeRow, PersonRow, Register, SchoolRow, SessionRow, Sizes, TokenRow};
use crate::hub::keep::shared::older;
use crate::hub::keep::statement::{Dialect, Writes, days, one_of};
use crate::hub::keep::{Asked, Cutoffs, Error, Fate, Keep, Latest, Stale, Taken, Twin, Uptake, Weight};
use crate::report::batch;
use crate::report::coding::{Packer, unpack};
use crate::report::sign;
use futures_util::future::BoxFuture;
use sqlx::sqlite::SqlitePool;
use std::collections::BTreeSet;
use std::future::{Ready, ready};
use std::path::Path;
use std::sync::LazyLock;

/// Rows that go in one step: a tenth of a second, so that uploads hardly wait.
const STEP: i64 = 5_000;

/// Pages that each connection keeps: the uploads of a thousand schools come within the same hour, to the same upper pages of each tree.
const CACHE_KIB: u32 = 2_000;

/// The embedded database: good to about 20,000 schools.
#[derive(Clone, Debug)]
pub struct Sqlite {
    pool: SqlitePool,
}

impl Sqlite {
    /// Opens or makes the file; `None`: in memory.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn open(file: Option<&Path>) -> Result<Sqlite, Error> {
        let pool = sqlite::open(file, CACHE_KIB).await?;
        sqlx::migrate!("src/hub/migrations/sqlite").run(&pool).await?;
        Ok(Sqlite { pool })
    }

    async fn begin(&self) -> Result<sqlx::Transaction<'static, sqlx::Sqlite>, Error> {
        Ok(self.pool.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// There is one writer at a time: whoever began has held every name since.
    fn hold(_work: &mut sqlx::Transaction<'static, sqlx::Sqlite>, _name: &str) -> Ready<Result<(), Error>> {
        ready(Ok(()))
    }

    async fn store(&self, judged: &Judged, calendar: &Calendar, at: Moment) -> Result<Uptake, Error> {
        let mut work = self.begin().await?;
        if Sqlite::is_out(&mut work, &judged.node).await? {
            return Ok(Uptake::Revoked);
        }
        let mut fates = Vec::with_capacity(judged.fresh.len());
        let mut packer = Packer::new();
        for fresh in &judged.fresh {
            let (coding, sealed) = packer.pack(&fresh.sealed);
            let done = sqlx::query(
                "INSERT INTO record (node, epoch, seq, school, kind, started, ended, clock_ok, received, digest, sealed, coding)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) ON CONFLICT DO NOTHING",
            )
            .bind(&judged.node)
            .bind(judged.epoch)
            .bind(fresh.seq)
            .bind(&judged.school)
            .bind(&fresh.kind)
            .bind(fresh.start.micros())
            .bind(fresh.end.micros())
            .bind(fresh.clock_ok)
            .bind(at.now.micros())
            .bind(fresh.digest.0.as_slice())
            .bind(sealed)
            .bind(coding)
            .execute(&mut *work)
            .await?;
            if done.rows_affected() == 1 {
                fates.push(Fate::Stored);
                continue;
            }
            let (digest,): (Vec<u8>,) = sqlx::query_as("SELECT digest FROM record WHERE node = ?1 AND epoch = ?2 AND seq = ?3")
                .bind(&judged.node)
                .bind(judged.epoch)
                .bind(fresh.seq)
                .fetch_one(&mut *work)
                .await?;
            fates.push(if digest == fresh.digest.0 { Fate::Known } else { Fate::Used });
        }
        let twin = Sqlite::write(&mut work, judged, &fates, calendar, at).await?;
        work.commit().await?;
        Ok(Uptake::Taken(Taken { fates, twin }))
    }

    /// One program has the file.
    #[expect(clippy::unused_async, reason = "as the other database's")]
    async fn looks_after(&self) -> Result<bool, Error> {
        Ok(true)
    }

    /// Rows lie in the order in which they came, so the oldest are the first: no index is needed to find them.
    async fn let_go(&self, cutoffs: Cutoffs) -> Result<bool, Error> {
        let step = [
            ("DELETE FROM record WHERE rowid IN (SELECT rowid FROM record ORDER BY rowid LIMIT $1) AND received < $2", cutoffs.records),
            ("DELETE FROM ping WHERE rowid IN (SELECT rowid FROM ping ORDER BY rowid LIMIT $1) AND started < $2", cutoffs.pings),
            ("DELETE FROM hour WHERE rowid IN (SELECT rowid FROM hour ORDER BY rowid LIMIT $1) AND ended < $2", cutoffs.hours),
        ];
        self.redate(cutoffs.ahead).await?;
        let mut more = false;
        for (text, cutoff) in step {
            let done = sqlx::query(text).bind(STEP).bind(cutoff.micros()).execute(&self.pool).await?;
            more |= done.rows_affected() > 0;
        }
        Ok(more)
    }

    /// What a clock that was ahead dated would lie before the rest until its date has come: it gets a date that is near. Such rows lie
    /// together: among the newest when the clock has just been set right, else at last among the oldest. From either end the next step is
    /// looked at as long as there was one.
    async fn redate(&self, ahead: Time) -> Result<(), Error> {
        let ends = sqlx::query_as("SELECT min(rowid), max(rowid) FROM record");
        let (Some(first), Some(last)): (Option<i64>, Option<i64>) = ends.fetch_one(&self.pool).await? else { return Ok(()) };
        for (mut from, step) in [(last - STEP + 1, -STEP), (first, STEP)] {
            let text = "UPDATE record SET received = $2 WHERE rowid >= $1 AND rowid < $1 + $3 AND received > $2";
            let one = async |from: i64| sqlx::query(text).bind(from).bind(ahead.micros()).bind(STEP).execute(&self.pool).await;
            while one(from).await?.rows_affected() > 0 {
                from += step;
            }
        }
        Ok(())
    }

    async fn weights(&self) -> Result<Vec<Weight>, Error> {
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "SELECT m.tbl_name, CAST(sum(s.pgsize) AS INTEGER) FROM dbstat AS s JOIN sqlite_schema AS m ON m.name = s.name
             GROUP BY m.tbl_name ORDER BY m.tbl_name",
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|(table, bytes)| Weight { table, bytes }).collect())
    }
}

shared!(Sqlite, sqlx::Sqlite, Dialect::Sqlite);
office!(Sqlite, sqlx::Sqlite);

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const NOW: Time = Time::from_secs(1_795_496_400);
    const DAY: Duration = Duration::from_hours(24);

    /// As many rows, received then, numbered from there on.
    async fn receive(keep: &Sqlite, first: i64, count: i64, received: Time) {
        let text = "WITH RECURSIVE number(seq) AS (VALUES ($1) UNION ALL SELECT seq + 1 FROM number WHERE seq + 1 < $1 + $2)
            INSERT INTO record (node, epoch, seq, school, kind, started, ended, clock_ok, received, digest, sealed, coding)
            SELECT 'n', 1, seq, 's', 'hour', 0, 0, 1, $3, x'', x'', 0 FROM number WHERE seq < $1 + $2";
        sqlx::query(text).bind(first).bind(count).bind(received.micros()).execute(&keep.pool).await.expect("inserts");
    }

    /// What is left after all that may go has gone.
    async fn pruned(keep: &Sqlite, now: Time) -> i64 {
        let old = now.minus(DAY * 60);
        let cutoffs = Cutoffs { ahead: now.plus(AHEAD), records: old, pings: old, hours: old, codes: old, sessions: (old, old) };
        while keep.prune(cutoffs).await.expect("prunes") {}
        sqlx::query_scalar("SELECT count(*) FROM record").fetch_one(&keep.pool).await.expect("counts")
    }

    #[tokio::test]
    async fn many_records_dated_ahead_leave_as_if_they_had_come_now() {
        let many = 2 * STEP + 1;
        // Just now, after what came in order; and as an older program left them, before all else.
        for (before, after) in [(many, 10), (0, many)] {
            let keep = Sqlite::open(None).await.expect("opens");
            receive(&keep, 0, before, NOW).await;
            receive(&keep, before, many, NOW.plus(DAY * 2_000)).await;
            receive(&keep, before + many, after, NOW).await;
            assert_eq!(pruned(&keep, NOW).await, before + many + after);
            assert_eq!(pruned(&keep, NOW.plus(DAY * 62)).await, 0);
        }
    }
}
