//! Nights over small stores: every form reads back, whole and in ranges; what is damaged is a miss; nothing is done twice.

#![expect(clippy::cast_possible_truncation, reason = "small numbers")]

use super::recode::{About, Group, Recoder};
use crate::base::digest::Digest;
use crate::store::Store;
use crate::store::pack::dict::{self, Class};
use crate::store::pack::sketch;
use crate::store::record::{Codec, Kind, Line, SETTLED, fingerprint};
use crate::store::recover;
use crate::store::rewrite::Recode;
use crate::store::segment::Lane;
use crate::store::tests::kit::{get, key, meta, noise, open, put, read, text};
use bytes::Bytes;
use std::path::Path;

/// The lines of all records that are in use, oldest first, once everything is sealed.
fn lines(store: &Store) -> Vec<Line> {
    store.0.log.close().unwrap();
    let mut all = Vec::new();
    for (number, _) in store.0.log.segments() {
        let lines = store.0.log.lines(number).unwrap();
        all.extend(lines.into_iter().filter(|line| store.0.log.table().read().is_live(line, number)));
    }
    all.sort_by_key(|line| line.seq);
    all
}

/// Rewrites everything, in one go.
fn night(store: &Store, recoder: &mut Recoder) {
    store.0.log.close().unwrap();
    let main = store.0.log.segments().into_iter().filter(|(_, segment)| segment.lane == Lane::Main);
    let sources: Vec<u32> = main.map(|(number, _)| number).collect();
    recoder.begin();
    store.0.rewrite(&sources, Some(recoder)).unwrap();
    recoder.end(&store.0.log);
}

fn codec(store: &Store, body: &[u8]) -> Codec {
    store.0.log.table().read().blob(&Digest::of(body)).unwrap().codec
}

/// A version of a script: mostly the same, some lines new.
fn version(n: u64, length: usize) -> Vec<u8> {
    let mut out = text(1, length);
    for at in (500..out.len()).step_by(15_000) {
        let fresh = text(100 + n, 60);
        out.splice(at..at + 50, fresh);
    }
    out
}

fn about(recoder: &mut Recoder, url: &str, body: &[u8], class: Class) {
    let group = Group { host: "a.kz".into(), class };
    let at = recoder.groups.iter().position(|known| *known == group).unwrap_or_else(|| {
        recoder.groups.push(group);
        recoder.groups.len() - 1
    });
    recoder.about.insert(fingerprint(&Digest::of(body).0), About { stem: sketch::stem(url), group: Some(at as u32) });
}

async fn reads_back(store: &Store, url: &str, body: &[u8]) {
    let bytes = get(store, url).await;
    assert!(bytes.is_some_and(|bytes| bytes == body), "{url}");
    let entry = store.find(&key(url)).await.unwrap()[0].clone();
    let n = body.len() as u64;
    for range in [0..n.min(1), n / 3..n / 2, n - 1..n, n / 2..(n / 2 + 300_000).min(n)] {
        if range.start < range.end {
            let part = read(store, &entry, Some(range.clone())).await.unwrap();
            assert_eq!(part, body[range.start as usize..range.end as usize], "{url} {range:?}");
        }
    }
}

/// A page of a site: much is the same on each.
fn page(n: u64) -> Vec<u8> {
    [&text(7, 2_500)[..], &text(n + 1_000, 700), &text(8, 1_500)].concat()
}

/// A store of many pages, a script in three versions, a film and a long text, after one night; and what it holds.
async fn slept(dir: &Path) -> (Store, Recoder, Vec<(String, Vec<u8>)>) {
    let store = open(dir);
    let mut recoder = Recoder::default();
    let mut all = Vec::new();
    for n in 0..120 {
        all.push((format!("http://a.kz/p/{n}"), page(n), Class::Html));
    }
    for n in 1..4 {
        all.push((format!("http://a.kz/x-1.{n}.0.js"), version(n, 60_000), Class::Script));
        all.push((format!("http://a.kz/big-1.{n}.0.js"), version(n, 1_200_000), Class::Script));
    }
    all.push(("http://a.kz/text".into(), text(5, 1 << 20), Class::Other));
    all.push(("http://a.kz/film".into(), noise(5, 100_000), Class::Other));
    all.push(("http://a.kz/tiny".into(), text(6, 40), Class::Html));
    for (url, body, class) in &all {
        put(&store, meta(url), body).await.unwrap();
        about(&mut recoder, url, body, *class);
    }
    let samples: Vec<Vec<u8>> = (0..120).map(page).collect();
    let number = dict::numbers("a.kz", Class::Html).next().unwrap();
    store.0.log.append(&dict::record(number, &dict::train(&samples).unwrap()).unwrap(), |_| {}).unwrap();
    night(&store, &mut recoder);
    (store, recoder, all.into_iter().map(|(url, body, _)| (url, body)).collect())
}

