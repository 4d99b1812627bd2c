//! Rewriting: what stays, what goes, what must not come back.

use super::kit::{get, key, meta, noise, open_on, put, read, settings, text};
use crate::base::digest::Digest;
use crate::base::unit::Bytes as Size;
use crate::store::disk::Real;
use crate::store::disk::fault::Faulty;
use crate::store::disk::record::{Arrived, Recorder};
use crate::store::record::Kind;
use crate::store::{Error, Settings, Store};
use bytes::Bytes;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

fn small(path: &Path) -> Settings {
    Settings { segment: Size::kib(256), index_cache: Size(0), ..settings(path) }
}

fn start(path: &Path) -> Store {
    open_on(Arc::new(Real), small(path)).unwrap()
}

/// The numbers of sealed segments, after sealing what is open.
fn sealed(store: &Store) -> Vec<u32> {
    store.0.log.close().unwrap();
    store.0.log.segments().into_iter().map(|segment| segment.0).collect()
}

/// Evicts the answer of a URL, as the hand would.
fn evict(store: &Store, url: &str) {
    let mut gone = false;
    for number in sealed(store) {
        for line in store.0.log.lines(number).unwrap() {
            if line.kind == Kind::Meta && line.url() == key(url) {
                gone |= store.0.log.table().write().evict(&line, number).is_some();
            }
        }
    }
    assert!(gone);
    store.0.hot.remove(&key(url));
}

fn kinds(store: &Store) -> Vec<Kind> {
    let numbers = sealed(store);
    numbers.into_iter().flat_map(|number| store.0.log.lines(number).unwrap()).map(|line| line.kind).collect()
}

#[tokio::test]
async fn what_is_alive_is_moved_and_what_is_dead_leaves_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = start(dir.path());
    for n in 0..8_u64 {
        put(&store, meta(&format!("http://a.kz/{n}")), &if n % 2 == 0 { noise(n, 20_000) } else { text(n, 40_000) }).await.unwrap();
    }
    store.put_part(meta("http://a.kz/part"), 100_000, 500, Bytes::from(noise(7, 70_000))).await.unwrap();
    store.put_part(meta("http://a.kz/gone"), 100_000, 500, Bytes::from(noise(8, 70_000))).await.unwrap();
    store.pin("pack", &key("http://a.kz/3")).await.unwrap();
    for n in [0, 4, 5] {
        store.forget(&key(&format!("http://a.kz/{n}")), false).await.unwrap();
    }
    store.forget(&key("http://a.kz/gone"), false).await.unwrap();
    put(&store, meta("http://a.kz/1"), b"newer").await.unwrap();
    let (all, before) = (sealed(&store), store.stat().disk_bytes);
    let streaming = store.find(&key("http://a.kz/2")).await.unwrap()[0].clone();
    let parts = |number: &u32| store.0.log.lines(*number).unwrap().iter().all(|line| line.kind == Kind::Part);
    let (parts, main): (Vec<u32>, Vec<u32>) = all.iter().partition(|number| parts(number));
    assert!(!parts.is_empty() && !main.is_empty());
    store.0.rewrite(&main, None).unwrap();
    store.0.rewrite(&parts, None).unwrap();
    assert!(store.stat().disk_bytes < before - 100_000, "{} of {before}", store.stat().disk_bytes);
    assert!(!store.0.log.segments().iter().any(|(number, _)| all.contains(number)), "the old ones are gone");
    assert_eq!(read(&store, &streaming, None).await.unwrap(), noise(2, 20_000));
    let mut store = store;
    for round in 0..2 {
        if round == 1 {
            drop(store);
            store = start(dir.path());
        }
        assert_eq!(get(&store, "http://a.kz/1").await.unwrap(), "newer");
        assert_eq!(get(&store, "http://a.kz/3").await.unwrap(), text(3, 40_000));
        assert!(store.find(&key("http://a.kz/3")).await.unwrap()[0].pinned);
        for gone in ["http://a.kz/0", "http://a.kz/5", "http://a.kz/gone"] {
            assert!(get(&store, gone).await.is_none(), "round {round}: {gone}");
        }
        let part = store.find(&key("http://a.kz/part")).await.unwrap()[0].clone();
        assert_eq!(part.have, [500..70_500]);
        assert_eq!(read(&store, &part, Some(600..70_000)).await.unwrap(), noise(7, 70_000)[100..69_500]);
        assert_eq!(store.stat().damaged, 0);
    }
}

