//! What the server answers, by SQL and by rollups over HTTP.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use reqwest::Client;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::reader::{Row, Scan, Take, bucket_of, instant};
use crate::simulate::timeline::{DAY_MS, HOUR_MS, Ms};
use crate::simulate::wire::rfc3339;

/// Rows of a rollup that are asked for at once.
const PAGE: usize = 5_000;

/// 1970 to 2100: a range that holds everything.
const EVER: (Ms, Ms) = (0, 4_102_444_800_000);

/// The server, as one who may read it.
#[derive(Debug)]
pub(in crate::simulate) struct OverHttp {
    pub(in crate::simulate) base: String,
    pub(in crate::simulate) token: String,
    pub(in crate::simulate) client: Client,
}

/// A page of a rollup.
#[derive(Deserialize)]
struct Page {
    data: Vec<Box<RawValue>>,
    next_cursor: Option<String>,
}

impl OverHttp {
    /// Hands on the rows of a statement.
    pub(super) async fn each(&self, sql: &str, take: Take<'_>) -> Result<()> {
        let request = self
            .client
            .post(format!("{}/v1/sql", self.base))
            .bearer_auth(&self.token)
            .header("accept", "application/x-ndjson")
            .json(&json!({ "sql": sql, "limit": 1_000_000 }));
        let response = request.send().await.with_context(|| format!("ask {}", self.base))?;
        let status = response.status();
        if !status.is_success() {
            bail!("`{sql}` was answered {status}: {}", response.text().await.unwrap_or_default());
        }
        if response.headers().get("streamgauge-truncated").is_some_and(|value| value == "true") {
            bail!("`{sql}` has more rows than the server gives");
        }
        let mut line = |line: &[u8]| {
            let row = serde_json::from_slice(line).with_context(|| format!("read a row of `{sql}`"))?;
            take(row)
        };
        let mut chunks = response.bytes_stream();
        let mut pending: Vec<u8> = Vec::new();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.with_context(|| format!("read the answer of `{sql}`"))?;
            let mut rest = &chunk[..];
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                pending.extend_from_slice(&rest[..end]);
                if !pending.is_empty() {
                    line(&pending)?;
                }
                pending.clear();
                rest = &rest[end + 1..];
            }
            pending.extend_from_slice(rest);
        }
        if pending.is_empty() { Ok(()) } else { line(&pending) }
    }

    /// By pages of the endpoint that is made for long ranges: SQL reads a rollup as a whole.
    pub(super) async fn each_of_rollup(
        &self,
        (name, grain): (&str, &str),
        keys: &[&str],
        measures: &[&str],
        take: Take<'_>,
    ) -> Result<()> {
        let asked = format!(
            "{}/v1/rollups/{name}?grain={grain}&limit={PAGE}&group_by={}&measures={}",
            self.base,
            keys.join(","),
            measures.join(",")
        );
        // A page costs as much as the range behind it has rows: many buckets are asked for a part of the time after the other.
        let part_ms = match grain {
            "minute" => HOUR_MS,
            "hour" => DAY_MS,
            _ => return self.pages(&asked, EVER, take).await,
        };
        let mut parts: BTreeSet<Ms> = BTreeSet::new();
        let buckets = format!(
            "{}/v1/rollups/{name}?grain={grain}&limit={PAGE}&group_by=&measures={}",
            self.base,
            measures.first().unwrap_or(&"")
        );
        let note = &mut |row: Row| {
            parts.insert(bucket_of(&row)?.div_euclid(part_ms) * part_ms);
            Ok(())
        };
        self.pages(&buckets, EVER, note).await?;
        for part in parts {
            self.pages(&asked, (part, part + part_ms), &mut *take).await?;
        }
        Ok(())
    }

    /// All rows of a rollup in a range.
    async fn pages(&self, asked: &str, (mut from, to): (Ms, Ms), take: Take<'_>) -> Result<()> {
        let mut cursor = String::new();
        loop {
            let page = format!("{asked}&from={}&to={}{cursor}", rfc3339(from), rfc3339(to));
            let response = self.client.get(&page).bearer_auth(&self.token).send().await;
            let response = response.with_context(|| format!("ask {}", self.base))?;
            let (status, bytes) = (response.status(), response.bytes().await?);
            if !status.is_success() {
                bail!("{page} was answered {status}: {}", String::from_utf8_lossy(&bytes));
            }
            let answer: Page = serde_json::from_slice(&bytes).with_context(|| format!("read the answer of {page}"))?;
            for row in answer.data {
                let row: Row = serde_json::from_str(row.get())?;
                // Where to go on: buckets from before it need not be looked at again.
                from = bucket_of(&row)?;
                take(row)?;
            }
            let Some(next) = answer.next_cursor else { return Ok(()) };
            cursor = format!("&cursor={next}");
        }
    }

    /// A part of the time after the other, since an answer has a limit.
    pub(super) async fn each_of(&self, scan: &Scan<'_>, take: Take<'_>) -> Result<()> {
        let Scan { table, time, part_ms, columns, behind } = scan;
        // Days with nothing in them are passed over.
        let mut days: Vec<Ms> = Vec::new();
        let sql = format!("SELECT date_trunc('day', {time}) AS day FROM {table} GROUP BY 1 ORDER BY 1");
        self.each(&sql, &mut |row| {
            days.push(row.get("day").and_then(instant).context("a row without a time")?);
            Ok(())
        })
        .await?;
        for day in days {
            for from in (day..day + DAY_MS).step_by(usize::try_from((*part_ms).clamp(HOUR_MS, DAY_MS))?) {
                let (from, to) = (rfc3339(from), rfc3339((from + part_ms).min(day + DAY_MS)));
                let within = format!("{time} >= TIMESTAMP '{from}' AND {time} < TIMESTAMP '{to}'");
                self.each(&format!("SELECT {time}{columns} FROM {table} WHERE {within}{behind}"), &mut *take).await?;
            }
        }
        Ok(())
    }
}
