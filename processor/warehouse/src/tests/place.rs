//! Where a test has its warehouse.

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection, Executor};
use uuid::Uuid;

use crate::{DatabaseConfig, PostgresConfig, Warehouse, WarehouseConfig};

/// Names a server on which tests make databases and drop them again.
const SERVER: &str = "STREAMGAUGE_TEST_POSTGRES";

/// A folder with a lake, and a database of its own.
pub(crate) struct Place {
    folder: Arc<tempfile::TempDir>,
    database: DatabaseConfig,
    postgres: Option<TestDatabase>,
}

impl Place {
    /// With a file.
    #[expect(clippy::unused_async, reason = "like its sibling")]
    pub(crate) async fn sqlite() -> Option<Self> {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let database = DatabaseConfig::Sqlite(folder.path().join("warehouse.db"));
        Some(Self { folder, database, postgres: None })
    }

    /// With a new database on the tests' server, if there is one.
    #[expect(clippy::disallowed_methods, reason = "a test is told of its server by the environment")]
    pub(crate) async fn postgres() -> Option<Self> {
        let Ok(server) = std::env::var(SERVER) else {
            eprintln!("skipped: {SERVER} names no server");
            return None;
        };
        let postgres = TestDatabase::create(&server).await;
        let database = DatabaseConfig::Postgres(PostgresConfig::from_str(&postgres.url).unwrap());
        Some(Self { folder: Arc::new(tempfile::tempdir().unwrap()), database, postgres: Some(postgres) })
    }

    /// The same folder with an empty database.
    pub(crate) async fn emptied(&self) -> Self {
        let folder = Arc::clone(&self.folder);
        match &self.postgres {
            None => {
                let database = DatabaseConfig::Sqlite(folder.path().join("another.db"));
                Self { folder, database, postgres: None }
            }
            Some(_) => Self { folder, ..Self::postgres().await.unwrap() },
        }
    }

    /// A place of the same kind where nothing is.
    pub(crate) async fn another(&self) -> Self {
        let another = if self.postgres.is_some() { Self::postgres().await } else { Self::sqlite().await };
        another.unwrap()
    }

    pub(crate) fn config(&self) -> WarehouseConfig {
        WarehouseConfig { database: self.database.clone(), lake: self.folder().join("lake").into() }
    }

    pub(crate) async fn open(&self) -> Warehouse {
        Warehouse::open(&self.config()).await.unwrap()
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The URL of the Postgres database.
    pub(crate) fn url(&self) -> &str {
        &self.postgres.as_ref().expect("a test of Postgres").url
    }

    /// A connection beside the warehouse.
    pub(crate) async fn connect(&self) -> PgConnection {
        PgConnection::connect(self.url()).await.unwrap()
    }
}

/// A database that is dropped with this.
struct TestDatabase {
    server: PgConnectOptions,
    name: String,
    url: String,
}

impl TestDatabase {
    async fn create(server: &str) -> Self {
        let options = PgConnectOptions::from_str(server).unwrap();
        let name = format!("streamgauge_test_{}", Uuid::new_v4().simple());
        let mut connection = options.connect().await.unwrap();
        connection.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
        let (place, settings) = server.split_once('?').unwrap_or((server, ""));
        let (place, _) = place.rsplit_once('/').expect("the URL names a database");
        let url = format!("{place}/{name}?{settings}");
        Self { server: options, name, url }
    }
}

impl Drop for TestDatabase {
    /// Also after a failure, and whoever is still connected.
    fn drop(&mut self) {
        let (options, drop) = (self.server.clone(), format!("DROP DATABASE {} WITH (FORCE)", self.name));
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut connection = options.connect().await.unwrap();
                connection.execute(sqlx::AssertSqlSafe(drop)).await.unwrap();
            });
        });
        let _ = dropping.join();
    }
}
