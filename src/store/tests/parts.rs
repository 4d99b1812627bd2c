//! Partial bodies.

use super::kit::{get, key, meta, noise, open, open_on, put, read, settings};
use crate::base::digest::Digest;
use crate::store::disk::Real;
use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::BodyExt;
use std::sync::Arc;

#[tokio::test]
async fn parts_come_in_any_order_last_through_a_restart_and_become_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (url, body) = ("http://a.kz/film", noise(1, 700_001));
    let piece = |from: usize, to: usize| Bytes::copy_from_slice(&body[from..to]);
    let total = body.len() as u64;
    let store = open(dir.path());
    store.put_part(meta(url), total, 200_000, piece(200_000, 400_000)).await.unwrap();
    let entry = store.put_part(meta(url), total, 10, piece(10, 50)).await.unwrap();
    assert_eq!((entry.object, &entry.have), (None, &vec![10..50, 200_000..400_000]));
    assert_eq!(read(&store, &entry, Some(250_000..399_999)).await.unwrap(), body[250_000..399_999]);
    assert_eq!(read(&store, &entry, Some(10..50)).await.unwrap(), body[10..50]);
    assert!(read(&store, &entry, Some(0..50)).await.is_err(), "not all of it is here");
    store.sync().await.unwrap();
    drop(store);
    let store = open(dir.path());
    let found = store.find(&key(url)).await.unwrap();
    assert_eq!((found[0].have.clone(), found[0].length), (vec![10..50, 200_000..400_000], total));
    store.put_part(meta(url), total, 0, piece(0, 250_000)).await.unwrap();
    let across = store.find(&key(url)).await.unwrap()[0].clone();
    assert_eq!(read(&store, &across, Some(5..399_000)).await.unwrap(), body[5..399_000], "over two parts");
    let whole = store.put_part(meta(url), total, 400_000, piece(400_000, 700_001)).await.unwrap();
    assert_eq!(whole.object, Some(crate::base::digest::Digest::of(&body)));
    assert_eq!(read(&store, &across, Some(5..399_000)).await.unwrap(), body[5..399_000], "the older entry still reads");
    store.close().await.unwrap();
    drop(store);
    let store = open(dir.path());
    assert_eq!(get(&store, url).await.unwrap(), body);
    assert_eq!(std::fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
}

#[tokio::test]
async fn parts_of_another_version_are_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let url = "http://a.kz/x";
    let tagged = |tag: &str| {
        let mut meta = meta(url);
        meta.headers.insert("etag", tag.parse().unwrap());
        meta
    };
    store.put_part(tagged("\"1\""), 100, 0, Bytes::from(vec![1; 40])).await.unwrap();
    let entry = store.put_part(tagged("\"2\""), 100, 60, Bytes::from(vec![2; 40])).await.unwrap();
    assert_eq!(entry.have, [60..100]);
    let entry = store.put_part(tagged("W/\"2\""), 100, 0, Bytes::from(vec![3; 10])).await.unwrap();
    assert_eq!(entry.have, [0..10], "a weak validator joins nothing");
    let entry = store.put_part(tagged("\"2\""), 90, 0, Bytes::from(vec![3; 10])).await.unwrap();
    assert_eq!((entry.have.clone(), entry.length), (vec![0..10], 90), "another length is another version");
    assert!(store.put_part(tagged("\"2\""), 90, 85, Bytes::from(vec![3; 10])).await.is_err(), "beyond the end");
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.find(&key(url)).await.unwrap()[0].have, [0..10]);
    assert_eq!(store.stat().entries, 1);
}

