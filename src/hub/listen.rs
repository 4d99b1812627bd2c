//! Connections, within limits: so many at once, so long for a head, and a graceful end.

use crate::life::Life;
use crate::meter::ndt7::server::Ends;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Connections at once: a thousand schools in the same minute, and 64 KiB each makes 64 MiB.
const MOST_CONNECTIONS: usize = 1_024;

/// A head takes one packet; a satellite line may lose it twice.
const HEAD_PATIENCE: Duration = Duration::from_secs(15);

/// Longest head.
const MOST_HEAD: usize = 64 << 10;

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client(pub(crate) IpAddr);

pub(crate) fn limit() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(MOST_CONNECTIONS))
}

/// Accepts until the node stops.
pub(crate) async fn run(listener: TcpListener, router: Router, life: Life, limit: Arc<Semaphore>) {
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
        let Ok(permit) = Arc::clone(&limit).try_acquire_owned() else {
            tracing::debug!("too many connections");
            continue;
        };
        // Only to count who fails too often; it goes nowhere else.
        let (router, watch) = (router.clone().layer(Extension(Client(client))), life.clone());
        life.spawn(async move {
            serve(stream, router, watch).await;
            drop(permit);
        });
    }
}

async fn serve(stream: TcpStream, router: Router, life: Life) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_PATIENCE).max_buf_size(MOST_HEAD);
    // For whoever is tested: which ends the connection has.
    let ends = stream.peer_addr().and_then(|client| Ok(Ends { client, server: stream.local_addr()? }));
    let router = ends.map_or(router.clone(), |ends| router.layer(Extension(ends)));
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
