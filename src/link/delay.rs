//! How fast background bytes may come so that others on the line do not notice: a rate steered by the delay that a probe sees
//! above the shortest one known. Pure: every moment is an argument.
//!
//! The idea is LEDBAT's (RFC 6817; LEDBAT++, draft-irtf-iccrg-ledbat-plus-plus) turned to the receiver's side (RFC 9840): bytes are
//! fetched, so the receiver reads slower and offers less window. What we do not carry ourselves (other devices, neighbours of the
//! line) is noticed by the queue that it makes; what we carry is held back for by `foreground` before a queue exists.
//!
//! # Why it differs from the drafts
//! - The rate at which a queue was last seen is remembered, and approached fast up to nineteen twentieths: after a decrease on a satellite's
//!   600 ms, growth by small sums took a minute to come back.
//! - The first decrease of a row goes no lower than nine tenths of what really came: the queue that a feedback of two round trips lets
//!   grow is drained by less. When the queue stands all the same, others make it, and the rate is halved as often as it takes.
//! - The pauses for a fresh shortest delay last a round trip and a half, not two seconds: the queue is empty by then, and a foreground
//!   transfer that kept us silent for as long counts as one.
//! - A queue is what all probes of one and a half round trips saw. Most of a night are small files, and their senders begin again and
//!   again with a burst: two probes in a row saw those as well, and on a satellite's line the rate fell for them to half of the line's.
//! - The windows are what the rate has under way on the idle line and half of the target. With a tenth of the way and two targets more, it
//!   was the windows that made the queue, at three quarters of the line's rate.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Where the rate begins, bytes per second: a thin line's share, doubled twice within a second where there is more.
const FIRST: f64 = 20_000.0;
/// Growth a tick before a queue was seen; on a satellite's long ticks more, so that it takes no minute.
const GROWTH: (f64, f64) = (1.15, 1.5);
/// Ticks this long are a satellite's.
const LONG: f64 = 0.3;
/// A tick is a round trip, and never shorter than this.
const TICK: f64 = 0.1;
/// The queue, as a share of the target, at which the fast growth of the beginning ends.
const ENOUGH: f64 = 0.75;
/// Of the rate at which a queue was seen this much is approached fast.
const NEAR: f64 = 0.95;
/// Growth per 100 ms below that.
const BACK: f64 = 1.08;
/// Without a queue for so long (a time and so many round trips) the line is another one than it was: growth is fast again.
const CALM: Duration = Duration::from_secs(4);
const CALM_TRIPS: u32 = 12;
/// Growth a tick near it: a sum for thin lines, a share for others.
const STEP: (f64, f64) = (1500.0, 0.02);
/// What a first decrease leaves of the rate at which bytes really came.
const KEEP: f64 = 0.9;
/// The rate never runs further ahead of what really comes than this factor and sum (bytes per second).
const AHEAD: (f64, f64) = (1.5, 20_000.0);
/// Probes in a row without an answer that mean a line in trouble, and how long we then stay at the floor.
const LOST: u32 = 3;
const TROUBLE: Duration = Duration::from_secs(2);
/// The least of so many answers is the queue: one that was late for a reason of its own does not count, and more would tell too late.
const LAST: usize = 2;
/// And they left over so many round trips at least: a sender that begins, or goes on after a silence, makes a queue in each round trip
/// that is gone before its end, and two of them together hardly leave a gap. Only what is there all the time stands because of the rate.
const SPAN: f64 = 1.5;
/// The shortest delay is that of so many minutes.
const MINUTES: usize = 10;
const MINUTE: Duration = Duration::from_mins(1);
/// Between two pauses for a fresh shortest delay, as often as LEDBAT++ has them.
const PAUSE_EVERY: Duration = Duration::from_secs(30);
/// After an idle spell of this length the line is felt for anew.
const STALE: Duration = Duration::from_mins(1);
/// The windows of all connections together are what the rate has under way on the idle line, and so much of the target: what they let a
/// sender put into the line's queue at most, while the rate is the line's.
const ROOM: f64 = 0.5;

