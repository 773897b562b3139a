//! `compact`, `expire` and `collect`: beside a running server, without one, and beside another process that is at it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, SystemTime};

use chrono::TimeDelta;
use rig::server::{Start, wait_until};
use rig::{Device, Server};
use serde_json::{Value, json};

use crate::audit::tamper;
use crate::views::{base, session, upload_at};
use crate::{assert_books_balance, numbers, start};

/// Runs a command; its exit code and what it printed as JSON, or what it complained of.
pub(crate) async fn run(start: &Start, arguments: &[&str]) -> (i32, Value) {
    let Output { status, stdout, stderr } = start.command().args(arguments).arg("--json").output().await.unwrap();
    let said = serde_json::from_slice(&stdout).unwrap_or_else(|_| json!(String::from_utf8_lossy(&stderr)));
    (status.code().unwrap(), said)
}

/// A server that leaves all maintenance to its operator, with many small files.
async fn untended() -> Server {
    let server = start()
        .test_clock()
        .variable("STREAMGAUGE_PROCESSOR__COMMIT_INTERVAL", "50ms")
        .variable("STREAMGAUGE_MAINTENANCE__INTERVAL", "1h")
        .start()
        .await
        .unwrap();
    for n in 0..10 {
        let at = base() + TimeDelta::minutes(n);
        upload_at(&server, &session(&mut Device::new(), at), at + TimeDelta::minutes(5)).await;
        server.settle().await;
    }
    server
}

fn parquet_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    let files = entries.flat_map(|path| if path.is_dir() { parquet_files(&path) } else { vec![path] });
    files.filter(|path| path.extension().is_some_and(|ending| ending == "parquet")).collect()
}

#[tokio::test]
async fn maintenance_by_command_changes_no_answer_beside_a_server_or_without_one() {
    let server = untended().await;
    let (before, events) = (numbers(&server).await, server.start().data_dir().join("lake/main/events"));
    let files = parquet_files(&events).len();
    assert!(files >= 10, "{files} files");

    let (code, said) = run(server.start(), &["compact"]).await;
    let number = |said: &Value, name: &str| said[name].as_i64().unwrap_or_else(|| panic!("no {name} in {said}"));
    assert_eq!(code, 0, "{said}");
    assert!(number(&said, "merged_files") >= 30 && number(&said, "folded_deltas") > 100, "{said}");
    let commit = server.number("SELECT max(commit_id) FROM commits WHERE lane = 'maintenance'").await;
    assert_eq!(number(&said, "commit"), commit, "the server sees it");
    let again = run(server.start(), &["compact"]).await;
    assert_eq!((again.0, number(&again.1, "merges")), (0, 0), "{}", again.1);
    // With fewer files of a kind than the setting asks for.
    upload_at(&server, &session(&mut Device::new(), base()), base() + TimeDelta::minutes(20)).await;
    server.settle().await;
    let before_two = numbers(&server).await;
    assert_eq!(number(&run(server.start(), &["compact"]).await.1, "merges"), 0);
    assert!(number(&run(server.start(), &["compact", "--fan-in", "2"]).await.1, "merges") > 0);
    assert_eq!(numbers(&server).await, before_two);
    assert_ne!(before_two, before);

    // Files that were merged away wait, and go with the next call.
    let at_once = ["expire", "--older-than", "0s", "--grace", "0s"];
    let (code, said) = run(server.start(), &at_once).await;
    assert_eq!(code, 0, "{said}");
    assert!(number(&said, "snapshots") > 10 && number(&said, "scheduled_files") > 30, "{said}");
    let (code, said) = run(server.start(), &at_once).await;
    assert_eq!(code, 0, "{said}");
    assert!(number(&said, "deleted_files") > 30, "{said}");
    assert!(parquet_files(&events).len() < files);
    assert_eq!(numbers(&server).await, before_two);
    assert_books_balance(&server).await;

    // Without a server.
    let (_, stopped) = server.stop().await;
    for command in [&["compact"][..], &["expire"], &["collect"]] {
        let (code, said) = run(&stopped, command).await;
        assert_eq!(code, 0, "{command:?}: {said}");
    }
    let server = stopped.start().await.unwrap();
    assert_eq!(numbers(&server).await, before_two);
    assert_eq!(server.log_lines("ERROR"), Vec::<String>::new());
}

