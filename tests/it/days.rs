//! Bad days: a mistaken configuration, taken ports, a full disk, a read-only disk, a clock that believes it is 1970.

use crate::kit;
use crate::kit::mount::Mount;
use crate::kit::node::{Setup, binary};
use crate::kit::origin::{Origin, Reply, ok};
use crate::kit::program;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Barrier};

const HOUR: &str = "Cache-Control: public, max-age=3600";
const MIB: usize = 1 << 20;

/// An origin with a different incompressible file of 1 MiB at every path `/N`.
fn library() -> Origin {
    Origin::start(|ask| {
        let seed = ask.target.trim_start_matches('/').parse().unwrap_or(0);
        Reply::Bytes(ok(&[HOUR, "Content-Type: application/octet-stream"], &kit::noise(seed, MIB)))
    })
}

fn size(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .filter_map(Result::ok)
        .map(|entry| if entry.path().is_dir() { size(&entry.path()) } else { entry.metadata().map_or(0, |meta| meta.len()) })
        .sum()
}

#[test]
fn five_mistakes_are_told_at_once_with_line_and_remedy() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("school.toml");
    let text = "[node]\nname = \"a b\"\n[proxy]\nlisten = [\"nowhere\"]\n[cache]\npolicy = \"strict\"\n[night]\nwindows = [\"someday\"]\n\
                timezone = \"Mars/Base\"\n[store]\nquota = \"1 MB/s\"\n";
    fs::write(&file, text).expect("a file");
    for words in [vec!["serve", "--config"], vec!["config", "check", "--config"]] {
        let mut command = Command::new(binary());
        command.args(&words).arg(&file).env("NO_COLOR", "1");
        let output = program::run(&command, 30);
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(matches!(output.status.code(), Some(1 | 2)), "{words:?}: {:?} {said}", output.status);
        for (value, line) in [("a b", 2), ("nowhere", 4), ("strict", 6), ("someday", 8), ("Mars/Base", 9), ("1 MB/s", 11)] {
            assert!(said.contains(value), "{words:?} does not name {value:?}:\n{said}");
            assert!(said.contains(&line.to_string()), "{words:?} does not name line {line}:\n{said}");
        }
        assert!(!said.contains("panicked"), "{said}");
    }
}

#[test]
fn an_unknown_key_is_refused() {
    let (_node, started) = Setup::new().set("store.quotta", "\"1 GiB\"").try_start_in(tempfile::tempdir().expect("a folder"));
    let why = started.expect_err("a misspelt key is a mistake");
    assert!(why.contains("quotta"), "{why}");
}

#[test]
fn a_taken_port_is_named() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = holder.local_addr().expect("bound").to_string();
    let (_node, started) = Setup::new().set("proxy.listen", &format!("[\"{addr}\"]")).try_start_in(tempfile::tempdir().expect("a folder"));
    let why = started.expect_err("the port is taken");
    assert!(why.contains(&addr) || why.contains(&addr.replace("127.0.0.1:", "")), "{why}");
    assert!(!why.contains("panicked"), "{why}");
}

#[test]
fn a_class_has_its_proxy_all_the_same() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = holder.local_addr().expect("bound").to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state");
    fs::create_dir(&state).expect("a folder");
    // One bad day: no database, no store, a key for everybody's eyes, a taken port, no place for the socket.
    fs::write(state.join("node.sqlite"), "this is no database\n".repeat(100)).expect("a file");
    fs::write(folder.path().join("store"), "no folder").expect("a file");
    fs::write(state.join("node.key"), "0".repeat(64)).expect("a file");
    fs::create_dir(state.join("bulak.sock")).expect("a folder");
    let socket = format!("\"{}\"", state.join("bulak.sock").display());
    let origin = library();
    let setup = Setup::new().set("web.listen", &format!("[\"{taken}\", \"127.0.0.1:0\"]")).set("node.socket", &socket);
    let node = setup.host("l.school.test", origin.addr).start_in(folder);
    assert!(node.twice("http://l.school.test/1").is_hit());
    let ready = node.web("/readyz");
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains(&taken) && ready.text().contains("store.spare"), "{}", ready.text());
    assert!(fs::read_to_string(state.join("node.sqlite.bad")).expect("kept").starts_with("this is no database"));
    let log = node.log_text();
    assert!(log.contains("chmod 600") && log.contains("node.socket"), "{log}");
    // The portal by address, also through the proxy.
    let web = node.fetch("GET", &format!("http://{}/healthz", node.web), &[]);
    assert_eq!((web.status, web.text().trim()), (200, "ok"));
}

