//! What becomes of a device's request for an address, as far as that can be told without sending anything: what `bulak why` tells.
//! The same judges are asked as for a real request.

use crate::base::target::{Scheme, Target};
use crate::link::State;
use crate::proxy::classify::{Ask, Lane, Refusal, classify};
use crate::proxy::intercept::Unproven;
use crate::proxy::mirror::Mirror;
use crate::tls::hello::Splice;
use http::{HeaderMap, Method, Uri, Version};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

/// What becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// A page of ours; https is opened under the school's CA.
    Local,
    /// The mirror's answer, from this original.
    Mirror(Target),
    /// The mirror knows no such address.
    Unmirrored,
    /// Plain HTTP: the cache decides.
    Cache,
    /// https that is opened for enrolled devices.
    Intercept,
    /// https that is passed on unopened for everybody.
    Tunnel(Splice),
    /// The host is listed, but its origin did not prove itself: passed on unopened.
    Unproven(Unproven),
    /// 403: an address that this proxy does not reach.
    Prohibited(IpAddr),
    /// Not done.
    Refused(Refusal),
}

impl Mirror {
    /// For a GET by way of the proxy, or of the mirror where the address is one of its own.
    pub fn outlook(&self, target: &Target) -> Outlook {
        let inner = self.inner();
        if let Some(outlook) = self.own(target) {
            return outlook;
        }
        let https = target.scheme() == Scheme::Https;
        let asked = if https { format!("{}:{}", target.host(), target.port()) } else { target.url().to_owned() };
        let Ok(uri) = asked.parse::<Uri>() else { return Outlook::Refused(Refusal::Target) };
        let method = if https { Method::CONNECT } else { Method::GET };
        let ask = Ask { method: &method, uri: &uri, version: Version::HTTP_11, headers: &HeaderMap::new(), to: reached_at(target) };
        match classify(&inner.house, &ask) {
            Lane::Refuse(refusal) => Outlook::Refused(refusal),
            // Every device sees the same of it but one that lately refused the current CA.
            Lane::Own { host } if inner.interception.own(&host, Ipv4Addr::LOCALHOST.into()).is_none() => Outlook::Refused(Refusal::Own),
            Lane::Own { .. } | Lane::Local | Lane::Here => Outlook::Local,
            Lane::Cache(target) | Lane::Pass(target) => {
                inner.upstream.prohibited(target.host(), target.port()).map_or(Outlook::Cache, Outlook::Prohibited)
            }
            Lane::Tunnel { host, .. } if inner.cache.is_library(&host) => Outlook::Refused(Refusal::Library),
            Lane::Tunnel { host, port } => match inner.upstream.prohibited(&host, port) {
                Some(address) => Outlook::Prohibited(address),
                None => self.opened(&host, port),
            },
        }
    }

    fn opened(&self, host: &str, port: u16) -> Outlook {
        let inner = self.inner();
        if let Err(why) = inner.interception.may_open(host, port) {
            return Outlook::Tunnel(why);
        }
        match inner.interception.unproven(host) {
            // What is stored came from an origin that did prove itself.
            Some(known) if known.why != Splice::ClientCertificate && inner.link.state() == State::Down => Outlook::Intercept,
            Some(known) => Outlook::Unproven(known),
            None => Outlook::Intercept,
        }
    }
}

/// The address of ours that a device reached us at, when it asks for an address of this machine: that very one.
fn reached_at(target: &Target) -> SocketAddr {
    let bare = target.host().trim_start_matches('[').trim_end_matches(']');
    // Only an address of this machine can be bound; nothing is sent.
    let ours = bare.parse::<IpAddr>().ok().filter(|ip| UdpSocket::bind((*ip, 0)).is_ok());
    SocketAddr::new(ours.unwrap_or(Ipv4Addr::UNSPECIFIED.into()), 0)
}
