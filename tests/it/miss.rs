//! What goes to the origin, and how: nothing about the client, nothing of this hop, no place that a proxy must not reach.

use crate::kit;
use crate::kit::http::{Connection, fetch, request};
use crate::kit::node::Setup;
use crate::kit::origin::{Origin, Reply, answer, ok};
use std::sync::{Arc, Barrier};

fn plain() -> Origin {
    Origin::start(|ask| Reply::Bytes(ok(&["Cache-Control: no-store"], ask.body.as_slice())))
}

#[test]
fn the_origin_learns_of_the_proxy_but_not_of_the_client() {
    let origin = plain();
    let node = Setup::new().host("a.school.test", origin.addr).start();
    let fields = ["Connection: keep-alive, X-Hop", "X-Hop: 1", "Proxy-Connection: keep-alive", "TE: trailers", "X-End: 2", "Keep-Alive: 5"];
    assert_eq!(node.fetch("GET", "http://a.school.test/x?y", &fields).status, 200);
    let ask = &origin.asks()[0];
    assert_eq!((ask.method.as_str(), ask.target.as_str()), ("GET", "/x?y"), "origin form");
    assert_eq!(ask.field("host"), Some("a.school.test"));
    assert_eq!(ask.field("x-end"), Some("2"));
    assert!(ask.field("via").is_some_and(|via| via.contains("school-test")), "{:?}", ask.field("via"));
    for gone in ["x-hop", "proxy-connection", "keep-alive", "x-forwarded-for", "forwarded", "x-real-ip"] {
        assert_eq!(ask.field(gone), None, "{gone} was sent");
    }
}

#[test]
fn the_host_of_the_target_wins_over_the_host_field() {
    let origin = plain();
    let node = Setup::new().host("a.school.test", origin.addr).start();
    let mut connection = Connection::open(node.proxy);
    connection.send(b"GET http://a.school.test/ HTTP/1.1\r\nHost: other.school.test\r\n\r\n").expect("sends");
    let answer = connection.read(false);
    if answer.status == 200 {
        assert_eq!(origin.asks()[0].field("host"), Some("a.school.test"), "RFC 9112 section 3.2.2");
    } else {
        assert_eq!((answer.status, origin.count()), (400, 0));
    }
}

#[test]
fn bodies_reach_the_origin_whole() {
    let origin = plain();
    let node = Setup::new().host("a.school.test", origin.addr).start();
    let mut connection = Connection::open(node.proxy);
    connection.send(&request("POST", "http://a.school.test/", &["Content-Length: 5"])).expect("sends");
    connection.send(b"hello").expect("sends");
    assert_eq!(connection.read(false).text(), "hello");
    let chunked = request("POST", "http://a.school.test/", &["Transfer-Encoding: chunked"]);
    connection.send(&[chunked.as_slice(), b"5\r\nhello\r\n6;x=y\r\n again\r\n0\r\n\r\n"].concat()).expect("sends");
    assert_eq!(connection.read(false).text(), "hello again");
}

#[test]
fn a_client_that_expects_100_gets_it_before_it_sends() {
    let origin = plain();
    let node = Setup::new().host("a.school.test", origin.addr).start();
    let mut connection = Connection::open(node.proxy);
    connection.send(&request("PUT", "http://a.school.test/", &["Content-Length: 3", "Expect: 100-continue"])).expect("sends");
    let mut line = String::new();
    std::io::BufRead::read_line(connection.raw(), &mut line).expect("an interim answer");
    assert!(line.starts_with("HTTP/1.1 100"), "{line}");
    std::io::BufRead::read_line(connection.raw(), &mut line).expect("its end");
    connection.send(b"abc").expect("sends");
    assert_eq!(connection.read(false).text(), "abc");
}

/// Each connection answers one request of its own and closes, without notice, when the next arrives.
fn forgetful() -> Origin {
    let seen = std::sync::Mutex::new(std::collections::HashSet::new());
    Origin::start(move |ask| {
        let first = seen.lock().expect("no thread panics holding it").insert(ask.connection);
        if first { Reply::Bytes(ok(&["Cache-Control: no-store"], ask.body.as_slice())) } else { Reply::Close(Vec::new()) }
    })
}

/// A request with a body, on a connection of its own.
fn order(node: &crate::kit::node::Node, method: &str, body: &[u8]) -> crate::kit::http::Answer {
    let mut connection = Connection::open(node.proxy);
    connection.send(&request(method, "http://a.school.test/", &[&format!("Content-Length: {}", body.len())])).expect("sends");
    connection.send(body).expect("sends");
    connection.read(false)
}

#[test]
fn a_connection_that_the_origin_had_closed_is_no_failure_of_a_request_that_may_be_repeated() {
    let origin = forgetful();
    let node = Setup::new().host("a.school.test", origin.addr).start();
    let large = crate::kit::noise(1, 64 << 10);
    for (round, (method, body)) in
        [("GET", &b""[..]), ("PUT", b"small"), ("PUT", &large), ("DELETE", b"why"), ("GET", b"")].into_iter().enumerate()
    {
        let answer = order(&node, method, body);
        assert_eq!((answer.status, answer.body.as_slice()), (200, body), "{method} {round}: {}", answer.field("proxy-status"));
    }
    assert!(origin.count() <= 9, "each went out twice at most");
}

#[test]
fn an_order_goes_over_a_connection_that_has_just_been_used_or_is_new() {
    let origin = forgetful();
    let node = Setup::new().host("a.school.test", origin.addr).start();
    for round in 1..=2 {
        if round > 1 {
            // Longer than a connection may have lain idle for what cannot be repeated.
            std::thread::sleep(std::time::Duration::from_millis(1200));
        }
        assert_eq!(order(&node, "POST", b"one lunch").text(), "one lunch");
        assert_eq!((origin.connections(), origin.count()), (round, round), "no order is placed twice");
    }
}

