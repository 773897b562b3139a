//! Retention through the whole product: what is too old is not taken in, what gets too old goes, and nothing is lost sight of.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rig::server::{Start, wait_until};
use rig::{Device, Server};
use serde_json::{Value, json};

use crate::cluster::cluster;
use crate::views::{base, session, upload_at};
use crate::{numbers, start};

/// Keeps events for 20 days.
fn how(start: Start) -> Start {
    start
        .test_clock()
        .variable("STREAMGAUGE_PROCESSOR__COMMIT_INTERVAL", "150ms")
        .variable("STREAMGAUGE_MAINTENANCE__INTERVAL", "300ms")
        .variable("STREAMGAUGE_MAINTENANCE__MERGE_FAN_IN", "4")
        .variable("STREAMGAUGE_RETENTION__EVENTS", "20d")
}

/// Lets log time pass in every partition.
async fn pass_time(server: &Server, at: DateTime<Utc>) {
    let events: Vec<Value> = (0..64).map(|_| Device::new().event("settings.changed", at, json!({}))).collect();
    upload_at(server, &events, at).await;
    server.settle().await;
}

/// What became of the events of an upload of that time.
async fn results(server: &Server, events: &[Value], at: DateTime<Utc>, batch: &str) -> Vec<String> {
    let stamp = at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    let request = server
        .request("POST", &format!("/v1/events?key={}", server.upload_key))
        .header("content-type", "application/cloudevents-batch+json")
        .header("idempotency-key", batch)
        .header("streamgauge-test-received-at", &stamp)
        .header("streamgauge-sent-at", &stamp)
        .body(serde_json::to_vec(events).unwrap());
    assert_eq!(rig::server::send(request).await.unwrap().status, 202);
    server.settle().await;
    receipt(server, batch).await
}

async fn receipt(server: &Server, batch: &str) -> Vec<String> {
    let request = server.request("GET", &format!("/v1/batches/{batch}")).bearer_auth(&server.read_token);
    let reply = rig::server::send(request).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    let results = reply.json()["results"].as_array().unwrap().clone();
    let word = |result: &Value, name: &str| result[name].as_str().unwrap_or_default().to_owned();
    results
        .iter()
        .map(|result| format!("{} {}", word(result, "result"), word(result, "reason")).trim().to_owned())
        .collect()
}

async fn of_outcome(server: &Server, outcome: &str, reason: &str) -> i64 {
    let lines =
        format!("SELECT coalesce(sum(events), 0) FROM ledger WHERE outcome = '{outcome}' AND reason = '{reason}'");
    server.number(&lines).await
}

/// What `audit` says; the test fails if it finds anything.
async fn assert_audit_balances(server: &Server) {
    let output = server.start().command().args(["audit", "--json"]).output().await.unwrap();
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &said["balances"]), (Some(0), &json!(true)), "{said}");
}