/// Numbers that begin anew and are forgotten would pass for a copied card at the hub, and later ones for older.
#[test]
fn a_node_whose_state_is_in_memory_tells_the_hub_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    // Neither damaged nor held by anybody: it cannot be opened.
    fs::create_dir_all(folder.path().join("state/node.sqlite")).expect("a folder");
    let node = Setup::new().set("hub.url", "\"http://127.0.0.1:9\"").start_in(folder);
    let ready = node.web("/readyz");
    assert!(ready.text().contains("state is in memory only"), "{}", ready.text());
    assert!(node.log_text().contains("nothing is told to the hub"));
    assert!(node.local("GET", "/api/v1/report")["hub"].is_null());
}

#[test]
fn a_reload_changes_what_it_says_and_nothing_by_halves() {
    let folder = tempfile::tempdir().expect("a folder");
    let pack = "id = \"own\"\nversion = \"1\"\nlicence = \"x\"\n[title]\nen = \"Own\"\n[[seed]]\nurl = \"http://a.school.test/\"\n[scope]\nhosts = [\"a.school.test\"]\n";
    fs::create_dir_all(folder.path().join("state/packs.d")).expect("a folder");
    fs::write(folder.path().join("state/packs.d/own.toml"), pack).expect("a pack");
    let node = Setup::new().set("night.timezone", "\"Asia/Almaty\"").set("night.windows", "[]").start_in(folder);
    let file = node.folder.path().join("school.toml");
    let text = fs::read_to_string(&file).expect("the file");
    let packs = || node.local("GET", "/api/v1/packs").to_string();
    let statement = || node.local("GET", "/api/v1/link/statement").to_string();
    assert!(packs().contains("\"own\"") && statement().contains("Asia/Almaty"), "{} {}", packs(), statement());
    let state = node.folder.path().join("state").display().to_string();
    fs::write(
        &file,
        text.replace("Asia/Almaty", "Europe/Berlin").replace(&format!("state = \"{state}\""), &format!("state = \"{state}.new\"")),
    )
    .expect("writes");
    node.hangup();
    kit::until("it is taken over", 20, || node.local("GET", "/api/v1/config")["night.timezone"]["value"] == "Europe/Berlin");
    assert!(statement().contains("Europe/Berlin") && !statement().contains("Asia/Almaty"), "{}", statement());
    assert!(packs().contains("\"own\""), "where its state is counts from the next start: {}", packs());
    assert!(node.log_text().contains("node.state"), "{}", node.log_text());
}

#[test]
fn a_changed_file_is_taken_over_and_a_bad_one_is_not() {
    use rustix::process::{Pid, Signal, kill_process};
    let node = Setup::new().start();
    let file = node.folder.path().join("school.toml");
    let good = fs::read_to_string(&file).expect("the file");
    let hang_up =
        || kill_process(Pid::from_raw(i32::try_from(node.id()).expect("small")).expect("no zero"), Signal::HUP).expect("a signal");
    fs::write(&file, format!("{good}\n[nihgt]\n")).expect("writes");
    hang_up();
    kit::until("the mistake is told", 20, || node.log_text().contains("did you mean [night]"));
    kit::until("the metric says so", 20, || node.metric("bulak_config_last_reload_successful", "") == Some(0.0));
    let changed = good.replace("quota = \"1 GiB\"", "quota = \"3 GiB\"") + "\n[night]\nwindows = [\"sun 01:00-02:00\"]\n";
    fs::write(&file, changed).expect("writes");
    hang_up();
    kit::until("it is taken over", 20, || node.metric("bulak_config_last_reload_successful", "") == Some(1.0));
    let log = node.log_text();
    assert!(log.contains("night.windows") && log.contains("store.quota"), "{log}");
    let config = node.local("GET", "/api/v1/config");
    assert_eq!(config["night.windows"]["value"][0], "sun 01:00-02:00");
    assert_ne!(config["store.quota"]["value"], "3 GiB", "not before a restart");
}

