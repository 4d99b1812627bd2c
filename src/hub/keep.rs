//! The hub's database behind one trait: SQLite today, PostgreSQL by the same questions.
//!
//! A record is kept exactly as it was signed, once by (node, epoch, seq). One transaction an upload: an answer is given only after
//! it is on disk.

use crate::base::clock::Time;
use crate::hub::accept::{Fresh, Judged};
use crate::report::sign;
use futures_util::future::BoxFuture;
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use std::path::Path;
use std::time::Duration;

/// How long a writer waits for another: an upload's transaction takes milliseconds.
const BUSY: Duration = Duration::from_secs(10);

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database said no.
    #[error("{0}")]
    Database(#[from] sqlx::Error),
    /// The file is of a newer program or damaged.
    #[error("{0}; an older program cannot open newer data, and a damaged file can be moved away")]
    Migrate(#[from] sqlx::migrate::MigrateError),
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// New, now kept.
    Stored,
    /// Kept before: an upload that was repeated.
    Known,
    /// Its number is another record's: the node was restored from a copy.
    Used,
}

/// A node's newest record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latest {
    /// Whose.
    pub node: String,
    /// When the hub took its newest record. An old upload, played again by anybody, is no sign of life.
    pub heard: Time,
    /// How many records it has sent.
    pub records: i64,
    /// The newest record's JSON.
    pub record: String,
}

/// Where records go.
pub trait Keep: Send + Sync + 'static {
    /// Keeps what is new, all or nothing, durable when it returns. One fate per record, in order.
    fn take<'a>(&'a self, judged: &'a Judged, now: Time) -> BoxFuture<'a, Result<Vec<Fate>, Error>>;

    /// The newest record of every node.
    fn latest(&self) -> BoxFuture<'_, Result<Vec<Latest>, Error>>;

    /// The JSON of a node's records, newest first, at most `most`.
    fn recent<'a>(&'a self, node: &'a str, most: u32) -> BoxFuture<'a, Result<Vec<String>, Error>>;
}

/// The embedded database: good to about 20,000 schools.
#[derive(Clone, Debug)]
pub struct Sqlite(SqlitePool);

