//! Find, decide, act: looks an answer up, asks `policy::decide`, and does exactly what it is told. Read this after `policy.rs`.
//!
//! What is fresh and in memory is answered without an await (`Cache::answer_now`). Everything else goes through a *flight*:
//! one fetch per URL (or range), as a task of its own, which many requests read along with.

/// Content codings of origins.
mod coding;

/// The line on a page that is shown because the line is down.
mod banner;

/// Lists of a film's forms, as a class can use them.
mod film;

/// ZIM files as origins.
mod archive;

/// What is derived from a stored entry, once.
mod prepared;

/// Bodies behind a writer, in pieces, in parts.
mod stream;

/// A stored answer to a client.
mod hit;

/// In which form a client gets a body.
mod form;

/// Many asking, one fetching.
mod flight;

/// One fetch, to everyone who asked and to the store together.
mod fill;

/// Ranges of what is not here, and the rest of what is partly here.
mod partial;

/// What is said of parts.
mod told;

/// Large bodies in pieces, and coming along with what is under way.
mod pieces;

/// With whom a request asks.
mod company;

/// A device's request, from lookup to answer.
mod serve;

/// One flight's errand at the origin.
mod voyage;

/// What the node fetches for itself.
mod errand;

/// What fetching something would bring.
mod glance;

/// What must be read and may not be stored.
mod plain;

/// What will have to be asked about.
mod expiring;

/// What devices have used today.
mod uses;

/// What a device got, for whoever looks on.
mod seen;

/// What would happen to a request, in words.
mod explain;

/// What the page that is passing by needs.
mod ahead;

/// What the cache counts.
pub mod tally;

/// Why the cache has no answer.
pub mod trouble;

pub use crate::policy::{Why, is_secret};
pub use crate::store::Way;
pub use archive::Lies;
pub use errand::{Errand, FetchError, Fetched};
pub use expiring::Expiring;
pub use explain::{Explain, StoredView};
pub use fill::{MAX_PAGE, Toll};
pub use glance::{Glance, Told};
pub use seen::Seen;
pub use tally::Tally;
pub use trouble::{Cause, Trouble};

use crate::base::arena::Arena;
use crate::base::body::Body;
use crate::base::clock::Clock;
use crate::base::count::Metrics;
use crate::base::crowd::Asker;
use crate::base::target::{Scheme, Target};
use crate::life::Life;
use crate::link::{self, Link};
use crate::policy::directive::Directives;
use crate::policy::{self, Ask, Decision, Line, Place, Rules};
use crate::site::Sites;
use crate::store::{Entry, Source, Store, Variants};
use crate::upstream::Upstream;
use arc_swap::ArcSwap;
use flight::Board;
use hit::Said;
use http::{HeaderMap, Method, Request, Response};
use http_body::Body as _;
use prepared::Prepared;
use std::sync::Arc;
use tally::Counters;
use tokio::sync::Semaphore;
use uses::Uses;

/// `[cache]`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The rules.
    pub rules: Rules,
    /// Put a banner on HTML that is served because the line is down.
    pub banner: bool,
    /// gzip text for clients that take it: where the Wi-Fi is narrower than the box is slow.
    pub gzip: bool,
    /// How the node calls itself in `Cache-Status` and `Proxy-Status`.
    pub name: String,
    /// Largest body that a content coding may decode to (bytes).
    pub decoded_max: u64,
    /// Ask for what a page needs while it passes by.
    pub look_ahead: bool,
}

/// A request of a device, classified as the Cache or Pass lane.
#[derive(Debug)]
pub struct Query {
    /// Where to.
    pub target: Target,
    /// Method, fields, body, extensions (`Interim`); hop-by-hop fields gone, `Via` added.
    pub request: Request<Body>,
    /// By which way it came.
    pub way: Way,
}

/// The cache. Cheap to clone.
#[derive(Clone)]
pub struct Cache(Arc<Inner>);

/// Its parts.
pub(crate) struct Inner {
    rules: Rules,
    banner: bool,
    gzip: bool,
    name: String,
    decoded_max: u64,
    ahead: ahead::Ahead,
    clock: Clock,
    life: Life,
    store: Store,
    upstream: Upstream,
    link: Link,
    board: Arc<Board>,
    sites: ArcSwap<Sites>,
    archives: ArcSwap<archive::Archives>,
    counters: Counters,
    uses: Uses,
    /// Bounds how many pieces of bodies are in memory on their way into the store.
    pieces: Semaphore,
}

