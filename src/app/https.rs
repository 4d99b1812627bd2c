//! The parts by which https is opened for enrolled devices: what is agreed, read from the configuration and the CA's folder; the
//! devices, kept in the database.

use crate::base::clock::{Clock, Time};
use crate::base::count::Metrics;
use crate::config::Config;
use crate::life::Life;
use crate::proxy::intercept::{Interception, Law};
use crate::state::State;
use crate::tls::authority::{Authorities, Readiness, ready};
use crate::tls::consent::Consent;
use anyhow::Context;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How often what changed with devices is written down. A power cut costs the last seconds: those devices are passed on unopened
/// until they enrol anew.
const WRITE_EVERY: Duration = Duration::from_secs(5);

/// The name under which the proxy is reached over TLS.
pub(super) fn secure_name(config: &Config) -> String {
    format!("proxy.{}", config.node.zone)
}

/// Interception with the devices of earlier runs; it opens nothing until it is told what is agreed ([`adopt`]).
pub(super) async fn start(
    config: &Config,
    clock: &Clock,
    life: &Life,
    metrics: &Metrics,
    state: &State,
) -> anyhow::Result<Arc<Interception>> {
    let interception = Interception::new(config.intercept.distrust, clock.clone(), metrics).context("no key for https")?;
    let interception = Arc::new(interception);
    let devices = state.devices();
    match devices.all().await {
        Ok(kept) => interception.restore(kept),
        Err(error) => tracing::error!(%error, "devices that enrolled before are not known: they enrol anew"),
    }
    let (kept, watched) = (devices, Arc::clone(&interception));
    let stop = life.clone();
    life.spawn(async move {
        loop {
            let stopping = tokio::select! {
                () = stop.stopping() => true,
                () = tokio::time::sleep(WRITE_EVERY) => false,
            };
            let changes = watched.changes();
            if !changes.is_empty()
                && let Err(error) = kept.put(&changes).await
            {
                tracing::warn!(%error, "what changed with devices is not kept");
            }
            if stopping {
                return;
            }
        }
    });
    Ok(interception)
}

/// Takes over switch, list, CA and consent as they are now; at the start, at every SIGHUP and when a command changed the CA. What
/// stands in the way of opening anything is told, and given.
pub(super) async fn adopt(interception: &Arc<Interception>, config: &Config) -> anyhow::Result<Option<String>> {
    let (folder, now) = (folder(config), interception.now());
    let (authorities, consented, obstacle) = tokio::task::spawn_blocking(move || read(&folder, now)).await?;
    let asked = config.intercept.enabled;
    let mut notices = Vec::new();
    if let Some(obstacle) = obstacle.as_ref().filter(|_| asked) {
        notices.push(format!("intercept.enabled is set and nothing is opened: {obstacle}"));
    }
    // Our own name needs no consent.
    if let Some(obstacle) = obstacle.as_ref().filter(|_| authorities.is_none() && !config.proxy.tls_listen.is_empty()) {
        notices.push(format!("proxy.tls_listen is set and nobody is let in there: {obstacle}"));
    }
    for notice in &notices {
        tracing::error!("{notice}");
    }
    if let Some(both) = authorities.as_ref().filter(|_| asked) {
        for host in both.outside(&config.intercept.hosts) {
            let notice = "intercept.hosts holds a host that the CA cannot vouch for";
            let remedy = "passed on unopened; \"bulak ca create\" makes one that can";
            tracing::warn!(host, "{notice}: {remedy}");
            notices.push(format!("{notice} ({host}): {remedy}"));
        }
    }
    let agreed = |host: &&String| consented.as_ref().is_some_and(|consent| consent.names(host));
    let (hosts, unasked): (Vec<_>, Vec<_>) = config.intercept.hosts.iter().partition(agreed);
    if asked && obstacle.is_none() {
        for host in unasked {
            let notice = "intercept.hosts holds a host that nobody agreed to";
            let remedy = "passed on unopened; \"bulak ca create\" asks for it";
            tracing::warn!(host, "{notice}: {remedy}");
            notices.push(format!("{notice} ({host}): {remedy}"));
        }
    }
    interception.notice(notices);
    let hosts = hosts.into_iter().cloned().collect();
    interception.adopt(Law { enabled: asked && obstacle.is_none(), hosts, authorities }, config.intercept.distrust);
    if !asked {
        return Ok(Some("intercept.enabled is false".into()));
    }
    let empty = || config.intercept.hosts.is_empty().then(|| "intercept.hosts is empty".into());
    Ok(obstacle.or_else(empty))
}

/// The CA where it can be used, and what stands in the way of opening anything. Blocking.
fn read(folder: &Path, now: Time) -> (Option<Authorities>, Option<Consent>, Option<String>) {
    match ready(folder, now) {
        Readiness::Ready(both, consent) => (Some(both), Some(consent), None),
        Readiness::Missing => (None, None, Some("there is no CA; \"bulak ca create\" makes one".into())),
        // Pages of ours need no consent.
        Readiness::Unconsented => (
            Authorities::load(folder, now).ok().flatten(),
            None,
            Some("nobody agreed to what this CA can open; \"bulak ca create\" asks for that".into()),
        ),
        Readiness::Faulty(error) => (None, None, Some(error.to_string())),
    }
}

fn folder(config: &Config) -> PathBuf {
    config.node.state.join("ca")
}
