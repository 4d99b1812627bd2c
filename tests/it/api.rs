//! The API over the web port: tokens and roles on every route, jobs that are watched and ended, live events that go on where they were,
//! a document that says what is there; and the commands that give the same numbers.

use crate::kit;
use crate::kit::api::{Route, Stream, ask, bearer, command, get, routes, status, token};
use crate::kit::node::{Node, Setup};
use crate::kit::origin::{Ask, Origin, Reply, answer, ok};
use crate::kit::program;
use crate::kit::schema;
use serde_json::{Value, json};
use std::io::Write;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Routes of the socket alone: they name folders of the machine, or what devices asked for.
const SOCKET_ONLY: [&str; 6] =
    ["/api/v1/why", "/api/v1/config", "/api/v1/store/survey", "/api/v1/store/export", "/api/v1/store/import", "/api/v1/ca/reload"];

const ROLES: [&str; 3] = ["read", "operate", "admin"];

/// A list and two pages; the second is sent once the gate is open.
struct Site {
    origin: Origin,
    gate: Arc<AtomicBool>,
}

impl Site {
    fn new(open: bool) -> Site {
        let gate = Arc::new(AtomicBool::new(open));
        let own = Arc::clone(&gate);
        let origin = Origin::start(move |ask: &Ask| match ask.target.as_str() {
            "/robots.txt" => Reply::Bytes(answer("404 Not Found", &[], b"")),
            "/list.txt" => Reply::Bytes(ok(&["Content-Type: text/plain"], b"http://p.school.test/1\nhttp://p.school.test/2\n")),
            "/2" => {
                let gate = Arc::clone(&own);
                Reply::Act(Box::new(move |stream| {
                    kit::until("the gate is open", 300, || gate.load(Ordering::SeqCst));
                    let _sent = stream.write_all(&ok(&["Content-Type: text/plain"], &kit::noise(2, 30_000))); // whoever gave up is gone
                }))
            }
            _ => Reply::Bytes(ok(&["Content-Type: text/plain"], &kit::noise(1, 50_000))),
        });
        Site { origin, gate }
    }

    fn open(&self) {
        self.gate.store(true, Ordering::SeqCst);
    }

    /// A node with the site as a pack, and a window that is shut.
    fn node(&self) -> Node {
        let hour = (bulak::base::clock::Clock::system().now().secs() / 3600 + 12) % 24;
        let setup = Setup::new()
            .host("p.school.test", self.origin.addr)
            .set("night.windows", &format!("[\"mon-sun {hour:02}:58-{hour:02}:59\"]"))
            .set("night.timezone", "\"UTC\"");
        let folder = tempfile::tempdir().expect("a folder");
        let text = kit::pack::text("pages", "http://p.school.test/list.txt", &["p.school.test"]);
        kit::pack::publish(setup, folder.path(), "pages", &text).start_in(folder)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.open();
    }
}

fn document(answer: &kit::http::Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {}", answer.text()))
}

/// Method, path as described, path as asked, body, status.
type Case<'c> = (&'c str, &'c str, String, Option<Value>, u16);

/// What a route needs, said here once more and by hand.
fn needed(route: &Route) -> &'static str {
    let section = route.path.split('/').nth(3).unwrap_or_default();
    match (route.method.as_str(), section) {
        (_, "tokens") => "admin",
        ("GET", _) => "read",
        (_, "packs" | "jobs" | "wishes" | "proposals" | "record" | "night" | "link") => "operate",
        _ => "admin",
    }
}

