//! One flipped bit in each byte of a 64 KiB segment of mixed records, and cuts at every edge: the right bytes or a miss, never a
//! panic, and `check --deep` reports every single one.

use super::kit::{noise, settings, text};
use crate::base::clock::{Clock, Time};
use crate::base::count::Metrics;
use crate::base::unit::Bytes as Size;
use crate::life::Life;
use crate::store::disk::Disk;
use crate::store::disk::fault::Faulty;
use crate::store::disk::record::{Image, Recorder};
use crate::store::record::{BLOCK, Codec};
use crate::store::recover;
use crate::store::shrink::Night;
use crate::store::tests::kit::{get, key, meta, put, read};
use crate::store::tests::world::{page, script};
use crate::store::{Pace, Settings, Store, check};
use bytes::Bytes;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The segment in which bits flip.
const SEGMENT: usize = 64 << 10;
/// Tests that share its bytes.
const SHARES: usize = 4;
/// Within a long body all bytes are alike for a start, which reads none of it: there each of so many is opened and read, unless
/// `BULAK_FLIPS` is 1. The check reads all of them in any case.
const STEP: usize = 16;

fn with(path: &str) -> Settings {
    // One segment for all of it, whatever its bodies' sizes.
    Settings {
        segment: Size::mib(8),
        index_cache: Size(0),
        hot_object: Size::kib(32),
        sync_after: Duration::from_hours(24),
        ..settings(Path::new(path))
    }
}

fn open(disk: Arc<dyn Disk>) -> (Store, Life) {
    let life = Life::default();
    let clock = Clock::manual(Time::from_secs(1_800_000_000));
    (Store::open_on(disk, with("/store"), clock, &life, &Metrics::default()).unwrap(), life)
}

/// What the first URL had before: right as well, where the newer record cannot be read.
const OLDER: &str = "an older version";

/// Bodies by URL.
type Wanted = Vec<(String, Vec<u8>)>;

/// A sealed store of mixed records: text, media, frames and pages when `large`, parts, pins, a tomb, replaced versions.
async fn fill(large: bool) -> (Image, Wanted) {
    let disk = Recorder::default();
    let (store, life) = open(Arc::new(disk.clone()));
    let mut bodies = vec![text(1, 900), noise(2, 300), text(3, 30_000), noise(4, 25_000), Vec::new(), noise(6, 21_400), text(7, 20_000)];
    if large {
        bodies.extend([noise(8, 150_001), text(9, 1_300_000)]);
    }
    let wanted: Wanted = bodies.into_iter().enumerate().map(|(n, body)| (format!("http://a.kz/{n}"), body)).collect();
    put(&store, meta("http://a.kz/0"), OLDER.as_bytes()).await.unwrap();
    put(&store, meta("http://a.kz/gone"), b"forgotten").await.unwrap();
    for (url, body) in &wanted {
        put(&store, meta(url), body).await.unwrap();
    }
    store.forget(&key("http://a.kz/gone"), true).await.unwrap();
    store.pin("one", &key("http://a.kz/1")).await.unwrap();
    store.pin("two", &key("http://a.kz/2")).await.unwrap();
    store.unpin("two", Some(&key("http://a.kz/2"))).await.unwrap();
    store.put_part(meta("http://a.kz/part"), 1000, 100, Bytes::from(vec![9; 50])).await.unwrap();
    store.close().await.unwrap();
    life.stop();
    (disk.now(), wanted)
}

async fn right_or_a_miss(store: &Store, wanted: &Wanted, what: &str) -> Vec<bool> {
    let mut hits = Vec::new();
    for (url, body) in wanted {
        let got = get(store, url).await;
        let older = |got: &Bytes| url == "http://a.kz/0" && got == OLDER;
        assert!(got.as_ref().is_none_or(|got| got == body || older(got)), "{what}: wrong bytes of {url}");
        hits.push(got.is_some());
    }
    if let Some(entry) = store.find(&key("http://a.kz/part")).await.unwrap().first() {
        for have in entry.have.clone() {
            assert_eq!(have, 100..150, "{what}");
            assert!(read(store, entry, Some(have)).await.map_or(true, |part| part == vec![9; 50]), "{what}");
        }
    }
    hits
}

