//! Dictionaries: one for the small bodies of one kind of one site. A body then costs what it does not share with its sisters: pages
//! of one site take 1.8 times less (store.md section 2). A dictionary is a record of its own, with a number; bodies point to it.
//! Those that bodies were read with lately stay loaded.

use crate::base::digest::Digest;
use crate::store::disk::DiskFile;
use crate::store::record::{Codec, Header, Kind};
use crate::store::segment::{Log, New};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use zstd::bulk::{Compressor, Decompressor};
use zstd::dict::DecoderDictionary;

/// Longest body that is coded with a dictionary: a longer one has enough in itself to refer to.
pub(crate) const OBJECT_MAX: u64 = 32 << 10;
/// A header that says that such a body is longer than this is damaged.
const OBJECT_LIMIT: u64 = 1 << 20;
/// Longest dictionary: zstd's own default is 110 KiB.
pub(crate) const DICT_MAX: usize = 112 << 10;
/// Shortest that is trained: below, a page's frame is not filled.
const DICT_LEAST: usize = 64 << 10;
/// A dictionary is this part of what it is trained from, between the two: zstd asks for a hundred times, a tenth still pays.
const PART_OF_SAMPLES: usize = 10;
/// Level of what is coded with one. On 1,062 pages of one manual: 9 leaves 16.6 % at 19 MB/s, 12 16.2 % at 11, 15 15.6 % at 4, 19
/// 15.5 % at 2.7 (one core of a PC); only what is short comes here, and only at night.
const LEVEL: i32 = 15;
/// Level at which a dictionary itself is kept: it is written once and has 112 KiB at most.
const OWN_LEVEL: i32 = 19;
/// Dictionaries loaded at a time: 64 of 112 KiB and their tables (27 KiB) are 9 MiB.
const LOADED: usize = 64;
/// Dictionaries that one kind of one site can have beside each other, as it changes over the years.
const GENERATIONS: u32 = 16;

/// What kind of text a body is; a dictionary is for one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    Html,
    Script,
    Style,
    Json,
    Other,
}

impl Class {
    /// By content type; `None` for media.
    pub(crate) fn of(content_type: Option<&str>) -> Option<Class> {
        let kind = content_type.unwrap_or("").split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        if super::is_media(&kind) {
            return None;
        }
        Some(match kind.as_str() {
            "text/html" | "application/xhtml+xml" => Class::Html,
            "text/css" => Class::Style,
            _ if kind.ends_with("javascript") || kind.ends_with("ecmascript") => Class::Script,
            _ if kind.ends_with("json") => Class::Json,
            _ => Class::Other,
        })
    }
}

/// The numbers that the dictionaries of one kind of one site may have, the oldest first. Two sites in 2^28 share them, which costs
/// a try and no more: a body says which one it was coded with.
pub(crate) fn numbers(host: &str, class: Class) -> impl DoubleEndedIterator<Item = u32> + use<> {
    let name = Digest::of(format!("{host}\n{class:?}").as_bytes());
    let first = u32::from_le_bytes([name.0[0], name.0[1], name.0[2], name.0[3]]) & !(GENERATIONS - 1);
    (1..GENERATIONS).map(move |generation| first | generation)
}

/// A dictionary that can code, with contexts of its own: they know it already when the next body comes.
pub(crate) struct Dictionary {
    pub(crate) number: u32,
    compressor: Compressor<'static>,
    decompressor: Decompressor<'static>,
}

impl Dictionary {
    /// Out of its bytes.
    pub(crate) fn new(number: u32, bytes: &[u8]) -> io::Result<Dictionary> {
        let mut compressor = Compressor::with_dictionary(LEVEL, bytes)?;
        compressor.set_parameter(zstd::zstd_safe::CParameter::ChecksumFlag(true))?;
        compressor.set_parameter(zstd::zstd_safe::CParameter::DictIdFlag(false))?;
        Ok(Dictionary { number, compressor, decompressor: Decompressor::with_dictionary(bytes)? })
    }

    /// The dictionary of this number, if it is here and whole.
    pub(crate) fn load(log: &Log, number: u32) -> io::Result<Option<Dictionary>> {
        bytes(log, number)?.map(|bytes| Dictionary::new(number, &bytes)).transpose()
    }

