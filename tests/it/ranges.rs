//! Parts of bodies: a range of an uncached file costs that range once; parts add up to the whole; a whole serves any part.

use crate::kit::http::{Connection, request};
use crate::kit::line::Line;
use crate::kit::node::{Node, Setup};
use crate::kit::origin::{Ask, Origin, Reply, answer, first_range, ok, promise};
use crate::kit::{self, pack};
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

const FILE: usize = 8 << 20;

/// An origin that knows ranges, and its file.
fn movie() -> (Origin, Vec<u8>) {
    movie_but(|| None)
}

/// The same, which answers otherwise as long as there is something.
fn movie_but(instead: impl Fn() -> Option<Reply> + Send + Sync + 'static) -> (Origin, Vec<u8>) {
    let body = kit::noise(9, FILE);
    let sent = body.clone();
    let origin = Origin::start(move |ask| {
        if let Some(reply) = instead() {
            return reply;
        }
        let fields = ["ETag: \"m1\"", "Cache-Control: public, max-age=3600", "Accept-Ranges: bytes", "Content-Type: video/mp4"];
        match first_range(ask, sent.len()) {
            Some(range) => {
                let place = format!("Content-Range: bytes {}-{}/{}", range.start, range.end - 1, sent.len());
                let fields: Vec<&str> = fields.iter().copied().chain([place.as_str()]).collect();
                Reply::Bytes(answer("206 Partial Content", &fields, &sent[range]))
            }
            None => Reply::Bytes(ok(&fields, &sent)),
        }
    });
    (origin, body)
}

#[test]
fn a_range_of_an_uncached_file_costs_that_range_once() {
    let (origin, body) = movie();
    let line = Line::to(origin.addr);
    let node = Setup::new().host("m.school.test", line.addr).start();
    for _ in 0..30 {
        let part = node.fetch("GET", "http://m.school.test/film", &["Range: bytes=1000000-1199999"]);
        assert_eq!(part.status, 206, "{}", part.text());
        assert_eq!(part.field("content-range"), format!("bytes 1000000-1199999/{FILE}"));
        assert!(part.body == body[1_000_000..1_200_000]);
    }
    assert_eq!(origin.count(), 1);
    // Granules of 64 KiB round a range up at both ends.
    assert!(line.down_bytes() < 400_000, "{} bytes came for a range of 200,000", line.down_bytes());
}

#[test]
fn parts_add_up_to_the_whole() {
    let (origin, body) = movie();
    let line = Line::to(origin.addr);
    let node = Setup::new().host("m.school.test", line.addr).start();
    let half = FILE / 2;
    let first = node.twice_with("http://m.school.test/film", &[&format!("Range: bytes=0-{}", half - 1)]);
    assert!(first.status == 206 && first.body == body[..half]);
    let second = node.twice_with("http://m.school.test/film", &[&format!("Range: bytes={half}-")]);
    assert!(second.status == 206 && second.body == body[half..]);
    let whole = node.get("http://m.school.test/film");
    assert!(whole.status == 200 && whole.complete && whole.body == body);
    let passed = line.down_bytes();
    assert!(passed < FILE as u64 * 105 / 100, "{passed} bytes came for a file of {FILE}");
}

#[test]
fn a_whole_body_serves_any_part() {
    let (origin, body) = movie();
    let node = Setup::new().host("m.school.test", origin.addr).start();
    let url = "http://m.school.test/film";
    assert!(node.twice(url).body == body);
    let asked = origin.count();
    for (range, part) in
        [("0-0", 0..1), ("4194303-4194304", 4_194_303..4_194_305), ("-500", FILE - 500..FILE), ("8388000-", 8_388_000..FILE)]
    {
        let answer = node.fetch("GET", url, &[&format!("Range: bytes={range}")]);
        assert_eq!(answer.status, 206, "{range}");
        assert_eq!(answer.field("content-range"), format!("bytes {}-{}/{FILE}", part.start, part.end - 1));
        assert!(answer.body == body[part], "{range}");
    }
    let beyond = node.fetch("GET", url, &[&format!("Range: bytes={FILE}-")]);
    assert_eq!((beyond.status, beyond.field("content-range")), (416, format!("bytes */{FILE}")));
    let other = node.fetch("GET", url, &["Range: bytes=0-0", "If-Range: \"m0\""]);
    assert!(other.status == 200 && other.body == body, "If-Range of another version: {} {}", other.status, other.body.len());
    let many = node.fetch("GET", url, &["Range: bytes=0-9,100-109"]);
    assert!(many.status == 206 || many.status == 200, "{}", many.status);
    if many.status == 206 {
        assert!(many.field("content-type").starts_with("multipart/byteranges"));
        assert!(many.body.windows(10).any(|bytes| bytes == &body[100..110]));
    }
    assert_eq!(origin.count(), asked);
}

