//! A disk that is only looked at: reads pass, every write is refused as a read-only file system refuses it. For commands that
//! look into the store of a stopped node and must leave it as it is.

use crate::store::disk::{Disk, DiskFile, Guard, Real};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The real file system, without writing.
pub(crate) struct Still;

fn refused<T>() -> io::Result<T> {
    Err(io::Error::from(io::ErrorKind::ReadOnlyFilesystem))
}

impl Disk for Still {
    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn DiskFile>> {
        if write { refused() } else { Real.open(path, false) }
    }

    fn create(&self, _: &Path) -> io::Result<Arc<dyn DiskFile>> {
        refused()
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        refused()
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        refused()
    }

    fn make_dir(&self, _: &Path) -> io::Result<()> {
        refused()
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        refused()
    }

    fn list(&self, path: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
        Real.list(path)
    }

    fn space(&self, path: &Path) -> io::Result<(u64, u64)> {
        Real.space(path)
    }

    fn lock(&self, path: &Path, write: bool) -> io::Result<Guard> {
        if write && !path.exists() { refused() } else { Real.lock(path, false) }
    }
}
