//! The line fails in different ways, each by real parts: a silent host, dead names, a cut cable, a lost interface, a clock that is set. The
//! node's log of outages tells them apart; pings say what the line loses.

use crate::kit;
use crate::kit::dns::Dns;
use crate::kit::line::Line as Wire;
use crate::kit::node::{Hub, Node, Setup};
use crate::kit::origin::{Ask, Origin, Reply, ok};
use crate::kit::{http, program};
use crate::line::Cable;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

/// How long a cause may take to be told: dialling, the second opinion, ten seconds of being sure; far more on a busy machine.
const SOON: u64 = 120;

/// What is amiss, by the node's log.
fn open(node: &Node) -> Vec<String> {
    whats(&node.local("GET", "/api/v1/link/outages")["open"])
}

/// Everything that its log has told.
fn told(node: &Node) -> Vec<String> {
    let mut all = whats(&node.local("GET", "/api/v1/link/outages")["outages"]);
    all.sort();
    all.dedup();
    all
}

fn whats(list: &Value) -> Vec<String> {
    let what = |kept: &Value| kept["event"]["what"].as_str().expect("a word").to_owned();
    list.as_array().expect("a list").iter().map(what).collect()
}

fn page() -> Origin {
    // Every answer on a connection of its own: each fetch dials.
    Origin::start(|_: &Ask| Reply::Bytes(ok(&["Cache-Control: no-store", "Connection: close"], b"page")))
}

fn quick(setup: Setup) -> Setup {
    setup.set("upstream.connect_timeout", "\"2 s\"").set("upstream.resolve_timeout", "\"1 s\"")
}

/// Asks for pages until the node's log says so; the asking is what makes trouble seen.
fn until_told(node: &Node, what: &str, ask: impl Fn(usize)) {
    let mut number = 0;
    kit::until(&format!("{what} is told"), SOON, || {
        number += 1;
        ask(number);
        std::thread::sleep(Duration::from_millis(300));
        if what.is_empty() { open(node).is_empty() } else { open(node) == [what] }
    });
}

#[test]
fn a_silent_host_dead_names_and_a_dead_line_are_three_things() {
    let (origin, dns) = (page(), Dns::start(Ipv4Addr::LOCALHOST));
    let (one, other) = (Wire::to(origin.addr), Wire::to(origin.addr));
    let node = quick(Setup::new()).set("upstream.resolver", &format!("[\"{}\"]", dns.addr)).start();
    let get = |name: &str, wire: &Wire| node.get(&format!("http://{name}.school.test:{}/", wire.addr.port()));
    assert_eq!((get("one", &one).status, get("other", &other).status), (200, 200));

    one.cut();
    until_told(&node, "origin_down", |_| {
        get("one", &one);
        assert_eq!(get("other", &other).status, 200, "the line works");
    });
    one.mend();
    until_told(&node, "", |_| drop(get("one", &one)));

    dns.cut();
    // Addresses that are known still answer, names that are not do not.
    until_told(&node, "names_down", |number| drop(get(&format!("new{number}"), &other)));
    dns.mend();
    until_told(&node, "", |number| drop(get(&format!("newer{number}"), &other)));
    assert_eq!(told(&node), ["names_down", "origin_down"], "the line was never down");

    one.cut();
    other.cut();
    until_told(&node, "line_down", |_| drop(get("other", &other)));
    one.mend();
    other.mend();
    until_told(&node, "", |_| drop(get("other", &other)));
    assert_eq!(told(&node), ["line_down", "names_down", "origin_down"]);

    // Nobody learns from it where the class has been.
    let text = node.local("GET", "/api/v1/link/outages").to_string();
    assert!(!text.contains("school.test") && !text.contains("127.0.0.1"), "{text}");
    let shown = node.command(&["link", "show"]);
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    for wanted in ["outages in 31 days", "line down 1×", "no DNS server answers", "a host is silent", "names  "] {
        assert!(text.contains(wanted), "{wanted} in\n{text}");
    }
    assert_eq!(node.metric("bulak_link_outages_total", "line_down"), Some(1.0));
    assert_eq!(node.metric("bulak_link_outage", "line_down"), Some(0.0));
}

