//! Deltas: a body coded against the identity bytes of an older version (zstd's prefix mode). The payload is the older one's name
//! and one frame. The depth is one: an older version is never a delta itself, so that a read costs at most two bodies.
//!
//! # Why
//! The newer version points to the older, though the older is the first that nobody asks for: a version is then written once, when
//! it is new, and never again; the other way round each new version would rewrite the one before it, and every night the same
//! bytes wear the card. The price is small: decoding runs at the speed of an ordinary frame, the hot tier has what a class reads,
//! and an older version that stays for its deltas alone takes the place that the newer would need in full. When versions have
//! drifted so far that a delta is above 70 % of the frame, the newest is kept in full and is the base of those that follow.

use crate::base::digest::Digest;
use crate::store::disk::DiskFile;
use crate::store::pack::NIGHT_LEVEL;
use crate::store::read::{self, Source};
use crate::store::record::{Codec, Header, Kind, fingerprint};
use crate::store::segment::{Log, New};
use crate::store::table::Place;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Weak};
use zstd::zstd_safe::{CCtx, CParameter, DCtx, get_error_name};

/// Longest body that becomes a delta, and longest base: both are in memory while one is read. Scratch's own bundle, which every school
/// has in two versions some day, is 18.2 MB.
pub(crate) const OBJECT_MAX: u64 = 24 << 20;
/// Kept only when it takes less than this part of the plain form, in percent: it makes two bodies depend on each other.
const WORTH: usize = 70;
/// The base's name, before the frame.
const NAME: usize = 32;
/// From this length on, it is also tried with matches that are far away.
const LONG: usize = 1 << 20;
/// Bounds of the window, which covers base and body: zstd's least, and what a decoder takes without being asked.
const WINDOW_LOG: std::ops::RangeInclusive<u32> = 10..=27;
/// Names of decoded bodies that are kept in view, before those that are gone are cleared.
const IN_VIEW: usize = 64;

/// Whether a delta of this payload is worth it beside a plain form of `plain` bytes.
pub(crate) fn pays(payload: usize, plain: usize) -> bool {
    payload * 100 < plain * WORTH
}

/// The payload of a body against a base.
pub(crate) fn encode(name: &Digest, base: &[u8], bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut frame = encode_frame(base, bytes, false)?;
    if bytes.len() > LONG {
        let far = encode_frame(base, bytes, true)?;
        if far.len() < frame.len() {
            frame = far;
        }
    }
    Ok([&name.0[..], &frame].concat())
}

/// `far`: long-distance matching. It finds what has moved by megabytes, and takes the place of better matches near by: Scratch's
/// bundle (18 MB) takes 0.52 MB without it and 1.08 with it.
fn encode_frame(base: &[u8], bytes: &[u8], far: bool) -> io::Result<Vec<u8>> {
    let mut context = CCtx::try_create().ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
    let window = (base.len() + bytes.len()).next_power_of_two().ilog2().clamp(*WINDOW_LOG.start(), *WINDOW_LOG.end());
    for parameter in [
        CParameter::CompressionLevel(NIGHT_LEVEL),
        CParameter::WindowLog(window),
        CParameter::ChecksumFlag(true),
        CParameter::EnableLongDistanceMatching(far),
    ] {
        context.set_parameter(parameter).map_err(failed)?;
    }
    context.ref_prefix(base).map_err(failed)?;
    let mut frame = Vec::with_capacity(zstd::zstd_safe::compress_bound(bytes.len()));
    context.compress2(&mut frame, bytes).map_err(failed)?;
    Ok(frame)
}

fn failed(code: usize) -> io::Error {
    io::Error::other(get_error_name(code))
}

/// The body of a frame against a base; `None` when either is not what it should be.
pub(crate) fn apply(base: &[u8], frame: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut context = DCtx::try_create()?;
    context.ref_prefix(base).ok()?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length).ok()?;
    context.decompress(&mut bytes, frame).ok()?;
    (bytes.len() == length).then_some(bytes)
}

/// The base's name and the frame in a payload.
pub(crate) fn split(payload: &[u8]) -> Option<(Digest, &[u8])> {
    let (name, frame) = payload.split_at_checked(NAME)?;
    Some((Digest(name.try_into().ok()?), frame))
}

/// The record of a body as a delta.
pub(crate) fn record(object: Digest, length: u64, payload: Vec<u8>) -> New {
    let link = split(&payload).map_or(0, |(base, _)| fingerprint(&base.0));
    New { link, ..super::of_payload(object, length, Codec::Delta, payload) }
}

/// Bodies that someone is reading right now: a class that asks for one large file holds it once.
#[derive(Default)]
pub(crate) struct Open(Mutex<HashMap<[u8; 32], Weak<Vec<u8>>>>);

impl Open {
    fn find(&self, object: &Digest) -> Option<Arc<Vec<u8>>> {
        self.0.lock().get(&object.0).and_then(Weak::upgrade)
    }

