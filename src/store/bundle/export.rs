//! Writes a bundle: picks answers, copies their bodies once each, seals, hashes, and writes the manifest last.

use crate::base::clock::Time;
use crate::base::digest::Digest;
use crate::base::target::UrlKey;
use crate::store::bundle::{BATCH, FileLine, MANIFEST, Manifest, NAME, Step, VERSION, copy_of, digest_of, from_root};
use crate::store::disk::{Disk, Real};
use crate::store::evict::Gate;
use crate::store::meta::{self, Kept};
use crate::store::purge::{is_of, set_number};
use crate::store::record::{Kind, encode_pin, fingerprint, pair};
use crate::store::recover::url_key;
use crate::store::segment::{Log, New};
use crate::store::table::{Place, Table};
use crate::store::{Error, Inner, Source, Store};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Size of a bundle's segments: what is hashed and copied at a time.
const SEGMENT: u64 = 64 << 20;
/// Room asked for beyond the bodies, per answer: META, PIN, two footer lines, padding.
const ANSWER_ROOM: u64 = 2 << 10;
/// What to do where the node may not write: root writes only the folder, the store of a stopped node is read alone.
const ELSEWHERE: &str =
    "name a folder that whoever runs the node may write, such as one below node.state, or stop the node and run this as root";

/// What to carry. Nothing set: all that the node fetched by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Selection {
    /// What this pack keeps, with its pins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pack: Option<String>,
    /// This host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// And its subdomains.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub subdomains: bool,
    /// Answers received since (seconds since 1970).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<i64>,
    /// Also what devices asked for.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub browsed: bool,
}

impl Selection {
    fn takes(&self, kept: &Kept) -> bool {
        let host = self.host.as_ref().is_none_or(|host| is_of(&meta::host(&kept.meta.url), &host.to_ascii_lowercase(), self.subdomains));
        host && self.since.is_none_or(|since| kept.meta.received >= Time::from_secs(since))
    }
}

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exported {
    /// Where.
    pub folder: PathBuf,
    /// Segments.
    pub files: u64,
    /// Bytes of them; with a dry run what the bodies take.
    pub bytes: u64,
    /// Answers.
    pub answers: u64,
    /// Those of them that devices asked for.
    pub browsed: u64,
    /// Distinct bodies.
    pub objects: u64,
    /// Addresses that the pack keeps.
    pub pins: u64,
    /// Answers that would fit but were asked for by devices, and stay here.
    pub left_out: u64,
    /// Answers whose body did not verify.
    pub damaged: u64,
}

/// What was picked.
#[derive(Default)]
struct Picks {
    places: Vec<Place>,
    objects: HashSet<u64>,
    out: Exported,
}

