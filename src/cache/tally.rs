//! What the cache counts: requests and bytes to clients by outcome and way, waits by outcome, fetches shared.
//!
//! Every handle is looked up once, at start; a hit costs two atomic additions and one histogram entry.

use crate::base::body::{Body, BodyError};
use crate::base::count::{Histogram, IntCounter, Metrics};
use crate::policy::Why;
use crate::store::Way;
use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// The outcomes that are counted, as `Why::cache_label` names them.
const WORDS: [&str; 7] = ["hit", "stale", "offline", "revalidated", "miss", "bypass", TUNNEL];
/// Not an outcome of the cache: bytes relayed unopened.
const TUNNEL: &str = "tunnel";
const WAYS: [(Way, &str); 3] = [(Way::Http, "http"), (Way::Mirror, "mirror"), (Way::Intercept, "intercept")];
/// Where tunnels are counted: way `http`, the first.
const TUNNEL_SLOT: usize = (WORDS.len() - 1) * WAYS.len();
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
/// Upper bounds in seconds: a LAN hit is below 1 ms, a satellite round trip above 0.6 s.
const BUCKETS: [f64; 12] = [0.000_25, 0.001, 0.004, 0.016, 0.064, 0.25, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0];

/// Figures by way, for reports and status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// way -> outcome -> (requests, body bytes to clients). Outcomes: hit, stale, offline, revalidated, miss, bypass, tunnel.
    pub by_way: BTreeMap<String, BTreeMap<String, (u64, u64)>>,
    /// Requests that read along with another's fetch.
    pub collapsed: u64,
    /// Body bytes from origins, for clients and for the node itself.
    pub upstream_bytes: u64,
}

/// The counters of one cache.
pub(crate) struct Counters {
    requests: Vec<IntCounter>,
    bytes: Vec<IntCounter>,
    waits: Vec<Histogram>,
    /// Requests that joined a fetch under way.
    pub(crate) collapsed: IntCounter,
    /// Asked for before a device did.
    pub(crate) ahead: IntCounter,
    /// Body bytes received from origins.
    pub(crate) upstream: IntCounter,
}

impl Counters {
    pub(crate) fn new(metrics: &Metrics) -> Counters {
        let requests =
            metrics.counters("bulak_requests_total", "Requests answered by the cache, by outcome.", &["cache", "way", "status_class"]);
        let bytes = metrics.counters("bulak_client_bytes_total", "Body bytes sent to clients, by outcome.", &["cache", "way"]);
        let waits =
            metrics.histograms("bulak_request_duration_seconds", "Seconds until the head of the answer was ready.", &["cache"], &BUCKETS);
        let mut all = Counters {
            requests: Vec::new(),
            bytes: Vec::new(),
            waits: WORDS.iter().map(|word| waits.with_label_values(&[word])).collect(),
            collapsed: metrics.counter("bulak_collapsed_total", "Requests that read along with a fetch under way."),
            ahead: metrics.counter("bulak_cache_ahead_total", "Requests for what a page needs, made while it passed by."),
            upstream: metrics.counter("bulak_cache_fetched_bytes_total", "Body bytes that the cache received from origins."),
        };
        for word in WORDS {
            for (_, way) in WAYS {
                all.bytes.push(bytes.with_label_values(&[word, way]));
                for class in CLASSES {
                    all.requests.push(requests.with_label_values(&[word, way, class]));
                }
            }
        }
        all
    }

    /// Counts one answer: its head now, its body as it leaves.
    pub(crate) fn count(&self, why: Why, way: Way, took: Duration, response: &mut Response<Body>) {
        let (word, way) = (word_index(why), way_index(way));
        let slot = word * WAYS.len() + way;
        self.requests[slot * CLASSES.len() + class_index(response.status())].inc();
        self.waits[word].observe(took.as_secs_f64());
        counted(response.body_mut(), &self.bytes[slot]);
    }

    /// Counts what an origin sends to one client alone.
    pub(crate) fn relayed(&self, mut response: Response<Body>) -> Response<Body> {
        counted(response.body_mut(), &self.upstream);
        response
    }

    /// Counts one tunnel when it opens.
    pub(crate) fn count_tunnel(&self) {
        self.requests[TUNNEL_SLOT * CLASSES.len() + class_index(StatusCode::OK)].inc();
    }

    /// Counts bytes that a tunnel brings to a client, as they pass.
    pub(crate) fn count_tunnel_bytes(&self, bytes: u64) {
        self.bytes[TUNNEL_SLOT].inc_by(bytes);
    }

    pub(crate) fn tally(&self) -> Tally {
        let mut tally = Tally { collapsed: self.collapsed.get(), upstream_bytes: self.upstream.get(), ..Tally::default() };
        for (at, word) in WORDS.iter().enumerate() {
            for (way, (_, name)) in WAYS.iter().enumerate() {
                let slot = at * WAYS.len() + way;
                let requests: u64 = self.requests[slot * CLASSES.len()..(slot + 1) * CLASSES.len()].iter().map(IntCounter::get).sum();
                if requests > 0 {
                    tally.by_way.entry((*name).into()).or_default().insert((*word).into(), (requests, self.bytes[slot].get()));
                }
            }
        }
        tally
    }
}

fn word_index(why: Why) -> usize {
    let label = why.cache_label();
    WORDS.iter().position(|word| *word == label).unwrap_or(WORDS.len() - 2)
}

fn way_index(way: Way) -> usize {
    WAYS.iter().position(|(known, _)| *known == way).unwrap_or(0)
}

fn class_index(status: StatusCode) -> usize {
    usize::from(status.as_u16() / 100).clamp(1, CLASSES.len()) - 1
}

/// Counts a body's bytes as they are taken.
fn counted(body: &mut Body, counter: &IntCounter) {
    match body {
        Body::Empty | Body::Full(None) => {}
        Body::Full(Some(bytes)) => counter.inc_by(bytes.len() as u64),
        Body::Stream(_) => {
            let inner = std::mem::take(body);
            let lending = inner.lending();
            *body = Body::lendable(Counted { inner, counter: counter.clone() }, lending);
        }
    }
}

/// Counts a stream's bytes as they leave.
struct Counted {
    inner: Body,
    counter: IntCounter,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            self.counter.inc_by(data.len() as u64);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn figures_are_kept_by_way_and_outcome() {
        let counters = Counters::new(&Metrics::default());
        let mut whole = Response::new(Body::full("12345"));
        counters.count(Why::Fresh, Way::Http, Duration::from_millis(1), &mut whole);
        let mut stream = Response::new(Body::stream(http_body_util::Full::new(Bytes::from_static(b"123"))));
        counters.count(Why::UriMiss, Way::Mirror, Duration::from_millis(1), &mut stream);
        assert_eq!(counters.tally().by_way["mirror"]["miss"], (1, 0), "nothing has left yet");
        stream.into_body().collect(9).await.expect("reads");
        let tally = counters.tally();
        assert_eq!((tally.by_way["http"]["hit"], tally.by_way["mirror"]["miss"]), ((1, 5), (1, 3)));
        counters.relayed(Response::new(Body::full("1234567"))).into_body().collect(9).await.expect("reads");
        assert_eq!(counters.tally().upstream_bytes, 7);
    }
}
