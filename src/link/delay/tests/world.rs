//! A simulated line, with what the night fetches: large files and small ones on two connections. Packets with 1,448
//! bytes of content, a drop-tail queue, senders that grow their windows as TCP does and stop for a round trip between two files, a kernel
//! that offers what its buffer has room for, a reader that takes what the rate allows. Time moves by hand, a millisecond a step.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a simulation reckons with small positive numbers"
)]

use crate::link::delay::Delay;
use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// Content of a packet, and what it is on the wire, bytes.
const PACKET: f64 = 1448.0;
const WIRE: f64 = 1500.0;
/// One step, seconds.
const STEP: f64 = 0.001;
/// After the last byte of a foreground transfer the background stays silent for so long.
const LINGER: f64 = 1.0;
pub(super) const FLOOR: f64 = 2_000.0;
/// Transfers of the night at once.
const TRANSFERS: usize = 2;
/// What a connection may have under way beyond its share of the window, as in `pace`.
const SPARE: f64 = 0.15;
/// The least that the kernel takes for a window.
const SMALLEST: f64 = 2304.0;
/// What a kernel offers at first, and what it lets a transfer of somebody else grow to.
const OFFER: f64 = 65_535.0;
const PLENTY: f64 = 4e6;
/// Between the end of a file and the request for the next.
const TURN: f64 = 0.01;
/// Seconds between two probes; on long lines a quarter of the round trip.
const PROBE_EVERY: f64 = 0.2;

/// A line as the ISP sells it.
#[derive(Clone, Copy)]
pub(super) struct Line {
    /// Bytes per second towards us.
    pub(super) rate: f64,
    /// Seconds there and back, without a queue.
    pub(super) round: f64,
    /// Bytes that the queue holds.
    queue: f64,
    /// One packet in so many is lost on the way, 0: none.
    loses: u64,
}

pub(super) const DSL: Line = Line { rate: 625_000.0, round: 0.08, queue: 250_000.0, loses: 0 };
pub(super) const SATELLITE: Line = Line { rate: 250_000.0, round: 0.6, queue: 150_000.0, loses: 0 };
pub(super) const LOSSY: Line = Line { rate: 2_500_000.0, round: 0.04, queue: 1_000_000.0, loses: 100 };

/// Whose packet it is: of a connection, with its number, or of a probe that left then.
#[derive(Clone, Copy)]
enum Whose {
    Sender(usize, u64),
    Probe(f64),
}

/// What goes to the far end.
#[derive(Clone, Copy)]
enum Up {
    /// A packet came, and so far may be sent now (bytes from the beginning).
    Acknowledges(usize, f64),
    /// The same without a packet.
    Offers(usize, f64),
    /// A request for so many packets.
    Requests(usize, f64),
    Asks(f64),
}

/// A connection: slow start, then a window that grows by a packet a round trip, halved by a loss.
pub(super) struct Connection {
    background: bool,
    /// Packets to send, and those to send again.
    pub(super) left: f64,
    again: VecDeque<u64>,
    next: u64,
    flight: f64,
    window: f64,
    threshold: f64,
    /// No second decrease within a round trip.
    healed: f64,
    /// When it sent last.
    sent: f64,
    /// How far the sender may go, bytes.
    offered: f64,
    /// What has come in order, and what has come before its turn.
    came: u64,
    early: BTreeSet<u64>,
    /// Bytes.
    unread: f64,
    pub(super) read: f64,
    /// Still to read of this file.
    wanted: f64,
    /// When the next file is asked for.
    asks: f64,
    /// What the kernel's buffer holds, which grows to twice what was read in a round trip, and the bound of the window.
    room: f64,
    sized: f64,
    copied: f64,
    clamp: f64,
    told: f64,
    /// As in `pace`.
    share: f64,
    lately: f64,
}

