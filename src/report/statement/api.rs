//! `GET /api/v1/link/statement`: the signed document, or the page.

use crate::base::language::Language;
use crate::base::problem::Problem;
use crate::report::statement::paper::Document as Signed;
use crate::report::statement::period::Period;
use crate::report::statement::{Desk, page};
use axum::extract::{Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi, ToSchema};

/// What a browser may do with the page: show it with the style that is in it.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The route. Who may call it is the business of whoever mounts it.
pub fn routes(desk: Desk) -> Router {
    Router::new().route("/api/v1/link/statement", get(show)).with_state(desk)
}

#[derive(OpenApi)]
#[openapi(paths(show))]
struct Document;

/// What this route takes and gives, in words of OpenAPI.
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// As what a statement is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = StatementForm)]
enum Form {
    /// The signed document.
    #[default]
    Json,
    /// One page of HTML to print.
    Page,
}

/// Which statement.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// `2026-10`; without a month and days: the last thirty days.
    #[param(required = false)]
    month: Option<String>,
    /// The first day, `2026-10-01`.
    #[param(required = false)]
    from: Option<String>,
    /// The last day, included.
    #[param(required = false)]
    to: Option<String>,
    /// `json` or `page`.
    #[param(required = false, inline)]
    form: Form,
    /// The page's language: `kk`, `ru`, `en`.
    #[param(required = false)]
    lang: Option<String>,
}

/// The line against its contract and the target of ITU and UN, over a period, signed by the node.
#[utoipa::path(
    get,
    path = "/api/v1/link/statement",
    tag = "status",
    params(Wanted),
    responses(
        (status = 200, description = "the statement", body = Signed),
        (status = 400, description = "no such period or language", body = Problem),
        (status = 409, description = "the node does not know what day it is", body = Problem)
    )
)]
async fn show(State(desk): State<Desk>, Query(wanted): Query<Wanted>) -> Result<Response, Problem> {
    if !desk.is_dated() {
        let (what, remedy) = ("the node does not know what day it is", "let it reach a time server, or set its clock");
        return Err(Problem::new(StatusCode::CONFLICT, "statement.clock", what, remedy));
    }
    let Wanted { month, from, to, form, lang } = wanted;
    let period = Period::of(month.as_deref(), from.as_deref(), to.as_deref(), desk.today()).map_err(|error| error.problem())?;
    let language = match lang {
        None => Language::default(),
        Some(tag) => Language::from_tag(&tag).ok_or_else(|| {
            Problem::new(StatusCode::BAD_REQUEST, "statement.language", format!("\"{tag}\" is no language of ours"), "write kk, ru or en")
        })?,
    };
    let failed = |error: &dyn std::fmt::Display| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "statement.failed", format!("{error:#}"), "see the node's log")
    };
    let document = desk.statement(period).await.map_err(|error| failed(&error))?;
    if form == Form::Json {
        return Ok(Json(document).into_response());
    }
    let mut answer = Html(page::render(&document, language).map_err(|error| failed(&error))?).into_response();
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_LANGUAGE, HeaderValue::from_static(language.tag()));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    Ok(answer)
}
