//! What operators see: the admin port and the log.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use chrono::Utc;
use rig::{Device, Server, server};
use serde_json::{Value, json};

use super::within;
use crate::backup::{fail, succeed};
use crate::start;

async fn admin(server: &Server, path: &str) -> (u16, String) {
    let reply = server::send(server::client().get(format!("{}{path}", server.admin))).await.unwrap();
    (reply.status, reply.text())
}

/// The metrics that others rely on.
const FIXED: [&str; 9] = [
    "streamgauge_ingest_events_total",
    "streamgauge_ingest_request_duration_seconds",
    "streamgauge_processor_lag_records",
    "streamgauge_commit_age_seconds",
    "streamgauge_commits_total",
    "streamgauge_unaccounted_events",
    "streamgauge_quarantined_events_total",
    "streamgauge_query_duration_seconds",
    "streamgauge_query_rejected_total",
];

/// Uploads events that carry ids of everything, and returns these ids.
async fn upload_ids(server: &Server) -> Vec<String> {
    let mut device = Device::new();
    let data = json!({"stream_id": "twitch:canary_stream", "stream_platform": "twitch"});
    let started = device.view_event("canary-view", "playback.view_started", Utc::now(), data);
    let bad = rig::device::with(device.event("canary.kind", Utc::now(), json!({})), "installid", "canary install");
    let ids =
        ["id", "source", "installid", "sessionid", "anonid"].map(|name| started[name].as_str().unwrap().to_owned());
    assert_eq!(server.upload(&[started, bad]).await.status, 202);
    ids.into_iter().chain(["canary".into(), server.upload_key.clone(), server.read_token.clone()]).collect()
}

#[tokio::test]
async fn the_admin_port_tells_of_life_readiness_and_figures_without_ids() {
    let server = start().start().await.unwrap();
    assert_eq!(admin(&server, "/livez").await.0, 200);
    let (status, ready) = admin(&server, "/readyz").await;
    assert_eq!(status, 200, "{ready}");
    assert_eq!(serde_json::from_str::<Value>(&ready).unwrap()["ready"], true);
    let (_, before) = admin(&server, "/metrics").await;
    for name in FIXED {
        let samples = before.lines().filter(|line| line.starts_with(name));
        let values: Vec<f64> = samples.map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap()).collect();
        assert!(!values.is_empty(), "{name} is not there from the start");
        assert!(before.contains(&format!("# HELP {name} ")), "{name} is not explained");
    }
    for name in ["ingest_events", "quarantined_events", "query_rejected", "edge_refused"] {
        let prefix = format!("streamgauge_{name}_total{{");
        let is_zero = |line: &str| !line.starts_with(&prefix) || line.ends_with(" 0");
        assert!(before.lines().all(is_zero) && before.contains(&prefix), "{name}");
    }

    let ids = upload_ids(&server).await;
    server.settle().await;
    assert_eq!(server.get("/v1/stats/usage").await.status, 200);
    assert_eq!(server::send(server.request("GET", "/v1/events")).await.unwrap().status, 401);
    let (_, after) = admin(&server, "/metrics").await;
    for id in &ids {
        assert!(!after.contains(id.as_str()), "{id} is in the metrics");
    }
    assert!(!after.contains("\"default\""), "the project is in the metrics");
    assert!(after.contains("streamgauge_edge_refused_total{code=\"unauthorized\"} 1\n"), "{after}");
    let series = |text: &str| -> BTreeSet<String> {
        let fixed = text.lines().filter(|line| FIXED.iter().any(|name| line.starts_with(name)));
        fixed.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
    };
    assert_eq!(series(&after), series(&before), "all label values are there from the start");
}

