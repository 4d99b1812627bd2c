//! Whole nights, from the survey on: what they find by themselves, that they end, what they may write.

use super::{Budget, Night, Pace, Shrunk};
use crate::base::unit::Bytes as Size;
use crate::store::disk::Real;
use crate::store::tests::kit::{get, meta, open, open_on, page, put, script, script_meta, settings, text};
use crate::store::{Settings, Store};
use std::sync::Arc;

async fn put_script(store: &Store, n: u64) -> String {
    let url = format!("http://a.kz/lib@1.{n}.0/x.js");
    put(store, script_meta(&url), &script(n)).await.unwrap();
    url
}

async fn put_pages(store: &Store) {
    for n in 0..150 {
        put(store, meta(&format!("http://a.kz/p/{n}")), &page(n)).await.unwrap();
    }
}

async fn all_read(store: &Store, scripts: u64) {
    for n in 0..150 {
        assert_eq!(get(store, &format!("http://a.kz/p/{n}")).await.unwrap(), page(n), "{n}");
    }
    for n in 1..=scripts {
        assert_eq!(get(store, &format!("http://a.kz/lib@1.{n}.0/x.js")).await.unwrap(), script(n), "{n}");
    }
    assert_eq!(store.stat().damaged, 0);
}

#[tokio::test]
async fn a_night_trains_a_dictionary_finds_versions_and_the_next_has_nothing_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put_pages(&store).await;
    put_script(&store, 1).await;
    put_script(&store, 2).await;
    let before = store.stat().codecs["zstd"].1;
    let sum = store.shrink(Pace::Now, || true, |_| {}).await.unwrap();
    assert!(sum.done && sum.tried == 152 && sum.dictionaries == 1 && sum.left == 0, "{sum:?}");
    // The table rounds.
    assert!(sum.before_bytes.abs_diff(before) * 20 < before, "{sum:?} {before}");
    let codecs = store.stat().codecs;
    assert_eq!((codecs["zstd_dict"].0, codecs["zstd_delta"].0), (150, 1), "{codecs:?}");
    assert!(sum.after_bytes * 2 < sum.before_bytes, "{sum:?}");
    let again = store.shrink(Pace::Now, || true, |_| {}).await.unwrap();
    assert_eq!(again, Shrunk { done: true, ..Shrunk::default() });
    all_read(&store, 2).await;
    // A version that comes later is compared with what is settled, through a restart too, with the sketches and without.
    for n in 3..5 {
        put_script(&store, n).await;
        store.close().await.unwrap();
    }
    drop(store);
    std::fs::write(dir.path().join("sketches"), b"ruined").unwrap();
    let store = open(dir.path());
    let sum = store.shrink(Pace::Now, || true, |_| {}).await.unwrap();
    assert_eq!((sum.tried, sum.dictionaries), (2, 0));
    assert_eq!(store.stat().codecs["zstd_delta"].0, 3);
    store.close().await.unwrap();
    drop(store);
    all_read(&open(dir.path()), 4).await;
}

#[tokio::test]
async fn a_night_without_a_permit_does_nothing_and_one_that_stops_goes_on_later() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put_pages(&store).await;
    let sum = store.shrink(Pace::Now, || false, |_| {}).await.unwrap();
    assert_eq!(sum, Shrunk::default());
    for stop in [1, 2, 4, 8] {
        let steps = std::cell::Cell::new(0);
        let permit = || steps.replace(steps.get() + 1) < stop;
        let mut night = Night::new(Pace::Now);
        while permit() {
            night.step(&store.0).unwrap();
        }
    }
    let sum = store.shrink(Pace::Now, || true, |_| {}).await.unwrap();
    assert!(sum.done);
    assert!(store.stat().codecs["zstd_dict"].0 == 150);
    all_read(&store, 0).await;
}

#[tokio::test]
async fn what_a_day_may_write_holds_through_a_restart_and_begins_anew_the_next_day() {
    let dir = tempfile::tempdir().unwrap();
    let small = || Settings { repack_daily: Size::kib(600), segment: Size::kib(256), ..settings(dir.path()) };
    let store = open_on(Arc::new(Real), small()).unwrap();
    for n in 0..40 {
        put(&store, meta(&format!("http://a.kz/{n}")), &text(n, 100_000)).await.unwrap();
    }
    store.close().await.unwrap();
    let first = store.shrink(Pace::Night, || true, |_| {}).await.unwrap();
    assert!(first.done && first.tried > 0 && first.tried < 40, "{first:?}");
    assert!(first.written_bytes <= 600 << 10, "{first:?}");
    drop(store);
    let store = open_on(Arc::new(Real), small()).unwrap();
    assert_eq!(Budget::read(&store.0).written, first.written_bytes);
    let second = store.shrink(Pace::Night, || true, |_| {}).await.unwrap();
    assert!(second.written_bytes + first.written_bytes <= 600 << 10, "{first:?} {second:?}");
    std::fs::write(dir.path().join("repack"), "day 5\nwritten 99999999999\n").unwrap();
    let third = store.shrink(Pace::Night, || true, |_| {}).await.unwrap();
    assert!(third.tried > 0, "another day's");
    for n in 0..40 {
        assert_eq!(get(&store, &format!("http://a.kz/{n}")).await.unwrap(), text(n, 100_000));
    }
    let never = open_on(Arc::new(Real), Settings { repack_daily: Size(0), path: dir.path().join("never"), ..small() }).unwrap();
    put(&never, meta("http://a.kz/"), &text(1, 100_000)).await.unwrap();
    never.close().await.unwrap();
    assert_eq!(never.shrink(Pace::Night, || true, |_| {}).await.unwrap(), Shrunk { done: true, ..Shrunk::default() });
}

#[test]
fn a_budget_that_cannot_be_read_is_none() {
    assert_eq!(Budget::parse("day 5\nwritten 7\n"), Some(Budget { day: 5, written: 7 }));
    for text in ["", "day 5", "day x\nwritten 7", "written 7", "\u{fffd}"] {
        assert_eq!(Budget::parse(text), None, "{text}");
    }
}
