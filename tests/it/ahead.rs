//! Look-ahead: what a page needs is on its way before a browser asks for it, and nothing else is.

use crate::kit::http::{Connection, request};
use crate::kit::line::Line;
use crate::kit::node::{Node, Setup};
use crate::kit::origin::{Ask, Origin, Reply, ok};
use crate::kit::{self, program};
use crate::line::Space;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// What a browser says when somebody opens a page.
const BROWSER: &str = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
/// A page that does not go on by then never will.
const PATIENCE: Duration = Duration::from_secs(30);

fn file(kind: &str, body: &[u8]) -> Vec<u8> {
    ok(&["Cache-Control: public, max-age=3600", &format!("Content-Type: {kind}")], body)
}

/// Things by their endings.
fn thing(target: &str) -> Reply {
    let kind = match target.rsplit('.').next() {
        Some("css") => "text/css",
        Some("js") => "text/javascript",
        Some("png") => "image/png",
        _ => "text/html",
    };
    Reply::Bytes(file(kind, target.as_bytes()))
}

/// Opens a page as a browser does, with this field beside.
fn open(node: &Node, url: &str, field: &str) -> kit::http::Answer {
    let mut connection = Connection::open(node.proxy);
    connection.send(&request("GET", url, &[field])).expect("sends");
    connection.read(false)
}

/// What was asked for but pages, in order.
fn things(origin: &Origin) -> Vec<String> {
    let mut things: Vec<String> = origin.asks().into_iter().map(|ask| ask.target).filter(|target| target.contains('.')).collect();
    things.sort();
    things
}

#[test]
fn what_a_page_needs_is_asked_for_while_the_page_is_still_coming() {
    let asked = Arc::new((Mutex::new(0), Condvar::new()));
    let seen = Arc::clone(&asked);
    let (first, second) = ("<link rel=stylesheet href=/a.css><script src=/b.js></script>", "<img src=/1.png><img src=/2.png>");
    let origin = Origin::start(move |ask: &Ask| {
        if ask.target != "/" {
            *seen.0.lock().expect("no thread panics holding it") += 1;
            seen.1.notify_all();
            return thing(&ask.target);
        }
        let seen = Arc::clone(&seen);
        let whole = file("text/html", format!("{first}{second}").as_bytes());
        Reply::Act(Box::new(move |stream| {
            let (begin, rest) = whole.split_at(whole.len() - second.len());
            stream.write_all(begin).expect("the node reads");
            let count = seen.0.lock().expect("no thread panics holding it");
            let (count, _) = seen.1.wait_timeout_while(count, PATIENCE, |count| *count < 2).expect("no thread panics holding it");
            if *count >= 2 {
                stream.write_all(rest).expect("the node reads");
            }
        }))
    });
    let node = Setup::new().host("a.school.test", origin.addr).start();
    let answer = open(&node, "http://a.school.test/", BROWSER);
    assert!(
        answer.complete && answer.body.ends_with(second.as_bytes()),
        "the rest of the page waited for what it needs: {}",
        answer.text()
    );
    kit::until("all of it has come", 30, || origin.count() == 5);
    for path in ["a.css", "b.js", "1.png", "2.png"] {
        kit::until(path, 30, || node.get(&format!("http://a.school.test/{path}")).is_hit());
    }
    assert_eq!(origin.count(), 5, "once each");
    let style = origin.asks().into_iter().find(|ask| ask.target == "/a.css").expect("asked for");
    assert_eq!(style.field("accept"), Some("text/css,*/*;q=0.1"));
    assert_eq!(style.field("referer"), Some("http://a.school.test/"));
    assert_eq!(style.field("cookie"), None);
    let metrics = node.web("/metrics").text();
    assert!(metrics.lines().any(|line| line == "bulak_cache_ahead_total 4"), "{metrics}");
}

