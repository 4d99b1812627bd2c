//! The line. SKELETON front door.

use crate::base::clock::Clock;
use crate::base::count::Metrics;
use crate::base::unit::BitRate;
use crate::life::Life;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// `[link]`.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// "host:port" to try by TCP; empty: own fetches decide (product.md section 9).
    pub check: Vec<String>,
}

/// up | slow | down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Not known yet: treated as up.
    Unknown,
    /// Works.
    Up,
    /// Works badly (persistently far below its usual rate, or latency far above).
    Slow,
    /// Nothing gets through.
    Down,
}

/// What traffic is for; interactive goes before background.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// A person waits.
    Interactive,
    /// Nobody waits.
    Background,
    /// Reports.
    Report,
    /// Measurements.
    Measure,
}

impl Class {
    /// The label value of metrics: foreground, prefetch, report, measure.
    pub fn label(self) -> &'static str {
        match self {
            Class::Interactive => "foreground",
            Class::Background => "prefetch",
            Class::Report => "report",
            Class::Measure => "measure",
        }
    }
}

/// One observation from a real fetch.
#[derive(Clone, Debug)]
pub enum Sample {
    /// A TCP connection to this host came about after this long.
    Connected { host: Box<str>, addr: IpAddr, took: Duration },
    /// It did not (refused counts as reached: the line works).
    Failed { host: Box<str> },
    /// A name was or was not resolved (no answer at all, not NXDOMAIN).
    NameFailed { host: Box<str> },
    /// First byte of an answer after the request was sent.
    FirstByte { host: Box<str>, took: Duration },
    /// These many body bytes moved (called often; cheap).
    Received { class: Class, bytes: u64 },
    /// Bytes sent.
    Sent { class: Class, bytes: u64 },
}

/// Figures for status, reports, metrics.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct View {
    /// Verdict.
    pub state: State,
    /// Since when (RFC 3339).
    pub since: String,
    /// 95th percentile of busy seconds over the last hour.
    pub download: Option<BitRate>,
    /// Median TCP connect time over the last 5 minutes, seconds.
    pub rtt_seconds: Option<f64>,
    /// Median time to first byte, seconds.
    pub first_byte_seconds: Option<f64>,
    /// Share of failed connection attempts over the last 5 minutes.
    pub failed_ratio: Option<f64>,
    /// Totals since start by class: (received, sent).
    pub bytes: std::collections::BTreeMap<String, (u64, u64)>,
}

/// The line. Cheap to clone.
#[derive(Clone)]
pub struct Link(Arc<()>);

impl Link {
    /// Starts watching.
    pub fn new(_settings: Settings, _clock: Clock, _life: &Life, _metrics: &Metrics) -> Link {
        todo!()
    }

    /// Tells what happened. Loopback and LAN addresses must be marked by the caller leaving them out, unless they were reached as
    /// origins: an origin is an origin.
    pub fn observe(&self, _sample: Sample) {
        todo!()
    }

    /// The verdict now: one atomic load, for the hit path.
    pub fn state(&self) -> State {
        todo!()
    }

    /// Resolves when the verdict changes.
    pub async fn changed(&self) {
        todo!()
    }

    /// Figures now.
    pub fn view(&self) -> View {
        todo!()
    }
}

/// pace.rs: a token bucket for background bytes.
pub mod pace;

// STAND-IN for the line's own type, to be removed when that is merged.
/// Five minutes of the line.
#[expect(missing_docs, reason = "a stand-in of the shape agreed on")]
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Slice {
    pub start: crate::base::clock::Time,
    pub end: crate::base::clock::Time,
    pub up_seconds: u32,
    pub slow_seconds: u32,
    pub down_seconds: u32,
    pub unknown_seconds: u32,
    pub rx_bytes: u64,
    pub tx_bytes: u64,
    pub background_rx_bytes: u64,
    pub rtt_min_ms: Option<f64>,
    pub rtt_median_ms: Option<f64>,
    pub rtt_p95_ms: Option<f64>,
    pub first_byte_median_ms: Option<f64>,
    pub download_p95_bps: Option<u64>,
    pub attempts: u32,
    pub failures: u32,
}

impl Link {
    /// STAND-IN.
    pub fn slices(&self, _since: crate::base::clock::Time) -> Vec<Slice> {
        todo!()
    }
}

/// Five minutes, hour, day, with gaps explained.
pub mod rollup;
