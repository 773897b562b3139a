//! A simulated fleet against a running server: what it answers is what happened.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use rig::Server;
use rig::server::{Start, wait_until};
use serde_json::Value;
use tokio::process::Child;

use crate::program::has;
use crate::program::people::Pair;
use crate::{clients, start};

/// A server that commits often, so that events come late and units are read back.
fn server() -> Start {
    busy(start())
}

fn busy(start: Start) -> Start {
    start
        .test_clock()
        .variable("STREAMGAUGE_PROCESSOR__COMMIT_INTERVAL", "200ms")
        .variable("STREAMGAUGE_PROCESSOR__STATE_INTERVAL", "600ms")
}

/// Ten devices: every kind of device once.
fn simulate(server: &Server, arguments: &[&str]) -> Child {
    let mut command = server.start().command();
    command.args(["simulate", "--check", "--devices", "10", "--days", "1"]).args(arguments);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap()
}

/// Returns what it said.
async fn assert_true(simulation: Child) -> String {
    let output = simulation.wait_with_output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

#[tokio::test]
async fn the_answers_are_the_truth_whatever_goes_wrong_on_the_way() {
    let server = server().start().await.unwrap();
    let mut arguments = vec!["--seed", "11", "--disturb", "duplicates,recut,reorder,offline,clocks,lost"];
    // Through DuckDB too, where it is there.
    let duckdb = clients::duckdb();
    if let Some(command) = &duckdb {
        arguments.extend(["--catalogue", "--duckdb", command.to_str().unwrap()]);
    }
    let said = assert_true(simulate(&server, &arguments)).await;
    assert_eq!(said.contains("what DuckDB reads through the catalogue"), duckdb.is_some(), "{said}");
}

#[tokio::test]
async fn users_who_are_signed_in_are_who_their_tokens_say() {
    if !has("openssl") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let issuer = Pair::new(folder.path(), Algorithm::ES256).await;
    let server = busy(issuer.start()).start().await.unwrap();
    assert_true(simulate(&server, &["--seed", "16", "--user-key", &issuer.private_file])).await;
    let verified = "SELECT count(*) FROM events WHERE trust = 'authenticated'";
    let of_users = server.number(&format!("{verified} AND person_id = user_id AND person_id LIKE 'user-%'")).await;
    assert!(of_users > 200, "{of_users} events of users");
    assert_eq!(server.number(verified).await, of_users);
}

#[tokio::test]
async fn a_view_that_duckdb_does_not_see_is_named() {
    let Some(command) = clients::duckdb() else { return };
    let server = server().start().await.unwrap();
    // DuckDB behind a filter that takes the first view away.
    let script = server.start().data_dir().join("duckdb-without-a-view");
    let takes_away = r"s/\(FROM lake.main.views .*\);/\1 QUALIFY row_number() OVER (ORDER BY view_id, part) > 1;/";
    std::fs::write(&script, format!("#!/bin/sh\nsed -u '{takes_away}' | '{}'\n", command.display())).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).unwrap();
    let simulation =
        simulate(&server, &["--seed", "14", "--json", "--catalogue", "--duckdb", script.to_str().unwrap()]);
    let output = simulation.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["check"]["differences"], serde_json::json!([]));
    let differences = said["catalogue"]["differences"].as_array().unwrap();
    let named: Vec<_> = differences.iter().map(|of| (of["table"].as_str(), of["measure"].as_str())).collect();
    assert_eq!(named, [(Some("views"), Some("present")), (Some("views"), Some("rows"))], "{differences:?}");
}

