//! What is said on connections that were opened, and on those of the proxy over TLS: WebSocket, trailers, cookies in crumbs, HTTP/2
//! and CONNECT within it; and connections that a network redirected.

use crate::kit;
use crate::kit::class::{Class, OWN, SCHOOL, authority, enrol, listing, whole};
use crate::kit::device::Device;
use crate::kit::line::Line;
use crate::kit::node::{Node, Setup};
use crate::kit::origin::ok;
use crate::kit::secure::full;
use crate::kit::talker::{Stream, Talker, head, say};
use crate::kit::tls::{Fault, Key, Tls};
use crate::kit::two;
use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The host of origins that a test writes itself.
const TALK: &str = "talk.school.test";

/// A node that opens [`TALK`], behind which `talk` answers; its device at `127.0.0.1` is enrolled.
struct Stage {
    node: Node,
    talker: Talker,
    tls: Tls,
}

impl Stage {
    fn set(talk: impl Fn(Stream) + Send + Sync + 'static) -> Stage {
        let mut tls = Tls::new("Root of a talker");
        let talker = Talker::start(&tls.server("talk", &[TALK], Key::Ec, Fault::None), talk);
        let folder = tempfile::tempdir().expect("a folder");
        authority(&folder.path().join("state/ca"), &[TALK.to_owned()]);
        let setup = listing(Setup::new(), &[TALK.to_owned()]).root(&tls.root()).secure_host(TALK, talker.addr);
        let stage = Stage { node: setup.start_in(folder), talker, tls };
        assert_eq!(enrol(&stage.device()).exit, 0);
        stage
    }

    fn ca(&self) -> PathBuf {
        self.node.folder.path().join("state/ca/ca.pem")
    }

    fn device(&self) -> Device {
        Device::behind(self.node.proxy).trusting(&self.ca()).trusting(&self.tls.root())
    }
}

/// Answers a WebSocket's opening, says `hi `, then says back what it hears.
fn echo(mut stream: Stream) {
    while let Some(lines) = head(&mut stream) {
        let has = |text: &str| lines.iter().any(|line| line.eq_ignore_ascii_case(text));
        if lines[0].contains("/gone") {
            return;
        }
        if lines[0].contains("/page") || !has("upgrade: websocket") || !has("connection: upgrade") {
            say(&mut stream, &ok(&["Cache-Control: no-store"], lines[0].as_bytes())).expect("sends");
            continue;
        }
        let key = lines.iter().find_map(|line| line.to_ascii_lowercase().strip_prefix("sec-websocket-key: ").map(str::len));
        assert_eq!(key, Some(24), "{lines:?}");
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\nhi ";
        say(&mut stream, answer).expect("sends");
        let mut heard = [0; 5];
        while stream.read_exact(&mut heard).is_ok() {
            say(&mut stream, &heard).expect("sends");
        }
        return;
    }
}

#[test]
fn websocket_goes_through_an_opened_connection_in_both_protocols() {
    let stage = Stage::set(echo);
    let (proxy, ca) = (stage.node.proxy, stage.ca());
    two::run(async {
        let tunnel = two::tunnel(proxy, TALK).await;
        let mut one = two::tls(tunnel, TALK, &ca, &["http/1.1"]).await.expect("opened");
        let ask = format!(
            "GET /chat HTTP/1.1\r\nHost: {TALK}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        one.write_all(ask.as_bytes()).await.expect("sends");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\nhi ") {
            answer.push(one.read_u8().await.expect("an answer"));
        }
        assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
        one.write_all(b"hello").await.expect("sends");
        let mut heard = [0; 5];
        one.read_exact(&mut heard).await.expect("the echo");
        assert_eq!(&heard, b"hello");

        let tunnel = two::tunnel(proxy, TALK).await;
        let mut two = two::start(two::tls(tunnel, TALK, &ca, &["h2"]).await.expect("opened")).await;
        let mut socket = two::socket(&mut two, &format!("https://{TALK}/chat")).await.expect("a socket");
        socket.write_all(b"hello").await.expect("sends");
        let mut heard = [0; 8];
        socket.read_exact(&mut heard).await.expect("the echo");
        assert_eq!(&heard, b"hi hello");
        // Beside it on the same connection.
        let answer = two::fetch(&mut two, two::ask("GET", &format!("https://{TALK}/x"), &[])).await;
        assert_eq!((answer.status().as_u16(), answer.body().as_ref()), (200, &b"GET /x HTTP/1.1"[..]));
        // RFC 9113 section 8.1.1: a HEAD has no body, whatever page tells of the error to others.
        for (method, told) in [("GET", true), ("HEAD", false)] {
            let gone = two::fetch(&mut two, two::ask(method, &format!("https://{TALK}/gone"), &[("accept", "text/html")])).await;
            assert_eq!((gone.status().as_u16(), !gone.body().is_empty()), (502, told), "{method}");
        }
        // An origin that knows no socket there answers with a page: no success for whoever wants a socket (RFC 8441 section 5).
        let page = two::socket(&mut two, &format!("https://{TALK}/page")).await;
        assert_eq!(page.err().map(|answer| answer.status().as_u16()), Some(502));
        let foreign = two::socket(&mut two, "https://other.school.test/chat").await;
        assert_eq!(foreign.err().map(|answer| answer.status().as_u16()), Some(421));
    });
}

