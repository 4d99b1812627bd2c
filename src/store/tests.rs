//! The store as its callers see it: what is put in comes out, through restarts, damage, full and failing disks.

/// Entries, folders, short cuts.
pub(crate) mod kit;
