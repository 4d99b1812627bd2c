//! What the hub keeps in columns: hours, pings, tests, outages, and the day that is made of them. Pure.
//!
//! The lists of columns are what the statements of both databases are made from; a test holds them against the types. Every whole
//! number is at most 2^53, so that sums of ten thousand schools stay sums and JSON stays exact.

use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use utoipa::ToSchema;

/// Largest whole number that is kept: 9 PB, 285 million years.
pub const MOST: u64 = 1 << 53;

/// The line and the cache over some time. Seconds of all six kinds add up to the time that was reported.
#[expect(missing_docs, reason = "told by report::schema::FIELDS, line by line")]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, FromRow, ToSchema)]
pub struct Figures {
    pub up_seconds: i64,
    pub slow_seconds: i64,
    pub down_seconds: i64,
    pub no_data_seconds: i64,
    pub off_seconds: i64,
    pub clock_seconds: i64,
    pub rx_bytes: i64,
    pub tx_bytes: i64,
    pub background_rx_bytes: i64,
    pub upstream_bytes: i64,
    pub http_cached_bytes: i64,
    pub http_client_bytes: i64,
    pub mirror_cached_bytes: i64,
    pub mirror_client_bytes: i64,
    pub intercept_cached_bytes: i64,
    pub intercept_client_bytes: i64,
    pub attempts: i64,
    pub failures: i64,
    pub rtt_min_ms: Option<f64>,
    pub rtt_median_ms: Option<f64>,
    pub rtt_p95_ms: Option<f64>,
    pub loaded_rtt_median_ms: Option<f64>,
    pub first_byte_median_ms: Option<f64>,
    pub name_median_ms: Option<f64>,
    pub tls_median_ms: Option<f64>,
    pub retransmitted_ratio: Option<f64>,
    pub download_p95_bps: Option<i64>,
    pub upload_p95_bps: Option<i64>,
    pub domestic_rtt_ms: Option<f64>,
    pub domestic_bps: Option<i64>,
    pub foreign_rtt_ms: Option<f64>,
    pub foreign_bps: Option<i64>,
}

/// Names of [`Figures`].
pub const FIGURES: &[&str] = &[
    "up_seconds",
    "slow_seconds",
    "down_seconds",
    "no_data_seconds",
    "off_seconds",
    "clock_seconds",
    "rx_bytes",
    "tx_bytes",
    "background_rx_bytes",
    "upstream_bytes",
    "http_cached_bytes",
    "http_client_bytes",
    "mirror_cached_bytes",
    "mirror_client_bytes",
    "intercept_cached_bytes",
    "intercept_client_bytes",
    "attempts",
    "failures",
    "rtt_min_ms",
    "rtt_median_ms",
    "rtt_p95_ms",
    "loaded_rtt_median_ms",
    "first_byte_median_ms",
    "name_median_ms",
    "tls_median_ms",
    "retransmitted_ratio",
    "download_p95_bps",
    "upload_p95_bps",
    "domestic_rtt_ms",
    "domestic_bps",
    "foreign_rtt_ms",
    "foreign_bps",
];

/// One record of an hour. Times in µs since 1970.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, FromRow)]
pub struct Hour {
    /// Whose.
    pub node: String,
    /// From.
    pub started: i64,
    /// Until.
    pub ended: i64,
    /// Its school.
    pub school: String,
    /// What it tells.
    #[serde(flatten)]
    #[sqlx(flatten)]
    pub figures: Figures,
}

/// Names of [`Hour`] without those of its figures.
pub const HOUR: &[&str] = &["node", "started", "ended", "school"];

/// One burst of pings.
#[expect(missing_docs, reason = "told by report::schema::FIELDS, line by line")]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, FromRow)]
pub struct Ping {
    pub node: String,
    pub started: i64,
    pub school: String,
    pub reach: String,
    pub sent: i64,
    pub received: i64,
    pub late: i64,
    pub doubled: i64,
    pub rtt_min_ms: Option<f64>,
    pub rtt_median_ms: Option<f64>,
    pub rtt_p95_ms: Option<f64>,
    pub jitter_ms: Option<f64>,
}

