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
    /// Whether a later version of the program has added to the tables.
    is_of_later: bool,
}

/// What a later version may do to tables that this one works on (docs/database.md).
const LATER: &str = "DO $$
    DECLARE t TEXT;
    BEGIN
        IF to_regclass('a_later_version') IS NOT NULL THEN
            RETURN;
        END IF;
        CREATE TABLE a_later_version (kept TEXT PRIMARY KEY);
        FOR t IN SELECT table_name FROM information_schema.tables
            WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND table_name NOT LIKE '\\_sqlx%' LOOP
            EXECUTE format('ALTER TABLE %I ADD COLUMN of_a_later_version BIGINT NOT NULL DEFAULT 7', t);
        END LOOP;
        INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
            VALUES (9999, 'later', true, 'x', 0);
    END $$";

impl Place {
    /// With a file.
    #[expect(clippy::unused_async, reason = "like its sibling")]
    pub(crate) async fn sqlite() -> Option<Self> {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let database = DatabaseConfig::Sqlite(folder.path().join("warehouse.db"));
        Some(Self { folder, database, postgres: None, is_of_later: false })
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
        Some(Self {
            folder: Arc::new(tempfile::tempdir().unwrap()),
            database,
            postgres: Some(postgres),
            is_of_later: false,
        })
    }

    /// The same. Once a warehouse is open, a later version of the program adds a column to each of its tables.
    pub(crate) async fn postgres_of_later() -> Option<Self> {
        Some(Self { is_of_later: true, ..Self::postgres().await? })
    }

    /// The same folder with an empty database.
    pub(crate) async fn emptied(&self) -> Self {
        let folder = Arc::clone(&self.folder);
        match &self.postgres {
            None => {
                let database = DatabaseConfig::Sqlite(folder.path().join("another.db"));
                Self { folder, database, postgres: None, is_of_later: false }
            }
            Some(_) => Self { folder, is_of_later: self.is_of_later, ..Self::postgres().await.unwrap() },
        }
    }

    /// A place of the same kind where nothing is.
    pub(crate) async fn another(&self) -> Self {
        let another = if self.postgres.is_some() { Self::postgres().await } else { Self::sqlite().await };
        Self { is_of_later: self.is_of_later, ..another.unwrap() }
    }

    pub(crate) fn config(&self) -> WarehouseConfig {
        WarehouseConfig { database: self.database.clone(), lake: self.folder().join("lake").into() }
    }

    pub(crate) async fn open(&self) -> Warehouse {
        let warehouse = Warehouse::open(&self.config()).await.unwrap();
        if self.is_of_later {
            self.connect().await.execute(LATER).await.unwrap();
        }
        warehouse
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
