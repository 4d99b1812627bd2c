//! HTTP/1.1 on one connection, whatever carries it: the wire filter and hyper on it. What is done with a request is the `Serve`
//! behind; what is done with slow clients is told by ticks (`base/wire/watch.rs`). HTTP/2 is in `two`.

/// HTTP/2.
pub(crate) mod two;

use crate::base::body::Body;
use crate::base::wire::{Answer, Limits, Tick, Turn, Watch, server};
use crate::proxy::listen::{Door, Greet, Guest, Peer};
use http::{HeaderValue, Method, Request, Response, header};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;

/// An answer, now or later. Now costs neither a box nor a copy.
pub(crate) enum Serving {
    /// Here it is.
    Now(Response<Body>),
    /// It takes an await.
    Later(Pin<Box<dyn Future<Output = Response<Body>> + Send>>),
}

/// What is done with a request.
pub(crate) trait Serve: Clone + Send + Sync + 'static {
    /// Answers one request; `turn` gives the handle for interim answers, where the protocol has them.
    fn serve(&self, request: Request<Body>, peer: Peer, turn: Option<&Turn>) -> Serving;
}

/// Plain HTTP/1.1 on a client's socket.
#[derive(Clone)]
pub(crate) struct Plain<S> {
    pub(crate) door: Door,
    pub(crate) serve: S,
}

impl<S: Serve> Greet for Plain<S> {
    const PLAIN: bool = true;

    async fn greet(&self, guest: Guest, peer: Peer) {
        let lends = guest.lends();
        one(guest, lends, &self.door, self.serve.clone(), peer, &Notify::new()).await;
    }
}

/// hyper's read buffer: the longest head we let pass, and a body's pieces.
const BUFFER: usize = 128 << 10;

/// Speaks HTTP/1.1 until the client leaves, is too slow, or the node stops; after `enough` the answer being given is the last one.
/// Why it ended, when not by agreement. `lends`: whether bodies may be lent to the stream ([`Body::lend`]).
pub(crate) async fn one<I, S>(stream: I, lends: bool, door: &Door, serve: S, peer: Peer, enough: &Notify) -> Option<hyper::Error>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Serve,
{
    let (guarded, watch) = server(stream, door.limits);
    let talk = Talk { serve, lends, peer, watch: watch.clone() };
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
    let mut ended = None;
    loop {
        tokio::select! {
            biased;
            // An error here is the client's leaving or a refusal that has been told already.
            end = connection.as_mut() => {
                ended = end.err();
                break;
            }
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
            () = enough.notified(), if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
    if let Some(fault) = watch.refusal() {
        door.refused.with_label_values(&[fault.word()]).inc();
    }
    ended
}

/// The service that hyper calls.
struct Talk<S> {
    serve: S,
    lends: bool,
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
        let serving = self.serve.serve(request.map(body), self.peer, Some(&turn));
        Answering { serving: Some(serving), turn: Some(turn), connect, lends: self.lends }
    }
}

/// The future of one answer.
struct Answering {
    /// `None` only while it is being moved.
    serving: Option<Serving>,
    turn: Option<Turn>,
    connect: bool,
    lends: bool,
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
        if this.lends {
            response.body().lend();
        }
        Poll::Ready(Ok(turn.answer(response)))
    }
}

/// No body costs nothing.
fn body(incoming: Incoming) -> Body {
    if incoming.is_end_stream() { Body::Empty } else { Body::stream(incoming) }
}
