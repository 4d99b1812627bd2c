//! The store: keeps each body once, under the blake3 of its decoded bytes, and every answer that leads to it; finds, begins,
//! commits, renews, pins, forgets. It does not know what an answer means: freshness and who may have it are decided above.
//!
//! The truth is an append-only, self-describing segment log (`segment.rs`, layout in `record.rs`). A table in memory says where
//! everything is (`table.rs`), built at start from footers (`recover.rs`). Small answers lie ready in memory (`hot.rs`). Parts, and
//! each large body, have segments of their own, which are removed when nothing leads to them.
//!
//! # The promise
//! What `sync`, `pin` or a durable `forget` has returned for is still so after a power cut. Other writes are durable within
//! `sync_after` or `sync_bytes`. A body that does not verify is a miss and is counted; wrong bytes are never given out.
//!
//! # Why
//! sled is an index only: in simulated power cuts it lost acknowledged writes, the log in none. It may be deleted,
//! damaged or late at any time; nothing waits for it.

/// Every byte on disk.
pub mod record;

/// What a META keeps.
mod meta;

/// The file operations.
mod disk;

/// Append, group commit, seal.
mod segment;

/// Notes beside the log.
mod note;

/// What time the records prove.
mod dates;

/// Opening after a crash.
mod recover;

/// The table on disk.
mod snapshot;

/// Where everything is, in memory.
mod table;

/// sled, derived and guarded.
mod index;

/// Wire-ready answers in memory.
mod hot;

/// Who may come in, who leaves first, making room.
mod evict;

/// What is alive into new segments.
mod rewrite;

/// What packs keep, in bytes.
mod pinned;

/// Everything read and verified once a month.
mod scrub;

/// Work for quiet hours.
mod tend;

/// How a body is kept.
mod pack;

/// Streaming in.
mod write;

/// Streaming out.
mod read;

/// What has been verified of large bodies.
mod lend;

/// Other forms in which a body can go out.
mod form;

/// Smaller, every night.
mod shrink;

/// What the clones of a store share.
mod inner;

/// One answer's life: find, commit, renew, forget, pin.
mod keep;

/// What a person forgets.
mod purge;

/// Exact figures.
mod survey;

/// What the owner decides.
mod settings;

/// What can go wrong.
mod error;

/// What it tells about itself.
mod stat;

/// Answers in a folder that can be carried.
pub mod bundle;

/// Reads and checks a store that nobody has open.
mod check;

#[cfg(test)]
mod tests;

pub use check::check;
pub use error::Error;
pub use form::{Form, Forms};
pub use purge::Epoch;
pub use settings::Settings;
pub use shrink::{Pace, Shrunk};
pub use stat::{Check, Repacked, Stat};
pub use survey::{By, Row, Spared, Survey};
pub use tend::{Permit, Tend};
pub use write::{Draft, Tail};

use crate::base::body::Body;
use crate::base::clock::{Clock, Time};
use crate::base::count::Metrics;
use crate::base::digest::Digest;
use crate::base::target::UrlKey;
use crate::life::Life;
use crate::store::disk::Disk;
use crate::store::inner::{Flight, Inner};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use std::any::Any;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// Who brought an entry in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A device asked.
    Client,
    /// Fetched ahead, not for a pack.
    Prefetch,
    /// Fetched for a pack, by the node itself, without cookies.
    Pack,
}

/// The way by which content became cacheable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// Plain HTTP through the proxy.
    Http,
    /// Under the school's own names.
    Mirror,
    /// https of a listed host on an enrolled device.
    Intercept,
}