/// What is too old is suppressed, and what gets too old is erased.
async fn old_events_go(server: &Server) {
    let (days, mut device) = (TimeDelta::days, Device::new());
    let first = session(&mut device, base());
    let told = results(server, &first, base() + TimeDelta::minutes(5), "first").await;
    assert!(told.iter().all(|result| result == "stored"), "{told:?}");
    // More unknown kinds in one record than the ledger counts by name.
    let at = base() + TimeDelta::minutes(6);
    let unknown: Vec<Value> = (0..60).map(|n| device.event(&format!("custom.kind{n}"), at, json!({}))).collect();
    upload_at(server, &unknown, at).await;
    server.settle().await;
    assert_eq!(server.number("SELECT sum(events) FROM ledger WHERE type = 'other'").await, 10);
    upload_at(server, &session(&mut Device::new(), base() + days(15)), base() + days(15) + TimeDelta::minutes(5)).await;

    // Too old when it arrives, once and again; what is just young enough is taken in.
    let late = |id: &str, at| rig::device::with(Device::new().event("layout.saved", at, json!({})), "id", id);
    let (now, old) = (base() + days(15) + TimeDelta::hours(1), late("old", base() - days(6)));
    let two = [old.clone(), late("young", base() - days(4))];
    assert_eq!(results(server, &two, now, "late").await, ["suppressed expired", "stored"]);
    assert_eq!(results(server, &[old], now, "again").await, ["suppressed expired"]);
    assert_eq!(of_outcome(server, "suppressed", "expired").await, 2);
    assert_eq!(server.number("SELECT count(*) FROM events WHERE event_id = 'old'").await, 0);
    assert_eq!(server.number("SELECT sum(suppressed) FROM records").await, 2);

    // 20 days and the two for late events after them, the first session goes.
    let stored = server.number("SELECT count(*) FROM events").await;
    let usage = server.number("SELECT sum(events) FROM rollup_usage_day").await;
    let views = server.number("SELECT count(*) FROM views").await;
    let end = base() + days(23);
    pass_time(server, end).await;
    let trouble = || format!("nothing was taken away: {}", server.log());
    let erased = i64::try_from(first.len()).unwrap() + 60 + 1;
    wait_until(Duration::from_secs(60), trouble, async || of_outcome(server, "erased", "expired").await == erased)
        .await;
    assert_eq!(server.number("SELECT count(*) FROM events").await, stored + 64 - erased);
    let of_then =
        "SELECT count(*) FROM ledger WHERE events < 0 OR (outcome = 'stored' AND hour < '2026-03-03T00:00:00Z')";
    assert_eq!(server.number(of_then).await, 0);
    assert_eq!(server.number("SELECT sum(events) FROM rollup_usage_day").await, usage + 64, "rollups are kept");
    assert!(server.number("SELECT count(*) FROM views").await >= views);
    let told = receipt(server, "first").await;
    assert!(told.iter().all(|result| result == "erased expired"), "{told:?}");
    // A copy does not come back.
    let again = results(server, &first[..3], end, "copy").await;
    assert!(again.iter().all(|result| result == "suppressed expired"), "{again:?}");
    assert_eq!(server.number("SELECT count(*) FROM events").await, stored + 64 - erased);

    // Counted once the whole sweep is over.
    let counted = Some(f64::from(u16::try_from(erased).unwrap()));
    let trouble = || format!("the metrics do not tell: {}", server.log());
    let is_counted = async || {
        let rows = server.metric("streamgauge_retention_rows_total{table=\"events\"}").await;
        let events = server.metric("streamgauge_processor_events_total{outcome=\"erased\"}").await;
        [rows, events] == [counted; 2]
    };
    wait_until(Duration::from_secs(20), trouble, is_counted).await;
    assert_eq!(server.metric("streamgauge_unaccounted_events").await, Some(0.0));
    assert!(server.metric("streamgauge_oldest_row_age_seconds{table=\"events\"}").await.unwrap() > 0.0);
    assert_audit_balances(server).await;
    assert_eq!(server.log_lines("ERROR"), Vec::<String>::new());
}

#[tokio::test]
async fn what_is_too_old_is_suppressed_what_gets_too_old_is_erased_and_a_rebuild_is_the_same() {
    let server = how(start()).start().await.unwrap();
    old_events_go(&server).await;
    let before = numbers(&server).await;
    let stopped = server.stop().await.1;
    let output = stopped.command().args(["rebuild", "--json"]).output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    let server = stopped.start().await.unwrap();
    for (name, rows) in numbers(&server).await {
        assert_eq!(rows, before[name], "{name}");
    }
    assert_audit_balances(&server).await;
    assert_eq!(server.log_lines("ERROR"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_old_goes_from_a_cluster_and_from_a_bucket() {
    let Some((cluster, _alone)) = cluster().await else { return };
    let cluster = cluster.in_bucket();
    let server = how(cluster.role("serve")).start().await.unwrap();
    old_events_go(&server).await;
    assert!(server.stop().await.0.success());
    cluster.end().await.unwrap();
}

#[tokio::test]
async fn once_records_are_gone_a_rebuild_is_refused_and_changes_nothing() {
    let start = how(start())
        .variable("STREAMGAUGE_RETENTION__RECORDS", "14d")
        .variable("STREAMGAUGE_RETENTION__EVENTS", "7d")
        .variable("STREAMGAUGE_RETENTION__QUARANTINE", "7d");
    let server = start.start().await.unwrap();
    let events = session(&mut Device::new(), base());
    upload_at(&server, &events, base() + TimeDelta::minutes(5)).await;
    pass_time(&server, base() + TimeDelta::days(10)).await;
    pass_time(&server, base() + TimeDelta::days(16)).await;
    let of_then = "SELECT count(*) FROM records WHERE received_at < '2026-03-03T00:00:00Z'";
    let trouble = || format!("records were not taken away: {}", server.log());
    // Each table is a pass of its own.
    let erased = i64::try_from(events.len()).unwrap();
    let is_gone =
        async || server.number(of_then).await == 0 && of_outcome(&server, "erased", "expired").await == erased;
    wait_until(Duration::from_secs(20), trouble, is_gone).await;
    assert_audit_balances(&server).await;
    let before = numbers(&server).await;
    let stopped = server.stop().await.1;
    let output = stopped.command().args(["rebuild", "--json"]).output().await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("records of project `default` from before 2026-03-"), "{said}");
    let server = stopped.start().await.unwrap();
    assert_eq!(numbers(&server).await, before);
}
