//! The door with real sockets and a small service behind it.

use crate::base::body::Body;
use crate::base::clock::{Clock, Time};
use crate::base::count::Metrics;
use crate::base::door::is_asked_after;
use crate::base::wire::watch::Patience;
use crate::base::wire::{Limits, Turn};
use crate::life::Life;
use crate::proxy::listen::{Door, Inside, Peer, accept, bind};
use crate::proxy::talk::{Plain, Serve, Serving};
use http::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// `/wait` answers when told to; CONNECT is refused but for `echo:443`; everything else gives the client's address.
#[derive(Clone)]
struct Stub(Arc<Notify>, Life);

impl Serve for Stub {
    fn serve(&self, request: Request<Body>, peer: Peer, _turn: Option<&Turn>) -> Serving {
        if request.uri().host() == Some("echo") && *request.method() == Method::CONNECT {
            let upgrade = hyper::upgrade::on(request);
            self.1.spawn(async move {
                let mut io = TokioIo::new(upgrade.await.expect("upgraded"));
                let byte = io.read_u8().await.expect("a byte");
                io.write_u8(byte).await.expect("sent back");
            });
            return Serving::Now(Response::new(Body::Empty));
        }
        if *request.method() == Method::CONNECT {
            let mut response = Response::new(Body::full("no"));
            *response.status_mut() = StatusCode::FORBIDDEN;
            return Serving::Now(response);
        }
        if request.uri().path() == "/wait" {
            let go = Arc::clone(&self.0);
            return Serving::Later(Box::pin(async move {
                go.notified().await;
                Response::new(Body::full("waited"))
            }));
        }
        Serving::Now(Response::new(Body::full(peer.from.to_string())))
    }
}

struct Rig {
    address: SocketAddr,
    door: Door,
    go: Arc<Notify>,
}

fn rig(change: impl FnOnce(&mut Door)) -> Rig {
    let metrics = Metrics::default();
    let mut door = Door {
        clients: ["127.0.0.0/8".parse().expect("a net")].into(),
        per_client: 10,
        total: 10,
        limits: Limits::REQUEST,
        patience: Patience::default(),
        tick: Duration::from_secs(5),
        clock: Clock::manual(Time::from_secs(0)),
        life: Life::default(),
        refused: metrics.counters("bulak_refused_total", "x", &["reason"]),
        open: metrics.gauge("bulak_client_connections", "x"),
        inside: Inside::default(),
        bodies: None,
    };
    door.clock.raise_floor(Time::from_secs(100));
    change(&mut door);
    let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
    let address = listener.local_addr().expect("bound");
    let go = Arc::new(Notify::new());
    let listener = TcpListener::from_std(listener).expect("taken over");
    door.life.clone().spawn(accept(listener, door.clone(), Plain { door: door.clone(), serve: Stub(Arc::clone(&go), door.life.clone()) }));
    Rig { address, door, go }
}

impl Rig {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("connected")
    }

    fn refused(&self, reason: &str) -> u64 {
        self.door.refused.with_label_values(&[reason]).get()
    }
}

async fn rest(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("a clean end");
    text
}

async fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        text.push(stream.read_u8().await.expect("more"));
    }
    String::from_utf8(text).expect("text")
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn requests_one_after_the_other_and_all_at_once() {
    let rig = rig(|_| {});
    let mut stream = rig.connect().await;
    stream.write_all(GET.as_bytes()).await.expect("sent");
    let text = until(&mut stream, "127.0.0.1").await;
    assert!(!text.contains("date:"), "an untrusted clock dates nothing: {text}");
    stream.write_all(GET.repeat(20).as_bytes()).await.expect("sent");
    for _ in 0..20 {
        until(&mut stream, "127.0.0.1").await;
    }
    assert_eq!(rig.door.open.get(), 1);
}

#[tokio::test]
async fn strangers_and_crowds_are_turned_away() {
    let strangers = rig(|door| door.clients = ["10.0.0.0/8".parse().expect("a net")].into());
    let text = rest(&mut strangers.connect().await).await;
    assert!(text.starts_with("HTTP/1.1 403 ") && text.ends_with("addresses\n"), "{text}");
    assert_eq!(strangers.refused("client"), 1);

    let crowded = rig(|door| door.per_client = 1);
    let mut first = crowded.connect().await;
    first.write_all(GET.as_bytes()).await.expect("sent");
    until(&mut first, "127.0.0.1").await;
    let text = rest(&mut crowded.connect().await).await;
    assert!(text.starts_with("HTTP/1.1 503 ") && text.ends_with("connections.\n"), "{text}");
    assert_eq!(crowded.refused("connections"), 1);
    first.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.expect("sent");
    rest(&mut first).await;
    while crowded.door.inside.0.all() > 0 {
        tokio::task::yield_now().await;
    }
    let mut second = crowded.connect().await;
    second.write_all(GET.as_bytes()).await.expect("sent");
    until(&mut second, "127.0.0.1").await;
}

