//! Conditional requests of our own, and what their answers do to what is stored (RFC 9111 sections 3.2, 4.3.1, 4.3.4, 4.3.5).
//!
//! Bodies are kept decoded, so the fields that describe the body as it travelled stay those of the stored answer: its length,
//! coding, range, MD5 and its own entity tag. Everything else a 304 brings replaces what was stored under the same name.

use crate::policy::condition::{same_strong, same_weak};
use crate::policy::{Kept, date, header, secret};
use http::header::{
    AGE, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, EXPIRES, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    LAST_MODIFIED,
};
use http::{HeaderMap, HeaderName, StatusCode};

/// Fields of a 304 that never touch the stored answer.
const BODY_FIELDS: [HeaderName; 5] = [CONTENT_LENGTH, CONTENT_ENCODING, CONTENT_RANGE, HeaderName::from_static("content-md5"), ETAG];

/// The condition fields with which to ask whether a stored answer still holds; empty when it has no validator. They replace a
/// client's own, which is judged afterwards against the refreshed answer.
pub fn conditions(kept: &Kept) -> HeaderMap {
    let mut fields = HeaderMap::new();
    if let Some(tag) = kept.headers.get(ETAG) {
        fields.insert(IF_NONE_MATCH, tag.clone());
    }
    if let Some(modified) = kept.headers.get(LAST_MODIFIED).filter(|value| date::read(value).is_some()) {
        fields.insert(IF_MODIFIED_SINCE, modified.clone());
    }
    fields
}

/// Whether a 304 speaks of this stored answer (section 4.3.4): its entity tag, or without one its Last-Modified, must not
/// belong to another. When it does, the stored answer may be neither used nor updated: ask again without conditions.
pub fn confirms(stored: &HeaderMap, newer: &HeaderMap) -> bool {
    if let Some(tag) = newer.get(ETAG) {
        return stored.get(ETAG).is_some_and(|ours| same_weak(ours.as_bytes(), tag.as_bytes()));
    }
    match (stored.get(LAST_MODIFIED), newer.get(LAST_MODIFIED)) {
        (Some(ours), Some(theirs)) if !stored.contains_key(ETAG) => ours == theirs || date::read(ours) == date::read(theirs),
        _ => true,
    }
}

/// See [`crate::policy::freshen()`].
pub(super) fn freshen(stored: &HeaderMap, newer: &HeaderMap) -> HeaderMap {
    let mut merged = stored.clone();
    let newer = header::fields_to_store(newer);
    for name in newer.keys().filter(|name| !BODY_FIELDS.contains(name)) {
        let mut values = newer.get_all(name).iter().cloned();
        if let Some(first) = values.next() {
            merged.insert(name.clone(), first);
        }
        values.for_each(|value| {
            merged.append(name.clone(), value);
        });
    }
    // Without an Age of its own the newer answer came straight from the origin.
    if !newer.contains_key(http::header::AGE) {
        merged.remove(http::header::AGE);
    }
    merged
}

/// What of a 304 says how long the answer holds, and nothing else.
const TERMS: [HeaderName; 4] = [DATE, CACHE_CONTROL, EXPIRES, AGE];

/// [`crate::policy::freshen()`] with the stranger rule where it holds ([`crate::policy::is_guarded()`]): a 304 that speaks to one
/// person, by setting a cookie or handing out a token, leaves nothing behind but how long the answer holds.
pub fn freshen_for(guarded: bool, stored: &HeaderMap, newer: &HeaderMap) -> HeaderMap {
    if guarded && secret::speaks_to_one(newer) {
        let terms = newer.iter().filter(|(name, _)| TERMS.contains(name)).map(|(name, value)| (name.clone(), value.clone()));
        return freshen(stored, &terms.collect());
    }
    freshen(stored, newer)
}

/// What a final answer to HEAD means for the stored answer to GET (section 4.3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadEffect {
    /// The same representation: fold the fields in with [`crate::policy::freshen()`].
    Update,
    /// Another one: forget what is stored.
    Forget,
    /// It says nothing about the stored answer.
    Nothing,
}

