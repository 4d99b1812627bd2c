//! What came of it: the JSON document (`classroom.json`), version [`FORMAT`].
//!
//! Times are milliseconds, sizes bytes, CPU is user and system time of the proxy's processes. Rounds are kept one by one; a [`Summary`]
//! is the median over the rounds of a proxy, but `worst` is the worst of all and counts of faults are sums. Fields may be added within a
//! version; a changed meaning is a new version.

use super::place::Emulation;
use super::scenario::{Phase, Scenario};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// The version of this document.
pub(crate) const FORMAT: u32 = 1;

/// The whole document.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// [`FORMAT`].
    pub(crate) format: u32,
    /// When it began, UTC.
    pub(crate) began: String,
    /// On what.
    pub(crate) machine: Machine,
    /// How the line was made.
    pub(crate) line: Emulation,
    /// The congestion control of origins behind a line of packets.
    pub(crate) origins_send: String,
    /// Each proxy and its version in its own words.
    pub(crate) versions: BTreeMap<String, String>,
    /// Who would have been asked but is not here, and why.
    pub(crate) left_out: BTreeMap<String, String>,
    /// What was played, in order.
    pub(crate) scenarios: Vec<Played>,
}

/// The machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// Its processor.
    pub(crate) processor: String,
    /// How many of them.
    pub(crate) cores: usize,
    /// Its memory, GiB.
    pub(crate) memory_gib: u64,
    /// Its kernel.
    pub(crate) kernel: String,
    /// How it sends by TCP unless told otherwise; origins behind the line have a way of their own, [`Report::origins_send`].
    #[serde(default)]
    pub(crate) sends: String,
    /// How busy it was at the start: the load average of the last minute.
    pub(crate) load: String,
}

/// One scenario.
#[derive(Debug, Serialize)]
pub(crate) struct Played {
    /// The file, every key spelled out.
    pub(crate) scenario: Scenario,
    /// The line in words.
    pub(crate) line: String,
    /// One copy of all that is asked for, heads included, in the first round.
    pub(crate) one_copy_bytes: u64,
    /// What the line takes for one copy and a round trip.
    pub(crate) line_ms: f64,
    /// What came of each proxy, in the order of the run.
    pub(crate) proxies: Vec<Proxy>,
}

/// One proxy in one scenario.
#[derive(Debug, Serialize)]
pub(crate) struct Proxy {
    /// Its name.
    pub(crate) name: String,
    /// What it was told for this work beside what it is always told.
    pub(crate) recipe: Option<&'static str>,
    /// Each round.
    pub(crate) rounds: Vec<Turn>,
    /// Over all rounds, phase by phase in the order of the scenario, up to the last that was played.
    pub(crate) summary: Vec<Summary>,
}

/// One round of one proxy.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Turn {
    /// From 0; it adds to the seed.
    pub(crate) round: u64,
    /// One copy of what this round asks for.
    pub(crate) one_copy_bytes: u64,
    /// Each phase.
    pub(crate) phases: Vec<Pass>,
    /// Most resident memory since its start.
    pub(crate) peak_memory_bytes: Option<u64>,
    /// Why it does not count, if it does not.
    pub(crate) trouble: Option<String>,
}

/// One phase of one round.
#[derive(Debug, Serialize)]
pub(crate) struct Pass {
    /// Which.
    pub(crate) phase: Phase,
    /// Each visit, shortest first.
    pub(crate) visits_ms: Vec<f64>,
    /// Visits that were not whole.
    pub(crate) broken_visits: usize,
    /// The first byte of objects or pieces.
    pub(crate) first_byte: Spread,
    /// From its begin until the last device was done.
    pub(crate) took_ms: f64,
    /// Objects or pieces that came right.
    pub(crate) right: usize,
    /// Of these, how many by 304.
    pub(crate) unmodified: usize,
    /// What did not come right: `status`, `length`, `wrong` (bytes), `silent`, `broken`, `unfinished`, `not asked for` (its page failed).
    pub(crate) faults: BTreeMap<&'static str, usize>,
    /// Some of them in words.
    pub(crate) examples: Vec<String>,
    /// What TCP carried from the origin.
    pub(crate) down_bytes: u64,
    /// What TCP carried to the origin.
    pub(crate) up_bytes: u64,
    /// Whole packets both ways; 0 on a relay.
    pub(crate) wire_bytes: u64,
    /// Packets that a full queue dropped.
    pub(crate) dropped: u64,
    /// Packets that were lost on the way.
    pub(crate) lost: u64,
    /// Requests at the origin.
    pub(crate) requests: u64,
    /// CPU.
    pub(crate) cpu_ms: Option<f64>,
    /// Resident memory before.
    pub(crate) memory_before_bytes: Option<u64>,
    /// Most resident memory seen within.
    pub(crate) memory_most_bytes: Option<u64>,
}

