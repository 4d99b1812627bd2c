//! What is kept and told of a test. Pure. The names of [`Test`] are exactly those of `payload.test.*` in the report's schema: a test
//! holds each against the other.

pub use crate::link::reach::Reach;

use crate::base::clock::Time;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// Why a test ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// One of the day's slots.
    Daily,
    /// The node has started.
    Startup,
    /// A person asked.
    Manual,
}

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = TestEnd)]
pub enum End {
    /// Whole.
    Ok,
    /// Cut short, with a figure.
    Partial,
    /// Without a figure.
    Failed,
    /// Nothing was sent since the budget is used up: the figure is what real fetches have shown.
    Passive,
}

/// Why there is no figure, or a partial one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// There was none.
    #[default]
    None,
    /// Nothing gets through.
    Line,
    /// The server's name is not known, or no DNS server answers.
    Name,
    /// The server refused.
    Refused,
    /// The server has no room now.
    BusyServer,
    /// The server speaks something else.
    Protocol,
    /// The server fell silent.
    Stalled,
    /// The node has no file, socket or memory free.
    Exhausted,
    /// The node's clock cannot be trusted.
    Clock,
    /// The bytes that tests may take were used up.
    Budget,
    /// A person ended it.
    Cancelled,
}

/// How an estimate of capacity came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// One stream.
    Ndt7,
    /// Several.
    Streams,
    /// One stream whose sender has BBR, which takes no loss for a full line.
    Bbr,
    /// What real fetches have shown.
    Passive,
}

/// Whose congestion control sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Congestion {
    /// CUBIC.
    Cubic,
    /// BBR.
    Bbr,
    /// Another one, or it is not known.
    #[default]
    Other,
}

/// One direction's figures. What is not known is absent, never 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = TestFigures)]
pub struct Figures {
    /// One stream, comparable with everybody's: bytes by time over the whole of it, payload, bit/s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ndt7_bps: Option<u64>,
    /// Capacity of the line, bits of IP packets a second, what others moved meanwhile included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate_bps: Option<u64>,
    /// How sure that is: 95 of 100 such intervals hold the mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low_bps: Option<u64>,
    /// See `low_bps`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high_bps: Option<u64>,
    /// How the estimate came about.
    pub method: Method,
    /// Who sent.
    pub congestion: Congestion,
    /// Connections at once.
    pub streams: u64,
    /// Ended early because the figure had settled.
    pub early: bool,
    /// Length, milliseconds.
    pub took_ms: f64,
    /// What it moved.
    pub moved_bytes: u64,
    /// Latency, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_min_ms: Option<f64>,
    /// Latency while the line is full, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_loaded_ms: Option<f64>,
    /// Sent again, of what was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retransmitted_ratio: Option<f64>,
}

/// A test as it is told to others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = SpeedTest)]
pub struct Test {
    /// Finds the same test in the server's log.
    pub id: String,
    /// Why it ran.
    pub trigger: Trigger,
    /// How it ended.
    pub end: End,
    /// Why there is no figure, or a partial one.
    pub trouble: Trouble,
    /// Where its server is.
    pub reach: Reach,
    /// A class used the line meanwhile.
    pub busy: bool,
    /// What others received meanwhile.
    pub cross_rx_bytes: u64,
    /// What others sent meanwhile.
    pub cross_tx_bytes: u64,
    /// What the test took from the line.
    pub cost_bytes: u64,
    /// What tests may still take today.
    pub left_today_bytes: u64,
    /// Towards the school.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub download: Option<Figures>,
    /// Towards the world.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload: Option<Figures>,
}

/// A test as it is kept on the node: with what stays here, and what adapters need word by word.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = KeptTest)]
pub struct Kept {
    /// Counts up from 1 on this node; 0 before it is kept.
    pub number: i64,
    /// When it began.
    #[schema(value_type = String)]
    #[serde(with = "moment")]
    pub start: Time,
    /// When it was over.
    #[schema(value_type = String)]
    #[serde(with = "moment")]
    pub finish: Time,
    /// Whether these can be believed.
    pub clock_ok: bool,
    /// Its server as the configuration names it. Does not leave the school.
    pub server: String,
    /// The figures.
    pub test: Test,
    /// The last measurement messages of either side by direction, word by word (protocols.md section 2 wants them), without addresses.
    #[schema(value_type = Object)]
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub raw: Value,
}

impl Trouble {
    /// What it means and what helps, for people.
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Trouble::None => ("nothing was wrong", ""),
            Trouble::Line => ("nothing gets through the line", "look at modem and cables, then ask the provider"),
            Trouble::Name => ("the server's name is not known", "look at meter.servers, and whether DNS works"),
            Trouble::Refused => ("the server refused", "look at meter.servers: is it a server of ndt7?"),
            Trouble::BusyServer => ("the server has no room for a test now", "it is tried again by itself"),
            Trouble::Protocol => ("the server does not speak ndt7", "look at meter.servers"),
            Trouble::Stalled => ("the server fell silent in the middle", "it is tried again by itself"),
            Trouble::Exhausted => ("the node has no connection free", "it is tried again by itself; if it stays so, look at its log"),
            Trouble::Clock => ("the node does not know what time it is", "let it reach a time server, or set the clock"),
            Trouble::Budget => ("the bytes that tests may take are used up", "wait for tomorrow, or raise meter.day"),
            Trouble::Cancelled => ("a person ended it", ""),
        }
    }

    /// Whether it is worth another try soon.
    pub fn may_pass(self) -> bool {
        !matches!(self, Trouble::None | Trouble::Clock | Trouble::Budget | Trouble::Cancelled)
    }
}

