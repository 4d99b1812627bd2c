//! Takes a bundle in: every file by its hash first, then answer by answer, each body verified by its name before anything leads to
//! it. What is here already stays; run again after an interruption it goes on where it was.

use crate::base::digest::Digest;
use crate::base::target::UrlKey;
use crate::base::unit::Bytes as Size;
use crate::store::bundle::{BATCH, MANIFEST, MANIFEST_MAX, Manifest, Step, copy_of, digest_of, from_root, number_of, parse};
use crate::store::disk::Disk;
use crate::store::disk::still::Still;
use crate::store::evict::Gate;
use crate::store::meta::{self, Kept};
use crate::store::purge::{Epoch, set_number};
use crate::store::record::{self, Codec, Kind, Line, SEGMENT_HEADER_BYTES, SegmentHeader, fingerprint};
use crate::store::recover::{self, url_key};
use crate::store::segment::{Log, New};
use crate::store::table::{Place, Table};
use crate::store::{Error, Inner, Source, Store};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Addresses that are named in the result when their body did not verify.
const NAMED: usize = 20;
/// Room counted for an answer beside its body.
const ANSWER_ROOM: u64 = 1 << 10;

/// How to take a bundle in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Orders {
    /// Only say what would be done.
    pub trial: bool,
    /// Leave the pack's pins out.
    pub no_pins: bool,
    /// The blake3 (hex) of the manifest that was looked at, when its signature was checked.
    pub manifest: Option<String>,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// From where.
    pub folder: PathBuf,
    /// Answers taken in (or to be taken in).
    pub answers: u64,
    /// Of them, what devices asked for where it was exported.
    pub browsed: u64,
    /// New bodies.
    pub objects: u64,
    /// Bytes they take on disk.
    pub bytes: u64,
    /// Answers that were here already.
    pub here: u64,
    /// Answers that are older than what is here.
    pub older: u64,
    /// Addresses newly kept by the bundle's pack.
    pub pins: u64,
    /// Addresses that the pack should keep but for which the share of packs is full.
    pub pins_left: u64,
    /// Answers that were purged here while they were being taken in.
    pub purged: u64,
    /// Answers whose body did not verify, and the first of their addresses.
    pub damaged: u64,
    /// See `damaged`.
    pub damaged_urls: Vec<String>,
}

/// A bundle whose files are as its manifest says.
struct Bundle {
    log: Log,
    manifest: Manifest,
    metas: Vec<(Place, Line)>,
    blobs: HashMap<u64, (Place, u64)>,
    pins: Vec<Place>,
}

/// What is to be done with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Take,
    Here,
    Older,
}

impl Store {
    /// Takes a bundle in. Everything is durable when this returns. May be dropped at any await: what was taken in stays, each
    /// answer whole; run again it goes on.
    ///
    /// # Errors
    /// `Bundle` when it is no bundle, too new, or any of its files is not as the manifest says (nothing was taken in then), or when
    /// there is too little room; `ReadOnly`, `Disk`.
    pub async fn import(&self, folder: &Path, orders: Orders, mut progress: impl FnMut(Step) + Send) -> Result<Imported, Error> {
        let since = self.epoch();
        let (at, orders) = (folder.to_owned(), Arc::new(orders));
        let manifest = self
            .0
            .run({
                let orders = Arc::clone(&orders);
                move |_| read_manifest(&at, orders.manifest.as_deref())
            })
            .await?;
        let (mut done, total) = (0, manifest.files.iter().map(|file| file.length).sum());
        for file in manifest.files.clone() {
            let at = folder.to_owned();
            progress(Step::new("checking", done, total, &file.name));
            done += file.length;
            self.0.run(move |_| verify(&at, &file.name, file.length, &file.blake3)).await?;
        }
        let at = folder.to_owned();
        let bundle = Arc::new(self.0.run(move |inner| inner.open_bundle(&at, manifest)).await?);
        let mut out = Imported { folder: folder.to_owned(), ..Imported::default() };
        let mut seen = HashSet::new();
        for n in 0..bundle.metas.len().div_ceil(BATCH) {
            let bundle = Arc::clone(&bundle);
            (out, seen) = self.0.run(move |inner| inner.weigh(out, seen, &bundle, n)).await?;
        }
        if orders.trial {
            out.pins = if orders.no_pins { 0 } else { bundle.pins.len() as u64 };
            return Ok(out);
        }
        let need = out.bytes + out.answers * ANSWER_ROOM;
        self.0.run(move |inner| inner.room_for(need)).await?;
        let total = out.bytes;
        out = Imported { folder: out.folder, here: out.here, older: out.older, ..Imported::default() };
        for n in 0..bundle.metas.len() {
            let from = Arc::clone(&bundle);
            let url;
            (out, url) = self.0.run_write(move |inner| inner.take_in(out, since, &from, n)).await?;
            if let Some(url) = url {
                progress(Step::new("taking in", out.bytes, total, &url));
            }
        }
        self.sync().await?;
        if !orders.no_pins {
            out = self.0.run_write(move |inner| inner.take_pins(out, &bundle)).await?;
        }
        Ok(out)
    }
}

