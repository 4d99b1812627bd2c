//! Ninety days without a line, then one of 1 Mbit/s: everything arrives, once, through `kill -9` on either side; a class that comes in
//! between has the line.
//!
//! The days are made by the parts that make them in a school (`compose`, `sign`, `coding`, the outbox and its cursors, the meter's
//! table), with a clock that is moved; the node that sends them, the hub and the line are real.

use super::{kick, outbox};
use crate::kit;
use crate::kit::node::{Hub, Node, Setup};
use crate::kit::origin::{Ask, Origin, Reply, ok};
use crate::line::Relay;
use bulak::base::clock::{Clock, Time};
use bulak::cache::Tally;
use bulak::link::rollup::Rollup;
use bulak::meter::{Kept, Test};
use bulak::report::coding::Packer;
use bulak::report::compose::{self, Figures, Health, Night, Who};
use bulak::report::sign::Key;
use bulak::state::State;
use bulak::state::outbox::{Label, Sealed};
use bulak::store::Stat;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

const DAYS: u64 = 90;
const PINGS: usize = 96;
const TESTS: usize = 3;
const EVENTS: usize = 6;

/// What a class fetches meanwhile: half a minute of the line.
const LESSON: usize = 3_000_000;

/// A school's day takes so much room in the outbox, at most: ninety of them cross 1 Mbit/s in half a minute.
const MOST_A_DAY: u64 = 42_000;

/// What 1 Mbit/s carries in an hour is 450 MB; a backlog of ninety days may have a hundredth of it.
const MOST_BYTES: u64 = 4_500_000;

/// Figures that differ as real ones do.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    fn ms(&mut self, about: u64) -> f64 {
        f64::from(u32::try_from(about * 800 + self.roll(about * 400)).expect("small")) / 1000.0
    }
}

/// Ninety days in a node's folder; how many records its outbox holds, and how many bytes they take there.
fn ninety_days(folder: &Path) -> (u64, u64) {
    std::fs::create_dir_all(folder).expect("a folder");
    let key = Key::open(&folder.join("node.key")).expect("a key");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let state = State::open(Some(&folder.join("node.sqlite"))).await.expect("opens");
        let clock = Clock::manual(Clock::system().now().minus(Duration::from_hours(24 * DAYS)));
        let who = Who { school: Some("Ақсукент 7".into()), node: key.node(), boot_id: uuid::Uuid::new_v4().to_string() };
        let mut school = School { key, who, state, clock, dice: Dice(7), figures: figures(), before: compose::Cache::default() };
        for day in 0..DAYS {
            school.live_a_day(day).await;
        }
        let count = school.state.outbox().count().await.expect("counts");
        assert_eq!(count.dropped, 0);
        school.state.close().await;
        (count.waiting, count.waiting_bytes)
    })
}

struct School {
    key: Key,
    who: Who,
    state: State,
    clock: Clock,
    dice: Dice,
    figures: Figures,
    before: compose::Cache,
}

fn figures() -> Figures {
    Figures { tally: Tally::default(), state: bulak::link::State::Up, stat: Stat::default(), night: Night::default() }
}

impl School {
    async fn live_a_day(&mut self, day: u64) {
        let dawn = self.clock.now();
        for _ in 0..24 {
            let start = self.clock.now();
            self.clock.advance(Duration::from_hours(1));
            self.hour(start).await;
        }
        let quarter = |at: usize| dawn.plus(Duration::from_mins(15) * u32::try_from(at).expect("small"));
        let pings: Vec<(Time, Value)> = (0..PINGS).map(|at| (quarter(at), self.ping())).collect();
        self.lot("ping", day, &pings).await;
        let events: Vec<(Time, Value)> = (0..EVENTS).map(|at| (quarter(at * 16), self.event())).collect();
        self.lot("event", day, &events).await;
        // The node reads these itself, from its meter's table.
        for at in 0..TESTS {
            let (test, start) = (self.test(), quarter(33 + at * 16));
            let kept = Kept {
                number: 0,
                start,
                finish: start.plus(Duration::from_secs(21)),
                clock_ok: true,
                server: "wss://speed.example.kz".into(),
                test,
                raw: Value::Null,
            };
            self.state.measure().keep(start, &kept, "{}").await.expect("kept");
        }
    }

