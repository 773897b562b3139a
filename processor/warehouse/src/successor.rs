//! A second warehouse beside the live one, which is to take its place.
//!
//! It has a database of its own and shares the lake: names of files are used once, and what the other database
//! lists is to each of the two a leftover that nobody reads. So one renaming of one file decides which of them there is,
//! and whatever happens before or after it leaves the one or the other, with files to collect.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use crate::backup::{BackupError, assert_empty};
use crate::database::sqlite::beside;
use crate::database::{Database, Task, Turn, sql};
use crate::lake::Lake;
use crate::open::{OpenError, Warehouse, WarehouseConfig};
use crate::read::ReadError;

/// Tables that nothing can be concluded from again: whose projects there are, who may do what, whose log it is, which of
/// its records are left out, and what retention took away. In an order that respects their references.
const KEPT: [&str; 7] =
    ["log_identity", "adopted_log", "skipped_record", "projects", "upload_keys", "service_tokens", "retention_cut"];

/// Why a warehouse has no successor. It is as it was.
#[derive(Debug, Error)]
pub enum SuccessorError {
    /// One of the two could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// What is to be kept could not be copied.
    #[error("copy projects, keys and tokens")]
    Copy(#[from] sqlx::Error),
    /// It is not in a file.
    #[error("a warehouse on Postgres has no successor in its place: it is rebuilt in another place")]
    NotAFile,
    /// It is in a file.
    #[error("a warehouse in a SQLite file is rebuilt in its place, not in another")]
    AFile,
    /// The other place.
    #[error(transparent)]
    Place(#[from] Box<BackupError>),
    /// The two lakes would take files of each other for leftovers.
    #[error("the lakes `{live}` and `{next}` lie within each other")]
    Nested {
        /// Where the live one is.
        live: String,
        /// Where the other is to be.
        next: String,
    },
    /// Another process merges, expires, collects or copies files.
    #[error("another process is at work on the files of the lake")]
    Elsewhere,
    /// Leftovers could not be collected.
    #[error("collect what an earlier attempt left behind")]
    Collect(#[from] ReadError),
    /// Somebody else has the database open: what it writes would be lost, or damage the successor.
    #[error("another program has `{path}` open")]
    InUse {
        /// The database.
        path: PathBuf,
    },
    /// The file system.
    #[error("put `{path}` in its place")]
    Files {
        /// The file.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
}

/// The file that is the successor's database while it is being made; `None` if the warehouse is not in a file.
#[must_use]
pub fn successor_file(config: &WarehouseConfig) -> Option<PathBuf> {
    Some(beside(config.sqlite_file()?, ".rebuild"))
}

/// Removes the database of a successor that was never finished; its files in the lake are leftovers like others.
///
/// # Errors
///
/// What the file system says.
pub fn remove_unfinished(config: &WarehouseConfig) -> io::Result<()> {
    let Some(database) = successor_file(config) else { return Ok(()) };
    for path in [beside(&database, "-wal"), beside(&database, "-shm"), beside(&database, ".lock"), database] {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// The two of them.
#[derive(Debug)]
pub struct Successor {
    /// The live one's database, and the successor's while it is not yet in its place.
    place: PathBuf,
    file: PathBuf,
    live: Warehouse,
    next: Warehouse,
}

impl Successor {
    /// Makes an empty warehouse beside the live one, with its projects, keys and tokens and for the same log. Its commits
    /// are numbered from where the live one's end: a number never means two things. Nothing else may write to either.
    ///
    /// # Errors
    ///
    /// [`SuccessorError`].
    pub async fn begin(config: WarehouseConfig) -> Result<Self, SuccessorError> {
        let (Some(place), Some(file)) = (config.sqlite_file().cloned(), successor_file(&config)) else {
            return Err(SuccessorError::NotAFile);
        };
        let files = |source| SuccessorError::Files { path: file.clone(), source };
        remove_unfinished(&config).map_err(files)?;
        let live = Warehouse::open(&config).await?;
        live.collect_orphans(Duration::ZERO).await?;
        let newest = live.newest_commit().borrow().0;
        let next = Warehouse::open(&WarehouseConfig::sqlite(&file, config.lake.clone())).await?;
        let successor = Self { place, file, live, next };
        successor.copy_kept().await?;
        number_from(&successor.next, newest + 1).await?;
        Ok(successor)
    }

    /// The warehouse that answers.
    #[must_use]
    pub const fn live(&self) -> &Warehouse {
        &self.live
    }

    /// The one that is to take its place.
    #[must_use]
    pub const fn next(&self) -> &Warehouse {
        &self.next
    }

    async fn copy_kept(&self) -> Result<(), sqlx::Error> {
        match &self.next.shared.database {
            Database::Sqlite(database) => database.copy_from(&self.place, &KEPT).await,
            Database::Postgres(_) => unreachable!("a successor is in a file"),
        }
    }

    /// Puts the successor in the place of the live warehouse; that moment is the renaming of one file.
    ///
    /// # Errors
    ///
    /// [`SuccessorError`]; then the live warehouse has its place still.
    pub async fn take_over(self) -> Result<(), SuccessorError> {
        // Once more: a key may have been made meanwhile.
        self.copy_kept().await?;
        let Self { place, file, live, next } = self;
        next.close().await;
        live.close().await;
        for database in [&file, &place] {
            // The last one who closes a database takes its log away. A log would be applied to whatever has the name.
            if beside(database, "-wal").exists() || beside(database, "-shm").exists() {
                return Err(SuccessorError::InUse { path: database.clone() });
            }
        }
        let _ = fs::remove_file(beside(&file, ".lock"));
        let folder = place.parent().filter(|folder| !folder.as_os_str().is_empty());
        let renamed = File::open(&file)
            .and_then(|file| file.sync_all())
            .and_then(|()| fs::rename(&file, &place))
            .and_then(|()| File::open(folder.unwrap_or(Path::new(".")))?.sync_all());
        renamed.map_err(|source| SuccessorError::Files { path: place, source })
    }
}

/// A warehouse that is rebuilt in another place, with a database and a lake of its own. The live one goes on meanwhile, and
/// afterwards: which of the two is used is for its operator to say.
#[derive(Debug)]
pub struct Another {
    live: Warehouse,
    next: Warehouse,
    /// Nobody deletes a file of the live one, which may be read.
    turn: Turn,
}

/// The numbers of the other one's commits begin so much behind the newest of the live one, which goes on counting.
const COMMITS_MEANWHILE: i64 = 1 << 24;

/// How long another process is waited for, which is at work on the files of the lake.
const PATIENCE: Duration = Duration::from_secs(60);

impl Another {
    /// Makes a warehouse where nothing is, with the projects, keys and tokens of the live one and for the same log. No file of
    /// the live one is merged, expired or collected until the end.
    ///
    /// # Errors
    ///
    /// [`SuccessorError`].
    pub async fn begin(live: &WarehouseConfig, next: &WarehouseConfig) -> Result<Self, SuccessorError> {
        if live.sqlite_file().is_some() || next.sqlite_file().is_some() {
            return Err(SuccessorError::AFile);
        }
        assert_empty(next).await.map_err(Box::new)?;
        let live = Warehouse::open(live).await?;
        let lake = Lake::open(&next.lake);
        let lake = lake.map_err(|source| OpenError::Lake { location: next.lake.clone(), source })?;
        let paths = (live.lake().data_path(), lake.data_path());
        if paths.0.starts_with(&paths.1) || paths.1.starts_with(&paths.0) {
            return Err(SuccessorError::Nested { live: paths.0, next: paths.1 });
        }
        live.be_patient(PATIENCE);
        let Some(turn) = live.shared.database.take(Task::Files).await? else { return Err(SuccessorError::Elsewhere) };
        let next = Warehouse::open(next).await?;
        let another = Self { live, next, turn };
        another.copy_kept().await?;
        let newest = another.live.read().await?.commit().0;
        number_from(&another.next, newest + COMMITS_MEANWHILE).await?;
        Ok(another)
    }

    /// The warehouse that answers.
    #[must_use]
    pub const fn live(&self) -> &Warehouse {
        &self.live
    }

    /// The other one.
    #[must_use]
    pub const fn next(&self) -> &Warehouse {
        &self.next
    }

    async fn copy_kept(&self) -> Result<(), sqlx::Error> {
        match (&self.live.shared.database, &self.next.shared.database) {
            (Database::Postgres(live), Database::Postgres(next)) => next.copy_from(live, &KEPT).await,
            _ => unreachable!("both are on Postgres"),
        }
    }

    /// Ends it. The other one is complete, up to where the live one was at the beginning.
    ///
    /// # Errors
    ///
    /// [`SuccessorError::Copy`].
    pub async fn end(self) -> Result<(), SuccessorError> {
        // Once more: a key may have been made meanwhile.
        self.copy_kept().await?;
        self.turn.end().await;
        self.next.close().await;
        self.live.close().await;
        Ok(())
    }
}

/// Begins the numbers of commits with an empty one of this number.
async fn number_from(warehouse: &Warehouse, commit: i64) -> Result<(), sqlx::Error> {
    let mut transaction = warehouse.shared.database.write().await?;
    sql("INSERT INTO ducklake_snapshot SELECT $1, snapshot_time, schema_version, next_catalog_id, next_file_id \
         FROM ducklake_snapshot ORDER BY snapshot_id DESC LIMIT 1")
    .bind(commit)
    .run(&mut transaction)
    .await?;
    sql("INSERT INTO ducklake_snapshot_changes VALUES ($1, '', 'streamgauge', 'rebuild', '[]')")
        .bind(commit)
        .run(&mut transaction)
        .await?;
    transaction.commit().await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is made again by folding the records, beside the catalogue and the rollups.
    const CONCLUDED: [&str; 5] = ["changed_buckets", "checkpoint", "commits", "id_run", "state_file"];

    #[tokio::test]
    async fn every_table_is_either_kept_or_concluded_again() {
        let folder = tempfile::tempdir().unwrap();
        let config = WarehouseConfig::sqlite(folder.path().join("warehouse.db"), folder.path().join("lake"));
        let warehouse = Warehouse::open(&config).await.unwrap();
        let tables = sql("SELECT name FROM sqlite_master WHERE type = 'table'");
        let tables = tables.rows(&mut warehouse.shared.database.read().await.unwrap()).await.unwrap();
        for table in tables.iter().map(|row| row.get::<String>(0)) {
            let is_concluded = table.starts_with("ducklake_")
                || table.ends_with("_delta")
                || table.ends_with("_merged")
                || CONCLUDED.contains(&&*table);
            let is_of_library = table.starts_with("sqlite_") || table.starts_with("_sqlx_");
            assert!(is_of_library || is_concluded != KEPT.contains(&&*table), "{table}");
        }
    }
}
