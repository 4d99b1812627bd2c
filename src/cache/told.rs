//! What is said of parts in fields (RFC 9110 section 14): by clients, and by origins, which are believed only where all agrees.

use http::header::{CONTENT_LENGTH, CONTENT_RANGE};
use http::{HeaderMap, HeaderValue};
use std::ops::Range;

/// `bytes=a-b` or `bytes=a-` as a range; anything else is `None`.
pub(crate) fn simple_range(value: &HeaderValue) -> Option<Range<u64>> {
    let (first, last) = value.to_str().ok()?.strip_prefix("bytes=")?.split_once('-')?;
    let start = digits(first)?;
    let end = if last.is_empty() { u64::MAX } else { digits(last)?.checked_add(1)? };
    (start < end).then_some(start..end)
}

/// Which part an answer says that it is: one Content-Range, and a length that agrees with it where there is one.
pub(crate) fn told_part(headers: &HeaderMap) -> Option<(u64, u64, u64)> {
    let mut told = headers.get_all(CONTENT_RANGE).iter();
    let (Some(value), None) = (told.next(), told.next()) else { return None };
    let found = read_content_range(value)?;
    let length = headers.get(CONTENT_LENGTH).map(|value| value.to_str().ok().and_then(digits));
    length.is_none_or(|length| length == Some(found.1 - found.0)).then_some(found)
}

/// The length that a 416 tells: `bytes */total` (RFC 9110 section 15.5.17).
pub(crate) fn told_total(headers: &HeaderMap) -> Option<u64> {
    digits(headers.get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes */")?)
}

/// `bytes a-b/total` (RFC 9110 section 14.4), with the end turned exclusive.
fn read_content_range(value: &HeaderValue) -> Option<(u64, u64, u64)> {
    let (range, total) = value.to_str().ok()?.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (start, end, total) = (digits(first)?, digits(last)?.checked_add(1)?, digits(total)?);
    (start < end && end <= total).then_some((start, end, total))
}

fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Less than this of what was asked for is not gone on with: a file of 1 GB would take 16,000 questions.
const CRUMB: u64 = 64 << 10;

/// Whether a part is what was asked for, or a beginning of it that is worth a further question.
pub(crate) fn begins(gap: &Range<u64>, part: &Range<u64>) -> bool {
    part.start == gap.start && (part.end == gap.end || (part.end < gap.end && part.end - part.start >= CRUMB))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found by tests/hostile: the first of two was believed, and a length that says something else was not looked at.
    #[test]
    fn a_part_that_contradicts_itself_is_none() {
        let headers = |fields: &[(&'static str, &'static str)]| -> HeaderMap {
            fields.iter().map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
        };
        let one = ("content-range", "bytes 0-3/10");
        assert_eq!(told_part(&headers(&[one])), Some((0, 4, 10)));
        assert_eq!(told_part(&headers(&[one, ("content-length", "4")])), Some((0, 4, 10)));
        for other in [("content-range", "bytes 4-7/10"), ("content-length", "5"), ("content-length", "x")] {
            assert_eq!(told_part(&headers(&[one, other])), None, "{other:?}");
        }
        assert_eq!(told_part(&HeaderMap::new()), None);
    }

    #[test]
    fn a_shorter_part_goes_on_from_where_it_ends() {
        const M: u64 = 1 << 20;
        for (part, is) in [
            (M..9 * M, true),
            (M..2 * M, true),
            (M..M + CRUMB, true),
            (M..M + CRUMB - 1, false),
            (M..9 * M + 1, false),
            (0..9 * M, false),
            (2 * M..9 * M, false),
        ] {
            assert_eq!(begins(&(M..9 * M), &part), is, "{part:?}");
        }
        assert!(begins(&(5..9), &(5..9)), "all of it");
    }

    #[test]
    fn ranges_and_content_ranges_are_read_strictly() {
        let simple = |text: &'static str| simple_range(&HeaderValue::from_static(text));
        assert_eq!(simple("bytes=0-9"), Some(0..10));
        assert_eq!(simple("bytes=5-"), Some(5..u64::MAX));
        for bad in ["bytes=-5", "bytes=9-0", "bytes=0-1,3-4", "items=0-1", "bytes=+1-2", "bytes=0-18446744073709551615"] {
            assert_eq!(simple(bad), None, "{bad}");
        }
        let total = |text: &'static str| told_total(&HeaderMap::from_iter([(CONTENT_RANGE, HeaderValue::from_static(text))]));
        assert_eq!(
            (total("bytes */70"), total("bytes */*"), total("bytes 0-1/70"), told_total(&HeaderMap::new())),
            (Some(70), None, None, None)
        );
        let told = |text: &'static str| read_content_range(&HeaderValue::from_static(text));
        assert_eq!(told("bytes 0-9/100"), Some((0, 10, 100)));
        for bad in ["bytes 0-9/*", "bytes */100", "bytes 0-100/100", "bytes 9-0/100", "0-9/100", "bytes 0-9/ 100"] {
            assert_eq!(told(bad), None, "{bad}");
        }
    }
}
