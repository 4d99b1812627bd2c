//! The routes of the API for what the class asks for: `/api/v1/wishes`, `/api/v1/proposals`, `/api/v1/record`.

use crate::prefetch::Night;
use crate::prefetch::api::{answer, problem};
use crate::prefetch::class::Refusal;
use crate::prefetch::record::Order;
use crate::prefetch::web::Web;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use http::{StatusCode, header};
use serde::Deserialize;
use serde_json::json;

/// The routes, to be merged into the node's API.
pub fn routes<W: Web>(night: Night<W>) -> Router {
    Router::new()
        .route("/api/v1/wishes", get(wishes::<W>).post(wish::<W>))
        .route("/api/v1/wishes/{id}", delete(unwish::<W>))
        .route("/api/v1/proposals", get(proposals::<W>))
        .route("/api/v1/proposals/{id}", delete(dismiss::<W>))
        .route("/api/v1/proposals/{id}/approve", post(approve::<W>))
        .route("/api/v1/record", get(recording::<W>).post(record::<W>).delete(forget::<W>))
        .route("/api/v1/record/end", post(end::<W>))
        .route("/api/v1/record/keep", post(keep::<W>))
        .with_state(night)
}

async fn wishes<W: Web>(State(night): State<Night<W>>) -> Response {
    match night.wishes().await {
        Ok(wishes) => answer(StatusCode::OK, &json!({ "wishes": wishes })),
        Err(error) => problem(&error),
    }
}

#[derive(Deserialize)]
struct Wish {
    url: String,
}

async fn wish<W: Web>(State(night): State<Night<W>>, body: Result<Json<Wish>, JsonRejection>) -> Response {
    let Ok(Json(Wish { url })) = body else { return unread("{\"url\": \"http://…\"}") };
    // Whoever may use the API is no pupil at a form: he is not counted.
    match night.wish(&url, None).await {
        Ok(came) if came.is_good() => answer(StatusCode::OK, &json!({ "answer": came, "told": came.told().0 })),
        Ok(came) => told(StatusCode::UNPROCESSABLE_ENTITY, "wish.refused", came.told().0, came.told().1),
        Err(error) => problem(&error),
    }
}

async fn unwish<W: Web>(State(night): State<Night<W>>, Path(id): Path<i64>) -> Response {
    match night.unwish(id).await {
        Ok(true) => StatusCode::NO_CONTENT.into_response(),
        Ok(false) => told(StatusCode::NOT_FOUND, "wish.unknown", "there is no such wish", "\"bulak wish list\" shows which there are"),
        Err(error) => problem(&error),
    }
}

async fn proposals<W: Web>(State(night): State<Night<W>>) -> Response {
    match night.proposals().await {
        Ok(all) => {
            let told = |one: crate::state::wish::Proposed| {
                json!({
                    "id": one.id, "kind": one.kind, "url": one.url, "first": one.first, "last": one.last, "days": one.days,
                    "devices_at_least": crate::prefetch::proposal::DEVICES,
                })
            };
            answer(StatusCode::OK, &json!({ "proposals": all.into_iter().map(told).collect::<Vec<_>>() }))
        }
        Err(error) => problem(&error),
    }
}

async fn approve<W: Web>(State(night): State<Night<W>>, Path(id): Path<String>) -> Response {
    match night.approve(&id).await {
        Ok((pack, file)) => answer(StatusCode::CREATED, &json!({ "pack": pack, "file": file })),
        Err(error) => refused(&error),
    }
}

async fn dismiss<W: Web>(State(night): State<Night<W>>, Path(id): Path<String>) -> Response {
    match night.dismiss(&id).await {
        Ok(true) => StatusCode::NO_CONTENT.into_response(),
        Ok(false) => refused(&Refusal::Unknown("such proposal")),
        Err(error) => problem(&error),
    }
}

async fn recording<W: Web>(State(night): State<Night<W>>) -> Response {
    match night.recording().await {
        Some(view) => answer(StatusCode::OK, &json!(view)),
        None => refused(&Refusal::Unknown("recording")),
    }
}

async fn record<W: Web>(State(night): State<Night<W>>, body: Result<Json<Order>, JsonRejection>) -> Response {
    let Ok(Json(order)) = body else { return unread("{\"name\": \"fractions-5\", \"seconds\": 600}") };
    match night.begin_recording(order) {
        Ok(()) => match night.recording().await {
            Some(view) => answer(StatusCode::CREATED, &json!(view)),
            None => refused(&Refusal::Unknown("recording")),
        },
        Err(error) => refused(&error),
    }
}

async fn end<W: Web>(State(night): State<Night<W>>) -> Response {
    night.end_recording();
    recording(State(night)).await
}

async fn keep<W: Web>(State(night): State<Night<W>>) -> Response {
    match night.keep_recording().await {
        Ok(file) => answer(StatusCode::CREATED, &json!({ "file": file })),
        Err(error) => refused(&error),
    }
}

async fn forget<W: Web>(State(night): State<Night<W>>) -> Response {
    night.drop_recording();
    StatusCode::NO_CONTENT.into_response()
}

fn unread(form: &str) -> Response {
    told(StatusCode::BAD_REQUEST, "api.bad_body", "the request's body cannot be read", &format!("send JSON such as {form}"))
}

fn refused(error: &Refusal) -> Response {
    match error {
        Refusal::Unknown(_) => told(StatusCode::NOT_FOUND, "api.none", &error.to_string(), "begin one, or look at the list"),
        Refusal::Now(_, remedy) => told(StatusCode::CONFLICT, "pack.not_now", &error.to_string(), remedy),
        Refusal::Write { .. } => {
            let remedy = "make the folder writable for the node, or take the file of that name away";
            told(StatusCode::INTERNAL_SERVER_ERROR, "pack.write", &error.to_string(), remedy)
        }
        Refusal::Night(error) => problem(error),
    }
}

fn told(status: StatusCode, id: &str, title: &str, remedy: &str) -> Response {
    let kind = format!("urn:bulak:error:{id}");
    let body = json!({ "type": kind, "id": id, "title": title, "status": status.as_u16(), "remedy": remedy });
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}
