//! Where a processor goes on: how far each partition was taken in, and what is known of what came before.

use schemas::Timestamp;

use crate::commit::{CommitError, IdRun, NewIdRun, StateFile, insert_id_runs};
use crate::database::{Row, Statement, composed, places, sql};
use crate::lake::{FileName, Origin};
use crate::open::Warehouse;
use crate::read::{Read, ReadError, unsigned};

/// How far a log partition has been taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// The partition.
    pub log_partition: u16,
    /// The next record.
    pub position: u64,
    /// Log time, a running maximum; `None` before the first record.
    pub log_time: Option<Timestamp>,
    /// Whether it is ordered to stay where it is: commits that would move it are refused.
    pub is_paused: bool,
    /// How often that was ordered.
    pub pauses: u64,
}

impl Checkpoint {
    /// Those of one topic, as [`Self::of`] takes them.
    pub(crate) const SELECT: &str = "SELECT log_partition, position, log_time_us, paused_us, pauses FROM checkpoint \
         WHERE topic = $1 ORDER BY log_partition";

    /// From partition, position, log time, the time of a pause and the number of pauses.
    pub(crate) fn of(row: &Row) -> Self {
        Self {
            log_partition: u16::try_from(row.get::<i64>(0)).unwrap_or(u16::MAX),
            position: unsigned(row.get(1)),
            log_time: Some(row.get::<i64>(2)).filter(|us| *us > 0).map(Timestamp::from_micros),
            is_paused: row.get::<Option<i64>>(3).is_some(),
            pauses: unsigned(row.get(4)),
        }
    }
}

impl Warehouse {
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
        let select = format!("{}{}", Checkpoint::SELECT, transaction.for_update());
        let rows = composed(select).bind(topic).rows(&mut transaction).await?;
        transaction.commit().await?;
        Ok(rows.iter().map(Checkpoint::of).collect())
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

    /// Puts one merged run in the place of others; returns it with its number. Their files stay for as long as those of
    /// expired snapshots: a database that takes the place of this one may be a little older, and list them.
    ///
    /// # Errors
    ///
    /// [`CommitError::Fenced`] if the partition is past the position in the run's name: then others may have taken its
    /// file for a leftover. [`CommitError::Database`], also if one of the runs is not listed any more.
    pub async fn replace_id_runs(&self, merged: &[i64], run: &NewIdRun, now: Timestamp) -> Result<IdRun, CommitError> {
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
            let delete = sql("DELETE FROM id_run WHERE run_id = $1 AND log_partition = $2 RETURNING path");
            let gone = delete.bind(*run_id).bind(run.log_partition).first(&mut transaction).await?;
            let path: String = gone.ok_or(sqlx::Error::RowNotFound)?.get(0);
            // Runs of other partitions may be in the same file. What is no file of the lake's tables has no number there.
            sql("INSERT INTO ducklake_files_scheduled_for_deletion SELECT $1, $2, $3, $4 \
                 WHERE NOT EXISTS (SELECT 1 FROM id_run WHERE path = $2)")
            .bind(-*run_id)
            .bind(path)
            .bind(true)
            .bind(now)
            .run(&mut transaction)
            .await?;
        }
        let listed = insert_id_runs(&mut transaction, std::slice::from_ref(run)).await?;
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

impl Read {
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
        Ok(sql(Checkpoint::SELECT).bind(topic).rows(&mut self.transaction).await?.iter().map(Checkpoint::of).collect())
    }
}