fn read_manifest(folder: &Path, wanted: Option<&str>) -> Result<Manifest, Error> {
    let here = folder.display();
    from_root(folder)?;
    let path = folder.join(MANIFEST);
    let none = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Error::bundle(
            "bundle.none",
            format!("{here} is no bundle: it holds no {MANIFEST}"),
            "give the folder that \"bulak store export\" wrote; if that was broken off, export again",
        ),
        io::ErrorKind::PermissionDenied => closed(&path),
        _ => Error::bundle(
            "bundle.unreadable",
            format!("{} cannot be read ({error})", path.display()),
            "look whether the stick is plugged in and whole",
        ),
    };
    let file = Still.open(&path, false).map_err(none)?;
    let length = file.length().map_err(none)?;
    if length > MANIFEST_MAX {
        return Err(Error::bundle("bundle.damaged", format!("{} is too long", path.display()), "copy the bundle again, or export it anew"));
    }
    let mut text = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_at(&mut text, 0).map_err(none)?;
    if wanted.is_some_and(|wanted| wanted != Digest::of(&text).to_string()) {
        return Err(Error::bundle(
            "bundle.changed",
            format!("{} was changed after its signature was checked", path.display()),
            "start again, with the stick left alone",
        ));
    }
    parse(&text, folder)
}

/// A file that is not for whoever asked: a running node is its own user, and one that is stopped has a store that only this user changes.
fn closed(path: &Path) -> Error {
    Error::bundle(
        "bundle.unreadable",
        format!("{} may not be read by this program", path.display()),
        "copy the folder below node.state (\"sudo cp -r FOLDER /var/lib/bulak/bundle\"), give it to the node's user \
         (\"sudo chown -R bulak /var/lib/bulak/bundle\") and import it from there",
    )
}

/// One file by its length and hash.
fn verify(folder: &Path, name: &str, length: u64, blake3: &str) -> Result<(), Error> {
    let path = folder.join(name);
    let damaged = |why: &str| {
        Error::bundle(
            "bundle.damaged",
            format!("{} {why}; nothing was taken in", path.display()),
            "copy the bundle again, or export it anew",
        )
    };
    let odd = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => damaged("is missing"),
        io::ErrorKind::PermissionDenied => closed(&path),
        io::ErrorKind::UnexpectedEof => damaged("is shorter than its manifest says"),
        _ => damaged(&format!("cannot be read ({error})")),
    };
    let file = Still.open(&path, false).map_err(odd)?;
    if file.length().map_err(odd)? != length {
        return Err(damaged("has another length than its manifest says"));
    }
    if digest_of(&*file, length, |_| {}).map_err(odd)?.to_string() != blake3 {
        return Err(damaged("is not what its manifest says: bytes were changed or lost"));
    }
    Ok(())
}

impl Inner {
    fn open_bundle(&self, folder: &Path, manifest: Manifest) -> Result<Bundle, Error> {
        let odd = |name: &str, why: &str| {
            let message = format!("{} {why}; nothing was taken in", folder.join(name).display());
            Error::bundle("bundle.damaged", message, "export the bundle anew")
        };
        let uuid = uuid::Uuid::parse_str(&manifest.uuid).map_err(|_| odd(MANIFEST, "has no uuid"))?.into_bytes();
        let gate = Arc::new(Gate::new(self.clock(), 0, true));
        let log = Log::new(Arc::new(Still), folder.to_owned(), uuid, 0, self.clock(), gate, Table::new(), &BTreeMap::new(), (0, 0))?;
        let (mut metas, mut blobs, mut pins) = (Vec::new(), HashMap::new(), Vec::new());
        for told in &manifest.files {
            let number = number_of(&told.name).ok_or_else(|| odd(&told.name, "has an odd name"))?;
            let file = log.file(number)?;
            let mut head = [0; SEGMENT_HEADER_BYTES];
            let header = file.read_at(&mut head, 0).ok().and_then(|()| SegmentHeader::decode(&head).ok());
            let header = header.filter(|header| header.uuid == uuid && header.number == number);
            let lines = header
                .and_then(|_| recover::footer(&*file, told.length))
                .ok_or_else(|| odd(&told.name, "is no sealed segment of this bundle"))?;
            for line in lines {
                let place = Place { segment: number, at: line.at };
                match line.kind {
                    Kind::Blob if matches!(line.codec, Codec::Raw | Codec::Zstd | Codec::Frames) => {
                        blobs.insert(fingerprint(&line.key), (place, line.length));
                    }
                    Kind::Meta if line.link != 0 => metas.push((place, line)),
                    Kind::Pin => pins.push(place),
                    // Nothing else has a meaning in a bundle.
                    _ => {}
                }
            }
        }
        Ok(Bundle { log, manifest, metas, blobs, pins })
    }

