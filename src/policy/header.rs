//! The fields of the way itself (RFC 9110 section 7.6): what is taken off, what is added, what is kept; Cache-Status (RFC 9211)
//! and Proxy-Status (RFC 9209).
//!
//! Used by the proxy on both sides and by the cache before it stores.

use crate::policy::directive::{Directives, Members};
use crate::policy::{Why, secret};
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, COOKIE, HOST, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, SET_COOKIE, TE, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use std::fmt::Write;

const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    PROXY_AUTHENTICATE,
    HeaderName::from_static("proxy-authentication-info"),
    PROXY_AUTHORIZATION,
];

/// Browsers name HTML first where a person opens a page (Fetch standard, section "main fetch"), and never for what a page needs.
pub(crate) fn is_navigation(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).map(HeaderValue::as_bytes).unwrap_or_default();
    accept.get(..9).is_some_and(|first| first.eq_ignore_ascii_case(b"text/html"))
}

/// Fields that Connection cannot take away: they frame or route the message, guard a person's data, or are what the next hop
/// or the cache decides by. Naming them is a known trick to make two parties see two messages.
const NEVER_BY_CONNECTION: [HeaderName; 22] = [
    HOST,
    CONTENT_LENGTH,
    http::header::CONTENT_TYPE,
    http::header::CONTENT_ENCODING,
    http::header::CONTENT_RANGE,
    http::header::CONTENT_LOCATION,
    CACHE_CONTROL,
    http::header::PRAGMA,
    http::header::EXPIRES,
    http::header::DATE,
    http::header::AGE,
    http::header::ETAG,
    http::header::LAST_MODIFIED,
    http::header::VARY,
    http::header::RANGE,
    http::header::IF_RANGE,
    AUTHORIZATION,
    COOKIE,
    SET_COOKIE,
    http::header::LOCATION,
    VIA,
    http::header::MAX_FORWARDS,
];

/// Takes off what is meant for the next hop alone: Connection and what it names, and the fields of RFC 9110 section 7.6.1 even
/// if it does not. Trailer stays: it announces fields that are relayed. `TE: trailers` and Upgrade, where the proxy means them,
/// are its own to add again.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
            .filter_map(|word| HeaderName::from_bytes(word.trim_ascii()).ok())
            .filter(|name| !NEVER_BY_CONNECTION.contains(name))
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// What says how a body is to be read: no list takes that away from the body that is kept, nor gives another's form to it.
const FORM: [HeaderName; 4] =
    [http::header::CONTENT_ENCODING, http::header::CONTENT_LENGTH, http::header::CONTENT_RANGE, http::header::CONTENT_TYPE];

/// What of an answer is stored (RFC 9111 section 3.1): no hop-by-hop fields, and none that `no-cache="…"` or `private="…"`
/// names, which may not be used again without asking.
pub fn fields_to_store(headers: &HeaderMap) -> HeaderMap {
    let mut kept = headers.clone();
    strip_hop_by_hop(&mut kept);
    strip_named(&mut kept, headers);
    kept
}

/// Removes what `no-cache="…"` or `private="…"` in `told` names. What is stored holds such fields too, where they came first and were
/// named later, by a 304, a HEAD or another part.
pub fn strip_named(headers: &mut HeaderMap, told: &HeaderMap) {
    for name in named(told) {
        headers.remove(name);
    }
}

/// The fields that `no-cache="…"` or `private="…"` names, in Cache-Control or in a targeted field: whoever that is meant for, to keep
/// less does no harm.
fn named(headers: &HeaderMap) -> Vec<HeaderName> {
    let mut named = Vec::new();
    for field in headers.keys().filter(|name| is_control(name)) {
        let told = if field == CACHE_CONTROL { Some(Directives::read(headers)) } else { Directives::read_structured(headers, field) };
        let told = told.unwrap_or_default();
        named.extend(told.no_cache_fields.into_iter().chain(told.private_fields).filter(|name| !FORM.contains(name)));
    }
    named
}

/// Cache-Control, and every field that is built like it (RFC 9213 section 2.1).
pub fn is_control(name: &HeaderName) -> bool {
    name.as_str().ends_with("cache-control")
}

