//! `GET /v1/batches/{batch_id}`: what became of every event of an upload.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int32Type, Int64Type};
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse, Response};
use axum::{Json, http::HeaderMap};
use datafusion::logical_expr::{Expr, col, lit};
use schemas::record::{self, Record, Upload};
use schemas::{Outcome, Principal, Problem, Received, Scope as Permission, Verdict, validate};
use serde::Serialize;
use warehouse::CommitId;
use warehouse::tables::{EVENTS, LakeTable, QUARANTINE, RECORDS};

use crate::Query;
use crate::answer::Refused;
use crate::engine::{Rows, internal, refusal};
use crate::lake_table::LakeScan;
use crate::pinned::Pinned;
use crate::scope::Scope;

/// Records that one upload is split into: far more than the largest body makes.
const MAX_PARTS: usize = 4096;

#[derive(Debug, Serialize)]
struct BatchReceipt {
    batch_id: String,
    commit: i64,
    results: Vec<BatchResult>,
}

#[derive(Debug, Serialize)]
struct BatchResult {
    index: u32,
    id: String,
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
}

/// An address without the partition's record: (partition, position, place in the record).
type Address = (i32, i64, i32);

pub(crate) async fn batch(
    State(query): State<Query>,
    Extension(principal): Extension<Principal>,
    Path(batch_id): Path<String>,
) -> Result<Response, Refused> {
    // The sender may ask for its own upload with the key that it posts with: it names the batch by an unguessable id.
    let scope = match Scope::of(&principal, Permission::StatsRead, None) {
        Ok(scope) => scope,
        Err(_) if principal.may_upload() => Scope::of_sender(&principal),
        Err(problem) => return Err(problem.into()),
    };
    let mut pinned = query.pin().await?;
    let stored = query.records_of(&pinned, &scope, &batch_id).await?;
    let mut results: BTreeMap<u32, BatchResult> = BTreeMap::new();
    let mut commit = CommitId(0);
    let mut parts = (0, u32::MAX);
    let outcomes = query.outcomes(&pinned, &scope, &stored).await?;
    for ((partition, position), body) in &stored {
        let Ok(Record::Upload(upload)) = record::decode_payload(body) else { continue };
        if scope.subject.as_deref().is_some_and(|subject| upload.subject != Some(subject)) {
            continue;
        }
        parts = (parts.0 + 1, upload.parts);
        let in_commit =
            pinned.read.commit_of(u16::try_from(*partition).unwrap_or(0), u64::try_from(*position).unwrap_or(0));
        commit = commit.max(in_commit.await?.unwrap_or_default());
        for (place, item) in (0..).zip(&upload.items) {
            let found = outcomes.get(&(*partition, *position, place));
            results.insert(item.index, result_of(&upload, item, found));
        }
    }
    if parts.0 < parts.1 {
        return Err(Problem::new(404, "no_such_batch", "no committed batch of yours has this id (yet)").into());
    }
    let receipt = BatchReceipt { batch_id, commit: commit.0, results: results.into_values().collect() };
    let headers: HeaderMap = pinned.meta().headers();
    Ok((headers, Json(receipt)).into_response())
}

/// What was found at an event's address.
enum Found {
    Stored,
    Quarantined { reason: String, field: Option<String> },
}

fn result_of(upload: &Upload<'_>, item: &record::Item<'_>, found: Option<&Found>) -> BatchResult {
    let id = match Received::of(upload).map(|received| validate(&received, item)) {
        Some(Verdict::Accept(event)) => event.id.into_owned(),
        Some(Verdict::Quarantine(rejection)) => rejection.id.into_owned(),
        None => String::new(),
    };
    let (result, reason, field) = match found {
        Some(Found::Stored) => (Outcome::Stored.as_str(), None, None),
        Some(Found::Quarantined { reason, field }) => {
            (Outcome::Quarantined.as_str(), Some(reason.clone()), field.clone())
        }
        None => (Outcome::Duplicate.as_str(), None, None),
    };
    BatchResult { index: item.index, id, result, reason, field }
}

type Stored = BTreeMap<(i32, i64), Vec<u8>>;

impl Query {
    /// The records of an upload with their bodies.
    async fn records_of(&self, pinned: &Pinned, scope: &Scope, batch_id: &str) -> Result<Stored, Refused> {
        // The bodies are read by the program, not shown to the caller.
        let scope = Scope { sees_bytes: true, person: None, ..scope.clone() };
        let wanted = col("batch_id").eq(lit(batch_id));
        let columns = ["log_partition", "log_position", "body"];
        let rows = self.select(pinned, &scope, &RECORDS, wanted, &columns).await?;
        let mut stored = Stored::new();
        for batch in &rows.batches {
            let partitions = batch.column(0).as_primitive::<Int32Type>();
            let positions = batch.column(1).as_primitive::<Int64Type>();
            let bodies = batch.column(2).as_binary::<i32>();
            for row in 0..batch.num_rows() {
                stored.insert((partitions.value(row), positions.value(row)), bodies.value(row).to_vec());
            }
        }
        Ok(stored)
    }

    /// What stands at the addresses of these records.
    async fn outcomes(
        &self,
        pinned: &Pinned,
        scope: &Scope,
        stored: &Stored,
    ) -> Result<HashMap<Address, Found>, Refused> {
        let mut found = HashMap::new();
        let scope = Scope { person: None, ..scope.clone() };
        for (partition, position) in stored.keys() {
            let at_record = || col("log_partition").eq(lit(*partition)).and(col("log_position").eq(lit(*position)));
            let rows = self.select(pinned, &scope, &EVENTS, at_record(), &["log_index"]).await?;
            for batch in &rows.batches {
                let places = batch.column(0).as_primitive::<Int32Type>();
                found.extend(places.values().iter().map(|place| ((*partition, *position, *place), Found::Stored)));
            }
            let rows = self.select(pinned, &scope, &QUARANTINE, at_record(), &["log_index", "reason", "field"]).await?;
            for batch in &rows.batches {
                let places = batch.column(0).as_primitive::<Int32Type>();
                let (reasons, fields) = (batch.column(1).as_string::<i32>(), batch.column(2).as_string::<i32>());
                for row in 0..batch.num_rows() {
                    let field = (!fields.is_null(row)).then(|| fields.value(row).to_owned());
                    let reason = reasons.value(row).to_owned();
                    found.insert((*partition, *position, places.value(row)), Found::Quarantined { reason, field });
                }
            }
        }
        Ok(found)
    }

    async fn select(
        &self,
        pinned: &Pinned,
        scope: &Scope,
        table: &'static LakeTable,
        wanted: Expr,
        columns: &[&str],
    ) -> Result<Rows, Refused> {
        let Some(scan) = LakeScan::new(table, &pinned.snapshot, scope) else { return Err(internal()) };
        let context = self.shared.engine.session()?;
        let columns: Vec<Expr> = columns.iter().map(|column| col(*column)).collect();
        let limit = self.shared.engine.config.max_rows.min(MAX_PARTS * 64);
        let plan = move || async move {
            let frame = context.read_table(Arc::new(scan)).map_err(refusal)?;
            frame.filter(wanted).and_then(|frame| frame.select(columns)).map_err(refusal)
        };
        self.shared.engine.run(limit, plan).await
    }
}