#[test]
fn sheets_and_modules_are_followed_to_what_they_cannot_do_without_so_far() {
    let origin = Origin::start(|ask: &Ask| match ask.target.as_str() {
        "/" => Reply::Bytes(file(
            "text/html",
            b"<link rel=stylesheet href=a.css><link rel=stylesheet href=long.css><script type=module src=m.js></script>",
        )),
        "/a.css" => Reply::Bytes(file("text/css", b"@import 'b.css'; p{background:url(maybe.png)}")),
        "/b.css" => Reply::Bytes(file("text/css", b"@import url(c.css);")),
        "/c.css" => Reply::Bytes(file("text/css", b"@import 'd.css';")),
        "/d.css" => Reply::Bytes(file("text/css", b"@import 'deep.css';")),
        // Too long to be read for everybody.
        "/long.css" => Reply::Bytes(file("text/css", ("@import 'unread.css';".to_owned() + &" ".repeat(300_000)).as_bytes())),
        "/m.js" => Reply::Bytes(file("text/javascript", b"import './n.js'; if (a) import('./maybe.js')")),
        other => thing(other),
    });
    let node = Setup::new().host("a.school.test", origin.addr).start();
    assert!(open(&node, "http://a.school.test/", BROWSER).complete);
    let wanted = ["d.css", "long.css", "n.js"];
    kit::until("all of it has come", 30, || wanted.iter().all(|path| node.get(&format!("http://a.school.test/{path}")).is_hit()));
    assert_eq!(things(&origin), ["/a.css", "/b.css", "/c.css", "/d.css", "/long.css", "/m.js", "/n.js"]);
}

#[test]
fn a_sheet_that_somebody_is_fetching_is_followed_all_the_same() {
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let shut = Arc::clone(&gate);
    let origin = Origin::start(move |ask: &Ask| match ask.target.as_str() {
        "/" => Reply::Bytes(file("text/html", b"<link rel=stylesheet href=a.css><img src=1.png>")),
        "/a.css" => {
            let shut = Arc::clone(&shut);
            Reply::Act(Box::new(move |stream| {
                let open = shut.0.lock().expect("no thread panics holding it");
                drop(shut.1.wait_timeout_while(open, PATIENCE, |open| !*open).expect("no thread panics holding it"));
                stream.write_all(&file("text/css", b"@import 'b.css';")).expect("the node reads");
            }))
        }
        other => thing(other),
    });
    let node = Setup::new().host("a.school.test", origin.addr).start();
    std::thread::scope(|scope| {
        let device = scope.spawn(|| node.get("http://a.school.test/a.css"));
        kit::until("the sheet is asked for", 30, || origin.count() == 1);
        assert!(open(&node, "http://a.school.test/", BROWSER).complete);
        kit::until("the page has been looked along", 30, || node.get("http://a.school.test/1.png").is_hit());
        *gate.0.lock().expect("no thread panics holding it") = true;
        gate.1.notify_all();
        assert_eq!(device.join().expect("no panic").body, b"@import 'b.css';");
    });
    kit::until("what the sheet imports", 30, || things(&origin).contains(&"/b.css".to_owned()));
    assert_eq!(things(&origin), ["/1.png", "/a.css", "/b.css"]);
}

#[test]
fn no_more_comes_along_a_page_than_its_bounds() {
    const IMAGE: usize = 300_000;
    let images = (0..60).map(|number| format!("<img src={number}.png>")).collect::<Vec<_>>().concat();
    let origin = Origin::start(move |ask: &Ask| match ask.target.as_str() {
        "/" => Reply::Bytes(file("text/html", format!("<img src=long.png>{images}").as_bytes())),
        "/long.png" => Reply::Bytes(file("image/png", &kit::noise(1, 2 << 20))),
        other => Reply::Bytes(file("image/png", &[other.as_bytes(), &kit::noise(2, IMAGE)].concat())),
    });
    let node = Setup::new().host("a.school.test", origin.addr).start();
    assert!(open(&node, "http://a.school.test/", BROWSER).complete);
    // 4 MiB, and what was under way by then. All but the long one is put away in the end.
    let least = (4 << 20) / IMAGE;
    kit::until("what was begun has come", 30, || {
        let objects = node.metric("bulak_cache_objects", "");
        origin.count() > least && objects == Some(f64::from(u32::try_from(origin.count() - 1).expect("few")))
    });
    assert!(origin.count() < 2 + least + 16, "{} things", origin.count());
    assert!(!node.get("http://a.school.test/long.png").is_hit(), "whoever wants more than a megabyte asks for it");
}

