//! A connection to an origin that tells the line what it carries: bytes by where the host is (unknown behind a parent proxy), and what
//! the kernel counts of its segments: every few seconds while it is used, and when it ends. Costs a system call in that time, and no hold that would keep a
//! connection open.

use crate::base::socket;
use crate::link::passive::Segments;
use crate::link::reach::Reach;
use crate::link::{Link, Sample};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The kernel is asked so often while a connection is used, seconds: thirty times in a window of the line's history.
const EVERY: u64 = 10;

/// A TCP connection to an origin, or to the parent proxy.
#[derive(Debug)]
pub struct Channel {
    stream: TcpStream,
    trace: Option<Trace>,
    is_line: bool,
}

/// What is told.
struct Trace {
    link: Link,
    reach: Reach,
    /// When the kernel was asked last.
    beat: u64,
    /// What it had counted by then.
    told: Segments,
}

impl std::fmt::Debug for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trace").field("reach", &self.reach).field("told", &self.told).finish_non_exhaustive()
    }
}

impl Channel {
    /// One that tells.
    pub(super) fn new(stream: TcpStream, reach: Reach, link: &Link) -> Channel {
        // A SYN that had to be repeated counts for nothing: no data was lost.
        let told = count(&stream).map(|(segments, _)| segments).unwrap_or_default();
        let trace = Trace { link: link.clone(), reach, beat: link.beat(), told };
        Channel { stream, trace: Some(trace), is_line: true }
    }

    /// One to a server in the school's own network, which tells nothing: it does not pass the line.
    pub(super) fn house(stream: TcpStream) -> Channel {
        Channel { stream, trace: None, is_line: false }
    }

    /// Whether what it carries passes the line.
    pub fn is_line(&self) -> bool {
        self.is_line
    }

    /// The same, telling nothing: a test of the line fills it on purpose, and speaks for itself.
    pub(super) fn untold(mut self) -> Channel {
        self.trace = None;
        self
    }

    /// Where it goes.
    ///
    /// # Errors
    /// The system's.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }

    /// Looks at what has come without taking it. May be dropped at any await.
    pub(super) async fn peek(&self, bytes: &mut [u8]) -> io::Result<usize> {
        self.stream.peek(bytes).await
    }

    /// So many bytes have come; the connection is used.
    fn used(&mut self, came: u64) {
        let Some(trace) = &mut self.trace else { return };
        if came > 0 {
            trace.link.observe(Sample::Came { reach: trace.reach, bytes: came });
        }
        let beat = trace.link.beat();
        if beat.saturating_sub(trace.beat) >= EVERY {
            trace.beat = beat;
            trace.tell(&self.stream);
        }
    }
}

impl Trace {
    fn tell(&mut self, stream: &TcpStream) {
        let Some((now, rtt)) = count(stream) else { return };
        let since = since(now, self.told);
        // A round trip is known by what is acknowledged of ours: where nothing was sent, the old one stands.
        let rtt = rtt.filter(|rtt| since.sent > 0 && *rtt > Duration::ZERO);
        self.told = now;
        if since != Segments::default() {
            self.link.observe(Sample::Segments { segments: since, rtt });
        }
    }
}

/// What the kernel has counted, and its round trip. A kernel that says nothing has nothing said of it.
fn count(stream: &TcpStream) -> Option<(Segments, Option<Duration>)> {
    let info = socket::tcp_info(stream).ok()?;
    let whole = |count: Option<u32>| count.map_or(0, u64::from);
    let segments = Segments {
        sent: whole(info.segments_sent),
        repeated: whole(info.retransmits),
        received: info.segments_disordered.map_or(0, |_| whole(info.segments_received)),
        disordered: whole(info.segments_disordered),
    };
    Some((segments, info.rtt))
}

