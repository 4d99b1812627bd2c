//! Origins and name servers that fall silent; disks that fill up or turn read-only; clocks that jump under a running node.

use crate::kit;
use crate::kit::dns::Dns;
use crate::kit::line::Line;
use crate::kit::mount::Mount;
use crate::kit::node::Setup;
use crate::kit::origin::{Ask, Origin, Reply, answer, ok};
use crate::kit::program;
use bulak::base::clock::Clock;
use std::fs;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const HOUR: &str = "Cache-Control: public, max-age=3600";
const MIB: usize = 1 << 20;

/// Ends what runs beside a test, however the test ends.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let clock = Clock::system();
    let began = clock.steady();
    let done = work();
    (done, clock.steady().duration_since(began))
}

/// Stale as soon as it is stored; may be served so when its origin cannot be reached.
fn fleeting() -> Origin {
    Origin::start(|ask: &Ask| {
        if ask.field("if-none-match").is_some() {
            return Reply::Bytes(answer("304 Not Modified", &["ETag: \"1\"", "Cache-Control: public, max-age=0"], b""));
        }
        Reply::Bytes(ok(&["Cache-Control: public, max-age=0", "ETag: \"1\"", "Content-Type: text/plain"], b"lesson"))
    })
}

#[test]
fn an_origin_that_vanished_costs_a_moment_where_a_copy_is_at_hand() {
    let (origin, alive) = (fleeting(), fleeting());
    let line = Line::to(origin.addr);
    // The deadlines that schools have.
    let node = Setup::new().host("gone.school.test", line.addr).host("alive.school.test", alive.addr).start();
    for _ in 0..2 {
        assert_eq!(node.get("http://gone.school.test/page").text(), "lesson");
    }
    let going_on = AtomicBool::new(true);
    std::thread::scope(|scope| {
        // Also where a request below fails: the scope waits for its thread.
        let stop = Stop(&going_on);
        // The line itself is up, which others show.
        scope.spawn(|| {
            let mut number = 0;
            while going_on.load(Ordering::SeqCst) {
                number += 1;
                node.get(&format!("http://alive.school.test/{number}"));
                std::thread::sleep(Duration::from_millis(200));
            }
        });
        line.cut();
        let (copy, took) = timed(|| node.get("http://gone.school.test/page"));
        let (error, waited) = timed(|| node.get("http://gone.school.test/never-seen"));
        let (again, at_once) = timed(|| node.get("http://gone.school.test/page"));
        drop(stop);
        eprintln!("a stale copy in {took:?}, an error in {waited:?}, a stale copy again in {at_once:?}");
        assert_eq!((copy.status, copy.text().as_str()), (200, "lesson"), "{}", copy.cache_status());
        assert!(!copy.cache_status().contains("detail=offline"), "the line is up: {}", copy.cache_status());
        assert!(matches!(error.status, 502 | 504) && error.has("proxy-status"), "{}", error.status);
        assert_eq!((again.status, again.text().as_str()), (200, "lesson"), "{}", again.cache_status());
        // The promise is 2 s and 10 s; a connection is waited for 9 s.
        assert!(took < Duration::from_secs(6), "{took:?}: it waited for the connection");
        assert!(waited < Duration::from_secs(30), "{waited:?}");
    });
    line.mend();
    kit::until("it is asked again", 60, || {
        let asked = origin.count();
        node.get("http://gone.school.test/page");
        origin.count() > asked
    });
}

