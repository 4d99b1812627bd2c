//! Every route, asked wrongly: what comes back is one of our documents, whoever refused.

use crate::base::crowd::Crowd;
use crate::base::problem::{CONTENT_TYPE, Problem};
use crate::hub::listen::Client;
use crate::hub::people::Role;
use crate::hub::tests::Stage;
use crate::hub::{Viewers, serve};
use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use axum::response::IntoResponse;
use serde_json::Value;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tower::ServiceExt;

/// Routes that are in no document of ours.
const OTHERS: [&str; 10] = [
    "/",
    "/schools/{id}",
    "/healthz",
    "/metrics",
    "/ndt/v7/download",
    "/ndt/v7/upload",
    "/throughput/v1/download",
    "/throughput/v1/upload",
    "/v2/nearest/ndt/ndt7",
    "/v2/nearest/msak/throughput1",
];

struct Asker {
    router: axum::Router,
    token: String,
    count: usize,
}

impl Asker {
    /// Asks as an admin; what is refused must be a document that says as which.
    async fn ask(&mut self, method: &str, path: &str, kind: &str, body: impl Into<Body>) -> u16 {
        let request = Request::builder().method(method).uri(path).header(header::HOST, "hub");
        let request = if kind.is_empty() { request } else { request.header(header::CONTENT_TYPE, kind) };
        let request = request.header(header::AUTHORIZATION, format!("Bearer {}", self.token));
        let answer = self.router.clone().oneshot(request.body(body.into()).expect("a request")).await.expect("an answer");
        let (head, body) = answer.into_parts();
        let status = head.status.as_u16();
        if status < 400 {
            return status;
        }
        let body = to_bytes(body, 64 << 10).await.expect("a body");
        let told = format!("{method} {path} {kind}: {status} {}", String::from_utf8_lossy(&body));
        assert_eq!(head.headers.get(header::CONTENT_TYPE).map(axum::http::HeaderValue::as_bytes), Some(CONTENT_TYPE.as_bytes()), "{told}");
        let problem: Problem = serde_json::from_slice(&body).expect(&told);
        assert!(problem.status == status && problem.kind.ends_with(&problem.id) && !problem.id.is_empty(), "{told}");
        assert!(!problem.title.is_empty() && status != 500, "{told}");
        assert!(status != 405 || head.headers.contains_key(header::ALLOW), "{told}");
        self.count += 1;
        status
    }
}

#[tokio::test]
async fn whatever_is_refused_is_a_document() {
    let stage = Stage::with(None, Viewers::Tokens).await;
    let (_, people) = stage.office().await;
    let token = people.add("engineer", Role::Admin, None).await.expect("made").token;
    let mut asker = Asker { router: stage.router.clone(), token, count: 0 };
    let document = serve::document::show().await.0;
    let mut routes: Vec<(String, Vec<String>, bool)> = Vec::new();
    for (path, operations) in document["paths"].as_object().expect("paths") {
        let operations = operations.as_object().expect("operations");
        let takes_json = operations.values().any(|operation| operation.pointer("/requestBody/content/application~1json").is_some());
        routes.push((path.clone(), operations.keys().map(|method| method.to_ascii_uppercase()).collect(), takes_json));
    }
    // Tests begin with GET, whichever way.
    routes.extend(OTHERS.iter().map(|path| (path.to_string(), vec!["GET".to_owned()], false)));
    let mut bodies = 0;
    for (path, methods, takes_json) in &routes {
        let place = path.replace("{id}", "nothing");
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"] {
            if !methods.iter().any(|known| known == method) && !path.starts_with("/v2/") {
                // A test is for whoever is connected to us, which nobody is here.
                let wanted = if path.contains("load") { 403 } else { 405 };
                assert_eq!(asker.ask(method, &place, "", "").await, wanted, "{method} {path}");
            }
        }
        if path.contains("{id}") {
            let status = asker.ask(&methods[0], &path.replace("{id}", "%FF"), "", "").await;
            assert!(status == 400 || status == 404, "{path}: {status}");
        }
        if *takes_json {
            bodies += 1;
            for (kind, body, wanted) in [
                ("application/json", "{".to_owned(), 400),
                ("application/json", "[]".to_owned(), 422),
                ("application/json", "{\"colour\":1}".to_owned(), 422),
                ("", "{}".to_owned(), 415),
                ("text/plain", "{}".to_owned(), 415),
                ("application/json", format!("[\"{}\"]", "x".repeat(serve::BODY_LIMIT)), 413),
            ] {
                assert_eq!(asker.ask("POST", &place, kind, body).await, wanted, "{path} {kind}");
            }
        }
    }
    assert_eq!(bodies, 3, "enrol, codes, tokens");
    for path in [
        "/?page=first",
        "/?page=-1",
        "/schools/x?days=many",
        "/api/v1/schools?offset=x",
        "/api/v1/schools?limit=",
        "/api/v1/schools.csv?limit=x",
        "/api/v1/days.csv?from=soon",
        "/api/v1/schools/x/tests?to=2026-13-01",
    ] {
        assert_eq!(asker.ask("GET", path, "", "").await, 400, "{path}");
    }
    for path in ["/nowhere", "/api/v1/", "/api/v1/nothing", "/api/v2/schools", "/schools", "/schools/x/y", "/metrics/"] {
        assert_eq!(asker.ask("GET", path, "", "").await, 404, "{path}");
    }
    for body in ["", "no zstd"] {
        assert_eq!(asker.ask("POST", "/api/v1/reports", "application/json", body).await, 415);
    }
    asker.token = "hub_00000000_0".into();
    assert_eq!(asker.ask("GET", "/api/v1/schools", "", "").await, 401);
    assert_eq!(asker.ask("BREW", "/api/v1/schools", "", "").await, 401);
    assert!(asker.count > 200, "{} refusals", asker.count);
    assert_eq!(asker.ask("GET", "/healthz", "", "").await, 200);
}

