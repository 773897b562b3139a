//! `GET /v1/batches/{batch_id}`: what became of every event of an upload.
//!
//! An event stands in `events`, or in `quarantine` with its reason, or in neither: then it was a copy, or left out by a
//! rule, or was taken away since because it was past its retention. The record of the upload says how many were left out and
//! how many were there; left out are the oldest of those that stand nowhere, taken away the oldest of the rest.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int32Type, Int64Type};
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse, Response};
use datafusion::logical_expr::{col, lit};
use schemas::record::{self, Record, Upload};
use schemas::{Outcome, Principal, Problem, Reason, Received, Scope as Permission, Timestamp, Verdict, validate};
use serde::Serialize;
use warehouse::CommitId;
use warehouse::tables::{EVENTS, QUARANTINE, RECORDS};

use crate::Query;
use crate::answer::Refused;
use crate::pinned::AtCommit;
use crate::scope::Scope;

/// Records that one upload is split into: far more than the largest body makes.
const MAX_PARTS: usize = 4096;
/// Rows that are read of one table for one receipt.
const MAX_ROWS: usize = MAX_PARTS * 64;

#[derive(Debug, Serialize)]
struct BatchReceipt {
    batch_id: String,
    commit: i64,
    results: Vec<BatchResult>,
}

#[derive(Debug, PartialEq, Serialize)]
struct BatchResult {
    index: u32,
    id: String,
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
}

/// An address without the record: (partition, position, place in the record).
type Address = (i32, i64, i32);

pub(crate) async fn batch(
    State(query): State<Query>,
    Extension(principal): Extension<Principal>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Refused> {
    // The sender may ask for its own upload with the key that it posts with: it names the batch by an unguessable id.
    let scope = match Scope::of(&principal, Permission::StatsRead, None) {
        Ok(scope) => scope,
        Err(_) if principal.may_upload() => Scope::of_sender(&principal),
        Err(problem) => return Err(problem.into()),
    };
    let Ok(Path(batch_id)) = path else { return Err(no_such_batch()) };
    let (asked, project) = (query.clone(), Arc::clone(&scope.project));
    query.turn(&project, async move { asked.receipt(scope, batch_id).await }).await
}

fn no_such_batch() -> Refused {
    Problem::new(404, "no_such_batch", "no committed batch of yours has this id (yet)").into()
}

/// A record of the upload: its events as received, and what became of how many of them.
struct StoredRecord {
    body: Vec<u8>,
    counts: Counts,
}

/// What became of how many events of a record when it was taken in.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    stored: usize,
    quarantined: usize,
    suppressed: usize,
}

/// By address: partition and position.
type Stored = BTreeMap<(i32, i64), StoredRecord>;

/// What was found at an event's address.
#[derive(Debug, Clone)]
enum Found {
    Stored,
    Quarantined { reason: String, field: Option<String> },
}

impl Query {
    async fn receipt(&self, scope: Scope, batch_id: String) -> Result<Response, Refused> {
        let at = self.pin().await?.release();
        // Whom the events are about is no matter: it is the upload that must be the caller's.
        let wanted = Scope { person: None, ..scope.clone() };
        let stored = self.records_of(&at, &wanted, &batch_id).await?;
        let found = self.found_at(&at, &wanted, &stored).await?;
        let mut results = BTreeMap::new();
        let (mut parts, mut places) = (BTreeSet::new(), Vec::new());
        for (place, record) in &stored {
            let Ok(Record::Upload(upload)) = record::decode_payload(&record.body) else { continue };
            if scope.subject.as_deref().is_some_and(|subject| upload.subject != Some(subject)) {
                continue;
            }
            parts.insert((upload.parts, upload.part));
            places.push(*place);
            for result in results_of(&upload, *place, record.counts, &found) {
                add_result(&mut results, result);
            }
        }
        if !is_whole(&parts) {
            return Err(no_such_batch());
        }
        let commit = self.last_commit_of(&places).await?;
        let receipt = BatchReceipt { batch_id, commit: commit.0, results: results.into_values().collect() };
        Ok((at.meta().headers(), Json(receipt)).into_response())
    }

    /// The last of the commits that took in these records. What is committed stays so: a transaction of its own will do.
    async fn last_commit_of(&self, places: &[(i32, i64)]) -> Result<CommitId, Refused> {
        let mut pinned = self.pin().await?;
        let mut last = CommitId::default();
        for (partition, position) in places {
            let (Ok(partition), Ok(position)) = (u16::try_from(*partition), u64::try_from(*position)) else { continue };
            last = last.max(pinned.read.commit_of(partition, position).await?.unwrap_or_default());
        }
        Ok(last)
    }

