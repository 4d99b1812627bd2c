//! Hours, pings, tests and outages of a school -> its day. Pure.
//!
//! A day is always made anew from all that is kept of it, so late records, repeated ones and a crash midway change nothing but what
//! they should. What no record told stays untold: seconds are never filled up.
//!
//! # Why a record is cut at midnight the way it is
//! A record covers an hour of a running box. One that covers more has a gap in it: the box was off. It ran for up to an hour before
//! that (else there would be an earlier record) and for up to an hour after (else this one would have come earlier). So its running
//! time is put at its end, an hour of it at most, and the rest at its start; "off" lies between.

use crate::base::clock::Time;
use crate::hub::figures::{Day, Figures, Hour, Outage, Ping, Test};
use std::collections::BTreeMap;
use std::time::Duration;

/// How far two records of one box may overlap: clocks are corrected now and then.
const SLACK: Duration = Duration::from_mins(5);

/// Longest running time at the end of a record: one report.
const TAIL: Duration = Duration::from_hours(1);

/// All that is kept of a school and touches some days.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// Hours.
    pub hours: Vec<Hour>,
    /// Pings.
    pub pings: Vec<Ping>,
    /// Tests.
    pub tests: Vec<Test>,
    /// Outages.
    pub outages: Vec<Outage>,
}

/// The day `day` of `school`, from `span.0` until `span.1`.
pub fn roll(school: &str, day: i32, span: (Time, Time), kept: &Kept) -> Day {
    let mut rolled = Day { school: school.to_owned(), day, ..Day::default() };
    let (records, figures) = line(span, &kept.hours);
    rolled.records = records;
    rolled.figures = figures;
    let inside = |started: i64| started >= span.0.micros() && started < span.1.micros();

    // One that sent nothing, since the bytes were used up, is no test: the node's own statement leaves it out, too.
    let ran = |test: &Test| test.outcome.as_deref() != Some("passive");
    let tests: Vec<&Test> = kept.tests.iter().filter(|test| test.clock_ok && inside(test.started) && ran(test)).collect();
    let figure = |test: &Test| test.download_bps.or(test.upload_bps).is_some();
    rolled.tests = length(&tests);
    rolled.tests_failed = length(&tests.iter().filter(|test| !figure(test)).collect::<Vec<_>>());
    rolled.test_bytes = tests.iter().filter_map(|test| test.cost_bytes).fold(0, i64::saturating_add);
    rolled.download_bps = middle(tests.iter().filter_map(|test| test.download_bps));
    rolled.upload_bps = middle(tests.iter().filter_map(|test| test.upload_bps));
    rolled.latency_ms = weighed(0.5, tests.iter().filter_map(|test| Some((test.download_rtt_min_ms?, 1.0))));

    let pings: Vec<&Ping> = kept.pings.iter().filter(|ping| inside(ping.started)).collect();
    rolled.pings_sent = pings.iter().map(|ping| ping.sent).fold(0, i64::saturating_add);
    rolled.pings_received = pings.iter().map(|ping| ping.received).fold(0, i64::saturating_add);
    rolled.ping_median_ms = weighed(0.5, pings.iter().filter_map(|ping| Some((ping.rtt_median_ms?, float(ping.received)))));
    rolled.jitter_ms = weighed(0.5, pings.iter().filter_map(|ping| Some((ping.jitter_ms?, float(ping.received)))));

    for down in downs(&kept.outages) {
        let seconds = down.within(span);
        rolled.outages += i64::from(inside(down.span.0.micros()));
        rolled.outage_seconds = rolled.outage_seconds.saturating_add(seconds);
        rolled.longest_outage_seconds = rolled.longest_outage_seconds.max(seconds);
    }
    rolled
}

/// The line was down.
struct Down {
    span: Span,
    /// As long as this: a node joins what follows closely, and does not count the time between.
    seconds: i64,
}

impl Down {
    fn length(&self) -> i64 {
        length_of(self.span)
    }

    fn pauses(&self) -> i64 {
        self.length().saturating_sub(self.seconds).max(0)
    }

