//! One request and its answer on an open connection: hyper's two clients, the forms of a request, deadlines until the head, interim
//! answers, and giving the connection back.

use crate::base::body::Body;
use crate::base::target::{Scheme, Target};
use crate::base::wire::Interim;
use crate::life::Life;
use crate::upstream::Error;
use crate::upstream::body::{Held, Meter, Progress, Upload};
use crate::upstream::dial::{Wire, guarded};
use crate::upstream::pool::{Kinds, Reusable};
use crate::upstream::retry;
use crate::upstream::throttle::{Ride, Throttle};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Largest answer head, bytes; browsers stop at 256 KiB, servers send 1 or 2.
const HEAD: usize = 64 << 10;
/// Most fields of an answer.
const FIELDS: usize = 200;
/// Read buffer of a connection at most; it grows only for large bodies.
const BUFFER: usize = 128 << 10;
/// An HTTP/2 connection at work that stays silent is asked, and given up when it does not answer.
const PING: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));

/// Longest request body that is held to be sent again, bytes: a form, a pupil's progress, a note. A class of 30 that saves at once
/// costs 2 MiB; what is longer is an upload, and goes on a connection that has just been used or is new.
const HOLD: u64 = 64 << 10;

/// hyper's connections.
pub(super) struct Hyper;

impl Kinds for Hyper {
    type One = One;
    type Many = Many;
}

/// A connection of HTTP/1.1.
pub(super) struct One {
    pub(super) sender: http1::SendRequest<Body>,
    /// One of the night's.
    pub(super) throttle: Option<Arc<Throttle>>,
    /// It passes the line.
    pub(super) is_line: bool,
}

/// A connection of HTTP/2.
#[derive(Clone)]
pub(super) struct Many {
    pub(super) sender: http2::SendRequest<Body>,
    /// It passes the line.
    pub(super) is_line: bool,
}

impl Reusable for One {
    fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }
}

impl Reusable for Many {
    fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }
}

/// Speaks HTTP/1.1 over `stream`.
pub(super) async fn start_one(stream: Box<dyn Wire>, host: &str, life: &Life) -> Result<http1::SendRequest<Body>, Error> {
    let (sender, connection) = http1::Builder::new()
        .max_headers(FIELDS)
        .max_header_size(HEAD)
        .max_buf_size(BUFFER)
        .handshake(TokioIo::new(guarded(stream)))
        .await
        .map_err(|error| Error::from_hyper(host, &error))?;
    life.spawn(async move {
        // Whoever sent a request learns of the error by its answer.
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "connection");
        }
    });
    Ok(sender)
}

/// What an origin may send of one answer before its reader has taken it: 14 Mbit/s over a satellite's 600 ms. And of all together: as
/// much as all `STREAMS` of a connection have, since a class shares it and a paused film must not stop everybody's pages.
const WINDOWS: (u32, u32) = (1 << 20, 100 << 20);

/// Speaks HTTP/2 over `stream`.
pub(super) async fn start_many(stream: Box<dyn Wire>, host: &str, life: &Life) -> Result<http2::SendRequest<Body>, Error> {
    let (sender, connection) = http2::Builder::new(life.clone())
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(HEAD).unwrap_or(u32::MAX))
        .initial_stream_window_size(WINDOWS.0)
        .initial_connection_window_size(WINDOWS.1)
        .keep_alive_interval(PING.0)
        .keep_alive_timeout(PING.1)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| Error::from_hyper(host, &error))?;
    life.spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection");
        }
    });
    Ok(sender)
}

/// A request that can be put together more than once, as long as its body is at hand.
pub(super) struct Outgoing {
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) interim: Option<Interim>,
    pub(super) body: Body,
    /// The body came back unsent and counts itself already.
    pub(super) counted: bool,
}

/// How the target is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `/path?query` and a Host field.
    Origin,
    /// The whole URL and a Host field: to a parent proxy.
    Absolute,
    /// HTTP/2's pseudo fields.
    Two,
}

