//! The life of one request, first to last: accepted (`listen`), judged on the wire (`base/wire.rs`), classified
//! (`classify`), then answered by the cache, a tunnel, an origin that switches protocols, the portal, or a plain page.
//! It leaves to the cache everything about storing, and to `upstream` everything about reaching origins.

/// Which lane a request takes.
pub mod classify;

/// Accept, limits, one task per connection.
mod listen;

/// HTTP on one connection.
mod talk;

/// Who holds a port that we wanted.
mod holder;

/// CONNECT: bytes both ways, counted, never opened.
pub mod tunnel;

/// CONNECT: passed on, or opened.
mod connect;

/// The first bytes of what may be opened.
mod first;

/// Which connections are opened.
pub mod intercept;

/// Requests on an opened connection.
mod opened;

/// The proxy over TLS.
mod secure;

/// Redirected port 443: passed on by name.
mod sni;

/// Packs' content under the school's own names.
pub mod mirror;

/// What becomes of a request, told beforehand.
pub mod outlook;

/// Other protocols by way of Upgrade.
mod upgrade;

/// Requests that the proxy itself answers.
mod here;

/// Who looks on.
pub mod watch;

/// Last headers; pages in plain words.
mod respond;

use crate::base::body::Body;
use crate::base::clock::Clock;
use crate::base::count::Metrics;
use crate::base::crowd::Asker;
use crate::base::target::Target;
use crate::base::wire::watch::Patience;
use crate::base::wire::{Limits, Turn};
use crate::cache::{self, Cache, Query};
use crate::life::Life;
use crate::link::{Class, Link, Sample, State};
use crate::policy::header::{add_via, is_loop, max_forwards, strip_client_identity, strip_hop_by_hop, strip_overrides};
use crate::portal::Arrival;
use crate::proxy::classify::{Ask, House, Lane, Refusal, classify};
use crate::proxy::intercept::Interception;
use crate::proxy::listen::{Door, Inside, Peer};
use crate::proxy::respond::Signature;
use crate::proxy::secure::Secure;
use crate::proxy::sni::Named;
use crate::proxy::talk::{Plain, Serve, Serving};
use crate::proxy::tunnel::{Lasting, Way, relay};
use crate::proxy::watch::Watch;
use crate::upstream::Upstream;
use http::{HeaderValue, Method, Request, Response, Version, header};
use ipnet::IpNet;
use parking_lot::Mutex;
use prometheus::{IntCounter, IntCounterVec};
use std::future::Future;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// `[proxy]`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who may use the proxy.
    pub clients: Vec<IpNet>,
    /// Ports that CONNECT may reach.
    pub connect_ports: Vec<u16>,
    /// How the node calls itself in Via and Proxy-Status; unique to the node, or two of them in a row look like a loop.
    pub via: String,
    /// Host names that are ours: answered by the Local lane.
    pub names: Vec<String>,
    /// Ports of our web pages: on an address of ours they are answered by the Local lane too, and never tunnelled to.
    pub web_ports: Vec<u16>,
    /// Connections of one client. 256: a browser opens some 6 to each of many hosts, a proxy about 32 in all.
    pub per_client: usize,
    /// Connections in all: 8192, some 100 MB at worst when all are idle.
    pub total: usize,
    /// What a request may be at most.
    pub wire: Limits,
    /// How slow a client may be, in ticks.
    pub patience: Patience,
    /// The length of a tick.
    pub tick: Duration,
    /// How long tunnels may last.
    pub lasting: Lasting,
    /// The proxy's own name over TLS: `proxy.<zone>`.
    pub secure_name: String,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            clients: CLIENTS.iter().filter_map(|net| net.parse().ok()).collect(),
            connect_ports: vec![80, 443],
            via: "bulak".into(),
            names: vec!["bulak.internal".into(), "bulak.local".into()],
            web_ports: Vec::new(),
            per_client: 256,
            total: 8192,
            wire: Limits::REQUEST,
            patience: Patience::default(),
            tick: Duration::from_secs(Patience::TICK_SECONDS),
            lasting: Lasting::default(),
            secure_name: "proxy.bulak.internal".into(),
        }
    }
}

