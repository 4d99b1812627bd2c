//! The table: what is counted, what holds what, what is given back, and what it takes in memory.

use crate::base::digest::Digest;
use crate::base::target::UrlKey;
use crate::store::record::{Codec, Kind, Line, fingerprint, pair};
use crate::store::table::{Place, Sums, Table};

fn line(kind: Kind, key: [u8; 32], whole: u64, link: u64) -> Line {
    Line { kind, codec: Codec::Zstd, flags: 0, at: 64, seq: 1, key, length: 40, whole, link, time: 0 }
}

#[test]
fn two_urls_of_one_body_count_it_once() {
    let mut table = Table::new();
    table.count();
    let object = Digest::of(b"o");
    table.apply(&line(Kind::Blob, object.0, 100, 0), 1);
    for url in [1, 2] {
        table.apply(&line(Kind::Meta, pair(&UrlKey([url; 16]), &[url; 16]), 100, fingerprint(&object.0)), 1);
    }
    assert_eq!((table.sums().objects, table.sums().object_bytes, table.sums().entry_bytes), (1, 100, 200));
    table.apply(&line(Kind::Tomb, pair(&UrlKey([1; 16]), &[]), 0, 0), 1);
    table.apply(&line(Kind::Tomb, pair(&UrlKey([2; 16]), &[2; 16]), 0, 0), 1);
    assert_eq!((table.sums().objects, table.sums().entry_bytes, table.entries()), (0, 0, 0));
}

#[test]
fn variants_of_one_url_stay_apart_and_replace_their_own_kind() {
    let (mut table, url) = (Table::new(), UrlKey([5; 16]));
    for entry in 0..40_u8 {
        table.apply(&line(Kind::Meta, pair(&url, &[entry + 1; 16]), 1, 0), u32::from(entry));
        table.apply(&line(Kind::Meta, pair(&url, &[entry + 1; 16]), 1, 0), u32::from(entry) + 100);
    }
    assert_eq!(table.find(&url).len(), 40);
    assert_eq!(table.entry(&url, &[3; 16]), Some(Place { segment: 102, at: 64 }));
    assert!(!table.may_have(&UrlKey([6; 16])));
}

#[test]
fn parts_merge_and_pins_come_and_go() {
    let (mut table, url) = (Table::new(), UrlKey([5; 16]));
    let part = |offset: u64, length: u64| Line { length: length + 48, ..line(Kind::Part, pair(&url, &[1; 16]), 100, offset) };
    for (offset, length) in [(50, 10), (0, 20), (20, 5), (52, 3)] {
        table.apply(&part(offset, length), 1);
    }
    let parts = table.parts(&[1; 16]).unwrap();
    assert_eq!(parts.have(), [0..25, 50..60]);
    assert_eq!(parts.holding(21).unwrap().offset, 20);
    assert!(parts.holding(30).is_none());
    table.apply(&line(Kind::Pin, pair(&url, &[]), 0, 7), 1);
    assert!(table.pinned(&url));
    assert_eq!(table.set(7), [url]);
    table.apply(&line(Kind::Unpin, [0; 32], 0, 7), 1);
    assert!(!table.pinned(&url));
}

fn body(n: u64) -> Digest {
    Digest::of(&n.to_le_bytes())
}

fn url(n: u64) -> UrlKey {
    let mut key = [0; 16];
    key.copy_from_slice(&Digest::of(&[b"url", &n.to_le_bytes()[..]].concat()).0[..16]);
    UrlKey(key)
}

/// Counted bytes, for a number of objects that is as bad as any: rows grow one by one.
#[test]
fn an_object_with_its_url_takes_at_most_40_bytes() {
    let (mut table, n) = (Table::new(), 60_000);
    table.count();
    for at in 0..n {
        table.apply(&Line { at: 64 + at % 1000 * 8, ..line(Kind::Blob, body(at).0, 10_000, 0) }, 1);
        let meta = line(Kind::Meta, pair(&url(at), &[7; 16]), 10_000, fingerprint(&body(at).0));
        table.apply(&Line { at: 64 + at % 1000 * 8, ..meta }, 2);
        if at > n / 2 && at % 1000 == 0 {
            assert!(table.bytes() as u64 <= 40 * at + 40_000, "{} B for {at}", table.bytes());
        }
    }
    let sums = table.sums();
    assert_eq!((table.entries(), sums.objects), (n, n));
    assert!(sums.object_bytes.abs_diff(n * 10_000) < n * 10, "{sums:?}");
    assert!((0..n).all(|at| table.find(&url(at)) == [Place { segment: 2, at: 64 + at % 1000 * 8 }]));
}

