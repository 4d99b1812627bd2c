//! What nodes send: reports, and the wish to be enrolled.

use crate::base::problem::Problem;
use crate::hub::accept::{Judged, Refusal, judge};
use crate::hub::keep::{Fate, Uptake};
use crate::hub::listen::{Client, counted};
use crate::hub::serve::{BODY_LIMIT, Inner, Parts, problem, unwell};
use crate::report::batch;
use crate::report::enrol::{Asks, Told};
use crate::report::verdict::{NUMBER_USED, Reject, Reply};
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{DefaultBodyLimit, Extension, State};
use axum::http::{Request, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use std::sync::Arc;
use std::time::Duration;
use utoipa::OpenApi;

/// 1 MiB at 64 kbit/s takes 131 s.
const BODY_PATIENCE: Duration = Duration::from_mins(3);

/// Uploads unpacked and verified at once: each may take 16 MiB and, in the worst case, 0.2 s of a processor.
pub(super) const MOST_AT_ONCE: usize = 2;

/// Bodies in memory at once, in pieces: 64 MiB in all, some thousand hourly uploads or 64 of the longest.
pub(super) const MOST_PIECES: u32 = 1_024;

/// One piece, bytes: about an hourly upload.
const PIECE: usize = 64 << 10;

/// Uploads of one address of the Internet at once: a quarter of the room when each is of the longest. Schools behind one carrier's gateway
/// share it; a stranger who sends slowly leaves the rest.
const MOST_EACH: usize = 16;

/// How long an upload waits for room before it is sent away; the node comes again.
const ROOM_PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn routes() -> Router<Parts> {
    let enrol = Router::new().route("/api/v1/enrol", post(enrol)).layer(DefaultBodyLimit::max(BODY_LIMIT)).layer(from_fn(patient));
    Router::new().route("/api/v1/reports", post(take)).merge(enrol)
}

#[derive(OpenApi)]
#[openapi(paths(take, enrol))]
pub(super) struct Document;

/// Takes reports: length-prefixed signed records, zstd. Idempotent by node, epoch and number.
#[utoipa::path(
    post,
    path = "/api/v1/reports",
    tag = "nodes",
    request_body(content = Vec<u8>, content_type = "application/vnd.bulak.reports", description = "at most 1 MiB, Content-Encoding: zstd, Content-Digest with sha-256"),
    responses(
        (status = 200, description = "acked_seq, reject (seq, why), next_after_s", body = Object),
        (status = 403, description = "the node is not enrolled, or was revoked", body = Problem),
        (status = 413, description = "too large", body = Problem),
        (status = 429, description = "more records than a school makes; Retry-After says when to go on", body = Problem),
        (status = 503, description = "come again", body = Problem)
    )
)]
async fn take(State(parts): State<Parts>, client: Option<Extension<Client>>, request: Request<Body>) -> Response {
    let (head, body) = request.into_parts();
    let inner = &*parts.0;
    let refuse = |status: StatusCode, id: &str, title: &str| {
        inner.uploads_refused.inc();
        problem(status, id, title)
    };
    if inner.witness.is_refuted() {
        return astray(inner);
    }
    let coding = head.headers.get(header::CONTENT_ENCODING).map(|value| value.as_bytes().to_ascii_lowercase());
    if coding.as_deref() != Some(b"zstd") {
        return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "hub.coding", "an upload is zstd (Content-Encoding: zstd)");
    }
    let told = head.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if told.is_some_and(|length| length > batch::MOST_BYTES) {
        return refuse(StatusCode::PAYLOAD_TOO_LARGE, "hub.too_large", "an upload has at most 1 MiB; send fewer records at once");
    }
    let Some(_seat) = inner.uploads.enter(client.and_then(|Extension(client)| counted(client.0)), usize::MAX, MOST_EACH) else {
        return busy();
    };
    // Until the upload is judged its body takes room; one that does not tell its length takes as much as may come.
    let pieces = u32::try_from(told.unwrap_or(batch::MOST_BYTES).div_ceil(PIECE).max(1)).unwrap_or(MOST_PIECES);
    let Ok(Ok(_room)) = tokio::time::timeout(ROOM_PATIENCE, inner.room.acquire_many(pieces)).await else {
        return busy();
    };
    let body = match tokio::time::timeout(BODY_PATIENCE, to_bytes(body, batch::MOST_BYTES)).await {
        Ok(Ok(body)) => body,
        Ok(Err(error)) if is_too_long(&error) => {
            return refuse(StatusCode::PAYLOAD_TOO_LARGE, "hub.too_large", "an upload has at most 1 MiB");
        }
        Ok(Err(_)) => return refuse(StatusCode::REQUEST_TIMEOUT, "hub.slow", "the upload broke off or stood still; send it again"),
        Err(_) => return refuse(StatusCode::REQUEST_TIMEOUT, "hub.slow", "the upload took too long; send it again"),
    };
    let digest = head.headers.get("content-digest").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut judged = judge_apart(inner, digest.clone(), body.clone()).await;
    // A node may have enrolled through another program a moment ago.
    let stranger = matches!(&judged, Some(Err(Refusal::Unknown(_) | Refusal::Revoked(_))));
    if stranger && inner.book.refresh_for_stranger().await {
        judged = judge_apart(inner, digest, body).await;
    }
    match judged {
        None => unwell(&"judging an upload"),
        Some(Err(refusal)) => {
            let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
            refuse(status, refusal.id(), &refusal.to_string())
        }
        Some(Ok(judged)) => book(inner, judged).await,
    }
}

