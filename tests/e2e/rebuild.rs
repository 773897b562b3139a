//! `streamgauge rebuild`: what is folded again from the lake is what was there.

mod renaming;

use std::process::Output;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use event_log::{DiskLog, DiskLogConfig, EventLog, NewRecord};
use rig::cluster::Cluster;
use rig::device::{with, without};
use rig::server::{Start, wait_until};
use rig::{Device, Server};
use serde_json::{Value, json};

use crate::clients::through_duckdb;
use crate::fixtures::replay;
use crate::views::{base, session, upload_at};

use crate::{assert_books_balance, numbers, start, wait_for_log};

/// A server that commits, merges and forgets often.
fn how() -> Start {
    start()
        .test_clock()
        .variable("STREAMGAUGE_PROCESSOR__COMMIT_INTERVAL", "150ms")
        .variable("STREAMGAUGE_PROCESSOR__STATE_INTERVAL", "600ms")
        .variable("STREAMGAUGE_MAINTENANCE__INTERVAL", "300ms")
        .variable("STREAMGAUGE_MAINTENANCE__MERGE_FAN_IN", "4")
        .variable("STREAMGAUGE_LOG__RETENTION", "1s")
}

/// A server that has seen everything: a fleet in trouble, clients of other formats, broken events, bytes that are no
/// record, sessions that are over, open and corrected weeks later; and whose log has forgotten most of it.
async fn eventful() -> Server {
    let server = how().start().await.unwrap();
    let mut simulate = server.start().command();
    simulate.args(["simulate", "--check", "--devices", "10", "--days", "1", "--seed", "23"]);
    simulate.args(["--disturb", "duplicates,recut,reorder,offline,clocks"]);
    let output = simulate.output().await.unwrap();
    assert!(output.status.success(), "{output:?}");

    let server = with_damaged_record(server).await;
    for file in ["cml-cmcd-2.7.0.json", "hls-js-1.7.4.json", "cloudevents-js-10.0.0.json"] {
        replay(&server, file).await;
    }
    let newest = server.sql("SELECT max(received_at) AS at FROM records").await[0]["at"].clone();
    let newest = chrono::DateTime::parse_from_rfc3339(newest.as_str().unwrap()).unwrap().to_utc();
    let (mut early, mut open) = (Device::new(), Device::new());
    let events = session(&mut early, newest);
    let (first, last) = events.split_at(events.len() - 3);
    upload_at(&server, first, newest).await;
    let broken: Vec<Value> =
        session(&mut Device::new(), newest).into_iter().map(|event| without(event, "source")).collect();
    upload_at(&server, &broken, newest).await;
    upload_at(&server, &[with(open.event("layout.saved", newest, json!({})), "seq", "x")], newest).await;
    server.settle().await;
    let later = newest + TimeDelta::days(40);
    upload_at(&server, &session(&mut open, later)[..9], later + TimeDelta::seconds(30)).await;
    upload_at(&server, last, later + TimeDelta::seconds(31)).await;
    server.settle().await;
    wait_for_log(&server, "the log forgot").await;
    server
}

/// Records of the log that cannot be read.
const DAMAGED: i64 = 2;

/// Puts bytes into the log that are no record.
async fn with_damaged_record(server: Server) -> Server {
    let (_, stopped) = server.stop().await;
    let log = DiskLog::open(DiskLogConfig::new(stopped.data_dir().join("log"))).unwrap();
    let records = (0..DAMAGED).map(|partition| NewRecord {
        partition: u16::try_from(partition).unwrap(),
        log_time: schemas::Timestamp::from(base()),
        bytes: vec![1, 0, 9, 9, 9, 9, 0, 0, 0, 1, 7].into(),
    });
    log.append(records.collect()).await.unwrap();
    drop(log);
    stopped.start().await.unwrap()
}

async fn rebuild(stopped: &Start) -> Output {
    stopped.command().args(["rebuild", "--json"]).output().await.unwrap()
}

async fn assert_same(server: &Server, before: &std::collections::BTreeMap<&'static str, Vec<Value>>) {
    for (name, rows) in numbers(server).await {
        assert_eq!(rows.len(), before[name].len(), "{name}");
        for (row, before) in rows.iter().zip(&before[name]) {
            assert_eq!(row, before, "{name}");
        }
    }
    assert_books_balance(server).await;
}

