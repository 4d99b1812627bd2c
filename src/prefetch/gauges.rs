//! The night in figures for `/metrics`.

use crate::base::count::{IntGauge, Metrics};
use crate::prefetch::Status;
use crate::prefetch::permit::Rest;
use prometheus::IntGaugeVec;

/// Every word of `Status::state`.
const STATES: [&str; 4] = ["idle", "waiting", "running", "paused"];

/// Registered once a node.
pub(super) struct Gauges {
    state: IntGaugeVec,
    rest: IntGaugeVec,
    spent: IntGaugeVec,
    cap: IntGaugeVec,
    queue: IntGauge,
    missed: IntGauge,
}

impl Gauges {
    pub(super) fn new(metrics: &Metrics) -> Gauges {
        Gauges {
            state: metrics.gauges("bulak_night_state", "1 for what the night is doing.", &["state"]),
            rest: metrics.gauges("bulak_night_rest", "1 for the reason why nothing is fetched ahead.", &["reason"]),
            spent: metrics.gauges("bulak_night_spent_bytes", "What this night and this month have brought.", &["period"]),
            cap: metrics.gauges("bulak_night_cap_bytes", "What they may bring; absent without a cap.", &["period"]),
            queue: metrics.gauge("bulak_night_queue", "Packs that people asked for and that wait."),
            missed: metrics.gauge("bulak_night_window_missed", "1 when the box was off in the last window."),
        }
    }

    pub(super) fn show(&self, status: &Status) {
        for state in STATES {
            self.state.with_label_values(&[state]).set(i64::from(state == status.state));
        }
        for word in Rest::WORDS {
            self.rest.with_label_values(&[word]).set(i64::from(status.rest.as_deref() == Some(word)));
        }
        let caps = &status.caps;
        for (period, spent, cap) in [("night", caps.night_bytes, caps.night_cap_bytes), ("month", caps.month_bytes, caps.month_cap_bytes)] {
            self.spent.with_label_values(&[period]).set(whole(spent));
            match cap {
                Some(cap) => self.cap.with_label_values(&[period]).set(whole(cap)),
                // It was never there, or is no more: either is what is wanted.
                None => drop(self.cap.remove_label_values(&[period])),
            }
        }
        self.queue.set(i64::try_from(status.queued.len()).unwrap_or(i64::MAX));
        self.missed.set(i64::from(status.missed.is_some()));
    }
}

fn whole(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