/// Whether a body was longer than it may be; else it broke off, or came too slowly.
fn is_too_long(error: &axum::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.downcast_ref::<http_body_util::LengthLimitError>().is_some())
}

/// Unpacks and verifies on a thread of its own, a few at a time.
async fn judge_apart(inner: &Inner, digest: Option<String>, body: Bytes) -> Option<Result<Judged, Refusal>> {
    let hand = Arc::clone(&inner.hands).acquire_owned().await.ok()?;
    let roll = inner.book.roll();
    let work = move || {
        // Held by the work: a client that hangs up ends the request and not the thread.
        let _hand = hand;
        judge(digest.as_deref(), &body, &roll)
    };
    tokio::task::spawn_blocking(work).await.ok()
}

async fn book(inner: &Inner, judged: Judged) -> Response {
    // The clock may have been set while the body came.
    if inner.witness.must_wait(&judged) {
        tracing::debug!(node = judged.node, school = judged.school, "it is ahead of this machine's clock; its upload waits");
        return astray(inner);
    }
    let steady = inner.clock.steady();
    let asked = {
        let mut allowance = inner.allowance.lock();
        let asked = allowance.ask(&judged.node, steady);
        if asked.is_ok() {
            allowance.spend(&judged.node, judged.fresh.len() as u64, steady);
        }
        asked
    };
    if let Err(wait) = asked {
        inner.uploads_refused.inc();
        return late(wait);
    }
    let taken = match inner.keep.take(&judged, &inner.settings.calendar, inner.witness.moment()).await {
        Ok(Uptake::Taken(taken)) => taken,
        Ok(Uptake::Revoked) => {
            inner.uploads_refused.inc();
            let refusal = Refusal::Revoked(judged.node);
            return problem(StatusCode::FORBIDDEN, refusal.id(), &refusal.to_string());
        }
        Err(error) => {
            inner.allowance.lock().give_back(&judged.node, judged.fresh.len() as u64);
            return unwell(&error);
        }
    };
    if taken.twin {
        inner.twins_seen.inc();
        tracing::warn!(
            node = judged.node,
            school = judged.school,
            "two boxes use this node's key: its card was copied; enrol one of them anew"
        );
    }
    inner.woken.notify_one();
    let count = |wanted: Fate| taken.fates.iter().filter(|fate| **fate == wanted).count() as u64;
    let stored = count(Fate::Stored);
    inner.allowance.lock().give_back(&judged.node, judged.fresh.len() as u64 - stored);
    inner.stored.inc_by(stored);
    inner.known.inc_by(count(Fate::Known));
    let mut reject = judged.reject;
    let used = judged.fresh.iter().zip(&taken.fates).filter(|(_, fate)| **fate == Fate::Used);
    reject.extend(used.map(|(fresh, _)| Reject { seq: fresh.seq, why: NUMBER_USED.into() }));
    reject.sort_by_key(|reject| reject.seq);
    inner.refused.inc_by(reject.len() as u64);
    Json(Reply { acked_seq: judged.last, reject, next_after_s: 0 }).into_response()
}

/// More than a school has to tell: its records wait in its outbox.
fn late(wait: Duration) -> Response {
    let mut response =
        problem(StatusCode::TOO_MANY_REQUESTS, "hub.too_many_records", "this node has sent more records than a school makes");
    response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from(wait.as_secs() + 1));
    response
}

/// The hub does not know what day it is: records wait in the schools' outboxes, for three months if need be.
fn astray(inner: &Inner) -> Response {
    inner.uploads_refused.inc();
    let title = "this hub's clock is behind what schools tell; uploads are taken when it has been set";
    let mut response = problem(StatusCode::SERVICE_UNAVAILABLE, "hub.clock", title);
    response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("300"));
    response
}

/// No room for one more body just now.
fn busy() -> Response {
    let mut response = problem(StatusCode::SERVICE_UNAVAILABLE, "hub.busy", "too many uploads at once; it will be tried again");
    response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("60"));
    response
}

/// A wish of a few words takes no longer, whatever a client announces and does not send.
pub(super) async fn patient(request: Request<Body>, next: Next) -> Response {
    let answer = tokio::time::timeout(ROOM_PATIENCE, next.run(request)).await;
    answer.unwrap_or_else(|_| problem(StatusCode::REQUEST_TIMEOUT, "hub.slow", "the request took too long; send it again"))
}

/// Enrols a node by the code that a person was given for it. Repeating it is no harm.
#[utoipa::path(
    post,
    path = "/api/v1/enrol",
    tag = "nodes",
    request_body = Asks,
    responses(
        (status = 200, description = "it may report now", body = Told),
        (status = 400, description = "not signed by the key that it names", body = Problem),
        (status = 404, description = "no such code, or used, or expired", body = Problem),
        (status = 409, description = "the key belongs to another school: a copied card", body = Problem),
        (status = 429, description = "too many wrong codes", body = Problem)
    )
)]
async fn enrol(State(parts): State<Parts>, client: Option<Extension<Client>>, Json(asks): Json<Asks>) -> Result<Json<Told>, Problem> {
    parts.0.book.enrol(&asks, client.map(|Extension(client)| client.0)).await.map(Json)
}
