//! What every warehouse must do, whatever its database: the promises of the commit, of merging, of expiring. A database
//! passes by one line: `warehouse_conformance_suite!(place)`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, BinaryArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use schemas::Timestamp;
use schemas::rollups::{Column, Grain, USAGE};

use super::place::Place;
use crate::database::{Database, Row, composed, sql};
use crate::tables::{ColumnType, LakeTable, QUARANTINE, VIEWS};
use crate::{
    Advance, Commit, CommitError, CommitId, DataFile, Delta, DeltaRow, FileName, Lake, Lane, MergePolicy, NewFile,
    Origin, ReadError, RollupQuery, Warehouse, encode_parquet, row_name, scan_parquet,
};

pub(crate) const TOPIC: &str = "events";
pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// 2026-11-23T08:00:00Z and some seconds.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros((1_795_420_800 + seconds) * 1_000_000)
}

pub(crate) struct Setup {
    pub(crate) place: Place,
    pub(crate) warehouse: Warehouse,
}

impl Setup {
    pub(crate) async fn new(place: Place) -> Self {
        let warehouse = place.open().await;
        warehouse.checkpoints(TOPIC, 2).await.unwrap();
        Self { place, warehouse }
    }

    /// Closes the warehouse and opens it again.
    pub(crate) async fn reopened(self) -> Self {
        self.warehouse.close().await;
        Self { warehouse: self.place.open().await, place: self.place }
    }

    /// Writes a file of `rows` rows and returns the commit that lists it and moves partition 0 by one record.
    pub(crate) fn commit(&self, from: u64, rows: i64, now: Timestamp) -> Commit {
        self.commit_of(0, from, rows, now)
    }

    /// The same with another partition.
    pub(crate) fn commit_of(&self, log_partition: u16, from: u64, rows: i64, now: Timestamp) -> Commit {
        let name = FileName::new(Origin::Commit { partition: log_partition, from }, now);
        let path = name.path("parquet");
        let encoded = encode_parquet(&QUARANTINE, [&batch(rows, now)]).unwrap();
        self.warehouse.lake().write(&Lake::table_path(&QUARANTINE, &path), &encoded.bytes).unwrap();
        Commit {
            lane: Lane::Events,
            now,
            advances: vec![advance(log_partition, from, from + 1)],
            files: vec![NewFile { table_id: QUARANTINE.id, path, encoded }],
            replaced_files: Vec::new(),
            deltas: vec![delta(now, rows)],
            id_runs: Vec::new(),
            state_files: Vec::new(),
        }
    }

    pub(crate) async fn land(&self, from: u64, rows: i64, now: Timestamp) -> CommitId {
        self.warehouse.commit(&self.commit(from, rows, now)).await.unwrap().id
    }

    /// Rows in the files of a commit, and the sum of the rollup.
    pub(crate) async fn counted(&self) -> (i64, i64) {
        let mut read = self.warehouse.read().await.unwrap();
        let files = read.snapshot().await.unwrap().files(&QUARANTINE);
        let query = RollupQuery::new(&USAGE, Grain::Day, "p", (Timestamp::MIN, Timestamp::MAX));
        let events = read.rollup(&query).await.unwrap().iter().map(|row| row.measures[0]).sum();
        (self.rows(&QUARANTINE, &files), events)
    }

    /// Rows that really are in these files.
    fn rows(&self, table: &'static LakeTable, files: &[DataFile]) -> i64 {
        let rows = files.iter().map(|file| {
            let batches = scan_parquet(self.warehouse.lake(), table, &file.path, &[], 1024).unwrap();
            batches.map(|batch| i64::try_from(batch.unwrap().num_rows()).unwrap()).sum::<i64>()
        });
        rows.sum()
    }

    async fn rows_at(&self, commit: CommitId) -> Result<i64, ReadError> {
        let snapshot = self.warehouse.read().await.unwrap().snapshot_at(commit).await?;
        Ok(self.rows(&QUARANTINE, &snapshot.files(&QUARANTINE)))
    }

