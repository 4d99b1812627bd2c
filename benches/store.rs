//! What the store takes: disk, writes and memory for many small objects, and how soon it answers again.
//!
//! `cargo bench --bench store`. First 100,000 bodies of 10 KiB, half of them text: bytes on disk and bytes written, for keeping them,
//! for hits and for a night that makes them smaller. Then a million of 1 KiB, which a node opens: from its start to the first hit, and its memory with a full hot tier of
//! 64 MiB. Each part has a process of its own; `BULAK_PART` names the one that is wanted. The README quotes the figures. `BULAK_OBJECTS`
//! sets another count.

#[path = "../tests/kit/mod.rs"]
mod kit;

#[path = "stock.rs"]
mod stock;

#[path = "prose.rs"]
mod prose;

use bulak::base::clock::Clock;
use bulak::base::count::Metrics;
use bulak::base::target::UrlKey;
use bulak::base::unit::Bytes as Size;
use bulak::store::{Pace, Settings, Store};
use kit::http::{Connection, request};
use kit::node::{Node, Setup};
use std::fs;
use std::process::Command;
use stock::{Stock, mb};
use tempfile::TempDir;

/// Which part this process is.
const PART: &str = "BULAK_PART";
const PARTS: [(&str, fn()); 2] = [("disk", on_disk), ("million", a_million)];

const OBJECTS: u64 = 100_000;
const OBJECT: usize = 10 << 10;
/// Hits that must not cost a write.
const HITS: u64 = 20_000;

const MILLION: u64 = 1_000_000;
const SMALL: usize = 1 << 10;
const HOT: usize = 64 << 20;

