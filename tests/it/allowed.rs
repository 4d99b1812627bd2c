//! What leaves a school holds no name, address, page or word of anybody, whatever comes into the node: by devices, sites, servers of
//! tests, packs, the hub's answers, the configuration. Everything that a real node sends is read.

use crate::kit::http;
use crate::kit::node::{Node, Setup};
use crate::kit::origin::{Ask, Origin, Reply, answer, ok};
use crate::kit::pack;
use crate::kit::speed::{Manner, Speed};
use crate::kit::talker::{self, Talker};
use crate::kit::tls::{Fault, Key, Tls};
use bulak::report::batch;
use bulak::report::schema;
use bulak::report::sign;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::BufRead;
use std::sync::atomic::{AtomicBool, Ordering};

/// A name, addresses, a page, a secret, in one text.
const NAMES: &str =
    "Aigerim Serikova aigerim@kundelik.kz 10.77.66.55 fd00::7741 aa:bb:cc:dd:ee:77 http://pupil.school.test/aigerim?token=secret-7741";

/// What of it is looked for, in whatever case.
const MARKS: &[&str] = &[
    "aigerim",
    "serikova",
    "kundelik",
    "10.77.66.55",
    "fd00::7741",
    "aa:bb:cc:dd:ee:77",
    "aa-bb-cc-dd-ee-77",
    "school.test",
    "secret-7741",
    "mozilla",
    "127.0.0.1",
    "localhost",
    "measurementlab",
    "://",
    "@",
];

/// The one text of ours that may leave: the school, as the administrator wrote it.
const PLANTED: &str = "Ақсукент 7741";

/// Which marks these bytes hold.
fn marks(text: &str) -> Vec<&'static str> {
    let text = text.to_lowercase();
    MARKS.iter().copied().filter(|mark| text.contains(mark)).collect()
}

/// A hub that takes nothing and answers with names; what it was sent is kept by the origin.
fn hub() -> Origin {
    let first = AtomicBool::new(true);
    Origin::start(move |ask: &Ask| {
        let told = json!({
            "id": "hub.no_code", "title": NAMES, "remedy": NAMES, "node": NAMES, "school": NAMES, "name": NAMES, NAMES: NAMES,
            "acked_seq": 0, "reject": [{"seq": 99_999, "why": NAMES}],
        });
        let status = match ask.target.as_str() {
            "/api/v1/reports" if first.swap(false, Ordering::SeqCst) => "403 Forbidden",
            "/api/v1/reports" | "/api/v1/enrol" => "200 OK",
            _ => "404 Not Found",
        };
        Reply::Bytes(answer(status, &["Content-Type: application/json", &format!("Server: {NAMES}")], told.to_string().as_bytes()))
    })
}

/// M-Lab's Locate, which names a server in many words.
fn locate(tls: &mut Tls) -> Talker {
    let pair = tls.server("locate", &["locate.measurementlab.net"], Key::Ec, Fault::None);
    Talker::start(&pair, |mut stream| {
        let urls = ["download", "upload"].map(|way| {
            let key = format!("ws:///ndt/v7/{way}");
            (key, format!("ws://aigerim-far.school.test/ndt/v7/{way}?access_token=secret-7741&mail=aigerim@kundelik.kz"))
        });
        let urls: BTreeMap<String, String> = urls.into_iter().collect();
        let body = json!({"results": [{"machine": NAMES, "hostname": NAMES, "location": {"city": NAMES, "country": "KZ"}, "urls": urls}]});
        while talker::head(&mut stream).is_some() {
            let body = body.to_string();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
            if talker::say(&mut stream, &[head.as_bytes(), body.as_bytes()].concat()).is_err() {
                return;
            }
        }
    })
}

/// Devices that say who they are, in every way that the proxy hears.
fn devices(node: &Node) {
    let agent = format!("User-Agent: Mozilla/5.0 ({NAMES})");
    let (cookie, referer) = (format!("Cookie: session={NAMES}"), format!("Referer: http://pupil.school.test/?{}", "secret-7741"));
    let fields = [
        agent.as_str(),
        &cookie,
        &referer,
        "From: aigerim@kundelik.kz",
        "X-Forwarded-For: 10.77.66.55",
        "Authorization: Bearer secret-7741",
        "Accept-Language: aigerim",
    ];
    for url in [
        "http://pupil.school.test/aigerim/7741?token=secret-7741",
        "http://aigerim.kundelik.kz/pupil/7741?mail=aigerim@kundelik.kz",
        "http://10.77.66.55/aigerim",
        "http://[fd00::7741]/aigerim",
    ] {
        for with in [&fields[..], &[]] {
            let _answer = http::fetch(node.proxy, "GET", url, with); // most are reached by nobody
        }
    }
    for place in ["aigerim.school.test:443", "10.77.66.55:443", "secret-7741.kundelik.kz:443"] {
        let mut tunnel = http::Connection::open(node.proxy);
        let greeting = format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\nUser-Agent: {NAMES}\r\n\r\n");
        tunnel.send(greeting.as_bytes()).expect("sends");
        let _told = tunnel.raw().read_line(&mut String::new()); // refused, most of them
        let _sent = tunnel.send(NAMES.as_bytes());
    }
    // A method, and pages of the node's own.
    let _answer = http::fetch(node.proxy, "AIGERIM", "http://pupil.school.test/secret-7741", &fields);
    let _answer = http::get_direct(node.web, "aigerim.school.test", "/aigerim?token=secret-7741");
    let _answer = http::get_direct(node.web, &node.web.to_string(), "/api/v1/why?url=http://pupil.school.test/aigerim");
}

