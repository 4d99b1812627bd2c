//! What a statement says, in whole numbers: what was promised against what was measured, where the time went, what was out of order.
//! Pure: tests, hours and outages come in.
//!
//! A day counts once, however often somebody tested on it: a hundred tests of one good night must not lift a month. What cannot be
//! dated is left out and counted; what is not known is absent, never 0. Whole numbers only, so that the same figures give the same
//! bytes, which are what is signed.

use crate::base::calendar::{self, Calendar};
use crate::base::clock::Time;
use crate::link::rollup::Rollup;
use crate::meter::test::{End, Figures as Direction, Kept, Method, Reach, Trigger};
use crate::report::statement::period::Period;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use utoipa::ToSchema;

/// The share of the contract below which a line does not keep it, percent (ux.md: 80 % is the line).
pub const PROMISED: u64 = 80;

/// Fewer tests than these are no ground for a judgement: three days of the usual schedule.
const FEW_TESTS: u64 = 10;

/// Nor are tests on less than this part of the days.
const FEW_DAYS: u64 = 3;

/// The longest outages that are listed one by one.
const LISTED: usize = 6;

/// How a line stands against the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = LineVerdict)]
pub enum State {
    /// Nobody measured.
    #[default]
    NoData,
    /// It was watched and worked at no time.
    Offline,
    /// Slower than the target.
    Below,
    /// As fast as the target, or faster.
    Meets,
}

/// Numbers of days by how the line stood on them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = LineVerdicts)]
pub struct States {
    /// See [`State`].
    pub no_data: u64,
    /// See [`State`].
    pub offline: u64,
    /// See [`State`].
    pub below: u64,
    /// See [`State`].
    pub meets: u64,
}

/// One direction, promised and measured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = StatedSpeed)]
pub struct Speed {
    /// By contract, bit/s.
    pub contract_bps: Option<u64>,
    /// The median of the days' medians, bit/s.
    pub median_bps: Option<u64>,
    /// Of all tests the lowest.
    pub low_bps: Option<u64>,
    /// And the highest.
    pub high_bps: Option<u64>,
    /// Tests with a figure.
    pub tests: u64,
    /// Days with one.
    pub days: u64,
    /// Of these, days whose median is below 80 % of the contract.
    pub days_below_contract: Option<u64>,
}

/// How long things take on the line, µs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = StatedLatency)]
pub struct Latency {
    /// There and back, nothing else on the way: median of the tests.
    pub idle_us: Option<u64>,
    /// The least.
    pub low_us: Option<u64>,
    /// The most.
    pub high_us: Option<u64>,
    /// There and back while the line is full: median of the tests.
    pub loaded_us: Option<u64>,
}

/// Where the time went, seconds. All together they are the period, as far as it has passed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = StatedTime)]
pub struct Spent {
    /// The line worked.
    pub up_seconds: u64,
    /// It worked badly.
    pub slow_seconds: u64,
    /// Nothing got through.
    pub down_seconds: u64,
    /// The box was on and nothing was tried.
    pub untried_seconds: u64,
    /// The box was off.
    pub off_seconds: u64,
    /// The box's clock was wrong.
    pub clock_seconds: u64,
    /// The box had not been set up.
    pub before_seconds: u64,
    /// Worked, of what was watched, millionths; absent when nothing was watched.
    pub available_ppm: Option<u64>,
}

/// Something that was out of order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// What: a word of the report's schema (`schema::EVENTS`).
    pub what: &'static str,
    /// From.
    pub start: Time,
    /// How long, as far as it lies in the period.
    pub seconds: u64,
    /// How often: short ones that followed each other are joined.
    pub times: u64,
}

/// What was out of order, by cause.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = StatedCause)]
pub struct Cause {
    /// What.
    pub what: String,
    /// How often.
    pub times: u64,
    /// How long in all.
    pub seconds: u64,
    /// The longest.
    pub longest_seconds: u64,
}

/// One of the longest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = StatedOutage)]
pub struct Incident {
    /// What.
    pub what: String,
    /// From (RFC 3339).
    pub start: String,
    /// How long.
    pub seconds: u64,
}

/// What the figures rest on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = StatedTests)]
pub struct Tests {
    /// Tests of the period.
    pub made: u64,
    /// Of these, without a figure.
    pub failed: u64,
    /// Nothing was sent since the bytes of the day were used up: not among the figures.
    pub passive: u64,
    /// With a figure, and cut short by something else than that it had settled.
    pub partial: u64,
    /// Asked for by a person.
    pub manual: u64,
    /// While a class used the line.
    pub busy: u64,
    /// Ended early since the figure had settled.
    pub early: u64,
    /// Left out: the box did not know what time it was.
    pub undated: u64,
    /// With a server in the country.
    pub domestic: u64,
    /// With one elsewhere.
    pub foreign: u64,
    /// With one of which that is not known.
    pub unplaced: u64,
    /// Whose capacity came from several streams.
    pub streams: u64,
    /// What others moved during the tests, bytes.
    pub cross_bytes: u64,
    /// What the tests took, bytes.
    pub cost_bytes: u64,
}

