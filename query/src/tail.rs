//! `GET /v1/tail`: what arrives now, as server-sent events, commit by commit.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use axum::extract::{Extension, Query as QueryString, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::{Stream, stream};
use schemas::rollups::Grain;
use schemas::{Principal, Scope as Permission, Timestamp};
use serde_json::{Map, Value};
use tokio::sync::watch;
use warehouse::tables::{EVENTS, LakeTable, QUARANTINE};
use warehouse::{CommitId, Snapshot};

use crate::Query;
use crate::answer::Refused;
use crate::engine::{internal, refusal};
use crate::lake_table::LakeScan;
use crate::output::json_array;
use crate::params::{self, Params};
use crate::scope::Scope;

/// Rows told of one commit; of a larger one only the number is told.
const MAX_ROWS: usize = 500;

pub(crate) async fn tail(
    State(query): State<Query>,
    Extension(principal): Extension<Principal>,
    QueryString(params): QueryString<Params>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Refused> {
    let scope = Scope::of(&principal, Permission::StatsRead, params::text(&params, "person"))?;
    let newest = query.shared.warehouse.newest_commit();
    let told = query.pin().await?.snapshot.commit;
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
            let told = self.told;
            tokio::select! {
                changed = self.newest.wait_for(|newest| *newest > told) => { changed.ok()?; }
                () = self.query.shared.closing.cancelled() => return None,
            }
            match self.news().await {
                Ok(lines) => self.waiting = lines,
                // The caller sees a gap instead of a broken stream.
                Err(_) => self.waiting = vec![Event::default().event("gap").data(format!("{{\"after\":{told}}}"))],
            }
        }
    }

    async fn news(&mut self) -> Result<Vec<Event>, Refused> {
        let pinned = self.query.pin().await?;
        let news = pinned.snapshot.news_since(self.told);
        self.told = pinned.snapshot.commit;
        let mut lines = Vec::new();
        for (table, sql) in [(&EVENTS, STORED), (&QUARANTINE, QUARANTINED)] {
            for row in self.rows(table, &news, sql).await? {
                lines.push(Event::default().event("event").data(line(row).to_string()));
            }
        }
        lines.reverse();
        Ok(lines)
    }

    async fn rows(
        &self,
        table: &'static LakeTable,
        news: &Snapshot,
        sql: &'static str,
    ) -> Result<Vec<Map<String, Value>>, Refused> {
        let Some(scan) = LakeScan::new(table, news, &self.scope) else { return Ok(Vec::new()) };
        let context = self.query.shared.engine.session()?;
        context.register_table(table.name, Arc::new(scan)).map_err(refusal)?;
        let rows = self
            .query
            .shared
            .engine
            .run(MAX_ROWS, move || async move { context.sql(sql).await.map_err(refusal) })
            .await?;
        let batches: Vec<RecordBatch> = rows.batches;
        let bytes = json_array(&batches).map_err(|_| internal())?;
        serde_json::from_slice(&bytes).map_err(|_| internal())
    }
}

const STORED: &str = "SELECT type, 'stored' AS verdict, NULL AS reason, received_at, occurred_at, corrected_at, format, flags, \
    event_id, log_partition, log_position, log_index FROM events ORDER BY log_partition, log_position, log_index";

const QUARANTINED: &str = "SELECT type, 'quarantined' AS verdict, reason, field, received_at, format, event_id, log_partition, \
    log_position, log_index FROM quarantine ORDER BY log_partition, log_position, log_index";

/// A row with the minute bucket it counts in.
fn line(mut row: Map<String, Value>) -> Value {
    let at = row.get("corrected_at").and_then(Value::as_str).and_then(Timestamp::parse_rfc3339);
    if let Some(at) = at {
        row.insert("bucket".into(), at.floor(Grain::Minute.length()).to_string().into());
    }
    Value::Object(row)
}
