//! Bodies on their way: counted, watched for silence, checked against the length that was promised, and held while they may have
//! to be sent again. The clock is touched only when a side makes us wait, not for every frame.

use crate::base::body::{Body, BodyError};
use crate::base::count::IntCounter;
use crate::link::foreground::Busy;
use crate::link::{Class, Link, Sample};
use crate::upstream::throttle::Ride;
use bytes::{Buf, Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// Counts body bytes for metrics and the line.
#[derive(Clone)]
pub(super) struct Meter {
    pub(super) link: Link,
    pub(super) class: Class,
    /// It passes the line: what the school's own servers send is counted, and is not the line's.
    pub(super) is_line: bool,
    pub(super) received: IntCounter,
    pub(super) sent: IntCounter,
    /// Somebody waits for what is counted.
    pub(super) busy: Option<Arc<Busy>>,
}

impl Meter {
    fn received(&self, bytes: u64) {
        self.received.inc_by(bytes);
        if self.is_line {
            self.link.observe(Sample::Received { class: self.class, bytes });
        }
        self.moved();
    }

    fn sent(&self, bytes: u64) {
        self.sent.inc_by(bytes);
        if self.is_line {
            self.link.observe(Sample::Sent { class: self.class, bytes });
        }
        self.moved();
    }

    /// Something has come or gone.
    pub(super) fn moved(&self) {
        if let Some(busy) = &self.busy {
            busy.moved();
        }
    }
}

/// Why an answer's body broke off.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("{0} sent nothing for {1:?} in the middle of the answer")]
    Idle(Arc<str>, Duration),
    #[error("{0} promised {1} bytes and sent {2}")]
    Length(Arc<str>, u64, u64),
    #[error("{0} broke off the answer ({1})")]
    Cut(Arc<str>, #[source] hyper::Error),
}

/// An answer's body. `hold` is kept until the end.
pub(super) struct Download<H> {
    pub(super) inner: hyper::body::Incoming,
    pub(super) host: Arc<str>,
    /// Content-Length, where it says how long this body is.
    pub(super) promised: Option<u64>,
    pub(super) seen: u64,
    pub(super) idle: Duration,
    pub(super) timer: Option<Pin<Box<Sleep>>>,
    pub(super) waiting: bool,
    pub(super) meter: Meter,
    pub(super) hold: Option<H>,
    /// The night's transfer.
    pub(super) ride: Option<Ride>,
}

impl<H: Unpin> Download<H> {
    /// Whether the time without a byte is over; wakes the task when it will be. The night's own patience is no silence of the origin.
    fn is_idle(&mut self, cx: &mut Context<'_>) -> bool {
        let idle = self.idle;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
        if !std::mem::replace(&mut self.waiting, true) {
            timer.as_mut().reset(Instant::now() + idle);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if !self.ride.as_mut().is_some_and(Ride::stirred) {
                return true;
            }
            timer.as_mut().reset(Instant::now() + idle);
        }
        false
    }

    /// Nothing more is expected: others may have what this held.
    fn let_go(&mut self) {
        (self.hold, self.ride, self.meter.busy) = (None, None, None);
    }
}

impl<H: Unpin> HttpBody for Download<H> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Poll::Ready(next) = Pin::new(&mut this.inner).poll_frame(cx) else {
            if this.is_idle(cx) {
                this.let_go();
                return Poll::Ready(Some(Err(Broken::Idle(this.host.clone(), this.idle).into())));
            }
            return Poll::Pending;
        };
        this.waiting = false;
        match next {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    let bytes = data.remaining() as u64;
                    this.seen += bytes;
                    this.meter.received(bytes);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                this.let_go();
                Poll::Ready(Some(Err(Broken::Cut(this.host.clone(), error).into())))
            }
            None => {
                this.let_go();
                match this.promised.take() {
                    Some(promised) if promised != this.seen => {
                        Poll::Ready(Some(Err(Broken::Length(this.host.clone(), promised, this.seen).into())))
                    }
                    _ => Poll::Ready(None),
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// How a request body fares, seen from beside it.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Grows with every frame and every interim answer.
    pub(super) steps: AtomicU64,
    /// The client's own body failed.
    pub(super) failed: AtomicBool,
}

/// A request's body, held to its Content-Length: hyper would wait for bytes that never come.
pub(super) struct Upload {
    pub(super) inner: Body,
    pub(super) promised: Option<u64>,
    pub(super) seen: u64,
    pub(super) meter: Meter,
    pub(super) progress: Arc<Progress>,
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let next = std::task::ready!(Pin::new(&mut self.inner).poll_frame(cx));
        self.progress.steps.fetch_add(1, Ordering::Relaxed);
        let wrong = match &next {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, |data| data.remaining() as u64);
                self.seen += bytes;
                self.meter.sent(bytes);
                self.promised.is_some_and(|promised| self.seen > promised)
            }
            Some(Err(_)) => {
                self.progress.failed.store(true, Ordering::Relaxed);
                false
            }
            None => self.promised.is_some_and(|promised| self.seen != promised),
        };
        if wrong {
            self.progress.failed.store(true, Ordering::Relaxed);
            return Poll::Ready(Some(Err("the client's body is not as long as it said".into())));
        }
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        // A body that ends too early must be polled once more to say so.
        self.inner.is_end_stream() && self.promised.is_none_or(|promised| promised == self.seen)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A small request body that can be sent again: what has been read is kept, and the rest is read where the last try stopped. It is
/// sent as it comes, so that holding it delays nothing. Trailers are not kept: beside a Content-Length HTTP/1.1 has no place for them.
pub(super) struct Held(Arc<Mutex<Kept>>);

struct Kept {
    rest: Body,
    read: BytesMut,
    /// The try that reads now. hyper may still hold the body of a failed one.
    turn: u32,
}

/// One sending of a held body, from its first byte.
pub(super) struct Telling {
    kept: Arc<Mutex<Kept>>,
    /// Taken at the first poll.
    turn: Option<u32>,
    told: usize,
}

impl Held {
    /// Holds `body` from now on. Its length is bounded by its reader, see [`Upload`].
    pub(super) fn new(body: Body) -> Held {
        Held(Arc::new(Mutex::new(Kept { rest: body, read: BytesMut::new(), turn: 0 })))
    }

    /// The whole body once more. The first poll of one ends those that were polled before.
    pub(super) fn tell(&self) -> Telling {
        Telling { kept: self.0.clone(), turn: None, told: 0 }
    }
}

impl HttpBody for Telling {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let mut kept = this.kept.lock();
        let turn = *this.turn.get_or_insert_with(|| {
            kept.turn += 1;
            kept.turn
        });
        if turn != kept.turn {
            return Poll::Ready(Some(Err("the request is sent on another connection".into())));
        }
        if this.told < kept.read.len() {
            let bytes = Bytes::copy_from_slice(&kept.read[this.told..]);
            this.told = kept.read.len();
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        let next = std::task::ready!(Pin::new(&mut kept.rest).poll_frame(cx));
        if let Some(Ok(frame)) = &next {
            kept.read.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
            this.told = kept.read.len();
        }
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        let kept = self.kept.lock();
        self.told == kept.read.len() && kept.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let kept = self.kept.lock();
        let (behind, ahead) = ((kept.read.len() - self.told) as u64, kept.rest.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(ahead.lower().saturating_add(behind));
        if let Some(upper) = ahead.upper() {
            hint.set_upper(upper.saturating_add(behind));
        }
        hint
    }
}
