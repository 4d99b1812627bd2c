//! The log over made-up days.

use super::*;

fn at(seconds: i64) -> Time {
    Time::from_secs(1_795_478_400 + seconds)
}

fn sign(what: What, since: i64, seen: i64) -> Sign<Time> {
    Sign { what, since: at(since), seen: at(seen) }
}

/// A trouble from..until, looked at every two seconds.
fn trouble(log: &mut Log, what: What, from: i64, until: i64) {
    for now in (from..until).step_by(2) {
        log.step(Some(sign(what, from, now)), at(now));
    }
    log.step(None, at(until));
}

fn told(log: &mut Log) -> Vec<(What, i64, i64, u64, bool, u32)> {
    let since = |time: Time| time.secs() - at(0).secs();
    let mut entries = log.take_done();
    entries.extend(log.entries().cloned());
    entries.sort_by_key(|entry| entry.start);
    entries
        .iter()
        .map(|entry| (entry.what, since(entry.start), since(entry.end), entry.event().seconds, entry.open, entry.joined))
        .collect()
}

#[test]
fn an_outage_is_told_from_its_first_sign_once_it_is_sure() {
    let mut log = Log::default();
    trouble(&mut log, What::LineDown, 100, 108);
    assert_eq!(told(&mut log), [], "eight seconds are a bad line");
    for now in [200, 205, 209] {
        log.step(Some(sign(What::LineDown, 200, now)), at(now));
        assert_eq!(told(&mut log), []);
    }
    log.step(Some(sign(What::LineDown, 200, 210)), at(210));
    assert_eq!(told(&mut log), [(What::LineDown, 200, 210, 10, true, 0)]);
    log.step(Some(sign(What::LineDown, 200, 260)), at(260));
    log.step(None, at(261));
    assert_eq!(told(&mut log), [(What::LineDown, 200, 261, 61, false, 0)]);
}

#[test]
fn a_flapping_line_is_a_few_entries_and_their_seconds_are_true() {
    let mut log = Log::default();
    // A whole day: 20 s dead, 40 s alive.
    for minute in 0..1_440 {
        trouble(&mut log, What::LineDown, minute * 60, minute * 60 + 20);
    }
    assert_eq!(told(&mut log), [(What::LineDown, 0, 1_439 * 60 + 20, 1_440 * 20, false, 1_439)]);
    // Every quarter of an hour, for two days: too far apart to be one, too many to be told singly.
    let mut log = Log::default();
    for quarter in 0..192 {
        trouble(&mut log, What::LineDown, quarter * 900, quarter * 900 + 30);
    }
    let entries = told(&mut log);
    assert!(entries.len() <= 2 * MOST_A_DAY, "{} entries", entries.len());
    assert_eq!(entries.iter().map(|entry| entry.3).sum::<u64>(), 192 * 30, "no second is lost");
    assert_eq!(entries.iter().map(|entry| u64::from(entry.5) + 1).sum::<u64>(), 192, "nor an outage");
}

#[test]
fn one_trouble_at_a_time_and_a_short_one_takes_no_place() {
    let mut log = Log::default();
    // Names are dead; every half minute the line is taken for down for two seconds.
    for now in (0..120).step_by(2) {
        let what = if now % 30 == 0 { sign(What::LineDown, now, now) } else { sign(What::NamesDown, 1, now) };
        log.step(Some(what), at(now));
    }
    assert_eq!(told(&mut log), [(What::NamesDown, 1, 118, 117, true, 0)]);
    // Then the line goes as well, and comes back with names and all.
    for now in (120..200).step_by(2) {
        log.step(Some(sign(What::LineDown, 120, now)), at(now));
    }
    log.step(None, at(200));
    assert_eq!(told(&mut log), [(What::NamesDown, 1, 120, 119, false, 0), (What::LineDown, 120, 200, 80, false, 0)]);
}