#[tokio::test]
async fn every_form_reads_back_whole_and_in_ranges_through_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (store, recoder, all) = slept(dir.path()).await;
    assert!(recoder.tally.after * 2 < recoder.tally.before, "{:?}", recoder.tally);
    assert_eq!(codec(&store, &page(3)), Codec::Dict);
    assert_eq!(codec(&store, &version(1, 60_000)), Codec::Zstd, "the oldest is the base");
    assert_eq!(codec(&store, &version(2, 60_000)), Codec::Delta);
    assert_eq!(codec(&store, &version(3, 60_000)), Codec::Delta);
    assert_eq!(codec(&store, &version(1, 1_200_000)), Codec::Frames);
    assert_eq!(codec(&store, &version(3, 1_200_000)), Codec::Delta);
    assert_eq!(codec(&store, &noise(5, 100_000)), Codec::Raw);
    store.close().await.unwrap();
    drop(store);
    let store = open(dir.path());
    for (url, body) in &all {
        reads_back(&store, url, body).await;
    }
    assert_eq!(store.stat().damaged, 0);
}

#[tokio::test]
async fn a_body_too_long_for_the_memory_goes_frame_by_frame() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let body = text(9, 100_000).repeat(usize::try_from(crate::store::pack::delta::OBJECT_MAX).unwrap() / 100_000 + 1);
    assert!(body.len() as u64 > crate::store::pack::delta::OBJECT_MAX);
    put(&store, meta("http://a.kz/huge"), &body).await.unwrap();
    let before = store.stat().codecs["zstd_frames"].1;
    let mut recoder = Recoder::default();
    night(&store, &mut recoder);
    assert_eq!(codec(&store, &body), Codec::Frames);
    // The table rounds.
    assert!(recoder.tally.tried == 1 && recoder.tally.before.abs_diff(before) * 20 < before, "{:?} {before}", recoder.tally);
    assert!(recoder.tally.after < before);
    assert_eq!(std::fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
    reads_back(&store, "http://a.kz/huge", &body).await;
}

#[tokio::test]
async fn a_second_night_finds_nothing_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let (store, mut recoder, all) = slept(dir.path()).await;
    let (before, bytes) = (recoder.tally, store.stat().disk_bytes);
    recoder.sketches = crate::store::pack::sketch::Sketches::default();
    night(&store, &mut recoder);
    assert_eq!(recoder.tally, before);
    assert!(store.stat().disk_bytes - bytes < 64 << 10, "footers only");
    let settled = lines(&store).into_iter().filter(|line| line.kind == Kind::Blob && line.flags & SETTLED != 0).count();
    assert_eq!(settled, all.len() - 1, "all but the film");
}

#[tokio::test]
async fn versions_that_come_night_by_night_all_lean_on_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut recoder = Recoder::default();
    for n in 1..6 {
        let url = format!("http://a.kz/x-1.{n}.0.js");
        put(&store, meta(&url), &version(n, 40_000)).await.unwrap();
        about(&mut recoder, &url, &version(n, 40_000), Class::Script);
        night(&store, &mut recoder);
    }
    let first = fingerprint(&Digest::of(&version(1, 40_000)).0);
    let deltas: Vec<Line> = lines(&store).into_iter().filter(|line| line.codec == Codec::Delta).collect();
    assert_eq!(deltas.len(), 4);
    assert!(deltas.iter().all(|line| line.link == first), "depth one");
    for n in 1..6 {
        reads_back(&store, &format!("http://a.kz/x-1.{n}.0.js"), &version(n, 40_000)).await;
    }
}

#[tokio::test]
async fn a_body_that_others_lean_on_never_becomes_a_delta() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut recoder = Recoder::default();
    for n in 1..3 {
        put(&store, meta(&format!("http://a.kz/x-1.{n}.0.js")), &version(n, 40_000)).await.unwrap();
    }
    // As if the second had been a base since an earlier night.
    recoder.bases.insert(fingerprint(&Digest::of(&version(2, 40_000)).0));
    night(&store, &mut recoder);
    assert_eq!(codec(&store, &version(2, 40_000)), Codec::Zstd);
}

#[tokio::test]
async fn a_delta_that_saves_little_is_not_made() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut recoder = Recoder::default();
    // A fifth is shared: found by the path, but a delta would still take about 80 %.
    let (old, new) = (text(1, 50_000), [&text(1, 50_000)[..10_000], &text(2, 40_000)].concat());
    for (url, body) in [("http://a.kz/x-1.0.0.js", &old), ("http://a.kz/x-2.0.0.js", &new)] {
        put(&store, meta(url), body).await.unwrap();
        about(&mut recoder, url, body, Class::Script);
    }
    night(&store, &mut recoder);
    assert_eq!(codec(&store, &new), Codec::Zstd);
    assert!(recoder.bases.is_empty());
}

