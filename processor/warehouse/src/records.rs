//! The event store in log order: what is folded again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};

use crate::lake::{Lake, ScanError, scan_parquet};
use crate::read::{DataFile, Snapshot};
use crate::tables::RECORDS;

/// A record of the log as `records` keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// Its position in its partition.
    pub position: u64,
    /// The payload: see `schemas::record`.
    pub body: Vec<u8>,
}

impl Snapshot {
    /// The records of a partition from a position on, in log order. Files are open, with one small batch each in memory,
    /// only while their positions are due.
    ///
    /// # Errors
    ///
    /// [`ScanError`].
    pub fn records(
        &self,
        lake: &Lake,
        log_partition: u16,
        from: u64,
    ) -> Result<impl Iterator<Item = Result<StoredRecord, ScanError>> + use<>, ScanError> {
        let least = |file: &DataFile| bounds(file, "log_position").map_or(0, |(least, _)| least);
        let mut waiting: Vec<DataFile> =
            self.files(&RECORDS).iter().filter(|file| may_hold(file, log_partition, from)).cloned().collect();
        // The next one to open is the last.
        waiting.sort_by_key(|file| Reverse(least(file)));
        let waiting = waiting.into_iter().map(|file| (least(&file), file.path)).collect();
        Ok(Merge { lake: lake.clone(), log_partition, from, waiting, sources: Vec::new(), heads: BinaryHeap::new() })
    }
}

/// Least and greatest value of a column of whole numbers, where the catalogue knows them.
fn bounds(file: &DataFile, column: &str) -> Option<(u64, u64)> {
    let (least, greatest) = file.bounds.get(RECORDS.index_of(column))?.as_ref()?;
    Some((least.parse().ok()?, greatest.parse().ok()?))
}

fn may_hold(file: &DataFile, log_partition: u16, from: u64) -> bool {
    let in_partition = bounds(file, "log_partition")
        .is_none_or(|(least, greatest)| (least..=greatest).contains(&u64::from(log_partition)));
    in_partition && bounds(file, "log_position").is_none_or(|(_, greatest)| greatest >= from)
}

/// Files, each ascending by position, merged; each is opened when its first position comes.
struct Merge {
    lake: Lake,
    log_partition: u16,
    from: u64,
    /// Files that are not open yet, with their least position, which falls along the list.
    waiting: Vec<(u64, String)>,
    sources: Vec<Option<Source>>,
    heads: BinaryHeap<Reverse<(u64, usize, Vec<u8>)>>,
}

type Batches = Box<dyn Iterator<Item = Result<RecordBatch, ScanError>> + Send>;

struct Source {
    batches: Batches,
    rows: std::vec::IntoIter<(u64, Vec<u8>)>,
    log_partition: u16,
    from: u64,
}

impl Source {
    fn open(lake: &Lake, path: &str, log_partition: u16, from: u64) -> Result<Self, ScanError> {
        let batches = scan_parquet(lake, &RECORDS, path, &["log_partition", "log_position", "body"], 64)?;
        Ok(Self { batches: Box::new(batches), rows: Vec::new().into_iter(), log_partition, from })
    }

    fn next(&mut self) -> Result<Option<(u64, Vec<u8>)>, ScanError> {
        loop {
            if let Some(row) = self.rows.next() {
                return Ok(Some(row));
            }
            let Some(batch) = self.batches.next() else { return Ok(None) };
            let batch = batch?;
            let partitions = batch.column(0).as_primitive::<Int32Type>();
            let positions = batch.column(1).as_primitive::<Int64Type>();
            let bodies = batch.column(2).as_binary::<i32>();
            let rows = (0..batch.num_rows()).filter_map(|row| {
                let position = u64::try_from(positions.value(row)).unwrap_or(0);
                let wanted = partitions.value(row) == i32::from(self.log_partition) && position >= self.from;
                wanted.then(|| (position, bodies.value(row).to_vec()))
            });
            self.rows = rows.collect::<Vec<_>>().into_iter();
        }
    }
}

impl Merge {
    /// Opens every file that may hold the next record.
    fn open_due(&mut self) -> Result<(), ScanError> {
        while let Some((least, path)) = self.waiting.last() {
            if self.heads.peek().is_some_and(|Reverse((position, ..))| position < least) {
                break;
            }
            let source = Source::open(&self.lake, path, self.log_partition, self.from)?;
            self.waiting.pop();
            self.sources.push(Some(source));
            self.refill(self.sources.len() - 1)?;
        }
        Ok(())
    }

    /// Puts the next record of a file among the heads, or closes it.
    fn refill(&mut self, idx: usize) -> Result<(), ScanError> {
        let Some(source) = &mut self.sources[idx] else { return Ok(()) };
        match source.next()? {
            Some((position, body)) => self.heads.push(Reverse((position, idx, body))),
            None => self.sources[idx] = None,
        }
        Ok(())
    }
}

impl Iterator for Merge {
    type Item = Result<StoredRecord, ScanError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Err(error) = self.open_due() {
            return Some(Err(error));
        }
        let Reverse((position, idx, body)) = self.heads.pop()?;
        match self.refill(idx) {
            Ok(()) => Some(Ok(StoredRecord { position, body })),
            Err(error) => Some(Err(error)),
        }
    }
}
