//! Bursts of pings as the API has them: `GET /api/v1/link/pings`.

use crate::base::problem::Problem;
use crate::meter::echo::{Echo, Ignored, Kept};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::{OpenApi, ToSchema};

/// What is shown: a day, 96 bursts and those that were asked for beside them.
const DAY: Duration = Duration::from_hours(24);
/// See [`DAY`].
const MOST: u32 = 200;

/// The routes. Who may call them is the business of whoever mounts them.
pub fn routes(echo: Echo) -> Router {
    Router::new().route("/api/v1/link/pings", get(show).post(now)).with_state(echo)
}

#[derive(OpenApi)]
#[openapi(paths(show, now))]
struct Document;

/// What these routes take and give, in words of OpenAPI.
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// The last day's bursts.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Pings)]
pub struct View {
    /// Packets sent.
    pub sent: u64,
    /// Of these, answered in time.
    pub received: u64,
    /// Packets that came and were not for a burst, since start.
    pub ignored: Ignored,
    /// The bursts, the newest first.
    pub pings: Vec<Kept>,
}

/// Loss, round trips and jitter towards the hub over the last day.
#[utoipa::path(
    get,
    path = "/api/v1/link/pings",
    tag = "status",
    responses((status = 200, description = "sums and bursts", body = View))
)]
async fn show(State(echo): State<Echo>) -> Result<Json<View>, Problem> {
    let pings = echo.since(echo.0.clock.now().minus(DAY), MOST).await.map_err(|error| problem(&error))?;
    let sum = |count: fn(&Kept) -> u64| pings.iter().map(count).sum();
    Ok(Json(View { sent: sum(|kept| kept.ping.sent), received: sum(|kept| kept.ping.received), ignored: echo.ignored(), pings }))
}

/// A burst now: ten packets. Takes some seconds where answers are missing.
#[utoipa::path(
    post,
    path = "/api/v1/link/pings",
    tag = "status",
    responses(
        (status = 200, description = "the burst", body = Kept),
        (status = 409, description = "there is no server, nothing gets through, or the day's bytes are used up", body = Problem)
    )
)]
async fn now(State(echo): State<Echo>) -> Result<Json<Kept>, Problem> {
    let nothing = match echo.burst().await.map_err(|error| problem(&error))? {
        Ok(kept) => return Ok(Json(kept)),
        Err(nothing) => nothing,
    };
    let (what, remedy) = nothing.words();
    Err(Problem::new(StatusCode::CONFLICT, "meter.no_ping", what, remedy))
}

fn problem(error: &crate::state::Error) -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "meter.state", error.to_string(), "see the node's log")
}
