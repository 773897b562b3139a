//! Collecting files that no commit lists: leftovers of attempts that failed, of merged runs and of old state.

use std::collections::HashSet;
use std::time::Duration;

use sqlx::Row;

use crate::database::Warehouse;
use crate::lake::{FileName, FoundFile, Lake, Origin};
use crate::read::{ReadError, unsigned};
use crate::tables::LAKE_TABLES;

/// A merge takes far less than this; its output is not collected before.
const MERGE_GRACE: Duration = Duration::from_secs(600);

/// What was collected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Files deleted.
    pub files: u64,
    /// Listed files that are missing in the folder: damage.
    pub missing: u64,
}

impl Warehouse {
    /// Deletes files that no commit lists and none can list any more: an attempt's file once the checkpoint is past the
    /// position in its name, a merge's after ten minutes. Files younger than `grace` stay; with a grace of zero (only
    /// while nothing else writes, as at start) every unlisted file goes.
    ///
    /// # Errors
    ///
    /// [`ReadError::Database`]; files that cannot be deleted are left for the next time.
    pub async fn collect_orphans(&self, grace: Duration) -> Result<Collected, ReadError> {
        // Listed first, then looked up: a file that is written and committed in between is not in the list.
        let lake = self.shared.lake.clone();
        let found = tokio::task::spawn_blocking(move || lake.list()).await;
        let found = found.ok().and_then(Result::ok).unwrap_or_default();
        let listed = self.listed_paths().await?;
        let checkpoints =
            sqlx::query("SELECT log_partition, position FROM checkpoint").fetch_all(&self.shared.writer).await?;
        let position = |partition: u16| {
            checkpoints.iter().find(|row| row.get::<u16, _>(0) == partition).map_or(0, |row| unsigned(row.get(1)))
        };
        let mut collected = Collected::default();
        for file in &found {
            if !listed.contains(&file.path)
                && is_dead(file, grace, position)
                && self.shared.lake.delete(&file.path).is_ok()
            {
                tracing::info!(file.path = file.path, "collected a file that no commit lists");
                collected.files += 1;
            }
        }
        let present: HashSet<&str> = found.iter().map(|file| file.path.as_str()).collect();
        for path in listed.iter().filter(|path| !present.contains(path.as_str())) {
            if self.shared.lake.open_file(path).is_err() && !path.starts_with("state/") {
                tracing::error!(file.path = path, "a file that a commit lists is missing");
                collected.missing += 1;
            }
        }
        Ok(collected)
    }

    async fn listed_paths(&self) -> Result<HashSet<String>, ReadError> {
        let mut listed = HashSet::new();
        let rows = sqlx::query("SELECT table_id, path FROM ducklake_data_file").fetch_all(&self.shared.writer).await?;
        for row in &rows {
            if let Some(table) = LAKE_TABLES.iter().find(|table| table.id == row.get::<i64, _>(0)) {
                listed.insert(Lake::table_path(table, row.get(1)));
            }
        }
        let rows = sqlx::query("SELECT path FROM id_run UNION SELECT path FROM state_file")
            .fetch_all(&self.shared.writer)
            .await?;
        listed.extend(rows.iter().map(|row| row.get::<String, _>(0)));
        Ok(listed)
    }
}

fn is_dead(file: &FoundFile, grace: Duration, position: impl Fn(u16) -> u64) -> bool {
    if grace.is_zero() {
        return true;
    }
    match FileName::origin_of(&file.path) {
        Some(Origin::Commit { partition, from }) => file.age >= grace && position(partition) > from,
        Some(Origin::Merge) => file.age >= MERGE_GRACE.max(grace),
        // Not a name of ours: somebody else's file is not ours to delete.
        None => false,
    }
}
