//! One plain question to an origin for the node itself, answered into memory: what must be read also where it may not be stored,
//! such as a robots.txt. It neither reads nor writes the store, joins nobody and decides nothing.

use crate::base::body::Body;
use crate::base::target::Target;
use crate::cache::{Cache, FetchError, Toll, coding};
use crate::link::Class;
use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::BodyExt;
use std::io;
use std::pin::pin;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};

/// For a body of which hardly anything comes.
const PATIENCE: Duration = Duration::from_mins(2);
/// Bytes that lengthen it by a second: what each of eight transfers gets that share the least of the night, 16 kbit/s. Were the whole body
/// to come within a time of its own, a long file would fail there night for night, and its host with it.
const SECOND: usize = 256;

impl Cache {
    /// A GET to an origin: status, fields and the first `max_bytes` bytes of the body, any coding undone. Never with a cookie or a login.
    /// `toll` hears of every byte of it as it comes over the line. May be dropped at any await.
    ///
    /// # Errors
    /// [`FetchError::Upstream`], [`FetchError::Broken`] and [`FetchError::Library`].
    pub async fn upstream_get(
        &self,
        target: &Target,
        mut headers: HeaderMap,
        class: Class,
        toll: Toll,
        max_bytes: usize,
    ) -> Result<(StatusCode, HeaderMap, Bytes), FetchError> {
        self.may_fetch(target)?;
        headers.remove(COOKIE);
        headers.remove(AUTHORIZATION);
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let mut request = Request::new(Body::Empty);
        *request.headers_mut() = headers;
        let sent = self.0.upstream.send(target, request, class).await?;
        let (head, body) = sent.response.into_parts();
        let body = Body::stream(body.map_frame(move |frame| {
            toll.pay(frame.data_ref().map_or(0, |data| data.len() as u64));
            frame
        }));
        let body = beginning(&head.headers, body, max_bytes).await.map_err(|error| FetchError::Broken(error.to_string()))?;
        Ok((head.status, head.headers, body))
    }
}

/// The first bytes of a body. A few servers answer in a coding whatever is asked.
async fn beginning(headers: &HeaderMap, body: Body, most: usize) -> io::Result<Bytes> {
    let plain = coding::reader(body);
    match coding::coded(headers, false) {
        coding::Coded::Undo(coding) => match tokio::time::timeout(PATIENCE, coding::undo(plain, coding)).await.map_err(|_| slow())?? {
            Ok(decoded) => upto(decoded, most).await,
            Err(plain) => upto(plain, most).await,
        },
        coding::Coded::Plain | coding::Coded::Stays(_) => upto(plain, most).await,
    }
}

/// Reads on while it gets on, however slowly the line goes.
async fn upto(reader: impl AsyncRead + Unpin, most: usize) -> io::Result<Bytes> {
    let (mut reader, mut bytes) = (reader.take(most as u64), BytesMut::new());
    let mut patience = pin!(tokio::time::sleep(PATIENCE));
    let began = patience.deadline();
    loop {
        let read = tokio::select! {
            biased;
            read = reader.read_buf(&mut bytes) => read?,
            () = &mut patience => return Err(slow()),
        };
        if read == 0 {
            return Ok(bytes.freeze());
        }
        patience.as_mut().reset(began + Duration::from_secs((bytes.len() / SECOND) as u64));
    }
}

fn slow() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "hardly anything of it came within two minutes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    #[tokio::test(start_paused = true)]
    async fn what_comes_slowly_comes_whole_and_what_trickles_is_given_up() {
        for (a_second, whole) in [(300, true), (2000, true), (100, false), (0, false)] {
            let (mut far, near) = tokio::io::duplex(4096);
            let sends = async move {
                for _ in 0..1000 {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    if far.write_all(&vec![b'#'; a_second]).await.is_err() {
                        return;
                    }
                }
            };
            let (read, ()) = tokio::join!(upto(near, 250_000), sends);
            assert_eq!(read.ok().map(|bytes| bytes.len()), whole.then_some(250_000), "{a_second} bytes a second");
        }
    }
}
