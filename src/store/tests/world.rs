//! A store on a disk that records, a seeded workload for it, and what it was told: the common part of the tests with power cuts
//! and with failing disks.

use super::kit::{key, noise, put, settings, text};
use super::oracle::{History, Name, Oracle, PAGES, PARTS_FROM, SETS, URLS, What, When, meta_of};
use crate::base::clock::{Clock, Time};
use crate::base::count::Metrics;
use crate::base::digest::Digest;
use crate::base::unit::Bytes as Size;
use crate::life::Life;
use crate::store::disk::Disk;
use crate::store::disk::fault::Faulty;
use crate::store::disk::record::{Recorder, roll};
use crate::store::record::Codec;
use crate::store::segment::{Lane, Written};
use crate::store::shrink::Night;
use crate::store::{Pace, Settings, Store};
use bytes::Bytes;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// Length of a body that comes in parts, and of a part.
const WHOLE: u64 = 150_000;
const PART: u64 = 30_000;

/// What a store that evicts may answer.
const REFUSED: [&str; 3] = ["the store is full", "entity not found", NOT_THERE];
const NOT_THERE: &str = "what is to be renewed is not there";
/// Every third workload has a store so small that answers are evicted, of so many bytes.
const QUOTA: u64 = 96 << 10;

/// Bodies of every codec and size, and which workloads have them.
static BODIES: LazyLock<Vec<Bytes>> = LazyLock::new(|| {
    let mut bodies: Vec<Vec<u8>> = vec![Vec::new(), noise(1, 40), text(2, 900), text(3, 900), noise(4, 900), text(5, 9000), noise(6, 5000)];
    bodies.extend([text(7, 60_000), noise(8, 20_000), noise(9, 66_000), text(10, 3000), noise(11, 140_000)]);
    bodies.extend((0..4).map(script));
    // In frames, and through a temporary file.
    bodies.push(text(12, 1_100_000));
    bodies.into_iter().map(Bytes::from).collect()
});

/// A version of a script, for deltas.
pub(crate) fn script(version: u64) -> Vec<u8> {
    let mut body = text(13, 9300);
    for at in [2000, 5000] {
        body.splice(at..at + 50, text(100 + version, 60));
    }
    body
}

/// A page of a site, like its others, for dictionaries.
pub(crate) fn page(number: u64) -> Vec<u8> {
    [text(14, 1500), text(200 + number, 500)].concat()
}

/// How a store is broken on purpose.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    No,
    /// Its disk does not sync.
    Unsynced,
    /// It goes on in the segment that was open when it ended, and takes what it finds there for durable.
    Resuming,
}

/// A store on a disk that records, and what it was told.
pub(crate) struct World {
    seed: u64,
    rolls: u64,
    pub(crate) disk: Recorder,
    /// Stands between the store and its disk.
    pub(crate) faulty: Option<Faulty>,
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
    broken: Broken,
    open: Option<Store>,
    pub(crate) oracle: Oracle,
    versions: u32,
    /// What was done, and when.
    pub(crate) log: Vec<(usize, String)>,
    /// Answers evicted, bytes copied by rewriting, until the store was opened last.
    pub(crate) evicted: u64,
    pub(crate) rewritten: u64,
    /// Nights after which bodies were coded with a dictionary, and as deltas.
    pub(crate) dicts: u64,
    pub(crate) deltas: u64,
    /// Snapshots that were written.
    pub(crate) snapshots: u64,
}

/// Opens a store.
pub(crate) fn open(disk: Arc<dyn Disk>, settings: &Settings, clock: &Clock) -> Result<Store, String> {
    let life = Life::default();
    // Nothing runs beside the workload, which says when the house is kept and room is made: so it is the same each time.
    life.stop();
    let store = Store::open_on(disk, settings.clone(), clock.clone(), &life, &Metrics::default());
    store.map_err(|error| format!("does not open: {error}"))
}

