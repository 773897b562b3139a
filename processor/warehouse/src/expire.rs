//! Expiring old snapshots: what can be asked `AS OF` ends somewhere, or merged-away files would stay for ever.
//!
//! In three steps, so that no reader loses a file under its hands: snapshots older than the limit are taken out of the
//! catalogue; files that no remaining snapshot lists are scheduled; scheduled files are deleted after a grace that is
//! longer than any query.

use std::time::Duration;

use schemas::Timestamp;

use crate::database::{Statement, Task, composed, places, sql};
use crate::lake::Lake;
use crate::open::Warehouse;
use crate::read::ReadError;
use crate::tables::LAKE_TABLES;

/// What was expired.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expired {
    /// Snapshots taken out of the catalogue.
    pub snapshots: u64,
    /// Files scheduled for deletion.
    pub scheduled: u64,
    /// Files deleted.
    pub deleted: u64,
    /// Nothing was done, since another process is at it.
    pub is_elsewhere: bool,
}

/// Files are scheduled in steps of this many, so that commits need not wait long.
const FILES_PER_STEP: i64 = 500;

impl Warehouse {
    /// Expires what is older than `keep`, and deletes files that were scheduled longer than `grace` ago. The newest
    /// snapshot always stays. Does nothing while another process is at it.
    ///
    /// # Errors
    ///
    /// [`ReadError::Database`]; what was done until then stays done.
    pub async fn expire(&self, now: Timestamp, keep: Duration, grace: Duration) -> Result<Expired, ReadError> {
        let Some(turn) = self.shared.database.take(Task::Files).await? else {
            return Ok(Expired { is_elsewhere: true, ..Expired::default() });
        };
        let expired = self.expire_alone(now, keep, grace).await;
        turn.end().await;
        expired
    }

    async fn expire_alone(&self, now: Timestamp, keep: Duration, grace: Duration) -> Result<Expired, ReadError> {
        let mut expired = Expired { snapshots: self.expire_snapshots(now - keep).await?, ..Expired::default() };
        loop {
            let scheduled = self.schedule_files(now).await?;
            expired.scheduled += scheduled;
            if scheduled == 0 {
                break;
            }
        }
        expired.deleted = self.delete_scheduled(now - grace).await?;
        Ok(expired)
    }

    async fn expire_snapshots(&self, before: Timestamp) -> Result<u64, ReadError> {
        // By number, so that no gap comes about where the clock was set back.
        let old = "snapshot_id <= (SELECT max(snapshot_id) FROM ducklake_snapshot WHERE snapshot_time < $1 \
                   AND snapshot_id < (SELECT max(snapshot_id) FROM ducklake_snapshot))";
        let mut transaction = self.shared.database.write().await?;
        let changes = format!("DELETE FROM ducklake_snapshot_changes WHERE {old}");
        let snapshots = format!("DELETE FROM ducklake_snapshot WHERE {old}");
        let mut count = 0;
        for delete in [changes, snapshots] {
            count = composed(delete).bind(before).run(&mut transaction).await?;
        }
        transaction.commit().await?;
        Ok(count)
    }

    /// Schedules files that ended before the oldest snapshot there is.
    async fn schedule_files(&self, now: Timestamp) -> Result<u64, ReadError> {
        let mut transaction = self.shared.database.write().await?;
        let files = sql("SELECT data_file_id, table_id, path FROM ducklake_data_file \
             WHERE end_snapshot <= (SELECT min(snapshot_id) FROM ducklake_snapshot) ORDER BY data_file_id LIMIT $1")
        .bind(FILES_PER_STEP)
        .rows(&mut transaction)
        .await?;
        let files: Vec<(i64, String)> = files
            .iter()
            .filter_map(|file| {
                let table = LAKE_TABLES.iter().find(|table| table.id == file.get::<i64>(1))?;
                Some((file.get(0), Lake::table_path(table, &file.get::<String>(2))))
            })
            .collect();
        if files.is_empty() {
            return Ok(0);
        }
        let insert = format!("INSERT INTO ducklake_files_scheduled_for_deletion VALUES {}", places(files.len(), 4, 1));
        let mut insert = composed(insert);
        for (data_file_id, path) in &files {
            insert = insert.bind(*data_file_id).bind(path).bind(true).bind(now);
        }
        insert.run(&mut transaction).await?;
        for table in ["ducklake_file_column_stats", "ducklake_data_file"] {
            let delete = format!("DELETE FROM {table} WHERE data_file_id IN {}", places(1, files.len(), 1));
            let bind = |delete: Statement, (data_file_id, _): &(i64, String)| delete.bind(*data_file_id);
            files.iter().fold(composed(delete), bind).run(&mut transaction).await?;
        }
        transaction.commit().await?;
        Ok(files.len() as u64)
    }

    async fn delete_scheduled(&self, before: Timestamp) -> Result<u64, ReadError> {
        let mut read = self.shared.database.read().await?;
        let files =
            sql("SELECT data_file_id, path FROM ducklake_files_scheduled_for_deletion WHERE schedule_start < $1")
                .bind(before)
                .rows(&mut read)
                .await?;
        drop(read);
        let mut deleted = 0;
        for file in &files {
            // The file first: a row without a file is cleared the next time, a file without a row would stay.
            if self.shared.lake.delete(&file.get::<String>(1)).is_err() {
                continue;
            }
            let mut transaction = self.shared.database.write().await?;
            sql("DELETE FROM ducklake_files_scheduled_for_deletion WHERE data_file_id = $1")
                .bind(file.get::<i64>(0))
                .run(&mut transaction)
                .await?;
            transaction.commit().await?;
            deleted += 1;
        }
        Ok(deleted)
    }
}
