//! Under which names devices reach the node, and how they come to trust it: what the portal's pages are handed.

use crate::app::https;
use crate::config::Config;
use crate::life::Life;
use crate::portal::{Enrol, LocalNames, Reach, Seen, local_names};
use crate::proxy::intercept::Interception;
use arc_swap::ArcSwap;
use std::net::SocketAddr;
use std::sync::Arc;

/// What the pages know of names; of trust they are told by [`Trust::tell`].
pub(super) fn reach(config: &Config) -> Arc<Reach> {
    Arc::new(Reach {
        title: config.node.title.clone(),
        zone: config.node.zone.clone(),
        names: config.web.names.clone(),
        local: LocalNames::default(),
        enrol: ArcSwap::default(),
        seen: Seen::default(),
    })
}

/// Tells the pages what interception knows of trust.
pub(super) struct Trust {
    /// Who opens, and knows the devices.
    pub(super) interception: Arc<Interception>,
    /// What the pages know.
    pub(super) reach: Arc<Reach>,
    /// Where the proxy listens over TLS.
    pub(super) tls: Vec<SocketAddr>,
}

impl Trust {
    /// After each change of CA, list or switch.
    pub(super) fn tell(&self, config: &Config) {
        let law = self.interception.law();
        let authority = law.authorities.as_ref().map(|both| Arc::clone(&both.current));
        // Without a CA nobody could take its certificate.
        let listener = self.tls.first().filter(|_| authority.is_some());
        let tls_proxy = listener.map(|listener| (https::secure_name(config), listener.port()));
        let opened = law.hosts.iter().filter(|host| self.interception.may_open(host, 443).is_ok()).cloned().collect();
        let known = Arc::clone(&self.interception);
        let enrolled = Arc::new(move |client| known.is_enrolled(client));
        self.reach.enrol.store(Arc::new(Enrol { authority, tls_proxy, opened, enrolled }));
    }
}

/// Every name of ours beside the node's own, for the web port.
pub(super) fn names(config: &Config) -> Vec<String> {
    let mut names = config.web.names.clone();
    names.push(https::secure_name(config));
    names.extend(local_names::possible(&config.node.title));
    names
}

/// Announces the names on the LAN; without them devices use the address.
pub(super) fn announce(life: &Life, reach: &Reach, web: &[SocketAddr]) {
    if let Err(error) = local_names::announce(life, &reach.local, &reach.title, web) {
        tracing::warn!(%error, "no names on the LAN");
    }
}
