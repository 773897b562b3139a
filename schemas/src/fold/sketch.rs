//! Bins of distributions: DDSketch (Masson, Rim, Lee, VLDB 2019) with a relative error of 1 %.
//!
//! A value's bin is a whole number that sorts like the value. Bins are counted like any other measure, so they add, and
//! can be taken away again. Borders come from whole numbers alone, never from a logarithm: every machine agrees.

/// Relative error of a [value read from a bin](value_of).
pub const RELATIVE_ERROR: f64 = 0.01;

/// Values beyond this are in the last bin.
pub const VALUE_MAX: i64 = 10_000_000;

/// γ = (1 + α) / (1 − α) with α = 1 %.
const GAMMA: (u128, u128) = (101, 99);
/// Bits behind the point.
const POINT: u32 = 64;
/// The smallest power of γ that is at least [`VALUE_MAX`] is this one.
const BORDERS: usize = 807;

/// `TABLE[i]` is the largest whole number not above γ^i.
static TABLE: [u64; BORDERS] = borders();

const fn borders() -> [u64; BORDERS] {
    let mut table = [0; BORDERS];
    let mut power: u128 = 1 << POINT;
    let mut idx = 0;
    while idx < BORDERS {
        table[idx] = (power >> POINT) as u64;
        power = power * GAMMA.0 / GAMMA.1;
        idx += 1;
    }
    table
}

/// The bin of a value: 0 for 0, n for (γ^(n−2), γ^(n−1)], −n for the negatives of bin n.
#[must_use]
pub fn bin_of(value: i64) -> i32 {
    if value == 0 {
        return 0;
    }
    let size = value.unsigned_abs().min(VALUE_MAX.unsigned_abs());
    let idx = TABLE.partition_point(|border| *border < size).min(BORDERS - 1);
    let bin = i32::try_from(idx).unwrap_or(i32::MAX) + 1;
    if value < 0 { -bin } else { bin }
}

/// The value that stands for a bin: at most [`RELATIVE_ERROR`] from every value in it. Bins beyond the last one are it.
#[must_use]
pub fn value_of(bin: i32) -> f64 {
    if bin == 0 {
        return 0.0;
    }
    let idx = usize::try_from(bin.unsigned_abs()).unwrap_or(BORDERS).min(BORDERS) - 1;
    if bin < 0 { -VALUES[idx] } else { VALUES[idx] }
}

/// What stands for the bins from 1 on: γ^i · (1 − α), multiplied up in one order, so that it is the same number wherever
/// it is looked at. A power function need not be.
static VALUES: [f64; BORDERS] = values();

const fn values() -> [f64; BORDERS] {
    let mut table = [0.0; BORDERS];
    let mut upper = 1.0;
    let mut idx = 0;
    while idx < BORDERS {
        table[idx] = upper * 99.0 / 100.0;
        upper = upper * 101.0 / 99.0;
        idx += 1;
    }
    table
}

/// The `quantile` (0 to 1) of counted bins, which ascend; `None` if they count nothing.
///
/// Of n sorted values, counted from 0, it is the bin of the one at `quantile` · (n − 1), rounded down: the lower rank, as
/// the paper has it.
#[must_use]
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "counts of events")]
pub fn quantile(bins: &[(i32, i64)], quantile: f64) -> Option<f64> {
    let total: i64 = bins.iter().map(|(_, count)| count).sum();
    if total <= 0 {
        return None;
    }
    // Binary fractions fall short of shares like 0.29: what misses a whole number by no more than that is that number.
    let share = quantile.clamp(0.0, 1.0) * 2.0_f64.mul_add(f64::EPSILON, 1.0);
    let rank = ((total - 1) as f64 * share) as i64;
    let rank = rank.min(total - 1);
    let mut below = 0;
    let bin = bins.iter().find(|(_, count)| {
        below += count;
        below > rank
    });
    bin.map(|(bin, _)| value_of(*bin))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_table_reaches_the_greatest_value_and_not_further() {
        assert!(TABLE[BORDERS - 2] < VALUE_MAX.unsigned_abs() && TABLE[BORDERS - 1] >= VALUE_MAX.unsigned_abs());
        assert_eq!((bin_of(0), bin_of(1), bin_of(-1)), (0, 1, -1));
    }

    #[test]
    fn a_quantile_is_the_value_of_the_lower_rank() {
        // Values are told by their bins: the last digit of a power depends on who computes it, compiler or processor.
        let bin_at = |bins: &[(i32, i64)], share| {
            let value = quantile(bins, share)?;
            bins.iter().map(|(bin, _)| *bin).find(|bin| (value_of(*bin) - value).abs() < 1e-9)
        };
        let shares = [0.5, 0.9, 0.95, 0.99, 1.0];
        for (n, expected) in [
            (1, [1, 1, 1, 1, 1]),
            (2, [1, 1, 1, 1, 2]),
            (4, [2, 3, 3, 3, 4]),
            (100, [50, 90, 95, 99, 100]),
            (101, [51, 91, 96, 100, 101]),
        ] {
            let bins: Vec<(i32, i64)> = (1..=n).map(|bin| (bin, 1)).collect();
            assert_eq!(shares.map(|share| bin_at(&bins, share)), expected.map(Some), "{n} values");
        }
        let hundred_one: Vec<(i32, i64)> = (0..=100).map(|bin| (bin, 1)).collect();
        for percent in 0..=100 {
            assert_eq!(bin_at(&hundred_one, f64::from(percent) / 100.0), Some(percent), "{percent} %");
        }
        let counted = [(3, 7_000_000_000), (4, 0), (5, 1)];
        assert_eq!((bin_at(&counted, 0.999_999), bin_at(&counted, 1.0)), (Some(3), Some(5)));
        assert_eq!((quantile(&[], 0.5), quantile(&[(1, 0)], 0.5)), (None, None));
    }

    proptest! {
        #[test]
        fn a_bin_stands_for_its_values_within_one_percent(value in -VALUE_MAX..VALUE_MAX) {
            let estimate = value_of(bin_of(value));
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let value = value as f64;
            prop_assert!((estimate - value).abs() <= RELATIVE_ERROR * value.abs() + 1e-9, "{value} {estimate}");
        }

        #[test]
        fn bins_sort_like_their_values(one in -VALUE_MAX..VALUE_MAX, other in -VALUE_MAX..VALUE_MAX) {
            prop_assert_eq!(bin_of(one) <= bin_of(other), one <= other || bin_of(one) == bin_of(other));
        }

        #[test]
        fn a_quantile_is_within_one_percent_of_the_exact_one(mut values in prop::collection::vec(1..VALUE_MAX, 1..200), percent in 0..=100_usize) {
            let mut bins = std::collections::BTreeMap::new();
            for value in &values {
                *bins.entry(bin_of(*value)).or_insert(0) += 1;
            }
            values.sort_unstable();
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let (exact, share) = (values[(values.len() - 1) * percent / 100] as f64, percent as f64 / 100.0);
            let estimate = quantile(&bins.into_iter().collect::<Vec<_>>(), share).unwrap();
            prop_assert!((estimate - exact).abs() <= RELATIVE_ERROR * exact + 1e-9);
        }
    }
}
