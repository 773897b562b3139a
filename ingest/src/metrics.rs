//! What ingest tells about itself.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use schemas::{Format, Outcome};

/// Metrics of ingest. The help texts are the documentation; label values are closed sets.
#[derive(Debug, Clone)]
pub struct IngestMetrics {
    events: IntCounterVec,
    pub(crate) request_duration_seconds: Histogram,
    refused: IntCounterVec,
    pub(crate) received_bytes: IntCounter,
    pub(crate) in_flight_bytes: IntGauge,
}

/// Why uploads are refused as a whole.
const REFUSALS: [&str; 10] = [
    "quota",
    "overloaded",
    "log_unavailable",
    "too_large",
    "too_slow",
    "broken",
    "unsupported_encoding",
    "corrupt_encoding",
    "undecodable",
    "empty",
];

impl IngestMetrics {
    /// Registers all metrics; those with labels show zero from the start.
    ///
    /// # Errors
    ///
    /// If one of the names is registered already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            events: IntCounterVec::new(
                Opts::new(
                    "streamgauge_ingest_events_total",
                    "Judged events by format and outcome: stored (accepted), duplicate (within the upload), quarantined.",
                ),
                &["format", "outcome"],
            )?,
            request_duration_seconds: Histogram::with_opts(
                HistogramOpts::new(
                    "streamgauge_ingest_request_duration_seconds",
                    "From the headers' arrival to the answer, of uploads answered 2xx.",
                )
                .buckets(vec![0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0]),
            )?,
            refused: IntCounterVec::new(
                Opts::new("streamgauge_ingest_refused_total", "Uploads refused as a whole, by reason."),
                &["reason"],
            )?,
            received_bytes: IntCounter::new("streamgauge_ingest_received_bytes_total", "Bytes of bodies as sent.")?,
            in_flight_bytes: IntGauge::new("streamgauge_ingest_in_flight_bytes", "Bytes of bodies in flight.")?,
        };
        registry.register(Box::new(metrics.events.clone()))?;
        registry.register(Box::new(metrics.request_duration_seconds.clone()))?;
        registry.register(Box::new(metrics.refused.clone()))?;
        registry.register(Box::new(metrics.received_bytes.clone()))?;
        registry.register(Box::new(metrics.in_flight_bytes.clone()))?;
        for format in Format::ALL {
            for outcome in [Outcome::Stored, Outcome::Duplicate, Outcome::Quarantined] {
                metrics.events.with_label_values(&[format.as_str(), outcome.as_str()]).reset();
            }
        }
        for reason in REFUSALS {
            metrics.refused.with_label_values(&[reason]).reset();
        }
        Ok(metrics)
    }

    pub(crate) fn count_event(&self, format: Format, outcome: Outcome) {
        self.events.with_label_values(&[format.as_str(), outcome.as_str()]).inc();
    }

    pub(crate) fn count_refusal(&self, reason: &'static str) {
        debug_assert!(REFUSALS.contains(&reason), "{reason}");
        self.refused.with_label_values(&[reason]).inc();
    }
}
