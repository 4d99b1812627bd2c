//! How a body is kept: media as it is, text in zstd frames, the rest by a probe. Works on bytes in memory or on a file, a frame
//! at a time, so that a body of any size takes little memory. What the night makes of it comes from here, too (`shrink.rs`).

/// Against a dictionary.
pub(crate) mod dict;

/// Against an older version.
pub(crate) mod delta;

/// What a night compresses with.
pub(crate) mod press;

/// Which bodies are alike.
pub(crate) mod sketch;

use crate::base::digest::Digest;
use crate::store::disk::DiskFile;
use crate::store::read::read_vec;
use crate::store::record::{self, BLOCK, BLOCK_BYTES, Codec, FRAME, Header, Kind, ONE_FRAME_MAX};
use crate::store::segment::New;
use bytes::Bytes;
use std::io;
use std::sync::Arc;

/// zstd level when a body comes in. Its window is 2 MiB (log 21), below the 8 MiB (log 23) of frames that may be sent to a browser
/// as they are (RFC 9659).
const LEVEL: i32 = 3;
/// zstd level of the night, when there is time. Its window is at most 4 MiB (log 22), so that its frames may be sent as well.
pub(crate) const NIGHT_LEVEL: i32 = 9;
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
pub(crate) fn is_media(content_type: &str) -> bool {
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
        let packed = if whole.length <= ONE_FRAME_MAX { one_frame(whole)? } else { spilled(whole, spill)? };
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

/// Compresses at a level, with length and checksum in the frame.
pub(crate) fn compressor(level: i32) -> io::Result<zstd::bulk::Compressor<'static>> {
    let mut compressor = zstd::bulk::Compressor::new(level)?;
    compressor.set_parameter(zstd::zstd_safe::CParameter::ChecksumFlag(true))?;
    compressor.set_parameter(zstd::zstd_safe::CParameter::ContentSizeFlag(true))?;
    Ok(compressor)
}

fn one_frame(whole: &Whole) -> io::Result<Option<New>> {
    let length = usize::try_from(whole.length).map_err(io::Error::other)?;
    let packed = compressor(LEVEL)?.compress(&whole.content.read(0, length)?)?;
    Ok(if packed.len() * 100 > length * WORTH { None } else { Some(framed(whole.object, whole.length, packed)) })
}

fn spilled(whole: &Whole, spill: impl FnOnce() -> io::Result<Arc<dyn DiskFile>>) -> io::Result<Option<New>> {
    let file = spill()?;
    let new = frames(whole.object, whole.length, LEVEL, |at, n| whole.content.read(at, n), file)?;
    let stored = new.file.as_ref().map_or(0, |file| file.1);
    Ok(if stored.saturating_mul(100) > whole.length.saturating_mul(WORTH as u64) { None } else { Some(new) })
}

/// The record of a body in one frame.
fn framed(object: Digest, length: u64, packed: Vec<u8>) -> New {
    of_payload(object, length, Codec::Zstd, packed)
}

/// The record of a body whose payload is these bytes.
pub(crate) fn of_payload(object: Digest, length: u64, codec: Codec, payload: Vec<u8>) -> New {
    New { codec, ..New::small(Kind::Blob, object.0, object.0, length, 0, payload) }
}

/// The record of a body in many frames that are written to `file`. `read` gives so many bytes of the body at a place.
pub(crate) fn frames(
    object: Digest,
    length: u64,
    level: i32,
    mut read: impl FnMut(u64, usize) -> io::Result<Bytes>,
    file: Arc<dyn DiskFile>,
) -> io::Result<New> {
    let (mut compressor, mut table, mut stored, mut at) = (compressor(level)?, Vec::new(), 0_u64, 0_u64);
    while at < length {
        let n = usize::try_from(FRAME.min(length - at)).map_err(io::Error::other)?;
        let packed = compressor.compress(&read(at, n)?)?;
        file.write_at(&packed, stored)?;
        table.push((u32::try_from(packed.len()).map_err(io::Error::other)?, crc32c::crc32c(&packed)));
        stored += packed.len() as u64;
        at += n as u64;
    }
    let seek = record::encode_seek(&table);
    let new = New::small(Kind::Blob, object.0, object.0, length, 0, Vec::new());
    Ok(New { codec: Codec::Frames, crc: crc32c::crc32c(&seek), file: Some((file, stored)), tail: seek.into(), ..new })
}

/// The record of a body in memory: one frame, or many.
fn of_pieces(compressor: &mut zstd::bulk::Compressor<'_>, object: Digest, bytes: &[u8]) -> io::Result<New> {
    let length = bytes.len() as u64;
    if length <= ONE_FRAME_MAX {
        return Ok(framed(object, length, compressor.compress(bytes)?));
    }
    let (mut table, mut all) = (Vec::new(), Vec::new());
    for piece in bytes.chunks(usize::try_from(FRAME).map_err(io::Error::other)?) {
        let packed = compressor.compress(piece)?;
        table.push((u32::try_from(packed.len()).map_err(io::Error::other)?, crc32c::crc32c(&packed)));
        all.extend_from_slice(&packed);
    }
    let seek = record::encode_seek(&table);
    let new = New::small(Kind::Blob, object.0, object.0, length, 0, Vec::new());
    Ok(New { codec: Codec::Frames, crc: crc32c::crc32c(&seek), head: all.into(), tail: seek.into(), ..new })
}

/// The payload of a record that has one checksum for all of it; `None` when it does not verify.
pub(crate) fn payload(header: &Header, file: &dyn DiskFile, at: u64) -> io::Result<Option<Vec<u8>>> {
    let payload = read_vec(file, at, header.length)?;
    Ok((crc32c::crc32c(&payload) == header.crc).then_some(payload))
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
