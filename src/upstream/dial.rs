//! From a name to an open connection: overrides and names, the guard, happy eyeballs, the parent proxy, TLS. Each step within its
//! deadline, each failure told to the line and to the memory of silent hosts.
//!
//! With a parent proxy names are the parent's business: nothing is resolved here, and of targets only those written as addresses
//! are judged. The parent itself is configured, hence trusted: it may have a private address, but never one of our listeners.

use crate::base::clock::Clock;
use crate::base::target::{Scheme, Target};
use crate::base::wire;
use crate::life::Life;
use crate::link::reach::Reach;
use crate::link::side::Side;
use crate::link::{Link, Sample};
use crate::tls::trust::{Trust, noting_requests};
use crate::upstream::channel::Channel;
use crate::upstream::guard::Guard;
use crate::upstream::health::{Advice, Health};
use crate::upstream::names::Names;
use crate::upstream::race::{interleave, race};
use crate::upstream::throttle;
use crate::upstream::{Error, Settings, Upstream};
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A connection, plain or not.
pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// What stands between an HTTP/1.1 connection and hyper. The wire filter that judges an origin's framing goes here.
pub(super) fn guarded(stream: Box<dyn Wire>) -> Box<dyn Wire> {
    Box::new(wire::client(stream, wire::Limits::RESPONSE))
}

/// Places that failed lately, remembered for [`Dial::try_again`]: a few, since one that answers is enough.
const MISSED: usize = 8;

/// Origins that asked for a client certificate, remembered: few do, and one that is forgotten is learned of again.
const ASKING: usize = 1024;

/// A parent's answer to CONNECT is a few lines.
const CONNECT_HEAD: usize = 8 << 10;

impl Upstream {
    /// Whether a target is in the school's own network, as far as that is known without asking anybody: it is reached whatever the line
    /// does.
    pub fn is_in_house(&self, target: &Target) -> bool {
        self.0.dial.is_in_house(target.host(), target.port())
    }
}

/// Dials. Cheap to clone.
#[derive(Clone)]
pub(super) struct Dial(Arc<Inner>);

struct Inner {
    names: Names,
    guard: Guard,
    /// For the configured parent alone: everything but our own listeners.
    parent_guard: Guard,
    parent: Option<Target>,
    hosts: BTreeMap<String, (IpAddr, Option<u16>)>,
    health: Mutex<Health>,
    /// Where people wanted to go and could not, newest last.
    missed: Mutex<VecDeque<(Box<str>, u16)>>,
    /// Origins that asked for a client certificate, newest last.
    asking: Mutex<VecDeque<Box<str>>>,
    /// The family that won last where both were to be had: a broken one costs its 250 ms once, not with every connection.
    prefer_v6: AtomicBool,
    trust: Trust,
    connect_wait: Duration,
    clock: Clock,
    link: Link,
    life: Life,
}

impl Dial {
    /// Reads roots and overrides.
    pub(super) fn new(settings: &Settings, names: Names, clock: Clock, link: Link, life: Life) -> anyhow::Result<Dial> {
        let everything = ["0.0.0.0/0", "[::]/0"].iter().filter_map(|net| net.parse().ok()).collect();
        if let Some(parent) = settings.parent.as_ref().filter(|parent| parent.scheme() != Scheme::Http) {
            anyhow::bail!("upstream.parent \"{parent}\" is reached over http alone; write it like \"http://{}\"", parent.authority());
        }
        let mut hosts = BTreeMap::new();
        for (name, value) in &settings.hosts {
            let place = read_place(value).ok_or_else(|| anyhow::anyhow!("upstream.hosts {name:?} = {value:?} is no \"ip[:port]\""))?;
            hosts.insert(name.to_ascii_lowercase(), place);
        }
        Ok(Dial(Arc::new(Inner {
            names,
            guard: Guard::new(settings.allow_private.clone(), settings.own.clone()),
            parent_guard: Guard::new(everything, settings.own.clone()),
            parent: settings.parent.clone(),
            hosts,
            health: Mutex::default(),
            missed: Mutex::default(),
            asking: Mutex::default(),
            prefer_v6: AtomicBool::new(true),
            trust: Trust::load(&settings.extra_roots, &settings.crls, &clock)?,
            connect_wait: settings.connect_timeout,
            clock,
            link,
            life,
        })))
    }

