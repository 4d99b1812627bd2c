//! Commands, pages and metrics: what a person or a script sees of a node.

use crate::kit::dns::Dns;
use crate::kit::node::{Setup, binary};
use crate::kit::origin::{Origin, Reply, ok};
use crate::kit::pack;
use crate::kit::program::{self, Running};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

fn lesson() -> Origin {
    Origin::start(|_| Reply::Bytes(ok(&["Cache-Control: public, max-age=3600"], b"a lesson")))
}

#[test]
fn every_command_speaks_json() {
    let origin = lesson();
    // The doctor asks it whether names can be had.
    let dns = Dns::start(std::net::Ipv4Addr::LOCALHOST);
    let node = Setup::new().set("upstream.resolver", &format!("[\"{}\"]", dns.addr)).host("a.school.test", origin.addr).start();
    node.get("http://a.school.test/lesson");
    let commands: &[&[&str]] = &[
        &["status", "--json"],
        &["why", "http://a.school.test/lesson", "--json"],
        &["store", "stat", "--json"],
        &["link", "show", "--json"],
        &["pack", "list", "--json"],
        &["doctor", "--json"],
        &["config", "show", "--json"],
        &["config", "check", "--json"],
        &["user", "token", "list", "--json"],
    ];
    for words in commands {
        let output = node.command(words);
        let said = String::from_utf8_lossy(&output.stdout);
        // 3: done, but something needs attention (no hub, no packs).
        assert!(
            matches!(output.status.code(), Some(0 | 3)),
            "{words:?}: {:?} {said}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        let document: Result<serde_json::Value, _> = serde_json::from_str(&said);
        assert!(document.is_ok(), "{words:?} is not one document: {said}");
    }
    let purge = node.command(&["store", "purge", "--url", "http://a.school.test/lesson", "--json", "--yes"]);
    assert_eq!(purge.status.code(), Some(0), "{}", String::from_utf8_lossy(&purge.stderr));
    assert!(!node.get("http://a.school.test/lesson").is_hit(), "purged");
}

#[test]
fn a_node_that_does_not_run_is_exit_code_4() {
    let mut node = Setup::new().start();
    node.terminate();
    let check = node.command(&["store", "check", "--deep", "--json"]);
    assert_eq!(check.status.code(), Some(0), "a store at rest is clean: {}", String::from_utf8_lossy(&check.stdout));
    let output = node.command(&["status", "--json"]);
    assert_eq!(output.status.code(), Some(4), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(serde_json::from_slice::<serde_json::Value>(&output.stdout).is_ok(), "an error is a document too");
}

#[test]
fn misuse_is_exit_code_2() {
    // A bad address is one with or without a node.
    for words in [&["serve", "--no-such-option"][..], &["why", "ftp://a.kz/"], &["why", "a.kz", "--json"], &["why", "--json"]] {
        let output = program::run(Command::new(binary()).args(words), 20);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
    }
}

#[test]
fn what_works_otherwise_than_configured_needs_attention() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir_all(folder.path().join("packs")).expect("a folder");
    std::fs::write(folder.path().join("packs/unsigned.toml"), pack::text("x", "http://a.school.test/", &["a.school.test"]))
        .expect("a file");
    let setup = Setup::new().set("intercept.enabled", "true").set("proxy.tls_listen", "[\"127.0.0.1:0\"]");
    let node = setup.start_in(folder);
    let output = node.command(&["status"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "{said}");
    for wanted in
        ["health: intercept.enabled is set and nothing is opened", "health: proxy.tls_listen is set", "unsigned.toml is refused", "by TLS"]
    {
        assert!(said.contains(wanted), "no {wanted:?}: {said}");
    }
    let report: serde_json::Value = serde_json::from_slice(&node.command(&["doctor", "--json"]).stdout).expect("JSON");
    let packs = report["checks"].as_array().expect("checks").iter().find(|found| found["check"] == "packs").cloned().expect("looked at");
    assert!(packs["state"] == "attention" && packs["message"].as_str().is_some_and(|told| told.contains("unsigned.toml")), "{packs}");
}

#[test]
fn a_doctor_who_may_not_ask_the_node_says_so_and_guesses_nothing() {
    let dns = Dns::start(std::net::Ipv4Addr::LOCALHOST);
    let node = Setup::new().set("upstream.resolver", &format!("[\"{}\"]", dns.addr)).start();
    // The configuration may be read by everybody; state and store are the node's.
    let open = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(open.path(), std::fs::Permissions::from_mode(0o755)).expect("chmod");
    let config = open.path().join("school.toml");
    let text = std::fs::read_to_string(node.folder.path().join("school.toml")).expect("a file");
    let text = text.replacen("\"127.0.0.1:0\"", &format!("\"{}\"", node.proxy), 1);
    std::fs::write(&config, text).expect("a file");
    std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o644)).expect("chmod");
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(binary());
        command
    } else {
        std::fs::set_permissions(node.folder.path().join("state/bulak.sock"), std::fs::Permissions::from_mode(0o000)).expect("chmod");
        Command::new(binary())
    };
    command.args(["doctor", "--json", "--config"]).arg(&config).current_dir("/");
    let output = program::run(&command, 30);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(output.status.code(), Some(5), "{report}");
    let state = |check: &str| {
        let found = report["checks"].as_array().expect("checks").iter().find(|found| found["check"] == check);
        found.unwrap_or_else(|| panic!("no {check} in {report}"))["state"].as_str().expect("a state").to_owned()
    };
    assert_eq!(state("node"), "failed");
    for check in ["ports", "pac", "disk", "store", "packs", "local names", "https"] {
        assert_eq!(state(check), "unknown", "{check}: {report}");
    }
}

