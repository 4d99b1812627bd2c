//! Bundles: stored answers as a folder that can be carried, on a stick or between a hub and schools. `export.rs` writes one,
//! `import.rs` takes one in. Signatures are made and checked above.
//!
//! # The format (version 1)
//! A folder with sealed segments and a manifest, nothing else:
//!
//! ```text
//! 00000001.seg …   segments as in a store (layout in `record.rs`), with a uuid and numbers of their own
//! MANIFEST         JSON (see [`Manifest`]): format, version, uuid, when and by what it was made, what was chosen, how much it is,
//!                  and name, length and blake3 of every segment. Written last: a folder without one is no bundle
//! MANIFEST.minisig a minisign signature over MANIFEST, if it was signed
//! ```
//!
//! The segments hold BLOB, META and PIN records alone. A META stands behind the BLOB that it leads to, and that is in the same
//! bundle. Bodies are raw, zstd or zstd frames: never against a dictionary or an older version, so that each stands by itself.
//! Only whole answers are carried. Unknown members of MANIFEST are passed over; a higher version is refused.
//!
//! # Why
//! One format to test: a bundle is read by the code that reads the store, and every body is verified by its name on the way in.
//! What devices asked for stays here unless a person says otherwise: a stick that leaves a school must not tell what was read there.

/// Out.
mod export;

/// In.
mod import;

pub use export::{Exported, Selection};
pub use import::{Imported, Orders};

use crate::base::digest::{Digest, Hasher};
use crate::store::Error;
use crate::store::disk::DiskFile;
use crate::store::pack::{self, Content, Crcs, Whole};
use crate::store::read::Source;
use crate::store::record::{self, Codec, Kind};
use crate::store::segment::{Log, New};
use crate::store::table::Place;
use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// The manifest's name.
pub const MANIFEST: &str = "MANIFEST";
/// What every manifest begins with.
const NAME: &str = "bulak bundle";
/// The newest version that is read and written.
const VERSION: u32 = 1;
/// Longest manifest: 256 TB in segments of 64 MiB have one of 16 MiB times 30; a stick's is a few KB.
const MANIFEST_MAX: u64 = 16 << 20;
/// Payloads up to this length are copied through memory, longer ones from file to file.
const MEMORY: u64 = 1 << 20;
/// Answers looked at in one step.
const BATCH: usize = 64;

/// What a bundle says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// `bulak bundle`.
    pub format: String,
    /// Of the format.
    pub version: u32,
    /// Of the segments.
    pub uuid: String,
    /// When (RFC 3339).
    pub made: String,
    /// By which program.
    pub program: String,
    /// What was chosen.
    pub what: Selection,
    /// Answers in it.
    pub answers: u64,
    /// Those that devices asked for.
    pub browsed: u64,
    /// Distinct bodies.
    pub objects: u64,
    /// Addresses kept by the pack.
    pub pins: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// The segments.
    pub files: Vec<FileLine>,
}

/// One file of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileLine {
    /// `00000001.seg`.
    pub name: String,
    /// Bytes.
    pub length: u64,
    /// blake3 of the file, hex.
    pub blake3: String,
}

/// How far long work is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// `weighing`, `writing`, `hashing`, `checking`, `taking in`.
    pub phase: String,
    /// Done, in bytes.
    pub done: u64,
    /// In all.
    pub total: u64,
    /// What it is at.
    pub current: String,
}

impl Step {
    fn new(phase: &str, done: u64, total: u64, current: &str) -> Step {
        Step { phase: phase.to_owned(), done: done.min(total), total, current: current.to_owned() }
    }
}

