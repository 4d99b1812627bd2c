//! SIEVE (Zhang and others, NSDI 2024) over the log: the queue is the order of seq, the hand walks the segments from old to new,
//! answer by answer. Used ones are spared once, pinned ones always. Nothing is written: an eviction that is lost in a power cut
//! brings back an answer that was valid.

use crate::store::Inner;
use crate::store::record::{Kind, Line};
use crate::store::segment::{Lane, Log};
use crate::store::table::Verdict;

/// Answers judged under one lock of the table: some tens of microseconds.
const AT_ONCE: usize = 64;

/// Where the hand is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hand {
    /// Rounds begun. Each segment remembers the last one in which the hand came by.
    lap: u64,
    /// The segment that it is in.
    at: Option<u32>,
    /// Answers of that segment up to this seq are behind the hand.
    within: u64,
    /// Rounds in which nothing was evicted.
    pub(super) idle: u32,
    evicted: bool,
}

impl Hand {
    /// The next segment of answers, the oldest again after the newest; `None` when there is none at all.
    fn next(&mut self, log: &Log) -> Option<u32> {
        if let Some(at) = self.at.filter(|at| log.segments().iter().any(|(number, _)| number == at)) {
            return Some(at);
        }
        let found = next(log, self.lap).or_else(|| {
            // Before those that are left are judged by less, what is still open is judged at all.
            if !self.evicted {
                if let Err(error) = log.close() {
                    tracing::debug!(%error, "what is open cannot be sealed now");
                }
                if let Some(found) = next(log, self.lap) {
                    return Some(found);
                }
            }
            self.lap += 1;
            self.idle = if self.evicted { 0 } else { self.idle + 1 };
            self.evicted = false;
            next(log, self.lap)
        });
        let number = found?;
        log.lapped(number, self.lap);
        (self.at, self.within) = (Some(number), 0);
        Some(number)
    }
}

/// The oldest segment of answers by which the hand has not come in this round; what cannot be read has nothing to evict.
fn next(log: &Log, lap: u64) -> Option<u32> {
    let answers = log.segments().into_iter().filter(|(_, segment)| segment.lane == Lane::Main && segment.alone.is_none());
    let left = answers.filter(|(_, segment)| segment.lap < lap);
    left.filter_map(|(number, _)| Some((log.first_seq(number).ok()?, number))).min().map(|(_, number)| number)
}

impl Inner {
    /// Moves the hand through a segment, or until bodies of `enough` bytes have become free. How many answers were evicted, and the bytes
    /// of their bodies and parts; `None` when there is no segment of answers.
    pub(super) fn move_hand(&self, hand: &mut Hand, enough: u64) -> Option<(u64, u64)> {
        let number = hand.next(&self.log)?;
        let lines = match self.log.lines(number) {
            Ok(lines) => lines,
            // The others may still be read; this one's turn comes again in the next round.
            Err(error) => {
                tracing::warn!(segment = number, %error, "a segment cannot be read, and nothing of it is evicted");
                hand.at = None;
                return Some((0, 0));
            }
        };
        let answers: Vec<&Line> = lines.iter().filter(|line| line.kind == Kind::Meta && line.seq > hand.within).collect();
        let (mut evicted, mut freed) = (0, 0);
        for some in answers.chunks(AT_ONCE) {
            let (gone, more) = self.judge(some, number, enough.saturating_sub(freed), &mut hand.within);
            evicted += gone;
            freed += more;
            if freed >= enough {
                break;
            }
        }
        if freed < enough || answers.is_empty() {
            hand.at = None;
        }
        hand.evicted |= evicted > 0;
        self.meters.evicted.inc_by(evicted);
        Some((evicted, freed))
    }

    /// Judges answers in turn until `enough` bytes are free: how many were evicted, and the bytes. `within` follows.
    fn judge(&self, some: &[&Line], number: u32, enough: u64, within: &mut u64) -> (u64, u64) {
        let (mut gone, mut freed, mut parts) = (Vec::new(), 0, 0);
        {
            let mut table = self.log.table().write();
            let before = table.sums().stored_bytes;
            for line in some {
                *within = line.seq;
                // A hit in memory counts as one on disk.
                if table.judge(line, number) == Verdict::Cold
                    && !self.hot.was_used(&line.url())
                    && let Some(of_parts) = table.evict(line, number)
                {
                    gone.push(line.url());
                    parts += of_parts;
                    freed = before.saturating_sub(table.sums().stored_bytes) + parts;
                    if freed >= enough {
                        break;
                    }
                }
            }
        }
        for url in &gone {
            self.hot.remove(url);
        }
        (gone.len() as u64, freed)
    }
}