    /// One frame against it. The frame does not name the dictionary: the record does.
    pub(crate) fn encode(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        self.compressor.compress(bytes)
    }

    /// What a frame was made of; `None` when it was not made with this dictionary, or is damaged.
    pub(crate) fn decode(&mut self, frame: &[u8], length: u64) -> Option<Vec<u8>> {
        decode_with(&mut self.decompressor, frame, length)
    }
}

fn decode_with(decompressor: &mut Decompressor<'_>, frame: &[u8], length: u64) -> Option<Vec<u8>> {
    let length = usize::try_from(length).ok()?;
    let decoded = decompressor.decompress(frame, length).ok()?;
    (decoded.len() == length).then_some(decoded)
}

/// Trains a dictionary; `None` when the samples have nothing in common.
pub(crate) fn train(samples: &[impl AsRef<[u8]>]) -> Option<Vec<u8>> {
    let all: usize = samples.iter().map(|sample| sample.as_ref().len()).sum();
    let size = (all / PART_OF_SAMPLES).clamp(DICT_LEAST, DICT_MAX);
    zstd::dict::from_samples(samples, size).ok()
}

/// The record of a dictionary.
pub(crate) fn record(number: u32, bytes: &[u8]) -> io::Result<New> {
    let (name, payload) = (Digest::of(bytes).0, super::compressor(OWN_LEVEL)?.compress(bytes)?);
    let new = New::small(Kind::Dict, name, name, bytes.len() as u64, u64::from(number), payload);
    Ok(New { codec: Codec::Zstd, base: number, ..new })
}

/// The bytes of a dictionary, verified by its name; `None` when it is not here or damaged.
fn bytes(log: &Log, number: u32) -> io::Result<Option<Vec<u8>>> {
    let place = || log.table().read().dict(number);
    let mut now = place();
    while let Some(at) = now {
        let read = match log.small(at, Kind::Dict) {
            Err(error) if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::NotFound) => None,
            read => read?,
        };
        if let Some(bytes) = read.and_then(|(header, payload)| verified(number, &header, &payload)) {
            return Ok(Some(bytes));
        }
        // Not there because it has just been moved: looked for once more.
        let next = place();
        now = if next == now { None } else { next };
    }
    Ok(None)
}

fn verified(number: u32, header: &Header, payload: &[u8]) -> Option<Vec<u8>> {
    let length = usize::try_from(header.extra).ok().filter(|length| *length <= DICT_MAX && header.base == number)?;
    let bytes = match header.codec {
        Codec::Raw => payload.to_vec(),
        Codec::Zstd => zstd::bulk::decompress(payload, length).ok()?,
        Codec::Frames | Codec::Dict | Codec::Delta => return None,
    };
    (bytes.len() == length && Digest::of(&bytes).0 == header.key).then_some(bytes)
}

