//! Data directories that earlier versions wrote: the program of today reads them, says the same, and goes on from there.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use chrono::TimeDelta;
use rig::server::wait_until;
use rig::{Device, Server};
use serde_json::Value;

use crate::start;
use crate::views::{base, duckdb_reads_the_same, session, upload_at};

/// The directories of `tests/fixtures/data-dirs`, by the last migration that their version knew.
const VERSIONS: [&str; 1] = ["0003"];

fn fixture(name: &str) -> PathBuf {
    rig::server::repository().join("tests/fixtures/data-dirs").join(name)
}

/// What the version that wrote the directory answered, by statement.
fn answers(version: &str) -> BTreeMap<String, Value> {
    let text = std::fs::read_to_string(fixture(&format!("{version}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

async fn started(version: &str) -> Server {
    let start = start().test_clock();
    let data_dir = start.data_dir();
    std::fs::create_dir_all(&data_dir).unwrap();
    let archive = fixture(&format!("{version}.tar.gz"));
    let status = Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(&data_dir).status().unwrap();
    assert!(status.success(), "unpack {}", archive.display());
    start.start().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_directory_of_an_earlier_version_answers_as_it_did_and_takes_in_more() {
    for version in VERSIONS {
        let server = started(version).await;
        for (statement, expected) in answers(version) {
            assert_eq!(Value::from(server.sql(&statement).await), expected, "{version}: {statement}");
        }
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
