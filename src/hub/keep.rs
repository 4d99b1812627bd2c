//! The hub's database behind two traits: `Keep` for what nodes report, `Register` for who may do what.
//!
//! A record is kept exactly as it was signed, once by (node, epoch, seq), and what it tells goes into columns in the same transaction:
//! an answer is given only after all of it is on disk. SQLite is good to 10^4 schools and PostgreSQL to 10^5, by the same questions and
//! the same tests. A columnar cluster for a nation would be a third `Keep`; a `Register` needs transactions and stays where it is.
//!
//! Read in this order: `columns` (what an upload changes, pure), `statement` (text of SQL, pure), `shared` (what both databases are
//! asked alike) and `office` (the same of who may do what), `sqlite`, `postgres`.

use crate::base::calendar::Calendar;
use crate::base::clock::Time;
use crate::hub::accept::Judged;
use crate::hub::day::Kept;
use crate::hub::facts::Moment;
use crate::hub::figures::{Day, Glance, Outage, Test};
use futures_util::future::BoxFuture;
use std::path::PathBuf;
use std::sync::Arc;

/// What an upload changes.
mod columns;

/// The text of SQL.
mod statement;

/// What both databases are asked alike.
#[macro_use]
mod shared;

/// The same of the register.
#[macro_use]
mod office;

/// Who may do what.
pub mod register;

/// The embedded database.
mod sqlite;

/// The database of a large region.
mod postgres;

/// A throw-away PostgreSQL.
#[cfg(test)]
#[path = "../../tests/kit/postgres.rs"]
pub(crate) mod cluster;

#[cfg(test)]
mod tests;

pub use postgres::Postgres;
pub use register::Register;
pub use sqlite::Sqlite;

/// Where the database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In memory (tests).
    Memory,
    /// An SQLite file.
    File(PathBuf),
    /// `postgres://…`; without a password in it, that of `PGPASSWORD` or `~/.pgpass`.
    Postgres(String),
}

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database said no.
    #[error("{0}")]
    Database(#[from] sqlx::Error),
    /// The file is of a newer program or damaged.
    #[error("{0}; an older program cannot open newer data, and a damaged file can be moved away")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// Rows that cannot be written as JSON.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// New, now kept.
    Stored,
    /// Kept before: an upload that was repeated.
    Known,
    /// Its number is another record's: the node was restored from a copy, or two boxes use one key.
    Used,
}

/// What became of an upload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// One fate per record, in order.
    pub fates: Vec<Fate>,
    /// Two boxes use this node's key: this one went on with its old numbers after the other had begun new ones.
    pub twin: bool,
}

/// What came of an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Uptake {
    /// All that was new is on disk.
    Taken(Taken),
    /// Nothing was kept: the node was revoked meanwhile.
    Revoked,
}

/// A node's newest news.
#[derive(Clone, Debug, PartialEq)]
pub struct Latest {
    /// Whose.
    pub node: String,
    /// When the hub took its newest record. An old upload, played again by anybody, is no sign of life.
    pub heard: Time,
    /// How many records it has sent.
    pub records: i64,
    /// Its newest hour; `None`: it has told none.
    pub glance: Option<Glance>,
}

/// A day that must be made anew.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Stale {
    /// Whose.
    pub school: String,
    /// Which.
    pub day: i32,
    /// Grows with every record that touches it: a day is done only if it is still what was read.
    pub mark: i64,
}

/// A key that two boxes use.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Twin {
    /// The node.
    pub node: String,
    /// Found when (µs since 1970).
    pub found: i64,
    /// Seen last.
    pub seen: i64,
    /// How often.
    pub times: i64,
}

/// What is older than this goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cutoffs {
    /// What came after this, by its date, came by a clock that was ahead; its date becomes this.
    pub ahead: Time,
    /// Records as they were signed, by when they came.
    pub records: Time,
    /// Pings, by when they were.
    pub pings: Time,
    /// Hours, by when they were.
    pub hours: Time,
    /// Codes, by until when they counted.
    pub codes: Time,
    /// Sessions, by when they were used last and by when they began.
    pub sessions: (Time, Time),
}

