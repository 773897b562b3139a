//! `audit` names the place where something was taken away behind the product's back.

use std::process::Output;

use rig::Device;
use rig::server::Start;
use serde_json::{Value, json};

use crate::start;
use crate::views::{base, session};

/// Runs a command on the data directory; its exit code and what it printed as JSON.
pub(crate) async fn run(start: &Start, verb: &str) -> (i32, Value) {
    let Output { status, stdout, stderr } = start.command().args([verb, "--json"]).output().await.unwrap();
    let errors = String::from_utf8_lossy(&stderr);
    let said = serde_json::from_slice(&stdout).unwrap_or_else(|_| panic!("{verb} printed no JSON: {errors}"));
    (status.code().unwrap(), said)
}

/// Changes the stopped server's database as no program of ours does.
pub(crate) async fn tamper(start: &Start, sql: &str) {
    let script = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute(sys.argv[2]); c.commit()";
    let database = start.data_dir().join("warehouse.db");
    let mut command = tokio::process::Command::new("python3");
    let status = command.args(["-c", script]).arg(database).arg(sql).status().await.unwrap();
    assert!(status.success(), "{sql}");
}

/// What an audit finds: what was compared, and where.
fn findings(said: &Value) -> Vec<(String, String)> {
    let text = |finding: &Value, name: &str| finding[name].as_str().unwrap().to_owned();
    let all = said["findings"].as_array().unwrap().iter();
    all.map(|finding| (text(finding, "compared"), text(finding, "place"))).collect()
}

/// A stopped server with sessions, a copy and a bad event.
async fn stopped() -> Start {
    let server = start().test_clock().start().await.unwrap();
    for n in 0..3 {
        let mut device = Device::new();
        let mut events = session(&mut device, base() + chrono::TimeDelta::minutes(7 * n));
        events.push(events[0].clone());
        events.push(json!({ "specversion": "1.0", "id": format!("bad-{n}"), "source": "/x" }));
        let at = base() + chrono::TimeDelta::minutes(7 * n);
        events.push(device.event("app.error", at, json!({ "code": "E42", "domain": "net", "message": "no way" })));
        assert_eq!(server.upload(&events).await.status, 202);
        server.settle().await;
    }
    let (code, said) = run(server.start(), "audit").await;
    assert_eq!((code, &said["balances"]), (0, &json!(true)), "beside the running server: {said}");
    assert!(said["records"].as_u64().unwrap() >= 3 && said["events"].as_u64().unwrap() > 30, "{said}");
    server.stop().await.1
}

