//! Retention: what goes, what stays, and books that balance meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::compute::concat_batches;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use schemas::Timestamp;
use schemas::rollups::{Grain, LEDGER, QUALITY, USAGE};

use super::conformance::{DAY, Setup, TOPIC, at, batch_of};
use super::place::Place;
use crate::tables::{EVENTS, LakeTable, QUARANTINE, RECORDS, VIEWS};
use crate::{
    Advance, Commit, CommitId, Delta, DeltaRow, FileName, Kept, Lake, Lane, MergePolicy, NewFile, Origin, ReadError,
    Retained, Retention, RetentionPolicy, RollupQuery, encode_parquet, scan_parquet,
};

/// Midnight of a day, counted from one far in the past.
fn day(number: u32) -> Timestamp {
    at(0).floor(DAY) + DAY * number
}

/// Some events of one record: their project, when they happened, and how many of them are bad and how many good.
#[derive(Debug, Clone, Copy)]
struct Upload {
    project: &'static str,
    happened: Timestamp,
    arrived: Timestamp,
    stored: i32,
    quarantined: i32,
}

fn upload(project: &'static str, happened: Timestamp, stored: i32, quarantined: i32) -> Upload {
    Upload { project, happened, arrived: happened + Duration::from_secs(90), stored, quarantined }
}

/// Rows that differ from those of [`batch_of`] in these columns.
fn rows(table: &LakeTable, count: i32, columns: &[(&str, ArrayRef)]) -> RecordBatch {
    let all = batch_of(table, i64::from(count), at(0));
    let column = |(idx, old): (usize, &ArrayRef)| {
        let new = columns.iter().find(|(name, _)| *name == table.columns[idx].name);
        new.map_or_else(|| Arc::clone(old), |(_, new)| Arc::clone(new))
    };
    RecordBatch::try_new(table.schema(), all.columns().iter().enumerate().map(column).collect()).unwrap()
}

fn text(value: &str, count: i32) -> ArrayRef {
    Arc::new(StringArray::from_iter_values((0..count).map(|_| value)))
}

fn time(value: Timestamp, count: i32) -> ArrayRef {
    let values = (0..i64::from(count)).map(|row| value.micros() + row);
    Arc::new(TimestampMicrosecondArray::from_iter_values(values).with_timezone("UTC"))
}

fn number(value: i32, count: i32) -> ArrayRef {
    Arc::new(Int32Array::from_iter_values((0..count).map(|_| value)))
}

fn position(value: usize, count: i32) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values((0..count).map(|_| i64::try_from(value).unwrap())))
}

impl Upload {
    /// Its rows, as the record at this position of partition 0.
    fn rows(&self, at: usize) -> [(&'static LakeTable, RecordBatch); 3] {
        let Self { project, happened, arrived, stored, quarantined } = *self;
        let of = |table: &'static LakeTable, count: i32, columns: &[(&str, ArrayRef)]| {
            let (project, received, position) = (text(project, count), time(arrived, count), position(at, count));
            let mut all = vec![
                ("project", project),
                ("received_at", received),
                ("log_position", position),
                ("format", text("native", count)),
            ];
            all.extend(columns.iter().cloned());
            (table, rows(table, count, &all))
        };
        let kind = |count| ("type", text("layout.saved", count));
        let counts = [("events", stored + quarantined), ("stored", stored), ("quarantined", quarantined)];
        let mut record: Vec<(&str, ArrayRef)> = counts.map(|(name, count)| (name, number(count, 1))).into();
        record.push(("log_time", time(arrived, 1)));
        [
            of(&EVENTS, stored, &[kind(stored), ("corrected_at", time(happened, stored))]),
            of(&QUARANTINE, quarantined, &[kind(quarantined), ("reason", text("invalid_json", quarantined))]),
            of(&RECORDS, 1, &record),
        ]
    }

    fn deltas(&self) -> Vec<Delta> {
        let row = |bucket: Timestamp, grain: Grain, keys: &[&str], measures: &[i64]| DeltaRow {
            project: self.project.into(),
            bucket: bucket.floor(grain.length()),
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            measures: measures.to_vec(),
            bins: Vec::new(),
        };
        let lines = [(self.stored, "stored", ""), (self.quarantined, "quarantined", "invalid_json")];
        let (mut ledger, mut quality) = (Vec::new(), Vec::new());
        for (count, outcome, reason) in lines.into_iter().filter(|(count, ..)| *count > 0) {
            let keys = ["native", "layout.saved", outcome, reason];
            let of_partition = ["0", keys[0], keys[1], keys[2], keys[3]];
            ledger.push(row(self.arrived, Grain::Hour, &of_partition, &[count.into()]));
            quality.push(row(self.arrived, Grain::Minute, &keys, &[count.into(), 0, 0, 0]));
        }
        let usage = vec![row(self.happened, Grain::Minute, &["layout.saved", ""], &[self.stored.into(), 0])];
        vec![
            Delta { rollup: &LEDGER, rows: ledger },
            Delta { rollup: &QUALITY, rows: quality },
            Delta { rollup: &USAGE, rows: usage },
        ]
    }
}

