//! Putting a set in an empty place.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::{BackupError, BackupSet, DatabaseKind, LAKE, SetFile, files, flush};
use crate::database::postgres::PostgresDatabase;
use crate::database::sqlite::{self, beside};
use crate::lake::Lake;
use crate::open::{DatabaseConfig, OpenError, WarehouseConfig};

/// Name of the database's file in a set of `SQLite`.
pub(crate) const SQLITE_FILE: &str = "warehouse.db";

/// Asserts that a set fits the place, and that nothing is there yet.
///
/// # Errors
///
/// [`BackupError::OtherDatabase`], [`BackupError::Later`], [`BackupError::NotEmpty`]; or the place cannot be looked at.
pub async fn find_place(set: &BackupSet, config: &WarehouseConfig) -> Result<(), BackupError> {
    let wanted = DatabaseKind::of(config);
    if set.database != wanted {
        return Err(BackupError::OtherDatabase { found: set.database.as_str(), wanted: wanted.as_str() });
    }
    let latest = match set.database {
        DatabaseKind::Sqlite => sqlite::last_version(),
        DatabaseKind::Postgres => PostgresDatabase::last_version(),
    };
    if set.version > latest {
        return Err(BackupError::Later { format: set.format, version: set.version });
    }
    assert_empty(config).await
}

/// Asserts that neither the database nor the lake of a place holds anything.
pub(crate) async fn assert_empty(config: &WarehouseConfig) -> Result<(), BackupError> {
    let is_empty = match &config.database {
        DatabaseConfig::Sqlite(path) => !path.try_exists().map_err(files(path))?,
        DatabaseConfig::Postgres(config) => PostgresDatabase::is_empty(config).await?,
    };
    if !is_empty {
        return Err(BackupError::NotEmpty { what: format!("the database `{}`", config.database) });
    }
    // Opening a folder makes it.
    let lake = open_lake(config)?;
    let listing = tokio::task::spawn_blocking(move || lake.list()).await;
    let found = listing.unwrap_or_else(|panic| Err(io::Error::other(panic)));
    if !found.map_err(|source| BackupError::Lake { path: String::new(), source })?.is_empty() {
        return Err(BackupError::NotEmpty { what: format!("the lake `{}`", config.lake) });
    }
    Ok(())
}

/// Writes a set's lake and then its database to a place where nothing is. The set must have been verified.
///
/// # Errors
///
/// [`BackupError`]; then the place holds a part of the set: it must be emptied before another try.
pub async fn restore(folder: &Path, set: &BackupSet, config: &WarehouseConfig) -> Result<(), BackupError> {
    find_place(set, config).await?;
    let (lake, of_lake) = (open_lake(config)?, set.files.clone());
    let from = folder.to_owned();
    let copying = tokio::task::spawn_blocking(move || copy_lake(&from, &of_lake, &lake)).await;
    copying.unwrap_or_else(|panic| Err(files(folder)(io::Error::other(panic))))?;
    match &config.database {
        DatabaseConfig::Sqlite(place) => put_file(&folder.join(&set.database_file(SQLITE_FILE)?.path), place),
        DatabaseConfig::Postgres(config) => {
            let tables = set.tables.iter().map(|table| {
                let file = set.database_file(&table.file_name())?;
                Ok((table, folder.join(&file.path)))
            });
            let tables: Vec<_> = tables.collect::<Result<_, BackupError>>()?;
            Ok(PostgresDatabase::restore(config, set.version, &tables).await?)
        }
    }
}

fn open_lake(config: &WarehouseConfig) -> Result<Lake, BackupError> {
    let failed = |source| OpenError::Lake { location: config.lake.clone(), source };
    Ok(Lake::open(&config.lake).map_err(failed).map_err(Box::new)?)
}

fn copy_lake(folder: &Path, set_files: &[SetFile], lake: &Lake) -> Result<(), BackupError> {
    for SetFile { path, .. } in set_files {
        let Some(path_in_lake) = path.strip_prefix(LAKE).and_then(|path| path.strip_prefix('/')) else { continue };
        let place = folder.join(path);
        let content = fs::read(&place).map_err(files(&place))?;
        let failed = |source| BackupError::Lake { path: path_in_lake.to_owned(), source };
        lake.write(path_in_lake, &content).map_err(failed)?;
    }
    Ok(())
}

/// Copies the database's file: it gets its name when it is whole.
fn put_file(from: &Path, place: &Path) -> Result<(), BackupError> {
    let fresh = beside(place, ".restored");
    let folder = place.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)
        .and_then(|()| fs::copy(from, &fresh))
        .and_then(|_| File::open(&fresh)?.sync_all())
        .and_then(|()| fs::rename(&fresh, place))
        .and_then(|()| flush(folder))
        .map_err(files(place))
}
