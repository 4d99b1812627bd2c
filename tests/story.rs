//! The story that Bulak is for, with real parts: the night fetches, the line is cut, a class reads, the line returns.
//!
//! nginx serves real content under names of a DNS server of the test, through a line that can be cut; the readers are
//! curl, wget and Chromium; a hub collects reports. The node is killed twice on the way, and nobody must notice.

#[path = "kit/mod.rs"]
mod kit;

use bulak::base::digest::Digest;
use kit::dns::Dns;
use kit::line::Line;
use kit::nginx::Nginx;
use kit::node::{Hub, Node, Setup};
use kit::program;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

/// Of the documentation's library every so many pages are taken: some 80, so that the story is told in a minute or two.
const SCALE: usize = 4;
/// 80 Mbit/s: slow enough to be killed in the middle of the fetch.
const RATE: u64 = 10_000_000;
const CURLS: usize = 20;
const WGETS: usize = 9;

const HUB: &str = "[hub]\nlisten = [\"127.0.0.1:0\"]\ndatabase = \"HERE/hub.sqlite\"\n";

#[test]
fn a_school_night_and_day() {
    let nginx = Nginx::start();
    let line = Line::slow(kit::loopback(0), nginx.addr, RATE).expect("a line");
    let dns = Dns::start(Ipv4Addr::LOCALHOST);
    let port = line.addr.port();
    let urls: Vec<String> = nginx.urls(SCALE).iter().map(|url| url.replace(".school.test/", &format!(".school.test:{port}/"))).collect();
    nginx.put("all.txt", &(urls.join("\n") + "\n"));

    // The evening: the node gets its pack; its key is told to the hub.
    let folder = tempfile::tempdir().expect("a folder");
    let hosts = ["docs", "assets", "plain", "gzip", "big"].map(|name| format!("{name}.school.test"));
    let list = format!("http://assets.school.test:{port}/all.txt");
    let text = kit::pack::text("story", &list, &hosts.each_ref().map(String::as_str));
    let proxy = kit::free_port();
    let setup = Setup::new()
        .set("proxy.listen", &format!("[\"127.0.0.1:{proxy}\"]"))
        .set("upstream.resolver", &format!("[\"{}\"]", dns.addr))
        .set("upstream.connect_timeout", "\"1 s\"")
        .set("upstream.resolve_timeout", "\"2 s\"")
        .set("night.windows", "[\"mon-sun 00:00-24:00\"]")
        .set("node.log", "\"info,bulak::prefetch=debug\"");
    let first = setup.start_in(folder);
    let key = first.key();
    let hub = Hub::start(&format!("{HUB}[[node]]\nkey = \"{key}\"\nschool = \"aksu-7\"\nname = \"№ 7\"\n"));
    let hub_line = Line::to(hub.addr);

    // The night, with a power cut in its middle.
    let packs = first.folder.path().to_owned();
    let mut node =
        first.again(|setup| kit::pack::publish(setup, &packs, "story", &text).set("hub.url", &format!("\"http://{}\"", hub_line.addr)));
    kit::until("a third of the night's bytes have come", 60, || line.down_bytes() > 9_000_000);
    assert!(!missing(&nginx, &urls).is_empty(), "the fetch was over before it could be interrupted");
    node.kill();
    node.restart();
    kit::until("the whole pack has been fetched", 180, || missing(&nginx, &urls).is_empty());
    let mut last = 0;
    kit::until("the line is quiet", 60, || {
        std::thread::sleep(Duration::from_secs(1));
        std::mem::replace(&mut last, line.down_bytes()) == last
    });
    let fetched = line.down_bytes();
    let expected: BTreeMap<&str, Digest> = urls.iter().map(|url| (url.as_str(), nginx.digest(url))).collect();
    let whole: u64 = total(&nginx, &urls);
    assert!(fetched < whole * 3 / 2, "{fetched} bytes came for {whole}: what was there was fetched again");

    node.report();

    // The morning: line and names are gone.
    line.cut();
    hub_line.cut();
    dns.cut();
    kit::until("the node says that the line is down", 60, || {
        node.get(&format!("http://docs.school.test:{port}/not-in-the-pack"));
        node.metric("bulak_link_up", "") == Some(0.0)
    });
    let (asked, names) = (nginx.requests().len(), dns.queries());

    node.report();

    // The lesson: thirty read all of it, and the power fails once more.
    let desks: Vec<tempfile::TempDir> = (0..CURLS + WGETS).map(|_| tempfile::tempdir().expect("a folder")).collect();
    let address = node.proxy;
    std::thread::scope(|scope| {
        for (number, desk) in desks.iter().enumerate() {
            let urls = &urls;
            scope.spawn(move || {
                let output =
                    if number < CURLS { program::curl(address, urls, desk.path()) } else { program::wget(address, urls, desk.path()) };
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                let end: String = said.chars().rev().take(2000).collect::<Vec<_>>().into_iter().rev().collect();
                assert!(output.status.success(), "reader {number}: {:?} {end}", output.status);
            });
        }
        kit::until("the class is reading", 60, || desks[0].path().join("25").exists());
        node.kill();
        node.restart();
        assert_eq!(node.proxy, address, "the same address as before");
    });
    for (number, desk) in desks.iter().enumerate() {
        for (at, url) in urls.iter().enumerate() {
            let file = if number < CURLS { desk.path().join(at.to_string()) } else { desk.path().join(url.trim_start_matches("http://")) };
            let bytes = fs::read(&file).unwrap_or_else(|error| panic!("reader {number}, {url}: {error}"));
            assert_eq!(Digest::of(&bytes), expected[url.as_str()], "reader {number}, {url}");
        }
    }
    browse(&node, port);
    node.report();
    assert_eq!(nginx.requests().len(), asked, "requests left the box");
    // Looking whether the line is back is allowed to ask for names now and then; the class's thousands of requests are not.
    let more = dns.queries() - names;
    assert!(more < 200, "{more} questions for names while the class read {} files", desks.len() * urls.len());

    // The line returns: the hub gets every report once.
    line.mend();
    hub_line.mend();
    dns.mend();
    kit::until("the line is up again", 60, || {
        node.get(&format!("http://docs.school.test:{port}/tutorial/index.html")).status == 200
            && node.metric("bulak_link_up", "") != Some(0.0)
    });
    kit::until("the outbox is empty", 120, || {
        node.report();
        node.metric("bulak_report_queue_records", "") == Some(0.0)
    });
    let (records, span) = hub.records();
    assert!(records >= 4 && records == span, "{records} records with numbers that span {span}: each once, none missing");
}

