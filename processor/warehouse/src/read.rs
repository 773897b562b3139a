//! Reading: one snapshot transaction, in it the newest commit, and everything as of it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use schemas::Timestamp;
use thiserror::Error;

use crate::commit::{CommitError, CommitId, IdRun, NewIdRun, StateFile};
use crate::database::{Row, Statement, Transaction, composed, places, sql};
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
        "the warehouse took in records of another log than this one (topic `{topic}`): restore the log that belongs to it"
    )]
    OtherLog {
        /// The topic.
        topic: &'static str,
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
        Self { commit: self.commit, files: files.collect() }
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
}

/// A read transaction: everything read through it is as of one commit.
#[derive(Debug)]
pub struct Read {
    pub(crate) transaction: Transaction,
    commit: CommitId,
    complete_through: Option<Timestamp>,
    warehouse: Warehouse,
}

/// How far a log partition has been taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// The partition.
    pub log_partition: u16,
    /// The next record.
    pub position: u64,
    /// Log time, a running maximum; `None` before the first record.
    pub log_time: Option<Timestamp>,
}

impl Checkpoint {
    /// From partition, position and log time.
    fn of(row: &Row) -> Self {
        Self {
            log_partition: u16::try_from(row.get::<i64>(0)).unwrap_or(u16::MAX),
            position: unsigned(row.get(1)),
            log_time: Some(row.get::<i64>(2)).filter(|us| *us > 0).map(Timestamp::from_micros),
        }
    }
}

