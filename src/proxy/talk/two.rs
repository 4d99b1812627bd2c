//! HTTP/2 on one connection over TLS (RFC 9113). hyper and h2 judge the framing; here are the limits, and what is done with a
//! client that keeps us waiting: a request's body has a deadline for each piece, and answers that nobody takes end the connection.

use crate::base::body::{Body, BodyError};
use crate::base::drip::{Pace, Steady};
use crate::base::pieces::Pieces;
use crate::base::wire::Limits;
use crate::base::wire::watch::{BODY_STEP, Patience};
use crate::proxy::listen::{Door, Peer, Place};
use crate::proxy::talk::{Serve, Serving};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;

/// Requests at a time on one connection: what browsers assume before they are told (RFC 9113 section 6.5.2 asks for 100 at least).
const STREAMS: u32 = 128;
/// What a client may send of one request, and of all together, before we have read it. A LAN's 100 Mbit/s over 10 ms are 125 KB; more
/// would only lie in memory, 1 MiB for each connection at worst.
const WINDOWS: (u32, u32) = (256 << 10, 1 << 20);
/// What of one answer waits to be sent beyond the piece that is on its way.
const SEND: usize = 32 << 10;
/// Requests that were reset by the client before we saw them, and by us for its mistakes: beyond that the connection ends
/// (CVE-2023-44487, CVE-2025-8671). A browser that stops a page resets some dozens, which we have seen by then.
const RESETS: (usize, usize) = (32, 256);
/// A connection that stays silent is asked, and given up when it does not answer: phones leave the Wi-Fi without a word.
const PING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));

