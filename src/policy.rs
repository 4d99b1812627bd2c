//! The caching rules as pure functions: time, the line's verdict and what is stored come in as arguments.
//!
//! | question | asked with | rules | file |
//! |---|---|---|---|
//! | may it be stored? | `admit()` | RFC 9111 section 3 | `policy/admit.rs` |
//! | would a stranger have got it? | `admit()`, `decide()`, `goes_bare()` | policy `school` | `policy/stranger.rs`, `policy/secret.rs` |
//! | which variant fits? | `select()`, `may_share()`, `key` | RFC 9111 section 4.1 | `policy/key.rs` |
//! | how old, how long fresh? | `Kept` | RFC 9111 section 4.2 | `policy/age.rs` |
//! | what now? | `decide()` | RFC 9111 sections 4, 5.2.1; RFC 8246 | `policy/decide.rs` |
//! | asking failed, and now? | `on_failure()` | RFC 9111 section 4.2.4, RFC 5861 | `policy/stale.rs` |
//! | what does a 304 change? | `freshen()`, `freshen::confirms` | RFC 9111 sections 3.2, 4.3 | `policy/freshen.rs` |
//! | does the client have it already? | `condition()` | RFC 9110 section 13 | `policy/condition.rs` |
//! | which part? | `part()` | RFC 9110 section 14 | `policy/range.rs` |
//! | what became doubtful? | `invalidates()` | RFC 9111 section 4.4 | `policy/invalidate.rs` |
//! | what travels on, what is said? | `header` | RFC 9110 section 7.6, RFC 9209, RFC 9211 | `policy/header.rs` |
//!
//! Policy never learns that a disk, a socket or a clock exists. It does not look at bodies: completeness and codings are the
//! cache's.
//!
//! `admit()`: crate::policy::admit()
//! `decide()`: crate::policy::decide()
//! `goes_bare()`: crate::policy::goes_bare()
//! `select()`: crate::policy::select()
//! `may_share()`: crate::policy::may_share()
//! `on_failure()`: crate::policy::on_failure()
//! `freshen()`: crate::policy::freshen()
//! `condition()`: crate::policy::condition()
//! `part()`: crate::policy::part()
//! `invalidates()`: crate::policy::invalidates()
//! `key`: mod@crate::policy::key
//! `Kept`: crate::policy::Kept
//! `freshen::confirms`: crate::policy::freshen::confirms
//! `header`: mod@crate::policy::header

use crate::base::clock::Time;
use crate::base::digest::Digest;
use crate::base::target::Target;
use http::{HeaderMap, HeaderName, Method, StatusCode};
use std::ops::Range;
use std::time::Duration;

/// HTTP dates.
pub mod date;

/// Cache-Control and its kin, parsed.
pub mod directive;

/// May it be stored?
mod admit;

/// Only what a stranger could fetch.
mod stranger;

/// The names by which a secret or a person is known.
mod secret;

/// Which stored answer fits.
pub mod key;

/// Age and freshness lifetime.
pub mod age;

/// What to do with a request.
mod decide;

/// Conditional requests and what their answers change.
pub mod freshen;

/// What may be served when the origin cannot be asked.
mod stale;

/// A client's own conditions.
mod condition;

/// Byte ranges.
pub mod range;

/// What unsafe requests make doubtful.
mod invalidate;

/// The fields of the way itself.
pub mod header;

/// Every outcome by name.
pub mod why;
pub(crate) use stranger::is_page;
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
    /// https decoded on an enrolled device: the stricter list of methods and statuses holds.
    pub intercepted: bool,
}

