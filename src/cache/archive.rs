//! ZIM files as origins: `http://wikipedia-kk.zim/…` is read from the file, on a disk of the node or in the store, never over the line.
//! So the mirror shows a library of a million pages like any other site.
//!
//! A page costs some twenty reads of a few hundred bytes, and one cluster, of which the last few are kept unpacked. Pages go out with
//! a tag of their own and for parts; redirects are answered as such.

use crate::base::body::Body;
use crate::base::target::UrlKey;
use crate::cache::hit::{Said, part_of};
use crate::cache::prepared::Prepared;
use crate::cache::serve::Answered;
use crate::cache::{Cache, Inner, stream};
use crate::policy::{Ask, Kept, Part, Why};
use crate::site::zim::{self, Cluster, Entry as Page, Header, What};
use crate::store;
use bytes::Bytes;
use futures_util::stream::try_unfold;
use http::header::{ACCEPT_RANGES, ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, LOCATION};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32};

/// Where a ZIM file lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lies {
    /// On a disk.
    File(PathBuf),
    /// In the store, under this URL.
    Stored(UrlKey),
}

/// The archives by host.
pub(crate) type Archives = HashMap<String, Arc<Archive>>;

/// One ZIM file.
pub(crate) struct Archive {
    lies: Lies,
    /// `None` before it is first asked for; what lies there may become another.
    open: Mutex<Option<Arc<Open>>>,
    /// The node's, for all its archives.
    shelf: Arc<Mutex<Shelf>>,
}

/// A file whose header was read.
struct Open {
    source: Source,
    header: Header,
    types: Vec<String>,
    /// Its number on the shelf: a new edition is another.
    number: u64,
    shelf: Arc<Mutex<Shelf>>,
    /// Held while a cluster is unpacked, so that a class that opens a page unpacks it once.
    unpacks: Arc<tokio::sync::Mutex<()>>,
}

/// The clusters that were unpacked last, of all archives.
#[derive(Default)]
struct Shelf {
    next: u64,
    /// By archive and cluster, the last used first.
    kept: VecDeque<((u64, u32), Bytes)>,
    bytes: usize,
}

/// Which file was opened. One that is written over in place keeps its number, and old pointers would lead into new bytes. It is the time
/// of its last change that tells: that of the last writing is what a copy was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    place: (u64, u64),
    changed: (i64, i64),
    length: u64,
}

#[derive(Clone)]
enum Source {
    File(Arc<std::fs::File>, Mark),
    Stored(Arc<store::Entry>),
}

/// Bytes of unpacked clusters that are kept: a page and its pictures lie in two or three, of about 2 MiB. The last one is kept however
/// large it is.
const SHELF: usize = 32 << 20;
/// And how many at most.
const CLUSTERS: usize = 64;
/// Redirects that are followed within a file.
const HOPS: usize = 8;
/// Bytes of one read of a body.
const PIECE: u64 = 256 << 10;
/// Largest cluster that is unpacked; none of a sound file is larger packed than plain.
const MAX_PACKED: u64 = zim::MAX_CLUSTER as u64;
/// A file changes with its edition; a browser asks again after an hour.
const AN_HOUR: HeaderValue = HeaderValue::from_static("max-age=3600");

impl Cache {
    /// Takes over which ZIM files there are, by host. Those that stay where they were stay open.
    pub fn set_archives(&self, files: Vec<(String, Lies)>) {
        let known = self.0.archives.load();
        let shelf = known.values().next().map(|archive| Arc::clone(&archive.shelf)).unwrap_or_default();
        let archive = |(host, lies): (String, Lies)| {
            let same = known.get(&host).filter(|archive| archive.lies == lies).cloned();
            (host, same.unwrap_or_else(|| Arc::new(Archive { lies, open: Mutex::default(), shelf: Arc::clone(&shelf) })))
        };
        let archives: Archives = files.into_iter().map(archive).collect();
        self.0.archives.store(Arc::new(archives));
    }

    /// Whether this host is a ZIM file on this node. Cheap.
    pub fn is_library(&self, host: &str) -> bool {
        self.0.archive(host).is_some()
    }
}

impl Inner {
    /// The file that stands for this host, as anybody may write its name.
    pub(crate) fn archive(&self, host: &str) -> Option<Arc<Archive>> {
        let archives = self.archives.load();
        if archives.is_empty() {
            return None;
        }
        let name = host.strip_suffix('.').unwrap_or(host);
        let is_lower = !name.bytes().any(|byte| byte.is_ascii_uppercase());
        if is_lower { archives.get(name).cloned() } else { archives.get(&name.to_ascii_lowercase()).cloned() }
    }