/// What of an answer [`fields_to_store`] leaves out because `no-cache="…"` or `private="…"` names it: for the one who asked.
pub fn withheld(headers: &HeaderMap) -> HeaderMap {
    let named = named(headers);
    let mut withheld: HeaderMap =
        headers.iter().filter(|(name, _)| named.contains(name)).map(|(name, value)| (name.clone(), value.clone())).collect();
    strip_hop_by_hop(&mut withheld);
    withheld
}

/// Fields that say who or where the client is, or that make an origin answer for another URL than the one that keys the cache.
const CLIENT_FIELDS: [&str; 37] = [
    "available-dictionary",
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "client-ip",
    "dictionary-id",
    "fastly-client-ip",
    "forwarded",
    "forwarded-for",
    "forwarded-for-ip",
    "front-end-https",
    "incap-client-ip",
    // A CGI program takes it for its own HTTP_PROXY (httpoxy).
    "proxy",
    "true-client-ip",
    "x-azure-clientip",
    "x-backend-host",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-envoy-external-address",
    "x-forward-for",
    "x-forwarded",
    "x-host",
    "x-http-destinationurl",
    "x-http-host-override",
    "x-original-forwarded-for",
    "x-original-host",
    "x-original-uri",
    "x-original-url",
    "x-originating-ip",
    "x-override-url",
    "x-proxy-url",
    "x-proxyuser-ip",
    "x-real-ip",
    "x-remote-addr",
    "x-remote-ip",
    "x-rewrite-url",
    "x-sucuri-clientip",
    "x-url-scheme",
];

/// Takes off what would tell an origin about a child's device or mislead it about the URL (RFC 7239), and the dictionary
/// codings that this program cannot undo (RFC 9842).
pub fn strip_client_identity(headers: &mut HeaderMap) {
    let told: Vec<HeaderName> = headers.keys().filter(|name| is_of_client(name.as_str())).cloned().collect();
    for name in told {
        headers.remove(name);
    }
    drop_dictionary_codings(headers);
}

/// Takes off what would turn a safe method (RFC 9110 section 9.2.1) into another behind the caches on the way. On POST it stays: that is
/// how forms send a PUT, and such an answer is kept for nobody.
pub fn strip_overrides(method: &Method, headers: &mut HeaderMap) {
    if !method.is_safe() {
        return;
    }
    let told: Vec<HeaderName> = headers.keys().filter(|name| secret::is_override(name)).cloned().collect();
    for name in told {
        headers.remove(name);
    }
}

fn is_of_client(name: &str) -> bool {
    if name.contains('_') {
        // Many origins take `_` for `-`, as CGI has it.
        return is_of_client(&name.replace('_', "-"));
    }
    name.starts_with("x-forwarded-") || CLIENT_FIELDS.binary_search(&name).is_ok()
}

fn drop_dictionary_codings(headers: &mut HeaderMap) {
    let is_dictionary = |member: &[u8]| {
        let coding = member.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        coding.eq_ignore_ascii_case(b"dcb") || coding.eq_ignore_ascii_case(b"dcz")
    };
    let lines = headers.get_all(ACCEPT_ENCODING);
    if !lines.iter().any(|line| Members::new(line.as_bytes()).any(is_dictionary)) {
        return;
    }
    let left: Vec<&[u8]> = lines.iter().flat_map(|line| Members::new(line.as_bytes())).filter(|member| !is_dictionary(member)).collect();
    // What is left of a client that knew nothing else is `identity`; without the field it would mean anything.
    let left = if left.is_empty() { b"identity".to_vec() } else { left.join(&b", "[..]) };
    if let Ok(value) = HeaderValue::from_bytes(&left) {
        headers.insert(ACCEPT_ENCODING, value);
    }
}

/// Takes the offer of a dictionary off an answer (RFC 9842): a client that took it would ask for codings we drop.
pub fn strip_dictionary_offer(headers: &mut HeaderMap) {
    headers.remove("use-as-dictionary");
}

