//! The controller on a simulated line: packets of 1,460 bytes, a drop-tail queue, senders that grow their windows as TCP does, a reader
//! that takes what the rate allows. Time moves by hand, a millisecond a step.

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
    credit: f64,
    quiet: f64,
    next_probe: f64,
    packets: u64,
    /// Answers of probes: when, seconds.
    seen: Vec<(f64, f64)>,
    tick: f64,
    /// Of the window that the controller offers.
    took: f64,
}

#[derive(Clone, Copy)]
enum Up {
    Acknowledges(usize),
    Lost(usize),
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
            credit: 0.0,
            quiet: -LINGER,
            next_probe: 0.0,
            packets: 0,
            seen: Vec::new(),
            tick: 0.0,
            took: 0.0,
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
        let busy = self.senders.iter().any(|sender| !sender.background && (sender.left > 0.0 || sender.flight > 0.0));
        !busy && self.now - self.quiet >= LINGER
    }

    fn enqueue(&mut self, whose: Whose, bytes: f64) {
        self.packets += 1;
        // Every hundredth, but not in step with anything else.
        let lost = self.line.loses > 0 && self.packets.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32 < (1 << 32) / self.line.loses;
        if lost || self.queued + bytes > self.line.queue {
            if let Whose::Sender(number) = whose {
                self.up.push_back((self.now + self.line.round, Up::Lost(number)));
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
        #[expect(clippy::cast_precision_loss, reason = "a few transfers")]
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
        let mut later = VecDeque::new();
        while let Some((at, what)) = self.up.pop_front() {
            if at > self.now {
                later.push_back((at, what));
                continue;
            }
            match what {
                Up::Acknowledges(number) => {
                    let sender = &mut self.senders[number];
                    sender.flight -= 1.0;
                    sender.window += if sender.window < sender.threshold { 1.0 } else { 1.0 / sender.window };
                }
                Up::Lost(number) => {
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
                Up::Offers(number, offered) => {
                    let sender = &mut self.senders[number];
                    sender.offered = sender.offered.max(offered);
                }
                Up::Asks(sent) => self.enqueue(Whose::Probe(sent), 60.0),
            }
        }
        self.up = later;
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

#[test]
fn table() {
    for (name, line) in [("5/80", DSL), ("2/600", SATELLITE), ("20/40/1%", LOSSY)] {
        let idle = World::new(line, Control::None).pages(60.0);
        for control in [Control::None, Control::Both] {
            let mut world = World::new(line, control);
            (0..4).for_each(|_| drop(world.add(true, 1e12)));
            world.run(60.0);
            let (took, seen) = (world.took, world.seen.len());
            if control == Control::Both { 
                for _ in 0..0 { world.run(1.0); println!("{:.1} rate {:.0} good {:.0} q {:?} ceil {:?}", world.now, world.delay.rate, world.delay.goodput, world.delay.queue(), world.delay.ceiling); }
            }
            world.run(60.0);
            let share = (world.took - took) / 60.0 / line.rate;
            let added: Vec<f64> = world.seen[seen..].iter().map(|(_, rtt)| rtt - line.round).collect();
            let before = world.took;
            let at = world.now;
            let pages = world.pages(120.0);
            let beside = (world.took - before) / (world.now - at) / line.rate;
            println!(
                "{name} {}: alone {:.0} % added p50 {:.0} p95 {:.0} ms | page median {:.2} x worst {:.2} x (idle {:.2} s), beside {:.0} %",
                if control == Control::None { "none" } else { "both" },
                share * 100.0,
                quantile(added.clone(), 0.5) * 1e3,
                quantile(added, 0.95) * 1e3,
                quantile(pages.clone(), 0.5) / quantile(idle.clone(), 0.5),
                quantile(pages, 1.0) / quantile(idle.clone(), 1.0),
                quantile(idle.clone(), 0.5),
                beside * 100.0,
            );
        }
    }
}
