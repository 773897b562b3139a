//! What every warehouse must do, on the embedded backend: the promises of the commit, of merging, of expiring.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, BinaryArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use schemas::Timestamp;
use schemas::rollups::{Grain, USAGE};

use crate::tables::{ColumnType, EVENTS, LakeTable, QUARANTINE, SLICES, VIEWS};
use crate::{
    Advance, Commit, CommitError, CommitId, DataFile, Delta, DeltaRow, FileName, Lake, Lane, MergePolicy, NewFile,
    Origin, ReadError, RollupQuery, Warehouse, WarehouseConfig, encode_parquet, may_hold_text, row_name, scan_parquet,
};

const TOPIC: &str = "events";
const DAY: Duration = Duration::from_secs(86_400);

/// 2026-11-23T08:00:00Z and some seconds.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros((1_795_420_800 + seconds) * 1_000_000)
}

struct Setup {
    folder: tempfile::TempDir,
    warehouse: Warehouse,
}

impl Setup {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let warehouse = open(&folder).await;
        warehouse.checkpoints(TOPIC, 2).await.unwrap();
        Self { folder, warehouse }
    }

    /// Writes a file of `rows` rows and returns the commit that lists it and moves partition 0 by one record.
    fn commit(&self, from: u64, rows: i64, now: Timestamp) -> Commit {
        let name = FileName::new(Origin::Commit { partition: 0, from }, now);
        let path = name.path("parquet");
        let encoded = encode_parquet(&QUARANTINE, &batch(rows, now), 1).unwrap();
        self.warehouse.lake().write(&Lake::table_path(&QUARANTINE, &path), &encoded.bytes).unwrap();
        Commit {
            lane: Lane::Events,
            now,
            advances: vec![advance(from, from + 1)],
            files: vec![NewFile { table_id: QUARANTINE.id, path, encoded }],
            replaced_files: Vec::new(),
            deltas: vec![delta(now, rows)],
            id_runs: Vec::new(),
            state_files: Vec::new(),
        }
    }

    async fn land(&self, from: u64, rows: i64, now: Timestamp) -> CommitId {
        self.warehouse.commit(&self.commit(from, rows, now)).await.unwrap().id
    }

    /// Rows in the files of a commit, and the sum of the rollup.
    async fn counted(&self) -> (i64, i64) {
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
}

async fn open(folder: &tempfile::TempDir) -> Warehouse {
    let config =
        WarehouseConfig { database: folder.path().join("warehouse.db"), lake: folder.path().join("lake").into() };
    Warehouse::open(&config).await.unwrap()
}

fn advance(from: u64, to: u64) -> Advance {
    Advance { topic: TOPIC, log_partition: 0, from, to, log_time: at(0), events: 1 }
}

fn delta(now: Timestamp, events: i64) -> Delta {
    let keys = vec!["layout.saved".to_owned(), String::new()];
    let bucket = now.floor(Grain::Minute.length());
    Delta { rollup: &USAGE, rows: vec![DeltaRow { project: "p".into(), bucket, keys, measures: vec![events, 0] }] }
}

/// Rows with the same value everywhere but in the times.
fn batch(rows: i64, now: Timestamp) -> RecordBatch {
    batch_of(&QUARANTINE, rows, now)
}

