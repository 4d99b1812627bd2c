//! Third parties: what slowhttptest (Debian) makes of every port that speaks HTTP, and testssl.sh of connections that are opened. The ports
//! that speak TLS themselves are scanned in `tests/it/browser.rs`.
//!
//! Both are tools of attackers, written by people who know nothing of us. Their verdict counts: whether somebody else was still served.

use crate::kit::class::Class;
use crate::kit::node::{Hub, Setup};
use crate::kit::secure::full;
use crate::kit::{program, scan};
use crate::town::raise_open_files;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
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

/// A port behind which each connection is a tunnel through the proxy to `host:443`. testssl.sh knows proxies itself, but it ends the lines
/// of its CONNECT with bare line feeds, which is refused.
fn tunnelled(proxy: SocketAddr, host: &str) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let door = listener.local_addr().expect("bound");
    let connect = format!("CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n");
    // It ends with the test's process; whichever side leaves ends its tunnel.
    std::thread::spawn(move || {
        for near in listener.incoming().filter_map(Result::ok) {
            let connect = connect.clone();
            std::thread::spawn(move || tunnel(near, proxy, &connect));
        }
    });
    door
}

/// Both ways until both sides have ended; `None` where one of them leaves early.
fn tunnel(near: TcpStream, proxy: SocketAddr, connect: &str) -> Option<()> {
    let mut far = TcpStream::connect(proxy).ok()?;
    far.write_all(connect.as_bytes()).ok()?;
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        far.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let (mut up, mut down) = ((near.try_clone().ok()?, far.try_clone().ok()?), (far, near));
    let other = std::thread::spawn(move || {
        let _sent = std::io::copy(&mut up.0, &mut up.1);
        up.1.shutdown(Shutdown::Write)
    });
    let _sent = std::io::copy(&mut down.0, &mut down.1);
    down.1.shutdown(Shutdown::Write).ok()?;
    other.join().ok()?.ok()
}

#[test]
#[ignore = "half a minute to minutes of scanning; scripts/test --full"]
fn testssl_finds_nothing_on_connections_that_are_opened() {
    let class = Class::opening(&["ec-h2"]);
    // The scanner comes from this address.
    class.enrolled(1);
    let door = tunnelled(class.node.proxy, &full("ec-h2"));
    let Some(findings) = scan::scan("testssl_finds_nothing_on_connections_that_are_opened", &full("ec-h2"), door) else { return };
    let opened = class.node.metric("bulak_tls_total", "action=\"intercept\"");
    eprintln!("testssl.sh on opened connections: {} findings; {opened:?} connections were opened", findings.len());
    assert!(opened.is_some_and(|count| count > 50.0), "what was scanned was the origin itself: {opened:?}");
    assert_eq!(findings, []);
}
