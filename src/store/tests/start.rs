//! Starts: with a snapshot and without, on a full disk, in folders of others.

use super::kit::{get, key, meta, noise, open, open_on, put, settings, text, variant};
use crate::base::clock::Time;
use crate::base::unit::Bytes as Size;
use crate::store::disk::Real;
use crate::store::disk::fault::Faulty;
use crate::store::recover::{self, Recovered};
use crate::store::shrink::Night;
use crate::store::{Error, Pace, Settings, Store, check};
use bytes::Bytes;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Copies a store's folder as a power cut would find it, all of it written.
pub(super) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.join("seg")).unwrap();
    for folder in ["", "seg"] {
        for entry in std::fs::read_dir(from.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                std::fs::copy(&path, to.join(folder).join(path.file_name().unwrap())).unwrap();
            }
        }
    }
}

fn recovered(path: &Path) -> Recovered {
    recover::open(&Real, path, 4 << 20, Time::from_secs(1_800_000_000), || {}).unwrap()
}

/// What a table says, in words that can be compared.
fn told(found: &Recovered, urls: &[String]) -> Vec<String> {
    let table = &found.table;
    let mut told = vec![format!("{} {:?} {}", table.entries(), table.places(), table.pinned_entries())];
    told.push(format!("{:?} {:?}", table.sums(), table.part_segments()));
    for url in urls {
        let mut sets = table.sets_of(&key(url));
        sets.sort_unstable();
        told.push(format!("{url} {:?} {sets:?}", table.find(&key(url))));
        for n in 0..3 {
            let half = crate::store::keep::half(&variant(url, &n.to_string()).key);
            told.push(format!("{:?}", table.parts(&half).map(|parts| (parts.have(), parts.total))));
        }
    }
    told
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// Puts, renewals, parts, pins, purges, rewrites and snapshots in any order; then the machine stops.
#[tokio::test]
async fn a_start_with_a_snapshot_gives_the_table_that_the_footers_give() {
    for seed in 0..12 {
        let mut dice = Dice(seed);
        let dir = tempfile::tempdir().unwrap();
        let small = |path: &Path| Settings { segment: Size::kib(64), index_cache: Size(0), ..settings(path) };
        let urls: Vec<String> = (0..12).map(|n| format!("http://a.kz/{n}")).collect();
        let mut store = open_on(Arc::new(Real), small(dir.path())).unwrap();
        for _ in 0..150 {
            let url = &urls[dice.below(12) as usize];
            let one = variant(url, &dice.below(3).to_string());
            match dice.below(24) {
                0..=8 => drop(put(&store, one, &text(dice.below(40), 2000 + dice.below(9000) as usize)).await.unwrap()),
                9 => drop(put(&store, one, &noise(dice.below(5), 100_000)).await.unwrap()),
                10..=12 => {
                    let offset = dice.below(4) * 1000;
                    drop(store.put_part(one, 4000, offset, Bytes::from(noise(offset, 1000))).await.unwrap());
                }
                13..=14 => drop(store.pin(["x", "y"][dice.below(2) as usize], &key(url)).await),
                15 => drop(store.unpin("x", Some(&key(url))).await.unwrap()),
                16 => drop(store.unpin("y", None).await.unwrap()),
                17 => drop(store.forget(&key(url), true).await.unwrap()),
                18..=20 => {
                    let all = store.0.log.segments().into_iter().filter(|(_, one)| one.is_done() && one.alone.is_none());
                    let some: Vec<u32> = all.map(|(number, _)| number).filter(|_| dice.below(3) > 0).collect();
                    store.0.rewrite(&some, None).unwrap();
                    store.0.keep_house().unwrap();
                }
                21 => drop(store.0.snapshot().unwrap()),
                22 => store.0.keep_house().unwrap(),
                _ => {
                    if dice.below(2) == 0 {
                        store.close().await.unwrap();
                    }
                    drop(store);
                    store = open_on(Arc::new(Real), small(dir.path())).unwrap();
                }
            }
        }
        store.sync().await.unwrap();
        let (with, without) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        copy(dir.path(), with.path());
        copy(dir.path(), without.path());
        let _ = std::fs::remove_file(without.path().join("table.ckpt"));
        let (with, without) = (recovered(with.path()), recovered(without.path()));
        assert_eq!(told(&with, &urls), told(&without, &urls), "seed {seed}");
        assert_eq!((with.seq, with.damaged), (without.seq, without.damaged));
        assert_eq!(with.alone, without.alone, "seed {seed}");
    }
}

async fn three(path: &Path) -> Store {
    let store = open(path);
    for n in 0..3 {
        put(&store, meta(&format!("http://a.kz/{n}")), &text(n, 3000)).await.unwrap();
    }
    store
}

async fn has_three(store: &Store) {
    for n in 0..3 {
        assert_eq!(get(store, &format!("http://a.kz/{n}")).await.unwrap(), text(n, 3000));
    }
}

#[tokio::test]
async fn a_snapshot_spares_the_footers_and_an_odd_one_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    three(dir.path()).await.close().await.unwrap();
    let (snapshot, segment) = (dir.path().join("table.ckpt"), dir.path().join("seg/00000001.seg"));
    let (good, whole) = (std::fs::read(&snapshot).unwrap(), std::fs::read(&segment).unwrap());
    let mut bad = whole.clone();
    let end = bad.len();
    bad[end - 1] ^= 1;
    std::fs::write(&segment, &bad).unwrap();
    assert_eq!(recovered(dir.path()).scanned, 0, "the footer is not looked at");
    let mut state = 7_usize;
    for at in (0..good.len()).filter(|at| *at < 400 || at % 97 == 0) {
        state = state.wrapping_mul(31).wrapping_add(at);
        let mut bad = good.clone();
        bad[at] ^= 1 << (state % 8);
        std::fs::write(&snapshot, &bad).unwrap();
        let found = recovered(dir.path());
        assert_eq!((found.scanned, found.table.entries()), (1, 3), "byte {at}");
        drop(found);
        std::fs::write(&snapshot, &good[..at]).unwrap();
        assert_eq!(recovered(dir.path()).scanned, 1, "cut at {at}");
    }
    // Of another length than the snapshot knows it: both are then looked at.
    std::fs::write(&snapshot, &good).unwrap();
    std::fs::write(&segment, &whole[..whole.len() - 8]).unwrap();
    assert_eq!(recovered(dir.path()).scanned, 1);
    std::fs::remove_file(&segment).unwrap();
    assert_eq!(recovered(dir.path()).table.entries(), 0, "what is gone is not led to");
}

