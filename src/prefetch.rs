//! What is fetched before anyone asks. SKELETON front door.

use crate::base::clock::Clock;
use crate::base::count::Metrics;
use crate::cache::Cache;
use crate::life::Life;
use crate::link::Link;
use crate::state::State;
use crate::store::Store;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// `[packs]`, `[night]`, `[manners]`; the author adds fields and `Default`.
#[derive(Clone, Debug, Default)]
pub struct Settings {}

/// What the night is doing, for status, reports and pages; the author adds fields.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Status {}

/// The night: packs, plan, schedule, crawl. Cheap to clone.
#[derive(Clone)]
pub struct Night(Arc<()>);

impl Night {
    /// Reads and verifies packs, hands their rules to the cache, starts the scheduler.
    pub async fn new(
        _settings: Settings,
        _clock: Clock,
        _life: &Life,
        _metrics: &Metrics,
        _state: State,
        _store: Store,
        _link: Link,
        _cache: Cache,
    ) -> anyhow::Result<Night> {
        todo!()
    }

    /// What is going on.
    pub fn status(&self) -> Status {
        todo!()
    }
}
