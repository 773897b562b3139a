//! The audit: every sum that must agree, compared place by place, at one commit.
//!
//! | one side | other side | place |
//! |---|---|---|
//! | listed rows of a file | rows read from it | file |
//! | listed runs of keys | files that are there | file |
//! | `events` of a record | its outcomes added up | address (partition, position) |
//! | `stored`, `quarantined` of a record | rows of `events`, `quarantine` with its address | address |
//! | ledger, by outcome | records | project, hour of arrival, partition |
//! | ledger, `stored` and `quarantined` | rows of `events`, `quarantine` | project, hour of arrival, partition |
//! | rollup `quality` | ledger | project, hour of arrival |
//! | rollup `usage` | rows of `events` | project, hour of corrected time |
//! | rollups `stream`, `release`, `layout`, each measure | `slices` | project, hour |
//! | rows of `views` | `views_ended` of `slices` | project, hour of the end |
//! | rollup `error` | rows of `events` that are errors | project, hour of corrected time |
//! | bins of rollup `layout`, and of what views alone tell of `stream` | bins of rollup `release` | project, hour, bin |
//! | bins of rollup `release` for startups, latencies and tiles, added up | `slices` | project, hour |
//! | bins of rollup `release` for app sessions | rows of `app_sessions` | project, hour, bin |
//!
//! Rollups are compared in each of their grains, so that a row that is missing in one of them is found too.
//!
//! What retention took away is no finding: sides are compared from the day on from which both are kept, and where the
//! ledger says that events of an hour and partition were erased, their records may have as many rows less.

mod bins;
mod owed;
mod scanned;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use schemas::fold::measures::Measure;
use schemas::rollups::{ERROR, Grain, LAYOUT, LEDGER, QUALITY, RELEASE, Rollup, STREAM, USAGE};
use schemas::{Outcome, Timestamp};
use serde::Serialize;

use crate::commit::CommitId;
use crate::cuts::Cuts;
use crate::database::sql;
use crate::lake::Lake;
use crate::open::Warehouse;
use crate::read::{Read, ReadError};
use crate::retention::Kept;
use crate::rollup_store::{RollupQuery, RollupRow};
use bins::audit_bins;
use owed::MOST_RECORDS;
use scanned::{LedgerKey, Place, ROWS, Scanned};

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
    /// Compares all of it. Reads every live file of the lake, a few columns of each (of `records` not the bodies); of `records`, `events` and `quarantine` the addresses again for each further
    /// 2^20 records. Holds about 70 bytes for each of so many records at most, the bins of one day, and sums by
    /// project, hour, partition and measure.
    ///
    /// # Errors
    ///
    /// [`ReadError`], if the database cannot be read. A file that cannot be read is a finding.
    pub async fn audit(&self) -> Result<Audit, ReadError> {
        self.audit_by(MOST_RECORDS).await
    }

    /// The same with the addresses of so many records in memory.
    pub(crate) async fn audit_by(&self, most_records: usize) -> Result<Audit, ReadError> {
        let mut read = self.read().await?;
        read.transaction.take_its_time().await?;
        let snapshot = read.snapshot().await?;
        let key_runs = key_runs(&mut read).await?;
        let cuts = read.cuts().await?;
        let mut projects: BTreeSet<String> = read.projects().await?.into_iter().collect();
        projects.insert(String::new());
        let erased = erased(&mut read, &projects).await?;
        let lake = self.lake().clone();
        let scanning = tokio::task::spawn_blocking(move || {
            // At once: what is merged away meanwhile goes after a grace.
            let missing = missing(&lake, &key_runs);
            let mut scanned = Scanned::of(&lake, &snapshot, erased, most_records);
            scanned.findings.extend(missing);
            scanned
        });
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

/// Files that tell which events are copies.
async fn key_runs(read: &mut Read) -> Result<Vec<String>, ReadError> {
    let rows = sql("SELECT DISTINCT path FROM id_run ORDER BY path").rows(&mut read.transaction).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Those of these files that are not there.
fn missing(lake: &Lake, paths: &[String]) -> Vec<Finding> {
    let finding = |path: &String| {
        let compared = match lake.exists(path) {
            Ok(true) => return None,
            Ok(false) => "listed runs of keys and files".to_owned(),
            Err(error) => format!("listed runs of keys and files, one of which cannot be asked for ({error})"),
        };
        Some(Finding { compared, place: format!("file {path}"), expected: 1, found: 0 })
    };
    paths.iter().filter_map(finding).collect()
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
    audit_views(cuts, scanned, project, findings);
    let errors = of_project(&scanned.errors, project);
    compare_grains(read, &compared(&ERROR, "events", Some(Kept::Events)), &errors, findings).await?;
    audit_bins(read, cuts, scanned, project, findings).await
}

/// No view goes on for so long. Those that retention has taken away began before its cut, and ended within this.
const LONGEST_VIEW: Duration = Duration::from_secs(31 * 86_400);

/// Compares views that are over with what slices say of them.
fn audit_views(cuts: &Cuts, scanned: &Scanned, project: &str, findings: &mut Vec<Finding>) {
    let facts_from = cuts.kept_from(project, Kept::Facts);
    let facts_from = if facts_from == Timestamp::default() { facts_from } else { facts_from + LONGEST_VIEW };
    let from = facts_from.max(cuts.kept_from(project, Kept::Slices));
    let mut balance = Balance::default();
    let place = |at: Timestamp| format!("project {project}, hour {}", hour(at));
    for (at, views) in of_project(&scanned.views, project).range(from..) {
        balance.expect(place(*at), views[0]);
    }
    for (at, sums) in of_project(&scanned.view_slices, project).range(from..) {
        balance.find(place(*at), sums[Measure::ViewsEnded as usize]);
    }
    balance.report("views and slices, views_ended", findings);
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
