//! Opening the warehouse: where it is, its tables, the catalogue's first rows.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::catalogue::{DUCKLAKE_VERSION, prepare_catalogue};
use crate::commit::CommitId;
use crate::database::postgres::{PostgresConfig, PostgresDatabase, TABLES_LIMIT, TABLES_RETRY, is_denied};
use crate::database::sqlite::SqliteDatabase;
use crate::database::{Database, Task};
use crate::history::History;
use crate::lake::{Lake, LakeLocation};
use crate::read::Snapshot;

/// Where a warehouse is.
#[derive(Debug, Clone)]
pub struct WarehouseConfig {
    /// Its database.
    pub database: DatabaseConfig,
    /// The lake.
    pub lake: LakeLocation,
}

/// Which database.
#[derive(Debug, Clone)]
pub enum DatabaseConfig {
    /// A `SQLite` file, of one process.
    Sqlite(PathBuf),
    /// A Postgres database, of any number of processes.
    Postgres(PostgresConfig),
}

impl WarehouseConfig {
    /// A warehouse of one process.
    #[must_use]
    pub fn sqlite(database: impl Into<PathBuf>, lake: impl Into<LakeLocation>) -> Self {
        Self { database: DatabaseConfig::Sqlite(database.into()), lake: lake.into() }
    }

    /// A warehouse that several processes share.
    #[must_use]
    pub fn postgres(database: PostgresConfig, lake: impl Into<LakeLocation>) -> Self {
        Self { database: DatabaseConfig::Postgres(database), lake: lake.into() }
    }

    /// The database file, if it is one.
    #[must_use]
    pub fn sqlite_file(&self) -> Option<&PathBuf> {
        match &self.database {
            DatabaseConfig::Sqlite(path) => Some(path),
            DatabaseConfig::Postgres(_) => None,
        }
    }
}

impl fmt::Display for DatabaseConfig {
    /// Where it is, without user or password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => path.display().fmt(f),
            Self::Postgres(config) => config.fmt(f),
        }
    }
}

/// Why a warehouse could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The database.
    #[error("open warehouse database `{database}`")]
    Database {
        /// The file, or the server and its database.
        database: String,
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
    /// A server that is too old.
    #[error("Postgres {found} is too old; 15 or later is needed")]
    PostgresVersion {
        /// The major version of the server.
        found: i32,
    },
    /// A server that answers before a commit is durable.
    #[error("Postgres has `synchronous_commit = off`: commits could be lost after they were answered")]
    NotDurable,
}

/// An open warehouse. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Warehouse {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) database: Database,
    pub(crate) lake: Lake,
    pub(crate) history: Arc<History>,
    /// The newest commit's file lists, read once per commit.
    pub(crate) snapshot: Mutex<Option<Arc<Snapshot>>>,
    /// Looks for commits of other processes.
    follower: Option<AbortHandle>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(follower) = &self.follower {
            follower.abort();
        }
    }
}

impl Warehouse {
    /// Opens the warehouse, or creates it; brings its tables up to date. Several processes may open a warehouse on
    /// Postgres at the same time; a role that may only read can open one that is up to date.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub async fn open(config: &WarehouseConfig) -> Result<Self, OpenError> {
        let lake = Lake::open(&config.lake);
        let lake = lake.map_err(|source| OpenError::Lake { location: config.lake.clone(), source })?;
        let failed = |source| OpenError::Database { database: config.database.to_string(), source };
        let database = match &config.database {
            DatabaseConfig::Sqlite(path) => Database::Sqlite(SqliteDatabase::open(path).await?),
            DatabaseConfig::Postgres(config) => Database::Postgres(PostgresDatabase::open(config).await?),
        };
        let (root, begun) = (lake.data_path(), Instant::now());
        let newest = loop {
            let mut transaction = database.write_alone(Task::Catalogue).await.map_err(failed)?;
            match prepare_catalogue(&mut transaction, &root).await {
                // Who may only read waits for whoever makes it.
                Err(error) if is_denied(&error) && begun.elapsed() < TABLES_LIMIT => {
                    drop(transaction);
                    tokio::time::sleep(TABLES_RETRY).await;
                }
                prepared => {
                    let newest = prepared.map_err(failed)??;
                    transaction.commit().await.map_err(failed)?;
                    break newest;
                }
            }
        };
        let history = Arc::new(History::new(newest));
        let follower = match &database {
            Database::Sqlite(_) => None,
            Database::Postgres(database) => Some(database.follow(Arc::clone(&history))),
        };
        let shared = Shared { database, lake, history, snapshot: Mutex::new(None), follower };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The lake.
    #[must_use]
    pub fn lake(&self) -> &Lake {
        &self.shared.lake
    }

    /// The newest commit. Changes with every commit, of this process at once, of others within about a second. Falls only
    /// if the database is replaced by an older one.
    #[must_use]
    pub fn newest_commit(&self) -> watch::Receiver<CommitId> {
        self.shared.history.subscribe()
    }

    /// How often this process found the database replaced by one that lacked commits which had been read from it.
    #[must_use]
    pub fn database_replacements(&self) -> u64 {
        self.shared.history.replaced()
    }

    /// From now on merging, expiring, collecting and backing up wait so long for another process that is at the files, instead of
    /// leaving the work to it. For commands; said once.
    pub fn be_patient(&self, patience: Duration) {
        self.shared.database.be_patient(patience);
    }

    /// Closes all connections. On `SQLite` the write-ahead log is folded into the database file.
    pub async fn close(&self) {
        self.shared.database.close().await;
    }
}
