//! What to do with a request: the one place where lookups turn into actions (RFC 9111 section 4).
//!
//! The hit path: a plain request that finds a fresh entry is answered after one walk over its field names, without allocating.
//! Whether the bytes asked for are here is the cache's to know; this file sees whole or not whole.

use crate::base::clock::Time;
use crate::policy::directive::Directives;
use crate::policy::{Ask, Condition, Decision, Kept, Line, Rules, Why, condition, freshen, secret, stale, stranger};
use http::{HeaderMap, Method, header};

/// Which of the fields that matter a request carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Glance {
    wishes: bool,
    range: bool,
    login: bool,
    cookie: bool,
    /// A condition that is the origin's to judge.
    strict: bool,
    /// A field that asks for another method.
    overrides: bool,
}

impl Glance {
    fn of(headers: &HeaderMap) -> Glance {
        let mut seen = Glance::default();
        for name in headers.keys() {
            match *name {
                header::CACHE_CONTROL | header::PRAGMA => seen.wishes = true,
                header::RANGE => seen.range = true,
                header::COOKIE => seen.cookie = true,
                header::IF_MATCH | header::IF_UNMODIFIED_SINCE => seen.strict = true,
                _ => {
                    seen.login = seen.login || secret::is_login(name);
                    seen.overrides = seen.overrides || secret::is_override(name);
                }
            }
        }
        seen
    }
}

/// See [`crate::policy::decide()`].
pub(super) fn decide(rules: &Rules, ask: &Ask<'_>, kept: Option<&Kept>, line: Line, now: Time) -> Decision {
    let seen = Glance::of(ask.headers);
    if let Some(why) = outside(rules, ask, seen) {
        let only = seen.wishes && why != Why::Method && wishes(ask.headers).only_if_cached;
        return if only { Decision::Refuse { why: Why::OnlyIfCached } } else { Decision::Pass { why } };
    }
    let wishes = if seen.wishes { wishes(ask.headers) } else { Directives::default() };
    match kept {
        Some(kept) if kept.whole || seen.range || *ask.method == Method::HEAD => with_entry(rules, ask, kept, line, now, seen, &wishes),
        Some(_) => without_entry(&wishes, Why::Partial),
        None => without_entry(&wishes, Why::UriMiss),
    }
}

/// What the cache has no part in.
fn outside(rules: &Rules, ask: &Ask<'_>, seen: Glance) -> Option<Why> {
    if (*ask.method != Method::GET && *ask.method != Method::HEAD) || seen.overrides {
        return Some(Why::Method);
    }
    if !stranger::holds(rules, ask.place) {
        return None;
    }
    if seen.login {
        return Some(Why::Authorization);
    }
    (ask.place.account && !ask.place.class).then_some(Why::Account)
}

/// The directives of a request; `Pragma: no-cache` counts where there is no Cache-Control (RFC 9111 section 5.4 leaves it free).
fn wishes(headers: &HeaderMap) -> Directives {
    let mut found = Directives::read(headers);
    if !headers.contains_key(header::CACHE_CONTROL) {
        let old = headers.get(header::PRAGMA).map(|value| value.as_bytes().trim_ascii());
        found.no_cache = old.is_some_and(|value| value.eq_ignore_ascii_case(b"no-cache"));
    }
    found
}

fn without_entry(wishes: &Directives, why: Why) -> Decision {
    if wishes.only_if_cached {
        return Decision::Refuse { why: Why::OnlyIfCached };
    }
    if wishes.no_store { Decision::Pass { why: Why::NoStore } } else { Decision::Fetch { why } }
}

