//! The open benchmark itself: a tiny scenario through bulak and without a proxy, on the relay; what it tells of wrong bytes, of missing
//! objects and of scenario files with mistakes. Counts, not times.

#[path = "kit/mod.rs"]
mod kit;

#[path = "../benches/line/mod.rs"]
mod line;

#[path = "../benches/classroom/mod.rs"]
mod classroom;

use classroom::against::{against, table};
use classroom::card::card;
use classroom::content::Content;
use classroom::peer::Kind;
use classroom::place::Emulation;
use classroom::result::{Pass, Report, Turn};
use classroom::scenario::{Phase, Scenario};
use classroom::{Run, run, trace};
use kit::origin::{Origin, Reply, answer};
use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

const TINY: &str = r#"
name = "tiny"
about = "Three devices open one page."
phases = ["cold", "warm", "down"]
rounds = 1
[line]
down = "200 Mbit/s"
up = "200 Mbit/s"
rtt = "2 ms"
[devices]
count = 3
connections = 2
[pages]
objects = 12
bytes = "60 kB"
[goals]
copies = 1.02
"#;

fn play(text: &str, proxies: Vec<Kind>) -> Report {
    let scenarios = vec![Scenario::parse(text).expect("a scenario")];
    let folder = tempfile::tempdir().expect("a folder");
    run(&Run { scenarios, proxies, left_out: BTreeMap::new(), rounds: None, emulation: Emulation::Relay }, folder.path(), &|_| (), &|_| ())
}

/// The first round of the proxy at a place.
fn first(report: &Report, at: usize) -> &Turn {
    let turn = &report.scenarios[0].proxies[at].rounds[0];
    assert_eq!(turn.trouble, None);
    turn
}

fn phase(turn: &Turn, phase: Phase) -> &Pass {
    turn.phases.iter().find(|pass| pass.phase == phase).expect("it was played")
}

