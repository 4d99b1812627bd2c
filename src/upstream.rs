//! One request to an origin, with a deadline on every wait.
//!
//! ```text
//! send -> pool (a turn, a connection) -> dial (names, guard, happy eyeballs, parent, TLS) -> exchange (hyper) -> body
//! ```
//!
//! It changes nothing of a request but its Host field and form, decodes nothing of an answer, and stores nothing. What it learns
//! (silent names, silent hosts, round trips, bytes) it keeps or tells `link`.

use crate::base::body::Body;
use crate::base::clock::Clock;
use crate::base::count::Metrics;
use crate::base::crowd::Asker;
use crate::base::target::{Scheme, Target};
use crate::life::Life;
use crate::link::foreground::Raise;
use crate::link::{Class, Link, Sample, State};
use crate::upstream::body::{Download, Meter, Progress};
use crate::upstream::dial::Dial;
use crate::upstream::exchange::{Failed, Form, Hyper, Many, One, Outgoing};
use crate::upstream::names::Names;
use crate::upstream::pool::{Key, Lease, Limits, Pool, Slot};
use crate::upstream::retry::Try;
use crate::upstream::throttle::{Paced, Ride, Throttle};
use http::{Request, Response};
use hyper::body::Incoming;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

pub use approach::Approach;
pub use channel::Channel;
pub use datagram::Datagrams;
pub use error::Error;
pub use guard::{Allowed, BadAllowed};
pub use measure::{Line, LineMeter, LineStream};
pub use settings::Settings;

/// What the configuration says of it.
mod settings;

/// Why there is no answer.
mod error;

/// A connection that has lain idle and says nothing.
mod doubt;

/// How long a connection is coming.
mod approach;

/// Which addresses are never reached.
pub mod guard;

/// What is known of names.
mod answers;

/// Names to addresses.
mod names;

/// Happy eyeballs.
mod race;

/// Which hosts are silent.
mod health;

/// From a name to an open connection.
mod dial;

/// Connections that tell what they carry.
mod channel;

/// Connections per origin.
mod pool;

/// Connections that give way.
mod throttle;

/// Connections to measure with.
mod measure;

/// Packets to measure with.
mod datagram;

/// One request on one connection.
mod exchange;

/// May it be tried again?
mod retry;

/// Bodies on their way.
mod body;

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
    /// Whether it passes the line: the school's own servers are in front of it.
    pub is_line: bool,
}

/// What is known of an origin that proved who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// It speaks HTTP/2.
    pub h2: bool,
    /// It asks for a client certificate.
    pub asks_certificate: bool,
}

/// Reaches origins. Cheap to clone.
#[derive(Clone)]
pub struct Upstream(Arc<Inner>);

struct Inner {
    settings: Settings,
    dial: Dial,
    pool: Pool<Hyper>,
    requests: prometheus::IntCounterVec,
    bytes: prometheus::IntCounterVec,
    clock: Clock,
    link: Link,
    life: Life,
}

/// A connection that no request has gone over yet is kept for so long: Node closes after 5 s.
const UNTRIED: Duration = Duration::from_secs(5);
/// How often idle connections are looked through.
const SWEEP: Duration = Duration::from_secs(15);
/// A parent proxy carries everything that is plain http: as many connections to it as this many origins' worth.
const PARENT_SHARE: usize = 4;

/// After this long a person wonders, and so do we: five round trips of a satellite line.
const LONG: Duration = Duration::from_secs(3);
/// As long as nothing has been reached since the start, doubt comes sooner: a class behind a cut line waits for the first verdict.
const LONG_AT_FIRST: Duration = Duration::from_secs(1);
/// While the line is down a place that failed is tried so often.
const TRY_EVERY: Duration = Duration::from_secs(2);
/// While the line is down a try gets this long: a satellite's two round trips, and the first that works is news.
const LONG_WHILE_DOWN: Duration = Duration::from_millis(1500);

type Place = Slot<Hyper>;
/// For what, and which device waits.
type Whom = (Class, Option<IpAddr>);

/// A connection to send on, and the place that it takes.
enum Ready {
    One(One, Place),
    Many(Many, Place),
}

impl Ready {
    fn is_line(&self) -> bool {
        match self {
            Ready::One(one, _) => one.is_line,
            Ready::Many(many, _) => many.is_line,
        }
    }
}

