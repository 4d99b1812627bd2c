//! The mirror: packs' content under the school's own names, `<host-with-dashes>.m.<zone>`, or `/m/<host>/…` where DNS has no
//! wildcard. No device is changed for it; it works on a pupil's own phone.
//!
//! It listens on ports of its own, so that no mirrored script shares an origin with portal, admin or API. A request is a stranger's:
//! no cookie, no sign-in, only reading, only what a pack names; the cache answers it like any other. What is changed on the way
//! is told in `site/rewrite.rs`.

/// Which mirrored address a request means.
mod place;

/// Bodies that are changed as they pass.
mod body;

use crate::base::body::Body;
use crate::base::crowd::Asker;
use crate::base::target::{Scheme, Target};
use crate::base::wire::Turn;
use crate::cache::{self, Query, Trouble};
use crate::policy::header::{is_loop, strip_hop_by_hop};
use crate::portal::Doors;
use crate::proxy::classify::Refusal;
use crate::proxy::listen::{self, Greet, Guest, Peer};
use crate::proxy::opened::{HANDSHAKE, speak};
use crate::proxy::outlook::Outlook;
use crate::proxy::respond::{Offer, unmirrored};
use crate::proxy::talk::{Plain, Serve, Serving};
use crate::proxy::watch::straight;
use crate::proxy::{Inner, Proxy, bind_all, prepare};
use crate::site::rewrite::{Form, Kind, Map, Place as Where, Rewriter, field};
use crate::tls::given;
use arc_swap::ArcSwapOption;
use body::Changed;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, IF_RANGE, LOCATION, ORIGIN,
    RANGE, REFERER, REFERRER_POLICY, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use parking_lot::Mutex;
use place::{Call, Place, place};
use rustls::ServerConfig;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

/// `[mirror]`, and what it needs of the rest.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The common end of the hosts' names: `m.<zone>`.
    pub zone: String,
    /// Names of this node under which the path form is served, in lower case.
    pub names: Vec<String>,
    /// Files of certificate chain and key; `None`: plain HTTP.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Where the portal is.
    pub doors: Doors,
}

/// Bound listeners, and in words which ones could not be had.
#[derive(Debug, Default)]
pub struct Sockets {
    bound: Vec<(SocketAddr, TcpListener)>,
    /// What is missing.
    pub missing: Vec<String>,
}

impl Sockets {
    /// Where the mirror listens, with the ports that the system chose for port 0.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.bound.iter().map(|(address, _)| *address).collect()
    }
}

/// Binds every address that can be had: a class without a mirror still has its proxy.
pub fn bind(listen: &[SocketAddr]) -> Sockets {
    let mut sockets = Sockets::default();
    for address in listen {
        match bind_all("mirror.listen", &[*address]) {
            Ok(bound) => sockets.bound.extend(bound),
            Err(error) => sockets.missing.push(error.to_string()),
        }
    }
    sockets
}

/// The mirror. Cheap to clone.
#[derive(Clone)]
pub struct Mirror(Arc<Shared>);

struct Shared {
    proxy: Arc<Inner>,
    settings: Settings,
    /// Its listeners.
    addresses: Vec<SocketAddr>,
    sockets: Mutex<Vec<(SocketAddr, TcpListener)>>,
    /// `None` while the certificate cannot be used.
    secure: ArcSwapOption<ServerConfig>,
    /// One for each form and port.
    maps: Mutex<Vec<Arc<Map>>>,
}

/// Forms times ports: more are never in use at a time.
const MAPS: usize = 32;

/// How long a browser may keep the answer to a CORS preflight (seconds).
const PREFLIGHT_AGE: HeaderValue = HeaderValue::from_static("600");

/// A page with a form for the portal: from https to http a browser would else not say where the form comes from (Fetch standard,
/// "append a request Origin header"), and so it would be refused.
const SAYS_ORIGIN: HeaderValue = HeaderValue::from_static("origin");

/// Sent by browsers with a request for the script of a service worker.
const SERVICE_WORKER: HeaderName = HeaderName::from_static("service-worker");

