//! Against the brokers of `STREAMGAUGE_TEST_KAFKA` (`deploy/kafka/kafka start DIR` prints them). Each test has a topic and a
//! group of its own, and deletes them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use uuid::Uuid;

use super::*;
use crate::conformance::{Backend, log_conformance_suite};
use crate::{LogRecord, Polled};

mod broker;
mod faults;
mod secured;

const AT_LAST: Duration = Duration::from_secs(30);

/// A configuration for a topic of this test alone; `None` without brokers.
fn config(partitions: Partition) -> Option<KafkaLogConfig> {
    #[expect(clippy::disallowed_methods, reason = "the environment of a test")]
    let Ok(bootstrap) = std::env::var("STREAMGAUGE_TEST_KAFKA") else {
        println!("skipped: STREAMGAUGE_TEST_KAFKA names no brokers");
        return None;
    };
    let name = format!("test-{}", Uuid::new_v4());
    let (topic, group) = (name.clone(), name);
    let mut config = KafkaLogConfig { topic, group, partitions, ..KafkaLogConfig::new(bootstrap) };
    // A test may run beside many others; how soon a dead broker is noticed has a test of its own.
    config.append_timeout = Duration::from_secs(10);
    let brokers = config.bootstrap.split(',').count();
    if brokers < 3 {
        (config.replication, config.min_in_sync) = (1, 1);
    }
    Some(config)
}

fn admin(config: &KafkaLogConfig) -> AdminClient<DefaultClientContext> {
    config.client().create().unwrap()
}

/// Deletes the topic and the group at the end of a test.
struct Gone(KafkaLogConfig);

impl Drop for Gone {
    fn drop(&mut self) {
        let admin = admin(&self.0);
        let gone = async {
            let options = AdminOptions::new();
            let _ = admin.delete_topics(&[&self.0.topic], &options).await;
            let _ = admin.delete_groups(&[&self.0.group], &options).await;
        };
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(gone));
    }
}

struct InKafka {
    log: Arc<KafkaLog>,
    gone: Gone,
}

impl InKafka {
    async fn with(config: KafkaLogConfig) -> Self {
        let log = Arc::new(KafkaLog::open(config.clone()).await.unwrap());
        Self { log, gone: Gone(config) }
    }
}

impl Backend for InKafka {
    async fn create(partitions: Partition) -> Option<Self> {
        Some(Self::with(config(partitions)?).await)
    }

    fn log(&self) -> Arc<dyn EventLog> {
        let log: Arc<KafkaLog> = Arc::clone(&self.log);
        log
    }

    async fn reopen(self) -> Self {
        let Self { log, gone } = self;
        drop(log);
        let log = Arc::new(KafkaLog::open(gone.0.clone()).await.unwrap());
        Self { log, gone }
    }
}

log_conformance_suite!(InKafka);

fn record(partition: Partition, text: &str) -> NewRecord {
    NewRecord { partition, log_time: Timestamp::from_micros(0), bytes: Bytes::copy_from_slice(text.as_bytes()) }
}

