//! The web as the crawl sees it: fetch one thing into the store, pin it, rest. The cache stands behind it in a node, a site in
//! memory in tests.

use crate::base::backoff::retry_after;
use crate::base::body::{Body, BodyError};
use crate::base::clock::Time;
use crate::base::digest::Digest;
use crate::base::target::{Target, UrlKey};
use crate::cache::{Cache, Errand, Expiring, FetchError, Glance, Lies, Toll, Why};
use crate::link::{Class, Link, State as LineState};
use crate::prefetch::aim::Aim;
use crate::site::robots;
use crate::store::{Entry, Error as StoreError, Source, Store};
use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER, USER_AGENT};
use http_body_util::BodyExt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
    /// Take what is stored as it is, without asking; what is not here is fetched.
    pub keep: bool,
    /// Longest body.
    pub max_bytes: Option<u64>,
    /// Counts what comes over the line, while it comes.
    pub arrived: Arc<AtomicU64>,
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
        /// The origin was asked.
        asked: bool,
        /// Of the content.
        print: Option<i64>,
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
    /// This machine has no connection free, or no DNS server gives any answers; the origin was not asked.
    Ours(String),
    /// The origin failed.
    Broken(String),
    /// The way to it failed, or the transfer broke off: the line's fault as likely as the host's.
    Lost(String),
    /// There is nobody of that name.
    Nameless(String),
    /// The transfer broke off, and what it brought is kept: the next try goes on there.
    Partly(String),
    /// Our own store takes nothing.
    Full(String),
    /// Longer than allowed.
    TooLong,
    /// Longer than the so many bytes that the store takes in one piece.
    Oversized(u64),
}

/// What the crawl needs of the world.
pub trait Web: Send + Sync + 'static {
    /// Fetches into the store. May be dropped at any await: what came is kept for resuming.
    fn fetch(&self, ask: Ask) -> impl Future<Output = Reply> + Send;
    /// Keeps a stored URL for a pack.
    fn pin(&self, pack: &str, target: &Target) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Lets a URL of a pack go.
    fn unpin(&self, pack: &str, target: &Target) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Lets all of a pack go.
    fn let_go(&self, pack: &str) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Which ZIM files there are, by host.
    fn shelve(&self, files: Vec<(String, Lies)>);
    /// URLs that packs keep and that the store has lost since this was asked last.
    fn lost(&self) -> Vec<String>;
    /// Whether the line is down.
    fn is_down(&self) -> bool;
    /// Waits.
    fn rest(&self, wait: Duration) -> impl Future<Output = ()> + Send;
    /// Jitter in 0..=1.
    fn share(&self) -> f64;
    /// Length of what is stored of an address and may be shown to everybody.
    fn stored(&self, _: &Target) -> impl Future<Output = Option<u64>> + Send {
        async { None }
    }
    /// Addresses that devices have used since this was asked last.
    fn uses(&self) -> Vec<UrlKey> {
        Vec::new()
    }
    /// A new day: what was used yesterday counts again.
    fn turn_uses(&self) {}
    /// What is stored under this key, if it must be asked about by then and can be.
    fn expiring(&self, _: &UrlKey, _: Time) -> impl Future<Output = Option<Expiring>> + Send {
        async { None }
    }
    /// Asks about it: one conditional request, whose answer may bring so many bytes at most.
    fn renew(&self, _: Expiring, _: u64) -> impl Future<Output = Reply> + Send {
        async { Reply { transferred: 0, what: What::Gone } }
    }
    /// Asks what fetching it would bring, without fetching it; `bare`: whatever is stored.
    fn glance(&self, _: &Target, _: Aim, _bare: bool) -> impl Future<Output = Result<Glance, What>> + Send {
        async { Err(What::Refused(String::from("nobody to ask"))) }
    }
    /// Bytes that packs may still keep, where that is bounded.
    fn room(&self) -> Option<u64> {
        None
    }
    /// Whether people are using the line just now, so that others wait.
    fn is_taken(&self) -> bool {
        false
    }
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
    /// Told of every byte of a body that comes.
    pub toll: Toll,
    /// `bulak/0.1.0 (+contact)`.
    pub agent: HeaderValue,
}

