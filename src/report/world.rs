//! What the reporter needs of the node, as one small trait: the real node here, a scripted one in tests.

use crate::base::body::Body;
use crate::base::clock::Time;
use crate::base::target::Target;
use crate::cache::Cache;
use crate::link::pace::Pace;
use crate::link::{Class, Link, Slice};
use crate::prefetch::{self, Night};
use crate::report::compose::{self, Figures};
use crate::store::Store;
use crate::upstream::{Error, Upstream};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// The node as the reporter sees it.
pub(crate) trait World: Send + Sync + 'static {
    /// Figures now.
    fn figures(&self) -> Figures;

    /// Five-minute slices of the line that end after `since`, the running one included.
    fn slices(&self, since: Time) -> Vec<Slice>;

    /// Whether a class uses the line just now.
    fn is_busy(&self) -> bool;

    /// Sends one request, its body as gently as background goes.
    fn post<'a>(&'a self, target: &'a Target, request: Request<Body>) -> BoxFuture<'a, Result<Response<Body>, Unsent>>;
}

/// Why a request did not reach the hub, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unsent {
    /// Another time it may.
    Later(String),
    /// It never will before a person changes this node's configuration.
    Never(String),
}

impl From<String> for Unsent {
    fn from(why: String) -> Unsent {
        Unsent::Later(why)
    }
}

impl From<Error> for Unsent {
    fn from(error: Error) -> Unsent {
        match error {
            Error::Prohibited(ip) => Unsent::Never(format!(
                "hub.url leads to {ip}, a private address; write \"{ip}\" into proxy.allow_private_targets, or correct hub.url"
            )),
            error => Unsent::Later(error.to_string()),
        }
    }
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

    fn is_busy(&self) -> bool {
        self.link.foreground().shut().is_some()
    }

    fn post<'a>(&'a self, target: &'a Target, request: Request<Body>) -> BoxFuture<'a, Result<Response<Body>, Unsent>> {
        Box::pin(async move {
            let request = request.map(|body| gently(body, &self.link));
            let sent = self.upstream.send(target, request, Class::Report).await?;
            Ok(sent.response)
        })
    }
}

/// A body that goes out as background does: in small pieces, each when those before it are paid for (`link::pace`).
fn gently(body: Body, link: &Link) -> Body {
    match body {
        Body::Full(Some(bytes)) => Body::stream(Gentle { bytes, pace: Arc::clone(link.pace()), paid: None }),
        other => other,
    }
}

struct Gentle {
    bytes: Bytes,
    pace: Arc<Pace>,
    /// What the next piece waits for.
    paid: Option<BoxFuture<'static, ()>>,
}

impl HttpBody for Gentle {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        if let Some(paid) = &mut this.paid {
            ready!(paid.as_mut().poll(cx));
            this.paid = None;
        }
        if this.bytes.is_empty() {
            return Poll::Ready(None);
        }
        let piece = this.bytes.split_to(this.pace.piece().min(this.bytes.len()));
        let (pace, length) = (Arc::clone(&this.pace), piece.len() as u64);
        this.paid = Some(Box::pin(async move { pace.take(length).await }));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.len() as u64)
    }
}

/// How far the packs are, all together; which packs they are stays here.
fn night(status: &prefetch::Status) -> compose::Night {
    let worth = &status.worth;
    let (brought_bytes, used_bytes) = (worth.brought_bytes, worth.used_bytes);
    let last = status.last_night.as_ref().map(last_night);
    let mut sum = compose::Night { bytes: status.bytes, brought_bytes, used_bytes, last, ..compose::Night::default() };
    for progress in status.packs.iter().map(|listed| &listed.progress) {
        sum.done = sum.done.saturating_add(progress.done);
        sum.failed = sum.failed.saturating_add(progress.errors);
        sum.waiting = sum.waiting.saturating_add(progress.total.saturating_sub(progress.done));
    }
    sum
}

fn last_night(brief: &prefetch::Brief) -> compose::LastNight {
    let counts = &brief.counts;
    compose::LastNight {
        packs: brief.packs,
        packs_complete: brief.packs_complete,
        new: counts.new,
        changed: counts.changed,
        unchanged: counts.unchanged,
        failed: counts.failed,
        gone: counts.gone,
        refused: counts.refused,
        left_out: counts.left_out,
        left: brief.left,
        line_bytes: counts.line_bytes,
        body_bytes: counts.body_bytes,
        busy_seconds: counts.busy_s,
        power_cuts: brief.power_cuts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_night_is_told_in_sums() {
        let pack = |done: u64, total: u64, errors: u64| {
            json!({
                "id": "phet", "version": "1", "title": {}, "status": "unverified", "licence": "CC-BY", "subject": null, "grades": [],
                "priority": 1, "origin": "own", "file": "/etc/bulak/packs.d/phet.toml", "seeds_not_fetched": 0, "last_run": null,
                "progress": {"id": "phet", "state": "running", "done": done, "total": total, "bytes_done": 0, "bytes_total": 0,
                    "transferred": 0, "errors": errors, "skipped": 0, "current": "https://phet.example.kz/a"},
            })
        };
        let listed = |value| serde_json::from_value(value);
        let packs = [pack(3, 9, 1), pack(4, 4, 0)].into_iter().map(listed).collect::<Result<_, _>>();
        let worth = prefetch::Worth { brought_bytes: 50, used_bytes: 30, ..prefetch::Worth::default() };
        let counts = prefetch::summary::figures::Counts { new: 2, line_bytes: 9, ..Default::default() };
        let brief = prefetch::Brief { sentence: "Ready: phet is here".into(), packs: 4, left: 3, counts, ..prefetch::Brief::default() };
        let packs = packs.expect("as the night tells it");
        let status = prefetch::Status { bytes: 4_096, worth, packs, last_night: Some(brief), ..prefetch::Status::default() };
        let last = compose::LastNight { packs: 4, left: 3, new: 2, line_bytes: 9, ..compose::LastNight::default() };
        let last = Some(last);
        let wanted = compose::Night { done: 7, failed: 1, waiting: 6, bytes: 4_096, brought_bytes: 50, used_bytes: 30, last };
        assert_eq!(night(&status), wanted);
    }
}