impl Test {
    /// A direction's estimate, bit/s.
    pub fn estimate(&self, upload: bool) -> Option<u64> {
        let figures = if upload { &self.upload } else { &self.download };
        figures.as_ref().and_then(|figures| figures.estimate_bps)
    }
}

/// Moments as RFC 3339, which is how documents and tables have them.
pub(in crate::meter) mod moment {
    use crate::base::clock::Time;
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    pub(in crate::meter) fn serialize<S: Serializer>(time: &Time, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&time.to_rfc3339())
    }

    pub(in crate::meter) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
        let text = String::deserialize(deserializer)?;
        let stamp: jiff::Timestamp = text.parse().map_err(serde::de::Error::custom)?;
        Ok(Time::from_micros(stamp.as_microsecond()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::schema::{FIELDS, complaints};
    use serde_json::json;

    /// A test with every field set.
    fn whole() -> Test {
        let figures = Figures {
            ndt7_bps: Some(7_700_000),
            estimate_bps: Some(8_010_000),
            low_bps: Some(7_900_000),
            high_bps: Some(8_120_000),
            method: Method::Bbr,
            congestion: Congestion::Bbr,
            streams: 1,
            early: true,
            took_ms: 2_400.5,
            moved_bytes: 2_300_000,
            rtt_min_ms: Some(41.2),
            rtt_loaded_ms: Some(180.0),
            retransmitted_ratio: Some(0.011),
        };
        Test {
            id: "0123abcd-0123-4abc-8abc-0123456789ab".into(),
            trigger: Trigger::Daily,
            end: End::Ok,
            trouble: Trouble::None,
            reach: Reach::Domestic,
            busy: false,
            cross_rx_bytes: 12_000,
            cross_tx_bytes: 900,
            cost_bytes: 2_900_000,
            left_today_bytes: 40_000_000,
            download: Some(figures.clone()),
            upload: Some(Figures { method: Method::Streams, congestion: Congestion::Cubic, ..figures }),
        }
    }

    #[test]
    fn what_is_told_has_exactly_the_names_of_the_schema() {
        let record = json!({ "payload": { "test": whole() } });
        assert_eq!(complaints(&record), Vec::<String>::new());
        for field in FIELDS.iter().filter_map(|field| field.path.strip_prefix("payload.test.")) {
            let path = field.replace("{direction}", "upload").replace('.', "/");
            assert!(!record.pointer(&format!("/payload/test/{path}")).unwrap_or(&Value::Null).is_null(), "{field} is never told");
        }
    }

    #[test]
    fn every_word_is_one_of_the_schemas() {
        let words = |value: Value| complaints(&json!({ "payload": { "test": value } }));
        for trouble in [
            Trouble::None,
            Trouble::Line,
            Trouble::Name,
            Trouble::Refused,
            Trouble::BusyServer,
            Trouble::Protocol,
            Trouble::Stalled,
            Trouble::Exhausted,
            Trouble::Clock,
            Trouble::Budget,
            Trouble::Cancelled,
        ] {
            assert!(words(json!({ "trouble": trouble })).is_empty(), "{trouble:?}");
        }
        for end in [End::Ok, End::Partial, End::Failed, End::Passive] {
            assert!(words(json!({ "end": end })).is_empty());
        }
        for trigger in [Trigger::Daily, Trigger::Startup, Trigger::Manual] {
            assert!(words(json!({ "trigger": trigger })).is_empty());
        }
        for reach in [Reach::Domestic, Reach::Foreign, Reach::Unknown] {
            assert!(words(json!({ "reach": reach })).is_empty());
        }
        for method in [Method::Ndt7, Method::Streams, Method::Bbr, Method::Passive] {
            assert!(words(json!({ "download": { "method": method } })).is_empty());
        }
        for congestion in [Congestion::Cubic, Congestion::Bbr, Congestion::Other] {
            assert!(words(json!({ "download": { "congestion": congestion } })).is_empty());
        }
        assert!(!words(json!({ "end": "great" })).is_empty());
    }

    #[test]
    fn a_kept_test_reads_back() {
        let kept = Kept {
            number: 7,
            start: Time::from_micros(1_800_000_000_123_456),
            finish: Time::from_secs(1_800_000_010),
            clock_ok: true,
            server: "wss://speed.example.kz".into(),
            test: whole(),
            raw: json!({ "download": { "server": { "Origin": "server" } } }),
        };
        let text = serde_json::to_string(&kept).expect("writes");
        assert!(text.contains("\"start\":\"2027-01-15T08:00:00.123456Z\""), "{text}");
        assert_eq!(serde_json::from_str::<Kept>(&text).expect("reads"), kept);
    }
}
