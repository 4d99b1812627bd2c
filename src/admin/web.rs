//! Routes of the web port: portal, PAC, health, metrics. Everybody on the LAN may read them; nothing here changes anything.

use crate::admin::Parts;
use crate::admin::host::Names;
use crate::admin::problem::Problem;
use crate::portal::language::COOKIE;
use crate::portal::{Arrival, Home, Language, STYLE, pac};
use axum::extract::{DefaultBodyLimit, Query, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Deserialize;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a request's body: nothing here takes one; parts with forms (`extra`) set their own.
const BODY_LIMIT: usize = 64 << 10;

/// Longest wait for an answer of ours; all are made from memory.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a browser may keep the style sheet.
const STYLE_AGE: &str = "public, max-age=3600";

/// The routes of the web port, with those of other parts (`extra`).
pub fn web_router(parts: Parts, extra: Router) -> Router {
    Router::new()
        .route("/", get(home))
        .route(
            "/portal.css",
            get(async || ([(header::CONTENT_TYPE, "text/css; charset=utf-8"), (header::CACHE_CONTROL, STYLE_AGE)], STYLE)),
        )
        .route("/proxy.pac", get(pac_file))
        .route("/wpad.dat", get(pac_file))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(parts.clone())
        .merge(extra)
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "web.unknown", "there is no such page", "begin at /"))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(from_fn_with_state(parts.names, guard))
}

/// Host check, deadline and the headers of every answer.
async fn guard(State(names): State<Arc<Names>>, request: Request, next: Next) -> Response {
    let arrival = request.extensions().get::<Arrival>().copied();
    // A proxied request names us in its URI, one straight to us in its Host field.
    let host = request.uri().authority().map(ToString::to_string).or_else(|| {
        let mut hosts = request.headers().get_all(header::HOST).iter();
        let only = hosts.next().filter(|_| hosts.next().is_none())?;
        only.to_str().ok().map(str::to_owned)
    });
    let host = host.unwrap_or_default();
    let ours = names.owns(&host, arrival) || (request.uri().path() == "/wpad.dat" && Names::is_wpad(&host));
    let mut answer = if ours {
        tokio::time::timeout(ANSWER_TIMEOUT, next.run(request)).await.unwrap_or_else(|_| {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "web.slow", "the page took too long", "try again in a minute").into_response()
        })
    } else {
        Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "web.foreign_host",
            "this name is not one of this server's",
            "use its address, or add the name to web.names",
        )
        .into_response()
    };
    harden(answer.headers_mut());
    answer
}

fn harden(headers: &mut HeaderMap) {
    const ALWAYS: [(HeaderName, &str); 4] = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in ALWAYS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

#[derive(Deserialize)]
struct Choice {
    lang: Option<String>,
}

async fn home(
    State(parts): State<Parts>,
    arrival: Option<Extension<Arrival>>,
    Query(choice): Query<Choice>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let field = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let language = Language::choose(choice.lang.as_deref(), field(header::COOKIE), field(header::ACCEPT_LANGUAGE));
    let local = came_to(arrival);
    let home = Home {
        name: parts.name.to_string(),
        shelves: (parts.shelves)(local),
        line: parts.link.state(),
        proxy: parts.doors.proxy_for(local),
        web: parts.doors.web_for(local),
    };
    let page = home.render(language).map_err(|error| {
        tracing::error!(%error, "portal page was not made");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "portal.failed", "the page could not be made", "try again")
    })?;
    let mut answer = Html(page).into_response();
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_LANGUAGE, HeaderValue::from_static(language.tag()));
    headers.insert(header::VARY, HeaderValue::from_static("Cookie, Accept-Language"));
    if choice.lang.as_deref().and_then(Language::from_tag).is_some() {
        // A year; says only which language.
        let cookie = format!("{COOKIE}={}; Path=/; Max-Age=31536000; SameSite=Lax; HttpOnly", language.tag());
        if let Ok(value) = HeaderValue::from_str(&cookie) {
            headers.insert(header::SET_COOKIE, value);
        }
    }
    Ok(answer)
}

async fn pac_file(State(parts): State<Parts>, arrival: Option<Extension<Arrival>>) -> Response {
    ([(header::CONTENT_TYPE, pac::CONTENT_TYPE)], pac::file(parts.doors.proxy_for(came_to(arrival)))).into_response()
}

fn came_to(arrival: Option<Extension<Arrival>>) -> Option<SocketAddr> {
    arrival.map(|Extension(arrival)| arrival.local)
}

async fn readyz(State(parts): State<Parts>) -> Response {
    let reasons = parts.ready.reasons();
    if reasons.is_empty() {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n").into_response()
    }
}

async fn metrics(State(parts): State<Parts>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], parts.metrics.print()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::portal::Door;
    use axum::body::Body;
    use tower::ServiceExt;

    fn guarded() -> Router {
        let names = Arc::new(Names::new("abay-12", []));
        Router::new()
            .route("/", get(async || "home"))
            .route("/wpad.dat", get(async || "pac"))
            .route("/kept", get(async || ([(header::CACHE_CONTROL, STYLE_AGE)], "css")))
            .layer(from_fn_with_state(names, guard))
    }

    async fn ask(uri: &str, hosts: &[&str]) -> Response {
        let mut request = Request::builder().uri(uri);
        for host in hosts {
            request = request.header(header::HOST, *host);
        }
        let arrival = Arrival {
            client: "192.168.8.20:5000".parse().expect("valid"),
            local: "192.168.8.1:80".parse().expect("valid"),
            door: Door::Web,
        };
        guarded().oneshot(request.extension(arrival).body(Body::empty()).expect("a request")).await.expect("an answer")
    }

    #[tokio::test]
    async fn foreign_names_are_misdirected() {
        let table: [(&str, &[&str], u16); 9] = [
            ("/", &["192.168.8.1"], 200),
            ("/", &["abay-12.local:80"], 200),
            ("/", &["evil.example"], 421),
            ("/", &[], 421),
            ("/", &["abay-12", "evil.example"], 421),
            ("/wpad.dat", &["wpad.school.internal"], 200),
            ("/", &["wpad.school.internal"], 421),
            // Proxied: the URI counts.
            ("http://bulak.internal/", &["evil.example"], 200),
            ("http://evil.example/", &["bulak.internal"], 421),
        ];
        for (uri, hosts, status) in table {
            assert_eq!(ask(uri, hosts).await.status().as_u16(), status, "{uri} {hosts:?}");
        }
    }

    #[tokio::test]
    async fn every_answer_is_hardened() {
        for answer in [ask("/", &["abay-12"]).await, ask("/", &["evil.example"]).await, ask("/nowhere", &["abay-12"]).await] {
            let field = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
            assert!(field("content-security-policy").contains("frame-ancestors 'none'"));
            assert_eq!((field("x-content-type-options").as_str(), field("cache-control").as_str()), ("nosniff", "no-store"));
        }
        assert_eq!(ask("/kept", &["abay-12"]).await.headers()[header::CACHE_CONTROL], STYLE_AGE);
    }
}
