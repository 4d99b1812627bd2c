//! An answer that holds the room it takes until its reader has it, in small pieces, so that the room is not given back while all of it
//! still waits in a buffer; and a reader has its time.

use crate::base::pieces::Pieces;
use axum::body::{Body as Answer, Bytes};
use http_body::{Body, Frame, SizeHint};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;

/// Bytes of one piece: what a connection buffers.
const PIECE: usize = 64 << 10;

/// It was taken too slowly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer is taken too slowly")]
struct Slow;

/// A body, and what is given back when it has been taken or dropped.
pub(super) struct Held<T> {
    inner: Pieces<Answer>,
    deadline: Pin<Box<Sleep>>,
    _room: T,
}

impl<T> Held<T> {
    /// The same body, holding `room`, for so long at most.
    pub(super) fn new(inner: Answer, room: T, patience: Duration) -> Held<T> {
        Held { inner: Pieces::new(inner, PIECE), deadline: Box::pin(tokio::time::sleep(patience)), _room: room }
    }
}

impl<T: Unpin> Body for Held<T> {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if Future::poll(self.deadline.as_mut(), cx).is_ready() {
            return Poll::Ready(Some(Err(Slow.into())));
        }
        Pin::new(&mut self.inner).poll_frame(cx).map_err(Into::into)
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
    use http_body_util::BodyExt;
    use std::sync::Arc;

    #[tokio::test(start_paused = true)]
    async fn room_is_held_until_the_last_piece_is_taken_and_no_longer_than_that() {
        let all = vec![b'x'; 3 * PIECE + 1];
        let room = Arc::new(());
        let mut held = Held::new(Answer::from(all.clone()), Arc::clone(&room), Duration::from_mins(1));
        let mut got = 0;
        while let Some(frame) = held.frame().await {
            assert!(Arc::strong_count(&room) == 2 && held.size_hint().exact().is_some());
            let piece = frame.expect("in time").into_data().expect("data").len();
            assert!(piece <= PIECE);
            got += piece;
            assert_eq!(held.is_end_stream(), got == all.len());
        }
        assert_eq!(got, all.len());
        drop(held);
        assert_eq!(Arc::strong_count(&room), 1);
        let mut slow = Held::new(Answer::from(all), room, Duration::from_mins(1));
        assert!(slow.frame().await.expect("a piece").is_ok());
        tokio::time::advance(Duration::from_mins(2)).await;
        assert!(slow.frame().await.expect("an end").expect_err("too late").is::<Slow>());
    }
}