    /// The configured parent.
    pub(super) fn parent(&self) -> Option<&Target> {
        self.0.parent.as_ref()
    }

    /// Everything learned while the line was down is void.
    pub(super) fn line_is_back(&self) {
        self.0.health.lock().clear();
        self.0.missed.lock().clear();
        self.0.names.line_is_back();
    }

    /// The line is down: this host need not be waited for until it is back.
    pub(super) fn shut(&self, host: &str, port: u16) {
        let place = self.parent().map_or_else(|| format!("{host}:{port}"), |parent| format!("{}:{}", parent.host(), parent.port()));
        self.0.health.lock().failed(&place, "the line is down", self.0.clock.steady());
    }

    /// Somebody wanted to go to `host:port` and could not, or did not try since the line is down. Remembered until the line is back.
    pub(super) fn missed(&self, host: &str, port: u16) {
        let mut missed = self.0.missed.lock();
        if missed.iter().any(|(known, at)| **known == *host && *at == port) {
            return;
        }
        while missed.len() >= MISSED {
            missed.pop_front();
        }
        missed.push_back((host.into(), port));
    }

    /// Tries one of the places that failed, the next each time, by name: so the line's return is seen also by a node that has not
    /// reached anything since its start. What comes of it the line learns as from any other connection.
    pub(super) async fn try_again(&self) {
        let next = {
            let mut missed = self.0.missed.lock();
            let next = missed.pop_front();
            missed.extend(next.clone());
            next
        };
        let Some((host, port)) = next else { return };
        if let Err(error) = self.reach(&host, port).await {
            tracing::debug!(%error, "the line is tried");
        }
    }

    /// Whether a new connection towards `target` can be had: tried in truth, past the memory of silent hosts.
    pub(super) async fn probe(&self, target: &Target) -> Result<Channel, Error> {
        self.reach(target.host(), target.port()).await
    }

    /// An old connection to `target` has brought an answer: it is not silent, whatever became of new ones.
    pub(super) fn answered(&self, target: &Target) {
        if self.parent().is_none() {
            self.0.health.lock().worked(&format!("{}:{}", target.host(), target.port()));
        }
    }

    async fn reach(&self, host: &str, port: u16) -> Result<Channel, Error> {
        match self.parent() {
            Some(parent) => self.connect(parent.host(), parent.port(), true, false).await,
            None => self.connect(host, port, false, false).await,
        }
    }

    /// A byte stream to `host:port`, by way of the parent where there is one. `quiet`: for background.
    pub(super) async fn stream(&self, host: &str, port: u16, quiet: bool) -> Result<Channel, Error> {
        let Some(parent) = self.parent() else { return self.tcp(host, port, false, quiet).await };
        self.judge_literal(host, port)?;
        let stream = self.tcp(parent.host(), parent.port(), true, quiet).await?;
        let wait = self.0.connect_wait;
        let asked = tokio::time::timeout(wait, ask_parent(stream, host, port)).await;
        asked.unwrap_or_else(|_| Err(Error::ConnectTimeout(parent.authority().to_owned(), wait)))
    }

    /// Where packets to `host:port` go: an address that may be reached, of the family that won last.
    pub(super) async fn place(&self, host: &str, port: u16) -> Result<SocketAddr, Error> {
        if self.parent().is_some() {
            return Err(Error::Unavailable(host.to_owned(), String::from("a parent proxy carries no packets")));
        }
        let (addrs, port_there) = self.resolve(host, port).await?;
        let places = interleave(&addrs, self.0.prefer_v6.load(Ordering::Relaxed)).into_iter().map(|ip| SocketAddr::new(ip, port_there));
        let mut refused = None;
        for place in places {
            match self.judge(place, false) {
                Ok(()) => return Ok(place),
                Err(error) => refused = Some(error),
            }
        }
        Err(refused.unwrap_or_else(|| Error::DnsError(host.to_owned(), String::from("no address"))))
    }

    /// A plain connection to the parent, for requests in absolute form.
    pub(super) async fn to_parent(&self, parent: &Target, quiet: bool) -> Result<Channel, Error> {
        self.tcp(parent.host(), parent.port(), true, quiet).await
    }