    /// What is to be done with an answer: the newer one stays, and one whose body is gone is no answer.
    fn fate(&self, url: &UrlKey, kept: &Kept) -> io::Result<Fate> {
        let Some(now) = self.entry_now(url, &kept.meta.key)? else { return Ok(Fate::Take) };
        let Some(object) = now.object else { return Ok(Fate::Take) };
        if self.log.table().read().blob(&object).is_none() || now.meta.received < kept.meta.received {
            return Ok(Fate::Take);
        }
        Ok(if now.meta.received == kept.meta.received { Fate::Here } else { Fate::Older })
    }

    fn weigh(&self, mut out: Imported, mut seen: HashSet<u64>, bundle: &Bundle, n: usize) -> Result<(Imported, HashSet<u64>), Error> {
        for (place, line) in bundle.metas.iter().skip(n * BATCH).take(BATCH) {
            let Some((_, kept)) = answer(&bundle.log, *place, line)? else {
                out.damaged += 1;
                continue;
            };
            match self.fate(&url_key(&kept.meta.url), &kept)? {
                Fate::Here => out.here += 1,
                Fate::Older => out.older += 1,
                Fate::Take => {
                    out.answers += 1;
                    out.browsed += u64::from(kept.meta.source == Source::Client);
                    let here = kept.object.is_some_and(|object| self.log.table().read().blob(&object).is_some());
                    if !here && seen.insert(line.link) {
                        out.objects += 1;
                        out.bytes += bundle.blobs.get(&line.link).map_or(0, |blob| blob.1);
                    }
                }
            }
        }
        Ok((out, seen))
    }

    /// Says how much is missing before anything is taken in. What no pack keeps makes way.
    fn room_for(&self, need: u64) -> Result<(), Error> {
        self.gate.writable()?;
        let room = self.gate.room(self.log.table().read().pinned_bytes());
        if need <= room {
            return Ok(());
        }
        let size = |bytes| Size(bytes).human();
        let message = format!(
            "the bundle needs {} and the store has room for {} beside what packs keep: {} are missing; nothing was taken in",
            size(need),
            size(room),
            size(need - room)
        );
        Err(Error::bundle("store.full", message, "raise store.quota, let a pack go (\"bulak store purge --pack\"), or import less"))
    }

    /// Takes one answer in; its address when there was something to do.
    fn take_in(&self, mut out: Imported, since: Epoch, bundle: &Bundle, n: usize) -> Result<(Imported, Option<String>), Error> {
        let Some((place, line)) = bundle.metas.get(n) else { return Ok((out, None)) };
        let Some((object, kept)) = answer(&bundle.log, *place, line)? else {
            out.damaged += 1;
            return Ok((out, None));
        };
        let (url, address, browsed) = (url_key(&kept.meta.url), kept.meta.url.to_string(), kept.meta.source == Source::Client);
        if self.fate(&url, &kept)? != Fate::Take {
            return Ok((out, None));
        }
        let mut bytes = 0;
        let body = || -> Result<Option<New>, Error> {
            let Some((place, length)) = bundle.blobs.get(&line.link) else { return Ok(None) };
            bytes = *length;
            Ok(copy_of(&bundle.log, *place, &object, kept.length)?)
        };
        match self.adopt(since, &url, object, kept.clone(), body, |inner| Ok(inner.fate(&url, &kept)? == Fate::Take)) {
            Ok(Some(new)) => {
                out.answers += 1;
                out.browsed += u64::from(browsed);
                if new {
                    out.objects += 1;
                    out.bytes += bytes;
                }
            }
            Ok(None) => out.here += 1,
            Err(Error::Damaged) => {
                out.damaged += 1;
                if out.damaged_urls.len() < NAMED {
                    out.damaged_urls.push(address.clone());
                }
            }
            Err(Error::Purged) => out.purged += 1,
            Err(error) => return Err(error),
        }
        Ok((out, Some(address)))
    }

    fn take_pins(&self, mut out: Imported, bundle: &Bundle) -> Result<Imported, Error> {
        for place in &bundle.pins {
            let Some((_, payload)) = bundle.log.small(*place, Kind::Pin)? else { continue };
            let (Some((url, number)), Some(name)) = (record::decode_pin(&payload), record::decode_pin_name(&payload)) else { continue };
            if number != set_number(name) || Some(name) != bundle.manifest.what.pack.as_deref() {
                continue;
            }
            match self.set_pin(name, &url, true) {
                Ok(new) => out.pins += u64::from(new),
                Err(Error::Full) => out.pins_left += 1,
                // Its answer could not be taken in.
                Err(Error::Disk(error)) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        self.log.sync()?;
        Ok(out)
    }
}

/// An answer of the bundle, if it is as its footer says and leads to a body.
fn answer(log: &Log, place: Place, line: &Line) -> Result<Option<(Digest, Kept)>, Error> {
    let Some((header, payload)) = log.small(place, Kind::Meta)? else { return Ok(None) };
    let Some(kept) = meta::decode(&payload).filter(|kept| kept.meta.key.0 == header.key) else { return Ok(None) };
    let sound = line.key == record::pair(&url_key(&kept.meta.url), &kept.meta.key.0);
    Ok(kept.object.filter(|object| sound && fingerprint(&object.0) == line.link).map(|object| (object, kept)))
}