impl Mirror {
    /// Over the parts of a proxy: its cache, its limits, its clients. Nothing is accepted before [`Mirror::serve`].
    pub fn new(settings: Settings, sockets: Sockets, proxy: &Proxy) -> Mirror {
        Mirror(Arc::new(Shared {
            proxy: Arc::clone(&proxy.0),
            settings,
            addresses: sockets.addresses(),
            sockets: Mutex::new(sockets.bound),
            secure: ArcSwapOption::empty(),
            maps: Mutex::default(),
        }))
    }

    /// Where it listens.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.0.addresses.clone()
    }

    /// Reads the certificate, at the start and whenever it may have changed. Until one can be used, connections are closed.
    ///
    /// # Errors
    /// Which file is of no use, and why; what was in force stays.
    pub fn reload(&self) -> anyhow::Result<()> {
        if let Some((chain, key)) = &self.0.settings.certificate {
            self.0.secure.store(Some(given::server(chain, key)?));
        }
        Ok(())
    }

    /// Accepts clients until the node stops; returns at once. To be called within the runtime.
    ///
    /// # Errors
    /// When the runtime does not take a socket.
    pub fn serve(&self) -> std::io::Result<()> {
        let (life, door) = (&self.0.proxy.life, &self.0.proxy.door);
        for (_, listener) in std::mem::take(&mut *self.0.sockets.lock()) {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            if self.is_secure() {
                life.spawn(listen::accept(listener, door.clone(), Sealed(self.clone())));
            } else {
                life.spawn(listen::accept(listener, door.clone(), Plain { door: door.clone(), serve: self.clone() }));
            }
        }
        Ok(())
    }

    /// The address under which a device that reached us at `local` finds a target, if it is mirrored: by path and our own address,
    /// which needs no DNS; over TLS, or when it is not known how the device reaches us, by name.
    pub fn address(&self, target: &Target, local: Option<SocketAddr>) -> Option<String> {
        if self.is_secure() || local.is_none() {
            let port = self.0.addresses.first()?.port();
            return self.map(Form::Names, port).address(target);
        }
        let at = self.0.settings.doors.mirror_for(local)?;
        self.map(Form::Path, at.port()).address(target).map(|path| format!("http://{at}{path}"))
    }

    /// The proxy that it is a part of.
    pub(crate) fn inner(&self) -> &Inner {
        &self.0.proxy
    }

    /// What it would answer, where the address is one of its own.
    pub(crate) fn own(&self, target: &Target) -> Option<Outlook> {
        let at = self.0.addresses.iter().find(|at| at.port() == target.port())?;
        if (target.scheme() == Scheme::Https) != self.is_secure() {
            return None;
        }
        let uri = target.url().parse().ok()?;
        let to = target.host().trim_start_matches('[').trim_end_matches(']').parse().unwrap_or(at.ip());
        let call = Call { uri: &uri, host: None, referer: None, to };
        match place(&self.map(Form::Path, at.port()), &self.0.settings.names, &call) {
            Place::Page(_, original) => Some(Outlook::Mirror(original)),
            Place::Start | Place::Astray(_) => Some(Outlook::Local),
            Place::No(Refusal::Misdirected) => None,
            Place::No(_) => Some(Outlook::Unmirrored),
        }
    }

    fn is_secure(&self) -> bool {
        self.0.settings.certificate.is_some()
    }

    /// The map of this form, made anew when packs have changed.
    fn map(&self, form: Form, port: u16) -> Arc<Map> {
        let sites = self.0.proxy.cache.sites();
        let mut maps = self.0.maps.lock();
        if maps.len() >= MAPS || maps.first().is_some_and(|map| !Arc::ptr_eq(map.sites(), &sites)) {
            maps.clear();
        }
        if let Some(map) = maps.iter().find(|map| map.form() == form && map.place().port == port) {
            return Arc::clone(map);
        }
        let place = Where { zone: self.0.settings.zone.clone(), secure: self.is_secure(), port };
        let map = Arc::new(Map::new(sites, form, place));
        maps.push(Arc::clone(&map));
        map
    }
}

/// Greets with a handshake.
#[derive(Clone)]
struct Sealed(Mirror);

