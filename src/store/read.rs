//! Streaming out: whole small bodies verified by blake3, large ones block by block or frame by frame, each verified before it
//! is released, ranges without reading the rest. A body that does not verify is counted, dropped, and an error: never wrong
//! bytes. Disk work runs in the blocking pool, a piece at a time. Pieces that have been verified in the last day (`lend.rs`), lie as
//! they are in a sealed segment and are in the page cache are lent to who asks for it (`Body::lend`): a socket takes them unread.

use crate::base::body::{Body, BodyError, Lending};
use crate::base::digest::{Digest, Hasher};
use crate::store::disk::DiskFile;
use crate::store::keep::{LOOKS, half, is_of};
use crate::store::lend::{SegmentFile, Verified};
use crate::store::meta;
use crate::store::pack::{self, delta, dict};
use crate::store::record::{self, BLOCK, Codec, Header, Kind, PART_HEAD, PartHead};
use crate::store::segment::Log;
use crate::store::table::Place;
use crate::store::{Entry, Error, Inner};
use bytes::Bytes;
use futures_util::Stream;
use http_body::{Frame, SizeHint};
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Read and released at a time: one frame of a framed body, four blocks of a raw one.
pub(crate) const PIECE: u64 = record::FRAME;
/// Lent at a time at most, when all of it is sound and in memory: one call of sendfile then goes on as long as its reader keeps up. And no
/// more than has been taken so far, since who leaves early, as browsers do when somebody seeks, is counted as having taken his last piece.
const LENT: u64 = 8 * PIECE;
/// A body in one frame is never longer when decoded; a header that says so is damaged.
const ONE_FRAME_LIMIT: u64 = 4 * record::ONE_FRAME_MAX;

/// Where the bytes of a record come from.
pub(crate) enum Source {
    /// All in memory, verified.
    Memory(Bytes),
    /// Raw with a checksum for each block.
    Raw { file: Arc<dyn DiskFile>, at: u64, length: u64, crcs: Vec<u32>, skip: u64 },
    /// Frames with a seek table.
    Frames { file: Arc<dyn DiskFile>, at: u64, length: u64, seek: Vec<(u64, u32, u32)> },
}

/// What lies where a part should be.
pub(crate) enum Part {
    /// It does.
    Here(Source),
    /// Another record, or a damaged one.
    Gone,
    /// A sound part of another version.
    OfAnother,
}

impl Source {
    /// The body named `object` at `place`; `None` when it is not there or damaged, or what it is coded against is.
    pub(crate) fn blob(log: &Log, place: Place, object: &Digest) -> io::Result<Option<Source>> {
        Source::of_blob(log, place, object, true)
    }

    /// As [`Source::blob`], but `None` for a delta.
    pub(crate) fn base(log: &Log, place: Place, object: &Digest) -> io::Result<Option<Source>> {
        Source::of_blob(log, place, object, false)
    }

    fn of_blob(log: &Log, place: Place, object: &Digest, deltas: bool) -> io::Result<Option<Source>> {
        let Some((header, file)) = absent(log.header(place, Kind::Blob))? else { return Ok(None) };
        if header.key != object.0 {
            return Ok(None);
        }
        let at = header.payload_at(place.at);
        absent(match header.codec {
            Codec::Raw => Source::raw(&header, file, at, 0, header.extra),
            Codec::Zstd => Source::frame(&header, &*file, at),
            Codec::Frames => Source::frames(&header, file, at),
            Codec::Dict => dict::decode(log, &header, &*file, at).map(|bytes| bytes.map(|bytes| Source::Memory(bytes.into()))),
            Codec::Delta if deltas => {
                delta::decode(log, &header, &*file, at).map(|bytes| bytes.map(|bytes| Source::Memory(Bytes::from_owner(Shared(bytes)))))
            }
            Codec::Delta => Ok(None),
        })
    }

