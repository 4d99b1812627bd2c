//! Full, read-only, failing and dying disks.

use super::kit::{get, key, meta, noise, open, open_on, put, put_pinned, settings, text};
use crate::base::digest::Digest;
use crate::base::unit::Bytes as Size;
use crate::store::check::check_on;
use crate::store::disk::Real;
use crate::store::disk::fault::Faulty;
use crate::store::{Error, Meta, Settings, Source, Tail, check};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[tokio::test]
async fn a_full_disk_is_full_not_broken_and_room_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Faulty::new();
    let store = open_on(Arc::new(disk.clone()), settings(dir.path())).unwrap();
    put(&store, meta("http://a.kz/before"), &text(1, 5000)).await.unwrap();
    disk.0.full.store(true, Ordering::Relaxed);
    for size in [100, 200_000, 3_000_000] {
        let refused = put(&store, meta("http://a.kz/x"), &noise(size as u64, size)).await;
        assert!(matches!(refused, Err(Error::Full)), "{size}");
    }
    assert!(!store.stat().admitting);
    assert_eq!(get(&store, "http://a.kz/before").await.unwrap(), text(1, 5000));
    disk.0.full.store(false, Ordering::Relaxed);
    drop(store);
    let store = open(dir.path());
    assert_eq!(get(&store, "http://a.kz/before").await.unwrap(), text(1, 5000));
    assert!(get(&store, "http://a.kz/x").await.is_none());
    put(&store, meta("http://a.kz/after"), b"room").await.unwrap();
    assert_eq!(std::fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_read_only_folder_is_served_and_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, meta("http://a.kz/"), &text(1, 5000)).await.unwrap();
    drop(store);
    let disk = Faulty::new();
    disk.0.read_only.store(true, Ordering::Relaxed);
    let store = open_on(Arc::new(disk.clone()), settings(dir.path())).unwrap();
    assert_eq!(get(&store, "http://a.kz/").await.unwrap(), text(1, 5000));
    assert!(matches!(store.begin(None, None), Err(Error::ReadOnly)));
    assert!(matches!(store.forget(&key("http://a.kz/"), true).await, Err(Error::ReadOnly)));
    let stat = store.stat();
    assert_eq!((stat.writable, stat.admitting, stat.index.as_str()), (false, false, "off"));
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_disk_that_turns_read_only_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Faulty::new();
    let store = open_on(Arc::new(disk.clone()), settings(dir.path())).unwrap();
    put(&store, meta("http://a.kz/"), b"x").await.unwrap();
    disk.0.read_only.store(true, Ordering::Relaxed);
    assert!(matches!(put(&store, meta("http://a.kz/2"), b"y").await, Err(Error::ReadOnly)));
    assert!(!store.stat().writable);
    assert_eq!(get(&store, "http://a.kz/").await.unwrap(), "x");
}

#[tokio::test]
async fn what_was_confirmed_holds_on_a_read_only_disk() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Faulty::new();
    let store = open_on(Arc::new(disk.clone()), settings(dir.path())).unwrap();
    let entry = put(&store, meta("http://a.kz/"), b"x").await.unwrap();
    disk.0.read_only.store(true, Ordering::Relaxed);
    assert!(matches!(put(&store, meta("http://a.kz/2"), b"y").await, Err(Error::ReadOnly)));
    for flags in [0, 1] {
        let renewed = store.renew(&entry, Meta { flags, ..entry.meta.clone() }).await.unwrap();
        assert_eq!((renewed.meta.flags, store.find(&key("http://a.kz/")).await.unwrap()[0].meta.flags), (flags, flags));
    }
    assert_eq!(get(&store, "http://a.kz/").await.unwrap(), "x");
}