#[test]
fn every_route_is_guarded_by_its_role_and_in_the_document() {
    let site = Site::new(true);
    let node = site.node();
    let tokens = ROLES.map(|role| (role, token(&node, role, role)));
    let all = routes();
    assert!(all.len() >= 20, "the sources name their routes in another way: {all:?}");
    for path in SOCKET_ONLY {
        assert!(all.iter().any(|route| route.path == path), "{path} is no route any more");
    }
    let text = get(&node, "/api/v1/openapi.json", &tokens[0].1);
    let mut described: Vec<Route> = Vec::new();
    for (path, operations) in text["paths"].as_object().expect("paths") {
        let method = |method: &String| Route { path: path.clone(), method: method.to_ascii_uppercase() };
        described.extend(operations.as_object().expect("operations").keys().map(method));
    }
    described.sort();
    let (own, shared): (Vec<Route>, Vec<Route>) = all.into_iter().partition(|route| SOCKET_ONLY.contains(&route.path.as_str()));
    assert_eq!(described, shared, "document and routes");
    for route in &shared {
        let role = text["paths"][&route.path][route.method.to_ascii_lowercase()]["x-role"].as_str().expect("a role").to_owned();
        assert_eq!(role, needed(route), "{route:?}");
        for none in ["", "bulak_00000000_0"] {
            // Who fails so often is soon told to wait; either way he does not come in.
            let told = status(&node, route, none);
            assert!(matches!(told, 401 | 429), "{route:?} with {none:?}: {told}");
        }
        let rank = |role: &str| ROLES.iter().position(|one| *one == role);
        for (held, token) in &tokens {
            let told = status(&node, route, token);
            let may = rank(held) >= rank(&role);
            assert!((told == 403) != may && told != 401 && told != 429, "{route:?} with {held}: {told}");
        }
    }
    for route in own {
        assert_eq!(status(&node, &route, &tokens[2].1), 404, "{route:?} is not for the web port");
    }
    // What is not there is no secret, but asks for a token all the same.
    let nowhere = Route { path: "/api/v1/nowhere".into(), method: "GET".into() };
    assert_eq!((status(&node, &nowhere, &tokens[0].1), status(&node, &nowhere, &tokens[2].1)), (404, 404));
    let beyond = ask(&node, "PUT", "/api/v1/status", &tokens[2].1, None);
    assert_eq!((beyond.status, document(&beyond)["id"].clone()), (405, "api.method".into()));
}

