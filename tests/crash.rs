//! The promise, with a real kill: a child process fills a store and says what was promised to it (a sync or a pin that
//! returned); it is killed at a random moment, the store is opened again, and everything promised must be there with the right
//! bytes. The store is small, so that room is made all the time: answers are evicted and segments rewritten while the kill comes.
//! `BULAK_CRASH_ROUNDS` sets how often (100), `BULAK_CRASH_SEED` repeats a run.

#![expect(clippy::unwrap_used, reason = "a test, though its helpers stand outside of test functions")]

use bulak::base::body::Body;
use bulak::base::clock::{Clock, Time};
use bulak::base::count::Metrics;
use bulak::base::digest::Digest;
use bulak::base::target::Target;
use bulak::base::unit::Bytes as Size;
use bulak::life::Life;
use bulak::store::{Entry, Error, Meta, Settings, Source, Store, Way};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

const CHILD: &str = "BULAK_CRASH_CHILD";
/// Bytes of a PART in this test.
const PART: usize = 30_000;
/// Kills, and after how many a new folder is taken: packs have filled their share of the old one by then.
const ROUNDS: u64 = 100;
const FOLDER: u64 = 12;
/// A child is killed after fewer than so many promises.
const PROMISES: u64 = 50;

fn settings(path: &Path) -> Settings {
    Settings {
        path: path.to_owned(),
        quota: Size::mib(14),
        memory: Size::mib(1),
        segment: Size::mib(2),
        sync_bytes: Size::kib(256),
        index_cache: Size::mib(1),
        ..Settings::default()
    }
}

fn open(path: &Path) -> Store {
    Store::open(settings(path), Clock::system(), &Life::default(), &Metrics::default()).unwrap()
}

fn target(n: u64) -> Target {
    Target::parse(&format!("http://host{}.kz/object/{n}", n % 7)).unwrap()
}

/// Every object's bytes follow from its number; some are equal to others'.
fn body(n: u64) -> Vec<u8> {
    let seed = if n.is_multiple_of(5) { n / 50 } else { n };
    let length =
        [900, 12_000, 70_000, 300_000, 1_300_000][usize::try_from(seed % 11).unwrap().min(4) * usize::from(seed.is_multiple_of(3))];
    let mut out = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    if seed.is_multiple_of(2) {
        for byte in &mut out {
            *byte = b'a' + *byte % 4;
        }
    }
    out
}

fn meta(n: u64) -> Meta {
    let url = target(n);
    let mut headers = HeaderMap::new();
    headers.insert("etag", format!("\"{n}\"").parse().unwrap());
    let now = Time::from_secs(1_800_000_000);
    Meta {
        key: Digest::of(&url.key().0),
        url: url.to_string().into(),
        status: StatusCode::OK,
        headers,
        vary: Vec::new(),
        requested: now,
        received: now,
        coding: None,
        was_coded: None,
        source: Source::Pack,
        way: Way::Http,
        flags: 0,
    }
}

async fn put(store: &Store, n: u64) -> Result<(), Error> {
    let bytes = body(n);
    let mut draft = store.begin(Some(bytes.len() as u64), None)?;
    for piece in bytes.chunks(100_000) {
        draft.write(Bytes::copy_from_slice(piece)).await?;
    }
    draft.commit(meta(n)).await.map(drop)
}

/// One thing of each kind in turn, and the word for it once it is promised.
async fn promise(store: &Store, n: u64) -> Result<&'static str, Error> {
    match n % 4 {
        0 => {
            put(store, n).await?;
            store.pin("pack", &target(n).key()).await?;
            Ok("pinned")
        }
        1 => {
            let bytes = Bytes::from(body(n));
            let part = bytes.slice(..bytes.len().min(PART) / 2);
            store.put_part(meta(n), bytes.len() as u64, 0, part).await?;
            store.sync().await?;
            Ok("part")
        }
        2 => {
            put(store, n).await?;
            store.forget(&target(n).key(), true).await?;
            Ok("gone")
        }
        _ => {
            put(store, n).await?;
            store.sync().await?;
            Ok("synced")
        }
    }
}

/// Writes for ever, one of several at a time; says `kind number` once it is promised. A full store makes no promise.
async fn write(store: Store, first: u64) {
    for n in (first..).step_by(3) {
        let kind = match promise(&store, n).await {
            Ok(kind) => kind,
            Err(Error::Full) => continue,
            // Evicted between the two steps.
            Err(Error::Disk(error)) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => panic!("{n}: {error}"),
        };
        let mut out = std::io::stdout().lock();
        writeln!(out, "\nack {kind} {n}").unwrap();
        out.flush().unwrap();
    }
}