    /// The records of an upload with their bodies, which the program reads and the caller does not see.
    async fn records_of(&self, at: &AtCommit, scope: &Scope, batch_id: &str) -> Result<Stored, Refused> {
        let scope = Scope { sees_bytes: true, ..scope.clone() };
        let wanted = col("batch_id").eq(lit(batch_id));
        let columns = ["log_partition", "log_position", "stored", "quarantined", "suppressed", "body"];
        let rows =
            self.shared.engine.collect(self.lake_rows(at, &scope, &RECORDS, wanted, &columns)?, MAX_ROWS).await?;
        let mut stored = Stored::new();
        for batch in &rows.batches {
            let partitions = batch.column(0).as_primitive::<Int32Type>();
            let positions = batch.column(1).as_primitive::<Int64Type>();
            let bodies = batch.column(5).as_binary::<i32>();
            for row in 0..batch.num_rows() {
                let count = |column: usize| {
                    usize::try_from(batch.column(column).as_primitive::<Int32Type>().value(row)).unwrap_or(0)
                };
                let counts = Counts { stored: count(2), quarantined: count(3), suppressed: count(4) };
                let record = StoredRecord { body: bodies.value(row).to_vec(), counts };
                stored.insert((partitions.value(row), positions.value(row)), record);
            }
        }
        Ok(stored)
    }

