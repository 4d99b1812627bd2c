//! What a scenario file says, read and checked: every key, its unit, its default, its limits.
//!
//! A file is TOML. It has the tables `[line]`, `[devices]`, `[goals]` and exactly one of `[pages]`, `[ranges]`, `[idle]`, `[readers]`, which
//! is the work. Unknown keys are errors; quantities carry their unit (`"2 Mbit/s"`, `"300 ms"`, `"500 MB"`).

use crate::line::{Line, Outage};
use bulak::base::unit::{BitRate, Bytes, Wait};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// A scenario file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// What it is called on the card: small letters, digits and dashes, at most 40.
    pub(crate) name: String,
    /// One sentence for people.
    pub(crate) about: String,
    /// From which sizes, orders, waits, loss and jitter are drawn; round `n` adds `n`. Default 1.
    #[serde(default = "one")]
    pub(crate) seed: u64,
    /// Whether it is part of `--quick`. Default: no.
    #[serde(default)]
    pub(crate) quick: bool,
    /// Interleaved rounds, 1 to 50; `--rounds` overrides it. Default 3.
    #[serde(default = "three")]
    pub(crate) rounds: usize,
    /// Small objects that nobody else asks for, fetched unmeasured before the first phase, so that a proxy has met origin and line: 0 to
    /// 1000. Default 2.
    #[serde(default = "two")]
    pub(crate) warm_up: usize,
    /// What is played, in order. Default: cold alone.
    #[serde(default = "cold_alone")]
    pub(crate) phases: Vec<Phase>,
    /// The line between proxy and origin.
    pub(crate) line: LineFile,
    /// The devices before the proxy.
    pub(crate) devices: Devices,
    /// Work: pages as browsers load them.
    pub(crate) pages: Option<Pages>,
    /// Work: pieces of one large file.
    pub(crate) ranges: Option<Ranges>,
    /// Work: connections that say nothing.
    pub(crate) idle: Option<Idle>,
    /// Work: readers that are slower than the proxy.
    pub(crate) readers: Option<Readers>,
    /// What the first proxy of a run should reach.
    #[serde(default)]
    pub(crate) goals: Goals,
}

/// One pass over the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// The proxy has nothing.
    Cold,
    /// The same again, with devices that have nothing.
    Warm,
    /// The same once more, and the line is dead.
    Down,
}

/// The line, by its parts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LineFile {
    /// Towards the school, bits of IP packets a second: `"8 kbit/s"` to `"1 Gbit/s"`.
    pub(crate) down: BitRate,
    /// Towards the world. Default: a fifth of `down`.
    pub(crate) up: Option<BitRate>,
    /// Round trip on the idle line, up to `"3 s"`.
    pub(crate) rtt: Wait,
    /// Each packet is up to this much later, up to `"1 s"`. Default 0.
    #[serde(default)]
    pub(crate) jitter: Wait,
    /// Packets of a hundred that are lost each way, 0 to 20. Default 0.
    #[serde(default)]
    pub(crate) loss_percent: f64,
    /// Bytes that wait before a direction, what comes on top is dropped: `"15 kB"` to `"64 MB"`. Default: 400 ms of its rate, or a round
    /// trip of it where that is more.
    pub(crate) queue: Option<Bytes>,
    /// When the line is dead, counted from the begin of each phase: at most 20, each at most `"10 min"` from its begin.
    #[serde(default)]
    pub(crate) outages: Vec<Out>,
}

/// A time in which the line is dead.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Out {
    /// From then ...
    pub(crate) from: Wait,
    /// ... to then.
    pub(crate) to: Wait,
}

