//! The scrub: everything that is of use is read and verified once in `scrub` (a month), so that what a card or disk has lost is
//! noticed while it can still be fetched again. The progress lies in a small file and survives restarts.

use crate::base::clock::Time;
use crate::store::record::{self, Kind};
use crate::store::{Inner, note, recover};
use std::io;

/// Read in one step: a tenth of a second on a disk.
const STEP: u64 = 8 << 20;
/// Times that a record is read before it is given up: a cable or a controller that is busy answers the next second, a dying sector
/// does not.
const TRIES: u32 = 3;
/// The file beside FORMAT.
pub(crate) const NAME: &str = "scrub";
/// Its longest text.
const TEXT_MAX: u64 = 4096;

/// Whether a file of this name reads as it was written.
pub(crate) fn is_progress(file: &[u8]) -> bool {
    Round::parse(file).is_some()
}

/// How far a round is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Round {
    /// When it began.
    started: Time,
    /// The newest segment then: what was written later was verified when it was written.
    last: u32,
    /// All segments up to this one are done.
    done: u32,
    /// Records of the next one that are done.
    lines: usize,
    /// Times that the record after them could not be read.
    tries: u32,
}

impl Round {
    fn encode(&self) -> String {
        note::seal(&format!("bulak scrub\nstarted {}\nlast {}\ndone {}\n", self.started.secs(), self.last, self.done))
    }

    /// `None` when the note is no progress (a round is then begun).
    fn parse(note: &[u8]) -> Option<Round> {
        let text = note::open(note)?;
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        Some(Round {
            started: Time::from_secs(value("started ")?.parse().ok()?),
            last: value("last ")?.parse().ok()?,
            done: value("done ")?.parse().ok()?,
            lines: 0,
            tries: 0,
        })
    }
}

impl Inner {
    /// One step: verifies about 8 MiB, or begins a round when it is time. The round, and whether there is more to do now.
    pub(crate) fn scrub(&self, round: Option<Round>) -> (Round, bool) {
        let now = self.clock.now();
        let newest = || self.log.segments().last().map_or(0, |segment| segment.0);
        let fresh = || Round { started: now, last: newest(), done: 0, lines: 0, tries: 0 };
        let mut round = round.or_else(|| self.read_progress().ok().flatten()).unwrap_or_else(fresh);
        if round.done >= round.last {
            if now < round.started.plus(self.settings.scrub) {
                return (round, false);
            }
            round = fresh();
        }
        let next = self.log.segments().into_iter().find(|(number, segment)| *number > round.done && segment.is_done());
        match next.filter(|(number, _)| *number <= round.last) {
            Some((number, _)) if !self.verify_some(number, &mut round) => {}
            next => {
                (round.done, round.lines, round.tries) = (next.map_or(round.last, |next| next.0), 0, 0);
                if let Err(error) = self.write_progress(&round) {
                    tracing::debug!(%error, "the progress of the scrub is not kept");
                }
            }
        }
        (round, true)
    }

    /// Verifies the next records of a segment. Whether that was the rest of it.
    fn verify_some(&self, number: u32, round: &mut Round) -> bool {
        let read = self.log.file(number).and_then(|file| Ok((file, self.log.lines(number)?)));
        // Rewritten meanwhile, or not to be read now: then whoever reads it will see.
        let Ok((file, lines)) = read else { return true };
        let mut bytes = 0;
        for line in lines.iter().skip(round.lines) {
            if bytes >= STEP {
                return false;
            }
            round.lines += 1;
            if line.kind != Kind::Dict && !self.log.table().read().is_live(line, number) {
                continue;
            }
            bytes += line.length;
            match recover::verified(&*file, line, self.log.uuid()) {
                Ok(Some(_)) => {}
                Ok(None) => self.lose_record(line, number),
                Err(error) => {
                    tracing::warn!(segment = number, at = line.at, %error, "a record cannot be read");
                    round.tries += 1;
                    if round.tries < TRIES {
                        round.lines -= 1;
                        return false;
                    }
                    // Where nothing of the segment can be read it is the disk that is gone, and may come back.
                    if file.read_at(&mut [0; record::SEGMENT_HEADER_BYTES], 0).is_ok() {
                        self.lose_record(line, number);
                    }
                }
            }
            round.tries = 0;
        }
        true
    }

    fn read_progress(&self) -> io::Result<Option<Round>> {
        let file = self.disk.open(&self.settings.path.join(NAME), false)?;
        let mut text = vec![0; usize::try_from(file.length()?.min(TEXT_MAX)).unwrap_or(0)];
        file.read_at(&mut text, 0)?;
        Ok(Round::parse(&text))
    }

