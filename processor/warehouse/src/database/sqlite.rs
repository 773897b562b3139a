//! `SQLite`: one file, one writing connection, any number of readers.

use std::path::Path;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{QueryBuilder, Sqlite, Transaction};

use super::migration;
use super::statement::MAX_VALUES;
use crate::commit::Delta;
use crate::open::OpenError;

/// Before this version a checkpoint that races with a write can lose committed pages (libsql issue 2271).
const MIN_VERSION: (u32, u32, u32) = (3, 51, 3);

/// An open file.
#[derive(Debug)]
pub(crate) struct SqliteDatabase {
    /// One connection: writers queue for it instead of colliding in the database.
    writer: SqlitePool,
    readers: SqlitePool,
}

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
        migrations().run(&writer).await.map_err(|error| failed(error.into()))?;
        let readers = SqlitePoolOptions::new()
            .max_connections(8)
            .connect_lazy_with(options.read_only(true).create_if_missing(false));
        Ok(Self { writer, readers })
    }

    pub(crate) async fn write(&self) -> Result<Transaction<'static, Sqlite>, sqlx::Error> {
        self.writer.begin_with("BEGIN IMMEDIATE").await
    }

    pub(crate) async fn read(&self) -> Result<Transaction<'static, Sqlite>, sqlx::Error> {
        self.readers.begin().await
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

fn migrations() -> Migrator {
    Migrator::with_migrations(vec![
        migration(1, "ducklake", include_str!("../../migrations/sqlite/0001_ducklake.sql")),
        migration(2, "streamgauge", include_str!("../../migrations/sqlite/0002_streamgauge.sql")),
        migration(3, "views", include_str!("../../migrations/sqlite/0003_views.sql")),
        migration(4, "layouts", include_str!("../../migrations/sqlite/0004_layouts.sql")),
        migration(5, "lookups", include_str!("../../migrations/sqlite/0005_lookups.sql")),
        migration(6, "retention", include_str!("../../migrations/sqlite/0006_retention.sql")),
    ])
}

async fn check_version(pool: &SqlitePool) -> Result<Result<(), OpenError>, sqlx::Error> {
    let found: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(pool).await?;
    let mut parts = found.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    Ok(if version >= MIN_VERSION { Ok(()) } else { Err(OpenError::SqliteVersion { found }) })
}

/// Appends deltas of a commit.
pub(super) async fn append(
    connection: &mut SqliteConnection,
    commit_id: i64,
    delta: &Delta,
) -> Result<(), sqlx::Error> {
    let columns = delta.rollup.keys.len() + delta.rollup.measures.len() + 3;
    let insert = format!("INSERT INTO {} ", super::delta_columns(delta.rollup));
    for rows in delta.rows.chunks(MAX_VALUES / columns) {
        let mut query = QueryBuilder::<Sqlite>::new(&insert);
        query.push_values(rows, |mut values, row| {
            values.push_bind(commit_id).push_bind(row.project.as_ref()).push_bind(row.bucket.micros());
            for key in &row.keys {
                values.push_bind(key.as_str());
            }
            for measure in &row.measures {
                values.push_bind(*measure);
            }
        });
        // Another text for each number of rows: not worth remembering.
        query.build().persistent(false).execute(&mut *connection).await?;
    }
    Ok(())
}
