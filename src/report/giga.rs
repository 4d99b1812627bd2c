//! A Giga Meter server is told of speed tests and of the line's ups and downs, where the operator wants that: off by default.
//!
//! It makes no tests of its own. What is told waits in `state::giga` until the server has it. The server knows no duplicates of tests,
//! so that after a silence it is asked first whether it has one, and where nobody may ask, it is sent once more and no oftener; one
//! duplicate among connectivity checks fails all that are sent with it, so that these go one by one then.
//!
//! Read in this order: `message` (what is said), `verdict` (what an answer means), `send`, `worker`.

/// In the server's words.
pub mod message;

/// What an answer means.
pub mod verdict;

/// Over the API.
pub mod api;

/// For `/metrics`.
mod gauges;

/// One request after another.
mod send;

/// The rounds.
mod worker;

use crate::base::backoff::Backoff;
use crate::base::clock::{Clock, Time};
use crate::base::count::Metrics;
use crate::base::target::Target;
use crate::life::{Life, supervise};
use crate::link::Link;
use crate::meter::Meter;
use crate::state::State;
use crate::state::giga::{Count, Mark, Parked};
use crate::upstream::Upstream;
use anyhow::Context;
use gauges::Gauges;
use http::HeaderValue;
use message::School;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use utoipa::ToSchema;

/// Longest key, bytes.
const KEY_LONGEST: u64 = 4 << 10;

/// `[giga]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where the server's API begins: `https://…/api/v1`.
    pub base: Target,
    /// The file with the key, readable by its owner alone. Read for each round, so that a new one counts at once.
    pub key: PathBuf,
    /// Who the school is there.
    pub school: School,
}

/// Waits, fixed for every node; tests have shorter ones.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Connectivity checks are sent this often, and when the line is back.
    pub send_checks: Duration,
    /// And made this often.
    pub make_checks: Duration,
    /// Between two requests: the server takes 60 a minute.
    pub between: Duration,
    /// For one exchange: 3 kB at 16 kbit/s over a satellite take some seconds.
    pub exchange: Duration,
    /// After what did not work.
    pub retry: Backoff,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            send_checks: Duration::from_hours(2),
            make_checks: Duration::from_mins(15),
            between: Duration::from_millis(1_100),
            exchange: Duration::from_mins(1),
            retry: Backoff { first: Duration::from_secs(30), most: Duration::from_hours(1) },
        }
    }
}

/// How it goes.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = Giga)]
pub struct Status {
    /// The server; absent: nothing is told to any.
    pub server: Option<String>,
    /// Whether the server knows the school's node.
    pub registered: bool,
    /// Figures of what waits.
    pub waiting: Count,
    /// What the server refused for good, the newest first.
    pub parked: Vec<Parked>,
    /// Why nothing is sent any more: the server does not take the key.
    pub stopped: Option<String>,
    /// Why the last round did not work.
    pub trouble: Option<String>,
    /// When the server last took something (RFC 3339).
    pub last_delivered: Option<String>,
}

/// Tells a Giga Meter server. Cheap to clone.
#[derive(Clone)]
pub struct Giga(Arc<Inner>);

struct Inner {
    settings: Settings,
    pace: Pace,
    clock: Clock,
    state: State,
    meter: Meter,
    link: Link,
    upstream: Upstream,
    /// One round at a time.
    turn: Semaphore,
    memory: Mutex<Memory>,
    gauges: Gauges,
}

#[derive(Default)]
struct Memory {
    /// When the last request left.
    asked: Option<Instant>,
    /// Rounds in a row that did not work.
    tries: u32,
    /// Nothing is sent before.
    not_before: Option<Instant>,
    /// The reason, and the key that the server does not take.
    stopped: Option<(String, String)>,
    trouble: Option<String>,
    /// When a check was last made.
    made: Option<Instant>,
    /// When checks were last sent.
    sent: Option<Instant>,
    /// The line is back: what is known of its absence is told now.
    back: bool,
}

/// What it rests on.
#[derive(Clone)]
pub struct Parts {
    /// `[giga]`.
    pub settings: Settings,
    /// Waits.
    pub pace: Pace,
    /// Time.
    pub clock: Clock,
    /// The queue.
    pub state: State,
    /// The tests.
    pub meter: Meter,
    /// Whether the line is there.
    pub link: Link,
    /// The way to the server.
    pub upstream: Upstream,
    /// Where figures are shown.
    pub metrics: Metrics,
}

impl Giga {
    /// Begins to tell. Registers `bulak_giga_*`. Tests from before the first start with a server are not told: nobody agreed to that.
    pub fn new(parts: Parts, life: &Life) -> Giga {
        let giga = Giga::quiet(parts);
        supervise(life, worker::Round { giga: giga.clone(), life: life.clone(), shown: false, watch: giga.0.link.watch() });
        giga
    }

    /// The same without rounds of its own.
    pub fn quiet(parts: Parts) -> Giga {
        let Parts { settings, pace, clock, state, meter, link, upstream, metrics } = parts;
        let (turn, memory, gauges) = (Semaphore::new(1), Mutex::default(), Gauges::new(&metrics));
        Giga(Arc::new(Inner { settings, pace, clock, state, meter, link, upstream, turn, memory, gauges }))
    }

    /// Sends what waits now, refused things too: a person has looked.
    ///
    /// # Errors
    /// The database's.
    pub async fn now(&self) -> anyhow::Result<Status> {
        self.0.state.giga().unpark().await?;
        {
            let mut memory = self.0.memory.lock();
            (memory.not_before, memory.stopped) = (None, None);
        }
        self.round(true).await?;
        self.status().await
    }

