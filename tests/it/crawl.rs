//! A night among bad hosts: robots.txt without end, servers that fail, refuse or send readers in circles, calendars, pages of gigabytes,
//! style sheets that import themselves. Each is bounded and told in plain words, and the rest of the night goes on.

use crate::kit;
use crate::kit::line::Line;
use crate::kit::node::{Node, Setup};
use crate::kit::origin::{Ask, Origin, Reply, answer, ok, promise};
use crate::offline::quick;
use serde_json::Value;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const HTML: &str = "Content-Type: text/html";

/// A pack of the node's own: these hosts, these seeds.
fn write_pack(folder: &Path, id: &str, depth: u8, seeds: &[&str], hosts: &[&str], prefixes: &[&str]) {
    let quoted = |all: &[&str]| all.iter().map(|one| format!("\"{one}\"")).collect::<Vec<_>>().join(", ");
    let seeds = seeds.iter().map(|seed| format!("[[seed]]\nurl = \"{seed}\"\n")).collect::<Vec<_>>().concat();
    let text = format!(
        "id = \"{id}\"\nversion = \"1\"\nlicence = \"CC0-1.0\"\nrefresh = \"7 days\"\n[title]\nen = \"Trial\"\n{seeds}\
         [scope]\nhosts = [{}]\nprefixes = [{}]\ndepth = {depth}\nmax_bytes = \"1 GiB\"\n",
        quoted(hosts),
        quoted(prefixes)
    );
    let packs = folder.join("state/packs.d");
    std::fs::create_dir_all(&packs).expect("a folder");
    std::fs::write(packs.join(format!("{id}.toml")), text).expect("a file");
}

fn at_any_hour() -> Setup {
    Setup::new().set("night.windows", "[\"mon-sun 00:00-24:00\"]")
}

fn asked(origin: &Origin, path: &str) -> usize {
    origin.asks().iter().filter(|ask| ask.target == path).count()
}

fn begins(origin: &Origin, with: &str) -> usize {
    origin.asks().iter().filter(|ask| ask.target.starts_with(with)).count()
}

/// What the node tells of a pack, once its run has ended or waits.
fn rested(node: &Node, id: &str) -> Value {
    let mut told = Value::Null;
    kit::until("the pack's crawl has ended", 180, || {
        told = node.local("GET", &format!("/api/v1/packs/{id}"));
        told["progress"]["state"] == "done" || !told["progress"]["reason"].is_null()
    });
    told
}

/// Whether some address that contains `place` is told with `why`.
fn tells(told: &Value, place: &str, why: &str) -> bool {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    told["trouble"].as_array().is_some_and(|all| all.iter().any(|one| text(&one["url"]).contains(place) && text(&one["why"]).contains(why)))
}

/// No robots.txt, then what the test says.
fn site(pages: impl Fn(&Ask) -> Reply + Send + Sync + 'static) -> Origin {
    Origin::start(move |ask| match ask.target.as_str() {
        "/robots.txt" => Reply::Bytes(answer("404 Not Found", &[], b"")),
        _ => pages(ask),
    })
}

/// Pages that are just pages.
fn good() -> Origin {
    site(|ask| Reply::Bytes(ok(&[HTML, "Cache-Control: max-age=86400"], format!("<p>{}</p>", ask.target).as_bytes())))
}

fn moved(to: &str) -> Reply {
    Reply::Bytes(answer("302 Found", &[&format!("Location: {to}")], b""))
}