    fn files_in_folder(&self) -> usize {
        self.warehouse.lake().list().unwrap().len()
    }

    /// The first row of a query of the test's own.
    pub(crate) async fn ask(&self, text: String) -> Row {
        composed(text).row(&mut self.warehouse.shared.database.read().await.unwrap()).await.unwrap()
    }

    /// Changes what only other programs would.
    pub(crate) async fn tamper(&self, text: String) {
        let mut transaction = self.warehouse.shared.database.write().await.unwrap();
        composed(text).run(&mut transaction).await.unwrap();
        transaction.commit().await.unwrap();
    }
}

pub(super) fn advance(log_partition: u16, from: u64, to: u64) -> Advance {
    Advance { topic: TOPIC, log_partition, from, to, log_time: at(0), pauses: 0, events: 1 }
}

pub(crate) fn delta(now: Timestamp, events: i64) -> Delta {
    let keys = vec!["layout.saved".to_owned(), String::new()];
    let bucket = now.floor(Grain::Minute.length());
    Delta {
        rollup: &USAGE,
        rows: vec![DeltaRow { project: "p".into(), bucket, keys, measures: vec![events, 0], bins: Vec::new() }],
    }
}

/// Rows with the same value everywhere but in the times.
fn batch(rows: i64, now: Timestamp) -> RecordBatch {
    batch_of(&QUARANTINE, rows, now)
}

pub(super) fn batch_of(table: &LakeTable, rows: i64, now: Timestamp) -> RecordBatch {
    let arrays = table.columns.iter().map(|column| -> ArrayRef {
        match column.ty {
            ColumnType::Text | ColumnType::LongText => Arc::new(StringArray::from_iter_values((0..rows).map(|_| "x"))),
            ColumnType::Bytes => Arc::new(BinaryArray::from_iter_values((0..rows).map(|_| b"raw"))),
            ColumnType::Int32 => Arc::new(Int32Array::from_iter_values((0..rows).map(|_| 0))),
            ColumnType::Int64 => Arc::new(Int64Array::from_iter_values(0..rows)),
            ColumnType::Double => Arc::new(Float64Array::from_iter_values((0..rows).map(|_| 0.5))),
            ColumnType::Time => {
                let times = (0..rows).map(|row| now.micros() + row);
                Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"))
            }
        }
    });
    RecordBatch::try_new(table.schema(), arrays.collect()).unwrap()
}

pub(crate) async fn a_commit_moves_everything_or_nothing(place: Place) {
    let setup = Setup::new(place).await;
    let first = setup.land(0, 5, at(0)).await;
    // Another writer was faster: the fence, and nothing of this commit is there.
    let late = setup.commit(0, 7, at(1));
    let refused = setup.warehouse.commit(&late).await.unwrap_err();
    assert!(matches!(refused, CommitError::Fenced { log_partition: 0, expected: 0, .. }), "{refused}");
    assert_eq!(setup.counted().await, (5, 5));
    // A file to replace that is not live any more: the deltas of that commit are not there either.
    let file = setup.warehouse.read().await.unwrap().snapshot().await.unwrap().files(&QUARANTINE)[0].clone();
    for gone in [DataFile { data_file_id: 4711, ..file.clone() }, DataFile { path: "b.parquet".into(), ..file }] {
        let torn = Commit { replaced_files: vec![gone.clone()], ..setup.commit(1, 9, at(2)) };
        let refused = setup.warehouse.commit(&torn).await.unwrap_err();
        assert!(matches!(refused, CommitError::Replaced { data_file_id } if data_file_id == gone.data_file_id));
    }
    assert_eq!(setup.counted().await, (5, 5));
    let second = setup.land(1, 2, at(3)).await;
    assert_eq!(second, CommitId(first.0 + 1));
    assert_eq!(setup.counted().await, (7, 7));
}

