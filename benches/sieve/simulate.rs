//! Caches of so many bytes that hold nothing but lengths: FIFO, LRU, SIEVE, and the best that is possible when sizes do not count.

use crate::trace::Trace;
use std::collections::BTreeSet;

/// How a cache did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Score {
    pub(crate) asks: u64,
    pub(crate) hits: u64,
    pub(crate) bytes: u64,
    pub(crate) hit_bytes: u64,
}

impl Score {
    /// One request.
    pub(crate) fn count(&mut self, size: u64, hit: bool) {
        self.asks += 1;
        self.bytes += size;
        self.hits += u64::from(hit);
        self.hit_bytes += if hit { size } else { 0 };
    }

    /// Share of requests, share of bytes.
    #[expect(clippy::cast_precision_loss, reason = "printed with four digits")]
    pub(crate) fn ratios(&self) -> (f64, f64) {
        (self.hits as f64 / self.asks as f64, self.hit_bytes as f64 / self.bytes as f64)
    }
}

/// What a hit does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Nothing.
    Fifo,
    /// Moves to the front.
    Lru,
    /// Marks; the hand spares what is marked, once (Zhang et al., NSDI 2024).
    Sieve,
}

/// No neighbour.
const NONE: u32 = u32::MAX;

/// One object in the queue.
#[derive(Clone, Copy)]
struct Seat {
    newer: u32,
    older: u32,
    held: bool,
    marked: bool,
}

struct Queue {
    seats: Vec<Seat>,
    newest: u32,
    oldest: u32,
    hand: u32,
}

impl Queue {
    fn push(&mut self, object: u32) {
        self.seats[object as usize] = Seat { newer: NONE, older: self.newest, held: true, marked: false };
        if let Some(seat) = self.seats.get_mut(self.newest as usize) {
            seat.newer = object;
        }
        self.newest = object;
        if self.oldest == NONE {
            self.oldest = object;
        }
    }

    fn remove(&mut self, object: u32) {
        let Seat { newer, older, .. } = self.seats[object as usize];
        match self.seats.get_mut(newer as usize) {
            Some(seat) => seat.older = older,
            None => self.newest = older,
        }
        match self.seats.get_mut(older as usize) {
            Some(seat) => seat.newer = newer,
            None => self.oldest = newer,
        }
        self.seats[object as usize].held = false;
    }

    /// Who leaves.
    fn victim(&mut self, rule: Rule) -> u32 {
        if rule != Rule::Sieve {
            return self.oldest;
        }
        loop {
            let here = if self.hand == NONE { self.oldest } else { self.hand };
            let seat = &mut self.seats[here as usize];
            self.hand = seat.newer;
            if !std::mem::take(&mut seat.marked) {
                return here;
            }
        }
    }
}

/// A cache of `room` bytes under a rule.
pub(crate) fn simulate(trace: &Trace, room: u64, rule: Rule) -> Score {
    let empty = Seat { newer: NONE, older: NONE, held: false, marked: false };
    let mut queue = Queue { seats: vec![empty; trace.sizes.len()], newest: NONE, oldest: NONE, hand: NONE };
    let (mut score, mut used) = (Score::default(), 0);
    for object in &trace.asks {
        let size = trace.sizes[*object as usize];
        let hit = queue.seats[*object as usize].held;
        score.count(size, hit);
        match (hit, rule) {
            (true, Rule::Fifo) => {}
            (true, Rule::Sieve) => queue.seats[*object as usize].marked = true,
            (true, Rule::Lru) => {
                queue.remove(*object);
                queue.push(*object);
            }
            (false, _) if size > room => {}
            (false, _) => {
                used += size;
                while used > room {
                    let victim = queue.victim(rule);
                    queue.remove(victim);
                    used -= trace.sizes[victim as usize];
                }
                queue.push(*object);
            }
        }
    }
    score
}

/// Belady's rule without regard to size: who is asked for latest leaves, and whoever is never asked for again does not come in.
pub(crate) fn belady(trace: &Trace, room: u64) -> Score {
    const NEVER: usize = usize::MAX;
    let mut next = vec![NEVER; trace.asks.len()];
    let mut seen = vec![NEVER; trace.sizes.len()];
    for (at, object) in trace.asks.iter().enumerate().rev() {
        next[at] = std::mem::replace(&mut seen[*object as usize], at);
    }
    let (mut held, mut score, mut used) = (BTreeSet::new(), Score::default(), 0);
    for (at, object) in trace.asks.iter().enumerate() {
        let size = trace.sizes[*object as usize];
        // It is held under the time of this very request.
        let hit = held.remove(&(at, *object));
        score.count(size, hit);
        used -= if hit { size } else { 0 };
        if next[at] == NEVER {
            continue;
        }
        held.insert((next[at], *object));
        used += size;
        while used > room {
            let (_, victim) = held.pop_last().expect("what is used is held");
            used -= trace.sizes[victim as usize];
        }
    }
    score
}
