//! Quota, eviction, pins.

use super::kit::{get, key, meta, noise, open_on, put, put_pinned, settings, text};
use crate::base::unit::Bytes as Size;
use crate::store::disk::Real;
use crate::store::disk::fault::Faulty;
use crate::store::segment::Written;
use crate::store::{Error, Settings, Store};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// 4 MiB in segments of 64 KiB, nothing in the hot tier but what fits 64 KiB.
fn small(path: &Path) -> Settings {
    Settings { quota: Size::mib(4), memory: Size::kib(64), index_cache: Size(0), ..settings(path) }
}

fn url(n: u64) -> String {
    format!("http://a.kz/{n}")
}

/// Bytes of the files, and what the store says of them; nobody makes room meanwhile.
fn on_disk(path: &Path, store: &Store) -> (u64, u64) {
    let _one = store.0.rewriting.lock();
    let files = std::fs::read_dir(path.join("seg")).unwrap();
    (files.map(|entry| entry.unwrap().metadata().unwrap().len()).sum(), store.stat().disk_bytes)
}

/// A small generator, so that a failing run can be repeated.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

#[tokio::test]
async fn under_random_load_the_quota_is_kept_and_what_is_read_is_right() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_on(Arc::new(Real), small(dir.path())).unwrap();
    let (mut dice, mut of, mut pinned) = (Dice(1), std::collections::HashMap::new(), Vec::new());
    for step in 0..1500_u64 {
        let n = dice.roll(400);
        match dice.roll(10) {
            0..7 => {
                let body = if dice.roll(2) == 0 { noise(step, 500 + dice.roll(30_000) as usize) } else { text(step, 40_000) };
                put(&store, meta(&url(n)), &body).await.unwrap();
                of.insert(n, body);
            }
            7 => {
                store.forget(&key(&url(n)), dice.roll(8) == 0).await.unwrap();
                of.remove(&n);
                pinned.retain(|pinned| *pinned != n);
            }
            8 if pinned.len() < 20 && get(&store, &url(n)).await.is_some() => {
                store.pin("pack", &key(&url(n))).await.unwrap();
                pinned.push(n);
            }
            _ => {
                if let Some(found) = get(&store, &url(n)).await {
                    assert_eq!(Some(&found[..]), of.get(&n).map(|body| &body[..]), "step {step}: {n}");
                }
            }
        }
        let (files, told) = on_disk(dir.path(), &store);
        assert!(files <= 4 << 20, "step {step}: {files}");
        assert_eq!(files, told, "step {step}");
    }
    assert!(store.stat().disk_bytes > 2 << 20);
    for n in &pinned {
        assert_eq!(get(&store, &url(*n)).await.as_deref(), of.get(n).map(|body| &body[..]), "pinned {n}");
    }
    assert!(!pinned.is_empty());
    assert_eq!(store.stat().damaged, 0);
    store.close().await.unwrap();
    drop(store);
    let store = open_on(Arc::new(Real), small(dir.path())).unwrap();
    for (n, body) in of {
        if let Some(found) = get(&store, &url(n)).await {
            assert_eq!(found, body, "after a start: {n}");
        } else {
            assert!(!pinned.contains(&n), "pinned {n}");
        }
    }
}

/// Fills the store with `from..` bodies of 20 KB until `times` the quota has come in, with a look at `each` after every body.
async fn churn(store: &Store, from: u64, times: u64, mut each: impl AsyncFnMut(&Store)) -> u64 {
    let count = times * (store.stat().quota_bytes / 20_000);
    for n in from..from + count {
        put(store, meta(&url(n)), &noise(n, 20_000)).await.unwrap();
        each(store).await;
    }
    count
}

#[tokio::test]
async fn what_is_used_stays_whether_it_is_read_from_disk_or_from_memory_and_the_rest_goes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_on(Arc::new(Real), Settings { memory: Size::kib(256), ..small(dir.path()) }).unwrap();
    put(&store, meta(&url(0)), &noise(0, 20_000)).await.unwrap();
    put(&store, meta(&url(1)), &noise(1, 20_000)).await.unwrap();
    put(&store, meta(&url(2)), &noise(2, 20_000)).await.unwrap();
    let mut turn = 0;
    churn(&store, 10, 4, async |store| {
        // The first is always a hit in memory; the second is put out of there now and then and read from the disk.
        assert_eq!(store.find(&key(&url(0))).await.unwrap().len(), 1, "turn {turn}");
        if turn % 20 == 0 {
            assert_eq!(get(store, &url(1)).await.unwrap(), noise(1, 20_000), "turn {turn}");
        }
        turn += 1;
    })
    .await;
    assert_eq!(get(&store, &url(0)).await.unwrap(), noise(0, 20_000));
    assert!(get(&store, &url(2)).await.is_none(), "was never used");
    assert!(get(&store, &url(10)).await.is_none());
}

#[tokio::test]
async fn a_body_that_two_urls_share_stays_as_long_as_one_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_on(Arc::new(Real), small(dir.path())).unwrap();
    put(&store, meta("http://a.kz/shared"), &noise(0, 20_000)).await.unwrap();
    put(&store, meta("http://b.kz/shared"), &noise(0, 20_000)).await.unwrap();
    store.pin("pack", &key("http://b.kz/shared")).await.unwrap();
    churn(&store, 10, 3, async |_| {}).await;
    assert!(get(&store, "http://a.kz/shared").await.is_none());
    assert_eq!(get(&store, "http://b.kz/shared").await.unwrap(), noise(0, 20_000));
}

