//! The same line for machines without root: a TCP relay on loopback that passes bytes at the line's rate and delay.
//!
//! Kinder than a real line, and its figures must say so: TCP on loopback does not slow down for a far end, a full queue holds the sender
//! back instead of dropping, and a lost packet is a stall of one round trip. A dead line stalls.

use super::pipe::{Fate, Pipe};
use super::profile::Line;
use super::space;
use bulak::base::clock::Clock;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What one packet carries, and what its headers add.
const SEGMENT: usize = 1448;
const HEADERS: usize = 52;

/// How long an accepting thread sleeps when nobody comes.
const LOOK: Duration = Duration::from_millis(2);

/// How often a cut line is looked at.
const CUT: Duration = Duration::from_millis(10);

/// A running line. It ends with its value.
pub(crate) struct Relay(Arc<Shared>);

struct Shared {
    clock: Clock,
    laid: Instant,
    rtt: Duration,
    down: Mutex<Pipe>,
    up: Mutex<Pipe>,
    cut: AtomicBool,
    stop: AtomicBool,
}

/// The near end of a way to one place at the far end.
pub(crate) struct Way {
    /// Where to connect.
    pub(crate) addr: SocketAddr,
    counts: Arc<Counts>,
}

/// Bytes each way.
#[derive(Default)]
struct Counts {
    down: AtomicU64,
    up: AtomicU64,
}

impl Way {
    /// Bytes that came from the far end.
    pub(crate) fn carried(&self) -> u64 {
        self.counts.down.load(Ordering::Relaxed)
    }

    /// Bytes that went to the far end.
    pub(crate) fn sent(&self) -> u64 {
        self.counts.up.load(Ordering::Relaxed)
    }
}

impl Relay {
    /// Lays a line; outages count from now.
    pub(crate) fn lay(line: &Line) -> Relay {
        space::leave_nothing();
        let clock = Clock::system();
        Relay(Arc::new(Shared {
            laid: clock.steady(),
            clock,
            rtt: line.rtt,
            down: Mutex::new(Pipe::down(line)),
            up: Mutex::new(Pipe::up(line)),
            cut: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        }))
    }

    /// A way to a place at the far end. All ways share the line.
    ///
    /// # Errors
    /// When there is no free port.
    pub(crate) fn way(&self, far: SocketAddr) -> io::Result<Way> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let (addr, counts) = (listener.local_addr()?, Arc::new(Counts::default()));
        let (shared, count) = (Arc::clone(&self.0), Arc::clone(&counts));
        std::thread::spawn(move || {
            while !shared.stop.load(Ordering::Relaxed) {
                let Ok((near, _)) = listener.accept() else {
                    std::thread::sleep(LOOK);
                    continue;
                };
                let (shared, count) = (Arc::clone(&shared), Arc::clone(&count));
                std::thread::spawn(move || join(&shared, &near, far, &count));
            }
        });
        Ok(Way { addr, counts })
    }

    /// Cuts the line: bytes on their way stall, and new connections get no answer.
    pub(crate) fn cut(&self) {
        self.0.cut.store(true, Ordering::SeqCst);
    }

    /// Mends it.
    pub(crate) fn mend(&self) {
        self.0.cut.store(false, Ordering::SeqCst);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

/// Carries one connection.
fn join(shared: &Arc<Shared>, near: &TcpStream, far: SocketAddr, counts: &Arc<Counts>) {
    // A handshake takes a round trip, which loopback has just skipped.
    std::thread::sleep(shared.rtt);
    let Ok(far) = TcpStream::connect(far) else { return };
    let ready = || {
        near.set_nonblocking(false)?;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        io::Result::Ok((near.try_clone()?, far.try_clone()?, near.try_clone()?, far.try_clone()?))
    };
    let Ok((near_from, far_to, near_to, far_from)) = ready() else { return };
    let (up, sent) = (Arc::clone(shared), Arc::clone(counts));
    std::thread::spawn(move || {
        pass(&up, &up.up, near_from, far_to, |bytes| {
            sent.up.fetch_add(bytes as u64, Ordering::Relaxed);
        });
    });
    pass(shared, &shared.down, far_from, near_to, |bytes| {
        counts.down.fetch_add(bytes as u64, Ordering::Relaxed);
    });
}

/// One direction of a connection: reads when the queue has room, writes when the bytes are due.
fn pass(shared: &Arc<Shared>, pipe: &Mutex<Pipe>, mut from: TcpStream, mut to: TcpStream, note: impl Fn(usize)) {
    let (send, receive) = channel::<(Duration, Vec<u8>)>();
    let (giving, end) = (Arc::clone(shared), to.try_clone());
    let writer = std::thread::spawn(move || {
        while let Ok((due, bytes)) = receive.recv() {
            std::thread::sleep(due.saturating_sub(giving.now()));
            if to.write_all(&bytes).is_err() {
                return;
            }
        }
    });
    let mut buffer = [0; SEGMENT];
    let mut last = Duration::ZERO;
    while let Ok(taken) = from.read(&mut buffer) {
        if taken == 0 || shared.stop.load(Ordering::Relaxed) {
            break;
        }
        // In order, as TCP gives them on: what comes behind a lost segment waits for it.
        last = last.max(shared.admit(pipe, taken + HEADERS));
        if send.send((last, buffer[..taken].to_vec())).is_err() {
            break;
        }
        note(taken);
    }
    drop(send);
    let _ended = writer.join(); // a panic of its was printed
    let _closed = end.map(|to| to.shutdown(Shutdown::Write)); // it may be closed already
}

impl Shared {
    fn now(&self) -> Duration {
        self.clock.steady().saturating_duration_since(self.laid)
    }

    /// Waits for room, and says when the bytes arrive.
    fn admit(&self, pipe: &Mutex<Pipe>, bytes: usize) -> Duration {
        loop {
            let now = self.now();
            if self.cut.load(Ordering::SeqCst) && !self.stop.load(Ordering::Relaxed) {
                std::thread::sleep(CUT);
                continue;
            }
            let wait = {
                let mut pipe = pipe.lock().expect("no thread panics holding it");
                match pipe.pass(now, bytes) {
                    Fate::Due(due) => return due,
                    Fate::Lost => return now + self.rtt + self.rtt / 2,
                    Fate::Full | Fate::Dead => pipe.room(now, bytes).saturating_sub(now),
                }
            };
            std::thread::sleep(wait.max(Duration::from_millis(1)));
        }
    }
}
