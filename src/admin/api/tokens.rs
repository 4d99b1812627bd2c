//! Tokens over the API: `/api/v1/tokens`, `/api/v1/tokens/{id}`; what they are is the business of `admin::token`.

use crate::admin::Parts;
use crate::admin::api::role::Role;
use crate::admin::token::{Listed, Made};
use crate::base::problem::Problem;
use axum::extract::{Path, State};
use axum::routing::{delete, get};
use axum::{Json, Router};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

/// The routes.
pub(super) fn routes() -> Router<Parts> {
    Router::new().route("/api/v1/tokens", get(list).post(add)).route("/api/v1/tokens/{id}", delete(revoke))
}

#[derive(OpenApi)]
#[openapi(paths(list, add, revoke))]
pub(super) struct Document;

/// The tokens.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
struct Tokens {
    /// By name.
    tokens: Vec<Listed>,
}

/// An order for a token.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TokenOrder, example = json!({ "name": "report script", "role": "read", "expires": "2999-01-01T00:00:00Z" }))]
struct Order {
    /// What people call it: 1 to 64 letters.
    name: String,
    /// What it may do.
    role: Role,
    /// From when on it does not count (RFC 3339); left out: never.
    #[serde(default)]
    expires: Option<String>,
}

/// All tokens, without what makes them count.
#[utoipa::path(get, path = "/api/v1/tokens", tag = "tokens", responses((status = 200, description = "the tokens", body = Tokens)))]
async fn list(State(parts): State<Parts>) -> Json<Tokens> {
    Json(Tokens { tokens: parts.tokens.list() })
}

/// Makes a token, which is shown this once.
#[utoipa::path(
    post,
    path = "/api/v1/tokens",
    tag = "tokens",
    request_body = Order,
    responses(
        (status = 201, description = "the token", body = Made),
        (status = 400, description = "no name, or a moment that has passed", body = Problem),
        (status = 409, description = "the name is taken, or there are too many", body = Problem)
    )
)]
async fn add(State(parts): State<Parts>, Json(order): Json<Order>) -> Result<(StatusCode, Json<Made>), Problem> {
    let made = parts.tokens.add(&order.name, order.role, order.expires.as_deref()).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Revokes a token, by its visible part or its name; what it began ends too.
#[utoipa::path(
    delete,
    path = "/api/v1/tokens/{id}",
    tag = "tokens",
    params(("id" = String, Path, description = "how the token begins (bulak_ and eight digits), or its name")),
    responses((status = 200, description = "the token that counts no more", body = Listed), (status = 404, description = "no such token", body = Problem))
)]
async fn revoke(State(parts): State<Parts>, Path(id): Path<String>) -> Result<Json<Listed>, Problem> {
    parts.tokens.revoke(&id).await.map(Json)
}
