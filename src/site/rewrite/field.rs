//! Fields of requests to the mirror and of answers from it: what names an address is mapped, what would let a site act beyond its
//! own pages is taken off, and validators of changed content are marked, so that a copy made by another map is not taken for ours.

use crate::base::target::Target;
use crate::site::rewrite::address::{Form, Map};
use crate::site::rewrite::{attribute, csp};
use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, ACCESS_CONTROL_ALLOW_ORIGIN, AUTHORIZATION, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_SECURITY_POLICY,
    CONTENT_SECURITY_POLICY_REPORT_ONLY, COOKIE, ETAG, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE,
    LAST_MODIFIED, LINK, LOCATION, ORIGIN, PROXY_AUTHORIZATION, RANGE, REFERER, REFRESH, SET_COOKIE, STRICT_TRANSPORT_SECURITY, UPGRADE,
    WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

const SOURCE_MAP: HeaderName = HeaderName::from_static("sourcemap");
const X_SOURCE_MAP: HeaderName = HeaderName::from_static("x-sourcemap");
const TIMING_ALLOW_ORIGIN: HeaderName = HeaderName::from_static("timing-allow-origin");

/// What is taken off answers: people (cookies, sign-in), power beyond the page (service workers, stored state, other services,
/// transport rules of the real host) and reports about it.
const NEVER: [HeaderName; 20] = [
    SET_COOKIE,
    HeaderName::from_static("set-cookie2"),
    WWW_AUTHENTICATE,
    HeaderName::from_static("authentication-info"),
    HeaderName::from_static("service-worker-allowed"),
    HeaderName::from_static("clear-site-data"),
    HeaderName::from_static("alt-svc"),
    STRICT_TRANSPORT_SECURITY,
    HeaderName::from_static("public-key-pins"),
    HeaderName::from_static("public-key-pins-report-only"),
    HeaderName::from_static("expect-ct"),
    CONTENT_SECURITY_POLICY_REPORT_ONLY,
    HeaderName::from_static("cross-origin-opener-policy-report-only"),
    HeaderName::from_static("cross-origin-embedder-policy-report-only"),
    HeaderName::from_static("report-to"),
    HeaderName::from_static("reporting-endpoints"),
    HeaderName::from_static("nel"),
    HeaderName::from_static("accept-ch"),
    HeaderName::from_static("critical-ch"),
    HeaderName::from_static("origin-trial"),
];

/// Checksums of the bytes as the origin sent them (RFC 9530, RFC 3230, RFC 1864).
const SUMS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

/// Between an origin's tag and our stamp.
const STAMP: &str = ".bm-";

/// Makes a device's fields those of a stranger's request to the origin. Whether its condition is about a copy that we changed.
pub fn ask(map: &Map, headers: &mut HeaderMap) -> bool {
    for name in [COOKIE, HeaderName::from_static("cookie2"), AUTHORIZATION, PROXY_AUTHORIZATION, UPGRADE, IF_MATCH, IF_UNMODIFIED_SINCE] {
        headers.remove(name);
    }
    // A changed body is never sent in a coding of the origin's.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let text = |name: HeaderName, headers: &HeaderMap| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let referer = text(REFERER, headers).and_then(|value| map.target(&value));
    // By path all hosts share an origin: which one asks is not known.
    let origin = text(ORIGIN, headers).filter(|_| map.form() == Form::Names).and_then(|value| map.target(&value));
    set(headers, REFERER, referer.map(|target| target.url().to_owned()));
    set(headers, ORIGIN, origin.map(|target| target.origin().to_owned()));
    if headers.get(IF_RANGE).is_some_and(|tag| contains(tag, STAMP)) {
        headers.remove(IF_RANGE);
        headers.remove(RANGE);
    }
    conditions(map, headers)
}

/// Takes our stamp off the tags of `If-None-Match`; tags with another stamp are of copies that are made otherwise now.
fn conditions(map: &Map, headers: &mut HeaderMap) -> bool {
    let Some(value) = headers.get(IF_NONE_MATCH).cloned() else { return false };
    if !contains(&value, STAMP) {
        return false;
    }
    let own = format!("{STAMP}{}\"", map.stamp());
    let (mut tags, mut since) = (Vec::new(), None);
    for tag in value.to_str().unwrap_or_default().split(',').map(str::trim) {
        match tag.strip_suffix(own.as_str()) {
            Some(tag) => match tag.strip_prefix("W/\"@") {
                Some(date) => since = Some(date.replace('_', " ").replace(';', ",")),
                None => tags.push(format!("{tag}\"")),
            },
            None if !tag.contains(STAMP) => tags.push(tag.to_owned()),
            None => {}
        }
    }
    headers.remove(IF_MODIFIED_SINCE);
    set(headers, IF_NONE_MATCH, (!tags.is_empty()).then(|| tags.join(", ")));
    set(headers, IF_MODIFIED_SINCE, since);
    true
}

