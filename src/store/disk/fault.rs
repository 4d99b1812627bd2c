//! A disk that fails on order, over another one: full, read-only, a short write, a failed sync, or dead after so many
//! changes, as after a kill; a place that cannot be read. Tests only.

use super::{Disk, DiskFile, Guard, Real};
use parking_lot::Mutex;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// The orders. Shared by the disk and its files.
#[derive(Default)]
pub(crate) struct Orders {
    /// Every write fails with ENOSPC, after writing half.
    pub(crate) full: AtomicBool,
    /// Every change fails with EROFS.
    pub(crate) read_only: AtomicBool,
    /// The next sync fails with EIO.
    pub(crate) fail_sync: AtomicBool,
    /// ... and this happens meanwhile.
    pub(crate) meanwhile: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    /// Reading any of these bytes, of any file, fails with EIO.
    pub(crate) unreadable: Mutex<Range<u64>>,
    /// ... or only of files with this stem.
    pub(crate) unreadable_of: Mutex<Option<String>>,
    /// After this many more changes every change fails, the first of them half done; negative: never.
    pub(crate) dead_after: AtomicI64,
    /// Changes of these numbers fail with ENOSPC, if they take room.
    pub(crate) full_from: AtomicI64,
    pub(crate) full_to: AtomicI64,
    /// ... and syncs as well, which find out only late that there is none.
    pub(crate) full_late: AtomicBool,
    /// How often that happened.
    pub(crate) refused: AtomicI64,
    /// Changes so far.
    pub(crate) changes: AtomicI64,
    /// Syncs so far.
    pub(crate) syncs: AtomicI64,
}

/// What a change does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Room,
    /// Finds out late that there is none.
    Sync,
    Nothing,
}

impl Orders {
    /// The disk is full from one change to another.
    pub(crate) fn fill(&self, changes: Range<i64>, late: bool) {
        self.full_late.store(late, Ordering::Relaxed);
        self.full_from.store(changes.start, Ordering::Relaxed);
        self.full_to.store(changes.end, Ordering::Relaxed);
    }

    fn change(&self, takes: Takes) -> io::Result<()> {
        if self.read_only.load(Ordering::Relaxed) {
            return Err(io::Error::from(io::ErrorKind::ReadOnlyFilesystem));
        }
        let done = self.changes.fetch_add(1, Ordering::Relaxed);
        let full = self.full_from.load(Ordering::Relaxed)..self.full_to.load(Ordering::Relaxed);
        let takes = takes == Takes::Room || takes == Takes::Sync && self.full_late.load(Ordering::Relaxed);
        if takes && full.contains(&done) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        let limit = self.dead_after.load(Ordering::Relaxed);
        if limit >= 0 && done >= limit { Err(io::Error::other("the machine has stopped")) } else { Ok(()) }
    }
}

/// The disk.
#[derive(Clone)]
pub(crate) struct Faulty(pub(crate) Arc<Orders>, Arc<dyn Disk>);

impl Faulty {
    /// A disk without orders over the real one.
    pub(crate) fn new() -> Faulty {
        Faulty::over(Arc::new(Real))
    }

    /// A disk without orders over another one.
    pub(crate) fn over(disk: Arc<dyn Disk>) -> Faulty {
        Faulty(Arc::new(Orders { dead_after: AtomicI64::new(-1), ..Orders::default() }), disk)
    }

    fn wrap(&self, path: &Path, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Arc::new(FaultyFile { file, stem, orders: Arc::clone(&self.0) })
    }
}

struct FaultyFile {
    file: Arc<dyn DiskFile>,
    stem: String,
    orders: Arc<Orders>,
}

impl Disk for Faulty {
    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn DiskFile>> {
        if write {
            self.0.change(Takes::Nothing)?;
        }
        Ok(self.wrap(path, self.1.open(path, write)?))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.0.change(Takes::Room)?;
        Ok(self.wrap(path, self.1.create(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.change(Takes::Room)?;
        self.1.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.change(Takes::Nothing)?;
        self.1.remove(path)
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        self.0.change(Takes::Room)?;
        self.1.make_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.change(Takes::Sync)?;
        self.1.sync_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
        self.1.list(path)
    }

    fn space(&self, path: &Path) -> io::Result<(u64, u64)> {
        self.1.space(path)
    }

    fn lock(&self, path: &Path, write: bool) -> io::Result<Guard> {
        self.1.lock(path, write)
    }
}

impl DiskFile for FaultyFile {
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        let bad = self.orders.unreadable.lock().clone();
        let ours = self.orders.unreadable_of.lock().as_ref().is_none_or(|stem| *stem == self.stem);
        if ours && at < bad.end && bad.start < at + into.len() as u64 {
            return Err(rustix::io::Errno::IO.into());
        }
        self.file.read_at(into, at)
    }

    fn write_at(&self, from: &[u8], at: u64) -> io::Result<()> {
        let half = &from[..from.len() / 2];
        if self.orders.full.load(Ordering::Relaxed) {
            self.file.write_at(half, at)?;
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        if let Err(error) = self.orders.change(Takes::Room) {
            // A full disk takes what fits. The write that meets the end is cut short; later ones leave nothing.
            let full = error.kind() == io::ErrorKind::StorageFull;
            if full || self.orders.changes.load(Ordering::Relaxed) == self.orders.dead_after.load(Ordering::Relaxed) + 1 {
                self.file.write_at(half, at)?;
            }
            return Err(error);
        }
        self.file.write_at(from, at)
    }

    fn sync(&self) -> io::Result<()> {
        self.orders.change(Takes::Sync)?;
        self.orders.syncs.fetch_add(1, Ordering::Relaxed);
        if self.orders.fail_sync.swap(false, Ordering::Relaxed) {
            let meanwhile = self.orders.meanwhile.lock().take();
            if let Some(what) = meanwhile {
                what();
            }
            return Err(io::Error::other("sync failed"));
        }
        self.file.sync()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.orders.change(Takes::Nothing)?;
        self.file.truncate(length)
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }
}
