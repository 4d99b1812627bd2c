//! Connections of the night: read in small pieces as the pace allows, with a receive window that keeps the sender from filling the
//! line's queue, and marked as what may wait (DSCP LE, RFC 8622). One whose transfer a device waits for is let off all of it.
//!
//! # Why the socket is read slowly, and not the body
//! Everything that comes counts: heads, TLS, what a coding makes of it. A body's frames may be 64 KiB behind a TLS record and hyper's
//! buffer; at the floor that is half a minute in which the origin would hear nothing.
//!
//! # Why the window is set after connecting
//! A clamp that stands before it also fixes the window's scale for good (`tcp_select_initial_window`): a connection that was opened
//! while the night was slow could never offer more than 64 KiB. What is set before our first byte bounds all but the first 64 KiB,
//! and those are waited for at the gate ([`crate::link::pace::Pace::opening`]).

use crate::base::socket;
use crate::link::Link;
use crate::link::foreground::{Busy, Raise};
use crate::link::pace::Seat;
use crate::upstream::channel::Channel;
use parking_lot::Mutex;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Lower effort, as it stands in IPv4's TOS and IPv6's traffic class: the code point 1, two bits up.
const LOWER_EFFORT: u32 = 1 << 2;
/// No mark.
const ORDINARY: u32 = 0;
/// No bound of ours: what the system allows.
const UNBOUNDED: u32 = 1 << 30;

/// What a connection of the night, and whoever sends on it, have in common.
pub(super) struct Throttle {
    link: Link,
    riding: Mutex<Riding>,
    /// Reads that brought something.
    reads: AtomicU64,
    /// Bytes may lie there that the pace does not let us read.
    holds: AtomicBool,
}

/// The transfer that is on the connection now.
#[derive(Default)]
struct Riding {
    number: u64,
    on: Option<(Arc<Seat>, Raise)>,
    /// While a device waits for it.
    busy: Option<Busy>,
    /// What was read and is not paid for.
    debt: Option<Debt>,
}

/// Bytes that the next read waits for. It may hold the one turn that all takers share, so it ends with its transfer and not when
/// somebody next looks at the connection: an idle one is looked at by nobody.
struct Debt {
    bytes: u64,
    paid: Wait,
    /// Who waits for it, and has to look at the connection itself instead.
    waker: Waker,
}

impl Throttle {
    pub(super) fn new(link: Link) -> Arc<Throttle> {
        Arc::new(Throttle { link, riding: Mutex::default(), reads: AtomicU64::new(0), holds: AtomicBool::new(false) })
    }

    /// A request goes over this connection.
    pub(super) fn ride(self: &Arc<Throttle>, raise: Raise) -> Ride {
        let seat = Arc::new(self.link.pace().seat());
        let mut riding = self.riding.lock();
        *riding = Riding { number: riding.number + 1, on: Some((seat, raise)), busy: None, debt: None };
        Ride { throttle: Arc::clone(self), number: riding.number, reads: self.reads.load(Ordering::Relaxed) }
    }

    /// Something of a transfer that a device waits for has come.
    fn moved(&self) {
        if let Some(busy) = &self.riding.lock().busy {
            busy.moved();
        }
    }

    /// From now on a device waits.
    fn counts(&self) {
        let mut riding = self.riding.lock();
        if riding.on.is_some() && riding.busy.is_none() {
            riding.busy = Some(self.link.foreground().begin());
        }
    }

    /// Transfer `number` has read something.
    fn owes(&self, number: u64, seat: &Seat, bytes: u64, waker: &Waker) {
        seat.came(bytes);
        let mut riding = self.riding.lock();
        if riding.number == number && riding.on.is_some() {
            riding.debt = Some(Debt { bytes, paid: Box::pin(seat.pay(bytes)), waker: waker.clone() });
        } else {
            seat.owe(bytes);
        }
    }

    /// Whether what was read is still to be paid for; if so, whoever asks is woken when that is over.
    fn is_in_debt(&self, cx: &mut Context<'_>) -> bool {
        let mut riding = self.riding.lock();
        let Some(debt) = &mut riding.debt else { return false };
        let owes = debt.paid.as_mut().poll(cx).is_pending();
        if owes {
            debt.waker.clone_from(cx.waker());
        } else {
            riding.debt = None;
        }
        self.holds.store(owes, Ordering::Relaxed);
        owes
    }

    fn forgive(&self) {
        let mut riding = self.riding.lock();
        self.holds.store(false, Ordering::Relaxed);
        riding.debt = None;
    }
}

/// One transfer on such a connection; dropping it ends it.
pub(super) struct Ride {
    throttle: Arc<Throttle>,
    number: u64,
    reads: u64,
}

impl Ride {
    /// Whether a silence is our own: something was read since this was asked last, or is being held back.
    pub(super) fn stirred(&mut self) -> bool {
        let reads = self.throttle.reads.load(Ordering::Relaxed);
        std::mem::replace(&mut self.reads, reads) != reads || self.throttle.holds.load(Ordering::Relaxed)
    }
}