pub(crate) async fn a_reader_stays_at_its_commit_while_others_land(place: Place) {
    let setup = Setup::new(place).await;
    let first = setup.land(0, 5, at(0)).await;
    let mut read = setup.warehouse.read().await.unwrap();
    setup.land(1, 2, at(1)).await;
    assert_eq!(read.commit(), first);
    assert_eq!(read.snapshot().await.unwrap().files(&QUARANTINE).len(), 1);
    assert_eq!(read.positions(TOPIC).await.unwrap(), [1, 0]);
    drop(read);
    assert_eq!(setup.counted().await, (7, 7));
}

pub(crate) async fn merging_changes_no_answer_at_any_commit(place: Place) {
    let setup = Setup::new(place).await;
    let mut commits = Vec::new();
    for n in 0..10 {
        commits.push(setup.land(n, 3, at(i64::try_from(n).unwrap())).await);
    }
    let policy = MergePolicy { fan_in: 4, ..MergePolicy::default() };
    let (merge, merged) = setup.warehouse.merge_once(policy, at(20)).await.unwrap().unwrap();
    assert_eq!((merged.sources, merged.files, merged.rows), (10, 1, 30));
    assert_eq!(setup.warehouse.merge_once(policy, at(21)).await.unwrap(), None);
    assert_eq!(setup.counted().await, (30, 30));
    assert_eq!(setup.warehouse.merge_rollups(at(1000), Duration::from_secs(500)).await.unwrap().deltas, 10);
    assert_eq!(setup.counted().await, (30, 30));
    for (commit, rows) in commits.into_iter().chain([merge]).zip((3..=30).step_by(3).chain([30])) {
        assert_eq!(setup.rows_at(commit).await.unwrap(), rows, "commit {commit}");
    }
    // Bytes of live files, not of all that ever were.
    let sums = "SELECT record_count, file_size_bytes FROM ducklake_table_stats WHERE table_id = 2 UNION ALL \
                SELECT CAST(sum(record_count) AS BIGINT), CAST(sum(file_size_bytes) AS BIGINT) FROM ducklake_data_file \
                WHERE table_id = 2 AND end_snapshot IS NULL";
    let sums = sql(sums).rows(&mut setup.warehouse.shared.database.read().await.unwrap()).await.unwrap();
    let sums: Vec<(i64, i64)> = sums.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(sums[0], sums[1]);
}

pub(crate) async fn a_merge_is_bounded_by_bytes_and_by_days(place: Place) {
    let setup = Setup::new(place).await;
    for n in 0..8 {
        setup.land(n, 1000, at(0) + DAY * u32::try_from(n).unwrap()).await;
    }
    let small = MergePolicy { fan_in: 4, max_plain_bytes: 1, ..MergePolicy::default() };
    assert_eq!(setup.warehouse.merge_once(small, at(0)).await.unwrap(), None, "nothing fits, and nothing breaks");
}

pub(crate) async fn a_merge_leaves_files_of_later_commits_to_others(place: Place) {
    let setup = Setup::new(place).await;
    let mut commits = Vec::new();
    for n in 0..5 {
        commits.push(setup.land(n, 3, at(i64::try_from(n).unwrap())).await);
    }
    let policy = MergePolicy { fan_in: 2, ..MergePolicy::default() };
    let among = |last| move |commit| commit <= last;
    let (merge, merged) = setup.warehouse.merge_among(policy, at(20), among(commits[2])).await.unwrap().unwrap();
    assert_eq!((merged.sources, merged.rows), (3, 9));
    // The merge is a later commit, too.
    assert_eq!(setup.warehouse.merge_among(policy, at(21), among(commits[3])).await.unwrap(), None);
    let with_merge = |commit| commit <= commits[3] || commit == merge;
    assert_eq!(setup.warehouse.merge_among(policy, at(22), with_merge).await.unwrap().unwrap().1.rows, 12);
    assert_eq!(setup.counted().await, (15, 15));
}

pub(crate) async fn days_with_few_rows_share_a_file(place: Place) {
    let setup = Setup::new(place).await;
    for n in 0..4 {
        setup.land(n, 2000, at(86_400 - 28_800 - 1)).await;
    }
    let policy = MergePolicy { fan_in: 4, ..MergePolicy::default() };
    let (_, merged) = setup.warehouse.merge_once(policy, at(0)).await.unwrap().unwrap();
    assert_eq!((merged.sources, merged.rows), (4, 8000));
    assert_eq!(setup.counted().await.0, 8000);
}

