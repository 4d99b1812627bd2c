//! "Forget this site everywhere": what a person purges stays away, after restarts and rewrites (a TOMB in the log) and although
//! it may just be under way from its origin.
//!
//! # Why
//! A fetch may take hours; a TOMB written meanwhile is older than the META that it ends in. So each fetch carries the [`Epoch`]
//! in which it was begun, purges are remembered in memory, and what would be stored is compared with those that came after.
//! A restart needs no memory of that: it ends every fetch.

/// What was evicted.
mod dead;

use crate::base::digest::Digest;
use crate::base::target::UrlKey;
use crate::store::index::host_number;
use crate::store::meta::{self, Kept};
use crate::store::record::fingerprint;
use crate::store::recover::url_key;
use crate::store::table::Place;
use crate::store::{Error, Inner};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

/// Purges remembered: 4,096 × about 60 B. When there are more, whatever was begun before the forgotten ones is not stored.
const REMEMBERED: usize = 4096;

/// A moment in the row of purges. What was begun in one is not stored when a later purge names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch(u64);

/// What a purge names.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Named {
    Url(UrlKey),
    Host(String, bool),
    Object(Digest),
}

/// The purges of late.
#[derive(Default)]
pub(crate) struct Purges {
    count: AtomicU64,
    recent: Mutex<Recent>,
}

#[derive(Default)]
struct Recent {
    marks: VecDeque<(u64, Named)>,
    /// The newest purge that is not remembered any more.
    lost: u64,
}

impl Purges {
    /// Now.
    pub(crate) fn epoch(&self) -> Epoch {
        Epoch(self.count.load(Ordering::Acquire))
    }

    fn mark(&self, named: Named) {
        let mut recent = self.recent.lock();
        let count = self.count.load(Ordering::Acquire) + 1;
        recent.marks.push_back((count, named));
        if recent.marks.len() > REMEMBERED
            && let Some((lost, _)) = recent.marks.pop_front()
        {
            recent.lost = lost;
        }
        self.count.store(count, Ordering::Release);
    }

    /// Whether this was purged after it was begun. Ask under the URL's stripe.
    pub(crate) fn refuse(&self, since: Epoch, url: &UrlKey, text: &str, object: Option<&Digest>) -> Result<(), Error> {
        if self.epoch() == since {
            return Ok(());
        }
        let host = meta::host(text);
        let recent = self.recent.lock();
        let names = |named: &Named| match named {
            Named::Url(named) => named == url,
            Named::Host(named, below) => is_of(&host, named, *below),
            Named::Object(named) => object == Some(named),
        };
        let purged = recent.lost > since.0 || recent.marks.iter().rev().take_while(|mark| mark.0 > since.0).any(|mark| names(&mark.1));
        if purged { Err(Error::Purged) } else { Ok(()) }
    }
}

/// Whether a host is this one, or (`below`) one of its subdomains.
pub(crate) fn is_of(host: &str, named: &str, below: bool) -> bool {
    host == named || below && host.strip_suffix(named).is_some_and(|rest| rest.ends_with('.'))
}

impl Inner {
    /// A person forgets a URL: durable.
    pub(crate) fn purge(&self, url: &UrlKey) -> Result<u64, Error> {
        self.purges.mark(Named::Url(*url));
        self.forget(url, true)
    }

    /// A person forgets a host, and with `below` its subdomains: durable.
    pub(crate) fn purge_host(&self, host: &str, below: bool) -> Result<u64, Error> {
        let host = host.to_ascii_lowercase();
        self.purges.mark(Named::Host(host.clone(), below));
        self.let_commits_end();
        let which = |kept: &Kept| is_of(&meta::host(&kept.meta.url), &host, below);
        let gone = self.forget_listed(which, || {
            let live = self.log.table().read().places();
            let indexed = if below { None } else { self.index().complete(host_number(&host), &live) };
            indexed.unwrap_or(live)
        })?;
        self.bury_dead(|_| true, which)?;
        self.keep_buried()?;
        Ok(gone)
    }

    /// A person forgets an object: durable.
    pub(crate) fn purge_object(&self, object: &Digest) -> Result<u64, Error> {
        self.purges.mark(Named::Object(*object));
        self.let_commits_end();
        let which = |kept: &Kept| kept.object == Some(*object);
        let gone = self.forget_listed(which, || self.log.table().read().of_object(object))?;
        self.bury_dead(|line| line.link == fingerprint(&object.0), which)?;
        self.keep_buried()?;
        Ok(gone)
    }