    /// Seconds of it in `span`; where it has pauses, its share of them.
    fn within(&self, span: Span) -> i64 {
        let (all, here) = (self.length(), overlap(self.span, span));
        if self.seconds >= all {
            return here;
        }
        i64::try_from(i128::from(self.seconds.max(0)) * i128::from(here) / i128::from(all.max(1))).unwrap_or(here)
    }
}

/// When the line was down: what several boxes of one school tell of the same time is one outage.
fn downs(outages: &[Outage]) -> Vec<Down> {
    let told = outages.iter().filter(|outage| outage.what == "line_down" && outage.clock_ok);
    let mut sorted: Vec<Down> = told
        .map(|outage| Down { span: (Time::from_micros(outage.started), Time::from_micros(outage.ended)), seconds: outage.seconds })
        .collect();
    sorted.sort_unstable_by_key(|down| down.span);
    let mut downs: Vec<Down> = Vec::new();
    for down in sorted {
        match downs.last_mut().filter(|last| down.span.0 < last.span.1) {
            Some(last) => {
                // A joined one has pauses; what each of them calls a pause was one.
                let pauses = last.pauses().min(down.pauses());
                last.span.1 = last.span.1.max(down.span.1);
                last.seconds = last.length().saturating_sub(pauses);
            }
            None => downs.push(down),
        }
    }
    downs
}

/// A stretch of time.
type Span = (Time, Time);

/// Line and cache of one day: how many records told of it, and what.
///
/// Two boxes of one school tell of the same line: each second of it is counted once, by whoever ran then, and "off" only while none
/// did. What went through the boxes is counted for both.
fn line(span: Span, hours: &[Hour]) -> (i64, Figures) {
    let mut sorted: Vec<&Hour> = hours.iter().collect();
    sorted.sort_by_key(|hour| (hour.started, hour.ended));
    let mut day = Figures::default();
    let mut parts: Vec<(&Figures, f64)> = Vec::new();
    let mut records = 0;
    let (mut told, mut gaps): (Covered, Vec<Span>) = (Covered::default(), Vec::new());
    let slack = seconds(SLACK);
    for hour in sorted {
        let Cut { head, gap, tail } = cut(hour);
        let within = |part: Span| (part.0.max(span.0), part.1.min(span.1));
        let ran = overlap(head, span) + overlap(tail, span);
        let all = length_of(head) + length_of(tail);
        let end = tail.1;
        let share = match all {
            // A record without running time, or shorter than a second, belongs to the day of its end.
            0 => f64::from(u8::from(end > span.0 && end <= span.1)),
            all => float(ran) / float(all),
        };
        let off = overlap(gap, span);
        if share <= 0.0 && off == 0 {
            continue;
        }
        records += 1;
        let figures = &hour.figures;
        let fresh: i64 = [head, tail].iter().map(|part| told.left_of(within(*part))).sum();
        let line = if ran - fresh <= slack { share } else { float(fresh) / float(all) };
        day.up_seconds += part(figures.up_seconds, line);
        day.slow_seconds += part(figures.slow_seconds, line);
        day.down_seconds += part(figures.down_seconds, line);
        day.no_data_seconds += part(figures.no_data_seconds, line);
        day.clock_seconds += part(figures.clock_seconds, line);
        told.add(within(head));
        told.add(within(tail));
        gaps.push(within(gap));
        for (sum, more) in bytes(&mut day).into_iter().zip(values(figures)) {
            *sum = sum.saturating_add(part(more, share));
        }
        if share > 0.0 {
            parts.push((figures, share));
        }
    }
    for gap in gaps {
        day.off_seconds += told.left_of(gap);
        told.add(gap);
    }
    percentiles(&mut day, &parts);
    (records, day)
}

/// A record's time: it ran in `head` and `tail`, and the box was off in the gap between.
struct Cut {
    head: Span,
    gap: Span,
    tail: Span,
}