#[test]
fn real_answers_and_all_examples_fit_the_document() {
    let site = Site::new(false);
    let node = site.node();
    let admin = token(&node, "admin", "admin");
    let text = get(&node, "/api/v1/openapi.json", &admin);
    assert!(text["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
    let job = document(&ask(&node, "POST", "/api/v1/packs/pages/fetch", &admin, None));
    let job = job["id"].as_str().expect("a job").to_owned();
    kit::until("the second page is waited for", 60, || site.origin.asks().iter().any(|ask| ask.target == "/2"));
    let order = json!({ "name": "second", "role": "read", "expires": "2999-01-01T00:00:00Z" });
    let cases: Vec<Case> = vec![
        ("GET", "/api/v1/status", "/api/v1/status".into(), None, 200),
        ("GET", "/api/v1/link", "/api/v1/link".into(), None, 200),
        ("GET", "/api/v1/link/tests", "/api/v1/link/tests".into(), None, 200),
        ("GET", "/api/v1/link/tests/plan", "/api/v1/link/tests/plan".into(), None, 409),
        ("POST", "/api/v1/link/tests", "/api/v1/link/tests".into(), Some(json!({ "much": 1 })), 400),
        ("POST", "/api/v1/link/tests", "/api/v1/link/tests".into(), Some(json!({})), 409),
        ("GET", "/api/v1/link/statement", "/api/v1/link/statement".into(), None, 200),
        ("GET", "/api/v1/link/tests.csv", "/api/v1/link/tests.csv?from=yesterday".into(), None, 400),
        ("GET", "/api/v1/link/hours.csv", "/api/v1/link/hours.csv?month=13".into(), None, 400),
        ("GET", "/api/v1/link/days.csv", "/api/v1/link/days.csv?to=1".into(), None, 400),
        ("GET", "/api/v1/link/outages.csv", "/api/v1/link/outages.csv?to=1".into(), None, 400),
        ("GET", "/api/v1/link/statement", "/api/v1/link/statement?month=october".into(), None, 400),
        ("GET", "/api/v1/reports/giga", "/api/v1/reports/giga".into(), None, 200),
        ("POST", "/api/v1/reports/giga/send", "/api/v1/reports/giga/send".into(), None, 409),
        ("GET", "/api/v1/reports", "/api/v1/reports".into(), None, 200),
        ("GET", "/api/v1/store", "/api/v1/store".into(), None, 200),
        ("GET", "/api/v1/night", "/api/v1/night".into(), None, 200),
        ("GET", "/api/v1/night/summary", "/api/v1/night/summary".into(), None, 200),
        ("GET", "/api/v1/night/summary", "/api/v1/night/summary?night=1999-01-01".into(), None, 404),
        ("GET", "/api/v1/night/summary", "/api/v1/night/summary?night=soon".into(), None, 400),
        ("GET", "/api/v1/night/summaries", "/api/v1/night/summaries".into(), None, 200),
        ("POST", "/api/v1/night/pause", "/api/v1/night/pause".into(), Some(json!({ "until": "yesterday" })), 400),
        ("GET", "/api/v1/packs", "/api/v1/packs".into(), None, 200),
        ("GET", "/api/v1/packs/{id}", "/api/v1/packs/pages".into(), None, 200),
        ("GET", "/api/v1/packs/{id}", "/api/v1/packs/none".into(), None, 404),
        ("GET", "/api/v1/packs/{id}/plan", "/api/v1/packs/pages/plan".into(), None, 200),
        ("POST", "/api/v1/packs/{id}/plan", "/api/v1/packs/pages/plan".into(), None, 202),
        ("POST", "/api/v1/packs/{id}/plan", "/api/v1/packs/none/plan".into(), None, 404),
        ("GET", "/api/v1/plan", "/api/v1/plan".into(), None, 200),
        ("POST", "/api/v1/packs/{id}/fetch", "/api/v1/packs/pages/fetch".into(), None, 202),
        ("POST", "/api/v1/packs/{id}/fetch", "/api/v1/packs/none/fetch".into(), None, 404),
        ("GET", "/api/v1/jobs", "/api/v1/jobs".into(), None, 200),
        ("GET", "/api/v1/jobs/{id}", format!("/api/v1/jobs/{job}"), None, 200),
        ("GET", "/api/v1/jobs/{id}", "/api/v1/jobs/none".into(), None, 404),
        ("DELETE", "/api/v1/jobs/{id}", format!("/api/v1/jobs/{job}"), None, 202),
        ("POST", "/api/v1/tokens", "/api/v1/tokens".into(), Some(order.clone()), 201),
        ("POST", "/api/v1/tokens", "/api/v1/tokens".into(), Some(order), 409),
        ("GET", "/api/v1/tokens", "/api/v1/tokens".into(), None, 200),
        ("DELETE", "/api/v1/tokens/{id}", "/api/v1/tokens/second".into(), None, 200),
        ("DELETE", "/api/v1/tokens/{id}", "/api/v1/tokens/second".into(), None, 404),
        ("POST", "/api/v1/night/pause", "/api/v1/night/pause".into(), Some(json!({ "until": "2 h" })), 200),
        ("GET", "/api/v1/night", "/api/v1/night".into(), None, 200),
        ("POST", "/api/v1/packs/{id}/fetch", "/api/v1/packs/pages/fetch".into(), None, 202),
        ("POST", "/api/v1/night/resume", "/api/v1/night/resume".into(), None, 200),
        ("GET", "/api/v1/wishes", "/api/v1/wishes".into(), None, 200),
        ("POST", "/api/v1/wishes", "/api/v1/wishes".into(), Some(json!({ "url": "http://w.school.test/1" })), 200),
        ("POST", "/api/v1/wishes", "/api/v1/wishes".into(), Some(json!({ "url": "no address" })), 400),
        ("POST", "/api/v1/wishes", "/api/v1/wishes".into(), Some(json!({ "page": 1 })), 400),
        ("POST", "/api/v1/wishes", "/api/v1/wishes".into(), Some(json!({ "url": "http://192.168.8.1/" })), 422),
        ("POST", "/api/v1/wishes", "/api/v1/wishes".into(), Some(json!({ "url": "x".repeat(65_530) })), 413),
        ("GET", "/api/v1/wishes", "/api/v1/wishes".into(), None, 200),
        ("DELETE", "/api/v1/wishes/{id}", "/api/v1/wishes/1".into(), None, 204),
        ("DELETE", "/api/v1/wishes/{id}", "/api/v1/wishes/1".into(), None, 404),
        ("DELETE", "/api/v1/wishes/{id}", "/api/v1/wishes/first".into(), None, 400),
        ("GET", "/api/v1/proposals", "/api/v1/proposals".into(), None, 200),
        ("POST", "/api/v1/proposals/{id}/approve", "/api/v1/proposals/none/approve".into(), None, 404),
        ("DELETE", "/api/v1/proposals/{id}", "/api/v1/proposals/none".into(), None, 404),
        ("GET", "/api/v1/record", "/api/v1/record".into(), None, 404),
        ("POST", "/api/v1/record/end", "/api/v1/record/end".into(), None, 404),
        ("POST", "/api/v1/record/keep", "/api/v1/record/keep".into(), None, 404),
        ("POST", "/api/v1/record", "/api/v1/record".into(), Some(json!({ "name": "No Name", "seconds": 60 })), 400),
        ("POST", "/api/v1/record", "/api/v1/record".into(), Some(json!({ "name": "lesson", "seconds": 60 })), 201),
        ("POST", "/api/v1/record", "/api/v1/record".into(), Some(json!({ "name": "lesson", "seconds": 60 })), 409),
        ("GET", "/api/v1/record", "/api/v1/record".into(), None, 200),
        ("POST", "/api/v1/record/end", "/api/v1/record/end".into(), None, 200),
        ("POST", "/api/v1/record/keep", "/api/v1/record/keep".into(), None, 409),
        ("DELETE", "/api/v1/record", "/api/v1/record".into(), None, 204),
        ("POST", "/api/v1/store/purge", "/api/v1/store/purge".into(), Some(json!({ "host": "a.kz", "dry_run": true })), 200),
        ("POST", "/api/v1/store/purge", "/api/v1/store/purge".into(), Some(json!({})), 400),
        ("POST", "/api/v1/store/purge", "/api/v1/store/purge".into(), Some(json!({ "host": 5 })), 422),
        ("POST", "/api/v1/store/repack", "/api/v1/store/repack".into(), Some(json!({ "dry_run": true })), 202),
    ];
    for (method, path, place, body, wanted) in cases {
        let answer = ask(&node, method, &place, &admin, body.as_ref());
        // What is ended may be over before it is looked at.
        let wanted = if wanted == 202 && answer.status == 200 && method == "DELETE" { 200 } else { wanted };
        assert_eq!(answer.status, wanted, "{method} {place}: {}", answer.text());
        assert_eq!(answer.field("cache-control"), "no-store");
        if wanted == 204 {
            assert!(text["paths"][path][method.to_ascii_lowercase()]["responses"]["204"].is_object() && answer.body.is_empty(), "{place}");
            continue;
        }
        let schema = schema::of_answer(&text, method, path, wanted, &answer.field("content-type"));
        let schema = schema.unwrap_or_else(|| panic!("{method} {path} {wanted}: {} is not in the document", answer.field("content-type")));
        let faults = schema::faults(&text, schema, &document(&answer));
        assert!(faults.is_empty(), "{method} {place}: {faults:#?}");
    }
    // A body that is not said to be JSON, wherever one is taken.
    for path in ["/api/v1/wishes", "/api/v1/record", "/api/v1/tokens", "/api/v1/store/purge", "/api/v1/store/repack"] {
        let asked = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\n{}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}",
            node.web,
            bearer(&admin)
        );
        let answer = kit::http::exchange(node.web, asked.as_bytes());
        let schema = schema::of_answer(&text, "POST", path, 415, &answer.field("content-type")).expect("described");
        assert_eq!((answer.status, schema::faults(&text, schema, &document(&answer))), (415, Vec::new()), "{path}");
        assert!(document(&answer)["remedy"].as_str().is_some_and(|told| told.contains("Content-Type: application/json")), "{path}");
    }
    for (role, wanted) in [("", 401), ("read", 403)] {
        let token = if role.is_empty() { String::new() } else { token(&node, "reader", role) };
        let answer = ask(&node, "POST", "/api/v1/store/repack", &token, None);
        let schema = schema::of_answer(&text, "POST", "/api/v1/store/repack", wanted, &answer.field("content-type")).expect("described");
        assert_eq!((answer.status, schema::faults(&text, schema, &document(&answer))), (wanted, Vec::new()));
    }
    let mut seen = 0;
    for (name, schema) in text["components"]["schemas"].as_object().expect("schemas") {
        if let Some(example) = schema.get("example") {
            assert_eq!(schema::faults(&text, schema, example), Vec::<String>::new(), "{name}");
            seen += 1;
        }
    }
    assert!(seen >= 3, "only {seen} examples");
}

