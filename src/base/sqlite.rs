//! One SQLite file, opened so that what was promised survives a power cut.

use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use std::path::Path;
use std::time::Duration;

/// How long a writer waits for another before it gives up: a transaction of ours takes milliseconds.
const BUSY: Duration = Duration::from_secs(10);

/// Readers beside one writer.
const CONNECTIONS: u32 = 4;

/// Opens or makes the file; `None`: in memory. Each connection keeps up to `cache_kib` KiB of pages, which it fills over the hours and
/// gives back to nobody.
///
/// # Errors
/// The database's.
pub(crate) async fn open(file: Option<&Path>, cache_kib: u32) -> Result<SqlitePool, sqlx::Error> {
    let (options, connections) = match file {
        // Every connection to `:memory:` is a database of its own: exactly one, never closed.
        None => (SqliteConnectOptions::new().in_memory(true), 1),
        Some(file) => (
            SqliteConnectOptions::new()
                .filename(file)
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                // FULL: a report that was acknowledged is kept, here as queued and at the hub as received.
                .synchronous(SqliteSynchronous::Full)
                .busy_timeout(BUSY),
            CONNECTIONS,
        ),
    };
    // Below zero: KiB, not pages.
    let options = options.foreign_keys(true).pragma("cache_size", format!("-{cache_kib}"));
    if file.is_some() {
        // Alone first: a pool opens its first connections side by side, and of two that would make a new file's journal a WAL one
        // is told at once that the file is locked, whatever the busy timeout. From then on the file is a WAL one.
        SqliteConnection::connect_with(&options).await?.close().await?;
    }
    let pool = SqlitePoolOptions::new().max_connections(connections).min_connections(1).idle_timeout(None).max_lifetime(None);
    pool.connect_with(options).await
}