    fn write_progress(&self, round: &Round) -> io::Result<()> {
        let path = self.settings.path.join(NAME);
        let temporary = path.with_extension("tmp");
        // Left by a stop.
        let _ = self.disk.remove(&temporary);
        let file = self.disk.create(&temporary)?;
        file.write_at(round.encode().as_bytes(), 0)?;
        file.sync()?;
        self.disk.rename(&temporary, &path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::disk::fault::Faulty;
    use crate::store::tests::kit::{get, key, meta, noise, open, open_on, put, settings};
    use std::sync::Arc;

    #[test]
    fn progress_is_read_back_and_garbage_begins_anew() {
        let round = Round { started: Time::from_secs(77), last: 9, done: 4, lines: 0, tries: 0 };
        assert_eq!(Round::parse(round.encode().as_bytes()), Some(round));
        for text in ["", "started x\nlast 1\ndone 1\n", "started 1\nlast 99999999999\ndone 1\n"] {
            assert_eq!(Round::parse(note::seal(text).as_bytes()), None, "{text}");
        }
    }

    #[tokio::test]
    async fn a_damaged_body_is_found_and_is_a_miss_and_a_round_goes_on_after_a_start() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        for n in 0..3_u64 {
            put(&store, meta(&format!("http://a.kz/{n}")), &noise(n, 9000)).await.unwrap();
            store.0.log.close().unwrap();
        }
        store.pin("pack", &key("http://a.kz/2")).await.unwrap();
        let object = crate::base::digest::Digest::of(&noise(2, 9000));
        let place = store.0.log.table().read().blob(&object).unwrap().place;
        let path = dir.path().join(format!("seg/{:08}.seg", place.segment));
        let mut bytes = std::fs::read(&path).unwrap();
        let at = usize::try_from(place.at).unwrap() + 1000;
        bytes[at] ^= 4;
        std::fs::write(&path, bytes).unwrap();
        let (round, busy) = store.0.scrub(None);
        assert!(busy && round.done == 1 && store.stat().damaged == 0);
        store.close().await.unwrap();
        drop(store);

        let store = open(dir.path());
        let mut round = None;
        let mut steps = 0;
        loop {
            let (now, busy) = store.0.scrub(round);
            round = Some(now);
            if !busy {
                break;
            }
            steps += 1;
        }
        assert!(steps < 4, "what was done is not done again: {steps}");
        assert_eq!((store.stat().damaged, store.lost_pinned()), (1, vec![String::from("http://a.kz/2")]));
        assert!(get(&store, "http://a.kz/2").await.is_none());
        assert_eq!(get(&store, "http://a.kz/1").await.unwrap(), noise(1, 9000));
    }

    #[tokio::test]
    async fn a_record_that_cannot_be_read_again_and_again_is_a_miss_and_a_busy_disk_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Faulty::new();
        let store = open_on(Arc::new(disk.clone()), settings(dir.path())).unwrap();
        for n in 0..3_u64 {
            put(&store, meta(&format!("http://a.kz/{n}")), &noise(n, 9000)).await.unwrap();
        }
        store.pin("pack", &key("http://a.kz/1")).await.unwrap();
        store.0.log.close().unwrap();
        let place = store.0.log.table().read().blob(&crate::base::digest::Digest::of(&noise(1, 9000))).unwrap().place;
        let end = |from: u64| if from == 0 { u64::MAX } else { from + 100 };
        // For a moment; the whole disk, for long; the body's sector.
        for (from, steps, damaged) in [(place.at + 1000, 2, 0), (0, 20, 0), (place.at + 1000, 20, 1)] {
            // What is read to find the records is in the way of no one.
            let mut round = None;
            for step in 0..30 {
                *disk.0.unreadable.lock() = if step < steps { from..end(from) } else { 0..0 };
                let (now, busy) = store.0.scrub(round.take());
                if !busy {
                    break;
                }
                round = Some(now);
            }
            *disk.0.unreadable.lock() = 0..0;
            assert_eq!(store.stat().damaged, damaged, "{from} {steps}");
            std::fs::remove_file(dir.path().join(NAME)).unwrap();
        }
        assert_eq!(store.lost_pinned(), ["http://a.kz/1"]);
        assert!(get(&store, "http://a.kz/1").await.is_none());
        assert_eq!(get(&store, "http://a.kz/2").await.unwrap(), noise(2, 9000));
    }
}
