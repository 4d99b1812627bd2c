//! Lists of a film's forms (HLS masters, DASH manifests) as a class can use them: with only the forms that a pack keeps.
//!
//! Why is told in `site/discover/hls.rs`. It is another representation than the origin's, so its tag goes, and whoever asks with
//! conditions or for a part gets it whole: it is a few lines. Under policy `rfc9111`, with `no-transform`, and where a pack keeps
//! nothing of the film, all stays as it was sent; so does the answer of the one request that brings a new list from the origin.

use crate::base::body::Body;
use crate::cache::Inner;
use crate::cache::hit::Said;
use crate::cache::prepared::Prepared;
use crate::policy::{Ask, Kept, Kind, Rules};
use crate::site::discover::{dash, hls};
use crate::store::{Entry, Error};
use http::header::{ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use std::sync::Arc;

/// Checksums of the origin's bytes.
const SUMS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

/// What kind of list a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum List {
    Hls,
    Dash,
}

/// Whether the answer with these fields is a list that may have to be shortened: by its media type, or its name where that says nothing.
pub(crate) fn list(rules: &Rules, url: &str, fields: &HeaderMap, kept: &Kept) -> Option<List> {
    let mime = fields.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).and_then(|text| text.split(';').next());
    let mime = mime.unwrap_or_default().trim().to_ascii_lowercase();
    let path = url.split('?').next().unwrap_or_default().to_ascii_lowercase();
    let list = if mime.ends_with("mpegurl") || path.ends_with(".m3u8") {
        List::Hls
    } else if mime == "application/dash+xml" || path.ends_with(".mpd") {
        List::Dash
    } else {
        return None;
    };
    let plain = kept.status == StatusCode::OK && kept.length <= hls::MAX_BYTES && !fields.contains_key(CONTENT_ENCODING);
    (rules.kind == Kind::School && plain && !kept.is_untouchable()).then_some(list)
}

impl Inner {
    /// The list with only the forms that packs keep; `None` where it is as it should be.
    ///
    /// # Errors
    /// When the stored bytes turn out to be damaged.
    pub(crate) async fn shortened(
        &self,
        ask: &Ask<'_>,
        entry: &Arc<Entry>,
        prepared: &Prepared,
        said: Said,
    ) -> Result<Option<Response<Body>>, Error> {
        let Some(list) = prepared.list else { return Ok(None) };
        let limit = usize::try_from(hls::MAX_BYTES).unwrap_or(usize::MAX);
        let bytes = self.store.read(entry, None).await?.collect(limit).await.map_err(|error| Error::Unusable(error.to_string()))?;
        let Ok(text) = std::str::from_utf8(&bytes) else { return Ok(None) };
        let is_kept = |target: &crate::base::target::Target| self.store.is_pinned(&target.key());
        let less = match list {
            List::Hls => hls::reduce(ask.target, text, is_kept),
            List::Dash => dash::reduce(ask.target, text, is_kept),
        };
        let Some(less) = less else { return Ok(None) };
        let mut response = self.head(StatusCode::OK, prepared.ready.clone(), said);
        let fields = response.headers_mut();
        for name in SUMS.iter().chain([&ETAG, &ACCEPT_RANGES]) {
            fields.remove(name);
        }
        fields.insert(CONTENT_LENGTH, HeaderValue::from(less.len()));
        if *ask.method != Method::HEAD {
            *response.body_mut() = Body::full(less.into_bytes());
        }
        Ok(Some(response))
    }
}
