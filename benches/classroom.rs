//! The classroom: an open, replayable benchmark for school caches, for any proxy.
//!
//! `cargo bench --bench classroom -- --quick` (two minutes), without `--quick` all of `benches/classroom/scenarios` (about an hour and a
//! half); `-- --help` names the rest. Needs root for a line of packets in network namespaces, else a relay stands in that is kinder than
//! a line. Prints the score card, and fails when a proxy gave wrong bytes or a round of the first one does not count; `--out FOLDER` takes
//! it (`card.md`), the figures (`classroom.json`) and the traces. `BULAK_BIN` names another build of bulak, `BULAK_LINE_CONGESTION` what
//! origins use instead of CUBIC.

#[path = "../tests/kit/mod.rs"]
mod kit;

#[path = "line/mod.rs"]
mod line;

#[path = "classroom/mod.rs"]
mod classroom;

use clap::Parser;
use classroom::card::card;
use classroom::peer::Kind;
use classroom::process::Family;
use classroom::result::Report;
use classroom::scenario::Scenario;
use classroom::{Run, against, emulation, run, trace};
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// How it is used.
const EXAMPLES: &str = "Examples:
  cargo bench --bench classroom -- --quick
  cargo bench --bench classroom -- --proxies bulak,squid --scenario class-burst-20m --out /tmp/run
  cargo bench --bench classroom -- --proxies bulak --start 'mine=env THREADS=2 /usr/bin/my-proxy --listen $LISTEN'
  cargo bench --bench classroom -- --proxy 127.0.0.1:3128 --pid 4711

What a scenario file may say is told in benches/classroom/scenario.rs.";

/// An open benchmark for school caches. Prints a score card in Markdown.
#[derive(Debug, Parser)]
#[command(name = "classroom", after_help = EXAMPLES)]
struct Words {
    /// Scenarios: files, or names of those in benches/classroom/scenarios; all of them when there is none.
    #[arg(long = "scenario", value_name = "FILE", value_delimiter = ',')]
    scenarios: Vec<PathBuf>,
    /// Proxies, goals are the first one's: bulak, "bulak:KEY=VALUE" (one key changed, the value as in TOML), squid,
    /// nginx, trafficserver, varnish, none.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    proxies: Vec<Kind>,
    /// A forward proxy that runs already; the line is a relay then, and the origin a port of 127.0.0.1, which the proxy must
    /// let devices ask.
    #[arg(long, value_name = "HOST:PORT")]
    proxy: Option<SocketAddr>,
    /// Its process id, for CPU and memory.
    #[arg(long, value_name = "PID", requires = "proxy")]
    pid: Option<u32>,
    /// A forward proxy of your own: NAME=COMMAND, one program with its arguments that listens on $LISTEN (an address and a
    /// port) and stays in the foreground, in an empty folder of its own; it must let devices ask $ORIGIN.
    #[arg(long, value_name = "NAME=COMMAND")]
    start: Vec<String>,
    /// Rounds of each scenario instead of what its file says.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=50))]
    rounds: Option<u8>,
    /// A folder for card.md, classroom.json and the traces.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// The scenarios that say "quick = true", one round each, without "none".
    #[arg(long)]
    quick: bool,
    /// Prints the figures as JSON instead of the card.
    #[arg(long)]
    json: bool,
    /// Figures of an earlier run to hold these against; of the same kind of machine.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// What cargo adds.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    match go(&Words::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn go(words: &Words) -> Result<(), String> {
    // Before other programs, with all that it starts: on a busy machine it would measure them.
    // One that runs already has the priority that it has, and nothing here goes before it.
    let _allowed = words.proxy.map_or_else(|| rustix::process::setpriority_process(None, -10), |_| Ok(()));
    many_files();
    let earlier = words.against.as_deref().map(against::read).transpose()?;
    let scenarios = scenarios(words)?;
    let (proxies, left_out) = proxies(words)?;
    let emulation = emulation(&proxies, &|what| eprintln!("{what}"));
    let folder = Folder::make()?;
    let rounds = words.rounds.map(usize::from).or(words.quick.then_some(1));
    let run_it = Run { scenarios, proxies, left_out, rounds, emulation };
    if let Some(out) = &words.out {
        write_traces(out, &run_it.scenarios)?;
    }
    let so_far = |report: &Report| {
        // A run that is broken off has told what it knew.
        let kept = words.out.as_deref().map(|out| json(report).and_then(|json| write(out, &card(report), &json)));
        if let Some(Err(why)) = kept {
            eprintln!("{why}");
        }
    };
    let report = run(&run_it, &folder.0, &|what| eprintln!("{what}"), &so_far);
    let mut document = serde_json::to_value(&report).map_err(|error| error.to_string())?;
    let mut text = card(&report);
    if let Some(earlier) = earlier {
        let rows = against::against(&document, &earlier);
        text.push_str(&against::table(&rows));
        document["against"] = serde_json::to_value(&rows).map_err(|error| error.to_string())?;
    }
    let json = json(&document)?;
    if let Some(out) = &words.out {
        write(out, &text, &json)?;
    }
    println!("{}", if words.json { json } else { text });
    report.sound()
}

