//! Quiet hours, through the worker that the node runs: what it does by itself, and when it does nothing.

use crate::base::clock::{Clock, Time};
use crate::base::count::Metrics;
use crate::base::unit::Bytes as Size;
use crate::life::{Life, Next, Worker};
use crate::store::record::{Codec, Kind, Line, SETTLED};
use crate::store::tests::kit::{get, meta, page, put, script, script_meta, settings, text};
use crate::store::{Permit, Settings, Store, Tend};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// A store and its time.
fn open(settings: Settings) -> (Store, Clock) {
    let clock = Clock::manual(Time::from_secs(1_800_000_000));
    (Store::open(settings, clock.clone(), &Life::default(), &Metrics::default()).unwrap(), clock)
}

fn permit() -> (Arc<AtomicBool>, Permit) {
    let may = Arc::new(AtomicBool::new(true));
    (Arc::clone(&may), Arc::new(move || may.load(Ordering::Relaxed)))
}

/// What the tests read back.
fn all() -> Vec<(String, Vec<u8>)> {
    let pages = (0..150).map(|n| (format!("http://a.kz/p/{n}"), page(n)));
    pages.chain((1..3).map(|n| (format!("http://a.kz/lib@1.{n}.0/x.js"), script(n)))).collect()
}

async fn fill(store: &Store) {
    for (url, body) in all() {
        let meta = if url.contains("/lib@") { script_meta(&url) } else { meta(&url) };
        put(store, meta, &body).await.unwrap();
    }
}

async fn all_read(store: &Store) {
    for (url, body) in all() {
        assert_eq!(get(store, &url).await.unwrap(), body, "{url}");
    }
    assert_eq!(store.stat().damaged, 0);
}

/// Works until there is nothing more to do now; how many steps that took.
async fn rest(tend: &mut Tend) -> usize {
    for steps in 1..10_000 {
        match tend.work().await.unwrap() {
            Next::Wait(pause) if pause > Duration::from_secs(1) => return steps,
            _ => {}
        }
    }
    panic!("it has no end");
}

/// All files of the segments' folder and the store's, with what is in them, but for the scrub's progress.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let all = [dir.to_owned(), dir.join("seg")].map(|folder| std::fs::read_dir(folder).unwrap());
    let files = all.into_iter().flatten().map(|file| file.unwrap().path()).filter(|path| path.is_file() && !path.ends_with("scrub"));
    files.map(|path| (path.display().to_string(), std::fs::read(&path).unwrap())).collect()
}

/// Bodies that are of use.
fn bodies(store: &Store) -> Vec<Line> {
    let log = &store.0.log;
    let lines = log.segments().into_iter().flat_map(|(number, _)| log.lines(number).unwrap().into_iter().map(move |line| (number, line)));
    let table = log.table().read();
    lines.filter(|(number, line)| line.kind == Kind::Blob && table.is_live(line, *number)).map(|(_, line)| line).collect()
}

#[tokio::test]
async fn a_node_that_is_left_alone_makes_its_store_smaller_by_itself_and_then_rests() {
    let dir = tempfile::tempdir().unwrap();
    let (store, clock) = open(settings(dir.path()));
    fill(&store).await;
    let (may, permit) = permit();
    let mut tend = store.tend(permit);
    rest(&mut tend).await;
    assert_eq!(store.stat().codecs["zstd_dict"].0, 0, "the class may go on any moment");
    // Nobody comes, but the line is never quiet.
    may.store(false, Ordering::Relaxed);
    clock.advance(Duration::from_hours(3));
    store.sync().await.unwrap();
    let before = files(dir.path());
    for _ in 0..5 {
        assert_eq!(tend.work().await.unwrap(), Next::Wait(Duration::from_secs(30)));
    }
    assert!(files(dir.path()) == before, "nothing is written without a permit");
    let old = store.stat();
    may.store(true, Ordering::Relaxed);
    assert!(rest(&mut tend).await > 3);
    let new = store.stat();
    assert_eq!((new.codecs["zstd_dict"].0, new.codecs["zstd_delta"].0), (150, 1), "{:?}", new.codecs);
    let (was, is) = (old.spared, new.spared);
    assert!(was.dict_bytes == 0 && was.delta_bytes == 0 && was.zstd_bytes > 0, "{was:?}");
    assert!(is.dict_bytes > 100_000 && is.delta_bytes > 0 && is.zstd_bytes > 0, "{is:?}");
    assert!((is.zstd_bytes + is.dict_bytes + is.delta_bytes).abs_diff(new.spared_zstd_bytes) * 100 < new.spared_zstd_bytes, "{new:?}");
    assert!(new.spared_zstd_bytes > old.spared_zstd_bytes && new.disk_bytes * 3 < old.disk_bytes * 2, "{old:?} {new:?}");
    assert!(bodies(&store).iter().all(|line| line.flags & SETTLED != 0 || line.codec == Codec::Raw));
    all_read(&store).await;
    // It is done, whatever the hour: the next nights only look.
    let done = files(dir.path());
    for _ in 0..3 {
        clock.advance(Duration::from_hours(2));
        assert!(rest(&mut tend).await > 1);
    }
    assert!(files(dir.path()) == done);
    store.close().await.unwrap();
    drop((store, tend));
    all_read(&open(settings(dir.path())).0).await;
}

