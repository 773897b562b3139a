//! The loop around the fold: poll, fold, commit.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use event_log::{EventLog, LogConsumer, LogRecord, PollError, Polled};
use schemas::clock::Clocks;
use schemas::{Timestamp, record};
use thiserror::Error;
use warehouse::tables::LakeTable;
use warehouse::{
    AccessError, Advance, Checkpoint, Commit, CommitError, CommitId, Delta, FileName, Lake, Lane, NewFile, NewIdRun,
    Origin, ReadError, ScanError, StateFile, Warehouse, encode_parquet,
};

use crate::EVENTS_TOPIC;
use crate::dedup::{DedupError, KeyIndex, encode_run};
use crate::fold::{PartitionState, Pending, Retention, fold, replay_clocks};
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
}

impl Default for ProcessorConfig {
    fn default() -> Self {
        Self {
            commit_interval: Duration::from_millis(900),
            commit_rows: 100_000,
            commit_bytes: 64 << 20,
            hot_keys: 250_000,
            state_interval: Duration::from_secs(30),
        }
    }
}

/// How long the first event after a pause waits for company.
const LINGER: Duration = Duration::from_millis(40);
/// A commit's files live for minutes until they are merged: the fastest level.
const COMMIT_ZSTD_LEVEL: i32 = 1;
/// Bytes per poll, as the log keeps them.
const POLL_BYTES: usize = 2 << 20;
/// Plain bytes per fold: bounds its time and memory, whatever a record inflates to.
const FOLD_BYTES: usize = 8 << 20;
/// Id runs are merged so often per commit at most: what has piled up must not hold up the next commits.
const RUN_MERGES: usize = 4;

/// Why the processor cannot go on. All state is dropped; the next step begins anew from the checkpoints.
#[derive(Debug, Error)]
pub enum RunError {
    /// The log.
    #[error(transparent)]
    Poll(#[from] PollError),
    /// Reading the warehouse.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Reading the projects' settings.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// Folding the records again.
    #[error("fold the records of partition {log_partition} again")]
    Replay {
        /// The partition.
        log_partition: u16,
        /// What went wrong.
        #[source]
        source: ScanError,
    },
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
        /// What the file system said.
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
    assignment: Option<Assignment>,
}

/// Everything that is void once an assignment ends.
#[derive(Debug)]
struct Assignment {
    consumer: Box<dyn LogConsumer>,
    /// Polled, not folded yet.
    backlog: VecDeque<LogRecord>,
    partitions: BTreeMap<u16, PartitionState>,
    /// Positions at the last commit.
    committed: BTreeMap<u16, u64>,
    pending: Pending,
    pending_since: Option<Instant>,
    retention: Retention,
    last_commit: Option<Instant>,
    last_state: Instant,
}

impl Processor {
    /// A processor of all events of `log` into `warehouse`.
    #[must_use]
    pub fn new(
        log: Arc<dyn EventLog>,
        warehouse: Warehouse,
        config: ProcessorConfig,
        metrics: ProcessorMetrics,
    ) -> Self {
        Self { log, warehouse, config, metrics, assignment: None }
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
        // Out of its place for the time of the step: whatever ends that early (an error, a panic, a dropped future)
        // leaves nothing that a later commit could take for the whole.
        let assignment = self.assignment.take();
        let result = self.step_with(assignment, now, wait).await;
        self.count_failure(&result);
        result
    }

    async fn step_with(
        &mut self,
        assignment: Option<Assignment>,
        now: Timestamp,
        wait: Duration,
    ) -> Result<Step, RunError> {
        let mut assignment = match assignment {
            Some(assignment) => assignment,
            None => self.assign().await?,
        };
        let step = assignment.step(&self.warehouse, &self.config, &self.metrics, now, wait).await?;
        self.assignment = Some(assignment);
        Ok(step)
    }

    fn count_failure(&self, result: &Result<Step, RunError>) {
        if let Err(error) = result {
            let fenced = matches!(error, RunError::Commit(CommitError::Fenced { .. }));
            self.metrics.commits.with_label_values(&[if fenced { "fenced" } else { "failed" }]).inc();
        }
    }

