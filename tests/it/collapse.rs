//! Many asking, one fetching: one origin request, readers live behind the writer, nobody disturbed by who leaves.

use crate::kit;
use crate::kit::http::{Answer, Connection, fetch, request};
use crate::kit::line::Line;
use crate::kit::node::Setup;
use crate::kit::origin::{Origin, Reply, answer, ok, promise};
use std::io::Write;
use std::sync::Arc;
use std::sync::Barrier;
use std::thread::JoinHandle;

const CLIENTS: usize = 100;
const FILE: usize = 5 << 20;
/// 10 Mbit/s.
const RATE: u64 = 1_250_000;

#[test]
fn a_hundred_clients_cost_one_transfer() {
    let body = Arc::new(kit::noise(1, FILE));
    let sent = Arc::clone(&body);
    let origin = Origin::start(move |_| Reply::Bytes(ok(&["Cache-Control: public, max-age=3600"], &sent)));
    let line = Arc::new(Line::slow(kit::loopback(0), origin.addr, RATE).expect("a line"));
    let node = Setup::new().host("a.school.test", line.addr).start();
    let start = Arc::new(Barrier::new(CLIENTS));
    let readers: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (start, body, line, proxy) = (Arc::clone(&start), Arc::clone(&body), Arc::clone(&line), node.proxy);
            std::thread::spawn(move || {
                let mut connection = Connection::open(proxy);
                start.wait();
                connection.send(&request("GET", "http://a.school.test/video", &[])).expect("sends");
                std::io::BufRead::fill_buf(connection.raw()).expect("a first byte");
                let passed_at_first_byte = line.down_bytes();
                let answer = connection.read(false);
                assert!(answer.complete && answer.body == *body, "status {}, {} bytes", answer.status, answer.body.len());
                passed_at_first_byte
            })
        })
        .collect();
    let first_bytes: Vec<u64> = readers.into_iter().map(|reader| reader.join().expect("a reader")).collect();
    assert_eq!(origin.count(), 1);
    let passed = line.down_bytes();
    assert!(passed <= FILE as u64 * 102 / 100, "{passed} bytes came over the line");
    let late = first_bytes.iter().filter(|passed| **passed > FILE as u64 / 2).count();
    assert_eq!(late, 0, "readers who saw nothing before half of the file had come");
    assert!(node.get("http://a.school.test/video").is_hit());
    assert_eq!(origin.count(), 1);
}

#[test]
fn half_a_class_in_another_language_costs_one_transfer_more() {
    let origin = Origin::start(|ask| {
        let language = ask.field("accept-language").unwrap_or("none").to_owned();
        let body = [language.as_bytes(), &kit::noise(4, 200_000)].concat();
        Reply::Bytes(ok(&["Cache-Control: public, max-age=3600", "Vary: Accept-Language"], &body))
    });
    let line = Line::slow(kit::loopback(0), origin.addr, 400_000).expect("a line");
    let node = Setup::new().host("a.school.test", line.addr).start();
    let start = Arc::new(Barrier::new(30));
    let readers: Vec<_> = (0..30)
        .map(|number| {
            let (start, proxy) = (Arc::clone(&start), node.proxy);
            std::thread::spawn(move || {
                let mut connection = Connection::open(proxy);
                let language = ["kk", "ru", "en"][number % 3];
                start.wait();
                let ask = request("GET", "http://a.school.test/page", &[&format!("Accept-Language: {language}")]);
                connection.send(&ask).expect("sends");
                let answer = connection.read(false);
                assert!(answer.complete && answer.body.starts_with(language.as_bytes()), "status {}", answer.status);
            })
        })
        .collect();
    for reader in readers {
        reader.join().expect("a reader");
    }
    assert_eq!(origin.count(), 3, "one for each language");
}