/// Adds our own entry to Via (RFC 9110 section 7.6.3). `version` is that of the message received, `name` a token.
pub fn add_via(headers: &mut HeaderMap, version: Version, name: &str) {
    let protocol = match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "1.1",
    };
    if let Ok(value) = HeaderValue::try_from(format!("{protocol} {}", pseudonym(name))) {
        headers.append(VIA, value);
    }
}

/// Whether a message has passed through us before.
pub fn is_loop(headers: &HeaderMap, name: &str) -> bool {
    let name = pseudonym(name);
    headers.get_all(VIA).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).any(|member| {
        let mut words = member.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        words.nth(1).is_some_and(|by| by.eq_ignore_ascii_case(name.as_bytes()))
    })
}

/// The name as a token: what cannot stand in one becomes `-`.
fn pseudonym(name: &str) -> String {
    let token: String = name.chars().map(|letter| if is_token_letter(letter) { letter } else { '-' }).collect();
    if token.is_empty() { String::from("bulak") } else { token }
}

fn is_token_letter(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(letter)
}

/// Max-Forwards (RFC 9110 section 7.6.2), where it is one number; meant for TRACE and OPTIONS alone.
pub fn max_forwards(headers: &HeaderMap) -> Option<u64> {
    let digits = headers.get(http::header::MAX_FORWARDS)?.to_str().ok()?.trim();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(u64::MAX))
}

/// Our member of Cache-Status: `school-1; hit; ttl=376` or `school-1; fwd=stale; fwd-status=304; stored`. `ttl` in seconds,
/// negative when stale. The detail is left out where the other words say it already.
pub fn cache_status(name: &str, why: Why, ttl: Option<i64>, fwd_status: Option<StatusCode>, stored: bool, collapsed: bool) -> HeaderValue {
    let mut text = String::with_capacity(name.len() + 64);
    push_token_or_string(&mut text, name);
    match why.fwd() {
        None if why.is_hit() => text.push_str("; hit"),
        None => {}
        Some(fwd) => {
            text.push_str("; fwd=");
            text.push_str(fwd);
        }
    }
    if let Some(status) = fwd_status {
        text.push_str("; fwd-status=");
        text.push_str(status.as_str());
    }
    if let Some(ttl) = ttl {
        // Writing to a String cannot fail.
        let _ = write!(text, "; ttl={ttl}");
    }
    if stored {
        text.push_str("; stored");
    }
    if collapsed {
        text.push_str("; collapsed");
    }
    if why != Why::Fresh && why.fwd() != Some(why.word()) {
        text.push_str("; detail=");
        text.push_str(why.word());
    }
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("bulak"))
}

/// Our member of Proxy-Status: `school-1; error=dns_timeout; details="…"`. `error_type` is one of RFC 9209 section 2.3.
pub fn proxy_status(name: &str, error_type: &str, details: Option<&str>) -> HeaderValue {
    let mut text = String::with_capacity(name.len() + 64);
    push_token_or_string(&mut text, name);
    text.push_str("; error=");
    text.push_str(error_type);
    if let Some(details) = details {
        text.push_str("; details=");
        push_string(&mut text, details);
    }
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("bulak; error=proxy_internal_error"))
}

/// A structured token where the name can be one (RFC 9651 section 3.3.4), else a string.
fn push_token_or_string(text: &mut String, name: &str) {
    let starts = name.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '*');
    if starts && name.chars().all(|letter| is_token_letter(letter) || matches!(letter, ':' | '/')) {
        text.push_str(name);
    } else {
        push_string(text, name);
    }
}

