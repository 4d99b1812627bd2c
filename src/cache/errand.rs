//! What the node fetches for itself: the night's work, refreshes. Without cookies, giving way, joined by whoever asks meanwhile.

use crate::base::backoff::retry_after;
use crate::base::clock::Time;
use crate::base::target::Target;
use crate::cache::fill::{Order, Toll};
use crate::cache::flight::{Cut, Flight, FlightKey, Outcome, Pilot, Stage};
use crate::cache::serve::ENDED;
use crate::cache::voyage::{Given, Voyage, bare, is_nothing, outgoing};
use crate::cache::{Asked, Cache, Found, Inner, pieces, stream};
use crate::link::Class;
use crate::policy::{self, Decision, Failure, Why};
use crate::store::{Entry, Error as StoreError, Source, Way};
use crate::upstream;
use bytes::Bytes;
use http::header::{AUTHORIZATION, COOKIE, DATE, LOCATION, RETRY_AFTER};
use http::{HeaderMap, Method, StatusCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// One thing the node wants for itself (night, look-ahead, refresh).
#[derive(Clone, Debug)]
pub struct Errand {
    /// What.
    pub target: Target,
    /// Request fields (Accept, User-Agent); never a cookie.
    pub headers: HeaderMap,
    /// For whom the store keeps it.
    pub source: Source,
    /// Upstream class. Background gives way, until a device joins the fetch.
    pub class: Class,
    /// Told of every byte of a body that comes over the line for this, as it comes.
    pub toll: Toll,
    /// Give up when the body is longer than this.
    pub max_bytes: Option<u64>,
    /// Ask the origin even when the stored answer is fresh.
    pub force: bool,
    /// Take the stored answer, fresh or not, without asking; what is not stored is fetched.
    pub keep: bool,
    /// Counts body bytes as they come over the line for this, also when it fails or is dropped.
    pub moved: Arc<AtomicU64>,
}

/// What came of an errand.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The stored answer; `None` when it could not be stored.
    pub entry: Option<Arc<Entry>>,
    /// The status: the origin's (304 when unchanged), or the stored one when it was fresh.
    pub status: StatusCode,
    /// What happened.
    pub why: Why,
    /// Body bytes that came over the line for this.
    pub transferred: u64,
    /// The origin asked to come back later (429, 503).
    pub retry_after: Option<Duration>,
    /// Where a redirect points.
    pub location: Option<Target>,
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
    /// The store failed while the body came, which says nothing of the origin.
    #[error("what came could not be stored: {0}")]
    Unstored(Arc<str>),
    /// The body broke off, and nothing of it could be kept.
    #[error("the body broke off: {0}")]
    Broken(String),
    /// The body broke off after so many bytes that are kept: the next errand goes on behind them.
    #[error("the body broke off: {why}")]
    Partly {
        /// Why.
        why: String,
        /// Bytes that were not here before.
        kept: u64,
    },
    /// Longer than allowed.
    #[error("longer than {0} bytes")]
    TooLong(u64),
    /// The host is a ZIM file on this node.
    #[error("{0} is a library on this node: its pages are read from its file, there is nothing to fetch")]
    Library(String),
}

impl Cache {
    /// Fetches something for the node itself into the store: conditional when stored, resumed when partly here. Joins a fetch of
    /// the same URL that is under way. May be dropped at any await; a fetch that was begun goes on unless the node stops.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn fetch(&self, errand: Errand) -> Result<Fetched, FetchError> {
        let inner = &self.0;
        self.may_fetch(&errand.target)?;
        let place = inner.place(&errand.target, true);
        let mut headers = errand.headers.clone();
        // The node has no login anywhere, whatever an errand was made from.
        headers.remove(COOKIE);
        headers.remove(AUTHORIZATION);
        let asked = Arc::new(Asked { method: Method::GET, target: errand.target.clone(), headers, place, asker: None });
        let order = Order {
            source: errand.source,
            way: Way::Http,
            class: errand.class,
            toll: errand.toll.clone(),
            max_bytes: errand.max_bytes,
            moved: Arc::clone(&errand.moved),
            cancel: CancellationToken::new(),
            waits: 0,
        };
        // Whoever drops this errand (the window ends at seven sharp) ends its fetch.
        let _over = order.cancel.clone().drop_guard();
        let (found, _) = inner.find(&asked.ask()).await;
        let found = found.filter(|found| !place.account || found.entry.meta.source != Source::Client);
        let found = match found {
            Some(found) if inner.let_go_of_hearsay(&found).await => None,
            found => found,
        };
        // What is doubtful, or says that there is nothing, is asked about.
        let holds = |found: &&Found| found.entry.object.is_some() && !found.is_outdated() && !is_nothing(found.entry.meta.status);
        if let Some(found) = found.as_ref().filter(|found| errand.keep && holds(found)) {
            return Ok(Fetched::of(&asked.target, Some(Arc::clone(&found.entry)), found.entry.meta.status, Why::Stale, 0));
        }
        if let Some(found) = &found
            && found.entry.object.is_some()
            && !errand.force
            && let Decision::Serve { why, .. } = inner.decide(&asked.ask(), Some(found))
        {
            return Ok(Fetched::of(&asked.target, Some(Arc::clone(&found.entry)), found.entry.meta.status, why, 0));
        }
        inner.run(&asked, order, found, false).await
    }

    /// Libraries of this node are no origins: their names lead nowhere, or to whoever answers for every name.
    pub(crate) fn may_fetch(&self, target: &Target) -> Result<(), FetchError> {
        if self.is_library(target.host()) { Err(FetchError::Library(target.host().to_owned())) } else { Ok(()) }
    }
}

