//! HTTP/1.1 without TLS: forms, reuse, repeats, lies, silence, interim answers, upgrades, a parent.

use super::kit::*;
use super::*;
use crate::base::wire::Interim;
use http::StatusCode;
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

#[tokio::test]
async fn one_connection_serves_request_after_request_and_all_is_counted() {
    let node = node(settings());
    let origin = origin(&node.life, |_, _| Some(hello())).await;
    for round in 0..3 {
        let request = post(Body::full("12345678"));
        let sent = node.upstream.send(&origin.url("/a?b=c"), request, Class::Interactive).await.unwrap();
        assert_eq!((sent.proto, sent.response.status()), ("h1", StatusCode::OK));
        assert_eq!(http_body::Body::size_hint(sent.response.body()).exact(), Some(5));
        assert_eq!(text(sent).await.unwrap(), "hello");
        // The connection comes back when its task has run.
        while node.upstream.0.pool.idle(&origin.url("/").origin().into()) == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(origin.heads.lock().len(), round + 1);
    }
    assert_eq!(origin.connections(), 1);
    let head = origin.heads.lock()[0].to_ascii_lowercase();
    assert!(head.starts_with("post /a?b=c http/1.1\r\n") && head.contains(&format!("\r\nhost: {}\r\n", origin.addr)), "{head}");
    assert!(head.ends_with("12345678"), "{head}");
    let printed = node.metrics.print();
    for line in [
        "bulak_upstream_requests_total{class=\"foreground\",proto=\"h1\"} 3",
        "bulak_upstream_bytes_total{class=\"foreground\",dir=\"rx\"} 15",
        "bulak_upstream_bytes_total{class=\"foreground\",dir=\"tx\"} 24",
    ] {
        assert!(printed.contains(line), "{printed}");
    }
    assert_eq!(node.link.view().bytes["foreground"], (15, 24));
    assert_eq!(node.link.state(), State::Up);
}

