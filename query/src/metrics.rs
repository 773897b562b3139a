//! What the query service tells about itself.

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

/// Metrics of the query service. The help texts are the documentation; label values are closed sets.
#[derive(Debug, Clone)]
pub struct QueryMetrics {
    duration_seconds: HistogramVec,
    rejected: IntCounterVec,
}

/// Why a query is refused or ended.
const REJECTIONS: [&str; 6] =
    ["query_timeout", "query_memory", "result_too_large", "too_many_queries", "sql_too_large", "sql_not_allowed"];

impl QueryMetrics {
    /// Registers all metrics; those with labels show zero from the start.
    ///
    /// # Errors
    ///
    /// If one of the names is registered already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            duration_seconds: HistogramVec::new(
                HistogramOpts::new("streamgauge_query_duration_seconds", "Time to an answer by door: http.")
                    .buckets(vec![0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0]),
                &["door"],
            )?,
            rejected: IntCounterVec::new(
                Opts::new("streamgauge_query_rejected_total", "Queries that were refused or ended, by reason."),
                &["reason"],
            )?,
        };
        registry.register(Box::new(metrics.duration_seconds.clone()))?;
        registry.register(Box::new(metrics.rejected.clone()))?;
        metrics.duration_seconds.with_label_values(&["http"]);
        for reason in REJECTIONS {
            metrics.rejected.with_label_values(&[reason]).reset();
        }
        Ok(metrics)
    }

    pub(crate) fn answered(&self, seconds: f64) {
        self.duration_seconds.with_label_values(&["http"]).observe(seconds);
    }

    /// Counts a refusal, if its code is one that limits stand behind.
    pub(crate) fn rejected(&self, code: &str) {
        if REJECTIONS.contains(&code) {
            self.rejected.with_label_values(&[code]).inc();
        }
    }
}
