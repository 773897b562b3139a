//! The audit: every sum that must agree, compared place by place, at one commit.
//!
//! | one side | other side | place |
//! |---|---|---|
//! | listed rows of a file | rows read from it | file |
//! | `events` of a record | its outcomes added up | address (partition, position) |
//! | `stored`, `quarantined` of a record | rows of `events`, `quarantine` with its address | address |
//! | ledger, by outcome | records | project, hour of arrival, partition |
//! | ledger, `stored` and `quarantined` | rows of `events`, `quarantine` | project, hour of arrival, partition |
//! | rollup `quality` | ledger | project, hour of arrival |
//! | rollup `usage` | rows of `events` | project, hour of corrected time |
//! | rollups `stream`, `release`, `layout`, each measure | `slices` | project, hour |
//!
//! Rollups are compared in each of their grains, so that a row that is missing in one of them is found too. What nothing
//! else holds cannot be compared: the distributions of rollups, and errors.
//!
//! What retention took away is no finding: sides are compared from the day on from which both are kept, and where the
//! ledger says that events of an hour and partition were erased, their records may have as many rows less.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use schemas::fold::measures::MEASURES;
use schemas::rollups::{Grain, LAYOUT, LEDGER, QUALITY, RELEASE, Rollup, STREAM, USAGE};
use schemas::{Outcome, Timestamp};
use serde::Serialize;

use crate::commit::CommitId;
use crate::cuts::Cuts;
use crate::lake::{Lake, ScanError, scan_parquet};
use crate::open::Warehouse;
use crate::read::{DataFile, Read, ReadError, Snapshot};
use crate::retention::Kept;
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
        let cuts = read.cuts().await?;
        let mut projects: BTreeSet<String> = read.projects().await?.into_iter().collect();
        projects.insert(String::new());
        let erased = erased(&mut read, &projects).await?;
        let lake = self.lake().clone();
        let scanning = tokio::task::spawn_blocking(move || Scanned::of(&lake, &snapshot, erased));
        let mut scanned = scanning.await.map_err(|panic| sqlx::Error::Io(std::io::Error::other(panic)))?;
        let mut audit = Audit {
            commit: read.commit(),
            files: scanned.files,
            records: scanned.records,
            events: scanned.events,
            findings: std::mem::take(&mut scanned.findings),
        };
        projects.extend(scanned.ledger.keys().chain(scanned.rows.keys()).map(|key| key.place.project.to_string()));
        for project in &projects {
            audit_project(&mut read, &cuts, &scanned, project, &mut audit.findings).await?;
        }
        Ok(audit)
    }
}

/// Where the ledger says that events were erased, and how many.
async fn erased(read: &mut Read, projects: &BTreeSet<String>) -> Result<HashMap<Place, i64>, ReadError> {
    let mut erased = HashMap::new();
    for project in projects {
        let name: Arc<str> = project.as_str().into();
        let mut query = RollupQuery::new(&LEDGER, Grain::Hour, project, ALL_TIME);
        query.group_by = vec!["log_partition"];
        query.only = vec![("outcome", vec![Outcome::Erased.as_str().to_owned()])];
        for row in read.rollup(&query).await? {
            let partition = row.keys[0].parse().unwrap_or(-1);
            erased.insert(Place { project: Arc::clone(&name), hour: row.bucket_start, partition }, row.measures[0]);
        }
    }
    Ok(erased)
}

const ALL_TIME: (Timestamp, Timestamp) = (Timestamp::from_micros(0), Timestamp::MAX);

/// Compares the database's sums of one project with what its files hold.
async fn audit_project(
    read: &mut Read,
    cuts: &Cuts,
    scanned: &Scanned,
    project: &str,
    findings: &mut Vec<Finding>,
) -> Result<(), ReadError> {
    let arrived = audit_books(read, cuts, scanned, project, findings).await?;
    let compared = |rollup, source, kept: Option<Kept>| Compared {
        rollup,
        source,
        project,
        cuts,
        from: kept.map_or_else(Timestamp::default, |kept| cuts.kept_from(project, kept)),
    };
    compare_grains(read, &compared(&QUALITY, "ledger", None), &arrived, findings).await?;
    let usage = of_project(&scanned.usage, project);
    compare_grains(read, &compared(&USAGE, "events", Some(Kept::Events)), &usage, findings).await?;
    for (rollup, slices) in [(&STREAM, &scanned.view_slices), (&RELEASE, &scanned.slices), (&LAYOUT, &scanned.slices)] {
        let slices = of_project(slices, project);
        compare_grains(read, &compared(rollup, "slices", Some(Kept::Slices)), &slices, findings).await?;
    }
    Ok(())
}

