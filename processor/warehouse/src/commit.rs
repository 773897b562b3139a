//! The commit: files, deltas, id runs and checkpoint move together, or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use schemas::Timestamp;
use schemas::rollups::Rollup;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Executor, QueryBuilder, Row, Sqlite};
use thiserror::Error;

use crate::database::Warehouse;
use crate::lake::NewFile;
use crate::tables::{ColumnType, LAKE_TABLES, LakeTable};

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
}

impl Lane {
    /// The word in `commits.lane`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Maintenance => "maintenance",
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
}

/// Contributions to one rollup.
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
    /// Values of the rollup's keys, in their order.
    pub keys: Vec<String>,
    /// Values of its measures, in their order; negative to take away.
    pub measures: Vec<i64>,
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
    /// Files (by `data_file_id`) whose rows are in the new files; they must be live.
    pub replaced_files: Vec<i64>,
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
        topic: &'static str,
        /// The partition.
        log_partition: u16,
        /// What this writer expected.
        expected: u64,
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
    /// # Errors
    ///
    /// [`CommitError`]. Files of a commit that failed are left to the orphan collector, never deleted here.
    pub async fn commit(&self, commit: &Commit) -> Result<Committed, CommitError> {
        let mut transaction = self.shared.writer.begin_with("BEGIN IMMEDIATE").await?;
        let connection = &mut *transaction;
        advance_checkpoints(connection, &commit.advances).await?;
        for state in &commit.state_files {
            sqlx::query("INSERT OR REPLACE INTO state_file VALUES (?, ?, ?)")
                .bind(state.log_partition)
                .bind(signed(state.position))
                .bind(&state.path)
                .execute(&mut *connection)
                .await?;
        }
        let id_runs = insert_id_runs(connection, &commit.id_runs).await?;
        let snapshot = begin_snapshot(connection, commit).await?;
        for delta in &commit.deltas {
            insert_delta(connection, snapshot.id, delta).await?;
        }
        end_files(connection, snapshot.id, &commit.replaced_files).await?;
        list_files(connection, &snapshot, commit).await?;
        insert_commits(connection, snapshot.id, commit).await?;
        transaction.commit().await?;
        let id = CommitId(snapshot.id);
        self.shared.newest.send_replace(id);
        Ok(Committed { id, id_runs })
    }

    /// Moves checkpoints over records that hold nothing but ticks: no snapshot, no row in `commits`.
    ///
    /// # Errors
    ///
    /// [`CommitError`].
    pub async fn advance(&self, advances: &[Advance]) -> Result<(), CommitError> {
        let mut transaction = self.shared.writer.begin_with("BEGIN IMMEDIATE").await?;
        advance_checkpoints(&mut transaction, advances).await?;
        Ok(transaction.commit().await?)
    }
}

pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn fenced(advance: &Advance) -> CommitError {
    CommitError::Fenced { topic: advance.topic, log_partition: advance.log_partition, expected: advance.from }
}

async fn advance_checkpoints(connection: &mut SqliteConnection, advances: &[Advance]) -> Result<(), CommitError> {
    for advance in advances {
        let moved = sqlx::query(
            "UPDATE checkpoint SET position = ?, log_time_us = max(log_time_us, ?) \
             WHERE topic = ? AND log_partition = ? AND position = ?",
        )
        .bind(signed(advance.to))
        .bind(advance.log_time.micros())
        .bind(advance.topic)
        .bind(advance.log_partition)
        .bind(signed(advance.from))
        .execute(&mut *connection)
        .await?;
        if moved.rows_affected() != 1 {
            return Err(fenced(advance));
        }
    }
    Ok(())
}

pub(crate) async fn insert_id_runs(
    connection: &mut SqliteConnection,
    runs: &[NewIdRun],
) -> Result<Vec<IdRun>, sqlx::Error> {
    let mut listed = Vec::with_capacity(runs.len());
    for run in runs {
        let run_id = sqlx::query_scalar(
            "INSERT INTO id_run (log_partition, level, path, offset_bytes, keys) VALUES (?, ?, ?, ?, ?) RETURNING run_id",
        )
        .bind(run.log_partition)
        .bind(run.level)
        .bind(&run.path)
        .bind(signed(run.offset_bytes))
        .bind(signed(run.keys))
        .fetch_one(&mut *connection)
        .await?;
        listed.push(IdRun { run_id, run: run.clone() });
    }
    Ok(listed)
}

struct SnapshotRow {
    id: i64,
    first_file_id: i64,
}

