//! What a Giga Meter server is told, for `/metrics`.

use crate::base::clock::Time;
use crate::base::count::{IntCounter, IntGauge, Metrics};
use crate::state::giga::Count;
use parking_lot::Mutex;

/// The figures. Totals are of all lives of the node in the database, and of this one here, as counters are.
pub(super) struct Gauges {
    tests: IntGauge,
    checks: IntGauge,
    parked: IntGauge,
    stopped: IntGauge,
    last: IntGauge,
    delivered: IntCounter,
    refused: IntCounter,
    unsure: IntCounter,
    dropped: IntCounter,
    /// As they were when last looked at.
    before: Mutex<Option<Count>>,
}

impl Gauges {
    /// Registers `bulak_giga_*`.
    pub(super) fn new(metrics: &Metrics) -> Gauges {
        let waiting = metrics.gauges("bulak_giga_waiting", "Records that wait for the Giga Meter server.", &["what"]);
        let help = "Records for the Giga Meter server by what became of them: delivered, refused for good, sent twice without an answer, \
                    dropped since too many waited.";
        let fates = metrics.counters("bulak_giga_records_total", help, &["fate"]);
        let last = "When the Giga Meter server last took something, seconds since 1970; 0: never.";
        Gauges {
            tests: waiting.with_label_values(&["test"]),
            checks: waiting.with_label_values(&["check"]),
            parked: metrics.gauge("bulak_giga_parked", "Records that the Giga Meter server refused and that a person may look at."),
            stopped: metrics.gauge("bulak_giga_stopped", "1 while nothing is sent since the server does not take the key."),
            last: metrics.gauge("bulak_giga_last_delivered_timestamp_seconds", last),
            delivered: fates.with_label_values(&["delivered"]),
            refused: fates.with_label_values(&["refused"]),
            unsure: fates.with_label_values(&["unsure"]),
            dropped: fates.with_label_values(&["dropped"]),
            before: Mutex::default(),
        }
    }

    /// The server refused something for good.
    pub(super) fn refused(&self) {
        self.refused.inc();
    }

    /// Shows what waits and what has become of the rest.
    pub(super) fn show(&self, count: &Count, last: Option<Time>, stopped: bool) {
        let gauge = |gauge: &IntGauge, value: u64| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        gauge(&self.tests, count.tests);
        gauge(&self.checks, count.checks);
        gauge(&self.parked, count.parked);
        self.stopped.set(i64::from(stopped));
        self.last.set(last.map_or(0, Time::secs));
        let before = self.before.lock().replace(count.clone());
        // What an earlier life has counted is none of this one's.
        let Some(before) = before else { return };
        for (counter, now, before) in [
            (&self.delivered, count.delivered, before.delivered),
            (&self.unsure, count.unsure, before.unsure),
            (&self.dropped, count.dropped, before.dropped),
        ] {
            counter.inc_by(now.saturating_sub(before));
        }
    }
}
