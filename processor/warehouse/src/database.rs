//! Opening the database: migrations, the catalogue's first rows, connections.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use schemas::Timestamp;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Executor, SqliteConnection};
use thiserror::Error;
use tokio::sync::watch;
use uuid::Uuid;

use crate::commit::CommitId;
use crate::lake::Lake;
use crate::read::Snapshot;
use crate::tables::{LAKE_TABLES, LakeTable};

/// The version of the lake format we write; any other is refused.
const DUCKLAKE_VERSION: &str = "1.0";
/// Before this version a checkpoint that races with a write can lose committed pages (libsql issue 2271).
const SQLITE_MIN_VERSION: (u32, u32, u32) = (3, 51, 3);

/// Where a warehouse is.
#[derive(Debug, Clone)]
pub struct WarehouseConfig {
    /// The database file.
    pub database: PathBuf,
    /// The lake folder.
    pub lake: PathBuf,
}

/// Why a warehouse could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The database.
    #[error("open warehouse database `{path}`")]
    Database {
        /// The file.
        path: PathBuf,
        /// What it said.
        #[source]
        source: sqlx::Error,
    },
    /// The lake folder.
    #[error("open lake folder `{path}`")]
    Lake {
        /// The folder.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: std::io::Error,
    },
    /// Another program migrated the catalogue.
    #[error("the lake's catalogue has version `{found}`, and this program reads and writes {DUCKLAKE_VERSION} only")]
    CatalogueVersion {
        /// What it says.
        found: String,
    },
    /// A library that can lose data.
    #[error("SQLite {found} can lose committed writes; 3.51.3 or later is needed")]
    SqliteVersion {
        /// What is linked.
        found: String,
    },
}

/// An open warehouse. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Warehouse {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    /// One connection: writers queue for it instead of colliding in the database.
    pub(crate) writer: SqlitePool,
    pub(crate) readers: SqlitePool,
    pub(crate) lake: Lake,
    pub(crate) newest: watch::Sender<CommitId>,
    /// The newest commit's file lists, read once per commit.
    pub(crate) snapshot: Mutex<Option<Arc<Snapshot>>>,
}

impl Warehouse {
    /// Opens the warehouse, or creates it; brings its tables up to date.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub async fn open(config: &WarehouseConfig) -> Result<Self, OpenError> {
        let lake = Lake::open(&config.lake).map_err(|source| OpenError::Lake { path: config.lake.clone(), source })?;
        let failed = |source| OpenError::Database { path: config.database.clone(), source };
        let options = SqliteConnectOptions::new()
            .filename(&config.database)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(10))
            .statement_cache_capacity(256);
        let writer = SqlitePoolOptions::new().max_connections(1).connect_with(options.clone()).await.map_err(failed)?;
        check_sqlite(&writer).await.map_err(failed)??;
        migrations().run(&writer).await.map_err(|error| failed(error.into()))?;
        let root = format!("{}/", lake.root().display());
        let mut connection = writer.acquire().await.map_err(failed)?;
        let newest = prepare_catalogue(&mut connection, &root).await.map_err(failed)??;
        drop(connection);
        let readers = SqlitePoolOptions::new()
            .max_connections(8)
            .connect_lazy_with(options.read_only(true).create_if_missing(false));
        let shared = Shared { writer, readers, lake, newest: watch::Sender::new(newest), snapshot: Mutex::new(None) };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The lake folder.
    #[must_use]
    pub fn lake(&self) -> &Lake {
        &self.shared.lake
    }

    /// The newest commit; changes with every commit of this process.
    #[must_use]
    pub fn newest_commit(&self) -> watch::Receiver<CommitId> {
        self.shared.newest.subscribe()
    }

    /// Closes all connections; the write-ahead log is folded into the database file.
    pub async fn close(&self) {
        self.shared.readers.close().await;
        self.shared.writer.close().await;
    }
}

fn migrations() -> Migrator {
    let migration = |version, name: &'static str, sql: &'static str| {
        Migration::new(version, name.into(), MigrationType::Simple, sqlx::SqlStr::from_static(sql), false)
    };
    Migrator::with_migrations(vec![
        migration(1, "ducklake", include_str!("../migrations/sqlite/0001_ducklake.sql")),
        migration(2, "streamgauge", include_str!("../migrations/sqlite/0002_streamgauge.sql")),
        migration(3, "views", include_str!("../migrations/sqlite/0003_views.sql")),
    ])
}

async fn check_sqlite(pool: &SqlitePool) -> Result<Result<(), OpenError>, sqlx::Error> {
    let found: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(pool).await?;
    let mut parts = found.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    Ok(if version >= SQLITE_MIN_VERSION { Ok(()) } else { Err(OpenError::SqliteVersion { found }) })
}

/// Creates the catalogue's first rows, or checks those that are there. Returns the newest commit.
async fn prepare_catalogue(
    connection: &mut SqliteConnection,
    root: &str,
) -> Result<Result<CommitId, OpenError>, sqlx::Error> {
    connection.execute("BEGIN IMMEDIATE").await?;
    let version: Option<String> =
        sqlx::query_scalar("SELECT value FROM ducklake_metadata WHERE key = 'version' AND scope IS NULL")
            .fetch_optional(&mut *connection)
            .await?;
    match version {
        Some(found) if found != DUCKLAKE_VERSION => {
            connection.execute("ROLLBACK").await?;
            return Ok(Err(OpenError::CatalogueVersion { found }));
        }
        // The folder may have been moved since: its paths are relative to this one.
        Some(_) => {
            sqlx::query("UPDATE ducklake_metadata SET value = ? WHERE key = 'data_path' AND value <> ?")
                .bind(root)
                .bind(root)
                .execute(&mut *connection)
                .await?;
        }
        None => create_catalogue(connection, root).await?,
    }
    add_tables(connection).await?;
    let newest: i64 =
        sqlx::query_scalar("SELECT max(snapshot_id) FROM ducklake_snapshot").fetch_one(&mut *connection).await?;
    connection.execute("COMMIT").await?;
    Ok(Ok(CommitId(newest)))
}