#[test]
fn an_outage_that_a_power_cut_ends_is_told_once() {
    let origin = page();
    let wire = Wire::to(origin.addr);
    let mut node = quick(Setup::new()).host("a.school.test", wire.addr).start();
    assert_eq!(node.get("http://a.school.test/").status, 200);
    wire.cut();
    until_told(&node, "line_down", |_| drop(node.get("http://a.school.test/")));
    // What is told is on the disk a moment later.
    let is_kept = || node.local("GET", "/api/v1/link/outages")["outages"][0]["number"].as_i64().is_some_and(|number| number > 0);
    kit::until("it is kept", SOON, is_kept);
    wire.mend();
    node.kill();
    node.restart();
    assert_eq!(node.get("http://a.school.test/").status, 200);
    let log = node.local("GET", "/api/v1/link/outages");
    let outages = log["outages"].as_array().expect("a list");
    assert_eq!((whats(&log["open"]).len(), outages.len()), (0, 1), "{log}");
    assert_eq!((&outages[0]["event"]["open"], &outages[0]["event"]["what"]), (&false.into(), &"line_down".into()));
}

#[test]
fn a_clock_that_is_set_is_told_and_stretches_nothing() {
    let preload = program::faketime();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("clock");
    std::fs::write(&file, "+0").expect("a file");
    let setup = Setup::new().env("LD_PRELOAD", &preload.display().to_string()).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let setup = setup.env("FAKETIME_TIMESTAMP_FILE", &file.display().to_string()).env("FAKETIME_CACHE_DURATION", "1");
    let node = setup.start();
    kit::until("the node has looked", 60, || node.metric("bulak_link_outage", "clock_wrong") == Some(0.0));
    for (number, step) in ["+5h", "-2h"].into_iter().enumerate() {
        std::fs::write(&file, step).expect("a file");
        kit::until("the step is told", SOON, || {
            let log = node.local("GET", "/api/v1/link/outages");
            let steps = whats(&log["outages"]).iter().filter(|what| *what == "clock_wrong").count();
            let seconds: u64 = log["outages"].as_array().into_iter().flatten().filter_map(|kept| kept["event"]["seconds"].as_u64()).sum();
            assert_eq!(seconds, 0, "a step has no length: {log}");
            steps > number
        });
    }
    assert_eq!(told(&node), ["clock_wrong"]);
}

/// A cable where there is root; where there is none, the test is told as skipped.
fn cable(test: &str, text: &str) -> Option<Cable> {
    let line = text.parse().unwrap_or_else(|why| panic!("{why}"));
    Cable::lay(&line).inspect_err(|error| program::skipped(test, &format!("no cable can be laid: {error}"))).ok()
}

/// A node at the school's end.
fn school(cable: &Cable, setup: Setup) -> Node {
    let words = cable.near.words();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    quick(setup).set("proxy.allow_private_targets", "[\"198.18.0.0/15\"]").under(&words).start()
}

/// A web server at the world's end.
fn world(cable: &Cable) -> SocketAddr {
    let listener = cable.far.enter(|| TcpListener::bind((cable.far.addr, 0))).expect("a port");
    let addr = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let _read = stream.read(&mut [0; 4_096]); // whatever it asks for
                let head = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nCache-Control: no-store\r\nConnection: close\r\n\r\npage";
                let _sent = stream.write_all(head.as_bytes()); // the asker may be gone
            });
        }
    });
    addr
}

#[test]
fn an_interface_that_disappears_is_not_the_providers_fault() {
    let Some(cable) = cable("an_interface_that_disappears_is_not_the_providers_fault", "20/20 Mbit/s, 10 ms") else { return };
    // A modem beside the emulated line: the default route is its.
    let plug = "link add up0 type veth peer name up1\naddr add 192.0.2.1/24 dev up0\nlink set up1 up\nlink set up0 up\n\
                route add default via 192.0.2.2 dev up0\n";
    if let Err(error) = cable.near.configure(plug) {
        return program::skipped("an_interface_that_disappears_is_not_the_providers_fault", &error.to_string());
    }
    let addr = world(&cable);
    let node = school(&cable, Setup::new().host("a.school.test", addr));
    let get = || cable.near.enter(|| http::get(node.proxy, "http://a.school.test/").status);
    assert_eq!(get(), 200);
    kit::until("the node has looked", 60, || node.metric_in(&cable, "bulak_link_outage") == Some(0.0));
    cable.near.configure("link del up0\n").expect("it was there");
    until_told(&node, "interface_lost", |_| ());
    let status = node.command(&["status"]);
    let text = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(text.contains("no interface"), "{text}");
    cable.near.configure(plug).expect("plugged in again");
    until_told(&node, "", |_| ());
    assert_eq!(told(&node), ["interface_lost"]);
}

