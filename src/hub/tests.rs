//! The hub on real sockets: what it takes, what it refuses, what it shows.

use super::*;
use crate::base::body::Body;
use crate::hub::keep::cluster::Cluster;
use crate::report::batch;
use crate::report::sign::Key;
use futures_util::FutureExt;
use http::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// 2026-11-24T05:00:00Z.
const NOW: Time = Time::from_secs(1_795_496_400);

pub(super) struct Stage {
    pub(super) place: SocketAddr,
    life: Life,
    pub(super) key: Key,
    pub(super) clock: Clock,
    database: Place,
    pub(super) router: axum::Router,
    pub(super) parts: serve::Parts,
    _folder: tempfile::TempDir,
}

impl Stage {
    async fn new() -> Stage {
        Stage::with(None, Viewers::Anyone).await
    }

    pub(super) async fn with(database: Option<Place>, viewers: Viewers) -> Stage {
        let folder = tempfile::tempdir().expect("a folder");
        let key = Key::make();
        let database = database.unwrap_or_else(|| Place::File(folder.path().join("deep/hub.sqlite")));
        let node = Enrolled {
            key: key.public(),
            school: "Ақсу 7".into(),
            name: "<b>№ 7</b>".into(),
            provider: "SAT".into(),
            contract: Some(BitRate::mbit(20)),
        };
        let listen = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
        let settings = Settings { listen, database: database.clone(), viewers, nodes: vec![node], ..Settings::default() };
        let (life, clock) = (Life::default(), Clock::manual(NOW));
        let hub = Hub::bind(settings, clock.clone(), &life, &Metrics::default()).await.expect("binds");
        let place = hub.addresses()[0];
        let parts = hub.parts.clone();
        let router = serve::routes(parts.clone(), &hub.tests);
        life.spawn(hub.serve());
        Stage { place, life, key, clock, database, router, parts, _folder: folder }
    }

    /// The next start of the same hub, by another clock.
    async fn again(self, life: &Life, clock: &Clock) -> Stage {
        let listen = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
        let nodes = vec![Enrolled { key: self.key.public(), school: "Ақсу 7".into(), ..Enrolled::default() }];
        let settings = Settings { listen, database: self.database.clone(), nodes, ..Settings::default() };
        let hub = Hub::bind(settings, clock.clone(), life, &Metrics::default()).await.expect("binds");
        let (place, parts, router) = (hub.addresses()[0], hub.parts.clone(), serve::routes(hub.parts.clone(), &hub.tests));
        life.spawn(hub.serve());
        Stage { place, router, parts, clock: clock.clone(), ..self }
    }

    /// What other programs do with the same database.
    pub(super) async fn office(&self) -> (enrol::Book, people::People) {
        let keep = open(&self.database).await.expect("opens");
        let book = enrol::Book::open(vec![], keep.clone(), self.clock.clone()).await.expect("reads");
        (book, people::People::new(keep, self.clock.clone(), Viewers::Tokens))
    }

