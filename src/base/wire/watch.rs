//! What the server's adapter, the service behind hyper and the watcher of the connection share: which request is being
//! answered, interim answers on their way, and how long the client has kept us waiting. Time comes as ticks, so that a
//! request costs neither a clock reading nor a timer.

use crate::base::wire::Interim;
use crate::base::wire::fault::Fault;
use crate::base::wire::request::Phase;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};

/// How many ticks a client may keep us waiting. With [`Patience::TICK_SECONDS`] to a tick.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Between requests: 60 s, as browsers reuse connections within seconds or not at all.
    pub idle: u32,
    /// From the first byte of a head to its last: 15 s, also on a bad radio.
    pub head: u32,
    /// For every [`BODY_STEP`] of a body that we want to read: 30 s.
    pub body: u32,
    /// Without taking a byte of an answer: 5 min, since a paused film is no fault.
    pub write: u32,
}

impl Patience {
    /// Length of a tick that the defaults assume.
    pub const TICK_SECONDS: u64 = 5;
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { idle: 12, head: 3, body: 6, write: 60 }
    }
}

/// A body that brings fewer bytes than this in the time given is a drip.
pub const BODY_STEP: usize = 256;

/// Interim answers that wait to be sent, at most; more are dropped, as a client must be able to do without.
const INTERIMS_KEPT: usize = 64 << 10;

/// What a tick found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tick {
    /// All is well.
    Fine,
    /// The client is too slow; the adapter says so and ends the connection when it is polled next.
    Expired,
    /// The client takes nothing: drop the connection.
    Abort,
}

/// The shared part.
#[derive(Debug, Default)]
pub struct Shared {
    asked: AtomicU32,
    answered: AtomicU32,
    /// The newest request's answer has not begun.
    open: AtomicBool,
    /// The newest answer was a 101.
    switched: AtomicBool,
    has_interims: AtomicBool,
    interims: Mutex<Vec<u8>>,
    waker: Mutex<Option<Waker>>,
    phase: AtomicU8,
    stalled: AtomicU32,
    pub(crate) reading: AtomicBool,
    pub(crate) writing: AtomicBool,
    expired: AtomicBool,
    refused: Mutex<Option<Fault>>,
}

impl Shared {
    pub(crate) fn asked(&self) -> u32 {
        self.asked.load(Relaxed)
    }

    pub(crate) fn answered(&self) -> u32 {
        self.answered.load(Relaxed)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Relaxed)
    }

    /// Whether the answer to request `heads` has switched protocols, once that is known.
    pub(crate) fn decided(&self, heads: u32) -> Option<bool> {
        (self.asked() == heads && !self.is_open()).then(|| self.switched.load(Relaxed))
    }

    pub(crate) fn is_expired(&self) -> bool {
        self.expired.load(Relaxed)
    }

    pub(crate) fn refuse(&self, fault: Fault) {
        *self.refused.lock() = Some(fault);
    }

    /// Bytes came; the clock starts anew with the phase, or when a body has made a step.
    pub(crate) fn note(&self, phase: Phase, body_step: bool) {
        self.reading.store(false, Relaxed);
        if self.phase.swap(phase as u8, Relaxed) != phase as u8 || body_step {
            self.stalled.store(0, Relaxed);
            self.expired.store(false, Relaxed);
        }
    }

    pub(crate) fn progress(&self) {
        self.writing.store(false, Relaxed);
        self.stalled.store(0, Relaxed);
    }

    pub(crate) fn register(&self, waker: &Waker) {
        let mut kept = self.waker.lock();
        if !kept.as_ref().is_some_and(|kept| kept.will_wake(waker)) {
            *kept = Some(waker.clone());
        }
    }

    /// Interim answers to the request being answered, when they may go out now.
    pub(crate) fn take_interims(&self) -> Option<Vec<u8>> {
        if !self.has_interims.load(Relaxed) || self.answered() + 1 != self.asked() {
            return None;
        }
        let mut kept = self.interims.lock();
        self.has_interims.store(false, Relaxed);
        Some(std::mem::take(&mut kept))
    }

    fn push_interim(&self, number: u32, status: StatusCode, headers: &HeaderMap, via: Option<&HeaderValue>) {
        if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
            return;
        }
        let mut kept = self.interims.lock();
        if self.asked() != number || !self.is_open() {
            return;
        }
        let before = kept.len();
        encode_interim(&mut kept, status, headers, via);
        if kept.len() > INTERIMS_KEPT {
            kept.truncate(before);
            return;
        }
        drop(kept);
        self.has_interims.store(true, Relaxed);
        let waker = self.waker.lock().clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

fn encode_interim(out: &mut Vec<u8>, status: StatusCode, headers: &HeaderMap, via: Option<&HeaderValue>) {
    let framing = [header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::UPGRADE, header::TRAILER];
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    for (name, value) in headers.iter().filter(|(name, _)| !framing.contains(name)) {
        field(out, name.as_str(), value);
    }
    if let Some(via) = via {
        field(out, "via", via);
    }
    out.extend_from_slice(b"\r\n");
}

fn field(out: &mut Vec<u8>, name: &str, value: &HeaderValue) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Watches one connection from outside hyper.
#[derive(Clone, Debug, Default)]
pub struct Watch(pub(crate) Arc<Shared>);

