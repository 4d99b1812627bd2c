//! Servers of the school's own network: reached like any other, and no sign of the line.

use super::kit::{get, node, settings, target, text};
use super::*;
use crate::link::side::Side;
use std::net::{Ipv4Addr, Ipv6Addr};
use tokio::net::{TcpListener, UdpSocket};

/// An address of this machine that is private; there may be none, then the test is told as skipped.
async fn address() -> Option<IpAddr> {
    let mut found = Vec::new();
    for there in [Ipv4Addr::new(10, 255, 255, 254), Ipv4Addr::new(172, 31, 255, 254), Ipv4Addr::new(192, 168, 255, 254)] {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
        // Nothing is sent: the kernel says which address it would use.
        if socket.connect((there, 9)).await.is_ok() {
            found.push(socket.local_addr().unwrap().ip());
        }
    }
    let table = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let bits = table.lines().filter_map(|line| u128::from_str_radix(line.split_whitespace().next()?, 16).ok());
    found.extend(bits.map(Ipv6Addr::from).filter(|ip| !ip.is_unicast_link_local()).map(IpAddr::V6));
    let house = found.into_iter().find(|ip| Side::of(*ip) == Side::House);
    if house.is_none() {
        eprintln!("skipped: this machine has no private address");
    }
    house
}

/// A node that may reach that address.
fn near(house: IpAddr) -> kit::Node {
    let mut settings = settings();
    settings.allow_private.push(if house.is_ipv4() { format!("{house}") } else { format!("[{house}]") }.parse().unwrap());
    node(settings)
}

#[tokio::test]
async fn a_server_of_the_school_is_no_proof_of_the_line_and_ends_no_outage() {
    let Some(house) = address().await else { return };
    let (life, node) = (Life::default(), near(house));
    let listener = TcpListener::bind((house, 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let origin = kit::origin_at(listener, &life, |_, _| Some(kit::hello()));
    let ask = async || {
        let sent = node.upstream.send(&origin.url("/"), get(), Class::Interactive).await.unwrap();
        assert!(!sent.is_line);
        assert_eq!(text(sent).await.unwrap(), "hello");
    };
    ask().await;
    assert!(!node.upstream.connect(&addr.ip().to_string(), addr.port()).await.unwrap().is_line(), "nor is a tunnel");
    node.link.tick();
    let view = node.link.view();
    assert_eq!(view.state, State::Unknown, "nobody knows anything of the line");
    assert_eq!((view.rtt_seconds, view.first_byte_seconds, view.failed_ratio, view.download), (None, None, None, None));
    assert_eq!((view.bytes["foreground"], view.passive.reach.unknown.attempts, view.passive.sent_segments), ((0, 0), 0, 0));
    assert!(node.metrics.print().contains("bulak_upstream_bytes_total{class=\"foreground\",dir=\"rx\"} 5"), "what was fetched counts");
    for _ in 0..2 {
        node.link.observe(Sample::Failed { host: "far.kz".into(), addr: None });
    }
    assert_eq!(node.link.state(), State::Down);
    ask().await;
    assert_eq!(node.link.state(), State::Down, "an answer from next door ends no outage");
    // One beyond it does.
    let far = kit::origin(&life, |_, _| Some(kit::hello())).await;
    let sent = node.upstream.send(&far.url("/"), get(), Class::Interactive).await.unwrap();
    assert!(sent.is_line && node.link.state() == State::Up);
    life.stop();
}

#[tokio::test(start_paused = true)]
async fn a_neighbour_that_is_silent_or_refuses_makes_nobody_doubt_the_line() {
    let Some(house) = address().await else { return };
    let node = near(house);
    let closed = TcpListener::bind((house, 0)).await.unwrap().local_addr().unwrap();
    let failed = node.upstream.send(&target(&format!("http://{closed}/")), get(), Class::Interactive).await.unwrap_err();
    assert_eq!(failed.proxy_status(), "connection_refused", "{failed}");
    let (_hanging, addr) = kit::hanging_at(house);
    for wanted in ["connection_timeout", "destination_unavailable"] {
        let failed = node.upstream.send(&target(&format!("http://{addr}/")), get(), Class::Interactive).await.unwrap_err();
        assert_eq!(failed.proxy_status(), wanted, "{failed}");
    }
    assert_eq!((node.link.state(), node.link.view().failed_ratio), (State::Unknown, None));
    assert_eq!(node.link.amiss(), (None, false));
}

#[tokio::test]
async fn a_parent_is_the_way_out_wherever_it_stands() {
    let Some(house) = address().await else { return };
    let life = Life::default();
    let listener = TcpListener::bind((house, 0)).await.unwrap();
    let parent = kit::origin_at(listener, &life, |_, _| Some(kit::hello()));
    let node = node(Settings { parent: Some(parent.url("/")), ..settings() });
    let sent = node.upstream.send(&target("http://far.example/"), get(), Class::Interactive).await.unwrap();
    assert!(sent.is_line && node.link.state() == State::Up);
    life.stop();
}
