//! A log that lost its end, and what it was given since.
//!
//! Brokers that lose power together, or a log that is restored from an older copy, come back without the last records that
//! they had confirmed. What was committed of these stays committed. But what is appended next gets their positions: below
//! the checkpoint, where nothing is ever read. Those records are appended once more, above it, and so get an address of
//! their own.
//!
//! What tells them apart is log time: its running maximum at the checkpoint is above every record that was committed, and
//! below every one that came after, as far as the clocks of ingest services agree.
//!
//! It can be done again whenever it ended early: what fills the log is as new as what came since, so that the checkpoint
//! stays above it, and processors stop, until the last step; and a copy of a record is counted once.

use std::time::{Duration, Instant};

use event_log::{AppendError, EventLog, LogConsumer, LogRecord, NewRecord, PollError, Polled};
use schemas::Timestamp;
use schemas::record::{self, Record};
use thiserror::Error;
use warehouse::{Checkpoint, OrderError, ReadError, Warehouse};

use crate::EVENTS_TOPIC;
use crate::fold::log_time_of;

/// Bytes per poll.
const POLL_BYTES: usize = 2 << 20;
/// Ticks that are appended together.
const TICKS: usize = 1000;
/// The log has to answer within this, and the group to give out its partitions.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL_WAIT: Duration = Duration::from_millis(200);

/// What was done to a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mended {
    /// The partition.
    pub log_partition: u16,
    /// Ticks that took the place of records which the log has lost.
    pub filled: u64,
    /// Records below the checkpoint that were appended once more.
    pub again: u64,
}

/// Why a log could not be mended. It can be tried again.
#[derive(Debug, Error)]
pub enum MendError {
    /// Another processor has partitions.
    #[error("the log does not give all of its partitions to this process: stop all processors first")]
    NotAlone,
    /// The log has records, and does not hand them out.
    #[error("the log does not hand out record {position} of partition {partition}")]
    Silent {
        /// The partition.
        partition: u16,
        /// The record.
        position: u64,
    },
    /// Reading the log.
    #[error(transparent)]
    Poll(#[from] PollError),
    /// Appending to it.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// Reading the warehouse.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Writing down the log time.
    #[error(transparent)]
    Order(#[from] OrderError),
}

/// Takes care that everything is taken in which a log was given after it had lost its end. Ingest services may go on
/// meanwhile, processors must not. Returns the partitions where something was to be done.
///
/// # Errors
///
/// [`MendError`].
pub async fn mend(log: &dyn EventLog, warehouse: &Warehouse, now: Timestamp) -> Result<Vec<Mended>, MendError> {
    let checkpoints = warehouse.checkpoints(EVENTS_TOPIC, log.partitions()).await?;
    let mut reader = Reader::new(log).await?;
    let mut mended = Vec::new();
    for checkpoint in checkpoints {
        let Some(log_time) = checkpoint.log_time else { continue };
        mended.extend(mend_partition(log, &mut reader, warehouse, (checkpoint, log_time), now).await?);
    }
    Ok(mended)
}

async fn mend_partition(
    log: &dyn EventLog,
    reader: &mut Reader,
    warehouse: &Warehouse,
    (Checkpoint { log_partition, position: upto, .. }, log_time): (Checkpoint, Timestamp),
    now: Timestamp,
) -> Result<Option<Mended>, MendError> {
    let Some(range) = log.ranges().get(usize::from(log_partition)).copied() else { return Ok(None) };
    // First of all, so that nothing more is appended below the checkpoint.
    let filled = upto.saturating_sub(range.high);
    let filling = now.max(Timestamp::from_micros(log_time.micros() + 1));
    let tick = record::encode(&Record::Tick { log_time: filling });
    let tick = NewRecord { partition: log_partition, log_time: filling, bytes: tick.into() };
    for from in (0..filled).step_by(TICKS) {
        let some = usize::try_from(filled - from).unwrap_or(TICKS).min(TICKS);
        log.append(vec![tick.clone(); some]).await?;
    }
    // Backwards, twice as far each time, to a record that was committed.
    let is_old = |record: &LogRecord| log_time_of(record).is_some_and(|(stamped, _)| stamped <= log_time);
    let (mut first, mut step) = (upto.min(range.high), 1);
    while first > range.low {
        first = first.saturating_sub(step).max(range.low);
        step *= 2;
        if reader.read(log_partition, first, 1).await?.first().is_some_and(is_old) {
            break;
        }
    }
    let (mut again, mut newest) = (0, log_time);
    while first < upto {
        let records = reader.read(log_partition, first, POLL_BYTES).await?;
        let mut copies = Vec::new();
        for record in records.iter().filter(|record| record.position < upto) {
            let Some((stamped, is_tick)) = log_time_of(record).filter(|(stamped, _)| *stamped > log_time) else {
                continue;
            };
            newest = newest.max(stamped);
            if !is_tick {
                copies.push(NewRecord { partition: log_partition, log_time: stamped, bytes: record.bytes.clone() });
            }
        }
        again += copies.len() as u64;
        log.append(copies).await?;
        first = records.last().map_or(upto, |last| last.position + 1);
    }
    if newest == log_time {
        return Ok(None);
    }
    warehouse.note_log_time(EVENTS_TOPIC, log_partition, upto, newest).await?;
    Ok(Some(Mended { log_partition, filled, again }))
}

/// Reads records wherever they are asked for. It has all partitions: nobody else takes in any meanwhile.
struct Reader {
    consumer: Box<dyn LogConsumer>,
}

impl Reader {
    async fn new(log: &dyn EventLog) -> Result<Self, MendError> {
        let mut consumer = log.subscribe();
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Polled::Assigned(partitions) = consumer.poll(POLL_BYTES, POLL_WAIT).await?
                && partitions.len() == usize::from(log.partitions())
            {
                return Ok(Self { consumer });
            }
        }
        Err(MendError::NotAlone)
    }

    /// Records from this position on, at least one.
    async fn read(&mut self, partition: u16, position: u64, max_bytes: usize) -> Result<Vec<LogRecord>, MendError> {
        self.consumer.start_at(partition, position)?;
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            match self.consumer.poll(max_bytes, POLL_WAIT).await? {
                Polled::Records(records) => {
                    self.consumer.stop(partition)?;
                    return Ok(records);
                }
                Polled::Idle => {}
                Polled::Assigned(_) | Polled::Revoking(_) => return Err(MendError::NotAlone),
            }
        }
        Err(MendError::Silent { partition, position })
    }
}

#[cfg(test)]
mod tests;