/// Private addresses: whoever stands in the same house.
const CLIENTS: [&str; 8] =
    ["127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fe80::/10", "::1/128"];

/// Answers requests for our own names; handed in by `app`. Gets the client's real address (port 0) and the address
/// of ours that the client connected to, by which it can reach us again.
pub type Local = Arc<dyn Fn(Request<Body>, Arrival) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>> + Send + Sync>;

/// Why there is no proxy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Someone else listens there.
    #[error("{key} {address} is already taken{}; stop that or choose another port", .holder.as_ref().map(|name| format!(" by {name}")).unwrap_or_default())]
    Taken {
        /// By which key.
        key: &'static str,
        /// Where.
        address: SocketAddr,
        /// Who, when that can be seen.
        holder: Option<String>,
    },
    /// Anything else.
    #[error("{key} {address} cannot be opened ({source}); choose another address")]
    Bind {
        /// By which key.
        key: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// Bound listeners. They exist before the proxy does, since `upstream` must know our own ports.
#[derive(Debug, Default)]
pub struct Sockets {
    /// HTTP.
    plain: Vec<(SocketAddr, TcpListener)>,
    /// The same over TLS.
    secure: Vec<(SocketAddr, TcpListener)>,
    /// Redirected port 443.
    named: Vec<(SocketAddr, TcpListener)>,
}

impl Sockets {
    /// Where the proxy listens, with the ports that the system chose for port 0.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.plain.iter().map(|(address, _)| *address).collect()
    }

    /// Where the proxy listens over TLS.
    pub fn secure(&self) -> Vec<SocketAddr> {
        self.secure.iter().map(|(address, _)| *address).collect()
    }

    /// Where redirected connections come in.
    pub fn named(&self) -> Vec<SocketAddr> {
        self.named.iter().map(|(address, _)| *address).collect()
    }
}

/// Binds every address: of the proxy, of the same over TLS, of redirected connections.
///
/// # Errors
/// The first that cannot be had.
pub fn bind(plain: &[SocketAddr], secure: &[SocketAddr], named: &[SocketAddr]) -> Result<Sockets, Error> {
    Ok(Sockets {
        plain: bind_all("proxy.listen", plain)?,
        secure: bind_all("proxy.tls_listen", secure)?,
        named: bind_all("proxy.sni_listen", named)?,
    })
}

fn bind_all(key: &'static str, listen: &[SocketAddr]) -> Result<Vec<(SocketAddr, TcpListener)>, Error> {
    let mut bound = Vec::new();
    for &address in listen {
        let listener = listen::bind(address).map_err(|(source, holder)| match source.kind() {
            std::io::ErrorKind::AddrInUse => Error::Taken { key, address, holder },
            _ => Error::Bind { key, address, source },
        })?;
        let local = listener.local_addr().map_err(|source| Error::Bind { key, address, source })?;
        bound.push((local, listener));
    }
    Ok(bound)
}

/// The proxy, bound and ready. Cheap to clone.
#[derive(Clone)]
pub struct Proxy(Arc<Inner>);

/// What every request needs.
pub(crate) struct Inner {
    house: House,
    signature: Signature,
    lasting: Lasting,
    life: Life,
    cache: Cache,
    upstream: Upstream,
    link: Link,
    local: Local,
    door: Door,
    interception: Arc<Interception>,
    secure_name: Arc<str>,
    /// Redirected connections that are being passed on.
    flights: sni::Flights,
    tunnels: IntCounterVec,
    bytes_up: IntCounter,
    bytes_down: IntCounter,
    addresses: Vec<SocketAddr>,
    sockets: Mutex<Sockets>,
    /// Who looks on, if anybody.
    watch: OnceLock<Arc<dyn Watch>>,
}

