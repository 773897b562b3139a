//! `GET /v1/stats/usage`: the app's UsageStats.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Query as QueryString, State};
use axum::response::{IntoResponse, Response};
use schemas::rollups::{Grain, LAYOUT, Rollup, USAGE};
use schemas::{Principal, Scope as Permission, Timestamp};
use serde::Serialize;
use warehouse::{RollupQuery, RollupRow};

use crate::Query;
use crate::answer::Refused;
use crate::fixed::{int, texts, time_param};
use crate::local_time::{Zone, usage_periods};
use crate::params::{self, Params};
use crate::pinned::{AtCommit, Pinned};
use crate::questions::shaped;
use crate::scope::Scope;

/// The app's own shape. Watch times are viewer time. A time is null where nothing was played or tried to: then it was not
/// measured, and zero would be a lie. All times are in seconds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct UsageStats {
    daily_events: i64,
    weekly_events: i64,
    monthly_events: i64,
    daily_watch_time: Option<f64>,
    weekly_watch_time: Option<f64>,
    monthly_watch_time: Option<f64>,
    /// At least one tile of a session playing, of the month.
    viewer_time: Option<f64>,
    /// Over all tiles, of the month.
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
            None => Some(of_project(&mut pinned, scope, starts).await?),
            Some(_) => None,
        };
        let at = pinned.release();
        let [day, week, month] = match of_project {
            Some(periods) => periods,
            None => self.of_person(&at, scope, starts).await?,
        };
        let top_categories = self.top_categories(&at, scope, starts[2]).await?;
        let meta = at.meta();
        let stats = UsageStats {
            daily_events: day.events,
            weekly_events: week.events,
            monthly_events: month.events,
            daily_watch_time: day.measured_s(day.viewer_ms),
            weekly_watch_time: week.measured_s(week.viewer_ms),
            monthly_watch_time: month.measured_s(month.viewer_ms),
            viewer_time: month.measured_s(month.viewer_ms),
            tile_time: month.measured_s(month.tile_ms),
            top_categories,
            last_updated: whole_seconds(meta.complete_through.unwrap_or(at.now)),
        };
        Ok((meta.headers(), Json(stats)).into_response())
    }

    /// A person has no rollup in the database: added up over the lake.
    async fn of_person(&self, at: &AtCommit, scope: &Scope, starts: [Timestamp; 3]) -> Result<[Period; 3], Refused> {
        let counts = self.over_lake(at, scope, 1, COUNTS, starts.map(time_param).to_vec()).await?;
        let watched = self.over_lake(at, scope, 1, WATCHED, starts.map(time_param).to_vec()).await?;
        let number = |rows, column| int(rows, column).unwrap_or(0);
        Ok([0, 1, 2].map(|period| Period {
            events: number(&counts, period),
            did: number(&watched, 3 * period),
            viewer_ms: number(&watched, 3 * period + 1),
            tile_ms: number(&watched, 3 * period + 2),
        }))
    }

    /// The five categories with most tile time of the period.
    async fn top_categories(&self, at: &AtCommit, scope: &Scope, since: Timestamp) -> Result<Vec<String>, Refused> {
        let rows = self.over_lake(at, scope, 5, shaped::TOP_CATEGORIES.sql, vec![time_param(since)]).await?;
        Ok(texts(&rows, 0).collect())
    }
}

/// What was done since an instant.
struct Period {
    events: i64,
    viewer_ms: i64,
    tile_ms: i64,
    /// More than 0 if views did anything at all.
    did: i64,
}

impl Period {
    /// A time in seconds; none where there was no playback to measure.
    fn measured_s(&self, ms: i64) -> Option<f64> {
        (self.did > 0).then(|| seconds(ms))
    }
}

#[expect(clippy::cast_precision_loss, reason = "the app's shape has floats; sums stay far below 2^53")]
fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

/// `2026-11-23T08:56:01Z`: the only form that the app's decoder accepts reliably.
pub(crate) fn whole_seconds(at: Timestamp) -> String {
    at.to_chrono().format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A project has rollups in the database: of events, and of what was played in any layout.
async fn of_project(pinned: &mut Pinned, scope: &Scope, starts: [Timestamp; 3]) -> Result<[Period; 3], Refused> {
    let events = sums_since(pinned, (&USAGE, &["events"]), scope, starts).await?;
    let watched = ["viewer_ms", "playing_ms", "attempts", "watch_ms", "paused_ms"];
    let watched = sums_since(pinned, (&LAYOUT, &watched), scope, starts).await?;
    let period = |idx: usize| {
        let ([events], [viewer_ms, tile_ms, attempts, watch_ms, paused_ms]) = (events[idx], watched[idx]);
        Period { events, viewer_ms, tile_ms, did: attempts + watch_ms + paused_ms }
    };
    Ok([0, 1, 2].map(period))
}

/// Measures of a rollup over all keys since each of these instants, of which the last is the earliest:
/// of whole hours, and of the minutes before the first of them.
async fn sums_since<const MEASURES: usize>(
    pinned: &mut Pinned,
    (rollup, measures): (&'static Rollup, &[&'static str; MEASURES]),
    scope: &Scope,
    starts: [Timestamp; 3],
) -> Result<[[i64; MEASURES]; 3], Refused> {
    let over = |grain, range| RollupQuery {
        measures: Some(measures.to_vec()),
        ..RollupQuery::new(rollup, grain, &scope.project, range)
    };
    let hour = Grain::Hour.length();
    let first_hours = starts.map(|start| if start == start.floor(hour) { start } else { start.floor(hour) + hour });
    let mut sums = [[0; MEASURES]; 3];
    let add = |sums: &mut [i64; MEASURES], row: &RollupRow| {
        for (sum, measure) in sums.iter_mut().zip(&row.measures) {
            *sum += measure;
        }
    };
    for row in pinned.read.rollup(&over(Grain::Hour, (first_hours[2], Timestamp::MAX))).await? {
        for (sums, first_hour) in sums.iter_mut().zip(first_hours) {
            if row.bucket_start >= first_hour {
                add(sums, &row);
            }
        }
    }
    for ((sums, start), first_hour) in sums.iter_mut().zip(starts).zip(first_hours) {
        if start < first_hour {
            for row in pinned.read.rollup(&over(Grain::Minute, (start, first_hour))).await? {
                add(sums, &row);
            }
        }
    }
    Ok(sums)
}

const COUNTS: &str = "SELECT count(*) FILTER (WHERE corrected_at >= $1), count(*) FILTER (WHERE corrected_at >= $2), \
    count(*) FROM events WHERE corrected_at >= $3";

/// What views did at all, viewer time and tile time, for three periods. Periods begin at local midnights, which are borders
/// of quarters of an hour in every zone.
const WATCHED: &str = "SELECT sum(attempts + watch_ms + paused_ms) FILTER (WHERE bucket_start >= $1), \
    sum(viewer_ms) FILTER (WHERE bucket_start >= $1), sum(playing_ms) FILTER (WHERE bucket_start >= $1), \
    sum(attempts + watch_ms + paused_ms) FILTER (WHERE bucket_start >= $2), \
    sum(viewer_ms) FILTER (WHERE bucket_start >= $2), sum(playing_ms) FILTER (WHERE bucket_start >= $2), \
    sum(attempts + watch_ms + paused_ms), sum(viewer_ms), sum(playing_ms) FROM slices WHERE bucket_start >= $3";
