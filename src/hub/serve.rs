//! Paths and answers: uploads and enrolments in, JSON, tables and pages out.
//!
//! Three kinds of doors: nodes sign what they send and show no token; whoever looks needs one where `hub.viewers` says so, or has signed
//! in; whoever changes something always shows a token. Errors are problem documents (RFC 9457), within v1 things are only added.

use crate::base::bearer;
use crate::base::clock::{Clock, Time};
use crate::base::count::{IntCounter, Metrics};
use crate::base::crowd::{Crowd, Seat};
use crate::base::problem::Problem;
use crate::base::refusal::as_problems;
use crate::hub::Settings;
use crate::hub::allow::Allowance;
use crate::hub::enrol::Book;
use crate::hub::keep::{self, Keep};
use crate::hub::listen::{Client, counted};
use crate::hub::people::{People, Role};
use crate::hub::session::{self, Way};
use crate::hub::sign_in::{Person, SignIn};
use crate::hub::summary::{School, region};
use crate::hub::witness::Witness;
use crate::meter::echo::Place;
use crate::meter::ndt7::server::{self, Server};
use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, FromRequestParts, Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use held::Held;
use http_body::Body as _;
use parking_lot::Mutex;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};

/// Uploads and enrolments of nodes.
mod reports;

/// Figures as JSON and as tables.
mod figures;

/// Codes, nodes and tokens.
mod office;

/// Pages.
mod show;

/// Who signs in and out.
mod sign;

/// An answer that holds its room.
mod held;

/// The document.
mod document;

/// Bytes of an order: a few words.
const BODY_LIMIT: usize = 16 << 10;

/// Pages and small figures that are made at once: each may take some 10 MB for a region of 7,400 schools.
const MOST_READERS: usize = 8;

/// Of those that are made, sent or wait, one address of the Internet has so many: an office behind one gateway shares them.
const MOST_READERS_EACH: usize = 32;

/// Bytes of them that wait for their readers; the largest are some 5 MB, so one address does not take all.
const MOST_UNREAD: usize = 256 << 20;

/// Counted in steps of what a connection buffers anyway: an answer shorter than that takes nothing.
const UNREAD_STEP: usize = 64 << 10;

/// Large tables in memory at once: each may take 60 MB, and what its text takes.
const MOST_TABLES: usize = 3;

/// Of those that are sent or wait, one address of the Internet has so many.
const MOST_TABLES_EACH: usize = 2;

/// How long a reader waits for its turn.
const READ_PATIENCE: Duration = Duration::from_secs(30);

/// How long a reader may take for an answer: a table of 60 MB at 1 Mbit/s.
const TAKING_PATIENCE: Duration = Duration::from_mins(8);

/// What the paths share.
#[derive(Clone)]
pub(crate) struct Parts(Arc<Inner>);

