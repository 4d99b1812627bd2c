//! When the night works and when it does not: the window's end, caps, what a person orders, a metered line. All of it with a real
//! node, which is killed in between.

use crate::kit;
use crate::kit::node::{Node, Setup};
use crate::kit::origin::{Ask, Origin, Reply, answer, ok, promise};
use crate::kit::program;
use bulak::base::clock::Clock;
use std::fs;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// What a slow transfer sends at a time, and every so long: some 400 kB/s.
const CHUNK: usize = 8 << 10;
const PAUSE: Duration = Duration::from_millis(20);
const MIB: usize = 1 << 20;

/// What the origin has sent of bodies, and whether the slow transfer was broken off.
#[derive(Default)]
struct Sent {
    bytes: AtomicU64,
    cut: AtomicBool,
    /// The slow file comes at once.
    hurry: AtomicBool,
}

impl Sent {
    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::SeqCst)
    }

    fn is_cut(&self) -> bool {
        self.cut.load(Ordering::SeqCst)
    }
}

/// A site whose list names these paths; `/slow` drips, the others are 1 MiB each.
fn site(paths: &[String]) -> (Origin, Arc<Sent>) {
    let sent = Arc::<Sent>::default();
    let (list, kept) = (paths.iter().fold(String::new(), |list, path| list + "http://c.school.test" + path + "\n"), Arc::clone(&sent));
    let origin = Origin::start(move |ask: &Ask| match ask.target.as_str() {
        "/robots.txt" => Reply::Bytes(answer("404 Not Found", &[], b"")),
        "/list.txt" => Reply::Bytes(ok(&["Content-Type: text/plain"], list.as_bytes())),
        "/slow" if !kept.hurry.load(Ordering::SeqCst) => {
            let sent = Arc::clone(&kept);
            Reply::Act(Box::new(move |stream| {
                let mut all = stream.write_all(&promise(&["Content-Type: video/mp4", "ETag: \"s\""], 1 << 28));
                while all.is_ok() {
                    all = stream.write_all(&[7; CHUNK]);
                    if all.is_ok() {
                        sent.bytes.fetch_add(CHUNK as u64, Ordering::SeqCst);
                    }
                    std::thread::sleep(PAUSE);
                }
                sent.cut.store(true, Ordering::SeqCst);
            }))
        }
        path => {
            let seed = path.trim_start_matches('/').parse().unwrap_or(0);
            kept.bytes.fetch_add(MIB as u64, Ordering::SeqCst);
            Reply::Bytes(ok(&["Content-Type: application/octet-stream", "Cache-Control: max-age=86400"], &kit::noise(seed, MIB)))
        }
    });
    (origin, sent)
}

fn start(origin: &Origin, change: impl FnOnce(Setup) -> Setup) -> Node {
    let folder = tempfile::tempdir().expect("a folder");
    let setup = change(Setup::new().host("c.school.test", origin.addr));
    let text = kit::pack::text("lessons", "http://c.school.test/list.txt", &["c.school.test"]);
    kit::pack::publish(setup, folder.path(), "lessons", &text).start_in(folder)
}

fn always(setup: Setup) -> Setup {
    setup.set("night.windows", "[\"mon-sun 00:00-24:00\"]")
}

/// A window of a minute, twelve hours from now.
fn not_now(setup: Setup) -> Setup {
    let hour = (Clock::system().now().secs() / 3600 + 12) % 24;
    setup.set("night.windows", &format!("[\"mon-sun {hour:02}:58-{hour:02}:59\"]")).set("night.timezone", "\"UTC\"")
}

fn night(node: &Node) -> serde_json::Value {
    node.local("GET", "/api/v1/night")
}

fn rests(node: &Node, why: &str) -> bool {
    night(node)["rest"] == why
}

