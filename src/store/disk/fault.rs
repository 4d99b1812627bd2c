//! A disk that fails on order, over the real one: full, read-only, a short write, a failed sync, or dead after so many
//! changes, as after a kill. Reading always works. Tests only.

use super::{Disk, DiskFile, Guard, Real};
use std::io;
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
    /// After this many more changes every change fails, the first of them half done; negative: never.
    pub(crate) dead_after: AtomicI64,
    /// Changes so far.
    pub(crate) changes: AtomicI64,
    /// Syncs so far.
    pub(crate) syncs: AtomicI64,
}

impl Orders {
    fn change(&self) -> io::Result<()> {
        if self.read_only.load(Ordering::Relaxed) {
            return Err(io::Error::from(io::ErrorKind::ReadOnlyFilesystem));
        }
        let done = self.changes.fetch_add(1, Ordering::Relaxed);
        let limit = self.dead_after.load(Ordering::Relaxed);
        if limit >= 0 && done >= limit { Err(io::Error::other("the machine has stopped")) } else { Ok(()) }
    }
}

/// The disk.
#[derive(Clone)]
pub(crate) struct Faulty(pub(crate) Arc<Orders>);

impl Faulty {
    /// A disk without orders.
    pub(crate) fn new() -> Faulty {
        Faulty(Arc::new(Orders { dead_after: AtomicI64::new(-1), ..Orders::default() }))
    }

    fn wrap(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(FaultyFile { file, orders: Arc::clone(&self.0) })
    }
}

struct FaultyFile {
    file: Arc<dyn DiskFile>,
    orders: Arc<Orders>,
}

impl Disk for Faulty {
    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn DiskFile>> {
        if write {
            self.0.change()?;
        }
        Ok(self.wrap(Real.open(path, write)?))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.0.change()?;
        Ok(self.wrap(Real.create(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.change()?;
        Real.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.change()?;
        Real.remove(path)
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        self.0.change()?;
        Real.make_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.change()?;
        Real.sync_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
        Real.list(path)
    }

    fn space(&self, path: &Path) -> io::Result<(u64, u64)> {
        Real.space(path)
    }

    fn lock(&self, path: &Path, write: bool) -> io::Result<Guard> {
        Real.lock(path, write)
    }
}

impl DiskFile for FaultyFile {
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        self.file.read_at(into, at)
    }

    fn write_at(&self, from: &[u8], at: u64) -> io::Result<()> {
        let half = &from[..from.len() / 2];
        if self.orders.full.load(Ordering::Relaxed) {
            self.file.write_at(half, at)?;
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        if let Err(error) = self.orders.change() {
            // The write that meets the end is cut short; later ones leave nothing.
            if self.orders.changes.load(Ordering::Relaxed) == self.orders.dead_after.load(Ordering::Relaxed) + 1 {
                self.file.write_at(half, at)?;
            }
            return Err(error);
        }
        self.file.write_at(from, at)
    }

    fn sync(&self) -> io::Result<()> {
        self.orders.change()?;
        self.orders.syncs.fetch_add(1, Ordering::Relaxed);
        if self.orders.fail_sync.swap(false, Ordering::Relaxed) {
            return Err(io::Error::other("sync failed"));
        }
        self.file.sync()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.orders.change()?;
        self.file.truncate(length)
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }
}
