//! How a body is kept: media as it is, text in zstd frames, the rest by a probe. Works on bytes in memory or on a file, a frame
//! at a time, so that a body of any size takes little memory.

use crate::base::digest::Digest;
use crate::store::disk::DiskFile;
use crate::store::record::{self, BLOCK, BLOCK_BYTES, Codec, FRAME, Kind, ONE_FRAME_MAX};
use crate::store::segment::New;
use bytes::Bytes;
use std::io;
use std::sync::Arc;

/// zstd level when a body comes in. Its window is 2 MiB (log 21), below the 8 MiB (log 23) of frames that may be sent to a browser
/// as they are (RFC 9659).
const LEVEL: i32 = 3;
/// Level of the probe, and how much it looks at.
const PROBE_LEVEL: i32 = 1;
const PROBE: usize = 64 << 10;
/// Kept raw when coding leaves more than this share of it, in percent.
const WORTH: usize = 95;

/// A whole body that is about to be kept.
pub(crate) struct Whole {
    pub(crate) object: Digest,
    pub(crate) length: u64,
    /// The checksum of each block.
    pub(crate) crcs: Vec<u32>,
    pub(crate) content: Content,
}

/// Where its bytes are.
#[derive(Clone)]
pub(crate) enum Content {
    Memory(Bytes),
    File(Arc<dyn DiskFile>),
}

impl Content {
    fn read(&self, at: u64, n: usize) -> io::Result<Bytes> {
        match self {
            Content::Memory(bytes) => {
                let from = usize::try_from(at).map_err(io::Error::other)?;
                Ok(bytes.slice(from..from + n))
            }
            Content::File(file) => {
                let mut buffer = vec![0; n];
                file.read_at(&mut buffer, at)?;
                Ok(Bytes::from(buffer))
            }
        }
    }
}

/// Checksums of blocks as bytes pass by.
#[derive(Clone, Default)]
pub(crate) struct Crcs {
    done: Vec<u32>,
    open: u32,
    filled: usize,
}

impl Crcs {
    /// Takes in more bytes.
    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, rest) = bytes.split_at(bytes.len().min(BLOCK_BYTES - self.filled));
            self.open = crc32c::crc32c_append(self.open, now);
            self.filled += now.len();
            if self.filled == BLOCK_BYTES {
                self.done.push(std::mem::take(&mut self.open));
                self.filled = 0;
            }
            bytes = rest;
        }
    }

    /// All of them.
    pub(crate) fn finish(mut self) -> Vec<u32> {
        if self.filled > 0 {
            self.done.push(self.open);
        }
        self.done
    }
}

/// Whether bodies of this type are known not to compress.
fn is_media(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    let (top, sub) = kind.split_once('/').unwrap_or((&kind, ""));
    match top {
        "audio" | "video" => true,
        "image" => !matches!(sub, "svg+xml" | "bmp" | "x-ms-bmp" | "x-icon" | "vnd.microsoft.icon"),
        "font" => matches!(sub, "woff" | "woff2"),
        "application" => matches!(
            sub,
            "zip"
                | "gzip"
                | "x-gzip"
                | "pdf"
                | "x-7z-compressed"
                | "x-rar-compressed"
                | "vnd.rar"
                | "zstd"
                | "x-xz"
                | "x-bzip2"
                | "font-woff"
                | "font-woff2"
                | "epub+zip"
                | "ogg"
                | "java-archive"
        ),
        _ => false,
    }
}

/// The BLOB record of a body. `coded`: it is in a content coding. `spill` makes a temporary file for the frames of a long one.
pub(crate) fn pack(
    whole: &Whole,
    content_type: Option<&str>,
    coded: bool,
    spill: impl FnOnce() -> io::Result<Arc<dyn DiskFile>>,
) -> io::Result<New> {
    let raw = coded || content_type.is_some_and(is_media) || whole.length < 64 || !probe(whole)?;
    if !raw {
        let packed = if whole.length <= ONE_FRAME_MAX { one_frame(whole)? } else { frames(whole, spill)? };
        if let Some(packed) = packed {
            return Ok(packed);
        }
    }
    let (head, file) = match &whole.content {
        Content::Memory(bytes) => (bytes.clone(), None),
        Content::File(file) => (Bytes::new(), Some((Arc::clone(file), whole.length))),
    };
    if whole.length < BLOCK {
        let crc = crc32c::crc32c(&whole.content.read(0, usize::try_from(whole.length).map_err(io::Error::other)?)?);
        return Ok(blob(whole, Codec::Raw, 0, crc, head, file, Bytes::new()));
    }
    let table = record::encode_crcs(&whole.crcs);
    Ok(blob(whole, Codec::Raw, record::PAGED | record::TABLED, crc32c::crc32c(&table), head, file, table.into()))
}

