//! The life of one request, first to last: accepted (`listen`), judged on the wire (`base/wire.rs`), classified
//! (`classify`), then answered by the cache, a tunnel, an origin that switches protocols, the portal, or a plain page.
//! It leaves to the cache everything about storing, and to `upstream` everything about reaching origins.

/// Which lane a request takes.
pub mod classify;

/// Accept, limits, one task per connection.
mod listen;

/// Who holds a port that we wanted.
mod holder;

/// CONNECT: bytes both ways, counted, never opened.
pub mod tunnel;

/// Other protocols by way of Upgrade.
mod upgrade;

/// Requests that the proxy itself answers.
mod here;

/// Last headers; pages in plain words.
mod respond;

use crate::base::body::Body;
use crate::base::clock::Clock;
use crate::base::count::Metrics;
use crate::base::target::Target;
use crate::base::wire::watch::Patience;
use crate::base::wire::{Limits, Turn};
use crate::cache::{self, Cache, Query};
use crate::life::Life;
use crate::link::{Class, Link, Sample, State};
use crate::policy::header::{add_via, is_loop, max_forwards, strip_client_identity, strip_hop_by_hop};
use crate::portal::{Arrival, Door as Entrance};
use crate::proxy::classify::{Ask, House, Lane, Refusal, classify};
use crate::proxy::listen::{Door, Inside, Peer, Serve, Serving};
use crate::proxy::respond::Signature;
use crate::proxy::tunnel::{Lasting, Way, relay};
use crate::upstream::Upstream;
use http::{HeaderValue, Method, Request, Response, Version, header};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use parking_lot::Mutex;
use prometheus::{IntCounter, IntCounterVec};
use std::future::Future;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
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
    #[error("proxy.listen {address} is already taken{}; stop that or choose another port", .holder.as_ref().map(|name| format!(" by {name}")).unwrap_or_default())]
    Taken {
        /// Where.
        address: SocketAddr,
        /// Who, when that can be seen.
        holder: Option<String>,
    },
    /// Anything else.
    #[error("proxy.listen {address} cannot be opened ({source}); choose another address")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// Bound listeners. They exist before the proxy does, since `upstream` must know our own ports.
#[derive(Debug)]
pub struct Sockets(Vec<(SocketAddr, TcpListener)>);

impl Sockets {
    /// Where they listen, with the ports that the system chose for port 0.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.0.iter().map(|(address, _)| *address).collect()
    }
}

/// Binds every address.
///
/// # Errors
/// The first that cannot be had.
pub fn bind(listen: &[SocketAddr]) -> Result<Sockets, Error> {
    let mut bound = Vec::new();
    for &address in listen {
        let listener = listen::bind(address).map_err(|(source, holder)| match source.kind() {
            std::io::ErrorKind::AddrInUse => Error::Taken { address, holder },
            _ => Error::Bind { address, source },
        })?;
        let local = listener.local_addr().map_err(|source| Error::Bind { address, source })?;
        bound.push((local, listener));
    }
    Ok(Sockets(bound))
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
    tunnels: IntCounterVec,
    bytes_up: IntCounter,
    bytes_down: IntCounter,
    addresses: Vec<SocketAddr>,
    listeners: Mutex<Vec<TcpListener>>,
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
    ) -> Proxy {
        let (addresses, listeners): (Vec<_>, Vec<_>) = sockets.0.into_iter().unzip();
        let ports = addresses.iter().map(SocketAddr::port).chain(settings.web_ports).collect();
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
            tunnels,
            bytes_up: bytes.with_label_values(&["up"]),
            bytes_down: bytes.with_label_values(&["down"]),
            addresses,
            listeners: Mutex::new(listeners),
        }))
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
        for listener in std::mem::take(&mut *self.0.listeners.lock()) {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            self.0.life.spawn(listen::accept(listener, self.0.door.clone(), self.clone()));
        }
        Ok(())
    }
}

impl Serve for Proxy {
    fn serve(&self, request: Request<Incoming>, peer: Peer, turn: &Turn) -> Serving {
        let inner = &self.0;
        let ask = Ask { method: request.method(), uri: request.uri(), version: request.version(), headers: request.headers(), to: peer.to };
        let lane = classify(&inner.house, &ask);
        if !matches!(lane, Lane::Local) && is_loop(request.headers(), inner.signature.name()) {
            return inner.refuse(Refusal::Loop);
        }
        match lane {
            Lane::Refuse(refusal) => inner.refuse(refusal),
            Lane::Here => Serving::Now(inner.signature.bypassed(here::answer(&request, inner.signature.name()))),
            Lane::Local => Serving::Later((inner.local)(request.map(body), peer.arrival(Entrance::Proxy))),
            Lane::Cache(target) => inner.cached(target, request, turn),
            Lane::Pass(target) => {
                let mut request = prepare(request.map(body), &target);
                inner.add_via(&mut request);
                Serving::Later(Box::pin(upgrade::pass(Arc::clone(inner), target, request)))
            }
            Lane::Tunnel { host, port } => Serving::Later(Box::pin(open_tunnel(Arc::clone(inner), host, port, request))),
        }
    }
}