    /// Commits what is folded, whether it is due or not.
    ///
    /// # Errors
    ///
    /// As [`Self::step`].
    pub async fn flush(&mut self, now: Timestamp) -> Result<Step, RunError> {
        let Some(mut assignment) = self.assignment.take() else { return Ok(Step::Idle) };
        if assignment.pending.records == 0 {
            self.assignment = Some(assignment);
            return Ok(Step::Idle);
        }
        let result = assignment.commit(&self.warehouse, &self.config, &self.metrics, now).await;
        self.count_failure(&result);
        if result.is_ok() {
            self.assignment = Some(assignment);
        }
        result
    }

    /// Takes all partitions: positions from the warehouse first, then the log from there.
    async fn assign(&self) -> Result<Assignment, RunError> {
        let checkpoints = self.warehouse.checkpoints(EVENTS_TOPIC, self.log.partitions()).await?;
        let access = self.warehouse.access().await?;
        let retention = access
            .projects
            .values()
            .filter_map(|project| Some((Arc::clone(&project.project), project.retention_days?)))
            .collect();
        let mut partitions = BTreeMap::new();
        for checkpoint in &checkpoints {
            partitions.insert(checkpoint.log_partition, self.open_partition(checkpoint).await?);
        }
        let mut consumer = self.log.subscribe();
        while !matches!(consumer.poll(POLL_BYTES, Duration::from_secs(1)).await?, Polled::Assigned(_)) {}
        for checkpoint in &checkpoints {
            consumer.start_at(checkpoint.log_partition, checkpoint.position)?;
        }
        tracing::info!(partitions = checkpoints.len(), "took the partitions of the log");
        Ok(Assignment {
            consumer,
            backlog: VecDeque::new(),
            committed: checkpoints.iter().map(|checkpoint| (checkpoint.log_partition, checkpoint.position)).collect(),
            partitions,
            pending: Pending::new(),
            pending_since: None,
            retention,
            last_commit: None,
            last_state: Instant::now(),
        })
    }

    async fn open_partition(&self, checkpoint: &Checkpoint) -> Result<PartitionState, RunError> {
        let partition = checkpoint.log_partition;
        let lake = self.warehouse.lake().clone();
        let listed = self.warehouse.id_runs(partition).await?;
        let keys = KeyIndex::open(lake.clone(), partition, listed, self.config.hot_keys)?;
        let state = self.warehouse.state_file(partition).await?;
        let (mut clocks, from) = state.and_then(|state| read_state(&lake, &state)).unwrap_or_default();
        if from < checkpoint.position {
            let snapshot = self.warehouse.read().await?.snapshot().await?;
            let replay = |source| RunError::Replay { log_partition: partition, source };
            for record in snapshot.records(&lake, partition, from).map_err(replay)? {
                replay_clocks(&mut clocks, &record.map_err(replay)?.body);
            }
        }
        Ok(PartitionState {
            partition,
            position: checkpoint.position,
            log_time: checkpoint.log_time.unwrap_or_default(),
            clocks,
            keys,
        })
    }
}

impl Assignment {
    /// How long until a commit is due; `None` while nothing is pending.
    fn due_in(&self, config: &ProcessorConfig) -> Option<Duration> {
        let since = self.pending_since?;
        if self.pending.rows.len() >= config.commit_rows || self.pending.bytes >= config.commit_bytes {
            return Some(Duration::ZERO);
        }
        let since_last = self.last_commit.map_or(config.commit_interval, |last| last.elapsed());
        let linger = LINGER.saturating_sub(since.elapsed());
        Some(config.commit_interval.saturating_sub(since_last).max(linger))
    }

    async fn step(
        &mut self,
        warehouse: &Warehouse,
        config: &ProcessorConfig,
        metrics: &ProcessorMetrics,
        now: Timestamp,
        wait: Duration,
    ) -> Result<Step, RunError> {
        let due = self.due_in(config);
        let mut folded = false;
        if due != Some(Duration::ZERO) {
            if self.backlog.is_empty() {
                let polled = self.consumer.poll(POLL_BYTES, due.unwrap_or(wait).min(wait)).await?;
                if let Polled::Records(records) = polled {
                    self.backlog.extend(records);
                }
            }
            let records = self.next_records();
            if !records.is_empty() {
                self.fold(&records, metrics)?;
                folded = true;
            }
        }
        if self.due_in(config) == Some(Duration::ZERO) {
            return self.commit(warehouse, config, metrics, now).await;
        }
        Ok(if folded { Step::Folded } else { Step::Idle })
    }

