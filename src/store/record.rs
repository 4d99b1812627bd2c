//! Every byte we put on disk: segment headers, record headers, footers, checksum tables, the payloads of small records.
//! Pure: bytes in, values out, and the other way round; nothing here panics on any input (`fuzz`). What META keeps of an
//! answer lives in `meta.rs`. The footer entry is 80 B here, since it also carries what the RAM
//! table needs, so that a start reads footers alone.

use crate::base::target::UrlKey;

/// Newest version of the format that this program reads and writes.
pub(crate) const VERSION: u32 = 1;
/// Length of a segment's header.
pub(crate) const SEGMENT_HEADER_BYTES: usize = 64;
pub(crate) const SEGMENT_HEADER: u64 = SEGMENT_HEADER_BYTES as u64;
/// Length of a record's header.
pub(crate) const HEADER_BYTES: usize = 80;
pub(crate) const HEADER: u64 = HEADER_BYTES as u64;
/// Records start at multiples of this.
pub(crate) const ALIGN: u64 = 8;
/// Raw bodies of [`BLOCK`] bytes and more start at multiples of this, so that they can be sent without copying.
pub(crate) const PAGE: u64 = 4096;
/// A raw body has one checksum for each block of this many bytes.
pub(crate) const BLOCK_BYTES: usize = 64 << 10;
pub(crate) const BLOCK: u64 = BLOCK_BYTES as u64;
/// Identity bytes in one frame of a framed body: one decodes in 0.3 ms and costs 9 % against a whole one.
pub(crate) const FRAME: u64 = 256 << 10;
/// One frame is used up to this length.
pub(crate) const ONE_FRAME_MAX: u64 = 1 << 20;
/// Longest payload of META, PIN, UNPIN and TOMB: header fields are limited to 64 KiB on the way in, twice that is generous.
pub(crate) const SMALL_MAX: u64 = 256 << 10;
/// Length of a footer's entry.
pub(crate) const ENTRY: usize = 80;
/// Length of a footer's last part, which is also the last part of a sealed segment.
pub(crate) const TRAILER: usize = 32;
/// Length of the fixed head of a PART's payload.
pub(crate) const PART_HEAD: usize = 48;

const MAGIC: [u8; 4] = *b"\x8eBR\x01";
const SEGMENT_MAGIC: [u8; 8] = *b"BULAKSEG";
const TRAILER_MAGIC: [u8; 8] = *b"BULAKEND";

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Kind {
    /// A body, named by the hash of its identity bytes.
    Blob = 1,
    /// A stored answer.
    Meta = 2,
    /// A pack keeps a URL.
    Pin = 3,
    /// It no longer does.
    Unpin = 4,
    /// A URL or one of its variants is forgotten.
    Tomb = 5,
    /// A zstd dictionary, named by the hash of its bytes; bodies with [`Codec::Dict`] point to it by number.
    Dict = 6,
    /// The list of a sealed segment's records.
    Footer = 8,
    /// Some bytes of a body that is not whole yet.
    Part = 9,
}

impl Kind {
    fn of(byte: u8) -> Option<Kind> {
        [Kind::Blob, Kind::Meta, Kind::Pin, Kind::Unpin, Kind::Tomb, Kind::Dict, Kind::Footer, Kind::Part]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// How a body is coded at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Codec {
    /// As it is; with a checksum table when it is [`BLOCK`] bytes long or longer.
    Raw = 0,
    /// One zstd frame with a content checksum.
    Zstd = 1,
    /// Independent zstd frames of [`FRAME`] identity bytes, then a seek table.
    Frames = 2,
    /// One zstd frame against the dictionary of number [`Header::base`].
    Dict = 3,
    /// The name of an older version (32 B), then one zstd frame against its identity bytes; that one is never a delta itself.
    Delta = 4,
}

impl Codec {
    /// All of them, in the order of their numbers.
    pub(crate) const ALL: [Codec; 5] = [Codec::Raw, Codec::Zstd, Codec::Frames, Codec::Dict, Codec::Delta];

    /// The codec of this number.
    pub(crate) fn of(byte: u8) -> Option<Codec> {
        Codec::ALL.into_iter().find(|codec| *codec as u8 == byte)
    }

    /// The name in statistics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Codec::Raw => "raw",
            Codec::Zstd => "zstd",
            Codec::Frames => "zstd_frames",
            Codec::Dict => "zstd_dict",
            Codec::Delta => "zstd_delta",
        }
    }
}

