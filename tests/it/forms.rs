//! In which form a stored body goes out: the stored zstd frame, gzip where it is wanted, decoded for everybody else; and large
//! bodies in memory, which a slow reader gets unchanged whatever takes their place.

use crate::kit;
use crate::kit::http::{Connection, request};
use crate::kit::node::Setup;
use crate::kit::origin::{Origin, Reply, ok};
use crate::kit::program;
use std::io::{Read, Write};

const DAY: &str = "Cache-Control: public, max-age=86400";
const ZSTD: &str = "Accept-Encoding: gzip, deflate, br, zstd";

/// A page that compresses about as well as pages do.
fn page() -> Vec<u8> {
    let noise = kit::noise(5, 20_000);
    noise.iter().flat_map(|byte| format!("<p>lesson {byte} of {}</p>\n", byte / 7).into_bytes()).collect()
}

fn site() -> Origin {
    Origin::start(|ask| {
        let kind = if ask.target.contains("png") { "Content-Type: image/png" } else { "Content-Type: text/html" };
        let control = if ask.target.contains("as-it-is") { "Cache-Control: public, max-age=86400, no-transform" } else { DAY };
        Reply::Bytes(ok(&[control, "ETag: \"v1\"", kind, "Content-Digest: sha-256=:AAAA:"], &page()))
    })
}

#[test]
fn a_client_that_takes_zstd_gets_the_stored_frame() {
    let (origin, page) = (site(), page());
    let node = Setup::new().host("a.school.test", origin.addr).start();
    let url = "http://a.school.test/lesson";
    let plain = node.twice(url);
    assert!(plain.body == page && !plain.has("content-encoding"));
    assert_eq!(plain.field("etag"), "\"v1\"");
    for _ in 0..2 {
        let coded = node.fetch("GET", url, &[ZSTD]);
        assert!(coded.is_hit() && coded.complete && coded.status == 200, "{}", coded.cache_status());
        assert_eq!((coded.field("content-encoding").as_str(), coded.field("vary").as_str()), ("zstd", "Accept-Encoding"));
        assert_eq!((coded.field("etag").as_str(), coded.field("content-length")), ("W/\"v1\"", coded.body.len().to_string()));
        assert!(!coded.has("content-digest") && !coded.has("accept-ranges"));
        assert!(coded.body.len() < page.len() / 2, "{} of {}", coded.body.len(), page.len());
        assert!(zstd::bulk::decompress(&coded.body, page.len()).expect("one frame") == page);
        let head = node.fetch("HEAD", url, &[ZSTD]);
        for name in ["content-encoding", "content-length", "etag", "vary"] {
            assert_eq!(head.field(name), coded.field(name), "{name}");
        }
    }
    // Who names it only to refuse it, or likes the body better as it is, gets that.
    for other in ["Accept-Encoding: gzip", "Accept-Encoding: zstd;q=0", "Accept-Encoding: zstd;q=0.5, identity", "Accept-Encoding: *"] {
        let answer = node.fetch("GET", url, &[other]);
        assert!(answer.body == page && !answer.has("content-encoding"), "{other}");
    }
    assert_eq!(origin.count(), 1);
}

#[test]
fn conditions_and_ranges_of_a_coded_page_hold() {
    let (origin, page) = (site(), page());
    let node = Setup::new().host("a.school.test", origin.addr).start();
    let url = "http://a.school.test/lesson";
    node.twice(url);
    for tag in ["If-None-Match: \"v1\"", "If-None-Match: W/\"v1\""] {
        let same = node.fetch("GET", url, &[ZSTD, tag]);
        assert_eq!((same.status, same.field("etag").as_str(), same.field("vary").as_str()), (304, "W/\"v1\"", "Accept-Encoding"), "{tag}");
        assert!(!same.has("content-encoding") && !same.has("content-length"));
    }
    let other = node.fetch("GET", url, &[ZSTD, "If-None-Match: \"v0\""]);
    assert_eq!((other.status, other.field("content-encoding").as_str()), (200, "zstd"));
    let part = node.fetch("GET", url, &[ZSTD, "Range: bytes=100-299"]);
    assert_eq!((part.status, part.field("etag").as_str()), (206, "\"v1\""));
    assert!(part.body == page[100..300] && !part.has("content-encoding"));
    let strong = node.fetch("GET", url, &[ZSTD, "Range: bytes=100-299", "If-Range: \"v1\""]);
    assert_eq!(strong.status, 206);
    // The weak tag of a coded answer proves nothing about bytes.
    let weak = node.fetch("GET", url, &[ZSTD, "Range: bytes=100-299", "If-Range: W/\"v1\""]);
    assert!(weak.status == 200 && weak.body == page && !weak.has("content-encoding"));
    assert_eq!(origin.count(), 1);
}