    /// The next records of the backlog, of [`FOLD_BYTES`] when they are opened; at least one if there is one.
    fn next_records(&mut self) -> Vec<LogRecord> {
        let mut bytes = 0;
        let fits = |record: &&LogRecord| {
            let fits = bytes < FOLD_BYTES;
            bytes += record::plain_bytes(&record.bytes);
            fits
        };
        let count = self.backlog.iter().take_while(fits).count();
        self.backlog.drain(..count).collect()
    }

    fn fold(&mut self, records: &[LogRecord], metrics: &ProcessorMetrics) -> Result<(), RunError> {
        let timer = metrics.stage_duration_seconds.with_label_values(&["fold"]).start_timer();
        for of_partition in records.chunk_by(|one, other| one.partition == other.partition) {
            if let Some(state) = self.partitions.get_mut(&of_partition[0].partition) {
                fold(state, &mut self.pending, of_partition, &self.retention)?;
            }
        }
        timer.observe_duration();
        self.pending_since.get_or_insert_with(Instant::now);
        Ok(())
    }

    async fn commit(
        &mut self,
        warehouse: &Warehouse,
        config: &ProcessorConfig,
        metrics: &ProcessorMetrics,
        now: Timestamp,
    ) -> Result<Step, RunError> {
        let timer = metrics.commit_duration_seconds.start_timer();
        self.pending_since = None;
        self.last_commit = Some(Instant::now());
        let mut pending = std::mem::replace(&mut self.pending, Pending::new());
        let advances = self.advances(&pending);
        if pending.rows.len() == 0 {
            warehouse.advance(&advances).await?;
            self.note_committed(&advances);
            metrics.commits.with_label_values(&["ticks"]).inc();
            timer.stop_and_discard();
            return Ok(Step::Advanced);
        }
        let lead = advances.iter().find(|advance| advance.events > 0).unwrap_or(&advances[0]);
        let name = FileName::new(Origin::Commit { partition: lead.log_partition, from: lead.from }, now);
        let lake = warehouse.lake();
        let encode = metrics.stage_duration_seconds.with_label_values(&["encode"]).start_timer();
        let files = write_files(lake, &name, &pending.rows.take())?;
        let id_runs = self.write_id_runs(lake, &name)?;
        let state_files = self.write_state(lake, &name, config)?;
        encode.observe_duration();
        let database = metrics.stage_duration_seconds.with_label_values(&["database"]).start_timer();
        let deltas: Vec<Delta> = pending.take_deltas();
        let commit = Commit {
            lane: Lane::Events,
            now,
            advances,
            files,
            replaced_files: Vec::new(),
            deltas,
            id_runs,
            state_files,
        };
        let committed = warehouse.commit(&commit).await?;
        database.observe_duration();
        for run in committed.id_runs {
            if let Some(state) = self.partitions.get_mut(&run.run.log_partition) {
                state.keys.committed(Some(run))?;
            }
        }
        self.note_committed(&commit.advances);
        metrics.commits.with_label_values(&["landed"]).inc();
        for ((outcome, reason), events) in &pending.outcomes {
            metrics.events.with_label_values(&[outcome.as_str()]).inc_by(*events);
            if let Some(reason) = reason.filter(|_| *outcome == schemas::Outcome::Quarantined) {
                metrics.quarantined.with_label_values(&[reason.as_str()]).inc_by(*events);
            }
        }
        timer.observe_duration();
        self.merge_id_runs(warehouse, now).await?;
        self.measure(metrics);
        Ok(Step::Committed(committed.id))
    }

    /// How far each partition moved since the last commit.
    fn advances(&self, pending: &Pending) -> Vec<Advance> {
        let moved = self.partitions.values().filter_map(|state| {
            let from = self.committed.get(&state.partition).copied().unwrap_or(0);
            (state.position > from).then(|| Advance {
                topic: EVENTS_TOPIC,
                log_partition: state.partition,
                from,
                to: state.position,
                log_time: state.log_time,
                events: pending.events.get(&state.partition).copied().unwrap_or(0),
            })
        });
        moved.collect()
    }

    fn note_committed(&mut self, advances: &[Advance]) {
        for advance in advances {
            self.committed.insert(advance.log_partition, advance.to);
        }
    }

