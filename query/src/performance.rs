//! `GET /v1/stats/performance`: the app's PerformanceReport.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use axum::Json;
use axum::extract::{Extension, Query as QueryString, State};
use axum::http::HeaderValue;
use axum::response::{IntoResponse, Response};
use schemas::{Principal, Scope as Permission};
use serde::Serialize;

use crate::Query;
use crate::answer::Refused;
use crate::local_time::{Range, named_range};
use crate::params::{self, Params};
use crate::pinned::AtCommit;
use crate::scope::Scope;
use crate::usage::time_param;

/// The app's own shape.
#[derive(Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PerformanceReport {
    total_events: i64,
    /// Rebuffers of at least 250 ms that the player told the length of.
    buffering_events: i64,
    /// Playback errors.
    connection_errors: i64,
    quality_changes: i64,
    /// Seconds; 0 if there was none.
    average_buffer_time: f64,
    /// Errors / max(1, events).
    error_rate: f64,
    /// ((1 − 0.7 · errors/events) + (1 − 0.3 · rebuffers/events)) / 2; 1 without events.
    health_score: f64,
}

/// Counts of what needs no playback to be followed from event to event; the header says what is left out.
const COUNTS: &str = "SELECT count(*), \
    count(*) FILTER (WHERE type = 'playback.rebuffer_ended' AND json_get_int(data, 'duration_ms') >= 250), \
    count(*) FILTER (WHERE type = 'playback.error'), \
    count(*) FILTER (WHERE type = 'playback.rendition_changed'), \
    coalesce(sum(json_get_int(data, 'duration_ms')) FILTER (WHERE type = 'playback.rebuffer_ended' \
      AND json_get_int(data, 'duration_ms') >= 250), 0) \
    FROM events WHERE corrected_at >= $1 AND corrected_at <= $2";

/// Said with each answer whose counts leave something out.
pub(crate) const LEFT_OUT: &str = "rebuffers, errors and renditions of CMCD views";

pub(crate) async fn performance(
    State(query): State<Query>,
    Extension(principal): Extension<Principal>,
    QueryString(params): QueryString<Params>,
) -> Result<Response, Refused> {
    let scope = Scope::of(&principal, Permission::StatsRead, params::text(&params, "person"))?;
    let (asked, project) = (query.clone(), Arc::clone(&scope.project));
    let work = async move {
        let at = asked.pin().await?.release();
        let range = range(&params, at.now)?;
        let report = asked.performance_report(&at, &scope, range).await?;
        let mut headers = at.meta().headers();
        headers.insert("streamgauge-not-counted", HeaderValue::from_static(LEFT_OUT));
        Ok((headers, Json(report)).into_response())
    };
    query.turn(&project, work).await
}

/// The range of a request: `range`, `start`, `end`, `tz`.
pub(crate) fn range(params: &Params, now: schemas::Timestamp) -> Result<Range, schemas::Problem> {
    let zone = params::zone(params)?;
    let part = |name| params::text(params, name).map(|value| value.replace(' ', "+"));
    named_range(
        params::text(params, "range").unwrap_or("today"),
        part("start").as_deref(),
        part("end").as_deref(),
        zone,
        now,
    )
}

impl Query {
    pub(crate) async fn performance_report(
        &self,
        at: &AtCommit,
        scope: &Scope,
        range: Range,
    ) -> Result<PerformanceReport, Refused> {
        let params = vec![time_param(range.start), time_param(range.end)];
        let rows = self.over_events(at, scope, 1, COUNTS, params).await?;
        let count = |column: usize| {
            rows.batches.first().map_or(0, |batch| batch.column(column).as_primitive::<Int64Type>().value(0))
        };
        Ok(report(count(0), count(1), count(2), count(3), count(4)))
    }
}

#[expect(clippy::cast_precision_loss, reason = "the app's shape has floats; counts stay far below 2^53")]
fn report(events: i64, rebuffers: i64, errors: i64, quality_changes: i64, rebuffer_ms: i64) -> PerformanceReport {
    let share = |part: i64| part as f64 / events.max(1) as f64;
    PerformanceReport {
        total_events: events,
        buffering_events: rebuffers,
        connection_errors: errors,
        quality_changes,
        average_buffer_time: if rebuffers == 0 { 0.0 } else { rebuffer_ms as f64 / rebuffers as f64 / 1000.0 },
        error_rate: share(errors),
        health_score: ((1.0 - 0.7 * share(errors)) + (1.0 - 0.3 * share(rebuffers))) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_formulas_are_the_apps() {
        let quiet = report(0, 0, 0, 0, 0);
        assert_eq!((quiet.health_score, quiet.error_rate, quiet.average_buffer_time), (1.0, 0.0, 0.0));
        let bad = report(10, 5, 2, 1, 2500);
        assert_eq!((bad.error_rate, bad.average_buffer_time), (0.2, 0.5));
        assert!((bad.health_score - (0.86 + 0.85) / 2.0).abs() < 1e-12);
    }
}
