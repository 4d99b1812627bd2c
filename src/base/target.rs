//! What a request is aimed at: scheme, host, port, path and query, in one canonical text.
//!
//! The text is what the store's keys are made of, so equal targets have equal texts: scheme and host in lower case, no
//! default port, no fragment, `/` for an empty path (RFC 9110 section 4.2.3). Path and query stay byte for byte.

use crate::base::digest::Digest;
use http::HeaderValue;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The two schemes that a shared cache knows. Objects of one are never used for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// `http`, port 80.
    Http,
    /// `https`, port 443.
    Https,
}

impl Scheme {
    /// The port meant when none is written.
    pub const fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }

    /// `http` or `https`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

/// Names all variants of one URL in the store: the first 16 bytes of the blake3 of its canonical text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UrlKey(pub [u8; 16]);

impl UrlKey {
    /// The key of a canonical URL.
    pub fn of(url: &str) -> UrlKey {
        let mut key = [0; 16];
        key.copy_from_slice(&Digest::of(url.as_bytes()).0[..16]);
        UrlKey(key)
    }
}

impl fmt::Debug for UrlKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// An absolute http or https URL without fragment or user information. Held as one text; the parts are views of it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    text: Box<str>,
    scheme: Scheme,
    port: u16,
    /// Where the host ends in `text`; it starts after `://`.
    host_end: u32,
    /// Where path and query start.
    path_start: u32,
}

/// Why a text is no target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// No scheme, or one we do not know.
    #[error("not an http or https URL")]
    Scheme,
    /// No host, user information, or bytes that no host may hold.
    #[error("the host is missing or malformed")]
    Host,
    /// A port that is not 1 to 65535.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// White space, control bytes or non-ASCII in path or query.
    #[error("the path holds bytes that must be percent-encoded")]
    Path,
    /// Longer than [`MAX_LEN`].
    #[error("the URL is longer than 64 KiB")]
    Long,
}

/// Longest target that is looked at (RFC 9110 section 4.1 asks for at least 8,000 octets).
pub const MAX_LEN: usize = 64 << 10;

/// Ports at which something other than HTTP listens that could be talked into mischief: the list of the Fetch standard
/// ("port blocking"), sorted.
const BAD_PORTS: &[u16] = &[
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109, 110, 111, 113, 115,
    117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601,
    636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697,
    10080,
];

impl Target {
    /// Reads an absolute URL.
    ///
    /// # Errors
    /// See [`Bad`].
    pub fn parse(text: &str) -> Result<Target, Bad> {
        if text.len() > MAX_LEN {
            return Err(Bad::Long);
        }
        let (scheme, rest) = split_scheme(text).ok_or(Bad::Scheme)?;
        let rest = rest.split('#').next().unwrap_or_default();
        let cut = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(cut);
        Target::from_parts(scheme, authority, path)
    }

    /// Puts a target together from scheme, `host[:port]` and path with query (`""` means `/`).
    ///
    /// # Errors
    /// See [`Bad`].
    pub fn from_parts(scheme: Scheme, authority: &str, path: &str) -> Result<Target, Bad> {
        let (host, port) = split_authority(authority, scheme)?;
        if !path.bytes().all(|byte| matches!(byte, 0x21..=0x7e) && byte != b'#') {
            return Err(Bad::Path);
        }
        let mut full = String::with_capacity(scheme.as_str().len() + 3 + authority.len() + path.len() + 1);
        full.push_str(scheme.as_str());
        full.push_str("://");
        full.extend(host.chars().map(|letter| letter.to_ascii_lowercase()));
        let host_end = full.len();
        if port != scheme.default_port() {
            full.push(':');
            full.push_str(&port.to_string());
        }
        let path_start = full.len();
        if !path.starts_with('/') {
            full.push('/');
        }
        full.push_str(path);
        if full.len() > MAX_LEN {
            return Err(Bad::Long);
        }
        let small = |at: usize| u32::try_from(at).expect("bounded by MAX_LEN");
        Ok(Target { host_end: small(host_end), path_start: small(path_start), text: full.into(), scheme, port })
    }

