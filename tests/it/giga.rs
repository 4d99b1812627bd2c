//! A Giga Meter server is told of tests and of the line: by its rules, once each, through silences, lies and power cuts.

use crate::kit;
use crate::kit::giga::{KEY, Mood, SCHOOL, Server};
use crate::kit::node::Setup;
use crate::kit::{http, past};
use bulak::base::backoff::Backoff;
use bulak::base::clock::Clock;
use bulak::base::count::Metrics;
use bulak::base::target::Target;
use bulak::life::{Jobs, Life};
use bulak::link::{self, Link};
use bulak::meter::{self, Kept, Meter};
use bulak::report::giga::message::School;
use bulak::report::giga::{Giga, Pace, Parts, Settings, Status};
use bulak::state::State;
use bulak::state::giga::Check;
use bulak::upstream::{self, Upstream};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

pub(crate) fn key_file(folder: &Path, key: &str) -> PathBuf {
    let file = folder.join("giga.key");
    std::fs::write(&file, key).expect("written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("chmod");
    file
}

/// A node's parts in this process, and the server.
struct Desk {
    runtime: tokio::runtime::Runtime,
    server: Server,
    state: State,
    giga: Giga,
    metrics: Metrics,
    clock: Clock,
    folder: TempDir,
    tests: u64,
}

impl Desk {
    fn new() -> Desk {
        Desk::of(SCHOOL)
    }

    fn of(school: &str) -> Desk {
        let (server, folder) = (Server::start(), tempfile::tempdir().expect("a folder"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (clock, key) = (Clock::system(), key_file(folder.path(), KEY));
        let school = School { id: "kz-7".into(), giga_id: school.into(), country: "KZ".into() };
        let base = Target::parse(&server.url()).expect("an address");
        let (state, giga, metrics) = runtime.block_on(async {
            let (life, metrics) = (Life::default(), Metrics::default());
            let state = State::open(None).await.expect("opens");
            let link = Link::new(link::Settings::default(), clock.clone(), &life, &metrics);
            let settings = upstream::Settings { allow_private: vec!["127.0.0.0/8".parse().expect("a network")], ..Default::default() };
            let upstream = Upstream::new(settings, clock.clone(), link.clone(), &life, &metrics).expect("an upstream");
            let settings = meter::Settings {
                servers: Vec::new(),
                hub: None,
                mlab: None,
                schedule: meter::schedule::Schedule { slots: Vec::new(), zone: jiff::tz::TimeZone::UTC, startup: false },
                caps: meter::budget::Caps::default(),
                contract: meter::Contract::default(),
                pages: Vec::new(),
                pupils: None,
            };
            let jobs = Jobs::new(clock.clone(), |_| ());
            let parts = meter::Parts { settings, clock: clock.clone(), life, link: link.clone(), upstream: upstream.clone(), jobs };
            let meter = Meter::new(parts, &metrics, &state).await.expect("a meter");
            let exchange = Duration::from_secs(20);
            let retry = Backoff { first: Duration::ZERO, most: Duration::ZERO };
            let pace = Pace { between: Duration::ZERO, exchange, retry, ..Pace::default() };
            let settings = Settings { base, key, school };
            let own = metrics.clone();
            let giga =
                Giga::quiet(Parts { settings, pace, clock: clock.clone(), state: state.clone(), meter, link, upstream, metrics: own });
            giga.status().await.expect("begins");
            (state, giga, metrics)
        });
        Desk { runtime, server, state, giga, metrics, clock, folder, tests: 0 }
    }

    /// A line of `/metrics`.
    fn metric(&self, name: &str) -> f64 {
        let text = self.metrics.print();
        let line = text.lines().find(|line| line.rsplit_once(' ').is_some_and(|(known, _)| known == name));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_else(|| panic!("{name} in\n{text}"))
    }

    /// The meter keeps another test.
    fn test(&mut self) {
        self.tests += 1;
        let kept = past::kept(self.tests, self.clock.now().minus(Duration::from_secs(9_000 - self.tests * 60)));
        let keep = async { self.state.measure().keep(kept.start, &Kept { raw: Value::Null, ..kept.clone() }, &kept.raw.to_string()).await };
        self.runtime.block_on(keep).expect("keeps");
    }

    fn checks(&self, ids: std::ops::Range<usize>) {
        for id in ids {
            let check = Check { connected: id.is_multiple_of(2), latency: Some(41_000), id: format!("check-{id}") };
            self.runtime.block_on(self.state.giga().queue_check(self.clock.now(), &check)).expect("queues");
        }
    }

    fn round(&self, all: bool) -> Status {
        self.runtime.block_on(self.giga.round(all)).expect("a round");
        self.status()
    }

    fn status(&self) -> Status {
        self.runtime.block_on(self.giga.status()).expect("a status")
    }

    /// How often the server has each test, in order.
    fn copies(&self) -> Vec<usize> {
        let books = self.server.books();
        assert!(books.complaints.is_empty(), "{:?}", books.complaints);
        let of = |number: u64| books.tests.iter().filter(|test| test["UUID"] == format!("uuid-download-{number}")).count();
        (1..=self.tests).map(of).collect()
    }
}

#[test]
fn registered_first_then_every_test_once_by_the_rules() {
    let mut desk = Desk::new();
    assert!(!desk.round(true).registered, "nothing is said before there is something to say");
    for _ in 0..3 {
        desk.test();
    }
    desk.checks(0..5);
    let status = desk.round(true);
    assert_eq!((desk.copies(), status.registered, status.trouble, status.waiting.delivered), (vec![1, 1, 1], true, None, 8));
    assert!((desk.metric("bulak_giga_records_total{fate=\"delivered\"}") - 8.0).abs() < 0.1);
    assert!(desk.metric("bulak_giga_last_delivered_timestamp_seconds") > 1.7e9 && status.last_delivered.is_some());
    let books = desk.server.books();
    assert_eq!((books.users.len(), books.checks.len(), books.dropped), (1, 5, 0));
    let test = &books.tests[0];
    assert_eq!((&test["Download"], &test["Upload"], &test["Latency"]), (&6_800.0.into(), &1_700.0.into(), &41.into()));
    let mac = books.users[0]["mac_address"].as_str().expect("a text");
    assert!(mac.starts_with("02:") && mac.len() == 17, "{mac}");
    drop(books);
    desk.test();
    desk.round(false);
    assert_eq!((desk.copies(), desk.server.asks("POST", "/dailycheckapp_schools")), (vec![1, 1, 1, 1], 1));
}

#[test]
fn after_a_silence_the_server_is_asked_first() {
    let mut desk = Desk::new();
    desk.test();
    desk.server.moods(&[Mood::CutAfter]);
    let status = desk.round(false);
    assert!(status.trouble.is_some() && status.waiting.tests == 1, "{status:?}");
    let waiting = "bulak_giga_waiting{what=\"test\"}";
    assert!(desk.metric(waiting) > 0.9 && desk.metric("bulak_giga_last_delivered_timestamp_seconds") < 0.1);
    let status = desk.round(false);
    assert_eq!((desk.copies(), status.waiting.tests, status.trouble), (vec![1], 0, None), "it had it");
    assert!(desk.metric(waiting) < 0.1);
    desk.test();
    desk.server.moods(&[Mood::CutBefore]);
    desk.round(false);
    desk.round(false);
    assert_eq!(desk.copies(), [1, 1], "it had it not");
    assert_eq!(desk.server.asks("GET", "/measurements"), 2);
    // A 200, a portal, megabytes: none of them is a yes.
    for mood in [Mood::Ok, Mood::Huge, Mood::Portal, Mood::Status(504), Mood::Status(500), Mood::Status(429)] {
        desk.test();
        desk.server.moods(&[mood]);
        let status = desk.round(false);
        assert!(status.trouble.is_some() && status.waiting.tests == 1, "{mood:?} {status:?}");
        let status = desk.round(false);
        assert_eq!((desk.copies().last(), status.waiting.tests), (Some(&1), 0), "{mood:?}");
    }
}

#[test]
fn where_nobody_may_look_it_is_sent_once_more_and_no_oftener() {
    let mut desk = Desk::new();
    desk.server.books().closed = true;
    desk.test();
    desk.test();
    desk.server.moods(&[Mood::CutAfter, Mood::CutAfter]);
    for _ in 0..4 {
        desk.round(false);
    }
    let status = desk.status();
    assert_eq!((desk.copies(), status.waiting.unsure, status.waiting.tests), (vec![2, 1], 1, 0));
    assert_eq!(desk.server.asks("POST", "/measurements"), 3);
}

#[test]
fn one_duplicate_check_fails_a_batch_and_all_arrive_one_by_one() {
    let desk = Desk::new();
    desk.checks(0..6);
    desk.server.moods(&[Mood::CutAfter]);
    let status = desk.round(true);
    assert_eq!((status.waiting.checks, desk.server.books().checks.len()), (6, 6), "they arrived, and nobody said so");
    desk.checks(6..8);
    let status = desk.round(true);
    assert_eq!((status.waiting.checks, status.waiting.parked, desk.server.books().checks.len()), (0, 0, 8));
    // A batch in which one is known there already: the rest arrives all the same.
    desk.checks(7..12);
    let status = desk.round(true);
    assert_eq!((status.waiting.checks, status.waiting.parked, desk.server.books().checks.len()), (0, 0, 12));
}

#[test]
fn a_check_whose_form_the_server_does_not_like_is_parked_and_the_others_arrive() {
    const WHY: &str = "latency must be an integer number";
    let desk = Desk::new();
    desk.checks(0..3);
    // The batch, and then the first of those that go alone.
    desk.server.moods(&[Mood::Says(WHY), Mood::Says(WHY)]);
    let status = desk.round(true);
    assert_eq!((status.waiting.checks, status.waiting.parked, desk.server.books().checks.len()), (0, 1, 2));
    assert_eq!(status.parked[0].why, WHY);
}

#[test]
fn what_the_server_refuses_for_good_is_parked_and_told() {
    let mut desk = Desk::of("3b5d0a9e-0f3c-4c5e-9d52-000000000000");
    desk.test();
    let status = desk.round(true);
    assert_eq!((status.registered, status.trouble.as_deref(), status.waiting.tests), (false, Some("school does not exist"), 1));
    let mut desk = Desk::new();
    desk.test();
    desk.round(true);
    desk.server.books().country = "KG".into();
    desk.test();
    desk.test();
    let status = desk.round(true);
    assert_eq!((status.waiting.parked, status.waiting.tests, status.parked[0].why.as_str()), (1, 1, "wrong country code"));
    let refused = desk.metric("bulak_giga_records_total{fate=\"refused\"}");
    assert!((refused - 1.0).abs() < 0.1 && (desk.metric("bulak_giga_parked") - 1.0).abs() < 0.1, "{refused}");
    // A person has mended it.
    desk.server.books().country = "KZ".into();
    let status = desk.runtime.block_on(desk.giga.now()).expect("sent");
    assert_eq!((status.waiting.parked, desk.copies()), (0, vec![1, 1, 1]));
    // An app that is too old for it is dropped with an empty 201: that is no yes.
    desk.test();
    desk.server.moods(&[Mood::Status(201)]);
    let status = desk.round(true);
    assert!(status.waiting.parked == 1 && status.parked[0].why.contains("without a word"), "{status:?}");
}

#[test]
fn a_key_that_is_not_taken_stops_everything_until_there_is_another() {
    let mut desk = Desk::new();
    desk.test();
    desk.server.books().key = "another-key".into();
    let status = desk.round(true);
    assert!(status.stopped.is_some() && status.waiting.tests == 1, "{status:?}");
    assert!(desk.metric("bulak_giga_stopped") > 0.9);
    let asked = desk.server.asks("POST", "/");
    for _ in 0..3 {
        desk.round(true);
    }
    assert_eq!(desk.server.asks("POST", "/"), asked, "nothing more is sent");
    key_file(desk.folder.path(), "another-key\n");
    let status = desk.round(true);
    assert_eq!((status.stopped, desk.copies()), (None, vec![1]));
    assert!(desk.metric("bulak_giga_stopped") < 0.1);
    std::fs::set_permissions(desk.folder.path().join("giga.key"), std::fs::Permissions::from_mode(0o644)).expect("chmod");
    desk.test();
    assert!(desk.round(true).trouble.is_some_and(|why| why.contains("chmod 600")));
}

#[test]
fn a_server_that_forgot_us_is_told_who_we_are_again() {
    let mut desk = Desk::new();
    desk.test();
    desk.round(true);
    let before = desk.server.books().users.remove(0);
    desk.test();
    desk.round(true);
    assert_eq!(desk.copies(), [1, 1]);
    assert_eq!(desk.server.books().users[0]["user_id"], before["user_id"], "the same as before");
}

#[test]
fn more_than_sixty_requests_a_minute_are_waited_for() {
    let mut desk = Desk::new();
    for _ in 0..62 {
        desk.test();
    }
    let status = desk.round(true);
    // One registration and 59 tests; a real node leaves 1.1 s between two requests and never gets here.
    assert_eq!((desk.server.books().tests.len(), status.waiting.tests), (59, 3));
    assert!(status.trouble.is_some_and(|why| why.contains("429")));
}

#[test]
fn a_real_node_tells_each_test_once_through_a_power_cut_in_the_middle() {
    let server = Server::start();
    let folder = tempfile::tempdir().expect("a folder");
    past::give(folder.path(), 1);
    let key = key_file(folder.path(), KEY);
    let setup = Setup::new()
        .set("giga.url", &format!("\"{}\"", server.url()))
        .set("giga.key", &format!("\"{}\"", key.display()))
        .set("giga.id", &format!("\"{SCHOOL}\""))
        .set("meter.startup", "false");
    let mut node = setup.start_in(folder);
    let send = |node: &kit::node::Node| http::local(&node.folder.path().join("state/bulak.sock"), "POST", "/api/v1/reports/giga/send");
    assert_eq!(send(&node).status, 200);
    assert!(server.books().tests.is_empty(), "nobody agreed to what was before");
    node.terminate();
    past::give(node.folder.path(), 1);
    node.restart();
    // The server keeps the first and says nothing; the power fails.
    server.moods(&[Mood::Hang]);
    let socket = node.folder.path().join("state/bulak.sock");
    let waiting = std::thread::spawn(move || std::panic::catch_unwind(|| http::local(&socket, "POST", "/api/v1/reports/giga/send")));
    kit::until("the server has one", 60, || server.books().tests.len() == 1);
    node.kill();
    let _cut = waiting.join();
    node.restart();
    let told = send(&node);
    assert_eq!(told.status, 200, "{}", told.text());
    let books = server.books();
    let mut ids: Vec<String> = books.tests.iter().map(|test| test["UUID"].to_string()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!((ids.len(), books.tests.len(), books.users.len()), (3, 3, 1), "each once: {:?}", books.complaints);
    drop(books);
    let status = node.command(&["status"]);
    let said = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(said.contains("Giga Meter"), "{said}");
    // Nothing of the key anywhere but in its file.
    let shown = node.command(&["config", "show", "--json"]);
    assert!(!String::from_utf8_lossy(&shown.stdout).contains(KEY) && !node.log_text().contains(KEY));
}