pub(crate) struct Inner {
    settings: Settings,
    clock: Clock,
    witness: Witness,
    metrics: Metrics,
    keep: Arc<dyn Keep>,
    book: Book,
    people: People,
    sign_in: SignIn,
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
    /// What each node has spent.
    allowance: Mutex<Allowance>,
    /// Pages that are made, and for whom.
    reading: Semaphore,
    readers: Crowd,
    /// Steps of [`UNREAD_STEP`] that pages take until their readers have them.
    unread: Arc<Semaphore>,
    /// Tables that are in memory, and for whom.
    tables: Arc<Semaphore>,
    tables_of: Crowd,
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
        (clock, witness): (Clock, Witness),
        metrics: &Metrics,
        keep: Arc<dyn Keep>,
        book: Book,
        people: People,
        since: Time,
        woken: Arc<Notify>,
        echo: Option<Place>,
    ) -> Inner {
        let sign_in = SignIn::new(keep.clone(), clock.clone(), metrics);
        let records = metrics.counters("bulak_hub_records_total", "Records that came, by what became of them.", &["fate"]);
        Inner {
            settings,
            clock,
            witness,
            metrics: metrics.clone(),
            keep,
            book,
            people,
            sign_in,
            since,
            woken,
            echo,
            room: Semaphore::new(reports::MOST_PIECES as usize),
            uploads: Crowd::default(),
            hands: Arc::new(Semaphore::new(reports::MOST_AT_ONCE)),
            allowance: Mutex::default(),
            reading: Semaphore::new(MOST_READERS),
            readers: Crowd::default(),
            unread: Arc::new(Semaphore::new(MOST_UNREAD / UNREAD_STEP)),
            tables: Arc::new(Semaphore::new(MOST_TABLES)),
            tables_of: Crowd::default(),
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
    let small = figures::routes().merge(show::routes()).layer(from_fn_with_state(parts.clone(), reading));
    let tables = figures::tables().layer(from_fn_with_state(parts.clone(), table));
    let look = small.merge(tables).layer(from_fn_with_state((parts.clone(), Role::Viewer), guard));
    let change = office::routes().layer(DefaultBodyLimit::max(BODY_LIMIT)).layer(from_fn_with_state((parts.clone(), Role::Admin), guard));
    let people = look.merge(change).layer(from_fn_with_state(parts.clone(), named)).merge(sign::routes(&parts));
    reports::routes()
        .merge(people)
        .route("/api/v1/openapi.json", get(document::show))
        .route("/api/v1/echo", get(show_echo))
        .route("/healthz", get(async || "ok\n"))
        .route("/metrics", get(metrics))
        .with_state(parts)
        .merge(tests.routes())
        .merge(server::locate_routes())
        .layer(from_fn(as_problems))
}

/// In the extensions of a request: who is signed in.
#[derive(Clone, Debug)]
struct Signed(String);

/// Answers people under names of ours alone.
async fn named(State(parts): State<Parts>, request: Request, next: Next) -> Response {
    if session::is_named(&parts.0.settings.names, request.headers()) { next.run(request).await } else { sign::misdirected() }
}

/// Asks for a token that may, or for somebody who is signed in and may.
async fn guard(State((parts, role)): State<(Parts, Role)>, mut request: Request, next: Next) -> Response {
    let shown = bearer::shown(request.headers());
    // A browser also sends what it signed in with (Basic) along with a form of another site.
    let ambient = shown.is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"));
    if ambient && !request.method().is_safe() {
        return problem(StatusCode::FORBIDDEN, "hub.no_bearer", "what changes something shows its token as Authorization: Bearer");
    }
    let client = request.extensions().get::<Client>().map(|client| client.0);
    // A session is for reading: a browser shows it by itself.
    let session = if shown.is_none() && request.method().is_safe() { signed(&parts, request.headers(), client).await } else { Ok(None) };
    match session {
        Ok(Some(person)) if person.role >= role => {
            request.extensions_mut().insert(Signed(person.name));
            return next.run(request).await;
        }
        Ok(Some(_)) => return problem(StatusCode::FORBIDDEN, "hub.not_allowed", "this is for admins: ask whoever set your password"),
        Ok(None) => {}
        Err(error) => return unwell(&error),
    }
    let refusal = match parts.0.people.may(role, request.headers(), client).await {
        Ok(()) => return next.run(request).await,
        Err(refusal) => refusal,
    };
    let place = sign::place_for(&request).filter(|_| refusal.status() == StatusCode::UNAUTHORIZED);
    let Some(place) = place else { return refusal };
    match parts.0.sign_in.is_open().await {
        Ok(true) => Redirect::to(&place).into_response(),
        Ok(false) => refusal,
        Err(error) => unwell(&error),
    }
}

/// Who is signed in, as the browser shows.
async fn signed(parts: &Parts, headers: &HeaderMap, client: Option<IpAddr>) -> Result<Option<Person>, keep::Error> {
    match session::shown(headers, Way::of(headers, client)) {
        Some(shown) => parts.0.sign_in.who(shown).await,
        None => Ok(None),
    }
}

/// A page or a few figures: each may hold a whole region in memory for a moment, so few are made at once; and until its reader has it,
/// the answer takes room.
async fn reading(State(parts): State<Parts>, request: Request, next: Next) -> Response {
    let Some(seat) = parts.0.readers.enter(share(&request), usize::MAX, MOST_READERS_EACH) else { return crowded() };
    let Ok(Ok(_made)) = tokio::time::timeout(READ_PATIENCE, parts.0.reading.acquire()).await else { return crowded() };
    sent_within(&parts.0.unread, seat, next.run(request).await)
}

/// The answer, which takes room until its reader has it; where there is none, word of that.
fn sent_within(unread: &Arc<Semaphore>, seat: Seat, answer: Response) -> Response {
    let steps = unread_steps(answer.body().size_hint().lower());
    let Ok(room) = unread.clone().try_acquire_many_owned(steps) else { return crowded() };
    answer.map(|body| Body::new(Held::new(body, (seat, room), TAKING_PATIENCE)))
}

/// Steps that an answer of so many bytes takes; one that is larger than all room has all of it.
fn unread_steps(bytes: u64) -> u32 {
    u32::try_from(bytes.min(MOST_UNREAD as u64) / UNREAD_STEP as u64).unwrap_or(u32::MAX)
}

/// A large table is in memory until its reader has it; so there are fewer, and a reader has its time.
async fn table(State(parts): State<Parts>, request: Request, next: Next) -> Response {
    let Some(seat) = parts.0.tables_of.enter(share(&request), usize::MAX, MOST_TABLES_EACH) else { return crowded() };
    let Ok(Ok(room)) = tokio::time::timeout(READ_PATIENCE, parts.0.tables.clone().acquire_owned()).await else { return crowded() };
    next.run(request).await.map(|body| Body::new(Held::new(body, (seat, room), TAKING_PATIENCE)))
}

/// As whom whoever asks is counted; nobody in particular where a proxy stands before us.
fn share(request: &Request) -> Option<IpAddr> {
    request.extensions().get::<Client>().and_then(|client| counted(client.0))
}

/// Too many read at once.
fn crowded() -> Response {
    let mut answer = problem(StatusCode::SERVICE_UNAVAILABLE, "hub.busy", "too many pages and tables are asked for at once");
    answer.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("30"));
    answer
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

/// A school's id in a path. What can be none is nobody's, and PostgreSQL takes no text with a zero in it.
struct SchoolId(String);

impl<S: Send + Sync> FromRequestParts<S> for SchoolId {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut http::request::Parts, state: &S) -> Result<SchoolId, Response> {
        let Path(id) = Path::<String>::from_request_parts(parts, state).await.map_err(IntoResponse::into_response)?;
        if id.chars().any(char::is_control) { Err(no_school()) } else { Ok(SchoolId(id)) }
    }
}

fn no_school() -> Response {
    problem(StatusCode::NOT_FOUND, "hub.no_school", "no such school is enrolled")
}

#[cfg(test)]
mod tests;
