//! What the clones of a store share, how it is opened, and what ticks: group commit by time, a look at the file system, meters.

use crate::base::clock::{Clock, Time};
use crate::base::count::{IntCounter, IntGauge, Metrics};
use crate::base::target::UrlKey;
use crate::life::Life;
use crate::store::dates::Dates;
use crate::store::disk::{Disk, Guard};
use crate::store::evict::{Gate, Reclaim};
use crate::store::hot::Hot;
use crate::store::index::{self, Change, Keeper, Mood};
use crate::store::lend::Register;
use crate::store::pinned::Pinned;
use crate::store::purge::Purges;
use crate::store::record::Codec;
use crate::store::segment::{self, Log, Written};
use crate::store::snapshot::{self, Head, Known};
use crate::store::table::Place;
use crate::store::{Entry, Error, Settings, Source, Spared, Stat, Variants, keep, recover};
use parking_lot::{Mutex, RwLock};
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{Notify, OnceCell, Semaphore};

/// Disk reads at a time: enough for an SSD, and so few that a HDD is not thrashed by a class.
const READS: usize = 8;
/// Disk writes at a time, beside the reads, so that commits and syncs never keep a stored page from a class. Both together stay
/// below the threads for blocking work (`main.rs`).
const WRITES: usize = 4;
/// One object takes at most this part of the quota, one for a pack more: while it is committed it is on disk twice.
const OBJECT_SHARE: u64 = 10;
const PACK_OBJECT_SHARE: u64 = 2;
/// Locks that URLs and objects share: more than the tasks that can hold one.
const STRIPES: usize = 64;
/// A snapshot of the table when something has changed: what a start after a power cut must read is little then.
const SNAPSHOT_EVERY: Duration = Duration::from_mins(10);
/// The ballast: freed when the disk is full, so that the index can be opened and mostly dead segments can be rewritten. Kept by stores
/// of at least [`BALLAST_FROM`]. A rewrite that makes room copies at most half a segment, so half a segment is what it takes: 32 MiB
/// with segments of 64. sled opens in a few MiB.
const BALLAST: std::ops::RangeInclusive<u64> = 16 << 20..=64 << 20;
const BALLAST_NAME: &str = "ballast";
const BALLAST_FROM: u64 = 1 << 30;

/// What the clones of a store share.
pub(super) struct Inner {
    pub(super) settings: Settings,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) clock: Clock,
    pub(super) log: Arc<Log>,
    pub(super) gate: Arc<Gate>,
    pub(super) hot: Hot,
    pub(super) index: Keeper,
    pub(super) purges: Purges,
    /// What has been verified of large bodies.
    pub(super) verified: Register,
    pub(super) stripes: [Mutex<()>; STRIPES],
    pub(super) objects: [Mutex<()>; STRIPES],
    pub(super) flights: Mutex<HashMap<UrlKey, Arc<OnceCell<Variants>>>>,
    reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
    pub(super) damaged: AtomicU64,
    temporaries: AtomicU64,
    /// Bytes below `tmp/`.
    pub(super) drafts: Arc<AtomicU64>,
    /// Bytes promised to what is about to be written.
    pub(super) reserved: Arc<AtomicU64>,
    pub(super) reserving: Mutex<()>,
    /// One rewrite at a time, and what making room remembers. Taken after stripes and objects, never before.
    pub(super) rewriting: Mutex<Reclaim>,
    /// Held for reading by whoever must not have an answer moved under him, for writing while answers are moved.
    pub(super) moves: RwLock<()>,
    /// Rung when room should be made, and the most that was wanted since.
    pub(super) wake: Arc<Notify>,
    pub(super) wanted: AtomicU64,
    pub(super) pins: Pinned,
    /// See `Store::lost_pinned`.
    pub(super) lost: Mutex<Vec<String>>,
    pub(super) meters: Meters,
    /// Changes of the table that the last snapshot has, and the dates that records prove.
    saved: Mutex<(Option<u64>, Dates)>,
    /// Holds the folder's lock.
    _lock: Option<Guard>,
}

pub(super) struct Meters {
    size: IntGauge,
    objects: IntGauge,
    hot: IntGauge,
    table: IntGauge,
    pub(super) corrupt: IntCounter,
    syncs: IntCounter,
    pub(super) evicted: IntCounter,
    pub(super) reclaimed: IntCounter,
    written: [IntCounter; Written::ALL.len()],
}

