//! The adapter with real sockets and hyper behind it.

use crate::base::body::Body;
use crate::base::wire::watch::{Patience, Tick, Turn, Watch};
use crate::base::wire::{Interim, Limits, request, server};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rand::{RngExt, SeedableRng};
use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

struct Rig {
    client: TcpStream,
    watch: Watch,
    served: Arc<AtomicU32>,
    /// Lets `/wait` answer.
    go: Arc<Notify>,
    /// Of the request at `/wait`.
    interim: Arc<Mutex<Option<Interim>>>,
    _server: JoinSet<()>,
}

/// Answers by path: `/wait` when told to, `/hints` with a 103 first, `/early` without reading the body, CONNECT and upgrades
/// with an echo of what follows; everything else with the body, or its path when there is none.
async fn rig() -> Rig {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let client = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("connected");
    let (stream, _) = listener.accept().await.expect("accepted");
    let (guarded, watch) = server(stream, Limits::REQUEST);
    let (served, go) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
    let mut tasks = JoinSet::new();
    let interim = Arc::new(Mutex::new(None));
    let (turns, count, gate, seen) = (watch.clone(), Arc::clone(&served), Arc::clone(&go), Arc::clone(&interim));
    tasks.spawn(async move {
        let service = service_fn(move |request: Request<Incoming>| {
            count.fetch_add(1, SeqCst);
            let (turn, gate) = (turns.turn(), Arc::clone(&gate));
            if request.uri().path() == "/wait" {
                *seen.lock() = Some(turn.interim(None));
            }
            async move {
                let response = handle(request, &turn, &gate).await;
                poll_fn(|cx| turn.poll_settled(cx)).await;
                Ok::<_, Infallible>(turn.answer(response))
            }
        });
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(guarded), service).with_upgrades();
        // The tests look at the client's side.
        let _ = connection.await;
    });
    Rig { client, watch, served, go, interim, _server: tasks }
}

async fn handle(mut request: Request<Incoming>, turn: &Turn, gate: &Notify) -> Response<Body> {
    let path = request.uri().path().to_owned();
    if request.method() == http::Method::CONNECT || path == "/switch" {
        let status = if path == "/switch" { StatusCode::SWITCHING_PROTOCOLS } else { StatusCode::OK };
        let upgrade = hyper::upgrade::on(&mut request);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut io = TokioIo::new(upgrade.await.expect("upgraded"));
            let mut piece = [0; 64];
            while let Ok(len @ 1..) = io.read(&mut piece).await {
                io.write_all(&piece[..len]).await.expect("written");
            }
        });
        tasks.detach_all();
        let mut response = Response::new(Body::Empty);
        *response.status_mut() = status;
        if path == "/switch" {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("echo"));
        }
        return response;
    }
    match path.as_str() {
        "/wait" => {
            gate.notified().await;
            Response::new(Body::full("waited"))
        }
        "/hints" => {
            let Interim(send) = turn.interim(None);
            send(StatusCode::EARLY_HINTS, &HeaderMap::from_iter([(header::LINK, HeaderValue::from_static("</a>"))]));
            Response::new(Body::full("hinted"))
        }
        "/early" => Response::new(Body::full("early")),
        other if request.body().is_end_stream() => Response::new(Body::full(other.to_owned())),
        _ => match request.into_body().collect().await {
            Ok(body) => Response::new(Body::full(body.to_bytes())),
            Err(_) => Response::builder().status(502).body(Body::full("cut")).expect("valid"),
        },
    }
}

impl Rig {
    async fn send(&mut self, text: &str) {
        self.client.write_all(text.as_bytes()).await.expect("sent");
    }

    async fn rest(&mut self) -> String {
        let mut text = Vec::new();
        self.client.read_to_end(&mut text).await.expect("a clean end");
        String::from_utf8(text).expect("text")
    }

