//! What commands advise can be followed: what is in force is told from what is written, and each remedy is tried as it stands.

use crate::kit;
use crate::kit::dns::Dns;
use crate::kit::http;
use crate::kit::node::{Hub, Node, Setup, binary, copied};
use crate::kit::origin::{Origin, Reply, ok};
use crate::kit::program::{self, check, document, said};
use serde_json::Value;
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Output};

/// Nobody, who owns nothing.
const NOBODY: u32 = 65_534;

/// Seconds at most: the status document is made anew every few seconds.
const PATIENCE: u64 = 60;

/// Status once it says this, and its exit code.
fn status(node: &Node, words: &str) -> (String, Option<i32>) {
    let mut seen = (String::new(), None);
    kit::until("status says it", PATIENCE, || {
        let output = node.command(&["status"]);
        seen = (said(&output), output.status.code());
        seen.0.contains(words)
    });
    seen
}

/// The program's own words, without a node.
fn bulak(words: &[&str]) -> Output {
    program::run(Command::new(binary()).args(words), 60)
}

#[test]
fn what_counts_only_after_a_restart_is_told_by_every_command() {
    // The doctor asks it whether names can be had: a failure there would hide the hub's.
    let dns = Dns::start(Ipv4Addr::LOCALHOST);
    let mut node = Setup::new().set("upstream.resolver", &format!("[\"{}\"]", dns.addr)).start();
    let file = node.folder.path().join("school.toml");
    let before = fs::read_to_string(&file).expect("a file");
    let quota = before.replace("quota = \"1 GiB\"", "quota = \"2 GiB\"");
    assert_ne!(before, quota);
    fs::write(&file, format!("{quota}[hub]\nurl = \"http://127.0.0.1:9\"\n")).expect("a file");

    let shown = document(&node.command(&["config", "show", "--json"]));
    assert_eq!((&shown["store.quota"]["value"], &shown["store.quota"]["in_force"]), (&"2 GiB".into(), &"1 GiB".into()));
    assert!(shown["hub.url"].get("in_force").is_some() && shown["node.name"].get("in_force").is_none(), "{}", shown["hub.url"]);

    node.hangup();
    let (told, exit) = status(&node, "hub.url, store.quota: changed, counts only after a restart");
    assert!(told.contains("systemctl restart bulak") && exit == Some(3), "{told}");
    let joined = said(&node.command(&["hub", "join", "7KQ2MPX4W9TC"]));
    assert!(joined.contains("no hub is configured") && joined.contains("restart the node"), "{joined}");
    let report = document(&node.command(&["doctor", "--json"]));
    let (state, why) = check(&report, "configuration");
    assert!(state == "attention" && why.contains("hub.url, store.quota") && why.contains("restart"), "{why}");
    let (state, why) = check(&report, "hub");
    assert!(state == "attention" && why.contains("runs with no hub") && why.contains("restart"), "{why}");

    // What is refused is told as well, by commands that read the same file and yet find the node, and what waits still waits.
    fs::write(&file, format!("{quota}[night]\nwindows = \"always\"\n")).expect("a file");
    node.hangup();
    let notices = || node.local("GET", "/api/v1/status")["notices"].to_string();
    kit::until("the refusal is told", PATIENCE, || notices().contains("the changed configuration is refused"));
    assert!(notices().contains("has 1 mistake") && notices().contains("hub.url, store.quota"), "{}", notices());
    let (told, exit) = status(&node, "the changed configuration is refused");
    assert!(told.contains("to devices") && exit == Some(3), "{told}");
    let report = document(&node.command(&["doctor", "--json"]));
    assert_eq!(check(&report, "node").0, "fine", "{report}");
    assert!(check(&report, "configuration").1.contains("night.windows"), "{report}");
    fs::write(&file, quota).expect("a file");
    node.terminate();
    node.restart();
    let told = said(&node.command(&["status"]));
    assert!(!told.contains("counts only after a restart") && !told.contains("is refused"), "{told}");
}

