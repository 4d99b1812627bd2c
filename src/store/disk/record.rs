//! A disk in memory that records every change in order, and what a power cut at any moment may leave of it: an image. Tests only.
//!
//! What is on the medium: the bytes that a file's sync has covered, and the names that a folder's sync has covered. Of anything
//! later each page may be as it was at any time since, a length likewise, and each change of a name may be lost, whatever the
//! order, and a rename may show both names. A sync that failed has lost what it covered: no later sync brings it back.

use super::{Disk, DiskFile, Guard};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Free bytes, and bytes in all, of a disk that has room.
const ROOM: u64 = 1 << 40;

/// Names and contents at rest. Cheap to clone: contents are shared.
#[derive(Clone, Default)]
pub(crate) struct Image {
    pub(crate) files: BTreeMap<PathBuf, Arc<Vec<u8>>>,
    pub(crate) dirs: BTreeSet<PathBuf>,
}

/// What of the changes since the last sync has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrived {
    /// Nothing.
    Nothing,
    /// All of it.
    Everything,
    /// All of it, but the last write stops at some byte.
    Torn,
    /// Some pages of so many bytes, some names, some lengths.
    Pages(u64),
    /// As `Pages`, but no name is lost, as on a disk whose journal is quicker than its data.
    Named(u64),
}

impl Arrived {
    /// One of them by number.
    pub(crate) fn pick(roll: u64) -> Arrived {
        match roll % 8 {
            0 => Arrived::Nothing,
            1 => Arrived::Everything,
            2 => Arrived::Torn,
            3 => Arrived::Named(512),
            4 => Arrived::Named(4096),
            5 => Arrived::Pages(512),
            _ => Arrived::Pages(4096),
        }
    }
}

#[derive(Clone)]
enum Event {
    Write(usize, u64, Arc<[u8]>),
    Truncate(usize, u64),
    Sync(usize, bool),
    Name(Name),
    SyncDir(PathBuf),
}

/// A change of a name; numbers are files'.
#[derive(Clone)]
enum Name {
    Create(PathBuf, usize),
    Rename(PathBuf, PathBuf, usize),
    Remove(PathBuf, usize),
}

#[derive(Default)]
struct Tape {
    base: Image,
    names: BTreeMap<PathBuf, usize>,
    dirs: BTreeSet<PathBuf>,
    files: Vec<Arc<Vec<u8>>>,
    events: Vec<Event>,
    lying: bool,
    /// Syncs until one fails.
    fails: Option<u64>,
    syncs: u64,
    /// Not listed.
    hidden: Option<PathBuf>,
}

/// The disk. Clones are the same disk.
#[derive(Clone, Default)]
pub(crate) struct Recorder(Arc<Mutex<Tape>>);

impl Recorder {
    /// A disk that starts with what an image has, all of it on the medium.
    pub(crate) fn of(image: &Image) -> Recorder {
        let mut tape = Tape { base: image.clone(), dirs: image.dirs.clone(), ..Tape::default() };
        for (path, content) in &image.files {
            tape.names.insert(path.clone(), tape.files.len());
            tape.files.push(Arc::clone(content));
        }
        Recorder(Arc::new(Mutex::new(tape)))
    }

    /// From now on syncs return and do nothing.
    pub(crate) fn lie(&self) {
        self.0.lock().lying = true;
    }

    /// After so many more syncs (0: the next), of files and folders alike, one fails.
    pub(crate) fn fail_sync(&self, after: u64) {
        self.0.lock().fails = Some(after);
    }

    /// Syncs so far, of files and folders.
    pub(crate) fn syncs(&self) -> u64 {
        self.0.lock().syncs
    }

    /// Leaves this file out of lists.
    pub(crate) fn hide(&self, path: Option<PathBuf>) {
        self.0.lock().hidden = path;
    }

    /// Changes so far.
    pub(crate) fn moment(&self) -> usize {
        self.0.lock().events.len()
    }

    /// What everybody sees now, as after the end of the process alone.
    pub(crate) fn now(&self) -> Image {
        let tape = self.0.lock();
        let files = tape.names.iter().map(|(path, file)| (path.clone(), Arc::clone(&tape.files[*file]))).collect();
        Image { files, dirs: tape.dirs.clone() }
    }