    fn add(&self, object: &Digest, bytes: &Arc<Vec<u8>>) {
        let mut open = self.0.lock();
        if open.len() >= IN_VIEW {
            open.retain(|_, bytes| bytes.strong_count() > 0);
        }
        open.insert(object.0, Arc::downgrade(bytes));
    }
}

/// The body of a record with [`Codec::Delta`], verified by its name; `None` when it or its base is damaged or gone.
pub(crate) fn decode(log: &Log, header: &Header, file: &dyn DiskFile, at: u64) -> io::Result<Option<Arc<Vec<u8>>>> {
    let object = Digest(header.key);
    if let Some(bytes) = log.deltas.find(&object) {
        return Ok(Some(bytes));
    }
    let length = usize::try_from(header.extra.min(OBJECT_MAX)).map_err(io::Error::other)?;
    if header.extra > OBJECT_MAX || header.length > OBJECT_MAX {
        return Ok(None);
    }
    let Some(payload) = super::payload(header, file, at)? else { return Ok(None) };
    let Some((name, frame)) = split(&payload) else { return Ok(None) };
    let Some(base) = base(log, &name)? else { return Ok(None) };
    let Some(bytes) = apply(&base, frame, length).filter(|bytes| Digest::of(bytes) == object) else { return Ok(None) };
    let bytes = Arc::new(bytes);
    log.deltas.add(&object, &bytes);
    Ok(Some(bytes))
}

/// The identity bytes of a body that is no delta, verified; `None` when there is none that is whole and short enough.
pub(crate) fn base(log: &Log, name: &Digest) -> io::Result<Option<bytes::Bytes>> {
    let place = || log.table().read().blob(name).map(|blob| blob.place);
    let mut now = place();
    while let Some(at) = now {
        if let Some(source) = Source::base(log, at, name)?.filter(|source| source.length() <= OBJECT_MAX)
            && let Some(bytes) = read::all(source, name)?
        {
            return Ok(Some(bytes));
        }
        // Not there because it has just been moved: looked for once more.
        let next = place();
        now = if next == now { None } else { next };
    }
    Ok(None)
}

/// The name of the body at a place, if it begins as it should.
pub(crate) fn name_at(log: &Log, place: Place, print: u64) -> io::Result<Option<Digest>> {
    let name = match log.header(place, Kind::Blob) {
        Err(error) if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::NotFound) => None,
        read => read?.map(|(header, _)| Digest(header.key)),
    };
    Ok(name.filter(|name| fingerprint(&name.0) == print))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::kit::{noise, text};

    /// A newer version: a little is changed here and there.
    fn newer(old: &[u8]) -> Vec<u8> {
        let mut new = old.to_vec();
        for at in (1000..new.len()).step_by(20_000) {
            new.splice(at..at + 5, *b"changed here");
        }
        new
    }

    #[test]
    fn a_new_version_costs_little_and_needs_its_base() {
        for length in [5_000, 300_000, 3_000_000] {
            let old = text(1, length);
            let new = newer(&old);
            let name = Digest::of(&old);
            let payload = encode(&name, &old, &new).unwrap();
            assert!(payload.len() * 20 < new.len(), "{length}: {}", payload.len());
            let (base, frame) = split(&payload).unwrap();
            assert_eq!(base, name);
            assert_eq!(apply(&old, frame, new.len()).unwrap(), new);
            assert!(apply(&old[..old.len() - 1], frame, new.len()).is_none_or(|bytes| bytes != new));
            assert_eq!(apply(&old, frame, new.len() - 1), None, "does not fit");
            assert_eq!(apply(&old, &frame[..frame.len() - 1], new.len()), None);
        }
    }

    #[test]
    fn flipped_bits_never_give_other_bytes() {
        let old = text(2, 6_000);
        let new = newer(&old);
        let payload = encode(&Digest::of(&old), &old, &new).unwrap();
        let (_, frame) = split(&payload).unwrap();
        for bit in 0..frame.len() * 8 {
            let mut bad = frame.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(apply(&old, &bad, new.len()).is_none_or(|bytes| bytes == new), "bit {bit}");
        }
        for cut in 0..frame.len() {
            assert_eq!(apply(&old, &frame[..cut], new.len()), None, "cut at {cut}");
        }
        assert_eq!(apply(&[], &noise(1, 100), 50), None);
        assert!(split(&payload[..31]).is_none());
    }

    #[test]
    fn a_window_covers_what_it_must() {
        let (old, film) = (noise(5, 9 << 20), noise(5, 9 << 20));
        let payload = encode(&Digest::of(&old), &old, &film).unwrap();
        assert!(payload.len() < 20_000, "the whole of it lies 9 MiB back: {}", payload.len());
        assert_eq!(apply(&old, split(&payload).unwrap().1, film.len()).unwrap(), film);
        assert!(pays(69, 100) && !pays(70, 100));
    }
}
