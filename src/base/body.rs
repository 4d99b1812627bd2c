//! Bodies as they travel between modules: nothing, one piece, or a stream. One type, so that a hit allocates nothing.

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

/// Why a body broke off. The message names the side that failed; the receiver closes the connection so that the other end can tell.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A message body.
#[derive(Default)]
pub enum Body {
    /// No bytes.
    #[default]
    Empty,
    /// All bytes at once; `None` after they have been taken.
    Full(Option<Bytes>),
    /// Bytes as they come, with trailers where there are any.
    Stream(Flow),
}

/// The bytes of a body that come one after the other.
pub struct Flow {
    pieces: Pin<Box<dyn HttpBody<Data = Bytes, Error = BodyError> + Send>>,
    lending: Option<Lending>,
}

/// Whether the pieces of a body go to a socket unread, so that they may be lent (`Arena::lend`) instead of read. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Lending(Arc<AtomicBool>);

impl Lending {
    /// See [`Body::lend`].
    pub fn wanted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Body {
    /// A body of exactly these bytes.
    pub fn full(bytes: impl Into<Bytes>) -> Body {
        let bytes = bytes.into();
        if bytes.is_empty() { Body::Empty } else { Body::Full(Some(bytes)) }
    }

    /// Wraps any other body.
    pub fn stream<B>(body: B) -> Body
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BodyError>,
    {
        Body::Stream(Flow { pieces: Box::pin(body.map_err(Into::into)), lending: None })
    }

    /// The same, of a body that looks at `lending` before each piece, or passes on pieces of one that does without reading them.
    pub fn lendable<B>(body: B, lending: Option<Lending>) -> Body
    where
        B: HttpBody<Data = Bytes, Error = BodyError> + Send + 'static,
    {
        Body::Stream(Flow { pieces: Box::pin(body), lending })
    }

    /// What [`Body::lend`] tells, for who wraps this body.
    pub fn lending(&self) -> Option<Lending> {
        if let Body::Stream(flow) = self { flow.lending.clone() } else { None }
    }

    /// From here on the pieces go to a socket as they are, and nobody reads them.
    pub fn lend(&self) {
        if let Some(lending) = self.lending() {
            lending.0.store(true, Ordering::Relaxed);
        }
    }

    /// Collects the body, at most `limit` bytes.
    ///
    /// # Errors
    /// When the stream fails or is longer than `limit`.
    pub async fn collect(self, limit: usize) -> Result<Bytes, BodyError> {
        match self {
            Body::Empty => Ok(Bytes::new()),
            Body::Full(bytes) => Ok(bytes.unwrap_or_default()),
            Body::Stream(mut flow) => {
                let mut all = BytesMut::new();
                while let Some(frame) = flow.pieces.frame().await {
                    let Ok(data) = frame?.into_data() else { continue };
                    if all.len() + data.len() > limit {
                        return Err(format!("the body is longer than {limit} bytes").into());
                    }
                    all.extend_from_slice(&data);
                }
                Ok(all.freeze())
            }
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Body::Empty => Poll::Ready(None),
            Body::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Body::Stream(flow) => flow.pieces.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Empty | Body::Full(None) => true,
            Body::Full(Some(_)) => false,
            Body::Stream(flow) => flow.pieces.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Empty | Body::Full(None) => SizeHint::with_exact(0),
            Body::Full(Some(bytes)) => SizeHint::with_exact(bytes.len() as u64),
            Body::Stream(flow) => flow.pieces.size_hint(),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Body::Empty => f.write_str("Empty"),
            Body::Full(bytes) => write!(f, "Full({})", bytes.as_ref().map_or(0, Bytes::len)),
            Body::Stream(_) => f.write_str("Stream"),
        }
    }
}
