//! Rewriting: what is alive in sealed segments is copied into a new one, in the order of seq; then the table leads to the copies,
//! and the old segments leave the disk. A hook may give a body another form on the way (`Recode`).
//!
//! # Why
//! A start reads every record that is on disk, and the newest of a key wins. So before a record is dropped that hid older ones
//! of its key (a TOMB, an UNPIN, an answer that was evicted without a trace) all footers are asked whether such an older one still
//! stands in another segment; while it does, a TOMB keeps its place. And whatever made a record useless is on the medium before
//! the record goes.

/// What still hides something older.
mod survey;

use crate::base::digest::Digest;
use crate::store::index::{Change, host_number};
use crate::store::meta;
use crate::store::record::{self, Kind, Line, fingerprint};
use crate::store::rewrite::survey::Survey;
use crate::store::segment::{Lane, New, Output, Written, weight};
use crate::store::table::Place;
use crate::store::{Error, Inner};
use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::atomic::Ordering;

/// Records looked at or moved under one lock of the table: some tens of microseconds.
const AT_ONCE: usize = 256;

/// Gives bodies another form while they are copied.
pub(crate) trait Recode {
    /// The body `object` of the record `line` in a better form; `None`: copy it as it is.
    fn recode(&mut self, line: &Line, object: &Digest, inner: &Inner) -> Result<Option<New>, Error>;
}

/// What a rewrite came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Done {
    /// Bytes of the new segments.
    pub(crate) written: u64,
    /// Bytes of the old ones.
    pub(crate) removed: u64,
    /// The new segments.
    pub(crate) outputs: Vec<u32>,
}

/// A record that goes on, and the segment that it comes from.
#[derive(Clone, Copy)]
struct Kept {
    line: Line,
    from: u32,
    /// Only a TOMB in its place.
    tomb: bool,
}

impl Inner {
    /// Rewrites sealed segments of one lane. Blocking; one rewrite at a time.
    ///
    /// # Errors
    /// `Full` when there is no room for the copies, `Disk`, `ReadOnly`; the old segments are then as they were.
    pub(crate) fn rewrite(&self, sources: &[u32], recode: Option<&mut dyn Recode>) -> Result<Done, Error> {
        let _one = self.rewriting.lock();
        self.rewrite_alone(sources, recode)
    }

    /// As [`Inner::rewrite`], by whoever holds that lock.
    pub(crate) fn rewrite_alone(&self, sources: &[u32], recode: Option<&mut dyn Recode>) -> Result<Done, Error> {
        self.gate.writable()?;
        let log = &self.log;
        let known: HashMap<u32, Lane> = log.segments().into_iter().map(|(number, segment)| (number, segment.lane)).collect();
        let Some(lane) = sources.first().and_then(|number| known.get(number)).copied() else { return Ok(Done::default()) };
        let sources: Vec<u32> = sources.iter().copied().filter(|number| known.get(number) == Some(&lane)).collect();
        let mut kept = self.choose(&sources, recode.is_some())?;
        kept.sort_by_key(|kept| kept.line.seq);
        let _room = self.reserve_for_copies(kept.iter().map(|kept| weight(&kept.line) + record::ENTRY as u64).sum())?;
        let mut work = Work { inner: self, lane, outputs: Vec::new(), moved: Vec::new() };
        // The survey took what was removed for gone.
        let done = work.copy(&kept, recode).and_then(|()| work.seal()).and_then(|()| log.sync()).and_then(|()| log.settle_removed());
        if let Err(error) = done {
            work.outputs.iter().for_each(|out| log.give_up(out));
            return Err(error);
        }
        self.publish(&work, &sources)
    }

