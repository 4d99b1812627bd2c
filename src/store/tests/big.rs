//! A hundred thousand objects: figures, on request. `BULAK_BIG=16 cargo test --lib store::tests::big -- --nocapture`, where 16 is
//! the MiB of the index's cache (0: no index)

use super::kit::{get, meta, open_on, put, settings};
use crate::base::clock::Clock;
use crate::base::unit::Bytes as Size;
use crate::store::Settings;
use crate::store::disk::Real;
use std::sync::Arc;

const COUNT: u64 = 100_000;

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1000
}

#[tokio::test]
async fn a_hundred_thousand_objects() {
    if std::env::var_os("BULAK_BIG").is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let cache = std::env::var("BULAK_BIG").ok().and_then(|text| text.parse().ok()).unwrap_or(16);
    let big = || Settings {
        quota: Size::gib(20),
        memory: Size::mib(32),
        segment: Size::mib(64),
        index_cache: Size::mib(cache),
        ..settings(dir.path())
    };
    let clock = Clock::system();
    let body = |n: u64| super::kit::noise(n, 10_240);
    println!("rss before: {} MB", resident());
    let store = open_on(Arc::new(Real), big()).unwrap();
    let start = clock.steady();
    for n in 0..COUNT {
        put(&store, meta(&format!("http://origin{}.example.kz/some/path/object-{n}.bin", n % 50)), &body(n)).await.unwrap();
    }
    println!("filled in {:?}, rss {} MB, {:?}", clock.steady() - start, resident(), store.stat());
    assert_eq!(store.stat().entries, COUNT);
    drop(store);
    println!("rss after drop: {} MB", resident());
    let start = clock.steady();
    if let Ok(found) = crate::store::recover::open(&Real, dir.path(), 64 << 20, clock.now(), || {}) {
        println!("recovered in {:?}: {} segments scanned, seq {}", clock.steady() - start, found.scanned, found.seq);
    }
    let start = clock.steady();
    let store = open_on(Arc::new(Real), big()).unwrap();
    let opened = clock.steady() - start;
    assert_eq!(get(&store, "http://origin7.example.kz/some/path/object-77757.bin").await.unwrap(), body(77_757));
    println!("open {opened:?}, first hit after {:?}, index {}, rss {} MB", clock.steady() - start, store.stat().index, resident());
    while store.stat().index == "rebuilding" {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    println!("index {} after {:?}, rss {} MB", store.stat().index, clock.steady() - start, resident());
    let start = clock.steady();
    println!("forgot {} of a host in {:?}", store.forget_host("origin7.example.kz").await.unwrap(), clock.steady() - start);
    assert_eq!(store.stat().entries, COUNT - COUNT / 50);
}
