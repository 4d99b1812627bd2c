//! Connections, within limits: so many at once, so long for a head, and a graceful end.

use crate::base::crowd::Crowd;
use crate::base::door;
use crate::base::drip::{Pace, Steady};
use crate::base::limit::household;
use crate::base::near::is_near;
use crate::life::Life;
use crate::meter::ndt7::server::Ends;
use axum::Router;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::net::IpAddr;
use std::pin::pin;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// Connections at once: a thousand schools in the same minute, and 64 KiB each makes 64 MiB.
const MOST_CONNECTIONS: usize = 1_024;

/// Of these, one address of the Internet has a quarter: schools behind one carrier's gateway share theirs, and one stranger leaves room
/// for all others. A private address is whoever stands before the hub, and has no share of its own.
const MOST_EACH: usize = MOST_CONNECTIONS / 4;

/// A head takes one packet; a satellite line may lose it twice.
const HEAD_PATIENCE: Duration = Duration::from_secs(15);

/// Longest head.
const MOST_HEAD: usize = 64 << 10;

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client(pub(crate) IpAddr);

/// Accepts until the node stops.
pub(crate) async fn run(listener: TcpListener, router: Router, life: Life, crowd: Crowd) {
    loop {
        let accepted = tokio::select! {
            () = life.stopping() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, client) = match accepted {
            Ok((stream, peer)) => (stream, peer.ip()),
            Err(error) => {
                // Out of descriptors: others will end soon.
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(seat) = crowd.enter(counted(client), MOST_CONNECTIONS, MOST_EACH) else {
            tracing::debug!("too many connections");
            door::crowded(stream);
            continue;
        };
        door::look_after(&stream);
        let (router, watch) = (router.clone(), life.clone());
        life.spawn(async move {
            serve(stream, client, router, watch).await;
            drop(seat);
        });
    }
}

/// As whom an address is counted.
pub(crate) fn counted(client: IpAddr) -> Option<IpAddr> {
    (!is_near(client)).then(|| household(client))
}

async fn serve(stream: TcpStream, client: IpAddr, router: Router, life: Life) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_PATIENCE).max_buf_size(MOST_HEAD);
    // For whoever is tested: which ends the connection has.
    let ends = stream.peer_addr().and_then(|client| Ok(Ends { client, server: stream.local_addr()? })).ok();
    // Told to each request: a layer around the router would be a router of its own for each connection.
    let router = tower::ServiceExt::map_request(router, move |mut request: Request<Incoming>| {
        // Only to count who fails too often; it goes nowhere else.
        request.extensions_mut().insert(Client(client));
        if let Some(ends) = ends {
            request.extensions_mut().insert(ends);
        }
        request.map(|body| Body::new(Steady::new(body, Pace::USUAL)))
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)).with_upgrades());
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = life.stopping() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke off");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_has_a_share_and_a_proxy_before_us_has_none() {
        let crowd = Crowd::default();
        let from = |text: &str| counted(text.parse().expect("an address"));
        let stranger: Vec<_> = (0..MOST_CONNECTIONS)
            .filter_map(|host| crowd.enter(from(&format!("2001:db8::{host:x}")), MOST_CONNECTIONS, MOST_EACH))
            .collect();
        assert_eq!(stranger.len(), MOST_EACH, "a /64 is one client");
        let proxied: Vec<_> = (0..MOST_CONNECTIONS).filter_map(|_| crowd.enter(from("10.0.0.5"), MOST_CONNECTIONS, MOST_EACH)).collect();
        assert_eq!(proxied.len(), MOST_CONNECTIONS - MOST_EACH);
    }
}