impl Setup {
    /// The commit of some uploads, one file for each table that they have rows of, at this position of partition 0; with it
    /// everything is in through `log_time`.
    fn uploads(&self, from: usize, uploads: &[Upload], log_time: Timestamp) -> Commit {
        let mut files = Vec::new();
        let rows: Vec<_> = uploads.iter().zip(from..).flat_map(|(upload, at)| upload.rows(at)).collect();
        for table in [&EVENTS, &QUARANTINE, &RECORDS] {
            let of_table: Vec<&RecordBatch> = rows
                .iter()
                .filter(|(of, rows)| of.id == table.id && rows.num_rows() > 0)
                .map(|(_, rows)| rows)
                .collect();
            if of_table.is_empty() {
                continue;
            }
            let origin = Origin::Commit { partition: 0, from: from as u64 };
            let path = FileName::new(origin, log_time).path("parquet");
            let encoded = encode_parquet(table, of_table).unwrap();
            self.warehouse.lake().write(&Lake::table_path(table, &path), &encoded.bytes).unwrap();
            files.push(NewFile { table_id: table.id, path, encoded });
        }
        let to = (from + uploads.len()) as u64;
        let advance =
            |log_partition, from, to| Advance { topic: TOPIC, log_partition, from, to, log_time, pauses: 0, events: 1 };
        Commit {
            lane: Lane::Events,
            now: log_time,
            advances: vec![advance(0, from as u64, to), advance(1, from as u64, to)],
            files,
            replaced_files: Vec::new(),
            deltas: uploads.iter().flat_map(Upload::deltas).collect(),
            id_runs: Vec::new(),
            state_files: Vec::new(),
        }
    }

    async fn arrive(&self, from: usize, uploads: &[Upload], log_time: Timestamp) -> CommitId {
        self.warehouse.commit(&self.uploads(from, uploads, log_time)).await.unwrap().id
    }

    /// Everything a table holds at a commit, row by row, as text.
    async fn all_rows(&self, table: &'static LakeTable, commit: Option<CommitId>) -> Result<Vec<String>, ReadError> {
        let mut read = self.warehouse.read().await.unwrap();
        let snapshot = match commit {
            Some(commit) => read.snapshot_at(commit).await?,
            None => read.snapshot().await?,
        };
        let mut lines = Vec::new();
        for file in snapshot.files(table).iter() {
            for batch in scan_parquet(self.warehouse.lake(), table, &file.path, &[], 1024).unwrap() {
                let batch = batch.unwrap();
                let options = FormatOptions::default();
                let columns: Vec<_> =
                    batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
                let line = |row| columns.iter().map(|column| format!("| {} ", column.value(row))).collect::<String>();
                lines.extend((0..batch.num_rows()).map(line));
            }
        }
        lines.sort_unstable();
        Ok(lines)
    }

    /// The ledger of a project, by outcome.
    async fn outcomes(&self, project: &str) -> BTreeMap<String, i64> {
        let mut query = RollupQuery::new(&LEDGER, Grain::Hour, project, (Timestamp::MIN, Timestamp::MAX));
        query.group_by = vec!["outcome"];
        let mut outcomes = BTreeMap::new();
        for row in self.warehouse.read().await.unwrap().rollup(&query).await.unwrap() {
            *outcomes.entry(row.keys[0].clone()).or_default() += row.measures[0];
        }
        outcomes
    }

    async fn assert_books_balance(&self) {
        let books = self.warehouse.read().await.unwrap().books().await.unwrap();
        assert_eq!(books.unaccounted(), 0, "{books:?}");
        let audit = self.warehouse.audit().await.unwrap();
        assert_eq!(audit.findings, []);
    }
}

fn policy(of: &[(&str, Kept, u32)]) -> RetentionPolicy {
    let mut policy = RetentionPolicy::default();
    for (project, kept, days) in of {
        policy.projects.entry((*project).into()).or_insert_with(Retention::default).set(*kept, Some(*days));
    }
    policy
}