/// v1 stands in one segment, v2 in another. v2 is evicted, which writes nothing, and its segment is rewritten; then the power fails.
#[tokio::test]
async fn an_old_version_never_comes_back_when_the_newer_one_was_evicted_and_its_segment_rewritten() {
    let dir = tempfile::tempdir().unwrap();
    let url = "http://a.kz/page";
    let store = start(dir.path());
    put(&store, meta(url), b"version 1").await.unwrap();
    put(&store, meta("http://a.kz/other"), &noise(1, 9000)).await.unwrap();
    let first = sealed(&store);
    put(&store, meta(url), b"version 2").await.unwrap();
    put(&store, meta("http://a.kz/another"), &noise(2, 9000)).await.unwrap();
    let second: Vec<u32> = sealed(&store).into_iter().filter(|number| !first.contains(number)).collect();
    evict(&store, url);
    store.0.rewrite(&second, None).unwrap();
    drop(store);
    let store = start(dir.path());
    assert!(get(&store, url).await.is_none(), "not version 1");
    assert_eq!(get(&store, "http://a.kz/other").await.unwrap(), noise(1, 9000));
    assert_eq!(get(&store, "http://a.kz/another").await.unwrap(), noise(2, 9000));
    // What keeps it away goes when nothing old is left, whichever is rewritten first.
    store.0.rewrite(&first, None).unwrap();
    let rest = sealed(&store);
    store.0.rewrite(&rest, None).unwrap();
    assert!(!kinds(&store).contains(&Kind::Tomb));
    drop(store);
    assert!(get(&start(dir.path()), url).await.is_none());
}

/// Two answers lead to one body, the newer one from a segment that is still open. Both are evicted, the body goes, the power fails.
#[tokio::test]
async fn an_old_version_never_comes_back_when_the_body_that_the_newer_one_shared_is_gone() {
    let (url, other, settings) = ("http://a.kz/page", "http://a.kz/other", small(Path::new("/store")));
    for (length, before) in [(9_000, true), (9_000, false), (100_000, true), (100_000, false)] {
        let disk = Recorder::default();
        let store = open_on(Arc::new(disk.clone()), settings.clone()).unwrap();
        if before {
            put(&store, meta(url), b"version 1").await.unwrap();
            sealed(&store);
        }
        put(&store, meta(other), &noise(1, length)).await.unwrap();
        let place = store.0.log.table().read().blob(&Digest::of(&noise(1, length))).unwrap().place;
        sealed(&store);
        if !before {
            put(&store, meta(url), b"version 1").await.unwrap();
        }
        put(&store, meta(url), &noise(1, length)).await.unwrap();
        put(&store, meta("http://a.kz/more"), b"more").await.unwrap();
        store.sync().await.unwrap();
        for (number, _) in store.0.log.segments() {
            for line in store.0.log.lines(number).unwrap() {
                if line.kind == Kind::Meta && [key(url), key(other)].contains(&line.url()) {
                    store.0.log.table().write().evict(&line, number);
                }
            }
        }
        if length > 64 << 10 {
            let _one = store.0.rewriting.lock();
            store.0.remove_whole().unwrap();
        } else {
            store.0.rewrite(&[place.segment], None).unwrap();
        }
        assert!(!store.0.log.segments().iter().any(|(number, _)| *number == place.segment));
        let mut images = vec![disk.now()];
        images.extend((0..32).map(|seed| disk.cut(Arrived::pick(seed), seed)));
        for (number, image) in images.iter().enumerate() {
            let store = open_on(Arc::new(Recorder::of(image)), settings.clone()).unwrap();
            // The body may be there again, and with it the newer version.
            let found = get(&store, url).await;
            assert!(found.is_none_or(|body| body == noise(1, length)), "{length} {before}: image {number} has version 1");
            assert_eq!(get(&store, "http://a.kz/more").await.unwrap(), "more");
        }
    }
}

#[tokio::test]
async fn parts_that_were_evicted_are_never_taken_for_those_of_a_newer_version() {
    let dir = tempfile::tempdir().unwrap();
    let store = start(dir.path());
    let url = "http://a.kz/film";
    store.put_part(meta(url), 100_000, 0, Bytes::from(noise(1, 30_000))).await.unwrap();
    evict(&store, url);
    let mut newer = meta(url);
    newer.headers.insert("etag", http::HeaderValue::from_static("\"v2\""));
    store.put_part(newer, 100_000, 60_000, Bytes::from(noise(2, 30_000))).await.unwrap();
    drop(store);
    let store = start(dir.path());
    let entry = store.find(&key(url)).await.unwrap()[0].clone();
    assert_eq!(entry.have, [60_000..90_000]);
    assert_eq!(read(&store, &entry, Some(60_000..90_000)).await.unwrap(), noise(2, 30_000));
}

