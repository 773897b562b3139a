//! `GET /v1/views/{view_id}`: one view, folded at the answer's commit, with everything that was told of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, Query as QueryString, State};
use axum::response::{IntoResponse, Response};
use datafusion::logical_expr::{Expr, col, lit};
use schemas::fold::measures::{MEASURES, Measure, Sums};
use schemas::fold::{Folded, Input, Unit, UnitKey, ViewFact};
use schemas::{Principal, Problem, Scope as Permission, Timestamp};
use serde::Serialize;
use serde_json::{Map, Value, json};
use warehouse::EventRows;
use warehouse::tables::EVENTS;

use crate::Query;
use crate::answer::{Answer, Refused};
use crate::params::{self, Params};
use crate::pinned::AtCommit;
use crate::scope::Scope;

/// A session with more events than this is not folded for an answer: its facts are in `views`.
const MAX_EVENTS: usize = 100_000;

/// The answer.
#[derive(Debug, Serialize)]
struct OneView {
    view_id: String,
    session_id: String,
    /// Whether its newest part may go on.
    open: bool,
    /// Its parts under the names of the table `views`; of an open one as if it ended with its last input.
    parts: Vec<Map<String, Value>>,
    timeline: Vec<Step>,
}

/// One input of the view, and what it did.
#[derive(Debug, Serialize)]
struct Step {
    /// Corrected time.
    at: Timestamp,
    /// The event: its kind and the sender's number.
    r#type: String,
    seq: i64,
    /// Part and state after it; null while there is none.
    part: Option<u32>,
    state: Option<&'static str>,
    /// What it added, by measure.
    contributions: BTreeMap<&'static str, i64>,
}

pub(crate) async fn view(
    State(query): State<Query>,
    Extension(principal): Extension<Principal>,
    path: Result<Path<String>, PathRejection>,
    QueryString(params): QueryString<Params>,
) -> Result<Response, Refused> {
    let scope = Scope::of(&principal, Permission::StatsRead, params::text(&params, "person"))?;
    let view_id = path.map(|Path(view_id)| view_id).unwrap_or_default();
    let (asked, project) = (query.clone(), Arc::clone(&scope.project));
    query.turn(&project, async move { asked.one_view(&scope, &view_id).await }).await
}

/// An input, and the kind of its event.
type Told = (UnitKey, Input, String);

impl Query {
    async fn one_view(&self, scope: &Scope, view_id: &str) -> Result<Response, Refused> {
        let at = self.pin().await?.release();
        let of_view = self.stored(&at, scope, col("view_id").eq(lit(view_id))).await?;
        let Some((key, ..)) = of_view.into_iter().next() else {
            let detail = "no committed event of this view can be seen";
            return Err(Problem::new(404, "no_such_view", detail).at("view_id", "known").into());
        };
        // Of CMCD without a session the view is the unit.
        let name = || lit(&*key.session_id);
        let mut told = self.stored(&at, scope, col("session_id").eq(name()).or(col("view_id").eq(name()))).await?;
        if told.len() > MAX_EVENTS {
            let detail = "its session has too many events: see the table `views`";
            return Err(Problem::new(422, "view_too_large", detail).at("view_id", "max_events").into());
        }
        told.retain(|(of, ..)| *of == key);
        told.sort_by_key(|(_, input, _)| input.place);
        let data = folded(&key, view_id, &told);
        Ok(Answer { data, meta: at.meta(), next_cursor: None }.into_response())
    }

    /// Stored events that meet a condition, as inputs; those that are in no unit are left out.
    async fn stored(&self, at: &AtCommit, scope: &Scope, wanted: Expr) -> Result<Vec<Told>, Refused> {
        let frame = self.lake_rows(at, scope, &EVENTS, wanted, &EventRows::INPUT_COLUMNS)?;
        let mut told = Vec::new();
        for batch in self.shared.engine.collect(frame, MAX_EVENTS + 1).await?.batches {
            let rows = EventRows::of(&batch);
            let input = |row: usize| {
                let stored = rows.stored(row);
                Input::of(&stored).map(|(key, input)| (key, input, stored.kind.to_owned()))
            };
            told.extend((0..rows.len()).filter_map(input));
        }
        Ok(told)
    }
}