#[test]
fn a_full_store_serves_on_and_keeps_below_its_quota() {
    let origin = library();
    let setup = Setup::new().set("store.quota", "\"24 MiB\"").set("store.segment", "\"4 MiB\"").set("store.memory", "\"2 MiB\"");
    let node = setup.host("l.school.test", origin.addr).start();
    for number in 1..=60 {
        let answer = node.get(&format!("http://l.school.test/{number}"));
        assert!(answer.complete && answer.body == kit::noise(number, MIB), "file {number}: {}", answer.status);
    }
    let used = size(&node.folder.path().join("store"));
    assert!(used <= 32 << 20, "{used} bytes on disk with a quota of 24 MiB");
    assert!(used >= 8 << 20, "{used} bytes on disk: nothing was admitted");
    let answer = node.get("http://l.school.test/61");
    assert_eq!(answer.status, 200);
}

/// Nobody can know before how long it gets: whoever reads gets it whole, and nothing of it is kept.
#[test]
fn a_body_that_grows_past_what_the_store_takes_is_passed_on() {
    const LENGTH: usize = 5 * MIB;
    let origin = Origin::start(|ask| {
        let body = kit::noise(ask.target.len() as u64, LENGTH);
        Reply::Act(Box::new(move |stream| {
            let head = "HTTP/1.1 200 OK\r\nCache-Control: max-age=3600\r\nContent-Type: video/mp4\r\nTransfer-Encoding: chunked\r\n\r\n";
            let mut sent = stream.write_all(head.as_bytes());
            for chunk in body.chunks(1 << 16) {
                let size = format!("{:x}\r\n", chunk.len());
                sent = sent.and_then(|()| stream.write_all(&[size.as_bytes(), chunk, b"\r\n"].concat()));
            }
            // Whoever reads may have left.
            let _ = sent.and_then(|()| stream.write_all(b"0\r\n\r\n"));
        }))
    });
    let setup = Setup::new().set("store.quota", "\"32 MiB\"").set("store.segment", "\"4 MiB\"").set("store.memory", "\"2 MiB\"");
    let node = setup.host("l.school.test", origin.addr).start();
    let url = "http://l.school.test/film";
    for _ in 0..2 {
        let answer = node.get(url);
        assert!(answer.complete && answer.body == kit::noise("/film".len() as u64, LENGTH), "{} bytes", answer.body.len());
    }
}

#[test]
fn a_disk_that_fills_up_takes_nothing_from_the_class() {
    let disk = tempfile::tempdir().expect("a folder");
    let test = "a_disk_that_fills_up_takes_nothing_from_the_class";
    let Some(mount) = Mount::new(test, &disk.path().join("store"), "size=24m") else { return };
    let origin = library();
    let setup = Setup::new().set("store.segment", "\"4 MiB\"").set("store.memory", "\"2 MiB\"").set("store.path", &mount.path());
    let mut node = setup.host("l.school.test", origin.addr).start();
    for number in 1..=40 {
        let answer = node.get(&format!("http://l.school.test/{number}"));
        assert!(answer.complete && answer.body == kit::noise(number, MIB), "file {number}: {}", answer.status);
    }
    assert!(node.is_running());
    // What was stored before is right, and after kill -9 on the full disk the node starts.
    node.kill();
    node.restart();
    for number in 1..=40 {
        let answer = node.get(&format!("http://l.school.test/{number}"));
        assert!(answer.complete && answer.body == kit::noise(number, MIB), "file {number} afterwards: {}", answer.status);
    }
}

