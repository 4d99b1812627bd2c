//! Crowds at the proxy: slow heads, slow bodies, stalled answers, idle connections, readers that do not read, connections that come and go.

use crate::kit;
use crate::kit::http::{self, request};
use crate::kit::node::Setup;
use crate::kit::origin::{Ask, Origin, Reply, promise};
use crate::town::{Drip, Holds, MIB, PUPIL, Town, ask, crowd, device, may_hold, open, origin, standing};
use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

const FILM: usize = 100 << 20;

#[test]
fn a_thousand_slow_heads() {
    let town = Town::new(Setup::new());
    let heads = crowd(8, 125, town.node.proxy, |_| b"GET http://h.school.test/page/1 HTTP/1.1\r\nHost: h.school.test\r\nX-Slow: ".to_vec());
    let drip = Drip::on(&heads, b'x');
    kit::until("all are inside", 30, || town.inside() >= 1000);
    town.ordinary("a thousand slow heads");
    town.holds_at_most("a thousand slow heads", 40 * MIB, 1020);
    assert!(standing(&heads) >= 900, "they were cut off while it was measured: nothing was shown");
    drop((drip, heads));
    town.peace(40 * MIB);
}

#[test]
fn five_hundred_slow_bodies() {
    let town = Town::new(Setup::new());
    let head = request("POST", "http://h.school.test/slow", &["Content-Length: 100000"]);
    let bodies = crowd(5, 100, town.node.proxy, |_| head.clone());
    let drip = Drip::on(&bodies, b'x');
    kit::until("all are inside", 30, || town.inside() >= 500);
    town.ordinary("five hundred slow bodies");
    // Some are at the origin, the others wait for a place there; those have nothing open but the client's connection.
    town.holds_at_most("five hundred slow bodies", 40 * MIB, 560);
    assert!(standing(&bodies) >= 400, "they were cut off while it was measured: nothing was shown");
    drop((drip, bodies));
    town.peace(40 * MIB);
}

#[test]
fn three_hundred_stalled_answers() {
    let town = Town::new(Setup::new());
    let stalled = crowd(3, 100, town.node.proxy, |number| request("GET", &format!("http://h.school.test/stall/{number}"), &[]));
    kit::until("all are inside", 30, || town.inside() >= 300);
    kit::until("the origin is asked as much as it may be", 30, || {
        town.origin.asks().iter().filter(|ask| ask.target.starts_with("/stall")).count() >= 20
    });
    town.ordinary("three hundred stalled answers");
    town.holds_at_most("three hundred stalled answers", 30 * MIB, 350);
    assert!(standing(&stalled) >= 290, "they ended while it was measured: nothing was shown");
    drop(stalled);
    kit::until("all clients are out", 60, || town.inside() == 0);
    town.ordinary("while the origin still owes three hundred answers");
}

#[test]
fn five_thousand_idle_connections() {
    if !may_hold("five_thousand_idle_connections", 5_000) {
        return;
    }
    let town = Town::new(Setup::new());
    // Every second one has been used.
    let used = |number: usize| number % 2 == 1;
    let mut idle =
        crowd(
            25,
            200,
            town.node.proxy,
            |number| {
                if used(number) { request("GET", "http://h.school.test/page/1", &[]) } else { Vec::new() }
            },
        );
    let mut answered = 0;
    for stream in idle.iter_mut().skip(1).step_by(2).take(200) {
        let answer = http::read(&mut BufReader::new(stream), false);
        answered += usize::from(answer.complete && answer.is_hit());
    }
    assert_eq!(answered, 200);
    kit::until("all are inside", 30, || town.inside() >= 5000);
    town.ordinary("five thousand idle connections");
    town.holds_at_most("five thousand idle connections", 100 * MIB, 5_020);
    assert!(town.inside() >= 5000, "they were closed while it was measured: nothing was shown");
    drop(idle);
    town.peace(100 * MIB);
}

/// A film for an hour, its bytes made once.
fn film() -> Origin {
    let piece = kit::noise(7, 1 << 20);
    origin(move |_: &Ask| {
        let piece = piece.clone();
        Reply::Act(Box::new(move |stream| {
            let head = promise(&["Cache-Control: public, max-age=3600", "Content-Type: video/mp4", "ETag: \"film\""], FILM);
            let mut well = stream.write_all(&head).is_ok();
            for _ in 0..FILM / piece.len() {
                well = well && stream.write_all(&piece).is_ok();
            }
        }))
    })
}

/// Asks, and takes the first byte alone.
fn begin(from: usize, town: &Town, url: &str) -> TcpStream {
    let mut stream = open(device(from), town.node.proxy);
    stream.write_all(&request("GET", url, &[])).expect("sends");
    stream.read_exact(&mut [0]).expect("an answer begins");
    stream
}

