//! The recoder: gives each body its smallest form while a segment is rewritten. Tried are one pass at level 9, the site's
//! dictionary for what is small, a delta against what is alike. Whatever comes out is decoded again before it replaces anything,
//! and marked as settled, so that no night tries it twice.

use crate::base::digest::{Digest, Hasher};
use crate::store::disk::DiskFile;
use crate::store::pack::dict::{self, Class, Dictionary};
use crate::store::pack::press::{Press, Shelf};
use crate::store::pack::sketch::{self, Sketch, Sketches};
use crate::store::pack::{self, delta};
use crate::store::read::{self, Source};
use crate::store::record::{self, Codec, Kind, Line, SETTLED, fingerprint};
use crate::store::rewrite::Recode;
use crate::store::segment::{Log, New};
use crate::store::shrink::survey::short;
use crate::store::table::Place;
use crate::store::tend::Permit;
use crate::store::{Error, Inner};
use bytes::Bytes;
use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;

/// What the survey knows of a body from an answer that leads to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct About {
    /// Fingerprint of the path without version.
    pub(crate) stem: u64,
    /// Kind of text on a site; an index into [`Recoder::groups`]. `None` for media and coded bodies.
    pub(crate) group: Option<u32>,
}

/// One kind of text of one site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) host: Box<str>,
    pub(crate) class: Class,
}

/// What a night has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Bodies tried.
    pub(crate) tried: u64,
    /// Their stored bytes before and after.
    pub(crate) before: u64,
    pub(crate) after: u64,
}

/// Gives bodies their smallest form.
#[derive(Default)]
pub(crate) struct Recoder {
    /// By the fingerprint of the body's name.
    pub(crate) about: HashMap<u64, About>,
    pub(crate) groups: Vec<Group>,
    /// Bodies that deltas point to: these never become deltas themselves.
    pub(crate) bases: HashSet<u64>,
    /// Settled bodies that are no deltas: these never become deltas any more.
    pub(crate) sketches: Sketches,
    pub(crate) tally: Tally,
    /// Whether bodies may be tried now; `None`: always.
    pub(crate) permit: Option<Permit>,
    /// Of the segment at hand: the newest dictionaries of groups, as they are on disk.
    dicts: Shelf,
    press: Press,
    /// Referred to until the table knows the deltas made of them.
    held: Vec<Digest>,
}

impl Recode for Recoder {
    fn recode(&mut self, line: &Line, object: &Digest, inner: &Inner) -> Result<Option<New>, Error> {
        if self.permit.as_ref().is_some_and(|permit| !permit()) {
            return Ok(None);
        }
        Ok(self.best(line, object, &inner.log, || {
            let path = inner.temporary_path();
            let file = inner.disk.create(&path)?;
            // It needs no name: what is left of it goes with its handle.
            inner.disk.remove(&path)?;
            Ok(file)
        })?)
    }
}

impl Recoder {
    /// Whether a body is worth reading: text that no night has tried.
    pub(crate) fn is_open(&self, line: &Line) -> bool {
        line.kind == Kind::Blob
            && line.flags & SETTLED == 0
            && match line.codec {
                Codec::Zstd | Codec::Frames => true,
                // Too short for a frame of its own; media of this length is no text by its type.
                Codec::Raw => line.flags & record::TABLED == 0 && self.group(line).is_some_and(|_| line.whole > 0),
                Codec::Dict | Codec::Delta => false,
            }
    }

    fn group(&self, line: &Line) -> Option<u32> {
        self.about.get(&fingerprint(&line.key)).and_then(|about| about.group)
    }

    /// A segment is about to be rewritten: dictionaries are looked up anew, for those out of use may have gone meanwhile.
    pub(crate) fn begin(&mut self) {
        self.dicts = Shelf::default();
    }

    /// A segment has been rewritten, or not: the table knows by now what refers to what.
    pub(crate) fn end(&mut self, log: &Log) {
        let mut table = log.table().write();
        self.held.drain(..).for_each(|base| table.release(&base));
    }

    /// The smallest form of a body; `None` when it is to be left as it is.
    fn best(
        &mut self,
        line: &Line,
        object: &Digest,
        log: &Log,
        spill: impl FnOnce() -> io::Result<Arc<dyn DiskFile>>,
    ) -> io::Result<Option<New>> {
        if !self.is_open(line) {
            return Ok(None);
        }
        let Some(place) = log.table().read().blob(object).map(|blob| blob.place).filter(|place| place.at == line.at) else {
            return Ok(None);
        };
        let new = if line.whole > delta::OBJECT_MAX {
            long(line, object, log, place, spill)?
        } else {
            match read::whole(log, place, object, line.whole)? {
                Some(bytes) => Some(self.smallest(line, object, &bytes, log, place)?),
                // Damaged: whoever copies it will see.
                None => None,
            }
        };
        if let Some(new) = &new {
            self.tally.tried += 1;
            self.tally.before += line.length;
            self.tally.after += new.length();
        }
        Ok(new.map(|new| New { flags: new.flags | SETTLED, ..new }))
    }

