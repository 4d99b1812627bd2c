//! The days that a statement is about: as they are asked for, and what is said of a wrong wish. Pure.

use crate::base::calendar;
use crate::base::problem::Problem;
use axum::http::StatusCode;
use jiff::civil::Date;

/// Days without a wish: the last thirty, today included.
const USUAL: i32 = 30;

/// A statement covers a year at most: hours are kept for two.
const LONGEST: i32 = 366;

/// First and last day, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// The first day.
    pub from: i32,
    /// The last day, included.
    pub to: i32,
}

/// What is wrong with a wish.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No month.
    #[error("\"{0}\" is no month; write it like 2026-10")]
    Month(String),
    /// No day.
    #[error("\"{0}\" is no day; write it like 2026-10-31")]
    Day(String),
    /// A month and days.
    #[error("a month and days were asked for; ask for one of them")]
    Both,
    /// Ends before it begins.
    #[error("the period ends before it begins; give --from the earlier day")]
    Backwards,
    /// More than a year.
    #[error("the period has {0} days; ask for {LONGEST} at most")]
    Long(i32),
    /// It has not begun.
    #[error("the period begins after today; ask for one that has begun")]
    Ahead,
}

impl Error {
    /// For an API.
    pub fn problem(&self) -> Problem {
        let text = self.to_string();
        let (what, remedy) = text.split_once("; ").unwrap_or((&text, "write 2026-10"));
        Problem::new(StatusCode::BAD_REQUEST, "statement.period", what, remedy)
    }
}

impl Period {
    /// By month, or first and last day, or without a wish; `today`: the day at the school.
    ///
    /// # Errors
    /// What is wrong with the wish.
    pub fn of(month: Option<&str>, from: Option<&str>, to: Option<&str>, today: i32) -> Result<Period, Error> {
        let day = |text: &str| calendar::parse(text).ok_or_else(|| Error::Day(text.into()));
        let period = match (month, from, to) {
            (Some(_), Some(_), _) | (Some(_), _, Some(_)) => return Err(Error::Both),
            (Some(text), ..) => month_of(text).ok_or_else(|| Error::Month(text.into()))?,
            (None, None, None) => Period { from: today - (USUAL - 1), to: today },
            (None, from, to) => {
                let to = to.map(day).transpose()?;
                let from = from.map(day).transpose()?;
                // With one end alone: from then until today, or the thirty days until then.
                let to = to.unwrap_or(today);
                Period { from: from.unwrap_or(to.saturating_sub(USUAL - 1)), to }
            }
        };
        match period {
            Period { from, .. } if from > today => Err(Error::Ahead),
            Period { from, to } if from > to => Err(Error::Backwards),
            period if period.length() > LONGEST => Err(Error::Long(period.length())),
            period => Ok(period),
        }
    }

    /// Days of it.
    pub fn length(self) -> i32 {
        self.to.saturating_sub(self.from).saturating_add(1)
    }
}

fn month_of(text: &str) -> Option<Period> {
    let (year, month) = text.split_once('-')?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if year.len() != 4 || month.len() != 2 || !digits(year) || !digits(month) {
        return None;
    }
    let first = Date::new(year.parse().ok()?, month.parse().ok()?, 1).ok()?;
    Some(Period { from: calendar::number(first), to: calendar::number(first.last_of_month()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_as_they_are_asked_for() {
        let today = calendar::parse("2026-11-27").expect("a day");
        let of = |month, from, to| {
            Period::of(month, from, to, today)
                .map(|period| (calendar::iso(period.from), calendar::iso(period.to)))
                .map_err(|e| e.to_string())
        };
        let good = |from: &str, to: &str| Ok((from.to_owned(), to.to_owned()));
        assert_eq!(of(Some("2026-10"), None, None), good("2026-10-01", "2026-10-31"));
        assert_eq!(of(Some("2024-02"), None, None), good("2024-02-01", "2024-02-29"));
        assert_eq!(of(Some("2026-11"), None, None), good("2026-11-01", "2026-11-30"), "it has begun");
        assert_eq!(of(None, None, None), good("2026-10-29", "2026-11-27"));
        assert_eq!(of(None, Some("2026-09-01"), None), good("2026-09-01", "2026-11-27"));
        assert_eq!(of(None, None, Some("2026-09-30")), good("2026-09-01", "2026-09-30"));
        assert_eq!(of(None, Some("2026-09-30"), Some("2026-09-30")), good("2026-09-30", "2026-09-30"));
        for (month, from, to, wanted) in [
            (Some("2026-13"), None, None, "2026-10"),
            (Some("october"), None, None, "2026-10"),
            (Some("+026-10"), None, None, "2026-10"),
            (Some("2026-10"), Some("2026-10-01"), None, "one of them"),
            (None, Some("1.10.2026"), None, "2026-10-31"),
            (None, Some("2026-10-02"), Some("2026-10-01"), "the earlier day"),
            (None, Some("2025-01-01"), Some("2026-10-01"), "366 at most"),
            (Some("2026-12"), None, None, "after today"),
            (None, Some("9999-12-31"), Some("9999-12-31"), "after today"),
        ] {
            let said = of(month, from, to).expect_err("wrong");
            assert!(said.contains(wanted), "{said}");
        }
    }
}
