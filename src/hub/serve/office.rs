//! What only admins do: codes, nodes, tokens.

use crate::base::problem::Problem;
use crate::hub::enrol::{self, Node, Order};
use crate::hub::people::{self, Role};
use crate::hub::serve::Parts;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

pub(super) fn routes() -> Router<Parts> {
    Router::new()
        .route("/api/v1/codes", get(codes).post(make_code))
        .route("/api/v1/codes/{id}", delete(drop_code))
        .route("/api/v1/nodes", get(nodes))
        .route("/api/v1/nodes/{id}/revoke", post(revoke))
        .route("/api/v1/tokens", get(tokens).post(add_token))
        .route("/api/v1/tokens/{id}", delete(drop_token))
}

#[derive(OpenApi)]
#[openapi(paths(codes, make_code, drop_code, nodes, revoke, tokens, add_token, drop_token))]
pub(super) struct Document;

/// Codes, newest first.
#[derive(Serialize, ToSchema)]
struct Codes {
    /// Without what makes them count.
    codes: Vec<enrol::Listed>,
}

/// Codes by which nodes enrol, without what makes them count.
#[utoipa::path(get, path = "/api/v1/codes", tag = "office", responses((status = 200, description = "codes", body = Codes)))]
async fn codes(State(parts): State<Parts>) -> Result<Json<Codes>, Problem> {
    Ok(Json(Codes { codes: parts.0.book.codes().await? }))
}

/// Makes a code by which one node may enrol; it is shown this once and counts for two weeks.
#[utoipa::path(
    post,
    path = "/api/v1/codes",
    tag = "office",
    request_body = Order,
    responses((status = 201, description = "the code", body = enrol::Made), (status = 400, description = "no id of a school", body = Problem))
)]
async fn make_code(State(parts): State<Parts>, Json(order): Json<Order>) -> Result<(StatusCode, Json<enrol::Made>), Problem> {
    Ok((StatusCode::CREATED, Json(parts.0.book.make(&order).await?)))
}

/// Withdraws a code that nobody has used.
#[utoipa::path(
    delete,
    path = "/api/v1/codes/{id}",
    tag = "office",
    params(("id" = String, Path, description = "as the list shows it")),
    responses((status = 204, description = "it counts no more"), (status = 404, description = "no open code", body = Problem))
)]
async fn drop_code(State(parts): State<Parts>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    parts.0.book.withdraw(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Nodes by school.
#[derive(Serialize, ToSchema)]
struct Nodes {
    /// Those that may report and those that may no more.
    nodes: Vec<Node>,
}

/// Nodes that may report, and those that may no more.
#[utoipa::path(get, path = "/api/v1/nodes", tag = "office", responses((status = 200, description = "nodes", body = Nodes)))]
async fn nodes(State(parts): State<Parts>) -> Result<Json<Nodes>, Problem> {
    Ok(Json(Nodes { nodes: parts.0.book.nodes().await? }))
}

/// Ends a node's right to report, at once; what it has reported stays.
#[utoipa::path(
    post,
    path = "/api/v1/nodes/{id}/revoke",
    tag = "office",
    params(("id" = String, Path, description = "the node's id")),
    responses((status = 204, description = "it may report no more"), (status = 404, description = "no such node", body = Problem))
)]
async fn revoke(State(parts): State<Parts>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    parts.0.book.revoke(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Tokens by name.
#[derive(Serialize, ToSchema)]
struct Tokens {
    /// Without what makes them count.
    tokens: Vec<people::Listed>,
}

/// All tokens, without what makes them count.
#[utoipa::path(get, path = "/api/v1/tokens", tag = "office", responses((status = 200, description = "tokens", body = Tokens)))]
async fn tokens(State(parts): State<Parts>) -> Result<Json<Tokens>, Problem> {
    Ok(Json(Tokens { tokens: parts.0.people.list().await? }))
}

/// An order for a token.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = HubTokenOrder, example = json!({ "name": "Grafana", "role": "viewer" }))]
struct TokenOrder {
    /// What people call it: 1 to 64 letters.
    name: String,
    /// What it may do.
    role: Role,
    /// From when on it does not count (RFC 3339); left out: never.
    #[serde(default)]
    expires: Option<String>,
}

/// Makes a token, which is shown this once.
#[utoipa::path(
    post,
    path = "/api/v1/tokens",
    tag = "office",
    request_body = TokenOrder,
    responses(
        (status = 201, description = "the token", body = people::Made),
        (status = 400, description = "no name, or a moment that has passed", body = Problem),
        (status = 409, description = "the name is taken", body = Problem)
    )
)]
async fn add_token(State(parts): State<Parts>, Json(order): Json<TokenOrder>) -> Result<(StatusCode, Json<people::Made>), Problem> {
    let made = parts.0.people.add(&order.name, order.role, order.expires.as_deref()).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Revokes a token, by its visible part or its name.
#[utoipa::path(
    delete,
    path = "/api/v1/tokens/{id}",
    tag = "office",
    params(("id" = String, Path, description = "how the token begins (hub_ and eight digits), or its name")),
    responses((status = 200, description = "the token that counts no more", body = people::Listed), (status = 404, description = "no such token", body = Problem))
)]
async fn drop_token(State(parts): State<Parts>, Path(id): Path<String>) -> Result<Json<people::Listed>, Problem> {
    parts.0.people.revoke(&id).await.map(Json)
}
