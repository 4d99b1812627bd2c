//! Series as lines make them, and what becomes of them: when the test ends, what it says, what it has cost.

use super::*;
use proptest::prelude::*;

const MBIT: f64 = 1e6;

/// A line's rate at a time, bit/s, and with it a test of at most ten seconds that ends when it may: when, and the plateau then.
fn play(rtt_ms: u64, rate: impl Fn(f64) -> f64) -> (f64, Plateau, f64) {
    let (mut series, mut bytes, step) = (Series::default(), 0.0, 0.01);
    let rtt = Some(Duration::from_millis(rtt_ms));
    for tick in 1..=1000_u32 {
        let at = f64::from(tick) * step;
        bytes += rate(at) * step / 8.0;
        if tick % 10 == 0 {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and small")]
            series.push(Duration::from_secs_f64(at), bytes as u64, 0);
            if series.say(rtt) == Say::Settled {
                return (at, series.plateau(rtt).expect("settled"), bytes);
            }
        }
    }
    (10.0, series.plateau(rtt).expect("ten seconds"), bytes)
}

/// Slow start from ten segments, doubling each round trip up to the line's rate.
fn slow_start(rate: f64, rtt: f64) -> impl Fn(f64) -> f64 {
    move |at| (14_480.0 * 8.0 / rtt * (at / rtt).exp2()).min(rate)
}

/// The same noise on every machine.
fn noise(at: f64) -> f64 {
    ((at * 12.9898).sin() * 43_758.547).fract() * 2.0
}

#[test]
fn a_test_ends_when_its_figure_has_settled_and_says_the_lines_rate() {
    let table: [(&str, u64, f64, f64); 7] = [
        ("a thin line near by", 40, 1.0, 2.2),
        ("the usual line", 40, 20.0, 2.6),
        ("a wide line", 40, 150.0, 2.8),
        ("far away", 250, 8.0, 4.2),
        ("a satellite", 600, 8.0, 6.6),
        ("a wide satellite line", 600, 20.0, 7.6),
        ("thin and far", 600, 1.0, 4.5),
    ];
    for (name, rtt, mbit, latest) in table {
        let line = slow_start(mbit * MBIT, Duration::from_millis(rtt).as_secs_f64());
        let (ended, plateau, _) = play(rtt, line);
        assert!(ended <= latest, "{name}: {ended} s");
        assert!((plateau.rate / MBIT / mbit - 1.0).abs() < 0.02, "{name}: {plateau:?}");
        assert!(plateau.low <= plateau.rate && plateau.rate <= plateau.high);
    }
}

#[test]
fn a_ramp_is_no_plateau() {
    for growth in [0.1, 0.3] {
        // It grows to the end: nothing is settled, and the figure is of the end and not of the beginning.
        let (ended, plateau, _) = play(250, |at| MBIT * (1.0 + growth * at));
        assert!(ended >= 10.0, "{growth}: ended at {ended} s with {plateau:?}");
        assert!(plateau.rate > MBIT * (1.0 + growth * 5.0), "{growth}: {plateau:?}");
    }
}

#[test]
fn a_burst_that_ends_within_the_test_is_left_out() {
    // A shaper's bucket: forty percent more until it is empty, in the first second and a bit.
    for empty_after in [0.3, 0.8, 1.2] {
        let (_, plateau, _) = play(40, |at| if at < empty_after { 28.0 * MBIT } else { 20.0 * MBIT });
        assert!((plateau.rate / MBIT - 20.0).abs() < 0.5, "{empty_after}: {plateau:?}");
    }
}

#[test]
fn a_stall_at_the_end_is_not_the_lines_rate() {
    // A long line with loss: the sender saws about 8 Mbit/s and then waits out a lost window until the test ends.
    let (_, plateau, _) = play(600, |at| if at < 8.2 { 8.0 * MBIT * (0.4 + 1.2 * (at * 0.7).fract()) } else { 0.0 });
    assert!(plateau.rate > 1.5 * MBIT && !plateau.is_useful(), "{plateau:?}");
}

#[test]
fn a_policed_line_is_called_by_its_mean() {
    // Full speed into a policer, its losses, silence of a fifth of a second, and again: a saw whose mean is the policed rate.
    let (ended, plateau, _) = play(40, |at| if (at * 2.0).fract() < 0.4 { 25.0 * MBIT } else { 0.0 });
    assert!((plateau.rate / MBIT - 10.0).abs() < 1.0, "{ended} {plateau:?}");
}

