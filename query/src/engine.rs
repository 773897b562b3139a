//! DataFusion, bounded: its own threads, one memory pool, one deadline per query.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList, MemorySchemaProvider,
};
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionState;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::StreamExt;
use object_store::local::LocalFileSystem;
use schemas::Problem;
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use warehouse::Lake;

use crate::QueryConfig;
use crate::answer::Refused;
use crate::functions;
use crate::lake_table::LAKE_URL;

/// Where a session's tables are: `streamgauge.main.events`.
pub(crate) const CATALOGUE: &str = "streamgauge";
const SCHEMA: &str = "main";

/// Why the engine could not be started.
#[derive(Debug, Error)]
pub enum EngineError {
    /// Its threads.
    #[error("start the threads of the query engine")]
    Threads(#[from] std::io::Error),
    /// The engine itself.
    #[error("set up the query engine")]
    Setup(#[from] DataFusionError),
    /// The lake folder.
    #[error("open the lake folder for queries")]
    Lake(#[from] object_store::Error),
}

/// The engine: what queries of all callers share.
pub(crate) struct Engine {
    pub(crate) config: QueryConfig,
    /// Queries burn processor time; they must not keep the network's threads from their work.
    threads: Option<tokio::runtime::Runtime>,
    template: SessionState,
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

/// Rows of a result, and whether there were more.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) schema: arrow::datatypes::SchemaRef,
    pub(crate) batches: Vec<RecordBatch>,
    pub(crate) truncated: bool,
}

impl Rows {
    pub(crate) fn count(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }
}

impl Engine {
    pub(crate) fn start(lake: &Lake, config: QueryConfig) -> Result<Self, EngineError> {
        let cores = std::thread::available_parallelism().map_or(2, NonZeroUsize::get);
        let threads = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(cores)
            .thread_name("query")
            .enable_time()
            .build()?;
        let pool = TrackConsumersPool::new(FairSpillPool::new(config.memory_bytes), NonZeroUsize::MIN);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(pool))
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
            .build_arc()?;
        let url = ObjectStoreUrl::parse(LAKE_URL)?;
        runtime.register_object_store(url.as_ref(), Arc::new(LocalFileSystem::new_with_prefix(lake.root())?));
        let session = SessionConfig::new()
            .with_target_partitions(cores.min(4))
            .with_batch_size(4096)
            .with_information_schema(false)
            .with_default_catalog_and_schema(CATALOGUE, SCHEMA)
            .set_bool("datafusion.execution.parquet.pushdown_filters", true)
            .set_str("datafusion.execution.time_zone", "UTC")
            .set_str("datafusion.sql_parser.dialect", "postgres");
        let state =
            SessionStateBuilder::new().with_config(session).with_runtime_env(runtime).with_default_features().build();
        let context = SessionContext::new_with_state(state);
        let mut state = context.state();
        datafusion_functions_json::register_all(&mut state)?;
        let context = SessionContext::new_with_state(state);
        functions::restrict(&context);
        Ok(Self {
            running: Arc::new(Semaphore::new(config.concurrent)),
            waiting: Arc::new(Semaphore::new(config.concurrent * 2)),
            config,
            threads: Some(threads),
            template: context.state(),
        })
    }

    /// A session of its own: an empty schema to put tables in, the allowed functions.
    pub(crate) fn session(&self) -> Result<SessionContext, Refused> {
        let catalogue = MemoryCatalogProvider::new();
        catalogue.register_schema(SCHEMA, Arc::new(MemorySchemaProvider::new())).map_err(refusal)?;
        let catalogues = MemoryCatalogProviderList::new();
        catalogues.register_catalog(CATALOGUE.to_owned(), Arc::new(catalogue));
        let state = SessionStateBuilder::new_from_existing(self.template.clone())
            .with_catalog_list(Arc::new(catalogues))
            .build();
        Ok(SessionContext::new_with_state(state))
    }

    /// Plans and runs a query on the engine's threads; at most `limit` rows are returned.
    pub(crate) async fn run<F, P>(&self, limit: usize, plan: P) -> Result<Rows, Refused>
    where
        P: FnOnce() -> F + Send + 'static,
        F: Future<Output = Result<DataFrame, Refused>> + Send,
    {
        let Ok(_waiting) = Arc::clone(&self.waiting).try_acquire_owned() else {
            return Err(Problem::new(429, "too_many_queries", "too many queries are waiting").retry_after(1).into());
        };
        let Some(threads) = &self.threads else { return Err(internal()) };
        let deadline = tokio::time::Instant::now() + self.config.timeout;
        let running = tokio::time::timeout_at(deadline, Arc::clone(&self.running).acquire_owned()).await;
        let Ok(Ok(_running)) = running else { return Err(timed_out(self.config.timeout)) };
        let (max_rows, max_bytes) = (limit.min(self.config.max_rows), self.config.max_result_bytes);
        let task = threads.spawn(async move { collect(plan().await?, max_rows, max_bytes).await });
        let _guard = AbortOnDrop(task.abort_handle());
        match tokio::time::timeout_at(deadline, task).await {
            Ok(Ok(rows)) => rows,
            Ok(Err(error)) => {
                tracing::error!(error = %error, "a query panicked");
                Err(internal())
            }
            Err(_) => Err(timed_out(self.config.timeout)),
        }
    }
}

/// A caller that goes away ends its query.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn collect(frame: DataFrame, max_rows: usize, max_bytes: usize) -> Result<Rows, Refused> {
    let schema = Arc::clone(frame.schema().inner());
    // One row more than asked for tells whether there are more.
    let frame = frame.limit(0, Some(max_rows.saturating_add(1))).map_err(refusal)?;
    let mut stream = frame.execute_stream().await.map_err(refusal)?;
    let (mut batches, mut rows, mut bytes) = (Vec::new(), 0, 0);
    let mut truncated = false;
    while let Some(batch) = stream.next().await {
        let mut batch = batch.map_err(refusal)?;
        if rows + batch.num_rows() > max_rows {
            batch = batch.slice(0, max_rows - rows);
            truncated = true;
        }
        rows += batch.num_rows();
        bytes += batch.get_array_memory_size();
        if bytes > max_bytes {
            let detail = format!("a result may have {max_bytes} bytes in memory: ask for fewer rows or columns");
            return Err(Problem::new(422, "result_too_large", detail).at("/sql", "max_result_bytes").into());
        }
        if batch.num_rows() > 0 {
            batches.push(batch);
        }
        if truncated {
            break;
        }
    }
    Ok(Rows { schema, batches, truncated })
}

fn timed_out(limit: Duration) -> Refused {
    let detail = format!("the query did not end within {} s", limit.as_secs());
    Problem::new(504, "query_timeout", detail).at("/sql", "max_time").into()
}

pub(crate) fn internal() -> Refused {
    Problem::new(500, "internal", "the query failed for a reason of ours").into()
}

/// What a caller is told of an error: its own mistakes in full, ours not at all.
pub(crate) fn refusal(error: DataFusionError) -> Refused {
    match error.find_root() {
        DataFusionError::SQL(..)
        | DataFusionError::Plan(_)
        | DataFusionError::SchemaError(..)
        | DataFusionError::NotImplemented(_)
        | DataFusionError::Diagnostic(..) => {
            Problem::new(400, "sql_invalid", one_line(&error)).at("/sql", "valid").into()
        }
        DataFusionError::ArrowError(..) | DataFusionError::Execution(_) => {
            Problem::new(400, "sql_failed", one_line(&error)).at("/sql", "evaluates").into()
        }
        DataFusionError::ResourcesExhausted(_) => {
            Problem::new(422, "query_memory", "the query needs more memory than queries may use")
                .at("/sql", "max_memory")
                .into()
        }
        _ => {
            tracing::error!(error = %error, "a query failed");
            internal()
        }
    }
}

/// The first line of an error, without what the engine advises its developers.
fn one_line(error: &DataFusionError) -> String {
    let text = error.strip_backtrace();
    text.lines().next().unwrap_or_default().chars().take(500).collect()
}
