//! Statements of ours over the lake: fixed texts with parameters, on tables that hold what the caller may see.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;
use datafusion::common::ScalarValue;
use datafusion::dataframe::DataFrame;
use schemas::Timestamp;
use warehouse::tables::{APP_SESSIONS, EVENTS, SLICES, VIEWS};

use crate::Query;
use crate::answer::Refused;
use crate::engine::Rows;
use crate::failures::refusal;
use crate::lake_table::LakeScan;
use crate::pinned::AtCommit;
use crate::scope::Scope;

/// What such a statement may name; all of them know persons.
const TABLES: [&warehouse::tables::LakeTable; 4] = [&EVENTS, &VIEWS, &SLICES, &APP_SESSIONS];

impl Query {
    /// Runs a fixed statement over `events`, `views`, `slices` and `app_sessions` as `scope` may see them; at most
    /// `limit` rows.
    pub(crate) async fn over_lake(
        &self,
        at: &AtCommit,
        scope: &Scope,
        limit: usize,
        sql: &'static str,
        params: Vec<ScalarValue>,
    ) -> Result<Rows, Refused> {
        let engine = &self.shared.engine;
        let context = engine.session()?;
        for table in TABLES {
            if let Some(scan) = LakeScan::new(table, &at.snapshot, scope) {
                context.register_table(table.name, Arc::new(scan)).map_err(refusal)?;
            }
        }
        let state = context.state();
        let plan = state.create_logical_plan(sql).await.map_err(refusal)?;
        let plan = plan.with_param_values(params).map_err(refusal)?;
        engine.collect(DataFrame::new(state, plan), limit).await
    }
}

/// An instant as a statement's parameter.
pub(crate) fn time_param(at: Timestamp) -> ScalarValue {
    ScalarValue::TimestampMicrosecond(Some(at.micros()), Some("UTC".into()))
}

/// The number in a column of the first row; `None` if it is null.
pub(crate) fn int(rows: &Rows, column: usize) -> Option<i64> {
    let numbers = rows.batches.first()?.column(column).as_primitive::<Int64Type>();
    (!numbers.is_empty() && numbers.is_valid(0)).then(|| numbers.value(0))
}

/// The texts in a column, without nulls.
pub(crate) fn texts(rows: &Rows, column: usize) -> impl Iterator<Item = String> {
    let columns = rows.batches.iter().map(move |batch| batch.column(column).as_string::<i32>());
    columns.flat_map(|texts| texts.iter().flatten().map(str::to_owned))
}