/// Speaks HTTP/2 until the client leaves, is too slow, or the node stops; after `enough` no further request is taken. `sockets`:
/// WebSocket by extended CONNECT is offered (RFC 8441). Why it ended, when not by agreement.
pub(crate) async fn two<I, S>(stream: I, door: &Door, serve: S, peer: Peer, sockets: bool, enough: &Notify) -> Option<hyper::Error>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Serve,
{
    let flow = Arc::new(Mutex::new(Flow::default()));
    let talk = Talk { serve, peer, flow: Arc::clone(&flow), wait: door.tick * door.patience.body, door: door.clone() };
    let mut builder = hyper::server::conn::http2::Builder::new(door.life.clone());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(door.limits.head).unwrap_or(u32::MAX))
        .initial_stream_window_size(WINDOWS.0)
        .initial_connection_window_size(WINDOWS.1)
        .max_send_buf_size(SEND)
        .max_pending_accept_reset_streams(RESETS.0)
        .max_local_error_reset_streams(RESETS.1)
        .keep_alive_interval(PING.0)
        .keep_alive_timeout(PING.1)
        // No Date of our own from a clock that is wrong (RFC 9110 section 6.6.1).
        .auto_date_header(door.clock.trusted());
    if sockets {
        builder.enable_connect_protocol();
    }
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), talk));
    let mut tick = pin!(tokio::time::sleep(door.tick));
    let mut stopping = pin!(door.life.stopping());
    let mut draining = false;
    loop {
        tokio::select! {
            biased;
            // An error here is the client's leaving, or h2 has told it already.
            end = connection.as_mut() => return end.err(),
            () = tick.as_mut() => {
                match flow.lock().tick(&door.patience) {
                    Found::Fine => {}
                    Found::Idle if draining => {}
                    Found::Idle => {
                        draining = true;
                        connection.as_mut().graceful_shutdown();
                    }
                    Found::Unread => {
                        door.refused.with_label_values(&["unread"]).inc();
                        return None;
                    }
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
}

/// What a tick found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Fine,
    /// No request for long.
    Idle,
    /// Answers that the client does not take.
    Unread,
}

/// How much is going on, told by requests and bodies, looked at by ticks.
#[derive(Debug, Default)]
struct Flow {
    /// Requests whose answer has not ended.
    open: usize,
    /// Answers of which a piece was given to h2, which has not asked for the next one: by number, with the tick at which it was given.
    pressed: BTreeMap<u64, u32>,
    /// The next request's number.
    next: u64,
    /// Ticks so far.
    now: u32,
    /// Something moved since the last tick.
    moved: bool,
    stalled: u32,
}

impl Flow {
    fn tick(&mut self, patience: &Patience) -> Found {
        self.now = self.now.wrapping_add(1);
        let oldest = self.pressed.values().map(|since| self.now.wrapping_sub(*since)).max().unwrap_or(0);
        if oldest > patience.write.saturating_mul(2) {
            return Found::Unread;
        }
        // h2 lets nobody end one stream from outside. So a connection with an answer that is not taken gets no new requests (the
        // client opens another one for those), and ends after as long again; whatever else it asks for does not hold that up.
        if oldest > patience.write {
            return if self.pressed.len() == self.open { Found::Unread } else { Found::Idle };
        }
        if std::mem::take(&mut self.moved) || self.open > 0 {
            self.stalled = 0;
            return Found::Fine;
        }
        self.stalled += 1;
        // The last pieces wait with h2, which ends no connection before they are taken.
        if self.stalled > patience.idle.saturating_add(patience.write) {
            return Found::Unread;
        }
        if self.stalled > patience.idle { Found::Idle } else { Found::Fine }
    }
}

/// The service that hyper calls.
struct Talk<S> {
    serve: S,
    peer: Peer,
    flow: Arc<Mutex<Flow>>,
    /// The deadline of each piece of a request's body.
    wait: Duration,
    door: Door,
}

/// Keeps a connection from counting as idle; in the extensions of a request to switch protocols, whose bytes outlast its answer.
#[derive(Clone)]
pub(crate) struct Stay(#[expect(dead_code, reason = "held for its drop")] Arc<Open>);

impl<S: Serve> hyper::service::Service<Request<Incoming>> for Talk<S> {
    type Response = Response<Taken>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Taken>, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let mut open = Open::new(Arc::clone(&self.flow));
        let wait = self.wait;
        // Each request takes one of its client's places, as it would with a connection of its own: else one connection were worth
        // hundreds. A tunnel takes its own, for as long as it lasts.
        let tunnel = *request.method() == Method::CONNECT && request.extensions().get::<Protocol>().is_none();
        open.place = if tunnel { None } else { self.door.inside.enter(self.peer.from, &self.door) };
        let full = (!tunnel && open.place.is_none()).then_some(StatusCode::SERVICE_UNAVAILABLE);
        if full.is_some() {
            self.door.refused.with_label_values(&["connections"]).inc();
        }
        if let Some(status) = full.or_else(|| excess(&request, &self.door.limits)) {
            let mut response = Response::new(Body::Empty);
            *response.status_mut() = status;
            return Box::pin(async move { Ok(response.map(|inner| Taken { inner: Pieces::new(inner, SEND), open })) });
        }
        let mut request = request.map(|inner| {
            if inner.is_end_stream() {
                Body::Empty
            } else {
                Body::stream(Coming { inner: Steady::new(inner, Pace { step: BODY_STEP, wait }), flow: Arc::clone(&open.flow) })
            }
        });
        join_cookies(request.headers_mut());
        if *request.method() == Method::CONNECT {
            let mut stay = Open::new(Arc::clone(&self.flow));
            stay.place = open.place.take();
            request.extensions_mut().insert(Stay(Arc::new(stay)));
        }
        let only_head = *request.method() == Method::HEAD;
        let serving = self.serve.serve(request, self.peer, None);
        Box::pin(async move {
            let mut response = match serving {
                Serving::Now(response) => response,
                Serving::Later(later) => later.await,
            };
            if only_head {
                // Over HTTP/1.1 hyper sees to that; here a page of ours would make the answer malformed (RFC 9113 section 8.1.1).
                *response.body_mut() = Body::Empty;
            }
            open.moved();
            Ok(response.map(|inner| Taken { inner: Pieces::new(inner, SEND), open }))
        })
    }
}

/// More than HTTP/1.1 may have here; the bytes of all fields are h2's matter.
fn excess<B>(request: &Request<B>, limits: &Limits) -> Option<StatusCode> {
    if request.headers().len() > limits.fields {
        return Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }
    let target = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    (target > limits.target).then_some(StatusCode::URI_TOO_LONG)
}

/// RFC 9113 section 8.2.3: HTTP/2 may cut a cookie field into crumbs; the next hop gets one field.
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        headers.insert(header::COOKIE, whole);
    }
}