fn flipped(image: &Image, path: &Path, at: usize, sealed: bool) -> Image {
    let mut image = image.clone();
    let mut bytes = image.files.remove(path).unwrap().to_vec();
    bytes[at] ^= 1 << (at % 8);
    let open = if path.extension().is_some_and(|ending| ending == "pseg") { "plog" } else { "log" };
    image.files.insert(if sealed { path.to_owned() } else { path.with_extension(open) }, Arc::new(bytes));
    image
}

/// Nothing is written: a trial is quick, and what is on the disk stays as it is.
fn read_only(image: &Image) -> Arc<dyn Disk> {
    let disk = Faulty::over(Arc::new(Recorder::of(image)));
    disk.0.read_only.store(true, Ordering::Relaxed);
    Arc::new(disk)
}

/// One flipped byte: the check must see it. With `most` the store is opened, too, and so many answers may be missing.
async fn try_flip(image: &Image, path: &Path, at: usize, wanted: &Wanted, most: Option<usize>) {
    let bad = flipped(image, path, at, true);
    let found = check::check_on(read_only(&bad), Path::new("/store"), true, false, |_, _| {}).unwrap();
    assert!(!found.lost.is_empty() || !found.repaired.is_empty(), "byte {at} of {}: the check does not see it", path.display());
    let Some(most) = most else { return };
    for sealed in [true, false] {
        let (store, life) = open(read_only(&flipped(image, path, at, sealed)));
        let hits = right_or_a_miss(&store, wanted, &format!("byte {at}, sealed: {sealed}")).await;
        assert!(hits.iter().filter(|hit| !**hit).count() <= most, "byte {at}: more is hurt than can be, {hits:?}");
        life.stop();
    }
}

async fn share(which: usize) {
    let (image, wanted) = fill(false).await;
    let path = PathBuf::from("/store/seg/00000001.seg");
    let good = Arc::clone(&image.files[&path]);
    assert!((SEGMENT..SEGMENT * 3 / 2).contains(&good.len()), "{} bytes", good.len());
    let clean = check::check_on(read_only(&image), Path::new("/store"), true, false, |_, _| {}).unwrap();
    assert_eq!((clean.repaired, clean.lost), (vec![], vec![]));
    let all = std::env::var("BULAK_FLIPS").is_ok_and(|value| value == "1");
    let long = long_bodies(&image, &path);
    for at in (which..good.len()).step_by(SHARES) {
        let inside = long.iter().any(|body| body.contains(&at));
        let read = all || !inside || (at / SHARES).is_multiple_of(STEP);
        try_flip(&image, &path, at, &wanted, read.then_some(1)).await;
    }
}

/// What lies within bodies, away from their edges.
fn long_bodies(image: &Image, path: &Path) -> Vec<std::ops::Range<usize>> {
    const EDGE: u64 = 64;
    lines(image, path)
        .into_iter()
        .filter(|(_, start, end)| end - start > 4 * EDGE)
        .map(|(_, start, end)| usize::try_from(start + EDGE).unwrap()..usize::try_from(end - EDGE).unwrap())
        .collect()
}

/// Where each record starts, its payload starts, and its payload ends.
fn lines(image: &Image, path: &Path) -> Vec<(u64, u64, u64)> {
    let disk = Recorder::of(image);
    let file = disk.open(path, false).unwrap();
    let uuid = recover::known_identity(&disk, Path::new("/store")).unwrap();
    let mut lines = Vec::new();
    recover::scan(&*file, file.length().unwrap(), &uuid, |line, header, holds, _| {
        assert!(holds);
        let start = header.payload_at(line.at);
        lines.push((line.at, start, start + header.length));
    })
    .unwrap();
    lines
}

shares! { every_flipped_byte_is_seen_0 0 every_flipped_byte_is_seen_1 1 every_flipped_byte_is_seen_2 2 every_flipped_byte_is_seen_3 3 }

