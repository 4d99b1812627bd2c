//! What is wrong is told, to the right person and about the right part: by status and doctor, by the first line of an error, by pages.

use crate::kit;
use crate::kit::dns::Dns;
use crate::kit::http;
use crate::kit::node::{Hub, Node, Setup, binary};
use crate::kit::origin::{Origin, Reply, ok};
use crate::kit::program::{self, document, said};
use std::process::Command;

const HUB: &str = "[hub]\nlisten = [\"127.0.0.1:0\"]\ndatabase = \"HERE/hub.sqlite\"\n";

/// Seconds at most: the status document is made anew every few seconds, and so is the hub's list of those revoked.
const PATIENCE: u64 = 60;

/// What the doctor says of one part: its state, and message with remedy.
fn doctor(node: &Node, check: &str) -> (String, String) {
    program::check(&document(&node.command(&["doctor", "--json"])), check)
}

/// Status as soon as it says this.
fn status(node: &Node, wanted: impl Fn(&str) -> bool) -> (String, Option<i32>) {
    let mut seen = (String::new(), None);
    kit::until("status says it", PATIENCE, || {
        let output = node.command(&["status"]);
        seen = (said(&output), output.status.code());
        wanted(&seen.0)
    });
    seen
}

#[test]
fn without_a_file_of_roots_a_node_serves_and_without_one_of_what_was_revoked_none_starts() {
    let origin = Origin::start(|_| Reply::Bytes(ok(&["Content-Type: text/plain"], b"a lesson")));
    let missing = |key: &str| {
        let folder = tempfile::tempdir().expect("a folder");
        let file = format!("[\"{}\"]", folder.path().join("ministry.pem").display());
        Setup::new().set(key, &file).host("h.school.test", origin.addr).try_start_in(folder)
    };
    let told = |node: &Node| {
        let (state, told) = doctor(node, "trust");
        assert!(state == "failed" && told.contains("ministry.pem") && told.contains("put the file back"), "{state}: {told}");
    };
    let (node, started) = missing("upstream.extra_roots");
    started.expect("less is trusted, and all else works");
    assert_eq!(http::get(node.proxy, "http://h.school.test/lesson").body, b"a lesson");
    let (words, exit) = status(&node, |words| words.contains("ministry.pem"));
    assert!(words.contains("trust lacks roots") && exit != Some(0), "{exit:?}: {words}");
    told(&node);
    let (node, started) = missing("upstream.crls");
    let why = started.expect_err("more would be trusted");
    assert!(why.contains("ministry.pem") && why.contains("upstream.crls"), "{why}");
    told(&node);
}

/// As in a unit file or a container, where quotes survive: read as every other value of the environment.
#[test]
fn commands_find_the_node_by_the_socket_that_the_environment_names() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("s.sock").display().to_string();
    for written in [format!("\"{socket}\""), socket] {
        let node = Setup::new().env("BULAK_NODE__SOCKET", &written).start();
        let mut command = Command::new(binary());
        command.arg("status").arg("--config").arg(node.folder.path().join("school.toml")).env("BULAK_NODE__SOCKET", &written);
        let output = program::run(&command, 60);
        assert_ne!(output.status.code(), Some(4), "{written}: {}", said(&output));
    }
}