#[tokio::test]
async fn a_fault_on_the_wire_is_counted() {
    let rig = rig(|_| {});
    let mut stream = rig.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost : a\r\n\r\n").await.expect("sent");
    stream.shutdown().await.expect("half closed");
    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 400 "));
    while rig.refused("name") == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(rig.refused("name"), 1);
}

#[tokio::test]
async fn what_follows_a_refused_connect_is_not_read_as_http() {
    let rig = rig(|_| {});
    let mut stream = rig.connect().await;
    stream.write_all(format!("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n{GET}").as_bytes()).await.expect("sent");
    let text = rest(&mut stream).await;
    assert!(text.starts_with("HTTP/1.1 403 ") && text.contains("connection: close") && text.ends_with("no"), "{text}");
}

#[tokio::test]
async fn a_tunnel_keeps_its_place_until_it_ends() {
    let rig = rig(|_| {});
    let mut stream = rig.connect().await;
    stream.write_all(b"CONNECT echo:443 HTTP/1.1\r\nHost: echo\r\n\r\n").await.expect("sent");
    assert!(until(&mut stream, "\r\n\r\n").await.starts_with("HTTP/1.1 200 "));
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert_eq!(rig.door.open.get(), 1);
    stream.write_u8(7).await.expect("sent");
    assert_eq!(stream.read_u8().await.expect("sent back"), 7);
    while rig.door.open.get() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(rig.door.inside.0.clients(), 0);
}

#[tokio::test]
async fn a_stop_lets_the_answer_being_given_go_out_and_takes_no_more() {
    let rig = rig(|_| {});
    let mut idle = rig.connect().await;
    idle.write_all(GET.as_bytes()).await.expect("sent");
    until(&mut idle, "127.0.0.1").await;
    let mut stream = rig.connect().await;
    stream.write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("sent");
    while rig.door.open.get() < 2 {
        tokio::task::yield_now().await;
    }
    rig.door.life.stop();
    assert_eq!(rest(&mut idle).await, "");
    rig.go.notify_one();
    assert!(rest(&mut stream).await.ends_with("waited"));
    assert!(rig.door.life.end(Duration::from_secs(5)).await);
    assert!(TcpStream::connect(rig.address).await.is_err());
}

#[tokio::test]
async fn slow_heads_and_idle_connections_end_by_ticks() {
    let patience = Patience { idle: 2, head: 1, body: 1, write: 1 };
    let rig = rig(|door| (door.patience, door.tick) = (patience, Duration::from_millis(5)));
    let mut slow = rig.connect().await;
    slow.write_all(b"GET / HTTP/1.1\r\nHo").await.expect("sent");
    let text = until(&mut slow, "(wire.slow)\n").await;
    assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
    let mut idle = rig.connect().await;
    idle.write_all(GET.as_bytes()).await.expect("sent");
    let text = rest(&mut idle).await;
    assert!(text.starts_with("HTTP/1.1 200 ") && text.ends_with("127.0.0.1"), "{text}");
}

#[tokio::test]
async fn a_connection_whose_wish_for_another_protocol_was_not_granted_ends_like_any_other() {
    let patience = Patience { idle: 2, ..Patience::default() };
    let rig = rig(|door| (door.patience, door.tick) = (patience, Duration::from_millis(5)));
    let mut idle = rig.connect().await;
    idle.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\n\r\n").await.expect("sent");
    let text = tokio::time::timeout(Duration::from_secs(10), rest(&mut idle)).await.expect("it ends");
    assert!(text.starts_with("HTTP/1.1 200 ") && text.ends_with("127.0.0.1"), "{text}");
}

#[tokio::test]
async fn a_client_that_is_gone_is_asked_after() {
    let rig = rig(|_| {});
    let mut stream = rig.connect().await;
    stream.write_all(GET.as_bytes()).await.expect("sent");
    until(&mut stream, "127.0.0.1").await;
    assert!(is_asked_after(rig.address.port(), stream.local_addr().expect("bound").port()).await);
}

#[tokio::test]
async fn a_taken_port_names_its_holder() {
    let rig = rig(|_| {});
    let (error, holder) = bind(rig.address).expect_err("taken");
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    assert!(holder.is_some_and(|holder| holder.contains(&std::process::id().to_string())));
}
