//! The door of the API on the web port: who may ask at all, a bearer token (RFC 6750), the role that method and path need, and errors as
//! documents.
//!
//! Tokens come over plain HTTP, so nobody from outside may send one: the port may be public by mistake, and so may `proxy.clients`.
//! Nothing of a request is logged here: not its token, its path or who sent it.

use crate::admin::api::role::needed;
use crate::admin::token::{Tokens, Worth};
use crate::base::bearer;
use crate::base::near::is_near;
use crate::base::problem::Problem;
use crate::portal::Arrival;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use std::net::IpAddr;
use std::time::Duration;

/// By which token a request came; for what lasts longer than an answer.
#[derive(Clone, Debug)]
pub(super) struct Shown(pub(super) String);

/// Asks for a token that may, of whoever is near.
pub(super) async fn guard(State(tokens): State<Tokens>, mut request: Request, next: Next) -> Response {
    let client = request.extensions().get::<Arrival>().map(|arrival| arrival.client.ip());
    if !client.is_some_and(is_near) {
        tokens.refused("client");
        let title = "the API answers private addresses alone";
        let remedy = "ask from inside the school, or on the machine itself by the bulak command";
        return Problem::new(StatusCode::FORBIDDEN, "api.foreign_client", title, remedy).into_response();
    }
    let worth = match token(request.headers()) {
        Some(shown) => tokens.judge(shown),
        None => return failed(&tokens, client, "no_token"),
    };
    let (id, role) = match worth {
        Worth::Good { id, role } => (id, role),
        Worth::Expired => return failed(&tokens, client, "expired"),
        Worth::Unknown => return failed(&tokens, client, "bad_token"),
    };
    let needed = needed(request.method(), request.uri().path());
    if role < needed {
        tokens.refused("role");
        let title = format!("this needs a token with the role {needed}, and this one has {role}");
        let remedy = format!("make one: bulak user token add NAME --role {needed}");
        let challenge = format!("Bearer realm=\"bulak\", error=\"insufficient_scope\", scope=\"{needed}\"");
        return challenged(Problem::new(StatusCode::FORBIDDEN, "api.not_allowed", title, remedy), &challenge);
    }
    request.extensions_mut().insert(Shown(id));
    next.run(request).await
}

/// What an `Authorization: Bearer` field holds; `None` without exactly one of that kind.
fn token(headers: &HeaderMap) -> Option<&str> {
    bearer::shown(headers).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, shown)| shown)
}

fn failed(tokens: &Tokens, client: Option<IpAddr>, reason: &'static str) -> Response {
    if let Err(wait) = tokens.failed(client, reason) {
        return too_many(wait);
    }
    let (id, title, challenge) = match reason {
        "no_token" => ("api.no_token", "this needs a token", "Bearer realm=\"bulak\""),
        "expired" => (
            "api.token_expired",
            "this token has expired",
            "Bearer realm=\"bulak\", error=\"invalid_token\", error_description=\"the token has expired\"",
        ),
        _ => (
            "api.bad_token",
            "this token is unknown or was revoked",
            "Bearer realm=\"bulak\", error=\"invalid_token\", error_description=\"the token is unknown or was revoked\"",
        ),
    };
    let remedy = "make one (bulak user token add NAME --role read) and send it as Authorization: Bearer TOKEN";
    challenged(Problem::new(StatusCode::UNAUTHORIZED, id, title, remedy), challenge)
}

fn challenged(problem: Problem, challenge: &str) -> Response {
    let mut answer = problem.into_response();
    if let Ok(value) = HeaderValue::from_str(challenge) {
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, value);
    }
    answer
}