#[tokio::test]
async fn after_a_failed_sync_the_records_are_written_anew_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Faulty::new();
    let store = open_on(Arc::new(disk.clone()), settings(dir.path())).unwrap();
    put(&store, meta("http://a.kz/first"), b"synced before").await.unwrap();
    store.sync().await.unwrap();
    put(&store, meta("http://a.kz/text"), &text(1, 5000)).await.unwrap();
    put(&store, meta("http://a.kz/noise"), &noise(1, 100_000)).await.unwrap();
    disk.0.fail_sync.store(true, Ordering::Relaxed);
    store.sync().await.unwrap();
    // The poisoned segment may have lost all that was not synced before: cut it there.
    let poisoned = dir.path().join("seg/00000001.log");
    std::fs::OpenOptions::new().write(true).open(&poisoned).unwrap().set_len(700).unwrap();
    put(&store, meta("http://a.kz/later"), b"later").await.unwrap();
    store.sync().await.unwrap();
    drop(store);
    let store = open(dir.path());
    assert_eq!(get(&store, "http://a.kz/first").await.unwrap(), "synced before");
    assert_eq!(get(&store, "http://a.kz/text").await.unwrap(), text(1, 5000));
    assert_eq!(get(&store, "http://a.kz/noise").await.unwrap(), noise(1, 100_000));
    assert_eq!(get(&store, "http://a.kz/later").await.unwrap(), "later");
}

#[tokio::test]
async fn when_writing_anew_fails_too_the_store_is_read_only_and_goes_on_reading() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Faulty::new();
    let store = open_on(Arc::new(disk.clone()), settings(dir.path())).unwrap();
    put(&store, meta("http://a.kz/"), &text(1, 5000)).await.unwrap();
    disk.0.dead_after.store(disk.0.changes.load(Ordering::Relaxed), Ordering::Relaxed);
    assert!(store.sync().await.is_err());
    disk.0.dead_after.store(-1, Ordering::Relaxed);
    assert!(matches!(store.begin(None, None), Err(Error::ReadOnly)));
    assert!(!store.stat().writable);
    assert!(matches!(store.sync().await, Err(Error::ReadOnly)), "nothing more is promised");
    assert!(matches!(store.close().await, Err(Error::ReadOnly)));
    assert_eq!(get(&store, "http://a.kz/").await.unwrap(), text(1, 5000));
}

/// A body of unknown length that never ends.
#[tokio::test]
async fn what_arrives_counts_against_the_quota_and_no_body_takes_more_than_its_share() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_on(Arc::new(Real), Settings { quota: Size::mib(20), ..settings(dir.path()) }).unwrap();
    let piece = Bytes::from(noise(1, 1 << 20));
    for (source, most) in [(Source::Client, 2), (Source::Pack, 10)] {
        assert!(matches!(store.begin_for(source, Some((most << 20) + 1), None), Err(Error::Full)), "known to be too large");
        let mut endless = store.begin_for(source, None, None).unwrap();
        let mut written = 0;
        let refused = loop {
            match endless.write(piece.clone()).await {
                Ok(()) => written += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, Error::Full), "{refused}");
        // A little more goes to readers who may yet come.
        assert!((most - 1..=most + 2).contains(&written), "{source:?}: {written} MiB");
    }

    let mut drafts = Vec::new();
    let refused = 'all: loop {
        let mut draft = match store.begin_for(Source::Pack, None, None) {
            Ok(draft) => draft,
            Err(error) => break error,
        };
        for _ in 0..4 {
            if let Err(error) = draft.write(piece.clone()).await {
                break 'all error;
            }
        }
        drafts.push(draft);
    };
    assert!(matches!(refused, Error::Full), "{refused}");
    assert!((3..=5).contains(&drafts.len()), "what others bring counts: {}", drafts.len());
}

/// The last piece finds no room: the readers have it from memory, and nothing is stored.
#[tokio::test]
async fn a_disk_that_is_full_at_the_end_of_a_body_takes_nothing_from_its_readers() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Faulty::new();
    let store = open_on(Arc::new(disk.clone()), settings(dir.path())).unwrap();
    let body = Bytes::from(noise(1, 1_400_000));
    let mut draft = store.begin_for(Source::Client, None, None).unwrap();
    let mut tail = draft.tail();
    draft.write(body.slice(..1_200_000)).await.unwrap();
    draft.write(body.slice(1_200_000..)).await.unwrap();
    assert!(!draft.is_passed_on());
    disk.0.full.store(true, Ordering::Relaxed);
    assert!(matches!(draft.commit(meta("http://a.kz/")).await, Err(Error::Full)));
    let mut read = Vec::new();
    while let Some(piece) = tail.read(read.len() as u64).await.unwrap() {
        read.extend_from_slice(&piece);
    }
    assert!(read == body);
    assert!(store.find(&key("http://a.kz/")).await.unwrap().is_empty());
}

