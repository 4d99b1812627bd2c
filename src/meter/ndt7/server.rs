//! Tests of others: a teacher's tablet that wants to know whether it is this Wi-Fi or the line, and at the hub every school's node. One
//! stream as ndt7 has it, several as msak does; BBR paces what we send where the kernel has it.
//!
//! A test takes all of a line, so few run at once, none lasts, and who may ask is said by whoever mounts the routes.

use crate::base::clock::Clock;
use crate::base::count::Metrics;
use crate::base::limit::household;
use crate::base::near::is_near;
use crate::base::problem::Problem;
use crate::base::socket::{self, Hold};
use crate::base::target::{Scheme, split_authority};
use crate::life::Life;
use crate::meter::ndt7::flow::{self, Closed, Plan, Role, Seen, Wrong};
use crate::meter::ndt7::locate;
use crate::meter::ndt7::message::ConnectionInfo;
use crate::meter::ndt7::seats::{Seats, Taken};
use crate::meter::ndt7::{Dialect, END, LONGEST_QUERY, TIME, Way};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http::{Extensions, HeaderMap, Method, StatusCode, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tungstenite::handshake::derive_accept_key;
use uuid::Uuid;

/// How long nothing may move (section "Timing" of ndt7's specification).
const IO: Duration = Duration::from_secs(7);

/// Between the answer to an upgrade and the connection that it leaves behind.
const HANDOVER: Duration = Duration::from_secs(5);

/// Streams of one test.
const MOST_STREAMS: usize = super::client::MOST_STREAMS as usize;

/// Longest id that joins streams, letters.
const LONGEST_ID: usize = 64;

/// A test that has ended leaves its seat within so many of these.
const LEAVING: (Duration, u32) = (Duration::from_millis(50), 10);

/// When all seats are taken, one will be free after a test.
const COME_AGAIN: &str = "15";

/// The only value of `early_exit` that the reference takes (in MB), and what it means in bytes.
const EARLY_EXIT: (&str, u64) = ("250", 250_000_000);

/// Which ends a connection has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Who came.
    pub client: SocketAddr,
    /// Where to.
    pub server: SocketAddr,
}

/// Tells by a request's extensions who came; `None` where a test would measure something else (what lies between a proxy and us).
pub type Who = Arc<dyn Fn(&Extensions) -> Option<Ends> + Send + Sync>;

/// Whose pages may have their readers' browsers run tests. A browser says which page asks (RFC 6455 section 10.2), programs say nothing
/// and are not held to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pages {
    /// Anybody's: a server for the world.
    All,
    /// Our own, and those of these origins (`https://test.example.kz`). Any other page could spend the class's Wi-Fi and look at its
    /// speed through a pupil's browser.
    Own(Vec<String>),
}

/// What is offered to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Tests at once.
    pub at_once: usize,
    /// Of these, one client's. At a public server an IPv6 network (/64) is one client, and a private address is whoever stands before
    /// it, which is none.
    pub each: usize,
    /// Which pages may ask.
    pub pages: Pages,
    /// Only for addresses that are private (RFC 1918, RFC 4193) or the machine's own.
    pub private_only: bool,
}

impl Settings {
    /// For a school's network: a teacher and a colleague. More would measure each other. `pages`: origins whose pages may ask as well.
    pub fn lan(pages: Vec<String>) -> Settings {
        Settings { at_once: 2, each: 1, pages: Pages::Own(pages), private_only: true }
    }

    /// For a region: 7,400 schools with three tests a day of twice ten seconds make six at once on average, four times that at worst. Of
    /// one address four: schools behind one carrier's gateway share theirs, and a stranger has a sixth.
    pub fn hub() -> Settings {
        Settings { at_once: 24, each: 4, pages: Pages::All, private_only: false }
    }

    /// As whom an address is counted.
    fn client(&self, address: IpAddr) -> Option<IpAddr> {
        // On a LAN every device has an address in the same /64.
        if self.private_only { Some(address.to_canonical()) } else { (!is_near(address)).then(|| household(address)) }
    }
}