/// What is kept of an answer beside its body. The store keeps it as it is and understands only `key`, `url` and times.
#[derive(Clone, Debug, PartialEq)]
pub struct Meta {
    /// blake3(URL key ‖ Vary-selected request fields): names the variant.
    pub key: Digest,
    /// Canonical URL.
    pub url: Box<str>,
    /// Status of the stored answer (200 for a partial one).
    pub status: StatusCode,
    /// Stored header fields, hop-by-hop ones already gone, as the origin sent them.
    pub headers: HeaderMap,
    /// `Vary`-nominated request fields with their normalised values.
    pub vary: Vec<(Box<str>, Box<[u8]>)>,
    /// When the request was sent.
    pub requested: Time,
    /// When the answer's head arrived.
    pub received: Time,
    /// Set when the body is kept in this content coding (could not or must not be decoded); `None`: kept decoded.
    pub coding: Option<Box<str>>,
    /// Set when the origin's body was coded and is kept decoded: the coding it came in.
    pub was_coded: Option<Box<str>>,
    /// Who brought it in.
    pub source: Source,
    /// By which way.
    pub way: Way,
    /// Room for the floors above (versioned by them), e.g. "refused by stranger rule for others".
    pub flags: u32,
}

/// One stored answer: its meta and where its body is. Held in memory as `Arc<Entry>`.
#[derive(Debug)]
pub struct Entry {
    /// What was kept beside the body.
    pub meta: Meta,
    /// The object's name; `None` while the body is only partly here.
    pub object: Option<Digest>,
    /// Length of the whole (identity) body.
    pub length: u64,
    /// What of it is here, sorted and disjoint; one full range for a whole object.
    pub have: Vec<Range<u64>>,
    /// Kept by a pack.
    pub pinned: bool,
    /// The whole body, when the hot tier holds it.
    pub body: Option<Bytes>,
    /// What else it can go out as, as far as that has been asked for.
    pub forms: Forms,
    /// A seat for what the floor above derives from the entry (parsed directives, ready headers); lives as long as the entry
    /// stays in memory.
    pub seat: OnceLock<Arc<dyn Any + Send + Sync>>,
}

/// All stored variants of one URL, newest first.
pub type Variants = Arc<[Arc<Entry>]>;

/// Answers read at once by [`Store::each`].
const EACH: usize = 256;

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

impl Store {
    /// Opens or makes the store; recovers after a crash; seals old open segments. Blocking, and within the runtime; call before
    /// serving. A folder that cannot be written is opened for reading.
    ///
    /// # Errors
    /// `Unusable` when another process has it open or its format is newer; `Disk` when it cannot be read.
    pub fn open(settings: Settings, clock: Clock, life: &Life, metrics: &Metrics) -> Result<Store, Error> {
        Store::open_on(Arc::new(disk::Real), settings, clock, life, metrics)
    }

    /// Opens a store that no node has open, for looking only: nothing in the folder is changed. As [`Store::open`] otherwise.
    ///
    /// # Errors
    /// `Unusable` when it is no store, another process has it open or its format is newer; `Disk` when it cannot be read.
    pub fn open_still(settings: Settings, clock: Clock, life: &Life, metrics: &Metrics) -> Result<Store, Error> {
        if !settings.path.join("seg").is_dir() {
            return Err(Error::no_store(&settings.path));
        }
        Store::open_on(Arc::new(disk::still::Still), settings, clock, life, metrics)
    }

    fn open_on(disk: Arc<dyn Disk>, settings: Settings, clock: Clock, life: &Life, metrics: &Metrics) -> Result<Store, Error> {
        Ok(Store(Inner::open(disk, settings, clock, life, metrics)?))
    }

    /// The variants of a URL if they are in memory. Never blocks, never touches the disk; the hit path. Marks them used.
    pub fn peek(&self, url: &UrlKey) -> Option<Variants> {
        self.0.hot.get(url)
    }

    /// Whether anything is stored under this URL (RAM table only; false positives are possible, false negatives are not).
    pub fn may_have(&self, url: &UrlKey) -> bool {
        self.0.log.table().read().may_have(url)
    }

    /// Whether a pack keeps this URL.
    pub fn is_pinned(&self, url: &UrlKey) -> bool {
        self.0.log.table().read().pinned(url)
    }

