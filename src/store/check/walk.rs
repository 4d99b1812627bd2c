//! One segment, record by record: the footer against the headers, small payloads by their checksum, padding that must be zero. When
//! anything disagrees every byte of the segment is read, and what verifies counts.

use crate::store::disk::{DiskFile, is_unreadable};
use crate::store::meta;
use crate::store::record::{self, HEADER, HEADER_BYTES, Header, Kind, Line, SMALL_MAX, fingerprint, pair};
use crate::store::recover::{self, Found, url_key};
use crate::store::segment::Lane;
use std::io;

/// What stands in a segment.
pub(super) struct Walked {
    /// Records that verify; of long ones that were not read, the header does.
    pub(super) lines: Vec<Line>,
    /// Records that do not, as far as something tells of them.
    pub(super) bad: Vec<Line>,
    /// Damaged places of which nothing tells what they were.
    pub(super) lost: u64,
    /// Bytes that the medium does not give.
    pub(super) unreadable: u64,
    /// Where the record after the last valid one would start.
    pub(super) end: u64,
    /// What can be mended: an unsealed segment, a footer, padding.
    pub(super) why: Option<&'static str>,
}

/// Reads a segment. `deep` also reads parts, which nothing else verifies.
pub(super) fn walk(file: &dyn DiskFile, found: &Found, uuid: &[u8; 16], footer: Option<&[Line]>, deep: bool) -> io::Result<Walked> {
    let mut padding = false;
    if let Some(lines) = footer {
        let agrees = match steps(file, found.length, uuid, lines) {
            // A scan finds what can still be read.
            Err(error) if is_unreadable(&error) => Agrees::Not,
            agrees => agrees?,
        };
        match agrees {
            Agrees::All if deep && found.lane == Lane::Parts => {}
            Agrees::All => {
                let end = end_of(found.length, lines.len());
                return Ok(Walked { lines: lines.to_vec(), bad: Vec::new(), lost: 0, unreadable: 0, end, why: None });
            }
            Agrees::ButPadding => padding = true,
            Agrees::Not => {}
        }
    }
    let (mut lines, mut bad) = (Vec::new(), Vec::new());
    let scan = recover::scan_around(file, found.length, uuid, |line, _, holds, _| if holds { lines.push(line) } else { bad.push(line) })?;
    let mut lost = scan.damaged.saturating_sub(bad.len() as u64);
    if let Some(told) = footer {
        // The footer still tells what stood where a header is damaged.
        let known = |line: &&Line| !lines.iter().chain(&bad).any(|seen: &Line| seen.at == line.at && seen.seq == line.seq);
        let more: Vec<Line> = told.iter().filter(known).copied().collect();
        lost = lost.saturating_sub(more.len() as u64);
        bad.extend(more);
    }
    let why = match &footer {
        // What cannot be read now may be read another day: nothing is written over it.
        _ if scan.unreadable > 0 => None,
        _ if !found.sealed => Some("was not sealed"),
        None => Some("has a damaged footer"),
        Some(told) if bad.is_empty() && lost == 0 && !agree(told, &lines) => Some("has a footer that does not agree with its records"),
        Some(_) if padding => Some("has stray bytes between its records"),
        Some(_) => None,
    };
    Ok(Walked { lines, bad, lost, unreadable: scan.unreadable, end: scan.end, why })
}

/// Whether a footer says what a scan found.
fn agree(told: &[Line], found: &[Line]) -> bool {
    let same = |(told, found): (&Line, &Line)| flags_agree(told.flags, found.flags) && *told == Line { flags: told.flags, ..*found };
    told.len() == found.len() && told.iter().zip(found).all(same)
}

/// The first footers told no flags.
fn flags_agree(told: u16, found: u16) -> bool {
    told == found || told == 0
}

/// How far records and footer agree.
#[derive(PartialEq, Eq)]
enum Agrees {
    All,
    ButPadding,
    Not,
}

fn end_of(length: u64, lines: usize) -> u64 {
    length.saturating_sub(HEADER + (lines * record::ENTRY + record::TRAILER) as u64)
}