/// Every record of every upload.
fn records(hub: &Origin) -> Vec<Value> {
    let uploads = hub.asks().into_iter().filter(|ask| ask.target == "/api/v1/reports");
    let sealed = uploads.flat_map(|ask| batch::unpack(&ask.body).expect("an upload"));
    sealed.map(|sealed| serde_json::from_slice(sign::peel(&sealed).expect("sealed")).expect("JSON")).collect()
}

#[test]
fn nothing_that_comes_in_leaves() {
    assert!(marks(NAMES).len() > 8 && marks(PLANTED).is_empty(), "it finds what it looks for");
    let hub = hub();
    let origin = Origin::start(|_: &Ask| {
        Reply::Bytes(ok(&["Content-Type: text/html", "Cache-Control: max-age=60", "X-Pupil: aigerim"], NAMES.as_bytes()))
    });
    let speed = Speed::start(Manner::Names(NAMES));
    let mut tls = Tls::new("Root of Aigerim");
    let locate = locate(&mut tls);
    let folder = tempfile::tempdir().expect("a folder");
    let text = pack::text("aigerim-7741", "http://pupil.school.test/list-secret-7741.txt", &["pupil.school.test"])
        .replace("\"Trial\"", "\"Aigerim Serikova, 10.77.66.55\"");
    let setup = Setup::new()
        .root(&tls.root())
        .host("pupil.school.test", origin.addr)
        .host("aigerim-near.school.test", speed.addr)
        .host("aigerim-far.school.test", speed.addr)
        .secure_host("locate.measurementlab.net", locate.addr)
        .secure_host("aigerim.school.test", origin.addr)
        .set("node.name", "\"aigerim-box\"")
        .set("hub.url", &format!("\"http://{}\"", hub.addr))
        .set("hub.school", &format!("\"{PLANTED}\""))
        .set("hub.code", "\"AIGERIM7741\"")
        .set("night.windows", "[\"mon-sun 00:00-24:00\"]")
        .set("meter.slots", "[]")
        .set("meter.startup", "false")
        // A test over loopback spends in a moment what a day has.
        .set("meter.day", "\"20 GB\"")
        .set("meter.month", "\"100 GB\"")
        .set("meter.servers", "[\"ws://aigerim-near.school.test domestic\"]");
    let node = pack::publish(setup, folder.path(), "aigerim-7741", &text).start_in(folder);
    devices(&node);
    let near = node.command(&["link", "test", "--json"]);
    node.report();
    // The same with a server that M-Lab names.
    let node = node.again(|setup| {
        setup.set("meter.servers", "[]").set("meter.mlab", "true").set("meter.mlab_agreed", "\"Aigerim Serikova, 2026-11-20\"")
    });
    devices(&node);
    let far = node.command(&["link", "test", "--json"]);
    node.report();
    node.report();

    let (asks, records) = (hub.asks(), records(&hub));
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for record in &records {
        *kinds.entry(record["kind"].as_str().unwrap_or_default()).or_default() += 1;
        let text = record.to_string();
        assert_eq!(marks(&text), Vec::<&str>::new(), "{text}");
        assert_eq!(schema::complaints(record), Vec::<String>::new(), "{text}");
        assert!(text.contains(PLANTED), "what may leave is found by the same look: {text}");
    }
    assert!(kinds.get("hour").is_some_and(|count| *count > 2), "{kinds:?}");
    let moved = |record: &&Value| record["payload"]["test"]["download"]["moved_bytes"].as_u64().is_some_and(|bytes| bytes > 0);
    let tests: std::collections::BTreeSet<i64> = records.iter().filter(moved).filter_map(|record| record["seq"].as_i64()).collect();
    assert_eq!(tests.len(), 2, "a test with either server: {kinds:?} {:?} {near:?} {far:?}", speed.asks());
    let uses = |record: &&Value| record["payload"]["total"]["by_way"]["http"]["miss"]["requests"].as_u64().is_some_and(|count| count > 0);
    assert!(records.iter().any(|record| uses(&record)), "what devices did is counted");
    // Around the records: where they go says which hub it is, and the code that it asked for itself; nothing else.
    for ask in asks.iter().filter(|ask| ask.target == "/api/v1/reports") {
        let fields: Vec<&(String, String)> =
            ask.fields.iter().filter(|(name, _)| !["host", "content-digest"].contains(&name.as_str())).collect();
        assert_eq!(marks(&format!("{fields:?}")), Vec::<&str>::new(), "{fields:?}");
    }
    assert!(asks.iter().any(|ask| ask.target == "/api/v1/enrol"), "the hub was asked by the code");
}