impl Greet for Sealed {
    const PLAIN: bool = false;

    async fn greet(&self, guest: Guest, peer: Peer) {
        let inner = &self.0.0.proxy;
        let Some(config) = self.0.0.secure.load_full() else { return };
        let Some(shaken) = inner.until_stop(tokio::time::timeout(HANDSHAKE, TlsAcceptor::from(config).accept(guest))).await else { return };
        // Who speaks no TLS or does not trust the certificate has left; there is nothing to tell.
        if let Ok(Ok(stream)) = shaken {
            speak(stream, &inner.door, self.0.clone(), peer, false, &Notify::new()).await;
        }
    }
}

impl Serve for Mirror {
    fn serve(&self, request: Request<Body>, peer: Peer, _turn: Option<&Turn>) -> Serving {
        let inner = &self.0.proxy;
        if is_loop(request.headers(), inner.signature.name()) {
            return inner.refuse(Refusal::Loop);
        }
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        if !reads && *request.method() != Method::OPTIONS {
            return self.read_only();
        }
        let by_path = self.map(Form::Path, peer.to.port());
        let call =
            Call { uri: request.uri(), host: only(request.headers(), &HOST), referer: only(request.headers(), &REFERER), to: peer.to.ip() };
        let worker = request.headers().contains_key(SERVICE_WORKER);
        match place(&by_path, &self.0.settings.names, &call) {
            Place::No(Refusal::Unmirrored) => self.unmirrored(peer.to),
            Place::No(refusal) => inner.refuse(refusal),
            Place::Page(form, target) => {
                let map = if form == Form::Path { by_path } else { self.map(form, peer.to.port()) };
                if reads { self.read(map, target, request, peer) } else { Serving::Now(preflight(&map, request.headers())) }
            }
            // A script that lies in no host's folder could rule over all of them.
            Place::Start | Place::Astray(_) if worker => inner.refuse(Refusal::Worker),
            Place::Astray(to) if reads => Serving::Now(redirect(StatusCode::TEMPORARY_REDIRECT, &to)),
            Place::Start if reads => match self.0.settings.doors.web_for(Some(peer.to)) {
                Some(web) => Serving::Now(redirect(StatusCode::FOUND, &format!("http://{web}/"))),
                None => inner.refuse(Refusal::Unmirrored),
            },
            Place::Start | Place::Astray(_) => self.read_only(),
        }
    }
}

impl Mirror {
    fn unmirrored(&self, to: SocketAddr) -> Serving {
        let mut serving = self.0.proxy.refuse(Refusal::Unmirrored);
        if let (Serving::Now(response), Some(web)) = (&mut serving, self.0.settings.doors.web_for(Some(to))) {
            *response.body_mut() = unmirrored(&format!("http://{web}/"));
        }
        serving
    }

    fn read_only(&self) -> Serving {
        let mut serving = self.0.proxy.refuse(Refusal::ReadOnly);
        if let Serving::Now(response) = &mut serving {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"));
        }
        serving
    }

