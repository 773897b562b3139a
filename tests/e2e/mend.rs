//! `partitions mend`: the log comes back without its end and goes on, and everything that was acknowledged counts once.

use std::time::Duration;

use chrono::Utc;
use rig::server::{Start, wait_until};
use rig::{Device, Server};
use serde_json::{Value, json};

use crate::backup::{fail, succeed};
use crate::{assert_books_balance, assert_positions_are_unique, copy_folder, start, wait_for_log};

/// So many uploads of one event, each from another device.
async fn post(server: &Server, uploads: usize) -> usize {
    for _ in 0..uploads {
        let event = Device::new().event("layout.saved", Utc::now(), json!({}));
        let reply = server.upload(&[event]).await;
        assert_eq!(reply.status, 202, "{}", reply.text());
    }
    uploads
}

fn quick(start: Start) -> Start {
    start
        .variable("STREAMGAUGE_PROCESSOR__COMMIT_INTERVAL", "100ms")
        .variable("STREAMGAUGE_PROCESSOR__STATE_INTERVAL", "300ms")
        .variable("STREAMGAUGE_INGEST__TICK_INTERVAL", "100ms")
}

/// The log of a place is that of all its starts.
fn errors(server: &Server) -> usize {
    server.log_lines("ERROR").len()
}

/// What was mended, over all partitions: records appended once more, positions filled.
async fn mend(start: &Start) -> (u64, u64) {
    let said = succeed(start, &["partitions", "mend"]).await;
    let sum = |name: &str| {
        let mended: &Vec<Value> = said["mended"].as_array().unwrap();
        mended.iter().map(|mended| mended[name].as_u64().unwrap()).sum()
    };
    (sum("again"), sum("filled"))
}

async fn assert_all_once(server: &Server, events: usize) {
    let trouble = || format!("not all is there: {}", server.log());
    let events = i64::try_from(events).unwrap();
    let is_there = async || server.number("SELECT count(*) FROM events").await == events;
    wait_until(Duration::from_secs(20), trouble, is_there).await;
    assert_eq!(server.number("SELECT count(DISTINCT event_id) FROM events").await, events);
    assert_positions_are_unique(server).await;
    assert_books_balance(server).await;
}

#[tokio::test]
async fn a_log_restored_from_an_older_copy_is_noticed_also_when_it_has_grown_and_is_mended() {
    let server = quick(start()).start().await.unwrap();
    let mut events = post(&server, 12).await;
    server.settle().await;
    let (_, stopped) = server.stop().await;
    let (log, copy) = (stopped.data_dir().join("log"), stopped.data_dir().join("copy"));
    copy_folder(&log, &copy);
    let server = stopped.start().await.unwrap();
    events += post(&server, 40).await;
    server.settle().await;
    assert_all_once(&server, events).await;
    let (_, stopped) = server.stop().await;

    std::fs::remove_dir_all(&log).unwrap();
    copy_folder(&copy, &log);
    let server = stopped.start().await.unwrap();
    // Below the checkpoint, while that is above the end, and above both, when ticks have made the log longer.
    events += post(&server, 8).await;
    wait_for_log(&server, "is outside the log's range").await;
    wait_for_log(&server, "the log lost its end and went on").await;
    let longer = async || server.metric("streamgauge_log_lag_records{partition=\"0\"}").await.unwrap_or(0.0) > 20.0;
    wait_until(Duration::from_secs(20), || server.log(), longer).await;
    events += post(&server, 8).await;
    let complaints = errors(&server);
    let refused = fail(server.start(), &["partitions", "mend"], 1).await;
    assert!(refused.contains("is in use by another process: stop it first"), "{refused}");
    let stopped = server.kill().await;

    let (again, _) = mend(&stopped).await;
    assert!((1..=16).contains(&again), "{again} of 16 records were below the checkpoint");
    assert_eq!(mend(&stopped).await, (0, 0), "it is whole");
    let server = stopped.start().await.unwrap();
    server.settle().await;
    assert_all_once(&server, events).await;
    events += post(&server, 5).await;
    assert_all_once(&server, events).await;
    assert_eq!(errors(&server), complaints, "{}", server.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_lost_its_end_is_mended_while_ingests_go_on() {
    let Some((cluster, _alone)) = crate::cluster::cluster().await else { return };
    let ingest = quick(cluster.role("ingest")).start().await.unwrap();
    let query = cluster.role("query").start().await.unwrap();
    let processor = quick(cluster.role("processor")).start().await.unwrap();
    let mut events = post(&ingest, 12).await;
    processor.settle().await;
    let (_, stopped) = processor.stop().await;
    // As if the topic had had more records, and lost them.
    cluster.execute("UPDATE checkpoint SET position = position + 2000 WHERE position > 0").await.unwrap();
    events += post(&ingest, 12).await;
    let processor = stopped.start().await.unwrap();
    wait_for_log(&processor, "is outside the log's range").await;
    let complaints = errors(&processor);
    let stopped = processor.kill().await;
    events += post(&ingest, 4).await;
    let (again, filled) = mend(&stopped).await;
    assert!(again == 16 && filled > 2000, "{again} records appended once more, {filled} positions filled");
    events += post(&ingest, 4).await;
    let processor = stopped.start().await.unwrap();
    processor.settle().await;
    assert_all_once(&query, events).await;
    assert_eq!(errors(&processor), complaints, "{}", processor.log());
    for server in [ingest, query, processor] {
        assert!(server.stop().await.0.success());
    }
    cluster.end().await.unwrap();
}