fn batch_of(table: &LakeTable, rows: i64, now: Timestamp) -> RecordBatch {
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

#[tokio::test]
async fn a_commit_moves_everything_or_nothing() {
    let setup = Setup::new().await;
    let first = setup.land(0, 5, at(0)).await;
    // Another writer was faster: the fence, and nothing of this commit is there.
    let late = setup.commit(0, 7, at(1));
    let refused = setup.warehouse.commit(&late).await.unwrap_err();
    assert!(matches!(refused, CommitError::Fenced { log_partition: 0, expected: 0, .. }), "{refused}");
    assert_eq!(setup.counted().await, (5, 5));
    // A file to replace that is not live any more: the deltas of that commit are not there either.
    let torn = Commit { replaced_files: vec![4711], ..setup.commit(1, 9, at(2)) };
    assert!(matches!(setup.warehouse.commit(&torn).await, Err(CommitError::Replaced { data_file_id: 4711 })));
    assert_eq!(setup.counted().await, (5, 5));
    let second = setup.land(1, 2, at(3)).await;
    assert_eq!(second, CommitId(first.0 + 1));
    assert_eq!(setup.counted().await, (7, 7));
}

#[tokio::test]
async fn a_reader_stays_at_its_commit_while_others_land() {
    let setup = Setup::new().await;
    let first = setup.land(0, 5, at(0)).await;
    let mut read = setup.warehouse.read().await.unwrap();
    setup.land(1, 2, at(1)).await;
    assert_eq!(read.commit(), first);
    assert_eq!(read.snapshot().await.unwrap().files(&QUARANTINE).len(), 1);
    assert_eq!(read.positions(TOPIC).await.unwrap(), [1, 0]);
    drop(read);
    assert_eq!(setup.counted().await, (7, 7));
}

#[tokio::test]
async fn merging_changes_no_answer_at_any_commit() {
    let setup = Setup::new().await;
    let mut commits = Vec::new();
    for n in 0..10 {
        commits.push(setup.land(n, 3, at(i64::try_from(n).unwrap())).await);
    }
    let policy = MergePolicy { fan_in: 4, ..MergePolicy::default() };
    let (merge, merged) = setup.warehouse.merge_once(policy, at(20)).await.unwrap().unwrap();
    assert_eq!((merged.sources, merged.files, merged.rows), (10, 1, 30));
    assert_eq!(setup.warehouse.merge_once(policy, at(21)).await.unwrap(), None);
    assert_eq!(setup.counted().await, (30, 30));
    assert_eq!(setup.warehouse.merge_rollups(at(1000), Duration::from_secs(500)).await.unwrap(), 10);
    assert_eq!(setup.counted().await, (30, 30));
    for (commit, rows) in commits.into_iter().chain([merge]).zip((3..=30).step_by(3).chain([30])) {
        assert_eq!(setup.rows_at(commit).await.unwrap(), rows, "commit {commit}");
    }
    // Bytes of live files, not of all that ever were.
    let live: i64 = sqlx::query_scalar(
        "SELECT (SELECT file_size_bytes FROM ducklake_table_stats WHERE table_id = 2) = \
         (SELECT sum(file_size_bytes) FROM ducklake_data_file WHERE table_id = 2 AND end_snapshot IS NULL)",
    )
    .fetch_one(&setup.warehouse.shared.readers)
    .await
    .unwrap();
    assert_eq!(live, 1);
}

#[tokio::test]
async fn a_merge_is_bounded_by_bytes_and_by_days() {
    let setup = Setup::new().await;
    for n in 0..8 {
        setup.land(n, 1000, at(0) + DAY * u32::try_from(n).unwrap()).await;
    }
    let small = MergePolicy { fan_in: 4, max_plain_bytes: 1, ..MergePolicy::default() };
    assert_eq!(setup.warehouse.merge_once(small, at(0)).await.unwrap(), None, "nothing fits, and nothing breaks");
    // One file each day stays; days with few rows share a file.
    let mixed = Setup::new().await;
    for n in 0..4 {
        let commit = mixed.commit(n, 2000, at(86_400 - 28_800 - 1));
        mixed.warehouse.commit(&commit).await.unwrap();
    }
    let policy = MergePolicy { fan_in: 4, ..MergePolicy::default() };
    let (_, merged) = mixed.warehouse.merge_once(policy, at(0)).await.unwrap().unwrap();
    assert_eq!((merged.sources, merged.rows), (4, 8000));
    assert_eq!(mixed.counted().await.0, 8000);
}

#[tokio::test]
async fn expired_commits_are_refused_by_name_and_their_files_go_after_a_grace() {
    let setup = Setup::new().await;
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

#[tokio::test]
async fn only_leftovers_of_dead_attempts_are_collected() {
    let setup = Setup::new().await;
    setup.land(0, 3, at(0)).await;
    let lake = setup.warehouse.lake();
    let name = |from| FileName::new(Origin::Commit { partition: 0, from }, at(0)).path("parquet");
    let (dead, running) = (format!("main/events/{}", name(0)), format!("main/events/{}", name(1)));
    for path in [&dead, &running, "main/events/somebody-elses.parquet"] {
        lake.write(path, b"x").unwrap();
    }
    let left = || setup.warehouse.lake().list().unwrap().into_iter().map(|file| file.path).collect::<Vec<_>>();
    // Beside running commits: only what the checkpoint has passed, and only when it is old enough.
    assert_eq!(setup.warehouse.collect_orphans(DAY).await.unwrap().files, 0);
    std::thread::sleep(Duration::from_millis(5));
    assert_eq!(setup.warehouse.collect_orphans(Duration::from_millis(1)).await.unwrap().files, 1);
    assert!(!left().contains(&dead) && left().contains(&running));
    // At the start nothing runs: the attempt that never landed goes too, what is not ours stays.
    assert_eq!(setup.warehouse.collect_orphans(Duration::ZERO).await.unwrap().files, 1);
    assert!(left().contains(&"main/events/somebody-elses.parquet".to_owned()));
    assert_eq!(setup.counted().await.0, 3);
}

#[tokio::test]
async fn nothing_is_collected_under_a_catalogue_that_is_older_than_the_lake() {
    let setup = Setup::new().await;
    for n in 0..3 {
        setup.land(n, 3, at(0)).await;
    }
    setup.warehouse.close().await;
    for ending in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(setup.folder.path().join(format!("warehouse.db{ending}")));
    }
    let restored = open(&setup.folder).await;
    restored.checkpoints(TOPIC, 2).await.unwrap();
    let collected = restored.collect_orphans(Duration::ZERO).await.unwrap();
    assert!(collected.is_ahead && collected.files == 0, "{collected:?}");
    assert_eq!(restored.lake().list().unwrap().len(), 3);
}

#[tokio::test]
async fn a_catalogue_of_another_version_is_refused_by_name() {
    let setup = Setup::new().await;
    sqlx::query("UPDATE ducklake_metadata SET value = '1.1' WHERE key = 'version'")
        .execute(&setup.warehouse.shared.writer)
        .await
        .unwrap();
    setup.warehouse.close().await;
    let config = WarehouseConfig {
        database: setup.folder.path().join("warehouse.db"),
        lake: setup.folder.path().join("lake").into(),
    };
    let refused = Warehouse::open(&config).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the lake's catalogue has version `1.1`, and this program reads and writes 1.0 only"
    );
}

