//! The hub under a region's load, on SQLite and on PostgreSQL: records a second in batches, a province of 7,400 schools on its page,
//! and what a school costs on disk.
//!
//! Some hundred schools come through the doors that a hub has; the rest of the province is made from their rows in SQL (`province`).
//!
//! `cargo bench --bench hub`; options after `--`: `--schools 7400`, `--raw 2` (days of raw rows), `--days 90` (days of day rows),
//! `--only sqlite|postgres`. PostgreSQL is Debian's, started here in a folder of its own, with its own safety settings (fsync on).

#[path = "../tests/kit/postgres.rs"]
#[expect(dead_code, reason = "tests start it with other settings")]
mod cluster;
#[path = "hub/province.rs"]
mod province;
#[path = "hub/said.rs"]
mod said;

use bulak::base::calendar::Calendar;
use bulak::base::clock::{Clock, Time};
use bulak::base::count::Metrics;
use bulak::base::digest::Digest;
use bulak::hub::accept::{Fresh, Judged};
use bulak::hub::facts::{self, Frame};
use bulak::hub::figures::{Day, Figures};
use bulak::hub::keep::{self, Place};
use bulak::hub::{Enrolled, Hub, Settings};
use bulak::life::Life;
use bulak::report::batch;
use bulak::report::sign::{self, Key};
use futures_util::StreamExt;
use said::{NOW, records};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Records of one school and day: 24 hours, a ping every quarter of an hour, three tests, one outage.
const A_DAY: i64 = 24 + 96 + 3 + 1;

/// Uploads under way at once.
const AT_ONCE: usize = 4;

/// Schools whose rows come through the doors that a hub has, and whose time is taken; the others' rows are made in SQL from the first's.
const MEASURED: usize = 200;

struct Options {
    schools: i64,
    raw: i64,
    days: i32,
    only: Option<String>,
}

fn options() -> Options {
    let words: Vec<String> = std::env::args().collect();
    let after = |name: &str| words.iter().position(|word| word == name).and_then(|at| words.get(at + 1)).cloned();
    let number = |name: &str, usual: i64| after(name).map_or(usual, |text| text.parse().expect("a number"));
    let days = i32::try_from(number("--days", 90)).expect("some days");
    Options { schools: number("--schools", 7_400), raw: number("--raw", 2), days, only: after("--only") }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let options = options();
    let wanted = |name: &str| options.only.as_deref().is_none_or(|only| only == name);
    if wanted("sqlite") {
        let folder = tempfile::tempdir().expect("a folder");
        one("SQLite", Place::File(folder.path().join("intake.sqlite")), Place::File(folder.path().join("load.sqlite")), &options).await;
    }
    if wanted("postgres") {
        let Some(cluster) = cluster::Cluster::with(&["-c", "shared_buffers=512MB", "-c", "max_wal_size=4GB"]) else { return };
        let pool = sqlx::PgPool::connect(&cluster.first()).await.expect("connects");
        sqlx::query("CREATE DATABASE load").execute(&pool).await.expect("a second database");
        pool.close().await;
        one("PostgreSQL", Place::Postgres(cluster.first()), Place::Postgres(cluster.url("hub", "load")), &options).await;
    }
}

async fn one(name: &str, intake: Place, load: Place, options: &Options) {
    println!("\n{name}");
    for (schools, batch) in [(100, 124), (400, 5)] {
        let (rate, bytes) = take_in(&intake, schools, batch).await;
        println!("  records a second, {batch} an upload, signed, over HTTP: {rate:.0} ({bytes:.0} B a record on the wire)");
    }
    fill(load, options).await;
}

/// Uploads of `schools` schools, `batch` records each time, through a hub's own door. Records a second, and bytes each on the wire.
async fn take_in(database: &Place, schools: usize, batch_size: usize) -> (f64, f64) {
    let keys: Vec<Key> = (0..schools).map(|_| Key::make()).collect();
    let node =
        |(at, key): (usize, &Key)| Enrolled { key: key.public(), school: format!("intake-{batch_size}-{at}"), ..Enrolled::default() };
    let settings = Settings {
        listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
        database: database.clone(),
        nodes: keys.iter().enumerate().map(node).collect(),
        ..Settings::default()
    };
    let life = Life::default();
    let hub = Hub::bind(settings, Clock::manual(NOW), &life, &Metrics::default()).await.expect("binds");
    let place = hub.addresses()[0];
    life.spawn(hub.serve());
    // Made before the clock runs: signing is the schools' work.
    let mut uploads = Vec::new();
    for key in &keys {
        let all = records(&key.node(), 0);
        for records in all.chunks(batch_size).take((124 * 2 / batch_size).min(25)) {
            let sealed: Vec<Vec<u8>> = records.iter().map(|(_, _, _, record)| key.seal(record.to_string().as_bytes())).collect();
            uploads.push(batch::pack(sealed.iter().map(Vec::as_slice)).expect("packs"));
        }
    }
    let (sent, bytes) = (uploads.len() * batch_size, uploads.iter().map(Vec::len).sum::<usize>());
    let begun = now();
    futures_util::stream::iter(uploads)
        .map(|body| async move {
            let digest = batch::digest(&body);
            let head = format!(
                "POST /api/v1/reports HTTP/1.1\r\nhost: hub\r\ncontent-encoding: zstd\r\ncontent-digest: {digest}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            let answer = exchange(place, &[head.as_bytes(), &body].concat()).await;
            assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"reject\":[]"), "{answer}");
        })
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<()>>()
        .await;
    let took = begun.elapsed().as_secs_f64();
    assert!(life.end(Duration::from_secs(30)).await, "the hub ends");
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    (sent as f64 / took, bytes as f64 / sent as f64)
}