#[tokio::test]
async fn the_newest_part_tells_the_fields_of_all_and_of_what_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let url = "http://a.kz/x";
    let told = |seconds: u64, serial: &str| {
        let mut meta = meta(url);
        meta.received = meta.received.plus(std::time::Duration::from_secs(seconds));
        meta.headers.insert("x-serial", serial.parse().unwrap());
        meta
    };
    let put = async |meta, at: u64, length: u64| {
        let entry = store.put_part(meta, 100, at, vec![7; usize::try_from(length).unwrap()].into()).await.unwrap();
        let found = store.find(&key(url)).await.unwrap()[0].clone();
        assert_eq!(found.meta.headers, entry.meta.headers);
        (entry.object.is_some(), entry.meta.headers["x-serial"].to_str().unwrap().to_owned())
    };
    assert_eq!(put(told(5, "1"), 0, 10).await, (false, "1".into()));
    assert_eq!(put(told(5, "2"), 10, 10).await, (false, "2".into()), "of one moment the one put away later");
    assert_eq!(put(told(4, "3"), 20, 10).await, (false, "2".into()), "an earlier answer that is put away late");
    assert_eq!(put(told(6, "4"), 30, 70).await, (true, "4".into()));
    assert_eq!(put(told(6, "5"), 40, 10).await, (true, "5".into()), "the body is whole, its fields are newer");
    assert_eq!(put(told(5, "6"), 0, 100).await, (true, "5".into()));
    // A 206 may leave fields out; the further pieces of one transfer are written down without its answer.
    let film = |fields: &[(&'static str, &str)]| {
        let mut meta = meta("http://a.kz/film");
        for (name, value) in fields {
            meta.headers.insert(*name, value.parse().unwrap());
        }
        meta
    };
    let rest = film(&[("x-serial", "2")]);
    store.put_part(film(&[("x-serial", "1"), ("x-kept", "1")]), 9_000, 0, vec![7; 100].into()).await.unwrap();
    let entry = store.put_part(rest.clone(), 9_000, 100, vec![7; 100].into()).await.unwrap();
    assert_eq!((&entry.meta.headers["x-serial"], &entry.meta.headers["x-kept"]), (&"2".parse().unwrap(), &"1".parse().unwrap()));
    let place = || store.0.log.table().read().entry(&key("http://a.kz/film"), &entry.meta.key.0);
    let before = place();
    store.put_part(rest, 9_000, 200, vec![7; 100].into()).await.unwrap();
    assert_eq!(place(), before, "nothing new was said");
    assert_eq!(get(&store, url).await.unwrap(), [7; 100].as_slice());
    store.close().await.unwrap();
    drop(store);
    let found = open(dir.path()).find(&key(url)).await.unwrap()[0].clone();
    assert_eq!(found.meta.headers["x-serial"], "5");
}

#[tokio::test]
async fn a_doubt_about_parts_is_there_from_the_first_moment_and_when_they_become_whole() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let put = async |url: &str, at: u64, flags: u32| {
        let part = (at, Bytes::from(vec![7; 50]));
        store.put_part_of(store.epoch(), meta(url), 100, part, move || flags).await.unwrap().meta.flags
    };
    assert_eq!((put("http://a.kz/1", 0, 1).await, put("http://a.kz/1", 50, 0).await), (1, 1), "the same answer takes no doubt away");
    assert_eq!(put("http://a.kz/2", 0, 0).await, 0);
    let half = store.find(&key("http://a.kz/2")).await.unwrap()[0].clone();
    let doubted = crate::store::Meta { flags: 1, ..half.meta.clone() };
    store.renew(&half, doubted).await.unwrap();
    assert_eq!(put("http://a.kz/2", 50, 0).await, 1, "raised while the rest was on its way");
    assert_eq!(get(&store, "http://a.kz/2").await.unwrap(), [7; 100].as_slice());
}

/// Versions of one length differ in their validator alone.
#[tokio::test]
async fn who_reads_parts_gets_nothing_of_a_newer_version() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (url, total) = ("http://a.kz/film", 12_000_000_u64);
    let version = |tag: &str| {
        let mut meta = meta(url);
        meta.headers.insert("etag", tag.parse().unwrap());
        meta
    };
    let body = |number: u8, length: u64| Bytes::from(vec![number; usize::try_from(length).unwrap()]);
    let old = store.put_part(version("\"1\""), total, 0, body(1, total - 1)).await.unwrap();
    for whole in [false, true] {
        let mut reading = store.read(&old, Some(0..total - 1)).await.unwrap().into_data_stream();
        assert_eq!(reading.next().await.unwrap().unwrap()[0], 1);
        if whole {
            put(&store, version("\"2\""), &body(2, total)).await.unwrap();
        } else {
            let newer = store.put_part(version("\"2\""), total, 0, body(2, total - 1)).await.unwrap();
            assert_eq!(newer.have, [0..total - 1]);
        }
        let mut broke_off = false;
        while let Some(piece) = reading.next().await {
            match piece {
                Ok(piece) => assert!(piece.iter().all(|byte| *byte == 1), "another version's bytes"),
                Err(_) => broke_off = true,
            }
        }
        assert!(broke_off, "whole: {whole}");
        let now = store.find(&key(url)).await.unwrap()[0].clone();
        assert_eq!(read(&store, &now, Some(5_000_000..5_000_010)).await.unwrap(), [2; 10].as_slice(), "the newer one is sound");
        assert_eq!(store.stat().damaged, 0);
        if !whole {
            store.forget(&key(url), true).await.unwrap();
            store.put_part(version("\"1\""), total, 0, body(1, total - 1)).await.unwrap();
        }
    }
}