#[tokio::test]
async fn a_lone_tomb_that_must_stay_is_not_rewritten_again_and_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = start(dir.path());
    put(&store, meta("http://a.kz/gone"), &noise(1, 1000)).await.unwrap();
    put(&store, meta("http://a.kz/stays"), &noise(2, 9000)).await.unwrap();
    let first = sealed(&store);
    store.forget(&key("http://a.kz/gone"), true).await.unwrap();
    let second: Vec<u32> = sealed(&store).into_iter().filter(|number| !first.contains(number)).collect();
    store.0.rewrite(&second, None).unwrap();
    let all = || store.0.log.segments().into_iter().map(|(number, _)| number).collect::<Vec<u32>>();
    let mut reclaim = store.0.rewriting.lock();
    // Once it is tried, perhaps; then it is known.
    assert!(!store.0.rewrite_some(&mut reclaim, 25).unwrap());
    let before = all();
    for dead in [50, 25, 50] {
        assert!(!store.0.rewrite_some(&mut reclaim, dead).unwrap());
        assert_eq!(all(), before);
    }
    assert!(kinds(&store).contains(&Kind::Tomb));
    drop(reclaim);
    // With what it hides it goes.
    let both = all();
    let done = store.0.rewrite(&both, None).unwrap();
    assert!(done.written < done.removed);
    let rest = all();
    store.0.rewrite(&rest, None).unwrap();
    assert!(!kinds(&store).contains(&Kind::Tomb));
}

/// What a rewrite without copies has removed is gone for good before that is gone which hid it.
#[tokio::test]
async fn a_segment_that_was_removed_does_not_come_back_when_the_tomb_is_gone() {
    let disk = Recorder::default();
    let settings = small(Path::new("/store"));
    let store = open_on(Arc::new(disk.clone()), settings.clone()).unwrap();
    put(&store, meta("http://a.kz/purged"), &noise(1, 1000)).await.unwrap();
    let first = sealed(&store);
    store.forget(&key("http://a.kz/purged"), true).await.unwrap();
    let second: Vec<u32> = sealed(&store).into_iter().filter(|number| !first.contains(number)).collect();
    for numbers in [first, second] {
        let done = store.0.rewrite(&numbers, None).unwrap();
        assert!(done.outputs.is_empty() && done.removed > 0);
    }
    for seed in 0..64 {
        let image = disk.cut(Arrived::pick(seed), seed);
        let store = open_on(Arc::new(Recorder::of(&image)), settings.clone()).unwrap();
        assert!(get(&store, "http://a.kz/purged").await.is_none(), "{seed}");
    }
}

/// The same with a purge and with a pack that was let go.
#[tokio::test]
async fn a_purge_and_a_pin_that_was_let_go_hold_as_long_as_what_they_hide() {
    let dir = tempfile::tempdir().unwrap();
    let store = start(dir.path());
    for url in ["http://a.kz/purged", "http://a.kz/kept", "http://a.kz/loose"] {
        put(&store, meta(url), &noise(url.len() as u64, 5000)).await.unwrap();
        store.pin("pack", &key(url)).await.unwrap();
    }
    let first = sealed(&store);
    store.forget(&key("http://a.kz/purged"), true).await.unwrap();
    store.unpin("pack", Some(&key("http://a.kz/loose"))).await.unwrap();
    let second: Vec<u32> = sealed(&store).into_iter().filter(|number| !first.contains(number)).collect();
    store.0.rewrite(&second, None).unwrap();
    drop(store);
    for round in 0..2 {
        let store = start(dir.path());
        assert!(get(&store, "http://a.kz/purged").await.is_none(), "round {round}");
        assert!(store.find(&key("http://a.kz/kept")).await.unwrap()[0].pinned, "round {round}");
        assert!(!store.find(&key("http://a.kz/loose")).await.unwrap()[0].pinned, "round {round}");
        let all = sealed(&store);
        store.0.rewrite(&all, None).unwrap();
    }
    let store = start(dir.path());
    let all = sealed(&store);
    store.0.rewrite(&all, None).unwrap();
    let kinds = kinds(&store);
    assert!(!kinds.contains(&Kind::Tomb) && !kinds.contains(&Kind::Unpin), "{kinds:?}");
}

