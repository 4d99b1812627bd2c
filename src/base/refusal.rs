//! What the framework refuses (no JSON, a wrong type, a wrong method, a query that cannot be read), in the form of all our errors.
//!
//! One layer around the routes of every port. It leaves alone what is ours already: problem documents, pages, and what a handler says
//! in plain words on purpose ([`InWords`](crate::base::refusal::InWords)).

use crate::base::problem::{CONTENT_TYPE, Problem};
use axum::body::to_bytes;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};

/// Letters of a refusal of the framework's that are told on.
const WORDS: usize = 300;

/// Bytes of such a refusal that are read.
const MOST_BYTES: usize = 16 << 10;

/// How the framework names a form.
const FORM: &str = "x-www-form-urlencoded";

/// In the extensions of an answer: its words are meant as they are, for a program that knows no documents.
#[derive(Clone, Copy, Debug)]
pub struct InWords;

/// Gives what the framework refuses the form of all our errors.
pub async fn as_problems(request: Request, next: Next) -> Response {
    let answer = next.run(request).await;
    let status = answer.status();
    if !(status.is_client_error() || status.is_server_error()) || is_ours(&answer) {
        return answer;
    }
    let (head, body) = answer.into_parts();
    let words = to_bytes(body, MOST_BYTES).await.unwrap_or_default();
    let words: String = String::from_utf8_lossy(&words).chars().filter(|letter| !letter.is_control()).take(WORDS).collect();
    let (id, usual) = match status {
        StatusCode::METHOD_NOT_ALLOWED => ("api.method", "this address does not take that method"),
        StatusCode::NOT_FOUND => ("api.unknown", "there is no such address"),
        StatusCode::PAYLOAD_TOO_LARGE => ("api.too_long", "the request's body is too long"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE if words.contains(FORM) => ("api.no_form", "the request's body is not said to be a form"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => ("api.no_json", "the request's body is not said to be JSON"),
        _ if status.is_server_error() => ("api.failed", "the request could not be answered"),
        _ => ("api.misuse", "the request cannot be understood"),
    };
    let title = if words.is_empty() { usual.to_owned() } else { format!("{usual}: {words}") };
    let remedy = match id {
        "api.no_form" => "send it with Content-Type: application/x-www-form-urlencoded",
        "api.no_json" => "send it with Content-Type: application/json",
        _ => "see /api/v1/openapi.json",
    };
    let mut problem = Problem::new(status, id, title, remedy).into_response();
    for (name, value) in head.headers.iter().filter(|(name, _)| **name != header::CONTENT_TYPE && **name != header::CONTENT_LENGTH) {
        problem.headers_mut().append(name, value.clone());
    }
    problem
}

/// The framework speaks in plain text or not at all.
fn is_ours(answer: &Response) -> bool {
    let kind = answer.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind == CONTENT_TYPE || kind.starts_with("text/html") || answer.extensions().get::<InWords>().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::extract::{DefaultBodyLimit, Path, Query};
    use axum::middleware::from_fn;
    use axum::response::Html;
    use axum::routing::{get, post};
    use axum::{Form, Json, Router};
    use tower::ServiceExt;

    #[derive(serde::Deserialize)]
    struct Few {
        #[expect(dead_code, reason = "it is asked for, not used")]
        count: u8,
    }

    /// Method, path, media type, body; status and id.
    type Case = (&'static str, &'static str, &'static str, &'static str, u16, &'static str);

    #[tokio::test]
    async fn what_the_framework_refuses_is_a_document_and_what_is_ours_stays() {
        let json = "application/json";
        let table: [Case; 14] = [
            ("GET", "/nowhere", "", "", 404, "api.unknown"),
            ("DELETE", "/list", "", "", 405, "api.method"),
            ("POST", "/list", json, "[\"a\"]", 200, ""),
            ("POST", "/list", json, "[1]", 422, "api.misuse"),
            ("POST", "/list", json, "[\"a\"", 400, "api.misuse"),
            ("POST", "/list", "", "[]", 415, "api.no_json"),
            ("POST", "/list", json, "[\"a string that is longer than the limit\"]", 413, "api.too_long"),
            ("POST", "/form", json, "{}", 415, "api.no_form"),
            ("POST", "/form", "application/x-www-form-urlencoded", "b=2", 422, "api.misuse"),
            ("GET", "/query", "", "", 400, "api.misuse"),
            ("GET", "/query?count=300", "", "", 400, "api.misuse"),
            ("GET", "/number/x", "", "", 400, "api.misuse"),
            ("GET", "/page", "", "", 403, ""),
            ("GET", "/words", "", "", 503, ""),
        ];
        let words = async || {
            let mut answer = (StatusCode::SERVICE_UNAVAILABLE, "not yet\n").into_response();
            answer.extensions_mut().insert(InWords);
            answer
        };
        let router = Router::new()
            .route("/list", post(async |Json(value): Json<Vec<String>>| Json(value)))
            .route("/form", post(async |Form(_): Form<Few>| "taken"))
            .route("/query", get(async |Query(_): Query<Few>| "taken"))
            .route("/number/{number}", get(async |Path(number): Path<u8>| number.to_string()))
            .route("/page", get(async || (StatusCode::FORBIDDEN, Html("<p>no"))))
            .route("/words", get(words))
            .layer(DefaultBodyLimit::max(32))
            .layer(from_fn(as_problems));
        for (method, path, kind, body, status, id) in table {
            let request = Request::builder().method(method).uri(path);
            let request = if kind.is_empty() { request } else { request.header(header::CONTENT_TYPE, kind) };
            let answer = router.clone().oneshot(request.body(Body::from(body)).expect("a request")).await.expect("an answer");
            assert_eq!(answer.status().as_u16(), status, "{method} {path} {body}");
            assert_eq!(
                answer.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == CONTENT_TYPE),
                !id.is_empty(),
                "{path} {body}"
            );
            assert_eq!(answer.headers().contains_key(header::ALLOW), status == 405, "{path}");
            if !id.is_empty() {
                let bytes = to_bytes(answer.into_body(), 10_000).await.expect("a body");
                let problem: Problem = serde_json::from_slice(&bytes).expect("a document");
                assert_eq!((problem.id.as_str(), problem.status), (id, status), "{path} {body}");
                assert!(!problem.title.is_empty() && !problem.remedy.is_empty());
            }
        }
    }
}
