//! Copies that a rewrite had made when it was cut short. They are of no use as long as what they were made of stands in sealed segments;
//! in a store of a few segments they take the room that the next rewrite needs.

use crate::store::disk::Disk;
use crate::store::record::{Kind, Line};
use crate::store::recover::{Found, footer, verified};
use std::collections::HashSet;

/// Bytes of sealed segments that are read for it: in a larger store one segment more is little, and a start is to be quick.
const SMALL: u64 = 16 << 20;

/// Whether each of these records, or the one that it stands for, is in a sealed segment, and verifies.
pub(super) fn stand_elsewhere(disk: &dyn Disk, files: &[Found], uuid: &[u8; 16], lines: &[Line]) -> bool {
    let sealed = || files.iter().filter(|found| found.sealed);
    if lines.is_empty() || sealed().map(|found| found.length).sum::<u64>() > SMALL {
        return false;
    }
    let mut left: HashSet<(u64, Kind, [u8; 32])> = lines.iter().map(name).collect();
    for found in sealed() {
        let Ok(file) = disk.open(&found.path, false) else { return false };
        let there = footer(&*file, found.length).unwrap_or_default();
        for line in there.iter().filter(|line| left.contains(&name(line))).collect::<Vec<_>>() {
            if matches!(verified(&*file, line, uuid), Ok(Some(_))) {
                left.remove(&name(line));
            }
        }
    }
    left.is_empty()
}

/// A rewrite keeps seq and key; of an answer that it drops it may leave a TOMB.
fn name(line: &Line) -> (u64, Kind, [u8; 32]) {
    (line.seq, if line.kind == Kind::Tomb { Kind::Meta } else { line.kind }, line.key)
}
