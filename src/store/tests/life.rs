//! Put, find, renew, forget, pin, through a restart.

use super::kit::{get, key, meta, noise, open, open_on, put, settings, text, variant};
use crate::base::clock::{Clock, Time};
use crate::base::count::Metrics;
use crate::base::digest::Digest;
use crate::life::Life;
use crate::store::disk::Real;
use crate::store::{Error, Store};
use std::sync::Arc;

#[tokio::test]
async fn what_is_committed_is_in_memory_at_once_and_on_disk_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let url = "http://a.kz/page";
    assert!(store.find(&key(url)).await.unwrap().is_empty());
    let entry = put(&store, meta(url), b"hello").await.unwrap();
    assert_eq!(entry.object, Some(Digest::of(b"hello")));
    assert_eq!(store.peek(&key(url)).unwrap()[0].body.as_deref(), Some(&b"hello"[..]));
    store.close().await.unwrap();
    drop(store);
    let store = open(dir.path());
    assert!(store.may_have(&key(url)));
    assert!(!store.may_have(&key("http://a.kz/other")));
    assert!(store.peek(&key(url)).is_none());
    let found = store.find(&key(url)).await.unwrap();
    assert_eq!(found[0].meta, meta(url));
    assert_eq!(found[0].body.as_deref(), Some(&b"hello"[..]));
    assert!(store.peek(&key(url)).is_some());
}

#[tokio::test]
async fn equal_bodies_are_kept_once_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let body = noise(1, 100_000);
    for n in 0..10 {
        put(&store, meta(&format!("http://a.kz/{n}")), &body).await.unwrap();
    }
    let check = |store: &Store| {
        let stat = store.stat();
        assert_eq!((stat.objects, stat.entries), (1, 10));
        // The table keeps lengths in classes.
        assert!(stat.object_bytes.abs_diff(100_000) < 3_200, "{}", stat.object_bytes);
        assert_eq!((stat.entry_bytes, stat.spared_dedup_bytes), (10 * stat.object_bytes, 9 * stat.object_bytes));
        assert!(stat.disk_bytes < 130_000, "{}", stat.disk_bytes);
        assert_eq!(stat.codecs["raw"].0, 1);
    };
    check(&store);
    drop(store);
    let store = open(dir.path());
    check(&store);
    assert_eq!(get(&store, "http://a.kz/7").await.unwrap(), body);
    put(&store, meta("http://b.kz/again"), &body).await.unwrap();
    assert_eq!(store.stat().objects, 1);
}

#[tokio::test]
async fn variants_live_beside_each_other_newest_first() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let url = "http://a.kz/";
    put(&store, variant(url, "kk"), b"kazakh").await.unwrap();
    put(&store, variant(url, "ru"), b"russian").await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let store = open(dir.path());
    // Not in memory: the other variant is read when a third comes.
    put(&store, variant(url, "en"), b"english").await.unwrap();
    let bodies = |variants: &crate::store::Variants| variants.iter().map(|entry| entry.body.clone().unwrap()).collect::<Vec<_>>();
    assert_eq!(bodies(&store.peek(&key(url)).unwrap()), ["english", "russian", "kazakh"]);
    put(&store, variant(url, "kk"), b"kazakh 2").await.unwrap();
    assert_eq!(bodies(&store.peek(&key(url)).unwrap()), ["kazakh 2", "english", "russian"]);
    assert_eq!(store.stat().entries, 3);
    assert_eq!(store.forget(&key(url), true).await.unwrap(), 3);
    assert!(store.find(&key(url)).await.unwrap().is_empty());
}

#[tokio::test]
async fn renewing_writes_meta_alone_and_lasts() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let url = "http://a.kz/big";
    let entry = put(&store, meta(url), &noise(3, 300_000)).await.unwrap();
    let before = store.stat().disk_bytes;
    let mut newer = meta(url);
    newer.headers.insert("age", "7".parse().unwrap());
    let renewed = store.renew(&entry, newer.clone()).await.unwrap();
    assert_eq!((renewed.object, &renewed.body), (entry.object, &entry.body));
    assert!(store.stat().disk_bytes - before < 1000);
    store.forget(&key(url), false).await.unwrap();
    store.renew(&entry, newer.clone()).await.unwrap();
    assert!(store.find(&key(url)).await.unwrap().is_empty(), "what was forgotten is not renewed to life");
    put(&store, meta(url), &noise(3, 300_000)).await.unwrap();
    store.renew(&entry, newer).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.find(&key(url)).await.unwrap()[0].meta.headers["age"], "7");
}

