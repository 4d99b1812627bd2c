//! Bodies that come too slowly: a client that sends one byte now and then holds a connection, and whoever reads it, for nothing. A
//! deadline for the whole would punish a bad radio; so each step of bytes has its own.

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;

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
    /// Begins with the first wait.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<B> Steady<B> {
    /// The same body, at this pace at least.
    pub fn new(inner: B, pace: Pace) -> Steady<B> {
        Steady { inner, pace, came: 0, timer: None }
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
                if let Some(Ok(frame)) = &frame {
                    this.came += frame.data_ref().map_or(0, Bytes::len);
                    if this.came >= this.pace.step {
                        (this.came, this.timer) = (0, None);
                    }
                }
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Poll::Pending => {
                let wait = this.pace.wait;
                let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(wait)));
                match Future::poll(timer.as_mut(), cx) {
                    Poll::Ready(()) => Poll::Ready(Some(Err(Slow.into()))),
                    Poll::Pending => Poll::Pending,
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
}
