//! One round of one scenario with one proxy: the line is laid, the proxy started, its phases played, and everything counted.

use super::content::Content;
use super::device::{self, Diary};
use super::hold;
use super::peer::{Ground, Job, Kind, Peer};
use super::place::{Emulation, Place};
use super::process::Family;
use super::result::{Pass, Spread, Turn, milliseconds};
use super::scenario::{Phase, Pick, Scenario, Work};
use super::trace::{Round, one_copy, trace};
use super::wire::{Connection, Want, Way};
use bulak::base::clock::Clock;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// What a device reads at once, as browsers do.
const BUFFER: usize = 64 << 10;

/// Before the devices come, so that all their threads stand when the phase begins.
const GATHER: Duration = Duration::from_millis(50);

/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// What a proxy is made ready for.
pub(crate) fn job(scenario: &Scenario) -> Job {
    match scenario.work() {
        Work::Ranges(ranges) if ranges.pick == Pick::All => Job::Pieces,
        Work::Ranges(_) => Job::Piece,
        Work::Pages(_) | Work::Idle(_) | Work::Readers(_) => Job::Objects,
    }
}

/// Plays a round.
pub(crate) fn play(scenario: &Scenario, round: u64, kind: &Kind, folder: &Path, emulation: Emulation) -> Turn {
    let content = Arc::new(Content::of(scenario, round));
    let rounds = trace(scenario, &content, round);
    let mut turn = Turn { round, one_copy_bytes: one_copy(&rounds, &content), ..Turn::default() };
    let place = match Place::lay(scenario, round, &content, emulation) {
        Ok(place) => place,
        Err(error) => {
            turn.trouble = Some(format!("no line: {error}"));
            return turn;
        }
    };
    let peer = match kind.start(Ground::Place(&place), folder, job(scenario)) {
        Ok(peer) => peer,
        Err(why) => {
            turn.trouble = Some(format!("it does not start: {why}"));
            return turn;
        }
    };
    let clock = Clock::system();
    let stage = Stage { scenario, content: &content, rounds: &rounds, place: &place, peer: &peer, clock: &clock };
    if *kind != Kind::None
        && let Err(why) = stage.warm_up()
    {
        turn.trouble = Some(format!("warming up: {why}"));
        return turn;
    }
    for &phase in &scenario.phases {
        if phase == Phase::Down && *kind == Kind::None {
            break; // there is nothing to ask
        }
        turn.phases.push(stage.phase(phase));
    }
    turn.peak_memory_bytes = peer.family.and_then(Family::peak_memory);
    turn.trouble = place.trouble();
    turn
}

/// All that a phase needs.
pub(crate) struct Stage<'s> {
    /// The file.
    pub(crate) scenario: &'s Scenario,
    /// What the origin has.
    pub(crate) content: &'s Content,
    /// What devices do.
    pub(crate) rounds: &'s [Round],
    /// The line.
    pub(crate) place: &'s Place,
    /// The proxy.
    pub(crate) peer: &'s Peer,
    /// Time.
    pub(crate) clock: &'s Clock,
}