#[tokio::test]
async fn a_delta_keeps_its_base_from_going_while_it_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut recoder = Recoder::default();
    for n in 1..3 {
        put(&store, meta(&format!("http://a.kz/x-1.{n}.0.js")), &version(n, 40_000)).await.unwrap();
    }
    recoder.begin();
    let base = Digest::of(&version(1, 40_000));
    let refs = || store.0.log.table().read().blob(&base).unwrap().refs;
    for line in lines(&store).into_iter().filter(|line| line.kind == Kind::Blob) {
        recoder.recode(&line, &Digest(line.key), &store.0).unwrap();
    }
    assert_eq!(refs(), 2, "the answer's and the delta's");
    recoder.end(&store.0.log);
    assert_eq!(refs(), 1);
}

/// Flips one bit in the record of a body, in the payload.
fn hurt(store: &Store, dir: &Path, object: [u8; 32], kind: Kind, at: u64) {
    let line = *lines(store).iter().rev().find(|line| line.kind == kind && line.key == object).unwrap_or_else(|| panic!("{kind:?}"));
    for found in recover::segments(&*store.0.disk, &dir.join("seg")).unwrap() {
        let file = store.0.disk.open(&found.path, true).unwrap();
        let lines = recover::footer(&*file, found.length).unwrap();
        if lines.contains(&line) {
            let mut byte = [0];
            file.read_at(&mut byte, line.at + 80 + at).unwrap();
            file.write_at(&[byte[0] ^ 16], line.at + 80 + at).unwrap();
        }
    }
}

#[tokio::test]
async fn damage_is_a_miss_for_what_leans_on_it_and_for_nothing_else() {
    for case in ["delta", "its base", "base's name", "dict body"] {
        let dir = tempfile::tempdir().unwrap();
        let (store, _, all) = slept(dir.path()).await;
        let of = |body: &[u8]| Digest::of(body).0;
        let lost: Vec<&str> = match case {
            "delta" => {
                hurt(&store, dir.path(), of(&version(3, 60_000)), Kind::Blob, 50);
                vec!["http://a.kz/x-1.3.0.js"]
            }
            "base's name" => {
                hurt(&store, dir.path(), of(&version(2, 60_000)), Kind::Blob, 3);
                vec!["http://a.kz/x-1.2.0.js"]
            }
            "its base" => {
                hurt(&store, dir.path(), of(&version(1, 60_000)), Kind::Blob, 400);
                vec!["http://a.kz/x-1.1.0.js", "http://a.kz/x-1.2.0.js", "http://a.kz/x-1.3.0.js"]
            }
            _ => {
                hurt(&store, dir.path(), of(&page(9)), Kind::Blob, 20);
                vec!["http://a.kz/p/9"]
            }
        };
        drop(store);
        let store = open(dir.path());
        for (url, body) in &all {
            let found: Option<Bytes> = get(&store, url).await;
            if lost.contains(&url.as_str()) {
                assert_eq!(found, None, "{case}: {url}");
            } else {
                assert!(found.is_some_and(|found| found == body[..]), "{case}: {url}");
            }
        }
        // It may come again.
        for (url, body) in all.iter().filter(|one| lost.contains(&one.0.as_str())) {
            put(&store, meta(url), body).await.unwrap();
            assert_eq!(get(&store, url).await.unwrap(), body, "{case}: {url}");
        }
    }
}

#[tokio::test]
async fn a_dictionary_that_is_lost_makes_its_pages_a_miss() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _, all) = slept(dir.path()).await;
    let leans: Vec<bool> = all.iter().map(|(_, body)| codec(&store, body) == Codec::Dict).collect();
    store.close().await.unwrap();
    let number = dict::numbers("a.kz", Class::Html).next().unwrap();
    let place = store.0.log.table().read().dict(number).unwrap();
    drop(store);
    let path = dir.path().join(format!("seg/{:08}.seg", place.segment));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[place.at as usize + 80 + 1000] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let store = open(dir.path());
    for ((url, body), leans) in all.iter().zip(leans) {
        let found = get(&store, url).await;
        assert_eq!(found.is_some(), !leans, "{url}");
        assert!(found.is_none_or(|found| found == body[..]));
    }
    // They may come again, and a night without the dictionary makes plain frames of them.
    for n in 0..5 {
        put(&store, meta(&format!("http://a.kz/p/{n}")), &page(n)).await.unwrap();
        assert_eq!(get(&store, &format!("http://a.kz/p/{n}")).await.unwrap(), page(n));
    }
    let mut recoder = Recoder::default();
    (0..5).for_each(|n| about(&mut recoder, &format!("http://a.kz/p/{n}"), &page(n), Class::Html));
    night(&store, &mut recoder);
    assert!(matches!(codec(&store, &page(3)), Codec::Zstd | Codec::Delta));
}