    async fn hour(&mut self, start: Time) {
        let uses = ["hit", "miss", "tunnel", "revalidated", "bypass"];
        for way in ["http", "mirror"] {
            let way = self.figures.tally.by_way.entry(way.to_owned()).or_default();
            for outcome in uses {
                let entry = way.entry(outcome.to_owned()).or_default();
                let requests = self.dice.roll(400);
                *entry = (entry.0 + requests, entry.1 + requests * self.dice.roll(90_000));
            }
        }
        self.figures.tally.upstream_bytes += self.dice.roll(1 << 30);
        self.figures.stat.objects += self.dice.roll(300);
        self.figures.stat.object_bytes += self.dice.roll(1 << 28);
        let down = self.dice.roll(600);
        let line = Rollup {
            up_seconds: 3_600 - down,
            down_seconds: down,
            rx_bytes: self.dice.roll(1 << 30),
            tx_bytes: self.dice.roll(1 << 27),
            rtt_min_ms: Some(self.dice.ms(38)),
            rtt_median_ms: Some(self.dice.ms(60)),
            rtt_p95_ms: Some(self.dice.ms(200)),
            download_p95_bps: Some(self.dice.roll(20_000_000)),
            attempts: self.dice.roll(900),
            ..Rollup::default()
        };
        let health = Health { version: "0.1.0".into(), ..Health::default() };
        let payload = compose::hour(&self.figures, &self.before, &line, health);
        self.before = payload.total.clone();
        let now = self.clock.now();
        let seal = |epoch, seq| {
            let record = compose::record(&self.who, "hour", (epoch, seq), (start, now), true, payload);
            Ok(pack(&self.key, &compose::bytes(&record).expect("nothing outside the list")))
        };
        let label = Label { kind: "hour", made: now, blind: false };
        self.state.outbox().add(now.secs(), label, now, seal).await.expect("kept");
    }

    /// As a source of the day's findings would be read.
    async fn lot(&mut self, kind: &str, day: u64, found: &[(Time, Value)]) {
        let labels: Vec<Label<'_>> = found.iter().map(|(start, _)| Label { kind, made: *start, blind: false }).collect();
        let numbers = [day, day + 1].map(|day| i64::try_from(day * 1_000).expect("small"));
        let seal = |at: usize, epoch, seq| {
            let (start, payload) = &found[at];
            let span = (*start, start.plus(Duration::from_secs(2)));
            let record = compose::record(&self.who, kind, (epoch, seq), span, true, payload);
            Ok(pack(&self.key, &compose::bytes(&record).expect("nothing outside the list")))
        };
        let kept = self.state.outbox().add_lot(1, (numbers[0], numbers[1]), kind, &labels, seal).await.expect("kept");
        assert_eq!(kept, found.len());
    }

    fn ping(&mut self) -> Value {
        let (received, dice) = (20 - self.dice.roll(3), &mut self.dice);
        json!({"ping": {
            "reach": "domestic", "sent": 20, "received": received, "late": 0, "doubled": 0, "rtt_min_ms": dice.ms(38),
            "rtt_median_ms": dice.ms(47), "rtt_p95_ms": dice.ms(99), "jitter_ms": dice.ms(6),
        }})
    }

    fn event(&mut self) -> Value {
        json!({"event": {"what": "line_down", "seconds": 11 + self.dice.roll(300), "open": false}})
    }

    fn test(&mut self) -> Test {
        let dice = &mut self.dice;
        let mut direction = |bps: u64| {
            let estimate = bps + dice.roll(bps);
            json!({
                "ndt7_bps": estimate - 9, "estimate_bps": estimate, "low_bps": estimate - dice.roll(90_000), "high_bps": estimate + dice.roll(90_000),
                "method": "bbr", "congestion": "bbr", "streams": 1, "early": true, "took_ms": dice.ms(2_400), "moved_bytes": dice.roll(9_000_000),
                "rtt_min_ms": dice.ms(38), "rtt_loaded_ms": dice.ms(180), "retransmitted_ratio": 0.011,
            })
        };
        let (download, upload) = (direction(8_000_000), direction(2_000_000));
        let test = json!({
            "id": uuid::Uuid::new_v4().to_string(), "trigger": "daily", "end": "ok", "trouble": "none", "reach": "domestic", "busy": false,
            "cross_rx_bytes": 12_000, "cross_tx_bytes": 900, "cost_bytes": 2_900_000, "left_today_bytes": 40_000_000,
            "download": download, "upload": upload,
        });
        serde_json::from_value(test).expect("a test")
    }
}

fn pack(key: &Key, record: &[u8]) -> Sealed {
    let sealed = key.seal(record);
    let (coding, bytes) = Packer::new().pack(&sealed);
    Sealed { coding, size: sealed.len(), bytes }
}

/// How many records of each kind the hub's database holds, and how many rows of tests and outages.
fn at_hub(hub: &Hub) -> BTreeMap<String, i64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(hub.folder().join("hub.sqlite")).read_only(true);
        let pool = sqlx::SqlitePool::connect_with(options).await.expect("the hub's database");
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "SELECT kind, count(*) FROM record GROUP BY kind UNION ALL SELECT 'row of ' || 'test', count(DISTINCT id) FROM test
             UNION ALL SELECT 'row of outage', count(*) FROM v_outage",
        )
        .fetch_all(&pool)
        .await
        .expect("records");
        rows.into_iter().collect()
    })
}

