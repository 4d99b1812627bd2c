//! Streaming in: a `Draft` is invisible until `commit` and gone if dropped; up to 1 MiB it lives in memory, beyond that in a
//! file below `tmp/`. Any number of `Tail`s follow it live, each at its own offset: a slow reader reads from the file, so
//! nothing is kept for it.
//!
//! When the disk takes no more of it (full, read-only, broken, or the body is longer than the store takes) nobody's download ends
//! for that: the rest goes past the disk, through memory, as fast as the slowest reader takes it; one who stands still while others
//! wait is left behind. What all have read is let go, and at the end nothing is stored.

use crate::base::digest::Hasher;
use crate::store::disk::{DiskFile, create_within};
use crate::store::pack::{Content, Crcs, Whole};
use crate::store::purge::Epoch;
use crate::store::read::PIECE;
use crate::store::segment::{Log, Written};
use crate::store::{Entry, Error, Inner, Meta};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// Kept in memory up to this length.
const MEMORY: usize = 1 << 20;
/// Written to the file at once; one such piece may be on its way while the next fills.
const STEP: usize = 256 << 10;
/// What goes past the disk waits for its readers up to this length; as much again may be what they are just reading.
const AFLOAT: usize = 1 << 20;
/// Who has not begun to read by then does not come.
const COMING: Duration = Duration::from_secs(2);
/// Who takes nothing for so long while others wait for more is not waited for: a phone that went to sleep. One piece is 256 KiB, so
/// that whoever is left behind takes less than 9 kB/s.
const STILL: Duration = Duration::from_secs(30);

/// A body being written: invisible until `commit`, gone if dropped. In memory up to 1 MiB, then in a file below `tmp/`.
/// Readers may follow behind while it grows.
pub struct Draft {
    inner: Arc<Inner>,
    since: Epoch,
    /// Flags that come up while it is written.
    raised: Option<Box<dyn FnOnce() -> u32 + Send + Sync>>,
    shared: Arc<Shared>,
    content_type: Option<String>,
    hasher: Hasher,
    crcs: Crcs,
    length: u64,
    /// Most bytes that it may have.
    most: u64,
    flush: Option<JoinHandle<io::Result<()>>>,
    file: Option<Temporary>,
    /// Why the disk takes no more of it.
    lost: Option<Error>,
}

/// Follows a [`Draft`].
pub struct Tail {
    shared: Arc<Shared>,
    /// Among the readers; none before the first piece.
    number: Option<u64>,
}

struct Shared {
    state: Mutex<State>,
    /// Rung when there is more, or the end.
    more: Notify,
    /// Rung when a reader has got on, or left.
    room: Notify,
}

struct State {
    /// The file and how much of it is written.
    file: Option<(Arc<dyn DiskFile>, u64)>,
    /// Bytes after those of the file that all readers have had and that are nowhere any more.
    gone: u64,
    /// On its way to the file, or to the readers.
    flushing: Bytes,
    /// After that; frozen into `flushing` when the body ends.
    fresh: Vec<u8>,
    end: End,
    /// What each reader asks for next.
    readers: HashMap<u64, u64>,
    /// The next reader's number.
    next: u64,
}

impl State {
    fn in_file(&self) -> u64 {
        self.file.as_ref().map_or(0, |(_, length)| *length)
    }

    /// Where `flushing` begins.
    fn base(&self) -> u64 {
        self.in_file() + self.gone
    }

    fn written(&self) -> u64 {
        self.base() + (self.flushing.len() + self.fresh.len()) as u64
    }

    /// Waits no more for the slowest where another has had everything.
    fn leave_behind(&mut self) {
        let written = self.written();
        let Some(slowest) = self.readers.values().min().copied().filter(|slowest| *slowest < written) else { return };
        if self.readers.values().any(|next| *next >= written) {
            self.readers.retain(|_, next| *next != slowest);
        }
    }

