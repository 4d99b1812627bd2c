//! When the night's work may run: windows by weekday and by date in the school's own time zone, others on days without school.
//!
//! Each hour goes by the list of the day it lies in: in the night before the first day without school the usual windows hold until
//! midnight and the others from then on, and on the morning after the last one the usual windows hold again. A window by date
//! holds on its day whatever the calendar says. Ends are wall-clock times: on a day when the clock is put forward or back a window
//! starts and stops at the written hour all the same (a written hour that does not exist is moved on by the hour that is missing).

use crate::base::clock::Time;
use crate::base::unit::Wait;
use crate::prefetch::calendar::{Calendar, Dates, Holiday};
use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Days looked ahead for a window's beginning or end.
const SOON: usize = 10;
/// And when that shows none: the longest holidays (92 days) have an end, and a date of next year is found.
const FAR: usize = 400;
/// Days looked back for the last window.
const BACK: i32 = 8;
/// Minutes of a day.
const DAY: i32 = 24 * 60;

/// One window: `mon-fri 22:00-07:00`, `sat,sun 00:00-24:00`, `2026-12-31 10:00-14:00`, `2026-12-29..2027-01-10 09:00-17:00`. The days
/// are those on which it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    days: Days,
    /// Minutes after midnight.
    from: i32,
    /// Minutes after midnight; not after `from`: on the next day.
    to: i32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Days {
    /// Monday first.
    Week([bool; 7]),
    Dates(Dates),
}

/// The text is no window.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write it like \"mon-sun 22:00-07:00\", \"sat,sun 00:00-24:00\" or \"2026-12-31 10:00-14:00\"")]
pub struct BadWindow;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

impl FromStr for Window {
    type Err = BadWindow;

    fn from_str(text: &str) -> Result<Window, BadWindow> {
        let text = text.trim().to_ascii_lowercase();
        let (days, hours) = text.rsplit_once(char::is_whitespace).ok_or(BadWindow)?;
        let (from, to) = hours.split_once('-').ok_or(BadWindow)?;
        let (from, to) = (minutes(from).ok_or(BadWindow)?, minutes(to).ok_or(BadWindow)?);
        if from == DAY {
            return Err(BadWindow);
        }
        let dated = days.starts_with(|letter: char| letter.is_ascii_digit());
        let days = if dated { Days::Dates(days.parse().map_err(|_| BadWindow)?) } else { Days::Week(week(days)?) };
        Ok(Window { days, from, to })
    }
}

fn week(text: &str) -> Result<[bool; 7], BadWindow> {
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let day = |name: &str| DAYS.iter().position(|day| *day == name.trim()).ok_or(BadWindow);
        let (first, last) = (day(first)?, day(last)?);
        let span = (last + 7 - first) % 7;
        (0..=span).for_each(|step| days[(first + step) % 7] = true);
    }
    Ok(days)
}

fn minutes(text: &str) -> Option<i32> {
    let (hour, minute) = text.trim().split_once(':')?;
    let digits = |text: &str| (text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse::<i32>().ok())?;
    let (hour, minute) = (digits(hour)?, digits(minute)?);
    (minute < 60 && (hour < 24 || (hour == 24 && minute == 0))).then_some(hour * 60 + minute)
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.days {
            Days::Week(days) if days.iter().all(|on| *on) => f.write_str("mon-sun")?,
            Days::Week(days) => {
                let days: Vec<&str> = DAYS.iter().zip(days).filter(|(_, on)| **on).map(|(name, _)| *name).collect();
                f.write_str(&days.join(","))?;
            }
            Days::Dates(dates) => write!(f, "{dates}")?,
        }
        write!(f, " {:02}:{:02}-{:02}:{:02}", self.from / 60, self.from % 60, self.to / 60, self.to % 60)
    }
}

impl Window {
    fn starts(&self, date: Date) -> bool {
        match &self.days {
            Days::Week(days) => days[usize::from(Weekday::to_monday_zero_offset(date.weekday()).unsigned_abs())],
            Days::Dates(dates) => dates.hold(date),
        }
    }

    /// Its part on the day that it starts on, and on the next, in minutes after midnight.
    fn parts(&self) -> [(i32, i32); 2] {
        let end = if self.to > self.from { self.to } else { self.to + DAY };
        [(self.from, end.min(DAY)), (0, (end - DAY).max(0))]
    }
}

