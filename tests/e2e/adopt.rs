//! `adopt`: the log is lost. A new one goes on where it was taken in to, and every number is what it had been.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use rig::server::{Start, wait_until};
use rig::{Device, Server};
use serde_json::{Value, json};

use crate::backup::{fail, path, succeed};
use crate::views::{base, session, upload_at};
use crate::{assert_books_balance, assert_positions_are_unique, numbers, start};

fn quick(start: Start) -> Start {
    start
        .test_clock()
        .variable("STREAMGAUGE_PROCESSOR__COMMIT_INTERVAL", "150ms")
        .variable("STREAMGAUGE_PROCESSOR__STATE_INTERVAL", "500ms")
        .variable("STREAMGAUGE_MAINTENANCE__INTERVAL", "500ms")
        .variable("STREAMGAUGE_MAINTENANCE__MERGE_FAN_IN", "4")
}

/// The first half of every session, with what no session has.
async fn post_first(server: &Server, sessions: &[Vec<Value>]) {
    for (n, events) in sessions.iter().enumerate() {
        let mut some = events[..events.len() / 2].to_vec();
        some.push(json!({ "specversion": "1.0", "id": format!("bad-{n}"), "source": "/x" }));
        upload_at(server, &some, base() + TimeDelta::minutes(5)).await;
    }
    server.settle().await;
}

/// The rest, a part of it late and all of one session twice, and so much later that all sessions are over.
async fn post_rest(server: &Server, sessions: &[Vec<Value>]) {
    for events in sessions {
        upload_at(server, &events[events.len() / 2..events.len() - 3], base() + TimeDelta::minutes(20)).await;
    }
    for events in sessions {
        upload_at(server, &events[events.len() - 3..], base() + TimeDelta::hours(3)).await;
        server.settle().await;
    }
    upload_at(server, &sessions[0], base() + TimeDelta::hours(4)).await;
    server.settle().await;
}

/// All numbers but positions: ticks lie between the records, each log has its own.
async fn numbers_of(server: &Server) -> BTreeMap<&'static str, Vec<Value>> {
    let mut numbers = numbers(server).await;
    numbers.remove("records");
    for name in ["events", "quarantine"] {
        let rows = numbers.get_mut(name).unwrap();
        for row in rows.iter_mut().filter_map(Value::as_object_mut) {
            row.remove("log_position");
        }
        // Which of two uploads of one moment came first in their partition is the log's affair as well.
        rows.sort_by_key(|row| (row["log_partition"].as_i64(), row["event_id"].to_string()));
    }
    numbers
}