    /// A page of a file.
    pub(crate) async fn read_archive(&self, ask: &Ask<'_>, archive: &Archive) -> Answered {
        if !matches!(*ask.method, Method::GET | Method::HEAD) {
            let detail = format!("{} is a library on this node: it can only be read", ask.target.host());
            let mut answered = self.error(StatusCode::METHOD_NOT_ALLOWED, "http_request_denied", &detail, false, Why::Library);
            answered.0.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answered;
        }
        match self.find_in(ask, archive).await {
            Ok(response) => (response, Why::Fresh),
            Err(error) => {
                let (status, kind) = match error.kind() {
                    io::ErrorKind::NotFound => (StatusCode::NOT_FOUND, "http_request_error"),
                    _ => (StatusCode::BAD_GATEWAY, "proxy_internal_error"),
                };
                self.error(status, kind, &format!("{}: {error}", ask.target.host()), false, Why::Library)
            }
        }
    }

    /// The page, or why there is none.
    pub(crate) async fn find_in(&self, ask: &Ask<'_>, archive: &Archive) -> io::Result<Response<Body>> {
        let open = self.open(archive).await?;
        self.page(ask, &open).await
    }

    async fn open(&self, archive: &Archive) -> io::Result<Arc<Open>> {
        let opened = archive.open.lock().clone();
        let source = match (&archive.lies, opened) {
            (Lies::File(path), opened) => {
                let path = path.clone();
                let known = opened.as_ref().and_then(|open| open.source.mark());
                let opens = move || {
                    let odd = |error| io::Error::other(format!("{} cannot be read ({error})", path.display()));
                    if known.is_some() && known == std::fs::metadata(&path).ok().map(|found| Mark::of(&found)) {
                        return Ok(None);
                    }
                    let file = std::fs::File::open(&path).map_err(odd)?;
                    let mark = Mark::of(&file.metadata()?);
                    Ok::<_, io::Error>(Some(Source::File(Arc::new(file), mark)))
                };
                match (tokio::task::spawn_blocking(opens).await.map_err(io::Error::other)??, opened) {
                    (None, Some(open)) => return Ok(open),
                    (Some(source), _) => source,
                    // Nothing is known of what was not open.
                    (None, None) => return Err(damaged("it was not opened")),
                }
            }
            (Lies::Stored(key), opened) => {
                let variants = self.store.find(key).await.map_err(io::Error::other)?;
                let Some(entry) = variants.iter().find(|entry| entry.object.is_some()).map(Arc::clone) else {
                    return Err(io::Error::other("the file is not here yet; the night brings it"));
                };
                match opened {
                    Some(open) if open.source.object() == entry.object => return Ok(open),
                    _ => Source::Stored(entry),
                }
            }
        };
        let open = self.read_head(source, &archive.shelf).await?;
        let mut known = archive.open.lock();
        // A class comes at once: all of it is to wait for the same clusters.
        if let Some(same) = known.as_ref().filter(|known| known.source.is(&open.source)) {
            return Ok(Arc::clone(same));
        }
        let open = Arc::new(open);
        *known = Some(Arc::clone(&open));
        Ok(open)
    }

    async fn read_head(&self, source: Source, shelf: &Arc<Mutex<Shelf>>) -> io::Result<Open> {
        let length = source.length();
        let odd = || damaged("it is no ZIM file, or of a kind that is not known here");
        let bytes = self.read(&source, 0..zim::HEADER.min(length)).await?;
        let header = Header::parse(&bytes, length).ok_or_else(odd)?;
        let types = zim::types(&self.read(&source, header.types..(header.types + zim::MAX_TYPES).min(length)).await?);
        Ok(Open { source, header, types, number: shelf.lock().number(), shelf: Arc::clone(shelf), unpacks: Arc::default() })
    }

    /// Bytes of the file.
    async fn read(&self, source: &Source, range: Range<u64>) -> io::Result<Bytes> {
        let length = usize::try_from(range.end.saturating_sub(range.start)).map_err(io::Error::other)?;
        if range.end > source.length() || range.start > range.end {
            return Err(damaged("the file is damaged, or cut short"));
        }
        match source {
            Source::File(file, _) => {
                let file = Arc::clone(file);
                let reads = move || {
                    let mut bytes = vec![0; length];
                    file.read_exact_at(&mut bytes, range.start).map(|()| Bytes::from(bytes))
                };
                tokio::task::spawn_blocking(reads).await.map_err(io::Error::other)?
            }
            Source::Stored(entry) => {
                let body = self.store.read(entry, Some(range)).await.map_err(io::Error::other)?;
                body.collect(length).await.map_err(io::Error::other)
            }
        }
    }

