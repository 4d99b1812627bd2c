//! One night beside one class: who works in the background, and what the class, the line and the night had of it.

use crate::kit::node::Node;
use crate::kit::program::Running;
use crate::line::gauge::{Pings, quantile};
use crate::night::Times;
use crate::night::place::Place;
use bulak::base::clock::Clock;
use serde::Serialize;
use std::time::{Duration, Instant};

/// How often the class fetches; at once when the last fetch took longer.
const EVERY: Duration = Duration::from_secs(3);

/// Who works beside the class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Nobody.
    Idle,
    /// The node's night, as it comes.
    Night,
    /// The node's night without gate and delay control.
    Free,
    /// wget.
    Wget,
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Row {
    /// Who worked.
    pub(crate) background: String,
    /// Every fetch of the class, seconds.
    pub(crate) fetches_seconds: Vec<f64>,
    /// Fetches that failed.
    pub(crate) failed: Vec<String>,
    /// Middle and 95 of 100, with the background alone and with the class, milliseconds.
    pub(crate) rtt_alone_milliseconds: Option<[f64; 2]>,
    /// The same beside the class.
    pub(crate) rtt_class_milliseconds: Option<[f64; 2]>,
    /// What the background got alone, once it had time to settle, Mbit/s of TCP's bytes.
    pub(crate) alone_mbit: Option<f64>,
    /// The same beside the class.
    pub(crate) class_mbit: Option<f64>,
    /// Why this does not count.
    pub(crate) trouble: Option<String>,
}

impl Row {
    /// The middle fetch.
    pub(crate) fn median(&self) -> Option<f64> {
        let mut times = self.fetches_seconds.clone();
        times.sort_by(f64::total_cmp);
        times.get(times.len() / 2).copied()
    }

    /// The longest fetch.
    pub(crate) fn worst(&self) -> Option<f64> {
        self.fetches_seconds.iter().copied().reduce(f64::max)
    }
}

/// Plays it, with a node of these settings.
pub(crate) fn play(place: &Place, work: Work, times: Times, connections: usize, keys: &[(String, String)]) -> Row {
    let clock = Clock::system();
    let name = match work {
        Work::Idle => String::from("nobody"),
        Work::Night => String::from("the night"),
        Work::Free => String::from("no control"),
        Work::Wget => format!("{connections} wget"),
    };
    let mut row = Row { background: name, ..Row::default() };
    let node = match place.node(matches!(work, Work::Night | Work::Free), keys) {
        Ok(node) => node,
        Err(why) => {
            row.trouble = Some(format!("the node does not start: {}", why.lines().last().unwrap_or_default()));
            return row;
        }
    };
    let mut wgets = if work == Work::Wget { place.wget(connections) } else { Vec::new() };
    let pings = place.pings();
    if work != Work::Idle {
        std::thread::sleep(if work == Work::Night { times.settle } else { times.others });
        let (from, before) = (clock.steady(), place.carried());
        std::thread::sleep(times.alone);
        let to = clock.steady();
        row.alone_mbit = Some(mbit(place.carried() - before, to - from));
        row.rtt_alone_milliseconds = round_trips(pings.as_ref(), from, to);
    }
    let (from, before) = (clock.steady(), place.carried());
    class(place, &node, &clock, times.class, &mut row);
    let to = clock.steady();
    if work != Work::Idle {
        row.class_mbit = Some(mbit(place.carried() - before, to - from));
    }
    row.rtt_class_milliseconds = round_trips(pings.as_ref(), from, to);
    row.trouble = place.trouble().or_else(|| ended_early(&node, work, &mut wgets));
    row
}

fn class(place: &Place, node: &Node, clock: &Clock, time: Duration, row: &mut Row) {
    let began = clock.steady();
    let mut next = began;
    for number in 0.. {
        std::thread::sleep(next.saturating_duration_since(clock.steady()));
        if clock.steady() >= began + time {
            return;
        }
        next = clock.steady() + EVERY;
        match place.lesson(node, number) {
            Ok(seconds) => row.fetches_seconds.push(seconds),
            Err(why) => row.failed.push(why),
        }
    }
}

/// A background that was done before the class was is none.
fn ended_early(node: &Node, work: Work, wgets: &mut [Running]) -> Option<String> {
    let done = match work {
        Work::Idle => false,
        Work::Night | Work::Free => {
            let state = node.local("GET", "/api/v1/packs/night");
            state["progress"]["state"] == "done" || state["pack"]["progress"]["state"] == "done"
        }
        Work::Wget => wgets.iter_mut().any(|wget| matches!(wget.0.try_wait(), Ok(Some(_)))),
    };
    done.then(|| String::from("the background work was done too early"))
}

#[expect(clippy::cast_precision_loss, reason = "bytes of some minutes")]
fn mbit(bytes: u64, time: Duration) -> f64 {
    bytes as f64 * 8.0 / time.as_secs_f64() / 1e6
}

fn round_trips(pings: Option<&Pings>, from: Instant, to: Instant) -> Option<[f64; 2]> {
    let times = pings?.between(from, to);
    Some([quantile(&times, 0.5)?.as_secs_f64() * 1e3, quantile(&times, 0.95)?.as_secs_f64() * 1e3])
}