    /// Reads until `end` has come.
    async fn until(&mut self, end: &str) -> String {
        let mut text = Vec::new();
        while !text.ends_with(end.as_bytes()) {
            text.push(self.client.read_u8().await.expect("more"));
        }
        String::from_utf8(text).expect("text")
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

fn post(path: &str, rest: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: a\r\n{rest}")
}

/// The order of `parts` in `text`.
fn in_order(text: &str, parts: &[&str]) {
    let mut from = 0;
    for part in parts {
        let at = text[from..].find(part).unwrap_or_else(|| panic!("{part:?} is not in {:?}", &text[from..]));
        from += at + part.len();
    }
}

#[tokio::test]
async fn a_bad_request_is_answered_after_the_good_ones_before_it() {
    let table = [
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", "HTTP/1.1 400 "),
        ("GET / HTTP/1.1\nHost: a\n\n", "HTTP/1.1 400 "),
        ("GET / HTTP/2.0\r\n\r\n", "HTTP/1.1 505 "),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", "HTTP/1.1 501 "),
        ("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", "HTTP/1.1 400 "),
        ("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "HTTP/1.1 400 "),
    ];
    for (bad, status) in table {
        let mut rig = rig().await;
        rig.send(&format!("{}{}{bad}{}", get("/wait"), get("/two"), get("/never"))).await;
        rig.go.notify_one();
        let text = rig.rest().await;
        in_order(&text, &["HTTP/1.1 200 ", "waited", "HTTP/1.1 200 ", "/two", status, "Connection: close", "(wire."]);
        assert!(!text.contains("/never"), "{text}");
        assert_eq!(rig.served.load(SeqCst), 2, "{bad:?}");
        assert!(rig.watch.refusal().is_some());
    }
}

#[tokio::test]
async fn a_fault_found_in_a_later_read_is_told_as_well() {
    let mut rig = rig().await;
    rig.send("GET / HTTP/1.1\r\nHo").await;
    rig.send("st: a\r\nX\0: y\r\n\r\n").await;
    in_order(&rig.rest().await, &["HTTP/1.1 400 ", "(wire.name)"]);
    assert_eq!(rig.served.load(SeqCst), 0);
}

#[tokio::test]
async fn a_broken_body_ends_the_request_that_waits_for_it() {
    let mut rig = rig().await;
    rig.send(&post("/echo", "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n")).await;
    rig.until("100 Continue\r\n\r\n").await;
    rig.send("3\r\nabcX").await;
    let text = rig.rest().await;
    in_order(&text, &["HTTP/1.1 400 ", "(wire.chunk)"]);
    assert!(!text.contains("502"), "{text}");
}

#[tokio::test]
async fn huge_heads_and_many_fields_are_refused() {
    for bad in [format!("X: {}\r\n", "y".repeat(70 << 10)), "X: y\r\n".repeat(10_000)] {
        let mut rig = rig().await;
        rig.send(&format!("GET / HTTP/1.1\r\nHost: a\r\n{bad}\r\n")).await;
        in_order(&rig.rest().await, &["HTTP/1.1 431 "]);
    }
    let mut rig = rig().await;
    rig.send(&get(&format!("/{}", "a".repeat(33 << 10)))).await;
    in_order(&rig.rest().await, &["HTTP/1.1 414 "]);
}

#[tokio::test]
async fn every_byte_alone_reads_the_same() {
    let mut rig = rig().await;
    let text = format!(
        "{}{}",
        post("/echo", "Content-Length: 3\r\n\r\nabc"),
        post("/echo", "Transfer-Encoding: chunked\r\n\r\n2\r\nde\r\n0\r\n\r\n")
    );
    for byte in text.bytes() {
        rig.client.write_all(&[byte]).await.expect("sent");
        tokio::task::yield_now().await;
    }
    in_order(&rig.until("de").await, &["200 OK", "abc", "200 OK", "de"]);
}

#[tokio::test]
async fn interim_answers_come_before_their_own_answer_and_after_earlier_ones() {
    let mut rig = rig().await;
    rig.send(&format!("{}{}{}", get("/wait"), get("/hints"), get("/last"))).await;
    rig.go.notify_one();
    let text = rig.until("/last").await;
    in_order(&text, &["HTTP/1.1 200", "waited", "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200", "hinted", "200 OK"]);
}

#[tokio::test]
async fn an_interim_answer_from_elsewhere_does_not_wait_for_the_final_one() {
    let mut rig = rig().await;
    rig.send(&format!("{}{}", get("/one"), get("/wait"))).await;
    rig.until("/one").await;
    while rig.interim.lock().is_none() {
        tokio::task::yield_now().await;
    }
    let Interim(send) = rig.interim.lock().take().expect("just seen");
    for _ in 0..3 {
        send(StatusCode::PROCESSING, &HeaderMap::new());
        assert_eq!(rig.until("\r\n\r\n").await, "HTTP/1.1 102 Processing\r\n\r\n");
    }
    rig.go.notify_one();
    let text = rig.until("waited").await;
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    send(StatusCode::PROCESSING, &HeaderMap::new());
    rig.send(&get("/two")).await;
    let text = rig.until("/two").await;
    assert!(text.starts_with("HTTP/1.1 200 "), "too late is never: {text}");
}

#[tokio::test]
async fn bytes_after_connect_or_a_switch_pass_unseen() {
    let mut rig = rig().await;
    rig.send("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n\0early\n").await;
    rig.until("\r\n\r\n\0early\n").await;
    rig.send("\r\n \0").await;
    rig.until("\r\n \0").await;

    let mut rig = self::rig().await;
    rig.send("GET /switch HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n\0early\n").await;
    in_order(&rig.until("\0early\n").await, &["101 Switching"]);
    rig.send("\r\n \0").await;
    rig.until("\r\n \0").await;
}

#[tokio::test]
async fn an_upgrade_that_is_not_taken_up_goes_on_as_http() {
    let mut rig = rig().await;
    let ask = "GET /wait HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    rig.send(&format!("{ask}{}GET / HTTP/1.1\r\nHost : a\r\n\r\n", get("/next"))).await;
    rig.go.notify_one();
    in_order(&rig.rest().await, &["200 OK", "waited", "200 OK", "/next", "400 Bad Request", "(wire.name)"]);
}

#[tokio::test]
async fn an_answer_before_the_body_reaches_a_client_that_is_still_sending() {
    let mut rig = rig().await;
    rig.send(&post("/early", "Connection: close\r\nContent-Length: 300000\r\n\r\n")).await;
    rig.client.write_all(&vec![b'x'; 100_000]).await.expect("sent");
    in_order(&rig.until("early").await, &["200 OK"]);
}

#[tokio::test]
async fn slow_heads_are_told_and_idle_connections_end_in_silence() {
    let patience = Patience { idle: 1, head: 1, body: 1, write: 1 };
    let mut rig = rig().await;
    rig.send(&format!("{}GET / HT", get("/one"))).await;
    rig.until("/one").await;
    let mut ticks = Vec::new();
    while ticks.last() != Some(&Tick::Expired) {
        ticks.push(rig.watch.tick(&patience));
        // hyper polls on when something comes; in the node the watcher polls it.
        rig.send("T").await;
        tokio::task::yield_now().await;
    }
    rig.send("T").await;
    in_order(&rig.rest().await, &["HTTP/1.1 408 ", "(wire.slow)"]);
}

/// Whole requests and broken ones in any order: hyper must answer exactly those that the judge lets pass, then comes one
/// refusal, and nothing after it is looked at.
#[tokio::test]
async fn hyper_and_the_judge_see_the_same_requests() {
    const GOOD: &[&str] = &[
        "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\nGET http://a.kz/echo?x HTTP/1.1\r\nHost: a.kz\r\nX:\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nX: y\r\n\r\n",
        "PUT /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    ];
    let mut random = rand::rngs::StdRng::seed_from_u64(11);
    for round in 0..200 {
        let count = random.random_range(1..6);
        let mut text: Vec<u8> = (0..count).flat_map(|_| GOOD[random.random_range(0..GOOD.len())].bytes()).collect();
        for _ in 0..random.random_range(0..3) {
            let at = random.random_range(0..text.len());
            match random.random_range(0..3) {
                0 => text[at] = b" \r\n\0:x;9"[random.random_range(0..8)],
                1 => drop(text.remove(at)),
                _ => text.insert(at, b" \r\n\0:x;9"[random.random_range(0..8)]),
            }
            if text.is_empty() {
                break;
            }
        }
        let shown = String::from_utf8_lossy(&text).into_owned();
        let (heads, fault, _) = request::verdict(&[&text]);
        let mut rig = rig().await;
        for piece in text.chunks(random.random_range(1..200)) {
            // A refusal may have closed the connection already.
            if rig.client.write_all(piece).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        // As above.
        let _ = rig.client.shutdown().await;
        let mut got = Vec::new();
        let ended = rig.client.read_to_end(&mut got).await;
        let got = String::from_utf8_lossy(&got).into_owned();
        let good = got.matches("HTTP/1.1 200 OK\r\n").count();
        let own = got.matches("(wire.").count();
        let by_hyper = got.matches("HTTP/1.1 4").count() - own.min(got.matches("HTTP/1.1 4").count());
        assert!(ended.is_ok(), "round {round}: {shown:?}");
        if by_hyper == 0 {
            // The last request may be whole but for its body, which the end of the stream cuts.
            let whole = usize::try_from(heads).expect("few");
            assert!(good == whole || (fault.is_none() && good + 1 == whole), "round {round}: {shown:?}\n{heads} {fault:?}\n{got}");
            assert_eq!(own, usize::from(fault.is_some()), "round {round}: {shown:?}\n{got}");
        } else {
            // hyper is stricter still about targets; it ends the connection as well.
            assert_eq!((by_hyper, own), (1, 0), "round {round}: {shown:?}\n{got}");
        }
    }
}