fn folded(key: &UnitKey, view_id: &str, told: &[Told]) -> OneView {
    let mut unit = Unit::new(key);
    let mut facts: Vec<ViewFact> = Vec::new();
    let mut timeline = Vec::new();
    for (_, input, kind) in told {
        let mut step = Folded::default();
        unit.step(input, &mut step);
        facts.append(&mut step.views);
        if input.about.view_id.as_deref() == Some(view_id) {
            let after = unit.view_state(view_id);
            timeline.push(Step {
                at: Timestamp::from_millis(input.corrected_ms).unwrap_or_default(),
                r#type: kind.clone(),
                seq: input.place.number,
                part: after.map(|(part, _)| part),
                state: after.map(|(_, state)| state.as_str()),
                contributions: contributions(&step.sums, view_id),
            });
        }
    }
    let open = unit.view_state(view_id).is_some_and(|(_, state)| state != schemas::fold::State::Ended);
    let mut rest = Folded::default();
    unit.close(&mut rest);
    facts.append(&mut rest.views);
    let parts = facts.iter().filter(|fact| &*fact.dims.view_id == view_id).map(part).collect();
    OneView { view_id: view_id.to_owned(), session_id: key.session_id.to_string(), open, parts, timeline }
}

/// What was added to the view, by measure.
fn contributions(sums: &Sums, view_id: &str) -> BTreeMap<&'static str, i64> {
    let mut added = BTreeMap::new();
    for (_, cell) in sums.cells.iter().filter(|(key, _)| &*key.dims.view_id == view_id) {
        for (measure, value) in MEASURES.iter().zip(cell.values.iter()).filter(|(_, value)| **value != 0) {
            *added.entry(measure.name).or_insert(0) += value;
        }
    }
    added
}

/// The measures that are told of a part.
const TOLD: [Measure; 17] = [
    Measure::JoinMs,
    Measure::PlayingMs,
    Measure::RebufferMs,
    Measure::SeekMs,
    Measure::PausedMs,
    Measure::WatchMs,
    Measure::RebufferCount,
    Measure::SustainedRebuffers,
    Measure::Seeks,
    Measure::ShiftsUp,
    Measure::ShiftsDown,
    Measure::DroppedFrames,
    Measure::RenderedFrames,
    Measure::FocusMs,
    Measure::AudibleMs,
    Measure::ErrorsFatal,
    Measure::ErrorsWarning,
];

/// A part under the names of the table `views`.
fn part(fact: &ViewFact) -> Map<String, Value> {
    let at = |ms: i64| Timestamp::from_millis(ms).unwrap_or_default().to_string();
    let told = json!({
        "part": fact.dims.part, "stream_id": &*fact.dims.stream_id, "stream_platform": fact.dims.stream_platform,
        "started_at": at(fact.started_ms), "ended_at": at(fact.ended_ms), "outcome": fact.outcome,
        "exit_reason": &*fact.exit_reason, "startup_ms": fact.startup_ms,
        "reported_startup_ms": fact.reported_startup_ms, "max_rebuffer_ms": fact.max_rebuffer_ms,
        "success_score": fact.scores.success, "startup_score": fact.scores.startup,
        "smoothness_score": fact.scores.smoothness, "video_quality_score": fact.scores.video_quality,
        "health_score": fact.scores.health,
    });
    let mut part = match told {
        Value::Object(part) => part,
        _ => Map::new(),
    };
    part.extend(TOLD.map(|measure| (measure.column().name.to_owned(), fact.of(measure).into())));
    part
}