/// One day at the school.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = StatedDay)]
pub struct Day {
    /// `2026-10-31`.
    pub date: String,
    /// How it stood against the target.
    pub state: State,
    /// Tests with a figure.
    pub tests: u64,
    /// Download, bit/s.
    pub median_bps: Option<u64>,
    /// See `median_bps`.
    pub low_bps: Option<u64>,
    /// See `median_bps`.
    pub high_bps: Option<u64>,
    /// Upload, bit/s.
    pub upload_bps: Option<u64>,
    /// The line worked, well or badly.
    pub up_seconds: u64,
    /// It did not.
    pub down_seconds: u64,
    /// The box was off.
    pub off_seconds: u64,
}

/// The whole of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = StatedFigures)]
pub struct Figures {
    /// The school as people call it.
    pub school: String,
    /// Its number in the region; may be empty.
    pub school_id: String,
    /// The first day.
    pub from: String,
    /// The last one, included.
    pub to: String,
    /// In which time zone days are counted.
    pub zone: String,
    /// Whether it is over.
    pub over: bool,
    /// Its days, as far as they have begun.
    pub length_days: u64,
    /// Too few tests for a judgement.
    pub few: bool,
    /// How the line stands against the target.
    pub state: State,
    /// The target of ITU and UN for this school, bit/s.
    pub benchmark_bps: u64,
    /// Its pupils, where they are known.
    pub pupils: Option<u64>,
    /// Towards the school.
    pub download: Speed,
    /// Towards the world.
    pub upload: Speed,
    /// How long things take.
    pub latency: Latency,
    /// Where the time went.
    pub time: Spent,
    /// What was out of order, the longest in all first.
    pub outages: Vec<Cause>,
    /// Whether outages are known by the second, or by the hour only.
    pub outages_exact: bool,
    /// The longest ones, the longest first.
    pub longest: Vec<Incident>,
    /// What the figures rest on.
    pub tests: Tests,
    /// How the days stood.
    pub states: States,
    /// Day by day.
    pub days: Vec<Day>,
}

/// What is known beside the measurements.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// The school as people call it.
    pub school: String,
    /// Its number in the region.
    pub school_id: String,
    /// The name of its time zone.
    pub zone: String,
    /// By contract, bit/s, towards the school and towards the world.
    pub contract: (Option<u64>, Option<u64>),
    /// Its pupils.
    pub pupils: Option<u64>,
    /// The target, bit/s.
    pub benchmark: u64,
    /// The log of outages is older than the period.
    pub logged: bool,
}

/// Puts it together. `hours`: the line by hours, the running one included; `log`: outages, as far as a log was kept.
pub fn sum(about: &About, calendar: &Calendar, period: Period, now: Time, tests: &[Kept], hours: &[Rollup], log: &[Outage]) -> Figures {
    let (start, end) = (calendar.span(period.from).0, calendar.span(period.to).1);
    let (over, end) = (end <= now, end.min(now));
    let inside: Vec<&Kept> = tests.iter().filter(|kept| kept.start >= start && kept.start < end).collect();
    let hours: Vec<&Rollup> = hours.iter().filter(|hour| hour.start >= start && hour.start < end).collect();
    let dated: Vec<&Kept> = inside.iter().copied().filter(|kept| kept.clock_ok).collect();
    let measured: Vec<&Kept> = dated.iter().copied().filter(|kept| is_measured(kept)).collect();
    let last = calendar.day(end.minus(Duration::from_micros(1)).max(start)).min(period.to);
    let days: Vec<Day> = (period.from..=last).map(|day| self::day(calendar, day, about.benchmark, &measured, &hours)).collect();
    let mut states = States::default();
    for day in &days {
        match day.state {
            State::NoData => states.no_data += 1,
            State::Offline => states.offline += 1,
            State::Below => states.below += 1,
            State::Meets => states.meets += 1,
        }
    }
    let download = speed(calendar, &measured, false, about.contract.0);
    let upload = speed(calendar, &measured, true, about.contract.1);
    let time = spent(start, end, &hours);
    let length_days = count(days.len());
    let state = match download.median_bps {
        Some(median) if median >= about.benchmark => State::Meets,
        Some(_) => State::Below,
        None if time.available_ppm == Some(0) => State::Offline,
        None => State::NoData,
    };
    // The log begins with a later program than the hours: what lies before its first word is told by them.
    let begins = log.iter().map(|outage| outage.start).min();
    let unlogged = |hour: &&Rollup| !about.logged && begins.is_none_or(|begins| hour.end <= begins);
    let before: Vec<&Rollup> = hours.iter().copied().filter(unlogged).collect();
    let mut outages = hourly(&before);
    let exact = outages.is_empty();
    outages.extend_from_slice(log);
    Figures {
        school: about.school.clone(),
        school_id: about.school_id.clone(),
        from: calendar::iso(period.from),
        to: calendar::iso(period.to),
        zone: about.zone.clone(),
        over,
        few: download.tests < FEW_TESTS || download.days * FEW_DAYS < length_days,
        length_days,
        state,
        benchmark_bps: about.benchmark,
        pupils: about.pupils,
        download,
        upload,
        latency: latency(&measured),
        time,
        outages: causes(&outages),
        outages_exact: exact,
        longest: longest(&outages),
        tests: rest(&inside, &dated, &measured),
        states,
        days,
    }
}

