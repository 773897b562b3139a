//! Query: warehouse in, answers out.
//!
//! Every answer is made in its project's turn ([`admission`]), on the threads of the [`engine`], and at one commit:
//! [`pinned`] opens a read transaction of the warehouse, takes the newest commit in it, and everything (rollups from the
//! database, files of the lake) is read as of that commit, which the answer names. The transaction ends before
//! DataFusion runs over the lake. SQL of callers passes the [`gate`] first.
//!
//! Invariants:
//!
//! - a caller sees the own project only (with a user's token the own person only): the predicate is part of the table
//!   that a query is planned on, below any text of the caller;
//! - queries never write, open no file that is not the lake's, and reach no setting;
//! - rows, bytes, memory and time of a query are bounded; what is refused says by which limit.
//!
//! It never commits, and never reads a table outside the transaction that its answer names.

mod accept;
mod admission;
mod answer;
mod batches;
mod body;
mod bounded;
mod catalogue;
mod changes;
mod database_tables;
mod derived;
mod engine;
mod estimates;
mod etag;
mod events;
mod export;
mod failures;
mod fixed;
mod functions;
mod gate;
mod health;
mod interruptible;
mod lake_table;
mod local_time;
mod metrics;
mod output;
mod params;
mod performance;
mod pinned;
mod prune;
pub mod questions;
mod rollups;
mod scope;
mod sql;
mod streams;
mod tail;
#[cfg(test)]
mod testing;
mod usage;
mod view;
mod windows;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use schemas::time::Now;
use tokio_util::sync::CancellationToken;
use warehouse::Warehouse;

pub use engine::EngineError;
pub use metrics::QueryMetrics;

use answer::Refused;
use engine::Engine;

/// Limits of the query service.
#[derive(Debug, Clone)]
pub struct QueryConfig {
    /// Memory that all running queries may account for together.
    pub memory_bytes: usize,
    /// A query is ended after this.
    pub timeout: Duration,
    /// Queries that run at once; seven times as many may wait. One project may have half of these places.
    pub concurrent: usize,
    /// An answer has at most this many rows, whatever the caller asks for.
    pub max_rows: usize,
    /// And at most this many bytes, in memory and again when it is written in a format.
    pub max_result_bytes: usize,
}

impl Default for QueryConfig {
    fn default() -> Self {
        Self {
            memory_bytes: 256 << 20,
            timeout: Duration::from_secs(30),
            concurrent: 4,
            max_rows: 1_000_000,
            max_result_bytes: 64 << 20,
        }
    }
}

/// What all requests share.
#[derive(Debug, Clone)]
pub struct Query {
    shared: Arc<Shared>,
}

struct Shared {
    warehouse: Warehouse,
    engine: Engine,
    metrics: QueryMetrics,
    /// Answers from rollups that were given before.
    kept: rollups::Kept,
    now: Now,
    /// Ends streams that would never end by themselves.
    closing: CancellationToken,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("warehouse", &self.warehouse).finish_non_exhaustive()
    }
}

impl Query {
    /// Queries of `warehouse`. `now` is the server's clock, for lags and default ranges.
    ///
    /// # Errors
    ///
    /// [`EngineError`] if the engine's threads cannot be started.
    pub fn new(
        warehouse: Warehouse,
        config: QueryConfig,
        metrics: QueryMetrics,
        now: Now,
        closing: CancellationToken,
    ) -> Result<Self, EngineError> {
        let engine = Engine::start(warehouse.lake(), config)?;
        Ok(Self {
            shared: Arc::new(Shared { warehouse, engine, metrics, kept: rollups::Kept::default(), now, closing }),
        })
    }

    /// Waits for the project's turn, then does the work of one request, all of it, on the engine's threads.
    async fn turn<T, W>(&self, project: &Arc<str>, work: W) -> Result<T, Refused>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, Refused>> + Send + 'static,
    {
        let permit = self.shared.engine.admission.admit(project).await?;
        self.shared.engine.run(permit, work).await
    }
}

/// The routes of the query service. Each request must bring a [`schemas::Principal`] as an extension.
pub fn router(query: Query) -> Router {
    Router::new()
        .route("/v1/stats/usage", get(usage::usage))
        .route("/v1/stats/performance", get(performance::performance))
        .route("/v1/stats/streams", get(streams::streams))
        .route("/v1/stats/export", get(export::export))
        .route("/v1/stats/{name}", get(questions::answer))
        .route("/v1/rollups/changes", get(changes::changes))
        .route("/v1/health/streams", get(health::streams))
        .route("/v1/health/stream", get(health::live::stream))
        .route("/v1/rollups/{name}", get(rollups::rollup))
        .route("/v1/views/{view_id}", get(view::view))
        .route("/v1/events", get(events::events))
        .route("/v1/batches/{batch_id}", get(batches::batch))
        .route("/v1/tail", get(tail::tail))
        .route("/v1/sql", post(sql::sql))
        .with_state(query)
}
