//! Views and app sessions, row by row.

use std::collections::BTreeSet;

use anyhow::Result;
use serde_json::Value;

use super::Report;
use super::reader::{Reader, Row, Scan, instant, whole};
use crate::simulate::timeline::DAY_MS;
use crate::simulate::truth::Facts;

/// The column of times that facts are read by.
const STARTED_AT: &str = "started_at";

/// One comparison under way.
#[derive(Debug)]
pub(super) struct Comparison<'a> {
    pub(super) reader: &'a Reader,
    pub(super) report: &'a mut Report,
}

impl Comparison<'_> {
    /// Compares all columns that the truth knows. A row is named by the column `id` and its part.
    pub(super) async fn rows(&mut self, table: &str, id: &str, expected: &Facts) -> Result<()> {
        let columns: BTreeSet<&str> = expected.values().flat_map(|fact| fact.keys().copied()).collect();
        let mut names: BTreeSet<&str> = columns.iter().copied().chain([id, "part"]).collect();
        names.remove(STARTED_AT);
        let names: String = names.iter().map(|name| format!(", {name}")).collect();
        let scan = Scan { table, time: STARTED_AT, part_ms: DAY_MS, columns: &names, behind: "" };
        let mut missing: BTreeSet<&(String, i64)> = expected.keys().collect();
        let mut count = 0;
        let report = &mut *self.report;
        let take = &mut |row: Row| {
            count += 1;
            let text = row.get(id).and_then(Value::as_str).unwrap_or_default().to_owned();
            let id = (text, row.get("part").and_then(whole).unwrap_or_default());
            let is_new = missing.remove(&id);
            let Some(fact) = expected.get(&id).filter(|_| is_new) else {
                report.compare(table, "unexpected", false, || format!("{table} {}#{} should not be there", id.0, id.1));
                return Ok(());
            };
            for column in &columns {
                let Some(wanted) = fact.get(column) else { continue };
                let found = row.get(*column).unwrap_or(&Value::Null);
                report.compare(table, column, is_same(column, wanted, found), || {
                    format!("{table} {}#{} {column}: expected {wanted}, got {found}", id.0, id.1)
                });
            }
            Ok(())
        };
        self.reader.each_of(&scan, take).await?;
        self.report.numbers(table, "all", "rows", i64::try_from(expected.len())?, count);
        for id in missing {
            self.report.compare(table, "present", false, || format!("{table} {}#{} is not there", id.0, id.1));
        }
        Ok(())
    }
}

/// Whether two values say the same: numbers and times however they are written; nothing counted may be null.
fn is_same(column: &str, wanted: &Value, found: &Value) -> bool {
    match (wanted, found) {
        (Value::Number(number), Value::Null) => number.as_i64() == Some(0),
        (Value::Number(number), _) if number.is_i64() => whole(wanted) == whole(found),
        (Value::Number(_), _) => {
            let pair = wanted.as_f64().zip(found.as_f64());
            pair.is_some_and(|(wanted, found)| (wanted - found).abs() <= 1e-9 * wanted.abs().max(1.0))
        }
        // Unknown.
        (Value::String(text), Value::Null) => text.is_empty(),
        (Value::String(_), Value::String(_)) if column.ends_with("_at") => instant(wanted) == instant(found),
        _ => wanted == found,
    }
}
