//! Reading: one snapshot transaction, in it the newest commit, and everything as of it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use schemas::Timestamp;
use thiserror::Error;

use crate::commit::CommitId;
use crate::database::{Row, Transaction, sql};
use crate::history::{LOOK, Look};
use crate::lake::{FileName, Lake, Origin, ScanError};
use crate::open::Warehouse;
use crate::tables::{LAKE_TABLES, LakeTable};

/// Why nothing could be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The database failed.
    #[error("read the warehouse database")]
    Database(#[from] sqlx::Error),
    /// The lake failed.
    #[error("list the files of the lake")]
    Lake(#[source] std::io::Error),
    /// The checkpoints are of another log. Going on would skip or repeat records.
    #[error(
        "the warehouse took in records of another log than this one (topic `{topic}`: of log `{followed}`, and this one is \
         `{found}`): restore the log that belongs to it, or adopt this one"
    )]
    OtherLog {
        /// The topic.
        topic: &'static str,
        /// The log that the checkpoints are of; empty if it was never named.
        followed: String,
        /// The other one.
        found: String,
    },
    /// There is no such commit, or its files may be gone already.
    #[error("commit {commit} does not exist or has expired; {oldest} to {newest} can be read")]
    NoSuchCommit {
        /// What was asked for.
        commit: CommitId,
        /// The oldest that can be read.
        oldest: CommitId,
        /// The newest.
        newest: CommitId,
    },
}

/// The lake as of one commit, and how far it is complete.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The commit.
    pub commit: CommitId,
    /// How often this process found the database replaced by an older one until then: what is remembered by the number of
    /// a commit is good for as long as this is the same.
    pub replaced: u64,
    /// Live files by `table_id`.
    files: HashMap<i64, Arc<[DataFile]>>,
}

impl Snapshot {
    /// The live files of a table.
    #[must_use]
    pub fn files(&self, table: &LakeTable) -> Arc<[DataFile]> {
        self.files.get(&table.id).cloned().unwrap_or_default()
    }

    /// Only the files that commits of log records listed after `commit`; what merging rewrote is left out.
    #[must_use]
    pub fn news_since(&self, commit: CommitId) -> Self {
        let is_news = |file: &&DataFile| {
            file.since > commit && matches!(FileName::origin_of(&file.path), Some(Origin::Commit { .. }))
        };
        let files =
            self.files.iter().map(|(table_id, files)| (*table_id, files.iter().filter(is_news).cloned().collect()));
        Self { files: files.collect(), ..*self }
    }
}

/// A live file of the lake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFile {
    /// Its number.
    pub data_file_id: i64,
    /// The commit that listed it.
    pub since: CommitId,
    /// Its path below the lake.
    pub path: String,
    /// Its rows.
    pub rows: i64,
    /// Its size.
    pub bytes: u64,
    /// Least and greatest value by column, in the table's order, as the catalogue writes them.
    pub bounds: Vec<Option<(String, String)>>,
    /// The project of all its rows, if they are of one.
    pub project: Option<String>,
}

/// A read transaction: everything read through it is as of one commit.
#[derive(Debug)]
pub struct Read {
    pub(crate) transaction: Transaction,
    commit: CommitId,
    /// How often the database was replaced until then.
    replaced: u64,
    complete_through: Option<Timestamp>,
    warehouse: Warehouse,
}

impl Warehouse {
    /// Begins to read at the newest commit.
    ///
    /// # Errors
    ///
    /// [`ReadError::Database`].
    pub async fn read(&self) -> Result<Read, ReadError> {
        let known = self.shared.history.known();
        let mut transaction = self.shared.database.read().await?;
        // The first statement takes the snapshot.
        let row = sql(LOOK).bind(known.commit.0).row(&mut transaction).await?;
        let commit = CommitId(row.get(0));
        let look = Look { newest: commit, made_at: row.get(1), known_made_at: row.get(2) };
        let replaced = self.shared.history.note(&known, look);
        let log_time_us: Option<i64> = row.get(3);
        Ok(Read {
            commit,
            replaced,
            complete_through: log_time_us.filter(|us| *us > 0).map(Timestamp::from_micros),
            transaction,
            warehouse: self.clone(),
        })
    }

    /// Whether this process's role may change anything, or only reads (`deploy/postgres/roles.sql`).
    ///
    /// # Errors
    ///
    /// [`ReadError::Database`].
    pub async fn may_write(&self) -> Result<bool, ReadError> {
        Ok(self.shared.database.read().await?.may_change("projects").await?)
    }

    /// Whether a later program has migrated the database meanwhile. Then this one knows only a part of what is in it, and
    /// whatever it would write anew from that would lose the rest.
    ///
    /// # Errors
    ///
    /// [`ReadError::Database`].
    pub async fn is_outdated(&self) -> Result<bool, ReadError> {
        let mut read = self.shared.database.read().await?;
        let newest: i64 = sql("SELECT max(version) FROM _sqlx_migrations").value(&mut read).await?;
        Ok(newest > self.shared.database.last_version())
    }

