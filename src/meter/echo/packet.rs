//! Echo packets, and the cookie that makes the server no reflector. Pure.
//!
//! ```text
//! client                                server
//! hello  (64 bytes: nonce)       ──>    any address may have sent it
//! cookie (40 bytes: nonce, cookie) <──  the cookie is a hash of address, port and time under the server's secret
//! ping   (64 bytes: nonce, number, cookie) ──>
//! pong   (64 bytes: nonce, number)  <── only where the cookie is right: whoever sent it has heard us there
//! ```
//!
//! Whoever writes another's address into a hello makes the server send that one fewer bytes than it was sent; a forged ping makes it
//! send nothing. The server keeps nothing of a client. All numbers are big-endian; what has another length or mark is dropped.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// What a client sends, and the longest that the server answers.
pub const LENGTH: usize = 64;
/// An answer to a hello.
const SHORT: usize = 40;
/// Every packet begins so: our mark and the version.
const MARK: &[u8; 4] = b"BKE1";
/// Cookies are made anew after so long, and good for twice that.
const SPELL: u64 = 300;

/// A number that a client draws for a burst: who does not see its packets cannot answer them.
pub type Nonce = [u8; 8];
/// What the server wants to see again.
pub type Cookie = [u8; 16];

/// A packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet {
    /// Who wants to ping.
    Hello(Nonce),
    /// May do so with this.
    Cookie(Nonce, Cookie),
    /// Of a burst, the number.
    Ping(Nonce, u32, Cookie),
    /// The same.
    Pong(Nonce, u32),
}

impl Packet {
    /// Reads a packet; `None`: it is none.
    pub fn read(bytes: &[u8]) -> Option<Packet> {
        let rest = bytes.strip_prefix(MARK)?;
        let (kind, nonce) = (*rest.first()?, rest.get(4..12)?.try_into().ok()?);
        let number = || Some(u32::from_be_bytes(rest.get(12..16)?.try_into().ok()?));
        let cookie = || rest.get(16..32)?.try_into().ok();
        match (kind, bytes.len()) {
            (0, LENGTH) => Some(Packet::Hello(nonce)),
            (1, SHORT) => Some(Packet::Cookie(nonce, cookie()?)),
            (2, LENGTH) => Some(Packet::Ping(nonce, number()?, cookie()?)),
            (3, LENGTH) => Some(Packet::Pong(nonce, number()?)),
            _ => None,
        }
    }

    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let (kind, length, nonce, number, cookie) = match self {
            Packet::Hello(nonce) => (0, LENGTH, nonce, 0, &[0; 16]),
            Packet::Cookie(nonce, cookie) => (1, SHORT, nonce, 0, cookie),
            Packet::Ping(nonce, number, cookie) => (2, LENGTH, nonce, *number, cookie),
            Packet::Pong(nonce, number) => (3, LENGTH, nonce, *number, &[0; 16]),
        };
        let mut bytes = Vec::with_capacity(length);
        bytes.extend_from_slice(MARK);
        bytes.extend_from_slice(&[kind, 0, 0, 0]);
        bytes.extend_from_slice(nonce);
        bytes.extend_from_slice(&number.to_be_bytes());
        bytes.extend_from_slice(cookie);
        bytes.resize(length, 0);
        bytes
    }
}

/// The server's secret, drawn at its start.
pub struct Secret(pub [u8; 32]);

impl Secret {
    /// The cookie of a client at this age of the server: a clock that is set must not make anybody's cookie a forged one.
    pub fn cookie(&self, client: SocketAddr, age: Duration) -> Cookie {
        self.of(client, age.as_secs() / SPELL)
    }

    /// Whether a cookie is this client's, of now or a moment ago.
    pub fn knows(&self, cookie: &Cookie, client: SocketAddr, age: Duration) -> bool {
        let spell = age.as_secs() / SPELL;
        // Compared as hashes are: in constant time.
        let is = |spell| blake3::hash(cookie) == blake3::hash(&self.of(client, spell));
        is(spell) | spell.checked_sub(1).is_some_and(is)
    }

    fn of(&self, client: SocketAddr, spell: u64) -> Cookie {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        match client.ip().to_canonical() {
            IpAddr::V4(ip) => hasher.update(&ip.octets()),
            IpAddr::V6(ip) => hasher.update(&ip.octets()),
        };
        hasher.update(&client.port().to_be_bytes()).update(&spell.to_be_bytes());
        let mut cookie = [0; 16];
        hasher.finalize_xof().fill(&mut cookie);
        cookie
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_read_back_and_anything_else_is_none() {
        let (nonce, cookie) = ([7; 8], [9; 16]);
        for packet in [Packet::Hello(nonce), Packet::Cookie(nonce, cookie), Packet::Ping(nonce, 3, cookie), Packet::Pong(nonce, u32::MAX)] {
            let bytes = packet.bytes();
            assert_eq!(Packet::read(&bytes), Some(packet));
            for cut in 0..bytes.len() {
                assert_eq!(Packet::read(&bytes[..cut]), None, "{packet:?} cut at {cut}");
            }
            let mut longer = bytes.clone();
            longer.push(0);
            assert_eq!(Packet::read(&longer), None);
            for (at, value) in [(0, b'X'), (3, b'2'), (4, 9)] {
                let mut other = bytes.clone();
                other[at] = value;
                assert_eq!(Packet::read(&other), None);
            }
        }
        assert!(Packet::Cookie(nonce, cookie).bytes().len() < Packet::Hello(nonce).bytes().len(), "no answer is longer than its question");
    }

    #[test]
    fn a_cookie_is_one_clients_for_a_while() {
        let (secret, now) = (Secret([1; 32]), Duration::from_secs(7));
        let client: SocketAddr = "192.0.2.7:4000".parse().expect("an address");
        let cookie = secret.cookie(client, now);
        assert!(secret.knows(&cookie, client, now));
        assert!(secret.knows(&cookie, client, now + Duration::from_secs(300)));
        assert!(!secret.knows(&cookie, client, now + Duration::from_secs(600)), "too old");
        for other in ["192.0.2.7:4001", "192.0.2.8:4000", "[2001:db8::7]:4000"] {
            assert!(!secret.knows(&cookie, other.parse().expect("an address"), now), "{other}");
        }
        assert!(secret.knows(&cookie, "[::ffff:192.0.2.7]:4000".parse().expect("an address"), now), "the same by another socket");
        assert!(!Secret([2; 32]).knows(&cookie, client, now));
    }
}
