//! What a line is: two rates, a round trip, jitter, loss, queues, outages. Pure; written and read as one line of text.
//!
//! `5/1 Mbit/s, 80 ms` · `20/4 Mbit/s, 40 ms, 1 %` · `2/0.5 Mbit/s, 600 ms, jitter 20 ms, queue 100 kB, out 30 s for 10 s, seed 7`

use bulak::base::unit::{BitRate, Bytes, Wait};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// How long the default queue takes to drain: 250 kB at 5 Mbit/s, which is what cheap modems hold.
const QUEUE: Duration = Duration::from_millis(400);

/// No queue is shorter than ten full packets.
const SHORTEST_QUEUE: u64 = 15_000;

/// A line between a school and the world.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    /// Towards the school, bits of IP packets a second.
    pub(crate) down: BitRate,
    /// Towards the world.
    pub(crate) up: BitRate,
    /// Round trip of a small packet on the idle line; half of it each way.
    pub(crate) rtt: Duration,
    /// Each packet is up to this much later than that, evenly; order is kept.
    pub(crate) jitter: Duration,
    /// Share of packets that are lost behind the queue, in each direction, 0 to 1.
    pub(crate) loss: f64,
    /// Bytes that may wait before each direction; what comes on top is dropped. `None`: 400 ms of the direction's rate, or one round
    /// trip of it where that is more, and never less than 15 kB.
    pub(crate) queue: Option<Bytes>,
    /// When the line is dead.
    pub(crate) outages: Vec<Outage>,
    /// From which jitter and loss are drawn.
    pub(crate) seed: u64,
}

/// A time in which nothing passes; what waited then is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outage {
    /// After the line was laid.
    pub(crate) at: Duration,
    /// How long.
    pub(crate) lasts: Duration,
}

impl Line {
    /// A line without jitter, loss or outages.
    pub(crate) fn new(down: BitRate, up: BitRate, rtt: Duration) -> Line {
        Line { down, up, rtt, jitter: Duration::ZERO, loss: 0.0, queue: None, outages: Vec::new(), seed: 1 }
    }

    /// The lines of the classroom: {1, 4, 8, 20, 150} Mbit/s down and a fifth of it up, round trips of 40, 250 and 600 ms, 0, 1 and 3 %
    /// loss. Their text is their name.
    pub(crate) fn classroom() -> Vec<Line> {
        let mut lines = Vec::new();
        for down in [1, 4, 8, 20, 150] {
            for rtt in [40, 250, 600] {
                for loss in [0.0, 0.01, 0.03] {
                    let rate = BitRate::mbit(down);
                    lines.push(Line { loss, ..Line::new(rate, up_for(rate), Duration::from_millis(rtt)) });
                }
            }
        }
        lines
    }

    /// Bytes that may wait before a direction of this rate.
    pub(crate) fn queue_of(&self, rate: BitRate) -> u64 {
        let drains = |time: Duration| u64::try_from(u128::from(rate.0) * time.as_micros() / 8_000_000).unwrap_or(u64::MAX);
        self.queue.map_or_else(|| drains(QUEUE).max(drains(self.rtt)).max(SHORTEST_QUEUE), |queue| queue.0)
    }

    /// Whether the line is dead `at` that time after it was laid, and when it lives again.
    pub(crate) fn dead(&self, at: Duration) -> Option<Duration> {
        self.outages.iter().find(|outage| outage.at <= at && at < outage.at + outage.lasts).map(|outage| outage.at + outage.lasts)
    }
}

/// Thin lines are lopsided: a fifth of what comes goes.
fn up_for(down: BitRate) -> BitRate {
    BitRate(down.0 / 5)
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = if self.down.0 < 1_000_000 { (1_000, "kbit/s") } else { (1_000_000, "Mbit/s") };
        write!(f, "{}/{} {}, {}", decimal(self.down.0, unit.0), decimal(self.up.0, unit.0), unit.1, Wait(self.rtt))?;
        if self.loss > 0.0 {
            write!(f, ", {} %", self.loss * 100.0)?;
        }
        if !self.jitter.is_zero() {
            write!(f, ", jitter {}", Wait(self.jitter))?;
        }
        if let Some(queue) = self.queue {
            write!(f, ", queue {queue}")?;
        }
        for outage in &self.outages {
            write!(f, ", out {} for {}", Wait(outage.at), Wait(outage.lasts))?;
        }
        if self.seed == 1 { Ok(()) } else { write!(f, ", seed {}", self.seed) }
    }
}

/// `500000` in millions: `0.5`.
fn decimal(value: u64, unit: u64) -> String {
    let (whole, rest) = (value / unit, value % unit);
    let digits = unit.ilog10() as usize;
    let text = format!("{whole}.{rest:0digits$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl FromStr for Line {
    type Err = String;

    fn from_str(text: &str) -> Result<Line, String> {
        let wrong = |part: &str, example: &str| format!("\"{part}\" of the line \"{text}\"; write it like \"{example}\"");
        let mut parts = text.split(',').map(str::trim);
        let (down, up) = parts.next().and_then(rates).ok_or_else(|| wrong(text, "5/1 Mbit/s, 80 ms"))?;
        let rtt = parts.next().unwrap_or_default();
        let mut line = Line::new(down, up, wait(rtt).ok_or_else(|| wrong(rtt, "80 ms"))?);
        for part in parts {
            let (word, rest) = part.split_once(' ').unwrap_or((part, ""));
            match word {
                "jitter" => line.jitter = wait(rest).ok_or_else(|| wrong(part, "jitter 20 ms"))?,
                "queue" => line.queue = Some(rest.parse().map_err(|_| wrong(part, "queue 250 kB"))?),
                "out" => line.outages.push(outage(rest).ok_or_else(|| wrong(part, "out 30 s for 10 s"))?),
                "seed" => line.seed = rest.parse().map_err(|_| wrong(part, "seed 7"))?,
                _ => line.loss = loss(part).ok_or_else(|| wrong(part, "1 %"))?,
            }
        }
        Ok(line)
    }
}

fn rates(text: &str) -> Option<(BitRate, BitRate)> {
    let (numbers, unit) = text.split_once(' ')?;
    let rate = |number: &str| format!("{number} {unit}").parse::<BitRate>().ok().filter(|rate| rate.0 >= 8_000);
    match numbers.split_once('/') {
        Some((down, up)) => Some((rate(down)?, rate(up)?)),
        None => rate(numbers).map(|down| (down, up_for(down))),
    }
}

fn wait(text: &str) -> Option<Duration> {
    text.parse::<Wait>().ok().map(|wait| wait.0)
}

fn outage(text: &str) -> Option<Outage> {
    let (at, lasts) = text.split_once(" for ")?;
    Some(Outage { at: wait(at)?, lasts: wait(lasts)? })
}

fn loss(text: &str) -> Option<f64> {
    let percent: f64 = text.strip_suffix('%')?.trim().parse().ok()?;
    (0.0..=100.0).contains(&percent).then_some(percent / 100.0)
}
