//! The error document of the API (RFC 9457): `application/problem+json` with our id, the same as in log and command line.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The media type of the document.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// What went wrong, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Problem {
    /// `urn:bulak:error:` and the id.
    #[serde(rename = "type")]
    pub kind: String,
    /// `part.cause`.
    pub id: String,
    /// What went wrong: lower case, no full stop.
    pub title: String,
    /// What to do about it.
    pub remedy: String,
    /// The HTTP status.
    pub status: u16,
}

impl Problem {
    /// A problem with an HTTP status.
    pub fn new(status: StatusCode, id: &str, title: impl Into<String>, remedy: impl Into<String>) -> Problem {
        Problem {
            kind: format!("urn:bulak:error:{id}"),
            id: id.to_owned(),
            title: title.into(),
            remedy: remedy.into(),
            status: status.as_u16(),
        }
    }
}

/// A response of an OpenAPI document that is a problem.
pub fn described(what: &str) -> Value {
    json!({ "description": what, "content": { CONTENT_TYPE: { "schema": { "$ref": "#/components/schemas/Problem" } } } })
}

/// Gives the errors among an operation's responses, as OpenAPI has them, their own media type.
pub fn in_document(responses: &mut Value) {
    for (status, response) in responses.as_object_mut().into_iter().flatten() {
        if status.starts_with(['4', '5'])
            && let Some(content) = response.get_mut("content").and_then(Value::as_object_mut)
            && let Some(plain) = content.remove("application/json")
        {
            content.insert(CONTENT_TYPE.to_owned(), plain);
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut answer = (status, axum::Json(self)).into_response();
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        answer
    }
}