impl Outgoing {
    /// Takes a caller's request apart.
    pub(super) fn new(request: Request<Body>) -> Outgoing {
        let (parts, body) = request.into_parts();
        let interim = parts.extensions.get::<Interim>().cloned();
        Outgoing { method: parts.method, headers: parts.headers, interim, body, counted: false }
    }

    /// Whether it can be sent a second time: the method allows it (RFC 9110 section 9.2.2), and the body is at hand or is known to
    /// be small enough to be held.
    pub(super) fn is_repeatable(&self) -> bool {
        let at_hand = !matches!(self.body, Body::Stream(_)) || self.promised().is_some_and(|length| length <= HOLD);
        at_hand && retry::is_idempotent(&self.method)
    }

    /// Whether it asks about something that is here already: most such answers are a head.
    pub(super) fn is_conditional(&self) -> bool {
        self.headers.contains_key(header::IF_NONE_MATCH) || self.headers.contains_key(header::IF_MODIFIED_SINCE)
    }

    /// The body for a second try, if there may be one. A stream's frames are kept from now on, as they are sent.
    pub(super) fn spare_body(&mut self) -> Option<Body> {
        let holds = self.is_repeatable();
        match &self.body {
            Body::Empty => Some(Body::Empty),
            Body::Full(bytes) => Some(Body::Full(bytes.clone())),
            Body::Stream(_) if holds => {
                let held = Held::new(std::mem::take(&mut self.body));
                self.body = Body::stream(held.tell());
                Some(Body::stream(held.tell()))
            }
            Body::Stream(_) => None,
        }
    }

