//! Flipped bits, lost files, a ruined index: the right bytes or a miss.

use super::kit::{get, key, meta, noise, open, open_on, put, read, settings, text};
use crate::base::unit::Bytes as Size;
use crate::store::disk::Real;
use crate::store::{Settings, Store, check};
use bytes::Bytes;
use std::path::Path;
use std::sync::Arc;

async fn fill(path: &Path) -> Vec<(String, Vec<u8>)> {
    let store = open(path);
    let mut wanted = Vec::new();
    for (n, body) in [text(1, 900), noise(2, 300), noise(3, 70_000)].into_iter().enumerate() {
        let url = format!("http://a.kz/{n}");
        put(&store, meta(&url), &body).await.unwrap();
        wanted.push((url, body));
    }
    store.put_part(meta("http://a.kz/part"), 1000, 100, Bytes::from(vec![9; 50])).await.unwrap();
    store.close().await.unwrap();
    wanted
}

async fn right_or_a_miss(store: &Store, wanted: &[(String, Vec<u8>)], what: &str) -> usize {
    let mut hits = 0;
    for (url, body) in wanted {
        if let Some(got) = get(store, url).await {
            assert_eq!(got, body, "{what}: {url}");
            hits += 1;
        }
    }
    if let Some(entry) = store.find(&key("http://a.kz/part")).await.unwrap().first()
        && !entry.have.is_empty()
        && let Ok(part) = read(store, entry, Some(100..150)).await
    {
        assert_eq!(part, vec![9; 50], "{what}");
    }
    hits
}

/// The index has tests of its own; here it would only cost time.
fn open_without_index(path: &Path) -> Store {
    open_on(Arc::new(Real), Settings { index_cache: Size(0), ..settings(path) }).unwrap()
}

#[tokio::test]
async fn a_truncated_segment_gives_what_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let wanted = fill(dir.path()).await;
    let good = std::fs::read(dir.path().join("seg/00000001.seg")).unwrap();
    for cut in (0..good.len()).step_by(1999) {
        let trial = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(trial.path().join("seg")).unwrap();
        std::fs::copy(dir.path().join("FORMAT"), trial.path().join("FORMAT")).unwrap();
        std::fs::write(trial.path().join("seg/00000001.log"), &good[..cut]).unwrap();
        let store = open_without_index(trial.path());
        right_or_a_miss(&store, &wanted, &format!("cut at {cut}")).await;
        put(&store, meta("http://a.kz/new"), b"new").await.unwrap();
        drop(store);
        assert_eq!(get(&open_without_index(trial.path()), "http://a.kz/new").await.unwrap(), "new");
    }
}