#[test]
fn crumbs_trailers_and_bodies_arrive_whole() {
    let seen: Arc<Mutex<Vec<Vec<String>>>> = Arc::default();
    let kept = Arc::clone(&seen);
    let stage = Stage::set(move |mut stream| {
        while let Some(lines) = head(&mut stream) {
            if lines[0].starts_with("PUT") {
                let mut body = [0; 4];
                stream.read_exact(&mut body).expect("a body");
                assert_eq!(&body, b"note");
            }
            kept.lock().expect("no thread panics holding it").push(lines);
            let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n4\r\npage\r\n0\r\nx-sum: 7\r\n\r\n";
            say(&mut stream, answer).expect("sends");
        }
    });
    let (proxy, ca) = (stage.node.proxy, stage.ca());
    two::run(async {
        let tunnel = two::tunnel(proxy, TALK).await;
        let mut two = two::start(two::tls(tunnel, TALK, &ca, &["h2"]).await.expect("opened")).await;
        let crumbs = [("cookie", "a=1"), ("cookie", "b=2"), ("x-forwarded-for", "10.0.0.7")];
        let answer = two.send_request(two::ask("GET", &format!("https://{TALK}/x"), &crumbs)).await.expect("an answer");
        let body = http_body_util::BodyExt::collect(answer.into_body()).await.expect("a body");
        assert_eq!(body.trailers().and_then(|all| all.get("x-sum")).map(|value| value.to_str().expect("text")), Some("7"));
        assert_eq!(body.to_bytes(), "page");
        let mut put = two::ask("PUT", &format!("https://{TALK}/x"), &[]);
        *put.body_mut() = http_body_util::Full::from("note");
        assert_eq!(two::fetch(&mut two, put).await.body(), "page");
    });
    let seen = seen.lock().expect("no thread panics holding it");
    let cookies: Vec<&String> = seen[0].iter().filter(|line| line.to_ascii_lowercase().starts_with("cookie:")).collect();
    assert_eq!(cookies, ["cookie: a=1; b=2"]);
    assert!(seen[0].iter().all(|line| !line.contains("10.0.0.7")));
    assert!(seen[0].iter().any(|line| line.eq_ignore_ascii_case("via: 2 school-test")), "{:?}", seen[0]);
    // HTTP/1.1, where the client wants to be told before it sends.
    drop(seen);
    let note = stage.node.folder.path().join("note");
    std::fs::write(&note, "note").expect("a file");
    let words = ["--http1.1", "-T", &note.display().to_string(), "-H", "Expect: 100-continue"];
    let page = stage.device().with(&words).get(&format!("https://{TALK}/x"));
    assert!(page.text() == "page" && page.head.starts_with("HTTP/1.1 100"), "{page:?}");
}

