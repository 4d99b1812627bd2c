//! sled behind `Index`: derived from the log, guarded, rebuilt; answers what the RAM table cannot: which answers does a host
//! have. It is opened in a thread of its own with a deadline and under `catch_unwind`; when it fails, is late or
//! is not ours, it is set aside as `index.bad` and made anew from the log while the node serves. Every pointer it gives is
//! checked against the record by the caller; and whoever must not miss one asks
//! `Keeper::complete`, which compares the index with the RAM table. Places are kept in lists, one for each host and batch, as steps from
//! one to the next: a key for each answer took 60 MB of memory for 100,000 answers.
//!
//! # Why
//! sled 0.34.7 loses acknowledged writes in power cuts. So nothing depends on it: off,
//! behind, deleted or damaged, the same questions are answered by reading the log, slower.
//!
//! Its memory grows with what is written, whatever its cache may take: 7 bytes for each byte when 88 places come at a time, 1 to 3 when
//! 2,000 do. Clearing it gives nothing back, closing it little: the first index made anew costs 6 MB, each further one half a MB. So writes
//! are few, and it is made anew only where it fails, lacks something, or has grown far beyond what is alive.

use crate::base::digest::Digest;
use crate::base::varint;
use crate::store::record::fingerprint;
use crate::store::table::Place;
use parking_lot::{Condvar, Mutex};
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

/// How long opening may take; an index of a million entries opens in seconds.
const DEADLINE: Duration = Duration::from_secs(30);
/// Changes are written this often, since sled keeps kilobytes in memory for each time; whoever asks has what waits written first, and
/// what a power cut takes is read from the log again, or found lacking when somebody asks ...
const PAUSE: Duration = Duration::from_secs(20);
/// ... and whenever there are so many.
const BATCH: usize = 2_000;
/// The lock of a closed index is waited for, 2 s in all: letting go takes milliseconds.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// Changes that may wait, 16 B each; when more come while the index is slow it is rebuilt later instead.
const QUEUE: usize = 20_000;
/// Rebuilt when it holds so many times what is alive: sled's missing vacuum.
const STALE: usize = 3;
/// sled never gives room back: made anew when its folder is larger than this many times what is alive, or this part of the quota ...
const GROWN: u64 = 6;
const QUOTA_SHARE: u64 = 50;
/// ... but not when it is small anyway: an empty one takes about 1 MiB ...
const LEAST: u64 = 8 << 20;
/// ... nor before it is twice as large as it was when it was made.
const TWICE: u64 = 2;
/// Bytes of an answer in the index, about: its step in a list, its part of the list's key, and what sled keeps with both.
const ALIVE: u64 = 32;
/// Its size is looked at when it is ready, and then once in so many writes: a quarter of an hour, or less when much comes.
const ROUNDS: u32 = 45;
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
        let mut lists: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
        for change in changes {
            lists.entry(change.host).or_default().insert(change.place.pack());
        }
        let mut batch = sled::Batch::default();
        for (host, mut places) in lists {
            let first = places.first().copied().unwrap_or(0);
            let key = [b"H", &host.to_be_bytes()[..], &first.to_be_bytes()].concat();
            // What is read from the log while it comes is told twice: a list that begins there already keeps what it has.
            if let Some(steps) = self.0.get(&key).map_err(text)? {
                let mut known = Vec::new();
                unroll(&key, &steps, &mut known).ok_or(NO_LIST)?;
                places.extend(known.into_iter().map(Place::pack));
            }
            let (mut last, mut steps) = (first, Vec::new());
            for place in places.into_iter().skip(1) {
                varint::put(&mut steps, place - last);
                last = place;
            }
            batch.insert(key, steps);
        }
        batch.insert(b"Sapplied", &mark.to_le_bytes());
        self.0.apply_batch(batch).map_err(text)
    }

    fn mark(&self) -> Result<Option<u64>, String> {
        Ok(self.0.get(b"Sapplied").map_err(text)?.and_then(|value| value.as_ref().try_into().ok()).map(u64::from_le_bytes))
    }

    fn places(&self, host: u64) -> Result<Vec<Place>, String> {
        self.under(&[b"H", &host.to_be_bytes()[..]].concat())
    }

    fn all(&self) -> Result<Vec<Place>, String> {
        self.under(b"H")
    }
}

