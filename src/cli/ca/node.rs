//! The running node, as far as the CA concerns it: what it has read, which devices it knows, and telling it that something changed.
//!
//! The files are the truth, and the commands change them with or without a node; a node that was not told goes by what it read last.

use crate::base::clock::Time;
use crate::cli::local::Local;
use crate::cli::{Context, Exit, Failure};
use crate::tls::authority::{Authorities, Readiness, ready};
use serde_json::{Value, json};
use std::path::Path;
use tokio::runtime::Handle;

/// What comes after a change that the node does not know: the unit of the package reloads with SIGHUP.
pub(in crate::cli) const RELOAD: &str = "systemctl reload bulak (or kill -HUP its process)";

/// How to reach it from a command that works on files.
pub(super) struct Node<'c> {
    context: &'c Context,
    runtime: Handle,
}

/// Whether the node knows of the change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It has read the files anew, and goes by them.
    Read,
    /// None runs here.
    Nobody,
    /// One runs, or may run, and still goes by what it read before: why.
    Not(String),
}

impl<'c> Node<'c> {
    /// May be asked from a thread that blocks.
    pub(super) fn new(context: &'c Context, runtime: Handle) -> Node<'c> {
        Node { context, runtime }
    }

    /// What is in force in it, the `https` of its status; `None`: unknown.
    pub(super) fn status(&self) -> Option<Value> {
        let ask = async { Local::connect(self.context).await?.get("/api/v1/status").await };
        let mut status: Value = self.runtime.block_on(ask).ok()?;
        Some(status["https"].take()).filter(Value::is_object)
    }

    /// Has it read the folder anew, and sees that it goes by what is there.
    pub(super) fn tell(&self, folder: &Path, now: Time) -> Told {
        let local = match self.runtime.block_on(Local::connect(self.context)) {
            Ok(local) => local,
            Err(failure) if failure.exit == Exit::NoAnswer && failure.id != "node.silent" => return Told::Nobody,
            Err(failure) => return Told::Not(failure.message),
        };
        match self.runtime.block_on(local.post("/api/v1/ca/reload", &json!({}))) {
            Ok(loaded) => differs(&loaded, usable(folder, now).as_ref()).map_or(Told::Read, |why| Told::Not(why.to_owned())),
            Err(Failure { message, .. }) => Told::Not(message),
        }
    }
}

impl Told {
    /// For programs.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Told::Read => "told",
            Told::Nobody => "none",
            Told::Not(_) => "not_told",
        }
    }

    /// For people: whether something is left to do.
    pub(super) fn line(&self) -> String {
        match self {
            Told::Read => String::from("the running node goes by it from now on"),
            Told::Nobody => String::from("no node runs here: it will be read at the start"),
            Told::Not(why) => {
                format!("attention: the running node still goes by the old one until it is reloaded (SIGHUP): {why}\nnext: {RELOAD}")
            }
        }
    }

    /// How the command ends.
    pub(super) fn exit(&self) -> Exit {
        if matches!(self, Told::Not(_)) { Exit::Attention } else { Exit::Done }
    }
}

/// What a node that reads the folder now would go by.
pub(in crate::cli) fn usable(folder: &Path, now: Time) -> Option<Authorities> {
    match ready(folder, now) {
        Readiness::Ready(both, _) => Some(both),
        Readiness::Unconsented => Authorities::load(folder, now).ok().flatten(),
        Readiness::Missing | Readiness::Faulty(_) => None,
    }
}

/// How what the node has read (the `https` of its status) differs from the files; a node that tells nothing of it does not. Pure.
pub(in crate::cli) fn differs(loaded: &Value, there: Option<&Authorities>) -> Option<&'static str> {
    let (ca, previous) = (loaded.get("ca")?.as_str(), loaded["previous"].as_str());
    let current = there.map(|both| both.current.fingerprint().to_string());
    let before = there.and_then(|both| both.previous.as_ref()).map(|before| before.fingerprint().to_string());
    match (ca, current.as_deref()) {
        (None, Some(_)) => Some("made, but the node has not read it"),
        (Some(_), None) => Some("retired, but the node still goes by it"),
        (ca, current) if ca != current => Some("another was made, but the node still goes by the one before it"),
        _ if previous.is_some() && before.is_none() => Some("the previous one was retired, but the node still goes by it"),
        _ => None,
    }
}

/// How many devices trust the CA with this fingerprint; `None`: nobody knows. Pure.
pub(super) fn devices(status: Option<&Value>, fingerprint: &str) -> Option<u64> {
    let counts = status?.get("devices")?.as_object()?;
    Some(counts.get(fingerprint).and_then(Value::as_u64).unwrap_or(0))
}

/// The same in words.
pub(super) fn devices_told(status: Option<&Value>, fingerprint: &str) -> String {
    devices(status, fingerprint).map_or_else(|| String::from("unknown"), |count| count.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Clock;
    use crate::tls::authority::{Which, Wish, create, retire};

    #[test]
    fn what_the_node_has_read_is_compared_with_the_files() {
        let (clock, folder) = (Clock::manual(Time::BUILT), tempfile::tempdir().expect("a folder"));
        let folder = folder.path().join("ca");
        let wish = Wish { school: "Abay".to_owned(), zone: "abay.internal".to_owned(), hosts: vec![] };
        let as_read = |both: &Authorities| {
            let before = both.previous.as_ref().map(|before| before.fingerprint().to_string());
            json!({ "ca": both.current.fingerprint().to_string(), "previous": before })
        };
        let none = json!({ "ca": null, "previous": null });
        assert_eq!((differs(&none, None), differs(&Value::Null, None)), (None, None));
        let first = create(&folder, &wish, &clock).expect("a CA");
        assert_eq!(differs(&none, Some(&first)), Some("made, but the node has not read it"));
        assert_eq!(differs(&Value::Null, Some(&first)), None, "a node of an earlier version tells nothing");
        assert_eq!(differs(&as_read(&first), Some(&first)), None);
        assert_eq!(differs(&as_read(&first), None), Some("retired, but the node still goes by it"));
        let second = create(&folder, &wish, &clock).expect("another");
        assert!(differs(&as_read(&first), Some(&second)).is_some_and(|told| told.contains("another was made")));
        retire(&folder, Which::Previous).expect("retired");
        let alone = usable(&folder, Time::BUILT).expect("the second one, though nobody agreed");
        assert_eq!(differs(&as_read(&alone), Some(&alone)), None);
        assert!(differs(&as_read(&second), Some(&alone)).is_some_and(|told| told.contains("previous one was retired")));
        std::fs::write(folder.join("consent.json"), "{").expect("written");
        assert!(usable(&folder, Time::BUILT).is_none(), "as the node has it");
    }

    #[test]
    fn devices_are_counted_or_unknown() {
        let status = json!({ "devices": { "AA": 3 } });
        assert_eq!((devices(Some(&status), "AA"), devices(Some(&status), "BB"), devices(None, "AA")), (Some(3), Some(0), None));
        assert_eq!(devices_told(Some(&json!({})), "AA"), "unknown");
    }
}