/// All windows with their time zone.
#[derive(Clone, Debug, PartialEq)]
pub struct Windows {
    /// The windows of usual days.
    pub list: Vec<Window>,
    /// Those of days without school; empty: nothing is fetched ahead on such days.
    pub holidays: Vec<Window>,
    /// Days without school.
    pub calendar: Calendar,
    /// The school's time zone.
    pub zone: TimeZone,
}

impl Windows {
    /// Windows of usual days, of a school without a calendar.
    pub fn new(list: Vec<Window>, zone: TimeZone) -> Windows {
        Windows { list, holidays: Vec::new(), calendar: Calendar::default(), zone }
    }

    /// Whether a window is open, and until when; windows that touch count as one. Of windows that never close: at least until then.
    pub fn open_at(&self, now: Time) -> Option<Time> {
        let open = |days| self.spans(now, -1, days).into_iter().find(|(from, to)| *from <= now && now < *to).map(|(_, to)| to);
        let end = open(SOON)?;
        // Cut off by how far we looked.
        let far = now.plus(Duration::from_hours(24 * (SOON as u64 - 2)));
        if end < far { Some(end) } else { open(FAR / 4) }
    }

    /// When the next window opens after `now`; `None` when there is none.
    pub fn next_open(&self, now: Time) -> Option<Time> {
        let next = |days| self.spans(now, -1, days).into_iter().map(|(from, _)| from).find(|from| *from > now);
        next(SOON).or_else(|| next(FAR))
    }

    /// The last window that has closed by `now`: opened, closed; `None` when there was none for a week.
    pub fn last_closed(&self, now: Time) -> Option<(Time, Time)> {
        self.spans(now, -BACK, SOON).into_iter().rfind(|(_, to)| *to <= now)
    }

    /// The date at the school, as `2026-11-25`.
    pub fn day(&self, now: Time) -> String {
        self.wall(now).map_or_else(unknown, |wall| wall.date().to_string())
    }

    /// The next midnight at the school.
    pub fn next_day(&self, now: Time) -> Time {
        let midnight = self.wall(now).and_then(|wall| self.moment(wall.date(), DAY));
        midnight.unwrap_or_else(|| now.plus(Duration::from_hours(24)))
    }

    /// The night that `now` belongs to, by the date of the evening: a night is counted from noon to noon.
    pub fn night(&self, now: Time) -> String {
        self.evening(now).map_or_else(unknown, |date| date.to_string())
    }

    /// When the next night begins to be counted.
    pub fn next_night(&self, now: Time) -> Time {
        let noon = self.evening(now).and_then(|date| self.moment(date, DAY + DAY / 2));
        noon.unwrap_or_else(|| now.plus(Duration::from_hours(24)))
    }

    /// From which noon to which a night of this name (`2026-11-25`) lasts; `None` for what is no date.
    pub fn noons(&self, night: &str) -> Option<(Time, Time)> {
        let date: Date = night.parse().ok()?;
        Some((self.moment(date, DAY / 2)?, self.moment(date, DAY + DAY / 2)?))
    }

    /// When the first window opens and the last one closes between two moments of at most two days; `None`: none is open in between.
    pub fn open_between(&self, from: Time, until: Time) -> Option<(Time, Time)> {
        let spans: Vec<(Time, Time)> =
            self.spans(from, -1, 5).into_iter().filter(|(opens, closes)| *opens < until && *closes > from).collect();
        Some((spans.first()?.0.max(from), spans.last()?.1.min(until)))
    }

    /// The calendar month at the school, as `2026-11`.
    pub fn month(&self, now: Time) -> String {
        self.wall(now).map_or_else(unknown, |wall| format!("{:04}-{:02}", wall.year(), wall.month()))
    }

    /// When the next calendar month begins at the school.
    pub fn next_month(&self, now: Time) -> Time {
        let first = self.wall(now).and_then(|wall| wall.date().last_of_month().tomorrow().ok());
        first.and_then(|date| self.moment(date, 0)).unwrap_or_else(|| now.plus(Duration::from_hours(31 * 24)))
    }

    /// Why there is no school today; `None` when there is.
    pub fn holiday(&self, now: Time) -> Option<&Holiday> {
        self.calendar.holiday(self.wall(now)?.date())
    }