    /// Lets go of what every reader has had.
    fn let_go(&mut self) {
        let Some(slowest) = self.readers.values().min() else { return };
        if *slowest >= self.base() + self.flushing.len() as u64 {
            self.gone += self.flushing.len() as u64;
            self.flushing = Bytes::from(std::mem::take(&mut self.fresh));
        }
    }
}

enum End {
    Open,
    Done,
    Failed(String),
}

/// A file below `tmp/`; its name is gone when this is, its bytes when the last handle is.
pub(crate) struct Temporary {
    inner: Arc<Inner>,
    path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
}

impl Temporary {
    /// A new one. Blocking.
    pub(crate) fn new(inner: &Arc<Inner>) -> io::Result<Temporary> {
        let path = inner.temporary_path();
        let file = create_within(&*inner.disk, &path)?;
        let (log, all) = (Arc::clone(&inner.log), Arc::clone(&inner.drafts));
        let file = Arc::new(Counted { file, own: AtomicU64::new(0), all, log });
        Ok(Temporary { inner: Arc::clone(inner), path, file })
    }
}

/// A file below `tmp/` whose bytes count against the quota until its last reader has gone.
struct Counted {
    file: Arc<dyn DiskFile>,
    own: AtomicU64,
    all: Arc<AtomicU64>,
    log: Arc<Log>,
}

impl DiskFile for Counted {
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        self.file.read_at(into, at)
    }

    fn write_at(&self, from: &[u8], at: u64) -> io::Result<()> {
        // Counted before, so that a write that fails halfway counts as well.
        let end = at + from.len() as u64;
        let before = self.own.fetch_max(end, Ordering::Relaxed);
        self.all.fetch_add(end.saturating_sub(before), Ordering::Relaxed);
        self.log.count(Written::Fill, from.len() as u64);
        self.file.write_at(from, at)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.file.truncate(length)
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.all.fetch_sub(self.own.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // The next start clears the folder.
        let _ = self.inner.disk.remove(&self.path);
    }
}

impl Draft {
    /// `expected` is the body's length, 0 if it is not known; `most` is what it may have at most.
    pub(super) fn new(inner: Arc<Inner>, content_type: Option<&str>, expected: u64, most: u64) -> Draft {
        // Whoever grows by doubling and is cut to measure in the end leaves a hole in the heap behind each body that stays.
        let fresh = Vec::with_capacity(usize::try_from(expected).ok().filter(|length| *length <= STEP).unwrap_or(0));
        let state = State { file: None, gone: 0, flushing: Bytes::new(), fresh, end: End::Open, readers: HashMap::new(), next: 0 };
        Draft {
            since: inner.purges.epoch(),
            raised: None,
            inner,
            shared: Arc::new(Shared { state: Mutex::new(state), more: Notify::new(), room: Notify::new() }),
            content_type: content_type.map(str::to_owned),
            hasher: Hasher::default(),
            crcs: Crcs::default(),
            length: 0,
            most,
            flush: None,
            file: None,
            lost: None,
        }
    }

    /// Flags that its answer gets besides those of its meta: asked for when it becomes visible, so that it is never seen without them.
    pub fn flagged_by(&mut self, raised: impl FnOnce() -> u32 + Send + Sync + 'static) {
        self.raised = Some(Box::new(raised));
    }

    /// What it brings was asked for in this epoch, before the draft began: purges since then count.
    pub fn asked_in(&mut self, since: Epoch) {
        self.since = since;
    }