/// Compares the ledger with records and rows; returns how many events arrived, by hour.
async fn audit_books(
    read: &mut Read,
    cuts: &Cuts,
    scanned: &Scanned,
    project: &str,
    findings: &mut Vec<Finding>,
) -> Result<Hours, ReadError> {
    let mut query = RollupQuery::new(&LEDGER, Grain::Hour, project, ALL_TIME);
    query.group_by = vec!["log_partition", "outcome"];
    let (mut records, mut rows, mut arrived) = (Balance::default(), Balance::default(), Hours::new());
    let records_from = cuts.kept_from(project, Kept::Records);
    for row in read.rollup(&query).await? {
        let events = row.measures[0];
        arrived.entry(row.bucket_start).or_insert_with(|| vec![0])[0] += events;
        let place =
            Place { project: project.into(), hour: row.bucket_start, partition: row.keys[0].parse().unwrap_or(-1) };
        if row.bucket_start >= records_from {
            records.expect(scanned.line(&place, &row.keys[1]), events);
        }
        if ROWS.contains(&&*row.keys[1]) {
            rows.expect(place.line(&row.keys[1]), events);
        }
    }
    let of_project = |(key, _): &(&LedgerKey, &i64)| &*key.place.project == project;
    for (key, found) in scanned.ledger.iter().filter(of_project).filter(|(key, _)| key.place.hour >= records_from) {
        records.find(scanned.line(&key.place, key.outcome), *found);
    }
    for (key, found) in scanned.rows.iter().filter(of_project) {
        rows.find(key.place.line(key.outcome), *found);
    }
    records.report("ledger and records", findings);
    rows.report("ledger and rows", findings);
    Ok(arrived)
}

/// Sums by hour: as many of the measures of a rollup, from the first on, as are compared.
type Hours = BTreeMap<Timestamp, Vec<i64>>;

fn of_project(sums: &HashMap<(Arc<str>, Timestamp), Vec<i64>>, project: &str) -> Hours {
    sums.iter().filter(|((of, _), _)| &**of == project).map(|((_, at), sums)| (*at, sums.clone())).collect()
}

/// A rollup and what its sums are compared with.
struct Compared<'a> {
    rollup: &'static Rollup,
    source: &'a str,
    project: &'a str,
    cuts: &'a Cuts,
    /// From when on the source is whole.
    from: Timestamp,
}

/// Compares a rollup, summed over its keys, in each grain with sums by hour from another source.
async fn compare_grains(
    read: &mut Read,
    compared: &Compared<'_>,
    hours: &Hours,
    findings: &mut Vec<Finding>,
) -> Result<(), ReadError> {
    let Compared { rollup, source, project, cuts, .. } = compared;
    let measures = hours.values().map(Vec::len).max().unwrap_or(1);
    for grain in rollup.grains {
        let from = compared.from.max(cuts.kept_from(project, Kept::of_grain(*grain)));
        let bucket = grain.length().max(Grain::Hour.length());
        let word = if *grain == Grain::Day { "day" } else { "hour" };
        let mut balances: Vec<Balance> = (0..measures).map(|_| Balance::default()).collect();
        for (at, sums) in hours.range(from..) {
            let place = format!("project {project}, {word} {}", hour(at.floor(bucket)));
            for (balance, sum) in balances.iter_mut().zip(sums) {
                balance.expect(place.clone(), *sum);
            }
        }
        let query = RollupQuery::new(rollup, *grain, project, (from, Timestamp::MAX));
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

/// Where events arrived.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Place {
    project: Arc<str>,
    hour: Timestamp,
    partition: i32,
}

impl Place {
    fn line(&self, outcome: &str) -> String {
        let Self { project, hour: at, partition } = self;
        format!("project {project}, hour {}, partition {partition}, {outcome}", hour(*at))
    }
}

/// A line of the ledger as the files have it.
#[derive(Debug, PartialEq, Eq, Hash)]
struct LedgerKey {
    place: Place,
    outcome: &'static str,
}

/// A record's rows that were not seen yet: stored and quarantined.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Owed {
    rows: [i64; 2],
    /// Whether retention took rows away where the record arrived.
    may_lack: bool,
}

