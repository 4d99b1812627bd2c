//! Entries, folders, short cuts for the store's tests.

use crate::base::clock::{Clock, Time};
use crate::base::count::Metrics;
use crate::base::digest::Digest;
use crate::base::target::UrlKey;
use crate::base::unit::Bytes as Size;
use crate::life::Life;
use crate::store::disk::{Disk, Real};
use crate::store::recover::url_key;
use crate::store::{Entry, Error, Forms, Meta, Settings, Source, Store, Way};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// A meta with some fields.
pub(crate) fn meta(url: &str) -> Meta {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert("etag", HeaderValue::from_static("\"v1\""));
    headers.insert("cache-control", HeaderValue::from_static("max-age=3600"));
    let now = Time::from_secs(1_800_000_000);
    Meta {
        key: Digest::of(&url_key(url).0),
        url: url.into(),
        status: StatusCode::OK,
        headers,
        vary: Vec::new(),
        requested: now,
        received: now,
        coding: None,
        was_coded: Some("gzip".into()),
        source: Source::Client,
        way: Way::Http,
        flags: 0,
    }
}

/// The meta of a variant of a URL.
pub(crate) fn variant(url: &str, language: &str) -> Meta {
    let key = Digest::of(&[&url_key(url).0[..], language.as_bytes()].concat());
    Meta { key, vary: vec![("accept-language".into(), language.as_bytes().into())], ..meta(url) }
}

/// An entry in memory.
pub(crate) fn entry(url: &str, body: &[u8]) -> Entry {
    Entry {
        meta: meta(url),
        object: Some(Digest::of(body)),
        length: body.len() as u64,
        have: std::iter::once(0..body.len() as u64).collect(),
        pinned: false,
        body: Some(Bytes::copy_from_slice(body)),
        forms: Forms::default(),
        seat: OnceLock::new(),
    }
}

/// Small limits, so that tests seal and spill.
pub(crate) fn settings(path: &Path) -> Settings {
    Settings {
        path: path.to_owned(),
        quota: Size::mib(512),
        memory: Size::mib(4),
        segment: Size::mib(4),
        index_cache: Size::mib(1),
        ..Settings::default()
    }
}

/// Opens a store on the real disk.
pub(crate) fn open(path: &Path) -> Store {
    open_on(Arc::new(Real), settings(path)).unwrap()
}

/// Opens a store.
pub(crate) fn open_on(disk: Arc<dyn Disk>, settings: Settings) -> Result<Store, Error> {
    Store::open_on(disk, settings, Clock::manual(Time::from_secs(1_800_000_000)), &Life::default(), &Metrics::default())
}

/// Stores a body.
pub(crate) async fn put(store: &Store, meta: Meta, body: &[u8]) -> Result<Arc<Entry>, Error> {
    let kind = meta.headers.get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
    let mut draft = store.begin(Some(body.len() as u64), kind.as_deref())?;
    for piece in body.chunks(100_000) {
        draft.write(Bytes::copy_from_slice(piece)).await?;
    }
    draft.commit(meta).await
}

/// Stores a body and pins it. Where all else is pinned it may make way between the two: then it is stored again.
pub(crate) async fn put_pinned(store: &Store, meta: Meta, body: &[u8]) -> Result<(), Error> {
    for _ in 0..100 {
        put(store, meta.clone(), body).await?;
        match store.pin("pack", &url_key(&meta.url)).await {
            Err(Error::Disk(error)) if error.kind() == std::io::ErrorKind::NotFound => {}
            pinned => return pinned,
        }
    }
    panic!("{} never stays until it is pinned", meta.url);
}

/// The whole body stored under a URL; `None` for a miss.
pub(crate) async fn get(store: &Store, url: &str) -> Option<Bytes> {
    let variants = store.find(&key(url)).await.unwrap();
    let entry = variants.first()?;
    read(store, entry, None).await.ok()
}

/// A part of an entry's body.
pub(crate) async fn read(store: &Store, entry: &Arc<Entry>, range: Option<std::ops::Range<u64>>) -> Result<Bytes, String> {
    let body = store.read(entry, range).await.map_err(|error| error.to_string())?;
    body.collect(1 << 30).await.map_err(|error| error.to_string())
}

/// The key of a URL.
pub(crate) fn key(url: &str) -> UrlKey {
    url_key(url)
}

/// Text that compresses about as a page does.
pub(crate) fn text(seed: u64, length: usize) -> Vec<u8> {
    let words = ["bulak", "<p class=\"x\">", "мектеп", "сабақ", "</p>\n", "lesson", "{\"id\":", "спасибо", "2026", " "];
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut out = Vec::with_capacity(length + 20);
    while out.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        out.extend_from_slice(words[(state >> 40) as usize % words.len()].as_bytes());
        if state >> 62 == 0 {
            out.extend_from_slice(format!("{}", state >> 30).as_bytes());
        }
    }
    out.truncate(length);
    out
}

/// A page of a site: mostly the same as its sisters.
pub(crate) fn page(n: u64) -> Vec<u8> {
    [&text(7, 2_500)[..], &text(n + 1_000, 700)].concat()
}

/// A script in a version, and its meta.
pub(crate) fn script(n: u64) -> Vec<u8> {
    let mut out = text(1, 60_000);
    out.splice(20_000..20_050, text(100 + n, 70));
    out
}

/// See [`script`].
pub(crate) fn script_meta(url: &str) -> Meta {
    let mut meta = meta(url);
    meta.headers.insert("content-type", HeaderValue::from_static("text/javascript"));
    meta
}

/// Bytes that do not compress.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    let mut out = vec![0; length];
    hasher.finalize_xof().fill(&mut out);
    out
}