/// Takes the next snapshot id. It serialises all writers, so it comes as late as the deltas' commit id allows.
async fn begin_snapshot(connection: &mut SqliteConnection, commit: &Commit) -> Result<SnapshotRow, sqlx::Error> {
    let last = sqlx::query(
        "SELECT snapshot_id, schema_version, next_catalog_id, next_file_id FROM ducklake_snapshot \
         ORDER BY snapshot_id DESC LIMIT 1",
    )
    .fetch_one(&mut *connection)
    .await?;
    let id = last.get::<i64, _>(0) + 1;
    let first_file_id: i64 = last.get(3);
    sqlx::query("INSERT INTO ducklake_snapshot VALUES (?, ?, ?, ?, ?)")
        .bind(id)
        .bind(commit.now.to_sql())
        .bind(last.get::<i64, _>(1))
        .bind(last.get::<i64, _>(2))
        .bind(first_file_id + i64::try_from(commit.files.len()).unwrap_or(0))
        .execute(&mut *connection)
        .await?;
    let changes = changes(commit);
    let positions: Vec<_> = commit
        .advances
        .iter()
        .map(|advance| serde_json::json!({"partition": advance.log_partition, "from": advance.from, "to": advance.to}))
        .collect();
    sqlx::query("INSERT INTO ducklake_snapshot_changes VALUES (?, ?, 'streamgauge', ?, ?)")
        .bind(id)
        .bind(changes)
        .bind(commit.lane.as_str())
        .bind(serde_json::Value::Array(positions).to_string())
        .execute(&mut *connection)
        .await?;
    Ok(SnapshotRow { id, first_file_id })
}

/// What a commit changes, in the catalogue's words.
fn changes(commit: &Commit) -> String {
    let tables: BTreeSet<i64> = commit.files.iter().map(|file| file.table_id).collect();
    let change = if commit.lane == Lane::Maintenance { "compacted_table" } else { "inserted_into_table" };
    let mut changes: Vec<String> = tables.iter().map(|table_id| format!("{change}:{table_id}")).collect();
    if commit.lane != Lane::Maintenance && !commit.replaced_files.is_empty() {
        let replaceable = LAKE_TABLES.iter().filter(|table| !table.row_key.is_empty());
        changes.extend(replaceable.map(|table| format!("deleted_from_table:{}", table.id)));
    }
    changes.join(",")
}

/// `SQLite` takes at most this many bound values in one statement.
const MAX_BINDS: usize = 32_766;

async fn insert_delta(connection: &mut SqliteConnection, commit_id: i64, delta: &Delta) -> Result<(), sqlx::Error> {
    let rollup = delta.rollup;
    let columns: Vec<&str> = rollup.keys.iter().chain(rollup.measures).map(|column| column.name).collect();
    let insert = format!("INSERT INTO {}_delta (commit_id, project, bucket_us, {}) ", rollup.name, columns.join(", "));
    for rows in delta.rows.chunks(MAX_BINDS / (columns.len() + 3)) {
        let mut query = QueryBuilder::<Sqlite>::new(&insert);
        query.push_values(rows, |mut values, row| {
            values.push_bind(commit_id).push_bind(row.project.as_ref()).push_bind(row.bucket.micros());
            for key in &row.keys {
                values.push_bind(key.as_str());
            }
            for measure in &row.measures {
                values.push_bind(*measure);
            }
        });
        // Another text for each number of rows: not worth remembering.
        query.build().persistent(false).execute(&mut *connection).await?;
    }
    Ok(())
}