    /// The bytes of a part of this entry.
    pub(crate) fn part(log: &Log, place: Place, entry: &Entry, offset: u64, length: u64) -> io::Result<Part> {
        let Some((header, file)) = absent(log.header(place, Kind::Part))?.filter(|(header, _)| header.key == entry.meta.key.0) else {
            return Ok(Part::Gone);
        };
        let at = header.payload_at(place.at);
        let mut bytes = [0; PART_HEAD];
        let read = absent(file.read_at(&mut bytes, at).map(Some))?;
        let Some(head) = read.and_then(|()| PartHead::decode(&bytes)).filter(|head| head.offset == offset) else { return Ok(Part::Gone) };
        if (head.total, head.validator) != (entry.length, meta::validator(&entry.meta.headers)) {
            return Ok(Part::OfAnother);
        }
        Ok(absent(Source::raw(&header, file, at, PART_HEAD as u64, length))?.map_or(Part::Gone, Part::Here))
    }

    fn raw(header: &Header, file: Arc<dyn DiskFile>, at: u64, skip: u64, wanted: u64) -> io::Result<Option<Source>> {
        let Some(body) = header.body_length().filter(|body| body.checked_sub(skip) == Some(wanted)) else { return Ok(None) };
        let rest = read_vec(&*file, at + body, header.length - body)?;
        if header.flags & record::TABLED == 0 {
            let payload = if body < BLOCK { read_vec(&*file, at, body)? } else { return Ok(None) };
            let holds = crc32c::crc32c(&payload) == header.crc;
            return Ok(holds.then(|| Source::Memory(Bytes::from(payload).slice(usize::try_from(skip).unwrap_or(0)..))));
        }
        let holds = crc32c::crc32c(&rest) == header.crc;
        Ok(holds.then(|| Source::Raw { file, at, length: wanted, crcs: record::decode_crcs(&rest), skip }))
    }

    fn frame(header: &Header, file: &dyn DiskFile, at: u64) -> io::Result<Option<Source>> {
        if header.extra > ONE_FRAME_LIMIT || header.length > ONE_FRAME_LIMIT {
            return Ok(None);
        }
        let payload = pack::payload(header, file, at)?;
        Ok(payload.and_then(|payload| decode(&payload, header.extra)).map(Source::Memory))
    }

    fn frames(header: &Header, file: Arc<dyn DiskFile>, at: u64) -> io::Result<Option<Source>> {
        let Some(last) = header.length.checked_sub(8) else { return Ok(None) };
        let mut tail = [0; 8];
        file.read_at(&mut tail, at + last)?;
        let Some(length) = record::seek_length(&tail, header.extra).filter(|length| *length <= header.length) else { return Ok(None) };
        let table = read_vec(&*file, at + header.length - length, length)?;
        let seek = if crc32c::crc32c(&table) == header.crc { record::decode_seek(&table, header.length - length) } else { None };
        Ok(seek.map(|seek| Source::Frames { file, at, length: header.extra, seek }))
    }

    /// Bytes in all.
    pub(crate) fn length(&self) -> u64 {
        match self {
            Source::Memory(bytes) => bytes.len() as u64,
            Source::Raw { length, .. } | Source::Frames { length, .. } => *length,
        }
    }

    /// Verified bytes from `from`, at least one and at most up to `to` (both within the length, `from < to`) and about
    /// [`PIECE`]. `None` when they are damaged.
    pub(crate) fn read(&self, from: u64, to: u64) -> io::Result<Option<Bytes>> {
        match self {
            Source::Memory(bytes) => Ok(cut(bytes, from, to.min(from + PIECE))),
            Source::Raw { file, at, length, crcs, skip } => {
                let (from, to) = (from + skip, (to + skip).min(from + skip + PIECE));
                let start = from / BLOCK * BLOCK;
                let end = to.div_ceil(BLOCK).saturating_mul(BLOCK).min(length + skip);
                let Some(bytes) = absent(read_vec(&**file, at + start, end - start).map(Some))? else { return Ok(None) };
                let first = usize::try_from(start / BLOCK).unwrap_or(usize::MAX);
                let mut blocks = bytes.chunks(usize::try_from(BLOCK).unwrap_or(1)).enumerate();
                if !blocks.all(|(n, block)| crcs.get(first + n) == Some(&crc32c::crc32c(block))) {
                    return Ok(None);
                }
                Ok(cut(&Bytes::from(bytes), from - start, to - start))
            }
            Source::Frames { file, at, length, seek } => {
                let number = from / record::FRAME;
                let Some((start, stored, crc)) = usize::try_from(number).ok().and_then(|number| seek.get(number)) else { return Ok(None) };
                let begin = number * record::FRAME;
                let end = (begin + record::FRAME).min(*length);
                if u64::from(*stored) > 2 * record::FRAME {
                    return Ok(None);
                }
                let Some(bytes) = absent(read_vec(&**file, at + start, u64::from(*stored)).map(Some))? else { return Ok(None) };
                let frame = if crc32c::crc32c(&bytes) == *crc { decode(&bytes, end - begin) } else { None };
                Ok(frame.and_then(|frame| cut(&frame, from - begin, to.min(end) - begin)))
            }
        }
    }
}