pub(crate) async fn expired_commits_are_refused_by_name_and_their_files_go_after_a_grace(place: Place) {
    let setup = Setup::new(place).await;
    for n in 0..4 {
        setup.land(n, 3, at(i64::try_from(n).unwrap())).await;
    }
    let policy = MergePolicy { fan_in: 4, ..MergePolicy::default() };
    let (merge, _) = setup.warehouse.merge_once(policy, at(10)).await.unwrap().unwrap();
    let hour = Duration::from_secs(3600);
    assert_eq!(setup.files_in_folder(), 5);
    let expired = setup.warehouse.expire(at(11) + DAY, DAY, hour).await.unwrap();
    assert_eq!((expired.snapshots, expired.scheduled, expired.deleted), (6, 4, 0));
    let refused = setup.rows_at(CommitId(3)).await.unwrap_err();
    assert!(matches!(refused, ReadError::NoSuchCommit { oldest, .. } if oldest == merge), "{refused}");
    // A query that began before may still read them; the collector leaves them alone.
    setup.warehouse.collect_orphans(Duration::ZERO).await.unwrap();
    assert_eq!(setup.files_in_folder(), 5);
    let expired = setup.warehouse.expire(at(12) + DAY + hour, DAY, hour).await.unwrap();
    assert_eq!((expired.scheduled, expired.deleted), (0, 4));
    assert_eq!((setup.files_in_folder(), setup.counted().await), (1, (12, 12)));
    let collected = setup.warehouse.collect_orphans(Duration::ZERO).await.unwrap();
    assert_eq!((collected.files, collected.missing), (0, 0));
}

#[expect(clippy::disallowed_methods, reason = "ages of files are told by the file system's clock")]
pub(crate) async fn only_leftovers_of_dead_attempts_are_collected(place: Place) {
    let setup = Setup::new(place).await;
    setup.land(0, 3, at(0)).await;
    let lake = setup.warehouse.lake();
    let name = |from| FileName::new(Origin::Commit { partition: 0, from }, at(0)).path("parquet");
    let [dead, young, running] = [0, 0, 1].map(|from| format!("main/events/{}", name(from)));
    for path in [dead.as_str(), &young, &running, "main/events/somebody-elses.parquet"] {
        lake.write(path, b"x").unwrap();
        if path != young {
            let file =
                std::fs::File::options().write(true).open(std::path::Path::new(&lake.data_path()).join(path)).unwrap();
            file.set_modified(std::time::SystemTime::now() - 2 * DAY).unwrap();
        }
    }
    let left = || setup.warehouse.lake().list().unwrap().into_iter().map(|file| file.path).collect::<Vec<_>>();
    // Beside running commits: only what the checkpoint has passed, and only when it is old enough.
    assert_eq!(setup.warehouse.collect_orphans(DAY).await.unwrap().files, 1);
    assert!(!left().contains(&dead) && left().contains(&young) && left().contains(&running));
    let collected = setup.warehouse.collect_orphans(Duration::ZERO).await.unwrap().files;
    if setup.warehouse.shared.database.is_shared() {
        // Others may be about to commit it.
        assert!(collected == 0 && left().contains(&running));
    } else {
        // At the start nothing runs: the attempt that never landed goes too.
        assert!(collected == 2 && !left().contains(&running));
    }
    assert!(left().contains(&"main/events/somebody-elses.parquet".to_owned()), "what is not ours stays");
    assert_eq!(setup.counted().await.0, 3);
}

