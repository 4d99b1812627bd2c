//! Speed tests among strangers: our client against a server built from the specification, others' clients against our servers, and
//! servers that lie, stall and talk. Figures are compared between the two ends of the same test, so that a busy machine is no excuse
//! and no trouble.

use crate::kit;
use crate::kit::browser::Wish;
use crate::kit::node::{Hub, Node, Setup};
use crate::kit::origin::{Ask, Origin, Reply, answer, ok};
use crate::kit::program;
use crate::kit::speed::{Manner, Speed};
use crate::line::{Cable, Relay};
use bulak::base::clock::Clock;
use bulak::base::count::Metrics;
use bulak::life::Life;
use bulak::link::{self, Link};
use bulak::meter::ndt7::Way;
use bulak::meter::ndt7::client::{self, Continue, Ended, Error, Limits, Outcome, Target};
use bulak::meter::ndt7::nearest::{Found, nearest};
use bulak::upstream::{self, Upstream};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// A node's parts that reach out, in this process: for tests at either end of a line.
struct School {
    runtime: tokio::runtime::Runtime,
    upstream: Upstream,
    link: Link,
    clock: Clock,
    life: Life,
}

impl School {
    fn new() -> School {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (life, metrics, clock) = (Life::default(), Metrics::default(), Clock::system());
        let near = |text: &str| text.parse().expect("a network");
        let allow_private = vec![near("127.0.0.0/8"), near("198.18.0.0/15")];
        let settings = upstream::Settings { allow_private, ..upstream::Settings::default() };
        let (link, upstream) = runtime.block_on(async {
            let link = Link::new(link::Settings::default(), clock.clone(), &life, &metrics);
            let upstream = Upstream::new(settings, clock.clone(), link.clone(), &life, &metrics).expect("an upstream");
            (link, upstream)
        });
        School { runtime, upstream, link, clock, life }
    }

    fn test(&self, addr: SocketAddr, way: Way, limits: &Limits) -> Result<Outcome, Error> {
        self.test_with(&at(addr, "/ndt/v7"), way, limits, |_| {})
    }

    fn test_with(&self, target: &Target, way: Way, limits: &Limits, mut look: impl FnMut(&Clock) + Send) -> Result<Outcome, Error> {
        let clock = self.clock.clone();
        let on = move |_: &client::Progress<'_>| {
            look(&clock);
            Continue::On
        };
        self.runtime.block_on(client::run(&self.upstream, &self.clock, target, way, limits, on))
    }
}

impl Drop for School {
    fn drop(&mut self) {
        self.life.stop();
    }
}

fn at(addr: SocketAddr, path: &str) -> Target {
    let url = |way: &str| format!("ws://{addr}{path}/{way}").parse().expect("an address");
    Target { download: url("download"), upload: url("upload") }
}

/// A line that a debug build keeps up with; loopback alone would move gigabytes.
const LINE: &str = "40/40 Mbit/s, 10 ms";

fn relay() -> Relay {
    Relay::lay(&LINE.parse().expect("a line"))
}

fn hub() -> Hub {
    Hub::start("[hub]\nlisten = [\"127.0.0.1:0\"]\ndatabase = \"HERE/hub.sqlite\"\n")
}

fn node() -> Node {
    Setup::new().start()
}

/// Whether two figures are within so many percent of each other.
#[track_caller]
fn agree(percent: f64, what: &str, one: f64, two: f64) {
    let apart = (one - two).abs() / one.max(two) * 100.0;
    eprintln!("{what}: {one:.4} and {two:.4}, {apart:.2} % apart");
    assert!(apart <= percent, "{what}: {one} and {two} are {apart:.2} % apart");
}

#[expect(clippy::cast_precision_loss, reason = "a rate")]
fn count(bytes: u64) -> f64 {
    bytes as f64
}

fn mbit(bytes: u64, took: Duration) -> f64 {
    count(bytes) * 8.0 / took.as_secs_f64() / 1e6
}

fn brief(seconds: u64) -> Limits {
    Limits { time: Duration::from_secs(seconds), ..Limits::default() }
}

