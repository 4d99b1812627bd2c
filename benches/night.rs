//! The table of the night: a class fetches 500 kB every 3 s through the node, while nobody, the node's night, the same without
//! control, or plain wget works beside it on the same emulated line.
//!
//! `cargo bench --bench night` (a quarter of an hour; root for the emulated line, else a relay that is kinder than a line).
//!
//! - `BULAK_NIGHT`: `short` is a first look at the first line (2 minutes), `long` gives each class 3 minutes.
//! - `BULAK_NIGHT_LINES`: other lines, `5/1 Mbit/s, 80 ms; 8/2 Mbit/s, 250 ms, 1 %`.
//! - `BULAK_NIGHT_WORK`: who works, of `night free wget`; `BULAK_NIGHT_SET`: settings of the night's node, `night.delay="60 ms"; …`.
//! - `BULAK_BIN`: another build; `BULAK_LINE_CONGESTION`: what senders use instead of CUBIC (`bbr`). `-- --json` prints JSON.
//!
//! Rates are what TCP carried (of 1500 bytes 1448), share is that of the line's rate. Every row has a line, an nginx and a node of its
//! own, and the same seed. The night is given 60 s to settle, the others 10 s. With loss, chance makes single fetches long: such a line
//! gives its class half as much time again, and only a `long` run judges it. The others are then given as long as the night, and all
//! are measured for twice the time: a seed's losses come in the same order for all, thinner at one time and thicker at another, and
//! what one gets in its first seconds is not to be held against what another gets a minute later.

#[path = "../tests/kit/mod.rs"]
mod kit;

#[path = "line/mod.rs"]
mod line;

/// The parts of this bench.
mod night {
    /// Line, origin, school.
    #[path = "place.rs"]
    pub(crate) mod place;

    /// A night beside a class.
    #[path = "play.rs"]
    pub(crate) mod play;

    use std::time::Duration;

    /// How long things take.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Times {
        /// Until the night counts.
        pub(crate) settle: Duration,
        /// Until the others do: neither grows slowly, and what they take, they take at once.
        pub(crate) others: Duration,
        /// How long its rate alone is measured.
        pub(crate) alone: Duration,
        /// How long the class works.
        pub(crate) class: Duration,
    }
}

use line::Line;
use night::Times;
use night::place::{Content, Place};
use night::play::{Row, Work, play};
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const LINES: &str = "5/1 Mbit/s, 80 ms; 2/0.5 Mbit/s, 600 ms; 20/4 Mbit/s, 40 ms, 1 %";

/// What the class may notice, as ratios to the idle line, and what the night is to get, of a line without loss.
const MEDIAN: f64 = 1.25;
const WORST: f64 = 1.5;

#[derive(Serialize)]
struct Table {
    line: String,
    emulated: &'static str,
    rows: Vec<Row>,
}

fn main() {
    // Before other programs, with all that it starts: on a busy machine it would measure them.
    let _allowed = rustix::process::setpriority_process(None, -10);
    let mode = std::env::var("BULAK_NIGHT").unwrap_or_default();
    let seconds = |settle, alone, class| Times {
        settle: Duration::from_secs(settle),
        others: Duration::from_secs(settle / 6),
        alone: Duration::from_secs(alone),
        class: Duration::from_secs(class),
    };
    let times = match mode.as_str() {
        "short" => seconds(20, 10, 15),
        "long" => seconds(60, 60, 180),
        _ => seconds(60, 15, 30),
    };
    let chosen = std::env::var("BULAK_NIGHT_LINES").ok();
    let mut lines: Vec<Line> = chosen
        .as_deref()
        .unwrap_or(LINES)
        .split(';')
        .map(|text| text.trim().parse().unwrap_or_else(|why| panic!("BULAK_NIGHT_LINES: {why}")))
        .collect();
    if mode == "short" && chosen.is_none() {
        lines.truncate(1);
    }
    let who = std::env::var("BULAK_NIGHT_WORK").unwrap_or_else(|_| String::from("night free wget"));
    let json = std::env::args().any(|word| word == "--json");
    let folder = Folder::make();
    let connections = connections();
    if !json {
        println!("{}", machine());
    }
    let mut tables = Vec::new();
    for line in &lines {
        let table = night(&folder.0, line, times, connections, &who);
        if !json {
            print(line, &table);
        }
        tables.push(table);
    }
    if json {
        let all = serde_json::json!({ "machine": machine(), "tables": tables });
        println!("{}", serde_json::to_string_pretty(&all).expect("plain data"));
    }
}

/// All rows of one line.
fn night(folder: &Path, line: &Line, times: Times, connections: usize, who: &str) -> Table {
    let Times { settle, alone, class, .. } = times;
    let times = if line.loss > 0.0 { Times { others: settle, alone: alone * 2, class: class * 3 / 2, settle } } else { times };
    let whole = times.settle + times.alone + times.class + Duration::from_secs(30);
    let content = Content::make(folder, line, line.down.bytes_per_second() * whole.as_secs());
    let mut table = Table { line: line.to_string(), emulated: "", rows: Vec::new() };
    let (kept, free) = (chosen_settings(), vec![(String::from("night.delay"), String::from("\"off\""))]);
    for (work, word) in [(Work::Idle, ""), (Work::Night, "night"), (Work::Free, "free"), (Work::Wget, "wget")] {
        if who.contains(word) {
            let place = Place::build(folder, line, &content);
            table.emulated = if place.is_cable() { "TUN devices in network namespaces" } else { "a TCP relay: kinder than a line" };
            table.rows.push(play(&place, work, times, connections, if work == Work::Free { &free } else { &kept }));
        }
    }
    table
}

