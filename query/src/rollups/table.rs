//! The columns of an answer from a rollup, and how its rows are written.

use std::time::Duration;

use schemas::Problem;
use schemas::fold::sketch::RELATIVE_ERROR;
use schemas::rollups::{Column, Derived, Rollup};
use serde_json::{Map, Value};
use warehouse::RollupRow;

use crate::derived::{self, Distributions};

/// A column that is asked for beside bucket and keys.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shown {
    /// A measure, by its place.
    Measure(usize, &'static str),
    /// A column that is computed.
    Derived(&'static Derived),
}

impl Shown {
    const fn name(self) -> &'static str {
        match self {
            Self::Measure(_, name) => name,
            Self::Derived(derived) => derived.name,
        }
    }

    /// Its value in a row whose bucket is so long.
    fn value(self, row: &RollupRow, bucket: Duration, bins: &Distributions) -> Value {
        match self {
            Self::Measure(idx, _) => row.measures[idx].into(),
            Self::Derived(derived) => derived::value(derived, row, bucket, bins).into(),
        }
    }
}

/// Columns of a rollup: keys, then what is shown of it.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) keys: Vec<&'static str>,
    pub(super) shown: Vec<Shown>,
}

/// How texts are written to a CSV.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cells {
    /// What a spreadsheet would take for a formula gets a leading `'`.
    Defused,
    /// With `raw=true`, for programs.
    Raw,
}

impl Columns {
    /// The columns of `group_by` and `measures`. Without names: all keys, and everything but percentiles.
    pub(super) fn pick(
        rollup: &'static Rollup,
        group_by: Option<&str>,
        measures: Option<&str>,
    ) -> Result<Self, Problem> {
        let all_keys = || rollup.keys.iter().map(|key| key.name).collect();
        let keys = group_by.map_or_else(|| Ok(all_keys()), |names| pick(names, &names_of(rollup.keys), "group_by"))?;
        let all = rollup.measures.iter().enumerate().map(|(idx, measure)| Shown::Measure(idx, measure.name));
        let Some(names) = measures else {
            return Ok(Self { keys, shown: all.chain(derived::ratios(rollup).map(Shown::Derived)).collect() });
        };
        let all: Vec<(&'static str, Shown)> =
            all.chain(rollup.derived.iter().map(Shown::Derived)).map(|shown| (shown.name(), shown)).collect();
        Ok(Self { keys, shown: pick(names, &all, "measures")? })
    }

    /// The columns that are computed.
    pub(super) fn derived(&self) -> Vec<&'static Derived> {
        let derived = self.shown.iter().filter_map(|shown| match shown {
            Shown::Derived(derived) => Some(*derived),
            Shown::Measure(..) => None,
        });
        derived.collect()
    }

    /// By how much values may be off, relatively; `None` if all are exact.
    pub(super) fn rel_error(&self) -> Option<f64> {
        self.derived().iter().any(|derived| derived.is_percentile()).then_some(RELATIVE_ERROR)
    }

    /// A row as a JSON object.
    pub(super) fn object(&self, row: &RollupRow, bucket: Duration, bins: &Distributions) -> Map<String, Value> {
        let mut object = Map::new();
        object.insert("bucket_start".into(), row.bucket_start.to_string().into());
        for (name, value) in self.keys.iter().zip(&row.keys) {
            object.insert((*name).into(), value.clone().into());
        }
        for shown in &self.shown {
            object.insert(shown.name().into(), shown.value(row, bucket, bins));
        }
        object
    }

    /// The first line of a CSV.
    pub(super) fn csv_header(&self) -> String {
        let shown = self.shown.iter().map(|shown| shown.name());
        let names: Vec<&str> = ["bucket_start"].into_iter().chain(self.keys.iter().copied()).chain(shown).collect();
        names.join(",") + "\n"
    }

    /// A row as a line of a CSV; null is an empty cell.
    pub(super) fn csv_line(&self, row: &RollupRow, bucket: Duration, bins: &Distributions, cells: Cells) -> String {
        let keys = row.keys.iter().map(|key| cells.write(key));
        let shown = self.shown.iter().map(|shown| match shown.value(row, bucket, bins) {
            Value::Null => String::new(),
            value => value.to_string(),
        });
        let cells: Vec<String> = [row.bucket_start.to_string()].into_iter().chain(keys).chain(shown).collect();
        cells.join(",") + "\n"
    }
}

impl Cells {
    /// A text as a cell (RFC 4180).
    fn write(self, text: &str) -> String {
        let is_formula = matches!(self, Self::Defused) && text.starts_with(['=', '+', '-', '@', '\t', '\r']);
        let text = if is_formula { format!("'{text}") } else { text.to_owned() };
        if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
    }
}

fn names_of(columns: &'static [Column]) -> Vec<(&'static str, &'static str)> {
    columns.iter().map(|column| (column.name, column.name)).collect()
}

/// What comma-separated names stand for.
fn pick<T: Copy>(names: &str, known: &[(&'static str, T)], parameter: &'static str) -> Result<Vec<T>, Problem> {
    let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
    let one = |name| {
        let found = known.iter().find(|(known, _)| *known == name).map(|(_, found)| *found);
        found.ok_or_else(|| {
            let known: Vec<&str> = known.iter().map(|(known, _)| *known).collect();
            let detail = format!("`{name}` is none of {}", known.join(", "));
            Problem::new(400, "no_such_column", detail).at(parameter, "one_of")
        })
    };
    names.map(one).collect()
}

#[cfg(test)]
mod tests {
    use schemas::rollups::STREAM;

    use super::*;

    #[test]
    fn formulas_are_defused_unless_raw_cells_are_asked_for() {
        for formula in ["=1+1", "+1", "-1", "@SUM(A1)", "\tx"] {
            assert_eq!(Cells::Defused.write(formula), format!("'{formula}"));
            assert_eq!(Cells::Raw.write(formula), formula);
        }
        assert_eq!(Cells::Defused.write("=HYPERLINK(\"x\",1)"), "\"'=HYPERLINK(\"\"x\"\",1)\"");
        assert_eq!(Cells::Defused.write("\rx"), "\"'\rx\"");
        assert_eq!(Cells::Defused.write("feature.used"), "feature.used");
    }

    #[test]
    fn percentiles_are_there_for_who_names_them() {
        let columns = Columns::pick(&STREAM, None, None).unwrap();
        assert!(columns.csv_header().contains(",failure_rate,") && columns.rel_error().is_none());
        let columns = Columns::pick(&STREAM, Some("stream_id"), Some("attempts, startup_ms_p95")).unwrap();
        assert_eq!(columns.csv_header(), "bucket_start,stream_id,attempts,startup_ms_p95\n");
        assert_eq!(columns.rel_error(), Some(0.01));
        assert_eq!(Columns::pick(&STREAM, None, Some("startup_ms_p90")).unwrap_err().code, "no_such_column");
    }
}