/// How times lie.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Spread {
    /// A quarter is at most this.
    pub(crate) low: f64,
    /// Half.
    pub(crate) median: f64,
    /// Three quarters.
    pub(crate) high: f64,
    /// 95 of 100.
    pub(crate) p95: f64,
    /// All.
    pub(crate) worst: f64,
}

/// One phase over all rounds that count.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    /// Which.
    pub(crate) phase: Phase,
    /// How many rounds.
    pub(crate) rounds: usize,
    /// Visits.
    pub(crate) visit: Spread,
    /// Whether some visit was not whole, so that times are at least these.
    pub(crate) broken_visits: usize,
    /// First bytes.
    pub(crate) first_byte: Spread,
    /// Until all were done.
    pub(crate) took_ms: f64,
    /// Faults of all rounds.
    pub(crate) failed: usize,
    /// Of these, wrong bytes.
    pub(crate) wrong: usize,
    /// What came down, as a multiple of one copy.
    pub(crate) copies: f64,
    /// What went up.
    pub(crate) up_bytes: f64,
    /// Requests at the origin.
    pub(crate) requests: f64,
    /// CPU.
    pub(crate) cpu_ms: Option<f64>,
    /// Most resident memory since the start of the proxy.
    pub(crate) peak_memory_bytes: Option<f64>,
    /// Memory beside what it had before the phase.
    pub(crate) more_memory_bytes: Option<f64>,
}

impl Spread {
    /// Of times in any order.
    pub(crate) fn of(times: &[f64]) -> Spread {
        let mut times = times.to_vec();
        times.sort_by(f64::total_cmp);
        let at = |share: f64| quantile(&times, share);
        Spread { low: at(0.25), median: at(0.5), high: at(0.75), p95: at(0.95), worst: times.last().copied().unwrap_or(0.0) }
    }

    /// The medians of several, the worst of all.
    fn middle(all: &[Spread]) -> Spread {
        let of = |part: fn(&Spread) -> f64| median(all.iter().map(part));
        Spread {
            low: of(|one| one.low),
            median: of(|one| one.median),
            high: of(|one| one.high),
            p95: of(|one| one.p95),
            worst: all.iter().map(|one| one.worst).fold(0.0, f64::max),
        }
    }
}

impl Report {
    /// Whether every byte was the origin's, whatever proxy gave it, and each round of the first one counts, whose goals these are.
    ///
    /// # Errors
    /// Who failed at it, and where.
    pub(crate) fn sound(&self) -> Result<(), String> {
        for Played { scenario, proxies, .. } in &self.scenarios {
            if let Some(proxy) = proxies.iter().find(|proxy| proxy.summary.iter().any(|summary| summary.wrong > 0)) {
                return Err(format!("{}: {} gave wrong bytes", scenario.name, proxy.name));
            }
            let Some(first) = proxies.first() else { continue };
            if let Some(trouble) = first.rounds.iter().find_map(|turn| turn.trouble.as_ref()) {
                return Err(format!("{}: a round of {} does not count: {trouble}", scenario.name, first.name));
            }
        }
        Ok(())
    }
}

