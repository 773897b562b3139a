//! Opening everything that a role needs, in the order of dependence.

use std::sync::Arc;

use anyhow::Result;
use event_log::EventLog;
use ingest::{Ingest, IngestMetrics};
use processor::ProcessorMetrics;
use prometheus::Registry;
use query::{Query, QueryMetrics};
use tokio_util::sync::CancellationToken;
use warehouse::Warehouse;

use super::credentials;
use super::role::Role;
use crate::auth::{Authentication, EdgeMetrics, UserTokens};
use crate::clock::Clock;
use crate::config::Config;
use crate::data_dir::{Credentials, DataDir};
use crate::stores;

/// Everything a process consists of. What its role does not need is not there.
pub(super) struct Parts {
    pub(super) role: Role,
    pub(super) clock: Clock,
    pub(super) log: Option<Arc<dyn EventLog>>,
    pub(super) warehouse: Warehouse,
    pub(super) ingest: Option<Ingest>,
    pub(super) query: Option<Query>,
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
    pub(super) async fn open(
        role: Role,
        config: &Config,
        data_dir: &DataDir,
        user_tokens: Option<UserTokens>,
    ) -> Result<Self> {
        let clock = Clock::new(config.test_clock);
        let registry = Registry::new();
        // Opening the log takes time of its own (a journal is replayed, brokers are found): beside the database.
        let opening = role.has_log().then(|| tokio::spawn(stores::open_log(config.clone())));
        let warehouse = stores::open_warehouse(config).await?;
        let log = match opening {
            Some(opening) => Some(stores::follow(opening.await??, &warehouse).await?),
            None => None,
        };
        let fresh_credentials = match role {
            Role::All => credentials::ensure(config, data_dir, &warehouse, clock.now()).await?,
            // One role of several: nobody looks for credentials in its directory.
            _ => credentials::preset(config, &warehouse, clock.now()).await.map(|()| None)?,
        };
        let authentication = Arc::new(Authentication::new(warehouse.access().await?, user_tokens, config));
        let closing = CancellationToken::new();
        let ingest = match log.as_ref().filter(|_| role.ingests()) {
            Some(log) => {
                let metrics = IngestMetrics::register(&registry)?;
                Some(Ingest::new(Arc::clone(log), ingest_config(config), metrics, clock.as_now()))
            }
            None => None,
        };
        let query = if role.answers() {
            let metrics = QueryMetrics::register(&registry)?;
            Some(Query::new(warehouse.clone(), query_config(config), metrics, clock.as_now(), closing.clone())?)
        } else {
            None
        };
        Ok(Self {
            role,
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

pub(super) fn ingest_config(config: &Config) -> ingest::IngestConfig {
    ingest::IngestConfig {
        max_body_bytes: config.ingest.max_body_bytes.0,
        max_decoded_bytes: config.ingest.max_decoded_bytes.0,
        max_in_flight_bytes: config.ingest.max_in_flight_bytes.0,
        body_deadline: config.ingest.body_deadline.0,
        tick_interval: config.ingest.tick_interval.0,
        quotas: config.ingest.quotas(),
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