/// Names of [`Ping`].
pub const PING: &[&str] = &[
    "node",
    "started",
    "school",
    "reach",
    "sent",
    "received",
    "late",
    "doubled",
    "rtt_min_ms",
    "rtt_median_ms",
    "rtt_p95_ms",
    "jitter_ms",
];

/// One speed test.
#[expect(missing_docs, reason = "told by report::schema::FIELDS, line by line")]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, FromRow, ToSchema)]
#[schema(as = Test)]
pub struct Test {
    pub node: String,
    pub epoch: i64,
    pub seq: i64,
    pub school: String,
    pub started: i64,
    pub ended: i64,
    pub clock_ok: bool,
    pub id: Option<String>,
    pub cause: Option<String>,
    pub outcome: Option<String>,
    pub trouble: Option<String>,
    pub reach: Option<String>,
    pub busy: bool,
    pub cross_rx_bytes: Option<i64>,
    pub cross_tx_bytes: Option<i64>,
    pub cost_bytes: Option<i64>,
    pub download_ndt7_bps: Option<i64>,
    pub download_bps: Option<i64>,
    pub download_low_bps: Option<i64>,
    pub download_high_bps: Option<i64>,
    pub download_method: Option<String>,
    pub download_streams: Option<i64>,
    pub download_early: Option<bool>,
    pub download_took_ms: Option<f64>,
    pub download_moved_bytes: Option<i64>,
    pub download_rtt_min_ms: Option<f64>,
    pub download_rtt_loaded_ms: Option<f64>,
    pub download_retransmitted_ratio: Option<f64>,
    pub upload_ndt7_bps: Option<i64>,
    pub upload_bps: Option<i64>,
    pub upload_low_bps: Option<i64>,
    pub upload_high_bps: Option<i64>,
    pub upload_method: Option<String>,
    pub upload_streams: Option<i64>,
    pub upload_early: Option<bool>,
    pub upload_took_ms: Option<f64>,
    pub upload_moved_bytes: Option<i64>,
    pub upload_rtt_min_ms: Option<f64>,
    pub upload_rtt_loaded_ms: Option<f64>,
    pub upload_retransmitted_ratio: Option<f64>,
}

/// Names of [`Test`].
pub const TEST: &[&str] = &[
    "node",
    "epoch",
    "seq",
    "school",
    "started",
    "ended",
    "clock_ok",
    "id",
    "cause",
    "outcome",
    "trouble",
    "reach",
    "busy",
    "cross_rx_bytes",
    "cross_tx_bytes",
    "cost_bytes",
    "download_ndt7_bps",
    "download_bps",
    "download_low_bps",
    "download_high_bps",
    "download_method",
    "download_streams",
    "download_early",
    "download_took_ms",
    "download_moved_bytes",
    "download_rtt_min_ms",
    "download_rtt_loaded_ms",
    "download_retransmitted_ratio",
    "upload_ndt7_bps",
    "upload_bps",
    "upload_low_bps",
    "upload_high_bps",
    "upload_method",
    "upload_streams",
    "upload_early",
    "upload_took_ms",
    "upload_moved_bytes",
    "upload_rtt_min_ms",
    "upload_rtt_loaded_ms",
    "upload_retransmitted_ratio",
];

/// Something that a person would be told about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, FromRow, ToSchema)]
pub struct Outage {
    /// Whose.
    pub node: String,
    /// See `report::schema::EVENTS`.
    pub what: String,
    /// From (µs since 1970).
    pub started: i64,
    /// Until, as far as it is known.
    pub ended: i64,
    /// Its school.
    pub school: String,
    /// How long.
    pub seconds: i64,
    /// It is not over.
    pub open: bool,
    /// Whether the times can be believed.
    pub clock_ok: bool,
}

