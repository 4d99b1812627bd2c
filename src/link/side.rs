//! Which side of the line an address is on. Pure, and the only place that decides it: of a host in the school's own network neither an
//! answer nor its silence says anything about the line, its speed is not the line's, and its bytes do not pass it.
//!
//! # Why not loopback
//! Nobody's server is this machine, but a way out may begin there (a tunnel, a second proxy): what comes by it is believed, as is its
//! silence. A no of its own is another matter: it came from no further than here.
//!
//! # Who else is believed
//! A parent proxy (`upstream.parent`) and the hosts of `link.check`, whatever their addresses: somebody has written down that the line
//! is known by them, as in a ministry's own network, where all addresses are private.

use crate::base::near::is_near;
use std::net::IpAddr;

/// On which side of the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Beyond it.
    Outside,
    /// This machine.
    Here,
    /// The school's own network, or the carrier's (RFC 6598): private, unique local, link-local.
    House,
}

impl Side {
    /// Of an address.
    pub fn of(addr: IpAddr) -> Side {
        let addr = addr.to_canonical();
        if addr.is_loopback() || addr.is_unspecified() {
            Side::Here
        } else if is_near(addr) {
            Side::House
        } else {
            Side::Outside
        }
    }

    /// The same of one that the configuration names as the way out: then it is nobody's own server.
    #[must_use]
    pub fn named(self) -> Side {
        if self == Side::House { Side::Here } else { self }
    }

    /// Whether an answer from there, or none, says anything of the line.
    pub fn tells(self) -> bool {
        self != Side::House
    }

    /// Whether a refused connection proves that the line works: it crossed it twice.
    pub fn refusal_proves(self) -> bool {
        self == Side::Outside
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schools_own_network_says_nothing_of_the_line() {
        let table = [
            ("93.184.216.34", Side::Outside),
            ("2a00:1450::1", Side::Outside),
            ("::ffff:93.184.216.34", Side::Outside),
            ("127.0.0.1", Side::Here),
            ("::1", Side::Here),
            ("::ffff:127.0.0.1", Side::Here),
            ("0.0.0.0", Side::Here),
            ("192.168.1.1", Side::House),
            ("10.0.0.1", Side::House),
            ("172.31.255.1", Side::House),
            ("172.32.0.1", Side::Outside),
            ("169.254.1.1", Side::House),
            ("100.100.0.1", Side::House),
            ("fd00::1", Side::House),
            ("fe80::1", Side::House),
            ("::ffff:10.0.0.1", Side::House),
        ];
        for (addr, side) in table {
            let side_there = Side::of(addr.parse().expect(addr));
            assert_eq!(side_there, side, "{addr}");
            assert_eq!((side.tells(), side.refusal_proves()), (side != Side::House, side == Side::Outside));
            assert!(side.named().tells() && side.named().refusal_proves() == side.refusal_proves(), "{addr}");
        }
    }
}
