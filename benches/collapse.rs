//! A class wants one film: 100 clients, 5 MiB that nobody has yet, a line of 10 Mbit/s.
//!
//! `cargo bench --bench collapse`. Prints how often the origin was asked and what the line carried, how long after the origin's first byte
//! the last client had his, and when the last client was done, as a ratio to what one client without a proxy takes. `BULAK_BIN` names another build.

#[path = "../tests/kit/mod.rs"]
mod kit;

use bulak::base::clock::Clock;
use kit::http::{Connection, request};
use kit::line::Line;
use kit::node::Setup;
use kit::origin::{Origin, Reply, ok};
use std::io::BufRead;
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

const CLIENTS: usize = 100;
const FILE: usize = 5 << 20;
/// 10 Mbit/s in bytes.
const RATE: u64 = 1_250_000;
const ROUNDS: usize = 3;

fn main() {
    let clock = Clock::system();
    let begun = Arc::new(Mutex::new(None));
    let (seen, told) = (clock.clone(), Arc::clone(&begun));
    let body = kit::noise(1, FILE);
    let origin = Origin::start(move |_| {
        *told.lock().expect("no panics") = Some(seen.steady());
        Reply::Bytes(ok(&["Cache-Control: public, max-age=3600", "Content-Type: video/mp4"], &body))
    });
    let line = Line::slow(kit::loopback(0), origin.addr, RATE).expect("a line");
    let node = Setup::new().host("a.school.test", line.addr).start();
    let alone = alone(&line, &clock);
    println!("{CLIENTS} clients, {FILE} bytes, {RATE} bytes a second: one client without a proxy takes {:.3} s", alone.as_secs_f64());
    for round in 0..ROUNDS {
        let (asked, carried) = (origin.count(), line.down_bytes());
        let start = Arc::new(Barrier::new(CLIENTS));
        let readers: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let (start, clock, proxy) = (Arc::clone(&start), clock.clone(), node.proxy);
                std::thread::spawn(move || read(proxy, round, &start, &clock))
            })
            .collect();
        let times: Vec<(Instant, Instant)> = readers.into_iter().map(|reader| reader.join().expect("a reader")).collect();
        let begun = begun.lock().expect("no panics").expect("the origin was asked");
        let first = times.iter().map(|(first, _)| first.saturating_duration_since(begun)).max().unwrap_or_default();
        let last = times.iter().map(|(_, last)| last.saturating_duration_since(begun)).max().unwrap_or_default();
        println!(
            "origin asked {} times, {:.3} x the file over the line; last first byte {:>5.1} ms behind the origin's; last client done after {:.3} s, {:.3} x the line",
            origin.count() - asked,
            copies(line.down_bytes() - carried),
            first.as_secs_f64() * 1e3,
            last.as_secs_f64(),
            last.as_secs_f64() / alone.as_secs_f64()
        );
    }
}

/// Bytes as a multiple of the file, heads included.
fn copies(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes).expect("a few files")) / f64::from(u32::try_from(FILE).expect("a small file"))
}

/// What the line takes for one client and no proxy: the emulator's own slack is in it.
fn alone(line: &Line, clock: &Clock) -> Duration {
    let mut connection = Connection::open(line.addr);
    let began = clock.steady();
    connection.send(b"GET /alone HTTP/1.1\r\nHost: a.school.test\r\n\r\n").expect("sends");
    assert_eq!(connection.read(false).body.len(), FILE);
    clock.steady() - began
}

/// One client: when the first byte was there, and when the last.
fn read(proxy: std::net::SocketAddr, round: usize, start: &Barrier, clock: &Clock) -> (Instant, Instant) {
    let mut connection = Connection::open(proxy);
    start.wait();
    connection.send(&request("GET", &format!("http://a.school.test/film-{round}"), &[])).expect("sends");
    connection.raw().fill_buf().expect("a first byte");
    let first = clock.steady();
    let answer = connection.read(false);
    assert!(answer.complete && answer.body.len() == FILE, "status {}, {} bytes", answer.status, answer.body.len());
    (first, clock.steady())
}
