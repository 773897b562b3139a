//! The commit: files, deltas, id runs and checkpoint move together, or not at all.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use schemas::Timestamp;
use schemas::fold::measures::Bin;
use schemas::rollups::Rollup;
use thiserror::Error;

use crate::database::{Transaction, composed, places, sql};
use crate::deltas::append;
use crate::lake::NewFile;
use crate::open::Warehouse;
use crate::read::DataFile;
use crate::tables::LAKE_TABLES;

/// Names a commit: the id of its DuckLake snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct CommitId(pub i64);

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a commit comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Usage and health events.
    Events,
    /// Merging: changes no answer.
    Maintenance,
    /// Taking away what is older than its retention, from this table.
    Retention {
        /// Its `table_id`.
        table_id: i64,
    },
}

impl Lane {
    /// The word in `commits.lane`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Maintenance | Self::Retention { .. } => "maintenance",
        }
    }
}

/// How far a log partition was taken in: records `[from, to)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advance {
    /// The topic.
    pub topic: &'static str,
    /// The partition.
    pub log_partition: u16,
    /// What the checkpoint must say now.
    pub from: u64,
    /// What it will say.
    pub to: u64,
    /// Log time of the partition at `to`, a running maximum.
    pub log_time: Timestamp,
    /// Events in these records.
    pub events: u64,
    /// How often the partition had been paused when its checkpoint was read: what was begun before a pause never lands.
    pub pauses: u64,
}

/// Contributions to one rollup and its distributions.
#[derive(Debug, Clone)]
pub struct Delta {
    /// The rollup.
    pub rollup: &'static Rollup,
    /// Rows; equal keys may repeat, they add.
    pub rows: Vec<DeltaRow>,
}

/// A contribution to one bucket and key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeltaRow {
    /// The project.
    pub project: Arc<str>,
    /// Start of the bucket, of the rollup's finest grain.
    pub bucket: Timestamp,
    /// Values of its keys, in their order.
    pub keys: Vec<String>,
    /// Values of its measures, in their order; negative to take away.
    pub measures: Vec<i64>,
    /// What it adds to the [distributions](Rollup::bins), each bin once.
    pub bins: Vec<Bin>,
}

/// A sorted run of event keys, in a file that was written already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewIdRun {
    /// The partition whose events these are.
    pub log_partition: u16,
    /// 0 for a commit's own run, one more for each merging.
    pub level: u32,
    /// The file, below the lake.
    pub path: String,
    /// Where in it the run begins.
    pub offset_bytes: u64,
    /// How many keys it holds.
    pub keys: u64,
}

/// A listed run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdRun {
    /// Its number.
    pub run_id: i64,
    /// What was said about it.
    pub run: NewIdRun,
}

/// State of the processor at a position, in a file that was written already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateFile {
    /// The partition.
    pub log_partition: u16,
    /// The state holds everything below this position.
    pub position: u64,
    /// The file, below the lake.
    pub path: String,
}

/// Everything that moves together.
#[derive(Debug, Clone)]
pub struct Commit {
    /// What it comes from.
    pub lane: Lane,
    /// The server's clock.
    pub now: Timestamp,
    /// How far which partitions were taken in.
    pub advances: Vec<Advance>,
    /// New files.
    pub files: Vec<NewFile>,
    /// Files whose rows are in the new files; they must be live.
    pub replaced_files: Vec<DataFile>,
    /// Contributions to rollups.
    pub deltas: Vec<Delta>,
    /// New id runs.
    pub id_runs: Vec<NewIdRun>,
    /// State files; each replaces the partition's former one.
    pub state_files: Vec<StateFile>,
}

/// A commit that landed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Its name.
    pub id: CommitId,
    /// Its id runs with their numbers, in their order.
    pub id_runs: Vec<IdRun>,
}

