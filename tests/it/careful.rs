//! What must not be shared, kept or lost by mistake: each tale is a fault that was found and mended.

use crate::kit;
use crate::kit::http::{Connection, request};
use crate::kit::line::Line;
use crate::kit::node::Setup;
use crate::kit::origin::{Ask, Origin, Reply, answer, first_range, ok};
use crate::offline::{cut, quick};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn zipped() -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(b"stored for one").expect("memory");
    encoder.finish().expect("memory")
}

#[test]
fn an_answer_for_one_client_comes_in_a_coding_that_he_can_read() {
    let body = zipped();
    let origin = Origin::start(move |ask: &Ask| {
        let coded = ask.field("accept-encoding").is_some_and(|list| list.contains("gzip"));
        let kind = if ask.target == "/fixed" { "Cache-Control: no-store, no-transform" } else { "Cache-Control: no-store" };
        Reply::Bytes(if coded { ok(&[kind, "Content-Encoding: gzip"], &body) } else { ok(&[kind], b"stored for one") })
    });
    let node = Setup::new().host("a.school.test", origin.addr).start();
    for path in ["/free", "/fixed"] {
        let plain = node.get(&format!("http://a.school.test{path}"));
        assert_eq!((plain.status, plain.text().as_str(), plain.field("content-encoding").as_str()), (200, "stored for one", ""), "{path}");
    }
    let coded = node.fetch("GET", "http://a.school.test/free", &["Accept-Encoding: gzip"]);
    assert_eq!(coded.field("content-encoding"), "gzip", "who can read it gets it as it is");
}

#[test]
fn what_a_post_may_have_changed_is_asked_about_and_still_there_when_the_line_is_down() {
    let origin = Origin::start(|ask: &Ask| {
        if ask.method == "POST" {
            return Reply::Bytes(ok(&["Cache-Control: no-store"], b"done"));
        }
        Reply::Bytes(if ask.field("if-none-match").is_some() {
            answer("304 Not Modified", &["ETag: \"1\""], b"")
        } else {
            ok(&["Cache-Control: public, max-age=3600", "ETag: \"1\"", "Content-Type: text/plain"], b"lesson")
        })
    });
    let line = Line::to(origin.addr);
    let node = quick(Setup::new()).host("a.school.test", line.addr).host("s.school.test", line.addr).start();
    assert!(node.twice("http://a.school.test/page").is_hit());
    assert_eq!(node.fetch("POST", "http://a.school.test/page", &["Content-Length: 0"]).status, 200);
    let asked = origin.count();
    let confirmed = node.get("http://a.school.test/page");
    assert_eq!((confirmed.status, origin.count()), (200, asked + 1), "it is asked about: {}", confirmed.cache_status());
    assert!(node.get("http://a.school.test/page").is_hit(), "and then fresh again");

    assert_eq!(node.fetch("POST", "http://a.school.test/page", &["Content-Length: 0"]).status, 200);
    cut(&node, &line);
    let offline = node.get("http://a.school.test/page");
    assert_eq!((offline.status, offline.text().as_str()), (200, "lesson"), "{}", offline.cache_status());
}

#[test]
fn a_failure_or_a_bill_in_place_of_a_page_does_not_cost_the_stored_copy() {
    let billed = Arc::new(AtomicBool::new(false));
    let bill = Arc::clone(&billed);
    let origin = Origin::start(move |_: &Ask| {
        Reply::Bytes(if bill.load(Ordering::SeqCst) {
            ok(&["Cache-Control: no-store", "Content-Type: text/html"], b"pay your bill")
        } else {
            ok(&["Cache-Control: no-cache", "Last-Modified: Sun, 01 Nov 2026 00:00:00 GMT", "Content-Type: text/plain"], b"lesson")
        })
    });
    let line = Line::to(origin.addr);
    let node = quick(Setup::new()).host("a.school.test", line.addr).host("s.school.test", line.addr).start();
    assert_eq!(node.get("http://a.school.test/page").text(), "lesson");
    billed.store(true, Ordering::SeqCst);
    assert_eq!(node.get("http://a.school.test/page").text(), "pay your bill");
    cut(&node, &line);
    assert_eq!(node.get("http://a.school.test/page").text(), "lesson");
}

#[test]
fn the_answer_to_a_get_with_a_body_is_nobody_elses() {
    let origin =
        Origin::start(|ask: &Ask| Reply::Bytes(ok(&["Cache-Control: public, max-age=3600"], &[b"got ", ask.body.as_slice()].concat())));
    let node = Setup::new().host("a.school.test", origin.addr).start();
    let mut connection = Connection::open(node.proxy);
    connection.send(&request("GET", "http://a.school.test/page", &["Content-Length: 3"])).expect("sends");
    connection.send(b"fat").expect("sends");
    assert_eq!(connection.read(false).text(), "got fat");
    let next = node.get("http://a.school.test/page");
    assert_eq!(next.text(), "got ", "{}", next.cache_status());
}

