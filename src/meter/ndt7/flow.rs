//! The bytes of one connection of a test, from the upgrade to the end: one side sends as fast as the line takes it, the other counts, and
//! whoever is the server says now and then what its kernel knows. Both ends of both protocols are this one loop.
//!
//! Everything that is waited for has an end: a stalled line, a server that talks instead of measuring, a side that never closes. Time is
//! steady time: a wall clock that jumps meanwhile is not seen.

use crate::base::clock::Clock;
use crate::base::socket::{self, Hold, TcpInfo as Kernel};
use crate::meter::ndt7::client::{Arrived, MOST_MESSAGES};
use crate::meter::ndt7::frame::{self, Event, Fault, Reader, Send, Sizes};
use crate::meter::ndt7::message::{AppInfo, BbrInfo, ConnectionInfo, Message, Origin, TcpInfo, micros};
use crate::meter::ndt7::{Dialect, Way};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

/// How often deadlines are looked at: a four-hundredth of a test.
const TICK: Duration = Duration::from_millis(25);

/// What is read or written at once, bytes: at 1 Gbit/s 2,000 times a second.
const STAGE: usize = 64 << 10;

/// Random bytes that payload is made of; longer than what compression on the way looks back.
const NOISE: usize = 256 << 10;

/// Mean gap between two measurements, as the reference has it: memoryless, so that nothing on the way can fall into step with it.
const GAP: Duration = Duration::from_millis(250);

/// Bounds of the gap.
const GAPS: (Duration, Duration) = (Duration::from_millis(25), Duration::from_millis(625));

/// Texts that are listened to: ten a second for fifteen seconds, six times over.
const MOST_TEXTS: u32 = 1_000;

/// What may wait in the system's buffer unsent: so much time of the rate that was reached, within these bounds (bytes). A line of 1 Mbit/s
/// is busy with the least for a quarter of a second after the end, and at 1 Gbit/s the most lasts until we come to write again.
const UNSENT: (Duration, u32, u32) = (Duration::from_millis(50), 32 << 10, 4 << 20);

/// Small frames that may wait to be written; more (pings, to be answered) are dropped.
const MOST_WAITING: usize = 32;

/// After both have said Close the client waits for the server to close TCP: two round trips of a satellite.
const FAREWELL: Duration = Duration::from_millis(1_200);

/// Which end we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Client,
    Server,
}

/// What one connection is to do.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) role: Role,
    pub(super) way: Way,
    pub(super) dialect: Dialect,
    /// When it is enough: whoever sends stops, and a client that receives closes.
    pub(super) time: Duration,
    /// When it is over, whatever the other side does.
    pub(super) end: Duration,
    /// How long nothing may move.
    pub(super) io: Duration,
    /// Payload after which it is enough.
    pub(super) bytes: Option<u64>,
    /// Acknowledged bytes after which a server that sends has enough (`early_exit`).
    pub(super) acked: Option<u64>,
    /// What a server says of the connection.
    pub(super) info: ConnectionInfo,
}

impl Plan {
    fn sends(&self) -> bool {
        (self.role == Role::Client) == (self.way == Way::Upload)
    }
}

/// How a connection ended, without anybody's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// The time was up.
    Time,
    /// The byte limit was reached.
    Limit,
    /// We were told to stop.
    Stopped,
    /// The other side ended it.
    Theirs,
    /// It broke off.
    Broke,
    /// Nothing moved any more.
    Stalled,
}

/// What the other side did wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Wrong {
    #[error(transparent)]
    Frame(#[from] Fault),
    #[error("payload from the side that receives")]
    Payload,
    #[error("a text that is no measurement: {0}")]
    Message(#[from] crate::meter::ndt7::message::Bad),
    #[error("it talks instead of measuring: {MOST_TEXTS} texts")]
    Talks,
}

/// What has been seen of a connection until now; whoever looks on reads it meanwhile.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Payload in the test's direction, as we count it: handed to the system by who sends, read by who receives.
    pub(super) moved: u64,
    /// When the newest of it moved.
    pub(super) last: Duration,
    /// What the other side has told of what arrived, newest; of a client that sends.
    pub(super) told: Option<Arrived>,
    /// What our kernel said last.
    pub(super) kernel: Option<Kernel>,
    /// The server's messages, where we are the client: a server keeps none.
    pub(super) server: Kept,
    /// Our own as the client.
    pub(super) client: Kept,
}

