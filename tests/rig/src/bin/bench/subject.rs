//! The program under test, as a process of its own.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use reqwest::Client;
use rig::Server;
use rig::server::{Start, client, send};
use serde_json::{Value, json};

use crate::Options;
use crate::client::Target;
use crate::drive::Taken;
use crate::table::float;

/// A running server and its client.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) server: Server,
    client: Client,
}

/// How the program is started: with its defaults, on a fresh data directory. For an audience it has the test clock.
pub(crate) fn fresh(options: &Options) -> Result<Start> {
    let binary = &options.binary;
    ensure!(
        binary.is_file(),
        "there is no program `{}`: build it with `cargo build --release -p streamgauge`",
        binary.display()
    );
    // Tests tick more often than the product does.
    Ok(Start::new(binary).variable("STREAMGAUGE_INGEST__TICK_INTERVAL", "2s"))
}

impl Subject {
    /// Starts a server.
    pub(crate) async fn start(start: &Start) -> Result<Self> {
        Ok(Self { server: start.start().await?, client: client() })
    }

    /// Where uploads go.
    pub(crate) fn target(&self) -> Target {
        Target {
            address: self.server.http.trim_start_matches("http://").to_owned(),
            upload_key: self.server.upload_key.clone(),
        }
    }

    /// What the server counts.
    pub(crate) async fn metrics(&self) -> Result<Metrics> {
        let reply = send(self.client.get(format!("{}/metrics", self.server.admin))).await?;
        ensure!(reply.status == 200, "the metrics were answered {}", reply.status);
        Ok(Metrics(reply.text()))
    }

    /// The only number of a statement's only row.
    pub(crate) async fn number(&self, sql: &str) -> Result<u64> {
        let request = self.server.request("POST", "/v1/sql").bearer_auth(&self.server.read_token);
        let reply = send(request.json(&json!({ "sql": sql }))).await?;
        ensure!(reply.status == 200, "`{sql}` was answered {}: {}", reply.status, reply.text());
        let answer = reply.json();
        let row = answer["data"][0].as_object().and_then(|row| row.values().next());
        row.and_then(Value::as_u64).with_context(|| format!("`{sql}` gives no number"))
    }

    /// Waits until everything in the log is committed; returns how long that took.
    pub(crate) async fn settle(&self) -> Result<Duration> {
        let begun = Instant::now();
        while self.metrics().await?.lag_records()? > 0.0 {
            if begun.elapsed() > Duration::from_secs(300) {
                bail!("the processor does not catch up: {}", self.server.log());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(begun.elapsed())
    }

    /// Checks that exactly the acknowledged events are stored, and that the server had nothing to complain about.
    pub(crate) async fn check(&self, taken: &Taken) -> Result<()> {
        self.settle().await?;
        ensure!(taken.refused.is_empty(), "posts were refused: {:?}", taken.refused);
        ensure!(taken.acked_events > 0, "nothing was acknowledged");
        let acked = taken.acked_events;
        self.check_sums(taken).await?;
        let committed = self.metrics().await?.value("streamgauge_processor_events_total{outcome=\"stored\"}")?;
        ensure!(committed >= float(acked), "{acked} events were acknowledged, and the metric says {committed}");
        let errors = self.server.log_lines("ERROR");
        ensure!(errors.is_empty(), "the server logged errors: {errors:?}");
        Ok(())
    }

    /// Checks that exactly the acknowledged events and views are in rows, rollups and books.
    pub(crate) async fn check_sums(&self, taken: &Taken) -> Result<()> {
        let (acked, views) = (taken.acked_events, taken.acked_views);
        let stored = self.number("SELECT count(*) FROM events").await?;
        ensure!(stored == acked, "{acked} events were acknowledged, and {stored} are stored");
        let counted = self.number("SELECT coalesce(sum(events), 0) FROM rollup_usage_hour").await?;
        ensure!(counted == acked, "{acked} events were acknowledged, and the rollup counts {counted}");
        let ledger = self.number("SELECT coalesce(sum(events), 0) FROM ledger WHERE outcome = 'stored'").await?;
        ensure!(ledger == acked, "{acked} events were acknowledged, and the books say {ledger}");
        let begun = self.number("SELECT coalesce(sum(attempts), 0) FROM rollup_stream_hour").await?;
        ensure!(begun == views, "{views} views have begun, and the rollup counts {begun}");
        Ok(())
    }

    /// Ends the server as an operator does.
    pub(crate) async fn stop(self) -> Result<Start> {
        let (status, start) = self.server.stop().await;
        ensure!(status.success(), "the server ended with {status}");
        Ok(start)
    }
}

/// Metrics in the text format.
#[derive(Debug)]
pub(crate) struct Metrics(pub(crate) String);

impl Metrics {
    /// The value of a metric, by its name with labels.
    pub(crate) fn value(&self, name: &str) -> Result<f64> {
        let value = self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        value.with_context(|| format!("there is no metric `{name}`"))
    }

    /// Records that wait to be committed.
    pub(crate) fn lag_records(&self) -> Result<f64> {
        self.value("streamgauge_processor_lag_records{lane=\"events\"}")
    }
}
