//! The web as the crawl sees it: fetch one thing into the store, pin it, rest. The cache stands behind it in a node, a site in
//! memory in tests.

use crate::base::body::{Body, BodyError};
use crate::base::target::Target;
use crate::cache::{Cache, Errand, FetchError};
use crate::link::{Class, Link, State as LineState, pace::Pace};
use crate::prefetch::aim::Aim;
use crate::store::{Entry, Error as StoreError, Source, Store};
use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http_body_util::BodyExt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// One thing to fetch.
#[derive(Clone, Debug)]
pub struct Ask {
    /// What.
    pub target: Target,
    /// What it is wanted as.
    pub aim: Aim,
    /// Ask the origin even when the stored answer is fresh.
    pub force: bool,
    /// Longest body.
    pub max_bytes: Option<u64>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Bytes over the line.
    pub transferred: u64,
    /// The outcome.
    pub what: What,
}

/// The outcome of a fetch.
#[derive(Clone, Debug)]
pub enum What {
    /// It is in the store.
    Here {
        /// Length of the whole body.
        length: u64,
        /// No byte of a body had to come for it: confirmed, or fresh in the store.
        unchanged: bool,
        /// Content-Type.
        content_type: Option<String>,
        /// The beginning of the body, where it may name other things.
        body: Bytes,
    },
    /// It lies elsewhere.
    Moved {
        /// Where.
        to: Target,
        /// Whether the redirect itself is in the store.
        kept: bool,
    },
    /// 404 or 410.
    Gone,
    /// The origin refuses, or it must not be reached; asking again does not help.
    Refused(String),
    /// It came but may not be kept.
    Unkept(String),
    /// 429 or 503, with the wait that the origin asked for.
    Busy(Option<Duration>),
    /// The origin failed.
    Broken(String),
    /// The way to it failed, or the transfer broke off: the line's fault as likely as the host's.
    Lost(String),
    /// Our own store takes nothing.
    Full(String),
    /// Longer than allowed.
    TooLong,
}

/// What the crawl needs of the world.
pub trait Web: Send + Sync + 'static {
    /// Fetches into the store. May be dropped at any await: what came is kept for resuming.
    fn fetch(&self, ask: Ask) -> impl Future<Output = Reply> + Send;
    /// Keeps a stored URL for a pack.
    fn pin(&self, pack: &str, target: &Target) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Lets a URL of a pack go.
    fn unpin(&self, pack: &str, target: &Target) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Whether the line is down.
    fn is_down(&self) -> bool;
    /// Waits.
    fn rest(&self, wait: Duration) -> impl Future<Output = ()> + Send;
    /// Jitter in 0..=1.
    fn share(&self) -> f64;
}

/// The real one.
#[derive(Clone)]
pub struct Reach {
    /// Fetches.
    pub cache: Cache,
    /// Keeps.
    pub store: Store,
    /// Knows the line.
    pub link: Link,
    /// The cap on background bytes.
    pub pace: Arc<Pace>,
    /// `bulak/0.1.0 (+contact)`.
    pub agent: HeaderValue,
}

impl Web for Reach {
    async fn fetch(&self, ask: Ask) -> Reply {
        let errand = Errand {
            target: ask.target,
            headers: self.headers(ask.aim),
            source: Source::Pack,
            class: Class::Background,
            pace: Some(Arc::clone(&self.pace)),
            max_bytes: ask.max_bytes,
            force: ask.force,
        };
        let fetched = match self.cache.fetch(errand).await {
            Ok(fetched) => fetched,
            Err(error) => return Reply { transferred: 0, what: failed(&error) },
        };
        let status = fetched.status.as_u16();
        let what = match (status, fetched.entry, fetched.location) {
            (200..=299 | 304, Some(entry), _) => self.here(&entry, ask.aim, fetched.transferred == 0).await,
            (200..=299 | 304, None, _) => What::Unkept(format!("{:?}", fetched.why)),
            (301 | 302 | 303 | 307 | 308, entry, Some(to)) => What::Moved { to, kept: entry.is_some() },
            (404 | 410, ..) => What::Gone,
            (429 | 503, ..) => What::Busy(fetched.retry_after),
            (500.., ..) => What::Broken(format!("status {status}")),
            _ => What::Refused(format!("status {status}")),
        };
        Reply { transferred: fetched.transferred, what }
    }

    async fn pin(&self, pack: &str, target: &Target) -> Result<(), StoreError> {
        self.store.pin(pack, &target.key()).await
    }

    async fn unpin(&self, pack: &str, target: &Target) -> Result<(), StoreError> {
        self.store.unpin(pack, Some(&target.key())).await.map(drop)
    }

    fn is_down(&self) -> bool {
        self.link.state() == LineState::Down
    }

    async fn rest(&self, wait: Duration) {
        tokio::time::sleep(wait).await;
    }

    fn share(&self) -> f64 {
        rand::random()
    }
}

impl Reach {
    fn headers(&self, aim: Aim) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, self.agent.clone());
        headers.insert(ACCEPT, HeaderValue::from_static(aim.accept()));
        headers.insert(HeaderName::from_static("sec-purpose"), HeaderValue::from_static("prefetch"));
        headers
    }

    /// The stored answer with as much of its body as discovery looks at.
    async fn here(&self, entry: &Arc<Entry>, aim: Aim, unchanged: bool) -> What {
        let content_type = entry.meta.headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        // A body that is kept in a coding we do not know names nothing to us.
        let want = if entry.meta.coding.is_some() { 0 } else { aim.reads(content_type.as_deref()).min(entry.length) };
        if want == 0 {
            return What::Here { length: entry.length, unchanged, content_type, body: Bytes::new() };
        }
        let part = (want < entry.length).then_some(0..want);
        let read = match self.store.read(entry, part).await {
            Ok(body) => collect(body, usize::try_from(want).unwrap_or(usize::MAX)).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match read {
            Ok(body) => What::Here { length: entry.length, unchanged, content_type, body },
            Err(why) => What::Broken(why),
        }
    }
}

/// All bytes of a body, at most `limit`. Frame by frame: the future of `Body::collect` is not provably `Send`.
async fn collect(mut body: Body, limit: usize) -> Result<Bytes, BodyError> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            bytes.extend_from_slice(&data[..data.len().min(limit - bytes.len())]);
        }
        if bytes.len() >= limit {
            break;
        }
    }
    Ok(bytes.freeze())
}

fn failed(error: &FetchError) -> What {
    match error {
        FetchError::Upstream(upstream) if !upstream.is_line() => What::Broken(error.to_string()),
        FetchError::Upstream(_) | FetchError::Broken(_) => What::Lost(error.to_string()),
        FetchError::Store(StoreError::Damaged) => What::Broken(error.to_string()),
        FetchError::Store(error) => What::Full(error.to_string()),
        FetchError::TooLong(_) => What::TooLong,
    }
}