fn with_entry(rules: &Rules, ask: &Ask<'_>, kept: &Kept, line: Line, now: Time, seen: Glance, wishes: &Directives) -> Decision {
    let (age, ttl) = kept.age_and_ttl(now);
    let serve = |why, refresh_behind| Decision::Serve { age, ttl, why, refresh_behind };
    let barred = stranger::holds(rules, ask.place) && seen.cookie && stranger::bars_cookie(ask, kept);
    let fresh = ttl > 0;
    let content = meets(wishes, age, ttl) || (kept.immutable && fresh && !wishes.no_store);
    if fresh && content && !barred {
        // If-Match and If-Unmodified-Since are not a cache's to judge (RFC 9111 section 4.3.2): ours may be another version than the one
        // that the origin has by now. Only a no is worth asking for.
        if seen.strict && line != Line::Down && !wishes.only_if_cached && condition::condition(ask, kept) == Condition::Failed {
            return Decision::Pass { why: Why::Request };
        }
        return serve(Why::Fresh, false);
    }
    if stale::offline(rules, ask, kept, line) {
        return serve(Why::Offline, false);
    }
    if wishes.only_if_cached && (barred || wishes.no_store) {
        return Decision::Refuse { why: Why::OnlyIfCached };
    }
    if barred {
        return Decision::Pass { why: Why::Cookie };
    }
    if wishes.no_store {
        return Decision::Pass { why: Why::NoStore };
    }
    let may_be_stale = !fresh && !kept.forbids_stale && !wishes.no_cache;
    if may_be_stale && let Some(why) = allowed_stale(kept, line, age, ttl, wishes) {
        return serve(why, why == Why::StaleWhileRevalidate && !wishes.only_if_cached);
    }
    if wishes.only_if_cached {
        return Decision::Refuse { why: Why::OnlyIfCached };
    }
    let why = if fresh { Why::Request } else { Why::Stale };
    let conditions = freshen::conditions(kept);
    if conditions.is_empty() { Decision::Fetch { why } } else { Decision::Revalidate { conditions, why } }
}

/// Whether a fresh answer is what the request wants (RFC 9111 section 5.2.1).
fn meets(wishes: &Directives, age: u64, ttl: i64) -> bool {
    !wishes.no_cache
        && !wishes.no_store
        && wishes.max_age.secs().is_none_or(|most| age <= most)
        && wishes.min_fresh.secs().is_none_or(|least| ttl >= i64::try_from(least).unwrap_or(i64::MAX))
}

