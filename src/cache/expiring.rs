//! What is stored and will have to be asked about by a moment, for whoever asks beforehand.

use crate::base::clock::Time;
use crate::base::target::{Target, UrlKey};
use crate::cache::{Cache, prepared};
use crate::policy::{self, is_secret};
use crate::store::Source;
use http::{HeaderMap, HeaderName, StatusCode};

/// A stored answer that can be confirmed by one conditional request.
#[derive(Clone, Debug)]
pub struct Expiring {
    /// What.
    pub target: Target,
    /// The request fields by which its variant was chosen.
    pub headers: HeaderMap,
    /// For whom the store keeps it.
    pub source: Source,
}

impl Cache {
    /// The newest answer stored under this key, if it will no longer be fresh at `by` and has a validator. Nothing of hosts that are
    /// refused, and of hosts with accounts only what a path class names and the node fetched itself.
    pub async fn expiring(&self, key: &UrlKey, by: Time) -> Option<Expiring> {
        let inner = &*self.0;
        if !inner.store.may_have(key) {
            return None;
        }
        let variants = inner.store.find(key).await.ok()?;
        let entry = variants.iter().find(|entry| entry.object.is_some() && entry.meta.status == StatusCode::OK)?;
        let target = Target::parse(&entry.meta.url).ok()?;
        let known = inner.sites.load().look(&target);
        let shared = !known.account || (known.class && entry.meta.source != Source::Client);
        if known.refused || !shared || is_secret(target.path_and_query()) {
            return None;
        }
        let kept = &prepared::prepared(entry, &inner.rules).kept;
        if kept.is_fresh(by) || policy::freshen::conditions(kept).is_empty() {
            return None;
        }
        let field =
            |(name, value): &(Box<str>, Box<[u8]>)| Some((HeaderName::from_bytes(name.as_bytes()).ok()?, policy::key::asked_again(value)?));
        let headers = entry.meta.vary.iter().filter_map(field).collect();
        // What a device brought in is from now on the node's own.
        let source = if entry.meta.source == Source::Client { Source::Prefetch } else { entry.meta.source };
        Some(Expiring { target, headers, source })
    }

    /// Addresses that devices have used since this was asked last, each once a day; never by whom.
    pub fn take_uses(&self) -> Vec<UrlKey> {
        let stored = |key: &UrlKey| self.0.store.may_have(key);
        self.0.uses.take().into_iter().filter(stored).collect()
    }

    /// A new day: what was used yesterday counts again.
    pub fn turn_uses(&self) {
        self.0.uses.turn();
    }
}
