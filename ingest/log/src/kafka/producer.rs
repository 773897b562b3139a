//! Appends: each record's delivery is awaited.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use rdkafka::Message;
use rdkafka::client::{Client, ClientContext};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use schemas::record::FRAME_MAX_BYTES;
use serde::Deserialize;
use tokio::sync::oneshot;

use super::ranges::Ranges;
use super::report::Report;
use super::topic::{client_error, number};
use super::{KafkaLogConfig, KafkaOpenError, lock};
use crate::{AppendError, Brokers, NewRecord, Partition, Position};

/// The library gives a record up after `append_timeout`; should its report ever fail to come, the append ends this much
/// later.
const REPORT_GRACE: Duration = Duration::from_secs(1);

/// Figures of the appending side.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) appends: AtomicU64,
    pub(super) records: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) waited_us: AtomicU64,
    /// Bytes of records whose report has not come.
    pub(super) queued_bytes: AtomicUsize,
    pub(super) brokers: Mutex<Brokers>,
}

/// The appending client, and another one if that should die.
pub(super) struct Producer {
    config: KafkaLogConfig,
    common: Arc<Common>,
    client: RwLock<Arc<ThreadedProducer<Events>>>,
}

/// What all clients of a log have in common.
#[derive(Debug)]
struct Common {
    figures: Figures,
    ranges: Ranges,
}

/// What the library calls.
pub(super) struct Events {
    common: Arc<Common>,
    report: Report,
}

/// A record on its way.
pub(super) struct Sent {
    bytes: usize,
    answer: oneshot::Sender<Result<Position, RDKafkaErrorCode>>,
}

impl ClientContext for Events {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.report.line(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.report.error(&error, reason);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        if let Some(brokers) = brokers(statistics) {
            *lock(&self.common.figures.brokers) = brokers;
        }
    }
}

impl ProducerContext for Events {
    type DeliveryOpaque = Box<Sent>;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: Box<Sent>) {
        let outcome = match result {
            // Without its place an append is no success: who retries it is deduplicated.
            Ok(message) => Position::try_from(message.offset()).map_err(|_| RDKafkaErrorCode::NoOffset).inspect(|at| {
                let partition = Partition::try_from(message.partition()).unwrap_or(Partition::MAX);
                self.common.ranges.appended(partition, at + 1);
            }),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown)),
        };
        // Before the answer: who has it finds room for the next.
        self.common.figures.queued_bytes.fetch_sub(sent.bytes, Ordering::AcqRel);
        // An appender that went away still has its records in the log.
        let _ = sent.answer.send(outcome);
    }
}

impl Producer {
    pub(super) fn new(config: &KafkaLogConfig) -> Result<Self, KafkaOpenError> {
        let common = Arc::new(Common { figures: Figures::default(), ranges: Ranges::new(config.partitions) });
        let client = client(config, &common).map_err(|error| client_error(config, &error))?;
        Ok(Self { config: config.clone(), common, client: RwLock::new(Arc::new(client)) })
    }

    pub(super) fn figures(&self) -> &Figures {
        &self.common.figures
    }

    pub(super) fn ranges(&self) -> &Ranges {
        &self.common.ranges
    }