    /// Adds bytes. Waits for readers where the disk takes no more. Must not be dropped midway: the draft then holds some of them.
    ///
    /// # Errors
    /// When the disk takes no more and nobody reads: `Full` when the store has no room for more of it, or it alone would take more of it
    /// than it may; the disk's when the temporary file cannot be made or written. The draft is then of no more use.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.hasher.update(&bytes);
        self.crcs.update(&bytes);
        for piece in bytes.chunks(STEP) {
            self.length += piece.len() as u64;
            if self.lost.is_some() {
                self.pass_on(piece).await?;
                continue;
            }
            let waiting = {
                let mut state = self.shared.state.lock();
                state.fresh.extend_from_slice(piece);
                state.fresh.len()
            };
            let most = if self.file.is_some() { STEP } else { MEMORY + 1 };
            if waiting >= most
                && let Err(error) = self.spill_if_admitted().await
            {
                self.go_past_the_disk(error).await;
            }
            self.shared.more.notify_waiters();
        }
        Ok(())
    }

    /// Whether what comes is passed on to those who read already, and kept for nobody else.
    pub fn is_passed_on(&self) -> bool {
        self.lost.is_some()
    }

    async fn go_past_the_disk(&mut self, error: Error) {
        tracing::warn!(%error, "the store takes no more of a body: it is passed on and not kept");
        // What is on its way arrives or stays in memory.
        let _ = self.settle().await;
        self.lost = Some(error);
    }

    /// Past the disk, when those who read have had what came before.
    async fn pass_on(&mut self, piece: &[u8]) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        loop {
            let room = shared.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            let alone;
            {
                let mut state = shared.state.lock();
                state.let_go();
                if state.fresh.len() < AFLOAT {
                    state.fresh.extend_from_slice(piece);
                    break;
                }
                alone = state.readers.is_empty();
            }
            if !alone {
                if tokio::time::timeout(STILL, room).await.is_err() {
                    shared.state.lock().leave_behind();
                }
            } else if tokio::time::timeout(COMING, room).await.is_err() {
                return Err(self.lost.take().unwrap_or(Error::Full));
            }
        }
        shared.more.notify_waiters();
        Ok(())
    }

    /// Asks again whether there is room, since a body may be longer than was said, and others arrive beside it; then spills.
    async fn spill_if_admitted(&mut self) -> Result<(), Error> {
        let coming = self.shared.state.lock().fresh.len() as u64;
        if self.length > self.most {
            return Err(Error::Full);
        }
        let room = match self.inner.admit(coming) {
            Err(Error::Full) => {
                let inner = Arc::clone(&self.inner);
                Some(self.inner.run_write(move |_| inner.make_room(coming)).await?)
            }
            admitted => admitted.map(|()| None)?,
        };
        let spilled = self.spill().await;
        drop(room);
        spilled
    }

    /// Sends what is fresh to the file, in the background; waits for what is on its way.
    async fn spill(&mut self) -> Result<(), Error> {
        self.settle().await?;
        if self.file.is_none() {
            let inner = Arc::clone(&self.inner);
            let made = self.inner.run_write(move |_| Temporary::new(&inner).map_err(Error::Disk)).await;
            let made = made.map_err(|error| self.inner.noted(error))?;
            self.shared.state.lock().file = Some((Arc::clone(&made.file), 0));
            self.file = Some(made);
        }
        let (file, at, bytes) = {
            let mut state = self.shared.state.lock();
            let Some((file, at)) = state.file.clone() else { return Ok(()) };
            state.flushing = Bytes::from(std::mem::take(&mut state.fresh));
            (file, at, state.flushing.clone())
        };
        let shared = Arc::clone(&self.shared);
        self.flush = Some(tokio::task::spawn_blocking(move || {
            file.write_at(&bytes, at)?;
            let mut state = shared.state.lock();
            state.file = Some((file, at + bytes.len() as u64));
            state.flushing = Bytes::new();
            Ok(())
        }));
        Ok(())
    }

    /// Waits for what is on its way to the file.
    async fn settle(&mut self) -> Result<(), Error> {
        let Some(flush) = &mut self.flush else { return Ok(()) };
        let done = flush.await.map_err(io::Error::other).and_then(|done| done);
        self.flush = None;
        done.map_err(|error| self.inner.gate.note(error))
    }

    /// Bytes so far.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether there are none yet.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// A reader that starts at `offset` and follows the writer to the end; outlives `commit`. When the draft is dropped without
    /// commit its readers get an error. `Clone`, so that latecomers can join.
    pub fn tail(&self) -> Tail {
        Tail { shared: Arc::clone(&self.shared), number: None }
    }

    /// Compresses, deduplicates, appends BLOB and META; visible when this returns, durable at the next group commit. Readers see
    /// the end of the body at once. When dropped midway, the work goes on and the entry becomes visible all the same.
    ///
    /// # Errors
    /// `Full`, `ReadOnly`, `Purged` or the disk's; the readers have the whole body then, but nothing is stored.
    pub async fn commit(mut self, meta: Meta) -> Result<Arc<Entry>, Error> {
        let content = self.close().await?;
        let crcs = std::mem::take(&mut self.crcs).finish();
        let whole = Whole { object: self.hasher.finish(), length: self.length, crcs, content };
        let (inner, since, kind, file) = (Arc::clone(&self.inner), self.since, self.content_type.take(), self.file.take());
        let raised = self.raised.take();
        self.inner
            .run_write(move |_| {
                let entry = inner.commit(since, meta, &whole, kind.as_deref(), |meta| {
                    meta.flags |= raised.map_or(0, |raised| raised());
                    Ok(())
                });
                drop(file);
                entry
            })
            .await
    }

    /// Ends the body without storing it: its readers read to the end. For bodies that are kept elsewhere, as parts.
    pub async fn finish(mut self) {
        // Whether the disk has all of it is nobody's matter here.
        let _ = self.close().await;
    }

    /// Settles all bytes where readers find them, and tells readers that this is the end.
    ///
    /// # Errors
    /// Why the disk has not all of it.
    async fn close(&mut self) -> Result<Content, Error> {
        if self.file.is_some() && self.lost.is_none() {
            let spilled = match self.spill().await {
                Ok(()) => self.settle().await,
                failed => failed,
            };
            if let Err(error) = spilled {
                self.go_past_the_disk(error).await;
            }
        }
        let content = {
            let mut state = self.shared.state.lock();
            let content = if let Some(error) = self.lost.take() {
                Err(error)
            } else if let Some((file, _)) = &state.file {
                Ok(Content::File(Arc::clone(file)))
            } else {
                state.fresh.shrink_to_fit();
                state.flushing = Bytes::from(std::mem::take(&mut state.fresh));
                Ok(Content::Memory(state.flushing.clone()))
            };
            state.end = End::Done;
            content
        };
        self.shared.more.notify_waiters();
        content
    }

    /// The body broke off: readers get the error; what has come so far may be kept as parts by the caller.
    pub fn fail(self, why: &str) {
        self.end(why);
    }

    fn end(&self, why: &str) {
        let mut state = self.shared.state.lock();
        if matches!(state.end, End::Open) {
            state.end = End::Failed(why.to_owned());
        }
        drop(state);
        self.shared.more.notify_waiters();
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        self.end("the writer left before the end");
    }
}

