//! Byte ranges (RFC 9110 section 14) of a body whose length is known.
//!
//! A range set is a wish that may be ignored: one that is malformed, conditional on another version, or made to cost more than
//! it brings (section 14.2 warns of many small or overlapping ranges) is answered with the whole.

use crate::policy::condition::is_strong;
use crate::policy::{Ask, Part, date};
use http::header::{DATE, ETAG, IF_RANGE, LAST_MODIFIED, RANGE};
use http::{HeaderMap, HeaderValue, Method};
use std::ops::Range;
use std::time::Duration;

/// Most ranges that are read: a set longer than this is no honest wish.
const MOST_ASKED: usize = 64;

/// Most parts of one multipart answer, after merging. Readers of documents ask for two to five.
const MOST_PARTS: usize = 8;

/// Ranges nearer than this are sent as one: the head of a part costs about as much.
const NEAR: u64 = 80;

/// See [`crate::policy::part()`].
pub(super) fn part(ask: &Ask<'_>, headers: &HeaderMap, length: u64) -> Part {
    if *ask.method != Method::GET {
        return Part::Whole;
    }
    let mut lines = ask.headers.get_all(RANGE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return Part::Whole };
    if !same_version(ask.headers, headers) {
        return Part::Whole;
    }
    match parse(line.as_bytes(), length) {
        None => Part::Whole,
        Some(ranges) => shape(merge(ranges)),
    }
}

fn shape(ranges: Vec<Range<u64>>) -> Part {
    match ranges.len() {
        0 => Part::Unsatisfiable,
        1 => ranges.into_iter().next().map_or(Part::Whole, Part::One),
        2..=MOST_PARTS => Part::Many(ranges),
        _ => Part::Whole,
    }
}

/// The satisfiable ranges of a `bytes=` set; `None` when it is malformed, of another unit or too long.
fn parse(set: &[u8], length: u64) -> Option<Vec<Range<u64>>> {
    let at = set.iter().position(|byte| *byte == b'=')?;
    if !set[..at].trim_ascii().eq_ignore_ascii_case(b"bytes") {
        return None;
    }
    let mut ranges = Vec::new();
    let members = set[at + 1..].split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty());
    let mut asked = 0;
    for member in members {
        asked += 1;
        if asked > MOST_ASKED {
            return None;
        }
        ranges.push(one(member, length)?);
    }
    ranges.retain(|range| range.start < range.end);
    (asked > 0).then_some(ranges)
}

/// `0-499`, `500-` or `-500`, cut to the length; empty when not satisfiable, `None` when malformed.
fn one(spec: &[u8], length: u64) -> Option<Range<u64>> {
    let dash = spec.iter().position(|byte| *byte == b'-')?;
    let (first, last) = (&spec[..dash], &spec[dash + 1..]);
    if first.is_empty() {
        let suffix = number(last)?;
        let start = length.saturating_sub(suffix);
        return Some(start..length);
    }
    let start = number(first)?;
    let end = if last.is_empty() { length } else { number(last)?.saturating_add(1) };
    if !last.is_empty() && start >= end {
        return None;
    }
    Some(start..end.min(length))
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0_u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'))))
}

