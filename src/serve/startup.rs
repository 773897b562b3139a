//! Opening everything, in the order of dependence.

use std::io::IsTerminal;
use std::sync::Arc;

use anyhow::{Context, Result};
use event_log::{DiskLog, DiskLogConfig, EventLog};
use ingest::{Ingest, IngestMetrics};
use processor::ProcessorMetrics;
use prometheus::Registry;
use query::{Query, QueryMetrics};
use schemas::{Scope, Timestamp};
use tokio_util::sync::CancellationToken;
use warehouse::{Warehouse, WarehouseConfig};

use crate::auth::{Authentication, UserTokens};
use crate::clock::Clock;
use crate::config::Config;
use crate::data_dir::{Credentials, DataDir, Run, read_credentials};

/// Everything a process consists of.
pub(super) struct Parts {
    pub(super) clock: Clock,
    pub(super) log: Arc<dyn EventLog>,
    pub(super) warehouse: Warehouse,
    pub(super) ingest: Ingest,
    pub(super) query: Query,
    pub(super) authentication: Arc<Authentication>,
    pub(super) registry: Registry,
    pub(super) processor_metrics: ProcessorMetrics,
    /// Ends streams to readers.
    pub(super) closing: CancellationToken,
    /// Made by this start.
    pub(super) fresh_credentials: Option<Credentials>,
}

/// The project of the first start.
const DEFAULT_PROJECT: &str = "default";

impl Parts {
    pub(super) async fn open(config: &Config, data_dir: &DataDir) -> Result<Self> {
        let clock = Clock::new(config.test_clock);
        let registry = Registry::new();
        let log_config = DiskLogConfig {
            partitions: config.log.partitions,
            queue_bytes: config.log.queue_bytes.0,
            ..DiskLogConfig::new(config.log_folder())
        };
        let warehouse_config = WarehouseConfig { database: config.database_file(), lake: config.lake_folder() };
        // Opening the log replays its journal: beside the database, not before it.
        let opening = tokio::task::spawn_blocking(move || DiskLog::open(log_config));
        let warehouse = Warehouse::open(&warehouse_config).await?;
        let log: Arc<dyn EventLog> = Arc::new(opening.await??);
        let fresh_credentials = first_start(config, data_dir, &warehouse, clock.now()).await?;
        let user_tokens = UserTokens::new(&config.auth)?;
        let access = warehouse.access().await?;
        let authentication = Arc::new(Authentication::new(access, user_tokens, &config.auth.project));
        let closing = CancellationToken::new();
        let ingest =
            Ingest::new(Arc::clone(&log), ingest_config(config), IngestMetrics::register(&registry)?, clock.as_now());
        let query_metrics = QueryMetrics::register(&registry)?;
        let query =
            Query::new(warehouse.clone(), query_config(config), query_metrics, clock.as_now(), closing.clone())?;
        let processor_metrics = ProcessorMetrics::register(&registry)?;
        Ok(Self {
            clock,
            log,
            warehouse,
            ingest,
            query,
            authentication,
            registry,
            processor_metrics,
            closing,
            fresh_credentials,
        })
    }
}

fn ingest_config(config: &Config) -> ingest::IngestConfig {
    ingest::IngestConfig {
        max_body_bytes: config.ingest.max_body_bytes.0,
        max_decoded_bytes: config.ingest.max_decoded_bytes.0,
        max_in_flight_bytes: config.ingest.max_in_flight_bytes.0,
        body_deadline: config.ingest.body_deadline.0,
        tick_interval: config.ingest.tick_interval.0,
    }
}

fn query_config(config: &Config) -> query::QueryConfig {
    query::QueryConfig {
        memory_bytes: config.query.memory_bytes.0,
        timeout: config.query.timeout.0,
        concurrent: config.query.concurrent,
        max_rows: config.query.max_rows,
        max_result_bytes: config.query.max_result_bytes.0,
    }
}

