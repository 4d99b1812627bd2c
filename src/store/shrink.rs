//! The night: the same content takes less room in the morning. Surveys what no night has tried, trains dictionaries for sites with
//! many small pages, and rewrites segments with each body in its smallest form (store.md section 2). Everything is done in steps of
//! some megabytes; between two of them it may stop at any time, and the next night goes on from what it finds settled on disk.
//!
//! # Why
//! Segments are rewritten in the order of age, so that an older version is settled, in full, before a newer one leans on it. Flash
//! wears: what a day may write is counted in a file that survives a restart, and a segment of which little is text waits until
//! it is rewritten for another reason. A large body has a segment of its own, which is rewritten like any other: it comes out frame
//! by frame, through a file.

/// A body's smallest form.
pub(crate) mod recode;

/// What there is to do.
mod survey;

#[cfg(test)]
mod tests;

#[cfg(test)]
mod nights;

#[cfg(test)]
mod quiet;

use crate::base::clock::Time;
use crate::store::pack::dict::{self, Dictionary};
use crate::store::pack::sketch::Sketches;
use crate::store::pack::{self, delta};
use crate::store::read::Source;
use crate::store::record::HEADER;
use crate::store::segment::Lane;
use crate::store::shrink::recode::{Recoder, newest};
use crate::store::shrink::survey::{Found, Survey, is_open_text, short};
use crate::store::tend::Permit;
use crate::store::{Error, Inner, note};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::time::Duration;

/// A dictionary is trained from at least so many bodies of one kind of one site.
const SISTERS: usize = 100;
/// Bytes that it is trained from, at most: zstd's advice is a hundred times the dictionary.
const SAMPLES: usize = 100 * dict::DICT_MAX;
/// Bodies that a new dictionary is tried on before it is kept.
const TRIED: usize = 256;
/// It must save so many times its own size.
const SAVES: u64 = 2;
/// Rewritten together: this many segments' bytes at most, so that what comes out fills about one.
const TOGETHER: u64 = 2;
/// The open segment is sealed by a night when nothing has come into it for so long: the class is over. It takes no more then, and
/// a store of a few hundred pages would else never be made smaller.
const STILL_FOR: Duration = Duration::from_hours(2);
/// ... and when open text fills this part of a segment, one in so many bytes, so that a year of nights leaves no heap of files.
const STILL_SHARE: u64 = 64;
/// Seconds of a day, for the daily budget.
const DAY: i64 = 86_400;
/// What the last night knew of bodies that deltas may be made against, and what has been written today.
pub(crate) const SKETCHES: &str = "sketches";
pub(crate) const BUDGET: &str = "repack";
/// Longest text of the budget's file.
const BUDGET_MAX: u64 = 4096;

/// How a night goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// At most `repack_daily` bytes a day, and nothing is rewritten for a few pages in it.
    Night,
    /// All of it, now.
    Now,
}

/// What has been done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shrunk {
    /// Bytes on disk of the text that is to be tried; known after the survey.
    pub open_bytes: u64,
    /// Bodies tried.
    pub tried: u64,
    /// Their bytes on disk before ...
    pub before_bytes: u64,
    /// ... and after.
    pub after_bytes: u64,
    /// Dictionaries made.
    pub dictionaries: u64,
    /// Their bytes on disk.
    pub dictionary_bytes: u64,
    /// Bytes written for it, copies included.
    pub written_bytes: u64,
    /// Segments still to be rewritten.
    pub left: u64,
    /// Whether there is nothing more to do for now.
    pub done: bool,
}

/// One night's work.
pub(crate) struct Night {
    pace: Pace,
    stage: Stage,
    found: Found,
    recoder: Recoder,
    file: Vec<u8>,
    sum: Shrunk,
    /// [`SISTERS`] and [`SAVES`]; less in tests.
    sisters: usize,
    saves: u64,
}

enum Stage {
    Begin,
    Survey(Survey),
    Dictionaries(VecDeque<(u32, Vec<u64>)>),
    Rewrites(VecDeque<u32>),
    Over,
}