    /// One round: queues new tests, sends what is due.
    ///
    /// # Errors
    /// The database's.
    pub async fn round(&self, all: bool) -> anyhow::Result<()> {
        let _turn = self.0.turn.acquire().await.context("the node ends")?;
        // First what is there from before, so that what this round does is counted.
        self.show().await?;
        self.collect().await?;
        let done = send::flush(&self.0, all).await;
        self.show().await?;
        done
    }

    /// Shows how it goes in `/metrics`.
    async fn show(&self) -> anyhow::Result<()> {
        let queue = self.0.state.giga();
        let (count, last) = (queue.count().await?, queue.last_delivered().await?);
        let stopped = self.0.memory.lock().stopped.is_some();
        self.0.gauges.show(&count, last, stopped);
        Ok(())
    }

    /// Notes whether the line is there, if it is time to; `turned`: it has just gone or come back.
    ///
    /// # Errors
    /// The database's.
    pub async fn observe(&self, turned: bool) -> anyhow::Result<()> {
        worker::observe(&self.0, turned).await
    }

    /// How it goes.
    ///
    /// # Errors
    /// The database's.
    pub async fn status(&self) -> anyhow::Result<Status> {
        let inner = &*self.0;
        let queue = inner.state.giga();
        let mark = self.mark().await?;
        let (waiting, parked, last) = (queue.count().await?, queue.parked().await?, queue.last_delivered().await?);
        let memory = inner.memory.lock();
        Ok(Status {
            server: Some(inner.settings.base.origin().to_owned()),
            registered: mark.registered == inner.place(),
            waiting,
            parked,
            stopped: memory.stopped.as_ref().map(|(why, _)| why.clone()),
            trouble: memory.trouble.clone(),
            last_delivered: last.map(Time::to_rfc3339),
        })
    }

    /// Queues the tests that were made since the last look.
    async fn collect(&self) -> anyhow::Result<()> {
        let mut mark = self.mark().await?;
        loop {
            let tests = self.0.meter.after(mark.test, 100).await?;
            let Some(last) = tests.last() else { return Ok(()) };
            let told = tests.iter().filter(|kept| message::measurement(&self.0.settings.school, &mark, kept).is_some());
            let told: Vec<(i64, Time)> = told.map(|kept| (kept.number, kept.start)).collect();
            self.0.state.giga().queue_tests(&told, last.number).await?;
            mark.test = last.number;
        }
    }

    async fn mark(&self) -> anyhow::Result<Mark> {
        let newest = self.0.meter.since(Time::from_secs(0), 1).await?.first().map_or(0, |kept| kept.number);
        self.0.mark(newest).await
    }
}

impl Inner {
    /// As whom we speak; made at the first call: random, and nothing of the machine.
    async fn mark(&self, newest: i64) -> anyhow::Result<Mark> {
        let bytes: [u8; 5] = rand::random();
        let mac = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":");
        let id = || uuid::Uuid::new_v4().to_string();
        // The second bit of a MAC address says that nobody assigned it.
        let fresh = Mark { user_id: id(), device: id(), mac: format!("02:{mac}"), registered: String::new(), test: newest };
        Ok(self.state.giga().mark(&fresh).await?)
    }

    /// For whom a registration counts.
    fn place(&self) -> String {
        let Settings { base, school, .. } = &self.settings;
        format!("{} {} {} {}", base.url(), school.giga_id, school.id, school.country)
    }
}

/// Reads a key: one line of visible characters in a file that nobody else may read. Blocking.
///
/// # Errors
/// What is wrong with it, and what helps.
pub fn read_key(name: &str, file: &Path) -> Result<String, String> {
    let at = file.display();
    let about = std::fs::metadata(file).map_err(|error| format!("{name} {at} cannot be read ({error})"))?;
    let mode = about.permissions().mode() & 0o777;
    if mode.trailing_zeros() < 6 {
        return Err(format!("{name} {at} may be read by others (mode {mode:o}); chmod 600 it"));
    }
    let mut text = String::new();
    // Not by its length: a device says none.
    let read = File::open(file).and_then(|opened| opened.take(KEY_LONGEST + 1).read_to_string(&mut text));
    let length = read.map_err(|error| format!("{name} {at} cannot be read ({error})"))?;
    if u64::try_from(length).unwrap_or(u64::MAX) > KEY_LONGEST {
        return Err(format!("{name} {at} is no key: it has more than {KEY_LONGEST} bytes"));
    }
    let key = text.trim();
    let visible = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic());
    if visible && HeaderValue::from_str(key).is_ok() { Ok(key.to_owned()) } else { Err(format!("{name} {at} holds no key in one line")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_one_line_that_nobody_else_may_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("giga.key");
        assert!(read_key("giga.key", &file).expect_err("missing").contains("cannot be read"));
        let table = [
            ("abc.def\n", 0o600, "abc.def"),
            ("abc", 0o400, "abc"),
            ("abc", 0o640, "chmod 600"),
            ("", 0o600, "no key"),
            ("a b", 0o600, "no key"),
        ];
        for (text, mode, wanted) in table {
            let _old = std::fs::remove_file(&file); // the first time there is none
            std::fs::write(&file, text).expect("writes");
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("chmod");
            let told = read_key("giga.key", &file).unwrap_or_else(|error| error);
            assert!(told.contains(wanted), "{told}");
        }
    }
}
