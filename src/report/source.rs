//! What else leaves than hours: parts that keep their own findings by number, and the reporter that reads on where it stopped.
//!
//! A source keeps what it found in the node's database and numbers it upwards. The number up to which everything is in the outbox is
//! kept in the same transaction as the outbox's rows (`state::outbox`): a power cut neither loses nor doubles one.

use crate::base::clock::Time;
use crate::meter::Meter;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};

/// Kinds of records that come from sources. Hours the reporter makes itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A test of the line: `payload.test.*`.
    Test,
    /// A burst of pings: `payload.ping.*`.
    Ping,
    /// Something that a person would be told about: `payload.event.*`.
    Event,
}

impl Kind {
    /// Its word in records.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Test => "speedtest",
            Kind::Ping => "ping",
            Kind::Event => "event",
        }
    }

    /// Whether it leaves soon after it was found, and not with the next hour.
    pub fn is_prompt(self) -> bool {
        !matches!(self, Kind::Ping)
    }
}

/// One thing that a source has kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// Grows from one to the next. What is told twice (an outage that is open, and again when it is over) gets a new one.
    pub number: i64,
    /// From.
    pub start: Time,
    /// Until. While something is open: as of now.
    pub end: Time,
    /// Whether these can be believed.
    pub clock_ok: bool,
    /// The whole payload: one object (`{"ping": {…}}`) with exactly the names of [`schema::FIELDS`](crate::report::schema::FIELDS).
    pub payload: Value,
}

/// Whoever finds something that is to leave.
///
/// To add one: keep findings under growing numbers (`AUTOINCREMENT`; a row that changes takes a new number), answer `after` from
/// them, and hand the source to [`Reporter::hear`](crate::report::Reporter::hear) in `app.rs`.
pub trait Source: Send + Sync + 'static {
    /// What its records are. One source a kind.
    fn kind(&self) -> Kind;

    /// What was kept after this number, the lowest first, at most `most`.
    ///
    /// # Errors
    /// The database's; it is asked again later.
    fn after(&self, number: i64, most: u32) -> BoxFuture<'_, anyhow::Result<Vec<Kept>>>;

    /// Resolves when something new may have been kept, seen from the call on. Whoever cannot say so is asked every five minutes.
    fn changed(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }
}

/// The meter's tests.
pub struct Tests(pub Meter);

impl Source for Tests {
    fn kind(&self) -> Kind {
        Kind::Test
    }

    fn after(&self, number: i64, most: u32) -> BoxFuture<'_, anyhow::Result<Vec<Kept>>> {
        Box::pin(async move {
            let tests = self.0.after(number, most).await?;
            // The server's name and the messages stay here: the schema has no place for them.
            let kept = |kept: crate::meter::Kept| Kept {
                number: kept.number,
                start: kept.start,
                end: kept.finish,
                clock_ok: kept.clock_ok,
                payload: json!({ "test": kept.test }),
            };
            Ok(tests.into_iter().map(kept).collect())
        })
    }

    fn changed(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.0.kept())
    }
}
