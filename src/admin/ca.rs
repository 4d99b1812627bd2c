//! The route of the local socket by which a command that changed the CA's folder has the node read it anew.

use crate::base::problem::Problem;
use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use http::StatusCode;
use serde_json::Value;
use std::pin::Pin;
use std::sync::Arc;

/// Reads CA and consent anew under the configuration in force, and gives what counts from then on: the `https` of the status.
pub type Reread = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = anyhow::Result<Value>> + Send>> + Send + Sync>;

/// `POST /api/v1/ca/reload`; to be had on the local socket alone.
pub fn ca_routes(reread: Reread) -> Router {
    Router::new().route("/api/v1/ca/reload", post(reload)).with_state(reread)
}

async fn reload(State(reread): State<Reread>) -> Result<Json<Value>, Problem> {
    reread().await.map(Json).map_err(|error| {
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "ca.not_read",
            format!("the CA's folder was not read anew ({error:#})"),
            "see the node's log, then reload it",
        )
    })
}
