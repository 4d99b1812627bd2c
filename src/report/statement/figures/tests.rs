//! Months made of a few tests and hours.

use super::*;
use crate::meter::test::{Congestion, Test, Trouble};
use serde_json::Value;

/// 2026-10-01 in Almaty, as the day's number.
fn first() -> i32 {
    calendar::parse("2026-10-01").expect("a day")
}

fn october() -> Period {
    Period { from: first(), to: first() + 30 }
}

fn almaty() -> Calendar {
    Calendar::of("Asia/Almaty").expect("known")
}

fn at(day: i32, hour: u64) -> Time {
    almaty().span(first() + day).0.plus(Duration::from_secs(hour * 3_600))
}

fn direction(rate: Option<u64>) -> Direction {
    Direction {
        ndt7_bps: rate,
        estimate_bps: rate,
        low_bps: None,
        high_bps: None,
        method: Method::Ndt7,
        congestion: Congestion::Cubic,
        streams: 1,
        early: true,
        took_ms: 4_000.0,
        moved_bytes: 3_000_000,
        rtt_min_ms: Some(41.25),
        rtt_loaded_ms: Some(180.0),
        retransmitted_ratio: None,
    }
}

/// A test of the usual kind.
pub(in crate::report) fn test(start: Time, down: Option<u64>, up: Option<u64>) -> Kept {
    let test = Test {
        id: "0af1".into(),
        trigger: Trigger::Daily,
        end: if down.is_some() { End::Ok } else { End::Failed },
        trouble: Trouble::None,
        reach: Reach::Domestic,
        busy: false,
        cross_rx_bytes: 1_000,
        cross_tx_bytes: 500,
        cost_bytes: 6_000_000,
        left_today_bytes: 1,
        download: Some(direction(down)),
        upload: Some(direction(up)),
    };
    let finish = start.plus(Duration::from_secs(9));
    Kept { number: 1, start, finish, clock_ok: true, server: "ws://10.0.0.1".into(), test, raw: Value::Null }
}

fn hour(start: Time, up: u64, down: u64, off: u64) -> Rollup {
    let end = start.plus(Duration::from_hours(1));
    let no_data_seconds = 3_600 - up - down - off;
    Rollup { start, end, up_seconds: up, down_seconds: down, off_seconds: off, no_data_seconds, ..Rollup::default() }
}

fn about() -> About {
    About {
        school: "№ 7".into(),
        school_id: "kz-7".into(),
        zone: "Asia/Almaty".into(),
        contract: (Some(8_000_000), None),
        pupils: None,
        benchmark: 20_000_000,
        logged: false,
    }
}

/// A month with a few tests and one outage.
pub(in crate::report) fn sample() -> Figures {
    let tests = [
        test(at(2, 9), Some(7_800_000), Some(2_000_000)),
        test(at(3, 9), Some(5_000_000), Some(2_000_000)),
        test(at(4, 9), Some(8_100_000), Some(2_100_000)),
    ];
    let hours = [hour(at(2, 8), 3_600, 0, 0), hour(at(2, 9), 3_000, 600, 0), hour(at(2, 10), 0, 300, 3_300)];
    sum(&about(), &almaty(), october(), at(40, 0), &tests, &hours, &[])
}

#[test]
fn promised_and_measured_by_day() {
    let figures = sample();
    let download = &figures.download;
    assert_eq!((download.median_bps, download.low_bps, download.high_bps), (Some(7_800_000), Some(5_000_000), Some(8_100_000)));
    assert_eq!((download.tests, download.days, download.days_below_contract), (3, 3, Some(1)));
    assert_eq!((figures.upload.contract_bps, figures.upload.days_below_contract), (None, None));
    assert_eq!((figures.state, figures.few, figures.over, figures.length_days), (State::Below, true, true, 31));
    assert_eq!(figures.states, States { no_data: 28, below: 3, ..States::default() });
    assert_eq!((figures.latency.idle_us, figures.latency.loaded_us), (Some(41_250), Some(180_000)));
    assert_eq!((figures.days.len(), figures.days[2].median_bps, figures.days[2].down_seconds), (31, Some(7_800_000), 900));
    assert_eq!((figures.tests.made, figures.tests.early, figures.tests.cross_bytes, figures.tests.cost_bytes), (3, 3, 4_500, 18_000_000));
}

#[test]
fn every_second_of_a_period_is_explained() {
    let time = sample().time;
    let whole = [time.up_seconds, time.slow_seconds, time.down_seconds, time.untried_seconds, time.clock_seconds];
    assert_eq!(whole.iter().sum::<u64>() + time.off_seconds + time.before_seconds, 31 * 86_400);
    assert_eq!((time.up_seconds, time.down_seconds, time.before_seconds), (6_600, 900, 2 * 86_400 + 8 * 3_600));
    // 6,600 of 7,500 watched seconds.
    assert_eq!(time.available_ppm, Some(880_000));
    let nothing = sum(&about(), &almaty(), october(), at(10, 0), &[], &[], &[]);
    assert_eq!((nothing.time.before_seconds, nothing.time.available_ppm, nothing.state), (10 * 86_400, None, State::NoData));
    assert_eq!((nothing.length_days, nothing.over, nothing.few), (10, false, true));
}

