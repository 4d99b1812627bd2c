//! Small versions of four functions of `policy::header`, until that module is there: then this file goes and its callers name
//! the real ones, which have the same signatures.

use http::Version;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Removes the fields that concern one connection only (RFC 9110 section 7.6.1).
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in [header::CONNECTION, header::TE, header::TRAILER, header::TRANSFER_ENCODING, header::UPGRADE, header::PROXY_AUTHORIZATION] {
        headers.remove(name);
    }
    for name in ["keep-alive", "proxy-connection", "http2-settings", "proxy-authentication-info"] {
        headers.remove(name);
    }
}

/// Removes what would tell an origin who the client is or where it should pretend to be.
pub(crate) fn strip_client_identity(headers: &mut HeaderMap) {
    headers.remove(header::FORWARDED);
    for name in ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "x-original-url", "x-rewrite-url"] {
        headers.remove(name);
    }
}

/// Appends us to Via (RFC 9110 section 7.6.3).
pub(crate) fn add_via(headers: &mut HeaderMap, version: Version, name: &str) {
    let protocol = match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    };
    let earlier: Vec<&str> = headers.get_all(header::VIA).iter().filter_map(|value| value.to_str().ok()).collect();
    let text = if earlier.is_empty() { format!("{protocol} {name}") } else { format!("{}, {protocol} {name}", earlier.join(", ")) };
    if let Ok(value) = HeaderValue::from_str(&text) {
        headers.insert(header::VIA, value);
    }
}

/// Whether Via says that the request has been here.
pub(crate) fn is_loop(headers: &HeaderMap, name: &str) -> bool {
    let values = headers.get_all(header::VIA).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|hop| hop.split_ascii_whitespace().nth(1) == Some(name))
}
