//! How a client's own conditions meet a stored answer (RFC 9110 section 13, RFC 9111 section 4.3.2).
//!
//! In the order of section 13.2.2: If-Match, else If-Unmodified-Since; then If-None-Match, else If-Modified-Since. If-Range
//! belongs to `range`.

use crate::base::clock::Time;
use crate::policy::directive::Members;
use crate::policy::{Ask, Condition, Kept, date};
use http::header::{ETAG, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE};
use http::{HeaderMap, HeaderName, Method};

/// See [`crate::policy::condition()`].
pub(super) fn condition(ask: &Ask<'_>, kept: &Kept) -> Condition {
    // What a POST was to depend on the origin has judged already: its answer is held against nothing.
    let reads = *ask.method == Method::GET || *ask.method == Method::HEAD;
    // Conditions count only where the answer would otherwise be a success (section 13.2.1).
    if !reads || !kept.status.is_success() || !any(ask.headers) {
        return Condition::Go;
    }
    let tag = kept.headers.get(ETAG).map(http::HeaderValue::as_bytes);
    if ask.headers.contains_key(IF_MATCH) {
        if !listed(ask.headers, &IF_MATCH, tag, same_strong) {
            return Condition::Failed;
        }
    } else if let Some(limit) = single_date(ask.headers, &IF_UNMODIFIED_SINCE)
        // Without a Last-Modified there is nothing to hold it against (RFC 9110 section 13.1.4).
        && kept.modified.is_some_and(|modified| modified > limit)
    {
        return Condition::Failed;
    }
    if ask.headers.contains_key(IF_NONE_MATCH) {
        return if listed(ask.headers, &IF_NONE_MATCH, tag, same_weak) { Condition::NotModified } else { Condition::Go };
    }
    // An entry without Last-Modified is as new as its Date, or its arrival (RFC 9111 section 4.3.2).
    match single_date(ask.headers, &IF_MODIFIED_SINCE) {
        Some(limit) if kept.modified.unwrap_or(kept.dated) <= limit => Condition::NotModified,
        _ => Condition::Go,
    }
}

fn any(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| matches!(*name, IF_MATCH | IF_NONE_MATCH | IF_MODIFIED_SINCE | IF_UNMODIFIED_SINCE))
}

/// Whether one of the listed entity tags is ours; `*` is any answer at all.
fn listed(headers: &HeaderMap, name: &HeaderName, ours: Option<&[u8]>, same: fn(&[u8], &[u8]) -> bool) -> bool {
    headers
        .get_all(name)
        .iter()
        .flat_map(|line| Members::new(line.as_bytes()))
        .any(|theirs| theirs == b"*" || ours.is_some_and(|ours| same(ours, theirs)))
}

/// A date condition counts when it is one valid date (sections 13.1.3 and 13.1.4).
fn single_date(headers: &HeaderMap, name: &HeaderName) -> Option<Time> {
    let mut lines = headers.get_all(name).iter();
    let only = lines.next()?;
    if lines.next().is_some() { None } else { date::read(only) }
}

/// Weak comparison (section 8.8.3.2): the same text, whatever the strength.
pub(super) fn same_weak(one: &[u8], other: &[u8]) -> bool {
    opaque(one) == opaque(other)
}

/// Strong comparison: the same text, and both strong.
pub(super) fn same_strong(one: &[u8], other: &[u8]) -> bool {
    one == other && is_strong(one)
}

/// Whether an entity tag promises equality byte for byte.
pub(super) fn is_strong(tag: &[u8]) -> bool {
    !tag.starts_with(b"W/") && !tag.is_empty()
}

fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::target::Target;
    use crate::policy::Place;
    use crate::policy::tests::{headers, kept, rules};

    type Fields = crate::policy::tests::Fields<'static>;

    fn meet(asked: Fields, status: u16, fields: Fields) -> Condition {
        let target = Target::parse("http://a.kz/").expect("a target");
        let ask = Ask { method: &Method::GET, target: &target, headers: &headers(asked), place: Place::default() };
        condition(&ask, &kept(&rules(), status, fields))
    }

    const T10: &str = "Wed, 25 Nov 2026 10:00:00 GMT";
    const T11: &str = "Wed, 25 Nov 2026 11:00:00 GMT";
    const T12: &str = "Wed, 25 Nov 2026 12:00:00 GMT";

    #[test]
    fn conditions_in_their_order() {
        let tagged: Fields = &[("etag", "\"a\""), ("last-modified", T11), ("date", T12)];
        let weak: Fields = &[("etag", "W/\"a\"")];
        let table: &[(Fields, Fields, Condition)] = &[
            (&[], tagged, Condition::Go),
            (&[("if-none-match", "\"a\"")], tagged, Condition::NotModified),
            (&[("if-none-match", "W/\"a\"")], tagged, Condition::NotModified),
            (&[("if-none-match", "W/\"a\"")], weak, Condition::NotModified),
            (&[("if-none-match", "\"b\", \"a\", \"c\"")], tagged, Condition::NotModified),
            (&[("if-none-match", "\"b\""), ("if-none-match", "\"a\"")], tagged, Condition::NotModified),
            (&[("if-none-match", "\"x, \"a\" , y\"")], tagged, Condition::Go),
            (&[("if-none-match", "*")], tagged, Condition::NotModified),
            (&[("if-none-match", "\"b\"")], tagged, Condition::Go),
            (&[("if-none-match", "\"b\""), ("if-modified-since", T12)], tagged, Condition::Go),
            (&[("if-none-match", "\"a\""), ("if-modified-since", T10)], tagged, Condition::NotModified),
            (&[("if-none-match", "\"a\"")], &[("date", T12)], Condition::Go),
            (&[("if-modified-since", T10)], tagged, Condition::Go),
            (&[("if-modified-since", T11)], tagged, Condition::NotModified),
            (&[("if-modified-since", "Wednesday, 25-Nov-26 11:00:00 GMT")], tagged, Condition::NotModified),
            (&[("if-modified-since", T12)], tagged, Condition::NotModified),
            (&[("if-modified-since", "yesterday")], tagged, Condition::Go),
            (&[("if-modified-since", T12), ("if-modified-since", T12)], tagged, Condition::Go),
            (&[("if-modified-since", T11)], &[("date", T12)], Condition::Go),
            (&[("if-modified-since", T12)], &[("date", T12)], Condition::NotModified),
            (&[("if-match", "\"a\"")], tagged, Condition::Go),
            (&[("if-match", "*")], tagged, Condition::Go),
            (&[("if-match", "\"b\"")], tagged, Condition::Failed),
            (&[("if-match", "W/\"a\"")], weak, Condition::Failed),
            (&[("if-match", "\"a\""), ("if-unmodified-since", T10)], tagged, Condition::Go),
            (&[("if-unmodified-since", T10)], tagged, Condition::Failed),
            (&[("if-unmodified-since", T11)], tagged, Condition::Go),
            (&[("if-unmodified-since", T10)], &[("date", T12)], Condition::Go),
            (&[("if-match", "\"a\""), ("if-none-match", "\"a\"")], tagged, Condition::NotModified),
        ];
        for (asked, fields, wanted) in table {
            assert_eq!(meet(asked, 200, fields), *wanted, "{asked:?} {fields:?}");
        }
        assert_eq!(meet(&[("if-none-match", "\"a\"")], 404, tagged), Condition::Go);
    }
}
