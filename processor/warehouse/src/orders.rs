//! What an operator orders about the partitions of a log: that one is not taken in for now, that a record is left out.
//!
//! A pause is a mark on the checkpoint itself, which every commit moves by compare-and-set: from the moment it is there no
//! commit lands, whoever is at work on the partition; and nothing that was begun before it lands afterwards, since pauses are
//! counted there too. A record is left out only while its partition is paused, so that none is folded by somebody who knows
//! nothing of the order.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use schemas::Timestamp;
use thiserror::Error;

use crate::commit::signed;
use crate::database::{Statement, Transaction, composed, sql};
use crate::open::Warehouse;
use crate::read::{ReadError, unsigned};

/// A partition that is not taken in for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PausedPartition {
    /// The partition.
    pub log_partition: u16,
    /// Since when.
    pub since: Timestamp,
    /// Why, in the operator's words.
    pub because: String,
}

/// A record whose events are quarantined instead of folded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedRecord {
    /// Its partition.
    pub log_partition: u16,
    /// Its position.
    pub position: u64,
    /// When that was ordered.
    pub ordered_at: Timestamp,
    /// Why, in the operator's words.
    pub because: String,
}

/// Why an order was not taken. Nothing has changed.
#[derive(Debug, Error)]
pub enum OrderError {
    /// The topic has no such partition, or nothing was taken in of any yet.
    #[error("there is no partition {log_partition}: the warehouse follows {partitions} of them")]
    NoSuchPartition {
        /// The one that was named.
        log_partition: u16,
        /// How many there are, numbered from 0.
        partitions: i64,
    },
    /// Somebody may be folding the record at this moment.
    #[error("partition {log_partition} is not paused: pause it first")]
    NotPaused {
        /// The partition.
        log_partition: u16,
    },
    /// What is committed stays.
    #[error("record {position} of partition {log_partition} was taken in: the next one is {next}")]
    TakenIn {
        /// The partition.
        log_partition: u16,
        /// The record.
        position: u64,
        /// The first that can be left out.
        next: u64,
    },
    /// The log has all that comes next.
    #[error("partition {log_partition} lacks nothing: the next record is {next}, and the log has them from {low} on")]
    NothingLost {
        /// The partition.
        log_partition: u16,
        /// The next record to be taken in.
        next: u64,
        /// The first that the log has.
        low: u64,
    },
    /// Somebody takes in this partition at this moment.
    #[error("partition {log_partition} moved from {from} to {next} meanwhile: stop the processors first")]
    Moved {
        /// The partition.
        log_partition: u16,
        /// Where it was.
        from: u64,
        /// The next record to be taken in.
        next: u64,
    },
    /// The database.
    #[error("write the warehouse database")]
    Database(#[from] sqlx::Error),
}

impl Warehouse {
    /// Has no commit move this partition any more. What is known of it stays, and its records wait in the log. If it was
    /// paused already, the former time and reason stay.
    ///
    /// # Errors
    ///
    /// [`OrderError`].
    pub async fn pause(
        &self,
        topic: &str,
        log_partition: u16,
        because: &str,
        now: Timestamp,
    ) -> Result<(), OrderError> {
        let pause = sql("UPDATE checkpoint SET paused_us = $1, paused_because = $2, pauses = pauses + 1 \
             WHERE topic = $3 AND log_partition = $4 AND paused_us IS NULL");
        let pause = pause.bind(now.micros()).bind(because).bind(topic).bind(log_partition);
        self.order(pause, topic, log_partition).await
    }

    /// Lets a partition be taken in again, from where it was.
    ///
    /// # Errors
    ///
    /// [`OrderError`].
    pub async fn resume(&self, topic: &str, log_partition: u16) -> Result<(), OrderError> {
        let resume = sql("UPDATE checkpoint SET paused_us = NULL, paused_because = NULL \
             WHERE topic = $1 AND log_partition = $2");
        self.order(resume.bind(topic).bind(log_partition), topic, log_partition).await
    }

    async fn order(&self, order: Statement, topic: &str, log_partition: u16) -> Result<(), OrderError> {
        let mut transaction = self.shared.database.write().await?;
        order.run(&mut transaction).await?;
        // Says so if there is no such partition.
        locked(&mut transaction, topic, log_partition).await?;
        Ok(transaction.commit().await?)
    }

    /// Has the events of a record quarantined when its partition is taken in again, for ever and in every rebuild: the order
    /// cannot be taken back. Its partition must be paused.
    ///
    /// # Errors
    ///
    /// [`OrderError`].
    pub async fn skip(&self, topic: &str, record: &SkippedRecord) -> Result<(), OrderError> {
        let (log_partition, position) = (record.log_partition, record.position);
        let mut transaction = self.shared.database.write().await?;
        let (next, is_paused) = locked(&mut transaction, topic, log_partition).await?;
        if !is_paused {
            return Err(OrderError::NotPaused { log_partition });
        }
        if position < next {
            return Err(OrderError::TakenIn { log_partition, position, next });
        }
        note_skipped(&mut transaction, topic, record, "DO NOTHING").await?;
        Ok(transaction.commit().await?)
    }