impl Sqlite {
    /// Opens or makes the file; `None`: in memory.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn open(file: Option<&Path>) -> Result<Sqlite, Error> {
        let (options, connections) = match file {
            // Every connection to `:memory:` is a database of its own.
            None => (SqliteConnectOptions::new().in_memory(true), 1),
            Some(file) => (
                SqliteConnectOptions::new()
                    .filename(file)
                    .create_if_missing(true)
                    .journal_mode(SqliteJournalMode::Wal)
                    // FULL: what was acknowledged is deleted at the school.
                    .synchronous(SqliteSynchronous::Full)
                    .busy_timeout(BUSY),
                4,
            ),
        };
        if file.is_some() {
            // Alone first: a pool opens its first connections side by side, and of two that would make a new file's journal a WAL one
            // is told at once that the file is locked, whatever the busy timeout. From then on the file is a WAL one.
            SqliteConnection::connect_with(&options).await?.close().await?;
        }
        let pool = SqlitePoolOptions::new().max_connections(connections).min_connections(1).idle_timeout(None).max_lifetime(None);
        let pool = pool.connect_with(options).await?;
        sqlx::migrate!("src/hub/migrations").run(&pool).await?;
        Ok(Sqlite(pool))
    }

    async fn store(&self, judged: &Judged, now: Time) -> Result<Vec<Fate>, Error> {
        let mut work = self.0.begin_with("BEGIN IMMEDIATE").await?;
        let mut fates = Vec::with_capacity(judged.fresh.len());
        let mut newest: Option<&Fresh> = None;
        for fresh in &judged.fresh {
            let done = sqlx::query(
                "INSERT INTO record (node, epoch, seq, school, kind, started, ended, clock_ok, received, digest, sealed)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT DO NOTHING",
            )
            .bind(&judged.node)
            .bind(judged.epoch)
            .bind(fresh.seq)
            .bind(&judged.school)
            .bind(&fresh.kind)
            .bind(fresh.start.micros())
            .bind(fresh.end.micros())
            .bind(fresh.clock_ok)
            .bind(now.micros())
            .bind(fresh.digest.0.as_slice())
            .bind(fresh.sealed.as_slice())
            .execute(&mut *work)
            .await?;
            if done.rows_affected() == 1 {
                newest = newest.filter(|newest| newest.seq > fresh.seq).or(Some(fresh));
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
        let stored = i64::try_from(fates.iter().filter(|fate| **fate == Fate::Stored).count()).unwrap_or(i64::MAX);
        if let Some(newest) = newest {
            let record = String::from_utf8_lossy(sign::peel(&newest.sealed).unwrap_or_default()).into_owned();
            sqlx::query(
                "INSERT INTO latest (node, epoch, seq, heard, records, record) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT DO UPDATE SET records = records + ?5,
                     heard  = CASE WHEN (?2, ?3) > (epoch, seq) THEN max(heard, ?4) ELSE heard END,
                     record = CASE WHEN (?2, ?3) > (epoch, seq) THEN ?6 ELSE record END,
                     seq    = CASE WHEN (?2, ?3) > (epoch, seq) THEN ?3 ELSE seq END,
                     epoch  = max(epoch, ?2)",
            )
            .bind(&judged.node)
            .bind(judged.epoch)
            .bind(newest.seq)
            .bind(now.micros())
            .bind(stored)
            .bind(record)
            .execute(&mut *work)
            .await?;
        }
        work.commit().await?;
        Ok(fates)
    }
}

impl Keep for Sqlite {
    fn take<'a>(&'a self, judged: &'a Judged, now: Time) -> BoxFuture<'a, Result<Vec<Fate>, Error>> {
        Box::pin(self.store(judged, now))
    }

    fn latest(&self) -> BoxFuture<'_, Result<Vec<Latest>, Error>> {
        Box::pin(async move {
            let rows: Vec<(String, i64, i64, String)> =
                sqlx::query_as("SELECT node, heard, records, record FROM latest").fetch_all(&self.0).await?;
            Ok(rows
                .into_iter()
                .map(|(node, heard, records, record)| Latest { node, heard: Time::from_micros(heard), records, record })
                .collect())
        })
    }

    fn recent<'a>(&'a self, node: &'a str, most: u32) -> BoxFuture<'a, Result<Vec<String>, Error>> {
        Box::pin(async move {
            let rows: Vec<(Vec<u8>,)> = sqlx::query_as("SELECT sealed FROM record WHERE node = ?1 ORDER BY epoch DESC, seq DESC LIMIT ?2")
                .bind(node)
                .bind(most)
                .fetch_all(&self.0)
                .await?;
            let text = |sealed: &[u8]| String::from_utf8_lossy(sign::peel(sealed).unwrap_or_default()).into_owned();
            Ok(rows.iter().map(|(sealed,)| text(sealed)).collect())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::digest::Digest;

    fn judged(epoch: i64, records: &[(i64, &str)]) -> Judged {
        let fresh = |(seq, text): &(i64, &str)| {
            let sealed = [&[0; 64], text.as_bytes()].concat();
            let moment = Time::from_secs(*seq);
            Fresh { seq: *seq, kind: "hour".into(), start: moment, end: moment, clock_ok: true, digest: Digest::of(&sealed), sealed }
        };
        let fresh: Vec<Fresh> = records.iter().map(fresh).collect();
        Judged { node: "n".into(), school: "s".into(), epoch, last: 0, fresh, reject: vec![] }
    }

    #[tokio::test]
    async fn each_record_once_and_the_newest_shown() {
        let keep = Sqlite::open(None).await.expect("opens");
        let take =
            async |epoch, records: &[(i64, &str)], now| keep.take(&judged(epoch, records), Time::from_secs(now)).await.expect("takes");
        assert_eq!(take(1, &[(1, "a"), (2, "b")], 10).await, [Fate::Stored, Fate::Stored]);
        assert_eq!(take(1, &[(2, "b"), (3, "c")], 20).await, [Fate::Known, Fate::Stored]);
        assert_eq!(take(1, &[(3, "other")], 30).await, [Fate::Used]);
        assert_eq!(take(2, &[(1, "d")], 40).await, [Fate::Stored]);
        assert_eq!(take(1, &[(9, "late")], 50).await, [Fate::Stored]);
        assert_eq!(take(2, &[(1, "d")], 60).await, [Fate::Known]);
        let latest = keep.latest().await.expect("reads");
        assert_eq!(latest, [Latest { node: "n".into(), heard: Time::from_secs(40), records: 5, record: "d".into() }]);
        assert_eq!(keep.recent("n", 3).await.expect("reads"), ["d", "late", "c"]);
        assert!(keep.recent("other", 3).await.expect("reads").is_empty());
    }
}
