//! What the processor tells about itself.

use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};
use schemas::{Outcome, Reason, Timestamp};
use warehouse::Retained;
use warehouse::tables::LAKE_TABLES;

/// Metrics of the processor. The help texts are the documentation; label values are closed sets.
#[derive(Debug, Clone)]
pub struct ProcessorMetrics {
    lag_records: IntGaugeVec,
    commit_age_seconds: Gauge,
    pub(crate) commits: IntCounterVec,
    pub(crate) commit_duration_seconds: Histogram,
    pub(crate) stage_duration_seconds: HistogramVec,
    pub(crate) events: IntCounterVec,
    pub(crate) quarantined: IntCounterVec,
    pub(crate) unaccounted_events: IntGauge,
    pub(crate) database_replacements: IntCounter,
    pub(crate) dedup_hot_keys: IntGauge,
    pub(crate) dedup_cold_keys: IntGauge,
    pub(crate) dedup_memory_bytes: IntGauge,
    pub(crate) clock_epochs: IntGauge,
    pub(crate) open_sessions: IntGauge,
    pub(crate) put_away_sessions: IntGauge,
    pub(crate) paused_partitions: IntGauge,
    pub(crate) partitions: IntGauge,
    pub(crate) refolded_sessions: IntCounter,
    pub(crate) files: FileMetrics,
    retention: RetentionMetrics,
}

/// What becomes of the lake's files.
#[derive(Debug, Clone)]
pub(crate) struct FileMetrics {
    pub(crate) missing: IntGauge,
    pub(crate) merged: IntCounter,
    pub(crate) collected: IntCounter,
    pub(crate) expired: IntCounter,
}

impl FileMetrics {
    fn new() -> Result<Self, prometheus::Error> {
        Ok(Self {
            missing: IntGauge::new(
                "streamgauge_missing_files",
                "Files that a commit lists and the lake has not. Anything but 0 is a fault.",
            )?,
            merged: IntCounter::new(
                "streamgauge_merged_files_total",
                "Small files that were merged into larger ones.",
            )?,
            collected: IntCounter::new(
                "streamgauge_collected_files_total",
                "Files that no commit lists and were deleted.",
            )?,
            expired: IntCounter::new(
                "streamgauge_expired_files_total",
                "Files that were merged into others, are in no snapshot that can still be asked, and were deleted.",
            )?,
        })
    }
}

/// What retention took away, and how old what is left is, by table.
#[derive(Debug, Clone)]
struct RetentionMetrics {
    rows: IntCounterVec,
    files: IntCounterVec,
    oldest_seconds: IntGaugeVec,
}

impl RetentionMetrics {
    fn new() -> Result<Self, prometheus::Error> {
        Ok(Self {
            rows: IntCounterVec::new(
                Opts::new(
                    "streamgauge_retention_rows_total",
                    "Rows that were taken away after their retention, by table; rollup: buckets of rollups.",
                ),
                &["table"],
            )?,
            files: IntCounterVec::new(
                Opts::new(
                    "streamgauge_retention_files_total",
                    "Files that ended or were written again because rows were past their retention, by table.",
                ),
                &["table"],
            )?,
            oldest_seconds: IntGaugeVec::new(
                Opts::new(
                    "streamgauge_oldest_row_age_seconds",
                    "Age of the oldest row that is kept, by table of the lake; 0 while it has none.",
                ),
                &["table"],
            )?,
        })
    }

    fn reset(&self) {
        for table in LAKE_TABLES.iter().map(|table| table.name) {
            self.rows.with_label_values(&[table]).reset();
            self.files.with_label_values(&[table]).reset();
            self.oldest_seconds.with_label_values(&[table]).set(0);
        }
        self.rows.with_label_values(&[ROLLUP]).reset();
    }
}

const LANE: &str = "events";
/// Stands for all rollups where the others are tables of the lake.
const ROLLUP: &str = "rollup";

