//! The log as the lake remembers it: the records that were taken in, without the ticks among them.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use event_log::{LogConsumer, LogRecord, Partition, PartitionRange, PollError, Polled, Position};
use futures::future::BoxFuture;
use schemas::Timestamp;
use schemas::record::{self, Record};
use warehouse::{Checkpoint, Lake, ScanError, Snapshot, StoredRecord};

use crate::fold::UNREADABLE_WIRE;

/// Reads `records` one partition after the other, each from its beginning to its checkpoint. Positions have gaps where
/// ticks were. What the missing ticks told is told by others: the last log time of the partition, so that the same
/// sessions are over at the end, and the log time at a record that has no stamp of its own because it cannot be read.
pub(crate) struct StoredLog {
    lake: Lake,
    snapshot: Arc<Snapshot>,
    assigned: bool,
    partitions: VecDeque<StoredPartition>,
}

struct StoredPartition {
    /// Where it ends.
    end: Checkpoint,
    /// The next record to read.
    next: Position,
    records: Option<Records>,
}

type Records = Box<dyn Iterator<Item = Result<StoredRecord, ScanError>> + Send>;

impl fmt::Debug for StoredLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredLog").field("commit", &self.snapshot.commit).finish_non_exhaustive()
    }
}

impl StoredLog {
    /// What a lake holds of the log, up to these checkpoints.
    pub(crate) fn new(lake: Lake, snapshot: Arc<Snapshot>, checkpoints: &[Checkpoint]) -> Self {
        let partition = |end: &Checkpoint| StoredPartition { end: *end, next: 0, records: None };
        Self { lake, snapshot, assigned: false, partitions: checkpoints.iter().map(partition).collect() }
    }

    fn poll_once(&mut self, max_bytes: usize) -> Result<Polled, PollError> {
        if !self.assigned {
            self.assigned = true;
            return Ok(Polled::Assigned(self.partitions.iter().map(|partition| partition.end.log_partition).collect()));
        }
        while let Some(partition) = self.partitions.front_mut() {
            let records = partition.read(&self.lake, &self.snapshot, max_bytes);
            let records = records.map_err(|source| PollError::Backend {
                partition: partition.end.log_partition,
                position: partition.next,
                source: source.into(),
            })?;
            if partition.next == partition.end.position {
                self.partitions.pop_front();
            }
            if !records.is_empty() {
                return Ok(Polled::Records(records));
            }
        }
        Ok(Polled::Idle)
    }
}

impl StoredPartition {
    /// Records of about so many bytes, at least one before the end.
    fn read(&mut self, lake: &Lake, snapshot: &Snapshot, max_bytes: usize) -> Result<Vec<LogRecord>, ScanError> {
        let (mut records, mut bytes) = (Vec::new(), 0);
        if self.records.is_none() {
            self.records = Some(Box::new(snapshot.records(lake, self.end.log_partition, self.next)?));
        }
        while self.next < self.end.position && bytes < max_bytes {
            let Some(stored) = self.records.as_mut().and_then(Iterator::next).transpose()? else {
                records.extend(self.end.log_time.map(|log_time| self.tick(self.end.position - 1, log_time)));
                self.next = self.end.position;
                break;
            };
            bytes += stored.body.len();
            self.next = stored.position + 1;
            let is_unreadable = stored.format == UNREADABLE_WIRE;
            let passed = if self.next == self.end.position {
                self.end.log_time
            } else {
                is_unreadable.then_some(stored.log_time)
            };
            // Whatever stood there, a tick only says that time passed.
            let before = stored.position.checked_sub(1);
            records.extend(before.zip(passed).map(|(position, log_time)| self.tick(position, log_time)));
            let frame = if is_unreadable { stored.body } else { record::frame(&stored.body) };
            records.push(self.record(stored.position, frame));
        }
        Ok(records)
    }

    fn record(&self, position: Position, frame: Vec<u8>) -> LogRecord {
        LogRecord { partition: self.end.log_partition, position, bytes: frame.into() }
    }

    fn tick(&self, position: Position, log_time: Timestamp) -> LogRecord {
        self.record(position, record::encode(&Record::Tick { log_time }))
    }
}

impl LogConsumer for StoredLog {
    fn poll(&mut self, max_bytes: usize, _wait: Duration) -> BoxFuture<'_, Result<Polled, PollError>> {
        Box::pin(async move { self.poll_once(max_bytes) })
    }

    fn start_at(&mut self, partition: Partition, position: Position) -> Result<(), PollError> {
        let stored = self.partitions.iter_mut().find(|stored| stored.end.log_partition == partition);
        match stored {
            Some(stored) if position <= stored.end.position => {
                stored.next = position;
                Ok(())
            }
            stored => {
                let high = stored.map_or(0, |stored| stored.end.position);
                Err(PollError::OutOfRange { partition, position, range: PartitionRange { low: 0, high } })
            }
        }
    }

    fn stop(&mut self, partition: Partition) -> Result<(), PollError> {
        self.partitions.retain(|stored| stored.end.log_partition != partition);
        Ok(())
    }
}
