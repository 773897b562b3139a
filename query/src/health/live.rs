//! `GET /v1/health/stream`: how one stream does, told again with every commit, as server-sent events named `health`.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Extension, Query as QueryString, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::{Stream, stream};
use schemas::{Principal, Problem};
use tokio::sync::watch;
use tokio::time::Instant;
use warehouse::CommitId;

use super::{Order, StreamHealth, scope, window};
use crate::Query;
use crate::answer::{Answer, Refused};
use crate::failures::internal;
use crate::params::{self, Params};
use crate::scope::Scope;

/// Between two tellings at least.
const PACE: Duration = Duration::from_secs(1);
/// Without commits it is told again all the same: the window moves on.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn stream(
    State(query): State<Query>,
    Extension(principal): Extension<Principal>,
    QueryString(params): QueryString<Params>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Refused> {
    let scope = scope(&principal)?;
    let window = window(&params)?;
    let Some(stream_id) = params::text(&params, "stream_id").map(str::to_owned) else {
        return Err(Problem::new(400, "stream_missing", "stream_id is missing").at("stream_id", "required").into());
    };
    let newest = query.shared.warehouse.newest_commit();
    let live = Live { query, scope, stream_id, window, newest, told: None };
    let lines = stream::unfold(live, |mut live| async move { Some((Ok(live.next().await?), live)) });
    Ok(Sse::new(lines).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))))
}

struct Live {
    query: Query,
    scope: Scope,
    stream_id: String,
    window: Duration,
    newest: watch::Receiver<CommitId>,
    /// The commit that was told last, and when.
    told: Option<(CommitId, Instant)>,
}

impl Live {
    /// The next line, at once at first; `None` when the server closes.
    async fn next(&mut self) -> Option<Event> {
        let closing = self.query.shared.closing.clone();
        loop {
            tokio::select! {
                () = self.news() => {}
                () = closing.cancelled() => return None,
            }
            match self.line().await {
                Ok((commit, line)) => {
                    self.told = Some((commit, Instant::now()));
                    return Some(line);
                }
                // Tried again at the same pace.
                Err(_) => tokio::select! {
                    () = tokio::time::sleep(PACE) => {}
                    () = closing.cancelled() => return None,
                },
            }
        }
    }

    /// Waits for something to tell.
    async fn news(&mut self) {
        let Some((told, at)) = self.told else { return };
        tokio::time::sleep_until(at + PACE).await;
        let newer = self.newest.wait_for(|newest| *newest != told);
        // An error means that the warehouse is closed, and the server about to be.
        let _ = tokio::time::timeout_at(at + PATIENCE, newer).await;
    }

    async fn line(&self) -> Result<(CommitId, Event), Refused> {
        let (query, scope) = (self.query.clone(), self.scope.clone());
        let (window, stream_id) = (self.window, self.stream_id.clone());
        let work = async move {
            let first: (Order, usize) = (StreamHealth::by_name, 1);
            let (streams, meta) = query.health(&scope, window, Some(&stream_id), first).await?;
            let data = streams.into_iter().next().unwrap_or_else(|| StreamHealth::unknown(&stream_id));
            Ok(Answer { data, meta, next_cursor: None })
        };
        let answer = self.query.turn(&self.scope.project, work).await?;
        let text = serde_json::to_string(&answer).map_err(|_| internal())?;
        Ok((answer.meta.commit, Event::default().event("health").data(text)))
    }
}
