//! What the server answers, by SQL over HTTP.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use reqwest::Client;
use serde_json::{Map, Value, json};

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

    /// One whole number; 0 for null.
    pub(in crate::simulate) async fn number(&self, sql: &str) -> Result<i64> {
        let rows = self.rows(sql).await?;
        Ok(rows.first().and_then(|row| row.values().next()).and_then(whole).unwrap_or_default())
    }

    /// The tables that can be asked, each with its columns.
    pub(super) async fn tables(&self) -> Result<BTreeMap<String, Vec<String>>> {
        let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for row in self.rows("SELECT table_name, column_name FROM information_schema.columns").await? {
            let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            tables.entry(text("table_name")).or_default().push(text("column_name"));
        }
        Ok(tables)
    }
}

/// A whole number, however it is written.
pub(super) fn whole(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}