    /// What goes on. Bodies to which nothing leads are forgotten here, under the table's lock: nobody can count on them later.
    fn choose(&self, sources: &[u32], all_dicts: bool) -> Result<Vec<Kept>, Error> {
        let (mut kept, mut survey, mut gone) = (Vec::new(), Survey::default(), HashSet::new());
        for from in sources.iter().copied() {
            let lines = self.log.lines(from)?;
            let mut hidden = HashSet::new();
            // From the newest: of several that hide the same, one is enough.
            for some in lines.rchunks(AT_ONCE) {
                let mut table = self.log.table().write();
                for line in some.iter().rev() {
                    if table.is_live(line, from) || line.kind == Kind::Dict && all_dicts {
                        kept.push(Kept { line: *line, from, tomb: false });
                        continue;
                    }
                    match line.kind {
                        Kind::Blob => {
                            table.drop_dead(&Digest(line.key), Place { segment: from, at: line.at });
                            gone.extend(table.blob(&Digest(line.key)).is_none().then(|| fingerprint(&line.key)));
                        }
                        // A newer answer under its key hides all that is older.
                        Kind::Meta if table.entry(&line.url(), &line.entry()).is_some() => {}
                        Kind::Meta | Kind::Tomb | Kind::Unpin | Kind::Dict => {
                            if hidden.insert((line.kind == Kind::Unpin, line.key, if line.kind == Kind::Meta { 0 } else { line.link })) {
                                survey.ask(*line, from);
                            }
                        }
                        Kind::Part | Kind::Pin | Kind::Footer => {}
                    }
                }
            }
        }
        self.ask_for_led(&gone, sources, &mut survey)?;
        let needed = survey.answer(&self.log);
        kept.extend(needed.into_iter().map(|(line, from)| Kept { line, from, tomb: line.kind == Kind::Meta }));
        Ok(kept)
    }

    /// Large bodies of no more use are about to go with their segments: what only they kept from coming back stays hidden.
    ///
    /// # Errors
    /// `Full` when there is no room for that, `Disk`, `ReadOnly`: then they must stay.
    pub(crate) fn keep_hidden(&self, unused: &[(u32, Digest)]) -> Result<(), Error> {
        let mut survey = Survey::default();
        let (numbers, gone): (Vec<u32>, HashSet<u64>) = unused.iter().map(|(number, object)| (*number, fingerprint(&object.0))).unzip();
        self.ask_for_led(&gone, &numbers, &mut survey)?;
        let mut kept: Vec<Kept> = survey.answer(&self.log).into_iter().map(|(line, from)| Kept { line, from, tomb: true }).collect();
        if kept.is_empty() {
            return Ok(());
        }
        kept.sort_by_key(|kept| kept.line.seq);
        let _room = self.reserve_for_copies(kept.iter().map(|kept| weight(&kept.line) + record::ENTRY as u64).sum())?;
        let mut work = Work { inner: self, lane: Lane::Main, outputs: Vec::new(), moved: Vec::new() };
        let done = work.copy(&kept, None).and_then(|()| work.seal());
        work.outputs.iter().for_each(|out| if done.is_ok() { self.log.settle(out.number()) } else { self.log.give_up(out) });
        done
    }

    /// Lets the table lead to the copies and removes the old segments.
    fn publish(&self, work: &Work<'_>, sources: &[u32]) -> Result<Done, Error> {
        let mut done = Done { outputs: work.outputs.iter().map(Output::number).collect(), ..Done::default() };
        let _still = self.moves.write();
        for some in work.moved.chunks(AT_ONCE) {
            let mut table = self.log.table().write();
            let there = some.iter().filter(|moved| table.relocate(&moved.old, moved.from, &moved.new, moved.to));
            let hosts: Vec<Change> = there
                .filter_map(|moved| Some(Change { host: moved.host?, place: Place { segment: moved.to, at: moved.new.at } }))
                .collect();
            drop(table);
            for change in hosts {
                self.index().push(change);
            }
        }
        work.outputs.iter().for_each(|out| self.log.settle(out.number()));
        let sizes: HashMap<u32, u64> = self.log.segments().into_iter().map(|(number, segment)| (number, segment.bytes)).collect();
        // Whom the hand has spared in this round it does not judge again in it.
        let lap = self.log.segments().into_iter().filter(|(number, _)| sources.contains(number)).map(|(_, segment)| segment.lap).max();
        work.outputs.iter().for_each(|out| self.log.lapped(out.number(), lap.unwrap_or(0)));
        let size = |number: &u32| sizes.get(number).copied().unwrap_or(0);
        done.written = work.outputs.iter().map(|out| size(&out.number())).sum();
        for number in sources {
            self.log.unlink(*number)?;
            done.removed += size(number);
        }
        self.meters.reclaimed.inc_by(done.removed.saturating_sub(done.written));
        Ok(done)
    }

