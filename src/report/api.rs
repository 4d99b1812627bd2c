//! The local API of line and reports: read the line, read the outbox, report now.

use crate::base::clock::{Clock, Time};
use crate::link::Link;
use crate::report::{Reporter, line};
use crate::state::State;
use axum::extract::State as Part;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use std::sync::Arc;

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
        .route("/api/v1/reports", get(show_reports))
        .route("/api/v1/reports/send", post(send))
        .with_state(Parts { reporter, state, view })
}

async fn show_link(Part(parts): Part<Parts>) -> Response {
    let clock: &Clock = &parts.reporter.0.clock;
    match line::recent(&parts.state.history(), clock.now()).await {
        Ok(recent) => {
            let mut recent = serde_json::to_value(recent).unwrap_or(Value::Null);
            readable(&mut recent);
            Json(json!({ "now": (parts.view)(), "clock_ok": clock.trusted(), "recent": recent })).into_response()
        }
        Err(error) => problem("link.history", &format!("{error:#}")),
    }
}

async fn show_reports(Part(parts): Part<Parts>) -> Response {
    Json(parts.reporter.status().await).into_response()
}

async fn send(Part(parts): Part<Parts>) -> Response {
    let done = async {
        let (epoch, seq) = parts.reporter.report_now().await?;
        let flushed = parts.reporter.flush().await?;
        anyhow::Ok(json!({ "epoch": epoch, "seq": seq, "flushed": flushed }))
    };
    match done.await {
        Ok(told) => Json(told).into_response(),
        Err(error) => problem("report.failed", &format!("{error:#}")),
    }
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

fn problem(id: &str, title: &str) -> Response {
    let body = json!({ "type": format!("urn:bulak:error:{id}"), "id": id, "title": title, "remedy": "see the node's log" });
    (StatusCode::INTERNAL_SERVER_ERROR, [("content-type", "application/problem+json")], body.to_string()).into_response()
}

#[cfg(test)]
pub(crate) fn testable(reporter: Reporter, state: State) -> Router {
    with_view(reporter, state, Arc::new(|| json!({ "state": "up" })))
}