pub(crate) async fn nothing_is_collected_under_a_catalogue_that_is_older_than_the_lake(place: Place) {
    let setup = Setup::new(place).await;
    for n in 0..3 {
        setup.land(n, 3, at(0)).await;
    }
    setup.warehouse.close().await;
    let emptied = setup.place.emptied().await;
    let restored = emptied.open().await;
    restored.checkpoints(TOPIC, 2).await.unwrap();
    let collected = restored.collect_orphans(Duration::ZERO).await.unwrap();
    assert!(collected.is_ahead && collected.files == 0, "{collected:?}");
    assert_eq!(restored.lake().list().unwrap().len(), 3);
}

pub(crate) async fn a_catalogue_of_another_version_is_refused_by_name(place: Place) {
    let setup = Setup::new(place).await;
    setup.tamper("UPDATE ducklake_metadata SET value = '1.1' WHERE key = 'version'".into()).await;
    setup.warehouse.close().await;
    let refused = Warehouse::open(&setup.place.config()).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the lake's catalogue has version `1.1`, and this program reads and writes 1.0 only"
    );
}

pub(crate) async fn every_rollup_has_the_columns_of_its_definition(place: Place) {
    let setup = Setup::new(place).await;
    let tables = columns_by_table(&setup.warehouse).await;
    let merged = |columns: &[Column]| names(&["grain", "project", "bucket_us", "last_commit"], columns);
    let appended = |columns: &[Column]| names(&["commit_id", "project", "bucket_us"], columns);
    for rollup in schemas::rollups::ALL_STORED {
        let (name, columns) = (rollup.name, [rollup.keys, rollup.measures].concat());
        let with_bins = |mut columns: BTreeSet<String>| {
            columns.extend(rollup.bins.map(|_| "bins".to_owned()));
            columns
        };
        assert_eq!(tables[&format!("{name}_delta")], with_bins(appended(&columns)), "{name}");
        assert_eq!(tables[&format!("{name}_merged")], with_bins(merged(&columns)), "{name}");
        let Some(bins) = rollup.bins else { continue };
        let (name, columns) = (bins.name, [bins.keys, bins.measures].concat());
        assert_eq!(tables[&format!("{name}_merged_each")], merged(&columns), "{name}");
        assert_eq!(tables[&format!("{name}_delta_each")], appended(&columns), "{name}");
    }
}

fn names(first: &[&str], columns: &[Column]) -> BTreeSet<String> {
    first.iter().copied().chain(columns.iter().map(|column| column.name)).map(str::to_owned).collect()
}

/// The columns of all tables but the library's own.
pub(crate) async fn columns_by_table(warehouse: &Warehouse) -> BTreeMap<String, BTreeSet<String>> {
    let select = match warehouse.shared.database {
        Database::Sqlite(_) => {
            "SELECT t.name, c.name FROM sqlite_master t JOIN pragma_table_info(t.name) c \
             WHERE t.name NOT LIKE 'sqlite_%'"
        }
        Database::Postgres(_) => {
            "SELECT CAST(table_name AS TEXT), CAST(column_name AS TEXT) FROM information_schema.columns \
             WHERE table_schema = 'public'"
        }
    };
    let mut tables: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in sql(select).rows(&mut warehouse.shared.database.read().await.unwrap()).await.unwrap() {
        let table: String = row.get(0);
        if !table.starts_with("_sqlx") {
            tables.entry(table).or_default().insert(row.get(1));
        }
    }
    tables
}