    /// Reads files of the lake at the newest commit, beside the runtime's threads.
    ///
    /// # Errors
    ///
    /// [`ReadError::Database`]; and what `read` says.
    ///
    /// # Panics
    ///
    /// If `read` does.
    pub async fn scan<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Lake, &Snapshot) -> Result<T, ScanError> + Send + 'static,
    ) -> Result<Result<T, ScanError>, ReadError> {
        let snapshot = self.read().await?.snapshot().await?;
        Ok(self.scan_at(snapshot, read).await)
    }

    /// The same at a commit that was read before.
    ///
    /// # Errors
    ///
    /// What `read` says.
    ///
    /// # Panics
    ///
    /// If `read` does.
    pub async fn scan_at<T: Send + 'static>(
        &self,
        snapshot: Arc<Snapshot>,
        read: impl FnOnce(&Lake, &Snapshot) -> Result<T, ScanError> + Send + 'static,
    ) -> Result<T, ScanError> {
        let lake = self.lake().clone();
        match tokio::task::spawn_blocking(move || read(&lake, &snapshot)).await {
            Ok(read) => read,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
}

/// A commit and one partition that it moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitRow {
    /// The commit.
    pub commit: CommitId,
    /// When, as the catalogue writes times.
    pub committed_at: String,
    /// What it comes from.
    pub lane: String,
    /// The partition; -1 for a commit that moved none.
    pub log_partition: i64,
    /// First record it took in.
    pub from_position: i64,
    /// The record after the last.
    pub to_position: i64,
    /// Events in these records, of all projects.
    pub events: i64,
}

pub(crate) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

impl Read {
    /// The commit that everything is read at.
    #[must_use]
    pub const fn commit(&self) -> CommitId {
        self.commit
    }

    /// Everything that arrived before this instant is in: the least committed log time over the partitions. `None`
    /// while a partition has none yet.
    #[must_use]
    pub const fn complete_through(&self) -> Option<Timestamp> {
        self.complete_through
    }

    /// The lake at this transaction's commit.
    ///
    /// # Errors
    ///
    /// [`ReadError::Database`].
    pub async fn snapshot(&mut self) -> Result<Arc<Snapshot>, ReadError> {
        let cached = self.cache().clone().filter(|snapshot| snapshot.replaced == self.replaced);
        if let Some(snapshot) = cached.as_ref().filter(|snapshot| snapshot.commit == self.commit) {
            return Ok(Arc::clone(snapshot));
        }
        let known = match cached.filter(|snapshot| snapshot.commit < self.commit) {
            Some(snapshot) if self.remembers(snapshot.commit).await? => Some(snapshot),
            _ => None,
        };
        let snapshot = Arc::new(self.list_files(self.commit, known.as_deref()).await?);
        *self.cache() = Some(Arc::clone(&snapshot));
        Ok(snapshot)
    }

