//! The few file operations that the store uses; the seam where tests record and inject faults. `Real` is the file system;
//! tests put a faulty disk (`disk/fault.rs`) or one in memory that remembers every change (`disk/record.rs`) in its place. sled's
//! folder does not pass through here: it is disposable.

/// A disk that fails on order.
#[cfg(test)]
pub(crate) mod fault;

/// A disk in memory that records, and shows what a power cut would leave.
#[cfg(test)]
pub(crate) mod record;

/// A disk that is only looked at.
pub(crate) mod still;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file system. All paths are absolute or relative to the working directory.
pub(crate) trait Disk: Send + Sync + 'static {
    /// Opens a file for reading, or also for writing.
    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn DiskFile>>;
    /// Makes a new file; an error when there is one.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Renames a file.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes a folder and its parents, durably; leaves one that is there as it is.
    fn make_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes names in a folder durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// The files of a folder with their lengths; empty when there is no folder.
    fn list(&self, path: &Path) -> io::Result<Vec<(PathBuf, u64)>>;
    /// (free, total) bytes of the file system.
    fn space(&self, path: &Path) -> io::Result<(u64, u64)>;
    /// Takes the lock of this file for as long as the guard lives, and makes the file when `write`; `WouldBlock` when another
    /// has it.
    fn lock(&self, path: &Path, write: bool) -> io::Result<Guard>;
}

/// Holds a lock.
pub(crate) type Guard = Box<dyn Send + Sync>;

/// An open file. Reads and writes say where, so that a handle can be shared.
pub(crate) trait DiskFile: Send + Sync + 'static {
    /// Fills `into` from `at`; `UnexpectedEof` when there is less.
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<()>;
    /// Writes all of `from` at `at`.
    fn write_at(&self, from: &[u8], at: u64) -> io::Result<()>;
    /// The data is on the medium when this returns (fdatasync).
    fn sync(&self) -> io::Result<()>;
    /// Cuts to this length.
    fn truncate(&self, length: u64) -> io::Result<()>;
    /// The length.
    fn length(&self) -> io::Result<u64>;
    /// Its descriptor, where the kernel has one and gives what `read_at` does.
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// The real file system.
pub(crate) struct Real;

impl Disk for Real {
    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(OpenOptions::new().read(true).write(write).open(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(OpenOptions::new().read(true).write(true).create_new(true).open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        let missing: Vec<&Path> = path.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists()).collect();
        fs::create_dir_all(path)?;
        // Without this a power cut may take a new store's folder, and with it all that was synced within.
        for dir in missing {
            match File::open(dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))) {
                Ok(parent) => parent.sync_all()?,
                // May be entered and written, but not read: then it cannot be synced either.
                Err(error) => tracing::debug!(%error, "a folder above the store cannot be synced"),
            }
        }
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn list(&self, path: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
        let mut files = Vec::new();
        match fs::read_dir(path) {
            Ok(entries) => {
                for entry in entries {
                    let entry = entry?;
                    let about = entry.metadata()?;
                    if about.is_file() {
                        files.push((entry.path(), about.len()));
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        files.sort();
        Ok(files)
    }

    fn space(&self, path: &Path) -> io::Result<(u64, u64)> {
        let about = rustix::fs::statvfs(path)?;
        Ok((about.f_bavail * about.f_frsize, about.f_blocks * about.f_frsize))
    }

    fn lock(&self, path: &Path, write: bool) -> io::Result<Guard> {
        let file = OpenOptions::new().read(true).write(write).create(write).truncate(false).open(path)?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(file))
    }
}

impl DiskFile for File {
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        self.read_exact_at(into, at)
    }

    fn write_at(&self, from: &[u8], at: u64) -> io::Result<()> {
        self.write_all_at(from, at)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.as_fd())
    }
}

/// Makes a new file, and its folder when a full disk did not let that be made before.
pub(crate) fn create_within(disk: &dyn Disk, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
    match (disk.create(path), path.parent()) {
        (Err(error), Some(folder)) if error.kind() == io::ErrorKind::NotFound => {
            disk.make_dir(folder)?;
            disk.create(path)
        }
        (made, _) => made,
    }
}

/// Whether an error means that there is no room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether an error means that a place of the medium cannot be read: a sector that dies, a page that was being written when the power
/// failed, a checksum of the file system's.
pub(crate) fn is_unreadable(error: &io::Error) -> bool {
    use rustix::io::Errno;
    const SAID: [Errno; 5] = [Errno::IO, Errno::BADMSG, Errno::UCLEAN, Errno::REMOTEIO, Errno::NODATA];
    error.raw_os_error().is_some_and(|code| SAID.iter().any(|said| said.raw_os_error() == code))
}

/// Whether an error means that nothing can be written here.
pub(crate) fn is_read_only(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied)
}
