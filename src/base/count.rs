//! Counters, gauges and histograms: registered once, bumped without a lock, read back for reports, printed for Prometheus.
//!
//! The `prometheus` crate rather than `metrics`: reports and status pages read the same values that `/metrics` prints, and
//! two nodes in one test process must not share a global recorder.

use prometheus::core::Collector;
use prometheus::{Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};

pub use prometheus::{Gauge, Histogram, IntCounter, IntGauge};

/// All metrics of one node. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Registry);

impl Metrics {
    /// A counter without labels; the name ends in `_total`.
    pub fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.add(IntCounter::new(name, help).expect("a valid metric name"))
    }

    /// Counters by label values from closed sets.
    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.add(IntCounterVec::new(Opts::new(name, help), labels).expect("a valid metric name"))
    }

    /// A whole-number gauge.
    pub fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.add(IntGauge::new(name, help).expect("a valid metric name"))
    }

    /// A gauge with fractions, such as seconds.
    pub fn gauge_f64(&self, name: &str, help: &str) -> Gauge {
        self.add(Gauge::new(name, help).expect("a valid metric name"))
    }

    /// Whole-number gauges by label values from closed sets.
    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels).expect("a valid metric name"))
    }

    /// Histograms by label values from closed sets; `buckets` are upper bounds.
    pub fn histograms(&self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.add(HistogramVec::new(options, labels).expect("valid metric names and buckets"))
    }

    /// Everything in the Prometheus text format 0.0.4.
    pub fn print(&self) -> String {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.0.gather(), &mut text).expect("writing to memory cannot fail");
        String::from_utf8(text).expect("the format is UTF-8")
    }

    /// # Panics
    /// When a name is registered twice: a mistake in the program, seen by every test that builds a node.
    fn add<C: Collector + Clone + 'static>(&self, metric: C) -> C {
        self.0.register(Box::new(metric.clone())).expect("each metric is registered once");
        metric
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_can_be_read_and_printed() {
        let metrics = Metrics::default();
        let hits = metrics.counters("bulak_requests_total", "Requests.", &["cache"]);
        hits.with_label_values(&["hit"]).inc_by(3);
        assert_eq!(hits.with_label_values(&["hit"]).get(), 3);
        assert!(metrics.print().contains("bulak_requests_total{cache=\"hit\"} 3"));
    }
}
