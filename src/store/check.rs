//! Reads and checks a store that no node has open: structure always, every body by its hash when `deep`. With `repair` what can
//! be mended without loss is: broken footers are written again, unsealed segments sealed, leftovers removed; then what is lost
//! is listed by URL. Works on a copy that cannot be written, too.

use crate::base::clock::Clock;
use crate::base::digest::{Digest, Hasher};
use crate::store::disk::{Disk, Real};
use crate::store::evict::Gate;
use crate::store::meta;
use crate::store::read::Source;
use crate::store::record::{Kind, Line, fingerprint};
use crate::store::recover::{self, Found};
use crate::store::segment::Log;
use crate::store::table::{Place, Table};
use crate::store::{Check, Error};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

/// Reads and checks a store that no node has open. `deep` verifies every body. `progress` gets (bytes done, bytes in all).
/// Blocking.
///
/// # Errors
/// `Unusable` when a node has it open, it is no store, or its format is newer; `Disk` when it cannot be read.
pub fn check(path: &Path, deep: bool, repair: bool, mut progress: impl FnMut(u64, u64)) -> Result<Check, Error> {
    let seg = path.join("seg");
    if !seg.is_dir() {
        return Err(Error::no_store(path));
    }
    let mut read_only = false;
    let _lock = recover::lock(&Real, path, &mut read_only)?;
    let clock = Clock::system();
    let uuid = recover::known_identity(&Real, path)?;
    let files = recover::segments(&Real, &seg)?;
    let mut work = Work {
        uuid,
        repair: repair && !read_only,
        out: Check::default(),
        metas: HashMap::new(),
        blobs: HashMap::new(),
        bad: HashSet::new(),
    };
    let total = files.iter().map(|found| found.length).sum::<u64>().max(1);
    let share = if deep { 2 } else { 1 };
    let mut done = 0;
    for found in &files {
        work.segment(&seg, found, &clock)?;
        done += found.length;
        progress(done / share, total);
    }
    if deep {
        work.bodies(&seg, clock, total, &mut progress)?;
    }
    work.losses();
    if work.repair {
        for (leftover, _) in Real.list(&path.join("tmp"))? {
            Real.remove(&leftover)?;
            work.out.repaired.push(format!("removed {}", leftover.display()));
        }
    }
    progress(total, total);
    Ok(work.out)
}

/// A stored answer, as far as the check needs it.
struct Answer {
    url: String,
    seq: u64,
    object: Option<Digest>,
}

struct Work {
    uuid: [u8; 16],
    repair: bool,
    out: Check,
    metas: HashMap<[u8; 32], Answer>,
    /// Place and stored length of every body that verified so far.
    blobs: HashMap<Digest, (Place, u64)>,
    bad: HashSet<Digest>,
}

impl Work {
    fn segment(&mut self, seg: &Path, found: &Found, clock: &Clock) -> Result<(), Error> {
        let file = Real.open(&found.path, false)?;
        let mut lines: Vec<Line> = Vec::new();
        let mut records = Vec::new();
        let scan = recover::scan(&*file, found.length, &self.uuid, |line, header, holds, payload| {
            if holds {
                lines.push(line);
            }
            records.push((line, header.key, holds, meta::decode(payload).filter(|_| line.kind == Kind::Meta)));
        })?;
        self.out.segments += 1;
        self.out.records += records.len() as u64;
        for (line, key, holds, kept) in records {
            self.record(found.number, &line, key, holds, kept);
        }
        if scan.damaged > 0 {
            self.out.lost.push(format!("{}: {} damaged places", found.path.display(), scan.damaged));
        }
        let footer = if found.sealed { recover::footer(&*file, found.length) } else { None };
        let why = match &footer {
            _ if !found.sealed => "was not sealed",
            None => "has a damaged footer",
            // Damaged records stand in the footer, too.
            Some(told) if scan.damaged == 0 && told != &lines => "has a footer that does not agree with its records",
            Some(_) => return Ok(()),
        };
        self.out.repaired.push(format!("{} {why}", found.path.display()));
        if self.repair {
            let open = Found { path: super::segment::path(seg, found.number, found.lane.endings().0), ..*found };
            if found.sealed {
                Real.rename(&found.path, &open.path)?;
            }
            recover::seal(&Real, seg, &open, &self.uuid, scan.end, &lines, clock.now())?;
        }
        Ok(())
    }

    fn record(&mut self, segment: u32, line: &Line, key: [u8; 32], holds: bool, kept: Option<meta::Kept>) {
        match line.kind {
            Kind::Blob if holds => {
                self.blobs.insert(Digest(key), (Place { segment, at: line.at }, line.length));
            }
            Kind::Blob => {
                self.bad.insert(Digest(key));
            }
            Kind::Meta => {
                if let (true, Some(kept)) = (holds, kept) {
                    let newest = self.metas.get(&line.key).is_none_or(|old| old.seq <= line.seq);
                    if newest {
                        self.metas.insert(line.key, Answer { url: kept.meta.url.into(), seq: line.seq, object: kept.object });
                    }
                }
            }
            Kind::Tomb if holds => {
                let (url, entry) = (line.url(), line.entry());
                self.metas.retain(|key, answer| answer.seq > line.seq || key[..16] != url.0 || (entry != [0; 16] && key[16..] != entry));
            }
            _ => {}
        }
    }

    /// Reads every body that an answer leads to and compares its hash.
    fn bodies(&mut self, seg: &Path, clock: Clock, total: u64, progress: &mut impl FnMut(u64, u64)) -> Result<(), Error> {
        let gate = Arc::new(Gate::new(clock.clone(), 0, true));
        let log = Log::new(Arc::new(Real), seg.to_owned(), self.uuid, 0, clock, gate, Table::new(), &BTreeMap::new(), (0, 0))?;
        let mut bodies: Vec<(Place, Digest, u64)> = self.blobs.iter().map(|(object, (place, length))| (*place, *object, *length)).collect();
        bodies.sort_unstable_by_key(|body| body.0);
        let mut done = 0;
        for (place, object, length) in bodies {
            if !body_holds(&log, place, &object)? {
                self.blobs.remove(&object);
                self.bad.insert(object);
            }
            done += length;
            progress(u64::midpoint(total, done.min(total)), total);
        }
        Ok(())
    }

    fn losses(&mut self) {
        let lost = self.metas.values().filter_map(|answer| {
            let object = answer.object?;
            let why = match (self.blobs.contains_key(&object), self.bad.contains(&object)) {
                (true, _) => return None,
                (false, true) => "its body is damaged",
                (false, false) => "its body is missing",
            };
            Some(format!("{}: {why} ({:016x})", answer.url, fingerprint(&object.0)))
        });
        let mut lost: Vec<String> = lost.collect();
        lost.sort();
        self.out.lost.append(&mut lost);
    }
}

fn body_holds(log: &Log, place: Place, object: &Digest) -> Result<bool, Error> {
    let Some(source) = Source::blob(log, place, object)? else { return Ok(false) };
    let (mut hasher, mut at) = (Hasher::default(), 0);
    while at < source.length() {
        let Some(piece) = source.read(at, source.length())? else { return Ok(false) };
        hasher.update(&piece);
        at += piece.len() as u64;
    }
    Ok(hasher.finish() == *object)
}
