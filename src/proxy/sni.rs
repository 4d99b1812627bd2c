//! `proxy.sni_listen`: connections that the network redirected from port 443, passed on by the name in their ClientHello. Never
//! opened: who comes here did not choose a proxy. The same guards as for CONNECT; what names nobody is closed.

use crate::base::digest::Digest;
use crate::proxy::connect::pass_on;
use crate::proxy::first;
use crate::proxy::intercept::is_literal;
use crate::proxy::listen::{Greet, Guest, Peer};
use crate::proxy::{Inner, Proxy};
use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::Arc;

/// The port that was redirected.
const HTTPS: u16 = 443;

/// Greets by listening.
#[derive(Clone)]
pub(crate) struct Named(pub(crate) Proxy);

impl Greet for Named {
    const PLAIN: bool = false;

    async fn greet(&self, guest: Guest, _peer: Peer) {
        let inner = &self.0.0;
        let Some((guest, hello)) = inner.until_stop(first::hello(guest)).await else { return };
        // With an encrypted hello the outer name counts: it is where the connection was to go.
        let name = hello.ok().and_then(|hello| hello.name);
        let judged = match &name {
            None => Err("no_name"),
            Some(name) if is_literal(name) => Err("no_name"),
            Some(name) if inner.house.owns(name) => Err("own"),
            Some(name) if inner.cache.is_library(name) => Err("library"),
            Some(_) if !inner.house.connect_ports.contains(&HTTPS) => Err("port"),
            Some(name) => inner.flights.begin(guest.bytes()).map(|flight| (name, flight)).ok_or("loop"),
        };
        match judged {
            Ok((name, _flight)) => drop(inner.until_stop(pass_on(inner, guest, name, HTTPS)).await),
            Err(why) => inner.turn_down(why),
        }
    }
}

impl Inner {
    fn turn_down(&self, why: &str) {
        self.door.refused.with_label_values(&[why]).inc();
    }
}

/// Hellos whose connections are being passed on. A network that redirects our own connections to us would send us the same hello
/// again, without end; each hello holds 32 random bytes, so the same one twice at a time is a loop, whatever addresses say.
#[derive(Debug, Default)]
pub(crate) struct Flights(Arc<Mutex<HashSet<Digest>>>);

impl Flights {
    /// `None`: this very hello is under way.
    fn begin(&self, hello: &[u8]) -> Option<Flight> {
        let digest = Digest::of(hello);
        self.0.lock().insert(digest).then(|| Flight { all: Arc::clone(&self.0), digest })
    }
}

/// One of them; ends when dropped. There are no more than connections.
struct Flight {
    all: Arc<Mutex<HashSet<Digest>>>,
    digest: Digest,
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.all.lock().remove(&self.digest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_hello_twice_at_a_time_is_a_loop() {
        let flights = Flights::default();
        let first = flights.begin(b"hello").expect("the first");
        assert!(flights.begin(b"hello").is_none());
        assert!(flights.begin(b"another").is_some());
        drop(first);
        assert!(flights.begin(b"hello").is_some());
    }
}
