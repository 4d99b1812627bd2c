//! Exact figures of what is stored, from the footers and, by host, type and pack, from the METAs: for a person who asks, in steps of
//! one segment. The status page has the table's cheap counters instead.
//!
//! # Why
//! A body that several hosts share counts whole with each of them: "what does this site take" is the question. So rows may sum to
//! more than the whole, which counts each body once.

use crate::base::clock::Time;
use crate::store::meta::Kept;
use crate::store::record::{self, Codec, Kind, Line, SegmentHeader};
use crate::store::recover::{self, Found};
use crate::store::table::Place;
use crate::store::{Error, Inner, meta};
use http::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::io;

/// Rows in the result; the smallest are summed up in one.
const ROWS: usize = 1000;
/// Groups told apart while counting: hosts beyond are counted together, so that a wild crawl does not fill the memory.
const GROUPS: usize = 50_000;
/// Lines looked up in the table under one lock.
const BATCH: usize = 4096;
/// What the last row is called.
const OTHERS: &str = "(others)";
/// What no pack keeps.
const NO_PACK: &str = "(no pack)";

/// By what the rows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The pack that keeps it.
    Pack,
    /// How the body is coded at rest.
    Codec,
    /// The segment's file.
    Segment,
    /// The host of the address.
    Host,
    /// The media type.
    Type,
}

/// Bytes that were not written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spared {
    /// By keeping equal bodies once.
    pub dedup_bytes: u64,
    /// By zstd alone.
    pub zstd_bytes: u64,
    /// By zstd with a dictionary, the dictionaries taken off.
    pub dict_bytes: u64,
    /// By zstd against an older version.
    pub delta_bytes: u64,
}

/// One row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Host, type, pack, codec, or the segment's file.
    pub name: String,
    /// Stored answers.
    pub answers: u64,
    /// Distinct bodies.
    pub objects: u64,
    /// Decoded bytes over all answers.
    pub raw_bytes: u64,
    /// Decoded bytes over distinct bodies.
    pub decoded_bytes: u64,
    /// What these bodies take on disk.
    pub stored_bytes: u64,
    /// Of a segment alone.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<Segment>,
}

/// How a segment is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Closed with a footer.
    pub sealed: bool,
    /// When it was made (RFC 3339).
    pub made: String,
    /// Since then.
    pub age_seconds: u64,
    /// Bytes of records that are of use.
    pub live_bytes: u64,
    /// The rest, but for header and footer.
    pub dead_bytes: u64,
}

/// Exact figures.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Survey {
    /// Stored answers.
    pub answers: u64,
    /// Those of them of which only a part is here.
    pub partial_answers: u64,
    /// Distinct bodies that an answer leads to.
    pub objects: u64,
    /// Decoded bytes over all answers: what plain files would take.
    pub raw_bytes: u64,
    /// Decoded bytes over distinct bodies.
    pub decoded_bytes: u64,
    /// What the bodies take on disk.
    pub stored_bytes: u64,
    /// Bytes of all segments, live and dead.
    pub disk_bytes: u64,
    /// Bytes of dictionaries.
    pub dictionary_bytes: u64,
    /// What was not written.
    pub spared: Spared,
    /// By what the rows are; `None`: no rows.
    pub by: Option<By>,
    /// The largest first.
    pub rows: Vec<Row>,
    /// How many rows the last one sums up.
    pub others: u64,
}

/// A survey under way.
pub(crate) struct Work {
    by: Option<By>,
    now: Time,
    survey: Survey,
    codecs: [(u64, u64, u64); Codec::ALL.len()],
    groups: HashMap<String, usize>,
    rows: Vec<Row>,
    /// Bodies counted in a group.
    seen: HashSet<(u32, u64)>,
    /// Names of sets by number.
    sets: HashMap<u64, String>,
}

impl Work {
    /// Nothing counted yet.
    pub(crate) fn new(by: Option<By>, now: Time) -> Work {
        Work {
            by,
            now,
            survey: Survey::default(),
            codecs: Default::default(),
            groups: HashMap::new(),
            rows: Vec::new(),
            seen: HashSet::new(),
            sets: HashMap::new(),
        }
    }

    fn group(&mut self, name: &str) -> usize {
        let name = if self.groups.len() >= GROUPS && !self.groups.contains_key(name) { OTHERS } else { name };
        if let Some(at) = self.groups.get(name) {
            return *at;
        }
        self.rows.push(Row { name: name.to_owned(), ..Row::default() });
        self.groups.insert(name.to_owned(), self.rows.len() - 1);
        self.rows.len() - 1
    }