/// Bytes that several readers hold.
struct Shared(Arc<Vec<u8>>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A record that ends before its time is damaged, not a failing disk.
fn absent<T>(read: io::Result<Option<T>>) -> io::Result<Option<T>> {
    match read {
        Err(error) if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::NotFound) => Ok(None),
        read => read,
    }
}

pub(crate) fn read_vec(file: &dyn DiskFile, at: u64, length: u64) -> io::Result<Vec<u8>> {
    // Reads past the end fail before so much memory is touched; headers are verified, so this is a belt only.
    if length > 64 << 20 {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
    }
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_at(&mut bytes, at)?;
    Ok(bytes)
}

fn decode(frame: &[u8], length: u64) -> Option<Bytes> {
    let decoded = zstd::bulk::decompress(frame, usize::try_from(length).ok()?).ok()?;
    (decoded.len() as u64 == length).then(|| Bytes::from(decoded))
}

fn cut(bytes: &Bytes, from: u64, to: u64) -> Option<Bytes> {
    let (from, to) = (usize::try_from(from).ok()?, usize::try_from(to).ok()?.min(bytes.len()));
    (from < to).then(|| bytes.slice(from..to))
}

/// A whole body in memory, verified by its name. Blocking; only for bodies that the caller knows to be small.
pub(crate) fn whole(log: &Log, place: Place, object: &Digest, length: u64) -> io::Result<Option<Bytes>> {
    match Source::blob(log, place, object)?.filter(|source| source.length() == length) {
        Some(source) => all(source, object),
        None => Ok(None),
    }
}

/// All bytes of a source, verified by the body's name. Blocking; only for bodies that the caller knows to be small.
pub(crate) fn all(source: Source, object: &Digest) -> io::Result<Option<Bytes>> {
    let bytes = if let Source::Memory(bytes) = source {
        bytes
    } else {
        let length = source.length();
        let mut all = Vec::with_capacity(usize::try_from(length).map_err(io::Error::other)?);
        while (all.len() as u64) < length {
            let Some(piece) = source.read(all.len() as u64, length)? else { return Ok(None) };
            all.extend_from_slice(&piece);
        }
        Bytes::from(all)
    };
    Ok((Digest::of(&bytes) == *object).then_some(bytes))
}

/// Opens a stream of a part of an entry's body; the range lies within what is here.
pub(crate) async fn read(inner: &Arc<Inner>, entry: &Arc<Entry>, range: Option<Range<u64>>) -> Result<Body, Error> {
    let range = range.unwrap_or(0..entry.length);
    if range.start >= range.end {
        return Ok(Body::Empty);
    }
    if !entry.have.iter().any(|have| have.start <= range.start && range.end <= have.end) {
        return Err(Error::Disk(io::Error::from(io::ErrorKind::InvalidInput)));
    }
    if let Some(body) = &entry.body {
        return Ok(cut(body, range.start, range.end).map_or(Body::Empty, Body::full));
    }
    let small = entry.length <= inner.settings.hot_object.0;
    if let (Some(object), true) = (entry.object, small) {
        let (entry, wanted) = (Arc::clone(entry), range.clone());
        let bytes = inner.run(move |inner| inner.body(&entry.meta.url, &object, entry.length)).await?;
        return Ok(cut(&bytes, wanted.start, wanted.end).map_or(Body::Empty, Body::full));
    }
    let hasher = (entry.object.is_some() && range == (0..entry.length)).then(Hasher::default);
    let left = range.end - range.start;
    let lending = Lending::default();
    let loan = Loan { lending: lending.clone(), taken: 0, verified: None, body: None };
    let reader = Reader { entry: Arc::clone(entry), at: range.start, end: range.end, source: None, hasher, loan };
    // The first piece now, so that damage is a miss and not a broken answer.
    let (first, reader) = inner.run(move |inner| reader.step(inner)).await?;
    let state = (Arc::clone(inner), Some(reader));
    let rest = futures_util::stream::unfold(state, |(inner, reader)| async move {
        let mut reader = reader.filter(|reader| reader.at < reader.end)?;
        if let Some(bytes) = reader.lend(&inner) {
            return Some((Ok(bytes), (inner, Some(reader))));
        }
        match inner.run(move |inner| reader.step(inner)).await {
            Ok((bytes, reader)) => Some((Ok(bytes), (inner, Some(reader)))),
            Err(error) => Some((Err(error), (inner, None))),
        }
    });
    Ok(Body::lendable(Pieces { first: Some(first), rest: Box::pin(rest), left }, Some(lending)))
}