    /// The body's length, where the client said it.
    fn promised(&self) -> Option<u64> {
        self.headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    /// The request for the wire. The body is taken.
    pub(super) fn build(&mut self, target: &Target, form: Form, meter: &Meter, progress: &Arc<Progress>) -> Result<Request<Body>, Error> {
        let malformed = |_| Error::Protocol(target.host().to_owned(), String::from("its URL cannot be sent"));
        let text = if form == Form::Origin { target.path_and_query() } else { target.url() };
        let promised = self.promised();
        let body = match std::mem::take(&mut self.body) {
            Body::Empty => Body::Empty,
            inner if self.counted => inner,
            inner => Body::stream(Upload { inner, promised, seen: 0, meter: meter.clone(), progress: progress.clone() }),
        };
        let mut request = Request::new(body);
        *request.uri_mut() = Uri::try_from(text).map_err(malformed)?;
        *request.method_mut() = self.method.clone();
        *request.headers_mut() = self.headers.clone();
        if matches!(request.body(), Body::Empty) {
            frame_nothing(&self.method, request.headers_mut());
        }
        if form == Form::Two {
            *request.version_mut() = Version::HTTP_2;
            for name in [header::HOST, header::CONNECTION, header::UPGRADE] {
                request.headers_mut().remove(name);
            }
        } else {
            let host = HeaderValue::from_str(target.authority())
                .map_err(|_| Error::Protocol(target.host().to_owned(), String::from("its name cannot be sent")))?;
            request.headers_mut().insert(header::HOST, host);
        }
        let (interim, progress) = (self.interim.clone(), progress.clone());
        hyper::ext::on_informational(&mut request, move |answer| {
            progress.steps.fetch_add(1, Ordering::Relaxed);
            if let (Some(Interim(tell)), true) = (&interim, answer.status() != StatusCode::SWITCHING_PROTOCOLS) {
                tell(answer.status(), answer.headers());
            }
        });
        Ok(request)
    }
}

/// A request without a body must not promise one: the origin would take the next request on the connection for it. Methods
/// that usually carry a body say that theirs is empty (RFC 9110 section 8.6).
fn frame_nothing(method: &Method, headers: &mut HeaderMap) {
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::TRANSFER_ENCODING);
    if [Method::POST, Method::PUT, Method::PATCH].contains(method) {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
}

/// What came instead of an answer.
pub(super) struct Failed {
    pub(super) error: Error,
    /// The request never reached the wire: here is its body again.
    pub(super) unsent: Option<Body>,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Failed {
        Failed { error, unsent: None }
    }
}

/// Waits for the head, as long as something moves: `wait` counts from the last piece of the request's body or interim answer, and
/// while the night holds its own bytes back.
pub(super) async fn head(
    answer: impl Future<Output = Result<Response<Incoming>, TrySendError<Request<Body>>>>,
    host: &str,
    wait: Duration,
    progress: &Progress,
    mut ride: Option<&mut Ride>,
) -> Result<Response<Incoming>, Failed> {
    let mut answer = std::pin::pin!(answer);
    loop {
        let before = progress.steps.load(Ordering::Relaxed);
        match tokio::time::timeout(wait, answer.as_mut()).await {
            Ok(Ok(response)) if response.headers().len() > FIELDS => {
                let error = Error::Protocol(host.to_owned(), format!("more than {FIELDS} fields"));
                return Err(Failed { error, unsent: None });
            }
            Ok(Ok(response)) => return Ok(response),
            Ok(Err(mut failed)) => {
                let unsent = failed.take_message().map(Request::into_body);
                // Shorter or longer than it said counts as broken off, too.
                let theirs = progress.failed.load(Ordering::Relaxed) || failed.error().is_user();
                let error = if theirs { Error::RequestBody(failed.error().to_string()) } else { Error::from_hyper(host, failed.error()) };
                return Err(Failed { error, unsent });
            }
            Err(_) if progress.steps.load(Ordering::Relaxed) != before || ride.as_mut().is_some_and(|ride| ride.stirred()) => {}
            Err(_) => return Err(Failed { error: Error::ResponseTimeout(host.to_owned(), wait), unsent: None }),
        }
    }
}

/// How long an answer's body must be, where its head says so (RFC 9112 section 6.3).
pub(super) fn promised(method: &Method, response: &Response<Incoming>) -> Option<u64> {
    let bodiless = *method == Method::HEAD
        || response.status().is_informational()
        || matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if bodiless || response.headers().contains_key(header::TRANSFER_ENCODING) {
        return None;
    }
    response.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// How long the origin keeps the connection when it is idle, by its own word: `Keep-Alive: timeout=5, max=100`. RFC 9112 has no
/// such field any more, RFC 2068 section 19.7.1 had; Node and Apache send it.
pub(super) fn keeps(headers: &HeaderMap) -> Option<Duration> {
    let said = headers.get_all("keep-alive").iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    said.filter_map(|word| word.trim().split_once('='))
        .filter(|(name, _)| name.trim_end().eq_ignore_ascii_case("timeout"))
        .find_map(|(_, seconds)| seconds.trim_start().parse().ok())
        .map(Duration::from_secs)
}

/// Whether the way to `target` may end in HTTP/2: only TLS tells, and an upgrade needs HTTP/1.1.
pub(super) fn may_share(target: &Target, headers: &HeaderMap) -> bool {
    target.scheme() == Scheme::Https && !headers.contains_key(header::UPGRADE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_says_how_long_it_keeps_a_connection() {
        let table = [
            (&["timeout=5"][..], Some(5)),
            (&["max=100, Timeout = 15"], Some(15)),
            (&["max=100", "timeout=0"], Some(0)),
            (&["timeout"], None),
            (&["timeout=-1"], None),
            (&["timeout=18446744073709551616"], None),
            (&["timeout=18446744073709551615"], Some(u64::MAX)),
            (&["timeout=x, timeout=7"], Some(7)),
            (&["5"], None),
            (&[], None),
        ];
        for (values, wanted) in table {
            let fields = values.iter().map(|value| (http::HeaderName::from_static("keep-alive"), HeaderValue::from_static(value)));
            assert_eq!(keeps(&fields.collect()), wanted.map(Duration::from_secs), "{values:?}");
        }
    }
}