/// Longer than the store takes, with one reader before that and one who comes at the end.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "readers of a test, which end with it")]
async fn what_the_disk_does_not_take_goes_past_it_to_those_who_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_on(Arc::new(Real), Settings { quota: Size::mib(20), ..settings(dir.path()) }).unwrap();
    let body = Bytes::from(noise(1, 7 << 20));
    let mut draft = store.begin_for(Source::Client, None, None).unwrap();
    let read = |mut tail: Tail, slow: bool| async move {
        let (mut all, mut at) = (Vec::new(), 0);
        while let Some(piece) = tail.read(at).await? {
            at += piece.len() as u64;
            all.extend_from_slice(&piece);
            for _ in 0..if slow { 100 } else { 0 } {
                tokio::task::yield_now().await;
            }
        }
        Ok::<_, Error>(all)
    };
    let (quick, slow, left) =
        (tokio::spawn(read(draft.tail(), false)), tokio::spawn(read(draft.tail(), true)), tokio::spawn(read(draft.tail(), false)));
    let late = draft.tail();
    for (number, piece) in body.chunks(100_000).enumerate() {
        draft.write(body.slice_ref(piece)).await.unwrap();
        if number == 50 {
            // Who leaves is not waited for.
            left.abort();
        }
    }
    assert!(draft.is_passed_on());
    assert!(matches!(draft.commit(meta("http://a.kz/")).await, Err(Error::Full)));
    assert!(quick.await.unwrap().unwrap() == body && slow.await.unwrap().unwrap() == body);
    assert!(read(late, false).await.is_err(), "who comes too late is told");
    assert!(store.find(&key("http://a.kz/")).await.unwrap().is_empty());
}

/// A phone that went to sleep in the middle of what the disk does not take.
#[tokio::test(start_paused = true)]
#[expect(clippy::disallowed_methods, reason = "a reader of a test, which ends with it")]
async fn who_stands_still_is_not_waited_for_while_others_wait() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_on(Arc::new(Real), Settings { quota: Size::mib(20), ..settings(dir.path()) }).unwrap();
    let body = Bytes::from(noise(1, 7 << 20));
    let mut draft = store.begin_for(Source::Client, None, None).unwrap();
    let (mut still, mut quick) = (draft.tail(), draft.tail());
    let reader = tokio::spawn(async move {
        let mut all = Vec::new();
        while let Some(piece) = quick.read(all.len() as u64).await? {
            all.extend_from_slice(&piece);
        }
        Ok::<_, Error>(all)
    });
    draft.write(body.slice(..100_000)).await.unwrap();
    let first = still.read(0).await.unwrap().unwrap().len() as u64;
    draft.write(body.slice(100_000..)).await.unwrap();
    assert!(draft.is_passed_on());
    assert!(matches!(draft.commit(meta("http://a.kz/")).await, Err(Error::Full)));
    assert!(reader.await.unwrap().unwrap() == body);
    let mut at = first;
    let told = loop {
        match still.read(at).await {
            Ok(Some(piece)) => at += piece.len() as u64,
            end => break end,
        }
    };
    assert!(told.unwrap_err().to_string().contains("passed on and not kept"), "it is told when it wakes up");
}

