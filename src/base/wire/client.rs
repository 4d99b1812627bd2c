//! Between an origin's socket and hyper's client: sees the requests that go out and judges what comes back. On a fault the
//! read fails, so that hyper fails the exchange and the connection is not used again.

use crate::base::wire::fault::{Fault, Limits};
use crate::base::wire::request::{Requests, Step};
use crate::base::wire::response::{Asked, Responses};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Puts the filter around a connection to an origin (or a parent proxy), already decrypted.
pub fn client<S>(stream: S, limits: Limits) -> Checked<S> {
    Checked { inner: stream, sent: Requests::new(limits), heads: 0, judge: Responses::new(limits), fault: None }
}

/// A connection to an origin behind the filter.
#[derive(Debug)]
pub struct Checked<S> {
    inner: S,
    sent: Requests,
    heads: u32,
    judge: Responses,
    fault: Option<Fault>,
}

impl<S> Checked<S> {
    /// Reads along with what hyper sends, to know what is asked. A request that we would refuse ourselves is not ours to send.
    fn saw(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let mut rest = bytes;
        while !rest.is_empty() && !self.judge.is_through() {
            let step = self.sent.feed(rest).map_err(|refused| refused.fault)?;
            if self.sent.heads() != self.heads {
                self.heads = self.sent.heads();
                let asked = Asked { head: self.sent.is_head(), connect: self.sent.is_connect(), upgrade: self.sent.wants_upgrade() };
                self.judge.ask(asked)?;
            }
            match step {
                Step::All => return Ok(()),
                Step::Upto(at) => {
                    rest = &rest[at..];
                    // hyper sends nothing more before the answer; if it does, the protocol did not switch.
                    self.sent.resume(false);
                }
            }
        }
        Ok(())
    }
}

fn broken(fault: Fault) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, fault)
}

impl<S: AsyncRead + Unpin> AsyncRead for Checked<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(fault) = this.fault {
            return Poll::Ready(Err(broken(fault)));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        if this.judge.is_through() {
            return Poll::Ready(Ok(()));
        }
        if let Err((fault, good)) = this.judge.feed(&buf.filled()[before..]) {
            this.fault = Some(fault);
            buf.set_filled(before + good);
            if good == 0 {
                return Poll::Ready(Err(broken(fault)));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Checked<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let written = ready!(Pin::new(&mut this.inner).poll_write(cx, bytes))?;
        if !this.judge.is_through() {
            this.saw(bytes.get(..written).unwrap_or_default()).map_err(broken)?;
        }
        Poll::Ready(Ok(written))
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
    use crate::base::body::Body;
    use http_body_util::BodyExt;
    use hyper_util::rt::TokioIo;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::task::JoinSet;

    #[tokio::test]
    async fn a_lying_origin_fails_the_read_and_a_good_one_passes() {
        let ask = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n";
        let (near, mut far) = duplex(4096);
        let mut checked = client(near, Limits::RESPONSE);
        checked.write_all(ask).await.expect("sent");
        far.write_all(head).await.expect("sent");
        let mut got = vec![0; head.len()];
        checked.read_exact(&mut got).await.expect("a good answer");
        assert_eq!(got, head);
        far.write_all(b"surplus").await.expect("sent");
        let error = checked.read(&mut got).await.expect_err("nobody asked");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(checked.read(&mut got).await.is_err(), "and it stays so");
    }

    #[tokio::test]
    async fn two_requests_two_answers_and_a_switch() {
        let (near, mut far) = duplex(4096);
        let mut checked = client(near, Limits::RESPONSE);
        checked.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc").await.expect("sent");
        far.write_all(b"HTTP/1.1 204 N\r\n\r\n").await.expect("sent");
        let mut got = [0; 64];
        assert_eq!(checked.read(&mut got).await.expect("read"), 18);
        checked.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\n\r\n").await.expect("sent");
        far.write_all(b"HTTP/1.1 101 S\r\n\r\n\0\x01").await.expect("sent");
        assert_eq!(checked.read(&mut got).await.expect("read"), 20);
        checked.write_all(b"\0\0\0").await.expect("through");
        far.write_all(b"\0").await.expect("sent");
        assert_eq!(checked.read(&mut got).await.expect("read"), 1);
    }

    /// What an origin may say, and how it comes to be broken.
    fn answer(random: &mut StdRng) -> Vec<u8> {
        const ANSWERS: &[&str] = &[
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n2\r\nde\r\n0\r\nX: y\r\n\r\n",
            "HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
            "HTTP/1.0 200 OK\r\nX: y\r\n\r\nabc",
            "HTTP/1.1 304 Same\r\nContent-Length: 3\r\n\r\n",
            "HTTP/1.1 200\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ];
        let mut text = ANSWERS[random.random_range(0..ANSWERS.len())].as_bytes().to_vec();
        for _ in 0..random.random_range(0..3) {
            let at = random.random_range(0..text.len());
            match random.random_range(0..4) {
                0 => text[at] = b" \r\n\0:x;9"[random.random_range(0..8)],
                1 => drop(text.remove(at)),
                2 => text.truncate(at + 1),
                _ => text.insert(at, b" \r\n\0:x;9"[random.random_range(0..8)]),
            }
        }
        text
    }

    async fn fetch(text: &[u8], piece: usize) -> Result<(), String> {
        let (near, mut far) = duplex(1 << 16);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(client(near, Limits::RESPONSE))).await.map_err(|error| error.to_string())?;
        let mut tasks = JoinSet::new();
        // How it ended is seen by the answer.
        tasks.spawn(async move { drop(connection.await) });
        let origin = async {
            let mut ask = [0; 512];
            assert!(far.read(&mut ask).await.expect("a request") > 0);
            for piece in text.chunks(piece) {
                if far.write_all(piece).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            drop(far);
        };
        let request = http::Request::builder().header("host", "a").body(Body::Empty).expect("valid");
        let asked = async {
            let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
            response.into_body().collect().await.map(drop).map_err(|error| error.to_string())
        };
        tokio::join!(origin, asked).1
    }

    #[tokio::test]
    async fn hyper_takes_exactly_the_answers_that_the_judge_lets_pass() {
        let mut random = StdRng::seed_from_u64(5);
        let mut taken = 0;
        for round in 0..500 {
            let text = answer(&mut random);
            let mut judge = Responses::new(Limits::RESPONSE);
            judge.ask(Asked::default()).expect("the first");
            let fault = judge.feed(&text).err();
            let whole = judge.answered() == 1 || (fault.is_none() && judge.lasts_to_end());
            let got = fetch(&text, random.random_range(1..100)).await;
            let shown = String::from_utf8_lossy(&text);
            assert_eq!(got.is_ok(), whole, "round {round}: {shown:?} {fault:?} {got:?}");
            taken += u32::from(whole);
        }
        assert!((100..400).contains(&taken), "good and bad ones were among them: {taken}");
    }
}
