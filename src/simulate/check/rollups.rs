//! Sums by bucket and key, and distributions.
//!
//! What is expected is made for one table at a time. Rows are compared as they come, and what is left then was not there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Context, Result};
use serde_json::Value;

use super::reader::{Reader, Row, Scan, bucket_of, whole};
use super::tables::{GRAINS, OF_THE_CLOCK, RollupTable};
use super::{Report, bins};
use crate::simulate::timeline::{DAY_MS, MINUTE_MS, Ms};
use crate::simulate::truth::{Grid, Key, Tally};
use crate::simulate::wire::rfc3339;

/// The metric whose bins are its values.
const TILE_COUNT: &str = "tile_count";

const SLICE_MS: Ms = 15 * MINUTE_MS;
/// Bucket (`None`: all together, where clocks are wrong) and key.
pub(super) type Cell = (Option<Ms>, Arc<Key>);
/// Sums by cell and measure.
pub(super) type Sums = BTreeMap<Cell, Tally<&'static str>>;
/// How many values by cell, whose key ends with the metric, and bin.
type Counts = BTreeMap<Cell, Tally<i64>>;

/// One comparison under way.
#[derive(Debug)]
pub(super) struct Comparison<'a> {
    pub(super) reader: &'a Reader,
    pub(super) report: &'a mut Report,
}

impl Comparison<'_> {
    /// Compares the sums of all grains.
    pub(super) async fn sums(&mut self, table: &RollupTable, grid: &Grid) -> Result<()> {
        for (grain, length) in GRAINS {
            let name = format!("rollup_{}_{grain}", table.name);
            let mut cells = SumsUnderWay::new(&name, *table, grid, length);
            let take = &mut |row: Row| cells.row(self.report, &row);
            self.reader.each_of_rollup((table.name, grain), table.keys, table.measures, take).await?;
            cells.finish(self.report);
        }
        Ok(())
    }

    /// Compares the sums over all rows of a quarter of an hour.
    pub(super) async fn slices(&mut self, grid: &Grid, measures: &'static [&'static str]) -> Result<()> {
        let sums: String = measures.iter().map(|measure| format!(", sum({measure}) AS {measure}")).collect();
        let (table, time) = ("slices", "bucket_start");
        let behind = " GROUP BY bucket_start";
        let scan = Scan { table, time, part_ms: DAY_MS, columns: &sums, behind };
        let mut cells = SumsUnderWay::new(table, RollupTable { name: table, keys: &[], measures }, grid, SLICE_MS);
        self.reader.each_of(&scan, &mut |row| cells.row(self.report, &row)).await?;
        cells.finish(self.report);
        Ok(())
    }

    /// Compares the bins of all grains, and percentiles.
    pub(super) async fn distributions(&mut self, table: &RollupTable, grid: &Grid) -> Result<()> {
        let keys: Vec<&str> = table.keys.iter().copied().chain(["metric", "bin"]).collect();
        for (grain, length) in GRAINS {
            let name = format!("rollup_{}_bins_{grain}", table.name);
            let mut cells = CountsUnderWay::new(&name, table.keys, grid, length);
            let of = (&*format!("{}_bins", table.name), grain);
            self.reader.each_of_rollup(of, &keys, &["n"], &mut |row| cells.row(self.report, &row)).await?;
            let all = cells.finish(self.report);
            if grain == "day" {
                self.percentiles(&name, grid, &all);
            }
        }
        Ok(())
    }

    /// Percentiles over everything, within 1 % of the exact value of that rank.
    fn percentiles(&mut self, table: &str, grid: &Grid, got: &BTreeMap<String, BTreeMap<i64, i64>>) {
        let mut exact: BTreeMap<&str, BTreeMap<i64, i64>> = BTreeMap::new();
        for ((.., metric), values) in grid.values.iter().filter(|((.., metric), _)| *metric != TILE_COUNT) {
            let all = exact.entry(metric).or_default();
            for (value, n) in values.iter() {
                *all.entry(*value).or_default() += n;
            }
        }
        let none = BTreeMap::new();
        for (metric, values) in exact {
            let counts = got.get(metric).unwrap_or(&none);
            for percent in [50, 95, 99] {
                let wanted = bins::lower_rank(&values, percent).unwrap_or_default();
                let found = bins::lower_rank(counts, percent).map_or(f64::NAN, bins::value_of);
                #[expect(clippy::cast_precision_loss, reason = "milliseconds and kbit/s")]
                let error = (found - wanted as f64).abs() / (wanted as f64).abs().max(1.0);
                let measure = format!("{metric} p{percent}");
                self.report.compare(table, &measure, error <= 0.010_001, || {
                    format!("{table} {measure}: expected {wanted}, got {found:.1}")
                });
            }
        }
    }
}