#[test]
fn a_job_is_watched_by_events_goes_on_after_a_break_and_is_cancelled() {
    let site = Site::new(false);
    let mut node = site.node();
    let operate = token(&node, "operator", "operate");
    let text = get(&node, "/api/v1/openapi.json", &operate);
    let mut stream = Stream::open(&node, &operate, None);
    let started = ask(&node, "POST", "/api/v1/packs/pages/fetch", &operate, None);
    let job = document(&started);
    assert_eq!((started.status, started.field("location")), (202, job["job"].as_str().expect("a place").to_owned()));
    let place = job["job"].as_str().expect("a place");
    let queued = stream.next_of("run.queued");
    let began = stream.next_of("run.began");
    assert_eq!((&queued.data["event"]["pack"], &began.data["event"]["asked"]), (&"pages".into(), &true.into()));
    let numbered = &text["components"]["schemas"]["NumberedEvent"];
    for event in [&queued, &began] {
        assert_eq!(schema::faults(&text, numbered, &event.data), Vec::<String>::new());
    }
    drop(stream);
    kit::until("the first page is here", 60, || get(&node, place, &operate)["done"].as_u64().is_some_and(|done| done >= 50_000));
    let shown = get(&node, place, &operate);
    assert_eq!((&shown["state"], &shown["unit"], &shown["subject"]), (&"running".into(), &"bytes".into(), &"pages".into()), "{shown}");
    let pack = get(&node, "/api/v1/packs/pages", &operate);
    assert_eq!(pack["progress"]["bytes_done"], shown["done"], "pack and job say the same");
    assert_eq!(pack["progress"]["current_host"], "p.school.test");
    // Back again: the very next event is the one after the last that was seen.
    let mut stream = Stream::open(&node, &operate, Some(&queued.id));
    let seq = queued.data["seq"].as_u64().expect("a number");
    for number in 1..=3 {
        let event = stream.next().expect("events");
        assert_eq!(event.data["seq"].as_u64(), Some(seq + number), "{event:?}");
        assert_eq!(schema::faults(&text, numbered, &event.data), Vec::<String>::new());
    }
    let mut stranger = Stream::open(&node, &operate, Some("00000000-5"));
    assert_eq!(stranger.next().expect("an event").name, "missed", "an id of another start");
    let cancelled = ask(&node, "DELETE", place, &operate, None);
    assert!(matches!(cancelled.status, 200 | 202), "{}", cancelled.text());
    let ended = stream.next_of("run.ended");
    assert_eq!((&ended.data["event"]["job"], &ended.data["event"]["state"]), (&job["id"], &"paused".into()));
    assert_eq!(get(&node, place, &operate)["state"], "cancelled");
    assert_eq!(ask(&node, "DELETE", place, &operate, None).status, 200, "over is over");
    // Asked for anew it is another job, and goes on where the last was.
    site.open();
    let again = document(&ask(&node, "POST", "/api/v1/packs/pages/fetch", &operate, None));
    assert_ne!(again["id"], job["id"]);
    loop {
        let event = stream.next_of("job.changed");
        if event.data["event"]["job"] == again["id"] && event.data["event"]["state"] == "done" {
            break;
        }
    }
    let first = site.origin.asks().iter().filter(|ask| ask.target == "/1").count();
    assert!(first <= 2, "the first page was sent {first} times");
    // The streams end with the node, and hold nothing up.
    assert!(node.terminate().success());
    while stream.next().is_some() {}
    while stranger.next().is_some() {}
}