#[expect(clippy::disallowed_methods, reason = "the birth of the catalogue: nothing is computed from it")]
async fn create_catalogue(connection: &mut SqliteConnection, root: &str) -> Result<(), sqlx::Error> {
    let now = Timestamp::from(chrono::Utc::now()).to_sql();
    for (key, value) in [
        ("version", DUCKLAKE_VERSION),
        ("created_by", concat!("streamgauge ", env!("CARGO_PKG_VERSION"))),
        ("data_path", root),
        ("encrypted", "false"),
        ("data_inlining_row_limit", "0"),
    ] {
        sqlx::query("INSERT INTO ducklake_metadata (key, value) VALUES (?, ?)")
            .bind(key)
            .bind(value)
            .execute(&mut *connection)
            .await?;
    }
    sqlx::query("INSERT INTO ducklake_snapshot VALUES (0, ?, 0, 1, 0)").bind(&now).execute(&mut *connection).await?;
    sqlx::query("INSERT INTO ducklake_schema VALUES (0, ?, 0, NULL, 'main', 'main/', 1)")
        .bind(Uuid::new_v4().to_string())
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "INSERT INTO ducklake_snapshot_changes (snapshot_id, changes_made) VALUES (0, 'created_schema:\"main\"')",
    )
    .execute(&mut *connection)
    .await?;
    Ok(())
}

/// Adds the tables that the catalogue does not have yet, in a snapshot of their own.
#[expect(clippy::disallowed_methods, reason = "the birth of tables: nothing is computed from it")]
async fn add_tables(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let known: Vec<i64> = sqlx::query_scalar("SELECT table_id FROM ducklake_table").fetch_all(&mut *connection).await?;
    let missing: Vec<&LakeTable> = LAKE_TABLES.into_iter().filter(|table| !known.contains(&table.id)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let next_catalog_id = i64::try_from(LAKE_TABLES.len()).unwrap_or(0) + 1;
    let (snapshot, schema_version): (i64, i64) = sqlx::query_as(
        "INSERT INTO ducklake_snapshot SELECT snapshot_id + 1, ?, schema_version + 1, max(next_catalog_id, ?), next_file_id \
         FROM ducklake_snapshot WHERE snapshot_id = (SELECT max(snapshot_id) FROM ducklake_snapshot) \
         RETURNING snapshot_id, schema_version",
    )
    .bind(Timestamp::from(chrono::Utc::now()).to_sql())
    .bind(next_catalog_id)
    .fetch_one(&mut *connection)
    .await?;
    let created: Vec<String> =
        missing.iter().map(|table| format!("created_table:\"main\".\"{}\"", table.name)).collect();
    sqlx::query("INSERT INTO ducklake_snapshot_changes (snapshot_id, changes_made) VALUES (?, ?)")
        .bind(snapshot)
        .bind(created.join(","))
        .execute(&mut *connection)
        .await?;
    for table in missing {
        create_table(connection, table, snapshot, schema_version).await?;
    }
    Ok(())
}

async fn create_table(
    connection: &mut SqliteConnection,
    table: &LakeTable,
    snapshot: i64,
    schema_version: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO ducklake_table VALUES (?, ?, ?, NULL, 0, ?, ?, 1)")
        .bind(table.id)
        .bind(Uuid::now_v7().to_string())
        .bind(snapshot)
        .bind(table.name)
        .bind(format!("{}/", table.name))
        .execute(&mut *connection)
        .await?;
    sqlx::query("INSERT INTO ducklake_schema_versions VALUES (?, ?, ?)")
        .bind(snapshot)
        .bind(schema_version)
        .bind(table.id)
        .execute(&mut *connection)
        .await?;
    sqlx::query("INSERT INTO ducklake_table_stats VALUES (?, 0, 0, 0)")
        .bind(table.id)
        .execute(&mut *connection)
        .await?;
    sqlx::query("INSERT INTO ducklake_tag VALUES (?, ?, NULL, 'comment', ?)")
        .bind(table.id)
        .bind(snapshot)
        .bind(table.doc)
        .execute(&mut *connection)
        .await?;
    for (column, column_id) in table.columns.iter().zip(1_i64..) {
        sqlx::query(
            "INSERT INTO ducklake_column (column_id, begin_snapshot, table_id, column_order, column_name, column_type, \
             default_value, nulls_allowed, default_value_type, default_value_dialect) \
             VALUES (?, ?, ?, ?, ?, ?, 'NULL', 1, 'literal', 'duckdb')",
        )
        .bind(column_id)
        .bind(snapshot)
        .bind(table.id)
        .bind(column_id)
        .bind(column.name)
        .bind(column.ty.ducklake())
        .execute(&mut *connection)
        .await?;
        sqlx::query("INSERT INTO ducklake_column_tag VALUES (?, ?, ?, NULL, 'comment', ?)")
            .bind(table.id)
            .bind(column_id)
            .bind(snapshot)
            .bind(column.doc)
            .execute(&mut *connection)
            .await?;
        sqlx::query("INSERT INTO ducklake_table_column_stats VALUES (?, ?, 0, NULL, NULL, NULL, NULL)")
            .bind(table.id)
            .bind(column_id)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
