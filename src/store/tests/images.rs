//! Power cuts: seeded workloads on a disk that records, then thousands of images of what a cut at some moment may leave. Each is
//! opened, compared with what was promised, written to, cut again, and opened again. `BULAK_IMAGES` says how many (10,000),
//! `BULAK_IMAGES_SEED` begins elsewhere. Two stores that break the promise on purpose show that the suite can fail.

use super::kit::{noise, settings, text};
use super::oracle::{History, Name, Oracle, PARTS_FROM, SETS, URLS, What, When, meta_of};
use crate::base::clock::{Clock, Time};
use crate::base::count::Metrics;
use crate::base::digest::Digest;
use crate::base::unit::Bytes as Size;
use crate::life::Life;
use crate::store::disk::record::{Arrived, Image, Recorder, roll};
use crate::store::tests::kit::{get, key, meta, put};
use crate::store::{Settings, Store};
use bytes::Bytes;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// Images in all, and the tests that share them so that they run side by side.
const IMAGES: u64 = 10_000;
const SHARES: u64 = 8;
/// Steps of one workload, and images of it: short ones, many times, since each begins in another way.
const STEPS: u64 = 50;
const IMAGES_EACH: u64 = 125;
/// Length of a body that comes in parts, and of a part.
const WHOLE: u64 = 150_000;
const PART: u64 = 30_000;

/// Bodies of every codec and size, and which workloads have them.
static BODIES: LazyLock<Vec<Bytes>> = LazyLock::new(|| {
    let mut bodies: Vec<Vec<u8>> = vec![Vec::new(), noise(1, 40), text(2, 900), text(3, 900), noise(4, 900), text(5, 9000), noise(6, 5000)];
    bodies.extend([text(7, 60_000), noise(8, 20_000), noise(9, 66_000), text(10, 3000), noise(11, 140_000)]);
    // In frames, and through a temporary file.
    bodies.push(text(12, 1_100_000));
    bodies.into_iter().map(Bytes::from).collect()
});

/// How a store is broken on purpose.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Broken {
    No,
    /// Its disk does not sync.
    Unsynced,
    /// It goes on in the segment that was open when it ended, and takes what it finds there for durable.
    Resuming,
}

/// A store on a disk that records, and what it was told.
struct World {
    seed: u64,
    rolls: u64,
    disk: Recorder,
    settings: Settings,
    broken: Broken,
    store: Option<(Store, Life)>,
    oracle: Oracle,
    versions: u32,
    /// What was done, and when.
    log: Vec<(usize, String)>,
}

fn open(disk: &Recorder, settings: &Settings) -> Result<(Store, Life), String> {
    let life = Life::default();
    let clock = Clock::manual(Time::from_secs(1_800_000_000));
    let store = Store::open_on(Arc::new(disk.clone()), settings.clone(), clock, &life, &Metrics::default());
    store.map(|store| (store, life)).map_err(|error| format!("does not open: {error}"))
}

impl World {
    fn new(seed: u64, broken: Broken) -> World {
        let disk = Recorder::default();
        if broken == Broken::Unsynced {
            disk.lie();
        }
        let choose = |which: u64, of: &[u64]| Size(of[usize::try_from(roll(seed, which, 10)).unwrap_or(0) % of.len()]);
        let settings = Settings {
            segment: choose(1, &[64 << 10, 256 << 10, 1 << 20]),
            sync_bytes: choose(2, &[16 << 10, 4 << 20]),
            hot_object: choose(3, &[16 << 10, 1 << 20]),
            index_cache: Size(0),
            // The workload says when the house is kept.
            sync_after: Duration::from_hours(24),
            ..settings(Path::new("/store"))
        };
        World { seed, rolls: 0, disk, settings, broken, store: None, oracle: Oracle::new(), versions: 0, log: Vec::new() }
    }

    fn roll(&mut self, below: u64) -> u64 {
        self.rolls += 1;
        roll(self.seed, self.rolls, 11) % below
    }

    fn say(&mut self, what: String) {
        self.log.push((self.disk.moment(), what));
    }

    fn store(&self) -> Store {
        self.store.as_ref().expect("opened").0.clone()
    }

    fn open(&mut self) -> Result<(), String> {
        if let Some((_, life)) = self.store.take() {
            life.stop();
        }
        self.store = Some(open(&self.disk, &self.settings)?);
        Ok(())
    }

    fn version(&mut self, body: Bytes) -> u32 {
        self.versions += 1;
        self.oracle.bodies.insert(self.versions, body);
        self.versions
    }

    /// A whole workload.
    async fn run(&mut self) -> Result<(), String> {
        self.open()?;
        for _ in 0..STEPS {
            self.step().await.map_err(|error| format!("step {:?}: {error}", self.log.last()))?;
        }
        Ok(())
    }

