//! Bursts against a real hub and against servers that lie, over real UDP.

use super::*;
use crate::base::count::Metrics;
use crate::config::Config;
use crate::hub::{Hub, Settings as HubSettings, keep::Place as Database};
use crate::life::Jobs;
use crate::link;
use crate::meter::schedule::Schedule;
use crate::meter::{Parts, Settings, budget::Caps};
use crate::upstream;
use std::net::SocketAddr;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

struct Place {
    life: Life,
    state: State,
    echo: Echo,
}

async fn place(hub: Option<SocketAddr>, day: Option<u64>) -> Place {
    let (life, metrics, clock) = (Life::default(), Metrics::default(), Clock::system());
    let link = Link::new(link::Settings::default(), clock.clone(), &life, &metrics);
    let allow_private = ["127.0.0.0/8", "[::1]/128"].map(|net| net.parse().expect("a network")).to_vec();
    let settings = upstream::Settings { allow_private, ..upstream::Settings::default() };
    let upstream = Upstream::new(settings, clock.clone(), link.clone(), &life, &metrics).expect("no network");
    let state = State::open(None).await.expect("opens");
    let settings = Settings {
        hub: hub.map(|hub| format!("http://{hub}").parse().expect("an address")),
        schedule: Schedule { slots: Vec::new(), zone: jiff::tz::TimeZone::UTC, startup: false },
        caps: Caps { day, month: None },
        ..Config::default().meter
    };
    let jobs = Jobs::new(clock.clone(), |_| ());
    let parts = Parts { settings, clock, life: life.clone(), link, upstream, jobs };
    let meter = Meter::new(parts, &metrics, &state).await.expect("starts");
    let echo = Echo::open(&meter, &state);
    Place { life, state, echo }
}

async fn hub(life: &Life, listen: &str, metrics: &Metrics, echo: bool) -> (SocketAddr, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("hub.sqlite");
    let settings =
        HubSettings { listen: vec![listen.parse().expect("an address")], database: Database::File(file), echo, ..HubSettings::default() };
    let hub = Hub::bind(settings, Clock::system(), life, metrics).await.expect("a hub");
    let addr = hub.addresses()[0];
    life.spawn(hub.serve());
    (addr, folder)
}

#[tokio::test]
async fn a_burst_comes_back_over_both_families_is_kept_and_paid_for() {
    for listen in ["127.0.0.1:0", "[::1]:0"] {
        let (life, metrics) = (Life::default(), Metrics::default());
        let (addr, _folder) = hub(&life, listen, &metrics, true).await;
        let place = place(Some(addr), None).await;
        let kept = place.echo.burst().await.expect("runs").expect("a burst");
        let ping = kept.ping;
        assert_eq!((ping.sent, ping.received, ping.doubled, ping.reach), (10, 10, 0, Reach::Domestic), "{listen}");
        assert!(ping.rtt_min_ms <= ping.rtt_median_ms && ping.rtt_median_ms <= ping.rtt_p95_ms && ping.jitter_ms.is_some(), "{ping:?}");
        assert_eq!(place.echo.after(0, 10).await.expect("reads"), [kept]);
        // Ten pings and pongs of 64 bytes, a hello and a cookie; heads of IP and UDP with each.
        let heads = if listen.starts_with('[') { 48 } else { 28 };
        let day = place.echo.0.meter.0.settings.load().schedule.day(place.echo.0.clock.now());
        let (today, _) = place.state.measure().spent(&day).await.expect("reads");
        assert_eq!(today, 21 * (64 + heads) + 40 + heads);
        assert!(metrics.print().contains("bulak_hub_echo_packets_total{fate=\"pong\"} 10"), "{}", metrics.print());
        let again = place.echo.burst().await.expect("runs").expect("a burst");
        assert_eq!(again.number, kept.number + 1);
        place.life.stop();
        life.stop();
    }
}

#[tokio::test]
async fn nobody_to_ping_and_nothing_left_are_no_loss() {
    let nobody = place(None, None).await;
    assert_eq!(nobody.echo.burst().await.expect("runs"), Err(Nothing::NoServer));
    nobody.life.stop();
    let (life, metrics) = (Life::default(), Metrics::default());
    let (addr, _folder) = hub(&life, "127.0.0.1:0", &metrics, false).await;
    let silent = place(Some(addr), None).await;
    assert_eq!(silent.echo.burst().await.expect("runs"), Err(Nothing::NoServer), "a hub without an echo");
    silent.life.stop();
    // Metrics are a hub's own.
    let (addr, _other) = hub(&life, "127.0.0.1:0", &Metrics::default(), true).await;
    let poor = place(Some(addr), Some(COST - 1)).await;
    assert_eq!(poor.echo.burst().await.expect("runs"), Err(Nothing::NotNow));
    assert!(poor.echo.after(0, 10).await.expect("reads").is_empty());
    poor.life.stop();
    life.stop();
}