#[tokio::test]
async fn damage_is_counted_dropped_and_healed_by_the_next_fetch() {
    let dir = tempfile::tempdir().unwrap();
    let film = noise(5, 3_000_000);
    let store = open(dir.path());
    put(&store, meta("http://a.kz/film"), &film).await.unwrap();
    store.close().await.unwrap();
    let entry = store.find(&key("http://a.kz/film")).await.unwrap()[0].clone();
    let segment = std::fs::read_dir(dir.path().join("seg"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .max_by_key(|path| path.metadata().unwrap().len())
        .unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    let at = bytes.windows(64).position(|window| window == &film[2_500_000..2_500_064]).unwrap();
    bytes[at] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    assert_eq!(read(&store, &entry, Some(0..1000)).await.unwrap(), film[..1000], "other blocks are whole");
    assert!(read(&store, &entry, None).await.unwrap_err().contains("damaged"));
    assert_eq!(store.stat().damaged, 1);
    assert!(store.find(&key("http://a.kz/film")).await.unwrap().is_empty());
    put(&store, meta("http://a.kz/film"), &film).await.unwrap();
    assert_eq!(get(&store, "http://a.kz/film").await.unwrap(), film);
}

async fn ready(store: &Store) {
    while store.stat().index == "rebuilding" {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn the_index_may_be_deleted_garbage_or_old_and_hosts_are_still_forgotten_wholly() {
    let dir = tempfile::tempdir().unwrap();
    let index = dir.path().join("index");
    for round in 0..5 {
        match round {
            1 => std::fs::remove_dir_all(&index).unwrap(),
            2 => {
                for file in std::fs::read_dir(&index).unwrap() {
                    let path = file.unwrap().path();
                    if path.is_file() {
                        std::fs::write(path, noise(1, 5000)).unwrap();
                    }
                }
            }
            3 => {
                let path = index.join("db");
                let length = path.metadata().unwrap().len();
                std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(length / 2).unwrap();
            }
            4 => {
                std::fs::remove_dir_all(&index).unwrap();
                std::fs::write(&index, b"a file").unwrap();
            }
            _ => {}
        }
        let store = open(dir.path());
        for n in 0..20 {
            put(&store, meta(&format!("http://{}.kz/{n}", if n % 2 == 0 { "keep" } else { "drop" })), &text(n, 500)).await.unwrap();
        }
        if round % 2 == 0 {
            ready(&store).await;
            assert_eq!(store.stat().index, "ready");
        }
        assert_eq!(store.forget_host("drop.kz").await.unwrap(), 10, "round {round}");
        assert_eq!(store.stat().entries, 10);
        assert_eq!(get(&store, "http://keep.kz/4").await.unwrap(), text(4, 500));
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn the_check_lists_what_is_lost_and_mends_what_can_be_mended() {
    let dir = tempfile::tempdir().unwrap();
    let wanted = fill(dir.path()).await;
    let quiet = |_, _| {};
    let clean = check(dir.path(), true, true, quiet).unwrap();
    assert_eq!((clean.records, clean.repaired, clean.lost), (9, vec![], vec![]));
    let path = dir.path().join("seg/00000001.seg");
    let good = std::fs::read(&path).unwrap();

    let mut bad = good.clone();
    let end = bad.len();
    bad[end - 1] ^= 1;
    std::fs::write(&path, &bad).unwrap();
    let told = check(dir.path(), false, false, quiet).unwrap();
    assert!(told.repaired[0].contains("damaged footer") && told.lost.is_empty(), "{told:?}");
    check(dir.path(), false, true, quiet).unwrap();
    assert_eq!(std::fs::read(&path).unwrap().len(), good.len());
    assert!(check(dir.path(), true, false, quiet).unwrap().repaired.is_empty());

    let at = good.windows(64).position(|window| window == &wanted[2].1[..64]).unwrap();
    let mut bad = std::fs::read(&path).unwrap();
    bad[at + 66_000] ^= 1;
    std::fs::write(&path, &bad).unwrap();
    let told = check(dir.path(), true, false, quiet).unwrap();
    assert!(told.lost.iter().any(|line| line.starts_with("http://a.kz/2: its body is damaged")), "{told:?}");

    let store = open(dir.path());
    assert!(matches!(check(dir.path(), false, false, quiet), Err(crate::store::Error::Unusable(_))));
    drop(store);
    assert!(check(&dir.path().join("nowhere"), false, false, quiet).is_err());
}

const GOLDEN: [&str; 3] = ["FORMAT", "seg/00000001.seg", "seg/00000002.seg"];

/// A segment of format version 1, made once and kept: must stay readable. `BULAK_GOLDEN=1` makes it anew, for a new version only.
#[tokio::test]
async fn the_golden_store_of_version_1_reads() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/store-v1");
    if std::env::var_os("BULAK_GOLDEN").is_some() {
        let dir = tempfile::tempdir().unwrap();
        fill(dir.path()).await;
        let store = open(dir.path());
        store.pin("pack", &key("http://a.kz/0")).await.unwrap();
        put(&store, meta("http://a.kz/frames"), &text(9, 4000).repeat(300)).await.unwrap();
        put(&store, meta("http://a.kz/gone"), b"gone").await.unwrap();
        store.forget(&key("http://a.kz/gone"), true).await.unwrap();
        store.close().await.unwrap();
        std::fs::create_dir_all(golden.join("seg")).unwrap();
        for name in GOLDEN {
            std::fs::copy(dir.path().join(name), golden.join(name)).unwrap();
        }
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("seg")).unwrap();
    for name in GOLDEN {
        std::fs::copy(golden.join(name), dir.path().join(name)).unwrap();
    }
    let found = check(dir.path(), true, false, |_, _| {}).unwrap();
    assert_eq!((found.repaired, found.lost), (vec![], vec![]));
    let store = open(dir.path());
    let wanted = [text(1, 900), noise(2, 300), noise(3, 70_000)];
    for (n, body) in wanted.iter().enumerate() {
        assert_eq!(get(&store, &format!("http://a.kz/{n}")).await.unwrap(), body);
    }
    assert_eq!(get(&store, "http://a.kz/frames").await.unwrap(), text(9, 4000).repeat(300));
    let entry = store.find(&key("http://a.kz/0")).await.unwrap()[0].clone();
    assert!(entry.pinned);
    assert_eq!(entry.meta, meta("http://a.kz/0"));
    assert_eq!(store.find(&key("http://a.kz/part")).await.unwrap()[0].have, [100..150]);
    assert!(store.find(&key("http://a.kz/gone")).await.unwrap().is_empty());
}