impl Night {
    /// A night that has not begun.
    pub(crate) fn new(pace: Pace) -> Night {
        let (found, recoder, sum) = (Found::default(), Recoder::default(), Shrunk::default());
        Night { pace, stage: Stage::Begin, found, recoder, file: Vec::new(), sum, sisters: SISTERS, saves: SAVES }
    }

    /// Makes a dictionary of the few bodies that a small test has, whether it pays or not.
    #[cfg(test)]
    pub(crate) fn eager(self) -> Night {
        // Below, zstd has nothing to learn from.
        const LEAST: usize = 8;
        Night { sisters: LEAST, saves: 0, ..self }
    }

    /// One step: a look at some records, one dictionary, or the rewriting of about one segment. Blocking, for seconds at most on
    /// a small machine. `done` in what it returns means that there is nothing more to do before something new comes in, or the
    /// day's budget is spent.
    ///
    /// # Errors
    /// `Disk`, `ReadOnly`; the night may go on all the same.
    pub(crate) fn step(&mut self, inner: &Inner) -> Result<Shrunk, Error> {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Begin => self.begin(inner)?,
            Stage::Survey(Survey::Done) => {
                self.sum.open_bytes = self.found.bytes;
                let mut members: Vec<(u32, Vec<u64>)> = std::mem::take(&mut self.found.members).into_iter().collect();
                members.retain(|(_, members)| members.len() >= self.sisters);
                members.sort_unstable_by_key(|(group, _)| *group);
                self.stage = Stage::Dictionaries(members.into());
            }
            Stage::Survey(mut survey) => {
                let room = self.room(inner);
                survey.step(inner, &mut self.found, &mut self.recoder, room, &self.file)?;
                self.stage = Stage::Survey(survey);
            }
            Stage::Dictionaries(mut left) => match left.pop_front() {
                Some((group, members)) => {
                    self.stage = Stage::Dictionaries(left);
                    self.dictionary(inner, group, &members)?;
                }
                None => self.stage = Stage::Rewrites(std::mem::take(&mut self.found.segments).into()),
            },
            Stage::Rewrites(left) if left.is_empty() => self.end(inner)?,
            Stage::Rewrites(left) => self.rewrite(inner, left)?,
            Stage::Over => {}
        }
        self.sum.done = matches!(self.stage, Stage::Over);
        Ok(self.sum)
    }

    /// Bodies are only tried as long as `permit` says so; what is left of a step is then copying.
    pub(crate) fn with_permit(mut self, permit: Permit) -> Night {
        self.recoder.permit = Some(permit);
        self
    }

    fn begin(&mut self, inner: &Inner) -> Result<(), Error> {
        if self.room(inner) == 0 {
            return Ok(());
        }
        // What is in the open segment, too.
        if self.pace == Pace::Now || is_still(inner) {
            inner.log.close()?;
        }
        self.file = read_file(inner, &sketches_path(inner), Sketches::FILE_MAX).unwrap_or_default();
        let (survey, found) = Survey::new(inner, self.pace == Pace::Now);
        self.found = found;
        self.stage = Stage::Survey(survey);
        Ok(())
    }

    /// Bytes that may still be written today.
    fn room(&self, inner: &Inner) -> u64 {
        match self.pace {
            Pace::Now => u64::MAX,
            Pace::Night => inner.settings.repack_daily.0.saturating_sub(Budget::read(inner).written),
        }
    }

    /// Trains a dictionary for a group, and keeps it when it pays.
    fn dictionary(&mut self, inner: &Inner, group: u32, members: &[u64]) -> Result<(), Error> {
        let Some(of) = self.recoder.groups.get(group as usize).cloned() else { return Ok(()) };
        let samples = samples(inner, members)?;
        if samples.len() < self.sisters {
            return Ok(());
        }
        let Some(bytes) = dict::train(&samples) else { return Ok(()) };
        let Some(number) = free_number(inner, &of.host, of.class) else { return Ok(()) };
        let (new, mut fresh, mut old) = (dict::record(number, &bytes)?, Dictionary::new(number, &bytes)?, newest(&inner.log, &of)?);
        let mut compressor = pack::compressor(pack::NIGHT_LEVEL)?;
        let (mut saved, mut tried) = (0, 0);
        for sample in spread(&samples, TRIED) {
            let plain = compressor.compress(sample)?.len();
            let before = old.as_mut().map(|old| old.encode(sample)).transpose()?.map_or(plain, |coded| coded.len().min(plain));
            saved += before.saturating_sub(fresh.encode(sample)?.len()) as u64;
            tried += 1;
        }
        let all = saved.saturating_mul(members.len() as u64) / u64::max(tried, 1);
        if all <= self.saves * (new.length() + HEADER) {
            return Ok(());
        }
        inner.log.dicts.forget(number);
        inner.log.append(&new, |_| {})?;
        // What is coded with it must never outlive it.
        inner.log.sync()?;
        self.sum.dictionaries += 1;
        self.sum.dictionary_bytes += new.length();
        self.wrote(inner, new.length())
    }

    /// Rewrites the next segments.
    fn rewrite(&mut self, inner: &Inner, mut left: VecDeque<u32>) -> Result<(), Error> {
        let sizes: std::collections::HashMap<u32, u64> =
            inner.log.segments().into_iter().map(|(number, segment)| (number, segment.bytes)).collect();
        let (mut sources, mut bytes) = (Vec::new(), 0_u64);
        while let Some(number) = left.front() {
            let size = sizes.get(number).copied().unwrap_or(0);
            if !sources.is_empty() && bytes + size > TOGETHER * inner.log.segment_size() {
                break;
            }
            bytes += size;
            sources.extend(left.pop_front());
        }
        self.sum.left = left.len() as u64;
        if bytes > self.room(inner) {
            return self.end(inner);
        }
        self.recoder.begin();
        let done = inner.rewrite(&sources, Some(&mut self.recoder));
        self.recoder.end(&inner.log);
        match done {
            Ok(done) => {
                self.stage = Stage::Rewrites(left);
                let tally = self.recoder.tally;
                (self.sum.tried, self.sum.before_bytes, self.sum.after_bytes) = (tally.tried, tally.before, tally.after);
                self.wrote(inner, done.written)
            }
            // No room for copies: whoever reclaims comes first.
            Err(Error::Full) => self.end(inner),
            Err(error) => {
                // The others may be in better health.
                self.stage = Stage::Rewrites(left);
                Err(error)
            }
        }
    }

    fn wrote(&mut self, inner: &Inner, bytes: u64) -> Result<(), Error> {
        self.sum.written_bytes += bytes;
        match self.pace {
            Pace::Now => Ok(()),
            Pace::Night => Budget::read(inner).and(bytes).write(inner),
        }
    }

    /// Keeps the sketches for the next night.
    fn end(&mut self, inner: &Inner) -> Result<(), Error> {
        self.stage = Stage::Over;
        let sketches = std::mem::take(&mut self.recoder).sketches;
        if sketches.len() == 0 {
            return Ok(());
        }
        let bytes = sketches.encode(|print| inner.log.table().read().blob(&short(print)).is_some_and(|blob| blob.refs > 0));
        write_file(inner, &sketches_path(inner), &bytes)
    }
}

