//! Malformed and hostile bytes: a clear refusal, nothing of it at the origin, and the next one is served.

use crate::kit::http::{self, exchange};
use crate::kit::node::{Node, Setup};
use crate::kit::origin::{Origin, Reply, ok, promise};
use std::io::Write;

const START: &str = "GET http://a.school.test/ HTTP/1.1\r\nHost: a.school.test\r\n";
const POST: &str = "POST http://a.school.test/ HTTP/1.1\r\nHost: a.school.test\r\n";

fn healthy(node: &Node) {
    let answer = node.get("http://a.school.test/healthy");
    assert_eq!((answer.status, answer.text().as_str()), (200, "fine"), "the node serves no longer");
}

fn fine() -> Origin {
    Origin::start(|_| Reply::Bytes(ok(&["Cache-Control: no-store"], b"fine")))
}

#[test]
fn malformed_requests_are_refused_and_go_nowhere() {
    let origin = fine();
    let node = Setup::new().host("a.school.test", origin.addr).start();
    let smuggled = "0\r\n\r\nGET http://a.school.test/smuggled HTTP/1.1\r\nHost: a.school.test\r\n\r\n";
    let bad: Vec<(&str, Vec<u8>)> = vec![
        ("CL and TE", format!("{POST}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n{smuggled}").into_bytes()),
        ("TE and CL", format!("{POST}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n{smuggled}").into_bytes()),
        ("two lengths", format!("{POST}Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcd").into_bytes()),
        ("a list of lengths", format!("{POST}Content-Length: 4, 5\r\n\r\nabcd").into_bytes()),
        ("a signed length", format!("{POST}Content-Length: +4\r\n\r\nabcd").into_bytes()),
        ("a negative length", format!("{POST}Content-Length: -4\r\n\r\nabcd").into_bytes()),
        ("a length past 64 bit", format!("{POST}Content-Length: 99999999999999999999\r\n\r\nabcd").into_bytes()),
        ("an unknown transfer coding", format!("{POST}Transfer-Encoding: xchunked\r\n\r\n{smuggled}").into_bytes()),
        ("chunked not last", format!("{POST}Transfer-Encoding: chunked, identity\r\n\r\n{smuggled}").into_bytes()),
        ("chunked twice", format!("{POST}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n{smuggled}").into_bytes()),
        ("a tab before TE's colon", format!("{POST}Transfer-Encoding\t: chunked\r\n\r\n{smuggled}").into_bytes()),
        ("a space before a colon", format!("{START}X-A : b\r\n\r\n").into_bytes()),
        ("a folded field", format!("{START}X-A: b\r\n c\r\n\r\n").into_bytes()),
        ("a first field that is folded", b"GET http://a.school.test/ HTTP/1.1\r\n Host: a.school.test\r\n\r\n".to_vec()),
        ("a bare CR", format!("{START}X-A: b\rX-B: c\r\n\r\n").into_bytes()),
        ("bare LFs", START.replace('\r', "").into_bytes().into_iter().chain(*b"\n").collect()),
        ("one bare LF", format!("{START}X-A: b\n\r\n").into_bytes()),
        ("a NUL", format!("{START}X-A: b\0c\r\n\r\n").into_bytes()),
        ("a field without a name", format!("{START}: b\r\n\r\n").into_bytes()),
        ("a line that is no field", format!("{START}nonsense\r\n\r\n").into_bytes()),
        ("two hosts", format!("{START}Host: b.school.test\r\n\r\n").into_bytes()),
        ("no host", b"GET http://a.school.test/ HTTP/1.1\r\n\r\n".to_vec()),
        ("a space in the target", b"GET http://a.school.test/a b HTTP/1.1\r\nHost: a.school.test\r\n\r\n".to_vec()),
        ("user information", b"GET http://u:p@a.school.test/ HTTP/1.1\r\nHost: a.school.test\r\n\r\n".to_vec()),
        ("an unknown scheme", b"GET gopher://a.school.test/ HTTP/1.1\r\nHost: a.school.test\r\n\r\n".to_vec()),
        ("HTTP/3.7", b"GET http://a.school.test/ HTTP/3.7\r\nHost: a.school.test\r\n\r\n".to_vec()),
        ("a 64 KiB field", format!("{START}X-A: {}\r\n\r\n", "b".repeat(64 << 10)).into_bytes()),
        ("10,000 fields", format!("{START}{}\r\n", "X: y\r\n".repeat(10_000)).into_bytes()),
        ("no HTTP at all", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 and more\r\n\r\n".to_vec()),
    ];
    for (name, bytes) in &bad {
        let answer = exchange(node.proxy, bytes);
        // A reset in answer to bytes that were still coming shows as no answer at all.
        assert!((400..600).contains(&answer.status) || answer.status == 0, "{name}: {} {}", answer.status, answer.text());
        assert_eq!(origin.count(), 0, "{name} reached the origin: {:?}", origin.asks().last());
    }
    healthy(&node);
}

#[test]
fn refusals_are_answers_and_end_the_connection() {
    let origin = fine();
    let node = Setup::new().host("a.school.test", origin.addr).start();
    let twice = format!("{POST}Content-Length: 1\r\nContent-Length: 2\r\n\r\n{START}\r\n");
    let mut connection = http::Connection::open(node.proxy);
    connection.send(twice.as_bytes()).expect("sends");
    assert_eq!(connection.read(false).status, 400);
    assert!(connection.is_closed(), "what follows a malformed request was read");
    assert_eq!(origin.count(), 0);
}

#[test]
fn bad_chunks_end_the_request() {
    let origin = fine();
    let node = Setup::new().host("a.school.test", origin.addr).start();
    for chunk in [
        "zz\r\nabc\r\n",
        "-1\r\nabc\r\n",
        "fffffffffffffffff\r\nabc\r\n",
        "3 \r\nabc\r\n",
        "3\nabc\n0\n\n",
        "3\r\nabcX\r\n",
        "0x3\r\nabc\r\n",
    ] {
        let bytes = format!("{POST}Transfer-Encoding: chunked\r\n\r\n{chunk}0\r\n\r\n");
        let answer = exchange(node.proxy, bytes.as_bytes());
        assert!(answer.status >= 400 || answer.status == 0, "{chunk:?}: {}", answer.status);
        assert_eq!(origin.count(), 0, "{chunk:?} reached the origin as whole");
    }
    healthy(&node);
}

#[test]
fn origins_that_lie_about_framing_are_not_believed() {
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("CL and TE", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_vec()),
        ("two lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd".to_vec()),
        ("a bad chunk size", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n".to_vec()),
        ("no status", b"HTTP/1.1 OK\r\n\r\n".to_vec()),
        ("nothing", Vec::new()),
        ("half a head", b"HTTP/1.1 200 OK\r\nContent-Le".to_vec()),
        ("a huge head", format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(2 << 20)).into_bytes()),
        ("too few bytes", promise(&["Cache-Control: public, max-age=60"], 1000)),
    ];
    for (name, bytes) in cases {
        let sent = bytes.clone();
        let origin = Origin::start(move |ask| match ask.target.as_str() {
            "/healthy" => Reply::Bytes(ok(&["Cache-Control: no-store"], b"fine")),
            _ => Reply::Close(sent.clone()),
        });
        let node = Setup::new().host("a.school.test", origin.addr).start();
        let answer = node.get("http://a.school.test/");
        assert!(answer.status == 502 || !answer.complete, "{name}: {} {}", answer.status, answer.text());
        assert!(!node.get("http://a.school.test/").is_hit(), "{name} was stored");
        healthy(&node);
    }
}