/// The pack's URLs that the origin has not been asked for yet.
fn missing<'u>(nginx: &Nginx, urls: &'u [String]) -> Vec<&'u String> {
    let asked: BTreeSet<String> = nginx
        .requests()
        .iter()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (host, status, _, path) = (words.next()?, words.next()?, words.next()?, words.next()?);
            status.starts_with("20").then(|| format!("{host}{path}"))
        })
        .collect();
    let plain = |url: &str| {
        let (host, path) = url.trim_start_matches("http://").split_once('/').unwrap_or_default();
        format!("{}/{path}", host.split(':').next().unwrap_or_default())
    };
    urls.iter().filter(|url| !asked.contains(&plain(url))).collect()
}

/// All bodies together, as the origin sends them without coding.
fn total(nginx: &Nginx, urls: &[String]) -> u64 {
    urls.iter()
        .map(|url| {
            let host = kit::http::authority(url);
            let path = url.split_once(host).map_or("/", |(_, path)| path);
            kit::http::get_direct(nginx.addr, host, path).body.len() as u64
        })
        .sum()
}

/// The thirtieth reader: scripts run from the store alone.
fn browse(node: &Node, port: u16) {
    let profile = tempfile::tempdir().expect("a folder");
    for (page, proof) in [("blockly", "ran function"), ("jsxgraph", "ran object"), ("mathjax", "ran function")] {
        let url = format!("http://assets.school.test:{port}/{page}.html");
        let document = program::chromium(node.proxy, &url, &profile.path().join(page));
        assert!(document.contains(proof), "{page}: {document}");
    }
    let document =
        program::chromium(node.proxy, &format!("http://docs.school.test:{port}/tutorial/index.html"), &profile.path().join("docs"));
    assert!(document.contains("The Python Tutorial"), "{document}");
}