async fn exchange(place: SocketAddr, request: &[u8]) -> String {
    let mut stream = tokio::net::TcpStream::connect(place).await.expect("connects");
    stream.write_all(request).await.expect("sends");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("answers");
    String::from_utf8_lossy(&answer).into_owned()
}

/// A province: some schools' days through the doors that a hub has, all others' from them, then its pages and its weight.
async fn fill(database: Place, options: &Options) {
    let keep = keep::open(&database).await.expect("opens");
    let calendar = Calendar::of("Asia/Almaty").expect("known");
    let today = calendar.day(NOW);
    let names = (0..options.schools).map(|number| format!("school-{number:05}"));
    let schools: Vec<(Key, String)> = names.map(|name| (Key::make(), name)).collect();
    let measured = &schools[..schools.len().min(MEASURED)];
    let begun = now();
    for some in measured.chunks(10) {
        let days: Vec<Day> = some.iter().flat_map(|(_, school)| (1..=options.days).map(|back| day(school, today - back))).collect();
        keep.put_days(&days, &[]).await.expect("writes");
    }
    told("day rows, 900 at once", measured.len(), i64::from(options.days), begun);
    let begun = now();
    let (shared, calendar) = (&keep, &calendar);
    futures_util::stream::iter(measured)
        .map(|(key, school)| async move {
            for back in (0..options.raw).rev() {
                shared.take(&judged(&key.node(), school, back), calendar, NOW.into()).await.expect("takes");
            }
        })
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<()>>()
        .await;
    told("raw rows, one school's day at once, behind the signatures", measured.len(), options.raw * A_DAY, begun);
    drop(keep);
    owed(&database, measured).await;
    if let [(key, school), ..] = measured {
        let others: Vec<(String, String)> = schools.iter().skip(MEASURED).map(|(key, school)| (key.node(), school.clone())).collect();
        let begun = now();
        let made = province::spread(&database, (&key.node(), school), &others).await;
        println!("  {made} rows of the other {} schools made in {:.0} s", others.len(), begun.elapsed().as_secs_f64());
    }
    let weights = keep::open(&database).await.expect("opens").weigh().await.expect("weighs");
    pages(&database, &schools).await;
    weigh(&weights, options);
}

fn told(what: &str, schools: usize, each: i64, begun: Instant) {
    let count = i64::try_from(schools).expect("some schools") * each;
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = count as f64 / begun.elapsed().as_secs_f64();
    println!("  {what}: {rate:.0} a second ({count})");
}

/// A hub over this database with these schools on its roll; where it listens.
async fn open(database: &Place, schools: &[(Key, String)], life: &Life) -> SocketAddr {
    let node = |(key, school): &(Key, String)| Enrolled {
        key: key.public(),
        school: school.clone(),
        name: format!("№ {school} орта мектебі"),
        provider: format!("provider-{}", school.bytes().last().unwrap_or_default() % 3),
        ..Enrolled::default()
    };
    let settings = Settings {
        listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
        database: database.clone(),
        nodes: schools.iter().map(node).collect(),
        ..Settings::default()
    };
    let begun = now();
    let hub = Hub::bind(settings, Clock::manual(NOW), life, &Metrics::default()).await.expect("binds");
    println!("  opened with {} schools in {:.0} ms", schools.len(), begun.elapsed().as_secs_f64() * 1e3);
    let place = hub.addresses()[0];
    life.spawn(hub.serve());
    place
}

/// How long a hub takes for the days that it owes.
async fn owed(database: &Place, schools: &[(Key, String)]) {
    let keep = keep::open(database).await.expect("opens");
    let owed = keep.stale(u32::MAX).await.expect("reads").len();
    let life = Life::default();
    let begun = now();
    open(database, schools, &life).await;
    while !keep.stale(1).await.expect("reads").is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("  {owed} days that those rows touch made anew in {:.1} s", begun.elapsed().as_secs_f64());
    assert!(life.end(Duration::from_secs(30)).await, "the hub ends");
}