impl Warehouse {
    /// Begins to read at the newest commit.
    ///
    /// # Errors
    ///
    /// [`ReadError::Database`].
    pub async fn read(&self) -> Result<Read, ReadError> {
        let mut transaction = self.shared.database.read().await?;
        // The first statement takes the snapshot.
        let row =
            sql("SELECT (SELECT max(snapshot_id) FROM ducklake_snapshot), (SELECT min(log_time_us) FROM checkpoint)")
                .row(&mut transaction)
                .await?;
        let log_time_us: Option<i64> = row.get(1);
        Ok(Read {
            commit: CommitId(row.get(0)),
            complete_through: log_time_us.filter(|us| *us > 0).map(Timestamp::from_micros),
            transaction,
            warehouse: self.clone(),
        })
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
        let lake = self.lake().clone();
        match tokio::task::spawn_blocking(move || read(&lake, &snapshot)).await {
            Ok(read) => Ok(read),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    /// The checkpoints of a topic, which are created at 0 for partitions that have none. A transaction that is changing
    /// one of them is waited for, also one whose writer is gone or does not know how it ended: what is read is final.
    ///
    /// # Errors
    ///
    /// [`ReadError::Database`].
    pub async fn checkpoints(&self, topic: &str, partitions: u16) -> Result<Vec<Checkpoint>, ReadError> {
        let mut transaction = self.shared.database.write().await?;
        let all: Vec<u16> = (0..partitions).collect();
        for some in all.chunks(1000) {
            let insert = format!(
                "INSERT INTO checkpoint (topic, log_partition, position, log_time_us) VALUES {} ON CONFLICT DO NOTHING",
                places(some.len(), 4, 1)
            );
            let bind = |insert: Statement, partition: &u16| insert.bind(topic).bind(*partition).bind(0_i64).bind(0_i64);
            some.iter().fold(composed(insert), bind).run(&mut transaction).await?;
        }
        let select = format!(
            "SELECT log_partition, position, log_time_us FROM checkpoint WHERE topic = $1 ORDER BY log_partition{}",
            transaction.for_update()
        );
        let rows = composed(select).bind(topic).rows(&mut transaction).await?;
        transaction.commit().await?;
        Ok(rows.iter().map(Checkpoint::of).collect())
    }

    /// Ties a topic's checkpoints to the log of this identity. While nothing was taken in yet any log will do.
    ///
    /// # Errors
    ///
    /// [`ReadError::OtherLog`] if records of another log were taken in; [`ReadError::Database`].
    pub async fn bind_log(&self, topic: &'static str, identity: &str) -> Result<(), ReadError> {
        let mut transaction = self.shared.database.write().await?;
        let known =
            sql("SELECT identity FROM log_identity WHERE topic = $1").bind(topic).first(&mut transaction).await?;
        let known: Option<String> = known.map(|row| row.get(0));
        let has_begun: bool = sql("SELECT EXISTS (SELECT 1 FROM checkpoint WHERE topic = $1 AND position > 0)")
            .bind(topic)
            .value(&mut transaction)
            .await?;
        if known.as_deref() == Some(identity) {
            return Ok(());
        }
        if has_begun {
            return Err(ReadError::OtherLog { topic });
        }
        sql("INSERT INTO log_identity VALUES ($1, $2) ON CONFLICT (topic) DO UPDATE SET identity = excluded.identity")
            .bind(topic)
            .bind(identity)
            .run(&mut transaction)
            .await?;
        Ok(transaction.commit().await?)
    }

    /// From now on the topic's checkpoints are positions of the log of this identity. For who knows that they are: after a
    /// restore, whose log begins where the warehouse ends.
    ///
    /// # Errors
    ///
    /// [`ReadError::Database`].
    pub async fn follow_log(&self, topic: &str, identity: &str) -> Result<(), ReadError> {
        let mut transaction = self.shared.database.write().await?;
        sql("INSERT INTO log_identity VALUES ($1, $2) ON CONFLICT (topic) DO UPDATE SET identity = excluded.identity")
            .bind(topic)
            .bind(identity)
            .run(&mut transaction)
            .await?;
        Ok(transaction.commit().await?)
    }

    /// The runs of event keys of a partition, oldest first.
    ///
    /// # Errors
    ///
    /// [`ReadError::Database`].
    pub async fn id_runs(&self, log_partition: u16) -> Result<Vec<IdRun>, ReadError> {
        let mut transaction = self.shared.database.write().await?;
        let rows =
            sql("SELECT run_id, level, path, offset_bytes, keys FROM id_run WHERE log_partition = $1 ORDER BY run_id")
                .bind(log_partition)
                .rows(&mut transaction)
                .await?;
        transaction.commit().await?;
        Ok(rows
            .iter()
            .map(|row| IdRun {
                run_id: row.get(0),
                run: NewIdRun {
                    log_partition,
                    level: u32::try_from(row.get::<i64>(1)).unwrap_or(u32::MAX),
                    path: row.get(2),
                    offset_bytes: unsigned(row.get(3)),
                    keys: unsigned(row.get(4)),
                },
            })
            .collect())
    }

    /// Puts one merged run in the place of others; returns it with its number.
    ///
    /// # Errors
    ///
    /// [`CommitError::Fenced`] if the partition is past the position in the run's name: then others may have taken its
    /// file for a leftover. [`CommitError::Database`], also if one of the runs is not listed any more.
    pub async fn replace_id_runs(&self, merged: &[i64], run: &NewIdRun) -> Result<IdRun, CommitError> {
        let mut transaction = self.shared.database.write().await?;
        if let Some(Origin::Commit { partition, from }) = FileName::origin_of(&run.path) {
            let select = "SELECT topic, position FROM checkpoint WHERE log_partition = $1";
            let select = composed(format!("{select}{}", transaction.for_update()));
            let checkpoints = select.bind(partition).rows(&mut transaction).await?;
            if let Some(row) = checkpoints.iter().find(|row| unsigned(row.get(1)) > from) {
                return Err(CommitError::Fenced { topic: row.get(0), log_partition: partition, expected: from });
            }
        }
        for run_id in merged {
            if sql("DELETE FROM id_run WHERE run_id = $1").bind(*run_id).run(&mut transaction).await? != 1 {
                return Err(sqlx::Error::RowNotFound.into());
            }
        }
        let listed = crate::commit::insert_id_runs(&mut transaction, std::slice::from_ref(run)).await?;
        transaction.commit().await?;
        listed.into_iter().next().ok_or_else(|| sqlx::Error::RowNotFound.into())
    }

    /// The newest state file of a partition.
    ///
    /// # Errors
    ///
    /// [`ReadError::Database`].
    pub async fn state_file(&self, log_partition: u16) -> Result<Option<StateFile>, ReadError> {
        let mut transaction = self.shared.database.write().await?;
        let row = sql("SELECT position, path FROM state_file WHERE log_partition = $1")
            .bind(log_partition)
            .first(&mut transaction)
            .await?;
        transaction.commit().await?;
        Ok(row.map(|row| StateFile { log_partition, position: unsigned(row.get(0)), path: row.get(1) }))
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

    /// The next record of each partition of a topic that the warehouse has not taken in.
    ///
    /// # Errors
    ///
    /// [`ReadError::Database`].
    pub async fn positions(&mut self, topic: &str) -> Result<Vec<u64>, ReadError> {
        Ok(self.checkpoints(topic).await?.iter().map(|checkpoint| checkpoint.position).collect())
    }

    /// How far each partition of a topic was taken in at this transaction's commit.
    ///
    /// # Errors
    ///
    /// [`ReadError::Database`].
    pub async fn checkpoints(&mut self, topic: &str) -> Result<Vec<Checkpoint>, ReadError> {
        let select =
            "SELECT log_partition, position, log_time_us FROM checkpoint WHERE topic = $1 ORDER BY log_partition";
        Ok(sql(select).bind(topic).rows(&mut self.transaction).await?.iter().map(Checkpoint::of).collect())
    }

    /// The lake at this transaction's commit.
    ///
    /// # Errors
    ///
    /// [`ReadError::Database`].
    pub async fn snapshot(&mut self) -> Result<Arc<Snapshot>, ReadError> {
        let cached = self.cache().clone();
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
        let mut places: HashMap<i64, (i64, usize)> = HashMap::with_capacity(rows.len());
        for row in &rows {
            let table_id: i64 = row.get(1);
            let Some(table) = LAKE_TABLES.iter().find(|table| table.id == table_id) else { continue };
            let of_table = files.entry(table_id).or_default();
            places.insert(row.get(0), (table_id, of_table.len()));
            of_table.push(DataFile {
                data_file_id: row.get(0),
                since: CommitId(row.get(5)),
                path: Lake::table_path(table, &row.get::<String>(2)),
                rows: row.get(3),
                bytes: unsigned(row.get(4)),
                bounds: vec![None; table.columns.len()],
            });
        }
        let rows =
            sql("SELECT s.data_file_id, s.column_id, s.min_value, s.max_value FROM ducklake_file_column_stats s \
             JOIN ducklake_data_file f ON f.data_file_id = s.data_file_id \
             WHERE f.begin_snapshot > $2 AND f.begin_snapshot <= $1 \
             AND (f.end_snapshot IS NULL OR f.end_snapshot > $1) AND s.min_value IS NOT NULL")
            .bind(commit.0)
            .bind(since)
            .rows(&mut self.transaction)
            .await?;
        for row in &rows {
            let Some((table_id, place)) = places.get(&row.get(0)) else { continue };
            let column = usize::try_from(row.get::<i64>(1) - 1).unwrap_or(usize::MAX);
            let file = files.get_mut(table_id).and_then(|of_table| of_table.get_mut(*place));
            if let Some(bounds) = file.and_then(|file| file.bounds.get_mut(column)) {
                *bounds = Some((row.get(2), row.get(3)));
            }
        }
        let files = files.into_iter().map(|(table_id, of_table)| (table_id, of_table.into())).collect();
        Ok(Snapshot { commit, files })
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
