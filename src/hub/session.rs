//! What a browser shows of somebody who is signed in, and from where it was sent. Pure.
//!
//! A session is a cookie of 256 random bits that no script reads and no page of another site sends (`SameSite=Strict`); over TLS its
//! name begins with `__Host-`, so that no other host of the domain can set it. It is looked at for reading alone: what changes something
//! takes a token as Bearer, which no form can send. Signing in and out are forms, and those must come from our own page.

use crate::base::clock::Time;
use crate::base::near::is_near;
use http::{HeaderMap, HeaderName, header};
use std::net::IpAddr;
use std::time::Duration;

/// A session that was not used for so long has ended: a long lesson or a meeting.
pub(crate) const IDLE: Duration = Duration::from_hours(2);

/// And every session after so long: a working day.
pub(crate) const LONGEST: Duration = Duration::from_hours(12);

/// Longest address that is gone back to after signing in, bytes.
const LONGEST_NEXT: usize = 512;

/// Names of the cookie, over TLS and without.
const NAMES: (&str, &str) = ("__Host-bulak", "bulak");

/// How a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    /// Over TLS, as whoever ends it before us says.
    pub(crate) secure: bool,
    /// From whom, as far as can be known.
    pub(crate) client: Option<IpAddr>,
}

impl Way {
    /// Of a request from this peer. A peer of our own house may be a proxy that ends TLS: what it says counts, the last of several words
    /// in `X-Forwarded-For`, which is its own. A stranger's word does not.
    pub(crate) fn of(headers: &HeaderMap, peer: Option<IpAddr>) -> Way {
        if peer.is_some_and(|peer| !is_near(peer)) {
            return Way { secure: false, client: peer };
        }
        let said = |name: &str| headers.get_all(name).iter().next_back().and_then(|value| value.to_str().ok()).unwrap_or_default();
        let last = said("x-forwarded-for").rsplit(',').next().and_then(|text| text.trim().parse().ok());
        Way { secure: said("x-forwarded-proto").trim().eq_ignore_ascii_case("https"), client: last.or(peer) }
    }

    /// Whether a password may come this way: over TLS, or without leaving the house.
    pub(crate) fn is_private(self) -> bool {
        self.secure || self.client.is_none_or(is_near)
    }
}

