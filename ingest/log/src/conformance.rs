//! What every backend of the log must do. A backend passes by one line: `log_conformance_suite!(backend)`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use schemas::Timestamp;
use schemas::record::FRAME_MAX_BYTES;

use crate::{AppendError, EventLog, LogConsumer, LogRecord, NewRecord, Partition, PollError, Polled, Position};

/// A backend under test.
pub(crate) trait Backend: Sized + Send {
    /// A fresh topic with that many partitions; `None` if the backend is not to be had here, which it has said.
    fn create(partitions: Partition) -> impl Future<Output = Option<Self>> + Send;
    /// The log, opened.
    fn log(&self) -> Arc<dyn EventLog>;
    /// Closes the log and opens it again.
    fn reopen(self) -> impl Future<Output = Self> + Send;
}

const WAIT: Duration = Duration::from_millis(500);
/// What does not happen in this time does not happen.
const AT_LAST: Duration = Duration::from_secs(30);

fn record(partition: Partition, text: &str) -> NewRecord {
    NewRecord { partition, log_time: Timestamp::from_micros(1), bytes: Bytes::copy_from_slice(text.as_bytes()) }
}

/// A new consumer and what it was assigned.
async fn subscribed(log: &dyn EventLog) -> (Box<dyn LogConsumer>, Vec<Partition>) {
    let mut consumer = log.subscribe();
    let until = Instant::now() + AT_LAST;
    while Instant::now() < until {
        match consumer.poll(1 << 20, WAIT).await.unwrap() {
            Polled::Assigned(partitions) => return (consumer, partitions),
            Polled::Idle => {}
            other => panic!("an assignment comes first, not {other:?}"),
        }
    }
    panic!("nothing was assigned");
}

/// A consumer that reads all partitions from these positions.
async fn reader(log: &dyn EventLog, from: &[Position]) -> Box<dyn LogConsumer> {
    let (mut consumer, partitions) = subscribed(log).await;
    assert_eq!(partitions, (0..).take(from.len()).collect::<Vec<Partition>>());
    for (partition, position) in (0..).zip(from) {
        consumer.start_at(partition, *position).unwrap();
    }
    consumer
}

/// Reads so many records, and sees that there are no more.
async fn read(consumer: &mut dyn LogConsumer, count: usize) -> Vec<LogRecord> {
    let mut records = Vec::new();
    let until = Instant::now() + AT_LAST;
    while records.len() < count && Instant::now() < until {
        if let Polled::Records(more) = consumer.poll(1 << 20, WAIT).await.unwrap() {
            records.extend(more);
        }
    }
    assert_eq!(records.len(), count);
    assert_eq!(consumer.poll(1 << 20, Duration::from_millis(50)).await.unwrap(), Polled::Idle);
    records
}

fn texts(records: &[LogRecord], partition: Partition) -> Vec<String> {
    let of_partition = records.iter().filter(|record| record.partition == partition);
    of_partition.map(|record| String::from_utf8(record.bytes.to_vec()).unwrap()).collect()
}

pub(crate) async fn positions_rise_by_one_in_each_partition<B: Backend>() {
    let Some(backend) = B::create(2).await else { return };
    let log = backend.log();
    assert_eq!(log.append(vec![record(0, "a"), record(1, "b"), record(0, "c")]).await, Ok(vec![0, 0, 1]));
    assert_eq!(log.append(vec![record(1, "d")]).await, Ok(vec![1]));
    assert_eq!(log.append(Vec::new()).await, Ok(vec![]));
    assert_eq!(log.ranges().iter().map(|range| (range.low, range.high)).collect::<Vec<_>>(), [(0, 2), (0, 2)]);
}

