//! Columns that the server computes when it reads a rollup: ratios of sums, and percentiles.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Result;
use serde_json::Value;

use super::over_http::OverHttp;
use super::reader::{Row, bucket_of};
use super::rollups::{Cell, blurred_keys, cell, expected_sums, floor, key_of, name_of};
use super::tables::RollupTable;
use super::{Report, bins};
use crate::simulate::timeline::{DAY_MS, MINUTE_MS};
use crate::simulate::truth::{Grid, Key};

/// A measure of the row by its name.
type Of<'a> = &'a dyn Fn(&str) -> f64;

/// What a ratio divides, and by what. Unless that is more than nothing, the column is null.
type Ratio = fn(Of<'_>) -> (f64, f64);

const RATIOS: &[(&str, Ratio)] = &[
    ("failure_rate", |of| (of("playback_failures"), of("attempts"))),
    ("ebvs_rate", |of| (of("ebvs"), stayed(of))),
    ("start_success_rate", |of| (of("started"), stayed(of) - of("startup_business"))),
    ("rebuffer_ratio", |of| (of("rebuffer_ms"), of("watch_ms_rebuffer_capable"))),
    ("rebuffers_per_min", |of| (60_000.0 * of("rebuffer_count"), of("watch_ms_rebuffer_capable"))),
    ("attention_rebuffer_ratio", |of| (of("attention_rebuffer_ms"), of("attention_ms") + of("attention_rebuffer_ms"))),
    ("any_stall_ratio", |of| (of("any_stall_ms"), of("viewer_ms") + of("all_stall_ms"))),
    ("all_stall_ratio", |of| (of("all_stall_ms"), of("viewer_ms") + of("all_stall_ms"))),
    ("avg_bitrate_kbps", |of| (of("bitrate_ms"), of("rated_media_ms"))),
    ("dropped_ratio", |of| (of("dropped_frames"), of("dropped_frames") + of("rendered_frames"))),
    ("latency_ms_mean", |of| (of("latency_ms_sum"), of("latency_n"))),
    ("success_score", |of| (of("success_sum"), 100.0 * of("success_n"))),
    ("startup_score", |of| (of("startup_sum"), 100.0 * of("startup_n"))),
    ("smoothness_score", |of| (of("smoothness_sum"), 100.0 * of("smoothness_n"))),
    ("video_quality_score", |of| (of("video_quality_sum"), 100.0 * of("video_quality_n"))),
    ("health_score", |of| (of("health_sum"), 100.0 * of("health_n"))),
    ("mean_concurrent_views", |of| (of("playing_ms"), 86_400_000.0)),
];

/// Attempts that were neither given up at once nor never meant to be seen.
fn stayed(of: Of<'_>) -> f64 {
    of("attempts") - of("abandoned_early") - of("left_unstarted")
}

/// Percentiles by metric: their columns, and of how many percent.
const PERCENTILES: &[(&str, &[(&str, i64)])] = &[
    ("startup_ms", &[("startup_ms_p50", 50), ("startup_ms_p95", 95), ("startup_ms_p99", 99)]),
    ("rebuffer_ms", &[("rebuffer_ms_p95", 95)]),
    ("latency_ms", &[("latency_ms_p50", 50), ("latency_ms_p95", 95)]),
    ("bitrate_kbps", &[("bitrate_kbps_p50", 50)]),
    ("layout_first_ms", &[("layout_first_ms_p95", 95)]),
    ("layout_all_ms", &[("layout_all_ms_p95", 95)]),
    ("sync_spread_ms", &[("sync_spread_ms_p95", 95)]),
    ("demand_pct", &[("demand_pct_p95", 95)]),
];

/// What divisions of exact sums may differ by.
const OF_A_RATIO: f64 = 1e-9;
/// What a bin may be off from its values.
const OF_A_BIN: f64 = 0.010_001;

/// Compares the computed columns of all days.
pub(super) async fn compare(server: &OverHttp, report: &mut Report, table: &RollupTable, grid: &Grid) -> Result<()> {
    let name = format!("rollup_{}_day, computed", table.name);
    let blurred = blurred_keys(grid);
    let sums = expected_sums(table, grid, DAY_MS, &blurred);
    let columns: Vec<&str> = RATIOS.iter().map(|(column, _)| *column).collect();
    let mut days = Days { name: &name, table, blurred, report };
    let ratio = |cell: &Cell, column: &str| {
        #[expect(clippy::cast_precision_loss, reason = "sums far below 2^53")]
        let of = |measure: &str| sums.get(cell).and_then(|sums| sums.get(measure)).map_or(0.0, |sum| *sum as f64);
        let (_, ratio) = RATIOS.iter().find(|(name, _)| *name == column)?;
        let (part, whole) = ratio(&of);
        (whole > 0.0).then(|| part / whole)
    };
    days.columns(server, &columns, OF_A_RATIO, &ratio).await?;
    for (metric, columns) in PERCENTILES {
        let values = values_of(grid, metric);
        let percentile = |cell: &Cell, column: &str| {
            let (_, percent) = columns.iter().find(|(name, _)| *name == column)?;
            #[expect(clippy::cast_precision_loss, reason = "milliseconds, kbit/s and percent")]
            bins::lower_rank(values.get(cell)?, *percent).map(|value| value as f64)
        };
        let columns: Vec<&str> = columns.iter().map(|(column, _)| *column).collect();
        days.columns(server, &columns, OF_A_BIN, &percentile).await?;
    }
    Ok(())
}

/// How often each value of a metric occurred, by day and key.
fn values_of(grid: &Grid, metric: &str) -> BTreeMap<Cell, BTreeMap<i64, i64>> {
    let mut of_days: BTreeMap<Cell, BTreeMap<i64, i64>> = BTreeMap::new();
    for ((minute, key, _), values) in grid.values.iter().filter(|((.., of), _)| *of == metric) {
        let day = minute.map(|minute| floor(minute * MINUTE_MS, DAY_MS));
        let of_day = of_days.entry((day, Arc::clone(key))).or_default();
        for (value, n) in values.iter() {
            *of_day.entry(*value).or_default() += n;
        }
    }
    of_days
}

/// Rows of days whose computed columns are compared.
struct Days<'a> {
    name: &'a str,
    table: &'a RollupTable,
    /// Keys that devices with a wrong clock add to: the day of what they add is not known.
    blurred: BTreeSet<Arc<Key>>,
    report: &'a mut Report,
}

impl Days<'_> {
    /// Compares columns with what is expected of them. Where a clock is wrong the day is not known, and nothing is.
    async fn columns(
        &mut self,
        server: &OverHttp,
        columns: &[&str],
        tolerance: f64,
        expected: &dyn Fn(&Cell, &str) -> Option<f64>,
    ) -> Result<()> {
        let Self { name, table, blurred, report } = self;
        let mut compare = |row: Row| {
            let cell = cell(Some(bucket_of(&row)?), &Arc::new(key_of(&row, table.keys)), blurred);
            for column in columns.iter().filter(|_| cell.0.is_some()) {
                let (wanted, found) = (expected(&cell, column), row.get(*column).and_then(Value::as_f64));
                let is_equal = match (wanted, found) {
                    (Some(wanted), Some(found)) => (wanted - found).abs() <= tolerance * wanted.abs().max(1.0),
                    (wanted, found) => wanted == found,
                };
                report.compare(name, column, is_equal, || {
                    format!("{name} {} {column}: expected {wanted:?}, got {found:?}", name_of(&cell))
                });
            }
            Ok(())
        };
        server.each_of_rollup((table.name, "day"), table.keys, columns, &mut compare).await
    }
}
