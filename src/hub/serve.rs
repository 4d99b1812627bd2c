//! Paths and answers: uploads in, JSON and pages out.

use crate::base::clock::{Clock, Time};
use crate::base::count::{IntCounter, Metrics};
use crate::hub::Settings;
use crate::hub::accept::{Judged, Refusal, Roll, judge};
use crate::hub::keep::{self, Fate, Keep};
use crate::hub::pages;
use crate::hub::summary::{School, region};
use crate::hub::words::Tongue;
use crate::meter::ndt7::server::{self, Server};
use crate::report::batch;
use crate::report::verdict::{NUMBER_USED, Reject, Reply};
use axum::body::{Body, to_bytes};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// 1 MiB at 64 kbit/s takes 131 s.
const BODY_PATIENCE: Duration = Duration::from_mins(3);

/// Uploads unpacked and verified at once: each may take 16 MiB and, in the worst case, 0.2 s of a processor.
const MOST_AT_ONCE: usize = 2;

/// Bodies in memory at once, in pieces: 64 MiB in all, some thousand hourly uploads or 64 of the longest.
const MOST_PIECES: u32 = 1_024;

/// One piece, bytes: about an hourly upload.
const PIECE: usize = 64 << 10;

/// How long an upload waits for room before it is sent away; the node comes again.
const ROOM_PATIENCE: Duration = Duration::from_secs(30);

/// Records on a school's page: two days of hours.
const MOST_SHOWN: u32 = 48;

/// What the paths share.
#[derive(Clone)]
pub(crate) struct Parts(Arc<Inner>);

struct Inner {
    settings: Settings,
    clock: Clock,
    metrics: Metrics,
    keep: Arc<dyn Keep>,
    roll: Arc<Roll>,
    since: Time,
    /// Room for bodies, taken before the first byte is read.
    room: Semaphore,
    hands: Semaphore,
    stored: IntCounter,
    known: IntCounter,
    refused: IntCounter,
    uploads_refused: IntCounter,
}

impl Parts {
    pub(crate) fn new(settings: Settings, clock: Clock, metrics: &Metrics, keep: Arc<dyn Keep>, roll: Roll, since: Time) -> Parts {
        let records = metrics.counters("bulak_hub_records_total", "Records that came, by what became of them.", &["fate"]);
        Parts(Arc::new(Inner {
            settings,
            clock,
            metrics: metrics.clone(),
            keep,
            roll: Arc::new(roll),
            since,
            room: Semaphore::new(MOST_PIECES as usize),
            hands: Semaphore::new(MOST_AT_ONCE),
            stored: records.with_label_values(&["stored"]),
            known: records.with_label_values(&["known"]),
            refused: records.with_label_values(&["refused"]),
            uploads_refused: metrics.counter("bulak_hub_uploads_refused_total", "Uploads that were refused as a whole."),
        }))
    }

    async fn region(&self) -> Result<Vec<School>, keep::Error> {
        let inner = &*self.0;
        let nodes: Vec<(String, String)> = inner.roll.nodes().map(|(node, school)| (node.to_owned(), school.to_owned())).collect();
        let latest = inner.keep.latest().await?;
        Ok(region(&inner.settings, &nodes, &latest, inner.clock.now(), inner.since))
    }
}

pub(crate) fn routes(parts: Parts, tests: &Server) -> Router {
    Router::new()
        .route("/api/v1/reports", post(take))
        .route("/api/v1/schools", get(schools))
        .route("/api/v1/schools/{id}", get(school))
        .route("/healthz", get(async || "ok\n"))
        .route("/metrics", get(metrics))
        .route("/", get(region_page))
        .route("/schools/{id}", get(school_page))
        .with_state(parts)
        .merge(tests.routes())
        .merge(server::locate_routes())
}

async fn take(State(parts): State<Parts>, request: Request<Body>) -> Response {
    let (head, body) = request.into_parts();
    let inner = &*parts.0;
    let refuse = |status: StatusCode, id: &str, title: &str| {
        inner.uploads_refused.inc();
        problem(status, id, title)
    };
    let coding = head.headers.get(header::CONTENT_ENCODING).map(|value| value.as_bytes().to_ascii_lowercase());
    if coding.as_deref() != Some(b"zstd") {
        return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "hub.coding", "an upload is zstd (Content-Encoding: zstd)");
    }
    let told = head.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if told.is_some_and(|length| length > batch::MOST_BYTES) {
        return refuse(StatusCode::PAYLOAD_TOO_LARGE, "hub.too_large", "an upload has at most 1 MiB; send fewer records at once");
    }
    // Until the upload is judged its body takes room; one that does not tell its length takes as much as may come.
    let pieces = u32::try_from(told.unwrap_or(batch::MOST_BYTES).div_ceil(PIECE).max(1)).unwrap_or(MOST_PIECES);
    let Ok(Ok(_room)) = tokio::time::timeout(ROOM_PATIENCE, inner.room.acquire_many(pieces)).await else {
        return busy();
    };
    let body = match tokio::time::timeout(BODY_PATIENCE, to_bytes(body, batch::MOST_BYTES)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return refuse(StatusCode::PAYLOAD_TOO_LARGE, "hub.too_large", "an upload has at most 1 MiB and must be whole"),
        Err(_) => return refuse(StatusCode::REQUEST_TIMEOUT, "hub.slow", "the upload took too long; send it again"),
    };
    let digest = head.headers.get("content-digest").and_then(|value| value.to_str().ok()).map(str::to_owned);
    match judge_apart(inner, digest, body).await {
        None => unwell("judging an upload"),
        Some(Err(refusal)) => {
            let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
            refuse(status, refusal.id(), &refusal.to_string())
        }
        Some(Ok(judged)) => book(inner, judged).await,
    }
}