fn blob(whole: &Whole, codec: Codec, flags: u16, crc: u32, head: Bytes, file: Option<(Arc<dyn DiskFile>, u64)>, tail: Bytes) -> New {
    let key = whole.object.0;
    New { kind: Kind::Blob, codec, flags, key, line_key: key, base: 0, crc, whole: whole.length, link: 0, head, file, tail }
}

fn probe(whole: &Whole) -> io::Result<bool> {
    let n = PROBE.min(usize::try_from(whole.length).unwrap_or(PROBE));
    let sample = whole.content.read(0, n)?;
    Ok(zstd::bulk::compress(&sample, PROBE_LEVEL)?.len() * 100 <= n * WORTH)
}

fn compressor() -> io::Result<zstd::bulk::Compressor<'static>> {
    let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
    compressor.set_parameter(zstd::zstd_safe::CParameter::ChecksumFlag(true))?;
    compressor.set_parameter(zstd::zstd_safe::CParameter::ContentSizeFlag(true))?;
    Ok(compressor)
}

fn one_frame(whole: &Whole) -> io::Result<Option<New>> {
    let length = usize::try_from(whole.length).map_err(io::Error::other)?;
    let packed = compressor()?.compress(&whole.content.read(0, length)?)?;
    if packed.len() * 100 > length * WORTH {
        return Ok(None);
    }
    let crc = crc32c::crc32c(&packed);
    Ok(Some(blob(whole, Codec::Zstd, 0, crc, packed.into(), None, Bytes::new())))
}

fn frames(whole: &Whole, spill: impl FnOnce() -> io::Result<Arc<dyn DiskFile>>) -> io::Result<Option<New>> {
    let (file, mut compressor, mut table, mut stored, mut at) = (spill()?, compressor()?, Vec::new(), 0_u64, 0_u64);
    while at < whole.length {
        let n = usize::try_from(FRAME.min(whole.length - at)).map_err(io::Error::other)?;
        let packed = compressor.compress(&whole.content.read(at, n)?)?;
        file.write_at(&packed, stored)?;
        table.push((u32::try_from(packed.len()).map_err(io::Error::other)?, crc32c::crc32c(&packed)));
        stored += packed.len() as u64;
        at += n as u64;
    }
    if stored.saturating_mul(100) > whole.length.saturating_mul(WORTH as u64) {
        return Ok(None);
    }
    let seek = record::encode_seek(&table);
    let crc = crc32c::crc32c(&seek);
    Ok(Some(blob(whole, Codec::Frames, 0, crc, Bytes::new(), Some((file, stored)), seek.into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_that_are_known_not_to_compress() {
        for (kind, wanted) in [
            ("image/png", true),
            ("image/svg+xml", false),
            ("text/html; charset=utf-8", false),
            ("Video/MP4", true),
            ("application/pdf", true),
            ("application/octet-stream", false),
            ("font/woff2", true),
            ("font/ttf", false),
            ("", false),
        ] {
            assert_eq!(is_media(kind), wanted, "{kind}");
        }
    }

    #[test]
    fn checksums_do_not_depend_on_how_the_bytes_come() {
        let bytes: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
        let mut streamed = Crcs::default();
        bytes.chunks(777).for_each(|chunk| streamed.update(chunk));
        let wanted: Vec<u32> = bytes.chunks(BLOCK_BYTES).map(crc32c::crc32c).collect();
        assert_eq!(streamed.finish(), wanted);
    }
}