/// What the files hold.
#[derive(Debug, Default)]
struct Scanned {
    files: u64,
    records: u64,
    events: u64,
    findings: Vec<Finding>,
    /// Outcomes as the records have them.
    ledger: HashMap<LedgerKey, i64>,
    /// Rows of `events` and `quarantine`.
    rows: HashMap<LedgerKey, i64>,
    /// What the ledger says was erased.
    erased: HashMap<Place, i64>,
    usage: HashMap<(Arc<str>, Timestamp), Vec<i64>>,
    slices: HashMap<(Arc<str>, Timestamp), Vec<i64>>,
    view_slices: HashMap<(Arc<str>, Timestamp), Vec<i64>>,
    /// Rows that a record says to have, less those that were seen, by address.
    owed: HashMap<(i32, i64), Owed>,
    names: HashSet<Arc<str>>,
}

const OUTCOMES: [&str; 4] = ["stored", "duplicate", "quarantined", "suppressed"];
/// Outcomes with a row for each event.
const ROWS: [&str; 2] = ["stored", "quarantined"];

impl Scanned {
    fn of(lake: &Lake, snapshot: &Snapshot, erased: HashMap<Place, i64>) -> Self {
        let mut scanned = Self { erased, ..Self::default() };
        let records = ["log_partition", "log_position", "received_at", "project", "events"];
        let records: Vec<&str> = records.into_iter().chain(OUTCOMES).collect();
        scanned.each(lake, snapshot, &RECORDS, &records, Self::take_records);
        let events = ["project", "corrected_at", "received_at", "log_partition", "log_position"];
        scanned.each(lake, snapshot, &EVENTS, &events, Self::take_events);
        let quarantine = ["project", "received_at", "log_partition", "log_position"];
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
            let place = self.place(projects.value(row), received.value(row), partition);
            let owed = self.owed.entry((partition, position)).or_default();
            owed.rows[0] += counts[0];
            owed.rows[1] += counts[2];
            owed.may_lack = self.erased.contains_key(&place);
            for (outcome, count) in OUTCOMES.into_iter().zip(counts).filter(|(_, count)| *count != 0) {
                *self.ledger.entry(LedgerKey { place: place.clone(), outcome }).or_default() += count;
            }
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

    fn place(&mut self, project: &str, received_us: i64, partition: i32) -> Place {
        let hour = Timestamp::from_micros(received_us).floor(Grain::Hour.length());
        Place { project: self.name(project), hour, partition }
    }

    /// Under which line an outcome is compared with the records, which do not know what was erased later.
    fn line(&self, place: &Place, outcome: &str) -> String {
        let may_be_erased = ROWS.contains(&outcome) || outcome == Outcome::Erased.as_str();
        if may_be_erased && self.erased.contains_key(place) {
            return place.line("stored, quarantined or erased");
        }
        place.line(outcome)
    }

    /// Rows with the address of a record, of its stored (0) or its quarantined (1) events.
    fn take_addresses(&mut self, rows: &RecordBatch, which: usize) {
        let partitions = column(rows, "log_partition").as_primitive::<Int32Type>();
        let (positions, received, projects) = (positions(rows), times(rows, "received_at"), texts(rows, "project"));
        for row in 0..rows.num_rows() {
            let partition = partitions.value(row);
            self.owed.entry((partition, positions.value(row))).or_default().rows[which] -= 1;
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
            std::mem::take(&mut self.owed).into_iter().filter(|(_, owed)| owed.rows != [0, 0]).collect();
        differing.sort_unstable();
        for ((partition, position), Owed { rows, may_lack }) in differing {
            // How many they lack where some were erased is compared by hour.
            let differs = |(_, owed): &(&str, i64)| *owed < 0 || (*owed > 0 && !may_lack);
            for (table, owed) in ["events", "quarantine"].into_iter().zip(rows).filter(differs) {
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