#[test]
fn a_node_that_its_hub_has_revoked_says_so_until_it_is_let_in_again() {
    const WORDS: &str = "reports do not reach the region";
    // The doctor asks it whether names can be had: a failure there would hide the hub's.
    let dns = Dns::start(std::net::Ipv4Addr::LOCALHOST);
    let hub = Hub::start(HUB);
    let node =
        Setup::new().set("upstream.resolver", &format!("[\"{}\"]", dns.addr)).set("hub.url", &format!("\"http://{}\"", hub.addr)).start();
    let code = || {
        let made = hub.command(&["code", "aksukent-7", "--json"], "");
        document(&made)["code"].as_str().expect("a code").to_owned()
    };
    let joined = node.command(&["hub", "join", &code()]);
    assert!(joined.status.success(), "{}", said(&joined));
    node.report();
    let (told, exit) = status(&node, |told| told.contains("1 told, 0 wait") || told.contains("2 told, 0 wait"));
    assert!(!told.contains(WORDS) && exit == Some(0), "{told}");
    assert_eq!(doctor(&node, "hub").0, "fine");

    let id = node.local("GET", "/api/v1/reports")["node"].as_str().expect("an id").to_owned();
    assert!(hub.command(&["revoke", &id], "").status.success());
    kit::until("the hub refuses", PATIENCE, || !node.report()["flushed"]["trouble"].is_null());
    let (told, exit) = status(&node, |told| told.contains(WORDS));
    assert!(told.contains(WORDS) && told.contains("bulak hub join CODE") && exit == Some(3), "{told}");
    let (state, why) = doctor(&node, "hub");
    assert!(state == "failed" && why.contains("does not know this node") && why.contains("bulak hub join CODE"), "{state}: {why}");

    let again = node.command(&["hub", "join", &code()]);
    assert!(again.status.success(), "{}", said(&again));
    let (told, exit) = status(&node, |told| !told.contains(WORDS));
    assert!(!told.contains(WORDS) && exit == Some(0), "{told}");
}

#[test]
fn a_hub_at_a_private_address_is_not_blamed_on_the_line() {
    // The doctor asks it whether names can be had: a failure there would hide the hub's.
    let dns = Dns::start(std::net::Ipv4Addr::LOCALHOST);
    let hub = Hub::start(HUB);
    let node = Setup::new()
        .set("upstream.resolver", &format!("[\"{}\"]", dns.addr))
        .set("hub.url", &format!("\"http://{}\"", hub.addr))
        .set("proxy.allow_private_targets", "[]")
        .start();
    let joined = said(&node.command(&["hub", "join", "7KQ2MPX4W9TC"]));
    assert!(joined.contains("proxy.allow_private_targets") && !joined.contains("the line"), "{joined}");
    node.report();
    let (told, exit) = status(&node, |told| told.contains("proxy.allow_private_targets"));
    assert!(told.contains("proxy.allow_private_targets") && exit == Some(3), "{told}");
    assert_eq!(doctor(&node, "hub").0, "failed");
}

#[test]
fn a_quota_beyond_the_disk_and_a_node_that_does_not_run_are_told() {
    let mut node = Setup::new().set("store.quota", "\"900 TiB\"").start();
    let (told, exit) = status(&node, |told| told.contains("larger than the disk"));
    assert!(told.contains("store.quota \"900 TiB\" is larger than the disk") && told.contains("choose less") && exit == Some(3), "{told}");
    assert_eq!(doctor(&node, "disk").0, "failed");
    node.terminate();
    let (state, why) = doctor(&node, "node");
    assert!(state == "failed" && why.contains("no node runs here") && why.contains("bulak serve"), "{state}: {why}");
    assert_eq!(node.command(&["doctor"]).status.code(), Some(1));
}

#[test]
fn a_mistake_is_blamed_on_whoever_made_it() {
    let node = Setup::new().env("BULAK_NODE__LOG", "info").start();
    let missing = said(&node.command(&["config", "check", "/nonexistent/school.toml"]));
    assert!(missing.contains("error: /nonexistent/school.toml is not there; name another file"), "{missing}");
    assert!(!missing.contains("mistake"), "there is nothing in it to mend: {missing}");
    let changed = document(&node.command(&["config", "show", "--changed", "--json"]));
    assert!(changed["node.state"].is_object(), "{changed}");
}

#[test]
fn an_address_that_leads_nowhere_is_a_page_for_people_and_a_document_for_programs() {
    let node = Setup::new().start();
    let ask = |fields: &str| {
        let head = format!("GET /nowhere HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{fields}\r\n", node.web);
        http::exchange(node.web, head.as_bytes())
    };
    let person = ask("Accept: text/html,application/xhtml+xml\r\nAccept-Language: ru\r\n");
    assert_eq!(person.status, 404);
    assert!(person.field("content-type").starts_with("text/html") && person.text().contains("Такой страницы нет"), "{}", person.text());
    let program = ask("");
    assert_eq!((program.status, program.field("content-type").as_str()), (404, "application/problem+json"));
}
