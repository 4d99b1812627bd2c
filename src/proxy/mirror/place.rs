//! Which mirrored address a request means, from its target, Host, Referer and the address it came to. Pure; nothing else decides it.
//!
//! The listener answers to names below `m.<zone>`, and by path to its own names and addresses. Any other name is not ours to answer
//! for: a page on the Internet could point its name here and read what it likes as its own (DNS rebinding).

use crate::base::target::{Scheme, Target, split_authority};
use crate::proxy::classify::Refusal;
use crate::site::rewrite::{Form, Map, Origin};
use http::Uri;
use std::net::IpAddr;

/// What is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    /// The target as sent.
    pub(super) uri: &'a Uri,
    /// The Host field, where there is exactly one.
    pub(super) host: Option<&'a str>,
    /// The Referer field.
    pub(super) referer: Option<&'a str>,
    /// Our end of the connection.
    pub(super) to: IpAddr,
}

/// What a request means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The mirror's own root: the portal tells what there is.
    Start,
    /// A mirrored address.
    Page(Form, Target),
    /// It asked its own host's root for this, which lies here.
    Astray(String),
    /// Nothing of ours.
    No(Refusal),
}

/// Decides. `map` is of the form by path; `own` are names of this node in lower case.
pub(super) fn place(map: &Map, own: &[String], call: &Call<'_>) -> Place {
    let authority = call.uri.authority().map(http::uri::Authority::as_str).or(call.host).unwrap_or_default();
    let scheme = if map.place().secure { Scheme::Https } else { Scheme::Http };
    let Ok((host, _)) = split_authority(authority, scheme) else { return Place::No(Refusal::Target) };
    let host = host.to_ascii_lowercase();
    let host = host.strip_suffix('.').unwrap_or(&host);
    let path = call.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    if !path.starts_with('/') || climbs(call.uri.path()) {
        return Place::No(Refusal::Target);
    }
    if is_own(map, own, host, call.to) {
        return by_path(map, path, call.referer.and_then(|referer| own_path(referer, authority)));
    }
    match map.of_name(host) {
        Some(origin) => page(map, Form::Names, &origin, path),
        None if host.strip_suffix(map.place().zone.as_str()).is_some_and(|rest| rest.ends_with('.')) => Place::No(Refusal::Unmirrored),
        None => Place::No(Refusal::Misdirected),
    }
}

fn is_own(map: &Map, own: &[String], host: &str, to: IpAddr) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let came_to = || bare.parse::<IpAddr>().is_ok_and(|address| address.to_canonical() == to.to_canonical());
    map.is_path_name(host) || own.iter().any(|name| name == host) || came_to()
}

fn by_path(map: &Map, path: &str, referer: Option<&str>) -> Place {
    if let Some((origin, rest)) = map.of_path(path) {
        return match rest.bytes().next() {
            Some(b'/') => page(map, Form::Path, &origin, rest),
            // The folder itself, so that relative links lead into it.
            _ => Place::Astray(format!("{}/{rest}", &path[..path.len() - rest.len()])),
        };
    }
    // Names of hosts ignore case; one that somebody typed is sent to the address under which the copy is kept.
    if let Some(lower) = lowered(path).filter(|lower| map.of_path(lower).is_some()) {
        return Place::Astray(lower);
    }
    // Where a page of one host has asked for a root that is not its own any more.
    let folder = referer.and_then(|referer| {
        let (_, rest) = map.of_path(referer)?;
        Some(&referer[..referer.len() - rest.len()])
    });
    match folder {
        Some(folder) => Place::Astray(format!("{folder}{path}")),
        None if path == "/" || path.starts_with("/?") => Place::Start,
        None => Place::No(Refusal::Unmirrored),
    }
}

fn page(map: &Map, form: Form, origin: &Origin, path: &str) -> Place {
    match Target::parse(&(origin.text() + path)) {
        Ok(target) if target.has_bad_port() => Place::No(Refusal::Port),
        Ok(target) if map.sites().is_mirrored(&target) => Place::Page(form, target),
        Ok(_) => Place::No(Refusal::Unmirrored),
        Err(_) => Place::No(Refusal::Target),
    }
}