    /// The figures.
    pub(crate) fn finish(mut self) -> Survey {
        let (mut out, of) = (self.survey, |codec: Codec| self.codecs[codec as usize]);
        let spared = |codec: Codec| of(codec).1.saturating_sub(of(codec).2);
        out.spared = Spared {
            dedup_bytes: out.raw_bytes.saturating_sub(out.decoded_bytes),
            zstd_bytes: spared(Codec::Zstd) + spared(Codec::Frames),
            dict_bytes: spared(Codec::Dict).saturating_sub(out.dictionary_bytes),
            delta_bytes: spared(Codec::Delta),
        };
        out.by = self.by;
        if self.by == Some(By::Codec) {
            let rows = Codec::ALL.into_iter().map(|codec| {
                let (objects, decoded_bytes, stored_bytes) = of(codec);
                Row { name: codec.name().to_owned(), objects, decoded_bytes, stored_bytes, ..Row::default() }
            });
            self.rows = rows.collect();
        } else if self.by != Some(By::Segment) {
            self.rows.sort_by(|a, b| b.stored_bytes.cmp(&a.stored_bytes).then_with(|| a.name.cmp(&b.name)));
        }
        if self.by.is_some_and(|by| by == By::Pack) {
            for row in &mut self.rows {
                // A set whose PIN could not be read keeps its number.
                let named = row.name.parse().ok().and_then(|number: u64| self.sets.get(&number));
                row.name = named.cloned().unwrap_or_else(|| row.name.clone());
            }
        }
        if self.rows.len() > ROWS && self.by != Some(By::Segment) {
            let rest = self.rows.split_off(ROWS - 1);
            out.others = rest.len() as u64;
            self.rows.push(rest.into_iter().fold(Row { name: OTHERS.to_owned(), ..Row::default() }, |sum, row| Row {
                answers: sum.answers + row.answers,
                objects: sum.objects + row.objects,
                raw_bytes: sum.raw_bytes + row.raw_bytes,
                decoded_bytes: sum.decoded_bytes + row.decoded_bytes,
                stored_bytes: sum.stored_bytes + row.stored_bytes,
                ..sum
            }));
        }
        out.rows = self.rows;
        out
    }
}

/// A segment to look at, and its lines when it is being written.
pub(crate) struct Stop {
    pub(crate) found: Found,
    lines: Option<Vec<Line>>,
}

impl Inner {
    /// The segments as they are now.
    pub(crate) fn survey_stops(&self) -> Result<Vec<Stop>, Error> {
        let mut open = self.log.open_segments();
        let stops = recover::segments(&*self.disk, self.log.folder())?.into_iter().map(|found| {
            let lines = open.iter().position(|now| now.1 == found.number).map(|at| open.swap_remove(at));
            match lines {
                Some((_, _, length, lines)) => Stop { found: Found { length, ..found }, lines: Some(lines) },
                None => Stop { found, lines: None },
            }
        });
        Ok(stops.collect())
    }

    /// Counts one segment. One that has gone meanwhile is passed by.
    pub(crate) fn survey_step(&self, mut work: Work, stop: &Stop) -> Result<Work, Error> {
        let file = match self.disk.open(&stop.found.path, false).or_else(|_| self.log.file(stop.found.number)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(work),
            file => file?,
        };
        let mut lines = match &stop.lines {
            Some(lines) => lines.clone(),
            None => {
                if let Some(lines) = if stop.found.sealed { recover::footer(&*file, stop.found.length) } else { None } {
                    lines
                } else {
                    let mut lines = Vec::new();
                    recover::scan_around(&*file, stop.found.length, self.log.uuid(), |line, _, holds, _| {
                        lines.extend(holds.then_some(line));
                    })?;
                    lines
                }
            }
        };
        lines.sort_unstable_by_key(|line| line.at);
        work.survey.disk_bytes += stop.found.length;
        let end = if stop.found.sealed { footer_at(stop.found.length, lines.len()) } else { stop.found.length };
        let mut about = Row::default();
        let (mut live_bytes, mut metas) = (0, Vec::new());
        for (at, batch) in lines.chunks(BATCH).enumerate() {
            let table = self.log.table().read();
            for (n, line) in batch.iter().enumerate() {
                let next = lines.get(at * BATCH + n + 1).map_or(end, |next| next.at);
                // What TOMB, UNPIN and DICT are good for depends on other segments.
                let kept = matches!(line.kind, Kind::Tomb | Kind::Unpin | Kind::Dict);
                if !kept && !table.is_live(line, stop.found.number) {
                    continue;
                }
                live_bytes += next.saturating_sub(line.at);
                work.count(line, &mut about);
                if matches!(line.kind, Kind::Meta | Kind::Pin) {
                    metas.push(*line);
                }
            }
        }
        match work.by {
            Some(By::Segment) => {
                let dead_bytes = end.saturating_sub(record::SEGMENT_HEADER).saturating_sub(live_bytes);
                let mut head = [0; record::SEGMENT_HEADER_BYTES];
                let made = file.read_at(&mut head, 0).ok().and_then(|()| SegmentHeader::decode(&head).ok());
                let made = made.map_or(Time::from_secs(0), |head| Time::from_micros(head.made));
                let name = stop.found.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let age_seconds = work.now.since(made).as_secs();
                let segment = Segment { sealed: stop.found.sealed, made: made.to_rfc3339(), age_seconds, live_bytes, dead_bytes };
                work.rows.push(Row { name, segment: Some(segment), ..about });
            }
            Some(By::Host | By::Type | By::Pack) => {
                for line in metas {
                    self.survey_answer(&mut work, &line, stop.found.number)?;
                }
            }
            Some(By::Codec) | None => {}
        }
        Ok(work)
    }

