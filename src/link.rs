//! The line: up, slow or down; how fast; what has passed. Everything is passive: real fetches tell what they saw
//! (`Link::observe`), and this module judges. Only while the line is down, or a suspicion stands, does it try by itself:
//! one TCP connection at a time to a host that answered lately, so that the line's return is noticed without anybody asking.
//!
//! The thinking is in the pure files `estimate`, `state` and `slice`; this one keeps the samples, the tasks and the counters.

use crate::base::clock::{Clock, Time};
use crate::base::count::Metrics;
use crate::base::unit::BitRate;
use crate::life::{Life, keep_up, news};
use crate::link::cause::Causes;
use crate::link::estimate::{Came, Estimate};
use crate::link::foreground::Foreground;
use crate::link::gauges::Gauges;
use crate::link::outage::Sign;
use crate::link::pace::Pace;
use crate::link::passive::Passive;
use crate::link::reach::{Reach, judge};
use crate::link::slice::{Second, Slices};
use crate::link::state::Judge;
use crate::link::way::Out;
use ipnet::IpNet;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};

pub use sample::{Class, Sample};
pub use slice::Slice;

/// What it is told.
mod sample;

/// Samples to figures.
pub mod estimate;

/// up | slow | down.
pub mod state;

/// What is amiss, and the cause of it.
pub mod cause;

/// What of it is told, and how often.
pub mod outage;

/// Which interfaces lead out.
pub mod way;

/// Whether a host is in the country.
pub mod reach;

/// Which side of the line an address is on.
pub mod side;

/// What real traffic shows beside rates.
pub mod passive;

/// Five minutes of the line, summed up.
pub mod slice;

/// For `/metrics`.
mod gauges;

/// How the line is tried when nobody else does.
mod probe;

/// Who waits for the line right now.
pub mod foreground;

/// How fast background may be without being noticed.
pub mod delay;

/// What background bytes wait for.
pub mod pace;

/// The delay controller at work.
mod control;

/// Five minutes, hours, days, with gaps explained.
pub mod rollup;

/// `[link]`.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// "host:port" to try by TCP; empty: own fetches decide.
    pub check: Vec<String>,
    /// The country's networks; empty: names tell. See [`reach`].
    pub domestic: Vec<IpNet>,
}

/// up | slow | down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Not known yet: treated as up.
    Unknown,
    /// Works.
    Up,
    /// Works badly (persistently far below its usual rate, or latency far above).
    Slow,
    /// Nothing gets through.
    Down,
}

/// Figures for status, reports, metrics.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct View {
    /// Verdict.
    pub state: State,
    /// Since when (RFC 3339).
    pub since: String,
    /// 95th percentile of busy seconds over the last hour.
    pub download: Option<BitRate>,
    /// Median TCP connect time over the last 5 minutes, seconds.
    pub rtt_seconds: Option<f64>,
    /// Median time to first byte, seconds.
    pub first_byte_seconds: Option<f64>,
    /// Share of failed connection attempts over the last 5 minutes.
    pub failed_ratio: Option<f64>,
    /// Names, TLS, latency under load, hosts near and far: the last five to ten minutes.
    pub passive: Passive,
    /// Totals since start by class: (received, sent).
    pub bytes: std::collections::BTreeMap<String, (u64, u64)>,
}

/// The line. Cheap to clone.
#[derive(Clone)]
pub struct Link(Arc<Inner>);

struct Inner {
    clock: Clock,
    /// The verdict for the hit path: one atomic load.
    verdict: AtomicU8,
    changed: watch::Sender<State>,
    mind: Mutex<Mind>,
    /// Received and sent since start, by class.
    moved: [(AtomicU64, AtomicU64); 4],
    /// Received since start, in the order of [`Reach::ALL`].
    came: [AtomicU64; 3],
    /// Seconds since start.
    beat: AtomicU64,
    /// Wakes the prober: a failure, a verdict.
    doubt: Notify,
    /// How many suspicions have been looked into.
    settled: watch::Sender<u64>,
    checks: Vec<String>,
    domestic: Vec<IpNet>,
    /// What tests have found, bytes per second: towards the school, towards the world; 0: nobody knows.
    capacity: (AtomicU64, AtomicU64),
    gauges: Gauges,
    foreground: Foreground,
    pace: Arc<Pace>,
}