/// The path with its host in lower case, if it was not.
fn lowered(path: &str) -> Option<String> {
    let end = path.strip_prefix("/m/")?.find(['/', '?']).map_or(path.len(), |at| at + 3);
    let (host, rest) = path.split_at(end);
    host.bytes().any(|byte| byte.is_ascii_uppercase()).then(|| host.to_ascii_lowercase() + rest)
}

/// Path and query of a Referer from this very authority.
fn own_path<'r>(referer: &'r str, authority: &str) -> Option<&'r str> {
    let rest = referer.strip_prefix("http://").or_else(|| referer.strip_prefix("https://"))?;
    let (from, _) = rest.split_at(rest.find('/')?);
    from.eq_ignore_ascii_case(authority).then(|| &rest[from.len()..])
}

/// Browsers have resolved `.` and `..` before they ask, in each of their spellings.
fn climbs(path: &str) -> bool {
    path.split('/').any(|segment| {
        let plain = segment.to_ascii_lowercase().replace("%2e", ".");
        plain == "." || plain == ".."
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::Sites;
    use crate::site::pack::Pack;
    use crate::site::rewrite::Place as Where;
    use std::sync::Arc;

    fn map() -> Map {
        let text = "id = \"x\"\nversion = \"1\"\nlicence = \"x\"\n[title]\nen = \"x\"\n[[seed]]\nurl = \"https://a.kz/\"\n\
            [scope]\nhosts = [\"a.kz\", \"*.kundelik.kz\", \"login.kundelik.kz\", \"127.0.0.1\"]\n\
            [[class]]\nhost = \"*.kundelik.kz\"\npath = \"/v/**\"\naccounts = true\n";
        // A pack that names a personal host is refused as a whole; here the rules alone must hold.
        let pack = Pack::parse(text).or_else(|_| Pack::parse(&text.replace(", \"login.kundelik.kz\", \"127.0.0.1\"", "")));
        let sites = Sites::new(&[Arc::new(pack.expect("a good pack"))]);
        Map::new(Arc::new(sites), Form::Path, Where { zone: "m.s.internal".into(), secure: false, port: 8082 })
    }

    #[test]
    fn every_request_has_its_place() {
        use Refusal::{Misdirected, Target as Malformed, Unmirrored};
        let map = map();
        let page = |form, url: &str| Place::Page(form, Target::parse(url).expect(url));
        let (names, path) = (Form::Names, Form::Path);
        let ip = "10.0.0.1:8082";
        let long = "a".repeat(300);
        let table: &[(&str, &str, Place)] = &[
            ("a-kz.m.s.internal:8082", "/x?y", page(names, "https://a.kz/x?y")),
            ("A-KZ.m.S.internal.", "/x", page(names, "https://a.kz/x")),
            ("h---a-kz.m.s.internal", "/", page(names, "http://a.kz/")),
            ("a-kz.m.s.internal", "/m/a.kz/x", page(names, "https://a.kz/m/a.kz/x")),
            ("other-kz.m.s.internal", "/", Place::No(Unmirrored)),
            ("login-kundelik-kz.m.s.internal", "/", Place::No(Unmirrored)),
            ("s-kundelik-kz.m.s.internal", "/v/a.js", page(names, "https://s.kundelik.kz/v/a.js")),
            ("s-kundelik-kz.m.s.internal", "/avatars/1.png", Place::No(Unmirrored)),
            ("127-0-0-1.m.s.internal", "/", Place::No(Unmirrored)),
            ("b.a-kz.m.s.internal", "/", Place::No(Unmirrored)),
            ("a-kz.m.s.internal.evil.kz", "/", Place::No(Misdirected)),
            ("a.kz", "/", Place::No(Misdirected)),
            ("evil.kz", "/m/a.kz/", Place::No(Misdirected)),
            ("10.0.0.2", "/m/a.kz/", Place::No(Misdirected)),
            ("127.0.0.1", "/m/a.kz/", Place::No(Misdirected)),
            ("", "/m/a.kz/", Place::No(Malformed)),
            (&long, "/m/a.kz/", Place::No(Malformed)),
            ("user@10.0.0.1", "/m/a.kz/", Place::No(Malformed)),
            (ip, "/", Place::Start),
            (ip, "/?lang=kk", Place::Start),
            ("m.s.internal", "/", Place::Start),
            ("path.m.s.internal", "/m/a.kz/x", page(path, "https://a.kz/x")),
            ("bulak.local:8082", "/m/a.kz/x", page(path, "https://a.kz/x")),
            (ip, "/m/a.kz/x?y", page(path, "https://a.kz/x?y")),
            (ip, "/m/a.kz", Place::Astray("/m/a.kz/".into())),
            (ip, "/m/a.kz?x", Place::Astray("/m/a.kz/?x".into())),
            (ip, "/m/http:a.kz:81/x", page(path, "http://a.kz:81/x")),
            (ip, "/m/http:a.kz:25/x", Place::No(Refusal::Port)),
            (ip, "/m/other.kz/", Place::No(Unmirrored)),
            (ip, "/m/login.kundelik.kz/", Place::No(Unmirrored)),
            (ip, "/m/127.0.0.1/", Place::No(Unmirrored)),
            (ip, "/m/[::1]/", Place::No(Unmirrored)),
            (ip, "/m/a.kz%2fx/", Place::No(Unmirrored)),
            (ip, "/m/a.kz%00/", Place::No(Unmirrored)),
            (ip, "/m%2fa.kz/", Place::No(Unmirrored)),
            (ip, "/m//a.kz/", Place::No(Unmirrored)),
            (ip, "/m/A.kz/", Place::Astray("/m/a.kz/".into())),
            (ip, "/m/A.KZ/Two?Q=/A", Place::Astray("/m/a.kz/Two?Q=/A".into())),
            (ip, "/m/A.kz?Q", Place::Astray("/m/a.kz?Q".into())),
            (ip, "/m/Other.kz/", Place::No(Unmirrored)),
            (ip, "/m/user@a.kz/", Place::No(Unmirrored)),
            (ip, "/m/evil/../..", Place::No(Malformed)),
            (ip, "/m/a.kz/../b", Place::No(Malformed)),
            (ip, "/m/a.kz/%2E%2e/b", Place::No(Malformed)),
            (ip, "/m/a.kz/..%2fb", page(path, "https://a.kz/..%2fb")),
            (ip, "/admin", Place::No(Unmirrored)),
            (ip, "/proxy.pac", Place::No(Unmirrored)),
            (ip, "/metrics", Place::No(Unmirrored)),
        ];
        let own = ["bulak.local".to_owned()];
        for (host, path, wanted) in table {
            let uri: Uri = path.parse().expect(path);
            let call = Call { uri: &uri, host: Some(host), referer: None, to: "10.0.0.1".parse().expect("an address") };
            assert_eq!(place(&map, &own, &call), *wanted, "{host} {path}");
        }
    }

    #[test]
    fn who_asks_the_wrong_root_is_sent_to_the_right_one() {
        let map = map();
        let table = [
            ("/x?y", Some("http://10.0.0.1:8082/m/a.kz/p"), Place::Astray("/m/a.kz/x?y".into())),
            ("/", Some("http://10.0.0.1:8082/m/a.kz/p"), Place::Astray("/m/a.kz/".into())),
            ("/m/a.kz/x", Some("http://10.0.0.1:8082/m/a.kz/p"), Place::Page(Form::Path, Target::parse("https://a.kz/x").expect("valid"))),
            ("/m/logo.png", Some("http://10.0.0.1:8082/m/a.kz/p"), Place::Astray("/m/a.kz/m/logo.png".into())),
            ("/x", Some("http://evil.kz/m/a.kz/p"), Place::No(Refusal::Unmirrored)),
            ("/x", Some("http://10.0.0.1:8082/p"), Place::No(Refusal::Unmirrored)),
            ("/x", Some("http://10.0.0.1:8082/m/other.kz/"), Place::No(Refusal::Unmirrored)),
            ("/x", Some("junk"), Place::No(Refusal::Unmirrored)),
        ];
        for (path, referer, wanted) in table {
            let uri: Uri = path.parse().expect(path);
            let call = Call { uri: &uri, host: Some("10.0.0.1:8082"), referer, to: "10.0.0.1".parse().expect("an address") };
            assert_eq!(place(&map, &[], &call), wanted, "{path} {referer:?}");
        }
    }
}