/// A structured string (RFC 9651 section 3.3.3): quotes and backslashes escaped, what is not printable ASCII as `?`.
fn push_string(text: &mut String, value: &str) {
    text.push('"');
    for letter in value.chars() {
        match letter {
            '"' | '\\' => {
                text.push('\\');
                text.push(letter);
            }
            ' '..='~' => text.push(letter),
            _ => text.push('?'),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::headers;
    use proptest::prelude::*;

    #[test]
    fn hop_by_hop_fields_go_and_others_stay() {
        let mut fields = headers(&[
            ("connection", "a, B, close, content-length, Host, authorization"),
            ("connection", "keep-alive"),
            ("a", "1"),
            ("b", "2"),
            ("c", "3"),
            ("host", "a.kz"),
            ("content-length", "5"),
            ("authorization", "x"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("te", "trailers"),
            ("trailer", "digest"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("proxy-authenticate", "Basic"),
            ("proxy-authentication-info", "x"),
            ("proxy-authorization", "x"),
        ]);
        strip_hop_by_hop(&mut fields);
        let wanted = [("c", "3"), ("host", "a.kz"), ("content-length", "5"), ("authorization", "x"), ("trailer", "digest")];
        assert_eq!(fields, headers(&wanted));
    }

    #[test]
    fn fields_named_by_no_cache_and_private_are_not_stored() {
        let control = ("cache-control", "no-cache=\"a, b\", private=\"set-cookie\", max-age=60");
        let fields = headers(&[control, ("a", "1"), ("b", "2"), ("c", "3"), ("set-cookie", "x"), ("connection", "close")]);
        assert_eq!(fields_to_store(&fields), headers(&[control, ("c", "3")]));
        assert_eq!(withheld(&fields), headers(&[("a", "1"), ("b", "2"), ("set-cookie", "x")]));
        assert!(withheld(&headers(&[("cache-control", "max-age=60"), ("a", "1")])).is_empty());
        let targeted = ("cdn-cache-control", "max-age=60, private=\"a\", no-cache=\"B\"");
        let fields = headers(&[targeted, ("cache-control", "private=\"c\""), ("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")]);
        assert_eq!(fields_to_store(&fields), headers(&[targeted, ("cache-control", "private=\"c\""), ("d", "4")]));
    }

    #[test]
    fn no_list_takes_away_how_a_body_is_read_or_gives_another_its_form() {
        let names = "content-encoding, Content-Length, content-range, content-type, x-own";
        let control = format!("private=\"{names}\", no-cache=\"{names}\"");
        let form =
            [("content-encoding", "gzip"), ("content-length", "20"), ("content-range", "bytes 0-19/40"), ("content-type", "text/css")];
        let all: Vec<(&str, &str)> = [("cache-control", control.as_str())].into_iter().chain(form).collect();
        let fields = headers(&all.iter().copied().chain([("x-own", "1")]).collect::<Vec<_>>());
        assert_eq!(fields_to_store(&fields), headers(&all));
        assert_eq!(withheld(&fields), headers(&[("x-own", "1")]));
    }

    #[test]
    fn origins_learn_nothing_about_the_device() {
        let mut fields = headers(&[
            ("x-forwarded-for", "10.0.0.7"),
            ("x-forwarded-host", "evil"),
            ("forwarded", "for=10.0.0.7"),
            ("x-original-url", "/admin"),
            ("x-rewrite-url", "/admin"),
            ("x-host", "evil"),
            ("x-original-host", "evil"),
            ("cf-connecting-ip", "10.0.0.7"),
            ("proxy", "http://evil/"),
            ("available-dictionary", ":x:"),
            ("accept-encoding", "gzip, dcb, br;q=0.5"),
            ("accept-encoding", "DCZ;q=1"),
            ("user-agent", "x"),
        ]);
        strip_client_identity(&mut fields);
        assert!(CLIENT_FIELDS.is_sorted());
        assert_eq!(fields, headers(&[("accept-encoding", "gzip, br;q=0.5"), ("user-agent", "x")]));
        let mut fields = headers(&[("accept-encoding", "dcb")]);
        strip_client_identity(&mut fields);
        assert_eq!(fields, headers(&[("accept-encoding", "identity")]));
        let untouched = headers(&[("accept-encoding", "gzip"), ("accept-encoding", "br")]);
        let mut fields = untouched.clone();
        strip_client_identity(&mut fields);
        assert_eq!(fields, untouched);
    }

    /// Found by tests/hostile: what CGI takes for the same field reached the origin, and its answer everybody.
    #[test]
    fn underscores_hide_no_field_of_a_client() {
        for name in ["x_forwarded_host", "x-forwarded_host", "x_original_url", "client_ip", "x_rewrite-url", "x-proxyuser-ip"] {
            let mut fields = headers(&[(name, "evil"), ("x_other", "kept")]);
            strip_client_identity(&mut fields);
            assert_eq!(fields, headers(&[("x_other", "kept")]), "{name}");
        }
    }

    /// Found by tests/hostile: a GET with an override went on as whatever the field said.
    #[test]
    fn a_safe_method_stays_what_it_is() {
        for (method, left) in [(Method::GET, 0), (Method::HEAD, 0), (Method::POST, 2), (Method::PUT, 2)] {
            let mut fields = headers(&[("x-http-method-override", "DELETE"), ("x_method_override", "PUT"), ("accept", "*/*")]);
            strip_overrides(&method, &mut fields);
            assert_eq!(fields.len(), left + 1, "{method}");
        }
    }

    #[test]
    fn via_is_added_and_recognised() {
        let mut fields = headers(&[("via", "1.0 other (comment)")]);
        assert!(!is_loop(&fields, "school-1"));
        add_via(&mut fields, Version::HTTP_11, "school-1");
        add_via(&mut fields, Version::HTTP_2, "мектеп 1");
        let lines: Vec<_> = fields.get_all(VIA).iter().map(|line| line.to_str().expect("ASCII")).collect();
        assert_eq!(lines, ["1.0 other (comment)", "1.1 school-1", "2 -------1"]);
        assert!(is_loop(&fields, "School-1") && is_loop(&fields, "мектеп 1") && !is_loop(&fields, "school"));
        assert!(is_loop(&headers(&[("via", "1.1 a, HTTP/1.1 school-1 (x)")]), "school-1"));
    }

    #[test]
    fn max_forwards_is_a_number() {
        for (text, wanted) in
            [("0", Some(0)), (" 7", Some(7)), ("99999999999999999999999", Some(u64::MAX)), ("-1", None), ("x", None), ("", None)]
        {
            assert_eq!(max_forwards(&headers(&[("max-forwards", text)])), wanted, "{text}");
        }
        assert_eq!(max_forwards(&HeaderMap::new()), None);
    }

    #[test]
    fn cache_status_says_what_happened() {
        let ok = Some(StatusCode::OK);
        let table = [
            (cache_status("school-1", Why::Fresh, Some(376), None, false, false), "school-1; hit; ttl=376"),
            (cache_status("school-1", Why::Offline, Some(-9), None, false, false), "school-1; hit; ttl=-9; detail=offline"),
            (cache_status("school-1", Why::UriMiss, None, ok, true, true), "school-1; fwd=uri-miss; fwd-status=200; stored; collapsed"),
            (
                cache_status("school-1", Why::Revalidated, Some(60), Some(StatusCode::NOT_MODIFIED), true, false),
                "school-1; fwd=stale; fwd-status=304; ttl=60; stored; detail=revalidated",
            ),
            (cache_status("1 b\"", Why::SetCookie, None, ok, false, false), "\"1 b\\\"\"; fwd=uri-miss; fwd-status=200; detail=set-cookie"),
            (cache_status("s", Why::OnlyIfCached, None, None, false, false), "s; detail=only-if-cached"),
        ];
        for (found, wanted) in table {
            assert_eq!(found, wanted);
        }
    }

    #[test]
    fn proxy_status_escapes() {
        assert_eq!(proxy_status("school-1", "dns_timeout", None), "school-1; error=dns_timeout");
        let found = proxy_status("school-1", "dns_error", Some("no \"a\\b\"\u{7}é\n"));
        assert_eq!(found, "school-1; error=dns_error; details=\"no \\\"a\\\\b\\\"???\"");
    }

    proptest! {
        #[test]
        fn statuses_are_structured_lists(name in "\\PC{0,12}", details in ".{0,20}") {
            for value in [proxy_status(&name, "dns_error", Some(&details)), cache_status(&name, Why::Stale, Some(1), None, true, false)] {
                let parsed: Result<sfv::List, _> = sfv::Parser::new(value.as_bytes()).parse();
                prop_assert_eq!(parsed.map_or(0, |list| list.len()), 1);
            }
        }
    }
}
