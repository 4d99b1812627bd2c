//! The store as its callers see it: what is put in comes out, through restarts, damage, full and failing disks.

#![expect(
    clippy::cast_possible_truncation,
    clippy::case_sensitive_file_extension_comparisons,
    clippy::single_range_in_vec_init,
    reason = "small numbers, own file names, and ranges that are meant"
)]

/// A long test in shares, each a test of its own: they run beside each other.
macro_rules! shares {
    ($($name:ident $which:literal)*) => {
        $(#[tokio::test]
        async fn $name() {
            share($which).await;
        })*
    };
}

/// Entries, folders, short cuts.
pub(crate) mod kit;

/// Put, find, renew, forget, pin, through a restart.
mod life;

/// Bodies of every size and kind; drafts and their readers; ranges.
mod bodies;

/// Partial bodies.
mod parts;

/// Flipped bits, lost files, a ruined index.
mod damage;

/// Purges, surveys, bundles.
mod carry;

/// Bodies that lean on others.
mod leaning;

/// Quota, eviction, pins.
mod quota;

/// Rewriting: what stays, what goes, what must not come back.
mod rewriting;

/// Full, read-only, failing and dying disks.
mod disk;

/// A hundred thousand objects: figures, on request.
mod big;

/// What was told and what was promised.
pub(crate) mod oracle;

/// A store, a workload, a disk that records.
pub(crate) mod world;

/// Power cuts at every moment.
mod images;

/// Every flipped byte, every cut.
mod flips;

/// Full and failing disks, at every step.
mod space;

/// sled's folder, mangled.
mod mangled;

/// Starts with and without a snapshot, and what a folder may hold.
mod start;
