//! `partitions`: what an operator orders about the log, and what that means to the numbers.

use std::time::Duration;

use chrono::TimeDelta;
use event_log::{DiskLog, DiskLogConfig, EventLog, Polled};
use rig::server::{Start, wait_until};
use rig::{Device, Server};
use schemas::record::{self, Record};
use serde_json::{Value, json};

use crate::backup::{fail, path, succeed};
use crate::views::{base, session, upload_at};
use crate::{assert_books_balance, numbers, start};

async fn list(start: &Start) -> Value {
    succeed(start, &["partitions", "list"]).await
}

async fn partition_of(server: &Server, device: &Device) -> i64 {
    server.number(&format!("SELECT max(log_partition) FROM events WHERE session_id = '{}'", device.session)).await
}

/// The first upload of a partition from a position on, in the log of a stopped server.
async fn first_upload(stopped: &Start, partition: u16, from: u64) -> u64 {
    let log = DiskLog::open(DiskLogConfig::new(stopped.data_dir().join("log"))).unwrap();
    let mut consumer = log.subscribe();
    assert!(matches!(consumer.poll(1, Duration::ZERO).await, Ok(Polled::Assigned(_))));
    consumer.start_at(partition, from).unwrap();
    loop {
        let Polled::Records(records) = consumer.poll(1 << 20, Duration::ZERO).await.unwrap() else {
            panic!("there is no upload");
        };
        for log_record in records {
            let payload = record::open(&log_record.bytes).unwrap();
            if let Ok(Record::Upload(_)) = record::decode_payload(&payload) {
                return log_record.position;
            }
        }
    }
}

#[tokio::test]
async fn a_partition_waits_while_others_go_on_and_a_record_is_left_out_in_the_books() {
    let server = start().test_clock().start().await.unwrap();
    let mut device = Device::new();
    let events = session(&mut device, base());
    upload_at(&server, &events[..4], base()).await;
    server.settle().await;
    let partition = partition_of(&server, &device).await;
    let named = partition.to_string();

    let complaint = fail(server.start(), &["partitions", "skip", &named, "99", "--because", "x"], 1).await;
    assert!(complaint.contains("is not paused: pause it first"), "{complaint}");
    let complaint = fail(server.start(), &["partitions", "pause", "99", "--because", "x"], 1).await;
    assert!(complaint.contains("there is no partition 99"), "{complaint}");
    fail(server.start(), &["partitions", "pause", &named], 2).await;
    succeed(server.start(), &["partitions", "pause", &named, "--because", "looked at"]).await;
    let next = list(server.start()).await["partitions"][usize::try_from(partition).unwrap()]["next"].as_u64().unwrap();

    // What is sent meanwhile is taken, and waits; what others send is stored.
    upload_at(&server, &events[4..7], base() + TimeDelta::seconds(9)).await;
    let mut sent = 0;
    wait_until(
        Duration::from_secs(30),
        || server.log(),
        async || {
            let other = Device::new();
            upload_at(&server, &session(&mut { other }, base())[..1], base() + TimeDelta::seconds(10)).await;
            sent += 1;
            server.number("SELECT count(DISTINCT session_id) FROM events").await > 1
        },
    )
    .await;
    let stored = format!("SELECT count(*) FROM events WHERE session_id = '{}'", device.session);
    assert_eq!(server.number(&stored).await, 4);
    assert_eq!(server.metric("streamgauge_paused_partitions").await, Some(1.0));
    let lag = format!("streamgauge_log_lag_records{{partition=\"{partition}\"}}");
    assert!(server.metric(&lag).await.is_some_and(|records| records > 0.0));

    let (_, stopped) = server.stop().await;
    // What was acknowledged and is not taken in would be missing.
    let set = tempfile::tempdir().unwrap();
    let complaint = fail(&stopped, &["backup", path(set.path())], 1).await;
    assert!(complaint.contains("and no further: is a partition paused?"), "{complaint}");
    let complaint = fail(&stopped, &["partitions", "give-up-lost", &named, "--because", "x"], 1).await;
    assert!(complaint.contains("lacks nothing"), "{complaint}");
    let bad = first_upload(&stopped, u16::try_from(partition).unwrap(), next).await;
    let complaint = fail(&stopped, &["partitions", "skip", &named, "0", "--because", "x"], 1).await;
    assert!(complaint.contains("record 0 of partition") && complaint.contains("was taken in"), "{complaint}");
    succeed(&stopped, &["partitions", "skip", &named, &bad.to_string(), "--because", "stops the fold"]).await;
    let server = stopped.start().await.unwrap();
    succeed(server.start(), &["partitions", "resume", &named]).await;
    server.settle().await;
    assert_eq!(server.number(&stored).await, 4);
    let left_out = server.sql("SELECT reason, log_position, count(*) AS n FROM quarantine GROUP BY 1, 2").await;
    assert_eq!(left_out, [json!({"reason": "skipped", "log_position": bad, "n": 3})]);
    assert_eq!(
        server.sql("SELECT events, stored, quarantined FROM records WHERE quarantined > 0").await,
        [json!({"events": 3, "stored": 0, "quarantined": 3})]
    );
    let known = list(server.start()).await;
    assert_eq!(known["skipped"][0]["because"], json!("stops the fold"));
    assert_eq!(known["partitions"][usize::try_from(partition).unwrap()]["paused"], Value::Null);

    // Sent again they count, and what follows is as if they had come late.
    upload_at(&server, &events[4..], base() + TimeDelta::seconds(220)).await;
    server.settle().await;
    assert_eq!(server.number(&stored).await, i64::try_from(events.len()).unwrap());
    assert_books_balance(&server).await;
    succeed(server.start(), &["audit"]).await;

    // Folded again it is left out again.
    let before = numbers(&server).await;
    let (_, stopped) = server.stop().await;
    succeed(&stopped, &["rebuild"]).await;
    let server = stopped.start().await.unwrap();
    for (name, rows) in numbers(&server).await {
        assert_eq!(rows, before[name], "{name}");
    }
    succeed(server.start(), &["audit"]).await;
    let errors = server.log_lines("ERROR");
    assert!(!errors.is_empty() && errors.iter().all(|line| line.contains("is paused: looked at")), "{errors:?}");
}