#[tokio::test]
async fn log_lines_are_json_if_asked_for_and_never_hold_a_secret() {
    let start =
        start().variable("STREAMGAUGE_LOG_FORMAT", "json").variable("STREAMGAUGE_NO_SUCH_SETTING", "1").variable(
            "RUST_LOG",
            "info,streamgauge=trace,ingest=trace,event_log=trace,processor=trace,warehouse=trace,query=trace",
        );
    // Its log and what it prints for people are different streams.
    let server = start.start().await.unwrap();
    let ids = upload_ids(&server).await;
    for (token, status) in [("sgt_canary_guess", 401), (server.read_token.as_str(), 200)] {
        let reply =
            server::send(server.request("GET", "/v1/events?type=canary.kind").bearer_auth(token)).await.unwrap();
        assert_eq!(reply.status, status);
    }
    server.try_sql(&json!({"sql": "SELECT 'canary' FROM nowhere"})).await;
    server.post("/v1/events", "application/json", "{\"canary").await;
    server.settle().await;
    let (_, stopped) = server.stop().await;

    let log_file = stopped.data_dir().with_file_name("alone.log");
    let mut alone = stopped.command();
    let mut child = alone.stdout(Stdio::null()).stderr(std::fs::File::create(&log_file).unwrap()).spawn().unwrap();
    let run_file = stopped.data_dir().join("run.json");
    assert!(within(Duration::from_secs(20), async || run_file.exists()).await);
    server::signal(child.id().unwrap(), "TERM").await;
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
    let alone = std::fs::read_to_string(&log_file).unwrap();
    let lines: Vec<Value> = alone.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().all(|line| line["level"].is_string() && line["timestamp"].is_string()), "{alone}");
    let messages: Vec<_> = lines.iter().map(|line| line["message"].as_str().unwrap_or_default()).collect();
    assert!(messages.iter().any(|message| message.contains("STREAMGAUGE_NO_SUCH_SETTING")), "{alone}");
    assert_eq!(messages.last(), Some(&"stopped"));

    let all = std::fs::read_to_string(stopped.data_dir().with_file_name("server.log")).unwrap();
    assert!(all.lines().any(|line| line.starts_with('{')));
    for id in &ids {
        assert!(!all.contains(id.as_str()), "{id} is in the log");
    }
}

#[tokio::test]
async fn room_on_the_disks_is_told_and_uploads_end_before_it_does() {
    let server = start().start().await.unwrap();
    for place in ["data", "log", "database", "lake"] {
        let of =
            async |name| server.metric(&format!("streamgauge_disk_{name}_bytes{{place=\"{place}\"}}")).await.unwrap();
        let (free, size) = (of("free").await, of("size").await);
        assert!(0.0 < free && free <= size, "{place}: {free} of {size}");
    }
    let (_, stopped) = server.stop().await;
    let server = stopped.variable("STREAMGAUGE_LOG__DISK_RESERVE", "1000000GiB").start().await.unwrap();
    let event = Device::new().event("layout.saved", Utc::now(), json!({}));
    let refused = server.upload(&[event]).await;
    assert_eq!((refused.status, &refused.json()["code"]), (503, &json!("log_unavailable")));
    assert_eq!(server.metric("streamgauge_log_read_only").await, Some(1.0));
    let (status, ready) = admin(&server, "/readyz").await;
    assert_eq!((status, ready.contains("MiB are to be left")), (503, true), "{ready}");
}

#[tokio::test]
async fn all_that_is_known_of_an_event_is_told_by_its_id() {
    let server = start().start().await.unwrap();
    let mut device = Device::new();
    let data = json!({"stream_id": "twitch:known", "stream_platform": "twitch"});
    let good = device.view_event("known-view", "playback.view_started", Utc::now(), data);
    let ended = device.view_event("known-view", "playback.view_ended", Utc::now(), json!({"reason": "removed"}));
    let bad = rig::device::with(device.event("layout.saved", Utc::now(), json!({})), "specversion", "2.0");
    assert_eq!(server.upload(&[good.clone(), ended, bad.clone()]).await.status, 202);
    server.settle().await;
    let told = succeed(server.start(), &["event", good["id"].as_str().unwrap()]).await;
    let [found] = &told["found"].as_array().unwrap()[..] else { panic!("{told}") };
    assert_eq!((&found["outcome"], &found["event"]["type"]), (&json!("stored"), &json!("playback.view_started")));
    assert_eq!((&found["upload"]["events"], &found["upload"]["quarantined"]), (&json!(3), &json!(1)));
    assert!(found["commit"]["commit_id"].as_i64().unwrap() > 0, "{found}");
    assert_eq!(found["views"][0]["exit_reason"], json!("removed"));
    let told = succeed(server.start(), &["event", bad["id"].as_str().unwrap()]).await;
    assert_eq!(told["found"][0]["outcome"], json!("quarantined"));
    let complaint = fail(server.start(), &["event", "nobody-sent-it"], 1).await;
    assert!(complaint.contains("has id `nobody-sent-it`"), "{complaint}");

    let output = server.start().command().args(["event", good["id"].as_str().unwrap()]).output().await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for line in ["event: stored", "upload", "commit", "view, part 0"] {
        assert!(text.lines().any(|of| of == line), "{line}: {text}");
    }
}
