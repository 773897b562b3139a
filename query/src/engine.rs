//! DataFusion, bounded: its own threads, one memory pool, one deadline per query.

use std::num::NonZeroUsize;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList, MemorySchemaProvider,
};
use datafusion::common::utils::memory::RecordBatchMemoryCounter;
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionState;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::StreamExt;
use schemas::Problem;
use thiserror::Error;
use tokio::task::AbortHandle;
use warehouse::Lake;

use crate::QueryConfig;
use crate::admission::{Admission, Permit};
use crate::answer::Refused;
use crate::failures::{internal, refusal};
use crate::interruptible::InterruptibleJoins;
use crate::lake_table::LAKE_URL;
use crate::windows::CountWindows;
use crate::{estimates, functions, gate};

/// Where a session's tables are: `streamgauge.main.events`.
pub(crate) const CATALOGUE: &str = "streamgauge";
pub(crate) const SCHEMA: &str = "main";
/// Rows that are worked on at once. Few, because a value may have a megabyte and a join repeats it.
const BATCH_ROWS: usize = 1024;
/// Expressions are walked and evaluated recursively, and not everywhere with a guard. What the gate lets through at its
/// deepest takes less than a third of this in a build without optimizations. Reserved only, not used.
const STACK_BYTES: usize = 64 * 1024 * 1024;

