//! One direction of a line, as arithmetic: when a packet that comes now will arrive, or why it will not. Pure.
//!
//! A drop-tail queue before a wire of a fixed rate, then loss, delay and jitter. The queue is one moment: when the wire will have sent
//! all that was let in. Nothing here depends on how punctually it is called, so a late caller catches up without losing rate.

use super::profile::Line;
use bulak::base::unit::BitRate;
use std::time::Duration;

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It arrives then.
    Due(Duration),
    /// The queue was full.
    Full,
    /// Lost on the way; it has used the wire.
    Lost,
    /// The line was dead.
    Dead,
}

/// One direction.
#[derive(Clone, Debug)]
pub(crate) struct Pipe {
    line: Line,
    rate: u64,
    queue: u64,
    delay: Duration,
    random: u64,
    /// When the wire is free.
    free: Duration,
    /// When the newest packet arrives: none overtakes it.
    last: Duration,
}

impl Pipe {
    /// The direction towards the school.
    pub(crate) fn down(line: &Line) -> Pipe {
        Pipe::new(line, line.down, 0x9e37_79b9_7f4a_7c15)
    }

    /// The direction towards the world.
    pub(crate) fn up(line: &Line) -> Pipe {
        Pipe::new(line, line.up, 0xbf58_476d_1ce4_e5b9)
    }

    fn new(line: &Line, rate: BitRate, salt: u64) -> Pipe {
        Pipe {
            rate: rate.0.max(1),
            queue: line.queue_of(rate),
            delay: line.rtt / 2,
            // Odd, so that no seed makes it zero, which xorshift never leaves.
            random: line.seed.wrapping_add(1).wrapping_mul(salt) | 1,
            free: Duration::ZERO,
            last: Duration::ZERO,
            line: line.clone(),
        }
    }

    /// A packet comes `now`, counted from when the line was laid.
    pub(crate) fn pass(&mut self, now: Duration, bytes: usize) -> Fate {
        if self.line.dead(now).is_some() {
            return Fate::Dead;
        }
        if self.waiting(now) + bytes as u64 > self.queue {
            return Fate::Full;
        }
        self.free = self.free.max(now) + self.cost(bytes as u64);
        // Both draws, always: what is lost does not change the jitter of the rest.
        let (chance, jitter) = (self.draw(), self.draw());
        if self.line.dead(self.free).is_some() {
            return Fate::Dead;
        }
        if chance < self.line.loss {
            return Fate::Lost;
        }
        self.last = self.last.max(self.free + self.delay + self.line.jitter.mul_f64(jitter));
        Fate::Due(self.last)
    }

    /// Bytes in the queue.
    pub(crate) fn waiting(&self, now: Duration) -> u64 {
        u64::try_from(self.free.saturating_sub(now).as_nanos() * u128::from(self.rate) / 8_000_000_000).unwrap_or(u64::MAX)
    }

    /// When a packet of so many bytes will find room; now, when there is some.
    pub(crate) fn room(&self, now: Duration, bytes: usize) -> Duration {
        let over = (self.waiting(now) + bytes as u64).saturating_sub(self.queue);
        let room = now + self.cost(over);
        self.line.dead(room).unwrap_or(room)
    }

    /// What the wire takes for so many bytes.
    fn cost(&self, bytes: u64) -> Duration {
        Duration::from_nanos(u64::try_from(u128::from(bytes) * 8_000_000_000 / u128::from(self.rate)).unwrap_or(u64::MAX))
    }

    /// From 0 to below 1 (xorshift64*): the same on every machine and in every version of every library.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are what a float holds")]
    fn draw(&mut self) -> f64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1_u64 << 53) as f64
    }
}
