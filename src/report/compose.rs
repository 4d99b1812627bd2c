//! What the parts say -> one record. Pure: figures and times come in as arguments.
//!
//! Counters are reported twice: what was added since the last record, and the total since the node's start, so that a lost record
//! costs detail and no sum. Every record is held against [`schema`](crate::report::schema) before it is signed.

use crate::base::clock::Time;
use crate::cache::Tally;
use crate::link;
use crate::link::passive::Passive;
use crate::link::rollup::Rollup;
use crate::report::schema;
use crate::store::Stat;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Version of the layout.
pub const VERSION: u32 = 1;

/// The frame around a payload: an hour's, or another kind's as the source has it ([`crate::report::source`]).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record<P = Payload> {
    /// Layout.
    pub v: u32,
    /// As the administrator wrote it; absent when not set.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub school: Option<String>,
    /// From the public key.
    pub node: String,
    /// Random per start.
    pub boot_id: String,
    /// With `seq` and `node`: names the record.
    pub epoch: i64,
    /// See `epoch`.
    pub seq: i64,
    /// One of [`schema::KINDS`].
    pub kind: String,
    /// From (RFC 3339).
    pub start: String,
    /// Until (RFC 3339).
    pub end: String,
    /// Whether the clock could be believed.
    pub clock_ok: bool,
    /// What it tells.
    pub payload: P,
}

/// Everything that an hour tells.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Payload {
    /// The line.
    pub line: Line,
    /// The cache since the last record.
    pub cache: Cache,
    /// The cache since the node's start.
    pub total: Cache,
    /// The store now.
    pub store: Store,
    /// The night's work.
    pub night: Night,
    /// The node itself.
    pub health: Health,
}

/// The line over the record's time; names and units as in [`Rollup`].
#[expect(missing_docs, reason = "told by schema::FIELDS, line by line")]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Line {
    pub state: String,
    pub up_seconds: u64,
    pub slow_seconds: u64,
    pub down_seconds: u64,
    pub no_data_seconds: u64,
    pub off_seconds: u64,
    pub clock_seconds: u64,
    pub rx_bytes: u64,
    pub tx_bytes: u64,
    pub background_rx_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_min_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_median_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_p95_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte_median_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub download_p95_bps: Option<u64>,
    pub attempts: u64,
    pub failures: u64,
    #[serde(flatten)]
    pub passive: Passive,
}

/// Requests and bytes to clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// Requests.
    pub requests: u64,
    /// Body bytes to clients.
    pub bytes: u64,
}

/// The cache's figures by way and outcome, never as one ratio.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cache {
    /// way -> outcome -> use.
    pub by_way: BTreeMap<String, BTreeMap<String, Use>>,
    /// Requests that read along with another's fetch.
    pub collapsed: u64,
    /// Body bytes from origins.
    pub upstream_bytes: u64,
}

/// The store now; names and units as in [`Stat`].
#[expect(missing_docs, reason = "told by schema::FIELDS, line by line")]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Store {
    pub objects: u64,
    pub entries: u64,
    pub pinned_entries: u64,
    pub object_bytes: u64,
    pub disk_bytes: u64,
    pub quota_bytes: u64,
    pub spared_dedup_bytes: u64,
    pub spared_zstd_bytes: u64,
    pub damaged: u64,
    pub admitting: bool,
    pub writable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<String>,
}

/// The night's work: how far the packs in force are, all together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Night {
    /// Wishes that are through, one way or another.
    pub done: u64,
    /// Of these, failed.
    pub failed: u64,
    /// Wishes still open.
    pub waiting: u64,
    /// Bytes over the line since the node's start.
    pub bytes: u64,
    /// Bytes over the line in four weeks.
    pub brought_bytes: u64,
    /// Of these, for what a device has used since.
    pub used_bytes: u64,
    /// The last night that is complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<LastNight>,
}

/// What the last night brought, in counts and bytes; which packs and hosts that was stays here.
#[expect(missing_docs, reason = "told by schema::FIELDS, line by line")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LastNight {
    pub packs: u64,
    pub packs_complete: u64,
    pub new: u64,
    pub changed: u64,
    pub unchanged: u64,
    pub failed: u64,
    pub gone: u64,
    pub refused: u64,
    pub left_out: u64,
    pub left: u64,
    pub line_bytes: u64,
    pub body_bytes: u64,
    pub busy_seconds: u64,
    pub power_cuts: u64,
}

/// The node itself.
#[expect(missing_docs, reason = "told by schema::FIELDS, line by line")]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    pub version: String,
    pub uptime_seconds: u64,
    pub outbox_records: u64,
    pub outbox_dropped: u64,
    pub outbox_parked: u64,
}