/// Not a test of its own: what the child does.
#[tokio::test(flavor = "multi_thread")]
async fn child() {
    let Ok(order) = std::env::var(CHILD) else { return };
    let (first, path) = order.split_once(' ').unwrap();
    let first: u64 = first.parse().unwrap();
    let store = open(Path::new(path));
    tokio::join!(write(store.clone(), first), write(store.clone(), first + 1), write(store, first + 2));
}

async fn read(store: &Store, entry: &Arc<Entry>, range: std::ops::Range<u64>) -> Bytes {
    let body: Body = store.read(entry, Some(range)).await.unwrap();
    body.collect(1 << 30).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_was_promised_is_there_after_a_kill() {
    let number = |name: &str, default: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let rounds = number("BULAK_CRASH_ROUNDS", ROUNDS);
    let mut seed = number("BULAK_CRASH_SEED", u64::from(std::process::id()));
    println!("BULAK_CRASH_SEED={seed}");
    let mut dir = tempfile::tempdir().unwrap();
    let (mut promised, mut next): (BTreeMap<u64, String>, u64) = (BTreeMap::new(), 0);
    let (mut all, mut evicted) = (0, 0);
    for round in 0..rounds {
        if round > 0 && round.is_multiple_of(FOLDER) {
            all += promised.len() as u64;
            dir = tempfile::tempdir().unwrap();
            promised.clear();
        }
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let wanted = usize::try_from((seed >> 33) % PROMISES).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env(CHILD, format!("{next} {}", dir.path().display()))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut acks: Vec<String> = lines.by_ref().filter(|line| line.starts_with("ack ")).take(wanted).collect();
        child.kill().unwrap();
        let ended = child.wait_with_output().unwrap();
        let words = String::from_utf8_lossy(&ended.stderr);
        assert!(!words.contains("panicked"), "round {round}: {words}");
        acks.extend(lines.filter(|line| line.starts_with("ack ")));
        for ack in &acks {
            let words: Vec<&str> = ack.split(' ').collect();
            promised.insert(words[2].parse().unwrap(), words[1].to_owned());
        }
        evicted += verify(dir.path(), &promised, round).await;
        next = promised.keys().last().map_or(next, |n| n + 30);
        if round % 6 == 5 {
            std::fs::remove_dir_all(dir.path().join("index")).unwrap();
        }
    }
    all += promised.len() as u64;
    println!("{rounds} kills, {all} promises, {evicted} found evicted");
    assert!(all > rounds, "the children were killed too early to show anything");
    assert!(evicted > 0 || rounds < ROUNDS, "no room was made, so nothing was shown of that");
}

/// Looks at all that was promised. How many answers were evicted, which only those of no pack may be.
async fn verify(path: &Path, promised: &BTreeMap<u64, String>, round: u64) -> u64 {
    let store = open(path);
    let mut evicted = 0;
    for (n, kind) in promised {
        let variants = store.find(&target(*n).key()).await.unwrap();
        if kind == "gone" {
            assert!(variants.is_empty(), "round {round}: {n} came back");
            continue;
        }
        let Some(entry) = variants.first() else {
            assert_ne!(kind, "pinned", "round {round}: {n} is lost");
            evicted += 1;
            continue;
        };
        let wanted = body(*n);
        let end = if kind == "part" { wanted.len().min(PART) / 2 } else { wanted.len() };
        assert_eq!(entry.pinned, kind == "pinned", "round {round}: {n}");
        if kind == "part" && entry.have.is_empty() {
            evicted += 1;
            continue;
        }
        assert_eq!(read(&store, entry, 0..end as u64).await, wanted[..end], "round {round}: {kind} {n}");
    }
    // What was never promised may be there or not, but is right.
    let mut metas = Vec::new();
    store.each(|entry| metas.push((entry.meta.url.to_string(), entry.object))).await.unwrap();
    for (url, object) in metas {
        let n: u64 = url.rsplit('/').next().unwrap().parse().unwrap();
        assert!(object.is_none_or(|object| object == Digest::of(&body(n))), "round {round}: {url}");
    }
    assert_eq!(store.stat().damaged, 0, "round {round}: a kill tears no record that was finished");
    store.close().await.unwrap();
    evicted
}
