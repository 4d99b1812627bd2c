//! SIEVE (Zhang and others, NSDI 2024) over the log: the queue is the order of seq, the hand walks the segments from old to new,
//! answer by answer. Used ones are spared once, pinned ones always. Nothing is written: an eviction that is lost in a power cut
//! brings back an answer that was valid.

use crate::store::Inner;
use crate::store::record::{Kind, Line};
use crate::store::segment::{Lane, Log};
use crate::store::table::Verdict;
use std::io;

/// Answers judged under one lock of the table: some tens of microseconds.
const AT_ONCE: usize = 64;

/// Where the hand is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hand {
    /// The segment that it is in, and the seq of that one's first record; segments that begin before are behind the hand.
    at: Option<(u64, u32)>,
    /// Answers of that segment up to this seq are behind the hand.
    within: u64,
    /// Rounds in which nothing was evicted.
    pub(super) idle: u32,
    evicted: bool,
}

impl Hand {
    /// The next segment of answers, the oldest again after the newest; `None` when there is none at all.
    fn next(&mut self, log: &Log) -> Option<u32> {
        let answers = log.segments().into_iter().filter(|(_, segment)| segment.lane == Lane::Main && segment.alone.is_none());
        // What cannot be read has nothing to evict.
        let mut order: Vec<(u64, u32)> = answers.filter_map(|(number, _)| Some((log.first_seq(number).ok()?, number))).collect();
        order.sort_unstable();
        let ahead = order.iter().find(|next| self.at.is_none_or(|at| **next >= at)).copied();
        let next = match ahead {
            Some(next) => next,
            None => {
                self.idle = if self.evicted { 0 } else { self.idle + 1 };
                self.evicted = false;
                *order.first()?
            }
        };
        if self.at != Some(next) {
            (self.at, self.within) = (Some(next), 0);
        }
        Some(next.1)
    }

    /// All of the segment is behind the hand.
    fn leave(&mut self) {
        self.at = self.at.map(|(seq, number)| (seq, number + 1));
        self.within = 0;
    }
}

impl Inner {
    /// Moves the hand through a segment, or until bodies of `enough` bytes have become free. How many answers were evicted;
    /// `None` when there is no segment of answers.
    pub(super) fn move_hand(&self, hand: &mut Hand, enough: u64) -> io::Result<Option<u64>> {
        let Some(number) = hand.next(&self.log) else {
            hand.idle += 1;
            return Ok(None);
        };
        let lines = self.log.lines(number)?;
        let answers: Vec<&Line> = lines.iter().filter(|line| line.kind == Kind::Meta && line.seq > hand.within).collect();
        let (mut evicted, mut left) = (0, enough);
        for some in answers.chunks(AT_ONCE) {
            let (gone, freed) = self.judge(some, number, left, &mut hand.within);
            evicted += gone;
            left = left.saturating_sub(freed);
            if left == 0 {
                break;
            }
        }
        if left > 0 || answers.is_empty() {
            hand.leave();
        }
        hand.evicted |= evicted > 0;
        self.meters.evicted.inc_by(evicted);
        Ok(Some(evicted))
    }

    /// Judges answers in turn until `enough` bytes are free: how many were evicted, and the bytes. `within` follows.
    fn judge(&self, some: &[&Line], number: u32, enough: u64, within: &mut u64) -> (u64, u64) {
        let (mut gone, mut freed) = (Vec::new(), 0);
        {
            let mut table = self.log.table().write();
            let before = table.sums().stored_bytes;
            for line in some {
                *within = line.seq;
                // A hit in memory counts as one on disk.
                if table.judge(line, number) == Verdict::Cold && !self.hot.was_used(&line.url()) && table.evict(line, number) {
                    gone.push(line.url());
                    freed = before.saturating_sub(table.sums().stored_bytes);
                    if freed >= enough {
                        break;
                    }
                }
            }
        }
        gone.iter().for_each(|url| self.hot.remove(url));
        (gone.len() as u64, freed)
    }
}
