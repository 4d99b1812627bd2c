//! Bytes that are passed on unopened: CONNECT, upgrades; and answers before the answer.

use crate::kit;
use crate::kit::http::{Connection, request};
use crate::kit::node::Setup;
use crate::kit::origin::{Origin, Reply, ok};
use crate::kit::program;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;

/// Says back what it hears.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for stream in listener.incoming().filter_map(Result::ok) {
            std::thread::spawn(move || {
                let (mut from, mut to) = (stream.try_clone().expect("a socket"), stream);
                let _copied = std::io::copy(&mut from, &mut to); // ends with the connection
            });
        }
    });
    addr
}

fn connect(to: SocketAddr, authority: &str, early: &[u8]) -> (u16, Connection) {
    let mut connection = Connection::open(to);
    let head = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    connection.send(&[head.as_bytes(), early].concat()).expect("sends");
    let answer = connection.read(true);
    (answer.status, connection)
}

#[test]
fn a_tunnel_passes_bytes_both_ways_and_counts_them() {
    let addr = echo();
    let node = Setup::new().set("proxy.connect_ports", &format!("[443, {}]", addr.port())).start();
    let (status, mut tunnel) = connect(node.proxy, &addr.to_string(), b"early ");
    assert_eq!(status, 200);
    let noise = kit::noise(4, 300_000);
    let sender = tunnel.raw().get_ref().try_clone().expect("a socket");
    let sent = noise.clone();
    std::thread::spawn(move || (&sender).write_all(&sent));
    let mut heard = vec![0; 6 + noise.len()];
    tunnel.raw().read_exact(&mut heard).expect("the echo");
    assert!(heard.starts_with(b"early ") && heard[6..] == noise);
    drop(tunnel);
    kit::until("the tunnel's bytes are counted", 20, || {
        node.metric("bulak_client_bytes_total", "cache=\"tunnel\"").is_some_and(|bytes| bytes >= 300_006.0)
    });
}

#[test]
fn only_listed_ports_are_reached() {
    let addr = echo();
    let node = Setup::new().start();
    for authority in [addr.to_string(), "127.0.0.1:25".into(), "127.0.0.1:0".into(), "no-port".into()] {
        let (status, _) = connect(node.proxy, &authority, b"");
        assert!((400..500).contains(&status), "CONNECT {authority}: {status}");
    }
    let closed = Setup::new().set("proxy.allow_private_targets", "[]");
    let node = closed.set("proxy.connect_ports", &format!("[{}]", addr.port())).start();
    assert_eq!(connect(node.proxy, &addr.to_string(), b"").0, 403, "a private place");
}

#[test]
fn tls_goes_through_unopened() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (key, cert) = (at("key.pem"), at("cert.pem"));
    let mut make = Command::new(program::need("openssl"));
    make.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]);
    make.args(["-subj", "/CN=tls.school.test", "-addext", "subjectAltName=DNS:tls.school.test", "-keyout", &key, "-out", &cert]);
    assert!(program::run(&make, 30).status.success());
    let port = kit::free_port();
    let mut server = Command::new(program::need("openssl"));
    server.args(["s_server", "-quiet", "-www", "-accept", &format!("127.0.0.1:{port}"), "-key", &key, "-cert", &cert]);
    let _server = program::start(&mut server, &folder.path().join("server.log"));
    kit::until("openssl listens", 20, || std::net::TcpStream::connect(kit::loopback(port)).is_ok());
    let node = Setup::new()
        .set("proxy.connect_ports", &format!("[{port}]"))
        .set("upstream.hosts", &format!("{{ \"tls.school.test\" = \"127.0.0.1\", \"tls.school.test:{port}\" = \"127.0.0.1:{port}\" }}"))
        .start();
    let mut curl = Command::new(program::need("curl"));
    curl.args(["-sS", "--cacert", &cert, "-x", &format!("http://{}", node.proxy), &format!("https://tls.school.test:{port}/")]);
    let output = program::run(&curl, 30);
    let page = String::from_utf8_lossy(&output.stdout);
    assert!(page.contains("Cipher"), "{page}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn an_upgrade_becomes_a_tunnel() {
    let origin = Origin::start(|ask| {
        assert_eq!(ask.field("upgrade"), Some("websocket"));
        assert!(ask.field("connection").is_some_and(|value| value.to_ascii_lowercase().contains("upgrade")));
        Reply::Act(Box::new(|stream| {
            let head =
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\nhi ";
            stream.write_all(head.as_bytes()).expect("sends");
            let mut heard = [0; 5];
            stream.read_exact(&mut heard).expect("five bytes");
            stream.write_all(&heard).expect("sends");
        }))
    });
    let node = Setup::new().host("w.school.test", origin.addr).start();
    let mut connection = Connection::open(node.proxy);
    let fields = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="];
    connection.send(&request("GET", "http://w.school.test/chat", &fields)).expect("sends");
    let answer = connection.read(true);
    assert_eq!((answer.status, answer.field("upgrade").as_str()), (101, "websocket"));
    connection.send(b"hello").expect("sends");
    let mut heard = [0; 8];
    connection.raw().read_exact(&mut heard).expect("the origin's bytes");
    assert_eq!(&heard, b"hi hello");
}

#[test]
fn interim_answers_are_relayed_and_never_kept() {
    let origin = Origin::start(|_| {
        let hints = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n";
        Reply::Bytes([hints.as_slice(), &ok(&["Cache-Control: public, max-age=3600"], b"page")].concat())
    });
    let node = Setup::new().host("h.school.test", origin.addr).start();
    let first = node.get("http://h.school.test/");
    assert_eq!(first.text(), "page");
    assert_eq!(first.interim.len(), 1, "the 103 was not relayed");
    assert_eq!(first.interim[0].0, 103);
    assert!(first.interim[0].1.iter().any(|(name, value)| name == "link" && value.contains("/style.css")));
    let second = node.get("http://h.school.test/");
    assert_eq!((second.text().as_str(), second.is_hit(), second.interim.len()), ("page", true, 0));
}
