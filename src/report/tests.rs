//! The reporter over a scripted node, with a real hub on a real socket.

use super::*;
use crate::base::body::Body;
use crate::hub::{Enrolled, Hub};
use crate::link::Slice;
use crate::report::compose::Figures;
use crate::report::world::Unsent;
use futures_util::future::BoxFuture;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tower::ServiceExt;

/// A clock that is ahead, and the line's history.
mod ahead;

/// Records of every kind.
mod kinds;

/// 2026-11-24T05:00:00Z.
const NOW: Time = Time::from_secs(1_795_496_400);

/// What happens to uploads on their way.
#[derive(Default)]
struct Trouble {
    /// The answers to this many uploads are lost after the hub has them.
    lose_answers: AtomicUsize,
    /// Canned answers, taken before anything is sent: status and Retry-After, or the whole answer where the status is 200.
    canned: Mutex<Vec<(u16, Option<&'static str>)>>,
    /// Uploads that went out.
    uploads: AtomicUsize,
}

#[derive(Clone, Default)]
struct Script {
    busy: Arc<AtomicBool>,
    figures: Arc<Mutex<Option<Figures>>>,
    slices: Arc<Mutex<Vec<Slice>>>,
    trouble: Arc<Trouble>,
    life: Life,
}

impl World for Script {
    fn figures(&self) -> Figures {
        self.figures.lock().clone().unwrap_or_else(compose::tests::full)
    }

    fn slices(&self, since: Time) -> Vec<Slice> {
        self.slices.lock().iter().filter(|slice| slice.end > since).cloned().collect()
    }

    fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }

    fn post<'a>(&'a self, target: &'a Target, request: Request<Body>) -> BoxFuture<'a, Result<Response<Body>, Unsent>> {
        Box::pin(async move {
            let canned = self.trouble.canned.lock().pop();
            if let Some((200, reply)) = canned {
                return Ok(Response::new(Body::full(reply.unwrap_or_default())));
            }
            if let Some((status, retry)) = canned {
                let builder = Response::builder().status(status);
                let builder = retry.map_or(Response::builder().status(status), |retry| builder.header("retry-after", retry));
                // As a hub says it of records.
                let told = if status == 400 { r#"{"id":"hub.malformed","title":"not taken"}"# } else { "" };
                return Ok(builder.body(Body::full(told)).expect("valid"));
            }
            self.trouble.uploads.fetch_add(1, Ordering::Relaxed);
            let place: SocketAddr = target.authority().parse().expect("an address");
            let response = send(&self.life, place, request).await?;
            let lose = self.trouble.lose_answers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            if lose.is_ok() { Err(Unsent::Later("cut".into())) } else { Ok(response) }
        })
    }
}

/// One request over a connection of its own.
pub(crate) async fn send(life: &Life, place: SocketAddr, mut request: Request<Body>) -> Result<Response<Body>, String> {
    let stream = tokio::net::TcpStream::connect(place).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    life.spawn(async move { drop(connection.await) });
    request.headers_mut().insert("host", place.to_string().parse().expect("valid"));
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    Ok(response.map(Body::stream))
}

/// What a waiting record says.
fn record(waiting: &crate::state::outbox::Waiting) -> Value {
    let plain = gather::plain(&waiting.sealed).expect("sound");
    serde_json::from_slice(sign::peel(&plain).expect("sealed")).expect("JSON")
}

struct Stage {
    script: Script,
    clock: Clock,
    life: Life,
    hub: Option<SocketAddr>,
    folder: tempfile::TempDir,
}

impl Stage {
    fn new() -> Stage {
        let folder = tempfile::tempdir().expect("a folder");
        Stage { script: Script::default(), clock: Clock::manual(NOW), life: Life::default(), hub: None, folder }
    }