impl Meters {
    fn new(metrics: &Metrics) -> Meters {
        let evictions = metrics.counters("bulak_cache_evictions_total", "Answers evicted.", &["reason"]);
        let written = metrics.counters("bulak_store_written_bytes_total", "Bytes written to segments and drafts.", &["kind"]);
        Meters {
            evicted: evictions.with_label_values(&["space"]),
            reclaimed: metrics.counter("bulak_store_reclaimed_bytes_total", "Bytes of segments given back."),
            written: Written::ALL.map(|what| written.with_label_values(&[what.name()])),
            size: metrics.gauge("bulak_cache_size_bytes", "Bytes on disk, live and dead."),
            objects: metrics.gauge("bulak_cache_objects", "Distinct objects."),
            hot: metrics.gauge("bulak_store_hot_bytes", "Bytes in the hot tier."),
            table: metrics.gauge("bulak_store_table_bytes", "Bytes of the table in memory that says where everything is."),
            corrupt: metrics.counter("bulak_cache_corrupt_total", "Stored records that did not verify."),
            syncs: metrics.counter("bulak_store_syncs_total", "Syncs of the segment log."),
        }
    }
}

/// A shared read of one URL; leaves nothing behind when its last reader goes.
pub(super) struct Flight {
    inner: Arc<Inner>,
    url: UrlKey,
    pub(super) cell: Arc<OnceCell<Variants>>,
}

impl Flight {
    pub(super) fn join(inner: &Arc<Inner>, url: UrlKey) -> Flight {
        let cell = Arc::clone(inner.flights.lock().entry(url).or_default());
        Flight { inner: Arc::clone(inner), url, cell }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut flights = self.inner.flights.lock();
        // Once read, whoever comes later looks into the hot tier first, or reads anew.
        let over = self.cell.initialized() || Arc::strong_count(&self.cell) == 2;
        if over && flights.get(&self.url).is_some_and(|cell| Arc::ptr_eq(cell, &self.cell)) {
            flights.remove(&self.url);
        }
    }
}

impl Inner {
    /// Opens the folder, starts the index and the ticking.
    pub(super) fn open(disk: Arc<dyn Disk>, settings: Settings, clock: Clock, life: &Life, metrics: &Metrics) -> Result<Arc<Inner>, Error> {
        let found = recover::open(&*disk, &settings.path, settings.segment.0, clock.now(), || keep_ballast(&settings, &*disk))?;
        clock.raise_floor(found.dates.newest(Time::BUILT));
        let gate = Arc::new(Gate::new(clock.clone(), settings.quota.0, found.read_only));
        let seg = settings.path.join("seg");
        let place = (found.seq, found.next_number);
        let log = Log::new(
            Arc::clone(&disk),
            seg,
            found.uuid,
            segment::size_for(settings.quota.0, settings.segment.0),
            clock.clone(),
            Arc::clone(&gate),
            found.table,
            &found.alone,
            place,
        )?;
        log.adopt(&found.strangers);
        let log = Arc::new(log);
        gate.look(disk.space(&settings.path).unwrap_or_default(), log.bytes());
        let index = if found.read_only || settings.index_cache.0 == 0 {
            Keeper::off()
        } else {
            let (log, table, quota) = (Arc::clone(&log), Arc::clone(&log), settings.quota.0);
            let replay = Box::new(move |mark, each: &mut dyn FnMut(Change) -> bool| keep::replay(&log, mark, each));
            let limit = Box::new(move || index::limit(table.table().read().entries(), quota));
            Keeper::start(settings.path.join("index"), settings.index_cache.0, replay, limit)
        };
        let inner = Arc::new(Inner {
            hot: Hot::new(settings.memory.0),
            settings,
            disk,
            clock,
            log,
            gate,
            index,
            purges: Purges::default(),
            verified: Register::default(),
            stripes: std::array::from_fn(|_| Mutex::new(())),
            objects: std::array::from_fn(|_| Mutex::new(())),
            flights: Mutex::new(HashMap::new()),
            reads: Arc::new(Semaphore::new(READS)),
            writes: Arc::new(Semaphore::new(WRITES)),
            damaged: AtomicU64::new(found.damaged),
            temporaries: AtomicU64::new(0),
            drafts: Arc::default(),
            reserved: Arc::default(),
            reserving: Mutex::default(),
            rewriting: Mutex::default(),
            moves: RwLock::default(),
            wake: Arc::default(),
            wanted: AtomicU64::new(0),
            pins: Pinned::default(),
            lost: Mutex::default(),
            meters: Meters::new(metrics),
            saved: Mutex::new((None, found.dates)),
            _lock: found.lock,
        });
        let weak = Arc::downgrade(&inner);
        let pause = inner.settings.sync_after;
        life.spawn_until_stop(tick(weak.clone(), pause));
        life.spawn_until_stop(make_room(weak, Arc::clone(&inner.wake)));
        Ok(inner)
    }