fn said(node: &Node, words: &[&str]) -> String {
    let output = node.command(words);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(matches!(output.status.code(), Some(0 | 3)), "{words:?}: {} {text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn at_seven_sharp_the_last_byte_has_come() {
    let preload = program::faketime();
    let (origin, sent) = site(&["/slow".to_owned()]);
    // 06:59:30 in Almaty when the node starts; its clock goes on from there.
    let node = start(&origin, |setup| {
        let setup = setup.env("LD_PRELOAD", &preload.display().to_string()).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        setup.env("TZ", "UTC").env("FAKETIME", "@2026-11-30 01:59:30")
    });
    kit::until("the transfer is under way", 60, || sent.bytes() > 64 << 10);
    let now = || node.local("GET", "/api/v1/status")["now"].as_str().expect("a time").to_owned();
    assert!(now().as_str() < "2026-11-30T02:00:00", "the machine is too slow for this test");
    kit::until("a second after seven by the node's own clock", 60, || now().as_str() >= "2026-11-30T02:00:01");
    let late = sent.bytes();
    kit::until("the transfer was broken off", 20, || sent.is_cut());
    // What the kernel took in the moment of the cut.
    assert!(sent.bytes() <= late + CHUNK as u64, "{} bytes came after {late}", sent.bytes() - late);
    let status = night(&node);
    assert_eq!((&status["rest"], &status["state"]), (&"window".into(), &"waiting".into()));
    let pack = &status["packs"][0]["progress"];
    assert_eq!((&pack["state"], &pack["reason"]), (&"paused".into(), &"the window has closed".into()));
    // What is on disk of the sums is what came.
    let told = status["caps"]["night_bytes"].as_u64().expect("a number");
    assert!(told > 64 << 10 && told <= sent.bytes() + 1024, "{told} of {}", sent.bytes());
}

#[test]
fn a_cap_holds_through_kill_9_and_a_person_may_lift_it() {
    let paths: Vec<String> = (1..=30).map(|number| format!("/{number}")).collect();
    let (origin, sent) = site(&paths);
    let cap = 8_000_000;
    // The night is counted from noon to noon: in this zone it is not noon while the test runs.
    let zone = if matches!(Clock::system().now().secs() / 3600 % 24, 11 | 12) { "Asia/Almaty" } else { "UTC" };
    let mut node = start(&origin, |setup| always(setup).set("night.night_cap", "\"8 MB\"").set("night.timezone", &format!("\"{zone}\"")));
    let (piece, spent) = (4 << 20, |node: &Node| night(node)["caps"]["night_bytes"].as_u64().expect("a number"));
    kit::until("half of it has come", 60, || spent(&node) > cap / 2);
    let before = spent(&node);
    node.kill();
    node.restart();
    assert!(spent(&node) + piece >= before, "{} of {before} bytes are remembered", spent(&node));
    kit::until("the cap is reached, and all is quiet", 60, || rests(&node, "cap_night") && night(&node)["running"].is_null());
    // What the origin has written may still lie in the kernel: what counts is what the node took.
    let before = spent(&node);
    assert!((cap..=cap + piece).contains(&before), "{before} bytes with a cap of {cap}");
    assert!(sent.bytes() <= cap + 3 * piece, "{} bytes with a cap of {cap} and one kill", sent.bytes());
    node.kill();
    node.restart();
    assert!(rests(&node, "cap_night"), "{}", night(&node));
    assert_eq!(spent(&node), before, "all of it is on disk once it is quiet");
    kit::until("the scheduler has looked", 20, || node.metric("bulak_night_rest", "cap_night") == Some(1.0));
    let asked = origin.count();
    assert!(node.metric("bulak_night_spent_bytes", "night").is_some_and(|bytes| bytes >= f64::from(8_000_000)));
    let text = said(&node, &["status"]);
    assert!(text.contains("night.night_cap of 8.0 MB is reached, opens again"), "{text}");
    assert_eq!(origin.count(), asked, "nothing was asked for meanwhile");
    let file = node.folder.path().join("school.toml");
    let text = fs::read_to_string(&file).expect("the file");
    fs::write(&file, text.replace("night_cap = \"8 MB\"", "night_cap = \"\"")).expect("writes");
    node.hangup();
    kit::until("the rest has come", 60, || night(&node)["packs"][0]["progress"]["state"] == "done");
    assert_eq!(night(&node)["packs"][0]["progress"]["errors"], 0);
}

#[test]
fn what_a_person_orders_survives_kill_9() {
    let (origin, sent) = site(&["/slow".to_owned(), "/1".to_owned()]);
    let mut node = start(&origin, not_now);
    assert_eq!(origin.count(), 0);
    node.local("POST", "/api/v1/packs/lessons/fetch");
    kit::until("a person asked, and it is under way", 60, || sent.bytes() > (MIB + (64 << 10)) as u64);
    // In the middle of it: asked for once, it goes on.
    node.kill();
    kit::until("the kill was seen", 20, || sent.is_cut());
    sent.cut.store(false, Ordering::SeqCst);
    let before = sent.bytes();
    node.restart();
    kit::until("it goes on without being asked again", 60, || sent.bytes() > before);
    let text = said(&node, &["night", "pause"]);
    assert!(text.contains("paused by a person"), "{text}");
    kit::until("the pause ends what is under way", 20, || sent.is_cut());
    node.kill();
    let asked = origin.count();
    node.restart();
    let status = night(&node);
    assert_eq!((&status["state"], &status["queued"][0]), (&"paused".into(), &"lessons".into()), "{status}");
    kit::until("the scheduler has looked", 20, || node.metric("bulak_night_state", "paused") == Some(1.0));
    assert_eq!(origin.count(), asked);
    sent.hurry.store(true, Ordering::SeqCst);
    said(&node, &["night", "resume"]);
    kit::until("it is through, outside of every window", 60, || {
        let status = night(&node);
        status["queued"].as_array().is_some_and(Vec::is_empty) && status["running"].is_null()
    });
    assert!(origin.count() > asked);
    let shown = said(&node, &["night", "show"]);
    assert!(shown.contains("waiting for the window") && shown.contains("this month"), "{shown}");
    for words in [&["night", "pause", "someday", "--json"][..], &["night", "pause", "someday", "--json", "--dry-run"]] {
        let refused = node.command(words);
        assert_eq!(refused.status.code(), Some(2), "{words:?}");
        assert!(String::from_utf8_lossy(&refused.stdout).contains("night.bad_time"));
    }
    let trial = said(&node, &["night", "pause", "--dry-run"]) + &said(&node, &["night", "pause", "2999-12-31 14:00", "--dry-run"]);
    assert!(trial.contains("would pause the night until 31.12.2999 14:00"), "{trial}");
    assert_ne!(night(&node)["state"], "paused", "a trial pauses nothing");
}

#[test]
fn on_a_metered_line_nothing_is_fetched_ahead() {
    let (origin, _) = site(&["/1".to_owned()]);
    let node = start(&origin, |setup| always(setup).set("night.metered", "true"));
    kit::until("the scheduler has looked", 20, || node.metric("bulak_night_rest", "metered") == Some(1.0));
    assert!(rests(&node, "metered"));
    assert_eq!(origin.count(), 0);
    node.local("POST", "/api/v1/packs/lessons/fetch");
    kit::until("what a person asked for comes", 60, || night(&node)["packs"][0]["progress"]["state"] == "done");
    assert!(origin.asks().iter().any(|ask| ask.target == "/1"));
}