#[tokio::test]
async fn every_rollup_has_the_columns_of_its_definition() {
    let setup = Setup::new().await;
    let database = setup.folder.path().join("warehouse.db");
    let pool =
        sqlx::SqlitePool::connect_with(sqlx::sqlite::SqliteConnectOptions::new().filename(database)).await.unwrap();
    for rollup in schemas::rollups::ALL_STORED {
        let defined: Vec<&str> = rollup.keys.iter().chain(rollup.measures).map(|column| column.name).collect();
        for (table, before, after) in [
            ("delta", ["commit_id", "project", "bucket_us"], None),
            ("merged", ["grain", "project", "bucket_us"], Some("last_commit")),
        ] {
            let statement = format!("SELECT name FROM pragma_table_info('{}_{table}')", rollup.name);
            let mut columns: Vec<String> =
                sqlx::query_scalar(sqlx::AssertSqlSafe(statement)).fetch_all(&pool).await.unwrap();
            let mut expected: Vec<&str> = before.into_iter().chain(defined.iter().copied()).chain(after).collect();
            // Statements name columns; a later migration can only append.
            columns.sort_unstable();
            expected.sort_unstable();
            assert_eq!(columns, expected, "{}_{table}", rollup.name);
        }
    }
}

#[tokio::test]
async fn any_range_can_be_one_bucket_merged_or_not() {
    let setup = Setup::new().await;
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
        let group_by = vec!["type"];
        let only = vec![("type", vec!["layout.saved".to_owned(), "other".to_owned()])];
        let range = (minute(from), minute(to));
        let query = RollupQuery { group_by, only, as_one: true, ..RollupQuery::new(&USAGE, grain, "p", range) };
        let rows = read.rollup(&query).await.unwrap();
        let [row] = &rows[..] else { panic!("{rows:?}") };
        assert_eq!((row.bucket_start, row.measures[0]), (minute(from), events), "{from} {to}");
        let after = |keys: &str| Some((minute(from), vec![keys.to_owned()]));
        let behind = RollupQuery { after: after("layout.saved"), ..query.clone() };
        assert_eq!(read.rollup(&behind).await.unwrap(), []);
        let not_behind = RollupQuery { after: after("layout"), ..query.clone() };
        assert_eq!(read.rollup(&not_behind).await.unwrap(), rows);
        let none = RollupQuery { only: vec![("type", vec!["other".to_owned()])], ..query };
        assert_eq!(read.rollup(&none).await.unwrap(), []);
    }
}

