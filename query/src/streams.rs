//! `GET /v1/stats/streams`: the streams with most tile time in a range.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Query as QueryString, State};
use axum::response::{IntoResponse, Response};
use schemas::{Principal, Scope as Permission, Timestamp};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::Query;
use crate::answer::{Meta, Refused};
use crate::failures::internal;
use crate::fixed::time_param;
use crate::local_time::{QUARTER, Range};
use crate::output::json_array;
use crate::params::{self, Params};
use crate::performance;
use crate::questions::shaped;
use crate::scope::Scope;

const DEFAULT_ROWS: u32 = 10;
const MAX_ROWS: u32 = 1_000;

/// The answer; `tile_ms` is playing time over all tiles, `views` are attempts.
#[derive(Debug, Serialize)]
struct Streams {
    data: Vec<Map<String, Value>>,
    meta: Meta,
    /// The whole quarters of an hour that were counted.
    range: Counted,
}

#[derive(Debug, Serialize)]
struct Counted {
    start: Timestamp,
    /// Excluded.
    end: Timestamp,
}

impl Counted {
    /// The quarters of an hour that a range touches.
    fn of(range: Range) -> Self {
        Self { start: range.start.floor(QUARTER), end: range.end.floor(QUARTER) + QUARTER }
    }
}

pub(crate) async fn streams(
    State(query): State<Query>,
    Extension(principal): Extension<Principal>,
    QueryString(params): QueryString<Params>,
) -> Result<Response, Refused> {
    let scope = Scope::of(&principal, Permission::StatsRead, params::text(&params, "person"))?;
    let limit = params::limit(&params, DEFAULT_ROWS, MAX_ROWS)? as usize;
    let (asked, project) = (query.clone(), Arc::clone(&scope.project));
    query.turn(&project, async move { asked.top_streams(&scope, &params, limit).await }).await
}

impl Query {
    async fn top_streams(&self, scope: &Scope, params: &Params, limit: usize) -> Result<Response, Refused> {
        let at = self.pin().await?.release();
        let asked = performance::range(params, at.now)?;
        let range = Counted::of(asked);
        let bounds = vec![time_param(range.start), time_param(asked.end)];
        let rows = self.over_lake(&at, scope, limit, shaped::STREAMS.sql, bounds).await?;
        let bytes = json_array(&rows.batches, self.shared.engine.config.max_result_bytes)?;
        let data = serde_json::from_slice(&bytes).map_err(|_| internal())?;
        let meta = at.meta();
        Ok((meta.headers(), Json(Streams { data, meta, range })).into_response())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_widened_to_the_quarters_it_touches() {
        let at = |text: &str| Timestamp::parse_rfc3339(text).unwrap();
        let counted = Counted::of(Range { start: at("2026-11-23T08:44:59Z"), end: at("2026-11-23T09:00:00Z") });
        assert_eq!((counted.start, counted.end), (at("2026-11-23T08:30:00Z"), at("2026-11-23T09:15:00Z")));
    }
}
