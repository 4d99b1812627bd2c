//! sled behind `Index`: derived from the log, guarded, rebuilt; answers what the RAM table cannot: which answers does a host
//! have. It is opened in a thread of its own with a deadline and under `catch_unwind`; when it fails, is late or
//! is not ours, it is set aside as `index.bad` and made anew from the log while the node serves. Every pointer it gives is
//! checked against the record by the caller; and whoever must not miss one asks
//! `Keeper::complete`, which compares the index with the RAM table. Places are kept in lists, one for each host and batch: a
//! key for each answer took 60 MB of memory for 100,000 answers.
//!
//! # Why
//! sled 0.34.7 loses acknowledged writes in power cuts. So nothing depends on it: off,
//! behind, deleted or damaged, the same questions are answered by reading the log, slower.

use crate::base::digest::Digest;
use crate::store::record::fingerprint;
use crate::store::table::Place;
use parking_lot::{Condvar, Mutex};
use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

/// How long opening may take; an index of a million entries opens in seconds.
const DEADLINE: Duration = Duration::from_secs(30);
/// Changes are written at most this often ...
const PAUSE: Duration = Duration::from_secs(1);
/// ... and at most so many at once.
const BATCH: usize = 2_000;
/// The lock of a closed index is waited for, 2 s in all: letting go takes milliseconds.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// Changes that may wait, 16 B each; when more come while the index is slow it is rebuilt later instead.
const QUEUE: usize = 20_000;
/// Made anew when it holds so many times what is alive, since answers that are gone stay in it ...
const STALE: u64 = 3;
/// ... and so many more: 160 KB, which sled keeps in memory whatever its cache may take.
const SLACK: u64 = 20_000;
/// sled never gives room back: made anew when its folder is larger than this many times what is alive, or this part of the quota ...
const GROWN: u64 = 6;
const QUOTA_SHARE: u64 = 50;
/// ... but not when it is small anyway: an empty one takes about 1 MiB ...
const LEAST: u64 = 8 << 20;
/// ... nor before it is, or holds, twice as much as when it was made.
const TWICE: u64 = 2;
/// Bytes of an answer in the index, about: a place, and its part of a list's key.
const ALIVE: u64 = 32;
/// Its size is looked at when it is ready, and then once in so many pauses: a quarter of an hour.
const ROUNDS: u32 = 900;
/// Format of keys and values; another one is rebuilt.
const FORMAT: &[u8] = b"bulak index 2";

/// A stored answer: its host and where it is. Answers that are gone stay in the index; whoever follows a pointer sees that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) host: u64,
    pub(crate) place: Place,
}

/// What an index can do. Errors are texts: whatever they say, the index is then turned off.
pub(crate) trait Index: Send {
    /// Writes changes together with the watermark: all records up to there are in.
    fn apply(&self, changes: &[Change], mark: u64) -> Result<(), String>;
    /// How many changes it was given since it was made.
    fn held(&self) -> Result<u64, String>;
    /// The watermark, a packed place; `None` in an empty index.
    fn mark(&self) -> Result<Option<u64>, String>;
    /// Where the answers under a host's number may be.
    fn places(&self, host: u64) -> Result<Vec<Place>, String>;
    /// All places, in any order.
    fn all(&self) -> Result<Vec<Place>, String>;
}

/// A host's number.
pub(crate) fn host_number(host: &str) -> u64 {
    fingerprint(&Digest::of(host.as_bytes()).0)
}

struct Sled(sled::Db);

impl Sled {
    fn open(path: &Path, cache: u64) -> Result<Sled, String> {
        let config = sled::Config::new().path(path).cache_capacity(cache).flush_every_ms(None).mode(sled::Mode::LowSpace);
        let db = opened(&config).map_err(text)?;
        match db.get(b"Sformat").map_err(text)? {
            Some(format) if format == FORMAT => {}
            None if db.is_empty() => {
                db.insert(b"Sformat", FORMAT).map_err(text)?;
            }
            _ => return Err(String::from("not an index of this format")),
        }
        Ok(Sled(db))
    }
}

/// Opens when the lock is free: whoever had it last lets it go on a thread of his own, a moment after he said that he has closed.
fn opened(config: &sled::Config) -> sled::Result<sled::Db> {
    let held = |error: &sled::Error| matches!(error, sled::Error::Io(error) if error.to_string().contains("could not acquire lock"));
    for _ in 0..LOCK_TRIES {
        match config.open() {
            Err(error) if held(&error) => std::thread::sleep(LOCK_PAUSE),
            done => return done,
        }
    }
    config.open()
}

