//! The line is cut: what is stored opens, however strict its origin was; what is not says so; and the line comes back.

use crate::kit::http;
use crate::kit::line::Line;
use crate::kit::node::{Node, Setup};
use crate::kit::origin::{Ask, Origin, Reply, answer, ok};
use crate::kit::{self, program};
use crate::line::Space;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const PAGE: &str = "<!DOCTYPE html><html><head><title>Lesson</title></head><body><p>Seven times eight</p></body></html>";

/// A site as most are: pages `no-cache`, private things `no-store`, styles for an hour. `version` counts up on command.
fn site(version: &Arc<AtomicUsize>) -> Origin {
    let version = Arc::clone(version);
    Origin::start(move |ask: &Ask| {
        let tag = format!("\"v{}\"", version.load(Ordering::SeqCst));
        let etag = format!("ETag: {tag}");
        if ask.field("if-none-match") == Some(tag.as_str()) {
            return Reply::Bytes(answer("304 Not Modified", &[&etag], b""));
        }
        let page = PAGE.replace("Seven", &format!("{} Seven", tag.trim_matches('"')));
        Reply::Bytes(match ask.target.as_str() {
            "/private" => ok(&["Cache-Control: no-store", "Content-Type: text/html"], page.as_bytes()),
            "/style.css" => ok(&["Cache-Control: public, max-age=3600", "Content-Type: text/css"], b"p{color:green}"),
            "/fixed" => ok(&["Cache-Control: no-cache, no-transform", "Content-Type: text/html", &etag], page.as_bytes()),
            _ => {
                let dated = "Last-Modified: Tue, 24 Nov 2026 12:00:00 GMT";
                ok(&["Cache-Control: no-cache", "Content-Type: text/html; charset=utf-8", &etag, dated], page.as_bytes())
            }
        })
    })
}

pub(crate) fn quick(setup: Setup) -> Setup {
    setup.set("upstream.connect_timeout", "\"1 s\"").set("upstream.first_byte_timeout", "\"2 s\"")
}

/// Cuts the line and asks until the node has understood: own fetches are how it learns.
pub(crate) fn cut(node: &Node, line: &Line) {
    line.cut();
    kit::until("the node says that the line is down", 60, || {
        node.get("http://s.school.test/unknown");
        node.metric("bulak_link_up", "") == Some(0.0)
    });
}

#[test]
fn a_no_cache_page_opens_with_the_line_cut_and_is_fresh_again_when_it_is_back() {
    let version = Arc::new(AtomicUsize::new(1));
    let origin = site(&version);
    let line = Line::to(origin.addr);
    let node = quick(Setup::new()).host("s.school.test", line.addr).start();
    let online = node.get("http://s.school.test/page");
    node.get("http://s.school.test/style.css");
    node.get("http://s.school.test/private");
    cut(&node, &line);
    let asked = origin.count();
    for _ in 0..20 {
        let offline = node.get("http://s.school.test/page");
        assert_eq!((offline.status, &offline.body), (200, &online.body), "byte for byte without a banner");
        assert!(offline.cache_status().contains("detail=offline"), "{}", offline.cache_status());
        assert!(node.get("http://s.school.test/style.css").is_hit());
    }
    let private = node.get("http://s.school.test/private");
    assert_eq!(private.status, 504, "no-store is never kept");
    let missing = node.get("http://s.school.test/never-seen");
    assert_eq!(missing.status, 504);
    assert!(missing.field("content-type").starts_with("text/html") && missing.has("proxy-status"), "a page in plain words");
    assert_eq!(origin.count(), asked, "nothing left the box");

    version.store(2, Ordering::SeqCst);
    line.mend();
    kit::until("the new version arrives", 60, || node.get("http://s.school.test/page").text().contains("v2"));
    assert_eq!(node.get("http://s.school.test/private").status, 200);
}

