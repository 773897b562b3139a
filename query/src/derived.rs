//! Ratios and percentiles of rollup rows, computed when they are read.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use schemas::fold::measures::Metric;
use schemas::fold::sketch;
use schemas::rollups::{Derived, Formula, Rollup, Sum};
use schemas::{Problem, Timestamp};
use warehouse::{Read, RollupQuery, RollupRow};

use crate::answer::Refused;

/// Bins that one answer is made from: a distribution has some dozens.
const MAX_BINS: u32 = 500_000;

/// The value of a derived column in a row whose bucket is so long; `None` if there is nothing to divide by, or no value.
pub(crate) fn value(derived: &Derived, row: &RollupRow, bucket: Duration, bins: &Distributions) -> Option<f64> {
    match derived.formula {
        Formula::Ratio(part, whole) => ratio(sum(part, row), sum(whole, row)),
        Formula::OfTime(measure) => {
            ratio(row.measures[measure as usize], i64::try_from(bucket.as_millis()).unwrap_or(i64::MAX))
        }
        Formula::Quantile(metric, share) => sketch::quantile(bins.of(row, metric)?, share),
    }
}

fn sum(terms: Sum, row: &RollupRow) -> i64 {
    terms.iter().map(|(times, measure)| times * row.measures[*measure as usize]).sum()
}

#[expect(clippy::cast_precision_loss, reason = "a ratio of sums far below 2^53")]
fn ratio(part: i64, whole: i64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Ascending bins, and how many values each counts.
type Bins = Vec<(i32, i64)>;

/// Distributions of the rows of an answer, by bucket, keys and metric.
#[derive(Debug)]
pub(crate) struct Distributions {
    of: HashMap<Timestamp, HashMap<Vec<String>, HashMap<String, Bins>>>,
    bins: u32,
    asked_by: &'static str,
}

impl Distributions {
    /// None yet; `asked_by` is the parameter that a refusal names.
    pub(crate) fn new(asked_by: &'static str) -> Self {
        Self { of: HashMap::new(), bins: 0, asked_by }
    }

    /// Reads the distributions that `columns` are computed from, for the rows of a query; its `after` and `limit` do not
    /// count.
    ///
    /// # Errors
    ///
    /// 422 if there are too many bins, or if the database cannot be read.
    pub(crate) async fn read(
        &mut self,
        read: &mut Read,
        query: &RollupQuery<'_>,
        columns: &[&Derived],
    ) -> Result<(), Refused> {
        let metrics: BTreeSet<&str> = columns.iter().filter_map(|column| metric_of(column)).collect();
        let Some(rollup) = query.rollup.bins.filter(|_| !metrics.is_empty()) else { return Ok(()) };
        let mut only = query.only.clone();
        only.push(("metric", metrics.into_iter().map(str::to_owned).collect()));
        let group_by = query.group_by.iter().copied().chain(["metric", "bin"]).collect();
        let left = MAX_BINS - self.bins;
        let query = RollupQuery { rollup, group_by, only, after: None, limit: left + 1, ..query.clone() };
        let rows = read.rollup(&query).await?;
        if rows.len() > left as usize {
            let detail = "the answer needs too many distributions: ask for fewer rows, or for no percentiles";
            return Err(Problem::new(422, "range_too_large", detail).at(self.asked_by, "max_bins").into());
        }
        self.bins += u32::try_from(rows.len()).unwrap_or(MAX_BINS);
        for row in rows {
            self.add(row);
        }
        Ok(())
    }

    /// Adds a row of a rollup of bins: its last keys are metric and bin.
    fn add(&mut self, row: RollupRow) {
        let mut keys = row.keys;
        let (Some(bin), Some(metric)) = (keys.pop(), keys.pop()) else { return };
        let count = row.measures.first().copied().unwrap_or(0);
        if let Ok(bin) = bin.parse() {
            let of_row = self.of.entry(row.bucket_start).or_default().entry(keys).or_default();
            let bins = of_row.entry(metric).or_default();
            bins.insert(bins.partition_point(|(known, _)| *known < bin), (bin, count));
        }
    }

    fn of(&self, row: &RollupRow, metric: Metric) -> Option<&[(i32, i64)]> {
        self.of.get(&row.bucket_start)?.get(&row.keys)?.get(metric.as_str()).map(Vec::as_slice)
    }
}

fn metric_of(derived: &Derived) -> Option<&'static str> {
    match derived.formula {
        Formula::Quantile(metric, _) => Some(metric.as_str()),
        Formula::Ratio(..) | Formula::OfTime(_) => None,
    }
}

