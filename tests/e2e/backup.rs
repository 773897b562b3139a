//! `backup` and `restore`: what was acknowledged before a backup began is there after everything else is gone.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::Utc;
use rig::cluster::Cluster;
use rig::server::{Start, wait_until};
use rig::{Device, Server};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::clients::{through_duckdb, through_duckdb_on_cluster};
use crate::maintenance::run;
use crate::{ALONE, assert_books_balance, assert_positions_are_unique, numbers, start};

/// A server that commits, merges and forgets often.
fn how() -> Start {
    start()
        .variable("STREAMGAUGE_PROCESSOR__COMMIT_INTERVAL", "150ms")
        .variable("STREAMGAUGE_PROCESSOR__STATE_INTERVAL", "500ms")
        .variable("STREAMGAUGE_MAINTENANCE__INTERVAL", "300ms")
        .variable("STREAMGAUGE_MAINTENANCE__MERGE_FAN_IN", "4")
        .variable("STREAMGAUGE_MAINTENANCE__ORPHAN_GRACE", "1s")
}

pub(crate) fn path(folder: &Path) -> &str {
    folder.to_str().unwrap()
}

pub(crate) async fn succeed(start: &Start, arguments: &[&str]) -> Value {
    let (code, said) = run(start, arguments).await;
    assert_eq!(code, 0, "{arguments:?}: {said}");
    said
}

/// Runs a command that is refused or fails; what it complained of.
pub(crate) async fn fail(start: &Start, arguments: &[&str], with: i32) -> String {
    let (code, said) = run(start, arguments).await;
    assert_eq!(code, with, "{arguments:?}: {said}");
    said.as_str().unwrap_or_else(|| panic!("{arguments:?}: {said}")).to_owned()
}

/// A device that posts on and on; what was acknowledged is in the list.
fn keep_posting(server: &Server) -> (Arc<Mutex<Vec<Value>>>, JoinHandle<()>) {
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let (url, key, list) = (format!("{}/v1/events", server.http), server.upload_key.clone(), Arc::clone(&acknowledged));
    let posting = tokio::spawn(async move {
        let client = rig::server::client();
        for n in 0.. {
            let mut device = Device::new();
            let events: Vec<Value> = (0..5)
                .map(|_| device.event("feature.used", Utc::now(), json!({ "feature": format!("feature-{}", n % 7) })))
                .collect();
            let request = client.post(&url).header("x-api-key", &key).json(&events);
            let request = request.header("content-type", "application/cloudevents-batch+json");
            let Ok(reply) = rig::server::send(request).await else { return };
            if reply.status != 202 {
                return;
            }
            list.lock().unwrap().extend(events);
        }
    });
    (acknowledged, posting)
}

async fn until_acknowledged(list: &Arc<Mutex<Vec<Value>>>, count: usize) {
    let trouble = || format!("{} are acknowledged", list.lock().unwrap().len());
    wait_until(Duration::from_secs(60), trouble, async || list.lock().unwrap().len() >= count).await;
}