struct Mind {
    judge: Judge,
    estimate: Estimate,
    slices: Slices,
    /// Hosts that answered lately, newest last: what can be tried while the line is down.
    answered: VecDeque<(Box<str>, SocketAddr)>,
    /// Addresses that were tried while nothing had answered yet, newest last: what a suspicion is looked into with then.
    tried: VecDeque<(Box<str>, SocketAddr)>,
    /// What is amiss, for the log of outages.
    causes: Causes,
    /// How the DNS servers were seen last.
    names: Option<bool>,
    /// Families in which a connection has come about over the line: IPv4, IPv6.
    crossed: [bool; 2],
    /// When a connection was last tried, by anybody.
    attempted: Instant,
    since: Time,
    /// Failures since the last success.
    suspicion: u32,
    /// Sums at the last tick: received, sent, received by background, received and sent by measurements.
    last: (u64, u64, u64, u64, u64),
    /// The same by reach.
    last_came: [u64; 3],
    /// The last second filled the line.
    full: bool,
    ticked: Option<Instant>,
}

/// Who found that a host does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finder {
    /// Somebody's fetch.
    Fetch,
    /// Nobody could say where it is.
    Names,
    /// It was asked how the line is.
    Round,
}

/// Hosts remembered for probing; a few, since one answer is enough.
const ANSWERED: usize = 8;
/// A suspicion is settled within this or the caller goes on without: the pause between two rounds, and a round.
const SETTLE: Duration = probe::DOUBT_EVERY.saturating_add(probe::PATIENCE);
/// Of a hundred parts of the capacity that a test has found, payload: what remains are heads, acknowledgements and a second's unevenness.
const FULL: u64 = 80;
const CLASSES: [Class; 4] = [Class::Interactive, Class::Background, Class::Report, Class::Measure];