#[test]
fn who_leaves_disturbs_nobody() {
    let body = Arc::new(kit::noise(2, 1 << 20));
    let sent = Arc::clone(&body);
    let origin = Origin::start(move |_| Reply::Bytes(ok(&["Cache-Control: public, max-age=3600"], &sent)));
    let line = Line::slow(kit::loopback(0), origin.addr, 400_000).expect("a line");
    let node = Setup::new().host("a.school.test", line.addr).start();
    let ask = request("GET", "http://a.school.test/video", &[]);
    let open = || {
        let mut connection = Connection::open(node.proxy);
        connection.send(&ask).expect("sends");
        std::io::BufRead::fill_buf(connection.raw()).expect("a first byte");
        connection
    };
    let first = open();
    let mut second = open();
    let third = open();
    drop(first); // the one who began it
    drop(third); // and one who read along
    let answer = second.read(false);
    assert!(answer.complete && answer.body == *body);
    assert_eq!(origin.count(), 1);

    // All leave: the fetch goes on to its end all the same, and the next one is served from the store.
    drop({
        let mut connection = Connection::open(node.proxy);
        connection.send(&request("GET", "http://a.school.test/other", &[])).expect("sends");
        std::io::BufRead::fill_buf(connection.raw()).expect("a first byte");
        connection
    });
    kit::until("the abandoned fetch is stored", 30, || {
        let answer = node.fetch("GET", "http://a.school.test/other", &["Cache-Control: only-if-cached"]);
        answer.status == 200 && answer.body == *body
    });
    assert_eq!(origin.count(), 2);
}

#[test]
fn a_truncated_body_is_never_whole() {
    let body = kit::noise(3, 200_000);
    let sent = body.clone();
    let seen = std::sync::Mutex::new(std::collections::BTreeSet::new());
    let origin = Origin::start(move |ask| {
        let field = "Cache-Control: public, max-age=3600";
        let again = !seen.lock().expect("no panics").insert(ask.target.clone());
        match (ask.target.as_str(), again) {
            ("/length", false) => Reply::Close([promise(&[field], sent.len()).as_slice(), &sent[..70_000]].concat()),
            ("/chunked", false) => {
                let head = format!("HTTP/1.1 200 OK\r\n{field}\r\nTransfer-Encoding: chunked\r\n\r\n11170\r\n");
                Reply::Close([head.as_bytes(), &sent[..0x11170], b"\r\n"].concat())
            }
            _ => Reply::Bytes(ok(&[field], &sent)),
        }
    });
    let node = Setup::new().host("a.school.test", origin.addr).start();
    for path in ["/length", "/chunked"] {
        let url = format!("http://a.school.test{path}");
        let asked = origin.count();
        let cut = node.get(&url);
        if cut.complete {
            // It broke off before a byte had gone to the client, so the node has asked again by itself.
            assert!(cut.status == 200 && cut.body == body && origin.count() > asked + 1, "{path}: the client cannot tell");
        } else {
            assert!(body.starts_with(&cut.body), "{path}: wrong bytes");
            let whole = node.get(&url);
            assert!(whole.complete && whole.body == body && !whole.is_hit(), "{path}: {}", whole.cache_status());
        }
        let again = node.get(&url);
        assert!(again.is_hit() && again.body == body, "{path}: {}", again.cache_status());
    }
}

#[test]
fn a_class_waits_for_one_slow_head() {
    let (tell, told) = std::sync::mpsc::channel::<()>();
    let told = std::sync::Mutex::new(Some(told));
    let origin = Origin::start(move |_| {
        let told = told.lock().expect("one thread").take();
        Reply::Act(Box::new(move |stream| {
            if let Some(told) = told {
                told.recv().expect("the test goes on");
            }
            stream.write_all(&ok(&["Cache-Control: public, max-age=3600", "Connection: close"], b"late")).expect("sends");
        }))
    });
    let node = Setup::new().host("a.school.test", origin.addr).start();
    let readers: Vec<_> = (0..30)
        .map(|_| {
            let proxy = node.proxy;
            std::thread::spawn(move || kit::http::get(proxy, "http://a.school.test/slow"))
        })
        .collect();
    kit::until("the origin is asked", 20, || origin.count() >= 1);
    tell.send(()).expect("the origin listens");
    for reader in readers {
        assert_eq!(reader.join().expect("a reader").text(), "late");
    }
    assert_eq!(origin.count(), 1);
}

#[test]
fn a_class_that_polls_what_is_new_each_time_is_answered_each_time() {
    // Whoever comes when a transfer has just ended asks anew, and may come along with one that ends as soon: again and again.
    let origin = Origin::start(|ask| {
        let body = ask.number.to_string();
        Reply::Bytes(ok(&["Cache-Control: public, max-age=0", &format!("ETag: \"{body}\"")], body.as_bytes()))
    });
    let node = Setup::new().host("a.school.test", origin.addr).start();
    std::thread::scope(|scope| {
        for _ in 0..60 {
            scope.spawn(|| {
                let mut connection = Connection::open(node.proxy);
                for round in 0..200 {
                    connection.send(&request("GET", "http://a.school.test/news", &[])).expect("sends");
                    let answer = connection.read(false);
                    assert!(answer.complete && answer.status == 200, "round {round}: status {}", answer.status);
                }
            });
        }
    });
}