/// Why a commit did not land, or may not have.
#[derive(Debug, Error)]
pub enum CommitError {
    /// The checkpoint is not where this writer left it: another one has the partition. Drop all state.
    #[error("partition {log_partition} of `{topic}` is not at {expected}: another writer has it")]
    Fenced {
        /// The topic.
        topic: String,
        /// The partition.
        log_partition: u16,
        /// What this writer expected.
        expected: u64,
    },
    /// An operator paused the partition since its checkpoint was read. Drop all state, and go on without it.
    #[error("partition {log_partition} of `{topic}` is paused: {because}")]
    Paused {
        /// The topic.
        topic: String,
        /// The partition.
        log_partition: u16,
        /// Why, in the operator's words.
        because: String,
    },
    /// A file to be replaced is not live any more.
    #[error("lake file {data_file_id} was replaced by somebody else")]
    Replaced {
        /// The file.
        data_file_id: i64,
    },
    /// The database failed, and the commit may have landed all the same: the checkpoint, read anew, tells.
    #[error("commit to the warehouse database")]
    Database(#[from] sqlx::Error),
}

impl Warehouse {
    /// Commits. On success everything is durable and visible, under the returned id.
    ///
    /// Writers of one partition are fenced by its checkpoint. Writers of different partitions work at the same time up
    /// to the snapshot id, which one has at a time; what follows it is kept short. Rows are locked in one order
    /// everywhere (checkpoints by partition, state files, snapshot), so that nobody waits in a circle.
    ///
    /// # Errors
    ///
    /// [`CommitError`]. Files of a commit that failed are left to the orphan collector, never deleted here.
    pub async fn commit(&self, commit: &Commit) -> Result<Committed, CommitError> {
        let transaction = self.shared.database.write().await?;
        self.commit_in(transaction, commit).await
    }

    /// Commits within a transaction that was begun for it.
    pub(crate) async fn commit_in(
        &self,
        mut transaction: Transaction,
        commit: &Commit,
    ) -> Result<Committed, CommitError> {
        advance_checkpoints(&mut transaction, &commit.advances).await?;
        insert_state_files(&mut transaction, &commit.state_files).await?;
        let id_runs = insert_id_runs(&mut transaction, &commit.id_runs).await?;
        let snapshot = begin_snapshot(&mut transaction, &NewSnapshot::of(commit)).await?;
        for delta in &commit.deltas {
            append(&mut transaction, snapshot.id, delta).await?;
        }
        crate::listing::change_files(&mut transaction, &snapshot, commit).await?;
        insert_commits(&mut transaction, snapshot.id, commit).await?;
        let id = CommitId(snapshot.id);
        transaction.tell(id).await?;
        transaction.commit().await?;
        self.shared.history.made(id, snapshot.made_at);
        Ok(Committed { id, id_runs })
    }