impl Proxy {
    /// Of its rounds.
    pub(crate) fn of(name: String, recipe: Option<&'static str>, rounds: Vec<Turn>, phases: &[Phase]) -> Proxy {
        let mut summary: Vec<Summary> = Vec::new();
        for (at, &phase) in phases.iter().enumerate() {
            let passes: Vec<(&Turn, &Pass)> =
                rounds.iter().filter(|turn| turn.trouble.is_none()).filter_map(|turn| Some((turn, turn.phases.get(at)?))).collect();
            if !passes.is_empty() {
                summary.push(Summary::of(phase, &passes));
            }
        }
        Proxy { name, recipe, rounds, summary }
    }

    /// The first summary of a phase.
    pub(crate) fn phase(&self, phase: Phase) -> Option<&Summary> {
        self.summary.iter().find(|summary| summary.phase == phase)
    }
}

impl Summary {
    fn of(phase: Phase, passes: &[(&Turn, &Pass)]) -> Summary {
        let spreads = |part: fn(&Pass) -> Spread| Spread::middle(&passes.iter().map(|(_, pass)| part(pass)).collect::<Vec<_>>());
        let some = |part: &dyn Fn(&(&Turn, &Pass)) -> Option<f64>| {
            let all: Vec<f64> = passes.iter().filter_map(part).collect();
            (!all.is_empty()).then(|| median(all.into_iter()))
        };
        let sum = |fault: Option<&str>| -> usize {
            let faults = passes.iter().flat_map(|(_, pass)| pass.faults.iter());
            faults.filter(|(name, _)| fault.is_none_or(|fault| fault == **name)).map(|(_, count)| count).sum()
        };
        Summary {
            phase,
            rounds: passes.len(),
            visit: spreads(|pass| Spread::of(&pass.visits_ms)),
            broken_visits: passes.iter().map(|(_, pass)| pass.broken_visits).sum(),
            first_byte: spreads(|pass| pass.first_byte),
            took_ms: median(passes.iter().map(|(_, pass)| pass.took_ms)),
            failed: sum(None),
            wrong: sum(Some("wrong")),
            copies: median(passes.iter().map(|(turn, pass)| float(pass.down_bytes) / float(turn.one_copy_bytes.max(1)))),
            up_bytes: median(passes.iter().map(|(_, pass)| float(pass.up_bytes))),
            requests: median(passes.iter().map(|(_, pass)| float(pass.requests))),
            cpu_ms: some(&|(_, pass)| pass.cpu_ms),
            peak_memory_bytes: some(&|(turn, _)| turn.peak_memory_bytes.map(float)),
            more_memory_bytes: some(&|(_, pass)| Some(float(pass.memory_most_bytes?.saturating_sub(pass.memory_before_bytes?)))),
        }
    }
}

impl Machine {
    /// This one.
    pub(crate) fn here() -> Machine {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let (processor, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
        let model = processor.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
        let kib = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")).and_then(|rest| rest.trim().strip_suffix(" kB"));
        Machine {
            processor: model.trim_start_matches(['\t', ':', ' ']).to_owned(),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory_gib: kib.and_then(|kib| kib.parse::<u64>().ok()).map_or(0, |kib| kib.div_ceil(1 << 20)),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            sends: read("/proc/sys/net/ipv4/tcp_congestion_control").trim().to_owned(),
            load: read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
        }
    }

    /// Whether figures of another may be held against figures of this one.
    pub(crate) fn is_like(&self, other: &Machine) -> bool {
        // The load is another at each start.
        let kind = |machine: &Machine| Machine { load: String::new(), ..machine.clone() };
        kind(self) == kind(other)
    }
}

/// Milliseconds.
pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// A count as a number with a point.
#[expect(clippy::cast_precision_loss, reason = "counts and bytes below 2^53")]
pub(crate) fn float(value: u64) -> f64 {
    value as f64
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    quantile(&values, 0.5)
}

/// Of values in order, the one that `share` of them do not exceed.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index of a short list")]
fn quantile(values: &[f64], share: f64) -> f64 {
    let at = (values.len() as f64 * share) as usize;
    values.get(at.min(values.len().saturating_sub(1))).copied().unwrap_or(0.0)
}
