//! The log: the boundary between ingest, which appends, and the processor, which polls.
//!
//! A topic has a fixed number of partitions. A record is opaque bytes; its place is (partition, position), and
//! positions of a partition rise by one, from 0 unless the log goes on for another one. Every range is half-open, and a
//! position always names *the next record* to append or to read.
//!
//! Two backends: [`DiskLog`] in this process, and [`KafkaLog`] for several. Invariants, whatever the backend (the conformance
//! suite in `conformance.rs` is their executable form):
//!
//! - [`EventLog::append`] returns success only after its records are durable, and a record is never readable before it
//!   is durable;
//! - records of one partition are read in the order of their positions, without gaps, each exactly as it was appended;
//! - after a failed flush to disk the log takes no more records and says so: it never retries the flush;
//! - the log never interprets a record, and never forgets one that the caller protects.
//!
//! It is no message queue: it has no consumer offsets (the warehouse keeps the checkpoint, in the same transaction as
//! the results; what Kafka is told of it is for lag tools), no acknowledgement, no transactions over partitions.

#[cfg(test)]
mod conformance;
mod disk;
mod kafka;
mod rebased;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use schemas::Timestamp;
use thiserror::Error;

pub use disk::{DiskLog, DiskLogConfig, OpenError};
pub use kafka::{Compression, KafkaLog, KafkaLogConfig, KafkaOpenError, is_secret_property};
pub use rebased::rebased;

/// Number of a partition, from 0.
pub type Partition = u16;

/// The next record of a partition to append or to read; the first is 0.
pub type Position = u64;

/// A record to append.
#[derive(Debug, Clone)]
pub struct NewRecord {
    /// Where it belongs.
    pub partition: Partition,
    /// The server's stamp in it: decides when it is old enough to be forgotten.
    pub log_time: Timestamp,
    /// The record.
    pub bytes: Bytes,
}

/// A record of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// Its partition.
    pub partition: Partition,
    /// Its position: its address for ever.
    pub position: Position,
    /// The bytes that were appended.
    pub bytes: Bytes,
}

/// The positions a partition holds: `[low, high)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionRange {
    /// The oldest record kept.
    pub low: Position,
    /// Where the next record will be appended.
    pub high: Position,
}

/// Records of a log that are not committed, by partition: what each holds from these positions on. One without a position
/// was not begun.
#[must_use]
pub fn records_behind(ranges: &[PartitionRange], positions: &[Position]) -> Vec<u64> {
    let positions = positions.iter().copied().chain(std::iter::repeat(0));
    ranges.iter().zip(positions).map(|(range, position)| range.high.saturating_sub(position)).collect()
}

/// Figures of a log since it was opened, and its state.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogStats {
    /// Records made durable.
    pub appended_records: u64,
    /// Their bytes.
    pub appended_bytes: u64,
    /// Groups of appends that were made durable together, each by one flush to disk. Kafka: appends.
    pub flushes: u64,
    /// Time spent in them, microseconds. Kafka: from the append to the brokers' answer, overlapping ones each.
    pub flush_us: u64,
    /// Bytes accepted but not yet durable.
    pub queued_bytes: u64,
    /// Why the log takes no more records, if it does not.
    pub read_only: Option<String>,
    /// The connections to brokers, if there are brokers.
    pub brokers: Option<Brokers>,
}

/// Connections to the brokers of a cluster, as the producing side sees them. A broker that was never needed is neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Brokers {
    /// Connected.
    pub up: u32,
    /// Not connected, and tried again.
    pub down: u32,
}

/// Why records were not appended. After [`Self::Unavailable`] some of them may be in the log all the same; a retry is
/// deduplicated downstream.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum AppendError {
    /// Too much is waiting for the disk or the broker: try again soon.
    #[error("log queue is full")]
    Overloaded,
    /// A record is larger than the log takes.
    #[error("record of {bytes} bytes is larger than the log takes ({max_bytes})")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max_bytes: usize,
    },
    /// The log takes no more records until an operator has acted.
    #[error("log is read-only: {0}")]
    ReadOnly(String),
    /// The backend did not confirm in time.
    #[error("log did not confirm the append: {0}")]
    Unavailable(String),
}