impl Connection {
    fn new(background: bool) -> Connection {
        Connection {
            background,
            left: 0.0,
            again: VecDeque::new(),
            next: 0,
            flight: 0.0,
            window: 10.0,
            threshold: f64::INFINITY,
            healed: 0.0,
            sent: 0.0,
            offered: OFFER,
            came: 0,
            early: BTreeSet::new(),
            unread: 0.0,
            read: 0.0,
            wanted: 0.0,
            asks: 0.0,
            room: if background { OFFER } else { PLENTY },
            sized: 0.0,
            copied: 0.0,
            clamp: PLENTY,
            told: OFFER,
            share: 1.0,
            lately: 0.0,
        }
    }

    /// How far the sender may go: the kernel counts from what has come.
    fn offers(&mut self) -> f64 {
        let free = (self.room - self.unread - self.early.len() as f64 * PACKET).max(0.0);
        self.told = self.told.max(self.came as f64 * PACKET + free.min(self.clamp));
        self.told
    }

    fn is_busy(&self) -> bool {
        self.wanted > 0.5
    }
}

/// How background is held back.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Control {
    None,
    Both,
}

pub(super) struct World {
    line: Line,
    control: Control,
    start: Instant,
    pub(super) now: f64,
    pub(super) delay: Delay,
    pub(super) connections: Vec<Connection>,
    /// In the queue: whose, size.
    queue: VecDeque<(Whose, f64)>,
    queued: f64,
    /// Credit of the line for sending, bytes.
    served: f64,
    /// Packets on the air towards us, and what goes back: arrival, what.
    down: VecDeque<(f64, Whose)>,
    up: VecDeque<(f64, Up)>,
    /// What was lost, when its sender will know.
    lost: VecDeque<(f64, usize, u64)>,
    credit: f64,
    quiet: f64,
    next_probe: f64,
    packets: u64,
    /// Answers of probes: when, seconds.
    pub(super) seen: Vec<(f64, f64)>,
    tick: f64,
    /// What background has read.
    pub(super) took: f64,
    /// Files asked for so far.
    files: u64,
    /// Who reads first.
    turn: usize,
    /// Whether there is one: transfers of others are not seen by it.
    pub(super) gate: bool,
}

impl World {
    pub(super) fn new(line: Line, control: Control) -> World {
        let start = crate::base::clock::Clock::manual(crate::base::clock::Time::BUILT).steady();
        let mut delay = Delay::new(Duration::from_millis(25), FLOOR);
        delay.begin(start);
        World {
            line,
            control,
            start,
            now: 0.0,
            delay,
            connections: Vec::new(),
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
            files: 0,
            turn: 0,
            gate: true,
        }
    }

    /// With a night's work, which begins with this file.
    pub(super) fn night(line: Line, control: Control, file: u64) -> World {
        let mut world = World::new(line, control);
        world.files = file;
        world.connections.extend((0..TRANSFERS).map(|_| Connection::new(true)));
        world
    }

    fn at(&self, seconds: f64) -> Instant {
        self.start + Duration::from_secs_f64(seconds)
    }

    /// Somebody who fetches so much.
    pub(super) fn add(&mut self, bytes: f64) -> usize {
        let mut connection = Connection::new(false);
        let packets = (bytes / PACKET).ceil();
        (connection.left, connection.wanted) = (packets, packets * PACKET);
        self.connections.push(connection);
        self.connections.len() - 1
    }

    /// The next file's length: one of ten seconds of the line, then ten small ones.
    fn file(&mut self) -> f64 {
        let number = self.files % 11;
        self.files += 1;
        let small = 2_000.0 + ((number * 7919) % 62_000) as f64;
        let bytes = if number == 0 { (10.0 * self.line.rate).clamp(2e6, 25e6) } else { small };
        (bytes / PACKET).ceil()
    }

    /// Whether no foreground transfer keeps background silent.
    fn open(&self) -> bool {
        let busy = self.connections.iter().any(|connection| !connection.background && connection.is_busy());
        !self.gate || !busy && self.now - self.quiet >= LINGER
    }

