//! `event`: everything that is known about one event, by the id that its sender gave it.

use anyhow::{Result, bail};
use clap::Args;
use serde_json::{Map, Value, json};

use crate::cli::print;
use crate::client::{Server, Statement};
use crate::config::Config;

/// Options of `event`.
#[derive(Debug, Args)]
pub(crate) struct EventOptions {
    /// The event's id.
    id: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

const EVENTS: &str = "SELECT * FROM events WHERE event_id = $1 ORDER BY log_partition, log_position, log_index";
/// The sender's bytes need scope `pii:read`.
const QUARANTINED: &str = "SELECT project, event_id, source, type, received_at, format, reason, field, device_platform, \
     app_version, log_partition, log_position, log_index \
     FROM quarantine WHERE event_id = $1 ORDER BY log_partition, log_position, log_index";
/// The upload of which it is a part.
const RECORD: &str = "SELECT log_time, received_at, sent_at, boot_id, batch_id, part, parts, format, events, stored, \
     duplicate, quarantined, suppressed FROM records WHERE log_partition = $1 AND log_position = $2";
/// The commit that made it visible; merging adds rows without partitions.
const COMMIT: &str = "SELECT commit_id, committed_at FROM commits \
     WHERE lane = 'events' AND log_partition = $1 AND from_position <= $2 AND to_position > $2";
const VIEW: &str = "SELECT * FROM views WHERE project = $1 AND view_id = $2 ORDER BY part";
const SESSION: &str = "SELECT * FROM app_sessions WHERE project = $1 AND session_id = $2 ORDER BY part";

/// Tells what became of an event: where it is stored or quarantined, the upload that brought it, the commit that made it
/// visible, and the facts that it is part of. Fails if nothing is known of it.
pub(crate) async fn event(config: &Config, options: &EventOptions) -> Result<()> {
    let server = Server::find(config)?;
    let mut found = Vec::new();
    for (outcome, sql) in [("stored", EVENTS), ("quarantined", QUARANTINED)] {
        for event in rows(&server, sql, vec![json!(options.id)]).await? {
            found.push(told(&server, outcome, event).await?);
        }
    }
    if found.is_empty() {
        bail!(
            "no event that is stored or quarantined has id `{}`: it was not received, is not committed yet, was older than its \
             project's retention, or came without a valid id and got another one",
            options.id
        );
    }
    if options.json {
        return print(&json!({ "id": options.id, "found": found }).to_string());
    }
    let texts: Vec<String> = found.iter().map(readable).collect();
    print(&texts.join("\n\n"))
}

/// An event with what stands around it.
async fn told(server: &Server, outcome: &str, event: Value) -> Result<Value> {
    let address = vec![event["log_partition"].clone(), event["log_position"].clone()];
    let records = rows(server, RECORD, address.clone()).await?;
    let commits = rows(server, COMMIT, address).await?;
    let mut told = Map::new();
    for (name, rows) in [("upload", records), ("commit", commits)] {
        told.insert(name.into(), rows.into_iter().next().unwrap_or_default());
    }
    for (name, sql, key) in [("views", VIEW, "view_id"), ("app_sessions", SESSION, "session_id")] {
        let facts = match &event[key] {
            Value::Null => Vec::new(),
            id => rows(server, sql, vec![event["project"].clone(), id.clone()]).await?,
        };
        told.insert(name.into(), facts.into());
    }
    told.insert("outcome".into(), outcome.into());
    told.insert("event".into(), event);
    Ok(told.into())
}

async fn rows(server: &Server, sql: &str, params: Vec<Value>) -> Result<Vec<Value>> {
    let answer = server.answer(&Statement { params, ..Statement::of(sql) }).await?;
    Ok(answer["data"].as_array().cloned().unwrap_or_default())
}

/// Headings, and below each a line for each field that has a value.
fn readable(told: &Value) -> String {
    let mut lines = Vec::new();
    let mut section = |heading: String, fields: &Value| {
        lines.push(heading);
        for (name, value) in fields.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
            lines.push(format!("  {name:<24} {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned)));
        }
    };
    section(format!("event: {}", told["outcome"].as_str().unwrap_or_default()), &told["event"]);
    for name in ["upload", "commit"] {
        section(name.to_owned(), &told[name]);
    }
    for (name, facts) in [("view", &told["views"]), ("app session", &told["app_sessions"])] {
        for fact in facts.as_array().into_iter().flatten() {
            section(format!("{name}, part {}", fact["part"]), fact);
        }
    }
    lines.join("\n")
}