/// Steps from header to header without reading bodies.
fn steps(file: &dyn DiskFile, length: u64, uuid: &[u8; 16], lines: &[Line]) -> io::Result<Agrees> {
    let (mut at, mut clean) = (record::SEGMENT_HEADER, true);
    let mut seqs: Vec<u64> = lines.iter().map(|line| line.seq).collect();
    seqs.sort_unstable();
    if seqs.windows(2).any(|pair| pair[0] == pair[1]) {
        return Ok(Agrees::Not);
    }
    for line in lines {
        let mut bytes = [0; HEADER_BYTES];
        if line.at != at || !read(file, &mut bytes, at)? {
            return Ok(Agrees::Not);
        }
        let Some((header, next)) = Header::decode(&bytes, uuid).and_then(|header| Some((header, header.next_at(at)?))) else {
            return Ok(Agrees::Not);
        };
        if next > length || !tells(line, &header) || !small_holds(file, line, &header)? {
            return Ok(Agrees::Not);
        }
        let start = header.payload_at(at);
        clean &= is_zero(file, at + HEADER, start)? && is_zero(file, start + header.length, next)?;
        at = next;
    }
    // The footer's own record stands behind the last one.
    let mut bytes = [0; HEADER_BYTES];
    clean &= read(file, &mut bytes, at)? && Header::decode(&bytes, uuid).is_some_and(|header| header.kind == Kind::Footer);
    Ok(match (at == end_of(length, lines.len()), clean) {
        (false, _) => Agrees::Not,
        (true, false) => Agrees::ButPadding,
        (true, true) => Agrees::All,
    })
}

/// Writes zeros where padding is not zero.
pub(super) fn clean(file: &dyn DiskFile, uuid: &[u8; 16], lines: &[Line]) -> io::Result<()> {
    for line in lines {
        let mut bytes = [0; HEADER_BYTES];
        file.read_at(&mut bytes, line.at)?;
        let Some((header, next)) = Header::decode(&bytes, uuid).and_then(|header| Some((header, header.next_at(line.at)?))) else {
            continue;
        };
        let start = header.payload_at(line.at);
        for (from, to) in [(line.at + HEADER, start), (start + header.length, next)] {
            if !is_zero(file, from, to)? {
                file.write_at(&vec![0; usize::try_from(to.saturating_sub(from)).map_err(io::Error::other)?], from)?;
            }
        }
    }
    Ok(())
}

fn read(file: &dyn DiskFile, into: &mut [u8], at: u64) -> io::Result<bool> {
    match file.read_at(into, at) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        done => done.map(|()| true),
    }
}

/// At most a page.
fn is_zero(file: &dyn DiskFile, from: u64, to: u64) -> io::Result<bool> {
    let mut bytes = vec![0; usize::try_from(to.saturating_sub(from)).map_err(io::Error::other)?];
    Ok(read(file, &mut bytes, from)? && bytes.iter().all(|byte| *byte == 0))
}

/// Whether a footer's line speaks of this header.
fn tells(line: &Line, header: &Header) -> bool {
    let length = if header.kind == Kind::Part { header.body_length() } else { Some(header.length) };
    let same = (line.kind, line.codec, line.seq) == (header.kind, header.codec, header.seq) && flags_agree(line.flags, header.flags);
    let named = match header.kind {
        Kind::Blob | Kind::Dict => line.key == header.key && line.whole == header.extra,
        Kind::Meta | Kind::Part => line.key[16..] == header.key[..16],
        Kind::Pin | Kind::Unpin | Kind::Tomb => line.key == header.key,
        Kind::Footer => false,
    };
    same && named && Some(line.length) == length
}

/// Whether a small record's payload verifies and says what its line says. Long ones are the business of the deep check.
fn small_holds(file: &dyn DiskFile, line: &Line, header: &Header) -> io::Result<bool> {
    if matches!(header.kind, Kind::Blob | Kind::Part) {
        return Ok(true);
    }
    if header.length > SMALL_MAX {
        return Ok(false);
    }
    let mut payload = vec![0; usize::try_from(header.length).map_err(io::Error::other)?];
    if !read(file, &mut payload, header.payload_at(line.at))? || crc32c::crc32c(&payload) != header.crc {
        return Ok(false);
    }
    Ok(match header.kind {
        Kind::Meta => meta::decode(&payload).is_some_and(|kept| {
            let link = kept.object.map_or(0, |object| fingerprint(&object.0));
            line.key == pair(&url_key(&kept.meta.url), &kept.meta.key.0) && (line.link, line.whole) == (link, kept.length)
        }),
        Kind::Pin | Kind::Unpin => record::decode_pin(&payload).is_some_and(|(_, set)| set == line.link),
        _ => true,
    })
}