/// Settings to try.
fn chosen_settings() -> Vec<(String, String)> {
    let text = std::env::var("BULAK_NIGHT_SET").unwrap_or_default();
    let pairs = text.split(';').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())).collect()
}

/// How many connections the night has to one host: so many wgets run beside it.
fn connections() -> usize {
    let text = include_str!("../config/school.toml");
    let config: toml::Table = toml::from_str(text).expect("the shipped configuration");
    let number = |section: &str, key: &str| config[section][key].as_integer().and_then(|number| usize::try_from(number).ok());
    number("night", "transfers").expect("a number").min(number("manners", "connections").expect("a number"))
}

fn print(line: &Line, table: &Table) {
    let idle = table.rows.first();
    println!("\n{} ({})", table.line, table.emulated);
    println!(
        "{:<12}{:>7}{:>9}{:>9}{:>8}{:>8}{:>17}{:>17}{:>9}{:>8}{:>9}{:>8}",
        "background",
        "fetches",
        "median s",
        "worst s",
        "× idle",
        "× idle",
        "RTT ms alone",
        "RTT ms class",
        "alone",
        "share",
        "class",
        "share"
    );
    for row in &table.rows {
        let ratio = |of: fn(&Row) -> Option<f64>| number(of(row).zip(idle.and_then(of)).map(|(mine, idle)| mine / idle), 2);
        let pair = |pair: Option<[f64; 2]>| pair.map_or_else(|| String::from("-"), |[p50, p95]| format!("{p50:.0} / {p95:.0}"));
        let share = |rate: Option<f64>| number(rate.map(|rate| rate * 1e8 / rate_of(line)), 0);
        println!(
            "{:<12}{:>7}{:>9}{:>9}{:>8}{:>8}{:>17}{:>17}{:>9}{:>6} %{:>9}{:>6} %{}",
            row.background,
            row.fetches_seconds.len(),
            number(row.median(), 2),
            number(row.worst(), 2),
            ratio(Row::median),
            ratio(Row::worst),
            pair(row.rtt_alone_milliseconds),
            pair(row.rtt_class_milliseconds),
            number(row.alone_mbit, 2),
            share(row.alone_mbit),
            number(row.class_mbit, 2),
            share(row.class_mbit),
            row.trouble.as_deref().map(|why| format!("  does not count: {why}")).unwrap_or_default()
        );
        row.failed.iter().for_each(|why| println!("  {why}"));
    }
    verdict(line, table);
}

/// What was asked for, and whether it was so.
fn verdict(line: &Line, table: &Table) {
    let row = |name: &str| table.rows.iter().find(|row| row.background.contains(name));
    let (Some(idle), Some(night)) = (row("nobody"), row("the night")) else { return };
    let counts = |row: &Row| row.trouble.is_none() && row.failed.is_empty();
    if !counts(idle) || !counts(night) {
        println!("  unknown: a fetch failed, or a round does not count");
        return;
    }
    let ratio = |of: fn(&Row) -> Option<f64>| of(night).zip(of(idle)).map_or(f64::NAN, |(mine, idle)| mine / idle);
    let word = |good: bool| if good { "yes" } else { "NO" };
    let (median, worst) = (ratio(Row::median), ratio(Row::worst));
    println!("  median ≤ {MEDIAN} × idle: {}; worst ≤ {WORST} × idle: {}", word(median <= MEDIAN), word(worst <= WORST));
    let alone = night.alone_mbit.unwrap_or_default();
    if line.loss > 0.0 {
        if let Some(wget) = row("wget").filter(|row| counts(row)).and_then(|row| row.alone_mbit) {
            println!("  ≥ 90 % of what wget gets: {} ({:.0} %)", word(alone >= 0.9 * wget), alone / wget * 100.0);
        } else {
            println!("  ≥ 90 % of what wget gets: unknown");
        }
        return;
    }
    let wanted = if line.rtt >= Duration::from_millis(300) { 0.7 } else { 0.85 };
    let share = alone * 1e6 / rate_of(line);
    println!("  ≥ {:.0} % of the line alone: {} ({:.0} %)", wanted * 100.0, word(share >= wanted), share * 100.0);
}

#[expect(clippy::cast_precision_loss, reason = "a rate of a line")]
fn rate_of(line: &Line) -> f64 {
    line.down.0 as f64
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| String::from("-"), |value| format!("{value:.digits$}"))
}

/// What these figures were taken on.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown").trim_start_matches(['\t', ':', ' ']);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default();
    format!("{model}, {cores} cores, Linux {}, load {load} at the start", read("/proc/sys/kernel/osrelease").trim())
}

/// A folder of this run's own, gone at its end; those that killed runs left are gone at the next start.
struct Folder(PathBuf);

impl Folder {
    fn make() -> Folder {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR"));
        for entry in fs::read_dir(place).into_iter().flatten().filter_map(Result::ok) {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.strip_prefix("night-").is_some_and(|id| !Path::new("/proc").join(id).exists()) {
                let _gone = fs::remove_dir_all(entry.path()); // another start may be at it
            }
        }
        let folder = place.join(format!("night-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        Folder(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0); // the next start tries again
    }
}