/// Why a stale answer may go out at once: the request allows it, the origin does, or nothing else can be had.
fn allowed_stale(kept: &Kept, line: Line, age: u64, ttl: i64, wishes: &Directives) -> Option<Why> {
    let late = ttl.unsigned_abs();
    if wishes.max_stale.secs().is_some_and(|most| late <= most) {
        return Some(Why::MaxStale);
    }
    let young_enough = wishes.max_age.secs().is_none_or(|most| age <= most) && wishes.min_fresh.secs().is_none();
    if young_enough && kept.stale_while_revalidate.is_some_and(|window| late < window) {
        return Some(Why::StaleWhileRevalidate);
    }
    (line == Line::Down).then_some(Why::Disconnected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::target::Target;
    use crate::policy::tests::{NOW, headers, kept, rules, school};
    use crate::policy::{Offline, Place};
    use http::HeaderName;
    use std::time::Duration;

    fn told(rules: &Rules, place: Place, asked: &[(&str, &str)], kept: Option<&Kept>, line: Line, after: u64) -> (&'static str, Why) {
        let target = Target::parse("http://a.kz/").expect("a target");
        let ask = Ask { method: &Method::GET, target: &target, headers: &headers(asked), place };
        match decide(rules, &ask, kept, line, NOW.plus(Duration::from_secs(after))) {
            Decision::Serve { why, refresh_behind: true, .. } => ("serve+refresh", why),
            Decision::Serve { why, .. } => ("serve", why),
            Decision::Revalidate { why, .. } => ("revalidate", why),
            Decision::Fetch { why } => ("fetch", why),
            Decision::Pass { why } => ("pass", why),
            Decision::Refuse { why } => ("refuse", why),
        }
    }

    type Fields = crate::policy::tests::Fields<'static>;
    const HOUR: Fields = &[("cache-control", "max-age=3600")];

    #[test]
    fn by_the_book() {
        type Row = (Fields, Fields, u64, (&'static str, Why));
        let etag: Fields = &[("cache-control", "max-age=60"), ("etag", "\"a\"")];
        let table: &[Row] = &[
            (&[], HOUR, 0, ("serve", Why::Fresh)),
            (&[], HOUR, 3599, ("serve", Why::Fresh)),
            (&[], HOUR, 3600, ("fetch", Why::Stale)),
            (&[], etag, 60, ("revalidate", Why::Stale)),
            (&[], &[("expires", "0"), ("last-modified", "Tue, 24 Nov 2026 12:00:00 GMT")], 0, ("revalidate", Why::Stale)),
            (&[], &[("cache-control", "no-cache, max-age=60"), ("etag", "\"a\"")], 0, ("revalidate", Why::Stale)),
            (&[], &[("cache-control", "no-cache=\"x\", max-age=60")], 0, ("serve", Why::Fresh)),
            (&[], &[("cache-control", "max-age=60"), ("age", "60")], 0, ("fetch", Why::Stale)),
            (&[("cookie", "a=b"), ("authorization", "x")], HOUR, 0, ("serve", Why::Fresh)),
            (&[("cache-control", "no-cache")], HOUR, 0, ("fetch", Why::Request)),
            (&[("cache-control", "no-cache")], &[("cache-control", "max-age=60"), ("etag", "\"a\"")], 0, ("revalidate", Why::Request)),
            (&[("pragma", "no-cache")], HOUR, 0, ("fetch", Why::Request)),
            (&[("pragma", "no-cache"), ("cache-control", "max-age=9")], HOUR, 0, ("serve", Why::Fresh)),
            (&[("pragma", "else")], HOUR, 0, ("serve", Why::Fresh)),
            (&[("cache-control", "no-store")], HOUR, 0, ("pass", Why::NoStore)),
            (&[("cache-control", "max-age=0")], HOUR, 3, ("fetch", Why::Request)),
            (&[("cache-control", "max-age=600")], HOUR, 600, ("serve", Why::Fresh)),
            (&[("cache-control", "max-age=600")], HOUR, 601, ("fetch", Why::Request)),
            (&[("cache-control", "min-fresh=4000")], HOUR, 0, ("fetch", Why::Request)),
            (&[("cache-control", "min-fresh=60")], HOUR, 3540, ("serve", Why::Fresh)),
            (&[("cache-control", "max-stale=1000")], HOUR, 4600, ("serve", Why::MaxStale)),
            (&[("cache-control", "max-stale=1000")], HOUR, 4601, ("fetch", Why::Stale)),
            (&[("cache-control", "max-stale")], HOUR, 1_000_000, ("serve", Why::MaxStale)),
            (&[("cache-control", "max-stale")], &[("cache-control", "max-age=60, must-revalidate")], 61, ("fetch", Why::Stale)),
            (&[("cache-control", "only-if-cached")], HOUR, 0, ("serve", Why::Fresh)),
            (&[("if-match", "\"b\"")], etag, 0, ("pass", Why::Request)),
            (&[("if-match", "\"a\"")], etag, 0, ("serve", Why::Fresh)),
            (&[("if-match", "\"b\""), ("cache-control", "only-if-cached")], etag, 0, ("serve", Why::Fresh)),
            (&[("cache-control", "only-if-cached")], HOUR, 3600, ("refuse", Why::OnlyIfCached)),
            (&[("cache-control", "no-cache")], &[("cache-control", "max-age=60, immutable")], 59, ("serve", Why::Fresh)),
            (&[("cache-control", "max-age=0")], &[("cache-control", "max-age=60, immutable")], 59, ("serve", Why::Fresh)),
            (&[("cache-control", "max-age=0")], &[("cache-control", "max-age=60, immutable")], 60, ("fetch", Why::Stale)),
            (&[], &[("cache-control", "max-age=1, stale-while-revalidate=4")], 4, ("serve+refresh", Why::StaleWhileRevalidate)),
            (&[], &[("cache-control", "max-age=1, stale-while-revalidate=4")], 5, ("fetch", Why::Stale)),
            (&[], &[("cache-control", "max-age=1, stale-while-revalidate=4, must-revalidate")], 2, ("fetch", Why::Stale)),
            (&[("cache-control", "no-cache")], &[("cache-control", "max-age=1, stale-while-revalidate=4")], 2, ("fetch", Why::Stale)),
            (
                &[("cache-control", "only-if-cached")],
                &[("cache-control", "max-age=1, stale-while-revalidate=4")],
                2,
                ("serve", Why::StaleWhileRevalidate),
            ),
        ];
        for (asked, fields, after, wanted) in table {
            let kept = kept(&rules(), 200, fields);
            assert_eq!(told(&rules(), Place::default(), asked, Some(&kept), Line::Up, *after), *wanted, "{asked:?} {fields:?} {after}");
        }
    }

    #[test]
    fn nothing_or_a_part_is_stored() {
        let up = |asked: &[(&str, &str)], kept: Option<&Kept>| told(&rules(), Place::default(), asked, kept, Line::Up, 0);
        assert_eq!(up(&[], None), ("fetch", Why::UriMiss));
        assert_eq!(up(&[("cache-control", "only-if-cached")], None), ("refuse", Why::OnlyIfCached));
        assert_eq!(up(&[("cache-control", "no-store")], None), ("pass", Why::NoStore));
        let mut part = kept(&rules(), 200, HOUR);
        part.whole = false;
        assert_eq!(up(&[], Some(&part)), ("fetch", Why::Partial));
        assert_eq!(up(&[("range", "bytes=0-1")], Some(&part)), ("serve", Why::Fresh));
        assert_eq!(up(&[("cache-control", "only-if-cached")], Some(&part)), ("refuse", Why::OnlyIfCached));
    }

    #[test]
    fn other_methods_pass() {
        let target = Target::parse("http://a.kz/").expect("a target");
        for method in [Method::POST, Method::PUT, Method::OPTIONS, Method::TRACE] {
            let ask = Ask { method: &method, target: &target, headers: &HeaderMap::new(), place: Place::default() };
            let found = decide(&rules(), &ask, Some(&kept(&rules(), 200, HOUR)), Line::Up, NOW);
            assert!(matches!(found, Decision::Pass { why: Why::Method }), "{method}");
        }
    }

    #[test]
    fn the_line_is_down_and_the_rfc_holds() {
        let down =
            |asked: Fields, fields: Fields| told(&rules(), Place::default(), asked, Some(&kept(&rules(), 200, fields)), Line::Down, 100);
        assert_eq!(down(&[], &[("cache-control", "max-age=60")]), ("serve", Why::Disconnected));
        for forbids in ["must-revalidate", "proxy-revalidate", "s-maxage=60", "no-cache"] {
            let control: &'static str = Box::leak(format!("max-age=60, {forbids}").into_boxed_str());
            let fields: Fields = Box::leak(Box::new([("cache-control", control)]));
            assert_eq!(down(&[], fields), ("fetch", Why::Stale), "{forbids}");
        }
        assert_eq!(down(&[("cache-control", "no-cache")], &[("cache-control", "max-age=60")]), ("fetch", Why::Stale));
    }

    #[test]
    fn the_line_is_down_and_the_school_goes_on() {
        let page: Fields = &[("cache-control", "no-cache, must-revalidate, max-age=0"), ("etag", "\"a\"")];
        let down = |rules: &Rules, place: Place, asked: Fields, kept: &Kept| told(rules, place, asked, Some(kept), Line::Down, 100_000);
        let mut rules = school();
        let mut page = kept(&rules, 200, page);
        for asked in [&[][..], &[("cookie", "a=b")], &[("cache-control", "no-cache")], &[("cache-control", "no-store")]] {
            assert_eq!(down(&rules, Place::default(), asked, &page), ("serve", Why::Offline), "{asked:?}");
        }
        let account = Place { account: true, ..Place::default() };
        assert_eq!(down(&rules, account, &[], &page), ("pass", Why::Account));
        // What a class names there is served as far as the RFC goes; the override never holds on such a host.
        assert_eq!(down(&rules, Place { class: true, ..account }, &[], &page), ("revalidate", Why::Stale));
        assert_eq!(down(&rules, Place { class: true, ..Place::default() }, &[], &page), ("serve", Why::Offline));
        for login in ["authorization", "access-token"] {
            assert_eq!(down(&rules, Place::default(), Box::leak(Box::new([(login, "x")])), &page), ("pass", Why::Authorization));
        }
        rules.offline = Offline::Packs;
        assert_eq!(down(&rules, Place::default(), &[], &page), ("revalidate", Why::Stale));
        page.pinned = true;
        assert_eq!(down(&rules, Place::default(), &[], &page), ("serve", Why::Offline));
        rules.offline = Offline::Off;
        assert_eq!(down(&rules, Place::default(), &[], &page), ("revalidate", Why::Stale));
        let fresh = kept(&rules, 200, &[("cache-control", "max-age=1000000")]);
        assert_eq!(down(&rules, Place::default(), &[], &fresh), ("serve", Why::Fresh));
    }

    #[test]
    fn cookies_get_only_what_is_meant_for_all() {
        let ask =
            |place: Place, fields: Fields| told(&school(), place, &[("cookie", "a=b")], Some(&kept(&school(), 200, fields)), Line::Up, 0);
        let class = Place { class: true, ..Place::default() };
        assert_eq!(ask(Place::default(), HOUR), ("pass", Why::Cookie));
        assert_eq!(ask(class, HOUR), ("serve", Why::Fresh));
        assert_eq!(ask(Place::default(), &[("cache-control", "public, max-age=60")]), ("serve", Why::Fresh));
        assert_eq!(ask(Place::default(), &[("cache-control", "s-maxage=60")]), ("serve", Why::Fresh));
        assert_eq!(ask(Place::default(), &[("cache-control", "max-age=60, immutable")]), ("serve", Why::Fresh));
        assert_eq!(
            ask(Place::default(), &[("cache-control", "public"), ("last-modified", "Tue, 24 Nov 2020 12:00:00 GMT")]),
            ("pass", Why::Cookie)
        );
    }

    #[test]
    fn targeted_fields_give_the_lifetime() {
        let mut rules = rules();
        rules.targeted = vec![HeaderName::from_static("cdn-cache-control")];
        let table: &[(Fields, (&'static str, Why))] = &[
            (&[("cdn-cache-control", "max-age=3600"), ("cache-control", "max-age=1")], ("serve", Why::Fresh)),
            (&[("cdn-cache-control", "max-age=1"), ("cache-control", "max-age=3600")], ("fetch", Why::Stale)),
            (&[("cdn-cache-control", "no-cache"), ("cache-control", "max-age=3600")], ("fetch", Why::Stale)),
            (&[("cdn-cache-control", "max-age=3600"), ("expires", "0")], ("serve", Why::Fresh)),
            (&[("cdn-cache-control", "max-age=3600"), ("age", "7200")], ("fetch", Why::Stale)),
            (&[("cdn-cache-control", "max-age=3600, &&"), ("cache-control", "max-age=1")], ("fetch", Why::Stale)),
        ];
        for (fields, wanted) in table {
            assert_eq!(told(&rules, Place::default(), &[], Some(&kept(&rules, 200, fields)), Line::Up, 2), *wanted, "{fields:?}");
        }
    }

    #[test]
    fn age_and_ttl_add_up() {
        let target = Target::parse("http://a.kz/").expect("a target");
        let ask = Ask { method: &Method::HEAD, target: &target, headers: &HeaderMap::new(), place: Place::default() };
        let kept = kept(&rules(), 200, &[("cache-control", "max-age=600"), ("age", "30")]);
        let found = decide(&rules(), &ask, Some(&kept), Line::Up, NOW.plus(Duration::from_millis(2900)));
        assert!(matches!(found, Decision::Serve { age: 32, ttl: 568, .. }), "{found:?}");
    }
}