#[test]
fn our_client_and_a_server_of_the_specification_agree() {
    let (server, relay, school) = (Speed::start(Manner::Good), relay(), School::new());
    let way = relay.way(server.addr).expect("a way");
    for direction in [Way::Download, Way::Upload] {
        let outcome = school.test(way.addr, direction, &Limits::default()).unwrap_or_else(|error| panic!("{direction:?}: {error}"));
        kit::until("the server is through", 20, || server.ends().len() == 1 + usize::from(direction == Way::Upload));
        let end = *server.ends().last().expect("one");
        assert!(outcome.told && outcome.ended == Ended::Full, "{direction:?}: {:?}", outcome.ended);
        match direction {
            // A relay acknowledges in the client's place, so what it carried is compared, not what the server saw acknowledged.
            Way::Download => agree(1.0, "downloaded and carried", count(outcome.moved), count(way.carried())),
            Way::Upload => agree(3.0, "uploaded, by both", mbit(outcome.moved, outcome.took), mbit(end.bytes, end.took)),
        }
        assert_eq!(outcome.uuid(), Some("spec_1"));
        let ask = server.asks().pop().expect("one");
        assert!(ask.contains("client_name=bulak&client_version="), "{ask}");
    }
    let (received, sent) = school.link.view().bytes["measure"];
    assert!(received > 30 << 20 && sent > 30 << 20, "what passes is counted as measurements: {received}, {sent}");
}

#[test]
fn servers_that_do_otherwise_leave_a_figure_or_a_reason() {
    let school = School::new();
    let limits = Limits { io: Duration::from_secs(2), ..brief(3) };
    let run = |manner, way| school.test(Speed::start(manner).addr, way, &limits);
    // Nothing that could be believed.
    for (manner, way) in [
        (Manner::TooLong, Way::Download),
        (Manner::OtherProtocol, Way::Download),
        (Manner::NoProtocol, Way::Upload),
        (Manner::Rubbish, Way::Download),
        (Manner::Rubbish, Way::Upload),
        // Payload from the side that receives.
        (Manner::Giant, Way::Upload),
    ] {
        let run = run(manner, way);
        assert!(matches!(run, Err(Error::Protocol(_))), "{manner:?} {way:?}: {run:?}");
    }
    for (manner, status) in [(Manner::Page, 200), (Manner::Full, 503)] {
        let run = run(manner, Way::Download);
        assert!(matches!(&run, Err(Error::Refused(code)) if code.as_u16() == status), "{manner:?}: {run:?}");
    }
    // What had arrived counts.
    for (manner, way, ended) in [
        (Manner::Stalls, Way::Download, Ended::Stalled),
        (Manner::Stalls, Way::Upload, Ended::Stalled),
        (Manner::Closes, Way::Download, Ended::Server),
        (Manner::Closes, Way::Upload, Ended::Server),
        (Manner::HangsUp, Way::Download, Ended::Cut),
        (Manner::HangsUp, Way::Upload, Ended::Cut),
    ] {
        let outcome = run(manner, way).unwrap_or_else(|error| panic!("{manner:?} {way:?}: {error}"));
        assert!(outcome.ended == ended && outcome.moved > 0, "{manner:?} {way:?}: {:?}, {} bytes", outcome.ended, outcome.moved);
    }
    let giant = run(Manner::Giant, Way::Download).expect("16 MiB are allowed");
    assert!(giant.ended == Ended::Full && giant.moved > 1 << 24, "{:?}, {} bytes", giant.ended, giant.moved);
    let lies = run(Manner::Lies, Way::Upload).expect("our own kernel knows better");
    let acked = lies.streams[0].kernel.and_then(|kernel| kernel.bytes_acked);
    assert_eq!((lies.told, Some(lies.moved)), (false, acked));
}

#[test]
fn nobody_there_is_told_as_the_line_tells_it() {
    let school = School::new();
    let nobody = kit::loopback(kit::free_port());
    let run = school.test(nobody, Way::Download, &brief(3));
    assert!(matches!(run, Err(Error::Reach(upstream::Error::Refused(_)))), "{run:?}");
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let limits = Limits { open: Duration::from_secs(1), ..brief(3) };
    let run = school.test(silent.local_addr().expect("bound"), Way::Upload, &limits);
    assert!(matches!(run, Err(Error::Reach(upstream::Error::ConnectTimeout(..)))), "{run:?}");
}