impl Web for Reach {
    async fn fetch(&self, ask: Ask) -> Reply {
        if ask.aim == Aim::Robots {
            return self.robots(&ask.target).await;
        }
        let (moved, longest) = (ask.arrived, self.store.longest(Source::Pack));
        let most = ask.max_bytes.unwrap_or(u64::MAX);
        let errand = Errand {
            target: ask.target,
            headers: self.headers(ask.aim),
            source: Source::Pack,
            class: Class::Background,
            toll: self.toll.clone(),
            max_bytes: Some(most.min(longest)),
            force: ask.force,
            keep: ask.keep,
            moved: Arc::clone(&moved),
        };
        let fetched = match self.cache.fetch(errand).await {
            Ok(fetched) => fetched,
            // A page has a limit of its own, and the pack what is left of it.
            Err(FetchError::TooLong(limit)) if limit == longest && longest < most => return came(&moved, What::Oversized(longest)),
            Err(error) => return came(&moved, failed(&error, self.link.names_answer())),
        };
        let status = fetched.status.as_u16();
        let what = match (status, fetched.entry, fetched.location) {
            (200..=299 | 304, Some(entry), _) => {
                let asked = fetched.transferred > 0 || matches!(fetched.why, Why::Revalidated | Why::UriMiss);
                self.here(&entry, ask.aim, fetched.transferred == 0, asked).await
            }
            // The store's matter, not the page's: the pack waits instead of failing wish by wish.
            (_, None, _) if fetched.why == Why::StoreFull => What::Full(String::from("it admits nothing more")),
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

    async fn let_go(&self, pack: &str) -> Result<(), StoreError> {
        self.store.unpin(pack, None).await.map(drop)
    }

    fn shelve(&self, files: Vec<(String, Lies)>) {
        self.cache.set_archives(files);
    }

    fn lost(&self) -> Vec<String> {
        self.store.lost_pinned()
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

    async fn stored(&self, target: &Target) -> Option<u64> {
        self.length(target).await
    }

    fn uses(&self) -> Vec<UrlKey> {
        self.cache.take_uses()
    }

    fn turn_uses(&self) {
        self.cache.turn_uses();
    }

    async fn expiring(&self, key: &UrlKey, by: Time) -> Option<Expiring> {
        self.cache.expiring(key, by).await
    }

    async fn renew(&self, expiring: Expiring, most: u64) -> Reply {
        self.ask_again(expiring, most).await
    }

    async fn glance(&self, target: &Target, aim: Aim, bare: bool) -> Result<Glance, What> {
        self.cache
            .glance(target, self.headers(aim), Class::Background, bare)
            .await
            .map_err(|error| failed(&error, self.link.names_answer()))
    }

    fn room(&self) -> Option<u64> {
        Some(self.store.pinned_room())
    }

    fn is_taken(&self) -> bool {
        self.link.foreground().shut().is_some()
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

    /// A robots.txt, by the store's side: it counts also where it may not be kept (a cookie, `no-store`, a host with accounts).
    async fn robots(&self, target: &Target) -> Reply {
        let most = usize::try_from(robots::MAX_BYTES).unwrap_or(usize::MAX);
        let (moved, toll) = (Arc::<AtomicU64>::default(), self.toll.clone());
        let counted = Arc::clone(&moved);
        let toll = Toll::new(move |bytes| {
            counted.fetch_add(bytes, Ordering::Relaxed);
            toll.pay(bytes);
        });
        let answer = self.cache.upstream_get(target, self.headers(Aim::Robots), Class::Background, toll, most).await;
        let transferred = moved.load(Ordering::Relaxed);
        let (status, fields, body) = match answer {
            Ok(answer) => answer,
            Err(error) => return Reply { transferred, what: failed(&error, self.link.names_answer()) },
        };
        let text = |name| fields.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let what = match (status.as_u16(), text(LOCATION).and_then(|to| target.join(to))) {
            (200..=299, _) => {
                let content_type = text(CONTENT_TYPE).map(str::to_owned);
                What::Here { length: body.len() as u64, unchanged: false, asked: true, print: None, content_type, body }
            }
            (301 | 302 | 303 | 307 | 308, Some(to)) => What::Moved { to, kept: false },
            (404 | 410, _) => What::Gone,
            (429 | 503, _) => What::Busy(text(RETRY_AFTER).and_then(|wait| retry_after(wait, text(DATE).and_then(Time::parse_http)))),
            (500.., _) => What::Broken(format!("status {status}")),
            _ => What::Refused(format!("status {status}")),
        };
        Reply { transferred, what }
    }

    /// The stored answer with as much of its body as discovery looks at.
    async fn here(&self, entry: &Arc<Entry>, aim: Aim, unchanged: bool, asked: bool) -> What {
        let print = entry.object.as_ref().map(print);
        let content_type = entry.meta.headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        // A body that is kept in a coding we do not know names nothing to us.
        let want = if entry.meta.coding.is_some() { 0 } else { aim.reads(content_type.as_deref()).min(entry.length) };
        if want == 0 {
            return What::Here { length: entry.length, unchanged, asked, print, content_type, body: Bytes::new() };
        }
        let part = (want < entry.length).then_some(0..want);
        let read = match self.store.read(entry, part).await {
            Ok(body) => collect(body, usize::try_from(want).unwrap_or(usize::MAX)).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match read {
            Ok(body) => What::Here { length: entry.length, unchanged, asked, print, content_type, body },
            Err(why) => What::Broken(why),
        }
    }
}

/// Enough of a hash to see whether content has changed.
fn print(digest: &Digest) -> i64 {
    let mut first = [0; 8];
    first.copy_from_slice(&digest.0[..8]);
    i64::from_le_bytes(first)
}
fn came(moved: &AtomicU64, what: What) -> Reply {
    Reply { transferred: moved.load(Ordering::Relaxed), what }
}

/// What a broken transfer must have left behind to count as a step and not as a failed try: less is a host that ends every
/// transfer at once.
const PROGRESS: u64 = 256 << 10;

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

/// `names`: the DNS servers give answers, so that one which does not is a zone's own trouble.
pub(super) fn failed(error: &FetchError, names: bool) -> What {
    match error {
        // Asking again would not move it.
        FetchError::Upstream(upstream) if upstream.proxy_status() == "destination_ip_prohibited" => {
            What::Refused(format!("{error}; where it is a server of the school's own, name it in proxy.allow_private_targets"))
        }
        FetchError::Upstream(upstream) if upstream.is_nameless() => What::Nameless(error.to_string()),
        FetchError::Upstream(upstream) if upstream.is_ours() || upstream.is_untold() && !names => What::Ours(error.to_string()),
        FetchError::Upstream(upstream) if !upstream.is_line() => What::Broken(error.to_string()),
        FetchError::Partly { kept, .. } if *kept >= PROGRESS => What::Partly(error.to_string()),
        FetchError::Upstream(_) | FetchError::Broken(_) | FetchError::Partly { .. } => What::Lost(error.to_string()),
        FetchError::Store(StoreError::Damaged) => What::Broken(error.to_string()),
        FetchError::Store(_) | FetchError::Unstored(_) => What::Full(error.to_string()),
        FetchError::TooLong(_) => What::TooLong,
        FetchError::Library(_) => What::Refused(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Clock;
    use crate::base::count::Metrics;
    use crate::config::Config;
    use crate::life::Life;
    use crate::prefetch::robots::{Book, Verdict};
    use crate::upstream::{self, Upstream};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// A server that answers every request on its connections alike.
    async fn server(life: &Life, answer: String) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let place = listener.local_addr().expect("bound").to_string();
        life.spawn_until_stop(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.expect("a request"));
                }
                let head = String::from_utf8(head).expect("text").to_ascii_lowercase();
                assert!(head.contains("accept-encoding: identity\r\n") && !head.contains("cookie"), "{head}");
                stream.write_all(answer.as_bytes()).await.expect("answers");
            }
        });
        place
    }

    fn reach(life: &Life, folder: &std::path::Path) -> Reach {
        let (clock, metrics) = (Clock::system(), Metrics::default());
        let store = crate::store::Settings { path: folder.to_owned(), ..Config::default().store };
        let store = Store::open(store, clock.clone(), life, &metrics).expect("opens");
        let link = Link::new(crate::link::Settings::default(), clock.clone(), life, &metrics);
        let allowed = upstream::Settings { allow_private: vec!["127.0.0.0/8".parse().expect("valid")], ..upstream::Settings::default() };
        let upstream = Upstream::new(allowed, clock.clone(), link.clone(), life, &metrics).expect("starts");
        let cache = Cache::new(Config::default().cache, clock, life, &metrics, store.clone(), upstream, link.clone());
        let agent = HeaderValue::from_static("bulak/test");
        Reach { cache, store, link, toll: Toll::default(), agent }
    }

    #[tokio::test]
    async fn what_a_robots_file_costs_is_paid_also_when_it_breaks_off() {
        let (life, folder) = (Life::default(), tempfile::tempdir().expect("a folder"));
        let paid = Arc::<AtomicU64>::default();
        let told = Arc::clone(&paid);
        let toll = Toll::new(move |bytes| {
            told.fetch_add(bytes, Ordering::Relaxed);
        });
        let reach = Reach { toll, ..reach(&life, folder.path()) };
        for (length, came) in [(600, 600), (1_000, 600)] {
            let place = server(&life, format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{}", "#".repeat(came))).await;
            let target = Target::parse(&format!("http://{place}/robots.txt")).expect("valid");
            let before = paid.load(Ordering::Relaxed);
            let reply = reach.robots(&target).await;
            assert_eq!((reply.transferred, paid.load(Ordering::Relaxed) - before), (600, 600), "{reply:?}");
            assert_eq!(matches!(reply.what, What::Here { .. }), length == 600, "{reply:?}");
        }
        life.stop();
    }

    #[test]
    fn a_failure_is_laid_at_the_right_door() {
        let host = || String::from("a.kz");
        let upstream = |error| failed(&FetchError::Upstream(error), true);
        assert!(matches!(upstream(upstream::Error::Exhausted(host(), host())), What::Ours(_)));
        assert!(matches!(upstream(upstream::Error::Crowded(host())), What::Ours(_)));
        assert!(matches!(upstream(upstream::Error::Unavailable(host(), host())), What::Lost(_)));
        assert!(matches!(upstream(upstream::Error::Tls(host(), host())), What::Broken(_)));
        assert!(matches!(upstream(upstream::Error::Prohibited([10, 0, 0, 1].into())), What::Refused(_)));
        assert!(matches!(failed(&FetchError::Broken("cut".into()), true), What::Lost(_)));
        assert!(matches!(failed(&FetchError::Unstored("no room".into()), true), What::Full(_)), "our disk is not the host's fault");
        let named = |why: &str, names| failed(&FetchError::Upstream(upstream::Error::DnsError(host(), why.into())), names);
        assert!(matches!(named("SERVFAIL", true), What::Broken(_)), "one zone");
        assert!(matches!(named("SERVFAIL", false), What::Ours(_)), "a resolver that has nobody to ask");
        for names in [true, false] {
            assert!(matches!(named("no such name", names), What::Nameless(_)));
        }
    }

    #[tokio::test]
    async fn a_robots_file_that_may_not_be_kept_counts_all_the_same() {
        let (life, folder) = (Life::default(), tempfile::tempdir().expect("a folder"));
        let reach = reach(&life, folder.path());
        let rules = "User-agent: *\nDisallow: /private/\n";
        let long = "#".repeat(600 << 10);
        let answer =
            |fields: &str, body: &str| format!("HTTP/1.1 {fields}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
        let kept =
            ["200 OK\r\nCache-Control: no-store", "200 OK\r\nSet-Cookie: a=b", "200 OK\r\nCache-Control: private", "200 OK\r\nVary: *"];
        let mut cases: Vec<(String, bool, Option<bool>)> = kept.iter().map(|fields| (answer(fields, rules), true, Some(false))).collect();
        cases.push((answer("200 OK", &format!("{rules}{long}")), true, Some(false)));
        cases.push((answer("404 Not Found", ""), true, Some(true)));
        cases.push((answer("403 Forbidden", ""), true, Some(true)));
        cases.push((answer("503 Busy", ""), false, None));
        for (answer, open, private) in cases {
            let head = answer[..40.min(answer.len())].to_owned();
            let place = server(&life, answer).await;
            let book = Book::default();
            let ask = async |path: &str| {
                let target = Target::parse(&format!("http://{place}{path}")).expect("valid");
                book.ask(&reach, &target, Clock::system().now()).await.0
            };
            assert_eq!(ask("/lesson").await == Verdict::Allowed, open, "{head}");
            match private {
                Some(allowed) => {
                    assert_eq!(ask("/private/x").await, if allowed { Verdict::Allowed } else { Verdict::Disallowed }, "{head}");
                }
                None => assert!(matches!(ask("/private/x").await, Verdict::Unknown(_)), "{head}"),
            }
            let key = Target::parse(&format!("http://{place}/robots.txt")).expect("valid").key();
            assert!(!reach.store.may_have(&key), "{head}: kept");
        }
        life.stop();
    }
}
