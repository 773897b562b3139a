//! What the ledger says of events that retention took away: less `stored` and `quarantined`, as much more `erased`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch, StringArray};
use arrow::datatypes::{Int32Type, TimestampMicrosecondType};
use schemas::rollups::{Grain, LEDGER};
use schemas::{Outcome, Reason, Timestamp, kinds};

use crate::commit::DeltaRow;
use crate::read::{Read, ReadError};
use crate::rollup_store::RollupQuery;
use crate::tables::{EVENTS, LakeTable, QUARANTINE};

/// A line of the ledger that rows of the lake were counted in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    project: Arc<str>,
    hour: Timestamp,
    log_partition: i32,
    format: String,
    kind: String,
    outcome: &'static str,
    reason: String,
}

/// Rows that go, by the line of the ledger that they were counted in.
#[derive(Debug, Default)]
pub(crate) struct Erased(BTreeMap<Line, i64>);

/// The ledger's outcome of the rows of a table, if it counts them.
fn outcome(table: &LakeTable) -> Option<Outcome> {
    match table.id {
        id if id == EVENTS.id => Some(Outcome::Stored),
        id if id == QUARANTINE.id => Some(Outcome::Quarantined),
        _ => None,
    }
}

impl Erased {
    /// Columns that say where a row was counted.
    pub(crate) fn columns(table: &LakeTable) -> &'static [&'static str] {
        match outcome(table) {
            Some(Outcome::Quarantined) => &["log_partition", "format", "type", "reason"],
            Some(_) => &["received_at", "log_partition", "format", "type"],
            None => &[],
        }
    }

    /// Adds those rows of a batch that go.
    pub(crate) fn add(&mut self, table: &LakeTable, batch: &RecordBatch, gone: &BooleanArray) {
        let Some(outcome) = outcome(table) else { return };
        let text = |name: &str| batch.column_by_name(name).map(AsArray::as_string::<i32>);
        let value = |column: Option<&StringArray>, row: usize| {
            column.filter(|column| column.is_valid(row)).map_or_else(String::new, |column| column.value(row).to_owned())
        };
        let column = |name: &str| batch.column_by_name(name).expect("it was asked for");
        let received = column("received_at").as_primitive::<TimestampMicrosecondType>();
        let partitions = column("log_partition").as_primitive::<Int32Type>();
        let (projects, formats, kinds) = (text("project"), text("format"), text("type"));
        let reasons = text("reason").filter(|_| outcome == Outcome::Quarantined);
        for row in (0..batch.num_rows()).filter(|row| gone.value(*row)) {
            let line = Line {
                project: value(projects, row).into(),
                hour: Timestamp::from_micros(received.value(row)).floor(Grain::Hour.length()),
                log_partition: partitions.value(row),
                format: value(formats, row),
                kind: value(kinds, row),
                outcome: outcome.as_str(),
                reason: value(reasons, row),
            };
            *self.0.entry(line).or_default() += 1;
        }
    }

    /// The lines that move what goes to `erased`.
    pub(crate) async fn lines(self, read: &mut Read) -> Result<Vec<DeltaRow>, ReadError> {
        let mut rows = Vec::new();
        let unknown = Unknown::of(read, &self.0).await?;
        for (line, events) in self.0 {
            for (kind, events) in unknown.counted(&line, events) {
                let row = |outcome: &str, reason: &str, events: i64| DeltaRow {
                    project: Arc::clone(&line.project),
                    bucket: line.hour,
                    keys: vec![
                        line.log_partition.to_string(),
                        line.format.clone(),
                        kind.clone(),
                        outcome.to_owned(),
                        reason.to_owned(),
                    ],
                    measures: vec![events],
                };
                rows.push(row(line.outcome, &line.reason, -events));
                rows.push(row(Outcome::Erased.as_str(), Reason::Expired.as_str(), events));
            }
        }
        Ok(rows)
    }
}

/// How many events of kinds that are not in the vocabulary the ledger has under their own names: of a record with many of
/// them the others were counted as [`kinds::OTHER`].
#[derive(Debug, Default)]
struct Unknown(BTreeMap<Line, i64>);

impl Unknown {
    async fn of(read: &mut Read, lines: &BTreeMap<Line, i64>) -> Result<Self, ReadError> {
        let mut places: BTreeMap<(Arc<str>, Timestamp), BTreeSet<String>> = BTreeMap::new();
        for line in lines.keys().filter(|line| is_unknown(&line.kind)) {
            places.entry((Arc::clone(&line.project), line.hour)).or_default().insert(line.kind.clone());
        }
        let mut unknown = Self::default();
        for ((project, hour), kinds) in places {
            let range = (hour, hour + Grain::Hour.length());
            for kinds in kinds.into_iter().collect::<Vec<_>>().chunks(1000) {
                let mut query = RollupQuery::new(&LEDGER, Grain::Hour, &project, range);
                query.group_by = LEDGER.keys.iter().map(|key| key.name).collect();
                query.only = vec![("type", kinds.to_vec())];
                for row in read.rollup(&query).await? {
                    let [log_partition, format, kind, outcome, reason] = &row.keys[..] else { continue };
                    let outcomes = [Outcome::Stored, Outcome::Quarantined].map(Outcome::as_str);
                    let Some(outcome) = outcomes.into_iter().find(|known| known == outcome) else { continue };
                    let line = Line {
                        project: Arc::clone(&project),
                        hour,
                        log_partition: log_partition.parse().unwrap_or_default(),
                        format: format.clone(),
                        kind: kind.clone(),
                        outcome,
                        reason: reason.clone(),
                    };
                    unknown.0.insert(line, row.measures[0]);
                }
            }
        }
        Ok(unknown)
    }

    /// Under which kinds some events of a line were counted.
    fn counted(&self, line: &Line, events: i64) -> Vec<(String, i64)> {
        if !is_unknown(&line.kind) {
            return vec![(line.kind.clone(), events)];
        }
        let own = self.0.get(line).copied().unwrap_or_default().clamp(0, events);
        let counted = [(line.kind.clone(), own), (kinds::OTHER.to_owned(), events - own)];
        counted.into_iter().filter(|(_, events)| *events > 0).collect()
    }
}

fn is_unknown(kind: &str) -> bool {
    !kind.is_empty() && kinds::named(kind).is_none()
}
