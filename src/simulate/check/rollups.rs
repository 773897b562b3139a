//! Sums by bucket and key, and distributions.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::Value;

use super::server::{Reader, Row, instant, whole};
use super::{OF_THE_CLOCK, Report, bins};
use crate::simulate::timeline::{DAY_MS, HOUR_MS, MINUTE_MS, Ms};
use crate::simulate::truth::{Grid, Key};
use crate::simulate::wire::rfc3339;

/// A family of rollup tables.
#[derive(Debug)]
pub(super) struct RollupTable {
    pub(super) name: &'static str,
    pub(super) keys: &'static [&'static str],
    pub(super) measures: &'static [&'static str],
}

/// The metric whose bins are its values.
const TILE_COUNT: &str = "tile_count";

const GRAINS: [(&str, Ms); 3] = [("minute", MINUTE_MS), ("hour", HOUR_MS), ("day", DAY_MS)];
const SLICE_MS: Ms = 15 * MINUTE_MS;
/// Bucket (`None`: all together, where clocks are wrong) and key.
type Cell = (Option<Ms>, Key);
/// Sums by cell and measure.
type Cells = BTreeMap<Cell, BTreeMap<String, i64>>;

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
            let rows = self.reader.rollup(table.name, grain, table.keys, table.measures).await?;
            let name = format!("rollup_{}_{grain}", table.name);
            self.buckets(&name, table.keys, table.measures, &rows, (grid, length))?;
        }
        Ok(())
    }

    /// Compares the sums over all rows of a quarter of an hour.
    pub(super) async fn slices(&mut self, grid: &Grid, measures: &[&str]) -> Result<()> {
        let sums: String = measures.iter().map(|measure| format!(", sum({measure}) AS {measure}")).collect();
        let rows = self.reader.days("slices", "bucket_start", &sums, " GROUP BY bucket_start").await?;
        self.buckets("slices", &[], measures, &rows, (grid, SLICE_MS))
    }

    /// Compares rows by bucket and the first of the truth's keys.
    fn buckets(
        &mut self,
        table: &str,
        keys: &[&str],
        measures: &[&str],
        rows: &[Row],
        (grid, length): (&Grid, Ms),
    ) -> Result<()> {
        let shortened = |key: &Key| key[..keys.len()].to_vec();
        let blurred: BTreeSet<Key> = blurred_keys(grid).iter().map(shortened).collect();
        let mut expected = Cells::new();
        for ((minute, key), sums) in &grid.sums {
            let bucket = minute.map(|minute| floor(minute * MINUTE_MS, length));
            let cell = expected.entry(cell(bucket, &shortened(key), &blurred)).or_default();
            for (measure, n) in sums {
                *cell.entry((*measure).to_owned()).or_default() += n;
            }
        }
        let mut got = Cells::new();
        for row in rows {
            let cell = got.entry(cell(Some(bucket_of(row)?), &key_of(row, keys), &blurred)).or_default();
            for measure in measures {
                let n = row.get(*measure).and_then(whole).unwrap_or_default();
                *cell.entry((*measure).to_owned()).or_default() += n;
            }
        }
        self.cells(table, &expected, &got, measures);
        Ok(())
    }

    /// Compares the bins of all grains, and percentiles.
    pub(super) async fn distributions(&mut self, table: &RollupTable, grid: &Grid) -> Result<()> {
        let blurred = blurred_keys(grid);
        let keys: Vec<&str> = table.keys.iter().copied().chain(["metric", "bin"]).collect();
        for (grain, length) in GRAINS {
            let name = format!("rollup_{}_bins_{grain}", table.name);
            let mut expected = Cells::new();
            for ((minute, key, metric), values) in &grid.values {
                let bucket = minute.map(|minute| floor(minute * MINUTE_MS, length));
                let (bucket, mut key) = cell(bucket, key, &blurred);
                key.push((*metric).to_owned());
                let counts = expected.entry((bucket, key)).or_default();
                for (value, n) in values {
                    // Numbers of tiles are their own bins.
                    let bin = if *metric == TILE_COUNT { *value } else { bins::bin_of(*value) };
                    *counts.entry(bin.to_string()).or_default() += n;
                }
            }
            let mut got = Cells::new();
            for row in self.reader.rollup(&format!("{}_bins", table.name), grain, &keys, &["n"]).await? {
                let (bucket, mut key) = cell(Some(bucket_of(&row)?), &key_of(&row, table.keys), &blurred);
                key.extend(key_of(&row, &["metric"]));
                let bin = row.get("bin").and_then(whole).unwrap_or_default().to_string();
                *got.entry((bucket, key)).or_default().entry(bin).or_default() +=
                    row.get("n").and_then(whole).unwrap_or_default();
            }
            self.bins(&name, &expected, &got);
            if grain == "day" {
                self.percentiles(&name, grid, &got);
            }
        }
        Ok(())
    }

    fn cells(&mut self, table: &str, expected: &Cells, got: &Cells, measures: &[&str]) {
        let cells: BTreeSet<&Cell> = expected.keys().chain(got.keys()).collect();
        for cell in cells {
            let of = |cells: &Cells, measure: &str| {
                cells.get(cell).and_then(|sums| sums.get(measure)).copied().unwrap_or_default()
            };
            for measure in measures {
                if cell.0.is_none() && OF_THE_CLOCK.contains(measure) {
                    continue;
                }
                let (wanted, found) = (of(expected, measure), of(got, measure));
                // A hundredth either way for each score: the last digit of a power is no part of the rules.
                let number = measure.strip_suffix("_sum").map(|score| format!("{score}_n"));
                let slack = number.filter(|_| is_score(measure)).map_or(0, |number| of(expected, &number));
                self.report.compare(table, measure, (wanted - found).abs() <= slack, || {
                    format!("{table} {} {measure}: expected {wanted}, got {found}", name_of(cell))
                });
            }
        }
    }

    fn bins(&mut self, table: &str, expected: &Cells, got: &Cells) {
        let cells: BTreeSet<&Cell> = expected.keys().chain(got.keys()).collect();
        let none = BTreeMap::new();
        for cell in cells {
            let counts = |cells: &Cells| -> BTreeMap<String, i64> {
                let counts = cells.get(cell).unwrap_or(&none).iter().filter(|(_, n)| **n != 0);
                counts.map(|(bin, n)| (bin.clone(), *n)).collect()
            };
            let (wanted, found) = (counts(expected), counts(got));
            let metric = cell.1.last().map_or("", String::as_str);
            self.report.compare(table, metric, wanted == found, || {
                let differs = |bin: &&String| wanted.get(*bin) != found.get(*bin);
                let bin = wanted.keys().chain(found.keys()).find(differs).map_or("", String::as_str);
                let of = |counts: &BTreeMap<String, i64>| counts.get(bin).copied().unwrap_or_default();
                format!("{table} {} bin {bin}: expected {}, got {}", name_of(cell), of(&wanted), of(&found))
            });
        }
    }

    /// Percentiles over everything, within 1 % of the exact value of that rank.
    fn percentiles(&mut self, table: &str, grid: &Grid, got: &Cells) {
        let mut exact: BTreeMap<&str, BTreeMap<i64, i64>> = BTreeMap::new();
        for ((.., metric), values) in grid.values.iter().filter(|((.., metric), _)| *metric != TILE_COUNT) {
            let all = exact.entry(metric).or_default();
            for (value, n) in values {
                *all.entry(*value).or_default() += n;
            }
        }
        for (metric, values) in exact {
            let mut counts: BTreeMap<i64, i64> = BTreeMap::new();
            for (_, of_cell) in got.iter().filter(|((_, key), _)| key.last().is_some_and(|last| last == metric)) {
                for (bin, n) in of_cell {
                    *counts.entry(bin.parse().unwrap_or_default()).or_default() += n;
                }
            }
            for percent in [50, 95, 99] {
                let wanted = bins::nearest_rank(&values, percent).unwrap_or_default();
                let found = bins::nearest_rank(&counts, percent).map_or(f64::NAN, bins::value_of);
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

fn is_score(measure: &str) -> bool {
    ["success_sum", "startup_sum", "smoothness_sum", "video_quality_sum", "health_sum"].contains(&measure)
}

const fn floor(at: Ms, length: Ms) -> Ms {
    at.div_euclid(length) * length
}

/// Keys that devices with a wrong clock add to: only their totals can be known.
fn blurred_keys(grid: &Grid) -> BTreeSet<Key> {
    let sums = grid.sums.keys().filter(|(minute, _)| minute.is_none()).map(|(_, key)| key.clone());
    sums.chain(grid.values.keys().filter(|(minute, ..)| minute.is_none()).map(|(_, key, _)| key.clone())).collect()
}

fn cell(bucket: Option<Ms>, key: &Key, blurred: &BTreeSet<Key>) -> Cell {
    (bucket.filter(|_| !blurred.contains(key)), key.clone())
}

fn name_of((bucket, key): &Cell) -> String {
    format!("{} [{}]", bucket.map_or_else(|| "all".to_owned(), rfc3339), key.join(", "))
}

fn key_of(row: &Row, keys: &[&str]) -> Key {
    keys.iter().map(|key| row.get(*key).and_then(Value::as_str).unwrap_or_default().to_owned()).collect()
}

fn bucket_of(row: &Row) -> Result<Ms> {
    row.get("bucket_start").and_then(instant).context("a row without bucket_start")
}