#[test]
fn a_class_through_bulak_and_without_a_proxy() {
    let report = play(TINY, vec![Kind::Bulak, Kind::None]);
    let (bulak, none) = (first(&report, 0), first(&report, 1));
    for pass in bulak.phases.iter().chain(&none.phases) {
        assert_eq!((pass.right, pass.broken_visits, pass.faults.len()), (36, 0, 0), "{pass:?}");
        assert_eq!(pass.visits_ms.len(), 3);
    }
    assert_eq!(report.sound(), Ok(()));
    let copy = report.scenarios[0].one_copy_bytes;
    let (cold, warm, down) = (phase(bulak, Phase::Cold), phase(bulak, Phase::Warm), phase(bulak, Phase::Down));
    // One copy and not much beside it, and nothing once it is here; without a proxy, three.
    assert_eq!((cold.requests, warm.requests, down.requests), (12, 0, 0));
    assert!((copy..copy * 102 / 100).contains(&cold.down_bytes), "{} of {copy}", cold.down_bytes);
    assert_eq!((warm.down_bytes, down.down_bytes), (0, 0));
    let plain = phase(none, Phase::Cold);
    assert_eq!((plain.requests, plain.down_bytes), (36, 3 * copy));
    assert_eq!(none.phases.len(), 2, "nobody asks a dead line");
    assert!(bulak.peak_memory_bytes.expect("a process") > 0);

    let text = card(&report);
    for part in [
        "## tiny",
        "| cold | median |",
        "| line down | median |",
        "| bulak |",
        "| none |",
        "copies over the line, cold, at most 1.02 | 1.0",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    assert!(text.contains("| yes |"), "{text}");
    let json: serde_json::Value = serde_json::to_value(&report).expect("plain data");
    assert_eq!(json["format"], 1);
    let proxies = &json["scenarios"][0]["proxies"];
    assert_eq!((&proxies[0]["name"], &proxies[1]["name"]), (&"bulak".into(), &"none".into()));
    assert_eq!(proxies[0]["summary"][0]["failed"], 0);
    assert_eq!(proxies[0]["rounds"][0]["phases"][0]["right"], 36);
    assert_eq!(json["scenarios"][0]["scenario"]["devices"]["count"], 3);
}

#[test]
fn a_run_beside_an_earlier_one() {
    let report = play(&TINY.replace("\"down\"", "\"warm\""), vec![Kind::Bulak]);
    let text = card(&report);
    for title in ["| cold | median |", "| warm | median |", "| warm (2) | median |"] {
        assert!(text.contains(title), "{title} in\n{text}");
    }
    let now = serde_json::to_value(&report).expect("plain data");
    let why = |then: &serde_json::Value| against(&now, then).into_iter().map(|row| row.why_not).collect::<Vec<_>>();
    let rows = against(&now, &now);
    assert_eq!(rows.iter().map(|row| row.ratio).collect::<Vec<_>>(), [Some(1.0); 3]);
    assert_eq!(table(&rows).lines().filter(|line| line.contains("| tiny | bulak |") && line.ends_with("| 1.00 |")).count(), 3);

    // What may not be compared is named.
    let changed = |path: &str, value: serde_json::Value| {
        let mut then = now.clone();
        *then.pointer_mut(path).expect("it is there") = value;
        then
    };
    assert_eq!(why(&changed("/scenarios/0/scenario/goals/copies", 2.into())), [None; 3]);
    assert_eq!(why(&changed("/line", "another".into())), [Some("another kind of line"); 3]);
    assert_eq!(why(&changed("/origins_send", "another".into())), [Some("another congestion control of origins"); 3]);
    assert_eq!(why(&changed("/scenarios/0/scenario/seed", 5.into())), [Some("the scenario has changed"); 3]);
    assert_eq!(why(&changed("/scenarios/0/proxies/0/name", "squid".into())), [Some("not played then"); 3]);
    let failed = changed("/scenarios/0/proxies/0/summary/2/failed", 1.into());
    assert_eq!(why(&failed), [None, None, Some("not everything came right then")]);
    let rows = against(&failed, &now);
    assert_eq!((rows[2].ratio, rows[2].why_not), (None, Some("not everything came right now")));
    assert!(table(&rows).contains("| not everything came right now |"));
    // A proxy that does not even start any more.
    let broken = changed("/scenarios/0/proxies/0/summary", serde_json::json!([]));
    let rows = against(&broken, &now);
    assert_eq!(
        rows.iter().map(|row| (row.phase.as_str(), row.why_not)).collect::<Vec<_>>(),
        ["cold", "warm", "warm"].map(|phase| (phase, Some("not played now")))
    );
    assert_eq!(why(&broken), [Some("not played then"); 3]);
}

#[test]
fn bulak_with_one_key_changed() {
    let named = |text: &str| text.parse::<Kind>();
    assert!(named("bulak:cache.look_ahead").is_err() && named("squid:cache=1").is_err());
    let proxies = ["bulak:cache.look_ahead=false", "bulak:cache.look_ahaed=false"].map(|text| named(text).expect("a key and a value"));
    let report = play(TINY, [proxies.as_slice(), &[Kind::Bulak]].concat());
    assert_eq!(report.scenarios[0].proxies[0].name, "bulak:cache.look_ahead=false");
    let text = card(&report);
    let ratios: Vec<_> =
        text.lines().filter(|line| line.starts_with("| bulak")).map(|line| line.split('|').nth(3).map(str::trim)).collect();
    assert!(ratios.len() > 2 && ratios.iter().all(|ratio| *ratio == Some("–")), "no variant is a peer: {text}");
    assert_eq!(phase(first(&report, 0), Phase::Cold).requests, 12);
    let trouble = report.scenarios[0].proxies[1].rounds[0].trouble.as_deref().expect("there is no such key");
    assert!(trouble.contains("look_ahaed"), "{trouble}");
    assert_eq!(report.sound(), Ok(()), "nobody's goals are those of the second");
    let report = play(TINY, vec![proxies[1].clone()]);
    assert!(report.sound().expect_err("of the first they are").contains("look_ahaed"));
}

#[test]
fn pieces_of_a_file() {
    let work = TINY.replace("[pages]\nobjects = 12\nbytes = \"60 kB\"", "[ranges]\nfile = \"1 MB\"\nrange = \"64 KiB\"\npick = \"all\"");
    let scenario = Scenario::parse(&work).expect("a scenario");
    let content = Content::of(&scenario, 0);
    let rounds = trace::trace(&scenario, &content, 0);
    let pieces: usize = rounds.iter().map(|round| round.visits[0].pieces.len()).sum();
    assert_eq!(trace::one_copy(&rounds, &content), 1_000_000, "each device's pieces are the whole file");
    assert_ne!(rounds[0].visits[0].pieces, rounds[1].visits[0].pieces, "each in an order of its own");

    let report = play(&work, vec![Kind::Bulak, Kind::None]);
    for at in [0, 1] {
        let cold = phase(first(&report, at), Phase::Cold);
        assert_eq!((cold.right, cold.broken_visits), (pieces, 0), "{:?} {:?}", cold.faults, cold.examples);
    }
    assert!(phase(first(&report, 0), Phase::Down).faults.is_empty(), "the whole file is here");
}

/// A proxy that fetches from the origin and spoils what it passes on.
fn spoiler(spoil: impl Fn(&str, Vec<u8>) -> Vec<u8> + Send + Sync + 'static) -> Origin {
    Origin::start(move |ask| {
        let rest = ask.target.strip_prefix("http://").expect("absolute form");
        let (host, path) = rest.split_at(rest.find('/').expect("a path"));
        let mut stream = TcpStream::connect(host).expect("the line");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").expect("sends");
        let got = kit::http::read(&mut std::io::BufReader::new(stream), false);
        let body = spoil(path, got.body);
        if body.is_empty() { Reply::Bytes(answer("404 Not Found", &[], b"")) } else { Reply::Bytes(answer("200 OK", &[], &body)) }
    })
}

fn through(spoil: impl Fn(&str, Vec<u8>) -> Vec<u8> + Send + Sync + 'static) -> Report {
    let proxy = spoiler(spoil);
    play(&TINY.replace(", \"warm\", \"down\"", ""), vec![Kind::Running(proxy.addr, None)])
}

#[test]
fn wrong_bytes_are_told() {
    let report = through(|path, mut body| {
        if path.ends_with("/6.png") {
            *body.last_mut().expect("a body") ^= 1;
        }
        body
    });
    let cold = phase(first(&report, 0), Phase::Cold);
    assert_eq!((cold.right, cold.broken_visits), (33, 3));
    assert_eq!(cold.faults.iter().collect::<Vec<_>>(), [(&"wrong", &3)]);
    assert!(cold.examples[0].ends_with("6.png: other bytes than the origin's"), "{:?}", cold.examples);
    assert!(report.sound().expect_err("no run to build on").ends_with("gave wrong bytes"));
    let text = card(&report);
    assert!(text.contains("6.png: other bytes than the origin's"), "{text}");
    assert!(text.contains("| 3 | 3 |"), "failed and wrong in\n{text}");
    assert_eq!(report.scenarios[0].proxies[0].summary[0].wrong, 3);
}

#[test]
fn missing_and_short_objects_are_told() {
    // Once for the whole class: the first who asks.
    let spoilt = Mutex::new(std::collections::BTreeSet::new());
    let report = through(move |path, mut body| {
        if spoilt.lock().expect("no panics").insert(path.to_owned()) {
            if kit::ends_in(path, "css") {
                return Vec::new();
            }
            if path.ends_with("/5.png") {
                body.pop();
            }
        }
        body
    });
    let turn = first(&report, 0);
    let cold = phase(turn, Phase::Cold);
    assert_eq!((cold.faults.get("status"), cold.faults.get("length")), (Some(&1), Some(&1)), "{:?}", cold.faults);
    // What the style sheet names was not asked for by that device, and that counts.
    let lost = cold.faults.get("not asked for").copied().unwrap_or_default();
    assert!(lost > 0, "{:?}", cold.faults);
    assert_eq!(cold.right + 2 + lost, 36);
}

#[test]
fn those_who_hold_connections_compare_what_they_get() {
    let with = |work: &str| {
        TINY.replace(", \"warm\", \"down\"", "").replace("copies = 1.02", "").replace("[pages]\nobjects = 12\nbytes = \"60 kB\"", work)
    };
    let slow = with("[readers]\nfile = \"100 kB\"\nrate = \"1 Mbit/s\"\nhold = \"300 ms\"");
    let silent = with("[idle]\nconnections = 5\nhold = \"100 ms\"");
    let came = |report: &Report| {
        let cold = phase(first(report, 0), Phase::Cold);
        (cold.right, cold.faults.clone(), cold.examples.len())
    };
    for (work, all) in [(&slow, 3), (&silent, 5)] {
        assert_eq!(came(&play(work, vec![Kind::Bulak])), (all, BTreeMap::new(), 0));
        // The file is fetched once, and well, so that it is there.
        let spoiled = |spoil: fn(&mut Vec<u8>)| {
            let fetched = AtomicUsize::new(0);
            let healthy = usize::from(work == &slow);
            let proxy = spoiler(move |path, mut body| {
                if !path.starts_with("/warm-up") && fetched.fetch_add(1, Ordering::Relaxed) >= healthy {
                    spoil(&mut body);
                }
                body
            });
            play(work, vec![Kind::Running(proxy.addr, None)])
        };
        let report = spoiled(|body| body[9] ^= 1);
        assert_eq!(came(&report), (0, BTreeMap::from([("wrong", all)]), 1));
        assert!(report.sound().is_err());
        assert_eq!(came(&spoiled(|body| body.truncate(10))), (0, BTreeMap::from([("length", all)]), 1));
        assert_eq!(came(&spoiled(Vec::clear)), (0, BTreeMap::from([("status", all)]), 1));
    }
    // Whoever has all of it waits for the end.
    assert_eq!(came(&play(&slow.replace("100 kB", "20 kB"), vec![Kind::Bulak])), (3, BTreeMap::new(), 0));
}

#[test]
fn mistakes_in_files_are_told() {
    for (from, to, said) in [
        ("count = 3", "count = 3\ncolour = 4", "unknown field `colour`"),
        ("count = 3", "count = 300", "devices.count is 300: 1 to 250"),
        ("rtt = \"2 ms\"", "rtt = \"2\"", "write it like"),
        ("rtt = \"2 ms\"", "rtt = \"2 h\"", "line.rtt is 2 h: at most 3 s"),
        ("[goals]", "[idle]\nconnections = 1\nhold = \"1 s\"\n[goals]", "exactly one of [pages]"),
        ("phases = [\"cold\"", "phases = [\"warm\"", "cold before it is warm"),
        ("name = \"tiny\"", "name = \"Tiny!\"", "small letters"),
        ("up = \"200 Mbit/s\"", "outages = [{ from = \"5 s\", to = \"2 s\" }]", "from = \"2 s\", to = \"5 s\""),
    ] {
        let text = TINY.replacen(from, to, 1);
        assert_ne!(text, TINY);
        let why = Scenario::parse(&text).expect_err(to);
        assert!(why.contains(said), "{to}: {why}");
    }
}

#[test]
fn our_scenarios_are_sound() {
    let folder = kit::root().join("benches/classroom/scenarios");
    let mut seen = 0;
    for name in kit::nginx::names(&folder) {
        let scenario = Scenario::read(&folder.join(&name)).unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(format!("{}.toml", scenario.name), name);
        let content = Content::of(&scenario, 0);
        for object in content.objects.iter().take(200) {
            let mut bytes = Vec::new();
            let end = object.length.min(100_000);
            object.write(0..end, &mut bytes);
            assert_eq!(bytes.len() as u64, end);
            // From an odd offset, and only the right bytes.
            assert!(object.is_at(0, &bytes) && (end < 20 || object.is_at(13, &bytes[13..])), "{}", object.path);
            bytes[0] ^= 1;
            assert!(!object.is_at(0, &bytes), "{}", object.path);
        }
        seen += 1;
    }
    assert!(seen >= 10, "only {seen} scenarios");
}

/// Whoever has a published trace can tell whether his generator makes the same.
#[test]
fn our_example_comes_from_the_seed_too() {
    let example = kit::root().join("benches/classroom/example");
    let mut seen = 0;
    for name in kit::nginx::names(&example).iter().filter(|name| name.ends_with(".trace.json")) {
        let scenario = name.replace(".trace.json", ".toml");
        let scenario =
            Scenario::read(&kit::root().join("benches/classroom/scenarios").join(scenario)).unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(std::fs::read_to_string(example.join(name)).expect("a file"), trace::document(&scenario), "{name}");
        seen += 1;
    }
    assert_eq!(seen, 3);
}

#[test]
fn content_and_trace_come_from_the_seed_alone() {
    let scenario = Scenario::parse(TINY).expect("a scenario");
    let all = |round| {
        let content = Content::of(&scenario, round);
        serde_json::to_string(&(&content, trace::trace(&scenario, &content, round))).expect("plain data")
    };
    assert_eq!(all(0), all(0));
    assert_ne!(all(0), all(1));
    let content = Content::of(&scenario, 0);
    let bytes: u64 = content.objects.iter().filter(|object| !object.path.starts_with("/warm-up")).map(|object| object.length).sum();
    assert!((57_000..=63_000).contains(&bytes), "{bytes} of 60 kB");
    let named: usize = content.objects.iter().map(|object| object.names.len()).sum();
    assert_eq!(named, 11, "all but the page are named by something");
}