    /// A node over this stage's world. Its key and database are files, so it can be started again.
    async fn node(&self, state: &str) -> Reporter {
        let settings = Settings {
            hub_url: self.hub.map(|place| Target::parse(&format!("http://{place}")).expect("valid")),
            school: "Ақсукент 7".into(),
            key_file: Some(self.path("report.key")),
            ..Settings::default()
        };
        let state = State::open(Some(&self.path(state))).await.expect("opens");
        Reporter::over(settings, self.clock.clone(), &Metrics::default(), state, Box::new(self.script.clone())).await.expect("starts")
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// A hub that knows this key.
    async fn hub(&mut self, key: &str) {
        let settings = crate::hub::Settings {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
            database: crate::hub::keep::Place::File(self.path("hub.sqlite")),
            nodes: vec![Enrolled { key: key.into(), school: "aksukent-7".into(), name: "№ 7".into(), ..Enrolled::default() }],
            ..crate::hub::Settings::default()
        };
        let hub = Hub::bind(settings, self.clock.clone(), &self.life, &Metrics::default()).await.expect("binds");
        self.hub = Some(hub.addresses()[0]);
        self.life.spawn(hub.serve());
    }

    async fn ask(&self, path: &str) -> Value {
        let request = Request::get(path).body(Body::Empty).expect("valid");
        let response = send(&self.life, self.hub.expect("a hub"), request).await.expect("answers");
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let bytes = response.into_body().collect(1 << 20).await.expect("whole");
        serde_json::from_slice(&bytes).expect("JSON")
    }

    async fn at_hub(&self) -> i64 {
        self.ask("/api/v1/schools").await["schools"][0]["records"].as_i64().expect("a count")
    }
}

fn slice(start: Time, up: u32, bytes: u64) -> Slice {
    Slice {
        start,
        end: start.plus(Duration::from_secs(300)),
        up_seconds: up,
        slow_seconds: 0,
        down_seconds: 0,
        unknown_seconds: 0,
        rx_bytes: bytes,
        tx_bytes: 1,
        background_rx_bytes: 0,
        rtt_min_ms: Some(40.0),
        rtt_median_ms: Some(50.0),
        rtt_p95_ms: Some(60.0),
        first_byte_median_ms: Some(70.0),
        download_p95_bps: Some(8_000_000),
        attempts: 2,
        failures: 0,
        passive: crate::link::passive::Passive::default(),
    }
}

#[tokio::test]
async fn reports_reach_the_hub_once_and_show_there() {
    let mut stage = Stage::new();
    let key = stage.node("state.sqlite").await.status().await.key;
    stage.hub(&key).await;
    let node = stage.node("state.sqlite").await;
    *stage.script.slices.lock() = vec![slice(NOW, 300, 1_000), slice(NOW.plus(Duration::from_secs(300)), 120, 500)];
    stage.clock.advance(Duration::from_secs(420));
    assert_eq!(node.report_now().await.expect("reports").1, 1);
    stage.clock.advance(Duration::from_secs(120));
    stage.script.slices.lock()[1] = slice(NOW.plus(Duration::from_secs(300)), 240, 900);
    assert_eq!(node.report_now().await.expect("reports").1, 2);
    let flushed = node.flush().await.expect("sends");
    assert_eq!(flushed, Flushed { delivered: 2, parked: 0, waiting: 0, trouble: None });

    let told = stage.ask("/api/v1/schools/aksukent-7").await;
    assert_eq!(told["school"]["standing"], "live");
    assert_eq!(told["school"]["by_way"]["http"]["client_bytes"], 7_000);
    assert_eq!(told["records"].as_array().map(Vec::len), Some(2));
    let line = |number: usize, name: &str| told["records"][number]["payload"]["line"][name].as_u64();
    assert_eq!((line(1, "up_seconds"), line(1, "rx_bytes")), (Some(420), Some(1_500)));
    assert_eq!((line(0, "up_seconds"), line(0, "rx_bytes")), (Some(120), Some(400)), "the running slice is not told twice");
    assert_eq!(told["records"][0]["payload"]["cache"]["by_way"]["http"]["hit"]["requests"], 0);
    assert_eq!(told["records"][1]["payload"]["cache"]["by_way"]["http"]["hit"]["requests"], 10);
    let status = node.status().await;
    assert_eq!((status.outbox.waiting, status.outbox.delivered, status.trouble), (0, 2, None));
}

#[tokio::test]
async fn a_cut_between_sending_and_the_answer_sends_again_and_the_hub_has_one() {
    let mut stage = Stage::new();
    let key = stage.node("state.sqlite").await.status().await.key;
    stage.hub(&key).await;
    let node = stage.node("state.sqlite").await;
    node.report_now().await.expect("reports");
    stage.script.trouble.lose_answers.store(1, Ordering::Relaxed);
    let flushed = node.flush().await.expect("tries");
    assert_eq!((flushed.delivered, flushed.waiting, flushed.trouble.as_deref()), (0, 1, Some("cut")));
    assert_eq!(stage.at_hub().await, 1);
    // The power goes; the node starts again from its files.
    drop(node);
    let node = stage.node("state.sqlite").await;
    assert_eq!(node.flush().await.expect("sends").delivered, 1);
    assert_eq!(stage.at_hub().await, 1);
    assert_eq!(stage.script.trouble.uploads.load(Ordering::Relaxed), 2);
    let (_, seq) = node.report_now().await.expect("reports");
    assert_eq!(seq, 2, "numbers go on");
}

#[tokio::test]
async fn a_hub_that_is_away_loses_nothing_and_is_tried_later() {
    let mut stage = Stage::new();
    let node = stage.node("state.sqlite").await;
    for _ in 0..3 {
        node.report_now().await.expect("reports");
        stage.clock.advance(Duration::from_secs(3_600));
    }
    assert_eq!(node.flush().await.expect("no hub").waiting, 3);
    assert_eq!(node.status().await.oldest_seconds, 3 * 3_600);
    // A port where nobody listens.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").expect("binds").local_addr().expect("bound");
    stage.hub = Some(gone);
    let node = stage.node("state.sqlite").await;
    let flushed = node.flush().await.expect("tries");
    assert_eq!((flushed.delivered, flushed.waiting), (0, 3));
    assert!(flushed.trouble.is_some());
    let key = node.status().await.key;
    stage.hub(&key).await;
    let node = stage.node("state.sqlite").await;
    assert_eq!(node.flush().await.expect("sends").delivered, 3);
    assert_eq!(stage.at_hub().await, 3);
}

#[tokio::test]
async fn answers_of_the_hub_are_obeyed() {
    let mut stage = Stage::new();
    let key = stage.node("state.sqlite").await.status().await.key;
    stage.hub(&key).await;
    let node = stage.node("state.sqlite").await;
    for _ in 0..4 {
        node.report_now().await.expect("reports");
    }
    stage.script.trouble.canned.lock().push((503, Some("7200")));
    assert_eq!(node.flush().await.expect("tries").waiting, 4);
    let wait = node.0.memory.lock().not_before.expect("a wait").saturating_duration_since(stage.clock.steady());
    assert_eq!(wait, Duration::from_secs(7_200));

    // 400 for four, 400 for two, 400 for one: that one is parked, the others arrive.
    stage.script.trouble.canned.lock().extend([(400, None), (400, None), (400, None)]);
    let flushed = node.flush().await.expect("sends");
    assert_eq!((flushed.delivered, flushed.parked, flushed.waiting), (3, 1, 0));
    let status = node.status().await;
    assert_eq!((status.parked[0].seq, status.outbox.parked), (1, 1));
    assert_eq!(stage.at_hub().await, 3);
}

/// The key was lost, or put aside since its card had been copied: what the box has found meanwhile is told under its new name.
#[tokio::test]
async fn a_box_with_a_new_key_tells_what_waited_under_the_old_one() {
    let mut stage = Stage::new();
    let node = stage.node("state.sqlite").await;
    let old = node.status().await.key;
    node.report_now().await.expect("reports");
    node.report_now().await.expect("reports");
    drop(node);
    std::fs::remove_file(stage.path("report.key")).expect("a key");
    let key = stage.node("state.sqlite").await.status().await.key;
    assert_ne!(key, old);
    stage.hub(&key).await;
    let node = stage.node("state.sqlite").await;
    node.report_now().await.expect("reports");
    let flushed = node.flush().await.expect("sends");
    assert_eq!((flushed.delivered, flushed.parked, flushed.waiting, flushed.trouble), (3, 0, 0, None));
    assert_eq!(stage.at_hub().await, 3);
}

#[tokio::test]
async fn a_hub_that_asks_for_eternity_is_asked_again_tomorrow() {
    let mut stage = Stage::new();
    let key = stage.node("state.sqlite").await.status().await.key;
    stage.hub(&key).await;
    let node = stage.node("state.sqlite").await;
    let replies = [
        (503, "18446744073709551615"),
        (503, "Fri, 31 Dec 9999 23:59:59 GMT"),
        (200, r#"{"acked_seq":0,"next_after_s":18446744073709551615}"#),
        (200, r#"{"acked_seq":2,"next_after_s":18446744073709551615}"#),
    ];
    node.report_now().await.expect("reports");
    node.report_now().await.expect("reports");
    let first = node.0.state.outbox().batch(1, 1 << 20).await.expect("reads")[0].seq;
    for (status, reply) in replies {
        stage.script.trouble.canned.lock().push((status, Some(reply)));
        node.flush().await.expect("tries");
        let wait = node.0.memory.lock().not_before.map(|moment| moment.saturating_duration_since(stage.clock.steady()));
        assert!(wait.is_some_and(|wait| wait <= Duration::from_hours(24)), "{reply}: {wait:?}");
        assert!(first > 0 && (status == 503 || reply.contains(":0,") || wait == Some(Duration::from_hours(24))), "{reply}: {wait:?}");
    }
    assert_eq!(node.status().await.outbox.waiting, 0);
}

#[tokio::test]
async fn a_hub_of_an_earlier_program_is_told_what_it_knows() {
    let mut stage = Stage::new();
    let key = stage.node("state.sqlite").await.status().await.key;
    stage.hub(&key).await;
    let node = stage.node("state.sqlite").await;
    // Its refusal, in its words; what is sent after it arrives at a hub that keeps what it is told.
    let refusal = r#"{"acked_seq":1,"reject":[{"seq":1,"why":"schema: a field outside the list (payloadlinesentsegments)"}]}"#;
    stage.script.trouble.canned.lock().push((200, Some(refusal)));
    node.report_now().await.expect("reports");
    let flushed = node.flush().await.expect("sends");
    assert_eq!((flushed.delivered, flushed.parked, flushed.waiting), (1, 0, 0));
    // What follows goes plainly at once, and the day after as it is.
    for hours in [1, 24] {
        stage.clock.advance(Duration::from_hours(hours));
        node.report_now().await.expect("reports");
        assert_eq!(node.flush().await.expect("sends").delivered, 1);
    }
    assert_eq!(stage.script.trouble.uploads.load(Ordering::Relaxed), 3);
    let told = stage.ask("/api/v1/schools/aksukent-7").await;
    let lines: Vec<&Value> = told["records"].as_array().expect("a list").iter().map(|record| &record["payload"]["line"]).collect();
    assert!(lines.iter().all(|line| line["up_seconds"].is_u64()), "{told}");
    let known: Vec<bool> = lines.iter().map(|line| line.get("sent_segments").is_some()).collect();
    assert_eq!(known, [true, false, false], "the newest first");
    // A refusal that has nothing to do with that is for good.
    stage.script.trouble.canned.lock().push((200, Some(r#"{"acked_seq":4,"reject":[{"seq":4,"why":"signature"}]}"#)));
    node.report_now().await.expect("reports");
    assert_eq!(node.flush().await.expect("sends").parked, 1);
}

#[tokio::test]
async fn a_node_that_the_hub_does_not_know_waits_and_says_so() {
    let mut stage = Stage::new();
    stage.hub(&sign::Key::make().public()).await;
    let node = stage.node("state.sqlite").await;
    node.report_now().await.expect("reports");
    let flushed = node.flush().await.expect("tries");
    assert_eq!((flushed.delivered, flushed.parked, flushed.waiting), (0, 0, 1));
    assert!(flushed.trouble.expect("trouble").contains("does not know this node"));
}

#[tokio::test]
async fn a_restored_box_begins_a_new_epoch() {
    let mut stage = Stage::new();
    let node = stage.node("state.sqlite").await;
    let key = node.status().await.key;
    stage.hub(&key).await;
    node.report_now().await.expect("reports");
    node.0.state.close().await;
    std::fs::copy(stage.path("state.sqlite"), stage.path("copy.sqlite")).expect("copied");
    let node = stage.node("state.sqlite").await;
    stage.clock.advance(Duration::from_secs(3_600));
    node.report_now().await.expect("reports");
    assert_eq!(node.flush().await.expect("sends").delivered, 2);

    // The disk dies; the box comes back with yesterday's copy and reports something else under number 2.
    let node = stage.node("copy.sqlite").await;
    stage.clock.advance(Duration::from_secs(3_600));
    node.report_now().await.expect("reports");
    let flushed = node.flush().await.expect("sends");
    assert_eq!((flushed.delivered, flushed.parked, flushed.waiting), (2, 0, 0), "1 was known, 2 goes by a new name");
    assert_eq!(stage.at_hub().await, 3);
    let status = node.status().await;
    assert!(status.outbox.epoch > NOW.secs());
}

#[tokio::test]
async fn a_clock_at_1970_is_told_and_breaks_no_order() {
    let mut stage = Stage::new();
    let node = stage.node("state.sqlite").await;
    let key = node.status().await.key;
    stage.hub(&key).await;
    let first = node.report_now().await.expect("reports");
    // The power goes; the battery is flat.
    stage.clock = Clock::manual(Time::from_secs(60));
    let node = stage.node("state.sqlite").await;
    assert!(!stage.clock.trusted(), "the newest record proves that it is later");
    stage.clock.advance(Duration::from_secs(600));
    let second = node.report_now().await.expect("reports");
    assert_eq!(second, (first.0, first.1 + 1));
    // The time comes back by NTP, an hour after the cut.
    stage.clock.jump(NOW.micros() + 3_000_000_000);
    let third = node.report_now().await.expect("reports");
    assert_eq!(third.1, 3);
    let third_begins = record(&node.0.state.outbox().batch(9, 1 << 20).await.expect("reads")[2])["start"].clone();
    assert_eq!(node.flush().await.expect("sends").delivered, 3);
    let told = stage.ask("/api/v1/schools/aksukent-7").await;
    let records = told["records"].as_array().expect("records");
    let mut by_number: Vec<&Value> = records.iter().collect();
    by_number.sort_by_key(|record| record["seq"].as_i64());
    // The second was dated anew before it left: it ends when the clock was set, less what has passed since.
    assert_eq!(by_number.iter().map(|record| record["clock_ok"].as_bool()).collect::<Vec<_>>(), [Some(true); 3]);
    assert_eq!(by_number[1]["end"], third_begins);
    assert!(by_number[1]["start"].as_str() <= by_number[1]["end"].as_str());
    assert_eq!(by_number[1]["payload"]["line"]["clock_seconds"], 600);
    assert_ne!(by_number[0]["boot_id"], by_number[1]["boot_id"]);
}

#[tokio::test]
async fn time_without_power_is_told_as_off() {
    let stage = Stage::new();
    let node = stage.node("state.sqlite").await;
    *stage.script.slices.lock() = vec![slice(NOW, 300, 10)];
    stage.clock.advance(Duration::from_secs(300));
    node.report_now().await.expect("reports");
    stage.clock.advance(Duration::from_secs(7_200));
    stage.script.slices.lock().clear();
    let node = stage.node("state.sqlite").await;
    stage.clock.advance(Duration::from_secs(300));
    node.report_now().await.expect("reports");
    let waiting = node.0.state.outbox().batch(10, 1 << 20).await.expect("reads");
    let record: Value = record(&waiting[1]);
    let line = &record["payload"]["line"];
    assert_eq!(
        (line["off_seconds"].as_u64(), line["no_data_seconds"].as_u64(), line["down_seconds"].as_u64()),
        (Some(7_200), Some(300), Some(0))
    );
    // The same in the history, by the hour.
    let recent = line::recent(&node.0.state.history(), stage.clock.now()).await.expect("reads");
    let last = recent.hours.last().expect("the running hour");
    assert_eq!((last.start, last.off_seconds, last.no_data_seconds), (NOW.plus(Duration::from_secs(7_200)), 300, 300));
    assert_eq!(recent.hours.first().map(|hour| (hour.start, hour.up_seconds)), Some((NOW, 300)));
    assert_eq!(recent.day.end, stage.clock.now());
}

#[tokio::test]
async fn the_local_api_reports_and_shows() {
    let mut stage = Stage::new();
    let key = stage.node("state.sqlite").await.status().await.key;
    stage.hub(&key).await;
    let node = stage.node("state.sqlite").await;
    let router = api::testable(node.clone(), node.0.state.clone());
    let ask = async |method: &str, path: &str| -> Value {
        let request = Request::builder().method(method).uri(path).body(axum::body::Body::empty()).expect("valid");
        let response = router.clone().oneshot(request).await.expect("answers");
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let bytes = response.into_body().collect().await.expect("whole").to_bytes();
        serde_json::from_slice(&bytes).expect("JSON")
    };
    let sent = ask("POST", "/api/v1/reports/send").await;
    assert_eq!((sent["seq"].as_i64(), sent["flushed"]["delivered"].as_u64()), (Some(1), Some(1)));
    let status = ask("GET", "/api/v1/reports").await;
    assert_eq!(status["node"], node.status().await.node);
    assert_eq!(status["outbox"]["delivered"], 1);
    let link = ask("GET", "/api/v1/link").await;
    assert_eq!((link["now"]["state"].as_str(), link["clock_ok"].as_bool()), (Some("up"), Some(true)));
    assert_eq!(link["recent"]["day"]["end"], "2026-11-24T05:00:00.000000Z");
    // A minute later, before the next round: whoever answers has not been off.
    stage.clock.advance(Duration::from_secs(60));
    let day = ask("GET", "/api/v1/link").await["recent"]["day"].take();
    assert_eq!((day["end"].as_str(), day["off_seconds"].as_u64()), (Some("2026-11-24T05:01:00.000000Z"), Some(0)), "{day}");
}

#[tokio::test]
async fn the_hourly_round_reports_at_its_own_minute() {
    let mut stage = Stage::new();
    let key = stage.node("state.sqlite").await.status().await.key;
    stage.hub(&key).await;
    let node = stage.node("state.sqlite").await;
    // Minute by minute: whichever its own is, three hours have it three times.
    for _ in 0..(3 * 60) {
        let pause = worker::step(&node).await.expect("works");
        assert!(pause <= Duration::from_secs(300) && pause >= Duration::from_secs(1));
        stage.clock.advance(Duration::from_secs(60));
    }
    let status = node.status().await;
    assert_eq!((status.outbox.seq, status.outbox.waiting), (3, 0), "three hours, three reports");
    assert_eq!(stage.at_hub().await, 3);
    assert!(status.next_report.is_some() && status.last_delivered.is_some());
    // The end comes while nothing is due: one more heartbeat, then it is over.
    let mut round = worker::Round { reporter: node.clone(), life: Life::default() };
    round.life.stop();
    assert!(matches!(crate::life::Worker::work(&mut round).await, Ok(crate::life::Next::Done)));
}

#[tokio::test]
async fn a_school_s_name_that_looks_like_a_host_is_refused_at_the_start() {
    let state = State::open(None).await.expect("opens");
    let settings = Settings { school: "school.example.kz".into(), ..Settings::default() };
    let made = Reporter::over(settings, Clock::manual(NOW), &Metrics::default(), state, Box::new(Script::default())).await;
    assert!(made.is_err_and(|error| error.to_string().contains("hub.school")));
}

#[tokio::test]
async fn a_code_enrols_the_node_when_the_hub_does_not_know_it() {
    let mut stage = Stage::new();
    stage.hub(&sign::Key::make().public()).await;
    let keep = crate::hub::open(&crate::hub::keep::Place::File(stage.path("hub.sqlite"))).await.expect("opens");
    let book = crate::hub::enrol::Book::open(vec![], keep, stage.clock.clone()).await.expect("reads");
    let order = crate::hub::enrol::Order { school: "aksu-8".into(), ..crate::hub::enrol::Order::default() };
    let code = book.make(&order).await.expect("made").code;
    let node = async |code: &str, state: &str| {
        let settings = Settings {
            hub_url: stage.hub.map(|place| Target::parse(&format!("http://{place}")).expect("valid")),
            code: code.into(),
            key_file: Some(stage.path(&format!("{state}.key"))),
            ..Settings::default()
        };
        let state = State::open(Some(&stage.path(state))).await.expect("opens");
        Reporter::over(settings, stage.clock.clone(), &Metrics::default(), state, Box::new(stage.script.clone())).await.expect("starts")
    };
    // A wrong code: everything waits, and the hub's own words say why.
    let wrong = node("00000000", "one.sqlite").await;
    wrong.report_now().await.expect("reports");
    let flushed = wrong.flush().await.expect("tries");
    assert_eq!((flushed.delivered, flushed.waiting), (0, 1));
    assert!(flushed.trouble.is_some_and(|why| why.contains("no such code")));
    let right = node(&code, "two.sqlite").await;
    right.report_now().await.expect("reports");
    assert_eq!(right.flush().await.expect("sends"), Flushed { delivered: 1, parked: 0, waiting: 0, trouble: None });
    assert_eq!(stage.ask("/api/v1/schools?q=aksu-8").await["schools"][0]["records"], 1);
    // By hand, as the command does it; the code is used up, for others.
    assert_eq!(right.join(&code).await.expect("again").school, "aksu-8");
    let refused = wrong.join(&code).await.expect_err("used");
    assert_eq!((refused.id.as_str(), refused.status), ("hub.no_code", 404));
    // Revoked: what it has waits, and the used code brings it not back.
    book.revoke(&right.status().await.node).await.expect("revoked");
    right.report_now().await.expect("reports");
    assert_eq!(right.flush().await.expect("tries").waiting, 1);
}
