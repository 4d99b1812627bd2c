//! Lists of a film's forms (HLS masters, DASH manifests) as a class can use them: with only the forms that a pack keeps.
//!
//! Why is told in `site/discover/hls.rs`. It is another representation than the origin's, so its tag goes, and whoever asks with
//! conditions or for a part gets it whole: it is a few lines. Under policy `rfc9111`, with `no-transform`, and where a pack keeps
//! nothing of the film, all stays as it was sent; so does the answer of the one request that brings a new list from the origin.

use crate::base::body::Body;
use crate::cache::Inner;
use crate::cache::hit::Said;
use crate::cache::prepared::Prepared;
use crate::policy::{Ask, Kind};
use crate::site::discover::{dash, hls};
use crate::store::{Entry, Error};
use http::header::{ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName};
use http::{HeaderValue, Method, Response, StatusCode};
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
enum List {
    Hls,
    Dash,
}

impl Inner {
    /// Whether this answer may have to be shortened.
    pub(crate) fn is_list_of_forms(&self, ask: &Ask<'_>, prepared: &Prepared) -> bool {
        self.list(ask, prepared).is_some()
    }

    fn list(&self, ask: &Ask<'_>, prepared: &Prepared) -> Option<List> {
        let fields = &prepared.ready;
        let mime = fields
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.split(';').next())
            .unwrap_or_default()
            .trim();
        let path = ask.target.path();
        let ends = |end: &str| path.len() >= end.len() && path.as_bytes()[path.len() - end.len()..].eq_ignore_ascii_case(end.as_bytes());
        let list = if mime.len() >= 7 && mime.as_bytes()[mime.len() - 7..].eq_ignore_ascii_case(b"mpegurl") || ends(".m3u8") {
            List::Hls
        } else if mime.eq_ignore_ascii_case("application/dash+xml") || ends(".mpd") {
            List::Dash
        } else {
            return None;
        };
        let kept = &prepared.kept;
        let plain = kept.status == StatusCode::OK && kept.length <= hls::MAX_BYTES && !fields.contains_key(CONTENT_ENCODING);
        (self.rules.kind == Kind::School && plain && !kept.is_untouchable()).then_some(list)
    }

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
        let Some(list) = self.list(ask, prepared) else { return Ok(None) };
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
