//! Charts as SVG, drawn here: a strip of days, the speed against the contract, where the hours of each day went. Pure.
//!
//! No script and no colour alone: a strip tells by height as well, gaps carry their reason, and each chart stands above a table with the
//! same figures. Texts come from the caller's words; numbers are ours; nothing of a node's gets in unescaped.

use crate::base::calendar;
use crate::base::chart::{BOTTOM, HEIGHT, LEFT, Plane, TOP, WIDTH, float, whole};
use crate::hub::figures::{Day, Test};
use crate::hub::words::Tongue;
use std::collections::BTreeMap;
use std::fmt::Write;

/// How a day was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mood {
    /// The line worked.
    Up,
    /// It was down for five minutes or more.
    Partly,
    /// It was down for a tenth of the time that was watched.
    Down,
    /// The box was off for half of the day.
    Off,
    /// No record tells.
    Untold,
}

/// All moods, with class, height of 12 and the key of their word.
const MOODS: [(Mood, &str, u32, &str); 5] = [
    (Mood::Up, "up", 12, "up"),
    (Mood::Partly, "part", 9, "partly"),
    (Mood::Down, "down", 6, "line_down"),
    (Mood::Off, "off", 4, "off"),
    (Mood::Untold, "none", 1, "untold"),
];

/// How a day was.
pub(crate) fn mood(day: Option<&Day>) -> Mood {
    let Some(figures) = day.map(|day| &day.figures) else { return Mood::Untold };
    let watched = figures.up_seconds + figures.slow_seconds + figures.down_seconds;
    let told = watched + figures.no_data_seconds + figures.off_seconds + figures.clock_seconds;
    match figures {
        _ if told == 0 => Mood::Untold,
        figures if figures.off_seconds >= 43_200 => Mood::Off,
        figures if figures.down_seconds > 0 && 10 * figures.down_seconds >= watched => Mood::Down,
        figures if figures.down_seconds >= 300 => Mood::Partly,
        _ => Mood::Up,
    }
}

/// A strip of days, the last one on the right: one path a mood, some 300 bytes in all.
pub(crate) fn strip(tongue: Tongue, moods: &[Mood]) -> String {
    let mut svg =
        format!("<svg class=\"strip\" viewBox=\"0 0 {} 12\" width=\"{}\" height=\"14\" role=\"img\"", moods.len() * 4, moods.len() * 4);
    let mut told = Vec::new();
    let mut paths = String::new();
    for (mood, class, height, word) in MOODS {
        let mut path = String::new();
        for at in moods.iter().enumerate().filter(|(_, other)| **other == mood).map(|(at, _)| at) {
            let _ = write!(path, "M{} {}h3v{height}h-3z", at * 4, 12 - height);
        }
        let count = moods.iter().filter(|other| **other == mood).count();
        if count > 0 {
            told.push(format!("{}: {count}", tongue.say(word)));
            let _ = write!(paths, "<path class=\"{class}\" d=\"{path}\"/>");
        }
    }
    let _ = write!(svg, " aria-label=\"{}\">{paths}</svg>", told.join(", "));
    svg
}

