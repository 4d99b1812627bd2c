//! Tests, pings and events on their way: found once, kept through power cuts, dated anew, given way.

use super::*;
use crate::report::source::{Kept, Kind};
use serde_json::json;

/// A source of a few findings; it outlives the node, as a table does.
#[derive(Clone)]
struct Scripted {
    kind: Kind,
    kept: Arc<Mutex<Vec<Kept>>>,
    fails: Arc<AtomicBool>,
    changed: Arc<Notify>,
}

impl Scripted {
    fn new(kind: Kind) -> Scripted {
        Scripted { kind, kept: Arc::default(), fails: Arc::default(), changed: Arc::default() }
    }

    fn find(&self, start: Time, end: Time, clock_ok: bool, payload: Value) {
        let mut kept = self.kept.lock();
        let number = kept.last().map_or(1, |kept| kept.number + 2);
        kept.push(Kept { number, start, end, clock_ok, payload });
        drop(kept);
        self.changed.notify_waiters();
    }
}

impl Source for Scripted {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn after(&self, number: i64, most: u32) -> BoxFuture<'_, anyhow::Result<Vec<Kept>>> {
        Box::pin(async move {
            anyhow::ensure!(!self.fails.load(Ordering::Relaxed), "a disk that is dying");
            Ok(self.kept.lock().iter().filter(|kept| kept.number > number).take(most as usize).cloned().collect())
        })
    }

    fn changed(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.changed.notified())
    }
}

fn ping(at: u64) -> Value {
    let rtt = 40.0 + f64::from(u32::try_from(at).expect("small")) / 8.0;
    json!({"ping": {"reach": "domestic", "sent": 20, "received": 19, "late": 1, "doubled": 0, "rtt_median_ms": rtt}})
}

fn outage(seconds: u64, open: bool) -> Value {
    json!({"event": {"what": "line_down", "seconds": seconds, "open": open}})
}

fn at(seconds: u64) -> Time {
    NOW.plus(Duration::from_secs(seconds))
}

impl Stage {
    async fn waiting(node: &Reporter) -> Vec<Value> {
        node.0.state.outbox().batch(1_000, 1 << 24).await.expect("reads").iter().map(record).collect()
    }
}

#[tokio::test]
async fn what_is_found_leaves_once_through_power_cuts() {
    let mut stage = Stage::new();
    let key = stage.node("state.sqlite").await.status().await.key;
    stage.hub(&key).await;
    let (pings, events) = (Scripted::new(Kind::Ping), Scripted::new(Kind::Event));
    let hear = |node: &Reporter| {
        node.hear(Arc::new(pings.clone()));
        node.hear(Arc::new(events.clone()));
    };
    for number in 0..250 {
        pings.find(at(number), at(number + 2), true, ping(number));
    }
    events.find(at(10), at(60), true, outage(50, true));
    let node = stage.node("state.sqlite").await;
    hear(&node);
    stage.clock.advance(Duration::from_secs(300));
    assert_eq!(node.collect().await.expect("collects"), 1, "the event is prompt");
    assert_eq!(node.collect().await.expect("collects"), 0);
    // The power goes before anything is sent, and again when the hub has it and the answer is lost.
    drop(node);
    let node = stage.node("state.sqlite").await;
    hear(&node);
    events.find(at(10), at(310), true, outage(300, false));
    assert_eq!(node.collect().await.expect("collects"), 1);
    stage.script.trouble.lose_answers.store(1, Ordering::Relaxed);
    assert_eq!(node.flush().await.expect("tries").waiting, 252);
    drop(node);
    let node = stage.node("state.sqlite").await;
    hear(&node);
    node.collect().await.expect("collects");
    node.report_now().await.expect("reports");
    let flushed = node.flush().await.expect("sends");
    assert_eq!((flushed.delivered, flushed.waiting, flushed.parked), (253, 0, 0));
    assert_eq!(stage.at_hub().await, 253, "each once");
    let outages = stage.ask("/api/v1/schools/aksukent-7/outages").await;
    let outages = outages.as_array().or(outages["outages"].as_array()).expect("a list").clone();
    assert_eq!(outages.len(), 1, "{outages:?}");
    assert_eq!((outages[0]["seconds"].as_u64(), outages[0]["open"].as_bool()), (Some(300), Some(false)));
    // Hours reach where hours reach, whatever tests and pings say.
    assert_eq!(node.0.state.outbox().ended().await.expect("reads"), Some(stage.clock.now()));
}

