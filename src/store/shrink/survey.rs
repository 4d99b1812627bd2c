//! The survey of a night: footers say which bodies no night has tried and what deltas point to; answers say of which site and kind
//! the bodies are; bodies that deltas may be made against are sketched, unless the last night's file has them. All in small steps,
//! with bounded memory.

use crate::base::digest::Digest;
use crate::store::meta::{self, Kept};
use crate::store::pack::delta;
use crate::store::pack::dict::{self, Class};
use crate::store::pack::sketch::{self, SKETCHES_MAX, Sketch, Sketches};
use crate::store::record::{Codec, Kind, Line, SETTLED, fingerprint};
use crate::store::segment::Lane;
use crate::store::shrink::recode::{About, Group, Recoder, older};
use crate::store::table::Place;
use crate::store::{Error, Inner};
use http::header::CONTENT_TYPE;
use std::collections::{HashMap, HashSet, VecDeque};
use std::io;

/// Most bodies of one night: some 10 MiB of what is known about them.
const BODIES_MAX: usize = 200_000;
/// Lines asked about under one lock of the table: below a millisecond.
const AT_ONCE: usize = 1024;
/// Answers read in one step: half a second on a slow card.
const ANSWERS: usize = 512;
/// Bytes of bodies sketched in one step: 0.1 s at 100 MB/s.
const SKETCHED: u64 = 8 << 20;
/// The rest of a segment is copied as well when it is rewritten: worth it when this part of it, one in so many bytes, is open.
const OPEN_SHARE: u64 = 8;
/// Shortest raw body that a dictionary may still make smaller.
const SHORT_RAW: u64 = 64;

/// Where the survey is.
pub(crate) enum Survey {
    /// Segments whose footers are still to be read.
    Footers(VecDeque<u32>),
    /// Segments whose answers are still to be read, and those of the first.
    Answers(VecDeque<u32>, VecDeque<Place>),
    /// Bodies still to be sketched.
    Sketches(VecDeque<u64>),
    Done,
}

/// What it finds.
#[derive(Default)]
pub(crate) struct Found {
    /// Segments that are worth rewriting, by the seq of their first record.
    pub(crate) segments: Vec<u32>,
    /// Bytes of open text in them.
    pub(crate) bytes: u64,
    /// Small bodies by group.
    pub(crate) members: HashMap<u32, Vec<u64>>,
    /// Of all segments: the lowest seq, the bytes, the open bytes, the open bodies.
    open: Vec<(u64, u32, u64, Vec<Short>)>,
    /// Open bodies of the segments at hand, and their length.
    wanted: HashMap<u64, u64>,
    /// Settled bodies that deltas may be made against, oldest first.
    settled: VecDeque<u64>,
    groups: HashMap<(Box<str>, Class), u32>,
    /// Whether everything is to be tried, whatever it costs in copies.
    thorough: bool,
}

/// An open body: fingerprint and length.
type Short = (u64, u64);

impl Survey {
    /// A survey of all sealed segments.
    pub(crate) fn new(inner: &Inner, thorough: bool) -> (Survey, Found) {
        let numbers = inner.log.segments().into_iter().filter(|(_, segment)| segment.lane == Lane::Main && segment.is_done());
        (Survey::Footers(numbers.map(|(number, _)| number).collect()), Found { thorough, ..Found::default() })
    }

    /// One step on. `room`: bytes that may still be written tonight.
    pub(crate) fn step(&mut self, inner: &Inner, found: &mut Found, recoder: &mut Recoder, room: u64, file: &[u8]) -> Result<(), Error> {
        match self {
            Survey::Footers(left) => {
                if let Some(number) = left.pop_front() {
                    return found.footer(inner, number, recoder);
                }
                found.choose(inner, room);
                if found.segments.is_empty() {
                    *self = Survey::Done;
                    return Ok(());
                }
                let settled: HashSet<u64> = found.settled.iter().copied().collect();
                recoder.sketches = Sketches::decode(file, |print| settled.contains(&print));
                let all = inner.log.segments().into_iter().filter(|(_, segment)| segment.lane == Lane::Main);
                *self = Survey::Answers(all.map(|(number, _)| number).collect(), VecDeque::new());
            }
            Survey::Answers(left, places) => {
                if places.is_empty() {
                    match left.pop_front() {
                        Some(number) => *places = found.answers(inner, number, recoder)?,
                        None => *self = Survey::Sketches(std::mem::take(&mut found.settled)),
                    }
                } else {
                    let n = places.len().min(ANSWERS);
                    places.drain(..n).try_for_each(|place| found.answer(inner, place, recoder))?;
                }
            }
            Survey::Sketches(left) => {
                let mut bytes = 0;
                while bytes < SKETCHED {
                    let Some(print) = left.pop_front() else {
                        *self = Survey::Done;
                        break;
                    };
                    bytes += sketch_of(inner, print, recoder)?;
                }
            }
            Survey::Done => {}
        }
        Ok(())
    }
}

