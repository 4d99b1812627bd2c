//! Memory, disk and restart with many objects: 100,000 distinct bodies of 10 KiB through the proxy, then `kill -9`.
//!
//! `cargo bench --bench memory`. Prints resident memory, bytes on disk, and the time from start to the first hit; the README
//! quotes it. `BULAK_OBJECTS` sets another count.

#[path = "../tests/kit/mod.rs"]
mod kit;

#[path = "prose.rs"]
mod prose;

use bulak::base::clock::Clock;
use kit::http::{Connection, request};
use kit::node::{Node, Setup};
use kit::origin::{Origin, Reply, ok};
use std::fs;
use std::path::Path;

const OBJECT: usize = 10 << 10;
const READERS: u64 = 8;

fn main() {
    let count: u64 = std::env::var("BULAK_OBJECTS").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000);
    // Half of it text, half of it noise, as a lesson's pages and pictures are.
    let origin = Origin::start(|ask| {
        let number: u64 = ask.target.trim_start_matches('/').parse().unwrap_or(0);
        let (kind, body) =
            if number.is_multiple_of(2) { ("image/png", kit::noise(number, OBJECT)) } else { ("text/html", prose::page(number, OBJECT)) };
        Reply::Bytes(ok(&["Cache-Control: public, max-age=86400", &format!("Content-Type: {kind}")], &body))
    });
    let mut node = Setup::new()
        .set("store.memory", "\"32 MiB\"")
        .set("store.quota", "\"8 GiB\"")
        .set("upstream.per_origin", "64")
        .host("o.school.test", origin.addr)
        .start();
    let clock = Clock::system();
    let start = clock.steady();
    let proxy = node.proxy;
    std::thread::scope(|scope| {
        for reader in 0..READERS {
            scope.spawn(move || {
                let mut connection = Connection::open(proxy);
                for number in (0..count).skip(usize::try_from(reader).expect("small")).step_by(usize::try_from(READERS).expect("small")) {
                    connection.send(&request("GET", &format!("http://o.school.test/{number}"), &[])).expect("sends");
                    let answer = connection.read(false);
                    assert!(answer.status == 200 && answer.body.len() == OBJECT, "{number}: {}", answer.status);
                }
            });
        }
    });
    println!("{count} objects of {OBJECT} bytes stored in {:.1} s", (clock.steady() - start).as_secs_f64());
    println!("resident memory     {:>8.1} MB, at the peak {:.1} MB", resident(&node), mb(node.peak_memory()));
    println!("bytes on disk       {:>8.1} MB", mb(disk(&node.folder.path().join("store"))));

    let asked = origin.count();
    first(&mut node, &clock, count, "");
    node.kill();
    fs::remove_dir_all(node.folder.path().join("store/index")).expect("an index");
    first(&mut node, &clock, count, " and without the index");
    let hits = (0..1000).filter(|at| node.get(&format!("http://o.school.test/{}", at * (count / 1000).max(1) % count)).is_hit()).count();
    assert_eq!((hits, origin.count()), (1000, asked), "all of it was kept");
    println!("resident memory     {:>8.1} MB", resident(&node));
}

/// `kill -9`, and how long until it answers again.
fn first(node: &mut Node, clock: &Clock, count: u64, how: &str) {
    node.kill();
    let start = clock.steady();
    node.restart();
    let first = node.get(&format!("http://o.school.test/{}", count / 2));
    println!("start to first hit  {:>8.3} s after kill -9{how} ({})", (clock.steady() - start).as_secs_f64(), first.cache_status());
}

fn resident(node: &Node) -> f64 {
    let text = fs::read_to_string(format!("/proc/{}/status", node.id())).expect("the node runs");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    mb(line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024)
}

#[expect(clippy::cast_precision_loss, reason = "printed with one digit")]
fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn disk(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .filter_map(Result::ok)
        .map(|entry| if entry.path().is_dir() { disk(&entry.path()) } else { entry.metadata().map_or(0, |meta| meta.blocks() * 512) })
        .sum()
}