/// Rows and files that went, of tables where some did.
fn gone(retained: &Retained) -> Vec<(&'static str, u64, u64)> {
    let tables = retained.tables.iter().map(|table| (table.table, table.rows, table.files));
    tables.filter(|(_, _, files)| *files > 0).collect()
}

fn outcomes(of: &[(&str, i64)]) -> BTreeMap<String, i64> {
    of.iter().map(|(outcome, events)| ((*outcome).to_owned(), *events)).collect()
}

async fn with_projects(place: Place) -> Setup {
    let setup = Setup::new(place).await;
    for project in ["p", "q"] {
        setup.warehouse.create_project(project, false, at(0)).await.unwrap();
    }
    setup
}

pub(crate) async fn what_is_past_its_retention_goes_and_nothing_else_does(place: Place) {
    let setup = with_projects(place).await;
    let noon = Duration::from_secs(43_200);
    // Old ones of two projects beside young ones in one file, then old ones alone.
    let mixed = [upload("p", day(1) + noon, 3, 1), upload("p", day(28), 2, 0), upload("q", day(1) + noon, 4, 2)];
    setup.arrive(0, &mixed, day(28) + noon).await;
    let before = setup.arrive(3, &[upload("p", day(2), 5, 0)], day(30) + noon).await;
    let old_rows = setup.all_rows(&EVENTS, None).await.unwrap();
    let quarantine = setup.all_rows(&QUARANTINE, None).await.unwrap();
    let records = setup.all_rows(&RECORDS, None).await.unwrap();
    setup.assert_books_balance().await;

    // Nothing said, nothing gone; and a clock that is ahead of the log takes nothing away.
    let none = setup.warehouse.retain(day(30) + noon, &RetentionPolicy::default()).await.unwrap();
    assert_eq!((gone(&none), none.rollup_rows), (Vec::new(), 0));
    let forty = policy(&[("p", Kept::Events, 40), ("p", Kept::Quarantine, 40)]);
    assert_eq!(gone(&setup.warehouse.retain(day(900), &forty).await.unwrap()), []);

    let ten = policy(&[("p", Kept::Events, 10), ("p", Kept::Quarantine, 20)]);
    let retained = setup.warehouse.retain(day(30) + noon, &ten).await.unwrap();
    assert_eq!(gone(&retained), [("events", 8, 2), ("quarantine", 1, 1)]);
    assert_eq!(retained.tables[0].oldest, Some(day(1) + noon), "of project q");
    assert_eq!(retained.erased(), 9);
    let is_kept = |row: &&String| !row.contains("| p ") || row.contains(&day(28).to_sql()[..10]);
    let kept: Vec<String> = old_rows.iter().filter(is_kept).cloned().collect();
    assert_eq!(kept.len(), 6);
    assert_eq!(setup.all_rows(&EVENTS, None).await.unwrap(), kept, "bit for bit");
    assert_eq!(setup.all_rows(&QUARANTINE, None).await.unwrap().len(), quarantine.len() - 1);
    assert_eq!(setup.all_rows(&RECORDS, None).await.unwrap(), records);
    assert_eq!(setup.outcomes("p").await, outcomes(&[("erased", 9), ("stored", 2)]));
    assert_eq!(setup.outcomes("q").await, outcomes(&[("quarantined", 2), ("stored", 4)]));
    setup.assert_books_balance().await;
    // Folding deltas changes none of it.
    setup.warehouse.merge_rollups(day(40), Duration::ZERO).await.unwrap();
    setup.assert_books_balance().await;

    // As of before they are there, until that commit has expired; then their files go.
    assert_eq!(setup.all_rows(&EVENTS, Some(before)).await.unwrap(), old_rows);
    assert_eq!(gone(&setup.warehouse.retain(day(30) + noon, &ten).await.unwrap()), [], "once a day");
    let hour = Duration::from_secs(3600);
    let files = setup.warehouse.lake().list().unwrap().len();
    assert_eq!(setup.warehouse.expire(day(40), DAY, hour).await.unwrap().scheduled, 3);
    assert_eq!(setup.warehouse.expire(day(40) + hour * 2, DAY, hour).await.unwrap().deleted, 3);
    assert_eq!(setup.warehouse.lake().list().unwrap().len(), files - 3);
    assert!(matches!(setup.all_rows(&EVENTS, Some(before)).await, Err(ReadError::NoSuchCommit { .. })));
    setup.assert_books_balance().await;

    // A longer retention brings nothing back, and does not forget what is gone.
    let long = policy(&[("p", Kept::Events, 60), ("p", Kept::Quarantine, 60)]);
    assert_eq!(gone(&setup.warehouse.retain(day(31), &long).await.unwrap()), []);
    setup.assert_books_balance().await;
}