impl Cache {
    /// Puts the parts together.
    pub fn new(settings: Settings, clock: Clock, life: &Life, metrics: &Metrics, store: Store, upstream: Upstream, link: Link) -> Cache {
        Cache(Arc::new(Inner {
            rules: settings.rules,
            banner: settings.banner,
            gzip: settings.gzip,
            name: settings.name,
            decoded_max: settings.decoded_max,
            ahead: ahead::Ahead::new(settings.look_ahead),
            clock,
            life: life.clone(),
            store,
            upstream,
            link,
            board: Arc::default(),
            sites: ArcSwap::default(),
            archives: ArcSwap::default(),
            counters: Counters::new(metrics),
            uses: Uses::default(),
            pieces: Semaphore::new(pieces::AT_ONCE),
        }))
    }

    /// Whether what a page needs is asked for while it passes by.
    pub fn set_look_ahead(&self, on: bool) {
        self.0.ahead.set(on);
    }

    /// Takes over new host rules.
    pub fn set_sites(&self, sites: Arc<Sites>) {
        self.0.sites.store(sites);
    }

    /// The host rules in force.
    pub fn sites(&self) -> Arc<Sites> {
        self.0.sites.load_full()
    }

    /// The fast path: a fresh, whole answer from memory, without an await. Gives the query back when it takes more.
    ///
    /// # Errors
    /// The query itself, untouched: hand it to [`Cache::answer`].
    #[expect(
        clippy::result_large_err,
        reason = "the query comes back to be answered in full; boxing it would cost every miss an allocation"
    )]
    pub fn answer_now(&self, query: Query) -> Result<Response<Body>, Query> {
        let inner = &*self.0;
        let method = query.request.method();
        if (*method != Method::GET && *method != Method::HEAD) || !query.request.body().is_end_stream() {
            return Err(query);
        }
        let began = inner.clock.steady();
        let key = query.target.key();
        let Some(variants) = inner.store.peek(&key) else { return Err(query) };
        // What came over the line under a library's name, before it was one, is not its own.
        if self.is_library(query.target.host()) {
            return Err(query);
        }
        let place = inner.place(&query.target, false);
        let ask = Ask { method, target: &query.target, headers: query.request.headers(), place };
        let Some(found) = inner.fitting(&ask, &variants) else { return Err(query) };
        let Decision::Serve { age, ttl, why, refresh_behind: false } = inner.decide(&ask, Some(&found)) else { return Err(query) };
        match inner.hit_now(&ask, &found.entry, &found.prepared, Said::hit(why, age, ttl)) {
            Some(mut response) => {
                inner.uses.mark_once(&found.prepared.marked, &key);
                inner.counters.count(why, query.way, inner.clock.steady() - began, &mut response);
                Ok(response)
            }
            None => Err(query),
        }
    }

    /// Answers a device. Never fails: what cannot be had becomes an error answer with `Proxy-Status` and a [`Trouble`]. Its [`Why`] is
    /// among its extensions. May be dropped at any await; a fetch that was begun goes on for the store.
    pub async fn answer(&self, query: Query) -> Response<Body> {
        let (began, way) = (self.0.clock.steady(), query.way);
        let key = (*query.request.method() == Method::GET).then(|| query.target.key());
        let (mut response, why) = self.0.serve(query).await;
        if let Some(key) = key.filter(|_| why.cache_label() != "bypass" && response.status().as_u16() < 400) {
            self.0.uses.mark(&key);
        }
        response.extensions_mut().insert(why);
        self.0.counters.count(why, way, self.0.clock.steady() - began, &mut response);
        response
    }

    /// Counts a tunnel that opens: it is no affair of the cache, but one set of figures says what clients got.
    pub fn count_tunnel(&self) {
        self.0.counters.count_tunnel();
    }

    /// Counts bytes that a tunnel brings to a client.
    pub fn count_tunnel_bytes(&self, bytes: u64) {
        self.0.counters.count_tunnel_bytes(bytes);
    }

    /// Where bodies in memory lie, for whoever writes to a socket.
    pub fn bodies(&self) -> Option<Arena> {
        self.0.store.bodies()
    }

    /// Figures since start.
    pub fn tally(&self) -> Tally {
        self.0.counters.tally()
    }
}