    /// Gives up the records of a partition that the log has not any more: it is taken in from `low` on, the first that is
    /// there. They were never counted; what is left of them is the order, kept like one that leaves out the first of them.
    /// Returns their positions. The partition must be paused.
    ///
    /// # Errors
    ///
    /// [`OrderError`].
    pub async fn give_up_lost(
        &self,
        topic: &str,
        log_partition: u16,
        low: u64,
        because: &str,
        now: Timestamp,
    ) -> Result<Range<u64>, OrderError> {
        let mut transaction = self.shared.database.write().await?;
        let (next, is_paused) = locked(&mut transaction, topic, log_partition).await?;
        if !is_paused {
            return Err(OrderError::NotPaused { log_partition });
        }
        if next >= low {
            return Err(OrderError::NothingLost { log_partition, next, low });
        }
        sql("UPDATE checkpoint SET position = $1 WHERE topic = $2 AND log_partition = $3")
            .bind(signed(low))
            .bind(topic)
            .bind(log_partition)
            .run(&mut transaction)
            .await?;
        let because = format!("{next} to {} were gone from the log and were given up: {because}", low - 1);
        let first = SkippedRecord { log_partition, position: next, ordered_at: now, because };
        // Also where the first of them was to be skipped: this is what became of it.
        let kept = "(topic, log_partition, log_position) DO UPDATE SET because = excluded.because, ordered_us = excluded.ordered_us";
        note_skipped(&mut transaction, topic, &first, kept).await?;
        transaction.commit().await?;
        Ok(next..low)
    }

    /// Notes that log time has come to this instant with the records below a checkpoint, which stays where it is.
    ///
    /// # Errors
    ///
    /// [`OrderError`].
    pub async fn note_log_time(
        &self,
        topic: &str,
        log_partition: u16,
        from: u64,
        log_time: Timestamp,
    ) -> Result<(), OrderError> {
        let mut transaction = self.shared.database.write().await?;
        let (next, _) = locked(&mut transaction, topic, log_partition).await?;
        if next != from {
            return Err(OrderError::Moved { log_partition, from, next });
        }
        let later = "log_time_us = CASE WHEN log_time_us > $1 THEN log_time_us ELSE $1 END";
        composed(format!("UPDATE checkpoint SET {later} WHERE topic = $2 AND log_partition = $3"))
            .bind(log_time.micros())
            .bind(topic)
            .bind(log_partition)
            .run(&mut transaction)
            .await?;
        Ok(transaction.commit().await?)
    }

    /// The partitions that are paused.
    ///
    /// # Errors
    ///
    /// [`ReadError::Database`].
    pub async fn paused(&self, topic: &str) -> Result<Vec<PausedPartition>, ReadError> {
        let rows = sql("SELECT log_partition, paused_us, paused_because FROM checkpoint \
                        WHERE topic = $1 AND paused_us IS NOT NULL ORDER BY log_partition")
        .bind(topic)
        .rows(&mut self.shared.database.read().await?)
        .await?;
        let paused = rows.iter().map(|row| PausedPartition {
            log_partition: partition(row.get(0)),
            since: Timestamp::from_micros(row.get(1)),
            because: row.get::<Option<String>>(2).unwrap_or_default(),
        });
        Ok(paused.collect())
    }

    /// The records that are left out, by their address.
    ///
    /// # Errors
    ///
    /// [`ReadError::Database`].
    pub async fn skipped(&self, topic: &str) -> Result<Vec<SkippedRecord>, ReadError> {
        let rows = sql("SELECT log_partition, log_position, ordered_us, because FROM skipped_record \
                        WHERE topic = $1 ORDER BY log_partition, log_position")
        .bind(topic)
        .rows(&mut self.shared.database.read().await?)
        .await?;
        let skipped = rows.iter().map(|row| SkippedRecord {
            log_partition: partition(row.get(0)),
            position: unsigned(row.get(1)),
            ordered_at: Timestamp::from_micros(row.get(2)),
            because: row.get(3),
        });
        Ok(skipped.collect())
    }

    /// The positions of the same, for who folds them.
    ///
    /// # Errors
    ///
    /// [`ReadError::Database`].
    pub async fn skipped_positions(&self, topic: &str) -> Result<BTreeMap<u16, BTreeSet<u64>>, ReadError> {
        let mut positions: BTreeMap<u16, BTreeSet<u64>> = BTreeMap::new();
        for record in self.skipped(topic).await? {
            positions.entry(record.log_partition).or_default().insert(record.position);
        }
        Ok(positions)
    }
}

fn partition(number: i64) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

/// Lists a record; `conflict` says what is done if it is listed.
async fn note_skipped(
    transaction: &mut Transaction,
    topic: &str,
    record: &SkippedRecord,
    conflict: &'static str,
) -> Result<(), sqlx::Error> {
    let SkippedRecord { log_partition, position, ordered_at, because } = record;
    let insert = "INSERT INTO skipped_record (topic, log_partition, log_position, because, ordered_us)";
    composed(format!("{insert} VALUES ($1, $2, $3, $4, $5) ON CONFLICT {conflict}"))
        .bind(topic)
        .bind(*log_partition)
        .bind(signed(*position))
        .bind(because)
        .bind(ordered_at.micros())
        .run(transaction)
        .await?;
    Ok(())
}

/// The next record of a partition, which nobody moves before the transaction ends, and whether it is paused.
async fn locked(transaction: &mut Transaction, topic: &str, log_partition: u16) -> Result<(u64, bool), OrderError> {
    let select = "SELECT position, paused_us FROM checkpoint WHERE topic = $1 AND log_partition = $2";
    let select = format!("{select}{}", transaction.for_update());
    if let Some(row) = composed(select).bind(topic).bind(log_partition).first(transaction).await? {
        return Ok((unsigned(row.get(0)), row.get::<Option<i64>>(1).is_some()));
    }
    let partitions = sql("SELECT count(*) FROM checkpoint WHERE topic = $1").bind(topic).value(transaction).await?;
    Err(OrderError::NoSuchPartition { log_partition, partitions })
}
