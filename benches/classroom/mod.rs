//! The classroom: an open, replayable benchmark for school caches. A scenario is a file, its content and its devices are made from a seed,
//! and any proxy may be driven by it.
//!
//! - [`scenario`]: what a file says, key by key. `scenarios/` holds ours.
//! - [`content`], [`trace`]: what the origin has and who asks for what, from the seed: no real trace of a school is public.
//! - [`place`], [`origin`]: the line and what is behind it. [`peer`]: the proxies, and how each is configured.
//! - [`device`], [`wire`], [`hold`]: the class, which compares every byte that it gets.
//! - [`play`], [`result`], [`card`], [`against`]: a round, the JSON document, the score card, this run beside an earlier one.
#![allow(dead_code, reason = "each user takes its own part")]

pub(crate) mod against;
pub(crate) mod card;
pub(crate) mod content;
pub(crate) mod device;
pub(crate) mod hold;
pub(crate) mod origin;
pub(crate) mod peer;
pub(crate) mod place;
pub(crate) mod play;
pub(crate) mod process;
pub(crate) mod random;
pub(crate) mod result;
pub(crate) mod scenario;
pub(crate) mod trace;
pub(crate) mod wire;

use crate::line::{Cable, Line, congestion};
use bulak::base::clock::Clock;
use bulak::base::unit::BitRate;
use content::Content;
use peer::Kind;
use place::Emulation;
use play::play;
use result::{FORMAT, Machine, Played, Proxy, Report, Turn, float};
use scenario::Scenario;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// What a run is to do.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// The scenarios, in order.
    pub(crate) scenarios: Vec<Scenario>,
    /// The proxies; goals are the first one's.
    pub(crate) proxies: Vec<Kind>,
    /// Who would have been asked but is not here, and why.
    pub(crate) left_out: BTreeMap<String, String>,
    /// Rounds of each; each scenario's own number when none.
    pub(crate) rounds: Option<usize>,
    /// How the line is made.
    pub(crate) emulation: Emulation,
}

/// How a line can be made here, for these proxies; tells why it is no line of packets, if it is none.
pub(crate) fn emulation(proxies: &[Kind], tell: &dyn Fn(&str)) -> Emulation {
    if proxies.iter().any(|kind| matches!(kind, Kind::Running(..))) {
        tell("the line is a relay: a proxy that runs already is in no namespace of ours");
        return Emulation::Relay;
    }
    match Cable::lay(&Line::new(BitRate::mbit(1), BitRate::mbit(1), Duration::ZERO)) {
        Ok(_) => Emulation::Cable,
        Err(error) => {
            tell(&format!("the line is a relay, which is kinder than a line of packets: {error}"));
            Emulation::Relay
        }
    }
}

/// Plays everything, round by round, the proxies taking turns; tells what it is at, and after each scenario all that is there so far.
pub(crate) fn run(run: &Run, folder: &Path, tell: &dyn Fn(&str), so_far: &dyn Fn(&Report)) -> Report {
    let clock = Clock::system();
    let mut report = Report {
        format: FORMAT,
        began: clock.now().to_rfc3339(),
        machine: Machine::here(),
        line: run.emulation,
        origins_send: congestion(),
        versions: run.proxies.iter().map(|kind| (kind.name().to_owned(), kind.version())).collect(),
        left_out: run.left_out.clone(),
        scenarios: Vec::new(),
    };
    for scenario in &run.scenarios {
        let rounds = run.rounds.unwrap_or(scenario.rounds);
        let mut turns: Vec<Vec<Turn>> = run.proxies.iter().map(|_| Vec::new()).collect();
        for round in 0..rounds {
            for step in 0..run.proxies.len() {
                // Each round another one is first.
                let at = (step + round) % run.proxies.len();
                let kind = &run.proxies[at];
                if *kind == Kind::None && round > 0 {
                    continue; // what the line alone does is known after once
                }
                tell(&format!("{}, round {} of {rounds}: {}", scenario.name, round + 1, kind.name()));
                let turn = play(scenario, round as u64, kind, folder, run.emulation);
                if let Some(trouble) = &turn.trouble {
                    tell(&format!("  does not count: {trouble}"));
                }
                turns[at].push(turn);
            }
        }
        let job = play::job(scenario);
        let proxy = |(kind, turns): (&Kind, _)| Proxy::of(kind.name().to_owned(), kind.recipe(job), turns, &scenario.phases);
        let proxies = run.proxies.iter().zip(turns).map(proxy);
        let content = Content::of(scenario, 0);
        let copy = trace::one_copy(&trace::trace(scenario, &content, 0), &content);
        report.scenarios.push(Played {
            line: scenario.line_text(),
            one_copy_bytes: copy,
            line_ms: on_the_line(scenario, copy),
            proxies: proxies.collect(),
            scenario: scenario.clone(),
        });
        so_far(&report);
    }
    report
}

/// What the line takes for so many bytes in full packets (1448 of 1500 bytes), and a round trip to ask.
fn on_the_line(scenario: &Scenario, bytes: u64) -> f64 {
    float(bytes) * 1500.0 / 1448.0 * 8e3 / float(scenario.line.down.0) + result::milliseconds(scenario.line.rtt.0)
}
