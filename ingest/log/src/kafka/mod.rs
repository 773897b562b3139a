//! The log on Kafka, for several processes.
//!
//! A partition of the log is a partition of the topic, and a position is an offset: without transactions and without
//! compaction, offsets have no gaps. Many processes append, each with an idempotent producer that waits for all in-sync
//! replicas; the readers are one consumer group that shares the partitions. Where to read from is never asked of Kafka: a
//! partition is assigned *at* the warehouse's checkpoint.
//!
//! What Kafka does by itself is not done again: retention is the topic's (`retention.ms`, counted by the records' log time),
//! so forgetting is left to the brokers; a record that the processor has not read yet is not protected from it.

mod consumer;
mod group;
mod identity;
mod producer;
mod ranges;
mod report;
mod settings;
mod topic;

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};

use futures::future::BoxFuture;
use schemas::Timestamp;
use thiserror::Error;

use crate::{AppendError, EventLog, LogConsumer, LogStats, NewRecord, Partition, PartitionRange, Position};
use producer::Producer;
use ranges::Watch;
pub use settings::{Compression, KafkaLogConfig, is_secret_property};

/// Why a log on Kafka could not be opened.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum KafkaOpenError {
    /// A property is not for the configuration to set.
    #[error("property `{0}` is set by the program itself")]
    Property(String),
    /// There is no such way to log in.
    #[error("property `sasl.mechanism` is {0}: SCRAM-SHA-512, SCRAM-SHA-256 and PLAIN are there")]
    Mechanism(String),
    /// The client library does not take the configuration.
    #[error("make a Kafka client: {0}")]
    Client(String),
    /// No broker answered in time, or none that has what is needed.
    #[error("reach Kafka at `{bootstrap}`: {why}")]
    Unreachable {
        /// The brokers asked.
        bootstrap: String,
        /// The last thing that went wrong.
        why: String,
    },
    /// The topic is missing and cannot be created, or cannot be looked at.
    #[error("{what} topic `{topic}`: {why}")]
    Topic {
        /// What was tried.
        what: &'static str,
        /// The topic.
        topic: String,
        /// What the brokers said.
        why: String,
    },
    /// The topic is not what the configuration says. It is never altered: one of the two is a mistake, and an operator
    /// knows which.
    #[error("topic `{topic}` has {setting} {found}, and the configuration says {wanted}")]
    Mismatch {
        /// The topic.
        topic: String,
        /// The setting, as Kafka calls it.
        setting: &'static str,
        /// What the topic has.
        found: String,
        /// What is wanted.
        wanted: String,
    },
}

/// A log on a Kafka topic.
pub struct KafkaLog {
    shared: Arc<Shared>,
    watch: Option<Watch>,
}

impl fmt::Debug for KafkaLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaLog").field("config", &self.shared.config).finish_non_exhaustive()
    }
}

/// What the appending side, the consumers and the watching thread share.
struct Shared {
    config: KafkaLogConfig,
    identity: String,
    producer: Producer,
    read_only: Mutex<Option<String>>,
}

impl KafkaLog {
    /// Creates the topic if it is missing, or checks it, and gets ready to append. Several processes may do so at once.
    /// Waits for brokers that are only starting, at most [`KafkaLogConfig::connect_timeout`].
    ///
    /// # Errors
    ///
    /// [`KafkaOpenError`].
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    pub async fn open(config: KafkaLogConfig) -> Result<Self, KafkaOpenError> {
        blocking(move |runtime| {
            config.check()?;
            let producer = Producer::new(&config)?;
            let topic = topic::ensure(&config, &producer, runtime)?;
            Self::start(config, producer, topic)
        })
        .await
    }

    /// The same of a topic that is there, for who only looks: creates nothing, and is `None` if the topic is missing.
    ///
    /// # Errors
    ///
    /// [`KafkaOpenError`].
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    pub async fn open_existing(config: KafkaLogConfig) -> Result<Option<Self>, KafkaOpenError> {
        blocking(move |runtime| {
            config.check()?;
            let producer = Producer::new(&config)?;
            let topic = topic::look(&config, &producer, runtime)?;
            topic.map(|topic| Self::start(config, producer, topic)).transpose()
        })
        .await
    }

    fn start(config: KafkaLogConfig, producer: Producer, topic: topic::Topic) -> Result<Self, KafkaOpenError> {
        producer.ranges().set_all(topic.ranges);
        let read_only = Mutex::new(None);
        let shared = Arc::new(Shared { identity: topic.identity, producer, read_only, config });
        let watch = Watch::start(Arc::clone(&shared)).map_err(|error| KafkaOpenError::Client(error.to_string()))?;
        Ok(Self { shared, watch: Some(watch) })
    }
}

/// Does what waits for brokers, beside the runtime's threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce(&tokio::runtime::Handle) -> Result<T, KafkaOpenError> + Send + 'static,
) -> Result<T, KafkaOpenError> {
    let runtime = tokio::runtime::Handle::current();
    let done = tokio::task::spawn_blocking(move || work(&runtime)).await;
    done.unwrap_or_else(|panic| Err(KafkaOpenError::Client(panic.to_string())))
}

impl Shared {
    fn read_only(&self) -> Option<String> {
        lock(&self.read_only).clone()
    }
}

/// Locks, also after a panic elsewhere: what these mutexes guard is valid between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl EventLog for KafkaLog {
    /// The cluster's id of the topic: a topic that was made anew has another.
    fn identity(&self) -> &str {
        &self.shared.identity
    }

    fn partitions(&self) -> Partition {
        self.shared.config.partitions
    }

    fn append(&self, records: Vec<NewRecord>) -> BoxFuture<'_, Result<Vec<Position>, AppendError>> {
        if let Some(reason) = self.shared.read_only() {
            return Box::pin(async { Err(AppendError::ReadOnly(reason)) });
        }
        Box::pin(self.shared.producer.append(records))
    }

    fn subscribe(&self) -> Box<dyn LogConsumer> {
        Box::new(consumer::KafkaConsumer::new(Arc::clone(&self.shared)))
    }

    /// As of at most a second ago, and never behind what was appended here.
    fn ranges(&self) -> Vec<PartitionRange> {
        self.shared.producer.ranges().all()
    }

    /// Forgets nothing: the brokers do, by the topic's `retention.ms`, and know nothing of what is protected.
    fn forget(&self, _protected: &[Position], _before: Timestamp) -> Result<u64, AppendError> {
        Ok(0)
    }

    fn stats(&self) -> LogStats {
        let figures = self.shared.producer.figures();
        LogStats {
            appended_records: figures.records.load(Ordering::Relaxed),
            appended_bytes: figures.bytes.load(Ordering::Relaxed),
            flushes: figures.appends.load(Ordering::Relaxed),
            flush_us: figures.waited_us.load(Ordering::Relaxed),
            queued_bytes: figures.queued_bytes.load(Ordering::Relaxed) as u64,
            read_only: self.shared.read_only(),
            brokers: Some(*lock(&figures.brokers)),
        }
    }
}

impl Drop for KafkaLog {
    /// Waits for the appends that were taken, at most [`KafkaLogConfig::close_timeout`].
    fn drop(&mut self) {
        if let Some(watch) = self.watch.take() {
            watch.stop();
        }
        self.shared.producer.flush(self.shared.config.close_timeout);
    }
}

#[cfg(test)]
mod tests;
