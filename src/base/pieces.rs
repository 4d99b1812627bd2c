//! A body in small pieces, whatever pieces it is made of: whoever sends it then asks for the next one only when there is room for it, and
//! what one reader has not taken does not wait in a buffer that nobody counts.

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// The same body, no piece longer than `most` bytes.
pub struct Pieces<B> {
    inner: B,
    /// What is left of the frame that came last.
    rest: Bytes,
    most: usize,
}

impl<B> Pieces<B> {
    /// Cuts nothing where pieces are short already. `most` is at least 1.
    pub fn new(inner: B, most: usize) -> Pieces<B> {
        Pieces { inner, rest: Bytes::new(), most: most.max(1) }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Pieces<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        while this.rest.is_empty() {
            match ready!(Pin::new(&mut this.inner).poll_frame(cx)).transpose()?.map(Frame::into_data) {
                None => return Poll::Ready(None),
                Some(Ok(data)) => this.rest = data,
                Some(Err(other)) => return Poll::Ready(Some(Ok(other))),
            }
        }
        let length = this.rest.len().min(this.most);
        Poll::Ready(Some(Ok(Frame::data(this.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (inner, rest) = (self.inner.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower() + rest);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use http::HeaderMap;
    use http_body_util::{BodyExt, Full, StreamBody};
    use std::convert::Infallible;

    #[tokio::test]
    async fn all_of_it_comes_in_small_pieces() {
        let whole: Vec<u8> = (0..=255).cycle().take(1_000).collect();
        for most in [0, 1, 7, 333, 999, 1_000, 5_000] {
            let mut body = Pieces::new(Full::new(Bytes::from(whole.clone())), most);
            let mut got = Vec::new();
            while let Some(frame) = body.frame().await {
                let piece = frame.expect("whole").into_data().expect("data");
                assert!(!piece.is_empty() && piece.len() <= most.max(1));
                got.extend_from_slice(&piece);
                assert_eq!(body.size_hint().exact(), Some(1_000 - got.len() as u64));
                assert_eq!(body.is_end_stream(), got.len() == 1_000);
            }
            assert_eq!(got, whole, "{most}");
        }
    }

    #[tokio::test]
    async fn what_is_no_data_comes_in_its_place() {
        let frames = [
            Frame::data(Bytes::from_static(b"abc")),
            Frame::data(Bytes::new()),
            Frame::data(Bytes::from_static(b"d")),
            Frame::trailers(HeaderMap::new()),
        ];
        let mut body = Pieces::new(StreamBody::new(stream::iter(frames.map(Ok::<_, Infallible>))), 2);
        let mut got = Vec::new();
        while let Some(frame) = body.frame().await {
            got.push(frame.expect("whole").into_data().map_or_else(|_| String::from("trailers"), |data| format!("{data:?}")));
        }
        assert_eq!(got, ["b\"ab\"", "b\"c\"", "b\"d\"", "trailers"]);
    }
}
