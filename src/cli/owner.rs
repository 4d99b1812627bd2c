//! Whose files these are: what another user makes in a service's folder would be closed to the service afterwards.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The user that `place` belongs to, when it is not who runs this.
///
/// # Errors
/// The file system's, as when there is no such place.
pub(super) fn stranger(place: &Path) -> io::Result<Option<u32>> {
    let owner = std::fs::metadata(place)?.uid();
    Ok(Some(owner).filter(|owner| *owner != rustix::process::geteuid().as_raw()))
}

/// Whether this is root, whose files nobody else may change.
pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
