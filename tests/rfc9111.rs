//! Small stories against the real program: what the origin says, what the client asks, what is expected.
//!
//! Each file in `tests/rfc9111/` is one case, its section in the name; `rfc9111/script.rs` tells how to write one. Cases have
//! paths of their own and run side by side on one node for each policy; a case of policy `offline` has a node and an origin to
//! itself, since it takes the line down.

#[path = "rfc9111/fill.rs"]
mod fill;
#[path = "rfc9111/node.rs"]
mod node;
#[path = "rfc9111/origin.rs"]
mod origin;
#[path = "rfc9111/play.rs"]
mod play;
#[path = "rfc9111/script.rs"]
mod script;
#[path = "rfc9111/wire.rs"]
mod wire;

use node::Node;
use origin::Origin;
use script::Case;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Cases played at once: enough to overlap their waits, few enough for two cores.
const HANDS: usize = 8;

/// The cases of one policy, by name; every file must be readable.
fn cases(policy: &str) -> Vec<(String, Case)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rfc9111");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder of cases") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            let name = path.file_stem().and_then(|stem| stem.to_str()).expect("a plain name").to_owned();
            let text = std::fs::read_to_string(&path).expect("a text");
            let case = script::parse(&text).unwrap_or_else(|what| panic!("{name}.txt: {what}"));
            found.push((name, case));
        }
    }
    found.retain(|(_, case)| case.policy == policy);
    found.sort_by(|one, other| one.0.cmp(&other.0));
    found
}

fn play_all(policy: &str) {
    let cases = cases(policy);
    assert!(!cases.is_empty(), "no cases for policy {policy}");
    let (node, origin) = (Node::start(policy), Origin::start());
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..HANDS {
            scope.spawn(|| {
                while let Some((name, case)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(what) = play::play(name, case, node.proxy, &origin) {
                        failed.lock().expect("no panic").push(format!("{name}: {what}"));
                    }
                }
            });
        }
    });
    tell(failed.into_inner().expect("no panic"), cases.len());
}

fn tell(mut failed: Vec<String>, all: usize) {
    failed.sort();
    assert!(failed.is_empty(), "{} of {all} cases failed:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn policy_rfc9111() {
    play_all("rfc9111");
}

#[test]
fn policy_school() {
    play_all("school");
}

#[test]
fn targeted_fields() {
    play_all("targeted");
}

#[test]
fn the_line_goes_down() {
    let cases = cases("offline");
    assert!(!cases.is_empty(), "no cases for policy offline");
    let mut failed = Vec::new();
    for (name, case) in &cases {
        let (node, origin) = (Node::start("offline"), Origin::start());
        if let Err(what) = play::play(name, case, node.proxy, &origin) {
            failed.push(format!("{name}: {what}"));
        }
    }
    tell(failed, cases.len());
}

#[test]
fn the_player_tells_what_differs() {
    // The origin itself stands in for a proxy that keeps nothing.
    let text = |expect: &str| {
        format!(
            "policy rfc9111\norigin 200\n  interim 103\n  Age: 31\norigin 200\n  cut\norigin close\n\
             client GET ?q\n  Foo: 1\nexpect 200 from 1\n  interim 103\n  about Age: 30\n  lacks Via\nsaw 1\n  Foo: 1\n\
             client GET\nexpect 200\n  cut\n{expect}"
        )
    };
    let table = [
        ("saw 2", Ok(())),
        ("saw 1", Err("step 4: the origin saw 2 requests, not 1")),
        ("saw 2\n  has Foo", Err("step 4: Has(\"foo\"), but foo is None")),
        ("client GET\nexpect 200", Err("step 4: no answer: unexpected end of file")),
    ];
    let origin = Origin::start();
    for (at, (expect, wanted)) in table.into_iter().enumerate() {
        let case = script::parse(&text(expect)).expect("a case");
        let found = play::play(&format!("self-{at}"), &case, origin.address, &origin);
        match wanted {
            Ok(()) => assert_eq!(found, Ok(())),
            Err(start) => assert!(found.as_ref().is_err_and(|what| what.starts_with(start)), "{found:?}"),
        }
    }
    origin.leave();
    let case = script::parse("policy offline\nclient GET\nexpect 200").expect("a case");
    assert!(play::play("gone", &case, origin.address, &origin).is_err());
}

#[test]
fn there_are_cases_enough_and_all_can_be_read() {
    let all: usize = ["rfc9111", "school", "targeted", "offline"].map(|policy| cases(policy).len()).iter().sum();
    assert!(all >= 60, "{all} cases");
}