/// The controller. Rates are bytes per second.
#[derive(Debug)]
pub struct Delay {
    /// The queue that we may make, seconds.
    target: f64,
    /// Never slower.
    floor: f64,
    rate: f64,
    /// No queue has been seen yet.
    starting: bool,
    /// What came when a queue was last seen.
    ceiling: Option<f64>,
    base: Base,
    /// The last answers of probes that left while nobody held us back: when they left, seconds.
    recent: VecDeque<(Instant, f64)>,
    /// Probes that left before say nothing about us.
    clean: Option<Instant>,
    /// Probes without an answer in a row.
    lost: u32,
    /// At the floor until then.
    trouble: Option<Instant>,
    /// Bytes since the last tick.
    bytes: u64,
    goodput: f64,
    ticked: Option<Instant>,
    /// Decreases in a row.
    row: u32,
    /// Since when the queue has stayed below half of what it may be.
    calm: Option<Instant>,
    /// Since when a foreground transfer keeps us silent.
    shut: Option<Instant>,
    next_pause: Option<Instant>,
    paused: Option<Instant>,
}

impl Delay {
    /// Steers towards a queue of `target`, never below `floor` (bytes per second).
    pub fn new(target: Duration, floor: f64) -> Delay {
        Delay {
            target: target.as_secs_f64().max(0.001),
            floor,
            rate: FIRST.max(floor),
            starting: true,
            ceiling: None,
            base: Base::default(),
            recent: VecDeque::with_capacity(LAST),
            clean: None,
            lost: 0,
            trouble: None,
            bytes: 0,
            goodput: 0.0,
            ticked: None,
            row: 0,
            calm: None,
            shut: None,
            next_pause: None,
            paused: None,
        }
    }

    /// Other settings; what is known of the line stays.
    pub fn adjust(&mut self, target: Duration, floor: f64) {
        self.target = target.as_secs_f64().max(0.001);
        self.floor = floor;
        self.rate = self.rate.max(floor);
    }

    /// Background begins to move again.
    pub fn begin(&mut self, now: Instant) {
        if self.ticked.is_none_or(|ticked| now.saturating_duration_since(ticked) > STALE) {
            self.rate = self.rate.min(FIRST).max(self.floor);
            (self.starting, self.ceiling, self.goodput) = (true, None, 0.0);
        }
        (self.shut, self.paused, self.trouble, self.calm, self.lost, self.row) = (None, None, None, Some(now), 0, 0);
        (self.ticked, self.clean, self.next_pause) = (Some(now), Some(now), Some(now + PAUSE_EVERY));
        self.recent.clear();
        self.bytes = 0;
    }

    /// Another host is asked from now on: its delays are not comparable.
    pub fn forget(&mut self) {
        self.base = Base::default();
        self.recent.clear();
        self.lost = 0;
    }

    /// What came of a probe that left at `sent`; `None`: no answer in time.
    pub fn probed(&mut self, sent: Instant, rtt: Option<Duration>, now: Instant) {
        let Some(rtt) = rtt.map(|rtt| rtt.as_secs_f64()) else {
            self.lost += 1;
            if self.lost >= LOST && self.shut.is_none() && self.lost.is_multiple_of(LOST) {
                self.ceiling = Some(self.rate / 2.0).filter(|_| self.trouble.is_none()).or(self.ceiling);
                self.rate = self.floor;
                self.starting = false;
                self.trouble = Some(now + TROUBLE);
            }
            return;
        };
        self.lost = 0;
        self.base.add(rtt, now);
        if self.shut.is_none() && self.paused.is_none() && self.clean.is_some_and(|clean| sent >= clean) {
            self.recent.push_back((sent, rtt));
            let span = self.span();
            let enough = |second: &(Instant, f64)| sent.saturating_duration_since(second.0) >= span;
            while self.recent.len() > LAST && self.recent.get(1).is_some_and(enough) {
                self.recent.pop_front();
            }
        }
    }

