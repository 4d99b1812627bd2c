//! The few file operations of a CA: read with a limit, write whole or not at all, destroy, lock; modes and owners.
//!
//! Every change is a chain of steps, each of which either happened or did not; a test stops the chain before each of them.

use super::Error;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

/// Longest file that is read: a key and a certificate of 256 hosts take 12 KiB.
const LONGEST: u64 = 64 << 10;

/// Ending of a file that is being written; what is left of it after a crash is swept.
const FRESH: &str = "new";

/// Ending of a key that is being destroyed.
const GONE: &str = "gone";

pub(in crate::tls) fn failed<'p>(path: &'p Path, what: &'static str) -> impl FnOnce(io::Error) -> Error + 'p {
    move |source| Error::File { path: path.to_owned(), what, source }
}

/// The text of a file; `None` when there is none.
pub(in crate::tls) fn text(path: &Path) -> Result<Option<String>, Error> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(path, "read")(error)),
    };
    let mut text = Vec::new();
    (&mut file).take(LONGEST + 1).read_to_end(&mut text).map_err(failed(path, "read"))?;
    let damaged = |what: &str| Error::Damaged { path: path.to_owned(), what: what.to_owned() };
    if text.len() as u64 > LONGEST {
        return Err(damaged("longer than 64 KiB"));
    }
    String::from_utf8(text).map(Some).map_err(|_| damaged("no text"))
}

/// The text of a key file, which nobody else may read.
pub(super) fn secret(path: &Path) -> Result<Option<String>, Error> {
    match fs::metadata(path) {
        Ok(about) if about.mode() & 0o077 != 0 => Err(Error::Open { path: path.to_owned(), mode: about.mode() & 0o777, wanted: 0o600 }),
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(path, "read")(error)),
        _ => text(path),
    }
}

/// Refuses a folder in which others could put a key of theirs.
pub(super) fn closed(folder: &Path) -> Result<(), Error> {
    match fs::metadata(folder) {
        Ok(about) if about.mode() & 0o022 != 0 => Err(Error::Open { path: folder.to_owned(), mode: about.mode() & 0o777, wanted: 0o700 }),
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(folder, "read")(error)),
        _ => Ok(()),
    }
}

/// Makes the folder, for its owner alone; the owner is the parent's, so that a node of its own user can use what root made.
pub(in crate::tls) fn folder(path: &Path) -> Result<(), Error> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let made = fs::create_dir_all(parent).and_then(|()| DirBuilder::new().mode(0o700).create(path)).and_then(|()| {
        let folder = File::open(path)?;
        inherit(&folder, parent)?;
        File::open(parent)?.sync_all()
    });
    made.map_err(failed(path, "made"))
}

/// Gives a file that root made to whom the folder belongs.
fn inherit(file: &File, folder: &Path) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let about = fs::metadata(folder)?;
    fchown(file, Some(about.uid()), Some(about.gid()))
}

/// Writes a file whole or not at all: aside, made durable, renamed. Its mode holds from its first moment, whatever the umask.
pub(in crate::tls) fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let fresh = aside(path, FRESH);
    let write = || {
        step()?;
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        step()?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&fresh)?;
        inherit(&file, folder)?;
        step()?;
        file.write_all(bytes)?;
        file.sync_all()?;
        step()?;
        fs::rename(&fresh, path)?;
        step()?;
        File::open(folder)?.sync_all()
    };
    write().map_err(failed(path, "written"))
}

/// Removes a file that holds no secret; none is fine.
pub(super) fn remove(path: &Path) -> Result<(), Error> {
    step().map_err(failed(path, "removed"))?;
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(path, "removed")(error)),
        _ => Ok(()),
    }
}

/// Destroys a key: out of sight at once, then overwritten and removed. Flash may keep old pages all the same: whoever gives a
/// box away erases its whole disk.
pub(super) fn destroy(path: &Path) -> Result<(), Error> {
    let gone = aside(path, GONE);
    step().map_err(failed(path, "destroyed"))?;
    match fs::rename(path, &gone) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(path, "destroyed")(error)),
        Ok(()) => {}
    }
    step().map_err(failed(path, "destroyed"))?;
    wipe(&gone)
}

fn wipe(path: &Path) -> Result<(), Error> {
    let wipe = || {
        let mut file = OpenOptions::new().write(true).open(path)?;
        let length = usize::try_from(file.metadata()?.len().min(LONGEST)).unwrap_or(0);
        file.write_all(&vec![0; length])?;
        file.sync_all()?;
        step()?;
        fs::remove_file(path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    wipe().map_err(failed(path, "destroyed"))
}

/// Finishes what a crash left: files that never came to be, keys that were on their way out. Only under the lock.
pub(super) fn sweep(folder: &Path) -> Result<(), Error> {
    // A folder of this program holds some ten entries.
    for entry in fs::read_dir(folder).map_err(failed(folder, "read"))?.take(100).filter_map(Result::ok) {
        let path = entry.path();
        if path.extension().is_some_and(|ending| ending == FRESH || ending == GONE) && entry.file_type().is_ok_and(|kind| kind.is_file()) {
            wipe(&path)?;
        }
    }
    Ok(())
}

/// Held while the folder is changed.
pub(super) struct Lock(#[expect(dead_code, reason = "the lock ends when the file is closed")] File);

pub(super) fn lock(folder: &Path) -> Result<Lock, Error> {
    let file = File::open(folder).map_err(failed(folder, "read"))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Lock(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::Busy(folder.to_owned())),
        Err(error) => Err(failed(folder, "locked")(error.into())),
    }
}

fn aside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

#[cfg(not(test))]
#[expect(clippy::unnecessary_wraps, reason = "tests stop here")]
fn step() -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
fn step() -> io::Result<()> {
    stopping::step()
}

/// The power cut of a test: the chain ends before the step of this number, and nothing after it happens.
#[cfg(test)]
pub(super) mod stopping {
    use std::cell::Cell;
    use std::io;

    thread_local!(static LEFT: Cell<Option<usize>> = const { Cell::new(None) });

    pub(crate) fn after(steps: Option<usize>) {
        LEFT.set(steps);
    }

    pub(super) fn step() -> io::Result<()> {
        match LEFT.get() {
            None => Ok(()),
            Some(0) => Err(io::Error::other("the power was cut")),
            Some(left) => {
                LEFT.set(Some(left - 1));
                Ok(())
            }
        }
    }
}
