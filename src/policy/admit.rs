//! May an answer be stored at all? RFC 9111 section 3, and then, under policy `school` and for opened https, `stranger`.
//!
//! The body is not looked at: whether it is complete, and whether its coding can be undone, is the cache's to say.

use crate::base::clock::Time;
use crate::policy::age::{self, Freshness};
use crate::policy::directive::{Delta, Directives};
use crate::policy::{Admit, Ask, Kind, Rules, Why, key, secret, stranger};
use http::{HeaderMap, Method, StatusCode, header};

/// What the storing rules look at, read once.
pub(super) struct Answer<'a> {
    pub(super) status: StatusCode,
    pub(super) headers: &'a HeaderMap,
    pub(super) directives: Directives,
    pub(super) freshness: Freshness,
    /// A targeted field gave the directives.
    pub(super) targeted: bool,
}

/// See [`crate::policy::admit()`].
pub(super) fn admit(rules: &Rules, ask: &Ask<'_>, status: StatusCode, headers: &HeaderMap, now: Time) -> Admit {
    let (directives, targeted) = response_directives(rules, headers);
    let freshness = Freshness::of(rules, status, headers, &directives, targeted, now, now);
    let answer = Answer { status, headers, directives, freshness, targeted };
    let guarded = stranger::holds(rules, ask.place);
    if let Some(why) = forbidden(ask, &answer).or_else(|| useless(rules, &answer)) {
        return Admit::No(why);
    }
    if guarded && let Some(why) = stranger::forbidden(ask, &answer) {
        return Admit::No(why);
    }
    match key::selecting(ask.headers, headers) {
        None => Admit::No(Why::VaryStar),
        Some(vary) if guarded && stranger::varies_by_person(&vary) => Admit::No(Why::VaryPersonal),
        Some(vary) => Admit::Store { vary },
    }
}

/// The directives that hold for us, and whether a targeted field gave them.
pub(super) fn response_directives(rules: &Rules, headers: &HeaderMap) -> (Directives, bool) {
    if rules.targeted.is_empty() {
        return (Directives::read(headers), false);
    }
    match Directives::read_targeted(headers, &rules.targeted) {
        Some(found) => (found, true),
        None => (Directives::read(headers), false),
    }
}

/// RFC 9111 section 3, in its order.
fn forbidden(ask: &Ask<'_>, answer: &Answer<'_>) -> Option<Why> {
    let told = &answer.directives;
    if !method_may(ask, answer) || ask.headers.keys().any(secret::is_override) {
        return Some(Why::Method);
    }
    if is_endless(answer.headers) || !status_may(answer) || (told.must_understand && !understood(answer.status)) {
        return Some(Why::Unstorable);
    }
    // `must-understand` on an understood status lifts `no-store` (section 5.2.2.3).
    if (told.no_store && !told.must_understand) || Directives::read(ask.headers).no_store {
        return Some(Why::NoStore);
    }
    if told.private {
        return Some(Why::Private);
    }
    // Section 3.5.
    let shareable = told.public || told.must_revalidate || told.s_maxage != Delta::Absent;
    if ask.headers.contains_key(header::AUTHORIZATION) && !shareable {
        return Some(Why::Authorization);
    }
    let allowed = answer.freshness.explicit || told.public || age::may_guess(answer.status);
    (!allowed).then_some(Why::Unstorable)
}

/// GET; and POST when its answer says for how long and that it is what a GET would give (RFC 9110 section 9.3.3).
fn method_may(ask: &Ask<'_>, answer: &Answer<'_>) -> bool {
    if *ask.method == Method::POST {
        let place = answer.headers.get(header::CONTENT_LOCATION).and_then(|value| value.to_str().ok());
        return answer.status == StatusCode::OK
            && answer.freshness.explicit
            && place.and_then(|place| ask.target.join(place)).is_some_and(|place| place == *ask.target);
    }
    *ask.method == Method::GET
}

/// Final answers that speak for the URL. 304 and 412 speak of a condition, 416 of a range, 407 and 511 of the way here, 421 and
/// 425 of the connection; 428, 429 and 431 of one client's requests, and RFC 6585 forbids to keep them (sections 3 to 5). A 206 must say
/// which part it is.
fn status_may(answer: &Answer<'_>) -> bool {
    match answer.status.as_u16() {
        206 => answer.headers.get(header::CONTENT_RANGE).is_some_and(|value| super::range::content_range(value).is_some()),
        100..=199 | 304 | 407 | 412 | 416 | 421 | 425 | 428 | 429 | 431 | 511 => false,
        _ => true,
    }
}

