//! End-to-end tests: the program as its users meet it, over HTTP, with real files and real clients.
//!
//! A test starts servers of its own on free ports and temporary folders; nothing is shared, so all run side by side. What
//! needs a tool that is not there says so and passes; `./deploy/test` brings all of them.

#![expect(clippy::disallowed_methods, reason = "a test has a clock and an environment of its own")]
#![expect(clippy::print_stdout, reason = "a test that is skipped says why")]

mod adopt;
mod answers;
mod audit;
mod backup;
mod brokers;
mod browser;
mod clients;
mod cluster;
mod crash;
mod disk;
mod doctor;
mod examples;
mod failover;
mod fixtures;
mod layout;
mod maintenance;
mod mend;
mod partitions;
mod program;
mod promises;
mod questions;
mod rebuild;
mod retention;
mod simulate;
mod sql;
mod upgrade;
mod uploads;
mod views;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rig::Server;
use rig::server::{Start, repository, wait_until};
use schemas::fold::measures::MEASURES;
use schemas::rollups::Column;
use serde_json::{Value, json};

/// Held by tests that keep both cores busy or kill by the clock: they do not run beside each other.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A server of the program under test.
fn start() -> Start {
    Start::new(env!("CARGO_BIN_EXE_streamgauge"))
}

/// Runs a script of `deploy/`, which must succeed.
fn deploy<A: AsRef<OsStr>>(script: &str, arguments: impl IntoIterator<Item = A>) {
    let output = Command::new(repository().join("deploy").join(script)).args(arguments).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Everything that must not change when nothing new was sent: rows of the lake without what only counts commits, and
/// all sums.
async fn numbers(server: &Server) -> BTreeMap<&'static str, Vec<Value>> {
    let mut numbers = BTreeMap::new();
    for (name, sql) in [
        ("events", "SELECT * FROM events ORDER BY log_partition, log_position, log_index"),
        ("quarantine", "SELECT * FROM quarantine ORDER BY log_partition, log_position, log_index"),
        ("records", "SELECT * FROM records ORDER BY log_partition, log_position"),
        ("ledger", "SELECT * FROM ledger ORDER BY hour, log_partition, format, type, outcome, reason"),
        ("usage", "SELECT * FROM rollup_usage_minute ORDER BY bucket_start, type, feature"),
        ("usage days", "SELECT * FROM rollup_usage_day ORDER BY bucket_start, type, feature"),
        ("views", "SELECT * FROM views ORDER BY view_id, part"),
        ("app sessions", "SELECT * FROM app_sessions ORDER BY session_id, part"),
        ("slices", &slice_sums()),
        ("streams", "SELECT * FROM rollup_stream_minute ORDER BY bucket_start, stream_id"),
        (
            "releases",
            "SELECT * FROM rollup_release_hour \
             ORDER BY bucket_start, app_version, device_platform, os_major, device_class, network",
        ),
        ("layouts", "SELECT * FROM rollup_layout_minute ORDER BY bucket_start, layout_type, tile_band"),
        ("stream bins", "SELECT * FROM rollup_stream_bins_minute ORDER BY bucket_start, stream_id, metric, bin"),
        (
            "release bins",
            "SELECT * FROM rollup_release_bins_day \
             ORDER BY bucket_start, app_version, device_platform, os_major, device_class, network, metric, bin",
        ),
        ("bins", "SELECT * FROM rollup_layout_bins_hour ORDER BY bucket_start, layout_type, tile_band, metric, bin"),
        ("errors", "SELECT * FROM rollup_error_day ORDER BY bucket_start, origin, code, domain, severity, app_version"),
        ("quality", "SELECT * FROM rollup_quality_minute ORDER BY bucket_start, format, type, outcome, reason"),
    ] {
        let mut rows = all_rows(server, sql).await;
        for row in rows.iter_mut().filter_map(Value::as_object_mut) {
            row.remove("revision");
        }
        numbers.insert(name, rows);
    }
    numbers
}

/// All rows of a statement with a total order, page by page: together they may be larger than an answer.
async fn all_rows(server: &Server, sql: &str) -> Vec<Value> {
    const PAGE: usize = 10_000;
    let mut rows = Vec::new();
    loop {
        let statement = json!({ "sql": format!("{sql} LIMIT {PAGE} OFFSET {}", rows.len()), "limit": PAGE });
        let reply = server.try_sql(&statement).await;
        assert_eq!(reply.status, 200, "{sql}: {}", reply.text());
        let page = reply.json()["data"].as_array().cloned().unwrap_or_default();
        let is_last = page.len() < PAGE;
        rows.extend(page);
        if is_last {
            return rows;
        }
    }
}

/// Every measure of `slices`, summed: how often a contribution was corrected does not show.
fn slice_sums() -> String {
    let keys = "project, session_id, view_id, part, person_id, stream_id, stream_platform, category, device_platform, \
                os_major, device_class, network, app_version, layout_type, tile_band, bucket_start";
    let sum = |measure: &Column| format!(", sum({0}) AS {0}", measure.name);
    let is_something: Vec<String> = MEASURES.iter().map(|measure| format!("sum({}) <> 0", measure.name)).collect();
    let sums: String = MEASURES.iter().map(sum).collect();
    format!("SELECT {keys}{sums} FROM slices GROUP BY {keys} HAVING {} ORDER BY {keys}", is_something.join(" OR "))
}

/// Waits until a server has logged something.
async fn wait_for_log(server: &Server, text: &str) {
    let trouble = || format!("`{text}` is not in {}", server.log());
    wait_until(Duration::from_secs(20), trouble, async || server.log().contains(text)).await;
}

/// Copies what is in a folder into another one, over what is there.
fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    let status = Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status().unwrap();
    assert!(status.success(), "copy {} to {}", from.display(), to.display());
}

/// A position means one record.
async fn assert_positions_are_unique(server: &Server) {
    let twice =
        "SELECT count(*) FROM (SELECT log_partition, log_position FROM records GROUP BY 1, 2 HAVING count(*) > 1)";
    assert_eq!(server.number(twice).await, 0, "a position means one record");
}

/// Asserts that the books balance: events received = stored + duplicate + quarantined + suppressed, each found where it
/// must be.
async fn assert_books_balance(server: &Server) {
    let received = server.number("SELECT coalesce(sum(events), 0) FROM records").await;
    assert_eq!(server.number("SELECT coalesce(sum(events), 0) FROM ledger").await, received);
    assert_eq!(server.number("SELECT coalesce(sum(events), 0) FROM rollup_quality_hour").await, received);
    for outcome in ["stored", "duplicate", "quarantined", "suppressed"] {
        let of_outcome = format!("SELECT coalesce(sum(events), 0) FROM ledger WHERE outcome = '{outcome}'");
        let of_records = format!("SELECT coalesce(sum({outcome}), 0) FROM records");
        assert_eq!(server.number(&of_outcome).await, server.number(&of_records).await, "{outcome}");
    }
    let stored = server.number("SELECT coalesce(sum(stored), 0) FROM records").await;
    assert_eq!(server.number("SELECT count(*) FROM events").await, stored);
    assert_eq!(server.number("SELECT coalesce(sum(events), 0) FROM rollup_usage_day").await, stored);
    let quarantined = server.number("SELECT coalesce(sum(quarantined), 0) FROM records").await;
    assert_eq!(server.number("SELECT count(*) FROM quarantine").await, quarantined);
}
