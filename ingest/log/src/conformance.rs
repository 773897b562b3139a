//! What every backend of the log must do. A backend passes by one line: `log_conformance_suite!(backend)`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use schemas::Timestamp;
use schemas::record::FRAME_MAX_BYTES;

use crate::{AppendError, EventLog, LogConsumer, LogRecord, NewRecord, Partition, PollError, Polled, Position};

/// A backend under test.
pub(crate) trait Backend: Sized {
    /// A fresh topic with that many partitions.
    fn create(partitions: Partition) -> Self;
    /// The log, opened.
    fn log(&self) -> Arc<dyn EventLog>;
    /// Closes the log and opens it again.
    fn reopen(self) -> Self;
}

const WAIT: Duration = Duration::from_millis(500);

fn record(partition: Partition, text: &str) -> NewRecord {
    NewRecord { partition, log_time: Timestamp::from_micros(1), bytes: Bytes::copy_from_slice(text.as_bytes()) }
}

/// A consumer that reads all partitions from these positions.
async fn reader(log: &dyn EventLog, from: &[Position]) -> Box<dyn LogConsumer> {
    let mut consumer = log.subscribe();
    match consumer.poll(1 << 20, WAIT).await.unwrap() {
        Polled::Assigned(partitions) => assert_eq!(partitions.len(), from.len()),
        other => panic!("an assignment comes first, not {other:?}"),
    }
    for (partition, position) in (0..).zip(from) {
        consumer.start_at(partition, *position).unwrap();
    }
    consumer
}

/// Reads until nothing more comes.
async fn drain(consumer: &mut dyn LogConsumer) -> Vec<LogRecord> {
    let mut records = Vec::new();
    while let Polled::Records(more) = consumer.poll(1 << 20, Duration::from_millis(50)).await.unwrap() {
        records.extend(more);
    }
    records
}

fn texts(records: &[LogRecord], partition: Partition) -> Vec<String> {
    let of_partition = records.iter().filter(|record| record.partition == partition);
    of_partition.map(|record| String::from_utf8(record.bytes.to_vec()).unwrap()).collect()
}

pub(crate) async fn positions_rise_by_one_in_each_partition<B: Backend>() {
    let backend = B::create(2);
    let log = backend.log();
    assert_eq!(log.append(vec![record(0, "a"), record(1, "b"), record(0, "c")]).await, Ok(vec![0, 0, 1]));
    assert_eq!(log.append(vec![record(1, "d")]).await, Ok(vec![1]));
    assert_eq!(log.append(Vec::new()).await, Ok(vec![]));
    assert_eq!(log.ranges().iter().map(|range| (range.low, range.high)).collect::<Vec<_>>(), [(0, 2), (0, 2)]);
}

