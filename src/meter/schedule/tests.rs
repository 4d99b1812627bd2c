//! Days of tests, as a table.

use super::*;

fn schedule(startup: bool) -> Schedule {
    let slots = ["08:00-12:00", "12:00-16:00", "16:00-20:00"].map(|text| text.parse().expect(text));
    Schedule { slots: slots.to_vec(), zone: TimeZone::get("Asia/Almaty").expect("known"), startup }
}

/// A time of 2026-11-27 at the school, which is five hours ahead of UTC.
fn at(hour: i64, minute: i64) -> Time {
    let midnight: Timestamp = "2026-11-26T19:00:00Z".parse().expect("a time");
    Time::from_secs(midnight.as_second() + hour * 3600 + minute * 60)
}

fn life(now: Time, draw: f64) -> Now {
    Now { now, boot: at(0, 0), last: None, busy: false, draw }
}

/// Plays a day from one step to the next, minute by minute; what was run and when.
fn play(schedule: &Schedule, rows: &mut Vec<Row>, from: Time, to: Time, mut life: Now, works: impl Fn(Time) -> bool) -> Vec<(i64, Time)> {
    let (mut now, mut ran) = (from, Vec::new());
    while now < to {
        life.now = now;
        let keep = |rows: &mut Vec<Row>, row: Row| {
            rows.retain(|known| (&known.day, known.slot) != (&row.day, row.slot));
            rows.push(row);
        };
        match schedule.next(rows, &life) {
            Step::Wait(time) => now = now.plus(time),
            Step::Keep(row) => keep(rows, row),
            Step::Run(row) => {
                if works(now) {
                    ran.push((row.slot, now));
                    keep(rows, Row { state: State::Done, ..row });
                } else {
                    keep(rows, schedule.again(&row, now));
                }
                now = now.plus(Duration::from_secs(10));
            }
        }
    }
    ran
}

#[test]
fn each_slot_has_one_test_at_an_instant_of_its_own_and_never_on_the_hour() {
    for draw in [0.0, 0.1, 0.25, 0.333, 0.5, 0.77, 0.999_999] {
        let schedule = schedule(false);
        let ran = play(&schedule, &mut Vec::new(), at(0, 0), at(24, 0), life(at(0, 0), draw), |_| true);
        assert_eq!(ran.iter().map(|(slot, _)| *slot).collect::<Vec<_>>(), [0, 1, 2], "{draw}");
        for (slot, when) in ran {
            let (from, to) = (at(8 + slot * 4, 0), at(12 + slot * 4, 0));
            assert!(from <= when && when < to, "{draw} {slot} {when:?}");
            let second = when.secs().rem_euclid(3600);
            assert!((60..3540).contains(&second), "{draw}: on the hour, {when:?}");
        }
    }
}

#[test]
fn a_reboot_draws_nothing_anew() {
    let (schedule, mut rows) = (schedule(false), Vec::new());
    let Step::Keep(row) = schedule.next(&rows, &life(at(8, 0), 0.5)) else { panic!("a row") };
    rows.push(row.clone());
    // With other draws, later, after a start: the slot's row stays as it is.
    for draw in [0.1, 0.9] {
        match schedule.next(&rows, &Now { boot: at(8, 30), ..life(at(8, 31), draw) }) {
            Step::Keep(other) => assert_eq!(other.slot, 1, "the next slot's"),
            other => panic!("{other:?}"),
        }
    }
    let ran = play(&schedule, &mut rows, at(8, 31), at(12, 0), life(at(8, 31), 0.9), |_| true);
    assert_eq!(ran, [(0, row.at)]);
}

#[test]
fn a_test_that_was_slept_through_runs_within_its_slot_or_not_at_all() {
    let schedule = schedule(false);
    for (wakes, ran) in [(at(11, 0), vec![0]), (at(12, 0), vec![])] {
        let mut rows = vec![Row { day: "2026-11-27".into(), slot: 0, at: at(9, 0), tries: 0, state: State::Waiting }];
        let found = play(&schedule, &mut rows, wakes, wakes.plus(Duration::from_mins(10)), life(wakes, 0.9), |_| true);
        assert_eq!(found.iter().map(|(slot, _)| *slot).collect::<Vec<_>>(), ran, "{wakes:?}");
    }
}