/// Speed by day: what fetches have shown as a line, tests as points, the contract as a dashed line, gaps shaded by their reason.
/// `tests`: with the day, and its fraction, on which each ran.
pub(crate) fn speed(tongue: Tongue, span: (i32, i32), days: &[Day], tests: &[(f64, &Test)], contract: Option<i64>) -> String {
    let rates = days.iter().filter_map(|day| day.figures.download_p95_bps).chain(tests.iter().filter_map(|(_, test)| test.download_bps));
    let most = rates.chain(contract).max().unwrap_or(0).max(1_000_000);
    let plane = Plane { from: span.0, to: span.1, most: float(most) * 1.05 };
    let mut svg = plane.open(tongue.say("speed_chart"), |value| tongue.rate(whole(value)));
    gaps(&mut svg, tongue, &plane, days);
    if let Some(contract) = contract {
        let y = plane.y(float(contract));
        let _ = write!(svg, "<path class=\"contract\" d=\"M{LEFT} {y:.1}H{WIDTH}\"/>");
    }
    let mut path = String::new();
    let mut last = i32::MIN;
    for day in days {
        let Some(rate) = day.figures.download_p95_bps else { continue };
        // A line across days that nobody measured would be a guess.
        let pen = if day.day == last.saturating_add(1) { 'L' } else { 'M' };
        let _ = write!(path, "{pen}{:.1} {:.1}", plane.x(f64::from(day.day) + 0.5), plane.y(float(rate)));
        if pen == 'M' {
            path.push_str("h1");
        }
        last = day.day;
    }
    let _ = write!(svg, "<path class=\"line\" d=\"{path}\"/>");
    for (at, test) in tests {
        if let Some(rate) = test.download_bps {
            let class = if test.busy { "point busy" } else { "point" };
            let _ = write!(svg, "<circle class=\"{class}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"/>", plane.x(*at), plane.y(float(rate)));
        }
    }
    svg.push_str("</svg>");
    svg
}

/// Days without a measurement, shaded, with their reason.
fn gaps(svg: &mut String, tongue: Tongue, plane: &Plane, days: &[Day]) {
    let by_day: BTreeMap<i32, &Day> = days.iter().map(|day| (day.day, day)).collect();
    for day in plane.from..=plane.to {
        let kept = by_day.get(&day).copied();
        if kept.is_some_and(|day| day.figures.download_p95_bps.is_some() || day.download_bps.is_some()) {
            continue;
        }
        let (_, class, _, word) = MOODS.into_iter().find(|(each, ..)| *each == mood(kept)).unwrap_or(MOODS[4]);
        // It was up and nobody fetched anything: no reason to shade.
        if class == "up" {
            continue;
        }
        let (from, to) = (plane.x(f64::from(day)), plane.x(f64::from(day + 1)));
        let _ = write!(
            svg,
            "<rect class=\"gap {class}\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{}\"><title>{}: {}</title></rect>",
            to - from,
            HEIGHT - TOP - BOTTOM,
            calendar::plain(day),
            tongue.say(word)
        );
    }
}

/// Where the hours of each day went: line up, slow, down, nothing tried, box off; what is white is untold.
pub(crate) fn hours(tongue: Tongue, span: (i32, i32), days: &[Day]) -> String {
    let plane = Plane { from: span.0, to: span.1, most: 24.0 };
    let mut svg = plane.open(tongue.say("hours_chart"), |value| format!("{value:.0} {}", tongue.say("h")));
    let mut paths: BTreeMap<&str, String> = BTreeMap::new();
    for day in days {
        let figures = &day.figures;
        let parts = [
            ("up", figures.up_seconds),
            ("part", figures.slow_seconds),
            ("down", figures.down_seconds),
            ("quiet", figures.no_data_seconds + figures.clock_seconds),
            ("off", figures.off_seconds),
        ];
        let (left, width) = (plane.x(f64::from(day.day)), plane.x(f64::from(day.day) + 0.85) - plane.x(f64::from(day.day)));
        let mut sum = 0;
        for (class, seconds) in parts.into_iter().filter(|(_, seconds)| *seconds > 0) {
            let (low, high) = (plane.y(float(sum) / 3_600.0), plane.y(float(sum + seconds) / 3_600.0));
            let _ = write!(paths.entry(class).or_default(), "M{left:.1} {high:.1}h{width:.1}v{:.1}h-{width:.1}z", low - high);
            sum += seconds;
        }
    }
    for (class, path) in paths {
        let _ = write!(svg, "<path class=\"{class}\" d=\"{path}\"/>");
    }
    svg.push_str("</svg>");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::figures::Figures;

    fn day(number: i32, up: i64, down: i64, off: i64, rate: Option<i64>) -> Day {
        let figures = Figures { up_seconds: up, down_seconds: down, off_seconds: off, download_p95_bps: rate, ..Figures::default() };
        Day { school: "s".into(), day: number, figures, ..Day::default() }
    }

    #[test]
    fn a_day_has_a_mood() {
        let table = [
            (86_400, 0, 0, Mood::Up),
            (86_200, 200, 0, Mood::Up),
            (86_000, 400, 0, Mood::Partly),
            (70_000, 16_400, 0, Mood::Down),
            (0, 0, 86_400, Mood::Off),
            (0, 0, 0, Mood::Untold),
            (0, 60, 0, Mood::Down),
        ];
        for (up, down, off, wanted) in table {
            assert_eq!(mood(Some(&day(1, up, down, off, None))), wanted, "{up} {down} {off}");
        }
        assert_eq!(mood(None), Mood::Untold);
    }

    #[test]
    fn charts_are_well_formed_and_small() {
        let days: Vec<Day> = (100..190).filter(|day| *day != 150).map(|number| day(number, 80_000, 400, 6_000, Some(8_000_000))).collect();
        let test = Test { download_bps: Some(i64::MAX), busy: true, ..Test::default() };
        for tongue in [Tongue::Kk, Tongue::Ru, Tongue::En] {
            let all = [
                strip(tongue, &[Mood::Up, Mood::Untold, Mood::Down]),
                speed(tongue, (100, 189), &days, &[(120.4, &test)], Some(20_000_000)),
                speed(tongue, (100, 100), &[], &[], None),
                hours(tongue, (100, 189), &days),
            ];
            for svg in all {
                let mut reader = quick_xml::Reader::from_str(&svg);
                while reader.read_event().unwrap_or_else(|error| panic!("{error}: {svg}")) != quick_xml::events::Event::Eof {}
                assert!(svg.len() < 12_000 && svg.contains("aria-label=\"") && !svg.contains("NaN"), "{svg}");
            }
        }
        let svg = speed(Tongue::En, (100, 189), &days, &[], None);
        assert_eq!(svg.matches("class=\"gap none\"").count(), 1, "the missing day is shaded");
        assert_eq!(svg.split("class=\"line\"").nth(1).expect("a line").split('"').nth(1).expect("a path").matches('M').count(), 2);
        assert!(strip(Tongue::En, &[Mood::Up, Mood::Up, Mood::Off]).contains("aria-label=\"up: 2, Box off: 1\""));
    }
}