#[test]
fn a_delta_in_use_holds_its_base_and_goes_with_it() {
    let mut table = Table::new();
    table.count();
    let (base, delta) = (body(1), body(2));
    let blob = |object: &Digest, codec, link| Line { codec, link, ..line(Kind::Blob, object.0, 100, 0) };
    table.apply(&blob(&base, Codec::Zstd, 0), 1);
    table.apply(&blob(&delta, Codec::Delta, fingerprint(&base.0)), 2);
    assert!(!table.is_live(&blob(&base, Codec::Zstd, 0), 1), "nothing leads to either");
    let meta = line(Kind::Meta, pair(&url(1), &[1; 16]), 100, fingerprint(&delta.0));
    table.apply(&meta, 2);
    assert!(table.is_live(&blob(&base, Codec::Zstd, 0), 1));
    assert_eq!((table.sums().objects, table.sums().codecs[4].0, table.sums().entry_bytes), (2, 1, 100));
    // Another form needs no base; and back.
    let plain = Line { length: 80, ..blob(&delta, Codec::Zstd, 0) };
    assert!(table.relocate(&blob(&delta, Codec::Delta, 0), 2, &plain, 3));
    assert_eq!((table.blob(&base).unwrap().refs, table.sums().stored_bytes, table.sums().codecs[1].0), (0, 80, 1));
    assert!(table.relocate(&plain, 3, &blob(&delta, Codec::Delta, fingerprint(&base.0)), 4));
    assert_eq!(table.blob(&base).unwrap().refs, 1);
    assert!(!table.drop_blob_at(&base, Place { segment: 9, at: 64 }), "it is not there");
    assert!(table.drop_blob_at(&base, Place { segment: 1, at: 64 }));
    assert_eq!((table.entries(), table.sums(), table.blob(&delta)), (0, &Sums::default(), None));
}

#[test]
fn a_delta_without_its_base_is_not_here_after_a_start() {
    let mut table = Table::new();
    table.apply(&Line { codec: Codec::Delta, link: 77, ..line(Kind::Blob, body(2).0, 100, 0) }, 1);
    table.apply(&line(Kind::Meta, pair(&url(1), &[1; 16]), 100, fingerprint(&body(2).0)), 1);
    assert_eq!((table.count(), table.blob(&body(2))), (1, None));
}

#[test]
fn a_count_of_references_that_is_full_stays() {
    let mut table = Table::new();
    table.count();
    table.apply(&line(Kind::Blob, body(1).0, 10, 0), 1);
    let meta = |n: u64| line(Kind::Meta, pair(&url(n), &[1; 16]), 10, fingerprint(&body(1).0));
    (0..300).for_each(|n| table.apply(&meta(n), 2));
    (0..300).for_each(|n| assert!(table.evict(&meta(n), 2).is_some()));
    assert_eq!((table.blob(&body(1)).unwrap().refs, table.sums().entry_bytes), (255, 0));
    assert!(!table.is_unused(&body(1), 1));
    table.count();
    assert_eq!(table.sums().objects, 0);
}

#[test]
fn numbers_of_bodies_are_used_again_and_dictionaries_are_found() {
    let mut table = Table::new();
    table.count();
    for round in 0..5_000 {
        let (blob, meta) =
            (line(Kind::Blob, body(round).0, 10, 0), line(Kind::Meta, pair(&url(1), &[1; 16]), 10, fingerprint(&body(round).0)));
        table.apply(&blob, 1);
        table.apply(&meta, 1);
        table.drop_dead(&body(round.wrapping_sub(1)), Place { segment: 1, at: 64 });
    }
    assert!(table.bytes() < 100_000, "{}", table.bytes());
    let dict = line(Kind::Dict, body(1).0, 10, 3);
    table.apply(&dict, 1);
    assert!(table.relocate(&dict, 1, &dict, 2));
    assert!(!table.relocate(&dict, 1, &dict, 3));
    assert_eq!(table.dict(3), Some(Place { segment: 2, at: 64 }));
}

