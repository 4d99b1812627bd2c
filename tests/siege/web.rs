//! Crowds at the web port and at the hub.

use crate::kit;
use crate::kit::node::{Hub, Setup};
use crate::town::{Drip, Holds, MIB, PUPIL, SOON, Town, ask_direct, crowd, device, open, raise_open_files, standing};
use bulak::base::clock::Clock;
use std::net::SocketAddr;

/// Pages for somebody who has nothing to do with it.
fn served(to: SocketAddr, paths: &[&str], during: &str) {
    let clock = Clock::system();
    for path in paths {
        let began = clock.steady();
        let answer = ask_direct(PUPIL, to, path);
        let took = clock.steady().duration_since(began);
        assert!(answer.status == 200 && answer.complete, "{path} {during}: {}", answer.status);
        assert!(took < SOON, "{path} {during}: {took:?}");
    }
}

const PAGES: [&str; 4] = ["/", "/proxy.pac", "/readyz", "/healthz"];

#[test]
fn one_client_holds_the_web_port() {
    let town = Town::new(Setup::new());
    let web = town.node.web;
    // A form that anybody may send.
    let kind = "application/x-www-form-urlencoded";
    let head = format!("POST /tonight HTTP/1.1\r\nHost: {web}\r\nContent-Type: {kind}\r\nContent-Length: 5000\r\n\r\nurl=");
    for (words, what) in [
        ("", "one client with all its connections"),
        ("GET / HTTP/1.1\r\nX-Slow: ", "one client with slow heads"),
        (head.as_str(), "one client with slow bodies"),
    ] {
        let streams = crowd(1, 400, web, |_| words.as_bytes().to_vec());
        let drip = (!words.is_empty()).then(|| Drip::on(&streams, b'x'));
        kit::until("what may not come in is sent away", 30, || standing(&streams) <= 128);
        served(web, &PAGES, what);
        assert!(standing(&streams) >= 100, "{what}: they were cut off while it was measured: nothing was shown");
        town.holds_at_most(what, 20 * MIB, 160);
        drop((drip, streams));
    }
    town.peace(20 * MIB);
}

#[test]
fn many_clients_at_the_web_port_wait_and_are_served() {
    let town = Town::new(Setup::new());
    let web = town.node.web;
    // More than may be open at once: the head's deadline gives places back, so that those who wait come in.
    let streams = crowd(11, 100, web, |_| b"GET / HTTP/1.1\r\nX-Slow: ".to_vec());
    let before = Holds::of(town.node.id());
    assert!(before.files <= town.before.files + 1100, "{before:?}");
    let clock = Clock::system();
    let began = clock.steady();
    let answer = ask_direct(PUPIL, web, "/healthz");
    eprintln!("1100 slow heads at the web port: the next one was answered after {:?}", clock.steady().duration_since(began));
    assert_eq!(answer.status, 200);
    drop(streams);
    town.peace(20 * MIB);
}

/// A hub, and what it holds in peace.
fn hub() -> Hub {
    raise_open_files();
    Hub::start("[hub]\nlisten = [\"127.0.0.1:0\"]\ndatabase = \"HERE/hub.sqlite\"\n")
}

#[test]
fn crowds_at_the_hub() {
    let hub = hub();
    let pages = ["/healthz", "/"];
    served(hub.addr, &pages, "in peace");
    let before = Holds::of(hub.id());
    let post = "POST /api/v1/reports HTTP/1.1\r\nHost: hub\r\nContent-Encoding: zstd\r\nContent-Length: 60000\r\n\r\n";
    for (words, what) in [
        ("", "idle connections"),
        ("GET / HTTP/1.1\r\nX-Slow: ", "slow heads"),
        (post, "slow uploads"),
        ("POST /api/v1/enrol HTTP/1.1\r\nHost: hub\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n", "slow wishes"),
    ] {
        let streams = crowd(9, 100, hub.addr, |_| words.as_bytes().to_vec());
        let drip = (!words.is_empty()).then(|| Drip::on(&streams, b'x'));
        served(hub.addr, &pages, what);
        let now = Holds::of(hub.id());
        eprintln!(
            "hub, {what}: {} MiB more memory, {} more files",
            now.memory.saturating_sub(before.memory) / MIB,
            now.files.saturating_sub(before.files)
        );
        assert!(now.memory <= before.memory + 60 * MIB && now.files <= before.files + 930, "{what}: {now:?}, {before:?} in peace");
        drop((drip, streams));
        kit::until("connections are closed", 60, || Holds::of(hub.id()).files <= before.files + 10);
    }
}

#[test]
fn one_device_leaves_a_seat_for_a_speed_test_of_another() {
    let town = Town::new(Setup::new());
    let web = town.node.web;
    let words = |path: &str, origin: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nHost: {web}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: net.measurementlab.ndt.v7\r\n{origin}\r\n"
        )
    };
    let status = |from: usize, words: String| {
        use std::io::{BufRead, BufReader, Write};
        let mut stream = open(device(from), web);
        stream.write_all(words.as_bytes()).expect("sends");
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).expect("an answer");
        (line.split(' ').nth(1).and_then(|word| word.parse::<u16>().ok()).unwrap_or_default(), stream)
    };
    // Uploads of which nothing is sent: each holds its seat for some seconds.
    let (first, _held) = status(0, words("/ndt/v7/upload", ""));
    let (second, _) = status(0, words("/ndt/v7/upload", ""));
    let (other, _also) = status(1, words("/ndt/v7/upload", ""));
    assert_eq!((first, second, other), (101, 503, 101), "of two seats one is another's");
    let (page, _) = status(2, words("/ndt/v7/upload", "Origin: https://evil.example\r\n"));
    let (own, _) = status(2, words("/ndt/v7/nowhere", &format!("Origin: http://{web}\r\n")));
    assert_eq!((page, own), (403, 404), "a page of another site runs no test through a pupil's browser");
}