/// An origin that gives its first answer only when it is told to; the others at once.
fn held(script: impl Fn(&kit::origin::Ask) -> Vec<u8> + Send + Sync + 'static) -> (Origin, std::sync::mpsc::Sender<()>) {
    let (tell, told) = std::sync::mpsc::channel::<()>();
    let told = std::sync::Mutex::new(Some(told));
    let origin = Origin::start(move |ask| {
        let (told, bytes) = (told.lock().expect("one thread").take(), script(ask));
        Reply::Act(Box::new(move |stream| {
            if let Some(told) = told {
                told.recv().expect("the test goes on");
            }
            stream.write_all(&bytes).expect("sends");
        }))
    });
    (origin, tell)
}

fn asking(proxy: std::net::SocketAddr, fields: &'static [&'static str]) -> JoinHandle<Answer> {
    std::thread::spawn(move || fetch(proxy, "GET", "http://a.school.test/page", fields))
}

#[test]
fn one_pupil_s_cookie_does_not_part_a_class() {
    type Fields = &'static [&'static str];
    let rows: [(Fields, Fields, bool); 3] = [
        (&["Cookie: _ga=1"], &[], true),
        (&["Cookie: _ga=1", "Range: bytes=0-3"], &["Range: bytes=0-3"], true),
        // Whoever has it already and asks for a part of it is told so, he alone; nobody waits for him.
        (&["If-None-Match: \"a\"", "Range: bytes=0-3"], &["Range: bytes=0-3"], false),
    ];
    for (his, theirs, waits) in rows {
        let (origin, tell) = held(|ask| {
            let fields = ["Cache-Control: max-age=3600", "ETag: \"a\"", "Connection: close"];
            match (ask.field("if-none-match"), ask.field("range")) {
                (Some(_), _) => answer("304 Not Modified", &fields, b""),
                (None, Some(_)) => answer("206 Partial Content", &[&fields[..], &["Content-Range: bytes 0-3/9"]].concat(), b"page"),
                (None, None) => ok(&fields, b"page of 9"),
            }
        });
        let node = Setup::new().host("a.school.test", origin.addr).start();
        let first = asking(node.proxy, his);
        kit::until("the origin is asked", 20, || origin.count() == 1);
        let others: Vec<_> = (0..29).map(|_| asking(node.proxy, theirs)).collect();
        if waits {
            kit::until("all wait", 20, || node.metric("bulak_collapsed_total", "") == Some(29.0));
        }
        tell.send(()).expect("the origin listens");
        assert!(matches!(first.join().expect("a reader").status, 200 | 206 | 304), "{his:?}");
        for other in others {
            let answer = other.join().expect("a reader");
            assert!(answer.status < 300 && answer.text().starts_with("page"), "{his:?}: {answer:?}");
        }
        assert_eq!(origin.count(), 2, "{his:?}: one for him, one for the others");
        let again = node.fetch("GET", "http://a.school.test/page", theirs);
        assert!(again.is_hit(), "{his:?}: {}", again.cache_status());
    }
}

#[test]
fn whoever_asks_after_a_change_does_not_get_what_was_asked_for_before() {
    let (origin, tell) = held(|ask| {
        let body: &[u8] = if ask.method == "GET" && ask.number == 1 { b"old" } else { b"new" };
        ok(&["Cache-Control: max-age=3600", "Connection: close"], body)
    });
    let node = Setup::new().host("a.school.test", origin.addr).start();
    let before = asking(node.proxy, &[]);
    kit::until("the origin is asked", 20, || origin.count() == 1);
    assert_eq!(node.fetch("POST", "http://a.school.test/page", &["Content-Length: 0"]).status, 200);
    assert_eq!(node.get("http://a.school.test/page").text(), "new");
    assert_eq!(origin.count(), 3);
    tell.send(()).expect("the origin listens");
    assert_eq!(before.join().expect("a reader").text(), "old");
    assert_eq!(node.get("http://a.school.test/page").text(), "new");
}