#[test]
fn a_clock_that_jumps_during_a_test_is_not_seen() {
    let (server, relay, school) = (Speed::start(Manner::Good), relay(), School::new());
    let way = relay.way(server.addr).expect("a way");
    let mut told = 0;
    let jump = move |clock: &Clock| {
        told += 1;
        // A year back, then two years on.
        clock.jump(if told == 3 { -31_536_000_000_000 } else { i64::from(told == 8) * 63_072_000_000_000 });
    };
    let outcome = school.test_with(&at(way.addr, "/ndt/v7"), Way::Download, &brief(3), jump).expect("a test");
    assert_eq!(outcome.ended, Ended::Full);
    assert!(outcome.took >= Duration::from_millis(2_500) && outcome.took < Duration::from_secs(20), "{:?}", outcome.took);
}

#[test]
fn a_line_that_goes_leaves_what_had_arrived() {
    let Some(cable) = cable("20/20 Mbit/s, 20 ms", "a_line_that_goes_leaves_what_had_arrived") else { return };
    let server = cable.far.enter(|| Speed::at(cable.far.addr.into(), Manner::Good));
    let limits = Limits { io: Duration::from_secs(2), ..Limits::default() };
    let outcome = cable.near.enter(|| {
        let school = School::new();
        let mut told = 0;
        school.test_with(&at(server.addr, "/ndt/v7"), Way::Download, &limits, |_| {
            told += 1;
            if told == 8 {
                cable.cut();
            }
        })
    });
    let outcome = outcome.expect("a figure");
    assert!(outcome.ended == Ended::Stalled && outcome.moved > 100_000, "{:?}, {} bytes", outcome.ended, outcome.moved);
}

#[test]
fn a_test_comes_straight_to_the_web_port_or_not_at_all() {
    let node = node();
    let fields = [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Protocol: net.measurementlab.ndt.v7",
    ];
    // Through the proxy the proxy would be measured.
    assert_eq!(node.fetch("GET", "http://bulak.internal/ndt/v7/download", &fields).status, 403);
    let straight = |fields: &[&str]| {
        let mut request = format!("GET /ndt/v7/download HTTP/1.1\r\nHost: {}\r\n", node.web);
        request.extend(fields.iter().map(|field| format!("{field}\r\n")));
        crate::kit::http::exchange(node.web, (request + "\r\n").as_bytes())
    };
    let refused = straight(&fields[..4]);
    assert_eq!((refused.status, refused.text().contains("Sec-WebSocket-Protocol")), (400, true));
    // A page of somebody else's may not ask in our name, whoever it is that it asks for.
    let foreign = format!("GET /ndt/v7/download HTTP/1.1\r\nHost: evil.example\r\n{}\r\n\r\n", fields.join("\r\n"));
    assert_eq!(crate::kit::http::exchange(node.web, foreign.as_bytes()).status, 421);
}

#[test]
fn several_streams_are_one_test_at_the_hub() {
    let (hub, school) = (hub(), School::new());
    let limits = Limits { streams: 4, bytes: Some(32 << 20), ..brief(5) };
    for way in [Way::Download, Way::Upload] {
        let outcome =
            school.test_with(&at(hub.addr, "/throughput/v1"), way, &limits, |_| {}).unwrap_or_else(|error| panic!("{way:?}: {error}"));
        assert!(outcome.streams.len() == 4 && outcome.told && outcome.moved > 1 << 20, "{way:?}: {outcome:?}");
        let ids: std::collections::BTreeSet<String> = outcome
            .streams
            .iter()
            .filter_map(|stream| stream.server.last()?.connection_info.as_ref().map(|info| info.uuid.clone()))
            .collect();
        assert_eq!(ids.len(), 4, "each connection has an id of its own");
    }
}

#[test]
fn the_hub_is_found_by_its_own_document() {
    let (hub, school) = (hub(), School::new());
    let service = format!("http://{}/v2/nearest/ndt/ndt7", hub.addr).parse().expect("an address");
    let found = school.runtime.block_on(nearest(&school.upstream, &school.clock, &service, false)).expect("an answer");
    let Found::Servers(servers, _) = found else { panic!("{found:?}") };
    let limits = Limits { bytes: Some(4 << 20), ..brief(3) };
    let run =
        school.runtime.block_on(client::run(&school.upstream, &school.clock, &servers[0].target, Way::Download, &limits, |_| Continue::On));
    let outcome = run.expect("a test");
    assert_eq!(outcome.ended, Ended::Limit);
    if std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control").is_ok_and(|names| names.contains("bbr")) {
        let newest = outcome.server().expect("the server measures");
        assert!(newest.bbr_info.and_then(|bbr| bbr.bw).is_some_and(|bw| bw > 0), "BBR where the kernel has it: {newest:?}");
    }
}

