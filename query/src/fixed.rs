//! Statements of ours over the lake: fixed texts with parameters, on tables that hold what the caller may see.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;
use datafusion::common::ScalarValue;
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::{Expr, col};
use schemas::Timestamp;
use warehouse::tables::LakeTable;

use crate::Query;
use crate::answer::Refused;
use crate::engine::Rows;
use crate::failures::{internal, refusal};
use crate::lake_table::{LakeScan, add_lake};
use crate::pinned::AtCommit;
use crate::scope::Scope;

impl Query {
    /// Runs a fixed statement over the lake's tables as `scope` may see them; at most `limit` rows.
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
        add_lake(&context, &at.snapshot, scope).map_err(refusal)?;
        let state = context.state();
        let plan = state.create_logical_plan(sql).await.map_err(refusal)?;
        let plan = plan.with_param_values(params).map_err(refusal)?;
        engine.collect(DataFrame::new(state, plan), limit).await
    }
}

impl Query {
    /// Some columns of the rows of a table that `scope` may see and that meet a condition.
    pub(crate) fn lake_rows(
        &self,
        at: &AtCommit,
        scope: &Scope,
        table: &'static LakeTable,
        wanted: Expr,
        columns: &[&str],
    ) -> Result<DataFrame, Refused> {
        let Some(scan) = LakeScan::new(table, &at.snapshot, scope) else { return Err(internal()) };
        let columns: Vec<Expr> = columns.iter().map(|column| col(*column)).collect();
        let frame = self.shared.engine.session()?.read_table(Arc::new(scan)).map_err(refusal)?;
        frame.filter(wanted).and_then(|frame| frame.select(columns)).map_err(refusal)
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