impl Pages {
    /// Whether the page that asks may. That our own name is ours is judged by whoever mounted the routes.
    fn may(&self, headers: &HeaderMap) -> bool {
        let Pages::Own(others) = self else { return true };
        let mut said = headers.get_all(header::ORIGIN).iter();
        let Some(origin) = said.next() else { return true };
        let host = headers.get(header::HOST);
        let ours = |origin: &str| {
            let bare = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
            host.and_then(|host| host.to_str().ok()).is_some_and(|host| bare.is_some_and(|bare| bare.eq_ignore_ascii_case(host)))
        };
        let known = |origin: &str| ours(origin) || others.iter().any(|other| other.eq_ignore_ascii_case(origin));
        said.next().is_none() && origin.to_str().is_ok_and(known)
    }
}

/// A server of tests. Cheap to clone.
#[derive(Clone)]
pub struct Server(Arc<Inner>);

struct Inner {
    settings: Settings,
    who: Who,
    seats: Mutex<Seats>,
    clock: Clock,
    life: Life,
    served: prometheus::IntCounterVec,
}

impl Server {
    /// Registers `bulak_meter_served_total`.
    pub fn new(settings: Settings, who: Who, clock: Clock, life: &Life, metrics: &Metrics) -> Server {
        let served = metrics.counters("bulak_meter_served_total", "Speed tests (streams) that others ran against us.", &["way", "end"]);
        let seats = Mutex::new(Seats::new(settings.at_once, settings.each, MOST_STREAMS));
        Server(Arc::new(Inner { settings, who, seats, clock, life: life.clone(), served }))
    }

    /// The paths of tests, in both protocols.
    pub fn routes(&self) -> Router {
        let mut router = Router::new();
        for dialect in [Dialect::Ndt7, Dialect::Throughput1] {
            for way in [Way::Download, Way::Upload] {
                router = router.route(
                    dialect.path(way),
                    any(async move |State(server): State<Server>, request: Request| server.test(dialect, way, request).await),
                );
            }
        }
        router.with_state(self.clone())
    }

    /// How many tests run.
    pub fn running(&self) -> usize {
        self.0.seats.lock().running()
    }

    /// Answers the request for a test, and has it run once the connection is ours.
    async fn test(&self, dialect: Dialect, way: Way, mut request: Request) -> Response {
        let asked = match self.admit(dialect, way, &request) {
            Ok(asked) => asked,
            Err(problem) => return problem.into_response(),
        };
        let Some(upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
            return bad("this connection cannot be upgraded").into_response();
        };
        if let Err(taken) = self.seat(&asked).await {
            return full(taken);
        }
        let seat = Seat { server: self.clone(), test: asked.test.clone() };
        let accept = derive_accept_key(asked.key.as_bytes());
        self.0.life.spawn(async move {
            let server = seat.server.clone();
            let end = server.run(upgrade, asked, dialect, way).await;
            server.0.served.with_label_values(&[way.as_str(), end]).inc();
            drop(seat);
        });
        let fields = [
            (header::CONNECTION, "Upgrade"),
            (header::UPGRADE, "websocket"),
            (header::SEC_WEBSOCKET_ACCEPT, accept.as_str()),
            (header::SEC_WEBSOCKET_PROTOCOL, dialect.subprotocol()),
        ];
        (StatusCode::SWITCHING_PROTOCOLS, fields, Body::empty()).into_response()
    }

    /// A seat. A client whose last test has just ended gets it once that has left: its two directions follow each other closely.
    async fn seat(&self, asked: &Asked) -> Result<(), Taken> {
        let client = self.0.settings.client(asked.ends.client.ip());
        for _ in 0..LEAVING.1 {
            match self.0.seats.lock().take(&asked.test, client) {
                Err(Taken::Client) => {}
                done => return done,
            }
            tokio::time::sleep(LEAVING.0).await;
        }
        Err(Taken::Client)
    }

