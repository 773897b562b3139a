//! Holds what the server answers against the truth.

mod bins;
mod computed;
mod facts;
mod ids;
mod over_http;
mod reader;
mod report;
mod rollups;
mod settle;
mod tables;
mod through_duckdb;

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::Value;

pub(super) use over_http::OverHttp;
pub(super) use reader::Reader;
pub(super) use report::Report;
pub(super) use settle::settle;
pub(super) use through_duckdb::ThroughDuckDb;

use super::books::{Books, Ledger};
use super::truth::Truth;
use tables::{ERROR, LAYOUT, MEASURES, RELEASE, STREAM, USAGE};

/// Compares everything that the one who is asked should know.
pub(super) async fn all(reader: &Reader, truth: &Truth, ledger: &Ledger) -> Result<Report> {
    let mut report = Report::default();
    let books = &ledger.books;
    compare_books(reader, &mut report, books, i64::try_from(ledger.ids.len())?).await?;
    ids::compare(reader, &mut report, &ledger.ids).await?;
    compare_kinds(reader, &mut report, truth).await?;
    compare_quality(reader, &mut report, truth, books).await?;
    let mut rollups = rollups::Comparison { reader, report: &mut report };
    rollups.sums(&USAGE, &truth.usage).await?;
    rollups.sums(&ERROR, &truth.errors).await?;
    for (table, grid) in [(&STREAM, &truth.stream), (&RELEASE, &truth.release), (&LAYOUT, &truth.layout)] {
        rollups.sums(table, grid).await?;
        rollups.distributions(table, grid).await?;
        // The catalogue has none of them.
        if let Reader::Server(server) = reader {
            computed::compare(server, rollups.report, table, grid).await?;
        }
    }
    // Everything has a layout, if only an unknown one.
    rollups.slices(&truth.layout, MEASURES).await?;
    facts::Comparison { reader, report: &mut report }.rows("views", "view_id", &truth.views).await?;
    facts::Comparison { reader, report: &mut report }.rows("app_sessions", "session_id", &truth.app_sessions).await?;
    Ok(report)
}

/// What was sent must be what the server says it received, to the last event.
async fn compare_books(reader: &Reader, report: &mut Report, books: &Books, distinct: i64) -> Result<()> {
    let sent = i64::try_from(books.sent)?;
    report.numbers("books", "all", "taken", sent, i64::try_from(books.accepted + books.duplicate)?);
    report.numbers("books", "all", "quarantined", 0, i64::try_from(books.quarantined)?);
    let mut outcomes: BTreeMap<String, i64> = BTreeMap::new();
    for row in reader.rows("SELECT outcome, sum(events) AS n FROM ledger GROUP BY outcome").await? {
        let outcome = row.get("outcome").and_then(Value::as_str).unwrap_or_default().to_owned();
        outcomes.insert(outcome, row.get("n").and_then(reader::whole).unwrap_or_default());
    }
    // What got no answer may have been taken all the same.
    let is_known = books.unanswered == 0;
    for (outcome, expected) in
        [("stored", distinct), ("duplicate", sent - distinct), ("quarantined", 0), ("suppressed", 0)]
    {
        if is_known || outcome != "duplicate" {
            report.numbers("ledger", "all", outcome, expected, outcomes.get(outcome).copied().unwrap_or_default());
        }
    }
    report.numbers("quarantine", "all", "rows", 0, reader.number("SELECT count(*) AS n FROM quarantine").await?);
    for (column, expected) in
        [("events", sent), ("stored", distinct), ("duplicate", sent - distinct), ("quarantined", 0), ("suppressed", 0)]
    {
        if is_known || !["events", "duplicate"].contains(&column) {
            let got = reader.number(&format!("SELECT sum({column}) AS n FROM records")).await?;
            report.numbers("records", "all", column, expected, got);
        }
    }
    Ok(())
}

/// Stored events by kind.
async fn compare_kinds(reader: &Reader, report: &mut Report, truth: &Truth) -> Result<()> {
    let mut expected: BTreeMap<String, i64> = BTreeMap::new();
    for ((_, key), sums) in &truth.usage.sums {
        *expected.entry(key[0].clone()).or_default() += sums.get("events").copied().unwrap_or_default();
    }
    let mut got: BTreeMap<String, i64> = BTreeMap::new();
    for row in reader.rows("SELECT type, count(*) AS n FROM events GROUP BY type").await? {
        let kind = row.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        got.insert(kind, row.get("n").and_then(reader::whole).unwrap_or_default());
    }
    let kinds: std::collections::BTreeSet<&String> = expected.keys().chain(got.keys()).collect();
    for kind in kinds {
        let of = |counts: &BTreeMap<String, i64>| counts.get(kind).copied().unwrap_or_default();
        report.numbers("events", kind, "rows", of(&expected), of(&got));
    }
    Ok(())
}

/// Received events by format, kind and outcome.
async fn compare_quality(reader: &Reader, report: &mut Report, truth: &Truth, books: &Books) -> Result<()> {
    let mut got: BTreeMap<[String; 3], i64> = BTreeMap::new();
    let sql = "SELECT format, type, outcome, sum(events) AS n FROM rollup_quality_day GROUP BY format, type, outcome";
    for row in reader.rows(sql).await? {
        let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let key = ["format", "type", "outcome"].map(text);
        got.insert(key, row.get("n").and_then(reader::whole).unwrap_or_default());
    }
    let keys: std::collections::BTreeSet<&[String; 3]> = truth.quality.keys().chain(got.keys()).collect();
    for key in keys.into_iter().filter(|key| books.unanswered == 0 || key[2] != "duplicate") {
        let of = |counts: &BTreeMap<[String; 3], i64>| counts.get(key).copied().unwrap_or_default();
        report.numbers("rollup_quality_day", &key.join(" "), "events", of(&truth.quality), of(&got));
    }
    Ok(())
}
