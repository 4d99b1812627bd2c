//! What must hold of every message, however odd: random requests and answers put together from the fields that matter, and from
//! bytes that mean nothing. Each law is one sentence of RFC 9111 or of the privacy rules.

use crate::base::target::Target;
use crate::policy::tests::{NOW, rules, school};
use crate::policy::{Admit, Ask, Condition, Decision, Failure, Kept, Line, Part, Place, Rules, Why};
use crate::policy::{admit, condition, decide, freshen, fuzz, header, key, on_failure, part, select};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use proptest::prelude::*;
use std::time::Duration;

const ASKED: [(&str, &str); 18] = [
    ("cache-control", "no-cache"),
    ("cache-control", "no-store"),
    ("cache-control", "max-age=0"),
    ("cache-control", "max-stale"),
    ("cache-control", "max-stale=30, min-fresh=5"),
    ("cache-control", "only-if-cached"),
    ("cache-control", "stale-if-error=60"),
    ("pragma", "no-cache"),
    ("authorization", "Basic eDp5"),
    ("cookie", "a=b"),
    ("range", "bytes=0-1,5-"),
    ("if-range", "\"a\""),
    ("if-none-match", "\"a\", W/\"b\""),
    ("if-modified-since", "Wed, 25 Nov 2026 11:00:00 GMT"),
    ("if-match", "\"c\""),
    ("accept-language", "kk, ru;q=0.5"),
    ("accept-encoding", "gzip"),
    ("foo", "1"),
];

const TOLD: [(&str, &str); 30] = [
    ("cache-control", "max-age=60"),
    ("cache-control", "max-age=0"),
    ("cache-control", "s-maxage=30"),
    ("cache-control", "public"),
    ("cache-control", "private"),
    ("cache-control", "private=\"set-cookie\""),
    ("cache-control", "no-store"),
    ("cache-control", "no-cache"),
    ("cache-control", "no-cache=\"foo\""),
    ("cache-control", "must-revalidate"),
    ("cache-control", "proxy-revalidate"),
    ("cache-control", "must-understand"),
    ("cache-control", "immutable"),
    ("cache-control", "stale-while-revalidate=30"),
    ("cache-control", "stale-if-error=30"),
    ("expires", "0"),
    ("expires", "Wed, 25 Nov 2026 12:01:00 GMT"),
    ("date", "Wed, 25 Nov 2026 12:00:00 GMT"),
    ("date", "foo"),
    ("age", "20"),
    ("age", "-1"),
    ("etag", "\"a\""),
    ("etag", "W/\"b\""),
    ("last-modified", "Tue, 24 Nov 2026 12:00:00 GMT"),
    ("set-cookie", "a=b"),
    ("vary", "accept-language, foo"),
    ("vary", "*"),
    ("vary", "cookie"),
    ("content-range", "bytes 0-4/10"),
    ("content-location", "/"),
];