/// Whether a test has sent something and shown something.
fn is_measured(kept: &Kept) -> bool {
    let test = &kept.test;
    matches!(test.end, End::Ok | End::Partial) && (test.estimate(false).is_some() || test.estimate(true).is_some())
}

fn day(calendar: &Calendar, day: i32, benchmark: u64, tests: &[&Kept], hours: &[&Rollup]) -> Day {
    let of = |upload: bool| -> Vec<u64> {
        tests.iter().filter(|kept| calendar.day(kept.start) == day).filter_map(|kept| kept.test.estimate(upload)).collect()
    };
    let (down, up) = (of(false), of(true));
    let mut told = Day { date: calendar::iso(day), tests: count(down.len()), ..Day::default() };
    (told.median_bps, told.low_bps, told.high_bps) = (median(down.clone()), down.iter().copied().min(), down.iter().copied().max());
    told.upload_bps = median(up);
    // An hour belongs to the day on which it begins: zones are whole hours from UTC nearly everywhere.
    for hour in hours.iter().filter(|hour| calendar.day(hour.start) == day) {
        told.up_seconds += hour.up_seconds + hour.slow_seconds;
        told.down_seconds += hour.down_seconds;
        told.off_seconds += hour.off_seconds;
    }
    told.state = match told.median_bps {
        Some(median) if median >= benchmark => State::Meets,
        Some(_) => State::Below,
        None if told.down_seconds > 0 && told.up_seconds == 0 => State::Offline,
        None => State::NoData,
    };
    told
}

fn speed(calendar: &Calendar, tests: &[&Kept], upload: bool, contract: Option<u64>) -> Speed {
    let mut by_day: BTreeMap<i32, Vec<u64>> = BTreeMap::new();
    for kept in tests {
        if let Some(rate) = kept.test.estimate(upload) {
            by_day.entry(calendar.day(kept.start)).or_default().push(rate);
        }
    }
    let all = || by_day.values().flatten().copied();
    let medians: Vec<u64> = by_day.values().filter_map(|rates| median(rates.clone())).collect();
    // 80 % of it, without a fraction lost.
    let short = |median: u64, contract: u64| u128::from(median) * 100 < u128::from(contract) * u128::from(PROMISED);
    Speed {
        contract_bps: contract,
        median_bps: median(medians.clone()),
        low_bps: all().min(),
        high_bps: all().max(),
        tests: count(all().count()),
        days: count(medians.len()),
        days_below_contract: contract
            .filter(|_| !medians.is_empty())
            .map(|contract| count(medians.iter().filter(|median| short(**median, contract)).count())),
    }
}

fn latency(tests: &[&Kept]) -> Latency {
    let of = |value: fn(&Direction) -> Option<f64>| -> Vec<u64> {
        tests.iter().filter_map(|kept| value(kept.test.download.as_ref()?)).filter_map(micros).collect()
    };
    let idle = of(|figures| figures.rtt_min_ms);
    Latency {
        low_us: idle.iter().copied().min(),
        high_us: idle.iter().copied().max(),
        idle_us: median(idle),
        loaded_us: median(of(|figures| figures.rtt_loaded_ms)),
    }
}

fn spent(start: Time, end: Time, hours: &[&Rollup]) -> Spent {
    let mut sum = Spent::default();
    for hour in hours {
        sum.up_seconds += hour.up_seconds;
        sum.slow_seconds += hour.slow_seconds;
        sum.down_seconds += hour.down_seconds;
        sum.untried_seconds += hour.no_data_seconds;
        sum.clock_seconds += hour.clock_seconds;
    }
    // Before the first hour that was ever kept there was no node; one of the period that is missing since was off.
    let first = hours.first().map_or(end, |hour| hour.start.min(end));
    sum.before_seconds = first.since(start).as_secs();
    let told = sum.up_seconds + sum.slow_seconds + sum.down_seconds + sum.untried_seconds + sum.clock_seconds + sum.before_seconds;
    sum.off_seconds = end.since(start).as_secs().saturating_sub(told);
    let watched = sum.up_seconds + sum.slow_seconds + sum.down_seconds;
    sum.available_ppm = ((sum.up_seconds + sum.slow_seconds) * 1_000_000).checked_div(watched);
    sum
}