    /// Reads in the blocking pool, at most [`READS`] at a time. When dropped midway the work still ends.
    pub(super) async fn run<T: Send + 'static>(
        self: &Arc<Inner>,
        work: impl FnOnce(&Inner) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.run_under(&self.reads, work).await
    }

    /// Writes in the blocking pool, at most [`WRITES`] at a time. When dropped midway the work still ends.
    pub(super) async fn run_write<T: Send + 'static>(
        self: &Arc<Inner>,
        work: impl FnOnce(&Inner) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.run_under(&self.writes, work).await
    }

    async fn run_under<T: Send + 'static>(
        self: &Arc<Inner>,
        permits: &Arc<Semaphore>,
        work: impl FnOnce(&Inner) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let permit = Arc::clone(permits).acquire_owned().await.map_err(io::Error::other)?;
        let inner = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work(&inner)
        });
        done.await.map_err(io::Error::other)?
    }

    /// The largest object that is taken from `source`.
    pub(super) fn object_max(&self, source: Source) -> u64 {
        self.settings.quota.0 / if source == Source::Pack { PACK_OBJECT_SHARE } else { OBJECT_SHARE }
    }

    /// Tells the time.
    pub(super) fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// The time.
    pub(super) fn now(&self) -> Time {
        self.clock.now()
    }

    /// The index.
    pub(super) fn index(&self) -> &Keeper {
        &self.index
    }

    /// Says an error of the disk in the store's words.
    pub(super) fn noted(&self, error: Error) -> Error {
        match error {
            Error::Disk(error) => self.gate.note(error),
            other => other,
        }
    }

    /// A new name below `tmp/`.
    pub(super) fn temporary_path(&self) -> PathBuf {
        let number = self.temporaries.fetch_add(1, Ordering::Relaxed);
        self.settings.path.join("tmp").join(format!("{number}.part"))
    }

    /// The entries that are still at these places, without bodies.
    pub(super) fn entries_at(&self, places: &[Place]) -> Result<Vec<Entry>, Error> {
        let mut entries = Vec::with_capacity(places.len());
        for place in places {
            if let Some((_, kept)) = self.kept(*place)? {
                let url = recover::url_key(&kept.meta.url);
                let current = self.log.table().read().entry(&url, &kept.meta.key.0) == Some(*place);
                if current {
                    entries.push(self.entry(&url, kept, None));
                }
            }
        }
        Ok(entries)
    }

    /// Figures now.
    pub(super) fn stat(&self) -> Stat {
        let table = self.log.table().read();
        let sums = table.sums();
        let codecs = Codec::ALL.map(|codec| (codec.name().to_owned(), sums.codecs[codec as usize])).into();
        let index = match self.index.mood() {
            Mood::Ready => "ready",
            Mood::Rebuilding => "rebuilding",
            Mood::Off => "off",
        };
        let (free_bytes, size_bytes) = self.gate.space().unzip();
        Stat {
            objects: sums.objects,
            entries: table.entries(),
            entry_bytes: sums.entry_bytes,
            object_bytes: sums.object_bytes,
            disk_bytes: self.log.bytes(),
            quota_bytes: self.settings.quota.0,
            free_bytes,
            size_bytes,
            pinned_entries: table.pinned_entries(),
            spared_dedup_bytes: sums.entry_bytes.saturating_sub(sums.object_bytes),
            spared_zstd_bytes: sums.object_bytes.saturating_sub(sums.stored_bytes),
            spared: Spared {
                dedup_bytes: sums.entry_bytes.saturating_sub(sums.object_bytes),
                zstd_bytes: sums.spared(Codec::Zstd) + sums.spared(Codec::Frames),
                dict_bytes: sums.spared(Codec::Dict),
                delta_bytes: sums.spared(Codec::Delta),
            },
            damaged: self.damaged.load(Ordering::Relaxed),
            admitting: self.gate.writable().is_ok()
                && !self.gate.is_latched()
                && !(self.gate.is_stuck() && self.gate.is_tight(self.used())),
            writable: self.gate.writable().is_ok(),
            index: index.to_owned(),
            codecs,
            hot_bytes: self.hot.bytes(),
        }
    }

    /// Looks at the file system, syncs, removes segments of parts that have become whole and of large bodies out of use, wakes
    /// whoever makes room.
    pub(super) fn keep_house(&self) -> Result<(), Error> {
        self.look();
        self.log.sync()?;
        if self.gate.writable().is_err() {
            return Ok(());
        }
        keep_ballast(&self.settings, &*self.disk);
        if let Some(_one) = self.rewriting.try_lock() {
            self.remove_whole()?;
        }
        if self.gate.is_tight(self.used()) {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Writes a snapshot of the table, unless nothing has changed since the last one. Whether one was written. Blocking.
    ///
    /// # Errors
    /// `Full`, `ReadOnly`, `Disk`: the older one stays; a start without one is only slower.
    pub(super) fn snapshot(&self) -> Result<bool, Error> {
        self.gate.writable()?;
        let mut saved = self.saved.lock();
        let frozen = {
            // Not amid a rewrite, when the table leads to some of the copies only.
            let _still = self.moves.read();
            if saved.0 == Some(self.log.table().read().changes()) {
                return Ok(false);
            }
            self.log.freeze()
        };
        saved.1.add(self.clock.now());
        let changes = frozen.table.changes();
        let segments = frozen.segments.into_iter().map(|(number, (lane, length, alone))| (number, Known { lane, length, alone }));
        let head = Head {
            uuid: *self.log.uuid(),
            seq: frozen.seq,
            next_number: frozen.next_number,
            dates: saved.1.clone(),
            segments: segments.collect(),
        };
        // Whatever the table tells of is on the medium before the table is, and still where it was.
        let durable = || self.log.sync().map(|()| self.log.rescues() == frozen.rescues);
        let written =
            snapshot::write(&*self.disk, &self.settings.path, &head, &frozen.table, durable).map_err(|error| self.noted(error))?;
        if written {
            saved.0 = Some(changes);
        }
        Ok(written)
    }

    /// Looks at the file system.
    pub(super) fn look(&self) {
        let used = self.log.bytes().saturating_add(self.drafts.load(Ordering::Relaxed));
        self.gate.look(self.disk.space(&self.settings.path).unwrap_or_default(), used);
    }

    /// Frees the ballast. Whether there was one.
    pub(super) fn free_ballast(&self) -> bool {
        let freed = std::fs::remove_file(self.settings.path.join(BALLAST_NAME)).is_ok();
        if freed {
            self.look();
        }
        freed
    }

    fn show_meters(&self) {
        let whole = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.meters.size.set(whole(self.log.bytes()));
        self.meters.objects.set(whole(self.log.table().read().sums().objects));
        self.meters.hot.set(whole(self.hot.bytes()));
        self.meters.table.set(whole(self.log.table().read().bytes() as u64));
        for (what, counter) in Written::ALL.iter().zip(&self.meters.written) {
            counter.inc_by(self.log.written(*what).saturating_sub(counter.get()));
        }
        self.meters.syncs.inc_by(self.log.syncs().saturating_sub(self.meters.syncs.get()));
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.index.stop();
    }
}

/// Group commit by time, a look at the file system, and the meters; ends with the store or the node.
async fn tick(inner: Weak<Inner>, pause: Duration) {
    let (mut said, mut since) = (false, Duration::ZERO);
    loop {
        tokio::time::sleep(pause).await;
        let Some(inner) = inner.upgrade() else { return };
        since += pause;
        if since >= SNAPSHOT_EVERY {
            since = Duration::ZERO;
            if let Err(error) = inner.run_write(Inner::snapshot).await {
                tracing::debug!(%error, "no snapshot of the table now; a start will read more footers");
            }
        }
        let done = inner
            .run_write(|inner| {
                let kept = inner.keep_house();
                inner.show_meters();
                kept
            })
            .await;
        // Once for each time it begins to fail.
        let before = std::mem::replace(&mut said, done.is_err());
        if let (Err(error), false) = (done, before) {
            tracing::error!(%error, "the store could not be synced; what came in lately may be lost in a power cut");
        }
    }
}

/// Makes room whenever it is tight; ends with the store or the node.
async fn make_room(inner: Weak<Inner>, wake: Arc<Notify>) {
    let mut said = false;
    loop {
        wake.notified().await;
        let Some(inner) = inner.upgrade() else { return };
        let done = inner.run_write(Inner::reclaim).await;
        // Once for each time it begins to fail.
        let before = std::mem::replace(&mut said, done.is_err());
        if let (Err(error), false) = (done, before) {
            tracing::warn!(%error, "room could not be made in the store");
        }
    }
}

/// Bytes of the ballast of a store.
fn ballast(settings: &Settings) -> u64 {
    (segment::size_for(settings.quota.0, settings.segment.0) / 2).clamp(*BALLAST.start(), *BALLAST.end())
}

/// Keeps the ballast, or frees it when the disk is full. Blocking.
fn keep_ballast(settings: &Settings, disk: &dyn Disk) {
    let path = settings.path.join(BALLAST_NAME);
    let Ok((free, _)) = disk.space(&settings.path) else { return };
    let (wanted, length) = (ballast(settings), std::fs::metadata(&path).map_or(0, |found| found.len()));
    let made = if settings.quota.0 < BALLAST_FROM || free < wanted {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    } else if length > wanted {
        // Of a time when it was larger.
        File::options().write(true).open(&path).and_then(|file| file.set_len(wanted))
    } else if free > 4 * wanted && length == 0 {
        let file = File::create(&path);
        file.and_then(|file| Ok(rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, wanted)?))
    } else {
        Ok(())
    };
    if let Err(error) = made {
        tracing::debug!(%error, "no ballast");
    }
}
