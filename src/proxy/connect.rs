//! CONNECT. Passed on: the origin is reached first, so that a failure can still be told, then bytes are relayed. Opened: the origin
//! proves who it is first, the ClientHello is judged, and we answer in its name (protocols.md section 4).
//!
//! # Why the origin before the hello
//! An origin that cannot be reached is told by 502 or 504 as for any tunnel, instead of a connection that closes after a 200; one
//! that proves nothing is passed on before anything was promised. It costs no more: either wait stands between 200 and our own hello.

use crate::base::body::Body;
use crate::base::target::{Scheme, Target};
use crate::link::State;
use crate::proxy::classify::Purpose;
use crate::proxy::first::{self, Replay};
use crate::proxy::intercept::Ground;
use crate::proxy::listen::{Peer, Place};
use crate::proxy::opened::{Opened, converse};
use crate::proxy::talk::two::Stay;
use crate::proxy::{Inner, Proxy};
use crate::tls::authority::Authority;
use crate::tls::hello::{Splice, judge_hello};
use crate::upstream::{Error, Verified};
use http::{Request, Response, StatusCode, Version};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use std::future::Future;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

/// Answers CONNECT to another's place, or to a name of ours under the CA.
pub(crate) async fn answer(proxy: Proxy, host: String, port: u16, mut request: Request<Body>, peer: Peer) -> Response<Body> {
    let inner = &proxy.0;
    // A tunnel in an HTTP/2 stream takes a place as one with a connection of its own does.
    let place = if request.version() == Version::HTTP_2 {
        let Some(place) = inner.door.inside.enter(peer.from, &inner.door) else {
            inner.door.refused.with_label_values(&["connections"]).inc();
            let mut response = Response::new(Body::Empty);
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            return response;
        };
        Some(place)
    } else {
        None
    };
    let client = hyper::upgrade::on(&mut request);
    let stay = request.extensions_mut().remove();
    let wish = Wish { proxy, host: host.into(), port, peer, _place: place, _stay: stay };
    match wish.ground().await {
        Ok((authority, ground)) => wish.open(client, authority, ground),
        Err(Instead::Splice(why)) => wish.splice(client, why).await,
        Err(Instead::Fail(error)) => wish.proxy.0.failed(&error),
    }
}

/// A connection that somebody wishes for.
struct Wish {
    proxy: Proxy,
    host: Arc<str>,
    port: u16,
    peer: Peer,
    /// Held until the connection ends.
    _place: Option<Place>,
    /// The same, for the connection whose stream this is.
    _stay: Option<Stay>,
}

/// What happens instead of opening.
enum Instead {
    /// It is passed on.
    Splice(Splice),
    /// The origin cannot be reached.
    Fail(Error),
}

impl Wish {
    fn inner(&self) -> &Arc<Inner> {
        &self.proxy.0
    }

    /// Whether the connection may be opened as far as is known without its hello, under which CA, and on what ground.
    async fn ground(&self) -> Result<(Arc<Authority>, Ground), Instead> {
        let (inner, host) = (self.inner(), &*self.host);
        if inner.house.owns(host) {
            // Asked for by `classify`, which knows that there is a CA.
            let authority = inner.interception.own(host, self.peer.from);
            return authority.map(|authority| (authority, Ground::Own)).ok_or(Instead::Splice(Splice::Off));
        }
        let authority = inner.interception.decide(host, self.port, self.peer.from).map_err(Instead::Splice)?;
        if inner.upstream.asks_certificate(host) {
            return Err(self.asks_certificate());
        }
        if inner.interception.has_proof(host) {
            return Ok((authority, Ground::Remembered));
        }
        if inner.link.state() == State::Down {
            return Ok((authority, Ground::Offline));
        }
        let Ok(target) = Target::from_parts(Scheme::Https, host, "/") else { return Err(Instead::Splice(Splice::Upstream)) };
        match inner.upstream.verify(&target).await {
            Ok(Verified { asks_certificate: true, .. }) => Err(self.asks_certificate()),
            Ok(Verified { .. }) => {
                inner.interception.keep_proof(host);
                Ok((authority, Ground::Verified))
            }
            // It may have wanted a certificate and hung up.
            Err(_) if inner.upstream.asks_certificate(host) => Err(self.asks_certificate()),
            Err(_) if inner.link.state() == State::Down => Ok((authority, Ground::Offline)),
            Err(error @ (Error::Tls(..) | Error::TlsCertificate(..) | Error::Incomplete(_) | Error::Protocol(..))) => {
                inner.interception.passed_on(host, Splice::Upstream, &error);
                Err(Instead::Splice(Splice::Upstream))
            }
            Err(error) => Err(Instead::Fail(error)),
        }
    }

