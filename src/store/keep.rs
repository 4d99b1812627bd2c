//! What the store does with one answer: find, commit, renew, add a part, forget, pin. Everything here blocks and runs in the
//! blocking pool. Changes to one URL happen under its stripe's lock, so that log, table and hot tier tell one story.

/// Bodies in parts.
mod parts;

/// TOMBs and pins.
mod forget;

use crate::base::digest::Digest;
use crate::base::target::UrlKey;
use crate::store::index::{Change, host_number};
use crate::store::meta::{self, Kept};
use crate::store::pack::{self, Content, Whole};
use crate::store::purge::Epoch;
use crate::store::record::{self, Kind, fingerprint, pair};
use crate::store::recover::url_key;
use crate::store::segment::{Log, New};
use crate::store::table::Place;
use crate::store::write::Temporary;
use crate::store::{Entry, Error, Inner, Meta, Variants, read};
use bytes::Bytes;
use parking_lot::MutexGuard;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Bodies read with one URL's variants, so that a page with thirty variants does not fill the memory: times `hot_object`.
const BODIES: u64 = 4;
/// Variants kept of one URL, the newest: a page varies by language and kind of browser; more than this is a client that makes up
/// fields, and each variant costs a read whenever the URL is not in memory.
const VARIANTS: usize = 32;
/// Times that a place is looked up again when what was there has been moved: rewriting moves a record once a pass.
pub(crate) const LOOKS: usize = 8;
/// Room for an answer's record, generously: most are below 1 KiB.
const ANSWER: u64 = 4 << 10;
/// Most URLs that are told as lost while packs keep them.
const LOST: usize = 1000;

/// Gives the index all answers above a mark, in the order of the disk. What cannot be read is left out.
pub(crate) fn replay(log: &Log, mark: u64, each: &mut dyn FnMut(Change) -> bool) {
    let places = log.table().read().places();
    for place in places.into_iter().filter(|place| place.pack() > mark) {
        let Ok(Some((_, payload))) = log.small(place, Kind::Meta) else { continue };
        let Some(kept) = meta::decode(&payload) else { continue };
        if !each(change(&kept, place)) {
            return;
        }
    }
}

/// The half of an entry's key that the table knows.
pub(crate) fn half(key: &Digest) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&key.0[..16]);
    half
}

/// Whether what is kept now is of the same version as an entry that was found before.
pub(crate) fn is_of(entry: &Entry, now: &Kept) -> bool {
    now.length == entry.length && meta::validator(&now.meta.headers) == meta::validator(&entry.meta.headers)
}

fn change(kept: &Kept, place: Place) -> Change {
    Change { host: host_number(&meta::host(&kept.meta.url)), place }
}