impl Upstream {
    /// Reads roots, starts the resolver. Registers `bulak_upstream_*`.
    ///
    /// # Errors
    /// When a root or revocation file or an override cannot be read.
    pub fn new(settings: Settings, clock: Clock, link: Link, life: &Life, metrics: &Metrics) -> anyhow::Result<Upstream> {
        let names = Names::new(settings.resolver.clone(), settings.resolve_timeout, clock.clone(), link.clone(), life.clone());
        let dial = Dial::new(&settings, names, clock.clone(), link.clone(), life.clone())?;
        let background = settings.background_per_origin.max(1);
        let limits = Limits { background, idle: settings.pool_idle, idle_most: settings.idle, each: settings.each };
        let upstream = Upstream(Arc::new(Inner {
            pool: Pool::new(limits, clock.clone()),
            dial,
            requests: metrics.counters("bulak_upstream_requests_total", "Requests to origins that got an answer.", &["class", "proto"]),
            bytes: metrics.counters("bulak_upstream_bytes_total", "Body bytes from (rx) and to (tx) origins.", &["class", "dir"]),
            settings,
            clock,
            link,
            life: life.clone(),
        }));
        upstream.start();
        Ok(upstream)
    }

    /// Sends one request. The URI in `request` is ignored: `target` counts. Hop-by-hop fields must be gone already, but for
    /// `Connection` and `Upgrade` of an upgrade; Host is set here. An `Interim` in the extensions gets 1xx answers (HTTP/1.1 alone:
    /// hyper does not show those of HTTP/2). A 101 answer carries hyper's upgrade. Retries once when a pooled connection turned
    /// out to be closed, only where the request may be repeated; one that may not takes no connection that lay idle for long.
    ///
    /// Background takes connections of its own, at its pace. A [`Raise`] in the extensions says when somebody waits for it after all:
    /// what has not begun by then goes as for a person, and what has is not held back any more. An [`Asker`] there says which device
    /// waits, so that none takes what others need; an [`Approach`] is told while a connection is being opened. May be dropped at any await.
    ///
    /// # Errors
    /// See [`Error`]; nothing of an answer was seen then.
    pub async fn send(&self, target: &Target, request: Request<Body>, class: Class) -> Result<Sent, Error> {
        // On the heap: whoever awaits it would carry its 12 KiB, and so would everybody who awaits them.
        Box::pin(self.deliver(target, request, class)).await
    }

    async fn deliver(&self, target: &Target, request: Request<Body>, mut class: Class) -> Result<Sent, Error> {
        // Before any connection is looked for: one to a parent serves every target, whoever it was opened for.
        self.0.dial.judge_literal(target.host(), target.port())?;
        let raise = request.extensions().get::<Raise>().cloned().unwrap_or_default();
        let client = request.extensions().get::<Asker>().map(|asker| asker.0);
        let approach = request.extensions().get::<Approach>().cloned().unwrap_or_default();
        let mut meter = self.meter(class);
        let mut progress = Arc::new(Progress::default());
        let mut outgoing = Outgoing::new(request);
        let (mut earlier, repeatable) = (0, outgoing.is_repeatable());
        loop {
            if class.is_background() && raise.is_raised() {
                class = Class::Interactive;
                meter = self.meter(class);
            }
            let key = self.key(target, &outgoing, class);
            let waits = class.is_background() && !outgoing.is_conditional();
            let ready = async {
                if waits {
                    self.0.link.pace().opening().await;
                }
                self.ready(&key, target, (class, client), retry::rested(earlier, repeatable), &approach).await
            };
            let (ready, reused) = tokio::select! {
                biased;
                ready = ready => ready?,
                () = raise.raised(), if class.is_background() => continue,
            };
            meter.is_line = ready.is_line();
            let spare = if reused { outgoing.spare_body() } else { None };
            let start = self.0.clock.steady();
            let exchange = self.exchange(ready, target, &mut outgoing, &meter, &progress, &raise);
            // A connection that was good before the line went says nothing when it is gone.
            let answer = if reused {
                self.watched(target.host(), target.port(), false, self.doubted(target, (&approach, &progress), exchange)).await
            } else {
                exchange.await
            };
            match answer {
                Ok((response, proto)) => {
                    let waited = self.0.clock.steady().saturating_duration_since(start);
                    let is_line = meter.is_line;
                    if is_line {
                        self.0.link.observe(Sample::FirstByte { host: target.host().into(), took: waited });
                    }
                    self.0.requests.with_label_values(&[class.label(), proto]).inc();
                    return Ok(Sent { response, waited, proto, reused, is_line });
                }
                Err(Failed { error, unsent }) => {
                    let idempotent = retry::is_idempotent(&outgoing.method);
                    let was_unsent = unsent.is_some();
                    outgoing.counted = was_unsent;
                    let body = unsent.or(spare);
                    let failed = Try { earlier, reused, unsent: was_unsent, idempotent, whole: body.is_some() };
                    if matches!(error, Error::ConnectTimeout(..)) {
                        // What lies idle there is as dead.
                        self.0.pool.distrust(&key.text);
                    }
                    if !retry::again(failed, &error) {
                        return Err(self.settled(error).await);
                    }
                    outgoing.body = body.unwrap_or_default();
                    if !was_unsent {
                        // hyper may still hold the body of the try that failed.
                        progress = Arc::default();
                    }
                    self.0.pool.distrust(&key.text);
                    earlier += 1;
                }
            }
        }
    }

