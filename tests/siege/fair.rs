//! One client that wants everything: connections, an origin, tunnels, the store. What is left is for the others.

use crate::kit;
use crate::kit::http::request;
use crate::kit::node::Setup;
use crate::kit::origin::{Ask, Reply, ok, read_ask};
use crate::town::{MIB, PUPIL, Town, ask, crowd, device, obliging, open, origin, standing};
use std::io::{BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

#[test]
fn one_client_opens_all_it_can() {
    let here = obliging();
    let port = here.addr.port();
    let town = Town::with(Setup::new().set("proxy.connect_ports", &format!("[443, {port}]")), here);
    let streams = crowd(1, 700, town.node.proxy, |_| Vec::new());
    kit::until("what may not come in is sent away", 30, || standing(&streams) <= 256);
    assert_eq!(standing(&streams), 256, "its share");
    town.ordinary("one client with all its connections");
    town.holds_at_most("one client with all its connections", 20 * MIB, 280);
    // The same with tunnels, which hold a connection to an origin each.
    drop(streams);
    kit::until("they are out", 30, || town.inside() == 0);
    let connect = format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
    let tunnels = crowd(1, 300, town.node.proxy, |_| connect.clone().into_bytes());
    town.ordinary("one client with all its tunnels");
    town.holds_at_most("one client with all its tunnels", 30 * MIB, 560);
    drop(tunnels);
    town.peace(30 * MIB);
}

#[test]
fn one_address_has_as_many_connections_as_were_configured() {
    let town = Town::new(Setup::new().set("proxy.per_client", "40"));
    let streams = crowd(1, 60, town.node.proxy, |_| Vec::new());
    kit::until("what may not come in is sent away", 30, || standing(&streams) <= 40);
    assert_eq!(standing(&streams), 40, "a class behind one router");
}

#[test]
fn one_client_asks_one_origin_for_all_it_has() {
    let town = Town::new(Setup::new());
    let greedy = crowd(1, 250, town.node.proxy, |number| request("GET", &format!("http://h.school.test/stall/{number}"), &[]));
    let stalled = || town.origin.asks().iter().filter(|ask| ask.target.starts_with("/stall")).count();
    kit::until("the origin is asked as much as it may be", 30, || stalled() >= 10);
    town.ordinary("one client holds an origin");
    assert!(stalled() <= 24, "{} of 30 connections are one client's", stalled());
    assert!(standing(&greedy) > 100, "it had given up: nothing was shown");
    // It leaves, and comes again, and again: fetches outlive whoever asked, and are counted as his all the same.
    drop(greedy);
    for round in 0..3 {
        let again = crowd(1, 200, town.node.proxy, |number| request("GET", &format!("http://h.school.test/stall/{round}/{number}"), &[]));
        drop(again);
    }
    town.ordinary("fetches whose client has left");
    assert!(stalled() <= 24, "{} of 30 connections are one client's", stalled());
    town.holds_at_most("fetches whose client has left", 20 * MIB, 320);
}

const HOSTS: u32 = 1100;

/// An origin at every address of this machine, which keeps its connections open; its port.
fn everywhere() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        // It ends with the test's process; each connection is kept by a thread of its own until the node closes it.
        for mut stream in listener.incoming().filter_map(Result::ok).take(2 * usize::try_from(HOSTS).expect("small")) {
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().expect("a descriptor"));
                while read_ask(&mut reader).is_some() && stream.write_all(&ok(&["Cache-Control: no-store"], b"here")).is_ok() {}
            });
        }
    });
    port
}

#[test]
fn one_client_visits_a_thousand_hosts() {
    let (town, port) = (Town::new(Setup::new()), everywhere());
    // Each host leaves a connection that may be used again.
    for number in 0..HOSTS {
        let [.., high, low] = number.to_be_bytes();
        let answer = ask(device(0), town.node.proxy, "GET", &format!("http://127.1.{high}.{low}:{port}/"), &[]);
        assert_eq!((answer.status, answer.text().as_str()), (200, "here"), "host {number}");
    }
    town.ordinary("a thousand hosts");
    town.holds_at_most("a thousand hosts", 40 * MIB, 600);
}

#[test]
fn one_client_reads_through_what_the_others_use() {
    let big = origin(|ask: &Ask| {
        let seed = ask.target.trim_start_matches("/big/").parse().unwrap_or(0);
        Reply::Bytes(ok(&["Cache-Control: public, max-age=3600"], &kit::noise(seed, 1 << 20)))
    });
    let setup = Setup::new().set("store.quota", "\"64 MiB\"").set("store.segment", "\"4 MiB\"").set("store.memory", "\"4 MiB\"");
    let town = Town::with(setup, big);
    let read = |from, number: u64| {
        let answer = ask(from, town.node.proxy, "GET", &format!("http://h.school.test/big/{number}"), &[]);
        assert!(answer.complete && answer.body == kit::noise(number, 1 << 20), "{number}: {}", answer.status);
        answer.is_hit()
    };
    // What a class uses: asked for by several, again and again.
    for _ in 0..3 {
        for number in 1..=10 {
            read(PUPIL, number);
        }
    }
    for number in 100..300 {
        assert!(!read(device(0), number));
        if number % 20 == 0 {
            // The class goes on.
            read(PUPIL, 1 + number / 20 % 10);
        }
    }
    let kept = (1..=10).filter(|number| read(PUPIL, *number)).count();
    eprintln!("{kept} of 10 that a class uses are still stored after one client read three times the store through");
    assert!(kept >= 8, "{kept} of 10: one client pushed out what the others use");
}

#[test]
fn a_tunnel_that_is_not_read_holds_no_memory() {
    let endless = kit::noise(1, 1 << 20);
    let flood = origin(move |_: &Ask| {
        let endless = endless.clone();
        Reply::Act(Box::new(move |stream| {
            let _head = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            while stream.write_all(&endless).is_ok() {}
        }))
    });
    let port = flood.addr.port();
    let town = Town::with(Setup::new().set("proxy.connect_ports", &format!("[443, {port}]")), flood);
    let connect = format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
    let mut tunnels: Vec<TcpStream> = Vec::new();
    for number in 0..100 {
        let mut stream = open(device(number % 4), town.node.proxy);
        stream.write_all(connect.as_bytes()).expect("sends");
        let mut head = [0; 12];
        stream.read_exact(&mut head).expect("an answer");
        assert_eq!(&head, b"HTTP/1.1 200");
        stream.write_all(b"GET /flood HTTP/1.1\r\nHost: h\r\n\r\n").expect("sends");
        tunnels.push(stream);
    }
    town.ordinary("a hundred tunnels that are not read");
    town.holds_at_most("a hundred tunnels that are not read", 30 * MIB, 220);
    drop(tunnels);
    town.peace(30 * MIB);
}
