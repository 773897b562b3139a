//! Brokers that die and freeze.

use super::broker::Broker;
use super::*;

/// An append that must fail, and in time.
async fn fails_in_time(log: &KafkaLog) {
    let began = Instant::now();
    let failed = log.append(vec![record(0, "lost?")]).await;
    assert!(matches!(failed, Err(AppendError::Unavailable(_))), "{failed:?}");
    assert!(began.elapsed() < Duration::from_millis(2500), "{:?}", began.elapsed());
}

/// Waits until the broker is counted so.
async fn is_counted(log: &KafkaLog, up: u32, down: u32) {
    let began = Instant::now();
    while log.stats().brokers != Some(crate::Brokers { up, down }) {
        assert!(began.elapsed() < AT_LAST, "{:?}", log.stats());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Appends until the broker is found again.
async fn succeeds_again(log: &KafkaLog) -> Position {
    let began = Instant::now();
    loop {
        match log.append(vec![record(0, "kept")]).await {
            Ok(positions) => return positions[0],
            Err(error) => assert!(began.elapsed() < AT_LAST, "{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_dies_or_freezes_fails_appends_in_time_and_is_found_again() {
    let Some(mut config) = config(1) else { return };
    let broker = Broker::start();
    config.bootstrap = broker.bootstrap();
    (config.replication, config.min_in_sync) = (1, 1);
    config.append_timeout = Duration::from_secs(1);
    config.close_timeout = Duration::from_secs(2);
    // Longer than the broker is away here: a reader that hears nothing for so long gives up its partitions.
    config.session_timeout = Duration::from_secs(60);
    let log = KafkaLog::open(config.clone()).await.unwrap();
    assert_eq!(log.append(vec![record(0, "first")]).await, Ok(vec![0]));
    let mut consumer = log.subscribe();
    assert_eq!(next(consumer.as_mut()).await, Polled::Assigned(vec![0]));
    consumer.start_at(0, 0).unwrap();
    assert!(matches!(next(consumer.as_mut()).await, Polled::Records(records) if records.len() == 1));

    broker.signal("-STOP");
    fails_in_time(&log).await;
    broker.signal("-CONT");
    succeeds_again(&log).await;

    broker.kafka("kill-node", &["1"]);
    fails_in_time(&log).await;
    is_counted(&log, 0, 1).await;
    // A reader waits for the broker, and keeps what it was assigned.
    let polled = consumer.poll(1, Duration::from_millis(200)).await;
    assert!(matches!(polled, Ok(Polled::Idle | Polled::Records(_))), "{polled:?}");
    broker.kafka("start-node", &["1"]);
    let last = succeeds_again(&log).await;
    is_counted(&log, 1, 0).await;
    let mut seen = 0;
    while seen < last {
        match next(consumer.as_mut()).await {
            Polled::Records(records) => seen = records.last().unwrap().position,
            Polled::Assigned(partitions) => {
                for partition in partitions {
                    consumer.start_at(partition, seen + 1).unwrap();
                }
            }
            other => panic!("{other:?}"),
        }
    }

    // Nothing waits for ever for a broker that does not come back.
    broker.kafka("kill-node", &["1"]);
    let began = Instant::now();
    drop(consumer);
    drop(log);
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
}
