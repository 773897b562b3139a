//! The processor as the program drives it: its settings, its errors, one step at a time.

use std::sync::Arc;
use std::time::Duration;

use event_log::{EventLog, PollError};
use schemas::Timestamp;
use thiserror::Error;
use warehouse::{CommitError, CommitId, MergeError, ReadError, RetentionPolicy, ScanError, Warehouse};

use crate::dedup::DedupError;
use crate::member::{Member, Site};
use crate::metrics::ProcessorMetrics;

/// Settings of the processor.
#[derive(Debug, Clone)]
pub struct ProcessorConfig {
    /// Commits are at least this far apart, unless one is full.
    pub commit_interval: Duration,
    /// A commit is full at this many rows.
    pub commit_rows: usize,
    /// Or at this many bytes of plain records.
    pub commit_bytes: usize,
    /// Keys kept in the hot set of each partition (about 50 bytes each).
    pub hot_keys: usize,
    /// State files are written this often.
    pub state_interval: Duration,
    /// Events that are older when they arrive are left out.
    pub retention: Arc<RetentionPolicy>,
    /// Sessions in memory over all partitions. Beyond it those with the oldest last arrival are put away, and read back
    /// from the lake when something arrives for them or they are over.
    pub open_sessions: usize,
}

impl Default for ProcessorConfig {
    fn default() -> Self {
        Self {
            commit_interval: Duration::from_millis(900),
            commit_rows: 100_000,
            commit_bytes: 64 << 20,
            hot_keys: 250_000,
            state_interval: Duration::from_secs(30),
            retention: Arc::default(),
            open_sessions: 25_000,
        }
    }
}

/// Why the processor cannot go on. All state is dropped; the next step begins anew from the checkpoints.
#[derive(Debug, Error)]
pub enum RunError {
    /// The log.
    #[error(transparent)]
    Poll(#[from] PollError),
    /// The log lost its end, which was committed, and went on: what it was given since is below the checkpoint and would
    /// never be taken in.
    #[error(
        "record {position} of partition {partition} came after the checkpoint above it: the log lost its end and went on \
         (see `streamgauge partitions mend`)"
    )]
    WrittenOver {
        /// The partition.
        partition: u16,
        /// The last position below the checkpoint.
        position: u64,
    },
    /// Reading the warehouse.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Folding the records again.
    #[error("fold the records of partition {log_partition} again")]
    Replay {
        /// The partition.
        log_partition: u16,
        /// What went wrong.
        #[source]
        source: ScanError,
    },
    /// Reading views and sessions back.
    #[error("read views and sessions back from the lake")]
    History(#[source] ScanError),
    /// Writing files again without facts that are replaced.
    #[error(transparent)]
    Replace(#[from] MergeError),
    /// The id runs.
    #[error(transparent)]
    Dedup(#[from] DedupError),
    /// The commit.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// Writing to the lake.
    #[error("write `{path}` to the lake")]
    Write {
        /// The file.
        path: String,
        /// What the file system or the store said.
        #[source]
        source: std::io::Error,
    },
    /// A batch could not be encoded: a fault of this program.
    #[error("encode rows of `{table}`")]
    Encode {
        /// The table.
        table: &'static str,
        /// What the writer said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What one step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing was there to do.
    Idle,
    /// Records were folded, nothing was committed yet.
    Folded,
    /// Positions moved over ticks.
    Advanced,
    /// A commit landed.
    Committed(CommitId),
}

/// The processor. Owned values and one step function: the caller decides when and how often.
#[derive(Debug)]
pub struct Processor {
    log: Arc<dyn EventLog>,
    warehouse: Warehouse,
    config: ProcessorConfig,
    metrics: ProcessorMetrics,
    /// Stays from the first step on, whatever fails.
    member: Option<Member>,
}

impl Processor {
    /// A processor of `log` into `warehouse`, which shares the partitions with the others of its group.
    #[must_use]
    pub fn new(
        log: Arc<dyn EventLog>,
        warehouse: Warehouse,
        config: ProcessorConfig,
        metrics: ProcessorMetrics,
    ) -> Self {
        Self { log, warehouse, config, metrics, member: None }
    }

    /// Does the next thing: takes an assignment, folds what is there, commits what is due. Waits at most `wait` for
    /// records. `now` is only noted as the time of the commit.
    ///
    /// # Errors
    ///
    /// [`RunError`]. Everything not committed was dropped, the next step takes it from the log again.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: a step may be a commit. Ask for a short `wait` instead of dropping the future.
    pub async fn step(&mut self, now: Timestamp, wait: Duration) -> Result<Step, RunError> {
        let Self { log, warehouse, config, metrics, member } = self;
        let join = || Member::new(log.subscribe(), log.partitions(), Some(log.identity().to_owned()));
        let member = member.get_or_insert_with(join);
        let result = member.step(&Site { warehouse, config, metrics, now }, wait).await;
        self.count_failure(&result);
        result
    }

    fn count_failure(&self, result: &Result<Step, RunError>) {
        if let Err(error) = result {
            let fenced = matches!(error, RunError::Commit(CommitError::Fenced { .. } | CommitError::Paused { .. }));
            self.metrics.commits.with_label_values(&[if fenced { "fenced" } else { "failed" }]).inc();
        }
    }

    /// Commits what is folded, whether it is due or not.
    ///
    /// # Errors
    ///
    /// As [`Self::step`].
    pub async fn flush(&mut self, now: Timestamp) -> Result<Step, RunError> {
        let Self { warehouse, config, metrics, member, .. } = self;
        let Some(member) = member else { return Ok(Step::Idle) };
        let result = member.flush(&Site { warehouse, config, metrics, now }).await;
        self.count_failure(&result);
        result
    }
}