impl Inner {
    /// The way of most requests: from memory at once, or with an await.
    fn cached(self: &Arc<Self>, target: Target, request: Request<Incoming>, turn: &Turn) -> Serving {
        let mut request = prepare(request.map(body), &target);
        strip_hop_by_hop(request.headers_mut());
        if self.link.state() == State::Down {
            self.upstream.wanted(&target);
        }
        let query = Query { target, request, way: cache::Way::Http };
        let mut query = match self.cache.answer_now(query) {
            Ok(response) => return Serving::Now(self.signature.finish(response, true)),
            Err(query) => query,
        };
        // What only an origin will see is added only now.
        if query.request.version() == Version::HTTP_11 {
            query.request.extensions_mut().insert(turn.interim(Some(self.signature.via.clone())));
        }
        self.add_via(&mut query.request);
        let inner = Arc::clone(self);
        Serving::Later(Box::pin(async move {
            let response = inner.cache.answer(query).await;
            inner.signature.finish(response, false)
        }))
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

    /// Relays and counts until one of the sides or limits ends it.
    async fn relay<A, B>(&self, client: A, origin: B)
    where
        A: AsyncRead + AsyncWrite + Unpin,
        B: AsyncRead + AsyncWrite + Unpin,
    {
        let class = Class::Interactive;
        self.cache.count_tunnel();
        let end = relay(client, origin, self.lasting, |way, bytes| match way {
            Way::Up => {
                self.bytes_up.inc_by(bytes);
                self.link.observe(Sample::Sent { class, bytes });
            }
            Way::Down => {
                self.bytes_down.inc_by(bytes);
                self.cache.count_tunnel_bytes(bytes);
                self.link.observe(Sample::Received { class, bytes });
            }
        });
        let end = end.await;
        self.tunnels.with_label_values(&[end.word()]).inc();
    }
}

/// Opens the connection first, so that a failure can still be told; then relays beside the client's connection.
async fn open_tunnel(inner: Arc<Inner>, host: String, port: u16, mut request: Request<Incoming>) -> Response<Body> {
    let origin = match inner.upstream.connect(&host, port).await {
        Ok(origin) => origin,
        Err(error) => return inner.failed(&error),
    };
    let client = hyper::upgrade::on(&mut request);
    let shared = Arc::clone(&inner);
    inner.life.spawn_until_stop(async move {
        match client.await {
            Ok(client) => shared.relay(TokioIo::new(client), origin).await,
            Err(error) => {
                tracing::debug!(%error, "the client left before its tunnel was open");
                shared.tunnels.with_label_values(&["broken"]).inc();
            }
        }
    });
    Response::new(Body::Empty)
}

/// What is the same for all requests that go on: one Host that fits the target (RFC 9112 section 3.2.2), no identity of the
/// client, no expectation (hyper has met it), one forward less.
fn prepare(mut request: Request<Body>, target: &Target) -> Request<Body> {
    let counts = matches!(*request.method(), Method::TRACE | Method::OPTIONS);
    let headers = request.headers_mut();
    if headers.get(header::HOST).is_none_or(|host| host.as_bytes() != target.authority().as_bytes())
        && let Ok(host) = HeaderValue::from_str(target.authority())
    {
        headers.insert(header::HOST, host);
    }
    headers.remove(header::EXPECT);
    strip_client_identity(headers);
    if counts && let Some(left) = max_forwards(headers) {
        headers.insert(header::MAX_FORWARDS, HeaderValue::from(left.saturating_sub(1)));
    }
    request
}

/// No body costs nothing.
fn body(incoming: Incoming) -> Body {
    if incoming.is_end_stream() { Body::Empty } else { Body::stream(incoming) }
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
        let error = Error::Taken { address, holder: Some("squid (process 7)".into()) };
        assert_eq!(error.to_string(), "proxy.listen 0.0.0.0:3128 is already taken by squid (process 7); stop that or choose another port");
    }
}