/// The derived columns of a rollup that need no distribution.
pub(crate) fn ratios(rollup: &'static Rollup) -> impl Iterator<Item = &'static Derived> {
    rollup.derived.iter().filter(|derived| !derived.is_percentile())
}

#[cfg(test)]
mod tests {
    use schemas::fold::measures::{MEASURE_COUNT, Measure};
    use schemas::fold::sketch::bin_of;
    use schemas::rollups::OF_VIEWS;

    use super::*;

    fn row(values: &[(Measure, i64)]) -> RollupRow {
        let mut measures = vec![0; MEASURE_COUNT];
        for (measure, value) in values {
            measures[*measure as usize] = *value;
        }
        RollupRow { bucket_start: Timestamp::MIN, keys: Vec::new(), measures }
    }

    fn column(name: &str, row: &RollupRow, bins: &Distributions) -> Option<f64> {
        let derived = OF_VIEWS.iter().find(|derived| derived.name == name).unwrap();
        value(derived, row, Duration::from_secs(60), bins)
    }

    #[test]
    fn nothing_to_divide_by_is_null_and_not_zero() {
        let (empty, bins) = (row(&[]), Distributions::new("measures"));
        for derived in OF_VIEWS.iter().filter(|derived| derived.name != "mean_concurrent_views") {
            assert_eq!(value(derived, &empty, Duration::from_secs(60), &bins), None, "{}", derived.name);
        }
        assert_eq!(column("mean_concurrent_views", &empty, &bins), Some(0.0));
        let left = row(&[(Measure::Attempts, 2), (Measure::AbandonedEarly, 1), (Measure::LeftUnstarted, 1)]);
        assert_eq!((column("ebvs_rate", &left, &bins), column("failure_rate", &left, &bins)), (None, Some(0.0)));
    }

    #[test]
    fn ratios_are_those_of_the_definitions() {
        let row = row(&[
            (Measure::Attempts, 12),
            (Measure::Started, 6),
            (Measure::PlaybackFailures, 3),
            (Measure::Ebvs, 2),
            (Measure::AbandonedEarly, 1),
            (Measure::LeftUnstarted, 1),
            (Measure::StartupBusiness, 2),
            (Measure::RebufferMs, 3_000),
            (Measure::RebufferCount, 2),
            (Measure::WatchMsRebufferCapable, 120_000),
            (Measure::PlayingMs, 90_000),
            (Measure::BitrateMs, 90_000_000),
            (Measure::RatedMediaMs, 45_000),
            (Measure::DroppedFrames, 1),
            (Measure::RenderedFrames, 3),
            (Measure::LatencyMsSum, 9_000),
            (Measure::LatencyN, 4),
            (Measure::HealthSum, 15_000),
            (Measure::HealthN, 2),
        ]);
        for (name, expected) in [
            ("failure_rate", 0.25),
            ("ebvs_rate", 0.2),
            ("start_success_rate", 0.75),
            ("rebuffer_ratio", 0.025),
            ("rebuffers_per_min", 1.0),
            ("avg_bitrate_kbps", 2_000.0),
            ("dropped_ratio", 0.25),
            ("latency_ms_mean", 2_250.0),
            ("health_score", 75.0),
            ("mean_concurrent_views", 1.5),
        ] {
            assert_eq!(column(name, &row, &Distributions::new("measures")), Some(expected), "{name}");
        }
    }

    #[test]
    fn percentiles_are_of_the_rows_own_bins_in_the_order_of_numbers() {
        let mut bins = Distributions::new("measures");
        for value in 1..=100 {
            let keys = ["startup_ms".to_owned(), bin_of(value * 10).to_string()].to_vec();
            bins.add(RollupRow { bucket_start: Timestamp::MIN, keys, measures: vec![1] });
        }
        let p95 = column("startup_ms_p95", &row(&[]), &bins).unwrap();
        assert!((p95 - 950.0).abs() <= 9.5, "{p95}");
        assert_eq!(column("latency_ms_p95", &row(&[]), &bins), None);
    }
}
