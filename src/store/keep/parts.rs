//! Bodies that come in parts: each part is a record, and when nothing is missing they become one body.

use crate::base::digest::{Digest, Hasher};
use crate::store::keep::{ANSWER, LOOKS, half, is_of};
use crate::store::meta::{self, Kept};
use crate::store::pack::{Content, Crcs, Whole};
use crate::store::purge::Epoch;
use crate::store::read::{Part, Source};
use crate::store::record::{self, BLOCK, Codec, Kind, PartHead, pair};
use crate::store::recover::url_key;
use crate::store::segment::New;
use crate::store::table::Place;
use crate::store::write::Temporary;
use crate::store::{Entry, Error, Inner, Meta};
use bytes::Bytes;
use http::header::AGE;
use std::io;
use std::sync::Arc;

/// Most bytes of one PART record.
pub(crate) const PART_MAX: usize = 4 << 20;

/// Parts smaller than this are kept of one body only while there are few: each costs a record and 32 B of memory, which a script that
/// asks for single bytes could have for nothing.
const CRUMB: u64 = 64 << 10;
/// How many are few: what players try first, the index at a film's end, what a break leaves behind.
const FEW: usize = 64;
/// Most parts of one body: 16 GiB in steps of 1 MiB, as some servers send them; 512 KiB of memory.
const MOST: usize = 16_384;

impl Inner {
    /// Adds a part; see `Store::put_part`. `raised` says at the last moment which flags its answer has besides.
    pub(crate) fn put_part(
        self: &Arc<Inner>,
        since: Epoch,
        mut meta: Meta,
        total: u64,
        (offset, bytes): (u64, &Bytes),
        raised: impl Fn() -> u32,
    ) -> Result<Arc<Entry>, Error> {
        meta.headers = meta::compact(&meta.headers);
        if offset.checked_add(bytes.len() as u64).is_none_or(|end| end > total) {
            return Err(Error::Disk(io::Error::from(io::ErrorKind::InvalidInput)));
        }
        if total > self.object_max(meta.source) {
            return Err(Error::Full);
        }
        let room = self.make_room(bytes.len() as u64 + ANSWER)?;
        let url = url_key(&meta.url);
        let (key, validator) = (meta.key, meta::validator(&meta.headers));
        let entry = {
            let stripe = self.stripe(&url);
            self.purges.refuse(since, &url, &meta.url, None)?;
            let now = self.entry_now(&url, &key)?;
            let same =
                now.as_ref().is_some_and(|now| now.length == total && validator != 0 && meta::validator(&now.meta.headers) == validator);
            let newer = now.as_ref().filter(|_| same).and_then(|now| renewed_by(&now.meta, &meta));
            // Of the same version: nothing is missing but the newer fields. Of a newer one: the old stays until the new is whole.
            if let Some(now) = now.as_ref().filter(|now| now.object.is_some()) {
                let whole = self.present(&url, &key)?.unwrap_or_else(|| Arc::new(self.entry(&url, now.clone(), None)));
                drop(stripe);
                // Where only a date tells versions apart, this may be of another one (RFC 9110 section 8.8.2.2).
                let Some(newer) = newer.filter(|newer| meta::strong_tag(&newer.headers).is_some()) else { return Ok(whole) };
                return self.renew(&whole, Meta { flags: newer.flags | raised(), ..newer });
            }
            let kept = if let Some(mut now) = now.filter(|_| same) {
                if !self.is_worth_a_record(&key, offset, bytes.len() as u64, total) {
                    return Ok(Arc::new(self.entry(&url, now, None)));
                }
                if let Some(newer) = newer {
                    now.meta = Meta { flags: newer.flags | raised(), ..newer };
                    self.put_meta(&url, now.clone(), None)?;
                }
                // What is still arriving is in use: the hand spares what is here of it.
                self.log.table().write().mark(&url);
                now
            } else {
                // Parts of an older version may still stand on disk, though they were evicted: they must stay hidden, also when a power
                // cut leaves what comes next and takes this.
                self.bury(&url, &half(&key))?;
                self.log.sync()?;
                meta.flags |= raised();
                let kept = Kept { meta, object: None, length: total };
                self.put_meta(&url, kept.clone(), None)?;
                // Parts stand in another file. In a power cut they could outlive what says whose they are, and be taken for parts
                // of an older version.
                self.log.sync()?;
                kept
            };
            for (n, piece) in bytes.chunks(PART_MAX).enumerate() {
                let head = PartHead { url, total, offset: offset + (n * PART_MAX) as u64, validator };
                self.log.append(&part(&head, &key, piece), |_| {})?;
            }
            let entry = Arc::new(self.entry(&url, kept, None));
            self.show(&url, &entry, &[]);
            entry
        };
        drop(room);
        let whole = entry.have.len() == 1 && entry.have[0] == (0..total) || total == 0;
        if whole { self.complete(since, &entry) } else { self.sync_if_due().map(|()| entry) }
    }

    /// Whether a part is kept beside those that are here: see [`CRUMB`]. One that closes a gap, or ends the body, always is.
    fn is_worth_a_record(&self, key: &Digest, offset: u64, length: u64, total: u64) -> bool {
        let table = self.log.table().read();
        let Some(parts) = table.parts(&half(key)) else { return true };
        let end = offset + length;
        if length == 0 || parts.spans.len() < FEW || (length >= CRUMB && parts.spans.len() < MOST) {
            return true;
        }
        let before = || offset == 0 || parts.spans.iter().any(|span| span.offset < offset && offset <= span.offset + span.length);
        let behind = || end == total || parts.spans.iter().any(|span| span.offset <= end && end < span.offset + span.length);
        behind() && before()
    }

