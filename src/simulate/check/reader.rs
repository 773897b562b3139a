//! Who is asked: the server, or DuckDB over the same catalogue. Both know the same tables and understand the same
//! statements, so that what is compared is written once.
//!
//! Rows are handed on as they come and not kept: an answer may have millions of them.

use anyhow::{Context, Result};
use chrono::{DateTime, NaiveDateTime};
use serde_json::{Map, Value};

use super::over_http::OverHttp;
use super::through_duckdb::ThroughDuckDb;
use crate::simulate::timeline::Ms;

/// A row by column.
pub(super) type Row = Map<String, Value>;

/// What is done with each row.
pub(super) type Take<'a> = &'a mut dyn FnMut(Row) -> Result<()>;

/// One who answers.
#[derive(Debug)]
pub(in crate::simulate) enum Reader {
    Server(OverHttp),
    Catalogue(ThroughDuckDb),
}

/// A table that is read by a column of times, a part at a time where answers have a limit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scan<'a> {
    pub(super) table: &'a str,
    pub(super) time: &'a str,
    /// How much of the time one answer can hold.
    pub(super) part_ms: Ms,
    /// What is selected beside the time: empty, or beginning with a comma.
    pub(super) columns: &'a str,
    /// Stands behind the condition.
    pub(super) behind: &'a str,
}

impl Reader {
    /// The rows of a statement that has few of them.
    pub(super) async fn rows(&self, sql: &str) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        let take: Take<'_> = &mut |row| {
            rows.push(row);
            Ok(())
        };
        match self {
            Self::Server(server) => server.each(sql, take).await?,
            Self::Catalogue(catalogue) => catalogue.each(sql, take).await?,
        }
        Ok(rows)
    }

    /// All rows of a rollup, by rising bucket and keys.
    pub(super) async fn each_of_rollup(
        &self,
        (name, grain): (&str, &str),
        keys: &[&str],
        measures: &[&str],
        take: Take<'_>,
    ) -> Result<()> {
        match self {
            Self::Server(server) => server.each_of_rollup((name, grain), keys, measures, take).await,
            Self::Catalogue(catalogue) => catalogue.each_of_rollup((name, grain), keys, measures, take).await,
        }
    }

    /// All rows of a table.
    pub(super) async fn each_of(&self, scan: &Scan<'_>, take: Take<'_>) -> Result<()> {
        let Scan { table, time, columns, behind, .. } = scan;
        match self {
            Self::Server(server) => server.each_of(scan, take).await,
            Self::Catalogue(catalogue) => {
                catalogue.each(&format!("SELECT {time}{columns} FROM {table} WHERE true{behind}"), take).await
            }
        }
    }

    /// The project that everything is in.
    pub(in crate::simulate) async fn project(&self) -> Result<String> {
        let rows = self.rows("SELECT project FROM events LIMIT 1").await?;
        let project = rows.first().and_then(|row| row.get("project")).and_then(Value::as_str);
        Ok(project.context("the project holds no events")?.to_owned())
    }

    /// One whole number; 0 for null.
    pub(in crate::simulate) async fn number(&self, sql: &str) -> Result<i64> {
        let rows = self.rows(sql).await?;
        Ok(rows.first().and_then(|row| row.values().next()).and_then(whole).unwrap_or_default())
    }
}

/// The bucket of a row of sums.
pub(super) fn bucket_of(row: &Row) -> Result<Ms> {
    row.get("bucket_start").and_then(instant).context("a row without bucket_start")
}

/// A time to the millisecond: RFC 3339, or as DuckDB writes it.
pub(super) fn instant(value: &Value) -> Option<Ms> {
    let text = value.as_str()?;
    let at = DateTime::parse_from_rfc3339(text).or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%#z"));
    let us = match at {
        Ok(at) => at.timestamp_micros(),
        Err(_) => NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").ok()?.and_utc().timestamp_micros(),
    };
    // A time that was a fraction of a second is a hair off.
    Some((us + 500).div_euclid(1_000))
}

/// A whole number, however it is written.
pub(super) fn whole(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_are_read_as_either_reader_writes_them() {
        for text in ["2026-03-01T01:02:03.004Z", "2026-03-01 01:02:03.004+00", "2026-03-01 01:02:03.003999"] {
            assert_eq!(instant(&json!(text)), Some(1_772_326_923_004), "{text}");
        }
        assert_eq!(instant(&json!("2026-03-01 00:00:00")), Some(1_772_323_200_000));
        assert_eq!(instant(&json!("yesterday")), None);
    }
}