pub(crate) async fn any_range_can_be_one_bucket_merged_or_not(place: Place) {
    let setup = Setup::new(place).await;
    let minute =
        |minute: u64| Timestamp::parse_rfc3339("2026-11-23T10:00:00Z").unwrap() + Duration::from_secs(60 * minute);
    // The minutes 0, 20, .. 180 of three hours, the first five of them merged.
    for n in 0..10 {
        setup.warehouse.commit(&setup.commit(n, 1, minute(20 * n))).await.unwrap();
        if n == 4 {
            setup.warehouse.merge_rollups(minute(81), Duration::from_secs(0)).await.unwrap();
        }
    }
    let mut read = setup.warehouse.read().await.unwrap();
    for (grain, from, to, events) in [
        (Grain::Minute, 20, 180, 8),
        (Grain::Minute, 20, 181, 9),
        (Grain::Hour, 60, 180, 6),
        // An hour that starts in the range is in it whole.
        (Grain::Hour, 60, 130, 6),
    ] {
        let (group_by, range) = (vec!["type"], (minute(from), minute(to)));
        let only = vec![("type", vec!["layout.saved".to_owned(), "other".to_owned()])];
        let query = RollupQuery { group_by, only, as_one: true, ..RollupQuery::new(&USAGE, grain, "p", range) };
        let rows = read.rollup(&query).await.unwrap();
        let [row] = &rows[..] else { panic!("{rows:?}") };
        assert_eq!((row.bucket_start, row.measures[0]), (minute(from), events), "{from} {to}");
        let late_first = RollupQuery { measures: Some(vec!["late_events", "events"]), ..query.clone() };
        assert_eq!(read.rollup(&late_first).await.unwrap()[0].measures, [0, events]);
        let after = |keys: &str| Some((minute(from), vec![keys.to_owned()]));
        let behind = RollupQuery { after: after("layout.saved"), ..query.clone() };
        assert_eq!(read.rollup(&behind).await.unwrap(), []);
        let not_behind = RollupQuery { after: after("layout"), ..query.clone() };
        assert_eq!(read.rollup(&not_behind).await.unwrap(), rows);
        let none = RollupQuery { only: vec![("type", vec!["other".to_owned()])], ..query };
        assert_eq!(read.rollup(&none).await.unwrap(), []);
    }
}

pub(crate) async fn a_catalogue_from_before_a_table_gets_it(place: Place) {
    let setup = Setup::new(place).await;
    setup.land(0, 5, at(0)).await;
    let before = *setup.warehouse.newest_commit().borrow();
    for table in ["ducklake_table", "ducklake_column", "ducklake_table_stats", "ducklake_table_column_stats"] {
        setup.tamper(format!("DELETE FROM {table} WHERE table_id = {}", VIEWS.id)).await;
    }
    let setup = setup.reopened().await;
    assert_eq!(setup.warehouse.newest_commit().borrow().0, before.0 + 1, "a snapshot of its own");
    let columns = setup.ask(format!("SELECT count(*) FROM ducklake_column WHERE table_id = {}", VIEWS.id)).await;
    assert_eq!(usize::try_from(columns.get::<i64>(0)).unwrap(), VIEWS.columns.len());
    let newest = "SELECT schema_version, next_catalog_id FROM ducklake_snapshot ORDER BY snapshot_id DESC LIMIT 1";
    let newest = setup.ask(newest.into()).await;
    assert_eq!((newest.get::<i64>(0), newest.get::<i64>(1)), (2, 7));
}