    async fn step(&mut self) -> Result<(), String> {
        let url = usize::try_from(self.roll(URLS.len() as u64)).unwrap_or(0);
        let name = (url, self.roll(URLS[url].1));
        match self.roll(24) {
            0..=7 if url < PARTS_FROM => self.put(name).await,
            0..=9 => self.part(name).await,
            10..=11 => self.renew(name).await,
            12..=13 => self.pin(url, true).await,
            14 => self.pin(url, false).await,
            15 => self.forget(url, true).await,
            16 => self.forget(url, false).await,
            17 => self.forget_object(name).await,
            18..=19 => self.sync().await,
            20 => self.keep_house(),
            21 => self.end(true).await,
            22 => self.end(false).await,
            _ => self.rare().await,
        }
    }

    async fn put(&mut self, name: Name) -> Result<(), String> {
        let bodies = if self.seed.is_multiple_of(4) { BODIES.len() } else { BODIES.len() - 1 };
        let body = BODIES[usize::try_from(self.roll(bodies as u64)).unwrap_or(0)].clone();
        let version = self.version(body.clone());
        self.say(format!("put {name:?} version {version}, {} bytes", body.len()));
        let what = What::Whole(version, Digest::of(&body));
        self.oracle.names.get_mut(&name).expect("a name").tell(self.disk.moment(), what);
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
                let history = self.oracle.names.get_mut(&name).expect("a name");
                if now != What::Nothing {
                    history.tell(moment, What::Nothing);
                }
                history.tell(moment, What::Parts(version, Vec::new()));
                (version, Vec::new())
            }
        };
        have.push(at..at + PART);
        let have = merged(have);
        self.say(format!("part {name:?} version {version} from {at}"));
        let body = self.oracle.bodies[&version].clone();
        let history = self.oracle.names.get_mut(&name).expect("a name");
        history.tell(moment, What::Parts(version, have.clone()));
        if have[0] == (0..WHOLE) {
            history.tell(moment, What::Whole(version, Digest::of(&body)));
        }
        let from = usize::try_from(at).unwrap_or(0);
        let piece = body.slice(from..from + usize::try_from(PART).unwrap_or(0));
        self.store().put_part(meta_of(name, version), WHOLE, at, piece).await.map(drop).map_err(|error| error.to_string())
    }

    async fn renew(&mut self, name: Name) -> Result<(), String> {
        let What::Whole(old, object) = *self.oracle.names[&name].last() else { return Ok(()) };
        let version = self.version(self.oracle.bodies[&old].clone());
        self.say(format!("renew {name:?} version {version}"));
        self.oracle.names.get_mut(&name).expect("a name").tell(self.disk.moment(), What::Whole(version, object));
        let store = self.store();
        let meta = meta_of(name, version);
        let variants = store.find(&key(&meta.url)).await.map_err(|error| error.to_string())?;
        let entry = variants.iter().find(|entry| entry.meta.key == meta.key).ok_or("what is to be renewed is not there")?;
        store.renew(entry, meta).await.map(drop).map_err(|error| error.to_string())
    }

    async fn pin(&mut self, url: usize, on: bool) -> Result<(), String> {
        let set = usize::try_from(self.roll(SETS.len() as u64)).unwrap_or(0);
        let here = self.oracle.names_of(url).iter().any(|name| *self.oracle.names[name].last() != What::Nothing);
        if on && !here {
            return Ok(());
        }
        self.say(format!("pin {} in {}: {on}", URLS[url].0, SETS[set]));
        self.oracle.pins.get_mut(&(url, set)).expect("a pin").tell(self.disk.moment(), on);
        let (store, url_key) = (self.store(), key(URLS[url].0));
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
    fn tell_gone(&mut self, names: &[Name]) {
        let moment = self.disk.moment();
        for name in names {
            self.oracle.names.get_mut(name).expect("a name").tell(moment, What::Nothing);
            if self.oracle.names_of(name.0).iter().all(|name| *self.oracle.names[name].last() == What::Nothing) {
                self.pins_of(name.0).for_each(|history| history.tell(moment, false));
            }
        }
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
        let names = self.oracle.names_of(url);
        self.tell_gone(&names);
        self.store().forget(&key(URLS[url].0), durable).await.map_err(|error| error.to_string())?;
        if durable {
            self.promise_gone(&names);
        }
        Ok(())
    }

    async fn forget_object(&mut self, name: Name) -> Result<(), String> {
        let What::Whole(_, object) = *self.oracle.names[&name].last() else { return Ok(()) };
        self.say(format!("forget the object of {name:?}"));
        let all = self.oracle.names.iter();
        let same = all.filter(|(_, history)| matches!(history.last(), What::Whole(_, other) if *other == object));
        let names: Vec<Name> = same.map(|(name, _)| *name).collect();
        self.tell_gone(&names);
        self.store().forget_object(&object).await.map_err(|error| error.to_string())?;
        self.promise_gone(&names);
        Ok(())
    }

    async fn sync(&mut self) -> Result<(), String> {
        self.say(String::from("sync"));
        self.store().sync().await.map_err(|error| error.to_string())?;
        self.oracle.promise_all(self.disk.moment());
        Ok(())
    }

    fn keep_house(&mut self) -> Result<(), String> {
        self.say(String::from("keep house"));
        self.store().0.keep_house().map_err(|error| error.to_string())
    }

    /// The store ends, by `close` or by a kill, and is opened again; nothing is lost by that.
    async fn end(&mut self, close: bool) -> Result<(), String> {
        self.say(format!("end, closed: {close}"));
        if close {
            self.store().close().await.map_err(|error| error.to_string())?;
            self.oracle.promise_all(self.disk.moment());
        }
        self.open()?;
        self.oracle.check(&self.store(), When::Now).await.map(drop)
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
        self.tell_gone(&names);
        self.store().forget_host("b.kz").await.map_err(|error| error.to_string())?;
        self.promise_gone(&names);
        Ok(())
    }

    /// Opens an image of a moment and says what is wrong with it.
    async fn examine(&self, image: &Image, moment: usize, seed: u64) -> Result<(), String> {
        let disk = Recorder::of(image);
        let (store, life) = open(&disk, &self.settings)?;
        let first = self.oracle.check(&store, When::Cut(moment)).await?;
        let mut strangers = 0;
        let each = store.each(|entry| strangers += u64::from(!URLS.iter().any(|(url, _)| *entry.meta.url == **url))).await;
        each.map_err(|error| error.to_string())?;
        if strangers > 0 {
            return Err(format!("{strangers} entries that nobody put there"));
        }
        let (new, body) = ("http://new.kz/", text(seed, 3000));
        put(&store, meta(new), &body).await.map_err(|error| format!("takes nothing new: {error}"))?;
        store.pin("new", &key(new)).await.map_err(|error| format!("pins nothing new: {error}"))?;
        life.stop();
        drop(store);
        let disk = Recorder::of(&disk.cut(Arrived::pick(roll(seed, 0, 12)), seed));
        let (store, life) = open(&disk, &self.settings).map_err(|error| format!("a second time: {error}"))?;
        let second = self.oracle.check(&store, When::Cut(moment)).await.map_err(|error| format!("a second time: {error}"))?;
        first.compare(&second)?;
        let kept = get(&store, new).await.is_some_and(|found| found == body) && store.0.log.table().read().pinned(&key(new));
        life.stop();
        if kept { Ok(()) } else { Err(String::from("what came after the first cut is lost")) }
    }
}

