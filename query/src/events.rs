//! `GET /v1/events`: the caller's own events, newest first.

use std::sync::Arc;

use axum::extract::{Extension, Query as QueryString, State};
use datafusion::logical_expr::{Expr, col, lit};
use schemas::{Principal, Scope as Permission, Timestamp};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use warehouse::tables::EVENTS;

use crate::Query;
use crate::answer::{Answer, Refused};
use crate::failures::{internal, refusal};
use crate::fixed::time_param;
use crate::lake_table::LakeScan;
use crate::output::json_array;
use crate::params::{self, Params};
use crate::scope::Scope;

const DEFAULT_ROWS: u32 = 100;
const MAX_ROWS: u32 = 1_000;

/// The address of the last event of a page.
type Place = (i64, i32, i64, i32);

pub(crate) async fn events(
    State(query): State<Query>,
    Extension(principal): Extension<Principal>,
    QueryString(params): QueryString<Params>,
) -> Result<Answer<Vec<Map<String, Value>>>, Refused> {
    let scope = Scope::of(&principal, Permission::StatsRead, params::text(&params, "person"))?;
    let limit = params::limit(&params, DEFAULT_ROWS, MAX_ROWS)? as usize;
    let wanted = wanted(&params)?;
    let (asked, project) = (query.clone(), Arc::clone(&scope.project));
    query.turn(&project, async move { asked.newest_events(&scope, wanted, limit).await }).await
}

impl Query {
    async fn newest_events(
        &self,
        scope: &Scope,
        wanted: Vec<Expr>,
        limit: usize,
    ) -> Result<Answer<Vec<Map<String, Value>>>, Refused> {
        let (engine, at) = (&self.shared.engine, self.pin().await?.release());
        let Some(scan) = LakeScan::new(&EVENTS, &at.snapshot, scope) else { return Err(internal()) };
        let mut frame = engine.session()?.read_table(Arc::new(scan)).map_err(refusal)?;
        for condition in wanted {
            frame = frame.filter(condition).map_err(refusal)?;
        }
        let newest_first = ORDER.map(|column| col(column).sort(false, false)).to_vec();
        let rows = engine.collect(frame.sort(newest_first).map_err(refusal)?, limit).await?;
        let bytes = json_array(&rows.batches, engine.config.max_result_bytes)?;
        let mut data: Vec<Map<String, Value>> = serde_json::from_slice(&bytes).map_err(|_| internal())?;
        for row in &mut data {
            unfold(row);
        }
        let next_cursor = data.last().filter(|_| rows.truncated).and_then(place).map(|place| params::to_cursor(&place));
        Ok(Answer { data, meta: at.meta(), next_cursor })
    }
}

const ORDER: [&str; 4] = ["corrected_at", "log_partition", "log_position", "log_index"];

/// The conditions of the parameters.
fn wanted(params: &Params) -> Result<Vec<Expr>, schemas::Problem> {
    let mut conditions = Vec::new();
    for (parameter, column) in [("stream_id", "stream_id"), ("type", "type"), ("session_id", "session_id")] {
        if let Some(value) = params::text(params, parameter) {
            conditions.push(col(column).eq(lit(value)));
        }
    }
    let at = |at: Timestamp| lit(time_param(at));
    if let Some(from) = params::time(params, "from")? {
        conditions.push(col("corrected_at").gt_eq(at(from)));
    }
    if let Some(to) = params::time(params, "to")? {
        conditions.push(col("corrected_at").lt(at(to)));
    }
    if let Some((us, partition, position, index)) = params::cursor::<Place>(params)? {
        let time = at(Timestamp::from_micros(us));
        let older_index = col("log_position")
            .lt(lit(position))
            .or(col("log_position").eq(lit(position)).and(col("log_index").lt(lit(index))));
        let older_record =
            col("log_partition").lt(lit(partition)).or(col("log_partition").eq(lit(partition)).and(older_index));
        conditions.push(col("corrected_at").lt(time.clone()).or(col("corrected_at").eq(time).and(older_record)));
    }
    Ok(conditions)
}

fn place(row: &Map<String, Value>) -> Option<Place> {
    let number = |name: &str| row.get(name)?.as_i64();
    let at = Timestamp::parse_rfc3339(row.get("corrected_at")?.as_str()?)?;
    let partition = i32::try_from(number("log_partition")?).ok()?;
    Some((at.micros(), partition, number("log_position")?, i32::try_from(number("log_index")?).ok()?))
}

/// Data as JSON instead of a text that holds JSON, flags as a list.
fn unfold(row: &mut Map<String, Value>) {
    if let Some(Value::String(text)) = row.get("data")
        && let Ok(data) = serde_json::from_str::<&RawValue>(text)
        && let Ok(data) = serde_json::from_str(data.get())
    {
        row.insert("data".into(), data);
    }
    if let Some(Value::String(flags)) = row.get("flags") {
        let flags = flags.split(',').filter(|flag| !flag.is_empty()).map(Value::from).collect();
        row.insert("flags".into(), flags);
    }
}
