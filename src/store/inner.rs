//! What the clones of a store share, how it is opened, and what ticks: group commit by time, a look at the file system, meters.

use crate::base::clock::{Clock, Time};
use crate::base::count::{IntCounter, IntGauge, Metrics};
use crate::base::target::UrlKey;
use crate::life::Life;
use crate::store::disk::{Disk, Guard};
use crate::store::evict::Gate;
use crate::store::hot::Hot;
use crate::store::index::{Keeper, Mood};
use crate::store::purge::Purges;
use crate::store::record::Codec;
use crate::store::segment::Log;
use crate::store::table::Place;
use crate::store::{Entry, Error, Settings, Stat, Variants, keep, recover};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{OnceCell, Semaphore};

/// Disk reads at a time: enough for an SSD, and so few that a HDD is not thrashed by a class.
const READS: usize = 8;
/// Disk writes at a time, beside the reads, so that commits and syncs never keep a stored page from a class. Both together stay
/// below the threads for blocking work (`main.rs`).
const WRITES: usize = 4;
/// One object takes at most this part of the quota: while it is committed it is on disk twice.
const OBJECT_SHARE: u64 = 2;
/// Locks that URLs and objects share: more than the tasks that can hold one.
const STRIPES: usize = 64;
/// The ballast: freed when the disk is full, so that the index can be opened. Kept by stores of at least [`BALLAST_FROM`].
const BALLAST: u64 = 64 << 20;
const BALLAST_FROM: u64 = 1 << 30;

/// What the clones of a store share.
pub(super) struct Inner {
    pub(super) settings: Settings,
    clock: Clock,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) log: Arc<Log>,
    pub(super) gate: Arc<Gate>,
    pub(super) hot: Hot,
    pub(super) index: Keeper,
    pub(super) purges: Purges,
    pub(super) stripes: [Mutex<()>; STRIPES],
    pub(super) objects: [Mutex<()>; STRIPES],
    pub(super) flights: Mutex<HashMap<UrlKey, Arc<OnceCell<Variants>>>>,
    reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
    pub(super) damaged: AtomicU64,
    temporaries: AtomicU64,
    /// Bytes below `tmp/`.
    pub(super) drafts: Arc<AtomicU64>,
    pub(super) meters: Meters,
    /// Holds the folder's lock.
    _lock: Option<Guard>,
}

pub(super) struct Meters {
    size: IntGauge,
    objects: IntGauge,
    hot: IntGauge,
    pub(super) corrupt: IntCounter,
    syncs: IntCounter,
}

