use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use event_log::{DiskLog, DiskLogConfig, LogStats, PartitionRange, Position};
use futures::future::BoxFuture;
use schemas::record::{Item, Upload};
use warehouse::WarehouseConfig;

use super::*;
use crate::{Processor, ProcessorConfig, ProcessorMetrics, RunError, Step};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_790_000_000_000_000 + seconds * 1_000_000)
}

fn tick(seconds: i64) -> NewRecord {
    let log_time = at(seconds);
    NewRecord { partition: 0, log_time, bytes: record::encode(&Record::Tick { log_time }).into() }
}

/// An upload of one event, which is quarantined.
fn upload(batch_id: &str, seconds: i64) -> NewRecord {
    let log_time = at(seconds);
    let upload = Upload {
        batch_id,
        part: 0,
        parts: 1,
        log_time,
        received_at: log_time,
        sent_at: None,
        sent_mono_ms: None,
        boot_id: None,
        project: "default",
        subject: None,
        wire: "cloudevents",
        facts: Vec::new(),
        items: vec![Item { index: 0, bytes: batch_id.as_bytes(), oversize: None }],
    };
    NewRecord { partition: 0, log_time, bytes: record::encode(&Record::Upload(upload)).into() }
}

/// A log that takes so many appends and then none.
#[derive(Debug)]
struct Failing<'a>(&'a DiskLog, AtomicUsize);

impl EventLog for Failing<'_> {
    fn identity(&self) -> &str {
        self.0.identity()
    }

    fn partitions(&self) -> u16 {
        self.0.partitions()
    }

    fn append(&self, records: Vec<NewRecord>) -> BoxFuture<'_, Result<Vec<Position>, AppendError>> {
        let is_left = self.1.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        if !is_left {
            return Box::pin(async { Err(AppendError::Unavailable("as the test says".into())) });
        }
        self.0.append(records)
    }

    fn subscribe(&self) -> Box<dyn LogConsumer> {
        self.0.subscribe()
    }

    fn ranges(&self) -> Vec<PartitionRange> {
        self.0.ranges()
    }

    fn forget(&self, protected: &[Position], before: Timestamp) -> Result<u64, AppendError> {
        self.0.forget(protected, before)
    }

    fn stats(&self) -> LogStats {
        self.0.stats()
    }
}

fn open(folder: &Path) -> Arc<DiskLog> {
    Arc::new(DiskLog::open(DiskLogConfig { partitions: 1, ..DiskLogConfig::new(folder) }).unwrap())
}

/// Takes in all that is there; the next position.
async fn process(log: &Arc<DiskLog>, warehouse: &Warehouse) -> Result<u64, RunError> {
    let log: Arc<dyn EventLog> = Arc::<DiskLog>::clone(log);
    let metrics = ProcessorMetrics::new().unwrap();
    let mut processor = Processor::new(log, warehouse.clone(), ProcessorConfig::default(), metrics);
    while processor.step(at(0), Duration::from_millis(50)).await? != Step::Idle {}
    processor.flush(at(0)).await?;
    Ok(warehouse.checkpoints(EVENTS_TOPIC, 1).await?[0].position)
}

#[tokio::test]
async fn what_came_after_the_loss_is_appended_once_more_however_often_that_is_broken_off() {
    let folder = tempfile::tempdir().unwrap();
    let config = WarehouseConfig::sqlite(folder.path().join("warehouse.db"), folder.path().join("lake"));
    let warehouse = Warehouse::open(&config).await.unwrap();
    let whole = open(&folder.path().join("whole"));
    for n in 0..40 {
        whole.append(vec![upload(&format!("before-{n}"), n), tick(n)]).await.unwrap();
    }
    assert_eq!(process(&whole, &warehouse).await.unwrap(), 80);

    // Another log that begins as that one did, and went on otherwise.
    let short = open(&folder.path().join("short"));
    for n in 0..20 {
        short.append(vec![upload(&format!("before-{n}"), n), tick(n)]).await.unwrap();
    }
    for n in 0..5 {
        short.append(vec![tick(100 + n), upload(&format!("after-{n}"), 100 + n)]).await.unwrap();
    }
    assert!(matches!(process(&short, &warehouse).await, Err(RunError::Poll(PollError::OutOfRange { .. }))));
    for appends in [0, 1] {
        let failing = Failing(&short, AtomicUsize::new(appends));
        assert!(matches!(mend(&failing, &warehouse, at(200)).await, Err(MendError::Append(_))));
    }
    assert_eq!(short.ranges()[0].high, 80, "filled, and nothing else was done");
    let refused = process(&short, &warehouse).await.unwrap_err();
    assert!(matches!(refused, RunError::WrittenOver { partition: 0, position: 79 }), "{refused}");

    let mended = mend(&*short, &warehouse, at(200)).await.unwrap();
    assert_eq!(mended, [Mended { log_partition: 0, filled: 0, again: 5 }]);
    assert_eq!(process(&short, &warehouse).await.unwrap(), 85);
    assert_eq!(mend(&*short, &warehouse, at(201)).await.unwrap(), []);
    let files = warehouse.read().await.unwrap().snapshot().await.unwrap();
    let records = files.records(warehouse.lake(), 0, 0).unwrap().map(|record| record.unwrap().position);
    let expected: Vec<u64> = (0..40).map(|n| 2 * n).chain(80..85).collect();
    assert_eq!(records.collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_log_that_is_whole_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let config = WarehouseConfig::sqlite(folder.path().join("warehouse.db"), folder.path().join("lake"));
    let warehouse = Warehouse::open(&config).await.unwrap();
    let log = open(&folder.path().join("log"));
    assert_eq!(mend(&*log, &warehouse, at(9)).await.unwrap(), [], "nothing was taken in yet");
    log.append(vec![upload("one", 1), tick(3), upload("two", 2)]).await.unwrap();
    assert_eq!(process(&log, &warehouse).await.unwrap(), 3);
    log.append(vec![upload("three", 4)]).await.unwrap();
    assert_eq!(mend(&*log, &warehouse, at(9)).await.unwrap(), []);
    assert_eq!(log.ranges()[0].high, 4);
}