/// What a table, which has the first of the truth's keys, is to hold.
pub(super) fn expected_sums(table: &RollupTable, grid: &Grid, length: Ms, blurred: &BTreeSet<Arc<Key>>) -> Sums {
    let mut shortened: BTreeMap<&Arc<Key>, Arc<Key>> = BTreeMap::new();
    let mut expected = Sums::new();
    for ((minute, key), sums) in &grid.sums {
        let shorten = || match key.get(..table.keys.len()) {
            Some(first) if first.len() < key.len() => Arc::new(first.to_vec()),
            _ => Arc::clone(key),
        };
        let key = shortened.entry(key).or_insert_with(shorten);
        let bucket = minute.map(|minute| floor(minute * MINUTE_MS, length));
        let cell = expected.entry(cell(bucket, key, blurred)).or_default();
        for (measure, n) in sums.iter() {
            cell.add(measure, *n);
        }
    }
    expected
}

/// Sums of a table that is being read.
struct SumsUnderWay<'a> {
    name: &'a str,
    table: RollupTable,
    blurred: BTreeSet<Arc<Key>>,
    /// What has not come yet.
    expected: Sums,
    /// What has come where clocks are wrong.
    together: Sums,
}

impl<'a> SumsUnderWay<'a> {
    fn new(name: &'a str, table: RollupTable, grid: &Grid, length: Ms) -> Self {
        let blurred = blurred_keys(grid).iter().map(|key| Arc::new(key[..table.keys.len()].to_vec())).collect();
        let expected = expected_sums(&table, grid, length, &blurred);
        Self { name, table, blurred, expected, together: Sums::new() }
    }

    fn row(&mut self, report: &mut Report, row: &Row) -> Result<()> {
        let cell = cell(Some(bucket_of(row)?), &Arc::new(key_of(row, self.table.keys)), &self.blurred);
        let mut sums = Tally::default();
        for measure in self.table.measures {
            let n = row.get(*measure).and_then(whole).unwrap_or_default();
            sums.add(*measure, n);
        }
        if cell.0.is_some() {
            let expected = self.expected.remove(&cell).unwrap_or_default();
            self.compare(report, &cell, &expected, &sums);
        } else {
            let together = self.together.entry(cell).or_default();
            for (measure, n) in sums.iter() {
                together.add(measure, *n);
            }
        }
        Ok(())
    }

    fn finish(mut self, report: &mut Report) {
        for (cell, got) in std::mem::take(&mut self.together) {
            let expected = self.expected.remove(&cell).unwrap_or_default();
            self.compare(report, &cell, &expected, &got);
        }
        for (cell, expected) in &self.expected {
            self.compare(report, cell, expected, &Tally::default());
        }
    }

    fn compare(&self, report: &mut Report, cell: &Cell, expected: &Tally<&'static str>, got: &Tally<&'static str>) {
        for measure in self.table.measures {
            if cell.0.is_none() && OF_THE_CLOCK.contains(measure) {
                continue;
            }
            let of = |sums: &Tally<&'static str>, measure: &str| sums.get(measure).copied().unwrap_or_default();
            let (wanted, found) = (of(expected, measure), of(got, measure));
            report.compare(self.name, measure, wanted == found, || {
                format!("{} {} {measure}: expected {wanted}, got {found}", self.name, name_of(cell))
            });
        }
    }
}

/// Distributions of a table that is being read, by rising cell.
struct CountsUnderWay<'a> {
    name: &'a str,
    keys: &'a [&'a str],
    blurred: BTreeSet<Arc<Key>>,
    /// What has not come yet.
    expected: Counts,
    /// The cell whose bins are coming.
    coming: Option<(Cell, Tally<i64>)>,
    /// What has come where clocks are wrong.
    together: Counts,
    /// What has come of each metric.
    all: BTreeMap<String, BTreeMap<i64, i64>>,
}

