//! Reads and checks a store that no node has open: headers, footers, what leads where, and whether what packs keep is whole; every
//! body by its hash when `deep`. With `repair` what can be mended without loss is: broken headers and footers are written again,
//! unsealed segments sealed, leftovers removed, what is derived made anew. Works on a copy that cannot be written, too.
//!
//! # Why
//! What counts is the order of seq: rewritten records keep theirs and stand in newer segments. An answer whose body is nowhere is
//! no loss unless a pack keeps it: eviction writes nothing, so its META may outlive its body. A body that is there and damaged is.

/// One segment's records.
mod walk;

use crate::base::clock::Clock;
use crate::base::digest::{Digest, Hasher};
use crate::store::disk::{Disk, DiskFile, Real, is_unreadable};
use crate::store::evict::Gate;
use crate::store::pack::sketch::Sketches;
use crate::store::read::Source;
use crate::store::record::{self, Codec, Kind, Line, SegmentHeader, fingerprint};
use crate::store::recover::{self, Found};
use crate::store::segment::{self, Log};
use crate::store::snapshot;
use crate::store::table::{Place, Table};
use crate::store::{Check, Error, index, meta, scrub, shrink};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::Arc;
use walk::Walked;

/// sled's page cache while the index is compared.
const INDEX_CACHE: u64 = 16 << 20;
/// Whether a file is as it was written.
type IsWhole = fn(&[u8]) -> bool;
/// Notes beside the log: name, longest, whether it is whole.
const NOTES: [(&str, u64, IsWhole); 3] = [
    (shrink::SKETCHES, Sketches::FILE_MAX, Sketches::are_whole),
    (shrink::BUDGET, 4096, shrink::is_budget),
    (scrub::NAME, 4096, scrub::is_progress),
];
/// The half of a key that means all variants of a URL.
const ALL: [u8; 16] = [0; 16];

/// Reads and checks a store that no node has open. `deep` verifies every body. `progress` gets (bytes done, bytes in all).
/// Blocking.
///
/// # Errors
/// `Unusable` when a node has it open, it is no store, or its format is newer; `Disk` when it cannot be read.
pub fn check(path: &Path, deep: bool, repair: bool, progress: impl FnMut(u64, u64)) -> Result<Check, Error> {
    if !path.join("seg").is_dir() {
        return Err(Error::no_store(path));
    }
    check_on(Arc::new(Real), path, deep, repair, progress)
}

/// As [`check`], on any disk.
pub(crate) fn check_on(
    disk: Arc<dyn Disk>,
    path: &Path,
    deep: bool,
    repair: bool,
    mut progress: impl FnMut(u64, u64),
) -> Result<Check, Error> {
    let seg = path.join("seg");
    let mut read_only = false;
    let _lock = recover::lock(&*disk, path, &mut read_only)?;
    let clock = Clock::system();
    let uuid = recover::known_identity(&*disk, path)?;
    let files = recover::segments(&*disk, &seg)?;
    let gate = Arc::new(Gate::new(clock.clone(), 0, true));
    let log = Log::new(Arc::clone(&disk), seg.clone(), uuid, 0, clock.clone(), gate, Table::new(), &BTreeMap::new(), (0, 0))?;
    let mut work = Work { disk, uuid, deep, repair: repair && !read_only, clock, log, out: Check::default(), seen: Seen::default() };
    let total = files.iter().map(|found| found.length).sum::<u64>().max(1);
    let share = if deep { 2 } else { 1 };
    let mut done = 0;
    for found in &files {
        work.segment(&seg, found)?;
        done += found.length;
        progress(done / share, total);
    }
    if deep {
        work.bodies(total, &mut progress)?;
    }
    work.losses()?;
    work.packs()?;
    work.snapshot(path, &files);
    work.notes(path);
    work.derived(path, read_only);
    if work.repair {
        for (leftover, _) in work.disk.list(&path.join("tmp"))? {
            work.disk.remove(&leftover)?;
            work.out.repaired.push(format!("removed {}", leftover.display()));
        }
    }
    progress(total, total);
    Ok(work.out)
}