#[test]
fn bytes_after_the_promised_end_are_nobodys_answer() {
    let origin = Origin::start(|ask| match ask.target.as_str() {
        "/long" => {
            let extra = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
            Reply::Bytes([ok(&["Cache-Control: public, max-age=60"], b"good").as_slice(), extra].concat())
        }
        _ => Reply::Bytes(ok(&["Cache-Control: no-store"], b"fine")),
    });
    let node = Setup::new().host("a.school.test", origin.addr).start();
    assert_eq!(node.get("http://a.school.test/long").text(), "good");
    for _ in 0..3 {
        healthy(&node);
    }
}

#[test]
fn a_gzip_bomb_does_not_go_off() {
    // 300 MiB of zeros in about 300 KiB: beyond 200:1 and beyond 256 MiB.
    let mut coder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let zeros = vec![0; 1 << 20];
    for _ in 0..300 {
        coder.write_all(&zeros).expect("memory");
    }
    let bomb = coder.finish().expect("memory");
    let sent = bomb.clone();
    let origin = Origin::start(move |ask| match ask.target.as_str() {
        "/bomb" => Reply::Bytes(ok(&["Cache-Control: public, max-age=60", "Content-Encoding: gzip"], &sent)),
        _ => Reply::Bytes(ok(&["Cache-Control: no-store"], b"fine")),
    });
    let node = Setup::new().host("a.school.test", origin.addr).start();
    let answer = node.fetch("GET", "http://a.school.test/bomb", &["Accept-Encoding: gzip"]);
    let passed = answer.field("content-encoding") == "gzip" && answer.body == bomb;
    assert!(passed || answer.status == 502 || !answer.complete, "{} of {} bytes", answer.status, answer.body.len());
    healthy(&node);
    let peak = node.peak_memory();
    assert!(peak < 300 << 20, "{peak} bytes of memory at the peak");
}

#[test]
fn unknown_codings_pass_untouched() {
    let origin = Origin::start(|_| {
        Reply::Bytes(ok(&["Cache-Control: public, max-age=60", "Content-Encoding: x-zap", "Vary: Accept-Encoding"], b"\x01\x02\x03zap"))
    });
    let node = Setup::new().host("a.school.test", origin.addr).start();
    for _ in 0..2 {
        let answer = node.fetch("GET", "http://a.school.test/", &["Accept-Encoding: x-zap"]);
        assert_eq!((answer.status, answer.body.as_slice()), (200, b"\x01\x02\x03zap".as_slice()));
        assert_eq!(answer.field("content-encoding"), "x-zap");
    }
}

#[test]
fn damaged_coded_bodies_are_not_stored() {
    let origin = Origin::start(|_| {
        Reply::Bytes(ok(&["Cache-Control: public, max-age=60", "Content-Encoding: gzip"], b"\x1f\x8b\x08\x00 this is no deflate"))
    });
    let node = Setup::new().host("a.school.test", origin.addr).start();
    for _ in 0..2 {
        let answer = node.fetch("GET", "http://a.school.test/", &["Accept-Encoding: gzip"]);
        assert!(!answer.is_hit() || answer.body.starts_with(b"\x1f\x8b\x08\x00 this"), "wrong bytes out of the store");
    }
}