#[tokio::test]
async fn what_is_forgotten_stays_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for n in 0..30 {
        put(&store, meta(&format!("http://{}.kz/{n}", ["a", "b", "c"][n % 3])), text(n as u64 / 6, 2000).as_slice()).await.unwrap();
    }
    assert_eq!(store.forget_host("A.kz").await.unwrap(), 10);
    assert_eq!(store.forget_object(&Digest::of(&text(2, 2000))).await.unwrap(), 4, "6 had it, 2 of them on a.kz");
    assert_eq!(store.forget(&key("http://b.kz/1"), false).await.unwrap(), 1);
    assert_eq!(store.stat().entries, 15);
    for _ in 0..2 {
        drop(store.clone());
    }
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.stat().entries, 15);
    let mut left = Vec::new();
    store.each(|entry| left.push(entry.meta.url.to_string())).await.unwrap();
    assert_eq!(left.len(), 15);
    assert!(left.iter().all(|url| !url.contains("a.kz") && url != "http://b.kz/1"));
    assert!(get(&store, "http://a.kz/0").await.is_none());
}

#[tokio::test]
async fn pins_last_and_go_by_url_and_by_set() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    assert!(matches!(store.pin("pack", &key("http://a.kz/none")).await, Err(Error::Disk(_))));
    for n in 0..6 {
        put(&store, meta(&format!("http://a.kz/{n}")), b"x").await.unwrap();
        store.pin(if n < 4 { "one" } else { "two" }, &key(&format!("http://a.kz/{n}"))).await.unwrap();
    }
    store.pin("two", &key("http://a.kz/0")).await.unwrap();
    assert_eq!(store.stat().pinned_entries, 6);
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.stat().pinned_entries, 6);
    assert!(store.find(&key("http://a.kz/5")).await.unwrap()[0].pinned);
    assert_eq!(store.unpin("two", Some(&key("http://a.kz/5"))).await.unwrap(), 1);
    assert!(!store.find(&key("http://a.kz/5")).await.unwrap()[0].pinned);
    assert_eq!(store.unpin("one", None).await.unwrap(), 4);
    assert!(store.find(&key("http://a.kz/0")).await.unwrap()[0].pinned, "the other set keeps it");
    drop(store);
    assert_eq!(open(dir.path()).stat().pinned_entries, 2);
}

#[tokio::test]
async fn many_readers_of_one_url_share_one_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, meta("http://a.kz/"), &text(1, 50_000)).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let store = open(dir.path());
    let url = key("http://a.kz/");
    let all = futures_util::future::join_all((0..30).map(|_| store.find(&url))).await;
    let first = all[0].as_ref().unwrap();
    assert!(all.iter().all(|found| Arc::ptr_eq(found.as_ref().unwrap(), first)));
    assert!(store.0.flights.lock().is_empty());
}

#[tokio::test]
async fn a_second_process_is_told_and_a_newer_format_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, meta("http://a.kz/"), b"x").await.unwrap();
    let second = open_on(Arc::new(Real), settings(dir.path()));
    assert!(matches!(second, Err(Error::Unusable(why)) if why.contains("another process")));
    store.close().await.unwrap();
    drop(store);
    std::fs::write(dir.path().join("FORMAT"), "bulak store\nversion 2\n").unwrap();
    assert!(matches!(open_on(Arc::new(Real), settings(dir.path())), Err(Error::Unusable(why)) if why.contains("newer")));
    std::fs::write(dir.path().join("FORMAT"), "rubbish").unwrap();
    assert_eq!(get(&open(dir.path()), "http://a.kz/").await.unwrap(), "x");
}

#[tokio::test]
async fn the_clock_is_never_before_the_newest_record() {
    let dir = tempfile::tempdir().unwrap();
    put(&open(dir.path()), meta("http://a.kz/"), b"x").await.unwrap();
    let clock = Clock::manual(Time::from_secs(5));
    let store = Store::open(settings(dir.path()), clock.clone(), &Life::default(), &Metrics::default()).unwrap();
    assert_eq!(clock.now(), Time::from_secs(1_800_000_000));
    assert!(!clock.trusted());
    drop(store);
}

#[tokio::test]
async fn seq_goes_on_after_a_restart_and_old_segments_are_sealed() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..4 {
        let store = open(dir.path());
        put(&store, meta("http://a.kz/"), format!("round {round}").as_bytes()).await.unwrap();
        drop(store);
    }
    let names: Vec<String> =
        std::fs::read_dir(dir.path().join("seg")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(names.iter().filter(|name| name.ends_with(".log")).count(), 1, "{names:?}");
    assert_eq!(get(&open(dir.path()), "http://a.kz/").await.unwrap(), "round 3");
}

