//! The morning after a night in which much happened: the summary says it exactly. The wall clock is moved by a file, so that a night
//! takes a minute; waits stay as long as they are.

use crate::kit;
use crate::kit::node::{Node, Setup};
use crate::kit::origin::{Ask, Origin, Reply, answer, ok, promise};
use bulak::base::clock::{Clock, Time};
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The library that makes up the wall clock, where it is installed.
fn preload() -> Option<PathBuf> {
    let libraries = fs::read_dir("/usr/lib").expect("a folder").filter_map(Result::ok);
    libraries.map(|entry| entry.path().join("faketime/libfaketimeMT.so.1")).find(|file| file.exists())
}

/// A node's wall clock: so much later than ours, also after a kill.
struct Wall(PathBuf);

impl Wall {
    fn jump(&self, to: Time) {
        let later = to.secs() - Clock::system().now().secs();
        let draft = self.0.with_extension("new");
        fs::write(&draft, format!("{later:+}\n")).expect("a file");
        fs::rename(&draft, &self.0).expect("a file");
    }

    fn setup(&self, setup: Setup, preload: &Path) -> Setup {
        let setup = setup.env("LD_PRELOAD", &preload.display().to_string()).env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("TZ", "UTC");
        setup.env("FAKETIME_TIMESTAMP_FILE", &self.0.display().to_string()).env("FAKETIME_CACHE_DURATION", "1")
    }
}

/// What the sites do at the moment.
#[derive(Default)]
struct Doors {
    /// The sixth page of the good pack is sent.
    sixth: AtomicBool,
    /// The film comes at once.
    film: AtomicBool,
}

fn sites() -> (Origin, Arc<Doors>) {
    let doors = Arc::<Doors>::default();
    let own = Arc::clone(&doors);
    let origin = Origin::start(move |ask: &Ask| {
        let host = ask.field("host").unwrap_or_default().to_owned();
        let etag = "ETag: \"v1\"";
        if ask.field("if-none-match") == Some("\"v1\"") {
            return Reply::Bytes(answer("304 Not Modified", &[etag], b""));
        }
        let list = |paths: &[&str]| {
            let text = paths.iter().fold(String::new(), |text, path| text + "http://" + &host + path + "\n");
            Reply::Bytes(ok(&["Content-Type: text/plain", etag], text.as_bytes()))
        };
        let page = |text: &str| Reply::Bytes(ok(&["Content-Type: text/html", "Cache-Control: no-cache", etag], text.as_bytes()));
        let file = |seed: u64| {
            Reply::Bytes(ok(&["Content-Type: application/octet-stream", "Cache-Control: no-cache", etag], &kit::noise(seed, 600 << 10)))
        };
        match (host.as_str(), ask.target.as_str()) {
            ("bad.school.test", "/robots.txt") => Reply::Bytes(ok(&["Content-Type: text/plain"], b"User-agent: *\nDisallow: /private/\n")),
            (_, "/robots.txt") | ("bad.school.test", "/404") => Reply::Bytes(answer("404 Not Found", &[], b"")),
            ("good.school.test", "/list.txt") => list(&["/1", "/2", "/3", "/4", "/5", "/6", "/7", "/8"]),
            ("good.school.test", "/6") => {
                let doors = Arc::clone(&own);
                Reply::Act(Box::new(move |stream| {
                    kit::until("the sixth may come", 300, || doors.sixth.load(Ordering::SeqCst));
                    let body = ok(&["Content-Type: text/html", "Cache-Control: no-cache", etag], b"six");
                    let _sent = stream.write_all(&body); // whoever was killed meanwhile is gone
                }))
            }
            ("bad.school.test", "/list.txt") => list(&["/fine", "/500", "/404", "/private/x"]),
            ("bad.school.test", "/500") => Reply::Bytes(answer("500 Internal Server Error", &[], b"")),
            ("busy.school.test", "/list.txt") => list(&["/1", "/2"]),
            ("busy.school.test", "/2") => Reply::Bytes(answer("429 Too Many Requests", &["Retry-After: 36000"], b"")),
            ("large.school.test", "/list.txt") => list(&["/a", "/b", "/c"]),
            ("large.school.test", path) => file(u64::from(path.as_bytes()[1])),
            ("film.school.test", "/list.txt") => list(&["/film"]),
            ("film.school.test", _) if !own.film.load(Ordering::SeqCst) => Reply::Act(Box::new(|stream| {
                let mut all = stream.write_all(&promise(&["Content-Type: video/mp4", "ETag: \"f\""], 1 << 28));
                while all.is_ok() {
                    std::thread::sleep(Duration::from_millis(50));
                    all = stream.write_all(&[7; 4 << 10]);
                }
            })),
            ("film.school.test", _) => file(9),
            (_, path) => page(path),
        }
    });
    (origin, doors)
}