#[tokio::test]
async fn no_snapshot_is_written_when_nothing_has_changed_and_none_is_left_half_done() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Faulty::new();
    let store = open_on(Arc::new(disk.clone()), settings(dir.path())).unwrap();
    put(&store, meta("http://a.kz/"), b"x").await.unwrap();
    assert!(store.0.snapshot().unwrap());
    assert!(!store.0.snapshot().unwrap());
    put(&store, meta("http://a.kz/2"), b"y").await.unwrap();
    disk.0.full.store(true, Ordering::Relaxed);
    assert!(matches!(store.0.snapshot(), Err(Error::Full)));
    disk.0.full.store(false, Ordering::Relaxed);
    assert!(!dir.path().join("table.ckpt.tmp").exists());
    drop(store);
    let store = open(dir.path());
    assert_eq!(get(&store, "http://a.kz/2").await.unwrap(), "y");
}

#[tokio::test]
async fn the_hand_finds_its_bits_after_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let store = three(dir.path()).await;
    store.0.log.table().write().mark(&key("http://a.kz/1"));
    store.close().await.unwrap();
    drop(store);
    let store = open(dir.path());
    for line in store.0.log.lines(1).unwrap().into_iter().filter(|line| line.kind == crate::store::record::Kind::Meta) {
        let wanted = if line.url() == key("http://a.kz/1") { "Used" } else { "Cold" };
        assert_eq!(format!("{:?}", store.0.log.table().write().judge(&line, 1)), wanted);
    }
}