    /// A moment as people at the school read it: `26.11.2026 07:00`.
    pub fn read(&self, time: Time) -> String {
        self.wall(time).map_or_else(unknown, |wall| wall.strftime("%d.%m.%Y %H:%M").to_string())
    }

    /// The same for what is near: `at 07:00` when that is today at the school.
    pub fn soon(&self, time: Time, now: Time) -> String {
        let hour = self.wall(time).filter(|_| self.day(time) == self.day(now));
        hour.map_or_else(|| self.read(time), |wall| wall.strftime("at %H:%M").to_string())
    }

    /// A moment that a person names: `14:00` (the next one at the school), `2026-12-31 14:00`, `2 h`, or RFC 3339. Never before `now`.
    pub fn named(&self, text: &str, now: Time) -> Option<Time> {
        let text = text.trim();
        let exact = || text.parse::<Timestamp>().ok().map(|stamp| Time::from_micros(stamp.as_microsecond()));
        let dated = || {
            let (date, clock) = text.split_once([' ', 'T'])?;
            let Ok(Dates::Once(date, _)) = date.parse() else { return None };
            self.moment(date, minutes(clock)?)
        };
        let hour = || {
            let (today, clock) = (self.wall(now)?.date(), minutes(text)?);
            [Some(today), today.tomorrow().ok()].into_iter().flatten().filter_map(|date| self.moment(date, clock)).find(|at| *at > now)
        };
        let wait = || text.parse::<Wait>().ok().map(|wait| now.plus(wait.0));
        hour().or_else(wait).or_else(dated).or_else(exact).filter(|at| *at > now)
    }

    fn wall(&self, now: Time) -> Option<DateTime> {
        Some(Timestamp::from_microsecond(now.micros()).ok()?.to_zoned(self.zone.clone()).datetime())
    }

    /// The date of the evening of this night.
    fn evening(&self, now: Time) -> Option<Date> {
        let wall = self.wall(now)?;
        if wall.hour() < 12 { wall.date().yesterday().ok() } else { Some(wall.date()) }
    }

    /// The windows from `first` days after `now` on, in order, those that touch as one.
    fn spans(&self, now: Time, first: i32, days: usize) -> Vec<(Time, Time)> {
        let start = self.wall(now).and_then(|wall| wall.date().checked_add(SignedDuration::from_hours(i64::from(first) * 24)).ok());
        let mut spans = Vec::new();
        let mut date = start;
        for _ in 0..days {
            let Some(today) = date else { break };
            let next = today.tomorrow().ok();
            self.parts_of(today, next, &mut spans);
            date = next;
        }
        spans.sort_unstable();
        let mut merged: Vec<(Time, Time)> = Vec::with_capacity(spans.len());
        for (from, to) in spans {
            match merged.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ => merged.push((from, to)),
            }
        }
        merged
    }

    /// What the windows that start on `today` hold of it and of the next day.
    fn parts_of(&self, today: Date, next: Option<Date>, spans: &mut Vec<(Time, Time)>) {
        for (list, free) in [(&self.list, false), (&self.holidays, true)] {
            for window in list.iter().filter(|window| window.starts(today)) {
                for (date, (from, to)) in [Some(today), next].into_iter().zip(window.parts()) {
                    let Some(date) = date.filter(|date| self.holds(window, *date, free)) else { continue };
                    if let (Some(from), Some(to)) = (self.moment(date, from), self.moment(date, to))
                        && from < to
                    {
                        spans.push((from, to));
                    }
                }
            }
        }
    }

    /// Whether a window of the usual list, or of that for days without school, holds on this day.
    fn holds(&self, window: &Window, date: Date, free: bool) -> bool {
        matches!(window.days, Days::Dates(_)) || self.calendar.holiday(date).is_some() == free
    }

    /// The wall-clock minute of a date as a moment; past midnight it is the next day's.
    fn moment(&self, date: Date, minutes: i32) -> Option<Time> {
        let wall = date.at(0, 0, 0, 0).checked_add(SignedDuration::from_mins(i64::from(minutes))).ok()?;
        let stamp = self.zone.to_ambiguous_timestamp(wall).compatible().ok()?;
        Some(Time::from_micros(stamp.as_microsecond()))
    }
}

