//! A connection to an origin that tells the line what it carries: bytes by where the host is, and what the kernel counts of its
//! segments: every few seconds while it is used, and when it ends. Costs a system call in that time, and no hold that would keep a
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
    pub(super) fn new(stream: TcpStream, host: &str, addr: SocketAddr, link: &Link) -> Channel {
        let reach = link.reach(host, addr.ip());
        let trace = Trace { link: link.clone(), reach, beat: link.beat(), told: Segments::default() };
        Channel { stream, trace: Some(trace) }
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
        // A kernel that says nothing has nothing said of it.
        let Ok(info) = socket::tcp_info(stream) else { return };
        let whole = |count: Option<u32>| count.map_or(0, u64::from);
        let received = info.segments_disordered.map_or(0, |_| whole(info.segments_received));
        let now = Segments {
            // Data alone is counted there, and a SYN may be repeated too.
            sent: whole(info.segments_sent) + 1,
            repeated: whole(info.retransmits),
            received,
            disordered: whole(info.segments_disordered),
        };
        let since = since(now, self.told);
        // A round trip is known by what is acknowledged of ours: where nothing was sent, the old one stands.
        let rtt = info.rtt.filter(|rtt| since.sent > 0 && *rtt > Duration::ZERO);
        self.told = now;
        if since != Segments::default() {
            self.link.observe(Sample::Segments { segments: since, rtt });
        }
    }
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
        // The address decides, wherever the bytes go in this test.
        for (addr, reach) in [("203.0.113.7:443", 0), ("198.51.100.7:443", 1), ("192.168.8.7:443", 2)] {
            let (stream, mut far) = open().await;
            let mut channel = Channel::new(stream, "a.example", addr.parse().unwrap(), &link);
            channel.write_all(b"a question").await.unwrap();
            far.read_exact(&mut [0; 10]).await.unwrap();
            far.write_all(&[7; 3_000]).await.unwrap();
            channel.read_exact(&mut [0; 3_000]).await.unwrap();
            wanted[reach] += 3_000;
            drop(channel);
        }
        let (stream, mut far) = open().await;
        let mut quiet = Channel::new(stream, "a.example", "203.0.113.7:443".parse().unwrap(), &link).untold();
        far.write_all(&[7; 5_000]).await.unwrap();
        quiet.read_exact(&mut [0; 5_000]).await.unwrap();
        drop(quiet);
        let text = metrics.print();
        for (reach, bytes) in ["domestic", "foreign", "unknown"].iter().zip(wanted) {
            let line = format!("bulak_link_received_bytes_total{{reach=\"{reach}\"}} {bytes}\n");
            assert!(text.contains(&line), "{line} in\n{text}");
        }
        let value = |name: &str| -> f64 {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name} in\n{text}"));
            line.rsplit(' ').next().unwrap().parse().unwrap()
        };
        // A SYN and a question each; the answers.
        assert!(value("bulak_link_segments_total{dir=\"tx\"}") >= 6.0 && value("bulak_link_segments_total{dir=\"rx\"}") >= 3.0);
        assert!((value("bulak_link_tcp_rtt_seconds_count") - 3.0).abs() < 0.1);
        life.stop();
    }

    #[test]
    fn counters_that_go_round_go_on() {
        let at = |sent: u64| Segments { sent, ..Segments::default() };
        assert_eq!(since(at(12), at(7)), at(5));
        assert_eq!(since(at(3), at(u64::from(u32::MAX) - 1)), at(5));
        assert_eq!(since(at(u64::from(u32::MAX) + 1), at(u64::from(u32::MAX))), at(1), "with the SYN on top");
    }
}