/// Reads on and on.
struct Reader {
    entry: Arc<Entry>,
    at: u64,
    end: u64,
    /// Where byte 0 of the source lies in the body, the source, and where that is on disk.
    source: Option<(u64, Source, Place)>,
    hasher: Option<Hasher>,
    loan: Loan,
}

/// What a reader lends instead of reading it.
struct Loan {
    lending: Lending,
    /// Bytes that have been handed out, read or lent.
    taken: u64,
    /// What is known of the body, when it is whole and lies as it is.
    verified: Option<Arc<Verified>>,
    /// The body, mapped when the first piece is lent.
    body: Option<Bytes>,
}

impl Reader {
    /// The next piece without reading it, when that is wanted, sound, and takes no waiting for a disk.
    fn lend(&mut self, inner: &Inner) -> Option<Bytes> {
        let arena = inner.hot.bodies().filter(|_| self.loan.lending.wanted())?;
        let (Some((0, Source::Raw { file, at, length, skip: 0, .. }, _)), Some(verified)) = (&self.source, &self.loan.verified) else {
            return None;
        };
        let pieces = [self.loan.taken.clamp(PIECE, LENT), PIECE].map(|most| self.at..self.end.min(self.at + most));
        let sound = |piece: &Range<u64>| piece.end <= *length && verified.holds(piece, self.hasher.is_some());
        if !sound(&pieces[1]) {
            return None;
        }
        if self.loan.body.is_none() {
            match arena.lend(SegmentFile::of(file)?, *at..at + length) {
                Ok(body) => self.loan.body = Some(body),
                Err(error) => {
                    tracing::debug!(%error, "a body cannot be mapped and is read");
                    self.loan.verified = None;
                    return None;
                }
            }
        }
        let (body, now) = (self.loan.body.as_ref()?, inner.clock.steady());
        let (end, bytes) = pieces.into_iter().filter(sound).find_map(|piece| {
            let bytes = cut(body, piece.start, piece.end)?;
            if !verified.is_present(&piece, now) {
                if !arena.resident(&bytes) {
                    return None;
                }
                verified.note_present(&piece, now);
            }
            Some((piece.end, bytes))
        })?;
        // Its name has been compared before.
        self.hasher = None;
        self.loan.taken += bytes.len() as u64;
        self.at = end;
        Some(bytes)
    }

