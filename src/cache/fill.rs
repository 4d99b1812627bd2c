//! One fetch, to everyone who asked and to the store together.
//!
//! The fetch runs as a task of its own: it outlives the client that caused it. A body that breaks off is never stored as whole;
//! what came of it is kept as parts where a strong validator allows to go on later.

use crate::base::body::{Body, BodyError};
use crate::base::clock::Time;
use crate::base::target::UrlKey;
use crate::cache::coding::{self, Coded};
use crate::cache::flight::{Cut, Live, Outcome, Pilot, Readers, Stage};
use crate::cache::pieces::{self, PIECE, strong_validator};
use crate::cache::prepared::{has_body, storable_fields};
use crate::cache::{Inner, stream};
use crate::link::Class;
use crate::link::foreground::Raise;
use crate::policy::{self, Admit, Ask};
use crate::store::{Draft, Entry, Epoch, Error, Meta, Source, Tail, Way};
use bytes::BytesMut;
use futures_util::StreamExt;
use http::header::{ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::AsyncReadExt;
use tokio_util::sync::CancellationToken;

/// What of a body is fetched although nobody reads it any more: a page, a picture, a short clip.
const FINISH: u64 = 16 << 20;

/// Decoded output is read in steps of this size: one zstd block.
const STEP: usize = 128 << 10;

/// A coded body may grow by this factor before it counts as a bomb; small bodies may grow more (ratios of 1,000 are common
/// below 1 MiB of zeros, and harmless).
const BOMB_RATIO: u64 = 200;
const BOMB_FREE: u64 = 4 << 20;

/// How one fetch is to be made.
#[derive(Clone)]
pub(crate) struct Order {
    pub(crate) source: Source,
    pub(crate) way: Way,
    pub(crate) class: Class,
    pub(crate) toll: Toll,
    pub(crate) max_bytes: Option<u64>,
    /// Counts body bytes that came over the line for this fetch.
    pub(crate) moved: Arc<AtomicU64>,
    /// Cancelled when the errand that caused this fetch is over; a device that has joined keeps it going.
    pub(crate) cancel: CancellationToken,
    /// How often it has waited for a part of what it wants.
    pub(crate) waits: u8,
}

/// Longest HTML page that the node takes for itself: the largest honest ones (a standard on one page) have 15 MB; two gigabytes of
/// HTML are a mistake or a trap. Files have the limits of those who want them.
pub const MAX_PAGE: u64 = 32 << 20;

impl Order {
    /// Bytes of a body came over the line. What goes on for a device after the errand is over is that device's.
    pub(crate) fn came(&self, bytes: u64) {
        self.moved.fetch_add(bytes, Ordering::Relaxed);
        if !self.cancel.is_cancelled() {
            self.toll.pay(bytes);
        }
    }

    /// Longest body of this media type.
    pub(crate) fn most(&self, kind: Option<&str>) -> Option<u64> {
        let page = self.class == Class::Background && kind.is_some_and(|kind| kind.to_ascii_lowercase().contains("html"));
        if page { Some(self.max_bytes.unwrap_or(u64::MAX).min(MAX_PAGE)) } else { self.max_bytes }
    }

    /// Resolves when the fetch is to end early: its errand is over and no device waits.
    pub(crate) async fn stopped(&self, urgent: &Raise) {
        self.cancel.cancelled().await;
        if urgent.is_raised() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether everybody has left and so much is missing that the fetch ends: it outlives the device that caused it, but not by much, for
    /// nobody wants the other 2 GB of a film tapped by mistake. After a yes nobody comes along.
    pub(crate) fn is_left(&self, missing: u64, readers: &Readers, pilot: &Pilot) -> bool {
        // Of an errand that is over, a device that had come along was the last.
        let a_devices = self.class == Class::Interactive || self.cancel.is_cancelled();
        // Held by whoever fetches and by the published head.
        let gone = || readers.are_gone(2);
        a_devices && missing > FINISH && gone() && pilot.leave(gone)
    }

    /// The request with word of when a device waits for its answer, where it begins as background.
    pub(crate) fn raised_by(&self, mut request: Request<Body>, urgent: &Raise) -> Request<Body> {
        if self.class.is_background() {
            request.extensions_mut().insert(urgent.clone());
        }
        request
    }
}

/// Told of every byte of a body that an errand brings over the line, as it comes. Cheap to clone; by default nobody is told.
#[derive(Clone, Default)]
pub struct Toll(Option<Arc<dyn Fn(u64) + Send + Sync>>);

impl Toll {
    /// `pay` is called with a number of bytes, often: it waits for nothing.
    pub fn new(pay: impl Fn(u64) + Send + Sync + 'static) -> Toll {
        Toll(Some(Arc::new(pay)))
    }

    /// These bytes came.
    pub fn pay(&self, bytes: u64) {
        if let Some(pay) = &self.0 {
            pay(bytes);
        }
    }
}

impl std::fmt::Debug for Toll {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Toll" } else { "no Toll" })
    }
}

/// Why a body could not be kept whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("{0}")]
    Origin(BodyError),
    #[error("the body decodes to more than {0} bytes")]
    Bomb(u64),
    #[error("the body is longer than the {0} bytes that were asked for")]
    TooLong(u64),
    #[error("nobody waits for the rest any more")]
    Left,
    #[error(transparent)]
    Store(#[from] Error),
}

impl Broken {
    /// For those who wait.
    pub(crate) fn stage(&self) -> Stage {
        tracing::debug!(why = %self, "a body was not kept whole");
        let cut = match self {
            Broken::TooLong(most) => Cut::TooLong(*most),
            Broken::Store(_) => Cut::Store,
            Broken::Origin(_) | Broken::Bomb(_) | Broken::Left => Cut::Short,
        };
        Stage::Broken(self.to_string().into(), cut)
    }
}

/// An answer that may be kept, about to be.
pub(crate) struct Arrival {
    /// The store's epoch when it was asked for.
    pub(crate) since: Epoch,
    pub(crate) meta: Meta,
    /// Fields that are for the one who asked alone.
    pub(crate) withheld: HeaderMap,
    pub(crate) draft: Draft,
    pub(crate) coded: Coded,
    pub(crate) body: Body,
    /// Of the identity body.
    pub(crate) length: Option<u64>,
}

/// What becomes of an answer's head.
pub(crate) enum Judged {
    /// Kept and shared.
    Keep(Box<Arrival>),
    /// For the one who asked alone; the reason.
    Apart(Response<Body>, policy::Why),
}

impl Inner {
    /// Judges a final answer to `ask`: keep or not. 206 and 304 are not for here.
    /// `since`: the store's epoch when it was asked for.
    pub(crate) fn judge(&self, ask: &Ask<'_>, order: &Order, response: Response<Body>, (requested, since): (Time, Epoch)) -> Judged {
        let received = self.clock.now();
        let mut vary = match policy::admit(&self.rules, ask, response.status(), response.headers(), received) {
            Admit::Store { vary } => vary,
            Admit::No(why) => return Judged::Apart(response, why),
        };
        let keep_coding = policy::directive::Directives::read(response.headers()).no_transform;
        let coded = coding::coded(response.headers(), keep_coding);
        if !matches!(coded, Coded::Stays(_)) {
            // Kept decoded: one variant serves every Accept-Encoding.
            policy::key::forget_coding(&mut vary);
        }
        let sent = content_length(response.headers());
        let length = match &coded {
            Coded::Undo(_) => None,
            _ if *ask.method == Method::HEAD || !has_body(response.status()) => Some(0),
            _ => sent,
        };
        let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        // What is too long is refused for that, when it comes in, and not because the store has no room for it.
        let expected = length.filter(|length| order.most(kind).is_none_or(|most| *length <= most));
        let Ok(mut draft) = self.store.begin_for(order.source, expected, kind) else {
            return Judged::Apart(response, policy::Why::StoreFull);
        };
        draft.asked_in(since);
        let (head, body) = response.into_parts();
        let withheld = policy::header::withheld(&head.headers);
        let meta = Meta {
            key: policy::key::entry_key(&ask.target.key(), &vary),
            url: ask.target.url().into(),
            status: head.status,
            headers: storable_fields(&head.headers, received),
            vary,
            requested,
            received,
            coding: if let Coded::Stays(names) = &coded { Some(names.clone()) } else { None },
            was_coded: if let Coded::Undo(_) = &coded { text(&head.headers, CONTENT_ENCODING) } else { None },
            source: order.source,
            way: order.way,
            flags: 0,
        };
        Judged::Keep(Box::new(Arrival { since, meta, withheld, draft, coded, body, length }))
    }

    /// Publishes the arrival, writes the body as it comes, and stores it.
    ///
    /// # Errors
    /// When the body breaks off, is too long, or the store fails. Readers have been told by then.
    pub(crate) async fn land(&self, arrival: Arrival, order: &Order, pilot: &Pilot) -> Result<Arc<Entry>, Broken> {
        let Arrival { since, meta, withheld, mut draft, coded, body, length } = arrival;
        let readers = Readers::default();
        pilot.withhold(withheld);
        let (tail, landing) = (draft.tail(), pilot.landing());
        draft.flagged_by(pilot.doubt());
        let in_order = pieces::refuses_ranges(&meta.headers) || (pilot.brings_whole() && !meta.headers.contains_key(ACCEPT_RANGES));
        let live = Live { meta: meta.clone(), total: length, part: None, in_order, tail: tail.clone(), readers: readers.clone(), landing };
        pilot.publish(Stage::Live(Arc::new(live)));
        let mut intake =
            Intake { inner: self, since, order, pilot, readers, meta: &meta, total: length, tail, saved: 0, keeps_parts: false };
        let done = match intake.run(&mut draft, coded, body).await {
            Ok(()) => draft.commit(meta.clone()).await.map_err(Broken::from),
            Err(broken) => {
                // Keeping the rest takes a while, in which nobody is to come along.
                pilot.unlist();
                let came = draft.len();
                draft.fail(&broken.to_string());
                match broken {
                    Broken::Origin(_) | Broken::Left => intake.save_up_to(came).await,
                    // The next one who asks gets it as it comes.
                    Broken::Bomb(_) => self.board.set_unkeepable(UrlKey::of(&meta.url)),
                    Broken::TooLong(_) | Broken::Store(_) => {}
                }
                Err(broken)
            }
        };
        // Parts of what broke off are kept, too.
        if pilot.is_overtaken() {
            self.outdate(&UrlKey::of(&meta.url)).await;
        }
        match &done {
            Ok(entry) => pilot.publish(Stage::Stored(Arc::clone(entry), Outcome::Filled)),
            Err(broken) => pilot.publish(broken.stage()),
        }
        done
    }
}

/// Takes one body in.
struct Intake<'a> {
    inner: &'a Inner,
    since: Epoch,
    order: &'a Order,
    pilot: &'a Pilot,
    readers: Readers,
    meta: &'a Meta,
    total: Option<u64>,
    /// Gives back what came, when a piece of it is to be kept: a copy in memory for each of a class's downloads would be too much.
    tail: Tail,
    /// Kept as parts so far.
    saved: u64,
    /// Where the rest can be asked for later, and until the store takes no more of them.
    keeps_parts: bool,
}