#[test]
fn forty_readers_that_do_not_read() {
    let town = Town::with(Setup::new(), film());
    // While it is being fetched: the fetch waits for nobody, nor does it grow in memory.
    let url = "http://h.school.test/film";
    let readers: Vec<TcpStream> = (0..40).map(|number| begin(number % 8, &town, url)).collect();
    town.ordinary("forty readers that do not read what is being fetched");
    // A debug build's buffers of one fetch are some 60 MiB, readers or not.
    town.holds_at_most("forty readers that do not read what is being fetched", 112 * MIB, 120);
    assert_eq!(standing(&readers), 40);
    let clients = town.inside();
    assert!(clients >= 40, "{clients} clients are inside");
    drop(readers);
    // Once it is stored.
    // The fetch may just be given up, since everybody has left: he gets one of his own.
    let whole = ask(PUPIL, town.node.proxy, "GET", url, &[]);
    assert!(whole.complete && whole.body.len() == FILM && whole.body[FILM - 5..] == kit::noise(7, 1 << 20)[(1 << 20) - 5..]);
    drop(whole);
    let readers: Vec<TcpStream> = (0..40).map(|number| begin(number % 8, &town, url)).collect();
    town.ordinary("forty readers that do not read what is stored");
    town.holds_at_most("forty readers that do not read what is stored", 112 * MIB, 120);
    drop(readers);
    town.peace(112 * MIB);
}

#[test]
fn a_hundred_slow_readers_of_a_film() {
    let town = Town::with(Setup::new(), film());
    let url = "http://h.school.test/film";
    assert!(ask(PUPIL, town.node.proxy, "GET", url, &[]).complete);
    // What fetching took is not theirs.
    let town = town.taken_as_peace();
    let readers: Vec<TcpStream> = (0..100).map(|number| begin(number % 20, &town, url)).collect();
    // About 10 kB/s each, for two seconds.
    let mut room = vec![0; 1_000];
    for _ in 0..20 {
        for mut reader in &readers {
            reader.read_exact(&mut room).expect("a reader gets what it takes");
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    town.ordinary("a hundred slow readers of a film");
    town.holds_at_most("a hundred slow readers of a film", 64 * MIB, 220);
    drop(readers);
    town.peace(64 * MIB);
}

#[test]
fn connections_that_come_and_go() {
    let town = Town::new(Setup::new());
    let whole = request("GET", "http://h.school.test/page/2", &[]);
    let (proxy, half) = (town.node.proxy, whole.len() / 2);
    let come = |from: usize, number: usize, words: &[u8]| {
        let mut stream = open(device(from), proxy);
        // In every state that a client may leave in.
        let said: &[u8] = match number % 5 {
            0 => &[],
            1 => &words[..half],
            2 => words,
            3 => b"CONNECT h.school.test:443 HTTP/1.1\r\nHost: h.school.test\r\n\r\n",
            _ => b"\x16\x03\x01nonsense",
        };
        let _sent = stream.write_all(said);
        if number % 10 < 5 {
            let _gone = stream.shutdown(Shutdown::Write);
        }
    };
    // Four thousand, and more until the ordinary ones are through: however fast this machine is, they are among them.
    let (served, most) = (AtomicBool::new(false), 100_000);
    std::thread::scope(|scope| {
        for from in 0..4 {
            let (words, served) = (&whole, &served);
            scope.spawn(move || {
                (0..most).take_while(|number| *number < 1000 || !served.load(Relaxed)).for_each(|number| come(from, number, words));
            });
        }
        town.ordinary("four thousand connections that come and go");
        served.store(true, Relaxed);
    });
    town.peace(40 * MIB);
    // Once more leaves nothing more behind: what grew was room, not a leak.
    let held = Holds::of(town.node.id());
    for number in 0..2000 {
        come(number % 4, number, &whole);
    }
    kit::until("all clients are out", 60, || town.inside() == 0);
    let now = Holds::of(town.node.id());
    assert!(now.memory <= held.memory + 8 * MIB, "{held:?}, then {now:?}");
}

#[test]
#[ignore = "a minute of waiting: heads have 15 s, bodies 30 s, idle connections 60 s; scripts/test --full"]
fn whoever_keeps_the_node_waiting_is_sent_away() {
    let town = Town::new(Setup::new());
    let proxy = town.node.proxy;
    let heads = crowd(2, 100, proxy, |_| b"GET http://h.school.test/page/1 HTTP/1.1\r\nX-Slow: ".to_vec());
    let bodies = crowd(2, 100, proxy, |_| request("POST", "http://h.school.test/slow", &["Content-Length: 100000"]));
    let idle = crowd(2, 40, proxy, |_| Vec::new());
    let drips = [Drip::on(&heads, b'x'), Drip::on(&bodies, b'x')];
    kit::until("all are inside", 30, || town.inside() >= 480);
    kit::until("slow heads are cut off", 60, || standing(&heads) == 0);
    assert!(standing(&idle) > 0, "a connection may lie idle for longer than a head may take");
    kit::until("slow bodies are cut off", 120, || standing(&bodies) == 0);
    kit::until("idle connections are closed", 150, || standing(&idle) == 0);
    drop(drips);
    town.peace(40 * MIB);
}