fn fields(known: &'static [(&'static str, &'static str)]) -> impl Strategy<Value = HeaderMap> {
    proptest::collection::vec(proptest::sample::select(known), 0..5).prop_map(|chosen| {
        let mut map = HeaderMap::new();
        for (name, value) in chosen {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        map
    })
}

fn statuses() -> impl Strategy<Value = StatusCode> {
    proptest::sample::select(&[200_u16, 203, 204, 206, 301, 302, 304, 404, 416, 500, 503, 599][..])
        .prop_map(|code| StatusCode::from_u16(code).expect("a status"))
}

fn places() -> impl Strategy<Value = Place> {
    any::<(bool, bool, bool, bool)>().prop_map(|(account, class, own, intercepted)| Place { account, class, own, intercepted })
}

fn lines() -> impl Strategy<Value = Line> {
    proptest::sample::select(&[Line::Up, Line::Slow, Line::Down][..])
}

fn target() -> Target {
    Target::parse("http://a.kz/").expect("a target")
}

/// Both policies, each with the answer as it would have been kept.
fn kept_by(rules: &Rules, status: StatusCode, told: &HeaderMap) -> Kept {
    Kept::new(rules, status, header::fields_to_store(told), NOW, NOW)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_school_keeps_nothing_personal(asked in fields(&ASKED), told in fields(&TOLD), status in statuses(), place in places()) {
        let target = target();
        let ask = Ask { method: &Method::GET, target: &target, headers: &asked, place };
        if let Admit::Store { vary } = admit(&school(), &ask, status, &told, NOW) {
            prop_assert!(!asked.contains_key("authorization") && !told.contains_key("set-cookie"));
            prop_assert!(!place.account || (place.class && place.own && !asked.contains_key("cookie")));
            prop_assert!(vary.iter().all(|(name, _)| !matches!(&**name, "cookie" | "authorization" | "*")));
            let control: Vec<_> = told.get_all("cache-control").iter().filter_map(|line| line.to_str().ok()).collect();
            prop_assert!(control.iter().all(|line| !line.starts_with("private")));
            if asked.contains_key("cookie") {
                prop_assert!(control.iter().any(|line| ["public", "immutable", "s-maxage=30"].contains(line)));
            }
        }
    }

    #[test]
    fn what_is_stored_is_found_again(asked in fields(&ASKED), told in fields(&TOLD), status in statuses()) {
        let target = target();
        let ask = Ask { method: &Method::GET, target: &target, headers: &asked, place: Place::default() };
        if let Admit::Store { mut vary } = admit(&rules(), &ask, status, &told, NOW) {
            prop_assert_eq!(select(&ask, [&vary[..]].into_iter()), Some(0));
            let key = key::entry_key(&target.key(), &vary);
            prop_assert_eq!(key::entry_key(&target.key(), &vary.clone()), key);
            key::forget_coding(&mut vary);
            prop_assert_eq!(select(&ask, [&vary[..]].into_iter()), Some(0));
        }
    }

    #[test]
    fn stale_needs_leave(asked in fields(&ASKED), told in fields(&TOLD), status in statuses(), line in lines(), after in 0_u64..200) {
        let target = target();
        let ask = Ask { method: &Method::GET, target: &target, headers: &asked, place: Place::default() };
        let kept = kept_by(&rules(), status, &told);
        let later = NOW.plus(Duration::from_secs(after));
        let forbidden = kept.forbids_stale;
        if let Decision::Serve { age, ttl, why, refresh_behind } = decide(&rules(), &ask, Some(&kept), line, later) {
            prop_assert_eq!(age, kept.age(later));
            prop_assert!(!kept.no_cache);
            prop_assert_eq!(ttl > 0, why == Why::Fresh);
            prop_assert!(ttl > 0 || !forbidden);
            prop_assert!(why != Why::Disconnected || line == Line::Down);
            prop_assert!(!refresh_behind || why == Why::StaleWhileRevalidate);
            prop_assert_ne!(why, Why::Offline);
        }
        for failure in [Failure::Unreachable, Failure::ServerError(StatusCode::BAD_GATEWAY)] {
            if let Some((_, ttl, why)) = on_failure(&rules(), &ask, &kept, failure, line, later) {
                prop_assert!(!kept.no_cache && (ttl > 0 || !forbidden) && why != Why::Offline);
            }
        }
    }

    #[test]
    fn a_school_is_stricter_but_for_a_dead_line(asked in fields(&ASKED), told in fields(&TOLD), place in places(), line in lines(),
        after in 0_u64..200) {
        let target = target();
        let ask = Ask { method: &Method::GET, target: &target, headers: &asked, place };
        let later = NOW.plus(Duration::from_secs(after));
        let decide = |rules: &Rules| decide(rules, &ask, Some(&kept_by(rules, StatusCode::OK, &told)), line, later);
        if let Decision::Serve { why, .. } = decide(&school()) {
            prop_assert!(!asked.contains_key("authorization") && (!place.account || place.class));
            prop_assert_eq!(why == Why::Offline, why == Why::Offline && line == Line::Down);
            if why != Why::Offline {
                let by_the_book = matches!(decide(&rules()), Decision::Serve { why: plain, .. } if plain == why);
                prop_assert!(by_the_book);
            }
        }
    }

    #[test]
    fn a_304_keeps_the_body_and_its_names(stored in fields(&TOLD), newer in fields(&TOLD)) {
        let merged = freshen(&stored, &newer);
        prop_assert_eq!(merged.get("etag"), stored.get("etag"));
        prop_assert_eq!(merged.get("content-range"), stored.get("content-range"));
        prop_assert!(stored.keys().all(|name| merged.contains_key(name) || name == "age"));
        prop_assert_eq!(freshen(&merged, &newer), merged);
    }

    #[test]
    fn conditions_and_ranges_answer_something(asked in fields(&ASKED), told in fields(&TOLD), status in statuses(), length in 0_u64..20) {
        let target = target();
        let ask = Ask { method: &Method::GET, target: &target, headers: &asked, place: Place::default() };
        let met = condition(&ask, &kept_by(&rules(), status, &told));
        prop_assert!(status.is_success() || met == Condition::Go);
        if !asked.contains_key("range") {
            prop_assert_eq!(part(&ask, &told, length), Part::Whole);
        }
    }

    #[test]
    fn bytes_that_mean_nothing_harm_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        fuzz(&bytes);
    }

    #[test]
    fn half_known_fields_harm_nothing(lines in proptest::collection::vec(
        ("(cache-control|age|date|expires|vary|etag|range|if-range|if-none-match|via|connection|accept-language|content-range)", "[ -~]{0,30}"), 0..8)) {
        let text: Vec<String> = lines.into_iter().map(|(name, value)| format!("{name}:{value}")).collect();
        fuzz(text.join("\n").as_bytes());
    }
}