fn merged(mut have: Vec<std::ops::Range<u64>>) -> Vec<std::ops::Range<u64>> {
    have.sort_by_key(|range| range.start);
    let mut out: Vec<std::ops::Range<u64>> = Vec::new();
    for range in have {
        match out.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => out.push(range),
        }
    }
    out
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// One workload and so many images of it. What is wrong with the first bad one.
async fn workload(seed: u64, images: u64, broken: Broken) -> Result<(), String> {
    let mut world = World::new(seed, broken);
    world.run().await.map_err(|error| format!("workload {seed}: {error}"))?;
    let mut sweep = world.disk.sweep();
    let mut cuts: Vec<(usize, u64)> =
        (0..images).map(|n| (usize::try_from(roll(seed, n, 13)).unwrap_or(0) % (sweep.len() + 1), roll(seed, n, 14))).collect();
    cuts.sort_unstable();
    for (moment, cut) in cuts {
        sweep.advance(moment);
        let arrived = Arrived::pick(cut);
        let done = world.examine(&sweep.image(arrived, cut), moment, cut).await;
        done.map_err(|error| {
            let before = world.log.iter().filter(|(when, _)| *when < moment);
            let steps: Vec<String> = before.map(|(when, what)| format!("{when}: {what}")).collect();
            let moments = format!("cut at {moment} of {}, {arrived:?}, image {cut}", sweep.len());
            format!("workload {seed}, {moments}: {error}\nbefore it: {}", steps.join("\n"))
        })?;
    }
    Ok(())
}

async fn share(which: u64) {
    let (images, seed) = (number("BULAK_IMAGES", IMAGES), number("BULAK_IMAGES_SEED", 1));
    let mut left = images.div_ceil(SHARES);
    for n in 0.. {
        if left == 0 {
            break;
        }
        let now = left.min(IMAGES_EACH);
        left -= now;
        if let Err(error) = workload(seed.wrapping_add(n * SHARES + which), now, Broken::No).await {
            panic!("{error}");
        }
    }
}

macro_rules! shares {
    ($($name:ident $which:literal)*) => {
        $(#[tokio::test]
        async fn $name() {
            share($which).await;
        })*
    };
}

shares! { power_cuts_0 0 power_cuts_1 1 power_cuts_2 2 power_cuts_3 3 power_cuts_4 4 power_cuts_5 5 power_cuts_6 6 power_cuts_7 7 }

/// The suite sees a store whose syncs do nothing.
#[tokio::test]
async fn a_store_that_does_not_sync_is_caught() {
    let mut caught = 0;
    for seed in 0..4 {
        caught += u64::from(workload(seed, 50, Broken::Unsynced).await.is_err());
    }
    assert_eq!(caught, 4);
}
