//! SIEVE (Zhang and others, NSDI 2024) over the log: the queue is the order of seq, the hand walks the segments from old to new,
//! answer by answer. Used ones are spared once, pinned ones always. Nothing is written: an eviction that is lost in a power cut
//! brings back an answer that was valid.

use crate::store::Inner;
use crate::store::record::{Kind, Line};
use crate::store::segment::{Lane, Log};
use crate::store::table::Verdict;
use std::io;

/// Answers judged under one lock of the table.
const AT_ONCE: usize = 256;

/// Where the hand is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hand {
    /// Segments that begin at this seq or before are behind the hand.
    at: Option<u64>,
    /// Rounds in which nothing was evicted.
    pub(super) idle: u32,
    evicted: bool,
}

impl Hand {
    /// The next segment of answers, the oldest again after the newest; `None` when there is none at all.
    fn next(&mut self, log: &Log) -> Option<u32> {
        let answers = log.segments().into_iter().filter(|(_, segment)| segment.is_done() && segment.lane == Lane::Main);
        // What cannot be read has nothing to evict.
        let mut order: Vec<(u64, u32)> = answers.filter_map(|(number, _)| Some((log.first_seq(number).ok()?, number))).collect();
        order.sort_unstable();
        let ahead = order.iter().find(|(seq, _)| self.at.is_none_or(|at| *seq > at)).copied();
        let (seq, number) = match ahead {
            Some(next) => next,
            None => {
                self.idle = if self.evicted { 0 } else { self.idle + 1 };
                self.evicted = false;
                *order.first()?
            }
        };
        self.at = Some(seq);
        Some(number)
    }
}

impl Inner {
    /// Moves the hand by one segment. How many answers were evicted; `None` when there is no sealed segment of answers.
    pub(super) fn move_hand(&self, hand: &mut Hand) -> io::Result<Option<u64>> {
        let Some(number) = hand.next(&self.log) else {
            hand.idle += 1;
            return Ok(None);
        };
        let lines = self.log.lines(number)?;
        let answers: Vec<&Line> = lines.iter().filter(|line| line.kind == Kind::Meta).collect();
        let evicted = answers.chunks(AT_ONCE).map(|some| self.judge(some, number)).sum();
        hand.evicted |= evicted > 0;
        self.meters.evicted.inc_by(evicted);
        Ok(Some(evicted))
    }

    fn judge(&self, some: &[&Line], number: u32) -> u64 {
        let mut cold: Vec<&Line> = {
            let mut table = self.log.table().write();
            some.iter().copied().filter(|line| table.judge(line, number) == Verdict::Cold).collect()
        };
        cold.retain(|line| !self.hot.was_used(&line.url()));
        let mut evicted = 0;
        let mut gone = Vec::new();
        {
            let mut table = self.log.table().write();
            for line in cold {
                // Again, since it may have been pinned or used meanwhile.
                if table.judge(line, number) == Verdict::Cold && table.evict(line, number) {
                    evicted += 1;
                    gone.push(line.url());
                }
            }
        }
        gone.iter().for_each(|url| self.hot.remove(url));
        evicted
    }
}