    /// TLS over `stream` to `target`; `is_line`: as its channel said. Whether HTTP/2 was agreed on; `h1_only` does not offer it.
    pub(super) async fn tls<S: Wire + 'static>(
        &self,
        (stream, is_line): (S, bool),
        target: &Target,
        h1_only: bool,
    ) -> Result<(Box<dyn Wire>, bool), Error> {
        let host = target.host();
        let bare = host.trim_start_matches('[').trim_end_matches([']', '.']).to_owned();
        let name = rustls::pki_types::ServerName::try_from(bare)
            .map_err(|_| Error::Tls(host.to_owned(), String::from("the name cannot be in a certificate")))?;
        let config = if h1_only { &self.0.trust.h1 } else { &self.0.trust.any };
        let wait = self.0.connect_wait;
        let began = self.0.clock.steady();
        let handshake = noting_requests(TlsConnector::from(config.clone()).connect(name, stream));
        let (stream, asked) = tokio::time::timeout(wait, handshake).await.map_err(|_| Error::ConnectTimeout(host.to_owned(), wait))?;
        // Only what is opened matters, and that is this port alone: another one must not speak for it.
        if asked && target.port() == Scheme::Https.default_port() {
            self.asks(host);
        }
        let stream = stream.map_err(|error| Error::from_tls(host, &error))?;
        if is_line {
            self.0.link.observe(Sample::Secured { took: self.0.clock.steady().saturating_duration_since(began) });
        }
        let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok((Box::new(stream), h2))
    }

    /// This host has asked for a client certificate.
    fn asks(&self, host: &str) {
        let mut asking = self.0.asking.lock();
        if asking.iter().any(|known| **known == *host) {
            return;
        }
        while asking.len() >= ASKING {
            asking.pop_front();
        }
        asking.push_back(host.into());
    }

    /// Whether this host has asked for a client certificate, which we have none of.
    pub(super) fn has_asked(&self, host: &str) -> bool {
        self.0.asking.lock().iter().any(|known| **known == *host)
    }

    /// A TCP connection, past the memory of silent hosts.
    async fn tcp(&self, host: &str, port: u16, is_parent: bool, quiet: bool) -> Result<Channel, Error> {
        let place = format!("{host}:{port}");
        let advice = self.0.health.lock().ask(&place, self.0.clock.steady());
        if let Advice::Shut { why, probe } = advice {
            if probe {
                let (dial, host) = (self.clone(), host.to_owned());
                self.0.life.spawn_until_stop(async move {
                    if let Err(error) = dial.connect(&host, port, is_parent, false).await {
                        tracing::debug!(%error, "probe");
                    }
                });
            }
            return Err(Error::Unavailable(host.to_owned(), why));
        }
        self.connect(host, port, is_parent, quiet).await
    }

    /// A TCP connection by whatever address works. Tells the line and the memory.
    async fn connect(&self, host: &str, port: u16, is_parent: bool, quiet: bool) -> Result<Channel, Error> {
        let (addrs, port_there) = self.resolve(host, port).await?;
        let permitted = |ip: &IpAddr| self.judge(SocketAddr::new(*ip, port_there), is_parent).is_ok();
        let reachable: Vec<IpAddr> = addrs.iter().copied().filter(permitted).collect();
        if let (true, Some(refused)) = (reachable.is_empty(), addrs.first()) {
            return Err(Error::Prohibited(*refused));
        }
        let wait = self.0.connect_wait;
        let attempt = |ip| self.attempt(host, SocketAddr::new(ip, port_there), is_parent, quiet);
        let raced = tokio::time::timeout(wait, race(&interleave(&reachable, self.0.prefer_v6.load(Ordering::Relaxed)), attempt)).await;
        let error = match raced {
            Ok(Ok((stream, addr, took))) => {
                if reachable.iter().any(|other| other.is_ipv4() != addr.is_ipv4()) {
                    self.0.prefer_v6.store(addr.is_ipv6(), Ordering::Relaxed);
                }
                self.0.health.lock().worked(&format!("{host}:{port}"));
                if !side(addr.ip(), is_parent).tells() {
                    return Ok(Channel::house(stream));
                }
                self.0.link.observe(Sample::Connected { host: host.into(), addr, took });
                if quiet {
                    self.0.link.pace().reached(addr, took);
                }
                // What comes by a parent is from anywhere.
                let reach = if is_parent { Reach::Unknown } else { self.0.link.reach(host, addr.ip()) };
                return Ok(Channel::new(stream, reach, &self.0.link));
            }
            Ok(Err(Some(error))) => error,
            Ok(Err(None)) => Error::DnsError(host.to_owned(), String::from("no address")),
            Err(_) => Error::ConnectTimeout(host.to_owned(), wait),
        };
        self.blame((host, port), &reachable, is_parent, &error);
        Err(error)
    }

    /// The only place that connects, right behind the guard.
    async fn attempt(
        &self,
        host: &str,
        addr: SocketAddr,
        is_parent: bool,
        quiet: bool,
    ) -> Result<(TcpStream, SocketAddr, Duration), Error> {
        self.judge(addr, is_parent)?;
        let side = side(addr.ip(), is_parent);
        if side.tells() {
            self.0.link.trying(host, addr);
        }
        let start = self.0.clock.steady();
        let connected = if quiet { throttle::connect(addr).await } else { TcpStream::connect(addr).await };
        let took = self.0.clock.steady().saturating_duration_since(start);
        let refused = connected.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
        if refused && side.refusal_proves() {
            // A no from afar came over the line and back.
            self.0.link.observe(Sample::Connected { host: host.into(), addr, took });
        }
        let stream = connected.map_err(|error| Error::from_connect(host, &error))?;
        if let Err(error) = prepare(&stream) {
            tracing::debug!(%error, "socket options");
        }
        Ok((stream, addr, took))
    }

    /// What a failed connection says about the host and, where one of its addresses is no neighbour's, about the line.
    fn blame(&self, (host, port): (&str, u16), addrs: &[IpAddr], is_parent: bool, error: &Error) {
        let failed = || {
            let routed = |ip: IpAddr| !matches!(error, Error::Unavailable(..)) || !self.0.link.lacks_family(ip);
            let addr = addrs.iter().copied().find(|ip| side(*ip, is_parent).tells() && routed(*ip));
            if addr.is_some() {
                self.0.link.observe(Sample::Failed { host: host.into(), addr });
            }
        };
        match error {
            Error::Refused(_) if addrs.iter().any(|ip| side(*ip, is_parent).refusal_proves()) => {}
            Error::Refused(_) => failed(),
            Error::ConnectTimeout(..) | Error::Unavailable(..) => {
                failed();
                self.0.health.lock().failed(&format!("{host}:{port}"), "it did not answer a moment ago", self.0.clock.steady());
            }
            _ => {}
        }
    }

    /// Whether this place is in the school's own network, as far as that is known without asking anybody.
    pub(super) fn is_in_house(&self, host: &str, port: u16) -> bool {
        if self.parent().is_some() {
            return false;
        }
        let known = match self.fixed(host, port).map(|(ip, _)| ip).or_else(|| literal(host)) {
            Some(ip) => Some(Arc::from([ip])),
            None => self.0.names.known(host),
        };
        known.is_some_and(|addrs| !addrs.is_empty() && addrs.iter().all(|ip| !Side::of(*ip).tells()))
    }

    fn judge(&self, addr: SocketAddr, is_parent: bool) -> Result<(), Error> {
        let guard = if is_parent { &self.0.parent_guard } else { &self.0.guard };
        if guard.permits(addr, is_local) { Ok(()) } else { Err(Error::Prohibited(addr.ip())) }
    }

    /// Whether a host that is written as an address may be reached; a name is judged by what it turns out to mean.
    pub(super) fn judge_literal(&self, host: &str, port: u16) -> Result<(), Error> {
        match literal(host) {
            // An override decides where this goes, and is judged when it is dialled; a parent knows nothing of overrides.
            Some(_) if self.parent().is_none() && self.fixed(host, port).is_some() => Ok(()),
            Some(ip) => self.judge(SocketAddr::new(ip, port), false),
            None => Ok(()),
        }
    }

    fn fixed(&self, host: &str, port: u16) -> Option<(IpAddr, Option<u16>)> {
        self.0.hosts.get(&format!("{host}:{port}")).or_else(|| self.0.hosts.get(host)).copied()
    }

    /// Addresses by override, by being one, or by name.
    async fn resolve(&self, host: &str, port: u16) -> Result<(Arc<[IpAddr]>, u16), Error> {
        if let Some((ip, there)) = self.fixed(host, port) {
            return Ok((Arc::from([ip]), there.unwrap_or(port)));
        }
        if let Some(ip) = literal(host) {
            return Ok((Arc::from([ip]), port));
        }
        Ok((self.0.names.lookup(host).await?, port))
    }
}

