//! Paths and answers: uploads and enrolments in, JSON, tables and pages out.
//!
//! Three kinds of doors: nodes sign what they send and show no token; whoever looks needs one where `hub.viewers` says so; whoever
//! changes something always does. Errors are problem documents (RFC 9457), within v1 things are only added.

use crate::base::bearer;
use crate::base::clock::{Clock, Time};
use crate::base::count::{IntCounter, Metrics};
use crate::base::crowd::Crowd;
use crate::base::problem::Problem;
use crate::hub::Settings;
use crate::hub::enrol::Book;
use crate::hub::keep::{self, Keep};
use crate::hub::listen::Client;
use crate::hub::people::{People, Role};
use crate::hub::summary::{School, region};
use crate::meter::echo::Place;
use crate::meter::ndt7::server::{self, Server};
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::sync::Arc;
use tokio::sync::{Notify, Semaphore};

/// Uploads and enrolments of nodes.
mod reports;

/// Figures as JSON and as tables.
mod figures;

/// Codes, nodes and tokens.
mod office;

/// Pages.
mod show;

/// The document.
mod document;

/// Bytes of an order: a few words.
const BODY_LIMIT: usize = 16 << 10;

/// What the paths share.
#[derive(Clone)]
pub(crate) struct Parts(Arc<Inner>);

pub(crate) struct Inner {
    settings: Settings,
    clock: Clock,
    metrics: Metrics,
    keep: Arc<dyn Keep>,
    book: Book,
    people: People,
    since: Time,
    /// Tells whoever makes days that something has come.
    woken: Arc<Notify>,
    /// Where pings are answered.
    echo: Option<Place>,
    /// Room for bodies, taken before the first byte is read.
    room: Semaphore,
    /// Whose bodies come.
    uploads: Crowd,
    hands: Arc<Semaphore>,
    stored: IntCounter,
    known: IntCounter,
    refused: IntCounter,
    uploads_refused: IntCounter,
    twins_seen: IntCounter,
}

impl Inner {
    #[expect(clippy::too_many_arguments, reason = "it sums up every part")]
    pub(crate) fn new(
        settings: Settings,
        clock: Clock,
        metrics: &Metrics,
        keep: Arc<dyn Keep>,
        book: Book,
        people: People,
        since: Time,
        woken: Arc<Notify>,
        echo: Option<Place>,
    ) -> Inner {
        let records = metrics.counters("bulak_hub_records_total", "Records that came, by what became of them.", &["fate"]);
        Inner {
            settings,
            clock,
            metrics: metrics.clone(),
            keep,
            book,
            people,
            since,
            woken,
            echo,
            room: Semaphore::new(reports::MOST_PIECES as usize),
            uploads: Crowd::default(),
            hands: Arc::new(Semaphore::new(reports::MOST_AT_ONCE)),
            stored: records.with_label_values(&["stored"]),
            known: records.with_label_values(&["known"]),
            refused: records.with_label_values(&["refused"]),
            uploads_refused: metrics.counter("bulak_hub_uploads_refused_total", "Uploads that were refused as a whole."),
            twins_seen: metrics.counter("bulak_hub_twin_uploads_total", "Uploads that showed that two boxes use one key."),
        }
    }
}

impl Parts {
    pub(crate) fn new(inner: Inner) -> Parts {
        Parts(Arc::new(inner))
    }

    /// All schools, who needs a call first.
    async fn region(&self) -> Result<Vec<School>, keep::Error> {
        let inner = &*self.0;
        let (latest, twins) = (inner.keep.latest().await?, inner.keep.twins().await?);
        Ok(region(&inner.settings, &inner.book.roll(), &latest, &twins, inner.clock.now(), inner.since))
    }

    /// The newest hour of these schools, as it was signed.
    async fn tell(&self, schools: &mut [School]) -> Result<(), keep::Error> {
        let nodes: Vec<String> = schools.iter().filter_map(|school| school.shown.clone()).collect();
        let mut told: std::collections::HashMap<String, String> = self.0.keep.told(&nodes).await?.into_iter().collect();
        for school in schools {
            let record = school.shown.as_ref().and_then(|node| told.remove(node));
            school.last = record.and_then(|record| serde_json::from_str(&record).ok());
        }
        Ok(())
    }
}

pub(crate) fn routes(parts: Parts, tests: &Server) -> Router {
    let look = figures::routes().merge(show::routes()).layer(from_fn_with_state((parts.clone(), Role::Viewer), guard));
    let change = office::routes().layer(DefaultBodyLimit::max(BODY_LIMIT)).layer(from_fn_with_state((parts.clone(), Role::Admin), guard));
    reports::routes()
        .merge(look)
        .merge(change)
        .route("/api/v1/openapi.json", get(document::show))
        .route("/api/v1/echo", get(show_echo))
        .route("/healthz", get(async || "ok\n"))
        .route("/metrics", get(metrics))
        .with_state(parts)
        .merge(tests.routes())
        .merge(server::locate_routes())
}

/// Asks for a token that may.
async fn guard(State((parts, role)): State<(Parts, Role)>, request: Request, next: Next) -> Response {
    // A browser also sends what it signed in with (Basic) along with a form of another site.
    let ambient = bearer::shown(request.headers()).is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"));
    if ambient && !request.method().is_safe() {
        return problem(StatusCode::FORBIDDEN, "hub.no_bearer", "what changes something shows its token as Authorization: Bearer");
    }
    let client = request.extensions().get::<Client>().map(|client| client.0);
    match parts.0.people.may(role, request.headers(), client).await {
        Ok(()) => next.run(request).await,
        Err(answer) => answer,
    }
}

/// At which port of UDP the nodes' pings come back; 404 where they do not.
#[utoipa::path(
    get,
    path = "/api/v1/echo",
    tag = "nodes",
    responses((status = 200, description = "the port", body = Place), (status = 404, description = "there is no echo", body = Problem))
)]
async fn show_echo(State(parts): State<Parts>) -> Response {
    match parts.0.echo {
        Some(place) => axum::Json(place).into_response(),
        None => problem(StatusCode::NOT_FOUND, "hub.no_echo", "packets do not come back here: hub.echo is false, or their port is taken"),
    }
}

async fn metrics(State(parts): State<Parts>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], parts.0.metrics.print()).into_response()
}

/// The hub's own trouble: the node keeps its records and comes again.
fn unwell(why: &dyn std::fmt::Display) -> Response {
    let mut answer = crate::hub::enrol::unwell(why).into_response();
    answer.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("300"));
    answer
}

fn problem(status: StatusCode, id: &str, title: &str) -> Response {
    Problem::new(status, id, title, "").into_response()
}

fn no_school() -> Response {
    problem(StatusCode::NOT_FOUND, "hub.no_school", "no such school is enrolled")
}