async fn end_files(connection: &mut SqliteConnection, snapshot: i64, replaced: &[i64]) -> Result<(), CommitError> {
    for data_file_id in replaced {
        let ended = sqlx::query(
            "UPDATE ducklake_data_file SET end_snapshot = ? WHERE data_file_id = ? AND end_snapshot IS NULL",
        )
        .bind(snapshot)
        .bind(data_file_id)
        .execute(&mut *connection)
        .await?;
        if ended.rows_affected() != 1 {
            return Err(CommitError::Replaced { data_file_id: *data_file_id });
        }
        sqlx::query(
            "UPDATE ducklake_table_stats AS t SET file_size_bytes = t.file_size_bytes - f.file_size_bytes, \
             record_count = t.record_count - f.record_count \
             FROM ducklake_data_file f WHERE f.data_file_id = ? AND t.table_id = f.table_id",
        )
        .bind(data_file_id)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

async fn list_files(
    connection: &mut SqliteConnection,
    snapshot: &SnapshotRow,
    commit: &Commit,
) -> Result<(), sqlx::Error> {
    for (file, data_file_id) in commit.files.iter().zip(snapshot.first_file_id..) {
        let Some(table) = LAKE_TABLES.iter().find(|table| table.id == file.table_id) else { continue };
        let size = i64::try_from(file.encoded.bytes.len()).unwrap_or(i64::MAX);
        let row_id: i64 = sqlx::query_scalar(
            "UPDATE ducklake_table_stats SET record_count = record_count + ?, next_row_id = next_row_id + ?, \
             file_size_bytes = file_size_bytes + ? WHERE table_id = ? RETURNING next_row_id",
        )
        .bind(file.encoded.rows)
        .bind(file.encoded.rows)
        .bind(size)
        .bind(table.id)
        .fetch_one(&mut *connection)
        .await?;
        sqlx::query(
            "INSERT INTO ducklake_data_file (data_file_id, table_id, begin_snapshot, path, path_is_relative, \
             file_format, record_count, file_size_bytes, footer_size, row_id_start) \
             VALUES (?, ?, ?, ?, 1, 'parquet', ?, ?, ?, ?)",
        )
        .bind(data_file_id)
        .bind(table.id)
        .bind(snapshot.id)
        .bind(&file.path)
        .bind(file.encoded.rows)
        .bind(size)
        .bind(file.encoded.footer_bytes)
        .bind(row_id - file.encoded.rows)
        .execute(&mut *connection)
        .await?;
        insert_file_statistics(connection, table, data_file_id, file).await?;
        widen_table_statistics(connection, table, file).await?;
    }
    Ok(())
}

async fn insert_file_statistics(
    connection: &mut SqliteConnection,
    table: &LakeTable,
    data_file_id: i64,
    file: &NewFile,
) -> Result<(), sqlx::Error> {
    let mut query = QueryBuilder::<Sqlite>::new(
        "INSERT INTO ducklake_file_column_stats (data_file_id, table_id, column_id, column_size_bytes, value_count, \
         null_count, min_value, max_value) ",
    );
    query.push_values(file.encoded.columns.iter().zip(1_i64..), |mut values, (column, column_id)| {
        let (least, greatest) = column.bounds.as_ref().map(|(least, greatest)| (least, greatest)).unzip();
        values
            .push_bind(data_file_id)
            .push_bind(table.id)
            .push_bind(column_id)
            .push_bind(column.bytes)
            .push_bind(column.values)
            .push_bind(column.nulls)
            .push_bind(least)
            .push_bind(greatest);
    });
    query.build().execute(&mut *connection).await?;
    Ok(())
}

/// Whether a column of a table holds nulls, its least and its greatest value, as far as they are known.
type KnownBounds = (Option<i64>, Option<String>, Option<String>);

/// The table's bounds take in the file's.
async fn widen_table_statistics(
    connection: &mut SqliteConnection,
    table: &LakeTable,
    file: &NewFile,
) -> Result<(), sqlx::Error> {
    let rows = sqlx::query(
        "SELECT column_id, contains_null, min_value, max_value FROM ducklake_table_column_stats WHERE table_id = ?",
    )
    .bind(table.id)
    .fetch_all(&mut *connection)
    .await?;
    let known: BTreeMap<i64, KnownBounds> =
        rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2), row.get(3)))).collect();
    for ((column, bounds), column_id) in table.columns.iter().zip(&file.encoded.columns).zip(1_i64..) {
        let (contains_null, min, max) = known.get(&column_id).cloned().unwrap_or_default();
        let nulls = i64::from(contains_null == Some(1) || bounds.nulls > 0);
        let (mut least, mut greatest) = (min.clone(), max.clone());
        if let Some((file_least, file_greatest)) = &bounds.bounds {
            least =
                Some(min.clone().filter(|min| !less(column.ty, file_least, min)).unwrap_or_else(|| file_least.clone()));
            greatest = Some(
                max.clone().filter(|max| !less(column.ty, max, file_greatest)).unwrap_or_else(|| file_greatest.clone()),
            );
        }
        if (Some(nulls), &least, &greatest) != (contains_null, &min, &max) {
            sqlx::query(
                "UPDATE ducklake_table_column_stats SET contains_null = ?, min_value = ?, max_value = ? \
                 WHERE table_id = ? AND column_id = ?",
            )
            .bind(nulls)
            .bind(least)
            .bind(greatest)
            .bind(table.id)
            .bind(column_id)
            .execute(&mut *connection)
            .await?;
        }
    }
    Ok(())
}

/// Whether one bound, as the catalogue writes it, is less than another. Times are all of one form.
fn less(ty: ColumnType, one: &str, other: &str) -> bool {
    match ty {
        ColumnType::Int32 | ColumnType::Int64 => one.parse::<i64>().ok() < other.parse::<i64>().ok(),
        _ => one < other,
    }
}

async fn insert_commits(connection: &mut SqliteConnection, snapshot: i64, commit: &Commit) -> Result<(), sqlx::Error> {
    // A commit that moves no partition still has its row, so that answers can name it.
    let none = Advance { topic: "", log_partition: 0, from: 0, to: 0, log_time: Timestamp::default(), events: 0 };
    let moved: Vec<(i64, &Advance)> = match commit.advances.as_slice() {
        [] => vec![(-1, &none)],
        advances => advances.iter().map(|advance| (i64::from(advance.log_partition), advance)).collect(),
    };
    for (log_partition, advance) in moved {
        sqlx::query("INSERT INTO commits VALUES (?, ?, ?, ?, ?, ?, ?)")
            .bind(snapshot)
            .bind(commit.now.to_sql())
            .bind(commit.lane.as_str())
            .bind(log_partition)
            .bind(signed(advance.from))
            .bind(signed(advance.to))
            .bind(signed(advance.events))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Runs one statement whose text was put together from constants of this program.
pub(crate) async fn run(connection: &mut SqliteConnection, sql: String) -> Result<u64, sqlx::Error> {
    Ok(connection.execute(AssertSqlSafe(sql)).await?.rows_affected())
}