fn cut(hour: &Hour) -> Cut {
    let (start, end) = (Time::from_micros(hour.started), Time::from_micros(hour.ended));
    let off = Duration::from_secs(u64::try_from(hour.figures.off_seconds).unwrap_or(0)).min(end.since(start));
    let running = end.since(start).saturating_sub(off);
    let tail = if off.is_zero() { running } else { running.min(TAIL) };
    let (head_end, tail_start) = (start.plus(running.saturating_sub(tail)), end.minus(tail));
    Cut { head: (start, head_end), gap: (head_end, tail_start), tail: (tail_start, end) }
}

/// Time that is covered, as stretches that do not touch, by their starts. Whatever is asked and then added is looked at once: the stretches
/// that it covers become one with it.
#[derive(Default)]
struct Covered(BTreeMap<Time, Time>);

impl Covered {
    /// Seconds of a stretch that are not covered.
    fn left_of(&self, whole: Span) -> i64 {
        let (mut from, mut left) = (whole.0, 0);
        for (start, end) in self.touching(whole) {
            left += length_of((from, start));
            from = from.max(end);
        }
        left + length_of((from, whole.1))
    }

    fn add(&mut self, span: Span) {
        if span.0 >= span.1 {
            return;
        }
        let (mut from, mut until) = span;
        for (start, end) in self.touching(span).collect::<Vec<_>>() {
            (from, until) = (from.min(start), until.max(end));
            self.0.remove(&start);
        }
        self.0.insert(from, until);
    }

    /// What has a moment or an end in common with a stretch, in its order.
    fn touching(&self, span: Span) -> impl Iterator<Item = Span> {
        let before = self.0.range(..span.0).next_back().filter(|(_, end)| **end >= span.0);
        let within = (span.0 <= span.1).then(|| self.0.range(span.0..=span.1)).into_iter().flatten();
        before.into_iter().chain(within).map(|(start, end)| (*start, *end))
    }
}

fn length_of(span: Span) -> i64 {
    seconds(span.1.since(span.0))
}

fn overlap(one: Span, other: Span) -> i64 {
    seconds(one.1.min(other.1).since(one.0.max(other.0)))
}

fn seconds(span: Duration) -> i64 {
    i64::try_from(span.as_secs()).unwrap_or(i64::MAX)
}

/// All sums that are no seconds.
fn bytes(day: &mut Figures) -> [&mut i64; 12] {
    [
        &mut day.rx_bytes,
        &mut day.tx_bytes,
        &mut day.background_rx_bytes,
        &mut day.upstream_bytes,
        &mut day.http_cached_bytes,
        &mut day.http_client_bytes,
        &mut day.mirror_cached_bytes,
        &mut day.mirror_client_bytes,
        &mut day.intercept_cached_bytes,
        &mut day.intercept_client_bytes,
        &mut day.attempts,
        &mut day.failures,
    ]
}

/// The same of a record.
fn values(hour: &Figures) -> [i64; 12] {
    [
        hour.rx_bytes,
        hour.tx_bytes,
        hour.background_rx_bytes,
        hour.upstream_bytes,
        hour.http_cached_bytes,
        hour.http_client_bytes,
        hour.mirror_cached_bytes,
        hour.mirror_client_bytes,
        hour.intercept_cached_bytes,
        hour.intercept_client_bytes,
        hour.attempts,
        hour.failures,
    ]
}

