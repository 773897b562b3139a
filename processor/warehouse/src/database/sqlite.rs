//! `SQLite`: one file, one writing connection, any number of readers.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Sqlite, Transaction};

use super::migrations::{self, AMENDED, APPLIED, Amendment, FORMER_OF_SQLITE, amendments};
use crate::open::OpenError;

/// Before this version a checkpoint that races with a write can lose committed pages (libsql issue 2271).
const MIN_VERSION: (u32, u32, u32) = (3, 51, 3);

/// How often a lock is tried that is waited for.
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// An open file.
#[derive(Debug)]
pub(crate) struct SqliteDatabase {
    /// One connection: writers queue for it instead of colliding in the database.
    writer: SqlitePool,
    readers: SqlitePool,
    /// Locked by the process that works on the files of the lake.
    lock: PathBuf,
    /// How long that is waited for; not at all unless somebody says so.
    pub(super) patience: OnceLock<Duration>,
}

/// The lock of the process that works on the files of the lake. It ends with the process, however that ends.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "held, and closed when dropped")] File);

impl SqliteDatabase {
    pub(crate) async fn open(path: &Path) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Database { database: path.display().to_string(), source };
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(10))
            .statement_cache_capacity(256);
        let writer = SqlitePoolOptions::new().max_connections(1).connect_with(options.clone()).await.map_err(failed)?;
        check_version(&writer).await.map_err(failed)??;
        migrate(&writer).await.map_err(failed)?;
        let readers = SqlitePoolOptions::new()
            .max_connections(8)
            .connect_lazy_with(options.read_only(true).create_if_missing(false));
        Ok(Self { writer, readers, lock: beside(path, ".lock"), patience: OnceLock::new() })
    }

    pub(crate) async fn write(&self) -> Result<Transaction<'static, Sqlite>, sqlx::Error> {
        self.writer.begin_with("BEGIN IMMEDIATE").await
    }

    pub(crate) async fn read(&self) -> Result<Transaction<'static, Sqlite>, sqlx::Error> {
        self.readers.begin().await
    }

    /// Copies all of it as of one moment into a new file; returns that, open.
    pub(crate) async fn copy_into(&self, file: &Path) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Database { database: file.display().to_string(), source };
        let copy = sqlx::query("VACUUM INTO ?").bind(file.to_string_lossy().into_owned());
        let mut connection = self.writer.acquire().await.map_err(failed)?;
        copy.execute(&mut *connection).await.map_err(failed)?;
        drop(connection);
        Self::open(file).await
    }

    /// Takes the right to work on the files of the lake, unless another process has it.
    pub(crate) async fn take(&self) -> Result<Option<Lock>, sqlx::Error> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&self.lock)?;
        let (begun, patience) = (Instant::now(), self.patience.get().copied().unwrap_or_default());
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(Lock(file))),
                Err(TryLockError::WouldBlock) if begun.elapsed() < patience => tokio::time::sleep(LOCK_RETRY).await,
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error.into()),
            }
        }
    }

    /// Replaces the rows of these tables by those of another file, in an order that respects their references.
    pub(crate) async fn copy_from(&self, other: &Path, tables: &[&str]) -> Result<(), sqlx::Error> {
        let mut connection = self.writer.acquire().await?;
        let other = other.to_string_lossy().into_owned();
        sqlx::query("ATTACH DATABASE ? AS other").bind(other).execute(&mut *connection).await?;
        let emptied = tables.iter().rev().map(|table| format!("DELETE FROM main.{table};"));
        let filled = tables.iter().map(|table| format!("INSERT INTO main.{table} SELECT * FROM other.{table};"));
        let copy: String = emptied.chain(filled).collect();
        let copy = format!("BEGIN IMMEDIATE;{copy}COMMIT;");
        sqlx::raw_sql(sqlx::AssertSqlSafe(copy)).execute(&mut *connection).await?;
        sqlx::raw_sql("DETACH DATABASE other").execute(&mut *connection).await?;
        Ok(())
    }

    /// Closes all connections; the write-ahead log is folded into the database file.
    pub(crate) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// A file of the same name with this ending behind it.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// The version of the tables that this program makes.
pub(crate) fn last_version() -> i64 {
    migrations::last_of(&migrations::of_sqlite())
}

/// Brings the tables up to date, one process at a time. Where nothing is to be done nothing is locked.
async fn migrate(writer: &SqlitePool) -> Result<(), sqlx::Error> {
    let migrator = migrations::of_sqlite();
    let is_known = "SELECT count(*) > 0 FROM sqlite_schema WHERE name = '_sqlx_migrations'";
    let is_known: bool = sqlx::query_scalar(is_known).fetch_one(writer).await?;
    let applied = if is_known { sqlx::query_as(APPLIED).fetch_all(writer).await? } else { Vec::new() };
    if applied.len() == migrator.iter().len() && migrations::are_all(&applied, &migrator) {
        return Ok(());
    }
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    for Amendment { applied, today, statements } in amendments(applied, &FORMER_OF_SQLITE, &migrator) {
        let amended = sqlx::query(AMENDED).bind(today.version).bind(today.description).bind(today.checksum);
        let amended = amended.bind(applied.0).bind(applied.1).execute(&mut *transaction).await?;
        if amended.rows_affected() > 0 {
            sqlx::raw_sql(statements).execute(&mut *transaction).await?;
        }
    }
    migrator.run(&mut *transaction).await?;
    transaction.commit().await
}

async fn check_version(pool: &SqlitePool) -> Result<Result<(), OpenError>, sqlx::Error> {
    let found: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(pool).await?;
    let mut parts = found.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    Ok(if version >= MIN_VERSION { Ok(()) } else { Err(OpenError::SqliteVersion { found }) })
}
