//! Content codings of origins: what is asked for, what is undone before storing, what a client accepts.
//!
//! Bodies are kept decoded, so that equal content under different codings is one object. A coding that
//! we do not know, that is doubled, or that `no-transform` protects stays on, byte for byte.

use crate::base::body::Body;
use crate::cache::coding::members::Members;
use async_compression::tokio::bufread::{BrotliDecoder, ZstdDecoder};
use futures_util::TryStreamExt;
use http::{HeaderMap, HeaderValue, header};
use http_body_util::BodyExt;
use std::io;
use std::pin::Pin;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead};
use tokio_util::io::StreamReader;

/// gzip, member by member.
mod members;

/// What the node asks origins for: best first.
pub(crate) const ASKED: HeaderValue = HeaderValue::from_static("zstd, br, gzip");

const OURS: [&str; 4] = ["zstd", "br", "gzip", "x-gzip"];

/// A coding that we undo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Gzip,
    Brotli,
    Zstd,
}

/// How a body arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Coded {
    /// As it is.
    Plain,
    /// In one coding that will be undone.
    Undo(Coding),
    /// In codings that stay on.
    Stays(Box<str>),
}

/// Reads `Content-Encoding`; `keep` when the answer says `no-transform`.
pub(crate) fn coded(headers: &HeaderMap, keep: bool) -> Coded {
    let mut names = headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(|name| String::from_utf8_lossy(name).trim().to_ascii_lowercase())
        .filter(|name| !name.is_empty() && name != "identity");
    let Some(first) = names.next() else { return Coded::Plain };
    let rest: Vec<String> = names.collect();
    match (first.as_str(), rest.is_empty() && !keep) {
        ("gzip" | "x-gzip", true) => Coded::Undo(Coding::Gzip),
        ("br", true) => Coded::Undo(Coding::Brotli),
        ("zstd", true) => Coded::Undo(Coding::Zstd),
        _ => Coded::Stays(std::iter::once(first).chain(rest).collect::<Vec<_>>().join(", ").into()),
    }
}

/// Whether a client takes every coding of `names` (RFC 9110 section 12.5.3). Strict about the codings that we ask for: the origin
/// used them because of us. Any other the client would have got without us too.
pub(crate) fn accepts(headers: &HeaderMap, names: &str) -> bool {
    names.split(',').map(str::trim).all(|wanted| {
        if !OURS.contains(&wanted) {
            return true;
        }
        let mut star = false;
        for item in
            headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','))
        {
            let mut parts = item.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let refused = parts.any(|part| part.strip_prefix("q=").is_some_and(|q| q.trim_matches(['0', '.']).is_empty()));
            if name.eq_ignore_ascii_case(wanted) {
                return !refused;
            }
            star |= name == "*" && !refused;
        }
        star
    })
}

/// The weight in thousandths that a client gives a coding by its name (RFC 9110 section 12.4.2); `None` when it does not name it.
pub(crate) fn weight(headers: &HeaderMap, wanted: &str) -> Option<u16> {
    let lines = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).find_map(|item| {
        let mut parts = item.split(';').map(str::trim);
        if !parts.next()?.eq_ignore_ascii_case(wanted) {
            return None;
        }
        Some(parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q="))).map_or(1000, thousandths))
    })
}