#[test]
fn the_banner_is_on_pages_alone_and_tells_the_age() {
    let origin = site(&Arc::new(AtomicUsize::new(1)));
    let line = Line::to(origin.addr);
    let node = quick(Setup::new()).set("cache.offline_banner", "true").host("s.school.test", line.addr).start();
    let paths = ["/page", "/style.css", "/fixed"].map(|path| format!("http://s.school.test{path}"));
    let online = paths.each_ref().map(|url| node.get(url));
    assert_eq!(online[0].text(), PAGE.replace("Seven", "v1 Seven"), "no banner while the line is up");
    cut(&node, &line);
    let offline = paths.each_ref().map(|url| node.get(url));
    let page = offline[0].text();
    assert!(page.len() > online[0].body.len() && page.contains("Seven times eight"), "{page}");
    assert!(offline[0].complete, "the length is that of the page with its banner");
    let kept = ["etag", "last-modified", "expires", "accept-ranges"].map(|name| offline[0].has(name));
    assert_eq!((kept, offline[0].field("cache-control").as_str()), ([false; 4], "no-store"), "no browser shows it when the line is back");
    assert_eq!(offline[1].body, online[1].body, "a style sheet stays as it is");
    assert_eq!(offline[2].body, online[2].body, "no-transform stays as it is");
}

#[test]
fn policy_rfc9111_does_not_go_beyond_the_rfc() {
    let origin = site(&Arc::new(AtomicUsize::new(1)));
    let line = Line::to(origin.addr);
    let node = quick(Setup::plain()).host("s.school.test", line.addr).start();
    node.get("http://s.school.test/page");
    cut(&node, &line);
    let status = node.get("http://s.school.test/page").status;
    assert_eq!(status, 504, "RFC 9111 section 4.2.4");
}

#[test]
fn the_override_can_be_switched_off() {
    let origin = site(&Arc::new(AtomicUsize::new(1)));
    let line = Line::to(origin.addr);
    let node = quick(Setup::new()).set("cache.offline_override", "\"off\"").host("s.school.test", line.addr).start();
    node.get("http://s.school.test/page");
    cut(&node, &line);
    let status = node.get("http://s.school.test/page").status;
    assert_eq!(status, 504);
}

#[test]
fn one_dead_host_is_not_a_dead_line() {
    let version = Arc::new(AtomicUsize::new(1));
    let (dead, alive) = (site(&version), site(&version));
    let line = Line::to(dead.addr);
    let node = quick(Setup::new()).host("dead.school.test", line.addr).host("alive.school.test", alive.addr).start();
    node.get("http://dead.school.test/page");
    line.cut();
    for _ in 0..3 {
        assert_eq!(node.get("http://alive.school.test/page").status, 200);
        let answer = node.get("http://dead.school.test/page");
        assert!(!answer.cache_status().contains("detail=offline"), "{}", answer.cache_status());
    }
    assert_ne!(node.metric("bulak_link_up", ""), Some(0.0));
}

#[test]
fn a_server_of_the_school_s_own_is_asked_with_the_line_cut() {
    let house = Ipv4Addr::new(10, 9, 7, 1);
    match Space::alone(house) {
        Ok(space) => space.enter(|| ask_next_door(house)),
        Err(why) => program::skipped("a_server_of_the_school_s_own_is_asked_with_the_line_cut", &why.to_string()),
    }
}

fn ask_next_door(house: Ipv4Addr) {
    for setup in [Setup::new(), Setup::plain(), Setup::new().set("cache.offline_override", "\"off\"")] {
        let version = Arc::new(AtomicUsize::new(1));
        let (far, near) = (site(&version), site(&version));
        let line = Line::to(far.addr);
        let next_door = Line::slow(SocketAddr::from((house, 0)), near.addr, 0).expect("a free port");
        let setup = setup.set("proxy.allow_private_targets", &format!("[\"127.0.0.0/8\", \"{house}\"]"));
        let node = quick(setup).host("s.school.test", line.addr).host("h.school.test", next_door.addr).start();
        let url = "http://h.school.test/page";
        assert!(node.get(url).text().contains("v1"));
        cut(&node, &line);
        version.store(2, Ordering::SeqCst);
        for fields in [&[][..], &["Cookie: a=b"]] {
            let answer = node.fetch("GET", url, fields);
            assert!(answer.text().contains("v2"), "{}: {}", answer.status, answer.text());
            assert!(!answer.cache_status().contains("detail=offline"), "{}", answer.cache_status());
        }
    }
}