/// Bodies on pages and in frames, and the padding before them: every byte near an edge, and some of the others.
#[tokio::test]
async fn flipped_bytes_of_large_bodies_are_seen() {
    const NEAR: u64 = 12;
    let (image, wanted) = fill(true).await;
    let path = PathBuf::from("/store/seg/00000001.seg");
    let large: Vec<(u64, u64, u64)> = lines(&image, &path).into_iter().filter(|(_, start, end)| end - start > BLOCK).collect();
    assert_eq!(large.len(), 2);
    let near = |at: u64, edge: u64| at.abs_diff(edge) <= NEAR;
    let from = large[0].0;
    for at in from..image.files[&path].len() as u64 {
        let edge = large.iter().any(|(head, start, end)| near(at, *head) || near(at, *start) || near(at, *end));
        if edge || at % 4999 == 0 || at < large[0].1 && at % 97 == 0 {
            try_flip(&image, &path, usize::try_from(at).unwrap(), &wanted, edge.then_some(1)).await;
        }
    }
}

#[tokio::test]
async fn every_flipped_byte_of_a_segment_of_parts_is_seen() {
    let (image, wanted) = fill(false).await;
    let path = PathBuf::from("/store/seg/00000002.pseg");
    for at in 0..image.files[&path].len() {
        try_flip(&image, &path, at, &wanted, Some(1)).await;
    }
}

/// Pages and scripts after a night: a dictionary, what is coded with it, deltas.
async fn slept() -> (Image, Wanted) {
    let disk = Recorder::default();
    let (store, life) = open(Arc::new(disk.clone()));
    let mut wanted: Wanted = (0..12).map(|n| (format!("http://a.kz/p/{n}"), page(n))).collect();
    wanted.extend((0..3).map(|n| (format!("http://a.kz/x-1.{n}.0.js"), script(n))));
    for (url, body) in &wanted {
        put(&store, meta(url), body).await.unwrap();
    }
    let mut night = Night::new(Pace::Now).eager();
    while !night.step(&store.0).unwrap().done {}
    let codecs = store.0.log.table().read().sums().codecs;
    assert!(codecs[Codec::Dict as usize].0 >= 10 && codecs[Codec::Delta as usize].0 >= 2, "{codecs:?}");
    store.close().await.unwrap();
    life.stop();
    (disk.now(), wanted)
}

#[tokio::test]
async fn every_flipped_byte_of_dictionaries_and_deltas_is_seen() {
    let (image, wanted) = slept().await;
    let segments: Vec<PathBuf> = image.files.keys().filter(|path| path.extension().is_some_and(|end| end == "seg")).cloned().collect();
    let clean = check::check_on(read_only(&image), Path::new("/store"), true, false, |_, _| {}).unwrap();
    assert_eq!((clean.repaired, clean.lost), (vec![], vec![]));
    for path in &segments {
        for at in 0..image.files[path].len() {
            // A dictionary or a first version takes with it what builds on it.
            try_flip(&image, path, at, &wanted, at.is_multiple_of(STEP).then_some(wanted.len())).await;
        }
    }
}

/// What lies before a cut is there, whether the segment was sealed or not.
#[tokio::test]
async fn a_segment_that_is_cut_anywhere_gives_what_is_before_the_cut() {
    let (image, wanted) = fill(true).await;
    let path = PathBuf::from("/store/seg/00000001.seg");
    let lines = lines(&image, &path);
    let length = image.files[&path].len() as u64;
    let mut cuts: Vec<u64> = vec![0, 1, 63, 64, length - 1, length - 31, length - 33];
    for (at, start, end) in &lines {
        cuts.extend([
            at - 1,
            *at,
            at + 1,
            at + 40,
            at + 79,
            at + 80,
            *start,
            u64::midpoint(*start, *end),
            end - u64::from(end > start),
            *end,
            end + 1,
        ]);
    }
    // Each answer's META follows its body; the first two URLs are an older version and one that is forgotten.
    let metas: Vec<u64> = lines.iter().skip(5).step_by(2).map(|line| line.2).take(wanted.len()).collect();
    for cut in cuts {
        for ending in ["seg", "log"] {
            let mut image = image.clone();
            let bytes = image.files.remove(&path).unwrap()[..usize::try_from(cut).unwrap()].to_vec();
            image.files.insert(path.with_extension(ending), Arc::new(bytes));
            for disk in [read_only(&image), Arc::new(Recorder::of(&image))] {
                let (store, life) = open(disk);
                let hits = right_or_a_miss(&store, &wanted, &format!("cut at {cut}, {ending}")).await;
                for (n, end) in metas.iter().enumerate().skip(1) {
                    assert!(hits[n] || *end > cut, "cut at {cut}, {ending}: {n} lies before it");
                }
                life.stop();
            }
        }
    }
}
