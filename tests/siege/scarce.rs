//! Descriptors and threads run out: under a node that runs, and for one that starts.
//!
//! Memory is left out: what the kernel does then is to end somebody, which is `kill -9`.

use crate::kit;
use crate::kit::node::{Setup, copied};
use crate::kit::program;
use crate::town::{Holds, PUPIL, Town, ask, crowd, device, obliging, standing};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// A user that nobody is, so that its processes are counted apart.
const NOBODY: u32 = 48_611;

fn limit(town: &Town, what: Resource, to: u64) {
    let id = Pid::from_raw(i32::try_from(town.node.id()).expect("a process id")).expect("a process id");
    // What was inherited from this process stays the most, so that it can be raised again.
    prlimit(Some(id), what, Rlimit { current: Some(to), maximum: getrlimit(what).maximum }).expect("a limit");
}

#[test]
fn sixty_four_descriptors_are_left() {
    let town = Town::new(Setup::new());
    let held = Holds::of(town.node.id()).files;
    limit(&town, Resource::Nofile, held as u64 + 64);
    town.ordinary("with 64 descriptors left");
    // A crowd takes them all: it is not the class's day, but it ends.
    let streams = crowd(4, 60, town.node.proxy, |_| Vec::new());
    std::thread::scope(|scope| {
        // Whoever asks meanwhile gets an answer, or waits until somebody leaves.
        let asked = scope.spawn(|| {
            let mut stream = crate::town::open(PUPIL, town.node.proxy);
            std::io::Write::write_all(&mut stream, &kit::http::request("GET", "http://h.school.test/page/1", &[])).expect("sends");
            kit::http::read(&mut std::io::BufReader::new(stream), false)
        });
        kit::until("all are taken", 30, || Holds::of(town.node.id()).files >= held + 60);
        drop(streams);
        let answer = asked.join().expect("an answer");
        assert!(answer.status == 200 || answer.status >= 500, "{}", answer.status);
    });
    town.ordinary("after all descriptors were taken");
    let log = town.node.log_text();
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn a_node_with_few_descriptors_leaves_some_for_origins_and_the_store() {
    let town = Town::new(Setup::new().under(&["prlimit", "--nofile=256:256"]));
    // As many as it takes from three devices: the fourth finds a place, an origin and a store.
    let streams = crowd(3, 200, town.node.proxy, |_| Vec::new());
    kit::until("what may not come in is sent away", 30, || standing(&streams) <= town.inside());
    assert!(town.inside() >= 30, "{} are inside", town.inside());
    town.ordinary("with 256 descriptors and a crowd of three");
    assert_eq!(town.node.web("/healthz").status, 200);
    drop(streams);
    let refused = ask(device(0), town.node.proxy, "GET", "http://h.school.test/page/1", &[]);
    assert!(matches!(refused.status, 200 | 503));
    assert!(town.node.log_text().contains("LimitNOFILE"), "it says so: {}", town.node.log_text());
}

/// The program as a user of its own with at most so many threads.
fn as_nobody(threads: u64) -> Option<Vec<String>> {
    let found = program::find("setpriv").is_some() && rustix::process::geteuid().is_root();
    let id = NOBODY.to_string();
    let words = ["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups", "prlimit"];
    found.then(|| words.iter().map(|&word| word.to_owned()).chain([format!("--nproc={threads}")]).collect())
}

/// Others may look into it.
fn open(folder: &Path) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("ours");
}

fn skipped(test: &str) {
    program::skipped(test, "only root can start a program as somebody else, and only others are held to a number of threads");
}

#[test]
fn a_node_without_threads_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    open(folder.path());
    let program = copied(folder.path());
    for threads in [1, 2, 4, 6, 8, 10, 12] {
        let Some(words) = as_nobody(threads) else { return skipped("a_node_without_threads_says_so") };
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg(&program).args(["serve", "--ephemeral"]);
        let output = program::run(&command, 5);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!said.contains("panicked"), "{threads} threads: {said}");
        // It runs until it is told to end, or says what is missing.
        match output.status.code() {
            Some(1) => assert!(said.contains("threads"), "{threads} threads: {said}"),
            code => assert!(matches!(code, Some(124 | 137) | None), "{threads} threads: {code:?} {said}"),
        }
    }
}

#[test]
fn a_node_that_gets_no_more_threads_goes_on() {
    let test = "a_node_that_gets_no_more_threads_goes_on";
    let Some(words) = as_nobody(10_000) else { return skipped(test) };
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let folder = tempfile::tempdir().expect("a folder");
    open(folder.path());
    let program = copied(folder.path());
    // The node's own program follows; in its place that copy is run.
    let copy = format!("shift; exec {} \"$@\"", program.display());
    let under: Vec<&str> = words.iter().copied().chain(["sh", "-c", &copy, "sh"]).collect();
    std::os::unix::fs::chown(folder.path(), Some(NOBODY), Some(NOBODY)).expect("root");
    let town = Town::within(folder, Setup::new().under(&under), obliging());
    // From now on not one more, and those that are only there for a burst leave after a while.
    let allow = |threads: &str| {
        // Only its own user may say so.
        let mut command = Command::new(words[0]);
        command.args(&words[1..words.len() - 1]).args(["--pid", &town.node.id().to_string(), &format!("--nproc={threads}:")]);
        let output = program::run(&command, 20);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    allow("1");
    std::thread::sleep(std::time::Duration::from_secs(12)); // tokio's blocking threads leave after 10 s without work
    town.ordinary("with no thread to be had");
    assert_eq!(town.node.web("/").status, 200);
    allow("10000");
    town.ordinary("with threads again");
    let log = town.node.log_text();
    assert!(!log.contains("panicked"), "{log}");
}