#[tokio::test]
async fn at_a_fixed_rate_every_event_is_answered_and_stored_once_and_every_upload_has_its_latency() {
    let server = server().start().await.unwrap();
    let said = assert_true(simulate(&server, &["--seed", "13", "--rate", "3000", "--json"])).await;
    let said: Value = serde_json::from_str(&said).unwrap();
    let number = |at: &str| said.pointer(at).and_then(Value::as_u64).unwrap_or_else(|| panic!("{at} in {said}"));
    assert_eq!(number("/books/accepted") + number("/books/duplicate"), number("/books/sent"));
    assert!(number("/books/sent") > number("/distinct") && number("/distinct") > 3_000, "{said}");
    assert_eq!([number("/books/ids/sent"), number("/books/ids/acked")], [number("/distinct"); 2]);
    assert_eq!(number("/books/ids/refused") > 0, number("/books/refused") + number("/books/unanswered") > 0);
    assert_eq!([number("/books/ids/never_acked"), number("/check/tables/ids/differences")], [0, 0]);
    assert_eq!(number("/check/tables/ids/cells"), number("/distinct"));
    // The histogram has every upload, and its percentiles are in order.
    let bins: Vec<(u64, u64)> = serde_json::from_value(said["load"]["latency"]["bins_us"].clone()).unwrap();
    assert_eq!(bins.iter().map(|(_, n)| n).sum::<u64>(), number("/books/uploads"));
    assert_eq!(number("/load/latency/count"), number("/books/uploads"));
    let percentiles = ["p50_us", "p90_us", "p99_us", "max_us"].map(|of| number(&format!("/load/latency/{of}")));
    assert!(percentiles.is_sorted() && percentiles[0] > 0, "{percentiles:?}");
    // None is sent before it is due.
    let rate = said["load"]["events_per_s"].as_f64().unwrap();
    assert!(rate > 0.0 && rate < 3_060.0, "{rate}");
}

#[tokio::test]
async fn the_answers_are_the_truth_if_all_is_sent_twice_in_any_order_and_the_server_is_killed() {
    let mut server = server().start().await.unwrap();
    let simulation = simulate(&server, &["--seed", "12", "--repeat", "2", "--shuffle"]);
    for events in [800, 3_000] {
        let trouble = || format!("{events} events are not there: {}", server.log());
        let are_there = async || server.number("SELECT count(*) FROM events").await >= events;
        wait_until(Duration::from_secs(60), trouble, are_there).await;
        server = server.crash_and_restart().await;
    }
    assert_true(simulation).await;
}

#[tokio::test]
async fn the_answers_are_the_truth_if_there_is_no_room_for_the_sessions_that_are_open() {
    const ROOM: f64 = 2.0;
    let cramped = server().variable("STREAMGAUGE_PROCESSOR__OPEN_SESSIONS", "2");
    let mut server = cramped.start().await.unwrap();
    let disturb = "duplicates,recut,reorder,offline,clocks,lost";
    // Slowly, so that there are many commits.
    let simulation = simulate(&server, &["--seed", "15", "--disturb", disturb, "--rate", "500"]);
    let metric = async |server: &Server, name: &str| server.metric(&format!("streamgauge_{name}")).await.unwrap();
    let mut read_back = 0.0;
    // What was put away must be so after a crash: from the state file, and without any.
    for (events, has_state) in [(1_500, true), (3_000, false)] {
        let trouble = || format!("{events} events are not there: {}", server.log());
        let are_put_away = async || {
            metric(&server, "put_away_sessions").await >= 2.0
                && server.number("SELECT count(*) FROM events").await >= events
        };
        wait_until(Duration::from_secs(60), trouble, are_put_away).await;
        assert!(metric(&server, "open_sessions").await <= ROOM);
        read_back += metric(&server, "refolded_sessions_total").await;
        let stopped = server.kill().await;
        let state = stopped.data_dir().join("lake/state");
        assert!(state.read_dir().unwrap().next().is_some(), "no state was written");
        if !has_state {
            std::fs::remove_dir_all(state).unwrap();
        }
        server = stopped.start().await.unwrap();
    }
    assert_true(simulation).await;
    read_back += metric(&server, "refolded_sessions_total").await;
    // Some with every commit, and on a busy machine these are few.
    assert!(read_back > 8.0, "only {read_back} sessions were read back");
    // Those that let log time pass are still under way.
    let (open, put_away) = (metric(&server, "open_sessions").await, metric(&server, "put_away_sessions").await);
    assert!(open <= ROOM && open + put_away >= 64.0, "{open} open, {put_away} put away");
    assert_eq!(server.metric("streamgauge_unaccounted_events").await, Some(0.0));
}
