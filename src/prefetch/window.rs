//! When the night's work may run: weekday windows in the school's own time zone.
//!
//! Ends are wall-clock times: on a day when the clock is put forward or back a window starts and stops at the written hour all
//! the same (a written hour that does not exist counts as the next one that does).

use crate::base::clock::Time;
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use std::fmt;
use std::str::FromStr;

/// One window: `mon-fri 22:00-07:00`, `sat,sun 00:00-24:00`. The days are those on which it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Monday first.
    days: [bool; 7],
    /// Minutes after midnight.
    from: i32,
    /// Minutes after midnight; not after `from`: on the next day.
    to: i32,
}

/// The text is no window.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write it like \"mon-sun 22:00-07:00\" or \"sat,sun 00:00-24:00\"")]
pub struct BadWindow;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

impl FromStr for Window {
    type Err = BadWindow;

    fn from_str(text: &str) -> Result<Window, BadWindow> {
        let text = text.trim().to_ascii_lowercase();
        let (days, hours) = text.rsplit_once(char::is_whitespace).ok_or(BadWindow)?;
        let (from, to) = hours.split_once('-').ok_or(BadWindow)?;
        let (from, to) = (minutes(from).ok_or(BadWindow)?, minutes(to).ok_or(BadWindow)?);
        if from == 24 * 60 {
            return Err(BadWindow);
        }
        let mut window = Window { days: [false; 7], from, to };
        for part in days.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let day = |name: &str| DAYS.iter().position(|day| *day == name.trim()).ok_or(BadWindow);
            let (first, last) = (day(first)?, day(last)?);
            let span = (last + 7 - first) % 7;
            (0..=span).for_each(|step| window.days[(first + step) % 7] = true);
        }
        Ok(window)
    }
}

fn minutes(text: &str) -> Option<i32> {
    let (hour, minute) = text.trim().split_once(':')?;
    let digits = |text: &str| (text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse::<i32>().ok())?;
    let (hour, minute) = (digits(hour)?, digits(minute)?);
    (minute < 60 && (hour < 24 || (hour == 24 && minute == 0))).then_some(hour * 60 + minute)
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days: Vec<&str> = DAYS.iter().zip(self.days).filter(|(_, on)| *on).map(|(name, _)| *name).collect();
        let days = if days.len() == 7 { String::from("mon-sun") } else { days.join(",") };
        write!(f, "{days} {:02}:{:02}-{:02}:{:02}", self.from / 60, self.from % 60, self.to / 60, self.to % 60)
    }
}

/// All windows with their time zone.
#[derive(Clone, Debug)]
pub struct Windows {
    /// The windows.
    pub list: Vec<Window>,
    /// The school's time zone.
    pub zone: TimeZone,
}

impl Windows {
    /// Whether a window is open, and until when; windows that touch count as one.
    pub fn open_at(&self, now: Time) -> Option<Time> {
        let spans = self.spans(now);
        let mut end = spans.iter().filter(|(from, to)| *from <= now && now < *to).map(|(_, to)| *to).max()?;
        // A week of windows without a gap never closes; looking eight days ahead is enough to say so.
        while let Some(later) = spans.iter().filter(|(from, to)| *from <= end && *to > end).map(|(_, to)| *to).max() {
            end = later;
        }
        Some(end)
    }

    /// When the next window opens after `now`; `None` when there is none.
    pub fn next_open(&self, now: Time) -> Option<Time> {
        self.spans(now).into_iter().map(|(from, _)| from).filter(|from| *from > now).min()
    }

    /// The date at the school, as `2026-11-25`.
    pub fn day(&self, now: Time) -> String {
        self.date(now).map_or_else(|| String::from("unknown"), |date| date.to_string())
    }

    /// The next midnight at the school.
    pub fn next_day(&self, now: Time) -> Time {
        let midnight = self.date(now).and_then(|date| self.moment(date, 24 * 60));
        midnight.unwrap_or_else(|| now.plus(std::time::Duration::from_secs(86_400)))
    }

    fn date(&self, now: Time) -> Option<Date> {
        Some(Timestamp::from_microsecond(now.micros()).ok()?.to_zoned(self.zone.clone()).date())
    }