/// A pack of one list; films go last.
fn pack(name: &str, priority: u32, max_bytes: &str) -> String {
    format!(
        "id = \"{name}\"\nversion = \"1\"\nlicence = \"CC0\"\npermission = \"the test's own site\"\nrefresh = \"12 h\"\npriority = {priority}\n\
         [title]\nen = \"{name}\"\n[[seed]]\nlist = \"http://{name}.school.test/list.txt\"\n\
         [scope]\nhosts = [\"{name}.school.test\"]\ndepth = 0\nmax_bytes = \"{max_bytes}\"\n"
    )
}

const PACKS: [(&str, u32, &str); 5] =
    [("good", 9, "1 GiB"), ("bad", 8, "1 GiB"), ("busy", 7, "1 GiB"), ("large", 6, "1 MiB"), ("film", 1, "1 GiB")];

fn summary(node: &Node) -> Value {
    node.local("GET", "/api/v1/night/summary")
}

fn of<'s>(summary: &'s Value, pack: &str) -> &'s Value {
    let each = summary["each"].as_array().expect("packs");
    each.iter().find(|one| one["id"] == pack).unwrap_or_else(|| panic!("{pack} is not in {summary}"))
}

fn counts(pack: &Value) -> [u64; 7] {
    ["new", "changed", "unchanged", "failed", "gone", "refused", "left_out"].map(|name| pack["counts"][name].as_u64().expect("a count"))
}