fn unknown() -> String {
    String::from("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(zone: &str, list: &[&str]) -> Windows {
        Windows::new(read(list), TimeZone::get(zone).expect("a zone"))
    }

    fn read(list: &[&str]) -> Vec<Window> {
        list.iter().map(|text| text.parse().expect("a window")).collect()
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
            ("2026-12-31 10:00-14:00", "2026-12-31 10:00-14:00"),
            ("2026-12-29..2027-01-10 22:00-07:00", "2026-12-29..2027-01-10 22:00-07:00"),
            ("06-01..08-31  00:00-24:00", "06-01..08-31 00:00-24:00"),
        ];
        for (text, wanted) in table {
            assert_eq!(text.parse::<Window>().expect(text).to_string(), wanted);
        }
        let wrong = [
            "",
            "22:00-07:00",
            "mon 22:00",
            "mon 25:00-07:00",
            "xyz 22:00-07:00",
            "mon 24:00-07:00",
            "mon 1:00-02:00",
            "mon 10:60-11:00",
            "2026-02-30 10:00-14:00",
            "2026-12-31,mon 10:00-14:00",
        ];
        for text in wrong {
            assert!(text.parse::<Window>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_night_has_its_borders_whatever_the_clock_does() {
        let almaty = windows("Asia/Almaty", &["mon-sun 22:00-07:00"]);
        let berlin = windows("Europe/Berlin", &["mon-sun 22:00-07:00"]);
        let split = windows("Asia/Almaty", &["mon-sun 22:00-02:00", "mon-sun 05:00-07:00", "sat,sun 10:00-14:00"]);
        let always = windows("Asia/Almaty", &["mon-sun 00:00-24:00"]);
        let table = [
            (
                &almaty,
                "2026-11-25",
                ("2026-11-25T07:00:00Z", "2026-11-26T07:00:00Z"),
                Some(("2026-11-25T17:00:00Z", "2026-11-26T02:00:00Z")),
            ),
            // Clocks are put forward in the night: 23 hours; and back in October: 25.
            (
                &berlin,
                "2027-03-27",
                ("2027-03-27T11:00:00Z", "2027-03-28T10:00:00Z"),
                Some(("2027-03-27T21:00:00Z", "2027-03-28T05:00:00Z")),
            ),
            (
                &berlin,
                "2027-10-30",
                ("2027-10-30T10:00:00Z", "2027-10-31T11:00:00Z"),
                Some(("2027-10-30T20:00:00Z", "2027-10-31T06:00:00Z")),
            ),
            // First opening, last closing; what lies across a noon counts on both sides.
            (
                &split,
                "2026-11-25",
                ("2026-11-25T07:00:00Z", "2026-11-26T07:00:00Z"),
                Some(("2026-11-25T17:00:00Z", "2026-11-26T02:00:00Z")),
            ),
            (
                &split,
                "2026-11-28",
                ("2026-11-28T07:00:00Z", "2026-11-29T07:00:00Z"),
                Some(("2026-11-28T07:00:00Z", "2026-11-29T07:00:00Z")),
            ),
            (
                &always,
                "2026-11-25",
                ("2026-11-25T07:00:00Z", "2026-11-26T07:00:00Z"),
                Some(("2026-11-25T07:00:00Z", "2026-11-26T07:00:00Z")),
            ),
            (&windows("Asia/Almaty", &["sat 22:00-23:00"]), "2026-11-25", ("2026-11-25T07:00:00Z", "2026-11-26T07:00:00Z"), None),
        ];
        for (windows, night, (from, until), open) in table {
            assert_eq!(windows.noons(night), Some((at(from), at(until))), "{night}");
            assert_eq!(windows.open_between(at(from), at(until)), open.map(|(opens, closes)| (at(opens), at(closes))), "{night}");
            assert_eq!((windows.night(at(from)).as_str(), windows.next_night(at(from))), (night, at(until)), "{night}");
        }
        assert_eq!(almaty.noons("unknown"), None);
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

    #[test]
    fn days_change_their_length_and_the_hours_do_not() {
        let berlin = windows("Europe/Berlin", &["mon-sun 22:00-07:00"]);
        // The night of 28 March has 8 hours, that of 24 October 10; Almaty knows no summer time.
        let table = [
            (&berlin, "2026-03-28T23:00:00Z", "2026-03-28T21:00:00Z", "2026-03-29T05:00:00Z"),
            (&berlin, "2026-10-24T23:00:00Z", "2026-10-24T20:00:00Z", "2026-10-25T06:00:00Z"),
            (&berlin, "2026-03-29T23:00:00Z", "2026-03-29T20:00:00Z", "2026-03-30T05:00:00Z"),
            (&windows("Asia/Almaty", &["mon-sun 22:00-07:00"]), "2026-03-28T23:00:00Z", "2026-03-28T17:00:00Z", "2026-03-29T02:00:00Z"),
        ];
        for (night, now, from, to) in table {
            assert_eq!(night.open_at(at(now)), Some(at(to)), "{now}");
            assert_eq!(night.last_closed(at(to)), Some((at(from), at(to))), "{now}");
            assert_eq!(night.next_open(at(from).minus(Duration::from_secs(1))), Some(at(from)), "{now}");
        }
        // An hour that is skipped, and one that comes twice.
        let hour = windows("Europe/Berlin", &["sun 02:00-03:00"]);
        assert_eq!(hour.next_open(at("2026-03-28T12:00:00Z")), Some(at("2026-04-05T00:00:00Z")), "02:00 to 03:00 is no time on that day");
        assert_eq!(hour.open_at(at("2026-10-25T00:30:00Z")), Some(at("2026-10-25T02:00:00Z")));
    }

    #[test]
    fn windows_by_date() {
        let some = windows("Asia/Almaty", &["mon-fri 22:00-07:00", "2026-12-05 10:00-14:00", "2027-05-01..2027-05-03 20:00-06:00"]);
        let table = [
            // A Saturday.
            ("2026-12-05T06:00:00Z", Some("2026-12-05T09:00:00Z"), "2026-12-07T17:00:00Z"),
            ("2026-12-05T10:00:00Z", None, "2026-12-07T17:00:00Z"),
            // The week after, the same hour.
            ("2026-12-12T06:00:00Z", None, "2026-12-14T17:00:00Z"),
            // Saturday and Sunday of May, over midnight.
            ("2027-05-01T20:00:00Z", Some("2027-05-02T01:00:00Z"), "2027-05-02T15:00:00Z"),
            ("2027-05-03T20:00:00Z", Some("2027-05-04T02:00:00Z"), "2027-05-04T17:00:00Z"),
        ];
        for (now, until, next) in table {
            assert_eq!((some.open_at(at(now)), some.next_open(at(now))), (until.map(at), Some(at(next))), "{now}");
        }
        let once = windows("Asia/Almaty", &["2027-08-25 10:00-14:00"]);
        assert_eq!(once.next_open(at("2026-11-25T18:00:00Z")), Some(at("2027-08-25T05:00:00Z")), "nine months away");
        assert_eq!(once.next_open(at("2027-08-25T05:00:00Z")), None);
        assert_eq!(once.last_closed(at("2027-08-30T00:00:00Z")), Some((at("2027-08-25T05:00:00Z"), at("2027-08-25T09:00:00Z"))));
        assert_eq!(once.last_closed(at("2027-09-05T00:00:00Z")), None, "too long ago to speak of");
    }

    #[test]
    fn each_hour_goes_by_the_list_of_its_day() {
        let mut school = windows("Asia/Almaty", &["mon-sun 22:00-07:00", "2027-01-05 20:00-21:00"]);
        school.calendar.days.push("2026-12-29..2027-01-10 winter".parse().expect("days"));
        let usual = ("2026-12-30T05:00:00Z", None, "2026-12-30T19:00:00Z");
        // Nothing written for such days: nothing is fetched ahead on them, but where a date says so.
        school.calendar.days.push("2027-01-20".parse().expect("a day"));
        assert_eq!(school.open_at(at("2026-12-28T18:00:00Z")), Some(at("2026-12-28T19:00:00Z")), "until the holidays begin");
        assert_eq!(school.next_open(at("2026-12-28T19:00:00Z")), Some(at("2027-01-05T15:00:00Z")));
        assert_eq!(school.next_open(at("2027-01-05T16:00:00Z")), Some(at("2027-01-10T19:00:00Z")), "the night before school");
        // All day: from the evening before until the morning after, without a gap.
        school.holidays = read(&["mon-sun 00:00-24:00"]);
        assert_eq!(school.open_at(at("2026-12-28T17:00:00Z")), Some(at("2027-01-11T02:00:00Z")));
        assert_eq!(school.open_at(at("2027-01-20T07:00:00Z")), Some(at("2027-01-21T02:00:00Z")), "a single day");
        assert_eq!(school.open_at(at("2027-01-11T02:00:00Z")), None);
        assert_eq!(school.holiday(at("2027-01-01T05:00:00Z")).map(ToString::to_string).as_deref(), Some("2026-12-29..2027-01-10 winter"));
        assert_eq!(school.holiday(at("2027-01-10T19:00:00Z")), None);
        // Fewer hours than on usual days.
        school.holidays = read(&["mon-sun 00:00-05:00"]);
        assert_eq!((school.open_at(at(usual.0)), school.next_open(at(usual.0))), (usual.1, Some(at(usual.2))));
        // Holidays of a whole summer have an end.
        school.calendar.days.push("2027-06-01..2027-08-31".parse().expect("days"));
        school.holidays = read(&["mon-sun 00:00-24:00"]);
        assert_eq!(school.open_at(at("2027-06-01T05:00:00Z")), Some(at("2027-09-01T02:00:00Z")));
    }

    #[test]
    fn nights_and_months_are_the_schools() {
        let (almaty, berlin) = (windows("Asia/Almaty", &[]), windows("Europe/Berlin", &[]));
        let table = [
            (&almaty, "2026-11-25T17:00:00Z", "2026-11-25", "2026-11-26T07:00:00Z", "2026-11", "2026-11-30T19:00:00Z"),
            (&almaty, "2026-11-26T06:59:59Z", "2026-11-25", "2026-11-26T07:00:00Z", "2026-11", "2026-11-30T19:00:00Z"),
            (&almaty, "2026-11-26T07:00:00Z", "2026-11-26", "2026-11-27T07:00:00Z", "2026-11", "2026-11-30T19:00:00Z"),
            // A night that two months share.
            (&almaty, "2026-11-30T20:00:00Z", "2026-11-30", "2026-12-01T07:00:00Z", "2026-12", "2026-12-31T19:00:00Z"),
            (&berlin, "2026-12-31T23:30:00Z", "2026-12-31", "2027-01-01T11:00:00Z", "2027-01", "2027-01-31T23:00:00Z"),
            // Months that begin by another offset than they end.
            (&berlin, "2026-03-01T12:00:00Z", "2026-03-01", "2026-03-02T11:00:00Z", "2026-03", "2026-03-31T22:00:00Z"),
            (&berlin, "2026-10-24T20:00:00Z", "2026-10-24", "2026-10-25T11:00:00Z", "2026-10", "2026-10-31T23:00:00Z"),
        ];
        for (zone, now, night, noon, month, first) in table {
            let now = at(now);
            assert_eq!((zone.night(now).as_str(), zone.next_night(now)), (night, at(noon)), "{now:?}");
            assert_eq!((zone.month(now).as_str(), zone.next_month(now)), (month, at(first)), "{now:?}");
        }
        assert_eq!(almaty.read(at("2026-11-26T02:00:00Z")), "26.11.2026 07:00");
        let now = at("2026-11-26T01:00:00Z");
        assert_eq!(almaty.soon(at("2026-11-26T02:00:00Z"), now), "at 07:00");
        assert_eq!(almaty.soon(at("2026-11-26T20:00:00Z"), now), "27.11.2026 01:00", "the school's next day");
    }

    #[test]
    fn moments_that_people_name() {
        let (almaty, now) = (windows("Asia/Almaty", &[]), at("2026-11-25T08:00:00Z"));
        let table = [
            ("14:00", Some("2026-11-25T09:00:00Z")),
            ("13:00", Some("2026-11-26T08:00:00Z")),
            ("2 h", Some("2026-11-25T10:00:00Z")),
            ("2026-12-31 14:00", Some("2026-12-31T09:00:00Z")),
            ("2026-12-31T14:00", Some("2026-12-31T09:00:00Z")),
            ("2026-11-25T09:00:00Z", Some("2026-11-25T09:00:00Z")),
            ("2026-11-24 14:00", None),
            ("0 s", None),
            ("tomorrow", None),
            ("25:00", None),
        ];
        for (text, wanted) in table {
            assert_eq!(almaty.named(text, now), wanted.map(at), "{text}");
        }
    }
}