/// On which side of the line an address is; a parent is the way out, wherever it stands.
fn side(addr: IpAddr, is_parent: bool) -> Side {
    let side = Side::of(addr);
    if is_parent { side.named() } else { side }
}

/// Small requests go out at once; a peer that vanished is noticed within two minutes.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let alive = socket2::TcpKeepalive::new().with_time(Duration::from_mins(1)).with_interval(Duration::from_secs(15)).with_retries(4);
    socket2::SockRef::from(stream).set_tcp_keepalive(&alive)
}

/// Whether an address is one of this machine's: only those can be bound. Nothing is sent.
fn is_local(ip: IpAddr) -> bool {
    std::net::UdpSocket::bind((ip, 0)).is_ok()
}

/// A host that is an address already, in any form that the system's own parser would take for one (`127.1`, `0x7f000001`).
fn literal(host: &str) -> Option<IpAddr> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.parse().ok().or_else(|| match url::Host::parse(host).ok()? {
        url::Host::Ipv4(ip) => Some(IpAddr::V4(ip)),
        url::Host::Ipv6(ip) => Some(IpAddr::V6(ip)),
        url::Host::Domain(_) => None,
    })
}

/// Reads `ip[:port]`.
fn read_place(text: &str) -> Option<(IpAddr, Option<u16>)> {
    if let Ok(addr) = text.parse::<SocketAddr>() {
        return Some((addr.ip(), Some(addr.port())));
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().map(|ip| (ip, None))
}

/// CONNECT (RFC 9110 section 9.3.6). Not a byte behind the answer's head is taken from the stream.
async fn ask_parent(mut stream: Channel, host: &str, port: u16) -> Result<Channel, Error> {
    let broken = |error: io::Error| Error::Unavailable(host.to_owned(), format!("the parent proxy: {error}"));
    let request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    let mut head = Vec::new();
    let mut seen = [0; 1024];
    loop {
        let peeked = stream.peek(&mut seen).await.map_err(broken)?;
        if peeked == 0 || head.len() > CONNECT_HEAD {
            return Err(Error::Unavailable(host.to_owned(), String::from("the parent proxy gave no answer")));
        }
        let before = head.len();
        head.extend_from_slice(&seen[..peeked]);
        let end = head.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
        let taken = end.unwrap_or(head.len()) - before;
        stream.read_exact(&mut seen[..taken]).await.map_err(broken)?;
        if let Some(end) = end {
            head.truncate(end);
            break;
        }
    }
    let status =
        head.get(..12).and_then(|start| std::str::from_utf8(start).ok()).and_then(|start| start.strip_prefix("HTTP/1.")?.get(2..5));
    match status {
        Some(code) if code.starts_with('2') => Ok(stream),
        Some(code) => Err(Error::Unavailable(host.to_owned(), format!("the parent proxy answered {code}"))),
        None => Err(Error::Protocol(host.to_owned(), String::from("the parent proxy speaks no HTTP"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::count::Metrics;

    #[tokio::test]
    async fn a_family_that_was_never_there_says_nothing_of_the_line() {
        let (four, six): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), "2001:db8::1".parse().unwrap());
        let unavailable = Error::Unavailable(String::from("a.kz"), String::from("no route"));
        let silent = Error::ConnectTimeout(String::from("a.kz"), Duration::from_secs(1));
        for (crossed, addrs, error, tells) in [
            (Some(four), &[six][..], &unavailable, false),
            (Some(four), &[six, four], &unavailable, true),
            (Some(four), &[six], &silent, true),
            (Some(six), &[six], &unavailable, true),
            (None, &[six], &unavailable, true),
        ] {
            let (life, metrics, clock) = (Life::default(), Metrics::default(), Clock::system());
            let link = Link::new(crate::link::Settings::default(), clock.clone(), &life, &metrics);
            let upstream = Upstream::new(Settings::default(), clock, link.clone(), &life, &metrics).unwrap();
            life.stop();
            let dial = &upstream.0.dial;
            if let Some(ip) = crossed {
                link.observe(Sample::Connected { host: "b.kz".into(), addr: SocketAddr::new(ip, 443), took: Duration::from_millis(20) });
            }
            dial.blame(("a.kz", 443), addrs, false, error);
            assert_eq!(link.view().failed_ratio.is_some_and(|ratio| ratio > 0.0), tells, "{crossed:?} {addrs:?} {error}");
        }
    }
}