#[tokio::test]
async fn a_class_that_comes_in_the_middle_of_a_step_finds_it_ending_and_the_next_night_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (store, clock) = open(settings(dir.path()));
    fill(&store).await;
    clock.advance(Duration::from_hours(3));
    // Asked once for each step and body: it ends amid the bodies.
    let asked = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&asked);
    let mut tend = store.tend(Arc::new(move || counter.fetch_add(1, Ordering::Relaxed) < 60));
    rest(&mut tend).await;
    let settled = |store: &Store| bodies(store).iter().filter(|line| line.flags & SETTLED != 0).count();
    assert!((1..100).contains(&settled(&store)), "{}", settled(&store));
    all_read(&store).await;
    asked.store(0, Ordering::Relaxed);
    drop(tend);
    let mut tend = store.tend(Arc::new(|| true));
    rest(&mut tend).await;
    assert_eq!(settled(&store), 152);
    all_read(&store).await;
}

#[tokio::test]
async fn what_a_day_may_write_holds_and_a_store_of_nothing_but_films_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (store, clock) = open(Settings { repack_daily: Size(0), ..settings(dir.path()) });
    fill(&store).await;
    clock.advance(Duration::from_hours(3));
    store.sync().await.unwrap();
    let before = files(dir.path());
    let mut tend = store.tend(Arc::new(|| true));
    rest(&mut tend).await;
    assert!(files(dir.path()) == before);
    let other = tempfile::tempdir().unwrap();
    let (store, clock) = open(settings(other.path()));
    put(&store, meta("http://a.kz/film"), &crate::store::tests::kit::noise(1, 200_000)).await.unwrap();
    put(&store, meta("http://a.kz/page"), &page(1)).await.unwrap();
    clock.advance(Duration::from_hours(3));
    store.sync().await.unwrap();
    let before = files(other.path());
    let mut tend = store.tend(Arc::new(|| true));
    rest(&mut tend).await;
    assert!(files(other.path()) == before, "a page is not worth a seal");
}

#[tokio::test]
async fn a_large_text_with_a_segment_of_its_own_is_made_smaller_too() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(Settings { segment: Size::mib(1), ..settings(dir.path()) });
    let body = text(3, 3 << 20);
    put(&store, meta("http://a.kz/big"), &body).await.unwrap();
    let alone = || store.0.log.segments().into_iter().filter(|(_, segment)| segment.alone.is_some()).count();
    assert_eq!(alone(), 1, "{:?}", store.stat());
    let before = store.stat();
    let mut tend = store.tend(Arc::new(|| true));
    rest(&mut tend).await;
    let after = store.stat();
    assert!(after.disk_bytes < before.disk_bytes, "{before:?} {after:?}");
    assert!(bodies(&store).iter().all(|line| line.flags & SETTLED != 0));
    assert_eq!(get(&store, "http://a.kz/big").await.unwrap(), body);
    // It leaves as a whole when nothing leads to it.
    store.forget(&crate::store::tests::kit::key("http://a.kz/big"), true).await.unwrap();
    rest(&mut tend).await;
    assert!(store.stat().disk_bytes < 64 << 10, "{:?}", store.stat());
}