/// A hub that says where its echo is, and an echo that does as it is told.
async fn liar(life: &Life, answer: impl Fn(&Packet, u32) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
    let udp = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let port = udp.local_addr().expect("bound").port();
    let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = tcp.local_addr().expect("bound");
    life.spawn_until_stop(async move {
        loop {
            let (mut stream, _) = tcp.accept().await.expect("accepts");
            let mut head = [0; 1_024];
            let _read = stream.read(&mut head).await;
            let body = format!("{{\"port\":{port},\"more\":1}}");
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _sent = stream.write_all(format!("{head}{body}").as_bytes()).await;
        }
    });
    life.spawn_until_stop(async move {
        let (mut buffer, mut seen) = ([0; 2_048], 0);
        loop {
            let (length, client) = udp.recv_from(&mut buffer).await.expect("receives");
            let Some(packet) = Packet::read(&buffer[..length]) else { continue };
            for bytes in answer(&packet, seen) {
                let _sent = udp.send_to(&bytes, client).await;
            }
            seen += 1;
        }
    });
    addr
}

#[tokio::test]
async fn loss_doubles_and_what_is_not_ours_are_told_apart() {
    let life = Life::default();
    let addr = liar(&life, |packet, _| match packet {
        Packet::Hello(nonce) => vec![
            b"noise".to_vec(),
            Packet::Cookie([0; 8], [1; 16]).bytes(),
            Packet::Pong(*nonce, 0).bytes(),
            Packet::Cookie(*nonce, [2; 16]).bytes(),
        ],
        Packet::Ping(nonce, number, cookie) if *cookie == [2; 16] => match number {
            // Lost, doubled, forged in number and nonce; the rest as it should be.
            3 => Vec::new(),
            4 => vec![Packet::Pong(*nonce, 4).bytes(), Packet::Pong(*nonce, 4).bytes()],
            5 => vec![Packet::Pong([9; 8], 5).bytes(), Packet::Pong(*nonce, 5_000).bytes(), Packet::Pong(*nonce, 5).bytes()],
            _ => vec![Packet::Pong(*nonce, *number).bytes()],
        },
        _ => Vec::new(),
    })
    .await;
    let place = place(Some(addr), None).await;
    let ping = place.echo.burst().await.expect("runs").expect("a burst").ping;
    assert_eq!((ping.sent, ping.received, ping.late, ping.doubled), (10, 9, 0, 1));
    // Noise; another's cookie, a pong before any ping, another's pong, a number that was never sent.
    assert_eq!(place.echo.ignored(), Ignored { malformed: 1, foreign: 4 });
    place.life.stop();
    life.stop();
}

#[tokio::test]
async fn a_flood_of_answers_is_read_up_to_a_bound() {
    let life = Life::default();
    let addr = liar(&life, |packet, _| match packet {
        Packet::Hello(nonce) => vec![Packet::Cookie(*nonce, [2; 16]).bytes()],
        Packet::Ping(nonce, 0, _) => vec![Packet::Pong(*nonce, 0).bytes(); 1_000],
        _ => Vec::new(),
    })
    .await;
    let place = place(Some(addr), None).await;
    let ping = place.echo.burst().await.expect("runs").expect("a burst").ping;
    assert_eq!((ping.sent, ping.received), (10, 1));
    assert!(ping.doubled < u64::from(MOST_READ), "{ping:?}");
    place.life.stop();
    life.stop();
}

#[tokio::test]
async fn udp_that_never_came_through_is_no_loss_and_one_that_did_is() {
    let life = Life::default();
    // It answers the first burst: a hello and ten pings.
    let addr = liar(&life, |packet, seen| match packet {
        Packet::Hello(nonce) if seen == 0 => vec![Packet::Cookie(*nonce, [2; 16]).bytes()],
        Packet::Ping(nonce, number, _) => vec![Packet::Pong(*nonce, *number).bytes()],
        _ => Vec::new(),
    })
    .await;
    let deaf = liar(&life, |_, _| Vec::new()).await;
    let never = place(Some(deaf), None).await;
    assert_eq!(never.echo.burst().await.expect("runs"), Err(Nothing::Unproven));
    let once = place(Some(addr), None).await;
    assert_eq!(once.echo.burst().await.expect("runs").expect("a burst").ping.received, 10);
    let ping = once.echo.burst().await.expect("runs").expect("a burst").ping;
    assert_eq!((ping.sent, ping.received, ping.rtt_min_ms), (u64::from(HELLOS), 0, None));
    never.life.stop();
    once.life.stop();
    life.stop();
}