#[test]
fn a_lossy_line_takes_longer_and_its_interval_holds_the_truth() {
    for spread in [0.05, 0.2, 0.5] {
        let (ended, plateau, _) = play(40, |at| 8.0 * MBIT * (1.0 + spread * noise(at)));
        assert!(ended > 1.4, "{spread}");
        assert!((plateau.rate / MBIT - 8.0).abs() < 0.8, "{spread}: {plateau:?}");
        assert!(plateau.low < 8.4 * MBIT && plateau.high > 7.6 * MBIT, "{spread}: {plateau:?}");
    }
}

#[test]
fn a_stall_at_the_start_and_what_came_after_it_at_once_do_not_count() {
    // Segments behind a lost one are held back for half a second, and then handed over in a heap.
    let (_, plateau, _) = play(40, |at| match at {
        0.0..0.7 => 20.0 * MBIT,
        0.7..1.2 => 0.0,
        1.2..1.25 => 220.0 * MBIT,
        _ => 20.0 * MBIT,
    });
    assert!((plateau.rate / MBIT - 20.0).abs() < 0.6, "{plateau:?}");
}

#[test]
fn what_others_move_is_added() {
    let mut series = Series::default();
    for tick in 1..=40_u64 {
        // A class comes after two seconds and takes half.
        let (own, cross) = if tick <= 20 { (tick * 250_000, 0) } else { (20 * 250_000 + (tick - 20) * 125_000, (tick - 20) * 125_000) };
        series.push(Duration::from_millis(tick * 100), own, cross);
    }
    let plateau = series.plateau(None).expect("a plateau");
    assert!((plateau.rate - 20.0 * MBIT).abs() < 1.0, "{plateau:?}");
    assert!(plateau.cross_share() > 0.2, "{plateau:?}");
    assert_eq!(series.latest(), 20_000_000);
    assert_eq!(series.say(None), Say::Settled);
}

#[test]
fn too_little_says_nothing() {
    let mut series = Series::default();
    assert_eq!((series.plateau(None), series.say(None), series.latest()), (None, Say::More, 0));
    series.push(Duration::from_millis(600), 600_000, 0);
    assert_eq!(series.plateau(None), None, "two batches");
    series.push(Duration::from_millis(500), 700_000, 0);
    series.push(Duration::from_millis(700), 500_000, 0);
    assert_eq!(series.points.len(), 2, "what goes back does not count");
    let silent = {
        let mut series = Series::default();
        (1..=50).for_each(|tick| series.push(Duration::from_millis(tick * 100), 0, 0));
        series
    };
    assert_eq!(silent.say(None), Say::More, "nothing at all is no figure");
    assert!(!silent.plateau(None).expect("zeros").is_useful());
}

#[test]
fn a_test_at_150_mbit_fits_into_its_share() {
    // 200 MB a day, three slots, both directions, a fifth upwards: 55 MB for the download.
    let (ended, _, bytes) = play(40, slow_start(150.0 * MBIT, 0.04));
    assert!(bytes < 50e6, "{bytes} bytes in {ended} s");
    let (ended, _, bytes) = play(40, slow_start(20.0 * MBIT, 0.04));
    assert!(bytes < 7e6, "{bytes} bytes in {ended} s");
}

proptest! {
    #[test]
    fn whatever_comes_gives_a_finite_figure(points in proptest::collection::vec((0_u64..12_000, 0_u64..1 << 40, 0_u64..1 << 40), 0..200), rtt in 0_u64..3_000) {
        let mut series = Series::default();
        for (at, own, cross) in points {
            series.push(Duration::from_millis(at), own, cross);
        }
        if let Some(plateau) = series.plateau(Some(Duration::from_millis(rtt))) {
            prop_assert!(plateau.rate.is_finite() && plateau.low.is_finite() && plateau.high.is_finite() && plateau.trend.is_finite());
            prop_assert!(plateau.low <= plateau.high && plateau.own <= plateau.rate + 1.0);
            prop_assert!((0.0..=1.0).contains(&plateau.cross_share()));
        }
    }
}