/// Whether an address (path and query, or the whole) holds a key, or leads by a link that nobody guesses to something of somebody.
pub fn is_secret(address: &str) -> bool {
    secret::address(address) != secret::Address::Plain
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

/// A stored answer, parsed once when it is admitted or loaded. Built only by [`Kept::new`]; the caller then sets `whole`,
/// `pinned` and `length`.
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
    /// Whether the whole body is here. `true` until set.
    pub whole: bool,
    /// Whether a pack keeps it. `false` until set.
    pub pinned: bool,
    /// Whole length in bytes. 0 until set.
    pub length: u64,
    freshness: age::Freshness,
    /// Its Date, or its arrival.
    dated: Time,
    modified: Option<Time>,
    /// Not to be used without asking, however fresh.
    no_cache: bool,
    /// Never to be served stale (RFC 9111 section 4.2.4).
    forbids_stale: bool,
    immutable: bool,
    no_transform: bool,
    /// The origin said, with a lifetime, that it is the same for everybody.
    meant_for_all: bool,
    stale_while_revalidate: Option<u64>,
    stale_if_error: Option<u64>,
}

impl Kept {
    /// Parses what the decisions need. `headers` as they were stored (see [`header::fields_to_store`]).
    #[must_use]
    pub fn new(rules: &Rules, status: StatusCode, headers: HeaderMap, requested: Time, received: Time) -> Kept {
        let (told, targeted) = admit::response_directives(rules, &headers);
        let freshness = age::Freshness::of(rules, status, &headers, &told, targeted, requested, received);
        Kept {
            dated: headers.get(http::header::DATE).and_then(date::read).unwrap_or(received),
            modified: headers.get(http::header::LAST_MODIFIED).and_then(date::read),
            no_cache: told.no_cache,
            // `s-maxage` means `proxy-revalidate` too (RFC 9111 section 5.2.2.10).
            forbids_stale: told.no_cache || told.must_revalidate || told.proxy_revalidate || told.s_maxage != directive::Delta::Absent,
            immutable: told.immutable,
            no_transform: told.no_transform,
            meant_for_all: stranger::meant_for_all(freshness.explicit, &told),
            stale_while_revalidate: told.stale_while_revalidate.secs(),
            stale_if_error: told.stale_if_error.secs(),
            freshness,
            status,
            headers,
            requested,
            received,
            whole: true,
            pinned: false,
            length: 0,
        }
    }

    /// Age in seconds (RFC 9111 section 4.2.3).
    pub fn age(&self, now: Time) -> u64 {
        (self.freshness.initial + now.since(self.received)).as_secs()
    }

    /// For how many seconds it is fresh, counted from its birth.
    pub fn lifetime(&self) -> u64 {
        self.freshness.lifetime
    }

    /// Whether the lifetime is the origin's word and no guess.
    pub fn is_explicit(&self) -> bool {
        self.freshness.explicit
    }

    /// Whether it may be served without asking.
    pub fn is_fresh(&self, now: Time) -> bool {
        self.age_and_ttl(now).1 > 0
    }

    /// Whether its body must go out as it came (no banner, no other coding).
    pub fn is_untouchable(&self) -> bool {
        self.no_transform
    }

    /// Age, and seconds of freshness left: zero or negative when stale. What must not be used without asking has none left.
    pub fn age_and_ttl(&self, now: Time) -> (u64, i64) {
        let age = self.age(now);
        let lifetime = if self.no_cache { 0 } else { self.freshness.lifetime };
        let signed = |secs: u64| i64::try_from(secs).unwrap_or(i64::MAX);
        (age, signed(lifetime) - signed(age))
    }
}

/// What to do with a request.
#[derive(Clone, Debug)]
pub enum Decision {
    /// Answer from the store.
    Serve {
        /// Age in seconds, for the Age field.
        age: u64,
        /// Seconds of freshness left; zero or negative when stale.
        ttl: i64,
        /// The reason.
        why: Why,
        /// Whether to ask the origin afterwards, behind the client's back (RFC 5861 section 3).
        refresh_behind: bool,
    },
    /// Ask the origin with conditions; see [`on_failure()`] when it cannot be asked.
    Revalidate {
        /// If-None-Match and If-Modified-Since, in place of the client's own.
        conditions: HeaderMap,
        /// The reason.
        why: Why,
    },
    /// Fetch anew.
    Fetch {
        /// The reason.
        why: Why,
    },
    /// Do not use the cache: forward, do not store. One exception: the answer to a POST that [`admit()`] takes is kept for later
    /// GETs (after [`invalidates()`] has been heeded).
    Pass {
        /// The reason.
        why: Why,
    },
    /// 504 for `only-if-cached`.
    Refuse {
        /// The reason.
        why: Why,
    },
}