    fn step(mut self, inner: &Inner) -> Result<(Bytes, Reader), Error> {
        for _ in 0..LOOKS {
            if self.source.as_ref().is_none_or(|(base, source, _)| self.at >= base + source.length()) {
                self.source = self.open(inner)?;
                (self.loan.verified, self.loan.body) = (self.known(inner), None);
            }
            // Evicted or forgotten meanwhile, or just dropped.
            let Some((base, source, place)) = &self.source else { return Err(Error::Damaged) };
            let Some(piece) = source.read(self.at - base, (self.end - base).min(source.length()))? else {
                if self.damaged(inner, *place) {
                    return Err(Error::Damaged);
                }
                // Another copy is there by now.
                self.source = None;
                continue;
            };
            let at = self.at + piece.len() as u64;
            if let Some(verified) = &self.loan.verified {
                verified.note(&(self.at..at));
                verified.note_present(&(self.at..at), inner.clock.steady());
            }
            if let (Some(hasher), Some(object)) = (&mut self.hasher, self.entry.object) {
                hasher.update(&piece);
                if at == self.end {
                    if hasher.finish() != object {
                        self.damaged(inner, *place);
                        return Err(Error::Damaged);
                    }
                    if let Some(verified) = &self.loan.verified {
                        verified.note_whole();
                    }
                }
            }
            self.loan.taken += piece.len() as u64;
            self.at = at;
            return Ok((piece, self));
        }
        Err(Error::Damaged)
    }

    /// What has been verified of the body that is open.
    fn known(&self, inner: &Inner) -> Option<Arc<Verified>> {
        match (&self.source, self.entry.object) {
            (Some((0, Source::Raw { length, skip: 0, .. }, place)), Some(object)) if inner.log.is_done(place.segment) => {
                Some(inner.verified.of(&object, *place, *length, inner.clock.steady()))
            }
            _ => None,
        }
    }

    /// `None` when it is not there any more; damage is noted.
    fn open(&self, inner: &Inner) -> io::Result<Option<(u64, Source, Place)>> {
        let key = self.entry.meta.key;
        if let Some(object) = self.entry.object {
            return self.whole(inner, &object);
        }
        let half = half(&key);
        let span = || {
            inner.log.table().read().parts(&half).filter(|parts| parts.total == self.entry.length).and_then(|parts| parts.holding(self.at))
        };
        while let Some(now) = span() {
            match Source::part(&inner.log, now.place, &self.entry, now.offset, now.length)? {
                Part::Here(source) => return Ok(Some((now.offset, source, now.place))),
                // The file has changed while it was read: what has come of the old one is all of it.
                Part::OfAnother => {
                    inner.disown_parts(&self.entry)?;
                    return Ok(None);
                }
                Part::Gone => {}
            }
            // When it is not there because it has just been replaced or moved, its successor is looked for.
            if span() == Some(now) && self.damaged(inner, now.place) {
                return Ok(None);
            }
        }
        // The parts have become a whole object meanwhile.
        let url = super::recover::url_key(&self.entry.meta.url);
        let now = inner.entry_now(&url, &key)?;
        match now.filter(|now| is_of(&self.entry, now)).and_then(|now| now.object) {
            Some(object) => self.whole(inner, &object),
            None => Ok(None),
        }
    }

    fn whole(&self, inner: &Inner, object: &Digest) -> io::Result<Option<(u64, Source, Place)>> {
        for _ in 0..LOOKS {
            let Some(blob) = inner.log.table().read().blob(object) else { return Ok(None) };
            if let Some(source) = Source::blob(&inner.log, blob.place, object)?.filter(|source| source.length() == self.entry.length) {
                return Ok(Some((0, source, blob.place)));
            }
            if inner.drop_body(object, blob.place) {
                inner.hot.remove(&super::recover::url_key(&self.entry.meta.url));
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// What is at `place` does not verify. Whether that still is where the body is.
    fn damaged(&self, inner: &Inner, place: Place) -> bool {
        match &self.entry.object {
            Some(object) => {
                inner.hot.remove(&super::recover::url_key(&self.entry.meta.url));
                inner.drop_body(object, place)
            }
            None => inner.drop_part(&self.entry.meta.url, &self.entry.meta.key, place),
        }
    }
}

/// The stream as a body of known length.
struct Pieces<S> {
    first: Option<Bytes>,
    rest: Pin<Box<S>>,
    left: u64,
}

impl<S: Stream<Item = Result<Bytes, Error>>> http_body::Body for Pieces<S> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let next = match self.first.take() {
            Some(first) => Poll::Ready(Some(Ok(first))),
            None => self.rest.as_mut().poll_next(cx),
        };
        next.map(|piece| {
            piece.map(|piece| {
                let bytes = piece.map_err(BodyError::from)?;
                self.left = self.left.saturating_sub(bytes.len() as u64);
                Ok(Frame::data(bytes))
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