    /// What stands at the addresses of these records.
    async fn found_at(
        &self,
        at: &AtCommit,
        scope: &Scope,
        stored: &Stored,
    ) -> Result<HashMap<Address, Found>, Refused> {
        let mut found = HashMap::new();
        for (partition, position) in stored.keys() {
            let in_record = || col("log_partition").eq(lit(*partition)).and(col("log_position").eq(lit(*position)));
            let rows = self
                .shared
                .engine
                .collect(self.lake_rows(at, scope, &EVENTS, in_record(), &["log_index"])?, MAX_ROWS)
                .await?;
            for batch in &rows.batches {
                let places = batch.column(0).as_primitive::<Int32Type>();
                found.extend(places.values().iter().map(|place| ((*partition, *position, *place), Found::Stored)));
            }
            let columns = ["log_index", "reason", "field"];
            let rows = self
                .shared
                .engine
                .collect(self.lake_rows(at, scope, &QUARANTINE, in_record(), &columns)?, MAX_ROWS)
                .await?;
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
}

/// Whether the parts of one attempt are all there. A retry under the same id has the same parts, or other ones if it
/// was cut differently.
fn is_whole(parts: &BTreeSet<(u32, u32)>) -> bool {
    parts.iter().any(|(count, _)| u32::try_from(parts.range((*count, 0)..=(*count, u32::MAX)).count()) == Ok(*count))
}

/// A retry of an upload finds copies of its own events: what the first attempt became stands.
fn add_result(results: &mut BTreeMap<u32, BatchResult>, result: BatchResult) {
    let is_copy = result.result == Outcome::Duplicate.as_str();
    if !is_copy || !results.contains_key(&result.index) {
        results.insert(result.index, result);
    }
}

/// The results of one record; what stands nowhere is told from what became of how many.
fn results_of(
    upload: &Upload<'_>,
    (partition, position): (i32, i64),
    counts: Counts,
    found: &HashMap<Address, Found>,
) -> Vec<BatchResult> {
    let received = Received::of(upload);
    let mut nowhere: Vec<(Timestamp, usize)> = Vec::new();
    let (mut bad, mut stored, mut quarantined) = (Vec::new(), 0, 0);
    let mut results = Vec::with_capacity(upload.items.len());
    for (place, item) in (0..).zip(&upload.items) {
        let (id, at) = match received.as_ref().map(|received| validate(received, item)) {
            Some(Verdict::Accept(event)) => (event.id.into_owned(), Some(event.occurred_at)),
            Some(Verdict::Quarantine(rejection)) => (rejection.id.into_owned(), None),
            None => (String::new(), None),
        };
        let (outcome, reason, field) = match found.get(&(partition, position, place)).cloned() {
            Some(Found::Stored) => {
                stored += 1;
                (Outcome::Stored, None, None)
            }
            Some(Found::Quarantined { reason, field }) => {
                quarantined += 1;
                (Outcome::Quarantined, Some(reason), field)
            }
            None => {
                match at {
                    Some(at) => nowhere.push((at, results.len())),
                    None => bad.push(results.len()),
                }
                (Outcome::Duplicate, None, None)
            }
        };
        results.push(BatchResult { index: item.index, id, result: outcome.as_str(), reason, field });
    }
    nowhere.sort_unstable();
    let good = nowhere.into_iter().map(|(_, idx)| idx);
    let suppressed = std::iter::repeat_n(Outcome::Suppressed, counts.suppressed);
    let erased = |were: usize, are: usize| std::iter::repeat_n(Outcome::Erased, were.saturating_sub(are));
    let told = good.zip(suppressed.chain(erased(counts.stored, stored)));
    for (idx, outcome) in told.chain(bad.into_iter().zip(erased(counts.quarantined, quarantined))) {
        results[idx].result = outcome.as_str();
        results[idx].reason = Some(Reason::Expired.as_str().to_owned());
    }
    results
}

#[cfg(test)]
mod tests {
    use schemas::record::Item;

    use super::*;

    fn result(index: u32, outcome: Outcome) -> BatchResult {
        BatchResult { index, id: String::new(), result: outcome.as_str(), reason: None, field: None }
    }

    #[test]
    fn a_retry_never_hides_what_the_first_attempt_became() {
        let mut results = BTreeMap::new();
        for (index, outcome) in [
            (0, Outcome::Stored),
            (1, Outcome::Quarantined),
            (2, Outcome::Duplicate),
            (0, Outcome::Duplicate),
            (1, Outcome::Duplicate),
            (2, Outcome::Stored),
        ] {
            add_result(&mut results, result(index, outcome));
        }
        let words: Vec<&str> = results.values().map(|result| result.result).collect();
        assert_eq!(words, ["stored", "quarantined", "stored"]);
    }

    #[test]
    fn parts_count_once_and_one_whole_attempt_is_enough() {
        assert!(!is_whole(&BTreeSet::new()));
        assert!(is_whole(&[(1, 0)].into()));
        assert!(!is_whole(&[(2, 0)].into()));
        // Twice the first part is not both parts; the set cannot hold it twice.
        assert!(!is_whole(&[(3, 0), (3, 2), (2, 1)].into()));
        assert!(is_whole(&[(3, 0), (3, 2), (2, 1), (2, 0)].into()));
    }

    #[test]
    fn the_oldest_of_those_that_stand_nowhere_were_left_out() {
        let event = |id: &str, time: &str| {
            format!(
                "{{\"specversion\":\"1.0\",\"id\":\"{id}\",\"source\":\"/s\",\"type\":\"layout.saved\",\"time\":\"{time}\",\"data\":{{}}}}"
            )
        };
        let events = [
            event("copy", "2026-11-23T08:00:00Z"),
            event("old", "2020-01-01T00:00:00Z"),
            event("kept", "2026-11-23T08:00:00Z"),
        ];
        let upload = Upload {
            batch_id: "b",
            part: 0,
            parts: 1,
            log_time: Timestamp::parse_rfc3339("2026-11-23T09:00:00Z").unwrap(),
            received_at: Timestamp::parse_rfc3339("2026-11-23T09:00:00Z").unwrap(),
            sent_at: None,
            sent_mono_ms: None,
            boot_id: None,
            project: "p",
            subject: None,
            wire: "cloudevents",
            facts: Vec::new(),
            items: (0..)
                .zip(&events)
                .map(|(index, event)| Item { index, bytes: event.as_bytes(), oversize: None })
                .collect(),
        };
        let found = HashMap::from([((1, 7, 2), Found::Stored)]);
        let words = |stored, suppressed| -> Vec<(String, &str)> {
            let counts = Counts { stored, suppressed, quarantined: 0 };
            let results = results_of(&upload, (1, 7), counts, &found);
            results.into_iter().map(|result| (result.id, result.result)).collect()
        };
        let expected = |old| [("copy".to_owned(), "duplicate"), ("old".to_owned(), old), ("kept".to_owned(), "stored")];
        assert_eq!(words(1, 1), expected("suppressed"));
        assert_eq!(words(1, 0), expected("duplicate"));
        assert_eq!(words(2, 0), expected("erased"), "it was there when the record was taken in");
    }
}