impl Meters {
    fn new(metrics: &Metrics) -> Meters {
        // Registered now, so that dashboards have it from the first day; nothing is evicted yet.
        metrics.counters("bulak_cache_evictions_total", "Objects evicted.", &["reason"]).with_label_values(&["space"]).inc_by(0);
        Meters {
            size: metrics.gauge("bulak_cache_size_bytes", "Bytes on disk, live and dead."),
            objects: metrics.gauge("bulak_cache_objects", "Distinct objects."),
            hot: metrics.gauge("bulak_store_hot_bytes", "Bytes in the hot tier."),
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
        let found = recover::open(&*disk, &settings.path, settings.segment.0, clock.now())?;
        clock.raise_floor(found.dates.newest(Time::BUILT));
        let gate = Arc::new(Gate::new(clock.clone(), settings.quota.0, found.read_only));
        let seg = settings.path.join("seg");
        let place = (found.seq, found.next_number, found.bytes);
        let log = Log::new(
            Arc::clone(&disk),
            seg,
            found.uuid,
            settings.segment.0,
            clock.clone(),
            Arc::clone(&gate),
            found.table,
            (found.parts, found.alone),
            place,
        );
        let log = Arc::new(log);
        if !found.read_only {
            ballast(&settings, &*disk);
        }
        gate.look(disk.space(&settings.path).unwrap_or_default());
        let index = if found.read_only || settings.index_cache.0 == 0 {
            Keeper::off()
        } else {
            let log = Arc::clone(&log);
            Keeper::start(settings.path.join("index"), settings.index_cache.0, Box::new(move |mark, each| keep::replay(&log, mark, each)))
        };
        let inner = Arc::new(Inner {
            hot: Hot::new(settings.memory.0),
            settings,
            clock,
            disk,
            log,
            gate,
            index,
            purges: Purges::default(),
            stripes: std::array::from_fn(|_| Mutex::new(())),
            objects: std::array::from_fn(|_| Mutex::new(())),
            flights: Mutex::new(HashMap::new()),
            reads: Arc::new(Semaphore::new(READS)),
            writes: Arc::new(Semaphore::new(WRITES)),
            damaged: AtomicU64::new(found.damaged),
            temporaries: AtomicU64::new(0),
            drafts: Arc::default(),
            meters: Meters::new(metrics),
            _lock: found.lock,
        });
        let weak = Arc::downgrade(&inner);
        let pause = inner.settings.sync_after;
        life.spawn_until_stop(tick(weak, pause));
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

    /// Whether `more` bytes may come in beside what is stored and what is arriving; `own` of that is about to go.
    pub(super) fn admit(&self, more: u64, own: u64) -> Result<(), Error> {
        let arriving = self.drafts.load(Ordering::Relaxed).saturating_sub(own);
        self.gate.admit(self.log.bytes().saturating_add(arriving), more)
    }

    /// The largest object that is taken.
    pub(super) fn object_max(&self) -> u64 {
        self.settings.quota.0 / OBJECT_SHARE
    }

    /// How much more would be admitted now.
    pub(super) fn room(&self) -> u64 {
        self.gate.room(self.log.bytes().saturating_add(self.drafts.load(Ordering::Relaxed)))
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
        Stat {
            objects: sums.objects,
            entries: table.entries(),
            entry_bytes: sums.entry_bytes,
            object_bytes: sums.object_bytes,
            disk_bytes: self.log.bytes(),
            quota_bytes: self.settings.quota.0,
            pinned_entries: table.pinned_entries(),
            spared_dedup_bytes: sums.entry_bytes.saturating_sub(sums.object_bytes),
            spared_zstd_bytes: sums.object_bytes.saturating_sub(sums.stored_bytes),
            damaged: self.damaged.load(Ordering::Relaxed),
            admitting: self.gate.admit(self.log.bytes(), 0).is_ok(),
            writable: self.gate.writable().is_ok(),
            index: index.to_owned(),
            codecs,
            hot_bytes: self.hot.bytes(),
        }
    }

    /// Looks at the file system, syncs, removes segments of parts that have become whole and of large bodies out of use.
    pub(super) fn keep_house(&self) -> Result<(), Error> {
        self.gate.look(self.disk.space(&self.settings.path).unwrap_or_default());
        let (dead, unused) = (self.log.dead(), self.log.unused());
        self.log.sync()?;
        if self.gate.writable().is_err() {
            return Ok(());
        }
        if !dead.is_empty() {
            self.log.remove(&dead)?;
        }
        for (number, object) in unused {
            let _one = self.object_lock(&object);
            self.log.remove_unused(number, &object)?;
        }
        Ok(())
    }

    fn show_meters(&self) {
        let whole = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.meters.size.set(whole(self.log.bytes()));
        self.meters.objects.set(whole(self.log.table().read().sums().objects));
        self.meters.hot.set(whole(self.hot.bytes()));
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
    let mut said = false;
    loop {
        tokio::time::sleep(pause).await;
        let Some(inner) = inner.upgrade() else { return };
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

/// Keeps the ballast, or frees it when the disk is full. Blocking.
fn ballast(settings: &Settings, disk: &dyn Disk) {
    let path = settings.path.join("ballast");
    let Ok((free, _)) = disk.space(&settings.path) else { return };
    let made = if settings.quota.0 < BALLAST_FROM || free < BALLAST {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    } else if free > 4 * BALLAST && !path.exists() {
        let file = File::create(&path);
        file.and_then(|file| Ok(rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, BALLAST)?))
    } else {
        Ok(())
    };
    if let Err(error) = made {
        tracing::debug!(%error, "no ballast");
    }
}
