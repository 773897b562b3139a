//! `GET /v1/stats/performance`: the app's PerformanceReport.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Query as QueryString, State};
use axum::http::HeaderValue;
use axum::response::{IntoResponse, Response};
use schemas::{Principal, Scope as Permission, Timestamp};
use serde::Serialize;

use crate::Query;
use crate::answer::Refused;
use crate::fixed::{int, time_param};
use crate::local_time::{QUARTER, Range, named_range};
use crate::params::{self, Params};
use crate::pinned::AtCommit;
use crate::scope::Scope;

/// The app's own shape.
#[derive(Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PerformanceReport {
    total_events: i64,
    /// Rebuffers of at least 250 ms.
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

/// Over whole quarters of an hour: what was played, however it was reported.
const OF_SLICES: &str = "SELECT n, rebuffers, errors, renditions, rebuffer_ms FROM \
    (SELECT count(*) AS n FROM events WHERE corrected_at >= $1 AND corrected_at <= $2) CROSS JOIN \
    (SELECT sum(rebuffer_count) AS rebuffers, sum(errors_fatal + errors_warning) AS errors, \
      sum(rendition_changes) AS renditions, sum(rebuffer_ms) AS rebuffer_ms \
      FROM slices WHERE bucket_start >= $1 AND bucket_start < $2)";

/// Over any range: what single events tell, without following playback from one to the next.
const OF_EVENTS: &str = "SELECT count(*), \
    count(*) FILTER (WHERE type = 'playback.rebuffer_ended' AND json_get_int(data, 'duration_ms') >= 250), \
    count(*) FILTER (WHERE type = 'playback.error'), \
    count(*) FILTER (WHERE type = 'playback.rendition_changed'), \
    coalesce(sum(json_get_int(data, 'duration_ms')) FILTER (WHERE type = 'playback.rebuffer_ended' \
      AND json_get_int(data, 'duration_ms') >= 250), 0) \
    FROM events WHERE corrected_at >= $1 AND corrected_at <= $2";

/// What the counts are taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Slices,
    Events,
}

impl Source {
    /// Slices, if a range is whole quarters of an hour: it starts at a border, and ends at one or goes on until now.
    pub(crate) fn of(range: Range, now: Timestamp) -> Self {
        let is_border = |at: Timestamp| at == at.floor(QUARTER);
        let is_whole = is_border(range.start) && (is_border(range.end) || range.end >= now);
        if is_whole { Self::Slices } else { Self::Events }
    }

    /// Said with each answer: what its counts leave out.
    pub(crate) const fn left_out(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Slices => "rebuffers, errors and renditions of events without order or view",
            Self::Events => LEFT_OUT_OF_EVENTS,
        })
    }
}

/// What single events do not tell.
pub(crate) const LEFT_OUT_OF_EVENTS: &str = "rebuffers, errors and renditions of CMCD views";

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
        headers.insert("streamgauge-not-counted", Source::of(range, at.now).left_out());
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
        let statement = match Source::of(range, at.now) {
            Source::Slices => OF_SLICES,
            Source::Events => OF_EVENTS,
        };
        let rows = self.over_lake(at, scope, 1, statement, params).await?;
        let count = |column| int(&rows, column).unwrap_or(0);
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
    fn slices_answer_for_whole_quarters_of_an_hour() {
        let at = |text: &str| Timestamp::parse_rfc3339(text).unwrap();
        let now = at("2026-11-23T09:03:00Z");
        let source = |start: &str, end: &str| Source::of(Range { start: at(start), end: at(end) }, now);
        assert_eq!(source("2026-11-22T18:15:00Z", "2026-11-23T09:03:00Z"), Source::Slices);
        assert_eq!(source("2026-11-22T18:15:00Z", "2026-11-23T08:30:00Z"), Source::Slices);
        assert_eq!(source("2026-11-22T18:15:00Z", "2026-11-23T08:31:00Z"), Source::Events);
        assert_eq!(source("2026-11-16T09:03:00Z", "2026-11-23T09:03:00Z"), Source::Events);
    }

    #[test]
    fn the_formulas_are_the_apps() {
        let quiet = report(0, 0, 0, 0, 0);
        assert_eq!((quiet.health_score, quiet.error_rate, quiet.average_buffer_time), (1.0, 0.0, 0.0));
        let bad = report(10, 5, 2, 1, 2500);
        assert_eq!((bad.error_rate, bad.average_buffer_time), (0.2, 0.5));
        assert!((bad.health_score - (0.86 + 0.85) / 2.0).abs() < 1e-12);
    }
}