    async fn entry(&self, open: &Open, number: u32) -> io::Result<Page> {
        Page::parse(&self.entry_bytes(open, number).await?).ok_or_else(|| damaged("an entry is damaged"))
    }

    async fn entry_bytes(&self, open: &Open, number: u32) -> io::Result<Bytes> {
        if number >= open.header.entries {
            return Err(damaged("an entry points nowhere"));
        }
        let at = open.header.entry_list + u64::from(number) * 8;
        let place = self.read(&open.source, at..at + 8).await?;
        let place = u64::from_le_bytes(place[..].try_into().map_err(io::Error::other)?);
        let end = place.saturating_add(zim::MAX_ENTRY).min(open.source.length());
        self.read(&open.source, place..end).await
    }

    /// By name space and path; the list is sorted by both. An entry that is damaged otherwise hides none of its neighbours.
    async fn find_page(&self, open: &Open, space: u8, path: &[u8]) -> io::Result<Option<(u32, Page)>> {
        let (mut low, mut high) = (0, open.header.entries);
        while low < high {
            let middle = low + (high - low) / 2;
            let bytes = self.entry_bytes(open, middle).await?;
            match zim::key(&bytes).ok_or_else(|| damaged("an entry is damaged"))?.cmp(&(space, path)) {
                std::cmp::Ordering::Equal => {
                    let page = Page::parse(&bytes).ok_or_else(|| damaged("the entry is damaged"))?;
                    return Ok(Some((middle, page)));
                }
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Ok(None)
    }

    async fn page(&self, ask: &Ask<'_>, open: &Open) -> io::Result<Response<Body>> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, "there is no such page in this file");
        if ask.target.path() == "/" {
            let main = self.end_of(open, open.header.main.ok_or_else(missing)?).await?;
            return self.moved(&zim::address(&open.header, &main.1));
        }
        // Some libraries have the question mark in the path.
        let mut found = None;
        let (whole, path) = (ask.target.path_and_query(), ask.target.path());
        for path in std::iter::once(whole).chain(Some(path).filter(|path| *path != whole)) {
            let Some((space, path)) = zim::place(&open.header, path) else { continue };
            found = self.find_page(open, space, &path).await?;
            if found.is_some() {
                break;
            }
        }
        match found.ok_or_else(missing)? {
            (_, Page { what: What::Redirect(to), .. }) => {
                let page = self.end_of(open, to).await?;
                self.moved(&zim::address(&open.header, &page.1))
            }
            (number, Page { what: What::Blob { kind, cluster, blob }, .. }) => self.blob(ask, open, number, (kind, cluster, blob)).await,
        }
    }

    /// Where redirects end.
    async fn end_of(&self, open: &Open, mut number: u32) -> io::Result<(u32, Page)> {
        for _ in 0..HOPS {
            let page = self.entry(open, number).await?;
            match page.what {
                What::Redirect(to) => number = to,
                What::Blob { .. } => return Ok((number, page)),
            }
        }
        Err(damaged("redirects lead in a circle"))
    }

    fn moved(&self, address: &str) -> io::Result<Response<Body>> {
        let mut fields = HeaderMap::new();
        fields.insert(LOCATION, HeaderValue::from_str(address).map_err(io::Error::other)?);
        fields.insert(CACHE_CONTROL, AN_HOUR);
        fields.insert(CONTENT_LENGTH, HeaderValue::from(0));
        Ok(self.head(StatusCode::FOUND, fields, said()))
    }

    async fn blob(&self, ask: &Ask<'_>, open: &Open, number: u32, (kind, cluster, blob): (u16, u32, u32)) -> io::Result<Response<Body>> {
        let body = self.place_of(open, cluster, blob).await?;
        let mime = open.types.get(usize::from(kind)).map_or("application/octet-stream", String::as_str);
        let text = mime.starts_with("text/") && !mime.contains("charset");
        let mime = if text { format!("{mime}; charset=utf-8") } else { mime.to_owned() };
        let mut fields = HeaderMap::new();
        fields.insert(CONTENT_TYPE, HeaderValue::from_str(&mime).map_err(io::Error::other)?);
        fields.insert(CACHE_CONTROL, AN_HOUR);
        let file = u64::from_le_bytes(open.header.uuid[..8].try_into().map_err(io::Error::other)?);
        fields.insert(ETAG, HeaderValue::from_str(&format!("\"{file:016x}-{number}\"")).map_err(io::Error::other)?);
        let now = self.clock.now();
        let mut kept = Kept::new(&self.rules, StatusCode::OK, fields.clone(), now, now);
        kept.length = body.length();
        fields.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        fields.insert(CONTENT_LENGTH, HeaderValue::from(body.length()));
        let is_formless = AtomicBool::new(true);
        let prepared = Prepared { kept, ready: fields, list: None, is_formless, marked: AtomicU32::new(0) };
        if let Some(early) = self.unmodified(ask, &prepared, said(), None) {
            return Ok(early);
        }
        if *ask.method == Method::HEAD {
            return Ok(self.whole(ask, &prepared, said(), Body::Empty));
        }
        Ok(match part_of(ask, &prepared) {
            Part::One(range) => self.one_part(ask, &prepared, said(), range.clone(), self.bytes(open, &body, range).await?),
            Part::Unsatisfiable => self.unsatisfiable(&prepared, said()),
            // Several parts at once are nobody's need here.
            Part::Whole | Part::Many(_) => self.whole(ask, &prepared, said(), self.bytes(open, &body, 0..body.length()).await?),
        })
    }

    /// Where a blob lies: in the file, or in an unpacked cluster.
    async fn place_of(&self, open: &Open, cluster: u32, blob: u32) -> io::Result<Blob> {
        let odd = || damaged("a cluster is damaged");
        if cluster >= open.header.clusters {
            return Err(odd());
        }
        if let Some(plain) = open.kept(cluster) {
            return unpacked(&plain, blob).ok_or_else(odd);
        }
        let at = open.header.cluster_list + u64::from(cluster) * 8;
        let more = if cluster + 1 < open.header.clusters { 16 } else { 8 };
        let places = self.read(&open.source, at..at + more).await?;
        let place = |at: usize| places.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
        let start = place(0).ok_or_else(odd)?;
        let end = place(8).filter(|end| *end > start).unwrap_or(open.header.end);
        let byte = self.read(&open.source, start..start.saturating_add(1)).await?;
        let first = *byte.first().ok_or_else(odd)?;
        let how = Cluster::parse(first).ok_or_else(|| damaged("it is packed in a way that is not known here"))?;
        let start = start + 1;
        if how.is_packed {
            let turn = Arc::clone(&open.unpacks).lock_owned().await;
            // Somebody else may have done so meanwhile.
            if let Some(plain) = open.kept(cluster) {
                return unpacked(&plain, blob).ok_or_else(odd);
            }
            let packed = self.read(&open.source, start..end.min(start.saturating_add(MAX_PACKED)).max(start)).await?;
            let (shelf, which) = (Arc::clone(&open.shelf), (open.number, cluster));
            // Ends as it began, whoever leaves meanwhile: devices that come and go would else have many clusters unpacked at a time.
            let unpack = move || {
                let _turn = turn;
                // The first byte again, so that a kept cluster tells how its offsets are written.
                let mut plain = zim::unpack(&packed, first)?;
                // The budget counts bytes, so none are kept to spare.
                plain.shrink_to_fit();
                let plain = Bytes::from(plain);
                shelf.lock().put(which, plain.clone());
                Ok::<_, io::Error>(plain)
            };
            let plain = tokio::task::spawn_blocking(unpack).await.map_err(io::Error::other)??;
            return unpacked(&plain, blob).ok_or_else(odd);
        }
        let wanted = how.offsets(blob);
        let front = self.read(&open.source, start..(start + 8).min(open.source.length())).await?;
        let offsets = self.read(&open.source, start + wanted.start..start + wanted.end).await?;
        let range = how.blob(&front, &offsets, blob).ok_or_else(odd)?;
        let within = start.saturating_add(range.start)..start.saturating_add(range.end);
        if within.end > open.source.length() { Err(odd()) } else { Ok(Blob::File(within)) }
    }

    async fn bytes(&self, open: &Open, blob: &Blob, part: Range<u64>) -> io::Result<Body> {
        match blob {
            Blob::Plain(bytes) => {
                let part = usize::try_from(part.start).map_err(io::Error::other)?..usize::try_from(part.end).map_err(io::Error::other)?;
                Ok(Body::full(bytes.slice(part)))
            }
            Blob::File(range) => {
                let wanted = range.start + part.start..range.start + part.end;
                match &open.source {
                    Source::Stored(entry) => self.store.read(entry, Some(wanted)).await.map_err(io::Error::other),
                    Source::File(file, _) => Ok(pieces(Arc::clone(file), wanted)),
                }
            }
        }
    }
}

/// A body out of a file, piece by piece.
fn pieces(file: Arc<std::fs::File>, range: Range<u64>) -> Body {
    if range.is_empty() {
        return Body::Empty;
    }
    stream::from_stream(try_unfold((file, range), |(file, range)| async move {
        if range.is_empty() {
            return Ok(None);
        }
        let length = (range.end - range.start).min(PIECE);
        let (next, reader) = (range.start + length, Arc::clone(&file));
        let reads = move || {
            let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
            reader.read_exact_at(&mut bytes, range.start).map(|()| Bytes::from(bytes))
        };
        let bytes = tokio::task::spawn_blocking(reads).await.map_err(io::Error::other)??;
        Ok::<_, io::Error>(Some((bytes, (file, next..range.end))))
    }))
}

/// A body.
enum Blob {
    Plain(Bytes),
    File(Range<u64>),
}

impl Blob {
    fn length(&self) -> u64 {
        match self {
            Blob::Plain(bytes) => bytes.len() as u64,
            Blob::File(range) => range.end - range.start,
        }
    }
}

/// A blob of an unpacked cluster behind its first byte.
fn unpacked(plain: &Bytes, blob: u32) -> Option<Blob> {
    let how = Cluster::parse(*plain.first()?)?;
    let inner = plain.slice(1..);
    let size = |place: u64| usize::try_from(place).ok();
    let offsets = how.offsets(blob);
    let range = how.blob(&inner, inner.get(size(offsets.start)?..size(offsets.end)?)?, blob)?;
    let range = size(range.start)?..size(range.end)?;
    let found = inner.get(range.clone())?;
    // A page that a slow device reads must not keep its whole cluster in memory: dozens of them would be what the shelf's budget is to prevent.
    let is_small = found.len() < inner.len() / 4;
    Some(Blob::Plain(if is_small { Bytes::copy_from_slice(found) } else { inner.slice(range) }))
}

impl Open {
    fn kept(&self, cluster: u32) -> Option<Bytes> {
        self.shelf.lock().take((self.number, cluster))
    }
}

impl Shelf {
    /// A new archive's.
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn take(&mut self, which: (u64, u32)) -> Option<Bytes> {
        let at = self.kept.iter().position(|(kept, _)| *kept == which)?;
        let used = self.kept.remove(at)?;
        let plain = used.1.clone();
        self.kept.push_front(used);
        Some(plain)
    }

    fn put(&mut self, which: (u64, u32), plain: Bytes) {
        self.bytes += plain.len();
        self.kept.push_front((which, plain));
        while self.kept.len() > CLUSTERS || self.bytes > SHELF && self.kept.len() > 1 {
            let Some((_, gone)) = self.kept.pop_back() else { break };
            self.bytes -= gone.len();
        }
    }
}

impl Mark {
    fn of(found: &std::fs::Metadata) -> Mark {
        Mark { place: (found.dev(), found.ino()), changed: (found.ctime(), found.ctime_nsec()), length: found.len() }
    }
}

impl Source {
    fn length(&self) -> u64 {
        match self {
            Source::File(_, mark) => mark.length,
            Source::Stored(entry) => entry.length,
        }
    }

    fn mark(&self) -> Option<Mark> {
        match self {
            Source::File(_, mark) => Some(*mark),
            Source::Stored(_) => None,
        }
    }

    fn is(&self, other: &Source) -> bool {
        (self.mark(), self.object()) == (other.mark(), other.object())
    }

    fn object(&self) -> Option<crate::base::digest::Digest> {
        match self {
            Source::File(..) => None,
            Source::Stored(entry) => entry.object,
        }
    }
}

/// It is here, whatever the line does.
fn said() -> Said {
    Said::hit(Why::Fresh, 0, 3600)
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shelf_holds_what_was_used_last_in_one_budget() {
        let mut shelf = Shelf::default();
        let (one, other) = (shelf.number(), shelf.number());
        let plain = |mib: usize| Bytes::from(vec![0; mib << 20]);
        shelf.put((one, 1), plain(10));
        shelf.put((other, 1), plain(10));
        shelf.put((other, 2), plain(10));
        assert!(shelf.take((one, 1)).is_some());
        shelf.put((other, 3), plain(10));
        assert_eq!((shelf.take((other, 1)), shelf.bytes), (None, 30 << 20), "what was not used for longest leaves");
        assert!(shelf.take((one, 1)).is_some() && shelf.take((other, 2)).is_some());
        // One that is larger than all is kept alone.
        shelf.put((one, 2), plain(40));
        assert_eq!((shelf.kept.len(), shelf.bytes), (1, 40 << 20));
        for cluster in 0..100 {
            shelf.put((one, cluster), Bytes::from_static(b"x"));
        }
        assert_eq!((shelf.kept.len(), shelf.bytes), (CLUSTERS, CLUSTERS));
    }
}