/// A cause, and its seconds in an hour.
type Kind = (&'static str, fn(&Rollup) -> u64);

/// Outages as the hours tell them: a row of hours with one is one. For times of which nobody kept a log.
fn hourly(hours: &[&Rollup]) -> Vec<Outage> {
    let kinds: [Kind; 3] =
        [("line_down", |hour| hour.down_seconds), ("box_off", |hour| hour.off_seconds), ("clock_wrong", |hour| hour.clock_seconds)];
    let mut found: Vec<Outage> = Vec::new();
    for (what, seconds) in kinds {
        let mut last: Option<Time> = None;
        for hour in hours.iter().filter(|hour| seconds(hour) > 0) {
            match found.last_mut().filter(|_| last == Some(hour.start)) {
                Some(running) => running.seconds += seconds(hour),
                None => found.push(Outage { what, start: hour.start, seconds: seconds(hour), times: 1 }),
            }
            last = Some(hour.end);
        }
    }
    found
}

fn causes(outages: &[Outage]) -> Vec<Cause> {
    let mut by_cause: BTreeMap<&str, Cause> = BTreeMap::new();
    for outage in outages {
        let cause = by_cause.entry(outage.what).or_insert_with(|| Cause { what: outage.what.into(), ..Cause::default() });
        cause.times += outage.times;
        cause.seconds += outage.seconds;
        cause.longest_seconds = cause.longest_seconds.max(outage.seconds);
    }
    let mut all: Vec<Cause> = by_cause.into_values().collect();
    all.sort_by_key(|cause| std::cmp::Reverse(cause.seconds));
    all
}

fn longest(outages: &[Outage]) -> Vec<Incident> {
    let mut all: Vec<&Outage> = outages.iter().collect();
    all.sort_by_key(|outage| (std::cmp::Reverse(outage.seconds), outage.start));
    let told = |outage: &&Outage| Incident { what: outage.what.into(), start: outage.start.to_rfc3339(), seconds: outage.seconds };
    all.iter().take(LISTED).map(told).collect()
}

fn rest(inside: &[&Kept], dated: &[&Kept], measured: &[&Kept]) -> Tests {
    let of = |is: fn(&Kept) -> bool| count(dated.iter().filter(|kept| is(kept)).count());
    let with = |is: fn(&Kept) -> bool| count(measured.iter().filter(|kept| is(kept)).count());
    let any = |kept: &Kept, is: fn(&Direction) -> bool| [&kept.test.download, &kept.test.upload].into_iter().flatten().any(is);
    Tests {
        made: count(inside.len()),
        failed: of(|kept| !is_measured(kept) && kept.test.end != End::Passive),
        passive: of(|kept| kept.test.end == End::Passive),
        partial: with(|kept| kept.test.end == End::Partial),
        manual: with(|kept| kept.test.trigger == Trigger::Manual),
        busy: with(|kept| kept.test.busy),
        early: count(measured.iter().filter(|kept| any(kept, |figures| figures.early)).count()),
        undated: count(inside.len() - dated.len()),
        domestic: with(|kept| kept.test.reach == Reach::Domestic),
        foreign: with(|kept| kept.test.reach == Reach::Foreign),
        unplaced: with(|kept| kept.test.reach == Reach::Unknown),
        streams: count(measured.iter().filter(|kept| any(kept, |figures| figures.method == Method::Streams)).count()),
        cross_bytes: measured
            .iter()
            .map(|kept| kept.test.cross_rx_bytes.saturating_add(kept.test.cross_tx_bytes))
            .fold(0, u64::saturating_add),
        cost_bytes: inside.iter().map(|kept| kept.test.cost_bytes).fold(0, u64::saturating_add),
    }
}

/// The middle one; of two, what lies between them.
fn median(mut values: Vec<u64>) -> Option<u64> {
    values.sort_unstable();
    let upper = *values.get(values.len() / 2)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = values.get(values.len() / 2 - 1).copied().unwrap_or(upper);
    Some(lower + (upper - lower) / 2)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a wait of some milliseconds, not negative; `as` saturates")]
fn micros(millis: f64) -> Option<u64> {
    (millis.is_finite() && millis >= 0.0).then(|| (millis * 1_000.0).round() as u64)
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(in crate::report) mod tests;