/// A start goes through index, words and memory in one direction, whatever came and went before the snapshot.
#[test]
fn a_snapshot_numbers_bodies_in_the_order_of_their_index() {
    let (mut table, n) = (Table::new(), 5_000);
    table.count();
    let at = |n: u64| 64 + n * 8;
    let blob = |n: u64| {
        let (codec, link) = if n % 9 == 1 { (Codec::Delta, fingerprint(&body(n - 1).0)) } else { (Codec::Zstd, 0) };
        Line { at: at(n), codec, link, ..line(Kind::Blob, body(n).0, 100 + n, 0) }
    };
    let meta = |n: u64| Line { at: at(n), ..line(Kind::Meta, pair(&url(n), &[7; 16]), 100 + n, fingerprint(&body(n).0)) };
    for one in 0..n {
        table.apply(&blob(one), 1);
        table.apply(&meta(one), 2);
        if one % 5 == 3 && one % 9 > 1 {
            // Its number is given to another.
            table.evict(&meta(one), 2);
            table.drop_dead(&body(one), Place { segment: 1, at: at(one) });
        }
    }
    let mut bytes = Vec::new();
    table.write(&mut bytes).unwrap();
    let mut same = Table::read(&mut bytes.as_slice()).unwrap();
    assert!(same.lose_where(9, |_| false).is_empty());
    assert!(same.bodies.renumbered().iter().copied().eq(0..same.bodies.end()), "in the order of the index");
    assert_eq!(same.count(), 0);
    assert_eq!((same.sums(), same.places(), same.live_bytes()), (table.sums(), table.places(), table.live_bytes()));
    assert!((0..n).all(|one| same.blob(&body(one)) == table.blob(&body(one)) && same.find(&url(one)) == table.find(&url(one))));
    // What is new gets a number of its own, and what goes takes its base along.
    let old: Vec<_> = (0..n).map(|one| same.blob(&body(one))).collect();
    same.apply(&blob(n), 3);
    assert!((0..n).all(|one| same.blob(&body(one)) == old[usize::try_from(one).unwrap()]) && same.blob(&body(n)).is_some());
    let mut lost = same.clone();
    assert!(!lost.lose_where(9, |segment| segment == 1).is_empty());
    assert_eq!((lost.count(), lost.entries(), lost.sums().objects), (table.entries(), 0, 0));
}

#[test]
fn arbitrary_bytes_make_no_table_that_panics() {
    let mut table = Table::new();
    table.count();
    for n in 0..12 {
        table.apply(&Line { codec: Codec::Delta, link: fingerprint(&body(n / 2).0), ..line(Kind::Blob, body(n).0, 100, 0) }, 1);
        table.apply(&line(Kind::Meta, pair(&url(n), &[1; 16]), 100, fingerprint(&body(n).0)), 1);
        table.apply(&line(Kind::Pin, pair(&url(n), &[]), 0, n % 3), 1);
    }
    table.apply(&line(Kind::Meta, pair(&url(50), &[9; 16]), 100, 0), 1);
    table.apply(&Line { length: 58, ..line(Kind::Part, pair(&url(50), &[9; 16]), 100, 5) }, 1);
    let mut bytes = Vec::new();
    table.write(&mut bytes).unwrap();
    let mut same = Table::read(&mut bytes.as_slice()).unwrap();
    same.count();
    assert_eq!((same.sums(), same.places(), same.set(1).len()), (table.sums(), table.places(), 4));
    assert!(same.parts(&[9; 16]).is_some() && same.parts(&[9; 16]) == table.parts(&[9; 16]));
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 1 << (at % 8);
        assert!(Table::read(&mut &bytes[..at]).is_err(), "cut at {at}");
        let Ok(mut table) = Table::read(&mut bad.as_slice()) else { continue };
        table.count();
        for n in 0..13 {
            table.mark(&url(n));
            table.drop_blob_at(&body(n), table.blob(&body(n)).map_or(Place { segment: 1, at: 0 }, |blob| blob.place));
            table.apply(&line(Kind::Tomb, pair(&url(n), &[]), 0, 0), 1);
        }
    }
}

#[test]
fn an_answer_whose_body_is_gone_is_dropped_when_counting() {
    let mut table = Table::new();
    table.apply(&line(Kind::Meta, [1; 32], 1, 99), 1);
    assert_eq!(table.count(), 1);
    assert_eq!(table.entries(), 0);
}

#[test]
fn parts_go_with_their_answer() {
    let mut table = Table::new();
    for (n, with_answer) in [(1, true), (2, false), (3, true)] {
        let entry = [u8::try_from(n).unwrap(); 16];
        if with_answer {
            table.apply(&Line { at: 64 * n, ..line(Kind::Meta, pair(&url(n), &entry), 100, 0) }, 1);
        }
        table.apply(&Line { length: 58, ..line(Kind::Part, pair(&url(n), &entry), 100, 5) }, 1);
    }
    // A power cut took the answer of the second.
    assert_eq!(table.count(), 0);
    assert!(table.parts(&[1; 16]).is_some() && table.parts(&[2; 16]).is_none() && table.parts(&[3; 16]).is_some());
    // That of the third is damaged.
    table.drop_entry(Place { segment: 1, at: 192 });
    assert_eq!((table.parts(&[1; 16]).is_some(), table.parts(&[3; 16]), table.part_segments().len()), (true, None, 1));
}