#[tokio::test]
async fn a_wrong_bit_in_format_makes_nothing_unreadable_and_no_log_is_thrown_away() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, meta("http://a.kz/"), &text(1, 5000)).await.unwrap();
    store.sync().await.unwrap();
    drop(store);
    let format = dir.path().join("FORMAT");
    let good = std::fs::read_to_string(&format).unwrap();
    let uuid = good.lines().find_map(|line| line.strip_prefix("uuid ")).unwrap();
    let other = good.replace(uuid, &uuid::Uuid::from_u128(7).to_string());
    std::fs::write(&format, &other).unwrap();
    assert!(dir.path().join("seg/00000001.log").exists());
    let store = open(dir.path());
    assert_eq!(get(&store, "http://a.kz/").await.unwrap(), text(1, 5000));
    drop(store);
    assert!(std::fs::read_to_string(&format).unwrap().contains(uuid), "FORMAT is mended");

    // A log of another store among ours is left where it is.
    let stranger = tempfile::tempdir().unwrap();
    let store = open(stranger.path());
    put(&store, meta("http://b.kz/"), &text(2, 5000)).await.unwrap();
    store.sync().await.unwrap();
    drop(store);
    let foreign = dir.path().join("seg/00000009.log");
    std::fs::copy(stranger.path().join("seg/00000001.log"), &foreign).unwrap();
    let store = open(dir.path());
    assert!(get(&store, "http://b.kz/").await.is_none());
    assert_eq!(get(&store, "http://a.kz/").await.unwrap(), text(1, 5000));
    assert!(foreign.exists());
}

#[tokio::test]
async fn in_a_store_full_of_pins_renewing_stays_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { quota: Size::kib(600), pinned_share: 100, ..settings(dir.path()) };
    let store = open_on(Arc::new(Real), settings).unwrap();
    let entry = put(&store, meta("http://a.kz/"), &noise(1, 25_000)).await.unwrap();
    store.pin("pack", &key("http://a.kz/")).await.unwrap();
    for n in 2.. {
        if put_pinned(&store, meta(&format!("http://a.kz/{n}")), &noise(n, 25_000)).await.is_err() {
            break;
        }
    }
    while store.0.gate.admit(store.0.used(), 0).is_ok() {
        store.renew(&entry, meta("http://a.kz/")).await.unwrap();
    }
    let used = store.stat().disk_bytes;
    let newer = Meta { received: entry.meta.received.plus(Duration::from_secs(60)), ..meta("http://a.kz/") };
    store.renew(&entry, newer.clone()).await.unwrap();
    assert_eq!(store.peek(&key("http://a.kz/")).unwrap()[0].meta.received, newer.received);
    assert_eq!(store.stat().disk_bytes, used);
    store.renew(&entry, Meta { flags: 5, ..newer }).await.unwrap();
    assert!(store.stat().disk_bytes > used, "a doubt is written down all the same");
}

/// Films are what fills a disk; a purge or a new version gives their room back.
#[tokio::test]
async fn a_large_body_to_which_nothing_leads_leaves_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (film, newer) = (noise(1, 2_000_000), noise(2, 2_000_000));
    let store = open(dir.path());
    for url in ["http://a.kz/film", "http://b.kz/copy"] {
        put(&store, meta(url), &film).await.unwrap();
    }
    put(&store, meta("http://a.kz/film"), &newer).await.unwrap();
    store.0.keep_house().unwrap();
    assert!(store.stat().disk_bytes > 4_000_000, "both are used");
    let reader = store.find(&key("http://b.kz/copy")).await.unwrap()[0].clone();
    let body = store.read(&reader, None).await.unwrap();
    store.forget(&key("http://b.kz/copy"), true).await.unwrap();
    store.0.keep_house().unwrap();
    assert!((2_000_000..2_100_000).contains(&store.stat().disk_bytes), "{}", store.stat().disk_bytes);
    assert_eq!(body.collect(1 << 30).await.unwrap(), film, "who reads it reads on");
    assert_eq!(get(&store, "http://a.kz/film").await.unwrap(), newer);
    assert_eq!(store.stat().damaged, 0);
    put(&store, meta("http://b.kz/copy"), &film).await.unwrap();
    store.forget(&key("http://a.kz/film"), false).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let store = open(dir.path());
    store.0.keep_house().unwrap();
    assert!((2_000_000..2_100_000).contains(&store.stat().disk_bytes), "{}", store.stat().disk_bytes);
    assert_eq!(get(&store, "http://b.kz/copy").await.unwrap(), film);
    assert!(get(&store, "http://a.kz/film").await.is_none());
}