#[test]
fn robots_files_of_ten_megabytes_and_robots_that_fail() {
    let long = Origin::start(|ask| match ask.target.as_str() {
        "/robots.txt" => Reply::Act(Box::new(|stream| {
            let rules = b"User-agent: *\nDisallow: /private/\n# ";
            let _sent = stream.write_all(&promise(&["Content-Type: text/plain"], 10 << 20)); // the reader may hang up when it has enough
            let _sent = stream.write_all(rules);
            for _ in 0..160 {
                if stream.write_all(&"x".repeat(64 << 10).into_bytes()).is_err() {
                    return;
                }
            }
        })),
        _ => Reply::Bytes(ok(&[HTML], b"<a href='/private/b'>b</a>")),
    });
    let failing = Origin::start(|ask| match ask.target.as_str() {
        "/robots.txt" => Reply::Bytes(answer("500 Internal Server Error", &[], b"")),
        _ => Reply::Bytes(ok(&[HTML], b"no")),
    });
    let circle = Origin::start(|ask| match ask.target.as_str() {
        "/robots.txt" => moved("/robots2.txt"),
        "/robots2.txt" => moved("/robots.txt"),
        _ => Reply::Bytes(ok(&[HTML], b"yes")),
    });
    let fine = good();
    let folder = tempfile::tempdir().expect("a folder");
    let seeds = ["http://failing.school.test/", "http://long.school.test/a", "http://circle.school.test/", "http://fine.school.test/"];
    let hosts = ["failing.school.test", "long.school.test", "circle.school.test", "fine.school.test"];
    write_pack(folder.path(), "robots", 1, &seeds, &hosts, &[]);
    let setup = at_any_hour().host(hosts[0], failing.addr).host(hosts[1], long.addr).host(hosts[2], circle.addr).host(hosts[3], fine.addr);
    let node = setup.start_in(folder);
    let told = rested(&node, "robots");
    assert_eq!((asked(&long, "/a"), asked(&long, "/private/b")), (1, 0), "its first rules count");
    assert!(tells(&told, "/private/b", "robots.txt forbids it"), "{told}");
    assert_eq!(asked(&failing, "/"), 0, "a server that fails forbids");
    assert_eq!((asked(&circle, "/"), asked(&fine, "/")), (1, 1));
    assert!(circle.count() <= 8, "a circle is walked a few times");
    assert_eq!(told["progress"]["state"], "paused", "{told}");
}

#[test]
fn a_host_that_refuses_for_an_hour_stops_nobody_and_is_left_alone_also_after_a_restart() {
    let busy = site(|_| Reply::Bytes(answer("429 Too Many Requests", &["Retry-After: 3600"], b"")));
    let dated = site(|_| {
        let later = bulak::base::clock::Clock::system().now().plus(std::time::Duration::from_hours(1)).to_http();
        Reply::Bytes(answer("503 Service Unavailable", &[&format!("Retry-After: {later}")], b""))
    });
    let fine = good();
    let folder = tempfile::tempdir().expect("a folder");
    let mut seeds: Vec<String> = (0..40).map(|page| format!("http://busy.school.test/{page}")).collect();
    seeds.extend((0..40).map(|page| format!("http://dated.school.test/{page}")));
    seeds.extend((0..40).map(|page| format!("http://fine.school.test/{page}")));
    let seeds: Vec<&str> = seeds.iter().map(String::as_str).collect();
    let hosts = ["busy.school.test", "dated.school.test", "fine.school.test"];
    write_pack(folder.path(), "busy", 0, &seeds, &hosts, &[]);
    let mut node = at_any_hour().host(hosts[0], busy.addr).host(hosts[1], dated.addr).host(hosts[2], fine.addr).start_in(folder);
    let told = rested(&node, "busy");
    assert_eq!((0..40).filter(|page| asked(&fine, &format!("/{page}")) == 1).count(), 40);
    // Two connections a host: the second may have been under way when the first came back.
    for origin in [&busy, &dated] {
        assert!((1..=2).contains(&(origin.count() - asked(origin, "/robots.txt"))), "{} requests", origin.count());
    }
    assert!(
        told["progress"]["reason"].as_str().is_some_and(|why| why.starts_with("no host can be asked before ") && !why.contains('Z')),
        "{told}"
    );
    assert!(tells(&told, "http://busy.school.test", "too busy") && tells(&told, "http://dated.school.test", "too busy"), "{told}");
    assert_eq!((told["progress"]["done"].as_u64(), told["progress"]["total"].as_u64()), (Some(40), Some(120)));
    let before = (busy.count(), dated.count(), fine.count());
    node.kill();
    node.restart();
    node.local("POST", "/api/v1/packs/busy/fetch");
    rested(&node, "busy");
    assert_eq!((busy.count(), dated.count(), fine.count()), before, "pauses and robots.txt are kept");
}

