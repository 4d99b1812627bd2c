//! The first bytes of a connection that may be opened: read into a buffer of our own, so that they can be passed on untouched or
//! put in front of the stream again (an acceptor that has swallowed them makes passing on impossible).

use crate::tls::hello::{self, Hello, Read, Splice};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// How long a ClientHello may take. Protocols in which the server speaks first wait for it in vain, so not longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Room for most hellos at once; some with a key exchange of after-quantum size are longer.
const PIECE: usize = 4 << 10;

/// Reads until a ClientHello is whole or it is clear that none comes. What was read stands in front of the stream again either way.
pub(crate) async fn hello<S: AsyncRead + Unpin>(mut stream: S) -> (Replay<S>, Result<Hello, Splice>) {
    let mut bytes = Vec::with_capacity(PIECE);
    let judged = tokio::time::timeout(PATIENCE, read(&mut stream, &mut bytes)).await.unwrap_or(Err(Splice::Late));
    (Replay { bytes, at: 0, inner: stream }, judged)
}

/// May be dropped at any await: all that was read is in `bytes`.
async fn read<S: AsyncRead + Unpin>(stream: &mut S, bytes: &mut Vec<u8>) -> Result<Hello, Splice> {
    loop {
        match hello::read(bytes) {
            Read::Hello(hello) => return Ok(hello),
            Read::NotTls => return Err(Splice::NotTls),
            Read::TooLong => return Err(Splice::TooLong),
            Read::More => {}
        }
        // No more than may be of use: what follows stays in the socket.
        let room = (hello::MAX + 1).saturating_sub(bytes.len());
        match (&mut *stream).take(room as u64).read_buf(bytes).await {
            Ok(0) | Err(_) => return Err(Splice::NotTls),
            Ok(_) => {}
        }
    }
}

/// A stream with bytes put in front of it again.
#[derive(Debug)]
pub(crate) struct Replay<S> {
    bytes: Vec<u8>,
    at: usize,
    inner: S,
}

impl<S> Replay<S> {
    /// What was read.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Replay<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.at < this.bytes.len() {
            let take = buf.remaining().min(this.bytes.len() - this.at);
            buf.put_slice(&this.bytes[this.at..this.at + take]);
            this.at += take;
            if this.at == this.bytes.len() {
                (this.bytes, this.at) = (Vec::new(), 0);
            }
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Replay<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, pieces: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncWriteExt, duplex};

    #[tokio::test(start_paused = true)]
    async fn whatever_was_read_is_read_again() {
        // What is sent, whether the client ends there, and the verdict.
        let table: &[(&[u8], bool, Splice)] = &[
            (b"GET / HTTP/1.1\r\n\r\n", false, Splice::NotTls),
            (b"\x16\x03\x01", true, Splice::NotTls),
            (b"\x16\x03\x01", false, Splice::Late),
            (b"", false, Splice::Late),
            (b"\x16\x03\x01\x40\x00\x01\x00\x40\x01", false, Splice::TooLong),
        ];
        for (sent, ends, wanted) in table {
            let (mut client, near) = duplex(1 << 10);
            client.write_all(sent).await.expect("sent");
            let rest: &[u8] = if *ends { b"" } else { b" and more" };
            if *ends {
                client.shutdown().await.expect("ended");
            }
            let (mut replay, judged) = hello(near).await;
            assert_eq!(judged, Err(*wanted), "{sent:?}");
            if !*ends {
                client.write_all(rest).await.expect("sent");
                client.shutdown().await.expect("ended");
            }
            let mut all = Vec::new();
            replay.read_to_end(&mut all).await.expect("to the end");
            assert_eq!(all, [sent, rest].concat());
        }
    }
}