impl Inner {
    /// Brings it into the store: by a fetch of its own, or along with one that is under way.
    pub(crate) async fn run(
        self: &Arc<Inner>,
        asked: &Arc<Asked>,
        order: Order,
        found: Option<Found>,
        alone: bool,
    ) -> Result<Fetched, FetchError> {
        let moved = Arc::clone(&order.moved);
        let partly = found.as_ref().filter(|found| found.entry.object.is_none()).map(|found| Arc::clone(&found.entry));
        if let Some(entry) = partly.as_ref().filter(|entry| stream::gaps(&entry.have, &(0..entry.length)).is_empty()) {
            // Every piece is here; only making one body of them was cut short, or found no room.
            let entry = self.store.put_part(entry.meta.clone(), entry.length, 0, Bytes::new()).await?;
            return Ok(Fetched::of(&asked.target, Some(entry), StatusCode::OK, Why::Partial, 0));
        }
        // Another's fetch may have ended since nothing was found.
        let url = asked.target.key();
        let has_landed = || found.is_none() && !asked.place.account && order.waits < ENDED && self.store.may_have(&url);
        let Some((flight, pilot)) = self.flight_for(asked, partly.as_ref().map(|entry| entry.length), alone, has_landed) else {
            let order = Order { waits: order.waits + 1, ..order };
            return Box::pin(self.landed(asked, order)).await;
        };
        let own = pilot.is_some();
        let lead = pilot.and_then(|pilot| self.set_off(pilot, asked, order.clone(), found.clone(), partly.is_some()));
        let end = flight.end().await;
        let transferred = moved.load(Ordering::Relaxed);
        match end {
            // The store takes no more of it: what is here of it stays.
            Stage::Stored(entry, _) if entry.object.is_none() => Err(StoreError::Full.into()),
            Stage::Stored(entry, outcome) => {
                let (status, why) = match outcome {
                    Outcome::Confirmed => (StatusCode::NOT_MODIFIED, Why::Revalidated),
                    Outcome::Filled => (entry.meta.status, Why::UriMiss),
                };
                Ok(Fetched::of(&asked.target, Some(entry), status, why, transferred))
            }
            Stage::Broken(_, Cut::TooLong(most)) => Err(FetchError::TooLong(most)),
            Stage::Broken(why, Cut::Store) => Err(FetchError::Unstored(why)),
            Stage::Broken(why, Cut::Short) => Err(self.broken(asked, partly.as_ref(), &why).await),
            Stage::Failed(_, Some(upstream::Error::Crowded(_))) if !own && !alone => Box::pin(self.run(asked, order, found, true)).await,
            Stage::Failed(Failure::Unreachable, Some(error)) => Err(error.into()),
            // What was kept does not fit what is there now and is forgotten: it starts anew, once.
            Stage::Apart(_) | Stage::Asking if own && partly.is_some() && lead.as_ref().is_none_or(oneshot::Receiver::is_empty) => {
                Box::pin(self.run(asked, order, None, alone)).await
            }
            // Another's answer, for him alone: what we want must be asked for anew.
            Stage::Failed(..) | Stage::Apart(_) if lead.is_none() && !alone => Box::pin(self.run(asked, order, found, true)).await,
            Stage::Failed(..) | Stage::Apart(_) | Stage::Asking | Stage::Live(_) => {
                match lead.and_then(|mut lead| lead.try_recv().ok()) {
                    // This origin does not go on in the middle: the whole, once.
                    Some(Given::OwnCoding) if partly.is_some() => Box::pin(self.run(asked, order, None, alone)).await,
                    lead => given(asked, lead, transferred),
                }
            }
        }
    }