#[tokio::test]
async fn a_late_renewal_does_not_bring_an_older_body_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let url = "http://a.kz/";
    let old = put(&store, meta(url), b"old").await.unwrap();
    let mut newer = meta(url);
    newer.headers.insert("etag", "\"v2\"".parse().unwrap());
    put(&store, newer, b"new").await.unwrap();
    let mut told = meta(url);
    told.headers.insert("x-told", "by the 304".parse().unwrap());
    let confirmed = store.renew(&old, told).await.unwrap();
    let fields = &confirmed.meta.headers;
    assert!(fields.contains_key("x-told") && fields.get("etag").is_none_or(|tag| tag != "\"v2\""), "for whoever asked");
    assert_eq!(get(&store, url).await.unwrap(), "new");
    assert!(store.find(&key(url)).await.unwrap().iter().all(|entry| !entry.meta.headers.contains_key("x-told")));
    store.close().await.unwrap();
    drop(store);
    assert_eq!(get(&open(dir.path()), url).await.unwrap(), "new");
}

#[tokio::test]
async fn a_flag_that_was_raised_meanwhile_stays_raised() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let url = "http://a.kz/";
    let asked = put(&store, meta(url), b"body").await.unwrap();
    store.renew(&asked, crate::store::Meta { flags: 1, ..asked.meta.clone() }).await.unwrap();
    // What was asked before the flag is answered after it; whoever saw the flag may take it away.
    let raised = store.renew(&asked, asked.meta.clone()).await.unwrap();
    assert_eq!((raised.meta.flags, store.find(&key(url)).await.unwrap()[0].meta.flags), (1, 1));
    let lowered = store.renew(&raised, asked.meta.clone()).await.unwrap();
    assert_eq!(lowered.meta.flags, 0);
}

#[tokio::test]
async fn of_one_url_the_newest_variants_are_kept_and_those_of_packs() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let url = "http://a.kz/";
    let pack = crate::store::Meta { source: crate::store::Source::Pack, ..variant(url, "pack") };
    put(&store, pack, b"pack").await.unwrap();
    store.pin("lessons", &key(url)).await.unwrap();
    for n in 0..50_u8 {
        put(&store, variant(url, &n.to_string()), &[n; 10]).await.unwrap();
    }
    let values = |variants: &crate::store::Variants| -> Vec<String> {
        variants.iter().map(|entry| String::from_utf8(entry.meta.vary[0].1.to_vec()).unwrap()).collect()
    };
    let wanted: Vec<String> = (19..50).rev().map(|n| n.to_string()).chain([String::from("pack")]).collect();
    assert_eq!(values(&store.find(&key(url)).await.unwrap()), wanted);
    store.close().await.unwrap();
    drop(store);
    assert_eq!(values(&open(dir.path()).find(&key(url)).await.unwrap()), wanted);
}

/// A record written while the system's clock was eighty years ahead.
#[tokio::test]
async fn a_record_from_far_ahead_does_not_hold_the_clock_there() {
    use crate::base::clock::{Clock, Time};
    let dir = tempfile::tempdir().unwrap();
    let open_at = |secs: i64| {
        let clock = Clock::manual(Time::from_secs(secs));
        let (life, metrics) = (crate::life::Life::default(), crate::base::count::Metrics::default());
        (Store::open(super::kit::settings(dir.path()), clock.clone(), &life, &metrics).unwrap(), clock)
    };
    let built = Time::BUILT.secs();
    for (secs, url) in [(built + 86_400 * 100, "http://a.kz/1"), (built + 86_400 * 365 * 80, "http://a.kz/2")] {
        let (store, _) = open_at(secs);
        put(&store, meta(url), b"x").await.unwrap();
        store.close().await.unwrap();
    }
    let (store, clock) = open_at(0);
    assert!(clock.now() >= Time::from_secs(built + 86_400 * 100) && clock.now() < Time::from_secs(built + 86_400 * 101));
    assert_eq!(get(&store, "http://a.kz/2").await.unwrap(), "x");
}

#[tokio::test]
async fn what_is_stored_is_read_while_every_writer_is_held_up() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let url = "http://a.kz/";
    put(&store, meta(url), b"x").await.unwrap();
    store.0.hot.remove(&key(url));
    let (held, writers): (Vec<_>, Vec<_>) = (0..20)
        .map(|_| {
            let (send, wait) = std::sync::mpsc::channel::<()>();
            let inner = Arc::clone(&store.0);
            let writer = async move { inner.run_write(move |_| Ok(wait.recv().is_err())).await };
            (send, writer)
        })
        .unzip();
    let mut writers = Box::pin(futures_util::future::join_all(writers));
    tokio::select! {
        biased;
        _ = &mut writers => panic!("they are held up"),
        found = get(&store, url) => assert_eq!(found.unwrap(), "x"),
    }
    drop(held);
    assert!(writers.await.into_iter().all(|done| done.unwrap()));
}