impl ProcessorMetrics {
    /// Registers all metrics; those with labels show zero from the start.
    ///
    /// # Errors
    ///
    /// If one of the names is registered already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self::new()?;
        for collector in metrics.collectors() {
            registry.register(collector)?;
        }
        metrics.lag_records.with_label_values(&[LANE]).set(0);
        for result in ["landed", "ticks", "fenced", "failed"] {
            metrics.commits.with_label_values(&[result]).reset();
        }
        for outcome in Outcome::ALL {
            metrics.events.with_label_values(&[outcome.as_str()]).reset();
        }
        for reason in Reason::ALL {
            metrics.quarantined.with_label_values(&[reason.as_str()]).reset();
        }
        metrics.retention.reset();
        Ok(metrics)
    }

    /// Metrics that are registered nowhere.
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let seconds = |name: &str, help: &str| {
            HistogramOpts::new(name, help).buckets(vec![0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0])
        };
        let counted_by = |label: &str, name: &str, help: &str| IntCounterVec::new(Opts::new(name, help), &[label]);
        Ok(Self {
            lag_records: IntGaugeVec::new(
                Opts::new(
                    "streamgauge_processor_lag_records",
                    "Records in the log that are not committed yet, by lane.",
                ),
                &["lane"],
            )?,
            commit_age_seconds: Gauge::new(
                "streamgauge_commit_age_seconds",
                "Now minus the least committed log time over the partitions.",
            )?,
            commits: counted_by(
                "result",
                "streamgauge_commits_total",
                "Commits by result: landed, ticks, fenced, failed.",
            )?,
            commit_duration_seconds: Histogram::with_opts(seconds(
                "streamgauge_commit_duration_seconds",
                "From the last event folded to the commit's return.",
            ))?,
            stage_duration_seconds: HistogramVec::new(
                seconds(
                    "streamgauge_processor_stage_duration_seconds",
                    "Time per batch by stage: fold, encode, database.",
                ),
                &["stage"],
            )?,
            events: counted_by(
                "outcome",
                "streamgauge_processor_events_total",
                "Committed events by outcome; erased: taken away later by retention.",
            )?,
            quarantined: counted_by("reason", "streamgauge_quarantined_events_total", "Quarantined events by reason.")?,
            unaccounted_events: IntGauge::new(
                "streamgauge_unaccounted_events",
                "Events that the ledger and the files disagree about. Anything but 0 is a fault.",
            )?,
            database_replacements: IntCounter::new(
                "streamgauge_database_replacements_total",
                "How often the database lacked commits that were read from it: another one took its place.",
            )?,
            dedup_hot_keys: IntGauge::new("streamgauge_dedup_hot_keys", "Event keys in the hot set.")?,
            dedup_cold_keys: IntGauge::new("streamgauge_dedup_run_keys", "Event keys in sorted runs.")?,
            dedup_memory_bytes: IntGauge::new(
                "streamgauge_dedup_memory_bytes",
                "Memory of the runs' filters and fences.",
            )?,
            clock_epochs: IntGauge::new("streamgauge_clock_epochs", "Devices and boots whose clocks are followed.")?,
            put_away_sessions: IntGauge::new(
                "streamgauge_put_away_sessions",
                "Sessions under way that are not in memory.",
            )?,
            paused_partitions: IntGauge::new(
                "streamgauge_paused_partitions",
                "Partitions of this processor that are not taken in, by order.",
            )?,
            open_sessions: IntGauge::new("streamgauge_open_sessions", "Sessions whose views are followed in memory.")?,
            partitions: IntGauge::new(
                "streamgauge_processor_partitions",
                "Partitions of the log that this processor has.",
            )?,
            refolded_sessions: IntCounter::new(
                "streamgauge_refolded_sessions_total",
                "Sessions that were read back from the lake because an event came late.",
            )?,
            files: FileMetrics::new()?,
            retention: RetentionMetrics::new()?,
        })
    }

    fn collectors(&self) -> Vec<Box<dyn prometheus::core::Collector>> {
        vec![
            Box::new(self.lag_records.clone()),
            Box::new(self.commit_age_seconds.clone()),
            Box::new(self.commits.clone()),
            Box::new(self.commit_duration_seconds.clone()),
            Box::new(self.stage_duration_seconds.clone()),
            Box::new(self.events.clone()),
            Box::new(self.quarantined.clone()),
            Box::new(self.unaccounted_events.clone()),
            Box::new(self.files.missing.clone()),
            Box::new(self.database_replacements.clone()),
            Box::new(self.dedup_hot_keys.clone()),
            Box::new(self.dedup_cold_keys.clone()),
            Box::new(self.dedup_memory_bytes.clone()),
            Box::new(self.clock_epochs.clone()),
            Box::new(self.open_sessions.clone()),
            Box::new(self.put_away_sessions.clone()),
            Box::new(self.paused_partitions.clone()),
            Box::new(self.partitions.clone()),
            Box::new(self.refolded_sessions.clone()),
            Box::new(self.files.merged.clone()),
            Box::new(self.files.collected.clone()),
            Box::new(self.files.expired.clone()),
            Box::new(self.retention.rows.clone()),
            Box::new(self.retention.files.clone()),
            Box::new(self.retention.oldest_seconds.clone()),
        ]
    }

    /// What retention took away, and how old what is left is.
    pub(crate) fn observe_retained(&self, retained: &Retained, now: Timestamp) {
        for table in &retained.tables {
            self.retention.rows.with_label_values(&[table.table]).inc_by(table.rows);
            self.retention.files.with_label_values(&[table.table]).inc_by(table.files);
            let age_ms = table.oldest.map_or(0, |oldest| now.millis_since(oldest).max(0));
            self.retention.oldest_seconds.with_label_values(&[table.table]).set(age_ms / 1000);
        }
        self.retention.rows.with_label_values(&[ROLLUP]).inc_by(retained.rollup_rows);
        self.events.with_label_values(&[Outcome::Erased.as_str()]).inc_by(retained.erased());
    }

    /// How old what is committed is. Whoever knows the clock says it.
    pub fn observe_commit_age(&self, seconds: f64) {
        self.commit_age_seconds.set(seconds);
    }

    /// How many records of the log are not committed. Said by whoever sees both ends, so that it is true also while the
    /// processor stands still.
    pub fn observe_lag(&self, records: u64) {
        self.lag_records.with_label_values(&[LANE]).set(i64::try_from(records).unwrap_or(i64::MAX));
    }
}
