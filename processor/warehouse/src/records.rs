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
    /// The records of a partition from a position on, in log order. Reads with one small batch per file in memory.
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
        let mut merge = Merge { sources: Vec::new(), heads: BinaryHeap::new() };
        for file in self.files(&RECORDS).iter().filter(|file| may_hold(file, log_partition, from)) {
            merge.sources.push(Source::open(lake, &file.path, log_partition, from)?);
        }
        for idx in 0..merge.sources.len() {
            merge.refill(idx)?;
        }
        Ok(merge)
    }
}

fn may_hold(file: &DataFile, log_partition: u16, from: u64) -> bool {
    let bounds = |column: &str| file.bounds.get(RECORDS.index_of(column)).and_then(Option::as_ref);
    let number = |text: &String| text.parse::<u64>().unwrap_or(0);
    let partition = bounds("log_partition")
        .is_none_or(|(least, greatest)| (number(least)..=number(greatest)).contains(&u64::from(log_partition)));
    partition && bounds("log_position").is_none_or(|(_, greatest)| number(greatest) >= from)
}

/// Files, each ascending by position, merged.
struct Merge {
    sources: Vec<Source>,
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
        let batches = scan_parquet(lake, path, &["log_partition", "log_position", "body"], 64)?;
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
    fn refill(&mut self, idx: usize) -> Result<(), ScanError> {
        if let Some((position, body)) = self.sources[idx].next()? {
            self.heads.push(Reverse((position, idx, body)));
        }
        Ok(())
    }
}

impl Iterator for Merge {
    type Item = Result<StoredRecord, ScanError>;

    fn next(&mut self) -> Option<Self::Item> {
        let Reverse((position, idx, body)) = self.heads.pop()?;
        match self.refill(idx) {
            Ok(()) => Some(Ok(StoredRecord { position, body })),
            Err(error) => Some(Err(error)),
        }
    }
}