#[tokio::test]
async fn a_catalogue_from_before_a_table_gets_it() {
    let setup = Setup::new().await;
    setup.land(0, 5, at(0)).await;
    let before = *setup.warehouse.newest_commit().borrow();
    let database = setup.folder.path().join("warehouse.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(database);
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    for table in ["ducklake_table", "ducklake_column", "ducklake_table_stats", "ducklake_table_column_stats"] {
        let statement = format!("DELETE FROM {table} WHERE table_id = {}", VIEWS.id);
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&pool).await.unwrap();
    }
    setup.warehouse.close().await;
    let reopened = open(&setup.folder).await;
    assert_eq!(reopened.newest_commit().borrow().0, before.0 + 1, "a snapshot of its own");
    let columns: i64 = sqlx::query_scalar("SELECT count(*) FROM ducklake_column WHERE table_id = ?")
        .bind(VIEWS.id)
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(usize::try_from(columns).unwrap(), VIEWS.columns.len());
    let (version, next): (i64, i64) = sqlx::query_as(
        "SELECT schema_version, next_catalog_id FROM ducklake_snapshot ORDER BY snapshot_id DESC LIMIT 1",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!((version, next), (2, 7));
}

#[tokio::test]
async fn a_catalogue_from_before_a_column_gets_it_and_its_files_are_read_and_merged_with_nulls() {
    let setup = Setup::new().await;
    let last = i64::try_from(SLICES.columns.len()).unwrap();
    let land = async |setup: &Setup, from: u64, columns: usize| {
        let rows = batch_of(&SLICES, 2, at(0));
        let mut encoded = encode_parquet(&SLICES, &rows, 1).unwrap();
        let first = rows.project(&(0..columns).collect::<Vec<_>>()).unwrap();
        encoded.bytes.clear();
        let mut writer = parquet::arrow::ArrowWriter::try_new(&mut encoded.bytes, first.schema(), None).unwrap();
        writer.write(&first).unwrap();
        writer.close().unwrap();
        encoded.columns.truncate(columns);
        let path = format!("{from}.parquet");
        setup.warehouse.lake().write(&Lake::table_path(&SLICES, &path), &encoded.bytes).unwrap();
        let commit = setup.commit(from, 1, at(0));
        let commit = Commit { files: vec![NewFile { table_id: SLICES.id, path, encoded }], ..commit };
        setup.warehouse.commit(&commit).await.unwrap();
    };
    // A file without the last column, and a catalogue that does not know it.
    land(&setup, 0, SLICES.columns.len() - 1).await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(setup.folder.path().join("warehouse.db"));
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    for table in ["ducklake_column", "ducklake_column_tag", "ducklake_table_column_stats", "ducklake_file_column_stats"]
    {
        let statement = format!("DELETE FROM {table} WHERE table_id = {} AND column_id = {last}", SLICES.id);
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&pool).await.unwrap();
    }
    setup.warehouse.close().await;
    let setup = Setup { warehouse: open(&setup.folder).await, folder: setup.folder };
    let added: (i64, String, i64) = sqlx::query_as(
        "SELECT begin_snapshot, changes_made, contains_null FROM ducklake_column \
         JOIN ducklake_snapshot_changes ON snapshot_id = begin_snapshot \
         JOIN ducklake_table_column_stats USING (table_id, column_id) WHERE table_id = ? AND column_id = ?",
    )
    .bind(SLICES.id)
    .bind(last)
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!(added, (setup.warehouse.newest_commit().borrow().0, format!("altered_table:{}", SLICES.id), 1));

    land(&setup, 1, SLICES.columns.len()).await;
    let policy = MergePolicy { fan_in: 2, ..MergePolicy::default() };
    assert!(setup.warehouse.merge_once(policy, at(2)).await.unwrap().is_some());
    let snapshot = setup.warehouse.read().await.unwrap().snapshot().await.unwrap();
    let files = snapshot.files(&SLICES);
    let batches = scan_parquet(setup.warehouse.lake(), &SLICES, &files[0].path, &[], 1024).unwrap();
    let batches: Vec<RecordBatch> = batches.map(Result::unwrap).collect();
    let last = SLICES.columns.last().unwrap().name;
    let nulls: usize = batches.iter().map(|batch| batch.column_by_name(last).unwrap().null_count()).sum();
    assert_eq!((files.len(), setup.rows(&SLICES, &files), nulls), (1, 4, 2));
}

#[tokio::test]
async fn rows_are_replaced_in_one_commit_with_what_takes_their_place() {
    let setup = Setup::new().await;
    let land = |rows: RecordBatch, from: u64, path: &'static str| {
        let encoded = encode_parquet(&VIEWS, &rows, 1).unwrap();
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

#[tokio::test]
async fn a_file_tells_which_sessions_it_cannot_hold() {
    let setup = Setup::new().await;
    let encoded = encode_parquet(&EVENTS, &batch_of(&EVENTS, 3, at(0)), 1).unwrap();
    setup.warehouse.lake().write("main/events/a.parquet", &encoded.bytes).unwrap();
    let may_hold = |values: &[&str]| {
        may_hold_text(setup.warehouse.lake(), "main/events/a.parquet", &["session_id", "view_id"], values).unwrap()
    };
    assert!(may_hold(&["y", "x"]) && !may_hold(&["y", "z"]) && !may_hold(&[]));
    // Without a filter nothing is known.
    assert!(may_hold_text(setup.warehouse.lake(), "main/events/a.parquet", &["event_id"], &["y"]).unwrap());
}
