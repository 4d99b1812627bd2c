//! The survey: of records that are dead, which still hide an older one of their key in another segment? All footers are read, one
//! at a time.
//!
//! # Why
//! An answer hides what is older even when its body has gone since, but a start believes that only of a segment that was sealed in
//! its time: in one that was open when the power failed, an answer without its body was perhaps cut short, and what it was to
//! replace is still what was promised. So when a body goes, the answers out of use that lead to it from such segments are asked
//! for, too.

use crate::store::record::{Codec, Kind, Line};
use crate::store::rewrite::AT_ONCE;
use crate::store::segment::{Lane, Log};
use crate::store::{Error, Inner};
use std::collections::{HashMap, HashSet};

/// What a record hides.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Hides {
    /// Answers and parts of one entry.
    Entry([u8; 32]),
    /// All of a URL, its pins too.
    Url([u8; 16]),
    /// A pin.
    Pin([u8; 16], u64),
    /// The pins of a set.
    Set(u64),
}

impl Hides {
    fn of(line: &Line) -> Option<Hides> {
        match line.kind {
            Kind::Tomb if line.entry() == [0; 16] => Some(Hides::Url(line.url().0)),
            Kind::Meta | Kind::Tomb => Some(Hides::Entry(line.key)),
            Kind::Unpin if line.url().0 == [0; 16] => Some(Hides::Set(line.link)),
            Kind::Unpin => Some(Hides::Pin(line.url().0, line.link)),
            Kind::Blob | Kind::Part | Kind::Pin | Kind::Dict | Kind::Footer => None,
        }
    }
}

/// The segment of a record that stays where it is: it may hide what stands beside it.
const STAYS: u32 = u32::MAX;

impl Inner {
    /// Asks for the answers out of use that lead to these bodies, by fingerprint, from segments other than `sources` that a start
    /// may take for cut short.
    pub(super) fn ask_for_led(&self, gone: &HashSet<u64>, sources: &[u32], survey: &mut Survey) -> Result<(), Error> {
        if gone.is_empty() {
            return Ok(());
        }
        for (number, segment) in self.log.segments() {
            if segment.lane != Lane::Main || sources.contains(&number) || self.log.is_sound(number, &segment)? {
                continue;
            }
            // What cannot be read now must not keep all others from going: a start reads as much of it.
            for some in self.log.lines_around(number)?.chunks(AT_ONCE) {
                let table = self.log.table().read();
                // A newer answer under its key hides all that is older.
                let led = |line: &&Line| line.kind == Kind::Meta && gone.contains(&line.link);
                let dead = |line: &&Line| table.entry(&line.url(), &line.entry()).is_none();
                some.iter().filter(led).filter(dead).for_each(|line| survey.ask(*line, STAYS));
            }
        }
        Ok(())
    }
}

/// Questions to be answered together.
#[derive(Default)]
pub(super) struct Survey {
    asked: Vec<(Line, u32)>,
    by: HashMap<Hides, Vec<usize>>,
    /// Dictionaries by number.
    dicts: HashMap<u64, Vec<usize>>,
    /// The newest seq that was asked for: segments that begin later hold nothing older.
    newest: u64,
}

impl Survey {
    /// Asks for a dead record of segment `from`.
    pub(super) fn ask(&mut self, line: Line, from: u32) {
        let number = self.asked.len();
        match Hides::of(&line) {
            Some(hides) => {
                self.by.entry(hides).or_default().push(number);
                self.newest = self.newest.max(line.seq);
            }
            None if line.kind == Kind::Dict => self.dicts.entry(line.link).or_default().push(number),
            None => return,
        }
        self.asked.push((line, from));
    }

    /// Those that are still needed.
    pub(super) fn answer(self, log: &Log) -> Vec<(Line, u32)> {
        if self.asked.is_empty() {
            return Vec::new();
        }
        let mut needed: HashSet<usize> = HashSet::new();
        for (number, _) in log.segments() {
            if self.dicts.is_empty() && log.first_seq(number).is_ok_and(|first| first >= self.newest) {
                continue;
            }
            match log.lines(number) {
                Ok(lines) => lines.iter().for_each(|line| self.look(line, number, &mut needed)),
                Err(error) => {
                    // Whatever it holds must stay hidden.
                    tracing::warn!(segment = number, %error, "a segment cannot be read now");
                    return self.asked;
                }
            }
        }
        self.asked.into_iter().enumerate().filter(|(number, _)| needed.contains(number)).map(|(_, asked)| asked).collect()
    }

    fn look(&self, line: &Line, segment: u32, needed: &mut HashSet<usize>) {
        let mut see = |hides: Hides| {
            for number in self.by.get(&hides).into_iter().flatten() {
                let (asked, from) = &self.asked[*number];
                if *from != segment && line.seq < asked.seq {
                    needed.insert(*number);
                }
            }
        };
        match line.kind {
            Kind::Meta | Kind::Part => {
                see(Hides::Entry(line.key));
                see(Hides::Url(line.url().0));
            }
            Kind::Pin => {
                see(Hides::Url(line.url().0));
                see(Hides::Pin(line.url().0, line.link));
                see(Hides::Set(line.link));
            }
            Kind::Blob if line.codec == Codec::Dict => needed.extend(self.dicts.get(&line.link).into_iter().flatten()),
            Kind::Blob | Kind::Unpin | Kind::Tomb | Kind::Dict | Kind::Footer => {}
        }
    }
}