#[test]
fn ninety_days_arrive_once_over_a_thin_line_and_give_way_to_a_class() {
    let folder = tempfile::tempdir().expect("a folder");
    let (made, bytes) = ninety_days(&folder.path().join("state"));
    let a_day = bytes / DAYS;
    println!("{made} records of {DAYS} days take {bytes} bytes in the outbox, {a_day} a day");
    assert_eq!(made, DAYS * (24 + PINGS + EVENTS) as u64);
    assert!(a_day < MOST_A_DAY, "{a_day} bytes a day");

    let key = Key::open(&folder.path().join("state/node.key")).expect("a key").public();
    let mut hub = Hub::start(&format!(
        "[hub]\nlisten = [\"127.0.0.1:{}\"]\ndatabase = \"HERE/hub.sqlite\"\n[[node]]\nkey = \"{key}\"\nschool = \"aksu-7\"\nname = \"№ 7\"\n",
        kit::free_port()
    ));
    let origin = Origin::start(|_: &Ask| Reply::Bytes(ok(&["Cache-Control: no-store"], &kit::noise(5, LESSON))));
    let line = Relay::lay(&"1/1 Mbit/s, 80 ms".parse().expect("a line"));
    let (to_hub, to_origin) = (line.way(hub.addr).expect("a port"), line.way(origin.addr).expect("a port"));
    let mut node = Setup::new()
        .set("meter.slots", "[]")
        .set("meter.startup", "false")
        .set("hub.url", &format!("\"http://{}\"", to_hub.addr))
        .host("s.school.test", to_origin.addr)
        .start_in(folder);

    // The node is killed in the middle of an upload, then the hub.
    let mut kicked = kick(&node);
    kit::until("some of it has arrived", 120, || hub.records().0 > 2_000);
    node.kill();
    node.restart();
    let _ended = kicked.join(); // its node has ended
    let left = outbox(&node)["waiting"].as_i64().expect("a count");
    assert!(left > 0, "it was killed in the middle");
    kicked = kick(&node);
    kit::until("more has arrived", 120, || {
        again(&mut kicked, &node);
        hub.records().0 > 5_000
    });
    hub.kill();
    let _ended = kicked.join();
    assert!(outbox(&node)["waiting"].as_i64().expect("a count") > 0, "it was killed in the middle");
    hub.restart();

    // A class comes while the rest is on its way: it has the line.
    kicked = kick(&node);
    let before = to_hub.sent();
    kit::until("the rest is on its way", 120, || {
        again(&mut kicked, &node);
        to_hub.sent() > before
    });
    gives_way(&node, || to_hub.sent());
    let _ended = kicked.join();
    kit::until("the rest has arrived", 240, || {
        let left = outbox(&node)["waiting"].as_i64() == Some(0);
        if !left {
            node.report();
        }
        left
    });

    let seq = outbox(&node)["seq"].as_i64().expect("a number");
    assert_eq!(hub.records(), (seq, seq), "every number is there, and none of them twice");
    let (found, days) = (at_hub(&hub), i64::try_from(DAYS).expect("small"));
    let wanted = |kind: &str, a_day: usize| assert_eq!(found[kind], days * i64::try_from(a_day).expect("small"), "{found:?}");
    wanted("ping", PINGS);
    wanted("event", EVENTS);
    wanted("row of outage", EVENTS);
    wanted("speedtest", TESTS);
    wanted("row of test", TESTS);
    assert!(found["hour"] > days * 24, "{found:?}");
    let line_bytes = to_hub.sent() + to_hub.carried();
    let seconds = line_bytes * 8 / 1_000_000;
    println!("{seq} records took {line_bytes} bytes of the line to the hub: {seconds} s of 1 Mbit/s");
    assert!(line_bytes < MOST_BYTES, "{line_bytes} bytes over the line");
}

/// Whoever asked has an answer, perhaps that it did not work: asks again.
fn again(kicked: &mut JoinHandle<()>, node: &Node) {
    if kicked.is_finished() {
        *kicked = kick(node);
    }
}

/// A class fetches a lesson over the same line: background is at its floor all the while, and what reports send beside it is little.
fn gives_way(node: &Node, sent: impl Fn() -> u64) {
    let clock = Clock::system();
    let (before, began) = (sent(), clock.steady());
    let page = node.get("http://s.school.test/lesson.bin");
    let (beside, took) = (sent() - before, clock.steady().duration_since(began));
    assert_eq!((page.status, page.body.len()), (200, LESSON));
    // The floor is 2 kB/s; what lay in buffers when the class came is one upload, or less. The line would have carried 125 kB/s.
    let allowed = 2_000 * took.as_secs() + 100_000;
    println!("beside a lesson of {LESSON} bytes in {took:?} reports sent {beside} bytes");
    assert!(beside <= allowed, "{beside} bytes of reports beside a class, {allowed} are allowed");
}