/// Decides what to do with a request, given the stored answer that [`select()`] chose, if any. For an entry that is not whole, a
/// request with Range is judged as if it were (the cache knows which bytes are here); without Range it is a `Fetch`, `Partial`.
/// With the line down under `Kind::School`, what the offline override covers is served at once.
pub fn decide(rules: &Rules, ask: &Ask<'_>, kept: Option<&Kept>, line: Line, now: Time) -> Decision {
    decide::decide(rules, ask, kept, line, now)
}

/// Whether a request may be answered with what another request's fetch is bringing (or has just brought): its variant fits, and
/// under `Kind::School` it carries no login, and no cookie unless the answer is meant for all. Under `Kind::Rfc9111` a cookie
/// keeps it from what has to be asked about each time.
pub fn may_share(rules: &Rules, ask: &Ask<'_>, kept: &Kept, vary: &[(Box<str>, Box<[u8]>)]) -> bool {
    let may = if stranger::holds(rules, ask.place) { stranger::may_read(ask, kept) } else { !stranger::must_ask(ask, kept) };
    may && select(ask, std::iter::once(vary)).is_some()
}

/// Whether the node is to ask for this itself, without the client's cookie: what a path class names and a login cannot matter
/// to. On a host with accounts that makes it the node's own fetch, without which nothing of such a host is stored. What comes
/// back is for the client as far as [`bare_suffices()`]; else he asks with his own fields.
pub fn goes_bare(rules: &Rules, ask: &Ask<'_>) -> bool {
    stranger::goes_bare(rules, ask)
}

/// Whether an answer that was asked for without the client's cookie is what he wanted: no sign-in in its place.
pub fn bare_suffices(status: StatusCode, headers: &HeaderMap) -> bool {
    stranger::bare_suffices(status, headers)
}

/// Whether the stranger rule holds for a request: under policy `school`, and for opened https always.
pub fn is_guarded(rules: &Rules, place: Place) -> bool {
    stranger::holds(rules, place)
}

/// Which of the variants fits the request, by their Vary-nominated fields; the first of several, so pass the newest first.
pub fn select<'v>(ask: &Ask<'_>, variants: impl Iterator<Item = &'v [(Box<str>, Box<[u8]>)]>) -> Option<usize> {
    key::select(ask, variants)
}

/// Names those who ask with the same values of the fields that an answer varies by; `None`: it is not for this request for another reason.
pub fn kin(ask: &Ask<'_>, vary: &[(Box<str>, Box<[u8]>)]) -> Option<Digest> {
    select(ask, std::iter::once(vary)).is_none().then(|| key::kin(ask, vary))
}

/// Vary-nominated request fields with their normalised values, sorted by name: what tells the variants of one URL apart.
pub type Vary = Vec<(Box<str>, Box<[u8]>)>;

/// Whether an answer may be stored, and how.
#[derive(Clone, Debug)]
pub enum Admit {
    /// Store it.
    Store {
        /// The Vary-nominated request fields, normalised and sorted by name (see [`key::forget_coding`] for decoded bodies).
        vary: Vary,
    },
    /// Do not.
    No(Why),
}

/// RFC 9111 section 3 and, under `Kind::School`, the stranger rule. `headers` are the answer's as they came (hop-by-hop fields
/// may be gone), `ask` is what the client asked, not what was sent upstream. A POST that is admitted is kept for later GETs.
pub fn admit(rules: &Rules, ask: &Ask<'_>, status: StatusCode, headers: &HeaderMap, now: Time) -> Admit {
    admit::admit(rules, ask, status, headers, now)
}