#[test]
fn what_nobody_looks_at_any_more_ended_with_its_last_sign() {
    let mut log = Log::default();
    trouble(&mut log, What::OriginDown, 0, 100);
    log.step(Some(sign(What::OriginDown, 2_000, 2_030)), at(2_030));
    log.step(Some(sign(What::OriginDown, 2_000, 2_030)), at(2_600));
    log.step(None, at(2_632));
    assert_eq!(told(&mut log), [(What::OriginDown, 0, 100, 100, false, 0), (What::OriginDown, 2_000, 2_030, 30, false, 0)]);
}

#[test]
fn an_earlier_life_is_gone_on_with() {
    let mut log = Log::default();
    for boot in 0..100 {
        // A power supply that fails every five minutes, and a node that remembers what it has kept.
        let mut next = Log::default();
        for entry in log.entries() {
            next.remember(Entry::kept(entry.what, entry.start, entry.end, entry.event().seconds, entry.joined));
        }
        log = next;
        log.past(What::BoxOff, at(boot * 300), at(boot * 300 + 60));
    }
    assert_eq!(told(&mut log), [(What::BoxOff, 0, 99 * 300 + 60, 6_000, false, 99)]);
}

#[test]
fn a_step_of_time_ends_what_runs_and_what_goes_on_is_another_entry() {
    let mut log = Log::default();
    for now in (0..60).step_by(2) {
        log.step(Some(sign(What::LineDown, 0, now)), at(now));
    }
    // The clock is set on by a day while the line is down.
    let day = 86_400;
    log.cut(at(60), at(60 + day));
    log.past(What::ClockWrong, at(60 + day), at(60 + day));
    for now in (60..120).step_by(2) {
        log.step(Some(sign(What::LineDown, day, now + day)), at(now + day));
    }
    log.step(None, at(120 + day));
    assert_eq!(
        told(&mut log),
        [
            (What::LineDown, 0, 60, 60, false, 0),
            (What::LineDown, 60 + day, 120 + day, 60, false, 0),
            (What::ClockWrong, 60 + day, 60 + day, 0, false, 0),
        ]
    );
    // And back: no entry ends before it begins.
    log.cut(at(130 + day), at(130));
    log.begin(What::LineDown, at(140 + day), at(131));
    log.end(What::LineDown, at(132));
    assert!(told(&mut log).iter().all(|(_, start, end, ..)| start <= end));
}

#[test]
fn what_was_seen_by_a_wrong_clock_is_dated_when_it_is_right() {
    let mut log = Log::default();
    log.remember(Entry::kept(What::BoxOff, at(-5_000), at(-4_000), 1_000, 0));
    log.begin(What::ClockWrong, at(0), at(0));
    for now in (0..60).step_by(2) {
        log.step(Some(sign(What::LineDown, 0, now)), at(now));
    }
    log.shift(3_600_000_000, |entry| entry.what != What::BoxOff);
    log.end(What::ClockWrong, at(3_660));
    log.step(None, at(3_660));
    assert_eq!(
        told(&mut log),
        [
            (What::BoxOff, -5_000, -4_000, 1_000, false, 0),
            (What::LineDown, 3_600, 3_660, 60, false, 0),
            (What::ClockWrong, 3_600, 3_660, 60, false, 0),
        ]
    );
}

#[test]
fn a_clock_that_is_set_again_and_again_fills_no_log() {
    let mut log = Log::default();
    let mut written = 0;
    for step in 0..200 {
        // Two sources of time that do not agree.
        let now = at(step * 5 + if step % 2 == 0 { 0 } else { 120 });
        log.cut(now, now);
        log.past(What::ClockWrong, now, now);
        written += log.take_done().len();
    }
    written += log.entries().count();
    assert!(written <= MOST_A_DAY, "{written} entries");
}

#[test]
fn words_are_read_back() {
    for what in What::ALL {
        assert_eq!(What::read(what.word()), Some(what));
        assert_eq!(serde_json::to_value(what).expect("a word"), what.word());
    }
    assert_eq!(What::read("rain"), None);
}
