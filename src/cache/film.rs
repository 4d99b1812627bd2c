//! Lists of a film's forms (HLS masters, DASH manifests) as a class can use them: with only the forms that a pack keeps.
//!
//! Why is told in `site/discover/hls.rs`. It is another representation than the origin's, so its tag goes, and whoever asks with
//! conditions or for a part gets it whole: it is a few lines. Under policy `rfc9111`, with `no-transform`, and where a pack keeps
//! nothing of the film, all stays as it was sent; so does the answer of the one request that brings a new list from the origin.

use crate::base::body::Body;
use crate::base::target::Target;
use crate::cache::Inner;
use crate::cache::hit::Said;
use crate::cache::prepared::Prepared;
use crate::policy::{Ask, Kept, Kind, Rules};
use crate::site::discover::{dash, hls};
use crate::store::{Entry, Error, Store};
use http::header::{ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Checksums of the origin's bytes.
const SUMS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

/// Longest HLS master that is shortened, bytes: forms, sounds and subtitles of real ones fill 20 KiB. What is longer is a list of pieces.
const MAX_MASTER: u64 = 256 << 10;
/// Lists of more bytes are read beside the workers that serve everybody: a manifest with its time-lines takes a tenth of a second.
const MAX_HERE: usize = 64 << 10;

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
    let ending = path.rsplit('.').next();
    let list = if mime.ends_with("mpegurl") || ending == Some("m3u8") {
        List::Hls
    } else if mime == "application/dash+xml" || ending == Some("mpd") {
        List::Dash
    } else {
        return None;
    };
    let most = match list {
        List::Hls => MAX_MASTER,
        List::Dash => dash::MAX_BYTES,
    };
    let plain = kept.status == StatusCode::OK && kept.length <= most && !fields.contains_key(CONTENT_ENCODING);
    (rules.kind == Kind::School && plain && !kept.is_untouchable()).then_some(list)
}

impl List {
    /// Whether the text names forms at all: most playlists are lists of one form's pieces.
    fn has_forms(self, text: &str) -> bool {
        match self {
            List::Hls => text.contains("#EXT-X-STREAM-INF"),
            List::Dash => text.contains("Representation"),
        }
    }

    fn reduce(self, base: &Target, text: &str, store: &Store) -> Option<String> {
        let is_kept = |target: &Target| store.is_pinned(&target.key());
        match self {
            List::Hls => hls::reduce(base, text, is_kept),
            List::Dash => dash::reduce(base, text, is_kept),
        }
    }
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
        // Of one that is only partly here, all is served as it is.
        let Some(list) = prepared.forms().filter(|_| entry.object.is_some()) else { return Ok(None) };
        let limit = usize::try_from(dash::MAX_BYTES).unwrap_or(usize::MAX);
        let bytes = self.store.read(entry, None).await?.collect(limit).await.map_err(|error| Error::Unusable(error.to_string()))?;
        if !std::str::from_utf8(&bytes).is_ok_and(|text| list.has_forms(text)) {
            prepared.is_formless.store(true, Ordering::Relaxed);
            return Ok(None);
        }
        let (base, store, is_long) = (ask.target.clone(), self.store.clone(), bytes.len() > MAX_HERE);
        let reduce = move || list.reduce(&base, std::str::from_utf8(&bytes).ok()?, &store);
        let less =
            if is_long { tokio::task::spawn_blocking(reduce).await.map_err(|error| Error::Unusable(error.to_string()))? } else { reduce() };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::{NOW, school};

    #[test]
    fn only_what_may_name_forms_leaves_the_memory_path() {
        let rules = school();
        let of = |url: &str, length: u64| {
            let mut kept = Kept::new(&rules, StatusCode::OK, HeaderMap::new(), NOW, NOW);
            kept.length = length;
            list(&rules, url, &HeaderMap::new(), &kept)
        };
        for (url, length, wanted) in [
            ("http://a.kz/m.m3u8", 20_000, Some(List::Hls)),
            ("http://a.kz/m.m3u8", 300_000, None),
            ("http://a.kz/m.mpd?x", 300_000, Some(List::Dash)),
            ("http://a.kz/m.mpd", 5 << 20, None),
            ("http://a.kz/m.html", 20_000, None),
        ] {
            assert_eq!(of(url, length), wanted, "{url} {length}");
        }
        assert!(!List::Hls.has_forms("#EXTM3U\n#EXTINF:6,\na.ts\n#EXT-X-ENDLIST\n"));
        assert!(List::Hls.has_forms("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8\n"));
        assert!(List::Dash.has_forms("<MPD><Period><AdaptationSet><d:Representation/></AdaptationSet></Period></MPD>"));
        assert!(!List::Dash.has_forms("<html></html>"));
    }
}