/// The dictionaries that bodies were read with lately, the last one at the end.
#[derive(Default)]
pub(crate) struct Dicts(Mutex<VecDeque<(u32, Arc<DecoderDictionary<'static>>)>>);

impl Dicts {
    fn take(&self, log: &Log, number: u32) -> io::Result<Option<Arc<DecoderDictionary<'static>>>> {
        {
            let mut loaded = self.0.lock();
            if let Some(at) = loaded.iter().position(|dict| dict.0 == number) {
                let found = loaded.remove(at).expect("just seen");
                loaded.push_back(found.clone());
                return Ok(Some(found.1));
            }
        }
        let Some(bytes) = bytes(log, number)? else { return Ok(None) };
        let Ok(decoder) = DecoderDictionary::try_copy(&bytes) else { return Ok(None) };
        let decoder = Arc::new(decoder);
        let mut loaded = self.0.lock();
        if loaded.len() >= LOADED {
            loaded.pop_front();
        }
        loaded.push_back((number, Arc::clone(&decoder)));
        Ok(Some(decoder))
    }

    /// A number has been given to another dictionary.
    pub(crate) fn forget(&self, number: u32) {
        self.0.lock().retain(|dict| dict.0 != number);
    }
}

/// The body of a record with [`Codec::Dict`]; `None` when it or its dictionary is damaged or gone.
pub(crate) fn decode(log: &Log, header: &Header, file: &dyn DiskFile, at: u64) -> io::Result<Option<Vec<u8>>> {
    if header.extra > OBJECT_LIMIT || header.length > OBJECT_LIMIT {
        return Ok(None);
    }
    let Some(frame) = super::payload(header, file, at)? else { return Ok(None) };
    let Some(decoder) = log.dicts.take(log, header.base)? else { return Ok(None) };
    let Ok(mut decompressor) = Decompressor::with_prepared_dictionary(&decoder) else { return Ok(None) };
    Ok(decode_with(&mut decompressor, &frame, header.extra))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::pack::{NIGHT_LEVEL, compressor};
    use crate::store::tests::kit::text;

    #[test]
    fn types_have_a_class_and_media_none() {
        for (kind, wanted) in [
            (Some("text/html; charset=utf-8"), Some(Class::Html)),
            (Some("application/javascript"), Some(Class::Script)),
            (Some("TEXT/JavaScript"), Some(Class::Script)),
            (Some("text/css"), Some(Class::Style)),
            (Some("application/ld+json"), Some(Class::Json)),
            (Some("image/svg+xml"), Some(Class::Other)),
            (Some("image/png"), None),
            (None, Some(Class::Other)),
        ] {
            assert_eq!(Class::of(kind), wanted, "{kind:?}");
        }
    }

    #[test]
    fn numbers_are_never_none_and_differ_between_sites_and_kinds() {
        let of = |host, class| numbers(host, class).collect::<Vec<u32>>();
        let one = of("a.kz", Class::Html);
        assert_eq!(one.len(), 15);
        assert!(!one.contains(&0) && one.is_sorted());
        assert_ne!(one, of("b.kz", Class::Html));
        assert_ne!(one, of("a.kz", Class::Json));
    }

    #[test]
    fn sisters_code_smaller_with_a_dictionary_and_only_it_decodes_them() {
        let pages: Vec<Vec<u8>> = (0..200).map(|n| [&text(7, 3000)[..], &text(n, 900), &text(8, 2000)].concat()).collect();
        let mut dict = Dictionary::new(5, &train(&pages).unwrap()).unwrap();
        let mut other = Dictionary::new(6, &train(&(0..200).map(|n| text(n + 900, 4000)).collect::<Vec<_>>()).unwrap()).unwrap();
        let plain = compressor(NIGHT_LEVEL).unwrap().compress(&pages[3]).unwrap();
        let coded = dict.encode(&pages[3]).unwrap();
        assert!(coded.len() * 2 < plain.len(), "{} {}", coded.len(), plain.len());
        assert_eq!(dict.decode(&coded, pages[3].len() as u64).unwrap(), pages[3]);
        assert_eq!(dict.decode(&coded, pages[3].len() as u64 - 1), None);
        assert_eq!(other.decode(&coded, pages[3].len() as u64), None);
        for bit in 0..coded.len() * 8 {
            let mut bad = coded.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let decoded = dict.decode(&bad, pages[3].len() as u64);
            assert!(decoded.is_none_or(|bytes| bytes == pages[3]), "bit {bit}");
        }
    }

    #[test]
    fn a_dictionary_reads_back_and_damage_is_seen() {
        let bytes = text(1, 70_000);
        let new = record(17, &bytes).unwrap();
        let header = Header {
            kind: Kind::Dict,
            codec: new.codec,
            flags: 0,
            seq: 1,
            length: new.head.len() as u64,
            extra: new.whole,
            key: new.key,
            base: 17,
            crc: new.crc,
        };
        assert!(new.head.len() * 2 < bytes.len());
        assert_eq!(verified(17, &header, &new.head).unwrap(), bytes);
        assert_eq!(verified(18, &header, &new.head), None, "another's number");
        assert_eq!(verified(17, &Header { extra: u64::MAX, ..header }, &new.head), None);
        assert_eq!(verified(17, &Header { key: [1; 32], ..header }, &new.head), None);
        assert_eq!(verified(17, &header, &new.head[1..]), None);
    }
}
