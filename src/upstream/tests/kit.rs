//! Origins that speak bytes, a DNS server that can fall silent, and an upstream that may reach loopback.

use super::*;
use crate::base::body::BodyError;
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// What a node has, for a test.
pub(super) struct Node {
    pub(super) upstream: Upstream,
    pub(super) link: Link,
    pub(super) life: Life,
    pub(super) metrics: Metrics,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.life.stop();
    }
}

/// Settings that allow loopback origins and wait briefly.
pub(super) fn settings() -> Settings {
    Settings { allow_private: vec!["127.0.0.0/8".parse().unwrap(), "[::1]".parse().unwrap()], ..Settings::default() }
}

pub(super) fn node(settings: Settings) -> Node {
    node_at(settings, Clock::system())
}

/// A node with a clock that the test moves.
pub(super) fn node_at(settings: Settings, clock: Clock) -> Node {
    let (life, metrics) = (Life::default(), Metrics::default());
    let link = Link::new(crate::link::Settings::default(), clock.clone(), &life, &metrics);
    let upstream = Upstream::new(settings, clock, link.clone(), &life, &metrics).unwrap();
    Node { upstream, link, life, metrics }
}

pub(super) fn target(text: &str) -> Target {
    Target::parse(text).unwrap()
}

pub(super) fn get() -> Request<Body> {
    Request::new(Body::Empty)
}

pub(super) fn post(body: Body) -> Request<Body> {
    let mut request = Request::new(body);
    *request.method_mut() = http::Method::POST;
    request
}

pub(super) async fn text(sent: Sent) -> Result<String, BodyError> {
    Ok(String::from_utf8(sent.response.into_body().collect(1 << 20).await?.to_vec())?)
}

/// An origin: connections and requests it saw.
pub(super) struct Origin {
    pub(super) addr: SocketAddr,
    pub(super) connections: Arc<AtomicUsize>,
    pub(super) heads: Arc<Mutex<Vec<String>>>,
}

impl Origin {
    pub(super) fn url(&self, path: &str) -> Target {
        target(&format!("http://{}{path}", self.addr))
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// Answers the requests of each connection in turn; `answers` gives the bytes by connection and request number (from 0);
/// `None` closes after the request was read.
pub(super) async fn origin(life: &Life, answers: impl Fn(usize, usize) -> Option<Vec<u8>> + Send + Sync + 'static) -> Origin {
    origin_at(TcpListener::bind("127.0.0.1:0").await.unwrap(), life, answers)
}

/// The same, where a test wants it.
pub(super) fn origin_at(
    listener: TcpListener,
    life: &Life,
    answers: impl Fn(usize, usize) -> Option<Vec<u8>> + Send + Sync + 'static,
) -> Origin {
    let origin = Origin { addr: listener.local_addr().unwrap(), connections: Arc::default(), heads: Arc::default() };
    let (connections, heads, answers, life2) = (origin.connections.clone(), origin.heads.clone(), Arc::new(answers), life.clone());
    life.spawn_until_stop(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let number = connections.fetch_add(1, Ordering::Relaxed);
            let (heads, answers) = (heads.clone(), answers.clone());
            life2.spawn_until_stop(async move {
                for request in 0.. {
                    let Some(head) = read_head(&mut stream).await else { return };
                    heads.lock().push(head);
                    let Some(answer) = answers(number, request) else { return };
                    stream.write_all(&answer).await.unwrap();
                    if answer.is_empty() {
                        std::future::pending::<()>().await;
                    }
                }
            });
        }
    });
    origin
}

/// Reads up to the empty line and the body that Content-Length names.
pub(super) async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let length =
        head.to_ascii_lowercase().split("content-length: ").nth(1).map_or(0, |rest| rest.split("\r\n").next().unwrap().parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(head + std::str::from_utf8(&body).unwrap())
}

pub(super) fn hello() -> Vec<u8> {
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".to_vec()
}

