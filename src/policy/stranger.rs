//! Only what a stranger could fetch is kept for the class (product rule: privacy 1 and 2; protocols: "store only if all hold").
//!
//! A shared answer must be one that anybody would have got: no login, no cookie set or needed, no address that is itself the
//! key, and on hosts with accounts only what a reviewed pack names and the node fetched itself. RFC 9111 allows more; a school
//! does not take it, and nobody's opened https does, whatever the policy.
//!
//! # What this cannot see
//! An origin that marks a personal page `public, max-age=…` by mistake says that everybody may have it. On hosts without
//! accounts that word counts, as it does for every cache between the origin and the school: a diary that is not on the lists is
//! therefore named by its pack (`accounts = true`), and there no header of an origin makes anything storable.

use crate::policy::admit::Answer;
use crate::policy::directive::{Delta, Directives};
use crate::policy::secret::{self, Address};
use crate::policy::{Ask, Kept, Kind, Place, Rules, Why, age};
use crate::site::kind;
use http::{HeaderMap, HeaderName, Method, StatusCode, header};

/// Whether the rule holds: under policy `school`, and for opened https always.
pub(super) fn holds(rules: &Rules, place: Place) -> bool {
    rules.kind == Kind::School || place.intercepted
}

/// Why an answer that RFC 9111 would store is none for everybody.
pub(super) fn forbidden(ask: &Ask<'_>, answer: &Answer<'_>) -> Option<Why> {
    let place = ask.place;
    let cookie = ask.headers.contains_key(header::COOKIE);
    if secret::has_login(ask.headers) {
        return Some(Why::Authorization);
    }
    if sets_cookie(answer.headers) {
        return Some(Why::SetCookie);
    }
    // RFC 9111 lets a shared cache store the rest of an answer whose `private` names fields, `no-store` where it understands
    // the status, and what a targeted field allows. Here the plain words are enough.
    let plain = answer.targeted.then(|| Directives::read(answer.headers));
    let told = || plain.iter().chain(std::iter::once(&answer.directives));
    if told().any(|told| told.private || !told.private_fields.is_empty()) {
        return Some(Why::Private);
    }
    if told().any(|told| told.no_store) {
        return Some(Why::NoStore);
    }
    if secret::speaks_to_one(answer.headers) {
        return Some(Why::Personal);
    }
    if place.intercepted && (*ask.method != Method::GET || !age::may_guess(answer.status)) {
        return Some(Why::Unstorable);
    }
    if place.account && !(place.class && place.own && !cookie) {
        return Some(Why::Account);
    }
    if !is_readable(answer.headers) || is_page_instead(ask, answer.headers) {
        return Some(Why::Unstorable);
    }
    let meant_for_all = meant_for_all(answer.freshness.explicit, &answer.directives);
    // With a body (POST) it is somebody's act, whatever is said of it.
    if cookie && (!meant_for_all || *ask.method != Method::GET) {
        return Some(Why::Cookie);
    }
    is_secret(ask, answer, meant_for_all).then_some(Why::SecretAddress)
}

/// An address that the node found by itself is no secret: a stranger could find it too.
fn is_secret(ask: &Ask<'_>, answer: &Answer<'_>, meant_for_all: bool) -> bool {
    let onward = answer.headers.get(header::LOCATION).map(|value| String::from_utf8_lossy(value.as_bytes()));
    if onward.is_some_and(|place| secret::address(&place) == Address::Key) {
        return true;
    }
    !ask.place.own
        && match secret::address(ask.target.path_and_query()) {
            Address::Plain => false,
            Address::Personal => !ask.place.class && !meant_for_all,
            // Nobody else will ever ask under it: keeping it would only be keeping it.
            Address::Key => true,
        }
}