/// Why records could not be read.
#[derive(Debug, Error)]
pub enum PollError {
    /// The wanted position is not in the log. Never answered by a silent reset: data would be lost or counted twice.
    #[error("position {position} of partition {partition} is outside the log's range {}..{}", range.low, range.high)]
    OutOfRange {
        /// The partition.
        partition: Partition,
        /// The wanted position.
        position: Position,
        /// What the log holds.
        range: PartitionRange,
    },
    /// The backend failed.
    #[error("read partition {partition} at {position}")]
    Backend {
        /// The partition.
        partition: Partition,
        /// The position.
        position: Position,
        /// What it said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Taking part in the group of readers failed.
    #[error("read the log as one of its group: {0}")]
    Group(String),
}

/// The writing side, and what is common to both.
pub trait EventLog: fmt::Debug + Send + Sync {
    /// Names this log, for as long as it lives: one that was made anew has another name. A position means nothing in
    /// another log.
    fn identity(&self) -> &str;

    /// How many partitions the topic has, fixed for its life.
    fn partitions(&self) -> Partition;

    /// Appends the records; those of one partition in their order. On success all are durable, and their positions are
    /// returned in the order of `records`.
    ///
    /// # Errors
    ///
    /// [`AppendError`]. Nothing is promised about which of the records are in the log then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not take the records back: they may still be appended.
    fn append(&self, records: Vec<NewRecord>) -> BoxFuture<'_, Result<Vec<Position>, AppendError>>;

    /// Begins to read, as one member of the group of readers that share the partitions.
    fn subscribe(&self) -> Box<dyn LogConsumer>;

    /// What each partition holds, by partition number.
    fn ranges(&self) -> Vec<PartitionRange>;

    /// Forgets records that are older than `before` and below `protected` (a position per partition: what is at or
    /// above it stays). Whole segments only, so more may stay. Returns how many records were forgotten.
    ///
    /// # Errors
    ///
    /// What the backend said.
    fn forget(&self, protected: &[Position], before: Timestamp) -> Result<u64, AppendError>;

    /// Figures and state.
    fn stats(&self) -> LogStats;
}

/// The reading side.
pub trait LogConsumer: fmt::Debug + Send {
    /// Returns the next thing that happens, or [`Polled::Idle`] after `wait`.
    ///
    /// # Errors
    ///
    /// [`PollError`]; the consumer can be polled again.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a dropped future has delivered nothing.
    fn poll(&mut self, max_bytes: usize, wait: Duration) -> BoxFuture<'_, Result<Polled, PollError>>;

    /// Says where to read an assigned partition from; before that none of its records are delivered. Said again, it is
    /// read on from there, and nothing that was under way is delivered. The position comes from the warehouse's checkpoint.
    ///
    /// # Errors
    ///
    /// [`PollError::OutOfRange`]; [`PollError::Backend`] if the range could not be asked for.
    fn start_at(&mut self, partition: Partition, position: Position) -> Result<(), PollError>;

    /// Delivers no more of a partition's records, until [`Self::start_at`] says so again. It stays assigned.
    ///
    /// # Errors
    ///
    /// [`PollError::Group`].
    fn stop(&mut self, partition: Partition) -> Result<(), PollError>;

    /// Stays in the group of consumers while its owner is busy with something else for long. Nothing is delivered and nothing
    /// is decided meanwhile; the next poll goes on. To be called every few seconds.
    ///
    /// # Errors
    ///
    /// [`PollError::Group`].
    fn stay(&mut self) -> Result<(), PollError> {
        Ok(())
    }

    /// Tells that everything below `position` is committed. A hint for tools that look at the backend: nothing is ever read
    /// from it, and it may get lost.
    fn note_committed(&mut self, _partition: Partition, _position: Position) {}
}

/// What a poll brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Polled {
    /// These partitions are this consumer's from now on, and only these. State of others is void. Those that were its own
    /// before go on where they are; each other waits for [`LogConsumer::start_at`]. With more consumers than partitions some
    /// have none.
    Assigned(Vec<Partition>),
    /// These partitions are about to go to another consumer. What was taken of them can still be committed now; the next
    /// poll gives them up, and is answered by [`Polled::Assigned`]. No promise: who was taken for dead is not asked.
    Revoking(Vec<Partition>),
    /// Records, ascending by position within each partition, none of a partition assigned to another consumer.
    Records(Vec<LogRecord>),
    /// Nothing new.
    Idle,
}