impl World {
    /// An empty disk, and settings by the seed.
    pub(crate) fn new(seed: u64, broken: Broken) -> World {
        let disk = Recorder::default();
        if broken == Broken::Unsynced {
            disk.lie();
        }
        let evicts = broken == Broken::No && seed % 3 == 1;
        let choose = |which: u64, of: &[u64]| Size(of[usize::try_from(roll(seed, which, 10)).unwrap_or(0) % of.len()]);
        let settings = Settings {
            segment: choose(1, &[64 << 10, 256 << 10, 1 << 20]),
            sync_bytes: choose(2, &[16 << 10, 4 << 20]),
            hot_object: choose(3, &[16 << 10, 1 << 20]),
            index_cache: Size(0),
            quota: if evicts { Size(QUOTA) } else { Size::mib(512) },
            sync_after: Duration::from_hours(24),
            ..settings(Path::new("/store"))
        };
        let clock = Clock::manual(Time::from_secs(1_800_000_000));
        let (oracle, log) = (Oracle::new(evicts), Vec::new());
        World {
            seed,
            rolls: 0,
            disk,
            faulty: None,
            settings,
            clock,
            broken,
            open: None,
            oracle,
            versions: 0,
            log,
            evicted: 0,
            rewritten: 0,
            dicts: 0,
            deltas: 0,
            snapshots: 0,
        }
    }

    fn roll(&mut self, below: u64) -> u64 {
        self.rolls += 1;
        roll(self.seed, self.rolls, 11) % below
    }

    fn say(&mut self, what: String) {
        self.log.push((self.disk.moment(), what));
    }

    /// What was done before a moment.
    pub(crate) fn story(&self, moment: usize) -> String {
        let before = self.log.iter().filter(|(when, _)| *when < moment);
        before.map(|(when, what)| format!("{when}: {what}")).collect::<Vec<String>>().join("\n")
    }

    /// The store, which is open.
    pub(crate) fn store(&self) -> Store {
        self.open.clone().expect("opened")
    }

