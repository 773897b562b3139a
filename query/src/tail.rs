//! `GET /v1/tail`: what arrives now, as server-sent events, commit by commit.
//!
//! `event` is one event with its verdict; `more` says how many of a commit's events were not told one by one.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use axum::extract::{Extension, Query as QueryString, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use datafusion::prelude::SessionContext;
use futures::{Stream, stream};
use schemas::rollups::Grain;
use schemas::{Principal, Scope as Permission, Timestamp};
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use warehouse::tables::{EVENTS, LakeTable, QUARANTINE};
use warehouse::{CommitId, Snapshot};

use crate::Query;
use crate::answer::Refused;
use crate::engine::Rows;
use crate::failures::{internal, refusal};
use crate::lake_table::LakeScan;
use crate::output::json_array;
use crate::params::{self, Params};
use crate::scope::Scope;

/// Rows told of one table and commit; of the rest only the number is told.
const MAX_ROWS: usize = 500;
/// Before a commit that could not be read is tried again.
const BACK_OFF: Duration = Duration::from_secs(1);

pub(crate) async fn tail(
    State(query): State<Query>,
    Extension(principal): Extension<Principal>,
    QueryString(params): QueryString<Params>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Refused> {
    let scope = Scope::of(&principal, Permission::StatsRead, params::text(&params, "person"))?;
    let newest = query.shared.warehouse.newest_commit();
    let told = query.pin().await?.release().snapshot.commit;
    let tail = Tail { query, scope, newest, told, waiting: Vec::new() };
    let lines = stream::unfold(tail, |mut tail| async move { Some((Ok(tail.next().await?), tail)) });
    Ok(Sse::new(lines).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))))
}

struct Tail {
    query: Query,
    scope: Scope,
    newest: watch::Receiver<CommitId>,
    told: CommitId,
    /// Lines of the last commit that are not told yet, last first.
    waiting: Vec<Event>,
}

impl Tail {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.pop() {
                return Some(event);
            }
            let (told, closing) = (self.told, self.query.shared.closing.clone());
            tokio::select! {
                changed = self.newest.wait_for(|newest| *newest != told) => { changed.ok()?; }
                () = closing.cancelled() => return None,
            }
            let (query, scope) = (self.query.clone(), self.scope.clone());
            let news = async move { query.news_since(&scope, told).await };
            match self.query.turn(&self.scope.project, news).await {
                Ok((commit, lines)) => (self.told, self.waiting) = (commit, lines),
                Err(_) => tokio::select! {
                    () = tokio::time::sleep(BACK_OFF) => {}
                    () = closing.cancelled() => return None,
                },
            }
        }
    }
}

impl Query {
    /// What was committed since a commit, last first, and the commit up to which that is.
    async fn news_since(&self, scope: &Scope, told: CommitId) -> Result<(CommitId, Vec<Event>), Refused> {
        let at = self.pin().await?.release();
        let news = at.snapshot.news_since(told);
        let mut lines = Vec::new();
        for (table, verdict, columns) in [(&EVENTS, "stored", STORED), (&QUARANTINE, "quarantined", QUARANTINED)] {
            let Some(context) = self.session_of(table, &news, scope)? else { continue };
            let order = "ORDER BY log_partition, log_position, log_index";
            let rows = self.select(&context, &format!("SELECT {columns} FROM {} {order}", table.name)).await?;
            let bytes = json_array(&rows.batches, self.shared.engine.config.max_result_bytes)?;
            let told: Vec<Map<String, Value>> = serde_json::from_slice(&bytes).map_err(|_| internal())?;
            let told_rows = i64::try_from(told.len()).unwrap_or(i64::MAX);
            lines.extend(told.into_iter().map(|row| line("event", &with_bucket(row))));
            if rows.truncated {
                let counted = self.select(&context, &format!("SELECT count(*) FROM {}", table.name)).await?;
                let all =
                    counted.batches.first().map_or(0, |batch| batch.column(0).as_primitive::<Int64Type>().value(0));
                lines.push(line("more", &json!({ "verdict": verdict, "events": all - told_rows })));
            }
        }
        lines.reverse();
        Ok((at.snapshot.commit, lines))
    }

    /// A session with one table; `None` if there is nothing in it that `scope` may see.
    fn session_of(
        &self,
        table: &'static LakeTable,
        news: &Snapshot,
        scope: &Scope,
    ) -> Result<Option<SessionContext>, Refused> {
        let Some(scan) = LakeScan::new(table, news, scope) else { return Ok(None) };
        let context = self.shared.engine.session()?;
        context.register_table(table.name, Arc::new(scan)).map_err(refusal)?;
        Ok(Some(context))
    }

    async fn select(&self, context: &SessionContext, sql: &str) -> Result<Rows, Refused> {
        self.shared.engine.collect(context.sql(sql).await.map_err(refusal)?, MAX_ROWS).await
    }
}

const STORED: &str = "type, 'stored' AS verdict, NULL AS reason, received_at, occurred_at, corrected_at, format, flags, \
    event_id, log_partition, log_position, log_index";

const QUARANTINED: &str = "type, 'quarantined' AS verdict, reason, field, received_at, format, event_id, log_partition, \
    log_position, log_index";

fn line(event: &str, data: &Value) -> Event {
    Event::default().event(event).data(data.to_string())
}

/// A row with the minute bucket it counts in.
fn with_bucket(mut row: Map<String, Value>) -> Value {
    let at = row.get("corrected_at").and_then(Value::as_str).and_then(Timestamp::parse_rfc3339);
    if let Some(at) = at {
        row.insert("bucket".into(), at.floor(Grain::Minute.length()).to_string().into());
    }
    Value::Object(row)
}