/// A 304 may bring another Last-Modified, where that alone tells versions apart: what was fetched under the old one is asked for anew.
#[tokio::test]
async fn parts_that_their_answer_has_grown_out_of_are_forgotten_when_they_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let url = "http://a.kz/film";
    let dated = |date: &str| {
        let mut meta = meta(url);
        meta.headers.remove("etag");
        meta.headers.insert("last-modified", date.parse().unwrap());
        meta
    };
    let (old, new) = ("Tue, 24 Nov 2026 12:00:00 GMT", "Wed, 25 Nov 2026 12:00:00 GMT");
    let part = store.put_part(dated(old), 1_000_000, 0, Bytes::from(vec![1; 400_000])).await.unwrap();
    let renewed = store.renew(&part, dated(new)).await.unwrap();
    assert!(read(&store, &renewed, Some(0..400_000)).await.is_err());
    assert_eq!(store.find(&key(url)).await.unwrap()[0].have, [], "nothing of it is here");
    assert_eq!(store.stat().damaged, 0);
    store.put_part(dated(new), 1_000_000, 0, Bytes::from(vec![2; 400_000])).await.unwrap();
    let part = store.put_part(dated(old), 1_000_000, 0, Bytes::from(vec![1; 400_000])).await.unwrap();
    store.renew(&part, dated(new)).await.unwrap();
    // The rest is of the new one, and no body is made of both.
    assert!(store.put_part(dated(new), 1_000_000, 400_000, Bytes::from(vec![2; 600_000])).await.is_err());
    let whole = store.put_part(dated(new), 1_000_000, 0, Bytes::from(vec![2; 1_000_000])).await.unwrap();
    assert_eq!(whole.object, Some(Digest::of(&vec![2; 1_000_000])));
}

#[tokio::test]
async fn films_in_parts_make_room_and_what_is_used_stays() {
    let dir = tempfile::tempdir().unwrap();
    let settings = crate::store::Settings { quota: crate::base::unit::Bytes::mib(32), ..settings(dir.path()) };
    let store = open_on(Arc::new(Real), settings).unwrap();
    for n in 0..20 {
        put(&store, meta(&format!("http://a.kz/page/{n}")), &noise(n, 20_000)).await.unwrap();
    }
    let arriving = "http://a.kz/film/arriving";
    for n in 0..60_u64 {
        store.put_part(meta(arriving), 3_000_000, n * 40_000, Bytes::from(vec![9; 40_000])).await.unwrap();
        let film = format!("http://a.kz/film/{n}");
        let put = store.put_part(meta(&film), 3_000_000, 0, Bytes::from(noise(n, 2_000_000))).await;
        assert!(put.is_ok(), "film {n}: {put:?}, {:?}", store.stat());
        for page in 0..20 {
            assert!(get(&store, &format!("http://a.kz/page/{page}")).await.is_some(), "page {page} after film {n}");
        }
    }
    assert!(store.find(&key("http://a.kz/film/59")).await.unwrap().iter().any(|film| film.have == [0..2_000_000]), "the last one is here");
    assert!(store.find(&key("http://a.kz/film/0")).await.unwrap().is_empty(), "the first one made room");
    assert_eq!(store.find(&key(arriving)).await.unwrap()[0].have, [0..2_400_000], "what arrives meanwhile is all here");
}

#[tokio::test]
async fn a_part_never_takes_a_whole_body_away() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let url = "http://a.kz/x";
    put(&store, meta(url), &[7; 100]).await.unwrap();
    let entry = store.put_part(meta(url), 100, 0, Bytes::from(vec![7; 10])).await.unwrap();
    assert!(entry.object.is_some());
    let mut newer = meta(url);
    newer.headers.insert("etag", "\"v2\"".parse().unwrap());
    let entry = store.put_part(newer.clone(), 120, 0, Bytes::from(vec![8; 10])).await.unwrap();
    assert_eq!(entry.object, Some(Digest::of(&[7; 100])), "the old one stays until the new one is whole");
    assert_eq!(get(&store, url).await.unwrap(), [7; 100].as_slice());
    store.close().await.unwrap();
    drop(store);
    let store = open(dir.path());
    assert_eq!(get(&store, url).await.unwrap(), [7; 100].as_slice());
    put(&store, newer, &[8; 120]).await.unwrap();
    assert_eq!(get(&store, url).await.unwrap(), [8; 120].as_slice());
}

