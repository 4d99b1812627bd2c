//! What background bytes wait for, in one place: a fixed cap, the gate (`foreground`) and the delay controller (`delay`). Who has read
//! some bytes of a background transfer takes them from here before it reads more; whoever waits looks again as soon as the gate moves or
//! the rate changes, so that a person's first byte silences the night at once and not when the present nap is over.
//!
//! # Why after reading and not before
//! Nobody knows in advance how much a read brings. What was read is a small piece, see [`Pace::piece`], and goes into the debt that the
//! next one waits for. Everything else stays in the kernel, where the receive window (`Seat::window`) bounds it.

use crate::base::unit::BitRate;
use crate::link::delay::Delay;
use crate::link::foreground::Foreground;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, Semaphore};

/// What may pass at once under the fixed cap after a pause: one second's worth.
const BURST: Duration = Duration::from_secs(1);
/// The same under gate and controller: what the line's own jitter would make of it.
const RIPPLE: Duration = Duration::from_millis(40);
/// Time in which one piece is read, and the bounds of a piece in bytes: what an origin's patience needs at the floor, and a TLS record.
const PIECE_TIME: f64 = 0.02;
const PIECE: (f64, f64) = (1024.0, 16384.0);
/// The smallest window of a connection, bytes: two full packets, so that an acknowledgement comes without delay.
const WINDOW: f64 = 2.0 * 1460.0;
/// What each transfer may have under way beyond its share: when one waits for its origin, another is to fill the line.
const SPARE: f64 = 0.15;
/// How long a new request waits for the gate: what an origin sends of its own accord cannot be held back. Then it goes at the floor, since
/// a school day is long.
const OPENING: Duration = Duration::from_secs(10);
/// Between two transfers the line is watched on for so long.
const BETWEEN: Duration = Duration::from_secs(2);
/// Hosts remembered for probing.
const NEAR: usize = 8;
/// Longest nap of a taker: a rate so low that more were needed is a mistake, and would overflow an instant.
const NAP: Duration = Duration::from_hours(1);

/// A queue that nobody sees, well below half of what the thinnest router holds.
const TARGET: Duration = Duration::from_millis(25);

/// What of `[night]` says how background yields.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The queue that background may make for others; `None`: it gives way to nobody, not even at the gate.
    pub delay: Option<Duration>,
    /// What background gets while people wait.
    pub floor: BitRate,
    /// "host:port" to measure the delay by; `None`: a host that the night fetches from.
    pub probe: Option<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        // 2 kB/s: nobody sees it, and an origin does not take us for dead.
        Settings { delay: Some(TARGET), floor: BitRate(16_000), probe: None }
    }
}

/// Shared by all background transfers.
#[derive(Debug)]
pub struct Pace {
    mind: Mutex<Mind>,
    /// Takers are served in the order they came.
    turn: Semaphore,
    foreground: Foreground,
    /// Rates have changed.
    changed: Notify,
    /// Somebody took a seat, or there is another host to probe.
    wanted: Notify,
}

#[derive(Debug)]
struct Mind {
    settings: Settings,
    cap: Bucket,
    flow: Bucket,
    delay: Delay,
    /// Whether the controller knows anything: somebody answers its probes.
    steers: bool,
    /// Transfers under way.
    seats: HashMap<u64, Taken>,
    next: u64,
    left: Option<Instant>,
    /// Ticks so far.
    beat: u64,
    near: VecDeque<(SocketAddr, Duration)>,
    /// Who was probed last.
    asked: Option<SocketAddr>,
}

/// A transfer under way.
#[derive(Debug)]
struct Taken {
    /// Bytes since the last tick.
    came: Arc<AtomicU64>,
    /// Of all that came lately.
    share: f64,
}

/// What the controller sees, for status and metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sight {
    /// Bytes per second that background may have; `None`: no limit.
    pub rate: Option<f64>,
    /// The queue seen last, seconds.
    pub queue: Option<f64>,
    /// The shortest delay known, seconds.
    pub base: Option<f64>,
}

impl Pace {
    /// A pace of its own, without anybody to yield to. `None`: no cap. A rate below 8 bit/s counts as 8 bit/s.
    pub fn new(rate: Option<BitRate>) -> Pace {
        let pace = Pace::beside(Foreground::default());
        pace.set(rate);
        pace
    }

