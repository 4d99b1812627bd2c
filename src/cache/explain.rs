//! What would happen to a request, in words: `bulak why URL`.

use crate::base::target::Target;
use crate::cache::{Asked, Cache};
use crate::policy::{Ask, Decision, Why};
use http::{HeaderMap, Method};
use serde::{Deserialize, Serialize};

/// One stored variant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredView {
    /// Status code.
    pub status: u16,
    /// Bytes of the whole body.
    pub length: u64,
    /// Bytes of it that are here.
    pub here: u64,
    /// Seconds since the origin made or confirmed it.
    pub age_seconds: u64,
    /// Seconds of freshness left; negative when stale.
    pub ttl_seconds: i64,
    /// client, prefetch or pack.
    pub source: String,
    /// Kept by a pack.
    pub pinned: bool,
    /// The object's blake3, when it is whole.
    pub object: Option<String>,
}

/// What `bulak why URL` says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Explain {
    /// The canonical URL.
    pub url: String,
    /// The lane; the caller knows more of lanes and may overwrite it.
    pub lane: String,
    /// Stored variants, newest first.
    pub stored: Vec<StoredView>,
    /// serve, revalidate, fetch, pass or refuse; a library that has no such page, or cannot be read, refuses.
    pub decision: String,
    /// The outcome's word, as `Cache-Status` would say it.
    pub why: String,
    /// The rule that decided, with its section.
    pub rule: String,
    /// The verdict of the line.
    pub line: String,
}

impl Cache {
    /// What would happen to a plain GET of this target now.
    pub async fn explain(&self, target: &Target) -> Explain {
        let inner = &self.0;
        let place = inner.place(target, false);
        let asked = Asked { method: Method::GET, target: target.clone(), headers: HeaderMap::new(), place, asker: None };
        let ask = asked.ask();
        let now = inner.clock.now();
        let variants = match inner.store.find(&target.key()).await {
            Ok(variants) => variants,
            Err(error) => {
                tracing::warn!(%error, "the store could not be read");
                std::sync::Arc::new([])
            }
        };
        let stored = variants
            .iter()
            .map(|entry| {
                let prepared = crate::cache::prepared::prepared(entry, &inner.rules);
                let (age, ttl) = prepared.kept.age_and_ttl(now);
                StoredView {
                    status: entry.meta.status.as_u16(),
                    length: entry.length,
                    here: entry.have.iter().map(|part| part.end - part.start).sum(),
                    age_seconds: age,
                    ttl_seconds: ttl,
                    source: format!("{:?}", entry.meta.source).to_lowercase(),
                    pinned: entry.pinned,
                    object: entry.object.map(|object| object.to_string()),
                }
            })
            .collect();
        if let Some(archive) = inner.archive(target.host()) {
            let (decision, rule) = match inner.find_in(&Ask { method: &Method::HEAD, ..ask }, &archive).await {
                Ok(_) => ("serve", Why::Library.rule().to_owned()),
                Err(error) => ("refuse", format!("{}; {error}", Why::Library.rule())),
            };
            return Explain {
                url: target.url().into(),
                lane: "library".into(),
                decision: decision.into(),
                why: Why::Library.word().into(),
                rule,
                line: format!("{:?}", inner.link.state()).to_lowercase(),
                ..Explain::default()
            };
        }
        let found = inner.fitting(&ask, &variants);
        let decision = inner.decide(&ask, found.as_ref());
        let (word, why) = name(&decision);
        Explain {
            url: target.url().into(),
            lane: if matches!(decision, Decision::Pass { .. }) { "pass" } else { "cache" }.into(),
            stored,
            decision: word.into(),
            why: why.word().into(),
            rule: why.rule().into(),
            line: format!("{:?}", inner.link.state()).to_lowercase(),
        }
    }
}

fn name(decision: &Decision) -> (&'static str, Why) {
    match decision {
        Decision::Serve { why, .. } => ("serve", *why),
        Decision::Revalidate { why, .. } => ("revalidate", *why),
        Decision::Fetch { why } => ("fetch", *why),
        Decision::Pass { why } => ("pass", *why),
        Decision::Refuse { why } => ("refuse", *why),
    }
}
