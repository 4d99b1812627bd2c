//! The API under `/api/v1`: on the local socket for whoever may open it, on the web port for whoever shows a bearer token.
//!
//! Both have the same routes and the same documents; the socket has a few more, which name folders of the machine. Parts that this
//! module need not know hand over plain routers; who may call what is decided here, by method and path (`role`).
//!
//! # What is absent, on purpose
//!
//! No cookie and no session: a token is shown with every request, so no page can act in somebody's name. No CORS: no page of another
//! origin may read an answer. No address counts as local, not even loopback, since our own proxy could dial it for a stranger.

/// The door of the web port.
mod guard;

/// Live events.
mod events;

/// Jobs.
mod jobs;

/// The document.
pub mod document;

/// Who may do what.
pub mod role;

/// Tokens.
mod tokens;

use crate::admin::Parts;
use crate::base::problem::Problem;
use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{any, get};
use http::StatusCode;

/// The routes that socket and web port share, with those of other parts (`extra`).
fn shared(parts: &Parts, extra: Router) -> Router {
    Router::new()
        .route("/api/v1/status", get(super::local::status))
        .route("/api/v1/openapi.json", get(document::show))
        .merge(super::store::shared())
        .merge(jobs::routes())
        .merge(events::routes())
        .merge(tokens::routes())
        .with_state(parts.clone())
        .merge(extra)
}

/// The API as the local socket has it: nobody is asked for a token.
pub(super) fn open(parts: &Parts, extra: Router) -> Router {
    shared(parts, extra)
}

/// The API as the web port has it: nothing below `/api/v1/` is answered but to private addresses, with a token that may.
pub fn guarded(parts: &Parts, extra: Router) -> Router {
    shared(parts, extra).route("/api/v1/{*rest}", any(async || unknown())).layer(from_fn_with_state(parts.tokens.clone(), guard::guard))
}

/// There is no such route.
pub(super) fn unknown() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "api.unknown", "there is no such address", "see /api/v1/openapi.json; the versions may differ")
}