/// The whole of a file that is not longer than this.
fn read_all(file: &dyn DiskFile, most: u64) -> io::Result<Vec<u8>> {
    let length = file.length()?;
    if length > most {
        return Err(io::Error::other(format!("{length} bytes are more than it ever has")));
    }
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// A stored answer, as far as the check needs it.
#[derive(Clone, Copy)]
struct Answer {
    seq: u64,
    /// Of the body's name; 0: only parts of it are here.
    link: u64,
    place: Place,
}

/// A body.
#[derive(Clone, Copy)]
struct Body {
    seq: u64,
    place: Place,
    codec: Codec,
    base: u64,
    length: u64,
    whole: bool,
}

/// All records by key, the newest of each.
#[derive(Default)]
struct Seen {
    answers: HashMap<[u8; 32], Answer>,
    bodies: HashMap<u64, Body>,
    dictionaries: HashMap<u64, (u64, Place)>,
    tombs: HashMap<[u8; 32], u64>,
    pins: HashMap<([u8; 16], u64), (u64, Place)>,
    unpins: HashMap<([u8; 16], u64), u64>,
}

impl Seen {
    fn add(&mut self, line: &Line, segment: u32, holds: bool) {
        let place = Place { segment, at: line.at };
        let newest = |old: Option<u64>| old.is_none_or(|old| old <= line.seq);
        let url = line.url().0;
        match line.kind {
            Kind::Blob => {
                let key = fingerprint(&line.key);
                // Of two copies of one record one that is whole will do.
                let better = self.bodies.get(&key).is_none_or(|old| old.seq < line.seq || old.seq == line.seq && !old.whole);
                if better {
                    let body = Body { seq: line.seq, place, codec: line.codec, base: line.link, length: line.length, whole: holds };
                    self.bodies.insert(key, body);
                }
            }
            Kind::Meta if holds && newest(self.answers.get(&line.key).map(|old| old.seq)) => {
                self.answers.insert(line.key, Answer { seq: line.seq, link: line.link, place });
            }
            Kind::Tomb if holds => {
                let tomb = self.tombs.entry(line.key).or_default();
                *tomb = line.seq.max(*tomb);
            }
            Kind::Pin if holds && newest(self.pins.get(&(url, line.link)).map(|old| old.0)) => {
                self.pins.insert((url, line.link), (line.seq, place));
            }
            Kind::Unpin if holds => {
                let unpin = self.unpins.entry((url, line.link)).or_default();
                *unpin = line.seq.max(*unpin);
            }
            Kind::Dict if holds && newest(self.dictionaries.get(&line.link).map(|old| old.0)) => {
                self.dictionaries.insert(line.link, (line.seq, place));
            }
            Kind::Meta | Kind::Tomb | Kind::Pin | Kind::Unpin | Kind::Dict | Kind::Part | Kind::Footer => {}
        }
    }

    /// The newest TOMB of all variants of a URL.
    fn tomb_of(&self, url: &[u8]) -> u64 {
        let mut key = [0; 32];
        key[..16].copy_from_slice(url);
        self.tombs.get(&key).copied().unwrap_or(0)
    }

    fn is_current(&self, key: &[u8; 32], answer: &Answer) -> bool {
        answer.seq > self.tomb_of(&key[..16]).max(self.tombs.get(key).copied().unwrap_or(0))
    }

    /// Why a body cannot be read; `None` when it can.
    fn fault(&self, link: u64) -> Option<&'static str> {
        let Some(body) = self.bodies.get(&link) else { return Some("its body is missing") };
        match body.codec {
            Codec::Dict if !self.dictionaries.contains_key(&body.base) => Some("the dictionary of its body is missing or damaged"),
            Codec::Delta if !self.bodies.get(&body.base).is_some_and(|base| base.whole && base.codec != Codec::Delta) => {
                Some("the older version that its body builds on is missing or damaged")
            }
            _ if !body.whole => Some("its body is damaged"),
            Codec::Raw | Codec::Zstd | Codec::Frames | Codec::Dict | Codec::Delta => None,
        }
    }
}

struct Work {
    disk: Arc<dyn Disk>,
    uuid: [u8; 16],
    deep: bool,
    repair: bool,
    clock: Clock,
    log: Log,
    out: Check,
    seen: Seen,
}