    /// The variants of a URL, read from disk when need be and put into memory (with the body when it fits the hot tier).
    /// Concurrent calls for one URL share one read. Empty when nothing is stored. May be dropped at any await.
    ///
    /// # Errors
    /// `Disk`. Damage is no error here: what is damaged is left out.
    pub async fn find(&self, url: &UrlKey) -> Result<Variants, Error> {
        if let Some(variants) = self.peek(url) {
            return Ok(variants);
        }
        if !self.may_have(url) {
            return Ok(Arc::from([]));
        }
        let flight = Flight::join(&self.0, *url);
        let key = *url;
        let found = flight.cell.get_or_try_init(|| self.0.run(move |inner| inner.load(&key))).await;
        found.cloned()
    }

    /// The body or the given part of it as a stream, verified. The range must lie within `entry.have`.
    ///
    /// # Errors
    /// `Damaged` when it did not verify, which may also come in the stream; `Disk`.
    pub async fn read(&self, entry: &Arc<Entry>, range: Option<Range<u64>>) -> Result<Body, Error> {
        read::read(&self.0, entry, range).await
    }

    /// Starts writing a new body of (decoded) content. `expected` is its length if known; `content_type` decides compression.
    ///
    /// # Errors
    /// As [`Store::begin_for`].
    pub fn begin(&self, expected: Option<u64>, content_type: Option<&str>) -> Result<Draft, Error> {
        self.begin_for(Source::Client, expected, content_type)
    }

    /// The same for whoever brings it in: only a pack may bring what takes more than a tenth of the quota. Room is made while the
    /// body arrives.
    ///
    /// # Errors
    /// `Full` when it would not fit even then, or is too large; `ReadOnly`.
    pub fn begin_for(&self, source: Source, expected: Option<u64>, content_type: Option<&str>) -> Result<Draft, Error> {
        let (expected, most) = (expected.unwrap_or(0), self.0.object_max(source));
        if expected > most {
            return Err(Error::Full);
        }
        self.0.may_admit(expected)?;
        Ok(Draft::new(Arc::clone(&self.0), content_type, expected, most))
    }

    /// Bytes of the longest body that may come in from there.
    pub fn longest(&self, source: Source) -> u64 {
        self.0.object_max(source)
    }

    /// Replaces an entry's meta (304, HEAD) without touching its body. An entry that was forgotten meanwhile stays so, and what
    /// replaced one meanwhile stays as it is: the caller alone gets the old one with `meta`. In a full store the new meta is kept in
    /// memory alone.
    ///
    /// # Errors
    /// `ReadOnly`, `Disk`.
    pub async fn renew(&self, entry: &Arc<Entry>, meta: Meta) -> Result<Arc<Entry>, Error> {
        let entry = Arc::clone(entry);
        self.0.run_write(move |inner| inner.renew(&entry, meta)).await
    }

    /// Now, in the row of purges: taken before a request is sent, see [`Draft::asked_in`].
    pub fn epoch(&self) -> Epoch {
        self.0.purges.epoch()
    }

    /// Adds bytes to a partly kept body (PART records of at most 4 MiB); makes the entry when it is new. `total` is the whole
    /// length. Turns into a whole object by itself when nothing is missing. Parts of an entry whose strong validator differs
    /// from `meta`'s, or that has none, are dropped first. A whole entry is left as it is and returned: of the same version nothing
    /// is missing, and another version replaces it only when that is whole, by [`Draft::commit`].
    ///
    /// # Errors
    /// `Full`, `ReadOnly`, `Disk` (also when the bytes reach beyond `total`).
    pub async fn put_part(&self, meta: Meta, total: u64, offset: u64, bytes: Bytes) -> Result<Arc<Entry>, Error> {
        self.put_part_of(self.epoch(), meta, total, (offset, bytes), || 0).await
    }

    /// The same for bytes that were asked for in an earlier epoch; flags as for [`Draft::flagged_by`].
    ///
    /// # Errors
    /// As [`Store::put_part`], and `Purged`.
    pub async fn put_part_of(
        &self,
        since: Epoch,
        meta: Meta,
        total: u64,
        (offset, bytes): (u64, Bytes),
        raised: impl Fn() -> u32 + Send + 'static,
    ) -> Result<Arc<Entry>, Error> {
        let inner = Arc::clone(&self.0);
        self.0.run_write(move |_| inner.put_part(since, meta, total, (offset, &bytes), raised)).await
    }