    /// All that was recorded, from the beginning.
    pub(crate) fn sweep(&self) -> Sweep {
        let tape = self.0.lock();
        let mut sweep = Sweep { events: tape.events.clone(), dirs: tape.dirs.clone(), ..Sweep::default() };
        for (path, content) in &tape.base.files {
            sweep.names.insert(path.clone(), sweep.files.len());
            sweep.files.push(Inode { durable: Arc::clone(content), pending: Vec::new() });
        }
        sweep
    }

    /// What a power cut now may leave.
    pub(crate) fn cut(&self, arrived: Arrived, seed: u64) -> Image {
        let mut sweep = self.sweep();
        sweep.advance(usize::MAX);
        sweep.image(arrived, seed)
    }
}

impl Tape {
    /// Counts a sync; whether it fails.
    fn sync_fails(&mut self) -> bool {
        self.syncs += 1;
        let fails = self.fails == Some(0);
        self.fails = self.fails.and_then(|left| left.checked_sub(1));
        fails
    }
}

/// What the kernel says when the medium does not take the data.
fn eio() -> io::Error {
    io::Error::from_raw_os_error(5)
}

fn absent() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}

struct RecordFile {
    tape: Arc<Mutex<Tape>>,
    number: usize,
}

impl Disk for Recorder {
    fn open(&self, path: &Path, _write: bool) -> io::Result<Arc<dyn DiskFile>> {
        let number = self.0.lock().names.get(path).copied().ok_or_else(absent)?;
        Ok(Arc::new(RecordFile { tape: Arc::clone(&self.0), number }))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut tape = self.0.lock();
        if tape.names.contains_key(path) {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        if !path.parent().is_some_and(|dir| tape.dirs.contains(dir)) {
            return Err(absent());
        }
        let number = tape.files.len();
        tape.files.push(Arc::default());
        tape.names.insert(path.to_owned(), number);
        tape.events.push(Event::Name(Name::Create(path.to_owned(), number)));
        Ok(Arc::new(RecordFile { tape: Arc::clone(&self.0), number }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut tape = self.0.lock();
        let number = tape.names.remove(from).ok_or_else(absent)?;
        tape.names.insert(to.to_owned(), number);
        tape.events.push(Event::Name(Name::Rename(from.to_owned(), to.to_owned(), number)));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut tape = self.0.lock();
        let number = tape.names.remove(path).ok_or_else(absent)?;
        tape.events.push(Event::Name(Name::Remove(path.to_owned(), number)));
        Ok(())
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        self.0.lock().dirs.extend(path.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut tape = self.0.lock();
        if tape.sync_fails() {
            return Err(eio());
        }
        if !tape.lying {
            tape.events.push(Event::SyncDir(path.to_owned()));
        }
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
        let tape = self.0.lock();
        let within = tape.names.iter().filter(|(name, _)| name.parent() == Some(path) && tape.hidden.as_ref() != Some(*name));
        Ok(within.map(|(name, number)| (name.clone(), tape.files[*number].len() as u64)).collect())
    }

    fn space(&self, _path: &Path) -> io::Result<(u64, u64)> {
        Ok((ROOM, ROOM))
    }

    fn lock(&self, _path: &Path, _write: bool) -> io::Result<Guard> {
        Ok(Box::new(()))
    }
}

impl DiskFile for RecordFile {
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        let tape = self.tape.lock();
        let from = usize::try_from(at).map_err(io::Error::other)?;
        let bytes = tape.files[self.number].get(from..from + into.len());
        into.copy_from_slice(bytes.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?);
        Ok(())
    }

    fn write_at(&self, from: &[u8], at: u64) -> io::Result<()> {
        let mut tape = self.tape.lock();
        let content = Arc::make_mut(&mut tape.files[self.number]);
        put(content, from, usize::try_from(at).map_err(io::Error::other)?);
        tape.events.push(Event::Write(self.number, at, from.into()));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut tape = self.tape.lock();
        let fails = tape.sync_fails();
        if fails || !tape.lying {
            tape.events.push(Event::Sync(self.number, !fails));
        }
        if fails { Err(eio()) } else { Ok(()) }
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let mut tape = self.tape.lock();
        Arc::make_mut(&mut tape.files[self.number]).resize(usize::try_from(length).map_err(io::Error::other)?, 0);
        tape.events.push(Event::Truncate(self.number, length));
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.tape.lock().files[self.number].len() as u64)
    }
}

fn put(content: &mut Vec<u8>, bytes: &[u8], at: usize) {
    let end = at + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[at..end].copy_from_slice(bytes);
}

/// A change to a file that no sync has covered.
#[derive(Clone)]
struct Pending {
    /// Of the whole tape: when it was made.
    when: usize,
    at: u64,
    /// `None`: cut to `at`.
    bytes: Option<Arc<[u8]>>,
    /// A sync has failed over it.
    doomed: bool,
}

impl Pending {
    fn length_after(&self, before: u64) -> u64 {
        self.bytes.as_ref().map_or(self.at, |bytes| before.max(self.at + bytes.len() as u64))
    }
}

#[derive(Clone, Default)]
struct Inode {
    durable: Arc<Vec<u8>>,
    pending: Vec<Pending>,
}

/// What was recorded, from its beginning to a moment that only moves forward.
#[derive(Default)]
pub(crate) struct Sweep {
    events: Vec<Event>,
    at: usize,
    files: Vec<Inode>,
    dirs: BTreeSet<PathBuf>,
    names: BTreeMap<PathBuf, usize>,
    pending: Vec<Name>,
}

impl Sweep {
    /// Changes in all.
    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    /// Goes on to where so many changes have been made, or to the end.
    pub(crate) fn advance(&mut self, moment: usize) {
        while self.at < moment.min(self.events.len()) {
            let event = self.events[self.at].clone();
            self.at += 1;
            self.step(event);
        }
    }

    fn step(&mut self, event: Event) {
        let when = self.at;
        match event {
            Event::Write(file, at, bytes) => self.pend(file, Pending { when, at, bytes: Some(bytes), doomed: false }),
            Event::Truncate(file, at) => self.pend(file, Pending { when, at, bytes: None, doomed: false }),
            Event::Sync(file, true) => {
                let inode = &mut self.files[file];
                let content = Arc::make_mut(&mut inode.durable);
                for change in std::mem::take(&mut inode.pending).iter().filter(|change| !change.doomed) {
                    match &change.bytes {
                        Some(bytes) => put(content, bytes, place(change.at)),
                        None => content.resize(place(change.at), 0),
                    }
                }
            }
            Event::Sync(file, false) => self.files[file].pending.iter_mut().for_each(|change| change.doomed = true),
            Event::Name(name) => {
                if let Name::Create(_, file) = name {
                    self.files.resize_with(self.files.len().max(file + 1), Inode::default);
                }
                self.pending.push(name);
            }
            Event::SyncDir(dir) => {
                for name in std::mem::take(&mut self.pending) {
                    if name.within(&dir) {
                        name.apply(&mut self.names);
                    } else {
                        self.pending.push(name);
                    }
                }
            }
        }
    }

    fn pend(&mut self, file: usize, change: Pending) {
        self.files[file].pending.push(change);
    }

    /// What a power cut at this moment may leave. The same seed gives the same image.
    pub(crate) fn image(&self, arrived: Arrived, seed: u64) -> Image {
        let mut names = self.names.clone();
        for (n, name) in self.pending.iter().enumerate() {
            let keep = match arrived {
                Arrived::Nothing => false,
                Arrived::Everything | Arrived::Torn | Arrived::Named(_) => true,
                Arrived::Pages(_) => roll(seed, n as u64, 1).is_multiple_of(2),
            };
            if keep {
                name.apply(&mut names);
                name.linger(
                    &mut names,
                    !matches!(arrived, Arrived::Everything | Arrived::Torn) && roll(seed, n as u64, 6).is_multiple_of(4),
                );
            }
        }
        let files = names.into_iter().map(|(path, file)| (path, self.content(file, arrived, seed)));
        Image { files: files.collect(), dirs: self.dirs.clone() }
    }

    fn content(&self, file: usize, arrived: Arrived, seed: u64) -> Arc<Vec<u8>> {
        let Inode { durable, pending } = &self.files[file];
        let count = pending.len();
        if count == 0 || arrived == Arrived::Nothing {
            return Arc::clone(durable);
        }
        let seed = roll(seed, file as u64, 2);
        let mut changes = pending.clone();
        if let (Arrived::Torn, Some(last)) = (arrived, changes.last_mut().filter(|last| last.when == self.at))
            && let Some(bytes) = &last.bytes
        {
            last.bytes = Some(bytes[..place(roll(seed, 0, 3) % (bytes.len() as u64 + 1))].into());
        }
        // How many of the changes a page, or the length, has seen.
        let seen = |page: u64| match arrived {
            Arrived::Pages(_) | Arrived::Named(_) => match roll(seed, page, 4) % 4 {
                0 => 0,
                1 => count,
                _ => place(roll(seed, page, 5)) % (count + 1),
            },
            _ => count,
        };
        let page = match arrived {
            Arrived::Pages(page) | Arrived::Named(page) => page,
            _ => u64::MAX,
        };
        let (mut content, mut length, mut kept) = (durable.to_vec(), durable.len() as u64, durable.len() as u64);
        let length_seen = seen(u64::MAX);
        for (n, change) in changes.iter().enumerate() {
            length = change.length_after(length);
            if n < length_seen {
                kept = change.length_after(kept);
            }
            content.resize(content.len().max(place(length)), 0);
            let end = change.bytes.as_ref().map_or(content.len() as u64, |bytes| change.at + bytes.len() as u64);
            let mut at = change.at;
            while at < end {
                let to = (at / page + 1).saturating_mul(page).min(end);
                if n < seen(at / page) {
                    match &change.bytes {
                        Some(bytes) => content[place(at)..place(to)].copy_from_slice(&bytes[place(at - change.at)..place(to - change.at)]),
                        None => content[place(at)..place(to)].fill(0),
                    }
                }
                at = to;
            }
        }
        content.resize(place(kept), 0);
        Arc::new(content)
    }
}

impl Name {
    fn within(&self, dir: &Path) -> bool {
        let (Name::Create(path, _) | Name::Rename(_, path, _) | Name::Remove(path, _)) = self;
        path.parent() == Some(dir)
    }

    /// Where what it changes is not there, since that was lost, nothing happens.
    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Name::Create(path, file) => {
                names.insert(path.clone(), *file);
            }
            Name::Rename(from, to, file) if names.get(from) == Some(file) => {
                names.remove(from);
                names.insert(to.clone(), *file);
            }
            Name::Remove(path, file) if names.get(path) == Some(file) => {
                names.remove(path);
            }
            Name::Rename(..) | Name::Remove(..) => {}
        }
    }

