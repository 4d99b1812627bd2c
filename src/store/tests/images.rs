//! Power cuts: seeded workloads on a disk that records, then thousands of images of what a cut at some moment may leave. Each is
//! opened, compared with what was promised, written to, cut again, and opened again. `BULAK_IMAGES` says how many (10,000),
//! `BULAK_IMAGES_SEED` begins elsewhere. Two stores that break the promise on purpose show that the suite can fail.

use super::kit::{get, key, meta, put, text};
use super::oracle::{URLS, When};
use super::world::{Broken, World, open};
use crate::store::Error;
use crate::store::disk::Disk;
use crate::store::disk::record::{Arrived, Image, Recorder, roll};
use crate::store::record::{Header, Kind, Line, fingerprint};
use crate::store::recover::{known_identity, scan, segments};
use std::path::Path;
use std::sync::Arc;

/// Images in all, and the tests that share them so that they run side by side.
const IMAGES: u64 = 10_000;
const SHARES: u64 = 8;
/// Steps of one workload, and images of it: short ones, many times, since each begins in another way.
const STEPS: u64 = 90;
const IMAGES_EACH: u64 = 125;
/// Workloads of a store that is broken on purpose.
const BROKEN: u64 = 12;

impl World {
    /// Opens an image of a moment and says what is wrong with it.
    async fn examine(&self, image: &Image, moment: usize, seed: u64) -> Result<(), String> {
        let disk = Recorder::of(&with_snapshot_hurt(image, seed));
        let store = open(Arc::new(disk.clone()), &self.settings, &self.clock)?;
        let first = self.oracle.check(&store, When::Cut(moment)).await?;
        let mut strangers = 0;
        let each = store.each(|entry| strangers += u64::from(!URLS.iter().any(|(url, _)| *entry.meta.url == **url))).await;
        each.map_err(|error| error.to_string())?;
        if strangers > 0 {
            return Err(format!("{strangers} entries that nobody put there"));
        }
        let (new, body) = ("http://new.kz/", text(seed, 3000));
        match put(&store, meta(new), &body).await {
            // So small a store may be too full for its records to be moved.
            Err(Error::Full) if self.oracle.evicts => return Ok(()),
            done => done.map_err(|error| format!("takes nothing new: {error}"))?,
        };
        store.pin("new", &key(new)).await.map_err(|error| format!("pins nothing new: {error}"))?;
        drop(store);
        let disk = Recorder::of(&disk.cut(Arrived::pick(roll(seed, 0, 12)), seed));
        let store = open(Arc::new(disk.clone()), &self.settings, &self.clock).map_err(|error| format!("a second time: {error}"))?;
        let second = self.oracle.check(&store, When::Cut(moment)).await.map_err(|error| format!("a second time: {error}"))?;
        first.compare(&second, self.oracle.evicts)?;
        let kept = get(&store, new).await.is_some_and(|found| found == body) && store.0.log.table().read().pinned(&key(new));
        if kept { Ok(()) } else { Err(String::from("what came after the first cut is lost")) }
    }
}