    /// What another's fetch has just brought, where that is good as it is.
    async fn landed(self: &Arc<Inner>, asked: &Arc<Asked>, order: Order) -> Result<Fetched, FetchError> {
        let (found, _) = self.find(&asked.ask()).await;
        if let Some(Found { entry, .. }) = found.as_ref().filter(|found| found.entry.object.is_some())
            && let Decision::Serve { why, .. } = self.decide(&asked.ask(), found.as_ref())
        {
            return Ok(Fetched::of(&asked.target, Some(Arc::clone(entry)), entry.meta.status, why, 0));
        }
        self.run(asked, order, found, false).await
    }

    /// The flight that brings what an errand wants: a fetch of the whole that is under way, or its own, of the whole or of the rest
    /// of a body of this `length`. `None`: another has brought it meanwhile.
    fn flight_for(
        &self,
        asked: &Asked,
        length: Option<u64>,
        alone: bool,
        has_landed: impl FnOnce() -> bool,
    ) -> Option<(Arc<Flight>, Option<Pilot>)> {
        let whole = FlightKey { url: asked.target.key(), range: None, personal: false, kin: None };
        let rest = length.map(|length| FlightKey { range: Some(0..length), ..whole.clone() });
        let under_way = self.board.find(&whole).filter(|_| rest.is_some() && !alone);
        let key = rest.unwrap_or(whole);
        match under_way {
            Some(flight) => Some((flight, None)),
            None if alone => {
                let (flight, pilot) = self.board.alone(key, false);
                Some((flight, Some(pilot)))
            }
            None => self.board.join_unless(key, false, has_landed),
        }
    }

    /// What a transfer that broke off has left behind.
    async fn broken(&self, asked: &Asked, before: Option<&Arc<Entry>>, why: &str) -> FetchError {
        let kept = |entry: &Entry| entry.have.iter().map(|range| range.end - range.start).sum::<u64>();
        let (now, _) = self.find(&asked.ask()).await;
        let now = now.filter(|now| now.entry.object.is_none()).map(|now| now.entry);
        let same = |entry: &&Arc<Entry>| now.as_ref().is_some_and(|now| pieces::is_same(now, entry));
        let (now, before) = (now.as_deref().map_or(0, kept), before.filter(same).map_or(0, |entry| kept(entry)));
        match now.saturating_sub(before) {
            0 => FetchError::Broken(why.to_owned()),
            kept => FetchError::Partly { why: why.to_owned(), kept },
        }
    }

    fn set_off(
        self: &Arc<Inner>,
        pilot: Pilot,
        asked: &Arc<Asked>,
        order: Order,
        found: Option<Found>,
        rest: bool,
    ) -> Option<oneshot::Receiver<Given>> {
        match found {
            Some(found) if rest => self.launch_rest(pilot, asked, found, order),
            found => {
                let conditions = found
                    .as_ref()
                    .map(|found| policy::freshen::conditions(&found.prepared.kept))
                    .filter(|conditions| !conditions.is_empty());
                let request = outgoing(bare(asked), conditions.as_ref(), false, false);
                let validating = conditions.is_some();
                Some(self.launch(pilot, Voyage { asked: Arc::clone(asked), request, found, order, validating, keep: true }))
            }
        }
    }
}

/// An answer that could not be stored still tells its status, and where or when to go instead.
fn given(asked: &Asked, lead: Option<Given>, transferred: u64) -> Result<Fetched, FetchError> {
    let (response, why) = match lead {
        Some(Given::Answer(given)) => given,
        // Only the rest of it came, and there is no room for that.
        Some(Given::NoRoom) => return Err(StoreError::Full.into()),
        Some(Given::NotNow | Given::OwnCoding) => return Err(FetchError::Broken("the origin did not give the rest of it".into())),
        None => return Err(FetchError::Broken("another's fetch of the same address brought nothing to keep".into())),
    };
    let mut fetched = Fetched::of(&asked.target, None, response.status(), why, transferred);
    fetched.read_fields(&asked.target, response.headers());
    Ok(fetched)
}

impl Fetched {
    fn of(target: &Target, entry: Option<Arc<Entry>>, status: StatusCode, why: Why, transferred: u64) -> Fetched {
        let mut fetched = Fetched { entry, status, why, transferred, retry_after: None, location: None };
        if let Some(entry) = fetched.entry.clone() {
            fetched.read_fields(target, &entry.meta.headers);
        }
        fetched
    }

    fn read_fields(&mut self, target: &Target, headers: &HeaderMap) {
        let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
        self.location = headers.get(LOCATION).filter(|_| self.status.is_redirection()).and_then(|to| target.join_field(to));
        self.retry_after = text(RETRY_AFTER).and_then(|wait| retry_after(wait, text(DATE).and_then(Time::parse_http)));
    }
}