impl Proxy {
    /// Puts the parts together over listeners that are bound; nothing is accepted before [`Proxy::serve`].
    #[expect(clippy::too_many_arguments, reason = "each is a part of the node, and this is called once")]
    pub fn new(
        settings: Settings,
        sockets: Sockets,
        clock: Clock,
        life: Life,
        metrics: &Metrics,
        cache: Cache,
        upstream: Upstream,
        link: Link,
        local: Local,
        interception: Arc<Interception>,
    ) -> Proxy {
        let addresses = sockets.addresses();
        let listeners = addresses.iter().chain(&sockets.secure()).chain(&sockets.named()).map(SocketAddr::port).collect::<Vec<_>>();
        let ports = listeners.into_iter().chain(settings.web_ports).collect();
        // Our addresses are known by the connection itself; as names they would claim every port of this machine, and with it
        // origins that run beside us.
        let names = settings.names.into_iter().filter(|name| name.parse::<IpAddr>().is_err()).collect();
        let refused = metrics.counters("bulak_refused_total", "Requests and connections that were not served.", &["reason"]);
        let tunnels = metrics.counters("bulak_tunnels_total", "Tunnels and protocol switches by how they ended.", &["outcome"]);
        let bytes = metrics.counters("bulak_tunnel_bytes_total", "Bytes relayed unopened.", &["dir"]);
        let door = Door {
            clients: settings.clients.into(),
            per_client: settings.per_client,
            total: settings.total,
            limits: settings.wire,
            patience: settings.patience,
            tick: settings.tick,
            clock,
            life: life.clone(),
            refused,
            open: metrics.gauge("bulak_client_connections", "Connections of clients that are open."),
            inside: Inside::default(),
            bodies: cache.bodies(),
        };
        Proxy(Arc::new(Inner {
            house: House { names, ports, connect_ports: settings.connect_ports },
            signature: Signature::new(&settings.via),
            lasting: settings.lasting,
            life,
            cache,
            upstream,
            link,
            local,
            door,
            interception,
            secure_name: settings.secure_name.into(),
            flights: sni::Flights::default(),
            tunnels,
            bytes_up: bytes.with_label_values(&["up"]),
            bytes_down: bytes.with_label_values(&["down"]),
            addresses,
            sockets: Mutex::new(sockets),
            watch: OnceLock::new(),
        }))
    }

    /// Lets somebody look on; the first one stays.
    pub fn watched_by(&self, watch: Arc<dyn Watch>) {
        self.0.watch.get_or_init(|| watch);
    }

    /// Where it listens, with the ports that the system chose for port 0.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.0.addresses.clone()
    }

    /// Accepts clients until the node stops; returns at once. To be called within the runtime.
    ///
    /// # Errors
    /// When the runtime does not take a socket.
    pub fn serve(&self) -> std::io::Result<()> {
        let sockets = std::mem::take(&mut *self.0.sockets.lock());
        let (life, door) = (&self.0.life, &self.0.door);
        let ready = |(_, listener)| tokio::net::TcpListener::from_std(listener);
        for listener in sockets.plain.into_iter().map(ready) {
            life.spawn(listen::accept(listener?, door.clone(), Plain { door: door.clone(), serve: self.clone() }));
        }
        for listener in sockets.secure.into_iter().map(ready) {
            life.spawn(listen::accept(listener?, door.clone(), Secure(self.clone())));
        }
        for listener in sockets.named.into_iter().map(ready) {
            life.spawn(listen::accept(listener?, door.clone(), Named(self.clone())));
        }
        Ok(())
    }
}

impl Serve for Proxy {
    fn serve(&self, request: Request<Body>, peer: Peer, turn: Option<&Turn>) -> Serving {
        let ask = Ask { method: request.method(), uri: request.uri(), version: request.version(), headers: request.headers(), to: peer.to };
        let lane = classify(&self.0.house, &ask);
        self.0.follow(lane, request, peer, turn, cache::Way::Http)
    }
}

