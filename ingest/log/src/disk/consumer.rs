//! Reads the partitions in turn, from where it was told to start.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::watch;

use super::Shared;
use crate::{LogConsumer, Partition, PartitionRange, PollError, Polled, Position};

/// The only reader of a [`super::DiskLog`]: all partitions are its own.
#[derive(Debug)]
pub(super) struct DiskConsumer {
    shared: Arc<Shared>,
    high: watch::Receiver<Vec<Position>>,
    assigned: bool,
    /// Where to read on, by partition; `None` until told where to start.
    next: Vec<Option<Position>>,
    /// The partition that is read first at the next poll, so that none starves.
    turn: usize,
}

impl DiskConsumer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let high = shared.high.subscribe();
        let next = vec![None; usize::from(shared.config.partitions)];
        Self { shared, high, assigned: false, next, turn: 0 }
    }

    async fn poll_once(&mut self, max_bytes: usize, wait: Duration) -> Result<Polled, PollError> {
        if !self.assigned {
            self.assigned = true;
            return Ok(Polled::Assigned((0..self.shared.config.partitions).collect()));
        }
        if let Some(records) = self.read(max_bytes)? {
            return Ok(Polled::Records(records));
        }
        // Either new records or the end of the wait; what matters is read below.
        let _ = tokio::time::timeout(wait, self.high.changed()).await;
        Ok(self.read(max_bytes)?.map_or(Polled::Idle, Polled::Records))
    }

    fn read(&mut self, max_bytes: usize) -> Result<Option<Vec<crate::LogRecord>>, PollError> {
        let high = self.high.borrow_and_update().clone();
        let partitions = self.next.len();
        let mut records = Vec::new();
        let mut bytes = 0;
        for step in 0..partitions {
            let index = (self.turn + step) % partitions;
            let Some(from) = self.next[index] else { continue };
            if from >= high[index] || bytes >= max_bytes {
                continue;
            }
            let partition = Partition::try_from(index).unwrap_or(Partition::MAX);
            let read = self
                .shared
                .segments
                .read(partition, from, high[index], max_bytes - bytes)
                .map_err(|source| PollError::Backend { partition, position: from, source })?;
            if let Some(last) = read.last() {
                self.next[index] = Some(last.position + 1);
            }
            bytes += read.iter().map(|record| record.bytes.len()).sum::<usize>();
            records.extend(read);
        }
        self.turn = (self.turn + 1) % partitions.max(1);
        Ok((!records.is_empty()).then_some(records))
    }
}

impl LogConsumer for DiskConsumer {
    fn poll(&mut self, max_bytes: usize, wait: Duration) -> BoxFuture<'_, Result<Polled, PollError>> {
        Box::pin(self.poll_once(max_bytes, wait))
    }

    fn start_at(&mut self, partition: Partition, position: Position) -> Result<(), PollError> {
        let index = usize::from(partition);
        let low = self.shared.segments.low_positions().get(index).copied().unwrap_or(0);
        let high = self.high.borrow().get(index).copied().unwrap_or(0);
        if position < low || position > high {
            let range = PartitionRange { low, high };
            return Err(PollError::OutOfRange { partition, position, range });
        }
        self.next[index] = Some(position);
        Ok(())
    }

    fn stop(&mut self, partition: Partition) -> Result<(), PollError> {
        if let Some(next) = self.next.get_mut(usize::from(partition)) {
            *next = None;
        }
        Ok(())
    }
}
