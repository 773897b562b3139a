//! `GET /v1/stats/performance`: the app's PerformanceReport.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Query as QueryString, State};
use axum::http::HeaderValue;
use axum::response::{IntoResponse, Response};
use schemas::{Principal, Scope as Permission, Timestamp};
use serde_json::{Map, Value};

use crate::Query;
use crate::answer::Refused;
use crate::failures::internal;
use crate::fixed::time_param;
use crate::local_time::{QUARTER, Range, named_range};
use crate::output::json_array;
use crate::params::{self, Params};
use crate::pinned::AtCommit;
use crate::questions::shaped;
use crate::scope::Scope;

/// The app's own shape, as the text of its source makes it.
type PerformanceReport = Map<String, Value>;

/// What the counts are taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Slices,
    Events,
}

impl Source {
    /// Slices, if a range is whole quarters of an hour: it starts at a border, and ends at one or goes on until now.
    fn of(range: Range, now: Timestamp) -> Self {
        let is_border = |at: Timestamp| at == at.floor(QUARTER);
        let is_whole = is_border(range.start) && (is_border(range.end) || range.end >= now);
        if is_whole { Self::Slices } else { Self::Events }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Slices => shaped::PERFORMANCE.sql,
            Self::Events => shaped::PERFORMANCE_OF_EVENTS.sql,
        }
    }

    /// Said with each answer: what its counts leave out.
    const fn left_out(self) -> HeaderValue {
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
        asked.performance_report(&at, &scope, range).await
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
    /// The answer with the report of a range.
    pub(crate) async fn performance_report(
        &self,
        at: &AtCommit,
        scope: &Scope,
        range: Range,
    ) -> Result<Response, Refused> {
        let source = Source::of(range, at.now);
        let bounds = vec![time_param(range.start), time_param(range.end)];
        let rows = self.over_lake(at, scope, 1, source.text(), bounds).await?;
        let bytes = json_array(&rows.batches, self.shared.engine.config.max_result_bytes)?;
        let [report]: [PerformanceReport; 1] = serde_json::from_slice(&bytes).map_err(|_| internal())?;
        let mut headers = at.meta().headers();
        headers.insert("streamgauge-not-counted", source.left_out());
        Ok((headers, Json(report)).into_response())
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
}
