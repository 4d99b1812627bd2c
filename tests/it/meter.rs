//! Speed tests of a node, with another node as the server: what a person sees, what is counted, what becomes of a test that is broken off.

use crate::kit;
use crate::kit::line::Line;
use crate::kit::node::{Node, Setup};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

/// A node that tests its line with another one.
fn pair(set: &[(&str, &str)]) -> (Node, Node) {
    let server = Setup::new().start();
    (beside(server.web, set), server)
}

/// A node that tests its line with what listens there.
fn beside(server: SocketAddr, set: &[(&str, &str)]) -> Node {
    let place = format!("[\"ws://{server} domestic\"]");
    let mut setup = Setup::new().set("meter.servers", &place).set("meter.slots", "[]").set("meter.startup", "false");
    for (key, value) in set {
        setup = setup.set(key, value);
    }
    setup.start()
}

fn document(node: &Node, words: &[&str]) -> (Option<i32>, Value) {
    let output = node.command(words);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let document = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{words:?}: {text}{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), document)
}

#[test]
fn a_person_tests_the_line_and_sees_what_it_is_and_what_it_cost() {
    // Downwards a line of 16 Mbit/s; upwards it is as fast as loopback, so that the day is what ends it: also that is told.
    let server = Setup::new().start();
    let line = Line::slow(kit::loopback(0), server.web, 2 << 20).expect("a line");
    let node = beside(line.addr, &[("meter.day", "\"60 MB\""), ("meter.contract_down", "\"8 Mbit/s\"")]);
    let (_, plan) = document(&node, &["link", "test", "--dry-run", "--json"]);
    assert_eq!(plan["allowance_bytes"], 20_000_000, "{plan}");
    assert!(node.local("GET", "/api/v1/link/tests")["tests"].as_array().is_some_and(Vec::is_empty), "nothing was sent");

    let (code, told) = document(&node, &["link", "test", "--json"]);
    assert!(matches!(code, Some(0 | 3)), "{code:?} {told}");
    let test = &told["test"]["test"];
    assert!(test["download"]["moved_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{told}");
    assert_eq!((&test["trigger"], &test["reach"]), (&"manual".into(), &"domestic".into()));
    let cost = test["cost_bytes"].as_u64().expect("a number");
    assert!(cost > 0 && told["today"]["spent_today_bytes"] == cost, "{told}");
    assert_eq!(told["today"]["left_today_bytes"].as_u64(), Some(60_000_000_u64.saturating_sub(cost)));
    // What passed is counted as what it was.
    let counted = node.metric("bulak_link_test_bytes_total", "").expect("a counter");
    assert!((counted - kit_float(cost)).abs() < 1.0, "{counted} {cost}");

    let shown = node.command(&["link", "show"]);
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    for wanted in ["tests today", "of 60.0 MB", "8.0 Mbit/s down", " up"] {
        assert!(text.contains(wanted), "{wanted} in\n{text}");
    }
    let people = node.command(&["link", "test"]);
    let text = String::from_utf8_lossy(&people.stdout).into_owned();
    for wanted in ["download", "cost", "are left today"] {
        assert!(text.contains(wanted), "{wanted} in\n{text}{}", String::from_utf8_lossy(&people.stderr));
    }
    // Nothing of it names anybody.
    assert!(!node.log_text().contains("ws://127.0.0.1/"), "{}", node.log_text());
}

#[expect(clippy::cast_precision_loss, reason = "bytes of a test")]
fn kit_float(bytes: u64) -> f64 {
    bytes as f64
}

#[test]
fn the_days_bytes_are_the_end_of_it() {
    // 8 Mbit/s: on loopback more than a day's bytes is on its way before anybody can hang up.
    let server = Setup::new().start();
    let line = Line::slow(kit::loopback(0), server.web, 1 << 20).expect("a line");
    let node = beside(line.addr, &[("meter.day", "\"3 MB\"")]);
    for _ in 0..8 {
        document(&node, &["link", "test", "--json"]);
    }
    let view = node.local("GET", "/api/v1/link/tests");
    let newest = &view["tests"][0]["test"];
    assert_eq!((&newest["end"], &newest["trouble"], &newest["cost_bytes"]), (&"passive".into(), &"budget".into(), &0.into()), "{view}");
    let spent = view["spent_today_bytes"].as_u64().expect("a number");
    assert!(spent > 0 && spent <= 3_000_000 && view["left_today_bytes"] == 3_000_000 - spent, "{view}");
}

#[test]
fn nobody_to_test_with_is_told_with_a_remedy() {
    let node = Setup::new().start();
    let (code, told) = document(&node, &["link", "test", "--json"]);
    assert_eq!((code, &told["id"]), (Some(1), &"meter.no_server".into()), "{told}");
    assert!(told["remedy"].as_str().is_some_and(|remedy| remedy.contains("meter.servers") && remedy.contains("hub.url")), "{told}");
}

#[test]
fn a_server_that_is_none_is_told_with_a_remedy() {
    let nothing = kit::loopback(kit::free_port());
    let node = Setup::new().set("meter.servers", &format!("[\"ws://{nothing}\"]")).start();
    let (code, told) = document(&node, &["link", "test", "--json"]);
    assert_eq!((code, &told["id"]), (Some(1), &"meter.no_figure".into()), "{told}");
    let view = node.local("GET", "/api/v1/link/tests");
    let newest = &view["tests"][0]["test"];
    assert_eq!((&newest["end"], &newest["trouble"]), (&"failed".into(), &"refused".into()), "{view}");
}

#[test]
fn ctrl_c_ends_a_test_at_once_and_what_it_took_is_counted() {
    // Sixty seconds' worth: the whole ten seconds of a full test would be long enough to break in.
    let (node, _server) = pair(&[("meter.day", "\"40 GB\""), ("meter.month", "\"400 GB\"")]);
    let config = node.folder.path().join("school.toml");
    let mut child = Command::new(kit::node::binary());
    child.args(["link", "test", "--full", "--no-progress", "--config"]).arg(&config).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = child.spawn().expect("starts");
    kit::until("the test has begun", 60, || {
        let jobs = node.local("GET", "/api/v1/jobs");
        jobs["jobs"][0]["done"].as_u64().is_some_and(|done| done > 0)
    });
    let id = Pid::from_raw(i32::try_from(child.id()).expect("an id")).expect("an id");
    kill_process(id, Signal::INT).expect("it runs");
    let output = child.wait_with_output().expect("ends");
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("was ended; it took"), "{said}");
    let view = node.local("GET", "/api/v1/link/tests");
    let newest = &view["tests"][0]["test"];
    assert_eq!(newest["trouble"], "cancelled", "{view}");
    assert!(view["spent_today_bytes"].as_u64().is_some_and(|spent| spent > 0), "{view}");
}

