//! What one decision costs: `policy::decide` for a fresh hit, a stale entry and a miss. It is on every request's path.
//!
//! `cargo bench --bench decide`.

use bulak::base::clock::Time;
use bulak::base::target::Target;
use bulak::policy::{self, Ask, Kept, Kind, Line, Offline, Place, Rules};
use criterion::Criterion;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use std::hint::black_box;
use std::time::Duration;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let rules = Rules {
        kind: Kind::School,
        targeted: Vec::new(),
        offline: Offline::Public,
        heuristic_share: 0.1,
        heuristic_max: Duration::from_hours(24),
    };
    let target = Target::parse("http://assets.school.test/h/blockly.0123456789ab.js").expect("a URL");
    let stored = Time::BUILT;
    let mut fields = HeaderMap::new();
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    fields.insert(header::ETAG, HeaderValue::from_static("\"v1\""));
    fields.insert(header::DATE, HeaderValue::from_str(&stored.to_http()).expect("a date"));
    let kept = Kept::new(&rules, StatusCode::OK, fields, stored, stored);
    let mut asked = HeaderMap::new();
    asked.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip, deflate, br"));
    asked.insert(header::USER_AGENT, HeaderValue::from_static("Mozilla/5.0 (X11; CrOS x86_64) AppleWebKit/537.36"));
    let ask = Ask { method: &Method::GET, target: &target, headers: &asked, place: Place::default() };
    let cases = [("fresh", Some(&kept), 60), ("stale", Some(&kept), 7200), ("miss", None, 60)];
    for (name, kept, later) in cases {
        let now = stored.plus(Duration::from_secs(later));
        criterion.bench_function(&format!("decide {name}"), |bench| {
            bench.iter(|| policy::decide(black_box(&rules), black_box(&ask), black_box(kept), Line::Up, now));
        });
    }
    criterion.final_summary();
}
