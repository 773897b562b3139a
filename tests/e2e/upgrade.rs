//! Data directories that earlier versions wrote: the program of today reads them, says the same, and goes on from there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use chrono::TimeDelta;
use rig::server::wait_until;
use rig::{Device, Server};
use serde_json::{Value, json};

use crate::backup::{path, succeed};
use crate::views::{base, duckdb_reads_the_same, session, upload_at};
use crate::{assert_books_balance, start};

/// The directories of `tests/fixtures/data-dirs`, by the last migration that their version knew.
const VERSIONS: [&str; 1] = ["0003"];

fn fixture(name: &str) -> PathBuf {
    rig::server::repository().join("tests/fixtures").join(name)
}

/// What the version that wrote a directory or a backup answered, by statement.
async fn assert_answers(server: &Server, name: &str) {
    let text = std::fs::read_to_string(fixture(&format!("{name}.json"))).unwrap();
    let answers: BTreeMap<String, Value> = serde_json::from_str(&text).unwrap();
    assert!(answers.len() > 5, "{name}");
    for (statement, expected) in answers {
        assert_eq!(Value::from(server.sql(&statement).await), expected, "{name}: {statement}");
    }
}

fn unpack(name: &str, into: &Path) {
    let archive = fixture(&format!("{name}.tar.gz"));
    let status = Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(into).status().unwrap();
    assert!(status.success(), "unpack {}", archive.display());
}

async fn started(version: &str) -> Server {
    let start = start().test_clock();
    let data_dir = start.data_dir();
    std::fs::create_dir_all(&data_dir).unwrap();
    unpack(&format!("data-dirs/{version}"), &data_dir);
    start.start().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_directory_of_an_earlier_version_answers_as_it_did_and_takes_in_more() {
    for version in VERSIONS {
        let server = started(version).await;
        assert_answers(&server, &format!("data-dirs/{version}")).await;
        // What was not measured then is null in the lake. Rollups begin with 0.
        assert_eq!(server.number("SELECT count(*) FROM slices WHERE any_stall_ms IS NOT NULL").await, 0);
        assert_eq!(server.number("SELECT sum(any_stall_ms) FROM rollup_layout_day").await, 0);
        duckdb_reads_the_same(&server).await;

        let mut device = Device::new();
        upload_at(&server, &session(&mut device, base()), base() + TimeDelta::minutes(10)).await;
        server.settle().await;
        for of in ["slices", "rollup_layout_day"] {
            assert_eq!(server.number(&format!("SELECT sum(any_stall_ms) FROM {of}")).await, 2_000, "{of}");
        }
        // Log time passed: the installs that the fleet left open are over, each once its partition knows.
        let are_over = async || server.number("SELECT count(*) FROM app_sessions").await >= 66;
        wait_until(Duration::from_secs(20), || version.to_owned(), are_over).await;
        duckdb_reads_the_same(&server).await;
        let server = server.crash_and_restart().await;
        assert_eq!(server.number("SELECT sum(any_stall_ms) FROM slices").await, 2_000);

        // Folded again by the rules of today, nothing is unknown any more.
        let (_, stopped) = server.stop().await;
        let output = stopped.command().args(["rebuild", "--json"]).output().await.unwrap();
        assert!(output.status.success(), "{output:?}");
        let server = stopped.start().await.unwrap();
        assert_eq!(server.number("SELECT count(*) FROM slices WHERE any_stall_ms IS NULL").await, 0);
        duckdb_reads_the_same(&server).await;
        let errors = server.log_lines("ERROR");
        assert!(errors.is_empty(), "{errors:?}");
    }
}

/// Takes in a session after what an earlier version stored.
async fn takes_in_more(server: &Server) {
    let before = server.number("SELECT count(*) FROM events").await;
    let (mut device, later) = (Device::new(), base() + TimeDelta::days(2));
    let events = session(&mut device, later);
    upload_at(server, &events, later + TimeDelta::minutes(10)).await;
    server.settle().await;
    let all = before + i64::try_from(events.len()).unwrap();
    let are_there = async || server.number("SELECT count(*) FROM events").await == all;
    wait_until(Duration::from_secs(20), || format!("{all} events"), are_there).await;
    assert_books_balance(server).await;
    assert_eq!(server.log_lines("ERROR"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_by_an_earlier_version_is_restored_answers_as_it_did_and_takes_in_more() {
    let set = tempfile::tempdir().unwrap();
    unpack("backups/sqlite-0005", set.path());
    let start = start().test_clock();
    succeed(&start, &["restore", path(set.path())]).await;
    assert_eq!(succeed(&start, &["audit"]).await["balances"], json!(true));
    let server = start.start().await.unwrap();
    assert_answers(&server, "backups/sqlite-0005").await;
    duckdb_reads_the_same(&server).await;
    takes_in_more(&server).await;
    let (_, stopped) = server.stop().await;
    assert_eq!(succeed(&stopped, &["audit"]).await["balances"], json!(true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_an_earlier_version_is_migrated_answers_as_it_did_and_takes_in_more() {
    let Some((cluster, _alone)) = crate::cluster::cluster().await else { return };
    let set = tempfile::tempdir().unwrap();
    unpack("backups/postgres-0003", set.path());
    let manifest: Value = serde_json::from_slice(&std::fs::read(set.path().join("manifest.json")).unwrap()).unwrap();
    // The rows are put into tables of that version, which are migrated by whoever opens them first. Its topic is gone.
    succeed(&cluster.role("query"), &["restore", path(set.path()), "--without-log"]).await;
    assert_eq!(succeed(&cluster.role("query"), &["audit"]).await["balances"], json!(true));
    let query = cluster.role("query").start().await.unwrap();
    assert_answers(&query, "backups/postgres-0003").await;
    assert!(query.stop().await.0.success());
    let lost = manifest["taken_in"][0]["identity"].as_str().unwrap();
    let serve = || cluster.role("serve").test_clock();
    succeed(&serve(), &["adopt", "--instead-of", lost]).await;
    let server = serve().start().await.unwrap();
    assert_answers(&server, "backups/postgres-0003").await;
    takes_in_more(&server).await;
    // Deltas of that version are merged with ours.
    succeed(server.start(), &["compact"]).await;
    let (_, stopped) = server.stop().await;
    assert_eq!(succeed(&stopped, &["audit"]).await["balances"], json!(true));
    cluster.end().await.unwrap();
}