/// What a table weighs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weight {
    /// Which.
    pub table: String,
    /// Bytes with its indexes.
    pub bytes: i64,
}

/// From when until when, at most so many, of one school or of all.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// `None`: all.
    pub school: Option<&'a str>,
    /// From.
    pub from: Time,
    /// Until, not included.
    pub until: Time,
    /// At most.
    pub most: u32,
}

/// Where records go, and what is made of them.
pub trait Keep: Register {
    /// Keeps what is new, all or nothing, durable when it returns; nothing of a node that was revoked a moment ago, by whomever.
    fn take<'a>(&'a self, judged: &'a Judged, calendar: &'a Calendar, at: Moment) -> BoxFuture<'a, Result<Uptake, Error>>;

    /// The newest news of every node.
    fn latest(&self) -> BoxFuture<'_, Result<Vec<Latest>, Error>>;

    /// The JSON of the newest hours of these nodes.
    fn told<'a>(&'a self, nodes: &'a [String]) -> BoxFuture<'a, Result<Vec<(String, String)>, Error>>;

    /// The JSON of a node's hours, newest first, at most `most`.
    fn recent<'a>(&'a self, node: &'a str, most: u32) -> BoxFuture<'a, Result<Vec<String>, Error>>;

    /// Keys that two boxes use.
    fn twins(&self) -> BoxFuture<'_, Result<Vec<Twin>, Error>>;

    /// Whether this program is the one that makes days and lets go of what is too old: of several on one database one does, and another
    /// takes over when it has gone. Two would put an older day over a newer one.
    fn leads(&self) -> BoxFuture<'_, Result<bool, Error>>;

    /// Days that must be made anew, at most `most`, those of a school together.
    fn stale(&self, most: u32) -> BoxFuture<'_, Result<Vec<Stale>, Error>>;

    /// All that is kept of a school and touches this time.
    fn kept<'a>(&'a self, school: &'a str, from: Time, until: Time) -> BoxFuture<'a, Result<Kept, Error>>;

    /// Keeps days; those of `done` are no longer stale, unless more has come meanwhile.
    fn put_days<'a>(&'a self, days: &'a [Day], done: &'a [Stale]) -> BoxFuture<'a, Result<(), Error>>;

    /// The days of these schools (`None`: of all) from one number to another, both included, by school and day.
    fn days<'a>(&'a self, schools: Option<&'a [String]>, from: i32, to: i32) -> BoxFuture<'a, Result<Vec<Day>, Error>>;

    /// At most `most` of the days of all schools from one number to another, both included, after the given school and day, in their order.
    fn days_after<'a>(&'a self, after: (&'a str, i32), span: (i32, i32), most: u32) -> BoxFuture<'a, Result<Vec<Day>, Error>>;

    /// Tests, newest first.
    fn tests<'a>(&'a self, asked: Asked<'a>) -> BoxFuture<'a, Result<Vec<Test>, Error>>;

    /// Outages, newest first.
    fn outages<'a>(&'a self, asked: Asked<'a>) -> BoxFuture<'a, Result<Vec<Outage>, Error>>;

    /// Lets go of what is too old, one small step. Whether there is more.
    fn prune(&self, cutoffs: Cutoffs) -> BoxFuture<'_, Result<bool, Error>>;

    /// What each table weighs.
    fn weigh(&self) -> BoxFuture<'_, Result<Vec<Weight>, Error>>;
}

/// Opens or makes the database.
///
/// # Errors
/// See [`Error`].
pub async fn open(place: &Place) -> Result<Arc<dyn Keep>, Error> {
    Ok(match place {
        Place::Memory => Arc::new(Sqlite::open(None).await?),
        Place::File(file) => Arc::new(Sqlite::open(Some(file)).await?),
        Place::Postgres(url) => Arc::new(Postgres::open(url).await?),
    })
}