#[test]
fn the_client_of_the_registry_passes_against_node_and_hub() {
    let (node, hub) = (node(), hub());
    std::thread::scope(|scope| {
        for (name, addr) in [("node", node.web), ("hub", hub.addr)] {
            scope.spawn(move || {
                let relay = relay();
                let way = relay.way(addr).expect("a way");
                let events = foreign(way.addr);
                let errors: Vec<&Value> = events.iter().filter(|event| event["Type"] == "Error").collect();
                assert!(errors.is_empty(), "{name}: {errors:?}");
                let newest = |test: &str, origin: &str| {
                    let fits = |event: &&Value| event["Test"] == test && event["Measurement"]["Origin"] == origin;
                    events.iter().rev().find(fits).unwrap_or_else(|| panic!("{name}: no {test} by the {origin}"))["Measurement"].clone()
                };
                // The relay acknowledges in the client's place: what it carried is compared. The client's last figure is up to a message
                // (1 MiB) and a quarter of a second old.
                let by_client = newest("download", "client")["AppInfo"]["NumBytes"].as_f64().expect("a count");
                agree(6.0, &format!("{name}, downloaded and carried"), by_client, count(way.carried()));
                assert!(newest("download", "server")["TCPInfo"]["BytesAcked"].as_f64().expect("a count") >= by_client * 0.97);
                let server = newest("upload", "server");
                let by_kernel = share(&server["TCPInfo"]["BytesReceived"], &server["TCPInfo"]["ElapsedTime"]);
                let by_count = share(&server["AppInfo"]["NumBytes"], &server["AppInfo"]["ElapsedTime"]);
                agree(3.0, &format!("{name}, upload"), by_kernel, by_count);
                let summary = events.iter().find(|event| event["Type"] == "Summary").expect("a summary");
                let latency = summary["Summary"]["Download"]["LatencyMs"].as_f64().expect("the kernel's shortest round trip");
                assert!(latency > 0.0, "{summary}");
            });
        }
    });
    kit::until("both ways were served", 20, || node.metric("bulak_meter_served_total", "") == Some(2.0));
}

#[test]
fn the_client_of_browsers_passes_against_node_and_hub() {
    let pages = Origin::start(|ask: &Ask| {
        let file = kit::packages().join("@m-lab/ndt7/src").join(ask.target.trim_start_matches('/'));
        Reply::Bytes(match std::fs::read(&file) {
            Ok(script) => ok(&["Content-Type: text/javascript"], &script),
            Err(_) if ask.target == "/" => {
                ok(&["Content-Type: text/html"], b"<!DOCTYPE html><title>ndt7</title><script src=/ndt7.js></script><p>ready</p>")
            }
            Err(error) if kit::ends_in(&ask.target, "js") => panic!("{}: {error}; run scripts/test, which installs it", file.display()),
            Err(_) => answer("404 Not Found", &[], b""),
        })
    });
    let (hub, relay) = (hub(), relay());
    let node = Setup::new().set("meter.pages", &format!("[\"http://{}\"]", pages.addr)).start();
    let mut browser = Wish::direct().start();
    let page = browser.visit_until(&format!("http://{}/", pages.addr), "ready");
    assert!(page.requests.iter().any(|url| url.ends_with("/ndt7.js")) && page.failed.is_empty(), "{page:?}");
    let (to_node, to_hub) = (relay.way(node.web).expect("a way"), relay.way(hub.addr).expect("a way"));
    for (name, way, where_to) in [
        ("node", &to_node, format!("server: '{}'", to_node.addr)),
        // The hub names itself as it was reached, so over the line.
        ("hub", &to_hub, format!("loadbalancer: 'http://{}/v2/nearest/ndt/ndt7'", to_hub.addr)),
    ] {
        let result = browser.run(&format!(
            "new Promise((done) => {{
                const seen = {{ errors: [] }};
                const config = {{ {where_to}, protocol: 'ws', mlabDataPolicyInapplicable: true, metadata: {{ client_name: 'kit' }},
                  downloadworkerfile: '/ndt7-download-worker.js', uploadworkerfile: '/ndt7-upload-worker.js' }};
                ndt7.test(config, {{
                  error: (error) => seen.errors.push(String(error)),
                  downloadComplete: (data) => {{ seen.download = data; }},
                  uploadComplete: (data) => {{ seen.upload = data; }},
                }}).then((code) => done({{ ...seen, code }}), (error) => done({{ ...seen, code: String(error) }}));
            }})"
        ));
        assert!(result["code"] == 0 && result["errors"] == json!([]), "{name}: {result}");
        let download = &result["download"];
        let by_client = download["LastClientMeasurement"]["NumBytes"].as_f64().expect("a count");
        agree(6.0, &format!("{name}, downloaded and carried"), by_client, count(way.carried()));
        assert!(download["LastServerMeasurement"]["TCPInfo"]["BytesAcked"].as_f64().expect("a count") >= by_client * 0.97, "{download}");
        let server = &result["upload"]["LastServerMeasurement"];
        let by_kernel = share(&server["TCPInfo"]["BytesReceived"], &server["TCPInfo"]["ElapsedTime"]);
        agree(3.0, &format!("{name}, upload"), by_kernel, share(&server["AppInfo"]["NumBytes"], &server["AppInfo"]["ElapsedTime"]));
    }
}