    /// A raw connection for CONNECT and the like, by the same names, guards, parent and deadlines. May be dropped at any await.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn connect(&self, host: &str, port: u16) -> Result<Channel, Error> {
        let host = host.to_ascii_lowercase();
        // Whoever opens a tunnel is about to load something.
        let _busy = self.0.link.foreground().begin();
        match self.watched(&host, port, true, self.0.dial.stream(&host, port, false)).await {
            Ok(stream) => Ok(stream),
            Err(error) => Err(self.settled(error).await),
        }
    }

    /// Makes sure that this origin is who it says it is: by a connection that is open already, else by a new one, which is verified
    /// in full and kept for the request that follows. May be dropped at any await.
    ///
    /// # Errors
    /// See [`Error`]; with [`Error::Tls`] and [`Error::TlsCertificate`] somebody was there and is not to be trusted.
    pub async fn verify(&self, target: &Target) -> Result<Verified, Error> {
        let key = self.key(target, &Outgoing::new(Request::new(Body::Empty)), Class::Interactive);
        let h2 = if let Some(h2) = self.0.pool.at_hand(&key.text) {
            h2
        } else {
            let _busy = self.0.link.foreground().begin();
            match self.ready(&key, target, (Class::Interactive, None), pool::ANY, &Approach::default()).await?.0 {
                Ready::Many(..) => true,
                Ready::One(one, slot) => {
                    // How long the origin keeps it will be known by its first answer only.
                    Pool::put(one, slot, Some(UNTRIED));
                    false
                }
            }
        };
        Ok(Verified { h2, asks_certificate: self.asks_certificate(target.host()) })
    }

    /// Whether this host is known to ask its visitors for a certificate.
    pub fn asks_certificate(&self, host: &str) -> bool {
        self.0.dial.has_asked(host)
    }

    /// The address, where a host that is written as one is never reached.
    pub fn prohibited(&self, host: &str, port: u16) -> Option<IpAddr> {
        match self.0.dial.judge_literal(host, port) {
            Err(Error::Prohibited(address)) => Some(address),
            _ => None,
        }
    }

    /// Tasks that run as long as the node.
    fn start(&self) {
        let (pool, life) = (self.0.pool.clone(), self.0.life.clone());
        self.0.life.spawn(async move {
            loop {
                tokio::select! {
                    () = life.stopping() => break,
                    () = tokio::time::sleep(SWEEP) => pool.sweep(),
                }
            }
            pool.close();
        });
        let (dial, pool, mut changes) = (self.0.dial.clone(), self.0.pool.clone(), self.0.link.watch());
        self.0.life.spawn_until_stop(async move {
            while changes.changed().await.is_ok() {
                let state = *changes.borrow_and_update();
                match state {
                    State::Up => dial.line_is_back(),
                    // Nothing will come over what is open; a request on it would only wait.
                    State::Down => pool.distrust_all(),
                    State::Unknown | State::Slow => {}
                }
            }
        });
        let (dial, link) = (self.0.dial.clone(), self.0.link.clone());
        self.0.life.spawn_until_stop(async move {
            loop {
                link.becomes(State::Down).await;
                tokio::time::sleep(TRY_EVERY).await;
                if link.state() == State::Down {
                    // Longer than a satellite needs nobody waits: the next place may be the one that answers.
                    let _ended = tokio::time::timeout(TRY_EVERY, dial.try_again()).await;
                }
            }
        });
    }

    /// A person wants something from `target` that the store answers since the line is down: a good place to try the line at.
    /// Cheap; to be called while the line is down alone.
    pub fn wanted(&self, target: &Target) {
        self.0.dial.missed(target.host(), target.port());
    }

    /// A connection for one request of somebody, which has lain idle for less than `rested`. Whether it was used before.
    async fn ready(
        &self,
        key: &Key,
        target: &Target,
        (class, client): Whom,
        rested: Duration,
        approach: &Approach,
    ) -> Result<(Ready, bool), Error> {
        match self.0.pool.checkout(key, class, rested, client).await? {
            Lease::One(one, slot) => Ok((Ready::One(one, slot), true)),
            Lease::Many(many, slot) => Ok((Ready::Many(many, slot), true)),
            Lease::Open(mut slot) => {
                match approach.of(self.watched(target.host(), target.port(), true, self.open(key, target, class, &mut slot))).await {
                    Ok(Opened::One(one)) => Ok((Ready::One(one, slot), false)),
                    Ok(Opened::Many(many)) => Ok((Ready::Many(many, slot), false)),
                    Err(error) => {
                        let error = self.settled(error).await;
                        Pool::failed(slot, &error);
                        Err(error)
                    }
                }
            }
        }
    }

    async fn open(&self, key: &Key, target: &Target, class: Class, slot: &mut Place) -> Result<Opened, Error> {
        let (host, life, quiet) = (target.host(), &self.0.life, class.is_background());
        let stream = match self.0.dial.parent() {
            Some(parent) if target.scheme() == Scheme::Http => self.0.dial.to_parent(parent, quiet).await?,
            _ => self.0.dial.stream(host, target.port(), quiet).await?,
        };
        let is_line = stream.is_line();
        let throttle = quiet.then(|| Throttle::new(self.0.link.clone()));
        let (stream, h2): (Box<dyn dial::Wire>, bool) = match (target.scheme(), &throttle) {
            (Scheme::Http, None) => (Box::new(stream), false),
            (Scheme::Http, Some(throttle)) => (Box::new(Paced::new(stream, Arc::clone(throttle))), false),
            (Scheme::Https, None) => self.0.dial.tls((stream, is_line), target, !key.may_share).await?,
            (Scheme::Https, Some(throttle)) => {
                let paced = Paced::new(stream, Arc::clone(throttle));
                self.0.dial.tls((paced, is_line), target, !key.may_share).await?
            }
        };
        if h2 {
            let many = Many { sender: exchange::start_many(stream, host, life).await?, is_line };
            Pool::opened_many(slot, &many);
            Ok(Opened::Many(many))
        } else {
            let sender = exchange::start_one(stream, host, life).await?;
            Pool::opened_one(slot);
            Ok(Opened::One(One { sender, throttle, is_line }))
        }
    }

    async fn exchange(
        &self,
        ready: Ready,
        target: &Target,
        outgoing: &mut Outgoing,
        meter: &Meter,
        progress: &Arc<Progress>,
        raise: &Raise,
    ) -> Result<(Response<Body>, &'static str), Failed> {
        let (host, wait) = (target.host(), self.0.settings.first_byte_timeout);
        let absolute = self.0.dial.parent().is_some() && target.scheme() == Scheme::Http;
        let form = match &ready {
            Ready::Many(..) => Form::Two,
            Ready::One(..) if absolute => Form::Absolute,
            Ready::One(..) => Form::Origin,
        };
        let request = outgoing.build(target, form, meter, progress).map_err(|error| Failed { error, unsent: None })?;
        match ready {
            Ready::One(mut one, slot) => {
                let mut ride = one.throttle.as_ref().map(|throttle| throttle.ride(raise.clone()));
                let response = exchange::head(one.sender.try_send_request(request), host, wait, progress, ride.as_mut()).await?;
                meter.moved();
                self.give_back(one, slot, exchange::keeps(response.headers()));
                Ok((self.incoming(response, host, outgoing, meter, None, ride), "h1"))
            }
            Ready::Many(mut many, slot) => {
                let response = exchange::head(many.sender.try_send_request(request), host, wait, progress, None).await?;
                meter.moved();
                Ok((self.incoming(response, host, outgoing, meter, Some(slot), None), "h2"))
            }
        }
    }

    /// The connection goes back to the pool when the answer's body has been read; if it never is, hyper closes it.
    fn give_back(&self, mut one: One, slot: Place, keeps: Option<Duration>) {
        self.0.life.spawn_until_stop(async move {
            match one.sender.ready().await {
                Ok(()) => Pool::put(one, slot, keeps),
                // Closed, or upgraded: its place is free.
                Err(_) => drop(slot),
            }
        });
    }

    fn incoming(
        &self,
        response: Response<Incoming>,
        host: &str,
        outgoing: &Outgoing,
        meter: &Meter,
        hold: Option<Place>,
        ride: Option<Ride>,
    ) -> Response<Body> {
        let promised = exchange::promised(&outgoing.method, &response);
        let (parts, inner) = response.into_parts();
        if http_body::Body::is_end_stream(&inner) && promised.unwrap_or(0) == 0 {
            return Response::from_parts(parts, Body::Empty);
        }
        let body = Download {
            inner,
            host: host.into(),
            promised,
            seen: 0,
            idle: self.0.settings.idle_timeout,
            timer: None,
            waiting: false,
            meter: meter.clone(),
            hold,
            ride,
        };
        Response::from_parts(parts, Body::stream(body))
    }

    /// Work that takes long makes the line suspect, and ends when the line turns out to be down, long before its own deadline; the host
    /// is then remembered as silent until the line is back. `already`: it ends as well when the line was down before.
    async fn watched<T, E: From<Error>>(
        &self,
        host: &str,
        port: u16,
        already: bool,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let link = &self.0.link;
        let was_down = link.state() == State::Down;
        let down = async {
            if was_down && !already {
                std::future::pending::<()>().await;
            }
            let long = match link.state() {
                State::Down => LONG_WHILE_DOWN,
                State::Unknown => LONG_AT_FIRST,
                State::Up | State::Slow => LONG,
            };
            tokio::time::sleep(long).await;
            if self.0.dial.is_in_house(host, port) {
                // A neighbour's silence is no sign of the line, nor is the line's end his.
                std::future::pending::<()>().await;
            }
            link.suspect();
            link.becomes(State::Down).await;
        };
        tokio::select! {
            biased;
            done = work => {
                if done.is_err() && already && matches!(link.state(), State::Unknown | State::Down) {
                    self.0.dial.missed(host, port);
                }
                done
            }
            () = down => {
                self.0.dial.shut(host, port);
                self.0.dial.missed(host, port);
                Err(Error::Unavailable(host.to_owned(), String::from("the line is down")).into())
            }
        }
    }

    /// When the line may be to blame, waits until it is known, so that the caller can act on its state.
    async fn settled(&self, error: Error) -> Error {
        if error.is_line() {
            self.0.link.settle().await;
        }
        error
    }

    /// Background has connections of its own, so that their windows can be small and their reading slow; and it speaks HTTP/1.1, so
    /// that each carries one transfer, which a device may come to wait for. With two at a time HTTP/2 would gain it nothing.
    fn key(&self, target: &Target, outgoing: &Outgoing, class: Class) -> Key {
        let quiet = self.0.settings.background_per_origin.max(1);
        if class.is_background() {
            let most = quiet;
            let text = match self.0.dial.parent() {
                Some(parent) if target.scheme() == Scheme::Http => format!("via {} quiet", parent.authority()),
                _ => format!("{} quiet", target.origin()),
            };
            return Key { text: text.into(), most, may_share: false };
        }
        // Those of the night are among the origin's.
        let most = self.0.settings.per_origin.saturating_sub(quiet).max(1);
        match self.0.dial.parent() {
            Some(parent) if target.scheme() == Scheme::Http => {
                Key { text: format!("via {}", parent.authority()).into(), most: most * PARENT_SHARE, may_share: false }
            }
            _ => {
                let may_share = exchange::may_share(target, &outgoing.headers);
                // An https upgrade must not meet a connection that speaks HTTP/2.
                let mark = if target.scheme() == Scheme::Https && !may_share { " upgrade" } else { "" };
                Key { text: format!("{}{mark}", target.origin()).into(), most, may_share }
            }
        }
    }

    fn meter(&self, class: Class) -> Meter {
        Meter {
            link: self.0.link.clone(),
            class,
            is_line: true,
            received: self.0.bytes.with_label_values(&[class.label(), "rx"]),
            sent: self.0.bytes.with_label_values(&[class.label(), "tx"]),
            busy: (!class.is_background()).then(|| Arc::new(self.0.link.foreground().begin())),
        }
    }
}

/// What came of opening.
enum Opened {
    One(One),
    Many(Many),
}

#[cfg(test)]
mod tests;
