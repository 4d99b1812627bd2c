//! What an unsafe request's answer makes doubtful (RFC 9111 section 4.4).

use crate::base::target::Target;
use http::header::{CONTENT_LOCATION, LOCATION};
use http::{HeaderMap, Method, StatusCode};

/// See [`crate::policy::invalidates()`].
pub(super) fn invalidates(method: &Method, target: &Target, status: StatusCode, headers: &HeaderMap) -> Vec<Target> {
    // Safe by registration (RFC 9110 section 9.2.1, and the safe methods of WebDAV and QUERY). An unknown method is unsafe.
    let safe = matches!(method.as_str(), "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PROPFIND" | "REPORT" | "SEARCH" | "QUERY" | "CONNECT");
    if safe || !(status.is_success() || status.is_redirection()) {
        return Vec::new();
    }
    let mut doubtful = vec![target.clone()];
    for name in [LOCATION, CONTENT_LOCATION] {
        let named = headers.get(name).and_then(|value| value.to_str().ok()).and_then(|place| target.join(place));
        // Of the same origin only: else one site could empty the cache of another.
        doubtful.extend(named.filter(|place| place.origin() == target.origin() && place != target));
    }
    doubtful.dedup();
    doubtful
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::headers;

    fn doubtful(method: &str, status: u16, fields: &[(&str, &str)]) -> Vec<String> {
        let target = Target::parse("http://a.kz/x/y").expect("a target");
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let status = StatusCode::from_u16(status).expect("a status");
        invalidates(&method, &target, status, &headers(fields)).iter().map(Target::to_string).collect()
    }

    #[test]
    fn unsafe_and_unknown_methods_that_succeed_invalidate() {
        for method in ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH", "MKCOL"] {
            assert_eq!(doubtful(method, 200, &[]), ["http://a.kz/x/y"], "{method}");
            assert_eq!(doubtful(method, 303, &[]), ["http://a.kz/x/y"], "{method}");
            assert_eq!(doubtful(method, 400, &[]).len() + doubtful(method, 500, &[]).len(), 0, "{method}");
        }
        for method in ["GET", "HEAD", "OPTIONS", "TRACE"] {
            assert!(doubtful(method, 200, &[]).is_empty(), "{method}");
        }
    }

    #[test]
    fn named_places_of_the_same_origin_too() {
        let found = doubtful("POST", 201, &[("location", "/new"), ("content-location", "z")]);
        assert_eq!(found, ["http://a.kz/x/y", "http://a.kz/new", "http://a.kz/x/z"]);
        let found = doubtful("POST", 201, &[("location", "http://b.kz/new"), ("content-location", "https://a.kz/x/z")]);
        assert_eq!(found, ["http://a.kz/x/y"]);
        assert_eq!(doubtful("POST", 201, &[("location", "http://a.kz:81/")]), ["http://a.kz/x/y"]);
        assert_eq!(doubtful("POST", 201, &[("location", "/n"), ("content-location", "/n")]), ["http://a.kz/x/y", "http://a.kz/n"]);
    }
}