#[tokio::test]
async fn a_connection_closed_while_idle_costs_a_repeat_only_where_that_is_safe() {
    let node = node(settings());
    // Each connection answers once and closes when it reads a second request.
    let origin = origin(&node.life, |_, request| (request == 0).then(hello)).await;
    for _ in 0..2 {
        let sent = node.upstream.send(&origin.url("/"), get(), Class::Interactive).await.unwrap();
        assert_eq!(text(sent).await.unwrap(), "hello");
        while node.upstream.0.pool.idle(&origin.url("/").origin().into()) == 0 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!((origin.connections(), origin.heads.lock().len()), (2, 3), "the second request went out twice");
    let failed = node.upstream.send(&origin.url("/"), post(Body::full("x")), Class::Interactive).await.unwrap_err();
    assert!(matches!(failed, Error::Incomplete(_)), "{failed}");
    assert_eq!(origin.heads.lock().len(), 4, "an order is not placed twice");
}

/// A body whose pieces come when the test sends them.
fn pieces(method: &str, length: u64) -> (tokio::sync::mpsc::UnboundedSender<&'static str>, Request<Body>) {
    let (tell, told) = tokio::sync::mpsc::unbounded_channel();
    let frames = futures_util::stream::unfold(told, async |mut told| {
        let piece: &'static str = told.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(http_body::Frame::data(bytes::Bytes::from(piece))), told))
    });
    let body = Body::stream(http_body_util::StreamBody::new(Box::pin(frames)));
    (tell, Request::builder().method(method).header("content-length", length).body(body).unwrap())
}

#[tokio::test]
async fn a_small_body_that_met_a_closed_connection_is_sent_again_and_goes_on_where_it_was() {
    let node = node(settings());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = target(&format!("http://{}/", listener.local_addr().unwrap()));
    let (tell, request) = pieces("PUT", 10);
    let origin = async {
        let (mut first, _) = listener.accept().await.unwrap();
        read_head(&mut first).await.unwrap();
        first.write_all(&hello()).await.unwrap();
        // The next request comes as far as its first piece; then the origin is gone.
        let mut seen = Vec::new();
        while !seen.ends_with(b"12345") {
            seen.push(first.read_u8().await.unwrap());
        }
        drop(first);
        let (mut second, _) = listener.accept().await.unwrap();
        tell.send("67890").unwrap();
        let again = read_head(&mut second).await.unwrap();
        second.write_all(&hello()).await.unwrap();
        again
    };
    let client = async {
        text(node.upstream.send(&url, get(), Class::Interactive).await.unwrap()).await.unwrap();
        while node.upstream.0.pool.idle(&url.origin().into()) == 0 {
            tokio::task::yield_now().await;
        }
        tell.send("12345").unwrap();
        let sent = node.upstream.send(&url, request, Class::Interactive).await.unwrap();
        (sent.reused, text(sent).await.unwrap())
    };
    let (again, sent) = tokio::join!(origin, client);
    assert!(again.starts_with("PUT / ") && again.ends_with("\r\n\r\n1234567890"), "{again}");
    assert_eq!(sent, (false, String::from("hello")));
}

#[tokio::test]
async fn an_exchange_that_takes_long_is_doubted_by_trying_and_not_from_memory() {
    let node = node(settings());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = target(&format!("http://{}/", listener.local_addr().unwrap()));
    let origin = async {
        let (mut first, _) = listener.accept().await.unwrap();
        read_head(&mut first).await.unwrap();
        first.write_all(&hello()).await.unwrap();
        read_head(&mut first).await.unwrap();
        // Whoever doubts comes, and only then is there an answer.
        let probe = listener.accept().await.unwrap();
        first.write_all(&hello()).await.unwrap();
        (first, probe)
    };
    let client = async {
        text(node.upstream.send(&url, get(), Class::Interactive).await.unwrap()).await.unwrap();
        while node.upstream.0.pool.idle(&url.origin().into()) == 0 {
            tokio::task::yield_now().await;
        }
        node.upstream.0.dial.shut(url.host(), url.port());
        let sent = node.upstream.send(&url, post(Body::full("an order")), Class::Interactive).await.unwrap();
        (sent.reused, text(sent).await.unwrap())
    };
    let (_open, sent) = tokio::join!(origin, client);
    assert_eq!(sent, (true, String::from("hello")));
}

#[tokio::test]
async fn what_cannot_be_sent_again_takes_a_new_connection_after_a_second() {
    let clock = Clock::manual(crate::base::clock::Time::BUILT);
    let node = kit::node_at(settings(), clock.clone());
    // Each connection answers once and closes when it reads a second request.
    let origin = origin(&node.life, |_, request| (request == 0).then(hello)).await;
    let url = origin.url("/");
    for (round, request) in [get(), post(Body::Empty), post(Body::full("x")), pieces("POST", 0).1].into_iter().enumerate() {
        let sent = node.upstream.send(&url, request, Class::Interactive).await.unwrap();
        assert_eq!((sent.reused, text(sent).await.unwrap().as_str()), (false, "hello"));
        assert_eq!(origin.connections(), round + 1);
        while node.upstream.0.pool.idle(&url.origin().into()) == round {
            tokio::task::yield_now().await;
        }
        clock.advance(Duration::from_secs(1));
    }
    let asked = origin.heads.lock().len();
    let (_open, upload) = pieces("PUT", (64 << 10) + 1);
    let sending = node.upstream.send(&url, upload, Class::Interactive);
    tokio::select! {
        answer = sending => panic!("{answer:?}"),
        () = async { while origin.connections() < 5 { tokio::task::yield_now().await; } } => {}
    }
    assert_eq!(origin.heads.lock().len(), asked, "a large upload went over an old connection");
}

#[tokio::test]
async fn an_origin_that_says_when_it_closes_is_believed() {
    let clock = Clock::manual(crate::base::clock::Time::BUILT);
    let node = kit::node_at(settings(), clock.clone());
    let answer = b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5\r\nContent-Length: 5\r\n\r\nhello".to_vec();
    let origin = origin(&node.life, move |_, _| Some(answer.clone())).await;
    let url = origin.url("/");
    for (after, connections) in [(0, 1), (3, 1), (4, 2)] {
        clock.advance(Duration::from_secs(after));
        let sent = node.upstream.send(&url, get(), Class::Interactive).await.unwrap();
        text(sent).await.unwrap();
        assert_eq!(origin.connections(), connections, "after {after} s");
        while node.upstream.0.pool.idle(&url.origin().into()) == 0 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn lying_lengths_and_cut_chunks_break_the_body() {
    let node = node(settings());
    let cases: [&[u8]; 3] = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n",
    ];
    for case in cases {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = target(&format!("http://{}/", listener.local_addr().unwrap()));
        let (sent, ()) = tokio::join!(node.upstream.send(&url, get(), Class::Interactive), async {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_head(&mut stream).await;
            stream.write_all(case).await.unwrap();
        });
        // What is malformed may be seen before the head is passed on.
        let broken = match sent {
            Ok(sent) => text(sent).await.unwrap_err().to_string(),
            Err(error) => error.to_string(),
        };
        assert!(broken.contains("broke off") || broken.contains("a chunk is malformed"), "{broken}");
    }
}

#[tokio::test]
async fn what_is_no_http_is_told_as_such() {
    let node = node(settings());
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(300));
    let large = format!("HTTP/1.1 200 OK\r\na: {}\r\n\r\n", "b".repeat(70 << 10));
    for answer in ["SSH-2.0-x\r\n\r\n", "HTTP/1.1 2x0 OK\r\n\r\n", many.as_str(), large.as_str()] {
        let answer = answer.as_bytes().to_vec();
        let origin = origin(&node.life, move |_, _| Some(answer.clone())).await;
        let failed = node.upstream.send(&origin.url("/"), get(), Class::Interactive).await.unwrap_err();
        assert_eq!(failed.proxy_status(), "http_protocol_error", "{failed}");
    }
    let origin = origin(&node.life, |_, _| None).await;
    let failed = node.upstream.send(&origin.url("/"), get(), Class::Interactive).await.unwrap_err();
    assert_eq!(failed.proxy_status(), "http_response_incomplete", "{failed}");
    assert_eq!(origin.connections(), 1, "a fresh connection is not tried twice");
}

#[tokio::test]
async fn silence_before_and_within_an_answer_ends() {
    let short = Duration::from_millis(100);
    let node = node(Settings { first_byte_timeout: short, idle_timeout: short, ..settings() });
    let silent = origin(&node.life, |_, _| Some(Vec::new())).await;
    let failed = node.upstream.send(&silent.url("/"), get(), Class::Interactive).await.unwrap_err();
    assert_eq!(failed.proxy_status(), "http_response_timeout");
    let stuck = origin(&node.life, |_, _| Some(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort".to_vec())).await;
    let sent = node.upstream.send(&stuck.url("/"), get(), Class::Interactive).await.unwrap();
    let broken = text(sent).await.unwrap_err();
    assert!(broken.to_string().contains("sent nothing"), "{broken}");
}

#[tokio::test]
async fn a_client_whose_body_breaks_off_is_told_apart() {
    let node = node(settings());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = target(&format!("http://{}/", listener.local_addr().unwrap()));
    let frames = futures_util::stream::iter([Ok(http_body::Frame::data(bytes::Bytes::from("part"))), Err("client gone")]);
    let request = post(Body::stream(http_body_util::StreamBody::new(frames)));
    let failed = node.upstream.send(&url, request, Class::Interactive).await.unwrap_err();
    assert!(matches!(failed, Error::RequestBody(_)), "{failed}");
    let mut request = post(Body::stream(http_body_util::Full::new(bytes::Bytes::from("short"))));
    request.headers_mut().insert("content-length", "50".parse().unwrap());
    let failed = node.upstream.send(&url, request, Class::Interactive).await.unwrap_err();
    assert!(matches!(failed, Error::RequestBody(_)), "{failed}");
}

#[tokio::test]
async fn a_node_that_stops_lets_go_of_idle_connections() {
    let node = node(settings());
    let far = Life::default();
    let origin = origin(&far, |_, _| Some(hello())).await;
    let sent = node.upstream.send(&origin.url("/"), get(), Class::Interactive).await.unwrap();
    text(sent).await.unwrap();
    assert!(node.life.end(Duration::from_secs(10)).await, "an idle connection held the node");
    far.stop();
}

#[tokio::test]
async fn a_class_of_long_polls_leaves_room_and_background_keeps_to_its_own() {
    let node = node(settings());
    let origin = origin(&node.life, |_, _| Some(Vec::new())).await;
    let url = origin.url("/");
    let polls: Vec<_> = (0..40).map(|_| Box::pin(node.upstream.send(&url, get(), Class::Interactive))).collect();
    let nights: Vec<_> = (0..5).map(|_| Box::pin(node.upstream.send(&url, get(), Class::Background))).collect();
    let all = futures_util::future::select_all(nights.into_iter().chain(polls));
    let seen = async {
        while origin.heads.lock().len() < 32 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        (answer, _, _) = all => panic!("{answer:?}"),
        () = seen => {}
    }
    assert_eq!(origin.connections(), 32, "thirty devices, and background's two");
}

#[tokio::test]
async fn interim_answers_are_relayed_and_trailers_pass() {
    let node = node(settings());
    let answer = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n";
    let origin = origin(&node.life, move |_, _| Some(answer.to_vec())).await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let told = seen.clone();
    let mut request = get();
    request.extensions_mut().insert(Interim(Arc::new(move |status, headers| {
        told.lock().push((status.as_u16(), headers["link"].to_str().unwrap().to_owned()));
    })));
    let sent = node.upstream.send(&origin.url("/"), request, Class::Interactive).await.unwrap();
    assert_eq!(*seen.lock(), [(103, String::from("</a.css>; rel=preload"))]);
    let whole = BodyExt::collect(sent.response.into_body()).await.unwrap();
    assert_eq!(whole.trailers().map(|trailers| trailers["x-sum"].clone()), Some("7".parse().unwrap()));
    assert_eq!(whole.to_bytes(), "hi");
}

#[tokio::test]
async fn an_upgrade_becomes_a_byte_stream() {
    let node = node(settings());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = target(&format!("http://{}/ws", listener.local_addr().unwrap()));
    let mut request = get();
    request.headers_mut().insert("connection", "upgrade".parse().unwrap());
    request.headers_mut().insert("upgrade", "echo".parse().unwrap());
    let (sent, mut far) = tokio::join!(node.upstream.send(&url, request, Class::Interactive), async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = read_head(&mut stream).await.unwrap();
        assert!(head.to_ascii_lowercase().contains("upgrade: echo"));
        stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n").await.unwrap();
        stream
    });
    let mut sent = sent.unwrap();
    assert_eq!(sent.response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let mut near = TokioIo::new(hyper::upgrade::on(&mut sent.response).await.unwrap());
    near.write_all(b"ping").await.unwrap();
    let mut got = [0; 4];
    far.read_exact(&mut got).await.unwrap();
    far.write_all(&got).await.unwrap();
    near.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"ping");
}

#[tokio::test]
async fn a_parent_gets_whole_urls_and_connects() {
    let parent_life = Life::default();
    let parent =
        origin(
            &parent_life,
            |connection, _| if connection == 0 { Some(hello()) } else { Some(b"HTTP/1.1 200 Established\r\n\r\nfrom afar".to_vec()) },
        )
        .await;
    let node = node(Settings { parent: Some(parent.url("/")), allow_private: Vec::new(), ..settings() });
    // The name needs no resolving here.
    let sent = node.upstream.send(&target("http://far.kz/x?y"), get(), Class::Interactive).await.unwrap();
    assert_eq!(text(sent).await.unwrap(), "hello");
    let mut stream = node.upstream.connect("far.kz", 443).await.unwrap();
    let mut got = [0; 9];
    stream.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"from afar");
    {
        let heads = parent.heads.lock();
        assert!(heads[0].starts_with("GET http://far.kz/x?y HTTP/1.1\r\n"), "{}", heads[0]);
        assert!(heads[1].starts_with("CONNECT far.kz:443 HTTP/1.1\r\nHost: far.kz:443\r\n"), "{}", heads[1]);
    }
    for host in ["127.0.0.1", "[::ffff:169.254.169.254]", "0x7f.1"] {
        assert!(matches!(node.upstream.connect(host, 443).await, Err(Error::Prohibited(_))), "{host}");
    }
    let refusing = origin(&parent_life, |_, _| Some(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n".to_vec())).await;
    let node = kit::node(Settings { parent: Some(refusing.url("/")), ..settings() });
    let failed = node.upstream.connect("far.kz", 443).await.unwrap_err();
    assert!(failed.to_string().contains("502"), "{failed}");
    parent_life.stop();
}

#[tokio::test]
async fn an_address_is_judged_also_when_a_connection_to_the_parent_is_free() {
    let life = Life::default();
    let parent = origin(&life, |_, _| Some(hello())).await;
    let node = node(Settings { parent: Some(parent.url("/")), allow_private: Vec::new(), ..settings() });
    let ask = async |url: &str| node.upstream.send(&target(url), get(), Class::Interactive).await;
    for round in 1..=2 {
        assert_eq!(text(ask("http://a.kz/").await.unwrap()).await.unwrap(), "hello");
        while node.upstream.0.pool.idle(&format!("via {}", parent.addr).into()) == 0 {
            tokio::task::yield_now().await;
        }
        for host in ["169.254.169.254", "127.0.0.1", "0x7f000001", "2130706433", "127.1", "[::1]", "[::ffff:10.0.0.1]"] {
            let failed = ask(&format!("http://{host}/")).await.unwrap_err();
            assert!(matches!(failed, Error::Prohibited(_)), "{host}: {failed}");
        }
        assert_eq!((parent.connections(), parent.heads.lock().len()), (1, round), "nothing of it reached the parent");
    }
    life.stop();
}

#[tokio::test]
async fn a_request_without_a_body_promises_none() {
    let node = node(settings());
    let origin = origin(&node.life, |_, _| Some(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec())).await;
    for (method, framing) in [("HEAD", None), ("GET", None), ("DELETE", None), ("POST", Some("0")), ("PUT", Some("0"))] {
        for stale in [("content-length", "7"), ("transfer-encoding", "chunked")] {
            let request = Request::builder().method(method).header(stale.0, stale.1).body(Body::Empty).unwrap();
            node.upstream.send(&origin.url("/"), request, Class::Interactive).await.unwrap();
            let head = origin.heads.lock().last().unwrap().to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            assert_eq!(length, framing, "{head}");
            assert!(head.starts_with(&method.to_ascii_lowercase()) && !head.contains("transfer-encoding"), "{head}");
        }
    }
}