#[test]
fn circles_calendars_and_pages_without_end_are_bounded_and_told() {
    let site = site(|ask| {
        let target = ask.target.as_str();
        let number = |prefix: &str| target.strip_prefix(prefix).and_then(|rest| rest.parse::<u64>().ok());
        if let Some(step) = number("/far/") {
            return moved(&format!("/far/{}", step + 1));
        }
        if let Some(step) = number("/again.css?") {
            let text = format!("@import url('/again.css?{}'); @import url('/itself.css');", step + 1);
            return Reply::Bytes(ok(&["Content-Type: text/css"], text.as_bytes()));
        }
        if target.starts_with("/cal/") {
            // Every day names thirty others that nobody has named before.
            let links = (0..30).map(|day| {
                format!("<a href='/cal/{}-{:02}-{:02}'>d</a>", 1900 + ask.number % 200, day % 12 + 1, (ask.number + day) % 28 + 1)
            });
            return Reply::Bytes(ok(&[HTML], links.collect::<Vec<_>>().concat().as_bytes()));
        }
        match target {
            "/circle" => moved("/circle2"),
            "/circle2" => moved("/circle"),
            "/self" => moved("/self"),
            "/style" => Reply::Bytes(ok(&[HTML], b"<link rel=stylesheet href='/again.css?0'>")),
            "/itself.css" => Reply::Bytes(ok(&["Content-Type: text/css"], b"@import '/itself.css'; @import 'itself.css#x';")),
            "/huge" => Reply::Close(promise(&[HTML], 2 << 30)),
            "/endless" => Reply::Act(Box::new(|stream| {
                let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n";
                let mut piece = b"10000\r\n".to_vec();
                piece.resize(piece.len() + (64 << 10), b' ');
                piece.extend_from_slice(b"\r\n");
                if stream.write_all(head).is_err() {
                    return;
                }
                // Two gigabytes, or until the reader has had enough.
                for _ in 0..32_768 {
                    if stream.write_all(&piece).is_err() {
                        return;
                    }
                }
            })),
            "/links" => {
                let links = (0..100_000).map(|link| format!("<a href=/p/{link}>")).collect::<Vec<_>>().concat();
                Reply::Bytes(ok(&[HTML], links.as_bytes()))
            }
            page => Reply::Bytes(ok(&[HTML], page.as_bytes())),
        }
    });
    let folder = tempfile::tempdir().expect("a folder");
    let host = "odd.school.test";
    let seeds = ["circle", "self", "far/0", "style", "huge", "endless", "links", "cal/2026-11-25", "good"]
        .map(|path| format!("http://{host}/{path}"));
    let seeds: Vec<&str> = seeds.iter().map(String::as_str).collect();
    // Of the links only a few lie within the pack.
    let prefixes = ["/circle", "/self", "/far", "/style", "/huge", "/endless", "/links", "/cal", "/good", "/p/77"];
    write_pack(folder.path(), "odd", 3, &seeds, &[host], &prefixes);
    let mut node = at_any_hour().host(host, site.addr).start_in(folder);
    let told = rested(&node, "odd");
    assert_eq!(asked(&site, "/good"), 1, "{told}");
    for (place, why) in [
        ("/circle2", "in a circle"),
        ("/self", "to itself"),
        ("/far/10", "too many times"),
        ("/huge", "longer than a page may be"),
        ("/endless", "longer than a page may be"),
        ("/links", "names more than 5000 addresses"),
        ("/cal/@", "looks endless: 400"),
    ] {
        assert!(tells(&told, place, why), "{place} {why}: {told}");
    }
    assert!(begins(&site, "/circle") <= 2 && asked(&site, "/self") <= 1 && begins(&site, "/far") <= 11);
    assert!(begins(&site, "/again.css") <= 10 && asked(&site, "/itself.css") == 1);
    assert!((390..=401).contains(&begins(&site, "/cal/")), "{}", begins(&site, "/cal/"));
    // Of the first five thousand links: 77 and 770 to 779.
    assert_eq!(begins(&site, "/p/"), 11);
    assert!(node.is_running());
    let stored = node.metric("bulak_prefetch_bytes_total", "").expect("a metric");
    assert!(stored < 100e6, "{stored} bytes for pages of gigabytes");
}