    fn enqueue(&mut self, whose: Whose, bytes: f64) {
        self.packets += 1;
        // Every hundredth, but not in step with anything else.
        let lost = self.line.loses > 0 && self.packets.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32 < (1 << 32) / self.line.loses;
        if lost || self.queued + bytes > self.line.queue {
            if let Whose::Sender(at, number) = whose {
                self.lost.push_back((self.now + self.line.round, at, number));
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
        self.read();
        self.ask();
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
                Some((_, Whose::Sender(at, number))) => {
                    let connection = &mut self.connections[at];
                    connection.early.insert(number);
                    while connection.early.remove(&connection.came) {
                        connection.came += 1;
                        connection.unread += PACKET;
                    }
                    if !connection.background {
                        self.quiet = self.now;
                    }
                    let offers = connection.offers();
                    self.up.push_back((self.now + self.line.round / 2.0, Up::Acknowledges(at, offers)));
                }
                Some((_, Whose::Probe(sent))) => {
                    let rtt = self.now - sent;
                    self.seen.push((self.now, rtt));
                    self.delay.probed(self.at(sent), Some(Duration::from_secs_f64(rtt)), self.at(self.now));
                }
                None => {}
            }
        }
    }

    /// The window that a connection of the night is to offer.
    fn window(&self, at: usize) -> f64 {
        let share = (self.connections[at].share + SPARE).min(1.0);
        (share * self.delay.window()).max(2.0 * 1460.0)
    }

    /// In pieces, each in its turn, as long as what was read is paid for.
    fn read(&mut self) {
        let rate = match (self.control, self.open()) {
            (Control::None, _) => f64::INFINITY,
            (Control::Both, true) => self.delay.rate(),
            (Control::Both, false) => FLOOR,
        };
        self.credit = (self.credit + rate * STEP).min(rate * 0.04);
        let piece = (rate * 0.02).clamp(1024.0, 16384.0);
        let number = self.connections.len();
        let mut waiting = number;
        while waiting > 0 {
            let at = self.turn % number;
            self.turn += 1;
            let connection = &mut self.connections[at];
            let held = connection.background && self.credit < 0.0;
            if held || connection.unread < 0.5 {
                waiting -= 1;
                continue;
            }
            let took = if connection.background { connection.unread.min(piece) } else { connection.unread };
            connection.unread -= took;
            connection.read += took;
            connection.wanted -= took;
            connection.lately += took;
            connection.copied += took;
            if connection.background {
                self.credit -= took;
                self.took += took;
                self.delay.came(took as u64);
                if !connection.is_busy() {
                    connection.asks = self.now + TURN;
                }
            }
            self.offer(at);
        }
        for at in (0..number).filter(|_| self.control == Control::Both) {
            if self.connections[at].background {
                self.connections[at].clamp = (self.window(at) - self.connections[at].unread).max(SMALLEST);
            }
        }
    }

    /// The kernel sizes its buffer, and says so when half of what it offered is used up.
    fn offer(&mut self, at: usize) {
        let (now, round) = (self.now, self.line.round);
        let connection = &mut self.connections[at];
        if now - connection.sized > round {
            connection.room = connection.room.max((2.0 * connection.copied).min(PLENTY));
            (connection.sized, connection.copied) = (now, 0.0);
        }
        let before = connection.told - connection.came as f64 * PACKET;
        if 2.0 * before <= connection.clamp && connection.offers() > connection.came as f64 * PACKET + before {
            self.up.push_back((now + round / 2.0, Up::Offers(at, connection.told)));
        }
    }

    /// Whoever of the night is through asks for the next file.
    fn ask(&mut self) {
        for at in 0..self.connections.len() {
            if !self.connections[at].background || self.connections[at].is_busy() || self.now < self.connections[at].asks {
                continue;
            }
            let packets = self.file();
            let busy = self.connections.iter().filter(|connection| connection.background && connection.is_busy()).count();
            let connection = &mut self.connections[at];
            connection.wanted = packets * PACKET;
            (connection.share, connection.lately) = (1.0 / (busy + 1) as f64, 0.0);
            self.up.push_back((self.now + self.line.round / 2.0, Up::Requests(at, packets)));
        }
    }