#[test]
fn tokens_are_made_listed_revoked_and_survive_a_kill() {
    let site = Site::new(true);
    let mut node = site.node();
    let kept = token(&node, "kept", "read");
    let made = command(&node, &["user", "token", "add", "short", "--role", "read", "--expires", "3 s"]);
    let short = made["token"].as_str().expect("a token").to_owned();
    let revoked = token(&node, "revoked", "admin");
    let looks = |node: &Node, token: &str| ask(node, "GET", "/api/v1/status", token, None);
    assert_eq!(looks(&node, &revoked).status, 200);
    let mut stream = Stream::open(&node, &revoked, None);
    command(&node, &["user", "token", "revoke", "revoked"]);
    let refused = looks(&node, &revoked);
    assert_eq!((refused.status, document(&refused)["id"].clone()), (401, "api.bad_token".into()));
    assert!(refused.field("www-authenticate").contains("error=\"invalid_token\""));
    // What it had opened ends at the next event at the latest.
    node.hangup();
    assert!(stream.next().is_none(), "a stream outlives its token");
    kit::until("the short one has expired", 30, || document(&looks(&node, &short))["id"] == "api.token_expired");
    node.kill();
    // Of a stopped node the database is changed.
    let down = command(&node, &["user", "token", "add", "made by night", "--role", "operate"]);
    let down = down["token"].as_str().expect("a token").to_owned();
    node.restart();
    assert_eq!(looks(&node, &kept).status, 200);
    assert_eq!(looks(&node, &down).status, 200);
    assert_eq!((looks(&node, &revoked).status, looks(&node, &short).status), (401, 401));
    let listed = command(&node, &["user", "token", "list"]);
    let names: Vec<&str> = listed["tokens"].as_array().expect("tokens").iter().filter_map(|token| token["name"].as_str()).collect();
    assert_eq!(names, ["kept", "made by night", "short"]);
    assert!(!listed.to_string().contains(&kept[20..]), "shown once");
    let unknown = node.command(&["user", "token", "revoke", "nobody", "--json"]);
    assert_eq!(unknown.status.code(), Some(1));
    let log = node.log_text();
    for secret in [&kept, &short, &revoked, &down] {
        assert!(!log.contains(&secret[15..]), "a token in the log");
    }
    assert!(!log.contains("/api/v1/"), "a path in the log");
}

