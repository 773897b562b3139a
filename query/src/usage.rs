//! `GET /v1/stats/usage`: the app's UsageStats.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Query as QueryString, State};
use axum::response::{IntoResponse, Response};
use schemas::rollups::{Grain, USAGE};
use schemas::{Principal, Scope as Permission, Timestamp};
use serde::Serialize;
use warehouse::RollupQuery;

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
            None => Some(project_counts(&mut pinned, scope, starts).await?),
            Some(_) => None,
        };
        let at = pinned.release();
        let [daily_events, weekly_events, monthly_events] = match of_project {
            Some(counts) => counts,
            None => self.person_counts(&at, scope, starts).await?,
        };
        let watched = self.watched(&at, scope, starts).await?;
        let top_categories = self.top_categories(&at, scope, starts[2]).await?;
        let meta = at.meta();
        let stats = UsageStats {
            daily_events,
            weekly_events,
            monthly_events,
            daily_watch_time: watched.viewer_s[0],
            weekly_watch_time: watched.viewer_s[1],
            monthly_watch_time: watched.viewer_s[2],
            viewer_time: watched.viewer_s[2],
            tile_time: watched.tile_s,
            top_categories,
            last_updated: whole_seconds(meta.complete_through.unwrap_or(at.now)),
        };
        Ok((meta.headers(), Json(stats)).into_response())
    }

    /// A person has no rollup in the database: counted over the lake.
    async fn person_counts(&self, at: &AtCommit, scope: &Scope, starts: [Timestamp; 3]) -> Result<[i64; 3], Refused> {
        let rows = self.over_lake(at, scope, 1, COUNTS, starts.map(time_param).to_vec()).await?;
        Ok([0, 1, 2].map(|column| int(&rows, column).unwrap_or(0)))
    }

    /// Viewer time of the three periods and tile time of the longest.
    async fn watched(&self, at: &AtCommit, scope: &Scope, starts: [Timestamp; 3]) -> Result<Watched, Refused> {
        let rows = self.over_lake(at, scope, 1, WATCHED, starts.map(time_param).to_vec()).await?;
        // Whatever a view did adds to the second of each pair.
        let is_measured = |period: usize| int(&rows, 2 * period + 1).unwrap_or(0) > 0;
        let time_s = |column, period| int(&rows, column).filter(|_| is_measured(period)).map(seconds);
        Ok(Watched { viewer_s: [0, 1, 2].map(|period| time_s(2 * period, period)), tile_s: time_s(6, 2) })
    }

    /// The five categories with most tile time of the period.
    async fn top_categories(&self, at: &AtCommit, scope: &Scope, since: Timestamp) -> Result<Vec<String>, Refused> {
        let rows = self.over_lake(at, scope, 5, shaped::TOP_CATEGORIES.sql, vec![time_param(since)]).await?;
        Ok(texts(&rows, 0).collect())
    }
}

/// Times of playback; none where there was no playback to measure.
struct Watched {
    /// Viewer time of the day, the week and the month, seconds.
    viewer_s: [Option<f64>; 3],
    /// Tile time of the month, seconds.
    tile_s: Option<f64>,
}

#[expect(clippy::cast_precision_loss, reason = "the app's shape has floats; sums stay far below 2^53")]
fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
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
                let query = RollupQuery::new(&USAGE, grain, &scope.project, (from, to));
                let query = RollupQuery { as_one: true, ..query };
                *count += pinned.read.rollup(&query).await?.iter().map(|row| row.measures[0]).sum::<i64>();
            }
        }
    }
    Ok(counts)
}

const COUNTS: &str = "SELECT count(*) FILTER (WHERE corrected_at >= $1), count(*) FILTER (WHERE corrected_at >= $2), \
    count(*) FROM events WHERE corrected_at >= $3";

/// Pairs of viewer time and what views did at all, for three periods; then tile time. Periods begin at local midnights,
/// which are borders of quarters of an hour in every zone.
const WATCHED: &str = "SELECT sum(viewer_ms) FILTER (WHERE bucket_start >= $1), \
    sum(attempts + watch_ms + paused_ms) FILTER (WHERE bucket_start >= $1), \
    sum(viewer_ms) FILTER (WHERE bucket_start >= $2), \
    sum(attempts + watch_ms + paused_ms) FILTER (WHERE bucket_start >= $2), \
    sum(viewer_ms), sum(attempts + watch_ms + paused_ms), sum(playing_ms) FROM slices WHERE bucket_start >= $3";
