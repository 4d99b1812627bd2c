//! Every file of the state and of the store, damaged each in turn: cut short, emptied, zeroed, made of noise, replaced by a folder, opened to
//! everybody. The node starts, or says in plain words what to do; it never panics, never serves a wrong byte, and never makes itself a new
//! key without a word.
//!
//! By default each file is damaged in two of the ways, which change from file to file; `BULAK_DAMAGE=all` (`scripts/test --full`) tries all.

use crate::kit;
use crate::kit::node::{Node, Setup};
use crate::kit::origin::{Ask, Origin, Reply, ok};
use crate::kit::program;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    Short,
    Empty,
    Zeros,
    Noise,
    Folder,
    Open,
    Gone,
}

const HARMS: [Harm; 7] = [Harm::Noise, Harm::Folder, Harm::Empty, Harm::Short, Harm::Zeros, Harm::Open, Harm::Gone];

impl Harm {
    fn to(self, file: &Path) {
        let bytes = fs::read(file).expect("a file");
        match self {
            Harm::Short => fs::write(file, &bytes[..bytes.len() / 2]).expect("written"),
            Harm::Empty => fs::write(file, b"").expect("written"),
            Harm::Zeros => fs::write(file, vec![0_u8; bytes.len()]).expect("written"),
            Harm::Noise => fs::write(file, kit::noise(7, bytes.len().max(100))).expect("written"),
            Harm::Folder => {
                fs::remove_file(file).expect("removed");
                fs::create_dir(file).expect("a folder");
                fs::write(file.join("not-ours"), b"precious").expect("written");
            }
            Harm::Open => fs::set_permissions(file, fs::Permissions::from_mode(0o666)).expect("a mode"),
            Harm::Gone => fs::remove_file(file).expect("removed"),
        }
    }
}

const PAGES: u64 = 8;

fn page(number: u64) -> Vec<u8> {
    kit::noise(number, 30_000)
}

fn home(origin: &Origin) -> Setup {
    let setup = Setup::new().set("intercept.enabled", "true").set("intercept.hosts", "[\"kk.wikipedia.org\"]");
    setup.host("l.school.test", origin.addr)
}

fn url(number: u64) -> String {
    format!("http://l.school.test/{number}")
}

/// A node with pages, a token, a CA and a key; ended in order.
fn lived_in(origin: &Origin) -> (Node, String) {
    let mut node = home(origin).start();
    for number in 1..=PAGES {
        assert!(node.twice(&url(number)).is_hit());
    }
    let key = node.key();
    let token = ["user", "token", "add", "tests", "--role", "read"];
    let ca = ["ca", "create", "--school", "A school", "--consent-by", "A. Test", "--role", "head", "--yes"];
    for words in [&token[..], &ca[..]] {
        let made = node.command(words);
        assert!(made.status.success(), "{words:?}: {}", String::from_utf8_lossy(&made.stderr));
    }
    assert!(node.terminate().success());
    (node, key)
}

/// All files below, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").filter_map(Result::ok) {
        let kind = entry.file_type().expect("a kind");
        if kind.is_dir() {
            found.extend(files(&entry.path()));
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    let output = program::run(std::process::Command::new("cp").arg("-a").arg(from).arg(to), 60);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What became of it, in a word; panics where it is wrong.
fn judge(origin: &Origin, from: &Path, file: &Path, harm: Harm, key: &str) -> &'static str {
    let folder = tempfile::tempdir().expect("a folder");
    for part in ["state", "store"] {
        copy(&from.join(part), &folder.path().join(part));
    }
    let what = format!("{} {harm:?}", file.display());
    harm.to(&folder.path().join(file));
    let (mut node, started) = home(origin).try_start_in(folder);
    let log = node.log_text();
    assert!(!log.contains("panicked"), "{what}: {log}");
    if let Err(why) = started {
        let plain = log.lines().rev().find(|line| line.contains("error")).unwrap_or_default().to_owned();
        assert!(["exit status: 1;", "exit status: 2;"].iter().any(|code| why.contains(code)) && !plain.is_empty(), "{what}: {why}");
        eprintln!("{what}: refuses: {plain}");
        return "refuses";
    }
    for number in 1..=PAGES {
        let answer = node.get(&url(number));
        assert!(answer.status == 200 && answer.body == page(number), "{what}: page {number}: {}", answer.status);
    }
    // What comes new is served too.
    let answer = node.get(&url(PAGES + 1));
    assert!(answer.status == 200 && answer.body == page(PAGES + 1), "{what}: a new page: {}", answer.status);
    let reports = node.local("GET", "/api/v1/reports");
    let now = reports["key"].as_str().unwrap_or_default().to_owned();
    assert!(now == key || log.contains("node.key"), "{what}: another key without a word: {log}");
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // What is lost for good is told: keys, tokens, history. Modes are judged of secrets alone; what is derived is made anew.
    let told = match harm {
        Harm::Open => matches!(name.as_str(), "node.key" | "ca.key"),
        Harm::Short => matches!(name.as_str(), "node.key" | "node.sqlite" | "consent.json"),
        _ => matches!(name.as_str(), "node.key" | "node.sqlite" | "ca.key" | "consent.json"),
    };
    assert!(!told || log.contains(&name) || log.contains("agreed"), "{what}: not a word of it: {log}");
    if file.ends_with("node.key") && harm == Harm::Folder {
        assert_eq!(fs::read(node.folder.path().join(file).join("not-ours")).expect("still there"), b"precious", "{what}");
    }
    assert!(node.terminate().success(), "{what}: it does not end in order");
    let log = node.log_text();
    assert!(!log.contains("panicked"), "{what}: {log}");
    "starts"
}

#[test]
fn every_file_damaged_in_turn_is_no_reason_not_to_serve() {
    let origin = Origin::start(|ask: &Ask| {
        let number = ask.target.trim_start_matches('/').parse().unwrap_or(0);
        Reply::Bytes(ok(&["Cache-Control: public, max-age=86400"], &page(number)))
    });
    let (node, key) = lived_in(&origin);
    let place = node.folder.path();
    let all = std::env::var("BULAK_DAMAGE").is_ok_and(|text| text == "all");
    let found: Vec<PathBuf> = ["state", "store"].iter().flat_map(|part| files(&place.join(part))).collect();
    let mut cases = Vec::new();
    for (index, file) in found.iter().enumerate() {
        let file = file.strip_prefix(place).expect("below").to_owned();
        for (way, harm) in HARMS.into_iter().enumerate() {
            if all || way == (2 * index) % 7 || way == (2 * index + 1) % 7 {
                cases.push((file.clone(), harm));
            }
        }
    }
    eprintln!(
        "{} files: {}",
        found.len(),
        found.iter().map(|file| file.strip_prefix(place).expect("below").display().to_string()).collect::<Vec<_>>().join(", ")
    );
    let cases = std::sync::Mutex::new(cases.into_iter());
    let (starts, refuses) = (std::sync::atomic::AtomicUsize::new(0), std::sync::atomic::AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let case = cases.lock().expect("no thread panics holding it").next();
                    let Some((file, harm)) = case else { return };
                    let counter = if judge(&origin, place, &file, harm, &key) == "starts" { &starts } else { &refuses };
                    counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                }
            });
        }
    });
    let (starts, refuses) = (starts.into_inner(), refuses.into_inner());
    eprintln!("{starts} starts, {refuses} refusals in plain words");
    assert!(starts > 10, "{starts} starts, {refuses} refusals");
}
