//! A line between two ports: it passes bytes on, can be slowed to a rate, cut like a cable, and restored.
//!
//! A cut cable answers nothing: no reset, no refusal. On loopback that is a listener whose queue is full, so that the
//! kernel drops further SYNs; open connections go silent. Bytes are counted in both directions.

use crate::kit::loopback;
use bulak::base::clock::Clock;
use socket2::{Domain, SockRef, Socket, Type};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How much of a slowed line's bytes may be passed on at once: about one radio frame.
const BURST: usize = 16 << 10;

/// What the queue of a slowed line holds: whatever lies there when power fails was passed in vain, and loopback would hold megabytes.
const QUEUE: usize = 64 << 10;

/// A running line.
pub(crate) struct Line {
    /// Its near end.
    pub(crate) addr: SocketAddr,
    shared: Arc<Shared>,
    /// Connections that fill the queue while the line is cut.
    plugs: Mutex<Vec<TcpStream>>,
}

struct Shared {
    far: SocketAddr,
    /// What the far end sees; none: what the system chooses.
    source: Option<Ipv4Addr>,
    /// Bytes a second towards the near end, all connections together; 0 is unlimited.
    rate: u64,
    /// Steady moment until which the slowed line is busy.
    busy_until: Mutex<Instant>,
    clock: Clock,
    cut: AtomicBool,
    stop: AtomicBool,
    connections: AtomicUsize,
    down: AtomicU64,
    open: Mutex<Vec<TcpStream>>,
}

impl Line {
    /// A line to `far` as fast as loopback.
    pub(crate) fn to(far: SocketAddr) -> Line {
        Line::slow(loopback(0), far, 0).expect("a free port")
    }

    /// A line whose far end sees the connections come from another address of this machine (`127.0.0.2`): a second device.
    pub(crate) fn from(source: Ipv4Addr, far: SocketAddr) -> Line {
        Line::open(loopback(0), far, 0, Some(source)).expect("a free port")
    }

    /// A line from `near` to `far` that passes `rate` bytes a second (0: all it can) towards the near end.
    pub(crate) fn slow(near: SocketAddr, far: SocketAddr, rate: u64) -> io::Result<Line> {
        Line::open(near, far, rate, None)
    }

    fn open(near: SocketAddr, far: SocketAddr, rate: u64, source: Option<Ipv4Addr>) -> io::Result<Line> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&near.into())?;
        // Room for a class; full soon enough when the line is cut.
        socket.listen(128)?;
        let listener: TcpListener = socket.into();
        listener.set_nonblocking(true)?;
        let clock = Clock::system();
        let shared = Arc::new(Shared {
            far,
            source,
            rate,
            busy_until: Mutex::new(clock.steady()),
            clock,
            cut: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            down: AtomicU64::new(0),
            open: Mutex::default(),
        });
        let addr = listener.local_addr()?;
        let worker = Arc::clone(&shared);
        std::thread::spawn(move || accept(&worker, &listener));
        Ok(Line { addr, shared, plugs: Mutex::default() })
    }

    /// Cuts the cable.
    pub(crate) fn cut(&self) {
        self.shared.cut.store(true, Ordering::SeqCst);
        for stream in self.shared.open.lock().expect("no thread panics holding it").drain(..) {
            let _closed = stream.shutdown(Shutdown::Both); // it may be closed already
        }
        let mut plugs = self.plugs.lock().expect("no thread panics holding it");
        // A queue of n holds n + 1; a connection that no longer comes about says that it is full.
        while plugs.len() < 1024 {
            match TcpStream::connect_timeout(&self.addr, Duration::from_millis(200)) {
                Ok(plug) => plugs.push(plug),
                Err(_) => return,
            }
        }
        panic!("the queue of the cut line does not fill");
    }

    /// Mends the cable.
    pub(crate) fn mend(&self) {
        self.plugs.lock().expect("no thread panics holding it").clear();
        self.shared.cut.store(false, Ordering::SeqCst);
    }

    /// Connections that came through.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Bytes passed towards the near end.
    pub(crate) fn down_bytes(&self) -> u64 {
        self.shared.down.load(Ordering::SeqCst)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
    }
}

fn accept(shared: &Arc<Shared>, listener: &TcpListener) {
    while !shared.stop.load(Ordering::SeqCst) {
        if !shared.cut.load(Ordering::SeqCst)
            && let Ok((near, _)) = listener.accept()
        {
            let shared = Arc::clone(shared);
            std::thread::spawn(move || carry(&shared, &near));
            continue;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn carry(shared: &Arc<Shared>, near: &TcpStream) {
    let Ok(far) = shared.connect() else { return };
    shared.connections.fetch_add(1, Ordering::SeqCst);
    let copies = || Some((near.try_clone().ok()?, far.try_clone().ok()?, near.try_clone().ok()?, far.try_clone().ok()?));
    let Some((near_kept, far_kept, near_up, far_up)) = copies() else { return };
    if near.set_nonblocking(false).is_err() || shared.rate > 0 && SockRef::from(near).set_send_buffer_size(QUEUE).is_err() {
        return;
    }
    {
        let mut open = shared.open.lock().expect("no thread panics holding it");
        open.push(near_kept);
        open.push(far_kept);
    }
    if shared.cut.load(Ordering::SeqCst) {
        let _closed = near.shutdown(Shutdown::Both); // cut while it was being built
    }
    let up = std::thread::spawn(move || pass(near_up, far_up, |_| ()));
    let Ok((from, to)) = far.try_clone().and_then(|from| Ok((from, near.try_clone()?))) else { return };
    pass(from, to, |bytes| shared.admit(bytes));
    let _passed = up.join(); // a panic there shows as a broken connection
}

impl Shared {
    fn connect(&self) -> io::Result<TcpStream> {
        let Some(source) = self.source else { return TcpStream::connect(self.far) };
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((source, 0)).into())?;
        socket.connect(&self.far.into())?;
        Ok(socket.into())
    }

    /// Waits until the slowed line has had time for these bytes.
    fn admit(&self, bytes: usize) {
        self.down.fetch_add(bytes as u64, Ordering::SeqCst);
        if self.rate == 0 {
            return;
        }
        let cost = Duration::from_nanos(bytes as u64 * 1_000_000_000 / self.rate);
        let wait = {
            let mut busy = self.busy_until.lock().expect("no thread panics holding it");
            let now = self.clock.steady();
            *busy = (*busy).max(now) + cost;
            busy.saturating_duration_since(now)
        };
        std::thread::sleep(wait);
    }
}

/// Copies until either end is done, then closes that direction.
fn pass(mut from: TcpStream, mut to: TcpStream, mut admit: impl FnMut(usize)) {
    let mut buffer = vec![0; BURST];
    loop {
        match from.read(&mut buffer) {
            Ok(taken) if taken > 0 => {
                admit(taken);
                if to.write_all(&buffer[..taken]).is_err() {
                    break;
                }
            }
            _ => break,
        }
    }
    let _closed = to.shutdown(Shutdown::Write); // it may be closed already
    let _closed = from.shutdown(Shutdown::Read);
}