/// Evicted, purged by host or by object, and then the process is killed: what stands on disk must stay away.
#[tokio::test]
async fn a_purge_by_host_or_object_holds_for_what_was_evicted() {
    for (by_host, rewritten) in [(true, false), (true, true), (false, false), (false, true)] {
        let dir = tempfile::tempdir().unwrap();
        let store = start(dir.path());
        let urls = ["http://a.kz/1", "http://a.kz/2", "http://b.kz/"];
        for url in urls {
            put(&store, meta(url), &noise(1, 5000)).await.unwrap();
        }
        put(&store, meta("http://a.kz/lives"), &noise(2, 5000)).await.unwrap();
        put(&store, meta("http://b.kz/other"), &noise(3, 5000)).await.unwrap();
        let first = sealed(&store);
        for url in &urls {
            evict(&store, url);
        }
        let object = Digest::of(&noise(1, 5000));
        let gone = if by_host { store.forget_host("a.kz").await } else { store.forget_object(&object).await };
        assert_eq!(gone.unwrap(), u64::from(by_host));
        let tombs = |store: &Store| kinds(store).into_iter().filter(|kind| *kind == Kind::Tomb).count();
        assert_eq!(tombs(&store), 3);
        // Nothing is left to bury.
        store.forget_host("a.kz").await.unwrap();
        assert_eq!(tombs(&store), if by_host { 3 } else { 4 });
        if rewritten {
            let second: Vec<u32> = sealed(&store).into_iter().filter(|number| !first.contains(number)).collect();
            store.0.rewrite(&second, None).unwrap();
        }
        drop(store);
        let store = start(dir.path());
        for (url, there) in [(urls[0], false), (urls[1], false), (urls[2], by_host), ("http://b.kz/other", true)] {
            assert_eq!(get(&store, url).await.is_some(), there, "{by_host} {rewritten} {url}");
        }
    }
}

