//! Every example of the contracts through every consumer: uploaded over HTTP, committed, read back by SQL.
//!
//! What becomes of each is a line of `examples.txt`; `STREAMGAUGE_UPDATE_SCHEMAS=1` writes it anew.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use rig::Server;
use serde_json::Value;

use crate::{assert_books_balance, start};

const ARRIVAL: &str = "2026-11-24T00:00:00Z";

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn examples_of(file: &Value) -> impl Iterator<Item = &Value> {
    ["good", "bad"].into_iter().flat_map(|part| file[part].as_array().unwrap())
}

/// Posts one body as its client would.
async fn post(server: &Server, path: &str, content_type: &str, body: String) -> rig::Reply {
    let request =
        server.request("POST", path).header("x-api-key", &server.upload_key).header("content-type", content_type);
    let request = request.header("streamgauge-test-received-at", ARRIVAL).header("x-platform", "ios");
    rig::server::send(request.body(body)).await.unwrap()
}

#[tokio::test]
async fn examples_become_what_they_say_in_every_consumer() {
    let server = start().test_clock().start().await.unwrap();
    let folder = rig::server::repository().join("schemas/examples");
    let mut kinds: Vec<PathBuf> =
        std::fs::read_dir(folder.join("kinds")).unwrap().flatten().map(|entry| entry.path()).collect();
    kinds.sort();
    let mut sent = 0;
    for file in kinds {
        // Each kind is one upload; examples that need a token of their user are for the tests of the contracts.
        let file = read(&file);
        let events: Vec<&Value> = examples_of(&file)
            .filter(|example| example.get("subject").is_none())
            .map(|example| &example["event"])
            .collect();
        sent += events.len();
        let body = serde_json::to_string(&events).unwrap();
        assert_eq!(post(&server, "/v1/events", "application/cloudevents-batch+json", body).await.status, 202);
    }
    for (file, path) in [("streamyyy_analytics.json", "/api/v1/analytics"), ("streamyyy_errors.json", "/api/v1/errors")]
    {
        let file = read(&folder.join(file));
        let events: Vec<&Value> = examples_of(&file).map(|example| &example["event"]).collect();
        sent += events.len();
        assert_eq!(post(&server, path, "application/json", serde_json::to_string(&events).unwrap()).await.status, 200);
    }
    let cmcd = read(&folder.join("cmcd2.json"));
    let lines: Vec<&str> =
        examples_of(&cmcd).filter_map(|example| example["line"].as_str()).filter(|line| is_one_line(line)).collect();
    sent += lines.len();
    assert_eq!(post(&server, "/cmcd/event-mode", "application/cmcd", lines.join("\n") + "\n").await.status, 204);
    server.settle().await;

    assert_eq!(server.number("SELECT sum(events) FROM ledger").await, i64::try_from(sent).unwrap());
    assert_books_balance(&server).await;
    let text = committed(&server).await;
    let snapshot = rig::server::repository().join("tests/e2e/examples.txt");
    if std::env::var_os("STREAMGAUGE_UPDATE_SCHEMAS").is_some() {
        std::fs::write(&snapshot, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&snapshot).unwrap_or_default();
    for (line, expected) in text.lines().zip(expected.lines()) {
        assert_eq!(line, expected);
    }
    assert_eq!(text.lines().count(), expected.lines().count());
}

/// An empty line, or one that is cut in two, is no record.
fn is_one_line(line: &str) -> bool {
    !line.trim().is_empty() && !line.contains('\n')
}

/// One line per event that was stored or quarantined, in the order of the log.
async fn committed(server: &Server) -> String {
    let mut text = String::new();
    let stored = server
        .sql(
            "SELECT format, type, event_id, source, occurred_at, corrected_at, view_id, slot, stream_id, stream_platform, \
             person_id, flags, data FROM events ORDER BY format, type, event_id",
        )
        .await;
    let quarantined = server
        .sql("SELECT format, type, event_id, reason, field FROM quarantine ORDER BY format, type, event_id, reason")
        .await;
    for (outcome, rows) in [("stored", stored), ("quarantined", quarantined)] {
        for row in rows {
            text.push_str(outcome);
            for (name, value) in row.as_object().unwrap() {
                match value {
                    Value::Null => {}
                    Value::String(value) => write!(text, " {name}={value}").unwrap(),
                    value => write!(text, " {name}={value}").unwrap(),
                }
            }
            text.push('\n');
        }
    }
    text
}