    /// A person forgets a pack: lets the set go, then forgets all of its URLs that no other set keeps. (URLs let go, entries).
    pub(crate) fn purge_set(&self, set: &str) -> Result<(u64, u64), Error> {
        let urls = self.log.table().read().set(set_number(set));
        let mut gone = 0;
        // The answers first: cut short in the middle, the rest of the set is still known.
        for url in &urls {
            if self.log.table().read().sets_of(url).len() <= 1 {
                self.purges.mark(Named::Url(*url));
                gone += self.forget(url, false)?;
            }
        }
        self.unpin_set(set)?;
        Ok((urls.len() as u64, gone))
    }

    /// How many entries [`Inner::purge_set`] would forget, and of how many URLs the set is.
    pub(crate) fn weigh_set(&self, set: &str) -> (u64, u64) {
        let table = self.log.table().read();
        let urls = table.set(set_number(set));
        let gone = urls.iter().filter(|url| table.sets_of(url).len() <= 1).map(|url| table.find(url).len() as u64).sum();
        (urls.len() as u64, gone)
    }

    /// Waits for those who store something just now and asked before the mark was set: afterwards the table knows what they stored.
    fn let_commits_end(&self) {
        for stripe in &self.stripes {
            drop(stripe.lock());
        }
    }

    /// A power cut brings nothing of it back: neither from before the TOMBs, nor with a segment that has just been removed.
    fn keep_buried(&self) -> Result<(), Error> {
        self.log.sync()?;
        self.log.settle_removed()
    }

    /// Forgets what is in a list of places; what is moved meanwhile would be missed.
    fn forget_listed(&self, which: impl Fn(&Kept) -> bool, list: impl Fn() -> Vec<Place>) -> Result<u64, Error> {
        let _still = self.moves.read();
        let mut gone = 0;
        loop {
            // A sync that fails moves records all the same.
            let before = self.log.rescues();
            gone += self.forget_places(&list(), &which)?;
            if self.log.rescues() == before {
                return Ok(gone);
            }
        }
    }

    fn forget_places(&self, places: &[Place], which: impl Fn(&Kept) -> bool) -> Result<u64, Error> {
        let mut gone = 0;
        for place in places {
            if let Some((_, kept)) = self.kept(*place)?.filter(|(_, kept)| which(kept)) {
                gone += self.forget_where(&url_key(&kept.meta.url), &which, false)?;
            }
        }
        Ok(gone)
    }
}

/// The number under which the table knows a set.
pub(crate) fn set_number(set: &str) -> u64 {
    fingerprint(&Digest::of(set.as_bytes()).0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: UrlKey = UrlKey([1; 16]);

    fn is_refused(purges: &Purges, since: Epoch, text: &str, object: Option<&Digest>) -> bool {
        purges.refuse(since, &URL, text, object).is_err()
    }

    #[test]
    fn what_was_begun_before_a_purge_that_names_it_is_refused() {
        let (purges, object) = (Purges::default(), Digest::of(b"o"));
        let start = purges.epoch();
        for (named, text, body, wanted) in [
            (Named::Url(URL), "http://x/", None, true),
            (Named::Url(UrlKey([2; 16])), "http://x/", None, false),
            (Named::Host("a.kz".into(), false), "http://a.kz:81/x", None, true),
            (Named::Host("a.kz".into(), false), "http://b.a.kz/x", None, false),
            (Named::Host("a.kz".into(), true), "http://b.a.kz/x", None, true),
            (Named::Host("a.kz".into(), true), "http://ba.kz/x", None, false),
            (Named::Object(object), "http://x/", Some(&object), true),
            (Named::Object(object), "http://x/", None, false),
        ] {
            let before = purges.epoch();
            purges.mark(named.clone());
            assert_eq!(is_refused(&purges, before, text, body), wanted, "{named:?} {text}");
            assert!(!is_refused(&purges, purges.epoch(), text, body), "begun afterwards");
        }
        assert!(is_refused(&purges, start, "http://x/", None), "however long ago");
    }

    #[test]
    fn of_more_purges_than_are_remembered_none_is_overlooked() {
        let purges = Purges::default();
        let start = purges.epoch();
        for _ in 0..=REMEMBERED {
            purges.mark(Named::Url(UrlKey([2; 16])));
        }
        assert!(is_refused(&purges, start, "http://x/", None), "it may have been among those forgotten");
        assert!(!is_refused(&purges, Epoch(1), "http://x/", None));
        assert_eq!(purges.recent.lock().marks.len(), REMEMBERED);
    }
}