/// Sorted, with what overlaps or nearly touches joined (section 15.3.7.2 allows it).
fn merge(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_unstable_by_key(|range| (range.start, range.end));
    let mut merged: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(NEAR) => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// If-Range (section 13.1.5): a strong entity tag equal to ours, or exactly our Last-Modified where that is a strong validator.
fn same_version(asked: &HeaderMap, stored: &HeaderMap) -> bool {
    let Some(wanted) = asked.get(IF_RANGE).map(HeaderValue::as_bytes) else { return true };
    if wanted.starts_with(b"\"") || wanted.starts_with(b"W/") {
        return is_strong(wanted) && stored.get(ETAG).is_some_and(|tag| tag.as_bytes() == wanted);
    }
    let same = date::parse(wanted).is_some_and(|wanted| stored.get(LAST_MODIFIED).and_then(date::read) == Some(wanted));
    same && strong_date(stored)
}

/// A Last-Modified is strong when the origin's clock had moved on by a second since (section 8.8.2.2).
fn strong_date(stored: &HeaderMap) -> bool {
    let modified = stored.get(LAST_MODIFIED).and_then(date::read);
    let dated = stored.get(DATE).and_then(date::read);
    modified.zip(dated).is_some_and(|(modified, dated)| dated.since(modified) >= Duration::from_secs(1))
}

/// What names this version of a body so surely that pieces may be put together (RFC 9110 section 15.3.7.3): a strong entity
/// tag, else a strong Last-Modified; the value for If-Range. `None`: keep no pieces beyond the one that came.
pub fn strong_validator(stored: &HeaderMap) -> Option<&HeaderValue> {
    match stored.get(ETAG) {
        Some(tag) => Some(tag).filter(|tag| tag.as_bytes().starts_with(b"\"")),
        None => stored.get(LAST_MODIFIED).filter(|_| strong_date(stored)),
    }
}

/// Reads `bytes 4-9/10` as the range (end exclusive) and the whole length; `None` when malformed or of unknown length.
pub fn content_range(value: &HeaderValue) -> Option<(Range<u64>, u64)> {
    let text = value.as_bytes().trim_ascii();
    let rest = text.get(..6).filter(|unit| unit.eq_ignore_ascii_case(b"bytes ")).map(|_| text[6..].trim_ascii())?;
    let slash = rest.iter().position(|byte| *byte == b'/')?;
    let dash = rest[..slash].iter().position(|byte| *byte == b'-')?;
    let (first, last, whole) = (number(&rest[..dash])?, number(&rest[dash + 1..slash])?, number(&rest[slash + 1..])?);
    (first <= last && last < whole).then(|| (first..last + 1, whole))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::target::Target;
    use crate::policy::Place;
    use crate::policy::tests::{Fields, headers};
    use proptest::prelude::*;

    fn asked_part(method: &Method, asked: &[(&str, &str)], stored: &[(&str, &str)], length: u64) -> Part {
        let target = Target::parse("http://a.kz/").expect("a target");
        let ask = Ask { method, target: &target, headers: &headers(asked), place: Place::default() };
        part(&ask, &headers(stored), length)
    }

    fn of(set: &str, length: u64) -> Part {
        asked_part(&Method::GET, &[("range", set)], &[], length)
    }

    #[test]
    fn sets_of_ranges() {
        let nine = format!("bytes={}", (0..9).map(|at| format!("{}-{}", at * 100, at * 100 + 1)).collect::<Vec<_>>().join(","));
        let many = format!("bytes={}", ["0-1"; 65].join(","));
        let eight = (0..8).map(|at| at * 100..at * 100 + if at == 7 { 3 } else { 2 }).collect();
        let table: &[(&str, u64, Part)] = &[
            ("bytes=0-1", 11, Part::One(0..2)),
            ("bytes=1-", 11, Part::One(1..11)),
            ("bytes=-1", 11, Part::One(10..11)),
            ("bytes=-500", 11, Part::One(0..11)),
            ("bytes=0-", 11, Part::One(0..11)),
            ("bytes=5-99999999999999999999999", 11, Part::One(5..11)),
            ("BYTES=0-1", 11, Part::One(0..2)),
            ("bytes= 0-1 , 5-6", 1000, Part::One(0..7)),
            ("bytes=0-1,500-501", 1000, Part::Many(vec![0..2, 500..502])),
            ("bytes=500-501,0-1,-1", 1000, Part::Many(vec![0..2, 500..502, 999..1000])),
            ("bytes=0-500,100-400,-500", 1000, Part::One(0..1000)),
            ("bytes=0-1,2000-2001", 1000, Part::One(0..2)),
            ("bytes=11-", 11, Part::Unsatisfiable),
            ("bytes=-0", 11, Part::Unsatisfiable),
            ("bytes=0-", 0, Part::Unsatisfiable),
            ("bytes=-5", 0, Part::Unsatisfiable),
            ("bytes=2-1", 11, Part::Whole),
            ("bytes=", 11, Part::Whole),
            ("bytes=a-b", 11, Part::Whole),
            ("bytes=-", 11, Part::Whole),
            ("bytes=1", 11, Part::Whole),
            ("bytes=+1-2", 11, Part::Whole),
            ("bytes=0-1,x", 11, Part::Whole),
            ("pages=1-2", 11, Part::Whole),
            ("0-1", 11, Part::Whole),
            (&nine, 1000, Part::Whole),
            (&nine.replace("800-801", "700-702"), 1000, Part::Many(eight)),
            (&many, 1000, Part::Whole),
        ];
        for (set, length, wanted) in table {
            assert_eq!(of(set, *length), *wanted, "{set} of {length}");
        }
    }

    #[test]
    fn if_range_needs_the_same_strong_version() {
        let (t11, t12) = ("Wed, 25 Nov 2026 11:00:00 GMT", "Wed, 25 Nov 2026 12:00:00 GMT");
        let stored = [("etag", "\"a\""), ("last-modified", t11), ("date", t12)];
        let table: &[(&str, Fields<'_>, bool)] = &[
            ("\"a\"", &stored, true),
            ("\"b\"", &stored, false),
            ("W/\"a\"", &stored, false),
            ("W/\"a\"", &[("etag", "W/\"a\"")], false),
            (t11, &stored, true),
            (t12, &stored, false),
            (t11, &[("last-modified", t11), ("date", t11)], false),
            (t11, &[("last-modified", t11)], false),
            ("junk", &stored, false),
        ];
        for (wanted, stored, same) in table {
            let found = asked_part(&Method::GET, &[("range", "bytes=0-1"), ("if-range", wanted)], stored, 11);
            assert_eq!(found, if *same { Part::One(0..2) } else { Part::Whole }, "{wanted}");
        }
        assert_eq!(asked_part(&Method::HEAD, &[("range", "bytes=0-1")], &[], 11), Part::Whole);
        assert_eq!(asked_part(&Method::GET, &[("range", "bytes=0-1"), ("range", "bytes=2-3")], &[], 11), Part::Whole);
        assert_eq!(asked_part(&Method::GET, &[], &[], 11), Part::Whole);
    }

    #[test]
    fn pieces_are_put_together_by_strong_validators_only() {
        let (t11, t12) = ("Wed, 25 Nov 2026 11:00:00 GMT", "Wed, 25 Nov 2026 12:00:00 GMT");
        let table: &[(Fields<'_>, Option<&str>)] = &[
            (&[("etag", "\"a\"")], Some("\"a\"")),
            (&[("etag", "W/\"a\""), ("last-modified", t11), ("date", t12)], None),
            (&[("last-modified", t11), ("date", t12)], Some(t11)),
            (&[("last-modified", t11), ("date", t11)], None),
            (&[], None),
        ];
        for (stored, wanted) in table {
            assert_eq!(strong_validator(&headers(stored)).map(HeaderValue::as_bytes), wanted.map(str::as_bytes), "{stored:?}");
        }
    }

    #[test]
    fn content_ranges() {
        let table = [
            ("bytes 4-9/10", Some((4..10, 10))),
            ("BYTES 0-0/1", Some((0..1, 1))),
            ("bytes 4-9/*", None),
            ("bytes */10", None),
            ("bytes 9-4/10", None),
            ("bytes 4-10/10", None),
            ("bytes=4-9/10", None),
            ("", None),
        ];
        for (text, wanted) in table {
            assert_eq!(content_range(&text.parse().expect("a field value")), wanted, "{text}");
        }
    }

    proptest! {
        #[test]
        fn parts_lie_within_and_apart(set in "[-0-9, ]{0,40}", length in 0_u64..200) {
            let parts = match of(&format!("bytes={set}"), length) {
                Part::Whole | Part::Unsatisfiable => Vec::new(),
                Part::One(range) => vec![range],
                Part::Many(ranges) => ranges,
            };
            prop_assert!(parts.len() <= MOST_PARTS);
            prop_assert!(parts.iter().all(|range| range.start < range.end && range.end <= length));
            prop_assert!(parts.windows(2).all(|pair| pair[0].end + NEAR < pair[1].start));
        }
    }
}