#[tokio::test]
async fn what_is_removed_behind_its_back_is_named_with_its_place() {
    if std::process::Command::new("python3").arg("--version").output().is_err() {
        return println!("skipped: there is no python3");
    }
    // A delta of a rollup.
    let start = stopped().await;
    tamper(&start, "DELETE FROM usage_delta WHERE rowid = (SELECT min(rowid) FROM usage_delta)").await;
    let (code, said) = run(&start, "audit").await;
    let found = findings(&said);
    assert_eq!(code, 1);
    assert!(!found.is_empty() && found.iter().all(|(compared, _)| compared.starts_with("events and rollup usage by")));
    assert!(found.iter().all(|(_, place)| place.starts_with("project default, ")), "{found:?}");

    // Errors, and a value of a distribution that is in another bin than it was.
    let start = stopped().await;
    tamper(&start, "UPDATE error_delta SET errors = errors + 1 WHERE rowid = (SELECT max(rowid) FROM error_delta)")
        .await;
    let (code, said) = run(&start, "audit").await;
    let found = findings(&said);
    assert_eq!((code, found.len()), (1, 3), "{found:?}");
    for (finding, (grain, word)) in found.iter().zip([("minute", "hour"), ("hour", "hour"), ("day", "day")]) {
        assert_eq!(finding.0, format!("events and rollup error by {grain}, errors"));
        assert!(finding.1.starts_with(&format!("project default, {word} 2026-")), "{found:?}");
    }
    for (rollup, other) in [("stream", "release"), ("layout", "release"), ("release", "layout")] {
        let start = stopped().await;
        let of_startup = format!("(SELECT max(rowid) FROM {rollup}_delta WHERE bins LIKE '%startup_ms:%')");
        let moved = "replace(bins, 'startup_ms:', 'startup_ms:1')";
        tamper(&start, &format!("UPDATE {rollup}_delta SET bins = {moved} WHERE rowid = {of_startup}")).await;
        let (code, said) = run(&start, "audit").await;
        let found = findings(&said);
        assert_eq!(code, 1, "{rollup}");
        let is_named = |(compared, place): &(String, String)| {
            let both = [rollup, other].iter().all(|of| compared.contains(&format!("rollup {of}_bins")));
            both && compared.ends_with(" by hour, startup_ms") && place.starts_with("project default, hour 2026-")
        };
        assert!(found.iter().any(is_named), "{rollup}: {found:?}");
        assert!(found.iter().all(|(compared, _)| compared.contains(&format!("rollup {rollup}_bins"))), "{found:?}");
        assert!(found.iter().all(|(_, place)| place.contains(", bin ")), "{found:?}");
    }
    // A bin that is gone is missing among the values that the lake knows of as well.
    let start = stopped().await;
    for rollup in ["stream", "release", "layout"] {
        tamper(&start, &format!("UPDATE {rollup}_delta SET bins = NULL WHERE bins LIKE '%startup_ms:%'")).await;
    }
    let (code, said) = run(&start, "audit").await;
    let found = findings(&said);
    assert_eq!(code, 1);
    let of_slices = "slices and rollup release_bins, added up by hour, startup_valid";
    assert!(found.iter().any(|(compared, _)| compared == of_slices), "{found:?}");

    // The records of a file, with their file.
    let start = stopped().await;
    tamper(
        &start,
        "DELETE FROM ducklake_data_file WHERE data_file_id = \
                    (SELECT min(data_file_id) FROM ducklake_data_file WHERE table_id = 3)",
    )
    .await;
    let (code, said) = run(&start, "audit").await;
    let found = findings(&said);
    assert_eq!(code, 1);
    let is = |compared: &str, place: &str| found.iter().any(|(of, at)| of == compared && at.starts_with(place));
    assert!(is("ledger and records", "project default, hour 2026-"), "{found:?}");
    assert!(is("records and rows of events", "partition "), "{found:?}");

    // A file of events.
    let start = stopped().await;
    let folder = start.data_dir().join("lake/main/events");
    let mut files: Vec<_> = files_below(&folder);
    files.sort();
    std::fs::remove_file(&files[0]).unwrap();
    let (code, said) = run(&start, "audit").await;
    let found = findings(&said);
    let name = files[0].file_name().unwrap().to_str().unwrap();
    assert_eq!(code, 1);
    assert!(
        found.iter().any(|(_, place)| place.starts_with("file main/events/") && place.ends_with(name)),
        "{found:?}"
    );
}

#[tokio::test]
async fn rows_of_every_table_and_deltas_of_every_rollup_are_missed_where_they_were() {
    if std::process::Command::new("python3").arg("--version").output().is_err() {
        return println!("skipped: there is no python3");
    }
    let start = stopped().await;
    let database = start.data_dir().join("warehouse.db");
    let file_of = |table: &str| {
        let first = "SELECT min(data_file_id) FROM ducklake_data_file JOIN ducklake_table USING (table_id)";
        format!("DELETE FROM ducklake_data_file WHERE data_file_id = ({first} WHERE table_name = '{table}')")
    };
    let delta_of = |rollup: &str, measure: &str| {
        let first = format!("SELECT min(rowid) FROM {rollup}_delta WHERE {measure} > 0");
        format!("DELETE FROM {rollup}_delta WHERE rowid = ({first})")
    };
    for (sql, compared) in [
        (file_of("views"), "views and slices, views_ended"),
        (file_of("slices"), "slices and rollup stream by hour, attempts"),
        (file_of("quarantine"), "ledger and rows"),
        (delta_of("ledger", "events"), "ledger and records"),
        (delta_of("quality", "events"), "ledger and rollup quality by minute, events"),
        (delta_of("stream", "attempts"), "slices and rollup stream by minute, attempts"),
        (delta_of("release", "playing_ms"), "slices and rollup release by minute, playing_ms"),
        (delta_of("layout", "views_ended"), "slices and rollup layout by minute, views_ended"),
    ] {
        let untouched = std::fs::read(&database).unwrap();
        tamper(&start, &sql).await;
        let (code, said) = run(&start, "audit").await;
        let found = findings(&said);
        let is_named =
            |(of, place): &(String, String)| of == compared && place.starts_with("project default, hour 2026-");
        assert!(code == 1 && found.iter().any(is_named), "{sql}: {found:?}");
        std::fs::write(&database, untouched).unwrap();
    }
    // A file that tells which events are copies.
    let runs = files_below(&start.data_dir().join("lake/ids"));
    std::fs::remove_file(&runs[0]).unwrap();
    let (code, said) = run(&start, "audit").await;
    let found = findings(&said);
    let name = runs[0].file_name().unwrap().to_str().unwrap();
    assert_eq!((code, found.len(), found[0].0.as_str()), (1, 1, "listed runs of keys and files"), "{found:?}");
    assert!(found[0].1.ends_with(name), "{found:?}");
}

fn files_below(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
}