/// As the next, for a body that comes in parts and a film that is replaced, with the house kept between.
#[tokio::test]
async fn a_stop_while_parts_become_whole_loses_neither() {
    let body = noise(3, 600_000);
    for stop in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let disk = Faulty::new();
        disk.0.dead_after.store(stop, Ordering::Relaxed);
        let (mut promised, mut have) = (Vec::new(), 0);
        let settings = |path| Settings { segment: Size::kib(256), index_cache: Size(0), ..settings(path) };
        if let Ok(store) = open_on(Arc::new(disk.clone()), settings(dir.path())) {
            for (n, url) in ["http://a.kz/1", "http://a.kz/film", "http://a.kz/film"].into_iter().enumerate() {
                let text = noise(n as u64, 100_000);
                if put(&store, meta(url), &text).await.is_ok() && store.0.keep_house().is_ok() {
                    promised.retain(|(old, _)| *old != url);
                    promised.push((url, text));
                } else if n == 2 {
                    promised.retain(|(old, _)| *old != url);
                }
            }
            for at in (0..600_000).step_by(100_000) {
                let piece = Bytes::copy_from_slice(&body[at..at + 100_000]);
                if store.put_part(meta("http://a.kz/parts"), 600_000, at as u64, piece).await.is_ok() && store.0.keep_house().is_ok() {
                    have = at + 100_000;
                }
            }
        }
        let over = disk.0.changes.load(Ordering::Relaxed) <= stop;
        let store = open_on(Arc::new(Real), settings(dir.path())).unwrap();
        for (url, body) in &promised {
            assert_eq!(get(&store, url).await.as_deref(), Some(body.as_slice()), "stop {stop}: {url}");
        }
        if have > 0 {
            let entry = store.find(&key("http://a.kz/parts")).await.unwrap()[0].clone();
            let read = super::kit::read(&store, &entry, Some(0..have as u64)).await.unwrap();
            assert_eq!(read, body[..have], "stop {stop}");
        }
        if over {
            assert_eq!((have, promised.len()), (600_000, 2));
            assert!(stop > 40, "{stop}");
            break;
        }
    }
}

/// The machine stops after each change in turn; what was promised before is there, and nothing wrong is.
#[tokio::test]
async fn a_stop_between_any_two_steps_loses_nothing_that_was_promised() {
    let mut steps = 0;
    for stop in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let disk = Faulty::new();
        disk.0.dead_after.store(stop, Ordering::Relaxed);
        let mut promised = Vec::new();
        let mut over = false;
        if let Ok(store) =
            open_on(Arc::new(disk.clone()), Settings { segment: Size::kib(256), index_cache: Size(0), ..settings(dir.path()) })
        {
            over = true;
            for n in 0..8_u64 {
                let url = format!("http://a.kz/{n}");
                let body = match n % 4 {
                    0 => text(n, 3000),
                    1 => noise(n, 40_000),
                    2 => noise(n, 90_000),
                    _ => text(n, 1_100_000),
                };
                let done = match put(&store, meta(&url), &body).await {
                    Ok(_) if n % 3 == 0 => store.pin("pack", &key(&url)).await,
                    Ok(_) => store.sync().await,
                    Err(error) => Err(error),
                };
                match done {
                    Ok(()) => promised.push((url, body, n % 3 == 0)),
                    Err(_) => over = false,
                }
            }
        }
        let store = open_on(Arc::new(Real), Settings { index_cache: Size(0), ..settings(dir.path()) }).unwrap();
        for (url, body, pinned) in &promised {
            assert_eq!(get(&store, url).await.as_deref(), Some(body.as_slice()), "stop {stop}: {url}");
            assert_eq!(store.find(&key(url)).await.unwrap()[0].pinned, *pinned, "stop {stop}: {url}");
        }
        steps = stop;
        if over {
            break;
        }
    }
    assert!(steps > 40, "{steps}");
}

