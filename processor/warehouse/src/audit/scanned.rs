//! What the files hold: one pass over each, and further ones over addresses where there are many.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use schemas::fold::measures::MEASURES;
use schemas::fold::sketch::bin_of;
use schemas::fold::{error_keys, is_error};
use schemas::rollups::Grain;
use schemas::{Format, Outcome, Timestamp};

use super::owed::Owed;
use super::{Finding, hour};
use crate::lake::{Lake, ScanError, scan_parquet};
use crate::read::{DataFile, Snapshot};
use crate::tables::{APP_SESSIONS, EVENTS, LakeTable, QUARANTINE, RECORDS, SLICES, VIEWS};

const BATCH_ROWS: usize = 8192;

/// Where events arrived.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) project: Arc<str>,
    pub(super) hour: Timestamp,
    pub(super) partition: i32,
}

impl Place {
    pub(super) fn line(&self, outcome: &str) -> String {
        let Self { project, hour: at, partition } = self;
        format!("project {project}, hour {}, partition {partition}, {outcome}", hour(*at))
    }
}

/// A line of the ledger as the files have it.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct LedgerKey {
    pub(super) place: Place,
    pub(super) outcome: &'static str,
}

/// What the files hold.
#[derive(Debug, Default)]
pub(super) struct Scanned {
    pub(super) files: u64,
    pub(super) records: u64,
    pub(super) events: u64,
    pub(super) findings: Vec<Finding>,
    /// Outcomes as the records have them.
    pub(super) ledger: HashMap<LedgerKey, i64>,
    /// Rows of `events` and `quarantine`.
    pub(super) rows: HashMap<LedgerKey, i64>,
    /// What the ledger says was erased.
    erased: HashMap<Place, i64>,
    pub(super) usage: Sums,
    pub(super) errors: Sums,
    pub(super) slices: Sums,
    pub(super) view_slices: Sums,
    /// Views by when they ended.
    pub(super) views: Sums,
    /// App sessions by the bin of their length.
    pub(super) sessions: HashMap<(Arc<str>, Timestamp), BTreeMap<i32, i64>>,
    owed: Owed,
    /// Whether players report by CMCD.
    has_cmcd: bool,
    names: HashSet<Arc<str>>,
}

/// Sums by project and hour.
pub(super) type Sums = HashMap<(Arc<str>, Timestamp), Vec<i64>>;

/// Of a record, beside its outcomes.
const RECORD_COLUMNS: [&str; 5] = ["log_partition", "log_position", "received_at", "project", "events"];
const OUTCOMES: [&str; 4] = ["stored", "duplicate", "quarantined", "suppressed"];
/// Outcomes with a row for each event.
pub(super) const ROWS: [&str; 2] = ["stored", "quarantined"];

impl Scanned {
    pub(super) fn of(lake: &Lake, snapshot: &Snapshot, erased: HashMap<Place, i64>, most_records: usize) -> Self {
        let mut scanned = Self { erased, owed: Owed::all(most_records), ..Self::default() };
        let records: Vec<&str> = RECORD_COLUMNS.into_iter().chain(OUTCOMES).collect();
        scanned.each(lake, snapshot, &RECORDS, &records, Self::take_records);
        let events = ["project", "corrected_at", "received_at", "log_partition", "log_position", "type", "format"];
        scanned.each(lake, snapshot, &EVENTS, &events, Self::take_events);
        if scanned.has_cmcd {
            let with_data = ["project", "corrected_at", "type", "format", "data"];
            for file in snapshot.files(&EVENTS).iter() {
                // One that cannot be read was found already.
                let _ = scanned.read_file(lake, (&EVENTS, file), &with_data, Self::take_cmcd);
            }
        }
        let quarantine = ["project", "received_at", "log_partition", "log_position"];
        scanned.each(lake, snapshot, &QUARANTINE, &quarantine, |scanned, rows| scanned.take_rows(rows, 1));
        let slices = ["project", "view_id", "bucket_start"];
        let slices: Vec<&str> = slices.into_iter().chain(MEASURES.iter().map(|measure| measure.name)).collect();
        scanned.each(lake, snapshot, &SLICES, &slices, Self::take_slices);
        scanned.each(lake, snapshot, &VIEWS, &["project", "ended_at"], Self::take_views);
        let sessions = ["project", "started_at", "duration_ms"];
        scanned.each(lake, snapshot, &APP_SESSIONS, &sessions, Self::take_sessions);
        while let Some(further) = scanned.owed.settle(&mut scanned.findings) {
            scanned.owed = further;
            scanned.take_further_addresses(lake, snapshot);
        }
        scanned
    }