/// Polls until something other than [`Polled::Idle`] comes.
async fn next(consumer: &mut dyn LogConsumer) -> Polled {
    let until = Instant::now() + AT_LAST;
    while Instant::now() < until {
        match consumer.poll(1 << 20, Duration::from_millis(100)).await.unwrap() {
            Polled::Idle => {}
            polled => return polled,
        }
    }
    panic!("nothing happened");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_open_a_new_topic_at_once() {
    let Some(config) = config(3) else { return };
    let _gone = Gone(config.clone());
    let opened = (0..4).map(|_| KafkaLog::open(config.clone()));
    let logs = futures::future::try_join_all(opened).await.unwrap();
    assert!(logs.iter().all(|log| log.identity() == logs[0].identity()));
    assert_eq!(logs[0].append(vec![record(2, "a")]).await, Ok(vec![0]));
    assert_eq!(logs[1].append(vec![record(2, "b")]).await, Ok(vec![1]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_at_a_missing_topic_creates_none_and_one_that_is_there_is_opened() {
    let Some(config) = config(2) else { return };
    for _ in 0..2 {
        assert!(KafkaLog::open_existing(config.clone()).await.unwrap().is_none());
    }
    let kafka = InKafka::with(config.clone()).await;
    kafka.log.append(vec![record(1, "a")]).await.unwrap();
    let seen = KafkaLog::open_existing(config.clone()).await.unwrap().unwrap();
    assert_eq!(seen.identity(), kafka.log.identity());
    assert_eq!(seen.ranges()[1], PartitionRange { low: 0, high: 1 });
    let other = KafkaLogConfig { partitions: 3, ..config };
    assert!(matches!(KafkaLog::open_existing(other).await, Err(KafkaOpenError::Mismatch { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_not_as_configured_is_refused_by_name() {
    let Some(config) = config(2) else { return };
    let _gone = Gone(config.clone());
    drop(KafkaLog::open(config.clone()).await.unwrap());
    let week = config.retention.as_millis();
    let day = Duration::from_secs(86_400);
    for (other, setting, found, wanted) in [
        (KafkaLogConfig { partitions: 3, ..config.clone() }, "partitions", "2".to_owned(), "3"),
        (KafkaLogConfig { retention: day, ..config.clone() }, "retention.ms", week.to_string(), "86400000"),
        (
            KafkaLogConfig { min_in_sync: 4, ..config.clone() },
            "min.insync.replicas",
            config.min_in_sync.to_string(),
            "at least 4",
        ),
        (
            KafkaLogConfig { replication: 4, ..config.clone() },
            "replication.factor",
            config.replication.to_string(),
            "4",
        ),
    ] {
        let refused = KafkaLog::open(other).await.unwrap_err();
        let (topic, wanted) = (config.topic.clone(), wanted.to_owned());
        assert_eq!(refused, KafkaOpenError::Mismatch { topic, setting, found, wanted });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_of_others_that_breaks_a_promise_is_refused() {
    for (made_with, value) in [
        ("cleanup.policy", "compact"),
        ("unclean.leader.election.enable", "true"),
        ("message.timestamp.type", "LogAppendTime"),
        ("max.message.bytes", "1000000"),
    ] {
        let Some(config) = config(1) else { return };
        let _gone = Gone(config.clone());
        let retention = config.retention.as_millis().to_string();
        let topic = NewTopic::new(&config.topic, 1, TopicReplication::Fixed(config.replication.into()));
        let topic = topic.set("retention.ms", &retention).set(made_with, value);
        assert!(admin(&config).create_topics([&topic], &AdminOptions::new()).await.unwrap()[0].is_ok());
        let refused = KafkaLog::open(config).await.unwrap_err();
        let KafkaOpenError::Mismatch { setting, found, .. } = &refused else { panic!("{refused}") };
        assert_eq!((*setting, found.as_str()), (made_with, value));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_made_anew_has_another_identity_and_takes_nothing_from_who_knew_the_old_one() {
    let Some(config) = config(1) else { return };
    let log = InKafka::with(config.clone()).await;
    log.log.append(vec![record(0, "a")]).await.unwrap();
    let options = AdminOptions::new();
    assert!(admin(&config).delete_topics(&[&config.topic], &options).await.unwrap()[0].is_ok());
    let until = Instant::now() + AT_LAST;
    let another = loop {
        // The deletion reaches all brokers after a moment.
        let opened = KafkaLog::open(KafkaLogConfig { connect_timeout: Duration::from_secs(2), ..config.clone() }).await;
        match opened {
            Ok(opened) if opened.identity() != log.log.identity() => break opened,
            _ => assert!(Instant::now() < until, "the topic was not made anew"),
        }
    };
    let until = Instant::now() + AT_LAST;
    while log.log.stats().read_only.is_none() {
        assert!(Instant::now() < until, "the old log has not noticed");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(matches!(log.log.append(vec![record(0, "b")]).await, Err(AppendError::ReadOnly(_))));
    assert_eq!(another.append(vec![record(0, "c")]).await, Ok(vec![0]));
}

/// Reads of all its partitions, from where `next` stands, until each has `upto`.
async fn read_to(consumer: &mut dyn LogConsumer, next_of: &mut BTreeMap<Partition, Position>, upto: Position) {
    while next_of.values().any(|next| *next < upto) {
        match next(consumer).await {
            Polled::Records(records) => {
                for LogRecord { partition, position, .. } in records {
                    let next = next_of.get_mut(&partition).expect("only of its own partitions");
                    assert_eq!(position, *next);
                    *next += 1;
                }
            }
            other => panic!("records come, not {other:?}"),
        }
    }
}

async fn append_to_all(log: &KafkaLog, text: &str) {
    let partitions = log.partitions();
    log.append((0..partitions).map(|partition| record(partition, text)).collect()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_are_shared_handed_over_and_taken_back() {
    let Some(config) = config(4) else { return };
    let kafka = InKafka::with(config).await;
    let log = &kafka.log;
    append_to_all(log, "a").await;
    let mut one = log.subscribe();
    assert_eq!(next(one.as_mut()).await, Polled::Assigned(vec![0, 1, 2, 3]));
    for partition in 0..4 {
        one.start_at(partition, 0).unwrap();
    }
    let mut of_one: BTreeMap<Partition, Position> = (0..4).map(|partition| (partition, 0)).collect();
    read_to(one.as_mut(), &mut of_one, 1).await;

    let mut two = log.subscribe();
    let Polled::Revoking(taken) = both(one.as_mut(), two.as_mut()).await else { panic!("two are taken away") };
    assert_eq!(taken.len(), 2);
    // The other has nothing until the first has polled again.
    assert!(has_nothing(&two.poll(1, Duration::from_millis(300)).await.unwrap()));
    of_one.retain(|partition, _| !taken.contains(partition));
    assert_eq!(next(one.as_mut()).await, Polled::Assigned(of_one.keys().copied().collect()));
    assert_eq!(both(two.as_mut(), one.as_mut()).await, Polled::Assigned(taken.clone()));
    let given = taken.clone();
    for partition in &given {
        two.start_at(*partition, 1).unwrap();
    }

    // Who kept its partitions reads on without being told where, the other from its start.
    append_to_all(log, "b").await;
    let mut of_two: BTreeMap<Partition, Position> = given.iter().map(|partition| (*partition, 1)).collect();
    read_to(one.as_mut(), &mut of_one, 2).await;
    read_to(two.as_mut(), &mut of_two, 2).await;

    // Who leaves gives all back at once.
    drop(two);
    assert_eq!(next(one.as_mut()).await, Polled::Assigned(vec![0, 1, 2, 3]));
    for partition in &taken {
        one.start_at(*partition, 1).unwrap();
        of_one.insert(*partition, 1);
    }
    read_to(one.as_mut(), &mut of_one, 2).await;
}

fn has_nothing(polled: &Polled) -> bool {
    *polled == Polled::Idle || *polled == Polled::Assigned(vec![])
}

/// The next partitions, or loss of them, of the first; the second, which the group waits for too, has nothing to tell
/// meanwhile.
async fn both(one: &mut dyn LogConsumer, other: &mut dyn LogConsumer) -> Polled {
    let until = Instant::now() + AT_LAST;
    while Instant::now() < until {
        let polled = one.poll(1 << 20, Duration::from_millis(50)).await.unwrap();
        if !has_nothing(&polled) {
            return polled;
        }
        assert!(has_nothing(&other.poll(1 << 20, Duration::from_millis(50)).await.unwrap()));
    }
    panic!("nothing happened");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_poll_loses_its_partitions_and_comes_back() {
    let Some(mut config) = config(2) else { return };
    config.session_timeout = Duration::from_secs(6);
    config.poll_timeout = config.session_timeout;
    let kafka = InKafka::with(config).await;
    let log = &kafka.log;
    append_to_all(log, "a").await;
    let mut one = log.subscribe();
    assert_eq!(next(one.as_mut()).await, Polled::Assigned(vec![0, 1]));
    for partition in 0..2 {
        one.start_at(partition, 0).unwrap();
    }
    let mut two = log.subscribe();
    let until = Instant::now() + AT_LAST;
    while two.poll(1, Duration::from_millis(100)).await.unwrap() != Polled::Assigned(vec![0, 1]) {
        assert!(Instant::now() < until, "the other still has them");
    }
    // What it held of them is gone, and it takes part again.
    let (mut of_one, mut of_two) = (vec![0, 1], vec![0, 1]);
    let mut was_told = false;
    while !was_told || (of_one.len(), of_two.len()) != (1, 1) {
        for (consumer, own) in [(&mut one, &mut of_one), (&mut two, &mut of_two)] {
            if let Polled::Assigned(partitions) = consumer.poll(1, Duration::from_millis(50)).await.unwrap() {
                *own = partitions;
            }
        }
        was_told |= of_one.is_empty();
        assert!(Instant::now() < until, "{of_one:?} {of_two:?}");
    }
    assert_ne!(of_one, of_two);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_busy_and_stays_keeps_its_partitions_and_misses_nothing() {
    let Some(mut config) = config(1) else { return };
    config.session_timeout = Duration::from_secs(6);
    config.poll_timeout = config.session_timeout;
    let kafka = InKafka::with(config).await;
    let mut consumer = kafka.log.subscribe();
    assert_eq!(next(consumer.as_mut()).await, Polled::Assigned(vec![0]));
    consumer.start_at(0, 0).unwrap();
    kafka.log.append(vec![record(0, "before")]).await.unwrap();
    let mut next_of = BTreeMap::from([(0, 0)]);
    read_to(consumer.as_mut(), &mut next_of, 1).await;
    let busy_until = Instant::now() + Duration::from_secs(9);
    let mut upto = 1;
    while Instant::now() < busy_until {
        kafka.log.append(vec![record(0, "meanwhile")]).await.unwrap();
        upto += 1;
        consumer.stay().unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    // Fails if the partition is taken away, and given back.
    read_to(consumer.as_mut(), &mut next_of, upto).await;
    // One that is stopped while it stays is read again once it is started.
    consumer.stay().unwrap();
    consumer.stop(0).unwrap();
    assert_eq!(consumer.poll(1 << 20, Duration::from_millis(300)).await.unwrap(), Polled::Idle);
    kafka.log.append(vec![record(0, "afterwards")]).await.unwrap();
    consumer.start_at(0, upto).unwrap();
    read_to(consumer.as_mut(), &mut next_of, upto + 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_compressed_on_its_way_is_read_as_it_was() {
    for compression in [Compression::Lz4, Compression::Zstd] {
        let Some(config) = config(1) else { return };
        let kafka = InKafka::with(KafkaLogConfig { compression, ..config }).await;
        let text = "the same again and ".repeat(10_000);
        kafka.log.append(vec![record(0, &text), record(0, &text)]).await.unwrap();
        let mut consumer = kafka.log.subscribe();
        assert_eq!(next(consumer.as_mut()).await, Polled::Assigned(vec![0]));
        consumer.start_at(0, 0).unwrap();
        let Polled::Records(records) = next(consumer.as_mut()).await else { panic!("no records") };
        assert_eq!(records[0].bytes, text.as_bytes(), "{}", compression.as_str());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_more_readers_than_partitions_one_has_none() {
    let Some(config) = config(1) else { return };
    let kafka = InKafka::with(config).await;
    let log = &kafka.log;
    let mut one = log.subscribe();
    assert_eq!(next(one.as_mut()).await, Polled::Assigned(vec![0]));
    let mut two = log.subscribe();
    let until = Instant::now() + AT_LAST;
    while two.poll(1, Duration::from_millis(50)).await.unwrap() != Polled::Assigned(vec![]) {
        assert_eq!(one.poll(1, Duration::from_millis(50)).await.unwrap(), Polled::Idle);
        assert!(Instant::now() < until, "it was told nothing");
    }
    drop(one);
    assert_eq!(next(two.as_mut()).await, Polled::Assigned(vec![0]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_that_the_brokers_have_forgotten_is_named() {
    let Some(config) = config(1) else { return };
    let kafka = InKafka::with(config.clone()).await;
    let log = &kafka.log;
    for text in ["a", "b", "c"] {
        log.append(vec![record(0, text)]).await.unwrap();
    }
    let mut consumer = log.subscribe();
    assert_eq!(next(consumer.as_mut()).await, Polled::Assigned(vec![0]));
    let mut below = rdkafka::TopicPartitionList::new();
    below.add_partition_offset(&config.topic, 0, rdkafka::Offset::Offset(2)).unwrap();
    admin(&config).delete_records(&below, &AdminOptions::new()).await.unwrap();
    // Whether it is noticed here or by the brokers depends on how old the known range is.
    let noticed = match consumer.start_at(0, 0) {
        Ok(()) => consumer.poll(1 << 20, AT_LAST).await.map(|polled| format!("{polled:?}")),
        Err(error) => Err(error),
    };
    let text = noticed.unwrap_err().to_string();
    assert_eq!(text, "position 0 of partition 0 is outside the log's range 2..3");
    consumer.start_at(0, 2).unwrap();
    assert!(matches!(next(consumer.as_mut()).await, Polled::Records(records) if records[0].position == 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_append_is_seen_and_brokers_are_counted() {
    let Some(config) = config(1) else { return };
    let (kafka, other) = (InKafka::with(config.clone()).await, KafkaLog::open(config).await.unwrap());
    let log = &kafka.log;
    other.append(vec![record(0, "a")]).await.unwrap();
    let until = Instant::now() + AT_LAST;
    let is_seen = || log.ranges()[0].high == 1 && other.stats().brokers.is_some_and(|brokers| brokers.up > 0);
    while !is_seen() {
        assert!(Instant::now() < until, "{:?} {:?}", log.ranges(), other.stats());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn committed_positions_are_shown_to_the_tools_of_kafka() {
    use rdkafka::consumer::{BaseConsumer, Consumer};
    let Some(config) = config(1) else { return };
    let kafka = InKafka::with(config.clone()).await;
    let log = &kafka.log;
    log.append(vec![record(0, "a"), record(0, "b")]).await.unwrap();
    let mut consumer = log.subscribe();
    assert_eq!(next(consumer.as_mut()).await, Polled::Assigned(vec![0]));
    consumer.note_committed(0, 2);
    let tool: BaseConsumer = config.client().set("group.id", &config.group).create().unwrap();
    let until = Instant::now() + AT_LAST;
    let mut asked = rdkafka::TopicPartitionList::new();
    asked.add_partition(&config.topic, 0);
    loop {
        let committed = tool.committed_offsets(asked.clone(), AT_LAST).unwrap();
        if committed.elements()[0].offset() == rdkafka::Offset::Offset(2) {
            break;
        }
        assert!(Instant::now() < until, "{committed:?}");
        assert_eq!(consumer.poll(1, Duration::from_millis(20)).await.unwrap(), Polled::Idle);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_that_are_not_there_are_named_in_time() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut config = KafkaLogConfig::new(closed.to_string());
    config.connect_timeout = Duration::from_millis(300);
    let began = Instant::now();
    let refused = KafkaLog::open(config).await.unwrap_err();
    assert!(matches!(&refused, KafkaOpenError::Unreachable { bootstrap, .. } if *bootstrap == closed.to_string()));
    assert!(began.elapsed() < Duration::from_secs(10), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_property_that_the_library_does_not_take_is_named_without_its_value() {
    let mut config = KafkaLogConfig::new("127.0.0.1:1");
    config.properties.insert("sasl.hunger".into(), "hunter2".into());
    let refused = KafkaLog::open(config).await.unwrap_err().to_string();
    assert!(refused.contains("sasl.hunger") && !refused.contains("hunter2"), "{refused}");
}
