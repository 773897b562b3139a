//! What goes on beside the commits: merging, collecting, forgetting, balancing the books.

use std::sync::Arc;
use std::time::Duration;

use event_log::EventLog;
use schemas::Timestamp;
use warehouse::{MergeError, MergePolicy, RetentionPolicy, Warehouse};

use crate::EVENTS_TOPIC;
use crate::metrics::ProcessorMetrics;

/// Settings of the maintenance.
#[derive(Debug, Clone)]
pub struct MaintenanceConfig {
    /// When files are merged.
    pub merge: MergePolicy,
    /// Rollup deltas older than this are folded into merged rows.
    pub rollup_delta_age: Duration,
    /// Files that no commit lists are collected at this age.
    pub orphan_grace: Duration,
    /// What is older than this cannot be asked `AS OF` any more.
    pub snapshot_retention: Duration,
    /// Files that no snapshot lists any more are deleted after this: longer than any query.
    pub file_grace: Duration,
    /// The log keeps records at least this long, and always what is not committed.
    pub log_retention: Duration,
    /// What is older goes.
    pub retention: RetentionPolicy,
}

impl Default for MaintenanceConfig {
    fn default() -> Self {
        Self {
            merge: MergePolicy::default(),
            rollup_delta_age: Duration::from_secs(180),
            orphan_grace: Duration::from_secs(60),
            snapshot_retention: Duration::from_secs(86_400),
            file_grace: Duration::from_secs(3600),
            log_retention: Duration::from_secs(7 * 86_400),
            retention: RetentionPolicy::default(),
        }
    }
}

/// A merge pass ends after this many merges, so that the other work gets its turn.
const MERGES_PER_PASS: usize = 16;

/// Looks after a warehouse and its log. Each pass is safe beside commits and readers, and may be left out.
#[derive(Debug)]
pub struct Maintenance {
    log: Arc<dyn EventLog>,
    warehouse: Warehouse,
    config: MaintenanceConfig,
    metrics: ProcessorMetrics,
}

impl Maintenance {
    /// Maintenance of `warehouse` and `log`.
    #[must_use]
    pub fn new(
        log: Arc<dyn EventLog>,
        warehouse: Warehouse,
        config: MaintenanceConfig,
        metrics: ProcessorMetrics,
    ) -> Self {
        Self { log, warehouse, config, metrics }
    }

    /// Does everything once. What fails is logged and tried again at the next pass.
    pub async fn pass(&self, now: Timestamp) {
        let replacements = &self.metrics.database_replacements;
        replacements.inc_by(self.warehouse.database_replacements().saturating_sub(replacements.get()));
        match self.warehouse.is_outdated().await {
            Ok(false) => self.rewrite(now).await,
            Ok(true) => tracing::warn!(
                "a later version has migrated the database: merging, retention and collecting are left to its processors"
            ),
            Err(error) => tracing::warn!(error = %chain(&error), "files and rollups were not looked after"),
        }
        self.forget_log(now).await;
        self.balance().await;
    }

    /// Writes anew, from what this version knows, and deletes what that replaces.
    async fn rewrite(&self, now: Timestamp) {
        self.merge_files(now).await;
        match self.warehouse.merge_rollups(now, self.config.rollup_delta_age).await {
            Ok(folded) if folded.deltas == 0 => {}
            Ok(folded) => tracing::debug!(rows = folded.deltas, "folded rollup deltas"),
            Err(error) => tracing::warn!(error = %chain(&error), "rollup deltas were not folded"),
        }
        self.retain(now).await;
        self.collect(self.config.orphan_grace).await;
        self.expire(now).await;
    }

    /// Collects what an earlier process left behind. Only at start, while nothing is being written.
    pub async fn collect_leftovers(&self) {
        match self.warehouse.is_outdated().await {
            Ok(false) => self.collect(Duration::ZERO).await,
            Ok(true) => {}
            Err(error) => tracing::warn!(error = %chain(&error), "leftovers were not collected"),
        }
    }

    async fn collect(&self, grace: Duration) {
        match self.warehouse.collect_orphans(grace).await {
            Ok(collected) if collected.is_elsewhere => {}
            Ok(collected) => {
                self.metrics.files.collected.inc_by(collected.files);
                // With an older database than the lake nobody has looked.
                if !collected.is_ahead {
                    self.metrics.files.missing.set(i64::try_from(collected.missing).unwrap_or(i64::MAX));
                }
            }
            Err(error) => tracing::warn!(error = %chain(&error), "unlisted files were not collected"),
        }
    }

    async fn expire(&self, now: Timestamp) {
        match self.warehouse.expire(now, self.config.snapshot_retention, self.config.file_grace).await {
            Ok(expired) => self.metrics.files.expired.inc_by(expired.deleted),
            Err(error) => tracing::warn!(error = %chain(&error), "old snapshots were not expired"),
        }
    }

    async fn retain(&self, now: Timestamp) {
        match self.warehouse.retain(now, &self.config.retention).await {
            Ok(retained) => {
                for table in &retained.tables {
                    if table.rows > 0 {
                        tracing::info!(
                            table = table.table,
                            table.rows,
                            table.files,
                            "took rows away after their retention"
                        );
                    }
                }
                self.metrics.observe_retained(&retained, now);
            }
            Err(error) => tracing::warn!(error = %chain(&error), "what is older than its retention was not taken away"),
        }
    }

    async fn merge_files(&self, now: Timestamp) {
        for _ in 0..MERGES_PER_PASS {
            match self.warehouse.merge_once(self.config.merge, now).await {
                Ok(Some((commit, merged))) => {
                    tracing::debug!(
                        commit = commit.0,
                        sources = merged.sources,
                        files = merged.files,
                        rows = merged.rows,
                        "merged files"
                    );
                    self.metrics.files.merged.inc_by(merged.sources as u64);
                }
                Ok(None) | Err(MergeError::Elsewhere) => return,
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "files were not merged");
                    return;
                }
            }
        }
    }

    async fn forget_log(&self, now: Timestamp) {
        let checkpoints = match self.warehouse.checkpoints(EVENTS_TOPIC, self.log.partitions()).await {
            Ok(checkpoints) => checkpoints,
            Err(error) => return tracing::warn!(error = %chain(&error), "the log forgets nothing: no checkpoints"),
        };
        let protected: Vec<u64> = checkpoints.iter().map(|checkpoint| checkpoint.position).collect();
        match self.log.forget(&protected, now - self.config.log_retention) {
            Ok(0) => {}
            Ok(records) => tracing::info!(records, "the log forgot records older than its retention"),
            Err(error) => tracing::warn!(error = %chain(&error), "the log could not forget"),
        }
    }

    /// Files against the ledger; the difference is a metric that must be 0.
    async fn balance(&self) {
        let books = match self.warehouse.read().await {
            Ok(mut read) => read.books().await,
            Err(error) => Err(error),
        };
        match books {
            Ok(books) => {
                self.metrics.unaccounted_events.set(i64::try_from(books.unaccounted()).unwrap_or(i64::MAX));
                if books.unaccounted() > 0 {
                    tracing::error!(?books, "the books do not balance: events are lost or counted twice");
                }
            }
            Err(error) => tracing::warn!(error = %chain(&error), "the books were not balanced"),
        }
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