impl Store {
    /// Writes a bundle into `folder`, which must be empty or not be there; with `trial` only weighs it. May be dropped at any await:
    /// the folder then holds no manifest.
    ///
    /// # Errors
    /// `Bundle` when the folder is not empty or has too little room, or nothing fits the selection; `Disk`.
    pub async fn export(
        &self,
        folder: &Path,
        what: Selection,
        trial: bool,
        mut progress: impl FnMut(Step) + Send,
    ) -> Result<Exported, Error> {
        let what = Arc::new(what);
        if !trial {
            let folder = folder.to_owned();
            self.0.run(move |_| is_free(&folder)).await?;
        }
        let all = self
            .0
            .run({
                let what = Arc::clone(&what);
                move |inner| Ok(inner.candidates(&what))
            })
            .await?;
        let mut picks = Picks { out: Exported { folder: folder.to_owned(), ..Exported::default() }, ..Picks::default() };
        let total = all.len() as u64;
        for (n, batch) in all.chunks(BATCH).enumerate() {
            let (batch, what) = (batch.to_vec(), Arc::clone(&what));
            picks = self.0.run(move |inner| inner.pick_for_bundle(picks, &batch, &what)).await?;
            progress(Step::new("weighing", (n * BATCH) as u64, total, ""));
        }
        let Picks { places, objects: _, mut out } = picks;
        if places.is_empty() {
            let left =
                if out.left_out > 0 { format!(" ({} answers that devices asked for are left out)", out.left_out) } else { String::new() };
            let remedy = if out.left_out > 0 {
                "choose something else, or take those too with --all"
            } else {
                "\"bulak store stat --by pack\" and \"--by host\" show what there is"
            };
            return Err(Error::bundle("bundle.empty", format!("nothing here fits what was chosen{left}"), remedy));
        }
        if trial {
            return Ok(out);
        }
        let (weight, total) = (out.bytes + out.answers * ANSWER_ROOM, out.bytes);
        let at = folder.to_owned();
        let log = Arc::new(self.0.run(move |inner| inner.bundle_log(&at, weight)).await?);
        out = Exported { folder: out.folder, left_out: out.left_out, ..Exported::default() };
        let mut done = 0;
        for batch in places.chunks(BATCH) {
            for place in batch {
                let (place, to, what) = (*place, Arc::clone(&log), Arc::clone(&what));
                let (now, bytes, url) = self.0.run(move |inner| inner.write_out(out, place, &to, &what).map_err(on_stick)).await?;
                out = now;
                done += bytes;
                progress(Step::new("writing", done, total, &url));
            }
        }
        let made = self.0.now().to_rfc3339();
        let manifest = Manifest {
            format: NAME.to_owned(),
            version: VERSION,
            uuid: uuid::Uuid::from_bytes(*log.uuid()).to_string(),
            made,
            program: concat!("bulak ", env!("CARGO_PKG_VERSION")).to_owned(),
            what: Selection::clone(&what),
            answers: out.answers,
            browsed: out.browsed,
            objects: out.objects,
            pins: out.pins,
            bytes: 0,
            files: Vec::new(),
        };
        progress(Step::new("hashing", 0, total, ""));
        let (files, bytes) = self.0.run(move |_| log.close().and_then(|()| seal(log.folder(), manifest)).map_err(on_stick)).await?;
        Ok(Exported { files, bytes, ..out })
    }
}

/// Of the folder that is written to, not of the store.
fn on_stick(error: Error) -> Error {
    match error {
        Error::Full => Error::bundle(
            "bundle.no_room",
            "the folder of the bundle has no room left",
            "free space there, remove what was begun, and export again",
        ),
        Error::ReadOnly => Error::bundle(
            "bundle.read_only",
            "the folder of the bundle cannot be written",
            "choose another folder, or mount the stick for writing",
        ),
        other => other,
    }
}

fn is_free(folder: &Path) -> Result<(), Error> {
    let here = folder.display();
    from_root(folder)?;
    match std::fs::read_dir(folder) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(Error::bundle(
                "bundle.not_empty",
                format!("{here} is not empty"),
                "name a new folder; a bundle is never written over anything",
            )),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::bundle("bundle.unreadable", format!("{here} cannot be looked into ({error})"), ELSEWHERE)),
    }
}

/// Hashes the sealed segments and writes the manifest. (files, bytes).
fn seal(folder: &Path, mut manifest: Manifest) -> Result<(u64, u64), Error> {
    for (path, length) in Real.list(folder)? {
        let file = Real.open(&path, false)?;
        let blake3 = digest_of(&*file, length, |_| {})?.to_string();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        manifest.bytes += length;
        manifest.files.push(FileLine { name, length, blake3 });
    }
    let text = serde_json::to_vec_pretty(&manifest).map_err(io::Error::other)?;
    let temporary = folder.join("MANIFEST.tmp");
    let file = Real.create(&temporary)?;
    file.write_at(&text, 0)?;
    file.sync()?;
    Real.rename(&temporary, &folder.join(MANIFEST))?;
    Real.sync_dir(folder)?;
    Ok((manifest.files.len() as u64, manifest.bytes))
}

impl Inner {
    fn candidates(&self, what: &Selection) -> Vec<Place> {
        let table = self.log.table().read();
        let Some(pack) = &what.pack else { return table.places() };
        let mut places: Vec<Place> = table.set(set_number(pack)).iter().flat_map(|url| table.find(url)).collect();
        places.sort_unstable();
        places.dedup();
        places
    }