#[test]
fn a_thousand_bad_tokens_are_hardly_answered_and_hold_nobody_up() {
    let node = Site::new(true).node();
    let good = token(&node, "good", "read");
    let mut connection = kit::http::Connection::open(node.web);
    let mut told = [0, 0];
    for number in 0..1000 {
        let bad = bearer(&format!("bulak_{number:08x}_{number:064x}"));
        connection.send(&kit::api::request(&node, "GET", "/api/v1/status", &[&bad], None)).expect("sends");
        let answer = connection.read(false);
        assert!(matches!(answer.status, 401 | 429), "{}", answer.text());
        assert!(answer.status == 401 || answer.has("retry-after"));
        told[usize::from(answer.status == 429)] += 1;
    }
    // A few are forgiven while the rest is under way.
    assert!(told[0] < 100 && told[1] > 900, "{told:?}");
    assert_eq!(ask(&node, "GET", "/api/v1/status", &good, None).status, 200);
    assert_eq!(ask(&node, "GET", "/api/v1/status", "", None).status, 429);
    let loud = node.log_text().lines().filter(|line| line.contains("token that counts")).count();
    assert_eq!(loud, 1, "said once");
    assert!(node.metric("bulak_api_refused_total", "too_many").is_some_and(|refused| refused > 900.0));
}

#[test]
fn a_device_gets_no_further_through_the_proxy_and_no_page_reads_along() {
    let site = Site::new(true);
    let node = site.node();
    let read = token(&node, "reader", "read");
    let url = "http://bulak.internal/api/v1/status";
    assert_eq!(node.fetch("GET", url, &[]).status, 401, "coming by the proxy is no authority");
    assert_eq!(node.fetch("GET", url, &["Cookie: session=1", "X-Forwarded-For: 127.0.0.1"]).status, 401);
    let shown = node.fetch("GET", url, &[&bearer(&read)]);
    assert_eq!((shown.status, shown.field("cache-control")), (200, "no-store".into()));
    assert!(!node.fetch("GET", url, &[&bearer(&read)]).is_hit() && node.fetch("GET", url, &[]).status == 401, "kept for nobody");
    let asked =
        kit::api::request(&node, "OPTIONS", "/api/v1/status", &["Origin: http://evil.example", "Access-Control-Request-Method: GET"], None);
    let preflight = kit::http::exchange(node.web, &asked);
    assert_eq!(preflight.status, 401);
    assert!(!preflight.fields.iter().any(|(name, _)| name.starts_with("access-control")), "{:?}", preflight.fields);
    let rebound = format!("GET /api/v1/status HTTP/1.1\r\nHost: evil.example\r\n{}\r\nConnection: close\r\n\r\n", bearer(&read));
    assert_eq!(kit::http::exchange(node.web, rebound.as_bytes()).status, 421);
    // As a script would.
    let mut curl = Command::new(program::need("curl"));
    curl.args(["-sS", "--noproxy", "*", "-H", &bearer(&read), &format!("http://{}/api/v1/packs", node.web)]);
    let told: Value = serde_json::from_slice(&program::run(&curl, 30).stdout).expect("JSON");
    assert_eq!(told["packs"][0]["id"], "pages");
}