/// What a rewrite that makes room may copy: half a segment.
#[tokio::test]
async fn the_ballast_is_half_a_segment_and_a_larger_one_is_cut() {
    let length = |dir: &Path| std::fs::metadata(dir.join("ballast")).map_or(0, |found| found.len());
    for (quota, segment, wanted) in [(Size::mib(512), 64, 0), (Size::gib(1), 64, 16), (Size::gib(20), 64, 32), (Size::gib(20), 255, 64)] {
        let dir = tempfile::tempdir().unwrap();
        for before in [0, 65 << 20] {
            let file = std::fs::File::options().create(true).truncate(false).write(true).open(dir.path().join("ballast")).unwrap();
            file.set_len(before).unwrap();
            let wished = Settings { quota, segment: Size::mib(segment), ..settings(dir.path()) };
            drop(open_on(Arc::new(Real), wished).unwrap());
            assert_eq!(length(dir.path()), wanted << 20, "{quota:?} {segment} {before}");
        }
    }
}

#[tokio::test]
async fn on_a_full_disk_the_ballast_goes_first_and_what_is_stored_is_served() {
    let dir = tempfile::tempdir().unwrap();
    drop(three(dir.path()).await);
    std::fs::write(dir.path().join("ballast"), [0; 4096]).unwrap();
    let disk = Faulty::new();
    disk.0.full.store(true, Ordering::Relaxed);
    let store = open_on(Arc::new(disk.clone()), settings(dir.path())).unwrap();
    assert!(!dir.path().join("ballast").exists());
    has_three(&store).await;
    assert!(matches!(put(&store, meta("http://a.kz/new"), b"x").await, Err(Error::Full)));
    drop(store);
    disk.0.full.store(false, Ordering::Relaxed);
    has_three(&open(dir.path())).await;
}

fn refused(path: &Path) -> String {
    match open_on(Arc::new(Real), settings(path)) {
        Err(Error::Unusable(why)) => why,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("opened"),
    }
}

#[tokio::test]
async fn a_folder_that_is_no_store_is_left_alone() {
    for (name, is_dir) in [("letter.txt", false), ("photos", true)] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        if is_dir {
            std::fs::create_dir(&path).unwrap();
        } else {
            std::fs::write(&path, "dear").unwrap();
        }
        let why = refused(dir.path());
        assert!(why.contains("is no store") && why.contains(name) && why.contains("store.path"), "{why}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing was written");
    }
    // A fresh file system, and a first start that was cut short.
    let dir = tempfile::tempdir().unwrap();
    for name in ["lost+found", "seg", "tmp"] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
    }
    std::fs::write(dir.path().join("FORMAT.tmp"), "bul").unwrap();
    drop(open(dir.path()));
    // A store in which somebody has put a note is one all the same.
    std::fs::write(dir.path().join("note"), "do not delete").unwrap();
    drop(open(dir.path()));
}

#[tokio::test]
async fn a_format_of_others_is_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("FORMAT"), "git repository 5\n").unwrap();
    assert!(refused(dir.path()).contains("none of this program"));
    assert_eq!(std::fs::read_to_string(dir.path().join("FORMAT")).unwrap(), "git repository 5\n");
}

#[tokio::test]
async fn segments_of_others_stay_where_they_are_and_their_numbers_are_not_used() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    three(dir.path()).await.close().await.unwrap();
    let stranger = open(other.path());
    put(&stranger, meta("http://b.kz/"), &text(9, 5000)).await.unwrap();
    stranger.close().await.unwrap();
    let seg = dir.path().join("seg");
    let foreign = std::fs::read(other.path().join("seg/00000001.seg")).unwrap();
    let mut newer = foreign.clone();
    newer[8] = 2;
    let crc = crc32c::crc32c(&newer[..60]);
    newer[60..64].copy_from_slice(&crc.to_le_bytes());
    let files = [("00000005.seg", &foreign), ("00000006.log", &newer), ("99999999.seg", &foreign), ("7.seg", &foreign)];
    for (name, bytes) in files {
        std::fs::write(seg.join(name), bytes).unwrap();
    }
    // One of our own under a wrong number would bring back what has gone.
    std::fs::copy(seg.join("00000001.seg"), seg.join("00000008.seg")).unwrap();
    for _ in 0..2 {
        let store = open_on(Arc::new(Real), Settings { index_cache: Size(0), ..settings(dir.path()) }).unwrap();
        assert!(get(&store, "http://b.kz/").await.is_none());
        has_three(&store).await;
        let own: Vec<u32> = store.0.log.segments().into_iter().map(|(number, _)| number).collect();
        assert!(own.iter().all(|number| ![5, 6, 7, 8].contains(number)), "{own:?}");
        put(&store, meta("http://a.kz/new"), &noise(1, 3000)).await.unwrap();
        let all: Vec<u32> = store.0.log.segments().into_iter().map(|(number, _)| number).filter(|number| *number < 9).collect();
        store.0.rewrite(&all, None).unwrap();
        store.close().await.unwrap();
    }
    for (name, bytes) in files {
        assert_eq!(&std::fs::read(seg.join(name)).unwrap(), bytes, "{name}");
    }
}

