//! The store: a body kept (hashed, coded, in its segment), records read back and decoded, and a night that codes pages anew.
//!
//! Without sled, which writes when it likes. Syncs are the kernel's work.

use crate::kit;
use crate::pieces::Operation;
use crate::prose;
use crate::stock::{self, Stock};
use bulak::base::unit::Bytes as Size;
use bulak::store::{Pace, Settings};
use bytes::Bytes;
use std::hint::black_box;
use tempfile::TempDir;

const SMALL: usize = 10 << 10;
const LARGE: usize = 1 << 20;
/// As many as the store reads at once.
const ANSWERS: u64 = 256;
/// Pages of a site: enough for the night to make a dictionary of them.
const PAGES: u64 = 120;
const PAGE: usize = 6 << 10;

/// Where the number of a body goes, so that each is another.
const NUMBER: std::ops::Range<usize> = 0..size_of::<u64>();

/// A page as it comes in: text, which is coded.
pub(super) fn fill_small(_: u64) -> Operation {
    fill("text/html", prose::page(1, SMALL))
}

/// A picture as it comes in: kept as it is.
pub(super) fn fill_large(_: u64) -> Operation {
    fill("image/png", kit::noise(1, LARGE))
}

fn fill(kind: &'static str, body: Vec<u8>) -> Operation {
    let (folder, stock) = open();
    let mut number = 0_u64;
    Box::new(move || {
        let _here = &folder;
        let mut body = body.clone();
        body[NUMBER].copy_from_slice(&number.to_le_bytes());
        number += 1;
        let length = body.len() as u64;
        let meta = stock::meta(&url(number), kind, stock.clock.now());
        stock.runtime.block_on(stock::put(&stock.store, meta, [Bytes::from(body)], length)).expect("room");
    })
}

/// Records of answers read back and decoded, one after the other. By lists, since a single one is mostly its way between threads.
pub(super) fn records(_: u64) -> Operation {
    let (folder, stock) = open();
    stock.runtime.block_on(async {
        for number in 0..ANSWERS {
            let meta = stock::meta(&url(number), "image/png", stock.clock.now());
            stock::put(&stock.store, meta, [kit::noise(number, SMALL).into()], SMALL as u64).await.expect("room");
        }
    });
    Box::new(move || {
        let _here = &folder;
        let mut seen = 0;
        stock.runtime.block_on(stock.store.each(|entry| seen += u64::from(black_box(entry).object.is_some()))).expect("a disk that reads");
        assert_eq!(seen, ANSWERS);
    })
}

/// A night: zstd-9, and a dictionary for the pages of one site.
pub(super) fn repack(times: u64) -> Operation {
    let mut ready: Vec<(TempDir, Stock)> = (0..times).map(|_| site()).collect();
    Box::new(move || {
        let (_folder, stock) = ready.pop().expect("made for so many");
        let night = stock.runtime.block_on(stock.store.shrink(Pace::Now, || true, |_| {})).expect("a night");
        assert!(night.dictionaries == 1 && night.tried >= PAGES, "{night:?}");
        // Closing it is no part of the night.
        std::mem::forget(stock);
    })
}

/// A store with the pages of one site.
fn site() -> (TempDir, Stock) {
    let (folder, stock) = open();
    let frame = prose::page(1, PAGE / 2);
    stock.runtime.block_on(async {
        for number in 0..PAGES {
            // What pages of a site share, and what they do not.
            let page = [frame.as_slice(), &prose::page(number + 2, PAGE / 2)].concat();
            stock::put(&stock.store, stock::meta(&url(number), "text/html", stock.clock.now()), [page.into()], PAGE as u64)
                .await
                .expect("room");
        }
    });
    (folder, stock)
}

fn open() -> (TempDir, Stock) {
    let folder = stock::folder();
    let settings = Settings { memory: Size(0), index_cache: Size(0), ..stock::settings(folder.path().join("store"), Size::gib(8)) };
    let stock = Stock::open_still(settings);
    (folder, stock)
}

fn url(number: u64) -> String {
    format!("http://o.school.test/pages/{number}.html")
}
