//! Whatever a hub answers, or a stranger in its place: no record is lost, none is put aside that a hub could still take, and the node
//! says what is wrong.

use super::outbox;
use crate::kit;
use crate::kit::node::{Node, Setup};
use crate::kit::origin::{Ask, Origin, Reply, answer};
use bulak::report::batch;
use bulak::report::sign;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex};

/// From the numbers of an upload to what is said about it.
type Says = Box<dyn Fn(&[i64]) -> Reply + Send + Sync>;

/// The numbers of an upload.
fn numbers(ask: &Ask) -> Vec<i64> {
    let number = |sealed: &Vec<u8>| -> Option<i64> {
        let record: Value = serde_json::from_slice(sign::peel(sealed)?).ok()?;
        record["seq"].as_i64()
    };
    batch::unpack(&ask.body).expect("an upload").iter().filter_map(number).collect()
}

/// A node asks its hub for other things too.
fn is_upload(ask: &Ask) -> bool {
    ask.target == "/api/v1/reports"
}

fn no_such_thing() -> Reply {
    Reply::Bytes(answer("404 Not Found", &[], b""))
}

/// A node that sends what it is told to send, when it is told to.
fn node(hub: &Origin) -> Node {
    Setup::new().set("hub.url", &format!("\"http://{}\"", hub.addr)).set("meter.slots", "[]").set("meter.startup", "false").start()
}

fn json_reply(body: &Value) -> Reply {
    Reply::Bytes(answer("200 OK", &["Content-Type: application/json"], body.to_string().as_bytes()))
}

fn by(says: impl Fn(&[i64]) -> Reply + Send + Sync + 'static) -> Says {
    Box::new(says)
}

