//! Whether the node is ready, and if not, why: `/readyz` is 503 with reasons until configuration, store and listeners are up.
//! The same is told as the metrics `bulak_ready` and `bulak_config_last_reload_successful`.

use crate::base::count::{IntGauge, Metrics};
use parking_lot::Mutex;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Readiness of one node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ready(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Part to what it lacks.
    missing: Mutex<BTreeMap<&'static str, String>>,
    /// What came of the last reading of a changed configuration.
    pending: Mutex<Pending>,
    ready: IntGauge,
    reloaded: IntGauge,
}

/// What of a changed configuration is not in force, as the last reading while running left it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pending {
    /// Keys that count only after a restart.
    pub waiting: Vec<String>,
    /// Why the last reading was refused, all of it; `None`: it was not.
    pub refused: Option<String>,
}

impl Ready {
    /// Not ready: each of `parts` has yet to report. Registers the metrics, `bulak_build_info` too.
    pub fn new(metrics: &Metrics, parts: &[&'static str]) -> Ready {
        let build = metrics.gauges("bulak_build_info", "Always 1; the labels say which program runs.", &["version"]);
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let ready = metrics.gauge("bulak_ready", "Whether configuration, store and listeners are up (1) or not (0).");
        let reloaded =
            metrics.gauge("bulak_config_last_reload_successful", "Whether the last reading of the configuration succeeded (1) or not (0).");
        reloaded.set(1);
        ready.set(i64::from(parts.is_empty()));
        let missing = parts.iter().map(|part| (*part, String::from("is starting"))).collect();
        Ready(Arc::new(Inner { missing: Mutex::new(missing), pending: Mutex::default(), ready, reloaded }))
    }

    /// The part is up.
    pub fn up(&self, part: &'static str) {
        let mut missing = self.0.missing.lock();
        missing.remove(part);
        self.0.ready.set(i64::from(missing.is_empty()));
    }

    /// The part is not up, for this reason.
    pub fn down(&self, part: &'static str, why: impl Into<String>) {
        self.0.missing.lock().insert(part, why.into());
        self.0.ready.set(0);
    }

    /// A changed configuration was taken over but for these keys, or refused for this reason: then the running one stays, and what
    /// waited still does.
    pub fn reloaded(&self, read: Result<Vec<String>, String>) {
        self.0.reloaded.set(i64::from(read.is_ok()));
        let mut pending = self.0.pending.lock();
        match read {
            Ok(waiting) => *pending = Pending { waiting, refused: None },
            Err(why) => pending.refused = Some(why),
        }
    }

    /// What of the configuration is not in force.
    pub fn pending(&self) -> Pending {
        self.0.pending.lock().clone()
    }

    /// What is missing, one sentence for each part; empty when ready.
    pub fn reasons(&self) -> Vec<String> {
        self.0.missing.lock().iter().map(|(part, why)| format!("{part} {why}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_every_part_is_up() {
        let metrics = Metrics::default();
        let ready = Ready::new(&metrics, &["store", "listeners"]);
        assert_eq!(ready.reasons(), ["listeners is starting", "store is starting"]);
        ready.up("store");
        ready.down("listeners", "wait for port 80");
        assert_eq!(ready.reasons(), ["listeners wait for port 80"]);
        assert!(metrics.print().contains("\nbulak_ready 0\n"));
        ready.up("listeners");
        assert!(ready.reasons().is_empty());
        ready.reloaded(Ok(vec!["hub.url".into()]));
        ready.reloaded(Err("school.toml has 1 mistake".into()));
        assert_eq!(ready.pending(), Pending { waiting: vec!["hub.url".into()], refused: Some("school.toml has 1 mistake".into()) });
        let text = metrics.print();
        assert!(text.contains("\nbulak_ready 1\n") && text.contains("\nbulak_config_last_reload_successful 0\n"));
        assert!(text.contains("bulak_build_info{version="));
    }
}
