//! Who stays when the disk is full: three weeks of a school through a real store of a tenth of what is asked for, beside FIFO, LRU,
//! SIEVE and Belady's bound on the same requests.
//!
//! `cargo bench --bench sieve`. Prints the share of requests and of bytes that came out of each. The uplink pays for bytes; the goal is
//! a share of bytes within 1.5 points of Belady's. `BULAK_SEED` sets another trace, `BULAK_SHARE` another percentage.

#[path = "sieve/trace.rs"]
mod trace;

#[path = "sieve/simulate.rs"]
mod simulate;

#[path = "stock.rs"]
mod stock;

use bulak::base::target::UrlKey;
use bulak::base::unit::Bytes as Size;
use bulak::store::{Error, Settings, Store};
use bytes::Bytes;
use simulate::{Rule, Score};
use stock::Stock;
use trace::{Order, Trace};

const SEED: u64 = 2026;
/// Room, as percentage of the bytes of all objects.
const SHARE: u64 = 10;
/// One hit of so many is read and compared.
const COMPARED: u64 = 64;
/// Bodies are parts of one stretch of noise; each begins with its number.
const NOISE: usize = 32 << 20;

fn main() {
    let number = |name: &str, usual| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual);
    let (seed, share) = (number("BULAK_SEED", SEED), number("BULAK_SHARE", SHARE));
    for (name, within) in [("on the same day", Order::Day), ("in the same week", Order::Week)] {
        println!("parallel classes have a lesson {name}");
        compare(seed, share, within);
    }
}

/// All rules on one trace.
fn compare(seed: u64, share: u64, within: Order) {
    let trace = Trace::new(seed, within);
    let (objects, footprint) = trace.footprint();
    let room = footprint * share / 100;
    println!(
        "seed {seed}: {} requests for {objects} objects of {:.2} GB, {:.1} GB asked for; room for {share} %",
        trace.asks.len(),
        stock::mb(footprint) / 1e3,
        stock::mb(trace.traffic()) / 1e3
    );
    println!("                    requests  bytes from the cache");
    let bound = simulate::belady(&trace, room);
    for (name, rule) in [("FIFO", Rule::Fifo), ("LRU", Rule::Lru), ("SIEVE", Rule::Sieve)] {
        print(name, &simulate::simulate(&trace, room, rule));
    }
    print("Belady's bound", &bound);
    let score = through_store(&trace, room);
    print("the store", &score);
    println!("the store is {:.2} points of bytes below the bound", (bound.ratios().1 - score.ratios().1) * 100.0);
}

fn print(name: &str, score: &Score) {
    let (hits, bytes) = score.ratios();
    println!("{name:<20}  {hits:.4}  {bytes:.4}");
}

/// The whole trace through a store with this quota.
fn through_store(trace: &Trace, room: u64) -> Score {
    let folder = stock::folder();
    let stock = Stock::open(Settings { memory: Size::mib(16), ..stock::settings(folder.path().join("store"), Size(room)) });
    let noise = noise();
    let (start, before) = (stock.clock.steady(), stock::written());
    let (mut score, mut refused, mut stored) = (Score::default(), 0u64, 0u64);
    stock.runtime.block_on(async {
        for object in &trace.asks {
            let size = trace.sizes[*object as usize];
            let url = format!("http://o.school.test/{object}");
            let hit = is_hit(&stock.store, &UrlKey::of(&url), *object, size, score.hits.is_multiple_of(COMPARED)).await;
            score.count(size, hit);
            if hit {
                continue;
            }
            match stock::put(&stock.store, stock::meta(&url, "video/mp4", stock.clock.now()), body(&noise, *object, size), size).await {
                Ok(()) => stored += size,
                Err(Error::Full) => refused += 1,
                Err(error) => panic!("{url}: {error}"),
            }
        }
        stock.store.sync().await.expect("a sync");
    });
    let (took, written) = ((stock.clock.steady() - start).as_secs_f64(), stock::written() - before);
    let stat = stock.store.stat();
    println!(
        "{took:.1} s; {:.0} MB stored, {:.0} MB written; at the end {} entries of {:.1} MB on {:.1} MB of disk; {refused} refused",
        stock::mb(stored),
        stock::mb(written),
        stat.entries,
        stock::mb(stat.object_bytes),
        stock::mb(stat.disk_bytes)
    );
    stock.close();
    score
}

/// As the proxy asks: memory first, then the disk.
async fn is_hit(store: &Store, key: &UrlKey, object: u32, size: u64, compare: bool) -> bool {
    let variants = match store.peek(key) {
        Some(variants) => variants,
        None => store.find(key).await.expect("a disk that reads"),
    };
    let Some(entry) = variants.first() else { return false };
    assert!(entry.length == size, "{object} has another length");
    if compare {
        let body = store.read(entry, Some(0..size.min(8))).await.expect("a body").collect(8).await.expect("its beginning");
        assert!(u64::from(object).to_le_bytes().starts_with(&body), "{object} has another body");
    }
    true
}

/// An object's body: nothing that compresses, nothing that two have in common.
fn body(noise: &Bytes, object: u32, size: u64) -> [Bytes; 2] {
    let length = usize::try_from(size).expect("below 20 MB");
    let name = Bytes::copy_from_slice(&u64::from(object).to_le_bytes());
    let head = length.min(name.len());
    [name.slice(..head), noise.slice(..length - head)]
}

fn noise() -> Bytes {
    let mut bytes = vec![0; NOISE];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes.into()
}
