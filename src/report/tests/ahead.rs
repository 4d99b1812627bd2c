//! A clock that is ahead, and the line's history.

use super::*;
use crate::link::rollup::{Folded, Rollup};
use crate::link::slice::Packed;
use crate::state::history::Ran;

/// Every kept window's start, by level, and when runs were seen last.
async fn windows(node: &Reporter) -> (Vec<Vec<Time>>, Vec<Time>) {
    let (history, mut starts) = (node.0.state.history(), Vec::new());
    for level in ["five", "hour", "day"] {
        let mut of = Vec::new();
        while let Some(start) = history.newest(level, of.last().copied().unwrap_or(Time::MAX)).await.expect("reads") {
            of.push(start);
        }
        starts.push(of);
    }
    let runs = history.runs(Time::from_secs(0), Time::MAX).await.expect("reads");
    (starts, runs.iter().map(|ran| ran.seen).collect())
}

#[tokio::test]
async fn a_clock_that_was_two_years_ahead_costs_no_history() {
    const HOUR: Duration = Duration::from_hours(1);
    let stage = Stage::new();
    let node = stage.node("state.sqlite").await;
    let history = node.0.state.history();
    let long_ago = NOW.minus(HOUR * 24 * 300);
    history.ran("an old boot", Ran { start: long_ago, seen: long_ago.plus(HOUR), clock_ok: true }).await.expect("writes");
    // More than goes at once.
    for step in 0..100 {
        history.put("five", long_ago.plus(Duration::from_mins(5) * step), &Packed(slice(long_ago, 300, 1))).await.expect("writes");
        history.put("hour", long_ago.plus(HOUR * step), &Folded(Rollup::default())).await.expect("writes");
    }
    history.put("hour", NOW.minus(HOUR), &Folded(Rollup::default())).await.expect("writes");
    history.put("day", NOW.minus(HOUR * 29), &Folded(Rollup::default())).await.expect("writes");
    stage.script.slices.lock().push(slice(NOW, 300, 10));
    stage.clock.advance(Duration::from_mins(10));
    node.keep_line().await.expect("keeps");
    let (before, _) = windows(&node).await;
    assert_eq!(before.iter().map(Vec::len).collect::<Vec<_>>(), [101, 101, 1]);

    let far = i64::try_from((HOUR * 24 * 730).as_micros()).expect("fits");
    stage.clock.jump(far);
    for _ in 0..2 {
        stage.script.slices.lock().push(slice(stage.clock.now(), 300, 10));
        stage.clock.advance(Duration::from_mins(5));
        node.keep_line().await.expect("keeps");
    }
    assert!(windows(&node).await.0[1].len() > 1_000, "hours that never were");
    stage.clock.jump(-far);
    node.keep_line().await.expect("keeps");
    let (after, seen) = windows(&node).await;
    // What was the oldest went, as it would have in two hours of a clock that is right.
    assert_eq!(after.iter().map(Vec::len).collect::<Vec<_>>(), [101 - 24, 101 - 2, 1]);
    let now = stage.clock.now();
    assert!(after.iter().flatten().chain(&seen).all(|moment| *moment <= now), "{after:?} {seen:?}");

    stage.script.slices.lock().push(slice(NOW.plus(Duration::from_mins(20)), 300, 10));
    stage.clock.advance(HOUR);
    node.keep_line().await.expect("keeps");
    let hours = line::hours(&history, NOW, NOW.plus(HOUR), stage.clock.now()).await.expect("reads");
    assert_eq!(hours.iter().map(|hour| (hour.start, hour.up_seconds, hour.off_seconds)).collect::<Vec<_>>(), [(NOW, 600, 0)]);
}

#[tokio::test]
async fn a_node_that_started_with_its_clock_ahead_goes_on_once_it_is_right() {
    let stage = Stage::new();
    let far = i64::try_from(Duration::from_hours(24 * 730).as_micros()).expect("fits");
    stage.clock.jump(far);
    let node = stage.node("state.sqlite").await;
    stage.clock.advance(Duration::from_mins(10));
    stage.script.slices.lock().push(slice(stage.clock.now(), 300, 10));
    node.keep_line().await.expect("keeps");
    stage.clock.jump(-far);
    stage.clock.advance(Duration::from_mins(5));
    stage.script.slices.lock().push(slice(stage.clock.now(), 300, 10));
    node.keep_line().await.expect("keeps");
    let (starts, _) = windows(&node).await;
    assert_eq!(starts[0], [stage.clock.now()]);
    let runs = node.0.state.history().runs(Time::from_secs(0), Time::MAX).await.expect("reads");
    let blind = Ran { start: NOW, seen: stage.clock.now(), clock_ok: false };
    assert_eq!(runs, [blind, Ran { start: stage.clock.now(), clock_ok: true, ..blind }], "when that was is known, and no more");
}

#[tokio::test]
async fn time_that_a_clock_left_out_or_a_machine_slept_was_not_spent_running() {
    const HOUR: Duration = Duration::from_hours(1);
    let six = i64::try_from((HOUR * 6).as_micros()).expect("fits");
    let stage = Stage::new();
    let node = stage.node("state.sqlite").await;
    let history = node.0.state.history();
    let keep = async |minutes: u64| {
        stage.clock.advance(Duration::from_mins(minutes));
        node.keep_line().await.expect("keeps");
        stage.clock.now()
    };
    keep(5).await;
    let before = keep(5).await;
    // Right by what anybody could prove, and six hours behind.
    stage.clock.jump(six);
    let set = keep(2).await;
    let asleep = keep(60).await;
    stage.clock.sleep(HOUR * 3);
    let awake = keep(2).await;
    let runs = history.runs(Time::from_secs(0), Time::MAX).await.expect("reads");
    let spans: Vec<_> = runs.iter().map(|ran| (ran.start, ran.seen, ran.clock_ok)).collect();
    // Twelve minutes of steady time before it was set.
    let wanted =
        [(NOW, before, true), (set.minus(Duration::from_mins(12)), asleep, true), (awake.minus(Duration::from_mins(2)), awake, true)];
    assert_eq!(spans, wanted);
    node.report_now().await.expect("reports");
    let off: u64 = line::hours(&history, NOW, awake, awake).await.expect("reads").iter().map(|hour| hour.off_seconds).sum();
    assert_eq!(off, 6 * 3_600 - 10 * 60 + 3 * 3_600);
}