    /// Forgets all variants of a URL, and its pins; durable and also for fetches under way when `durable` (purge by a person), else
    /// lazily (invalidation). How many there were.
    ///
    /// # Errors
    /// `ReadOnly`, `Disk`.
    pub async fn forget(&self, url: &UrlKey, durable: bool) -> Result<u64, Error> {
        let url = *url;
        self.0.run_write(move |inner| if durable { inner.purge(&url) } else { inner.forget(&url, false) }).await
    }

    /// Forgets this entry alone; other variants and pins of its URL stay. Not durable.
    ///
    /// # Errors
    /// `ReadOnly`, `Disk`.
    pub async fn forget_entry(&self, entry: &Entry) -> Result<(), Error> {
        let (url, key) = (UrlKey::of(&entry.meta.url), entry.meta.key);
        self.0.run_write(move |inner| inner.forget_entry(&url, &key)).await
    }

    /// Forgets everything whose URL has this host; durable, and also for fetches under way. How many entries.
    ///
    /// # Errors
    /// `ReadOnly`, `Disk`.
    pub async fn forget_host(&self, host: &str) -> Result<u64, Error> {
        let host = host.to_owned();
        self.0.run_write(move |inner| inner.purge_host(&host, false)).await
    }

    /// The same for a host and all its subdomains.
    ///
    /// # Errors
    /// `ReadOnly`, `Disk`.
    pub async fn forget_site(&self, host: &str) -> Result<u64, Error> {
        let host = host.to_owned();
        self.0.run_write(move |inner| inner.purge_host(&host, true)).await
    }

    /// Forgets every entry of this object; durable. How many entries.
    ///
    /// # Errors
    /// `ReadOnly`, `Disk`.
    pub async fn forget_object(&self, object: &Digest) -> Result<u64, Error> {
        let object = *object;
        self.0.run_write(move |inner| inner.purge_object(&object)).await
    }

    /// Lets a set (a pack's id) go and forgets what only it kept; durable. How many URLs it kept, and how many entries are gone;
    /// with `trial` nothing is done.
    ///
    /// # Errors
    /// `ReadOnly`, `Disk`.
    pub async fn forget_set(&self, set: &str, trial: bool) -> Result<(u64, u64), Error> {
        let set = set.to_owned();
        self.0.run_write(move |inner| if trial { Ok(inner.weigh_set(&set)) } else { inner.purge_set(&set) }).await
    }

    /// Pins an entry's URL for a set (a pack's id): durable when this returns, and with it all that was stored before. The URL's
    /// entries must be stored.
    ///
    /// # Errors
    /// `Disk` of kind `NotFound` when nothing is stored under the URL; `Full` when packs keep as much as they may
    /// (`pinned_share`); `ReadOnly`.
    pub async fn pin(&self, set: &str, url: &UrlKey) -> Result<(), Error> {
        let (set, url) = (set.to_owned(), *url);
        self.0.run_write(move |inner| inner.pin(&set, &url, true).map(|_| ())).await
    }

    /// Lets a whole set go, or one URL of it; durable. How many URLs.
    ///
    /// # Errors
    /// `ReadOnly`, `Disk`.
    pub async fn unpin(&self, set: &str, url: Option<&UrlKey>) -> Result<u64, Error> {
        let (set, url) = (set.to_owned(), url.copied());
        self.0
            .run_write(move |inner| match url {
                Some(url) => inner.pin(&set, &url, false),
                None => inner.unpin_set(&set),
            })
            .await
    }

    /// Everything appended so far is on disk when this returns.
    ///
    /// # Errors
    /// `Disk` when it could not be made so.
    pub async fn sync(&self) -> Result<(), Error> {
        self.0.run_write(|inner| inner.log.sync()).await
    }

