//! What a store was told and what it has promised, moment by moment, and whether what is found after a power cut agrees with it:
//! of each thing the newest promised state or a newer one, never an older one, and never a wrong byte.

use super::kit::{key, read, variant};
use crate::base::digest::Digest;
use crate::store::record::fingerprint;
use crate::store::{Meta, Store};
use bytes::Bytes;
use http::HeaderValue;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// URLs of a workload, and how many variants each has.
pub(crate) const URLS: [(&str, u64); 14] = [
    ("http://a.kz/page", 3),
    ("http://a.kz/film", 1),
    ("http://a.kz/style", 1),
    ("http://a.kz/font", 1),
    ("http://b.kz/page", 2),
    ("http://b.kz/copy", 1),
    ("http://b.kz/news", 1),
    ("http://c.kz/one", 1),
    ("http://a.kz/p/1", 3),
    ("http://a.kz/p/2", 3),
    ("http://a.kz/p/3", 2),
    ("http://a.kz/p/4", 2),
    ("http://c.kz/parts/1", 1),
    ("http://c.kz/parts/2", 1),
];
/// The URLs of pages of one site that are much the same.
pub(crate) const PAGES: Range<usize> = 8..12;
/// The first of the URLs that come in parts.
pub(crate) const PARTS_FROM: usize = PAGES.end;
/// The sets that pin.
pub(crate) const SETS: [&str; 2] = ["grade-5", "grade-6"];

/// One variant of one URL.
pub(crate) type Name = (usize, u64);

/// The meta of a variant; `version` tells it from others of the same name.
pub(crate) fn meta_of(name: Name, version: u32) -> Meta {
    let mut meta = Meta { flags: version, ..variant(URLS[name.0].0, ["kk", "ru", "en"][usize::try_from(name.1).unwrap()]) };
    meta.headers.insert("etag", HeaderValue::from_str(&format!("\"{version}\"")).unwrap());
    meta
}

/// What is stored under a name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum What {
    Nothing,
    /// A body. The meta's version, and the object.
    Whole(u32, Digest),
    /// Parts of a body, by its first meta's version.
    Parts(u32, Vec<Range<u64>>),
}

/// The states of one thing: when the store was told of each, and which it had promised when.
#[derive(Clone, Debug)]
pub(crate) struct History<T> {
    told: Vec<(usize, T)>,
    promised: Vec<(usize, usize)>,
    /// States that were gone already, evicted, when their URL was pinned.
    loose: BTreeSet<usize>,
    /// States before the step that is being taken.
    before: usize,
}

impl<T: Clone> History<T> {
    fn new(first: T) -> History<T> {
        History { told: vec![(0, first)], promised: vec![(0, 0)], loose: BTreeSet::new(), before: 1 }
    }

    /// The store begins to make it so.
    pub(crate) fn tell(&mut self, moment: usize, state: T) {
        self.told.push((moment, state));
    }

    /// The newest state is promised.
    pub(crate) fn promise(&mut self, moment: usize) {
        self.promised.push((moment, self.told.len() - 1));
    }

    /// The newest state.
    pub(crate) fn last(&self) -> &T {
        &self.told.last().expect("the first").1
    }

    /// The number of the newest state that had been promised.
    fn promised(&self, moment: usize) -> usize {
        self.promised.iter().rev().find(|(when, _)| *when <= moment).map_or(0, |(_, state)| *state)
    }

    /// The newest state is gone, and not by anything that was told.
    fn loosen(&mut self) {
        self.loose.insert(self.told.len() - 1);
    }

    /// Whether that was so with what is to be found.
    fn is_loose(&self, when: When) -> bool {
        match when {
            When::Now | When::Cut(usize::MAX) => self.loose.contains(&(self.told.len() - 1)),
            When::Cut(moment) => self.loose.contains(&self.promised(moment)),
        }
    }