#[tokio::test]
async fn a_damaged_snapshot_is_told_by_the_check_and_no_loss() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, meta("http://a.kz/"), &text(1, 3_000)).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let path = dir.path().join("table.ckpt");
    assert!(check(dir.path(), false, false, |_, _| {}).unwrap().repaired.is_empty());
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let told = check(dir.path(), false, false, |_, _| {}).unwrap();
    assert!(told.lost.is_empty() && matches!(&told.repaired[..], [one] if one.contains("table.ckpt")), "{told:?}");
    assert!(path.exists());
    check(dir.path(), false, true, |_, _| {}).unwrap();
    assert!(!path.exists() && check(dir.path(), false, false, |_, _| {}).unwrap().repaired.is_empty());
}

#[tokio::test]
async fn damaged_notes_of_quiet_hours_are_told_by_the_check_and_no_loss() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for n in 0..3 {
        put(&store, meta(&format!("http://a.kz/{n}")), &text(n, 9_000)).await.unwrap();
    }
    store.0.log.close().unwrap();
    let mut night = Night::new(Pace::Night);
    while !night.step(&store.0).unwrap().done {}
    store.0.scrub(None);
    store.close().await.unwrap();
    drop(store);
    let checked = |repair| check(dir.path(), false, repair, |_, _| {}).unwrap();
    for name in ["sketches", "repack", "scrub"] {
        let (path, other) = (dir.path().join(name), checked(false));
        assert!(other.repaired.is_empty(), "{other:?}");
        let bytes = std::fs::read(&path).unwrap();
        let mut bad = bytes.clone();
        bad[bytes.len() / 2] ^= 1;
        let long = vec![7; 20_000_000];
        for hurt in [&bad[..], &bytes[1..], &bytes[..bytes.len() - 1], b"", &long] {
            std::fs::write(&path, hurt).unwrap();
            let told = checked(false);
            assert!(told.lost.is_empty() && matches!(&told.repaired[..], [one] if one.contains(name)), "{told:?}");
        }
        assert!(path.exists() && checked(true).repaired.len() == 1 && !path.exists());
    }
}

/// An answer that a snapshot cannot answer for is looked for again among the records of its key. An older one of them, forgotten
/// since, took the parts away that had come later: they are no longer its business.
#[tokio::test]
async fn parts_stay_although_an_older_whole_answer_is_read_again() {
    let (dir, after) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open_on(Arc::new(Real), Settings { segment: Size::kib(64), ..settings(dir.path()) }).unwrap();
    let (url, other) = ("http://a.kz/film", "http://a.kz/other");
    put(&store, meta(url), b"the whole body").await.unwrap();
    put(&store, meta("http://a.kz/same"), b"the whole body").await.unwrap();
    store.forget(&key(url), true).await.unwrap();
    // The second part does not fit into the first one's segment, which is sealed; the answers lie in one that stays open.
    for film in [url, other] {
        store.put_part(meta(film), 90_000, 0, Bytes::from(noise(1, 40_000))).await.unwrap();
    }
    store.sync().await.unwrap();
    store.0.snapshot().unwrap();
    copy(dir.path(), after.path());
    let store = open_on(Arc::new(Real), Settings { segment: Size::kib(64), ..settings(after.path()) }).unwrap();
    assert_eq!(store.find(&key(url)).await.unwrap()[0].have, [0..40_000]);
}