#[test]
fn a_cable_that_was_pulled_while_the_box_was_off_is_told_as_such() {
    let Some(cable) = cable("a_cable_that_was_pulled_while_the_box_was_off_is_told_as_such", "20/20 Mbit/s, 10 ms") else { return };
    let plug = "link add up0 type veth peer name up1\naddr add 192.0.2.1/24 dev up0\nlink set up1 up\nlink set up0 up\n\
                route add default via 192.0.2.2 dev up0\n";
    if let Err(error) = cable.near.configure(plug) {
        return program::skipped("a_cable_that_was_pulled_while_the_box_was_off_is_told_as_such", &error.to_string());
    }
    let addr = world(&cable);
    let mut node = school(&cable, Setup::new().host("a.school.test", addr));
    let get = |node: &Node| cable.near.enter(|| http::get(node.proxy, "http://a.school.test/").status);
    assert_eq!(get(&node), 200);
    kit::until("the node has looked", 60, || node.metric_in(&cable, "bulak_link_outage") == Some(0.0));
    node.terminate();
    cable.near.configure("link del up0\n").expect("it was there");
    cable.cut();
    node.restart();
    until_told(&node, "interface_lost", |_| assert_ne!(get(&node), 200, "nothing gets through"));
    cable.near.configure(plug).expect("plugged in again");
    cable.mend();
    until_told(&node, "", |_| ());
    assert_eq!(told(&node), ["interface_lost"]);
}

#[test]
fn a_cut_cable_is_the_line_and_its_mending_is_seen_without_anybody_asking() {
    let Some(cable) = cable("a_cut_cable_is_the_line_and_its_mending_is_seen_without_anybody_asking", "8/2 Mbit/s, 60 ms") else { return };
    let addr = world(&cable);
    let node = school(&cable, Setup::new().host("a.school.test", addr));
    let get = || cable.near.enter(|| http::get(node.proxy, "http://a.school.test/").status);
    assert_eq!(get(), 200);
    cable.cut();
    until_told(&node, "line_down", |_| assert_ne!(get(), 200, "nothing gets through"));
    cable.mend();
    until_told(&node, "", |_| ());
    let log = node.local("GET", "/api/v1/link/outages");
    assert_eq!(told(&node), ["line_down"]);
    assert!(log["outages"][0]["event"]["seconds"].as_u64().is_some_and(|seconds| seconds >= 10), "{log}");
}

#[test]
fn pings_tell_what_the_line_loses_and_how_long_it_takes() {
    let Some(cable) = cable("pings_tell_what_the_line_loses_and_how_long_it_takes", "8/2 Mbit/s, 60 ms, 10 %") else { return };
    let hub =
        Hub::start_under(&cable.far.words(), &format!("[hub]\nlisten = [\"{}:8090\"]\ndatabase = \"HERE/hub.sqlite\"\n", cable.far.addr));
    let node = school(&cable, Setup::new().set("hub.url", &format!("\"http://{}:8090\"", cable.far.addr)));
    let mut sums = [0; 2];
    kit::until("eighty pings were sent", 240, || {
        let kept = node.local("POST", "/api/v1/link/pings");
        let ping = &kept["ping"];
        // The question for the port may be lost, or the line be taken for down for a moment: then there is no burst.
        let Some(sent) = ping["sent"].as_u64() else { return false };
        let received = ping["received"].as_u64().expect("a count");
        sums = [sums[0] + sent, sums[1] + received];
        assert!(received + ping["late"].as_u64().expect("a count") <= sent, "{kept}");
        if let Some(least) = ping["rtt_min_ms"].as_f64() {
            assert!(least >= 60.0, "{kept}");
        }
        sums[0] >= 80
    });
    // Of a hundred packets 81 come back.
    assert!(sums[1] < sums[0] && sums[1] > sums[0] / 2, "{sums:?}");
    let view = node.local("GET", "/api/v1/link/pings");
    // The node's own burst of the quarter of an hour may be among them.
    assert!(view["sent"].as_u64() >= Some(sums[0]) && view["received"].as_u64() >= Some(sums[1]), "{view}");
    let told = cable.far.enter(|| http::get_direct(hub.addr, &hub.addr.to_string(), "/metrics").text());
    assert!(told.contains("bulak_hub_echo_packets_total{fate=\"pong\"}"), "{told}");
    let tests = node.local("GET", "/api/v1/link/tests");
    assert!(tests["spent_today_bytes"].as_u64().is_some_and(|spent| spent >= sums[0] * 92), "paid for: {tests}");
}

impl Node {
    /// A gauge of a node in a cable's near end, all labels together.
    fn metric_in(&self, cable: &Cable, name: &str) -> Option<f64> {
        cable.near.enter(|| self.metric(name, ""))
    }
}