#[test]
fn only_if_cached_never_leaves() {
    let origin = site(&Arc::new(AtomicUsize::new(1)));
    let node = Setup::new().host("s.school.test", origin.addr).start();
    let answer = node.fetch("GET", "http://s.school.test/page", &["Cache-Control: only-if-cached"]);
    assert_eq!((answer.status, origin.count()), (504, 0));
}

#[test]
fn a_silent_resolver_is_asked_once_and_remembered() {
    let dns = kit::dns::Dns::start(std::net::Ipv4Addr::LOCALHOST);
    let origin = site(&Arc::new(AtomicUsize::new(1)));
    let node = Setup::new().set("upstream.resolver", &format!("[\"{}\"]", dns.addr)).set("upstream.resolve_timeout", "\"1 s\"").start();
    let url = format!("http://s.school.test:{}/page", origin.addr.port());
    assert_eq!(node.get(&url).status, 200);
    assert!(dns.queries() > 0, "the node asks the resolver it was given");
    let stranger = node.get("http://stranger.example/");
    assert_eq!(stranger.status, 502, "a name that does not exist is not a dead line");
    let tunnel = http::exchange(node.proxy, b"CONNECT stranger.example:443 HTTP/1.1\r\nHost: stranger.example:443\r\n\r\n");
    for (way, answer) in [("a page", &stranger), ("a tunnel", &tunnel)] {
        assert!(answer.status == 502 && answer.text().contains("origin.no_such_name"), "{way}: {}", answer.text());
    }
    dns.cut();
    let unknown = |name: &str| node.get(&format!("http://{name}.school.test:{}/", origin.addr.port())).status;
    assert_eq!(unknown("x"), 504);
    let asked = dns.queries();
    for _ in 0..20 {
        assert_eq!(unknown("x"), 504);
    }
    assert!(dns.queries() <= asked + 10, "{} questions for a name that just failed", dns.queries() - asked);
}

#[test]
fn a_node_that_starts_with_the_line_cut_serves_the_first_page_that_is_asked_for() {
    let dns = kit::dns::Dns::start(std::net::Ipv4Addr::LOCALHOST);
    let origin = site(&Arc::new(AtomicUsize::new(1)));
    let line = Line::to(origin.addr);
    for with_names in [true, false] {
        let (setup, site) = if with_names {
            let setup = quick(Setup::new()).set("upstream.resolver", &format!("[\"{}\"]", dns.addr));
            (setup, format!("http://s.school.test:{}", line.addr.port()))
        } else {
            (quick(Setup::new()).host("s.school.test", line.addr), "http://s.school.test".to_owned())
        };
        let mut node = setup.set("upstream.resolve_timeout", "\"1 s\"").start();
        let online = node.get(&format!("{site}/page")).body;
        line.cut();
        dns.cut();
        node.terminate();
        node.restart();
        let asked = origin.count();
        for number in 0..20 {
            let offline = node.get(&format!("{site}/page"));
            assert_eq!((offline.status, &offline.body), (200, &online), "answer {number}, names by DNS: {with_names}");
            assert!(offline.cache_status().contains("detail=offline"), "{number}: {}", offline.cache_status());
            assert_eq!(node.metric("bulak_link_up", ""), Some(0.0), "the verdict flaps");
        }
        assert_eq!(origin.count(), asked);
        // Nobody asks for anything that is missing: the node itself finds that the line is back.
        line.mend();
        dns.mend();
        kit::until("the line is up again", 60, || node.metric("bulak_link_up", "") == Some(1.0));
        assert_eq!(node.get(&format!("{site}/never-seen")).status, 200);
    }
}