#[test]
fn a_silent_name_server_is_waited_for_once() {
    let dns = Dns::start(Ipv4Addr::LOCALHOST);
    let origin = fleeting();
    // The deadlines that schools have.
    let node = Setup::new().set("upstream.resolver", &format!("[\"{}\"]", dns.addr)).host("known.school.test", origin.addr).start();
    let url = |name: &str| format!("http://{name}.school.test:{}/page", origin.addr.port());
    assert_eq!(node.get(&url("a")).status, 200);
    dns.cut();
    let (first, took) = timed(|| node.get(&url("b")));
    assert!(matches!(first.status, 502 | 504), "{}", first.status);
    let asked = dns.queries();
    let ((), rest) = timed(|| {
        for number in 0..20 {
            // The same name, and others.
            let name = if number % 2 == 0 { "b".to_owned() } else { format!("c{number}") };
            assert!(matches!(node.get(&url(&name)).status, 502 | 504), "{name}");
        }
    });
    eprintln!("the first error after {took:?}, twenty more in {rest:?} with {} questions", dns.queries() - asked);
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert!(rest < Duration::from_secs(20), "{rest:?}: each was waited for");
    assert_eq!(node.get("http://known.school.test/page").status, 200, "what needs no name goes on");
    dns.mend();
    kit::until("names are asked for again", 90, || node.get(&url("d")).status == 200);
}

/// An origin with a different incompressible file of 1 MiB at every path `/N`.
fn library() -> Origin {
    Origin::start(|ask| {
        let seed = ask.target.trim_start_matches('/').parse().unwrap_or(0);
        Reply::Bytes(ok(&[HOUR, "Content-Type: application/octet-stream"], &kit::noise(seed, MIB)))
    })
}

#[test]
fn a_disk_that_others_fill_stops_nothing_and_is_used_again_when_it_is_free() {
    let disk = tempfile::tempdir().expect("a folder");
    let test = "a_disk_that_others_fill_stops_nothing_and_is_used_again_when_it_is_free";
    let Some(mount) = Mount::new(test, &disk.path().join("all"), "size=48m") else { return };
    let origin = library();
    let all = disk.path().join("all");
    // State and store, as on most boxes.
    let setup = Setup::new().set("store.segment", "\"4 MiB\"").set("store.memory", "\"2 MiB\"");
    let setup = setup.set("store.path", &format!("\"{}\"", all.join("store").display()));
    let setup = setup.set("node.state", &format!("\"{}\"", all.join("state").display()));
    let mut node = setup.host("l.school.test", origin.addr).start();
    let right = |node: &kit::node::Node, number: u64, when: &str| {
        let answer = node.get(&format!("http://l.school.test/{number}"));
        assert!(answer.complete && answer.body == kit::noise(number, MIB), "file {number} {when}: {}", answer.status);
        answer.is_hit()
    };
    for number in 1..=6 {
        right(&node, number, "at first");
        assert!(right(&node, number, "at first"));
    }
    // What is promised is what was made durable.
    assert!(node.terminate().success());
    node.restart();
    // Somebody's log takes the rest, to the last byte.
    let log = all.join("others.log");
    let mut others = fs::File::create(&log).expect("a file");
    while std::io::Write::write_all(&mut others, &[b'x'; 4096]).is_ok() {}
    for number in 1..=6 {
        assert!(right(&node, number, "on the full disk"), "what is stored is served");
    }
    for number in 20..=40 {
        right(&node, number, "on the full disk");
    }
    assert_eq!(node.web("/").status, 200);
    node.kill();
    node.restart();
    let kept = (1..=6).filter(|number| right(&node, *number, "after a kill on the full disk")).count();
    assert!(kept >= 4, "{kept} of 6 are still stored");
    assert!(node.terminate().success(), "it ends in order on a full disk");
    node.restart();
    right(&node, 41, "after an orderly end on the full disk");
    drop(others);
    fs::remove_file(log).expect("removed");
    kit::until("what comes is stored again", 90, || {
        right(&node, 50, "with room again");
        right(&node, 50, "with room again")
    });
    drop((node, mount));
}