/// What a reader finds at its offset.
enum Found {
    Bytes(Bytes),
    File(Arc<dyn DiskFile>, usize),
    End,
    Nothing,
}

impl Clone for Tail {
    fn clone(&self) -> Tail {
        Tail { shared: Arc::clone(&self.shared), number: None }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.shared.state.lock().readers.remove(&number);
            self.shared.room.notify_waiters();
        }
    }
}

impl Tail {
    /// Whether everything has been written: the end was declared, or `total` bytes are there.
    pub fn is_complete(&self, total: Option<u64>) -> bool {
        let state = self.shared.state.lock();
        !matches!(state.end, End::Open) || total.is_some_and(|total| state.written() >= total)
    }

    /// Bytes that have come so far.
    pub fn come(&self) -> u64 {
        self.shared.state.lock().written()
    }

    /// The next piece (at most 256 KiB) at `offset`, waiting for the writer when it must; `None` at the end of a finished body.
    /// May be dropped at any await.
    ///
    /// # Errors
    /// When the draft failed or was dropped, or its file cannot be read. What came before may still be read from its offset.
    pub async fn read(&mut self, offset: u64) -> Result<Option<Bytes>, Error> {
        loop {
            let more = self.shared.more.notified();
            tokio::pin!(more);
            more.as_mut().enable();
            match self.shared.look(&mut self.number, offset)? {
                Found::Bytes(bytes) => return Ok(Some(bytes)),
                Found::End => return Ok(None),
                Found::Nothing => more.await,
                Found::File(file, n) => {
                    let read = tokio::task::spawn_blocking(move || {
                        let mut bytes = vec![0; n];
                        file.read_at(&mut bytes, offset).map(|()| Bytes::from(bytes))
                    });
                    return Ok(Some(read.await.map_err(io::Error::other)??));
                }
            }
        }
    }
}

