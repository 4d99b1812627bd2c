//! The routes of the API for what the class asks for: `/api/v1/wishes`, `/api/v1/proposals`, `/api/v1/record`.

use crate::base::problem::Problem;
use crate::prefetch::class::{Refusal, Wished};
use crate::prefetch::record::{Order, View};
use crate::prefetch::web::Web;
use crate::prefetch::wish::Answer;
use crate::prefetch::{Error, Night, proposal};
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

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

#[derive(OpenApi)]
#[openapi(paths(wishes, wish, unwish, proposals, dismiss, approve, recording, record, forget, end, keep))]
pub(super) struct Document;

/// What is wished for.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
struct Wishes {
    /// The wishes.
    wishes: Vec<Wished>,
}

/// A wish.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = WishOrder, example = json!({ "url": "https://kk.wikipedia.org/wiki/Абай" }))]
struct Wish {
    /// The page.
    url: String,
}

/// What came of a wish.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
struct WishAnswer {
    /// In a word.
    answer: Answer,
    /// In a sentence.
    told: String,
}

/// What many devices missed.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
struct Proposals {
    /// Open proposals.
    proposals: Vec<Proposed>,
}

/// What at least so many devices missed on one day.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Proposal)]
struct Proposed {
    /// Names it.
    id: String,
    /// `page` or `folder`.
    kind: String,
    /// The page, or where the folder begins.
    url: String,
    /// The day on which it came up first.
    first: String,
    /// The last such day.
    last: String,
    /// On how many days it came up.
    days: u64,
    /// That many devices, or more.
    devices_at_least: usize,
}

/// A pack that was written.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
struct Written {
    /// The pack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pack: Option<String>,
    /// Where it lies.
    file: String,
}

/// The pages that people wished for.
#[utoipa::path(get, path = "/api/v1/wishes", tag = "wishes", responses((status = 200, description = "the wishes", body = Wishes)))]
async fn wishes<W: Web>(State(night): State<Night<W>>) -> Result<Json<Wishes>, Problem> {
    night.wishes().await.map(|wishes| Json(Wishes { wishes })).map_err(|error| error.problem())
}

/// Wishes for a page: it is fetched as soon as a window is open.
#[utoipa::path(
    post,
    path = "/api/v1/wishes",
    tag = "wishes",
    request_body = Wish,
    responses(
        (status = 200, description = "it is on the list", body = WishAnswer),
        (status = 400, description = "no wish, or no address of a page", body = Problem),
        (status = 422, description = "it will not be fetched, and why", body = Problem)
    )
)]
async fn wish<W: Web>(State(night): State<Night<W>>, body: Result<Json<Wish>, JsonRejection>) -> Result<Json<WishAnswer>, Problem> {
    let Json(Wish { url }) = body.map_err(|why| unread(&why, "{\"url\": \"http://…\"}"))?;
    // Whoever may use the API is no pupil at a form: he is not counted.
    let answer = night.wish(&url, None).await.map_err(|error| error.problem())?;
    let (told, remedy) = answer.told();
    match answer {
        _ if answer.is_good() => Ok(Json(WishAnswer { answer, told: told.to_owned() })),
        Answer::NoAddress => Err(Problem::new(StatusCode::BAD_REQUEST, "wish.no_address", told, remedy)),
        _ => Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "wish.refused", told, remedy)),
    }
}

/// Takes a wish back.
#[utoipa::path(
    delete,
    path = "/api/v1/wishes/{id}",
    tag = "wishes",
    params(("id" = i64, Path, description = "the wish's number")),
    responses((status = 204, description = "it is gone"), (status = 404, description = "no such wish", body = Problem))
)]
async fn unwish<W: Web>(State(night): State<Night<W>>, Path(id): Path<i64>) -> Result<StatusCode, Problem> {
    if night.unwish(id).await.map_err(|error| error.problem())? {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(Problem::new(StatusCode::NOT_FOUND, "wish.unknown", "there is no such wish", "\"bulak wish list\" shows which there are"))
}

/// What many devices missed, for a person to approve.
#[utoipa::path(get, path = "/api/v1/proposals", tag = "wishes", responses((status = 200, description = "the proposals", body = Proposals)))]
async fn proposals<W: Web>(State(night): State<Night<W>>) -> Result<Json<Proposals>, Problem> {
    let all = night.proposals().await.map_err(|error| error.problem())?;
    let told = |one: crate::state::wish::Proposed| {
        let crate::state::wish::Proposed { id, kind, url, first, last, days } = one;
        Proposed { id, kind, url, first, last, days, devices_at_least: proposal::DEVICES }
    };
    Ok(Json(Proposals { proposals: all.into_iter().map(told).collect() }))
}

/// Makes a pack of a proposal.
#[utoipa::path(
    post,
    path = "/api/v1/proposals/{id}/approve",
    tag = "wishes",
    params(("id" = String, Path, description = "the proposal's id")),
    responses(
        (status = 201, description = "the pack", body = Written),
        (status = 404, description = "no such proposal", body = Problem),
        (status = 409, description = "the rules no longer allow it", body = Problem)
    )
)]
async fn approve<W: Web>(State(night): State<Night<W>>, Path(id): Path<String>) -> Result<(StatusCode, Json<Written>), Problem> {
    let (pack, file) = night.approve(&id).await.map_err(|error| error.problem())?;
    Ok((StatusCode::CREATED, Json(Written { pack: Some(pack), file: file.display().to_string() })))
}