#[test]
fn failures_are_tried_again_three_times_a_quarter_of_an_hour_apart() {
    let (schedule, mut rows) = (schedule(false), Vec::new());
    let tries = std::cell::RefCell::new(Vec::new());
    let note = |now: Time| {
        tries.borrow_mut().push(now);
        false
    };
    play(&schedule, &mut rows, at(8, 0), at(12, 0), life(at(8, 0), 0.2), note);
    let tries = tries.borrow();
    assert_eq!(tries.len(), 4);
    for pair in tries.windows(2) {
        assert!(pair[1].since(pair[0]) >= AGAIN, "{pair:?}");
    }
    assert_eq!(rows.iter().find(|row| row.slot == 0).map(|row| row.state), Some(State::Skipped));
    // Late in the slot there is no time for all of them.
    let row = Row { day: "2026-11-27".into(), slot: 0, at: at(11, 50), tries: 0, state: State::Waiting };
    assert_eq!(schedule.again(&row, at(11, 50)).state, State::Skipped);
}

#[test]
fn a_class_puts_it_off_but_not_out_of_its_slot() {
    let (schedule, mut rows) = (schedule(false), Vec::new());
    let busy = Now { busy: true, ..life(at(8, 0), 0.0) };
    let ran = play(&schedule, &mut rows, at(8, 0), at(11, 49), busy, |_| true);
    assert!(ran.is_empty(), "{ran:?}");
    let ran = play(&schedule, &mut rows, at(11, 49), at(12, 0), busy, |_| true);
    assert_eq!(ran.iter().map(|(slot, _)| *slot).collect::<Vec<_>>(), [0], "in the end it runs all the same");
}

#[test]
fn a_start_has_one_test_a_day_within_a_quarter_of_an_hour() {
    let schedule = schedule(true);
    for draw in [0.0, 0.5, 0.99] {
        let (mut rows, boot) = (Vec::new(), at(7, 0));
        let started = Now { boot, ..life(boot, draw) };
        let ran = play(&schedule, &mut rows, boot, at(7, 20), started, |_| true);
        assert_eq!(ran.iter().map(|(slot, _)| *slot).collect::<Vec<_>>(), [STARTUP]);
        assert!(ran[0].1.since(boot) <= Duration::from_mins(15) && ran[0].1.since(boot) >= Duration::from_mins(1));
        // The power fails again and again: no second one.
        for minute in [22, 24, 26] {
            let boot = at(7, minute);
            assert!(play(&schedule, &mut rows, boot, at(7, 50), Now { boot, ..life(boot, draw) }, |_| true).is_empty());
        }
    }
    let boot = at(10, 0);
    let fresh = Now { boot, last: Some(at(9, 0)), ..life(boot, 0.0) };
    let Step::Keep(row) = schedule.next(&[], &fresh) else { panic!("a row") };
    assert_eq!(row.state, State::Skipped, "tested an hour ago");
    let Step::Keep(row) = schedule.next(&[], &life(at(10, 0), 0.0)) else { panic!("a row") };
    assert_eq!(row.state, State::Skipped, "it has run since midnight");
}

#[test]
fn the_days_rest_is_shared_by_what_is_still_to_come() {
    let schedule = schedule(false);
    let row = |slot, state| Row { day: "2026-11-27".into(), slot, at: at(9, 0), tries: 0, state };
    let table = [
        (vec![], at(7, 0), None, 4),
        (vec![], at(9, 0), Some(0), 3),
        (vec![row(0, State::Done)], at(12, 30), Some(1), 2),
        (vec![row(0, State::Skipped), row(1, State::Done)], at(19, 0), Some(2), 1),
        (vec![], at(21, 0), None, 1),
        (vec![row(0, State::Done)], at(11, 0), None, 3),
    ];
    for (rows, now, own, wanted) in table {
        assert_eq!(schedule.shares(&rows, now, own), wanted, "{rows:?} {now:?} {own:?}");
    }
}

#[test]
fn slots_as_they_are_written() {
    for text in ["08:00-12:00", "00:00-24:00", "16:00-20:30"] {
        assert_eq!(text.parse::<Slot>().expect(text).to_string(), text);
    }
    for text in ["", "8-12", "12:00-08:00", "08:00-08:20", "08:00", "25:00-26:00", "08:00-24:01"] {
        assert_eq!(text.parse::<Slot>(), Err(BadSlot), "{text}");
    }
}

#[test]
fn no_slots_mean_no_tests() {
    let schedule = Schedule { slots: Vec::new(), ..schedule(false) };
    assert_eq!(schedule.next(&[], &life(at(9, 0), 0.5)), Step::Wait(NAP));
    assert_eq!(schedule.shares(&[], at(9, 0), None), 1);
}
