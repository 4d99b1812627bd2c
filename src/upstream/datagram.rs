//! UDP to one place: by the same names and guards as connections, counted as a measurement. With a parent proxy there is none: it has
//! no way for it.

use crate::link::{Class, Link, Sample};
use crate::upstream::{Error, Upstream};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::net::UdpSocket;

/// Heads of UDP and of IP in front of each packet.
const HEADS: (u64, u64) = (28, 48);

/// A socket to one place; what comes from elsewhere the kernel keeps away.
pub struct Datagrams {
    socket: UdpSocket,
    link: Link,
    heads: u64,
    passed: AtomicU64,
}

impl Upstream {
    /// Opens a way for packets to `host:port`. Nothing is sent. May be dropped at any await.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn datagrams(&self, host: &str, port: u16) -> Result<Datagrams, Error> {
        let host = host.to_ascii_lowercase();
        let addr = self.0.dial.place(&host, port).await?;
        let unavailable = |error: io::Error| Error::Unavailable(host.clone(), error.to_string());
        let any: SocketAddr = if addr.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
        let socket = UdpSocket::bind(any).await.map_err(unavailable)?;
        socket.connect(addr).await.map_err(unavailable)?;
        let heads = if addr.is_ipv4() { HEADS.0 } else { HEADS.1 };
        Ok(Datagrams { socket, link: self.0.link.clone(), heads, passed: AtomicU64::new(0) })
    }
}

impl Datagrams {
    /// Sends one packet.
    ///
    /// # Errors
    /// The system's: no way there, or a port that has said that it is closed.
    pub async fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.socket.send(bytes).await?;
        let bytes = bytes.len() as u64 + self.heads;
        self.passed.fetch_add(bytes, Ordering::Relaxed);
        self.link.observe(Sample::Sent { class: Class::Measure, bytes });
        Ok(())
    }

    /// Waits for a packet; what does not fit the buffer is cut off. May be dropped at any await.
    ///
    /// # Errors
    /// The system's.
    pub async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.socket.recv(buffer).await?;
        let bytes = length as u64 + self.heads;
        self.passed.fetch_add(bytes, Ordering::Relaxed);
        self.link.observe(Sample::Received { class: Class::Measure, bytes });
        Ok(length)
    }

    /// Bytes that have passed both ways, heads included.
    pub fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }
}
