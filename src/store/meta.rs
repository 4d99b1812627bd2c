//! What a META record keeps of an answer: version byte, then postcard. Pure. A new field means a new version with a struct of
//! its own; old versions stay readable (golden files in `tests/data/`).

use crate::base::clock::Time;
use crate::base::digest::Digest;
use crate::store::{Meta, Source, Way};
use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};

const VERSION: u8 = 1;

/// A META's payload, decoded.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kept {
    pub(crate) meta: Meta,
    /// `None` while the body is only partly here.
    pub(crate) object: Option<Digest>,
    /// Whole identity length.
    pub(crate) length: u64,
}

#[derive(Serialize, Deserialize)]
struct V1 {
    key: Digest,
    url: String,
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    vary: Vec<(String, Vec<u8>)>,
    requested: i64,
    received: i64,
    coding: Option<String>,
    was_coded: Option<String>,
    source: u8,
    way: u8,
    flags: u32,
    object: Option<Digest>,
    length: u64,
}

/// To bytes.
pub(crate) fn encode(meta: &Meta, object: Option<Digest>, length: u64) -> Vec<u8> {
    let kept = V1 {
        key: meta.key,
        url: meta.url.to_string(),
        status: meta.status.as_u16(),
        headers: meta.headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect(),
        vary: meta.vary.iter().map(|(name, value)| (name.to_string(), value.to_vec())).collect(),
        requested: meta.requested.micros(),
        received: meta.received.micros(),
        coding: meta.coding.as_deref().map(str::to_owned),
        was_coded: meta.was_coded.as_deref().map(str::to_owned),
        source: match meta.source {
            Source::Client => 0,
            Source::Prefetch => 1,
            Source::Pack => 2,
        },
        way: match meta.way {
            Way::Http => 0,
            Way::Mirror => 1,
            Way::Intercept => 2,
        },
        flags: meta.flags,
        object,
        length,
    };
    postcard::to_extend(&kept, vec![VERSION]).expect("writing to memory cannot fail")
}

/// From bytes; `None` for anything that is not a META of a version we know.
pub(crate) fn decode(bytes: &[u8]) -> Option<Kept> {
    let (&version, rest) = bytes.split_first()?;
    if version != VERSION {
        return None;
    }
    let kept: V1 = postcard::from_bytes(rest).ok()?;
    // More than a map can hold come from no line, but a bundle may say so.
    let mut headers = HeaderMap::try_with_capacity(kept.headers.len()).ok()?;
    for (name, value) in kept.headers {
        headers.try_append(HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_bytes(&value).ok()?).ok()?;
    }
    let headers = compact(&headers);
    let meta = Meta {
        key: kept.key,
        url: kept.url.into_boxed_str(),
        status: StatusCode::from_u16(kept.status).ok()?,
        headers,
        vary: kept.vary.into_iter().map(|(name, value)| (name.into_boxed_str(), value.into_boxed_slice())).collect(),
        requested: Time::from_micros(kept.requested),
        received: Time::from_micros(kept.received),
        coding: kept.coding.map(String::into_boxed_str),
        was_coded: kept.was_coded.map(String::into_boxed_str),
        source: [Source::Client, Source::Prefetch, Source::Pack].get(usize::from(kept.source)).copied()?,
        way: [Way::Http, Way::Mirror, Way::Intercept].get(usize::from(kept.way)).copied()?,
        flags: kept.flags,
    };
    Some(Kept { meta, object: kept.object, length: kept.length })
}

/// The same fields in memory of their own, all values in one piece. As they come from the line, each value is a slice that keeps
/// the whole read buffer of its connection, 8 KiB to 400 KiB for an answer of a few hundred bytes.
pub(crate) fn compact(headers: &HeaderMap) -> HeaderMap {
    let mut all = BytesMut::with_capacity(headers.values().map(HeaderValue::len).sum());
    headers.values().for_each(|value| all.extend_from_slice(value.as_bytes()));
    let mut all = all.freeze();
    let mut out = HeaderMap::with_capacity(headers.keys_len());
    for (name, value) in headers {
        let own = HeaderValue::from_maybe_shared(all.split_to(value.len()));
        // What was a value is one again; else it stays as it came.
        let mut own = own.unwrap_or_else(|_| value.clone());
        own.set_sensitive(value.is_sensitive());
        out.append(name.clone(), own);
    }
    out
}

/// The strong validator of an answer, as a number: a strong ETag, else Last-Modified, else 0 (RFC 9110 section 8.8).
pub(crate) fn validator(headers: &HeaderMap) -> u64 {
    let value = strong_tag(headers).or_else(|| headers.get(http::header::LAST_MODIFIED));
    value.map_or(0, |value| super::record::fingerprint(&Digest::of(value.as_bytes()).0))
}

/// The entity tag, if it is a strong one.
pub(crate) fn strong_tag(headers: &HeaderMap) -> Option<&HeaderValue> {
    headers.get(http::header::ETAG).filter(|tag| !tag.as_bytes().starts_with(b"W/"))
}

/// The host in a canonical URL, without port, lower case; empty when there is none.
pub(crate) fn host(url: &str) -> String {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    let name = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or(""),
        None => authority.split(':').next().unwrap_or(""),
    };
    name.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compact_fields_are_the_same_and_let_the_read_buffer_go() {
        let buffer = bytes::Bytes::from(vec![b'x'; 64 << 10]);
        let mut fields = HeaderMap::new();
        for (at, name) in ["etag", "x-a", "x-a", "x-empty"].into_iter().enumerate() {
            let value = buffer.slice(at..if name == "x-empty" { at } else { at + 10 * at + 5 });
            fields.append(name, HeaderValue::from_maybe_shared(value).unwrap());
        }
        let own = compact(&fields);
        assert_eq!(own, fields);
        assert!(!buffer.is_unique());
        drop(fields);
        assert!(buffer.is_unique(), "nothing of it is held");
    }

    #[test]
    fn what_is_kept_reads_back() {
        let mut headers = HeaderMap::new();
        headers.append("etag", HeaderValue::from_static("\"a\""));
        headers.append("x", HeaderValue::from_bytes(b"\xff1").unwrap());
        headers.append("x", HeaderValue::from_static("2"));
        let meta = Meta {
            key: Digest::of(b"k"),
            url: "http://a.kz/x".into(),
            status: StatusCode::NOT_FOUND,
            headers,
            vary: vec![("accept".into(), b"text/html".to_vec().into())],
            requested: Time::from_secs(5),
            received: Time::from_secs(6),
            coding: None,
            was_coded: Some("gzip".into()),
            source: Source::Pack,
            way: Way::Intercept,
            flags: 7,
        };
        let bytes = encode(&meta, Some(Digest::of(b"o")), 12);
        assert_eq!(decode(&bytes), Some(Kept { meta, object: Some(Digest::of(b"o")), length: 12 }));
        for cut in 0..bytes.len() {
            assert_eq!(decode(&bytes[..cut]), None, "cut at {cut}");
        }
        assert_eq!(decode(&[9, 0, 0]), None, "a newer version");
    }

    #[test]
    fn hosts_and_validators() {
        for (url, wanted) in [("http://A.kz:81/x", "a.kz"), ("https://[::1]:8/", "::1"), ("https://b.kz?q", "b.kz"), ("nothing", "")] {
            assert_eq!(host(url), wanted, "{url}");
        }
        let of = |name: &'static str, value: &'static str| {
            validator(&HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static(value))]))
        };
        assert_eq!(of("etag", "W/\"a\""), 0);
        assert_ne!(of("etag", "\"a\""), of("etag", "\"b\""));
        assert_ne!(of("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"), 0);
    }
}