    /// Writes the fresh keys of all partitions as one file, a run each.
    fn write_id_runs(&self, lake: &Lake, name: &FileName) -> Result<Vec<NewIdRun>, RunError> {
        let path = format!("ids/{}", name.path("run"));
        let mut bytes = Vec::new();
        let mut runs = Vec::new();
        for state in self.partitions.values() {
            let keys = state.keys.fresh_sorted();
            if !keys.is_empty() {
                let offset_bytes = bytes.len() as u64;
                bytes.extend(encode_run(&keys));
                let (log_partition, path) = (state.partition, path.clone());
                runs.push(NewIdRun { log_partition, level: 0, path, offset_bytes, keys: keys.len() as u64 });
            }
        }
        if !bytes.is_empty() {
            write(lake, path, &bytes)?;
        }
        Ok(runs)
    }

    fn write_state(
        &mut self,
        lake: &Lake,
        name: &FileName,
        config: &ProcessorConfig,
    ) -> Result<Vec<StateFile>, RunError> {
        if self.last_state.elapsed() < config.state_interval {
            return Ok(Vec::new());
        }
        self.last_state = Instant::now();
        let mut files = Vec::new();
        for state in self.partitions.values_mut() {
            let path = format!("state/{}", name.path(&format!("{}.clocks", state.partition)));
            let bytes = state.clocks.to_bytes();
            write(lake, path.clone(), &[&crc32fast::hash(&bytes).to_be_bytes()[..], &bytes].concat())?;
            files.push(StateFile { log_partition: state.partition, position: state.position, path });
        }
        Ok(files)
    }

    async fn merge_id_runs(&mut self, warehouse: &Warehouse, now: Timestamp) -> Result<(), RunError> {
        let mut merges = 0;
        for state in self.partitions.values_mut() {
            while merges < RUN_MERGES
                && let Some(run_ids) = state.keys.mergeable()
            {
                // Named like a file of the commit that comes next: until that has landed nobody takes it for a leftover.
                let origin = Origin::Commit { partition: state.partition, from: state.position };
                let run = state.keys.write_merged(&run_ids, &FileName::new(origin, now))?;
                let listed = warehouse.replace_id_runs(&run_ids, &run).await?;
                state.keys.merged(&run_ids, listed)?;
                merges += 1;
            }
        }
        Ok(())
    }

    fn measure(&self, metrics: &ProcessorMetrics) {
        let (mut hot, mut cold, mut memory, mut epochs) = (0, 0, 0, 0);
        for state in self.partitions.values() {
            let sizes = state.keys.sizes();
            hot += sizes.0;
            cold += sizes.1;
            memory += sizes.2;
            epochs += state.clocks.len();
        }
        let gauge = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        metrics.dedup_hot_keys.set(gauge(hot));
        metrics.dedup_cold_keys.set(i64::try_from(cold).unwrap_or(i64::MAX));
        metrics.dedup_memory_bytes.set(gauge(memory));
        metrics.clock_epochs.set(gauge(epochs));
    }
}

/// Encodes and writes the rows of a commit, one file per table.
fn write_files(
    lake: &Lake,
    name: &FileName,
    rows: &[(&'static LakeTable, RecordBatch)],
) -> Result<Vec<NewFile>, RunError> {
    let mut files = Vec::with_capacity(rows.len());
    for (table, batch) in rows {
        let encoded = encode_parquet(table, batch, COMMIT_ZSTD_LEVEL)
            .map_err(|source| RunError::Encode { table: table.name, source: source.into() })?;
        let path = name.path("parquet");
        write(lake, Lake::table_path(table, &path), &encoded.bytes)?;
        files.push(NewFile { table_id: table.id, path, encoded });
    }
    Ok(files)
}

fn write(lake: &Lake, path: String, bytes: &[u8]) -> Result<(), RunError> {
    lake.write(&path, bytes).map_err(|source| RunError::Write { path, source })
}

/// The state of a state file and the position it holds; `None` if it is missing or damaged: then records are folded
/// again instead.
fn read_state(lake: &Lake, state: &StateFile) -> Option<(Clocks, u64)> {
    let bytes = lake.read(&state.path).ok()?;
    let (crc, bytes) = bytes.split_at_checked(4)?;
    let clocks = (crc32fast::hash(bytes).to_be_bytes() == crc).then(|| Clocks::from_bytes(bytes)).flatten();
    if clocks.is_none() {
        tracing::warn!(file.path = state.path, "a state file is damaged: its records are folded again");
    }
    Some((clocks?, state.position))
}