/// Names of [`Outage`].
pub const OUTAGE: &[&str] = &["node", "what", "started", "ended", "school", "seconds", "open", "clock_ok"];

/// One day of a school, in the region's own time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, FromRow, ToSchema)]
pub struct Day {
    /// Its school.
    pub school: String,
    /// Days since 1970-01-01.
    pub day: i32,
    /// Hourly records that told of it.
    pub records: i64,
    /// Line and cache.
    #[serde(flatten)]
    #[sqlx(flatten)]
    pub figures: Figures,
    /// Tests that ran.
    pub tests: i64,
    /// Of these, without a figure.
    pub tests_failed: i64,
    /// What they took from the line.
    pub test_bytes: i64,
    /// Median of the tests' estimates: download.
    pub download_bps: Option<i64>,
    /// Median of the tests' estimates: upload.
    pub upload_bps: Option<i64>,
    /// Median of the tests' shortest round trips.
    pub latency_ms: Option<f64>,
    /// Pings sent.
    pub pings_sent: i64,
    /// Pings that came back in time.
    pub pings_received: i64,
    /// Their median.
    pub ping_median_ms: Option<f64>,
    /// How much they vary (RFC 3550 section 6.4.1), median.
    pub jitter_ms: Option<f64>,
    /// Outages of the line that began on it.
    pub outages: i64,
    /// Seconds of it in outages of the line.
    pub outage_seconds: i64,
    /// The longest of them, as far as it lay on it.
    pub longest_outage_seconds: i64,
}

impl Day {
    /// The same with what another one says of pings.
    #[must_use]
    pub fn with_pings_of(self, known: &Day) -> Day {
        Day {
            pings_sent: known.pings_sent,
            pings_received: known.pings_received,
            ping_median_ms: known.ping_median_ms,
            jitter_ms: known.jitter_ms,
            ..self
        }
    }
}

/// Names of [`Day`] before and after those of its figures.
pub const DAY: &[&str] = &[
    "school",
    "day",
    "records",
    "tests",
    "tests_failed",
    "test_bytes",
    "download_bps",
    "upload_bps",
    "latency_ms",
    "pings_sent",
    "pings_received",
    "ping_median_ms",
    "jitter_ms",
    "outages",
    "outage_seconds",
    "longest_outage_seconds",
];

/// Columns of hours.
pub fn hour_columns() -> Vec<&'static str> {
    [HOUR, FIGURES].concat()
}

/// Columns of days.
pub fn day_columns() -> Vec<&'static str> {
    [DAY, FIGURES].concat()
}

/// What the region's page needs of a node's newest hour, kept beside it so that ten thousand records need not be read for a page.
#[expect(missing_docs, reason = "told by report::schema::FIELDS, line by line")]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Glance {
    pub ended: i64,
    pub clock_ok: bool,
    pub state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub download_bps: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<f64>,
    pub disk_bytes: i64,
    pub quota_bytes: i64,
    pub waiting: i64,
    pub version: String,
    /// Since the node's start: way, from the cache, in all, requests.
    pub ways: Vec<(String, i64, i64, i64)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(value: &impl Serialize) -> Vec<String> {
        let mut names: Vec<String> =
            serde_json::to_value(value).expect("JSON").as_object().expect("an object").keys().map(String::from).collect();
        names.sort();
        names
    }

    fn sorted(columns: &[&str]) -> Vec<String> {
        let mut columns: Vec<String> = columns.iter().map(|name| String::from(*name)).collect();
        columns.sort();
        columns
    }

    #[test]
    fn the_lists_name_every_field_and_no_other() {
        assert_eq!(names(&Hour::default()), sorted(&hour_columns()));
        assert_eq!(names(&Day::default()), sorted(&day_columns()));
        assert_eq!(names(&Ping::default()), sorted(PING));
        assert_eq!(names(&Test::default()), sorted(TEST));
        assert_eq!(names(&Outage::default()), sorted(OUTAGE));
    }
}