    /// Whether the catalogue still has everything that happened since a commit.
    async fn remembers(&mut self, commit: CommitId) -> Result<bool, ReadError> {
        let oldest: i64 = sql("SELECT min(snapshot_id) FROM ducklake_snapshot").value(&mut self.transaction).await?;
        Ok(oldest <= commit.0)
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Option<Arc<Snapshot>>> {
        self.warehouse.shared.snapshot.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The lake at an older commit.
    ///
    /// # Errors
    ///
    /// [`ReadError::NoSuchCommit`] if it never was or has expired.
    pub async fn snapshot_at(&mut self, commit: CommitId) -> Result<Arc<Snapshot>, ReadError> {
        let row = sql("SELECT count(*) FILTER (WHERE snapshot_id = $1), min(snapshot_id) FROM ducklake_snapshot")
            .bind(commit.0)
            .row(&mut self.transaction)
            .await?;
        if row.get::<i64>(0) == 0 {
            return Err(ReadError::NoSuchCommit { commit, oldest: CommitId(row.get(1)), newest: self.commit });
        }
        Ok(Arc::new(self.list_files(commit, None).await?))
    }

    /// The newest commits, newest first.
    ///
    /// # Errors
    ///
    /// [`ReadError::Database`].
    pub async fn commits(&mut self, limit: u32) -> Result<Vec<CommitRow>, ReadError> {
        let rows = sql("SELECT commit_id, committed_at, lane, log_partition, from_position, to_position, events \
             FROM commits ORDER BY commit_id DESC, log_partition LIMIT $1")
        .bind(limit)
        .rows(&mut self.transaction)
        .await?;
        let commit = |row: &Row| CommitRow {
            commit: CommitId(row.get(0)),
            committed_at: row.get::<Option<Timestamp>>(1).unwrap_or_default().to_sql(),
            lane: row.get(2),
            log_partition: row.get(3),
            from_position: row.get(4),
            to_position: row.get(5),
            events: row.get(6),
        };
        Ok(rows.iter().map(commit).collect())
    }

    /// The commit that took in a record.
    ///
    /// # Errors
    ///
    /// [`ReadError::Database`].
    pub async fn commit_of(&mut self, log_partition: u16, position: u64) -> Result<Option<CommitId>, ReadError> {
        // Ranges of one partition do not overlap: the last that begins at or before the record is the only one.
        let row = sql("SELECT commit_id, to_position FROM commits WHERE log_partition = $1 AND from_position <= $2 \
             ORDER BY from_position DESC LIMIT 1")
        .bind(log_partition)
        .bind(crate::commit::signed(position))
        .first(&mut self.transaction)
        .await?;
        Ok(row.filter(|row| unsigned(row.get(1)) > position).map(|row| CommitId(row.get(0))))
    }

    /// Whether the catalogue lists deleted rows. We write none, and reading does not heed them.
    ///
    /// # Errors
    ///
    /// [`ReadError::Database`].
    pub(crate) async fn has_deletes(&mut self) -> Result<bool, ReadError> {
        Ok(sql("SELECT EXISTS (SELECT 1 FROM ducklake_delete_file)").value(&mut self.transaction).await?)
    }

    /// The names of all projects.
    ///
    /// # Errors
    ///
    /// [`ReadError::Database`].
    pub(crate) async fn projects(&mut self) -> Result<Vec<String>, ReadError> {
        let rows = sql("SELECT project FROM projects").rows(&mut self.transaction).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// How many projects there are.
    ///
    /// # Errors
    ///
    /// [`ReadError::Database`].
    pub async fn project_count(&mut self) -> Result<i64, ReadError> {
        Ok(sql("SELECT count(*) FROM projects").value(&mut self.transaction).await?)
    }

    /// The live files at a commit. From the list at an earlier commit, if there is one, only what changed is read.
    async fn list_files(&mut self, commit: CommitId, known: Option<&Snapshot>) -> Result<Snapshot, ReadError> {
        let since = known.map_or(-1, |known| known.commit.0);
        let mut files = match known {
            Some(known) => self.still_live(known, commit).await?,
            None => HashMap::new(),
        };
        let rows = sql("SELECT data_file_id, table_id, path, record_count, file_size_bytes, begin_snapshot \
             FROM ducklake_data_file WHERE begin_snapshot > $2 AND begin_snapshot <= $1 \
             AND (end_snapshot IS NULL OR end_snapshot > $1) ORDER BY data_file_id")
        .bind(commit.0)
        .bind(since)
        .rows(&mut self.transaction)
        .await?;
        let mut places: HashMap<i64, (&'static LakeTable, usize)> = HashMap::with_capacity(rows.len());
        for row in &rows {
            let table_id: i64 = row.get(1);
            let Some(table) = LAKE_TABLES.iter().find(|table| table.id == table_id) else { continue };
            let of_table = files.entry(table_id).or_default();
            places.insert(row.get(0), (table, of_table.len()));
            of_table.push(DataFile {
                data_file_id: row.get(0),
                since: CommitId(row.get(5)),
                path: Lake::table_path(table, &row.get::<String>(2)),
                rows: row.get(3),
                bytes: unsigned(row.get(4)),
                bounds: vec![None; table.columns.len()],
                project: None,
            });
        }
        let rows = sql("SELECT s.data_file_id, s.column_id, s.min_value, s.max_value, coalesce(s.null_count, 1) \
             FROM ducklake_file_column_stats s \
             JOIN ducklake_data_file f ON f.data_file_id = s.data_file_id \
             WHERE f.begin_snapshot > $2 AND f.begin_snapshot <= $1 \
             AND (f.end_snapshot IS NULL OR f.end_snapshot > $1) AND s.min_value IS NOT NULL")
        .bind(commit.0)
        .bind(since)
        .rows(&mut self.transaction)
        .await?;
        for row in &rows {
            let Some((table, place)) = places.get(&row.get(0)) else { continue };
            let column = usize::try_from(row.get::<i64>(1) - 1).unwrap_or(usize::MAX);
            let Some(file) = files.get_mut(&table.id).and_then(|of_table| of_table.get_mut(*place)) else { continue };
            let Some(name) = table.columns.get(column).map(|column| column.name) else { continue };
            let (least, greatest, nulls): (String, String, i64) = (row.get(2), row.get(3), row.get(4));
            if name == "project" && least == greatest && nulls == 0 {
                file.project = Some(least.clone());
            }
            file.bounds[column] = Some((least, greatest));
        }
        let files = files.into_iter().map(|(table_id, of_table)| (table_id, of_table.into())).collect();
        Ok(Snapshot { commit, replaced: self.replaced, files })
    }

    /// The files of an earlier list that are still live.
    async fn still_live(
        &mut self,
        known: &Snapshot,
        commit: CommitId,
    ) -> Result<HashMap<i64, Vec<DataFile>>, ReadError> {
        let rows = sql("SELECT data_file_id FROM ducklake_data_file WHERE end_snapshot > $1 AND end_snapshot <= $2")
            .bind(known.commit.0)
            .bind(commit.0)
            .rows(&mut self.transaction)
            .await?;
        let ended: HashSet<i64> = rows.iter().map(|row| row.get(0)).collect();
        let is_live = |file: &&DataFile| !ended.contains(&file.data_file_id);
        let live = |files: &[DataFile]| files.iter().filter(is_live).cloned().collect();
        Ok(known.files.iter().map(|(table_id, files)| (*table_id, live(files))).collect())
    }
}