/// Flag: the payload starts on a page.
pub(crate) const PAGED: u16 = 1;
/// Flag: the payload ends in a table of checksums, and `crc` is the table's.
pub(crate) const TABLED: u16 = 2;
/// Flag: the night has tried every form for this body; this is the smallest.
pub(crate) const SETTLED: u16 = 4;
/// Flag of a FOOTER: written after a crash. A body that an answer of this segment leads to may never have arrived.
pub(crate) const MENDED: u16 = 8;

/// A record's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) codec: Codec,
    pub(crate) flags: u16,
    /// Global and strictly increasing; the newest wins.
    pub(crate) seq: u64,
    /// Payload bytes on disk.
    pub(crate) length: u64,
    /// Identity bytes of a BLOB or DICT; time of writing (µs) of others.
    pub(crate) extra: u64,
    /// blake3 of the identity bytes (BLOB, DICT) or the entry's key.
    pub(crate) key: [u8; 32],
    /// Number of the dictionary ([`Codec::Dict`]), else 0.
    pub(crate) base: u32,
    /// Checksum of the payload, or of its table.
    pub(crate) crc: u32,
}

impl Header {
    /// On disk, in a segment of the store `uuid`.
    pub(crate) fn encode(&self, uuid: &[u8; 16]) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[0..4].copy_from_slice(&MAGIC);
        out[4] = self.kind as u8;
        out[5] = self.codec as u8;
        out[6..8].copy_from_slice(&self.flags.to_le_bytes());
        out[8..16].copy_from_slice(&self.seq.to_le_bytes());
        out[16..24].copy_from_slice(&self.length.to_le_bytes());
        out[24..32].copy_from_slice(&self.extra.to_le_bytes());
        out[32..64].copy_from_slice(&self.key);
        out[64..68].copy_from_slice(&self.base.to_le_bytes());
        out[68..72].copy_from_slice(&self.crc.to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&out[..72]), uuid);
        out[72..76].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a header; `None` when it is not one of this store.
    pub(crate) fn decode(bytes: &[u8], uuid: &[u8; 16]) -> Option<Header> {
        let head = bytes.get(..HEADER_BYTES)?;
        if head[..4] != MAGIC || head[76..80] != [0; 4] {
            return None;
        }
        if crc32c::crc32c_append(crc32c::crc32c(&head[..72]), uuid) != u32_at(head, 72)? {
            return None;
        }
        Some(Header {
            kind: Kind::of(head[4])?,
            codec: Codec::of(head[5])?,
            flags: u16::from_le_bytes([head[6], head[7]]),
            seq: u64_at(head, 8)?,
            length: u64_at(head, 16)?,
            extra: u64_at(head, 24)?,
            key: head[32..64].try_into().ok()?,
            base: u32_at(head, 64)?,
            crc: u32_at(head, 68)?,
        })
    }

    /// Where the payload of a record at `at` starts.
    pub(crate) fn payload_at(&self, at: u64) -> u64 {
        let start = at.saturating_add(HEADER);
        if self.flags & PAGED == 0 { start } else { start.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX) }
    }

    /// Where the next record after one at `at` starts; `None` when the lengths are absurd.
    pub(crate) fn next_at(&self, at: u64) -> Option<u64> {
        self.payload_at(at).checked_add(self.length)?.checked_next_multiple_of(ALIGN)
    }

    /// Bytes of the body in a raw payload: what is before the checksum table.
    pub(crate) fn body_length(&self) -> Option<u64> {
        if self.flags & TABLED == 0 {
            return Some(self.length);
        }
        // length = body + 4 * ceil(body / BLOCK)
        let blocks = self.length.checked_add(BLOCK + 3)? / (BLOCK + 4);
        let body = self.length.checked_sub(blocks * 4)?;
        (body.div_ceil(BLOCK) == blocks).then_some(body)
    }
}

/// A segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) uuid: [u8; 16],
    pub(crate) number: u32,
    /// Time of making (µs).
    pub(crate) made: i64,
}

/// Why a segment's header cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadSegment {
    /// Not a segment, or damaged.
    Damaged,
    /// Written by a newer program.
    Newer(u32),
}

