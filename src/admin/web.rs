//! Routes of the web port: portal, health, metrics; those for devices are in `devices`. Everybody on the LAN may read them; nothing here
//! changes anything. The API and the class's forms come as `extra`, each with its own guard.

use crate::admin::host::Names;
use crate::admin::told::{Told, failed};
use crate::admin::{Parts, devices};
use crate::base::problem::Problem;
use crate::base::refusal::{InWords, as_problems};
use crate::portal::frame::Frame;
use crate::portal::lost::Lost;
use crate::portal::{Arrival, Home, STYLE};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a request's body, those of `extra` too: orders and forms are a few words.
const BODY_LIMIT: usize = 64 << 10;

/// Longest wait for the head of a page; all are made from memory. What follows (live events) may last.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest wait for the head of an answer of the API: an order that goes through a whole store (a purge by host) on a slow card.
const ORDER_TIMEOUT: Duration = Duration::from_mins(30);

/// What programs ask for.
const API: &str = "/api/";

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
        // Browsers ask for it on every page: there is none, and that may be kept.
        .route("/favicon.ico", get(async || (StatusCode::NO_CONTENT, [(header::CACHE_CONTROL, STYLE_AGE)])))
        .merge(devices::routes())
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .fallback(lost)
        .with_state(parts.clone())
        .merge(extra)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(from_fn(as_problems))
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
        let (patience, title, remedy) = if request.uri().path().starts_with(API) {
            (ORDER_TIMEOUT, "the order took too long", "it may still be carried out: look before you give it again")
        } else {
            (ANSWER_TIMEOUT, "the page took too long", "try again in a minute")
        };
        tokio::time::timeout(patience, next.run(request))
            .await
            .unwrap_or_else(|_| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "web.slow", title, remedy).into_response())
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
        // Not "no-referrer": browsers would then not say either that a form of ours is ours.
        (header::REFERRER_POLICY, "same-origin"),
    ];
    for (name, value) in ALWAYS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

async fn home(State(parts): State<Parts>, arrival: Option<Extension<Arrival>>, told: Told) -> Result<Response, Problem> {
    let home = Home {
        name: parts.reach.title.clone(),
        shelves: (parts.shelves)(arrival.as_ref().map(|Extension(arrival)| arrival.local)),
        line: parts.link.state(),
        morning: (parts.morning)(),
        place: devices::place(&parts, arrival.map(|Extension(arrival)| arrival)),
        opens: !parts.reach.enrol.load().opened.is_empty(),
    };
    Ok(told.page(home.render(told.language).map_err(failed)?))
}

/// An address that leads nowhere: a page for a browser, a document for a program.
async fn lost(State(parts): State<Parts>, told: Told, fields: HeaderMap) -> Response {
    let problem = Problem::new(StatusCode::NOT_FOUND, "web.unknown", "there is no such page", "begin at /");
    let shows = fields.get(header::ACCEPT).and_then(|kinds| kinds.to_str().ok()).is_some_and(|kinds| kinds.contains("text/html"));
    if !shows {
        return problem.into_response();
    }
    let frame = Frame::new(told.language, "/", &parts.reach.title);
    match (Lost { frame }).render() {
        Ok(page) => (StatusCode::NOT_FOUND, told.page(page)).into_response(),
        Err(error) => failed(error).into_response(),
    }
}

async fn readyz(State(parts): State<Parts>) -> Response {
    let reasons = parts.ready.reasons();
    if reasons.is_empty() {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, Extension(InWords), reasons.join("\n") + "\n").into_response()
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
            .route("/slow", get(slow))
            .route("/api/v1/slow", get(slow))
            .route("/kept", get(async || ([(header::CACHE_CONTROL, STYLE_AGE)], "css")))
            .layer(from_fn_with_state(names, guard))
    }

    /// As an order that goes through a store on a slow card.
    async fn slow() -> &'static str {
        tokio::time::sleep(Duration::from_mins(20)).await;
        "done"
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_has_half_a_minute_and_an_order_half_an_hour() {
        assert_eq!(ask("/slow", &["abay-12"]).await.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(ask("/api/v1/slow", &["abay-12"]).await.status(), StatusCode::OK);
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
