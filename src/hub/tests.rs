//! The hub on real sockets: what it takes, what it refuses, what it shows.

use super::*;
use crate::base::body::Body;
use crate::report::batch;
use crate::report::sign::Key;
use http::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// 2026-11-24T05:00:00Z.
const NOW: Time = Time::from_secs(1_795_496_400);

struct Stage {
    place: SocketAddr,
    life: Life,
    key: Key,
    clock: Clock,
    _folder: tempfile::TempDir,
}

impl Stage {
    async fn new() -> Stage {
        let folder = tempfile::tempdir().expect("a folder");
        let key = Key::make();
        let settings = Settings {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
            database: Some(folder.path().join("deep/hub.sqlite")),
            nodes: vec![Enrolled { key: key.public(), school: "Ақсу 7".into(), name: "<b>№ 7</b>".into() }],
            ..Settings::default()
        };
        let (life, clock) = (Life::default(), Clock::manual(NOW));
        let hub = Hub::bind(settings, clock.clone(), &life, &Metrics::default()).await.expect("binds");
        let place = hub.addresses()[0];
        life.spawn(hub.serve());
        Stage { place, life, key, clock, _folder: folder }
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

    async fn upload(&self, records: &[Vec<u8>]) -> (StatusCode, Value) {
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

    fn record(key: &Key, seq: i64, more: &Value) -> Vec<u8> {
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
    assert!(page.contains("на связи") && page.contains("8.0 Mbit/s") && page.contains("3.0 MB / 4.0 MB"), "{page}");
    assert!(!page.contains("<b>№") && !page.contains("<script"), "{page}");
    let link = page.split("href=\"/schools/").nth(1).and_then(|rest| rest.split('"').next()).expect("a link");
    let (status, page) = stage.get(&format!("/schools/{link}?lang=en")).await;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("Last report") && page.contains("24.11.2026 05:00") && page.contains("Mirror: 3.0 MB / 4.0 MB"), "{page}");
    assert_eq!(stage.get("/schools/nobody").await.0, StatusCode::NOT_FOUND);
    assert_eq!(stage.get("/healthz").await, (StatusCode::OK, "ok\n".into()));
    stage.clock.advance(Duration::from_secs(3 * 86_400));
    let (_, page) = stage.get("/?lang=en").await;
    assert!(page.contains("silent: box off or no line"), "{page}");
}

#[tokio::test]
async fn a_taken_port_is_named_and_the_end_is_graceful() {
    let stage = Stage::new().await;
    let settings = Settings { listen: vec![stage.place], database: None, ..Settings::default() };
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
    // From here on nothing happens but deadlines.
    tokio::time::pause();
    let (status, problem) = stage.upload(&records).await;
    assert_eq!((status, problem["id"].as_str()), (StatusCode::SERVICE_UNAVAILABLE, Some("hub.busy")));
    tokio::time::resume();
    drop(slow.pop());
    assert_eq!(stage.upload(&records).await.0, StatusCode::OK);
}