    /// Exact figures, by what the rows are. `progress` gets (bytes done, bytes in all). May be dropped at any await.
    ///
    /// # Errors
    /// `Disk`.
    pub async fn survey(&self, by: Option<By>, mut progress: impl FnMut(u64, u64) + Send) -> Result<Survey, Error> {
        let stops = self.0.run(inner::Inner::survey_stops).await?;
        let total = stops.iter().map(|stop| stop.found.length).sum();
        let (mut work, mut done) = (survey::Work::new(by, self.0.now()), 0);
        for stop in stops {
            done += stop.found.length;
            work = self.0.run(move |inner| inner.survey_step(work, &stop)).await?;
            progress(done, total);
        }
        Ok(work.finish())
    }

    /// The worker for quiet hours: gives dead bytes back and verifies what is stored. `permit` says whether it is quiet.
    pub fn tend(&self, permit: Permit) -> Tend {
        Tend::new(&self.0, permit)
    }

    /// URLs that packs keep and that were found damaged since this was asked last, for whoever fetches them again. They are misses
    /// now. At most a thousand are remembered.
    pub fn lost_pinned(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lost.lock())
    }

    /// Bytes that packs may still keep (`pinned_share`).
    pub fn pinned_room(&self) -> u64 {
        self.0.pins.room(&self.0)
    }

    /// Figures now.
    pub fn stat(&self) -> Stat {
        self.0.stat()
    }

    /// Makes what is stored smaller, in small steps, as long as `permit` says so: zstd at a higher level, dictionaries of sites,
    /// deltas between versions. What has been done by then stays done, and another call goes on from there. `progress` gets the
    /// figures after each step.
    ///
    /// # Errors
    /// `ReadOnly`, `Disk`.
    pub async fn shrink(
        &self,
        pace: Pace,
        permit: impl Fn() -> bool + Send,
        mut progress: impl FnMut(&Shrunk) + Send,
    ) -> Result<Shrunk, Error> {
        let (mut night, mut sum) = (shrink::Night::new(pace), Shrunk::default());
        while !sum.done && permit() {
            (night, sum) = self.0.run_write(move |inner| night.step(inner).map(|sum| (night, sum))).await?;
            progress(&sum);
        }
        Ok(sum)
    }

    /// Makes everything smaller that can be, now and whatever that writes; with `trial` nothing is done. May be dropped at any await.
    ///
    /// # Errors
    /// As [`Store::shrink`].
    pub async fn repack(&self, trial: bool, mut progress: impl FnMut(bundle::Step) + Send) -> Result<Repacked, Error> {
        let before = self.stat();
        let told = |sum: &Shrunk| {
            let (done, total) = (sum.before_bytes.min(sum.open_bytes), sum.open_bytes);
            progress(bundle::Step { phase: "shrinking".into(), done, total, current: String::new() });
        };
        let shrunk = self.shrink(Pace::Now, || !trial, told).await?;
        let after = self.stat();
        let (before_bytes, after_bytes) = (before.disk_bytes, after.disk_bytes);
        Ok(Repacked { before_bytes, after_bytes, codecs_before: before.codecs, codecs_after: after.codecs, shrunk })
    }

    /// Seals and syncs; call at the end of the node's life.
    ///
    /// # Errors
    /// `Disk` when the last records could not be made durable.
    pub async fn close(&self) -> Result<(), Error> {
        self.0
            .run_write(|inner| {
                let closed = inner.log.close();
                if let Err(error) = inner.snapshot() {
                    tracing::debug!(%error, "no snapshot of the table; the next start reads the footers");
                }
                inner.index.stop();
                closed
            })
            .await
    }

    /// Visits every entry's meta (for `store stat --by`, plan, lists) in small steps, in the order of the disk. Entries that
    /// come or go meanwhile may be missed.
    ///
    /// # Errors
    /// `Disk`.
    pub async fn each(&self, mut visit: impl FnMut(&Entry) + Send) -> Result<(), Error> {
        let places = self.0.run(|inner| Ok(inner.log.table().read().places())).await?;
        for batch in places.chunks(EACH) {
            let batch = batch.to_vec();
            let entries = self.0.run(move |inner| inner.entries_at(&batch)).await?;
            entries.iter().for_each(&mut visit);
        }
        Ok(())
    }
}