impl Error {
    fn bundle(id: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Error {
        Error::Bundle { id, what: what.into(), remedy: remedy.into() }
    }
}

/// A body as it stands in `log`, verified by its name, as a record for another log; one against a dictionary or an older version
/// is coded anew. `None` when it is not there or damaged. Blocking.
fn copy_of(log: &Log, place: Place, object: &Digest, length: u64) -> io::Result<Option<New>> {
    let Some(source) = Source::blob(log, place, object)?.filter(|source| source.length() == length) else { return Ok(None) };
    let Some((header, file)) = log.header(place, Kind::Blob)? else { return Ok(None) };
    let alone = matches!(header.codec, Codec::Raw | Codec::Zstd | Codec::Frames);
    let (mut hasher, mut crcs, mut body, mut at) = (Hasher::default(), Crcs::default(), Vec::new(), 0);
    while at < length {
        let Some(piece) = source.read(at, length)? else { return Ok(None) };
        hasher.update(&piece);
        if !alone {
            crcs.update(&piece);
            body.extend_from_slice(&piece);
        }
        at += piece.len() as u64;
    }
    if hasher.finish() != *object {
        return Ok(None);
    }
    if !alone {
        let whole = Whole { object: *object, length, crcs: crcs.finish(), content: Content::Memory(body.into()) };
        return pack::pack(&whole, None, false, || Ok(Arc::new(Memory::default()))).map(Some);
    }
    let start = header.payload_at(place.at);
    let (head, file) = if header.length <= MEMORY {
        let mut payload = vec![0; usize::try_from(header.length).map_err(io::Error::other)?];
        file.read_at(&mut payload, start)?;
        (Bytes::from(payload), None)
    } else {
        let view: Arc<dyn DiskFile> = Arc::new(View { file, at: start });
        (Bytes::new(), Some((view, header.length)))
    };
    Ok(Some(New {
        kind: Kind::Blob,
        codec: header.codec,
        flags: header.flags & (record::PAGED | record::TABLED),
        key: object.0,
        line_key: object.0,
        base: 0,
        crc: header.crc,
        whole: length,
        link: 0,
        head,
        file,
        tail: Bytes::new(),
    }))
}

fn refused<T>() -> io::Result<T> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

/// A file from some offset on, for reading.
struct View {
    file: Arc<dyn DiskFile>,
    at: u64,
}

impl DiskFile for View {
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        self.file.read_at(into, self.at + at)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        refused()
    }

    fn sync(&self) -> io::Result<()> {
        refused()
    }

    fn truncate(&self, _: u64) -> io::Result<()> {
        refused()
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.file.length()?.saturating_sub(self.at))
    }
}

/// Frames of one long body on their way: no longer than the body itself, which is in memory, too.
#[derive(Default)]
struct Memory(Mutex<Vec<u8>>);

impl DiskFile for Memory {
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        let bytes = self.0.lock();
        let from = usize::try_from(at).map_err(io::Error::other)?;
        let part = bytes.get(from..from + into.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        into.copy_from_slice(part);
        Ok(())
    }

    fn write_at(&self, from: &[u8], at: u64) -> io::Result<()> {
        let (mut bytes, at) = (self.0.lock(), usize::try_from(at).map_err(io::Error::other)?);
        let end = bytes.len().max(at + from.len());
        bytes.resize(end, 0);
        bytes[at..at + from.len()].copy_from_slice(from);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.0.lock().truncate(usize::try_from(length).map_err(io::Error::other)?);
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.lock().len() as u64)
    }
}

/// The blake3 of a whole file. Blocking; `each` gets the bytes of each piece.
fn digest_of(file: &dyn DiskFile, length: u64, mut each: impl FnMut(u64)) -> io::Result<Digest> {
    let (mut hasher, mut at, mut buffer) = (Hasher::default(), 0, vec![0; usize::try_from(MEMORY).map_err(io::Error::other)?]);
    while at < length {
        let n = usize::try_from(MEMORY.min(length - at)).map_err(io::Error::other)?;
        file.read_at(&mut buffer[..n], at)?;
        hasher.update(&buffer[..n]);
        at += n as u64;
        each(n as u64);
    }
    Ok(hasher.finish())
}

/// The node and the command may run in different folders: only a path from the root means the same to both.
fn from_root(folder: &Path) -> Result<(), Error> {
    if folder.is_absolute() {
        return Ok(());
    }
    let what = format!("{} is not an absolute path", folder.display());
    Err(Error::bundle("bundle.relative", what, "write it from the root: /media/stick/lessons"))
}