#[test]
fn metrics_are_clean_and_count() {
    let origin = lesson();
    let node = Setup::new().host("a.school.test", origin.addr).start();
    node.twice("http://a.school.test/lesson");
    let before = node.metric("bulak_requests_total", "cache=\"hit\"").expect("a counter");
    for _ in 0..3 {
        node.get("http://a.school.test/lesson");
    }
    assert_eq!(node.metric("bulak_requests_total", "cache=\"hit\""), Some(before + 3.0));
    assert!(node.metric("bulak_requests_total", "cache=\"miss\"").is_some_and(|misses| misses >= 1.0));
    assert_eq!(node.metric("bulak_upstream_requests_total", "foreground"), Some(1.0));
    let text = node.web("/metrics").text();
    assert!(!text.contains("a.school.test") && !text.contains("127.0.0.1:"), "no host and no client in labels");
    // Not every distribution has it: scripts/need says so.
    let Some(promtool) = program::find("promtool") else {
        return program::skipped("metrics_are_clean_and_count", "promtool is not installed");
    };
    let mut check = Command::new(promtool);
    let mut child =
        check.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("runs");
    child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("sends");
    let output = child.wait_with_output().expect("ends");
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_web_port_has_its_pages() {
    let node = Setup::new().start();
    for (path, kind) in [("/", "text/html"), ("/proxy.pac", "application/x-ns-proxy-autoconfig"), ("/healthz", ""), ("/readyz", "")] {
        let answer = node.web(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert!(answer.field("content-type").starts_with(kind), "{path}: {}", answer.field("content-type"));
    }
    assert!(node.web("/proxy.pac").text().contains("DIRECT"), "a dead box never cuts the class off");
    let stranger = crate::kit::http::get_direct(node.web, "evil.example", "/metrics");
    assert!(stranger.status >= 400, "a Host that is not ours: {}", stranger.status);
}

#[test]
fn ephemeral_needs_nothing_and_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(binary());
    command.args(["serve", "--ephemeral", "--policy", "rfc9111", "--json"]).current_dir(folder.path()).env("TMPDIR", folder.path());
    let mut child = Running(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("starts"));
    let mut line = String::new();
    BufReader::new(child.0.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    let ready: serde_json::Value = serde_json::from_str(&line).expect("one JSON line");
    assert_eq!(ready["ready"], true);
    let proxy = ready["proxy"].as_str().or_else(|| ready["proxy"][0].as_str()).expect("an address").parse().expect("an address");
    assert_eq!(crate::kit::http::get(proxy, "http://127.0.0.1:9/").status, 403, "private places stay closed");
    let id = rustix::process::Pid::from_raw(i32::try_from(child.0.id()).expect("an id")).expect("an id");
    rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("a signal");
    assert!(child.0.wait().expect("ends").success());
    let left: Vec<_> = std::fs::read_dir(folder.path()).expect("a folder").filter_map(Result::ok).map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}
