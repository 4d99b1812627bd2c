//! What a store's folder is and whose: a folder that is no store is left alone, FORMAT names the store, the segments name it too.

use crate::base::clock::Time;
use crate::store::Error;
use crate::store::disk::{Disk, is_full, is_read_only, is_unreadable};
use crate::store::record::{self, BadSegment, SegmentHeader};
use crate::store::recover::segments;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// Names that a store's folder may hold before it has a FORMAT: our own, left by a first start that was cut short, and what a
/// fresh file system brings along.
const OWN: [&str; 14] = [
    "FORMAT.tmp",
    "LOCK",
    "ballast",
    "index",
    "index.bad",
    "lost+found",
    "repack",
    "repack.tmp",
    "seg",
    "sketches",
    "sketches.tmp",
    "table.ckpt",
    "table.ckpt.tmp",
    "tmp",
];

/// The first line of FORMAT, and the most that is read of it.
const TITLE: &str = "bulak store";
const FORMAT_MAX: u64 = 4096;

/// Refuses a folder with files of others in it, so that no store is scattered into somebody's home.
pub(super) fn refuse_strange(disk: &dyn Disk, folder: &Path) -> Result<(), Error> {
    let files = disk.list(folder)?;
    let is_store = files.iter().any(|(path, _)| path.ends_with("FORMAT")) || !segments(disk, &folder.join("seg"))?.is_empty();
    if is_store {
        return Ok(());
    }
    // Folders do not pass through the seam; where they cannot be listed, the files have to do.
    let dirs = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let other = files.into_iter().map(|(path, _)| path).chain(dirs).find(|path| !OWN.iter().any(|own| path.ends_with(own)));
    let Some(other) = other else { return Ok(()) };
    let (folder, other) = (folder.display(), other.file_name().unwrap_or_default().to_string_lossy().into_owned());
    Err(Error::Unusable(format!("{folder} is no store and not empty (it has \"{other}\"); give an empty folder as store.path")))
}

/// The store's uuid: as it is known, else new. FORMAT is written again when it was lost.
pub(super) fn identity(disk: &dyn Disk, folder: &Path, segment_size: u64, now: Time, read_only: bool) -> Result<[u8; 16], Error> {
    let (told, found) = look_for_identity(disk, folder)?;
    if let Some(uuid) = told {
        return Ok(uuid);
    }
    let uuid = found.unwrap_or_else(|| *uuid::Uuid::new_v4().as_bytes());
    if !read_only {
        let name = uuid::Uuid::from_bytes(uuid);
        let text = format!("{TITLE}\nversion {}\nuuid {name}\nsegment {segment_size}\nmade {}\n", record::VERSION, now.secs());
        let written = write_format(disk, folder, text.as_bytes());
        // Not fatal: the uuid also stands in every segment.
        written.or_else(|error| if is_full(&error) || is_read_only(&error) { Ok(()) } else { Err(error) })?;
    }
    Ok(uuid)
}

/// The uuid of a store that exists.
pub(crate) fn known_identity(disk: &dyn Disk, folder: &Path) -> Result<[u8; 16], Error> {
    let (told, found) = look_for_identity(disk, folder)?;
    // A store without FORMAT and segments is empty: any uuid will do.
    Ok(told.or(found).unwrap_or_default())
}

type Uuid = [u8; 16];

/// What FORMAT says, and what most segments say. FORMAT is not believed when no segment agrees with it and some agree on another:
/// one bit of it must not make all records unreadable.
fn look_for_identity(disk: &dyn Disk, folder: &Path) -> Result<(Option<Uuid>, Option<Uuid>), Error> {
    let (mut told, mut foreign, mut closed) = (None, false, None);
    if let Ok(file) = disk.open(&folder.join("FORMAT"), false) {
        let length = file.length()?.min(FORMAT_MAX);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        match file.read_at(&mut bytes, 0) {
            // The segments say it too.
            Err(error) if is_unreadable(&error) => {
                closed = Some(error);
                bytes.clear();
            }
            read => read?,
        }
        let text = String::from_utf8_lossy(&bytes);
        told = parse_format(&text)?;
        foreign = told.is_none() && !text.is_empty() && !text.starts_with(TITLE);
    }
    let mut votes: BTreeMap<Uuid, u32> = BTreeMap::new();
    for found in segments(disk, &folder.join("seg"))? {
        let mut head = [0; record::SEGMENT_HEADER_BYTES];
        let file = disk.open(&found.path, false)?;
        if file.read_at(&mut head, 0).is_err() {
            continue;
        }
        match SegmentHeader::decode(&head) {
            // One that agrees is enough; the others are then damaged or strangers.
            Ok(header) if Some(header.uuid) == told => return Ok((told, None)),
            Ok(header) => *votes.entry(header.uuid).or_default() += 1,
            Err(BadSegment::Newer(version)) if told.is_none() => return Err(newer(version)),
            Err(_) => {}
        }
    }
    let Some(found) = votes.into_iter().max_by_key(|vote| vote.1).map(|vote| vote.0) else {
        // A store whose name nobody can read must not be given another.
        if let Some(error) = closed {
            return Err(Error::Disk(error));
        }
        if foreign {
            let path = folder.display();
            return Err(Error::Unusable(format!("FORMAT in {path} is none of this program and no segment is; choose another store.path")));
        }
        return Ok((told, None));
    };
    if told.is_some() {
        tracing::warn!("FORMAT names another store than its segments do; the segments are believed");
    }
    Ok((None, Some(found)))
}

fn write_format(disk: &dyn Disk, folder: &Path, text: &[u8]) -> io::Result<()> {
    let temporary = folder.join("FORMAT.tmp");
    // Left by a start that was cut short.
    let _ = disk.remove(&temporary);
    let file = disk.create(&temporary)?;
    file.write_at(text, 0)?;
    file.sync()?;
    disk.rename(&temporary, &folder.join("FORMAT"))?;
    disk.sync_dir(folder)
}

/// `None` when the text is no FORMAT (it is then made again).
fn parse_format(text: &str) -> Result<Option<[u8; 16]>, Error> {
    let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let Some(version) = value("version ").and_then(|version| version.parse::<u32>().ok()) else { return Ok(None) };
    if version > record::VERSION {
        return Err(newer(version));
    }
    Ok(value("uuid ").and_then(|uuid| uuid::Uuid::parse_str(uuid).ok()).map(|uuid| *uuid.as_bytes()))
}

fn newer(version: u32) -> Error {
    Error::Unusable(format!("the store has format {version} and this program knows {}; use the newer program", record::VERSION))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_read_and_a_newer_one_refused() {
        let uuid = uuid::Uuid::from_bytes([3; 16]);
        assert_eq!(parse_format(&format!("{TITLE}\nversion 1\nuuid {uuid}\n")).unwrap(), Some([3; 16]));
        assert_eq!(parse_format("garbage").unwrap(), None);
        assert!(matches!(parse_format("version 2\n"), Err(Error::Unusable(_))));
    }
}