    /// A pace that yields to `foreground`.
    pub(super) fn beside(foreground: Foreground) -> Pace {
        let settings = Settings::default();
        let delay = Delay::new(TARGET, per_second(settings.floor));
        let mind = Mind {
            settings,
            cap: Bucket::new(BURST),
            flow: Bucket::new(RIPPLE),
            delay,
            steers: false,
            seats: HashMap::new(),
            next: 0,
            left: None,
            beat: 0,
            near: VecDeque::new(),
            asked: None,
        };
        Pace { mind: Mutex::new(mind), turn: Semaphore::new(1), foreground, changed: Notify::new(), wanted: Notify::new() }
    }

    /// Changes the fixed cap, for those who wait already, too.
    pub fn set(&self, rate: Option<BitRate>) {
        self.mind.lock().cap.turn(rate.map(per_second), now());
        self.changed.notify_waiters();
    }

    /// Takes over how background yields.
    pub fn adjust(&self, settings: Settings) {
        let mut mind = self.mind.lock();
        mind.delay.adjust(settings.delay.unwrap_or(TARGET), per_second(settings.floor));
        mind.settings = settings;
        drop(mind);
        self.changed.notify_waiters();
        self.wanted.notify_waiters();
    }

    /// Accounts for `bytes` that have come, and waits until more may: at once where all before is paid for. May be dropped at any
    /// await.
    pub async fn take(&self, bytes: u64) {
        self.came(bytes);
        self.pay(bytes).await;
    }

    fn came(&self, bytes: u64) {
        self.mind.lock().delay.came(bytes);
    }

    async fn pay(&self, bytes: u64) {
        let mut turn = std::pin::pin!(self.turn.acquire());
        // Never closed.
        let _turn = loop {
            // Whoever waits behind others is woken, too: a connection offers another window then.
            let (changed, gate) = (self.changed.notified(), self.foreground.changed());
            tokio::select! {
                biased;
                turn = &mut turn => break turn,
                () = changed => {}
                () = gate => {}
            }
        };
        loop {
            let (changed, gate) = (self.changed.notified(), self.foreground.changed());
            let shut = self.foreground.shut();
            let Some(until) = self.mind.lock().pass(bytes, shut, now()) else { return };
            tokio::select! {
                () = tokio::time::sleep_until(until.into()) => {}
                () = changed => {}
                () = gate => {}
            }
        }
    }

    /// Waits for a good moment to ask an origin for something: until nobody waits, but not for long. May be dropped at any await.
    pub async fn opening(&self) {
        let open = async {
            while self.mind.lock().settings.delay.is_some() {
                let gate = self.foreground.changed();
                let Some(until) = self.foreground.shut() else { return };
                tokio::select! {
                    () = tokio::time::sleep_until(until.into()) => {}
                    () = gate => {}
                }
            }
        };
        // Then it goes at the floor.
        let _ = tokio::time::timeout(OPENING, open).await;
    }

    /// A transfer begins.
    pub fn seat(self: &Arc<Pace>) -> Seat {
        let came = Arc::new(AtomicU64::new(0));
        let mut mind = self.mind.lock();
        let number = mind.next;
        mind.next += 1;
        #[expect(clippy::cast_precision_loss, reason = "a few transfers")]
        let share = 1.0 / (mind.seats.len() + 1) as f64;
        mind.seats.insert(number, Taken { came: Arc::clone(&came), share });
        drop(mind);
        self.wanted.notify_waiters();
        Seat { pace: Arc::clone(self), number, came }
    }

    /// How many bytes to read at once: little when little may come, so that no origin waits long for a sign of life.
    pub fn piece(&self) -> usize {
        let mind = self.mind.lock();
        let rate = [mind.flow.rate, mind.cap.rate].into_iter().flatten().reduce(f64::min);
        let piece = rate.map_or(PIECE.1, |rate| (rate * PIECE_TIME).clamp(PIECE.0, PIECE.1));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 16 KiB")]
        {
            piece as usize
        }
    }

    /// Background has reached a host: one to measure the delay by. This machine is no line.
    pub fn reached(&self, addr: SocketAddr, took: Duration) {
        if addr.ip().to_canonical().is_loopback() {
            return;
        }
        let mut mind = self.mind.lock();
        mind.near.retain(|(known, _)| *known != addr);
        while mind.near.len() >= NEAR {
            mind.near.pop_front();
        }
        mind.near.push_back((addr, took));
        drop(mind);
        self.wanted.notify_waiters();
    }

