//! A connection that we answer over TLS in the name of a host: the handshake under a leaf of the school's CA, then requests that walk
//! the same corridor as those on the plain proxy, each for that host alone.

use crate::base::body::Body;
use crate::base::wire::Turn;
use crate::cache::Way;
use crate::proxy::Proxy;
use crate::proxy::classify::{Ask, Purpose, inside};
use crate::proxy::listen::{Door, Peer};
use crate::proxy::talk::two::two;
use crate::proxy::talk::{Serve, Serving, one};
use http::{HeaderValue, Method, Request, Response};
use hyper::ext::Protocol;
use rustls::{AlertDescription, ServerConfig};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How long a handshake may take: a device two rooms away needs milliseconds, one that dozes seconds.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(10);
/// Who ends a connection this soon, without a request, has looked at the certificate and left.
const AT_ONCE: Duration = Duration::from_millis(500);

/// Answers requests on one opened connection.
#[derive(Clone)]
pub(crate) struct Opened {
    proxy: Proxy,
    host: Arc<str>,
    purpose: Purpose,
    /// A request has come.
    spoken: Arc<AtomicBool>,
    /// This connection has served its purpose.
    enough: Arc<Notify>,
}

impl Opened {
    pub(crate) fn new(proxy: Proxy, host: Arc<str>, purpose: Purpose) -> Opened {
        Opened { proxy, host, purpose, spoken: Arc::default(), enough: Arc::default() }
    }
}

/// The handshake, then requests until the connection ends; remembers devices that do not take our certificate.
pub(crate) async fn converse<S>(opened: &Opened, config: Arc<ServerConfig>, stream: S, peer: Peer)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let inner = &opened.proxy.0;
    let Some(shaken) = inner.until_stop(tokio::time::timeout(HANDSHAKE, TlsAcceptor::from(config).accept(stream))).await else { return };
    let refused = |error: &dyn std::fmt::Display| {
        tracing::debug!(host = &*opened.host, %error, "a device did not take our certificate");
        match opened.purpose {
            Purpose::Origin => inner.interception.failed(peer.from, &opened.host),
            Purpose::Own => {
                if let Some(refused) = peer.under {
                    inner.interception.did_not_take_ours(peer.from, refused);
                }
            }
        }
    };
    let stream = match shaken {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) if is_refusal(&error) => return refused(&error),
        // A tab that was closed, a Wi-Fi that was left: once says nothing, twice in a row does.
        Ok(Err(_)) if opened.purpose == Purpose::Origin => return inner.interception.left(peer.from, &opened.host),
        // Whoever says nothing has refused nothing.
        Ok(Err(_)) | Err(_) => return,
    };
    let began = inner.interception.steady();
    let ended = speak(stream, &inner.door, opened.clone(), peer, opened.purpose == Purpose::Origin, &opened.enough).await;
    if opened.spoken.load(Ordering::Relaxed) {
        return;
    }
    match ended {
        // In TLS 1.3 a client may be done before it judges the certificate.
        Some(error) if is_refusal(&error) => refused(&error),
        _ if opened.purpose == Purpose::Origin && inner.interception.steady().saturating_duration_since(began) < AT_ONCE => {
            inner.interception.left(peer.from, &opened.host);
        }
        _ => {}
    }
}

/// HTTP in the version that was agreed on.
pub(crate) async fn speak<S, I>(
    stream: TlsStream<I>,
    door: &Door,
    serve: S,
    peer: Peer,
    sockets: bool,
    enough: &Notify,
) -> Option<hyper::Error>
where
    S: Serve,
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        two(stream, door, serve, peer, sockets, enough).await
    } else {
        one(stream, false, door, serve, peer, enough).await
    }
}

/// Whether the client said by an alert that it does not trust the certificate, however deep that lies: hyper wraps what h2 wraps.
fn is_refusal(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut step = Some(error);
    while let Some(error) = step {
        let io = error.downcast_ref::<io::Error>().or_else(|| error.downcast_ref::<h2::Error>().and_then(h2::Error::get_io));
        let told = error.downcast_ref::<rustls::Error>().or_else(|| io?.get_ref()?.downcast_ref::<rustls::Error>());
        if let Some(rustls::Error::AlertReceived(alert)) = told {
            return REFUSALS.contains(alert);
        }
        step = error.source();
    }
    false
}

/// Alerts by which clients say so (RFC 8446 section 6.2).
const REFUSALS: [AlertDescription; 6] = [
    AlertDescription::UnknownCA,
    AlertDescription::BadCertificate,
    AlertDescription::CertificateUnknown,
    AlertDescription::UnsupportedCertificate,
    AlertDescription::CertificateExpired,
    AlertDescription::AccessDenied,
];

impl Serve for Opened {
    fn serve(&self, request: Request<Body>, peer: Peer, turn: Option<&Turn>) -> Serving {
        let inner = &self.proxy.0;
        if !self.spoken.swap(true, Ordering::Relaxed) && self.purpose == Purpose::Origin {
            inner.interception.worked(peer.from, &self.host);
        }
        let socket = *request.method() == Method::CONNECT
            && request.extensions().get::<Protocol>().is_some_and(|protocol| protocol.as_str().eq_ignore_ascii_case("websocket"));
        let ask = Ask { method: request.method(), uri: request.uri(), version: request.version(), headers: request.headers(), to: peer.to };
        let lane = inside(&self.host, self.purpose, &ask, socket);
        match inner.follow(lane, request, peer, turn, Way::Intercept) {
            Serving::Later(answer) if self.purpose == Purpose::Origin => {
                let this = self.clone();
                Serving::Later(Box::pin(async move {
                    let answer = answer.await;
                    this.look(&answer);
                    answer
                }))
            }
            serving => serving,
        }
    }
}

impl Opened {
    /// An origin that no longer proves who it is must not be spoken for: the next connection is passed on and shows the genuine
    /// error, so this one ends.
    fn look(&self, answer: &Response<Body>) {
        let inner = &self.proxy.0;
        if is_tls_trouble(answer) {
            inner.interception.drop_proof(&self.host);
            self.enough.notify_one();
        }
    }
}

/// Whether the answer is a page about an origin's certificate or handshake (RFC 9209 section 2.3).
fn is_tls_trouble(answer: &Response<Body>) -> bool {
    let told = |value: &HeaderValue| value.to_str().is_ok_and(|text| text.contains("; error=tls_"));
    answer.status().is_server_error() && answer.headers().get_all("proxy-status").iter().any(told)
}
