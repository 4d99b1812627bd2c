//! Accepts clients: who may come in, how many, one task for each connection, the wire filter and hyper on it. What is done
//! with a request is the `Serve` behind; what is done with slow clients is told by ticks (`base/wire/watch.rs`).

/// A client's stream, which sends bodies without a copy where it can.
mod seated;

use crate::base::arena::Arena;
use crate::base::body::Body;
use crate::base::clock::Clock;
use crate::base::wire::watch::Patience;
use crate::base::wire::{Answer, Limits, Tick, Turn, Watch, server};
use crate::life::Life;
use crate::portal::{Arrival, Door as Entrance};
use crate::proxy::holder::holder;
use http::{HeaderValue, Method, Request, Response, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use parking_lot::Mutex;
use prometheus::{IntCounterVec, IntGauge};
use seated::Seated;
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// Both ends of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// The client; an IPv4 address is told as such also on an IPv6 socket.
    pub(crate) from: IpAddr,
    /// The address it reached us at.
    pub(crate) to: SocketAddr,
}

impl Peer {
    /// As pages of ours are told of it.
    pub(crate) fn arrival(&self, door: Entrance) -> Arrival {
        Arrival { client: SocketAddr::new(self.from, 0), local: self.to, door }
    }
}

/// An answer, now or later. Now costs neither a box nor a copy.
pub(crate) enum Serving {
    /// Here it is.
    Now(Response<Body>),
    /// It takes an await.
    Later(Pin<Box<dyn Future<Output = Response<Body>> + Send>>),
}

/// What is done with a request.
pub(crate) trait Serve: Clone + Send + Sync + 'static {
    /// Answers one request; `turn` gives the handle for interim answers.
    fn serve(&self, request: Request<Incoming>, peer: Peer, turn: &Turn) -> Serving;
}

/// What the door needs to know.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) clients: Arc<[IpNet]>,
    pub(crate) per_client: usize,
    pub(crate) total: usize,
    pub(crate) limits: Limits,
    pub(crate) patience: Patience,
    pub(crate) tick: Duration,
    pub(crate) clock: Clock,
    pub(crate) life: Life,
    pub(crate) refused: IntCounterVec,
    pub(crate) open: IntGauge,
    pub(crate) inside: Inside,
    /// Where bodies lie that a socket can take without a copy.
    pub(crate) bodies: Option<Arena>,
}

/// Connections that wait to be accepted; the kernel's usual ceiling is 4096.
const BACKLOG: i32 = 1024;

/// After accept failed (out of descriptors, mostly), so long is waited before the next try.
const AFTER_ERROR: Duration = Duration::from_millis(100);

/// hyper's read buffer: the longest head we let pass, and a body's pieces.
const BUFFER: usize = 128 << 10;

/// Binds `address`.
///
/// # Errors
/// The system's, and who holds the port when that is the matter and can be known.
pub(crate) fn bind(address: SocketAddr) -> Result<std::net::TcpListener, (io::Error, Option<String>)> {
    open(address).map_err(|error| {
        let held = if error.kind() == io::ErrorKind::AddrInUse { holder(address.port()) } else { None };
        (error, held)
    })
}

fn open(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // `0.0.0.0` and `[::]` may both be listed.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Accepts until the node stops. Connections end by themselves, each after the answer it is giving.
pub(crate) async fn accept<S: Serve>(listener: TcpListener, door: Door, serve: S) {
    let life = door.life.clone();
    let mut stopping = pin!(life.stopping());
    loop {
        let accepted = tokio::select! {
            biased;
            () = stopping.as_mut() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, from)) => admit(&door, stream, from.ip().to_canonical(), &serve),
            Err(error) => {
                tracing::debug!(%error, "accept failed, will try again");
                door.refused.with_label_values(&["accept"]).inc();
                tokio::time::sleep(AFTER_ERROR).await;
            }
        }
    }
}

fn admit<S: Serve>(door: &Door, stream: TcpStream, from: IpAddr, serve: &S) {
    if !door.clients.iter().any(|net| net.contains(&from)) {
        door.refused.with_label_values(&["client"]).inc();
        return turn_away(stream, STRANGER);
    }
    let Some(place) = door.inside.enter(from, door) else {
        door.refused.with_label_values(&["connections"]).inc();
        return turn_away(stream, CROWDED);
    };
    // Answers are whole when they are written; waiting for more would only delay them. A failure costs speed, nothing else.
    let _ = stream.set_nodelay(true);
    let Ok(to) = stream.local_addr() else { return };
    let (door, serve) = (door.clone(), serve.clone());
    door.life.clone().spawn(async move {
        converse(Seated { stream, bodies: door.bodies.clone(), _place: place }, &door, serve, Peer { from, to }).await;
    });
}

