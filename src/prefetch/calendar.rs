//! The school's calendar: days without school, on which windows of their own hold.
//!
//! A day is written as a date, a range of dates with both ends, or month and day for every year; a name may follow:
//! `2026-12-29..2027-01-10 winter break`, `03-21..03-23 Nauryz`. Pure.

use jiff::civil::Date;
use std::fmt;
use std::str::FromStr;

/// Longest range, days: a longer one is a slip of the pen in the year.
const LONGEST: i64 = 366;
/// Longest name of a day without school, in characters: it stands in one line of a status.
const NAME: usize = 80;
/// A year with a 29 February, to try days that come every year.
const LEAP: i16 = 2024;

/// One day or a range of days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dates {
    /// In one year; both ends belong to it.
    Once(Date, Date),
    /// Every year, as (month, day); one that begins after it ends goes over New Year.
    Yearly((i8, i8), (i8, i8)),
}

/// The text is no date and no range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write \"2026-12-31\", \"2026-12-29..2027-01-10\" (at most a year), or for every year \"12-16\" or \"12-29..01-10\"")]
pub struct BadDates;

impl Dates {
    /// Whether this day is one of them.
    pub fn hold(&self, date: Date) -> bool {
        match *self {
            Dates::Once(first, last) => first <= date && date <= last,
            Dates::Yearly(first, last) => {
                let day = (date.month(), date.day());
                if first <= last { first <= day && day <= last } else { day >= first || day <= last }
            }
        }
    }
}

impl FromStr for Dates {
    type Err = BadDates;

    fn from_str(text: &str) -> Result<Dates, BadDates> {
        let text = text.trim();
        let (first, last) = text.split_once("..").unwrap_or((text, text));
        if let (Some(first), Some(last)) = (full(first), full(last)) {
            let days = last.duration_since(first).as_hours() / 24;
            return if (0..LONGEST).contains(&days) { Ok(Dates::Once(first, last)) } else { Err(BadDates) };
        }
        Ok(Dates::Yearly(short(first).ok_or(BadDates)?, short(last).ok_or(BadDates)?))
    }
}

impl fmt::Display for Dates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Dates::Once(first, last) if first == last => write!(f, "{first}"),
            Dates::Once(first, last) => write!(f, "{first}..{last}"),
            Dates::Yearly(first, last) if first == last => write!(f, "{:02}-{:02}", first.0, first.1),
            Dates::Yearly(first, last) => write!(f, "{:02}-{:02}..{:02}-{:02}", first.0, first.1, last.0, last.1),
        }
    }
}

/// `2026-12-31` and nothing else.
fn full(text: &str) -> Option<Date> {
    let (year, day) = text.split_once('-')?;
    let (month, day) = short(day)?;
    Date::new(digits(year, 4)?, month, day).ok()
}

/// `12-31`.
fn short(text: &str) -> Option<(i8, i8)> {
    let (month, day) = text.split_once('-')?;
    let (month, day) = (i8::try_from(digits(month, 2)?).ok()?, i8::try_from(digits(day, 2)?).ok()?);
    Date::new(LEAP, month, day).ok().map(|_| (month, day))
}

fn digits(text: &str, count: usize) -> Option<i16> {
    (text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

/// Days without school.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holiday {
    /// Which.
    pub dates: Dates,
    /// What people call them; may be empty.
    pub name: String,
}

impl FromStr for Holiday {
    type Err = BadDates;

    fn from_str(text: &str) -> Result<Holiday, BadDates> {
        let text = text.trim();
        let (dates, name) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let name = name.trim();
        if name.chars().count() > NAME || name.chars().any(char::is_control) {
            return Err(BadDates);
        }
        Ok(Holiday { dates: dates.parse()?, name: name.to_owned() })
    }
}

impl fmt::Display for Holiday {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.is_empty() { write!(f, "{}", self.dates) } else { write!(f, "{} {}", self.dates, self.name) }
    }
}

/// All days without school.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calendar {
    /// In the order in which they were written.
    pub days: Vec<Holiday>,
}

impl Calendar {
    /// Why there is no school on this day; `None` when there is.
    pub fn holiday(&self, date: Date) -> Option<&Holiday> {
        self.days.iter().find(|holiday| holiday.dates.hold(date))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(text: &str) -> Date {
        full(text).expect("a date")
    }

    #[test]
    fn days_are_read_and_printed() {
        for text in ["2026-12-31", "2026-12-29..2027-01-10", "2027-03-22 Nauryz", "12-16", "12-29..01-10 winter break", "02-29"] {
            assert_eq!(text.parse::<Holiday>().expect(text).to_string(), text);
        }
        assert_eq!("  2026-12-31..2026-12-31   Жаңа жыл ".parse::<Holiday>().expect("read").to_string(), "2026-12-31 Жаңа жыл");
        let long = format!("12-16 {}", "x".repeat(81));
        let wrong = [
            "",
            "winter",
            "2026-13-01",
            "2026-02-29",
            "2027-01-10..2026-12-29",
            "2026-12-29..2037-01-10",
            "2026-12-29..",
            "2026-12-29..01-10",
            "26-12-29",
            "2026-1-1",
            "12-32",
            "2026-12-29...2027-01-10",
            "12-16 a\u{7}",
            &long,
        ];
        for text in wrong {
            assert!(text.parse::<Holiday>().is_err(), "{text}");
        }
    }

    #[test]
    fn days_without_school() {
        let days = ["2026-12-29..2027-01-10 winter", "03-21..03-23 Nauryz", "12-30..01-02", "2026-05-25..2026-08-31 summer"];
        let calendar = Calendar { days: days.iter().map(|text| text.parse().expect("days")).collect() };
        let table = [
            ("2026-12-28", None),
            ("2026-12-29", Some("winter")),
            ("2027-01-01", Some("winter")),
            ("2027-01-10", Some("winter")),
            ("2027-01-11", None),
            ("2031-03-22", Some("Nauryz")),
            ("2031-03-24", None),
            ("2031-12-31", Some("")),
            ("2032-01-02", Some("")),
            ("2032-01-03", None),
            ("2026-07-15", Some("summer")),
            ("2027-07-15", None),
        ];
        for (day, wanted) in table {
            assert_eq!(calendar.holiday(date(day)).map(|holiday| holiday.name.as_str()), wanted, "{day}");
        }
    }
}
