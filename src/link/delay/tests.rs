//! The controller on a simulated line: packets of 1,460 bytes, a drop-tail queue, senders that grow their windows as TCP does, a reader
//! that takes what the rate allows. Time moves by hand, a millisecond a step.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a simulation reckons with small positive numbers"
)]

use super::*;

/// Bytes of a packet.
const PACKET: f64 = 1460.0;
/// One step, seconds.
const STEP: f64 = 0.001;
/// After the last byte of a foreground transfer the background stays silent for so long.
const LINGER: f64 = 1.0;
const FLOOR: f64 = 2_000.0;

/// A line as the ISP sells it.
#[derive(Clone, Copy)]
struct Line {
    /// Bytes per second towards us.
    rate: f64,
    /// Seconds there and back, without a queue.
    round: f64,
    /// Bytes that the queue holds.
    queue: f64,
    /// One packet in so many is lost on the way, 0: none.
    loses: u64,
}

const DSL: Line = Line { rate: 625_000.0, round: 0.08, queue: 250_000.0, loses: 0 };
const SATELLITE: Line = Line { rate: 250_000.0, round: 0.6, queue: 250_000.0, loses: 0 };
const LOSSY: Line = Line { rate: 2_500_000.0, round: 0.04, queue: 250_000.0, loses: 100 };

/// Whose packet it is.
#[derive(Clone, Copy, PartialEq)]
enum Whose {
    Sender(usize),
    Probe(f64),
}

/// A transfer as its sender sees it: slow start, then a window that grows by a packet a round trip, halved by a loss.
struct Sender {
    background: bool,
    /// Still to send; packets.
    left: f64,
    flight: f64,
    window: f64,
    threshold: f64,
    /// No second decrease within a round trip.
    healed: f64,
    /// What the receiver has read, and so what it offers.
    offered: f64,
    sent: f64,
    /// Came in and was not read yet, bytes.
    unread: f64,
    read: f64,
    came: f64,
}

impl Sender {
    fn new(background: bool, bytes: f64) -> Sender {
        let left = (bytes / PACKET).ceil();
        Sender {
            background,
            left,
            flight: 0.0,
            window: 10.0,
            threshold: f64::INFINITY,
            healed: 0.0,
            offered: 65_535.0,
            sent: 0.0,
            unread: 0.0,
            read: 0.0,
            came: 0.0,
        }
    }
}

/// How background is held back.
#[derive(Clone, Copy, PartialEq)]
enum Control {
    None,
    Both,
}

struct World {
    line: Line,
    control: Control,
    start: Instant,
    now: f64,
    delay: Delay,
    senders: Vec<Sender>,
    /// In the queue: whose, size.
    queue: VecDeque<(Whose, f64)>,
    queued: f64,
    /// Credit of the line for sending, bytes.
    served: f64,
    /// Packets on the air towards us, and what goes back: arrival, what.
    down: VecDeque<(f64, Whose)>,
    up: VecDeque<(f64, Up)>,
    /// What was lost, when its sender will know.
    lost: VecDeque<(f64, usize)>,
    credit: f64,
    quiet: f64,
    next_probe: f64,
    packets: u64,
    /// Answers of probes: when, seconds.
    seen: Vec<(f64, f64)>,
    tick: f64,
    /// What background has read.
    took: f64,
    /// Whether there is one: transfers of others are not seen by it.
    gate: bool,
}

#[derive(Clone, Copy)]
enum Up {
    Acknowledges(usize),
    Offers(usize, f64),
    Asks(f64),
}

impl World {
    fn new(line: Line, control: Control) -> World {
        let start = crate::base::clock::Clock::manual(crate::base::clock::Time::BUILT).steady();
        let mut delay = Delay::new(Duration::from_millis(25), FLOOR);
        delay.begin(start);
        World {
            line,
            control,
            start,
            now: 0.0,
            delay,
            senders: Vec::new(),
            queue: VecDeque::new(),
            queued: 0.0,
            served: 0.0,
            down: VecDeque::new(),
            up: VecDeque::new(),
            lost: VecDeque::new(),
            credit: 0.0,
            quiet: -LINGER,
            next_probe: 0.0,
            packets: 0,
            seen: Vec::new(),
            tick: 0.0,
            took: 0.0,
            gate: true,
        }
    }