#[test]
fn a_page_from_outside_does_not_make_the_node_knock_at_the_school_s_own_servers() {
    let house = Ipv4Addr::new(10, 9, 8, 1);
    let knock = || {
        let page = |body: &'static str| Reply::Bytes(file("text/html", body.as_bytes()));
        let far = Origin::start(move |ask: &Ask| match ask.target.as_str() {
            "/" => page("<img src=http://house.school.test/printer.png><img src=own.png>"),
            other => thing(other),
        });
        let near = Origin::start(move |ask: &Ask| match ask.target.as_str() {
            "/" => page("<img src=map.png>"),
            other => thing(other),
        });
        let door = Line::slow(SocketAddr::from((house, 0)), near.addr, 0).expect("a free port");
        let setup = Setup::new().set("proxy.allow_private_targets", &format!("[\"127.0.0.0/8\", \"{house}\"]"));
        let node = setup.host("far.school.test", far.addr).host("house.school.test", door.addr).start();
        assert!(open(&node, "http://far.school.test/", BROWSER).complete);
        kit::until("its own picture", 30, || node.get("http://far.school.test/own.png").is_hit());
        assert!(open(&node, "http://house.school.test/", BROWSER).complete);
        kit::until("the house's own picture", 30, || node.get("http://house.school.test/map.png").is_hit());
        assert_eq!(things(&near), ["/map.png"]);
    };
    match Space::alone(house) {
        Ok(space) => space.enter(knock),
        Err(why) => {
            program::skipped("a_page_from_outside_does_not_make_the_node_knock_at_the_school_s_own_servers", &why.to_string());
        }
    }
}

#[test]
fn a_class_and_the_look_ahead_share_each_transfer() {
    let names: Vec<String> = (0..40).map(|number| format!("{number}.png")).collect();
    let page = names.iter().fold(String::new(), |page, name| page + "<img src=/" + name + ">");
    let origin = Origin::start(move |ask: &Ask| match ask.target.as_str() {
        "/" => Reply::Bytes(file("text/html", page.as_bytes())),
        other => Reply::Bytes(file("image/png", &[other.as_bytes(), &kit::noise(5, 20_000)].concat())),
    });
    let node = Setup::new().host("a.school.test", origin.addr).start();
    std::thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                assert!(open(&node, "http://a.school.test/", BROWSER).complete);
                for name in &names {
                    let answer = node.get(&format!("http://a.school.test/{name}"));
                    assert!(answer.complete && answer.status == 200, "{name}: {}", answer.status);
                }
            });
        }
    });
    assert_eq!(origin.count(), 41);
    // What is here is not asked for, whichever page names it.
    let before = origin.count();
    assert!(open(&node, "http://a.school.test/?again", BROWSER).complete);
    assert_eq!(origin.count(), before + 1);
}