/// Creates project `default` with its credentials, if it is not there. The file is written first: a start that is
/// killed in between finds it, and takes the values in it.
async fn first_start(
    config: &Config,
    data_dir: &DataDir,
    warehouse: &Warehouse,
    now: Timestamp,
) -> Result<Option<Credentials>> {
    let access = warehouse.access().await?;
    if access.projects.contains_key(DEFAULT_PROJECT) {
        add_presets(config, warehouse, now).await?;
        return Ok(None);
    }
    let preset = |value: &str, prefix: &str| if value.is_empty() { generate(prefix) } else { value.to_owned() };
    let credentials = match read_credentials(&config.data_dir) {
        Ok(credentials) => credentials,
        Err(_) => Credentials {
            project: DEFAULT_PROJECT.into(),
            upload_key: preset(&config.upload_key.0, "sgk_"),
            read_token: preset(&config.read_token.0, "sgt_"),
        },
    };
    data_dir.write_credentials(&credentials).context("write credentials.json")?;
    if access.upload_key(&credentials.upload_key).is_none() {
        warehouse.create_project(DEFAULT_PROJECT, true, now).await?;
        warehouse.create_upload_key(DEFAULT_PROJECT, "first start", &credentials.upload_key, now).await?;
    }
    if access.service_token(&credentials.read_token).is_none() {
        let scopes = [Scope::StatsRead, Scope::SqlRead];
        warehouse.create_service_token(DEFAULT_PROJECT, "first start", &credentials.read_token, &scopes, now).await?;
    }
    Ok(Some(credentials))
}

/// Preset values hold at every start.
async fn add_presets(config: &Config, warehouse: &Warehouse, now: Timestamp) -> Result<()> {
    let access = warehouse.access().await?;
    let (key, token) = (&config.upload_key.0, &config.read_token.0);
    if !key.is_empty() && access.upload_key(key).is_none() {
        warehouse.create_upload_key(DEFAULT_PROJECT, "preset", key, now).await.context("add the preset upload_key")?;
    }
    if !token.is_empty() && access.service_token(token).is_none() {
        let scopes = [Scope::StatsRead, Scope::SqlRead];
        warehouse
            .create_service_token(DEFAULT_PROJECT, "preset", token, &scopes, now)
            .await
            .context("add the preset read_token")?;
    }
    Ok(())
}

/// A new secret: 122 random bits twice.
pub(crate) fn generate(prefix: &str) -> String {
    format!("{prefix}{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple())
}

/// What a person who starts the product by hand wants to know. Credentials are printed once, and only to a terminal.
#[expect(clippy::print_stdout, reason = "this is for the person at the terminal, not a log line")]
pub(super) fn banner(config: &Config, data_dir: &DataDir, run: &Run, fresh: Option<&Credentials>) {
    let Some(http) = run.http else { return };
    let scheme = if config.tls_cert.is_empty() { "http" } else { "https" };
    let credentials_file = data_dir.credentials_path();
    let (key, token) = match fresh.filter(|_| std::io::stdout().is_terminal()) {
        Some(fresh) => (fresh.upload_key.clone(), fresh.read_token.clone()),
        None => {
            let from_file =
                |name| format!("$(sed -n 's/.*\"{name}\": \"\\(.*\\)\".*/\\1/p' {})", credentials_file.display());
            (from_file("upload_key"), from_file("read_token"))
        }
    };
    println!("streamgauge is ready on {scheme}://{http}");
    if let Some(admin) = run.admin {
        println!("  admin        http://{admin}/readyz  http://{admin}/metrics");
    }
    println!("  credentials  {}", credentials_file.display());
    println!("\npost an event:\n");
    println!(
        "  curl -i {scheme}://{http}/v1/events -H \"X-API-Key: {key}\" -H 'Content-Type: application/cloudevents+json' \\"
    );
    println!(
        "    -d '{{\"specversion\":\"1.0\",\"id\":\"hello-1\",\"source\":\"/hello\",\"type\":\"feature.used\",\"data\":{{\"feature\":\"first_upload\"}}}}'"
    );
    println!("\nread it back:\n");
    println!("  curl {scheme}://{http}/v1/stats/usage -H \"Authorization: Bearer {token}\"");
    println!("\nwith DuckDB:\n");
    println!(
        "  ATTACH 'ducklake:sqlite:{}' AS lake (READ_ONLY); SELECT * FROM lake.events;\n",
        config.database_file().display()
    );
}