#[test]
fn trailers_pass() {
    let origin = Origin::start(|_| {
        let text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\nCache-Control: no-store\r\n\r\n\
                    3\r\nabc\r\n0\r\nX-Sum: 6\r\n\r\n";
        Reply::Bytes(text.as_bytes().to_vec())
    });
    let node = Setup::new().host("a.school.test", origin.addr).start();
    let answer = node.fetch("GET", "http://a.school.test/", &["TE: trailers", "Connection: TE"]);
    assert_eq!((answer.text().as_str(), answer.field("x-sum").as_str()), ("abc", "6"));
}

#[test]
fn loops_end_here() {
    let origin = plain();
    let node = Setup::new().host("a.school.test", origin.addr).start();
    node.get("http://a.school.test/"); // to learn how the node names itself
    let via = origin.asks()[0].field("via").expect("Via").to_owned();
    let answer = node.fetch("GET", "http://a.school.test/", &[&format!("Via: {via}")]);
    assert!(answer.status >= 400, "{}", answer.status);
    assert_eq!(origin.count(), 1);
    let trace = node.fetch("TRACE", "http://a.school.test/", &["Max-Forwards: 0"]);
    let options = node.fetch("OPTIONS", "http://a.school.test/", &["Max-Forwards: 0"]);
    assert!(trace.status < 500 && options.status < 500);
    assert_eq!(origin.count(), 1, "Max-Forwards: 0 was forwarded (RFC 9110 section 7.6.2)");
    node.fetch("OPTIONS", "http://a.school.test/", &["Max-Forwards: 5"]);
    assert_eq!(origin.asks()[1].field("max-forwards"), Some("4"));
}

#[test]
fn private_places_are_refused_unless_allowed() {
    let origin = plain();
    let node = Setup::new().set("proxy.allow_private_targets", "[]").host("a.school.test", origin.addr).start();
    let port = origin.addr.port();
    for place in [format!("127.0.0.1:{port}"), format!("[::ffff:127.0.0.1]:{port}"), "a.school.test".into(), "169.254.169.254".into()] {
        let answer = node.get(&format!("http://{place}/"));
        assert_eq!(answer.status, 403, "{place}: {}", answer.text());
        assert!(answer.has("proxy-status"), "{place}: no Proxy-Status");
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn the_node_is_not_reached_through_itself() {
    let node = Setup::new().start();
    // By the address that the client came to, the pages answer without a connection of our own; by any other nothing does.
    let own = format!("http://{}/healthz", node.web);
    let answer = fetch(node.proxy, "GET", &own, &[]);
    assert_eq!((answer.status, answer.text().trim()), (200, "ok"), "{own}");
    assert!(node.metric("bulak_upstream_requests_total", "").is_none_or(|sent| sent < 1.0));
    for own in [node.web.port(), node.proxy.port()].map(|port| format!("http://127.0.0.2:{port}/metrics")) {
        let answer = fetch(node.proxy, "GET", &own, &[]);
        assert!(answer.status >= 400, "{own} through the proxy: {}", answer.status);
    }
}

/// RFC 9111 section 4.4: what was asked for before the change says nothing about what is true after it.
#[test]
fn a_change_holds_against_a_confirmation_that_was_under_way() {
    let gate = Arc::new(Barrier::new(2));
    let held = Arc::clone(&gate);
    let origin = Origin::start(move |ask| {
        if ask.method == "POST" {
            return Reply::Bytes(ok(&["Cache-Control: no-store"], b"changed"));
        }
        if ask.field("if-none-match").is_none() {
            return Reply::Bytes(ok(&["Cache-Control: max-age=3600", "ETag: \"1\""], b"page"));
        }
        if ask.number == 2 {
            held.wait();
        }
        Reply::Bytes(answer("304 Not Modified", &["Cache-Control: max-age=3600", "ETag: \"1\""], b""))
    });
    let node = Setup::new().host("a.school.test", origin.addr).start();
    let url = "http://a.school.test/marks";
    assert!(node.twice(url).is_hit());
    let proxy = node.proxy;
    let asking = std::thread::spawn(move || fetch(proxy, "GET", url, &["Cache-Control: no-cache"]));
    kit::until("the origin is asked", 20, || origin.count() == 2);
    assert_eq!(node.fetch("POST", url, &["Content-Length: 0"]).text(), "changed");
    gate.wait();
    assert_eq!(asking.join().expect("a reader").text(), "page");
    let asked = origin.count();
    assert!(!node.get(url).is_hit(), "what stood there before the change is asked about");
    assert_eq!(origin.count(), asked + 1);
    assert!(node.get(url).is_hit(), "and then it holds again");
}

#[test]
fn what_is_told_as_it_happens_is_told_to_each() {
    let origin = Origin::start(|ask| {
        let last = ask.field("last-event-id").unwrap_or("none").to_owned();
        let events = format!("id: 7\ndata: after {last}\n\n");
        Reply::Bytes(ok(&["Content-Type: text/event-stream", "Cache-Control: max-age=60"], events.as_bytes()))
    });
    let node = Setup::new().host("a.school.test", origin.addr).start();
    for last in ["none", "7", "none", "12"] {
        let field = format!("Last-Event-ID: {last}");
        let fields: &[&str] = if last == "none" { &[] } else { &[&field] };
        let told = node.fetch("GET", "http://a.school.test/events", fields);
        assert_eq!((told.status, told.text()), (200, format!("id: 7\ndata: after {last}\n\n")), "{}", told.cache_status());
    }
    assert_eq!(origin.count(), 4);
}
