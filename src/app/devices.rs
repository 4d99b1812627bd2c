//! Under which names devices reach the node, and how they come to trust it: what the portal's pages are handed.

use crate::base::clock::Clock;
use crate::config::Config;
use crate::life::Life;
use crate::portal::{Enrol, LocalNames, Reach, Seen, local_names};
use crate::tls::authority::Authorities;
use arc_swap::ArcSwap;
use std::net::SocketAddr;
use std::sync::Arc;

/// The folder of the CA within `node.state`.
const CA: &str = "ca";

/// What the pages know of names and trust.
pub(super) fn reach(config: &Config, clock: &Clock) -> Arc<Reach> {
    Arc::new(Reach {
        title: config.node.title.clone(),
        zone: config.node.zone.clone(),
        names: config.web.names.clone(),
        local: LocalNames::default(),
        enrol: ArcSwap::from_pointee(enrol(config, clock)),
        seen: Seen::default(),
    })
}

/// The CA as it is on disk. One that cannot be used is told, and there is none for the pages.
pub(super) fn enrol(config: &Config, clock: &Clock) -> Enrol {
    let authority = match Authorities::load(&config.node.state.join(CA), clock.now()) {
        Ok(authorities) => authorities.map(|authorities| authorities.current),
        Err(error) => {
            tracing::error!(%error, "the school's CA cannot be used");
            None
        }
    };
    Enrol { authority, ..Enrol::default() }
}

/// Every name of ours beside the node's own, for the web port.
pub(super) fn names(config: &Config) -> Vec<String> {
    let mut names = config.web.names.clone();
    names.push(format!("proxy.{}", config.node.zone));
    names.extend(local_names::possible(&config.node.title));
    names
}

/// Announces the names on the LAN; without them devices use the address.
pub(super) fn announce(life: &Life, reach: &Reach, web: &[SocketAddr]) {
    if let Err(error) = local_names::announce(life, &reach.local, &reach.title, web) {
        tracing::warn!(%error, "no names on the LAN");
    }
}