/// What the parts say at one moment.
#[derive(Clone, Debug)]
pub struct Figures {
    /// The cache since the node's start.
    pub tally: Tally,
    /// The line's verdict.
    pub state: link::State,
    /// The store.
    pub stat: Stat,
    /// The night.
    pub night: Night,
}

/// Who reports, and what every record of this start has in common.
#[derive(Clone, Debug)]
pub struct Who {
    /// School, `None` when not configured.
    pub school: Option<String>,
    /// Node id.
    pub node: String,
    /// Random per start.
    pub boot_id: String,
}

/// The payload of an hour.
pub fn hour(figures: &Figures, before: &Cache, line: &Rollup, health: Health) -> Payload {
    let total = cache(&figures.tally);
    Payload {
        line: Line {
            state: word(figures.state).into(),
            up_seconds: line.up_seconds,
            slow_seconds: line.slow_seconds,
            down_seconds: line.down_seconds,
            no_data_seconds: line.no_data_seconds,
            off_seconds: line.off_seconds,
            clock_seconds: line.clock_seconds,
            rx_bytes: line.rx_bytes,
            tx_bytes: line.tx_bytes,
            background_rx_bytes: line.background_rx_bytes,
            rtt_min_ms: line.rtt_min_ms,
            rtt_median_ms: line.rtt_median_ms,
            rtt_p95_ms: line.rtt_p95_ms,
            first_byte_median_ms: line.first_byte_median_ms,
            download_p95_bps: line.download_p95_bps,
            attempts: line.attempts,
            failures: line.failures,
            passive: line.passive.clone(),
        },
        cache: since(&total, before),
        total,
        store: store(&figures.stat),
        night: figures.night.clone(),
        health,
    }
}

/// The frame around a payload.
pub fn record<P>(who: &Who, kind: &str, name: (i64, i64), span: (Time, Time), clock_ok: bool, payload: P) -> Record<P> {
    Record {
        v: VERSION,
        school: who.school.clone(),
        node: who.node.clone(),
        boot_id: who.boot_id.clone(),
        epoch: name.0,
        seq: name.1,
        kind: kind.into(),
        start: span.0.to_rfc3339(),
        end: span.1.to_rfc3339(),
        clock_ok,
        payload,
    }
}

/// The record's bytes, once it is sure that nothing outside the list is in it.
///
/// # Errors
/// The complaints, joined.
pub fn bytes<P: Serialize>(record: &Record<P>) -> Result<Vec<u8>, String> {
    let value = serde_json::to_value(record).map_err(|error| error.to_string())?;
    let complaints = schema::complaints(&value);
    if complaints.is_empty() { serde_json::to_vec(record).map_err(|error| error.to_string()) } else { Err(complaints.join(", ")) }
}

/// By how much a clock was wrong, once that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shift {
    /// What it said when the node started.
    pub begun: Time,
    /// What it would say now.
    pub until: Time,
    /// By so much it ran behind.
    pub by: Duration,
}

impl Shift {
    /// The right moment for one that this clock has dated. What lies outside its time was dated by a right one.
    pub fn right(&self, moment: Time) -> Time {
        if moment > self.begun && moment <= self.until { moment.plus(self.by) } else { moment }
    }

    /// Dates a record of this start of the node anew. An hour that began before the start is longer than it thought: meanwhile the box
    /// was off.
    pub fn redate(&self, record: &mut Record<Value>) -> bool {
        let (Some(start), Some(end)) = (moment(&record.start), moment(&record.end)) else { return false };
        let right = (self.right(start), self.right(end));
        if record.clock_ok || right.0 > right.1 {
            return false;
        }
        let longer = right.1.since(right.0).saturating_sub(end.since(start)).as_secs();
        if let Some(off) = record.payload.pointer_mut("/line/off_seconds") {
            *off = off.as_u64().unwrap_or_default().saturating_add(longer).into();
        }
        (record.start, record.end, record.clock_ok) = (right.0.to_rfc3339(), right.1.to_rfc3339(), true);
        true
    }
}

fn moment(text: &str) -> Option<Time> {
    text.parse::<jiff::Timestamp>().ok().map(|stamp| Time::from_micros(stamp.as_microsecond()))
}

/// The cache's figures in the report's words. Ways and outcomes that the list does not know stay here.
pub fn cache(tally: &Tally) -> Cache {
    let by_way = tally
        .by_way
        .iter()
        .filter(|(way, _)| schema::WAYS.contains(&way.as_str()))
        .map(|(way, outcomes)| {
            let known = outcomes.iter().filter(|(outcome, _)| schema::OUTCOMES.contains(&outcome.as_str()));
            (way.clone(), known.map(|(outcome, (requests, bytes))| (outcome.clone(), Use { requests: *requests, bytes: *bytes })).collect())
        })
        .collect();
    Cache { by_way, collapsed: tally.collapsed, upstream_bytes: tally.upstream_bytes }
}

