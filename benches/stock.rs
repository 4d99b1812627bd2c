//! A store of objects made within the process, through its own doors: for benches of what it holds, not of who brings it.
#![allow(dead_code, reason = "each bench uses its own part")]

use bulak::base::clock::{Clock, Time};
use bulak::base::count::Metrics;
use bulak::base::target::UrlKey;
use bulak::base::unit::Bytes as Size;
use bulak::life::Life;
use bulak::policy;
use bulak::store::{Error, Meta, Settings, Source, Store, Way};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use std::fs;
use std::path::{Path, PathBuf};
use tokio::runtime::{Builder, Runtime};

/// An open store and what it runs on.
pub(crate) struct Stock {
    pub(crate) store: Store,
    pub(crate) runtime: Runtime,
    pub(crate) clock: Clock,
    pub(crate) metrics: Metrics,
    pub(crate) life: Life,
}

impl Stock {
    /// Opens or makes the store of these settings.
    pub(crate) fn open(settings: Settings) -> Stock {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        Stock::open_on(runtime, Clock::system(), settings)
    }

    /// The same, always: one thread but for blocking work, and a time that stands still, so that nothing happens by itself.
    pub(crate) fn open_still(settings: Settings) -> Stock {
        let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
        Stock::open_on(runtime, Clock::manual(Time::BUILT), settings)
    }

    fn open_on(runtime: Runtime, clock: Clock, settings: Settings) -> Stock {
        let (life, metrics) = (Life::default(), Metrics::default());
        let store = {
            let _within = runtime.enter();
            Store::open(settings, clock.clone(), &life, &metrics).expect("a store")
        };
        Stock { store, runtime, clock, metrics, life }
    }

    /// Ends in order, as a node does.
    pub(crate) fn close(self) {
        self.runtime.block_on(self.store.close()).expect("a store that closes");
        self.life.stop();
    }
}

/// What the figures' stores have in common.
pub(crate) fn settings(path: PathBuf, quota: Size) -> Settings {
    Settings { path, quota, ..Settings::default() }
}

/// What is kept of an answer that is fresh for a day.
pub(crate) fn meta(url: &str, kind: &'static str, now: Time) -> Meta {
    let mut headers = HeaderMap::new();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=86400"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::DATE, HeaderValue::from_str(&now.to_http()).expect("a date"));
    Meta {
        key: policy::key::entry_key(&UrlKey::of(url), &[]),
        url: url.into(),
        status: StatusCode::OK,
        headers,
        vary: Vec::new(),
        requested: now,
        received: now,
        coding: None,
        was_coded: None,
        source: Source::Client,
        way: Way::Http,
        flags: 0,
    }
}

/// Stores one body.
///
/// # Errors
/// The store's.
pub(crate) async fn put(store: &Store, meta: Meta, body: impl IntoIterator<Item = Bytes>, length: u64) -> Result<(), Error> {
    let kind = meta.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let mut draft = store.begin(Some(length), kind)?;
    for piece in body {
        draft.write(piece).await?;
    }
    draft.commit(meta).await.map(|_| ())
}

/// A folder on the disk of `target/`, not in memory.
pub(crate) fn folder() -> tempfile::TempDir {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tmp");
    fs::create_dir_all(&here).expect("a folder");
    tempfile::tempdir_in(here).expect("a folder")
}

/// Bytes that this process has caused to be written to a disk, since its start.
pub(crate) fn written() -> u64 {
    let text = fs::read_to_string("/proc/self/io").expect("Linux");
    text.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok()).expect("write_bytes")
}

/// Blocks on disk below a folder, in bytes.
pub(crate) fn disk(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .filter_map(Result::ok)
        .map(|entry| if entry.path().is_dir() { disk(&entry.path()) } else { entry.metadata().map_or(0, |meta| meta.blocks() * 512) })
        .sum()
}

/// Millions of bytes, for print.
#[expect(clippy::cast_precision_loss, reason = "printed with one digit")]
pub(crate) fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