/// Says of a value that it holds no places.
const NO_LIST: &str = "a list that is none";

impl Sled {
    fn under(&self, prefix: &[u8]) -> Result<Vec<Place>, String> {
        let mut places = Vec::new();
        for list in self.0.scan_prefix(prefix) {
            let (key, steps) = list.map_err(text)?;
            unroll(&key, &steps, &mut places).ok_or(NO_LIST)?;
        }
        Ok(places)
    }
}

/// The places of a list: the first one ends its key, the others are the steps from each to the next.
fn unroll(key: &[u8], mut steps: &[u8], places: &mut Vec<Place>) -> Option<()> {
    let mut place = u64::from_be_bytes(*key.last_chunk()?);
    places.push(Place::unpack(place));
    while !steps.is_empty() {
        place = place.checked_add(varint::take(&mut steps)?)?;
        places.push(Place::unpack(place));
    }
    Some(())
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn text(error: sled::Error) -> String {
    error.to_string()
}

/// Reads the log for the index: the answers whose places lie above a mark, in order, given in pieces.
pub(crate) type Replay = Box<dyn Fn(u64, &mut dyn FnMut(Change) -> bool) + Send>;

/// Most bytes that the index may take now.
pub(crate) type Limit = Box<dyn Fn() -> u64 + Send>;

/// See [`Limit`]: for so many answers in a store of this quota.
pub(crate) fn limit(entries: u64, quota: u64) -> u64 {
    entries.saturating_mul(ALIVE * GROWN).min(quota / QUOTA_SHARE).max(LEAST)
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
            self.0.wake.notify_one();
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
            (live.iter().all(|place| all.binary_search(place).is_ok()), all.len(), places)
        });
        let (complete, size, places) = found.unwrap_or((false, 0, Vec::new()));
        if !complete || size > live.len() * STALE + BATCH {
            // Damaged, or mostly stale: read anew in the background.
            self.0.waiting.lock().behind = true;
            self.0.wake.notify_one();
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
        // What it takes when it is new: looked at a quarter of an hour after it was made, since sled writes behind. Of one that
        // was there it is not known.
        let (mut made, mut fresh) = (0, false);
        loop {
            if self.0.waiting.lock().stop {
                return;
            }
            if !self.bring_up(path, cache, replay) {
                self.0.waiting.lock().mood = Mood::Off;
                return;
            }
            let mut rounds = 0;
            loop {
                if rounds % ROUNDS == 0 && !(fresh && rounds == 0) {
                    let size = folder_bytes(path);
                    if std::mem::take(&mut fresh) {
                        made = size;
                    } else if size > limit().max(made * TWICE) {
                        tracing::info!("the index has grown much larger than what is alive and is made anew");
                        self.0.waiting.lock().behind = true;
                    }
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
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_is_found_by_host() {
        let dir = tempfile::tempdir().unwrap();
        let index = Sled::open(&dir.path().join("index"), 1 << 20).unwrap();
        let at = |n: u32| Place { segment: n, at: 64 };
        let change = |n: u32| Change { host: u64::from(1 + n % 2), place: at(n) };
        index.apply(&[change(1), change(2), change(3)], 5).unwrap();
        index.apply(&[change(4)], 6).unwrap();
        assert_eq!((index.all().unwrap().len(), index.mark().unwrap()), (4, Some(6)));
        assert_eq!(index.places(1).unwrap(), [at(2), at(4)]);
        assert_eq!(index.places(3).unwrap(), []);
    }

    #[test]
    fn a_list_keeps_the_smallest_and_the_largest_place_and_garbage_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let index = Sled::open(&dir.path().join("index"), 1 << 20).unwrap();
        let places = [Place::unpack(u64::MAX), Place { segment: 0, at: 64 }, Place { segment: 7, at: 8 }, Place { segment: 7, at: 72 }];
        index.apply(&places.map(|place| Change { host: 1, place }), 5).unwrap();
        let mut sorted = places;
        sorted.sort_unstable();
        assert_eq!(index.places(1).unwrap(), sorted);
        index.apply(&[Change { host: 1, place: sorted[0] }], 6).unwrap();
        assert_eq!(index.places(1).unwrap(), sorted, "told twice");
        for garbage in [&[0x80][..], &[0xff; 9], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 1]] {
            index.0.insert([b"H", &2_u64.to_be_bytes()[..], &9_u64.to_be_bytes()].concat(), garbage).unwrap();
            assert_eq!(index.all(), Err(String::from(NO_LIST)));
            assert_eq!(index.places(1).unwrap(), sorted);
            assert!(index.apply(&[Change { host: 2, place: Place::unpack(9) }], 7).is_err());
        }
    }

    fn wait_for(what: impl Fn() -> bool) {
        for _ in 0..24_000 {
            if what() {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("it did not happen within two minutes");
    }

    #[test]
    fn an_index_that_has_grown_is_made_anew_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index");
        drop(Sled::open(&path, 1 << 20).unwrap());
        std::fs::write(path.join("grown"), vec![1; 3 << 20]).unwrap();
        let replays = Arc::new(Mutex::new(0));
        let count = Arc::clone(&replays);
        let replay: Replay = Box::new(move |_, each| {
            *count.lock() += 1;
            each(Change { host: 1, place: Place { segment: 3, at: 64 } });
        });
        // Even a new one is larger than that.
        let keeper = Keeper::start(path.clone(), 1 << 20, replay, Box::new(|| 1));
        wait_for(|| *replays.lock() == 2 && keeper.mood() == Mood::Ready);
        assert!(!path.join("grown").exists());
        assert!(path.with_extension("bad").join("grown").exists());
        assert_eq!(keeper.complete(1, &[]).unwrap(), [Place { segment: 3, at: 64 }]);
        keeper.stop();
        assert_eq!(*replays.lock(), 2);
        assert_eq!((limit(0, 1 << 40), limit(1 << 20, 1 << 40), limit(1 << 20, 1 << 30)), (LEAST, 192 << 20, (1 << 30) / 50));
    }

    #[test]
    fn a_panic_and_an_error_while_it_is_filled_set_it_aside_and_at_last_turn_it_off() {
        for panics in [1, 5] {
            let dir = tempfile::tempdir().unwrap();
            let left = Mutex::new(panics);
            let replay: Replay = Box::new(move |_, _| {
                let mut left = left.lock();
                *left -= 1;
                assert!(*left < 0, "as sled may");
            });
            let keeper = Keeper::start(dir.path().join("index"), 1 << 20, replay, Box::new(|| u64::MAX));
            wait_for(|| keeper.mood() != Mood::Rebuilding);
            assert_eq!(keeper.mood(), if panics == 1 { Mood::Ready } else { Mood::Off });
            assert!(dir.path().join("index.bad").exists());
            keeper.push(Change { host: 1, place: Place { segment: 3, at: 64 } });
            assert_eq!(keeper.complete(1, &[]).is_some(), panics == 1);
            keeper.stop();
        }
    }

    #[test]
    fn one_that_does_not_open_in_time_is_an_error() {
        let late = guarded(Duration::from_millis(20), || {
            std::thread::sleep(Duration::from_millis(200));
            Err(String::from("nobody hears this"))
        });
        assert!(late.is_err_and(|why| why.contains("not open after")));
        assert!(guarded(DEADLINE, || panic!("as sled may")).is_err_and(|why| why.contains("as sled may")));
    }

    #[test]
    fn a_folder_of_garbage_is_an_error_and_not_an_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index");
        std::fs::write(&path, b"a file where a folder should be").unwrap();
        assert!(open_guarded(&path, 1 << 20).is_err());
        set_aside(&path);
        assert!(open_guarded(&path, 1 << 20).is_ok());
    }
}