#[test]
fn on_one_line_all_servers_and_clients_say_the_same() {
    // The last of three tries counts, whatever else this machine does.
    for attempt in 1.. {
        let Some(cable) = cable("8/8 Mbit/s, 30 ms", "on_one_line_all_servers_and_clients_say_the_same") else { return };
        let spec = cable.far.enter(|| Speed::at(cable.far.addr.into(), Manner::Good));
        let hub = Hub::start_under(
            &cable.far.words(),
            &format!("[hub]\nlisten = [\"{}:8090\"]\ndatabase = \"HERE/hub.sqlite\"\n", cable.far.addr),
        );
        let figures = |way| {
            let of = |addr| cable.near.enter(|| School::new().test(addr, way, &Limits::default()).expect("a test"));
            [of(spec.addr), of(hub.addr)].map(|outcome| mbit(outcome.moved, outcome.took))
        };
        let foreign = |words: &[&str]| {
            let mut command = cable.near.command(tool("ndt7-client"));
            command.args(["--no-tls", "--no-locate", "--server", &hub.addr.to_string(), "--format", "json"]).args(words);
            let output = program::run(&command, 60);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .find(|event| event["Type"] == "Summary")
                .expect("a summary")
        };
        let (down, up) = (figures(Way::Download), figures(Way::Upload));
        let theirs = foreign(&["--no-upload"])["Summary"]["Download"]["ThroughputMbps"].as_f64().expect("a figure");
        eprintln!("down {down:?} and {theirs}, up {up:?}, {:?}", cable.trouble());
        let near = |one: f64, two: f64| (one - two).abs() / one.max(two) <= 0.03;
        if near(down[0], down[1]) && near(down[1], theirs) && near(up[0], up[1]) || cable.trouble().is_some() && attempt == 3 {
            return;
        }
        assert!(attempt < 3, "down {down:?} and {theirs}, up {up:?}");
    }
}

/// Bytes by microseconds: MB/s.
#[track_caller]
fn share(bytes: &Value, micros: &Value) -> f64 {
    let pair = bytes.as_f64().zip(micros.as_f64());
    pair.map_or_else(|| panic!("{bytes} in {micros}"), |(bytes, micros)| bytes / micros)
}

/// What `ndt7-client` 0.3.1 says of a server, as it prints it; built by scripts/need.
fn foreign(addr: SocketAddr) -> Vec<Value> {
    let program = tool("ndt7-client");
    let mut command = Command::new(&program);
    command.args(["--no-tls", "--no-locate", "--server", &addr.to_string(), "--format", "json"]);
    let output = program::run(&command, 60);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}: {text}{}", program.display(), String::from_utf8_lossy(&output.stderr));
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// A program that scripts/need builds.
fn tool(name: &str) -> PathBuf {
    let built = kit::root().join("target/tools/bin").join(name);
    if built.is_file() {
        built
    } else {
        program::find(name).unwrap_or_else(|| panic!("{name} is missing; run scripts/test, which builds it"))
    }
}

/// A cable where there is root; where there is none, the test is told as skipped.
fn cable(text: &str, test: &str) -> Option<Cable> {
    let laid = Cable::lay(&text.parse().expect("a line"));
    laid.inspect_err(|error| program::skipped(test, &format!("no cable can be laid: {error}"))).ok()
}
