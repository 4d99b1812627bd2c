//! gzip bodies as browsers take them: members one behind the other (RFC 1952 section 2.2), and whatever stands behind the last one,
//! padding or a stray line end, is no part of the page.

use async_compression::tokio::bufread::GzipDecoder;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncBufRead, AsyncRead, ReadBuf};

/// With what a member begins.
const MARK: [u8; 2] = [0x1f, 0x8b];
/// What stands behind the last member is read to its end, so that the connection can serve again; of more than this a new one is cheaper.
const REST: usize = 64 << 10;

/// The decoded members of a body.
pub(super) struct Members<R>(State<R>);

enum State<R> {
    Inside(GzipDecoder<Marked<R>>),
    /// Between two members, or at the end.
    Behind(Marked<R>),
    /// Of no member; so many more bytes are read.
    Rest(R, usize),
    Over,
}

/// A body of which the first byte of a member's mark may have been taken already: the second one came later.
struct Marked<R> {
    inner: R,
    begun: bool,
}

impl<R: AsyncBufRead + Unpin> Members<R> {
    pub(super) fn of(body: R) -> Members<R> {
        Members(State::Inside(GzipDecoder::new(Marked { inner: body, begun: false })))
    }
}

impl<R: AsyncBufRead + Unpin> AsyncRead for Members<R> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        loop {
            self.0 = match std::mem::replace(&mut self.0, State::Over) {
                State::Inside(mut decoder) => {
                    let read = Pin::new(&mut decoder).poll_read(cx, into);
                    if !matches!(read, Poll::Ready(Ok(()))) || into.filled().len() > before || into.remaining() == 0 {
                        self.0 = State::Inside(decoder);
                        return read;
                    }
                    State::Behind(decoder.into_inner())
                }
                State::Behind(mut body) => {
                    let Poll::Ready(bytes) = Pin::new(&mut body.inner).poll_fill_buf(cx) else {
                        self.0 = State::Behind(body);
                        return Poll::Pending;
                    };
                    let mark = if body.begun { &MARK[1..] } else { &MARK[..] };
                    match bytes? {
                        [] => return Poll::Ready(Ok(())),
                        bytes if bytes.starts_with(mark) => State::Inside(GzipDecoder::new(body)),
                        [first] if mark.starts_with(&[*first]) => {
                            Pin::new(&mut body.inner).consume(1);
                            State::Behind(Marked { begun: true, ..body })
                        }
                        _ => State::Rest(body.inner, REST),
                    }
                }
                State::Rest(mut body, most) => {
                    let Poll::Ready(bytes) = Pin::new(&mut body).poll_fill_buf(cx) else {
                        self.0 = State::Rest(body, most);
                        return Poll::Pending;
                    };
                    let read = bytes?.len();
                    if read == 0 || read > most {
                        return Poll::Ready(Ok(()));
                    }
                    Pin::new(&mut body).consume(read);
                    State::Rest(body, most - read)
                }
                State::Over => return Poll::Ready(Ok(())),
            };
        }
    }
}

impl<R: AsyncBufRead + Unpin> AsyncBufRead for Marked<R> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        if this.begun { Poll::Ready(Ok(&MARK[..1])) } else { Pin::new(&mut this.inner).poll_fill_buf(cx) }
    }

    fn consume(self: Pin<&mut Self>, count: usize) {
        let this = self.get_mut();
        if this.begun {
            this.begun = count == 0;
        } else {
            Pin::new(&mut this.inner).consume(count);
        }
    }
}

impl<R: AsyncBufRead + Unpin> AsyncRead for Marked<R> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let bytes = ready!(self.as_mut().poll_fill_buf(cx))?;
        let count = bytes.len().min(into.remaining());
        into.put_slice(&bytes[..count]);
        self.consume(count);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::body::Body;
    use crate::cache::{coding, stream};
    use bytes::Bytes;
    use std::io::Write;
    use tokio::io::AsyncReadExt;

    fn member(text: &[u8]) -> Vec<u8> {
        let mut coder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        coder.write_all(text).unwrap();
        coder.finish().unwrap()
    }

    /// Decodes bytes that arrive in pieces of this size.
    async fn decoded(bytes: &[u8], step: usize) -> io::Result<String> {
        let pieces: Vec<_> = bytes.chunks(step).map(|piece| Ok::<_, io::Error>(Bytes::copy_from_slice(piece))).collect();
        let body: Body = stream::from_stream(futures_util::stream::iter(pieces));
        let mut text = String::new();
        Members::of(coding::reader(body)).read_to_string(&mut text).await.map(|_| text)
    }

    #[tokio::test]
    async fn what_stands_behind_the_last_member_is_no_part_of_the_page() {
        let page = member(b"a page");
        let longer = member(&vec![b'x'; 100_000]);
        let rest = vec![0; 3 * REST];
        for step in [1, 2, 3, 7, page.len(), 1 << 20] {
            for behind in [&b""[..], b"\n", b"\0\0\0\0", b"evil", b"\x1f", b"\x1f\x1f\x8b", &rest] {
                let text = decoded(&[&page[..], behind].concat(), step).await;
                assert_eq!(text.expect("it decodes"), "a page", "{step} {:?}", &behind[..behind.len().min(4)]);
            }
            let text = decoded(&[&page[..], &member(b""), &longer, &page, b"\n"].concat(), step).await.expect("it decodes");
            assert_eq!((text.len(), text.ends_with("xa page")), (100_012, true), "{step}");
            assert!(decoded(&page[..page.len() - 3], step).await.is_err(), "cut within a member");
            assert!(decoded(&[&page[..], &MARK, b" this is no member"].concat(), step).await.is_err());
        }
    }
}