#[test]
fn ranges_of_variants_are_kept_apart() {
    let body = |language: &str| language.repeat(500);
    let origin = Origin::start(move |ask: &Ask| {
        let language = if ask.field("accept-language") == Some("kk") { "kk" } else { "ru" };
        let whole = body(language);
        let tag = format!("ETag: \"{language}\"");
        let fields = ["Cache-Control: public, max-age=3600", "Vary: Accept-Language", &tag];
        Reply::Bytes(match first_range(ask, whole.len()) {
            Some(range) => {
                let told = format!("Content-Range: bytes {}-{}/{}", range.start, range.end - 1, whole.len());
                answer("206 Partial Content", &[fields[0], fields[1], fields[2], &told], &whole.as_bytes()[range])
            }
            None => ok(&fields, whole.as_bytes()),
        })
    });
    let node = Setup::new().host("a.school.test", origin.addr).start();
    std::thread::scope(|scope| {
        for language in ["kk", "ru", "kk", "ru"] {
            let node = &node;
            scope.spawn(move || {
                let field = format!("Accept-Language: {language}");
                let part = node.fetch("GET", "http://a.school.test/film", &["Range: bytes=0-3", &field]);
                assert_eq!((part.status, part.text()), (206, language.repeat(2)), "{}", part.cache_status());
            });
        }
    });
}

#[test]
fn a_partly_kept_file_that_changed_is_fetched_whole() {
    let changed = Arc::new(AtomicBool::new(false));
    let now = Arc::clone(&changed);
    let origin = Origin::start(move |ask: &Ask| {
        let (letter, tag) = if now.load(Ordering::SeqCst) { (b'b', "ETag: \"b\"") } else { (b'a', "ETag: \"a\"") };
        let whole = vec![letter; 300_000];
        let fields = ["Cache-Control: public, max-age=3600", tag];
        // An origin that does not know If-Range: it gives the range of whatever it has.
        Reply::Bytes(match first_range(ask, whole.len()) {
            Some(range) => {
                let told = format!("Content-Range: bytes {}-{}/{}", range.start, range.end - 1, whole.len());
                answer("206 Partial Content", &[fields[0], fields[1], &told], &whole[range])
            }
            None => ok(&fields, &whole),
        })
    });
    let node = Setup::new().host("a.school.test", origin.addr).start();
    assert_eq!(node.fetch("GET", "http://a.school.test/film", &["Range: bytes=0-99999"]).status, 206);
    changed.store(true, Ordering::SeqCst);
    let whole = node.get("http://a.school.test/film");
    assert_eq!((whole.status, whole.body.len()), (200, 300_000), "{}", whole.cache_status());
    assert!(whole.body.iter().all(|byte| *byte == b'b'), "pieces of two versions");
}

#[test]
fn a_large_film_that_its_only_reader_leaves_is_not_fetched_to_the_end() {
    const LENGTH: usize = 96 << 20;
    let sent = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let origin = Origin::start(move |ask: &Ask| {
        let counted = Arc::clone(&counted);
        let (short, slow) = (ask.target == "/whole", ask.target == "/slow");
        Reply::Act(Box::new(move |stream| {
            use std::io::Write;
            if slow {
                std::thread::sleep(std::time::Duration::from_secs(1));
            }
            let length = if short { 24 << 20 } else { LENGTH };
            let head = format!(
                "HTTP/1.1 200 OK\r\nCache-Control: public, max-age=3600\r\nContent-Type: video/mp4\r\nContent-Length: {length}\r\n\r\n"
            );
            if stream.write_all(head.as_bytes()).is_err() {
                return;
            }
            let piece = kit::noise(1, 256 << 10);
            for _ in 0..length / piece.len() {
                if stream.write_all(&piece).is_err() {
                    return;
                }
                counted.fetch_add(piece.len(), Ordering::SeqCst);
                if !short {
                    // A line, not a loopback: some 100 MB/s.
                    std::thread::sleep(std::time::Duration::from_millis(2));
                }
            }
        }))
    });
    let node = Setup::new().host("a.school.test", origin.addr).start();
    // Whoever stays gets all of it, also where the fetch is far ahead of him.
    assert_eq!(node.get("http://a.school.test/whole").body.len(), 24 << 20);
    // One leaves with the first byte, the others before there is any.
    for (path, fields) in [("film", &[][..]), ("slow", &[]), ("slow", &["Range: bytes=0-"])] {
        sent.store(0, Ordering::SeqCst);
        let asked = origin.count();
        let mut connection = Connection::open(node.proxy);
        connection.send(&request("GET", &format!("http://a.school.test/{path}"), fields)).expect("sends");
        if path == "film" {
            std::io::BufRead::fill_buf(connection.raw()).expect("a first byte");
        } else {
            kit::until("the origin is asked", 20, || origin.count() > asked);
        }
        drop(connection);
        kit::until("something comes", 20, || sent.load(Ordering::SeqCst) > 0);
        let mut last = usize::MAX;
        kit::until("the origin's side ends", 60, || {
            std::thread::sleep(std::time::Duration::from_millis(300));
            let now = sent.load(Ordering::SeqCst);
            std::mem::replace(&mut last, now) == now
        });
        assert!(last < LENGTH, "{path} {fields:?}: all of it was fetched for nobody");
    }
}

