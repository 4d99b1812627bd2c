//! Bodies that the cache hands out while they grow or from several places: behind a writer, in pieces, in parts.

use crate::base::body::{Body, BodyError};
use crate::cache::coding::{self, Coding};
use crate::cache::flight::Live;
use crate::store::Error;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};
use http_body::Frame;
use http_body_util::StreamBody;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Follows a growing body from `start` up to `end` (or its end). The last piece waits until the body is stored.
pub(crate) fn follow(live: &Live, start: u64, end: Option<u64>) -> Body {
    let total = live.part.as_ref().map_or(live.total, |part| Some(part.end - part.start));
    let state = (live.tail.clone(), live.landing.clone(), live.readers.join(), start);
    from_stream(stream::try_unfold(state, move |(mut tail, mut landing, readers, at)| async move {
        if end.is_some_and(|end| at >= end) {
            return Ok(None);
        }
        let Some(mut bytes) = tail.read(at).await? else {
            landing.done().await;
            return match end {
                Some(_) => Err(Error::Unusable("the body ended early".into())),
                None => Ok(None),
            };
        };
        if let Some(end) = end {
            bytes.truncate(usize::try_from(end - at).unwrap_or(usize::MAX).min(bytes.len()));
        }
        let next = at + bytes.len() as u64;
        if Some(next) == total {
            landing.done().await;
        }
        Ok(Some((bytes, (tail, landing, readers, next))))
    }))
}

/// The body with its coding undone as it passes.
pub(crate) fn decoded(body: Body, how: Coding) -> Body {
    enum Step {
        Coded(Body),
        Open(Pin<Box<dyn AsyncRead + Send>>),
    }
    from_stream(stream::try_unfold(Step::Coded(body), move |step| async move {
        let mut reader = match step {
            Step::Open(reader) => reader,
            Step::Coded(body) => match coding::undo(coding::reader(body), how).await? {
                Ok(reader) => reader,
                Err(raw) => Box::pin(raw) as Pin<Box<dyn AsyncRead + Send>>,
            },
        };
        let mut piece = BytesMut::with_capacity(PIECE);
        let read = reader.read_buf(&mut piece).await?;
        Ok::<_, io::Error>((read > 0).then(|| (piece.freeze(), Step::Open(reader))))
    }))
}

/// Decoded output is handed on in pieces of at most this size.
const PIECE: usize = 32 << 10;

/// A body from any stream of pieces.
pub(crate) fn from_stream<S, E>(pieces: S) -> Body
where
    S: Stream<Item = Result<Bytes, E>> + Send + 'static,
    E: Into<BodyError>,
{
    Body::stream(StreamBody::new(pieces.map(|piece| piece.map(Frame::data).map_err(Into::into))))
}

/// Several bodies, one behind the other.
pub(crate) fn chain(bodies: Vec<Body>) -> Body {
    from_stream(stream::iter(bodies).flat_map(pieces))
}

/// A body's data frames.
pub(crate) fn pieces(body: Body) -> impl Stream<Item = Result<Bytes, BodyError>> + Send {
    http_body_util::BodyDataStream::new(body)
}

/// What of `wanted` is not in `have` (sorted and disjoint), in order.
pub(crate) fn gaps(have: &[Range<u64>], wanted: &Range<u64>) -> Vec<Range<u64>> {
    let mut missing = Vec::new();
    let mut at = wanted.start;
    for part in have {
        if part.end <= at {
            continue;
        }
        if part.start >= wanted.end {
            break;
        }
        if part.start > at {
            missing.push(at..part.start);
        }
        at = at.max(part.end);
    }
    if at < wanted.end {
        missing.push(at..wanted.end);
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_what_is_missing() {
        type Row<'a> = (&'a [Range<u64>], Range<u64>, &'a [Range<u64>]);
        let table: [Row<'_>; 7] = [
            (&[], 0..10, &[0..10]),
            (&[0..10], 0..10, &[]),
            (&[0..4, 6..8], 0..10, &[4..6, 8..10]),
            (&[0..4, 6..8], 5..7, &[5..6]),
            (&[20..30], 0..10, &[0..10]),
            (&[0..100], 40..50, &[]),
            (&[0..5], 5..5, &[]),
        ];
        for (have, wanted, missing) in table {
            assert_eq!(gaps(have, &wanted), missing, "{have:?} {wanted:?}");
        }
    }

    #[tokio::test]
    async fn a_chain_reads_as_one() {
        let body = chain(vec![Body::full("ab"), Body::Empty, Body::full("cd")]);
        assert_eq!(body.collect(9).await.expect("reads"), "abcd");
    }
}