#[test]
fn a_hub_that_only_upstream_hosts_knows_is_judged_by_what_it_takes() {
    let dns = Dns::start(Ipv4Addr::LOCALHOST);
    let hub = Hub::start("[hub]\nlisten = [\"127.0.0.1:0\"]\ndatabase = \"HERE/hub.sqlite\"\n");
    let setup = Setup::new().set("upstream.resolver", &format!("[\"{}\"]", dns.addr));
    let node = setup.host("hub.invalid", hub.addr).set("hub.url", "\"http://hub.invalid\"").start();
    let judged = || check(&document(&node.command(&["doctor", "--json"])), "hub");
    let code = document(&hub.command(&["code", "aksukent-7", "--json"], ""))["code"].as_str().expect("a code").to_owned();
    let joined = node.command(&["hub", "join", &code]);
    assert!(joined.status.success(), "{}", said(&joined));
    assert_eq!(node.report()["flushed"]["trouble"], Value::Null);
    kit::until("the doctor sees it", PATIENCE, || judged().1.contains("takes reports"));
    assert_eq!(judged().0, "fine");
}

#[test]
fn the_nodes_key_is_where_the_hub_s_file_says() {
    let node = Setup::new().start();
    let key = node.key();
    assert!(key.len() == 64 && fs::read_to_string(kit::root().join("config/hub.toml")).expect("a file").contains("`bulak status`"));
    status(&node, &key);
}

/// A command as nobody, with the program where nobody may run it.
fn as_nobody(program: &Path, words: &[&str]) -> Output {
    let mut command = Command::new("setpriv");
    command.args([&format!("--reuid={NOBODY}"), &format!("--regid={NOBODY}"), "--clear-groups"]).arg(program).args(words);
    program::run(&command, 60)
}

/// Whether a test may become somebody else.
fn may_change_users(test: &str) -> bool {
    let may = fs::metadata("/proc/self").expect("Linux").uid() == 0 && program::find("setpriv").is_some();
    if !may {
        program::skipped(test, "becoming another user needs root and setpriv");
    }
    may
}

#[test]
fn a_configuration_that_is_closed_to_a_user_is_no_mistake_in_it() {
    if !may_change_users("a_configuration_that_is_closed_to_a_user_is_no_mistake_in_it") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    let (program, file) = (copied(folder.path()), folder.path().join("school.toml"));
    fs::write(&file, "[node]\nname = \"abay-12\"\n").expect("a file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("ours");
    let file = file.display().to_string();
    for words in [["status"], ["doctor"]] {
        let output = as_nobody(&program, &[&words[..], &["--config", &file]].concat());
        let told = said(&output);
        assert!(told.contains("may not be read by this user") && told.contains("sudo") && !told.contains("mistake"), "{told}");
        assert_eq!(output.status.code(), Some(5), "{told}");
    }
}

#[test]
fn a_bundle_comes_in_and_goes_out_as_the_remedies_say() {
    if !may_change_users("a_bundle_comes_in_and_goes_out_as_the_remedies_say") {
        return;
    }
    let origin = Origin::start(|_| Reply::Bytes(ok(&["Cache-Control: public, max-age=3600"], b"a lesson")));
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    chown(folder.path(), Some(NOBODY), Some(NOBODY)).expect("root may");
    let program = copied(folder.path());
    let words = format!("shift; exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups {} \"$@\"", program.display());
    let setup = Setup::new().host("o.school.test", origin.addr).under(&["sh", "-c", &words, "sh"]);
    let mut node = setup.start_in(folder);
    assert_eq!(node.twice("http://o.school.test/1").text(), "a lesson");

    // Root's own folder: closed to the node.
    let closed = tempfile::tempdir().expect("a folder");
    fs::set_permissions(closed.path(), fs::Permissions::from_mode(0o700)).expect("ours");
    let bundle = closed.path().join("bundle");
    let bundle = bundle.to_str().expect("a path");
    let export = |node: &Node| node.command(&["store", "export", "--to", bundle, "--all", "--yes"]);
    let refused = said(&export(&node));
    assert!(refused.contains("stop the node and run this as root"), "{refused}");
    node.terminate();
    let exported = export(&node);
    assert!(exported.status.success(), "{}", said(&exported));
    // Root has left nothing behind that the node could not use.
    node.restart();
    assert!(node.get("http://o.school.test/1").is_hit());

    let refused = node.command(&["store", "import", bundle]);
    let told = said(&refused);
    assert!(told.contains("copy the folder below node.state") && told.contains("chown") && !told.contains("stop the node"), "{told}");
    let below = node.folder.path().join("state/bundle");
    for (program, words) in
        [("cp", ["-r", bundle, below.to_str().expect("a path")]), ("chown", ["-R", "65534", below.to_str().expect("a path")])]
    {
        assert!(program::run(Command::new(program).args(words), 60).status.success(), "{program}");
    }
    let taken = node.command(&["store", "import", below.to_str().expect("a path")]);
    assert!(taken.status.success(), "{}", said(&taken));
}

#[test]
fn a_trial_of_the_hub_makes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, database) = (folder.path().join("hub.toml"), folder.path().join("hub.sqlite"));
    let text = format!("[hub]\nlisten = [\"127.0.0.1:0\"]\ndatabase = \"{}\"\n", database.display());
    fs::write(&file, text).expect("a file");
    let output = bulak(&["hub", "--dry-run", "--config", file.to_str().expect("a path")]);
    assert!(output.status.success() && said(&output).contains("would serve"), "{}", said(&output));
    assert!(!database.exists());
    if fs::metadata("/proc/self").expect("Linux").uid() == 0 {
        // As root on the database of another user it would leave files that are closed to the hub.
        fs::write(&database, "").expect("a file");
        chown(&database, Some(NOBODY), None).expect("root may");
        let output = bulak(&["hub", "--config", file.to_str().expect("a path")]);
        assert!(output.status.code() == Some(5) && said(&output).contains("belongs to another user"), "{}", said(&output));
    }
}

