//! What goes, and what packs keep: TOMBs, pins.

use crate::base::digest::Digest;
use crate::base::target::UrlKey;
use crate::store::keep::{LOOKS, half};
use crate::store::meta::Kept;
use crate::store::purge::set_number;
use crate::store::record::{self, Kind, pair};
use crate::store::segment::New;
use crate::store::{Error, Inner};
use std::io;

impl Inner {
    /// Appends a TOMB for one variant (or all: a zero half).
    pub(super) fn bury(&self, url: &UrlKey, entry: &[u8; 16]) -> Result<(), Error> {
        self.entomb(url, entry)?;
        self.hot.remove(url);
        Ok(())
    }

    /// As [`Inner::bury`], and the caller takes it out of the hot tier.
    pub(crate) fn entomb(&self, url: &UrlKey, entry: &[u8; 16]) -> Result<(), Error> {
        let key = pair(url, entry);
        self.log.append(&New::small(Kind::Tomb, key, key, 0, 0, Vec::new()), |_| {}).map(drop)
    }

    /// Forgets the variants of a URL that `which` names; how many.
    pub(crate) fn forget_where(&self, url: &UrlKey, which: impl Fn(&Kept) -> bool, evicted: bool) -> Result<u64, Error> {
        let _stripe = self.stripe(url);
        let mut found = Vec::new();
        for _ in 0..LOOKS {
            found.clear();
            if self.gather(url, &mut found)? {
                break;
            }
        }
        let all = found.len();
        let gone: Vec<Kept> = found.into_iter().map(|(_, kept)| kept).filter(|kept| which(kept)).collect();
        let stay = all - gone.len();
        for kept in &gone {
            self.bury(url, &half(&kept.meta.key))?;
        }
        if stay == 0 && (evicted || self.log.table().read().pinned(url)) {
            // All variants, and with them its pins, and what was evicted and would be back after a crash.
            self.bury(url, &[0; 16])?;
        }
        self.hot.remove(url);
        self.let_go();
        Ok(gone.len() as u64)
    }

    /// Forgets one variant. The URL stays pinned: what comes anew is wanted as before.
    pub(crate) fn forget_entry(&self, url: &UrlKey, key: &Digest) -> Result<(), Error> {
        let _stripe = self.stripe(url);
        self.bury(url, &half(key))?;
        self.hot.remove(url);
        self.let_go();
        Ok(())
    }

    /// What was pinned or here may be evicted or is gone.
    fn let_go(&self) {
        self.pins.changed();
        self.gate.loosen();
    }

    /// Forgets a URL.
    pub(crate) fn forget(&self, url: &UrlKey, durable: bool) -> Result<u64, Error> {
        let gone = self.forget_where(url, |_| true, durable)?;
        if durable {
            self.log.sync()?;
        }
        Ok(gone)
    }

    /// Pins or unpins one URL, durably.
    pub(crate) fn pin(&self, set: &str, url: &UrlKey, on: bool) -> Result<u64, Error> {
        let changed = self.set_pin(set, url, on)?;
        self.log.sync()?;
        Ok(u64::from(changed))
    }

    /// The same without a sync; whether that is new.
    pub(crate) fn set_pin(&self, set: &str, url: &UrlKey, on: bool) -> Result<bool, Error> {
        let _stripe = self.stripe(url);
        let number = set_number(set);
        let pinned = self.log.table().read().has_pin(url, number);
        if on && !self.log.table().read().may_have(url) {
            return Err(Error::Disk(io::Error::from(io::ErrorKind::NotFound)));
        }
        if pinned != on {
            if on {
                self.pins.admit(self, url)?;
            }
            let note = |kind| {
                let key = pair(url, &[]);
                self.log.append(&New::small(kind, key, key, 0, number, record::encode_pin(url, number, set)), |_| {})
            };
            note(if on { Kind::Pin } else { Kind::Unpin })?;
            if on && !self.log.table().read().may_have(url) {
                // Evicted just before it was pinned.
                note(Kind::Unpin)?;
                return Err(Error::Disk(io::Error::from(io::ErrorKind::NotFound)));
            }
            self.hot.remove(url);
            if !on {
                self.let_go();
            }
        }
        Ok(pinned != on)
    }

    /// Lets a whole set go.
    pub(crate) fn unpin_set(&self, set: &str) -> Result<u64, Error> {
        let number = set_number(set);
        let urls = self.log.table().read().set(number);
        let none = UrlKey([0; 16]);
        self.log.append(&New::small(Kind::Unpin, [0; 32], [0; 32], 0, number, record::encode_pin(&none, number, set)), |_| {})?;
        for url in &urls {
            self.hot.remove(url);
        }
        self.let_go();
        self.log.sync()?;
        Ok(urls.len() as u64)
    }
}