/// How long a hub takes for its pages.
async fn pages(database: &Place, schools: &[(Key, String)]) {
    let life = Life::default();
    let place = open(database, schools, &life).await;
    for (name, path) in [
        ("region page", "/?lang=ru"),
        ("region page, its tenth", "/?lang=ru&page=9"),
        ("region page, searched", "/?lang=ru&q=school-07"),
        ("school page, 90 days", "/schools/school-00042?days=90"),
        ("schools as JSON, 1000", "/api/v1/schools"),
        ("schools as a table, all", "/api/v1/schools.csv"),
    ] {
        let mut times = Vec::new();
        let mut length = 0;
        for _ in 0..9 {
            let request = format!("GET {path} HTTP/1.1\r\nhost: hub\r\nconnection: close\r\n\r\n");
            let begun = now();
            let answer = exchange(place, request.as_bytes()).await;
            times.push(begun.elapsed().as_secs_f64() * 1e3);
            assert!(answer.starts_with("HTTP/1.1 200"), "{path}");
            length = answer.len();
        }
        let first = times[0];
        times.sort_by(f64::total_cmp);
        println!("  {name}: median {:.0} ms, first {first:.0} ms, worst {:.0} ms, {} kB", times[4], times[8], length / 1_000);
    }
    assert!(life.end(Duration::from_secs(30)).await, "the hub ends");
}

/// What a school costs: rows of each table, and how long they stay.
#[expect(clippy::cast_precision_loss, reason = "bytes for people")]
fn weigh(weights: &[keep::Weight], options: &Options) {
    let by_table: BTreeMap<&str, i64> = weights.iter().map(|weight| (weight.table.as_str(), weight.bytes)).collect();
    let raw_days = options.schools * options.raw;
    // Table, rows in the bench, rows of a school and day, days that they stay (0: for ever).
    let rows = [
        ("record", raw_days * A_DAY, A_DAY, 60),
        ("ping", raw_days * 96, 96, 100),
        ("hour", raw_days * 24, 24, 400),
        ("test", raw_days * 3, 3, 0),
        ("outage", raw_days, 1, 0),
        ("day", options.schools * i64::from(options.days), 1, 0),
    ];
    let (mut stock, mut growth) = (0.0, 0.0);
    println!("  bytes on disk, with indexes:");
    for (table, count, a_day, days) in rows {
        let each = by_table.get(table).copied().unwrap_or_default() as f64 / count.max(1) as f64;
        let per_day = each * a_day as f64;
        let (kept, note) = if days == 0 { (per_day * 365.0, "a year, for ever") } else { (per_day * f64::from(days), "at any time") };
        if days == 0 {
            growth += kept;
        } else {
            stock += kept;
        }
        println!(
            "    {table:<7} {each:>6.0} a row, {:>6.0} kB a school {note}{}",
            kept / 1e3,
            if days == 0 { String::new() } else { format!(" ({days} days)") }
        );
    }
    println!("  a school: {:.1} MB at any time and {:.0} kB more with each year", stock / 1e6, growth / 1e3);
    println!("  a million schools: {:.1} TB and {:.2} TB a year", stock / 1e6, growth / 1e6);
}

/// A day of a school as `Keep` takes it; the signatures are left out.
fn judged(node: &str, school: &str, back: i64) -> Judged {
    let fresh = |(seq, start, end, record): (i64, Time, Time, Value)| {
        let sealed = [&[0; sign::SIGNATURE], record.to_string().as_bytes()].concat();
        let kind = record["kind"].as_str().unwrap_or_default().to_owned();
        let frame = Frame { node, school, epoch: 5, seq, start, end, clock_ok: true };
        let facts = facts::read(frame, &kind, &record);
        Fresh { seq, kind, start, end, clock_ok: true, digest: Digest::of(&sealed), sealed, facts }
    };
    let all: Vec<Fresh> = records(node, back).into_iter().map(fresh).collect();
    Judged { node: node.into(), school: school.into(), epoch: 5, last: 0, fresh: all, reject: vec![] }
}

fn day(school: &str, day: i32) -> Day {
    let figures = Figures {
        up_seconds: 80_000,
        slow_seconds: 2_000,
        down_seconds: 1_000 + i64::from(day % 7),
        no_data_seconds: 3_400,
        rx_bytes: 12_000_000_000,
        tx_bytes: 700_000_000,
        background_rx_bytes: 4_000_000_000,
        upstream_bytes: 5_000_000_000,
        http_cached_bytes: 700_000_000,
        http_client_bytes: 1_100_000_000,
        attempts: 28_000,
        failures: 70,
        rtt_min_ms: Some(39.5),
        rtt_median_ms: Some(52.25),
        rtt_p95_ms: Some(120.5),
        download_p95_bps: Some(7_600_000),
        upload_p95_bps: Some(1_700_000),
        domestic_rtt_ms: Some(31.0),
        foreign_rtt_ms: Some(112.0),
        ..Figures::default()
    };
    let (download_bps, upload_bps, latency_ms) = (Some(7_840_000), Some(1_900_000), Some(41.0));
    let school = school.to_owned();
    Day {
        school,
        day,
        records: 24,
        figures,
        tests: 3,
        test_bytes: 24_000_000,
        download_bps,
        upload_bps,
        latency_ms,
        pings_sent: 1_920,
        pings_received: 1_896,
        ..Day::default()
    }
}

/// Steady time, from the one place that asks for it.
fn now() -> Instant {
    Clock::system().steady()
}
