//! A line between two namespaces: a TUN device in each, and between them what [`Pipe`] says.
//!
//! Two threads a direction: one takes packets and their time, the other waits until they are due. Both measure how late they were; a
//! machine that was too busy to be a line says so ([`Cable::trouble`]), and its figures do not count.

use super::pipe::{Fate, Pipe};
use super::profile::Line;
use super::space::{self, Space};
use bulak::base::clock::Clock;
use rustix::process::setpriority_process;
use rustix::thread::gettid;
use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tun_rs::{DeviceBuilder, SyncDevice};

/// The two ends of every line. They meet nowhere else, so all lines have the same: addresses for benchmarks (RFC 2544), since what is
/// private is in the school's own network, and says nothing of its line.
const NEAR: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);

/// As on Ethernet.
const MTU: u16 = 1500;

/// Packets that a device keeps until its thread comes: 0.3 s at 150 Mbit/s. The queue that counts is the pipe's.
const DEVICE_QUEUE: u32 = 4000;

/// A fifth of the 25 ms that background work may add to a round trip: what is later than that is no longer a line.
const LATE: Duration = Duration::from_millis(5);

/// So many packets of a hundred may be late.
const LATE_SHARE: f64 = 1.0;

/// A running line. It ends with its value; so do all programs at its ends.
pub(crate) struct Cable {
    /// The school's end.
    pub(crate) near: Space,
    /// The world's end.
    pub(crate) far: Space,
    /// What it is.
    pub(crate) line: Line,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    clock: Clock,
    laid: Instant,
    cut: AtomicBool,
    down: Mutex<Seen>,
    up: Mutex<Seen>,
}

/// What one direction has done.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Packets that arrived.
    pub(crate) packets: u64,
    /// Their bytes, IP headers included.
    pub(crate) bytes: u64,
    /// Bytes that TCP and UDP carried in them, by the port at the world's end.
    pub(crate) carried: BTreeMap<u16, u64>,
    /// Packets dropped before the full queue.
    pub(crate) full: u64,
    /// Packets lost on the way.
    pub(crate) lost: u64,
    /// Packets lost to a dead line.
    pub(crate) dead: u64,
    /// Packets that arrived more than 5 ms after they should have.
    pub(crate) late: u64,
    /// The latest of them.
    pub(crate) latest: Duration,
}

impl Cable {
    /// Lays a line; outages count from now.
    ///
    /// # Errors
    /// Where namespaces or TUN devices cannot be had: without root, in most containers.
    pub(crate) fn lay(line: &Line) -> io::Result<Cable> {
        space::sweep();
        let stem = space::stem();
        let near = Space::make(&stem, "near", NEAR)?;
        let far = Space::make(&stem, "far", FAR)?;
        let (near_end, far_end) = (Arc::new(open(&near, FAR)?), Arc::new(open(&far, NEAR)?));
        let clock = Clock::system();
        let laid = clock.steady();
        let shared = Arc::new(Shared { clock, laid, cut: AtomicBool::new(false), down: Mutex::default(), up: Mutex::default() });
        let mut threads = direction(&shared, Pipe::down(line), Towards::Near, &far_end, &near_end);
        threads.extend(direction(&shared, Pipe::up(line), Towards::Far, &near_end, &far_end));
        Ok(Cable { near, far, line: line.clone(), shared, threads })
    }

    /// Cuts the line: what is under way and what comes is lost, silently.
    pub(crate) fn cut(&self) {
        self.shared.cut.store(true, Ordering::SeqCst);
    }

    /// Mends it.
    pub(crate) fn mend(&self) {
        self.shared.cut.store(false, Ordering::SeqCst);
    }

    /// What went towards the school so far.
    pub(crate) fn down(&self) -> Seen {
        self.shared.down.lock().expect("no thread panics holding it").clone()
    }

    /// What went towards the world so far.
    pub(crate) fn up(&self) -> Seen {
        self.shared.up.lock().expect("no thread panics holding it").clone()
    }

    /// Bytes that came from a port at the world's end.
    pub(crate) fn carried(&self, port: u16) -> u64 {
        self.shared.down.lock().expect("no thread panics holding it").carried.get(&port).copied().unwrap_or(0)
    }

    /// Why what was measured does not count, if it does not.
    pub(crate) fn trouble(&self) -> Option<String> {
        let (down, up) = (self.down(), self.up());
        let share = down.late_share().max(up.late_share());
        let latest = down.latest.max(up.latest);
        (share > LATE_SHARE).then(|| {
            format!("this machine was too busy to be a line: {share:.1} % of the packets came more than {LATE:?} late, one {latest:?}")
        })
    }
}

impl Seen {
    /// Of a hundred.
    #[expect(clippy::cast_precision_loss, reason = "counts of packets")]
    pub(crate) fn late_share(&self) -> f64 {
        self.late as f64 * 100.0 / self.packets.max(1) as f64
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        // A device that goes ends the threads that read it.
        for space in [&self.near, &self.far] {
            let _gone = space.configure("link del line0\n"); // it may never have come about
        }
        for thread in self.threads.drain(..) {
            let _ended = thread.join(); // a panic of theirs was printed
        }
    }
}

