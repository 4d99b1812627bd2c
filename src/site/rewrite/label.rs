//! Origins and their names on the mirror, one to one: as a DNS label (`https://kk.wikipedia.org` is `kk-wikipedia-org`) and as a
//! path segment (`kk.wikipedia.org`).
//!
//! In a label a dot is a dash and a dash is two, so a run of three dashes is never part of a host: it sets off the mark of an
//! origin that is not the host's usual one (`h---a-kz` is http, `s8443---a-kz` a port), and of names that a browser would take
//! for Punycode. What is read must be written the same way again, so no origin has two names.

use crate::base::target::Scheme;

/// Longest DNS label (RFC 1035 section 2.3.4).
const MAX_LABEL: usize = 63;

/// Sets a mark off from the host.
const MARK: &str = "---";

/// Where content comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The scheme.
    pub scheme: Scheme,
    /// The host in lower case.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Origin {
    fn is_usual(&self, home: Scheme) -> bool {
        self.scheme == home && self.has_usual_port()
    }

    fn has_usual_port(&self) -> bool {
        self.port == self.scheme.default_port()
    }

    /// As it is written: `https://a.kz`, `http://a.kz:8080`.
    pub fn text(&self) -> String {
        let (scheme, host) = (self.scheme.as_str(), &self.host);
        if self.has_usual_port() { format!("{scheme}://{host}") } else { format!("{scheme}://{host}:{}", self.port) }
    }
}

/// The label of an origin whose host is usually fetched by `home`; `None` when it cannot be a label.
pub(super) fn label(origin: &Origin, home: Scheme) -> Option<String> {
    if !is_name(&origin.host) {
        return None;
    }
    let host = origin.host.replace('-', "--").replace('.', "-");
    let label = if origin.is_usual(home) && !host.starts_with("xn--") {
        host
    } else {
        let mark = match origin.scheme {
            Scheme::Http => "h",
            Scheme::Https => "s",
        };
        let port = if origin.has_usual_port() { String::new() } else { origin.port.to_string() };
        format!("{mark}{port}{MARK}{host}")
    };
    (label.len() <= MAX_LABEL).then_some(label)
}

/// The origin that a label names; `home` tells how a host is usually fetched, `None` for one that is not mirrored.
pub(super) fn of_label(text: &str, home: impl Fn(&str) -> Option<Scheme>) -> Option<Origin> {
    let (mark, host) = text.split_once(MARK).map_or((None, text), |(mark, host)| (Some(mark), host));
    let host = undashed(host)?;
    let home = home(&host)?;
    let scheme = match mark.map(|mark| mark.as_bytes().first()) {
        None => home,
        Some(Some(b'h')) => Scheme::Http,
        Some(Some(b's')) => Scheme::Https,
        Some(_) => return None,
    };
    let port = match mark.map(|mark| &mark[1..]) {
        None | Some("") => scheme.default_port(),
        Some(digits) => port(digits)?,
    };
    let origin = Origin { scheme, host, port };
    (label(&origin, home)? == text).then_some(origin)
}

/// `a--b-c` to `a-b.c`.
fn undashed(text: &str) -> Option<String> {
    let mut host = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('-') {
        host.push_str(&rest[..at]);
        let run = rest[at..].bytes().take_while(|byte| *byte == b'-').count();
        if run == 1 {
            host.push('.');
        } else if run % 2 == 0 {
            host.extend(std::iter::repeat_n('-', run / 2));
        } else {
            return None;
        }
        rest = &rest[at + run..];
    }
    host.push_str(rest);
    is_name(&host).then_some(host)
}

/// The path segment of an origin.
pub(super) fn segment(origin: &Origin, home: Scheme) -> Option<String> {
    if !is_host(&origin.host) {
        return None;
    }
    let mut text = String::new();
    if origin.scheme != home {
        text.push_str(origin.scheme.as_str());
        text.push(':');
    }
    text.push_str(&origin.host);
    if !origin.has_usual_port() {
        text.push(':');
        text.push_str(&origin.port.to_string());
    }
    Some(text)
}

/// The origin that a path segment names.
pub(super) fn of_segment(text: &str, home: impl Fn(&str) -> Option<Scheme>) -> Option<Origin> {
    let mut words: Vec<&str> = text.splitn(4, ':').collect();
    let scheme = match words.first() {
        Some(&"http") if words.len() > 1 => Some(Scheme::Http),
        Some(&"https") if words.len() > 1 => Some(Scheme::Https),
        _ => None,
    };
    if scheme.is_some() {
        words.remove(0);
    }
    let (host, digits) = match words[..] {
        [host] => (host, None),
        [host, digits] => (host, Some(digits)),
        _ => return None,
    };
    let home = home(host)?;
    let scheme = scheme.unwrap_or(home);
    let port = digits.map_or(Some(scheme.default_port()), port)?;
    let origin = Origin { scheme, host: host.to_owned(), port };
    (segment(&origin, home)? == text).then_some(origin)
}

fn port(digits: &str) -> Option<u16> {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|port| plain && *port != 0)
}

/// A name with a dot that is no address, in lower case, as DNS takes it.
fn is_name(host: &str) -> bool {
    is_host(host) && !host.contains('_') && host.split('.').all(|label| !label.starts_with('-') && !label.ends_with('-'))
}