/// What was added since `before`. A counter that went back began anew.
fn since(now: &Cache, before: &Cache) -> Cache {
    let step = |now: u64, before: u64| now.checked_sub(before).unwrap_or(now);
    let none = Use::default();
    let by_way = now
        .by_way
        .iter()
        .map(|(way, outcomes)| {
            let steps = outcomes.iter().map(|(outcome, now)| {
                let before = before.by_way.get(way).and_then(|outcomes| outcomes.get(outcome)).unwrap_or(&none);
                (outcome.clone(), Use { requests: step(now.requests, before.requests), bytes: step(now.bytes, before.bytes) })
            });
            (way.clone(), steps.collect())
        })
        .collect();
    Cache { by_way, collapsed: step(now.collapsed, before.collapsed), upstream_bytes: step(now.upstream_bytes, before.upstream_bytes) }
}

fn store(stat: &Stat) -> Store {
    Store {
        objects: stat.objects,
        entries: stat.entries,
        pinned_entries: stat.pinned_entries,
        object_bytes: stat.object_bytes,
        disk_bytes: stat.disk_bytes,
        quota_bytes: stat.quota_bytes,
        spared_dedup_bytes: stat.spared_dedup_bytes,
        spared_zstd_bytes: stat.spared_zstd_bytes,
        damaged: stat.damaged,
        admitting: stat.admitting,
        writable: stat.writable,
        index: ["ready", "rebuilding", "off"].contains(&stat.index.as_str()).then(|| stat.index.clone()),
    }
}

fn word(state: link::State) -> &'static str {
    match state {
        link::State::Unknown => "unknown",
        link::State::Up => "up",
        link::State::Slow => "slow",
        link::State::Down => "down",
    }
}