/// Answers that are told as things happen and never end, each to whoever asked for it (HTML standard, "Server-sent events"; the pictures
/// of a camera): what has gone by is of no use to the next.
fn is_endless(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    ["text/event-stream", "multipart/x-mixed-replace"].iter().any(|endless| essence.eq_ignore_ascii_case(endless))
}

/// Statuses whose caching rules this program follows, for `must-understand`: those of RFC 9110 that may be stored, and 451.
fn understood(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 206 | 300..=303 | 307 | 308 | 400..=406 | 408..=411 | 413..=415 | 417 | 422 | 426
        | 451 | 500..=505)
}

/// Answers that may be stored but could never be used: neither fresh for a moment nor with a validator. Policy `school` keeps
/// pages all the same, for the day when the line is down.
fn useless(rules: &Rules, answer: &Answer<'_>) -> Option<Why> {
    let usable = answer.freshness.explicit
        || answer.freshness.lifetime > 0
        || answer.headers.contains_key(header::ETAG)
        || answer.headers.contains_key(header::LAST_MODIFIED)
        || (rules.kind == Kind::School && matches!(answer.status.as_u16(), 200 | 203 | 301 | 308));
    (!usable).then_some(Why::Unstorable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::target::Target;
    use crate::policy::Place;
    use crate::policy::tests::{Fields, NOW, headers, rules, school};

    pub(in crate::policy) fn try_admit(
        rules: &Rules,
        method: &Method,
        place: Place,
        asked: &[(&str, &str)],
        status: u16,
        fields: &[(&str, &str)],
    ) -> Admit {
        let target = Target::parse("http://a.kz/x?y").expect("a target");
        let ask = Ask { method, target: &target, headers: &headers(asked), place };
        admit(rules, &ask, StatusCode::from_u16(status).expect("a status"), &headers(fields), NOW)
    }

    fn verdict(asked: &[(&str, &str)], status: u16, fields: &[(&str, &str)]) -> Option<Why> {
        match try_admit(&rules(), &Method::GET, Place::default(), asked, status, fields) {
            Admit::Store { .. } => None,
            Admit::No(why) => Some(why),
        }
    }

    const FRESH: (&str, &str) = ("cache-control", "max-age=60");
    const LOGIN: (&str, &str) = ("authorization", "Basic eDp5");

    #[test]
    fn what_a_shared_cache_may_store() {
        type Row = (Fields<'static>, u16, Fields<'static>, Option<Why>);
        let table: &[Row] = &[
            (&[], 200, &[FRESH], None),
            (&[], 200, &[("cache-control", "no-store")], Some(Why::NoStore)),
            (&[], 200, &[FRESH, ("content-type", "text/event-stream")], Some(Why::Unstorable)),
            (&[], 200, &[FRESH, ("content-type", "Text/Event-Stream ; charset=utf-8")], Some(Why::Unstorable)),
            (&[], 200, &[FRESH, ("content-type", "multipart/x-mixed-replace; boundary=b")], Some(Why::Unstorable)),
            (&[], 200, &[FRESH, ("content-type", "text/event-stream-like")], None),
            (&[], 200, &[("cache-control", "max-age=9, no-store"), ("expires", "Thu, 18 Aug 2050 02:01:18 GMT")], Some(Why::NoStore)),
            (&[], 200, &[("cache-control", "private, max-age=60")], Some(Why::Private)),
            (&[], 200, &[("cache-control", "private=\"x\", max-age=60")], None),
            (&[], 200, &[("cache-control", "no-cache"), ("etag", "\"a\"")], None),
            (&[("cache-control", "no-store")], 200, &[FRESH], Some(Why::NoStore)),
            (&[], 200, &[], Some(Why::Unstorable)),
            (&[], 200, &[("etag", "\"a\"")], None),
            (&[], 200, &[("last-modified", "Tue, 24 Nov 2026 12:00:00 GMT")], None),
            (&[], 302, &[("last-modified", "Tue, 24 Nov 2026 12:00:00 GMT")], Some(Why::Unstorable)),
            (&[], 302, &[FRESH], None),
            (&[], 302, &[("expires", "0")], None),
            (&[], 599, &[FRESH], None),
            (&[], 599, &[("cache-control", "public"), ("last-modified", "Tue, 24 Nov 2026 12:00:00 GMT")], None),
            (&[], 599, &[("cache-control", "max-age=60, must-understand")], Some(Why::Unstorable)),
            (&[], 200, &[("cache-control", "max-age=60, must-understand, no-store")], None),
            (&[], 599, &[("cache-control", "max-age=60, must-understand, no-store")], Some(Why::Unstorable)),
            (&[], 404, &[FRESH], None),
            (&[], 503, &[FRESH], None),
            (&[], 101, &[FRESH], Some(Why::Unstorable)),
            (&[], 304, &[FRESH], Some(Why::Unstorable)),
            (&[], 412, &[FRESH], Some(Why::Unstorable)),
            (&[], 416, &[FRESH], Some(Why::Unstorable)),
            (&[], 206, &[FRESH], Some(Why::Unstorable)),
            (&[], 206, &[FRESH, ("content-range", "bytes 4-9/10")], None),
            (&[], 206, &[FRESH, ("content-range", "bytes 4-9/*")], Some(Why::Unstorable)),
            (&[], 200, &[FRESH, ("vary", "*")], Some(Why::VaryStar)),
            (&[], 200, &[FRESH, ("vary", "foo, *")], Some(Why::VaryStar)),
            (&[], 200, &[FRESH, ("vary", ""), ("vary", "*")], Some(Why::VaryStar)),
            (&[], 200, &[FRESH, ("set-cookie", "a=b")], None),
            (&[("cookie", "a=b")], 200, &[FRESH], None),
            (&[LOGIN], 200, &[FRESH], Some(Why::Authorization)),
            (&[LOGIN], 200, &[("expires", "Thu, 18 Aug 2050 02:01:18 GMT")], Some(Why::Authorization)),
            (&[LOGIN], 200, &[("cache-control", "max-age=60, public")], None),
            (&[LOGIN], 200, &[("cache-control", "max-age=60, must-revalidate")], None),
            (&[LOGIN], 200, &[("cache-control", "s-maxage=60")], None),
        ];
        for (asked, status, fields, wanted) in table {
            assert_eq!(verdict(asked, *status, fields), *wanted, "{asked:?} {status} {fields:?}");
        }
    }

    #[test]
    fn posts_are_kept_for_gets_when_they_say_so() {
        let table: &[(u16, Fields<'_>, bool)] = &[
            (200, &[FRESH, ("content-location", "http://a.kz/x?y")], true),
            (200, &[FRESH, ("content-location", "/x?y")], true),
            (200, &[("expires", "Thu, 18 Aug 2050 02:01:18 GMT"), ("content-location", "")], true),
            (200, &[FRESH], false),
            (200, &[FRESH, ("content-location", "/z")], false),
            (200, &[("etag", "\"a\""), ("content-location", "/x?y")], false),
            (201, &[FRESH, ("content-location", "/x?y")], false),
        ];
        for (status, fields, stored) in table {
            let found = try_admit(&rules(), &Method::POST, Place::default(), &[], *status, fields);
            assert_eq!(matches!(found, Admit::Store { .. }), *stored, "{fields:?}");
        }
        for method in [Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS, Method::PATCH] {
            assert!(matches!(try_admit(&rules(), &method, Place::default(), &[], 200, &[FRESH]), Admit::No(Why::Method)), "{method}");
        }
    }

    /// Found by tests/hostile: one client's 428 was the next one's answer.
    #[test]
    fn refusals_of_one_client_are_kept_for_nobody() {
        for status in [412, 421, 425, 428, 429, 431, 511] {
            for control in ["max-age=600", "public, max-age=600", "must-understand, max-age=600"] {
                let found = try_admit(&rules(), &Method::GET, Place::default(), &[], status, &[("cache-control", control)]);
                assert!(matches!(found, Admit::No(Why::Unstorable)), "{status} {control}");
            }
        }
    }

    #[test]
    fn targeted_fields_decide_when_they_are_on() {
        let mut rules = rules();
        let fields = [("cdn-cache-control", "max-age=10000"), ("cache-control", "no-store")];
        let verdict = |rules: &Rules| try_admit(rules, &Method::GET, Place::default(), &[], 200, &fields);
        assert!(matches!(verdict(&rules), Admit::No(Why::NoStore)));
        rules.targeted = vec![http::HeaderName::from_static("cdn-cache-control")];
        assert!(matches!(verdict(&rules), Admit::Store { .. }));
    }

    #[test]
    fn a_school_keeps_pages_that_say_nothing() {
        assert!(matches!(try_admit(&school(), &Method::GET, Place::default(), &[], 200, &[]), Admit::Store { .. }));
        assert!(matches!(try_admit(&school(), &Method::GET, Place::default(), &[], 404, &[]), Admit::No(Why::Unstorable)));
    }

    #[test]
    fn the_selecting_fields_come_with_the_verdict() {
        let found = try_admit(&rules(), &Method::GET, Place::default(), &[("foo", " 1, 2 ")], 200, &[FRESH, ("vary", "Foo, Bar")]);
        let Admit::Store { vary } = found else { panic!("{found:?}") };
        assert_eq!(vary, [("bar".into(), Box::from(&b""[..])), ("foo".into(), Box::from(&b"=1,2"[..]))]);
    }
}