/// Puts a proposal away for good.
#[utoipa::path(
    delete,
    path = "/api/v1/proposals/{id}",
    tag = "wishes",
    params(("id" = String, Path, description = "the proposal's id")),
    responses((status = 204, description = "it will not come up again"), (status = 404, description = "no such proposal", body = Problem))
)]
async fn dismiss<W: Web>(State(night): State<Night<W>>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    if night.dismiss(&id).await.map_err(|error| error.problem())? {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(Refusal::NO_PROPOSAL.problem())
}

/// How far the recording is.
#[utoipa::path(
    get,
    path = "/api/v1/record",
    tag = "wishes",
    responses((status = 200, description = "the recording", body = View), (status = 404, description = "there is none", body = Problem))
)]
async fn recording<W: Web>(State(night): State<Night<W>>) -> Result<Json<View>, Problem> {
    night.recording().await.map(Json).ok_or_else(|| Refusal::NO_RECORDING.problem())
}

/// Begins to record a lesson: what one device browses, as far as it is public, becomes a pack. Not while a finished one waits to be kept
/// or forgotten: it is somebody's lesson.
#[utoipa::path(
    post,
    path = "/api/v1/record",
    tag = "wishes",
    request_body = Order,
    responses(
        (status = 201, description = "the recording", body = View),
        (status = 400, description = "no order", body = Problem),
        (status = 409, description = "one runs, or waits to be kept or forgotten", body = Problem)
    )
)]
async fn record<W: Web>(
    State(night): State<Night<W>>,
    body: Result<Json<Order>, JsonRejection>,
) -> Result<(StatusCode, Json<View>), Problem> {
    let Json(order) = body.map_err(|why| unread(&why, "{\"name\": \"fractions-5\", \"seconds\": 600}"))?;
    night.begin_recording(order).map_err(|error| error.problem())?;
    Ok((StatusCode::CREATED, recording(State(night)).await?))
}

/// Ends a recording; what was seen waits to be kept or forgotten.
#[utoipa::path(
    post,
    path = "/api/v1/record/end",
    tag = "wishes",
    responses((status = 200, description = "the recording", body = View), (status = 404, description = "there is none", body = Problem))
)]
async fn end<W: Web>(State(night): State<Night<W>>) -> Result<Json<View>, Problem> {
    night.end_recording();
    recording(State(night)).await
}

/// Makes a pack of a recording.
#[utoipa::path(
    post,
    path = "/api/v1/record/keep",
    tag = "wishes",
    responses(
        (status = 201, description = "the pack", body = Written),
        (status = 404, description = "there is none", body = Problem),
        (status = 409, description = "nothing public was seen", body = Problem)
    )
)]
async fn keep<W: Web>(State(night): State<Night<W>>) -> Result<(StatusCode, Json<Written>), Problem> {
    let file = night.keep_recording().await.map_err(|error| error.problem())?;
    Ok((StatusCode::CREATED, Json(Written { pack: None, file: file.display().to_string() })))
}

/// Forgets a recording.
#[utoipa::path(delete, path = "/api/v1/record", tag = "wishes", responses((status = 204, description = "nothing is left of it")))]
async fn forget<W: Web>(State(night): State<Night<W>>) -> StatusCode {
    night.drop_recording();
    StatusCode::NO_CONTENT
}

/// A body that is no order of this form; its length and its kind are told as such.
fn unread(why: &JsonRejection, form: &str) -> Problem {
    let (status, id, title) = match why.status() {
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            let remedy = "send it with Content-Type: application/json";
            return Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "api.no_json", "the request's body is not said to be JSON", remedy);
        }
        StatusCode::PAYLOAD_TOO_LARGE => (StatusCode::PAYLOAD_TOO_LARGE, "api.too_long", "the request's body is too long"),
        _ => (StatusCode::BAD_REQUEST, "api.bad_body", "the request's body cannot be read"),
    };
    Problem::new(status, id, title, format!("send JSON such as {form}"))
}

impl Refusal {
    /// The same as a document of the API.
    fn problem(&self) -> Problem {
        match self {
            Refusal::Unknown(_, remedy) => Problem::new(StatusCode::NOT_FOUND, "api.none", self.to_string(), *remedy),
            Refusal::Order(_, remedy) => Problem::new(StatusCode::BAD_REQUEST, "record.bad_order", self.to_string(), *remedy),
            Refusal::Now(_, remedy) => Problem::new(StatusCode::CONFLICT, "pack.not_now", self.to_string(), *remedy),
            Refusal::Write { .. } => {
                let remedy = "make the folder writable for the node, or take the file of that name away";
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "pack.write", self.to_string(), remedy)
            }
            Refusal::Night(error) => Error::problem(error),
        }
    }
}
