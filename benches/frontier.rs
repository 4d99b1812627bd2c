//! What a frontier of a million addresses takes: memory, start, wishes a second.
//!
//! `cargo bench --bench frontier`. Twenty sitemaps name a million pages of a hundred hosts (`BULAK_OBJECTS` sets another count); then,
//! each in a process of its own so that memory is its own: a node opens it and takes its first wish, which is its start; and takes
//! wishes out in the order of a crawl, ends them with what they need, and writes that durably, as many as fit into twenty
//! seconds. "Planned" is all of that: taken out, ended, on disk behind a sync.

use bulak::base::clock::{Clock, Time};
use bulak::prefetch::gate::Turn;
use bulak::prefetch::queues::{Look, Queues};
use bulak::state::State;
use bulak::state::frontier::{Ending, Fate, Wish};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Which part this process is, and where the database lies.
const PART: &str = "BULAK_PART";
const FILE: &str = "BULAK_FILE";
const MILLION: usize = 1_000_000;
const HOSTS: usize = 100;
/// Addresses of one sitemap.
const MAP: usize = 50_000;
/// How long wishes are taken for.
const SPAN: Duration = Duration::from_secs(20);
const PACK: &str = "million";
const PARTS: [&str; 3] = ["fill", "start", "work"];

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let count = std::env::var("BULAK_OBJECTS").ok().and_then(|text| text.parse().ok()).unwrap_or(MILLION);
    if let (Ok(part), Some(file)) = (std::env::var(PART), std::env::var_os(FILE)) {
        let file = Path::new(&file);
        return match part.as_str() {
            "fill" => runtime.block_on(fill(file, count)),
            "start" => runtime.block_on(start(file)),
            _ => runtime.block_on(work(file)),
        };
    }
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let file = folder.path().join("state.sqlite");
    for part in PARTS {
        let own = std::env::current_exe().expect("a program");
        let ended = Command::new(own).env(PART, part).env(FILE, &file).status().expect("starts");
        assert!(ended.success(), "part {part}: {ended}");
    }
}

/// As a crawl reads sitemaps: each is a wish that ends with 50,000 others.
async fn fill(file: &Path, count: usize) {
    let (clock, now) = (Clock::system(), Time::BUILT);
    let state = State::open(Some(file)).await.expect("opens");
    let began = clock.steady();
    let maps: Vec<Wish> = (0..count.div_ceil(MAP)).map(|map| Wish::new(format!("https://lessons.kz/map{map}.xml"), "sitemap", 0)).collect();
    let run = state.begin_run(PACK, "digest", now, &maps).await.expect("begins").run;
    let mut queues = Queues::open(&state, PACK, run).await.expect("opens");
    let mut named = 0;
    while let Look::Take(wish) =
        queues.take(&state, now, |_, wish| if wish.kind == "sitemap" { Turn::Go } else { Turn::Full }).await.expect("reads")
    {
        let pages = named..(named + MAP).min(count.saturating_sub(maps.len()).max(named));
        named = pages.end;
        let found = pages.map(page).collect();
        queues.end(Ending { found, ..Ending::new(*wish, Fate::Done { bytes: 5 << 20, at: now }) }, now);
        queues.flush(&state, now).await.expect("writes");
    }
    let took = (clock.steady() - began).as_secs_f64();
    let held = state.count(PACK, run).await.expect("counts").total;
    state.close().await;
    let size = fs::metadata(file).expect("a file").len();
    println!("{held} addresses taken up in {took:.1} s, {:.0} a second; {:.0} MB on disk", per(held, took), mb(size));
    println!("  memory {:>7.1} MB at most", mb(peak()));
}

fn page(number: usize) -> Wish {
    let (host, lesson) = (number % HOSTS, number / HOSTS);
    Wish::new(
        format!("https://site-{host:02}.lessons.kz/grade-{}/subject/lesson-{lesson}/a-title-of-some-length.html", lesson % 12),
        "page",
        0,
    )
}

/// A node's start, as far as the frontier takes part in it: opened, its sums read, the first wish taken.
async fn start(file: &Path) {
    let clock = Clock::system();
    let began = clock.steady();
    let state = State::open(Some(file)).await.expect("opens");
    let run = state.run(PACK).await.expect("reads").expect("a run").run;
    let count = state.count(PACK, run).await.expect("counts");
    let mut queues = Queues::open(&state, PACK, run).await.expect("opens");
    let first = queues.take(&state, Time::BUILT, |_, _| Turn::Go).await.expect("reads");
    let took = clock.steady() - began;
    assert!(matches!(first, Look::Take(_)));
    let next = state.next_try(PACK, run).await.expect("reads");
    assert!(next.is_some());
    println!(
        "start with {} addresses: {:.0} ms to the first wish; memory {:.1} MB at most",
        count.total,
        took.as_secs_f64() * 1e3,
        mb(peak())
    );
    state.close().await;
}

/// Taken out, ended with what a page needs, written durably.
async fn work(file: &Path) {
    let clock = Clock::system();
    let state = State::open(Some(file)).await.expect("opens");
    let run = state.run(PACK).await.expect("reads").expect("a run").run;
    let mut queues = Queues::open(&state, PACK, run).await.expect("opens");
    let (began, written) = (clock.steady(), io());
    let mut planned = 0_u64;
    let mut pages = 0_u64;
    while clock.steady() - began < SPAN {
        let now = clock.now();
        let Look::Take(wish) = queues.take(&state, now, |_, _| Turn::Go).await.expect("reads") else {
            if queues.is_pending() {
                queues.flush(&state, now).await.expect("writes");
                continue;
            }
            break;
        };
        let mut found = Vec::new();
        if wish.kind == "page" {
            pages += 1;
            let host = wish.url.split('/').take(3).collect::<Vec<_>>().join("/");
            // One picture of its own, a style sheet that all share, and a link back.
            found.push(Wish::new(format!("{host}/images/{pages}.webp"), "image", 0));
            found.push(Wish::new(format!("{host}/style.css"), "style", 0));
            found.push(Wish::new(wish.url.clone(), "page", 1));
        }
        queues.end(Ending { found, ..Ending::new(*wish, Fate::Done { bytes: 30_000, at: now }) }, now);
        planned += 1;
        if queues.is_due(now) {
            queues.flush(&state, now).await.expect("writes");
        }
    }
    queues.flush(&state, clock.now()).await.expect("writes");
    let took = (clock.steady() - began).as_secs_f64();
    let count = state.count(PACK, run).await.expect("counts");
    println!(
        "{planned} wishes planned in {took:.1} s: {:.0} a second, of which {pages} pages; {} done in all",
        per(planned, took),
        count.done
    );
    println!(
        "  written {:.1} MB, {:.0} bytes a wish; memory {:.1} MB at most",
        mb(io() - written),
        per(io() - written, 1.0) / per(planned, 1.0),
        mb(peak())
    );
    state.close().await;
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn per(many: u64, seconds: f64) -> f64 {
    many as f64 / seconds
}

fn mb(bytes: u64) -> f64 {
    per(bytes, 1e6)
}

/// Most memory that this process has had.
fn peak() -> u64 {
    let text = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

/// Bytes that this process has caused to be written.
fn io() -> u64 {
    let text = fs::read_to_string("/proc/self/io").expect("Linux");
    text.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok()).expect("write_bytes")
}
