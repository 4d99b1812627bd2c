//! A client's stream, which sends bodies that lie in the arena without a copy. hyper writes heads and bodies as slices of memory;
//! a slice whose address lies in the arena goes out by `sendfile`, everything else as it always did.

use crate::base::arena::Arena;
use rustix::net::{SendAncillaryBuffer, SendFlags};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// The stream, and what lives as long as it: also a tunnel, which outlives hyper's part, counts until it ends.
pub(super) struct Seated<P> {
    pub(super) stream: TcpStream,
    pub(super) bodies: Option<Arena>,
    pub(super) _place: P,
}

impl<P> Seated<P> {
    /// The first of these pieces that lies in the arena.
    fn placed(&self, pieces: &[IoSlice<'_>]) -> Option<usize> {
        let bodies = self.bodies.as_ref()?;
        pieces.iter().position(|piece| bodies.place(piece).is_some())
    }

    /// Sends the pieces up to the one that lies in the arena, and that.
    fn send(&self, before: &[IoSlice<'_>], body: &[u8]) -> io::Result<usize> {
        let length: usize = before.iter().map(|piece| piece.len()).sum();
        if length > 0 {
            // More follows at once: one packet for the head and the body's beginning. (TCP_CORK costs three times as much.)
            let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
            let sent = rustix::net::sendmsg(&self.stream, before, &mut SendAncillaryBuffer::default(), flags)?;
            if sent < length {
                return Ok(sent);
            }
        }
        let Some((file, mut offset)) = self.bodies.as_ref().and_then(|bodies| bodies.place(body)) else { return Ok(length) };
        match rustix::fs::sendfile(&self.stream, file, Some(&mut offset), body.len()) {
            Ok(sent) => Ok(length + sent),
            // The next write meets it again.
            Err(_) if length > 0 => Ok(length),
            Err(error) => Err(error.into()),
        }
    }
}

impl<P: Unpin> AsyncRead for Seated<P> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<P: Unpin> AsyncWrite for Seated<P> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let Some(at) = self.placed(pieces) else {
            return Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        };
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            match self.stream.try_io(Interest::WRITABLE, || self.send(&pieces[..at], &pieces[at])) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return Poll::Ready(sent),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
