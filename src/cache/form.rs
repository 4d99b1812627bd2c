//! In which form a client gets a stored body: the stored zstd frame as it is, gzip where the Wi-Fi is the narrow place, else
//! decoded. Another coding is another representation (RFC 9110 section 8.8.3): weak tag, own length, own `Vary`.

use crate::cache::prepared::{Prepared, weaken};
use crate::cache::{Inner, coding};
use crate::policy::directive::Directives;
use crate::policy::{Ask, Why};
use crate::store::{Entry, Form};
use bytes::Bytes;
use http::header::{ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, RANGE, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};
use std::sync::Arc;

/// gzip pays for text from here on: less fits into one packet anyway.
const GZIP_FROM: u64 = 1 << 10;
/// Fields that speak of the bytes as the origin sent them (RFC 9530, RFC 3230, RFC 1864).
pub(crate) const SUMS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

/// A body in a form that is ready.
#[derive(Clone, Debug)]
pub(crate) struct Formed {
    pub(crate) form: Form,
    pub(crate) bytes: Bytes,
}

/// What memory knows of the form for a request.
pub(crate) enum Known {
    /// Decoded.
    Plain,
    /// Here it is.
    Formed(Formed),
    /// It has to be made or looked for first.
    Unmade,
}

impl Inner {
    /// The form for this request, as far as memory knows.
    pub(crate) fn known_form(&self, ask: &Ask<'_>, entry: &Entry, prepared: &Prepared, why: Why) -> Known {
        for form in self.forms(ask, entry, prepared, why).into_iter().flatten() {
            match entry.forms.of(form).get() {
                None => return Known::Unmade,
                Some(Some(bytes)) => return Known::Formed(Formed { form, bytes: bytes.clone() }),
                Some(None) => {}
            }
        }
        Known::Plain
    }

    /// The form for this request; made when need be. A disk that fails is told by whoever reads the body.
    pub(crate) async fn form(&self, ask: &Ask<'_>, entry: &Arc<Entry>, prepared: &Prepared, why: Why) -> Option<Formed> {
        for form in self.forms(ask, entry, prepared, why).into_iter().flatten() {
            match self.store.form(entry, form).await {
                Ok(Some(bytes)) => return Some(Formed { form, bytes }),
                Ok(None) => {}
                Err(error) => tracing::debug!(%error, "no other form of a body now"),
            }
        }
        None
    }

    /// The forms that may be sent instead of the decoded body, best first.
    fn forms(&self, ask: &Ask<'_>, entry: &Entry, prepared: &Prepared, why: Why) -> [Option<Form>; 2] {
        let taken = |name| coding::weight(ask.headers, name).filter(|weight| *weight > 0);
        let zstd = taken("zstd");
        let gzip = if self.gzip { taken("gzip").filter(|_| entry.length >= GZIP_FROM && is_text(&prepared.ready)) } else { None };
        if (zstd.is_none() && gzip.is_none()) || !self.is_free(ask, entry, prepared, why) {
            return [None, None];
        }
        // Whoever would rather have it plain gets it plain.
        let plain = coding::weight(ask.headers, "identity").unwrap_or(0);
        let (zstd, gzip) = (zstd.filter(|weight| *weight >= plain), gzip.filter(|weight| *weight >= plain));
        let (zstd_form, gzip_form) = (zstd.map(|_| Form::Zstd), gzip.map(|_| Form::Gzip));
        if gzip > zstd { [gzip_form, zstd_form] } else { [zstd_form, gzip_form] }
    }

    /// Whether another form may be sent at all. Ranges are of the decoded body.
    fn is_free(&self, ask: &Ask<'_>, entry: &Entry, prepared: &Prepared, why: Why) -> bool {
        let asked = || ask.headers.contains_key(CACHE_CONTROL) && Directives::read(ask.headers).no_transform;
        prepared.kept.status == StatusCode::OK
            && entry.object.is_some()
            && entry.meta.coding.is_none()
            && !prepared.ready.contains_key(CONTENT_ENCODING)
            && !prepared.kept.is_untouchable()
            && !ask.headers.contains_key(RANGE)
            && !asked()
            && !self.wants_banner(ask, prepared, why)
    }
}

/// The fields of an answer in this form, or decoded.
pub(crate) fn fields(prepared: &Prepared, formed: Option<&Formed>) -> HeaderMap {
    let mut headers = prepared.ready.clone();
    let Some(formed) = formed else { return headers };
    let name = match formed.form {
        Form::Zstd => "zstd",
        Form::Gzip => "gzip",
    };
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static(name));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(formed.bytes.len()));
    // Ranges would be of other bytes than these.
    headers.remove(ACCEPT_RANGES);
    for sum in &SUMS {
        headers.remove(sum);
    }
    weaken(&mut headers);
    if !varies(&headers) {
        headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    headers
}

fn varies(headers: &HeaderMap) -> bool {
    let mut names = headers.get_all(VARY).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    names.any(|name| matches!(name.trim_ascii(), b"*") || name.trim_ascii().eq_ignore_ascii_case(b"accept-encoding"))
}

/// Types that are text, by their name.
fn is_text(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()) else { return false };
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let known = ["application/json", "application/javascript", "application/x-javascript", "application/xml", "application/wasm"];
    kind.starts_with("text/") || kind.ends_with("+xml") || kind.ends_with("+json") || known.contains(&&*kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vary_is_added_once() {
        let table: [(&[&'static str], bool); 5] = [
            (&[], false),
            (&["Cookie"], false),
            (&["Cookie, accept-ENCODING"], true),
            (&["Origin", "Accept-Encoding"], true),
            (&["*"], true),
        ];
        for (lines, wanted) in table {
            let headers: HeaderMap = lines.iter().map(|line| (VARY, HeaderValue::from_static(line))).collect();
            assert_eq!(varies(&headers), wanted, "{lines:?}");
        }
    }

    #[test]
    fn what_is_text() {
        let table =
            [("text/html; charset=utf-8", true), ("image/svg+xml", true), ("Application/JSON", true), ("image/png", false), ("", false)];
        for (kind, wanted) in table {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]);
            assert_eq!(is_text(&headers), wanted, "{kind}");
        }
        assert!(!is_text(&HeaderMap::new()));
    }
}
