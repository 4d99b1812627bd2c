//! Tests as the API has them: `GET /api/v1/link/tests`, `GET /api/v1/link/tests/plan`, `POST /api/v1/link/tests`. A test is a job: it is
//! watched, and ended, at `/api/v1/jobs/{id}`; a command that goes away ends nothing by that.

use crate::base::problem::Problem;
use crate::base::unit::BitRate;
use crate::life::job::{Cancel, Outcome, Step, View as Job};
use crate::meter::course::Sight;
use crate::meter::test::{End, Trigger, Trouble};
use crate::meter::{Error, Meter, Order, View};
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use utoipa::{IntoParams, OpenApi, ToSchema};

/// The job's name.
pub const WHAT: &str = "link.test";

/// The routes. Who may call them is the business of whoever mounts them.
pub fn routes(meter: Meter) -> Router {
    Router::new().route("/api/v1/link/tests", get(show).post(begin)).route("/api/v1/link/tests/plan", get(plan)).with_state(meter)
}

#[derive(OpenApi)]
#[openapi(paths(show, begin, plan))]
struct Document;

/// What these routes take and give, in words of OpenAPI.
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// What kind of test.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[schema(as = TestOrder, example = json!({ "full": false }))]
#[into_params(parameter_in = Query)]
pub struct Wanted {
    /// The whole ten seconds, whatever the figure says, and up to all that is left of the day.
    #[param(required = false)]
    full: bool,
}

/// What a test would be.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = TestPlan)]
pub struct Plan {
    /// With whom.
    pub server: String,
    /// What it may take, bytes, both directions together.
    pub allowance_bytes: u64,
    /// Whether that is enough to send anything.
    pub worth_it: bool,
}

/// What tests have found, and what they may still cost.
#[utoipa::path(
    get,
    path = "/api/v1/link/tests",
    tag = "status",
    responses((status = 200, description = "tests and budget", body = View))
)]
async fn show(State(meter): State<Meter>) -> Result<Json<View>, Problem> {
    meter.view().await.map(Json).map_err(|error| problem(&error))
}

/// What a test would be; nothing is sent.
#[utoipa::path(
    get,
    path = "/api/v1/link/tests/plan",
    tag = "status",
    params(Wanted),
    responses(
        (status = 200, description = "server and allowance", body = Plan),
        (status = 409, description = "there is no server", body = Problem)
    )
)]
async fn plan(State(meter): State<Meter>, Query(wanted): Query<Wanted>) -> Result<Json<Plan>, Problem> {
    let order = order(wanted);
    let (server, allowance_bytes, worth_it) = meter.plan(&order).await.map_err(|error| problem(&error))?;
    Ok(Json(Plan { server, allowance_bytes, worth_it }))
}

/// Begins a test. It is a job: see `/api/v1/jobs/{id}`.
#[utoipa::path(
    post,
    path = "/api/v1/link/tests",
    tag = "status",
    request_body = Wanted,
    responses(
        (status = 202, description = "the job", body = Job),
        (status = 400, description = "no order", body = Problem),
        (status = 409, description = "there is no server, or another test runs", body = Problem)
    )
)]
async fn begin(State(meter): State<Meter>, body: Bytes) -> Result<(StatusCode, Json<Job>), Problem> {
    let wanted = if body.is_empty() { Ok(Wanted::default()) } else { serde_json::from_slice(&body) };
    let wanted = wanted
        .map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "meter.order", "this is no order for a test", "send {} or {\"full\": true}"))?;
    let order = order(wanted);
    // Who has nobody to test with is told so at once, and not by a job that fails.
    meter.plan(&order).await.map_err(|error| problem(&error))?;
    let jobs = meter.0.jobs.clone();
    let stop = CancellationToken::new();
    let ends = stop.clone();
    let cancel: Cancel = Arc::new(move || {
        ends.cancel();
        Box::pin(std::future::ready(()))
    });
    let id = jobs.alone(WHAT, "bytes", cancel).map_err(|_| problem(&Error::Busy))?;
    jobs.run(&id);
    let view = jobs.look(&id).unwrap_or_default();
    let (life, spawning) = (meter.0.life.clone(), meter.0.life.clone());
    spawning.spawn(async move {
        let ending = stop.clone();
        let tell = |sight: &Sight| jobs.tell(&id, step(sight));
        let test = meter.test(&order, &stop, &tell);
        tokio::pin!(test);
        let done = tokio::select! {
            done = &mut test => done,
            () = life.stopping() => {
                ending.cancel();
                test.await
            }
        };
        let outcome = match done {
            Ok(kept) if kept.test.trouble == Trouble::Cancelled => Outcome::Cancelled,
            Ok(kept) if kept.test.end == End::Failed => {
                let (what, remedy) = kept.test.trouble.words();
                // The node has answered; what it depends on has not.
                Outcome::Failed(Problem::new(StatusCode::FAILED_DEPENDENCY, "meter.no_figure", what, remedy))
            }
            Ok(kept) => Outcome::Done(json!(kept)),
            Err(error) => Outcome::Failed(problem(&error)),
        };
        jobs.end(&id, outcome);
    });
    Ok((StatusCode::ACCEPTED, Json(view)))
}

fn order(wanted: Wanted) -> Order {
    Order { trigger: Trigger::Manual, full: wanted.full, slot: None }
}

/// How a test goes, in a job's words: what it has taken of what it may, and in words how fast the line is.
fn step(sight: &Sight) -> Step {
    let streams = if sight.streams > 1 { format!(", {} streams", sight.streams) } else { String::new() };
    let current = format!("{} after {:.1} s{streams}", BitRate(sight.rate).human(), sight.elapsed.as_secs_f64());
    Step {
        phase: sight.way.as_str().to_owned(),
        done: sight.spent,
        total: sight.allowance,
        unit: "bytes",
        current: Some(current),
        pace: Some((Some(sight.rate / 8), None)),
    }
}

fn problem(error: &Error) -> Problem {
    let text = error.to_string();
    let (what, remedy) = text.split_once("; ").unwrap_or((&text, "see the node's log"));
    let (status, id) = match error {
        Error::NoServer => (StatusCode::CONFLICT, "meter.no_server"),
        Error::Busy => (StatusCode::CONFLICT, "meter.busy"),
        Error::State(_) => (StatusCode::INTERNAL_SERVER_ERROR, "meter.state"),
    };
    Problem::new(status, id, what, remedy)
}