impl SegmentHeader {
    /// On disk.
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut out = [0; SEGMENT_HEADER_BYTES];
        out[0..8].copy_from_slice(&SEGMENT_MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[12..16].copy_from_slice(&self.number.to_le_bytes());
        out[16..32].copy_from_slice(&self.uuid);
        out[32..40].copy_from_slice(&self.made.to_le_bytes());
        let crc = crc32c::crc32c(&out[..60]);
        out[60..64].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a segment's header.
    pub(crate) fn decode(bytes: &[u8]) -> Result<SegmentHeader, BadSegment> {
        let head = bytes.get(..SEGMENT_HEADER_BYTES).ok_or(BadSegment::Damaged)?;
        if head[..8] != SEGMENT_MAGIC || Some(crc32c::crc32c(&head[..60])) != u32_at(head, 60) {
            return Err(BadSegment::Damaged);
        }
        let version = u32_at(head, 8).unwrap_or(0);
        if version != VERSION {
            return Err(BadSegment::Newer(version));
        }
        Ok(SegmentHeader {
            uuid: head[16..32].try_into().map_err(|_| BadSegment::Damaged)?,
            number: u32_at(head, 12).unwrap_or(0),
            made: u64_at(head, 32).unwrap_or(0).cast_signed(),
        })
    }
}

/// What a footer says of one record; the RAM table is built from these alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) kind: Kind,
    pub(crate) codec: Codec,
    /// The record's flags.
    pub(crate) flags: u16,
    /// Where the record starts.
    pub(crate) at: u64,
    pub(crate) seq: u64,
    /// BLOB, DICT: its name. Others: URL key and the first half of the entry's key (zero: all variants).
    pub(crate) key: [u8; 32],
    /// Payload bytes on disk.
    pub(crate) length: u64,
    /// BLOB, DICT: identity bytes. META: whole length. PART: total length.
    pub(crate) whole: u64,
    /// BLOB: number of its dictionary, or fingerprint of the body that it is a delta against (0: none). DICT: its number.
    /// META: fingerprint of the object's name (0: none). PART: offset. PIN, UNPIN: the set's number (0 in UNPIN with no URL: never).
    pub(crate) link: u64,
    /// When it was written (µs); 0 for BLOB.
    pub(crate) time: i64,
}

impl Line {
    /// The URL's key of other kinds than BLOB.
    pub(crate) fn url(&self) -> UrlKey {
        let mut key = [0; 16];
        key.copy_from_slice(&self.key[..16]);
        UrlKey(key)
    }

    /// The first half of the entry's key of other kinds than BLOB.
    pub(crate) fn entry(&self) -> [u8; 16] {
        let mut key = [0; 16];
        key.copy_from_slice(&self.key[16..]);
        key
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.kind as u8, self.codec as u8]);
        out.extend_from_slice(&self.flags.to_le_bytes());
        out.extend_from_slice(&u32::try_from(self.at / ALIGN).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&self.seq.to_le_bytes());
        out.extend_from_slice(&self.key);
        for word in [self.length, self.whole, self.link, self.time.cast_unsigned()] {
            out.extend_from_slice(&word.to_le_bytes());
        }
    }

    fn decode(bytes: &[u8]) -> Option<Line> {
        Some(Line {
            kind: Kind::of(*bytes.first()?)?,
            codec: Codec::of(*bytes.get(1)?)?,
            flags: u16::from_le_bytes([*bytes.get(2)?, *bytes.get(3)?]),
            at: u64::from(u32_at(bytes, 4)?) * ALIGN,
            seq: u64_at(bytes, 8)?,
            key: bytes.get(16..48)?.try_into().ok()?,
            length: u64_at(bytes, 48)?,
            whole: u64_at(bytes, 56)?,
            link: u64_at(bytes, 64)?,
            time: u64_at(bytes, 72)?.cast_signed(),
        })
    }
}

/// Where a key of other kinds than BLOB comes from.
pub(crate) fn pair(url: &UrlKey, entry: &[u8]) -> [u8; 32] {
    let mut key = [0; 32];
    key[..16].copy_from_slice(&url.0);
    let n = entry.len().min(16);
    key[16..16 + n].copy_from_slice(&entry[..n]);
    key
}