/// To somebody's own `If-Range` an origin may leave out what he knows (RFC 9110 section 15.3.7): nobody else is told the rest that way.
#[test]
fn a_film_that_has_been_verified_goes_out_unread_to_all_who_see_it() {
    let (origin, body) = movie();
    let node = Setup::new().host("m.school.test", origin.addr).start();
    let url = "http://m.school.test/film";
    assert!(node.twice(url).body == body);
    let asked = origin.count();
    // Whole, in ranges and again, over one connection, asked for before the answer before it has been read.
    let ranges = [0..FILE, 1..FILE - 1, 65_535..65_537, 300_000..3_000_001, FILE - 1..FILE, 0..FILE];
    let mut connection = Connection::open(node.proxy);
    for range in &ranges {
        let field = format!("Range: bytes={}-{}", range.start, range.end - 1);
        connection.send(&request("GET", url, &[&field])).expect("sent");
    }
    for range in ranges {
        let part = connection.read(false);
        assert_eq!((part.status, part.complete), (206, true), "{range:?}");
        assert!(part.body == body[range.clone()], "{range:?}");
    }
    // Thirty at once, some of whom leave in the middle, and one who is slow.
    std::thread::scope(|class| {
        for pupil in 0..30 {
            let (node, body) = (&node, &body);
            class.spawn(move || {
                let mut connection = Connection::open(node.proxy);
                connection.send(&request("GET", url, &[])).expect("sent");
                if pupil % 3 == 1 {
                    return;
                }
                if pupil == 0 {
                    std::thread::sleep(Duration::from_secs(1));
                }
                let film = connection.read(false);
                assert!(film.complete && film.body == *body, "pupil {pupil}");
            });
        }
    });
    // What is removed while somebody sees it is seen to its end.
    let mut connection = Connection::open(node.proxy);
    connection.send(&request("GET", url, &[])).expect("sent");
    let mut begun = [0; 1000];
    connection.raw().read_exact(&mut begun).expect("it begins");
    let forgotten = node.command(&["store", "purge", "--yes", "--url", url]);
    assert!(forgotten.status.success(), "{forgotten:?}");
    let rest = {
        let mut rest = vec![0; FILE];
        let head = begun.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head of less than 1,000 bytes") + 4;
        let at = begun.len() - head;
        rest[..at].copy_from_slice(&begun[head..]);
        connection.raw().read_exact(&mut rest[at..]).expect("to its end");
        rest
    };
    assert!(rest == body);
    assert_eq!(origin.count(), asked);
}

#[test]
fn a_part_for_who_knows_the_fields_is_kept_for_nobody() {
    let body = kit::noise(11, FILE);
    let origin = Origin::start(move |ask: &Ask| {
        let range = first_range(ask, FILE).expect("a range");
        let place = format!("Content-Range: bytes {}-{}/{FILE}", range.start, range.end - 1);
        let mut fields = vec!["ETag: \"m1\"", "Cache-Control: max-age=3600", place.as_str()];
        if ask.field("if-range").is_none() {
            fields.push("Content-Type: video/mp4");
        }
        Reply::Bytes(answer("206 Partial Content", &fields, &body[range]))
    });
    let node = Setup::new().host("f.school.test", origin.addr).start();
    let url = "http://f.school.test/film.mp4";
    let known = node.fetch("GET", url, &["Range: bytes=0-99999", "If-Range: \"m1\""]);
    assert_eq!((known.status, known.field("content-type").as_str()), (206, ""));
    for hit in [false, true] {
        let other = node.fetch("GET", url, &["Range: bytes=0-99999"]);
        assert_eq!((other.status, other.field("content-type").as_str(), other.is_hit()), (206, "video/mp4", hit));
    }
}