/// A download that goes on says which version it wants; whatever comes meanwhile is not glued to what it has.
#[test]
fn another_version_than_the_one_that_is_wanted_is_refused_also_while_it_arrives() {
    let version = Arc::new(std::sync::atomic::AtomicUsize::new(1));
    let now = Arc::clone(&version);
    let origin = Origin::start(move |ask: &Ask| {
        let tag = format!("\"v{}\"", now.load(Ordering::SeqCst));
        let etag = format!("ETag: {tag}");
        let fields = ["Cache-Control: public, no-cache", etag.as_str()];
        if ask.field("if-none-match") == Some(tag.as_str()) {
            return Reply::Bytes(answer("304 Not Modified", &fields, b""));
        }
        let head = format!("HTTP/1.1 200 OK\r\n{}\r\n{etag}\r\nContent-Length: 20\r\n\r\n", fields[0]);
        Reply::Act(Box::new(move |stream| {
            use std::io::Write;
            // Slow enough that the head is looked at before the body is there.
            for piece in [head.as_bytes(), b"0123456789", b"0123456789"] {
                if stream.write_all(piece).is_err() {
                    return;
                }
                std::thread::sleep(std::time::Duration::from_millis(200));
            }
        }))
    });
    let node = Setup::new().host("a.school.test", origin.addr).start();
    let url = "http://a.school.test/film";
    assert_eq!(node.get(url).body.len(), 20);
    version.store(2, Ordering::SeqCst);
    let statuses = [&["Range: bytes=10-", "If-Match: \"v1\""][..], &["If-Match: \"v1\""], &["Range: bytes=10-", "If-Match: \"v2\""]]
        .map(|fields| node.fetch("GET", url, fields).status);
    assert_eq!(statuses, [412, 412, 206]);
}

#[test]
fn one_answer_without_a_tag_takes_no_parts_away() {
    let vague = Arc::new(AtomicBool::new(false));
    let now = Arc::clone(&vague);
    let origin = Origin::start(move |ask: &Ask| {
        let language = if ask.field("accept-language") == Some("kk") { "kk" } else { "ru" };
        let whole = language.repeat(150_000);
        let tag = format!("ETag: \"{language}\"");
        let mut fields = vec!["Cache-Control: public, max-age=3600", "Vary: Accept-Language"];
        if !now.load(Ordering::SeqCst) {
            fields.push(&tag);
        }
        let Some(range) = first_range(ask, whole.len()) else { return Reply::Bytes(ok(&fields, whole.as_bytes())) };
        let told = format!("Content-Range: bytes {}-{}/{}", range.start, range.end - 1, whole.len());
        fields.push(&told);
        Reply::Bytes(answer("206 Partial Content", &fields, &whole.as_bytes()[range]))
    });
    let node = Setup::new().host("a.school.test", origin.addr).start();
    let ask = |range: &str, language: &str| {
        let fields = [format!("Range: bytes={range}"), format!("Accept-Language: {language}")];
        node.fetch("GET", "http://a.school.test/film", &[&fields[0], &fields[1]])
    };
    node.fetch("GET", "http://a.school.test/film", &["Accept-Language: ru"]);
    kit::until("the part is kept", 20, || ask("0-99999", "kk").is_hit());
    vague.store(true, Ordering::SeqCst);
    let odd = ask("0-199999", "kk");
    assert_eq!((odd.status, odd.body.len()), (206, 200_000), "{}", odd.cache_status());
    assert!(ask("0-99999", "kk").is_hit() && ask("0-99999", "ru").is_hit(), "nothing was forgotten");
}

#[test]
fn a_range_that_broke_off_is_asked_for_again_as_a_range() {
    let origin = Origin::start(move |ask: &Ask| {
        let ranged = ask.field("range").is_some();
        Reply::Act(Box::new(move |stream| {
            use std::io::Write;
            let head = if ranged {
                "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 50-149/900\r\nETag: \"a\"\r\nContent-Length: 100\r\n\r\n"
            } else {
                "HTTP/1.1 200 OK\r\nETag: \"a\"\r\nContent-Length: 900\r\n\r\n"
            };
            // The connection ends in the body; the client's side may have ended first.
            drop(stream.write_all(head.as_bytes()));
        }))
    });
    let node = Setup::new().host("a.school.test", origin.addr).start();
    for _ in 0..5 {
        node.fetch("GET", "http://a.school.test/film", &["Range: bytes=50-149"]);
    }
    assert!(origin.asks().iter().all(|ask| ask.field("range") == Some("bytes=50-149")), "{:?}", origin.asks());
}
