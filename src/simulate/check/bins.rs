//! Distributions as bins: DDSketch (Masson, Rim, Lee 2019) with a relative error of 1 %.

use std::collections::BTreeMap;

/// Two borders of bins stand in this relation.
const GAMMA: f64 = 101.0 / 99.0;
/// Greater values are in its bin.
const VALUE_MAX: i64 = 10_000_000;

/// The bin that a value is counted in.
#[expect(clippy::cast_precision_loss, reason = "held to 10^7")]
pub(super) fn bin_of(value: i64) -> i64 {
    let size = value.saturating_abs().min(VALUE_MAX);
    if size == 0 {
        return 0;
    }
    // Bin i holds what is above GAMMA^(i-2) and up to GAMMA^(i-1). A border is a whole number only for bin 1.
    let mut bin = 1;
    let mut border = 1.0;
    while border < size as f64 {
        border *= GAMMA;
        bin += 1;
    }
    bin * value.signum()
}

/// The value that stands for a bin.
pub(super) fn value_of(bin: i64) -> f64 {
    if bin == 0 {
        return 0.0;
    }
    let exponent = i32::try_from(bin.abs() - 1).unwrap_or(i32::MAX);
    let size = 2.0 * GAMMA.powi(exponent) / (GAMMA + 1.0);
    if bin < 0 { -size } else { size }
}

/// The value of the lower rank: of n sorted ones, counted from 0, the one at `percent` · (n − 1) / 100, rounded down.
pub(super) fn lower_rank(counts: &BTreeMap<i64, i64>, percent: i64) -> Option<i64> {
    let total: i64 = counts.values().sum();
    let rank = (total - 1) * percent / 100;
    let mut seen = 0;
    for (value, n) in counts {
        seen += n;
        if seen > rank {
            return Some(*value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    fn a_bin_stands_for_its_values_within_one_percent() {
        for value in (1..5_000).chain([9_999, 123_456, 9_999_999, 10_000_000]) {
            let error = (value_of(bin_of(value)) - value as f64).abs() / value as f64;
            assert!(error <= 0.010_000_1, "{value}: {error}");
        }
        assert_eq!([bin_of(0), bin_of(1), bin_of(2), bin_of(-2)], [0, 1, 36, -36]);
    }

    #[test]
    fn ranks_are_the_lower_ones() {
        for (n, expected) in [
            (1, [1, 1, 1, 1, 1]),
            (2, [1, 1, 1, 1, 2]),
            (4, [2, 3, 3, 3, 4]),
            (100, [50, 90, 95, 99, 100]),
            (101, [51, 91, 96, 100, 101]),
        ] {
            let counts = (1..=n).map(|value| (value, 1)).collect();
            let found = [50, 90, 95, 99, 100].map(|percent| lower_rank(&counts, percent));
            assert_eq!(found, expected.map(Some), "{n} values");
        }
        let counts = BTreeMap::from([(10, 1), (20, 0), (30, 2)]);
        assert_eq!([0, 49, 50, 100].map(|percent| lower_rank(&counts, percent)), [10, 10, 30, 30].map(Some));
        assert_eq!(lower_rank(&BTreeMap::new(), 50), None);
    }
}