/// Unpacks and verifies on a thread of its own, a few at a time.
async fn judge_apart(inner: &Inner, digest: Option<String>, body: axum::body::Bytes) -> Option<Result<Judged, Refusal>> {
    let _hand = inner.hands.acquire().await.ok()?;
    let roll = Arc::clone(&inner.roll);
    tokio::task::spawn_blocking(move || judge(digest.as_deref(), &body, &roll)).await.ok()
}

async fn book(inner: &Inner, judged: Judged) -> Response {
    let fates = match inner.keep.take(&judged, inner.clock.now()).await {
        Ok(fates) => fates,
        Err(error) => return unwell(&error.to_string()),
    };
    let count = |wanted: Fate| fates.iter().filter(|fate| **fate == wanted).count() as u64;
    inner.stored.inc_by(count(Fate::Stored));
    inner.known.inc_by(count(Fate::Known));
    let mut reject = judged.reject;
    let used = judged.fresh.iter().zip(&fates).filter(|(_, fate)| **fate == Fate::Used);
    reject.extend(used.map(|(fresh, _)| Reject { seq: fresh.seq, why: NUMBER_USED.into() }));
    reject.sort_by_key(|reject| reject.seq);
    inner.refused.inc_by(reject.len() as u64);
    Json(Reply { acked_seq: judged.last, reject, next_after_s: 0 }).into_response()
}

async fn schools(State(parts): State<Parts>) -> Response {
    match parts.region().await {
        Ok(schools) => Json(json!({ "now": parts.0.clock.now().to_rfc3339(), "schools": schools })).into_response(),
        Err(error) => unwell(&error.to_string()),
    }
}

async fn one(parts: &Parts, id: &str) -> Result<Option<(School, Vec<Value>)>, keep::Error> {
    let Some(school) = parts.region().await?.into_iter().find(|school| school.id == id) else {
        return Ok(None);
    };
    let mut records = Vec::new();
    for node in &school.nodes {
        records.extend(parts.0.keep.recent(node, MOST_SHOWN).await?);
    }
    let mut records: Vec<Value> = records.iter().filter_map(|text| serde_json::from_str(text).ok()).collect();
    records.sort_by(|a, b| b["end"].as_str().cmp(&a["end"].as_str()));
    records.truncate(MOST_SHOWN as usize);
    Ok(Some((school, records)))
}

async fn school(State(parts): State<Parts>, Path(id): Path<String>) -> Response {
    match one(&parts, &id).await {
        Ok(Some((school, records))) => Json(json!({ "school": school, "records": records })).into_response(),
        Ok(None) => problem(StatusCode::NOT_FOUND, "hub.no_school", "no such school is enrolled"),
        Err(error) => unwell(&error.to_string()),
    }
}

async fn metrics(State(parts): State<Parts>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], parts.0.metrics.print()).into_response()
}

async fn region_page(State(parts): State<Parts>, Query(query): Query<BTreeMap<String, String>>, headers: HeaderMap) -> Response {
    let tongue = tongue(&query, &headers);
    match parts.region().await {
        Ok(schools) => page(pages::region(tongue, &schools, parts.0.clock.now())),
        Err(error) => unwell(&error.to_string()),
    }
}

async fn school_page(
    State(parts): State<Parts>,
    Path(id): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let tongue = tongue(&query, &headers);
    match one(&parts, &id).await {
        Ok(Some((school, records))) => page(pages::school(tongue, &school, &records, parts.0.clock.now())),
        Ok(None) => problem(StatusCode::NOT_FOUND, "hub.no_school", "no such school is enrolled"),
        Err(error) => unwell(&error.to_string()),
    }
}

fn tongue(query: &BTreeMap<String, String>, headers: &HeaderMap) -> Tongue {
    let asked = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    Tongue::choose(query.get("lang").map(String::as_str), asked)
}

fn page(rendered: Result<String, askama::Error>) -> Response {
    match rendered {
        Ok(text) => {
            // No script, no foreign content: what a school's name may smuggle in has nowhere to run.
            let guard = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
            let fields = [
                (header::CONTENT_SECURITY_POLICY, guard),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
                (header::REFERRER_POLICY, "no-referrer"),
                (header::CACHE_CONTROL, "no-store"),
                (header::VARY, "Accept-Language"),
            ];
            (fields, Html(text)).into_response()
        }
        Err(error) => unwell(&error.to_string()),
    }
}

/// The hub's own trouble: the node keeps its records and comes again.
fn unwell(why: &str) -> Response {
    tracing::error!(why, "the hub cannot answer");
    let mut response = problem(StatusCode::SERVICE_UNAVAILABLE, "hub.unwell", "the hub cannot do this now; it will be tried again");
    response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("300"));
    response
}

/// No room for one more body just now.
fn busy() -> Response {
    let mut response = problem(StatusCode::SERVICE_UNAVAILABLE, "hub.busy", "too many uploads at once; it will be tried again");
    response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("60"));
    response
}

fn problem(status: StatusCode, id: &str, title: &str) -> Response {
    let body = json!({ "type": format!("urn:bulak:error:{id}"), "id": id, "title": title, "status": status.as_u16() });
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}
