//! Clients and readers that we did not write, unchanged: CMCD and CloudEvents SDKs post, DuckDB reads.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rig::cluster::Cluster;
use rig::{Device, Server};
use schemas::record::Item;
use schemas::{Received, Timestamp, Verdict, Wire, validate};
use serde_json::{Map, Value, json};
use tokio::process::Command;

use crate::{assert_books_balance, start};

/// The folder that `tests/clients/setup.sh` filled; `None` skips the test by name.
fn clients() -> Option<PathBuf> {
    let folder = std::env::var_os("STREAMGAUGE_TEST_CLIENTS").map(PathBuf::from).filter(|folder| folder.is_dir());
    if folder.is_none() {
        println!("skipped: STREAMGAUGE_TEST_CLIENTS names no folder, ./deploy/test makes it");
    }
    folder
}

/// The command of DuckDB among them.
pub(crate) fn duckdb() -> Option<PathBuf> {
    let command = clients()?.join("duckdb");
    if !command.is_file() {
        println!("skipped: there is no command duckdb in STREAMGAUGE_TEST_CLIENTS, ./deploy/test makes it");
        return None;
    }
    Some(command)
}

/// Runs a script of the folder with Node or Python; returns what it printed.
pub(crate) async fn run(script: &str, arguments: &[&str]) -> Option<String> {
    run_with(script, arguments, Vec::new()).await
}

async fn run_with(script: &str, arguments: &[&str], variables: Vec<(&str, String)>) -> Option<String> {
    let folder = clients()?;
    let is_python = Path::new(script).extension().is_some_and(|ending| ending == "py");
    let interpreter = if is_python { folder.join("venv/bin/python") } else { "node".into() };
    let output = Command::new(interpreter)
        .arg(folder.join(script))
        .args(arguments)
        .envs(variables)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {errors}");
    Some(String::from_utf8(output.stdout).unwrap())
}

/// What DuckDB finds in the lake of a running server; `at` = as of that commit.
pub(crate) async fn through_duckdb(server: &Server, at: Option<i64>) -> Option<Value> {
    let catalogue = server.start().data_dir().join("warehouse.db");
    let mut arguments = vec![catalogue.to_str().unwrap().to_owned()];
    arguments.extend(at.map(|commit| format!("--at={commit}")));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Some(serde_json::from_str(&run("ducklake.py", &arguments).await?).unwrap())
}

/// What DuckDB finds in the lake of a cluster; `at` = as of that commit.
pub(crate) async fn through_duckdb_on_cluster(cluster: &Cluster, at: Option<i64>) -> Option<Value> {
    let mut arguments = vec![cluster.database()];
    arguments.extend(at.map(|commit| format!("--at={commit}")));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Some(serde_json::from_str(&run_with("ducklake.py", &arguments, cluster.store_variables()).await?).unwrap())
}

#[tokio::test]
async fn the_cmcd_reporter_posts_a_view_unchanged() {
    let server = start().start().await.unwrap();
    let Some(said) = run("cml_cmcd.mjs", &[&server.http, &server.upload_key]).await else { return };
    let said: Value = serde_json::from_str(&said).unwrap();
    server.settle().await;
    let sid = said["sid"].as_str().unwrap();
    let rows = server.sql(&format!("SELECT type, seq FROM events WHERE view_id = '{sid}' ORDER BY seq")).await;
    assert_eq!(rows.len() as u64, said["records"].as_u64().unwrap());
    assert!(rows.iter().zip(0_i64..).all(|(row, seq)| row["seq"] == seq), "{rows:?}");
    assert_books_balance(&server).await;
}

