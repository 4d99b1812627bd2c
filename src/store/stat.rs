//! What the store tells about itself: cheap figures, and what a check found.

use crate::store::{Shrunk, Spared};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Figures for status, reports and `bulak store stat`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Stat {
    /// Distinct objects.
    pub objects: u64,
    /// Stored answers.
    pub entries: u64,
    /// Decoded bytes over all entries (each entry counts its object).
    pub entry_bytes: u64,
    /// Decoded bytes over distinct objects.
    pub object_bytes: u64,
    /// Bytes on disk, live and dead.
    pub disk_bytes: u64,
    /// The quota.
    pub quota_bytes: u64,
    /// Bytes free on the file system, when last looked at; `None`: it does not say.
    #[serde(default)]
    pub free_bytes: Option<u64>,
    /// Bytes that the file system has in all.
    #[serde(default)]
    pub size_bytes: Option<u64>,
    /// Entries kept by packs.
    pub pinned_entries: u64,
    /// Bytes spared by keeping equal bodies once.
    pub spared_dedup_bytes: u64,
    /// Bytes spared by compression of any kind.
    pub spared_zstd_bytes: u64,
    /// Bytes spared by each kind; unlike a survey's, the dictionaries themselves are not taken off.
    pub spared: Spared,
    /// Records that did not verify since start.
    pub damaged: u64,
    /// Whether new content is admitted.
    pub admitting: bool,
    /// Whether the folder can be written.
    pub writable: bool,
    /// `ready`, `rebuilding` or `off`.
    pub index: String,
    /// Objects and stored bytes by codec (`raw`, `zstd`, `zstd_frames`).
    pub codecs: BTreeMap<String, (u64, u64)>,
    /// Hot tier bytes.
    pub hot_bytes: u64,
}

/// What a repack came to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Repacked {
    /// Bytes on disk before.
    pub before_bytes: u64,
    /// Bytes on disk after.
    pub after_bytes: u64,
    /// Objects and stored bytes by codec, before.
    pub codecs_before: BTreeMap<String, (u64, u64)>,
    /// The same after.
    pub codecs_after: BTreeMap<String, (u64, u64)>,
    /// What was done.
    pub shrunk: Shrunk,
}

/// What `store check` found.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Check {
    /// Segments read.
    pub segments: u64,
    /// Records read.
    pub records: u64,
    /// Bodies verified by their hash (deep).
    pub bodies: u64,
    /// Things that were wrong and (with `repair`) were mended without loss.
    pub repaired: Vec<String>,
    /// What was lost: URLs and reasons.
    pub lost: Vec<String>,
    /// By pack, the addresses that it keeps and that have no whole body.
    pub incomplete: BTreeMap<String, Vec<String>>,
    /// Files in `seg/` that are not of this store, and what to do with them. They are left as they are.
    pub foreign: Vec<String>,
    /// Answers whose body is nowhere: evicted. No loss.
    pub gone: u64,
}
