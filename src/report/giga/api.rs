//! `GET /api/v1/reports/giga`, `POST /api/v1/reports/giga/send`.

use crate::base::problem::Problem;
use crate::report::giga::{Giga, Status};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use utoipa::OpenApi;

/// The routes; `None`: nothing is told to any server. Who may call them is the business of whoever mounts them.
pub fn routes(giga: Option<Giga>) -> Router {
    Router::new().route("/api/v1/reports/giga", get(show)).route("/api/v1/reports/giga/send", post(send)).with_state(giga)
}

#[derive(OpenApi)]
#[openapi(paths(show, send))]
struct Document;

/// What these routes take and give, in words of OpenAPI.
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// What waits for the Giga Meter server, and what it refused.
#[utoipa::path(get, path = "/api/v1/reports/giga", tag = "reports", responses((status = 200, description = "how it goes", body = Status)))]
async fn show(State(giga): State<Option<Giga>>) -> Result<Json<Status>, Problem> {
    let Some(giga) = giga else { return Ok(Json(Status::default())) };
    giga.status().await.map(Json).map_err(|error| failed(&error))
}

/// Sends what waits now, refused things too.
#[utoipa::path(
    post,
    path = "/api/v1/reports/giga/send",
    tag = "reports",
    responses(
        (status = 200, description = "how it went", body = Status),
        (status = 409, description = "no Giga Meter server is configured", body = Problem)
    )
)]
async fn send(State(giga): State<Option<Giga>>) -> Result<Json<Status>, Problem> {
    let off =
        || Problem::new(StatusCode::CONFLICT, "giga.off", "nothing is told to a Giga Meter server", "set giga.url, giga.key and giga.id");
    let giga = giga.ok_or_else(off)?;
    giga.now().await.map(Json).map_err(|error| failed(&error))
}

fn failed(error: &anyhow::Error) -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "giga.failed", format!("{error:#}"), "see the node's log")
}
