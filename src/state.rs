//! The node's SQLite: history, statistics, outbox, frontier, devices. One file, WAL, one writer; survives a power cut.
//!
//! Each user of the database has a room below with its own queries and a migration of its own; nobody else writes SQL.

/// Devices that enrolled.
pub mod device;

/// What packs wish for, and how far the night has come.
pub mod frontier;

/// The line over time, and when the node ran.
pub mod history;

/// What waits for a Giga Meter server.
pub mod giga;

/// Speed tests: their figures, their cost, when they are due.
pub mod measure;

/// Outages by cause.
pub mod outage;

/// What the night remembers.
pub mod night;

/// Bursts of pings.
pub mod ping;

/// What is remembered of packs beside their files.
pub mod pack;

/// What surveys found, and how right plans were.
pub mod plan;

/// Reports that wait for the hub.
pub mod outbox;

/// Bearer tokens of the API.
pub mod token;

/// What came of each night.
pub mod summary;

/// What was used, and what of the night's work.
pub mod used;

/// Wishes, and what many missed.
pub mod wish;

use crate::base::sqlite;
use sqlx::sqlite::SqlitePool;
use std::path::Path;

/// Of a log, so many rows that are too old go when one comes: a clock that is ahead costs a few of them, and not years.
const OLD_AT_ONCE: u32 = 4;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database said no.
    #[error("state database: {0}")]
    Database(#[from] sqlx::Error),
    /// The file is of a newer program or damaged.
    #[error("state database: {0}; an older program cannot open newer data, and a damaged file can be moved away")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// Figures that cannot be written as JSON.
    #[error("state database: figures that are no JSON ({0})")]
    Figures(#[from] serde_json::Error),
    /// A record that must not be kept or sent.
    #[error("a report that may not leave: {0}")]
    Refused(String),
}

impl Error {
    /// Whether the file is there and is no sound database: moved away it hurts nobody.
    pub fn is_damage(&self) -> bool {
        // SQLITE_CORRUPT and SQLITE_NOTADB, extended codes included (sqlite.org/rescode.html).
        matches!(self.code(), Some(11 | 26))
    }

    /// Whether another process holds the database.
    pub fn is_busy(&self) -> bool {
        // SQLITE_BUSY and SQLITE_LOCKED.
        matches!(self.code(), Some(5 | 6))
    }

    /// SQLite's primary result code, however deep it lies.
    fn code(&self) -> Option<u32> {
        let mut step: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = step {
            if let Some(sqlx::Error::Database(told)) = error.downcast_ref::<sqlx::Error>() {
                return told.code()?.parse().ok().map(|code: u32| code & 0xff);
            }
            step = error.source();
        }
        None
    }
}

/// Pages that each connection keeps. A node writes a few rows a minute and reads whole tables at night or for a page of the panel: what
/// is asked for twice are the upper pages of a dozen trees. The kernel keeps the file's pages, too.
const CACHE_KIB: u32 = 256;

/// The open database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct State {
    pool: SqlitePool,
}

impl State {
    /// Opens or makes the database; `None` keeps it in memory (ephemeral nodes, tests).
    pub async fn open(file: Option<&Path>) -> Result<State, Error> {
        let pool = sqlite::open(file, CACHE_KIB).await?;
        sqlx::migrate!("src/state/migrations").run(&pool).await?;
        Ok(State { pool })
    }

    /// Reads the whole file and looks whether it is sound: some 100 MB/s, so a fraction of a second for a school's.
    ///
    /// # Errors
    /// The database's.
    pub async fn is_sound(&self) -> Result<bool, Error> {
        let (said,): (String,) = sqlx::query_as("PRAGMA quick_check(1)").fetch_one(&self.pool).await?;
        Ok(said == "ok")
    }

    /// For the rooms below.
    pub(crate) fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// Writes the log back into the file and closes.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_connection_keeps_few_pages() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = State::open(Some(&folder.path().join("state.sqlite"))).await.expect("opens");
        let mut all = Vec::new();
        for _ in 0..state.pool().options().get_max_connections() {
            all.push(state.pool().acquire().await.expect("one more"));
        }
        for connection in &mut all {
            let (kept,): (i64,) = sqlx::query_as("PRAGMA cache_size").fetch_one(&mut **connection).await.expect("told");
            assert_eq!(kept, -i64::from(CACHE_KIB), "below zero: KiB");
        }
    }

    #[tokio::test]
    async fn what_was_written_is_there_after_reopening() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("state.sqlite");
        let state = State::open(Some(&file)).await.expect("opens");
        sqlx::query("INSERT INTO setting (name, value) VALUES ('node', 'x')").execute(state.pool()).await.expect("writes");
        state.close().await;
        let state = State::open(Some(&file)).await.expect("opens again");
        let (value,): (String,) =
            sqlx::query_as("SELECT value FROM setting WHERE name = 'node'").fetch_one(state.pool()).await.expect("reads");
        assert_eq!(value, "x");
    }
}