    /// The promised state and all newer ones that had been begun.
    fn allowed(&self, moment: usize) -> Vec<T> {
        let from = self.promised(moment);
        let begun = self.told[from + 1..].iter().take_while(|(when, _)| *when < moment);
        std::iter::once(&self.told[from]).chain(begun).map(|(_, state)| state.clone()).collect()
    }
}

/// When a store is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) enum When {
    /// Nothing was lost: the newest states, exactly.
    Now,
    /// After a power cut when so many changes had been made.
    Cut(usize),
}

/// All histories of a workload.
pub(crate) struct Oracle {
    pub(crate) names: BTreeMap<Name, History<What>>,
    pub(crate) pins: BTreeMap<(usize, usize), History<bool>>,
    /// The bodies of versions.
    pub(crate) bodies: BTreeMap<u32, Bytes>,
    /// Whether what is not pinned may be gone.
    pub(crate) evicts: bool,
}

/// What was found in a store.
#[derive(Debug, PartialEq)]
pub(crate) struct Seen {
    names: BTreeMap<Name, What>,
    pins: BTreeMap<(usize, usize), bool>,
}

impl Oracle {
    pub(crate) fn new(evicts: bool) -> Oracle {
        let names = URLS.iter().enumerate().flat_map(|(url, (_, variants))| (0..*variants).map(move |variant| (url, variant)));
        let pins = (0..URLS.len()).flat_map(|url| (0..SETS.len()).map(move |set| (url, set)));
        Oracle {
            names: names.map(|name| (name, History::new(What::Nothing))).collect(),
            pins: pins.map(|pin| (pin, History::new(false))).collect(),
            bodies: BTreeMap::new(),
            evicts,
        }
    }

    /// All that was told is promised.
    pub(crate) fn promise_all(&mut self, moment: usize) {
        self.names.values_mut().for_each(|history| history.promise(moment));
        self.pins.values_mut().for_each(|history| history.promise(moment));
    }

    /// A step begins.
    pub(crate) fn begin(&mut self) {
        self.names.values_mut().for_each(|history| history.before = history.told.len());
    }

    /// After a step that failed: what was seen is what is now.
    pub(crate) fn take(&mut self, moment: usize, seen: Seen) {
        for (name, what) in seen.names {
            let history = self.names.get_mut(&name).expect("a name");
            if self.evicts && what == What::Nothing {
                // What was evicted may come back, but what was refused was never there.
                history.told.truncate(history.before.max(1));
                history.loose.retain(|state| *state < history.told.len());
            } else if *history.last() != what {
                history.tell(moment, what);
            }
        }
        for (pin, pinned) in seen.pins {
            let history = self.pins.get_mut(&pin).expect("a pin");
            if *history.last() != pinned {
                history.tell(moment, pinned);
            }
        }
    }

    /// A version is about to be put under a name.
    pub(crate) fn tell(&mut self, name: Name, moment: usize, what: What) {
        self.names.get_mut(&name).expect("a name").tell(moment, what);
    }

    /// A URL is about to be pinned: what of it was evicted before may be gone, or come back.
    pub(crate) async fn loosen(&mut self, store: &Store, url: usize) -> Result<(), String> {
        for name in self.names_of(url) {
            if self.evicts && self.look(store, name).await? == What::Nothing {
                self.names.get_mut(&name).expect("a name").loosen();
            }
        }
        Ok(())
    }

    /// How a store is looked at of which nothing was lost.
    pub(crate) fn now(&self) -> When {
        if self.evicts { When::Cut(usize::MAX) } else { When::Now }
    }

    /// The names of a URL.
    pub(crate) fn names_of(&self, url: usize) -> Vec<Name> {
        self.names.keys().filter(|name| name.0 == url).copied().collect()
    }