/// Compares an answer to HEAD with what is stored. `length` is that of the stored body as the origin sent it, if known.
pub fn on_head(stored: &HeaderMap, status: StatusCode, newer: &HeaderMap, length: Option<u64>) -> HeadEffect {
    if status == StatusCode::NOT_MODIFIED {
        return if confirms(stored, newer) { HeadEffect::Update } else { HeadEffect::Forget };
    }
    if status != StatusCode::OK {
        return HeadEffect::Nothing;
    }
    let same_tag = match (stored.get(ETAG), newer.get(ETAG)) {
        (Some(ours), Some(theirs)) => same_strong(ours.as_bytes(), theirs.as_bytes()) || ours == theirs,
        (None, Some(_)) => false,
        (_, None) => true,
    };
    let same_date = newer.get(LAST_MODIFIED).is_none_or(|theirs| stored.get(LAST_MODIFIED) == Some(theirs));
    // A coded answer's length says nothing about a body that is kept decoded.
    let told = newer.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()).and_then(|text| text.parse::<u64>().ok());
    let coded = newer.contains_key(CONTENT_ENCODING) || stored.contains_key(CONTENT_ENCODING);
    let same_length = coded || told.is_none() || length.is_none() || told == length;
    if same_tag && same_date && same_length { HeadEffect::Update } else { HeadEffect::Forget }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::{Fields, headers, kept, rules};

    #[test]
    fn validators_become_conditions() {
        let found = conditions(&kept(&rules(), 200, &[("etag", "W/\"a\""), ("last-modified", "Tue, 24 Nov 2026 12:00:00 GMT")]));
        assert_eq!(found, headers(&[("if-none-match", "W/\"a\""), ("if-modified-since", "Tue, 24 Nov 2026 12:00:00 GMT")]));
        assert!(conditions(&kept(&rules(), 200, &[("last-modified", "yesterday")])).is_empty());
    }

    #[test]
    fn a_304_updates_all_but_what_describes_the_body() {
        let stored = headers(&[
            ("etag", "\"a\""),
            ("content-length", "5"),
            ("content-encoding", "gzip"),
            ("content-md5", "x"),
            ("content-range", "r"),
            ("content-type", "text/plain"),
            ("age", "7"),
            ("kept", "1"),
            ("twice", "1"),
            ("twice", "2"),
        ]);
        let newer = headers(&[
            ("etag", "W/\"a\""),
            ("content-length", "10"),
            ("content-encoding", "br"),
            ("content-md5", "y"),
            ("content-range", "s"),
            ("content-type", "text/plain;charset=utf-8"),
            ("cache-control", "max-age=3600"),
            ("twice", "3"),
            ("set-cookie", "a=b"),
            ("set-cookie", "c=d"),
            ("connection", "secret"),
            ("secret", "1"),
            ("keep-alive", "timeout=5"),
        ]);
        let wanted = headers(&[
            ("etag", "\"a\""),
            ("content-length", "5"),
            ("content-encoding", "gzip"),
            ("content-md5", "x"),
            ("content-range", "r"),
            ("content-type", "text/plain;charset=utf-8"),
            ("kept", "1"),
            ("twice", "3"),
            ("cache-control", "max-age=3600"),
            ("set-cookie", "a=b"),
            ("set-cookie", "c=d"),
        ]);
        assert_eq!(freshen(&stored, &newer), wanted);
        assert_eq!(freshen_for(false, &stored, &newer), wanted);
        let guarded = freshen_for(true, &stored, &newer);
        assert_eq!(guarded["cache-control"], "max-age=3600");
        assert!(
            !guarded.contains_key("set-cookie") && guarded["content-type"] == "text/plain" && guarded.get_all("twice").iter().count() == 2
        );
    }

    #[test]
    fn a_304_for_something_else_confirms_nothing() {
        let table: &[(Fields<'_>, Fields<'_>, bool)] = &[
            (&[("etag", "\"a\"")], &[("etag", "\"a\"")], true),
            (&[("etag", "W/\"a\"")], &[("etag", "\"a\"")], true),
            (&[("etag", "\"a\"")], &[("etag", "\"b\"")], false),
            (&[("etag", "\"a\"")], &[], true),
            (&[], &[("etag", "\"b\"")], false),
            (&[("last-modified", "x")], &[("last-modified", "x")], true),
            (&[("last-modified", "Tue, 24 Nov 2026 12:00:00 GMT")], &[("last-modified", "Tue, 24 Nov 2026 12:00:01 GMT")], false),
            (&[("last-modified", "x")], &[], true),
        ];
        for (stored, newer, wanted) in table {
            assert_eq!(confirms(&headers(stored), &headers(newer)), *wanted, "{stored:?} {newer:?}");
        }
    }

    #[test]
    fn heads_update_or_forget() {
        let stored = headers(&[("etag", "\"a\""), ("last-modified", "x")]);
        let head = |status: u16, fields: &[(&str, &str)]| {
            on_head(&stored, StatusCode::from_u16(status).expect("a status"), &headers(fields), Some(5))
        };
        assert_eq!(head(200, &[]), HeadEffect::Update);
        assert_eq!(head(200, &[("etag", "\"a\""), ("content-length", "5")]), HeadEffect::Update);
        assert_eq!(head(200, &[("content-length", "6")]), HeadEffect::Forget);
        assert_eq!(head(200, &[("content-length", "6"), ("content-encoding", "gzip")]), HeadEffect::Update);
        assert_eq!(head(200, &[("etag", "\"b\"")]), HeadEffect::Forget);
        assert_eq!(head(200, &[("last-modified", "y")]), HeadEffect::Forget);
        assert_eq!(head(304, &[("etag", "\"a\"")]), HeadEffect::Update);
        assert_eq!(head(410, &[]), HeadEffect::Nothing);
        assert_eq!(head(503, &[]), HeadEffect::Nothing);
    }
}
