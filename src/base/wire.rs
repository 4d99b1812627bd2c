//! The wire filter in front of hyper.

use http::{HeaderMap, StatusCode};
use std::sync::Arc;

/// Sends an interim (1xx) answer to the client before the final one. Put into a request's extensions by `proxy`, called by
/// `upstream` as interim answers arrive.
#[derive(Clone)]
pub struct Interim(pub Arc<dyn Fn(StatusCode, &HeaderMap) + Send + Sync>);