    /// Whether this is the request of a test, from somebody who may.
    fn admit(&self, dialect: Dialect, way: Way, request: &Request) -> Result<Asked, Problem> {
        let far = "a test goes straight to this server's own address, from its own network";
        let refused = |title: &str| Problem::new(StatusCode::FORBIDDEN, "meter.far", title, far);
        let ends = (self.0.who)(request.extensions()).ok_or_else(|| refused("what lies between a proxy and us would be measured"))?;
        if self.0.settings.private_only && !is_near(ends.client.ip()) {
            return Err(refused("tests are for this school's network"));
        }
        if request.method() != Method::GET {
            return Err(bad("a test begins with GET"));
        }
        if !self.0.settings.pages.may(request.headers()) {
            let title = "a page of another site asks for a test";
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "meter.page",
                title,
                "its origin is not among meter.pages; a program needs none",
            ));
        }
        let key = key(request.headers(), dialect).map_err(bad)?;
        let mut asked = Asked { key, ends, test: Uuid::new_v4().to_string(), time: TIME, bytes: None, acked: None };
        asked.read(request.uri().query().unwrap_or_default(), dialect, way).map_err(bad)?;
        Ok(asked)
    }

    /// Runs a test; how it ended, in a word of the counter.
    async fn run(&self, upgrade: OnUpgrade, asked: Asked, dialect: Dialect, way: Way) -> &'static str {
        let inner = &*self.0;
        let Ok(Ok(upgraded)) = tokio::time::timeout(HANDOVER, upgrade).await else { return "lost" };
        let info = ConnectionInfo {
            client: asked.ends.client.to_string(),
            server: asked.ends.server.to_string(),
            uuid: Uuid::now_v7().to_string(),
            start_time: inner.clock.now().to_rfc3339(),
        };
        let plan =
            Plan { role: Role::Server, way, dialect, time: asked.time, end: END, io: IO, bytes: asked.bytes, acked: asked.acked, info };
        let (stop, seen) = (CancellationToken::new(), Mutex::new(Seen::default()));
        let ended = tokio::select! {
            ended = carry(upgraded, &plan, &stop, &inner.clock, &seen) => ended,
            // Nobody waits for a test when the node ends.
            () = inner.life.stopping() => return "stopped",
        };
        match ended {
            Ok(Closed::Time | Closed::Limit | Closed::Theirs) => "whole",
            // How uploads of browsers end.
            Ok(Closed::Broke) => "cut",
            Ok(Closed::Stalled) => "stalled",
            Ok(Closed::Stopped) => "stopped",
            Err(wrong) => {
                tracing::debug!(%wrong, way = way.as_str(), "a client of a test does not do as agreed");
                "wrong"
            }
        }
    }
}

/// The connection itself where it is plain TCP, so that the kernel can be asked; else what there is.
async fn carry(upgraded: Upgraded, plan: &Plan, stop: &CancellationToken, clock: &Clock, seen: &Mutex<Seen>) -> Result<Closed, Wrong> {
    match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => {
            let stream = parts.io.into_inner();
            let hold = Hold::on(&stream).ok();
            if let (Some(hold), Way::Download) = (&hold, plan.way)
                && let Err(error) = socket::set_congestion(hold, "bbr")
            {
                tracing::debug!(%error, "the kernel's usual congestion control is used");
            }
            let _ = stream.set_nodelay(true); // without it measurements come a little later
            flow::run(stream, &parts.read_buf, hold.as_ref(), plan, stop, clock, seen).await
        }
        Err(upgraded) => flow::run(TokioIo::new(upgraded), &[], None, plan, stop, clock, seen).await,
    }
}

/// A seat that is free again when its test ends, however it ends.
struct Seat {
    server: Server,
    test: String,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.server.0.seats.lock().leave(&self.test);
    }
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    key: String,
    ends: Ends,
    /// Streams with the same one belong together.
    test: String,
    time: Duration,
    bytes: Option<u64>,
    acked: Option<u64>,
}

