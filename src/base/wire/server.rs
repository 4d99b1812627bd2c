//! Between a client's socket and hyper's server: judges what is read before hyper sees it, answers a bad request itself
//! after all earlier answers have gone out, and slips interim answers in between. Bytes go straight into hyper's buffer.

use crate::base::wire::fault::{Fault, Limits};
use crate::base::wire::request::{Phase, Refused, Requests, Step};
use crate::base::wire::watch::{BODY_STEP, Shared, Watch};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// Puts the filter around a client's connection.
pub fn server<S>(stream: S, limits: Limits) -> (Guarded<S>, Watch) {
    let watch = Watch::default();
    let guarded = Guarded {
        inner: stream,
        judge: Requests::new(limits),
        shared: Arc::clone(&watch.0),
        flow: Flow::Open,
        held: Vec::new(),
        out: Vec::new(),
        dirty: false,
        nudged: false,
        body_bytes: 0,
    };
    (guarded, watch)
}

/// Bytes kept while it is open whether the protocol switches; a client that sends more before the answer has to wait.
const HELD_MOST: usize = 16 << 10;

/// After an answer that closes, so much and so long is still read, lest a reset wipes out the answer (RFC 9112 section 9.6).
const LINGER_BYTES: usize = 256 << 10;
const LINGER_TIME: Duration = Duration::from_secs(2);

#[derive(Debug)]
enum Flow {
    Open,
    /// A fault was found; earlier answers go out first.
    Refusing(Fault, bool),
    /// The refusal is on its way out.
    Telling,
    /// It is out; what the client still sends is thrown away.
    Lingering(Pin<Box<Sleep>>, usize),
    /// hyper sees the end of the stream.
    Ended,
}

/// A client's connection behind the filter.
#[derive(Debug)]
pub struct Guarded<S> {
    inner: S,
    judge: Requests,
    shared: Arc<Shared>,
    flow: Flow,
    /// Read but not judged yet.
    held: Vec<u8>,
    /// Ours to write before anything of hyper's.
    out: Vec<u8>,
    /// hyper has written since its buffer was last known to be empty.
    dirty: bool,
    nudged: bool,
    body_bytes: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Guarded<S> {
    /// Fills `buf` from the socket or from what was held, and judges. `None`: nothing may pass, look again.
    fn poll_judged(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Option<io::Result<()>>> {
        let before = buf.filled().len();
        if self.held.is_empty() {
            match Pin::new(&mut self.inner).poll_read(cx, buf) {
                Poll::Pending => {
                    self.shared.reading.store(true, Relaxed);
                    return Poll::Pending;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(Ok(())) => {}
            }
        } else {
            let take = self.held.len().min(buf.remaining());
            buf.put_slice(&self.held[..take]);
            self.held.drain(..take);
        }
        let fresh = &buf.filled()[before..];
        if fresh.is_empty() {
            return Poll::Ready(Some(Ok(())));
        }
        let len = fresh.len();
        let pass = match self.judge.feed(fresh) {
            Ok(Step::All) => len,
            Ok(Step::Upto(pass)) => {
                self.held.splice(0..0, fresh[pass..].iter().copied());
                pass
            }
            Err(Refused { fault, pass, begun }) => {
                self.flow = Flow::Refusing(fault, begun);
                self.shared.refuse(fault);
                pass
            }
        };
        self.note(len);
        buf.set_filled(before + pass);
        Poll::Ready((pass > 0).then_some(Ok(())))
    }

    fn note(&mut self, len: usize) {
        self.body_bytes += len;
        let step = self.body_bytes >= BODY_STEP;
        if step {
            self.body_bytes = 0;
        }
        let phase = self.judge.phase();
        self.shared.note(phase, step && phase == Phase::Body);
    }

    /// While it is open whether the protocol switches: keeps what comes, and sees the client leave. Ready at the end.
    fn poll_hold(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.held.len() < HELD_MOST {
            let mut piece = [0; 4096];
            let mut buf = ReadBuf::new(&mut piece);
            ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buf))?;
            if buf.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.held.extend_from_slice(buf.filled());
        }
        Poll::Pending
    }

    /// The client has been too slow: in the middle of something it is told so, between requests there is nothing to say.
    fn expire(&mut self, phase: Phase) {
        self.flow = match phase {
            Phase::Idle | Phase::Waiting | Phase::Through => Flow::Ended,
            Phase::Head | Phase::Body => {
                self.shared.refuse(Fault::Slow);
                Flow::Refusing(Fault::Slow, phase == Phase::Body)
            }
        };
    }

    /// Whether the refusal may be written now: nothing of an earlier answer is left, and this one's has not begun.
    fn may_tell(&self, begun: bool) -> bool {
        let earlier = self.judge.heads() - u32::from(begun);
        !self.dirty && self.shared.answered() == earlier
    }

    /// Carries the refusal out. Ready when hyper is to see the end.
    fn poll_refuse(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match &mut self.flow {
                Flow::Open | Flow::Ended => return Poll::Ready(Ok(())),
                Flow::Refusing(fault, begun) => {
                    let (fault, begun) = (*fault, *begun);
                    let heads = self.judge.heads();
                    if begun && (self.shared.answered() == heads || (self.shared.asked() == heads && !self.shared.is_open())) {
                        // The answer has begun already: all that is left is to end.
                        self.flow = Flow::Ended;
                        return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, fault)));
                    }
                    if !self.may_tell(begun) {
                        return Poll::Pending;
                    }
                    self.out.extend_from_slice(&page(fault));
                    self.flow = Flow::Telling;
                }
                Flow::Telling => {
                    ready!(self.poll_out(cx))?;
                    ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
                    ready!(Pin::new(&mut self.inner).poll_shutdown(cx))?;
                    self.linger();
                }
                Flow::Lingering(..) => {
                    ready!(self.poll_linger(cx));
                    self.flow = Flow::Ended;
                }
            }
        }
    }

    fn linger(&mut self) {
        self.flow = Flow::Lingering(Box::pin(tokio::time::sleep(LINGER_TIME)), LINGER_BYTES);
    }

    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Flow::Lingering(until, left) = &mut self.flow else { return Poll::Ready(()) };
        loop {
            if until.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let mut piece = [0; 4096];
            let mut buf = ReadBuf::new(&mut piece);
            let read = ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buf));
            *left = left.saturating_sub(buf.filled().len());
            if read.is_err() || buf.filled().is_empty() || *left == 0 {
                return Poll::Ready(());
            }
        }
    }

    /// Writes what is ours.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let written = match Pin::new(&mut self.inner).poll_write(cx, &self.out) {
                Poll::Pending => {
                    self.shared.writing.store(true, Relaxed);
                    return Poll::Pending;
                }
                Poll::Ready(written) => written?,
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out.drain(..written);
            self.shared.progress();
        }
        Poll::Ready(Ok(()))
    }

    /// Whether hyper may write; `false`: a refusal has been told, what hyper says is thrown away.
    fn poll_may_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if matches!(self.flow, Flow::Telling | Flow::Lingering(..)) {
            return Poll::Ready(Ok(false));
        }
        ready!(self.poll_out(cx))?;
        self.dirty = true;
        Poll::Ready(Ok(true))
    }

    fn wrote(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_pending() {
            self.shared.writing.store(true, Relaxed);
        } else {
            self.shared.progress();
        }
        written
    }

    /// After a flush: whoever waits in `poll_read` for answers to be out is polled once more.
    fn nudge(&mut self, cx: &Context<'_>) {
        let due = match self.flow {
            Flow::Refusing(_, begun) => self.may_tell(begun),
            Flow::Open => self.judge.phase() == Phase::Waiting && self.shared.decided(self.judge.heads()).is_some(),
            Flow::Telling | Flow::Lingering(..) | Flow::Ended => false,
        };
        if due && !self.nudged {
            self.nudged = true;
            cx.waker().wake_by_ref();
        }
    }
}