#[test]
fn nothing_is_asked_for_that_nobody_or_somebody_alone_would_want() {
    let origin = Origin::start(|ask: &Ask| {
        let page = |fields: &[&str], body: &str| Reply::Bytes(ok(&[&["Content-Type: text/html"], fields].concat(), body.as_bytes()));
        let kept = "Cache-Control: public, max-age=3600";
        match ask.target.as_str() {
            "/private" => page(&["Cache-Control: private"], "<img src=/private.png>"),
            "/cookie" => page(&[kept, "Set-Cookie: a=1"], "<img src=/cookie.png>"),
            "/error" => Reply::Bytes(b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nCache-Control: max-age=60\r\nContent-Length: 21\r\n\r\n<img src=/error.png> ".to_vec()),
            "/script" | "/saver" => page(&[kept], &format!("<img src={}.png>", ask.target)),
            "/lazy" => page(
                &[kept],
                "<img loading=lazy src=/lazy.png><img srcset='/set.png 2x' src=/plain.png><video src=/film.png></video>\
                 <iframe src=/frame.png></iframe><a href=/link.png>l</a><link rel=prefetch as=image href=/next.png>\
                 <img src=http://kundelik.kz/account.png><img src=https://a.school.test/tunnel.png><img src='/secret.png?token=0123456789abcdef0123456789abcdef'>",
            ),
            "/last" => page(&[kept], "<img src=/last.png>"),
            other => thing(other),
        }
    });
    let node = Setup::new().host("a.school.test", origin.addr).host("kundelik.kz", origin.addr).start();
    let url = |path: &str| format!("http://a.school.test/{path}");
    for path in ["private", "cookie", "error", "lazy"] {
        assert!(open(&node, &url(path), BROWSER).complete, "{path}");
    }
    assert!(open(&node, &url("script"), "Accept: */*").complete);
    let mut connection = Connection::open(node.proxy);
    connection.send(&request("GET", &url("saver"), &[BROWSER, "Save-Data: on"])).expect("sends");
    assert!(connection.read(false).complete);
    // What would have been asked for was asked for before this.
    assert!(open(&node, &url("last"), BROWSER).complete);
    kit::until("the last one's picture", 30, || node.get(&url("last.png")).is_hit());
    assert_eq!(things(&origin), ["/last.png"]);
}

#[test]
fn it_can_be_left_off_and_is_where_bytes_cost_money() {
    for (key, value) in [("cache.look_ahead", "false"), ("night.metered", "true")] {
        let origin = Origin::start(|ask: &Ask| match ask.target.as_str() {
            "/" => Reply::Bytes(file("text/html", b"<img src=/1.png>")),
            other => thing(other),
        });
        let node = Setup::new().host("a.school.test", origin.addr).set(key, value).start();
        assert!(open(&node, "http://a.school.test/", BROWSER).complete);
        assert!(!node.get("http://a.school.test/1.png").is_hit(), "{key}");
        let metrics = node.web("/metrics").text();
        assert!(metrics.lines().any(|line| line == "bulak_cache_ahead_total 0"), "{key}");
    }
}

#[test]
fn it_ends_when_bytes_begin_to_cost_money() {
    let origin = Origin::start(|ask: &Ask| match ask.target.as_str() {
        "/1" | "/2" => Reply::Bytes(file("text/html", format!("<img src={}.png>", ask.target).as_bytes())),
        other => thing(other),
    });
    let node = Setup::new().host("a.school.test", origin.addr).start();
    assert!(open(&node, "http://a.school.test/1", BROWSER).complete);
    kit::until("the picture", 30, || node.get("http://a.school.test/1.png").is_hit());
    let path = node.folder.path().join("school.toml");
    let text = std::fs::read_to_string(&path).expect("the file");
    std::fs::write(&path, format!("{text}\n[night]\nmetered = true\n")).expect("writes");
    node.hangup();
    kit::until("it is taken over", 20, || node.local("GET", "/api/v1/config")["night.metered"]["value"] == true);
    let before = node.metric("bulak_cache_ahead_total", "");
    assert!(open(&node, "http://a.school.test/2", BROWSER).complete);
    assert!(!node.get("http://a.school.test/2.png").is_hit());
    assert_eq!(node.metric("bulak_cache_ahead_total", ""), before);
}

#[test]
fn what_came_in_vain_is_not_asked_for_along_the_next_page() {
    let origin = Origin::start(move |ask: &Ask| match ask.target.as_str() {
        "/advert.js" => Reply::Bytes(ok(&["Cache-Control: no-store", "Content-Type: text/javascript"], b"1")),
        "/long.png" => Reply::Bytes(file("image/png", &kit::noise(1, 2 << 20))),
        page if !page.contains('.') => {
            let page = format!("<script src=/advert.js></script><img src=/long.png><img src={page}.png>");
            Reply::Bytes(file("text/html", page.as_bytes()))
        }
        other => thing(other),
    });
    let node = Setup::new().host("a.school.test", origin.addr).start();
    let in_vain = || things(&origin).iter().filter(|target| ["/advert.js", "/long.png"].contains(&target.as_str())).count();
    let mut page = 0;
    kit::until("a page along which neither is asked for", 30, || {
        page += 1;
        let before = in_vain();
        let url = format!("http://a.school.test/{page}");
        assert!(open(&node, &url, BROWSER).complete);
        kit::until("its own picture", 30, || node.get(&format!("{url}.png")).is_hit());
        before >= 2 && in_vain() == before
    });
    // Whoever wants them has them.
    assert_eq!(node.get("http://a.school.test/long.png").body.len(), 2 << 20);
    assert_eq!(node.get("http://a.school.test/advert.js").body, b"1");
}

#[test]
fn images_that_vary_come_once_to_a_browser_that_has_been_seen() {
    let released = Arc::new((Mutex::new(false), Condvar::new()));
    let waits = Arc::clone(&released);
    let origin = Origin::start(move |ask: &Ask| {
        let Some(page) = ask.target.strip_suffix(".png") else {
            let images = format!("<img src={0}.png><img src={0}-late.png>", ask.target);
            return Reply::Bytes(file("text/html", images.as_bytes()));
        };
        if page.ends_with("-late") {
            let free = waits.0.lock().expect("no thread panics holding it");
            drop(waits.1.wait_timeout_while(free, PATIENCE, |free| !*free));
        }
        Reply::Bytes(ok(&["Cache-Control: public, max-age=3600", "Content-Type: image/png", "Vary: Accept"], b"1"))
    });
    let node = Setup::new().host("a.school.test", origin.addr).start();
    let count = |target: &str| origin.asks().iter().filter(|ask| ask.target == target).count();
    // The page, and then its first image as this browser asks for it.
    let see = |page: &str, browser: &str, images: &str| {
        let mut connection = Connection::open(node.proxy);
        let agent = format!("User-Agent: {browser}");
        let url = format!("http://a.school.test/{page}");
        connection.send(&request("GET", &url, &[&agent, BROWSER])).expect("sends");
        assert!(connection.read(false).complete);
        let (image, late) = (format!("/{page}.png"), format!("/{page}-late.png"));
        kit::until("it has been looked ahead", 30, || count(&image) == 1 && count(&late) == 1);
        connection.send(&request("GET", &format!("{url}.png"), &[&agent, &format!("Accept: {images}")])).expect("sends");
        assert!(connection.read(false).complete);
        count(&image)
    };
    let (fox, chrome) = ("image/webp,*/*", "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8");
    assert_eq!(see("1", "Fox", fox), 2, "nothing is known of it yet");
    // What was asked for in the old way arrives, and nothing is learned from that.
    *released.0.lock().expect("no thread panics holding it") = true;
    released.1.notify_all();
    kit::until("it has come", 30, || {
        let mut connection = Connection::open(node.proxy);
        let fields = [&format!("Accept: {chrome}"), "Cache-Control: only-if-cached"];
        connection.send(&request("GET", "http://a.school.test/1-late.png", &fields)).expect("sends");
        connection.read(false).is_hit()
    });
    assert_eq!(see("2", "Fox", fox), 1);
    assert_eq!(see("3", "Chrome", chrome), 1, "others ask as before");
    assert_eq!(see("4", "Fox", fox), 1);
}
