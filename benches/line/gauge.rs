//! What a cable is like, measured from its ends: round trips of small packets, bulk TCP each way.

use super::cable::Cable;
use bulak::base::clock::Clock;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often a round trip is measured.
const EVERY: Duration = Duration::from_millis(100);

/// Round trips, ten a second until dropped.
pub(crate) struct Pings {
    seen: Arc<Mutex<Vec<(Instant, Duration)>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Pings {
    /// Starts to measure.
    ///
    /// # Errors
    /// Of sockets.
    pub(crate) fn start(cable: &Cable) -> io::Result<Pings> {
        let far = cable.far.enter(|| UdpSocket::bind((cable.far.addr, 0)))?;
        let near = cable.near.enter(|| UdpSocket::bind((cable.near.addr, 0)))?;
        near.connect(far.local_addr()?)?;
        far.set_read_timeout(Some(EVERY))?;
        let (seen, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (told, ended, echoed) = (Arc::clone(&seen), Arc::clone(&stop), Arc::clone(&stop));
        let echo = std::thread::spawn(move || {
            let mut buffer = [0; 64];
            while !echoed.load(Ordering::Relaxed) {
                if let Ok((length, from)) = far.recv_from(&mut buffer) {
                    let _sent = far.send_to(&buffer[..length], from); // a lost one is a lost one
                }
            }
        });
        let ask = std::thread::spawn(move || ask(&near, &told, &ended));
        Ok(Pings { seen, stop, threads: vec![echo, ask] })
    }

    /// The round trips of what was sent in a time, shortest first.
    pub(crate) fn between(&self, from: Instant, to: Instant) -> Vec<Duration> {
        let seen = self.seen.lock().expect("no thread panics holding it");
        let mut times: Vec<Duration> = seen.iter().filter(|(sent, _)| (from..to).contains(sent)).map(|(_, time)| *time).collect();
        times.sort();
        times
    }
}

impl Drop for Pings {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ended = thread.join(); // a panic of theirs was printed
        }
    }
}

fn ask(socket: &UdpSocket, seen: &Mutex<Vec<(Instant, Duration)>>, stop: &AtomicBool) {
    let clock = Clock::system();
    let mut sent: Vec<Instant> = Vec::new();
    let mut buffer = [0; 64];
    while !stop.load(Ordering::Relaxed) {
        let now = clock.steady();
        let _sent = socket.send(&(sent.len() as u64).to_be_bytes()); // a line that is down loses it
        sent.push(now);
        loop {
            let left = (now + EVERY).saturating_duration_since(clock.steady());
            if left.is_zero() || socket.set_read_timeout(Some(left)).is_err() {
                break;
            }
            let Ok(8) = socket.recv(&mut buffer) else { continue };
            let number = u64::from_be_bytes(buffer[..8].try_into().expect("eight bytes"));
            if let Some(began) = usize::try_from(number).ok().and_then(|number| sent.get(number)) {
                let time = clock.steady().saturating_duration_since(*began);
                seen.lock().expect("no thread panics holding it").push((*began, time));
            }
        }
    }
}

/// Of times in order, the one that `share` of them do not exceed.
pub(crate) fn quantile(times: &[Duration], share: f64) -> Option<Duration> {
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index of a short list")]
    let at = (times.len() as f64 * share) as usize;
    times.get(at.min(times.len().saturating_sub(1))).copied()
}

/// What one TCP connection gets towards the school, bit/s of its bytes, once `warm` has passed, over `time`.
///
/// # Errors
/// Of sockets.
pub(crate) fn bulk_down(cable: &Cable, warm: Duration, time: Duration) -> io::Result<f64> {
    let listener = cable.far.enter(|| TcpListener::bind((cable.far.addr, 0)))?;
    let addr = listener.local_addr()?;
    let sender = std::thread::spawn(move || listener.accept().map(|(stream, _)| pour(stream)));
    let rate = connect(cable, addr).and_then(|stream| drain(stream, warm, time));
    let _ended = sender.join(); // it ends with the connection
    rate
}

/// The same towards the world.
///
/// # Errors
/// Of sockets.
pub(crate) fn bulk_up(cable: &Cable, warm: Duration, time: Duration) -> io::Result<f64> {
    let listener = cable.far.enter(|| TcpListener::bind((cable.far.addr, 0)))?;
    let stream = connect(cable, listener.local_addr()?)?;
    let sender = std::thread::spawn(move || pour(stream));
    let rate = listener.accept().and_then(|(stream, _)| drain(stream, warm, time));
    let _ended = sender.join(); // it ends with the connection
    rate
}

fn connect(cable: &Cable, addr: SocketAddr) -> io::Result<TcpStream> {
    cable.near.enter(|| TcpStream::connect(addr))
}

/// Writes until nobody reads.
fn pour(mut stream: TcpStream) {
    let bytes = vec![0; 1 << 16];
    while stream.write_all(&bytes).is_ok() {}
}

/// Reads, and closes so that the other end notices at once.
#[expect(clippy::cast_precision_loss, reason = "bytes of some seconds")]
fn drain(mut stream: TcpStream, warm: Duration, time: Duration) -> io::Result<f64> {
    let clock = Clock::system();
    let began = clock.steady();
    let mut buffer = vec![0; 1 << 16];
    let (mut bytes, mut from) = (0_usize, None);
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    loop {
        let taken = stream.read(&mut buffer)?;
        let now = clock.steady();
        if taken == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let Some(from) = from else {
            from = (now >= began + warm).then_some(now);
            continue;
        };
        bytes += taken;
        if now >= from + time {
            let took = (now - from).as_secs_f64();
            return Ok(bytes as f64 * 8.0 / took);
        }
    }
}
