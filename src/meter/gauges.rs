//! Tests for `/metrics`.

use crate::base::count::{Gauge, IntCounter, Metrics};
use crate::meter::test::{End, Kept};
use prometheus::IntCounterVec;

/// The gauges of tests.
pub(super) struct Gauges {
    down: Gauge,
    up: Gauge,
    last: Gauge,
    tests: IntCounterVec,
    bytes: IntCounter,
}

impl Gauges {
    pub(super) fn new(metrics: &Metrics) -> Gauges {
        Gauges {
            down: metrics
                .gauge_f64("bulak_link_test_download_bytes_per_second", "Capacity towards the school by the last test; 0: none yet."),
            up: metrics.gauge_f64("bulak_link_test_upload_bytes_per_second", "Capacity towards the world by the last test; 0: none yet."),
            last: metrics.gauge_f64("bulak_link_last_test_timestamp_seconds", "When the last test with a figure was; 0: none yet."),
            tests: metrics.counters("bulak_link_tests_total", "Tests by how they ended.", &["end"]),
            bytes: metrics.counter("bulak_link_test_bytes_total", "What tests have taken from the line."),
        }
    }

    /// A test was kept.
    pub(super) fn count(&self, kept: &Kept) {
        let end = match kept.test.end {
            End::Ok => "ok",
            End::Partial => "partial",
            End::Failed => "failed",
            End::Passive => "passive",
        };
        self.tests.with_label_values(&[end]).inc();
        self.bytes.inc_by(kept.test.cost_bytes);
        self.show(kept);
    }

    /// The newest test's figures.
    #[expect(clippy::cast_precision_loss, reason = "rates and moments fit a double")]
    pub(super) fn show(&self, kept: &Kept) {
        for (gauge, upload) in [(&self.down, false), (&self.up, true)] {
            if let Some(bits) = kept.test.estimate(upload) {
                gauge.set(bits as f64 / 8.0);
            }
        }
        if kept.test.estimate(false).is_some() {
            self.last.set(kept.finish.micros() as f64 / 1e6);
        }
    }
}
