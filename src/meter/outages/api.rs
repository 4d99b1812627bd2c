//! The log of outages as the API has it: `GET /api/v1/link/outages`.

use crate::base::clock::Time;
use crate::base::problem::Problem;
use crate::meter::outages::{Kept, Outages};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::{IntoParams, OpenApi, ToSchema};

/// Days of the log: a month and a bit, as a statement of service has it.
const DAYS: u32 = 31;

/// Entries at most.
const MOST: u32 = 1_000;

/// The routes. Who may call them is the business of whoever mounts them.
pub fn routes(outages: Outages) -> Router {
    Router::new().route("/api/v1/link/outages", get(show)).with_state(outages)
}

#[derive(OpenApi)]
#[openapi(paths(show))]
struct Document;

/// What these routes take and give, in words of OpenAPI.
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// Which part of the log.
#[derive(Clone, Copy, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct Wanted {
    /// Days back from now; 400 are kept.
    #[param(required = false, minimum = 1, maximum = 400)]
    days: u32,
    /// Entries at most, the newest first.
    #[param(required = false, minimum = 1, maximum = 1_000)]
    most: u32,
}

impl Default for Wanted {
    fn default() -> Wanted {
        Wanted { days: DAYS, most: MOST }
    }
}

/// The log of outages.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Outages)]
pub struct View {
    /// What is amiss now.
    pub open: Vec<Kept>,
    /// The log, the newest first, what is open included.
    pub outages: Vec<Kept>,
}

/// Outages by cause: the line, names, a host, the box, its clock, its interface.
#[utoipa::path(
    get,
    path = "/api/v1/link/outages",
    tag = "status",
    params(Wanted),
    responses((status = 200, description = "what is amiss, and the log", body = View))
)]
async fn show(State(outages): State<Outages>, Query(wanted): Query<Wanted>) -> Result<Json<View>, Problem> {
    let days = u64::from(wanted.days.clamp(1, 400));
    let since = outages.0.clock.now().minus(Duration::from_hours(24 * days));
    let list = outages.within(since..Time::MAX, wanted.most.clamp(1, MOST)).await;
    let list =
        list.map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "link.outages", error.to_string(), "see the node's log"))?;
    Ok(Json(View { open: outages.open_now(), outages: list }))
}
