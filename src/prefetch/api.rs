//! The routes of the API for packs: `/api/v1/packs`, `/api/v1/packs/{id}`, `…/fetch`.
//!
//! JSON in snake_case, errors as `application/problem+json` (RFC 9457) with an id of our own. Who may call is the business of
//! whoever merges these routes; every one of them is described by `document`.

/// Those for what the class asks for.
pub mod wishes;

use crate::base::problem::Problem;
use crate::life::job::View;
use crate::prefetch::packs::Replaced;
use crate::prefetch::web::Web;
use crate::prefetch::{Error, Listed, Night, Progress, Refused, Worth};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

/// Most failures that are listed with a pack.
const TROUBLE: u32 = 50;

/// Windows, caps, pause.
mod night;

/// Plans and surveys.
pub mod plan;

/// The routes, to be merged into the node's API.
pub fn routes<W: Web>(night: Night<W>) -> Router {
    Router::new()
        .route("/api/v1/packs", get(list::<W>))
        .route("/api/v1/packs/{id}", get(show::<W>))
        .route("/api/v1/packs/{id}/fetch", post(fetch::<W>))
        .with_state(night.clone())
        .merge(plan::routes(night.clone()))
        .merge(night::routes(night))
}

#[derive(OpenApi)]
#[openapi(paths(list, show, fetch))]
struct Document;

/// What these routes take and give, in words of OpenAPI.
pub fn document() -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    document.merge(night::Document::openapi());
    document.merge(plan::Document::openapi());
    document.merge(wishes::Document::openapi());
    document
}

/// The packs of the node.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Packs {
    /// In force, the most important first.
    pub packs: Vec<Listed>,
    /// Files that are no packs for us.
    pub refused: Vec<Refused>,
    /// Packs whose place others have taken.
    #[serde(default)]
    pub replaced: Vec<Replaced>,
    /// What the night brought in four weeks, used against wasted.
    #[serde(default)]
    pub worth: Worth,
}

/// One pack.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct OnePack {
    /// The pack.
    pub pack: Listed,
    /// How far it is.
    pub progress: Progress,
    /// What could not be fetched in the last run, fifty at most.
    pub trouble: Vec<Trouble>,
}

/// Something that could not be fetched.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = PackTrouble)]
pub struct Trouble {
    /// Its address.
    pub url: String,
    /// Why.
    pub why: String,
}

/// All packs with how far they are.
#[utoipa::path(get, path = "/api/v1/packs", tag = "packs", responses((status = 200, description = "the packs", body = Packs)))]
async fn list<W: Web>(State(night): State<Night<W>>) -> Result<Json<Packs>, Problem> {
    // Whoever looks at what was used wants to know it as it is now.
    night.keep_books(true).await.map_err(|error| error.problem())?;
    let status = night.status();
    Ok(Json(Packs { packs: status.packs, refused: status.refused, replaced: status.replaced, worth: status.worth }))
}

/// One pack, how far it is, and what could not be fetched.
#[utoipa::path(
    get,
    path = "/api/v1/packs/{id}",
    tag = "packs",
    params(("id" = String, Path, description = "the pack's id")),
    responses((status = 200, description = "the pack", body = OnePack), (status = 404, description = "no such pack", body = Problem))
)]
async fn show<W: Web>(State(night): State<Night<W>>, Path(id): Path<String>) -> Result<Json<OnePack>, Problem> {
    let pack = night.packs().into_iter().find(|listed| listed.id == id);
    let pack = pack.ok_or_else(|| Error::Unknown(id.clone()).problem())?;
    let trouble = night.trouble(&id, TROUBLE).await.map_err(|error| error.problem())?;
    let trouble = trouble.into_iter().map(|(url, why)| Trouble { url, why }).collect();
    Ok(Json(OnePack { progress: pack.progress.clone(), pack, trouble }))
}

/// Fetches a pack now, whatever the windows say. Who asks twice gets the same job.
#[utoipa::path(
    post,
    path = "/api/v1/packs/{id}/fetch",
    tag = "packs",
    params(("id" = String, Path, description = "the pack's id")),
    responses(
        (status = 202, description = "a job: where to watch, and how far it is", body = View, headers(("Location" = String, description = "the job"))),
        (status = 404, description = "no such pack", body = Problem)
    )
)]
async fn fetch<W: Web>(State(night): State<Night<W>>, Path(id): Path<String>) -> Result<Response, Problem> {
    night.ask(&id).await.map(|job| accepted(&job)).map_err(|error| error.problem())
}

/// 202 with a job and where it is shown.
fn accepted(job: &View) -> Response {
    let mut response = (StatusCode::ACCEPTED, Json(job)).into_response();
    if let Ok(place) = HeaderValue::from_str(&job.job) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    response
}

impl Error {
    /// The same as a document of the API.
    pub fn problem(&self) -> Problem {
        match self {
            Error::Unknown(_) => {
                Problem::new(StatusCode::NOT_FOUND, "pack.unknown", self.to_string(), "\"bulak pack list\" shows which there are")
            }
            Error::Moment(_) => {
                let remedy = "write 14:00, \"2 h\" or \"2026-12-31 14:00\", in the school's time";
                Problem::new(StatusCode::BAD_REQUEST, "night.bad_time", self.to_string(), remedy)
            }
            Error::Date(_) => {
                Problem::new(StatusCode::BAD_REQUEST, "night.bad_date", self.to_string(), "write the date of its evening: 2026-11-25")
            }
            Error::Untold(_) => {
                let remedy = "\"bulak night summary --list\" shows the nights of which there is one";
                Problem::new(StatusCode::NOT_FOUND, "night.untold", self.to_string(), remedy)
            }
            Error::State(error) => state_failed(error),
        }
    }
}

/// The database said no.
pub fn state_failed(error: &crate::state::Error) -> Problem {
    let remedy = "see the log; a damaged file can be moved away";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "state.failed", error.to_string(), remedy)
}