    /// What is seen now.
    pub fn sight(&self) -> Sight {
        let shut = self.foreground.shut().is_some();
        let mind = self.mind.lock();
        Sight { rate: mind.rate(shut), queue: mind.delay.queue(), base: mind.delay.base() }
    }
}

#[cfg(test)]
impl Pace {
    /// One more tick.
    pub(crate) fn beat(&self) {
        self.tick();
    }

    /// Transfers under way.
    pub(crate) fn seats(&self) -> usize {
        self.mind.lock().seats.len()
    }

    /// As if a probe had found the line so long.
    pub(crate) fn suppose(&self, rtt: Duration) {
        self.look_at(Some(([192, 0, 2, 1], 80).into()));
        self.begin();
        self.probed(now(), Some(rtt));
    }
}

/// What drives the controller; see `control`.
impl Pace {
    /// Resolves when something may have changed that the controller looks at.
    pub(super) fn stirred(&self) -> tokio::sync::futures::Notified<'_> {
        self.wanted.notified()
    }

    /// Whether background is under way, or was a moment ago, and is to be steered.
    pub(super) fn is_wanted(&self) -> bool {
        let mind = self.mind.lock();
        let lately = mind.left.is_some_and(|left| now().saturating_duration_since(left) < BETWEEN);
        mind.settings.delay.is_some() && (!mind.seats.is_empty() || lately)
    }

    /// The configured place to probe.
    pub(super) fn place(&self) -> Option<String> {
        self.mind.lock().settings.probe.clone()
    }

    /// The nearest of the hosts that the night speaks with; as long as it does, the one that was probed before.
    pub(super) fn nearest(&self) -> Option<SocketAddr> {
        let mind = self.mind.lock();
        let before = mind.near.iter().find(|(addr, _)| Some(*addr) == mind.asked);
        before.or_else(|| mind.near.iter().min_by_key(|(_, took)| *took)).map(|(addr, _)| *addr)
    }

    /// This host does not answer: another one may.
    pub(super) fn drop_host(&self, addr: SocketAddr) {
        self.mind.lock().near.retain(|(known, _)| *known != addr);
    }

    /// From now on this host is probed; none: there is nothing to steer by.
    pub(super) fn look_at(&self, host: Option<SocketAddr>) {
        let mut mind = self.mind.lock();
        mind.steers = host.is_some();
        if host.is_some() && mind.asked != host {
            mind.asked = host;
            mind.delay.forget();
        }
        drop(mind);
        self.changed.notify_waiters();
    }

    /// Background begins after a time without.
    pub(super) fn begin(&self) {
        self.mind.lock().delay.begin(now());
    }

    /// What came of a probe.
    pub(super) fn probed(&self, sent: Instant, rtt: Option<Duration>) {
        self.mind.lock().delay.probed(sent, rtt, now());
    }

    /// Probes without an answer in a row, the shortest delay, and how long to wait for one.
    pub(super) fn probing(&self) -> (u32, Option<f64>, Duration) {
        let mind = self.mind.lock();
        (mind.delay.lost(), mind.delay.base(), mind.delay.patience())
    }

    /// One tick; when the next one is due.
    pub(super) fn tick(&self) -> Instant {
        let (now, open) = (now(), self.foreground.shut().is_none());
        let mut mind = self.mind.lock();
        mind.beat += 1;
        mind.share_out();
        mind.delay.tick(open, now);
        tracing::trace!(open, seats = mind.seats.len(), window = mind.delay.window(), delay = ?mind.delay.sight(), "tick");
        let next = mind.delay.next_tick(now);
        drop(mind);
        self.changed.notify_waiters();
        next
    }
}

impl Mind {
    /// The rate that gate and controller allow; `None`: any.
    fn rate(&self, shut: bool) -> Option<f64> {
        self.settings.delay?;
        let floor = per_second(self.settings.floor);
        let steered = self.steers.then(|| self.delay.rate());
        if shut { Some(steered.map_or(floor, |rate| rate.min(floor))) } else { steered }
    }

    /// Who brought how much of all that came, over the last ticks.
    #[expect(clippy::cast_precision_loss, reason = "bytes of a tick")]
    fn share_out(&mut self) {
        let came: Vec<(u64, u64)> = self.seats.iter().map(|(number, taken)| (*number, taken.came.swap(0, Ordering::Relaxed))).collect();
        let all: u64 = came.iter().map(|(_, bytes)| bytes).sum();
        for (number, bytes) in came {
            if let Some(taken) = self.seats.get_mut(&number).filter(|_| all > 0) {
                taken.share += (bytes as f64 / all as f64 - taken.share) / 2.0;
            }
        }
    }

