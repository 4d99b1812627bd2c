//! What the school tells the region. SKELETON front door.

use crate::base::clock::Clock;
use crate::base::count::Metrics;
use crate::cache::Cache;
use crate::life::Life;
use crate::link::Link;
use crate::prefetch::Night;
use crate::state::State;
use crate::store::Store;
use crate::upstream::Upstream;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// `[hub]` and the node's key; the author adds fields and `Default`.
#[derive(Clone, Debug, Default)]
pub struct Settings {}

/// The outbox, for status and pages; the author adds fields.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Status {}

/// Composes, signs, keeps and sends reports. Cheap to clone.
#[derive(Clone)]
pub struct Reporter(Arc<()>);

impl Reporter {
    /// Reads or makes the node's key, starts the hourly report and the sender.
    #[expect(clippy::too_many_arguments, reason = "it sums up every part")]
    pub async fn new(
        _settings: Settings,
        _clock: Clock,
        _life: &Life,
        _metrics: &Metrics,
        _state: State,
        _store: Store,
        _link: Link,
        _upstream: Upstream,
        _cache: Cache,
        _night: Night,
    ) -> anyhow::Result<Reporter> {
        todo!()
    }

    /// What is going on.
    pub async fn status(&self) -> Status {
        todo!()
    }
}
