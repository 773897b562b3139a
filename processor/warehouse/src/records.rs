//! The event store in log order: what is folded again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use schemas::Timestamp;

use crate::lake::{Lake, ScanError, scan_parquet_where};
use crate::read::{DataFile, Snapshot};
use crate::tables::RECORDS;

/// A record of the log as `records` keeps it; in the order of positions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoredRecord {
    /// Its position in its partition.
    pub position: u64,
    /// The stamp in it; of one that could not be read the log time of its partition.
    pub log_time: Timestamp,
    /// How its upload was written.
    pub format: String,
    /// The payload: see `schemas::record`. Of a record that could not be read, all its bytes.
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
    heads: BinaryHeap<Reverse<(StoredRecord, usize)>>,
}

type Batches = Box<dyn Iterator<Item = Result<RecordBatch, ScanError>> + Send>;

struct Source {
    batches: Batches,
    rows: std::vec::IntoIter<StoredRecord>,
}

impl Source {
    fn open(lake: &Lake, path: &str, log_partition: u16, from: u64) -> Result<Self, ScanError> {
        let place = ["log_partition", "log_position"];
        let wanted = move |places: &RecordBatch| -> BooleanArray {
            let partitions = places.column(0).as_primitive::<Int32Type>().values().iter();
            let positions = places.column(1).as_primitive::<Int64Type>().values().iter();
            let is_wanted = |(partition, position): (&i32, &i64)| {
                *partition == i32::from(log_partition)
                    && u64::try_from(*position).is_ok_and(|position| position >= from)
            };
            partitions.zip(positions).map(is_wanted).collect::<Vec<bool>>().into()
        };
        let columns = ["log_position", "log_time", "format", "body"];
        let batches = scan_parquet_where(lake, &RECORDS, path, &columns, 64, (&place, Box::new(wanted)))?;
        Ok(Self { batches: Box::new(batches), rows: Vec::new().into_iter() })
    }

    fn next(&mut self) -> Result<Option<StoredRecord>, ScanError> {
        loop {
            if let Some(row) = self.rows.next() {
                return Ok(Some(row));
            }
            let Some(batch) = self.batches.next() else { return Ok(None) };
            let batch = batch?;
            let positions = batch.column(0).as_primitive::<Int64Type>();
            let log_times = batch.column(1).as_primitive::<TimestampMicrosecondType>();
            let formats = batch.column(2).as_string::<i32>();
            let bodies = batch.column(3).as_binary::<i32>();
            let record = |row: usize| StoredRecord {
                position: u64::try_from(positions.value(row)).unwrap_or(0),
                log_time: Timestamp::from_micros(log_times.value(row)),
                format: formats.value(row).to_owned(),
                body: bodies.value(row).to_vec(),
            };
            self.rows = (0..batch.num_rows()).map(record).collect::<Vec<_>>().into_iter();
        }
    }
}

impl Merge {
    /// Opens every file that may hold the next record.
    fn open_due(&mut self) -> Result<(), ScanError> {
        while let Some((least, path)) = self.waiting.last() {
            if self.heads.peek().is_some_and(|Reverse((record, _))| record.position < *least) {
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
            Some(record) => self.heads.push(Reverse((record, idx))),
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
        let Reverse((record, idx)) = self.heads.pop()?;
        match self.refill(idx) {
            Ok(()) => Some(Ok(record)),
            Err(error) => Some(Err(error)),
        }
    }
}
