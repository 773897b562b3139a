//! Opening everything, in the order of dependence.

use std::sync::Arc;

use anyhow::{Context, Result};
use event_log::{DiskLog, DiskLogConfig, EventLog};
use ingest::{Ingest, IngestMetrics};
use processor::{EVENTS_TOPIC, ProcessorMetrics};
use prometheus::Registry;
use query::{Query, QueryMetrics};
use tokio_util::sync::CancellationToken;
use warehouse::Warehouse;

use super::credentials;
use crate::auth::{Authentication, EdgeMetrics, UserTokens};
use crate::clock::Clock;
use crate::config::Config;
use crate::data_dir::{Credentials, DataDir};

/// Everything a process consists of.
pub(super) struct Parts {
    pub(super) clock: Clock,
    pub(super) log: Arc<dyn EventLog>,
    pub(super) warehouse: Warehouse,
    pub(super) ingest: Ingest,
    pub(super) query: Query,
    pub(super) authentication: Arc<Authentication>,
    pub(super) registry: Registry,
    pub(super) edge_metrics: EdgeMetrics,
    pub(super) processor_metrics: ProcessorMetrics,
    /// Ends streams to readers.
    pub(super) closing: CancellationToken,
    /// Made by this start.
    pub(super) fresh_credentials: Option<Credentials>,
}

impl Parts {
    pub(super) async fn open(config: &Config, data_dir: &DataDir, user_tokens: Option<UserTokens>) -> Result<Self> {
        let clock = Clock::new(config.test_clock);
        let registry = Registry::new();
        let log_config = DiskLogConfig {
            partitions: config.log.partitions,
            queue_bytes: config.log.queue_bytes.0,
            ..DiskLogConfig::new(config.log_folder())
        };
        let warehouse_config = config.warehouse();
        warehouse::remove_unfinished(&warehouse_config).context("remove what a rebuild left behind")?;
        // Opening the log replays its journal: beside the database, not before it.
        let opening = tokio::task::spawn_blocking(move || DiskLog::open(log_config));
        let warehouse = Warehouse::open(&warehouse_config).await?;
        let log: Arc<dyn EventLog> = Arc::new(opening.await??);
        warehouse.bind_log(EVENTS_TOPIC, log.identity()).await?;
        let fresh_credentials = credentials::ensure(config, data_dir, &warehouse, clock.now()).await?;
        let authentication = Arc::new(Authentication::new(warehouse.access().await?, user_tokens, config));
        let closing = CancellationToken::new();
        let ingest =
            Ingest::new(Arc::clone(&log), ingest_config(config), IngestMetrics::register(&registry)?, clock.as_now());
        let query_metrics = QueryMetrics::register(&registry)?;
        let query =
            Query::new(warehouse.clone(), query_config(config), query_metrics, clock.as_now(), closing.clone())?;
        Ok(Self {
            clock,
            log,
            warehouse,
            ingest,
            query,
            authentication,
            edge_metrics: EdgeMetrics::register(&registry)?,
            processor_metrics: ProcessorMetrics::register(&registry)?,
            registry,
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
