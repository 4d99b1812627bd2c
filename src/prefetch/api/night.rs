//! The routes of the night itself: `GET /api/v1/night`, `POST /api/v1/night/pause`, `POST /api/v1/night/resume`.

use crate::prefetch::web::Web;
use crate::prefetch::{Error, Night};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

/// The routes, to be merged into the API's.
pub(super) fn routes<W: Web>(night: Night<W>) -> Router {
    Router::new()
        .route("/api/v1/night", get(show::<W>))
        .route("/api/v1/night/pause", post(pause::<W>))
        .route("/api/v1/night/resume", post(resume::<W>))
        .with_state(night)
}

/// For how long.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// `14:00` at the school, `2 h`, `2026-12-31 14:00`, RFC 3339; absent: until somebody resumes it.
    until: Option<String>,
}

async fn show<W: Web>(State(night): State<Night<W>>) -> Response {
    super::answer(StatusCode::OK, &json!(night.status()))
}

async fn pause<W: Web>(State(night): State<Night<W>>, body: Bytes) -> Response {
    // Nothing said means: until somebody resumes it.
    let wanted = if body.is_empty() { Ok(Wanted { until: None }) } else { serde_json::from_slice(&body) };
    let Ok(Wanted { until }) = wanted else {
        return super::problem(&Error::Moment(String::from_utf8_lossy(&body).chars().take(80).collect()));
    };
    let until = match until {
        Some(text) => match night.named(&text) {
            Some(until) => Some(until),
            None => return super::problem(&Error::Moment(text.chars().take(80).collect())),
        },
        None => None,
    };
    match night.pause(until).await {
        Ok(_) => super::answer(StatusCode::OK, &json!(night.status())),
        Err(error) => super::problem(&error),
    }
}

async fn resume<W: Web>(State(night): State<Night<W>>) -> Response {
    match night.resume().await {
        Ok(()) => super::answer(StatusCode::OK, &json!(night.status())),
        Err(error) => super::problem(&error),
    }
}