/// Whether the open segment has rested long enough and holds text enough to be sealed.
fn is_still(inner: &Inner) -> bool {
    let open = inner.log.open_segments().into_iter().find(|(lane, ..)| *lane == Lane::Main);
    let Some((.., lines)) = open else { return false };
    let text: u64 = lines.iter().filter(|line| is_open_text(line)).map(|line| line.length).sum();
    let last = lines.iter().map(|line| line.time).max().unwrap_or(0);
    inner.now().since(Time::from_micros(last)) >= STILL_FOR && text.saturating_mul(STILL_SHARE) >= inner.log.segment_size()
}

/// Bodies to train from, spread over all.
fn samples(inner: &Inner, members: &[u64]) -> Result<Vec<Bytes>, Error> {
    let average = usize::try_from(dict::OBJECT_MAX).unwrap_or(usize::MAX) / 4;
    let (mut samples, mut bytes) = (Vec::new(), 0);
    for print in spread(members, SAMPLES / average.max(1)) {
        let sample = small(inner, *print)?;
        bytes += sample.as_ref().map_or(0, Bytes::len);
        if bytes > SAMPLES {
            break;
        }
        samples.extend(sample);
    }
    Ok(samples)
}

/// At most `most` of them, evenly.
fn spread<T>(all: &[T], most: usize) -> impl Iterator<Item = &T> {
    all.iter().step_by(all.len().div_ceil(most.max(1)).max(1))
}