impl Drop for Ride {
    fn drop(&mut self) {
        let over = {
            let mut riding = self.throttle.riding.lock();
            if riding.number != self.number {
                return;
            }
            self.throttle.holds.store(false, Ordering::Relaxed);
            let number = riding.number;
            std::mem::replace(&mut *riding, Riding { number, ..Riding::default() })
        };
        if let Some(Debt { bytes, paid, waker }) = over.debt {
            drop(paid);
            // What the next ones wait for, whoever they are.
            if let Some((seat, _)) = &over.on {
                seat.owe(bytes);
            }
            waker.wake();
        }
    }
}

type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The stream of such a connection.
pub(super) struct Paced {
    stream: Channel,
    throttle: Arc<Throttle>,
    /// The transfer that is known.
    number: u64,
    rides: bool,
    raised: Option<Wait>,
    /// A device waits: nothing is held back.
    free: bool,
    /// When the window was set and to what, and whether it is ours.
    beat: Option<u64>,
    window: Option<u32>,
    clamped: bool,
}

impl Paced {
    pub(super) fn new(stream: Channel, throttle: Arc<Throttle>) -> Paced {
        Paced { stream, throttle, number: 0, rides: false, raised: None, free: false, beat: None, window: None, clamped: false }
    }

    /// The seat of the transfer that is on now, which is never kept: it ends with its transfer. Takes notice when one has begun or ended
    /// since the last look.
    fn look(&mut self) -> Option<Arc<Seat>> {
        let riding = self.throttle.riding.lock();
        let on = riding.on.as_ref();
        let seat = on.map(|(seat, _)| Arc::clone(seat));
        if riding.number == self.number && seat.is_some() == self.rides {
            return seat;
        }
        self.number = riding.number;
        self.rides = seat.is_some();
        self.raised = on.map(|(_, raise)| Box::pin(raise.clone().into_raised()) as Wait);
        drop(riding);
        if self.rides && std::mem::take(&mut self.free) {
            self.beat = None;
            told(mark(&self.stream, LOWER_EFFORT));
        }
        seat
    }

    /// A device waits from now on.
    fn let_off(&mut self) {
        self.free = true;
        self.raised = None;
        self.throttle.forgive();
        self.throttle.counts();
        told(mark(&self.stream, ORDINARY));
        self.bound(None);
    }

    /// Offers the window that the rate needs, less what has come and was not read: the kernel counts from what has come, and would let
    /// its buffer fill at the line's rate before it tells the sender of ours. Once a tick at least: the kernel widens it by itself while it
    /// sizes its buffer.
    fn clamp(&mut self, seat: &Seat) {
        let (beat, window) = seat.window();
        let unread = || socket::unread(&self.stream).unwrap_or_default();
        let window = window.map(|window| window.saturating_sub(unread()).max(1));
        if self.beat != Some(beat) || self.window != window {
            (self.beat, self.window) = (Some(beat), window);
            self.bound(window);
        }
    }

    fn bound(&mut self, window: Option<u32>) {
        if window.is_some() || self.clamped {
            self.clamped = window.is_some();
            told(socket::set_window_clamp(&self.stream, window.unwrap_or(UNBOUNDED)));
        }
    }

    fn poll_some(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let read = buf.filled().len() - before;
        self.throttle.reads.fetch_add(u64::from(read > 0), Ordering::Relaxed);
        Poll::Ready(Ok(read))
    }
}

impl AsyncRead for Paced {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let seat = this.look();
        if this.raised.as_mut().is_some_and(|raised| raised.as_mut().poll(cx).is_ready()) {
            this.let_off();
        }
        let Some(seat) = seat.filter(|_| !this.free) else {
            ready!(this.poll_some(cx, buf))?;
            this.throttle.moved();
            return Poll::Ready(Ok(()));
        };
        this.clamp(&seat);
        if this.throttle.is_in_debt(cx) {
            return Poll::Pending;
        }
        let most = this.throttle.link.pace().piece().min(buf.remaining());
        let mut piece = ReadBuf::new(buf.initialize_unfilled_to(most));
        let read = ready!(this.poll_some(cx, &mut piece))?;
        buf.advance(read);
        if read > 0 {
            this.throttle.owes(this.number, &seat, read as u64, cx.waker());
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Paced {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Connects as the night does: marked from the first packet on.
pub(super) async fn connect(addr: SocketAddr) -> io::Result<TcpStream> {
    let socket = if addr.is_ipv4() { tokio::net::TcpSocket::new_v4()? } else { tokio::net::TcpSocket::new_v6()? };
    told(mark_as(&socket2::SockRef::from(&socket), addr.is_ipv4(), LOWER_EFFORT));
    socket.connect(addr).await
}

fn mark(stream: &Channel, class: u32) -> io::Result<()> {
    mark_as(&socket2::SockRef::from(stream), stream.peer_addr()?.is_ipv4(), class)
}

fn mark_as(socket: &socket2::SockRef<'_>, is_v4: bool, class: u32) -> io::Result<()> {
    if is_v4 { socket.set_tos_v4(class) } else { socket.set_tclass_v6(class) }
}

/// A kernel that does not know an option does without.
fn told(done: io::Result<()>) {
    if let Err(error) = done {
        tracing::debug!(%error, "socket options");
    }
}
