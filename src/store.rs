//! The store. SKELETON: the front door that other modules call; bodies come from the store's author.

use crate::base::body::Body;
use crate::base::clock::{Clock, Time};
use crate::base::count::Metrics;
use crate::base::digest::Digest;
use crate::base::target::UrlKey;
use crate::base::unit::Bytes as Size;
use crate::life::Life;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use std::any::Any;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// How the store is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder.
    pub path: PathBuf,
    /// Most bytes on disk.
    pub quota: Size,
    /// Hot tier: wire-ready bodies in memory.
    pub memory: Size,
    /// Largest object the hot tier takes.
    pub hot_object: Size,
    /// Size of a segment.
    pub segment: Size,
    /// Group commit: sync after this many bytes ...
    pub sync_bytes: Size,
    /// ... or this long.
    pub sync_after: Duration,
    /// Largest decoded body, and largest ratio decoded/received, before a coded body counts as a bomb.
    pub decoded_max: Size,
    /// sled's page cache.
    pub index_cache: Size,
}

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

/// The way by which content became cacheable (product.md section 2).
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
    /// blake3(URL key ‖ Vary-selected request fields): names the variant (product.md section 13.3).
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
    /// A seat for what the floor above derives from the entry (parsed directives, ready headers); lives as long as the entry
    /// stays in memory.
    pub seat: OnceLock<Arc<dyn Any + Send + Sync>>,
}

/// All stored variants of one URL, newest first.
pub type Variants = Arc<[Arc<Entry>]>;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// At the quota or at 95 % of the file system: nothing new is admitted.
    #[error("the store is full")]
    Full,
    /// The folder cannot be written.
    #[error("the store is read-only")]
    ReadOnly,
    /// A record did not verify; counted, and now a miss.
    #[error("a stored object was damaged and has been dropped")]
    Damaged,
    /// The disk said no.
    #[error("disk: {0}")]
    Disk(#[from] std::io::Error),
    /// Another process has the store open, or its format is newer than this program.
    #[error("{0}")]
    Unusable(String),
}

/// Figures for status, reports and `bulak store stat`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Stat {
    /// Distinct objects.
    pub objects: u64,
    /// Stored answers.
    pub entries: u64,
    /// Decoded bytes over all entries (each entry counts its object).
    pub entry_bytes: u64,
    /// Decoded bytes over distinct objects.
    pub object_bytes: u64,
    /// Bytes on disk, live and dead.
    pub disk_bytes: u64,
    /// The quota.
    pub quota_bytes: u64,
    /// Entries kept by packs.
    pub pinned_entries: u64,
    /// Bytes spared by keeping equal bodies once.
    pub spared_dedup_bytes: u64,
    /// Bytes spared by compression.
    pub spared_zstd_bytes: u64,
    /// Records that did not verify since start.
    pub damaged: u64,
    /// Whether new content is admitted.
    pub admitting: bool,
    /// Whether the folder can be written.
    pub writable: bool,
    /// `ready`, `rebuilding` or `off`.
    pub index: String,
    /// Objects and stored bytes by codec (`raw`, `zstd`, `zstd_frames`).
    pub codecs: std::collections::BTreeMap<String, (u64, u64)>,
    /// Hot tier bytes.
    pub hot_bytes: u64,
}

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<()>);

impl Store {
    /// Opens or makes the store; recovers after a crash; seals old open segments. Blocking; call before serving.
    pub fn open(_settings: Settings, _clock: Clock, _life: &Life, _metrics: &Metrics) -> Result<Store, Error> {
        todo!()
    }

    /// The variants of a URL if they are in memory. Never blocks, never touches the disk; the hit path. Marks them used.
    pub fn peek(&self, _url: &UrlKey) -> Option<Variants> {
        todo!()
    }

    /// Whether anything is stored under this URL (RAM table only; false positives are possible, false negatives are not).
    pub fn may_have(&self, _url: &UrlKey) -> bool {
        todo!()
    }

    /// The variants of a URL, read from disk when need be and put into memory (with the body when it fits the hot tier).
    /// Concurrent calls for one URL share one read. Empty when nothing is stored.
    pub async fn find(&self, _url: &UrlKey) -> Result<Variants, Error> {
        todo!()
    }

    /// The body or the given part of it as a stream, verified. The range must lie within `entry.have`.
    pub async fn read(&self, _entry: &Arc<Entry>, _range: Option<Range<u64>>) -> Result<Body, Error> {
        todo!()
    }