#[tokio::test]
async fn a_purge_that_races_with_a_rewrite_wins() {
    struct Purge(Option<String>);
    impl crate::store::rewrite::Recode for Purge {
        fn recode(
            &mut self,
            _: &crate::store::record::Line,
            _: &Digest,
            inner: &crate::store::Inner,
        ) -> Result<Option<crate::store::segment::New>, Error> {
            // After the records to copy were chosen, before the table leads to the copies.
            if let Some(url) = self.0.take() {
                assert_eq!(inner.forget(&key(&url), true)?, 1);
            }
            Ok(None)
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let store = start(dir.path());
    put(&store, meta("http://a.kz/purged"), &noise(1, 9000)).await.unwrap();
    put(&store, meta("http://a.kz/stays"), &noise(2, 9000)).await.unwrap();
    let all = sealed(&store);
    store.0.rewrite(&all, Some(&mut Purge(Some("http://a.kz/purged".into())))).unwrap();
    assert!(get(&store, "http://a.kz/purged").await.is_none());
    for _ in 0..3 {
        let numbers = sealed(&store);
        store.0.rewrite(&numbers[..1], None).unwrap();
    }
    drop(store);
    let store = start(dir.path());
    assert!(get(&store, "http://a.kz/purged").await.is_none());
    assert_eq!(get(&store, "http://a.kz/stays").await.unwrap(), noise(2, 9000));
}

#[tokio::test]
async fn a_damaged_record_is_a_miss_and_the_rest_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = start(dir.path());
    for n in 0..3_u64 {
        put(&store, meta(&format!("http://a.kz/{n}")), &noise(n, 9000)).await.unwrap();
    }
    store.pin("pack", &key("http://a.kz/1")).await.unwrap();
    let all = sealed(&store);
    let body = store.0.log.table().read().blob(&Digest::of(&noise(1, 9000))).unwrap();
    let file = dir.path().join(format!("seg/{:08}.seg", body.place.segment));
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[body.place.at as usize + 500] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    store.0.rewrite(&all, None).unwrap();
    assert_eq!(store.stat().damaged, 1);
    assert_eq!(store.lost_pinned(), ["http://a.kz/1"]);
    assert!(store.lost_pinned().is_empty(), "told once");
    for (n, there) in [(0, true), (1, false), (2, true)] {
        store.0.hot.remove(&key(&format!("http://a.kz/{n}")));
        assert_eq!(get(&store, &format!("http://a.kz/{n}")).await.is_some(), there, "{n}");
    }
    // Fetched again, it is pinned as before.
    put(&store, meta("http://a.kz/1"), &noise(1, 9000)).await.unwrap();
    assert!(store.find(&key("http://a.kz/1")).await.unwrap()[0].pinned);
}

/// A rewrite fails after each change in turn, and the store goes on or is started anew: nothing is lost, nothing comes back.
#[tokio::test]
async fn a_rewrite_that_ends_anywhere_changes_nothing() {
    for stops in [false, true] {
        for stop in 0.. {
            let dir = tempfile::tempdir().unwrap();
            let disk = Faulty::new();
            let store = open_on(Arc::new(disk.clone()), small(dir.path())).unwrap();
            for n in 0..4_u64 {
                put(&store, meta(&format!("http://a.kz/{n}")), &noise(n, 9000)).await.unwrap();
            }
            put(&store, meta("http://a.kz/0"), b"newer").await.unwrap();
            store.forget(&key("http://a.kz/1"), true).await.unwrap();
            let all = sealed(&store);
            let done = disk.0.changes.load(Ordering::Relaxed);
            let limit = &disk.0.dead_after;
            limit.store(done + stop, Ordering::Relaxed);
            let rewritten = store.0.rewrite(&all, None);
            limit.store(-1, Ordering::Relaxed);
            let store = if stops {
                drop(store);
                start(dir.path())
            } else {
                store
            };
            assert_eq!(get(&store, "http://a.kz/0").await.unwrap(), "newer", "{stop}");
            assert!(get(&store, "http://a.kz/1").await.is_none(), "{stop}");
            for n in 2..4 {
                assert_eq!(get(&store, &format!("http://a.kz/{n}")).await.unwrap(), noise(n, 9000), "{stop}");
            }
            assert_eq!(store.stat().damaged, 0, "{stop}");
            if stops {
                // Copies that were not sealed are gone: what they were made of is there.
                let segments = store.0.log.segments().into_iter().filter(|(number, _)| !all.contains(number));
                segments.for_each(|(number, segment)| assert!(store.0.log.is_sound(number, &segment).unwrap(), "{stop}: {number}"));
            }
            if rewritten.is_ok() {
                assert!(stop > 5, "{stop}");
                break;
            }
        }
    }
}

#[tokio::test]
async fn readers_stream_on_while_what_they_read_is_moved_and_evicted() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_on(Arc::new(Real), Settings { segment: Size::mib(16), hot_object: Size::kib(100), ..small(dir.path()) }).unwrap();
    let films: Vec<Vec<u8>> = vec![noise(1, 2_000_000), text(2, 3_000_000)];
    for (n, film) in films.iter().enumerate() {
        put(&store, meta(&format!("http://a.kz/film{n}")), film).await.unwrap();
    }
    let mut streams = Vec::new();
    for n in 0..2 {
        let entry = store.find(&key(&format!("http://a.kz/film{n}"))).await.unwrap()[0].clone();
        streams.push(store.read(&entry, None).await.unwrap());
    }
    for _ in 0..2 {
        let all = sealed(&store);
        store.0.rewrite(&all, None).unwrap();
    }
    for (n, film) in films.iter().enumerate() {
        assert_eq!(get(&store, &format!("http://a.kz/film{n}")).await.unwrap(), film[..], "moved");
        evict(&store, &format!("http://a.kz/film{n}"));
    }
    let all = sealed(&store);
    store.0.rewrite(&all, None).unwrap();
    for (stream, film) in streams.into_iter().zip(&films) {
        assert_eq!(stream.collect(1 << 30).await.unwrap(), film[..]);
    }
    assert!(get(&store, "http://a.kz/film0").await.is_none());
    assert_eq!(store.stat().damaged, 0);
}

#[tokio::test]
async fn an_older_version_stays_away_when_the_body_of_a_newer_one_has_gone() {
    let dir = tempfile::tempdir().unwrap();
    let store = start(dir.path());
    let (x, y) = ("http://a.kz/x", "http://a.kz/y");
    put(&store, meta(x), &noise(1, 20_000)).await.unwrap();
    sealed(&store);
    put(&store, meta(y), &noise(2, 20_000)).await.unwrap();
    let bodies = sealed(&store);
    // The same body as the other's: in this segment stands the answer alone.
    put(&store, meta(x), &noise(2, 20_000)).await.unwrap();
    evict(&store, x);
    evict(&store, y);
    store.0.rewrite(&bodies[1..2], None).unwrap();
    assert!(store.0.log.table().read().blob(&Digest::of(&noise(2, 20_000))).is_none(), "the body has gone");
    drop(store);
    let store = start(dir.path());
    assert!(get(&store, x).await.is_none(), "the older version is here, and not current");
    assert!(get(&store, y).await.is_none());
}