#[test]
fn the_command_shows_the_numbers_of_the_api() {
    let site = Site::new(false);
    let node = site.node();
    let read = token(&node, "reader", "read");
    std::thread::scope(|scope| {
        let fetch = scope.spawn(|| node.command(&["pack", "fetch", "pages", "--json"]));
        kit::until("the first page is here", 60, || {
            get(&node, "/api/v1/packs/pages", &read)["progress"]["bytes_done"].as_u64().is_some_and(|done| done >= 50_000)
        });
        site.open();
        let output = fetch.join().expect("ends");
        let told: Value = serde_json::from_slice(&output.stdout).expect("one document");
        assert_eq!(output.status.code(), Some(0), "{told}");
        assert_eq!(told["progress"], get(&node, "/api/v1/packs/pages", &read)["progress"]);
        let lines = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(lines.lines().next().is_some_and(|line| line.starts_with("pages ")), "a plain line off a terminal: {lines:?}");
        let jobs = get(&node, "/api/v1/jobs", &read);
        assert_eq!((&jobs["jobs"][0]["state"], &jobs["jobs"][0]["done"]), (&"done".into(), &told["progress"]["bytes_done"]), "{jobs}");
    });
}

/// Asks as an admin; what is refused must be a document that says as which.
fn refused(node: &Node, method: &str, path: &str, token: &str, body: Option<&Value>) -> u16 {
    let answer = ask(node, method, path, token, body);
    if answer.status >= 400 {
        let told = format!("{method} {path}: {} {}", answer.status, answer.text());
        assert_eq!(answer.field("content-type"), "application/problem+json", "{told}");
        let problem = document(&answer);
        assert_eq!(problem["status"], answer.status, "{told}");
        for part in ["id", "title", "remedy"] {
            assert!(problem[part].as_str().is_some_and(|text| !text.is_empty()), "{told}");
        }
    }
    answer.status
}

#[test]
fn whatever_is_refused_is_a_document() {
    let site = Site::new(true);
    let node = site.node();
    let admin = token(&node, "admin", "admin");
    let all = routes();
    let mut documents = 0;
    for route in all.iter().filter(|route| !SOCKET_ONLY.contains(&route.path.as_str())) {
        let path = route.path.replace("{id}", "nothing");
        let known: Vec<&str> = all.iter().filter(|other| other.path == route.path).map(|other| other.method.as_str()).collect();
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            if !known.contains(&method) {
                assert_eq!(refused(&node, method, &path, &admin, None), 405, "{method} {path}");
                documents += 1;
            }
        }
    }
    assert!(documents > 60, "{documents}");
    // Pages and what programs ask are told in the same form.
    for path in ["/", "/portal.css", "/healthz", "/readyz", "/metrics", "/tonight", "/record"] {
        assert_eq!(refused(&node, "PUT", path, "", None), 405, "{path}");
    }
    for (path, status) in [("/nowhere", 404), ("/api/v1/nothing", 404), ("/healthz/", 404)] {
        assert_eq!(refused(&node, "GET", path, &admin, None), status, "{path}");
    }
    let long = Value::from("x".repeat(65_600));
    for (path, body, status) in [
        ("/api/v1/tokens", None, 415),
        ("/api/v1/tokens", Some(json!([])), 422),
        ("/api/v1/tokens", Some(long), 413),
        ("/tonight", Some(json!({})), 415),
    ] {
        assert_eq!(refused(&node, "POST", path, &admin, body.as_ref()), status, "{path}");
    }
    assert_eq!(refused(&node, "GET", "/check?n=x", &admin, None), 400);
}