    /// Starts writing a new body of (decoded) content. `expected` is its length if known; `content_type` decides compression;
    /// `Err(Full | ReadOnly)` when nothing is admitted.
    pub fn begin(&self, _expected: Option<u64>, _content_type: Option<&str>) -> Result<Draft, Error> {
        todo!()
    }

    /// Replaces an entry's meta (304, HEAD) without touching its body.
    pub async fn renew(&self, _entry: &Arc<Entry>, _meta: Meta) -> Result<Arc<Entry>, Error> {
        todo!()
    }

    /// Adds bytes to a partly kept body (one PART record per call, at most 4 MiB); makes the entry when it is new. `total` is the
    /// whole length. Turns into a whole object by itself when nothing is missing. Parts of an entry whose strong validator
    /// differs from `meta`'s are dropped first.
    pub async fn put_part(&self, _meta: Meta, _total: u64, _offset: u64, _bytes: Bytes) -> Result<Arc<Entry>, Error> {
        todo!()
    }

    /// Forgets all variants of a URL; durable when `durable` (purge by a person), else lazily (invalidation). How many there were.
    pub async fn forget(&self, _url: &UrlKey, _durable: bool) -> Result<u64, Error> {
        todo!()
    }

    /// Forgets everything whose URL has this host; durable. How many entries.
    pub async fn forget_host(&self, _host: &str) -> Result<u64, Error> {
        todo!()
    }

    /// Forgets every entry of this object; durable. How many entries.
    pub async fn forget_object(&self, _object: &Digest) -> Result<u64, Error> {
        todo!()
    }

    /// Pins an entry's URL for a set (a pack's id): durable when this returns. The URL's entries must be stored.
    pub async fn pin(&self, _set: &str, _url: &UrlKey) -> Result<(), Error> {
        todo!()
    }

    /// Lets a whole set go, or one URL of it.
    pub async fn unpin(&self, _set: &str, _url: Option<&UrlKey>) -> Result<u64, Error> {
        todo!()
    }

    /// Everything appended so far is on disk when this returns.
    pub async fn sync(&self) -> Result<(), Error> {
        todo!()
    }

    /// Figures now.
    pub fn stat(&self) -> Stat {
        todo!()
    }

    /// Seals and syncs; call at the end of the node's life.
    pub async fn close(&self) -> Result<(), Error> {
        todo!()
    }

    /// Visits every entry's meta (for `store stat --by`, plan, lists) in small steps.
    pub async fn each(&self, _visit: impl FnMut(&Entry) + Send) -> Result<(), Error> {
        todo!()
    }
}

/// Reads and checks a store that no node has open. `deep` verifies every body. Blocking.
pub fn check(_path: &std::path::Path, _deep: bool, _repair: bool, _progress: impl FnMut(u64, u64)) -> Result<Check, Error> {
    todo!()
}

/// What `store check` found.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Check {
    /// Segments read.
    pub segments: u64,
    /// Records read.
    pub records: u64,
    /// Things that were wrong and (with `repair`) were mended without loss.
    pub repaired: Vec<String>,
    /// What was lost: URLs and reasons.
    pub lost: Vec<String>,
}

/// A body being written: invisible until `commit`, gone if dropped. In memory up to 1 MiB, then in a file below `tmp/`.
/// Readers may follow behind while it grows.
pub struct Draft(());

impl Draft {
    /// Adds bytes.
    pub async fn write(&mut self, _bytes: Bytes) -> Result<(), Error> {
        todo!()
    }

    /// Bytes so far.
    pub fn len(&self) -> u64 {
        todo!()
    }

    /// Whether there are none yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A reader that starts at `offset` and follows the writer to the end; outlives `commit`. When the draft is dropped without
    /// commit its readers get an error. `Clone`, so that latecomers can join.
    pub fn tail(&self) -> Tail {
        todo!()
    }

    /// Compresses, deduplicates, appends BLOB and META; visible when this returns, durable at the next group commit.
    pub async fn commit(self, _meta: Meta) -> Result<Arc<Entry>, Error> {
        todo!()
    }

    /// The body broke off: readers get the error; what has come so far may be kept as parts by the caller.
    pub fn fail(self, _why: &str) {
        todo!()
    }
}

/// Follows a [`Draft`].
#[derive(Clone)]
pub struct Tail(());

impl Tail {
    /// The next piece (at most 256 KiB) at `offset`, waiting for the writer when it must; `None` at the end of a finished body.
    pub async fn read(&mut self, _offset: u64) -> Result<Option<Bytes>, Error> {
        todo!()
    }
}