/// The congestion control of who sends on a cable: CUBIC, as Debian has it, whatever this machine prefers; `BULAK_LINE_CONGESTION` names
/// another.
pub(crate) fn congestion() -> String {
    std::env::var("BULAK_LINE_CONGESTION").unwrap_or_else(|_| String::from("cubic"))
}

/// A TUN device in a namespace, with a way to the other end. The route says how TCP sends on it: a namespace may not choose what the machine
/// does not allow.
fn open(space: &Space, other: Ipv4Addr) -> io::Result<SyncDevice> {
    let congestion = congestion();
    let device = space.enter(|| DeviceBuilder::new().name("line0").mtu(MTU).build_sync())?;
    space.configure(&format!(
        "addr add {near} peer {other} dev line0\nlink set line0 txqueuelen {DEVICE_QUEUE} up\n\
         route replace {other}/32 dev line0 src {near} congctl {congestion}\n",
        near = space.addr
    ))?;
    Ok(device)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Towards {
    Near,
    Far,
}

impl Shared {
    fn now(&self) -> Duration {
        self.clock.steady().saturating_duration_since(self.laid)
    }

    fn note(&self, towards: Towards, note: impl FnOnce(&mut Seen)) {
        let seen = if towards == Towards::Near { &self.down } else { &self.up };
        note(&mut seen.lock().expect("no thread panics holding it"));
    }
}

fn direction(shared: &Arc<Shared>, pipe: Pipe, towards: Towards, from: &Arc<SyncDevice>, to: &Arc<SyncDevice>) -> Vec<JoinHandle<()>> {
    let (send, receive) = channel();
    let (taking, from) = (Arc::clone(shared), Arc::clone(from));
    let (giving, to) = (Arc::clone(shared), Arc::clone(to));
    vec![
        std::thread::spawn(move || take(&taking, pipe, towards, &from, &send)),
        std::thread::spawn(move || give(&giving, towards, &to, &receive)),
    ]
}

/// Takes packets from the sender's device until it is gone. The channel is bounded by what the pipe lets in.
fn take(shared: &Shared, mut pipe: Pipe, towards: Towards, from: &SyncDevice, send: &Sender<(Duration, Vec<u8>)>) {
    hurry();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let length = match from.recv(&mut buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        let fate = if shared.cut.load(Ordering::SeqCst) { Fate::Dead } else { pipe.pass(shared.now(), length) };
        match fate {
            Fate::Due(due) => {
                if send.send((due, buffer[..length].to_vec())).is_err() {
                    return;
                }
            }
            Fate::Full => shared.note(towards, |seen| seen.full += 1),
            Fate::Lost => shared.note(towards, |seen| seen.lost += 1),
            Fate::Dead => shared.note(towards, |seen| seen.dead += 1),
        }
    }
}

/// Gives packets to the receiver's device when they are due.
fn give(shared: &Shared, towards: Towards, to: &SyncDevice, receive: &Receiver<(Duration, Vec<u8>)>) {
    hurry();
    while let Ok((due, packet)) = receive.recv() {
        let wait = due.saturating_sub(shared.now());
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
        if shared.cut.load(Ordering::SeqCst) {
            shared.note(towards, |seen| seen.dead += 1);
            continue;
        }
        let late = shared.now().saturating_sub(due);
        if to.send(&packet).is_err() {
            return;
        }
        shared.note(towards, |seen| {
            seen.packets += 1;
            seen.bytes += packet.len() as u64;
            seen.late += u64::from(late > LATE);
            seen.latest = seen.latest.max(late);
            if let Some((port, carried)) = carried(&packet, towards) {
                *seen.carried.entry(port).or_default() += carried;
            }
        });
    }
}

/// Before other programs: a line does not wait for them. It sleeps nearly all the time, so it may come first whenever it wakes.
fn hurry() {
    let id = gettid().as_raw_nonzero().to_string();
    let first = Command::new("chrt").args(["--fifo", "--pid", "10", &id]).stderr(Stdio::null()).status();
    if !first.is_ok_and(|status| status.success()) {
        let _allowed = setpriority_process(None, -15); // lateness is measured either way
    }
}

/// The port at the world's end and the bytes that TCP or UDP carries in an IPv4 packet.
fn carried(packet: &[u8], towards: Towards) -> Option<(u16, u64)> {
    let head = usize::from(packet.first()? & 15) * 4;
    let inner = packet.get(head..)?;
    let inside = match packet.get(9)? {
        6 => usize::from(inner.get(12)? >> 4) * 4,
        17 => 8,
        _ => return None,
    };
    let at = if towards == Towards::Near { 0 } else { 2 };
    let port = u16::from_be_bytes([*inner.get(at)?, *inner.get(at + 1)?]);
    Some((port, inner.len().saturating_sub(inside) as u64))
}
