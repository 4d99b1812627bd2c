//! What the reporter needs of the node, as one small trait: the real node here, a scripted one in tests.

use crate::base::body::Body;
use crate::base::clock::Time;
use crate::base::target::Target;
use crate::cache::Cache;
use crate::link::{Class, Link, Slice};
use crate::prefetch::Night;
use crate::report::compose::{self, Figures};
use crate::store::Store;
use crate::upstream::Upstream;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use serde::Serialize;
use serde_json::Value;

/// The node as the reporter sees it.
pub(crate) trait World: Send + Sync + 'static {
    /// Figures now.
    fn figures(&self) -> Figures;

    /// Five-minute slices of the line that end after `since`, the running one included.
    fn slices(&self, since: Time) -> Vec<Slice>;

    /// Sends one request; the error is for people.
    fn post<'a>(&'a self, target: &'a Target, request: Request<Body>) -> BoxFuture<'a, Result<Response<Body>, String>>;
}

/// The real one.
pub(crate) struct Node {
    pub(crate) store: Store,
    pub(crate) link: Link,
    pub(crate) upstream: Upstream,
    pub(crate) cache: Cache,
    pub(crate) night: Night,
}

impl World for Node {
    fn figures(&self) -> Figures {
        Figures { tally: self.cache.tally(), state: self.link.state(), stat: self.store.stat(), night: night(&self.night.status()) }
    }

    fn slices(&self, since: Time) -> Vec<Slice> {
        self.link.slices(since)
    }

    fn post<'a>(&'a self, target: &'a Target, request: Request<Body>) -> BoxFuture<'a, Result<Response<Body>, String>> {
        Box::pin(async move {
            let sent = self.upstream.send(target, request, Class::Report).await.map_err(|error| error.to_string())?;
            Ok(sent.response)
        })
    }
}

/// Whole numbers of the night's status by name; what it does not tell is left out of the record.
fn night<T: Serialize>(status: &T) -> compose::Night {
    let value = serde_json::to_value(status).unwrap_or(Value::Null);
    let number = |name: &str| value.get(name).and_then(Value::as_u64);
    compose::Night {
        fetched: number("fetched"),
        unchanged: number("unchanged"),
        failed: number("failed"),
        waiting: number("waiting"),
        bytes: number("bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_numbers_of_known_names_are_taken_from_the_night() {
        let told = night(&serde_json::json!({"fetched": 3, "bytes": 4096, "failed": "many", "now": "https://e.kz/a"}));
        assert_eq!(told, compose::Night { fetched: Some(3), bytes: Some(4096), ..compose::Night::default() });
    }
}
