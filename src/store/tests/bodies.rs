//! Bodies of every size and kind; drafts and their readers; ranges.

use super::kit::{get, key, meta, noise, open, open_on, put, read, settings, text};
use crate::base::arena::Lender;
use crate::base::clock::{Clock, Time};
use crate::base::count::Metrics;
use crate::base::unit::Bytes as Size;
use crate::life::Life;
use crate::store::disk::Real;
use crate::store::record::{BLOCK, BLOCK_BYTES, FRAME};
use crate::store::{Settings, Store};
use bytes::Bytes;
use http::HeaderValue;
use http_body::Body as _;
use http_body_util::BodyExt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

fn media(url: &str) -> crate::store::Meta {
    let mut meta = meta(url);
    meta.headers.insert("content-type", HeaderValue::from_static("video/mp4"));
    meta
}

#[tokio::test]
async fn bodies_of_every_size_and_codec_come_back_whole_and_in_ranges() {
    let dir = tempfile::tempdir().unwrap();
    let (block, frame) = (BLOCK_BYTES, FRAME as usize);
    let sizes = [0, 1, 63, 64, 1000, block - 1, block, block + 1, frame, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 * (1 << 20) + 17];
    let mut wanted = Vec::new();
    let store = open(dir.path());
    for (n, size) in sizes.into_iter().enumerate() {
        let (one, two) = (format!("http://a.kz/text/{n}"), format!("http://a.kz/media/{n}"));
        let (page, film) = (text(n as u64, size), noise(n as u64, size));
        put(&store, meta(&one), &page).await.unwrap();
        put(&store, media(&two), &film).await.unwrap();
        wanted.extend([(one, page), (two, film)]);
    }
    let codecs = store.stat().codecs;
    assert!(codecs["zstd"].0 >= 5 && codecs["zstd_frames"].0 == 2 && codecs["raw"].0 >= 12, "{codecs:?}");
    assert!(store.stat().spared_zstd_bytes > 3_000_000);
    store.close().await.unwrap();
    drop(store);
    let store = open(dir.path());
    for (url, body) in &wanted {
        assert_eq!(get(&store, url).await.unwrap(), body, "{url}");
        let entry = store.find(&key(url)).await.unwrap()[0].clone();
        let n = body.len() as u64;
        for range in
            [0..n.min(1), n / 3..n / 2, n.saturating_sub(1)..n, n.min(BLOCK - 5)..n.min(BLOCK + 5), n.min(FRAME - 1)..n.min(2 * FRAME + 1)]
        {
            let part = read(&store, &entry, Some(range.clone())).await.unwrap();
            assert_eq!(part, body[range.start as usize..range.end as usize], "{url} {range:?}");
        }
        let whole = store.read(&entry, None).await.unwrap();
        assert_eq!(whole.size_hint().exact(), Some(n));
    }
    assert_eq!(store.stat().damaged, 0);
}

/// A body as it comes, piece by piece, and how many of its bytes were lent.
async fn lent(store: &Store, url: &str, range: Option<Range<u64>>) -> (Vec<u8>, usize) {
    let entry = store.find(&key(url)).await.unwrap()[0].clone();
    let mut body = store.read(&entry, range).await.unwrap();
    body.lend();
    let (arena, mut all, mut lent) = (store.bodies().unwrap(), Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let bytes = frame.unwrap().into_data().unwrap();
        lent += if arena.place(&bytes).is_some() { bytes.len() } else { 0 };
        all.extend_from_slice(&bytes);
    }
    (all, lent)
}