impl Index for Sled {
    fn apply(&self, changes: &[Change], mark: u64) -> Result<(), String> {
        let mut lists: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for change in changes {
            lists.entry(change.host).or_default().push(change.place.pack());
        }
        let mut batch = sled::Batch::default();
        for (host, places) in lists {
            let first = places.first().copied().unwrap_or(0);
            let key = [b"H", &host.to_be_bytes()[..], &first.to_be_bytes()].concat();
            let value: Vec<u8> = places.into_iter().flat_map(u64::to_le_bytes).collect();
            batch.insert(key, value);
        }
        batch.insert(b"Sapplied", &mark.to_le_bytes());
        batch.insert(b"Sheld", &(self.held()? + changes.len() as u64).to_le_bytes());
        self.0.apply_batch(batch).map_err(text)
    }

    fn held(&self) -> Result<u64, String> {
        Ok(self.number(b"Sheld")?.unwrap_or(0))
    }

    fn mark(&self) -> Result<Option<u64>, String> {
        self.number(b"Sapplied")
    }

    fn places(&self, host: u64) -> Result<Vec<Place>, String> {
        self.under(&[b"H", &host.to_be_bytes()[..]].concat())
    }

    fn all(&self) -> Result<Vec<Place>, String> {
        self.under(b"H")
    }
}

impl Sled {
    fn number(&self, key: &[u8]) -> Result<Option<u64>, String> {
        Ok(self.0.get(key).map_err(text)?.and_then(|value| value.as_ref().try_into().ok()).map(u64::from_le_bytes))
    }

    fn under(&self, prefix: &[u8]) -> Result<Vec<Place>, String> {
        let mut places = Vec::new();
        for list in self.0.scan_prefix(prefix).values() {
            let list = list.map_err(text)?;
            places.extend(list.chunks_exact(8).map(|word| Place::unpack(word.try_into().map_or(0, u64::from_le_bytes))));
        }
        Ok(places)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn text(error: sled::Error) -> String {
    error.to_string()
}

/// Reads the log for the index: the answers whose places lie above a mark, in order, given in pieces.
pub(crate) type Replay = Box<dyn Fn(u64, &mut dyn FnMut(Change) -> bool) + Send>;

/// What an index holds and takes, or may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) changes: u64,
    pub(crate) bytes: u64,
}

/// Most that the index may hold and take now.
pub(crate) type Limit = Box<dyn Fn() -> Extent + Send>;

/// See [`Limit`]: for so many answers in a store of this quota.
pub(crate) fn limit(entries: u64, quota: u64) -> Extent {
    Extent {
        changes: entries.saturating_mul(STALE).saturating_add(SLACK),
        bytes: entries.saturating_mul(ALIVE * GROWN).min(quota / QUOTA_SHARE).max(LEAST),
    }
}

/// How the index is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Ready,
    Rebuilding,
    Off,
}

struct Shared {
    waiting: Mutex<Waiting>,
    wake: Condvar,
    index: Mutex<Option<Box<dyn Index>>>,
}

struct Waiting {
    changes: Vec<Change>,
    mood: Mood,
    stop: bool,
    /// Changes were dropped: the index is behind and must be read anew.
    behind: bool,
}

/// Keeps the index: takes changes, writes them in the background.
#[derive(Clone)]
pub(crate) struct Keeper(Arc<Shared>);

impl Keeper {
    /// Starts the thread that opens, catches up, and writes. `path` is the index's folder.
    pub(crate) fn start(path: PathBuf, cache: u64, replay: Replay, limit: Limit) -> Keeper {
        let waiting = Waiting { changes: Vec::new(), mood: Mood::Rebuilding, stop: false, behind: false };
        let keeper = Keeper(Arc::new(Shared { waiting: Mutex::new(waiting), wake: Condvar::new(), index: Mutex::new(None) }));
        let own = keeper.clone();
        let thread = std::thread::Builder::new().name(String::from("index"));
        if let Err(error) = thread.spawn(move || own.run(&path, cache, &replay, &limit)) {
            tracing::warn!(%error, "no thread for the index, going on without");
            keeper.0.waiting.lock().mood = Mood::Off;
        }
        keeper
    }

    /// An index that is off, in a folder that cannot be written.
    pub(crate) fn off() -> Keeper {
        let waiting = Waiting { changes: Vec::new(), mood: Mood::Off, stop: true, behind: true };
        Keeper(Arc::new(Shared { waiting: Mutex::new(waiting), wake: Condvar::new(), index: Mutex::new(None) }))
    }