    fn answer(&mut self) {
        while self.lost.front().is_some_and(|(at, ..)| *at <= self.now) {
            let Some((_, at, number)) = self.lost.pop_front() else { return };
            let connection = &mut self.connections[at];
            connection.flight -= 1.0;
            connection.again.push_back(number);
            if self.now >= connection.healed {
                connection.window = (connection.window / 2.0).max(2.0);
                connection.threshold = connection.window;
                connection.healed = self.now + self.line.round;
            }
        }
        while self.up.front().is_some_and(|(at, _)| *at <= self.now) {
            match self.up.pop_front() {
                Some((_, Up::Acknowledges(at, offered))) => {
                    let connection = &mut self.connections[at];
                    let full = connection.flight + 1.0 > connection.window - 1.0;
                    // What is not used does not grow.
                    if connection.window >= connection.threshold {
                        connection.window += if full { 1.0 / connection.window } else { 0.0 };
                    } else if connection.window < 2.0 * connection.flight {
                        connection.window += 1.0;
                    }
                    connection.flight -= 1.0;
                    connection.offered = connection.offered.max(offered);
                }
                Some((_, Up::Offers(at, offered))) => {
                    let connection = &mut self.connections[at];
                    connection.offered = connection.offered.max(offered);
                }
                Some((_, Up::Requests(at, packets))) => {
                    let connection = &mut self.connections[at];
                    // A window that was not used for long is halved for every timeout.
                    let timeout = self.line.round + 0.2;
                    let idle = ((self.now - connection.sent) / timeout).min(20.0) as i32;
                    let rested = (connection.window / 2.0_f64.powi(idle)).max(10.0);
                    connection.window = connection.window.min(rested);
                    connection.left += packets;
                }
                Some((_, Up::Asks(sent))) => self.enqueue(Whose::Probe(sent), 60.0),
                None => return,
            }
        }
    }

    fn send(&mut self) {
        for at in 0..self.connections.len() {
            loop {
                let connection = &mut self.connections[at];
                let may = (connection.next + 1) as f64 * PACKET <= connection.offered + 0.5 && connection.left > 0.5;
                if connection.flight + 1.0 > connection.window || !may && connection.again.is_empty() {
                    break;
                }
                let number = connection.again.pop_front().unwrap_or_else(|| {
                    connection.left -= 1.0;
                    connection.next += 1;
                    connection.next - 1
                });
                connection.flight += 1.0;
                connection.sent = self.now;
                self.enqueue(Whose::Sender(at, number), WIRE);
            }
        }
        if self.now >= self.next_probe {
            self.next_probe = self.now + PROBE_EVERY.max(self.line.round / 4.0);
            self.up.push_back((self.now + self.line.round / 2.0, Up::Asks(self.now)));
        }
    }

    fn steer(&mut self) {
        if self.now < self.tick {
            return;
        }
        let night = || self.connections.iter().filter(|connection| connection.background);
        let all: f64 = night().map(|connection| connection.lately).sum();
        for connection in self.connections.iter_mut().filter(|connection| connection.background) {
            if connection.is_busy() && all > 0.0 {
                connection.share += (connection.lately / all - connection.share) / 2.0;
            }
            connection.lately = 0.0;
        }
        let now = self.at(self.now);
        let open = self.open();
        self.delay.tick(open, now);
        self.tick = self.delay.next_tick(now).duration_since(self.start).as_secs_f64();
    }

    pub(super) fn run(&mut self, seconds: f64) {
        let end = self.now + seconds;
        while self.now < end {
            self.step();
        }
    }

    /// What the night has read in so many seconds, as a share of the line.
    pub(super) fn share(&mut self, seconds: f64) -> f64 {
        let took = self.took;
        self.run(seconds);
        (self.took - took) / seconds / self.line.rate
    }

    /// Seconds that a page of 500 kB takes: two round trips, then the transfer.
    fn page(&mut self) -> f64 {
        let began = self.now;
        // The gate shuts with the request; name, connection and hello take two round trips.
        let number = self.add(500_000.0);
        let packets = std::mem::take(&mut self.connections[number].left);
        self.run(2.0 * self.line.round);
        self.connections[number].left = packets;
        while self.connections[number].is_busy() {
            self.step();
        }
        self.quiet = self.now;
        self.now - began
    }

    /// Pages every three seconds (or as soon as the last one is there), for so long.
    pub(super) fn pages(&mut self, seconds: f64) -> Vec<f64> {
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