impl<'a> CountsUnderWay<'a> {
    fn new(name: &'a str, keys: &'a [&'a str], grid: &Grid, length: Ms) -> Self {
        let blurred = blurred_keys(grid);
        let mut named: BTreeMap<(&Arc<Key>, &str), Arc<Key>> = BTreeMap::new();
        let mut expected = Counts::new();
        for ((minute, key, metric), values) in &grid.values {
            let bucket = minute.map(|minute| floor(minute * MINUTE_MS, length));
            let (bucket, _) = cell(bucket, key, &blurred);
            let key = named.entry((key, metric)).or_insert_with(|| with_metric(key, metric));
            let counts = expected.entry((bucket, Arc::clone(key))).or_default();
            for (value, n) in values.iter() {
                // Numbers of tiles are their own bins.
                counts.add(if *metric == TILE_COUNT { *value } else { bins::bin_of(*value) }, *n);
            }
        }
        Self { name, keys, blurred, expected, coming: None, together: Counts::new(), all: BTreeMap::new() }
    }

    fn row(&mut self, report: &mut Report, row: &Row) -> Result<()> {
        let (bucket, key) = cell(Some(bucket_of(row)?), &Arc::new(key_of(row, self.keys)), &self.blurred);
        let metric = row.get("metric").and_then(Value::as_str).unwrap_or_default();
        let cell = (bucket, with_metric(&key, metric));
        let bin = row.get("bin").and_then(whole).context("a bin that is no number")?;
        let n = row.get("n").and_then(whole).unwrap_or_default();
        *self.all.entry(metric.to_owned()).or_default().entry(bin).or_default() += n;
        if cell.0.is_none() {
            self.together.entry(cell).or_default().add(bin, n);
            return Ok(());
        }
        match &mut self.coming {
            Some((coming, counts)) if *coming == cell => counts.add(bin, n),
            _ => {
                self.come(report);
                let mut counts = Tally::default();
                counts.add(bin, n);
                self.coming = Some((cell, counts));
            }
        }
        Ok(())
    }

    /// All bins of a cell have come.
    fn come(&mut self, report: &mut Report) {
        if let Some((cell, got)) = self.coming.take() {
            let expected = self.expected.remove(&cell).unwrap_or_default();
            self.compare(report, &cell, &expected, &got);
        }
    }

    /// Returns what has come of each metric, by bin.
    fn finish(mut self, report: &mut Report) -> BTreeMap<String, BTreeMap<i64, i64>> {
        self.come(report);
        for (cell, got) in std::mem::take(&mut self.together) {
            let expected = self.expected.remove(&cell).unwrap_or_default();
            self.compare(report, &cell, &expected, &got);
        }
        for (cell, expected) in &self.expected {
            self.compare(report, cell, expected, &Tally::default());
        }
        self.all
    }

    fn compare(&self, report: &mut Report, cell: &Cell, expected: &Tally<i64>, got: &Tally<i64>) {
        let something =
            |counts: &Tally<i64>| -> Vec<(i64, i64)> { counts.iter().filter(|(_, n)| *n != 0).copied().collect() };
        let (wanted, found) = (something(expected), something(got));
        let metric = cell.1.last().map_or("", String::as_str);
        report.compare(self.name, metric, wanted == found, || {
            let of = |counts: &Tally<i64>, bin: i64| counts.get(&bin).copied().unwrap_or_default();
            let differs = |bin: &i64| of(expected, *bin) != of(got, *bin);
            let bin = wanted.iter().chain(&found).map(|(bin, _)| *bin).find(differs).unwrap_or_default();
            let (wanted, found) = (of(expected, bin), of(got, bin));
            format!("{} {} bin {bin}: expected {wanted}, got {found}", self.name, name_of(cell))
        });
    }
}

fn with_metric(key: &Key, metric: &str) -> Arc<Key> {
    Arc::new(key.iter().cloned().chain([metric.to_owned()]).collect())
}

pub(super) const fn floor(at: Ms, length: Ms) -> Ms {
    at.div_euclid(length) * length
}

/// Keys that devices with a wrong clock add to: only their totals can be known.
pub(super) fn blurred_keys(grid: &Grid) -> BTreeSet<Arc<Key>> {
    let sums = grid.sums.keys().filter(|(minute, _)| minute.is_none()).map(|(_, key)| key);
    let values = grid.values.keys().filter(|(minute, ..)| minute.is_none()).map(|(_, key, _)| key);
    sums.chain(values).cloned().collect()
}

pub(super) fn cell(bucket: Option<Ms>, key: &Arc<Key>, blurred: &BTreeSet<Arc<Key>>) -> Cell {
    (bucket.filter(|_| !blurred.contains(key)), Arc::clone(key))
}

pub(super) fn name_of((bucket, key): &Cell) -> String {
    format!("{} [{}]", bucket.map_or_else(|| "all".to_owned(), rfc3339), key.join(", "))
}

pub(super) fn key_of(row: &Row, keys: &[&str]) -> Key {
    keys.iter().map(|key| row.get(*key).and_then(Value::as_str).unwrap_or_default().to_owned()).collect()
}
