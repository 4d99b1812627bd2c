//! Bodies that come too slowly: a client that sends one byte now and then holds a connection, and whoever reads it, for nothing. A
//! deadline for the whole would punish a bad radio; so each step of bytes has its own, and its clock runs only while somebody waits for
//! them: an upload is not the client's fault where it is the line that takes nothing.

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// How slow a body may be.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// So many bytes ...
    pub step: usize,
    /// ... or the end, within this.
    pub wait: Duration,
}

/// Bytes of a step: 4 KiB in half a minute are a hundredth of what the worst radio carries.
const STEP: usize = 4 << 10;

/// And its time.
const WAIT: Duration = Duration::from_secs(30);

/// Whoever looks so long after a deadline was not waiting for it.
const AWAY: Duration = Duration::from_secs(1);

impl Pace {
    /// Of the web port and the hub.
    pub const USUAL: Pace = Pace { step: STEP, wait: WAIT };
}

/// It came too slowly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body comes too slowly")]
pub struct Slow;

/// A body that fails when it comes too slowly.
pub struct Steady<B> {
    inner: B,
    pace: Pace,
    /// Bytes since the last step.
    came: usize,
    /// What is left of the step's time.
    left: Duration,
    /// Runs while the next bytes are waited for.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<B> Steady<B> {
    /// The same body, at this pace at least.
    pub fn new(inner: B, pace: Pace) -> Steady<B> {
        Steady { inner, pace, came: 0, left: pace.wait, timer: None }
    }
}

impl<B> Body for Steady<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Ready(frame) => {
                if let Some(timer) = this.timer.take() {
                    this.left = timer.deadline().saturating_duration_since(Instant::now());
                }
                if let Some(Ok(frame)) = &frame {
                    this.came += frame.data_ref().map_or(0, Bytes::len);
                    if this.came >= this.pace.step {
                        (this.came, this.left) = (0, this.pace.wait);
                    }
                }
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Poll::Pending => {
                let left = this.left;
                let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(left)));
                ready!(timer.as_mut().poll(cx));
                if timer.deadline().elapsed() < AWAY {
                    return Poll::Ready(Some(Err(Slow.into())));
                }
                timer.as_mut().reset(Instant::now() + this.pace.wait);
                ready!(timer.as_mut().poll(cx));
                Poll::Ready(Some(Err(Slow.into())))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::body::Body as Message;
    use futures_util::StreamExt;
    use futures_util::stream;
    use http_body_util::{BodyExt, StreamBody};

    /// So many pieces of so many bytes, each after so many seconds.
    fn dripping(pieces: usize, size: usize, seconds: u64) -> impl Body<Data = Bytes, Error = std::io::Error> + Send + 'static {
        let pieces = stream::iter(0..pieces).then(move |_| async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            Ok(Frame::data(Bytes::from(vec![b'x'; size])))
        });
        StreamBody::new(Box::pin(pieces))
    }

    #[tokio::test(start_paused = true)]
    async fn a_drip_is_cut_off_and_a_slow_line_is_not() {
        let pace = Pace { step: 1000, wait: Duration::from_secs(30) };
        // Pieces, bytes of each, seconds before each; whether it passes.
        let table =
            [(3, 10, 1, true), (1, 10, 29, true), (1, 10, 31, false), (100, 10, 1, false), (100, 1000, 29, true), (60, 500, 14, true)];
        for (pieces, size, seconds, passes) in table {
            let read = BodyExt::collect(Message::stream(Steady::new(dripping(pieces, size, seconds), pace))).await;
            assert_eq!(read.is_ok(), passes, "{pieces} pieces of {size} bytes, one in {seconds} s");
            if let Err(error) = read {
                assert!(error.is::<Slow>(), "{error}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_looks_away_is_not_the_sender_s_fault() {
        let pace = Pace { step: 1000, wait: Duration::from_secs(30) };
        // Seconds until each piece of 10 bytes is there, seconds that the reader is away after it.
        let table = [(&[1, 1, 1][..], 60, true), (&[20, 20], 0, false), (&[20, 9], 600, true), (&[20, 11], 600, false)];
        for (seconds, away, passes) in table {
            let pieces = stream::iter(seconds.to_vec()).then(|seconds| async move {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(b"ten bytes.")))
            });
            let mut body = Steady::new(StreamBody::new(Box::pin(pieces)), pace);
            let mut all = true;
            while let Some(frame) = body.frame().await {
                all &= frame.is_ok();
                if !all {
                    break;
                }
                tokio::time::sleep(Duration::from_secs(away)).await;
            }
            assert_eq!(all, passes, "{seconds:?}, away for {away} s");
        }
        // Nothing had come when the reader turned away; it is there when the reader looks again.
        let mut body = Steady::new(dripping(2, 10, 40), pace);
        assert!(futures_util::poll!(body.frame()).is_pending());
        tokio::time::sleep(Duration::from_secs(35)).await;
        assert!(futures_util::poll!(body.frame()).is_pending(), "looked at again after its time, it has as long again");
        assert!(body.frame().await.is_some_and(|frame| frame.is_ok()));
    }
}