impl Tail {
    /// The bytes of `range`, all of which must have come by now; also when the draft has failed since. May be dropped at any await.
    ///
    /// # Errors
    /// When they are not to be had any more, or cannot be read.
    pub async fn copy(mut self, range: Range<u64>) -> Result<Bytes, Error> {
        let length = usize::try_from(range.end.saturating_sub(range.start)).map_err(io::Error::other)?;
        let mut bytes = Vec::with_capacity(length);
        // What is in the file by now comes in one step, into the room that all of it takes.
        let in_file = self.shared.state.lock().filed(range.start, length);
        if let Some((file, n)) = in_file {
            let read = tokio::task::spawn_blocking(move || {
                bytes.resize(n, 0);
                file.read_at(&mut bytes, range.start).map(|()| bytes)
            });
            bytes = read.await.map_err(io::Error::other)??;
        }
        while bytes.len() < length {
            let Some(piece) = self.read(range.start + bytes.len() as u64).await? else {
                return Err(Error::Disk(io::Error::from(io::ErrorKind::UnexpectedEof)));
            };
            bytes.extend_from_slice(&piece[..piece.len().min(length - bytes.len())]);
        }
        Ok(bytes.into())
    }
}

impl Shared {
    fn look(&self, number: &mut Option<u64>, offset: u64) -> Result<Found, Error> {
        let mut state = self.state.lock();
        let next = &mut state.next;
        let number = *number.get_or_insert_with(|| {
            *next += 1;
            *next
        });
        state.readers.insert(number, offset);
        let found = state.look(offset)?;
        if let Found::Bytes(bytes) = &found {
            state.readers.insert(number, offset + bytes.len() as u64);
        }
        drop(state);
        self.room.notify_waiters();
        Ok(found)
    }
}

impl State {
    /// The file, and how many of the next `most` bytes at `offset` are in it, where any are.
    fn filed(&self, offset: u64, most: usize) -> Option<(Arc<dyn DiskFile>, usize)> {
        let (file, written) = self.file.as_ref().filter(|file| offset < file.1)?;
        Some((Arc::clone(file), usize::try_from(written - offset).unwrap_or(most).min(most)))
    }

    fn look(&self, offset: u64) -> Result<Found, Error> {
        let piece = usize::try_from(PIECE).unwrap_or(STEP);
        if let Some((file, n)) = self.filed(offset, piece) {
            return Ok(Found::File(file, n));
        }
        let Some(at) = offset.checked_sub(self.base()) else {
            return Err(Error::Disk(io::Error::new(io::ErrorKind::UnexpectedEof, "this part of the body was passed on and not kept")));
        };
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let flushing = self.flushing.len();
        if at < flushing {
            return Ok(Found::Bytes(self.flushing.slice(at..flushing.min(at + piece))));
        }
        if let Some(rest) = self.fresh.get(at - flushing..).filter(|rest| !rest.is_empty()) {
            return Ok(Found::Bytes(Bytes::copy_from_slice(&rest[..rest.len().min(piece)])));
        }
        match &self.end {
            End::Open => Ok(Found::Nothing),
            End::Done => Ok(Found::End),
            End::Failed(why) => Err(Error::Disk(io::Error::new(io::ErrorKind::UnexpectedEof, why.clone()))),
        }
    }
}