async fn assert_same(server: &Server, expected: &BTreeMap<&'static str, Vec<Value>>) {
    for (name, rows) in numbers_of(server).await {
        assert_eq!(rows.len(), expected[name].len(), "{name}");
        assert_eq!(rows, expected[name], "{name}");
    }
    assert_books_balance(server).await;
    assert_positions_are_unique(server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_lost_everything_goes_on_with_a_new_topic_as_if_nothing_had_happened() {
    let Some((mut cluster, _alone)) = crate::cluster::cluster().await else { return };
    let mut devices: Vec<Device> = (0..8).map(|_| Device::new()).collect();
    let sessions: Vec<Vec<Value>> = devices.iter_mut().map(|device| session(device, base())).collect();
    let reference = quick(start()).start().await.unwrap();
    post_first(&reference, &sessions).await;
    post_rest(&reference, &sessions).await;
    let expected = numbers_of(&reference).await;
    assert!(!expected["views"].is_empty() && !expected["stream bins"].is_empty());
    assert!(reference.stop().await.0.success());

    let server = quick(cluster.role("serve")).start().await.unwrap();
    post_first(&server, &sessions).await;
    let folder = tempfile::tempdir().unwrap();
    let set = folder.path().join("set");
    let backed_up = succeed(server.start(), &["backup", path(&set)]).await;
    let lost = backed_up["taken_in"][0]["identity"].as_str().unwrap().to_owned();
    // A name of a log may hold what a topic's must not.
    let prefix = lost.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
    // What comes after the backup goes with the topic, and is sent again.
    upload_at(&server, &sessions[1][sessions[1].len() / 2..], base() + TimeDelta::minutes(6)).await;
    assert!(server.stop().await.0.success());
    cluster.lose_warehouse().await.unwrap();

    let anew =
        |role: &str| quick(cluster.role(role)).variable("STREAMGAUGE_KAFKA__TOPIC_PREFIX", format!("{prefix}.anew."));
    let said = fail(&anew("query"), &["restore", path(&set)], 2).await;
    assert!(said.contains("`streamgauge adopt` then lets it go on"), "{said}");
    succeed(&anew("query"), &["restore", path(&set), "--without-log"]).await;
    for role in ["serve", "ingest", "processor"] {
        let said = format!("{:#}", anew(role).start().await.unwrap_err());
        assert!(said.contains("records of another log than this one") && said.contains(&lost), "{role}: {said}");
    }
    let said = fail(&anew("query"), &["adopt", "--instead-of", "another"], 1).await;
    assert!(said.contains(&format!("follows log `{lost}`, and not `another`")), "{said}");
    let narrow = anew("query")
        .variable("STREAMGAUGE_LOG__PARTITIONS", "3")
        .variable("STREAMGAUGE_KAFKA__TOPIC_PREFIX", format!("{prefix}.narrow."));
    let said = fail(&narrow, &["adopt", "--instead-of", &lost], 1).await;
    assert!(said.contains("the log has 3 partitions, and the warehouse follows"), "{said}");
    let adopted = succeed(&anew("query"), &["adopt", "--instead-of", &lost]).await;
    let said = fail(&anew("query"), &["adopt", "--instead-of", &lost], 1).await;
    assert!(said.contains("a log is adopted once"), "{said}");
    assert_eq!(succeed(&anew("query"), &["audit"]).await["balances"], json!(true));

    let server = anew("serve").start().await.unwrap();
    post_rest(&server, &sessions).await;
    assert_same(&server, &expected).await;
    // The addresses of what is new begin where the old ones ended.
    let positions = |of: &Value| of.as_array().unwrap().iter().map(|at| at.as_i64().unwrap()).collect::<Vec<_>>();
    let (ended, begun) = (positions(&backed_up["taken_in"][0]["positions"]), positions(&adopted["positions"]));
    assert_eq!(begun, ended.iter().map(|position| position + 1).collect::<Vec<_>>());
    for (partition, ended) in ended.iter().enumerate() {
        let between =
            format!("SELECT count(*) FROM records WHERE log_partition = {partition} AND log_position = {ended}");
        assert_eq!(server.number(&between).await, 0);
    }
    let trouble = || "records of the new topic count as not committed".to_owned();
    let lag = "streamgauge_processor_lag_records{lane=\"events\"}";
    wait_until(Duration::from_secs(20), trouble, async || server.metric(lag).await == Some(0.0)).await;
    let (_, said) = crate::maintenance::run(server.start(), &["doctor"]).await;
    let checks = said["checks"].as_array().unwrap();
    assert!(checks.iter().any(|check| check["name"] == "log" && check["outcome"] == "ok"), "{said}");

    // A backup of it is restored on the topic that is there; and all of it can be folded again.
    let again = succeed(server.start(), &["backup", path(&set)]).await;
    assert_eq!(positions(&again["taken_in"][0]["bases"]), begun);
    assert_eq!(server.log_lines("ERROR"), Vec::<String>::new());
    assert!(server.stop().await.0.success());
    cluster.lose_warehouse().await.unwrap();
    let anew =
        |role: &str| quick(cluster.role(role)).variable("STREAMGAUGE_KAFKA__TOPIC_PREFIX", format!("{prefix}.anew."));
    succeed(&anew("query"), &["restore", path(&set)]).await;
    let (database, lake) = cluster.second_place().await.unwrap();
    succeed(&anew("query"), &["rebuild", "--into-warehouse", &database, "--into-lake", &lake]).await;
    let moved = anew("serve").variable("STREAMGAUGE_WAREHOUSE_URL", &database).variable("STREAMGAUGE_LAKE_URL", &lake);
    for start in [anew("serve"), moved] {
        let server = start.start().await.unwrap();
        server.settle().await;
        assert_same(&server, &expected).await;
        let (_, stopped) = server.stop().await;
        assert_eq!(succeed(&stopped, &["audit"]).await["balances"], json!(true));
    }
    cluster.end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_lost_its_log_goes_on_with_a_new_one() {
    let server = start().start().await.unwrap();
    let mut device = Device::new();
    let event = device.event("feature.used", Utc::now(), json!({ "feature": "search" }));
    assert_eq!(server.upload(std::slice::from_ref(&event)).await.status, 202);
    server.settle().await;
    let first = server.number("SELECT max(log_position) FROM records").await;
    let (_, stopped) = server.stop().await;
    // Not while it is there.
    let said = fail(&stopped, &["adopt", "--instead-of", "another"], 1).await;
    let (_, rest) = said.split_once("of log `").unwrap();
    let lost = rest.split('`').next().unwrap().to_owned();
    let said = fail(&stopped, &["adopt", "--instead-of", &lost], 1).await;
    assert!(said.contains("move it away"), "{said}");
    fs::remove_dir_all(stopped.data_dir().join("log")).unwrap();
    let said = format!("{:#}", stopped.start().await.unwrap_err());
    assert!(said.contains("records of another log than this one") && said.contains(&lost), "{said}");
    succeed(&stopped, &["adopt", "--instead-of", &lost]).await;
    let server = stopped.start().await.unwrap();
    let other = device.event("feature.used", Utc::now(), json!({ "feature": "share" }));
    assert_eq!(server.upload(&[event, other]).await.status, 202);
    server.settle().await;
    assert_eq!(server.number("SELECT count(*) FROM events").await, 2);
    assert!(server.number("SELECT max(log_position) FROM records").await > first);
    assert_books_balance(&server).await;
    let (_, stopped) = server.stop().await;
    assert_eq!(succeed(&stopped, &["audit"]).await["balances"], json!(true));
}