/// A small body as it is now; `None` when it is gone or damaged.
fn small(inner: &Inner, print: u64) -> io::Result<Option<Bytes>> {
    let place = inner.log.table().read().blob(&short(print)).map(|blob| blob.place);
    let Some(place) = place else { return Ok(None) };
    match delta::name_at(&inner.log, place, print)? {
        Some(name) => match Source::blob(&inner.log, place, &name)?.filter(|source| source.length() <= dict::OBJECT_MAX) {
            Some(source) => crate::store::read::all(source, &name),
            None => Ok(None),
        },
        None => Ok(None),
    }
}

/// The number for a new dictionary: above those that there are, so that an old one is never mistaken for a new one.
fn free_number(inner: &Inner, host: &str, class: dict::Class) -> Option<u32> {
    let table = inner.log.table().read();
    let numbers: Vec<u32> = dict::numbers(host, class).collect();
    let above = numbers.iter().rposition(|number| table.dict(*number).is_some()).map_or(0, |at| at + 1);
    numbers.get(above).copied()
}

/// What was written on a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Budget {
    day: i64,
    written: u64,
}

impl Budget {
    /// Of today. A file that cannot be read is another day's.
    fn read(inner: &Inner) -> Budget {
        let day = inner.log.now().secs().div_euclid(DAY);
        let note = read_file(inner, &budget_path(inner), BUDGET_MAX).unwrap_or_default();
        note::open(&note).and_then(Budget::parse).filter(|budget| budget.day == day).unwrap_or(Budget { day, written: 0 })
    }

    fn parse(text: &str) -> Option<Budget> {
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        Some(Budget { day: value("day ")?.parse().ok()?, written: value("written ")?.parse().ok()? })
    }

    fn and(self, bytes: u64) -> Budget {
        Budget { written: self.written.saturating_add(bytes), ..self }
    }

    fn write(self, inner: &Inner) -> Result<(), Error> {
        let note = note::seal(&format!("day {}\nwritten {}\n", self.day, self.written));
        write_file(inner, &budget_path(inner), note.as_bytes())
    }
}

/// Whether the file of the budget reads as it was written.
pub(crate) fn is_budget(file: &[u8]) -> bool {
    note::open(file).and_then(Budget::parse).is_some()
}

fn budget_path(inner: &Inner) -> std::path::PathBuf {
    inner.settings.path.join(BUDGET)
}

fn sketches_path(inner: &Inner) -> std::path::PathBuf {
    inner.settings.path.join(SKETCHES)
}

fn read_file(inner: &Inner, path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = inner.disk.open(path, false)?;
    let length = file.length()?.min(most);
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Replaces a small file; after a power cut there is the old one or the new.
fn write_file(inner: &Inner, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let temporary = path.with_extension("tmp");
    // Left by a write that was cut short.
    let _ = inner.disk.remove(&temporary);
    let written = (|| {
        let file = inner.disk.create(&temporary)?;
        file.write_at(bytes, 0)?;
        file.sync()?;
        inner.disk.rename(&temporary, path)?;
        inner.disk.sync_dir(&inner.settings.path)
    })();
    written.map_err(|error| inner.gate.note(error))
}