/// As many objects as the environment says.
fn count(usual: u64) -> u64 {
    std::env::var("BULAK_OBJECTS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

fn main() {
    let part = std::env::var(PART).ok();
    if let Some((_, run)) = PARTS.iter().find(|(name, _)| part.as_deref() == Some(name)) {
        return run();
    }
    for (name, _) in PARTS {
        let own = std::env::current_exe().expect("a program");
        let ended = Command::new(own).env(PART, name).status().expect("starts");
        assert!(ended.success(), "part {name}: {ended}");
    }
}

/// Disk and writes.
fn on_disk() {
    let folder = stock::folder();
    let path = folder.path().join("store");
    let settings = || Settings { memory: Size::mib(32), ..stock::settings(path.clone(), Size::gib(8)) };
    let (clock, before, count) = (Clock::system(), stock::written(), count(OBJECTS));
    let start = clock.steady();
    let stock = Stock::open(settings());
    fill(&stock, count, |number| if number.is_multiple_of(2) { kit::noise(number, OBJECT) } else { prose::page(number, OBJECT) });
    stock.close();
    let (kept, took) = (stock::disk(&path), (clock.steady() - start).as_secs_f64());
    println!("{count} objects of {OBJECT} bytes, half of them text: {:.0} MB stored in {took:.1} s", mb(count * OBJECT as u64));
    println!("on disk after ingest {:>8.1} MB, of which the index {:.1} MB", mb(kept), mb(stock::disk(&path.join("index"))));
    println!(
        "written for it       {:>8.1} MB, {:.2} bytes for each on disk",
        mb(stock::written() - before),
        ratio(stock::written() - before, kept)
    );

    let stock = Stock::open(settings());
    // What opening writes has been written when the index is up.
    kit::until("the index is ready", 60, || stock.store.stat().index != "rebuilding");
    let quiet = stock::written();
    stock.runtime.block_on(hits(&stock.store, count));
    println!("written for {HITS} hits {:>7.1} kB", mb(stock::written() - quiet) * 1e3);
    let objects = stock.store.stat().objects;
    kit::until("the gauges are shown", 60, || table(&stock.metrics) > 0);
    println!("table in memory      {:>8.1} bytes an object", ratio(table(&stock.metrics), objects));

    let (before, start) = (stock::written(), clock.steady());
    let night = stock.runtime.block_on(stock.store.shrink(Pace::Now, || true, |_| {})).expect("a night");
    let took = (clock.steady() - start).as_secs_f64();
    stock.close();
    println!(
        "on disk after repack {:>8.1} MB, {} bodies tried and {:.1} MB written in {took:.1} s",
        mb(stock::disk(&path)),
        night.tried,
        mb(stock::written() - before)
    );
}

/// What the table in memory takes, in bytes.
fn table(metrics: &Metrics) -> u64 {
    let text = metrics.print();
    text.lines().find_map(|line| line.strip_prefix("bulak_store_table_bytes ")?.parse().ok()).expect("a gauge")
}

/// Memory, and how soon it answers.
fn a_million() {
    let count = count(MILLION);
    let folder = stock::folder();
    let path = folder.path().join("store");
    let clock = Clock::system();
    let start = clock.steady();
    let stock = Stock::open(Settings { memory: Size::mib(1), ..stock::settings(path.clone(), Size::gib(16)) });
    fill(&stock, count, |number| kit::noise(number, SMALL));
    let filled = (clock.steady() - start).as_secs_f64();
    stock.close();
    println!("{count} objects of {SMALL} bytes stored in {filled:.1} s, {:.0} MB on disk", mb(stock::disk(&path)));

    let mut node = node(folder, &clock, count, "after an orderly end");
    heat(&node, count);
    println!(
        "resident memory     {:>8.1} MB with a hot tier of {:.0} MB, at the peak {:.1} MB",
        resident(&node),
        mb(HOT as u64),
        mb(node.peak_memory())
    );
    let table = || node.metric("bulak_store_table_bytes", "").filter(|bytes| *bytes > 0.0);
    kit::until("the gauges are shown", 60, || table().is_some());
    let bytes = table().unwrap_or_default();
    println!("table in memory     {:>8.1} bytes an object", bytes / f64::from(u32::try_from(count).expect("millions")));
    node.kill();
    again(&mut node, &clock, count, "after kill -9");
    node.kill();
    fs::remove_dir_all(node.folder.path().join("store/index")).expect("an index");
    again(&mut node, &clock, count, "after kill -9, without the index");
    println!("resident memory     {:>8.1} MB", resident(&node));
}

fn fill(stock: &Stock, count: u64, body: impl Fn(u64) -> Vec<u8>) {
    let now = stock.clock.now();
    stock.runtime.block_on(async {
        for number in 0..count {
            let kind = if number.is_multiple_of(2) { "image/png" } else { "text/html" };
            let bytes = body(number);
            let length = bytes.len() as u64;
            stock::put(&stock.store, stock::meta(&url(number), kind, now), [bytes.into()], length).await.expect("room");
        }
        stock.store.sync().await.expect("a sync");
    });
}

fn url(number: u64) -> String {
    format!("http://o.school.test/{number}")
}

/// Hits in an order that memory does not help with.
async fn hits(store: &Store, count: u64) {
    for round in 0..HITS {
        let found = store.find(&UrlKey::of(&url(round * 7919 % count))).await.expect("a disk that reads");
        assert!(!found.is_empty(), "{round} is gone");
    }
}

fn node(folder: TempDir, clock: &Clock, count: u64, how: &str) -> Node {
    let start = clock.steady();
    let node = Setup::new().set("store.memory", "\"64 MiB\"").set("store.quota", "\"16 GiB\"").start_in(folder);
    first(&node, count, how, (start, clock));
    node
}

fn again(node: &mut Node, clock: &Clock, count: u64, how: &str) {
    let start = clock.steady();
    node.restart();
    first(node, count, how, (start, clock));
}

fn first(node: &Node, count: u64, how: &str, (start, clock): (std::time::Instant, &Clock)) {
    let answer = node.get(&url(count / 2));
    println!("start to first hit  {:>8.3} s {how} ({})", (clock.steady() - start).as_secs_f64(), answer.cache_status());
    assert!(answer.is_hit(), "{}", answer.status);
}

/// Hits until the hot tier is full, and then some.
fn heat(node: &Node, count: u64) {
    let mut connection = Connection::open(node.proxy);
    let enough = (2 * HOT / SMALL) as u64;
    for number in (0..count).step_by(usize::try_from((count / enough).max(1)).expect("small")) {
        connection.send(&request("GET", &url(number), &[])).expect("sends");
        let answer = connection.read(false);
        assert!(answer.is_hit() && answer.body.len() == SMALL, "{number}: {}", answer.status);
    }
}

fn resident(node: &Node) -> f64 {
    let text = fs::read_to_string(format!("/proc/{}/status", node.id())).expect("the node runs");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    mb(line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024)
}

#[expect(clippy::cast_precision_loss, reason = "printed with two digits")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}
