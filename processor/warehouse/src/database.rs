//! Opening the database: migrations, the catalogue's first rows, connections.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use thiserror::Error;
use tokio::sync::watch;

use crate::catalogue::{DUCKLAKE_VERSION, prepare_catalogue};
use crate::commit::CommitId;
use crate::lake::{Lake, LakeLocation};
use crate::read::Snapshot;

/// Before this version a checkpoint that races with a write can lose committed pages (libsql issue 2271).
const SQLITE_MIN_VERSION: (u32, u32, u32) = (3, 51, 3);

/// Where a warehouse is.
#[derive(Debug, Clone)]
pub struct WarehouseConfig {
    /// The database file.
    pub database: PathBuf,
    /// The lake.
    pub lake: LakeLocation,
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
    /// The lake.
    #[error("open the lake at `{location}`")]
    Lake {
        /// Where it is.
        location: LakeLocation,
        /// What the file system or the store said.
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
        let lake = Lake::open(&config.lake);
        let lake = lake.map_err(|source| OpenError::Lake { location: config.lake.clone(), source })?;
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
        let root = lake.data_path();
        let mut connection = writer.acquire().await.map_err(failed)?;
        let newest = prepare_catalogue(&mut connection, &root).await.map_err(failed)??;
        drop(connection);
        let readers = SqlitePoolOptions::new()
            .max_connections(8)
            .connect_lazy_with(options.read_only(true).create_if_missing(false));
        let shared = Shared { writer, readers, lake, newest: watch::Sender::new(newest), snapshot: Mutex::new(None) };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The lake.
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
        migration(4, "layouts", include_str!("../migrations/sqlite/0004_layouts.sql")),
        migration(5, "lookups", include_str!("../migrations/sqlite/0005_lookups.sql")),
    ])
}

async fn check_sqlite(pool: &SqlitePool) -> Result<Result<(), OpenError>, sqlx::Error> {
    let found: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(pool).await?;
    let mut parts = found.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    Ok(if version >= SQLITE_MIN_VERSION { Ok(()) } else { Err(OpenError::SqliteVersion { found }) })
}
