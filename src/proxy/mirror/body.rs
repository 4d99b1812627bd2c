//! A body that is changed as it passes: each piece goes in as it comes, what is ready goes out.

use crate::base::body::{Body, BodyError};
use crate::site::rewrite::Rewriter;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// The body behind and what changes it.
pub(super) struct Changed {
    pub(super) inner: Body,
    pub(super) rewriter: Rewriter,
    pub(super) ended: bool,
}

impl HttpBody for Changed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        // A piece that gives nothing yet is no reason to sleep.
        while !this.ended {
            let mut out = Vec::new();
            let done = match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                None => {
                    this.ended = true;
                    this.rewriter.finish(&mut out)
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.rewriter.write(&data, &mut out),
                    // Trailers speak of the bytes as they were.
                    Err(_) => Ok(()),
                },
                Some(Err(error)) => {
                    this.ended = true;
                    return Poll::Ready(Some(Err(error)));
                }
            };
            if let Err(why) = done {
                this.ended = true;
                tracing::debug!(why, "a page cannot be changed on its way and breaks off");
                return Poll::Ready(Some(Err(why.into())));
            }
            if !out.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(out.into()))));
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}
