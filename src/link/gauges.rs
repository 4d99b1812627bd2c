//! The line for `/metrics`.

use crate::base::count::{Gauge, Histogram, IntCounter, IntGauge, Metrics};
use crate::link::passive::Segments;
use crate::link::reach::Reach;
use std::time::Duration;

/// Bounds from a LAN origin to a satellite, seconds.
const RTTS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.5, 3.0];

/// The gauges of the line.
pub(super) struct Gauges {
    pub(super) up: IntGauge,
    pub(super) download: Gauge,
    pub(super) rtt: Histogram,
    /// In the order of [`Reach::ALL`].
    pub(super) reach: [Histogram; 3],
    /// Likewise.
    pub(super) came: [IntCounter; 3],
    /// Sent, sent again, received, received out of order.
    segments: [IntCounter; 4],
    trips: Histogram,
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
        let by_direction = metrics.counters("bulak_link_segments_total", "TCP segments with data, repeats included.", &["dir"]);
        let came = metrics.counters("bulak_link_received_bytes_total", "Bytes of TCP from origins by where the host is.", &["reach"]);
        let gauges = Gauges {
            up: metrics.gauge("bulak_link_up", "1 when the line works, 0 when nothing gets through."),
            download: metrics.gauge_f64("bulak_link_download_bytes_per_second", "95th percentile of busy seconds over an hour."),
            rtt: plain("bulak_link_rtt_seconds", "TCP connect times to origins."),
            reach: Reach::ALL.map(|reach| by_reach.with_label_values(&[reach.word()])),
            came: Reach::ALL.map(|reach| came.with_label_values(&[reach.word()])),
            segments: [
                by_direction.with_label_values(&["tx"]),
                metrics.counter("bulak_link_retransmitted_segments_total", "TCP segments that were sent again: loss on the way out."),
                by_direction.with_label_values(&["rx"]),
                metrics.counter("bulak_link_disordered_segments_total", "TCP segments that came behind a gap: loss on the way in."),
            ],
            trips: plain("bulak_link_tcp_rtt_seconds", "Smoothed round trips of open connections, as the kernel has them."),
            loaded: plain("bulak_link_loaded_rtt_seconds", "TCP connect times while the line was full."),
            names: plain("bulak_link_name_seconds", "Lookups of names that were answered."),
            tls: plain("bulak_link_tls_seconds", "TLS handshakes with origins."),
            background: metrics.gauge_f64("bulak_link_background_bytes_per_second", "What background may have now; -1: no limit."),
            queue: metrics.gauge_f64("bulak_link_queue_seconds", "Delay above the shortest one, as the night's probes see it."),
        };
        gauges.up.set(1);
        gauges
    }

    /// What a connection has counted.
    pub(super) fn segments(&self, segments: Segments, rtt: Option<Duration>) {
        let counts = [segments.sent, segments.repeated, segments.received, segments.disordered];
        for (counter, count) in self.segments.iter().zip(counts) {
            counter.inc_by(count);
        }
        if let Some(rtt) = rtt {
            self.trips.observe(rtt.as_secs_f64());
        }
    }
}
