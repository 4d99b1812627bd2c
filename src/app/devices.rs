//! Under which names devices reach the node, and how they come to trust it: what the portal's pages are handed.

use crate::app::https;
use crate::config::Config;
use crate::life::Life;
use crate::portal::{Enrol, LocalNames, Reach, Seen, local_names};
use crate::proxy::intercept::Interception;
use crate::tls::authority::Authority;
use arc_swap::ArcSwap;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;

/// What the pages know of names; of trust they are told by [`Trust::adopt`].
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

/// Where https and what stands for it is listened for, as bound.
pub(super) struct Listeners {
    /// The proxy over TLS.
    pub(super) tls: Vec<SocketAddr>,
    /// Redirected port 443.
    pub(super) sni: Vec<SocketAddr>,
    /// The mirror.
    pub(super) mirror: Vec<SocketAddr>,
}

/// What is agreed on https, in force: taken over by interception, and told to the pages.
pub(super) struct Trust {
    interception: Arc<Interception>,
    reach: Arc<Reach>,
    listeners: Listeners,
    /// The configuration in force. Held while it is taken over: SIGHUP and commands come one after the other.
    in_force: tokio::sync::Mutex<Config>,
    /// Why nothing is opened.
    obstacle: ArcSwap<Option<String>>,
}

impl Trust {
    /// Nothing is taken over yet.
    pub(super) fn new(interception: Arc<Interception>, reach: Arc<Reach>, listeners: Listeners, config: &Config) -> Trust {
        let in_force = tokio::sync::Mutex::new(config.clone());
        Trust { interception, reach, listeners, in_force, obstacle: ArcSwap::default() }
    }

    /// Reads the CA's folder anew; `read`: a configuration whose switch and list count from now on.
    pub(super) async fn adopt(&self, read: Option<&Config>) -> anyhow::Result<()> {
        let mut config = self.in_force.lock().await;
        if let Some(read) = read {
            config.intercept = read.intercept.clone();
        }
        self.obstacle.store(Arc::new(https::adopt(&self.interception, &config).await?));
        self.tell(&config);
        Ok(())
    }

    /// What is in force, for the status document: fingerprints of the CA and the one before it, what is opened and why nothing is,
    /// how many devices proved to trust which CA.
    pub(super) fn status(&self) -> Value {
        let law = self.interception.law();
        let both = law.authorities.as_ref();
        let print = |authority: &Arc<Authority>| authority.fingerprint().to_string();
        let Listeners { tls, sni, mirror } = &self.listeners;
        json!({
            "ca": both.map(|both| print(&both.current)),
            "previous": both.and_then(|both| both.previous.as_ref()).map(print),
            "intercept": { "enabled": law.enabled, "why_not": &**self.obstacle.load() },
            "hosts": self.reach.enrol.load().opened,
            "devices": self.interception.enrolled(),
            "listeners": { "tls": tls, "sni": sni, "mirror": mirror },
        })
    }

    /// After each change of CA, list or switch.
    fn tell(&self, config: &Config) {
        let law = self.interception.law();
        let authority = law.authorities.as_ref().map(|both| Arc::clone(&both.current));
        // Without a CA nobody could take its certificate.
        let listener = self.listeners.tls.first().filter(|_| authority.is_some());
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