/// The class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Devices {
    /// How many, 1 to 250.
    pub(crate) count: usize,
    /// Connections of each, as a browser has to one host: 1 to 32. Default 6.
    #[serde(default = "six")]
    pub(crate) connections: usize,
    /// They begin evenly spread over this time. Default 0: all at once.
    #[serde(default)]
    pub(crate) within: Wait,
    /// Shortest and longest wait between two pages of one device. Default none.
    #[serde(default)]
    pub(crate) think: [Wait; 2],
    /// Pages that each device opens, 1 to 1000. Default 1.
    #[serde(default = "one_visit")]
    pub(crate) visits: usize,
    /// Which pages. Default: all devices the same, in order.
    #[serde(default)]
    pub(crate) order: Order,
    /// How steep the popularity of pages is for `order = "zipf"`, 0 to 3. Default 0.8.
    #[serde(default = "steep")]
    pub(crate) zipf: f64,
    /// Whether a device keeps what it has got, as browsers do, and asks with If-None-Match where it must. Default: no.
    #[serde(default)]
    pub(crate) keep: bool,
    /// A device gives an object up after so long without a byte, up to `"10 min"`. Default `"30 s"`.
    #[serde(default = "thirty_seconds")]
    pub(crate) patience: Wait,
    /// Longest phase, up to `"1 h"`: what is not done then has failed. Default `"2 min"`.
    #[serde(default = "two_minutes")]
    pub(crate) limit: Wait,
}

/// Which pages a device opens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Order {
    /// The first, the second, ...: a lesson.
    #[default]
    Lesson,
    /// All, each device in an order of its own.
    Shuffled,
    /// Drawn by popularity.
    Zipf,
}

/// Pages that name further objects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pages {
    /// How many different ones, 1 to 20,000. Default 1.
    #[serde(default = "one_visit")]
    pub(crate) count: usize,
    /// Objects of each, the page itself included: 1 to 500.
    pub(crate) objects: usize,
    /// Bytes of each, all objects together: `"1 kB"` to `"64 MB"`.
    pub(crate) bytes: Bytes,
    /// Of these objects, how many are the same for all pages: style, scripts, fonts first. Default 0.
    #[serde(default)]
    pub(crate) shared: usize,
    /// Steps from a page to its last objects: 1, the page names everything; 2, style sheets name fonts and pictures; 3, scripts ask for
    /// more. Default 2.
    #[serde(default = "two_steps")]
    pub(crate) depth: usize,
    /// What the origin says of how long things keep. Default `"fresh"`.
    #[serde(default)]
    pub(crate) caching: Caching,
}

/// What the origin says of how long things keep. Everything has a strong ETag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Caching {
    /// `public, max-age=604800`.
    #[default]
    Fresh,
    /// `no-cache`: to be asked for each time.
    Revalidate,
    /// Pages `no-cache`, the rest `public, max-age=31536000, immutable`.
    Mixed,
}

/// Pieces of one large file (`public, max-age=604800`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ranges {
    /// Its length: `"1 kB"` to `"4 GB"`.
    pub(crate) file: Bytes,
    /// Length of a piece: `"1 kB"` to `"64 MiB"`.
    pub(crate) range: Bytes,
    /// Which pieces.
    pub(crate) pick: Pick,
}

/// Which pieces a device asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Pick {
    /// The whole file, cut from an offset of the device's own, in an order of its own.
    All,
    /// All devices the same single piece, somewhere in the middle.
    Same,
}

/// Connections that fetch one small object each and then say nothing. Measured: memory. The number of devices says from how many
/// addresses they come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Idle {
    /// How many, 1 to 15,000.
    pub(crate) connections: usize,
    /// How long they stay, up to `"10 min"`.
    pub(crate) hold: Wait,
}

/// Devices that read a large stored file slowly. Measured: memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Readers {
    /// The file's length: `"1 kB"` to `"1 GB"`.
    pub(crate) file: Bytes,
    /// What each device reads: `"8 kbit/s"` to `"100 Mbit/s"`.
    pub(crate) rate: BitRate,
    /// How long, up to `"10 min"`.
    pub(crate) hold: Wait,
}