/// What a DNS server says to a name.
pub(super) enum Says {
    Addrs(Vec<std::net::IpAddr>),
    /// The same, those of IPv4 after this long.
    Late(Duration, Vec<std::net::IpAddr>),
    /// A failure, by its code (RFC 1035 section 4.1.1): 2 SERVFAIL, 5 REFUSED.
    Fails(u8),
    Nothing,
}

/// A DNS server. Counts what it was asked.
pub(super) struct Dns {
    pub(super) addr: SocketAddr,
    pub(super) asked: Arc<Mutex<Vec<String>>>,
}

/// One whose `answer` gives the addresses of a name; `None` stays silent.
pub(super) async fn dns(life: &Life, answer: impl Fn(&str) -> Option<Vec<std::net::IpAddr>> + Send + 'static) -> Dns {
    dns_that(life, move |name| answer(name).map_or(Says::Nothing, Says::Addrs)).await
}

pub(super) async fn dns_that(life: &Life, answer: impl Fn(&str) -> Says + Send + 'static) -> Dns {
    let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let dns = Dns { addr: socket.local_addr().unwrap(), asked: Arc::default() };
    let (asked, life2) = (dns.asked.clone(), life.clone());
    life.spawn_until_stop(async move {
        let mut packet = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut packet).await {
            let (name, end) = read_name(&packet[..length]);
            let kind = u16::from_be_bytes([packet[end], packet[end + 1]]);
            asked.lock().push(format!("{name} {kind}"));
            let (code, addrs, late) = match answer(&name) {
                Says::Addrs(addrs) => (0, addrs, Duration::ZERO),
                Says::Late(late, addrs) => (0, addrs, if kind == 1 { late } else { Duration::ZERO }),
                Says::Fails(code) => (code, Vec::new(), Duration::ZERO),
                Says::Nothing => continue,
            };
            let addrs: Vec<_> = addrs.into_iter().filter(|addr| kind == if addr.is_ipv4() { 1 } else { 28 }).collect();
            let (reply, socket) = (reply(&packet[..end + 4], code, &addrs), socket.clone());
            life2.spawn_until_stop(async move {
                tokio::time::sleep(late).await;
                socket.send_to(&reply, from).await.unwrap();
            });
        }
    });
    dns
}

fn read_name(packet: &[u8]) -> (String, usize) {
    let (mut at, mut name) = (12, String::new());
    while packet[at] != 0 {
        let length = usize::from(packet[at]);
        name.push_str(std::str::from_utf8(&packet[at + 1..=at + length]).unwrap());
        name.push('.');
        at += length + 1;
    }
    if name.is_empty() {
        name.push('.');
    }
    (name, at + 1)
}

fn reply(question: &[u8], code: u8, addrs: &[std::net::IpAddr]) -> Bytes {
    let mut packet = question.to_vec();
    packet[2..4].copy_from_slice(&[0x81, 0x80 | code]);
    packet[6..12].copy_from_slice(&[0, u8::try_from(addrs.len()).unwrap(), 0, 0, 0, 0]);
    for addr in addrs {
        let (kind, bytes) = match addr {
            std::net::IpAddr::V4(v4) => (1, v4.octets().to_vec()),
            std::net::IpAddr::V6(v6) => (28, v6.octets().to_vec()),
        };
        packet.extend([0xc0, 0x0c, 0, kind, 0, 1, 0, 0, 0, 60, 0, u8::try_from(bytes.len()).unwrap()]);
        packet.extend(bytes);
    }
    packet.into()
}

/// An address that answers nothing: a listener whose queue is full drops what else comes, as a dead line would. With a paused clock
/// nothing but deadlines happens there.
pub(super) fn hanging_at(ip: std::net::IpAddr) -> ((socket2::Socket, std::net::TcpStream), SocketAddr) {
    let domain = if ip.is_ipv4() { socket2::Domain::IPV4 } else { socket2::Domain::IPV6 };
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((ip, 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    let queued = std::net::TcpStream::connect(addr).unwrap();
    ((socket, queued), addr)
}