fn too_many(wait: Duration) -> Response {
    let title = "too many requests without a token that counts";
    let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "api.too_many_failures", title, "look which script sends an old token");
    let mut answer = problem.into_response();
    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::api::role::Role;
    use crate::base::clock::{Clock, Time};
    use crate::base::count::Metrics;
    use crate::base::problem::CONTENT_TYPE;
    use crate::base::refusal::as_problems;
    use crate::life::Life;
    use crate::portal::Door;
    use crate::state;
    use axum::body::{Body, to_bytes};
    use axum::middleware::{from_fn, from_fn_with_state};
    use axum::routing::{any, get, post};
    use axum::{Json, Router};
    use serde_json::Value;
    use tower::ServiceExt;

    /// Method, path, `Authorization` fields; status, id, and what the challenge holds.
    type Case<'c> = (&'c str, &'c str, &'c [&'c str], u16, &'c str, &'c str);

    struct Stage {
        tokens: Tokens,
        clock: Clock,
        router: Router,
    }

    impl Stage {
        async fn new() -> Stage {
            let (state, clock) = (state::State::open(None).await.expect("opens"), Clock::manual(Time::BUILT));
            let tokens = Tokens::load(&state, clock.clone(), &Life::default(), &Metrics::default()).await.expect("loads");
            let router = Router::new()
                .route("/api/v1/status", get(async || "fine"))
                .route("/api/v1/packs/{id}/fetch", post(async |Json(value): Json<Vec<u8>>| Json(value)))
                .route("/api/v1/tokens", get(async || "secret"))
                .route("/api/v1/{*rest}", any(async || crate::admin::api::unknown()))
                .layer(from_fn(as_problems))
                .layer(from_fn_with_state(tokens.clone(), guard));
            Stage { tokens, clock, router }
        }

        async fn token(&self, role: Role) -> String {
            self.tokens.add(role.name(), role, None).await.expect("made").token
        }

        async fn ask(&self, method: &str, path: &str, fields: &[&str], last: u8) -> (u16, HeaderMap, Value) {
            self.ask_from(IpAddr::from([192, 168, 8, last]), method, path, fields).await
        }

        async fn ask_from(&self, client: IpAddr, method: &str, path: &str, fields: &[&str]) -> (u16, HeaderMap, Value) {
            let mut request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/json");
            for field in fields {
                request = request.header(header::AUTHORIZATION, *field);
            }
            let arrival = Arrival {
                client: std::net::SocketAddr::from((client, 5000)),
                local: "192.168.8.1:80".parse().expect("valid"),
                door: Door::Web,
            };
            let request = request.extension(arrival).body(Body::from("[1]")).expect("a request");
            let (head, body) = self.router.clone().oneshot(request).await.expect("an answer").into_parts();
            let bytes = to_bytes(body, 10_000).await.expect("a body");
            (head.status.as_u16(), head.headers, serde_json::from_slice(&bytes).unwrap_or_default())
        }
    }

    #[tokio::test]
    async fn only_a_bearer_token_that_may_comes_in() {
        let stage = Stage::new().await;
        let (read, admin) = (stage.token(Role::Read).await, stage.token(Role::Admin).await);
        let (good, lower, best) = (format!("Bearer {read}"), format!("bearer  {read} "), format!("Bearer {admin}"));
        let basic = format!("Basic {read}");
        let table: [Case; 12] = [
            ("GET", "/api/v1/status", &[&good], 200, "", ""),
            ("GET", "/api/v1/status", &[&lower], 200, "", ""),
            ("GET", "/api/v1/status", &[], 401, "api.no_token", "Bearer realm=\"bulak\""),
            ("GET", "/api/v1/status", &[&basic], 401, "api.no_token", "Bearer realm=\"bulak\""),
            ("GET", "/api/v1/status", &[&read], 401, "api.no_token", "Bearer realm=\"bulak\""),
            ("GET", "/api/v1/status", &[&good, &good], 401, "api.no_token", "Bearer realm=\"bulak\""),
            ("GET", "/api/v1/status", &["Bearer bulak_x"], 401, "api.bad_token", "invalid_token"),
            ("GET", "/api/v1/nothing", &[], 401, "api.no_token", "Bearer"),
            ("GET", "/api/v1/nothing", &[&good], 404, "api.unknown", ""),
            ("POST", "/api/v1/packs/a/fetch", &[&good], 403, "api.not_allowed", "scope=\"operate\""),
            ("GET", "/api/v1/tokens", &[&good], 403, "api.not_allowed", "scope=\"admin\""),
            ("POST", "/api/v1/packs/a/fetch", &[&best], 200, "", ""),
        ];
        for (at, (method, path, fields, status, id, challenge)) in (0_u8..).zip(table) {
            let (told, headers, body) = stage.ask(method, path, fields, at).await;
            assert_eq!((told, body["id"].as_str().unwrap_or_default()), (status, id), "{method} {path} {fields:?}");
            let challenged = headers.get(header::WWW_AUTHENTICATE).and_then(|value| value.to_str().ok()).unwrap_or_default();
            assert!(challenged.contains(challenge) && challenged.is_empty() == challenge.is_empty(), "{path}: {challenged}");
            assert!(status == 200 || headers[header::CONTENT_TYPE] == CONTENT_TYPE);
            assert!(!headers.keys().any(|name| name.as_str().starts_with("access-control")), "no CORS");
        }
    }

    #[tokio::test]
    async fn nobody_from_outside_is_asked_for_a_token() {
        let stage = Stage::new().await;
        let good = format!("Bearer {}", stage.token(Role::Read).await);
        let table = [
            ("127.0.0.1", true),
            ("10.1.2.3", true),
            ("172.31.0.1", true),
            ("::ffff:192.168.8.20", true),
            ("169.254.7.7", true),
            ("100.64.0.1", true),
            ("::1", true),
            ("fe80::1", true),
            ("fd00::1", true),
            ("203.0.113.7", false),
            ("8.8.8.8", false),
            ("172.32.0.1", false),
            ("100.128.0.1", false),
            ("::ffff:8.8.8.8", false),
            ("2001:db8::1", false),
        ];
        for (client, near) in table {
            let client: IpAddr = client.parse().expect("an address");
            let (status, headers, body) = stage.ask_from(client, "GET", "/api/v1/status", &[&good]).await;
            assert_eq!((status, body["id"].as_str()), if near { (200, None) } else { (403, Some("api.foreign_client")) }, "{client}");
            let (status, _, _) = stage.ask_from(client, "GET", "/api/v1/status", &[]).await;
            assert_eq!(status, if near { 401 } else { 403 }, "{client}");
            assert!(!headers.contains_key(header::WWW_AUTHENTICATE), "{client} is not asked to show one");
        }
    }

    #[tokio::test]
    async fn who_fails_too_often_waits_and_who_has_a_token_does_not() {
        let stage = Stage::new().await;
        let good = format!("Bearer {}", stage.token(Role::Read).await);
        for number in 0..1000 {
            let (status, headers, _) = stage.ask("GET", "/api/v1/status", &["Bearer bulak_x"], 7).await;
            assert_eq!(status, if number < 10 { 401 } else { 429 }, "{number}");
            assert_eq!(headers.contains_key(header::RETRY_AFTER), status == 429);
        }
        assert_eq!(stage.ask("GET", "/api/v1/status", &[&good], 7).await.0, 200);
        assert_eq!(stage.ask("GET", "/api/v1/status", &[], 8).await.0, 401, "nobody pays for another");
        stage.clock.advance(Duration::from_mins(2));
        assert_eq!(stage.ask("GET", "/api/v1/status", &[], 7).await.0, 401);
    }
}
