//! What the owner decides about the store: where it is, how large, how often it is made durable, verified and made smaller.

use crate::base::unit::Bytes as Size;
use std::path::PathBuf;
use std::time::Duration;

/// How the store is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder.
    pub path: PathBuf,
    /// Most bytes on disk.
    pub quota: Size,
    /// Hot tier: wire-ready bodies in memory.
    pub memory: Size,
    /// Largest object the hot tier takes.
    pub hot_object: Size,
    /// Size of a segment, at most; never above 1/64 of the quota.
    pub segment: Size,
    /// What packs may keep of the quota, in percent.
    pub pinned_share: u64,
    /// All bodies are read and verified once in this time.
    pub scrub: Duration,
    /// Group commit: sync after this many bytes ...
    pub sync_bytes: Size,
    /// ... or this long.
    pub sync_after: Duration,
    /// Largest decoded body, and largest ratio decoded/received, before a coded body counts as a bomb.
    pub decoded_max: Size,
    /// sled's page cache; 0: no index, and what it answers is read from the log.
    pub index_cache: Size,
    /// Bytes that the night may write in one day to make the store smaller: flash wears. 0: never.
    pub repack_daily: Size,
}

impl Default for Settings {
    /// A school's box with 4 GB of RAM.
    fn default() -> Settings {
        Settings {
            path: PathBuf::from("/var/cache/bulak"),
            quota: Size::gib(20),
            memory: Size::mib(64),
            hot_object: Size::mib(1),
            segment: Size::mib(64),
            pinned_share: 70,
            scrub: Duration::from_hours(30 * 24),
            sync_bytes: Size::mib(4),
            sync_after: Duration::from_secs(2),
            decoded_max: Size::mib(256),
            index_cache: Size::mib(16),
            repack_daily: Size::gib(1),
        }
    }
}