impl Inner {
    /// One change to a URL at a time.
    pub(crate) fn stripe(&self, url: &UrlKey) -> MutexGuard<'_, ()> {
        self.stripes[usize::from(url.0[1]) % self.stripes.len()].lock()
    }

    /// One change to an object at a time. Taken before a stripe, never after.
    pub(crate) fn object_lock(&self, object: &Digest) -> MutexGuard<'_, ()> {
        self.objects[usize::from(object.0[0]) % self.objects.len()].lock()
    }

    /// One answer's meta at `place`; `None` when it is damaged.
    pub(crate) fn kept(&self, place: Place) -> io::Result<Option<(u64, Kept)>> {
        let read = match self.log.small(place, Kind::Meta) {
            Err(error) if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::NotFound) => None,
            read => read?,
        };
        Ok(read.and_then(|(header, payload)| meta::decode(&payload).map(|kept| (header.seq, kept))))
    }

    /// What the log says now of an entry.
    pub(crate) fn entry_now(&self, url: &UrlKey, key: &Digest) -> io::Result<Option<Kept>> {
        let place = || self.log.table().read().entry(url, &key.0);
        let mut looked = place();
        for _ in 0..LOOKS {
            let Some(at) = looked else { return Ok(None) };
            if let Some((_, kept)) = self.kept(at)? {
                return Ok(Some(kept).filter(|kept| kept.meta.key == *key));
            }
            let before = std::mem::replace(&mut looked, place());
            if before == looked {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// A whole small body, verified; damage is counted and dropped.
    pub(crate) fn body(&self, url: &str, object: &Digest, length: u64) -> Result<Bytes, Error> {
        for _ in 0..LOOKS {
            let Some(blob) = self.log.table().read().blob(object) else { break };
            if let Some(bytes) = read::whole(&self.log, blob.place, object, length)? {
                return Ok(bytes);
            }
            // Otherwise it has been moved meanwhile.
            if self.drop_body(object, blob.place) {
                self.hot.remove(&url_key(url));
                break;
            }
        }
        Err(Error::Damaged)
    }

    /// A body did not verify at `place`: if it still is there, counts it and forgets it in memory, so that it is a miss from now on.
    /// Whether it was there.
    pub(crate) fn drop_body(&self, object: &Digest, place: Place) -> bool {
        self.verified.forget(object);
        let answers = self.log.table().read().of_object(object);
        let kept = answers.into_iter().filter_map(|place| self.kept(place).ok().flatten());
        let urls: Vec<Box<str>> = kept.map(|(_, kept)| kept.meta.url).collect();
        let pinned: Vec<Box<str>> = {
            let mut table = self.log.table().write();
            if table.blob(object).is_none_or(|blob| blob.place != place) {
                return false;
            }
            let pinned = urls.into_iter().filter(|url| table.pinned(&url_key(url))).collect();
            table.drop_blob_at(object, place);
            pinned
        };
        self.damaged.fetch_add(1, Ordering::Relaxed);
        self.meters.corrupt.inc();
        tracing::warn!(%object, pinned = pinned.len(), "a stored body did not verify and is dropped");
        let mut lost = self.lost.lock();
        let room = LOST.saturating_sub(lost.len());
        lost.extend(pinned.into_iter().take(room).map(String::from));
        true
    }

    /// The same for a part of the entry `key`.
    pub(crate) fn drop_part(&self, url: &str, key: &Digest, place: Place) -> bool {
        let half = half(key);
        {
            let mut table = self.log.table().write();
            if !table.parts(&half).is_some_and(|parts| parts.spans.iter().any(|span| span.place == place)) {
                return false;
            }
            table.drop_parts(&half);
        }
        self.damaged.fetch_add(1, Ordering::Relaxed);
        self.meters.corrupt.inc();
        tracing::warn!("a part of a stored body did not verify, its parts are dropped");
        self.hot.remove(&url_key(url));
        true
    }

    /// Parts that are not of the version that their answer is of, since that was confirmed under another validator: they are forgotten, so
    /// that they are asked for anew. Not when a newer answer has come, whose parts they are.
    pub(crate) fn disown_parts(&self, entry: &Entry) -> io::Result<()> {
        let url = url_key(&entry.meta.url);
        let _stripe = self.stripe(&url);
        if self.entry_now(&url, &entry.meta.key)?.is_some_and(|now| now.object.is_none() && is_of(entry, &now)) {
            self.log.table().write().drop_parts(&half(&entry.meta.key));
            self.hot.remove(&url);
        }
        Ok(())
    }

    /// Puts variants into the hot tier; those that leave it remember that they were used.
    fn warm(&self, url: &UrlKey, variants: &Variants) {
        self.remember(&self.hot.put(url, Arc::clone(variants)));
        // The hand takes no stripe: what it has let go meanwhile would be known in memory alone, where no purge by host finds it.
        let table = self.log.table().read();
        if variants.iter().any(|entry| table.entry(url, &entry.meta.key.0).is_none()) {
            drop(table);
            self.hot.remove(url);
        }
    }

    /// These have left the hot tier and were used there.
    pub(crate) fn remember(&self, used: &[UrlKey]) {
        if !used.is_empty() {
            let mut table = self.log.table().write();
            for url in used {
                table.mark(url);
            }
        }
    }

    /// Reads the variants of a URL from disk, newest first, and puts them into the hot tier.
    pub(crate) fn load(&self, url: &UrlKey) -> Result<Variants, Error> {
        let _stripe = self.stripe(url);
        if let Some(variants) = self.hot.get(url) {
            return Ok(variants);
        }
        let variants: Variants = self.load_but(url, None)?.into();
        if !variants.is_empty() {
            self.log.table().write().mark(url);
            self.warm(url, &variants);
        }
        Ok(variants)
    }

    fn load_but(&self, url: &UrlKey, but: Option<&Digest>) -> Result<Vec<Arc<Entry>>, Error> {
        let mut found = Vec::new();
        for _ in 0..LOOKS {
            found.clear();
            if self.gather(url, &mut found)? {
                break;
            }
        }
        found.sort_by_key(|(seq, _)| std::cmp::Reverse(*seq));
        let (mut room, mut entries) = (self.settings.hot_object.0.saturating_mul(BODIES), Vec::with_capacity(found.len()));
        for (_, kept) in found.into_iter().filter(|(_, kept)| Some(&kept.meta.key) != but) {
            let body = match kept.object {
                Some(object) if kept.length <= self.settings.hot_object.0 && kept.length <= room => {
                    match self.body(&kept.meta.url, &object, kept.length) {
                        Ok(body) => Some(body),
                        Err(Error::Damaged) => continue,
                        Err(error) => return Err(error),
                    }
                }
                Some(object) if self.log.table().read().blob(&object).is_none() => continue,
                _ => None,
            };
            room -= body.as_ref().map_or(0, |body| body.len() as u64);
            entries.push(Arc::new(self.entry(url, kept, body)));
        }
        Ok(entries)
    }

    /// Reads all answers of a URL. `false` when one has been moved meanwhile.
    fn gather(&self, url: &UrlKey, found: &mut Vec<(u64, Kept)>) -> io::Result<bool> {
        let places = self.log.table().read().find(url);
        for place in places {
            match self.kept(place)? {
                Some((seq, kept)) if url_key(&kept.meta.url) == *url => found.push((seq, kept)),
                // Another URL with the same fingerprint.
                Some(_) => {}
                None => {
                    let mut table = self.log.table().write();
                    if !table.find(url).contains(&place) {
                        return Ok(false);
                    }
                    table.drop_entry(place);
                    drop(table);
                    self.damaged.fetch_add(1, Ordering::Relaxed);
                    self.meters.corrupt.inc();
                }
            }
        }
        Ok(true)
    }

    /// Builds an entry from what the log and the table know.
    pub(crate) fn entry(&self, url: &UrlKey, kept: Kept, body: Option<Bytes>) -> Entry {
        let table = self.log.table().read();
        let have = match kept.object {
            Some(_) => std::iter::once(0..kept.length).collect(),
            None => table.parts(&half(&kept.meta.key)).map(super::table::Parts::have).unwrap_or_default(),
        };
        Entry {
            meta: kept.meta,
            object: kept.object,
            length: kept.length,
            have,
            pinned: table.pinned(url),
            body: body.map(|body| self.hot.settle(body)),
            forms: super::Forms::default(),
            seat: std::sync::OnceLock::new(),
        }
    }

    /// Appends a META and shows it to readers. The caller holds the URL's stripe.
    fn put_meta(&self, url: &UrlKey, kept: Kept, body: Option<Bytes>) -> Result<Arc<Entry>, Error> {
        let payload = meta::encode(&kept.meta, kept.object, kept.length);
        if payload.len() as u64 > record::SMALL_MAX {
            return Err(Error::Disk(io::Error::from(io::ErrorKind::InvalidInput)));
        }
        let link = kept.object.map_or(0, |object| fingerprint(&object.0));
        let new = New::small(Kind::Meta, kept.meta.key.0, pair(url, &kept.meta.key.0), kept.length, link, payload);
        self.log.append(&new, |place| self.index().push(change(&kept, place)))?;
        if self.log.table().read().pinned(url) {
            self.pins.changed();
        }
        let gone = self.limit_variants(url)?;
        let entry = Arc::new(self.entry(url, kept, body));
        self.show(url, &entry, &gone);
        Ok(entry)
    }

    /// Forgets the oldest variants above [`VARIANTS`], but none that a pack keeps. Their keys. The caller holds the stripe.
    fn limit_variants(&self, url: &UrlKey) -> Result<Vec<Digest>, Error> {
        let (count, pinned) = {
            let table = self.log.table().read();
            (table.find(url).len(), table.pinned(url))
        };
        let mut gone = Vec::new();
        let Some(above) = count.checked_sub(VARIANTS).filter(|above| *above > 0) else { return Ok(gone) };
        let mut found = Vec::with_capacity(count);
        self.gather(url, &mut found)?;
        found.sort_by_key(|(seq, _)| *seq);
        for (_, kept) in found {
            if pinned && kept.meta.source == super::Source::Pack {
                continue;
            }
            self.entomb(url, &half(&kept.meta.key))?;
            gone.push(kept.meta.key);
            if gone.len() >= above {
                break;
            }
        }
        Ok(gone)
    }

    /// Puts a new or changed entry before the other variants in the hot tier, and takes those out that are `gone`.
    fn show(&self, url: &UrlKey, entry: &Arc<Entry>, gone: &[Digest]) {
        let key = entry.meta.key;
        let others = match self.hot.look(url) {
            Some(old) => old.iter().filter(|old| old.meta.key != key && !gone.contains(&old.meta.key)).cloned().collect(),
            None if self.log.table().read().find(url).len() > 1 => match self.load_but(url, Some(&key)) {
                Ok(others) => others,
                Err(error) => {
                    tracing::debug!(%error, "the other variants could not be read now");
                    self.hot.remove(url);
                    return;
                }
            },
            None => Vec::new(),
        };
        self.warm(url, &std::iter::once(Arc::clone(entry)).chain(others).collect());
    }

    /// Stores a whole body, unless it is here already, and its answer; `last` changes the answer in the moment in which it becomes
    /// visible, under the URL's stripe.
    pub(crate) fn commit(
        self: &Arc<Inner>,
        since: Epoch,
        mut meta: Meta,
        whole: &Whole,
        content_type: Option<&str>,
        last: impl FnOnce(&mut Meta) -> Result<(), Error>,
    ) -> Result<Arc<Entry>, Error> {
        meta.headers = meta::compact(&meta.headers);
        let url = url_key(&meta.url);
        self.purges.refuse(since, &url, &meta.url, Some(&whole.object))?;
        // Until an answer leads to it, a body here already counts as unused.
        let here = self.hold(&whole.object);
        // Before the lock, which readers wait for: to make room can take a while.
        let room = self.make_room(if here.is_some() { ANSWER } else { whole.length + ANSWER })?;
        let one = self.object_lock(&whole.object);
        let held = match here.or_else(|| self.hold(&whole.object)) {
            Some(held) => held,
            None => self.store_body(whole, content_type, meta.coding.is_some())?,
        };
        let body = match &whole.content {
            Content::Memory(bytes) if whole.length <= self.settings.hot_object.0 => Some(bytes.clone()),
            _ => None,
        };
        let for_a_pack = meta.source == super::Source::Pack;
        let entry = {
            let _stripe = self.stripe(&url);
            self.purges.refuse(since, &url, &meta.url, Some(&whole.object))?;
            last(&mut meta)?;
            self.put_meta(&url, Kept { meta, object: Some(whole.object), length: whole.length }, body)?
        };
        if for_a_pack {
            // About to be pinned: the hand spares it until then.
            self.log.table().write().mark(&url);
        }
        drop((held, one, room));
        // This can be evicted again.
        self.gate.loosen();
        self.sync_if_due()?;
        Ok(entry)
    }

    /// Takes in an answer of another store: `body` gives its body, verified, when that is not here. Whether the body was new;
    /// `None` when the answer is not `wanted` any more.
    pub(crate) fn adopt(
        &self,
        since: Epoch,
        url: &UrlKey,
        object: Digest,
        kept: Kept,
        body: impl FnOnce() -> Result<Option<New>, Error>,
        wanted: impl FnOnce(&Inner) -> Result<bool, Error>,
    ) -> Result<Option<bool>, Error> {
        let one = self.object_lock(&object);
        let here = self.hold(&object);
        let new = here.is_none();
        let (room, held) = if let Some(held) = here {
            (self.make_room(ANSWER)?, held)
        } else {
            let body = body()?.ok_or(Error::Damaged)?;
            let room = self.make_room(body.whole + ANSWER)?;
            self.log.append(&body, |_| {})?;
            (room, Held { inner: self, object })
        };
        {
            let _stripe = self.stripe(url);
            self.purges.refuse(since, url, &kept.meta.url, Some(&object))?;
            if !wanted(self)? {
                return Ok(None);
            }
            self.put_meta(url, kept, None)?;
            // Whoever asks for it reads it from the disk: what the class uses now stays in memory.
            self.hot.remove(url);
        }
        drop((held, one, room));
        self.sync_if_due()?;
        Ok(Some(new))
    }

    /// Appends a body; it is held until an answer leads to it.
    fn store_body(self: &Arc<Inner>, whole: &Whole, content_type: Option<&str>, coded: bool) -> Result<Held<'_>, Error> {
        let mut spilled = None;
        let new = pack::pack(whole, content_type, coded, || {
            let temporary = Temporary::new(self)?;
            let file = Arc::clone(&temporary.file);
            spilled = Some(temporary);
            Ok(file)
        });
        self.log.append(&new.map_err(|error| self.gate.note(error))?, |_| {})?;
        Ok(Held { inner: self, object: whole.object })
    }

    /// Holds a body that is here, so that it is not dropped before an answer leads to it.
    fn hold(&self, object: &Digest) -> Option<Held<'_>> {
        for _ in 0..LOOKS {
            let place = {
                let mut table = self.log.table().write();
                if !table.hold(object) {
                    return None;
                }
                table.blob(object).map(|blob| blob.place)
            };
            let held = Held { inner: self, object: *object };
            let header = self.log.header(place?, Kind::Blob);
            if header.is_ok_and(|found| found.is_some_and(|(header, _)| header.key == object.0)) {
                return Some(held);
            }
            if self.log.table().read().blob(object).map(|blob| blob.place) == place {
                // Damaged: stored anew.
                return None;
            }
        }
        None
    }

    /// Syncs when enough has come together.
    fn sync_if_due(&self) -> Result<(), Error> {
        if self.log.unsynced() >= self.settings.sync_bytes.0 { self.log.sync() } else { Ok(()) }
    }

    /// An entry as it is now, from memory when it is there. The caller holds the URL's stripe.
    fn present(&self, url: &UrlKey, key: &Digest) -> Result<Option<Arc<Entry>>, Error> {
        let hot = self.hot.get(url).and_then(|variants| variants.iter().find(|entry| entry.meta.key == *key).cloned());
        match hot {
            Some(entry) => Ok(Some(entry)),
            None => Ok(self.entry_now(url, key)?.map(|kept| Arc::new(self.entry(url, kept, None)))),
        }
    }

    /// Replaces meta, keeps the body.
    pub(crate) fn renew(&self, entry: &Arc<Entry>, mut meta: Meta) -> Result<Arc<Entry>, Error> {
        meta.headers = meta::compact(&meta.headers);
        let url = url_key(&entry.meta.url);
        let _stripe = self.stripe(&url);
        let present = self.present(&url, &entry.meta.key)?;
        // Flags that were raised meanwhile (a doubt) stay raised: whoever renews has not seen them.
        meta.flags |= present.as_ref().map_or(0, |now| now.meta.flags & !entry.meta.flags);
        let kept = Kept { meta, object: entry.object, length: entry.length };
        let renewed = || Arc::new(self.entry(&url, kept.clone(), entry.body.clone()));
        if let Some(now) = present
            && (now.object, now.length, meta::validator(&now.meta.headers))
                != (entry.object, entry.length, meta::validator(&entry.meta.headers))
        {
            // What was asked about has been replaced meanwhile: whoever asked gets what was confirmed, and nobody else.
            return Ok(renewed());
        }
        let held = entry.object.map(|object| self.hold(&object));
        let body_here = !matches!(held, Some(None));
        if !body_here || self.log.table().read().entry(&url, &entry.meta.key.0).is_none() {
            // Forgotten meanwhile: the caller may still answer with it, but it stays forgotten.
            return Ok(renewed());
        }
        let refused = matches!(self.gate.admit(self.log.bytes(), 0), Err(Error::Full | Error::ReadOnly));
        // A doubt is written down even then, as a TOMB would be: on disk the answer may be fresh.
        let doubted = kept.meta.flags & !entry.meta.flags != 0;
        let put = (!refused || doubted).then(|| self.put_meta(&url, kept.clone(), entry.body.clone()));
        drop(held);
        match put {
            Some(Ok(entry)) => Ok(entry),
            Some(Err(error)) if !refused => Err(error),
            // Known in memory until it leaves there; the disk keeps the older meta, which is merely asked about again.
            _ => {
                let entry = renewed();
                self.show(&url, &entry, &[]);
                Ok(entry)
            }
        }
    }
}

/// A body that is not dropped while this is here.
struct Held<'i> {
    inner: &'i Inner,
    object: Digest,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.inner.log.table().write().release(&self.object);
    }
}