/// Why the engine could not be started.
#[derive(Debug, Error)]
pub enum EngineError {
    /// Its threads.
    #[error("start the threads of the query engine")]
    Threads(#[from] std::io::Error),
    /// The engine itself.
    #[error("set up the query engine")]
    Setup(#[from] DataFusionError),
    /// The lake.
    #[error("open the lake for queries")]
    Lake(#[from] object_store::Error),
}

/// The engine: what queries of all callers share.
pub(crate) struct Engine {
    pub(crate) config: QueryConfig,
    pub(crate) admission: Admission,
    /// Queries burn processor time; they must not keep the network's threads from their work.
    threads: Option<tokio::runtime::Runtime>,
    template: SessionState,
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
    pub(crate) schema: SchemaRef,
    pub(crate) batches: Vec<RecordBatch>,
    pub(crate) truncated: bool,
}

/// A statement that is ready to run.
pub(crate) struct Planned {
    plan: Arc<dyn ExecutionPlan>,
    state: SessionState,
    max_rows: usize,
    /// Whether nothing in it is right within some error only.
    pub(crate) is_exact: bool,
}

impl Planned {
    /// The columns of its result.
    pub(crate) fn schema(&self) -> SchemaRef {
        self.plan.schema()
    }
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
            .thread_stack_size(STACK_BYTES)
            // Connections to a database server are opened where they are needed.
            .enable_all()
            .build()?;
        let pool = TrackConsumersPool::new(FairSpillPool::new(config.memory_bytes), NonZeroUsize::MIN);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(pool))
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
            .build_arc()?;
        let url = ObjectStoreUrl::parse(LAKE_URL)?;
        runtime.register_object_store(url.as_ref(), lake.objects()?);
        let session = SessionConfig::new()
            .with_target_partitions(cores.min(4))
            .with_batch_size(BATCH_ROWS)
            .with_information_schema(false)
            .with_default_catalog_and_schema(CATALOGUE, SCHEMA)
            .set_bool("datafusion.execution.parquet.pushdown_filters", true)
            .set_bool("datafusion.execution.enable_recursive_ctes", false)
            .set_str("datafusion.execution.time_zone", "UTC")
            .set_str("datafusion.sql_parser.dialect", "postgres");
        let mut template = SessionStateBuilder::new()
            .with_config(session)
            .with_runtime_env(runtime)
            .with_default_features()
            .with_expr_planners(functions::planners())
            .with_physical_optimizer_rule(Arc::new(CountWindows))
            .with_physical_optimizer_rule(Arc::new(InterruptibleJoins))
            .build();
        datafusion_functions_json::register_all(&mut template)?;
        functions::restrict(&mut template)?;
        functions::add_own(&mut template)?;
        let admission = Admission::new(config.concurrent, config.timeout);
        Ok(Self { config, admission, threads: Some(threads), template })
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

    /// Does work on the engine's threads until the permit's deadline. The permit comes back when the work has ended,
    /// which is later than the answer if it cannot be interrupted.
    pub(crate) async fn run<T, W>(&self, permit: Permit, work: W) -> Result<T, Refused>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, Refused>> + Send + 'static,
    {
        let Some(threads) = &self.threads else { return Err(internal()) };
        let deadline = permit.deadline;
        let task = threads.spawn(async move {
            let _permit = permit;
            work.await
        });
        let _guard = AbortOnDrop(task.abort_handle());
        match tokio::time::timeout_at(deadline, task).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => {
                tracing::error!("a query panicked");
                Err(internal())
            }
            Err(_) => {
                let detail = format!("the query did not end within {} s", self.config.timeout.as_secs());
                Err(Problem::new(504, "query_timeout", detail).at("/sql", "max_time").into())
            }
        }
    }

    /// Runs a plan; at most `limit` rows are returned.
    pub(crate) async fn collect(&self, frame: DataFrame, limit: usize) -> Result<Rows, Refused> {
        let planned = self.plan(frame, limit).await?;
        self.execute(planned).await
    }

    /// Makes a plan ready to run; tables of the database are read by that.
    pub(crate) async fn plan(&self, frame: DataFrame, limit: usize) -> Result<Planned, Refused> {
        let max_rows = limit.min(self.config.max_rows);
        // One row more than asked for tells whether there are more.
        let (state, plan) = frame.limit(0, Some(max_rows.saturating_add(1))).map_err(refusal)?.into_parts();
        let plan = state.optimize(&plan).map_err(refusal)?;
        gate::check_constants(&plan)?;
        let is_exact = !estimates::are_in(&plan);
        let plan = state.query_planner().create_physical_plan(&plan, &state).await.map_err(refusal)?;
        Ok(Planned { plan, state, max_rows, is_exact })
    }

    /// Runs what is planned.
    pub(crate) async fn execute(&self, planned: Planned) -> Result<Rows, Refused> {
        let Planned { plan, state, max_rows, .. } = planned;
        let max_bytes = self.config.max_result_bytes;
        let mut stream = execute_stream(plan, state.task_ctx()).map_err(refusal)?;
        let mut rows = Rows { schema: stream.schema(), batches: Vec::new(), truncated: false };
        let (mut missing, mut memory) = (max_rows, RecordBatchMemoryCounter::new());
        while let Some(batch) = stream.next().await {
            let mut batch = batch.map_err(refusal)?;
            if batch.num_rows() > missing {
                batch = batch.slice(0, missing);
                rows.truncated = true;
            }
            missing -= batch.num_rows();
            if batch.num_rows() > 0 {
                memory.count_batch(&batch);
                rows.batches.push(batch);
            }
            if memory.memory_usage() > max_bytes {
                return Err(result_too_large(max_bytes));
            }
            if rows.truncated {
                break;
            }
        }
        Ok(rows)
    }
}

pub(crate) fn result_too_large(max_bytes: usize) -> Refused {
    let detail = format!("a result may have {max_bytes} bytes: ask for fewer rows or columns");
    Problem::new(422, "result_too_large", detail).at("/sql", "max_result_bytes").into()
}

/// A caller that goes away ends its query.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::Fixture;

    #[tokio::test]
    async fn a_place_comes_back_when_the_work_has_ended_not_when_the_answer_was_given() {
        let timeout = Duration::from_millis(200);
        let fixture = Fixture::with_config(&[], QueryConfig { concurrent: 1, timeout, ..QueryConfig::default() }).await;
        let project = "p".into();
        let status = async |work: Duration| {
            let work = async move {
                // As planning does: it yields to nobody.
                std::thread::sleep(work);
                Ok(())
            };
            fixture.query.turn(&project, work).await.map_or_else(|Refused(problem)| problem.status, |()| 200)
        };
        assert_eq!(status(Duration::from_millis(1200)).await, 504);
        // It still works: the next one waits, and is told so.
        assert_eq!(status(Duration::ZERO).await, 429);
        tokio::time::sleep(Duration::from_millis(1200)).await;
        assert_eq!(status(Duration::ZERO).await, 200);
    }
}