pub(crate) async fn an_audit_after_retention_still_names_what_was_removed_behind_its_back(place: Place) {
    let setup = with_projects(place).await;
    let noon = Duration::from_secs(43_200);
    // Of one hour and partition: some of it goes, some of it stays.
    let late = Upload { arrived: day(20) + noon, ..upload("p", day(1), 3, 0) };
    let uploads = [late, Upload { arrived: late.arrived, ..upload("p", day(20), 4, 1) }];
    setup.arrive(0, &uploads, day(21)).await;
    setup.arrive(2, &[upload("q", day(20), 2, 0)], day(22)).await;
    let retained = setup.warehouse.retain(day(22), &policy(&[("p", Kept::Events, 10)])).await.unwrap();
    assert_eq!(gone(&retained), [("events", 3, 1)]);
    setup.assert_books_balance().await;

    let of_p = format!(
        "SELECT max(data_file_id) FROM ducklake_data_file WHERE table_id = {} AND end_snapshot IS NULL",
        EVENTS.id
    );
    let file: i64 = setup.ask(of_p).await.get(0);
    setup
        .tamper(format!("UPDATE ducklake_data_file SET end_snapshot = begin_snapshot WHERE data_file_id = {file}"))
        .await;
    let setup = setup.reopened().await;
    let audit = setup.warehouse.audit().await.unwrap();
    // With few addresses at a time it finds the same.
    assert_eq!(setup.warehouse.audit_by(1).await.unwrap(), audit);
    let findings = audit.findings;
    let hour = (day(20) + noon).to_chrono().format("%Y-%m-%dT%H:00:00Z");
    let named = findings.iter().find(|finding| finding.compared == "ledger and rows").unwrap();
    assert_eq!(named.place, format!("project p, hour {hour}, partition 0, stored"));
    assert_eq!((named.expected, named.found), (4, 0));
    assert_eq!(setup.warehouse.read().await.unwrap().books().await.unwrap().unaccounted(), 4);
}

pub(crate) async fn records_go_after_their_events_and_the_ledger_remains(place: Place) {
    let setup = with_projects(place).await;
    let uploads = [upload("p", day(1), 3, 2), upload("p", day(40), 1, 1), upload("q", day(1), 1, 0)];
    setup.arrive(0, &uploads, day(50)).await;
    let retention = [("p", Kept::Records, 30), ("p", Kept::Events, 20), ("p", Kept::Quarantine, 25)];
    assert_eq!(setup.warehouse.records_kept_from().await.unwrap(), None);
    let retained = setup.warehouse.retain(day(50), &policy(&retention)).await.unwrap();
    assert_eq!(gone(&retained), [("events", 3, 1), ("quarantine", 2, 1), ("records", 1, 1)]);
    assert_eq!(setup.warehouse.records_kept_from().await.unwrap(), Some(("p".into(), day(20))));
    assert_eq!(setup.outcomes("p").await, outcomes(&[("erased", 5), ("quarantined", 1), ("stored", 1)]));
    setup.assert_books_balance().await;
}

pub(crate) async fn commits_and_merges_go_on_while_rows_are_taken_away(place: Place) {
    let setup = with_projects(place).await;
    for n in 0..24 {
        let uploads = [upload("p", day(1) + DAY * (n % 3), 20, 0), upload("p", day(39), 5, 0)];
        setup.arrive(2 * usize::try_from(n).unwrap(), &uploads, day(40)).await;
    }
    let of = policy(&[("p", Kept::Events, 10)]);
    let committing = async {
        for n in 24..40 {
            setup.arrive(2 * n, &[upload("p", day(39), 5, 0), upload("q", day(1), 5, 0)], day(40)).await;
        }
    };
    let other = setup.place.open().await;
    let merging = async {
        for _ in 0..6 {
            // It may lose a file to retention, as to another merge.
            let _ = other.merge_once(MergePolicy { fan_in: 4, ..MergePolicy::default() }, day(40)).await;
            tokio::task::yield_now().await;
        }
    };
    let retaining = async {
        let mut rows = 0;
        for _ in 0..20 {
            if let Ok(retained) = setup.warehouse.retain(day(40), &of).await {
                rows += retained.erased();
            }
            tokio::task::yield_now().await;
        }
        rows
    };
    let (.., rows) = tokio::join!(committing, merging, retaining);
    let rest = setup.warehouse.retain(day(40), &of).await.unwrap();
    // What a merge wrote again under its hands, and a day later at the latest, goes too.
    let a_day_later = setup.arrive(80, &[upload("p", day(41), 1, 0)], day(41) + Duration::from_secs(60)).await;
    let last = setup.warehouse.retain(day(41) + Duration::from_secs(60), &of).await.unwrap();
    assert!(a_day_later.0 > 0);
    assert_eq!(rows + rest.erased() + last.erased(), 24 * 20);
    assert_eq!(setup.all_rows(&EVENTS, None).await.unwrap().len(), 24 * 5 + 16 * 10 + 1);
    setup.assert_books_balance().await;
}

