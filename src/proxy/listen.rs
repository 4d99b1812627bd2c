//! Accepts clients: who may come in, how many, one task for each connection. What is done with a connection is the `Greet` behind.

/// A client's stream, which sends bodies without a copy where it can.
mod seated;

use crate::base::arena::Arena;
use crate::base::clock::Clock;
use crate::base::crowd::{Crowd, Seat};
use crate::base::door::{ask_after, crowded, turn_away};
use crate::base::wire::Limits;
use crate::base::wire::watch::Patience;
use crate::life::Life;
use crate::portal::{Arrival, Door as Entrance};
use crate::proxy::holder::holder;
use crate::tls::authority::Fingerprint;
use ipnet::IpNet;
use prometheus::{IntCounterVec, IntGauge};
use seated::Seated;
use socket2::{Domain, Protocol, Socket, Type};
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// Both ends of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// The client; an IPv4 address is told as such also on an IPv6 socket.
    pub(crate) from: IpAddr,
    /// The address it reached us at.
    pub(crate) to: SocketAddr,
    /// Over TLS, under the CA with this fingerprint: the client trusts it.
    pub(crate) under: Option<Fingerprint>,
}

impl Peer {
    /// As pages of ours are told of it.
    pub(crate) fn arrival(&self) -> Arrival {
        let door = if self.under.is_some() { Entrance::Trusted } else { Entrance::Proxy };
        Arrival { client: SocketAddr::new(self.from, 0), local: self.to, door }
    }
}

/// A client's connection, and the place it takes.
pub(crate) type Guest = Seated<Place>;

/// What is done with a connection.
pub(crate) trait Greet: Clone + Send + Sync + 'static {
    /// Whether a client that may not come in understands a word of HTTP.
    const PLAIN: bool;

    /// Until the connection ends.
    fn greet(&self, guest: Guest, peer: Peer) -> impl Future<Output = ()> + Send;
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
pub(crate) async fn accept<G: Greet>(listener: TcpListener, door: Door, greet: G) {
    let life = door.life.clone();
    let mut stopping = pin!(life.stopping());
    loop {
        let accepted = tokio::select! {
            biased;
            () = stopping.as_mut() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, from)) => admit(&door, stream, from.ip().to_canonical(), &greet),
            Err(error) => {
                tracing::debug!(%error, "accept failed, will try again");
                door.refused.with_label_values(&["accept"]).inc();
                tokio::time::sleep(AFTER_ERROR).await;
            }
        }
    }
}

fn admit<G: Greet>(door: &Door, stream: TcpStream, from: IpAddr, greet: &G) {
    if !door.clients.iter().any(|net| net.contains(&from)) {
        door.refused.with_label_values(&["client"]).inc();
        if G::PLAIN {
            turn_away(stream, STRANGER);
        }
        return;
    }
    let Some(place) = door.inside.enter(from, door) else {
        door.refused.with_label_values(&["connections"]).inc();
        if G::PLAIN {
            crowded(stream);
        }
        return;
    };
    // Answers are whole when they are written; waiting for more would only delay them. A failure costs speed, nothing else.
    let _ = stream.set_nodelay(true);
    // A phone that has left the Wi-Fi says no goodbye. How long a reader may rest, the ticks know.
    ask_after(&stream);
    let Ok(to) = stream.local_addr() else { return };
    let (guest, greet) = (Seated { stream, bodies: door.bodies.clone(), _place: place }, greet.clone());
    door.life.spawn(async move { greet.greet(guest, Peer { from, to, under: None }).await });
}

const STRANGER: &[u8] = b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nContent-Length: 45\r\nConnection: close\r\n\r\n\
    this proxy serves its own school's addresses\n";
/// Who is inside, by address.
#[derive(Clone, Default)]
pub(crate) struct Inside(Crowd);

impl Inside {
    pub(crate) fn enter(&self, from: IpAddr, door: &Door) -> Option<Place> {
        let seat = self.0.enter(Some(from), door.total, door.per_client)?;
        door.open.inc();
        Some(Place { _seat: seat, open: door.open.clone() })
    }
}

/// One connection's place; given back when dropped.
pub(crate) struct Place {
    _seat: Seat,
    open: IntGauge,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.dec();
    }
}

#[cfg(test)]
mod tests;