impl Work {
    fn segment(&mut self, seg: &Path, found: &Found) -> Result<(), Error> {
        let file = self.disk.open(&found.path, false)?;
        let mut head = [0; record::SEGMENT_HEADER_BYTES];
        let read = file.read_at(&mut head, 0);
        // What cannot be read now is not written over.
        let closed = read.as_ref().is_err_and(is_unreadable);
        let header = read.ok().and_then(|()| SegmentHeader::decode(&head).ok());
        let name = found.path.display().to_string();
        if header.is_some_and(|header| header.uuid != self.uuid) {
            let remedy = "move it out of the folder; what it holds comes in by \"bulak store import\" from a bundle";
            self.out.foreign.push(format!("{name} belongs to another store; {remedy}"));
            return Ok(());
        }
        let footer = if found.sealed { recover::footer(&*file, found.length) } else { None };
        let walked = walk::walk(&*file, found, &self.uuid, footer.as_deref(), self.deep)?;
        let Walked { lines, bad, lost, unreadable, end, why } = walked;
        if lines.is_empty() && header.is_none() && found.length > record::SEGMENT_HEADER {
            self.out
                .foreign
                .push(format!("{name} is no segment of this store, or is damaged from its first byte; move it out of the folder"));
            return Ok(());
        }
        self.out.segments += 1;
        self.out.records += (lines.len() + bad.len()) as u64;
        for line in &lines {
            self.seen.add(line, found.number, true);
        }
        // What bodies are coded against is found by the table.
        let mut table = self.log.table().write();
        for line in lines.iter().filter(|line| matches!(line.kind, Kind::Blob | Kind::Dict)) {
            table.apply(line, found.number);
        }
        drop(table);
        for line in &bad {
            self.seen.add(line, found.number, false);
            // A damaged body is told by the addresses that lead to it.
            if line.kind != Kind::Blob {
                self.out.lost.push(format!("{name}: a record at byte {} ({:?}) is damaged", line.at, line.kind));
            }
        }
        if unreadable > 0 {
            self.out.lost.push(format!("{name}: {unreadable} bytes cannot be read from the medium; it is left as it is"));
        }
        if lost > 0 {
            self.out.lost.push(format!("{name}: {lost} damaged places"));
        }
        let sound = header.is_some_and(|header| header.number == found.number);
        if !sound && !closed {
            self.out.repaired.push(format!("{name} has a damaged header"));
        }
        if let Some(why) = &why {
            self.out.repaired.push(format!("{name} {why}"));
        }
        if self.repair && !sound && !closed {
            let made = lines.iter().map(|line| line.time).find(|time| *time != 0).unwrap_or_else(|| self.clock.now().micros());
            let file = self.disk.open(&found.path, true)?;
            file.write_at(&SegmentHeader { uuid: self.uuid, number: found.number, made }.encode(), 0)?;
            file.sync()?;
        }
        if self.repair && why.is_some() {
            let open = Found { path: segment::path(seg, found.number, found.lane.endings().0), ..*found };
            if found.sealed {
                self.disk.rename(&found.path, &open.path)?;
            }
            walk::clean(&*self.disk.open(&open.path, true)?, &self.uuid, &lines)?;
            recover::seal(&*self.disk, seg, &open, &self.uuid, end, &lines, self.clock.now())?;
        }
        Ok(())
    }

    /// Reads every body and compares its hash.
    fn bodies(&mut self, total: u64, progress: &mut impl FnMut(u64, u64)) -> Result<(), Error> {
        let mut bodies: Vec<(Place, u64, u64)> = self.seen.bodies.iter().map(|(key, body)| (body.place, *key, body.length)).collect();
        bodies.sort_unstable();
        let all = bodies.iter().map(|body| body.2).sum::<u64>().max(1);
        let mut done = 0;
        for (place, key, length) in bodies {
            let whole = self.body_holds(place)?;
            if let Some(body) = self.seen.bodies.get_mut(&key) {
                body.whole = whole;
            }
            self.out.bodies += 1;
            done += length;
            progress(total / 2 + u64::try_from(u128::from(total / 2) * u128::from(done) / u128::from(all)).unwrap_or(0), total);
        }
        Ok(())
    }

    fn body_holds(&self, place: Place) -> io::Result<bool> {
        match self.hashes(place) {
            // What lies there is lost, and the others are to be read.
            Err(error) if is_unreadable(&error) => Ok(false),
            holds => holds,
        }
    }

    fn hashes(&self, place: Place) -> io::Result<bool> {
        let Some((header, _)) = self.log.header(place, Kind::Blob)? else { return Ok(false) };
        let object = Digest(header.key);
        let Some(source) = Source::blob(&self.log, place, &object)? else { return Ok(false) };
        let (mut hasher, mut at) = (Hasher::default(), 0);
        while at < source.length() {
            let Some(piece) = source.read(at, source.length())? else { return Ok(false) };
            hasher.update(&piece);
            at += piece.len() as u64;
        }
        Ok(hasher.finish() == object)
    }

    /// The address of an answer, as its META says.
    fn address(&self, place: Place) -> Result<String, Error> {
        let read = match self.log.small(place, Kind::Meta) {
            Err(error) if is_unreadable(&error) => None,
            read => read?,
        };
        let kept = read.and_then(|(_, payload)| meta::decode(&payload));
        Ok(kept.map_or_else(|| "an address that cannot be read".to_owned(), |kept| kept.meta.url.into()))
    }

    fn losses(&mut self) -> Result<(), Error> {
        let mut lost = Vec::new();
        for (key, answer) in &self.seen.answers {
            if answer.link == 0 || !self.seen.is_current(key, answer) {
                continue;
            }
            match self.seen.fault(answer.link) {
                Some(_) if !self.seen.bodies.contains_key(&answer.link) => self.out.gone += 1,
                Some(why) => lost.push(format!("{}: {why} ({:016x})", self.address(answer.place)?, answer.link)),
                None => {}
            }
        }
        lost.sort();
        self.out.lost.append(&mut lost);
        self.unused();
        Ok(())
    }