#[tokio::test]
async fn what_has_been_verified_is_lent_but_for_the_first_piece() {
    let dir = tempfile::tempdir().unwrap();
    // Segments in which a film is not alone, so that it is not sealed at once.
    let large = Settings { quota: Size::gib(2), segment: Size::mib(64), ..settings(dir.path()) };
    let store = open_on(Arc::new(Real), large).unwrap();
    let films: Vec<Vec<u8>> = (0..2).map(|n| noise(n, 3 * (1 << 20) + 17)).collect();
    let length = films[0].len();
    for (n, film) in films.iter().enumerate() {
        put(&store, media(&format!("http://a.kz/{n}")), film).await.unwrap();
    }
    let page = text(3, length);
    put(&store, meta("http://a.kz/page"), &page).await.unwrap();
    // Not while a segment is written to.
    for _ in 0..2 {
        assert!(lent(&store, "http://a.kz/0", None).await.1 == 0);
    }
    store.close().await.unwrap();
    drop(store);
    let store = open(dir.path());
    let rest = length - FRAME as usize;
    // Whole: read once, and lent from then on.
    assert!(lent(&store, "http://a.kz/0", None).await == (films[0].clone(), 0));
    assert!(lent(&store, "http://a.kz/0", None).await == (films[0].clone(), rest));
    assert!(get(&store, "http://a.kz/0").await.unwrap() == films[0], "to whom does not ask for it, too");
    // In ranges: as far as it has been read, and not as a whole, which nobody has compared with its name.
    let (from, to) = (BLOCK_BYTES - 1, 1_500_000);
    let range = Some(from as u64..to as u64);
    assert!(lent(&store, "http://a.kz/1", range.clone()).await == (films[1][from..to].to_vec(), 0));
    assert!(lent(&store, "http://a.kz/1", range.clone()).await == (films[1][from..to].to_vec(), to - from - FRAME as usize));
    let (all, some) = lent(&store, "http://a.kz/1", Some(0..length as u64 - 1)).await;
    assert!(all == films[1][..length - 1] && some > 0 && some < rest);
    let (all, some) = lent(&store, "http://a.kz/1", None).await;
    assert_eq!((all == films[1], some), (true, 0));
    assert!(lent(&store, "http://a.kz/1", None).await == (films[1].clone(), rest));
    // What does not lie as it is, never.
    for _ in 0..2 {
        assert!(lent(&store, "http://a.kz/page", None).await == (page.clone(), 0));
    }
    // What has left the page cache is read again.
    store.sync().await.unwrap();
    for file in std::fs::read_dir(dir.path().join("seg")).unwrap() {
        let file = std::fs::File::open(file.unwrap().path()).unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    }
    assert!(lent(&store, "http://a.kz/0", None).await.0 == films[0]);
    // A reader on his way keeps what he reads, whatever becomes of it.
    let entry = store.find(&key("http://a.kz/0")).await.unwrap()[0].clone();
    let mut body = store.read(&entry, None).await.unwrap();
    body.lend();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    let second = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(store.bodies().unwrap().place(&second).is_some());
    store.forget_host("a.kz").await.unwrap();
    store.sync().await.unwrap();
    assert!([first, second].concat() == films[0][..2 * FRAME as usize]);
    // Who stays is given as much at a time as he has taken, as long as it is sound and there.
    let mut longer = Vec::new();
    while let Some(frame) = body.frame().await {
        longer.push(frame.unwrap().into_data().unwrap().len());
    }
    assert_eq!(longer, [2 * FRAME as usize, 4 * FRAME as usize, length - 8 * FRAME as usize]);
    assert_eq!(store.stat().damaged, 0);
}

#[tokio::test]
async fn what_has_left_memory_is_lent_for_a_moment_and_then_read() {
    let dir = tempfile::tempdir().unwrap();
    let large = Settings { quota: Size::gib(2), segment: Size::mib(64), ..settings(dir.path()) };
    let film = noise(1, 12 * FRAME as usize);
    let store = open_on(Arc::new(Real), large).unwrap();
    put(&store, media("http://a.kz/"), &film).await.unwrap();
    put(&store, meta("http://a.kz/page"), &text(3, film.len())).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let clock = Clock::manual(Time::from_secs(1_800_000_000));
    let store = Store::open_on(Arc::new(Real), settings(dir.path()), clock.clone(), &Life::default(), &Metrics::default()).unwrap();
    let segments = std::fs::read_dir(dir.path().join("seg")).unwrap().map(|file| file.unwrap());
    let segment = segments.max_by_key(|file| file.metadata().unwrap().len()).unwrap();
    let length = segment.metadata().unwrap().len();
    let segment: Arc<dyn Lender> = Arc::new(std::fs::File::open(segment.path()).unwrap());
    let arena = store.bodies().unwrap().clone();
    let pages = arena.lend(Arc::clone(&segment), 0..length).unwrap();
    // Of a file system in memory nothing leaves.
    let stays = rustix::fs::fstatfs(segment.fd()).unwrap().f_type == 0x0102_1994;
    let leave = || {
        let gone = |_| {
            rustix::fs::fadvise(segment.fd(), 0, None, rustix::fs::Advice::DontNeed).unwrap();
            // What is being read ahead cannot be let go yet.
            std::thread::sleep(Duration::from_millis(1));
            pages.chunks(4096).all(|page| !arena.resident(page))
        };
        assert!(stays || (0..2_000).any(gone), "it does not leave");
    };
    let rest = film.len() - FRAME as usize;
    assert!(lent(&store, "http://a.kz/", None).await == (film.clone(), 0));
    leave();
    assert!(lent(&store, "http://a.kz/", None).await == (film.clone(), rest));
    clock.advance(Duration::from_secs(2));
    let entry = store.find(&key("http://a.kz/")).await.unwrap()[0].clone();
    let mut body = store.read(&entry, None).await.unwrap();
    body.lend();
    let (mut all, mut some) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let bytes = frame.unwrap().into_data().unwrap();
        some += if arena.place(&bytes).is_some() { bytes.len() } else { 0 };
        all.extend_from_slice(&bytes);
        leave();
    }
    assert!(all == film);
    assert_eq!(some, if stays { rest } else { 0 });
}