#[test]
fn a_disk_that_fills_up_meanwhile_cuts_nothing_off() {
    const LENGTH: usize = 6 * MIB;
    let disk = tempfile::tempdir().expect("a folder");
    let test = "a_disk_that_fills_up_meanwhile_cuts_nothing_off";
    let Some(mount) = Mount::new(test, &disk.path().join("store"), "size=24m") else { return };
    let gate = Arc::new(Barrier::new(2));
    let held = Arc::clone(&gate);
    let origin = Origin::start(move |_| {
        let (body, held) = (kit::noise(1, LENGTH), Arc::clone(&held));
        Reply::Act(Box::new(move |stream| {
            let (first, rest) = body.split_at(LENGTH / 3);
            let head = format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=3600\r\nETag: \"1\"\r\nContent-Length: {LENGTH}\r\n\r\n");
            stream.write_all(&[head.as_bytes(), first].concat()).expect("the node reads");
            held.wait();
            stream.write_all(rest).expect("the node reads on");
        }))
    });
    let setup = Setup::new().set("store.segment", "\"4 MiB\"").set("store.memory", "\"2 MiB\"").set("store.path", &mount.path());
    let node = setup.host("l.school.test", origin.addr).start();
    let proxy = node.proxy;
    let reader = std::thread::spawn(move || kit::http::get(proxy, "http://l.school.test/film"));
    let seg = disk.path().join("store/tmp");
    kit::until("the film arrives on the disk", 20, || size(&seg) > 1 << 20);
    let mut other = std::fs::File::create(disk.path().join("store/somebody-else-s")).expect("a file");
    let full = (0..64).any(|_| other.write_all(&vec![0; MIB]).is_err());
    assert!(full, "the disk is full now");
    gate.wait();
    let answer = reader.join().expect("a reader");
    assert!(answer.complete && answer.body == kit::noise(1, LENGTH), "{} bytes", answer.body.len());
}

#[test]
fn a_disk_that_turns_read_only_still_serves() {
    let disk = tempfile::tempdir().expect("a folder");
    let test = "a_disk_that_turns_read_only_still_serves";
    let Some(mount) = Mount::new(test, &disk.path().join("store"), "size=64m") else { return };
    let origin = library();
    let setup = Setup::new().set("store.segment", "\"4 MiB\"").set("store.path", &mount.path());
    let mut node = setup.host("l.school.test", origin.addr).start();
    assert!(node.twice("http://l.school.test/1").complete);
    node.terminate();
    mount.remount("ro");
    node.restart();
    for number in [1, 2, 2] {
        let answer = node.get(&format!("http://l.school.test/{number}"));
        assert!(answer.complete && answer.body == kit::noise(number, MIB), "file {number}: {}", answer.status);
    }
}

#[test]
fn a_clock_at_1970_expires_nothing() {
    // Preloaded rather than run through its wrapper, which would outlive a kill.
    let preload = program::faketime();
    let origin = library();
    let folder = tempfile::tempdir().expect("a folder");
    let mut node = Setup::new().host("l.school.test", origin.addr).start_in(folder);
    assert!(node.get("http://l.school.test/1").complete);
    node.terminate();
    let folder = std::mem::replace(&mut node.folder, tempfile::tempdir().expect("a folder"));
    drop(node);
    let node = Setup::new()
        .env("LD_PRELOAD", &preload.display().to_string())
        .env("FAKETIME", "1970-01-02 00:00:00")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .host("l.school.test", origin.addr)
        .start_in(folder);
    let kept = node.get("http://l.school.test/1");
    assert!(kept.is_hit() && kept.body == kit::noise(1, MIB), "{}", kept.cache_status());
    let again = node.twice("http://l.school.test/2");
    let age = again.field("age");
    assert!(age.parse::<u64>().is_ok_and(|age| age < 3600), "Age: {age}");
}