#[tokio::test]
async fn what_is_rebuilt_from_the_lake_alone_is_what_was_there() {
    let server = eventful().await;
    assert!(server.number("SELECT count(*) FROM views WHERE revision > 0").await > 0);
    let created = server.start().command().args(["keys", "create", "--project", "other", "--json"]).output().await;
    let key: Value = serde_json::from_slice(&created.unwrap().stdout).unwrap();

    // Beside a running server it is refused.
    let refused = rebuild(server.start()).await;
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!((refused.status.code(), said.contains("in use by process")), (Some(2), true), "{said}");

    let before = numbers(&server).await;
    // What is no record is of no project, and counts as one event.
    let records = server.number("SELECT count(*) FROM records").await + DAMAGED;
    let events = server.number("SELECT sum(events) FROM records").await + DAMAGED;
    let commit = server.number("SELECT max(commit_id) FROM commits").await;
    let seen = through_duckdb(&server, None).await;
    let (_, stopped) = server.stop().await;
    let output = rebuild(&stopped).await;
    assert!(output.status.success(), "{output:?}");
    let facts: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&facts["records"], &facts["events"]), (&json!(records), &json!(events)), "{facts}");
    assert!(facts["commit"].as_i64().unwrap() > commit, "{facts}");

    let server = stopped.start().await.unwrap();
    assert_same(&server, &before).await;
    if let (Some(seen), Some(now)) = (seen, through_duckdb(&server, None).await) {
        assert_eq!(seen["quarantine"]["by_reason"]["invalid_record"], json!(DAMAGED));
        for part in ["events", "records", "quarantine", "slices", "app_sessions"] {
            assert_eq!(now[part], seen[part], "{part}");
        }
    }
    // It goes on where it was: with its keys, its log, its open sessions.
    let request = server.request("POST", "/v1/events").header("x-api-key", key["key"].as_str().unwrap());
    let later = base() + TimeDelta::days(60);
    let event = Device::new().event("layout.saved", later, json!({}));
    assert_eq!(rig::server::send(request.json(&[event])).await.unwrap().status, 202);
    let asked = json!({ "sql": "SELECT count(*) FROM events", "as_of": commit });
    assert_eq!(server.try_sql(&asked).await.json()["code"], "no_such_commit");
    server.settle().await;
    assert_eq!(server.metric("streamgauge_missing_files").await, Some(0.0));
    assert_eq!(server.log_lines("ERROR"), Vec::<String>::new());
}