    /// Takes a change. Never waits.
    pub(crate) fn push(&self, change: Change) {
        let mut waiting = self.0.waiting.lock();
        if waiting.mood == Mood::Off || waiting.changes.len() >= QUEUE {
            waiting.behind = true;
            waiting.changes.clear();
            return;
        }
        if !waiting.behind {
            waiting.changes.push(change);
        }
        if waiting.changes.len() >= BATCH {
            self.0.wake.notify_one();
        }
    }

    /// How the index is.
    pub(crate) fn mood(&self) -> Mood {
        self.0.waiting.lock().mood
    }

    /// Where answers of a host may be, if the index is ready and holds every one of `live` (sorted). Blocking.
    pub(crate) fn complete(&self, host: u64, live: &[Place]) -> Option<Vec<Place>> {
        if self.mood() != Mood::Ready || !self.write() {
            return None;
        }
        let index = self.0.index.lock();
        let asked = catch_unwind(AssertUnwindSafe(|| {
            let index = index.as_ref()?;
            Some((index.all().ok()?, index.places(host).ok()?))
        }));
        drop(index);
        let found = asked.unwrap_or(None).map(|(mut all, places)| {
            all.sort_unstable();
            (live.iter().all(|place| all.binary_search(place).is_ok()), places)
        });
        let (complete, places) = found.unwrap_or((false, Vec::new()));
        if !complete {
            // Damaged: read anew in the background.
            self.0.waiting.lock().behind = true;
        }
        complete.then_some(places)
    }

    /// Writes what waits and ends the thread. Blocking.
    pub(crate) fn stop(&self) {
        self.0.waiting.lock().stop = true;
        self.0.wake.notify_all();
        if self.mood() == Mood::Ready {
            self.write();
        }
        self.0.waiting.lock().mood = Mood::Off;
        *self.0.index.lock() = None;
    }

    fn run(&self, path: &Path, cache: u64, replay: &Replay, limit: &Limit) {
        // What it holds when it is new, and what it takes: looked at a quarter of an hour after it was made, since sled writes
        // behind. Of one that was there it is not known.
        let (mut made, mut fresh) = (Extent::default(), false);
        loop {
            if self.0.waiting.lock().stop {
                return;
            }
            if !self.bring_up(path, cache, replay) {
                self.0.waiting.lock().mood = Mood::Off;
                return;
            }
            if fresh {
                made.changes = self.held();
            }
            let mut rounds = 0;
            loop {
                let most = limit();
                let mut grown = self.held() > most.changes.max(made.changes * TWICE);
                if rounds % ROUNDS == 0 && !(fresh && rounds == 0) {
                    let bytes = folder_bytes(path);
                    if std::mem::take(&mut fresh) {
                        made.bytes = bytes;
                    } else {
                        grown |= bytes > most.bytes.max(made.bytes * TWICE);
                    }
                }
                if grown {
                    tracing::info!("the index has grown much larger than what is alive and is made anew");
                    self.0.waiting.lock().behind = true;
                }
                rounds = rounds.wrapping_add(1);
                let mut waiting = self.0.waiting.lock();
                if waiting.changes.len() < BATCH && !waiting.stop && !waiting.behind {
                    self.0.wake.wait_for(&mut waiting, PAUSE);
                }
                if waiting.stop {
                    return;
                }
                let behind = waiting.behind;
                drop(waiting);
                if behind || !self.write() {
                    self.0.waiting.lock().mood = Mood::Rebuilding;
                    *self.0.index.lock() = None;
                    set_aside(path);
                    fresh = true;
                    break;
                }
            }
        }
    }

    /// See [`Index::held`]; 0 of one that fails, which the next write tells.
    fn held(&self) -> u64 {
        let index = self.0.index.lock();
        catch_unwind(AssertUnwindSafe(|| index.as_ref()?.held().ok())).unwrap_or(None).unwrap_or(0)
    }

    /// Opens the index, or a new one, and reads what is above its mark. Whether it is ready.
    fn bring_up(&self, path: &Path, cache: u64, replay: &Replay) -> bool {
        for _ in 0..2 {
            // Changes from here on wait, the replay has those before: nothing falls between.
            {
                let mut waiting = self.0.waiting.lock();
                (waiting.behind, waiting.mood) = (false, Mood::Rebuilding);
                waiting.changes.clear();
            }
            let outcome = open_guarded(path, cache).and_then(|index| {
                catch_unwind(AssertUnwindSafe(|| self.catch_up(&*index, replay))).map_err(panic_text)??;
                Ok(index)
            });
            match outcome {
                Ok(index) => {
                    *self.0.index.lock() = Some(index);
                    let mut waiting = self.0.waiting.lock();
                    if waiting.stop {
                        *self.0.index.lock() = None;
                        return false;
                    }
                    waiting.mood = Mood::Ready;
                    return true;
                }
                Err(why) => {
                    if self.0.waiting.lock().stop {
                        return false;
                    }
                    tracing::warn!(%why, "the index is set aside and made anew from the log");
                    set_aside(path);
                }
            }
        }
        tracing::warn!("the index stays off until the next start; the store goes on without");
        false
    }

