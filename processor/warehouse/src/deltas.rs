//! Rows of rollups as they are written: which columns of which rows.

use std::collections::BTreeMap;
use std::fmt::{Display, Write, from_fn};

use schemas::fold::measures::{Bin, MEASURE_COUNT};
use schemas::rollups::Rollup;

use crate::commit::{Delta, DeltaRow};
use crate::database::{Block, Column, Rows, Transaction, Values};

/// What is added up under one bucket and its keys.
pub(crate) trait Sum {
    fn project(&self) -> &str;
    fn bucket_us(&self) -> i64;
    fn keys(&self) -> &[String];
    fn measures(&self) -> &[i64];
}

impl Sum for DeltaRow {
    fn project(&self) -> &str {
        &self.project
    }

    fn bucket_us(&self) -> i64 {
        self.bucket.micros()
    }

    fn keys(&self) -> &[String] {
        &self.keys
    }

    fn measures(&self) -> &[i64] {
        &self.measures
    }
}

/// Rows that are written with the same measures, and the places of these.
pub(crate) struct Part<'a, S> {
    pub(crate) rows: Vec<&'a S>,
    pub(crate) measures: Vec<usize>,
}

/// Whether it has the measures of views, of which a row tells a few.
fn is_of_views(rollup: &Rollup) -> bool {
    rollup.measures.len() >= MEASURE_COUNT
}

/// Rows of a rollup in parts. The tables of views have some 60 measures, each with a default (0, on Postgres null): those that
/// nothing happened to are left to it. Most rows tell that playing went on, and have a dozen that are the same in all of them; the others are a
/// part of their own, so that none has to name what only a few have.
pub(crate) fn parts<'a, S: Sum>(rollup: &Rollup, rows: &'a [S]) -> Vec<Part<'a, S>> {
    let measures = rollup.measures.len();
    if !is_of_views(rollup) {
        return vec![Part { rows: rows.iter().collect(), measures: (0..measures).collect() }];
    }
    let mut having = vec![0; measures];
    for row in rows {
        for (count, value) in having.iter_mut().zip(row.measures()) {
            *count += usize::from(*value != 0);
        }
    }
    let is_usual = |place: usize| 2 * having[place] >= rows.len();
    let is_unusual = |row: &&S| (0..measures).any(|place| row.measures()[place] != 0 && !is_usual(place));
    let (unusual, usual): (Vec<_>, Vec<_>) = rows.iter().partition(is_unusual);
    let usual = Part { rows: usual, measures: (0..measures).filter(|place| is_usual(*place)).collect() };
    let unusual = Part { rows: unusual, measures: (0..measures).filter(|place| having[*place] > 0).collect() };
    [usual, unusual].into_iter().filter(|part| !part.rows.is_empty()).collect()
}

impl<'a, S: Sum> Part<'a, S> {
    /// The columns of project, bucket, keys and measures.
    pub(crate) fn columns(&self, rollup: &Rollup) -> Vec<Column<'a>> {
        let mut columns = place_columns(rollup, &self.rows);
        columns.extend(measure_columns(rollup, &self.rows, self.measures.iter().copied()));
        columns
    }
}

/// The columns of project, bucket and keys.
pub(crate) fn place_columns<'a>(rollup: &Rollup, rows: &[&'a impl Sum]) -> Vec<Column<'a>> {
    let each = || rows.iter().copied();
    let mut columns = vec![
        ("project", Values::Texts(each().map(Sum::project).collect())),
        ("bucket_us", Values::Numbers(each().map(Sum::bucket_us).collect())),
    ];
    columns.extend(key_columns(rollup, rows));
    columns
}

fn key_columns<'a>(rollup: &Rollup, rows: &[&'a impl Sum]) -> impl Iterator<Item = Column<'a>> {
    let key = |place: usize| Values::Texts(rows.iter().map(|row| row.keys()[place].as_str()).collect());
    rollup.keys.iter().enumerate().map(move |(place, column)| (column.name, key(place)))
}

fn measure_columns<'a>(
    rollup: &Rollup,
    rows: &[&'a impl Sum],
    places: impl Iterator<Item = usize>,
) -> impl Iterator<Item = Column<'a>> {
    let values = if is_of_views(rollup) { Values::Sparse } else { Values::Numbers };
    let measure = move |place: usize| values(rows.iter().map(|row| row.measures()[place]).collect());
    places.map(move |place| (rollup.measures[place].name, measure(place)))
}

/// Appends what a commit of this number contributes: on Postgres in blocks.
pub(crate) async fn append(transaction: &mut Transaction, commit_id: i64, delta: &Delta) -> Result<(), sqlx::Error> {
    let table = stored_in(delta.rollup, transaction);
    if transaction.is_shared() {
        return transaction.insert_blocks(&table, commit_id, &blocks(delta)).await;
    }
    for part in parts(delta.rollup, &delta.rows) {
        transaction.insert(appended_rows(&table, commit_id, delta.rollup, &part)).await?;
    }
    Ok(())
}