#[test]
fn what_may_not_be_changed_goes_out_as_it_came() {
    let (origin, page) = (site(), page());
    let node = Setup::new().set("cache.wifi_gzip", "true").host("a.school.test", origin.addr).start();
    node.twice("http://a.school.test/as-it-is");
    let kept = node.fetch("GET", "http://a.school.test/as-it-is", &[ZSTD]);
    assert!(kept.is_hit() && kept.body == page && !kept.has("content-encoding"));
    assert_eq!((kept.field("etag").as_str(), kept.field("content-digest").as_str()), ("\"v1\"", "sha-256=:AAAA:"));
    node.twice("http://a.school.test/lesson");
    let asked = node.fetch("GET", "http://a.school.test/lesson", &[ZSTD, "Cache-Control: no-transform"]);
    assert!(asked.is_hit() && asked.body == page && !asked.has("content-encoding"));
    assert_eq!(asked.field("etag"), "\"v1\"");
}

#[test]
fn gzip_is_made_where_the_wifi_wants_it() {
    let (origin, page) = (site(), page());
    let url = "http://a.school.test/lesson";
    let node = Setup::new().set("cache.wifi_gzip", "true").host("a.school.test", origin.addr).start();
    node.twice(url);
    for _ in 0..2 {
        let coded = node.fetch("GET", url, &["Accept-Encoding: gzip, deflate"]);
        assert!(coded.is_hit() && coded.complete);
        assert_eq!((coded.field("content-encoding").as_str(), coded.field("etag").as_str()), ("gzip", "W/\"v1\""));
        let mut body = Vec::new();
        flate2::read::GzDecoder::new(&coded.body[..]).read_to_end(&mut body).expect("gzip");
        assert!(body == page && coded.body.len() < page.len() / 2);
    }
    assert_eq!(node.fetch("GET", url, &[ZSTD]).field("content-encoding"), "zstd", "the better of two");
    assert_eq!(node.fetch("GET", url, &["Accept-Encoding: gzip, zstd;q=0.1"]).field("content-encoding"), "gzip", "the client's choice");
    let picture = node.twice_with("http://a.school.test/lesson.png", &["Accept-Encoding: gzip"]);
    assert!(picture.body == page && !picture.has("content-encoding"), "a picture is no text");
    assert_eq!(origin.count(), 2);
}

#[test]
fn curl_unpacks_what_it_gets() {
    let curl = program::need("curl");
    let (origin, page) = (site(), page());
    let node = Setup::new().host("a.school.test", origin.addr).start();
    node.twice("http://a.school.test/lesson");
    let mut command = std::process::Command::new(curl);
    let proxy = format!("http://{}", node.proxy);
    // Some builds lack zstd, and then ask for gzip: the page must come all the same.
    command.args(["-sS", "--compressed", "--noproxy", "", "-x", &proxy, "http://a.school.test/lesson"]);
    let out = program::run(&command, 30);
    assert!(out.status.success() && out.stdout == page, "{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn slow_readers_get_their_bytes_whatever_takes_their_place() {
    const FILM: usize = 700_000;
    const FILMS: u64 = 12;
    let origin = Origin::start(|ask| {
        let number = ask.target.trim_start_matches('/').parse().expect("a number");
        Reply::Bytes(ok(&[DAY, "Content-Type: video/mp4"], &kit::noise(number, FILM)))
    });
    // Memory for three: each further film puts another one out while that is being sent.
    let node = Setup::new().set("store.memory", "\"2 MiB\"").host("a.school.test", origin.addr).start();
    let url = |number: u64| format!("http://a.school.test/{number}");
    let mut slow = Vec::new();
    for number in 0..FILMS {
        assert!(node.twice(&url(number)).body == kit::noise(number, FILM));
        let mut reader = Connection::open(node.proxy);
        // Two at once, a part of the first among them: the second begins where the first ends.
        let asks = [request("GET", &url(number), &["Range: bytes=70001-"]), request("GET", &url(number), &[])].concat();
        reader.send(&asks).expect("sends");
        let mut first = [0; 1];
        reader.raw().get_mut().read_exact(&mut first).expect("it has begun");
        slow.push((number, first, reader));
    }
    for (number, first, reader) in &mut slow {
        let film = kit::noise(*number, FILM);
        let mut bytes = Vec::new();
        let stream = reader.raw().get_mut();
        stream.shutdown(std::net::Shutdown::Write).expect("no more to ask");
        stream.read_to_end(&mut bytes).expect("to the end");
        let text = [&first[..], &bytes].concat();
        let ends = |head: &[u8], body: &[u8]| head.starts_with(b"HTTP/1.1 20") && text.windows(body.len()).any(|seen| seen == body);
        assert!(ends(&text, &film[70_001..]) && text.ends_with(&film), "film {number}");
        stream.flush().expect("nothing is left");
    }
    assert_eq!(origin.count() as u64, FILMS);
}
