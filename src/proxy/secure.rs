//! `proxy.tls_listen`: the same proxy over TLS under `proxy.<zone>`, with HTTP/2 and HTTP/1.1, for enrolled devices. Browsers hold
//! 32 connections at most to a plain proxy; over HTTP/2 that limit is gone.

use crate::proxy::Proxy;
use crate::proxy::listen::{Greet, Guest, Peer};
use crate::proxy::opened::{HANDSHAKE, speak};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

/// Greets with a handshake.
#[derive(Clone)]
pub(crate) struct Secure(pub(crate) Proxy);

impl Greet for Secure {
    const PLAIN: bool = false;

    async fn greet(&self, guest: Guest, peer: Peer) {
        let inner = &self.0.0;
        let Some(authority) = inner.interception.own(&inner.secure_name, peer.from) else {
            inner.door.refused.with_label_values(&["no_ca"]).inc();
            return;
        };
        let config = match inner.interception.config(&authority, &inner.secure_name) {
            Ok(config) => config,
            Err(error) => return tracing::warn!(%error, "no certificate can be made for the proxy itself"),
        };
        let Some(shaken) = inner.until_stop(tokio::time::timeout(HANDSHAKE, TlsAcceptor::from(config).accept(guest))).await else { return };
        match shaken {
            Ok(Ok(stream)) => {
                let peer = Peer { under: Some(authority.fingerprint()), ..peer };
                // WebSocket goes by CONNECT here, as on the plain proxy.
                speak(stream, &inner.door, self.0.clone(), peer, false, &Notify::new()).await;
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "a device did not take our certificate");
                inner.interception.did_not_take_ours(peer.from, authority.fingerprint());
            }
            Err(_) => {}
        }
    }
}
