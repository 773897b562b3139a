//! How long something took, counted in bins.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

/// Values up to this many microseconds have a bin each; the others have so many bins between two powers of two.
const EXACT_US: u64 = 64;

/// Durations in bins that are at most 1/32 of their value wide.
#[derive(Debug, Default, Clone)]
pub(super) struct Histogram {
    /// By the greatest value of a bin, microseconds.
    bins: BTreeMap<u64, u64>,
    count: u64,
    max_us: u64,
}

impl Histogram {
    pub(super) fn add(&mut self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        *self.bins.entry(greatest(us)).or_default() += 1;
        self.count += 1;
        self.max_us = self.max_us.max(us);
    }

    /// What `percent` of 100 are not above, microseconds: the greatest value of its bin. 0 if there are none.
    pub(super) fn percentile_us(&self, percent: u64) -> u64 {
        let rank = (self.count * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let bin = self.bins.iter().find(|(_, n)| {
            seen += **n;
            seen >= rank
        });
        bin.map_or(0, |(greatest, _)| (*greatest).min(self.max_us))
    }

    pub(super) const fn max_us(&self) -> u64 {
        self.max_us
    }

    /// With all bins: the greatest value of each, and how many.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "count": self.count,
            "p50_us": self.percentile_us(50),
            "p90_us": self.percentile_us(90),
            "p99_us": self.percentile_us(99),
            "max_us": self.max_us,
            "bins_us": self.bins.iter().collect::<Vec<_>>(),
        })
    }
}

/// The greatest value in the bin of a value.
const fn greatest(us: u64) -> u64 {
    if us < EXACT_US {
        return us;
    }
    let width = us.ilog2() - (EXACT_US.ilog2() - 1);
    us | ((1 << width) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_are_narrow_and_do_not_overlap() {
        let mut before = 0;
        for us in (0..20_000).chain([123_456, 9_999_999, u64::MAX]) {
            let greatest = greatest(us);
            assert!(greatest >= us && greatest - us <= us / 32, "{us}");
            assert!(greatest >= before, "{us}");
            before = greatest;
        }
    }

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile_us(50), 0);
        for us in [1, 2, 3, 1_000_000] {
            histogram.add(Duration::from_micros(us));
        }
        assert_eq!([50, 75, 76, 99].map(|percent| histogram.percentile_us(percent)), [2, 3, 1_000_000, 1_000_000]);
        assert_eq!(histogram.to_json()["bins_us"].as_array().unwrap().len(), 4);
    }
}
