//! The line for `/metrics`.

use crate::base::count::{Gauge, Histogram, IntGauge, Metrics};
use crate::link::reach::Reach;

/// Bounds from a LAN origin to a satellite, seconds.
const RTTS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.5, 3.0];

/// The gauges of the line.
pub(super) struct Gauges {
    pub(super) up: IntGauge,
    pub(super) download: Gauge,
    pub(super) rtt: Histogram,
    /// In the order of [`Reach::ALL`].
    pub(super) reach: [Histogram; 3],
    pub(super) loaded: Histogram,
    pub(super) names: Histogram,
    pub(super) tls: Histogram,
    pub(super) background: Gauge,
    pub(super) queue: Gauge,
}

impl Gauges {
    /// Registers `bulak_link_*`.
    pub(super) fn new(metrics: &Metrics) -> Gauges {
        let plain = |name: &str, help: &str| metrics.histograms(name, help, &[], RTTS).with_label_values::<&str>(&[]);
        let by_reach = metrics.histograms("bulak_link_connect_seconds", "TCP connect times by where the host is.", &["reach"], RTTS);
        let gauges = Gauges {
            up: metrics.gauge("bulak_link_up", "1 when the line works, 0 when nothing gets through."),
            download: metrics.gauge_f64("bulak_link_download_bytes_per_second", "95th percentile of busy seconds over an hour."),
            rtt: plain("bulak_link_rtt_seconds", "TCP connect times to origins."),
            reach: Reach::ALL.map(|reach| by_reach.with_label_values(&[reach.word()])),
            loaded: plain("bulak_link_loaded_rtt_seconds", "TCP connect times while the line was full."),
            names: plain("bulak_link_name_seconds", "Lookups of names that were answered."),
            tls: plain("bulak_link_tls_seconds", "TLS handshakes with origins."),
            background: metrics.gauge_f64("bulak_link_background_bytes_per_second", "What background may have now; -1: no limit."),
            queue: metrics.gauge_f64("bulak_link_queue_seconds", "Delay above the shortest one, as the night's probes see it."),
        };
        gauges.up.set(1);
        gauges
    }
}
