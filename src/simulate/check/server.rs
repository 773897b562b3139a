//! What the server answers, by SQL and by rollups over HTTP.

use anyhow::{Context, Result, bail};
use chrono::DateTime;
use reqwest::Client;
use serde_json::{Map, Value, json};

use crate::simulate::timeline::{DAY_MS, Ms};
use crate::simulate::wire::rfc3339;

/// The server, as one who may read it.
#[derive(Debug)]
pub(in crate::simulate) struct Reader {
    pub(in crate::simulate) base: String,
    pub(in crate::simulate) token: String,
    pub(in crate::simulate) client: Client,
}

/// A row by column.
pub(super) type Row = Map<String, Value>;

impl Reader {
    /// The rows of a statement.
    pub(super) async fn rows(&self, sql: &str) -> Result<Vec<Row>> {
        let request = self
            .client
            .post(format!("{}/v1/sql", self.base))
            .bearer_auth(&self.token)
            .header("accept", "application/x-ndjson")
            .json(&json!({ "sql": sql, "limit": 1_000_000 }));
        let response = request.send().await.with_context(|| format!("ask {}", self.base))?;
        let status = response.status();
        let is_cut = response.headers().get("streamgauge-truncated").is_some_and(|value| value == "true");
        let text = response.text().await?;
        if !status.is_success() {
            bail!("`{sql}` was answered {status}: {text}");
        }
        if is_cut {
            bail!("`{sql}` has more rows than the server gives");
        }
        let lines = text.lines().filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_str(line).with_context(|| format!("read `{line}`"))).collect()
    }

    /// All rows of a rollup, by pages of the endpoint that is made for long ranges: SQL reads a rollup as a whole.
    pub(super) async fn rollup(&self, name: &str, grain: &str, keys: &[&str], measures: &[&str]) -> Result<Vec<Row>> {
        let all = format!(
            "{}/v1/rollups/{name}?grain={grain}&group_by={}&measures={}&from=1970-01-01T00:00:00Z\
             &to=2100-01-01T00:00:00Z&limit=20000",
            self.base,
            keys.join(","),
            measures.join(","),
        );
        let (mut rows, mut page) = (Vec::new(), all.clone());
        loop {
            let response = self.client.get(&page).bearer_auth(&self.token).send().await;
            let response = response.with_context(|| format!("ask {}", self.base))?;
            let (status, text) = (response.status(), response.text().await?);
            if !status.is_success() {
                bail!("{page} was answered {status}: {text}");
            }
            let mut answer: Value =
                serde_json::from_str(&text).with_context(|| format!("read the answer of {page}"))?;
            rows.extend(serde_json::from_value::<Vec<Row>>(answer["data"].take())?);
            match answer["next_cursor"].as_str() {
                Some(cursor) => page = format!("{all}&cursor={cursor}"),
                None => return Ok(rows),
            }
        }
    }

    /// The rows of a table by a column of times, a day at a time, since an answer has a limit. `columns` are what is
    /// selected beside the time, `behind` stands behind the condition.
    pub(super) async fn days(&self, table: &str, time: &str, columns: &str, behind: &str) -> Result<Vec<Row>> {
        let bounds = format!("SELECT min({time}) AS first, max({time}) AS last FROM {table}");
        let bounds = self.rows(&bounds).await?;
        let bound = |name: &str| bounds.first().and_then(|row| row.get(name)).and_then(instant);
        let (Some(first), Some(last)) = (bound("first"), bound("last")) else { return Ok(Vec::new()) };
        let mut rows = Vec::new();
        for number in first.div_euclid(DAY_MS)..=last.div_euclid(DAY_MS) {
            let (from, to) = (rfc3339(number * DAY_MS), rfc3339((number + 1) * DAY_MS));
            let sql = format!(
                "SELECT {time}{columns} FROM {table} WHERE {time} >= TIMESTAMP '{from}' AND {time} < TIMESTAMP '{to}'{behind}"
            );
            rows.extend(self.rows(&sql).await?);
        }
        Ok(rows)
    }

    /// One whole number; 0 for null.
    pub(in crate::simulate) async fn number(&self, sql: &str) -> Result<i64> {
        let rows = self.rows(sql).await?;
        Ok(rows.first().and_then(|row| row.values().next()).and_then(whole).unwrap_or_default())
    }
}

/// A time, however exact it is written.
pub(super) fn instant(value: &Value) -> Option<Ms> {
    DateTime::parse_from_rfc3339(value.as_str()?).ok().map(|at| at.timestamp_millis())
}

/// A whole number, however it is written.
pub(super) fn whole(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}