/// Messages, of many the first few and the newest.
#[derive(Debug, Default)]
pub(super) struct Kept(VecDeque<Message>);

impl Kept {
    /// The first ones are kept for their figures of the idle line.
    const FIRST: usize = 4;

    pub(super) fn push(&mut self, message: Message) {
        if self.0.len() >= MOST_MESSAGES {
            self.0.remove(Kept::FIRST);
        }
        self.0.push_back(message);
    }

    pub(super) fn newest(&self) -> Option<&Message> {
        self.0.back()
    }

    pub(super) fn take(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.0).into()
    }
}

/// Carries one connection through. `first` are bytes that came along with the upgrade. May be dropped at any await: the connection is
/// closed then.
pub(super) async fn run<S: AsyncRead + AsyncWrite>(
    stream: S,
    first: &[u8],
    hold: Option<&Hold>,
    plan: &Plan,
    stop: &CancellationToken,
    clock: &Clock,
    seen: &Mutex<Seen>,
) -> Result<Closed, Wrong> {
    let (mut from, mut to) = tokio::io::split(stream);
    let mut room = vec![0; STAGE].into_boxed_slice();
    let mut course = Course::new(hold, plan, stop, clock, seen);
    course.bound();
    course.came(first)?;
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !course.is_over() {
        course.fill();
        let pending = course.out.pending();
        let writes = !course.out.deaf && (!pending.is_empty() || course.out.unflushed);
        tokio::select! {
            read = from.read(&mut room) => match read {
                Ok(0) | Err(_) => course.ended(),
                Ok(count) => course.came(&room[..count])?,
            },
            wrote = push(&mut to, pending), if writes => match wrote {
                Ok(0) => course.out.unflushed = false,
                Ok(count) => course.went(count),
                Err(_) => course.unheard(),
            },
            _ = tick.tick() => course.tick(),
        }
    }
    course.look();
    if plan.role == Role::Server {
        // It may be gone already.
        let _ = tokio::time::timeout(FAREWELL, to.shutdown()).await;
    }
    Ok(course.closed.unwrap_or(Closed::Broke))
}

/// Writes some of it; with nothing to write, has the last of it go out: 0. May be dropped at any await.
async fn push(to: &mut (impl AsyncWrite + Unpin), pending: &[u8]) -> io::Result<usize> {
    if pending.is_empty() {
        return to.flush().await.map(|()| 0);
    }
    match to.write(pending).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        count => Ok(count),
    }
}

/// Where a connection is.
struct Course<'a> {
    hold: Option<&'a Hold>,
    plan: &'a Plan,
    stop: &'a CancellationToken,
    clock: &'a Clock,
    seen: &'a Mutex<Seen>,
    reader: Reader,
    out: Out,
    start: Instant,
    /// When something moved last in the test's direction.
    moved: Instant,
    /// When the next measurement is due.
    due: Instant,
    /// How it ends, once that is known: from then on there is nothing to measure.
    closed: Option<Closed>,
    /// Who paces what we send.
    congestion: String,
    /// Until when the other side may take its leave.
    leave: Option<Instant>,
    /// It has.
    left: bool,
    texts: u32,
}