#[tokio::test]
async fn the_cloudevents_sdks_post_unchanged() {
    let server = start().start().await.unwrap();
    let Some(javascript) = run("cloudevents_js.mjs", &[&server.http, &server.upload_key]).await else { return };
    let python = run("cloudevents_py.py", &[&server.http, &server.upload_key]).await.unwrap();
    server.settle().await;
    let mut sent: Vec<String> = Vec::new();
    for said in [javascript, python] {
        let said: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(said["statuses"], json!([202, 202]));
        sent.extend(said["ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()));
    }
    sent.sort();
    sent.dedup();
    let rows = server.sql("SELECT event_id FROM events ORDER BY event_id").await;
    let found: Vec<_> = rows.iter().map(|row| row["event_id"].as_str().unwrap().to_owned()).collect();
    // The Python one sent the same event in both modes.
    assert_eq!((found.clone(), found.len()), (sent, 3));
    assert_eq!(server.number("SELECT sum(events) FROM ledger WHERE outcome = 'duplicate'").await, 1);
}

/// List keys whose items are numbers with an object type.
const NUMBER_LISTS: [&str; 15] =
    ["ab", "bl", "br", "bsa", "bsd", "bsda", "lab", "lb", "mtp", "pb", "tab", "tb", "tbl", "tpb", "tb"];

/// What the package decoded, in the shape of our data.
fn in_our_shape(decoded: &Map<String, Value>) -> Map<String, Value> {
    let value = |item: &Value| item.get("value").unwrap_or(item).clone();
    let tag =
        |item: &Value| item["params"].as_object().and_then(|tags| tags.keys().next().cloned()).unwrap_or("_".into());
    let mut ours = Map::new();
    for (key, decoded) in decoded {
        let of_key = match (key.as_str(), decoded) {
            (key, Value::Array(items)) if NUMBER_LISTS.contains(&key) => {
                let mut by_tag: BTreeMap<String, Vec<Value>> = BTreeMap::new();
                for item in items {
                    by_tag.entry(tag(item)).or_default().push(value(item));
                }
                let one_or_all =
                    |mut values: Vec<Value>| if values.len() == 1 { values.remove(0) } else { Value::Array(values) };
                by_tag.into_iter().map(|(tag, values)| (tag, one_or_all(values))).collect()
            }
            // A slot that is none is null.
            ("com.streamyyy-slot", slot) if !is_slot(slot) => Value::Null,
            ("nor", Value::Array(items)) => items.iter().map(|item| without_query(&value(item))).collect(),
            ("url", url) => without_query(url),
            (_, decoded) => decoded.clone(),
        };
        ours.insert(key.clone(), of_key);
    }
    ours
}

fn is_slot(value: &Value) -> bool {
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    number.is_some_and(|number| number <= 63)
}

fn without_query(url: &Value) -> Value {
    let url = url.as_str().unwrap_or_default();
    let lower = url.to_ascii_lowercase();
    let end = ["?", "#", "%3f", "%23"].iter().filter_map(|mark| lower.find(mark)).min().unwrap_or(url.len());
    url[..end].into()
}

/// Numbers are equal by value: `2` and `2.0` are one.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, one)| other.get(key).is_some_and(|other| same(one, other)))
        }
        (one, other) => one == other,
    }
}

#[tokio::test]
async fn our_cmcd_parser_agrees_with_the_common_media_library() {
    let (seed, count) = ("20261124", "3000");
    let Some(lines) = run("cmcd_oracle.mjs", &[seed, count]).await else { return };
    let received_at = Timestamp::parse_rfc3339("2026-11-24T00:00:00Z").unwrap();
    let received = Received { wire: Wire::Cmcd2, received_at, subject: None, facts: &[] };
    let mut compared = 0;
    for line in lines.lines() {
        let oracle: Value = serde_json::from_str(line).unwrap();
        let record = oracle["line"].as_str().unwrap();
        assert_eq!(oracle["valid"], true, "{record}");
        let Verdict::Accept(event) = validate(&received, &Item { index: 0, bytes: record.as_bytes(), oversize: None })
        else {
            panic!("seed {seed}: we refuse {record}");
        };
        let ours: Value = serde_json::from_str(&event.data).unwrap();
        let theirs = Value::Object(in_our_shape(oracle["decoded"].as_object().unwrap()));
        assert!(same(&ours, &theirs), "seed {seed}: {record}\nours   {ours}\ntheirs {theirs}");
        compared += 1;
    }
    assert_eq!(compared.to_string(), count);
}