#[tokio::test]
async fn when_everything_is_pinned_the_store_is_full_until_a_pack_goes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_on(Arc::new(Real), Settings { pinned_share: 100, ..small(dir.path()) }).unwrap();
    let mut stored = 0;
    let full = loop {
        match put_pinned(&store, meta(&url(stored)), &noise(stored, 50_000)).await {
            Ok(()) => stored += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, Error::Full), "{full}");
    assert!(!store.stat().admitting);
    assert!((70..=80).contains(&stored), "{stored}");
    assert!(matches!(store.begin(Some(100_000), None), Err(Error::Full)));
    for n in 0..stored {
        assert_eq!(get(&store, &url(n)).await.unwrap(), noise(n, 50_000));
    }
    store.unpin("pack", None).await.unwrap();
    put(&store, meta(&url(1000)), &noise(1000, 50_000)).await.unwrap();
    assert!(store.stat().admitting);
}

#[tokio::test]
async fn packs_keep_their_share_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_on(Arc::new(Real), Settings { pinned_share: 50, ..small(dir.path()) }).unwrap();
    let mut pinned = 0_u64;
    let refused = loop {
        put(&store, meta(&url(pinned)), &noise(pinned, 50_000)).await.unwrap();
        match store.pin("pack", &key(&url(pinned))).await {
            Ok(()) => pinned += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, Error::Full), "{refused}");
    assert_eq!(pinned, (4 << 20) / 2 / 50_000);
    store.pin("another", &key(&url(0))).await.unwrap();
    put(&store, meta(&url(999)), &noise(999, 50_000)).await.unwrap();
    store.unpin("pack", Some(&key(&url(1)))).await.unwrap();
    store.pin("pack", &key(&url(999))).await.unwrap();
}

#[tokio::test]
#[expect(clippy::await_holding_lock, reason = "nobody here waits for it")]
async fn three_and_a_half_bytes_are_written_for_one_that_is_stored_and_none_for_a_hit() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Faulty::new();
    let store = open_on(Arc::new(disk.clone()), small(dir.path())).unwrap();
    let mut dice = Dice(3);
    let mut last = 10;
    let count = churn(&store, 10, 6, async |store| {
        // A fifth of what is here is used again and again.
        last += 1;
        let n = last - dice.roll(60).min(last - 10);
        if n.is_multiple_of(5) {
            let _ = store.find(&key(&url(n))).await.unwrap();
        }
    })
    .await;
    let all: u64 = Written::ALL.iter().map(|what| store.0.log.written(*what)).sum();
    let stored = count * 20_000;
    assert!(all * 2 <= stored * 7, "{all} bytes for {stored}");
    assert!(store.0.log.written(Written::Rewrite) > 0, "something was rewritten");
    store.sync().await.unwrap();
    // Room may still be made in the background: not while this is counted.
    let _still = store.0.rewriting.lock();
    let changes = disk.0.changes.load(Ordering::Relaxed);
    let mut hits = 0;
    // Which of them are here depends on when room was made.
    for n in (10..last).rev() {
        hits += u32::from(get(&store, &url(n)).await.is_some());
        if hits == 10 {
            break;
        }
    }
    assert_eq!(hits, 10);
    assert_eq!(disk.0.changes.load(Ordering::Relaxed), changes);
}

#[tokio::test]
async fn others_that_fill_the_file_system_shrink_the_cache() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_on(Arc::new(Real), small(dir.path())).unwrap();
    churn(&store, 0, 1, async |_| {}).await;
    let used = store.stat().disk_bytes;
    assert!(used > 3 << 20);
    // 40 MiB in all, 1 MiB free: 1 MiB more should be.
    store.0.gate.look((1 << 20, 40 << 20), used);
    store.0.reclaim().unwrap();
    assert!(store.stat().disk_bytes < used - (1 << 20), "{} of {used}", store.stat().disk_bytes);
    assert!(store.stat().disk_bytes > used / 2);
}

#[tokio::test]
async fn on_a_disk_that_takes_no_writes_room_is_made_where_nothing_has_to_be_written_and_hits_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Faulty::new();
    let store = open_on(Arc::new(disk.clone()), small(dir.path())).unwrap();
    churn(&store, 0, 1, async |_| {}).await;
    let newest = store.stat().quota_bytes / 20_000 - 1;
    disk.0.full.store(true, Ordering::Relaxed);
    assert!(matches!(put(&store, meta("http://a.kz/x"), &noise(1, 30_000)).await, Err(Error::Full)));
    store.0.gate.look((1 << 20, 40 << 20), store.stat().disk_bytes);
    store.0.reclaim().unwrap();
    assert_eq!(get(&store, &url(newest)).await.unwrap(), noise(newest, 20_000));
    let (files, told) = on_disk(dir.path(), &store);
    assert_eq!(files, told, "no output is left behind");
    disk.0.full.store(false, Ordering::Relaxed);
    store.0.gate.look((0, 0), 0);
    put(&store, meta("http://a.kz/x"), &noise(1, 30_000)).await.unwrap();
    disk.0.read_only.store(true, Ordering::Relaxed);
    assert!(matches!(put(&store, meta("http://a.kz/y"), &noise(2, 30_000)).await, Err(Error::ReadOnly)));
    assert!(!store.0.reclaim().unwrap());
    assert_eq!(get(&store, "http://a.kz/x").await.unwrap(), noise(1, 30_000));
}