impl<'a> Course<'a> {
    fn new(hold: Option<&'a Hold>, plan: &'a Plan, stop: &'a CancellationToken, clock: &'a Clock, seen: &'a Mutex<Seen>) -> Course<'a> {
        let start = clock.steady();
        let is_client = plan.role == Role::Client;
        let out = Out::new(is_client, plan.sends().then_some(plan.bytes.unwrap_or(u64::MAX)));
        let due = start + gap();
        Course {
            hold,
            plan,
            stop,
            clock,
            seen,
            reader: Reader::new(!is_client),
            out,
            start,
            moved: start,
            due,
            closed: None,
            congestion: hold.and_then(|hold| socket::congestion(hold).ok()).unwrap_or_default(),
            leave: None,
            left: false,
            texts: 0,
        }
    }

    /// Over when the other side is gone; when it has said its last and so have we; when it took too long to.
    fn is_over(&self) -> bool {
        let said = self.out.is_empty();
        self.left && (said || self.out.deaf) || self.leave.is_some_and(|leave| self.clock.steady() >= leave)
    }

    fn elapsed(&self) -> Duration {
        self.clock.steady().saturating_duration_since(self.start)
    }

    fn fill(&mut self) {
        self.out.fill(self.plan.sends() && self.closed.is_none());
    }

    /// Bytes came.
    fn came(&mut self, bytes: &[u8]) -> Result<(), Wrong> {
        let (mut payload, mut events) = (0, Vec::new());
        self.reader.take(bytes, |event| match event {
            Event::Payload(count) => payload += count,
            event => events.push(event),
        })?;
        if payload > 0 {
            if self.plan.sends() {
                return Err(Wrong::Payload);
            }
            self.arrived(payload);
        }
        for event in events {
            match event {
                Event::Payload(_) => {}
                Event::Ping(body) => self.out.say(Send::Pong, body),
                Event::Text(text) => self.heard(&text)?,
                Event::Close => self.bye(),
            }
        }
        Ok(())
    }

    /// Payload arrived here.
    fn arrived(&mut self, count: u64) {
        if self.closed.is_some() {
            return;
        }
        self.moved = self.clock.steady();
        let mut seen = self.seen.lock();
        seen.moved += count;
        seen.last = self.moved.saturating_duration_since(self.start);
        let enough = self.plan.bytes.is_some_and(|most| seen.moved >= most);
        drop(seen);
        if enough {
            self.close(Closed::Limit);
        }
    }

    /// The other side measured.
    fn heard(&mut self, text: &str) -> Result<(), Wrong> {
        self.texts += 1;
        if self.texts > MOST_TEXTS {
            return Err(Wrong::Talks);
        }
        let message = Message::parse(text)?;
        let receives = !self.plan.sends();
        if receives {
            // A text takes its part of the line like any payload.
            self.arrived(text.len() as u64);
        }
        let mut seen = self.seen.lock();
        match self.plan.role {
            Role::Client => {
                if let (false, Some((bytes, took))) = (receives, message.received()) {
                    seen.told = Some(Arrived { bytes, took });
                }
                seen.server.push(message);
            }
            // Whoever is tested tells how it went; nobody here asks.
            Role::Server => {}
        }
        Ok(())
    }

    /// So much was handed to the system.
    fn went(&mut self, count: usize) {
        let payload = self.out.went(count);
        if self.plan.sends() && count > 0 {
            self.moved = self.clock.steady();
            let mut seen = self.seen.lock();
            seen.moved += payload;
            seen.last = self.moved.saturating_duration_since(self.start);
        }
    }

    /// The other side has said that it is enough.
    fn bye(&mut self) {
        if self.closed.is_none() {
            self.close(Closed::Theirs);
        }
        self.left = self.plan.role == Role::Server;
        if !self.left {
            self.leave = Some(self.leave.map_or(self.clock.steady() + FAREWELL, |leave| leave.min(self.clock.steady() + FAREWELL)));
        }
    }

    /// Nothing more will come.
    fn ended(&mut self) {
        self.closed.get_or_insert(Closed::Broke);
        (self.left, self.out.deaf) = (true, true);
    }

    /// Nothing more will be taken; what the other side has said may still come.
    fn unheard(&mut self) {
        self.closed.get_or_insert(Closed::Broke);
        self.out.deaf = true;
        self.leave.get_or_insert(self.clock.steady() + FAREWELL);
    }

    /// It is enough: a last measurement, and Close.
    fn close(&mut self, why: Closed) {
        if self.closed.is_some() {
            return;
        }
        self.measure();
        self.closed = Some(why);
        self.out.say(Send::Close, frame::NORMAL.to_vec());
        let now = self.clock.steady();
        // What is under way has to arrive, and its receiver to say so.
        self.leave = Some(if self.plan.sends() { self.start + self.plan.end } else { now + self.patience() });
    }

    /// How long a receiver goes on reading after it said Close, so that what was under way is still counted as cost: two round trips.
    fn patience(&self) -> Duration {
        let rtt = self.hold.and_then(|hold| socket::tcp_info(hold).ok()).and_then(|info| info.rtt).unwrap_or(FAREWELL);
        (rtt * 2).clamp(Duration::from_millis(100), FAREWELL)
    }

    /// Looks at the time.
    fn tick(&mut self) {
        let now = self.clock.steady();
        if self.closed.is_some() {
            return;
        }
        let elapsed = self.elapsed();
        if self.stop.is_cancelled() {
            self.close(Closed::Stopped);
        } else if now.saturating_duration_since(self.moved) >= self.plan.io {
            self.close(Closed::Stalled);
            self.leave = Some(now);
        } else if elapsed >= self.limit() {
            self.close(Closed::Time);
        } else if self.out.is_spent() {
            self.close(Closed::Limit);
        } else if now >= self.due {
            self.due = now + gap();
            self.measure();
            let acked = self.seen.lock().kernel.and_then(|kernel| kernel.bytes_acked);
            if self.plan.acked.is_some_and(|most| acked.is_some_and(|acked| acked >= most)) {
                self.close(Closed::Limit);
            }
        }
    }

    /// Whoever sends stops at the time. A client that receives closes then only where it asked for less than the usual; else the server
    /// stops by its own clock and says so, and what was under way still counts. A server that receives waits for the client.
    fn limit(&self) -> Duration {
        if self.plan.sends() || self.plan.time < super::TIME { self.plan.time } else { self.plan.time + super::GRACE }
    }

    /// Asks the kernel.
    fn look(&self) -> Option<Kernel> {
        let kernel = self.hold.and_then(|hold| socket::tcp_info(hold).ok());
        if kernel.is_some() {
            self.seen.lock().kernel = kernel;
        }
        kernel
    }

    /// Bounds what waits unsent.
    fn bound(&self) {
        let Some(hold) = self.hold.filter(|_| self.plan.sends()) else { return };
        let (time, least, most) = UNSENT;
        let micros = self.elapsed().as_micros().max(1);
        let rate = u128::from(self.seen.lock().moved) * time.as_micros() / micros;
        // Where the system has no such bound its own holds.
        let _ = socket::set_unsent_limit(hold, u32::try_from(rate).unwrap_or(most).clamp(least, most));
    }

    /// Takes a measurement; a server tells it.
    fn measure(&mut self) {
        self.bound();
        let elapsed = self.elapsed();
        let kernel = self.look();
        let is_server = self.plan.role == Role::Server;
        let bbr = self.hold.filter(|_| is_server).and_then(|hold| socket::bbr(hold).ok().flatten());
        let mut seen = self.seen.lock();
        let message = Message {
            app_info: Some(AppInfo { elapsed_time: Some(micros(elapsed)), num_bytes: Some(seen.moved) }),
            connection_info: is_server.then(|| self.plan.info.clone()),
            origin: Some(if is_server { Origin::Server } else { Origin::Client }),
            test: Some(self.plan.way),
            bbr_info: bbr.map(|bbr| BbrInfo::from_kernel(&bbr, elapsed)),
            tcp_info: kernel.map(|kernel| TcpInfo::from_kernel(&kernel, elapsed)),
        };
        if is_server {
            drop(seen);
            self.out.say(Send::Text, self.plan.dialect.print(&message, &self.congestion).into_bytes());
        } else {
            seen.client.push(message);
        }
    }
}

/// A gap before the next measurement.
fn gap() -> Duration {
    let share: f64 = rand::random();
    GAP.mul_f64(-(1.0 - share).ln()).clamp(GAPS.0, GAPS.1)
}

/// What is to be written: small frames first, between the messages of payload.
struct Out {
    /// A client masks.
    masks: bool,
    /// Bytes on their way to the system, and how far they are.
    stage: Vec<u8>,
    at: usize,
    /// Payload among them.
    staged: u64,
    /// What is left of the message of payload that was begun.
    left: u64,
    /// Payload that was begun, and how much it may be at most.
    begun: u64,
    most: u64,
    waiting: VecDeque<(Send, Vec<u8>)>,
    noise: Box<[u8]>,
    cursor: usize,
    sizes: Sizes,
    /// TLS may hold bytes that were taken.
    unflushed: bool,
    /// Nobody takes anything any more.
    deaf: bool,
}

impl Out {
    fn new(masks: bool, most: Option<u64>) -> Out {
        let mut noise = vec![0; if most.is_some() { NOISE } else { 0 }].into_boxed_slice();
        rand::fill(&mut noise[..]);
        Out {
            masks,
            stage: Vec::with_capacity(STAGE),
            at: 0,
            staged: 0,
            left: 0,
            begun: 0,
            most: most.unwrap_or(0),
            waiting: VecDeque::new(),
            noise,
            cursor: 0,
            sizes: Sizes::default(),
            unflushed: false,
            deaf: false,
        }
    }

