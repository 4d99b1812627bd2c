//! The controller on a simulated line, and on answers of probes by hand.

use super::*;
use world::{Control, DSL, FLOOR, LOSSY, Line, SATELLITE, World};

/// The line.
mod world;

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place in a short list")]
fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * share) as usize]
}

#[expect(clippy::cast_precision_loss, reason = "a short list")]
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.collect();
    values.iter().sum::<f64>() / values.len() as f64
}

/// What a line showed.
#[derive(Debug)]
struct Seen {
    /// Share of the line that the night got, alone, once a minute had passed.
    alone: f64,
    /// What it added to the delay of others, seconds: the half and 95 of 100.
    added: (f64, f64),
    /// Pages beside it: the middle one and the slowest, seconds.
    pages: (f64, f64),
    /// Share of the line that the night got beside the pages.
    beside: f64,
}

fn seen(line: Line, control: Control, file: u64) -> Seen {
    let mut world = World::night(line, control, file);
    world.run(60.0);
    let probes = world.seen.len();
    let alone = world.share(60.0);
    let added: Vec<f64> = world.seen[probes..].iter().map(|(_, rtt)| rtt - line.round).collect();
    let (took, at) = (world.took, world.now);
    let pages = world.pages(60.0);
    let beside = (world.took - took) / (world.now - at) / line.rate;
    let ends = |values: Vec<f64>, share| (quantile(values.clone(), 0.5), quantile(values, share));
    Seen { alone, added: ends(added, 0.95), pages: ends(pages, 1.0), beside }
}

/// Nights that begin at other places of their work: where its ends meet is chance.
const NIGHTS: [u64; 4] = [0, 2, 5, 7];

#[test]
fn a_class_does_not_notice_and_the_night_gets_the_rest() {
    for (name, line, share, queue) in [("5 Mbit/s", DSL, 0.88, (0.025, 0.05)), ("satellite", SATELLITE, 0.70, (0.06, 0.4))] {
        let idle = World::new(line, Control::None).pages(60.0);
        let (middle, slowest) = (quantile(idle.clone(), 0.5), quantile(idle, 1.0));
        let all = NIGHTS.map(|file| seen(line, Control::Both, file));
        let alone = mean(all.iter().map(|seen| seen.alone));
        assert!(alone >= share, "{name}: {alone} {all:?}");
        for seen in all {
            assert!(seen.added.0 <= queue.0 && seen.added.1 <= queue.1, "{name}: {seen:?}");
            assert!(seen.pages.0 <= 1.25 * middle && seen.pages.1 <= 1.5 * slowest, "{name}: {seen:?}, idle {middle} {slowest}");
            assert!(seen.beside > 0.005, "{name}: {seen:?}");
        }
    }
}

#[test]
fn without_control_a_class_would_notice() {
    let idle = World::new(DSL, Control::None).pages(30.0);
    let seen = seen(DSL, Control::None, 0);
    assert!(seen.added.0 > 0.2 && seen.pages.0 > 2.0 * quantile(idle, 0.5), "the simulation shows nothing: {seen:?}");
}

#[test]
fn losses_of_the_line_are_no_queue() {
    let alone = |control, file| {
        let mut world = World::night(LOSSY, control, file);
        world.run(30.0);
        world.share(30.0)
    };
    let [with, without] = [Control::Both, Control::None].map(|control| mean(NIGHTS.iter().map(|file| alone(control, *file))));
    assert!(with >= 0.9 * without, "{with} {without}");
}

#[test]
fn a_neighbour_of_the_line_gets_it() {
    let mut world = World::night(DSL, Control::Both, 0);
    world.run(60.0);
    // Somebody whom the gate does not see takes all that he can get.
    let neighbour = world.add(1e12);
    world.gate = false;
    world.run(10.0);
    let read = world.connections[neighbour].read;
    let night = world.share(30.0);
    let share = (world.connections[neighbour].read - read) / 30.0 / DSL.rate;
    assert!(share > 0.9, "{share}, the night {night}");
    world.connections[neighbour].left = 0.0;
    world.run(10.0);
    let night = world.share(20.0);
    assert!(night > 0.7, "and it comes back: {night}");
}

/// Probes five times a second with these answers (milliseconds) in turn, for so long, on a line that gives all that is asked of it;
/// the rate at every tick.
fn probed(answers: &[u64], seconds: u64) -> Vec<f64> {
    let start = crate::base::clock::Clock::manual(crate::base::clock::Time::BUILT).steady();
    let mut delay = Delay::new(Duration::from_millis(25), FLOOR);
    delay.begin(start);
    let (mut rates, mut tick) = (Vec::new(), start);
    for (number, answer) in (0..seconds * 5).zip(answers.iter().cycle()) {
        let sent = start + Duration::from_millis(200) * u32::try_from(number).unwrap();
        let now = sent + Duration::from_millis(*answer);
        delay.probed(sent, Some(Duration::from_millis(*answer)), now);
        while tick <= now {
            // All that was asked for in a fifth of a second.
            delay.came(50_000);
            delay.tick(true, tick);
            rates.push(delay.rate());
            tick = delay.next_tick(tick);
        }
    }
    rates
}

#[test]
fn a_queue_that_is_gone_within_a_round_trip_is_a_sender_that_begins() {
    let falls = |rates: &[f64]| rates.windows(2).any(|two| two[1] < two[0]);
    assert!(!falls(&probed(&[600, 750, 740, 745], 25)), "there and gone");
    assert!(falls(&probed(&[600, 740, 750, 740, 750, 740, 750, 740], 25)), "it stands for longer");
}

#[test]
fn probes_without_an_answer_mean_the_floor_for_a_while() {
    let start = crate::base::clock::Clock::manual(crate::base::clock::Time::BUILT).steady();
    let mut delay = Delay::new(Duration::from_millis(25), FLOOR);
    delay.begin(start);
    let mut now = start;
    let mut step = |delay: &mut Delay, rtt: Option<Duration>| {
        now += Duration::from_millis(100);
        delay.came(60_000);
        delay.probed(now, rtt, now);
        delay.tick(true, now);
    };
    let fine = Some(Duration::from_millis(80));
    for _ in 0..40 {
        step(&mut delay, fine);
    }
    let before = delay.rate();
    assert!(before > 300_000.0, "{before}");
    step(&mut delay, None);
    step(&mut delay, None);
    step(&mut delay, fine);
    assert!(delay.rate() >= before, "two may be lost by chance");
    for _ in 0..3 {
        step(&mut delay, None);
    }
    assert!((delay.rate() - FLOOR).abs() < 1.0);
    for _ in 0..19 {
        step(&mut delay, fine);
        assert!((delay.rate() - FLOOR).abs() < 1.0);
    }
    for _ in 0..60 {
        step(&mut delay, fine);
    }
    assert!(delay.rate() > 0.4 * before, "back at half of it soon: {}", delay.rate());
}

#[test]
fn the_shortest_delay_is_that_of_ten_minutes() {
    let start = crate::base::clock::Clock::manual(crate::base::clock::Time::BUILT).steady();
    let mut base = Base::default();
    assert_eq!(base.least(), None);
    base.add(0.05, start);
    for minute in 1..10 {
        base.add(0.08, start + MINUTE * minute);
        assert_eq!(base.least(), Some(0.05));
    }
    base.add(0.08, start + MINUTE * 10 + Duration::from_secs(1));
    assert_eq!(base.least(), Some(0.08), "the way has become longer for good");
    base.add(0.07, start + MINUTE * 60);
    assert_eq!(base.least(), Some(0.07), "nothing is kept from an hour ago");
}
