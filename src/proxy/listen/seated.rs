//! A client's stream, which sends bodies that lie in the arena without a copy. hyper writes heads and bodies as slices of memory;
//! a slice whose address lies in the arena goes out by `sendfile`, everything else as it always did.

use crate::base::arena::{Arena, Spot};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// The stream, and what lives as long as it: also a tunnel, which outlives hyper's part, counts until it ends.
pub(crate) struct Seated<P> {
    pub(super) stream: TcpStream,
    pub(super) bodies: Option<Arena>,
    pub(super) _place: P,
}

impl<P> Seated<P> {
    /// Whether it knows where lent bytes lie.
    pub(crate) fn lends(&self) -> bool {
        self.bodies.is_some()
    }

    /// Sends the pieces up to the one that lies in the arena, and that.
    fn send(&self, before: &[IoSlice<'_>], body: &[u8], spot: &Spot<'_>) -> io::Result<usize> {
        let length: usize = before.iter().map(|piece| piece.len()).sum();
        if length > 0 {
            // More follows at once: one packet for the head and the body's beginning. (TCP_CORK costs three times as much.)
            let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
            let sent = rustix::net::sendmsg(&self.stream, before, &mut SendAncillaryBuffer::default(), flags)?;
            if sent < length {
                return Ok(sent);
            }
        }
        match rustix::fs::sendfile(&self.stream, spot, Some(&mut { spot.at }), body.len()) {
            // Of a file system without splice.
            Err(Errno::INVAL) => Ok(length + rustix::net::send(&self.stream, body, SendFlags::NOSIGNAL)?),
            // The file is shorter than it was: the medium's doing, and no answer to make of it.
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
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
        let this = &mut *self;
        // The first of the pieces that lies in the arena.
        let placed =
            this.bodies.as_ref().and_then(|bodies| pieces.iter().enumerate().find_map(|(at, piece)| Some((at, bodies.place(piece)?))));
        let Some((at, spot)) = placed else {
            return Pin::new(&mut this.stream).poll_write_vectored(cx, pieces);
        };
        loop {
            ready!(this.stream.poll_write_ready(cx))?;
            match this.stream.try_io(Interest::WRITABLE, || this.send(&pieces[..at], &pieces[at], &spot)) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::arena::Lender;
    use std::io::Write;
    use std::os::fd::{AsFd, BorrowedFd};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    const FILM: usize = 3_000_001;

    fn film() -> Vec<u8> {
        (0..FILM).map(|at| u8::try_from(at % 251).expect("a byte")).collect()
    }

    #[tokio::test]
    async fn what_is_written_arrives_in_order_wherever_it_lies() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let mut far = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("connected");
        let (stream, _) = listener.accept().await.expect("accepted");
        socket2::SockRef::from(&stream).set_send_buffer_size(64 << 10).expect("a socket option");
        let arena = Arena::new(2 * FILM).expect("this kernel has one");
        let body = arena.keep(&film()).expect("there is room");
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&film()).expect("written");
        let file: Arc<dyn Lender> = Arc::new(file);
        let lent = arena.lend(file, 10_001..FILM as u64).expect("mapped");
        let mut seated = Seated { stream, bodies: Some(arena), _place: () };
        let pieces = [&b"head"[..], b"", &body[1..], b"between", &lent, &body[..70_000], &lent[7..300_000], b"end"];
        let wanted = pieces.concat();
        let reading = async {
            let mut got = Vec::new();
            far.read_to_end(&mut got).await.expect("to the end");
            got
        };
        let writing = async {
            // As hyper does it: as many pieces as are left, again and again.
            let (mut done, mut calls) = (0, 0);
            while done < wanted.len() {
                let mut skip = done;
                let mut left = Vec::new();
                for piece in pieces {
                    let cut = skip.min(piece.len());
                    skip -= cut;
                    left.push(IoSlice::new(&piece[cut..]));
                }
                done += seated.write_vectored(&left).await.expect("written");
                calls += 1;
            }
            seated.write_all(&body[5..50_005]).await.expect("alone it goes too");
            seated.shutdown().await.expect("ended");
            calls
        };
        let (got, calls) = tokio::join!(reading, writing);
        assert!(got == [&wanted[..], &body[5..50_005]].concat(), "{} of {}", got.len(), wanted.len() + 50_000);
        assert!(calls > 3, "a socket does not hold it all");
    }

    #[tokio::test]
    async fn a_file_that_has_become_shorter_ends_the_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let mut far = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("connected");
        let (stream, _) = listener.accept().await.expect("accepted");
        let arena = Arena::new(1).expect("this kernel has one");
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&film()).expect("written");
        let held: Arc<dyn Lender> = Arc::new(file.try_clone().expect("a descriptor"));
        let lent = arena.lend(held, 0..FILM as u64).expect("mapped");
        file.set_len(1_000_000).expect("cut");
        let mut seated = Seated { stream, bodies: Some(arena), _place: () };
        let reading = async {
            let mut got = Vec::new();
            far.read_to_end(&mut got).await.expect("to the end");
            got
        };
        let writing = async {
            let wrong = seated.write_all(&lent).await.expect_err("two million bytes are missing");
            drop(seated);
            wrong
        };
        let (got, wrong) = tokio::join!(reading, writing);
        assert_eq!((got.len(), wrong.kind()), (1_000_000, io::ErrorKind::UnexpectedEof));
        assert!(got == film()[..1_000_000]);
    }

    /// A file that can be mapped, and after that none that `sendfile` takes.
    struct Stubborn {
        file: std::fs::File,
        folder: std::fs::File,
        mapped: AtomicBool,
    }

    impl Lender for Stubborn {
        fn fd(&self) -> BorrowedFd<'_> {
            if self.mapped.swap(true, Ordering::Relaxed) { self.folder.as_fd() } else { self.file.as_fd() }
        }
    }

    #[tokio::test]
    async fn what_sendfile_does_not_take_is_written() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let mut far = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("connected");
        let (stream, _) = listener.accept().await.expect("accepted");
        let arena = Arena::new(1).expect("this kernel has one");
        let (mut file, folder) = (tempfile::tempfile().expect("a file"), std::fs::File::open("/").expect("a folder"));
        file.write_all(&film()).expect("written");
        let lender = Stubborn { file, folder, mapped: AtomicBool::new(false) };
        let lent = arena.lend(Arc::new(lender), 0..FILM as u64).expect("mapped");
        let spot = arena.place(&lent).expect("lent");
        let refused = rustix::fs::sendfile(&stream, &spot, Some(&mut { spot.at }), 1);
        assert_eq!(refused, Err(Errno::INVAL), "as of a file system without splice");
        drop(spot);
        let mut seated = Seated { stream, bodies: Some(arena), _place: () };
        let reading = async {
            let mut got = Vec::new();
            far.read_to_end(&mut got).await.expect("to the end");
            got
        };
        let writing = async {
            seated.write_all(&lent).await.expect("written");
            seated.shutdown().await.expect("ended");
        };
        let (got, ()) = tokio::join!(reading, writing);
        assert!(got == film());
    }

    #[tokio::test]
    async fn a_reader_that_leaves_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let far = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("connected");
        let (stream, _) = listener.accept().await.expect("accepted");
        let arena = Arena::new(2 * FILM).expect("this kernel has one");
        let body = arena.keep(&film()).expect("there is room");
        let mut seated = Seated { stream, bodies: Some(arena), _place: () };
        drop(far);
        assert!(seated.write_all(&body).await.is_err());
    }
}