impl Link {
    /// Starts watching. Registers `bulak_link_*`.
    pub fn new(settings: Settings, clock: Clock, life: &Life, metrics: &Metrics) -> Link {
        let (now, steady) = (clock.now(), clock.steady());
        let mind = Mind {
            judge: Judge::new(!settings.check.is_empty(), steady),
            estimate: Estimate::default(),
            slices: Slices::new(now),
            answered: VecDeque::new(),
            tried: VecDeque::new(),
            causes: Causes::default(),
            names: None,
            crossed: [false; 2],
            attempted: steady,
            since: now,
            suspicion: 0,
            last: (0, 0, 0, 0, 0),
            last_came: [0; 3],
            full: false,
            ticked: None,
        };
        let gauges = Gauges::new(metrics);
        let foreground = Foreground::default();
        let link = Link(Arc::new(Inner {
            clock,
            verdict: AtomicU8::new(State::Unknown as u8),
            changed: watch::Sender::new(State::Unknown),
            mind: Mutex::new(mind),
            moved: Default::default(),
            came: Default::default(),
            beat: AtomicU64::new(0),
            doubt: Notify::new(),
            settled: watch::Sender::new(0),
            checks: settings.check,
            domestic: settings.domestic,
            capacity: Default::default(),
            gauges,
            pace: Arc::new(Pace::beside(foreground.clone())),
            foreground,
        }));
        keep_up(life, "line's probe", &link, probe::run);
        keep_up(life, "night's pace", &link, control::run);
        keep_up(life, "line's seconds", &link, |link: Link| async move {
            let mut beat = tokio::time::interval(Duration::from_secs(1));
            beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                beat.tick().await;
                link.tick();
            }
        });
        link
    }

    /// Tells what happened. What says nothing of the line is left out by the caller: see [`side`].
    pub fn observe(&self, sample: Sample) {
        match sample {
            Sample::Received { class, bytes } => {
                self.0.moved[class as usize].0.fetch_add(bytes, Ordering::Relaxed);
            }
            Sample::Sent { class, bytes } => {
                self.0.moved[class as usize].1.fetch_add(bytes, Ordering::Relaxed);
            }
            Sample::FirstByte { took, host } => {
                let now = self.0.clock.steady();
                let mut mind = self.0.mind.lock();
                mind.causes.answered(&host, now);
                mind.estimate.first_byte(took, now);
                mind.slices.first_byte(took);
            }
            Sample::Connected { host, addr, took } => self.connected(&host, addr, took),
            Sample::Failed { host, addr } => self.failed(&host, addr, Finder::Fetch),
            Sample::NameFailed { host } => self.failed(&host, None, Finder::Names),
            Sample::Came { reach, bytes } => {
                self.0.came[reach as usize].fetch_add(bytes, Ordering::Relaxed);
            }
            Sample::Segments { segments, rtt } => {
                self.0.gauges.segments(segments, rtt);
                self.0.mind.lock().slices.passive().segments(segments, rtt);
            }
            Sample::Named { took } => {
                self.0.gauges.names.observe(took.as_secs_f64());
                self.0.mind.lock().slices.passive().named(took);
            }
            Sample::Secured { took } => {
                self.0.gauges.tls.observe(took.as_secs_f64());
                self.0.mind.lock().slices.passive().secured(took);
            }
            Sample::Names { heard } => {
                let mut mind = self.0.mind.lock();
                mind.causes.names(heard, self.0.clock.steady());
                mind.names = Some(heard);
            }
        }
    }

    /// Where a host is, as far as it is known.
    pub fn reach(&self, host: &str, addr: IpAddr) -> Reach {
        judge(host, Some(addr), &self.0.domestic)
    }

    /// Grows by one each second: the cheap clock of whoever wants to do something now and then.
    pub fn beat(&self) -> u64 {
        self.0.beat.load(Ordering::Relaxed)
    }

    /// The transfers that people wait for.
    pub fn foreground(&self) -> &Foreground {
        &self.0.foreground
    }

    /// What background bytes wait for.
    pub fn pace(&self) -> &Arc<Pace> {
        &self.0.pace
    }

    /// Shows what the controller sees.
    fn tell_pace(&self) {
        let sight = self.0.pace.sight();
        self.0.gauges.background.set(sight.rate.unwrap_or(-1.0));
        self.0.gauges.queue.set(sight.queue.unwrap_or(0.0));
    }

    /// The verdict now: one atomic load, for the hit path.
    pub fn state(&self) -> State {
        match self.0.verdict.load(Ordering::Relaxed) {
            1 => State::Up,
            2 => State::Slow,
            3 => State::Down,
            _ => State::Unknown,
        }
    }

    /// Resolves when the verdict next changes, seen from the call on. A loop that also reads [`Link::state`] wants [`Link::watch`], which
    /// misses nothing in between. May be dropped at any await.
    pub fn changed(&self) -> impl Future<Output = ()> + Send + use<> {
        news(&self.0.changed)
    }

    /// The verdict as a channel: every change after this call is seen.
    pub fn watch(&self) -> watch::Receiver<State> {
        self.0.changed.subscribe()
    }

    /// Resolves when the verdict is `state`, at once if it is already. May be dropped at any await.
    pub async fn becomes(&self, state: State) {
        if self.watch().wait_for(|now| *now == state).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// After a failure of one's own: waits until the suspicion that it raised is settled, at most 2.5 s, and tells the verdict. So the
    /// first request after a cut already knows that it was the line. May be dropped at any await.
    pub async fn settle(&self) -> State {
        let mut settled = self.0.settled.subscribe();
        let waiting = self.0.mind.lock().suspicion > 0 && self.state() != State::Down;
        if waiting {
            self.0.doubt.notify_one();
            // Both a timeout and a settled suspicion are answered by the verdict as it then stands.
            let _ = tokio::time::timeout(SETTLE, settled.changed()).await;
        }
        self.state()
    }

    /// A connection to `addr` is about to be tried. Remembered only while nothing has answered yet: a node that starts behind a cut
    /// line needs a second opinion about the first host that is silent.
    pub fn trying(&self, host: &str, addr: SocketAddr) {
        if self.state() != State::Unknown {
            return;
        }
        let mut mind = self.0.mind.lock();
        if mind.answered.is_empty() && !mind.tried.iter().any(|(_, known)| *known == addr) {
            while mind.tried.len() >= ANSWERED {
                mind.tried.pop_front();
            }
            mind.tried.push_back((host.into(), addr));
        }
    }

    /// Whether the DNS servers gave answers when they were last seen. Before one has since the start, no failure of theirs is a name's:
    /// after a power cut the school's own resolver is there long before the line.
    pub fn names_answer(&self) -> bool {
        self.0.mind.lock().names == Some(true)
    }

    /// Whether only the other family has ever got through: then this one was never there, and no way to it says nothing of the line.
    pub fn lacks_family(&self, ip: IpAddr) -> bool {
        let crossed = self.0.mind.lock().crossed;
        crossed[usize::from(ip.is_ipv4())] && !crossed[usize::from(ip.is_ipv6())]
    }

    /// Something takes suspiciously long: looks whether hosts that answered lately still do. Costs a few TCP handshakes at most.
    pub fn suspect(&self) {
        let mut mind = self.0.mind.lock();
        mind.suspicion = mind.suspicion.saturating_add(1);
        drop(mind);
        self.0.doubt.notify_one();
    }

    /// What a test has found, bit/s: from then on it is known when the line is full.
    pub fn capacity(&self, down: Option<u64>, up: Option<u64>) {
        for (kept, bits) in [(&self.0.capacity.0, down), (&self.0.capacity.1, up)] {
            if let Some(bits) = bits {
                kept.store(bits / 8, Ordering::Relaxed);
            }
        }
    }

    /// Whether so many bytes of payload in a second fill the line.
    fn is_full(&self, rx: u64, tx: u64) -> bool {
        let over = |moved: u64, capacity: &AtomicU64| {
            let capacity = capacity.load(Ordering::Relaxed);
            capacity > 0 && u128::from(moved) * 100 >= u128::from(capacity) * u128::from(FULL)
        };
        over(rx, &self.0.capacity.0) || over(tx, &self.0.capacity.1)
    }

    /// Whether there is a way out: an interface that leads anywhere.
    pub fn interface(&self, out: Out) {
        self.0.mind.lock().causes.interface(out, self.0.clock.steady());
    }

    /// What is amiss now, the cause of everything else that is; and whether it is worth looking again soon.
    pub fn amiss(&self) -> (Option<Sign<Instant>>, bool) {
        let (now, mind) = (self.0.clock.steady(), self.0.mind.lock());
        (mind.causes.sign(now), mind.causes.doubts(now))
    }

    /// Figures now.
    pub fn view(&self) -> View {
        let now = self.0.clock.steady();
        let mind = self.0.mind.lock();
        let bytes = CLASSES.iter().map(|class| (class.label().to_owned(), self.moved(*class))).collect();
        let wall = self.0.clock.now();
        let recent = mind.slices.since(wall.minus(estimate::RECENT), wall);
        View {
            state: self.state(),
            since: mind.since.to_rfc3339(),
            download: mind.estimate.download(now).map(|bytes| BitRate(bytes.saturating_mul(8))),
            rtt_seconds: mind.estimate.rtt(now),
            first_byte_seconds: mind.estimate.first_byte_median(now),
            failed_ratio: mind.estimate.failed_ratio(now),
            passive: Passive::sum(&recent.iter().map(|slice| &slice.passive).collect::<Vec<_>>()),
            bytes,
        }
    }

    /// Bytes received and sent since start that were not of this class: what a measurement finds on the line beside itself.
    pub fn beside(&self, class: Class) -> (u64, u64) {
        let others = CLASSES.iter().filter(|other| **other != class).map(|other| self.moved(*other));
        others.fold((0, 0), |sum, moved| (sum.0 + moved.0, sum.1 + moved.1))
    }

    /// Bytes received and sent since start by a class.
    pub fn moved(&self, class: Class) -> (u64, u64) {
        let (received, sent) = &self.0.moved[class as usize];
        (received.load(Ordering::Relaxed), sent.load(Ordering::Relaxed))
    }

    /// Five-minute slices of the last 24 h that end after `since`, oldest first; the last may still be filling.
    pub fn slices(&self, since: Time) -> Vec<Slice> {
        let now = self.0.clock.now();
        self.0.mind.lock().slices.since(since, now)
    }

    fn connected(&self, host: &str, addr: SocketAddr, took: Duration) {
        let now = self.0.clock.steady();
        let reach = self.reach(host, addr.ip());
        self.0.gauges.rtt.observe(took.as_secs_f64());
        self.0.gauges.reach[reach as usize].observe(took.as_secs_f64());
        let mut mind = self.0.mind.lock();
        mind.estimate.connected(took, now);
        mind.crossed[usize::from(addr.is_ipv6())] = true;
        let full = mind.full;
        if full {
            self.0.gauges.loaded.observe(took.as_secs_f64());
        }
        mind.slices.connected(took, reach, full);
        mind.causes.answered(host, now);
        mind.attempted = now;
        mind.suspicion = 0;
        mind.answered.retain(|(_, known)| *known != addr);
        while mind.answered.len() >= ANSWERED {
            mind.answered.pop_front();
        }
        mind.answered.push_back((host.into(), addr));
        mind.tried.clear();
        mind.judge.worked(host, now);
        self.publish(&mut mind);
    }

    fn failed(&self, host: &str, addr: Option<IpAddr>, finder: Finder) {
        let now = self.0.clock.steady();
        let mut mind = self.0.mind.lock();
        if finder != Finder::Names {
            mind.causes.silent(host, now);
        }
        mind.attempted = now;
        mind.estimate.failed(now);
        mind.slices.failed(judge(host, addr, &self.0.domestic));
        mind.suspicion = mind.suspicion.saturating_add(1);
        if finder == Finder::Round || mind.answered.is_empty() {
            mind.judge.failed(host, now);
        } else {
            let known = finder == Finder::Fetch && mind.answered.iter().any(|(other, _)| &**other == host);
            mind.judge.missed(host, known, now);
        }
        self.publish(&mut mind);
        drop(mind);
        self.0.doubt.notify_one();
    }

    /// What happened in the second that just ended.
    pub(crate) fn tick(&self) {
        let (now, steady) = (self.0.clock.now(), self.0.clock.steady());
        let sums = CLASSES.iter().map(|class| self.moved(*class)).fold((0, 0), |sum, moved| (sum.0 + moved.0, sum.1 + moved.1));
        let (background, measure) = (self.moved(Class::Background).0, self.moved(Class::Measure));
        let came = [0, 1, 2].map(|reach| self.0.came[reach].load(Ordering::Relaxed));
        let transfers = self.0.foreground.awake();
        self.0.beat.fetch_add(1, Ordering::Relaxed);
        let mut mind = self.0.mind.lock();
        let mind = &mut *mind;
        let before = std::mem::replace(&mut mind.last_came, came);
        let came = [0, 1, 2].map(|reach: usize| came[reach] - before[reach]);
        for (counter, bytes) in self.0.gauges.came.iter().zip(came) {
            counter.inc_by(bytes);
        }
        let (rx, tx) = (sums.0 - mind.last.0, sums.1 - mind.last.1);
        let (measure_rx, measure_tx) = (measure.0 - mind.last.3, measure.1 - mind.last.4);
        let millis = mind.ticked.map_or(1000, |last| u64::try_from(steady.saturating_duration_since(last).as_millis()).unwrap_or(u64::MAX));
        let second = Second { millis, rx, tx, background_rx: background - mind.last.2, measure_rx, measure_tx, came };
        mind.last = (sums.0, sums.1, background, measure.0, measure.1);
        // By what a second of it had: a beat that comes late brings more, and fills no line by that.
        mind.full = self.is_full(second.speed(rx), second.speed(tx));
        let passed = millis.div_ceil(1000).max(1);
        mind.ticked = Some(steady);
        // A beat that comes a little late is no gap.
        let missed = if passed > 2 { u32::try_from(passed - 1).unwrap_or(u32::MAX) } else { 0 };
        let (bytes, awaited) = (second.speed(second.unasked()), second.speed(second.awaited()));
        mind.estimate.second(Came { bytes, awaited, transfers }, steady);
        mind.judge.tick(mind.estimate.looks_slow(mind.slices.usual(), steady), steady);
        self.publish(mind);
        mind.slices.second(self.state(), second, missed, now);
        #[expect(clippy::cast_precision_loss, reason = "rates fit a double")]
        self.0.gauges.download.set(mind.estimate.download(steady).unwrap_or(0) as f64);
    }

    /// Makes the judge's verdict known.
    fn publish(&self, mind: &mut Mind) {
        let state = mind.judge.state();
        if state == self.state() {
            return;
        }
        tracing::info!(from = ?self.state(), to = ?state, "the line");
        mind.since = self.0.clock.now();
        mind.causes.line(state == State::Down, self.0.clock.steady());
        self.0.verdict.store(state as u8, Ordering::Relaxed);
        self.0.gauges.up.set(i64::from(state != State::Down));
        self.0.changed.send_replace(state);
    }
}

#[cfg(test)]
mod tests;