/// Pages of ours whose fetching over TLS proves that a device trusts the school's CA.
const PROOFS: [&str; 2] = ["/enrolled", "/enrolled.svg"];

impl Inner {
    /// Does what the lane says.
    fn follow(self: &Arc<Self>, lane: Lane, request: Request<Body>, peer: Peer, turn: Option<&Turn>, way: cache::Way) -> Serving {
        if !matches!(lane, Lane::Local) && is_loop(request.headers(), self.signature.name()) {
            return self.refuse(Refusal::Loop);
        }
        match lane {
            Lane::Tunnel { host, .. } if self.cache.is_library(&host) => self.refuse(Refusal::Library),
            // No other protocol is spoken there: as where a server ignores the wish to switch.
            Lane::Pass(target) if self.cache.is_library(target.host()) => self.cached(target, request, peer.from, turn, way),
            Lane::Refuse(refusal) => self.refuse(refusal),
            Lane::Here => Serving::Now(self.signature.bypassed(here::answer(&request, self.signature.name()))),
            Lane::Local => {
                if let Some(authority) = peer.under.filter(|_| PROOFS.contains(&request.uri().path())) {
                    self.interception.prove(peer.from, authority);
                }
                Serving::Later((self.local)(request, peer.arrival()))
            }
            Lane::Cache(target) => self.cached(target, request, peer.from, turn, way),
            Lane::Pass(target) => {
                let mut request = prepare(request, &target);
                self.add_via(&mut request);
                request.extensions_mut().insert(Asker(peer.from));
                Serving::Later(Box::pin(upgrade::pass(Arc::clone(self), target, request)))
            }
            // Without a CA there is nothing of ours behind that port.
            Lane::Own { host } if self.interception.own(&host, peer.from).is_none() => self.refuse(Refusal::Own),
            Lane::Own { host } => Serving::Later(Box::pin(connect::answer(self.proxy(), host, 443, request, peer))),
            Lane::Tunnel { host, port } => Serving::Later(Box::pin(connect::answer(self.proxy(), host, port, request, peer))),
        }
    }

    fn proxy(self: &Arc<Self>) -> Proxy {
        Proxy(Arc::clone(self))
    }

    /// The way of most requests: from memory at once, or with an await.
    fn cached(self: &Arc<Self>, target: Target, request: Request<Body>, client: IpAddr, turn: Option<&Turn>, way: cache::Way) -> Serving {
        let mut request = prepare(request, &target);
        strip_hop_by_hop(request.headers_mut());
        self.miss_line(&target);
        let recorded = self.glance(&request, &target, client, false);
        let query = Query { target, request, way };
        let mut query = match self.cache.answer_now(query) {
            Ok(response) => {
                recorded.and_then(|glance| glance.end(&response, true, String::new));
                return Serving::Now(self.signature.finish(response, true));
            }
            Err(query) => query,
        };
        let glance = recorded.or_else(|| self.glance(&query.request, &query.target, client, true));
        // What only an origin will see is added only now.
        if let Some(turn) = turn.filter(|_| query.request.version() == Version::HTTP_11) {
            query.request.extensions_mut().insert(turn.interim(Some(self.signature.via.clone())));
        }
        query.request.extensions_mut().insert(Asker(client));
        self.add_via(&mut query.request);
        let inner = Arc::clone(self);
        Serving::Later(Box::pin(async move {
            let response = inner.cache.answer(query).await;
            let offer = glance.and_then(|glance| glance.end(&response, false, || inner.wish_door(way)));
            inner.signature.finish_with(response, false, offer.as_ref())
        }))
    }

    /// While the line is down, what a device asks for is a good place to try it at.
    fn miss_line(&self, target: &Target) {
        if self.link.state() == State::Down && !self.cache.is_library(target.host()) {
            self.upstream.wanted(target);
        }
    }

    fn add_via(&self, request: &mut Request<Body>) {
        let version = request.version();
        add_via(request.headers_mut(), version, self.signature.name());
    }