#[test]
fn an_origin_whose_certificate_goes_bad_is_spoken_for_no_longer() {
    let mut stage = Stage::set(|mut stream| {
        if head(&mut stream).is_some() {
            let answer = ok(&["Cache-Control: no-store", "Connection: close"], b"page");
            say(&mut stream, &answer).expect("sends");
        }
    });
    let device = stage.device();
    let url = format!("https://{TALK}/x");
    let page = device.get(&url);
    assert!(page.issuer.contains(SCHOOL) && page.text() == "page", "{page:?}");
    let bad = stage.tls.server("bad", &["another.school.test"], Key::Ec, Fault::None);
    stage.talker.show(&bad);
    // The proof still counts: the request finds out, says so, and is the last one.
    let page = device.clone().with(&["--http1.1"]).get(&url);
    assert!(page.issuer.contains(SCHOOL) && page.status == 502, "{page:?}");
    assert!(page.field("proxy-status").contains("tls_certificate_error"), "{page:?}");
    let page = device.get(&url);
    assert_eq!((page.exit, page.status), (60, 0), "the genuine error: {page:?}");
}

/// A node whose proxy also listens over TLS, and the origins.
fn over_tls() -> (Class, SocketAddr) {
    let port = kit::free_port();
    let class = Class::with(&["ec-h2"], |_, setup| setup.set("proxy.tls_listen", &format!("[\"127.0.0.1:{port}\"]")));
    (class, kit::loopback(port))
}

#[test]
fn the_proxy_over_tls_answers_requests_and_opens_tunnels_in_streams() {
    let (class, listen) = over_tls();
    let plain = kit::origin::Origin::start(|_| kit::origin::Reply::Bytes(ok(&["Cache-Control: max-age=60"], b"plain")));
    let (ca, root) = (class.ca(), class.origins.tls.root());
    two::run(async {
        let stream = TcpStream::connect(listen).await.expect("connects");
        let mut two = two::start(two::tls(stream, OWN, &ca, &["h2"]).await.expect("a proxy with a name")).await;
        let url = format!("http://{}/x", plain.addr);
        for hit in [false, true] {
            let answer = two::fetch(&mut two, two::ask("GET", &url, &[])).await;
            let status = answer.headers()["cache-status"].to_str().expect("text").to_owned();
            assert_eq!((answer.body().as_ref(), status.contains("; hit")), (&b"plain"[..], hit), "{status}");
        }
        // Not listed: the origin's own certificate, and two tunnels side by side.
        for host in ["rsa-h1", "other"] {
            let tunnel = two::connect(&mut two, &full(host)).await.expect("a tunnel");
            two::tls(tunnel, &full(host), &root, &[]).await.expect("the genuine certificate");
        }
        let unreached = two::connect(&mut two, "127.0.0.1").await;
        assert_eq!(unreached.err().map(|answer| answer.status().as_u16()), Some(502), "nobody listens there");
        // Not enrolled yet, so not opened; then opened.
        let tunnel = two::connect(&mut two, &full("ec-h2")).await.expect("a tunnel");
        two::tls(tunnel, &full("ec-h2"), &root, &[]).await.expect("the genuine certificate");
        let page = two::fetch(&mut two, two::ask("GET", &format!("https://{OWN}/enrolled"), &[])).await;
        assert_ne!(page.status(), 421);
        let tunnel = two::connect(&mut two, &full("ec-h2")).await.expect("a tunnel");
        let mut inner = two::start(two::tls(tunnel, &full("ec-h2"), &ca, &["h2"]).await.expect("opened")).await;
        let page = two::fetch(&mut inner, two::ask("GET", &format!("https://{}/s/100k", full("ec-h2")), &[])).await;
        assert!(page.body().as_ref() == class.origins.file("100k"), "{:?}", page.headers());
    });
    let name = format!("{OWN}:{}:127.0.0.1", listen.port());
    let words = ["--proxy", &format!("https://{OWN}:{}", listen.port()), "--proxy-cacert", &ca.display().to_string(), "--resolve", &name];
    let device = Device::direct().trusting(&root).with(&words);
    let page = device.get(&format!("https://{}/s/1k", full("other")));
    assert!(page.exit == 0 && page.body == class.origins.file("1k"), "HTTP/1.1 too: {page:?}");
    assert_eq!(device.get(&format!("http://{}/x", plain.addr)).text(), "plain");
}