    fn at(&self, seconds: f64) -> Instant {
        self.start + Duration::from_secs_f64(seconds)
    }

    fn add(&mut self, background: bool, bytes: f64) -> usize {
        self.senders.push(Sender::new(background, bytes));
        self.senders.len() - 1
    }

    /// Whether no foreground transfer keeps background silent.
    fn open(&self) -> bool {
        if !self.gate {
            return true;
        }
        let busy = self.senders.iter().any(|sender| !sender.background && (sender.left > 0.0 || sender.flight > 0.0));
        !busy && self.now - self.quiet >= LINGER
    }

    fn enqueue(&mut self, whose: Whose, bytes: f64) {
        self.packets += 1;
        // Every hundredth, but not in step with anything else.
        let lost = self.line.loses > 0 && self.packets.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32 < (1 << 32) / self.line.loses;
        if lost || self.queued + bytes > self.line.queue {
            if let Whose::Sender(number) = whose {
                self.lost.push_back((self.now + self.line.round, number));
            }
            return;
        }
        self.queued += bytes;
        self.queue.push_back((whose, bytes));
    }

    fn step(&mut self) {
        self.now += STEP;
        self.serve();
        self.arrive();
        self.answer();
        self.send();
        self.steer();
    }

    fn serve(&mut self) {
        self.served = if self.queue.is_empty() { 0.0 } else { self.served + self.line.rate * STEP };
        while self.queue.front().is_some_and(|(_, bytes)| *bytes <= self.served) {
            if let Some((whose, bytes)) = self.queue.pop_front() {
                self.served -= bytes;
                self.queued -= bytes;
                self.down.push_back((self.now + self.line.round / 2.0, whose));
            }
        }
    }

    fn arrive(&mut self) {
        while self.down.front().is_some_and(|(at, _)| *at <= self.now) {
            match self.down.pop_front() {
                Some((_, Whose::Sender(number))) => {
                    let sender = &mut self.senders[number];
                    sender.unread += PACKET;
                    sender.came += PACKET;
                    if !sender.background {
                        self.quiet = self.now;
                    }
                    self.up.push_back((self.now + self.line.round / 2.0, Up::Acknowledges(number)));
                }
                Some((_, Whose::Probe(sent))) => {
                    let rtt = self.now - sent;
                    self.seen.push((self.now, rtt));
                    self.delay.probed(self.at(sent), Some(Duration::from_secs_f64(rtt)), self.at(self.now));
                }
                None => {}
            }
        }
        let open = self.open();
        let rate = match (self.control, open) {
            (Control::None, _) => f64::INFINITY,
            (Control::Both, true) => self.delay.rate(),
            (Control::Both, false) => FLOOR,
        };
        self.credit = (self.credit + rate * STEP).min(rate * 0.04);
        let number = self.senders.iter().filter(|sender| sender.background).count().max(1);
        let share = (self.delay.window() / number as f64).max(2.0 * PACKET);
        for at in 0..self.senders.len() {
            // Who reads first changes, as tasks do.
            let at = (at + usize::try_from(self.packets).unwrap_or(0)) % self.senders.len();
            let (now, round) = (self.now, self.line.round);
            let sender = &mut self.senders[at];
            let mut took = sender.unread;
            if sender.background {
                took = if self.credit >= 0.0 { took.min((rate * 0.02).clamp(1024.0, 16384.0)) } else { 0.0 };
                self.credit -= took;
            }
            if took <= 0.0 {
                continue;
            }
            sender.unread -= took;
            sender.read += took;
            let window = if sender.background && self.control == Control::Both { share } else { 4e6 };
            if sender.background {
                self.delay.came(took as u64);
                self.took += took;
            }
            self.up.push_back((now + round / 2.0, Up::Offers(at, sender.read + window)));
        }
    }