/// A weight that is none counts as zero: nothing is sent that was not clearly asked for.
fn thousandths(text: &str) -> u16 {
    let weight = text.parse::<f32>().ok().filter(|weight| (0.0..=1.0).contains(weight)).unwrap_or(0.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 1000")]
    let thousandths = (weight * 1000.0).round() as u16;
    thousandths
}

/// A body as a reader.
pub(crate) fn reader(body: Body) -> impl AsyncBufRead + Send + Unpin {
    let frames = body.into_data_stream().map_err(io::Error::other);
    StreamReader::new(Box::pin(frames))
}

/// The decoded body, or `Err` with all its bytes still in front when its first bytes cannot be of that coding.
pub(crate) async fn undo<R>(mut body: R, coding: Coding) -> io::Result<Result<Pin<Box<dyn AsyncRead + Send>>, R>>
where
    R: AsyncBufRead + Send + Unpin + 'static,
{
    let start = body.fill_buf().await?;
    let fits = match coding {
        // A piece shorter than the mark tells nothing; the decoder will.
        Coding::Gzip => start.len() < 2 || start.starts_with(&[0x1f, 0x8b]),
        Coding::Zstd => {
            start.len() < 4
                || start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
                || (start[0] & 0xf0 == 0x50 && start[1..4] == [0x2a, 0x4d, 0x18])
        }
        Coding::Brotli => true,
    };
    if !fits {
        return Ok(Err(body));
    }
    Ok(Ok(match coding {
        Coding::Gzip => Box::pin(Members::of(body)),
        Coding::Brotli => Box::pin(BrotliDecoder::new(body)),
        Coding::Zstd => {
            let mut decoder = ZstdDecoder::new(body);
            decoder.multiple_members(true);
            Box::pin(decoder)
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    fn fields(name: &header::HeaderName, values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name.clone(), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn codings_are_undone_only_when_single_known_and_free_to_change() {
        let table: [(&[&str], bool, Coded); 9] = [
            (&[], false, Coded::Plain),
            (&["identity"], false, Coded::Plain),
            (&["gzip"], false, Coded::Undo(Coding::Gzip)),
            (&["X-GZip"], false, Coded::Undo(Coding::Gzip)),
            (&["br"], false, Coded::Undo(Coding::Brotli)),
            (&["zstd"], true, Coded::Stays("zstd".into())),
            (&["gzip, br"], false, Coded::Stays("gzip, br".into())),
            (&["gzip", "gzip"], false, Coded::Stays("gzip, gzip".into())),
            (&["dcb"], false, Coded::Stays("dcb".into())),
        ];
        for (values, keep, wanted) in table {
            assert_eq!(coded(&fields(&header::CONTENT_ENCODING, values), keep), wanted, "{values:?}");
        }
    }

    #[test]
    fn who_accepts_what() {
        let table: [(&[&str], &str, bool); 9] = [
            (&[], "gzip", false),
            (&["gzip"], "gzip", true),
            (&["GZIP;q=0.5, br"], "gzip", true),
            (&["gzip;q=0"], "gzip", false),
            (&["gzip;q=0.0, *"], "gzip", false),
            (&["*"], "zstd", true),
            (&[], "odd", true),
            (&["gzip, br"], "gzip, br", true),
            (&["gzip"], "gzip, br", false),
        ];
        for (values, names, wanted) in table {
            assert_eq!(accepts(&fields(&header::ACCEPT_ENCODING, values), names), wanted, "{values:?} {names}");
        }
    }

    #[test]
    fn weights_are_of_names_only() {
        let table: [(&[&str], Option<u16>); 8] = [
            (&[], None),
            (&["gzip, *"], None),
            (&["gzip, ZSTD"], Some(1000)),
            (&["zstd;q=0.5"], Some(500)),
            (&["br", "gzip , zstd ; Q=0.001"], Some(1)),
            (&["zstd;q=0"], Some(0)),
            (&["zstd;q=2"], Some(0)),
            (&["zstd;q=NaN"], Some(0)),
        ];
        for (values, wanted) in table {
            assert_eq!(weight(&fields(&header::ACCEPT_ENCODING, values), "zstd"), wanted, "{values:?}");
        }
    }

    #[tokio::test]
    async fn bytes_that_are_not_gzip_come_back_untouched() {
        let body = reader(Body::full("no gzip at all"));
        let Err(mut back) = undo(body, Coding::Gzip).await.expect("reads") else { panic!("must not decode") };
        let mut text = String::new();
        back.read_to_string(&mut text).await.expect("reads");
        assert_eq!(text, "no gzip at all");
    }
}