#[test]
fn tunnels_in_streams_count_as_connections() {
    let (class, listen) = over_tls();
    let ca = class.ca();
    two::run(async {
        let mut all = Vec::new();
        let mut refused = 0;
        // 128 streams a connection, 256 places a client: the third connection's streams find none.
        for _ in 0..3 {
            let stream = TcpStream::connect(listen).await.expect("connects");
            let mut two = two::start(two::tls(stream, OWN, &ca, &["h2"]).await.expect("a proxy with a name")).await;
            for _ in 0..100 {
                match two::connect(&mut two, &full("other")).await {
                    Ok(tunnel) => all.push(tunnel),
                    Err(answer) => {
                        assert_eq!(answer.status(), 503);
                        refused += 1;
                    }
                }
            }
            std::mem::forget(two);
        }
        assert_eq!((all.len(), refused), (253, 47), "256 less the three connections");
    });
}

#[test]
fn redirected_connections_are_passed_on_by_name_and_never_in_a_circle() {
    let (near, circle) = (kit::free_port(), kit::free_port());
    let back = Line::to(kit::loopback(near));
    let class = Class::with(&["ec-h2"], |origins, setup| {
        let hosts =
            [("ec-h2", origins.addr("ec-h2")), ("other", origins.addr("other")), ("loop", back.addr), ("self", kit::loopback(near))];
        let hosts: Vec<String> = hosts.iter().map(|(host, addr)| format!("\"{}:443\" = \"{addr}\"", full(host))).collect();
        setup
            .set("upstream.hosts", &format!("{{ {} }}", hosts.join(", ")))
            .set("proxy.sni_listen", &format!("[\"127.0.0.1:{near}\", \"127.0.0.1:{circle}\"]"))
    });
    class.enrolled(1);
    let place = format!("127.0.0.1:{near}");
    let look = |name: Option<&str>| Device::direct().look_at(&place, name, &[]);
    for host in ["ec-h2", "other"] {
        let sight = look(Some(&full(host)));
        assert_eq!(sight.certificate, class.origins.pair(host).der, "{host}, listed or not: {}", sight.said);
    }
    let refused = |why: &str| whole(class.node.metric("bulak_refused_total", &format!("reason=\"{why}\"")));
    assert!(look(None).certificate.is_empty());
    assert!(look(Some(OWN)).certificate.is_empty());
    assert_eq!((refused("no_name"), refused("own")), (1, 1));
    let mut plain = kit::http::Connection::open(kit::loopback(near));
    plain.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("sends");
    assert!(plain.is_closed(), "not TLS");
    // Its address is ours; it leads back to us by way of another.
    assert!(look(Some(&full("self"))).certificate.is_empty());
    assert!(look(Some(&full("loop"))).certificate.is_empty());
    assert_eq!((refused("loop"), back.connections()), (1, 1), "once around and no more");
    assert!(class.node.metric("bulak_tunnel_bytes_total", "up").is_some_and(|bytes| bytes > 0.0));
}

#[test]
fn a_secure_listener_without_a_ca_closes() {
    let port = kit::free_port();
    let node = Setup::new().set("proxy.tls_listen", &format!("[\"127.0.0.1:{port}\"]")).start();
    let sight = Device::direct().look_at(&format!("127.0.0.1:{port}"), Some(OWN), &[]);
    assert!(sight.certificate.is_empty() && node.log_text().contains("there is no CA"), "{}", sight.said);
}

#[test]
fn chromium_opens_a_listed_host_by_the_proxy_over_tls() {
    let (class, listen) = over_tls();
    let proxy = format!("https://{OWN}:{}", listen.port());
    let wish = kit::browser::Wish::by(&proxy).trusting(&class.ca()).trusting(&class.origins.tls.root());
    let mut browser = wish.map(&format!("{OWN}:{}", listen.port()), listen).start();
    browser.visit(&format!("https://{OWN}/enrolled"));
    let page = browser.visit_until(&format!("https://{}/", full("ec-h2")), kit::secure::PROOF);
    assert_eq!((page.status, page.issuer.contains(SCHOOL)), (200, true), "{page:?}");
    let page = browser.visit_until(&format!("https://{}/", full("other")), kit::secure::PROOF);
    assert_eq!((page.status, page.issuer.as_str()), (200, "Root of a test's origins"), "{page:?}");
}