#[test]
fn a_power_cut_in_a_test_costs_what_it_might_have_taken() {
    let (mut node, _server) = pair(&[("meter.day", "\"9 GB\""), ("meter.month", "\"90 GB\"")]);
    let socket = node.folder.path().join("state/bulak.sock");
    let begun = kit::http::local_with(&socket, "POST", "/api/v1/link/tests", r#"{"full": true}"#);
    assert_eq!(begun.status, 202, "{}", begun.text());
    kit::until("the test has begun", 60, || {
        let jobs = node.local("GET", "/api/v1/jobs");
        jobs["jobs"][0]["done"].as_u64().is_some_and(|done| done > 0)
    });
    let before = node.local("GET", "/api/v1/link/tests");
    assert_eq!(before["spent_today_bytes"], 0, "it is not over");
    node.kill();
    node.restart();
    let after = node.local("GET", "/api/v1/link/tests");
    assert!(after["spent_today_bytes"].as_u64().is_some_and(|spent| spent >= 9_000_000_000), "{after}");
}

#[test]
fn what_is_slow_is_looked_at_without_a_script() {
    let node = Setup::new().start();
    let begin = node.web("/slow?lang=en");
    assert!(begin.text().contains("What is slow?") && begin.text().contains("name=\"site\""), "{}", begin.text());
    let looking = node.web("/slow/look?site=&lang=en").text();
    let number = looking.split("load.bmp?v=").nth(1).and_then(|rest| rest.get(..16)).expect("a number").to_owned();
    let picture = node.web(&format!("/slow/load.bmp?v={number}"));
    assert_eq!((picture.status, picture.field("content-type")), (200, "image/bmp".into()));
    assert!(picture.body.len() > 1_000_000, "{} bytes", picture.body.len());
    let found = node.web(&format!("/slow?v={number}&lang=en")).text();
    assert!(found.contains("This Wi-Fi") && found.contains("Mbit/s"), "{found}");
    let link = found.split("href=\"").find(|rest| rest.contains("lang=ru\" hreflang")).and_then(|rest| rest.split('"').next());
    let again = node.web(&link.expect("a link").replace("&#38;", "&")).text();
    assert!(again.contains("<html lang=\"ru\">") && again.contains("Мбит/с"), "the same look, in another language: {again}");
    assert_eq!(node.web("/slow/load.bmp?v=0123456789abcdef").status, 503, "a picture is for a look");
}