/// Reads a manifest, and refuses what is none or too new.
fn parse(text: &[u8], folder: &Path) -> Result<Manifest, Error> {
    let here = folder.display();
    let damaged = |why: String| {
        Error::bundle(
            "bundle.damaged",
            format!("{here}/{MANIFEST} is damaged ({why}); nothing was taken in"),
            "copy the bundle again, or export it anew",
        )
    };
    let told: serde_json::Value = serde_json::from_slice(text).map_err(|error| damaged(error.to_string()))?;
    if told["format"] != NAME {
        return Err(Error::bundle(
            "bundle.none",
            format!("{here}/{MANIFEST} is not of a Bulak bundle"),
            "give the folder that \"bulak store export\" wrote",
        ));
    }
    if told["version"].as_u64().is_some_and(|version| version > u64::from(VERSION)) {
        let message = format!("the bundle in {here} has version {} and this program knows {VERSION}", told["version"]);
        return Err(Error::bundle("bundle.newer", message, "update this program, or export the bundle with an older one"));
    }
    let manifest: Manifest = serde_json::from_value(told).map_err(|error| damaged(error.to_string()))?;
    let mut names: Vec<&str> = manifest.files.iter().map(|file| file.name.as_str()).collect();
    names.sort_unstable();
    if let Some(odd) = names.iter().find(|name| number_of(name).is_none()) {
        return Err(damaged(format!("{odd:?} is no name of a segment")));
    }
    if names.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(damaged("a file is named twice".to_owned()));
    }
    Ok(manifest)
}

/// For fuzzers: any bytes as a manifest; what is read is read again when it is written, and names nothing outside its folder.
pub fn fuzz(bytes: &[u8]) {
    let folder = Path::new("/media/stick");
    if let Ok(manifest) = parse(bytes, folder) {
        assert!(manifest.files.iter().all(|file| !file.name.contains(['/', '\\'])), "a name that leads out of the folder");
        let again = serde_json::to_vec(&manifest).ok().and_then(|text| parse(&text, folder).ok());
        assert!(again == Some(manifest), "what is written is read back the same");
    }
}

/// The number of a segment's file name; `None` for any other name, above all for one that leads out of the folder.
fn number_of(name: &str) -> Option<u32> {
    let stem = name.strip_suffix(".seg")?;
    if stem.len() != 8 || !stem.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    stem.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(version: u32, name: &str) -> String {
        format!(
            r#"{{"format":"bulak bundle","version":{version},"uuid":"u","made":"m","program":"p","what":{{}},"answers":1,"browsed":0,
            "objects":1,"pins":0,"bytes":9,"files":[{{"name":"{name}","length":9,"blake3":"00"}}],"later":true}}"#
        )
    }

    #[test]
    fn manifests_are_read_and_odd_ones_refused_with_a_reason() {
        let folder = Path::new("/stick");
        assert_eq!(parse(text(1, "00000001.seg").as_bytes(), folder).unwrap().files[0].length, 9);
        let twice = text(1, "00000001.seg").replace("\"files\":[", "\"files\":[{\"name\":\"00000001.seg\",\"length\":1,\"blake3\":\"\"},");
        for (text, wanted) in [
            (text(2, "00000001.seg"), "bundle.newer"),
            (text(1, "../../etc/passwd"), "bundle.damaged"),
            (text(1, "1.seg"), "bundle.damaged"),
            (twice, "bundle.damaged"),
            (text(1, "00000001.seg").replace("\"uuid\":\"u\",", ""), "bundle.damaged"),
            ("{}".to_owned(), "bundle.none"),
            ("no JSON".to_owned(), "bundle.damaged"),
        ] {
            match parse(text.as_bytes(), folder) {
                Err(Error::Bundle { id, .. }) => assert_eq!(id, wanted, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_file_in_memory_reads_as_it_was_written() {
        let file = Memory::default();
        file.write_at(b"abc", 2).unwrap();
        let mut part = [0; 4];
        file.read_at(&mut part, 1).unwrap();
        assert_eq!(&part, b"\0abc");
        assert_eq!(file.read_at(&mut part, 2).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(View { file: Arc::new(file), at: 3 }.length().unwrap(), 2);
    }
}