#[test]
fn a_range_waits_for_another_that_brings_a_part_of_it() {
    let body = kit::noise(9, FILE);
    let (sent, gate) = (body.clone(), std::sync::Arc::new(std::sync::Barrier::new(2)));
    let held = std::sync::Arc::clone(&gate);
    let origin = Origin::start(move |ask| {
        let range = first_range(ask, sent.len()).expect("a range");
        let place = format!("Content-Range: bytes {}-{}/{}", range.start, range.end - 1, sent.len());
        if ask.number == 1 {
            held.wait();
        }
        let fields = ["ETag: \"m1\"", "Cache-Control: public, max-age=3600", "Content-Type: video/mp4", place.as_str()];
        Reply::Bytes(answer("206 Partial Content", &fields, &sent[range]))
    });
    let line = Line::to(origin.addr);
    let node = Setup::new().host("m.school.test", line.addr).start();
    let ask = |from: usize| {
        let proxy = node.proxy;
        std::thread::spawn(move || {
            let range = format!("Range: bytes={from}-{}", from + 999_999);
            kit::http::fetch(proxy, "GET", "http://m.school.test/update", &[&range])
        })
    };
    let first = ask(1_000_000);
    kit::until("the first is on its way", 20, || origin.count() == 1);
    let second = ask(1_500_000);
    // One of another place does not wait for either, and shows that the second has had its time.
    let third = ask(5_000_000).join().expect("a reader");
    assert!(third.status == 206 && third.body == body[5_000_000..6_000_000]);
    assert_eq!(origin.count(), 2, "the second waits");
    gate.wait();
    for (reader, from) in [(first, 1_000_000), (second, 1_500_000)] {
        let answer = reader.join().expect("a reader");
        assert!(answer.status == 206 && answer.body == body[from..from + 1_000_000], "{from}: {}", answer.status);
    }
    assert_eq!(origin.count(), 3);
    let asked: Vec<String> = origin.asks().iter().filter_map(|ask| ask.field("range").map(str::to_owned)).collect();
    assert_eq!(asked[2], "bytes=2000000-2499999", "of the second only what was missing");
}

#[test]
fn what_is_partly_here_outlives_a_head_and_an_answer_for_one() {
    let body = kit::noise(9, FILE);
    let sent = body.clone();
    let origin = Origin::start(move |ask| {
        let range = first_range(ask, sent.len()).unwrap_or(0..sent.len());
        let place = format!("Content-Range: bytes {}-{}/{}", range.start, range.end - 1, sent.len());
        let mut fields = vec!["ETag: \"m1\"", "Cache-Control: public, max-age=3600", "Content-Type: video/mp4", place.as_str()];
        // As an origin does that begins a session with whoever comes.
        if range.start == 2_000_000 {
            fields.push("Set-Cookie: sid=1");
        }
        if ask.field("range").is_none() {
            return Reply::Bytes(if ask.method == "HEAD" { promise(&fields[..3], sent.len()) } else { ok(&fields[..3], &sent) });
        }
        let body = if ask.method == "HEAD" { &[][..] } else { &sent[range] };
        Reply::Bytes(answer("206 Partial Content", &fields, body))
    });
    let node = Setup::new().host("m.school.test", origin.addr).start();
    let url = "http://m.school.test/film";
    let part = |from: usize| {
        let answer = node.fetch("GET", url, &[&format!("Range: bytes={from}-{}", from + 999_999)]);
        assert!(answer.status == 206 && answer.body == body[from..from + 1_000_000], "{from}: {}", answer.status);
        answer
    };
    part(0);
    kit::until("the first part is kept", 20, || part(0).is_hit());
    let head = node.fetch("HEAD", url, &[]);
    assert_eq!((head.status, head.field("content-length")), (200, FILE.to_string()));
    assert!(part(0).is_hit(), "a HEAD takes nothing away");
    let asked = origin.count();
    assert!(part(2_000_000).has("set-cookie"), "what is for one goes to that one");
    assert!(part(0).is_hit(), "and takes nothing away from the others");
    assert!(!part(2_000_000).is_hit());
    assert!(origin.count() > asked + 1, "nor is it kept");
}