    /// Looks at everything and says what is wrong.
    pub(crate) async fn check(&self, store: &Store, when: When) -> Result<Seen, String> {
        let mut seen = Seen { names: BTreeMap::new(), pins: BTreeMap::new() };
        for (pin, history) in &self.pins {
            let number = fingerprint(&Digest::of(SETS[pin.1].as_bytes()).0);
            let found = store.0.log.table().read().has_pin(&key(URLS[pin.0].0), number);
            let allowed = match when {
                When::Now => vec![*history.last()],
                When::Cut(moment) => history.allowed(moment),
            };
            if !allowed.contains(&found) {
                return Err(format!("{} in {}: pinned is {found}", URLS[pin.0].0, SETS[pin.1]));
            }
            seen.pins.insert(*pin, found);
        }
        for (name, history) in &self.names {
            let found = self.look(store, *name).await?;
            let allowed = match when {
                When::Now => vec![history.last().clone()],
                When::Cut(moment) => history.allowed(moment),
            };
            let gone = self.evicts && found == What::Nothing && (history.is_loose(when) || !self.must_stay(name.0, when));
            if !gone && !fits(&found, &allowed, self.evicts) {
                return Err(format!("{name:?} {}: found {found:?}, promised or newer {allowed:?}", URLS[name.0].0));
            }
            seen.names.insert(*name, found);
        }
        Ok(seen)
    }

    /// Whether a promised pin keeps this URL, and nothing has begun to take it away.
    fn must_stay(&self, url: usize, when: When) -> bool {
        self.pins.iter().filter(|(pin, _)| pin.0 == url).any(|(_, history)| match when {
            When::Now => *history.last(),
            When::Cut(moment) => history.allowed(moment).iter().all(|pinned| *pinned),
        })
    }

    /// What is under a name. What cannot be read is nothing; what can be read is right.
    pub(crate) async fn look(&self, store: &Store, name: Name) -> Result<What, String> {
        let wanted = meta_of(name, 0);
        let variants = store.find(&key(&wanted.url)).await.map_err(|error| format!("{name:?}: {error}"))?;
        let Some(entry) = variants.iter().find(|entry| entry.meta.key == wanted.key) else { return Ok(What::Nothing) };
        let version = entry.meta.flags;
        let Some(body) = self.bodies.get(&version) else { return Err(format!("{name:?}: version {version} was never made")) };
        if entry.meta != meta_of(name, version) {
            return Err(format!("{name:?}: another meta: {:?}", entry.meta));
        }
        if entry.length != body.len() as u64 {
            return Err(format!("{name:?}: {} bytes long", entry.length));
        }
        for have in &entry.have {
            let Ok(bytes) = read(store, entry, Some(have.clone())).await else { return Ok(What::Nothing) };
            if bytes != body[usize::try_from(have.start).unwrap()..usize::try_from(have.end).unwrap()] {
                return Err(format!("{name:?}: wrong bytes of version {version}"));
            }
        }
        Ok(match entry.object {
            Some(object) if object == Digest::of(body) => What::Whole(version, object),
            Some(object) => return Err(format!("{name:?}: version {version} says its object is {object}")),
            None => What::Parts(version, entry.have.clone()),
        })
    }
}

impl Seen {
    /// Where two looks differ.
    pub(crate) fn compare(&self, later: &Seen, evicts: bool) -> Result<(), String> {
        for (name, what) in &self.names {
            if later.names[name] != *what && !(evicts && later.names[name] == What::Nothing) {
                return Err(format!("{name:?}: was {what:?}, and after the next cut {:?}", later.names[name]));
            }
        }
        if self.pins == later.pins { Ok(()) } else { Err(String::from("other pins after the next cut")) }
    }
}

fn fits(found: &What, allowed: &[What], evicts: bool) -> bool {
    let What::Parts(version, have) = found else { return allowed.contains(found) };
    let within = |inner: &[Range<u64>], outer: &[Range<u64>]| {
        inner.iter().all(|inner| outer.iter().any(|outer| outer.start <= inner.start && inner.end <= outer.end))
    };
    let told = allowed.iter().any(|what| matches!(what, What::Parts(other, all) if other == version && within(have, all)));
    let kept = !matches!(&allowed[0], What::Parts(other, all) if other == version && !within(all, have));
    told && (kept || evicts)
}