    /// A record that does not verify: a miss from now on, if it is in use there.
    pub(crate) fn lose_record(&self, line: &Line, segment: u32) {
        let place = Place { segment, at: line.at };
        if !self.log.table().read().is_live(line, segment) {
            return;
        }
        if line.kind != Kind::Blob {
            self.damaged.fetch_add(1, Ordering::Relaxed);
            self.meters.corrupt.inc();
            tracing::warn!(segment, at = line.at, kind = ?line.kind, "a stored record did not verify and is dropped");
        }
        match line.kind {
            Kind::Blob => {
                self.drop_body(&Digest(line.key), place);
            }
            Kind::Meta => {
                self.log.table().write().drop_entry(place);
                self.hot.remove(&line.url());
            }
            Kind::Part => {
                self.log.table().write().drop_parts(&line.entry());
                self.hot.remove(&line.url());
            }
            Kind::Pin | Kind::Unpin | Kind::Tomb | Kind::Dict | Kind::Footer => {}
        }
    }
}

/// A record in its new place.
struct Moved {
    old: Line,
    from: u32,
    new: Line,
    to: u32,
    /// The number of an answer's host.
    host: Option<u64>,
}

struct Work<'i> {
    inner: &'i Inner,
    lane: Lane,
    outputs: Vec<Output>,
    moved: Vec<Moved>,
}

impl Work<'_> {
    fn copy(&mut self, kept: &[Kept], mut recode: Option<&mut (dyn Recode + '_)>) -> Result<(), Error> {
        for kept in kept {
            let wanted = match &mut recode {
                Some(recode) if kept.line.kind == Kind::Blob => match recode.recode(&kept.line, &Digest(kept.line.key), self.inner) {
                    // Copying will see whether it is.
                    Err(Error::Damaged) => None,
                    done => done?,
                },
                _ => None,
            };
            self.one(kept, wanted.as_ref()).map_err(|error| self.inner.gate.note(error))?;
        }
        Ok(())
    }

    fn one(&mut self, kept: &Kept, wanted: Option<&New>) -> io::Result<()> {
        let (log, line) = (&self.inner.log, &kept.line);
        if self.outputs.last().is_none_or(|out| log.is_over(out, line)) {
            self.outputs.push(log.output(self.lane)?);
        }
        let Some(out) = self.outputs.last_mut() else { return Ok(()) };
        if kept.tomb {
            log.put(&tomb(line), line.seq, out, Written::Rewrite)?;
            return Ok(());
        }
        let (new, host) = if let Some(new) = wanted {
            (log.put(new, line.seq, out, Written::Repack)?, None)
        } else if let Some((new, payload)) = log.copy(&*log.file(kept.from)?, line, out)? {
            let host = if line.kind == Kind::Meta { payload.and_then(|payload| host(&payload)) } else { None };
            (new, host)
        } else {
            self.inner.lose_record(line, kept.from);
            let Some(anew) = anew(line) else { return Ok(()) };
            let new = log.put(&anew, line.seq, out, Written::Rewrite)?;
            if line.kind != Kind::Pin {
                return Ok(());
            }
            // What the table leads to, as if it had been copied.
            (new, None)
        };
        self.moved.push(Moved { old: *line, from: kept.from, new, to: out.number(), host });
        Ok(())
    }

    fn seal(&mut self) -> Result<(), Error> {
        for out in &self.outputs {
            self.inner.log.seal_output(out).map_err(|error| self.inner.gate.note(error))?;
        }
        Ok(())
    }
}

fn host(payload: &[u8]) -> Option<u64> {
    meta::decode(payload).map(|kept| host_number(&meta::host(&kept.meta.url)))
}

/// Hides what an answer hid that is no longer there.
fn tomb(line: &Line) -> New {
    New::small(Kind::Tomb, line.key, line.key, 0, 0, Vec::new())
}

/// What can be said again from the footer's line alone, where the record itself is damaged; an answer leaves a TOMB.
fn anew(line: &Line) -> Option<New> {
    match line.kind {
        Kind::Meta | Kind::Tomb => Some(tomb(line)),
        // The set's name is lost, its number is what counts.
        Kind::Pin | Kind::Unpin => {
            Some(New::small(line.kind, line.key, line.key, 0, line.link, record::encode_pin(&line.url(), line.link, "")))
        }
        Kind::Blob | Kind::Part | Kind::Dict | Kind::Footer => None,
    }
}