/// What a pack's path class names is the same for everybody: a pupil who opens it with his cookie goes on with what is here.
#[test]
fn what_is_partly_here_is_completed_in_nobody_s_name() {
    let body = kit::noise(9, FILE);
    let sent = body.clone();
    let origin = Origin::start(move |ask| {
        let range = first_range(ask, sent.len()).unwrap_or(0..sent.len());
        let place = format!("Content-Range: bytes {}-{}/{}", range.start, range.end - 1, sent.len());
        let fields = ["ETag: \"m1\"", "Cache-Control: max-age=3600", "Content-Type: video/mp4", place.as_str()];
        Reply::Bytes(answer("206 Partial Content", &fields, &sent[range]))
    });
    let folder = tempfile::tempdir().expect("a folder");
    let pack = "id = \"films\"\nversion = \"1\"\nlicence = \"a test's own\"\n[title]\nen = \"Films\"\n[[seed]]\nurl = \"http://m.school.test/\"\n\
                [scope]\nhosts = [\"m.school.test\"]\n[[class]]\nhost = \"m.school.test\"\npath = \"/v/**\"\n";
    let setup = Setup::new().host("m.school.test", origin.addr).set("night.windows", "[]");
    let node = pack::publish(setup, folder.path(), "films", pack).start_in(folder);
    let part = |from: usize, more: &[&str]| {
        let range = format!("Range: bytes={from}-{}", from + 999_999);
        let answer = node.fetch("GET", "http://m.school.test/v/film", &[&[range.as_str()], more].concat());
        assert!(answer.status == 206 && answer.body == body[from..from + 1_000_000], "{from}: {} {}", answer.status, answer.cache_status());
        answer
    };
    part(0, &[]);
    kit::until("the first part is kept", 20, || part(0, &[]).is_hit());
    part(500_000, &["Cookie: sid=1"]);
    kit::until("the second is kept for everybody", 20, || part(500_000, &[]).is_hit());
    assert!(part(0, &[]).is_hit());
    let asked: Vec<_> =
        origin.asks().iter().map(|ask| (ask.field("range").map(str::to_owned), ask.field("cookie").map(str::to_owned))).collect();
    assert_eq!(asked[1..], [(Some("bytes=1000000-1499999".to_owned()), None)], "only what was missing, in nobody's name");
}

/// What a film's server answers that sends at most a megabyte at once, beginning where it was asked for.
fn capped(ask: &Ask, body: &[u8]) -> Vec<u8> {
    const MOST: usize = 1 << 20;
    let life = if ask.target == "/asked" { "Cache-Control: public, no-cache" } else { "Cache-Control: public, max-age=3600" };
    let fields = ["ETag: \"m1\"", life, "Content-Type: video/mp4"];
    if ask.field("if-none-match") == Some("\"m1\"") {
        return answer("304 Not Modified", &fields, b"");
    }
    let Some(range) = first_range(ask, body.len()) else { return ok(&fields, body) };
    let range = range.start..range.end.min(range.start + MOST);
    let place = format!("Content-Range: bytes {}-{}/{}", range.start, range.end - 1, body.len());
    answer("206 Partial Content", &[&fields[..], &[place.as_str()]].concat(), &body[range])
}

/// Reads a film as a player does that goes on from where the last answer ended.
fn play(node: &Node, url: &str, length: usize) -> Vec<u8> {
    let mut film = Vec::new();
    while film.len() < length {
        let part = node.fetch("GET", url, &[&format!("Range: bytes={}-", film.len())]);
        assert!(part.status == 206 && part.complete && !part.body.is_empty(), "{} at {}", part.status, film.len());
        film.extend_from_slice(&part.body);
    }
    film
}