impl Intake<'_> {
    async fn run(&mut self, draft: &mut Draft, coded: Coded, body: Body) -> Result<(), Broken> {
        self.check_length(self.total.unwrap_or(0))?;
        let counted = self.counted(body);
        let Coded::Undo(how) = coded else { return self.plain(draft, counted).await };
        match coding::undo(coding::reader(counted), how).await.map_err(origin)? {
            Ok(decoded) => self.decoded(draft, decoded).await,
            // It only says it is coded: kept as it came. The head has gone out as decoded, which is what it is.
            Err(raw) => self.decoded(draft, Box::pin(raw)).await,
        }
    }

    /// Counts what crosses the line.
    fn counted(&self, body: Body) -> Body {
        let (order, total) = (self.order.clone(), self.inner.counters.upstream.clone());
        stream::from_stream(stream::pieces(body).inspect(move |piece| {
            if let Ok(bytes) = piece {
                order.came(bytes.len() as u64);
                total.inc_by(bytes.len() as u64);
            }
        }))
    }

    async fn plain(&mut self, draft: &mut Draft, body: Body) -> Result<(), Broken> {
        self.keeps_parts = self.resumable();
        let mut pieces = stream::pieces(body);
        loop {
            let piece = tokio::select! {
                piece = pieces.next() => piece,
                () = self.order.stopped(&self.pilot.urgent) => if self.pilot.stop() { return Err(Broken::Left) } else { continue },
            };
            let Some(piece) = piece else { break };
            let bytes = piece.map_err(Broken::Origin)?;
            draft.write(bytes).await?;
            self.pilot.lead_alone(draft);
            while self.keeps_parts && draft.len() - self.saved >= PIECE {
                self.save_up_to(self.saved + PIECE).await;
            }
            self.check_length(draft.len())?;
            self.check_readers(draft.len())?;
        }
        match self.total {
            Some(total) if total != draft.len() => Err(Broken::Origin(format!("{} of {total} bytes arrived", draft.len()).into())),
            _ => Ok(()),
        }
    }

    async fn decoded(
        &mut self,
        draft: &mut Draft,
        mut body: std::pin::Pin<Box<dyn tokio::io::AsyncRead + Send + '_>>,
    ) -> Result<(), Broken> {
        let start = self.order.moved.load(Ordering::Relaxed);
        loop {
            let mut step = BytesMut::with_capacity(STEP);
            let read = tokio::select! {
                read = body.read_buf(&mut step) => read.map_err(origin)?,
                () = self.order.stopped(&self.pilot.urgent) => if self.pilot.stop() { return Err(Broken::Left) } else { continue },
            };
            if read == 0 {
                return Ok(());
            }
            draft.write(step.freeze()).await?;
            self.pilot.lead_alone(draft);
            self.check_length(draft.len())?;
            self.check_readers(draft.len())?;
            let came = self.order.moved.load(Ordering::Relaxed).saturating_sub(start).max(1);
            if draft.len() > self.inner.decoded_max || (draft.len() > BOMB_FREE && draft.len() / came > BOMB_RATIO) {
                return Err(Broken::Bomb(draft.len()));
            }
        }
    }

    fn check_length(&self, length: u64) -> Result<(), Broken> {
        match self.order.most(self.meta.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok())) {
            Some(most) if length > most && self.pilot.stop() => Err(Broken::TooLong(most)),
            _ => Ok(()),
        }
    }

    fn check_readers(&self, length: u64) -> Result<(), Broken> {
        let left = self.total.map_or(length, |total| total - length.min(total));
        if self.order.is_left(left, &self.readers, self.pilot) { Err(Broken::Left) } else { Ok(()) }
    }

    /// Whether a fetch that breaks off can go on later: large, length known, and the same bytes can be asked for again.
    fn resumable(&self) -> bool {
        let plain = self.meta.status == StatusCode::OK && self.meta.coding.is_none();
        plain
            && self.total.is_some_and(|total| total > pieces::worth(self.order.class))
            && strong_validator(&self.meta.headers).is_some()
            && !pieces::refuses_ranges(&self.meta.headers)
    }

    /// Keeps what came since the last piece. A store that takes nothing ends no download: only resuming is lost.
    async fn save_up_to(&mut self, end: u64) {
        let part = std::mem::replace(&mut self.saved, end)..end;
        // The last piece would complete the object; the commit does that, with every reader served.
        let Some(total) = self.total.filter(|total| self.keeps_parts && !part.is_empty() && end < *total) else { return };
        let saved = self.inner.keep_piece((self.since, self.meta, total), part.start, (self.tail.clone(), part), self.pilot.doubt()).await;
        if let Err(error) = saved {
            tracing::warn!(%error, "could not keep a part of a body; it cannot be resumed");
            self.keeps_parts = false;
        }
    }
}

fn origin(error: std::io::Error) -> Broken {
    Broken::Origin(Box::new(error))
}

/// `Content-Length` as hyper has already checked it.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

fn text(headers: &HeaderMap, name: http::HeaderName) -> Option<Box<str>> {
    headers.get(name)?.to_str().ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_store_that_fails_is_not_laid_at_the_origins_door() {
        let cut = |broken: Broken| match broken.stage() {
            Stage::Broken(_, cut) => cut,
            _ => panic!("no other stage"),
        };
        assert_eq!(cut(Broken::Store(Error::Full)), Cut::Store);
        assert_eq!((cut(Broken::Left), cut(Broken::TooLong(5))), (Cut::Short, Cut::TooLong(5)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_errand_that_is_over_ends_its_fetch_unless_a_device_waits() {
        let order = Order::for_client(Way::Http);
        let (nobody, device) = (Raise::default(), Raise::now());
        order.cancel.cancel();
        order.stopped(&nobody).await;
        assert!(tokio::time::timeout(Duration::from_mins(1), order.stopped(&device)).await.is_err(), "whoever has joined gets the rest");
    }
}