/// A flag of `Meta::flags`: something newer is known to exist, or may exist (RFC 9111 section 4.4). Not used without asking, not even
/// when the origin fails, but for a line that is down.
pub(crate) const OUTDATED: u32 = 1;

/// A request, kept for as long as its flight lives.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    method: Method,
    target: Target,
    headers: HeaderMap,
    place: Place,
    /// The device that waits, where one does.
    asker: Option<Asker>,
}

impl Asked {
    fn ask(&self) -> Ask<'_> {
        Ask { method: &self.method, target: &self.target, headers: &self.headers, place: self.place }
    }

    /// The request as a stranger would make it; on a host with accounts it is the node's own.
    fn without_cookie(&self) -> Asked {
        let mut plain = self.clone();
        plain.headers.remove(http::header::COOKIE);
        plain.place.own |= plain.place.account;
        plain
    }

    /// The same as a GET.
    fn as_get(&self) -> Asked {
        Asked { method: Method::GET, ..self.clone() }
    }
}

/// A stored answer that fits a request.
#[derive(Clone)]
pub(crate) struct Found {
    entry: Arc<Entry>,
    prepared: Arc<Prepared>,
}

impl Found {
    /// Marked [`OUTDATED`].
    fn is_outdated(&self) -> bool {
        self.entry.meta.flags & OUTDATED != 0
    }
}

impl Inner {
    /// The line as it is for this target: a server of the school's own is reached though the line is down.
    fn line_to(&self, target: &Target) -> Line {
        match self.link.state() {
            link::State::Down if self.upstream.is_in_house(target) => Line::Up,
            link::State::Down => Line::Down,
            link::State::Slow => Line::Slow,
            link::State::Up | link::State::Unknown => Line::Up,
        }
    }

    /// The policy's decision, and what a mark on the stored answer makes of it.
    fn decide(&self, ask: &Ask<'_>, found: Option<&Found>) -> Decision {
        let line = self.line_to(ask.target);
        let decision = policy::decide(&self.rules, ask, found.map(|found| &found.prepared.kept), line, self.clock.now());
        match (&decision, found) {
            (Decision::Serve { why, .. }, Some(found)) if found.is_outdated() && *why != Why::Offline => {
                if Directives::read(ask.headers).only_if_cached {
                    return Decision::Refuse { why: Why::OnlyIfCached };
                }
                Decision::Revalidate { conditions: policy::freshen::conditions(&found.prepared.kept), why: Why::Stale }
            }
            _ => decision,
        }
    }

    /// What is known of a request beside its head. `own`: the node asks for itself. By whatever way a device asks for https, what is
    /// stored of it may later be read over opened connections, so the stricter rule counts.
    fn place(&self, target: &Target, own: bool) -> Place {
        let known = self.sites.load().look(target);
        let intercepted = !own && target.scheme() == Scheme::Https;
        Place { account: known.account, class: known.class, own, intercepted }
    }

    /// The variant that answers this request: chosen by `Vary`, in a coding that the client takes, and on a host with accounts
    /// only what the node fetched itself.
    fn fitting(&self, ask: &Ask<'_>, variants: &Variants) -> Option<Found> {
        let usable = |entry: &&Arc<Entry>| {
            let readable = entry.meta.coding.as_ref().is_none_or(|names| coding::accepts(ask.headers, names));
            readable && (!ask.place.account || entry.meta.source != Source::Client)
        };
        let candidates = variants.iter().filter(usable);
        let chosen = policy::select(ask, candidates.clone().map(|entry| &*entry.meta.vary))?;
        let entry = candidates.clone().nth(chosen).map(Arc::clone)?;
        let prepared = prepared::prepared(&entry, &self.rules);
        Some(Found { entry, prepared })
    }

    /// Looks up what is stored for a request; a disk that fails is a miss, and is said.
    async fn find(&self, ask: &Ask<'_>) -> (Option<Found>, bool) {
        let key = ask.target.key();
        if !self.store.may_have(&key) {
            return (None, false);
        }
        match self.store.find(&key).await {
            Ok(variants) => (self.fitting(ask, &variants), !variants.is_empty()),
            Err(error) => {
                tracing::warn!(%error, "the store could not be read");
                (None, false)
            }
        }
    }
}