    fn asks_certificate(&self) -> Instead {
        let why = Splice::ClientCertificate;
        self.inner().interception.passed_on(&self.host, why, &"it asks its visitors for a certificate");
        Instead::Splice(why)
    }

    /// Reaches the origin, then relays beside the client's connection.
    async fn splice(self, client: OnUpgrade, why: Splice) -> Response<Body> {
        let inner = Arc::clone(self.inner());
        inner.interception.spliced(why);
        inner.glance_at_tunnel(self.peer.from, &self.host);
        let origin = match inner.upstream.connect(&self.host, self.port).await {
            Ok(origin) => origin,
            Err(error) => return inner.failed(&error),
        };
        let shared = Arc::clone(&inner);
        inner.life.spawn_until_stop(async move {
            if let Some(client) = shared.upgraded(client).await {
                let is_line = origin.is_line();
                shared.relay(TokioIo::new(client), origin, is_line).await;
            }
            drop(self);
        });
        Response::new(Body::Empty)
    }

    /// Promises a connection, and decides by its hello what becomes of it.
    fn open(self, client: OnUpgrade, authority: Arc<Authority>, ground: Ground) -> Response<Body> {
        let inner = Arc::clone(self.inner());
        let shared = Arc::clone(&inner);
        inner.life.spawn(async move {
            let Some(Some(client)) = shared.until_stop(shared.upgraded(client)).await else { return };
            let Some((client, hello)) = shared.until_stop(first::hello(TokioIo::new(client))).await else { return };
            match hello.and_then(|hello| judge_hello(&hello, &self.host)) {
                Ok(()) => self.answer_for(client, &authority, ground).await,
                // Nobody else has these names.
                Err(_) if ground == Ground::Own => {}
                Err(why) => self.splice_after(client, why).await,
            }
        });
        Response::new(Body::Empty)
    }

    async fn answer_for(self, client: Replay<TokioIo<Upgraded>>, authority: &Authority, ground: Ground) {
        let inner = self.inner();
        let config = match inner.interception.config(authority, &self.host) {
            Ok(config) => config,
            Err(error) => {
                tracing::warn!(host = &*self.host, %error, "no certificate can be made for this host: passed on");
                return self.splice_after(client, Splice::Outside).await;
            }
        };
        inner.interception.opened(ground);
        let purpose = if ground == Ground::Own { Purpose::Own } else { Purpose::Origin };
        let peer = Peer { under: Some(authority.fingerprint()), ..self.peer };
        converse(&Opened::new(self.proxy.clone(), Arc::clone(&self.host), purpose), config, client, peer).await;
    }

    /// Passes on what was promised already: a failure can only be told by closing.
    async fn splice_after<S: AsyncRead + AsyncWrite + Unpin>(self, client: Replay<S>, why: Splice) {
        let inner = self.inner();
        inner.interception.spliced(why);
        inner.glance_at_tunnel(self.peer.from, &self.host);
        inner.until_stop(pass_on(inner, client, &self.host, self.port)).await;
    }
}

/// Reaches `host:port` and relays, beginning with what was read already.
pub(crate) async fn pass_on<S: AsyncRead + AsyncWrite + Unpin>(inner: &Arc<Inner>, client: Replay<S>, host: &str, port: u16) {
    match inner.upstream.connect(host, port).await {
        Ok(origin) => {
            let is_line = origin.is_line();
            inner.relay(client, origin, is_line).await;
        }
        Err(error) => {
            tracing::debug!(%error, "a connection that was to be passed on");
            inner.tunnels.with_label_values(&["unreached"]).inc();
        }
    }
}

impl Inner {
    /// The client's side of a tunnel, once our answer is out.
    async fn upgraded(&self, client: OnUpgrade) -> Option<Upgraded> {
        match client.await {
            Ok(client) => Some(client),
            Err(error) => {
                tracing::debug!(%error, "the client left before its tunnel was open");
                self.tunnels.with_label_values(&["broken"]).inc();
                None
            }
        }
    }

    /// Drops the work when the node stops.
    pub(crate) async fn until_stop<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.life.stopping() => None,
            done = work => Some(done),
        }
    }
}
