//! What was evicted is in the table no more, but its META stands on disk until its segment is rewritten, and a crash before that
//! would bring it back. So whoever purges by host or object buries that, too: each gets a TOMB of its own.

use crate::store::meta::Kept;
use crate::store::record::{Kind, Line, pair};
use crate::store::segment::Lane;
use crate::store::table::Place;
use crate::store::{Error, Inner};
use std::collections::HashMap;
use std::io;

impl Inner {
    /// Buries the answers that only the disk still knows, if the footer's line `may` be one of them and what was kept `is`. What
    /// cannot be read now is buried as well: it was evicted anyway.
    pub(super) fn bury_dead(&self, may: impl Fn(&Line) -> bool, is: impl Fn(&Kept) -> bool) -> Result<(), Error> {
        let mut tombs: HashMap<[u8; 32], u64> = HashMap::new();
        self.each_segment(|_, lines| {
            for line in lines.iter().filter(|line| line.kind == Kind::Tomb) {
                let newest = tombs.entry(line.key).or_default();
                *newest = line.seq.max(*newest);
            }
            Ok(())
        })?;
        self.each_segment(|segment, lines| {
            for line in lines.iter().filter(|line| line.kind == Kind::Meta && may(line)) {
                let (url, entry) = (line.url(), line.entry());
                let hidden = [line.key, pair(&url, &[])].iter().any(|key| tombs.get(key).is_some_and(|tomb| *tomb > line.seq));
                // A newer answer hides it as well.
                let lives = || self.log.table().read().entry(&url, &entry).is_some();
                if hidden || lives() || !self.kept(Place { segment, at: line.at }).map_or(true, |kept| kept.is_some_and(|kept| is(&kept.1)))
                {
                    continue;
                }
                let _stripe = self.stripe(&url);
                if !lives() {
                    self.hot.remove(&url);
                    self.entomb(&url, &entry)?;
                    tombs.insert(line.key, u64::MAX);
                }
            }
            Ok(())
        })
    }

    /// Gives the lines of every segment with answers, one at a time. What is moved meanwhile goes into a segment of a higher number,
    /// which comes later.
    fn each_segment(&self, mut each: impl FnMut(u32, &[Line]) -> Result<(), Error>) -> Result<(), Error> {
        let mut done = 0;
        loop {
            let _still = self.moves.read();
            let answers = self.log.segments().into_iter().filter(|(_, segment)| segment.lane == Lane::Main && segment.alone.is_none());
            let Some(number) = answers.map(|(number, _)| number).find(|number| *number > done) else { return Ok(()) };
            match self.log.lines(number) {
                Ok(lines) => each(number, &lines)?,
                // Copies that were given up, or a file that someone took away: nothing can come back from it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
            done = number;
        }
    }
}
