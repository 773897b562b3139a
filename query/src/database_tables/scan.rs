//! A table of the database as one statement reads it, and the read transaction that the tables of a statement share.
//!
//! It is read while the statement is planned: then it is known which columns and which range are wanted. The transaction
//! ends when the statement is planned, before anything runs.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::TableType;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use schemas::Problem;
use schemas::rollups::{Grain, LEDGER, Rollup};
use warehouse::RollupQuery;

use super::DatabaseTable;
use super::columns::{RollupColumns, commit_arrays};
use super::pushed::Pushed;
use crate::answer::Refused;
use crate::derived::Distributions;
use crate::failures::internal;
use crate::pinned::{AtCommit, Pinned};
use crate::scope::Scope;

/// A statement reads at most this many rows of a database table; larger ones are for the rollup endpoint.
const MAX_ROWS: u32 = 200_000;

/// The read transaction of a statement, while it is planned, and what was read in it.
#[derive(Debug, Clone)]
pub(crate) struct Reading(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    at: AtCommit,
    pinned: tokio::sync::Mutex<Option<Pinned>>,
    /// The memory of what was read counts for as long as the statement is there.
    held: Mutex<Vec<MemoryReservation>>,
}

impl Reading {
    pub(crate) fn new(pinned: Pinned) -> Self {
        let at = pinned.at.clone();
        Self(Arc::new(Shared { at, pinned: tokio::sync::Mutex::new(Some(pinned)), held: Mutex::default() }))
    }

    /// The commit that is read at.
    pub(crate) fn at(&self) -> &AtCommit {
        &self.0.at
    }

    /// Ends the transaction.
    pub(crate) async fn end(&self) {
        self.0.pinned.lock().await.take();
    }

    fn hold(&self, reservation: MemoryReservation) {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner).push(reservation);
    }
}

/// A table of the database, the rows of one project.
pub(crate) struct DatabaseScan {
    table: DatabaseTable,
    schema: SchemaRef,
    project: Arc<str>,
    reading: Reading,
}

impl fmt::Debug for DatabaseScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseScan").field("table", &self.table).finish_non_exhaustive()
    }
}

impl DatabaseScan {
    /// The table as `scope` may see it: nobody who sees one person only sees sums over all.
    pub(crate) fn new(table: DatabaseTable, scope: &Scope, reading: &Reading) -> Option<Self> {
        let is_whole = scope.person.is_none();
        is_whole.then(|| Self {
            table,
            schema: Arc::new(table.schema()),
            project: Arc::clone(&scope.project),
            reading: reading.clone(),
        })
    }

    /// The wanted columns of the rows that may meet the filters.
    async fn read(&self, wanted: &[usize], filters: &[Expr]) -> Result<RecordBatch, Refused> {
        let mut pinned = self.reading.0.pinned.lock().await;
        let Some(pinned) = pinned.as_mut() else { return Err(internal()) };
        let schema = Arc::new(self.schema.project(wanted).map_err(|_| internal())?);
        match self.table {
            DatabaseTable::Rollup(rollup, grain) => self.rollup(pinned, (rollup, grain), wanted, filters, schema).await,
            DatabaseTable::Ledger => self.rollup(pinned, (&LEDGER, Grain::Hour), wanted, filters, schema).await,
            DatabaseTable::Commits => {
                let arrays = commit_arrays(pinned, MAX_ROWS).await?;
                let batch = RecordBatch::try_new(Arc::clone(&self.schema), arrays).map_err(|_| internal())?;
                batch.project(wanted).map_err(|_| internal())
            }
        }
    }

    async fn rollup(
        &self,
        pinned: &mut Pinned,
        (rollup, grain): (&'static Rollup, Grain),
        wanted: &[usize],
        filters: &[Expr],
        schema: SchemaRef,
    ) -> Result<RecordBatch, Refused> {
        let bucket = self.schema.field(1).name();
        let pushed = Pushed::of(filters, bucket, rollup);
        let query = RollupQuery {
            group_by: rollup.keys.iter().map(|key| key.name).collect(),
            only: pushed.only,
            limit: MAX_ROWS + 1,
            ..RollupQuery::new(rollup, grain, &self.project, (pushed.from, pushed.to))
        };
        let mut columns = RollupColumns::new(rollup, grain, &self.project, wanted);
        let mut bins = Distributions::new("/sql");
        bins.read(&mut pinned.read, &query, &columns.derived()).await?;
        let mut count = 0;
        let take = |row| {
            count += 1;
            columns.push(&row, &bins);
        };
        pinned.read.each_rollup_row(&query, take).await?;
        if count > MAX_ROWS as usize {
            let detail = format!(
                "more than {MAX_ROWS} rows of `rollup_{}_{}`: ask for a shorter range of `{bucket}` or a coarser grain",
                rollup.name,
                grain.as_str()
            );
            return Err(Problem::new(422, "rollup_too_large", detail).at("/sql", "max_rows").into());
        }
        batch(schema, columns, count)
    }
}

fn batch(schema: Arc<Schema>, columns: RollupColumns, rows: usize) -> Result<RecordBatch, Refused> {
    // A statement that only counts wants no column at all.
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema, columns.finish(), &options).map_err(|_| internal())
}

#[async_trait]
impl TableProvider for DatabaseScan {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let all = || (0..self.schema.fields().len()).collect();
        let wanted: Vec<usize> = projection.cloned().unwrap_or_else(all);
        let batch = self.read(&wanted, filters).await.map_err(|refused| DataFusionError::External(refused.into()))?;
        let reservation = MemoryConsumer::new("DatabaseTable").register(&state.runtime_env().memory_pool);
        reservation.try_grow(batch.get_array_memory_size())?;
        self.reading.hold(reservation);
        let schema = batch.schema();
        let source = MemorySourceConfig::try_new_exec(&[vec![batch]], schema, None)?;
        Ok(source)
    }
}
