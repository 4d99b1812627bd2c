//! Only what a stranger could fetch is kept for the class (product rule; policy `school` alone).
//!
//! A shared answer must be one that anybody would have got: no login, no cookie set or needed, no address that is itself the
//! key, and on hosts with accounts only what a reviewed pack names and the node fetched itself. RFC 9111 allows more; a school
//! does not take it. Statuses and methods are narrowed for intercepted https alone.

use crate::policy::admit::Answer;
use crate::policy::directive::{Delta, Directives};
use crate::policy::{Ask, Kept, Why, age};
use http::{HeaderMap, HeaderName, Method, header};

/// Query parameters that make an address a key of its own: whoever has the link has the content.
const SECRETS: [&str; 20] = [
    "access_token",
    "auth",
    "auth_token",
    "id_token",
    "jwt",
    "key-pair-id",
    "password",
    "session",
    "session_id",
    "sessionid",
    "sid",
    "sig",
    "signature",
    "sso",
    "ticket",
    "token",
    "x-amz-security-token",
    "x-amz-signature",
    "x-goog-signature",
    "x-ms-signature",
];

/// Why an answer that RFC 9111 would store is none for everybody.
pub(super) fn forbidden(ask: &Ask<'_>, answer: &Answer<'_>) -> Option<Why> {
    if ask.headers.contains_key(header::AUTHORIZATION) {
        return Some(Why::Authorization);
    }
    if sets_cookie(answer.headers) {
        return Some(Why::SetCookie);
    }
    // RFC 9111 lets a shared cache store the rest of an answer whose `private` names fields; here any `private` is enough.
    if !answer.directives.private_fields.is_empty() {
        return Some(Why::Private);
    }
    if ask.place.intercepted && (*ask.method != Method::GET || !age::may_guess(answer.status)) {
        return Some(Why::Unstorable);
    }
    if ask.place.account && !(ask.place.class && ask.place.own && !ask.headers.contains_key(header::COOKIE)) {
        return Some(Why::Account);
    }
    let meant_for_all = meant_for_all(answer.freshness.explicit, &answer.directives);
    if ask.headers.contains_key(header::COOKIE) && !meant_for_all {
        return Some(Why::Cookie);
    }
    if !ask.place.class && !meant_for_all && is_secret(ask.target.path_and_query()) {
        return Some(Why::SecretAddress);
    }
    None
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
    !account && !barred && !ask.headers.contains_key(header::AUTHORIZATION)
}

/// Whether the variant depends on who asks.
pub(super) fn varies_by_person(vary: &[(Box<str>, Box<[u8]>)]) -> bool {
    vary.iter().any(|(name, _)| matches!(&**name, "cookie" | "authorization"))
}

/// Set-Cookie, or its forgotten successor.
pub(super) fn sets_cookie(headers: &HeaderMap) -> bool {
    headers.contains_key(header::SET_COOKIE) || headers.contains_key(HeaderName::from_static("set-cookie2"))
}

fn is_secret(path_and_query: &str) -> bool {
    let Some((_, query)) = path_and_query.split_once('?') else { return false };
    query.split(['&', ';']).any(|pair| {
        let name = pair.split('=').next().unwrap_or_default();
        SECRETS.iter().any(|secret| name.eq_ignore_ascii_case(secret))
    })
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
        for url in ["http://a.kz/x?token=1", "http://a.kz/x?a=1&X-Amz-Signature=f", "http://a.kz/x?a;SIG=9"] {
            assert_eq!(verdict(url, Place::default(), &[], 200, &[PLAIN]), Some(Why::SecretAddress), "{url}");
            assert_eq!(verdict(url, Place::default(), &[], 200, &[PUBLIC]), None, "{url}");
            assert_eq!(verdict(url, Place { class: true, ..Place::default() }, &[], 200, &[PLAIN]), None, "{url}");
        }
        assert_eq!(verdict("http://a.kz/token?tokens=1", Place::default(), &[], 200, &[PLAIN]), None);
    }

    #[test]
    fn intercepted_https_keeps_fewer_statuses() {
        let place = Place { intercepted: true, ..Place::default() };
        for (status, stored) in [(200, true), (404, true), (301, true), (302, false), (500, false), (599, false)] {
            assert_eq!(verdict("https://a.kz/x", place, &[], status, &[PUBLIC]).is_none(), stored, "{status}");
            assert_eq!(verdict("http://a.kz/x", Place::default(), &[], status, &[PUBLIC]), None, "{status}");
        }
    }
}