/// One request until its answer has ended.
struct Open {
    flow: Arc<Mutex<Flow>>,
    number: u64,
    pressed: bool,
    /// Its client's place, given back at the end.
    place: Option<Place>,
}

impl Open {
    fn new(flow: Arc<Mutex<Flow>>) -> Open {
        let number = {
            let mut flow = flow.lock();
            flow.open += 1;
            flow.moved = true;
            flow.next += 1;
            flow.next
        };
        Open { flow, number, pressed: false, place: None }
    }

    fn moved(&mut self) {
        self.flow.lock().moved = true;
    }

    fn press(&mut self, pressed: bool) {
        if self.pressed != pressed {
            self.pressed = pressed;
            let mut flow = self.flow.lock();
            flow.moved = true;
            if pressed {
                let now = flow.now;
                flow.pressed.insert(self.number, now);
            } else {
                flow.pressed.remove(&self.number);
            }
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.press(false);
        let mut flow = self.flow.lock();
        flow.open -= 1;
        flow.moved = true;
    }
}

/// An answer's body.
struct Taken {
    inner: Pieces<Body>,
    open: Open,
}

impl HttpBody for Taken {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        this.open.press(false);
        let polled = Pin::new(&mut this.inner).poll_frame(cx);
        if matches!(polled, Poll::Ready(Some(Ok(_)))) {
            this.open.press(true);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A request's body, whose coming keeps its connection alive.
struct Coming {
    inner: Steady<Incoming>,
    flow: Arc<Mutex<Flow>>,
}

impl HttpBody for Coming {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        if polled.is_ready() {
            self.flow.lock().moved = true;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crumbs_become_one_cookie() {
        let mut headers = HeaderMap::new();
        join_cookies(&mut headers);
        assert!(headers.is_empty());
        for crumb in ["a=1", "b=2; c=3", "d=4"] {
            headers.append(header::COOKIE, HeaderValue::from_static(crumb));
        }
        join_cookies(&mut headers);
        assert_eq!(headers.get_all(header::COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2; c=3; d=4"]);
    }

    #[test]
    fn more_than_http1_may_have_is_too_much() {
        let limits = Limits { fields: 2, target: 8, ..Limits::REQUEST };
        let ask = |uri: &str, fields: usize| {
            let builder = (0..fields).fold(Request::builder().uri(uri), |builder, number| builder.header(format!("x-{number}"), "y"));
            excess(&builder.body(()).expect("valid"), &limits).map(|status| status.as_u16())
        };
        assert_eq!(
            [ask("https://a.kz/1234567", 2), ask("https://a.kz/12345678", 2), ask("https://a.kz/", 3)],
            [None, Some(414), Some(431)]
        );
    }

    #[test]
    fn ticks_count_only_what_the_client_owes() {
        let patience = Patience { idle: 2, head: 1, body: 1, write: 1 };
        let flow = Arc::new(Mutex::new(Flow::default()));
        let tick = || flow.lock().tick(&patience);
        assert_eq!([tick(), tick(), tick()], [Found::Fine, Found::Fine, Found::Idle]);
        let (mut one, two) = (Open::new(Arc::clone(&flow)), Open::new(Arc::clone(&flow)));
        assert_eq!([tick(), tick(), tick(), tick()], [Found::Fine; 4], "both answers are ours to give");
        one.press(true);
        assert_eq!([tick(), tick()], [Found::Fine, Found::Idle], "no new requests beside what is not taken");
        let mut more: Vec<Open> = (0..4).map(|_| Open::new(Arc::clone(&flow))).collect();
        more[0].press(true);
        assert_eq!(tick(), Found::Unread, "and whatever else is asked for does not hold up its end");
        one.press(false);
        drop(more);
        assert_eq!([tick(), tick(), tick()], [Found::Fine; 3]);
        drop(two);
        one.press(true);
        assert_eq!([tick(), tick()], [Found::Fine, Found::Unread], "the only one");
        drop(one);
        assert_eq!([tick(), tick(), tick()], [Found::Fine, Found::Fine, Found::Fine]);
        assert_eq!([tick(), tick()], [Found::Idle, Found::Unread], "told to go and still here: what was given last is not taken");
    }
}
