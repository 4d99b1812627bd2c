//! Days as people of a place count them, a region or a school: local dates, numbered from 1970-01-01. Pure.

use crate::base::clock::Time;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use std::time::Duration;

/// 1970-01-01.
const FIRST: Date = jiff::civil::date(1970, 1, 1);

/// The place's time zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar(TimeZone);

impl Default for Calendar {
    /// UTC.
    fn default() -> Calendar {
        Calendar(TimeZone::UTC)
    }
}

impl Calendar {
    /// By a name of the IANA database.
    pub fn of(zone: &str) -> Option<Calendar> {
        TimeZone::get(zone).ok().map(Calendar)
    }

    /// The number of the day that holds a moment.
    pub fn day(&self, moment: Time) -> i32 {
        let date = jiff::Timestamp::from_microsecond(moment.micros()).map_or(FIRST, |stamp| stamp.to_zoned(self.0.clone()).date());
        number(date)
    }

    /// From when until when a day is. A day of a change of clocks has 23 or 25 hours.
    pub fn span(&self, day: i32) -> (Time, Time) {
        let start = |day: i32| {
            let zoned = date(day).to_zoned(self.0.clone());
            zoned.map_or(Time::from_secs(i64::from(day) * 86_400), |zoned| Time::from_micros(zoned.timestamp().as_microsecond()))
        };
        (start(day), start(day.saturating_add(1)))
    }

    /// The numbers of all days that a stretch of time touches, at most `most` of them, the last ones.
    pub fn days(&self, start: Time, end: Time, most: i32) -> std::ops::RangeInclusive<i32> {
        // The last moment is not included, but for a stretch without length.
        let last = self.day(end.minus(Duration::from_micros(1)).max(start));
        self.day(start).max(last.saturating_sub(most - 1))..=last
    }

    /// A moment as people of the place read it: `24.11.2026 05:00`.
    pub fn clock(&self, moment: Time) -> String {
        jiff::Timestamp::from_microsecond(moment.micros())
            .map_or_else(|_| "–".into(), |stamp| stamp.to_zoned(self.0.clone()).strftime("%d.%m.%Y %H:%M").to_string())
    }

    /// The day of a moment (RFC 3339) as people of the place read it: `24.11.2026`; the text as it is where it is no moment.
    pub fn day_of(&self, stamp: &str) -> String {
        let moment = stamp.parse::<jiff::Timestamp>();
        moment.map_or_else(|_| stamp.to_owned(), |moment| moment.to_zoned(self.0.clone()).strftime("%d.%m.%Y").to_string())
    }
}

/// The date of a day's number.
pub fn date(day: i32) -> Date {
    // Numbers come from dates or from a database that was made from them; what is outside stays at the edge.
    FIRST.saturating_add(jiff::Span::new().try_days(day).unwrap_or_default())
}

/// The number of a date.
pub fn number(date: Date) -> i32 {
    date.since((jiff::Unit::Day, FIRST)).map_or(0, |span| span.get_days())
}

/// `2026-11-24`.
pub fn iso(day: i32) -> String {
    date(day).to_string()
}

/// Reads `2026-11-24`.
pub fn parse(text: &str) -> Option<i32> {
    text.parse().ok().map(number)
}

/// `24.11.2026`.
pub fn plain(day: i32) -> String {
    date(day).strftime("%d.%m.%Y").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-24T05:00:00Z, in Almaty 10:00.
    const NOW: Time = Time::from_secs(1_795_496_400);

    #[test]
    fn days_are_those_of_the_region() {
        let almaty = Calendar::of("Asia/Almaty").expect("known");
        let today = almaty.day(NOW);
        assert_eq!((iso(today).as_str(), plain(today).as_str(), parse("2026-11-24")), ("2026-11-24", "24.11.2026", Some(today)));
        let (start, end) = almaty.span(today);
        assert_eq!((start.to_rfc3339().as_str(), end.since(start)), ("2026-11-23T19:00:00.000000Z", Duration::from_hours(24)));
        assert_eq!((almaty.day(start), almaty.day(end), almaty.day(start.minus(Duration::from_micros(1)))), (today, today + 1, today - 1));
        assert_eq!(almaty.days(start, end, 40), today..=today);
        assert_eq!(almaty.days(start, start, 40), today..=today);
        assert_eq!(almaty.days(start.minus(Duration::from_hours(240)), end, 5), today - 4..=today);
        assert_eq!(almaty.clock(NOW), "24.11.2026 10:00");
        assert!(Calendar::of("Mars/Olympus").is_none());
        assert_eq!(parse("24.11.2026"), None);
    }

    #[test]
    fn odd_numbers_are_no_panic() {
        let utc = Calendar::of("UTC").expect("known");
        for day in [i32::MIN, -1, 0, i32::MAX] {
            let _ = (date(day), iso(day), utc.span(day));
        }
        for moment in [i64::MIN, -1, i64::MAX] {
            let _ = (utc.day(Time::from_micros(moment)), utc.clock(Time::from_micros(moment)));
        }
        assert_eq!((number(date(0)), number(date(-800)), number(date(20_000))), (0, -800, 20_000));
    }
}