fn ids(events: &[Value]) -> BTreeSet<String> {
    events.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

/// The ids that are stored, each of them once.
async fn stored(server: &Server) -> BTreeSet<String> {
    let statement = json!({ "sql": "SELECT event_id FROM events", "limit": 1_000_000 });
    let rows = server.try_sql(&statement).await.json()["data"].as_array().cloned().unwrap();
    let found: BTreeSet<String> = rows.iter().map(|row| row["event_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(found.len(), rows.len(), "an event is stored twice");
    found
}

/// Posts these events again, as devices do that got no answer.
async fn post_again(server: &Server, events: &[Value]) {
    for some in events.chunks(200) {
        assert_eq!(server.upload(some).await.status, 202);
    }
    server.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_beside_a_busy_server_holds_what_was_acknowledged_before_it_began() {
    let _alone = ALONE.lock().await;
    let (server, folder) = (how().start().await.unwrap(), tempfile::tempdir().unwrap());
    let set = folder.path().join("set");
    let (acknowledged, posting) = keep_posting(&server);
    until_acknowledged(&acknowledged, 1500).await;
    let before_first = acknowledged.lock().unwrap().clone();
    let first = succeed(server.start(), &["backup", path(&set)]).await;
    until_acknowledged(&acknowledged, before_first.len() + 1500).await;
    let before_second = acknowledged.lock().unwrap().clone();
    let second = succeed(server.start(), &["backup", path(&set)]).await;
    assert!(second["commit"].as_i64() > first["commit"].as_i64(), "{first} {second}");
    assert!(second["copied_bytes"].as_i64() < second["bytes"].as_i64(), "{second}");
    until_acknowledged(&acknowledged, before_second.len() + 200).await;
    let stopped = server.kill().await;
    posting.await.unwrap();
    let all = acknowledged.lock().unwrap().clone();

    fs::remove_dir_all(stopped.data_dir()).unwrap();
    let restored = succeed(&stopped, &["restore", path(&set)]).await;
    assert_eq!(restored["commit"], second["commit"]);
    assert_eq!(succeed(&stopped, &["audit"]).await["balances"], json!(true));
    // It is another log, which begins where the commit ends.
    let begins: Vec<i64> =
        second["taken_in"][0]["positions"].as_array().unwrap().iter().filter_map(Value::as_i64).collect();
    let server = stopped.start().await.unwrap();
    let found = stored(&server).await;
    assert!(found.is_superset(&ids(&before_second)), "events acknowledged before the backup are lost");
    assert_books_balance(&server).await;
    // Every file of its catalogue came along, so older commits can be asked as well.
    let asked = json!({ "sql": "SELECT count(*) AS events FROM events", "as_of": first["commit"] });
    let at_first = server.try_sql(&asked).await.json()["data"][0]["events"].as_i64().unwrap();
    assert!(at_first >= i64::try_from(before_first.len()).unwrap());
    if let Some(seen) = through_duckdb(&server, None).await {
        assert_eq!(seen["tables"]["events"], json!(found.len()));
    }

    // Devices send again what got lost, and what did not.
    post_again(&server, &all).await;
    assert!(stored(&server).await.is_superset(&ids(&all)));
    assert_books_balance(&server).await;
    for (partition, begin) in begins.iter().enumerate() {
        let newest = format!("SELECT max(log_position) FROM records WHERE log_partition = {partition}");
        assert!(server.number(&newest).await > *begin, "partition {partition} goes on");
    }
    assert_positions_are_unique(&server).await;
    assert_eq!(server.metric("streamgauge_missing_files").await, Some(0.0));
    assert_eq!(server.log_lines("ERROR"), Vec::<String>::new());
    let (_, stopped) = server.stop().await;
    assert_eq!(succeed(&stopped, &["audit"]).await["balances"], json!(true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_a_server_that_was_killed_holds_what_it_had_not_committed() {
    let _alone = ALONE.lock().await;
    let server = how().test_clock().start().await.unwrap();
    let mut simulate = server.start().command();
    simulate.args(["simulate", "--check", "--devices", "8", "--days", "1", "--seed", "31"]);
    simulate.args(["--disturb", "duplicates,recut,reorder,offline,clocks"]);
    let output = simulate.output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    let slow = server.stop().await.1.variable("STREAMGAUGE_PROCESSOR__COMMIT_INTERVAL", "1h").start().await.unwrap();
    let mut device = Device::new();
    // The first commit of a start comes at once.
    for n in 0..40 {
        let event = device.event("feature.used", Utc::now(), json!({ "feature": format!("late-{n}") }));
        assert_eq!(slow.upload(&[event]).await.status, 202);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let stopped = slow.kill().await;
    let folder = tempfile::tempdir().unwrap();
    let set = folder.path().join("set");
    succeed(&stopped, &["backup", path(&set)]).await;

    // Elsewhere, as on a new machine.
    let elsewhere = how().test_clock();
    let whole = succeed(&elsewhere, &["restore", path(&set), "--check"]).await;
    assert!(whole["files"].as_u64().unwrap() > 10, "{whole}");
    assert!(!elsewhere.data_dir().exists(), "a check restores nothing");
    succeed(&elsewhere, &["restore", path(&set)]).await;
    let (original, restored) = (stopped.start().await.unwrap(), elsewhere.start().await.unwrap());
    let late = "SELECT count(*) FROM events WHERE data LIKE '%late-%'";
    assert_eq!((original.number(late).await, restored.number(late).await), (40, 40));
    let expected = numbers(&original).await;
    for (name, rows) in numbers(&restored).await {
        assert_eq!(rows.len(), expected[name].len(), "{name}");
        assert_eq!(rows, expected[name], "{name}");
    }
    assert_books_balance(&restored).await;
    let (_, stopped) = restored.stop().await;
    assert_eq!(succeed(&stopped, &["audit"]).await["balances"], json!(true));
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[tokio::test]
async fn what_is_no_whole_backup_or_no_empty_place_is_refused_by_name() {
    let server = how().start().await.unwrap();
    let event = Device::new().event("feature.used", Utc::now(), json!({ "feature": "search" }));
    assert_eq!(server.upload(&[event]).await.status, 202);
    let folder = tempfile::tempdir().unwrap();
    let set = folder.path().join("set");
    succeed(server.start(), &["backup", path(&set)]).await;
    // Neither into a folder of something else, nor onto what is there.
    let said = fail(server.start(), &["backup", path(&server.start().data_dir())], 1).await;
    assert!(said.contains("is neither empty nor a backup"), "{said}");
    let said = fail(server.start(), &["restore", path(&set)], 2).await;
    assert!(said.contains("in use by process"), "{said}");
    let (_, stopped) = server.stop().await;
    let said = fail(&stopped, &["restore", path(&set)], 2).await;
    assert!(said.contains("is there already"), "{said}");
    fs::remove_dir_all(stopped.data_dir().join("log")).unwrap();
    fs::remove_file(stopped.data_dir().join("credentials.json")).unwrap();
    let said = fail(&stopped, &["restore", path(&set)], 2).await;
    assert!(said.contains("warehouse.db` is not empty"), "{said}");
    for file in files_below(&stopped.data_dir()).iter().filter(|file| file.to_string_lossy().contains("warehouse.db")) {
        fs::remove_file(file).unwrap();
    }
    let said = fail(&stopped, &["restore", path(&set)], 2).await;
    assert!(said.contains("lake` is not empty"), "{said}");

    let empty = how();
    let other = empty.clone().variable("STREAMGAUGE_LOG__PARTITIONS", "8");
    let said = fail(&other, &["restore", path(&set)], 2).await;
    assert!(said.contains("the backup has 4 partitions, and log.partitions is 8"), "{said}");
    for file in files_below(&set).iter().filter(|file| !file.ends_with("streamgauge-backup")) {
        let (content, name) = (fs::read(file).unwrap(), file.strip_prefix(&set).unwrap().to_str().unwrap().to_owned());
        if name == "manifest.json" {
            continue;
        }
        fs::remove_file(file).unwrap();
        let said = fail(&empty, &["restore", path(&set)], 1).await;
        assert!(said.contains("is missing") && said.contains(&name), "{name}: {said}");
        let mut damaged = content.clone();
        damaged[content.len() / 2] ^= 1;
        fs::write(file, &damaged).unwrap();
        let said = fail(&empty, &["restore", path(&set), "--check"], 1).await;
        assert!(said.contains("is damaged") && said.contains(&name), "{name}: {said}");
        fs::write(file, &content).unwrap();
    }
    // Without its manifest it is no backup, and a restore that was cut off is no data directory.
    fs::rename(set.join("manifest.json"), set.join("kept")).unwrap();
    let said = fail(&empty, &["restore", path(&set)], 2).await;
    assert!(said.contains("there is no finished backup"), "{said}");
    fs::rename(set.join("kept"), set.join("manifest.json")).unwrap();
    fs::write(empty.data_dir().join("restoring"), b"").unwrap();
    let said = format!("{:#}", empty.start().await.unwrap_err());
    assert!(said.contains("did not come to its end"), "{said}");
    fs::remove_file(empty.data_dir().join("restoring")).unwrap();
    succeed(&empty, &["restore", path(&set)]).await;
    assert_eq!(empty.start().await.unwrap().number("SELECT count(*) FROM events").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_is_killed_leaves_the_one_before_or_none() {
    let _alone = ALONE.lock().await;
    let (server, folder) = (how().start().await.unwrap(), tempfile::tempdir().unwrap());
    let set = folder.path().join("set");
    let (acknowledged, posting) = keep_posting(&server);
    until_acknowledged(&acknowledged, 1000).await;
    let (mut sets, mut cut_off) = (0, 0);
    for delay_ms in (0..12).map(|n| 25 * n).chain([600]) {
        let mut backup = server.start().command();
        let mut child = backup.args(["backup", path(&set), "--json"]).spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        cut_off += i32::from(child.try_wait().unwrap().is_none());
        child.kill().await.unwrap();
        let (code, said) = run(server.start(), &["restore", path(&set), "--check"]).await;
        if code == 0 {
            sets += 1;
        } else {
            // Also before the folder was made.
            assert!(code == 2 && sets == 0 && said.to_string().contains("there is no finished backup"), "{said}");
        }
    }
    assert!(cut_off > 0, "no backup was cut off");
    // Whatever they left is in nobody's way, and not kept.
    let last = succeed(server.start(), &["backup", path(&set)]).await;
    let kept = files_below(&set).len();
    assert_eq!(last["files"].as_u64().unwrap() + 2, kept as u64);
    let stopped = server.kill().await;
    posting.await.unwrap();
    fs::remove_dir_all(stopped.data_dir()).unwrap();
    succeed(&stopped, &["restore", path(&set)]).await;
    assert_eq!(succeed(&stopped, &["audit"]).await["balances"], json!(true));
}

/// A cluster without its database and its lake, whose topic is still there, gets them back, and takes in what came after
/// the backup. On the way its files are looked after by command.
async fn lose_and_restore(mut cluster: Cluster) {
    let quick = |start: Start| {
        start
            .variable("STREAMGAUGE_PROCESSOR__COMMIT_INTERVAL", "150ms")
            .variable("STREAMGAUGE_MAINTENANCE__INTERVAL", "1s")
            .variable("STREAMGAUGE_MAINTENANCE__MERGE_FAN_IN", "4")
    };
    let ingest = cluster.role("ingest").start().await.unwrap();
    let query = cluster.role("query").start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let set = folder.path().join("set");
    let (acknowledged, posting) = keep_posting(&ingest);
    until_acknowledged(&acknowledged, 1).await;
    // While nobody commits there is no backup that could hold it.
    let said = fail(query.start(), &["backup", path(&set), "--wait", "1s"], 1).await;
    assert!(said.contains("is a processor at work?") && !set.exists(), "{said}");
    let mut processors = Vec::new();
    for _ in 0..2 {
        processors.push(quick(cluster.role("processor")).start().await.unwrap());
    }
    until_acknowledged(&acknowledged, 300).await;
    for command in [&["compact"][..], &["compact", "--fan-in", "2"], &["expire"], &["collect"]] {
        succeed(query.start(), command).await;
    }
    let before = acknowledged.lock().unwrap().clone();
    succeed(query.start(), &["backup", path(&set)]).await;
    until_acknowledged(&acknowledged, before.len() + 300).await;
    ingest.kill().await;
    posting.await.unwrap();
    let all = acknowledged.lock().unwrap().clone();
    for server in processors.into_iter().chain([query]) {
        assert!(server.stop().await.0.success());
    }
    // Not onto what is there.
    let said = fail(&cluster.role("query"), &["restore", path(&set)], 2).await;
    assert!(said.contains("is not empty"), "{said}");

    cluster.lose_warehouse().await.unwrap();
    let other_topic = cluster.role("query").variable("STREAMGAUGE_KAFKA__TOPIC_PREFIX", "another_topic.");
    let said = fail(&other_topic, &["restore", path(&set)], 2).await;
    assert!(said.contains("a topic cannot begin at the positions of another one"), "{said}");
    succeed(&cluster.role("query"), &["restore", path(&set)]).await;
    assert_eq!(succeed(&cluster.role("query"), &["audit"]).await["balances"], json!(true));
    let query = cluster.role("query").start().await.unwrap();
    assert!(stored(&query).await.is_superset(&ids(&before)), "events acknowledged before the backup are lost");
    // What came after it is still in the topic.
    let processor = quick(cluster.role("processor")).start().await.unwrap();
    processor.settle().await;
    let trouble = || format!("not all is there: {}", processor.log());
    wait_until(Duration::from_secs(20), trouble, async || stored(&query).await.is_superset(&ids(&all))).await;
    assert_books_balance(&query).await;
    if let Some(seen) = through_duckdb_on_cluster(&cluster, None).await {
        assert_eq!(seen["tables"]["events"], json!(stored(&query).await.len()));
    }
    assert_eq!(processor.metric("streamgauge_missing_files").await, Some(0.0));
    assert_eq!(processor.log_lines("ERROR"), Vec::<String>::new());
    for server in [processor, query] {
        assert!(server.stop().await.0.success());
    }
    assert_eq!(succeed(&cluster.role("query"), &["audit"]).await["balances"], json!(true));
    let said = succeed(&cluster.role("query"), &["collect"]).await;
    assert_eq!(said["missing_files"], json!(0));

    // Where the topic is lost, too, what was stored can be read.
    cluster.lose_warehouse().await.unwrap();
    let lost = |role: &str| cluster.role(role).variable("STREAMGAUGE_KAFKA__TOPIC_PREFIX", "another_topic.");
    succeed(&lost("query"), &["restore", path(&set), "--without-log"]).await;
    let query = lost("query").start().await.unwrap();
    assert!(stored(&query).await.is_superset(&ids(&before)));
    let said = format!("{:#}", lost("processor").start().await.unwrap_err());
    assert!(said.contains("the warehouse took in records of another log than this one"), "{said}");
    assert!(query.stop().await.0.success());
    cluster.end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_lost_database_and_lake_is_restored_and_takes_in_what_came_after() {
    let Some((cluster, _alone)) = crate::cluster::cluster().await else { return };
    lose_and_restore(cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_with_its_lake_in_a_bucket_is_restored() {
    let Some((cluster, _alone)) = crate::cluster::cluster().await else { return };
    let cluster = cluster.in_bucket();
    if cluster.is_in_bucket() {
        lose_and_restore(cluster).await;
    } else {
        println!("skipped: STREAMGAUGE_TEST_S3 names no store, ./deploy/test starts one");
        cluster.end().await.unwrap();
    }
}
