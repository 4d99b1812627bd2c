//! One request to an origin. SKELETON front door.

use crate::base::body::Body;
use crate::base::clock::Clock;
use crate::base::count::Metrics;
use crate::base::target::Target;
use crate::life::Life;
use crate::link::{Class, Link};
use http::{Request, Response};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// `[upstream]` and what of `[proxy]` guards targets.
#[derive(Clone, Debug)]
pub struct Settings {
    /// DNS servers; empty: the system's.
    pub resolver: Vec<SocketAddr>,
    /// "name[:port]" -> "ip[:port]", before DNS.
    pub hosts: BTreeMap<String, String>,
    /// PEM files beside the system's roots.
    pub extra_roots: Vec<PathBuf>,
    /// Revocation lists.
    pub crls: Vec<PathBuf>,
    /// "http://host:port".
    pub parent: Option<Target>,
    /// Private targets that may be reached all the same.
    pub allow_private: Vec<Allowed>,
    /// Our own listeners: never a target.
    pub own: Vec<SocketAddr>,
    /// Deadlines: resolve, connect (incl. TLS), first byte, between body bytes.
    pub resolve_timeout: Duration,
    /// See above.
    pub connect_timeout: Duration,
    /// See above.
    pub first_byte_timeout: Duration,
    /// See above.
    pub idle_timeout: Duration,
    /// Idle pooled connections live this long.
    pub pool_idle: Duration,
    /// Connections per origin (HTTP/1.1).
    pub per_origin: usize,
    /// Of which background may hold at most this many.
    pub background_per_origin: usize,
}

/// One item of `proxy.allow_private_targets`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// Addresses.
    pub net: IpNet,
    /// Ports; `None`: all.
    pub ports: Option<std::ops::RangeInclusive<u16>>,
}

/// Why there is no answer; each maps to a Proxy-Status error type (RFC 9209 section 2.3).
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// dns_timeout
    #[error("no DNS server answered for {0}")]
    DnsTimeout(String),
    /// dns_error: NXDOMAIN and kin.
    #[error("{0} has no address ({1})")]
    DnsError(String, String),
    /// destination_ip_prohibited
    #[error("{0} is an address that this proxy does not reach")]
    Prohibited(IpAddr),
    /// connection_refused
    #[error("{0} refused the connection")]
    Refused(String),
    /// connection_timeout
    #[error("{0} did not answer within {1:?}")]
    ConnectTimeout(String, Duration),
    /// destination_unavailable / destination_ip_unroutable: known to be down (negative memory) or no route.
    #[error("{0} cannot be reached ({1})")]
    Unavailable(String, String),
    /// tls_certificate_error
    #[error("the certificate of {0} is not valid ({1})")]
    TlsCertificate(String, String),
    /// tls_alert_received / tls_protocol_error
    #[error("TLS with {0} failed ({1})")]
    Tls(String, String),
    /// http_response_timeout: no first byte within the deadline.
    #[error("{0} accepted the request but sent nothing within {1:?}")]
    ResponseTimeout(String, Duration),
    /// http_response_incomplete: closed before a head.
    #[error("{0} closed the connection without an answer")]
    Incomplete(String),
    /// http_protocol_error: the answer is malformed.
    #[error("{0} sent a malformed answer ({1})")]
    Protocol(String, String),
    /// The client's own body failed.
    #[error("the request body broke off ({0})")]
    RequestBody(String),
}

/// An answer's head, its body to come, and how it was got.
#[derive(Debug)]
pub struct Sent {
    /// The answer; the body is the wire's bytes after transfer decoding; content codings untouched; fails on a short read.
    pub response: Response<Body>,
    /// Request sent to head received.
    pub waited: Duration,
    /// "h1" or "h2".
    pub proto: &'static str,
    /// Whether a pooled connection was used.
    pub reused: bool,
}

/// Reaches origins. Cheap to clone.
#[derive(Clone)]
pub struct Upstream(Arc<()>);

impl Upstream {
    /// Reads roots, starts the resolver.
    pub fn new(_settings: Settings, _clock: Clock, _link: Link, _life: &Life, _metrics: &Metrics) -> anyhow::Result<Upstream> {
        todo!()
    }

    /// Sends one request. The URI in `request` is ignored: `target` counts. Hop-by-hop fields must be gone already; Host is set here.
    /// An `Interim` in the extensions gets 1xx answers. A 101 answer carries hyper's upgrade.
    /// Retries once on a pooled connection that turned out to be closed, only where the request may be repeated.
    pub async fn send(&self, _target: &Target, _request: Request<Body>, _class: Class) -> Result<Sent, Error> {
        todo!()
    }

    /// A raw connection for CONNECT and the like, by the same names, guards, parent and deadlines.
    pub async fn connect(&self, _host: &str, _port: u16) -> Result<tokio::net::TcpStream, Error> {
        todo!()
    }
}