/// Makes an answer's fields those of the mirror. `changed`: its body is changed on the way, or a copy of it was.
pub fn answer(map: &Map, target: &Target, headers: &mut HeaderMap, changed: bool) {
    for name in &NEVER {
        headers.remove(name);
    }
    if let Ok(base) = Url::parse(target.url()) {
        for name in [LOCATION, CONTENT_LOCATION, SOURCE_MAP, X_SOURCE_MAP] {
            each(headers, &name, |text| map.link(&base, text));
        }
        each(headers, &REFRESH, |text| attribute::refresh(map, &base, text));
        each(headers, &LINK, |text| links(map, &base, text));
    }
    for name in [ACCESS_CONTROL_ALLOW_ORIGIN, TIMING_ALLOW_ORIGIN] {
        each(headers, &name, |text| map.mapped_origin(&Url::parse(text).ok()?));
    }
    policies(map, headers);
    if changed {
        headers.remove(CONTENT_LENGTH);
        headers.remove(ACCEPT_RANGES);
        for name in &SUMS {
            headers.remove(name);
        }
        stamp(map, headers);
    }
}

/// Each value of a field, changed where there is something to change.
fn each(headers: &mut HeaderMap, name: &HeaderName, change: impl Fn(&str) -> Option<String>) {
    if !headers.contains_key(name) {
        return;
    }
    let values: Vec<HeaderValue> = headers.get_all(name).iter().cloned().collect();
    headers.remove(name);
    for value in values {
        // Also letters beyond ASCII, as sites write them and browsers read them.
        let new =
            std::str::from_utf8(value.as_bytes()).ok().and_then(&change).and_then(|text| HeaderValue::from_bytes(text.as_bytes()).ok());
        headers.append(name, new.unwrap_or(value));
    }
}

/// `<a>; rel=x, <b>` (RFC 8288).
fn links(map: &Map, base: &Url, text: &str) -> Option<String> {
    let (mut out, mut rest, mut changed) = (String::with_capacity(text.len() + 32), text, false);
    while let Some(start) = rest.find('<') {
        let end = start + rest[start..].find('>')?;
        out.push_str(&rest[..=start]);
        match map.link(base, &rest[start + 1..end]) {
            Some(new) => {
                changed = true;
                out.push_str(&new);
            }
            None => out.push_str(&rest[start + 1..end]),
        }
        rest = &rest[end..];
    }
    out.push_str(rest);
    changed.then_some(out)
}

fn policies(map: &Map, headers: &mut HeaderMap) {
    let lines: Vec<HeaderValue> = headers.get_all(CONTENT_SECURITY_POLICY).iter().cloned().collect();
    if lines.is_empty() {
        return;
    }
    headers.remove(CONTENT_SECURITY_POLICY);
    for line in lines {
        // A policy that cannot be read is kept: shutting out too much is the safe side.
        let new = match line.to_str() {
            Ok(text) => csp::rewrite(map, text).and_then(|text| HeaderValue::from_str(&text).ok()),
            Err(_) => Some(line),
        };
        if let Some(new) = new {
            headers.append(CONTENT_SECURITY_POLICY, new);
        }
    }
}

/// Weak, since other bytes have the same meaning, and of this map alone. Without a tag the date becomes one.
fn stamp(map: &Map, headers: &mut HeaderMap) {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let tag = match text(ETAG) {
        Some(tag) => tag.trim_start_matches("W/").strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).map(str::to_owned),
        None => text(LAST_MODIFIED).map(|date| format!("@{}", date.replace(' ', "_").replace(',', ";"))),
    };
    set(headers, ETAG, tag.map(|tag| format!("W/\"{tag}{STAMP}{}\"", map.stamp())));
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: Option<String>) {
    match value.and_then(|text| HeaderValue::from_str(&text).ok()) {
        Some(value) => drop(headers.insert(name, value)),
        None => drop(headers.remove(name)),
    }
}

