//! Pages for the class: what is here without Internet, how to connect a device, what is cached and who sees it. Kazakh first,
//! Russian, English; no script, no account, below 60 kB.
//!
//! Everything here is text from plain values: what a page shows is handed in, so that the portal asks nobody anything.

/// The proxy auto-configuration file.
pub mod pac;

/// The home page.
pub mod home;

/// Which system a device runs.
pub mod system;

/// The school's name as one DNS label.
pub mod school;

/// What every page has.
pub mod frame;

/// How to connect a device; the sheet for the wall.
pub mod connect;

/// Does this device use the cache, does it trust the school's CA?
pub mod check;

/// What is slow: this Wi-Fi, the line, or that site?
pub mod slow;

/// What is kept, what is opened, who sees it.
pub mod privacy;

/// An address that leads nowhere.
pub mod lost;

/// What came of a wish; where a recording begins.
pub mod tonight;

/// Ready files for many devices.
pub mod fleet;

/// The profile for Apple devices.
pub mod profile;

/// What a device is told of trust.
pub mod enrol;

/// `bulak.local` and the school's own name, by mDNS.
pub mod local_names;

/// The words of the pages in three languages.
mod words;

pub use crate::base::language::Language;
pub use enrol::{Enrol, Seen, Signs};
pub use frame::{Frame, Place};
pub use home::{Home, Shelf};
pub use local_names::LocalNames;
pub use system::System;

use arc_swap::ArcSwap;
use std::net::SocketAddr;

/// Under which names devices reach the school's node, and how they come to trust it.
#[derive(Debug, Default)]
pub struct Reach {
    /// The school as people call it.
    pub title: String,
    /// Its DNS zone.
    pub zone: String,
    /// Further names of ours that DNS knows.
    pub names: Vec<String>,
    /// What is announced on the LAN.
    pub local: LocalNames,
    /// The CA, and who trusts it; anew when a CA is made or retired.
    pub enrol: ArcSwap<Enrol>,
    /// Pictures of the check that came through.
    pub seen: Seen,
}

/// The style sheet of the pages.
pub const STYLE: &str = include_str!("portal/templates/portal.css");

/// Who came, and to which of our addresses. Put into a request's extensions by whoever accepted the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The device.
    pub client: SocketAddr,
    /// Our end of the connection: how the device reaches us. All zeros when that is not known.
    pub local: SocketAddr,
    /// By which door it came.
    pub door: Door,
}

/// How a device came to a page of ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Door {
    /// Straight to the web port.
    #[default]
    Web,
    /// Through the proxy: this device uses the cache.
    Proxy,
    /// Through the proxy and over TLS under a certificate of the school's own CA, which it thereby trusts.
    Trusted,
}

/// Where devices reach the proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Doors {
    /// The proxy's listeners as bound.
    pub proxy: Vec<SocketAddr>,
    /// The web port's listeners as bound.
    pub web: Vec<SocketAddr>,
    /// The mirror's listeners as bound.
    pub mirror: Vec<SocketAddr>,
}

impl Doors {
    /// The proxy's address for a device that reached us at `local`: the same address where the proxy listens on it, else the
    /// first that is of use.
    pub fn proxy_for(&self, local: Option<SocketAddr>) -> Option<SocketAddr> {
        pick(&self.proxy, local)
    }

    /// The web port's address for that device.
    pub fn web_for(&self, local: Option<SocketAddr>) -> Option<SocketAddr> {
        pick(&self.web, local)
    }

    /// The mirror's address for that device.
    pub fn mirror_for(&self, local: Option<SocketAddr>) -> Option<SocketAddr> {
        pick(&self.mirror, local)
    }
}

fn pick(listeners: &[SocketAddr], local: Option<SocketAddr>) -> Option<SocketAddr> {
    let local = local.map(|addr| addr.ip().to_canonical()).filter(|ip| !ip.is_unspecified());
    if let Some(ip) = local {
        // `[::]` hears IPv4 too on Linux.
        let hears = |addr: &&SocketAddr| addr.ip() == ip || (addr.ip().is_unspecified() && (addr.is_ipv6() || ip.is_ipv4()));
        if let Some(addr) = listeners.iter().find(hears) {
            return Some(SocketAddr::new(ip, addr.port()));
        }
    }
    let of_use = |addr: &&&SocketAddr| !addr.ip().is_unspecified() && !addr.ip().is_loopback();
    listeners.iter().find(|addr| of_use(&addr)).or_else(|| listeners.iter().find(|addr| !addr.ip().is_unspecified())).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_sent_to_the_address_they_came_to() {
        let addr = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let table = [
            (vec!["0.0.0.0:3128"], Some("192.168.8.1:80"), Some("192.168.8.1:3128")),
            (vec!["10.0.0.1:3128", "192.168.8.1:3129"], Some("192.168.8.1:80"), Some("192.168.8.1:3129")),
            (vec!["[::]:3128"], Some("192.168.8.1:80"), Some("192.168.8.1:3128")),
            (vec!["[::]:3128"], Some("[::ffff:192.168.8.1]:80"), Some("192.168.8.1:3128")),
            (vec!["127.0.0.1:3128", "10.0.0.1:3128"], Some("192.168.8.1:80"), Some("10.0.0.1:3128")),
            (vec!["127.0.0.1:3128"], None, Some("127.0.0.1:3128")),
            (vec!["0.0.0.0:3128"], None, None),
            (vec!["0.0.0.0:3128"], Some("0.0.0.0:3128"), None),
        ];
        for (listeners, local, wanted) in table {
            let doors = Doors { proxy: listeners.iter().map(|text| addr(text)).collect(), ..Doors::default() };
            assert_eq!(doors.proxy_for(local.map(addr)), wanted.map(addr), "{listeners:?} {local:?}");
        }
    }
}