    fn pending(&self) -> &[u8] {
        if self.deaf { &[] } else { self.stage.get(self.at..).unwrap_or_default() }
    }

    /// Nothing is left to be said.
    fn is_empty(&self) -> bool {
        self.pending().is_empty() && self.waiting.is_empty() && self.left == 0 && !self.unflushed
    }

    /// All that may be sent was sent.
    fn is_spent(&self) -> bool {
        self.begun > 0 && self.begun >= self.most && self.left == 0 && self.pending().is_empty()
    }

    fn say(&mut self, what: Send, body: Vec<u8>) {
        if what == Send::Close || self.waiting.len() < MOST_WAITING {
            self.waiting.push_back((what, body));
        }
    }

    fn mask(&self) -> Option<[u8; 4]> {
        self.masks.then(rand::random)
    }

    /// Stages what comes next. What a client sends is random before and after its mask: it is not masked again.
    fn fill(&mut self, payload: bool) {
        if self.at < self.stage.len() || self.deaf {
            return;
        }
        (self.at, self.staged) = (0, 0);
        self.stage.clear();
        while self.stage.len() < STAGE {
            if self.left > 0 {
                let here = self.noise.len() - self.cursor;
                let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(STAGE - self.stage.len()).min(here);
                self.stage.extend_from_slice(&self.noise[self.cursor..self.cursor + count]);
                self.cursor = (self.cursor + count) % self.noise.len();
                self.left -= count as u64;
                self.staged += count as u64;
            } else if let Some((what, body)) = self.waiting.pop_front() {
                frame::whole(what, &body, self.mask(), &mut self.stage);
            } else if payload && self.begun < self.most {
                let size = self.sizes.next(self.begun).min(self.most - self.begun).max(SMALLEST);
                frame::head(Send::Payload, size, self.mask(), &mut self.stage);
                self.begun += size;
                self.left = size;
            } else {
                break;
            }
        }
    }

    /// So many of the staged bytes are gone: how much payload that was, told once the stage is empty.
    fn went(&mut self, count: usize) -> u64 {
        self.at += count;
        self.unflushed = true;
        if self.at < self.stage.len() { 0 } else { std::mem::take(&mut self.staged) }
    }
}

/// Shortest message of payload, bytes: ndt7's own limit.
const SMALLEST: u64 = 1 << 10;

#[cfg(test)]
mod tests;
