//! `policy::decide`: it is on every request's path.

use crate::pieces::Operation;
use bulak::base::clock::Time;
use bulak::base::target::Target;
use bulak::policy::{self, Ask, Kept, Kind, Line, Offline, Place, Rules};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use std::hint::black_box;
use std::time::Duration;

/// A school's.
pub(super) fn rules() -> Rules {
    Rules {
        kind: Kind::School,
        targeted: Vec::new(),
        offline: Offline::Public,
        heuristic_share: 0.1,
        heuristic_max: Duration::from_hours(24),
    }
}

/// What browsers send with everything.
pub(super) fn asked() -> HeaderMap {
    let mut fields = HeaderMap::new();
    fields.insert(header::HOST, HeaderValue::from_static("assets.school.test"));
    fields.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip, deflate, br"));
    fields.insert(header::USER_AGENT, HeaderValue::from_static("Mozilla/5.0 (X11; CrOS x86_64) AppleWebKit/537.36"));
    fields
}

pub(super) fn fresh(_: u64) -> Operation {
    decision(true, Duration::from_mins(1))
}

pub(super) fn stale(_: u64) -> Operation {
    decision(true, Duration::from_hours(2))
}

pub(super) fn miss(_: u64) -> Operation {
    decision(false, Duration::from_mins(1))
}

fn decision(is_stored: bool, later: Duration) -> Operation {
    let rules = rules();
    let target = Target::parse("http://assets.school.test/h/blockly.0123456789ab.js").expect("a URL");
    let stored = Time::BUILT;
    let mut fields = HeaderMap::new();
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    fields.insert(header::ETAG, HeaderValue::from_static("\"v1\""));
    fields.insert(header::DATE, HeaderValue::from_str(&stored.to_http()).expect("a date"));
    let kept = is_stored.then(|| Kept::new(&rules, StatusCode::OK, fields, stored, stored));
    let asked = asked();
    let now = stored.plus(later);
    Box::new(move || {
        let ask = Ask { method: &Method::GET, target: &target, headers: &asked, place: Place::default() };
        black_box(policy::decide(black_box(&rules), black_box(&ask), black_box(kept.as_ref()), Line::Up, now));
    })
}
