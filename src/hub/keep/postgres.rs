//! The database of a large region: many writers, time in partitions.
//!
//! A partition is a fixed number of days, named by its number since 1970, made when the first row for it comes and dropped as a whole
//! when all of it is too old: no row is deleted one by one, and no partition is left to a nightly job that may not run.

use crate::base::calendar::Calendar;
use crate::base::clock::Time;
use crate::base::digest::Digest;
use crate::hub::accept::Judged;
use crate::hub::day::Kept;
use crate::hub::facts::{AHEAD, Facts, Moment, plausible};
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
use parking_lot::Mutex;
use sqlx::AssertSqlSafe;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection};
use std::collections::{BTreeSet, HashMap};
use std::str::FromStr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// Connections: two uploads are judged at once, the others read pages.
const CONNECTIONS: u32 = 8;

/// How long a request waits for a connection before the node is told to come again.
const PATIENCE: Duration = Duration::from_secs(20);

/// Days of one partition of records and pings: a week, some ten of each at a time.
const WEEK: i64 = 7;

/// Days of one partition of hours: four weeks, some fifteen at a time.
const FOUR_WEEKS: i64 = 28;

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// PostgreSQL from 13: good to about 100,000 schools.
#[derive(Clone, Debug)]
pub struct Postgres {
    pub(super) pool: PgPool,
    /// Partitions that are known to be there.
    made: Arc<Mutex<BTreeSet<(&'static str, i64)>>>,
    /// The connection whose lock says that this program looks after the database.
    lead: Arc<tokio::sync::Mutex<Option<PgConnection>>>,
}

impl Postgres {
    /// Opens the database and brings its tables up to date.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn open(url: &str) -> Result<Postgres, Error> {
        let options = PgConnectOptions::from_str(url)?.application_name("bulak-hub");
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(PATIENCE).connect_with(options).await?;
        sqlx::migrate!("src/hub/migrations/postgres").run(&pool).await?;
        Ok(Postgres { pool, made: Arc::default(), lead: Arc::default() })
    }