#[tokio::test]
async fn a_large_raw_body_starts_on_a_page() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, meta("http://a.kz/"), b"shifts what follows").await.unwrap();
    let film = noise(1, 200_000);
    put(&store, media("http://a.kz/film"), &film).await.unwrap();
    store.sync().await.unwrap();
    let bytes = std::fs::read(dir.path().join("seg/00000001.log")).unwrap();
    let at = bytes.windows(64).position(|window| window == &film[..64]).unwrap();
    assert_eq!(at % 4096, 0);
}

#[tokio::test]
async fn readers_follow_a_draft_at_their_own_pace_and_outlive_its_commit() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for size in [300_000, 5_000_000] {
        let body = noise(size as u64, size);
        let mut draft = store.begin(None, Some("video/mp4")).unwrap();
        let mut early = draft.tail();
        let mut slow = early.clone();
        let wanted = body.clone();
        let reader = async move {
            let mut got = Vec::new();
            while let Some(piece) = early.read(got.len() as u64).await.unwrap() {
                assert!(piece.len() <= 256 << 10);
                got.extend_from_slice(&piece);
            }
            assert_eq!(got, wanted);
        };
        let writer = async {
            for piece in body.chunks(64_000) {
                draft.write(Bytes::copy_from_slice(piece)).await.unwrap();
                tokio::task::yield_now().await;
            }
            assert_eq!(draft.len(), size as u64);
            assert_eq!(slow.read(17).await.unwrap().unwrap()[..5], body[17..22]);
            draft.commit(media(&format!("http://a.kz/{size}"))).await.unwrap();
        };
        tokio::join!(reader, writer);
        let mut got = Vec::new();
        while let Some(piece) = slow.read(got.len() as u64).await.unwrap() {
            got.extend_from_slice(&piece);
        }
        assert_eq!(got, body, "after the commit");
        assert_eq!(get(&store, &format!("http://a.kz/{size}")).await.unwrap(), body);
    }
    assert_eq!(std::fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_draft_that_is_dropped_or_fails_leaves_nothing_and_tells_its_readers() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for fails in [false, true] {
        let mut draft = store.begin(None, None).unwrap();
        draft.write(noise(1, 2_000_000).into()).await.unwrap();
        let mut tail = draft.tail();
        if fails {
            draft.fail("the origin broke off");
        } else {
            drop(draft);
        }
        let why = tail.read(2_000_000).await.unwrap_err().to_string();
        assert!(why.contains(if fails { "broke off" } else { "left before the end" }), "{why}");
        assert!(tail.read(0).await.unwrap().is_some(), "what came may still be read");
    }
    assert_eq!(store.stat().disk_bytes, 0);
    assert_eq!(std::fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_reader_that_waits_is_woken_by_the_writer() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut draft = store.begin(None, None).unwrap();
    let mut tail = draft.tail();
    let (got, ()) = tokio::join!(tail.read(0), async {
        tokio::task::yield_now().await;
        draft.write(Bytes::from_static(b"late")).await.unwrap();
    });
    assert_eq!(got.unwrap().unwrap(), "late");
    let (end, entry) = tokio::join!(tail.read(4), draft.commit(meta("http://a.kz/")));
    assert_eq!(end.unwrap(), None);
    assert_eq!(entry.unwrap().length, 4);
}

#[tokio::test]
async fn what_has_come_of_a_draft_is_copied_out_of_it_also_when_it_has_failed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    // In memory, and for the most part in a file.
    for size in [700_000, 3_000_001] {
        let body = noise(1, size);
        let mut draft = store.begin(None, Some("video/mp4")).unwrap();
        for piece in body.chunks(100_000) {
            draft.write(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        let tail = draft.tail();
        let ranges = [0..1, 5..600_000, 0..size, size - 1..size, 7..7];
        for range in &ranges {
            assert_eq!(tail.clone().copy(range.start as u64..range.end as u64).await.unwrap(), body[range.clone()], "{range:?}");
        }
        draft.fail("the origin broke off");
        for range in &ranges {
            assert_eq!(tail.clone().copy(range.start as u64..range.end as u64).await.unwrap(), body[range.clone()], "{range:?}");
        }
        assert!(tail.copy(0..size as u64 + 1).await.is_err(), "more than came");
    }
}

#[tokio::test]
async fn a_flag_that_comes_up_while_a_body_arrives_is_there_from_the_first_moment() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let doubt = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    for flags in [0, 1] {
        let url = format!("http://a.kz/{flags}");
        let mut draft = store.begin(None, None).unwrap();
        let seen = doubt.clone();
        draft.flagged_by(move || seen.load(std::sync::atomic::Ordering::Relaxed));
        draft.write(b"news".to_vec().into()).await.unwrap();
        doubt.store(flags, std::sync::atomic::Ordering::Relaxed);
        let kept = draft.commit(meta(&url)).await.unwrap();
        let found = store.find(&key(&url)).await.unwrap();
        assert_eq!((kept.meta.flags, found[0].meta.flags), (flags, flags), "{url}");
    }
}