#[tokio::test]
async fn a_rebuild_that_is_killed_changes_nothing_and_what_was_not_committed_follows() {
    let server = eventful().await;
    let before = numbers(&server).await;
    let stopped = server.kill().await;
    for delay_ms in [0, 15, 40, 80, 130] {
        let mut child = stopped.command().args(["rebuild", "--json"]).spawn().unwrap();
        let database = stopped.data_dir().join("warehouse.db.rebuild");
        let until = Instant::now() + Duration::from_secs(10);
        while !database.exists() && child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < until);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        assert!(child.try_wait().unwrap().is_none(), "it was over before {delay_ms} ms");
        child.kill().await.unwrap();
    }
    let refused = stopped.command().args(["keys", "list"]).output().await.unwrap();
    assert!(String::from_utf8(refused.stderr).unwrap().contains("is being rebuilt"));
    let server = stopped.start().await.unwrap();
    assert_same(&server, &before).await;
    assert!(!server.start().data_dir().join("warehouse.db.rebuild").exists());

    // What is only in the log when the server goes is taken in by the start after the rebuild.
    let slow = server.kill().await.variable("STREAMGAUGE_PROCESSOR__COMMIT_INTERVAL", "1h").start().await.unwrap();
    let later = base() + TimeDelta::days(60);
    upload_at(&slow, &[Device::new().event("layout.saved", later, json!({}))], later).await;
    let trouble = || "nothing is committed".to_owned();
    wait_until(Duration::from_secs(10), trouble, async || commits(&slow).await >= 1.0).await;
    upload_at(&slow, &[Device::new().event("layout.saved", later, json!({}))], later).await;
    let stopped = slow.kill().await.variable("STREAMGAUGE_PROCESSOR__COMMIT_INTERVAL", "150ms");
    let output = rebuild(&stopped).await;
    assert!(output.status.success(), "{output:?}");
    let server = stopped.start().await.unwrap();
    server.settle().await;
    let stored = i64::try_from(before["events"].len()).unwrap();
    assert_eq!(server.number("SELECT count(*) FROM events").await, stored + 2);
    let mut after = numbers(&server).await;
    // The new events make a bucket of their own.
    let of_later = Value::from(later.to_rfc3339_opts(chrono::SecondsFormat::Secs, true));
    let layouts = after.get_mut("layouts").unwrap();
    layouts.retain(|row| row["bucket_start"] != of_later || before["layouts"].contains(row));
    for name in ["views", "streams", "stream bins", "layouts", "errors", "quarantine"] {
        assert_eq!(after[name], before[name], "{name}");
    }
    assert_books_balance(&server).await;
    assert_eq!(server.metric("streamgauge_missing_files").await, Some(0.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_rebuilt_in_another_place_while_it_goes_on() {
    let Some((cluster, _alone)) = crate::cluster::cluster().await else { return };
    rebuild_a_cluster(cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_rebuilt_in_another_bucket_prefix() {
    let Some((cluster, _alone)) = crate::cluster::cluster().await else { return };
    let cluster = cluster.in_bucket();
    if cluster.is_in_bucket() {
        rebuild_a_cluster(cluster).await;
    } else {
        println!("skipped: STREAMGAUGE_TEST_S3 names no store, ./deploy/test starts one");
        cluster.end().await.unwrap();
    }
}

async fn rebuild_a_cluster(cluster: Cluster) {
    let quick = |start: Start| {
        start
            .test_clock()
            .variable("STREAMGAUGE_PROCESSOR__COMMIT_INTERVAL", "150ms")
            .variable("STREAMGAUGE_MAINTENANCE__INTERVAL", "300ms")
            .variable("STREAMGAUGE_MAINTENANCE__MERGE_FAN_IN", "4")
    };
    let server = quick(cluster.role("serve")).start().await.unwrap();
    let second = quick(cluster.role("processor")).start().await.unwrap();
    let mut devices: Vec<Device> = (0..8).map(|_| Device::new()).collect();
    let sessions: Vec<Vec<Value>> = devices.iter_mut().map(|device| session(device, base())).collect();
    for events in &sessions {
        upload_at(&server, &events[..events.len() - 3], base() + TimeDelta::minutes(5)).await;
    }
    server.settle().await;
    // Of eight devices two have a partition in common: what is late for the first ends the session of the second.
    for events in &sessions {
        upload_at(&server, &events[events.len() - 3..], base() + TimeDelta::hours(3)).await;
        server.settle().await;
    }
    upload_at(&server, &sessions[0], base() + TimeDelta::hours(4)).await;
    server.settle().await;
    let key = server.start().command().args(["keys", "create", "--project", "other", "--json"]).output().await.unwrap();
    let key: Value = serde_json::from_slice(&key.stdout).unwrap();
    assert!(server.number("SELECT count(*) FROM views WHERE revision > 0").await > 0);

    let (database, lake) = cluster.second_place().await.unwrap();
    let place = ["rebuild", "--json", "--into-warehouse", &database, "--into-lake", &lake];
    let refused = server.start().command().args(["rebuild"]).output().await.unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let nested = format!("{}/within", cluster.lake());
    let nested = ["rebuild", "--into-warehouse", &database, "--into-lake", &nested];
    let refused = server.start().command().args(nested).output().await.unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("lie within each other"), "{refused:?}");
    let output = server.start().command().args(place).output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    let facts: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(facts["records"], json!(server.number("SELECT count(*) FROM records").await), "{facts}");
    let again = server.start().command().args(place).output().await.unwrap();
    assert!(String::from_utf8_lossy(&again.stderr).contains("is not empty"), "{again:?}");

    // The cluster goes on; what comes now is in the topic when the other place takes over.
    let later = base() + TimeDelta::hours(9);
    upload_at(&server, &session(&mut Device::new(), later), later + TimeDelta::minutes(5)).await;
    server.settle().await;
    let before = numbers(&server).await;
    for server in [second, server] {
        assert!(server.stop().await.0.success());
    }
    let moved = quick(cluster.role("serve"))
        .variable("STREAMGAUGE_WAREHOUSE_URL", &database)
        .variable("STREAMGAUGE_LAKE_URL", &lake);
    let server = moved.start().await.unwrap();
    server.settle().await;
    assert_same(&server, &before).await;
    let request = server.request("POST", "/v1/events").header("x-api-key", key["key"].as_str().unwrap());
    let event = Device::new().event("layout.saved", later, json!({}));
    assert_eq!(rig::server::send(request.json(&[event])).await.unwrap().status, 202);
    server.settle().await;
    assert_eq!(server.metric("streamgauge_missing_files").await, Some(0.0));
    assert_eq!(server.log_lines("ERROR"), Vec::<String>::new());
    let (_, stopped) = server.stop().await;
    let audit = stopped.command().args(["audit"]).output().await.unwrap();
    assert!(audit.status.success(), "{audit:?}");
    cluster.end().await.unwrap();
}

/// Commits of this start, those that only moved the checkpoint among them.
async fn commits(server: &Server) -> f64 {
    let of = |result: &str| format!("streamgauge_commits_total{{result=\"{result}\"}}");
    server.metric(&of("landed")).await.unwrap_or(0.0) + server.metric(&of("ticks")).await.unwrap_or(0.0)
}
