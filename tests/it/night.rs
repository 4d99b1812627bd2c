//! Packs and reports: what is signed is fetched in its window and kept new; what is not is refused; reports wait for their hub.

use crate::kit;
use crate::kit::node::{Hub, Setup};
use crate::kit::origin::{Ask, Origin, Reply, answer, ok};

/// What real bundles need.
mod bundles;

/// Real content over a bad line, night after night.
mod content;

/// What is told in the morning.
mod morning;

/// Large bodies in pieces.
mod pieces;

/// Plans against nights.
mod plan;

/// A site of ten pages with a list of them and a style sheet that only its pages name.
fn site() -> Origin {
    Origin::start(|ask: &Ask| {
        let etag = "ETag: \"p1\"";
        if ask.field("if-none-match") == Some("\"p1\"") {
            return Reply::Bytes(answer("304 Not Modified", &[etag], b""));
        }
        Reply::Bytes(match ask.target.as_str() {
            "/robots.txt" => answer("404 Not Found", &[], b""),
            "/list.txt" => {
                let list = (1..=10).map(|page| format!("http://p.school.test/{page}.html\n")).collect::<Vec<_>>().concat();
                ok(&["Content-Type: text/plain", etag], list.as_bytes())
            }
            "/style.css" => ok(&["Content-Type: text/css", "Cache-Control: no-cache", etag], b"@import \"more.css\";"),
            "/more.css" => ok(&["Content-Type: text/css", "Cache-Control: no-cache", etag], b"p{}"),
            page => {
                let text = format!("<html><head><link rel=\"stylesheet\" href=\"/style.css\"></head><body>{page}</body></html>");
                ok(&["Content-Type: text/html", "Cache-Control: no-cache", etag], text.as_bytes())
            }
        })
    })
}

fn at_any_hour(origin: &Origin) -> Setup {
    Setup::new().host("p.school.test", origin.addr).set("night.windows", "[\"mon-sun 00:00-24:00\"]")
}

fn pack() -> String {
    kit::pack::text("pages", "http://p.school.test/list.txt", &["p.school.test"])
}

fn asked(origin: &Origin, path: &str) -> usize {
    origin.asks().iter().filter(|ask| ask.target == path).count()
}

fn pages_are_there(origin: &Origin) -> bool {
    (1..=10).all(|page| asked(origin, &format!("/{page}.html")) > 0) && asked(origin, "/more.css") > 0
}

#[test]
fn a_signed_pack_is_fetched_with_what_its_pages_need() {
    let origin = site();
    let folder = tempfile::tempdir().expect("a folder");
    let setup = kit::pack::publish(at_any_hour(&origin), folder.path(), "pages", &pack());
    let node = setup.start_in(folder);
    kit::until("pages and their requisites were fetched", 60, || pages_are_there(&origin));
    for path in ["/robots.txt", "/list.txt"] {
        assert!(asked(&origin, path) >= 1, "{path} was not read");
    }
    for ask in origin.asks() {
        assert_eq!((ask.field("cookie"), ask.field("authorization")), (None, None));
    }
    // A page that a pupil opens now costs a condition, not a transfer.
    let before = origin.count();
    let page = node.get("http://p.school.test/3.html");
    assert!(page.text().contains("/3.html"));
    assert!(origin.asks()[before..].iter().all(|ask| ask.field("if-none-match").is_some()));
}

#[test]
fn outside_its_window_nothing_is_fetched() {
    let origin = site();
    let folder = tempfile::tempdir().expect("a folder");
    // A window of a minute, twelve hours away from now in the zone UTC.
    let hour = (bulak::base::clock::Clock::system().now().secs() / 3600 + 12) % 24;
    let setup =
        at_any_hour(&origin).set("night.windows", &format!("[\"mon-sun {hour:02}:58-{hour:02}:59\"]")).set("night.timezone", "\"UTC\"");
    let node = kit::pack::publish(setup, folder.path(), "pages", &pack()).start_in(folder);
    let listed = node.command(&["pack", "list", "--json"]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains("pages"), "{}", String::from_utf8_lossy(&listed.stdout));
    assert_eq!(origin.count(), 0);
}

#[test]
fn a_pack_with_a_bad_signature_is_refused() {
    let origin = site();
    let folder = tempfile::tempdir().expect("a folder");
    let setup = kit::pack::publish(at_any_hour(&origin), folder.path(), "pages", &pack());
    // A good one beside it shows that the scheduler does work.
    let good = site();
    let setup = setup.host("q.school.test", good.addr);
    let file = folder.path().join("packs/pages.toml");
    let text = std::fs::read_to_string(&file).expect("the pack");
    std::fs::write(&file, text.replace("max_bytes = \"1 GiB\"", "max_bytes = \"9 GiB\"")).expect("a file");
    let node = setup.start_in(folder);
    kit::until("the node says why", 30, || {
        let log = node.log_text();
        log.contains("pages") && log.contains("signature")
    });
    let check = node.command(&["pack", "check", &file.display().to_string()]);
    assert_ne!(check.status.code(), Some(0), "{}", String::from_utf8_lossy(&check.stdout));
    assert_eq!(origin.count(), 0);
}

#[test]
fn a_report_that_the_hub_refuses_is_not_lost() {
    // A hub that knows another node only.
    let stranger = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let hub = Hub::start(&hub_that_knows(stranger));
    let mut node = Setup::new().set("hub.url", &format!("\"http://{}\"", hub.addr)).start();
    let key = node.key();
    assert_eq!(key.len(), 64, "{key}");
    node.report();
    kit::until("a refusal is told", 60, || node.local("GET", "/api/v1/reports")["trouble"].is_string());
    let held = node.metric("bulak_report_queue_records", "").expect("a metric");
    assert!(held >= 1.0);
    // Still there after kill -9, and taken once by a hub that knows the node.
    node.kill();
    node.restart();
    kit::until("the restarted node counts what waits", 30, || {
        node.metric("bulak_report_queue_records", "").is_some_and(|after| after >= held)
    });
}

#[test]
fn a_hub_takes_every_report_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = Setup::new().start_in(folder);
    let hub = Hub::start(&hub_that_knows(&first.key()));
    // The same node, now with a hub behind a line that fails.
    let line = kit::line::Line::to(hub.addr);
    let node = first.again(|setup| setup.set("hub.url", &format!("\"http://{}\"", line.addr)));
    node.report();
    line.cut();
    for _ in 0..3 {
        node.report();
    }
    assert!(node.metric("bulak_report_queue_records", "").is_some_and(|waiting| waiting >= 3.0));
    line.mend();
    kit::until("the outbox is empty", 120, || {
        node.report();
        node.metric("bulak_report_queue_records", "") == Some(0.0)
    });
    let (records, span) = hub.records();
    assert!(records >= 5 && records == span, "{records} records with numbers that span {span}");
    assert!(hub.json("/api/v1/schools").to_string().contains("aksu-7"));
}

fn hub_that_knows(key: &str) -> String {
    format!(
        "[hub]\nlisten = [\"127.0.0.1:0\"]\ndatabase = \"HERE/hub.sqlite\"\n[[node]]\nkey = \"{key}\"\nschool = \"aksu-7\"\nname = \"№ 7\"\n"
    )
}
