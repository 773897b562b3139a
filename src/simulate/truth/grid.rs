//! Sums by minute and key.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::simulate::timeline::{MINUTE_MS, Ms};

/// The key columns of a row, in the order of its table.
pub(in crate::simulate) type Key = Vec<String>;

/// Number of a minute since 1970; `None` where a wrong clock makes it unknown.
pub(in crate::simulate) type Minute = Option<i64>;

/// Numbers that are added up, each under its name. A list: there are millions of them, most with few numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::simulate) struct Tally<K>(Vec<(K, i64)>);

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Ord> Tally<K> {
    pub(in crate::simulate) fn add(&mut self, name: K, n: i64) {
        match self.0.binary_search_by(|(known, _)| known.cmp(&name)) {
            Ok(place) => self.0[place].1 += n,
            Err(place) => self.0.insert(place, (name, n)),
        }
    }

    pub(in crate::simulate) fn get<Q: Ord + ?Sized>(&self, name: &Q) -> Option<&i64>
    where
        K: Borrow<Q>,
    {
        let place = self.0.binary_search_by(|(known, _)| known.borrow().cmp(name)).ok()?;
        Some(&self.0[place].1)
    }

    /// By rising name.
    pub(in crate::simulate) fn iter(&self) -> impl Iterator<Item = &(K, i64)> {
        self.0.iter()
    }
}

/// Sums by minute and key, and how often each value of a distribution occurred.
#[derive(Debug, Default)]
pub(in crate::simulate) struct Grid {
    pub(in crate::simulate) sums: BTreeMap<(Minute, Arc<Key>), Tally<&'static str>>,
    /// By minute, key, metric: value and how often.
    pub(in crate::simulate) values: BTreeMap<(Minute, Arc<Key>, &'static str), Tally<i64>>,
    /// Each key once.
    keys: BTreeSet<Arc<Key>>,
}

impl Grid {
    pub(super) fn add(&mut self, minute: Minute, key: &Key, measure: &'static str, n: i64) {
        if n != 0 {
            let key = self.key(key);
            self.sums.entry((minute, key)).or_default().add(measure, n);
        }
    }

    pub(super) fn add_value(&mut self, minute: Minute, key: &Key, metric: &'static str, value: i64, n: i64) {
        let key = self.key(key);
        self.values.entry((minute, key, metric)).or_default().add(value, n);
    }

    fn key(&mut self, key: &Key) -> Arc<Key> {
        if let Some(known) = self.keys.get(key) {
            return Arc::clone(known);
        }
        let key = Arc::new(key.clone());
        self.keys.insert(Arc::clone(&key));
        key
    }
}

/// The minute that an instant lies in.
pub(in crate::simulate) const fn minute_of(at: Ms) -> i64 {
    at.div_euclid(MINUTE_MS)
}

/// A stretch of time cut at the borders of minutes: each minute with its milliseconds.
pub(super) fn split(from: Ms, to: Ms) -> impl Iterator<Item = (i64, i64)> {
    let last = if to > from { minute_of(to - 1) } else { minute_of(from) - 1 };
    (minute_of(from)..=last).map(move |minute| {
        let (begin, end) = (minute * MINUTE_MS, (minute + 1) * MINUTE_MS);
        (minute, to.min(end) - from.max(begin))
    })
}

/// The minutes whose first instant lies in `from <= instant < to`.
pub(super) fn starts(from: Ms, to: Ms) -> impl Iterator<Item = i64> {
    let first = from.div_euclid(MINUTE_MS) + i64::from(from.rem_euclid(MINUTE_MS) != 0);
    (first..).take_while(move |minute| minute * MINUTE_MS < to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_split_at_the_borders_of_minutes_and_nothing_is_lost() {
        let of = |from, to| split(from, to).collect::<Vec<_>>();
        assert_eq!(of(59_999, 60_001), [(0, 1), (1, 1)]);
        assert_eq!(of(60_000, 120_000), [(1, 60_000)]);
        assert_eq!(of(10, 180_010), [(0, 59_990), (1, 60_000), (2, 60_000), (3, 10)]);
        assert_eq!(of(70_000, 70_000), []);
        for (from, to) in [(0, 1), (59_000, 61_234), (1, 999_999), (120_000, 120_001)] {
            assert_eq!(split(from, to).map(|(_, ms)| ms).sum::<i64>(), to - from);
        }
    }

    #[test]
    fn a_minute_starts_within_a_stretch_that_holds_its_first_instant() {
        let of = |from, to| starts(from, to).collect::<Vec<_>>();
        assert_eq!(of(60_000, 60_001), [1]);
        assert_eq!(of(60_001, 120_000), Vec::<i64>::new());
        assert_eq!(of(59_999, 120_001), [1, 2]);
        assert_eq!(of(60_000, 60_000), Vec::<i64>::new());
    }
}