/// Percentiles of percentiles, weighted by attempts (rates by bytes), as `link::rollup` has them and for its reason.
fn percentiles(day: &mut Figures, parts: &[(&Figures, f64)]) {
    let by_attempts = |quantile: f64, value: fn(&Figures) -> Option<f64>| {
        weighed(quantile, parts.iter().filter_map(|(part, share)| Some((value(part)?, float(part.attempts.max(1)) * share))))
    };
    let by_bytes = |value: fn(&Figures) -> Option<i64>| {
        let rate = weighed(0.95, parts.iter().filter_map(|(part, share)| Some((float(value(part)?), float(part.rx_bytes.max(1)) * share))));
        rate.map(whole)
    };
    day.rtt_min_ms = parts.iter().filter_map(|(part, _)| part.rtt_min_ms).reduce(f64::min);
    day.rtt_median_ms = by_attempts(0.5, |part| part.rtt_median_ms);
    day.rtt_p95_ms = by_attempts(0.95, |part| part.rtt_p95_ms);
    day.loaded_rtt_median_ms = by_attempts(0.5, |part| part.loaded_rtt_median_ms);
    day.first_byte_median_ms = by_attempts(0.5, |part| part.first_byte_median_ms);
    day.name_median_ms = by_attempts(0.5, |part| part.name_median_ms);
    day.tls_median_ms = by_attempts(0.5, |part| part.tls_median_ms);
    day.retransmitted_ratio = by_attempts(0.5, |part| part.retransmitted_ratio);
    day.domestic_rtt_ms = by_attempts(0.5, |part| part.domestic_rtt_ms);
    day.foreign_rtt_ms = by_attempts(0.5, |part| part.foreign_rtt_ms);
    day.download_p95_bps = by_bytes(|part| part.download_p95_bps);
    day.upload_p95_bps = by_bytes(|part| part.upload_p95_bps);
    day.domestic_bps = by_bytes(|part| part.domestic_bps);
    day.foreign_bps = by_bytes(|part| part.foreign_bps);
}

/// The smallest value that has at least this share of the weight at or below it.
fn weighed(quantile: f64, values: impl Iterator<Item = (f64, f64)>) -> Option<f64> {
    let mut values: Vec<(f64, f64)> = values.filter(|(value, weight)| value.is_finite() && *weight > 0.0).collect();
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    let wanted = quantile * values.iter().map(|(_, weight)| weight).sum::<f64>();
    let mut below = 0.0;
    for (value, weight) in &values {
        below += weight;
        if below >= wanted {
            return Some(*value);
        }
    }
    values.last().map(|(value, _)| *value)
}

fn middle(values: impl Iterator<Item = i64>) -> Option<i64> {
    weighed(0.5, values.map(|value| (float(value), 1.0))).map(whole)
}

fn length<T>(list: &[T]) -> i64 {
    i64::try_from(list.len()).unwrap_or(i64::MAX)
}

fn part(value: i64, share: f64) -> i64 {
    if share >= 1.0 { value } else { whole(float(value) * share) }
}

#[expect(clippy::cast_precision_loss, reason = "whole numbers are at most 2^53 here")]
fn float(value: i64) -> f64 {
    value as f64
}