    async fn json(&self, method: &str, path: &str, token: &str, body: &Value) -> (StatusCode, Value) {
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        let request = if token.is_empty() { request } else { request.header("authorization", format!("Bearer {token}")) };
        let (status, _, body) = self.send(request.body(Body::full(body.to_string().into_bytes())).expect("valid")).await;
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    async fn until(&self, what: &str, mut done: impl AsyncFnMut() -> bool) {
        for _ in 0..600 {
            if done().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{what}");
    }

    async fn send(&self, mut request: Request<Body>) -> (StatusCode, http::HeaderMap, Vec<u8>) {
        let stream = tokio::net::TcpStream::connect(self.place).await.expect("connects");
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("speaks");
        self.life.spawn(async move { drop(connection.await) });
        request.headers_mut().insert("host", "hub".parse().expect("valid"));
        let response: Response<hyper::body::Incoming> = sender.send_request(request).await.expect("answers");
        let (head, body) = response.into_parts();
        let body = Body::stream(body).collect(4 << 20).await.expect("whole");
        (head.status, head.headers, body.to_vec())
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        let (status, _, body) = self.send(Request::get(path).body(Body::Empty).expect("valid")).await;
        (status, String::from_utf8(body).expect("UTF-8"))
    }

    pub(super) async fn upload(&self, records: &[Vec<u8>]) -> (StatusCode, Value) {
        let body = batch::pack(records.iter().map(Vec::as_slice)).expect("packs");
        let digest = batch::digest(&body);
        self.raw(body, Some(&digest)).await
    }

    async fn raw(&self, body: Vec<u8>, digest: Option<&str>) -> (StatusCode, Value) {
        let mut request = Request::post("/api/v1/reports").header("content-encoding", "zstd");
        if let Some(digest) = digest {
            request = request.header("content-digest", digest);
        }
        let (status, _, body) = self.send(request.header("content-length", body.len()).body(Body::full(body)).expect("valid")).await;
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    pub(super) fn record(key: &Key, seq: i64, more: &Value) -> Vec<u8> {
        let mut record = json!({
            "v": 1, "node": key.node(), "boot_id": "00000000", "epoch": 5, "seq": seq, "kind": "hour",
            "start": "2026-11-24T04:00:00.000000Z", "end": "2026-11-24T05:00:00.000000Z", "clock_ok": true, "payload": {
                "line": {"state": "up", "up_seconds": 3600, "download_p95_bps": 8_000_000_u64},
                "cache": {}, "store": {}, "night": {}, "health": {"version": "0.1.0", "uptime_seconds": 1, "outbox_records": 0, "outbox_dropped": 0, "outbox_parked": 0},
                "total": {"by_way": {"mirror": {"hit": {"requests": 4, "bytes": 3_000_000}, "miss": {"requests": 1, "bytes": 1_000_000}}}},
            },
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            record[name] = value.clone();
        }
        key.seal(record.to_string().as_bytes())
    }
}

#[tokio::test]
async fn a_repeated_upload_is_kept_once() {
    let stage = Stage::new().await;
    let records = [Stage::record(&stage.key, 1, &Value::Null), Stage::record(&stage.key, 2, &Value::Null)];
    for _ in 0..3 {
        let (status, reply) = stage.upload(&records).await;
        assert_eq!((status, reply), (StatusCode::OK, json!({"acked_seq": 2, "reject": [], "next_after_s": 0})));
    }
    let (_, metrics) = stage.get("/metrics").await;
    assert!(
        metrics.contains("bulak_hub_records_total{fate=\"stored\"} 2") && metrics.contains("bulak_hub_records_total{fate=\"known\"} 4"),
        "{metrics}"
    );
    let (_, text) = stage.get("/api/v1/schools").await;
    let told: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((told["schools"][0]["records"].as_i64(), told["schools"][0]["standing"].as_str()), (Some(2), Some("live")));
}

#[tokio::test]
async fn a_hub_that_does_not_know_the_day_takes_nothing_and_says_so() {
    let stage = Stage::new().await;
    let hours: Vec<Vec<u8>> = (1..3).map(|seq| Stage::record(&stage.key, seq, &Value::Null)).collect();
    assert_eq!(stage.upload(&hours[..1]).await.0, StatusCode::OK);
    // The next start, by a clock whose battery is flat.
    let (life, clock) = (Life::default(), Clock::manual(NOW.minus(Duration::from_hours(300 * 24))));
    let other = stage.again(&life, &clock).await;
    let (status, problem) = other.upload(&hours[1..]).await;
    assert_eq!((status, problem["id"].as_str()), (StatusCode::SERVICE_UNAVAILABLE, Some("hub.clock")));
    assert!(other.get("/?lang=en").await.1.contains("clock is behind"));
    other.until("the gauge", async || other.get("/metrics").await.1.contains("bulak_hub_clock_ok 0")).await;
    clock.advance(Duration::from_hours(300 * 24));
    assert_eq!(other.upload(&hours[1..]).await.0, StatusCode::OK);
    assert!(!other.get("/?lang=en").await.1.contains("clock is behind"));
    life.end(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_hub_that_wakes_days_behind_loses_no_hour() {
    let stage = Stage::new().await;
    let (book, _) = stage.office().await;
    assert_eq!(stage.upload(&[Stage::record(&stage.key, 1, &Value::Null)]).await.0, StatusCode::OK);
    let mut keys = Vec::new();
    for school in ["aksu-8", "aksu-9"] {
        let made = book.make(&enrol::Order { school: school.into(), ..enrol::Order::default() }).await.expect("made");
        let key = Key::make();
        let asks = crate::report::enrol::Asks::new(&made.code, &key);
        assert_eq!(stage.json("POST", "/api/v1/enrol", "", &json!(asks)).await.0, StatusCode::OK);
        assert_eq!(stage.upload(&[Stage::record(&key, 1, &Value::Null)]).await.0, StatusCode::OK);
        keys.push(key);
    }
    // Off for three days; the clock goes on from where it stood.
    let (life, clock) = (Life::default(), Clock::manual(NOW));
    let away = Duration::from_hours(72);
    let other = stage.again(&life, &clock).await;
    let told = json!({"start": NOW.plus(away).minus(Duration::from_hours(1)).to_rfc3339(), "end": NOW.plus(away).to_rfc3339()});
    let keep = open(&other.database).await.expect("opens");
    let rows =
        async |school: &str| keep.kept(school, NOW.plus(Duration::from_hours(1)), NOW.plus(away * 2)).await.expect("reads").hours.len();
    for key in &keys {
        let (status, problem) = other.upload(&[Stage::record(key, 2, &told)]).await;
        assert_eq!((status, problem["id"].as_str()), (StatusCode::SERVICE_UNAVAILABLE, Some("hub.clock")));
        assert_eq!(keep.recent(&key.node(), 9).await.expect("reads").len(), 1, "nothing is acknowledged");
    }
    assert!(other.get("/?lang=en").await.1.contains("clock is behind"));
    clock.advance(away);
    assert!(!other.get("/?lang=en").await.1.contains("clock is behind"));
    for (key, school) in keys.iter().zip(["aksu-8", "aksu-9"]) {
        assert_eq!(other.upload(&[Stage::record(key, 2, &told)]).await.0, StatusCode::OK);
        assert_eq!(rows(school).await, 1);
    }
    life.end(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn one_node_and_a_hub_that_were_years_ahead_together_are_healed_when_they_are_right() {
    let stage = Stage::new().await;
    let at = |seq: i64, end: Time| {
        let told = json!({"start": end.minus(Duration::from_hours(1)).to_rfc3339(), "end": end.to_rfc3339()});
        Stage::record(&stage.key, seq, &told)
    };
    let hours = [at(1, NOW.plus(Duration::from_hours(24 * 1_000))), at(2, NOW)];
    stage.clock.advance(Duration::from_hours(24 * 1_000));
    assert_eq!(stage.upload(&hours[..1]).await.0, StatusCode::OK);
    let (life, clock) = (Life::default(), Clock::manual(NOW));
    let other = stage.again(&life, &clock).await;
    assert!(other.get("/?lang=en").await.1.contains("clock is behind"), "nobody knows yet");
    assert_eq!(other.upload(&hours[1..]).await.0, StatusCode::OK, "two clocks agree");
    assert!(!other.get("/?lang=en").await.1.contains("clock is behind"));
    life.end(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn what_is_wrong_is_refused_with_its_reason_and_the_rest_is_kept() {
    let stage = Stage::new().await;
    let mut forged = Stage::record(&stage.key, 2, &Value::Null);
    forged[0] ^= 1;
    let records = [
        Stage::record(&stage.key, 1, &Value::Null),
        forged,
        Stage::record(&stage.key, 3, &json!({"host": "e.kz"})),
        Stage::record(&stage.key, 4, &Value::Null),
    ];
    let (status, reply) = stage.upload(&records).await;
    assert_eq!((status, reply["acked_seq"].as_i64()), (StatusCode::OK, Some(4)));
    assert_eq!(reply["reject"][0], json!({"seq": 2, "why": "signature"}));
    assert_eq!(reply["reject"][1], json!({"seq": 3, "why": "schema: a field outside the list (host)"}));
    // The same number with other content: this node was restored from a copy.
    let (_, reply) = stage.upload(&[Stage::record(&stage.key, 4, &json!({"boot_id": "11111111"}))]).await;
    assert_eq!(reply["reject"], json!([{"seq": 4, "why": "number_used"}]));

    let stranger = Key::make();
    let (status, problem) = stage.upload(&[Stage::record(&stranger, 1, &Value::Null)]).await;
    assert_eq!((status, problem["id"].as_str()), (StatusCode::FORBIDDEN, Some("hub.unknown_node")));
    assert!(problem["title"].as_str().is_some_and(|title| title.contains(&stranger.node())));

    let body = batch::pack([records[0].as_slice()]).expect("packs");
    let digest = batch::digest(&body);
    let (status, problem) = stage.raw(body.clone(), None).await;
    assert_eq!((status, problem["id"].as_str()), (StatusCode::BAD_REQUEST, Some("hub.digest")));
    let (status, _) = stage.raw(body[..body.len() - 1].to_vec(), Some(&digest)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let request = Request::post("/api/v1/reports").body(Body::full(body)).expect("valid");
    assert_eq!(stage.send(request).await.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let (_, text) = stage.get("/api/v1/schools").await;
    let told: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(told["schools"][0]["records"], 2);
}

#[tokio::test]
async fn large_bodies_and_bombs_are_refused() {
    let stage = Stage::new().await;
    let mut noise = vec![0; batch::MOST_BYTES + 1];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    let digest = batch::digest(&noise);
    // The refusal comes before the body is read: the head alone is sent.
    let mut stream = tokio::net::TcpStream::connect(stage.place).await.expect("connects");
    let head = format!(
        "POST /api/v1/reports HTTP/1.1\r\nhost: hub\r\ncontent-encoding: zstd\r\ncontent-digest: {digest}\r\ncontent-length: {}\r\n\r\n",
        noise.len()
    );
    stream.write_all(head.as_bytes()).await.expect("sends");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.expect("answers");
    assert_eq!(&answer, b"HTTP/1.1 413");

    let bomb = zstd::bulk::compress(&vec![0; batch::MOST_UNPACKED + 1], 3).expect("packs");
    let digest = batch::digest(&bomb);
    let (status, problem) = stage.raw(bomb, Some(&digest)).await;
    assert_eq!((status, problem["id"].as_str()), (StatusCode::PAYLOAD_TOO_LARGE, Some("hub.malformed")));
    let many = zstd::bulk::compress(&vec![0; 4 * (batch::MOST_RECORDS + 1)], 3).expect("packs");
    let digest = batch::digest(&many);
    assert_eq!(stage.raw(many, Some(&digest)).await.0, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn pages_show_schools_in_three_languages_and_escape_names() {
    let stage = Stage::new().await;
    let (status, page) = stage.get("/").await;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("lang=\"kk\"") && page.contains("әлі хабарласпаған"), "{page}");
    stage.upload(&[Stage::record(&stage.key, 1, &Value::Null)]).await;
    let (_, page) = stage.get("/?lang=ru").await;
    assert!(page.contains("на связи") && page.contains("8,0 Мбит/с") && page.contains("3,0 МБ / 4,0 МБ"), "{page}");
    assert!(!page.contains("<b>№") && !page.contains("<script"), "{page}");
    let link = page.split("href=\"/schools/").nth(1).and_then(|rest| rest.split('?').next()).expect("a link");
    let (status, page) = stage.get(&format!("/schools/{link}?lang=en")).await;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("Last report") && page.contains("24.11.2026 10:00") && page.contains("Mirror: 3.0 MB / 4.0 MB"), "{page}");
    assert_eq!(stage.get("/schools/nobody").await.0, StatusCode::NOT_FOUND);
    assert_eq!(stage.get("/healthz").await, (StatusCode::OK, "ok\n".into()));
    // Another language shows the same: the same schools, the same days.
    let followed = async |at: &str, name: &str| {
        let (_, page) = stage.get(at).await;
        let before = page.split(&format!(">{name}</a>")).next().unwrap_or_default();
        let link = before.rsplit("href=\"").next().and_then(|rest| rest.split('"').next()).unwrap_or_default();
        stage.get(&link.replace("&amp;", "&").replace("&#38;", "&")).await.1
    };
    let ours = page.split("<h1>").nth(1).and_then(|rest| rest.split('<').next()).expect("a name").to_owned();
    let (elsewhere, here) = (followed("/?lang=en&q=nobody", "Русский").await, followed("/?lang=en&state=live&q=", "Русский").await);
    assert!(elsewhere.contains("Школы: 1") && !elsewhere.contains(&ours), "{elsewhere}");
    assert!(here.contains("aria-current=\"true\"><span class=\"mark live\"") && here.contains(&ours), "{here}");
    let school = followed(&format!("/schools/{link}?lang=en&days=90"), "Қазақша").await;
    assert!(school.contains("lang=kk&amp;days=90\">Қазақша"), "{school}");
    stage.clock.advance(Duration::from_secs(3 * 86_400));
    let (_, page) = stage.get("/?lang=en").await;
    assert!(page.contains("silent: box off or no line"), "{page}");
}

#[tokio::test]
async fn a_taken_port_is_named_and_the_end_is_graceful() {
    let stage = Stage::new().await;
    let settings = Settings { listen: vec![stage.place], database: Place::Memory, ..Settings::default() };
    let error = Hub::bind(settings, stage.clock.clone(), &Life::default(), &Metrics::default()).await.err().expect("taken");
    assert!(error.to_string().contains(&stage.place.to_string()), "{error}");
    assert!(stage.life.end(Duration::from_secs(5)).await, "everything ends within the grace");
    assert!(tokio::net::TcpStream::connect(stage.place).await.is_err());
}

#[tokio::test]
async fn bodies_find_room_before_they_are_read() {
    let stage = Stage::new().await;
    // Slow senders of the longest uploads: what they promise fills the room.
    let mut slow = Vec::new();
    for _ in 0..64 {
        let mut stream = tokio::net::TcpStream::connect(stage.place).await.expect("connects");
        let head = format!(
            "POST /api/v1/reports HTTP/1.1\r\nhost: hub\r\ncontent-encoding: zstd\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
            batch::MOST_BYTES
        );
        stream.write_all(head.as_bytes()).await.expect("sends");
        // The hub asks for a body once it reads it, hence once it has room.
        let mut asked = [0; 12];
        stream.read_exact(&mut asked).await.expect("answers");
        assert_eq!(&asked, b"HTTP/1.1 100");
        slow.push(stream);
    }
    let records = [Stage::record(&stage.key, 1, &Value::Null)];
    let mut waits = Box::pin(stage.upload(&records));
    assert!(tokio::time::timeout(Duration::from_millis(300), waits.as_mut()).await.is_err(), "there is no room");
    // Who sends nothing is sent away before the one who waits gives up. Only as much time passes at once as lies well between the two.
    tokio::time::pause();
    while slow[0].try_read(&mut [0]).is_err() {
        tokio::time::advance(Duration::from_millis(10)).await;
    }
    tokio::time::resume();
    assert_eq!(waits.await.0, StatusCode::OK);
    drop(slow);
    assert_eq!(stage.upload(&records).await.0, StatusCode::OK);
}

#[tokio::test]
async fn one_address_of_the_internet_leaves_room_for_the_uploads_of_others() {
    let stage = Stage::new().await;
    let router = stage.router.clone();
    let upload = |from: &str, body: axum::body::Body| {
        let mut request = Request::post("/api/v1/reports").header("content-encoding", "zstd").body(body).expect("valid");
        request.extensions_mut().insert(listen::Client(from.parse().expect("an address")));
        tower::ServiceExt::oneshot(router.clone(), request)
    };
    let endless = || axum::body::Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let mut slow: Vec<_> = (0..16).map(|host| Box::pin(upload(&format!("2001:db8::{host:x}"), endless()))).collect();
    for one in &mut slow {
        assert!(one.as_mut().now_or_never().is_none());
    }
    let status = async |from: &str| upload(from, axum::body::Body::from("no zstd")).await.expect("an answer").status();
    assert_eq!(status("2001:db8::ffff").await, StatusCode::SERVICE_UNAVAILABLE, "its network has its share");
    for other in ["2001:db8:0:1::1", "192.0.2.7", "10.0.0.1"] {
        assert_eq!(status(other).await, StatusCode::BAD_REQUEST, "{other}");
    }
    drop(slow);
    assert_eq!(status("2001:db8::ffff").await, StatusCode::BAD_REQUEST);
}

/// Hours, tests, pings and an outage of yesterday and today reach days, charts and tables, on both databases.
async fn a_week_told(stage: &Stage) {
    let at = |hours: i64| Time::from_secs(NOW.secs() + hours * 3_600).to_rfc3339();
    let mut records = Vec::new();
    for hour in 0..40_i64 {
        let line = json!({"state": "up", "up_seconds": 3000, "down_seconds": 600, "download_p95_bps": 8_000_000_u64, "attempts": 4, "rtt_median_ms": 41.5});
        let told = json!({"start": at(hour - 40), "end": at(hour - 39), "payload": {"line": line}});
        records.push(Stage::record(&stage.key, 10 + hour, &told));
    }
    let test = json!({"trigger": "daily", "end": "ok", "busy": true, "cost_bytes": 2_500_000, "download": {"estimate_bps": 7_840_000, "rtt_min_ms": 40.0}});
    let more = [
        ("speedtest", json!({"test": test})),
        ("ping", json!({"ping": {"sent": 20, "received": 15, "rtt_median_ms": 40.0}})),
        ("event", json!({"event": {"what": "line_down", "seconds": 600, "open": false}})),
    ];
    for (seq, (kind, payload)) in (100..).zip(more) {
        records.push(Stage::record(&stage.key, seq, &json!({"kind": kind, "start": at(-2), "end": at(-1), "payload": payload})));
    }
    let (status, reply) = stage.upload(&records).await;
    assert_eq!((status, &reply["reject"]), (StatusCode::OK, &json!([])));
    let school = "/api/v1/schools/%D0%90%D2%9B%D1%81%D1%83%207";
    let days = async || serde_json::from_str::<Value>(&stage.get(&format!("{school}/days")).await.1).expect("JSON");
    stage.until("the days are made", async || days().await.as_array().is_some_and(|days| days.len() == 3)).await;
    let days = days().await;
    // 2026-11-22 18:00 in Almaty until 2026-11-24 10:00.
    let told: Vec<i64> = days.as_array().expect("days").iter().filter_map(|day| day["up_seconds"].as_i64()).collect();
    assert_eq!(told, [6 * 3_000, 24 * 3_000, 10 * 3_000]);
    assert_eq!(
        (days[2]["download_bps"].as_i64(), days[2]["pings_received"].as_i64(), days[2]["outages"].as_i64()),
        (Some(7_840_000), Some(15), Some(1))
    );
    let (_, page) = stage.get("/schools/%D0%90%D2%9B%D1%81%D1%83%207?lang=ru").await;
    assert!(page.contains("<svg class=\"chart\"") && page.contains("point busy") && page.contains("class=\"contract\""), "{page}");
    assert!(page.contains("7,8 Мбит/с") && page.contains("обрыв линии") && page.contains("25,0 %") && !page.contains("<script"), "{page}");
    let (_, page) = stage.get("/?lang=en").await;
    assert!(page.contains("aria-label=\"line down: 3, no data: 27\"") && page.contains("By contract 20.0 Mbit/s"), "{page}");
    let (_, excel) = stage.get(&format!("{school}/days.csv")).await;
    let lines: Vec<&str> = excel.split("\r\n").collect();
    assert!(
        excel.starts_with('\u{feff}')
            && lines[0].contains(";up_seconds;")
            && lines[3].contains(";24.11.2026;")
            && lines[3].contains(";41,5;"),
        "{excel}"
    );
    let (_, plain) = stage.get(&format!("{school}/tests.csv?csv=plain")).await;
    assert!(
        plain.starts_with("node,epoch,seq,school,") && plain.contains(",7840000,") && plain.contains("2026-11-24T03:00:00.000000Z"),
        "{plain}"
    );
    for path in ["/api/v1/days.csv", "/api/v1/tests.csv", "/api/v1/outages.csv", "/api/v1/schools.csv"] {
        assert_eq!(stage.get(path).await.1.lines().count(), if path.contains("days") { 4 } else { 2 }, "{path}");
    }
    assert_eq!(stage.get(&format!("{school}/days?from=soon")).await.0, StatusCode::BAD_REQUEST);
    assert!(stage.get("/?state=silent").await.1.contains("<tbody>\n</tbody>"), "filtered");
}

#[tokio::test]
async fn records_become_days_charts_and_tables_on_sqlite() {
    a_week_told(&Stage::new().await).await;
}

#[tokio::test]
async fn records_become_days_charts_and_tables_on_postgresql() {
    let Some(cluster) = Cluster::start() else { return };
    a_week_told(&Stage::with(Some(Place::Postgres(cluster.first())), Viewers::Anyone).await).await;
}

#[tokio::test]
async fn a_node_enrols_by_a_code_and_is_revoked_at_once() {
    let stage = Stage::new().await;
    let (book, _) = stage.office().await;
    let order = |school: &str, replaces| enrol::Order { school: school.into(), name: "№ 8".into(), replaces, ..enrol::Order::default() };
    let made = book.make(&order("aksu-8", false)).await.expect("made");
    let key = Key::make();
    let hour = |seq| Stage::record(&key, seq, &Value::Null);
    assert_eq!(stage.upload(&[hour(1)]).await.1["id"], "hub.unknown_node");
    let asks = crate::report::enrol::Asks::new(&made.code.to_lowercase(), &key);
    let forged = crate::report::enrol::Asks { key: Key::make().public(), ..asks.clone() };
    assert_eq!(stage.json("POST", "/api/v1/enrol", "", &json!(forged)).await.1["id"], "hub.bad_signature");
    for _ in 0..2 {
        let (status, told) = stage.json("POST", "/api/v1/enrol", "", &json!(asks)).await;
        assert_eq!((status, told["school"].as_str(), told["name"].as_str()), (StatusCode::OK, Some("aksu-8"), Some("№ 8")));
    }
    assert_eq!(stage.upload(&[hour(1)]).await.0, StatusCode::OK);
    let other = crate::report::enrol::Asks::new(&made.code, &Key::make());
    assert_eq!(stage.json("POST", "/api/v1/enrol", "", &json!(other)).await.0, StatusCode::NOT_FOUND, "used up");
    // A second box with a copy of the card asks for another school.
    let made = book.make(&order("aksu-9", false)).await.expect("made");
    let (status, told) = stage.json("POST", "/api/v1/enrol", "", &json!(crate::report::enrol::Asks::new(&made.code, &key))).await;
    assert_eq!((status, told["id"].as_str()), (StatusCode::CONFLICT, Some("hub.key_taken")));
    // The box is replaced: the school keeps its history, the old box its silence.
    let made = book.make(&order("aksu-8", true)).await.expect("made");
    let fresh = Key::make();
    assert_eq!(
        stage.json("POST", "/api/v1/enrol", "", &json!(crate::report::enrol::Asks::new(&made.code, &fresh))).await.0,
        StatusCode::OK
    );
    assert_eq!(stage.upload(&[hour(2)]).await.1["id"], "hub.revoked");
    let one = async |id: &str| serde_json::from_str::<Value>(&stage.get(&format!("/api/v1/schools/{id}")).await.1).expect("JSON");
    let told = one("aksu-8").await;
    assert_eq!(
        (&told["school"]["standing"], &told["school"]["former"]),
        (&json!("live"), &json!([key.node()])),
        "the new box has not spoken yet"
    );
    assert_eq!(told["records"].as_array().map(Vec::len), Some(1));
    assert_eq!(stage.upload(&[Stage::record(&fresh, 1, &Value::Null)]).await.0, StatusCode::OK);
    // Another program revokes, and it counts at once; a node of the hub's file goes the same way.
    book.revoke(&fresh.node()).await.expect("revoked");
    assert_eq!(stage.upload(&[Stage::record(&fresh, 2, &Value::Null)]).await.1["id"], "hub.revoked");
    let (_, text) = stage.get("/api/v1/schools?q=aksu-8").await;
    let told: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((told["found"].as_i64(), told["schools"][0]["name"].as_str()), (Some(1), Some("№ 8")));
    // Guessing is slow.
    let mut answers = Vec::new();
    for number in 0..12 {
        let wrong = crate::report::enrol::Asks::new(&format!("0000000{number:x}"), &key);
        answers.push(stage.json("POST", "/api/v1/enrol", "", &json!(wrong)).await.0.as_u16());
    }
    assert_eq!((answers[0], answers[11]), (404, 429), "{answers:?}");
}

#[tokio::test]
async fn who_looks_and_who_changes_shows_a_token() {
    let stage = Stage::with(None, Viewers::Tokens).await;
    let (_, people) = stage.office().await;
    let admin = people.add("engineer", people::Role::Admin, None).await.expect("made").token;
    let (status, made) = stage.json("POST", "/api/v1/tokens", &admin, &json!({"name": "Ministry", "role": "viewer"})).await;
    let viewer = made["token"].as_str().expect("a token").to_owned();
    assert_eq!(status, StatusCode::CREATED);
    for (method, path, none, look, change) in [
        ("GET", "/", 401, 200, 200),
        ("GET", "/api/v1/schools", 401, 200, 200),
        ("GET", "/api/v1/days.csv", 401, 200, 200),
        ("GET", "/api/v1/nodes", 401, 403, 200),
        ("GET", "/api/v1/codes", 401, 403, 200),
        ("GET", "/api/v1/tokens", 401, 403, 200),
        ("POST", "/api/v1/nodes/x/revoke", 401, 403, 404),
        ("DELETE", "/api/v1/codes/x", 401, 403, 404),
        ("GET", "/healthz", 200, 200, 200),
        ("GET", "/api/v1/openapi.json", 200, 200, 200),
    ] {
        for (token, wanted) in [("", none), (viewer.as_str(), look), (admin.as_str(), change)] {
            let told = stage.json(method, path, token, &Value::Null).await.0.as_u16();
            assert_eq!(told, wanted, "{method} {path}");
        }
    }
    // A form of another site makes a browser send what it signed in with.
    let wrapped = sfv::ItemSerializer::new().bare_item(format!("any:{admin}").as_bytes()).finish();
    let shown = format!("Basic {}", wrapped.trim_matches(':'));
    for (method, path, wanted) in [("POST", "/api/v1/nodes/x/revoke", 403), ("GET", "/api/v1/nodes", 200)] {
        let request = Request::builder().method(method).uri(path).header("authorization", shown.as_str());
        let (status, ..) = stage.send(request.body(Body::full(Vec::new())).expect("valid")).await;
        assert_eq!(status.as_u16(), wanted, "{method} {path}");
    }
    // Nodes sign: their reports need none.
    assert_eq!(stage.upload(&[Stage::record(&stage.key, 1, &Value::Null)]).await.0, StatusCode::OK);
    let (status, made) = stage.json("POST", "/api/v1/codes", &admin, &json!({"school": "aksu-8"})).await;
    assert_eq!((status, made["code"].as_str().map(str::len)), (StatusCode::CREATED, Some(12)));
    let (_, codes) = stage.json("GET", "/api/v1/codes", &admin, &Value::Null).await;
    assert!(codes["codes"][0]["state"] == "open" && !codes.to_string().contains(made["code"].as_str().expect("a code")), "{codes}");
    let (status, _) = stage.json("DELETE", &format!("/api/v1/codes/{}", made["id"].as_str().expect("an id")), &admin, &Value::Null).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let (status, _) = stage.json("POST", &format!("/api/v1/nodes/{}/revoke", stage.key.node()), &admin, &Value::Null).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(stage.upload(&[Stage::record(&stage.key, 2, &Value::Null)]).await.1["id"], "hub.revoked", "although the file lists it");
}

#[tokio::test]
async fn a_copied_card_is_found_and_told() {
    let stage = Stage::new().await;
    let at = |hours: i64| Time::from_secs(NOW.secs() + hours * 3_600).to_rfc3339();
    let hour = |epoch: i64, seq: i64, end: i64| {
        let told = json!({"epoch": epoch, "start": at(end - 1), "end": at(end), "boot_id": format!("{epoch:08x}")});
        Stage::record(&stage.key, seq, &told)
    };
    let second = NOW.secs();
    stage.upload(&[hour(5, 1, -1)]).await;
    // The copy speaks with the same number, is told so, and begins an epoch of its own; the other goes on.
    assert_eq!(stage.upload(&[hour(5, 1, 0)]).await.1["reject"][0]["why"], "number_used");
    stage.upload(&[hour(second, 2, 0)]).await;
    let (_, text) = stage.get("/api/v1/schools").await;
    assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON")["schools"][0]["twin"], false);
    stage.clock.advance(Duration::from_secs(3_600));
    assert_eq!(stage.upload(&[hour(5, 2, 1)]).await.0, StatusCode::OK);
    let (_, text) = stage.get("/api/v1/schools").await;
    let told: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&told["schools"][0]["twin"], &told["schools"][0]["records"]), (&json!(true), &json!(3)));
    assert!(stage.get("/?lang=en").await.1.contains("copied key"));
    assert!(stage.get("/schools/%D0%90%D2%9B%D1%81%D1%83%207?lang=en").await.1.contains("Two boxes use one key"));
    assert!(stage.get("/metrics").await.1.contains("bulak_hub_twin_uploads_total 1"));
}

#[tokio::test]
async fn a_node_that_lost_its_power_is_asked_after() {
    let stage = Stage::new().await;
    let mut silent = tokio::net::TcpStream::connect(stage.place).await.expect("connects");
    // Answered once, so that the hub has surely taken the connection up.
    silent.write_all(b"GET /healthz HTTP/1.1\r\nhost: hub\r\n\r\n").await.expect("sends");
    silent.read_exact(&mut [0; 12]).await.expect("answers");
    assert!(crate::base::door::is_asked_after(stage.place.port(), silent.local_addr().expect("bound").port()).await);
}