impl Asked {
    /// Reads the query; what it does not know it leaves alone: metadata for whoever keeps tests.
    fn read(&mut self, query: &str, dialect: Dialect, way: Way) -> Result<(), &'static str> {
        if query.len() > LONGEST_QUERY {
            return Err("the query is longer than 4096 bytes");
        }
        let mut seen: Vec<String> = Vec::new();
        let (mut id, mut streams) = (None, None);
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            // Of doubles the first counts, and what begins with this is ours to say.
            if seen.iter().any(|known| *known == name) || name.starts_with("server_") {
                continue;
            }
            seen.push(name.to_string());
            match (dialect, &*name) {
                (Dialect::Ndt7, "early_exit") if value != EARLY_EXIT.0 => return Err("early_exit is 250 or not there"),
                (Dialect::Ndt7, "early_exit") if way == Way::Download => self.acked = Some(EARLY_EXIT.1),
                (Dialect::Throughput1, "mid") => id = Some(value.into_owned()),
                (Dialect::Throughput1, "streams") => streams = value.parse::<usize>().ok(),
                (Dialect::Throughput1, "duration") => {
                    let millis = value.parse().map_err(|_| "duration is a number of milliseconds")?;
                    self.time = Duration::from_millis(millis).min(TIME);
                }
                (Dialect::Throughput1, "bytes") => {
                    let bytes: u64 = value.parse().map_err(|_| "bytes is a number")?;
                    self.bytes = Some(bytes).filter(|bytes| *bytes > 0);
                }
                _ => {}
            }
        }
        if dialect == Dialect::Throughput1 {
            let id =
                id.filter(|id| !id.is_empty() && id.len() <= LONGEST_ID).ok_or("mid, which joins the streams of a test, is missing")?;
            streams.filter(|streams| (1..=MOST_STREAMS).contains(streams)).ok_or("streams is a number from 1 to 8")?;
            // Two clients may have thought of the same id, and two directions are two tests.
            self.test = format!("{} {id} {}", self.ends.client.ip(), way.as_str());
        }
        Ok(())
    }
}

/// The key of an opening handshake (RFC 6455 section 4.2.1) that asks for our protocol.
fn key(headers: &HeaderMap, dialect: Dialect) -> Result<String, &'static str> {
    let all = |name: header::HeaderName| headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect::<Vec<_>>().join(",");
    let has = |text: &str, word: &str| text.split(',').any(|part| part.trim().eq_ignore_ascii_case(word));
    if !has(&all(header::CONNECTION), "upgrade") || !has(&all(header::UPGRADE), "websocket") {
        return Err("a test is a WebSocket; ask for the upgrade");
    }
    if all(header::SEC_WEBSOCKET_VERSION) != "13" {
        return Err("WebSocket is spoken in version 13");
    }
    if !all(header::SEC_WEBSOCKET_PROTOCOL).split(',').any(|part| part.trim() == dialect.subprotocol()) {
        return Err("Sec-WebSocket-Protocol does not name this test's protocol");
    }
    let key = all(header::SEC_WEBSOCKET_KEY);
    // 16 bytes in base64.
    if key.len() != 24 || !key.ends_with("==") {
        return Err("Sec-WebSocket-Key is missing");
    }
    Ok(key)
}

fn bad(title: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "meter.request", title, "see the specification of ndt7")
}

fn full(taken: Taken) -> Response {
    let title = match taken {
        Taken::Full => "as many tests run as may run at once",
        Taken::Client => "a test of this device runs already",
        Taken::Streams => "this test has as many streams as it may have",
    };
    let mut response =
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "meter.full", title, "try again in a quarter of a minute").into_response();
    response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static(COME_AGAIN));
    response
}

/// The document by which any client finds this server (Locate, version 2): mounted at the hub.
pub fn locate_routes() -> Router {
    let of = |dialect: Dialect| any(async move |headers: HeaderMap| document(dialect, &headers));
    Router::new().route("/v2/nearest/ndt/ndt7", of(Dialect::Ndt7)).route("/v2/nearest/msak/throughput1", of(Dialect::Throughput1))
}

/// Names this server as whoever asks has reached it: by its Host field, and over TLS where whoever ends TLS before us says so.
fn document(dialect: Dialect, headers: &HeaderMap) -> Response {
    let field = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let secure = field("x-forwarded-proto").eq_ignore_ascii_case("https");
    let authority = field("host");
    if split_authority(authority, if secure { Scheme::Https } else { Scheme::Http }).is_err() {
        return bad("the Host field is missing or malformed").into_response();
    }
    // Pages of others may ask: a browser's client runs in one.
    let fields =
        [(header::CONTENT_TYPE, "application/json"), (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"), (header::CACHE_CONTROL, "no-store")];
    (fields, locate::document(dialect, secure, authority)).into_response()
}

#[cfg(test)]
mod tests;