impl Stage<'_> {
    /// How a device asks.
    pub(crate) fn way(&self, device: usize) -> Way {
        // Devices come from addresses of their own where the proxy is on this machine: 127.0.0.0/8 is all ours.
        let [hundreds, ones] = [device / 200, device % 200].map(|part| u8::try_from(part).expect("below 200"));
        let own = IpAddr::V4(Ipv4Addr::new(127, 1, hundreds, ones + 1));
        Way {
            to: self.peer.addr,
            from: self.peer.addr.ip().is_loopback().then_some(own),
            prefix: self.peer.prefix.clone(),
            host: self.peer.host.clone(),
            patience: self.scenario.devices.patience.0,
            buffer: BUFFER,
            window: None,
        }
    }

    fn warm_up(&self) -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
        self.place.enter(|| {
            runtime.block_on(async {
                let (way, mut connection) = (self.way(0), Connection::default());
                // What is read slowly is here before: it is the readers that cost.
                let stored = matches!(self.scenario.work(), Work::Readers(_)).then(|| self.content.pages[0]);
                for &object in self.content.warm_up.iter().chain(&stored) {
                    let want = Want { object: &self.content.objects[object], part: None, has: false };
                    connection.fetch(&way, &want, self.clock).await.map_err(|fault| format!("{fault:?}"))?;
                }
                Ok(())
            })
        })
    }

    fn phase(&self, phase: Phase) -> Pass {
        let (place, family) = (self.place, self.peer.family);
        let before = (place.carried(), place.drops(), place.origin.requests(), family.and_then(Family::cpu));
        let memory_before = family.and_then(Family::memory);
        let outages = if phase == Phase::Down {
            place.cut();
            None
        } else {
            Some(place.outages(&self.scenario.line.outages, self.clock))
        };
        let began = self.clock.steady() + GATHER;
        let (diaries, memory_most) = std::thread::scope(|scope| {
            let (stop, stopped) = std::sync::mpsc::channel::<()>();
            // Memory is watched from outside of the line.
            let watch = scope.spawn(move || {
                let mut most = None;
                loop {
                    most = most.max(family.and_then(Family::memory));
                    if stopped.recv_timeout(LOOK) != Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                        return most;
                    }
                }
            });
            let diaries = place.enter(|| match self.scenario.work() {
                Work::Pages(_) | Work::Ranges(_) => self.class(began),
                Work::Idle(idle) => vec![hold::idle(self, idle)],
                Work::Readers(readers) => vec![hold::readers(self, readers)],
            });
            drop(stop);
            (diaries, watch.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        let took = self.clock.steady().saturating_duration_since(began);
        drop(outages);
        place.mend();
        let after = (place.carried(), place.drops(), place.origin.requests(), family.and_then(Family::cpu));
        let mut pass = gather(phase, diaries);
        pass.took_ms = milliseconds(took);
        pass.down_bytes = after.0.down - before.0.down;
        pass.up_bytes = after.0.up - before.0.up;
        pass.wire_bytes = after.0.wire_down + after.0.wire_up - before.0.wire_down - before.0.wire_up;
        (pass.dropped, pass.lost) = (after.1.0 - before.1.0, after.1.1 - before.1.1);
        pass.requests = after.2 - before.2;
        pass.cpu_ms = after.3.zip(before.3).map(|(after, before)| milliseconds(after.saturating_sub(before)));
        (pass.memory_before_bytes, pass.memory_most_bytes) = (memory_before, memory_most);
        pass
    }

    fn class(&self, began: std::time::Instant) -> Vec<Diary> {
        std::thread::scope(|scope| {
            let devices: Vec<_> = self
                .rounds
                .iter()
                .enumerate()
                .map(|(number, round)| {
                    let way = self.way(number);
                    scope.spawn(move || device::play(round, self.content, self.scenario, &way, self.clock, began))
                })
                .collect();
            devices.into_iter().map(|device| device.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        })
    }
}

/// All diaries in one.
fn gather(phase: Phase, diaries: Vec<Diary>) -> Pass {
    let mut all = Diary::default();
    for diary in diaries {
        all.visits.extend(diary.visits);
        all.broken_visits += diary.broken_visits;
        all.first_bytes.extend(diary.first_bytes);
        all.right += diary.right;
        all.unmodified += diary.unmodified;
        diary.faults.into_iter().for_each(|(fault, count)| *all.faults.entry(fault).or_default() += count);
        all.examples.extend(diary.examples);
    }
    all.faults.retain(|_, count| *count > 0);
    all.visits.sort();
    all.examples.truncate(10);
    let times = |all: &[Duration]| all.iter().map(|time| milliseconds(*time)).collect::<Vec<f64>>();
    Pass {
        phase,
        visits_ms: times(&all.visits),
        broken_visits: all.broken_visits,
        first_byte: Spread::of(&times(&all.first_bytes)),
        took_ms: 0.0,
        right: all.right,
        unmodified: all.unmodified,
        faults: all.faults,
        examples: all.examples,
        down_bytes: 0,
        up_bytes: 0,
        wire_bytes: 0,
        dropped: 0,
        lost: 0,
        requests: 0,
        cpu_ms: None,
        memory_before_bytes: None,
        memory_most_bytes: None,
    }
}
