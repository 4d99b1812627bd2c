//! The routes of the night itself: `GET /api/v1/night`, `POST /api/v1/night/pause`, `POST /api/v1/night/resume`; and of what it brought:
//! `GET /api/v1/night/summary`, `GET /api/v1/night/summaries`.

use crate::base::problem::Problem;
use crate::prefetch::web::Web;
use crate::prefetch::{Brief, Error, Night, Status, Summary};
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

/// The routes, to be merged into the API's.
pub(super) fn routes<W: Web>(night: Night<W>) -> Router {
    Router::new()
        .route("/api/v1/night", get(show::<W>))
        .route("/api/v1/night/pause", post(pause::<W>))
        .route("/api/v1/night/resume", post(resume::<W>))
        .route("/api/v1/night/summary", get(summary::<W>))
        .route("/api/v1/night/summaries", get(summaries::<W>))
        .with_state(night)
}

#[derive(OpenApi)]
#[openapi(paths(show, pause, resume, summary, summaries))]
pub(super) struct Document;

/// For how long to pause.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PauseOrder, example = json!({ "until": "2 h" }))]
struct Wanted {
    /// `14:00` at the school, `2 h`, `2026-12-31 14:00`, RFC 3339; absent: until somebody resumes it.
    #[serde(default)]
    until: Option<String>,
}

/// What the night is doing: windows, caps, pause, packs.
#[utoipa::path(get, path = "/api/v1/night", tag = "night", responses((status = 200, description = "the night", body = Status)))]
async fn show<W: Web>(State(night): State<Night<W>>) -> Json<Status> {
    Json(night.status())
}

/// Leaves the line alone until then, or until somebody resumes it. Nothing said means: until somebody resumes it.
#[utoipa::path(
    post,
    path = "/api/v1/night/pause",
    tag = "night",
    request_body = Wanted,
    responses((status = 200, description = "the night", body = Status), (status = 400, description = "no time to come", body = Problem))
)]
async fn pause<W: Web>(State(night): State<Night<W>>, body: Bytes) -> Result<Json<Status>, Problem> {
    let unread = |text: &str| Error::Moment(text.chars().take(80).collect()).problem();
    let wanted = if body.is_empty() { Ok(Wanted::default()) } else { serde_json::from_slice(&body) };
    let Wanted { until } = wanted.map_err(|_| unread(&String::from_utf8_lossy(&body)))?;
    let until = until.map(|text| night.named(&text).ok_or_else(|| unread(&text))).transpose()?;
    night.pause(until).await.map_err(|error| error.problem())?;
    Ok(Json(night.status()))
}

/// Ends a pause.
#[utoipa::path(post, path = "/api/v1/night/resume", tag = "night", responses((status = 200, description = "the night", body = Status)))]
async fn resume<W: Web>(State(night): State<Night<W>>) -> Result<Json<Status>, Problem> {
    night.resume().await.map_err(|error| error.problem())?;
    Ok(Json(night.status()))
}

/// Which night.
#[derive(Debug, Deserialize)]
struct Which {
    #[serde(default)]
    night: Option<String>,
}

/// Nights in short.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = NightBriefs)]
struct Nights {
    /// The newest first, four hundred at most.
    nights: Vec<Brief>,
}

/// What a night brought: whether everything is ready, figures by pack, what did not come and what to do. Without a date: the night that
/// goes on, as far as anything has happened in it, else the last one.
#[utoipa::path(
    get,
    path = "/api/v1/night/summary",
    tag = "night",
    params(("night" = Option<String>, Query, description = "the date of its evening, as 2026-11-25; a night lasts from noon to noon")),
    responses(
        (status = 200, description = "the summary", body = Summary),
        (status = 400, description = "no date", body = Problem),
        (status = 404, description = "nothing is known of that night", body = Problem)
    )
)]
async fn summary<W: Web>(State(night): State<Night<W>>, Query(which): Query<Which>) -> Result<Json<Summary>, Problem> {
    night.summary(which.night.as_deref()).await.map(Json).map_err(|error| error.problem())
}

/// The nights of which there is a summary, in short.
#[utoipa::path(get, path = "/api/v1/night/summaries", tag = "night", responses((status = 200, description = "the nights", body = Nights)))]
async fn summaries<W: Web>(State(night): State<Night<W>>) -> Result<Json<Nights>, Problem> {
    Ok(Json(Nights { nights: night.nights().await.map_err(|error| error.problem())? }))
}