    /// Asks the cache as a stranger would.
    fn read(&self, map: Arc<Map>, target: Target, request: Request<Body>, peer: Peer) -> Serving {
        let inner = &self.0.proxy;
        // What a request to read brings along means nothing here.
        let mut request = prepare(request.map(|_| Body::Empty), &target);
        let headers = request.headers_mut();
        headers.remove(CONTENT_LENGTH);
        strip_hop_by_hop(headers);
        let changed = field::ask(&map, headers);
        // Parts of several kinds in one body could not be told apart.
        if headers.get(RANGE).is_some_and(|range| range.as_bytes().contains(&b',')) {
            headers.remove(RANGE);
        }
        inner.miss_line(&target);
        let reading = Reading { map, target: target.clone(), head: *request.method() == Method::HEAD, changed };
        let whole = request.headers().contains_key(RANGE).then(|| request.headers().clone());
        let recorded = inner.glance(&request, &target, peer.from, false);
        let query = Query { target, request, way: cache::Way::Mirror };
        let query = if whole.is_some() { Err(query) } else { inner.cache.answer_now(query) };
        let mut query = match query {
            Ok(response) => {
                recorded.and_then(|glance| glance.end(&response, true, String::new));
                return Serving::Now(reading.finish(inner, response, true, None));
            }
            Err(query) => query,
        };
        let glance = recorded.or_else(|| inner.glance(&query.request, &query.target, peer.from, true));
        let web = self.0.settings.doors.web_for(Some(peer.to));
        let asker = Asker(peer.from);
        query.request.extensions_mut().insert(asker);
        inner.add_via(&mut query.request);
        let inner = Arc::clone(inner);
        Serving::Later(Box::pin(async move {
            let (method, version) = (query.request.method().clone(), query.request.version());
            let mut response = inner.cache.answer(query).await;
            if let Some(mut headers) = whole.filter(|_| is_part(&response) && kind(&response).is_some()) {
                // A part of what is changed would be a part of something else.
                for name in [RANGE, IF_RANGE] {
                    headers.remove(name);
                }
                let mut request = Request::new(Body::Empty);
                (*request.method_mut(), *request.version_mut(), *request.headers_mut()) = (method, version, headers);
                request.extensions_mut().insert(asker);
                inner.add_via(&mut request);
                response = inner.cache.answer(Query { target: reading.target.clone(), request, way: cache::Way::Mirror }).await;
            }
            let door = || web.map_or_else(|| inner.wish_door(cache::Way::Mirror), straight);
            let offer = glance.and_then(|glance| glance.end(&response, false, door));
            reading.finish(&inner, response, false, offer.as_ref())
        }))
    }
}

/// One request on its way.
struct Reading {
    map: Arc<Map>,
    target: Target,
    head: bool,
    /// The device asked about a copy that we had changed.
    changed: bool,
}

impl Reading {
    /// The mirror's answer from the cache's.
    fn finish(self, inner: &Inner, response: Response<Body>, fresh: bool, offer: Option<&Offer>) -> Response<Body> {
        // Pages of our own are as they should be.
        let trouble = response.extensions().get::<Trouble>().is_some();
        let mut response = inner.signature.finish_with(response, fresh, offer);
        let kind = kind(&response).filter(|_| !trouble && response.status() != StatusCode::NOT_MODIFIED && !is_part(&response));
        let changed = kind.is_some() || (self.changed && response.status() == StatusCode::NOT_MODIFIED);
        field::answer(&self.map, &self.target, response.headers_mut(), changed);
        if offer.is_some() {
            response.headers_mut().insert(REFERRER_POLICY, SAYS_ORIGIN);
        }
        match kind {
            Some(kind) if !self.head => response.map(|inner| {
                let rewriter = Rewriter::new(&self.map, kind, &self.target);
                Body::stream(Changed { inner, rewriter, ended: false })
            }),
            _ => response,
        }
    }
}

fn is_part(response: &Response<Body>) -> bool {
    response.status() == StatusCode::PARTIAL_CONTENT
}

/// What kind of text an answer holds, if it is one that is changed.
fn kind(response: &Response<Body>) -> Option<Kind> {
    let headers = response.headers();
    // In a coding that the cache could not undo, it cannot be read here either.
    let plain = !headers.contains_key(CONTENT_ENCODING);
    headers.get(CONTENT_TYPE).filter(|_| plain).and_then(|kind| kind.to_str().ok()).and_then(Kind::of)
}

/// The answer to a CORS preflight: mirrored hosts may read each other; what the origin allows is seen at the request itself.
fn preflight(map: &Map, asked: &HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"));
    headers.insert(VARY, HeaderValue::from_static("Origin"));
    let origin = only(asked, &ORIGIN).filter(|origin| map.target(origin).is_some());
    if let Some(origin) = origin.and_then(|origin| HeaderValue::from_str(origin).ok()) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD"));
        headers.insert(ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE);
        if let Some(names) = asked.get(ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
        }
    }
    response
}

fn redirect(status: StatusCode, to: &str) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(to) = HeaderValue::from_str(to) {
        headers.insert(LOCATION, to);
    }
    response
}

/// A field's value where there is exactly one.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next().filter(|_| values.next().is_none())?;
    first.to_str().ok()
}
