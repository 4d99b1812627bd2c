//! HTTP dates as caches meet them (RFC 9110 section 5.6.7): the three forms, strict in shape, lenient where it cannot mislead.
//!
//! Letters count in either case and a weekday that does not belong to the date is forgiven; everything else (other zones, four
//! digits in the RFC 850 form, missing commas, one-digit hours) is no date. `base::clock` keeps the strict reader.

use crate::base::clock::Time;
use http::HeaderValue;

const MONTHS: [&[u8; 3]; 12] = [b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"];
const SHORT_DAYS: [&[u8]; 7] = [b"mon", b"tue", b"wed", b"thu", b"fri", b"sat", b"sun"];
const LONG_DAYS: [&[u8]; 7] = [b"monday", b"tuesday", b"wednesday", b"thursday", b"friday", b"saturday", b"sunday"];

/// Reads a field value as an HTTP date; `None` when it is none.
pub fn read(value: &HeaderValue) -> Option<Time> {
    parse(value.as_bytes())
}

/// Reads an HTTP date; `None` when it is none.
pub fn parse(text: &[u8]) -> Option<Time> {
    let text = text.trim_ascii();
    // The longest form is `Wednesday, 06-Nov-94 08:49:37 GMT`.
    if text.len() > 33 {
        return None;
    }
    fixdate(text).or_else(|| rfc850(text)).or_else(|| asctime(text))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
fn fixdate(text: &[u8]) -> Option<Time> {
    if text.len() != 29 || &text[3..5] != b", " || text[7] != b' ' || text[11] != b' ' || text[16] != b' ' || !zone(&text[25..]) {
        return None;
    }
    one_of(&text[..3], &SHORT_DAYS)?;
    moment(number(&text[12..16])?, month(&text[8..11])?, number(&text[5..7])?, &text[17..25])
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`; years below 70 are of this century.
fn rfc850(text: &[u8]) -> Option<Time> {
    let comma = text.iter().position(|byte| *byte == b',')?;
    one_of(&text[..comma], &LONG_DAYS)?;
    let rest = &text[comma + 1..];
    if rest.len() != 23 || rest[0] != b' ' || rest[3] != b'-' || rest[7] != b'-' || rest[10] != b' ' || !zone(&rest[19..]) {
        return None;
    }
    let year = number(&rest[8..10])?;
    let century = if year < 70 { 2000 } else { 1900 };
    moment(century + year, month(&rest[4..7])?, number(&rest[1..3])?, &rest[11..19])
}

/// `Sun Nov  6 08:49:37 1994`
fn asctime(text: &[u8]) -> Option<Time> {
    if text.len() != 24 || text[3] != b' ' || text[7] != b' ' || text[10] != b' ' || text[19] != b' ' {
        return None;
    }
    one_of(&text[..3], &SHORT_DAYS)?;
    let day = if text[8] == b' ' { number(&text[9..10])? } else { number(&text[8..10])? };
    moment(number(&text[20..24])?, month(&text[4..7])?, day, &text[11..19])
}

fn zone(text: &[u8]) -> bool {
    text.eq_ignore_ascii_case(b" GMT")
}

fn one_of(name: &[u8], names: &[&[u8]]) -> Option<()> {
    names.iter().any(|known| name.eq_ignore_ascii_case(known)).then_some(())
}

fn month(name: &[u8]) -> Option<i64> {
    let at = MONTHS.iter().position(|known| name.eq_ignore_ascii_case(*known))?;
    i64::try_from(at + 1).ok()
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0')))
}

/// Puts a moment together; `clock` is `08:49:37`. A leap second counts as the next second.
fn moment(year: i64, month: i64, day: i64, clock: &[u8]) -> Option<Time> {
    if clock[2] != b':' || clock[5] != b':' {
        return None;
    }
    let (hour, minute, second) = (number(&clock[..2])?, number(&clock[3..5])?, number(&clock[6..])?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if day < 1 || day > days || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    Some(Time::from_secs(((days_since_epoch(year, month, day) * 24 + hour) * 60 + minute) * 60 + second))
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar: the year is taken to start in March, so that the leap day is its
/// last, and 400 years are 146,097 days.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn three_forms_in_any_case() {
        let wanted = Some(Time::from_secs(784_111_777));
        let table = [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "SUN, 06 NOV 1994 08:49:37 gMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "Mon Nov  6 08:49:37 1994",
            " Sun, 06 Nov 1994 08:49:37 GMT ",
        ];
        for text in table {
            assert_eq!(parse(text.as_bytes()), wanted, "{text}");
        }
        assert_eq!(parse(b"Thursday, 18-Aug-50 02:01:18 GMT"), parse(b"Thu, 18 Aug 2050 02:01:18 GMT"));
    }

    #[test]
    fn everything_else_is_no_date() {
        let table = [
            "",
            "0",
            "-1",
            "foo",
            "Thu, 18 Aug 2050 02:01:18 UTC",
            "Thu, 18 Aug 2050 02:01:18 AEST",
            "Thu, 18 Aug 50 02:01:18 GMT",
            "Thu 18 Aug 2050 02:01:18 GMT",
            "Thu, 18  Aug  2050 02:01:18 GMT",
            "Thu, 18-Aug-2050 02:01:18 GMT",
            "Thu, 18 Aug 2050 02.01.18 GMT",
            "Thu, 18 Aug 2050 2:01:18 GMT",
            "Thu, 32 Aug 2050 02:01:18 GMT",
            "Thu, 30 Feb 2050 02:01:18 GMT",
            "Thu, 18 Aug 2050 24:01:18 GMT",
            "Thu, +8 Aug 2050 02:01:18 GMT",
            "2050-08-18T02:01:18Z",
            "Thu, 18 Aug 2050 02:01:18 GMT, Thu, 18 Aug 2050 02:01:18 GMT",
        ];
        for text in table {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_strict_reader(secs in 0_i64..253_402_300_799) {
            let text = Time::from_secs(secs).to_http();
            prop_assert_eq!(parse(text.as_bytes()), Some(Time::from_secs(secs)));
            prop_assert_eq!(parse(text.as_bytes()), Time::parse_http(&text));
        }

        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Some(time) = parse(&bytes) {
                prop_assert!(time.secs() > -62_200_000_000);
            }
        }
    }
}
