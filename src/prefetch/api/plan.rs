//! The routes of plans: `GET /api/v1/plan`, `GET` and `POST /api/v1/packs/{id}/plan`.

use crate::base::problem::Problem;
use crate::life::job::View;
use crate::prefetch::plan::record::Record;
use crate::prefetch::plan::tonight::Tonight;
use crate::prefetch::web::Web;
use crate::prefetch::{Night, Plan};
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

/// The routes, to be merged into the API's.
pub(super) fn routes<W: Web>(night: Night<W>) -> Router {
    Router::new()
        .route("/api/v1/plan", get(tonight::<W>))
        .route("/api/v1/packs/{id}/plan", get(show::<W>).post(survey::<W>))
        .with_state(night)
}

#[derive(OpenApi)]
#[openapi(paths(tonight, show, survey))]
pub(super) struct Document;

/// How to look at a plan.
#[derive(Debug, Default, Deserialize)]
struct How {
    /// As if a person asked for the pack now.
    #[serde(default)]
    anew: bool,
}

/// One pack's plan.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = OnePlan)]
pub struct One {
    /// The plan.
    #[serde(flatten)]
    pub plan: Plan,
    /// How right earlier plans of the pack were, the newest first.
    #[serde(default)]
    pub records: Vec<Record>,
}

/// What the next window will bring, with the plan of every pack and how right earlier plans were.
#[utoipa::path(get, path = "/api/v1/plan", tag = "night", responses((status = 200, description = "the plan", body = Tonight)))]
async fn tonight<W: Web>(State(night): State<Night<W>>) -> Result<Json<Tonight>, Problem> {
    night.tonight().await.map(Json).map_err(|error| error.problem())
}

/// What fetching a pack will take, before a byte moves: by what is known; nobody is asked.
#[utoipa::path(
    get,
    path = "/api/v1/packs/{id}/plan",
    tag = "packs",
    params(
        ("id" = String, Path, description = "the pack's id"),
        ("anew" = Option<bool>, Query, description = "as if a person asked for it now: everything is looked at")
    ),
    responses((status = 200, description = "the plan", body = One), (status = 404, description = "no such pack", body = Problem))
)]
async fn show<W: Web>(State(night): State<Night<W>>, Path(id): Path<String>, Query(how): Query<How>) -> Result<Json<One>, Problem> {
    let plan = night.plan(&id, how.anew).await.map_err(|error| error.problem())?;
    let records = night.records(Some(&id)).await.map_err(|error| error.problem())?;
    Ok(Json(One { plan, records }))
}

/// Has a pack surveyed, so that its plan knows more: lists are read, some pages with what they need, and origins are asked how long things
/// are. Within the survey's bytes and seconds, whatever the windows say, giving way to people.
#[utoipa::path(
    post,
    path = "/api/v1/packs/{id}/plan",
    tag = "packs",
    params(("id" = String, Path, description = "the pack's id")),
    responses(
        (status = 202, description = "a job; its result says whether a survey could be made", body = View, headers(("Location" = String, description = "the job"))),
        (status = 404, description = "no such pack", body = Problem)
    )
)]
async fn survey<W: Web>(State(night): State<Night<W>>, Path(id): Path<String>) -> Result<Response, Problem> {
    night.survey(&id).map(|job| super::accepted(&job)).map_err(|error| error.problem())
}