#[test]
fn many_tests_on_one_good_day_do_not_lift_a_month() {
    let mut tests: Vec<Kept> = (0..10).map(|day| test(at(day, 9), Some(2_000_000), None)).collect();
    tests.extend((0..100).map(|number| test(at(20, 0).plus(Duration::from_secs(number * 60)), Some(30_000_000), None)));
    let figures = sum(&about(), &almaty(), october(), at(31, 0), &tests, &[], &[]);
    assert_eq!((figures.download.median_bps, figures.download.tests, figures.download.days), (Some(2_000_000), 110, 11));
    assert_eq!((figures.state, figures.few), (State::Below, false));
    assert_eq!(figures.states, States { no_data: 20, below: 10, meets: 1, ..States::default() });
}

#[test]
fn what_cannot_be_dated_or_was_not_sent_is_counted_and_left_out() {
    let mut undated = test(at(1, 9), Some(90_000_000), None);
    undated.clock_ok = false;
    let mut passive = test(at(1, 10), Some(80_000_000), None);
    passive.test.end = End::Passive;
    let mut manual = test(at(1, 11), Some(20_000_000), Some(1));
    (manual.test.trigger, manual.test.end, manual.test.busy, manual.test.reach) = (Trigger::Manual, End::Partial, true, Reach::Foreign);
    let tests = [undated, passive, manual, test(at(1, 12), None, None), test(at(32, 0), Some(1), None)];
    let figures = sum(&about(), &almaty(), october(), at(40, 0), &tests, &[], &[]);
    let rest = Tests { cost_bytes: 24_000_000, cross_bytes: 1_500, ..figures.tests.clone() };
    assert_eq!(figures.tests, rest);
    assert_eq!((rest.made, rest.failed, rest.passive, rest.undated, rest.manual, rest.busy, rest.foreign), (4, 1, 1, 1, 1, 1, 1));
    assert_eq!((figures.download.median_bps, figures.state), (Some(20_000_000), State::Meets));
}

#[test]
fn outages_come_from_the_log_or_else_by_the_hour() {
    let figures = sample();
    let cause = |what: &str, times, seconds, longest_seconds| Cause { what: what.into(), times, seconds, longest_seconds };
    assert_eq!(figures.outages, [cause("box_off", 1, 3_300, 3_300), cause("line_down", 1, 900, 900)]);
    assert!(!figures.outages_exact);
    let outage = |what, hour, seconds| Outage { what, start: at(5, hour), seconds, times: 1 };
    let log = [outage("line_down", 1, 40), outage("line_down", 3, 400), outage("names_down", 4, 70)];
    let figures = sum(&about(), &almaty(), october(), at(40, 0), &[], &[], &log);
    assert_eq!(figures.outages, [cause("line_down", 2, 440, 400), cause("names_down", 1, 70, 70)]);
    assert_eq!((figures.outages_exact, figures.longest.len(), figures.longest[0].seconds), (true, 3, 400));
    assert_eq!(figures.longest[0].start, "2026-10-05T22:00:00.000000Z", "03:00 in Almaty");
    // Joined ones are counted one by one.
    let joined = Outage { what: "line_down", start: at(5, 1), seconds: 150, times: 5 };
    let figures = sum(&about(), &almaty(), october(), at(40, 0), &[], &[], &[joined]);
    assert_eq!(figures.outages, [cause("line_down", 5, 150, 150)]);
    // Of the time before the log only the hours tell.
    let hours = [hour(at(0, 8), 0, 3_600, 0), hour(at(5, 3), 3_200, 400, 0)];
    let figures = sum(&about(), &almaty(), october(), at(40, 0), &[], &hours, &log);
    assert_eq!(figures.outages[0], cause("line_down", 3, 4_040, 3_600));
    assert!(!figures.outages_exact);
    // A log that is older than the period knows better: what it left out was too short to be one.
    let figures = sum(&About { logged: true, ..about() }, &almaty(), october(), at(40, 0), &[], &hours, &log);
    assert_eq!((figures.outages_exact, &figures.outages[0]), (true, &cause("line_down", 2, 440, 400)));
}

#[test]
fn a_line_that_never_worked_is_offline() {
    let hours = [hour(at(0, 8), 0, 3_600, 0)];
    let figures = sum(&about(), &almaty(), Period { from: first(), to: first() }, at(40, 0), &[], &hours, &[]);
    assert_eq!((figures.state, figures.states.offline, figures.time.available_ppm), (State::Offline, 1, Some(0)));
}

#[test]
fn medians() {
    for (values, wanted) in
        [(vec![], None), (vec![5], Some(5)), (vec![9, 1], Some(5)), (vec![3, 1, 2], Some(2)), (vec![u64::MAX, u64::MAX], Some(u64::MAX))]
    {
        assert_eq!(median(values.clone()), wanted, "{values:?}");
    }
}