const STRANGER: &[u8] = b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nContent-Length: 45\r\nConnection: close\r\n\r\n\
    this proxy serves its own school's addresses\n";
const CROWDED: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: 27\r\nRetry-After: 5\r\n\
    Connection: close\r\n\r\ntoo many open connections.\n";

/// Says why, without waiting for anything.
fn turn_away(stream: TcpStream, text: &[u8]) {
    let Ok(mut stream) = stream.into_std() else { return };
    // The peer may be gone, and is owed nothing.
    let _ = stream.write(text);
    let _ = stream.shutdown(std::net::Shutdown::Write);
}

async fn converse<S: Serve>(stream: Seated<Place>, door: &Door, serve: S, peer: Peer) {
    let (guarded, watch) = server(stream, door.limits);
    let talk = Talk { serve, peer, watch: watch.clone() };
    let mut builder = hyper::server::conn::http1::Builder::new();
    if door.limits.fields > Limits::REQUEST.fields {
        // Beyond hyper's own limit each request costs an allocation, so only where it was asked for.
        builder.max_headers(door.limits.fields);
    }
    let connection = builder
        // Slow heads are the watcher's matter, without a timer for each request.
        .header_read_timeout(None)
        .max_buf_size(BUFFER)
        // No Date of our own from a clock that is wrong (RFC 9110 section 6.6.1).
        .auto_date_header(door.clock.trusted())
        .serve_connection(TokioIo::new(guarded), talk)
        .with_upgrades();
    let mut connection = pin!(connection);
    let mut tick = pin!(tokio::time::sleep(door.tick));
    let mut stopping = pin!(door.life.stopping());
    let mut draining = false;
    loop {
        tokio::select! {
            biased;
            // An error here is the client's leaving or a refusal that has been told already.
            _ = connection.as_mut() => break,
            () = tick.as_mut() => {
                if watch.tick(&door.patience) == Tick::Abort {
                    door.refused.with_label_values(&["unread"]).inc();
                    break;
                }
                tick.set(tokio::time::sleep(door.tick));
            }
            () = stopping.as_mut(), if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
    if let Some(fault) = watch.refusal() {
        door.refused.with_label_values(&[fault.word()]).inc();
    }
}

/// The service that hyper calls.
struct Talk<S> {
    serve: S,
    peer: Peer,
    watch: Watch,
}

impl<S: Serve> hyper::service::Service<Request<Incoming>> for Talk<S> {
    type Response = Response<Answer<Body>>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        let turn = self.watch.turn();
        let connect = *request.method() == Method::CONNECT;
        let serving = self.serve.serve(request, self.peer, &turn);
        Answering { serving: Some(serving), turn: Some(turn), connect }
    }
}

/// The future of one answer.
struct Answering {
    /// `None` only while it is being moved.
    serving: Option<Serving>,
    turn: Option<Turn>,
    connect: bool,
}

impl Future for Answering {
    type Output = Result<Response<Answer<Body>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(Serving::Later(later)) = &mut this.serving {
            this.serving = Some(Serving::Now(ready!(later.as_mut().poll(cx))));
        }
        if let Some(turn) = &this.turn {
            ready!(turn.poll_settled(cx));
        }
        let (Some(Serving::Now(mut response)), Some(turn)) = (this.serving.take(), this.turn.take()) else {
            return Poll::Pending;
        };
        if this.connect && !response.status().is_success() {
            // What follows a CONNECT is not judged as HTTP, so it must not be read as HTTP either.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Poll::Ready(Ok(turn.answer(response)))
    }
}

/// Who is inside, by address.
#[derive(Clone, Default)]
pub(crate) struct Inside(Arc<Mutex<Count>>);

#[derive(Default)]
struct Count {
    total: usize,
    by_client: HashMap<IpAddr, usize>,
}

impl Inside {
    fn enter(&self, from: IpAddr, door: &Door) -> Option<Place> {
        let mut count = self.0.lock();
        if count.total >= door.total || count.by_client.get(&from).is_some_and(|held| *held >= door.per_client) {
            return None;
        }
        count.total += 1;
        *count.by_client.entry(from).or_default() += 1;
        door.open.inc();
        Some(Place { inside: self.clone(), from, open: door.open.clone() })
    }
}

/// One connection's place; given back when dropped.
struct Place {
    inside: Inside,
    from: IpAddr,
    open: IntGauge,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.dec();
        let mut count = self.inside.0.lock();
        count.total -= 1;
        if let Some(held) = count.by_client.get_mut(&self.from) {
            *held -= 1;
            if *held == 0 {
                count.by_client.remove(&self.from);
            }
        }
    }
}

#[cfg(test)]
mod tests;
