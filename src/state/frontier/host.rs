//! Hosts that gave trouble: errors by day, pauses that they asked for or that we keep, and robots.txt. Kept over a restart: a node that
//! was off for a minute must not ask a host again that wanted an hour's peace.

use crate::base::clock::Time;
use crate::state::{Error, State};
use sqlx::Row;

/// Most files that are kept; those that are longest past their time go first.
const MOST_ROBOTS: i64 = 2_000;

/// A host that is left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Which.
    pub host: String,
    /// Until then.
    pub until: Time,
    /// Days in a row that ended so.
    pub days: u32,
    /// Why, for people.
    pub why: String,
}

/// What is known of an origin's robots.txt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RobotsFile {
    /// Asked again after.
    pub until: Time,
    /// It cannot be had since then.
    pub since: Option<Time>,
    /// It could not be had so often in a row.
    pub fails: u32,
    /// Its text; `None` while it cannot be had.
    pub body: Option<Vec<u8>>,
}

impl State {
    /// One more error of a host on this day; how many that makes. Older days are forgotten.
    pub async fn host_error(&self, host: &str, day: &str) -> Result<u32, Error> {
        let mut change = self.pool().begin_with("BEGIN IMMEDIATE").await?;
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

    /// Leaves a host alone until then; `day`: it failed for a whole day. How many days in a row that makes.
    pub async fn pause_host(&self, host: &str, until: Time, day: bool, why: &str) -> Result<u32, Error> {
        let row = sqlx::query(
            "INSERT INTO host (host, until, days, why) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (host) DO UPDATE SET until = max(until, ?2), days = days + ?3, why = ?4 RETURNING days",
        )
        .bind(host)
        .bind(until.micros())
        .bind(i64::from(day))
        .bind(why)
        .fetch_one(self.pool())
        .await?;
        Ok(u32::try_from(row.get::<i64, _>("days")).unwrap_or(u32::MAX))
    }

    /// The host answers again: bygones.
    pub async fn forgive_host(&self, host: &str) -> Result<(), Error> {
        sqlx::query("DELETE FROM host WHERE host = ?").bind(host).execute(self.pool()).await?;
        Ok(())
    }

    /// Hosts that are or were left alone.
    pub async fn pauses(&self) -> Result<Vec<Pause>, Error> {
        let rows = sqlx::query("SELECT host, until, days, why FROM host ORDER BY host").fetch_all(self.pool()).await?;
        let days = |days: i64| u32::try_from(days).unwrap_or(u32::MAX);
        let pause = |row: &sqlx::sqlite::SqliteRow| Pause {
            host: row.get("host"),
            until: Time::from_micros(row.get("until")),
            days: days(row.get("days")),
            why: row.get("why"),
        };
        Ok(rows.iter().map(pause).collect())
    }

    /// What is known of an origin's robots.txt.
    pub async fn robots(&self, origin: &str) -> Result<Option<RobotsFile>, Error> {
        let query = sqlx::query("SELECT until, since, fails, body FROM robots WHERE origin = ?").bind(origin);
        Ok(query.fetch_optional(self.pool()).await?.map(|row| RobotsFile {
            until: Time::from_micros(row.get("until")),
            since: row.get::<Option<i64>, _>("since").map(Time::from_micros),
            fails: u32::try_from(row.get::<i64, _>("fails")).unwrap_or(u32::MAX),
            body: row.get("body"),
        }))
    }

    /// Keeps it.
    pub async fn keep_robots(&self, origin: &str, file: &RobotsFile) -> Result<(), Error> {
        sqlx::query("INSERT OR REPLACE INTO robots (origin, until, since, fails, body) VALUES (?, ?, ?, ?, ?)")
            .bind(origin)
            .bind(file.until.micros())
            .bind(file.since.map(Time::micros))
            .bind(i64::from(file.fails))
            .bind(file.body.as_deref())
            .execute(self.pool())
            .await?;
        sqlx::query("DELETE FROM robots WHERE origin IN (SELECT origin FROM robots ORDER BY until DESC LIMIT -1 OFFSET ?)")
            .bind(MOST_ROBOTS)
            .execute(self.pool())
            .await?;
        Ok(())
    }
}
