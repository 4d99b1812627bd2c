//! What must hold of every message, however odd: random requests and answers put together from the fields that matter, and from
//! bytes that mean nothing. Each law is one sentence of RFC 9111 or of the privacy rules.

use crate::base::target::Target;
use crate::policy::tests::{NOW, rules, school};
use crate::policy::{Admit, Ask, Condition, Decision, Failure, Kept, Kind, Line, Part, Place, Rules, Why};
use crate::policy::{admit, condition, decide, freshen, fuzz, header, key, may_share, on_failure, part, select};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use proptest::prelude::*;
use std::time::Duration;

const ASKED: [(&str, &str); 22] = [
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
    ("access-token", "t"),
    ("x-session-id", "t"),
    ("x-http-method-override", "DELETE"),
    ("referer", "http://a.kz/marks"),
];

const TOLD: [(&str, &str); 41] = [
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
    ("cdn-cache-control", "max-age=60"),
    ("set-cookie2", "a=b"),
    ("clear-site-data", "\"*\""),
    ("x-csrf-token", "t"),
    ("content-encoding", "gzip"),
    ("content-encoding", "aes128gcm"),
    ("content-type", "text/html"),
    ("content-type", "text/css"),
    ("vary", "accept, X-Auth-Token"),
    ("location", "/home"),
    ("location", "/home?ticket=1"),
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

fn methods() -> impl Strategy<Value = Method> {
    proptest::sample::select(&[Method::GET, Method::GET, Method::GET, Method::HEAD, Method::POST, Method::PUT][..])
}

/// Addresses of every kind, each with whether it holds a key, and whether it leads to somebody's file.
const ADDRESSES: [(&str, bool, bool); 9] = [
    ("http://a.kz/", false, false),
    ("http://a.kz/v1/app.js", false, false),
    ("http://a.kz/lesson/5f3c2a9be1d04c7788aa0b1c2d3e4f50/index.json", false, false),
    ("http://a.kz/avatars/5f3c2a9be1d04c7788aa0b1c2d3e4f50.png", false, true),
    ("http://a.kz/files/homework/5f3c2a9be1d04c7788aa0b1c2d3e4f50", false, true),
    ("http://a.kz/v1/app.js?token=1", true, false),
    ("http://a.kz/x?X-Amz-Signature=1", true, false),
    ("http://a.kz/x;jsessionid=1", true, false),
    ("http://a.kz/x?a=1;sid=2", true, false),
];

fn addresses() -> impl Strategy<Value = (&'static str, bool, bool)> {
    proptest::sample::select(&ADDRESSES[..])
}

fn rule_sets() -> impl Strategy<Value = Rules> {
    any::<(bool, bool)>().prop_map(|(school_rules, targeted)| {
        let base = if school_rules { school() } else { rules() };
        let targeted = if targeted { vec![HeaderName::from_static("cdn-cache-control")] } else { Vec::new() };
        Rules { targeted, ..base }
    })
}

/// The whole rule once more, read off the specification line by line (product: privacy 1 and 2, settled 5; protocols: "store only if
/// all hold"); it shares no code with the rule. Gives the first condition that is broken.
fn broken(ask: &Ask<'_>, (key, belongs): (bool, bool), status: StatusCode, told: &HeaderMap) -> Option<&'static str> {
    let has = |name: &str| ask.headers.contains_key(name);
    let control: Vec<String> = told.get_all("cache-control").iter().filter_map(|line| line.to_str().ok().map(str::to_owned)).collect();
    let says = |word: &str| control.iter().any(|line| line.split([',', '=']).any(|part| part.trim() == word));
    let varies = |name: &str| {
        let lines = told.get_all("vary");
        lines.iter().filter_map(|line| line.to_str().ok()).any(|line| line.split(',').any(|part| part.trim().eq_ignore_ascii_case(name)))
    };
    let lasts = told.contains_key("expires") || says("max-age") || says("s-maxage") || told.contains_key("cdn-cache-control");
    let for_all = lasts && (says("public") || says("s-maxage") || says("immutable"));
    let location = told.get("location").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let place = ask.place;
    let rows = [
        ("method", *ask.method != Method::GET && (place.intercepted || *ask.method != Method::POST)),
        ("another method", has("x-http-method-override")),
        ("login", has("authorization") || has("access-token") || has("x-session-id")),
        ("private", says("private")),
        ("no-store", says("no-store") || ask.headers.get_all("cache-control").iter().any(|line| line == "no-store")),
        ("sets a cookie", told.contains_key("set-cookie") || told.contains_key("set-cookie2")),
        ("speaks to one", told.contains_key("clear-site-data") || told.contains_key("x-csrf-token")),
        ("vary", varies("*") || varies("cookie") || varies("authorization") || varies("x-auth-token")),
        ("coding", told.get_all("content-encoding").iter().any(|line| line == "aes128gcm")),
        ("cookie", has("cookie") && (!for_all || *ask.method != Method::GET)),
        ("account", place.account && (!place.class || !place.own || has("cookie"))),
        ("key in the address", key && !place.own),
        ("somebody's file", belongs && !place.own && !place.class && !for_all),
        ("key in the way on", location.contains("ticket=")),
        ("status", place.intercepted && ![200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501].contains(&status.as_u16())),
    ];
    rows.iter().find(|(_, broken)| *broken).map(|(name, _)| *name)
}

/// What makes an answer somebody's: added to either side, it can only take leave away.
const PERSONAL: [(bool, &str, &str); 13] = [
    (true, "cookie", "session=1"),
    (true, "authorization", "Bearer 1"),
    (true, "access-token", "1"),
    (true, "x-auth-token", "1"),
    (true, "cache-control", "no-store"),
    (false, "set-cookie", "session=1"),
    (false, "cache-control", "private"),
    (false, "cache-control", "no-store"),
    (false, "vary", "Cookie"),
    (false, "vary", "Authorization"),
    (false, "clear-site-data", "\"cookies\""),
    (false, "x-access-token", "1"),
    (false, "content-encoding", "unknown"),
];

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
    fn what_is_stored_for_all_meets_every_condition(asked in fields(&ASKED), told in fields(&TOLD), status in statuses(), place in places(),
        method in methods(), address in addresses(), rules in rule_sets()) {
        let target = Target::parse(address.0).expect("a target");
        let ask = Ask { method: &method, target: &target, headers: &asked, place };
        if let Admit::Store { .. } = admit(&rules, &ask, status, &told, NOW)
            && (rules.kind == Kind::School || place.intercepted)
        {
            prop_assert_eq!(broken(&ask, (address.1, address.2), status, &told), None);
        }
    }

    #[test]
    fn nothing_personal_ever_makes_an_answer_storable(asked in fields(&ASKED), told in fields(&TOLD), status in statuses(),
        place in places(), method in methods(), address in addresses(), more in proptest::sample::select(&PERSONAL[..])) {
        let target = Target::parse(address.0).expect("a target");
        let stores = |asked: &HeaderMap, told: &HeaderMap, place: Place| {
            let ask = Ask { method: &method, target: &target, headers: asked, place };
            matches!(admit(&school(), &ask, status, told, NOW), Admit::Store { .. })
        };
        let (mut asked_more, mut told_more) = (asked.clone(), told.clone());
        let side = if more.0 { &mut asked_more } else { &mut told_more };
        side.append(HeaderName::from_static(more.1), HeaderValue::from_static(more.2));
        prop_assert!(stores(&asked, &told, place) || !stores(&asked_more, &told_more, place), "{more:?}");
        // Neither do accounts, nor does being opened.
        for stricter in [Place { account: true, ..place }, Place { intercepted: true, ..place }] {
            prop_assert!(stores(&asked, &told, place) || !stores(&asked, &told, stricter), "{stricter:?}");
        }
    }

    #[test]
    fn whoever_shares_could_read(asked in fields(&ASKED), told in fields(&TOLD), place in places(), line in lines(), after in 0_u64..200) {
        let target = target();
        let ask = Ask { method: &Method::GET, target: &target, headers: &asked, place };
        let kept = kept_by(&school(), StatusCode::OK, &told);
        let login = ["authorization", "access-token", "x-session-id"].iter().any(|name| asked.contains_key(*name));
        if may_share(&school(), &ask, &kept, &[]) {
            prop_assert!(!login && (!place.account || place.class));
            prop_assert!(!asked.contains_key("cookie") || kept.meant_for_all || place.class);
        }
        let later = NOW.plus(Duration::from_secs(after));
        let stale = on_failure(&school(), &ask, &kept, Failure::Unreachable, line, later).map(|(.., why)| why);
        let served = match decide(&school(), &ask, Some(&kept), line, later) {
            Decision::Serve { why, .. } => Some(why),
            _ => None,
        };
        for why in [stale, served].into_iter().flatten() {
            prop_assert!(!login && (!place.account || place.class));
            // The override is for what no account is behind, and for a line that is down.
            prop_assert!(why != Why::Offline || (line == Line::Down && !place.account));
            prop_assert!(why == Why::Offline || !asked.contains_key("cookie") || kept.meant_for_all || place.class);
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
