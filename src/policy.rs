//! The caching rules. SKELETON front door.

use crate::base::clock::Time;
use crate::base::target::Target;
use http::{HeaderMap, HeaderName, Method, StatusCode};
use std::ops::Range;
use std::time::Duration;

pub mod why;
pub use why::Why;

/// Which rules hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// RFC 9111 and the privacy rules and the offline override.
    School,
    /// A plain shared cache.
    Rfc9111,
}

/// How far the offline override goes under `Kind::School`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offline {
    /// Every entry that passed the stranger rule.
    Public,
    /// Only what a pack keeps.
    Packs,
    /// Never beyond the RFC.
    Off,
}

/// The rules in force.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Which set.
    pub kind: Kind,
    /// Targeted cache-control fields (RFC 9213), first wins.
    pub targeted: Vec<HeaderName>,
    /// The override.
    pub offline: Offline,
    /// Heuristic share of the age since Last-Modified (RFC 9111 section 4.2.2): 0.1.
    pub heuristic_share: f64,
    /// Most heuristic freshness: 24 h.
    pub heuristic_max: Duration,
}

/// What is known of a request beside its head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The host has accounts (an e-diary and kin): only path classes are storable.
    pub account: bool,
    /// A pack's path class names this URL.
    pub class: bool,
    /// The node asks for itself, without cookies.
    pub own: bool,
    /// https decoded on an enrolled device: the stricter list of protocols.md section 4 holds.
    pub intercepted: bool,
}

/// A request as the policy sees it.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Method.
    pub method: &'a Method,
    /// Where to.
    pub target: &'a Target,
    /// Request fields.
    pub headers: &'a HeaderMap,
    /// What is known beside.
    pub place: Place,
}

/// The line's verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// Works.
    Up,
    /// Works badly.
    Slow,
    /// Nothing gets through.
    Down,
}

/// A stored answer, parsed once when it is admitted or loaded (policy's author adds private fields; built only by `new`).
#[derive(Clone, Debug)]
pub struct Kept {
    /// Status.
    pub status: StatusCode,
    /// Fields.
    pub headers: HeaderMap,
    /// When the request left.
    pub requested: Time,
    /// When the head arrived.
    pub received: Time,
    /// Whether the whole body is here.
    pub whole: bool,
    /// Whether a pack keeps it.
    pub pinned: bool,
    /// Whole length.
    pub length: u64,
}

impl Kept {
    /// Parses what the decisions need.
    #[must_use]
    pub fn new(_rules: &Rules, _status: StatusCode, _headers: HeaderMap, _requested: Time, _received: Time) -> Kept {
        todo!()
    }
}

/// What to do with a request.
#[derive(Clone, Debug)]
pub enum Decision {
    /// Answer from the store. `age` and `ttl` in seconds (`ttl` negative when stale).
    Serve { age: u64, ttl: i64, why: Why, refresh_behind: bool },
    /// Ask the origin with these condition fields added; see [`on_answer_failed`] when it cannot be asked.
    Revalidate { conditions: HeaderMap, why: Why },
    /// Fetch anew.
    Fetch { why: Why },
    /// Do not use the cache: forward, do not store.
    Pass { why: Why },
    /// 504 for `only-if-cached`.
    Refuse { why: Why },
}

/// Decides (pure).
pub fn decide(_rules: &Rules, _ask: &Ask<'_>, _kept: Option<&Kept>, _line: Line, _now: Time) -> Decision {
    todo!()
}

/// Which of the variants fits the request, by their Vary-nominated fields; the newest of several.
pub fn select<'v>(_ask: &Ask<'_>, _variants: impl Iterator<Item = &'v [(Box<str>, Box<[u8]>)]>) -> Option<usize> {
    todo!()
}

/// Whether an answer may be stored, and how.
#[derive(Clone, Debug)]
pub enum Admit {
    /// Store it; these are the Vary-nominated request fields, normalised.
    Store { vary: Vec<(Box<str>, Box<[u8]>)> },
    /// Do not.
    No(Why),
}

/// RFC 9111 section 3 and, under `Kind::School`, the stranger rule.
pub fn admit(_rules: &Rules, _ask: &Ask<'_>, _status: StatusCode, _headers: &HeaderMap, _now: Time) -> Admit {
    todo!()
}

/// Folds a 304 (or a HEAD answer that matches) into stored fields (RFC 9111 sections 3.2, 4.3.4, 4.3.5).
pub fn freshen(_stored: &HeaderMap, _newer: &HeaderMap) -> HeaderMap {
    todo!()
}

/// What happened instead of a usable answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// 500, 502, 503 or 504 arrived.
    ServerError(StatusCode),
    /// The origin could not be reached or broke off before a head.
    Unreachable,
}

/// May the stored answer be served although asking failed? (RFC 9111 section 4.2.4, RFC 5861 section 4, offline override.)
/// Gives age, ttl and the reason.
pub fn on_failure(_rules: &Rules, _ask: &Ask<'_>, _kept: &Kept, _failure: Failure, _line: Line, _now: Time) -> Option<(u64, i64, Why)> {
    todo!()
}

/// Which stored URLs an unsafe request's answer invalidates (RFC 9111 section 4.4): same origin only.
pub fn invalidates(_method: &Method, _target: &Target, _status: StatusCode, _headers: &HeaderMap) -> Vec<Target> {
    todo!()
}

/// How a client's own conditions meet a stored answer (RFC 9110 section 13.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// No condition, or it holds: send the answer.
    Go,
    /// 304.
    NotModified,
    /// 412.
    Failed,
}

/// Evaluates If-None-Match, If-Modified-Since (and for stored answers If-Match, If-Unmodified-Since).
pub fn condition(_ask: &Ask<'_>, _kept: &Kept) -> Condition {
    todo!()
}

/// What part of a body of known length is asked for (RFC 9110 section 14).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// The whole: no Range, malformed, If-Range does not match, or not worth it.
    Whole,
    /// One range.
    One(Range<u64>),
    /// Several: answered as multipart/byteranges, at most a handful, none overlapping.
    Many(Vec<Range<u64>>),
    /// 416.
    Unsatisfiable,
}

/// Reads Range and If-Range against a stored answer's length and validators.
pub fn part(_ask: &Ask<'_>, _headers: &HeaderMap, _length: u64) -> Part {
    todo!()
}
