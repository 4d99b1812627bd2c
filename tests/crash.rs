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
use bulak::store::{Entry, Error, Meta, Pace, Settings, Source, Store, Way};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// The word for a night that has ended: nothing is promised by it.
const NIGHT: &str = "night";
const CHILD: &str = "BULAK_CRASH_CHILD";
/// Bytes of a PART in this test.
const PART: usize = 30_000;
/// Kills, and after how many a new folder is taken: packs have filled their share of the old one by then.
const ROUNDS: u64 = 100;
const FOLDER: u64 = 12;
/// Numbers of pages that are much alike, which nights code with dictionaries and as deltas; how many the first child of a folder puts
/// into a pack: enough for a dictionary.
const PAGES: u64 = 1 << 40;
const PAGES_EACH: u64 = 120;
/// Between two nights.
const NAP: Duration = Duration::from_millis(20);
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
    if n >= PAGES {
        return Target::parse(&format!("http://pages.kz/page/{n}")).unwrap();
    }
    Target::parse(&format!("http://host{}.kz/object/{n}", n % 7)).unwrap()
}

/// Every object's bytes follow from its number; some are equal to others'.
fn body(n: u64) -> Vec<u8> {
    if n >= PAGES {
        return page(n);
    }
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

/// Two thirds are the same in all pages.
fn page(n: u64) -> Vec<u8> {
    let length = if n.is_multiple_of(2) { 1500 } else { 3500 };
    let letters = |seed: u64, length: usize| {
        let mut out = vec![0; length];
        blake3::Hasher::new().update(&seed.to_be_bytes()).finalize_xof().fill(&mut out);
        for byte in &mut out {
            *byte = b'a' + *byte % 16;
        }
        out
    };
    [letters(1, length), letters(n, length / 2), letters(2, length / 2)].concat()
}

fn meta(n: u64) -> Meta {
    let url = target(n);
    let mut headers = HeaderMap::new();
    headers.insert("etag", format!("\"{n}\"").parse().unwrap());
    if n >= PAGES {
        headers.insert("content-type", "text/html".parse().unwrap());
    }
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
    let mut draft = store.begin(Some(bytes.len() as u64), (n >= PAGES).then_some("text/html"))?;
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
        say(kind, n);
    }
}

fn say(kind: &str, n: u64) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\nack {kind} {n}").unwrap();
    out.flush().unwrap();
}

/// Pages come in, if this is the first child of a folder; then there is one night after the other.
async fn shrink(store: Store, pages: u64) {
    for n in PAGES..PAGES + pages {
        loop {
            let stored = put(&store, n).await;
            match stored.and(store.pin("pages", &target(n).key()).await) {
                Ok(()) => break say("pinned", n),
                Err(Error::Full) => break,
                // Evicted between the two steps.
                Err(Error::Disk(error)) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => panic!("{n}: {error}"),
            }
        }
    }
    loop {
        match store.shrink(Pace::Now, || true, |_| {}).await {
            Ok(_) => say(NIGHT, 0),
            Err(Error::Full) => {}
            Err(error) => panic!("a night: {error}"),
        }
        tokio::time::sleep(NAP).await;
    }
}

/// Not a test of its own: what the child does.
#[tokio::test(flavor = "multi_thread")]
async fn child() {
    let Ok(order) = std::env::var(CHILD) else { return };
    let (first, order) = order.split_once(' ').unwrap();
    let (pages, path) = order.split_once(' ').unwrap();
    let (first, pages): (u64, u64) = (first.parse().unwrap(), pages.parse().unwrap());
    let store = open(Path::new(path));
    tokio::join!(write(store.clone(), first), write(store.clone(), first + 1), write(store.clone(), first + 2), shrink(store, pages));
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
    let (mut all, mut evicted, mut shrunk) = (0, 0, 0);
    for round in 0..rounds {
        if round > 0 && round.is_multiple_of(FOLDER) {
            all += promised.len() as u64;
            dir = tempfile::tempdir().unwrap();
            promised.clear();
        }
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let wanted = usize::try_from((seed >> 33) % PROMISES).unwrap();
        // The first child of a folder lives until its pages have seen a night.
        let mut rested = !round.is_multiple_of(FOLDER);
        let pages = if rested { 0 } else { PAGES_EACH };
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env(CHILD, format!("{next} {pages} {}", dir.path().display()))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let told = |line: String| {
            let (kind, n) = line.strip_prefix("ack ")?.split_once(' ')?;
            Some((n.parse().ok()?, kind.to_owned()))
        };
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let (mut told, mut count) = (lines.filter_map(told), 0);
        while (count < wanted || !rested)
            && let Some((n, kind)) = told.next()
        {
            if kind == NIGHT {
                rested = true;
                continue;
            }
            // Pages are not counted.
            count += usize::from(n < PAGES);
            promised.insert(n, kind);
        }
        child.kill().unwrap();
        let ended = child.wait_with_output().unwrap();
        let words = String::from_utf8_lossy(&ended.stderr);
        assert!(!words.contains("panicked"), "round {round}: {words}");
        promised.extend(told.filter(|(_, kind)| kind != NIGHT));
        let seen = verify(dir.path(), &promised, round).await;
        evicted += seen.evicted;
        shrunk += u64::from(seen.shrunk);
        next = promised.range(..PAGES).next_back().map_or(next, |(n, _)| n + 30);
        if round % 6 == 5 {
            std::fs::remove_dir_all(dir.path().join("index")).unwrap();
        }
    }
    all += promised.len() as u64;
    println!("{rounds} kills, {all} promises, {evicted} found evicted, {shrunk} times with bodies that lean on others");
    assert!(all > rounds, "the children were killed too early to show anything");
    assert!(evicted > 0 || rounds < ROUNDS, "no room was made, so nothing was shown of that");
    assert!(shrunk * 2 > rounds, "few bodies were coded with a dictionary or as a delta, so little was shown of that");
}

/// What is to be seen after a kill.
struct Seen {
    /// Answers that were evicted, which only those of no pack may be.
    evicted: u64,
    /// Whether there are bodies coded with a dictionary, or deltas.
    shrunk: bool,
}

/// Looks at all that was promised.
async fn verify(path: &Path, promised: &BTreeMap<u64, String>, round: u64) -> Seen {
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
    let codecs = store.stat().codecs;
    let shrunk = ["zstd_dict", "zstd_delta"].iter().any(|codec| codecs[*codec].0 > 0);
    store.close().await.unwrap();
    Seen { evicted, shrunk }
}