#[tokio::test]
async fn duckdb_reads_exactly_what_we_read_also_as_of_older_commits_and_after_merging() {
    if clients().is_none() {
        return;
    }
    let server = start()
        .variable("STREAMGAUGE_PROCESSOR__COMMIT_INTERVAL", "50ms")
        .variable("STREAMGAUGE_MAINTENANCE__INTERVAL", "1s")
        .variable("STREAMGAUGE_MAINTENANCE__MERGE_FAN_IN", "4")
        .start()
        .await
        .unwrap();
    let mut device = Device::new();
    let mut counted = Vec::new();
    for round in 0..20 {
        let mut events: Vec<Value> = (0..15).map(|_| device.heartbeat("v", chrono::Utc::now())).collect();
        events.push(rig::device::without(events[0].clone(), "type"));
        events.push(events[0].clone());
        assert_eq!(server.upload(&events).await.status, 202);
        server.settle().await;
        let reply = server.try_sql(&json!({"sql": "SELECT count(*) AS n FROM events"})).await.json();
        counted.push((reply["meta"]["commit"].as_i64().unwrap(), reply["data"][0]["n"].as_i64().unwrap()));
        assert_eq!(counted[round].1, 15 * (i64::try_from(round).unwrap() + 1));
    }
    let merges = "SELECT count(*) FROM commits WHERE lane = 'maintenance'";
    let trouble = || "nothing is merged".to_owned();
    rig::server::wait_until(std::time::Duration::from_secs(20), trouble, async || server.number(merges).await >= 3)
        .await;
    let seen = through_duckdb(&server, None).await.unwrap();
    assert_eq!(seen["tables"]["events"], 300);
    assert_eq!(seen["tables"]["records"], server.number("SELECT count(*) FROM records").await);
    assert_eq!(seen["events"]["by_type"]["playback.heartbeat"], 300);
    assert_eq!(seen["events"]["by_project"]["default"], 300);
    assert_eq!(seen["events"]["distinct_event_ids"], 300);
    assert_eq!(seen["events"]["sum_log_position"], server.number("SELECT sum(log_position) FROM events").await);
    for outcome in ["events", "stored", "duplicate", "quarantined", "suppressed"] {
        assert_eq!(
            seen["records"][outcome],
            server.number(&format!("SELECT sum({outcome}) FROM records")).await,
            "{outcome}"
        );
    }
    assert_eq!(seen["quarantine"]["by_reason"]["missing_attribute"], 20);
    for (commit, events) in counted {
        assert_eq!(through_duckdb(&server, Some(commit)).await.unwrap()["tables"]["events"], events, "commit {commit}");
    }
    assert_eq!([server.log_lines("WARN"), server.log_lines("ERROR")].concat(), Vec::<String>::new());
    // And once more with the server at rest.
    let before = through_duckdb(&server, None).await.unwrap();
    let (_, stopped) = server.stop().await;
    let catalogue = stopped.data_dir().join("warehouse.db");
    let after: Value =
        serde_json::from_str(&run("ducklake.py", &[catalogue.to_str().unwrap()]).await.unwrap()).unwrap();
    assert_eq!(after["events"], before["events"]);
}

#[tokio::test]
async fn our_catalogue_is_laid_out_as_duckdb_lays_it_out() {
    let Some(reference) = run("ducklake.py", &["--ddl"]).await else { return };
    assert_laid_out(&reference, include_str!("../../processor/warehouse/migrations/sqlite/0001_ducklake.sql"));
    let Ok(server) = std::env::var("STREAMGAUGE_TEST_POSTGRES") else {
        return println!("skipped: STREAMGAUGE_TEST_POSTGRES names no server");
    };
    let reference = run("ducklake.py", &["--ddl", &server]).await.unwrap();
    assert_laid_out(&reference, include_str!("../../processor/warehouse/migrations/postgres/0001_ducklake.sql"));
}

/// The 28 tables of a migration have the columns and types of the reference.
fn assert_laid_out(reference: &str, migration: &str) {
    let reference: BTreeMap<String, Vec<(String, String)>> = serde_json::from_str(reference).unwrap();
    assert_eq!(reference.len(), 28);
    let mut ours: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for statement in migration.split(';') {
        let statement: Vec<&str> = statement.lines().filter(|line| !line.starts_with("--")).collect();
        let statement = statement.join(" ");
        let Some(rest) = statement.trim().strip_prefix("CREATE TABLE ") else { continue };
        let (name, columns) = rest.split_once('(').unwrap();
        let columns = columns.trim().trim_end_matches(')').split(',').map(|column| {
            let mut words = column.split_whitespace();
            (words.next().unwrap().to_owned(), words.next().unwrap().to_owned())
        });
        ours.insert(name.trim().to_owned(), columns.collect());
    }
    for (table, columns) in &reference {
        assert_eq!(ours.get(table), Some(columns), "{table}");
    }
}