    /// Bytes came in.
    pub fn came(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Called at [`Delay::next_tick`] while background is under way; `open`: no foreground transfer keeps us silent.
    pub fn tick(&mut self, open: bool, now: Instant) {
        let passed = self.ticked.map_or(TICK, |ticked| now.saturating_duration_since(ticked).as_secs_f64());
        let bytes = std::mem::take(&mut self.bytes);
        self.ticked = Some(now);
        if !open {
            // What comes now is the floor's, and what probes see is the foreground's own queue.
            self.shut.get_or_insert(now);
            self.paused = None;
            return;
        }
        if let Some(shut) = self.shut.take() {
            if now.saturating_duration_since(shut) >= self.pause() {
                self.next_pause = Some(now + PAUSE_EVERY);
            }
            return self.go_on(now);
        }
        if let Some(end) = self.paused {
            if now >= end {
                self.paused = None;
                self.next_pause = Some(now + PAUSE_EVERY);
                self.go_on(now);
            }
            return;
        }
        if self.trouble.is_some_and(|end| now < end) {
            return;
        }
        self.trouble = None;
        if self.next_pause.is_some_and(|at| now >= at) {
            self.paused = Some(now + self.pause());
            return;
        }
        self.measure(bytes, passed);
        self.steer(passed, now);
        self.rate = self.rate.min(AHEAD.0 * self.goodput + AHEAD.1).max(self.floor);
    }

    /// After a silence of our own: the rate is the one from before, what probes said is not.
    fn go_on(&mut self, now: Instant) {
        self.clean = Some(now);
        self.recent.clear();
    }

    fn measure(&mut self, bytes: u64, passed: f64) {
        #[expect(clippy::cast_precision_loss, reason = "bytes of one tick")]
        let sample = bytes as f64 / passed.max(0.001);
        // The mean of some four ticks: single reads are lumpy.
        let share = (passed / (4.0 * self.tick_seconds())).min(1.0);
        self.goodput += (sample - self.goodput) * share;
    }

    fn steer(&mut self, passed: f64, now: Instant) {
        let Some(queue) = self.queue() else { return };
        let full = queue / self.target;
        if self.starting {
            if full > ENOUGH {
                self.starting = false;
                self.ease(full, now);
            } else {
                self.rate *= if self.tick_seconds() > LONG { GROWTH.1 } else { GROWTH.0 };
            }
        } else if full >= 1.0 {
            self.ease(full, now);
        } else {
            self.row = 0;
            if full > 0.5 {
                self.calm = Some(now);
            }
            let calm = self.calm.is_none_or(|calm| now.saturating_duration_since(calm) > CALM + CALM_TRIPS * self.round_trip());
            let fast = (self.rate * BACK.powf(passed / TICK).min(GROWTH.1)).max(self.rate + STEP.0);
            self.rate = match self.ceiling {
                Some(ceiling) if self.rate < NEAR * ceiling => fast.min(NEAR * ceiling),
                // Whoever was on the line has gone.
                _ if calm => fast,
                // Past what the line gave last time, half as fast.
                Some(ceiling) if self.rate > ceiling => self.rate + STEP.0.max(STEP.1 / 2.0 * self.rate) * (1.0 - full),
                _ => self.rate + STEP.0.max(STEP.1 * self.rate) * (1.0 - full),
            };
        }
    }

    fn ease(&mut self, full: f64, now: Instant) {
        self.calm = Some(now);
        let less = self.rate * (1.0 - 0.5 * (full - 1.0).max(0.0)).max(0.5);
        if self.row == 0 {
            self.ceiling = Some(self.goodput);
            self.rate = less.max(KEEP * self.goodput).min(self.rate);
        } else {
            self.ceiling = self.ceiling.map(|ceiling| ceiling.min(self.goodput));
            self.rate = less.max(self.floor);
        }
        self.row += 1;
        // What this does to the queue is seen by probes that leave a round trip later.
        self.clean = Some(now + self.round_trip());
        self.recent.clear();
    }

    /// The rate now.
    pub fn rate(&self) -> f64 {
        if self.paused.is_some() || self.trouble.is_some() { self.floor } else { self.rate }
    }

    /// What all connections together may have under way, bytes.
    pub fn window(&self) -> f64 {
        self.rate * (self.base.least().unwrap_or(TICK) + ROOM * self.target)
    }

    /// The queue that the last probes saw, seconds; `None`: they do not tell yet.
    pub fn queue(&self) -> Option<f64> {
        let least = self.base.least()?;
        let ((first, _), (last, _)) = (self.recent.front()?, self.recent.back()?);
        let told = last.saturating_duration_since(*first) >= self.span();
        let rtt = self.recent.iter().map(|(_, rtt)| *rtt).reduce(f64::min).filter(|_| told)?;
        Some((rtt - least).max(0.0))
    }

    /// Over what time probes tell of a queue that stands.
    fn span(&self) -> Duration {
        self.round_trip().mul_f64(SPAN)
    }

    /// The shortest delay known, seconds.
    pub fn base(&self) -> Option<f64> {
        self.base.least()
    }

    /// What it goes by, for a log: rate, what really comes, and the rate at which a queue was seen (bytes per second), the queue
    /// (seconds), and whether a pause for the shortest delay is on.
    pub fn sight(&self) -> (f64, f64, Option<f64>, Option<f64>, bool) {
        (self.rate, self.goodput, self.ceiling, self.queue(), self.paused.is_some())
    }

    /// Probes without an answer, in a row.
    pub fn lost(&self) -> u32 {
        self.lost
    }

    /// When [`Delay::tick`] is to be called next.
    pub fn next_tick(&self, now: Instant) -> Instant {
        let next = self.ticked.map_or(now, |ticked| ticked + Duration::from_secs_f64(self.tick_seconds()));
        self.paused.or(self.trouble).map_or(next, |end| end.min(next)).max(now)
    }

    /// How long a probe may take: what takes longer is as good as lost.
    pub fn patience(&self) -> Duration {
        Duration::from_secs_f64(self.base.least().map_or(2.0, |least| (3.0 * least).clamp(1.0, 3.0)))
    }

    fn round_trip(&self) -> Duration {
        Duration::from_secs_f64(self.base.least().unwrap_or(TICK))
    }

    /// A round trip, not shorter than a tenth of a second.
    fn tick_seconds(&self) -> f64 {
        self.base.least().unwrap_or(TICK).max(TICK)
    }

    /// Long enough for what is under way to arrive, and for a probe to go and come without it.
    fn pause(&self) -> Duration {
        Duration::from_secs_f64(1.5 * self.base.least().unwrap_or(TICK) + 2.0 * TICK)
    }
}

/// The shortest delays of the last minutes.
#[derive(Debug, Default)]
struct Base {
    minutes: VecDeque<(Instant, f64)>,
}

impl Base {
    fn add(&mut self, rtt: f64, now: Instant) {
        match self.minutes.back_mut() {
            Some((began, least)) if now.saturating_duration_since(*began) < MINUTE => *least = least.min(rtt),
            _ => self.minutes.push_back((now, rtt)),
        }
        let old = |began: Instant| now.saturating_duration_since(began) > MINUTE * u32::try_from(MINUTES).unwrap_or(1);
        while self.minutes.len() > MINUTES || self.minutes.front().is_some_and(|(began, _)| old(*began)) {
            self.minutes.pop_front();
        }
    }

    fn least(&self) -> Option<f64> {
        self.minutes.iter().map(|(_, least)| *least).reduce(f64::min)
    }
}

#[cfg(test)]
mod tests;