/// When the next record is due: hourly (or `every`) at this node's own moment, so that schools do not all call at once.
pub fn next_slot(node: &str, every: Duration, after: Time) -> Time {
    let every = i64::try_from(every.as_micros()).unwrap_or(i64::MAX).max(1);
    let offset = blake3::hash(node.as_bytes()).as_bytes()[..8].iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    let offset = i64::try_from(offset % every.unsigned_abs()).unwrap_or(0);
    let slot = (after.micros() - offset).div_euclid(every).saturating_add(1);
    Time::from_micros(slot.saturating_mul(every).saturating_add(offset))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;

    const START: Time = Time::from_secs(1_795_478_400);

    /// Every field filled in, and some that must stay here.
    pub(crate) fn full() -> Figures {
        let outcomes = |extra: &str| -> BTreeMap<String, (u64, u64)> {
            schema::OUTCOMES.iter().map(|word| (String::from(*word), (10, 1_000))).chain([(extra.to_owned(), (1, 1))]).collect()
        };
        let by_way = schema::WAYS
            .iter()
            .map(|way| (String::from(*way), outcomes("secret.example.kz")))
            .chain([("10.0.0.7".to_owned(), outcomes("x"))]);
        Figures {
            tally: Tally { by_way: by_way.collect(), collapsed: 4, upstream_bytes: 5 },
            state: link::State::Up,
            stat: Stat { objects: 1, index: "http://secret.example.kz/".into(), ..Stat::default() },
            night: Night { done: 1, failed: 3, waiting: 4, bytes: 5, brought_bytes: 7, used_bytes: 6, last: Some(LastNight::default()) },
        }
    }

    fn filled() -> Record {
        let line = Rollup {
            rtt_min_ms: Some(1.0),
            rtt_median_ms: Some(1.0),
            rtt_p95_ms: Some(1.0),
            first_byte_median_ms: Some(1.0),
            download_p95_bps: Some(1),
            passive: crate::link::passive::tests::full(),
            ..Rollup::default()
        };
        let mut figures = full();
        figures.stat.index = "ready".into();
        let payload = hour(&figures, &Cache::default(), &line, Health { version: "0.1.0".into(), ..Health::default() });
        let who = Who { school: Some("aksukent-7".into()), node: "0".repeat(32), boot_id: "0".repeat(32) };
        record(&who, "hour", (1, 2), (START, START.plus(Duration::from_secs(3_600))), true, payload)
    }

    #[test]
    fn a_record_with_every_field_filled_passes_and_uses_the_whole_list() {
        let record = filled();
        let bytes = bytes(&record).expect("nothing outside the list");
        let text = String::from_utf8(bytes).expect("UTF-8");
        assert!(!text.contains("secret") && !text.contains("10.0.0.7"), "{text}");
        let value: Value = serde_json::from_str(&text).expect("JSON");
        // Tests, pings and events are records of their own.
        let others = ["payload.test.", "payload.ping.", "payload.event."];
        for field in schema::FIELDS.iter().filter(|field| !others.iter().any(|other| field.path.starts_with(other))) {
            let pointer = format!(
                "/{}",
                field.path.replace("{way}", "mirror").replace("{cache}", "offline").replace("{reach}", "foreign").replace('.', "/")
            );
            assert!(value.pointer(&pointer).is_some(), "{} is on the list and never sent", field.path);
        }
        assert_eq!(serde_json::from_str::<Record>(&text).expect("reads back"), record);
    }

    #[test]
    fn a_field_outside_the_list_stops_the_record() {
        let mut record = filled();
        record.payload.cache.by_way.insert("www.example.kz".into(), [("hit".to_owned(), Use::default())].into());
        assert!(bytes(&record).is_err());
        let mut record = filled();
        record.school = Some("https://school.example.kz/".into());
        assert!(bytes(&record).is_err());
    }

    #[test]
    fn words_that_are_not_ours_stay_out() {
        let payload = hour(&full(), &Cache::default(), &Rollup::default(), Health::default());
        assert_eq!(payload.store.index, None);
        assert_eq!(payload.cache.by_way.keys().map(String::as_str).collect::<Vec<_>>(), ["http", "intercept", "mirror"]);
    }

    #[test]
    fn counters_are_told_as_steps_and_totals() {
        let figures = full();
        let mut before = cache(&figures.tally);
        before.collapsed = 1;
        before.upstream_bytes = 9;
        before.by_way.get_mut("http").expect("there").insert("hit".into(), Use { requests: 4, bytes: 900 });
        let payload = hour(&figures, &before, &Rollup::default(), Health::default());
        assert_eq!(payload.cache.by_way["http"]["hit"], Use { requests: 6, bytes: 100 });
        assert_eq!(payload.cache.by_way["http"]["miss"], Use::default());
        assert_eq!((payload.cache.collapsed, payload.cache.upstream_bytes), (3, 5), "a counter that went back began anew");
        assert_eq!(payload.total.by_way["http"]["hit"], Use { requests: 10, bytes: 1_000 });
    }

    #[test]
    fn what_a_wrong_clock_has_dated_is_dated_anew() {
        let at = |minutes: u64| START.plus(Duration::from_secs(60 * minutes));
        // The clock stood at minute 0 when the node started, and would stand at 10 when it was set on by 50.
        let shift = Shift { begun: at(0), until: at(10), by: Duration::from_secs(3_000) };
        let who = Who { school: None, node: "0".repeat(32), boot_id: "0".repeat(32) };
        let table = [
            ("ping", (1, 2), false, Some((51, 52))),
            ("ping", (1, 2), true, None),
            // It ran on beyond the moment when the clock was set, and was dated by its end.
            ("speedtest", (55, 61), false, Some((55, 61))),
            // From the last record before the box lost its power.
            ("hour", (0, 10), false, Some((0, 60))),
            ("event", (9, 70), false, Some((59, 70))),
        ];
        for (kind, (start, end), clock_ok, wanted) in table {
            let payload = json!({"line": {"off_seconds": 7}});
            let mut told = record(&who, kind, (1, 1), (at(start), at(end)), clock_ok, payload);
            assert_eq!(shift.redate(&mut told), wanted.is_some(), "{kind}");
            let (start, end) = wanted.unwrap_or((start, end));
            assert_eq!(
                (told.start.as_str(), told.end.as_str()),
                (at(start).to_rfc3339().as_str(), at(end).to_rfc3339().as_str()),
                "{kind}"
            );
            assert!(told.clock_ok);
            let off = if kind == "hour" { 7 + 3_000 } else { 7 };
            assert_eq!(told.payload["line"]["off_seconds"], off, "{kind}");
        }
        let mut torn = record(&who, "ping", (1, 1), (at(1), at(2)), false, json!({}));
        torn.end = "soon".into();
        assert!(!shift.redate(&mut torn));
    }

    #[test]
    fn each_node_has_its_own_minute_and_keeps_it() {
        let hour = Duration::from_secs(3_600);
        let mut offsets = std::collections::BTreeSet::new();
        for node in 0..38 {
            let node = format!("{node:032x}");
            let slot = next_slot(&node, hour, START);
            assert!(slot > START && slot <= START.plus(hour));
            assert_eq!(next_slot(&node, hour, slot), slot.plus(hour));
            offsets.insert(slot.since(START).as_secs() / 60);
        }
        assert!(offsets.len() > 20, "38 schools spread over the hour: {offsets:?}");
    }
}