    /// All parts are here: makes them one body.
    fn complete(self: &Arc<Inner>, since: Epoch, entry: &Arc<Entry>) -> Result<Arc<Entry>, Error> {
        let room = self.make_room(entry.length)?;
        let temporary = Temporary::new(self).map_err(|error| self.gate.note(error))?;
        let parts = || self.log.table().read().parts(&half(&entry.meta.key)).cloned().unwrap_or_default();
        let (mut hasher, mut crcs, mut at) = (Hasher::default(), Crcs::default(), 0);
        let (mut source, mut looks): (Option<(u64, Source, Place)>, usize) = (None, 0);
        while at < entry.length {
            if source.as_ref().is_none_or(|(base, source, _)| at >= base + source.length()) {
                source = match parts().holding(at) {
                    Some(span) => {
                        match Source::part(&self.log, span.place, entry, span.offset, span.length)? {
                            Part::Here(source) => Some((span.offset, source, span.place)),
                            // A newer version has taken the place of this one.
                            Part::OfAnother => {
                                self.disown_parts(entry)?;
                                return Err(Error::Purged);
                            }
                            Part::Gone if !self.drop_part(&entry.meta.url, &entry.meta.key, span.place) && looks < LOOKS => {
                                // Moved meanwhile.
                                looks += 1;
                                continue;
                            }
                            Part::Gone => None,
                        }
                    }
                    None => None,
                };
            }
            let piece = match &source {
                Some((base, source, _)) => source.read(at - base, source.length())?,
                None => None,
            };
            let Some(piece) = piece else {
                if let Some((_, _, place)) = source.take()
                    && !self.drop_part(&entry.meta.url, &entry.meta.key, place)
                    && looks < LOOKS
                {
                    looks += 1;
                    continue;
                }
                // Another call may have completed it meanwhile, and its parts are gone.
                let now = self.entry_now(&url_key(&entry.meta.url), &entry.meta.key)?;
                if let Some(now) = now.filter(|now| now.object.is_some() && is_of(entry, now)) {
                    return Ok(Arc::new(self.entry(&url_key(&entry.meta.url), now, None)));
                }
                return Err(Error::Damaged);
            };
            hasher.update(&piece);
            crcs.update(&piece);
            temporary.file.write_at(&piece, at).map_err(|error| self.gate.note(error))?;
            at += piece.len() as u64;
        }
        drop(room);
        let content = if entry.length <= self.settings.hot_object.0 {
            let mut bytes = vec![0; usize::try_from(entry.length).map_err(io::Error::other)?];
            temporary.file.read_at(&mut bytes, 0)?;
            Content::Memory(bytes.into())
        } else {
            Content::File(Arc::clone(&temporary.file))
        };
        let whole = Whole { object: hasher.finish(), length: entry.length, crcs: crcs.finish(), content };
        let kind = entry.meta.headers.get(http::header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        // Another part may have brought newer fields meanwhile, or a doubt been raised: the body is the same.
        let url = url_key(&entry.meta.url);
        self.commit(since, entry.meta.clone(), &whole, kind, |meta| {
            let now = self.entry_now(&url, &meta.key)?.filter(|now| is_of(entry, now));
            // Or it was forgotten, or a newer version has come: then it stays away.
            let now = now.filter(|now| now.object.is_none_or(|object| object == whole.object)).ok_or(Error::Purged)?;
            *meta = now.meta;
            Ok(())
        })
    }
}

/// What a part's answer makes of the kept one's meta: its fields stand for the whole (RFC 9111 section 3.4), and those that it does not name
/// stay, since a 206 may leave some out (RFC 9110 section 15.3.7); an age was the older one's own. `None`: it is older, or of the same moment
/// of the clock and says nothing new, as the further pieces of one transfer do.
fn renewed_by(now: &Meta, meta: &Meta) -> Option<Meta> {
    let mut headers = meta.headers.clone();
    for name in now.headers.keys().filter(|name| **name != AGE && !meta.headers.contains_key(*name)) {
        for value in now.headers.get_all(name) {
            headers.append(name.clone(), value.clone());
        }
    }
    let newer = meta.received > now.received || (meta.received == now.received && headers != now.headers);
    let (coding, was_coded) = (now.coding.clone(), now.was_coded.clone());
    newer.then(|| Meta { headers, source: now.source, way: now.way, coding, was_coded, ..meta.clone() })
}

fn part(head: &PartHead, key: &Digest, piece: &[u8]) -> New {
    let payload = [&head.encode()[..], piece].concat();
    let line_key = pair(&head.url, &key.0);
    let new = New::small(Kind::Part, key.0, line_key, head.total, head.offset, Vec::new());
    if (payload.len() as u64) < BLOCK {
        return New { crc: crc32c::crc32c(&payload), head: payload.into(), ..new };
    }
    let mut crcs = Crcs::default();
    crcs.update(&payload);
    let table = record::encode_crcs(&crcs.finish());
    New { codec: Codec::Raw, flags: record::TABLED, crc: crc32c::crc32c(&table), head: payload.into(), tail: table.into(), ..new }
}
