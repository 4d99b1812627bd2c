//! Random origins and clients before the real proxy, and an oracle of what a shared cache may answer.
//!
//! Stories are made from a seed (`oracle/story.rs`), an origin logs every exchange (`oracle/scene.rs`), and the oracle
//! (`oracle/law.rs`), written from RFC 9111 and the rules of privacy and not from `src/policy`, says of every answer whether it
//! was allowed. What is not is made short and printed with its seed. `BULAK_ORACLE_STEPS` (requests in all), `BULAK_ORACLE_SEED`.

#[path = "oracle/dice.rs"]
mod dice;
#[path = "oracle/law.rs"]
mod law;
#[path = "oracle/naive.rs"]
mod naive;
#[path = "oracle/node.rs"]
mod node;
#[path = "oracle/origin.rs"]
mod origin;
#[path = "oracle/play.rs"]
mod play;
#[path = "oracle/scene.rs"]
mod scene;
#[path = "oracle/second.rs"]
mod second;
#[path = "oracle/shorten.rs"]
mod shorten;
#[path = "oracle/story.rs"]
mod story;
#[path = "rfc9111/wire.rs"]
mod wire;

use bulak::base::clock::Clock;
use law::Kind;
use naive::{Flaw, Naive};
use node::Node;
use play::{Subject, Tally, play};
use shorten::shorten;
use story::Story;

/// Requests in all by default; half of them for each policy.
const STEPS: usize = 20_000;
/// The seed by default: the same stories on every machine.
const SEED: u64 = 9111;
/// Requests of one story: long enough for a place to age, change and fail, short enough to read.
const STORY: usize = 40;
/// Faults shown before a run ends.
const SHOWN: usize = 5;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// Plays stories until there were so many requests or so many faults; what broke, in words.
fn run(subject: &dyn Subject, school: bool, seed: u64, steps: usize, most: usize, tally: &mut Tally) -> Vec<String> {
    let mut faults = Vec::new();
    let mut at = seed;
    while tally.asks < steps && faults.len() < most {
        let story = Story::make(at, STORY);
        if let Err(fault) = play(subject, school, &story, tally) {
            let (asks, step) = (story.asks(), fault.step);
            eprintln!("seed {at}, step {step}: {}: {}; it is made shorter", fault.broken.rule, fault.broken.why);
            let short = shorten(subject, school, &story, fault);
            let broken = &short.fault.broken;
            faults.push(format!(
                "{}: {}\nseed {at}, step {step}; {} of {asks} requests are left after {} tries (BULAK_ORACLE_SEED={at} BULAK_ORACLE_STEPS=1 plays it again)\n{}",
                broken.rule,
                broken.why,
                short.story.asks(),
                short.tries,
                short.fault.told
            ));
        }
        at = at.wrapping_add(1);
    }
    faults
}

fn real(school: bool) {
    let seed = number("BULAK_ORACLE_SEED").unwrap_or(SEED);
    let steps = number("BULAK_ORACLE_STEPS").map_or(STEPS, |steps| usize::try_from(steps).expect("a count")) / 2;
    let clock = Clock::system();
    let (begun, node, mut tally) = (clock.steady(), Node::start(school), Tally::default());
    let faults = run(&node, school, seed, steps.max(1), SHOWN, &mut tally);
    let took = clock.steady() - begun;
    println!(
        "policy {}: seed {seed}, {} requests, {} exchanges, {took:.1?}",
        if school { "school" } else { "rfc9111" },
        tally.asks,
        tally.exchanges
    );
    println!("answers: {:?}", tally.kinds);
    println!("second opinion asked {} times; where it differs:", tally.second.asked);
    for ((said, why), count) in &tally.second.differ {
        println!("  {count:>6}  {said}: {why}");
    }
    if let Some(odd) = &tally.second.odd {
        println!("  not understood, for example: {odd}");
    }
    assert!(faults.is_empty(), "{} rules broken:\n\n{}", faults.len(), faults.join("\n\n"));
    if tally.asks >= 1000 {
        useful(&tally, 10);
    }
}

/// A cache that keeps nothing breaks no rule: some of the answers must have come from the store, in each of its ways.
fn useful(tally: &Tally, percent: usize) {
    let count = |wanted: &dyn Fn(&Kind) -> bool| tally.kinds.iter().filter(|(kind, _)| wanted(kind)).map(|(_, count)| count).sum::<usize>();
    let stored = count(&|kind| matches!(kind, Kind::Stored(_)));
    assert!(stored * 100 >= tally.asks * percent, "only {stored} of {} answers came from the store", tally.asks);
}

#[test]
fn policy_school() {
    real(true);
}

#[test]
fn policy_rfc9111() {
    real(false);
}

#[test]
fn a_part_that_is_cut_again_and_again_comes_to_an_end() {
    let story = Story::of_cuts(200);
    let (node, mut tally) = (Node::start(false), Tally::default());
    if let Err(fault) = play(&node, false, &story, &mut tally) {
        panic!("{}: {}\n{}", fault.broken.rule, fault.broken.why, fault.told);
    }
}

#[test]
fn a_plain_cache_passes() {
    let (naive, mut tally) = (Naive::new(Flaw::None), Tally::default());
    let faults = run(&naive, true, SEED, 5000, 1, &mut tally);
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
    useful(&tally, 5);
}

#[test]
fn every_flaw_is_found() {
    for flaw in Flaw::ALL {
        let (naive, mut tally) = (Naive::new(flaw), Tally::default());
        let faults = run(&naive, true, SEED, 20_000, 1, &mut tally);
        let first = faults.first().unwrap_or_else(|| panic!("{flaw:?} was not found in {} requests", tally.asks));
        println!("{flaw:?} within {} requests: {}", tally.asks, first.lines().next().unwrap_or_default());
    }
}