    fn current(&self) -> Arc<ThreadedProducer<Events>> {
        Arc::clone(&self.client.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Hands out the client for questions to the brokers.
    pub(super) fn with_client<T>(&self, ask: impl FnOnce(&Client<Events>) -> T) -> T {
        ask(self.current().client())
    }

    /// The last error that no call asked for.
    pub(super) fn last_error(&self) -> Option<String> {
        self.with_client(|client| client.context().report.last())
    }

    pub(super) async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Position>, AppendError> {
        if let Some(large) = records.iter().find(|record| record.bytes.len() > FRAME_MAX_BYTES) {
            return Err(AppendError::TooLarge { bytes: large.bytes.len(), max_bytes: FRAME_MAX_BYTES });
        }
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let started = Instant::now();
        let bytes: usize = records.iter().map(|record| record.bytes.len()).sum();
        let queued_bytes = &self.common.figures.queued_bytes;
        if queued_bytes.fetch_add(bytes, Ordering::AcqRel) + bytes > self.config.queue_bytes {
            queued_bytes.fetch_sub(bytes, Ordering::AcqRel);
            return Err(AppendError::Overloaded);
        }
        let client = self.current();
        let mut answers = Vec::with_capacity(records.len());
        let mut unsent_bytes = bytes;
        for record in &records {
            let (answer, delivered) = oneshot::channel();
            let sent = Box::new(Sent { bytes: record.bytes.len(), answer });
            if let Err(error) = self.send(&client, record, sent) {
                queued_bytes.fetch_sub(unsent_bytes, Ordering::AcqRel);
                self.renew_if_dead(&client);
                return Err(error);
            }
            unsent_bytes -= record.bytes.len();
            answers.push(async { delivered.await.unwrap_or(Err(RDKafkaErrorCode::BrokerDestroy)) });
        }
        let delivered = tokio::time::timeout(self.config.append_timeout + REPORT_GRACE, try_join_all(answers)).await;
        match delivered.unwrap_or(Err(RDKafkaErrorCode::MessageTimedOut)) {
            Ok(positions) => {
                let figures = &self.common.figures;
                figures.appends.fetch_add(1, Ordering::Relaxed);
                figures.records.fetch_add(records.len() as u64, Ordering::Relaxed);
                figures.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
                let us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
                figures.waited_us.fetch_add(us, Ordering::Relaxed);
                Ok(positions)
            }
            Err(code) => {
                self.renew_if_dead(&client);
                Err(AppendError::Unavailable(code.to_string()))
            }
        }
    }

    fn send(&self, client: &ThreadedProducer<Events>, record: &NewRecord, sent: Box<Sent>) -> Result<(), AppendError> {
        let message = BaseRecord::<(), [u8], Box<Sent>>::with_opaque_to(&self.config.topic, sent)
            .partition(number(record.partition))
            .timestamp(record.log_time.micros() / 1000)
            .payload(&record.bytes);
        client.send(message).map_err(|(error, _)| match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::QueueFull) => AppendError::Overloaded,
            Some(code) => AppendError::Unavailable(code.to_string()),
            None => AppendError::Unavailable(error.to_string()),
        })
    }

    /// An idempotent producer that lost its count of sequences takes no more records. Another one does.
    fn renew_if_dead(&self, dead: &Arc<ThreadedProducer<Events>>) {
        let Some((code, _)) = dead.client().fatal_error() else { return };
        let mut current = self.client.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !Arc::ptr_eq(&current, dead) {
            return;
        }
        match client(&self.config, &self.common) {
            Ok(client) => {
                tracing::warn!(error = %code, "the Kafka producer ended itself, another one goes on");
                *current = Arc::new(client);
            }
            Err(error) => {
                let error = client_error(&self.config, &error);
                tracing::error!(error = %error, "the Kafka producer ended itself, and there is no other");
            }
        }
    }

    /// Waits for the reports that are outstanding.
    pub(super) fn flush(&self, timeout: Duration) {
        if let Err(error) = self.current().flush(timeout) {
            tracing::warn!(error = %error, "the brokers did not confirm the last appends in time");
        }
    }
}

fn client(config: &KafkaLogConfig, common: &Arc<Common>) -> Result<ThreadedProducer<Events>, KafkaError> {
    let events = Events { common: Arc::clone(common), report: Report::new("producer", config) };
    config.producer().create_with_context(events)
}

/// The few of the library's statistics that are shown.
#[derive(Deserialize)]
struct Statistics {
    #[serde(default)]
    brokers: std::collections::HashMap<String, BrokerStatistics>,
}

#[derive(Deserialize)]
struct BrokerStatistics {
    /// Negative for addresses to begin with and for roles: not brokers of their own.
    nodeid: i32,
    state: String,
}

fn brokers(statistics: &[u8]) -> Option<Brokers> {
    let statistics: Statistics = serde_json::from_slice(statistics).ok()?;
    let mut brokers = Brokers::default();
    for broker in statistics.brokers.values().filter(|broker| broker.nodeid >= 0) {
        match broker.state.as_str() {
            "UP" => brokers.up += 1,
            // Not needed so far.
            "INIT" => {}
            _ => brokers.down += 1,
        }
    }
    Some(brokers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_are_counted_by_their_state() {
        let statistics = br#"{"name": "x", "brokers": {
            "127.0.0.1:1/bootstrap": {"nodeid": -1, "state": "UP"}, "127.0.0.1:1/1": {"nodeid": 1, "state": "UP"},
            "127.0.0.1:2/2": {"nodeid": 2, "state": "TRY_CONNECT"}, "127.0.0.1:3/3": {"nodeid": 3, "state": "INIT"}}}"#;
        assert_eq!(brokers(statistics), Some(Brokers { up: 1, down: 1 }));
        assert_eq!(brokers(b"{}"), Some(Brokers::default()));
        assert_eq!(brokers(b"x"), None);
    }
}
