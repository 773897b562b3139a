//! Records and their rows, address by address, for so many records at a time.

use std::collections::HashMap;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int32Type;

use super::Finding;
use super::scanned::{column, positions};
use crate::read::{DataFile, Snapshot};
use crate::tables::LakeTable;

/// Addresses that are in memory at once. There are no more of them than positions of the log in the range that is looked at,
/// which is made smaller until they fit.
pub(super) const MOST_RECORDS: usize = 1 << 20;

/// A record's rows that were not seen yet: stored and quarantined.
#[derive(Debug, Default, Clone, Copy)]
struct Rows {
    rows: [i32; 2],
    /// Whether retention took rows away where the record arrived.
    may_lack: bool,
}

/// Rows that records say to have, less those that were seen, by address, for a range of positions of all partitions.
#[derive(Debug, Default)]
pub(super) struct Owed {
    /// The range: from here on ..
    from: i64,
    /// .. and below this.
    to: i64,
    most: usize,
    rows: HashMap<(i32, i64), Rows>,
}

impl Owed {
    /// All positions, for the beginning.
    pub(super) fn all(most: usize) -> Self {
        Self { from: i64::MIN, to: i64::MAX, most, rows: HashMap::new() }
    }

    pub(super) fn holds(&self, position: i64) -> bool {
        (self.from..self.to).contains(&position)
    }

    /// A record says to have so many rows of `events` and `quarantine`.
    pub(super) fn owe(&mut self, address: (i32, i64), rows: [i32; 2], may_lack: bool) {
        let owed = self.at(address);
        owed.may_lack = may_lack;
        for (sum, rows) in owed.rows.iter_mut().zip(rows) {
            *sum += rows;
        }
        self.make_room();
    }

    /// Rows of `events` (0) or `quarantine` (1) were seen.
    pub(super) fn pay(&mut self, rows: &RecordBatch, which: usize) {
        let (partitions, positions) = (column(rows, "log_partition").as_primitive::<Int32Type>(), positions(rows));
        for row in 0..rows.num_rows() {
            if self.holds(positions.value(row)) {
                self.at((partitions.value(row), positions.value(row))).rows[which] -= 1;
            }
        }
        self.make_room();
    }

    fn at(&mut self, address: (i32, i64)) -> &mut Rows {
        self.rows.entry(address).or_default()
    }

    /// Leaves the greater half of the positions for later if there are too many addresses.
    fn make_room(&mut self) {
        if self.rows.len() <= self.most {
            return;
        }
        let mut positions: Vec<i64> = self.rows.keys().map(|(_, position)| *position).collect();
        let middle = positions.len() / 2;
        let (lesser, middle, _) = positions.select_nth_unstable(middle);
        // Of one position there are as many addresses as partitions: these stay together.
        if lesser.iter().any(|position| position < middle) {
            self.to = *middle;
            self.rows.retain(|(_, position), _| *position < self.to);
        }
    }

    /// Files that may hold rows of the range.
    pub(super) fn files(&self, snapshot: &Snapshot, table: &'static LakeTable) -> Vec<DataFile> {
        let position = table.index_of("log_position");
        let may_hold = |file: &&DataFile| {
            let bounds = file.bounds.get(position).and_then(Option::as_ref);
            let bounds = bounds.and_then(|(least, greatest)| Some((least.parse().ok()?, greatest.parse().ok()?)));
            bounds.is_none_or(|(least, greatest): (i64, i64)| greatest >= self.from && least < self.to)
        };
        snapshot.files(table).iter().filter(may_hold).cloned().collect()
    }

    /// Tells of records that have other rows than they say, and of rows without a record. Returns what was left for later.
    pub(super) fn settle(&mut self, findings: &mut Vec<Finding>) -> Option<Self> {
        let owed = std::mem::take(&mut self.rows);
        let mut differing: Vec<_> = owed.into_iter().filter(|(_, owed)| owed.rows != [0, 0]).collect();
        differing.sort_unstable_by_key(|(address, _)| *address);
        for ((partition, position), Rows { rows, may_lack }) in differing {
            // How many they lack where some were erased is compared by hour.
            let differs = |(_, owed): &(&str, i32)| *owed < 0 || (*owed > 0 && !may_lack);
            for (table, owed) in ["events", "quarantine"].into_iter().zip(rows).filter(differs) {
                findings.push(Finding {
                    compared: format!("records and rows of {table}"),
                    place: format!("partition {partition}, position {position}"),
                    expected: owed.max(0).into(),
                    found: (-i64::from(owed)).max(0),
                });
            }
        }
        (self.to < i64::MAX).then(|| Self { from: self.to, ..Self::all(self.most) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_more_addresses_than_fit_the_lesser_half_stays() {
        let mut owed = Owed::all(8);
        for position in (0..20).rev() {
            for partition in 0..2 {
                if owed.holds(position) {
                    owed.owe((partition, position), [1, 0], false);
                }
                assert!(owed.rows.len() <= 8);
            }
        }
        let (mut findings, mut ranges) = (Vec::new(), vec![(owed.from, owed.to)]);
        while let Some(mut further) = owed.settle(&mut findings) {
            for position in 0..20 {
                for partition in 0..2 {
                    if further.holds(position) {
                        further.owe((partition, position), [1, 0], false);
                    }
                }
            }
            ranges.push((further.from, further.to));
            owed = further;
        }
        assert_eq!(findings.len(), 40);
        assert!(ranges.len() > 4 && ranges.windows(2).all(|two| two[0].1 == two[1].0), "{ranges:?}");
        // More partitions than fit have one position in common.
        let mut owed = Owed::all(2);
        for partition in 0..5 {
            owed.owe((partition, 7), [0, 1], true);
        }
        assert_eq!((owed.rows.len(), owed.to), (5, i64::MAX));
    }
}
