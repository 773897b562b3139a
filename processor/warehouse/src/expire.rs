//! Expiring old snapshots: what can be asked `AS OF` ends somewhere, or merged-away files would stay for ever.
//!
//! In three steps, so that no reader loses a file under its hands: snapshots older than the limit are taken out of the
//! catalogue; files that no remaining snapshot lists are scheduled; scheduled files are deleted after a grace that is
//! longer than any query.

use std::time::Duration;

use schemas::Timestamp;
use sqlx::Row;

use crate::database::Warehouse;
use crate::lake::Lake;
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
}

/// Files are scheduled in steps of this many, so that commits need not wait long.
const FILES_PER_STEP: i64 = 500;

impl Warehouse {
    /// Expires what is older than `keep`, and deletes files that were scheduled longer than `grace` ago. The newest
    /// snapshot always stays.
    ///
    /// # Errors
    ///
    /// [`ReadError::Database`]; what was done until then stays done.
    pub async fn expire(&self, now: Timestamp, keep: Duration, grace: Duration) -> Result<Expired, ReadError> {
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
        let old = "snapshot_id <= (SELECT max(snapshot_id) FROM ducklake_snapshot WHERE snapshot_time < ?1 \
                   AND snapshot_id < (SELECT max(snapshot_id) FROM ducklake_snapshot))";
        let mut transaction = self.shared.writer.begin_with("BEGIN IMMEDIATE").await?;
        let changes = format!("DELETE FROM ducklake_snapshot_changes WHERE {old}");
        let snapshots = format!("DELETE FROM ducklake_snapshot WHERE {old}");
        let mut count = 0;
        for sql in [changes, snapshots] {
            let statement = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(before.to_sql());
            count = statement.execute(&mut *transaction).await?.rows_affected();
        }
        transaction.commit().await?;
        Ok(count)
    }

    /// Schedules files that ended before the oldest snapshot there is.
    async fn schedule_files(&self, now: Timestamp) -> Result<u64, ReadError> {
        let mut transaction = self.shared.writer.begin_with("BEGIN IMMEDIATE").await?;
        let files = sqlx::query(
            "SELECT data_file_id, table_id, path FROM ducklake_data_file \
             WHERE end_snapshot <= (SELECT min(snapshot_id) FROM ducklake_snapshot) LIMIT ?",
        )
        .bind(FILES_PER_STEP)
        .fetch_all(&mut *transaction)
        .await?;
        for file in &files {
            let data_file_id: i64 = file.get(0);
            let Some(table) = LAKE_TABLES.iter().find(|table| table.id == file.get::<i64, _>(1)) else { continue };
            sqlx::query("INSERT INTO ducklake_files_scheduled_for_deletion VALUES (?, ?, 1, ?)")
                .bind(data_file_id)
                .bind(Lake::table_path(table, file.get(2)))
                .bind(now.to_sql())
                .execute(&mut *transaction)
                .await?;
            for sql in [
                "DELETE FROM ducklake_file_column_stats WHERE data_file_id = ?",
                "DELETE FROM ducklake_data_file WHERE data_file_id = ?",
            ] {
                sqlx::query(sql).bind(data_file_id).execute(&mut *transaction).await?;
            }
        }
        transaction.commit().await?;
        Ok(files.len() as u64)
    }

    async fn delete_scheduled(&self, before: Timestamp) -> Result<u64, ReadError> {
        let files = sqlx::query(
            "SELECT data_file_id, path FROM ducklake_files_scheduled_for_deletion WHERE schedule_start < ?",
        )
        .bind(before.to_sql())
        .fetch_all(&self.shared.readers)
        .await?;
        let mut deleted = 0;
        for file in &files {
            // The file first: a row without a file is cleared the next time, a file without a row would stay.
            if self.shared.lake.delete(file.get(1)).is_err() {
                continue;
            }
            sqlx::query("DELETE FROM ducklake_files_scheduled_for_deletion WHERE data_file_id = ?")
                .bind(file.get::<i64, _>(0))
                .execute(&self.shared.writer)
                .await?;
            deleted += 1;
        }
        Ok(deleted)
    }
}