#[test]
fn a_read_only_card_serves_what_it_holds() {
    let disk = tempfile::tempdir().expect("a folder");
    let test = "a_read_only_card_serves_what_it_holds";
    let Some(mount) = Mount::new(test, &disk.path().join("all"), "size=64m") else { return };
    let origin = library();
    let all = disk.path().join("all");
    let setup = Setup::new().set("store.segment", "\"4 MiB\"").set("store.memory", "\"1 MiB\"");
    let setup = setup.set("store.path", &format!("\"{}\"", all.join("store").display()));
    let setup = setup.set("node.state", &format!("\"{}\"", all.join("state").display()));
    let mut node = setup.host("l.school.test", origin.addr).start();
    for number in 1..=4 {
        node.get(&format!("http://l.school.test/{number}"));
        assert!(node.get(&format!("http://l.school.test/{number}")).is_hit());
    }
    assert!(node.terminate().success());
    mount.remount("ro");
    // Twice: what the first start could not write must not trouble the second.
    for round in 0..2 {
        node.restart();
        for number in [1, 2, 3, 4] {
            let answer = node.get(&format!("http://l.school.test/{number}"));
            assert!(answer.complete && answer.body == kit::noise(number, MIB), "file {number}, round {round}: {}", answer.status);
            assert!(answer.is_hit(), "round {round}: what the card holds is read from it: {}", answer.cache_status());
        }
        for number in [10, 11] {
            let answer = node.get(&format!("http://l.school.test/{number}"));
            assert!(answer.complete && answer.body == kit::noise(number, MIB), "new file {number}, round {round}: {}", answer.status);
        }
        assert_eq!(node.web("/").status, 200);
        let ready = node.web("/readyz");
        assert_eq!(ready.status, 503, "it says that something is wrong: {}", ready.text());
        node.kill();
    }
    mount.remount("rw");
    node.restart();
    assert!(node.get("http://l.school.test/1").is_hit());
    kit::until("what comes is stored again", 60, || node.get("http://l.school.test/60").is_hit());
    drop((node, mount));
}

#[test]
fn a_clock_that_jumps_under_a_running_node_costs_no_answer() {
    let preload = program::faketime();
    let folder = tempfile::tempdir().expect("a folder");
    let clock = folder.path().join("clock");
    fs::write(&clock, "+0").expect("a file");
    let origin = library();
    let file = clock.display().to_string();
    let mut node = Setup::new()
        .env("LD_PRELOAD", &preload.display().to_string())
        .env("FAKETIME_TIMESTAMP_FILE", &file)
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .host("l.school.test", origin.addr)
        .start();
    let mut next = 100;
    let mut ten = |node: &kit::node::Node, when: &str| {
        for number in 1..=10 {
            let number = if number <= 5 { number } else { next + number };
            let answer = node.get(&format!("http://l.school.test/{number}"));
            assert!(
                answer.status == 200 && answer.complete && answer.body == kit::noise(number, MIB),
                "{when}, file {number}: {}",
                answer.status
            );
            let age = answer.field("age");
            if answer.is_hit() {
                assert!(age.parse::<u64>().is_ok_and(|age| age <= 3600), "{when}: a fresh answer of Age {age}");
            } else {
                assert!(age.is_empty() || age.parse::<u64>().is_ok(), "{when}: Age {age}");
            }
        }
        next += 10;
    };
    ten(&node, "at first");
    for jump in ["+400d", "-400d", "+0", "@1970-01-02 00:00:00", "+20y", "@2000-01-01 00:00:00", "+1d", "+0"] {
        fs::write(&clock, jump).expect("a file");
        ten(&node, jump);
        assert_eq!(node.web("/healthz").status, 200, "{jump}");
        node.local("GET", "/api/v1/status");
    }
    assert!(node.is_running());
    ten(&node, "at last");
    assert!(node.get("http://l.school.test/1").is_hit(), "what is stored is of use again");
    // And across a restart, with the clock back in 1970.
    fs::write(&clock, "@1970-01-02 00:00:00").expect("a file");
    assert!(node.terminate().success());
    node.restart();
    assert!(node.get("http://l.school.test/1").is_hit(), "a clock without a battery expires nothing");
    let log = node.log_text();
    assert!(!log.contains("panicked"), "{log}");
}
