//! Collecting files that no commit lists: leftovers of attempts that failed, of merged runs and of old state.

use std::collections::HashSet;
use std::time::Duration;

use crate::database::{Task, Transaction, sql};
use crate::lake::{FileName, FoundFile, Lake, Origin};
use crate::open::Warehouse;
use crate::read::{ReadError, unsigned};
use crate::tables::LAKE_TABLES;

/// A merge takes seconds; its output is not collected before this.
const MERGE_GRACE: Duration = Duration::from_secs(3600);

/// Among several processes: longer than a commit can take, and than clocks of machines and file servers differ.
const SHARED_GRACE: Duration = Duration::from_secs(600);

/// What was collected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Files deleted.
    pub files: u64,
    /// Listed files that are missing in the lake: damage.
    pub missing: u64,
    /// Nothing was deleted, since the lake holds files of commits that the database has not: it is older.
    pub is_ahead: bool,
    /// Nothing was done, since another process is at it.
    pub is_elsewhere: bool,
}

impl Warehouse {
    /// Deletes files that no commit lists and none can list any more: an attempt's file once the checkpoint is past the
    /// position in its name, a merge's after an hour. Files younger than `grace` stay; with a grace of zero (only while
    /// nothing else writes, as at start) the leftovers of every attempt go. Files with names of others stay always.
    ///
    /// Where other processes may be writing, a grace of less than [`SHARED_GRACE`] is that long: nothing counts as a
    /// leftover only because this process has just begun. While another process is at it, nothing is done.
    ///
    /// # Errors
    ///
    /// [`ReadError::Database`]; [`ReadError::Lake`] if its files cannot be listed. Files that cannot be deleted are left for
    /// the next time.
    pub async fn collect_orphans(&self, grace: Duration) -> Result<Collected, ReadError> {
        let Some(turn) = self.shared.database.take(Task::Files).await? else {
            return Ok(Collected { is_elsewhere: true, ..Collected::default() });
        };
        let grace = if self.shared.database.is_shared() { grace.max(SHARED_GRACE) } else { grace };
        let collected = self.collect(grace).await;
        turn.end().await;
        collected
    }

    async fn collect(&self, grace: Duration) -> Result<Collected, ReadError> {
        // In this order. A file that is written after the list is not in it; an older checkpoint spares more; and what
        // was committed before the checkpoint was read is among the listed.
        let lake = self.shared.lake.clone();
        let listing = tokio::task::spawn_blocking(move || lake.list()).await;
        let found = listing.unwrap_or_else(|panic| Err(std::io::Error::other(panic))).map_err(ReadError::Lake)?;
        let mut read = self.shared.database.read().await?;
        let checkpoints = sql("SELECT log_partition, position FROM checkpoint").rows(&mut read).await?;
        let listed = listed_files(&mut read).await?;
        drop(read);
        let position = |partition: u16| {
            let row = checkpoints.iter().find(|row| row.get::<i64>(0) == i64::from(partition));
            row.map_or(0, |row| unsigned(row.get(1)))
        };
        let orphans: Vec<&FoundFile> = found.iter().filter(|file| !listed.holds(&file.path)).collect();
        // A file of a running commit begins where the checkpoint stands, never behind it.
        let ahead = orphans.iter().find(|file| {
            matches!(FileName::origin_of(&file.path), Some(Origin::Commit { partition, from }) if from > position(partition))
        });
        if let Some(ahead) = ahead {
            tracing::error!(
                file.path = ahead.path,
                "the lake holds commits that the database has not: nothing is collected"
            );
            return Ok(Collected { is_ahead: true, ..Collected::default() });
        }
        let mut collected = Collected::default();
        for file in orphans {
            if is_dead(file, grace, position) && self.shared.lake.delete(&file.path).is_ok() {
                tracing::info!(file.path = file.path, "collected a file that no commit lists");
                collected.files += 1;
            }
        }
        let present: HashSet<&str> = found.iter().map(|file| file.path.as_str()).collect();
        for path in listed.needed.iter().filter(|path| !present.contains(path.as_str())) {
            match self.shared.lake.exists(path) {
                Ok(true) => {}
                Ok(false) => {
                    tracing::error!(file.path = path, "a file that a commit lists is missing");
                    collected.missing += 1;
                }
                Err(error) => tracing::warn!(%error, file.path = path, "it is not known whether a file is there"),
            }
        }
        Ok(collected)
    }
}

async fn listed_files(read: &mut Transaction) -> Result<Listed, ReadError> {
    let mut listed = Listed::default();
    for row in sql("SELECT table_id, path FROM ducklake_data_file").rows(read).await? {
        if let Some(table) = LAKE_TABLES.iter().find(|table| table.id == row.get::<i64>(0)) {
            listed.needed.insert(Lake::table_path(table, &row.get::<String>(1)));
        }
    }
    let rows = sql("SELECT path FROM id_run").rows(read).await?;
    listed.needed.extend(rows.iter().map(|row| row.get::<String>(0)));
    let spare = "SELECT path FROM state_file UNION SELECT path FROM ducklake_files_scheduled_for_deletion";
    let rows = sql(spare).rows(read).await?;
    listed.spare.extend(rows.iter().map(|row| row.get::<String>(0)));
    Ok(listed)
}

/// Files that belong to somebody.
#[derive(Debug, Default)]
struct Listed {
    /// Must be there.
    needed: HashSet<String>,
    /// May be gone: state that only saves time, and files that wait for their deletion.
    spare: HashSet<String>,
}

impl Listed {
    fn holds(&self, path: &str) -> bool {
        self.needed.contains(path) || self.spare.contains(path)
    }
}

fn is_dead(file: &FoundFile, grace: Duration, position: impl Fn(u16) -> u64) -> bool {
    match FileName::origin_of(&file.path) {
        Some(Origin::Commit { partition, from }) if grace.is_zero() => position(partition) >= from,
        Some(Origin::Merge) if grace.is_zero() => true,
        Some(Origin::Commit { partition, from }) => file.age >= grace && position(partition) > from,
        Some(Origin::Merge) => file.age >= MERGE_GRACE.max(grace),
        // Not a name of ours: somebody else's file is not ours to delete.
        None => false,
    }
}