    fn refuse(&self, refusal: Refusal) -> Serving {
        self.door.refused.with_label_values(&[refusal.word()]).inc();
        Serving::Now(self.signature.refuse(refusal))
    }

    fn failed(&self, error: &crate::upstream::Error) -> Response<Body> {
        self.tunnels.with_label_values(&["unreached"]).inc();
        self.signature.failed(error, self.link.state() == State::Down)
    }

    /// Relays and counts until one of the sides or limits ends it; `is_line`: the origin is no server of the school's own.
    async fn relay<A, B>(&self, client: A, origin: B, is_line: bool)
    where
        A: AsyncRead + AsyncWrite + Unpin,
        B: AsyncRead + AsyncWrite + Unpin,
    {
        let class = Class::Interactive;
        self.cache.count_tunnel();
        let mut tunnel = self.link.foreground().tunnel();
        let observe = |sample| {
            if is_line {
                self.link.observe(sample);
            }
        };
        let end = relay(client, origin, self.lasting, |way, bytes| {
            tunnel.moved(bytes);
            match way {
                Way::Up => {
                    self.bytes_up.inc_by(bytes);
                    observe(Sample::Sent { class, bytes });
                }
                Way::Down => {
                    self.bytes_down.inc_by(bytes);
                    self.cache.count_tunnel_bytes(bytes);
                    observe(Sample::Received { class, bytes });
                }
            }
        });
        let end = end.await;
        self.tunnels.with_label_values(&[end.word()]).inc();
    }
}

/// What is the same for all requests that go on: one Host that fits the target (RFC 9112 section 3.2.2), no identity of the
/// client, no expectation (hyper has met it), one forward less.
fn prepare(mut request: Request<Body>, target: &Target) -> Request<Body> {
    let method = request.method().clone();
    let counts = matches!(method, Method::TRACE | Method::OPTIONS);
    let headers = request.headers_mut();
    if headers.get(header::HOST).is_none_or(|host| host.as_bytes() != target.authority().as_bytes())
        && let Ok(host) = HeaderValue::from_str(target.authority())
    {
        headers.insert(header::HOST, host);
    }
    headers.remove(header::EXPECT);
    strip_client_identity(headers);
    strip_overrides(&method, headers);
    if counts && let Some(left) = max_forwards(headers) {
        headers.insert(header::MAX_FORWARDS, HeaderValue::from(left.saturating_sub(1)));
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_wins_over_host_and_nobody_is_told_on() {
        let target = Target::parse("http://a.kz:8080/x").expect("valid");
        let request = Request::builder()
            .method("OPTIONS")
            .header("host", "other.kz")
            .header("expect", "100-continue")
            .header("max-forwards", "3")
            .header("x-forwarded-for", "10.0.0.7")
            .header("accept", "*/*")
            .body(Body::Empty)
            .expect("valid");
        let request = prepare(request, &target);
        let mut fields: Vec<_> = request.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().expect("text"))).collect();
        fields.sort_unstable();
        assert_eq!(fields, [("accept", "*/*"), ("host", "a.kz:8080"), ("max-forwards", "2")]);
    }

    #[test]
    fn the_usual_settings_let_in_the_house_alone() {
        let settings = Settings::default();
        assert_eq!(settings.clients.len(), CLIENTS.len());
        let inside = |text: &str| settings.clients.iter().any(|net| net.contains(&text.parse::<IpAddr>().expect("an address")));
        assert!(inside("192.168.1.7") && inside("fe80::1") && !inside("8.8.8.8") && !inside("2001:db8::1"));
    }

    #[test]
    fn a_taken_port_is_told_with_its_holder_and_a_remedy() {
        let address = SocketAddr::from(([0, 0, 0, 0], 3128));
        let error = Error::Taken { key: "proxy.listen", address, holder: Some("squid (process 7)".into()) };
        assert_eq!(error.to_string(), "proxy.listen 0.0.0.0:3128 is already taken by squid (process 7); stop that or choose another port");
    }
}
