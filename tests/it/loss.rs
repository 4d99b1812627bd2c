//! What the kernel counts of segments, on a line that loses some and on one that loses none.

use crate::kit::{self, program};
use crate::line::Cable;
use bulak::base::body::Body;
use bulak::base::clock::Clock;
use bulak::base::count::Metrics;
use bulak::base::target::Target;
use bulak::life::Life;
use bulak::link::passive::Passive;
use bulak::link::{self, Class, Link};
use bulak::upstream::{self, Upstream};
use http::Request;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

/// What goes up and what comes down, bytes: some hundred segments each, and less than the line's queue holds.
const UP: usize = 300_000;
/// See [`UP`].
const DOWN: usize = 600_000;

#[test]
fn loss_is_seen_on_both_ways_and_a_clean_line_is_clean() {
    let test = "loss_is_seen_on_both_ways_and_a_clean_line_is_clean";
    let mut told = Vec::new();
    for text in ["20/20 Mbit/s, 20 ms", "20/20 Mbit/s, 20 ms, 3 %"] {
        let line = text.parse().unwrap_or_else(|why| panic!("{why}"));
        let laid = Cable::lay(&line).inspect_err(|error| program::skipped(test, &format!("no cable can be laid: {error}")));
        let Ok(cable) = laid else { return };
        let addr = world(&cable);
        let passive = cable.near.enter(|| exchange(addr));
        eprintln!("{text}: {passive:?}");
        told.push(passive);
    }
    let (clean, lossy) = (&told[0], &told[1]);
    for told in [clean, lossy] {
        assert!(told.sent_segments > 200 && told.received_segments > 400 && told.round_trips > 0, "{told:?}");
        assert!(told.round_trip_median_ms.is_some_and(|millis| millis >= 20.0), "{told:?}");
    }
    // Nothing overtakes anything there; what a busy machine sends again for nothing comes in order.
    assert_eq!(clean.disordered_ratio, Some(0.0), "{clean:?}");
    assert!(lossy.disordered_ratio > Some(0.01), "{lossy:?}");
    assert!(lossy.retransmitted_ratio > Some(0.005) && lossy.retransmitted_ratio > clean.retransmitted_ratio, "{told:?}");
}

/// An upload and its answer, as a node has them; what is known of the line then.
fn exchange(addr: SocketAddr) -> Passive {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (life, metrics, clock) = (Life::default(), Metrics::default(), Clock::system());
        let link = Link::new(link::Settings::default(), clock.clone(), &life, &metrics);
        let settings = upstream::Settings { allow_private: vec!["0.0.0.0/0".parse().expect("a network")], ..Default::default() };
        let upstream = Upstream::new(settings, clock, link.clone(), &life, &metrics).expect("an upstream");
        let target = Target::parse(&format!("http://{addr}/")).expect("an address");
        let request = Request::post("/").header("content-length", UP).body(Body::full(kit::noise(7, UP))).expect("a request");
        let sent = upstream.send(&target, request, Class::Interactive).await.expect("an answer");
        assert_eq!(sent.response.into_body().collect(DOWN + 1).await.expect("all of it").len(), DOWN);
        // The connection has said that it ends: what it carried is told when it does, bytes with the second.
        let seen = async {
            let told = |passive: &Passive| passive.received_segments > 0 && passive.reach.unknown.rx_bytes >= DOWN as u64;
            while !told(&link.view().passive) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), seen).await.expect("it is told");
        life.stop();
        link.view().passive
    })
}

/// A server at the world's end that takes so many bytes, gives so many, and hangs up.
fn world(cable: &Cable) -> SocketAddr {
    let listener = cable.far.enter(|| TcpListener::bind((cable.far.addr, 0))).expect("a port");
    let addr = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).expect("a head");
            head.extend_from_slice(&byte);
        }
        stream.read_exact(&mut vec![0; UP]).expect("a body");
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {DOWN}\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("a client that listens");
        stream.write_all(&kit::noise(8, DOWN)).expect("a client that listens");
    });
    addr
}