/// A whole small answer: the client sees why, and that the connection ends.
fn page(fault: Fault) -> Vec<u8> {
    let status = fault.status();
    let reason = http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or_default();
    let body = format!("{fault} (wire.{})\n", fault.word());
    format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.nudged = false;
        loop {
            if !matches!(this.flow, Flow::Open) {
                return this.poll_refuse(cx);
            }
            match this.judge.phase() {
                Phase::Through if this.held.is_empty() => return Pin::new(&mut this.inner).poll_read(cx, buf),
                Phase::Waiting => match this.shared.decided(this.judge.heads()) {
                    Some(switched) => {
                        this.judge.resume(switched);
                        // Whoever looks at the clock has to know it: perhaps nothing comes any more.
                        this.note(0);
                    }
                    None => return this.poll_hold(cx),
                },
                Phase::Head if this.shared.is_expired() => this.expire(Phase::Head),
                phase => match this.poll_judged(cx, buf) {
                    Poll::Ready(Some(done)) => return Poll::Ready(done),
                    Poll::Ready(None) => {}
                    // Only now is it the client's fault: perhaps nobody had asked for its bytes for a while.
                    Poll::Pending if this.shared.is_expired() => this.expire(phase),
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if !ready!(self.poll_may_write(cx))? {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.wrote(written)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if !ready!(self.poll_may_write(cx))? {
            return Poll::Ready(Ok(pieces.iter().map(|piece| piece.len()).sum()));
        }
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, pieces);
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    /// hyper flushes when its own buffer is empty, so here is the place between answers.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.poll_out(cx))?;
        ready!(Pin::new(&mut this.inner).poll_flush(cx))?;
        this.dirty = false;
        if this.shared.is_open() && matches!(this.flow, Flow::Open) {
            this.shared.register(cx.waker());
            if let Some(interims) = this.shared.take_interims() {
                this.out = interims;
                // The answer may be waiting for this.
                cx.waker().wake_by_ref();
                ready!(this.poll_out(cx))?;
                ready!(Pin::new(&mut this.inner).poll_flush(cx))?;
            }
        }
        this.nudge(cx);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if matches!(this.flow, Flow::Telling | Flow::Lingering(..)) {
            return this.poll_refuse(cx);
        }
        ready!(this.poll_out(cx))?;
        ready!(Pin::new(&mut this.inner).poll_shutdown(cx))?;
        if matches!(this.flow, Flow::Open) && matches!(this.judge.phase(), Phase::Body | Phase::Head) {
            // Answered before the request was read: do not reset what the client has yet to read.
            this.linger();
            return this.poll_refuse(cx);
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
