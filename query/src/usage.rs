//! `GET /v1/stats/usage`: the app's UsageStats.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use axum::Json;
use axum::extract::{Extension, Query as QueryString, State};
use axum::response::{IntoResponse, Response};
use datafusion::common::ScalarValue;
use datafusion::dataframe::DataFrame;
use schemas::rollups::{Grain, USAGE};
use schemas::{Principal, Scope as Permission, Timestamp};
use serde::Serialize;
use warehouse::RollupQuery;
use warehouse::tables::EVENTS;

use crate::Query;
use crate::answer::Refused;
use crate::engine::Rows;
use crate::failures::refusal;
use crate::lake_table::LakeScan;
use crate::local_time::{Zone, usage_periods};
use crate::params::{self, Params};
use crate::pinned::{AtCommit, Pinned};
use crate::scope::Scope;

/// The app's own shape. Watch times are null while they are not measured: zero would be a lie.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct UsageStats {
    daily_events: i64,
    weekly_events: i64,
    monthly_events: i64,
    daily_watch_time: Option<f64>,
    weekly_watch_time: Option<f64>,
    monthly_watch_time: Option<f64>,
    viewer_time: Option<f64>,
    tile_time: Option<f64>,
    top_categories: Vec<String>,
    last_updated: String,
}

pub(crate) async fn usage(
    State(query): State<Query>,
    Extension(principal): Extension<Principal>,
    QueryString(params): QueryString<Params>,
) -> Result<Response, Refused> {
    let scope = Scope::of(&principal, Permission::StatsRead, params::text(&params, "person"))?;
    let zone = params::zone(&params)?;
    let (asked, project) = (query.clone(), Arc::clone(&scope.project));
    query.turn(&project, async move { asked.usage_stats(&scope, zone).await }).await
}

impl Query {
    async fn usage_stats(&self, scope: &Scope, zone: Zone) -> Result<Response, Refused> {
        let mut pinned = self.pin().await?;
        let starts = usage_periods(zone, pinned.at.now);
        let of_project = match scope.person {
            None => Some(project_counts(&mut pinned, scope, starts).await?),
            Some(_) => None,
        };
        let at = pinned.release();
        let [daily_events, weekly_events, monthly_events] = match of_project {
            Some(counts) => counts,
            None => self.person_counts(&at, scope, starts).await?,
        };
        let top_categories = self.top_categories(&at, scope, starts[2]).await?;
        let meta = at.meta();
        let stats = UsageStats {
            daily_events,
            weekly_events,
            monthly_events,
            daily_watch_time: None,
            weekly_watch_time: None,
            monthly_watch_time: None,
            viewer_time: None,
            tile_time: None,
            top_categories,
            last_updated: whole_seconds(meta.complete_through.unwrap_or(at.now)),
        };
        Ok((meta.headers(), Json(stats)).into_response())
    }

    /// A person has no rollup in the database: counted over the lake.
    async fn person_counts(&self, at: &AtCommit, scope: &Scope, starts: [Timestamp; 3]) -> Result<[i64; 3], Refused> {
        let rows = self.over_events(at, scope, 1, COUNTS, starts.map(time_param).to_vec()).await?;
        let count = |column: usize| {
            rows.batches.first().map_or(0, |batch| batch.column(column).as_primitive::<Int64Type>().value(0))
        };
        Ok([count(0), count(1), count(2)])
    }

    /// The five categories with most events of the period. An event is of the category that its view was started with:
    /// no other kind names one.
    async fn top_categories(&self, at: &AtCommit, scope: &Scope, since: Timestamp) -> Result<Vec<String>, Refused> {
        let started_since = since.plus_millis(-VIEW_MAX_MS);
        let params = vec![time_param(since), time_param(started_since)];
        let rows = self.over_events(at, scope, 5, CATEGORIES, params).await?;
        let names = rows
            .batches
            .iter()
            .flat_map(|batch| batch.column(0).as_string::<i32>().iter().flatten().map(str::to_owned));
        Ok(names.collect())
    }
}

/// `2026-11-23T08:56:01Z`: the only form that the app's decoder accepts reliably.
pub(crate) fn whole_seconds(at: Timestamp) -> String {
    at.to_chrono().format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// From the rollup: whole hours, and the minutes before the first of them.
async fn project_counts(pinned: &mut Pinned, scope: &Scope, starts: [Timestamp; 3]) -> Result<[i64; 3], Refused> {
    let mut counts = [0; 3];
    for (count, start) in counts.iter_mut().zip(starts) {
        let hour = Grain::Hour.length();
        let floor = start.floor(hour);
        let first_hour = if floor == start { start } else { floor + hour };
        for (grain, from, to) in [(Grain::Minute, start, first_hour), (Grain::Hour, first_hour, Timestamp::MAX)] {
            if from < to {
                let query = RollupQuery {
                    rollup: &USAGE,
                    grain,
                    project: &scope.project,
                    from,
                    to,
                    group_by: Vec::new(),
                    after: None,
                    limit: u32::MAX,
                };
                *count += pinned.read.rollup(&query).await?.iter().map(|row| row.measures[0]).sum::<i64>();
            }
        }
    }
    Ok(counts)
}

const COUNTS: &str = "SELECT count(*) FILTER (WHERE corrected_at >= $1), count(*) FILTER (WHERE corrected_at >= $2), \
    count(*) FROM events WHERE corrected_at >= $3";

/// A view that runs longer than this when the period begins counts without its category, ms.
const VIEW_MAX_MS: i64 = 86_400_000;

const CATEGORIES: &str = "SELECT v.category FROM events e JOIN (SELECT view_id, max(json_get_str(data, 'category')) AS category \
      FROM events WHERE corrected_at >= $2 AND type = 'playback.view_started' GROUP BY view_id) v ON e.view_id = v.view_id \
    WHERE e.corrected_at >= $1 AND v.category IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 5";

/// An instant as a query's parameter.
pub(crate) fn time_param(at: Timestamp) -> ScalarValue {
    ScalarValue::TimestampMicrosecond(Some(at.micros()), Some("UTC".into()))
}

impl Query {
    /// Runs a fixed statement over the events that `scope` may see.
    pub(crate) async fn over_events(
        &self,
        at: &AtCommit,
        scope: &Scope,
        limit: usize,
        sql: &'static str,
        params: Vec<ScalarValue>,
    ) -> Result<Rows, Refused> {
        let engine = &self.shared.engine;
        let context = engine.session()?;
        if let Some(scan) = LakeScan::new(&EVENTS, &at.snapshot, scope) {
            context.register_table(EVENTS.name, Arc::new(scan)).map_err(refusal)?;
        }
        let state = context.state();
        let plan = state.create_logical_plan(sql).await.map_err(refusal)?;
        let plan = plan.with_param_values(params).map_err(refusal)?;
        engine.collect(DataFrame::new(state, plan), limit).await
    }
}