#[test]
fn an_origin_that_sends_a_megabyte_at_once_fills_the_store_all_the_same() {
    let body = kit::noise(9, FILE);
    let sent = body.clone();
    let origin = Origin::start(move |ask| Reply::Bytes(capped(ask, &sent)));
    let line = Line::to(origin.addr);
    let node = Setup::new().host("m.school.test", line.addr).start();
    let url = "http://m.school.test/film";
    assert!(play(&node, url, FILE) == body);
    assert_eq!(origin.count(), 8);
    assert!(play(&node, url, FILE) == body);
    assert_eq!(origin.count(), 8, "the second has it out of the store");
    assert!(line.down_bytes() < FILE as u64 * 105 / 100, "{}", line.down_bytes());
}

#[test]
fn an_odd_416_takes_nothing_away_and_a_shorter_file_does() {
    let body = kit::noise(9, FILE);
    let (sent, shrunk) = (body.clone(), Arc::new(AtomicBool::new(false)));
    let is_shrunk = Arc::clone(&shrunk);
    let origin = Origin::start(move |ask| {
        let refusal = |total: usize| answer("416 Range Not Satisfiable", &[&format!("Content-Range: bytes */{total}")], b"");
        Reply::Bytes(match first_range(ask, sent.len()) {
            Some(range) if is_shrunk.load(Ordering::SeqCst) && range.start > 0 => refusal(1 << 20),
            Some(range) if range.start == 4 << 20 => refusal(sent.len()),
            _ => capped(ask, &sent),
        })
    });
    let node = Setup::new().host("m.school.test", origin.addr).start();
    let url = "http://m.school.test/film";
    let first = || node.fetch("GET", url, &["Range: bytes=0-999999"]);
    assert!(first().body == body[..1_000_000]);
    assert!(first().is_hit());
    // What overlaps with what is here asks for the rest of it; one server of several does not have it.
    let odd = node.fetch("GET", url, &["Range: bytes=4194304-4200000"]);
    assert_eq!(odd.status, 416);
    assert!(first().is_hit(), "one refusal says nothing about what is kept");
    shrunk.store(true, Ordering::SeqCst);
    node.fetch("GET", url, &["Range: bytes=5000000-5000009"]);
    assert!(!first().is_hit(), "a shorter file is another one");
}

#[test]
fn whoever_has_a_partly_kept_file_is_told_so_and_nothing_more_is_fetched() {
    let body = kit::noise(9, FILE);
    let sent = body.clone();
    let origin = Origin::start(move |ask| Reply::Bytes(capped(ask, &sent)));
    let line = Line::to(origin.addr);
    let node = Setup::new().host("m.school.test", line.addr).start();
    // One that is fresh, and one that is asked about each time.
    for (path, asked) in [("fresh", 1), ("asked", 3)] {
        let url = format!("http://m.school.test/{path}");
        let before = origin.count();
        let part = node.fetch("GET", &url, &["Range: bytes=0-99"]);
        assert!(part.status == 206 && part.body == body[..100]);
        for _ in 0..2 {
            assert_eq!(node.fetch("GET", &url, &["If-None-Match: \"m1\""]).status, 304, "{path}");
        }
        assert_eq!(origin.count() - before, asked, "{path}");
        let other = node.fetch("GET", &url, &["If-None-Match: \"m0\"", "Range: bytes=0-9"]);
        assert!(other.status == 206 && other.body == body[..10], "{path}: {}", other.status);
    }
    assert!(line.down_bytes() < 10_000, "{}", line.down_bytes());
}

