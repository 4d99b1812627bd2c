//! How far a pack is: the same numbers in command line, API and pages.

use crate::base::clock::Time;
use crate::base::target::Target;
use crate::prefetch::packs::{Held, Origin, name};
use crate::prefetch::worth::Worth;
use crate::site::pack::{Pack, SeedKind, Status, Title};
use crate::state::frontier::{Count, Run};
use serde::{Deserialize, Serialize};

/// How far one pack is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Progress {
    /// The pack.
    pub id: String,
    /// `idle`, `queued`, `running`, `paused` (window closed, store full, waiting for a host) or `done`.
    pub state: String,
    /// Why it does not run, where that needs saying.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Wishes through, one way or another.
    pub done: u64,
    /// Wishes known so far; grows as pages are read.
    pub total: u64,
    /// Bytes here.
    pub bytes_done: u64,
    /// Bytes in all, reckoned.
    pub bytes_total: u64,
    /// Bytes still to come, reckoned.
    #[serde(default)]
    pub bytes_left: u64,
    /// Bytes over the line in this run.
    pub transferred: u64,
    /// The recent rate; null while unknown.
    pub rate_bytes_per_second: Option<u64>,
    /// Time left at that rate; null while unknown.
    pub eta_s: Option<u64>,
    /// What is being fetched.
    pub current: Option<String>,
    /// Its host.
    #[serde(default)]
    pub current_host: Option<String>,
    /// Wishes that failed.
    pub errors: u64,
    /// Wishes left out on purpose (robots.txt, size cap).
    pub skipped: u64,
    /// Wishes that the origin has no more (404, 410).
    #[serde(default)]
    pub gone: u64,
}

impl Progress {
    /// From the frontier's count.
    pub fn of(pack: &Pack, count: &Count, transferred: u64, rate: Option<u64>, current: Option<String>) -> Progress {
        let open = count.total.saturating_sub(count.ended);
        let seen = count.done + count.known;
        let mean = (count.done_bytes + count.known_bytes).checked_div(seen).unwrap_or(0);
        let left = count.known_bytes.saturating_add(mean.saturating_mul(open.saturating_sub(count.known)));
        let bytes_total = count.done_bytes.saturating_add(left).min(pack.scope.max_bytes.max(count.done_bytes));
        let eta_s = rate.filter(|_| open > 0).and_then(|rate| (bytes_total - count.done_bytes).checked_div(rate));
        let current_host = current.as_deref().and_then(|url| Target::parse(url).ok()).map(|target| target.host().to_owned());
        Progress {
            id: pack.id.clone(),
            state: String::from(if open == 0 && count.total > 0 { "done" } else { "running" }),
            reason: None,
            done: count.ended,
            total: count.total,
            bytes_done: count.done_bytes,
            bytes_total,
            bytes_left: bytes_total.saturating_sub(count.done_bytes),
            transferred,
            rate_bytes_per_second: rate,
            eta_s,
            current,
            current_host,
            errors: count.failed,
            skipped: count.skipped,
            gone: count.ended.saturating_sub(count.done + count.failed + count.skipped),
        }
    }

    /// Nothing is fetched of it any more, and why.
    pub(super) fn rest(&mut self, state: &str, reason: Option<String>) {
        state.clone_into(&mut self.state);
        self.reason = reason;
        self.current = None;
        self.current_host = None;
        self.rate_bytes_per_second = None;
        self.eta_s = None;
    }

    /// Share of the bytes, or of the wishes while no bytes are known, in 0..=1.
    #[expect(clippy::cast_precision_loss, reason = "a share for people")]
    pub fn share(&self) -> f64 {
        let (part, whole) = if self.bytes_total > 0 { (self.bytes_done, self.bytes_total) } else { (self.done, self.total) };
        if whole == 0 { 0.0 } else { (part as f64 / whole as f64).min(1.0) }
    }
}

/// A pack in lists.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Pack)]
pub struct Listed {
    /// The pack.
    pub id: String,
    /// Its version.
    pub version: String,
    /// Its titles.
    pub title: Title,
    /// Whether its hosts were looked at.
    pub status: Status,
    /// Its licence.
    pub licence: String,
    /// Its subject.
    pub subject: Option<String>,
    /// Its grades.
    pub grades: Vec<u8>,
    /// Larger goes first.
    pub priority: i64,
    /// Whose word it is.
    pub origin: Origin,
    /// The name of its file.
    pub file: String,
    /// Seeds of a kind that this version does not fetch.
    pub seeds_not_fetched: u64,
    /// What people should know of it, in plain words.
    #[serde(default)]
    pub notes: Vec<String>,
    /// When the last run was through (RFC 3339).
    pub last_run: Option<String>,
    /// How far it is.
    pub progress: Progress,
    /// What it brought in four weeks, used against wasted.
    #[serde(default)]
    pub worth: Worth,
}

impl Listed {
    /// From what is held and known.
    pub fn of(held: &Held, run: Option<&Run>, progress: Progress) -> Listed {
        let pack = &held.pack;
        Listed {
            id: pack.id.clone(),
            version: pack.version.clone(),
            title: pack.title.clone(),
            status: pack.status,
            licence: pack.licence.clone(),
            subject: pack.subject.clone(),
            grades: pack.grades.clone(),
            priority: pack.priority,
            origin: held.origin.clone(),
            file: name(&held.file),
            seeds_not_fetched: not_fetched(pack),
            notes: held.notes.clone(),
            last_run: run.and_then(|run| run.finished).map(Time::to_rfc3339),
            progress,
            worth: Worth::default(),
        }
    }
}

/// Seeds of a kind that this version does not fetch.
pub fn not_fetched(pack: &Pack) -> u64 {
    let later = |kind: SeedKind| !kind.is_fetched();
    u64::try_from(pack.seeds.iter().filter(|seed| later(seed.kind)).count()).unwrap_or(u64::MAX)
}
