//! One plain question to an origin for the node itself, answered into memory: what must be read also where it may not be stored,
//! such as a robots.txt. It neither reads nor writes the store, joins nobody and decides nothing.

use crate::base::body::Body;
use crate::base::target::Target;
use crate::cache::{Cache, FetchError, Toll, coding};
use crate::link::Class;
use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::BodyExt;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};

/// For the whole body: 512 KiB at 64 kbit/s take 66 s.
const PATIENCE: Duration = Duration::from_mins(2);

impl Cache {
    /// A GET to an origin: status, fields and the first `max_bytes` bytes of the body, any coding undone. Never with a cookie or a login.
    /// `toll` hears of every byte of it as it comes over the line. May be dropped at any await.
    ///
    /// # Errors
    /// [`FetchError::Upstream`] and [`FetchError::Broken`].
    pub async fn upstream_get(
        &self,
        target: &Target,
        mut headers: HeaderMap,
        class: Class,
        toll: Toll,
        max_bytes: usize,
    ) -> Result<(StatusCode, HeaderMap, Bytes), FetchError> {
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
        let read = tokio::time::timeout(PATIENCE, beginning(&head.headers, body, max_bytes)).await;
        let body = read.map_err(|_| FetchError::Broken(format!("it took longer than {PATIENCE:?}")))?;
        let body = body.map_err(|error| FetchError::Broken(error.to_string()))?;
        Ok((head.status, head.headers, body))
    }
}

/// The first bytes of a body. A few servers answer in a coding whatever is asked.
async fn beginning(headers: &HeaderMap, body: Body, most: usize) -> std::io::Result<Bytes> {
    let plain = coding::reader(body);
    match coding::coded(headers, false) {
        coding::Coded::Undo(coding) => match coding::undo(plain, coding).await? {
            Ok(decoded) => upto(decoded, most).await,
            Err(plain) => upto(plain, most).await,
        },
        coding::Coded::Plain | coding::Coded::Stays(_) => upto(plain, most).await,
    }
}

async fn upto(reader: impl AsyncRead + Unpin, most: usize) -> std::io::Result<Bytes> {
    let mut bytes = Vec::new();
    reader.take(most as u64).read_to_end(&mut bytes).await?;
    Ok(bytes.into())
}
