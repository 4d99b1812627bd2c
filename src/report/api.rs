//! The local API of line and reports: read the line, read the outbox, report now.

use crate::base::clock::{Clock, Time};
use crate::base::problem::Problem;
use crate::link::Link;
use crate::report::enrol::Told;
use crate::report::{Reporter, line};
use crate::state::State;
use axum::extract::{Query, State as Part};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use std::fmt::Display;
use std::sync::Arc;
use utoipa::{IntoParams, OpenApi, ToSchema};

/// `GET /api/v1/link`, `GET /api/v1/reports`, `POST /api/v1/reports/send`. Who may call them is the business of whoever mounts them.
pub fn routes(reporter: Reporter, link: Link, state: State) -> Router {
    with_view(reporter, state, Arc::new(move || serde_json::to_value(link.view()).unwrap_or(Value::Null)))
}

#[derive(Clone)]
struct Parts {
    reporter: Reporter,
    state: State,
    view: Arc<dyn Fn() -> Value + Send + Sync>,
}

fn with_view(reporter: Reporter, state: State, view: Arc<dyn Fn() -> Value + Send + Sync>) -> Router {
    Router::new()
        .route("/api/v1/link", get(show_link))
        .route("/api/v1/link/history", get(show_history))
        .route("/api/v1/reports", get(show_reports))
        .route("/api/v1/reports/send", post(send))
        .route("/api/v1/reports/enrol", post(enrol))
        .with_state(Parts { reporter, state, view })
}

#[derive(OpenApi)]
#[openapi(paths(show_link, show_history, show_reports, send, enrol))]
struct Document;

/// What these routes take and give, in words of OpenAPI.
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// The line: now, and in the last hours and days.
#[utoipa::path(get, path = "/api/v1/link", tag = "status", responses((status = 200, description = "the line", body = Object)))]
async fn show_link(Part(parts): Part<Parts>) -> Result<Json<Value>, Problem> {
    let clock: &Clock = &parts.reporter.0.clock;
    // What is not written down yet would count as a box that was off.
    parts.reporter.keep_line().await.map_err(|error| problem("link.history", &error))?;
    let recent = line::recent(&parts.state.history(), clock.now()).await.map_err(|error| problem("link.history", &error))?;
    let mut recent = serde_json::to_value(recent).unwrap_or(Value::Null);
    readable(&mut recent);
    Ok(Json(json!({ "now": (parts.view)(), "clock_ok": clock.trusted(), "recent": recent })))
}

/// Which part of the history.
#[derive(Clone, Copy, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
struct Span {
    /// How long a window is.
    #[param(inline, required = false)]
    by: line::By,
    /// Windows at most, the newest.
    #[param(required = false, minimum = 1, maximum = 1_500)]
    most: usize,
}

impl Default for Span {
    fn default() -> Span {
        Span { by: line::By::Day, most: 31 }
    }
}

/// The line over windows: five minutes, hours, days, months (UTC). Every second of one is explained: up, slow, down, nothing tried, box
/// off, clock wrong.
#[utoipa::path(
    get,
    path = "/api/v1/link/history",
    tag = "status",
    params(Span),
    responses((status = 200, description = "windows, the oldest first", body = Object))
)]
async fn show_history(Part(parts): Part<Parts>, Query(span): Query<Span>) -> Result<Json<Value>, Problem> {
    let now = parts.reporter.0.clock.now();
    let windows = line::history(&parts.state.history(), span.by, span.most, now).await;
    let mut windows = json!({ "windows": windows.map_err(|error| problem("link.history", &error))? });
    readable(&mut windows);
    Ok(Json(windows))
}

/// What waits for the hub.
#[utoipa::path(get, path = "/api/v1/reports", tag = "reports", responses((status = 200, description = "the outbox", body = Object)))]
async fn show_reports(Part(parts): Part<Parts>) -> Json<Value> {
    Json(json!(parts.reporter.status().await))
}

/// Makes a report now and tries to deliver what waits.
#[utoipa::path(
    post,
    path = "/api/v1/reports/send",
    tag = "reports",
    responses((status = 200, description = "the report's number, and what became of it", body = Object))
)]
async fn send(Part(parts): Part<Parts>) -> Result<Json<Value>, Problem> {
    let done = async {
        parts.reporter.collect().await?;
        let (epoch, seq) = parts.reporter.report_now().await?;
        let flushed = parts.reporter.flush().await?;
        anyhow::Ok(json!({ "epoch": epoch, "seq": seq, "flushed": flushed }))
    };
    done.await.map(Json).map_err(|error| problem("report.failed", &error))
}

/// A code for this node.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = HubCode, example = json!({ "code": "7KQ2MPX4" }))]
struct Code {
    /// As the district gave it.
    code: String,
}

/// Enrols this node at its hub by a code.
#[utoipa::path(
    post,
    path = "/api/v1/reports/enrol",
    tag = "reports",
    request_body = Code,
    responses(
        (status = 200, description = "the school for which it reports now", body = Told),
        (status = 404, description = "the hub knows no such code", body = Problem),
        (status = 409, description = "no hub is configured, or the key is another school's", body = Problem),
        (status = 502, description = "the hub was not reached", body = Problem)
    )
)]
async fn enrol(Part(parts): Part<Parts>, Json(code): Json<Code>) -> Result<Json<Told>, Problem> {
    parts.reporter.join(&code.code).await.map(Json)
}

/// Times of windows as RFC 3339.
fn readable(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match (name.as_str(), value.as_i64()) {
                    ("start" | "end", Some(micros)) => *value = Value::String(Time::from_micros(micros).to_rfc3339()),
                    _ => readable(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(readable),
        _ => {}
    }
}

fn problem(id: &str, error: &dyn Display) -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, id, format!("{error:#}"), "see the node's log")
}

#[cfg(test)]
pub(crate) fn testable(reporter: Reporter, state: State) -> Router {
    with_view(reporter, state, Arc::new(|| json!({ "state": "up" })))
}