#[test]
fn many_large_downloads_at_once_hold_no_piece_in_memory() {
    const COUNT: usize = 64;
    // Just short of the piece that is made durable at once.
    const COME: usize = (4 << 20) - 1;
    let (sent, gate) = (kit::noise(9, COME), Arc::new(RwLock::new(())));
    let held = Arc::clone(&gate);
    let origin = Origin::start(move |_| {
        let (sent, held) = (sent.clone(), Arc::clone(&held));
        Reply::Act(Box::new(move |stream| {
            let fields = ["ETag: \"m1\"", "Cache-Control: public, max-age=3600", "Content-Type: video/mp4"];
            stream.write_all(&promise(&fields, 100 << 20)).expect("sends");
            stream.write_all(&sent).expect("sends");
            drop(held.read());
        }))
    });
    let node = Setup::new().set("upstream.per_origin", "128").host("m.school.test", origin.addr).start();
    let before = node.peak_memory();
    let trickling = gate.write().expect("nobody panics");
    let readers: Vec<_> = (0..COUNT)
        .map(|number| {
            let proxy = node.proxy;
            std::thread::spawn(move || {
                let mut connection = Connection::open(proxy);
                connection.send(&request("GET", &format!("http://m.school.test/{number}"), &[])).expect("sends");
                let mut come = vec![0; COME];
                connection.raw().read_exact(&mut come).expect("what has come");
                connection
            })
        })
        .collect();
    let open: Vec<_> = readers.into_iter().map(|reader| reader.join().expect("a reader")).collect();
    let grown = node.peak_memory() - before;
    assert!(grown < (COUNT * COME / 2) as u64, "{grown} bytes of memory for {COUNT} downloads");
    drop((trickling, open));
}

#[test]
fn several_ranges_of_a_partly_kept_file_do_not_fetch_the_rest() {
    let (origin, body) = movie();
    let line = Line::to(origin.addr);
    let node = Setup::new().host("m.school.test", line.addr).start();
    let url = "http://m.school.test/film";
    assert!(node.twice_with(url, &["Range: bytes=0-999999"]).body == body[..1_000_000]);
    let here = node.fetch("GET", url, &["Range: bytes=0-9,500000-500009"]);
    assert!(here.status == 206 && here.field("content-type").starts_with("multipart/byteranges"), "{}", here.status);
    assert!(here.body.windows(10).any(|bytes| bytes == &body[500_000..500_010]));
    assert_eq!(origin.count(), 1, "all of it is here");
    let more = node.fetch("GET", url, &["Range: bytes=5000000-5000009,0-9"]);
    // This origin sends one part of several, which it may.
    assert!(more.status == 206 && more.body == body[5_000_000..5_000_010], "{}", more.status);
    assert_eq!(origin.asks()[1].field("range"), Some("bytes=5000000-5000009,0-9"), "his own question");
    assert!(line.down_bytes() < 1_100_000, "{}", line.down_bytes());
}

#[test]
fn a_class_that_asks_for_ranges_of_what_comes_whole_costs_one_transfer() {
    let (gate, body) = (Arc::new(RwLock::new(())), kit::noise(9, 1 << 20));
    let (held, sent) = (Arc::clone(&gate), body.clone());
    let origin = Origin::start(move |ask| {
        let (held, sent, chunked) = (Arc::clone(&held), sent.clone(), ask.target == "/chunked");
        Reply::Act(Box::new(move |stream| {
            let life = "Cache-Control: public, max-age=3600";
            if chunked {
                drop(held.read());
                let head = format!("HTTP/1.1 200 OK\r\n{life}\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n", sent.len());
                stream.write_all(&[head.as_bytes(), &sent, b"\r\n0\r\n\r\n"].concat()).expect("sends");
            } else {
                stream.write_all(&promise(&[life, "ETag: \"m1\"", "Connection: close"], sent.len())).expect("sends");
                stream.write_all(&sent[..600_000]).expect("sends");
                drop(held.read());
                stream.write_all(&sent[600_000..]).expect("sends");
            }
        }))
    });
    let node = Setup::new().host("m.school.test", origin.addr).start();
    let ask = |path: &'static str, range: &'static str| {
        let proxy = node.proxy;
        std::thread::spawn(move || {
            kit::http::fetch(proxy, "GET", &format!("http://m.school.test/{path}"), &[&format!("Range: bytes={range}")])
        })
    };
    let collapsed = || node.metric("bulak_collapsed_total", "").unwrap_or(0.0);

    // Of no known length: nobody can be given a part of it, and everybody gets it as it comes.
    let waits = gate.write().expect("nobody panics");
    let class: Vec<_> = (0..30).map(|_| ask("chunked", "0-")).collect();
    kit::until("all wait", 20, || collapsed() >= 29.0);
    drop(waits);
    for answer in class.into_iter().map(|reader| reader.join().expect("a reader")) {
        // Who comes to it when it has ended is given the same out of the store, whose length is known.
        let told = answer.status == 200 || (answer.status == 206 && answer.field("content-range") == "bytes 0-1048575/1048576");
        assert!(told && answer.body == body, "{} {}", answer.status, answer.body.len());
    }
    assert_eq!(origin.count(), 1);

    // Of known length, asked for in parts: each is there as soon as its bytes are.
    let waits = gate.write().expect("nobody panics");
    for (range, part) in [("0-299999", 0..300_000), ("200000-399999", 200_000..400_000), ("0-99", 0..100)] {
        let answer = ask("film", range).join().expect("a reader");
        assert!(answer.status == 206 && answer.body == body[part], "{range}: {}", answer.status);
    }
    let before = collapsed();
    let late = ask("film", "1000000-1000099");
    kit::until("the last comes along", 20, || collapsed() > before);
    drop(waits);
    assert!(late.join().expect("a reader").body == body[1_000_000..1_000_100]);
    assert_eq!(origin.count(), 2);
}