pub(crate) async fn buckets_of_a_grain_go_and_late_events_do_not_bring_back_parts_of_them(place: Place) {
    let setup = with_projects(place).await;
    let uploads = [upload("p", day(1), 3, 0), upload("p", day(38), 2, 0), upload("q", day(1), 7, 0)];
    setup.arrive(0, &uploads, day(40)).await;
    setup.warehouse.merge_rollups(day(41), Duration::ZERO).await.unwrap();
    let sums = async |project: &str, grain| {
        let query = RollupQuery::new(&USAGE, grain, project, (Timestamp::MIN, Timestamp::MAX));
        let rows = setup.warehouse.read().await.unwrap().rollup(&query).await.unwrap();
        rows.iter().map(|row| row.measures[0]).sum::<i64>()
    };
    let of = policy(&[("p", Kept::RollupMinutes, 7), ("p", Kept::RollupHours, 30)]);
    // Usage and quality, one bucket each, of two grains.
    assert_eq!(setup.warehouse.retain(day(40), &of).await.unwrap().rollup_rows, 4);
    assert_eq!([sums("p", Grain::Minute).await, sums("p", Grain::Hour).await, sums("p", Grain::Day).await], [2, 2, 5]);
    assert_eq!([sums("q", Grain::Minute).await, sums("q", Grain::Day).await], [7, 7]);
    setup.assert_books_balance().await;

    // Late for a minute that is gone and a day that is not, before folding and after it.
    let late = Upload { arrived: day(40), ..upload("p", day(1), 1, 0) };
    setup.arrive(3, &[late], day(40) + Duration::from_secs(60)).await;
    for _ in 0..2 {
        assert_eq!(
            [sums("p", Grain::Minute).await, sums("p", Grain::Hour).await, sums("p", Grain::Day).await],
            [2, 2, 6]
        );
        setup.assert_books_balance().await;
        setup.warehouse.merge_rollups(day(42), Duration::ZERO).await.unwrap();
    }
    let stored = "SELECT count(*) FROM usage_merged WHERE project = 'p' AND grain = 'minute'";
    assert_eq!(setup.ask(stored.into()).await.get::<i64>(0), 1);
    assert_eq!(setup.warehouse.retain(day(40), &of).await.unwrap().rollup_rows, 0);
}

pub(crate) async fn facts_go_by_their_beginning(place: Place) {
    let setup = with_projects(place).await;
    setup.arrive(0, &[upload("p", day(30), 1, 0)], day(40)).await;
    let views =
        |started, count| rows(&VIEWS, count, &[("project", text("p", count)), ("started_at", time(started, count))]);
    let both = concat_batches(&VIEWS.schema(), &[views(day(1), 2), views(day(30), 3)]).unwrap();
    let encoded = encode_parquet(&VIEWS, [&both]).unwrap();
    setup.warehouse.lake().write("main/views/a.parquet", &encoded.bytes).unwrap();
    let mut commit = setup.uploads(1, &[], day(40));
    commit.files = vec![NewFile { table_id: VIEWS.id, path: "a.parquet".into(), encoded }];
    commit.advances.clear();
    setup.warehouse.commit(&commit).await.unwrap();
    let retained = setup.warehouse.retain(day(40), &policy(&[("p", Kept::Facts, 20)])).await.unwrap();
    assert_eq!(gone(&retained), [("views", 2, 1)]);
    assert_eq!(retained.tables.iter().find(|table| table.table == "views").unwrap().oldest, Some(day(30)));
    assert_eq!(setup.all_rows(&VIEWS, None).await.unwrap().len(), 3);
}