pub(crate) async fn a_catalogue_from_before_a_column_gets_it_and_its_files_are_read_and_merged_with_nulls(
    place: Place,
) {
    let setup = Setup::new(place).await;
    let last = i64::try_from(VIEWS.columns.len()).unwrap();
    let land = async |setup: &Setup, from: u64, columns: usize| {
        let rows = batch_of(&VIEWS, 2, at(0));
        let mut encoded = encode_parquet(&VIEWS, [&rows]).unwrap();
        let first = rows.project(&(0..columns).collect::<Vec<_>>()).unwrap();
        encoded.bytes.clear();
        let mut writer = parquet::arrow::ArrowWriter::try_new(&mut encoded.bytes, first.schema(), None).unwrap();
        writer.write(&first).unwrap();
        writer.close().unwrap();
        encoded.columns.truncate(columns);
        let path = format!("{from}.parquet");
        setup.warehouse.lake().write(&Lake::table_path(&VIEWS, &path), &encoded.bytes).unwrap();
        let commit = setup.commit(from, 1, at(0));
        let commit = Commit { files: vec![NewFile { table_id: VIEWS.id, path, encoded }], ..commit };
        setup.warehouse.commit(&commit).await.unwrap();
    };
    // A file without the last column, and a catalogue that does not know it.
    land(&setup, 0, VIEWS.columns.len() - 1).await;
    for table in ["ducklake_column", "ducklake_column_tag", "ducklake_table_column_stats", "ducklake_file_column_stats"]
    {
        setup.tamper(format!("DELETE FROM {table} WHERE table_id = {} AND column_id = {last}", VIEWS.id)).await;
    }
    let setup = setup.reopened().await;
    let added = setup.ask(format!(
        "SELECT begin_snapshot, changes_made, contains_null FROM ducklake_column \
         JOIN ducklake_snapshot_changes ON snapshot_id = begin_snapshot \
         JOIN ducklake_table_column_stats USING (table_id, column_id) WHERE table_id = {} AND column_id = {last}",
        VIEWS.id
    ));
    let added = added.await;
    assert_eq!(added.get::<i64>(0), setup.warehouse.newest_commit().borrow().0);
    assert_eq!((added.get::<String>(1), added.get::<bool>(2)), (format!("altered_table:{}", VIEWS.id), true));

    land(&setup, 1, VIEWS.columns.len()).await;
    let policy = MergePolicy { fan_in: 2, ..MergePolicy::default() };
    assert!(setup.warehouse.merge_once(policy, at(2)).await.unwrap().is_some());
    let snapshot = setup.warehouse.read().await.unwrap().snapshot().await.unwrap();
    let files = snapshot.files(&VIEWS);
    let batches = scan_parquet(setup.warehouse.lake(), &VIEWS, &files[0].path, &[], 1024).unwrap();
    let batches: Vec<RecordBatch> = batches.map(Result::unwrap).collect();
    let last = VIEWS.columns.last().unwrap().name;
    let nulls: usize = batches.iter().map(|batch| batch.column_by_name(last).unwrap().null_count()).sum();
    assert_eq!((files.len(), setup.rows(&VIEWS, &files), nulls), (1, 4, 2));
}

pub(crate) async fn rows_are_replaced_in_one_commit_with_what_takes_their_place(place: Place) {
    let setup = Setup::new(place).await;
    let land = |rows: RecordBatch, from: u64, path: &'static str| {
        let encoded = encode_parquet(&VIEWS, [&rows]).unwrap();
        setup.warehouse.lake().write(&format!("main/views/{path}"), &encoded.bytes).unwrap();
        let mut commit = setup.commit(from, 1, at(0));
        commit.files = vec![NewFile { table_id: VIEWS.id, path: path.into(), encoded }];
        commit
    };
    // All rows of this batch have one name: project, session and view x, part 0.
    setup.warehouse.commit(&land(batch_of(&VIEWS, 2, at(0)), 0, "a.parquet")).await.unwrap();
    setup.warehouse.commit(&land(batch_of(&VIEWS, 0, at(0)), 1, "b.parquet")).await.unwrap();
    let names = || std::collections::HashSet::from([row_name(&["x", "x", "x", "0"])]);
    let none = setup.warehouse.rows_replaced(&VIEWS, [row_name(&["x", "x", "x", "1"])].into(), at(1)).await.unwrap();
    assert!(none.replaced_files.is_empty() && none.revisions.is_empty());
    let replacement = setup.warehouse.rows_replaced(&VIEWS, names(), at(1)).await.unwrap();
    assert_eq!(replacement.replaced_files.len(), 1);
    assert_eq!(replacement.revisions.values().collect::<Vec<_>>(), [&0]);
    let mut commit = land(batch_of(&VIEWS, 1, at(1)), 2, "c.parquet");
    commit.files.extend(replacement.files);
    commit.replaced_files = replacement.replaced_files;
    setup.warehouse.commit(&commit).await.unwrap();
    let snapshot = setup.warehouse.read().await.unwrap().snapshot().await.unwrap();
    assert_eq!(setup.rows(&VIEWS, &snapshot.files(&VIEWS)), 1);
    // Whoever read the old files comes too late.
    let mut late = setup.commit(3, 4, at(2));
    late.replaced_files = commit.replaced_files;
    assert!(matches!(setup.warehouse.commit(&late).await, Err(CommitError::Replaced { .. })));
}
