//! Bytes both ways between a client and an origin: counted, never opened. Each direction may end on its own (half-close);
//! silence and age have limits. A quiet tunnel holds no buffer.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How long a tunnel may last.
#[derive(Clone, Copy, Debug)]
pub struct Lasting {
    /// Without a byte either way. 10 min: messengers ping more often.
    pub quiet: Duration,
    /// In all. A day: whatever is open longer was forgotten.
    pub whole: Duration,
}

impl Default for Lasting {
    fn default() -> Lasting {
        Lasting { quiet: Duration::from_mins(10), whole: Duration::from_hours(24) }
    }
}

/// Which way bytes went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client to the origin.
    Up,
    /// From the origin to the client.
    Down,
}

/// How a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Both sides were done.
    Closed,
    /// Nothing moved for too long.
    Quiet,
    /// It had lasted long enough.
    Old,
    /// One side failed.
    Broken,
}

impl End {
    /// The label value.
    pub const fn word(self) -> &'static str {
        match self {
            End::Closed => "closed",
            End::Quiet => "quiet",
            End::Old => "old",
            End::Broken => "broken",
        }
    }
}

/// Bytes in flight each way: enough for a fast LAN, small enough for hundreds of busy tunnels.
const PIECE: usize = 16 << 10;

/// Looks for silence so many times within its limit.
const LOOKS: u32 = 4;

/// Relays until both sides are done or a limit is reached; `count` is told of bytes as they are handed on. May be dropped at
/// any await, which closes both sides.
pub async fn relay<A, B>(mut client: A, mut origin: B, lasting: Lasting, mut count: impl FnMut(Way, u64)) -> End
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let (mut up, mut down) = (Half::default(), Half::default());
    let look = lasting.quiet / LOOKS;
    let (mut quiet, mut lasted) = (0, Duration::ZERO);
    loop {
        let mut moved = false;
        let both = poll_fn(|cx| {
            let one = up.poll(cx, &mut client, &mut origin, &mut |bytes| {
                moved = true;
                count(Way::Up, bytes);
            })?;
            let two = down.poll(cx, &mut origin, &mut client, &mut |bytes| {
                moved = true;
                count(Way::Down, bytes);
            })?;
            if one.is_ready() && two.is_ready() { Poll::Ready(Ok::<(), io::Error>(())) } else { Poll::Pending }
        });
        match tokio::time::timeout(look, both).await {
            Ok(Ok(())) => return End::Closed,
            Ok(Err(_)) => return End::Broken,
            Err(_) => {
                lasted += look;
                quiet = if moved { 0 } else { quiet + 1 };
            }
        }
        if quiet >= LOOKS {
            return End::Quiet;
        }
        if lasted >= lasting.whole {
            return End::Old;
        }
    }
}

/// One direction.
#[derive(Debug, Default)]
struct Half {
    /// Empty while nothing is on its way.
    piece: Vec<u8>,
    start: usize,
    end: usize,
    unflushed: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    Ending,
    Ended,
}

impl Half {
    fn poll<A, B>(&mut self, cx: &mut Context<'_>, from: &mut A, to: &mut B, count: &mut impl FnMut(u64)) -> Poll<io::Result<()>>
    where
        A: AsyncRead + Unpin,
        B: AsyncWrite + Unpin,
    {
        loop {
            while self.start < self.end {
                let written = ready!(Pin::new(&mut *to).poll_write(cx, &self.piece[self.start..self.end]))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.start += written;
                self.unflushed = true;
                count(written as u64);
            }
            match self.state {
                State::Ended => return Poll::Ready(Ok(())),
                State::Ending => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.piece = Vec::new();
                    self.state = State::Ended;
                }
                State::Open => ready!(self.poll_more(cx, from, to))?,
            }
        }
    }

    fn poll_more<A, B>(&mut self, cx: &mut Context<'_>, from: &mut A, to: &mut B) -> Poll<io::Result<()>>
    where
        A: AsyncRead + Unpin,
        B: AsyncWrite + Unpin,
    {
        if self.piece.is_empty() {
            self.piece = vec![0; PIECE];
        }
        let mut buf = ReadBuf::new(&mut self.piece);
        match Pin::new(from).poll_read(cx, &mut buf) {
            Poll::Pending => {
                self.piece = Vec::new();
                if self.unflushed {
                    ready!(Pin::new(to).poll_flush(cx))?;
                    self.unflushed = false;
                }
                Poll::Pending
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) => {
                (self.start, self.end) = (0, buf.filled().len());
                if self.end == 0 {
                    self.state = State::Ending;
                }
                Poll::Ready(Ok(()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::net::{TcpListener, TcpStream};

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let near = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("connected");
        (near, listener.accept().await.expect("accepted").0)
    }

    #[tokio::test]
    async fn bytes_go_both_ways_are_counted_and_each_way_ends_on_its_own() {
        let (mut client, near) = pair().await;
        let (far, mut origin) = pair().await;
        let (mut up, mut down) = (0, 0);
        let tunnel = relay(near, far, Lasting::default(), |way, bytes| match way {
            Way::Up => up += bytes,
            Way::Down => down += bytes,
        });
        let people = async {
            client.write_all(b"question").await.expect("sent");
            client.shutdown().await.expect("half closed");
            let mut text = String::new();
            origin.read_to_string(&mut text).await.expect("the question");
            assert_eq!(text, "question");
            let long = vec![b'x'; 1_000_000];
            let (sent, got) = tokio::join!(
                async {
                    origin.write_all(&long).await.expect("sent");
                    origin.shutdown().await.expect("closed");
                },
                async {
                    let mut got = Vec::new();
                    client.read_to_end(&mut got).await.expect("the answer");
                    got
                }
            );
            assert_eq!((sent, got.len()), ((), long.len()));
        };
        let (end, ()) = tokio::join!(tunnel, people);
        assert_eq!((end, up, down), (End::Closed, 8, 1_000_000));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_and_age_end_a_tunnel() {
        let (_client, near) = duplex(64);
        let (far, _origin) = duplex(64);
        let brief = Lasting { quiet: Duration::from_secs(8), whole: Duration::from_secs(100) };
        assert_eq!(relay(near, far, brief, |_, _| {}).await, End::Quiet);

        let (mut client, near) = duplex(64);
        let (far, mut origin) = duplex(64);
        let chatter = async {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if client.write_all(b"x").await.is_err() {
                    return;
                }
                origin.read_u8().await.expect("handed on");
            }
        };
        let (end, ()) = tokio::join!(relay(near, far, brief, |_, _| {}), chatter);
        assert_eq!(end, End::Old);
    }
}