impl Found {
    fn footer(&mut self, inner: &Inner, number: u32, recoder: &mut Recoder) -> Result<(), Error> {
        let lines = match inner.log.lines(number) {
            // Reclaimed since the night began.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            lines => lines?,
        };
        let (mut bytes, mut open, first) = (0, Vec::new(), lines.first().map_or(u64::MAX, |line| line.seq));
        for some in lines.chunks(AT_ONCE) {
            let table = inner.log.table().read();
            for line in some.iter().filter(|line| line.kind == Kind::Blob) {
                if line.codec == Codec::Delta {
                    recoder.bases.insert(line.link);
                }
                if !table.is_live(line, number) {
                    continue;
                }
                let print = fingerprint(&line.key);
                match line.codec {
                    _ if is_open_text(line) => {
                        bytes += line.length;
                        open.push((print, line.whole));
                    }
                    Codec::Raw if line.flags & SETTLED == 0 && (SHORT_RAW..=dict::OBJECT_MAX).contains(&line.whole) => {
                        open.push((print, line.whole));
                    }
                    Codec::Zstd | Codec::Frames | Codec::Dict if is_base(line) => {
                        // The newest are the likeliest to have a successor.
                        if self.settled.len() >= SKETCHES_MAX {
                            self.settled.pop_front();
                        }
                        self.settled.push_back(print);
                    }
                    _ => {}
                }
            }
        }
        if bytes > 0 {
            self.open.push((first, number, bytes, open));
        }
        Ok(())
    }

    /// Chooses the segments to be rewritten: the oldest first, so that older versions are settled before newer ones lean on them.
    fn choose(&mut self, inner: &Inner, mut room: u64) {
        let sizes: HashMap<u32, u64> = inner.log.segments().into_iter().map(|(number, segment)| (number, segment.bytes)).collect();
        self.open.sort_unstable_by_key(|open| open.0);
        for (_, number, bytes, open) in std::mem::take(&mut self.open) {
            let size = sizes.get(&number).copied().unwrap_or(0);
            if !self.thorough && bytes.saturating_mul(OPEN_SHARE) < size {
                continue;
            }
            if size > room || self.wanted.len() + open.len() > BODIES_MAX {
                return;
            }
            room -= size;
            self.segments.push(number);
            self.bytes += bytes;
            self.wanted.extend(open);
        }
    }

    /// The places of the answers in a segment that say something about a body at hand.
    fn answers(&self, inner: &Inner, number: u32, recoder: &Recoder) -> Result<VecDeque<Place>, Error> {
        let lines = match inner.log.lines(number) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(VecDeque::new()),
            lines => lines?,
        };
        let mut places = VecDeque::new();
        let settled: HashSet<u64> = self.settled.iter().copied().filter(|print| !recoder.sketches.has(*print)).collect();
        for some in lines.chunks(AT_ONCE) {
            let table = inner.log.table().read();
            let of_use = some.iter().filter(|line| {
                line.kind == Kind::Meta
                    && (self.wanted.contains_key(&line.link) || settled.contains(&line.link))
                    && !recoder.about.contains_key(&line.link)
                    && table.is_live(line, number)
            });
            places.extend(of_use.map(|line| Place { segment: number, at: line.at }));
        }
        Ok(places)
    }

    fn answer(&mut self, inner: &Inner, place: Place, recoder: &mut Recoder) -> Result<(), Error> {
        let Some((_, Kept { meta, object: Some(object), .. })) = inner.kept(place)? else { return Ok(()) };
        let print = fingerprint(&object.0);
        let kind = meta.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let class = if meta.coding.is_some() { None } else { Class::of(kind) };
        let group = class.map(|class| self.group(meta::host(&meta.url).into_boxed_str(), class, recoder));
        if recoder.about.insert(print, About { stem: sketch::stem(&meta.url), group }).is_none()
            && let (Some(group), Some(length)) = (group, self.wanted.get(&print))
            && *length <= dict::OBJECT_MAX
        {
            self.members.entry(group).or_default().push(print);
        }
        Ok(())
    }

    fn group(&mut self, host: Box<str>, class: Class, recoder: &mut Recoder) -> u32 {
        *self.groups.entry((host, class)).or_insert_with_key(|(host, class)| {
            recoder.groups.push(Group { host: host.clone(), class: *class });
            u32::try_from(recoder.groups.len() - 1).unwrap_or(u32::MAX)
        })
    }
}

/// Whether a record is text that no night has tried.
pub(crate) fn is_open_text(line: &Line) -> bool {
    line.kind == Kind::Blob && matches!(line.codec, Codec::Zstd | Codec::Frames) && line.flags & SETTLED == 0
}

/// Whether a settled body may have deltas made against it.
fn is_base(line: &Line) -> bool {
    line.flags & SETTLED != 0 && (sketch::SHORTEST..=delta::OBJECT_MAX).contains(&line.whole)
}

/// Sketches a settled body; how many bytes were read.
fn sketch_of(inner: &Inner, print: u64, recoder: &mut Recoder) -> Result<u64, Error> {
    if recoder.sketches.has(print) {
        return Ok(0);
    }
    let Some((_, bytes)) = older(print, &inner.log)? else { return Ok(0) };
    let stem = recoder.about.get(&print).map_or(0, |about| about.stem);
    recoder.sketches.add(Sketch { print, stem, features: sketch::features(&bytes) });
    Ok(bytes.len() as u64)
}

/// The short form of a name, which is enough for the table.
pub(crate) fn short(print: u64) -> Digest {
    let mut short = Digest([0; 32]);
    short.0[..8].copy_from_slice(&print.to_le_bytes());
    short
}