fn json(report: &impl serde::Serialize) -> Result<String, String> {
    serde_json::to_string_pretty(report).map_err(|error| error.to_string())
}

fn write(out: &Path, card: &str, json: &str) -> Result<(), String> {
    let files = fs::write(out.join("card.md"), card).and_then(|()| fs::write(out.join("classroom.json"), json));
    files.map_err(|error| format!("{}: {error}", out.display()))
}

/// What the origin has and who asks for it, of each scenario's first round.
fn write_traces(out: &Path, scenarios: &[Scenario]) -> Result<(), String> {
    let broke = |error: std::io::Error| format!("{}: {error}", out.display());
    fs::create_dir_all(out).map_err(broke)?;
    for scenario in scenarios {
        fs::write(out.join(format!("{}.trace.json", scenario.name)), trace::document(scenario)).map_err(broke)?;
    }
    Ok(())
}

fn scenarios(words: &Words) -> Result<Vec<Scenario>, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/classroom/scenarios");
    let named = |word: &PathBuf| {
        if word.components().count() == 1 && word.extension().is_none() { folder.join(word).with_extension("toml") } else { word.clone() }
    };
    let mut files: Vec<PathBuf> = words.scenarios.iter().map(named).collect();
    if files.is_empty() {
        let entries = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        files =
            entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|file| kit::ends_in(&file.to_string_lossy(), "toml")).collect();
        files.sort();
    }
    let mut all = files.iter().map(|file| Scenario::read(file)).collect::<Result<Vec<Scenario>, String>>()?;
    if words.quick && words.scenarios.is_empty() {
        all.retain(|scenario| scenario.quick);
    }
    Ok(all)
}

/// Who is asked, and who is left out because it is not here.
fn proxies(words: &Words) -> Result<(Vec<Kind>, BTreeMap<String, String>), String> {
    if let Some(id) = words.pid.filter(|&id| Family(id).memory().is_none()) {
        return Err(format!("--pid {id}: there is no such process"));
    }
    let (mut all, mut left_out) = (words.proxies.clone(), BTreeMap::new());
    for text in &words.start {
        let (name, command) = text.split_once('=').ok_or_else(|| format!("--start \"{text}\"; write it like NAME=COMMAND"))?;
        all.push(Kind::Command(name.to_owned(), command.to_owned()));
    }
    all.extend(words.proxy.map(|addr| Kind::Running(addr, words.pid)));
    if all.is_empty() {
        all = vec![Kind::Bulak, Kind::Squid, Kind::Nginx, Kind::TrafficServer, Kind::Varnish, Kind::None];
        // Thirty copies over the line take their time.
        all.retain(|kind| !words.quick || *kind != Kind::None);
        all.retain(|kind| {
            if !kind.is_installed() {
                eprintln!("{} is left out: {}", kind.name(), not_installed(kind));
                left_out.insert(kind.name().to_owned(), not_installed(kind));
            }
            kind.is_installed()
        });
    }
    match all.iter().find(|kind| !kind.is_installed()) {
        Some(kind) => Err(format!("{}: {}", kind.name(), not_installed(kind))),
        None => Ok((all, left_out)),
    }
}

fn not_installed(kind: &Kind) -> String {
    format!("not installed (apt-get install {})", kind.name())
}

/// Thousands of connections at both ends.
fn many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }); // what is missing will be told
}

/// A folder of this run's own, gone at its end; those that killed runs left are gone at the next start.
struct Folder(PathBuf);

impl Folder {
    fn make() -> Result<Folder, String> {
        // Not in a home: proxies that root has started go on as somebody else.
        let place = std::env::temp_dir();
        for entry in fs::read_dir(&place).into_iter().flatten().filter_map(Result::ok) {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.strip_prefix("classroom-").is_some_and(|id| id.parse::<u32>().is_ok() && !Path::new("/proc").join(id).exists()) {
                let _gone = fs::remove_dir_all(entry.path()); // another start may be at it
            }
        }
        let folder = place.join(format!("classroom-{}", std::process::id()));
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(Folder(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0); // the next start tries again
    }
}