/// What the browser shows of a session.
pub(crate) fn shown(headers: &HeaderMap, way: Way) -> Option<&str> {
    let name = if way.secure { NAMES.0 } else { NAMES.1 };
    let fields = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut values = fields.flat_map(|field| field.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let value = values.find(|(found, _)| *found == name).map(|(_, value)| value)?;
    (value.len() == 64 && value.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(value)
}

/// The field that gives a browser its session, or takes it (`""`).
pub(crate) fn cookie(value: &str, way: Way) -> String {
    let (name, secure) = if way.secure { (NAMES.0, "; Secure") } else { (NAMES.1, "") };
    let age = if value.is_empty() { "; Max-Age=0" } else { "" };
    format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict{secure}{age}")
}

/// Whether a session has ended. One that begins later than it may last was begun by a clock that was ahead.
pub(crate) fn is_over(begun: Time, seen: Time, now: Time) -> bool {
    now.since(seen) >= IDLE || now.since(begun) >= LONGEST || begun.max(seen).since(now) >= LONGEST
}

/// Whether a form was sent from a page of ours. Every browser says from where; what says nothing is no browser that shows our form.
pub(crate) fn is_ours(headers: &HeaderMap) -> bool {
    let one = |name: HeaderName| {
        let mut values = headers.get_all(name).iter();
        let only = values.next().filter(|_| values.next().is_none())?;
        only.to_str().ok()
    };
    let fetch = HeaderName::from_static("sec-fetch-site");
    if headers.contains_key(&fetch) && one(fetch) != Some("same-origin") {
        return false;
    }
    let (Some(origin), Some(host)) = (one(header::ORIGIN), one(header::HOST)) else { return false };
    let bare = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    bare.is_some_and(|bare| bare.eq_ignore_ascii_case(host))
}

/// Where to go after signing in: an address of ours, never another site's.
pub(crate) fn destination(next: &str) -> &str {
    let ours = next.starts_with('/')
        && !next.starts_with("//")
        && next.len() <= LONGEST_NEXT
        && next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if ours { next } else { "/" }
}

/// Whether this is a name of ours: one of the hub's file, where it lists any, or an address. A page on the Internet can point its own
/// name at us (DNS rebinding), but no name is an address.
pub(crate) fn is_named(names: &[String], headers: &HeaderMap) -> bool {
    if names.is_empty() {
        return true;
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let only = hosts.next().filter(|_| hosts.next().is_none()).and_then(|host| host.to_str().ok());
    let Some(host) = only else { return false };
    let name = if host.starts_with('[') { host.split_inclusive(']').next() } else { host.split(':').next() }.unwrap_or_default();
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let name = name.trim_end_matches('.');
    bare.parse::<IpAddr>().is_ok() || name == "localhost" || names.iter().any(|own| own.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            (HeaderName::from_bytes(name.as_bytes()).expect("a name"), value.parse::<http::HeaderValue>().expect("a value"))
        };
        let mut headers = HeaderMap::new();
        for (name, value) in pairs.iter().map(pair) {
            headers.append(name, value);
        }
        headers
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_cookie_is_given_shown_and_taken() {
        let (plain, secure) = (Way { secure: false, client: None }, Way { secure: true, client: None });
        let value = "a1".repeat(32);
        let given = cookie(&value, secure);
        assert_eq!(given, format!("__Host-bulak={value}; Path=/; HttpOnly; SameSite=Strict; Secure"));
        assert_eq!(cookie("", plain), "bulak=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0");
        let other = "b2".repeat(32);
        let both = fields(&[("cookie", &format!("lang=kk; bulak={other}")), ("cookie", &format!("__Host-bulak={value}"))]);
        assert_eq!((shown(&both, secure), shown(&both, plain)), (Some(value.as_str()), Some(other.as_str())));
        // What anybody on the way can set counts for nothing over TLS.
        assert_eq!(shown(&fields(&[("cookie", &format!("bulak={other}"))]), secure), None);
        for bad in ["", "bulak", "bulak=", "bulak=x", &format!("bulak={other}0"), &format!("xbulak={other}")] {
            assert_eq!(shown(&fields(&[("cookie", bad)]), plain), None, "{bad}");
        }
    }

    #[test]
    fn a_proxy_of_our_own_is_believed_and_a_stranger_is_not() {
        let said = fields(&[("x-forwarded-for", "9.9.9.9, 203.0.113.7"), ("x-forwarded-proto", "https")]);
        let table = [
            (Some(ip("127.0.0.1")), true, Some(ip("203.0.113.7")), true),
            (Some(ip("10.0.0.5")), true, Some(ip("203.0.113.7")), true),
            (Some(ip("198.51.100.1")), false, Some(ip("198.51.100.1")), false),
        ];
        for (peer, secure, client, private) in table {
            let way = Way::of(&said, peer);
            assert_eq!((way, way.is_private()), (Way { secure, client }, private), "{peer:?}");
        }
        let silent = Way::of(&HeaderMap::new(), Some(ip("192.168.8.20")));
        assert!(!silent.secure && silent.is_private() && silent.client == Some(ip("192.168.8.20")));
        let plain = fields(&[("x-forwarded-for", "203.0.113.7"), ("x-forwarded-proto", "http")]);
        assert!(!Way::of(&plain, Some(ip("127.0.0.1"))).is_private());
    }

    #[test]
    fn sessions_end_by_rest_and_by_age() {
        let at = |minutes: i64| Time::from_secs(1_795_496_400 + minutes * 60);
        for (seen, now, over) in [(0, 119, false), (0, 120, true), (700, 719, false), (719, 720, true)] {
            assert_eq!(is_over(at(0), at(seen), at(now)), over, "{seen} {now}");
        }
        assert!(!is_over(at(10), at(10), at(0)), "a clock that was corrected by minutes");
        assert!(is_over(at(720), at(720), at(0)), "a clock that was ahead signs nobody in for years");
    }

    #[test]
    fn forms_come_from_our_own_page() {
        let table: [(&[(&str, &str)], bool); 11] = [
            (&[("host", "hub.kz"), ("origin", "https://hub.kz")], true),
            (&[("host", "hub.kz:8090"), ("origin", "http://HUB.kz:8090"), ("sec-fetch-site", "same-origin")], true),
            (&[("host", "hub.kz"), ("origin", "https://hub.kz"), ("sec-fetch-site", "cross-site")], false),
            (&[("host", "hub.kz"), ("origin", "https://hub.kz"), ("sec-fetch-site", "same-site")], false),
            (&[("host", "hub.kz"), ("origin", "https://hub.kz"), ("sec-fetch-site", "none")], false),
            (&[("host", "hub.kz"), ("origin", "https://evil.kz")], false),
            (&[("host", "hub.kz"), ("origin", "https://hub.kz.evil.kz")], false),
            (&[("host", "hub.kz"), ("origin", "null")], false),
            (&[("host", "hub.kz")], false),
            (&[("host", "hub.kz"), ("sec-fetch-site", "same-origin")], false),
            (&[("host", "hub.kz"), ("origin", "https://hub.kz"), ("origin", "https://evil.kz")], false),
        ];
        for (said, ours) in table {
            assert_eq!(is_ours(&fields(said)), ours, "{said:?}");
        }
    }

    #[test]
    fn after_signing_in_one_stays_here() {
        for good in ["/", "/schools/%D0%90?days=90&lang=kk", "/?q=x"] {
            assert_eq!(destination(good), good);
        }
        for bad in
            ["", "//evil.kz", "/\\evil.kz", "https://evil.kz", "evil", "/a b", "/a\r\nSet-Cookie: x", &format!("/{}", "x".repeat(600))]
        {
            assert_eq!(destination(bad), "/", "{bad}");
        }
    }

    #[test]
    fn listed_names_and_addresses_are_ours() {
        let names = ["Hub.example.kz".to_owned()];
        for (host, named) in [
            ("hub.example.kz", true),
            ("HUB.example.kz.:443", true),
            ("10.0.0.5:8090", true),
            ("[fd00::1]:8090", true),
            ("localhost:8090", true),
            ("evil.example", false),
            ("hub.example.kz.evil.example", false),
            ("[", false),
            ("", false),
        ] {
            assert_eq!(is_named(&names, &fields(&[("host", host)])), named, "{host}");
            assert!(is_named(&[], &fields(&[("host", host)])));
        }
        assert!(!is_named(&names, &HeaderMap::new()));
    }
}