/// The payload of a FOOTER record that starts at `at`: the lines, then the trailer.
pub(crate) fn encode_footer(at: u64, lines: &[Line]) -> Vec<u8> {
    let mut out = Vec::with_capacity(lines.len() * ENTRY + TRAILER);
    for line in lines {
        line.encode(&mut out);
    }
    let crc = crc32c::crc32c(&out);
    let start = out.len();
    out.extend_from_slice(&TRAILER_MAGIC);
    out.extend_from_slice(&at.to_le_bytes());
    out.extend_from_slice(&u32::try_from(lines.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    let crc = crc32c::crc32c(&out[start..]);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// Reads the last [`TRAILER`] bytes of a sealed segment: where the footer's record starts and how many lines it has.
pub(crate) fn decode_trailer(bytes: &[u8]) -> Option<(u64, usize, u32)> {
    let tail = bytes.get(..TRAILER)?;
    if tail[..8] != TRAILER_MAGIC || crc32c::crc32c(&tail[..28]) != u32_at(tail, 28)? {
        return None;
    }
    Some((u64_at(tail, 8)?, u32_at(tail, 16)? as usize, u32_at(tail, 20)?))
}

/// Reads a footer's lines against the checksum of its trailer.
pub(crate) fn decode_lines(bytes: &[u8], crc: u32) -> Option<Vec<Line>> {
    if !bytes.len().is_multiple_of(ENTRY) || crc32c::crc32c(bytes) != crc {
        return None;
    }
    decode_some(bytes)
}

/// Reads some of a footer's lines; whoever reads a footer piece by piece keeps the checksum himself.
pub(crate) fn decode_some(bytes: &[u8]) -> Option<Vec<Line>> {
    bytes.chunks_exact(ENTRY).map(Line::decode).collect()
}

/// The fixed head of a PART's payload; the bytes follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PartHead {
    pub(crate) url: UrlKey,
    pub(crate) total: u64,
    pub(crate) offset: u64,
    /// First 8 bytes of the blake3 of the strong validator.
    pub(crate) validator: u64,
}

impl PartHead {
    /// On disk.
    pub(crate) fn encode(&self) -> [u8; PART_HEAD] {
        let mut out = [0; PART_HEAD];
        out[..16].copy_from_slice(&self.url.0);
        for (place, word) in [(16, self.total), (24, self.offset), (32, self.validator)] {
            out[place..place + 8].copy_from_slice(&word.to_le_bytes());
        }
        out
    }

    /// Reads the head of a PART's payload.
    pub(crate) fn decode(bytes: &[u8]) -> Option<PartHead> {
        let head = bytes.get(..PART_HEAD)?;
        Some(PartHead {
            url: UrlKey(head[..16].try_into().ok()?),
            total: u64_at(head, 16)?,
            offset: u64_at(head, 24)?,
            validator: u64_at(head, 32)?,
        })
    }
}

/// The payload of PIN and UNPIN: URL key (zero: the whole set), the set's number, its name.
pub(crate) fn encode_pin(url: &UrlKey, set: u64, name: &str) -> Vec<u8> {
    [&url.0[..], &set.to_le_bytes(), name.as_bytes()].concat()
}

/// Reads the payload of PIN and UNPIN.
pub(crate) fn decode_pin(bytes: &[u8]) -> Option<(UrlKey, u64)> {
    Some((UrlKey(bytes.get(..16)?.try_into().ok()?), u64_at(bytes, 16)?))
}

/// The set's name in the payload of PIN and UNPIN.
pub(crate) fn decode_pin_name(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes.get(24..)?).ok()
}

/// The checksum table of a raw body, as it stands at the payload's end.
pub(crate) fn encode_crcs(crcs: &[u32]) -> Vec<u8> {
    crcs.iter().flat_map(|crc| crc.to_le_bytes()).collect()
}

/// Reads a checksum table.
pub(crate) fn decode_crcs(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect()
}

/// The seek table of a framed body: (length, checksum) of each frame, then their number and the frame size.
pub(crate) fn encode_seek(frames: &[(u32, u32)]) -> Vec<u8> {
    let mut out: Vec<u8> = frames.iter().flat_map(|(length, crc)| [length.to_le_bytes(), crc.to_le_bytes()].concat()).collect();
    out.extend_from_slice(&u32::try_from(frames.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&u32::try_from(FRAME).unwrap_or(u32::MAX).to_le_bytes());
    out
}

/// The length of a seek table that ends in these 8 bytes, if the body has `identity` bytes.
pub(crate) fn seek_length(last: &[u8], identity: u64) -> Option<u64> {
    let (count, frame) = (u32_at(last, 0)?, u32_at(last, 4)?);
    (u64::from(frame) == FRAME && u64::from(count) == identity.div_ceil(FRAME)).then(|| u64::from(count) * 8 + 8)
}

/// Reads a seek table: (offset in the payload, length, checksum) of each frame. `None` unless they fill exactly `frames_length`.
pub(crate) fn decode_seek(bytes: &[u8], frames_length: u64) -> Option<Vec<(u64, u32, u32)>> {
    let table = bytes.get(..bytes.len().checked_sub(8)?)?;
    let mut at = 0_u64;
    let mut frames = Vec::with_capacity(table.len() / 8);
    for pair in table.chunks_exact(8) {
        let length = u32_at(pair, 0)?;
        frames.push((at, length, u32_at(pair, 4)?));
        at = at.checked_add(u64::from(length))?;
    }
    (at == frames_length).then_some(frames)
}

/// The first 8 bytes of a key as a number: the fingerprint that the RAM table keeps. Never 0, which means an empty place.
pub(crate) fn fingerprint(key: &[u8]) -> u64 {
    u64_at(key, 0).unwrap_or(0).max(1)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// Feeds arbitrary bytes to every decoder here; must never panic.
pub fn fuzz(bytes: &[u8]) {
    let uuid = [7; 16];
    if let Some(header) = Header::decode(bytes, &uuid) {
        assert_eq!(header.encode(&uuid)[..64], bytes[..64], "what is read is written back the same");
        let _ = (header.next_at(u64::MAX - 4096), header.body_length(), header.payload_at(64));
    }
    let _ = SegmentHeader::decode(bytes);
    let _ = decode_trailer(bytes);
    let _ = decode_lines(bytes, crc32c::crc32c(bytes));
    let _ = PartHead::decode(bytes);
    let _ = decode_pin(bytes);
    let _ = decode_crcs(bytes);
    let _ = decode_seek(bytes, bytes.len() as u64);
    let _ = seek_length(bytes, bytes.len() as u64);
    let _ = super::meta::decode(bytes);
    let _ = fingerprint(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(kind: Kind, flags: u16, length: u64) -> Header {
        Header { kind, codec: Codec::Raw, flags, seq: 9, length, extra: 100, key: [3; 32], base: 0, crc: 5 }
    }

    #[test]
    fn headers_read_back_and_any_flipped_bit_is_seen() {
        let uuid = [7; 16];
        let header = header(Kind::Meta, 0, 100);
        let bytes = header.encode(&uuid);
        assert_eq!(Header::decode(&bytes, &uuid), Some(header));
        assert_eq!(Header::decode(&bytes, &[8; 16]), None, "another store's");
        let segment = SegmentHeader { uuid, number: 4, made: -5 };
        let made = segment.encode();
        assert_eq!(SegmentHeader::decode(&made), Ok(segment));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&bad, &uuid), None, "bit {bit}");
        }
        for bit in 0..made.len() * 8 {
            let mut bad = made;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn payloads_are_placed_as_their_flags_say() {
        let small = header(Kind::Blob, 0, 5);
        assert_eq!((small.payload_at(64), small.next_at(64)), (144, Some(152)));
        let paged = header(Kind::Blob, PAGED | TABLED, BLOCK + 1 + 8);
        assert_eq!((paged.payload_at(64), paged.body_length()), (4096, Some(BLOCK + 1)));
        for body in [1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 17 * BLOCK + 5] {
            let length = body + body.div_ceil(BLOCK) * 4;
            assert_eq!(header(Kind::Blob, TABLED, length).body_length(), Some(body), "{body}");
        }
        assert_eq!(header(Kind::Blob, 0, u64::MAX).next_at(64), None);
    }

    #[test]
    fn footers_parts_pins_and_seek_tables_read_back() {
        let line =
            Line { kind: Kind::Part, codec: Codec::Raw, flags: 3, at: 64, seq: 2, key: [9; 32], length: 7, whole: 70, link: 8, time: 11 };
        let bytes = encode_footer(4096, &[line, line]);
        let (lines, tail) = bytes.split_at(bytes.len() - TRAILER);
        let (at, count, crc) = decode_trailer(tail).unwrap();
        assert_eq!((at, count), (4096, 2));
        assert_eq!(decode_lines(lines, crc), Some(vec![line, line]));
        let part = PartHead { url: UrlKey([1; 16]), total: 10, offset: 4, validator: 77 };
        assert_eq!(PartHead::decode(&part.encode()), Some(part));
        assert_eq!(decode_pin(&encode_pin(&UrlKey([2; 16]), 5, "set")), Some((UrlKey([2; 16]), 5)));
        let seek = encode_seek(&[(10, 1), (20, 2)]);
        assert_eq!(seek_length(&seek[seek.len() - 8..], FRAME + 1), Some(seek.len() as u64));
        assert_eq!(decode_seek(&seek, 30), Some(vec![(0, 10, 1), (10, 20, 2)]));
        assert_eq!(decode_seek(&seek, 31), None);
    }

    #[test]
    fn arbitrary_bytes_never_panic() {
        let uuid = [7; 16];
        let mut seeds: Vec<Vec<u8>> = vec![vec![], vec![0; 200], vec![255; 200], encode_footer(0, &[]), encode_seek(&[(1, 1)])];
        seeds.push(header(Kind::Part, TABLED, u64::MAX).encode(&uuid).to_vec());
        seeds.push(SegmentHeader { uuid, number: 1, made: 1 }.encode().to_vec());
        for seed in seeds {
            for cut in 0..=seed.len() {
                fuzz(&seed[..cut]);
                fuzz(&seed[cut..]);
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            fuzz(&bytes);
        }
    }
}
