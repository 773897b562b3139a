//! A warehouse whose files are in a bucket: what commits write is what is read, merged, expired and collected.

use arrow::array::new_null_array;
use schemas::Timestamp;

use super::*;
use crate::tables::QUARANTINE;
use crate::{Advance, Commit, Lane, MergePolicy, Warehouse, WarehouseConfig};

const TOPIC: &str = "events";
const ROWS: i64 = 10;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros((1_795_420_800 + seconds) * 1_000_000)
}

/// As a process of its own opens it, that has read nothing yet.
async fn open(folder: &tempfile::TempDir, location: &S3Location) -> Warehouse {
    let config = WarehouseConfig::sqlite(folder.path().join("warehouse.db"), location.clone());
    Warehouse::open(&config).await.unwrap()
}

async fn land(warehouse: &Warehouse, from: u64) {
    let schema = QUARANTINE.schema();
    let columns = schema.fields().iter().map(|field| -> ArrayRef {
        match field.name().as_str() {
            "project" => Arc::new(StringArray::from_iter_values((0..ROWS).map(|_| "p"))),
            _ => new_null_array(field.data_type(), 10),
        }
    });
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns.collect()).unwrap();
    let encoded = encode_parquet(&QUARANTINE, [&batch]).unwrap();
    let path = FileName::new(Origin::Commit { partition: 0, from }, at(0)).path("parquet");
    warehouse.lake().write(&Lake::table_path(&QUARANTINE, &path), &encoded.bytes).unwrap();
    let commit = Commit {
        lane: Lane::Events,
        now: at(0),
        advances: vec![Advance {
            topic: TOPIC,
            log_partition: 0,
            from,
            to: from + 1,
            log_time: at(0),
            pauses: 0,
            events: 10,
        }],
        files: vec![NewFile { table_id: QUARANTINE.id, path, encoded }],
        replaced_files: Vec::new(),
        deltas: Vec::new(),
        id_runs: Vec::new(),
        state_files: Vec::new(),
    };
    warehouse.commit(&commit).await.unwrap();
}

/// Rows that the newest commit has, and files.
async fn counted(warehouse: &Warehouse) -> (i64, usize) {
    let counted = warehouse.scan(|lake, snapshot| {
        let (files, mut rows) = (snapshot.files(&QUARANTINE), 0);
        for file in files.iter() {
            for batch in scan_parquet(lake, &QUARANTINE, &file.path, &[], 1024)? {
                rows += i64::try_from(batch?.num_rows()).unwrap();
            }
        }
        Ok((rows, files.len()))
    });
    counted.await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_merges_and_collection_work_on_a_bucket() {
    let Some(location) = location("warehouse") else { return };
    let folder = tempfile::tempdir().unwrap();
    let warehouse = open(&folder, &location).await;
    warehouse.checkpoints(TOPIC, 1).await.unwrap();
    for from in 0..8 {
        land(&warehouse, from).await;
    }
    assert_eq!(counted(&warehouse).await, (8 * ROWS, 8));
    // Nothing that it has just written is asked for.
    assert_eq!(warehouse.lake().requests(), LakeRequests { gets: 0, puts: 8 });
    let beside = open(&folder, &location).await;
    assert_eq!((counted(&beside).await, beside.lake().requests().gets), ((8 * ROWS, 8), 8));

    let policy = MergePolicy { fan_in: 4, ..MergePolicy::default() };
    let (_, merged) = warehouse.merge_once(policy, at(1)).await.unwrap().unwrap();
    assert_eq!((merged.sources, merged.rows), (8, 8 * ROWS));
    assert_eq!(counted(&beside).await, (8 * ROWS, 1));
    let hour = Duration::from_hours(1);
    warehouse.expire(at(2) + hour, hour, hour).await.unwrap();
    assert_eq!(warehouse.expire(at(3) + hour * 2, hour, hour).await.unwrap().deleted, 8);
    assert_eq!(warehouse.lake().list().unwrap().len(), 1);

    // An attempt that never landed.
    let name = FileName::new(Origin::Commit { partition: 0, from: 7 }, at(0)).path("parquet");
    warehouse.lake().write(&Lake::table_path(&QUARANTINE, &name), b"left over").unwrap();
    let collected = warehouse.collect_orphans(Duration::from_mins(1)).await.unwrap();
    assert_eq!((collected.files, collected.missing), (0, 0), "it is young");
    let collected = warehouse.collect_orphans(Duration::ZERO).await.unwrap();
    assert_eq!((collected.files, collected.missing), (1, 0));
    assert_eq!(counted(&open(&folder, &location).await).await, (8 * ROWS, 1));

    let left = warehouse.lake().list().unwrap();
    warehouse.lake().delete(&left[0].path).unwrap();
    assert_eq!(warehouse.collect_orphans(Duration::ZERO).await.unwrap().missing, 1);
}

#[tokio::test]
async fn the_catalogue_tells_other_readers_the_address_of_the_bucket() {
    let Some(location) = location("catalogue") else { return };
    let folder = tempfile::tempdir().unwrap();
    let warehouse = open(&folder, &location).await;
    let database = format!("sqlite:{}", folder.path().join("warehouse.db").display());
    let catalogue = sqlx::SqlitePool::connect(&database).await.unwrap();
    let root: String = sqlx::query_scalar("SELECT value FROM ducklake_metadata WHERE key = 'data_path'")
        .fetch_one(&catalogue)
        .await
        .unwrap();
    assert_eq!(root, format!("s3://streamgauge/{}/", location.prefix));
    warehouse.close().await;
}
