//! A connection for a measurement: opened like any other (names, guards, parent, roots), but never pooled and never paced, since it would
//! measure its own manners. What passes is counted as `Class::Measure`, and the kernel can be asked about it.

use crate::base::socket::{self, Hold, TcpInfo};
use crate::base::target::{Scheme, Target};
use crate::link::{Class, Link, Sample};
use crate::upstream::channel::Channel;
use crate::upstream::dial::Wire;
use crate::upstream::{Error, Upstream};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection to measure with.
pub struct Line {
    /// The connection; bytes of TLS are gone from what is read, and not from what is counted.
    pub stream: LineStream,
    /// What has passed on it.
    pub meter: LineMeter,
}

/// What is read and written.
pub struct LineStream(Box<dyn Wire>);

/// Tells what has passed on a connection, whoever reads and writes it. The connection is not closed before this is gone.
pub struct LineMeter {
    passed: Arc<Passed>,
    hold: Option<Hold>,
}

/// Bytes of TCP that have passed: received, sent.
#[derive(Debug, Default)]
struct Passed(AtomicU64, AtomicU64);

impl Upstream {
    /// Opens a connection to `target` for a measurement. May be dropped at any await.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn line(&self, target: &Target) -> Result<Line, Error> {
        let (host, port) = (target.host(), target.port());
        let stream = match self.watched(host, port, true, self.0.dial.stream(host, port, false)).await {
            Ok(stream) => stream.untold(),
            Err(error) => return Err(self.settled(error).await),
        };
        let is_line = stream.is_line();
        let hold = Hold::on(&stream).inspect_err(|error| tracing::debug!(%error, "the kernel cannot be asked about a test")).ok();
        let passed = Arc::new(Passed::default());
        let counted = Counted { stream, passed: Arc::clone(&passed), link: self.0.link.clone() };
        let stream: Box<dyn Wire> = match target.scheme() {
            Scheme::Http => Box::new(counted),
            Scheme::Https => self.0.dial.tls((counted, is_line), target, true).await?.0,
        };
        Ok(Line { stream: LineStream(stream), meter: LineMeter { passed, hold } })
    }
}

impl LineMeter {
    /// Bytes of TCP until now: received, sent. Repeats of ours are among them where the kernel tells.
    pub fn passed(&self) -> (u64, u64) {
        let kernel = self.kernel().unwrap_or_default();
        let of = |counted: &AtomicU64, kernel: Option<u64>| counted.load(Ordering::Relaxed).max(kernel.unwrap_or(0));
        (of(&self.passed.0, kernel.bytes_received), of(&self.passed.1, kernel.bytes_sent))
    }

    /// What the kernel says now.
    pub fn kernel(&self) -> Option<TcpInfo> {
        socket::tcp_info(self.hold.as_ref()?).ok()
    }

    /// To ask the kernel more.
    pub fn hold(&self) -> Option<&Hold> {
        self.hold.as_ref()
    }
}

impl AsyncRead for LineStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(context, buffer)
    }
}

impl AsyncWrite for LineStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(context)
    }
}

/// Counts beneath TLS.
struct Counted {
    stream: Channel,
    passed: Arc<Passed>,
    link: Link,
}

impl AsyncRead for Counted {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(context, buffer);
        let bytes = (buffer.filled().len() - before) as u64;
        if bytes > 0 {
            this.passed.0.fetch_add(bytes, Ordering::Relaxed);
            this.link.observe(Sample::Received { class: Class::Measure, bytes });
        }
        polled
    }
}

impl AsyncWrite for Counted {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(count)) = polled {
            let bytes = count as u64;
            this.passed.1.fetch_add(bytes, Ordering::Relaxed);
            this.link.observe(Sample::Sent { class: Class::Measure, bytes });
        }
        polled
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
