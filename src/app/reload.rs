//! What a changed file may change while the node runs: which keys are taken over, which wait for the next start.

use crate::config::Config;
use serde_json::{Map, Value};

/// Keys that count at once; every other one counts from the next start.
const AT_ONCE: [&str; 42] = [
    "cache.look_ahead",
    "packs.paths",
    "packs.trusted_keys",
    "night.windows",
    "night.holidays",
    "night.holiday_windows",
    "night.night_cap",
    "night.month_cap",
    "night.metered",
    "night.timezone",
    "night.rate",
    "night.delay",
    "night.floor",
    "night.probe",
    "night.transfers",
    "night.survey_bytes",
    "night.survey_time",
    "manners.rate",
    "manners.connections",
    "media.bitrate",
    "media.height",
    "media.languages",
    "media.enclosures",
    "manners.errors",
    "wishes.keep",
    "wishes.per_day",
    "wishes.per_client",
    "wishes.size",
    "intercept.enabled",
    "intercept.hosts",
    "intercept.distrust",
    "intercept.refused",
    "meter.servers",
    "meter.mlab",
    "meter.mlab_agreed",
    "meter.slots",
    "meter.startup",
    "meter.day",
    "meter.month",
    "meter.contract_down",
    "meter.contract_up",
    "meter.pupils",
];

/// What differs between two configurations.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// Keys that are taken over.
    pub(super) taken: Vec<String>,
    /// Keys that need a restart.
    pub(super) waiting: Vec<String>,
    /// Every key as it is in force now, in the form of [`Config::effective`].
    pub(super) effective: Value,
}

/// Compares what is in force with what was read. Pure.
pub(super) fn changes(in_force: &Value, read: &Config) -> Changes {
    let read = read.effective();
    let mut changes = Changes::default();
    let mut effective = Map::new();
    for (key, new) in read.as_object().into_iter().flatten() {
        let old = &in_force[key];
        let kept = if old["value"] == new["value"] || AT_ONCE.contains(&key.as_str()) { new } else { old };
        effective.insert(key.clone(), kept.clone());
        if old["value"] == new["value"] {
            continue;
        }
        if AT_ONCE.contains(&key.as_str()) { changes.taken.push(key.clone()) } else { changes.waiting.push(key.clone()) }
    }
    changes.effective = Value::Object(effective);
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    #[test]
    fn keys_are_taken_over_or_named() {
        let read = |text: &str| parse(text, std::iter::empty(), "school.toml").expect("right");
        let first = read("[store]\nquota = \"1 GiB\"\n").effective();
        let second = read("[store]\nquota = \"2 GiB\"\n[night]\nwindows = [\"sat,sun 00:00-24:00\"]\n[node]\nname = \"abay-12\"\n");
        let found = changes(&first, &second);
        assert_eq!(found.taken, ["night.windows"]);
        assert_eq!(found.waiting, ["node.name", "store.quota"]);
        assert_eq!(found.effective["store.quota"], first["store.quota"], "not in force");
        assert_eq!(found.effective["night.windows"]["value"][0], "sat,sun 00:00-24:00");
        // Read once more, the same keys still wait; put back, none does.
        assert_eq!(changes(&found.effective, &second).waiting, ["node.name", "store.quota"]);
        assert_eq!(changes(&found.effective, &read("[store]\nquota = \"1 GiB\"\n")).waiting, Vec::<String>::new());
        let all = first.as_object().expect("keys");
        assert!(AT_ONCE.iter().all(|key| all.contains_key(*key)));
    }
}