/// A sync fails, and meanwhile its segment was sealed by a sync that did not: what the first covered may be on the medium or not, and
/// stands in two segments. A start takes the newer ones.
#[tokio::test]
async fn what_a_failed_sync_covered_is_kept_although_its_segment_was_sealed_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Faulty::new();
    let store = open_on(Arc::new(disk.clone()), settings(dir.path())).unwrap();
    let urls: Vec<String> = (0..6).map(|n| format!("http://a.kz/{n}")).collect();
    put(&store, meta(&urls[0]), &noise(0, 9000)).await.unwrap();
    store.sync().await.unwrap();
    let (number, synced) = store.0.log.open_segments().iter().map(|open| (open.1, open.2)).next().unwrap();
    for (n, url) in (0..).zip(&urls).skip(1) {
        put(&store, meta(url), &noise(n, 9000)).await.unwrap();
    }
    store.0.set_pin("pack", &key(&urls[5]), true).unwrap();
    store.forget(&key(&urls[4]), false).await.unwrap();
    let log = Arc::clone(&store.0.log);
    *disk.0.meanwhile.lock() = Some(Box::new(move || log.close().unwrap()));
    disk.0.fail_sync.store(true, Ordering::Relaxed);
    store.sync().await.unwrap();
    assert!(store.0.log.segments().len() > 1, "written anew");
    drop(store);
    let path = dir.path().join(format!("seg/{number:08}.seg"));
    let bytes = std::fs::read(&path).unwrap();
    let footer = crate::store::record::decode_trailer(&bytes[bytes.len() - crate::store::record::TRAILER..]).unwrap().0;
    for lost in [false, true] {
        if lost {
            let mut bytes = bytes.clone();
            bytes[synced as usize..footer as usize].fill(0);
            std::fs::write(&path, bytes).unwrap();
        }
        let store = open(dir.path());
        for n in [0, 1, 2, 3, 5] {
            assert_eq!(get(&store, &urls[n]).await.unwrap(), noise(n as u64, 9000), "{lost} {n}");
        }
        assert!(get(&store, &urls[4]).await.is_none());
        assert!(store.find(&key(&urls[5])).await.unwrap()[0].pinned);
        assert_eq!(store.stat().damaged, 0);
        // Rewriting what is left of it changes nothing.
        if lost {
            store.0.rewrite(&[number], None).unwrap();
            assert_eq!(get(&store, &urls[3]).await.unwrap(), noise(3, 9000));
            assert_eq!(store.stat().damaged, 0);
        }
    }
}

#[tokio::test]
async fn a_sector_that_cannot_be_read_costs_what_lies_there_and_no_more() {
    // The unreadable rest of a sealed one is more than is tried sector by sector.
    const LENGTH: usize = 30_000;
    for sealed in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let url = |n: u64| format!("http://a.kz/{n}");
        let store = open(dir.path());
        for n in 0..20 {
            put(&store, meta(&url(n)), &noise(n, LENGTH)).await.unwrap();
        }
        let log = &store.0.log;
        let place = log.table().read().blob(&Digest::of(&noise(7, LENGTH))).unwrap().place;
        log.sync().unwrap();
        if sealed {
            log.close().unwrap();
        }
        // As a power cut finds it, without a snapshot.
        let left = tempfile::tempdir().unwrap();
        super::start::copy(dir.path(), left.path());
        drop(store);
        let _gone = std::fs::remove_file(left.path().join("table.ckpt"));
        let segment = || std::fs::read_dir(left.path().join("seg")).unwrap().next().unwrap().unwrap().path();
        let (path, bytes) = (segment(), std::fs::read(segment()).unwrap());
        let disk = Faulty::new();
        // In the middle of a body; of a sealed one its footer as well, or nobody would read it at a start.
        *disk.0.unreadable.lock() = if sealed { place.at + 4000..u64::MAX } else { place.at + 4000..place.at + 4001 };
        let store = open_on(Arc::new(disk.clone()), settings(left.path())).unwrap();
        for n in 0..20 {
            let here = n < 7 || !sealed && n > 7;
            assert_eq!(get(&store, &url(n)).await.as_deref() == Some(noise(n, LENGTH).as_slice()), here, "{n}, sealed: {sealed}");
        }
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "it is left as it is");
        // What comes anew is kept, in a segment of its own.
        *disk.0.unreadable.lock() = 0..0;
        put(&store, meta(&url(7)), &noise(7, LENGTH)).await.unwrap();
        store.close().await.unwrap();
        drop(store);
        // It could be read after all. Of one with a footer the store has been told by now that the rest was not there.
        let store = open_on(Arc::new(disk), settings(left.path())).unwrap();
        for n in (0..20).filter(|n| !sealed || *n <= 7) {
            assert_eq!(get(&store, &url(n)).await.as_deref(), Some(noise(n, LENGTH).as_slice()), "{n}, sealed: {sealed}");
        }
    }
}

