use bytes::Bytes;

use super::*;
use crate::conformance::{Backend, log_conformance_suite};

struct OnDisk {
    folder: tempfile::TempDir,
    log: Arc<DiskLog>,
    partitions: Partition,
}

impl Backend for OnDisk {
    async fn create(partitions: Partition) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let log = Arc::new(DiskLog::open(config(&folder, partitions)).unwrap());
        Some(Self { folder, log, partitions })
    }

    fn log(&self) -> Arc<dyn EventLog> {
        let log: Arc<DiskLog> = Arc::clone(&self.log);
        log
    }

    async fn reopen(self) -> Self {
        let Self { folder, log, partitions } = self;
        drop(log);
        let log = Arc::new(DiskLog::open(config(&folder, partitions)).unwrap());
        Self { folder, log, partitions }
    }
}

log_conformance_suite!(OnDisk);

fn config(folder: &tempfile::TempDir, partitions: Partition) -> DiskLogConfig {
    DiskLogConfig { partitions, ..DiskLogConfig::new(folder.path().join("log")) }
}

fn record(log_time_s: i64, bytes: usize) -> NewRecord {
    let log_time = Timestamp::from_micros(log_time_s * 1_000_000);
    NewRecord { partition: 0, log_time, bytes: Bytes::from(vec![b'x'; bytes]) }
}

#[test]
fn another_number_of_partitions_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(DiskLog::open(config(&folder, 4)).unwrap());
    let refused = DiskLog::open(config(&folder, 8)).unwrap_err();
    assert!(matches!(refused, OpenError::Partitions { found: 4, wanted: 8, .. }));
}

#[tokio::test]
async fn a_log_made_at_positions_goes_on_there_under_another_name() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder, 2);
    let identity = DiskLog::create_at(&config, &[7, 0], Timestamp::from_micros(5)).unwrap();
    assert!(matches!(DiskLog::create_at(&config, &[7, 0], Timestamp::default()), Err(OpenError::Storage { .. })));
    let elsewhere = DiskLogConfig { folder: folder.path().join("other"), ..config.clone() };
    let refused = DiskLog::create_at(&elsewhere, &[7], Timestamp::default()).unwrap_err();
    assert!(matches!(refused, OpenError::Partitions { found: 1, wanted: 2, .. }));
    assert!(!elsewhere.folder.exists());
    for (position, high) in [(7, 8), (8, 9)] {
        let log = DiskLog::open(config.clone()).unwrap();
        assert_eq!(log.identity(), identity);
        assert_eq!(log.append(vec![record(9, 20)]).await.unwrap(), [position]);
        let ranges = log.ranges();
        assert_eq!((ranges[0], ranges[1]), (PartitionRange { low: 7, high }, PartitionRange { low: 0, high: 0 }));
        let mut consumer = log.subscribe();
        assert!(matches!(consumer.poll(1, Duration::ZERO).await.unwrap(), crate::Polled::Assigned(_)));
        assert!(matches!(consumer.start_at(0, 6), Err(crate::PollError::OutOfRange { .. })));
        consumer.start_at(0, position).unwrap();
        let crate::Polled::Records(records) = consumer.poll(1, Duration::ZERO).await.unwrap() else { panic!() };
        assert_eq!((records.len(), records[0].position), (1, position));
    }
}

#[test]
fn a_crash_while_the_log_is_made_leaves_nothing_in_the_way() {
    let folder = tempfile::tempdir().unwrap();
    // What a process that was killed in the middle of the first start may leave.
    let half = folder.path().join("log.new");
    std::fs::create_dir_all(&half).unwrap();
    std::fs::write(half.join("0.jnl"), b"").unwrap();
    std::fs::write(half.join("version"), b"").unwrap();
    drop(DiskLog::open(config(&folder, 4)).unwrap());
    drop(DiskLog::open(config(&folder, 4)).unwrap());
    assert!(!half.exists());
}

#[test]
fn a_folder_has_one_log() {
    let folder = tempfile::tempdir().unwrap();
    let _first = DiskLog::open(config(&folder, 1)).unwrap();
    assert!(matches!(DiskLog::open(config(&folder, 1)), Err(OpenError::InUse { .. })));
}

#[tokio::test]
async fn one_flush_serves_many_appends() {
    let folder = tempfile::tempdir().unwrap();
    let log = Arc::new(DiskLog::open(config(&folder, 1)).unwrap());
    let appends: Vec<_> = (0..500).map(|_| log.append(vec![record(0, 100)])).collect();
    futures::future::try_join_all(appends).await.unwrap();
    let stats = log.stats();
    assert_eq!(stats.appended_records, 500);
    assert!(stats.flushes < 250, "{} flushes", stats.flushes);
}

#[tokio::test]
async fn a_full_queue_refuses_instead_of_growing() {
    let folder = tempfile::tempdir().unwrap();
    let log = DiskLog::open(DiskLogConfig { queue_bytes: 1000, ..config(&folder, 1) }).unwrap();
    assert_eq!(log.append(vec![record(0, 1001)]).await, Err(AppendError::Overloaded));
    assert_eq!(log.append(vec![record(0, 1000)]).await, Ok(vec![0]));
    assert_eq!(log.stats().queued_bytes, 0);
}