#[tokio::test]
async fn leftovers_go_by_command_and_what_is_missing_is_told() {
    let server = untended().await;
    let events = server.start().data_dir().join("lake/main/events");
    let listed = parquet_files(&events);
    let left = events.join("2026-01-02/m-01234567-89ab-7def-8123-456789abcdef.parquet");
    let young = events.join("2026-01-02/m-01234567-89ab-7def-8123-456789abcdf0.parquet");
    let of_others = events.join("2026-01-02/notes.parquet");
    std::fs::create_dir_all(left.parent().unwrap()).unwrap();
    for file in [&left, &young, &of_others] {
        std::fs::write(file, b"left").unwrap();
    }
    for file in [&left, &of_others] {
        let hours_ago = SystemTime::now() - Duration::from_secs(2 * 3600);
        File::options().write(true).open(file).unwrap().set_modified(hours_ago).unwrap();
    }
    let (code, said) = run(server.start(), &["collect", "--grace", "1s"]).await;
    assert_eq!((code, &said["missing_files"]), (0, &json!(0)), "{said}");
    assert!(said["collected_files"].as_i64().unwrap() >= 1, "{said}");
    assert_eq!((left.exists(), young.exists(), of_others.exists()), (false, true, true));
    assert!(listed.iter().all(|file| file.exists()));
    let (code, said) = run(server.start(), &["collect", "--grace", "0s"]).await;
    assert_eq!(code, 2, "{said}");

    std::fs::remove_file(&listed[0]).unwrap();
    let (code, said) = run(server.start(), &["collect"]).await;
    assert_eq!((code, &said["missing_files"]), (1, &json!(1)), "{said}");
}

#[tokio::test]
async fn a_command_says_that_another_process_is_at_it() {
    let (_, stopped) = untended().await.stop().await;
    let lock = File::options().write(true).open(stopped.data_dir().join("warehouse.db.lock")).unwrap();
    lock.lock().unwrap();
    for command in ["compact", "expire", "collect"] {
        let (code, said) = run(&stopped, &[command, "--wait", "200ms"]).await;
        assert_eq!((code, said.to_string().contains("another process")), (1, true), "{command}: {said}");
    }
    // A server starts all the same, and leaves the files alone until it is its turn.
    let server = stopped.start().await.unwrap();
    drop(lock);
    assert_eq!(run(server.start(), &["collect"]).await.0, 0);
    assert_eq!(server.log_lines("ERROR"), Vec::<String>::new());
}

#[tokio::test]
async fn what_a_later_version_has_migrated_is_not_written_anew() {
    if std::process::Command::new("python3").arg("--version").output().is_err() {
        return println!("skipped: there is no python3");
    }
    let server = start()
        .test_clock()
        .variable("STREAMGAUGE_MAINTENANCE__INTERVAL", "500ms")
        .variable("STREAMGAUGE_MAINTENANCE__ROLLUP_DELTA_AGE", "1h")
        .start()
        .await
        .unwrap();
    upload_at(&server, &session(&mut Device::new(), base()), base() + TimeDelta::minutes(5)).await;
    server.settle().await;
    tamper(server.start(), "INSERT INTO _sqlx_migrations VALUES (9999, 'later', '2026-11-29', true, x'00', 0)").await;
    let knows = async || server.log().contains("a later version has migrated the database");
    wait_until(Duration::from_secs(20), || server.log(), knows).await;
    let (code, said) = run(server.start(), &["compact"]).await;
    assert!(code == 1 && said.to_string().contains("migration 9999"), "{said}");
    // Uploads are taken and counted all the same.
    upload_at(&server, &session(&mut Device::new(), base()), base() + TimeDelta::minutes(9)).await;
    server.settle().await;
    assert_eq!(server.number("SELECT count(DISTINCT session_id) FROM events").await, 2);
    let (_, stopped) = server.stop().await;
    let refused = format!("{:#}", stopped.start().await.unwrap_err());
    assert!(refused.contains("migration 9999 was previously applied but is missing"), "{refused}");
}
