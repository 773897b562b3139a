//! A log whose positions begin elsewhere: where it goes on for another one, whose positions are known to the world.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use schemas::Timestamp;

use crate::{
    AppendError, EventLog, LogConsumer, LogStats, NewRecord, Partition, PartitionRange, PollError, Polled, Position,
};

/// The log with these added to its positions, one for each partition; as it is if there are none.
///
/// # Panics
///
/// If there are some, and not as many as partitions.
#[must_use]
pub fn rebased(log: Arc<dyn EventLog>, bases: Vec<Position>) -> Arc<dyn EventLog> {
    if bases.is_empty() {
        return log;
    }
    assert_eq!(bases.len(), usize::from(log.partitions()), "each partition has a base");
    Arc::new(Rebased { log, bases: Bases(bases.into()) })
}

#[derive(Debug)]
struct Rebased {
    log: Arc<dyn EventLog>,
    bases: Bases,
}

#[derive(Debug, Clone)]
struct Bases(Arc<[Position]>);

impl Bases {
    fn of(&self, partition: Partition) -> Position {
        self.0.get(usize::from(partition)).copied().unwrap_or(0)
    }

    fn range(&self, partition: Partition, range: PartitionRange) -> PartitionRange {
        let base = self.of(partition);
        PartitionRange { low: base + range.low, high: base + range.high }
    }

    fn error(&self, error: PollError) -> PollError {
        match error {
            PollError::OutOfRange { partition, position, range } => PollError::OutOfRange {
                partition,
                position: self.of(partition) + position,
                range: self.range(partition, range),
            },
            PollError::Backend { partition, position, source } => {
                PollError::Backend { partition, position: self.of(partition) + position, source }
            }
            error @ PollError::Group(_) => error,
        }
    }
}

impl EventLog for Rebased {
    fn identity(&self) -> &str {
        self.log.identity()
    }

    fn partitions(&self) -> Partition {
        self.log.partitions()
    }

    fn append(&self, records: Vec<NewRecord>) -> BoxFuture<'_, Result<Vec<Position>, AppendError>> {
        let bases: Vec<Position> = records.iter().map(|record| self.bases.of(record.partition)).collect();
        Box::pin(async move {
            let positions = self.log.append(records).await?;
            Ok(positions.into_iter().zip(bases).map(|(position, base)| base + position).collect())
        })
    }

    fn subscribe(&self) -> Box<dyn LogConsumer> {
        let (consumer, log, bases) = (self.log.subscribe(), Arc::clone(&self.log), self.bases.clone());
        Box::new(RebasedConsumer { consumer, log, bases })
    }

    fn ranges(&self) -> Vec<PartitionRange> {
        (0..).zip(self.log.ranges()).map(|(partition, range)| self.bases.range(partition, range)).collect()
    }

    fn forget(&self, protected: &[Position], before: Timestamp) -> Result<u64, AppendError> {
        let protected =
            protected.iter().zip(self.bases.0.iter()).map(|(position, base)| position.saturating_sub(*base));
        self.log.forget(&protected.collect::<Vec<_>>(), before)
    }

    fn stats(&self) -> LogStats {
        self.log.stats()
    }
}

#[derive(Debug)]
struct RebasedConsumer {
    consumer: Box<dyn LogConsumer>,
    log: Arc<dyn EventLog>,
    bases: Bases,
}

impl LogConsumer for RebasedConsumer {
    fn poll(&mut self, max_bytes: usize, wait: Duration) -> BoxFuture<'_, Result<Polled, PollError>> {
        Box::pin(async move {
            let mut polled = self.consumer.poll(max_bytes, wait).await.map_err(|error| self.bases.error(error))?;
            if let Polled::Records(records) = &mut polled {
                for record in records {
                    record.position += self.bases.of(record.partition);
                }
            }
            Ok(polled)
        })
    }

    fn start_at(&mut self, partition: Partition, position: Position) -> Result<(), PollError> {
        let Some(of_log) = position.checked_sub(self.bases.of(partition)) else {
            let range = self.log.ranges().get(usize::from(partition)).copied();
            let range = self.bases.range(partition, range.unwrap_or(PartitionRange { low: 0, high: 0 }));
            return Err(PollError::OutOfRange { partition, position, range });
        };
        self.consumer.start_at(partition, of_log).map_err(|error| self.bases.error(error))
    }

    fn stop(&mut self, partition: Partition) -> Result<(), PollError> {
        self.consumer.stop(partition)
    }

    fn stay(&mut self) -> Result<(), PollError> {
        self.consumer.stay().map_err(|error| self.bases.error(error))
    }

    fn note_committed(&mut self, partition: Partition, position: Position) {
        self.consumer.note_committed(partition, position.saturating_sub(self.bases.of(partition)));
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{DiskLog, DiskLogConfig};

    fn record(partition: Partition, text: &'static str) -> NewRecord {
        let log_time = Timestamp::from_micros(1_000_000);
        NewRecord { partition, log_time, bytes: Bytes::from_static(text.as_bytes()) }
    }

    #[tokio::test]
    async fn positions_are_those_of_the_log_plus_a_base_wherever_they_appear() {
        let folder = tempfile::tempdir().unwrap();
        let config = DiskLogConfig { partitions: 2, segment_bytes: 1, ..DiskLogConfig::new(folder.path().join("log")) };
        let disk: Arc<dyn EventLog> = Arc::new(DiskLog::open(config).unwrap());
        let log = rebased(Arc::clone(&disk), vec![100, 7]);
        assert_eq!(log.identity(), disk.identity());
        let texts = [record(0, "a"), record(1, "b"), record(0, "c")];
        assert_eq!(log.append(texts.into()).await, Ok(vec![100, 7, 101]));
        let range = |low, high| PartitionRange { low, high };
        assert_eq!(log.ranges(), [range(100, 102), range(7, 8)]);

        let mut consumer = log.subscribe();
        assert_eq!(consumer.poll(1 << 20, Duration::ZERO).await.unwrap(), Polled::Assigned(vec![0, 1]));
        for position in [0, 99, 103] {
            let refused = consumer.start_at(0, position).unwrap_err().to_string();
            assert_eq!(refused, format!("position {position} of partition 0 is outside the log's range 100..102"));
        }
        consumer.start_at(0, 101).unwrap();
        consumer.start_at(1, 7).unwrap();
        let mut read = Vec::new();
        while let Polled::Records(records) = consumer.poll(1 << 20, Duration::from_millis(50)).await.unwrap() {
            read.extend(records.into_iter().map(|record| (record.partition, record.position, record.bytes)));
        }
        read.sort_unstable();
        assert_eq!(read, [(0, 101, Bytes::from_static(b"c")), (1, 7, Bytes::from_static(b"b"))]);

        // What is protected is named by its position, too.
        log.append(vec![record(0, "d")]).await.unwrap();
        let later = Timestamp::from_micros(2_000_000);
        assert_eq!(log.forget(&[100, 7], later), Ok(0));
        assert_eq!(log.forget(&[102, 8], later), Ok(3));
        assert_eq!(log.ranges()[0], range(102, 103));
        assert_eq!(rebased(disk, Vec::new()).ranges()[0], range(2, 3));
    }
}