#[tokio::test]
async fn a_disk_without_room_refuses_by_name_until_there_is_some() {
    let folder = tempfile::tempdir().unwrap();
    let log = DiskLog::open(DiskLogConfig { reserve_bytes: u64::MAX, ..config(&folder, 1) }).unwrap();
    let refused = log.append(vec![record(0, 100)]).await.unwrap_err();
    assert!(matches!(&refused, AppendError::Unavailable(reason) if reason.contains("MiB are to be left")), "{refused}");
    assert!(log.stats().read_only.is_some_and(|reason| reason.contains("MiB free")));
    drop(log);
    let log = DiskLog::open(config(&folder, 1)).unwrap();
    assert_eq!(log.append(vec![record(0, 100)]).await, Ok(vec![0]));
    assert_eq!(log.stats().read_only, None);
}

#[tokio::test]
async fn forgetting_drops_old_unprotected_segments_only() {
    let folder = tempfile::tempdir().unwrap();
    let small = |folder| DiskLogConfig { segment_bytes: 1000, ..config(folder, 1) };
    let log = DiskLog::open(small(&folder)).unwrap();
    for second in 0..10 {
        log.append(vec![record(second, 600)]).await.unwrap();
    }
    let at = |second: i64| Timestamp::from_micros(second * 1_000_000);
    // Two records fill a segment: 0-1, 2-3, .. Nothing is old enough, then nothing is free, then both.
    assert_eq!(log.forget(&[10], at(0)), Ok(0));
    assert_eq!(log.forget(&[1], at(100)), Ok(0));
    assert_eq!(log.forget(&[5], at(100)), Ok(4));
    assert_eq!(log.ranges(), [PartitionRange { low: 4, high: 10 }]);
    drop(log);
    let log = DiskLog::open(small(&folder)).unwrap();
    assert_eq!(log.ranges(), [PartitionRange { low: 4, high: 10 }]);
    let mut consumer = log.subscribe();
    let _ = consumer.poll(1, Duration::from_millis(1)).await;
    assert!(consumer.start_at(0, 3).is_err());
    consumer.start_at(0, 4).unwrap();
    let crate::Polled::Records(records) = consumer.poll(1 << 20, Duration::from_millis(100)).await.unwrap() else {
        panic!("records are there")
    };
    assert_eq!(records.iter().map(|record| record.position).collect::<Vec<_>>(), (4..10).collect::<Vec<_>>());
}

/// The newest journal of a log and its content.
fn journal(folder: &tempfile::TempDir) -> (PathBuf, Vec<u8>) {
    let files = std::fs::read_dir(folder.path().join("log")).unwrap().map(|entry| entry.unwrap().path());
    let path = files.filter(|path| path.extension().is_some_and(|ending| ending == "jnl")).max().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    (path, bytes)
}

/// Where the last byte of a record's text stands in the journal.
fn place_of(bytes: &[u8], letter: u8) -> usize {
    let run = [letter; 64];
    bytes.windows(64).rposition(|window| window == run).unwrap()
}

#[tokio::test]
async fn a_batch_torn_by_a_power_cut_is_dropped_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let log = DiskLog::open(config(&folder, 1)).unwrap();
    let of = |letter: u8| NewRecord { bytes: Bytes::from(vec![letter; 9000]), ..record(0, 0) };
    for letter in b"abc" {
        log.append(vec![of(*letter)]).await.unwrap();
    }
    drop(log);
    // A page in the middle of the last record never reached the disk, those around it did.
    let (path, mut bytes) = journal(&folder);
    let end = place_of(&bytes, b'c');
    bytes[end - 6000..end - 1904].fill(0);
    std::fs::write(&path, &bytes).unwrap();
    let log = DiskLog::open(config(&folder, 1)).unwrap();
    assert_eq!(log.ranges(), [PartitionRange { low: 0, high: 2 }]);
    assert_eq!(log.append(vec![of(b'd')]).await, Ok(vec![2]));
    drop(log);
    assert_eq!(DiskLog::open(config(&folder, 1)).unwrap().ranges(), [PartitionRange { low: 0, high: 3 }]);
}

#[tokio::test]
async fn damage_in_the_middle_of_the_journal_is_for_an_operator() {
    let folder = tempfile::tempdir().unwrap();
    let log = DiskLog::open(config(&folder, 1)).unwrap();
    for letter in b"abc" {
        log.append(vec![NewRecord { bytes: Bytes::from(vec![*letter; 9000]), ..record(0, 0) }]).await.unwrap();
    }
    drop(log);
    let (path, mut bytes) = journal(&folder);
    let middle = place_of(&bytes, b'b') - 100;
    bytes[middle] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let refused = DiskLog::open(config(&folder, 1)).unwrap_err();
    assert!(matches!(refused, OpenError::Storage { source: fjall::Error::JournalRecovery(_), .. }), "{refused:?}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "nothing was cut off");
}
