//! Commands that talk to the running server over HTTP.

use std::path::Path;

use anyhow::{Context, Result, bail};
use arrow::ipc::reader::StreamReader;
use arrow::util::pretty::pretty_format_batches;
use futures::StreamExt;
use reqwest::{Client, Response};
use serde::Serialize;
use serde_json::Value;

use crate::data_dir::{read_credentials, read_run};

/// A statement as the server takes it.
#[derive(Debug, Serialize)]
pub(crate) struct Statement {
    pub(crate) sql: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) as_of: Option<i64>,
}

/// The running server of a data directory.
struct Server {
    base: String,
    token: String,
    client: Client,
}

impl Server {
    fn find(data_dir: &Path) -> Result<Self> {
        let run = read_run(data_dir)?;
        let http = run.http.context("the running server has no HTTP address")?;
        let token = read_credentials(data_dir)?.read_token;
        Ok(Self { base: format!("http://{http}"), token, client: Client::new() })
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Response> {
        let response = request.bearer_auth(&self.token).send().await.with_context(|| format!("ask {}", self.base))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let problem: Value = response.json().await.unwrap_or_default();
        bail!("{} ({status})", problem["detail"].as_str().unwrap_or("the server refused"))
    }
}

/// Runs a statement; prints a table, or writes a file in the format of its ending.
pub(crate) async fn sql(data_dir: &Path, statement: &Statement, output: Option<&Path>, json: bool) -> Result<()> {
    let server = Server::find(data_dir)?;
    let accept = match output.and_then(|path| path.extension()).and_then(|ending| ending.to_str()) {
        None if output.is_some() => bail!("the file needs an ending: .csv, .json, .ndjson, .arrow or .parquet"),
        None if json => "application/json",
        None | Some("arrow") => "application/vnd.apache.arrow.stream",
        Some("csv") => "text/csv",
        Some("json") => "application/json",
        Some("ndjson" | "jsonl") => "application/x-ndjson",
        Some("parquet") => "application/vnd.apache.parquet",
        Some(other) => bail!("`.{other}` is none of .csv, .json, .ndjson, .arrow, .parquet"),
    };
    let request = server.client.post(format!("{}/v1/sql", server.base)).header("accept", accept).json(statement);
    let response = server.send(request).await?;
    let truncated = response.headers().get("streamgauge-truncated").is_some_and(|value| value == "true");
    let bytes = response.bytes().await?;
    match output {
        Some(path) => std::fs::write(path, &bytes).with_context(|| format!("write `{}`", path.display()))?,
        None if json => print(&String::from_utf8_lossy(&bytes)),
        None => {
            let batches = StreamReader::try_new(&bytes[..], None)?.collect::<Result<Vec<_>, _>>()?;
            print(&pretty_format_batches(&batches)?.to_string());
        }
    }
    if truncated {
        note("there are more rows: ask with --limit");
    }
    Ok(())
}

/// Follows what arrives until interrupted.
pub(crate) async fn tail(data_dir: &Path, json: bool) -> Result<()> {
    let server = Server::find(data_dir)?;
    let response = server.send(server.client.get(format!("{}/v1/tail", server.base))).await?;
    let mut chunks = response.bytes_stream();
    let mut pending = Vec::new();
    while let Some(chunk) = chunks.next().await {
        pending.extend_from_slice(&chunk.context("the server closed the stream")?);
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            if let Some(data) = line.strip_prefix("data:") {
                print(&if json { data.trim().to_owned() } else { readable(data) });
            }
        }
    }
    Ok(())
}

/// Kind, verdict, reason, corrected time and bucket of one event, in columns.
fn readable(data: &str) -> String {
    let event: Value = serde_json::from_str(data).unwrap_or_default();
    let text = |name: &str| event[name].as_str().unwrap_or("-").to_owned();
    format!(
        "{:<28} {:<12} {:<20} {:<26} {}",
        text("type"),
        text("verdict"),
        text("reason"),
        text("corrected_at"),
        text("bucket")
    )
}

#[expect(clippy::print_stdout, reason = "what a command says")]
fn print(text: &str) {
    println!("{text}");
}

#[expect(clippy::print_stderr, reason = "beside the result")]
fn note(text: &str) {
    eprintln!("{text}");
}