    /// The answer at a place if it is whole, current and chosen. What a pack keeps is the pack's, also when a device asked for it
    /// first: its address stands in the pack, and says nothing of who opened it.
    fn chosen(&self, place: Place, what: &Selection) -> io::Result<Option<(UrlKey, Kept, Digest)>> {
        let Some((_, mut kept)) = self.kept(place)? else { return Ok(None) };
        let url = url_key(&kept.meta.url);
        let table = self.log.table().read();
        if kept.meta.source == Source::Client && table.pinned(&url) {
            kept.meta.source = Source::Pack;
        }
        let current = table.entry(&url, &kept.meta.key.0) == Some(place);
        let packed = what.pack.as_ref().is_none_or(|pack| table.has_pin(&url, set_number(pack)));
        drop(table);
        Ok(kept.object.filter(|_| current && packed && what.takes(&kept)).map(|object| (url, kept, object)))
    }

    fn pick_for_bundle(&self, mut picks: Picks, batch: &[Place], what: &Selection) -> Result<Picks, Error> {
        for place in batch {
            let Some((_, kept, object)) = self.chosen(*place, what)? else { continue };
            if kept.meta.source == Source::Client {
                if !what.browsed {
                    picks.out.left_out += 1;
                    continue;
                }
                picks.out.browsed += 1;
            }
            picks.places.push(*place);
            picks.out.answers += 1;
            if picks.objects.insert(fingerprint(&object.0)) {
                let blob = self.log.table().read().blob(&object);
                picks.out.objects += 1;
                picks.out.bytes += blob.map_or(0, |blob| blob.stored);
            }
        }
        Ok(picks)
    }

    /// A log in the folder of the bundle.
    fn bundle_log(&self, folder: &Path, weight: u64) -> Result<Log, Error> {
        is_free(folder)?;
        Real.make_dir(folder).map_err(|error| {
            let message = format!("{} cannot be made ({error})", folder.display());
            Error::bundle("bundle.read_only", message, ELSEWHERE)
        })?;
        let (free, _) = Real.space(folder)?;
        if free < weight {
            let size = |bytes| crate::base::unit::Bytes(bytes).human();
            let message = format!(
                "the bundle takes about {} and {} has {} free: {} are missing",
                size(weight),
                folder.display(),
                size(free),
                size(weight - free)
            );
            return Err(Error::bundle("bundle.no_room", message, "free space there, or choose less"));
        }
        let mut table = Table::new();
        table.count();
        let (uuid, gate) = (*uuid::Uuid::new_v4().as_bytes(), Arc::new(Gate::new(self.clock(), u64::MAX, false)));
        Ok(Log::new(Arc::new(Real), folder.to_owned(), uuid, SEGMENT, self.clock(), gate, table, &BTreeMap::new(), (0, 1))?)
    }

    /// Copies one answer. Gives the figures, the bytes copied, and the address.
    fn write_out(&self, mut out: Exported, place: Place, to: &Log, what: &Selection) -> Result<(Exported, u64, String), Error> {
        // It may have gone or been replaced since it was picked.
        let Some((url, kept, object)) = self.chosen(place, what)? else { return Ok((out, 0, String::new())) };
        let mut copied = 0;
        if to.table().read().blob(&object).is_none() {
            let blob = self.log.table().read().blob(&object);
            let new = match blob {
                Some(blob) => copy_of(&self.log, blob.place, &object, kept.length)?,
                None => None,
            };
            let Some(new) = new else {
                out.damaged += 1;
                return Ok((out, 0, kept.meta.url.into()));
            };
            copied = blob.map_or(0, |blob| blob.stored);
            to.append(&new, |_| {})?;
            out.objects += 1;
        }
        let payload = meta::encode(&kept.meta, kept.object, kept.length);
        let key = kept.meta.key;
        to.append(&New::small(Kind::Meta, key.0, pair(&url, &key.0), kept.length, fingerprint(&object.0), payload), |_| {})?;
        out.answers += 1;
        out.browsed += u64::from(kept.meta.source == Source::Client);
        if let Some(pack) = &what.pack {
            let number = set_number(pack);
            if !to.table().read().has_pin(&url, number) {
                let key = pair(&url, &[]);
                to.append(&New::small(Kind::Pin, key, key, 0, number, encode_pin(&url, number, pack)), |_| {})?;
                out.pins += 1;
            }
        }
        Ok((out, copied, kept.meta.url.into()))
    }
}
