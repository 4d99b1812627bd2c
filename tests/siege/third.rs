//! Third parties: what slowhttptest (Debian) makes of every port that speaks HTTP. testssl.sh looks at the ports that speak TLS in
//! `tests/it/browser.rs`; connections that are opened have the same configuration, and a scanner of those is soon taken for a device that
//! does not trust us and passed on to the origin.
//!
//! It is a tool of attackers, written by people who know nothing of us. Its verdict counts: whether somebody else was still served.

use crate::kit::node::{Hub, Setup};
use crate::kit::program;
use crate::town::raise_open_files;
use std::net::SocketAddr;
use std::process::Command;

/// Connections: what one attacker has.
const CONNECTIONS: &str = "1000";
/// Seconds after which its probe says that nobody is served: the promise is one, a busy machine gets ten.
const PROBE: &str = "10";

/// What it said at its end: the exit status, and whether the service was available all the time.
fn attack(words: &[&str], at: SocketAddr, path: &str, seconds: u32) -> Option<(String, Vec<String>)> {
    let tool = program::find("slowhttptest")?;
    let folder = tempfile::tempdir().expect("a folder");
    let prefix = folder.path().join("told");
    let mut command = Command::new(tool);
    command.args(words).args(["-c", CONNECTIONS, "-r", "500", "-p", PROBE, "-l", &seconds.to_string(), "-g", "-o"]).arg(&prefix);
    command.arg("-u").arg(format!("http://{at}{path}"));
    let output = program::run(&command, seconds + 60);
    let said = without_colours(&String::from_utf8_lossy(&output.stdout));
    let ending = said.lines().rev().find(|line| line.contains("Exit status")).unwrap_or_default().trim().to_owned();
    // Each second a row, with "1000" for available and "0" for not in its last column.
    let rows = std::fs::read_to_string(prefix.with_extension("csv")).unwrap_or_else(|error| panic!("{error}: {said}"));
    let down =
        rows.lines().skip(1).filter(|row| row.split(',').next_back().is_some_and(|last| last.trim() == "0")).map(str::to_owned).collect();
    assert!(rows.lines().count() > 3, "it saw nothing: {said}");
    Some((ending, down))
}

fn without_colours(text: &str) -> String {
    let mut parts = text.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('m').map_or("", |(_, rest)| rest))
}

/// The four attacks of slowhttptest; the second one needs a path that reads bodies.
const ATTACKS: [(&str, &[&str]); 4] = [
    ("slow heads (slowloris)", &["-H", "-i", "5", "-x", "24"]),
    ("slow bodies (R-U-Dead-Yet)", &["-B", "-i", "5", "-s", "8192", "-x", "24"]),
    ("ranges (Apache killer)", &["-R", "-a", "1", "-b", "3000"]),
    ("slow reading", &["-X", "-w", "512", "-y", "1024", "-n", "5", "-z", "32", "-k", "3"]),
];

/// A port: its name, where it is, a page, where it takes bodies and of which type.
struct Port(&'static str, SocketAddr, &'static str, &'static str, &'static str);

fn endures(test: &str, ports: &[Port], seconds: u32) {
    raise_open_files();
    for Port(port, at, page, form, kind) in ports {
        for (name, words) in ATTACKS {
            let bodies = words[0] == "-B";
            let words = if bodies { [words, &["-f", *kind][..]].concat() } else { words.to_vec() };
            let Some((ending, down)) = attack(&words, *at, if bodies { form } else { page }, seconds) else {
                return program::skipped(test, "slowhttptest is missing; scripts/test --full installs it where it can");
            };
            eprintln!("slowhttptest, {port}, {name}: {ending}; {} of its seconds without service", down.len());
            assert!(down.is_empty(), "{port}, {name}: the service was not available: {down:?}");
        }
    }
}

#[test]
#[ignore = "twelve attacks of twenty seconds; scripts/test --full"]
fn slowhttptest_finds_every_port_at_its_service() {
    let node = Setup::new().start();
    let hub = Hub::start("[hub]\nlisten = [\"127.0.0.1:0\"]\ndatabase = \"HERE/hub.sqlite\"\n");
    let ports = [
        Port("the proxy", node.proxy, "/", "/tonight", "application/x-www-form-urlencoded"),
        Port("the web port", node.web, "/", "/tonight", "application/x-www-form-urlencoded"),
        Port("the hub", hub.addr, "/healthz", "/api/v1/enrol", "application/json"),
    ];
    endures("slowhttptest_finds_every_port_at_its_service", &ports, 20);
}
