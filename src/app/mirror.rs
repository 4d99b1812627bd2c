//! The mirror: over the proxy's parts, on listeners of its own. What is missing of it is told, and nothing else waits for it.

use crate::admin::{Foresee, Mirrored, Ready};
use crate::base::target::Target;
use crate::config::Config;
use crate::portal::Doors;
use crate::proxy::Proxy;
use crate::proxy::mirror::{Mirror, Settings, Sockets};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

/// The word for the mirror in reasons not to be ready.
const PART: &str = "mirror";

/// The mirror once there is one: pages that name its addresses are made before it.
pub(super) type Later = Arc<OnceLock<Mirror>>;

/// Starts it, as far as it can be had.
pub(super) fn start(config: &Config, sockets: Sockets, proxy: &Proxy, doors: &Doors, ready: &Ready) -> anyhow::Result<Mirror> {
    let settings = Settings {
        zone: format!("m.{}", config.node.zone),
        names: names(config),
        certificate: config.mirror.certificate.clone(),
        doors: doors.clone(),
    };
    let missing = sockets.missing.clone();
    let mirror = Mirror::new(settings, sockets, proxy);
    reload(&mirror, ready, &missing);
    mirror.serve()?;
    Ok(mirror)
}

/// Reads its certificate anew, and tells what is missing.
pub(super) fn reload(mirror: &Mirror, ready: &Ready, missing: &[String]) {
    let mut missing = missing.to_vec();
    if let Err(error) = mirror.reload() {
        missing.push(format!("mirror.certificate: {error:#}"));
    }
    if missing.is_empty() {
        return ready.up(PART);
    }
    let missing = missing.join("; ");
    tracing::error!(missing, "packs' content is not served under the school's own names there; everything else runs all the same");
    ready.down(PART, format!("is not all there: {missing}"));
}

/// Names of this node, under which the mirror is reached by path.
fn names(config: &Config) -> Vec<String> {
    let name = config.node.name.to_ascii_lowercase();
    let mut all: Vec<String> = ["localhost", "bulak.local", "bulak.internal"].map(str::to_owned).into();
    all.extend(["", ".local", ".internal"].map(|end| format!("{name}{end}")));
    all.push(config.node.zone.clone());
    all.extend(config.web.names.iter().map(|name| name.trim_end_matches('.').to_ascii_lowercase()));
    all
}

/// Tells where an address is mirrored.
pub(super) fn mirrored(later: &Later) -> Mirrored {
    let later = Arc::clone(later);
    Arc::new(move |target: &Target, local: Option<SocketAddr>| later.get()?.address(target, local))
}

/// Tells what becomes of a request, once everything is there.
pub(super) fn outlook(later: &Later) -> Foresee {
    let later = Arc::clone(later);
    Arc::new(move |target: &Target| Some(later.get()?.outlook(target)))
}
