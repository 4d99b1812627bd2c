//! What grows with the store: CPU of a hit, resident memory and the rate of filling, from a thousand objects to a hundred thousand.
//!
//! `cargo bench --bench growth`. One node that goes on growing, bodies of 1 KiB, half of them text; at each size hits all over the store
//! and hits on a few. Prints the table and draws the curves into `target/growth.svg`: one that climbs where it should lie flat is seen
//! before a school has that many objects. `BULAK_GROWTH=6` goes on to a million (10^6), `BULAK_BIN` names another build. CPU is that of
//! the node's process, so a busy machine hurts little; objects a second are those of node, origin and clients on one machine.

#[path = "../tests/kit/mod.rs"]
mod kit;

#[path = "growth/curves.rs"]
mod curves;

#[path = "classroom/process.rs"]
#[expect(dead_code, reason = "the kit ends what it has started")]
mod process;

#[path = "prose.rs"]
mod prose;

use bulak::base::clock::Clock;
use curves::{Curve, Drawing};
use kit::http::{Connection, request};
use kit::node::{Node, Setup};
use kit::origin::{Origin, Reply, ok};
use process::Family;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

const OBJECT: usize = 1 << 10;
/// Clients at once.
const READERS: u64 = 8;
/// Hits at each size: about a second of CPU, which the kernel tells in hundredths.
const HITS: u64 = 40_000;
/// Objects that everybody wants: they stay in memory.
const FEW: u64 = 500;
/// Coprime to every count: hits go all over the store, in an order that memory does not help with.
const STRIDE: u64 = 7919;
/// The powers of ten at which it begins and ends.
const LEAST: u32 = 3;
const MOST: u32 = 5;

/// What is measured at one size.
struct Point {
    objects: u64,
    /// Objects a second since the point before.
    filled: f64,
    /// CPU of one, µs.
    fill_cpu: f64,
    /// CPU of a hit anywhere, µs.
    far: f64,
    /// CPU of a hit on what everybody wants, µs.
    near: f64,
    /// MB.
    memory: f64,
}

fn main() {
    let most = std::env::var("BULAK_GROWTH").ok().and_then(|text| text.parse().ok()).unwrap_or(MOST);
    let origin = Origin::start(|ask| {
        let number: u64 = ask.target.trim_start_matches('/').parse().unwrap_or(0);
        let (kind, body) =
            if number.is_multiple_of(2) { ("image/png", kit::noise(number, OBJECT)) } else { ("text/html", prose::page(number, OBJECT)) };
        Reply::Bytes(ok(&["Cache-Control: public, max-age=864000", &format!("Content-Type: {kind}")], &body))
    });
    let node = Setup::new()
        .set("store.memory", "\"16 MiB\"")
        .set("store.quota", "\"16 GiB\"")
        .set("upstream.per_origin", "64")
        .host("o.school.test", origin.addr)
        .start();
    println!("{:>9} {:>10} {:>10} {:>12} {:>12} {:>10}", "objects", "filled/s", "fill µs", "far hit µs", "near hit µs", "RSS MB");
    let mut points = Vec::new();
    let mut have = 0;
    // Two sizes for each power of ten: 1, 3, 10, 30.
    for objects in (LEAST..=most).flat_map(|power| [10_u64.pow(power), 3 * 10_u64.pow(power)]).filter(|many| *many <= 10_u64.pow(most)) {
        let point = measure(&node, have, objects);
        let Point { filled, fill_cpu, far, near, memory, .. } = point;
        println!("{objects:>9} {filled:>10.0} {fill_cpu:>10.1} {far:>12.1} {near:>12.1} {memory:>10.1}");
        points.push(point);
        have = objects;
    }
    // A store that had lost some would be a small one.
    assert_eq!(origin.count() as u64, have, "the origin was asked once for each");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/growth.svg");
    std::fs::write(&path, draw(&points)).expect("a file");
    println!("curves: {}", path.display());
}

/// Fills up to `objects`, then asks.
fn measure(node: &Node, have: u64, objects: u64) -> Point {
    let (cpu, took) = load(node, objects - have, |at| have + at, false);
    let (filled, fill_cpu) = (real(objects - have) / took.as_secs_f64(), micros(cpu, objects - have));
    // Into memory first.
    load(node, FEW, |at| at, true);
    let (near, _) = load(node, HITS, |at| at % FEW, true);
    let (far, _) = load(node, HITS, |at| at * STRIDE % objects, true);
    let memory = real(Family(node.id()).memory().expect("it runs")) / 1e6;
    Point { objects, filled, fill_cpu, far: micros(far, HITS), near: micros(near, HITS), memory }
}

/// So many requests; CPU that the node used, and how long it took.
fn load(node: &Node, count: u64, object: impl Fn(u64) -> u64 + Sync, hits: bool) -> (Duration, Duration) {
    let (clock, family) = (Clock::system(), Family(node.id()));
    let (cpu, start) = (family.cpu().expect("it runs"), clock.steady());
    std::thread::scope(|scope| {
        for reader in 0..READERS {
            let (object, proxy) = (&object, node.proxy);
            scope.spawn(move || read(proxy, (reader..count).step_by(usize::try_from(READERS).expect("small")).map(object), hits));
        }
    });
    (family.cpu().expect("it runs").saturating_sub(cpu), clock.steady() - start)
}

fn read(proxy: SocketAddr, objects: impl Iterator<Item = u64>, hits: bool) {
    let mut connection = Connection::open(proxy);
    for number in objects {
        connection.send(&request("GET", &format!("http://o.school.test/{number}"), &[])).expect("sends");
        let answer = connection.read(false);
        assert!(answer.status == 200 && answer.body.len() == OBJECT && answer.is_hit() == hits, "{number}: {}", answer.cache_status());
    }
}

fn draw(points: &[Point]) -> String {
    let curve =
        |name, value: fn(&Point) -> f64| Curve { name, points: points.iter().map(|point| (real(point.objects), value(point))).collect() };
    curves::page(&[
        Drawing {
            title: "CPU of a hit, µs",
            curves: vec![curve("anywhere in the store", |point| point.far), curve("what everybody wants", |point| point.near)],
        },
        Drawing { title: "Resident memory, MB", curves: vec![curve("node", |point| point.memory)] },
        Drawing { title: "CPU of an object taken in, µs", curves: vec![curve("node", |point| point.fill_cpu)] },
        Drawing {
            title: "Objects taken in a second, with origin and clients on the same machine",
            curves: vec![curve("node", |point| point.filled)],
        },
    ])
}

fn micros(cpu: Duration, count: u64) -> f64 {
    cpu.as_secs_f64() * 1e6 / real(count)
}

#[expect(clippy::cast_precision_loss, reason = "printed with one digit")]
fn real(many: u64) -> f64 {
    many as f64
}