impl Watch {
    /// A request has reached the service. To be called once for each, in order.
    pub fn turn(&self) -> Turn {
        let number = self.0.asked().wrapping_add(1);
        // An interim answer that came too late for the request before belongs to nobody.
        if self.0.has_interims.swap(false, Relaxed) {
            self.0.interims.lock().clear();
        }
        self.0.switched.store(false, Relaxed);
        self.0.open.store(true, Relaxed);
        self.0.asked.store(number, Relaxed);
        Turn { shared: Arc::clone(&self.0), number }
    }

    /// Why the adapter refused the client, once.
    pub fn refusal(&self) -> Option<Fault> {
        self.0.refused.lock().take()
    }

    /// A tick has passed.
    pub fn tick(&self, patience: &Patience) -> Tick {
        let shared = &self.0;
        let busy = shared.asked() != shared.answered();
        let reading = shared.reading.load(Relaxed);
        let phase = shared.phase.load(Relaxed);
        let (most, verdict) = if shared.writing.load(Relaxed) {
            (patience.write, Tick::Abort)
        } else if phase == Phase::Idle as u8 && reading && !busy {
            (patience.idle, Tick::Expired)
        } else if phase == Phase::Head as u8 && !busy {
            (patience.head, Tick::Expired)
        } else if phase == Phase::Body as u8 && reading {
            (patience.body, Tick::Expired)
        } else {
            shared.stalled.store(0, Relaxed);
            return Tick::Fine;
        };
        let stalled = shared.stalled.load(Relaxed) + 1;
        shared.stalled.store(stalled, Relaxed);
        if stalled <= most {
            return Tick::Fine;
        }
        if verdict == Tick::Expired {
            shared.expired.store(true, Relaxed);
        }
        verdict
    }
}

/// One request at the service.
#[derive(Debug)]
pub struct Turn {
    shared: Arc<Shared>,
    number: u32,
}

impl Turn {
    /// A handle that sends interim answers to this request's client, until its answer begins. `via` goes with each.
    pub fn interim(&self, via: Option<HeaderValue>) -> Interim {
        let (shared, number) = (Arc::clone(&self.shared), self.number);
        Interim(Arc::new(move |status, headers| shared.push_interim(number, status, headers, via.as_ref())))
    }

    /// Ready when no interim answer is left to send. Must be ready before [`Turn::answer`].
    pub fn poll_settled(&self, cx: &Context<'_>) -> Poll<()> {
        if self.shared.has_interims.load(Relaxed) {
            self.shared.register(cx.waker());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// The answer begins; its body tells the adapter when it has ended.
    pub fn answer<B>(self, response: Response<B>) -> Response<Answer<B>> {
        self.shared.switched.store(response.status() == StatusCode::SWITCHING_PROTOCOLS, Relaxed);
        self.shared.open.store(false, Relaxed);
        response.map(|body| Answer { body, shared: self.shared })
    }
}

/// The body of an answer; when hyper lets go of it, the answer is in hyper's buffer whole.
#[derive(Debug)]
pub struct Answer<B> {
    body: B,
    shared: Arc<Shared>,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Answer<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for Answer<B> {
    fn drop(&mut self) {
        self.shared.answered.store(self.shared.answered().wrapping_add(1), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_count_only_what_the_client_owes() {
        let watch = Watch::default();
        let patience = Patience { idle: 2, head: 1, body: 1, write: 1 };
        watch.0.reading.store(true, Relaxed);
        assert_eq!([watch.tick(&patience), watch.tick(&patience), watch.tick(&patience)], [Tick::Fine, Tick::Fine, Tick::Expired]);

        let watch = Watch::default();
        watch.0.note(Phase::Head, false);
        assert_eq!(watch.tick(&patience), Tick::Fine);
        watch.0.note(Phase::Head, false);
        assert_eq!(watch.tick(&patience), Tick::Expired, "a drip does not buy time");

        let watch = Watch::default();
        watch.0.note(Phase::Body, true);
        for _ in 0..5 {
            assert_eq!(watch.tick(&patience), Tick::Fine, "nobody asked for more of the body");
        }
        let turn = watch.turn();
        for _ in 0..5 {
            assert_eq!(watch.tick(&patience), Tick::Fine, "the answer is ours to give");
        }
        drop(turn.answer(Response::new(())));
        watch.0.writing.store(true, Relaxed);
        assert_eq!([watch.tick(&patience), watch.tick(&patience)], [Tick::Fine, Tick::Abort]);
    }

    #[test]
    fn interims_go_to_their_own_request_only() {
        let watch = Watch::default();
        let turn = watch.turn();
        let Interim(send) = turn.interim(Some(HeaderValue::from_static("1.1 x")));
        send(StatusCode::OK, &HeaderMap::new());
        send(StatusCode::SWITCHING_PROTOCOLS, &HeaderMap::new());
        assert_eq!(watch.0.take_interims(), None);
        let headers = HeaderMap::from_iter([(header::LINK, HeaderValue::from_static("</a>"))]);
        send(StatusCode::EARLY_HINTS, &headers);
        assert_eq!(watch.0.take_interims().as_deref(), Some(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\nvia: 1.1 x\r\n\r\n".as_slice()));
        drop(turn.answer(Response::new(())));
        send(StatusCode::EARLY_HINTS, &headers);
        assert_eq!(watch.0.take_interims(), None);
    }
}