/// What was added; the kernel's counters have 32 bits and go round.
fn since(now: Segments, told: Segments) -> Segments {
    let step = |now: u64, told: u64| now.wrapping_sub(told) & u64::from(u32::MAX);
    Segments {
        sent: step(now.sent, told.sent),
        repeated: step(now.repeated, told.repeated),
        received: step(now.received, told.received),
        disordered: step(now.disordered, told.disordered),
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        if let Some(mut trace) = self.trace.take() {
            trace.tell(&self.stream);
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl AsyncRead for Channel {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(context, buffer);
        this.used((buffer.filled().len() - before) as u64);
        polled
    }
}

impl AsyncWrite for Channel {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.used(0);
        polled
    }

    fn poll_write_vectored(self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.used(0);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::{Clock, Time};
    use crate::base::count::Metrics;
    use crate::life::Life;
    use crate::link;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn what_a_connection_carried_is_known_by_its_end_and_a_tests_is_not() {
        let (life, metrics) = (Life::default(), Metrics::default());
        let domestic = vec!["203.0.113.0/24".parse().unwrap()];
        let settings = link::Settings { domestic, ..link::Settings::default() };
        let link = Link::new(settings, Clock::manual(Time::BUILT), &life, &metrics);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = async || {
            let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (far, _) = listener.accept().await.unwrap();
            (stream, far)
        };
        let mut wanted = [0, 0, 0];
        let reach = |addr: &str| link.reach("a.example", addr.parse().unwrap());
        // The address decides, wherever the bytes go in this test.
        for (addr, number) in [("203.0.113.7", 0), ("198.51.100.7", 1), ("192.168.8.7", 2)] {
            let (stream, mut far) = open().await;
            let mut channel = Channel::new(stream, reach(addr), &link);
            channel.write_all(b"a question").await.unwrap();
            far.read_exact(&mut [0; 10]).await.unwrap();
            far.write_all(&[7; 3_000]).await.unwrap();
            channel.read_exact(&mut [0; 3_000]).await.unwrap();
            wanted[number] += 3_000;
            drop(channel);
        }
        // One that lives long is told of meanwhile, and at its end only of the rest.
        let (stream, mut far) = open().await;
        let mut channel = Channel::new(stream, Reach::Foreign, &link);
        let sent = || value(&metrics, "bulak_link_segments_total{dir=\"tx\"}");
        for told in [4.0, 5.0] {
            channel.write_all(b"a question").await.unwrap();
            far.read_exact(&mut [0; 10]).await.unwrap();
            far.write_all(&[7; 1_000]).await.unwrap();
            assert!((sent() - (told - 1.0)).abs() < 0.1, "{}", sent());
            (0..EVERY).for_each(|_| link.tick());
            channel.read_exact(&mut [0; 1_000]).await.unwrap();
            wanted[1] += 1_000;
            assert!((sent() - told).abs() < 0.1, "{}", sent());
        }
        drop(channel);
        assert!((sent() - 5.0).abs() < 0.1, "{}", sent());
        let (stream, mut far) = open().await;
        let mut quiet = Channel::new(stream, Reach::Domestic, &link).untold();
        far.write_all(&[7; 5_000]).await.unwrap();
        quiet.read_exact(&mut [0; 5_000]).await.unwrap();
        drop(quiet);
        link.tick();
        let text = metrics.print();
        for (reach, bytes) in ["domestic", "foreign", "unknown"].iter().zip(wanted) {
            let line = format!("bulak_link_received_bytes_total{{reach=\"{reach}\"}} {bytes}\n");
            assert!(text.contains(&line), "{line} in\n{text}");
        }
        assert!(value(&metrics, "bulak_link_segments_total{dir=\"rx\"}") >= 5.0, "the answers");
        assert!((value(&metrics, "bulak_link_tcp_rtt_seconds_count") - 5.0).abs() < 0.1);
        life.stop();
    }

    fn value(metrics: &Metrics, name: &str) -> f64 {
        let text = metrics.print();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name} in\n{text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    #[test]
    fn counters_that_go_round_go_on() {
        let at = |sent: u64| Segments { sent, ..Segments::default() };
        assert_eq!(since(at(12), at(7)), at(5));
        assert_eq!(since(at(3), at(u64::from(u32::MAX) - 1)), at(5));
        assert_eq!(since(at(u64::from(u32::MAX) + 1), at(u64::from(u32::MAX))), at(1));
    }
}