    fn smallest(&mut self, line: &Line, object: &Digest, bytes: &Bytes, log: &Log, place: Place) -> io::Result<New> {
        let plain = self.press.plain(*object, bytes)?;
        let plain_length = usize::try_from(plain.length()).unwrap_or(usize::MAX);
        let mut best = if plain.length() < line.length && self.press.holds(&plain, bytes) { Some(plain) } else { None };
        let mut least = best.as_ref().map_or(line.length, New::length);
        if line.whole <= dict::OBJECT_MAX
            && let Some(new) = self.with_dictionary(line, object, bytes, log)?.filter(|new| new.length() < least)
        {
            least = new.length();
            best = Some(new);
        }
        let print = fingerprint(&object.0);
        if line.whole >= sketch::SHORTEST {
            let stem = self.about.get(&print).map_or(0, |about| about.stem);
            let sketch = Sketch { print, stem, features: sketch::features(bytes) };
            if !self.bases.contains(&print)
                && let Some((base, new)) = self.against_older(&sketch, object, bytes, plain_length, least, log)?
            {
                self.bases.insert(fingerprint(&base.0));
                self.held.push(base);
                return Ok(new);
            }
            self.sketches.add(sketch);
        }
        match best {
            Some(best) => Ok(best),
            None => same(line, object, log, place),
        }
    }

    fn with_dictionary(&mut self, line: &Line, object: &Digest, bytes: &Bytes, log: &Log) -> io::Result<Option<New>> {
        let Some(number) = self.group(line) else { return Ok(None) };
        let groups = &self.groups;
        let load = || groups.get(number as usize).map_or(Ok(None), |group| newest(log, group));
        let Some(dict) = self.dicts.take(number, load)? else { return Ok(None) };
        let frame = dict.encode(bytes)?;
        let holds = dict.decode(&frame, line.whole).is_some_and(|decoded| decoded == bytes[..]);
        let new = pack::of_payload(*object, line.whole, Codec::Dict, frame);
        Ok(holds.then_some(New { base: dict.number, link: u64::from(dict.number), ..new }))
    }

    /// The best delta, and its base, which the table holds from now on.
    fn against_older(
        &self,
        sketch: &Sketch,
        object: &Digest,
        bytes: &Bytes,
        plain: usize,
        mut least: u64,
        log: &Log,
    ) -> io::Result<Option<(Digest, New)>> {
        let mut best = None;
        for print in self.sketches.like(sketch) {
            let Some((name, base)) = older(print, log)? else { continue };
            let payload = delta::encode(&name, &base, bytes)?;
            if payload.len() as u64 >= least || !delta::pays(payload.len(), plain) {
                continue;
            }
            let holds = delta::split(&payload).and_then(|(_, frame)| delta::apply(&base, frame, bytes.len()));
            if holds.is_some_and(|decoded| decoded == bytes[..]) {
                least = payload.len() as u64;
                best = Some((name, delta::record(*object, bytes.len() as u64, payload)));
            }
        }
        let Some((name, new)) = best else { return Ok(None) };
        Ok(log.table().write().hold(&name).then_some((name, new)))
    }
}

/// The name and the bytes of a body that is no delta.
pub(crate) fn older(print: u64, log: &Log) -> io::Result<Option<(Digest, Bytes)>> {
    let place = log.table().read().blob(&short(print)).map(|blob| blob.place);
    let Some(place) = place else { return Ok(None) };
    match delta::name_at(log, place, print)? {
        Some(name) => Ok(delta::base(log, &name)?.map(|bytes| (name, bytes))),
        None => Ok(None),
    }
}

/// The newest dictionary of a group that is on disk.
pub(crate) fn newest(log: &Log, group: &Group) -> io::Result<Option<Dictionary>> {
    for number in dict::numbers(&group.host, group.class).rev() {
        let known = log.table().read().dict(number).is_some();
        if known && let Some(found) = Dictionary::load(log, number)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// A body too long for the memory: frame by frame, through a file.
fn long(
    line: &Line,
    object: &Digest,
    log: &Log,
    place: Place,
    spill: impl FnOnce() -> io::Result<Arc<dyn DiskFile>>,
) -> io::Result<Option<New>> {
    let Some(source) = Source::blob(log, place, object)?.filter(|source| source.length() == line.whole) else { return Ok(None) };
    let (mut hasher, mut whole) = (Hasher::default(), true);
    let read = |at: u64, n: usize| {
        let piece = source.read(at, at + n as u64)?.filter(|piece| piece.len() == n);
        whole &= piece.is_some();
        let piece = piece.unwrap_or_default();
        hasher.update(&piece);
        Ok(piece)
    };
    let new = pack::frames(*object, line.whole, pack::NIGHT_LEVEL, read, spill()?)?;
    Ok((whole && hasher.finish() == *object).then_some(new))
}

/// A body as it is; only its flag is new.
fn same(line: &Line, object: &Digest, log: &Log, place: Place) -> io::Result<New> {
    let Some((header, file)) = log.header(place, Kind::Blob)? else { return Err(io::Error::from(io::ErrorKind::NotFound)) };
    let payload = read::read_vec(&*file, header.payload_at(place.at), header.length)?;
    let new = pack::of_payload(*object, line.whole, header.codec, payload);
    Ok(New { flags: header.flags, crc: header.crc, base: header.base, link: line.link, ..new })
}