pub(crate) async fn records_are_read_as_they_were_appended<B: Backend>() {
    let backend = B::create(2);
    let log = backend.log();
    for n in 0..100 {
        log.append(vec![record(n % 2, &format!("{n}"))]).await.unwrap();
    }
    let records = drain(reader(&*log, &[0, 0]).await.as_mut()).await;
    assert_eq!(texts(&records, 0), (0..100).step_by(2).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(texts(&records, 1), (1..100).step_by(2).map(|n| n.to_string()).collect::<Vec<_>>());
    let of_zero = records.iter().filter(|record| record.partition == 0);
    assert_eq!(of_zero.map(|record| record.position).collect::<Vec<_>>(), (0..50).collect::<Vec<_>>());
}

pub(crate) async fn a_reader_starts_where_it_is_told<B: Backend>() {
    let backend = B::create(2);
    let log = backend.log();
    log.append(vec![record(0, "a"), record(0, "b"), record(1, "c")]).await.unwrap();
    let records = drain(reader(&*log, &[1, 1]).await.as_mut()).await;
    assert_eq!((texts(&records, 0), texts(&records, 1)), (vec!["b".to_owned()], vec![]));
}

pub(crate) async fn nothing_is_delivered_before_a_start_is_given<B: Backend>() {
    let backend = B::create(1);
    let log = backend.log();
    log.append(vec![record(0, "a")]).await.unwrap();
    let mut consumer = log.subscribe();
    assert!(matches!(consumer.poll(1, WAIT).await, Ok(Polled::Assigned(_))));
    assert!(matches!(consumer.poll(1, Duration::from_millis(20)).await, Ok(Polled::Idle)));
    consumer.start_at(0, 0).unwrap();
    assert!(matches!(consumer.poll(1, WAIT).await, Ok(Polled::Records(records)) if records.len() == 1));
}

pub(crate) async fn a_waiting_reader_is_woken_by_an_append<B: Backend>() {
    let backend = B::create(1);
    let log = backend.log();
    let mut consumer = reader(&*log, &[0]).await;
    let appending = tokio::spawn({
        let log = Arc::clone(&log);
        async move {
            tokio::time::sleep(Duration::from_millis(30)).await;
            log.append(vec![record(0, "late")]).await.unwrap();
        }
    });
    let polled = consumer.poll(1 << 20, Duration::from_secs(30)).await.unwrap();
    assert!(matches!(polled, Polled::Records(records) if texts(&records, 0) == ["late"]));
    appending.await.unwrap();
}

pub(crate) async fn a_position_outside_the_range_is_refused_by_name<B: Backend>() {
    let backend = B::create(1);
    let log = backend.log();
    log.append(vec![record(0, "a")]).await.unwrap();
    let mut consumer = log.subscribe();
    assert!(matches!(consumer.poll(1, WAIT).await, Ok(Polled::Assigned(_))));
    let refused = consumer.start_at(0, 2).unwrap_err();
    assert!(matches!(refused, PollError::OutOfRange { position: 2, .. }));
    assert_eq!(refused.to_string(), "position 2 of partition 0 is outside the log's range 0..1");
    consumer.start_at(0, 1).unwrap();
}

pub(crate) async fn a_log_keeps_its_name_and_another_has_another<B: Backend>() {
    let backend = B::create(1);
    let name = backend.log().identity().to_owned();
    assert!(!name.is_empty());
    assert_eq!(backend.reopen().log().identity(), name);
    assert_ne!(B::create(1).log().identity(), name);
}

pub(crate) async fn records_survive_a_restart<B: Backend>() {
    let backend = B::create(2);
    backend.log().append(vec![record(0, "a"), record(1, "b")]).await.unwrap();
    let backend = backend.reopen();
    let log = backend.log();
    assert_eq!(log.append(vec![record(0, "c")]).await, Ok(vec![1]));
    let records = drain(reader(&*log, &[0, 0]).await.as_mut()).await;
    assert_eq!((texts(&records, 0), texts(&records, 1)), (vec!["a".into(), "c".into()], vec!["b".to_owned()]));
}

pub(crate) async fn a_poll_is_bounded_and_partitions_take_turns<B: Backend>() {
    let backend = B::create(2);
    let log = backend.log();
    let large = "x".repeat(1000);
    for _ in 0..10 {
        log.append(vec![record(0, &large), record(1, &large)]).await.unwrap();
    }
    let mut consumer = reader(&*log, &[0, 0]).await;
    let mut seen = BTreeSet::new();
    for _ in 0..4 {
        let Polled::Records(records) = consumer.poll(2000, WAIT).await.unwrap() else { panic!("records are there") };
        assert!(records.len() <= 3, "{}", records.len());
        seen.extend(records.iter().map(|record| record.partition));
    }
    assert_eq!(seen.len(), 2, "a full partition must not starve the other");
}

pub(crate) async fn concurrent_appends_all_get_their_own_place<B: Backend>() {
    let backend = B::create(3);
    let log = backend.log();
    let appends = (0..300u16).map(|n| {
        let log = Arc::clone(&log);
        tokio::spawn(async move { (n % 3, log.append(vec![record(n % 3, &format!("{n}"))]).await.unwrap()[0]) })
    });
    let mut places = BTreeSet::new();
    for append in appends.collect::<Vec<_>>() {
        places.insert(append.await.unwrap());
    }
    assert_eq!(places, (0..3).flat_map(|partition| (0..100).map(move |position| (partition, position))).collect());
    assert_eq!(drain(reader(&*log, &[0, 0, 0]).await.as_mut()).await.len(), 300);
}

pub(crate) async fn a_record_beyond_the_limit_is_refused<B: Backend>() {
    let backend = B::create(1);
    let log = backend.log();
    let exact = "x".repeat(FRAME_MAX_BYTES);
    assert_eq!(log.append(vec![record(0, &exact)]).await, Ok(vec![0]));
    let refused = log.append(vec![record(0, &(exact + "x"))]).await;
    assert_eq!(refused, Err(AppendError::TooLarge { bytes: FRAME_MAX_BYTES + 1, max_bytes: FRAME_MAX_BYTES }));
}

/// Makes one test per promise for a backend.
macro_rules! log_conformance_suite {
    ($backend:ty) => {
        log_conformance_suite!(@tests $backend,
            positions_rise_by_one_in_each_partition,
            records_are_read_as_they_were_appended,
            a_reader_starts_where_it_is_told,
            nothing_is_delivered_before_a_start_is_given,
            a_waiting_reader_is_woken_by_an_append,
            a_position_outside_the_range_is_refused_by_name,
            a_log_keeps_its_name_and_another_has_another,
            records_survive_a_restart,
            a_poll_is_bounded_and_partitions_take_turns,
            concurrent_appends_all_get_their_own_place,
            a_record_beyond_the_limit_is_refused,
        );
    };
    (@tests $backend:ty, $($test:ident,)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                $crate::conformance::$test::<$backend>().await;
            }
        )+
    };
}
pub(crate) use log_conformance_suite;