    /// The canonical URL.
    pub fn url(&self) -> &str {
        &self.text
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host in lower case; an IPv6 address keeps its brackets.
    pub fn host(&self) -> &str {
        &self.text[self.scheme.as_str().len() + 3..self.host_end as usize]
    }

    /// The port, written or meant.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether something other than HTTP listens at its port as a rule: browsers do not ask there, nor do we.
    pub fn has_bad_port(&self) -> bool {
        BAD_PORTS.binary_search(&self.port).is_ok()
    }

    /// `host` or `host:port`, as the Host field wants it.
    pub fn authority(&self) -> &str {
        &self.text[self.scheme.as_str().len() + 3..self.path_start as usize]
    }

    /// Path and query, starting with `/`.
    pub fn path_and_query(&self) -> &str {
        &self.text[self.path_start as usize..]
    }

    /// The path without the query.
    pub fn path(&self) -> &str {
        self.path_and_query().split('?').next().unwrap_or("/")
    }

    /// `scheme://host[:port]`.
    pub fn origin(&self) -> &str {
        &self.text[..self.path_start as usize]
    }

    /// The key under which the store lists this URL's variants.
    pub fn key(&self) -> UrlKey {
        UrlKey::of(&self.text)
    }

    /// Resolves a reference found at this target (RFC 3986 section 5). `None` for other schemes and malformed references.
    pub fn join(&self, reference: &str) -> Option<Target> {
        let base = url::Url::parse(&self.text).ok()?;
        Target::parse(base.join(reference.trim()).ok()?.as_str()).ok()
    }

    /// The same for a field, as browsers read it: letters beyond ASCII are UTF-8, though RFC 9110 section 10.2.2 has them escaped.
    pub fn join_field(&self, value: &HeaderValue) -> Option<Target> {
        self.join(std::str::from_utf8(value.as_bytes()).ok()?)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn split_scheme(text: &str) -> Option<(Scheme, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    if scheme.eq_ignore_ascii_case("http") {
        Some((Scheme::Http, rest))
    } else if scheme.eq_ignore_ascii_case("https") {
        Some((Scheme::Https, rest))
    } else {
        None
    }
}

/// Splits `host[:port]`; no user information, no empty host, brackets only around an IPv6 address.
pub fn split_authority(authority: &str, scheme: Scheme) -> Result<(&str, u16), Bad> {
    let (host, port) = if authority.starts_with('[') {
        let close = authority.find(']').ok_or(Bad::Host)?;
        let (host, rest) = authority.split_at(close + 1);
        host[1..close].parse::<std::net::Ipv6Addr>().map_err(|_| Bad::Host)?;
        (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':').ok_or(Bad::Host)?) })
    } else {
        match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        }
    };
    let clean = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'-' | b'.' | b'_' | b'~' | b'%' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'='
            )
    };
    if host.is_empty() || host.len() > 255 || (!host.starts_with('[') && !host.bytes().all(clean)) {
        return Err(Bad::Host);
    }
    let port = match port {
        None | Some("") => scheme.default_port(),
        Some(digits) if digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse::<u16>().ok().filter(|port| *port != 0).ok_or(Bad::Port)?
        }
        Some(_) => return Err(Bad::Port),
    };
    Ok((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_targets_have_equal_texts() {
        let table = [
            ("http://Example.KZ", "http://example.kz/"),
            ("HTTP://example.kz:80/", "http://example.kz/"),
            ("https://example.kz:443?q", "https://example.kz/?q"),
            ("http://example.kz:/a#b", "http://example.kz/a"),
            ("http://example.kz:8080/A%2fb?Q=1", "http://example.kz:8080/A%2fb?Q=1"),
            ("http://[2001:DB8::1]:81/x", "http://[2001:db8::1]:81/x"),
        ];
        for (text, wanted) in table {
            let target = Target::parse(text).expect(text);
            assert_eq!(target.url(), wanted);
            assert_eq!(Target::parse(target.url()).expect(wanted), target);
        }
    }

    #[test]
    fn parts_are_views() {
        let target = Target::parse("https://a.kz:8443/p/q?r#s").expect("valid");
        assert_eq!(
            (target.host(), target.port(), target.authority(), target.path(), target.path_and_query(), target.origin()),
            ("a.kz", 8443, "a.kz:8443", "/p/q", "/p/q?r", "https://a.kz:8443")
        );
        assert_eq!(target.join("../x.js?v=1").map(|found| found.to_string()), Some("https://a.kz:8443/x.js?v=1".into()));
        assert_eq!(target.join("data:text/plain,hi"), None);
    }

    #[test]
    fn malformed_targets_are_refused() {
        let table = [
            ("ftp://a/", Bad::Scheme),
            ("/relative", Bad::Scheme),
            ("http:///x", Bad::Host),
            ("http://user@a/", Bad::Host),
            ("http://[::1/", Bad::Host),
            ("http://[::1]x/", Bad::Host),
            ("http://a b/", Bad::Host),
            ("http://a:0/", Bad::Port),
            ("http://a:65536/", Bad::Port),
            ("http://a:8a/", Bad::Port),
            ("http://a/\u{e9}", Bad::Path),
            ("http://a/ b", Bad::Path),
        ];
        for (text, why) in table {
            assert_eq!(Target::parse(text), Err(why), "{text}");
        }
    }

    #[test]
    fn bad_ports_are_sorted_and_web_ports_are_not_among_them() {
        assert!(BAD_PORTS.is_sorted());
        assert!([80, 443, 8080, 8443, 3000].iter().all(|port| BAD_PORTS.binary_search(port).is_err()));
    }
}