    /// Lets `bytes` pass (`None`), or says when to look again.
    fn pass(&mut self, bytes: u64, shut: Option<Instant>, now: Instant) -> Option<Instant> {
        let rate = self.rate(shut.is_some());
        self.flow.turn(rate, now);
        self.cap.settle(now);
        let ready = self.flow.ready(now).max(self.cap.ready(now));
        let Some(ready) = ready else {
            self.flow.spend(bytes);
            self.cap.spend(bytes);
            return None;
        };
        Some(shut.map_or(ready, |until| until.min(ready)).min(now + NAP))
    }

    /// Lets `bytes` pass that nobody waits for any more.
    fn spend(&mut self, bytes: u64, now: Instant) {
        for bucket in [&mut self.flow, &mut self.cap] {
            bucket.settle(now);
            bucket.spend(bytes);
        }
    }
}

/// The place of one transfer; dropping it ends it.
#[derive(Debug)]
pub struct Seat {
    pace: Arc<Pace>,
    number: u64,
    came: Arc<AtomicU64>,
}

impl Seat {
    /// These many bytes have come: they are to be paid for before more are read.
    pub fn came(&self, bytes: u64) {
        self.came.fetch_add(bytes, Ordering::Relaxed);
        self.pace.came(bytes);
    }

    /// Waits until what has come is paid for. May be dropped at any await, and does not hold the seat.
    pub fn pay(&self, bytes: u64) -> impl Future<Output = ()> + Send + use<> {
        let pace = Arc::clone(&self.pace);
        async move { pace.pay(bytes).await }
    }

    /// Leaves what has come to be paid for by whoever takes next.
    pub fn owe(&self, bytes: u64) {
        self.pace.mind.lock().spend(bytes, now());
    }

    /// The receive window that this transfer's connection is to offer, bytes, and the tick that it was reckoned at; `None`: as the
    /// system likes.
    pub fn window(&self) -> (u64, Option<u32>) {
        let mind = self.pace.mind.lock();
        if !mind.steers || mind.settings.delay.is_none() {
            return (mind.beat, None);
        }
        let share = mind.seats.get(&self.number).map_or(1.0, |taken| (taken.share + SPARE).min(1.0));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast from a float saturates, and it is positive")]
        (mind.beat, Some((share * mind.delay.window()).max(WINDOW) as u32))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut mind = self.pace.mind.lock();
        mind.seats.remove(&self.number);
        mind.left = Some(now());
    }
}

/// A token bucket that may go into debt.
#[derive(Debug)]
struct Bucket {
    /// Bytes per second; `None`: no limit.
    rate: Option<f64>,
    burst: Duration,
    /// Bytes that may pass, or, below zero, that have passed already and are not paid for.
    level: f64,
    at: Option<Instant>,
}

impl Bucket {
    fn new(burst: Duration) -> Bucket {
        Bucket { rate: None, burst, level: 0.0, at: None }
    }

    /// From now on at another rate. What is in the bucket stays.
    fn turn(&mut self, rate: Option<f64>, now: Instant) {
        self.settle(now);
        if self.rate.is_none() {
            self.level = rate.unwrap_or(0.0) * self.burst.as_secs_f64();
        }
        self.rate = rate;
        self.settle(now);
    }

    fn settle(&mut self, now: Instant) {
        let passed = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.at = Some(now);
        match self.rate {
            Some(rate) => self.level = (self.level + rate * passed.as_secs_f64()).min(rate * self.burst.as_secs_f64()),
            None => self.level = 0.0,
        }
    }

    /// When the debt will be paid; `None`: there is none.
    fn ready(&self, now: Instant) -> Option<Instant> {
        let rate = self.rate.filter(|_| self.level < 0.0)?;
        // At least a millisecond: a timer's own step.
        Some(now + Duration::from_secs_f64((-self.level / rate).clamp(0.001, NAP.as_secs_f64())))
    }

    #[expect(clippy::cast_precision_loss, reason = "pieces of a body")]
    fn spend(&mut self, bytes: u64) {
        if self.rate.is_some() {
            self.level -= bytes as f64;
        }
    }
}

/// At least one byte a second.
#[expect(clippy::cast_precision_loss, reason = "rates fit a double")]
fn per_second(rate: BitRate) -> f64 {
    rate.bytes_per_second().max(1) as f64
}

/// Steady time, which a test's paused runtime moves.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests;