    /// Moves checkpoints over records that hold nothing but ticks: no snapshot, no row in `commits`.
    ///
    /// # Errors
    ///
    /// [`CommitError`].
    pub async fn advance(&self, advances: &[Advance]) -> Result<(), CommitError> {
        let mut transaction = self.shared.database.write().await?;
        advance_checkpoints(&mut transaction, advances).await?;
        Ok(transaction.commit().await?)
    }
}

pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A number of things in memory.
pub(crate) fn count(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}

/// Why a checkpoint could not be moved.
async fn refusal(transaction: &mut Transaction, advance: &Advance) -> Result<CommitError, sqlx::Error> {
    let (topic, log_partition) = (advance.topic.to_owned(), advance.log_partition);
    let paused = sql("SELECT paused_because FROM checkpoint \
         WHERE topic = $1 AND log_partition = $2 AND (paused_us IS NOT NULL OR pauses <> $3)")
    .bind(advance.topic)
    .bind(log_partition)
    .bind(signed(advance.pauses))
    .first(transaction)
    .await?;
    Ok(match paused {
        Some(row) => {
            let because = row.get::<Option<String>>(0).unwrap_or_else(|| "meanwhile, and goes on now".to_owned());
            CommitError::Paused { topic, log_partition, because }
        }
        None => CommitError::Fenced { topic, log_partition, expected: advance.from },
    })
}

async fn advance_checkpoints(transaction: &mut Transaction, advances: &[Advance]) -> Result<(), CommitError> {
    let mut advances: Vec<&Advance> = advances.iter().collect();
    advances.sort_by_key(|advance| (advance.topic, advance.log_partition));
    for advance in advances {
        let moved = sql("UPDATE checkpoint SET position = $1, \
             log_time_us = CASE WHEN log_time_us > $2 THEN log_time_us ELSE $2 END \
             WHERE topic = $3 AND log_partition = $4 AND position = $5 AND pauses = $6 AND paused_us IS NULL")
        .bind(signed(advance.to))
        .bind(advance.log_time.micros())
        .bind(advance.topic)
        .bind(advance.log_partition)
        .bind(signed(advance.from))
        .bind(signed(advance.pauses))
        .run(transaction)
        .await?;
        if moved != 1 {
            return Err(refusal(transaction, advance).await?);
        }
    }
    Ok(())
}

/// A file of an older state never takes the place of a newer one: its writer has lost the partition.
async fn insert_state_files(transaction: &mut Transaction, files: &[StateFile]) -> Result<(), sqlx::Error> {
    let mut files: Vec<&StateFile> = files.iter().collect();
    files.sort_by_key(|file| file.log_partition);
    for file in files {
        sql("INSERT INTO state_file VALUES ($1, $2, $3) ON CONFLICT (log_partition) \
             DO UPDATE SET position = excluded.position, path = excluded.path \
             WHERE excluded.position >= state_file.position")
        .bind(file.log_partition)
        .bind(signed(file.position))
        .bind(&file.path)
        .run(transaction)
        .await?;
    }
    Ok(())
}

pub(crate) async fn insert_id_runs(
    transaction: &mut Transaction,
    runs: &[NewIdRun],
) -> Result<Vec<IdRun>, sqlx::Error> {
    let mut listed = Vec::with_capacity(runs.len());
    for run in runs {
        let run_id = sql("INSERT INTO id_run (log_partition, level, path, offset_bytes, keys) \
             VALUES ($1, $2, $3, $4, $5) RETURNING run_id")
        .bind(run.log_partition)
        .bind(run.level)
        .bind(&run.path)
        .bind(signed(run.offset_bytes))
        .bind(signed(run.keys))
        .value(transaction)
        .await?;
        listed.push(IdRun { run_id, run: run.clone() });
    }
    Ok(listed)
}

/// What a new snapshot says of itself.
#[derive(Debug, Default)]
pub(crate) struct NewSnapshot {
    pub(crate) now: Timestamp,
    /// In the catalogue's words.
    pub(crate) changes: String,
    /// What made it.
    pub(crate) message: Option<String>,
    /// Positions of the log, as JSON.
    pub(crate) positions: Option<String>,
    pub(crate) new_files: i64,
    pub(crate) schema_changes: i64,
    pub(crate) least_catalog_id: i64,
}

impl NewSnapshot {
    fn of(commit: &Commit) -> Self {
        let position = |advance: &Advance| serde_json::json!({"partition": advance.log_partition, "from": advance.from, "to": advance.to});
        let positions = commit.advances.iter().map(position).collect();
        Self {
            now: commit.now,
            changes: changes(commit),
            message: Some(commit.lane.as_str().to_owned()),
            positions: Some(serde_json::Value::Array(positions).to_string()),
            new_files: count(commit.files.len()),
            ..Self::default()
        }
    }
}

/// A snapshot that was begun.
pub(crate) struct SnapshotRow {
    pub(crate) id: i64,
    pub(crate) schema_version: i64,
    pub(crate) first_file_id: i64,
    /// As the catalogue writes times.
    pub(crate) made_at: Option<String>,
}

/// Each time another writer was faster; they wait in a queue.
const SNAPSHOT_TRIES: usize = 1000;

/// Takes the next snapshot id. It serialises all writers, so it comes as late as the deltas' commit id allows.
pub(crate) async fn begin_snapshot(
    transaction: &mut Transaction,
    new: &NewSnapshot,
) -> Result<SnapshotRow, sqlx::Error> {
    let mut taken = None;
    for _ in 0..SNAPSHOT_TRIES {
        // Somebody else who has the id is waited for; if it was committed, nothing is inserted, and the next is free.
        let insert = sql("INSERT INTO ducklake_snapshot SELECT snapshot_id + 1, $1, schema_version + $2, \
             CASE WHEN next_catalog_id > $3 THEN next_catalog_id ELSE $3 END, next_file_id + $4 \
             FROM ducklake_snapshot WHERE snapshot_id = (SELECT max(snapshot_id) FROM ducklake_snapshot) \
             ON CONFLICT DO NOTHING RETURNING snapshot_id, schema_version, next_file_id, CAST(snapshot_time AS TEXT)")
        .bind(new.now)
        .bind(new.schema_changes)
        .bind(new.least_catalog_id)
        .bind(new.new_files);
        taken = insert.first(transaction).await?;
        if taken.is_some() {
            break;
        }
    }
    let row = taken.ok_or(sqlx::Error::RowNotFound)?;
    let id = row.get(0);
    sql("INSERT INTO ducklake_snapshot_changes VALUES ($1, $2, $3, $4, $5)")
        .bind(id)
        .bind(new.changes.as_str())
        .bind(new.message.as_ref().map(|_| "streamgauge".to_owned()))
        .bind(new.message.clone())
        .bind(new.positions.clone())
        .run(transaction)
        .await?;
    let first_file_id = row.get::<i64>(2) - new.new_files;
    Ok(SnapshotRow { id, schema_version: row.get(1), first_file_id, made_at: row.get(3) })
}

/// What a commit changes, in the catalogue's words.
fn changes(commit: &Commit) -> String {
    let tables: BTreeSet<i64> = commit.files.iter().map(|file| file.table_id).collect();
    let change = if commit.lane == Lane::Maintenance { "compacted_table" } else { "inserted_into_table" };
    let mut changes: Vec<String> = tables.iter().map(|table_id| format!("{change}:{table_id}")).collect();
    match commit.lane {
        Lane::Retention { table_id } => changes.push(format!("deleted_from_table:{table_id}")),
        Lane::Events if !commit.replaced_files.is_empty() => {
            let replaceable = LAKE_TABLES.iter().filter(|table| !table.row_key.is_empty());
            changes.extend(replaceable.map(|table| format!("deleted_from_table:{}", table.id)));
        }
        Lane::Events | Lane::Maintenance => {}
    }
    changes.join(",")
}

async fn insert_commits(transaction: &mut Transaction, snapshot: i64, commit: &Commit) -> Result<(), sqlx::Error> {
    // A commit that moves no partition still has its row, so that answers can name it.
    let none =
        Advance { topic: "", log_partition: 0, from: 0, to: 0, log_time: Timestamp::default(), pauses: 0, events: 0 };
    let moved: Vec<(i64, &Advance)> = match commit.advances.as_slice() {
        [] => vec![(-1, &none)],
        advances => advances.iter().map(|advance| (i64::from(advance.log_partition), advance)).collect(),
    };
    let mut insert = composed(format!("INSERT INTO commits VALUES {}", places(moved.len(), 7, 1)));
    for (log_partition, advance) in moved {
        insert = insert
            .bind(snapshot)
            .bind(commit.now)
            .bind(commit.lane.as_str())
            .bind(log_partition)
            .bind(signed(advance.from))
            .bind(signed(advance.to))
            .bind(signed(advance.events));
    }
    insert.run(transaction).await?;
    Ok(())
}
