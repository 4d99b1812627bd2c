//! Find, decide, act. SKELETON front door.

/// Why the cache has no answer.
pub mod trouble;

use crate::base::body::Body;
use crate::base::clock::Clock;
use crate::base::count::Metrics;
use crate::base::target::Target;
use crate::life::Life;
use crate::link::{Class, Link, pace::Pace};
use crate::policy::{Rules, Why};
use crate::site::Sites;
use crate::store::{Entry, Source, Store, Way};
use crate::upstream::Upstream;
use http::{HeaderMap, Request, Response};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// `[cache]`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The rules.
    pub rules: Rules,
    /// Put a banner on HTML served offline.
    pub banner: bool,
    /// How the node calls itself in Cache-Status, Proxy-Status and Via.
    pub name: String,
}

/// A request of a device, already classified as the Cache or Pass lane.
pub struct Query {
    /// Where to.
    pub target: Target,
    /// Method, fields, body, extensions (`Interim`, hyper's `OnUpgrade`); hop-by-hop fields gone, Via added.
    pub request: Request<Body>,
    /// By which way it came.
    pub way: Way,
}

/// One thing the node wants for itself (night, look-ahead, refresh).
#[derive(Clone)]
pub struct Errand {
    /// What.
    pub target: Target,
    /// Extra request fields (Accept, User-Agent).
    pub headers: HeaderMap,
    /// For whom the store keeps it.
    pub source: Source,
    /// Upstream class.
    pub class: Class,
    /// Cap on bytes per second.
    pub pace: Option<Arc<Pace>>,
    /// Stop when the body is longer than this.
    pub max_bytes: Option<u64>,
    /// Ask the origin even when the stored answer is fresh.
    pub force: bool,
}

/// What came of an errand.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The stored answer; `None` when it could not be stored.
    pub entry: Option<Arc<Entry>>,
    /// The final status as the origin gave it (304 when unchanged, 200 when served fresh from the store).
    pub status: http::StatusCode,
    /// What happened.
    pub why: Why,
    /// Body bytes that came over the line for this.
    pub transferred: u64,
    /// The origin asked to come back later (429, 503).
    pub retry_after: Option<Duration>,
    /// Where a redirect points.
    pub location: Option<Target>,
}

/// Figures by way, for reports and status.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Tally {
    /// way -> cache word (hit, stale, offline, revalidated, miss, bypass) -> (requests, bytes to clients).
    pub by_way: std::collections::BTreeMap<String, std::collections::BTreeMap<String, (u64, u64)>>,
    /// Requests that read along with another's fetch.
    pub collapsed: u64,
    /// Body bytes from origins for clients and prefetch.
    pub upstream_bytes: u64,
}

/// What `bulak why URL` says.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Explain {
    /// Local, Cache, Tunnel, Pass, Refuse (filled in by the caller for lanes).
    pub lane: String,
    /// Stored variants: key, status, length, age, ttl, source, pinned.
    pub stored: Vec<std::collections::BTreeMap<String, String>>,
    /// What would happen now.
    pub decision: String,
    /// The rule that decided, with its section.
    pub rule: String,
}

/// The cache. Cheap to clone.
#[derive(Clone)]
pub struct Cache(Arc<()>);

impl Cache {
    /// Puts the parts together.
    pub fn new(
        _settings: Settings,
        _clock: Clock,
        _life: &Life,
        _metrics: &Metrics,
        _store: Store,
        _upstream: Upstream,
        _link: Link,
    ) -> Cache {
        todo!()
    }

    /// Takes over new host rules.
    pub fn set_sites(&self, _sites: Arc<Sites>) {
        todo!()
    }

    /// The fast path: a fresh, whole, in-memory answer, without an await. Gives the query back when it takes more.
    pub fn answer_now(&self, _query: Query) -> Result<Response<Body>, Query> {
        todo!()
    }

    /// Answers a device. Never fails: errors become 502/504 pages with Proxy-Status.
    pub async fn answer(&self, _query: Query) -> Response<Body> {
        todo!()
    }

    /// Fetches something for the node itself into the store: conditional when stored, resumed when partly here.
    ///
    /// # Errors
    /// The upstream's, or the store's as `Unavailable`.
    pub async fn fetch(&self, _errand: Errand) -> Result<Fetched, FetchError> {
        todo!()
    }

    /// Figures since start.
    pub fn tally(&self) -> Tally {
        todo!()
    }

    /// What would happen to a GET of this target.
    pub async fn explain(&self, _target: &Target) -> Explain {
        todo!()
    }
}

/// Why an errand came back empty.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The origin or the line.
    #[error(transparent)]
    Upstream(#[from] crate::upstream::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] crate::store::Error),
    /// Body broke off (what came is kept for resuming where validators allow).
    #[error("the body broke off: {0}")]
    Broken(String),
    /// Longer than allowed.
    #[error("longer than {0} bytes")]
    TooLong(u64),
}