/// Whether the body's coding is one that can be undone; any other might hold anything.
fn is_readable(headers: &HeaderMap) -> bool {
    let mut names = headers.get_all(header::CONTENT_ENCODING).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    names.all(|name| {
        let name = name.trim_ascii();
        [&b""[..], b"identity", b"gzip", b"x-gzip", b"br", b"zstd"].iter().any(|known| name.eq_ignore_ascii_case(known))
    })
}

/// A page where a class names a script or a picture: a sign-in, or a portal in between. A page is no picture on a host with accounts either.
fn is_page_instead(ask: &Ask<'_>, headers: &HeaderMap) -> bool {
    ask.place.class && kind::is_static(ask.target.path(), false) && is_page(headers)
}

/// Whether an answer says that it is a page.
pub(crate) fn is_page(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(|kind| kind.as_bytes().trim_ascii()).unwrap_or_default();
    [&b"text/html"[..], b"application/xhtml"].iter().any(|page| kind.get(..page.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(page)))
}

/// Whether the origin said, with a lifetime, that the answer is the same for everybody.
pub(super) fn meant_for_all(explicit: bool, told: &Directives) -> bool {
    explicit && (told.public || told.s_maxage != Delta::Absent || told.immutable)
}

/// Whether a request with a cookie must not be answered with this entry while the origin can be asked.
pub(super) fn bars_cookie(ask: &Ask<'_>, kept: &Kept) -> bool {
    !kept.meant_for_all && !ask.place.class
}

/// Whether this person may be given what was fetched for others, while the origin can be asked.
pub(super) fn may_read(ask: &Ask<'_>, kept: &Kept) -> bool {
    let account = ask.place.account && !ask.place.class;
    let barred = ask.headers.contains_key(header::COOKIE) && bars_cookie(ask, kept);
    !account && !barred && !secret::has_login(ask.headers)
}

/// Whether the RFC has this request ask for itself although another's answer is just arriving: what must be validated for each
/// use is no answer to somebody who may be told something else.
pub(super) fn must_ask(ask: &Ask<'_>, kept: &Kept) -> bool {
    ask.headers.contains_key(header::COOKIE) && (kept.no_cache || kept.lifetime() == 0)
}

/// Whether the variant depends on who asks.
pub(super) fn varies_by_person(vary: &[(Box<str>, Box<[u8]>)]) -> bool {
    vary.iter().any(|(name, _)| secret::is_login_name(name))
}

/// Set-Cookie, or its forgotten successor.
pub(super) fn sets_cookie(headers: &HeaderMap) -> bool {
    headers.contains_key(header::SET_COOKIE) || headers.contains_key(HeaderName::from_static("set-cookie2"))
}

/// See [`crate::policy::goes_bare()`].
pub(super) fn goes_bare(rules: &Rules, ask: &Ask<'_>) -> bool {
    let place = ask.place;
    holds(rules, place)
        && place.class
        && (*ask.method == Method::GET || *ask.method == Method::HEAD)
        && (place.account || ask.headers.contains_key(header::COOKIE))
        && kind::is_static(ask.target.path(), place.account)
        && !secret::has_login(ask.headers)
        && secret::address(ask.target.path_and_query()) == Address::Plain
}

