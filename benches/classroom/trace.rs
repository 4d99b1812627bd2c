//! Who asks for what, and when: made from a scenario's seed, the same for every proxy and phase of a round.

use super::content::Content;
use super::random::Random;
use super::scenario::{Devices, Order, Pick, Ranges, Scenario, Work};
use serde::Serialize;
use std::ops::Range;
use std::time::Duration;

/// What one device does, visit after visit.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Round {
    /// One after the other.
    pub(crate) visits: Vec<Visit>,
}

/// A page, or a file in pieces.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Visit {
    /// How long it waits before: from the begin of the phase for the first, from the end of the last for others.
    #[serde(serialize_with = "milliseconds")]
    pub(crate) wait: Duration,
    /// The page, or the file.
    pub(crate) object: usize,
    /// The pieces of the file, in order; none for a page, which is whole and brings what it names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) pieces: Vec<Range<u64>>,
}

/// What the origin has and who asks for what in a scenario's first round, as it is published.
pub(crate) fn document(scenario: &Scenario) -> String {
    let content = Content::of(scenario, 0);
    serde_json::json!({ "objects": content.objects, "devices": trace(scenario, &content, 0) }).to_string()
}

/// What all devices do in a round.
pub(crate) fn trace(scenario: &Scenario, content: &Content, round: u64) -> Vec<Round> {
    let devices = &scenario.devices;
    let seed = scenario.seed.wrapping_add(round);
    let same = middle(scenario);
    (0..devices.count)
        .map(|device| {
            let mut random = Random::new(seed, &format!("device {device}"));
            let visits = match scenario.work() {
                Work::Pages(_) => {
                    let pages = which(devices, content, &mut random);
                    pages.into_iter().map(|object| Visit { wait: think(devices, &mut random), object, pieces: Vec::new() }).collect()
                }
                Work::Ranges(ranges) => {
                    let pieces = match ranges.pick {
                        Pick::All => cut(ranges, &mut random),
                        Pick::Same => vec![same.clone()],
                    };
                    vec![Visit { wait: Duration::ZERO, object: content.pages[0], pieces }]
                }
                Work::Idle(_) | Work::Readers(_) => Vec::new(),
            };
            let mut round = Round { visits };
            if let Some(first) = round.visits.first_mut() {
                let share = u32::try_from(device).expect("at most 250");
                first.wait = devices.within.0 * share / u32::try_from(devices.count).expect("at most 250");
            }
            round
        })
        .collect()
}

/// The distinct objects that a trace asks for, pages with all that they bring.
pub(crate) fn distinct(rounds: &[Round], content: &Content) -> Vec<usize> {
    let mut seen = vec![false; content.objects.len()];
    let mut open: Vec<usize> = rounds.iter().flat_map(|round| round.visits.iter().map(|visit| visit.object)).collect();
    while let Some(object) = open.pop() {
        if !std::mem::replace(&mut seen[object], true) {
            open.extend(&content.objects[object].names);
        }
    }
    (0..seen.len()).filter(|&at| seen[at]).collect()
}

/// What one copy of all that is asked for takes, heads included: the pieces' union for a file.
pub(crate) fn one_copy(rounds: &[Round], content: &Content) -> u64 {
    let mut pieces: Vec<Range<u64>> =
        rounds.iter().flat_map(|round| round.visits.iter().flat_map(|visit| visit.pieces.iter().cloned())).collect();
    if pieces.is_empty() {
        return content.one_copy(distinct(rounds, content).into_iter());
    }
    pieces.sort_by_key(|piece| piece.start);
    let (mut bytes, mut end) = (0, 0);
    for piece in pieces {
        bytes += piece.end.saturating_sub(piece.start.max(end));
        end = end.max(piece.end);
    }
    bytes
}

fn which(devices: &Devices, content: &Content, random: &mut Random) -> Vec<usize> {
    let pages = &content.pages;
    match devices.order {
        Order::Lesson => (0..devices.visits).map(|visit| pages[visit % pages.len()]).collect(),
        Order::Shuffled => {
            let mut mine = pages.clone();
            random.shuffle(&mut mine);
            (0..devices.visits).map(|visit| mine[visit % mine.len()]).collect()
        }
        Order::Zipf => {
            let mut sum = 0.0;
            let shares: Vec<f64> = (1..=u32::try_from(pages.len()).expect("at most 20,000"))
                .map(|rank| {
                    sum += f64::from(rank).powf(-devices.zipf);
                    sum
                })
                .collect();
            (0..devices.visits)
                .map(|_| {
                    let drawn = random.share() * sum;
                    pages[shares.partition_point(|share| *share <= drawn).min(pages.len() - 1)]
                })
                .collect()
        }
    }
}

fn think(devices: &Devices, random: &mut Random) -> Duration {
    let [least, most] = devices.think.map(|wait| wait.0);
    least + most.saturating_sub(least).mul_f64(random.share())
}

/// The whole file, cut from an offset of its own, in an order of its own.
fn cut(ranges: &Ranges, random: &mut Random) -> Vec<Range<u64>> {
    let (file, length) = (ranges.file.0, ranges.range.0);
    let mut pieces = Vec::new();
    let mut at = 0;
    let mut next = 1 + random.next() % length;
    while at < file {
        pieces.push(at..next.min(file));
        at = next;
        next += length;
    }
    random.shuffle(&mut pieces);
    pieces
}

/// The piece that all ask for: somewhere behind the middle, on no boundary.
fn middle(scenario: &Scenario) -> Range<u64> {
    let Work::Ranges(ranges) = scenario.work() else { return 0..0 };
    let start = (ranges.file.0 / 2 + 12_345).min(ranges.file.0 - ranges.range.0);
    start..start + ranges.range.0
}

fn milliseconds<S: serde::Serializer>(wait: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u128(wait.as_millis())
}