    fn survey_answer(&self, work: &mut Work, line: &Line, segment: u32) -> Result<(), Error> {
        let place = Place { segment, at: line.at };
        if line.kind == Kind::Pin {
            if work.by == Some(By::Pack)
                && !work.sets.contains_key(&line.link)
                && let Ok(Some((_, payload))) = self.log.small(place, Kind::Pin)
                && let Some(name) = record::decode_pin_name(&payload)
            {
                work.sets.insert(line.link, name.to_owned());
            }
            return Ok(());
        }
        let Some((_, kept)) = self.kept(place)? else { return Ok(()) };
        let blob = kept.object.and_then(|object| self.log.table().read().blob(&object).map(|blob| (object, blob.place)));
        // The record says its true length; one that has moved meanwhile counts with what it was.
        let stored = match blob {
            Some((_, place)) => self.log.header(place, Kind::Blob).ok().flatten().map_or(0, |(header, _)| header.length),
            None => 0,
        };
        let names = match work.by {
            Some(By::Host) => vec![meta::host(&kept.meta.url)],
            Some(By::Type) => vec![media_type(&kept)],
            _ => match self.log.table().read().sets_of(&line.url()) {
                none if none.is_empty() => vec![NO_PACK.to_owned()],
                sets => sets.into_iter().map(|set| set.to_string()).collect(),
            },
        };
        for name in names {
            let at = work.group(&name);
            let new = blob.is_some() && work.seen.insert((u32::try_from(at).unwrap_or(u32::MAX), line.link));
            let row = &mut work.rows[at];
            row.answers += 1;
            row.raw_bytes += if blob.is_some() { kept.length } else { 0 };
            if new {
                row.objects += 1;
                row.decoded_bytes += kept.length;
                row.stored_bytes += stored;
            }
        }
        Ok(())
    }
}

impl Work {
    fn count(&mut self, line: &Line, about: &mut Row) {
        let all = &mut self.survey;
        match line.kind {
            Kind::Blob => {
                let codec = &mut self.codecs[line.codec as usize];
                *codec = (codec.0 + 1, codec.1 + line.whole, codec.2 + line.length);
                (all.objects, about.objects) = (all.objects + 1, about.objects + 1);
                (all.decoded_bytes, about.decoded_bytes) = (all.decoded_bytes + line.whole, about.decoded_bytes + line.whole);
                (all.stored_bytes, about.stored_bytes) = (all.stored_bytes + line.length, about.stored_bytes + line.length);
            }
            Kind::Meta => {
                (all.answers, about.answers) = (all.answers + 1, about.answers + 1);
                if line.link == 0 {
                    all.partial_answers += 1;
                } else {
                    (all.raw_bytes, about.raw_bytes) = (all.raw_bytes + line.whole, about.raw_bytes + line.whole);
                }
            }
            Kind::Dict => all.dictionary_bytes += line.length,
            Kind::Pin | Kind::Unpin | Kind::Tomb | Kind::Part | Kind::Footer => {}
        }
    }
}

fn footer_at(length: u64, lines: usize) -> u64 {
    length.saturating_sub(record::HEADER + (lines * record::ENTRY + record::TRAILER) as u64)
}

fn media_type(kept: &Kept) -> String {
    let value = kept.meta.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let name = value.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    if name.is_empty() { "(none)".to_owned() } else { name }
}