/// The table that holds the deltas of a rollup: in blocks if it is shared. Row by row `<rollup>_delta` has them everywhere.
pub(crate) fn stored_in(rollup: &Rollup, transaction: &Transaction) -> String {
    format!("{}_delta{}", rollup.name, if transaction.is_shared() { "_block" } else { "" })
}

/// Rows of a block at most: what reads some of them reads all.
const BLOCK_ROWS: usize = 4096;

fn blocks(delta: &Delta) -> Vec<Block<'_>> {
    let rollup = delta.rollup;
    let mut rows: BTreeMap<(&str, i64), Vec<&DeltaRow>> = BTreeMap::new();
    for row in &delta.rows {
        rows.entry((row.project(), row.bucket_us())).or_default().push(row);
    }
    rows.iter().flat_map(|(place, rows)| rows.chunks(BLOCK_ROWS).map(|rows| block(rollup, *place, rows))).collect()
}

fn block<'a>(rollup: &Rollup, (project, bucket_us): (&'a str, i64), rows: &[&'a DeltaRow]) -> Block<'a> {
    let mut columns: Vec<Column<'a>> = key_columns(rollup, rows).collect();
    columns.extend(measure_columns(rollup, rows, 0..rollup.measures.len()));
    columns.extend(bins_column(rollup, rows));
    Block { project, bucket_us, columns }
}

fn appended_rows<'a>(table: &str, commit_id: i64, rollup: &Rollup, part: &Part<'a, DeltaRow>) -> Rows<'a> {
    let count = part.rows.len();
    let mut columns = vec![("commit_id", Values::Numbers(vec![commit_id; count]))];
    columns.extend(part.columns(rollup));
    columns.extend(bins_column(rollup, &part.rows));
    Rows { table: table.to_owned(), count, columns, on_conflict: String::new() }
}

fn bins_column<'a>(rollup: &Rollup, rows: &[&DeltaRow]) -> Option<Column<'a>> {
    let bins = || Values::Json(rows.iter().map(|row| bins_to_json(&row.bins)).collect());
    rollup.bins.is_some().then(|| ("bins", bins()))
}

/// `None` if there are none.
fn bins_to_json(bins: &[Bin]) -> Option<String> {
    let named =
        bins.iter().map(|(metric, bin, count)| (from_fn(move |f| write!(f, "{}:{bin}", metric.as_str())), *count));
    (!bins.is_empty()).then(|| json_of_bins(named))
}

/// Bins by name as a JSON object, as the databases keep them: `{"latency_ms:417":3}`. No name holds what JSON would have
/// escaped: it is a metric and a number, or was read as it stands in a JSON text.
pub(crate) fn json_of_bins(bins: impl Iterator<Item = (impl Display, i64)>) -> String {
    let mut text = String::with_capacity(24 * bins.size_hint().0 + 2);
    for (name, count) in bins {
        text.push(if text.is_empty() { '{' } else { ',' });
        let _ = write!(text, "\"{name}\":{count}");
    }
    text.push_str(if text.is_empty() { "{}" } else { "}" });
    text
}

#[cfg(test)]
mod tests {
    use schemas::Timestamp;
    use schemas::rollups::{STREAM, USAGE};

    use super::*;

    fn row(rollup: &Rollup, told: &[(usize, i64)]) -> DeltaRow {
        let mut measures = vec![0; rollup.measures.len()];
        for (place, value) in told {
            measures[*place] = *value;
        }
        DeltaRow { project: "p".into(), bucket: Timestamp::MIN, keys: Vec::new(), measures, bins: Vec::new() }
    }

    fn written(delta: &Delta) -> Vec<(Vec<usize>, Vec<Vec<i64>>)> {
        let values = |part: &Part<'_, DeltaRow>, row: &DeltaRow| {
            part.measures.iter().map(|place| row.measures[*place]).collect()
        };
        let rows = |part: &Part<'_, DeltaRow>| part.rows.iter().map(|row| values(part, row)).collect();
        parts(delta.rollup, &delta.rows).iter().map(|part| (part.measures.clone(), rows(part))).collect()
    }

    #[test]
    fn measures_that_nothing_happened_to_are_not_written() {
        let told: [&[(usize, i64)]; 5] =
            [&[(2, 1), (5, 7)], &[(2, 3), (5, -1)], &[(2, 2)], &[(2, 4), (9, 1)], &[(60, -3)]];
        let delta = Delta { rollup: &STREAM, rows: told.map(|told| row(&STREAM, told)).into() };
        // Most rows have the third measure; the sixth is no rarer than the tenth.
        let usual = (vec![2], vec![vec![2]]);
        let unusual =
            (vec![2, 5, 9, 60], vec![vec![1, 7, 0, 0], vec![3, -1, 0, 0], vec![4, 0, 1, 0], vec![0, 0, 0, -3]]);
        assert_eq!(written(&delta), [usual, unusual]);
        let delta = Delta { rows: vec![row(&STREAM, &[])], ..delta };
        assert_eq!(written(&delta), [(vec![], vec![vec![]])]);
        let delta = Delta { rollup: &USAGE, rows: vec![row(&USAGE, &[(0, 1)])] };
        assert_eq!(written(&delta), [(vec![0, 1], vec![vec![1, 0]])]);
    }
}