/// See [`crate::policy::bare_suffices()`].
pub(super) fn bare_suffices(status: StatusCode, headers: &HeaderMap) -> bool {
    matches!(status.as_u16(), 200 | 206 | 304 | 416) && !is_page(headers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::target::Target;
    use crate::policy::tests::{Fields, NOW, headers, kept, rules, school};
    use crate::policy::{Admit, Place, admit, may_share};
    use http::StatusCode;

    const PLAIN: (&str, &str) = ("cache-control", "max-age=60");
    const PUBLIC: (&str, &str) = ("cache-control", "max-age=60, public");
    const COOKIE: (&str, &str) = ("cookie", "a=b");

    fn verdict(url: &str, place: Place, asked: &[(&str, &str)], status: u16, fields: &[(&str, &str)]) -> Option<Why> {
        let target = Target::parse(url).expect("a target");
        let ask = Ask { method: &Method::GET, target: &target, headers: &headers(asked), place };
        match admit(&school(), &ask, StatusCode::from_u16(status).expect("a status"), &headers(fields), NOW) {
            Admit::Store { .. } => None,
            Admit::No(why) => Some(why),
        }
    }

    #[test]
    fn people_never_share_what_is_theirs() {
        type Row = (Fields<'static>, Fields<'static>, Option<Why>);
        let table: &[Row] = &[
            (&[], &[PLAIN], None),
            (&[("authorization", "x")], &[("cache-control", "public, s-maxage=60, must-revalidate")], Some(Why::Authorization)),
            (&[], &[("cache-control", "public, max-age=60"), ("set-cookie", "a=b")], Some(Why::SetCookie)),
            (&[], &[PLAIN, ("set-cookie2", "a=b")], Some(Why::SetCookie)),
            (&[], &[("cache-control", "max-age=60, private=\"x\"")], Some(Why::Private)),
            (&[COOKIE], &[PLAIN], Some(Why::Cookie)),
            (&[COOKIE], &[("cache-control", "public"), ("etag", "\"a\"")], Some(Why::Cookie)),
            (&[COOKIE], &[PUBLIC], None),
            (&[COOKIE], &[("cache-control", "s-maxage=60")], None),
            (&[COOKIE], &[("cache-control", "max-age=60, immutable")], None),
            (&[COOKIE], &[("cache-control", "public"), ("expires", "Thu, 18 Aug 2050 02:01:18 GMT")], None),
            (&[], &[PUBLIC, ("vary", "Cookie")], Some(Why::VaryPersonal)),
            (&[], &[PUBLIC, ("vary", "accept, AUTHORIZATION")], Some(Why::VaryPersonal)),
        ];
        for (asked, fields, wanted) in table {
            assert_eq!(verdict("http://a.kz/x", Place::default(), asked, 200, fields), *wanted, "{asked:?} {fields:?}");
        }
    }

    #[test]
    fn reading_along_is_for_those_who_could_have_it_from_the_store() {
        type Row = (Fields<'static>, Fields<'static>, Place, bool);
        let account = Place { account: true, ..Place::default() };
        let class = Place { class: true, ..Place::default() };
        let table: &[Row] = &[
            (&[], &[PLAIN], Place::default(), true),
            (&[COOKIE], &[PLAIN], Place::default(), false),
            (&[COOKIE], &[PLAIN], class, true),
            (&[COOKIE], &[PUBLIC], Place::default(), true),
            (&[("authorization", "x")], &[PUBLIC], Place::default(), false),
            (&[], &[PUBLIC], account, false),
        ];
        let target = Target::parse("http://a.kz/").expect("a target");
        for (asked, fields, place, wanted) in table {
            let ask = Ask { method: &Method::GET, target: &target, headers: &headers(asked), place: *place };
            let found = may_share(&school(), &ask, &kept(&school(), 200, fields), &[]);
            assert_eq!(found, *wanted, "{asked:?} {fields:?} {place:?}");
            assert!(may_share(&rules(), &ask, &kept(&rules(), 200, fields), &[]));
            let unsure = kept(&rules(), 200, &[("cache-control", "no-cache"), ("etag", "\"a\"")]);
            assert_eq!(may_share(&rules(), &ask, &unsure, &[]), !asked.contains(&COOKIE), "{asked:?}");
            let foo = [("foo".into(), Box::from(&b"=1"[..]))];
            assert!(!may_share(&rules(), &ask, &kept(&rules(), 200, fields), &foo));
        }
    }

    #[test]
    fn account_hosts_need_a_class_and_the_nodes_own_fetch() {
        let place = |class, own| Place { account: true, class, own, intercepted: false };
        assert_eq!(verdict("http://a.kz/x", place(false, false), &[], 200, &[PUBLIC]), Some(Why::Account));
        assert_eq!(verdict("http://a.kz/x", place(true, false), &[], 200, &[PUBLIC]), Some(Why::Account));
        assert_eq!(verdict("http://a.kz/x", place(false, true), &[], 200, &[PUBLIC]), Some(Why::Account));
        assert_eq!(verdict("http://a.kz/x", place(true, true), &[COOKIE], 200, &[PUBLIC]), Some(Why::Account));
        assert_eq!(verdict("http://a.kz/x", place(true, true), &[], 200, &[PUBLIC]), None);
    }

    #[test]
    fn a_link_that_is_a_key_is_kept_from_the_class() {
        let (class, own) = (Place { class: true, ..Place::default() }, Place { own: true, ..Place::default() });
        for url in ["http://a.kz/x?token=1", "http://a.kz/x?a=1&X-Amz-Signature=f", "http://a.kz/x?a;SIG=9", "http://a.kz/x;jsessionid=1"] {
            for (place, fields) in [(Place::default(), PLAIN), (Place::default(), PUBLIC), (class, PUBLIC)] {
                assert_eq!(verdict(url, place, &[], 200, &[fields]), Some(Why::SecretAddress), "{url} {place:?}");
            }
            assert_eq!(verdict(url, own, &[], 200, &[PLAIN]), None, "found by the node itself: {url}");
        }
        assert_eq!(verdict("http://a.kz/token", Place::default(), &[], 200, &[PLAIN]), None);
        let onward = [PUBLIC, ("location", "/home?ticket=1")];
        assert_eq!(verdict("http://a.kz/", own, &[], 301, &onward), Some(Why::SecretAddress));
        let avatar = "http://a.kz/avatars/5f3c2a9be1d04c7788aa0b1c2d3e4f50.png";
        assert_eq!(verdict(avatar, Place::default(), &[], 200, &[PLAIN]), Some(Why::SecretAddress));
        for (place, fields) in [(Place::default(), PUBLIC), (class, PLAIN), (own, PLAIN)] {
            assert_eq!(verdict(avatar, place, &[], 200, &[fields]), None, "{place:?}");
        }
    }

    #[test]
    fn a_login_is_known_by_other_names_too() {
        for login in ["access-token", "x-auth-token", "x-session-id", "x-user"] {
            assert_eq!(verdict("http://a.kz/x", Place::default(), &[(login, "1")], 200, &[PUBLIC]), Some(Why::Authorization), "{login}");
        }
        for field in ["clear-site-data", "x-csrf-token", "x-access-token"] {
            assert_eq!(verdict("http://a.kz/x", Place::default(), &[], 200, &[PUBLIC, (field, "1")]), Some(Why::Personal), "{field}");
        }
        for vary in ["x-auth-token", "accept, Cookie2"] {
            assert_eq!(verdict("http://a.kz/x", Place::default(), &[], 200, &[PUBLIC, ("vary", vary)]), Some(Why::VaryPersonal), "{vary}");
        }
    }

    #[test]
    fn plain_words_of_the_origin_count_whatever_lifts_them_elsewhere() {
        let mut rules = school();
        let target = Target::parse("http://a.kz/").expect("a target");
        let ask = Ask { method: &Method::GET, target: &target, headers: &headers(&[]), place: Place::default() };
        let found = |rules: &Rules, fields: Fields<'_>| match admit(rules, &ask, StatusCode::OK, &headers(fields), NOW) {
            Admit::Store { .. } => None,
            Admit::No(why) => Some(why),
        };
        assert_eq!(found(&rules, &[("cache-control", "no-store, must-understand, max-age=60")]), Some(Why::NoStore));
        rules.targeted = vec![HeaderName::from_static("cdn-cache-control")];
        for (control, wanted) in [("private", Why::Private), ("no-store", Why::NoStore)] {
            assert_eq!(found(&rules, &[("cdn-cache-control", "max-age=60"), ("cache-control", control)]), Some(wanted));
        }
        for (coding, wanted) in
            [("gzip", None), ("br, identity", None), ("aes128gcm", Some(Why::Unstorable)), ("gzip, deflate", Some(Why::Unstorable))]
        {
            assert_eq!(found(&rules, &[PUBLIC, ("content-encoding", coding)]), wanted, "{coding}");
        }
    }

    #[test]
    fn what_a_class_names_is_asked_for_without_the_cookie() {
        type Row = (Place, &'static str, Fields<'static>, bool);
        let class = Place { class: true, ..Place::default() };
        let account = Place { account: true, ..class };
        let table: &[Row] = &[
            (class, "/v1/app.js", &[COOKIE], true),
            (class, "/v1/pic.png", &[COOKIE], true),
            (class, "/v1/app.js", &[], false),
            (account, "/v1/app.js", &[], true),
            (account, "/v1/app.js", &[COOKIE], true),
            (account, "/v1/pic.png", &[COOKIE], false),
            (account, "/v1/page", &[COOKIE], false),
            (account, "/v1/app.js?token=1", &[COOKIE], false),
            (account, "/v1/app.js", &[COOKIE, ("authorization", "x")], false),
            (Place { account: true, ..Place::default() }, "/v1/app.js", &[COOKIE], false),
            (Place::default(), "/v1/app.js", &[COOKIE], false),
        ];
        for (place, path, asked, wanted) in table {
            let target = Target::parse(&format!("http://a.kz{path}")).expect("a target");
            let ask = Ask { method: &Method::GET, target: &target, headers: &headers(asked), place: *place };
            assert_eq!(goes_bare(&school(), &ask), *wanted, "{place:?} {path} {asked:?}");
            assert!(!goes_bare(&rules(), &ask));
            assert!(!goes_bare(&school(), &Ask { method: &Method::POST, ..ask }));
        }
        let page = [PUBLIC, ("content-type", "Text/HTML; charset=utf-8")];
        for url in ["http://a.kz/v1/app.js", "http://a.kz/v1/pic.png"] {
            assert_eq!(verdict(url, Place { own: true, ..account }, &[], 200, &page), Some(Why::Unstorable), "{url}");
        }
        assert_eq!(verdict("http://a.kz/v1/app", Place { own: true, ..account }, &[], 200, &page), None);
        assert!(bare_suffices(StatusCode::OK, &headers(&[("content-type", "text/css")])));
        assert!(!bare_suffices(StatusCode::OK, &headers(&page)) && !bare_suffices(StatusCode::FOUND, &headers(&[])));
    }

    #[test]
    fn intercepted_https_keeps_fewer_statuses_and_the_rule_whatever_the_policy() {
        let place = Place { intercepted: true, ..Place::default() };
        let target = Target::parse("https://a.kz/").expect("a target");
        for (asked, fields) in [
            (&[("authorization", "x")][..], &[("cache-control", "public, max-age=60")][..]),
            (&[COOKIE], &[PLAIN]),
            (&[], &[PUBLIC, ("set-cookie", "a=b")]),
        ] {
            let ask = Ask { method: &Method::GET, target: &target, headers: &headers(asked), place };
            let found = admit(&rules(), &ask, StatusCode::OK, &headers(fields), NOW);
            assert!(matches!(found, Admit::No(_)), "{asked:?} {fields:?}");
            let plain = Ask { place: Place::default(), ..ask };
            assert!(matches!(admit(&rules(), &plain, StatusCode::OK, &headers(fields), NOW), Admit::Store { .. }), "the RFC allows it");
        }
        for (status, stored) in [(200, true), (404, true), (301, true), (302, false), (500, false), (599, false)] {
            assert_eq!(verdict("https://a.kz/x", place, &[], status, &[PUBLIC]).is_none(), stored, "{status}");
            assert_eq!(verdict("http://a.kz/x", Place::default(), &[], status, &[PUBLIC]), None, "{status}");
        }
    }
}