fn contains(value: &HeaderValue, text: &str) -> bool {
    value.as_bytes().windows(text.len()).any(|part| part == text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::rewrite::address::tests::map;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"))).collect()
    }

    fn fields(headers: &HeaderMap) -> Vec<(&str, &str)> {
        let mut all: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().expect("text"))).collect();
        all.sort_unstable();
        all
    }

    fn told(form: Form, fields_of: &[(&'static str, &str)], changed: bool) -> HeaderMap {
        let mut all = headers(fields_of);
        answer(&map(form, false), &Target::parse("https://a.kz/d/p").expect("valid"), &mut all, changed);
        all
    }

    #[test]
    fn answers_lead_here() {
        let table = [
            (("location", "https://a.kz/x"), "http://a-kz.m.s.internal:8082/x", "/m/a.kz/x"),
            (("location", "/x"), "/x", "/m/a.kz/x"),
            (("location", "https://other.kz/"), "https://other.kz/", "https://other.kz/"),
            (("content-location", "/x"), "/x", "/m/a.kz/x"),
            (("refresh", "1; url=//b.cdn.kz/"), "1; url=http://b-cdn-kz.m.s.internal:8082/", "1; url=/m/b.cdn.kz/"),
            (("sourcemap", "//a.kz/x.map"), "http://a-kz.m.s.internal:8082/x.map", "/m/a.kz/x.map"),
            (
                ("link", "</a>; rel=preload, <//a.kz/b>; rel=next"),
                "</a>; rel=preload, <http://a-kz.m.s.internal:8082/b>; rel=next",
                "</m/a.kz/a>; rel=preload, </m/a.kz/b>; rel=next",
            ),
            (("link", "<"), "<", "<"),
            (("access-control-allow-origin", "https://a.kz"), "http://a-kz.m.s.internal:8082", "https://a.kz"),
            (("access-control-allow-origin", "*"), "*", "*"),
            (("content-security-policy", "img-src a.kz"), "img-src a.kz http://a-kz.m.s.internal:8082", "img-src a.kz 'self'"),
        ];
        for ((name, value), by_names, by_path) in table {
            for (form, wanted) in [(Form::Names, by_names), (Form::Path, by_path)] {
                assert_eq!(told(form, &[(name, value)], false)[name], wanted, "{name}: {value}");
            }
        }
        // As some sites write it, in UTF-8.
        let mut all = HeaderMap::new();
        all.insert("location", HeaderValue::from_bytes("https://a.kz/сабақ".as_bytes()).expect("a value"));
        answer(&map(Form::Path, false), &Target::parse("https://a.kz/d/p").expect("valid"), &mut all, false);
        assert_eq!(all["location"].as_bytes(), "/m/a.kz/сабақ".as_bytes());
        let gone = [
            ("set-cookie", "a=b"),
            ("strict-transport-security", "max-age=1"),
            ("service-worker-allowed", "/"),
            ("clear-site-data", "\"*\""),
            ("alt-svc", "h3=\":443\""),
            ("content-security-policy", "report-uri /x"),
        ];
        assert_eq!(fields(&told(Form::Names, &gone, false)), []);
    }

    type Row<'r> = (&'r str, bool, Vec<(&'r str, &'r str)>);

    #[test]
    fn validators_of_changed_content_go_out_and_come_back() {
        let names = map(Form::Names, false);
        let by = |stamp: &str| format!("W/\"x{STAMP}{stamp}\"");
        let own = by(names.stamp());
        let sent = told(Form::Names, &[("etag", "\"x\""), ("content-length", "5"), ("digest", "x"), ("accept-ranges", "bytes")], true);
        assert_eq!(fields(&sent), [("etag", own.as_str())]);
        assert_ne!(told(Form::Path, &[("etag", "\"x\"")], true)["etag"], own, "another form");
        assert_eq!(told(Form::Names, &[("etag", "\"x\""), ("content-length", "5")], false)["etag"], "\"x\"", "unchanged");
        let dated = told(Form::Names, &[("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")], true);
        let dated = dated["etag"].to_str().expect("text").to_owned();
        let other = by("00000000");
        let table: [Row; 5] = [
            (&own, true, vec![("if-none-match", "W/\"x\"")]),
            (&dated, true, vec![("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT")]),
            (&other, true, vec![]),
            ("\"y\"", false, vec![("if-modified-since", "x"), ("if-none-match", "\"y\"")]),
            ("*", false, vec![("if-modified-since", "x"), ("if-none-match", "*")]),
        ];
        for (tag, ours, wanted) in table {
            let mut all = headers(&[("if-none-match", tag), ("if-modified-since", "x")]);
            assert_eq!(ask(&names, &mut all), ours, "{tag}");
            all.remove(ACCEPT_ENCODING);
            assert_eq!(fields(&all), wanted, "{tag}");
        }
    }

    #[test]
    fn a_request_is_a_strangers() {
        let personal = [
            ("cookie", "a=b"),
            ("authorization", "x"),
            ("accept-encoding", "br"),
            ("origin", "http://a-kz.m.s.internal:8082"),
            ("referer", "http://b-cdn-kz.m.s.internal:8082/x?y"),
            ("range", "bytes=0-1"),
            ("if-range", "W/\"x.bm-00000000\""),
        ];
        let mut all = headers(&personal);
        ask(&map(Form::Names, false), &mut all);
        assert_eq!(fields(&all), [("accept-encoding", "identity"), ("origin", "https://a.kz"), ("referer", "https://b.cdn.kz/x?y")]);
        let mut all = headers(&[("origin", "http://10.0.0.1:8082"), ("referer", "http://10.0.0.1:8082/m/a.kz/x")]);
        ask(&map(Form::Path, false), &mut all);
        assert_eq!(fields(&all), [("accept-encoding", "identity"), ("referer", "https://a.kz/x")]);
    }
}