    /// Whether it lets us in, tried once.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn reach(url: &str) -> Result<(), Error> {
        let options = PgConnectOptions::from_str(url)?.application_name("bulak-hub");
        Ok(options.connect().await?.close().await?)
    }

    async fn begin(&self) -> Result<sqlx::Transaction<'static, sqlx::Postgres>, Error> {
        Ok(self.pool.begin().await?)
    }

    /// Holds a name until this transaction ends; others who want it wait.
    async fn hold(work: &mut sqlx::Transaction<'static, sqlx::Postgres>, name: &str) -> Result<(), Error> {
        sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))").bind(name).execute(&mut **work).await?;
        Ok(())
    }

    /// Whether this program is the one of several that looks after the database. The lock is its connection's: it is free again as soon as
    /// the database notices that the program has gone.
    async fn looks_after(&self) -> Result<bool, Error> {
        let mut lead = self.lead.lock().await;
        if let Some(connection) = lead.as_mut() {
            if tokio::time::timeout(PATIENCE, connection.ping()).await.is_ok_and(|answered| answered.is_ok()) {
                return Ok(true);
            }
            *lead = None;
        }
        let mut connection = self.pool.acquire().await?;
        let ours: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtextextended('bulak-hub of ' || current_schema(), 0))")
            .fetch_one(&mut *connection)
            .await?;
        *lead = ours.then(|| connection.detach());
        Ok(ours)
    }

    /// Makes the partitions that these rows need.
    async fn ensure(&self, judged: &Judged, at: Moment) -> Result<(), Error> {
        let mut wanted = BTreeSet::from([("record", window(at.now.micros(), WEEK))]);
        for fresh in judged.fresh.iter().filter(|fresh| plausible(fresh.clock_ok, fresh.end, at)) {
            match &fresh.facts {
                Facts::Ping(ping) => wanted.insert(("ping", window(ping.started, WEEK))),
                Facts::Hour(hour, _) => wanted.insert(("hour", window(hour.started, FOUR_WEEKS))),
                _ => false,
            };
        }
        let missing: Vec<(&'static str, i64)> = wanted.difference(&self.made.lock()).copied().collect();
        for (table, number) in missing {
            let length = if table == "hour" { FOUR_WEEKS } else { WEEK } * DAY;
            let (from, until) = (number.saturating_mul(length), (number + 1).saturating_mul(length));
            // Names and numbers of ours. Two programs may want it at once: the one that comes second finds it there.
            let text = format!("CREATE TABLE IF NOT EXISTS {table}_p{number} PARTITION OF {table} FOR VALUES FROM ({from}) TO ({until})");
            match sqlx::query(AssertSqlSafe(text)).execute(&self.pool).await {
                Ok(_) => {}
                Err(error) if has_code(&error, &["42P07", "23505"]) => {}
                Err(error) => return Err(error.into()),
            }
            self.made.lock().insert((table, number));
        }
        Ok(())
    }

    async fn store(&self, judged: &Judged, calendar: &Calendar, at: Moment) -> Result<Uptake, Error> {
        match self.try_store(judged, calendar, at).await {
            // Another program has let go of a partition that we think is there.
            Err(Error::Database(error)) if has_code(&error, &["23514"]) => {
                self.made.lock().clear();
                self.try_store(judged, calendar, at).await
            }
            done => done,
        }
    }

    async fn try_store(&self, judged: &Judged, calendar: &Calendar, at: Moment) -> Result<Uptake, Error> {
        self.ensure(judged, at).await?;
        let mut work = self.begin().await?;
        // Uploads of one node one after the other: a number is looked for in all partitions, which no unique index spans.
        Postgres::hold(&mut work, &judged.node).await?;
        if Postgres::is_out(&mut work, &judged.node).await? {
            return Ok(Uptake::Revoked);
        }
        let numbers: Vec<i64> = judged.fresh.iter().map(|fresh| fresh.seq).collect();
        let known: Vec<(i64, Vec<u8>)> = sqlx::query_as("SELECT seq, digest FROM record WHERE node = $1 AND epoch = $2 AND seq = ANY($3)")
            .bind(&judged.node)
            .bind(judged.epoch)
            .bind(&numbers)
            .fetch_all(&mut *work)
            .await?;
        let mut known: HashMap<i64, Vec<u8>> = known.into_iter().collect();
        let mut fates = Vec::with_capacity(judged.fresh.len());
        let (mut rows, mut packer) = (Rows::default(), Packer::new());
        for fresh in &judged.fresh {
            let digest = fresh.digest.0.to_vec();
            fates.push(match known.get(&fresh.seq) {
                Some(other) if *other == digest => Fate::Known,
                Some(_) => Fate::Used,
                None => {
                    rows.seq.push(fresh.seq);
                    rows.kind.push(&fresh.kind);
                    rows.started.push(fresh.start.micros());
                    rows.ended.push(fresh.end.micros());
                    rows.clock_ok.push(fresh.clock_ok);
                    rows.digest.push(fresh.digest.0.as_slice());
                    let (coding, sealed) = packer.pack(&fresh.sealed);
                    rows.sealed.push(sealed);
                    rows.coding.push(coding);
                    known.insert(fresh.seq, digest);
                    Fate::Stored
                }
            });
        }
        if !rows.seq.is_empty() {
            sqlx::query(
                "INSERT INTO record (node, epoch, school, received, seq, kind, started, ended, clock_ok, digest, sealed, coding)
                 SELECT $1, $2, $3, $4, fresh.* FROM UNNEST($5::bigint[], $6::text[], $7::bigint[], $8::bigint[], $9::boolean[], $10::bytea[],
                 $11::bytea[], $12::integer[]) AS fresh",
            )
            .bind(&judged.node)
            .bind(judged.epoch)
            .bind(&judged.school)
            .bind(at.now.micros())
            .bind(&rows.seq)
            .bind(&rows.kind)
            .bind(&rows.started)
            .bind(&rows.ended)
            .bind(&rows.clock_ok)
            .bind(&rows.digest)
            .bind(&rows.sealed)
            .bind(&rows.coding)
            .execute(&mut *work)
            .await?;
        }
        let twin = Postgres::write(&mut work, judged, &fates, calendar, at).await?;
        work.commit().await?;
        Ok(Uptake::Taken(Taken { fates, twin }))
    }

    /// Drops one partition that is too old as a whole.
    async fn let_go(&self, cutoffs: Cutoffs) -> Result<bool, Error> {
        for (table, length, cutoff) in
            [("record", WEEK, cutoffs.records), ("ping", WEEK, cutoffs.pings), ("hour", FOUR_WEEKS, cutoffs.hours)]
        {
            let names: Vec<(String,)> = sqlx::query_as(
                "SELECT child.relname::text FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid
                 JOIN pg_class AS parent ON parent.oid = inhparent WHERE parent.relname = $1 AND parent.relnamespace = current_schema()::regnamespace",
            )
            .bind(table)
            .fetch_all(&self.pool)
            .await?;
            let number = |name: &str| name.strip_prefix(table)?.strip_prefix("_p")?.parse::<i64>().ok();
            let oldest = names.iter().filter_map(|(name,)| number(name)).min();
            // A record that began in this partition may have ended up to a hundred days later; hours go by their beginning here.
            if let Some(oldest) = oldest.filter(|oldest| (oldest + 1).saturating_mul(length * DAY) <= cutoff.micros()) {
                sqlx::query(AssertSqlSafe(format!("DROP TABLE {table}_p{oldest}"))).execute(&self.pool).await?;
                self.made.lock().retain(|(name, made)| *name != table || *made != oldest);
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn weights(&self) -> Result<Vec<Weight>, Error> {
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "SELECT coalesce(parent.relname, own.relname)::text, sum(pg_total_relation_size(own.oid))::bigint FROM pg_class AS own
             LEFT JOIN pg_inherits ON inhrelid = own.oid LEFT JOIN pg_class AS parent ON parent.oid = inhparent
             WHERE own.relkind = 'r' AND own.relnamespace = current_schema()::regnamespace GROUP BY 1 ORDER BY 1",
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|(table, bytes)| Weight { table, bytes }).collect())
    }
}

/// Records by column.
#[derive(Default)]
struct Rows<'a> {
    seq: Vec<i64>,
    kind: Vec<&'a str>,
    started: Vec<i64>,
    ended: Vec<i64>,
    clock_ok: Vec<bool>,
    digest: Vec<&'a [u8]>,
    sealed: Vec<Vec<u8>>,
    coding: Vec<i32>,
}

/// Whether the database refused with one of these codes (PostgreSQL, appendix A).
fn has_code(error: &sqlx::Error, codes: &[&str]) -> bool {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(|code| codes.contains(&&*code))
}

/// The number of the partition that holds a moment.
fn window(micros: i64, days: i64) -> i64 {
    micros.div_euclid(days * DAY)
}

shared!(Postgres, sqlx::Postgres, Dialect::Postgres);
office!(Postgres, sqlx::Postgres);