    /// Ends the store as a kill does, if there is one, and opens it.
    pub(crate) fn open(&mut self) -> Result<(), String> {
        if let Some(store) = self.open.take() {
            self.evicted += store.0.meters.evicted.get();
            self.rewritten += store.0.log.written(Written::Rewrite);
        }
        let mut logs = self.disk.now().files.into_keys().filter(|path| path.extension().is_some_and(|end| end == "log"));
        let old: Option<PathBuf> = logs.next_back().filter(|_| self.broken == Broken::Resuming);
        self.disk.hide(old.clone());
        let disk: Arc<dyn Disk> = match &self.faulty {
            Some(faulty) => Arc::new(faulty.clone()),
            None => Arc::new(self.disk.clone()),
        };
        let opened = open(disk, &self.settings, &self.clock)?;
        if let Some(old) = old {
            self.disk.hide(None);
            let number = old.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok()).ok_or("no segment")?;
            opened.0.log.resume(number).map_err(|error| error.to_string())?;
        }
        self.open = Some(opened);
        Ok(())
    }

    fn version(&mut self, body: Bytes) -> u32 {
        self.versions += 1;
        self.oracle.bodies.insert(self.versions, body);
        self.versions
    }

    /// So many steps, none of which fails, but for want of room.
    pub(crate) async fn run(&mut self, steps: u64) -> Result<(), String> {
        self.open()?;
        for _ in 0..steps {
            match self.step().await {
                Err(error) if !self.oracle.evicts || !REFUSED.iter().any(|text| error.contains(text)) => {
                    return Err(format!("step {:?}: {error}", self.log.last()));
                }
                Err(_) => self.settle().await?,
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// So many steps, any of which may fail: it has then happened or not, and what was there before can be read. A minute
    /// passes with each.
    pub(crate) async fn run_on(&mut self, steps: u64) -> Result<(), String> {
        for _ in 0..steps {
            self.clock.advance(Duration::from_mins(1));
            match self.step().await {
                Err(error) if error.contains("does not open") || error.contains("panicked") => return Err(error),
                Err(_) => self.settle().await.map_err(|error| format!("step {:?}: {error}", self.log.last()))?,
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// Looks what has become of a step that failed.
    async fn settle(&mut self) -> Result<(), String> {
        let seen = self.oracle.check(&self.store(), When::Cut(usize::MAX)).await?;
        self.oracle.take(self.disk.moment(), seen);
        Ok(())
    }

    /// One step, by chance.
    async fn step(&mut self) -> Result<(), String> {
        self.oracle.begin();
        let url = usize::try_from(self.roll(URLS.len() as u64)).unwrap_or(0);
        let name = (url, self.roll(URLS[url].1));
        match self.roll(33) {
            0..=7 if url < PARTS_FROM => self.put(name).await,
            // Taken out of order, parts would be told wrongly without any cut.
            0..=9 if self.broken != Broken::Resuming => self.part(name).await,
            10..=11 => self.renew(name).await,
            12..=13 => self.pin(url, true).await,
            14 => self.pin(url, false).await,
            15 => self.forget(url, true).await,
            16 => self.forget(url, false).await,
            17 => self.forget_object(name).await,
            8..=9 | 18..=19 => self.sync().await,
            20 => self.keep_house(),
            21 => self.end(true).await,
            22 => self.end(false).await,
            23..=25 if self.broken == Broken::No => self.rewrite().await,
            26 => self.make_room(),
            27..=28 => self.put_pages().await,
            29..=30 if self.broken == Broken::No => self.night().await,
            31 if self.broken == Broken::No => self.snapshot(),
            23..=25 | 29..=31 => self.put((0, name.1 % URLS[0].1)).await,
            _ => self.rare().await,
        }
    }

    async fn put(&mut self, name: Name) -> Result<(), String> {
        let bodies = if self.seed.is_multiple_of(4) { BODIES.len() } else { BODIES.len() - 1 };
        let mut body = BODIES[usize::try_from(self.roll(bodies as u64)).unwrap_or(0)].clone();
        if self.oracle.evicts && self.roll(4) > 0 {
            // Each another one, so that the store fills.
            let length = [4000, 6000, 9000, 9500][usize::try_from(self.roll(4)).unwrap_or(0)];
            body = Bytes::from(noise(u64::from(self.versions) + 5000, length));
        }
        self.put_body(name, body).await
    }

    /// All pages of the site come in, each a new one.
    async fn put_pages(&mut self) -> Result<(), String> {
        for name in PAGES.flat_map(|url| (0..URLS[url].1).map(move |variant| (url, variant))) {
            self.oracle.begin();
            self.put_body(name, Bytes::from(page(u64::from(self.versions)))).await?;
        }
        Ok(())
    }

    async fn put_body(&mut self, name: Name, body: Bytes) -> Result<(), String> {
        let version = self.version(body.clone());
        self.say(format!("put {name:?} version {version}, {} bytes", body.len()));
        let what = What::Whole(version, Digest::of(&body));
        self.oracle.tell(name, self.disk.moment(), what);
        put(&self.store(), meta_of(name, version), &body).await.map(drop).map_err(|error| error.to_string())
    }

    async fn part(&mut self, name: Name) -> Result<(), String> {
        let moment = self.disk.moment();
        let at = self.roll(WHOLE / PART) * PART;
        let anew = self.roll(8) == 0;
        let now = self.oracle.names[&name].last().clone();
        let (version, mut have) = match now {
            What::Whole(..) => return self.forget(name.0, false).await,
            What::Parts(version, have) if !anew => (version, have),
            now => {
                let version = self.version(Bytes::from(noise(u64::from(self.versions) + 1000, usize::try_from(WHOLE).unwrap_or(0))));
                if now != What::Nothing {
                    self.oracle.tell(name, moment, What::Nothing);
                }
                self.oracle.tell(name, moment, What::Parts(version, Vec::new()));
                (version, Vec::new())
            }
        };
        have.push(at..at + PART);
        let have = merged(have);
        self.say(format!("part {name:?} version {version} from {at}"));
        let body = self.oracle.bodies[&version].clone();
        self.oracle.tell(name, moment, What::Parts(version, have.clone()));
        if have[0] == (0..WHOLE) {
            self.oracle.tell(name, moment, What::Whole(version, Digest::of(&body)));
        }
        let from = usize::try_from(at).unwrap_or(0);
        let piece = body.slice(from..from + usize::try_from(PART).unwrap_or(0));
        self.store().put_part(meta_of(name, version), WHOLE, at, piece).await.map(drop).map_err(|error| error.to_string())
    }

    async fn renew(&mut self, name: Name) -> Result<(), String> {
        let What::Whole(old, object) = *self.oracle.names[&name].last() else { return Ok(()) };
        // In a full store it would stay in memory, and be promised to nobody.
        if self.store().0.gate.admit(self.store().0.log.bytes(), 0).is_err() {
            return Ok(());
        }
        let version = self.version(self.oracle.bodies[&old].clone());
        self.say(format!("renew {name:?} version {version}"));
        self.oracle.tell(name, self.disk.moment(), What::Whole(version, object));
        let store = self.store();
        let meta = meta_of(name, version);
        let variants = store.find(&key(&meta.url)).await.map_err(|error| error.to_string())?;
        let entry = variants.iter().find(|entry| entry.meta.key == meta.key).ok_or(NOT_THERE)?;
        store.renew(entry, meta).await.map(drop).map_err(|error| error.to_string())
    }

    async fn pin(&mut self, url: usize, on: bool) -> Result<(), String> {
        let set = usize::try_from(self.roll(SETS.len() as u64)).unwrap_or(0);
        let here = self.oracle.names_of(url).iter().any(|name| *self.oracle.names[name].last() != What::Nothing);
        if on && !here {
            return Ok(());
        }
        self.say(format!("pin {} in {}: {on}", URLS[url].0, SETS[set]));
        let (store, url_key) = (self.store(), key(URLS[url].0));
        if on {
            self.oracle.loosen(&store, url).await?;
        }
        self.oracle.pins.get_mut(&(url, set)).expect("a pin").tell(self.disk.moment(), on);
        if on {
            store.pin(SETS[set], &url_key).await.map_err(|error| error.to_string())?;
            self.oracle.promise_all(self.disk.moment());
        } else {
            store.unpin(SETS[set], Some(&url_key)).await.map_err(|error| error.to_string())?;
            self.promise_pin((url, set));
        }
        Ok(())
    }

    fn promise_pin(&mut self, pin: (usize, usize)) {
        self.oracle.pins.get_mut(&pin).expect("a pin").promise(self.disk.moment());
    }

    /// These names are about to be nothing, and a URL of which nothing is left is pinned by no one.
    async fn tell_gone(&mut self, names: &[Name]) -> Result<(), String> {
        let moment = self.disk.moment();
        for name in names {
            self.oracle.names.get_mut(name).expect("a name").tell(moment, What::Nothing);
            let mut others = self.oracle.names_of(name.0);
            others.retain(|name| *self.oracle.names[name].last() != What::Nothing);
            if self.present(others).await?.is_empty() {
                self.pins_of(name.0).for_each(|history| history.tell(moment, false));
            }
        }
        Ok(())
    }

    fn pins_of(&mut self, url: usize) -> impl Iterator<Item = &mut History<bool>> {
        self.oracle.pins.iter_mut().filter(move |(pin, _)| pin.0 == url).map(|(_, history)| history)
    }

    fn promise_gone(&mut self, names: &[Name]) {
        let moment = self.disk.moment();
        for name in names {
            self.oracle.names.get_mut(name).expect("a name").promise(moment);
            self.pins_of(name.0).for_each(|history| history.promise(moment));
        }
    }

    async fn forget(&mut self, url: usize, durable: bool) -> Result<(), String> {
        self.say(format!("forget {}, durable: {durable}", URLS[url].0));
        let mut names = self.oracle.names_of(url);
        if !durable {
            names = self.present(names).await?;
        }
        self.tell_gone(&names).await?;
        self.store().forget(&key(URLS[url].0), durable).await.map_err(|error| error.to_string())?;
        if durable {
            self.promise_gone(&names);
        }
        Ok(())
    }

    /// Those of them that are there: what was evicted is forgotten durably or not at all.
    async fn present(&self, names: Vec<Name>) -> Result<Vec<Name>, String> {
        let (mut here, store) = (Vec::new(), self.store());
        for name in names {
            if !self.oracle.evicts || self.oracle.look(&store, name).await? != What::Nothing {
                here.push(name);
            }
        }
        Ok(here)
    }

    async fn forget_object(&mut self, name: Name) -> Result<(), String> {
        let What::Whole(_, object) = *self.oracle.names[&name].last() else { return Ok(()) };
        self.say(format!("forget the object of {name:?}"));
        let all = self.oracle.names.iter();
        let same = all.filter(|(_, history)| matches!(history.last(), What::Whole(_, other) if *other == object));
        let names: Vec<Name> = same.map(|(name, _)| *name).collect();
        self.tell_gone(&names).await?;
        self.store().forget_object(&object).await.map_err(|error| error.to_string())?;
        self.promise_gone(&names);
        Ok(())
    }

    /// All of it is promised.
    pub(crate) async fn sync(&mut self) -> Result<(), String> {
        self.say(String::from("sync"));
        self.store().sync().await.map_err(|error| error.to_string())?;
        self.oracle.promise_all(self.disk.moment());
        Ok(())
    }

    fn keep_house(&mut self) -> Result<(), String> {
        self.say(String::from("keep house"));
        self.store().0.keep_house().map_err(|error| error.to_string())
    }

    /// Some sealed segments are rewritten, as at night; nothing is to be seen of it.
    async fn rewrite(&mut self) -> Result<(), String> {
        let lane = if self.roll(4) == 0 { Lane::Parts } else { Lane::Main };
        let all = self.store().0.log.segments().into_iter().filter(|(_, segment)| segment.lane == lane && segment.is_done());
        let some: Vec<u32> = all.map(|(number, _)| number).filter(|_| self.roll(2) == 0).collect();
        self.say(format!("rewrite {some:?}"));
        self.store().0.rewrite(&some, None).map_err(|error| error.to_string())?;
        self.oracle.check(&self.store(), When::Cut(usize::MAX)).await.map(drop)
    }

    /// A night, or the beginning of one. Nothing is to be seen of it.
    async fn night(&mut self) -> Result<(), String> {
        let steps = if self.roll(4) == 0 { self.roll(12) } else { u64::MAX };
        self.say(format!("night of {steps} steps"));
        let (store, mut night) = (self.store(), Night::new(Pace::Now).eager());
        for _ in 0..steps {
            if night.step(&store.0).map_err(|error| error.to_string())?.done {
                break;
            }
        }
        let codecs = store.0.log.table().read().sums().codecs;
        self.dicts += u64::from(codecs[Codec::Dict as usize].0 > 0);
        self.deltas += u64::from(codecs[Codec::Delta as usize].0 > 0);
        self.oracle.check(&store, When::Cut(usize::MAX)).await.map(drop)
    }

    fn snapshot(&mut self) -> Result<(), String> {
        self.say(String::from("snapshot"));
        self.snapshots += u64::from(self.store().0.snapshot().map_err(|error| error.to_string())?);
        Ok(())
    }

    fn make_room(&mut self) -> Result<(), String> {
        self.say(String::from("make room"));
        self.store().0.reclaim().map(drop).map_err(|error| error.to_string())
    }

    /// The store ends, by `close` or by a kill, and is opened again; nothing is lost by that.
    async fn end(&mut self, close: bool) -> Result<(), String> {
        self.say(format!("end, closed: {close}"));
        if close {
            self.store().close().await.map_err(|error| error.to_string())?;
            self.oracle.promise_all(self.disk.moment());
        }
        self.open()?;
        self.oracle.check(&self.store(), self.oracle.now()).await.map(drop)
    }

    async fn rare(&mut self) -> Result<(), String> {
        if self.roll(2) == 0 {
            let set = usize::try_from(self.roll(SETS.len() as u64)).unwrap_or(0);
            self.say(format!("unpin {}", SETS[set]));
            let moment = self.disk.moment();
            self.oracle.pins.iter_mut().filter(|(pin, _)| pin.1 == set).for_each(|(_, history)| history.tell(moment, false));
            self.store().unpin(SETS[set], None).await.map_err(|error| error.to_string())?;
            (0..URLS.len()).for_each(|url| self.promise_pin((url, set)));
            return Ok(());
        }
        self.say(String::from("forget b.kz"));
        let here = self.oracle.names.iter().filter(|(name, history)| URLS[name.0].0.contains("b.kz") && *history.last() != What::Nothing);
        let names: Vec<Name> = here.map(|(name, _)| *name).collect();
        self.tell_gone(&names).await?;
        self.store().forget_host("b.kz").await.map_err(|error| error.to_string())?;
        self.promise_gone(&names);
        Ok(())
    }
}

fn merged(mut have: Vec<Range<u64>>) -> Vec<Range<u64>> {
    have.sort_by_key(|range| range.start);
    let mut out: Vec<Range<u64>> = Vec::new();
    for range in have {
        match out.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => out.push(range),
        }
    }
    out
}