#[test]
fn a_postgresql_that_is_away_is_told_as_such() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("hub.toml");
    fs::write(&file, "[hub]\ndatabase = \"postgres://nobody@127.0.0.1:1/x\"\n").expect("a file");
    let output = bulak(&["hub", "nodes", "--config", file.to_str().expect("a path")]);
    let told = said(&output);
    assert!(told.contains("PostgreSQL runs") && told.contains("hub.database") && told.contains("refused"), "{told}");
    assert_eq!(output.status.code(), Some(4), "{told}");
}

#[test]
fn a_quiet_command_still_gives_the_secret_that_it_made() {
    let node = Setup::new().start();
    let token = said(&node.command(&["user", "token", "add", "script", "--role", "read", "--quiet"]));
    let ask = |addr, token: &str| {
        let head = format!("GET /api/v1/status HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n");
        http::exchange(addr, head.as_bytes()).status
    };
    assert_eq!((ask(node.web, token.trim()), ask(node.web, "none")), (200, 401), "{token}");

    let hub = Hub::start("[hub]\nlisten = [\"127.0.0.1:0\"]\nviewers = \"tokens\"\ndatabase = \"HERE/hub.sqlite\"\n");
    let token = said(&hub.command(&["token", "add", "Grafana", "--role", "viewer", "--quiet"], ""));
    let head = format!(
        "GET /api/v1/schools HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\r\n",
        hub.addr,
        token.trim()
    );
    assert_eq!(http::exchange(hub.addr, head.as_bytes()).status, 200, "{token}");
    let code = said(&hub.command(&["code", "aksukent-7", "--quiet"], ""));
    assert!(code.trim().len() >= 8 && code.trim().chars().all(|letter| letter.is_ascii_alphanumeric()), "{code}");
}

#[test]
fn a_night_that_is_no_date_needs_no_node_to_be_misuse() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("school.toml");
    fs::write(&file, format!("[node]\nstate = \"{}\"\n", folder.path().display())).expect("a file");
    let summary = |night: &str| bulak(&["night", "summary", "--night", night, "--config", file.to_str().expect("a path")]).status.code();
    assert_eq!((summary("foo"), summary("2026-13-01"), summary("2026-11-25")), (Some(2), Some(2), Some(4)));
}

#[test]
fn the_installer_names_the_port_that_the_node_has() {
    let node = Setup::new().start();
    let install = kit::root().join("scripts/install");
    let open_at = |told: &[u8]| {
        let told_at = node.folder.path().join("told.json");
        fs::write(&told_at, told).expect("a file");
        let words = format!("source <(sed -n '/^open_at()/,/^}}/p' {}); open_at 10.0.0.5 < {}", install.display(), told_at.display());
        said(&program::run(Command::new("bash").args(["-euc", &words]), 60)).trim().to_owned()
    };
    assert_eq!(open_at(&node.command(&["status", "--json"]).stdout), format!("http://{}", node.web));
    assert_eq!(open_at(br#"{"proxy":["0.0.0.0:3128"],"web":["0.0.0.0:8080"]}"#), "http://10.0.0.5:8080");
    assert_eq!(open_at(br#"{"web":["[::]:80","0.0.0.0:80"]}"#), "http://10.0.0.5");
    assert_eq!(open_at(b""), "http://10.0.0.5");
}