#[test]
fn parts_that_only_a_date_tells_apart_are_not_mixed_after_a_change() {
    let changed = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&changed);
    let origin = Origin::start(move |ask: &Ask| {
        if ask.method == "POST" {
            seen.store(true, Ordering::SeqCst);
            return Reply::Bytes(ok(&["Cache-Control: no-store"], b"changed"));
        }
        let body = [if seen.load(Ordering::SeqCst) { b'2' } else { b'1' }; 100];
        // Its clock of changes stands still: the same date for another version.
        let fields = ["Date: Mon, 02 Nov 2026 09:00:00 GMT", "Last-Modified: Mon, 02 Nov 2026 08:00:00 GMT", "Cache-Control: max-age=60"];
        Reply::Bytes(match first_range(ask, body.len()) {
            Some(range) => {
                let place = format!("Content-Range: bytes {}-{}/100", range.start, range.end - 1);
                answer("206 Partial Content", &[fields.as_slice(), &[&place]].concat(), &body[range])
            }
            None => ok(&fields, &body),
        })
    });
    let node = Setup::new().host("m.school.test", origin.addr).start();
    let url = "http://m.school.test/list";
    assert_eq!(node.fetch("GET", url, &["Range: bytes=0-9"]).text(), "1111111111");
    assert_eq!(node.fetch("POST", url, &["Content-Length: 0"]).status, 200);
    let whole = node.get(url);
    assert_eq!((whole.status, whole.text()), (200, "2".repeat(100)));
}

#[test]
fn an_origin_that_fails_for_a_while_takes_no_part_away() {
    let fails = Arc::new(AtomicBool::new(false));
    let failing = Arc::clone(&fails);
    // As of a framework that has set the field before the handler fails; slow, so that a class comes together.
    let later = move || {
        failing.load(Ordering::Relaxed).then(|| {
            std::thread::sleep(Duration::from_millis(300));
            Reply::Bytes(answer("503 Service Unavailable", &["Cache-Control: public, max-age=3600"], b"later"))
        })
    };
    let (origin, body) = movie_but(later);
    let node = Setup::new().host("m.school.test", origin.addr).start();
    let ask = |range: &str| node.fetch("GET", "http://m.school.test/film", &[&format!("Range: bytes={range}")]);
    assert!(ask("0-199999").body == body[..200_000]);
    fails.store(true, Ordering::Relaxed);
    std::thread::scope(|scope| {
        let class: Vec<_> = (0..4).map(|_| scope.spawn(|| ask("4000000-4199999").status)).collect();
        for pupil in class {
            assert_eq!(pupil.join().expect("asks"), 503);
        }
    });
    let asked = origin.count();
    let first = ask("0-199999");
    assert!(first.status == 206 && first.body == body[..200_000], "{} {}", first.status, first.cache_status());
    assert_eq!(origin.count(), asked);
    fails.store(false, Ordering::Relaxed);
    let second = ask("4000000-4199999");
    assert!(second.status == 206 && second.body == body[4_000_000..4_200_000], "{} {}", second.status, second.cache_status());
}