    /// Reads all files of a table. One that cannot be read, or has other rows than listed, is a finding.
    fn each(
        &mut self,
        lake: &Lake,
        snapshot: &Snapshot,
        table: &'static LakeTable,
        columns: &[&str],
        mut take: impl FnMut(&mut Self, &RecordBatch),
    ) {
        for file in snapshot.files(table).iter() {
            self.files += 1;
            let mut rows = 0;
            let read = self.read_file(lake, (table, file), columns, |scanned, batch| {
                rows += i64::try_from(batch.num_rows()).unwrap_or(i64::MAX);
                take(scanned, batch);
            });
            self.check_file(file, read, rows);
        }
    }

    fn read_file(
        &mut self,
        lake: &Lake,
        (table, file): (&'static LakeTable, &DataFile),
        columns: &[&str],
        mut take: impl FnMut(&mut Self, &RecordBatch),
    ) -> Result<(), ScanError> {
        let batches = scan_parquet(lake, table, &file.path, columns, BATCH_ROWS)?;
        for batch in batches {
            take(self, &batch?);
        }
        Ok(())
    }

    /// The addresses alone, of records that there was no room for before. What cannot be read was found already.
    fn take_further_addresses(&mut self, lake: &Lake, snapshot: &Snapshot) {
        let records: Vec<&str> = RECORD_COLUMNS.into_iter().chain(OUTCOMES).collect();
        for file in self.owed.files(snapshot, &RECORDS) {
            let _ = self.read_file(lake, (&RECORDS, &file), &records, Self::owe);
        }
        for (which, table) in [(0, &EVENTS), (1, &QUARANTINE)] {
            for file in self.owed.files(snapshot, table) {
                let columns = ["log_partition", "log_position"];
                let _ = self.read_file(lake, (table, &file), &columns, |scanned, rows| scanned.owed.pay(rows, which));
            }
        }
    }

    fn check_file(&mut self, file: &DataFile, read: Result<(), ScanError>, rows: i64) {
        let compared = match read {
            Ok(()) if rows == file.rows => return,
            Ok(()) => "listed rows and file".to_owned(),
            Err(error @ ScanError::Open { .. }) => format!("listed rows and file, which cannot be opened ({error})"),
            Err(error @ ScanError::Read { .. }) => format!("listed rows and file, which is damaged ({error})"),
        };
        let place = format!("file {}", file.path);
        self.findings.push(Finding { compared, place, expected: file.rows, found: rows });
    }

    fn name(&mut self, project: &str) -> Arc<str> {
        if let Some(known) = self.names.get(project) {
            return Arc::clone(known);
        }
        let name: Arc<str> = project.into();
        self.names.insert(Arc::clone(&name));
        name
    }

    fn take_records(&mut self, rows: &RecordBatch) {
        self.records += rows.num_rows() as u64;
        self.owe(rows);
        let numbers = |name: &str| column(rows, name).as_primitive::<Int32Type>();
        let (partitions, events) = (numbers("log_partition"), numbers("events"));
        let outcomes = OUTCOMES.map(numbers);
        let (positions, received, projects) = (positions(rows), times(rows, "received_at"), texts(rows, "project"));
        for row in 0..rows.num_rows() {
            let counts = [0, 1, 2, 3].map(|outcome: usize| i64::from(outcomes[outcome].value(row)));
            let (partition, position) = (partitions.value(row), positions.value(row));
            let (all, of_outcomes) = (i64::from(events.value(row)), counts.iter().sum());
            if all != of_outcomes {
                let place = format!("partition {partition}, position {position}");
                let compared = "events of a record and its outcomes".to_owned();
                self.findings.push(Finding { compared, place, expected: all, found: of_outcomes });
            }
            let place = self.place(projects.value(row), received.value(row), partition);
            for (outcome, count) in OUTCOMES.into_iter().zip(counts).filter(|(_, count)| *count != 0) {
                *self.ledger.entry(LedgerKey { place: place.clone(), outcome }).or_default() += count;
            }
        }
    }

    /// Notes what rows records say to have.
    fn owe(&mut self, rows: &RecordBatch) {
        let numbers = |name: &str| column(rows, name).as_primitive::<Int32Type>();
        let (partitions, stored, quarantined) = (numbers("log_partition"), numbers("stored"), numbers("quarantined"));
        let (positions, received, projects) = (positions(rows), times(rows, "received_at"), texts(rows, "project"));
        for row in 0..rows.num_rows() {
            let (partition, position) = (partitions.value(row), positions.value(row));
            if self.owed.holds(position) {
                let place = self.place(projects.value(row), received.value(row), partition);
                let may_lack = self.erased.contains_key(&place);
                self.owed.owe((partition, position), [stored.value(row), quarantined.value(row)], may_lack);
            }
        }
    }

    fn take_events(&mut self, rows: &RecordBatch) {
        self.events += rows.num_rows() as u64;
        self.take_rows(rows, 0);
        let (projects, corrected) = (texts(rows, "project"), times(rows, "corrected_at"));
        let (kinds, formats) = (texts(rows, "type"), texts(rows, "format"));
        for row in 0..rows.num_rows() {
            let key = self.key(projects.value(row), corrected.value(row));
            self.usage.entry(key.clone()).or_insert_with(|| vec![0])[0] += 1;
            if formats.value(row) == Format::Cmcd2.as_str() {
                self.has_cmcd = true;
            } else if is_error(kinds.value(row)) {
                self.errors.entry(key).or_insert_with(|| vec![0])[0] += 1;
            }
        }
    }

    /// Errors that players report by CMCD.
    fn take_cmcd(&mut self, rows: &RecordBatch) {
        let (projects, corrected) = (texts(rows, "project"), times(rows, "corrected_at"));
        let (kinds, formats, data) = (texts(rows, "type"), texts(rows, "format"), texts(rows, "data"));
        for row in (0..rows.num_rows()).filter(|row| formats.value(*row) == Format::Cmcd2.as_str()) {
            if error_keys(kinds.value(row), Format::Cmcd2, data.value(row)).is_some() {
                let key = self.key(projects.value(row), corrected.value(row));
                self.errors.entry(key).or_insert_with(|| vec![0])[0] += 1;
            }
        }
    }

    fn take_views(&mut self, rows: &RecordBatch) {
        let (projects, ended) = (texts(rows, "project"), times(rows, "ended_at"));
        for row in 0..rows.num_rows() {
            let key = self.key(projects.value(row), ended.value(row));
            self.views.entry(key).or_insert_with(|| vec![0])[0] += 1;
        }
    }

    /// App sessions by when they began and how long they were.
    fn take_sessions(&mut self, rows: &RecordBatch) {
        let (projects, started) = (texts(rows, "project"), times(rows, "started_at"));
        let lengths = column(rows, "duration_ms").as_primitive::<Int64Type>();
        for row in 0..rows.num_rows() {
            let key = self.key(projects.value(row), started.value(row));
            *self.sessions.entry(key).or_default().entry(bin_of(lengths.value(row))).or_default() += 1;
        }
    }

    fn key(&mut self, project: &str, us: i64) -> (Arc<str>, Timestamp) {
        (self.name(project), Timestamp::from_micros(us).floor(Grain::Hour.length()))
    }

    fn place(&mut self, project: &str, received_us: i64, partition: i32) -> Place {
        let hour = Timestamp::from_micros(received_us).floor(Grain::Hour.length());
        Place { project: self.name(project), hour, partition }
    }

    /// Under which line an outcome is compared with the records, which do not know what was erased later.
    pub(super) fn line(&self, place: &Place, outcome: &str) -> String {
        let may_be_erased = ROWS.contains(&outcome) || outcome == Outcome::Erased.as_str();
        if may_be_erased && self.erased.contains_key(place) {
            return place.line("stored, quarantined or erased");
        }
        place.line(outcome)
    }

    /// Rows with the address of a record, of its stored (0) or its quarantined (1) events.
    fn take_rows(&mut self, rows: &RecordBatch, which: usize) {
        self.owed.pay(rows, which);
        let partitions = column(rows, "log_partition").as_primitive::<Int32Type>();
        let (received, projects) = (times(rows, "received_at"), texts(rows, "project"));
        for row in 0..rows.num_rows() {
            let partition = partitions.value(row);
            let place = self.place(projects.value(row), received.value(row), partition);
            *self.rows.entry(LedgerKey { place, outcome: ROWS[which] }).or_default() += 1;
        }
    }

    fn take_slices(&mut self, rows: &RecordBatch) {
        let (projects, views) = (texts(rows, "project"), texts(rows, "view_id"));
        let starts = times(rows, "bucket_start");
        let measures: Vec<_> =
            MEASURES.iter().map(|measure| column(rows, measure.name).as_primitive::<Int64Type>()).collect();
        for row in 0..rows.num_rows() {
            let key = self.key(projects.value(row), starts.value(row));
            let sides = if views.is_valid(row) {
                vec![&mut self.slices, &mut self.view_slices]
            } else {
                vec![&mut self.slices]
            };
            for side in sides {
                let sums = side.entry(key.clone()).or_insert_with(|| vec![0; MEASURES.len()]);
                for (sum, measure) in sums.iter_mut().zip(&measures) {
                    // A measure that came later is null in older files.
                    *sum += if measure.is_valid(row) { measure.value(row) } else { 0 };
                }
            }
        }
    }
}

/// A column that the scan was asked for.
pub(super) fn column<'a>(rows: &'a RecordBatch, name: &str) -> &'a ArrayRef {
    rows.column_by_name(name).expect("it was asked for")
}

pub(super) fn positions(rows: &RecordBatch) -> &Int64Array {
    column(rows, "log_position").as_primitive::<Int64Type>()
}

fn times<'a>(rows: &'a RecordBatch, name: &str) -> &'a TimestampMicrosecondArray {
    column(rows, name).as_primitive::<TimestampMicrosecondType>()
}

fn texts<'a>(rows: &'a RecordBatch, name: &str) -> &'a StringArray {
    column(rows, name).as_string::<i32>()
}
