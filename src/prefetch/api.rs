//! The routes of the API for packs: `/api/v1/packs`, `/api/v1/packs/{id}`, `…/plan`, `…/fetch`.
//!
//! JSON in snake_case, errors as `application/problem+json` (RFC 9457) with an id of our own. Who may call is the business of
//! whoever merges these routes.

/// Those for what the class asks for.
pub mod wishes;

use crate::prefetch::web::Web;
use crate::prefetch::{Error, Night};
use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{StatusCode, header};
use serde_json::{Value, json};

/// Most failures that are listed with a pack.
const TROUBLE: u32 = 50;

/// The routes, to be merged into the node's API.
pub fn routes<W: Web>(night: Night<W>) -> Router {
    Router::new()
        .route("/api/v1/packs", get(list::<W>))
        .route("/api/v1/packs/{id}", get(show::<W>))
        .route("/api/v1/packs/{id}/plan", get(plan::<W>))
        .route("/api/v1/packs/{id}/fetch", post(fetch::<W>))
        .with_state(night)
}

async fn list<W: Web>(State(night): State<Night<W>>) -> Response {
    // Whoever looks at what was used wants to know it as it is now.
    if let Err(error) = night.keep_books(true).await {
        return problem(&error);
    }
    let status = night.status();
    answer(StatusCode::OK, &json!({ "packs": status.packs, "refused": status.refused, "worth": status.worth }))
}

async fn show<W: Web>(State(night): State<Night<W>>, Path(id): Path<String>) -> Response {
    let Some(listed) = night.packs().into_iter().find(|listed| listed.id == id) else { return problem(&Error::Unknown(id)) };
    match night.trouble(&id, TROUBLE).await {
        Ok(trouble) => {
            let trouble: Vec<Value> = trouble.into_iter().map(|(url, why)| json!({ "url": url, "why": why })).collect();
            answer(StatusCode::OK, &json!({ "pack": listed, "progress": listed.progress, "trouble": trouble }))
        }
        Err(error) => problem(&error),
    }
}

async fn plan<W: Web>(State(night): State<Night<W>>, Path(id): Path<String>) -> Response {
    match night.plan(&id).await {
        Ok(plan) => answer(StatusCode::OK, &json!(plan)),
        Err(error) => problem(&error),
    }
}

/// 202 with a job: where to watch, and how far it is.
async fn fetch<W: Web>(State(night): State<Night<W>>, Path(id): Path<String>) -> Response {
    match night.start(&id) {
        Ok(progress) => {
            let place = format!("/api/v1/packs/{id}");
            let body = json!({
                "job": place, "unit": "bytes", "done": progress.bytes_done, "total": progress.bytes_total, "eta_s": progress.eta_s,
                "progress": progress,
            });
            let mut response = answer(StatusCode::ACCEPTED, &body);
            if let Ok(place) = place.parse() {
                response.headers_mut().insert(header::LOCATION, place);
            }
            response
        }
        Err(error) => problem(&error),
    }
}

fn answer(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

fn problem(error: &Error) -> Response {
    let (status, id, remedy) = match error {
        Error::Unknown(_) => (StatusCode::NOT_FOUND, "pack.unknown", "\"bulak pack list\" shows which there are"),
        Error::State(_) => (StatusCode::INTERNAL_SERVER_ERROR, "state.failed", "see the log; a damaged file can be moved away"),
    };
    let kind = format!("urn:bulak:error:{id}");
    let body = json!({ "type": kind, "id": id, "title": error.to_string(), "status": status.as_u16(), "remedy": remedy });
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}