/// Folds a 304 (or a HEAD answer that matches) into stored fields (RFC 9111 sections 3.2, 4.3.4, 4.3.5). Ask
/// [`freshen::confirms`] or [`freshen::on_head`] first; where the stranger rule holds use [`freshen::freshen_for`].
pub fn freshen(stored: &HeaderMap, newer: &HeaderMap) -> HeaderMap {
    freshen::freshen(stored, newer)
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
pub fn on_failure(rules: &Rules, ask: &Ask<'_>, kept: &Kept, failure: Failure, line: Line, now: Time) -> Option<(u64, i64, Why)> {
    stale::on_failure(rules, ask, kept, failure, line, now)
}

/// Which stored URLs an unsafe request's answer invalidates (RFC 9111 section 4.4): its own, and those of the same origin that
/// Location and Content-Location name. Empty for safe methods and for errors.
pub fn invalidates(method: &Method, target: &Target, status: StatusCode, headers: &HeaderMap) -> Vec<Target> {
    invalidate::invalidates(method, target, status, headers)
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

/// Evaluates If-None-Match, If-Modified-Since (and for stored answers If-Match, If-Unmodified-Since) of a GET or HEAD; what another method
/// is to depend on is the origin's to judge.
pub fn condition(ask: &Ask<'_>, kept: &Kept) -> Condition {
    condition::condition(ask, kept)
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
pub fn part(ask: &Ask<'_>, headers: &HeaderMap, length: u64) -> Part {
    range::part(ask, headers, length)
}

/// Puts bytes through everything that reads fields: lines `name:value`, on both sides of an exchange. For fuzzing; must not panic.
pub fn fuzz(bytes: &[u8]) {
    let mut fields = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (Some(name), Some(value)) = (parts.next(), parts.next()) else { continue };
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), http::HeaderValue::from_bytes(value)) {
            fields.append(name, value);
        }
    }
    let Ok(target) = Target::parse("http://fuzz.kz/") else { return };
    let now = Time::BUILT;
    for kind in [Kind::School, Kind::Rfc9111] {
        let targeted = vec![HeaderName::from_static("cdn-cache-control")];
        let (heuristic_share, heuristic_max) = (0.1, Duration::from_hours(24));
        let rules = Rules { kind, targeted, offline: Offline::Public, heuristic_share, heuristic_max };
        let ask = Ask { method: &Method::GET, target: &target, headers: &fields, place: Place::default() };
        let kept = Kept::new(&rules, StatusCode::OK, header::fields_to_store(&fields), now, now);
        if let Admit::Store { vary } = admit(&rules, &ask, StatusCode::OK, &fields, now) {
            select(&ask, std::iter::once(&vary[..]));
            key::entry_key(&target.key(), &vary);
        }
        decide(&rules, &ask, Some(&kept), Line::Up, now);
        on_failure(&rules, &ask, &kept, Failure::Unreachable, Line::Down, now);
        condition(&ask, &kept);
        part(&ask, &fields, 1000);
        freshen::on_head(&kept.headers, StatusCode::OK, &fields, Some(1000));
        freshen::freshen_for(kind == Kind::School, &kept.headers, &fields);
        invalidates(&Method::POST, &target, StatusCode::OK, &fields);
    }
    header::is_loop(&fields, "fuzz");
    header::max_forwards(&fields);
    header::strip_client_identity(&mut fields);
    header::strip_hop_by_hop(&mut fields);
}

#[cfg(test)]
mod laws;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// 2026-11-25T12:00:00Z.
    pub(crate) const NOW: Time = Time::from_secs(1_795_608_000);

    pub(crate) type Fields<'a> = &'a [(&'a str, &'a str)];

    pub(crate) fn rules() -> Rules {
        Rules {
            kind: Kind::Rfc9111,
            targeted: Vec::new(),
            offline: Offline::Public,
            heuristic_share: 0.1,
            heuristic_max: Duration::from_hours(24),
        }
    }

    pub(crate) fn school() -> Rules {
        Rules { kind: Kind::School, ..rules() }
    }

    pub(crate) fn headers(fields: Fields<'_>) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(HeaderName::from_bytes(name.as_bytes()).expect("a field name"), value.parse().expect("a field value"));
        }
        map
    }

    pub(crate) fn kept(rules: &Rules, status: u16, fields: Fields<'_>) -> Kept {
        Kept::new(rules, StatusCode::from_u16(status).expect("a status"), headers(fields), NOW, NOW)
    }
}