#[tokio::test]
async fn a_check_names_what_cannot_be_read_and_writes_nothing_over_it() {
    const LENGTH: usize = 30_000;
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for n in 0..5 {
        put(&store, meta(&format!("http://a.kz/{n}")), &noise(n, LENGTH)).await.unwrap();
    }
    store.0.log.close().unwrap();
    let place = store.0.log.table().read().blob(&Digest::of(&noise(2, LENGTH))).unwrap().place;
    store.close().await.unwrap();
    drop(store);
    let path = dir.path().join(format!("seg/{:08}.seg", place.segment));
    let bytes = std::fs::read(&path).unwrap();
    // In a body; in FORMAT and the first record; all from that body on.
    for bad in [place.at + 9_000..place.at + 9_001, 70..71, place.at + 9_000..u64::MAX] {
        let disk = Faulty::new();
        *disk.0.unreadable.lock() = bad.clone();
        let found = check_on(Arc::new(disk), dir.path(), true, true, |_, _| {}).unwrap();
        assert!(found.segments == 1 && !found.lost.is_empty(), "{bad:?} {found:?}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "{bad:?}");
    }
    let found = check(dir.path(), true, false, |_, _| {}).unwrap();
    assert!(found.lost.is_empty() && found.repaired.is_empty(), "{found:?}");
}

#[tokio::test]
async fn a_store_whose_name_cannot_be_read_is_given_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, meta("http://a.kz/1"), &noise(1, 9000)).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let format = std::fs::read(dir.path().join("FORMAT")).unwrap();
    let disk = Faulty::new();
    // FORMAT and the headers of all segments.
    *disk.0.unreadable.lock() = 0..4096;
    assert!(matches!(open_on(Arc::new(disk.clone()), settings(dir.path())), Err(Error::Disk(_))));
    assert_eq!(std::fs::read(dir.path().join("FORMAT")).unwrap(), format);
    // FORMAT alone: the segments say it too.
    *disk.0.unreadable.lock() = 70..71;
    drop(open_on(Arc::new(disk), settings(dir.path())).unwrap());
    assert_eq!(get(&open(dir.path()), "http://a.kz/1").await.unwrap(), noise(1, 9000));
}

#[tokio::test]
async fn a_segment_that_cannot_be_read_keeps_nobody_from_making_room() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Faulty::new();
    let small = Settings { quota: Size::mib(4), memory: Size::kib(64), index_cache: Size(0), ..settings(dir.path()) };
    let store = open_on(Arc::new(disk.clone()), small).unwrap();
    let url = |n: u64| format!("http://a.kz/{n}");
    let fill = async |numbers: std::ops::Range<u64>| {
        for n in numbers {
            put(&store, meta(&url(n)), &noise(n, 9000)).await.unwrap_or_else(|error| panic!("{n}: {error}"));
        }
    };
    fill(0..200).await;
    // The oldest, which the hand would take first.
    let oldest = store.0.log.segments().into_iter().find(|(_, segment)| segment.is_done()).unwrap().0;
    *disk.0.unreadable_of.lock() = Some(format!("{oldest:08}"));
    *disk.0.unreadable.lock() = 0..u64::MAX;
    fill(200..1_200).await;
    assert!(store.0.log.segments().iter().any(|(number, _)| *number == oldest), "it is there still");
}
