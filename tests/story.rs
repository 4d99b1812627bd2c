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
use std::path::Path;
use std::time::Duration;

/// Of the documentation's library every so many pages are taken: some 80, so that the story is told in a minute or two.
const SCALE: usize = 4;
/// 80 Mbit/s: slow enough to be killed in the middle of the fetch.
const RATE: u64 = 10_000_000;
const CURLS: usize = 20;
const WGETS: usize = 9;

const HUB: &str = "[hub]\nlisten = [\"127.0.0.1:0\"]\nstate = \"HERE/state\"\n";

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
        .set("hub.every", "\"2 s\"");
    let key = key_of_a_first_start(&setup, folder.path());
    let hub = Hub::start(&format!("{HUB}[[node]]\nkey = \"{key}\"\nname = \"school-test\"\n"));
    let hub_line = Line::to(hub.addr);
    let setup = kit::pack::publish(setup, folder.path(), "story", &text).set("hub.url", &format!("\"http://{}\"", hub_line.addr));

    // The night, with a power cut in its middle.
    let mut node = setup.start_in(folder);
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

    // The morning: line and names are gone.
    line.cut();
    hub_line.cut();
    dns.cut();
    kit::until("the node says that the line is down", 60, || {
        node.get(&format!("http://docs.school.test:{port}/not-in-the-pack"));
        node.metric("bulak_link_up", "") == Some(0.0)
    });
    let (asked, names) = (nginx.requests().len(), dns.queries());

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
    let mut seen = (0, 0);
    kit::until("the hub has the reports of night and day", 120, || {
        seen = reports(&hub);
        seen.0 >= 5 && seen.0 == seen.1
    });
    assert_eq!(seen.0, seen.1, "reports at the hub, and the highest number: each once, none missing");
}

/// The node's public key, made at its first start.
fn key_of_a_first_start(setup: &Setup, folder: &Path) -> String {
    let first = tempfile::tempdir().expect("a folder");
    let mut node = setup.clone().start_in(first);
    let output = node.command(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).expect("status in JSON");
    let key = find_key(&status).unwrap_or_else(|| panic!("no key of 64 hex digits in {status}"));
    node.terminate();
    // The keys move to the node of the story; everything else starts empty.
    let state = folder.join("state");
    fs::create_dir_all(&state).expect("a folder");
    for entry in fs::read_dir(node.folder.path().join("state")).expect("the state").filter_map(Result::ok) {
        if entry.path().extension().is_some_and(|end| end == "key" || end == "pem") {
            fs::copy(entry.path(), state.join(entry.file_name())).expect("copies");
        }
    }
    key
}

/// The first text of 64 hex digits under a name `key`, wherever it is.
fn find_key(value: &serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::Object(map) => {
            let own = map.get("key").and_then(|key| key.as_str()).filter(|key| key.len() == 64);
            own.map(str::to_owned).or_else(|| map.values().find_map(find_key))
        }
        serde_json::Value::Array(items) => items.iter().find_map(find_key),
        _ => None,
    }
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

/// How many reports the hub's database holds, and the highest number among them (they count from 1): equal when none is
/// missing and none is there twice.
fn reports(hub: &Hub) -> (i64, i64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let files = fs::read_dir(hub.folder().join("state")).expect("the hub's state").filter_map(Result::ok).map(|entry| entry.path());
    for file in files.filter(|path| path.extension().is_some_and(|end| end == "sqlite" || end == "db")) {
        let counted = runtime.block_on(async {
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&file).read_only(true);
            let pool = sqlx::SqlitePool::connect_with(options).await.ok()?;
            let table = "SELECT m.name FROM sqlite_master m WHERE m.type = 'table' AND EXISTS (SELECT 1 FROM pragma_table_info(m.name) WHERE \
                         name = 'seq') AND EXISTS (SELECT 1 FROM pragma_table_info(m.name) WHERE name = 'epoch') LIMIT 1";
            let (name,): (String,) = sqlx::query_as(table).fetch_optional(&pool).await.ok()??;
            let query = format!("SELECT COUNT(*), COALESCE(MAX(seq), 0) FROM \"{name}\"");
            sqlx::query_as::<_, (i64, i64)>(sqlx::AssertSqlSafe(query)).fetch_one(&pool).await.ok()
        });
        if let Some(counted) = counted {
            return counted;
        }
    }
    (0, 0)
}