/// What the first proxy of a run should reach; printed beside what it has reached.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Goals {
    /// Most of the median page, cold.
    pub(crate) cold_median: Option<Wait>,
    /// Most of the slowest page, cold.
    pub(crate) cold_worst: Option<Wait>,
    /// Most of the median page, warm.
    pub(crate) warm_median: Option<Wait>,
    /// Most of the median page with the line down.
    pub(crate) down_median: Option<Wait>,
    /// Bytes over the line in the cold phase, as a multiple of one copy.
    pub(crate) copies: Option<f64>,
    /// Memory beside what the proxy had before.
    pub(crate) more_memory: Option<Bytes>,
}

/// What a scenario is about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work<'s> {
    /// Pages.
    Pages(&'s Pages),
    /// Pieces.
    Ranges(&'s Ranges),
    /// Silence.
    Idle(&'s Idle),
    /// Slow readers.
    Readers(&'s Readers),
}

impl Scenario {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// What is wrong, with line and remedy.
    pub(crate) fn read(file: &Path) -> Result<Scenario, String> {
        let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        Scenario::parse(&text).map_err(|why| format!("{}: {why}", file.display()))
    }

    /// Reads and checks a text.
    ///
    /// # Errors
    /// What is wrong, with line and remedy.
    pub(crate) fn parse(text: &str) -> Result<Scenario, String> {
        let scenario: Scenario = toml::from_str(text).map_err(|error| error.to_string())?;
        let complaints = scenario.complaints();
        if complaints.is_empty() { Ok(scenario) } else { Err(complaints.join("; ")) }
    }

    /// The work.
    pub(crate) fn work(&self) -> Work<'_> {
        let pages = self.pages.as_ref().map(Work::Pages);
        let ranges = || self.ranges.as_ref().map(Work::Ranges);
        let idle = || self.idle.as_ref().map(Work::Idle);
        let readers = || self.readers.as_ref().map(Work::Readers);
        pages.or_else(ranges).or_else(idle).or_else(readers).expect("checked: there is one")
    }

    /// The line of a round. Its outages are played by the phases and are not part of it.
    pub(crate) fn line(&self, round: u64) -> Line {
        Line {
            jitter: self.line.jitter.0,
            loss: self.line.loss_percent / 100.0,
            queue: self.line.queue,
            seed: self.seed.wrapping_add(round),
            ..Line::new(self.line.down, self.line.up.unwrap_or(BitRate(self.line.down.0 / 5)), self.line.rtt.0)
        }
    }

    /// The line in words, outages included.
    pub(crate) fn line_text(&self) -> String {
        let outages = self.line.outages.iter();
        let outages = outages.map(|out| Outage { at: out.from.0, lasts: out.to.0.saturating_sub(out.from.0) }).collect();
        // The seed is the scenario's and said there.
        Line { outages, seed: 1, ..self.line(0) }.to_string()
    }

    fn complaints(&self) -> Vec<String> {
        let mut all = Complaints(Vec::new());
        let plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
        all.want(
            (1..=40).contains(&self.name.len()) && self.name.chars().all(plain),
            "name",
            "small letters, digits and dashes, at most 40",
        );
        all.within("rounds", self.rounds, 1, 50);
        all.within("warm_up", self.warm_up, 0, 1000);
        all.want(!self.phases.is_empty() && self.phases.len() <= 9, "phases", "1 to 9 of \"cold\", \"warm\", \"down\"");
        all.want(self.phases.first() != Some(&Phase::Warm), "phases", "a proxy is cold before it is warm");
        let works = [self.pages.is_some(), self.ranges.is_some(), self.idle.is_some(), self.readers.is_some()]
            .into_iter()
            .filter(|one| *one)
            .count();
        all.want(works == 1, "work", "exactly one of [pages], [ranges], [idle] and [readers]");
        self.line.complain(&mut all);
        self.devices.complain(&mut all);
        if let Some(pages) = &self.pages {
            all.within("pages.count", pages.count, 1, 20_000);
            all.within("pages.objects", pages.objects, 1, 500);
            all.within("pages.bytes", pages.bytes.0, 1_000.max(pages.objects as u64 * 300), 64_000_000);
            all.within("pages.shared", pages.shared, 0, pages.objects.saturating_sub(1));
            all.within("pages.depth", pages.depth, 1, 3);
            all.want(pages.count * pages.objects <= 500_000, "pages", "at most 500,000 objects in all");
        }
        if let Some(ranges) = &self.ranges {
            all.within("ranges.file", ranges.file.0, 1_000, 4_000_000_000);
            all.within("ranges.range", ranges.range.0, 1_000, (64 << 20).min(ranges.file.0));
        }
        if let Some(idle) = &self.idle {
            all.within("idle.connections", idle.connections, 1, 15_000);
            all.time("idle.hold", idle.hold, 600);
        }
        if let Some(readers) = &self.readers {
            all.within("readers.file", readers.file.0, 1_000, 1_000_000_000);
            all.within("readers.rate", readers.rate.0, 8_000, 100_000_000);
            all.time("readers.hold", readers.hold, 600);
        }
        all.0
    }
}

impl LineFile {
    fn complain(&self, all: &mut Complaints) {
        all.within("line.down", self.down.0, 8_000, 1_000_000_000);
        all.within("line.up", self.up.map_or(8_000, |up| up.0), 8_000, 1_000_000_000);
        all.time("line.rtt", self.rtt, 3);
        all.time("line.jitter", self.jitter, 1);
        all.want((0.0..=20.0).contains(&self.loss_percent), "line.loss_percent", "0 to 20");
        all.within("line.queue", self.queue.map_or(15_000, |queue| queue.0), 15_000, 64_000_000);
        all.want(self.outages.len() <= 20, "line.outages", "at most 20");
        for out in &self.outages {
            let good = out.from < out.to && out.to.0 <= Duration::from_mins(10);
            all.want(good, "line.outages", "each like { from = \"2 s\", to = \"5 s\" }, within 10 minutes");
        }
    }
}

impl Devices {
    fn complain(&self, all: &mut Complaints) {
        all.within("devices.count", self.count, 1, 250);
        all.within("devices.connections", self.connections, 1, 32);
        all.time("devices.within", self.within, 600);
        all.want(self.think[0] <= self.think[1], "devices.think", "[\"2 s\", \"8 s\"], the shorter first");
        all.time("devices.think", self.think[1], 600);
        all.within("devices.visits", self.visits, 1, 1000);
        all.want((0.0..=3.0).contains(&self.zipf), "devices.zipf", "0 to 3");
        all.time("devices.patience", self.patience, 600);
        all.time("devices.limit", self.limit, 3600);
    }
}

struct Complaints(Vec<String>);

impl Complaints {
    fn want(&mut self, good: bool, key: &str, like: &str) {
        if !good {
            self.0.push(format!("{key}: {like}"));
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "numbers")]
    fn within<T: PartialOrd + std::fmt::Display>(&mut self, key: &str, value: T, least: T, most: T) {
        if value < least || value > most {
            self.0.push(format!("{key} is {value}: {least} to {most}"));
        }
    }

    fn time(&mut self, key: &str, value: Wait, seconds: u64) {
        if value.0 > Duration::from_secs(seconds) {
            self.0.push(format!("{key} is {value}: at most {}", Wait(Duration::from_secs(seconds))));
        }
    }
}

fn one() -> u64 {
    1
}

fn one_visit() -> usize {
    1
}

fn two() -> usize {
    2
}

fn two_steps() -> usize {
    2
}

fn three() -> usize {
    3
}

fn six() -> usize {
    6
}

fn steep() -> f64 {
    0.8
}

fn cold_alone() -> Vec<Phase> {
    vec![Phase::Cold]
}

fn thirty_seconds() -> Wait {
    Wait(Duration::from_secs(30))
}

fn two_minutes() -> Wait {
    Wait(Duration::from_mins(2))
}