pub(crate) async fn records_are_read_as_they_were_appended<B: Backend>() {
    let Some(backend) = B::create(2).await else { return };
    let log = backend.log();
    for n in 0..100 {
        log.append(vec![record(n % 2, &format!("{n}"))]).await.unwrap();
    }
    let records = read(reader(&*log, &[0, 0]).await.as_mut(), 100).await;
    assert_eq!(texts(&records, 0), (0..100).step_by(2).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(texts(&records, 1), (1..100).step_by(2).map(|n| n.to_string()).collect::<Vec<_>>());
    let of_zero = records.iter().filter(|record| record.partition == 0);
    assert_eq!(of_zero.map(|record| record.position).collect::<Vec<_>>(), (0..50).collect::<Vec<_>>());
}

pub(crate) async fn a_reader_starts_where_it_is_told<B: Backend>() {
    let Some(backend) = B::create(2).await else { return };
    let log = backend.log();
    log.append(vec![record(0, "a"), record(0, "b"), record(1, "c")]).await.unwrap();
    let records = read(reader(&*log, &[1, 1]).await.as_mut(), 1).await;
    assert_eq!((texts(&records, 0), texts(&records, 1)), (vec!["b".to_owned()], vec![]));
}

pub(crate) async fn a_partition_that_is_stopped_waits_for_another_start<B: Backend>() {
    let Some(backend) = B::create(2).await else { return };
    let log = backend.log();
    log.append(vec![record(0, "a"), record(1, "b")]).await.unwrap();
    let mut consumer = reader(&*log, &[0, 0]).await;
    read(consumer.as_mut(), 2).await;
    consumer.stop(0).unwrap();
    consumer.stop(0).unwrap();
    log.append(vec![record(0, "c"), record(1, "d")]).await.unwrap();
    assert_eq!(texts(&read(consumer.as_mut(), 1).await, 1), ["d"]);
    consumer.start_at(0, 1).unwrap();
    assert_eq!(texts(&read(consumer.as_mut(), 1).await, 0), ["c"]);
}

pub(crate) async fn nothing_is_delivered_before_a_start_is_given<B: Backend>() {
    let Some(backend) = B::create(1).await else { return };
    let log = backend.log();
    log.append(vec![record(0, "a")]).await.unwrap();
    let (mut consumer, _) = subscribed(&*log).await;
    assert!(matches!(consumer.poll(1, Duration::from_millis(20)).await, Ok(Polled::Idle)));
    consumer.start_at(0, 0).unwrap();
    read(consumer.as_mut(), 1).await;
}

pub(crate) async fn a_waiting_reader_is_woken_by_an_append<B: Backend>() {
    let Some(backend) = B::create(1).await else { return };
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
    let Some(backend) = B::create(1).await else { return };
    let log = backend.log();
    log.append(vec![record(0, "a")]).await.unwrap();
    let (mut consumer, _) = subscribed(&*log).await;
    let refused = consumer.start_at(0, 2).unwrap_err();
    assert!(matches!(refused, PollError::OutOfRange { position: 2, .. }));
    assert_eq!(refused.to_string(), "position 2 of partition 0 is outside the log's range 0..1");
    consumer.start_at(0, 1).unwrap();
}

pub(crate) async fn a_log_keeps_its_name_and_another_has_another<B: Backend>() {
    let Some(backend) = B::create(1).await else { return };
    let name = backend.log().identity().to_owned();
    assert!(!name.is_empty());
    assert_eq!(backend.reopen().await.log().identity(), name);
    let another = B::create(1).await.expect("the first was there");
    assert_ne!(another.log().identity(), name);
}

pub(crate) async fn records_survive_a_restart<B: Backend>() {
    let Some(backend) = B::create(2).await else { return };
    backend.log().append(vec![record(0, "a"), record(1, "b")]).await.unwrap();
    let backend = backend.reopen().await;
    let log = backend.log();
    assert_eq!(log.append(vec![record(0, "c")]).await, Ok(vec![1]));
    let records = read(reader(&*log, &[0, 0]).await.as_mut(), 3).await;
    assert_eq!((texts(&records, 0), texts(&records, 1)), (vec!["a".into(), "c".into()], vec!["b".to_owned()]));
}

pub(crate) async fn a_reader_that_is_told_again_starts_there<B: Backend>() {
    let Some(backend) = B::create(2).await else { return };
    let log = backend.log();
    for text in ["a", "b", "c"] {
        log.append(vec![record(0, text), record(1, text)]).await.unwrap();
    }
    let mut consumer = reader(&*log, &[0, 0]).await;
    // Something of it may be on its way when it begins anew.
    while !matches!(consumer.poll(1, WAIT).await.unwrap(), Polled::Records(_)) {}
    consumer.start_at(0, 1).unwrap();
    consumer.start_at(1, 2).unwrap();
    let records = read(consumer.as_mut(), 3).await;
    assert_eq!((texts(&records, 0), texts(&records, 1)), (vec!["b".to_owned(), "c".into()], vec!["c".to_owned()]));
    consumer.start_at(0, 0).unwrap();
    assert_eq!(texts(&read(consumer.as_mut(), 3).await, 0), ["a", "b", "c"]);
}

pub(crate) async fn a_poll_that_is_dropped_has_delivered_nothing<B: Backend>() {
    let Some(backend) = B::create(1).await else { return };
    let log = backend.log();
    let mut consumer = reader(&*log, &[0]).await;
    let dropped = tokio::time::timeout(Duration::from_millis(20), consumer.poll(1 << 20, AT_LAST)).await;
    assert!(dropped.is_err());
    log.append(vec![record(0, "a"), record(0, "b")]).await.unwrap();
    assert_eq!(texts(&read(consumer.as_mut(), 2).await, 0), ["a", "b"]);
}

pub(crate) async fn a_poll_is_bounded_and_partitions_take_turns<B: Backend>() {
    let Some(backend) = B::create(2).await else { return };
    let log = backend.log();
    let large = "x".repeat(10_000);
    let many = 400;
    for _ in 0..4 {
        log.append((0..many / 4).map(|_| record(0, &large)).collect()).await.unwrap();
    }
    log.append(vec![record(1, "small")]).await.unwrap();
    let mut consumer = reader(&*log, &[0, 0]).await;
    let mut of_the_full = 0;
    loop {
        // Slower than any way to the other partition, which another broker may lead: what is judged is whose turn it is.
        tokio::time::sleep(Duration::from_millis(25)).await;
        let Polled::Records(records) = consumer.poll(20_000, AT_LAST).await.unwrap() else {
            panic!("records are there")
        };
        assert!(records.len() <= 3, "{}", records.len());
        of_the_full += records.iter().filter(|record| record.partition == 0).count();
        if records.iter().any(|record| record.partition == 1) {
            break;
        }
    }
    assert!(of_the_full < many, "a full partition must not starve the other");
}

pub(crate) async fn counts_are_kept<B: Backend>() {
    let Some(backend) = B::create(1).await else { return };
    let log = backend.log();
    log.append(vec![record(0, "abc"), record(0, "de")]).await.unwrap();
    log.append(vec![record(0, "f")]).await.unwrap();
    let stats = log.stats();
    assert_eq!((stats.appended_records, stats.appended_bytes, stats.queued_bytes), (3, 6, 0));
    assert!(stats.flushes >= 1 && stats.read_only.is_none(), "{stats:?}");
}

pub(crate) async fn concurrent_appends_all_get_their_own_place<B: Backend>() {
    let Some(backend) = B::create(3).await else { return };
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
    read(reader(&*log, &[0, 0, 0]).await.as_mut(), 300).await;
}

pub(crate) async fn a_record_beyond_the_limit_is_refused<B: Backend>() {
    let Some(backend) = B::create(1).await else { return };
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
            a_reader_that_is_told_again_starts_there,
            a_poll_that_is_dropped_has_delivered_nothing,
            nothing_is_delivered_before_a_start_is_given,
            a_partition_that_is_stopped_waits_for_another_start,
            a_waiting_reader_is_woken_by_an_append,
            a_position_outside_the_range_is_refused_by_name,
            a_log_keeps_its_name_and_another_has_another,
            records_survive_a_restart,
            a_poll_is_bounded_and_partitions_take_turns,
            concurrent_appends_all_get_their_own_place,
            counts_are_kept,
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