    fn catch_up(&self, index: &dyn Index, replay: &Replay) -> Result<(), String> {
        let from = index.mark()?.unwrap_or(0);
        let mut batch = Vec::new();
        let mut outcome = Ok(());
        let write = |batch: &mut Vec<Change>| {
            let mark = batch.iter().map(|change: &Change| change.place.pack()).max().unwrap_or(from);
            let done = index.apply(batch, mark);
            batch.clear();
            done
        };
        replay(from, &mut |change| {
            batch.push(change);
            if batch.len() >= BATCH {
                outcome = write(&mut batch);
            }
            outcome.is_ok() && !self.0.waiting.lock().stop
        });
        outcome?;
        if batch.is_empty() { Ok(()) } else { write(&mut batch) }
    }

    /// Writes what waits. Whether the index is still good.
    fn write(&self) -> bool {
        let index = self.0.index.lock();
        let Some(index) = index.as_ref() else { return false };
        loop {
            let batch: Vec<Change> = {
                let mut waiting = self.0.waiting.lock();
                let n = waiting.changes.len().min(BATCH);
                waiting.changes.drain(..n).collect()
            };
            if batch.is_empty() {
                return true;
            }
            let written = catch_unwind(AssertUnwindSafe(|| {
                let newest = batch.iter().map(|change| change.place.pack()).max().unwrap_or(0);
                let mark = index.mark()?.unwrap_or(0).max(newest);
                index.apply(&batch, mark)
            }));
            if let Err(why) = written.map_err(panic_text).and_then(|done| done) {
                tracing::warn!(%why, "the index failed and is made anew");
                return false;
            }
        }
    }
}

/// Opens sled in a thread of its own, at most [`DEADLINE`].
fn open_guarded(path: &Path, cache: u64) -> Result<Box<dyn Index>, String> {
    let folder = path.to_owned();
    guarded(DEADLINE, move || Sled::open(&folder, cache)).map(|sled| Box::new(sled) as Box<dyn Index>)
}

/// Opens in a thread of its own, at most so long; a panic is an error.
fn guarded(deadline: Duration, open: impl FnOnce() -> Result<Sled, String> + Send + 'static) -> Result<Sled, String> {
    let (send, receive) = mpsc::channel();
    let opener = std::thread::Builder::new().name(String::from("index-open"));
    opener
        .spawn(move || {
            let opened = catch_unwind(AssertUnwindSafe(open)).map_err(panic_text).and_then(|opened| opened);
            // Nobody listens when it took too long.
            let _ = send.send(opened);
        })
        .map_err(|error| error.to_string())?;
    receive.recv_timeout(deadline).unwrap_or_else(|_| Err(format!("not open after {} s", deadline.as_secs())))
}

/// Bytes of a folder's files; one that cannot be read has none.
fn folder_bytes(path: &Path) -> u64 {
    let mut bytes = 0;
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        bytes += match entry.metadata() {
            Ok(about) if about.is_dir() => folder_bytes(&entry.path()),
            Ok(about) => about.len(),
            Err(_) => 0,
        };
    }
    bytes
}

/// How many of these answers an index should know, since they lie below its watermark, and does not. For a store at rest.
pub(crate) fn lacking(path: &Path, cache: u64, live: &[Place]) -> Result<u64, String> {
    let index = open_guarded(path, cache)?;
    let asked = catch_unwind(AssertUnwindSafe(|| Ok((index.mark()?.unwrap_or(0), index.all()?))));
    let (mark, mut known) = asked.map_err(panic_text).and_then(|asked| asked)?;
    known.sort_unstable();
    let below = live.iter().filter(|place| place.pack() <= mark);
    Ok(below.filter(|place| known.binary_search(place).is_err()).count() as u64)
}

/// Keeps one bad index for whoever wants to look.
fn set_aside(path: &Path) {
    let bad = path.with_extension("bad");
    let removed = if bad.is_dir() { std::fs::remove_dir_all(&bad) } else { Ok(()) };
    if let Err(error) = removed.and_then(|()| std::fs::rename(path, &bad))
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "cannot set the index aside");
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn panic_text(panic: Box<dyn Any + Send>) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
    format!("panic: {}", text.unwrap_or_default())
}

#[cfg(test)]
mod tests;