    fn answer(&mut self) {
        while self.lost.front().is_some_and(|(at, _)| *at <= self.now) {
            let Some((_, number)) = self.lost.pop_front() else { return };
            let sender = &mut self.senders[number];
            sender.flight -= 1.0;
            sender.left += 1.0;
            sender.sent -= PACKET;
            if self.now >= sender.healed {
                sender.window = (sender.window / 2.0).max(2.0);
                sender.threshold = sender.window;
                sender.healed = self.now + self.line.round;
            }
        }
        while self.up.front().is_some_and(|(at, _)| *at <= self.now) {
            match self.up.pop_front() {
                Some((_, Up::Acknowledges(number))) => {
                    let sender = &mut self.senders[number];
                    sender.flight -= 1.0;
                    sender.window += if sender.window < sender.threshold { 1.0 } else { 1.0 / sender.window };
                }
                Some((_, Up::Offers(number, offered))) => {
                    let sender = &mut self.senders[number];
                    sender.offered = sender.offered.max(offered);
                }
                Some((_, Up::Asks(sent))) => self.enqueue(Whose::Probe(sent), 60.0),
                None => return,
            }
        }
    }

    fn send(&mut self) {
        for at in 0..self.senders.len() {
            loop {
                let sender = &mut self.senders[at];
                if sender.left <= 0.0 || sender.flight + 1.0 > sender.window || sender.sent + PACKET > sender.offered {
                    break;
                }
                sender.left -= 1.0;
                sender.flight += 1.0;
                sender.sent += PACKET;
                self.enqueue(Whose::Sender(at), PACKET);
            }
        }
        if self.now >= self.next_probe {
            self.next_probe = self.now + PROBE_EVERY;
            self.up.push_back((self.now + self.line.round / 2.0, Up::Asks(self.now)));
        }
    }

    fn steer(&mut self) {
        if self.now >= self.tick {
            let now = self.at(self.now);
            let open = self.open();
            self.delay.tick(open, now);
            self.tick = self.delay.next_tick(now).duration_since(self.start).as_secs_f64();
        }
    }

    fn run(&mut self, seconds: f64) {
        let end = self.now + seconds;
        while self.now < end {
            self.step();
        }
    }

    /// Seconds that a page of 500 kB takes: two round trips, then the transfer.
    fn page(&mut self) -> f64 {
        let began = self.now;
        self.quiet = self.now;
        // The gate shuts with the request; name, connection and hello take two round trips.
        let number = self.add(false, 0.0);
        self.senders[number].flight = 1.0;
        self.run(2.0 * self.line.round);
        self.senders[number] = Sender::new(false, 500_000.0);
        while self.senders[number].came < 500_000.0 {
            self.step();
        }
        self.quiet = self.now;
        self.senders[number].left = 0.0;
        self.now - began
    }

    /// Pages every three seconds (or as soon as the last one is there), for so long.
    fn pages(&mut self, seconds: f64) -> Vec<f64> {
        let end = self.now + seconds;
        let mut took = Vec::new();
        while self.now < end {
            let page = self.page();
            took.push(page);
            self.run((3.0 - page).max(0.1));
        }
        took
    }
}

/// Seconds between two probes.
const PROBE_EVERY: f64 = 0.2;

fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * share) as usize]
}

/// What a line showed.
#[derive(Debug)]
struct Seen {
    /// Share of the line that four endless transfers got, alone, once a minute had passed.
    alone: f64,
    /// What they added to the delay of others, seconds: the half and 95 of 100.
    added: (f64, f64),
    /// Pages beside them: the middle one and the slowest, seconds.
    pages: (f64, f64),
    /// Share of the line that the transfers got beside the pages.
    beside: f64,
}

fn seen(line: Line, control: Control) -> Seen {
    let mut world = World::new(line, control);
    for _ in 0..4 {
        world.add(true, 1e12);
    }
    world.run(60.0);
    let (took, probes) = (world.took, world.seen.len());
    world.run(60.0);
    let alone = (world.took - took) / 60.0 / line.rate;
    let added: Vec<f64> = world.seen[probes..].iter().map(|(_, rtt)| rtt - line.round).collect();
    let (took, at) = (world.took, world.now);
    let pages = world.pages(60.0);
    let beside = (world.took - took) / (world.now - at) / line.rate;
    let ends = |values: Vec<f64>, share| (quantile(values.clone(), 0.5), quantile(values, share));
    Seen { alone, added: ends(added, 0.95), pages: ends(pages, 1.0), beside }
}