fn files(dir: &std::path::Path, ending: &str) -> usize {
    let names = std::fs::read_dir(dir.join("seg")).unwrap().map(|entry| entry.unwrap().path());
    names.filter(|path| path.extension().is_some_and(|found| found == ending)).count()
}

/// The whole is written into a segment that was begun before the one of its parts.
#[tokio::test]
async fn parts_of_a_body_that_is_whole_leave_the_disk_and_do_not_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let body = noise(1, 700_000);
    let piece = |from: usize, to: usize| Bytes::copy_from_slice(&body[from..to]);
    let total = body.len() as u64;
    for round in 0..3 {
        let url = format!("http://a.kz/film{round}");
        let store = open(dir.path());
        put(&store, meta("http://a.kz/first"), b"opens a segment").await.unwrap();
        store.put_part(meta(&url), total, 0, piece(0, 400_000)).await.unwrap();
        store.0.keep_house().unwrap();
        assert_eq!((files(dir.path(), "plog"), files(dir.path(), "pseg")), (1, 0), "it is needed");
        let before = store.stat().disk_bytes;
        if round == 0 {
            store.put_part(meta(&url), total, 400_000, piece(400_000, 700_000)).await.unwrap();
        } else {
            put(&store, meta(&url), &body).await.unwrap();
        }
        if round == 1 {
            // A power cut before the parts could be removed.
            store.sync().await.unwrap();
            drop(store);
            let store = open(dir.path());
            assert_eq!(files(dir.path(), "pseg"), 1);
            assert!(store.find(&key(&url)).await.unwrap()[0].object.is_some());
            store.0.keep_house().unwrap();
            assert_eq!(files(dir.path(), "pseg"), 0);
            assert_eq!(get(&store, &url).await.unwrap(), body);
            continue;
        }
        store.0.keep_house().unwrap();
        assert_eq!((files(dir.path(), "plog"), files(dir.path(), "pseg")), (0, 0), "round {round}");
        assert!(store.stat().disk_bytes < before + 700_000 - 350_000, "their bytes are free again");
        assert_eq!(get(&store, &url).await.unwrap(), body);
        store.close().await.unwrap();
        let on_disk: u64 = std::fs::read_dir(dir.path().join("seg")).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
        assert_eq!(store.stat().disk_bytes, on_disk);
        drop(store);
        let store = open(dir.path());
        assert_eq!(get(&store, &url).await.unwrap(), body);
        assert_eq!(store.0.log.dead(), Vec::<u32>::new());
    }
}

#[tokio::test]
async fn parts_that_were_forgotten_do_not_come_back_and_newer_ones_stay() {
    let dir = tempfile::tempdir().unwrap();
    let url = "http://a.kz/x";
    let store = open(dir.path());
    store.put_part(meta(url), 100, 0, Bytes::from(vec![1; 40])).await.unwrap();
    store.forget(&key(url), true).await.unwrap();
    store.put_part(meta(url), 100, 60, Bytes::from(vec![2; 20])).await.unwrap();
    store.sync().await.unwrap();
    drop(store);
    for _ in 0..2 {
        let store = open(dir.path());
        assert_eq!(store.find(&key(url)).await.unwrap()[0].have, [60..80]);
        store.0.keep_house().unwrap();
        let entry = store.find(&key(url)).await.unwrap()[0].clone();
        assert_eq!(read(&store, &entry, Some(60..80)).await.unwrap(), [2; 20].as_slice());
    }
}

#[tokio::test]
async fn crumbs_are_kept_while_they_are_few_and_where_they_close_a_gap() {
    const K: u64 = 1 << 10;
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (url, total) = ("http://a.kz/film", 10_000 * 2 * K);
    let spans = || store.0.log.table().read().parts(&crate::store::keep::half(&meta(url).key)).unwrap().spans.len();
    let put = async |offset: u64, length: u64| store.put_part(meta(url), total, offset, vec![7; length as usize].into()).await.unwrap();
    for number in 0..10_000 {
        put(2 * K * number, 1).await;
    }
    assert_eq!(spans(), 64);
    // What is worth it is kept all the same, and what lay in it is one with it.
    assert!(put(0, 100 * K).await.have.contains(&(0..100 * K + 1)));
    let apart = put(130 * K, 400 * K).await;
    assert!(apart.have.contains(&(130 * K..530 * K)));
    for number in 0..64 {
        put(600 * K + 100 * K * number, 64 * K).await;
    }
    let full = spans();
    put(532 * K, 1).await;
    assert_eq!(spans(), full, "a crumb by itself");
    assert!(put(100 * K, 30 * K).await.have.contains(&(0..530 * K)), "one that closes a gap");
}