    /// The windows from the day before `now` to eight days after.
    fn spans(&self, now: Time) -> Vec<(Time, Time)> {
        let Some(today) = self.date(now) else { return Vec::new() };
        let mut spans = Vec::new();
        let mut date = today.yesterday().unwrap_or(today);
        for _ in 0..10 {
            let weekday = usize::from(Weekday::to_monday_zero_offset(date.weekday()).unsigned_abs());
            for window in self.list.iter().filter(|window| window.days[weekday]) {
                let end = if window.to > window.from { window.to } else { window.to + 24 * 60 };
                if let (Some(from), Some(to)) = (self.moment(date, window.from), self.moment(date, end)) {
                    spans.push((from, to));
                }
            }
            let Ok(next) = date.tomorrow() else { break };
            date = next;
        }
        spans
    }

    /// The wall-clock minute of a date as a moment; past midnight it is the next day's.
    fn moment(&self, date: Date, minutes: i32) -> Option<Time> {
        let wall = date.at(0, 0, 0, 0).checked_add(SignedDuration::from_mins(i64::from(minutes))).ok()?;
        let stamp = self.zone.to_ambiguous_timestamp(wall).compatible().ok()?;
        Some(Time::from_micros(stamp.as_microsecond()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(zone: &str, list: &[&str]) -> Windows {
        Windows { list: list.iter().map(|text| text.parse().expect("a window")).collect(), zone: TimeZone::get(zone).expect("a zone") }
    }

    fn at(text: &str) -> Time {
        Time::from_micros(text.parse::<Timestamp>().expect("a time").as_microsecond())
    }

    #[test]
    fn windows_are_read_and_printed() {
        let table = [
            ("mon-sun 22:00-07:00", "mon-sun 22:00-07:00"),
            ("Sat,Sun 00:00-24:00", "sat,sun 00:00-24:00"),
            ("fri-mon 01:30-02:00", "mon,fri,sat,sun 01:30-02:00"),
            ("mon-wed, fri 22:00-23:00", "mon,tue,wed,fri 22:00-23:00"),
        ];
        for (text, wanted) in table {
            assert_eq!(text.parse::<Window>().expect(text).to_string(), wanted);
        }
        for text in
            ["", "22:00-07:00", "mon 22:00", "mon 25:00-07:00", "xyz 22:00-07:00", "mon 24:00-07:00", "mon 1:00-02:00", "mon 10:60-11:00"]
        {
            assert!(text.parse::<Window>().is_err(), "{text}");
        }
    }

    #[test]
    fn open_until_seven_sharp() {
        let night = windows("Asia/Almaty", &["mon-sun 22:00-07:00"]);
        // Almaty is UTC+5.
        let table = [
            ("2026-11-25T16:59:59Z", None, "2026-11-25T17:00:00Z"),
            ("2026-11-25T17:00:00Z", Some("2026-11-26T02:00:00Z"), "2026-11-26T17:00:00Z"),
            ("2026-11-26T01:59:59Z", Some("2026-11-26T02:00:00Z"), "2026-11-26T17:00:00Z"),
            ("2026-11-26T02:00:00Z", None, "2026-11-26T17:00:00Z"),
        ];
        for (now, until, next) in table {
            assert_eq!((night.open_at(at(now)), night.next_open(at(now))), (until.map(at), Some(at(next))), "{now}");
        }
        assert_eq!(night.day(at("2026-11-25T19:30:00Z")), "2026-11-26");
    }

    #[test]
    fn weekends_touch_and_weeks_wrap() {
        let weekend = windows("Asia/Almaty", &["sat,sun 00:00-24:00", "fri 22:00-24:00"]);
        // 2026-11-27 is a Friday.
        assert_eq!(weekend.open_at(at("2026-11-27T18:00:00Z")), Some(at("2026-11-29T19:00:00Z")));
        assert_eq!(weekend.open_at(at("2026-11-25T18:00:00Z")), None);
        assert_eq!(weekend.next_open(at("2026-11-29T19:00:00Z")), Some(at("2026-12-04T17:00:00Z")));
        assert_eq!(windows("Asia/Almaty", &[]).next_open(at("2026-11-25T18:00:00Z")), None);
    }

    #[test]
    fn the_written_hour_holds_when_clocks_change() {
        // Berlin: 2026-03-29 02:00 -> 03:00, 2026-10-25 03:00 -> 02:00.
        let night = windows("Europe/Berlin", &["sat 22:00-07:00"]);
        assert_eq!(night.open_at(at("2026-03-28T21:30:00Z")), Some(at("2026-03-29T05:00:00Z")));
        assert_eq!(night.open_at(at("2026-10-24T20:30:00Z")), Some(at("2026-10-25T06:00:00Z")));
        let gap = windows("Europe/Berlin", &["sun 02:30-04:00"]);
        assert_eq!(gap.open_at(at("2026-03-29T01:45:00Z")), Some(at("2026-03-29T02:00:00Z")));
    }
}