#[tokio::test]
async fn large_tables_find_room_and_give_it_back() {
    let stage = Stage::with(None, Viewers::Anyone).await;
    let ask = async |from: &str, path: &str| {
        let mut request = Request::get(path).header(header::HOST, "hub").body(Body::empty()).expect("a request");
        request.extensions_mut().insert(Client(from.parse().expect("an address")));
        stage.router.clone().oneshot(request).await.expect("an answer")
    };
    let table = "/api/v1/days.csv";
    // Two that are not read.
    let held = [ask("192.0.2.7", table).await, ask("192.0.2.7", table).await];
    assert!(held.iter().all(|answer| answer.status() == 200));
    assert_eq!(ask("192.0.2.7", table).await.status(), 503, "one address has its share");
    assert_eq!(ask("192.0.2.7", "/").await.status(), 200, "pages have room of their own");
    let third = ask("192.0.2.8", table).await;
    assert_eq!(third.status(), 200);
    let mut waits = pin!(ask("192.0.2.9", table));
    assert!(tokio::time::timeout(Duration::from_millis(100), waits.as_mut()).await.is_err(), "all room is taken");
    drop(held);
    assert_eq!(waits.await.status(), 200);
    assert_eq!(ask("192.0.2.7", table).await.status(), 200);
}

#[tokio::test]
async fn a_page_has_its_room_until_it_is_taken() {
    let stage = Stage::with(None, Viewers::Anyone).await;
    let ask = async |from: &str| {
        let mut request = Request::get("/api/v1/schools").header(header::HOST, "hub").body(Body::empty()).expect("a request");
        request.extensions_mut().insert(Client(from.parse().expect("an address")));
        stage.router.clone().oneshot(request).await.expect("an answer")
    };
    let mut held = Vec::new();
    for _ in 0..serve::MOST_READERS_EACH {
        held.push(ask("192.0.2.7").await);
    }
    assert!(held.iter().all(|answer| answer.status() == 200));
    assert_eq!(ask("192.0.2.7").await.status(), 503, "one address has its share");
    assert_eq!(ask("192.0.2.8").await.status(), 200, "of which others take nothing");
    for answer in held.drain(..2) {
        let body = to_bytes(answer.into_body(), 64 << 10).await.expect("a body");
        assert!(serde_json::from_slice::<Value>(&body).is_ok());
    }
    let again = [ask("192.0.2.7").await, ask("192.0.2.7").await];
    assert!(again.iter().all(|answer| answer.status() == 200), "what was taken gave its room back");
    let (all, step) = (serve::MOST_UNREAD as u64, serve::UNREAD_STEP as u64);
    let steps = [(0, 0), (step - 1, 0), (step, 1), (5 * step + 1, 5), (all, 4096), (u64::MAX, 4096)];
    for (bytes, wanted) in steps {
        assert_eq!(serve::unread_steps(bytes), wanted, "{bytes} bytes");
    }
    assert_eq!(stage.parts.0.unread.available_permits(), 4096, "short answers take none");
    // Room for two large ones and a bit.
    let unread = Arc::new(Semaphore::new(11));
    let large = |length: usize| {
        let seat = Crowd::default().enter(None, 1, 1).expect("a seat");
        serve::sent_within(&unread, seat, Body::from(vec![b'x'; length * serve::UNREAD_STEP]).into_response())
    };
    let (first, second) = (large(5), large(5));
    assert_eq!([first.status(), second.status(), large(5).status(), large(1).status()].map(|status| status.as_u16()), [200, 200, 503, 200]);
    assert_eq!(to_bytes(first.into_body(), serve::MOST_UNREAD).await.expect("all of it").len(), 5 * serve::UNREAD_STEP);
    drop(second);
    assert_eq!((unread.available_permits(), large(5).status().as_u16()), (11, 200), "what was taken, and what was given up");
}

#[tokio::test]
async fn a_node_that_sends_more_than_a_school_makes_is_told_to_wait() {
    let stage = Stage::with(None, Viewers::Anyone).await;
    let records = [Stage::record(&stage.key, 1, &Value::Null)];
    let spent = stage.clock.steady();
    stage.parts.0.allowance.lock().spend(&stage.key.node(), 49_999, spent);
    assert_eq!(stage.upload(&records).await.0, 200, "one is left");
    let more = [Stage::record(&stage.key, 2, &Value::Null)];
    let (status, told) = stage.upload(&more).await;
    assert_eq!((status.as_u16(), &told["id"]), (429, &"hub.too_many_records".into()));
    stage.clock.advance(Duration::from_millis(17_280));
    assert_eq!(stage.upload(&more).await.0, 200, "and nothing was lost");
    assert_eq!(stage.upload(&more).await.0, 429);
}