#[expect(clippy::cast_possible_truncation, reason = "a share of a number that is at most 2^53; `as` saturates")]
fn whole(value: f64) -> i64 {
    value.round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Midnight of some day.
    const DAY: i64 = 1_795_478_400;

    fn span(number: i64) -> (Time, Time) {
        (Time::from_secs(DAY + number * 86_400), Time::from_secs(DAY + (number + 1) * 86_400))
    }

    /// From and until in seconds after the first midnight.
    fn hour(node: &str, from: i64, until: i64, off: i64) -> Hour {
        let figures = Figures {
            up_seconds: until - from - off,
            off_seconds: off,
            rx_bytes: 1_000,
            attempts: 10,
            rtt_median_ms: Some(50.0),
            ..Figures::default()
        };
        Hour { node: node.into(), started: (DAY + from) * 1_000_000, ended: (DAY + until) * 1_000_000, school: "s".into(), figures }
    }

    #[test]
    fn a_record_is_cut_at_midnight_and_loses_nothing() {
        let table = [
            ("an hour within a day", hour("n", 3_600, 7_200, 0), [(1, 3_600, 0, 1_000), (0, 0, 0, 0), (0, 0, 0, 0)]),
            ("an hour across midnight", hour("n", 85_500, 89_100, 0), [(1, 900, 0, 250), (1, 2_700, 0, 750), (0, 0, 0, 0)]),
            (
                "off from 10:30 of one day until 8:30 of the third",
                hour("n", 36_000, 2 * 86_400 + 32_400, 2 * 86_400 - 9_000),
                [(1, 1_800, 48_600, 333), (1, 0, 86_400, 0), (1, 3_600, 28_800, 667)],
            ),
            ("nothing at all", hour("n", 5, 5, 0), [(1, 0, 0, 1_000), (0, 0, 0, 0), (0, 0, 0, 0)]),
        ];
        for (name, hour, wanted) in table {
            for (number, wanted) in (0_i64..).zip(wanted) {
                let day = roll("s", 0, span(number), &Kept { hours: vec![hour.clone()], ..Kept::default() });
                let told = (day.records, day.figures.up_seconds, day.figures.off_seconds, day.figures.rx_bytes);
                assert_eq!(told, wanted, "{name}, day {number}");
            }
        }
    }

    #[test]
    fn two_boxes_of_one_school_share_a_line() {
        let kept = Kept {
            hours: vec![hour("a", 0, 3_600, 0), hour("b", 1_200, 4_800, 0), hour("a", 3_590, 7_200, 0), hour("b", 7_200, 10_800, 0)],
            ..Kept::default()
        };
        let day = roll("s", 0, span(0), &kept);
        assert_eq!((day.records, day.figures.up_seconds, day.figures.rx_bytes), (4, 10_800, 4_000), "three hours are three hours");
    }

    #[test]
    fn a_box_that_was_off_takes_nothing_away_from_one_that_ran() {
        let mut hours: Vec<Hour> = (0..48).map(|number| hour("b", number * 3_600, (number + 1) * 3_600, 0)).collect();
        // An hour before and an hour after two days.
        hours.push(hour("a", -3_600, 2 * 86_400 + 3_600, 2 * 86_400));
        for number in [0, 1] {
            // Whether the others' days are read with it or not.
            let (from, until) = span(number);
            let touching = |hour: &&Hour| hour.started < until.micros() && hour.ended > from.micros();
            let few: Vec<Hour> = hours.iter().filter(touching).cloned().collect();
            for kept in [hours.clone(), few] {
                let day = roll("s", 0, span(number), &Kept { hours: kept, ..Kept::default() });
                assert_eq!((day.figures.up_seconds, day.figures.off_seconds), (86_400, 0), "day {number}");
            }
        }
        // Without the other one it was off, also when two were.
        let both = vec![hours[48].clone(), hour("c", -7_200, 2 * 86_400 + 3_600, 2 * 86_400)];
        let day = roll("s", 0, span(1), &Kept { hours: both, ..Kept::default() });
        assert_eq!((day.figures.up_seconds, day.figures.off_seconds), (0, 86_400));
    }

    #[test]
    fn covered_time_is_counted_once_and_kept_in_few_stretches() {
        let at = |second: i64| Time::from_secs(DAY + second);
        let mut covered = Covered::default();
        for (from, until) in [(10, 20), (30, 40), (20, 22), (50, 50), (70, 60)] {
            covered.add((at(from), at(until)));
        }
        for (from, until, left) in [(0, 100, 78), (12, 18, 0), (5, 15, 5), (15, 35, 8), (22, 30, 8), (40, 45, 5), (45, 40, 0), (9, 9, 0)] {
            assert_eq!(covered.left_of((at(from), at(until))), left, "{from} {until}");
        }
        assert_eq!(covered.0.len(), 2);
        covered.add((at(15), at(30)));
        assert_eq!(covered.0.into_iter().collect::<Vec<_>>(), [(at(10), at(40))]);
    }

    #[test]
    fn a_day_of_many_tiny_records_is_rolled_as_others_are() {
        // What one node may send at once.
        let most = 50_000;
        let hours: Vec<Hour> = (0..most).map(|second| hour("n", second, second + 2, 0)).collect();
        let day = roll("s", 0, span(0), &Kept { hours, ..Kept::default() });
        assert_eq!((day.records, day.figures.rx_bytes, day.figures.off_seconds), (most, most * 1_000, 0));
        // Apart from one another they stay as many stretches; a gap over all of them is counted by what they leave.
        let mut hours: Vec<Hour> = (0..most / 2).map(|second| hour("n", 2 * second, 2 * second + 1, 0)).collect();
        hours.push(hour("n", -3_600, most + 3_600, most));
        let day = roll("s", 0, span(0), &Kept { hours, ..Kept::default() });
        assert_eq!((day.records, day.figures.off_seconds), (most / 2 + 1, most / 2));
    }

    #[test]
    fn percentiles_tests_pings_and_outages() {
        let mut slow = hour("n", 3_600, 7_200, 0);
        slow.figures.rtt_median_ms = Some(200.0);
        slow.figures.attempts = 1;
        slow.figures.rtt_min_ms = Some(20.0);
        let at = |seconds: i64| (DAY + seconds) * 1_000_000;
        let test = |seconds, download| Test {
            started: at(seconds),
            clock_ok: true,
            download_bps: download,
            download_rtt_min_ms: Some(41.0),
            cost_bytes: Some(5),
            ..Test::default()
        };
        let ping =
            |seconds, received, median| Ping { started: at(seconds), sent: 20, received, rtt_median_ms: Some(median), ..Ping::default() };
        let outage = |what: &str, from, until| Outage {
            what: what.into(),
            started: at(from),
            ended: at(until),
            seconds: until - from,
            clock_ok: true,
            ..Outage::default()
        };
        let kept = Kept {
            hours: vec![hour("n", 0, 3_600, 0), slow],
            tests: vec![test(10, Some(8)), test(20, Some(2)), test(30, Some(9)), test(40, None), test(86_400, Some(1))],
            pings: vec![ping(0, 20, 40.0), ping(900, 5, 90.0), ping(-1, 20, 1.0)],
            outages: vec![outage("line_down", -600, 300), outage("line_down", 80_000, 90_000), outage("box_off", 0, 900)],
        };
        let day = roll("s", 7, span(0), &kept);
        assert_eq!((day.figures.rtt_median_ms, day.figures.rtt_min_ms, day.day), (Some(50.0), Some(20.0), 7));
        assert_eq!((day.tests, day.tests_failed, day.test_bytes, day.download_bps, day.upload_bps), (4, 1, 20, Some(8), None));
        assert_eq!((day.pings_sent, day.pings_received, day.ping_median_ms), (40, 25, Some(40.0)));
        assert_eq!((day.outages, day.outage_seconds, day.longest_outage_seconds), (1, 6_700, 6_400));
        let shared = Kept { outages: vec![outage("line_down", 30, 620), outage("line_down", 0, 600)], ..Kept::default() };
        let day = roll("s", 0, span(0), &shared);
        assert_eq!((day.outages, day.outage_seconds, day.longest_outage_seconds), (1, 620, 620), "two boxes, one line");
        // Two boxes tell of one line that was down for a tenth of the time.
        let twice = || Outage { seconds: 60, ..outage("line_down", 0, 600) };
        let of = |other| {
            let day = roll("s", 0, span(0), &Kept { outages: vec![twice(), other], ..Kept::default() });
            (day.outages, day.outage_seconds)
        };
        assert_eq!(of(twice()), (1, 60));
        assert_eq!(of(outage("line_down", 0, 600)), (1, 600), "what one of them saw down all the time was down");
        let flapping = Outage { seconds: 100, ..outage("line_down", -1_000, 1_000) };
        let day = roll("s", 0, span(0), &Kept { outages: vec![flapping], ..Kept::default() });
        assert_eq!((day.outages, day.outage_seconds, day.longest_outage_seconds), (0, 50, 50), "pauses between are no outage");
        let passive = Test { outcome: Some("passive".into()), ..test(10, Some(80)) };
        let day = roll("s", 0, span(0), &Kept { tests: vec![passive, test(20, Some(2))], ..Kept::default() });
        assert_eq!((day.tests, day.tests_failed, day.download_bps), (1, 0, Some(2)), "nothing was sent");
        let twice = Kept { hours: [kept.hours.clone(), kept.hours.clone()].concat(), ..Kept::default() };
        assert_eq!(roll("s", 7, span(0), &twice).figures.up_seconds, 7_200, "a record that is there twice is no second line");
    }
}
