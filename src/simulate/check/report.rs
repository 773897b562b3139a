//! What was compared and where it differs.

use std::collections::BTreeMap;

use serde::Serialize;

/// Lines that are printed at most.
const LINES_MAX: usize = 20;
/// Lines of one table and measure that are printed at most: one cause makes many differences.
const LINES_PER_MEASURE: usize = 3;

/// What was compared and where it differs.
#[derive(Debug, Default)]
pub(in crate::simulate) struct Report {
    /// By table: numbers that were compared, and those that differ.
    tables: BTreeMap<String, Tally>,
    /// By table and measure.
    differences: BTreeMap<(String, String), Differences>,
}

/// What differs, with the first lines.
#[derive(Debug, Default)]
struct Differences {
    count: usize,
    first: Vec<String>,
}

#[derive(Debug, Default, Clone, Copy, Serialize)]
struct Tally {
    cells: u64,
    differences: u64,
}

impl Report {
    /// One number was compared.
    pub(super) fn compare(&mut self, table: &str, measure: &str, is_equal: bool, say: impl FnOnce() -> String) {
        if !self.tables.contains_key(table) {
            self.tables.insert(table.to_owned(), Tally::default());
        }
        let Some(tally) = self.tables.get_mut(table) else { return };
        tally.cells += 1;
        if !is_equal {
            tally.differences += 1;
            let differences = self.differences.entry((table.to_owned(), measure.to_owned())).or_default();
            differences.count += 1;
            if differences.first.len() < LINES_PER_MEASURE {
                differences.first.push(say());
            }
        }
    }

    /// Two whole numbers were compared.
    pub(super) fn numbers(&mut self, table: &str, key: &str, measure: &str, expected: i64, got: i64) {
        self.compare(table, measure, expected == got, || {
            format!("{table} {key} {measure}: expected {expected}, got {got}")
        });
    }

    pub(in crate::simulate) fn has_differences(&self) -> bool {
        !self.differences.is_empty()
    }

    /// As JSON.
    pub(in crate::simulate) fn to_json(&self) -> serde_json::Value {
        let differences: Vec<_> = self
            .differences
            .iter()
            .map(|((table, measure), Differences { count, first })| {
                serde_json::json!({ "table": table, "measure": measure, "count": count, "first": first })
            })
            .collect();
        serde_json::json!({ "tables": self.tables, "differences": differences })
    }

    /// As lines to read.
    pub(in crate::simulate) fn to_text(&self) -> String {
        let mut lines = Vec::new();
        for of_measure in self.differences.values() {
            lines.extend_from_slice(&of_measure.first);
            if of_measure.count > LINES_PER_MEASURE {
                lines.push(format!("  .. and {} more of this measure", of_measure.count - LINES_PER_MEASURE));
            }
        }
        let hidden = lines.len().saturating_sub(LINES_MAX);
        lines.truncate(LINES_MAX);
        if hidden > 0 {
            lines.push(format!(".. and {hidden} more lines"));
        }
        for (table, tally) in &self.tables {
            lines.push(format!("{table:<28} {:>9} compared {:>7} different", tally.cells, tally.differences));
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_differences_of_one_cause_are_a_few_lines() {
        let mut report = Report::default();
        for number in 0..100 {
            report.numbers("t", "k", "m", number, 1);
        }
        let text = report.to_text();
        assert_eq!(text.lines().count(), 5, "{text}");
        assert!(text.contains(".. and 96 more of this measure"), "{text}");
        assert!(text.contains("100 compared      99 different"), "{text}");
    }
}
