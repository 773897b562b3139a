//! The audit: every sum that must agree, compared place by place, at one commit.
//!
//! | one side | other side | place |
//! |---|---|---|
//! | listed rows of a file | rows read from it | file |
//! | `events` of a record | its outcomes added up | address (partition, position) |
//! | `stored`, `quarantined` of a record | rows of `events`, `quarantine` with its address | address |
//! | ledger, by outcome | records | project, hour of arrival, partition |
//! | rollup `quality` | ledger | project, hour of arrival |
//! | rollup `usage` | rows of `events` | project, hour of corrected time |
//! | rollups `stream`, `release`, `layout`, each measure | `slices` | project, hour |
//!
//! Rollups are compared in each of their grains, so that a row that is missing in one of them is found too. What nothing
//! else holds cannot be compared: the distributions of rollups, and errors.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use schemas::Timestamp;
use schemas::fold::measures::MEASURES;
use schemas::rollups::{Grain, LAYOUT, LEDGER, QUALITY, RELEASE, Rollup, STREAM, USAGE};
use serde::Serialize;

use crate::commit::CommitId;
use crate::lake::{Lake, ScanError, scan_parquet};
use crate::open::Warehouse;
use crate::read::{DataFile, Read, ReadError, Snapshot};
use crate::rollup_store::{RollupQuery, RollupRow};
use crate::tables::{EVENTS, LakeTable, QUARANTINE, RECORDS, SLICES};

/// A place where two sides disagree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was compared, for example `ledger and records`.
    pub compared: String,
    /// Where, for example `project default, hour 2026-03-02T10:00:00Z, partition 2, stored`.
    pub place: String,
    /// What the first side says.
    pub expected: i64,
    /// What the second side has.
    pub found: i64,
}

/// What an audit saw.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// At which commit.
    pub commit: CommitId,
    /// Files that were read.
    pub files: u64,
    /// Records that were read.
    pub records: u64,
    /// Rows of `events` that were read.
    pub events: u64,
    /// Where something is wrong; empty if the books balance.
    pub findings: Vec<Finding>,
}

impl Warehouse {
    /// Compares all of it. Reads every live file of `records` (without bodies), `events`, `quarantine` and `slices`, a few
    /// columns of each, and holds about 40 bytes for each record.
    ///
    /// # Errors
    ///
    /// [`ReadError`], if the database cannot be read. A file that cannot be read is a finding.
    pub async fn audit(&self) -> Result<Audit, ReadError> {
        let mut read = self.read().await?;
        let snapshot = read.snapshot().await?;
        let lake = self.lake().clone();
        let scanning = tokio::task::spawn_blocking(move || Scanned::of(&lake, &snapshot));
        let mut scanned = scanning.await.map_err(|panic| sqlx::Error::Io(std::io::Error::other(panic)))?;
        let mut audit = Audit {
            commit: read.commit(),
            files: scanned.files,
            records: scanned.records,
            events: scanned.events,
            findings: std::mem::take(&mut scanned.findings),
        };
        let mut projects: BTreeSet<String> = read.projects().await?.into_iter().collect();
        projects.extend(scanned.ledger.keys().map(|key| key.project.to_string()));
        for project in &projects {
            audit_project(&mut read, &scanned, project, &mut audit.findings).await?;
        }
        Ok(audit)
    }
}

/// Compares the database's sums of one project with what its files hold.
async fn audit_project(
    read: &mut Read,
    scanned: &Scanned,
    project: &str,
    findings: &mut Vec<Finding>,
) -> Result<(), ReadError> {
    let all_time = (Timestamp::from_micros(0), Timestamp::MAX);
    let mut query = RollupQuery::new(&LEDGER, Grain::Hour, project, all_time);
    query.group_by = vec!["log_partition", "outcome"];
    let (mut ledger, mut arrived) = (Balance::default(), BTreeMap::new());
    for row in read.rollup(&query).await? {
        let place =
            format!("project {project}, hour {}, partition {}, {}", hour(row.bucket_start), row.keys[0], row.keys[1]);
        ledger.expect(place, row.measures[0]);
        *arrived.entry(row.bucket_start).or_insert(0) += row.measures[0];
    }
    for (key, found) in scanned.ledger.iter().filter(|(key, _)| &*key.project == project) {
        let place = format!("project {project}, hour {}, partition {}, {}", hour(key.hour), key.partition, key.outcome);
        ledger.find(place, *found);
    }
    ledger.report("ledger and records", findings);

    let arrived = arrived.into_iter().map(|(at, events)| (at, vec![events])).collect();
    compare_grains(read, (&QUALITY, "ledger"), project, &arrived, findings).await?;
    compare_grains(read, (&USAGE, "events"), project, &of_project(&scanned.usage, project), findings).await?;
    for (rollup, slices) in [(&STREAM, &scanned.view_slices), (&RELEASE, &scanned.slices), (&LAYOUT, &scanned.slices)] {
        compare_grains(read, (rollup, "slices"), project, &of_project(slices, project), findings).await?;
    }
    Ok(())
}

