//! Several processes of the product on real Kafka and Postgres servers, which `STREAMGAUGE_TEST_KAFKA` (brokers) and
//! `STREAMGAUGE_TEST_POSTGRES` (a URL whose role may create databases) name. `deploy/test` starts them.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use tokio::process::Command;

use crate::server::{Server, Start};

/// The preset upload key of every cluster.
pub const UPLOAD_KEY: &str = "sgk_of_the_cluster_test";
/// Its preset read token.
pub const READ_TOKEN: &str = "sgt_of_the_cluster_test";

/// A topic, a database and a lake of one test. The database is dropped by [`Cluster::end`]; the servers themselves are
/// thrown away by whoever started them.
#[derive(Debug)]
pub struct Cluster {
    binary: PathBuf,
    kafka: String,
    postgres: String,
    name: String,
    lake: String,
    /// Address of the S3 store, if the lake is in a bucket.
    store: Option<String>,
    folder: TempDir,
}

/// A server that the environment names.
fn server(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether the environment names servers.
#[must_use]
pub fn has_servers() -> bool {
    server("STREAMGAUGE_TEST_KAFKA").is_some() && server("STREAMGAUGE_TEST_POSTGRES").is_some()
}

impl Cluster {
    /// A fresh cluster without any process yet; `None` where there are no servers.
    ///
    /// # Errors
    ///
    /// If its database cannot be created.
    pub async fn new(binary: impl Into<PathBuf>) -> Result<Option<Self>> {
        let (Some(kafka), Some(postgres)) = (server("STREAMGAUGE_TEST_KAFKA"), server("STREAMGAUGE_TEST_POSTGRES"))
        else {
            return Ok(None);
        };
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("e2e_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = tempfile::tempdir()?;
        let lake = format!("file:{}", folder.path().join("lake").display());
        let cluster = Self { binary: binary.into(), kafka, postgres, name, lake, store: None, folder };
        cluster.psql(&cluster.postgres, &format!("CREATE DATABASE {}", cluster.name)).await?;
        Ok(Some(cluster))
    }

    /// With its lake in a bucket instead of a shared folder, where `STREAMGAUGE_TEST_S3` names a store.
    #[must_use]
    pub fn in_bucket(mut self) -> Self {
        self.store = server("STREAMGAUGE_TEST_S3");
        if self.store.is_some() {
            self.lake = format!("s3://streamgauge/{}", self.name);
        }
        self
    }

    /// With its log on these brokers instead of those that `STREAMGAUGE_TEST_KAFKA` names.
    #[must_use]
    pub fn on_brokers(self, kafka: String) -> Self {
        Self { kafka, ..self }
    }

    /// Whether its lake is in a bucket.
    #[must_use]
    pub const fn is_in_bucket(&self) -> bool {
        self.store.is_some()
    }

    /// The URL of its lake.
    #[must_use]
    pub fn lake(&self) -> &str {
        &self.lake
    }

    /// The URL of its database.
    #[must_use]
    pub fn database(&self) -> String {
        let (server, _) = self.postgres.rsplit_once('/').unwrap_or((&self.postgres, ""));
        format!("{server}/{}", self.name)
    }

    /// What names the store and its keys, if the lake is in a bucket. The store of tests asks for any keys.
    #[must_use]
    pub fn store_variables(&self) -> Vec<(&'static str, String)> {
        let Some(store) = self.store.clone() else { return Vec::new() };
        let of = |name, value: &str| (name, value.to_owned());
        vec![
            ("AWS_ENDPOINT_URL", store),
            of("AWS_REGION", "us-east-1"),
            of("AWS_ACCESS_KEY_ID", "test"),
            of("AWS_SECRET_ACCESS_KEY", "test"),
        ]
    }

    /// A process of this role, or of all roles (`serve`), on a data directory of its own.
    #[must_use]
    pub fn role(&self, role: &str) -> Start {
        let replication = self.kafka.split(',').count().min(3);
        let start = Start::new(&self.binary);
        let start = self.store_variables().into_iter().fold(start, |start, (name, value)| start.variable(name, value));
        start
            .arguments(&[role])
            .variable("STREAMGAUGE_LOG_URL", format!("kafka://{}", self.kafka))
            .variable("STREAMGAUGE_WAREHOUSE_URL", self.database())
            .variable("STREAMGAUGE_LAKE_URL", &self.lake)
            .variable("STREAMGAUGE_KAFKA__TOPIC_PREFIX", format!("{}.", self.name))
            .variable("STREAMGAUGE_KAFKA__GROUP", &self.name)
            .variable("STREAMGAUGE_KAFKA__REPLICATION", replication.to_string())
            .variable("STREAMGAUGE_KAFKA__MIN_IN_SYNC", (replication / 2 + 1).to_string())
            .variable("STREAMGAUGE_KAFKA__SESSION_TIMEOUT", "6s")
            .variable("STREAMGAUGE_UPLOAD_KEY", UPLOAD_KEY)
            .variable("STREAMGAUGE_READ_TOKEN", READ_TOKEN)
    }

    /// Starts processes of a role side by side.
    ///
    /// # Errors
    ///
    /// If one does not start.
    pub async fn start(&self, role: &str, count: usize) -> Result<Vec<Server>> {
        let starts: Vec<Start> = (0..count).map(|_| self.role(role)).collect();
        futures::future::try_join_all(starts.iter().map(Start::start)).await
    }

    /// Drops its database and forgets its lake: both are empty from now on. Its processes must have ended.
    ///
    /// # Errors
    ///
    /// If that is refused.
    pub async fn lose_warehouse(&mut self) -> Result<()> {
        self.psql(&self.postgres, &format!("DROP DATABASE {} WITH (FORCE)", self.name)).await?;
        self.psql(&self.postgres, &format!("CREATE DATABASE {}", self.name)).await?;
        self.lake.push_str("_anew");
        Ok(())
    }

    /// Makes a second, empty database, and names a second, empty lake; returns their URLs.
    ///
    /// # Errors
    ///
    /// If the database cannot be created.
    pub async fn second_place(&self) -> Result<(String, String)> {
        self.psql(&self.postgres, &format!("CREATE DATABASE {}_second", self.name)).await?;
        Ok((format!("{}_second", self.database()), format!("{}_second", self.lake)))
    }

    /// Runs statements in its database, as its owner.
    ///
    /// # Errors
    ///
    /// If one fails.
    pub async fn execute(&self, sql: &str) -> Result<String> {
        self.psql(&self.database(), sql).await
    }

    async fn psql(&self, url: &str, sql: &str) -> Result<String> {
        let output = Command::new("psql").args([url, "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql]).output().await;
        let output = output.context("run psql")?;
        if !output.status.success() {
            bail!("psql: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
    }

    /// Drops its database; its processes must have ended.
    ///
    /// # Errors
    ///
    /// If that is refused.
    pub async fn end(self) -> Result<()> {
        self.psql(&self.postgres, &format!("DROP DATABASE {} WITH (FORCE)", self.name)).await?;
        self.psql(&self.postgres, &format!("DROP DATABASE IF EXISTS {}_second WITH (FORCE)", self.name)).await?;
        self.folder.close().context("remove the lake")
    }
}
