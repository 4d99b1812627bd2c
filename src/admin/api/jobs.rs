//! Long work as resources: `/api/v1/jobs`, `/api/v1/jobs/{id}`; DELETE ends one. Everybody sees hosts only: what devices asked for is
//! nobody's business, and the store's jobs walk over all of it.

use crate::admin::Parts;
use crate::base::problem::Problem;
use crate::base::redact;
use crate::base::target::Target;
use crate::life::job::View;
use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

/// The routes.
pub(super) fn routes() -> Router<Parts> {
    Router::new().route("/api/v1/jobs", get(list)).route("/api/v1/jobs/{id}", get(show).delete(end))
}

#[derive(OpenApi)]
#[openapi(paths(list, show, end))]
pub(super) struct Document;

/// The jobs.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
struct Jobs {
    /// Those that are open and the last that are over, the newest first.
    jobs: Vec<View>,
}

/// All jobs that are open, and the last that are over.
#[utoipa::path(get, path = "/api/v1/jobs", tag = "jobs", responses((status = 200, description = "the jobs", body = Jobs)))]
async fn list(State(parts): State<Parts>) -> Json<Jobs> {
    Json(Jobs { jobs: parts.jobs.list().into_iter().map(shown).collect() })
}

/// One job.
#[utoipa::path(
    get,
    path = "/api/v1/jobs/{id}",
    tag = "jobs",
    params(("id" = String, Path, description = "the job's id")),
    responses((status = 200, description = "the job", body = View), (status = 404, description = "no such job", body = Problem))
)]
async fn show(State(parts): State<Parts>, Path(id): Path<String>) -> Result<Json<View>, Problem> {
    parts.jobs.look(&id).map(shown).map(Json).ok_or_else(unknown)
}

/// Ends a job between two of its steps; what it has done stays. A job that is over is left as it is.
#[utoipa::path(
    delete,
    path = "/api/v1/jobs/{id}",
    tag = "jobs",
    params(("id" = String, Path, description = "the job's id")),
    responses(
        (status = 200, description = "it is over: cancelled now, or ended before", body = View),
        (status = 202, description = "it will end within a moment", body = View),
        (status = 404, description = "no such job", body = Problem)
    )
)]
async fn end(State(parts): State<Parts>, Path(id): Path<String>) -> Result<(StatusCode, Json<View>), Problem> {
    let view = parts.jobs.cancel(&id).await.ok_or_else(unknown)?;
    let status = if view.state.is_over() { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(shown(view))))
}

/// As others may see it.
pub(in crate::admin) fn shown(mut view: View) -> View {
    if view.what != "pack.fetch" {
        view.current = view.current.map(|text| Target::parse(&text).map_or(text, |target| redact::place(&target).to_owned()));
    }
    view
}

fn unknown() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "job.unknown", "there is no such job any more", "the node may have been restarted: ask again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_packs_name_is_told_in_full() {
        let at = |what: &str, current: &str| {
            shown(View { what: what.into(), current: Some(current.into()), ..View::default() }).current.expect("kept")
        };
        assert_eq!(at("pack.fetch", "https://a.kz/lesson?n=1"), "https://a.kz/lesson?n=1");
        assert_eq!(at("store.export", "https://a.kz/lesson?n=1"), "https://a.kz");
        assert_eq!(at("store.repack", "dictionary 3"), "dictionary 3");
    }
}