#[tokio::test]
async fn one_that_may_not_leave_keeps_nobody_else_here_and_a_source_that_fails_neither() {
    let stage = Stage::new();
    let node = stage.node("state.sqlite").await;
    let (pings, events, tests) = (Scripted::new(Kind::Ping), Scripted::new(Kind::Event), Scripted::new(Kind::Test));
    for source in [&pings, &events, &tests] {
        node.hear(Arc::new(source.clone()));
    }
    pings.find(at(0), at(2), true, json!({"ping": {"server": "10.0.0.7"}}));
    pings.find(at(2), at(4), true, ping(1));
    events.find(at(9), at(4), true, outage(1, false));
    events.find(at(9), at(10), true, json!({"event": {"what": "www.example.kz"}}));
    tests.find(at(0), at(9), true, json!({"test": {"end": "ok"}}));
    tests.fails.store(true, Ordering::Relaxed);
    node.collect().await.expect("collects");
    let kinds = |waiting: &[Value]| waiting.iter().map(|record| record["kind"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>();
    let waiting = Stage::waiting(&node).await;
    assert_eq!(kinds(&waiting), ["ping", "event"]);
    assert_eq!(waiting[1]["start"], waiting[1]["end"], "nothing ends before it begins");
    tests.fails.store(false, Ordering::Relaxed);
    node.collect().await.expect("collects");
    assert_eq!(kinds(&Stage::waiting(&node).await), ["ping", "event", "speedtest"]);
}

#[tokio::test]
async fn a_restored_box_numbers_records_of_every_kind_anew() {
    let mut stage = Stage::new();
    let node = stage.node("state.sqlite").await;
    let key = node.status().await.key;
    stage.hub(&key).await;
    let node = stage.node("state.sqlite").await;
    node.report_now().await.expect("reports");
    assert_eq!(node.flush().await.expect("sends").delivered, 1);
    node.0.state.close().await;
    std::fs::copy(stage.path("state.sqlite"), stage.path("copy.sqlite")).expect("copied");
    let node = stage.node("state.sqlite").await;
    stage.clock.advance(Duration::from_secs(3_600));
    node.report_now().await.expect("reports");
    assert_eq!(node.flush().await.expect("sends").delivered, 1);
    let node = stage.node("copy.sqlite").await;
    let pings = Scripted::new(Kind::Ping);
    node.hear(Arc::new(pings.clone()));
    pings.find(at(1), at(2), true, ping(1));
    pings.find(at(3), at(4), true, ping(2));
    stage.clock.advance(Duration::from_secs(3_600));
    node.collect().await.expect("collects");
    node.report_now().await.expect("reports");
    let flushed = node.flush().await.expect("sends");
    assert_eq!((flushed.delivered, flushed.parked, flushed.waiting), (3, 0, 0), "number 2 was used, and goes by a new name");
    assert_eq!(stage.at_hub().await, 5);
    assert!(node.status().await.outbox.epoch > NOW.secs());
}

#[tokio::test]
async fn what_a_wrong_clock_has_dated_is_dated_anew_unless_it_was_sent() {
    let mut stage = Stage::new();
    let node = stage.node("state.sqlite").await;
    let key = node.status().await.key;
    stage.hub(&key).await;
    node.report_now().await.expect("reports");
    // The power goes for an hour; the battery is flat.
    stage.clock = Clock::manual(Time::from_secs(60));
    let node = stage.node("state.sqlite").await;
    let pings = Scripted::new(Kind::Ping);
    node.hear(Arc::new(pings.clone()));
    stage.clock.advance(Duration::from_secs(120));
    pings.find(at(100), at(102), false, ping(1));
    assert!(stage.clock.now() > at(102) && !stage.clock.trusted());
    node.report_now().await.expect("reports");
    node.collect().await.expect("collects");
    // One is found and not collected, one ends when the clock is right.
    stage.clock.advance(Duration::from_secs(60));
    pings.find(at(150), at(152), false, ping(2));
    stage.clock.jump(at(3_600 + 180).micros() - Time::from_secs(60 + 180).micros());
    assert_eq!((stage.clock.now(), stage.clock.trusted()), (at(3_780), true));
    pings.find(at(3_779), at(3_780), false, ping(3));
    node.collect().await.expect("collects");
    let told = |record: &Value| {
        (record["start"].as_str().map(str::to_owned), record["end"].as_str().map(str::to_owned), record["clock_ok"].as_bool())
    };
    let wanted = |start: u64, end: u64| (Some(at(start).to_rfc3339()), Some(at(end).to_rfc3339()), Some(true));
    let waiting = Stage::waiting(&node).await;
    let all: Vec<_> = waiting.iter().map(told).collect();
    assert_eq!(all, [wanted(0, 0), wanted(0, 3_720), wanted(3_700, 3_702), wanted(3_750, 3_752), wanted(3_779, 3_780)]);
    let line = &waiting[1]["payload"]["line"];
    assert_eq!(
        (line["clock_seconds"].as_u64(), line["off_seconds"].as_u64()),
        (Some(120), Some(3_600)),
        "an hour off, two minutes undated"
    );
    // The next hour begins where that one ends now.
    node.report_now().await.expect("reports");
    let last = Stage::waiting(&node).await.pop().expect("an hour");
    assert_eq!(told(&last), wanted(3_720, 3_780));
    assert_eq!(node.flush().await.expect("sends").delivered, 6);
    assert_eq!(stage.at_hub().await, 6);
}

#[tokio::test]
async fn what_the_hub_may_have_is_not_dated_anew() {
    let mut stage = Stage::new();
    let node = stage.node("state.sqlite").await;
    let key = node.status().await.key;
    stage.hub(&key).await;
    node.report_now().await.expect("reports");
    stage.clock = Clock::manual(Time::from_secs(60));
    let node = stage.node("state.sqlite").await;
    stage.clock.advance(Duration::from_secs(120));
    node.report_now().await.expect("reports");
    stage.script.trouble.lose_answers.store(1, Ordering::Relaxed);
    node.flush().await.expect("tries");
    stage.clock.jump(at(3_600).micros());
    node.collect().await.expect("collects");
    assert_eq!(Stage::waiting(&node).await[1]["clock_ok"], false);
    assert_eq!(node.flush().await.expect("sends").delivered, 2);
    assert_eq!(stage.at_hub().await, 2);
}

#[tokio::test]
async fn a_backlog_gives_way_to_a_class_and_what_is_little_does_not() {
    let mut stage = Stage::new();
    let node = stage.node("state.sqlite").await;
    let key = node.status().await.key;
    stage.hub(&key).await;
    let node = stage.node("state.sqlite").await;
    let (pings, tests) = (Scripted::new(Kind::Ping), Scripted::new(Kind::Test));
    node.hear(Arc::new(pings.clone()));
    node.hear(Arc::new(tests.clone()));
    stage.script.busy.store(true, Ordering::Relaxed);
    let uploads = || stage.script.trouble.uploads.load(Ordering::Relaxed);
    let step = async || {
        stage.clock.advance(Duration::from_secs(301));
        worker::step(&node).await.expect("works")
    };
    step().await;
    tests.find(at(1), at(9), true, json!({"test": {"end": "ok"}}));
    step().await;
    assert_eq!(uploads(), 1, "a test's record leaves at once, whoever uses the line");
    // Until one finds that nothing is left; an hour may come in between.
    let rest = async || {
        let mut before = uploads();
        loop {
            step().await;
            if uploads() == before {
                break;
            }
            before = uploads();
        }
    };
    rest().await;
    loop {
        pings.find(at(1), at(2), true, ping(1));
        let (before, seq) = (uploads(), node.status().await.outbox.seq);
        step().await;
        if node.status().await.outbox.seq == seq + 1 {
            assert_eq!(uploads(), before, "a ping waits for the hour");
            break;
        }
        // An hour came with it and took it along.
        rest().await;
    }
    for number in 0..2_000 {
        pings.find(at(number + 10), at(number + 11), true, ping(number));
    }
    tests.find(at(1), at(10), true, json!({"test": {"end": "ok"}}));
    let before = uploads();
    for _ in 0..20 {
        assert!(step().await <= Duration::from_secs(10), "it looks again soon");
    }
    assert_eq!((uploads(), node.0.put_off.get()), (before, 20), "a class uses the line");
    stage.script.busy.store(false, Ordering::Relaxed);
    let mut rounds = 0;
    while node.status().await.outbox.waiting > 0 {
        step().await;
        rounds += 1;
        assert_eq!(uploads(), before + rounds, "one upload a round: hours and heartbeats are not held up");
    }
    assert!((3..10).contains(&rounds), "{rounds} uploads of at most 256 KiB");
}

#[tokio::test]
async fn a_finding_wakes_the_round() {
    let mut stage = Stage::new();
    let key = stage.node("state.sqlite").await.status().await.key;
    stage.hub(&key).await;
    let node = stage.node("state.sqlite").await;
    node.0.memory.lock().not_before = Some(stage.clock.steady());
    let mut round = worker::Round { reporter: node.clone(), life: Life::default() };
    let life = stage.life.clone();
    life.spawn(async move { while crate::life::Worker::work(&mut round).await.is_ok() {} });
    let tests = Scripted::new(Kind::Test);
    node.hear(Arc::new(tests.clone()));
    // The clock stands still: no pause ever ends by itself within this test's life.
    let delivered = async |wanted: u64| {
        while node.status().await.outbox.delivered < wanted {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    for wanted in 1..4 {
        tests.find(at(wanted), at(wanted + 1), true, json!({"test": {"end": "ok"}}));
        tokio::time::timeout(Duration::from_secs(60), delivered(wanted)).await.expect("soon");
    }
}