fn plain(status: &'static str, fields: &'static [&'static str], body: &'static [u8]) -> Says {
    by(move |_| Reply::Bytes(answer(status, fields, body)))
}

fn says(body: &'static str) -> Says {
    plain("200 OK", &["Content-Type: application/json"], body.as_bytes())
}

/// What a captive portal shows.
const PAGE: &[u8] = b"<html><body>Welcome to the Wi-Fi, please pay</body></html>";

/// What is no hub's word about records: what is answered, and what the node says of it.
fn bad(elsewhere: std::net::SocketAddr) -> Vec<(&'static str, Says, &'static str)> {
    let redirect = move |status: &'static str| -> Says {
        let place = format!("Location: http://{elsewhere}/api/v1/reports");
        by(move |_| Reply::Bytes(answer(status, &[place.as_str()], b"")))
    };
    vec![
        ("rubbish", plain("200 OK", &[], b"\x00\xff\xfe rubbish"), "not a hub's"),
        ("nothing", plain("200 OK", &[], b""), "not a hub's"),
        ("a page", plain("200 OK", &["Content-Type: text/html"], PAGE), "not a hub's"),
        ("other JSON", says(r#"{"status":"ok"}"#), "not a hub's"),
        ("a text for a number", says(r#"{"acked_seq":"7"}"#), "not a hub's"),
        ("half a number", says(r#"{"acked_seq":7.5}"#), "not a hub's"),
        ("more than a number", says(r#"{"acked_seq":99999999999999999999999}"#), "not a hub's"),
        ("a hundred thousand brackets", by(|_| Reply::Bytes(answer("200 OK", &[], &[b'['; 100_000]))), "not a hub's"),
        ("an old number", says(r#"{"acked_seq":0}"#), "took nothing"),
        ("a number below all", says(r#"{"acked_seq":-5}"#), "took nothing"),
        (
            "a number of the future",
            by(|numbers| json_reply(&json!({"acked_seq": numbers.last().map_or(0, |last| last + 1)}))),
            "was not sent",
        ),
        ("the last of all numbers", says(r#"{"acked_seq":9223372036854775807}"#), "was not sent"),
        ("a refusal of others' records", says(r#"{"acked_seq":0,"reject":[{"seq":99999,"why":"signature"}]}"#), "only a part"),
        ("no content", plain("204 No Content", &[], b""), "204"),
        ("moved", redirect("301 Moved Permanently"), "301"),
        ("found elsewhere", redirect("302 Found"), "302"),
        ("send it there", redirect("307 Temporary Redirect"), "307"),
        ("send it there for ever", redirect("308 Permanent Redirect"), "308"),
        ("a page that forbids", plain("400 Bad Request", &[], PAGE), "not a hub's"),
        ("a login", plain("401 Unauthorized", &["WWW-Authenticate: Basic"], b""), "does not know this node"),
        ("revoked", plain("403 Forbidden", &[], br#"{"id":"hub.revoked","title":"revoked"}"#), "does not know this node"),
        ("another server", plain("404 Not Found", &[], PAGE), "404"),
        ("a proxy that wants a name", plain("407 Proxy Authentication Required", &[], b""), "407"),
        ("a small door", plain("413 Payload Too Large", &[], PAGE), "413"),
        ("too often", plain("429 Too Many Requests", &["Retry-After: 99999999999999999999999"], b""), "429"),
        ("for ever", plain("429 Too Many Requests", &["Retry-After: Fri, 31 Dec 9999 23:59:59 GMT"], b""), "429"),
        ("before now", plain("503 Service Unavailable", &["Retry-After: -7"], b""), "503"),
        ("broken", plain("500 Internal Server Error", &[], b"\xff\xfe"), "500"),
        ("a gateway", plain("502 Bad Gateway", &[], PAGE), "502"),
        ("an end too soon", by(|_| Reply::Close(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"acked".to_vec())), "broke off"),
        ("no HTTP", by(|_| Reply::Close(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec())), ""),
        ("silence", by(|_| Reply::Close(Vec::new())), ""),
        (
            "no end",
            by(|_| {
                Reply::Act(Box::new(|stream| {
                    let _sent = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                    let piece = [b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat();
                    while stream.write_all(&piece).is_ok() {} // until the node has had enough
                }))
            }),
            "longer than 1 MiB",
        ),
    ]
}

#[test]
fn a_bad_answer_costs_no_record() {
    let elsewhere = Origin::start(|_| json_reply(&json!({"acked_seq": 1_000_000})));
    let script: Arc<Mutex<Option<Says>>> = Arc::default();
    let taken: Arc<Mutex<BTreeMap<i64, usize>>> = Arc::default();
    let (now_says, has) = (Arc::clone(&script), Arc::clone(&taken));
    let hub = Origin::start(move |ask: &Ask| {
        if !is_upload(ask) {
            return no_such_thing();
        }
        let numbers = numbers(ask);
        if let Some(says) = &*now_says.lock().expect("nobody panics") {
            return says(&numbers);
        }
        // A good hub at last, behind a door that lets two records pass at once.
        if numbers.len() > 2 {
            return Reply::Bytes(answer("413 Payload Too Large", &[], b"<html>nginx</html>"));
        }
        let mut has = has.lock().expect("nobody panics");
        for number in &numbers {
            *has.entry(*number).or_default() += 1;
        }
        json_reply(&json!({"acked_seq": numbers.last()}))
    });
    let node = node(&hub);
    for (name, says, trouble) in bad(elsewhere.addr) {
        *script.lock().expect("nobody panics") = Some(says);
        let asked = hub.count();
        let flushed = node.report()["flushed"].clone();
        let told = flushed["trouble"].as_str().unwrap_or_default();
        assert!(!told.is_empty() && told.contains(trouble), "{name}: {told}");
        assert_eq!((&flushed["delivered"], &flushed["parked"]), (&0.into(), &0.into()), "{name}: {told}");
        // All that ever got a number waits.
        kit::until("what was found meanwhile is counted", 20, || {
            let outbox = outbox(&node);
            outbox["waiting"] == outbox["seq"]
        });
        if name == "a small door" {
            // Halves, down to a single one, which waits.
            let sizes: Vec<usize> = hub.asks()[asked..].iter().filter(|ask| is_upload(ask)).map(|ask| numbers(ask).len()).collect();
            assert!(sizes.windows(2).all(|pair| pair[1] == pair[0] / 2) && sizes.last() == Some(&1), "{sizes:?}");
        }
    }
    assert_eq!(elsewhere.count(), 0, "reports go where hub.url says and nowhere else");
    assert_eq!(outbox(&node)["parked"], 0);
    *script.lock().expect("nobody panics") = None;
    kit::until("all is delivered", 60, || {
        node.report();
        outbox(&node)["waiting"] == 0
    });
    assert_eq!(node.local("GET", "/api/v1/reports")["trouble"], Value::Null);
    let taken = taken.lock().expect("nobody panics");
    let all: Vec<(i64, usize)> = taken.iter().map(|(number, times)| (*number, *times)).collect();
    let last = *taken.keys().last().expect("some");
    assert_eq!(all, (1..=last).map(|number| (number, 1)).collect::<Vec<_>>(), "each once");
    assert!(last > 30, "{last}");
}

#[test]
fn a_record_that_a_hub_refuses_for_good_is_put_aside_with_its_reason() {
    let hub = Origin::start(|ask: &Ask| {
        if !is_upload(ask) {
            return no_such_thing();
        }
        let numbers = numbers(ask);
        let why = format!("<script>\u{7}{}", "x".repeat(100_000));
        let reject: Vec<Value> = numbers.iter().filter(|number| **number == 2).map(|number| json!({"seq": number, "why": why})).collect();
        json_reply(&json!({"acked_seq": numbers.last(), "reject": reject}))
    });
    let node = node(&hub);
    for _ in 0..3 {
        node.report();
    }
    let status = node.local("GET", "/api/v1/reports");
    assert_eq!(status["outbox"]["parked"], 1);
    let why = status["parked"][0]["why"].as_str().expect("a reason");
    assert!(why.len() == 200 && !why.contains('\u{7}'), "{why}");
}