/// The same, with the freedoms that some real hosts take (`_`, a dash at an end).
fn is_host(host: &str) -> bool {
    let clean = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_'))
    };
    // A last label of digits is an address to every browser (WHATWG URL, "ends in a number").
    let last = host.rsplit('.').next().unwrap_or_default();
    let number = last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x");
    host.len() <= 253 && host.contains('.') && !number && host.split('.').all(clean)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn origin(scheme: Scheme, host: &str, port: u16) -> Origin {
        Origin { scheme, host: host.into(), port }
    }

    #[test]
    fn names_of_origins() {
        use Scheme::{Http, Https};
        let long = format!("{}.kz", "a".repeat(62));
        let table = [
            (origin(Https, "kk.wikipedia.org", 443), Https, Some("kk-wikipedia-org"), Some("kk.wikipedia.org")),
            (origin(Https, "a-b.c", 443), Https, Some("a--b-c"), Some("a-b.c")),
            (origin(Https, "a.b-c", 443), Https, Some("a-b--c"), Some("a.b-c")),
            (origin(Http, "a.kz", 80), Http, Some("a-kz"), Some("a.kz")),
            (origin(Http, "a.kz", 80), Https, Some("h---a-kz"), Some("http:a.kz")),
            (origin(Https, "a.kz", 443), Http, Some("s---a-kz"), Some("https:a.kz")),
            (origin(Http, "a.kz", 8080), Http, Some("h8080---a-kz"), Some("a.kz:8080")),
            (origin(Https, "a.kz", 80), Http, Some("s80---a-kz"), Some("https:a.kz:80")),
            (origin(Https, "xn--80ao21a.kz", 443), Https, Some("s---xn----80ao21a-kz"), Some("xn--80ao21a.kz")),
            (origin(Https, &long, 443), Https, None, Some(long.as_str())),
            (origin(Https, "a_b.kz", 443), Https, None, Some("a_b.kz")),
            (origin(Https, "127.0.0.1", 443), Https, None, None),
            (origin(Https, "a.0x7f", 443), Https, None, None),
            (origin(Https, "[::1]", 443), Https, None, None),
            (origin(Https, "localhost", 443), Https, None, None),
            (origin(Https, "a.kz.", 443), Https, None, None),
            (origin(Https, "A.kz", 443), Https, None, None),
        ];
        for (origin, home, as_label, as_segment) in table {
            assert_eq!(label(&origin, home).as_deref(), as_label, "{origin:?}");
            assert_eq!(segment(&origin, home).as_deref(), as_segment, "{origin:?}");
            if let Some(text) = as_label {
                assert_eq!(of_label(text, |_| Some(home)), Some(origin.clone()), "{text}");
            }
            if let Some(text) = as_segment {
                assert_eq!(of_segment(text, |_| Some(home)), Some(origin), "{text}");
            }
        }
    }

    #[test]
    fn what_is_not_written_our_way_is_no_name() {
        let home = |_: &str| Some(Scheme::Https);
        for text in [
            "",
            "-",
            "a",
            "a---kz",
            "s---a-kz",
            "s443---a-kz",
            "h80---a-kz",
            "h080---a-kz",
            "h0---a-kz",
            "h99999---a-kz",
            "h+8---a-kz",
            "x---a-kz",
            "---a-kz",
            "A-kz",
            "a-kz-",
            "-a-kz",
            "a-.kz",
            "127-0-0-1",
            "a-----kz",
            "xn----80ao21a-kz",
            "é-kz",
            "h---s---a-kz",
        ] {
            assert_eq!(of_label(text, home), None, "{text}");
        }
        for text in [
            "",
            ":",
            "a",
            "https:a.kz",
            "a.kz:443",
            "http:a.kz:80",
            "a.kz:",
            "a.kz:080",
            "a.kz:0",
            "ftp:a.kz",
            "http:",
            "http:a.kz:1:2",
            "A.kz",
            "a.kz%2f",
            "127.0.0.1",
            "[::1]",
            "a.kz:+8",
            "..",
            "a..kz",
            "user@a.kz",
        ] {
            assert_eq!(of_segment(text, home), None, "{text}");
        }
        assert_eq!(of_label("a-kz", |_| None), None, "not mirrored");
    }

    proptest! {
        #[test]
        fn what_maps_also_maps_back_and_nothing_maps_twice(
            one in "[a-z0-9]([a-z0-9-]{0,6}[a-z0-9])?(\\.[a-z0-9]([a-z0-9-]{0,6}[a-z0-9])?){1,3}",
            other in "[a-z0-9]([a-z0-9-]{0,6}[a-z0-9])?(\\.[a-z0-9]([a-z0-9-]{0,6}[a-z0-9])?){1,3}",
            secure: bool, port in 1u16..,
        ) {
            let scheme = if secure { Scheme::Https } else { Scheme::Http };
            let (one, other) = (origin(scheme, &one, port), origin(scheme, &other, scheme.default_port()));
            for home in [Scheme::Http, Scheme::Https] {
                if let Some(text) = label(&one, home) {
                    prop_assert_eq!(of_label(&text, |_| Some(home)), Some(one.clone()));
                    prop_assert!(one == other || label(&other, home) != Some(text));
                }
                if let Some(text) = segment(&one, home) {
                    prop_assert_eq!(of_segment(&text, |_| Some(home)), Some(one.clone()));
                }
            }
        }

        #[test]
        fn any_text_that_is_a_name_is_the_only_one(text in "([hs][0-9]{0,5}---)?[a-z0-9-]{1,30}") {
            if let Some(found) = of_label(&text, |_| Some(Scheme::Https)) {
                prop_assert_eq!(label(&found, Scheme::Https), Some(text));
            }
        }
    }
}