#[test]
fn the_class_finds_a_page_under_a_link_with_marks() {
    let fine = good();
    let folder = tempfile::tempdir().expect("a folder");
    write_pack(folder.path(), "marks", 0, &["http://fine.school.test/lesson"], &["fine.school.test"], &[]);
    let node = at_any_hour().host("fine.school.test", fine.addr).start_in(folder);
    rested(&node, "marks");
    let before = fine.count();
    for link in ["/lesson?utm_source=diary&utm_medium=web", "/lesson;jsessionid=0A1B", "/lesson?fbclid=x"] {
        let answer = node.get(&format!("http://fine.school.test{link}"));
        assert_eq!((answer.status, answer.text()), (200, String::from("<p>/lesson</p>")), "{link}");
    }
    assert_eq!(fine.count(), before, "all out of the store");
    let packs = node.local("GET", "/api/v1/packs");
    assert!(packs["packs"][0]["worth"]["used_bytes"].as_u64() > Some(0), "a page that is found so counts as used: {packs}");
    // Anything else is another address, asked as it is written.
    node.get("http://fine.school.test/lesson?id=1&utm_source=x");
    assert_eq!(asked(&fine, "/lesson?id=1&utm_source=x"), 1);
}

#[test]
fn a_site_that_says_404_to_everything_for_a_night_leaves_the_shelf_as_it_was() {
    let broken = Arc::new(AtomicBool::new(false));
    let is_broken = Arc::clone(&broken);
    let origin = site(move |ask| match ask.target.as_str() {
        "/" => Reply::Bytes(ok(&[HTML, "Cache-Control: max-age=1"], b"<a href=/lesson>l</a>")),
        _ if is_broken.load(Ordering::Relaxed) => Reply::Bytes(answer("404 Not Found", &[HTML, "Cache-Control: max-age=86400"], b"gone")),
        _ => Reply::Bytes(ok(&[HTML, "Cache-Control: max-age=1", "Vary: Accept-Language"], b"lesson")),
    });
    let (folder, host) = (tempfile::tempdir().expect("a folder"), "fine.school.test");
    write_pack(folder.path(), "fine", 1, &["http://fine.school.test/"], &[host], &[]);
    let line = Line::to(origin.addr);
    let node = quick(at_any_hour()).host(host, line.addr).start_in(folder);
    rested(&node, "fine");
    assert_eq!(node.get("http://fine.school.test/lesson").text(), "lesson");
    broken.store(true, Ordering::Relaxed);
    let before = asked(&origin, "/lesson");
    node.local("POST", "/api/v1/packs/fine/fetch");
    kit::until("the page was asked for and is gone", 60, || {
        let told = node.local("GET", "/api/v1/packs/fine");
        asked(&origin, "/lesson") > before && told["progress"]["state"] == "done"
    });
    assert_eq!(node.get("http://fine.school.test/lesson").status, 404, "as long as there is a line, its word counts");
    // Nor does what somebody is told who asks for another variant, of which nothing is kept.
    assert_eq!(node.fetch("GET", "http://fine.school.test/lesson", &["Accept-Language: ru"]).status, 404);
    line.cut();
    kit::until("the node says that the line is down", 60, || {
        node.get("http://fine.school.test/unknown");
        node.metric("bulak_link_up", "") == Some(0.0)
    });
    let answer = node.get("http://fine.school.test/lesson");
    assert_eq!((answer.status, answer.text()), (200, String::from("lesson")));
}