/// Sums by hour: as many of the measures of a rollup, from the first on, as are compared.
type Hours = BTreeMap<Timestamp, Vec<i64>>;

fn of_project(sums: &HashMap<(Arc<str>, Timestamp), Vec<i64>>, project: &str) -> Hours {
    sums.iter().filter(|((of, _), _)| &**of == project).map(|((_, at), sums)| (*at, sums.clone())).collect()
}

/// Compares a rollup, summed over its keys, in each grain with sums by hour from another source.
async fn compare_grains(
    read: &mut Read,
    (rollup, source): (&'static Rollup, &str),
    project: &str,
    hours: &Hours,
    findings: &mut Vec<Finding>,
) -> Result<(), ReadError> {
    let all_time = (Timestamp::from_micros(0), Timestamp::MAX);
    let measures = hours.values().map(Vec::len).max().unwrap_or(1);
    for grain in rollup.grains {
        let bucket = grain.length().max(Grain::Hour.length());
        let word = if *grain == Grain::Day { "day" } else { "hour" };
        let mut balances: Vec<Balance> = (0..measures).map(|_| Balance::default()).collect();
        for (at, sums) in hours {
            let place = format!("project {project}, {word} {}", hour(at.floor(bucket)));
            for (balance, sum) in balances.iter_mut().zip(sums) {
                balance.expect(place.clone(), *sum);
            }
        }
        let query = RollupQuery::new(rollup, *grain, project, all_time);
        let add = |row: RollupRow| {
            let place = format!("project {project}, {word} {}", hour(row.bucket_start.floor(bucket)));
            for (balance, sum) in balances.iter_mut().zip(row.measures) {
                balance.find(place.clone(), sum);
            }
        };
        read.each_rollup_row(&query, add).await?;
        for (balance, measure) in balances.into_iter().zip(rollup.measures) {
            let compared = format!("{source} and rollup {} by {}, {}", rollup.name, grain.as_str(), measure.name);
            balance.report(&compared, findings);
        }
    }
    Ok(())
}

fn hour(at: Timestamp) -> String {
    at.to_chrono().format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Two sides by place.
#[derive(Debug, Default)]
struct Balance(BTreeMap<String, (i64, i64)>);

impl Balance {
    fn expect(&mut self, place: String, sum: i64) {
        self.0.entry(place).or_default().0 += sum;
    }

    fn find(&mut self, place: String, sum: i64) {
        self.0.entry(place).or_default().1 += sum;
    }

    fn report(self, compared: &str, findings: &mut Vec<Finding>) {
        let differing = self.0.into_iter().filter(|(_, (expected, found))| expected != found);
        findings.extend(differing.map(|(place, (expected, found))| Finding {
            compared: compared.to_owned(),
            place,
            expected,
            found,
        }));
    }
}

/// A line of the ledger as the records have it.
#[derive(Debug, PartialEq, Eq, Hash)]
struct LedgerKey {
    project: Arc<str>,
    hour: Timestamp,
    partition: i32,
    outcome: &'static str,
}

/// What the files hold.
#[derive(Debug, Default)]
struct Scanned {
    files: u64,
    records: u64,
    events: u64,
    findings: Vec<Finding>,
    ledger: HashMap<LedgerKey, i64>,
    usage: HashMap<(Arc<str>, Timestamp), Vec<i64>>,
    slices: HashMap<(Arc<str>, Timestamp), Vec<i64>>,
    view_slices: HashMap<(Arc<str>, Timestamp), Vec<i64>>,
    /// Rows that a record says to have, less those that were seen: stored and quarantined, by address.
    owed: HashMap<(i32, i64), [i64; 2]>,
    names: HashSet<Arc<str>>,
}

const OUTCOMES: [&str; 4] = ["stored", "duplicate", "quarantined", "suppressed"];

impl Scanned {
    fn of(lake: &Lake, snapshot: &Snapshot) -> Self {
        let mut scanned = Self::default();
        let records = ["log_partition", "log_position", "received_at", "project", "events"];
        let records: Vec<&str> = records.into_iter().chain(OUTCOMES).collect();
        scanned.each(lake, snapshot, &RECORDS, &records, Self::take_records);
        let events = ["project", "corrected_at", "log_partition", "log_position"];
        scanned.each(lake, snapshot, &EVENTS, &events, Self::take_events);
        let quarantine = ["log_partition", "log_position"];
        scanned.each(lake, snapshot, &QUARANTINE, &quarantine, |scanned, rows| scanned.take_addresses(rows, 1));
        let slices = ["project", "view_id", "bucket_start"];
        let slices: Vec<&str> = slices.into_iter().chain(MEASURES.iter().map(|measure| measure.name)).collect();
        scanned.each(lake, snapshot, &SLICES, &slices, Self::take_slices);
        scanned.report_owed();
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
            let read = scan_parquet(lake, table, &file.path, columns, 8192).and_then(|mut batches| {
                batches.try_for_each(|batch| {
                    let batch = batch?;
                    rows += i64::try_from(batch.num_rows()).unwrap_or(i64::MAX);
                    take(self, &batch);
                    Ok(())
                })
            });
            self.check_file(file, read, rows);
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
            let project = self.name(projects.value(row));
            let hour = Timestamp::from_micros(received.value(row)).floor(Grain::Hour.length());
            for (outcome, count) in OUTCOMES.into_iter().zip(counts).filter(|(_, count)| *count != 0) {
                let key = LedgerKey { project: Arc::clone(&project), hour, partition, outcome };
                *self.ledger.entry(key).or_default() += count;
            }
            let owed = self.owed.entry((partition, position)).or_default();
            owed[0] += counts[0];
            owed[1] += counts[2];
        }
    }

    fn take_events(&mut self, rows: &RecordBatch) {
        self.events += rows.num_rows() as u64;
        self.take_addresses(rows, 0);
        let (projects, corrected) = (texts(rows, "project"), times(rows, "corrected_at"));
        for row in 0..rows.num_rows() {
            let hour = Timestamp::from_micros(corrected.value(row)).floor(Grain::Hour.length());
            let project = self.name(projects.value(row));
            self.usage.entry((project, hour)).or_insert_with(|| vec![0])[0] += 1;
        }
    }

    /// Rows with the address of a record, of its stored (0) or its quarantined (1) events.
    fn take_addresses(&mut self, rows: &RecordBatch, which: usize) {
        let partitions = column(rows, "log_partition").as_primitive::<Int32Type>();
        let positions = positions(rows);
        for row in 0..rows.num_rows() {
            self.owed.entry((partitions.value(row), positions.value(row))).or_default()[which] -= 1;
        }
    }

    fn take_slices(&mut self, rows: &RecordBatch) {
        let (projects, views) = (texts(rows, "project"), texts(rows, "view_id"));
        let starts = times(rows, "bucket_start");
        let measures: Vec<_> =
            MEASURES.iter().map(|measure| column(rows, measure.name).as_primitive::<Int64Type>()).collect();
        for row in 0..rows.num_rows() {
            let hour = Timestamp::from_micros(starts.value(row)).floor(Grain::Hour.length());
            let key = (self.name(projects.value(row)), hour);
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

    /// Records that have other rows than they say, and rows without a record.
    fn report_owed(&mut self) {
        let mut differing: Vec<_> =
            std::mem::take(&mut self.owed).into_iter().filter(|(_, owed)| *owed != [0, 0]).collect();
        differing.sort_unstable();
        for ((partition, position), owed) in differing {
            for (table, owed) in ["events", "quarantine"].into_iter().zip(owed).filter(|(_, owed)| *owed != 0) {
                self.findings.push(Finding {
                    compared: format!("records and rows of {table}"),
                    place: format!("partition {partition}, position {position}"),
                    expected: owed.max(0),
                    found: (-owed).max(0),
                });
            }
        }
    }
}

/// A column that the scan was asked for.
fn column<'a>(rows: &'a RecordBatch, name: &str) -> &'a ArrayRef {
    rows.column_by_name(name).expect("it was asked for")
}

fn positions(rows: &RecordBatch) -> &Int64Array {
    column(rows, "log_position").as_primitive::<Int64Type>()
}

fn times<'a>(rows: &'a RecordBatch, name: &str) -> &'a TimestampMicrosecondArray {
    column(rows, name).as_primitive::<TimestampMicrosecondType>()
}

fn texts<'a>(rows: &'a RecordBatch, name: &str) -> &'a StringArray {
    column(rows, name).as_string::<i32>()
}