#[test]
fn a_class_does_not_notice_and_the_night_gets_the_rest() {
    let target = 0.025;
    for (name, line, share) in [("5 Mbit/s", DSL, 0.85), ("satellite", SATELLITE, 0.7)] {
        let idle = World::new(line, Control::None).pages(60.0);
        let (middle, slowest) = (quantile(idle.clone(), 0.5), quantile(idle, 1.0));
        let seen = seen(line, Control::Both);
        assert!(seen.alone >= share, "{name}: {seen:?}");
        assert!(seen.added.0 <= target && seen.added.1 <= 2.0 * target + 0.001, "{name}: {seen:?}");
        assert!(seen.pages.0 <= 1.25 * middle && seen.pages.1 <= 1.5 * slowest, "{name}: {seen:?}, idle {middle} {slowest}");
        assert!(seen.beside > 0.005, "{name}: {seen:?}");
    }
}

#[test]
fn without_control_a_class_would_notice() {
    let idle = World::new(DSL, Control::None).pages(30.0);
    let seen = seen(DSL, Control::None);
    assert!(seen.added.0 > 0.2 && seen.pages.0 > 2.0 * quantile(idle, 0.5), "the simulation shows nothing: {seen:?}");
}

#[test]
fn losses_of_the_line_are_no_queue() {
    let (with, without) = (seen(LOSSY, Control::Both), seen(LOSSY, Control::None));
    assert!(with.alone >= 0.9 * without.alone, "{with:?} {without:?}");
}

#[test]
fn a_neighbour_of_the_line_gets_it() {
    let mut world = World::new(DSL, Control::Both);
    for _ in 0..4 {
        world.add(true, 1e12);
    }
    world.run(60.0);
    // Somebody whom the gate does not see takes all that he can get.
    let neighbour = world.add(false, 1e12);
    world.gate = false;
    world.run(10.0);
    let (took, came) = (world.took, world.senders[neighbour].came);
    world.run(30.0);
    let share = (world.senders[neighbour].came - came) / 30.0 / DSL.rate;
    assert!(share > 0.9, "{share}, the night {}", (world.took - took) / 30.0 / DSL.rate);
    world.senders[neighbour].left = 0.0;
    world.run(10.0);
    let took = world.took;
    world.run(20.0);
    assert!((world.took - took) / 20.0 / DSL.rate > 0.7, "and it comes back");
}

#[test]
fn probes_without_an_answer_mean_the_floor_for_a_while() {
    let start = crate::base::clock::Clock::manual(crate::base::clock::Time::BUILT).steady();
    let mut delay = Delay::new(Duration::from_millis(25), FLOOR);
    delay.begin(start);
    let mut now = start;
    let mut step = |delay: &mut Delay, rtt: Option<Duration>| {
        now += Duration::from_millis(100);
        delay.came(60_000);
        delay.probed(now, rtt, now);
        delay.tick(true, now);
    };
    let fine = Some(Duration::from_millis(80));
    for _ in 0..40 {
        step(&mut delay, fine);
    }
    let before = delay.rate();
    assert!(before > 300_000.0, "{before}");
    step(&mut delay, None);
    step(&mut delay, None);
    step(&mut delay, fine);
    assert!(delay.rate() >= before, "two may be lost by chance");
    for _ in 0..3 {
        step(&mut delay, None);
    }
    assert!((delay.rate() - FLOOR).abs() < 1.0);
    for _ in 0..19 {
        step(&mut delay, fine);
        assert!((delay.rate() - FLOOR).abs() < 1.0);
    }
    for _ in 0..60 {
        step(&mut delay, fine);
    }
    assert!(delay.rate() > 0.4 * before, "back at half of it soon: {}", delay.rate());
}

#[test]
fn the_shortest_delay_is_that_of_ten_minutes() {
    let start = crate::base::clock::Clock::manual(crate::base::clock::Time::BUILT).steady();
    let mut base = Base::default();
    assert_eq!(base.least(), None);
    base.add(0.05, start);
    for minute in 1..10 {
        base.add(0.08, start + MINUTE * minute);
        assert_eq!(base.least(), Some(0.05));
    }
    base.add(0.08, start + MINUTE * 10 + Duration::from_secs(1));
    assert_eq!(base.least(), Some(0.08), "the way has become longer for good");
    base.add(0.07, start + MINUTE * 60);
    assert_eq!(base.least(), Some(0.07), "nothing is kept from an hour ago");
}
