//! What the group of readers tells its member, kept until the member polls.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaRespErr;
use tokio::sync::Notify;

use super::report::Report;
use super::{KafkaLogConfig, lock};
use crate::Partition;

/// A decision of the group. The library waits for an answer to each.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// These are this member's too, from now on.
    Given(Vec<Partition>),
    /// These are to be given up.
    Taken(Vec<Partition>),
    /// These are another's already, or nobody's: this member was taken for dead.
    Lost(Vec<Partition>),
}

/// What the library calls.
pub(super) struct Group {
    report: Report,
    changes: Mutex<VecDeque<Change>>,
    changed: Notify,
    closing: AtomicBool,
}

impl Group {
    pub(super) fn new(config: &KafkaLogConfig) -> Self {
        Self {
            report: Report::new("consumer", config),
            changes: Mutex::default(),
            changed: Notify::new(),
            closing: AtomicBool::new(false),
        }
    }

    pub(super) fn take_change(&self) -> Option<Change> {
        lock(&self.changes).pop_front()
    }

    /// Ends when there was a change since the last wait.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// From now on all is given up as soon as it is asked for.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }
}

impl ClientContext for Group {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.report.line(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.report.error(&error, reason);
    }
}

impl ConsumerContext for Group {
    /// Notes the decision. It is answered by the member's poll, where it is known what to do about it.
    fn rebalance(&self, client: &BaseConsumer<Self>, kind: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let is_given = kind == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::Acquire) {
            // While it closes the library takes any answer for giving up everything.
            let answered =
                if is_given { client.incremental_assign(&TopicPartitionList::new()) } else { client.unassign() };
            if let Err(error) = answered {
                tracing::debug!(error = %error, "partitions of the log were not given up in order");
            }
            return;
        }
        let partitions = list.elements();
        let partitions =
            partitions.iter().filter_map(|element| Partition::try_from(element.partition()).ok()).collect();
        let change = match (is_given, client.assignment_lost()) {
            (true, _) => Change::Given(partitions),
            (false, true) => Change::Lost(partitions),
            (false, false) => Change::Taken(partitions),
        };
        lock(&self.changes).push_back(change);
        self.changed.notify_one();
    }
}