    /// Damaged bodies to which no address leads: no loss by themselves, but a sign.
    fn unused(&mut self) {
        let seen = &self.seen;
        let current = seen.answers.iter().filter(|(key, answer)| seen.is_current(key, answer));
        let led: HashSet<u64> = current.map(|(_, answer)| answer.link).collect();
        // What a body out of use was coded with may have gone before it.
        let alone = |body: &Body| !matches!(body.codec, Codec::Dict | Codec::Delta);
        let bad = seen.bodies.iter().filter(|(key, body)| !body.whole && alone(body) && !led.contains(key));
        let mut places: Vec<Place> = bad.map(|(_, body)| body.place).collect();
        places.sort_unstable();
        self.out.repaired.extend(places.iter().map(|place| {
            format!(
                "segment {} has a damaged body at byte {} to which no address leads: it goes when room is made",
                place.segment, place.at
            )
        }));
    }

    /// Whether every address that a pack keeps has a whole body.
    fn packs(&mut self) -> Result<(), Error> {
        let seen = &self.seen;
        // By URL: the place of an answer, and whether one of them is whole.
        let mut urls: HashMap<[u8; 16], (Place, bool)> = HashMap::new();
        for (key, answer) in seen.answers.iter().filter(|(key, answer)| seen.is_current(key, answer)) {
            let mut url = [0; 16];
            url.copy_from_slice(&key[..16]);
            let whole = answer.link != 0 && seen.fault(answer.link).is_none();
            let now = urls.entry(url).or_insert((answer.place, false));
            now.1 |= whole;
        }
        for ((url, set), (seq, place)) in &seen.pins {
            let over = [seen.unpins.get(&(*url, *set)), seen.unpins.get(&(ALL, *set))].into_iter().flatten().max().copied().unwrap_or(0);
            if *seq <= over.max(seen.tomb_of(url)) {
                continue;
            }
            let answer = urls.get(url);
            if answer.is_some_and(|answer| answer.1) {
                continue;
            }
            let payload = self.log.small(*place, Kind::Pin)?.map(|(_, payload)| payload).unwrap_or_default();
            let pack =
                record::decode_pin_name(&payload).filter(|name| !name.is_empty()).map_or_else(|| format!("{set:016x}"), str::to_owned);
            let address = match answer {
                Some((place, _)) => self.address(*place)?,
                None => format!("an address without any answer ({:016x})", fingerprint(url)),
            };
            self.out.incomplete.entry(pack).or_default().push(address);
        }
        self.out.incomplete.values_mut().for_each(|urls| urls.sort());
        Ok(())
    }

    /// The snapshot of the table: derived; a start that cannot use it reads all footers.
    fn snapshot(&mut self, path: &Path, files: &[Found]) {
        let Err(why) = snapshot::load(&*self.disk, path, &self.uuid, files) else { return };
        let path = path.join(snapshot::NAME);
        let done = if self.repair { self.disk.remove(&path).err() } else { None };
        let end = done.map_or_else(String::new, |error| format!(", and cannot be removed ({error})"));
        self.out.repaired.push(format!("{}: {why}; it is derived, the node makes it anew{end}", path.display()));
    }

    /// What the quiet hours have noted beside the log: without it they begin anew.
    fn notes(&mut self, path: &Path) {
        for (name, most, is_whole) in NOTES {
            let path = path.join(name);
            let why = match self.disk.open(&path, false).and_then(|file| read_all(&*file, most)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Ok(bytes) if is_whole(&bytes) => continue,
                Ok(_) => String::from("is not as it was written"),
                Err(error) => format!("cannot be read ({error})"),
            };
            let done = if self.repair { self.disk.remove(&path).err() } else { None };
            let end = done.map_or_else(String::new, |error| format!(", and cannot be removed ({error})"));
            self.out.repaired.push(format!("{} {why}: it is a note of quiet hours, which begin anew without it{end}", path.display()));
        }
    }

    /// What can be made from the segments again: never a loss.
    fn derived(&mut self, path: &Path, read_only: bool) {
        let folder = path.join("index");
        if !self.deep || read_only || !folder.exists() {
            return;
        }
        let seen = &self.seen;
        let current = seen.answers.iter().filter(|(key, answer)| seen.is_current(key, answer));
        let places: Vec<Place> = current.map(|(_, answer)| answer.place).collect();
        let why = match index::lacking(&folder, INDEX_CACHE, &places) {
            Ok(0) => return,
            Ok(lacking) => format!("lacks {lacking} answers"),
            Err(error) => format!("cannot be opened ({error})"),
        };
        let remove = |path: &Path| if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
        let done = if self.repair { remove(&folder).err() } else { None };
        let end = done.map_or_else(String::new, |error| format!(", and cannot be removed ({error})"));
        self.out.repaired.push(format!("{} {why}: it is derived, the node makes it anew{end}", folder.display()));
    }
}