/// In every fourth image the snapshot is not what was written.
fn with_snapshot_hurt(image: &Image, seed: u64) -> Image {
    let mut image = image.clone();
    if let Some(content) = image.files.get_mut(Path::new("/store/table.ckpt"))
        && !content.is_empty()
    {
        let bytes = Arc::make_mut(content);
        let at = usize::try_from(roll(seed, 1, 12)).unwrap_or(0) % bytes.len();
        match roll(seed, 2, 12) % 12 {
            0 => bytes[at] ^= 1 << (at % 8),
            1 => bytes.truncate(at),
            2 => bytes[at..].fill(0),
            _ => {}
        }
    }
    image
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// One workload and so many images of it. What is wrong with the first bad one.
async fn workload(seed: u64, images: u64, broken: Broken) -> Result<(), String> {
    let mut world = World::new(seed, broken);
    let run = world.run(STEPS).await;
    run.map_err(|error| format!("workload {seed}: {error}\nafter\n{}", world.story(usize::MAX)))?;
    let mut sweep = world.disk.sweep();
    let mut cuts: Vec<(usize, u64)> =
        (0..images).map(|n| (usize::try_from(roll(seed, n, 13)).unwrap_or(0) % (sweep.len() + 1), roll(seed, n, 14))).collect();
    cuts.sort_unstable();
    for (moment, cut) in cuts {
        sweep.advance(moment);
        let arrived = Arrived::pick(cut);
        let done = world.examine(&sweep.image(arrived, cut), moment, cut).await;
        done.map_err(|error| {
            let moments = format!("cut at {moment} of {}, {arrived:?}, image {cut}", sweep.len());
            let [holds, whole] = [arrived, Arrived::Everything].map(|arrived| holds(&sweep.image(arrived, cut), &error));
            format!(
                "workload {seed}, {moments}: {error}\nbefore it: {}\non the disk:\n{holds}\nif all had arrived:\n{whole}",
                world.story(moment)
            )
        })?;
    }
    Ok(())
}

/// What an image holds of the URL that a complaint is about, for whoever looks for its cause.
fn holds(image: &Image, complaint: &str) -> String {
    let mut told = Vec::new();
    let Some((url, _)) = URLS.iter().find(|(url, _)| complaint.contains(&format!(" {url}:"))) else { return String::new() };
    let disk = Recorder::of(image);
    let uuid = known_identity(&disk, Path::new("/store")).unwrap_or_default();
    for found in segments(&disk, Path::new("/store/seg")).unwrap_or_default() {
        told.push(format!("{} {:?} sealed: {}, {} bytes", found.number, found.lane, found.sealed, found.length));
        let Ok(file) = disk.open(&found.path, false) else { continue };
        let each = |line: Line, _: &Header, holds: bool, _: &[u8]| {
            if line.url() == key(url) || matches!(line.kind, Kind::Tomb | Kind::Blob) {
                let (entry, body) = (fingerprint(&line.entry()), fingerprint(&line.key));
                let Line { kind, at, seq, link, .. } = line;
                told.push(format!("  {kind:?} at {at} seq {seq} body {body:x} entry {entry:x} link {link:x} holds: {holds}"));
            }
        };
        if let Err(error) = scan(&*file, found.length, &uuid, each) {
            told.push(error.to_string());
        }
    }
    told.join("\n")
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

shares! { power_cuts_0 0 power_cuts_1 1 power_cuts_2 2 power_cuts_3 3 power_cuts_4 4 power_cuts_5 5 power_cuts_6 6 power_cuts_7 7 }

/// Found by the 80,000th power cut: an object is purged of which nothing was left but the name of a segment that had just been removed.
#[tokio::test]
async fn a_purge_counts_though_what_it_names_has_just_been_removed() {
    workload(319, IMAGES_EACH, Broken::No).await.unwrap();
}

/// The suite proves nothing about what its workloads never do.
#[tokio::test]
async fn workloads_do_all_that_they_should() {
    let (mut evicted, mut rewritten, mut recovered, mut dicts, mut deltas, mut snapshots) = (0, 0, 0, 0, 0, 0);
    for seed in 0..30 {
        let mut world = World::new(seed, Broken::No);
        world.run(STEPS).await.unwrap_or_else(|error| panic!("{seed}: {error}"));
        world.open().unwrap();
        evicted += world.evicted;
        rewritten += world.rewritten;
        (dicts, deltas, snapshots) = (dicts + world.dicts, deltas + world.deltas, snapshots + world.snapshots);
        recovered += world.log.iter().filter(|(_, what)| what.starts_with("end")).count();
    }
    assert!(evicted > 10 && rewritten > 1 << 20 && recovered > 60, "{evicted} evicted, {rewritten} B rewritten, {recovered} ends");
    assert!(dicts > 20 && deltas > 20 && snapshots > 20, "{dicts} dictionaries, {deltas} deltas, {snapshots} snapshots");
}

/// Power cuts find a store that breaks its promise in this way; without a cut it does well.
async fn is_caught(broken: Broken) {
    let mut caught = 0;
    for seed in 0..BROKEN {
        let Err(error) = workload(seed, IMAGES_EACH, broken).await else { continue };
        assert!(error.contains("cut at"), "{error}");
        caught += 1;
    }
    assert!(caught > 0, "{caught} of {BROKEN}");
}

#[tokio::test]
async fn a_store_that_does_not_sync_is_caught() {
    is_caught(Broken::Unsynced).await;
}

#[tokio::test]
async fn a_store_that_goes_on_in_an_old_segment_is_caught() {
    is_caught(Broken::Resuming).await;
}
