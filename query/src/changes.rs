//! `GET /v1/rollups/changes?since=COMMIT`: the buckets that changed, so that a copy of a rollup can follow.

use std::sync::Arc;

use axum::extract::{Extension, Query as QueryString, State};
use axum::response::{IntoResponse, Response};
use schemas::rollups::{self, Grain, Rollup};
use schemas::{Principal, Problem, Scope as Permission, Timestamp};
use serde::Serialize;
use warehouse::{ChangedQuery, CommitId};

use crate::Query;
use crate::answer::{Answer, Refused};
use crate::params::{self, Params};
use crate::scope::Scope;

/// Buckets of a page when the caller asks for no number, and at most.
const DEFAULT_ROWS: u32 = 1_000;
const MAX_ROWS: u32 = 50_000;

/// A bucket to read again.
#[derive(Debug, Serialize)]
struct Change {
    rollup: &'static str,
    grain: &'static str,
    bucket_start: Timestamp,
    /// The last commit that changed it.
    commit: i64,
}

pub(crate) async fn changes(
    State(query): State<Query>,
    Extension(principal): Extension<Principal>,
    QueryString(params): QueryString<Params>,
) -> Result<Response, Refused> {
    let scope = Scope::of_project(&principal, Permission::StatsRead, "rollups are of the whole project")?;
    let (asked, project) = (query.clone(), Arc::clone(&scope.project));
    query.turn(&project, async move { asked.changed(&scope, &params).await }).await
}

/// What is asked for.
struct Request {
    rollups: Vec<&'static Rollup>,
    grain: Grain,
    since: CommitId,
    limit: u32,
    /// Place in the list of rollups, and the first bucket of that rollup to give out.
    from: Option<(usize, i64)>,
}

impl Request {
    fn read(params: &Params) -> Result<Self, Problem> {
        let since = params::text(params, "since").and_then(|since| since.parse().ok());
        let since = since.ok_or_else(|| {
            Problem::new(400, "bad_since", "since is the number of a commit, as answers name it").at("since", "integer")
        })?;
        let grain = params::grain(params, Grain::Minute)?;
        let rollups = match params::text(params, "rollup") {
            None => rollups::ALL.to_vec(),
            Some(name) => {
                let rollup = rollups::named(name).ok_or_else(|| {
                    Problem::new(400, "no_such_rollup", "no rollup has this name").at("rollup", "one_of")
                })?;
                vec![rollup]
            }
        };
        let limit = params::limit(params, DEFAULT_ROWS, MAX_ROWS)?;
        Ok(Self { rollups, grain, since: CommitId(since), limit, from: params::cursor(params)? })
    }
}

impl Query {
    async fn changed(&self, scope: &Scope, params: &Params) -> Result<Response, Refused> {
        let request = Request::read(params)?;
        let mut pinned = self.pin().await?;
        let (first, mut from) = request.from.unwrap_or((0, Timestamp::MIN.micros()));
        let mut data: Vec<Change> = Vec::new();
        let mut next_cursor = None;
        for (place, rollup) in request.rollups.iter().enumerate().skip(first) {
            let left = request.limit as usize - data.len();
            let asked = ChangedQuery {
                rollup,
                grain: request.grain,
                project: &scope.project,
                since: request.since,
                from: Timestamp::from_micros(std::mem::replace(&mut from, Timestamp::MIN.micros())),
                to: Timestamp::MAX,
                limit: u32::try_from(left).unwrap_or(request.limit) + 1,
            };
            let changed = pinned.read.changed_buckets(&asked).await?;
            data.extend(changed.iter().take(left).map(|bucket| Change {
                rollup: rollup.name,
                grain: request.grain.as_str(),
                bucket_start: bucket.bucket_start,
                commit: bucket.commit.0,
            }));
            if let Some(next) = changed.get(left) {
                next_cursor = Some(params::to_cursor(&(place, next.bucket_start.micros())));
                break;
            }
        }
        let meta = pinned.release().meta();
        Ok(Answer { data, meta, next_cursor }.into_response())
    }
}
