//! What comes out of the store: bytes as the origin sent them, fields that explain, nothing that is somebody's own.

use crate::kit::http::{Connection, request};
use crate::kit::node::Setup;
use crate::kit::origin::{Origin, Reply, ok};

const DAY: &str = "Cache-Control: public, max-age=86400";

#[test]
fn the_second_reader_is_served_from_the_store() {
    let origin = Origin::start(|_| Reply::Bytes(ok(&[DAY, "ETag: \"v1\"", "Content-Type: text/plain"], b"a lesson")));
    let node = Setup::new().host("a.school.test", origin.addr).start();
    let first = node.get("http://a.school.test/lesson");
    assert_eq!((first.status, first.text().as_str()), (200, "a lesson"));
    assert!(!first.is_hit(), "{}", first.cache_status());
    let second = node.get("http://a.school.test/lesson");
    assert_eq!((second.status, second.text().as_str()), (200, "a lesson"));
    assert!(second.is_hit(), "{}", second.cache_status());
    assert!(second.cache_status().starts_with("school-test"), "{}", second.cache_status());
    assert!(second.field("age").parse::<u64>().is_ok(), "Age is missing");
    assert!(second.has("via") && second.has("date"));
    assert_eq!(second.field("etag"), "\"v1\"");
    assert_eq!(origin.count(), 1);
}

#[test]
fn conditions_and_heads_are_answered_without_the_origin() {
    let origin = Origin::start(|_| Reply::Bytes(ok(&[DAY, "ETag: \"v1\""], b"a lesson")));
    let node = Setup::new().host("a.school.test", origin.addr).start();
    node.twice("http://a.school.test/lesson");
    let unchanged = node.fetch("GET", "http://a.school.test/lesson", &["If-None-Match: \"v1\""]);
    assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
    let changed = node.fetch("GET", "http://a.school.test/lesson", &["If-None-Match: \"v0\""]);
    assert_eq!((changed.status, changed.text().as_str()), (200, "a lesson"));
    let head = node.fetch("HEAD", "http://a.school.test/lesson", &[]);
    assert_eq!((head.status, head.field("content-length").as_str()), (200, "8"));
    assert_eq!(origin.count(), 1);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::start(|ask| {
        let body = ask.target.clone();
        Reply::Bytes(ok(&[DAY], body.as_bytes()))
    });
    let node = Setup::new().host("a.school.test", origin.addr).start();
    node.twice("http://a.school.test/2"); // the second is a hit, the others are not: order must not come from speed
    let mut connection = Connection::open(node.proxy);
    let asks: Vec<u8> = (1..=3).flat_map(|page| request("GET", &format!("http://a.school.test/{page}"), &[])).collect();
    connection.send(&asks).expect("sends");
    for page in 1..=3 {
        assert_eq!(connection.read(false).text(), format!("/{page}"));
    }
    assert_eq!(origin.count(), 3);
}

#[test]
fn only_what_a_stranger_could_fetch_is_shared() {
    let origin = Origin::start(|ask| {
        let own = format!("for {}", ask.number);
        let fields: &[&str] = if ask.target == "/cookie" { &[DAY, "Set-Cookie: id=1"] } else { &[DAY] };
        Reply::Bytes(ok(fields, own.as_bytes()))
    });
    let node = Setup::new().host("a.school.test", origin.addr).start();
    for (path, fields) in [("/cookie", vec![]), ("/login", vec!["Authorization: Basic eDp5"])] {
        let url = format!("http://a.school.test{path}");
        let first = node.fetch("GET", &url, &fields);
        let second = node.fetch("GET", &url, &fields);
        assert_ne!(first.text(), second.text(), "{path} was shared");
        assert!(!second.is_hit(), "{path}: {}", second.cache_status());
    }
    // The answer to the one with a login is not kept for the one without.
    assert!(!node.get("http://a.school.test/login").is_hit());
}

#[test]
fn variants_are_kept_apart() {
    let origin = Origin::start(|ask| {
        let language = ask.field("accept-language").unwrap_or("none").to_owned();
        Reply::Bytes(ok(&[DAY, "Vary: Accept-Language"], language.as_bytes()))
    });
    let node = Setup::new().host("a.school.test", origin.addr).start();
    for _ in 0..2 {
        for language in ["kk", "ru"] {
            let answer = node.twice_with("http://a.school.test/", &[&format!("Accept-Language: {language}")]);
            assert_eq!(answer.text(), language);
        }
    }
    let asked = origin.count();
    for language in ["ru", "kk"] {
        node.fetch("GET", "http://a.school.test/", &[&format!("Accept-Language: {language}")]);
    }
    assert_eq!(origin.count(), asked);
}

#[test]
fn unsafe_methods_invalidate() {
    let origin = Origin::start(|ask| Reply::Bytes(ok(&[DAY], format!("{} {}", ask.method, ask.number).as_bytes())));
    let node = Setup::new().host("a.school.test", origin.addr).start();
    let kept = node.twice("http://a.school.test/").text();
    assert!(node.fetch("POST", "http://a.school.test/", &["Content-Length: 0"]).text().starts_with("POST"));
    assert_ne!(node.get("http://a.school.test/").text(), kept);
}