fn said(node: &Node, words: &[&str], wanted: i32) -> String {
    let output = node.command(words);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(wanted), "{words:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn in_the_morning_the_night_is_told_exactly() {
    let Some(preload) = preload() else {
        eprintln!("SKIPPED: libfaketime is not installed");
        return;
    };
    let (origin, doors) = sites();
    let folder = tempfile::tempdir().expect("a folder");
    let wall = Wall(folder.path().join("wall"));
    // 22:30 in Almaty, on the day after tomorrow.
    let day = Clock::system().now().secs() / 86_400 + 2;
    let at = |days: i64, hours: i64, minutes: i64| Time::from_secs((day + days) * 86_400 + (hours * 60 + minutes) * 60);
    let dates = [0, 1].map(|days| at(days, 12, 0).to_rfc3339()[..10].to_owned());
    wall.jump(at(0, 17, 30));
    let mut setup = wall.setup(Setup::new(), &preload).set("night.transfers", "1");
    // The node's own packs need no signature.
    let own = folder.path().join("state/packs.d");
    fs::create_dir_all(&own).expect("a folder");
    for (name, priority, most) in PACKS {
        setup = setup.host(&format!("{name}.school.test"), origin.addr);
        fs::write(own.join(format!("{name}.toml")), pack(name, priority, most)).expect("a file");
    }
    let mut node = setup.start_in(folder);

    // The power goes while the sixth page of the first pack is on its way.
    kit::until("the sixth page is asked for", 60, || origin.asks().iter().any(|ask| ask.target == "/6"));
    node.kill();
    node.restart();
    doors.sixth.store(true, Ordering::SeqCst);
    // What must wait a minute or two gets it; the film drips when all others are as far as they come.
    let mut minutes = 0;
    let mut minute = |days: i64| {
        minutes = (minutes + 1) % (5 * 60);
        wall.jump(at(days, 17, 35 + minutes));
        std::thread::sleep(Duration::from_millis(500));
    };
    let state = |node: &Node, pack: &str| of(&summary(node), pack)["state"].as_str().unwrap_or_default().to_owned();
    kit::until("all but busy host and film are through", 180, || {
        let through = state(&node, "good") == "complete" && state(&node, "bad") == "incomplete" && state(&node, "large") == "complete";
        if !through {
            minute(0);
        }
        through && node.local("GET", "/api/v1/night")["running"] == "film"
    });
    let going = summary(&node);
    assert_eq!((&going["complete"], &going["night"]), (&json!(false), &json!(dates[0])));
    assert!(going["sentence"].as_str().is_some_and(|told| told.starts_with("So far: 3 of 5 packs complete")), "{going}");
    assert!(!node.log_text().contains("the night's summary"));

    // 06:59:55; five seconds later the window closes.
    wall.jump(Time::from_secs(at(1, 2, 0).secs() - 5));
    kit::until("the night is told", 60, || summary(&node)["complete"] == true);
    let told = summary(&node);
    let sentence =
        "Ready: 3 of 5 packs complete, but for 1 thing that could not be fetched and 2 things for which there is no room, 2 go on tonight";
    assert_eq!(told["sentence"], sentence, "{told}");
    let wanted = [
        ("good", "complete", [9, 0, 0, 0, 0, 0, 0]),
        ("bad", "incomplete", [2, 0, 0, 1, 1, 1, 0]),
        ("busy", "goes_on", [2, 0, 0, 0, 0, 0, 0]),
        ("large", "complete", [2, 0, 0, 0, 0, 0, 2]),
        ("film", "goes_on", [1, 0, 0, 0, 0, 0, 0]),
    ];
    for (name, state, sums) in wanted {
        let pack = of(&told, name);
        assert_eq!((pack["state"].as_str(), counts(pack)), (Some(state), sums), "{name}: {pack}");
        let progress = node.local("GET", &format!("/api/v1/packs/{name}"))["progress"].clone();
        assert_eq!(progress["errors"], pack["missing"], "{name}: as the pack's own page tells it");
    }
    let reasons = |pack: &str| -> Vec<(String, u64, String)> {
        let groups = of(&told, pack)["groups"].as_array().expect("groups").clone();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        groups.iter().map(|one| (text(&one["reason"]), one["many"].as_u64().expect("a count"), text(&one["host"]))).collect()
    };
    let reason = |word: &str, many: u64, host: &str| (word.to_owned(), many, host.to_owned());
    assert_eq!(reasons("bad"), [reason("failed.server", 1, "bad.school.test"), reason("refused.robots", 1, "bad.school.test")]);
    assert_eq!(reasons("large"), [reason("left.size", 2, "large.school.test")]);
    for (pack, why) in [("busy", "host_waits"), ("film", "window")] {
        let left = &of(&told, pack)["left"];
        assert_eq!((left["things"].as_u64(), left["reason"].as_str()), (Some(1), Some(why)), "{pack}: {left}");
    }
    assert_eq!((&told["power_cuts"], &told["restarts"], &told["left"]), (&json!(1), &json!(0), &json!(2)));
    let bytes = |value: &Value| value.as_u64().expect("bytes");
    let (line, bodies) = (bytes(&told["counts"]["line_bytes"]), bytes(&told["counts"]["body_bytes"]));
    assert!(bodies > 600 << 10 && line >= 600 << 10, "{told}");
    assert_eq!(bodies, PACKS.iter().map(|(name, ..)| bytes(&of(&told, name)["counts"]["body_bytes"])).sum::<u64>());

    // For people: the same, the first line first.
    let text = said(&node, &["night", "summary"], 3);
    assert_eq!(text.lines().next(), Some(sentence), "{text}");
    for wanted in
        ["(5xx) (bad.school.test)", "robots.txt forbids it (bad.school.test)", "asked to wait", "the window closed", "1 power cut"]
    {
        assert!(text.contains(wanted), "{wanted} is not in\n{text}");
    }
    assert!(said(&node, &["night", "summary", "--list"], 0).contains("3 of 5"));
    assert!(said(&node, &["night", "summary", "--night", "1999-01-01", "--json"], 1).contains("night.untold"));
    said(&node, &["night", "summary", "--night", "soon"], 2);
    let status = node.command(&["status"]);
    assert!(String::from_utf8_lossy(&status.stdout).contains(sentence), "{status:?}");
    assert!(node.web("/").text().contains("5 ішінен 3"), "{}", node.web("/").text());
    assert_eq!(node.log_text().matches("the night's summary").count(), 1, "it is said once");
    assert!(!text.contains("/500") && !text.contains("/private"), "{text}");

    // The next night finds what was there as it was, and the film comes.
    doors.film.store(true, Ordering::SeqCst);
    wall.jump(at(1, 17, 30));
    kit::until("the second night has nothing left to do", 180, || {
        let told = summary(&node);
        let done = told["complete"] == true && told["night"] == dates[1].as_str();
        if !done {
            minute(1);
            // It may sleep for a minute of its own; whoever orders something wakes it.
            node.local("POST", "/api/v1/night/resume");
        }
        done
    });
    let second = summary(&node);
    assert_eq!(
        second["sentence"],
        "Ready: 4 of 5 packs complete, but for 1 thing that could not be fetched and 2 things for which there is no room, 1 goes on tonight",
        "{second}"
    );
    assert_eq!(counts(of(&second, "good")), [0, 0, 9, 0, 0, 0, 0], "{second}");
    assert_eq!(counts(of(&second, "film"))[0], 1, "{second}");
    assert_eq!((second["before"]["night"].as_str(), &second["before"]["counts"]["new"]), (Some(dates[0].as_str()), &json!(16)));
    let first = node.local("GET", &format!("/api/v1/night/summary?night={}", dates[0]));
    assert_eq!((&first["sentence"], &first["counts"]), (&told["sentence"], &told["counts"]), "what was told stays");
    assert_eq!(node.local("GET", "/api/v1/night/summaries")["nights"].as_array().map(Vec::len), Some(2));
}