    /// After a rename that is not on the medium for sure both names may be there.
    fn linger(&self, names: &mut BTreeMap<PathBuf, usize>, both: bool) {
        if let Name::Rename(from, to, file) = self
            && both
            && names.get(to) == Some(file)
        {
            names.entry(from.clone()).or_insert(*file);
        }
    }
}

fn place(at: u64) -> usize {
    usize::try_from(at).expect("files in memory")
}

/// A number that depends on all three, and looks like chance (splitmix64).
pub(crate) fn roll(seed: u64, one: u64, two: u64) -> u64 {
    let mut word = seed ^ one.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ two.wrapping_mul(0xd1b5_4a32_d192_ed03);
    for factor in [0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb] {
        word = (word ^ (word >> 30)).wrapping_mul(factor);
    }
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> (Recorder, Arc<dyn DiskFile>) {
        let disk = Recorder::default();
        disk.make_dir(Path::new("/d")).unwrap();
        let file = disk.create(Path::new("/d/a")).unwrap();
        (disk, file)
    }

    fn bytes(image: &Image, path: &str) -> Option<Vec<u8>> {
        image.files.get(Path::new(path)).map(|content| content.to_vec())
    }

    #[test]
    fn what_is_synced_stays_and_the_rest_may_not() {
        let (disk, file) = made();
        file.write_at(b"synced", 0).unwrap();
        file.sync().unwrap();
        assert_eq!(bytes(&disk.cut(Arrived::Nothing, 1), "/d/a"), None, "the name is not");
        disk.sync_dir(Path::new("/d")).unwrap();
        file.write_at(&[7; 9000], 6).unwrap();
        disk.rename(Path::new("/d/a"), Path::new("/d/b")).unwrap();
        assert_eq!(bytes(&disk.cut(Arrived::Nothing, 1), "/d/a").unwrap(), b"synced");
        let whole = bytes(&disk.cut(Arrived::Everything, 1), "/d/b").unwrap();
        assert_eq!((&whole[..6], whole.len()), (&b"synced"[..], 9006));
        let (mut lengths, mut holes, mut old) = (BTreeSet::new(), 0, 0);
        for seed in 0..100 {
            let image = disk.cut(Arrived::Pages(4096), seed);
            old += u64::from(bytes(&image, "/d/a").is_some());
            let content = bytes(&image, "/d/a").or_else(|| bytes(&image, "/d/b")).expect("a name is never lost by a rename");
            assert_eq!(&content[..6], b"synced");
            holes += u64::from(content.len() == 9006 && content[4096..8192] == [0; 4096]);
            lengths.insert(content.len());
            let torn = bytes(&disk.cut(Arrived::Named(512), seed), "/d/b").unwrap();
            assert_eq!(&torn[..6], b"synced");
        }
        assert_eq!(lengths.len(), 2);
        assert!(holes > 5 && (45..85).contains(&old), "{holes} {old}");
        file.sync().unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        assert_eq!(bytes(&disk.cut(Arrived::Nothing, 1), "/d/b").unwrap(), whole);
        assert_eq!(disk.now().files, disk.cut(Arrived::Nothing, 1).files);
    }

    #[test]
    fn a_page_is_as_it_was_at_one_time() {
        let (disk, file) = made();
        disk.sync_dir(Path::new("/d")).unwrap();
        for n in 1..=3 {
            file.write_at(&[n; 10], 0).unwrap();
        }
        let mut seen = BTreeSet::new();
        for seed in 0..200 {
            let content = bytes(&disk.cut(Arrived::Named(512), seed), "/d/a").unwrap();
            assert!(content.windows(2).all(|pair| pair[0] == pair[1]), "{content:?}");
            seen.insert(content);
        }
        assert_eq!(seen.len(), 5, "empty, zeros, and each of three");
        file.truncate(4).unwrap();
        assert_eq!(bytes(&disk.cut(Arrived::Everything, 1), "/d/a").unwrap(), [3; 4]);
    }

    #[test]
    fn a_failed_sync_has_lost_what_it_covered_and_a_lying_one_covers_nothing() {
        let (disk, file) = made();
        disk.sync_dir(Path::new("/d")).unwrap();
        file.write_at(b"lost", 0).unwrap();
        disk.fail_sync(0);
        assert_eq!(file.sync().unwrap_err().raw_os_error(), Some(5));
        file.write_at(b"kept", 4).unwrap();
        file.sync().unwrap();
        assert_eq!(bytes(&disk.cut(Arrived::Nothing, 1), "/d/a").unwrap(), b"\0\0\0\0kept");
        assert_eq!(bytes(&disk.now(), "/d/a").unwrap(), b"lostkept");
        disk.lie();
        file.write_at(b"more", 8).unwrap();
        file.sync().unwrap();
        assert_eq!(bytes(&disk.cut(Arrived::Nothing, 1), "/d/a").unwrap().len(), 8);
    }

    #[test]
    fn a_write_may_stop_at_any_byte() {
        let (disk, file) = made();
        file.write_at(&[1; 100], 0).unwrap();
        file.write_at(&[2; 100], 100).unwrap();
        let lengths: BTreeSet<usize> = (0..50).map(|seed| bytes(&disk.cut(Arrived::Torn, seed), "/d/a").unwrap().len()).collect();
        assert!(lengths.len() > 20 && lengths.iter().all(|length| (100..=200).contains(length)), "{lengths:?}");
    }
}
