//! The check of a store in which bodies lean on dictionaries and on older versions: clean, and with what they lean on damaged.
//! What leads to a base, and when it goes.

use crate::base::digest::Digest;
use crate::store::record::{Codec, Kind};
use crate::store::tests::kit::{get, key, meta, open, page, put, script, script_meta};
use crate::store::{Pace, Store, check};
use std::path::Path;

fn script_url(n: u64) -> String {
    format!("http://a.kz/lib@1.{n}.0/x.js")
}

/// 120 pages with a dictionary, and a script in two versions.
async fn slept(dir: &Path) -> Store {
    let store = open(dir);
    for n in 0..120 {
        put(&store, meta(&format!("http://a.kz/p/{n}")), &page(n)).await.unwrap();
    }
    for n in 1..3 {
        put(&store, script_meta(&script_url(n)), &script(n)).await.unwrap();
    }
    store.shrink(Pace::Now, || true, |_| {}).await.unwrap();
    let codecs = store.stat().codecs;
    assert_eq!((codecs["zstd_dict"].0, codecs["zstd_delta"].0), (120, 1), "{codecs:?}");
    store
}

/// Flips a bit in the payload of the first record that is so, and where it stands.
fn hurt(store: &Store, dir: &Path, wanted: impl Fn(Kind, &[u8; 32]) -> bool) {
    let log = &store.0.log;
    let mut hurt = 0;
    for (number, _) in log.segments() {
        for line in log.lines(number).unwrap().into_iter().filter(|line| wanted(line.kind, &line.key)) {
            let path = dir.join(format!("seg/{number:08}.seg"));
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[line.at as usize + 80 + 400] ^= 4;
            std::fs::write(&path, bytes).unwrap();
            hurt += 1;
        }
    }
    assert_eq!(hurt, 1);
}

#[tokio::test]
async fn a_deep_check_reads_what_leans_on_something_and_names_what_is_lost_with_it() {
    for case in ["nothing", "dictionary", "base"] {
        let dir = tempfile::tempdir().unwrap();
        let store = slept(dir.path()).await;
        store.close().await.unwrap();
        let base = Digest::of(&script(1)).0;
        match case {
            "dictionary" => hurt(&store, dir.path(), |kind, _| kind == Kind::Dict),
            "base" => hurt(&store, dir.path(), |kind, key| kind == Kind::Blob && *key == base),
            _ => {}
        }
        drop(store);
        let found = check(dir.path(), true, false, |_, _| {}).unwrap();
        let lost = |what: &str| found.lost.iter().filter(|line| line.contains(what)).count();
        assert_eq!(found.bodies, 122, "{case}");
        match case {
            "dictionary" => {
                assert_eq!((lost("/p/"), lost("dictionary of its body"), lost("/x.js")), (120, 120, 0), "{:?}", &found.lost[..3]);
            }
            "base" => assert_eq!((lost("/p/"), lost("/x.js"), lost("older version")), (0, 2, 1), "{:?}", found.lost),
            _ => assert!(found.lost.is_empty() && found.repaired.is_empty(), "{found:?}"),
        }
    }
}

#[tokio::test]
async fn a_base_lives_as_long_as_its_delta_and_goes_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = slept(dir.path()).await;
    let codec = |store: &Store, n| store.0.log.table().read().blob(&Digest::of(&script(n))).map(|blob| (blob.codec, blob.refs));
    assert_eq!((codec(&store, 1), codec(&store, 2)), (Some((Codec::Zstd, 2)), Some((Codec::Delta, 1))));
    let rewrite = |store: &Store| {
        store.0.log.close().unwrap();
        let all: Vec<u32> = store.0.log.segments().into_iter().map(|(number, _)| number).collect();
        store.0.rewrite(&all, None).unwrap();
    };
    let objects = store.stat().objects;
    store.forget(&key(&script_url(1)), true).await.unwrap();
    assert_eq!(codec(&store, 1), Some((Codec::Zstd, 1)), "the delta's");
    rewrite(&store);
    assert!(get(&store, &script_url(1)).await.is_none());
    assert_eq!(get(&store, &script_url(2)).await.unwrap(), script(2));
    store.close().await.unwrap();
    drop(store);
    let store = open(dir.path());
    assert_eq!(get(&store, &script_url(2)).await.unwrap(), script(2));
    store.forget(&key(&script_url(2)), true).await.unwrap();
    // First the delta goes, which let go of the base; then the base.
    rewrite(&store);
    rewrite(&store);
    assert_eq!((codec(&store, 1), codec(&store, 2)), (None, None));
    assert_eq!(store.stat().objects, objects - 2);
    store.close().await.unwrap();
    drop(store);
    let store = open(dir.path());
    let stat = store.stat();
    assert_eq!((stat.objects, stat.codecs["zstd_delta"].0, stat.damaged), (120, 0, 0));
    assert_eq!(get(&store, "http://a.kz/p/7").await.unwrap(), page(7));
}

#[tokio::test]
async fn a_delta_whose_base_has_gone_is_stored_anew_when_it_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let night = async || {
        store.0.log.close().unwrap();
        store.shrink(Pace::Now, || true, |_| {}).await.unwrap();
    };
    for n in 1..3 {
        put(&store, script_meta(&script_url(n)), &script(n)).await.unwrap();
        // A night after each, so that they lie apart.
        night().await;
    }
    let place = |n| store.0.log.table().read().blob(&Digest::of(&script(n))).map(|blob| (blob.codec, blob.place.segment));
    let (Some((_, old)), Some((Codec::Delta, new))) = (place(1), place(2)) else { panic!("{:?} {:?}", place(1), place(2)) };
    assert_ne!(old, new);
    for n in 1..3 {
        store.forget(&key(&script_url(n)), true).await.unwrap();
    }
    store.0.log.close().unwrap();
    store.0.rewrite(&[old], None).unwrap();
    assert!(place(1).is_none() && place(2).is_some(), "the delta is still on disk");
    put(&store, script_meta(&script_url(2)), &script(2)).await.unwrap();
    store.0.hot.remove(&key(&script_url(2)));
    assert_eq!(get(&store, &script_url(2)).await.as_deref(), Some(script(2).as_slice()));
    store.close().await.unwrap();
    drop(store);
    let store = open(dir.path());
    assert_eq!(get(&store, &script_url(2)).await.as_deref(), Some(script(2).as_slice()));
    assert_eq!(store.stat().damaged, 0);
}
